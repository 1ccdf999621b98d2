//! Stopping on request.

use super::context::RunContext;
use super::effect::{Directive, Effect, RunOutcome};
use super::event::Stopping;
use super::phase::{Draining, Next, RunPhase};
use super::reason::StopReason;
use super::record::Record;
use super::roster::{SlotProcess, WorkerStream};
use ulda_run::ids::{Slot, WorkerId};

impl Draining {
    /// A worker attached while the run stops.
    pub fn attached(&self, run: &mut RunContext, worker: WorkerId) {
        if let Some(entry) = run.roster.workers.get_mut(&worker) {
            entry.stream = WorkerStream::Open;
        }
        let order = Directive::Stop {
            stopping: Stopping::Drain,
            why: StopReason::Asked(self.why.clone()),
        };
        run.direct(worker, run.generation, order);
    }
}

impl RunContext {
    /// Orders all workers to leave; those that have not by the deadline are killed.
    pub fn drain(&mut self, stopping: Stopping, why: String) -> RunPhase {
        let deadline = self.now + self.rules.deadlines.drain;
        self.stop_all(stopping, &StopReason::Asked(why.clone()));
        for (slot, state) in &mut self.roster.slots {
            match state.process {
                SlotProcess::Starting { .. } => {
                    state.process = SlotProcess::Leaving { until: deadline };
                    self.effects.push(Effect::Kill { slot: *slot });
                }
                SlotProcess::Leaving { .. } => state.process = SlotProcess::Leaving { until: deadline },
                SlotProcess::BackingOff { .. } => state.process = SlotProcess::Vacant,
                SlotProcess::Vacant | SlotProcess::Serving { .. } => {}
            }
        }
        RunPhase::Draining(Draining { why, deadline })
    }

    /// Slots whose worker or process is still there.
    pub fn left_to_leave(&self) -> Vec<Slot> {
        let mut slots = self.roster.slots_of(self.roster.workers.keys().copied());
        if self.launches() {
            let occupied = self.roster.slots.iter().filter(|(_, state)| match state.process {
                SlotProcess::Starting { .. } | SlotProcess::Serving { .. } | SlotProcess::Leaving { .. } => {
                    true
                }
                SlotProcess::Vacant | SlotProcess::BackingOff { .. } => false,
            });
            slots.extend(occupied.map(|(slot, _)| *slot));
        }
        slots.sort_unstable();
        slots.dedup();
        slots
    }

    pub fn stop_if_empty(&mut self) -> Next {
        if self.left_to_leave().is_empty() {
            Next::Enter(self.stopped())
        } else {
            Next::Stay
        }
    }

    /// Ends the run; whoever is left is killed.
    pub fn kill_rest(&mut self) -> RunPhase {
        if self.launches() {
            for slot in self.left_to_leave() {
                self.effects.push(Effect::Kill { slot });
            }
        }
        self.stopped()
    }

    fn stopped(&mut self) -> RunPhase {
        self.record(Record::Stopped);
        self.end(RunOutcome::Stopped)
    }
}
