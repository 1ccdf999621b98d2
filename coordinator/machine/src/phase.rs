//! The phases of a run. Each owns what only it needs.

use std::collections::BTreeMap;

use super::claim::{Digest, StateClaim};
use super::effect::Formation;
use super::reason::FailReason;
use super::tick::Tick;
use ulda_run::ids::WorkerId;
use ulda_run::stage::Cursor;

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
    pub formation: Formation,
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

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Training {
    pub formation: Formation,
    pub since: Tick,
    /// The furthest state, and a member that reported it.
    pub state: Option<StateClaim>,
    pub reporter: Option<WorkerId>,
    pub last_advance: Tick,
    /// At least one step was committed in this generation.
    pub advanced: bool,
    /// Members that are alive, and those that left after they finished.
    pub ranks: BTreeMap<WorkerId, MemberTraining>,
}

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
    Finished,
    Stopped,
    Failed(FailReason),
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

impl PhaseName {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Gathering => "gathering",
            Self::Forming => "forming",
            Self::Training => "training",
            Self::Draining => "draining",
            Self::Finished => "finished",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
        }
    }

    /// Nothing follows.
    #[must_use]
    pub fn is_over(self) -> bool {
        matches!(self, Self::Finished | Self::Stopped | Self::Failed)
    }
}

impl RunPhase {
    pub fn name(&self) -> PhaseName {
        match self {
            Self::Gathering(_) => PhaseName::Gathering,
            Self::Forming(_) => PhaseName::Forming,
            Self::Training(_) => PhaseName::Training,
            Self::Draining(_) => PhaseName::Draining,
            Self::Finished => PhaseName::Finished,
            Self::Stopped => PhaseName::Stopped,
            Self::Failed(_) => PhaseName::Failed,
        }
    }
}
