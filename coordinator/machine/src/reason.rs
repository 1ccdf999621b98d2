//! Why the machine decided what it decided. Tests match the variant, people read its text; logs, metric
//! labels and the status page say the same.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use ulda_run::hints;

use super::claim::Divergence;
use super::event::ExitKind;
use ulda_run::ids::{Generation, Shard, Slot, WorkerId};
use ulda_run::stage::Cursor;
use ulda_run::{Exit, StateClaim};

/// Where a chain of failures began, as far as the machine was told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FirstCause {
    pub slot: Option<Slot>,
    pub worker: Option<WorkerId>,
    pub text: String,
}

impl fmt::Display for FirstCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.slot, self.worker) {
            (Some(slot), Some(worker)) => write!(f, "{slot} ({worker}): {}", self.text),
            (Some(slot), None) => write!(f, "{slot}: {}", self.text),
            (None, Some(worker)) => write!(f, "{worker}: {}", self.text),
            (None, None) => f.write_str(&self.text),
        }
    }
}

/// Why a worker counts as gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
pub enum LostReason {
    #[error("did not attach again within {}: {why}", seconds(.waited))]
    Detached {
        why: String,
        #[serde(default)]
        waited: Duration,
    },
    #[error("left by itself")]
    Left,
    #[error("no sign of life for {}", seconds(.silence))]
    Silent { silence: Duration },
    #[error("joined but never attached within {}", seconds(.waited))]
    NeverAttached { waited: Duration },
    #[error("started but never joined within {}", seconds(.waited))]
    NeverJoined { waited: Duration },
    #[error("process {exit}{}", words(.last_words.as_ref()))]
    ProcessEnded {
        exit: ExitKind,
        last_words: Option<String>,
    },
    #[error("{cause} (exit code {exit_code})")]
    Failed { cause: String, exit_code: i32 },
    #[error("replaced by {by}, which joined in the same slot")]
    Replaced { by: WorkerId },
    #[error("alive, but no step was committed for {} and it is furthest behind at {}", seconds(.stalled), place(*.at))]
    Stuck { stalled: Duration, at: Option<Cursor> },
    #[error("{times} generations in a row waited for it in vain")]
    Blamed { times: u32 },
    #[error("did not say what state it keeps of {generation} within {}", seconds(.waited))]
    NoReport {
        generation: Generation,
        waited: Duration,
    },
    #[error("formed with state {}, not with {expected}", claimed(.got.as_ref()))]
    WrongState {
        expected: StateClaim,
        got: Option<StateClaim>,
    },
}

/// Why a generation was abandoned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
pub enum BreakReason {
    #[error("{worker} in {slot} is lost: {why}")]
    WorkerLost {
        worker: WorkerId,
        slot: Slot,
        why: LostReason,
    },
    #[error("{worker} reports: {cause}{}", waited_for(.waiting_for))]
    Broke {
        worker: WorkerId,
        cause: String,
        waiting_for: Vec<Shard>,
    },
    #[error("not formed within {}: {} did not say so", seconds(.waited), listed(.missing))]
    FormDeadline { waited: Duration, missing: Vec<Slot> },
    #[error("the members found different states to start from: {one} at {}, {other} at {}", claimed(.one_state.as_ref()), claimed(.other_state.as_ref()))]
    StatesDiffer {
        one: WorkerId,
        one_state: Option<StateClaim>,
        other: WorkerId,
        other_state: Option<StateClaim>,
    },
    #[error("{} joined and can share the work", listed(.slots))]
    Newcomers { slots: Vec<Slot> },
    #[error("the coordinator was away while it formed")]
    CoordinatorRestarted,
}

/// Why a worker is told to leave a generation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FenceReason {
    #[error("{generation} is abandoned: {why}")]
    Abandoned {
        generation: Generation,
        why: BreakReason,
    },
    #[error("stale message: of {got}, current is {current}")]
    StaleGeneration { got: Generation, current: Generation },
    #[error("the coordinator is back and asks where you stand")]
    CoordinatorRestarted,
}

/// Why a worker is told to end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StopReason {
    #[error("the run is finished")]
    Finished,
    #[error("the run is to stop: {0}")]
    Asked(String),
    #[error("the run failed: {0}")]
    Failed(FailReason),
    #[error("no longer part of the run: {0}")]
    Lost(LostReason),
}

impl StopReason {
    /// What the worker's process says when it ends on this: whether whoever started it shall do so again.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Finished | Self::Asked(_) => Exit::Done,
            Self::Failed(FailReason::BadInput { .. }) => Exit::BadInput,
            Self::Failed(_) => Exit::RunFailed,
            Self::Lost(_) => Exit::Failed,
        }
    }
}

/// Why somebody is turned away.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RefuseReason {
    #[error("the run has {max} workers already")]
    Full { max: u32 },
    #[error("{slot} is served by {by}, heard of {} ago", seconds(.silence))]
    SlotTaken {
        slot: Slot,
        by: WorkerId,
        silence: Duration,
    },
    #[error("{slot} was lost {losses} times and is not tried again for {}", seconds(.wait))]
    BudgetSpent { slot: Slot, losses: u32, wait: Duration },
    #[error("{worker} is not part of the run (any more)")]
    UnknownWorker { worker: WorkerId },
    #[error("the run is stopping")]
    Stopping,
    #[error("the run is over")]
    Over,
}

hints!(pub RefuseReason {
    Self::Full { .. } => "start fewer",
    Self::SlotTaken { .. } => "try again shortly, or take another slot",
    Self::BudgetSpent { .. } => "see its log",
    Self::UnknownWorker { .. } => "join again",
});

/// Why the run failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
pub enum FailReason {
    #[error("bad configuration or input: {cause}")]
    BadInput { cause: FirstCause },
    #[error("{have} workers of at least {need} are there after {}; missing: {}{}", seconds(.waited), listed(.missing), began(.first.as_ref()))]
    TooFew {
        have: u32,
        need: u32,
        missing: Vec<Slot>,
        waited: Duration,
        first: Option<FirstCause>,
    },
    #[error(
        "the restarts of {slot} are spent and {have} workers are left of at least {need}; it began with {first}"
    )]
    BudgetSpent {
        slot: Slot,
        have: u32,
        need: u32,
        first: FirstCause,
    },
    #[error(transparent)]
    Diverged(Divergence),
    #[error("no step was committed after {}, in {times} attempts; last: {last}", place(*.at))]
    Stalled {
        at: Option<Cursor>,
        times: u32,
        last: String,
    },
}

hints!(pub FailReason {
    Self::Diverged(divergence) => divergence.hint(),
});

impl FailReason {
    /// What the coordinator ends with.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::BadInput { .. } => Exit::BadInput,
            Self::TooFew { .. } | Self::BudgetSpent { .. } | Self::Diverged(_) | Self::Stalled { .. } => {
                Exit::Failed
            }
        }
    }
}

/// What a gathering still waits for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WaitReason {
    #[error("{have} workers are there, {need} are needed")]
    TooFew { have: u32, need: u32 },
    #[error("waiting for {}", listed(.slots))]
    Missing { slots: Vec<Slot> },
    #[error("waiting until {} loaded weights and data", listed(.slots))]
    Loading { slots: Vec<Slot> },
    #[error("waiting to hear what state {} kept", joined(.workers))]
    Reports { workers: Vec<WorkerId> },
    #[error("{breaks} generations broke without a committed step between them; pausing before the next")]
    Pacing { breaks: u32 },
}

/// What the run does now, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Verdict {
    #[error("gathering: {0}")]
    Waiting(WaitReason),
    #[error("forming {generation}: waiting for {}", listed(.missing))]
    Forming {
        generation: Generation,
        missing: Vec<Slot>,
    },
    #[error("training in {generation} with {workers} workers")]
    Training { generation: Generation, workers: u32 },
    #[error("{generation} trains; waiting for {} to attach again", listed(.missing))]
    Reattaching {
        generation: Generation,
        missing: Vec<Slot>,
    },
    #[error("stopping ({why}): waiting for {} to leave", listed(.left))]
    Draining { why: String, left: Vec<Slot> },
    #[error("finished")]
    Finished,
    #[error("stopped")]
    Stopped,
    #[error("failed: {0}")]
    Failed(FailReason),
}

/// What the machine wants to be woken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum WakeReason {
    #[error("gather deadline")]
    Gather,
    #[error("deadline for workers to load weights and data")]
    Loading,
    #[error("end of the grace for relaunched workers")]
    Grace,
    #[error("end of the pause between generations")]
    Pacing,
    #[error("form deadline")]
    Form,
    #[error("progress deadline")]
    Progress,
    #[error("newcomers may be taken in")]
    Admit,
    #[error("drain deadline")]
    Drain,
    #[error("heartbeat deadline of {0}")]
    Heartbeat(WorkerId),
    #[error("deadline for {0} to attach again")]
    Attach(WorkerId),
    #[error("deadline for the report of {0}")]
    Report(WorkerId),
    #[error("deadline for {0} to join")]
    Join(Slot),
    #[error("deadline for the process of {0} to end")]
    Exit(Slot),
    #[error("next start of {0}")]
    Relaunch(Slot),
}

fn seconds(time: &Duration) -> String {
    let text = format!("{:.3}", time.as_secs_f64());
    format!("{} s", text.trim_end_matches('0').trim_end_matches('.'))
}

fn words(last: Option<&String>) -> String {
    last.map_or_else(String::new, |words| format!("; its log ends with: {words}"))
}

fn place(cursor: Option<Cursor>) -> String {
    cursor.map_or_else(|| "the start".to_owned(), |cursor| cursor.to_string())
}

fn claimed(state: Option<&StateClaim>) -> String {
    state.map_or_else(|| "the start".to_owned(), ToString::to_string)
}

fn began(first: Option<&FirstCause>) -> String {
    first.map_or_else(String::new, |first| format!("; it began with {first}"))
}

fn waited_for(shards: &[Shard]) -> String {
    if shards.is_empty() {
        String::new()
    } else {
        format!(" (waited for {})", joined(shards))
    }
}

fn listed(slots: &[Slot]) -> String {
    if slots.is_empty() {
        "nobody".to_owned()
    } else {
        joined(slots)
    }
}

fn joined<T: fmt::Display>(items: &[T]) -> String {
    items
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}
