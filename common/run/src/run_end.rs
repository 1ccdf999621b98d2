//! How a run ended for good.

use serde::{Deserialize, Serialize};

use crate::exit::Exit;

/// The end of a run as people, other processes, logs and pages are told of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum RunEnd {
    Finished {
        digest: String,
    },
    /// By a person.
    Stopped,
    Failed {
        why: String,
        #[serde(rename = "exit_code")]
        exit: Exit,
    },
}

impl RunEnd {
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Finished { .. } => "finished",
            Self::Stopped => "stopped",
            Self::Failed { .. } => "failed",
        }
    }

    /// What the coordinator ends with.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Finished { .. } => Exit::Done,
            Self::Stopped => Exit::Terminated,
            Self::Failed { exit, .. } => *exit,
        }
    }

    /// What its workers end with: whether whoever started one shall do so again.
    #[must_use]
    pub fn worker_exit(&self) -> Exit {
        match self {
            Self::Finished { .. } | Self::Stopped => Exit::Done,
            Self::Failed {
                exit: Exit::BadInput, ..
            } => Exit::BadInput,
            Self::Failed { .. } => Exit::RunFailed,
        }
    }
}
