//! Past facts that reach the machine.
//!
//! What workers owe the machine: a `Fence` for a generation not older than the worker's own is always
//! answered by `GenerationBroke` with that generation and the state the worker keeps, also when it was in
//! no generation or had reported the break before. A worker that joined says `WorkerReady` once it can take
//! orders, and says so again on each further stream. A worker that attaches again after its coordinator was
//! away repeats the last fact of its generation (formed, broke, finished).
//!
//! What the shell owes it: one stream per worker; where a second one opens for the same worker, the first
//! is closed without `WorkerDetached`. Queued events are handed over before `Woke`.

use std::fmt;

use serde::{Deserialize, Serialize};

use ulda_run::ids::{Generation, Shard, Slot, WorkerId};
use ulda_run::{Digest, StateClaim};

/// Names one join request, so that the answer finds it. Chosen by the shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// How a process came to its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExitKind {
    Code(i32),
    Signal(i32),
    /// It could not even be started.
    NotStarted(String),
}

impl fmt::Display for ExitKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "ended with exit code {code}"),
            Self::Signal(signal) => write!(f, "was ended by signal {signal}"),
            Self::NotStarted(why) => write!(f, "could not be started: {why}"),
        }
    }
}

/// How to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopping {
    /// After the step in flight.
    Drain,
    /// At once.
    Now,
}

/// A past fact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MachineEvent {
    /// A worker introduced itself. Answered by `Effect::Welcome` or `Effect::Refuse` in the same drain.
    JoinAsked {
        ticket: Ticket,
        slot: Slot,
        data_address: String,
        device: String,
    },
    /// A worker opened its attend stream; `generation` is the one it believes to be in.
    WorkerAttached {
        worker: WorkerId,
        generation: Generation,
    },
    /// Weights and data are loaded; the worker can take orders, and holds `state`.
    WorkerReady {
        worker: WorkerId,
        generation: Generation,
        state: Option<StateClaim>,
    },
    /// A worker's attend stream broke; the worker may come back to it.
    WorkerDetached { worker: WorkerId, why: String },
    /// A worker closed its attend stream itself: it leaves the run.
    WorkerLeft { worker: WorkerId },
    HeartbeatHeard {
        worker: WorkerId,
        generation: Generation,
    },
    /// The data plane stands and the state is in place (`None`: the run's beginning).
    WorkerFormed {
        worker: WorkerId,
        generation: Generation,
        state: Option<StateClaim>,
    },
    ProgressMade {
        worker: WorkerId,
        generation: Generation,
        state: StateClaim,
    },
    /// The worker did a part of the step it is in: an inner iteration, some images.
    WorkAdvanced {
        worker: WorkerId,
        generation: Generation,
    },
    /// The worker left the generation and keeps `state`. `waiting_for`: shards it waited for in vain.
    GenerationBroke {
        worker: WorkerId,
        generation: Generation,
        cause: String,
        waiting_for: Vec<Shard>,
        state: Option<StateClaim>,
    },
    /// The worker is through the whole course; `digest` is of the final state.
    WorkerFinished {
        worker: WorkerId,
        generation: Generation,
        digest: Digest,
    },
    /// The worker cannot go on; its process ends with `exit_code` next.
    WorkerFailed {
        worker: WorkerId,
        cause: String,
        exit_code: i32,
    },
    /// A launched process ended. `last_words`: the last error line of its log.
    ProcessEnded {
        slot: Slot,
        attempt: u32,
        exit: ExitKind,
        last_words: Option<String>,
    },
    /// A person, a signal or the platform wants the run to stop.
    StopAsked { stopping: Stopping, why: String },
    /// The time given by `Machine::poll_timeout` has come.
    Woke,
}

impl MachineEvent {
    /// The worker this event comes from.
    #[must_use]
    pub fn sender(&self) -> Option<WorkerId> {
        match self {
            Self::WorkerAttached { worker, .. }
            | Self::WorkerReady { worker, .. }
            | Self::WorkerDetached { worker, .. }
            | Self::WorkerLeft { worker }
            | Self::HeartbeatHeard { worker, .. }
            | Self::WorkerFormed { worker, .. }
            | Self::ProgressMade { worker, .. }
            | Self::WorkAdvanced { worker, .. }
            | Self::GenerationBroke { worker, .. }
            | Self::WorkerFinished { worker, .. }
            | Self::WorkerFailed { worker, .. } => Some(*worker),
            Self::JoinAsked { .. } | Self::ProcessEnded { .. } | Self::StopAsked { .. } | Self::Woke => None,
        }
    }

    /// The generation this event was stamped with by its sender.
    #[must_use]
    pub fn generation(&self) -> Option<Generation> {
        match self {
            Self::WorkerAttached { generation, .. }
            | Self::WorkerReady { generation, .. }
            | Self::HeartbeatHeard { generation, .. }
            | Self::WorkerFormed { generation, .. }
            | Self::ProgressMade { generation, .. }
            | Self::WorkAdvanced { generation, .. }
            | Self::GenerationBroke { generation, .. }
            | Self::WorkerFinished { generation, .. } => Some(*generation),
            Self::JoinAsked { .. }
            | Self::WorkerDetached { .. }
            | Self::WorkerLeft { .. }
            | Self::WorkerFailed { .. }
            | Self::ProcessEnded { .. }
            | Self::StopAsked { .. }
            | Self::Woke => None,
        }
    }

    /// The state this event names.
    pub(super) fn state_mut(&mut self) -> Option<&mut StateClaim> {
        match self {
            Self::ProgressMade { state, .. } => Some(state),
            Self::WorkerReady { state, .. }
            | Self::WorkerFormed { state, .. }
            | Self::GenerationBroke { state, .. } => state.as_mut(),
            Self::JoinAsked { .. }
            | Self::WorkerAttached { .. }
            | Self::WorkerDetached { .. }
            | Self::WorkerLeft { .. }
            | Self::HeartbeatHeard { .. }
            | Self::WorkAdvanced { .. }
            | Self::WorkerFinished { .. }
            | Self::WorkerFailed { .. }
            | Self::ProcessEnded { .. }
            | Self::StopAsked { .. }
            | Self::Woke => None,
        }
    }
}
