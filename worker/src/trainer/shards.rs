//! The threads that serve a worker's shards within one generation.

use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam_channel::Sender;
use ulda_collective::{AbortCause, DataPlane, Shard};

use super::finish::leave_models;
use super::generation::Failure;
use super::{Trainer, TrainerError};
use crate::checkpoint::Checkpoints;
use crate::link::{BucketSums, GpuSums, Link};
use crate::stages::{self, Context, Event, Interrupt, StageError};
use crate::state::RunState;

/// What all shards of this worker came to.
pub struct Outcome {
    /// The most advanced complete state among them.
    pub state: RunState,
    /// The first cause, if they did not reach the run's end.
    pub failure: Option<Failure>,
}

struct Ended {
    state: RunState,
    error: Option<StageError>,
    /// The plane's fault at the moment the shard failed; none if the shard failed first.
    fault: Option<ulda_collective::CollectiveError>,
}

pub struct Shards {
    threads: Vec<JoinHandle<Ended>>,
}

impl Shards {
    /// # Errors
    /// When a thread cannot be started or the state not be copied.
    pub fn start(
        trainer: &Trainer,
        plane: &Arc<DataPlane>,
        gpu_sums: Option<&Arc<GpuSums>>,
        shards: &[Shard],
        state: RunState,
        events: &Sender<Event>,
        interrupt: &Arc<Interrupt>,
    ) -> Result<Self, TrainerError> {
        let threads_per_shard = i32::try_from(trainer.spec.threads_per_shard()).unwrap_or(i32::MAX);
        let mut threads = Vec::with_capacity(shards.len());
        for (place, &shard) in shards.iter().enumerate() {
            let rank = plane.rank(shard).map_err(StageError::Collective)?;
            let plane = Arc::clone(plane);
            let context = Context {
                spec: Arc::clone(&trainer.spec),
                link: Link::new(rank).on_gpu(gpu_sums.cloned().map(|sums| sums as Arc<dyn BucketSums>)),
                resources: trainer.resources.share(),
                events: events.clone(),
                interrupt: Arc::clone(interrupt),
                meters: Arc::clone(&trainer.meters),
                speaks: place == 0,
                uploads: trainer.checkpoints.uploads().cloned(),
            };
            let (state, checkpoints) = (state.deep_clone(), trainer.checkpoints.clone());
            let span = tracing::info_span!("shard", shard = shard.0);
            let device = trainer.device.clone();
            let body = move || {
                let _entered = span.entered();
                if let Err(error) = device.settle_thread() {
                    tracing::warn!(%error, "libtorch is not set up as it should be for this shard");
                }
                tch::set_num_threads(threads_per_shard);
                serve(&context, &plane, &checkpoints, shard, state)
            };
            let thread = std::thread::Builder::new()
                .name(format!("shard-{}", shard.0))
                .spawn(body);
            threads.push(thread.map_err(TrainerError::Thread)?);
        }
        Ok(Self { threads })
    }

    /// Waits for all of them.
    ///
    /// # Errors
    /// When one panicked.
    pub fn join(self) -> Result<Outcome, TrainerError> {
        let mut ended = Vec::with_capacity(self.threads.len());
        for thread in self.threads {
            ended.push(thread.join().map_err(|_| TrainerError::Panicked)?);
        }
        let failure = first_cause(&mut ended);
        let state = ended
            .into_iter()
            .map(|shard| shard.state)
            .max_by_key(|state| state.cursor);
        Ok(Outcome {
            state: state.ok_or(TrainerError::Panicked)?,
            failure,
        })
    }
}

fn serve(
    context: &Context,
    plane: &DataPlane,
    checkpoints: &Checkpoints,
    shard: Shard,
    state: RunState,
) -> Ended {
    let (state, outcome) = stages::run(context, state);
    let outcome = outcome.and_then(|()| leave_models(context, checkpoints, &state));
    let Err(error) = outcome else {
        return Ended {
            state,
            error: None,
            fault: None,
        };
    };
    let fault = plane.fault();
    if fault.is_none() {
        // Also when it left between steps: the others cannot go on without it.
        plane.abort(AbortCause::new(format!("{shard}: {}", error.with_causes())));
    }
    Ended {
        state,
        error: Some(error),
        fault,
    }
}

/// A shard's own error counts before a broken collective, which may only be its echo.
fn first_cause(ended: &mut [Ended]) -> Option<Failure> {
    let own = ended.iter_mut().find(|shard| {
        shard.fault.is_none()
            && shard
                .error
                .as_ref()
                .is_some_and(|error| !matches!(error, StageError::Interrupted(_)))
    });
    if let Some(error) = own.and_then(|shard| shard.error.take()) {
        return Some(Failure::Own(error));
    }
    if let Some(fault) = ended.iter().find_map(|shard| shard.fault.clone()) {
        return Some(Failure::Collective(fault));
    }
    ended
        .iter_mut()
        .find_map(|shard| shard.error.take())
        .map(Failure::Own)
}
