//! The coordinator's shell, as far as the machine can see it: a journal, streams, a launcher, crashes.

use ulda_machine::{Asker, Directive, Effect, ExitKind, Machine, MachineEvent, Tick, fold};
use ulda_run::ids::{Generation, WorkerId};

use super::invariants::Seen;
use super::process::Pid;
use super::world::{FLUSH, Happening, World};

impl World {
    pub(super) fn coordinator_up(&mut self) {
        let resume = fold(&self.journal);
        // The number is claimed in the journal before the machine is there.
        self.term += 1;
        self.dies = None;
        self.watch.took_up(&self.journal);
        self.machine = Some(Machine::new(self.rules(), self.term, Tick(self.now), resume));
        self.at(self.now + FLUSH, Happening::Flush(self.term));
        self.carry_out(None);
    }

    pub(super) fn coordinator_down(&mut self) {
        let Some((_, millis, loses)) = self.dies.take() else {
            return;
        };
        self.machine = None;
        if loses {
            self.unsynced.clear();
        }
        self.sync();
        for pid in self.processes.living() {
            if let Some(stream) = self.processes.all[&pid].stream {
                self.soon(1, 20, Happening::StreamEnded(pid, stream));
            }
        }
        self.at(self.now + millis, Happening::CoordinatorUp);
    }

    /// A second coordinator on the same journal. The first one's streams end one after the other.
    pub(super) fn takeover(&mut self, millis: u64) {
        let Some(machine) = self.machine.take() else {
            return;
        };
        self.unsynced.clear();
        self.stale = Some((self.term, machine));
        for pid in self.processes.living() {
            if let Some(stream) = self.processes.all[&pid].stream {
                self.soon(1, millis + 2, Happening::StreamEnded(pid, stream));
            }
        }
        self.coordinator_up();
    }

    pub(super) fn sync(&mut self) {
        self.journal.append(&mut self.unsynced);
    }

    pub(super) fn feed(&mut self, event: MachineEvent) {
        self.feed_for(event, None);
    }

    pub(super) fn feed_for(&mut self, event: MachineEvent, joiner: Option<Pid>) {
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

    /// A coordinator that has a successor goes on until it wants to write: its journal is the other one's now.
    pub(super) fn feed_stale(&mut self, event: MachineEvent) {
        let Some((term, mut machine)) = self.stale.take() else {
            return;
        };
        machine.handle(Tick(self.now), event);
        for effect in machine.drain_effects() {
            match effect {
                Effect::Journal(_) | Effect::End(_) => return,
                Effect::Direct {
                    worker,
                    generation,
                    directive,
                } => self.send_down(term, worker, generation, directive),
                Effect::Welcome { .. }
                | Effect::Refuse { .. }
                | Effect::Launch { .. }
                | Effect::Kill { .. } => {}
            }
        }
        self.stale = Some((term, machine));
    }

    pub(super) fn carry_out(&mut self, joiner: Option<Pid>) {
        let Some(machine) = &mut self.machine else { return };
        let effects = machine.drain_effects();
        let keep = match self.dies {
            Some((after, ..)) if effects.len() > after => after,
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
        if dies {
            self.coordinator_down();
        }
    }

    pub(super) fn carry_out_one(&mut self, effect: Effect, joiner: Option<Pid>) {
        if let Effect::Journal(record) = effect {
            return self.unsynced.push(record);
        }
        self.sync();
        match effect {
            Effect::Journal(_) => {}
            Effect::Welcome { worker, .. } => {
                if let Some(pid) = joiner {
                    let term = self.term;
                    self.soon(1, 10, Happening::Welcomed(pid, term, worker));
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
                if let Some(pid) = self.processes.of(worker)
                    && self.processes.all[&pid].stream_term == self.term
                {
                    self.process(pid).stream = None;
                    self.soon(1, 10, Happening::Refused(pid));
                }
            }
            Effect::Direct {
                worker,
                generation,
                directive,
            } => self.send_down(self.term, worker, generation, directive),
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

    fn send_down(&mut self, term: u64, worker: WorkerId, generation: Generation, directive: Directive) {
        let Some(pid) = self.processes.of(worker) else {
            return;
        };
        let process = &self.processes.all[&pid];
        let Some(stream) = process.stream.filter(|_| process.stream_term == term) else {
            return;
        };
        let time = self.now + self.rng.between(1, 8);
        let process = self.process(pid);
        process.last_down = process.last_down.max(time);
        let time = process.last_down;
        self.at(time, Happening::Down(pid, stream, term, generation, directive));
    }
}
