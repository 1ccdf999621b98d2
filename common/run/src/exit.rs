//! What a program's exit code says. `coordinator --help` has the same list.

use serde::{Deserialize, Serialize};

/// How a coordinator or a worker ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "i32", from = "i32")]
#[repr(u8)]
pub enum Exit {
    Done = 0,
    Failed = 1,
    /// The run failed: a worker that is started again changes nothing (`EX_SOFTWARE` of sysexits).
    RunFailed = 70,
    /// The run directory cannot be written to, most often for want of space (`EX_IOERR` of sysexits).
    DiskRefuses = 74,
    /// Nothing is wrong with the request, but it cannot be served now: address taken, run already served, no coordinator,
    /// a storage that does not answer, no descriptors left (`EX_TEMPFAIL` of sysexits).
    Unavailable = 75,
    /// Configuration, data or checkpoints are wrong, which a person must mend (`EX_CONFIG` of sysexits).
    BadInput = 78,
    Interrupted = 130,
    /// By SIGTERM; the run may go on.
    Terminated = 143,
}

impl Exit {
    const ALL: [Self; 8] = [
        Self::Done,
        Self::Failed,
        Self::RunFailed,
        Self::DiskRefuses,
        Self::Unavailable,
        Self::BadInput,
        Self::Interrupted,
        Self::Terminated,
    ];

    #[must_use]
    pub fn code(self) -> u8 {
        self as u8
    }
}

impl From<Exit> for i32 {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// A code that is none of ours is a failure.
impl From<i32> for Exit {
    fn from(code: i32) -> Self {
        let known = Self::ALL.into_iter().find(|exit| i32::from(*exit) == code);
        known.unwrap_or(Self::Failed)
    }
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}
