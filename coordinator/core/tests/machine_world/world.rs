//! Time, messages, faults and the shell.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ulda_core::ids::{Generation, Shard, Slot, WorkerId};
use ulda_core::machine::{
    Asker, Deadlines, Directive, Effect, Event, ExitKind, Launching, Machine, Outcome, Record, RestartBudget,
    Rules, StateClaim, Tick, Ticket, fold,
};

use super::invariants::{Seen, Watch};
use super::process::{Mode, Pid, Process, Processes};
use super::truth::{Luck, Truth};

/// Something that goes wrong. `pick` chooses among the living.
#[derive(Clone, Debug)]
pub enum Fault {
    Crash {
        pick: u8,
    },
    Fail {
        pick: u8,
    },
    Pause {
        pick: u8,
        millis: u64,
    },
    /// Heartbeats go on, nothing else does.
    Stick {
        pick: u8,
    },
    /// The attend stream ends; the process lives.
    Cut {
        pick: u8,
    },
    /// The coordinator dies for `millis`, after it carried out so many more effects of one batch.
    CoordinatorCrash {
        millis: u64,
        after_effects: usize,
    },
    CoordinatorPause {
        millis: u64,
    },
    Newcomer,
}

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
enum Happening {
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
const COLLECTIVE: u64 = 1_500;
/// Faults stop long before; a run that still goes on then hangs.
const END_OF_TIME: u64 = 600_000;

pub struct World {
    life: Life,
    luck: Luck,
    truth: Truth,
    now: u64,
    agenda: BTreeMap<(u64, u64), Happening>,
    order: u64,
    processes: Processes,
    /// Who contributed to which step of which generation.
    contributions: BTreeMap<(Generation, u64), BTreeSet<Pid>>,
    disk: Option<u64>,
    machine: Option<Machine>,
    term: u64,
    coordinator_paused_until: u64,
    dies_after: Option<(usize, u64)>,
    journal: Vec<Record>,
    outcome: Option<Outcome>,
    tickets: u64,
    streams: u64,
    watch: Watch,
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

    fn rules(&self) -> Rules {
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

    fn at(&mut self, time: u64, happening: Happening) {
        self.order += 1;
        self.agenda.insert((time.max(self.now), self.order), happening);
    }

    fn soon(&mut self, low: u64, high: u64, happening: Happening) {
        let time = self.now + self.luck.between(low, high);
        self.at(time, happening);
    }

    fn step(&mut self) {
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

    fn process(&mut self, pid: Pid) -> &mut Process {
        self.processes
            .all
            .get_mut(&pid)
            .expect("processes are never forgotten")
    }

    fn begin(&mut self, pid: Pid) {
        self.soon(5, 50, Happening::Connect(pid));
        let slow = if self.luck.percent(5) { 4_000 } else { 150 };
        self.soon(10, slow, Happening::Loaded(pid));
    }

    // The shell.

    fn coordinator_up(&mut self) {
        let resume = fold(&self.journal);
        self.term = resume.as_ref().map_or(0, |resume| resume.term) + 1;
        self.dies_after = None;
        self.machine = Some(Machine::new(self.rules(), self.term, Tick(self.now), resume));
        self.carry_out(None);
    }

    fn coordinator_down(&mut self, millis: u64) {
        self.machine = None;
        self.dies_after = None;
        for pid in self.processes.living() {
            if let Some(stream) = self.processes.all[&pid].stream {
                self.soon(1, 20, Happening::StreamEnded(pid, stream));
            }
        }
        self.at(self.now + millis, Happening::CoordinatorUp);
    }

    fn feed(&mut self, event: Event) {
        self.feed_for(event, None);
    }

    fn feed_for(&mut self, event: Event, joiner: Option<Pid>) {
        let now = Tick(self.now);
        let Some(machine) = &mut self.machine else { return };
        let before = self.watch.is_stale(machine, &event).then(|| machine.clone());
        machine.handle(now, event.clone());
        if let Some(before) = before {
            self.watch.compare(now, before, machine, &event);
        }
        self.watch.see(&Seen::Fed {
            now,
            event: &event,
            machine,
        });
        self.carry_out(joiner);
    }

    fn carry_out(&mut self, joiner: Option<Pid>) {
        let Some(machine) = &mut self.machine else { return };
        let effects = machine.drain_effects();
        let keep = match self.dies_after {
            Some((after, _)) if effects.len() > after => after,
            Some(_) | None => effects.len(),
        };
        let dies = keep < effects.len();
        for effect in effects.into_iter().take(keep) {
            if let Some(machine) = &self.machine {
                let seen = Seen::Ordered {
                    effect: &effect,
                    machine,
                    processes: &self.processes,
                    truth: &self.truth,
                };
                self.watch.see(&seen);
            }
            self.carry_out_one(effect, joiner);
        }
        if let (true, Some((_, millis))) = (dies, self.dies_after) {
            self.coordinator_down(millis);
        }
    }

    fn carry_out_one(&mut self, effect: Effect, joiner: Option<Pid>) {
        match effect {
            Effect::Journal(record) => self.journal.push(record),
            Effect::Welcome { worker, .. } => {
                if let Some(pid) = joiner {
                    self.soon(1, 10, Happening::Welcomed(pid, worker));
                }
            }
            Effect::Refuse {
                asker: Asker::Join(_),
                ..
            } => {}
            Effect::Refuse {
                asker: Asker::Worker(worker),
                ..
            } => {
                if let Some(pid) = self.processes.of(worker) {
                    self.process(pid).stream = None;
                    self.soon(1, 10, Happening::Refused(pid));
                }
            }
            Effect::Direct {
                worker,
                generation,
                directive,
            } => {
                let Some(pid) = self.processes.of(worker) else {
                    return;
                };
                let Some(stream) = self.processes.all[&pid].stream else {
                    return;
                };
                let time = self.now + self.luck.between(1, 8);
                let process = self.process(pid);
                process.last_down = process.last_down.max(time);
                let time = process.last_down;
                self.at(time, Happening::Down(pid, stream, generation, directive));
            }
            Effect::Launch { slot, attempt } => {
                let pid = self.processes.spawn(slot, Some((self.term, attempt)));
                self.begin(pid);
            }
            Effect::Kill { slot } => {
                for pid in self.processes.living() {
                    let process = &self.processes.all[&pid];
                    if process.slot == slot && process.launch.is_some_and(|(term, _)| term == self.term) {
                        self.die(pid, ExitKind::Signal(9));
                    }
                }
            }
            Effect::End(outcome) => self.outcome = Some(outcome),
        }
    }

    // The workers.

    fn connect(&mut self, pid: Pid) {
        if !self.processes.all[&pid].alive || self.processes.all[&pid].stream.is_some() {
            return;
        }
        if self.machine.is_none() {
            return self.soon(50, 150, Happening::Connect(pid));
        }
        let Some(worker) = self.processes.all[&pid].worker else {
            if self.processes.all[&pid].joining_until > self.now {
                return;
            }
            self.process(pid).joining_until = self.now + 400;
            return self.soon(1, 10, Happening::JoinArrives(pid));
        };
        self.streams += 1;
        let stream = self.streams;
        let process = self.process(pid);
        process.stream = Some(stream);
        let generation = process.generation;
        self.feed(Event::WorkerAttached { worker, generation });
        self.soon(200, 300, Happening::Beat(pid, stream));
        self.say_ready(pid);
        let last_fact = self.processes.all[&pid].last_fact.clone();
        if let Some(fact) = last_fact {
            self.send(pid, fact);
        }
    }

    fn join_arrives(&mut self, pid: Pid) {
        if !self.processes.all[&pid].alive {
            return;
        }
        if self.machine.is_none() {
            return self.soon(50, 150, Happening::Connect(pid));
        }
        self.tickets += 1;
        let slot = self.processes.all[&pid].slot;
        let joined = Event::JoinAsked {
            ticket: Ticket(self.tickets),
            slot,
            data_address: format!("host:{}", pid.0),
            device: "cpu".into(),
        };
        self.feed_for(joined, Some(pid));
        // Refused, or its answer died with the coordinator.
        self.soon(700, 900, Happening::Connect(pid));
    }

    fn claim(&self, pid: Pid) -> Option<StateClaim> {
        self.processes.all[&pid]
            .at
            .map(|at| self.truth.claim(at, pid.0 % 2 == 0))
    }

    fn say_ready(&mut self, pid: Pid) {
        let state = self.claim(pid);
        if self.processes.all[&pid].loaded {
            self.say(pid, |worker, generation| Event::WorkerReady {
                worker,
                generation,
                state,
            });
        }
    }

    fn say(&mut self, pid: Pid, fact: impl FnOnce(WorkerId, Generation) -> Event) {
        let process = &self.processes.all[&pid];
        let (Some(worker), generation) = (process.worker, process.generation) else {
            return;
        };
        let event = fact(worker, generation);
        if matches!(
            event,
            Event::WorkerFormed { .. } | Event::GenerationBroke { .. } | Event::WorkerFinished { .. }
        ) {
            self.process(pid).last_fact = Some(event.clone());
        }
        self.send(pid, event);
    }

    fn send(&mut self, pid: Pid, event: Event) {
        let Some(stream) = self.processes.all[&pid].stream else {
            return;
        };
        if self.luck.percent(self.life.echo_percent) && !matches!(event, Event::WorkerFailed { .. }) {
            self.soon(20, 4_000, Happening::Echo(event.clone()));
        }
        let time = self.now + self.luck.between(1, 8);
        let process = self.process(pid);
        process.last_up = process.last_up.max(time);
        let time = process.last_up;
        self.at(time, Happening::Up(pid, stream, event));
    }

    fn obey(&mut self, pid: Pid, generation: Generation, directive: Directive) {
        let own = self.processes.all[&pid].generation;
        match directive {
            Directive::Form(_) if generation <= own => {
                let again = self.processes.all[&pid].last_fact.clone();
                if let Some(fact @ Event::WorkerFormed { .. }) = again.filter(|_| generation == own) {
                    self.send(pid, fact);
                }
            }
            Directive::Form(formation) => {
                let process = self.process(pid);
                process.generation = generation;
                process.mode = Mode::Forming;
                process.formation = Some(formation);
                process.last_fact = None;
                self.soon(5, 80, Happening::FormDone(pid, generation));
            }
            Directive::Go => {
                if generation == own && self.processes.all[&pid].mode == Mode::Formed {
                    self.process(pid).mode = Mode::Training;
                    self.next_step(pid);
                }
            }
            Directive::Fence { .. } => {
                if generation >= own {
                    self.leave(pid);
                    self.process(pid).generation = generation;
                    let state = self.claim(pid);
                    let cause = "fenced".to_owned();
                    self.say(pid, |worker, generation| Event::GenerationBroke {
                        worker,
                        generation,
                        cause,
                        waiting_for: Vec::new(),
                        state,
                    });
                }
            }
            Directive::Stop { .. } => self.soon(5, 50, Happening::Die(pid, ExitKind::Code(0))),
        }
    }

    fn form_done(&mut self, pid: Pid, generation: Generation) {
        let process = &self.processes.all[&pid];
        if !process.takes_part(generation) || process.mode != Mode::Forming || process.stuck {
            return;
        }
        let Some(formation) = process.formation.clone() else {
            return;
        };
        let at = match &formation.state {
            None => process.at.unwrap_or(0),
            Some(state) => {
                let wanted = self.truth.steps_before(state.cursor);
                let holds = |process: &Process| process.at == Some(wanted) && process.takes_part(generation);
                let holder = formation.holder.and_then(|holder| self.processes.of(holder));
                let given = holder.is_some_and(|holder| {
                    let holder = &self.processes.all[&holder];
                    holds(holder) && holder.paused_until <= self.now && !holder.stuck
                });
                if !holds(process) && !given {
                    return self.soon(40, 60, Happening::FormDone(pid, generation));
                }
                wanted
            }
        };
        let process = self.process(pid);
        process.at = Some(at);
        process.mode = Mode::Formed;
        let state = self.claim(pid);
        self.say(pid, |worker, generation| Event::WorkerFormed {
            worker,
            generation,
            state,
        });
    }

    fn next_step(&mut self, pid: Pid) {
        let process = &self.processes.all[&pid];
        let (generation, at) = (process.generation, process.at.unwrap_or(0));
        if at == self.truth.total {
            self.process(pid).mode = Mode::Done;
            let digest = self.truth.digest(at);
            return self.say(pid, |worker, generation| Event::WorkerFinished {
                worker,
                generation,
                digest,
            });
        }
        self.soon(5, 40, Happening::Contribute(pid, generation, at));
        self.at(self.now + COLLECTIVE, Happening::TimedOut(pid, generation, at));
    }

    fn members(&self, pid: Pid) -> Vec<(WorkerId, Option<Pid>)> {
        let members = self.processes.all[&pid]
            .formation
            .iter()
            .flat_map(|formation| &formation.members);
        members
            .map(|member| (member.worker, self.processes.of(member.worker)))
            .collect()
    }

    fn contribute(&mut self, pid: Pid, generation: Generation, step: u64) {
        let process = &self.processes.all[&pid];
        if !process.takes_part(generation) || process.at != Some(step) || process.stuck {
            return;
        }
        let members = self.members(pid);
        let here = self.contributions.entry((generation, step)).or_default();
        here.insert(pid);
        if members
            .iter()
            .all(|(_, member)| member.is_some_and(|member| here.contains(&member)))
        {
            let taking_part = |(_, member): &(WorkerId, Option<Pid>)| {
                member.is_some_and(|member| self.processes.all[&member].takes_part(generation))
            };
            let appliers: Vec<WorkerId> = members
                .iter()
                .filter(|member| taking_part(member))
                .map(|(worker, _)| *worker)
                .collect();
            self.watch.see(&Seen::Reduced {
                generation,
                appliers: &appliers,
            });
            for member in members.into_iter().filter_map(|(_, member)| member) {
                self.soon(1, 12, Happening::Apply(member, generation, step));
            }
        }
    }

    fn apply(&mut self, pid: Pid, generation: Generation, step: u64) {
        let process = self.process(pid);
        if !process.takes_part(generation) || process.stuck || process.mode != Mode::Training {
            return;
        }
        assert_eq!(
            process.at,
            Some(step),
            "a step is applied to the state it was computed from"
        );
        process.at = Some(step + 1);
        let first = process
            .formation
            .as_ref()
            .and_then(|formation| formation.shard_owner.first());
        if (step + 1).is_multiple_of(10) && first.copied() == process.worker {
            self.disk = self.disk.max(Some(step + 1));
        }
        if let Some(mut state) = self.claim(pid) {
            if !self.life.digests {
                state.digest = ulda_core::machine::Digest::default();
            }
            self.say(pid, |worker, generation| Event::ProgressMade {
                worker,
                generation,
                state,
            });
        }
        self.next_step(pid);
    }

    fn timed_out(&mut self, pid: Pid, generation: Generation, step: u64) {
        let process = &self.processes.all[&pid];
        let waits =
            process.takes_part(generation) && process.mode == Mode::Training && process.at == Some(step);
        let Some(formation) = process.formation.clone().filter(|_| waits && !process.stuck) else {
            return;
        };
        let here = self
            .contributions
            .get(&(generation, step))
            .cloned()
            .unwrap_or_default();
        let late = (0..).zip(&formation.shard_owner).filter(|(_, owner)| {
            self.processes
                .of(**owner)
                .is_none_or(|owner| !here.contains(&owner))
        });
        let waiting_for = late.map(|(shard, _)| Shard(shard)).collect();
        self.break_off(pid, "collective deadline", waiting_for);
    }

    fn break_off(&mut self, pid: Pid, cause: &str, waiting_for: Vec<Shard>) {
        self.leave(pid);
        let state = self.claim(pid);
        let cause = cause.to_owned();
        self.say(pid, |worker, generation| Event::GenerationBroke {
            worker,
            generation,
            cause,
            waiting_for,
            state,
        });
    }

    /// Aborts the collective; the other members notice.
    fn leave(&mut self, pid: Pid) {
        let generation = self.processes.all[&pid].generation;
        if self.processes.all[&pid].mode == Mode::Idle {
            return;
        }
        for (_, member) in self.members(pid) {
            if let Some(member) = member.filter(|member| *member != pid) {
                self.soon(1, 40, Happening::PeerGone(member, generation));
            }
        }
        self.process(pid).mode = Mode::Idle;
    }

    fn die(&mut self, pid: Pid, exit: ExitKind) {
        if !self.processes.all[&pid].alive {
            return;
        }
        self.leave(pid);
        let process = self.process(pid);
        process.alive = false;
        let (worker, slot, launch) = (process.worker, process.slot, process.launch);
        if let (Some(stream), Some(worker)) = (process.stream.take(), worker) {
            self.soon(1, 30, Happening::Detached(worker, stream));
        }
        if let Some((term, attempt)) = launch {
            self.soon(
                1,
                30,
                Happening::Ended {
                    term,
                    slot,
                    attempt,
                    exit,
                },
            );
        } else if slot.0 < self.life.wanted && self.life.launching == Launching::Elsewhere {
            self.soon(100, 400, Happening::Respawn(slot));
        }
    }

    fn fault(&mut self, index: usize) {
        let fault = self.life.faults[index].1.clone();
        let living = self.processes.living();
        let victim = |pick: u8| (!living.is_empty()).then(|| living[usize::from(pick) % living.len()]);
        match fault {
            Fault::Crash { pick } => {
                if let Some(pid) = victim(pick) {
                    self.die(pid, ExitKind::Signal(9));
                }
            }
            Fault::Fail { pick } => {
                if let Some(pid) = victim(pick) {
                    self.say(pid, |worker, _| Event::WorkerFailed {
                        worker,
                        cause: "out of memory".into(),
                        exit_code: 1,
                    });
                    self.soon(10, 60, Happening::Die(pid, ExitKind::Code(1)));
                }
            }
            Fault::Pause { pick, millis } => {
                if let Some(pid) = victim(pick) {
                    self.process(pid).paused_until = self.now + millis;
                }
            }
            Fault::Stick { pick } => {
                if let Some(pid) = victim(pick) {
                    self.process(pid).stuck = true;
                }
            }
            Fault::Cut { pick } => {
                if let Some(pid) = victim(pick)
                    && let (Some(stream), Some(worker)) =
                        (self.processes.all[&pid].stream, self.processes.all[&pid].worker)
                {
                    self.soon(1, 20, Happening::Detached(worker, stream));
                    self.soon(1, 20, Happening::StreamEnded(pid, stream));
                }
            }
            Fault::CoordinatorCrash {
                millis,
                after_effects,
            } => {
                if self.machine.is_some() && after_effects == 0 {
                    self.coordinator_down(millis);
                } else if self.machine.is_some() {
                    self.dies_after = Some((after_effects, millis));
                }
            }
            Fault::CoordinatorPause { millis } => self.coordinator_paused_until = self.now + millis,
            Fault::Newcomer => {
                let slot = Slot(self.life.wanted + u32::try_from(self.luck.between(0, 3)).unwrap_or(0));
                let pid = self.processes.spawn(slot, None);
                self.begin(pid);
            }
        }
    }
}
