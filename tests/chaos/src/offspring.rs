//! The harness's own processes: found in /proc below this one, ended by id.
//!
//! This process is made a subreaper: a worker whose coordinator was killed becomes its child, so nothing
//! that was started here can get lost.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

use crate::ChaosError;
use crate::patience::wait_for;

/// Longest wait for a process after SIGKILL.
const GO: Duration = Duration::from_secs(10);

/// A process of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pid(pub i32);

/// How a process ended, as a shell would say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Code(i32),
    Signal(i32),
}

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(signal) => write!(f, "signal {signal}"),
        }
    }
}

/// Orphans below this process become its children from now on; it ends when its own parent does.
pub fn adopt_orphans() {
    // SAFETY: prctl with plain integers.
    unsafe {
        libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM, 0, 0, 0);
    }
}

/// Ends this process's child when this process ends, however that comes about.
fn tie(command: &mut Command) -> &mut Command {
    // SAFETY: prctl is safe to call between fork and exec.
    unsafe {
        command.pre_exec(|| {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0);
            Ok(())
        })
    }
}

/// Starts a process that ends with this one.
///
/// # Errors
/// It cannot be started.
pub fn start(command: &mut Command) -> Result<Pid, ChaosError> {
    let path = command.get_program().into();
    let child = tie(command)
        .process_group(0)
        .spawn()
        .map_err(|source| ChaosError::Start { path, source })?;
    Ok(Pid(i32::try_from(child.id()).unwrap_or(i32::MAX)))
}

impl Pid {
    /// Sends a signal; a process that is gone is no error.
    pub fn signal(self, signal: libc::c_int) {
        if self.0 > 1 {
            // SAFETY: kill takes plain integers.
            unsafe { libc::kill(self.0, signal) };
        }
    }

    /// Whether SIGSTOP keeps it from doing anything.
    #[must_use]
    pub fn is_stopped(self) -> bool {
        matches!(state_and_parent(self.0), Some(('T', _)))
    }

    /// How it ended, if it has.
    #[must_use]
    pub fn ended(self) -> Option<Exit> {
        let mut status = 0;
        // SAFETY: waitpid writes into a local.
        let got = unsafe { libc::waitpid(self.0, &raw mut status, libc::WNOHANG) };
        match got {
            0 => None,
            _ if got == self.0 && libc::WIFSIGNALED(status) => Some(Exit::Signal(libc::WTERMSIG(status))),
            _ if got == self.0 => Some(Exit::Code(libc::WEXITSTATUS(status))),
            _ => Some(Exit::Signal(0)),
        }
    }

    /// Ends it at once and waits until it is gone.
    ///
    /// # Errors
    /// It does not go.
    pub fn kill(self) -> Result<(), ChaosError> {
        self.signal(libc::SIGKILL);
        wait_for("a killed process to go", GO, || Ok(self.ended().map(drop)))
    }
}

/// A process that is asked more than once how it ended.
#[derive(Debug)]
pub struct Watched {
    pub pid: Pid,
    exit: Cell<Option<Exit>>,
}

impl Watched {
    #[must_use]
    pub fn new(pid: Pid) -> Self {
        Self {
            pid,
            exit: Cell::new(None),
        }
    }

    /// How it ended, if it has.
    #[must_use]
    pub fn ended(&self) -> Option<Exit> {
        if self.exit.get().is_none() {
            self.exit.set(self.pid.ended());
        }
        self.exit.get()
    }

    /// Ends it at once and waits until it is gone.
    ///
    /// # Errors
    /// It does not go.
    pub fn kill(&self) -> Result<(), ChaosError> {
        self.pid.signal(libc::SIGKILL);
        let gone = || Ok(self.ended().map(drop));
        wait_for("a killed process to go", GO, gone)
    }
}

/// Ends these at once and waits until they are gone.
///
/// # Errors
/// One does not go.
pub fn kill_all(processes: &[Pid]) -> Result<(), ChaosError> {
    processes.iter().for_each(|pid| pid.signal(libc::SIGKILL));
    wait_for("killed processes to go", GO, || {
        let left = descendants();
        Ok((!processes.iter().any(|pid| left.contains(pid))).then_some(()))
    })
}

struct Relation {
    parent: i32,
    alive: bool,
}

/// State and parent of a process, as `/proc` has them.
fn state_and_parent(id: i32) -> Option<(char, i32)> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace();
    let state = fields.next()?.chars().next()?;
    Some((state, fields.next()?.parse().ok()?))
}

/// Every process and its parent. One that was killed stays its children's parent for a moment.
fn relations() -> BTreeMap<i32, Relation> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    ids.filter_map(|id| {
        let (state, parent) = state_and_parent(id)?;
        let alive = state != 'Z' && state != 'X';
        Some((id, Relation { parent, alive }))
    })
    .collect()
}

/// All living processes below this one.
#[must_use]
pub fn descendants() -> Vec<Pid> {
    let relations = relations();
    let me = i32::try_from(std::process::id()).unwrap_or(0);
    let is_ours = |mut id: i32| {
        for _ in 0..64 {
            match relations.get(&id).map(|relation| relation.parent) {
                Some(parent) if parent == me => return true,
                Some(parent) if parent > 1 => id = parent,
                Some(_) | None => return false,
            }
        }
        false
    };
    let living = relations.iter().filter(|(_, relation)| relation.alive);
    living
        .map(|(id, _)| *id)
        .filter(|id| is_ours(*id))
        .map(Pid)
        .collect()
}

/// Slot of the worker that this process is, if it is one.
fn slot_of(pid: Pid) -> Option<u32> {
    let line = fs::read(format!("/proc/{}/cmdline", pid.0)).ok()?;
    let words: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
    if words.get(1) != Some(&b"join".as_slice()) {
        return None;
    }
    let place = words.iter().position(|word| *word == b"--slot")?;
    std::str::from_utf8(words.get(place + 1)?).ok()?.parse().ok()
}

/// Living workers below this process by slot.
#[must_use]
pub fn workers() -> BTreeMap<u32, Pid> {
    let slotted = descendants().into_iter();
    slotted.filter_map(|pid| Some((slot_of(pid)?, pid))).collect()
}

/// Every living worker below this process, also where two have one slot.
#[must_use]
pub fn worker_processes() -> Vec<Pid> {
    let mut processes = descendants();
    processes.retain(|pid| slot_of(*pid).is_some());
    processes
}

/// Ends everything below this process.
pub fn end_all() {
    for _ in 0..200 {
        let left = descendants();
        for pid in &left {
            pid.signal(libc::SIGKILL);
        }
        reap();
        if left.is_empty() {
            return;
        }
        std::thread::yield_now();
        let _ = crate::patience::pass(Duration::from_millis(10));
    }
}

/// Takes note of adopted processes that ended.
fn reap() {
    let mut status = 0;
    // SAFETY: waitpid writes into a local.
    while unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) } > 0 {}
}
