//! Why a worker's call was refused.

use std::time::Duration;

use tonic::Status;

/// A typed reason; its text is what the worker logs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error(
        "this coordinator serves run `{ours}`, not `{asked}`; hint: check --coordinator and --run of the worker"
    )]
    AnotherRun { asked: String, ours: String },
    #[error(
        "worker is version {theirs}, coordinator is version {ours}; hint: build both from the same commit"
    )]
    AnotherVersion { theirs: String, ours: String },
    #[error("worker {worker} is not known here; hint: join again")]
    UnknownWorker { worker: u64 },
    #[error("{told}")]
    Machine { told: String },
    #[error("the run is ending")]
    Ending,
    #[error("this coordinator keeps no log of its workers: they write their own files")]
    NoLog,
    #[error("log lines were not kept: {told}")]
    NotKept { told: String },
    #[error("field `{field}` {told}")]
    Malformed { field: &'static str, told: String },
    #[error("worker waited {} s for the coordinator to answer {what}", waited.as_secs())]
    Late { what: &'static str, waited: Duration },
    #[error("coordinator waited {} s for the worker's {what}", waited.as_secs_f64())]
    Silent { what: &'static str, waited: Duration },
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        let told = refusal.to_string();
        match refusal {
            Refusal::AnotherRun { .. } | Refusal::AnotherVersion { .. } | Refusal::Machine { .. } => {
                Self::failed_precondition(told)
            }
            Refusal::UnknownWorker { .. } => Self::not_found(told),
            Refusal::Ending | Refusal::NotKept { .. } => Self::unavailable(told),
            Refusal::NoLog => Self::failed_precondition(told),
            Refusal::Malformed { .. } => Self::invalid_argument(told),
            Refusal::Late { .. } | Refusal::Silent { .. } => Self::deadline_exceeded(told),
        }
    }
}
