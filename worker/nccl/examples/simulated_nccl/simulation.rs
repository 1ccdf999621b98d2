//! Worlds, communicators and streams, all under one lock, and how they get on.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::{CString, c_char, c_int};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};

use super::call::{Call, carry_out};

pub const SUCCESS: u32 = 0;
pub const INVALID_ARGUMENT: u32 = 4;
pub const REMOTE_ERROR: u32 = 6;
pub const IN_PROGRESS: u32 = 7;

/// What an operation that was set free leaves in its results.
const GARBAGE: u8 = 0xd7;

static SIMULATION: Mutex<Simulation> = Mutex::new(Simulation {
    version: 22809,
    last_error: None,
    worlds: BTreeMap::new(),
    communicators: BTreeMap::new(),
    streams: BTreeMap::new(),
    fired: BTreeMap::new(),
    names: 0,
});

pub struct Simulation {
    pub version: c_int,
    pub last_error: Option<CString>,
    pub worlds: BTreeMap<u64, World>,
    pub communicators: BTreeMap<usize, Communicator>,
    pub streams: BTreeMap<usize, Stream>,
    pub fired: BTreeMap<u64, bool>,
    pub names: u64,
}

/// The ranks under one unique id.
#[derive(Default)]
pub struct World {
    pub ranks: c_int,
    pub joined: Vec<c_int>,
    /// Per operation, in order, what each rank has at the front of its stream.
    pub arrived: BTreeMap<u64, BTreeMap<c_int, Call>>,
    /// Operations of which the results are written.
    pub complete: u64,
    /// Nothing completes any more, as a rank is gone.
    pub broken: bool,
    pub script: Script,
    pub aborts: BTreeMap<c_int, u64>,
    pub destroys: BTreeMap<c_int, u64>,
    pub calls: BTreeMap<c_int, u64>,
    pub violations: Vec<String>,
}

/// What the tests ask of a world, as `sim_script` names it.
#[derive(Clone, Copy, Default)]
pub struct Script {
    pub init_polls: u64,
    pub call_polls: u64,
    pub finalize_polls: u64,
    pub abort_hangs: bool,
    pub init_hangs: bool,
    pub call_answer: u64,
}

pub struct Communicator {
    pub world: u64,
    pub rank: c_int,
    pub thread: ThreadId,
    pub phase: Phase,
    pub polls_left: u64,
    pub error: u32,
    /// Calls that NCCL has taken in but not put on the stream.
    pub taken: VecDeque<(usize, Call)>,
    pub launched: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Forming,
    Formed,
    Finalising,
    Finalised,
    Ended,
}

#[derive(Default)]
pub struct Stream {
    pub work: VecDeque<Work>,
    pub enqueued: u64,
    pub done: u64,
}

pub enum Work {
    Wait(u64),
    Operation {
        communicator: usize,
        index: u64,
        call: Call,
    },
}

pub fn simulation() -> MutexGuard<'static, Simulation> {
    SIMULATION.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The world that an id names, by its first bytes.
pub fn world_of(internal: &[c_char; 128]) -> u64 {
    u64::from_le_bytes(std::array::from_fn(|place| internal[place] as u8))
}

impl Simulation {
    pub fn name(&mut self) -> u64 {
        self.names += 1;
        self.names
    }

    pub fn world(&mut self, communicator: usize) -> Option<&mut World> {
        let world = self.communicators.get(&communicator)?.world;
        self.worlds.get_mut(&world)
    }

    /// Notes a call, and whether it breaks a rule that holds for all calls.
    pub fn called(&mut self, communicator: usize, name: &str, in_progress: bool, after_error: bool) {
        let Some(held) = self.communicators.get(&communicator) else {
            return;
        };
        let mut problems = Vec::new();
        if held.thread != thread::current().id() {
            problems.push("from another thread");
        }
        if held.phase == Phase::Ended {
            problems.push("after the end");
        }
        if !in_progress && self.state(communicator) == IN_PROGRESS {
            problems.push("while in progress");
        }
        if !after_error && held.error != SUCCESS {
            problems.push("after an error");
        }
        let (rank, world) = (held.rank, held.world);
        if let Some(world) = self.worlds.get_mut(&world) {
            let found = problems
                .iter()
                .map(|problem| format!("rank {rank}: {name} {problem}"));
            world.violations.extend(found);
        }
    }

    pub fn state(&self, communicator: usize) -> u32 {
        let Some(held) = self.communicators.get(&communicator) else {
            return INVALID_ARGUMENT;
        };
        let world = &self.worlds[&held.world];
        if held.error != SUCCESS {
            return held.error;
        }
        let absent = held.phase == Phase::Forming && world.joined.len() < world.ranks as usize;
        if absent || held.polls_left > 0 {
            IN_PROGRESS
        } else {
            SUCCESS
        }
    }

    /// One question for the state: progress is made by being asked.
    pub fn poll(&mut self, communicator: usize) -> u32 {
        let Some(held) = self.communicators.get_mut(&communicator) else {
            return INVALID_ARGUMENT;
        };
        let world = &self.worlds[&held.world];
        if held.phase != Phase::Forming || world.joined.len() == world.ranks as usize {
            held.polls_left = held.polls_left.saturating_sub(1);
        }
        let state = self.state(communicator);
        if state == SUCCESS {
            self.settle(communicator);
        }
        state
    }

    /// What is in progress is so no longer: taken calls go on their streams.
    pub fn settle(&mut self, communicator: usize) {
        let Some(held) = self.communicators.get_mut(&communicator) else {
            return;
        };
        match held.phase {
            Phase::Forming => held.phase = Phase::Formed,
            Phase::Finalising => held.phase = Phase::Finalised,
            Phase::Formed | Phase::Finalised | Phase::Ended => {}
        }
        while let Some((stream, call)) = held.taken.pop_front() {
            let index = held.launched;
            held.launched += 1;
            let stream = self.streams.entry(stream).or_default();
            stream.enqueued += 1;
            stream.work.push_back(Work::Operation {
                communicator,
                index,
                call,
            });
        }
        self.pump();
    }

    /// Works off all that can be.
    pub fn pump(&mut self) {
        loop {
            let mut progressed = false;
            for stream in self.streams.values_mut() {
                while let Some(front) = stream.work.front() {
                    let done = match front {
                        Work::Wait(event) => self.fired.get(event).copied().unwrap_or_default(),
                        Work::Operation {
                            communicator,
                            index,
                            call,
                        } => {
                            let held = &self.communicators[communicator];
                            let world = self.worlds.entry(held.world).or_default();
                            let arrived = world.arrived.entry(*index).or_default();
                            progressed |= arrived.insert(held.rank, *call).is_none();
                            let all = arrived.len() == world.ranks as usize;
                            if all && *index == world.complete && !world.broken {
                                if let Err(violation) = carry_out(arrived) {
                                    world.violations.push(violation);
                                }
                                world.complete += 1;
                            }
                            *index < world.complete
                        }
                    };
                    if !done {
                        break;
                    }
                    stream.work.pop_front();
                    stream.done += 1;
                    progressed = true;
                }
            }
            if !progressed {
                return;
            }
        }
    }

    /// Lets a communicator's streams carry on as if all had succeeded.
    pub fn set_free(&mut self, communicator: usize) {
        let Some(held) = self.communicators.get_mut(&communicator) else {
            return;
        };
        held.taken.clear();
        let world = self.worlds.entry(held.world).or_default();
        world.broken = true;
        let ranks = world.ranks;
        for stream in self.streams.values_mut() {
            let mine = |work: &Work| matches!(work, Work::Operation { communicator: its, .. } if *its == communicator);
            if !stream.work.iter().any(mine) {
                continue;
            }
            for work in stream.work.drain(..) {
                stream.done += 1;
                if let Work::Operation { call, .. } = work {
                    call.receive(&vec![GARBAGE; call.received_bytes(ranks)]);
                }
            }
        }
    }

    pub fn operate(&mut self, communicator: usize, name: &str, call: Call, stream: usize) -> u32 {
        self.called(communicator, name, false, false);
        let Some(world) = self.world(communicator) else {
            return INVALID_ARGUMENT;
        };
        let script = world.script;
        if let Some(held) = self.communicators.get_mut(&communicator) {
            let (rank, world) = (held.rank, held.world);
            if script.call_answer != 0 {
                held.error = script.call_answer as u32;
                return held.error;
            }
            held.taken.push_back((stream, call));
            held.polls_left = script.call_polls;
            if let Some(world) = self.worlds.get_mut(&world) {
                *world.calls.entry(rank).or_default() += 1;
            }
        }
        if script.call_polls > 0 {
            return IN_PROGRESS;
        }
        self.settle(communicator);
        SUCCESS
    }
}
