//! An error that ends the process, and what `--help` says of exit codes.

use std::fmt;

use ulda_net::Shortage;
pub use ulda_run::Exit;

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

/// An error that ends the process, with the code it ends with.
#[derive(Debug)]
pub struct Stop {
    pub exit: Exit,
    pub cause: anyhow::Error,
}

impl Stop {
    /// Ends with `exit`; where the system was short of descriptors or memory, as unavailable, whatever it was needed for.
    pub fn new(exit: Exit, cause: impl Into<anyhow::Error>) -> Self {
        let cause = cause.into();
        let Some(shortage) = Shortage::of(&*cause) else {
            return Self { exit, cause };
        };
        Self {
            exit: Exit::Unavailable,
            cause: anyhow::anyhow!("{cause:#}\n  hint: {}", shortage.hint()),
        }
    }

    pub fn bad_input(cause: impl Into<anyhow::Error>) -> Self {
        Self::new(Exit::BadInput, cause)
    }

    pub fn disk_refuses(cause: impl Into<anyhow::Error>) -> Self {
        Self::new(Exit::DiskRefuses, cause)
    }

    pub fn unavailable(cause: impl Into<anyhow::Error>) -> Self {
        Self::new(Exit::Unavailable, cause)
    }
}

impl<E: Into<anyhow::Error>> From<E> for Stop {
    fn from(cause: E) -> Self {
        Self::new(Exit::Failed, cause)
    }
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", self.cause)
    }
}

#[cfg(test)]
mod tests {
    use std::io;

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
