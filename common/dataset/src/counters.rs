//! What decoders did and how long was waited for them, summed over all who share the counters.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Sums of a process. Cheap to share and to read at any time.
#[derive(Debug, Default)]
pub struct DecodeCounters {
    decoded: AtomicU64,
    failed: AtomicU64,
    decode_nanos: AtomicU64,
    waited_nanos: AtomicU64,
    ready: AtomicU64,
}

/// What [`DecodeCounters`] say at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Decoded {
    /// Samples decoded, and those that could not be.
    pub decoded: u64,
    pub failed: u64,
    /// Time of decoding, summed over threads.
    pub decode_time: Duration,
    /// Time that takers waited for samples, summed over threads.
    pub waited: Duration,
    /// Samples that are decoded and not taken yet.
    pub ready: u64,
}

/// A decoded sample that waits to be taken; dropped with it.
#[derive(Debug)]
pub(crate) struct Ready(Arc<DecodeCounters>);

impl Drop for Ready {
    fn drop(&mut self) {
        self.0.ready.fetch_sub(1, Relaxed);
    }
}

impl DecodeCounters {
    #[must_use]
    pub fn read(&self) -> Decoded {
        let time = |nanos: &AtomicU64| Duration::from_nanos(nanos.load(Relaxed));
        Decoded {
            decoded: self.decoded.load(Relaxed),
            failed: self.failed.load(Relaxed),
            decode_time: time(&self.decode_nanos),
            waited: time(&self.waited_nanos),
            ready: self.ready.load(Relaxed),
        }
    }

    /// Counts one decode.
    ///
    /// # Errors
    /// Those of the decode.
    pub fn decode<T, E>(&self, decode: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        let began = Instant::now();
        let outcome = decode();
        self.decode_nanos.fetch_add(nanos(began.elapsed()), Relaxed);
        let count = if outcome.is_ok() {
            &self.decoded
        } else {
            &self.failed
        };
        count.fetch_add(1, Relaxed);
        outcome
    }

    pub(crate) fn waited(&self, waited: Duration) {
        self.waited_nanos.fetch_add(nanos(waited), Relaxed);
    }

    pub(crate) fn ready(self: &Arc<Self>) -> Ready {
        self.ready.fetch_add(1, Relaxed);
        Ready(Arc::clone(self))
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
