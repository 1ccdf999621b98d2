//! What the process's exit code says. The same list stands in `--help`.

use std::fmt;
use std::process::ExitCode;

/// How an invocation of the coordinator ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Done,
    Failed,
    /// The run directory cannot be written to, most often for want of space (`EX_IOERR` of sysexits).
    DiskRefuses,
    /// Nothing is wrong with the request, but it cannot be served now: address taken, run already served.
    Unavailable,
    /// Configuration, data or checkpoints are wrong (`EX_CONFIG` of sysexits).
    BadInput,
    Interrupted,
    Terminated,
}

impl Exit {
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::DiskRefuses => 74,
            Self::Unavailable => 75,
            Self::BadInput => 78,
            Self::Interrupted => 130,
            Self::Terminated => 143,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// The paragraph of `--help` on exit codes.
pub const HELP: &str = "\
Exit codes:
  0    done
  1    failed; the first cause is the last thing printed
  2    the command line itself is wrong
  74   the journal or the run directory cannot be written to, as on a full disk; workers train on, the run can be resumed
  75   cannot be served now: address taken, the run is served by another coordinator, or its storage is away
  78   configuration, data or checkpoints are wrong; nothing was started
  130  interrupted (Ctrl-C); the run can be resumed
  143  terminated (SIGTERM, `coordinator stop`); the run can be resumed";

/// An error that ends the process, with the code it ends with.
#[derive(Debug)]
pub struct Stop {
    pub exit: Exit,
    pub cause: anyhow::Error,
}

impl Stop {
    pub fn bad_input(cause: impl Into<anyhow::Error>) -> Self {
        Self {
            exit: Exit::BadInput,
            cause: cause.into(),
        }
    }

    pub fn disk_refuses(cause: impl Into<anyhow::Error>) -> Self {
        Self {
            exit: Exit::DiskRefuses,
            cause: cause.into(),
        }
    }

    pub fn unavailable(cause: impl Into<anyhow::Error>) -> Self {
        Self {
            exit: Exit::Unavailable,
            cause: cause.into(),
        }
    }
}

impl<E: Into<anyhow::Error>> From<E> for Stop {
    fn from(cause: E) -> Self {
        Self {
            exit: Exit::Failed,
            cause: cause.into(),
        }
    }
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", self.cause)
    }
}
