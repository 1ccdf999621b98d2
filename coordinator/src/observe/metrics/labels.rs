//! Label sets, and the names of reasons.

use ulda_machine::{BreakReason, LostReason};
use ulda_telemetry::label_sets;

label_sets! {
    /// Of the run as a whole; the value of the metric is 1.
    pub struct RunFacts { shards: u32, domains: u32, spec_digest: String }
    pub struct Build { version: &'static str }
    pub struct OfState { state: &'static str }
    pub struct OfStage { stage: &'static str }

    /// A loss of a stage.
    pub struct OfTerm { stage: &'static str, term: String }

    /// A learning rate of a stage.
    pub struct OfGroup { stage: &'static str, group: String }

    /// A measure of the styles of a domain.
    pub struct OfStyle { domain: String, measure: &'static str }
    pub struct OfModel { set: String, model: String }
    pub struct OfClass { set: String, model: String, class: String }

    /// A worker's place in the run, which outlives the process: its slot.
    pub struct OfRank { rank: u32 }
    pub struct OfPhase { rank: u32, stage: &'static str, phase: String }

    /// A process that asks something of a storage: a rank, or the coordinator.
    pub struct OfClient { client: String }
    pub struct OfOperation { client: String, operation: &'static str }
    pub struct OfReason { reason: &'static str }
    pub struct OfCause { cause: &'static str }
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
