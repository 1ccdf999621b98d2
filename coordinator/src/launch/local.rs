//! Workers as processes of this host.
//!
//! Each is the leader of its own process group and writes its log into a file, so that it outlives a killed
//! coordinator; the next coordinator of the run adopts it. Invariant: after [`LocalLauncher::end_all`] no
//! process that was started or adopted is left.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use ulda_run::hints;

use super::cause::{WorkerDeath, first_cause};
use super::process::{ProcessExit, ProcessIdentity};

/// How often an adopted process, which is not our child, is looked at.
const ADOPTED_POLL: Duration = Duration::from_millis(300);
/// Between SIGTERM and SIGKILL when nothing else is said.
const AFTER_KILL: Duration = Duration::from_secs(5);

/// What to start for a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    pub program: PathBuf,
    pub arguments: Vec<OsString>,
    pub environment: Vec<(String, String)>,
    pub log: PathBuf,
}

/// Why a worker could not be started.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    #[error("worker binary `{}` does not exist", path.display())]
    NoBinary { path: PathBuf },
    #[error("worker binary `{}` cannot be executed", path.display())]
    NotExecutable { path: PathBuf },
    #[error("start worker `{}` in slot {slot}", path.display())]
    Start {
        slot: u32,
        path: PathBuf,
        source: io::Error,
    },
    #[error("open worker log `{}`", path.display())]
    Log { path: PathBuf, source: io::Error },
}

hints!(pub LaunchError {
    Self::NoBinary { .. } => "build it with `make`, or name it with --worker-binary",
    Self::NotExecutable { .. } => "chmod +x it",
});

/// A process that was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Started {
    pub slot: u32,
    pub attempt: u32,
    pub identity: ProcessIdentity,
}

/// A process that ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndedProcess {
    pub slot: u32,
    pub attempt: u32,
    pub process_id: u32,
    pub exit: ProcessExit,
    pub cause: WorkerDeath,
}

#[derive(Debug)]
struct Running {
    identity: ProcessIdentity,
}

/// Starts, watches and ends the workers of one run on this host.
#[derive(Debug)]
pub struct LocalLauncher {
    running: BTreeMap<u32, Running>,
    ended: mpsc::Sender<EndedProcess>,
}

impl LocalLauncher {
    /// Ends of processes are told to `ended`; the owner passes each on to [`LocalLauncher::forget`].
    #[must_use]
    pub fn new(ended: mpsc::Sender<EndedProcess>) -> Self {
        Self {
            running: BTreeMap::new(),
            ended,
        }
    }

    #[must_use]
    pub fn runs(&self, slot: u32) -> bool {
        self.running.contains_key(&slot)
    }

    #[must_use]
    pub fn count(&self) -> usize {
        self.running.len()
    }

    /// Starts `command` for `slot`. `attempt` comes back with the outcome.
    ///
    /// # Errors
    /// The binary or the log cannot be used.
    pub fn start(&mut self, slot: u32, attempt: u32, command: &Command) -> Result<Started, LaunchError> {
        let log = |source| LaunchError::Log {
            path: command.log.clone(),
            source,
        };
        let output = ulda_files::append_to(&command.log).map_err(log)?;
        let from = output.metadata().map_err(log)?.len();
        let errors = output.try_clone().map_err(log)?;
        let mut child = tokio::process::Command::new(&command.program)
            .args(&command.arguments)
            .envs(command.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .process_group(0)
            .kill_on_drop(false)
            .spawn()
            .map_err(|source| start_error(slot, &command.program, source))?;
        let process_id = child.id().unwrap_or_default();
        let identity = ProcessIdentity::of(process_id).unwrap_or(ProcessIdentity {
            process_id,
            started_ticks: 0,
        });
        self.running.insert(slot, Running { identity });
        let (ended, path) = (self.ended.clone(), command.log.clone());
        tokio::spawn(async move {
            let exit = child.wait().await.map_or(ProcessExit::Unseen, ProcessExit::from);
            // What the worker itself had started must not outlive it.
            identity.signal_group(libc::SIGKILL);
            let cause = first_cause(slot, exit.to_string(), &path, from);
            // Nobody listens once the coordinator has left.
            let _ = ended
                .send(EndedProcess {
                    slot,
                    attempt,
                    process_id,
                    exit,
                    cause,
                })
                .await;
        });
        Ok(Started {
            slot,
            attempt,
            identity,
        })
    }

    /// Takes over a process of an earlier coordinator of this run, if it still lives.
    pub fn adopt(&mut self, started: Started, log: &Path) -> bool {
        let Started {
            slot,
            attempt,
            identity,
        } = started;
        if !identity.is_alive() {
            return false;
        }
        self.running.insert(slot, Running { identity });
        let (ended, path) = (self.ended.clone(), log.to_owned());
        tokio::spawn(async move {
            while identity.is_alive() {
                tokio::time::sleep(ADOPTED_POLL).await;
            }
            let exit = ProcessExit::Unseen;
            let cause = first_cause(slot, exit.to_string(), &path, 0);
            let _ = ended
                .send(EndedProcess {
                    slot,
                    attempt,
                    process_id: identity.process_id,
                    exit,
                    cause,
                })
                .await;
        });
        true
    }

    /// The process of an outcome is gone. Returns whether it was the one its slot runs now.
    pub fn forget(&mut self, outcome: &EndedProcess) -> bool {
        let current = self
            .running
            .get(&outcome.slot)
            .is_some_and(|running| running.identity.process_id == outcome.process_id);
        if current {
            self.running.remove(&outcome.slot);
        }
        current
    }

    /// Ends the process of a slot at once.
    pub fn kill(&self, slot: u32) {
        if let Some(running) = self.running.get(&slot) {
            running.identity.signal_group(libc::SIGKILL);
        }
    }

    /// Ends all: SIGTERM, after `grace` SIGKILL. Returns the slots that had to be killed.
    pub async fn end_all(&mut self, grace: Duration) -> Vec<u32> {
        self.signal_all(libc::SIGTERM);
        if self.all_gone_within(grace).await {
            return Vec::new();
        }
        let stubborn = self.living();
        self.signal_all(libc::SIGKILL);
        self.all_gone_within(AFTER_KILL).await;
        stubborn
    }

    /// Waits for the processes to end by themselves.
    pub async fn all_gone_within(&mut self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        loop {
            self.running.retain(|_, running| running.identity.is_alive());
            if self.running.is_empty() {
                return true;
            }
            if Instant::now() >= deadline {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Sends a signal to every process group.
    pub fn signal_all(&self, signal: libc::c_int) {
        for running in self.running.values() {
            running.identity.signal_group(signal);
        }
    }

    fn living(&self) -> Vec<u32> {
        self.running.keys().copied().collect()
    }
}

fn start_error(slot: u32, program: &Path, source: io::Error) -> LaunchError {
    let path = program.to_owned();
    match source.kind() {
        io::ErrorKind::NotFound => LaunchError::NoBinary { path },
        io::ErrorKind::PermissionDenied => LaunchError::NotExecutable { path },
        _ => LaunchError::Start { slot, path, source },
    }
}
