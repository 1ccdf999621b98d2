//! Time, messages, faults and the shell.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use ulda_machine::{
    Directive, ExitKind, Launching, Machine, MachineDeadlines, MachineEvent, MachineRules, Record,
    RestartBudget, RunOutcome,
};
use ulda_run::ids::{Generation, Slot, WorkerId};

use super::fault::Fault;
use super::invariants::Watch;
use super::process::{Mode, Pid, Process, Processes};
use super::truth::{Truth, TruthRng};

/// One run in the world.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Life {
    pub seed: u64,
    pub wanted: u32,
    pub shards: u32,
    pub steps: u64,
    /// Whether the coordinator starts the workers.
    pub launches: bool,
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
    Welcomed(Pid, u64, WorkerId),
    Loaded(Pid),
    Beat(Pid, u64),
    Up(Pid, u64, MachineEvent),
    Echo(MachineEvent),
    Down(Pid, u64, u64, Generation, Directive),
    StreamEnded(Pid, u64),
    Refused(Pid),
    FormDone(Pid, Generation),
    Contribute(Pid, Generation, u64),
    Apply(Pid, Generation, u64),
    TimedOut(Pid, Generation, u64),
    PeerGone(Pid, Generation),
    Die(Pid, ExitKind),
    Detached(WorkerId, u64, u64),
    Ended {
        term: u64,
        slot: Slot,
        attempt: u32,
        exit: ExitKind,
    },
    Respawn(Slot),
    CoordinatorUp,
    Flush(u64),
    Fault(usize),
}

/// How often records are synced that no effect follows.
pub(super) const FLUSH: u64 = 500;
const HEARTBEAT: u64 = 1_000;
const REATTACH: u64 = 600;
/// Faults stop long before; a run that still goes on then hangs.
const END_OF_TIME: u64 = 600_000;

pub struct World {
    pub(super) life: Life,
    pub(super) rng: TruthRng,
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
    /// A coordinator that another one has taken over from, and its term.
    pub(super) stale: Option<(u64, Machine)>,
    /// After how many effects the coordinator dies, for how long, and whether what is not synced goes with it.
    pub(super) dies: Option<(usize, u64, bool)>,
    /// What is on disk.
    pub(super) journal: Vec<Record>,
    pub(super) unsynced: Vec<Record>,
    pub(super) outcome: Option<RunOutcome>,
    pub(super) tickets: u64,
    pub(super) streams: u64,
    pub(super) watch: Watch,
}

impl World {
    /// Lives one life to its end and panics where a promise is broken. Returns the milliseconds from the end of the
    /// last fault to the end of the run.
    pub fn live(life: Life) -> u64 {
        let mut world = Self {
            rng: TruthRng::new(life.seed),
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
            stale: None,
            dies: None,
            journal: Vec::new(),
            unsynced: Vec::new(),
            outcome: None,
            tickets: 0,
            streams: 0,
            watch: Watch::new(life.shards, life.restarts),
            life,
        };
        for (index, (at, _)) in world.life.faults.clone().iter().enumerate() {
            world.at(*at, Happening::Fault(index));
        }
        if !world.life.launches {
            for slot in (0..world.life.wanted).map(Slot) {
                world.at(0, Happening::Respawn(slot));
            }
        }
        world.coordinator_up();
        while world.outcome.is_none() {
            world.step();
        }
        let last_fault = world
            .life
            .faults
            .iter()
            .map(|(at, fault)| at + fault.lasts())
            .max();
        let after = world.now.saturating_sub(last_fault.unwrap_or(0));
        world.watch.ended(world.outcome.as_ref(), &world.truth, after);
        after
    }

    pub(super) fn rules(&self) -> MachineRules {
        let millis = Duration::from_millis;
        MachineRules {
            shards: self.life.shards,
            course: self.truth.course(),
            min_workers: 1,
            wanted_workers: self.life.wanted,
            max_workers: 12,
            launching: if self.life.launches {
                Launching::Here
            } else {
                Launching::Elsewhere
            },
            deadlines: MachineDeadlines {
                gather: millis(12_000),
                queue: millis(12_000),
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
            reattach: millis(REATTACH),
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
        let time = self.now + self.rng.between(low, high);
        self.at(time, happening);
    }

    pub(super) fn step(&mut self) {
        let next = self.agenda.keys().next().copied();
        let stale = self
            .stale
            .as_ref()
            .and_then(|(_, machine)| machine.poll_timeout());
        if let Some((wake, _)) = stale
            && next.is_none_or(|(time, _)| wake.0 < time)
        {
            self.now = wake.0.max(self.now);
            return self.feed_stale(MachineEvent::Woke);
        }
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
            return self.feed(MachineEvent::Woke);
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
            Happening::Loaded(pid) | Happening::Beat(pid, _) | Happening::TimedOut(pid, ..) => {
                self.processes.all[pid].paused_until
            }
            Happening::Connect(pid)
            | Happening::Welcomed(pid, ..)
            | Happening::Down(pid, ..)
            | Happening::StreamEnded(pid, _)
            | Happening::Refused(pid)
            | Happening::FormDone(pid, _)
            | Happening::Contribute(pid, ..)
            | Happening::Apply(pid, ..)
            | Happening::PeerGone(pid, _) => {
                let process = &self.processes.all[pid];
                process.paused_until.max(process.cut_off_until)
            }
            Happening::JoinArrives(pid) | Happening::Up(pid, ..) => {
                let cut_off_until = self.processes.all[pid].cut_off_until;
                self.coordinator_paused_until.max(cut_off_until)
            }
            Happening::Echo(_) | Happening::Detached(..) | Happening::Ended { .. } | Happening::Flush(_) => {
                self.coordinator_paused_until
            }
            Happening::Die(..) | Happening::Respawn(_) | Happening::CoordinatorUp | Happening::Fault(_) => 0,
        };
        (until > self.now).then_some(until)
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Connect(pid) => self.connect(pid),
            Happening::JoinArrives(pid) => self.join_arrives(pid),
            Happening::Welcomed(pid, term, worker) => {
                let process = self.process(pid);
                (process.worker, process.term) = (Some(worker), process.term.max(term));
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
                    self.say(pid, |worker, generation| MachineEvent::HeartbeatHeard {
                        worker,
                        generation,
                    });
                    self.soon(200, 300, Happening::Beat(pid, stream));
                }
            }
            Happening::Up(pid, stream, event) => {
                let process = &self.processes.all[&pid];
                if process.stream == Some(stream) {
                    if process.stream_term == self.term {
                        self.feed(event);
                    } else if self
                        .stale
                        .as_ref()
                        .is_some_and(|(term, _)| *term == process.stream_term)
                    {
                        self.feed_stale(event);
                    }
                }
            }
            Happening::Echo(event) => self.feed(event),
            Happening::Down(pid, stream, term, generation, directive) => {
                let process = self.process(pid);
                let deaf = process.stuck && !matches!(directive, Directive::Stop { .. });
                if process.alive && process.stream == Some(stream) && !deaf && process.term <= term {
                    process.term = term;
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
            Happening::Detached(worker, stream, term) => {
                let newer = self.processes.all.values().any(|process| {
                    process.worker == Some(worker) && process.stream.is_some_and(|open| open != stream)
                });
                let event = MachineEvent::WorkerDetached {
                    worker,
                    why: "connection reset".into(),
                };
                if term != self.term {
                    self.feed_stale(event);
                } else if !newer {
                    self.feed(event);
                }
            }
            Happening::Ended {
                term,
                slot,
                attempt,
                exit,
            } => {
                if term == self.term {
                    self.feed(MachineEvent::ProcessEnded {
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
            Happening::Flush(term) => {
                if self.machine.is_some() && self.term == term {
                    self.sync();
                    self.at(self.now + FLUSH, Happening::Flush(term));
                }
            }
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
        let slow = if self.rng.percent(5) { 4_000 } else { 150 };
        self.soon(10, slow, Happening::Loaded(pid));
    }
}
