//! Turns the coordinator's orders into generations of training threads.
//!
//! One thread owns the worker's state between generations and hands copies to the shards' threads within one. Tensors
//! never enter async code. Invariant: `state` is always a complete state, the most advanced this worker has seen.

mod carrier;
mod courier;
mod finish;
mod form;
mod form_error;
mod generation;
mod shards;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::RecvTimeoutError;
use ulda_collective::{DataPlaneListener, PlaneDeadlines};
use ulda_run::hints;
use ulda_run::ids::Generation;
use ulda_run::spec::RunSpec;
use ulda_run::stage::Stage;
use ulda_run::{Digest, Exit, StateClaim};
use ulda_storage::StorageCounters;
use ulda_storage::fetch::{InputError, Inputs};

use crate::agent::{Agent, Fact, Order};
use crate::checkpoint::{CheckpointClock, CheckpointError, Checkpoints, Upload};
use crate::device::{Chosen, DeviceRefusal};
use crate::exit::{exit_of, with_hint};
use crate::link::At;
use crate::observe::Meters;
use crate::resources::{ResourceError, Resources};
use crate::stages::StageError;
use crate::state::{RunState, StateError};

pub use generation::Left;

/// Tags of forming; no step of training has this number.
const FORMING: At = At {
    stage: Stage::Pretrain,
    step: u64::MAX,
    iteration: 0,
};

#[derive(Debug, thiserror::Error)]
pub enum TrainerError {
    #[error(transparent)]
    Resources(#[from] ResourceError),
    #[error(transparent)]
    Device(#[from] DeviceRefusal),
    #[error(transparent)]
    Carrier(#[from] form_error::CarrierRefused),
    #[error("this process cannot go on")]
    Nccl(#[source] ulda_nccl::NcclError),
    #[error(transparent)]
    Input(#[from] InputError),
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    Stage(#[from] StageError),
    #[error("the coordinator is gone: {0}")]
    Orphaned(String),
    #[error(transparent)]
    Torch(#[from] ulda_torch::TorchError),
    #[error("a thread cannot be started")]
    Thread(#[source] std::io::Error),
    #[error(transparent)]
    Panicked(#[from] shards::ShardPanic),
}

hints!(pub TrainerError {
    Self::Panicked(_) => "this worker's log says where",
    Self::Resources(error) => error.hint(),
    Self::Device(error) => error.hint(),
    Self::Carrier(error) => error.hint(),
    Self::Nccl(error) => error.hint(),
    Self::Checkpoint(error) => error.hint(),
    Self::Stage(error) => error.hint(),
    Self::Input(error) => error.cause.hint(),
});

impl TrainerError {
    #[must_use]
    pub fn exit(&self) -> Exit {
        exit_of(self, self.exit_of_cause())
    }

    fn exit_of_cause(&self) -> Exit {
        match self {
            Self::Resources(ResourceError::State(_)) => Exit::Failed,
            Self::Resources(_)
            | Self::Device(_)
            | Self::Carrier(_)
            | Self::Checkpoint(CheckpointError::OtherRun { .. }) => Exit::BadInput,
            Self::Stage(error) if error.is_bad_input() => Exit::BadInput,
            Self::Input(error) if error.cause.is_of_the_storage() => Exit::Unavailable,
            Self::Checkpoint(CheckpointError::Storage(error)) if error.is_of_the_storage() => {
                Exit::Unavailable
            }
            Self::Input(error) if !error.cause.is_passing() => Exit::BadInput,
            Self::Checkpoint(CheckpointError::Storage(error)) if !error.is_passing() => Exit::BadInput,
            Self::Orphaned(_) => Exit::Unavailable,
            Self::Input(_)
            | Self::Checkpoint(_)
            | Self::State(_)
            | Self::Stage(_)
            | Self::Torch(_)
            | Self::Nccl(_)
            | Self::Thread(_)
            | Self::Panicked(_) => Exit::Failed,
        }
    }
}

/// One worker's life in a run.
pub struct Trainer {
    agent: Agent,
    spec: Arc<RunSpec>,
    device: Chosen,
    resources: Resources,
    listener: Arc<DataPlaneListener>,
    run: ulda_collective::RunId,
    secret: ulda_collective::Secret,
    checkpoints: Checkpoints,
    checkpoint_clock: Arc<CheckpointClock>,
    meters: Arc<Meters>,
    state: Option<RunState>,
    /// Orders that came while a generation formed and are still to be followed.
    held: VecDeque<Order>,
}

/// Longer than any run; a timer of `Duration::MAX` overflows.
const A_YEAR: Duration = Duration::from_secs(365 * 86_400);

/// What a trainer is built from besides its agent.
pub struct Setup {
    pub spec: RunSpec,
    /// Where this worker keeps the run's files.
    pub run_directory: PathBuf,
    /// Where this host keeps inputs fetched by URL, if not where the run.toml says.
    pub cache: Option<PathBuf>,
    pub run: String,
    pub secret: [u8; 32],
    pub listener: DataPlaneListener,
    /// The device to compute on, or why it is not there.
    pub device: Result<Chosen, DeviceRefusal>,
    pub meters: Arc<Meters>,
}

impl Trainer {
    /// Loads weights and data, looks for a checkpoint, and serves the run until its end.
    #[must_use]
    pub fn run(agent: Agent, setup: Setup) -> ExitCode {
        match Self::prepare(&agent, setup) {
            Err(error) => fail(&agent, Generation::NONE, &error),
            Ok(parts) => parts.into_trainer(agent).serve(),
        }
    }

    fn prepare(agent: &Agent, setup: Setup) -> Result<Parts, TrainerError> {
        tch::set_num_threads(i32::try_from(setup.spec.threads_per_shard()).unwrap_or(i32::MAX));
        let device = setup.device.clone()?;
        device.prepare(setup.spec.config().compute.precision)?;
        let counters = StorageCounters::default();
        let inputs = Inputs::new(setup.spec.config(), setup.cache.clone(), counters.clone());
        let config = inputs.bring(setup.spec.config())?;
        let resources = Resources::load(
            &config,
            &setup.spec.classes(),
            &setup.run_directory,
            device.device,
        )?;
        let clip = &resources.clip_origin;
        let checkpoints = courier::checkpoints(agent, &setup.spec, &setup.run_directory, clip, &counters)?;
        let (found, damaged) = checkpoints.newest()?;
        let passed_over = found.as_ref().map_or(&damaged, |found| &found.passed_over);
        for error in passed_over {
            tracing::warn!(error = with_hint(error, error.hint()), "checkpoint passed over");
        }
        let state = found.map(|found| {
            tracing::info!(path = %found.path.display(), at = %found.state.cursor, "checkpoint read");
            found.state
        });
        let claim = state.as_ref().map(claim);
        agent.tell(Fact::Ready {
            state: claim,
            clip: clip.clone(),
        });
        Ok(Parts {
            setup,
            device,
            resources,
            checkpoints,
            state,
        })
    }

    fn serve(mut self) -> ExitCode {
        let mut generation = Generation::NONE;
        let mut finished = false;
        loop {
            let order = match finished {
                true => self.next_order(self.patience_when_finished()),
                // Whether a coordinator is there to give orders is watched by the agent.
                false => self.next_order(Duration::MAX),
            };
            let Some(order) = order else {
                tracing::warn!("finished, and no order to stop came");
                return ExitCode::SUCCESS;
            };
            let left = match order {
                Order::Form(form) => {
                    generation = form.generation;
                    let span = tracing::info_span!("generation", generation = generation.0);
                    span.in_scope(|| self.serve_generation(&form))
                }
                Order::Go { .. } => continue,
                Order::Fence {
                    generation: fenced,
                    why,
                } => {
                    self.tell_broke(fenced, format!("fenced: {why}"), Vec::new());
                    continue;
                }
                Order::Stop { drain, why, exit } => Ok(Left::Stopped { drain, why, exit }),
                Order::Orphaned { why } => Err(TrainerError::Orphaned(why)),
            };
            match left {
                Ok(Left::Abandoned { .. }) => finished = false,
                Ok(Left::Finished) => {
                    tracing::info!("run finished");
                    finished = true;
                }
                Ok(Left::Stopped { .. }) | Err(TrainerError::Orphaned(_)) if finished => {
                    return ExitCode::SUCCESS;
                }
                Ok(Left::Stopped { drain, why, exit }) => {
                    tracing::info!(why, "stopping");
                    if drain {
                        self.keep_state();
                    }
                    return ExitCode::from(exit);
                }
                Err(error) => {
                    if matches!(error, TrainerError::Orphaned(_)) {
                        self.keep_state();
                    }
                    return fail(&self.agent, generation, &error);
                }
            }
        }
    }

    /// After its last step a worker stays until the coordinator has heard all others: should one of them be
    /// lost before, this one holds the state that the end is reached from again.
    fn patience_when_finished(&self) -> Duration {
        Duration::from_secs_f64(self.spec.config().deadline.progress)
    }

    /// The next order: first those that came while a generation formed. `None` after `patience`.
    fn next_order(&mut self, patience: Duration) -> Option<Order> {
        if let Some(order) = self.held.pop_front() {
            return Some(order);
        }
        let gone = || Order::Orphaned {
            why: "the agent ended".to_owned(),
        };
        match self.agent.orders.recv_timeout(patience.min(A_YEAR)) {
            Ok(order) => Some(order),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => Some(gone()),
        }
    }

    /// Leaves the state on disk and in the run's storage, so that the run can be resumed from where it stands.
    fn keep_state(&self) {
        let Some(state) = &self.state else { return };
        match self.checkpoints.write(state, &state.digest()) {
            Ok(written) => {
                tracing::info!(path = %written.path.display(), at = %written.cursor, "checkpoint written");
            }
            Err(error) => {
                tracing::error!(
                    error = with_hint(&error, error.hint()),
                    "last checkpoint not written"
                );
                return;
            }
        }
        let Some(uploads) = self.checkpoints.uploads() else {
            return;
        };
        // The step in flight had half of the time to leave.
        let longest = Duration::from_secs_f64(self.spec.config().deadline.drain * 0.4);
        if !uploads.settle(longest, |parcel| matches!(parcel, Upload::Checkpoint(..))) {
            let waited_s = longest.as_secs_f64();
            tracing::error!(waited_s, "last checkpoint not brought to the storage in time");
        }
    }

    fn deadlines(&self) -> PlaneDeadlines {
        let deadline = &self.spec.config().deadline;
        PlaneDeadlines {
            connect: Duration::from_secs_f64(deadline.form),
            operation: Duration::from_secs_f64(deadline.collective),
            ..PlaneDeadlines::default()
        }
    }
}

struct Parts {
    setup: Setup,
    device: Chosen,
    resources: Resources,
    checkpoints: Checkpoints,
    state: Option<RunState>,
}

impl Parts {
    fn into_trainer(self, agent: Agent) -> Trainer {
        let Self {
            setup,
            device,
            resources,
            checkpoints,
            state,
        } = self;
        Trainer {
            agent,
            spec: Arc::new(setup.spec),
            device,
            resources,
            listener: Arc::new(setup.listener),
            meters: setup.meters,
            run: ulda_collective::RunId(setup.run),
            secret: ulda_collective::Secret(setup.secret),
            checkpoints,
            checkpoint_clock: Arc::new(CheckpointClock::start()),
            state,
            held: VecDeque::new(),
        }
    }
}

fn claim(state: &RunState) -> StateClaim {
    StateClaim {
        cursor: state.cursor,
        digest: Digest(state.digest()),
    }
}

fn fail(agent: &Agent, generation: Generation, error: &TrainerError) -> ExitCode {
    let cause = with_hint(error, error.hint());
    let exit = error.exit();
    tracing::error!(exit_code = exit.code(), "{cause}");
    agent.tell(Fact::Failed {
        generation,
        cause,
        exit,
    });
    ExitCode::from(exit)
}
