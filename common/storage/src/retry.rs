//! One request, repeated while that may help and its deadline allows.

use std::future::Future;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::answers::with_status;
use crate::counters::{Operation, StorageCounters};
use crate::error::{StorageError, StorageErrorKind, diagnose};

/// The first and the longest pause between two tries.
const PAUSES: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));

/// Who repeats requests, for how long, and who may end it.
#[derive(Clone, Debug)]
pub(crate) struct Patience {
    pub deadline: Duration,
    pub counters: StorageCounters,
    pub cancel: CancellationToken,
}

impl Patience {
    /// Makes the request until it succeeds, cannot succeed, or the deadline passes.
    pub async fn insist<T, F>(
        &self,
        operation: Operation,
        url: &str,
        mut request: impl FnMut() -> F,
    ) -> Result<T, StorageError>
    where
        F: Future<Output = object_store::Result<T>>,
    {
        let began = Instant::now();
        let mut tries = 0;
        let mut pause = PAUSES.0;
        loop {
            tries += 1;
            let left = self.deadline.saturating_sub(began.elapsed()).max(PAUSES.0);
            let outcome = tokio::select! {
                biased;
                () = self.cancel.cancelled() => return Err(cancelled(operation, url)),
                outcome = tokio::time::timeout(left, with_status(request())) => outcome,
            };
            let (kind, detail) = match outcome {
                Ok((Ok(value), _)) => return Ok(value),
                Ok((Err(error), status)) => diagnose(&error, status),
                Err(_) => (StorageErrorKind::TimedOut, String::new()),
            };
            let waited = began.elapsed();
            let wait = jittered(pause);
            if !kind.is_worth_repeating() || waited + wait >= self.deadline {
                return Err(StorageError::Failed {
                    operation,
                    url: url.to_owned(),
                    kind,
                    detail,
                    tries,
                    waited,
                });
            }
            tracing::debug!(url, ?kind, detail, tries, "storage asked again");
            self.counters.retried(operation);
            tokio::select! {
                biased;
                () = self.cancel.cancelled() => return Err(cancelled(operation, url)),
                () = tokio::time::sleep(wait) => {}
            }
            pause = (pause * 2).min(PAUSES.1);
        }
    }
}

fn cancelled(operation: Operation, url: &str) -> StorageError {
    StorageError::Cancelled {
        operation,
        url: url.to_owned(),
    }
}

/// Between half of the pause and all of it, so that workers do not knock in step.
fn jittered(pause: Duration) -> Duration {
    let chance = RandomState::new().build_hasher().finish() % 1024;
    pause.mul_f64(0.5 + chance as f64 / 2048.0)
}
