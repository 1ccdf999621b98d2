//! Processes of this host: who they are, how they ended, how to end them.

use std::fmt;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

/// A process id together with its start time, so that a later process of the same id is not taken for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessIdentity {
    pub process_id: u32,
    /// Clock ticks from boot to the process's start.
    pub started_ticks: u64,
}

impl ProcessIdentity {
    /// Reads who `process_id` is; `None` when there is no such process or it is only waited for by its parent.
    #[must_use]
    pub fn of(process_id: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{process_id}/stat")).ok()?;
        // The command stands in parentheses and may hold anything; what follows it is plain.
        let (_, fields) = stat.rsplit_once(')')?;
        let fields: Vec<&str> = fields.split_whitespace().collect();
        let state = *fields.first()?;
        let started_ticks = fields.get(19)?.parse().ok()?;
        (state != "Z" && state != "X").then_some(Self {
            process_id,
            started_ticks,
        })
    }

    #[must_use]
    pub fn is_alive(&self) -> bool {
        Self::of(self.process_id) == Some(*self)
    }

    /// Sends a signal to the whole process group that this process leads, if it is still there.
    pub fn signal_group(&self, signal: libc::c_int) {
        let Ok(process_id) = libc::pid_t::try_from(self.process_id) else {
            return;
        };
        // SAFETY: kill takes plain integers; a negative id names the group.
        unsafe {
            libc::kill(-process_id, signal);
        }
    }
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProcessExit {
    Code(i32),
    Signal(i32),
    /// It was not our child, so nobody told us.
    Unseen,
}

impl From<ExitStatus> for ProcessExit {
    fn from(status: ExitStatus) -> Self {
        match (status.code(), status.signal()) {
            (Some(code), _) => Self::Code(code),
            (None, Some(signal)) => Self::Signal(signal),
            (None, None) => Self::Unseen,
        }
    }
}

impl fmt::Display for ProcessExit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(signal) => match name(*signal) {
                Some(name) => write!(f, "signal {signal} ({name})"),
                None => write!(f, "signal {signal}"),
            },
            Self::Unseen => f.write_str("end not seen"),
        }
    }
}

fn name(signal: i32) -> Option<&'static str> {
    Some(match signal {
        libc::SIGKILL => "SIGKILL; out of memory?",
        libc::SIGTERM => "SIGTERM",
        libc::SIGINT => "SIGINT",
        libc::SIGSEGV => "SIGSEGV",
        libc::SIGABRT => "SIGABRT",
        libc::SIGBUS => "SIGBUS; no space in /dev/shm?",
        libc::SIGILL => "SIGILL; built for another CPU?",
        libc::SIGFPE => "SIGFPE",
        _ => return None,
    })
}
