//! The coordinator's shell, as far as the machine can see it: a journal, streams, a launcher, crashes.

use ulda_core::machine::{Asker, Effect, Event, ExitKind, Machine, Tick, fold};

use super::invariants::Seen;
use super::process::Pid;
use super::world::{Happening, World};

impl World {
    pub(super) fn coordinator_up(&mut self) {
        let resume = fold(&self.journal);
        self.term = resume.as_ref().map_or(0, |resume| resume.term) + 1;
        self.dies_after = None;
        self.machine = Some(Machine::new(self.rules(), self.term, Tick(self.now), resume));
        self.carry_out(None);
    }

    pub(super) fn coordinator_down(&mut self, millis: u64) {
        self.machine = None;
        self.dies_after = None;
        for pid in self.processes.living() {
            if let Some(stream) = self.processes.all[&pid].stream {
                self.soon(1, 20, Happening::StreamEnded(pid, stream));
            }
        }
        self.at(self.now + millis, Happening::CoordinatorUp);
    }

    pub(super) fn feed(&mut self, event: Event) {
        self.feed_for(event, None);
    }

    pub(super) fn feed_for(&mut self, event: Event, joiner: Option<Pid>) {
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

    pub(super) fn carry_out(&mut self, joiner: Option<Pid>) {
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

    pub(super) fn carry_out_one(&mut self, effect: Effect, joiner: Option<Pid>) {
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
}
