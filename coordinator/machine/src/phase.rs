//! The phases of a run. Each owns what only it needs. Its handlers are in the file of its name; they get the
//! rest of the run as a [`RunContext`](super::context::RunContext) and return where the run goes next.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::effect::{Formation, RunOutcome};
use super::reason::LostReason;
use super::tick::Tick;
use ulda_run::ids::WorkerId;
use ulda_run::stage::Cursor;
use ulda_run::{Digest, StateClaim, variant_names};

/// Waiting for the workers of the next generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Gathering {
    pub since: Tick,
    /// Until then nobody starts before all are there.
    pub grace: Tick,
    /// Pause after generations that broke one after the other.
    pub not_before: Tick,
    /// Then those that are there have to be enough.
    pub deadline: Tick,
}

/// Members connect their data plane and get the state in place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Forming {
    pub formation: Arc<Formation>,
    pub formed: BTreeMap<WorkerId, Option<StateClaim>>,
    pub since: Tick,
    pub deadline: Tick,
}

/// What is known of one member's training.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MemberTraining {
    pub cursor: Option<Cursor>,
    pub last_progress: Tick,
    pub finished: Option<Digest>,
}

/// A generation at work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Training {
    pub formation: Arc<Formation>,
    pub since: Tick,
    /// The furthest state, and a member that reported it.
    pub state: Option<StateClaim>,
    pub reporter: Option<WorkerId>,
    pub last_advance: Tick,
    /// At least one step was committed in this generation.
    pub advanced: bool,
    /// Members that are alive, and those that left after they finished.
    pub members: BTreeMap<WorkerId, MemberTraining>,
}

/// Workers were asked to leave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Draining {
    pub why: String,
    pub deadline: Tick,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum RunPhase {
    Gathering(Gathering),
    Forming(Forming),
    Training(Training),
    Draining(Draining),
    Over(RunOutcome),
}

/// Where a handler leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// The phase goes on.
    Stay,
    Enter(RunPhase),
    /// These workers are lost, one after the other, which may end the phase.
    Lose(Vec<(WorkerId, LostReason)>),
}

/// The phases by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PhaseName {
    Gathering,
    Forming,
    Training,
    Draining,
    Finished,
    Stopped,
    Failed,
}

variant_names!(PhaseName {
    Gathering = "gathering",
    Forming = "forming",
    Training = "training",
    Draining = "draining",
    Finished = "finished",
    Stopped = "stopped",
    Failed = "failed",
});

impl PhaseName {
    /// Nothing follows.
    #[must_use]
    pub fn is_over(self) -> bool {
        matches!(self, Self::Finished | Self::Stopped | Self::Failed)
    }
}

/// What the handlers that serve every phase ask of it.
impl RunPhase {
    pub fn name(&self) -> PhaseName {
        match self {
            Self::Gathering(_) => PhaseName::Gathering,
            Self::Forming(_) => PhaseName::Forming,
            Self::Training(_) => PhaseName::Training,
            Self::Draining(_) => PhaseName::Draining,
            Self::Over(RunOutcome::Finished { .. }) => PhaseName::Finished,
            Self::Over(RunOutcome::Stopped) => PhaseName::Stopped,
            Self::Over(RunOutcome::Failed { .. }) => PhaseName::Failed,
        }
    }

    pub fn is_over(&self) -> bool {
        self.name().is_over()
    }

    pub fn is_draining(&self) -> bool {
        self.name() == PhaseName::Draining
    }

    /// Whether lost workers are replaced: not while the run ends.
    pub fn replaces_workers(&self) -> bool {
        match self {
            Self::Gathering(_) | Self::Forming(_) => true,
            Self::Training(training) => !training.any_finished(),
            Self::Draining(_) | Self::Over(_) => false,
        }
    }

    /// When processes that were asked to leave are killed, if the run stops.
    pub fn drain_deadline(&self) -> Option<Tick> {
        match self {
            Self::Draining(draining) => Some(draining.deadline),
            Self::Gathering(_) | Self::Forming(_) | Self::Training(_) | Self::Over(_) => None,
        }
    }

    pub fn training(&self) -> Option<&Training> {
        match self {
            Self::Training(training) => Some(training),
            Self::Gathering(_) | Self::Forming(_) | Self::Draining(_) | Self::Over(_) => None,
        }
    }

    /// Whether the worker has reported the end of its training, so that it may leave.
    pub fn has_finished(&self, worker: WorkerId) -> bool {
        self.training()
            .is_some_and(|training| training.has_finished(worker))
    }
}
