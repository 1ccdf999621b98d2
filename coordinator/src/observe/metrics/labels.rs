//! Label sets, and the names of reasons.

use prometheus_client::encoding::EncodeLabelSet;
use ulda_machine::{BreakReason, LostReason};

/// Of the run as a whole; the value of the metric is 1.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RunFacts {
    pub shards: u32,
    pub domains: u32,
    pub spec_digest: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Build {
    pub version: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OfState {
    pub state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OfStage {
    pub stage: &'static str,
}

/// A loss of a stage.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OfTerm {
    pub stage: &'static str,
    pub term: String,
}

/// A learning rate of a stage.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OfGroup {
    pub stage: &'static str,
    pub group: String,
}

/// A measure of the styles of a domain.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OfStyle {
    pub domain: String,
    pub measure: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OfModel {
    pub set: String,
    pub model: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OfClass {
    pub set: String,
    pub model: String,
    pub class: String,
}

/// A worker's place in the run, which outlives the process: its slot.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OfRank {
    pub rank: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OfPhase {
    pub rank: u32,
    pub stage: &'static str,
    pub phase: String,
}

/// A process that asks something of a storage: a rank, or the coordinator.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OfClient {
    pub client: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OfOperation {
    pub client: String,
    pub operation: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OfReason {
    pub reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OfCause {
    pub cause: &'static str,
}

/// The name of why a generation was abandoned; a lost worker's says why it was lost.
#[must_use]
pub fn break_reason_name(reason: &BreakReason) -> &'static str {
    match reason {
        BreakReason::WorkerLost { why, .. } => match why {
            LostReason::Detached { .. } => "worker-detached",
            LostReason::Left => "worker-left",
            LostReason::Silent { .. } => "worker-silent",
            LostReason::NeverAttached { .. } => "worker-never-attached",
            LostReason::NeverJoined { .. } => "worker-never-joined",
            LostReason::ProcessEnded { .. } => "worker-process-ended",
            LostReason::Failed { .. } => "worker-failed",
            LostReason::Replaced { .. } => "worker-replaced",
            LostReason::Stuck { .. } => "worker-stuck",
            LostReason::Blamed { .. } => "worker-blamed",
            LostReason::NoReport { .. } => "worker-no-report",
            LostReason::WrongState { .. } => "worker-wrong-state",
        },
        BreakReason::Broke { .. } => "collective-aborted",
        BreakReason::FormDeadline { .. } => "form-deadline",
        BreakReason::StatesDiffer { .. } => "states-differ",
        BreakReason::Newcomers { .. } => "newcomers",
        BreakReason::CoordinatorRestarted => "coordinator-restarted",
    }
}

/// All names [`break_reason_name`] gives.
#[must_use]
pub fn break_reason_names() -> [&'static str; 17] {
    [
        "worker-detached",
        "worker-left",
        "worker-silent",
        "worker-never-attached",
        "worker-never-joined",
        "worker-process-ended",
        "worker-failed",
        "worker-replaced",
        "worker-stuck",
        "worker-blamed",
        "worker-no-report",
        "worker-wrong-state",
        "collective-aborted",
        "form-deadline",
        "states-differ",
        "newcomers",
        "coordinator-restarted",
    ]
}
