//! One worker of a group: a process that leads a process group of its own, and does not outlive the program that started it.

use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};

use tokio::process::Command;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::lines::{LastError, pass_on};

/// A worker to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupMember {
    pub slot: u32,
    /// Arguments of this program.
    pub arguments: Vec<OsString>,
    /// Where its metrics are, if it has any.
    pub metrics: Option<SocketAddr>,
}

/// How a worker ended: its exit code, or 128 and the signal's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MemberEnd {
    pub slot: u32,
    pub code: u8,
}

/// A worker that was started.
pub(super) struct RunningMember {
    pub slot: u32,
    pub has_ended: bool,
    pub last_error: LastError,
    /// Ends with its output.
    pub lines: JoinHandle<()>,
    process_id: Option<u32>,
}

impl RunningMember {
    /// Starts this program with the member's arguments; its end is sent to `ended`.
    pub fn start(member: &GroupMember, ended: mpsc::Sender<MemberEnd>) -> io::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command
            .args(&member.arguments)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        // SAFETY: prctl with plain integers is allowed between fork and exec.
        unsafe {
            command.pre_exec(|| match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) {
                0 => Ok(()),
                _ => Err(io::Error::last_os_error()),
            });
        }
        let mut child = command.spawn()?;
        let last_error = LastError::default();
        let lines = tokio::spawn(pass_on(child.stderr.take(), last_error.clone()));
        let (slot, process_id) = (member.slot, child.id());
        tokio::spawn(async move {
            let code = child.wait().await.map_or(1, code_of);
            // Nobody listens once the group has ended.
            let _ = ended.send(MemberEnd { slot, code }).await;
        });
        Ok(Self {
            slot,
            has_ended: false,
            last_error,
            lines,
            process_id,
        })
    }

    /// Sends a signal to the worker and all that it started.
    pub fn signal(&self, signal: libc::c_int) {
        let process_id = self.process_id.and_then(|id| libc::pid_t::try_from(id).ok());
        if let Some(process_id) = process_id {
            // SAFETY: kill takes plain integers; a negative id names the group.
            unsafe {
                libc::kill(-process_id, signal);
            }
        }
    }
}

fn code_of(status: ExitStatus) -> u8 {
    const SIGNAL: i32 = 128;
    let signalled = status.signal().map(|signal| SIGNAL + signal);
    let code = status.code().or(signalled).unwrap_or(1);
    u8::try_from(code).unwrap_or(1)
}
