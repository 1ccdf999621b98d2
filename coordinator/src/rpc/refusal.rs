//! Why a worker's call was refused.

use std::time::Duration;

use tonic::Status;
use ulda_machine::RefuseReason;
use ulda_run::hints;
use ulda_run::{Exit, hinted};

/// In a refusal's metadata: what the worker's process is to end with.
const EXIT_CODE: &str = "ulda-exit-code";

/// A typed reason; its text is what the worker logs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("this coordinator serves run `{ours}`, not `{asked}`")]
    AnotherRun { asked: String, ours: String },
    #[error("worker is version {theirs}, coordinator is version {ours}")]
    AnotherVersion { theirs: String, ours: String },
    #[error(
        "the worker's data plane at {data_address} is beyond the coordinator's host, and would not be encrypted"
    )]
    Exposed { data_address: String },
    #[error("worker {worker} is not known here")]
    UnknownWorker { worker: u64 },
    #[error(transparent)]
    Machine(RefuseReason),
    #[error("the run is ending")]
    Ending,
    #[error("{why}")]
    Over { why: String, exit: Exit },
    #[error("this coordinator has term {ours} and is stale: the run's coordinator has term {theirs}")]
    Superseded { ours: u64, theirs: u64 },
    #[error("this coordinator keeps no log of its workers: they write their own files")]
    NoLog,
    #[error("log lines were not kept: {reason}")]
    NotKept { reason: String },
    #[error("field `{field}` {reason}")]
    Malformed { field: &'static str, reason: String },
    #[error("worker waited {} s for the coordinator to answer {what}", waited.as_secs())]
    Late { what: &'static str, waited: Duration },
    #[error("coordinator waited {} s for the worker's {what}", waited.as_secs_f64())]
    Silent { what: &'static str, waited: Duration },
}

hints!(pub Refusal {
    Self::AnotherRun { .. } => "check --coordinator and --run of the worker",
    Self::AnotherVersion { .. } => "build both from the same commit",
    Self::Exposed { .. } => "start the coordinator with --data-tls always",
    Self::UnknownWorker { .. } => "join again",
    Self::Machine(reason) => reason.hint(),
});

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        let told = hinted(&refusal, refusal.hint());
        match refusal {
            Refusal::Over { exit, .. } => {
                let mut status = Self::failed_precondition(told);
                status.metadata_mut().insert(EXIT_CODE, i32::from(exit).into());
                status
            }
            Refusal::AnotherRun { .. }
            | Refusal::AnotherVersion { .. }
            | Refusal::Exposed { .. }
            | Refusal::Machine(_) => Self::failed_precondition(told),
            Refusal::UnknownWorker { .. } => Self::not_found(told),
            Refusal::Ending | Refusal::Superseded { .. } | Refusal::NotKept { .. } => Self::unavailable(told),
            Refusal::NoLog => Self::failed_precondition(told),
            Refusal::Malformed { .. } => Self::invalid_argument(told),
            Refusal::Late { .. } | Refusal::Silent { .. } => Self::deadline_exceeded(told),
        }
    }
}
