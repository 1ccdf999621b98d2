//! What the simulated workers do.

use ulda_machine::{Directive, ExitKind, MachineEvent, Ticket};
use ulda_run::StateClaim;
use ulda_run::ids::{Generation, Shard, WorkerId};

use super::invariants::Seen;
use super::process::{Mode, Pid, Process};
use super::world::{Happening, World};

/// Longest wait of one collective operation, in milliseconds.
const COLLECTIVE: u64 = 1_500;

impl World {
    pub(super) fn connect(&mut self, pid: Pid) {
        if !self.processes.all[&pid].alive || self.processes.all[&pid].stream.is_some() {
            return;
        }
        let deaf_until = self.processes.all[&pid].deaf_until;
        if deaf_until > self.now {
            return self.at(deaf_until, Happening::Connect(pid));
        }
        if self.machine.is_none() || self.processes.all[&pid].term > self.term {
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
        let (stream, term) = (self.streams, self.term);
        let process = self.process(pid);
        (process.stream, process.stream_term) = (Some(stream), term);
        let generation = process.generation;
        self.feed(MachineEvent::WorkerAttached { worker, generation });
        self.soon(200, 300, Happening::Beat(pid, stream));
        self.say_ready(pid);
        let last_fact = self.processes.all[&pid].last_fact.clone();
        if let Some(fact) = last_fact {
            self.send(pid, fact);
        }
    }

    pub(super) fn join_arrives(&mut self, pid: Pid) {
        if !self.processes.all[&pid].alive {
            return;
        }
        if self.machine.is_none() {
            return self.soon(50, 150, Happening::Connect(pid));
        }
        self.tickets += 1;
        let slot = self.processes.all[&pid].slot;
        let joined = MachineEvent::JoinAsked {
            ticket: Ticket(self.tickets),
            slot,
            data_address: format!("host:{}", pid.0),
            device: "cpu".into(),
        };
        self.feed_for(joined, Some(pid));
        // Refused, or its answer died with the coordinator.
        self.soon(700, 900, Happening::Connect(pid));
    }

    pub(super) fn claim(&self, pid: Pid) -> Option<StateClaim> {
        self.processes.all[&pid]
            .at
            .map(|at| self.truth.claim(at, pid.0.is_multiple_of(2)))
    }

    pub(super) fn say_ready(&mut self, pid: Pid) {
        let state = self.claim(pid);
        if self.processes.all[&pid].loaded {
            self.say(pid, |worker, generation| MachineEvent::WorkerReady {
                worker,
                generation,
                state,
            });
        }
    }

    pub(super) fn say(&mut self, pid: Pid, fact: impl FnOnce(WorkerId, Generation) -> MachineEvent) {
        let process = &self.processes.all[&pid];
        let (Some(worker), generation) = (process.worker, process.generation) else {
            return;
        };
        let event = fact(worker, generation);
        if matches!(
            event,
            MachineEvent::WorkerFormed { .. }
                | MachineEvent::GenerationBroke { .. }
                | MachineEvent::WorkerFinished { .. }
        ) {
            self.process(pid).last_fact = Some(event.clone());
        }
        self.send(pid, event);
    }

    pub(super) fn send(&mut self, pid: Pid, event: MachineEvent) {
        let Some(stream) = self.processes.all[&pid].stream else {
            return;
        };
        if self.rng.percent(self.life.echo_percent)
            && !matches!(
                event,
                MachineEvent::WorkerFailed { .. } | MachineEvent::WorkerLeft { .. }
            )
        {
            self.soon(20, 4_000, Happening::Echo(event.clone()));
        }
        let time = self.now + self.rng.between(1, 8);
        let process = self.process(pid);
        process.last_up = process.last_up.max(time);
        let time = process.last_up;
        self.at(time, Happening::Up(pid, stream, event));
    }

    pub(super) fn obey(&mut self, pid: Pid, generation: Generation, directive: Directive) {
        let own = self.processes.all[&pid].generation;
        match directive {
            Directive::Form(_) if generation <= own => {
                let again = self.processes.all[&pid].last_fact.clone();
                if let Some(fact @ MachineEvent::WorkerFormed { .. }) = again.filter(|_| generation == own) {
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
                    self.say(pid, |worker, generation| MachineEvent::GenerationBroke {
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

    pub(super) fn form_done(&mut self, pid: Pid, generation: Generation) {
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
                let mut others = self.members(pid).into_iter().filter_map(|(_, member)| member);
                let given = others.any(|other| {
                    let other = &self.processes.all[&other];
                    holds(other) && other.is_reachable(self.now)
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
        self.say(pid, |worker, generation| MachineEvent::WorkerFormed {
            worker,
            generation,
            state,
        });
    }

    pub(super) fn next_step(&mut self, pid: Pid) {
        let process = &self.processes.all[&pid];
        let (generation, at) = (process.generation, process.at.unwrap_or(0));
        if at == self.truth.total {
            self.process(pid).mode = Mode::Done;
            let digest = self.truth.digest(at);
            return self.say(pid, |worker, generation| MachineEvent::WorkerFinished {
                worker,
                generation,
                digest,
            });
        }
        let slow = process.slow_until > self.now;
        let longest = if slow { 1_000 } else { 40 };
        self.soon(5, longest, Happening::Contribute(pid, generation, at));
        self.at(self.now + COLLECTIVE, Happening::TimedOut(pid, generation, at));
    }

    pub(super) fn members(&self, pid: Pid) -> Vec<(WorkerId, Option<Pid>)> {
        let members = self.processes.all[&pid]
            .formation
            .iter()
            .flat_map(|formation| &formation.members);
        members
            .map(|member| (member.worker, self.processes.of(member.worker)))
            .collect()
    }

    pub(super) fn contribute(&mut self, pid: Pid, generation: Generation, step: u64) {
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

    pub(super) fn apply(&mut self, pid: Pid, generation: Generation, step: u64) {
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
                state.digest = ulda_run::Digest::default();
            }
            self.say(pid, |worker, generation| MachineEvent::ProgressMade {
                worker,
                generation,
                state,
            });
        }
        self.next_step(pid);
    }

    pub(super) fn timed_out(&mut self, pid: Pid, generation: Generation, step: u64) {
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

    pub(super) fn break_off(&mut self, pid: Pid, cause: &str, waiting_for: Vec<Shard>) {
        self.leave(pid);
        let state = self.claim(pid);
        let cause = cause.to_owned();
        self.say(pid, |worker, generation| MachineEvent::GenerationBroke {
            worker,
            generation,
            cause,
            waiting_for,
            state,
        });
    }

    /// Aborts the collective; the other members notice.
    pub(super) fn leave(&mut self, pid: Pid) {
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

    pub(super) fn die(&mut self, pid: Pid, exit: ExitKind) {
        if !self.processes.all[&pid].alive {
            return;
        }
        self.leave(pid);
        let process = self.process(pid);
        process.alive = false;
        let (worker, slot, launch) = (process.worker, process.slot, process.launch);
        let term = process.stream_term;
        if let (Some(stream), Some(worker)) = (process.stream.take(), worker) {
            self.soon(1, 30, Happening::Detached(worker, stream, term));
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
        } else if slot.0 < self.life.wanted && !self.life.launches {
            self.soon(100, 400, Happening::Respawn(slot));
        }
    }
}
