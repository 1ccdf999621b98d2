//! Time, messages, faults and the shell.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ulda_core::ids::{Generation, Slot, WorkerId};
use ulda_core::machine::{
    Deadlines, Directive, Event, ExitKind, Launching, Machine, Outcome, Record, RestartBudget, Rules,
};

use super::fault::Fault;
use super::invariants::Watch;
use super::process::{Mode, Pid, Process, Processes};
use super::truth::{Luck, Truth};

/// One run in the world.
#[derive(Clone, Debug)]
pub struct Life {
    pub seed: u64,
    pub wanted: u32,
    pub shards: u32,
    pub steps: u64,
    pub launching: Launching,
    pub restarts: u32,
    /// Chance that a message arrives once more, much later.
    pub echo_percent: u32,
    /// Whether every step carries a digest.
    pub digests: bool,
    pub faults: Vec<(u64, Fault)>,
}

#[derive(Debug)]
pub(super) enum Happening {
    Connect(Pid),
    JoinArrives(Pid),
    Welcomed(Pid, WorkerId),
    Loaded(Pid),
    Beat(Pid, u64),
    Up(Pid, u64, Event),
    Echo(Event),
    Down(Pid, u64, Generation, Directive),
    StreamEnded(Pid, u64),
    Refused(Pid),
    FormDone(Pid, Generation),
    Contribute(Pid, Generation, u64),
    Apply(Pid, Generation, u64),
    TimedOut(Pid, Generation, u64),
    PeerGone(Pid, Generation),
    Die(Pid, ExitKind),
    Detached(WorkerId, u64),
    Ended {
        term: u64,
        slot: Slot,
        attempt: u32,
        exit: ExitKind,
    },
    Respawn(Slot),
    CoordinatorUp,
    Fault(usize),
}

const HEARTBEAT: u64 = 1_000;
/// Faults stop long before; a run that still goes on then hangs.
const END_OF_TIME: u64 = 600_000;

pub struct World {
    pub(super) life: Life,
    pub(super) luck: Luck,
    pub(super) truth: Truth,
    pub(super) now: u64,
    pub(super) agenda: BTreeMap<(u64, u64), Happening>,
    pub(super) order: u64,
    pub(super) processes: Processes,
    /// Who contributed to which step of which generation.
    pub(super) contributions: BTreeMap<(Generation, u64), BTreeSet<Pid>>,
    pub(super) disk: Option<u64>,
    pub(super) machine: Option<Machine>,
    pub(super) term: u64,
    pub(super) coordinator_paused_until: u64,
    pub(super) dies_after: Option<(usize, u64)>,
    pub(super) journal: Vec<Record>,
    pub(super) outcome: Option<Outcome>,
    pub(super) tickets: u64,
    pub(super) streams: u64,
    pub(super) watch: Watch,
}

impl World {
    /// Lives one life to its end and panics where a promise is broken.
    pub fn live(life: Life) {
        let mut world = Self {
            luck: Luck::new(life.seed),
            truth: Truth::new(life.steps),
            now: 0,
            agenda: BTreeMap::new(),
            order: 0,
            processes: Processes::default(),
            contributions: BTreeMap::new(),
            disk: None,
            machine: None,
            term: 0,
            coordinator_paused_until: 0,
            dies_after: None,
            journal: Vec::new(),
            outcome: None,
            tickets: 0,
            streams: 0,
            watch: Watch::new(life.shards, life.restarts),
            life,
        };
        for (index, (at, _)) in world.life.faults.clone().iter().enumerate() {
            world.at(*at, Happening::Fault(index));
        }
        if world.life.launching == Launching::Elsewhere {
            for slot in (0..world.life.wanted).map(Slot) {
                world.at(0, Happening::Respawn(slot));
            }
        }
        world.coordinator_up();
        while world.outcome.is_none() {
            world.step();
        }
        world.watch.ended(world.outcome.as_ref(), &world.truth);
    }

    pub(super) fn rules(&self) -> Rules {
        let millis = Duration::from_millis;
        Rules {
            shards: self.life.shards,
            course: self.truth.course(),
            min_workers: 1,
            wanted_workers: self.life.wanted,
            max_workers: 12,
            launching: self.life.launching,
            deadlines: Deadlines {
                gather: millis(12_000),
                form: millis(1_500),
                heartbeat: millis(HEARTBEAT),
                progress: millis(5_000),
                drain: millis(1_000),
            },
            restarts: RestartBudget {
                per_slot: self.life.restarts,
                window: millis(60_000),
            },
            relaunch_grace: millis(500),
            exit_grace: millis(200),
            admit_every: millis(500),
            stalls_allowed: 10,
        }
    }

    pub(super) fn at(&mut self, time: u64, happening: Happening) {
        self.order += 1;
        self.agenda.insert((time.max(self.now), self.order), happening);
    }

    pub(super) fn soon(&mut self, low: u64, high: u64, happening: Happening) {
        let time = self.now + self.luck.between(low, high);
        self.at(time, happening);
    }

    pub(super) fn step(&mut self) {
        let next = self.agenda.keys().next().copied();
        let due = self.machine.as_ref().and_then(Machine::poll_timeout);
        let wake = due.map(|(tick, _)| tick.0.max(self.now).max(self.coordinator_paused_until));
        if let Some(wake) = wake
            && next.is_none_or(|(time, _)| wake < time)
        {
            self.now = wake;
            assert!(
                self.now < END_OF_TIME,
                "the run hangs: {:?}",
                self.machine.as_ref().map(Machine::verdict)
            );
            return self.feed(Event::Woke);
        }
        let Some((key, happening)) = self.agenda.pop_first() else {
            panic!(
                "nothing is left to happen, but the run goes on: {:?}",
                self.machine.as_ref().map(Machine::verdict)
            );
        };
        self.now = key.0;
        assert!(
            self.now < END_OF_TIME,
            "the run hangs: {:?}",
            self.machine.as_ref().map(Machine::verdict)
        );
        if let Some(until) = self.held_up(&happening) {
            return self.at(until, happening);
        }
        self.happen(happening);
    }

    /// When a paused receiver takes it in.
    fn held_up(&self, happening: &Happening) -> Option<u64> {
        let until = match happening {
            Happening::Connect(pid)
            | Happening::Welcomed(pid, _)
            | Happening::Loaded(pid)
            | Happening::Beat(pid, _)
            | Happening::Down(pid, ..)
            | Happening::StreamEnded(pid, _)
            | Happening::Refused(pid)
            | Happening::FormDone(pid, _)
            | Happening::Contribute(pid, ..)
            | Happening::Apply(pid, ..)
            | Happening::TimedOut(pid, ..)
            | Happening::PeerGone(pid, _) => self.processes.all[pid].paused_until,
            Happening::JoinArrives(_)
            | Happening::Up(..)
            | Happening::Echo(_)
            | Happening::Detached(..)
            | Happening::Ended { .. } => self.coordinator_paused_until,
            Happening::Die(..) | Happening::Respawn(_) | Happening::CoordinatorUp | Happening::Fault(_) => 0,
        };
        (until > self.now).then_some(until)
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Connect(pid) => self.connect(pid),
            Happening::JoinArrives(pid) => self.join_arrives(pid),
            Happening::Welcomed(pid, worker) => {
                self.process(pid).worker = Some(worker);
                self.soon(1, 10, Happening::Connect(pid));
            }
            Happening::Loaded(pid) => {
                let disk = self.disk;
                let process = self.process(pid);
                process.loaded = true;
                process.at = process.at.or(disk);
                self.say_ready(pid);
            }
            Happening::Beat(pid, stream) => {
                if self.processes.all[&pid].alive && self.processes.all[&pid].stream == Some(stream) {
                    self.say(pid, |worker, generation| Event::HeartbeatHeard {
                        worker,
                        generation,
                    });
                    self.soon(200, 300, Happening::Beat(pid, stream));
                }
            }
            Happening::Up(pid, stream, event) => {
                if self.processes.all[&pid].stream == Some(stream) {
                    self.feed(event);
                }
            }
            Happening::Echo(event) => self.feed(event),
            Happening::Down(pid, stream, generation, directive) => {
                let process = &self.processes.all[&pid];
                let deaf = process.stuck && !matches!(directive, Directive::Stop { .. });
                if process.alive && process.stream == Some(stream) && !deaf {
                    self.obey(pid, generation, directive);
                }
            }
            Happening::StreamEnded(pid, stream) => {
                let process = self.process(pid);
                if process.stream == Some(stream) {
                    process.stream = None;
                    self.soon(50, 150, Happening::Connect(pid));
                }
            }
            Happening::Refused(pid) => {
                if self.processes.all[&pid].stuck {
                    self.die(pid, ExitKind::Code(1));
                } else if self.processes.all[&pid].alive {
                    self.leave(pid);
                    let process = self.process(pid);
                    (process.worker, process.stream, process.last_fact) = (None, None, None);
                    process.generation = Generation::NONE;
                    self.soon(50, 150, Happening::Connect(pid));
                }
            }
            Happening::FormDone(pid, generation) => self.form_done(pid, generation),
            Happening::Contribute(pid, generation, step) => self.contribute(pid, generation, step),
            Happening::Apply(pid, generation, step) => self.apply(pid, generation, step),
            Happening::TimedOut(pid, generation, step) => self.timed_out(pid, generation, step),
            Happening::PeerGone(pid, generation) => {
                let process = &self.processes.all[&pid];
                if process.takes_part(generation) && process.mode != Mode::Done && !process.stuck {
                    self.break_off(pid, "peer closed the connection", Vec::new());
                }
            }
            Happening::Die(pid, exit) => self.die(pid, exit),
            Happening::Detached(worker, stream) => {
                let newer = self.processes.all.values().any(|process| {
                    process.worker == Some(worker) && process.stream.is_some_and(|open| open != stream)
                });
                if !newer {
                    self.feed(Event::WorkerDetached {
                        worker,
                        why: "connection reset".into(),
                    });
                }
            }
            Happening::Ended {
                term,
                slot,
                attempt,
                exit,
            } => {
                if term == self.term {
                    self.feed(Event::ProcessEnded {
                        slot,
                        attempt,
                        exit,
                        last_words: None,
                    });
                }
            }
            Happening::Respawn(slot) => {
                let pid = self.processes.spawn(slot, None);
                self.begin(pid);
            }
            Happening::CoordinatorUp => self.coordinator_up(),
            Happening::Fault(index) => self.fault(index),
        }
    }

    pub(super) fn process(&mut self, pid: Pid) -> &mut Process {
        self.processes
            .all
            .get_mut(&pid)
            .expect("processes are never forgotten")
    }

    pub(super) fn begin(&mut self, pid: Pid) {
        self.soon(5, 50, Happening::Connect(pid));
        let slow = if self.luck.percent(5) { 4_000 } else { 150 };
        self.soon(10, slow, Happening::Loaded(pid));
    }
}
