//! The threads that serve a worker's shards within one generation.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam_channel::Sender;
use ulda_collective::{AbortCause, CollectiveError, DataPlane};
use ulda_method::MethodError;
use ulda_run::ids::Shard;

use super::finish::leave_models;
use super::{Trainer, TrainerError};
use crate::checkpoint::Checkpoints;
use crate::device::Chosen;
use crate::link::{BucketSums, GpuSums, Link};
use crate::stages::{self, Context, Interrupt, ShardEvent, StageError};
use crate::state::RunState;

/// What all shards of this worker came to.
pub struct ShardsOutcome {
    /// The most advanced complete state among them.
    pub state: RunState,
    /// The first cause, if they did not reach the run's end.
    pub failure: Option<GenerationFailure>,
}

/// Why the shards of a generation stopped before the run's end.
pub enum GenerationFailure {
    /// The collective broke, through whoever's fault.
    Collective(CollectiveError),
    /// This worker cannot go on.
    Own(StageError),
}

/// A shard's thread came to no end of its own.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{shard}: its thread panicked: {message}")]
pub struct ShardPanic {
    shard: Shard,
    message: String,
}

struct Ended {
    state: RunState,
    error: Option<StageError>,
    /// The plane's fault at the moment the shard failed; none if the shard failed first.
    fault: Option<CollectiveError>,
}

pub struct Shards {
    threads: Vec<(Shard, JoinHandle<Result<Ended, ShardPanic>>)>,
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
        events: &Sender<ShardEvent>,
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
                checkpoint_clock: Arc::clone(&trainer.checkpoint_clock),
            };
            let (state, checkpoints) = (state.share(), trainer.checkpoints.clone());
            let span = tracing::info_span!("shard", shard = shard.0);
            let device = trainer.device.clone();
            let body = move || {
                let _entered = span.entered();
                watched(&plane, shard, || {
                    tch::set_num_threads(threads_per_shard);
                    serve(&context, &device, &plane, &checkpoints, shard, state)
                })
            };
            let thread = std::thread::Builder::new()
                .name(format!("shard-{}", shard.0))
                .spawn(body);
            threads.push((shard, thread.map_err(TrainerError::Thread)?));
        }
        Ok(Self { threads })
    }

    /// Waits for all of them.
    ///
    /// # Errors
    /// When one panicked.
    pub fn join(self) -> Result<ShardsOutcome, TrainerError> {
        let joined: Vec<_> = self.threads.into_iter().map(join_one).collect();
        let mut ended = joined.into_iter().collect::<Result<Vec<Ended>, ShardPanic>>()?;
        let failure = first_cause(&mut ended);
        let state = ended
            .into_iter()
            .map(|shard| shard.state)
            .max_by_key(|state| state.cursor);
        Ok(ShardsOutcome {
            state: state.expect("a member of a generation serves at least one shard"),
            failure,
        })
    }
}

fn join_one((shard, thread): (Shard, JoinHandle<Result<Ended, ShardPanic>>)) -> Result<Ended, ShardPanic> {
    let outcome = thread.join();
    outcome.unwrap_or_else(|payload| Err(ShardPanic::of(shard, &*payload)))
}

/// Serves a shard. Where that panics the generation breaks everywhere at once: the others wait for this shard, and
/// would learn of its end only by the deadline of an operation.
fn watched(plane: &DataPlane, shard: Shard, serve: impl FnOnce() -> Ended) -> Result<Ended, ShardPanic> {
    // What the panic left half done is the shard's own, and is dropped with it.
    catch_unwind(AssertUnwindSafe(serve)).map_err(|payload| {
        let panic = ShardPanic::of(shard, &*payload);
        plane.abort(AbortCause::new(panic.to_string()));
        panic
    })
}

impl ShardPanic {
    fn of(shard: Shard, payload: &(dyn Any + Send)) -> Self {
        let literal = payload.downcast_ref::<&str>().map(|&text| text.to_owned());
        let message = literal.or_else(|| payload.downcast_ref::<String>().cloned());
        Self {
            shard,
            message: message.unwrap_or_else(|| "no message".to_owned()),
        }
    }
}

/// A thread that cannot be settled does not serve: its backward passes would share a thread with other shards', which wait
/// for each other.
fn serve(
    context: &Context,
    device: &Chosen,
    plane: &DataPlane,
    checkpoints: &Checkpoints,
    shard: Shard,
    state: RunState,
) -> Ended {
    let (state, outcome) = match device.settle_thread() {
        Ok(()) => stages::run(context, state),
        Err(error) => (state, Err(MethodError::from(error).into())),
    };
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
        plane.abort(AbortCause::new(format!("{shard}: {}", error.with_hint())));
    }
    Ended {
        state,
        error: Some(error),
        fault,
    }
}

/// A shard's own error counts before a broken collective, which may only be its echo.
fn first_cause(ended: &mut [Ended]) -> Option<GenerationFailure> {
    let own = ended.iter_mut().find(|shard| {
        shard.fault.is_none()
            && shard
                .error
                .as_ref()
                .is_some_and(|error| !matches!(error, StageError::Interrupted(_)))
    });
    if let Some(error) = own.and_then(|shard| shard.error.take()) {
        return Some(GenerationFailure::Own(error));
    }
    if let Some(fault) = ended.iter().find_map(|shard| shard.fault.clone()) {
        return Some(GenerationFailure::Collective(fault));
    }
    ended
        .iter_mut()
        .find_map(|shard| shard.error.take())
        .map(GenerationFailure::Own)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use ulda_collective::{
        DataPlaneListener, Membership, PlaneDeadlines, RunId, Secret, WorkerIndex, WorkerPeer,
    };
    use ulda_run::ids::Generation;
    use ulda_run::stage::{Cursor, Stage};

    use super::*;
    use crate::link::At;

    /// As in a real run: far longer than any test may take.
    const COLLECTIVE: Duration = Duration::from_secs(300);

    /// Two workers: the first serves shards 0 and 1, the second shard 2.
    fn planes() -> Vec<DataPlane> {
        let listeners = [(); 2].map(|()| DataPlaneListener::bind("127.0.0.1:0").unwrap());
        let workers: Vec<WorkerPeer> = listeners
            .iter()
            .map(|listener| WorkerPeer {
                address: listener.local_addr().to_string(),
            })
            .collect();
        let membership = |me| Membership {
            run: RunId("run".into()),
            generation: Generation(1),
            me: WorkerIndex(me),
            workers: workers.clone(),
            shards: [0, 0, 1].map(WorkerIndex).to_vec(),
            secret: Secret([7; 32]),
            encrypted: false,
        };
        let deadlines = PlaneDeadlines {
            operation: COLLECTIVE,
            ..PlaneDeadlines::default()
        };
        std::thread::scope(|scope| {
            let connecting: Vec<_> = (0..)
                .zip(&listeners)
                .map(|(me, listener)| {
                    let membership = membership(me);
                    scope.spawn(move || DataPlane::connect(listener, membership, deadlines))
                })
                .collect();
            connecting
                .into_iter()
                .map(|plane| plane.join().unwrap().unwrap())
                .collect()
        })
    }

    /// Waits for all shards in a collective operation, and says why it broke.
    fn waits(plane: &DataPlane, shard: Shard) -> Ended {
        let link = Link::new(plane.rank(shard).unwrap());
        let at = At::step(Stage::Adapt, 3);
        let broke = link.gather(at, crate::link::Op::StateCheck, &link.everyone(), &[]);
        let error = broke.expect_err("one shard never comes");
        Ended {
            state: RunState::new(Cursor {
                stage: Stage::Adapt,
                step: 3,
            }),
            error: Some(StageError::Collective(error)),
            fault: plane.fault(),
        }
    }

    #[test]
    fn a_panic_in_a_shards_thread_breaks_the_collective_everywhere_at_once() {
        let planes: Vec<Arc<DataPlane>> = planes().into_iter().map(Arc::new).collect();
        let began = Instant::now();
        let start = |plane: &Arc<DataPlane>, shard: Shard, body: fn(&DataPlane, Shard) -> Ended| {
            let plane = Arc::clone(plane);
            let thread = std::thread::spawn(move || watched(&plane, shard, || body(&plane, shard)));
            (shard, thread)
        };
        let panics = |_: &DataPlane, shard: Shard| -> Ended { panic!("{shard} met what it did not expect") };
        let first = Shards {
            threads: vec![
                start(&planes[0], Shard(0), waits),
                start(&planes[0], Shard(1), panics),
            ],
        };
        let second = Shards {
            threads: vec![start(&planes[1], Shard(2), waits)],
        };

        let cause = "shard 1: its thread panicked: shard 1 met what it did not expect";
        let own = first.join().err().expect("a shard panicked");
        assert!(own.to_string().starts_with(cause), "{own}");
        assert_eq!(own.exit(), ulda_run::Exit::Failed);
        let outcome = second.join().expect("it serves no shard that panicked");
        let Some(GenerationFailure::Collective(fault)) = outcome.failure else {
            panic!("the other worker does not know why")
        };
        assert_eq!(fault.to_string(), format!("worker 0 aborted: {cause}"));
        assert!(began.elapsed() < COLLECTIVE / 10, "{:?}", began.elapsed());
    }
}
