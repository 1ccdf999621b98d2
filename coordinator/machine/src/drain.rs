//! Stopping on request.

use super::effect::{Directive, Effect, RunOutcome};
use super::event::Stopping;
use super::phase::{Draining, RunPhase};
use super::reason::StopReason;
use super::record::Record;
use super::roster::{SlotProcess, WorkerStream};
use super::run::Machine;
use ulda_run::ids::{Slot, WorkerId};

impl Machine {
    /// All workers are told to leave; those that have not by the deadline are killed.
    pub(super) fn stop(&mut self, stopping: Stopping, why: String) {
        let deadline = self.now + self.rules.deadlines.drain;
        self.phase = RunPhase::Draining(Draining {
            why: why.clone(),
            deadline,
        });
        self.stop_all(stopping, &StopReason::Asked(why));
        for (slot, seating) in &mut self.roster.slots {
            match seating.place {
                SlotProcess::Starting { .. } => {
                    seating.place = SlotProcess::Leaving { until: deadline };
                    self.effects.push(Effect::Kill { slot: *slot });
                }
                SlotProcess::Leaving { .. } => seating.place = SlotProcess::Leaving { until: deadline },
                SlotProcess::Resting { .. } => seating.place = SlotProcess::Vacant,
                SlotProcess::Vacant | SlotProcess::Serving { .. } => {}
            }
        }
    }

    /// A worker attached while the run stops.
    pub(super) fn stop_attached(&mut self, worker: WorkerId) {
        let RunPhase::Draining(draining) = &self.phase else {
            return;
        };
        let why = StopReason::Asked(draining.why.clone());
        if let Some(entry) = self.roster.workers.get_mut(&worker) {
            entry.line = WorkerStream::Open;
        }
        self.direct(
            worker,
            self.generation,
            Directive::Stop {
                stopping: Stopping::Drain,
                why,
            },
        );
    }

    /// Slots whose worker or process is still there.
    pub(super) fn left_to_leave(&self) -> Vec<Slot> {
        let mut slots = self.roster.slots_of(self.roster.workers.keys().copied());
        if self.launches() {
            let occupied = self
                .roster
                .slots
                .iter()
                .filter(|(_, seating)| match seating.place {
                    SlotProcess::Starting { .. }
                    | SlotProcess::Serving { .. }
                    | SlotProcess::Leaving { .. } => true,
                    SlotProcess::Vacant | SlotProcess::Resting { .. } => false,
                });
            slots.extend(occupied.map(|(slot, _)| *slot));
        }
        slots.sort_unstable();
        slots.dedup();
        slots
    }

    pub(super) fn leave_if_empty(&mut self) {
        if self.left_to_leave().is_empty() {
            self.stopped();
        }
    }

    /// Whoever is left is killed.
    pub(super) fn stop_now(&mut self) {
        if self.launches() {
            for slot in self.left_to_leave() {
                self.effects.push(Effect::Kill { slot });
            }
        }
        self.stopped();
    }

    fn stopped(&mut self) {
        self.record(Record::Stopped);
        self.effects.push(Effect::End(RunOutcome::Stopped));
        self.phase = RunPhase::Stopped;
    }
}
