//! One simulated worker process.

use std::collections::BTreeMap;
use std::sync::Arc;

use ulda_machine::{Formation, MachineEvent};
use ulda_run::ids::{Generation, Slot, WorkerId};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pid(pub u64);

/// What a process does in its generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Idle,
    Forming,
    Formed,
    Training,
    Done,
}

pub struct Process {
    pub slot: Slot,
    /// Term and attempt of its launch, where the coordinator launched it.
    pub launch: Option<(u64, u32)>,
    pub alive: bool,
    pub stuck: bool,
    pub paused_until: u64,
    /// No message comes through to it or from it; what it does by itself goes on.
    pub cut_off_until: u64,
    /// No new stream can be opened.
    pub deaf_until: u64,
    pub slow_until: u64,
    pub worker: Option<WorkerId>,
    /// The open stream, if one is open. Each one has its own number.
    pub stream: Option<u64>,
    /// Term of the coordinator at the other end of it.
    pub stream_term: u64,
    /// Highest term heard of.
    pub term: u64,
    pub loaded: bool,
    pub generation: Generation,
    pub mode: Mode,
    pub formation: Option<Arc<Formation>>,
    /// Steps its state has applied; `None` without a state.
    pub at: Option<u64>,
    /// Repeated on a new stream.
    pub last_fact: Option<MachineEvent>,
    /// Messages of one stream keep their order.
    pub last_up: u64,
    pub last_down: u64,
    /// A join is under way until then.
    pub joining_until: u64,
}

impl Process {
    pub fn new(slot: Slot, launch: Option<(u64, u32)>) -> Self {
        Self {
            slot,
            launch,
            alive: true,
            stuck: false,
            paused_until: 0,
            cut_off_until: 0,
            deaf_until: 0,
            slow_until: 0,
            worker: None,
            stream: None,
            stream_term: 0,
            term: 0,
            loaded: false,
            generation: Generation::NONE,
            mode: Mode::Idle,
            formation: None,
            at: None,
            last_fact: None,
            last_up: 0,
            last_down: 0,
            joining_until: 0,
        }
    }

    /// Whether the others hear what it says now.
    pub fn is_reachable(&self, now: u64) -> bool {
        self.paused_until <= now && self.cut_off_until <= now && !self.stuck
    }

    pub fn takes_part(&self, generation: Generation) -> bool {
        self.alive && self.generation == generation && self.mode != Mode::Idle
    }
}

/// The processes by number.
#[derive(Default)]
pub struct Processes {
    pub all: BTreeMap<Pid, Process>,
}

impl Processes {
    pub fn spawn(&mut self, slot: Slot, launch: Option<(u64, u32)>) -> Pid {
        let pid = Pid(self.all.len() as u64);
        self.all.insert(pid, Process::new(slot, launch));
        pid
    }

    pub fn of(&self, worker: WorkerId) -> Option<Pid> {
        self.all
            .iter()
            .find(|(_, process)| process.worker == Some(worker))
            .map(|(pid, _)| *pid)
    }

    pub fn living(&self) -> Vec<Pid> {
        self.all
            .iter()
            .filter(|(_, process)| process.alive)
            .map(|(pid, _)| *pid)
            .collect()
    }
}
