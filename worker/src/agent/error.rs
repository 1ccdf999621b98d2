//! Why a worker has no part in the run.

use std::path::PathBuf;
use std::time::Duration;

use ulda_credentials::channel::Distrust;
use ulda_run::Exit;
use ulda_run::hints;

#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    #[error("`{0}` is not a coordinator's address")]
    Address(String),
    #[error("`{0}` would send the run's token in the clear to another host")]
    InTheClear(String),
    #[error("with the credentials in `{}`: {why}", folder.display())]
    Distrust { folder: PathBuf, why: Distrust },
    #[error("the coordinator does not take the token in `{}`: {reason}", folder.display())]
    WrongToken { folder: PathBuf, reason: String },
    #[error("no coordinator answered at {address} within {} s: {last}", waited.as_secs())]
    Unreachable {
        address: String,
        waited: Duration,
        last: String,
    },
    #[error("the coordinator refused this worker: {0}")]
    Refused(String),
    #[error("nothing is left to do: {why}")]
    Over { why: String, exit: Exit },
    #[error("the coordinator's answer is unusable: {0}")]
    BadReply(String),
    #[error("the agent's runtime cannot start")]
    Runtime(#[source] std::io::Error),
}

hints!(pub AgentError {
    Self::Address(_) => "it looks like https://10.0.0.1:7070",
    Self::InTheClear(_) => "dial it by https://",
    Self::Distrust { why, .. } => why.hint(),
});

impl AgentError {
    /// What the worker's process ends with.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Over { exit, .. } => *exit,
            // A person must mend something before a worker like this one can join.
            Self::Address(_) | Self::InTheClear(_) | Self::Distrust { .. } | Self::WrongToken { .. } => {
                Exit::BadInput
            }
            Self::Unreachable { .. } | Self::Refused(_) | Self::BadReply(_) | Self::Runtime(_) => {
                Exit::Unavailable
            }
        }
    }
}
