//! An error that ends the process, and what `--help` says of exit codes.

use std::fmt;
use std::io;
use std::num::TryFromIntError;
use std::time::{SystemTimeError, TryFromFloatSecsError};

use tokio::task::JoinError;
use ulda_credentials::CredentialsError;
use ulda_dataset::DatasetError;
use ulda_kubernetes::cluster::ClusterError;
use ulda_net::Shortage;
pub use ulda_run::Exit;
use ulda_run::spec::SpecProblems;

use crate::check::Findings;
use crate::compare::CompareError;
use crate::config::LoadError;
use crate::http::HttpError;
use crate::journal::JournalError;
use crate::observe::tensorboard::{EventFileError, ExportError};
use crate::remote::RemoteError;
use crate::report::{FinalManifestError, ReportError};
use crate::rpc::ServeError;
use crate::run::RunError;
use crate::run_directory::RunDirectoryError;

/// The paragraph of `--help` on exit codes.
pub const HELP: &str = "\
Exit codes:
  0    done
  1    failed; the first cause is the last thing printed
  2    the command line itself is wrong
  74   the journal or the run directory cannot be written to, as on a full disk; workers train on, the run can be resumed
  75   cannot be served now: address taken, the run is served by another coordinator, its storage is away, or too many files are open
  78   configuration, data or checkpoints are wrong; nothing was started
  130  interrupted (Ctrl-C); the run can be resumed
  143  terminated (SIGTERM, `coordinator stop`); the run can be resumed";

/// An error that can end the process.
pub trait StopCause: Into<anyhow::Error> {
    /// What a person can do about it.
    fn hint(&self) -> Option<String> {
        None
    }
}

impl StopCause for anyhow::Error {}
impl StopCause for io::Error {}
impl StopCause for serde_json::Error {}
impl StopCause for TryFromIntError {}
impl StopCause for TryFromFloatSecsError {}
impl StopCause for JoinError {}
impl StopCause for SystemTimeError {}
impl StopCause for csv::Error {}
impl StopCause for EventFileError {}
// They list their keys, each with its hint.
impl StopCause for SpecProblems {}
impl StopCause for Findings {}

/// Lets errors with a method `hint` end the process.
macro_rules! stop_causes {
    ($($error:ty),+ $(,)?) => {
        $(impl StopCause for $error {
            fn hint(&self) -> Option<String> {
                <$error>::hint(self)
            }
        })+
    };
}

stop_causes!(
    ClusterError,
    CompareError,
    CredentialsError,
    DatasetError,
    ExportError,
    FinalManifestError,
    HttpError,
    JournalError,
    LoadError,
    RemoteError,
    ReportError,
    RunDirectoryError,
    RunError,
    ServeError,
);

/// An error that ends the process: the code it ends with, why, and what a person can do about it.
#[derive(Debug)]
pub struct Stop {
    pub exit: Exit,
    pub cause: anyhow::Error,
    pub hint: Option<String>,
}

impl Stop {
    /// Ends with `exit`; where the system was short of descriptors or memory, as unavailable, whatever it was needed for.
    pub fn new(exit: Exit, cause: impl StopCause) -> Self {
        let hint = cause.hint();
        let cause = cause.into();
        Self {
            exit: match Shortage::of(&*cause) {
                Some(_) => Exit::Unavailable,
                None => exit,
            },
            hint: Shortage::hint_or(&*cause, hint),
            cause,
        }
    }

    pub fn bad_input(cause: impl StopCause) -> Self {
        Self::new(Exit::BadInput, cause)
    }

    pub fn disk_refuses(cause: impl StopCause) -> Self {
        Self::new(Exit::DiskRefuses, cause)
    }

    pub fn unavailable(cause: impl StopCause) -> Self {
        Self::new(Exit::Unavailable, cause)
    }

    #[must_use]
    pub fn with_hint(self, hint: impl Into<String>) -> Self {
        Self {
            hint: Some(hint.into()),
            ..self
        }
    }
}

impl<E: StopCause> From<E> for Stop {
    fn from(cause: E) -> Self {
        Self::new(Exit::Failed, cause)
    }
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", self.cause)?;
        match &self.hint {
            Some(hint) => write!(f, "\n  hint: {hint}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_many_open_files_are_a_temporary_fault_whatever_was_to_be_opened() {
        let refused = || io::Error::from_raw_os_error(libc::EMFILE);
        let wrapped = || anyhow::Error::new(refused()).context("read `run.toml`");
        for stop in [
            Stop::bad_input(wrapped()),
            Stop::disk_refuses(wrapped()),
            Stop::from(wrapped()),
        ] {
            assert_eq!(stop.exit, Exit::Unavailable);
            assert_eq!(
                stop.to_string(),
                "read `run.toml`: Too many open files (os error 24)\n  hint: too many open files: raise the hard limit \
                 (`ulimit -n`) of this process"
            );
        }
        assert_eq!(Stop::bad_input(io::Error::other("no")).exit, Exit::BadInput);
    }
}
