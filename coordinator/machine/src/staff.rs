//! Slots are kept staffed: joining, attaching, starting processes again.

use std::time::Duration;

use super::claim::StateClaim;
use super::effect::{Asker, Directive, Effect};
use super::event::Ticket;
use super::phase::{PhaseName, RunPhase};
use super::reason::{BreakReason, FenceReason, LostReason, RefuseReason, StopReason};
use super::record::Record;
use super::roster::{JoinedWorker, SlotProcess, WorkerStanding, WorkerStream};
use super::run::Machine;
use ulda_run::ids::{Generation, Slot, WorkerId};
use ulda_run::stage::Cursor;

/// Pause before the second start of a slot within its window; doubles with each further one.
const FIRST_REST: Duration = Duration::from_millis(500);
const LONGEST_REST: Duration = Duration::from_secs(30);

impl Machine {
    pub(super) fn join(&mut self, ticket: Ticket, slot: Slot, data_address: String, device: String) {
        let (now, budget) = (self.now, self.rules.restarts);
        let seating = self.roster.seating(slot);
        if seating.retired {
            seating.forget(now, budget.window);
            if let Some(last) = seating.losses.last() {
                let losses = u32::try_from(seating.losses.len()).unwrap_or(u32::MAX);
                let wait = budget.window.saturating_sub(now.since(last.at));
                return self.refuse(
                    Asker::Join(ticket),
                    RefuseReason::BudgetSpent { slot, losses, wait },
                );
            }
            seating.retired = false;
        }
        let attempt = seating.attempt.unwrap_or(0);
        let older = self
            .roster
            .workers
            .iter()
            .find(|(_, entry)| entry.slot == slot)
            .map(|(worker, entry)| {
                let silence = now.since(entry.last_heard);
                (
                    *worker,
                    silence,
                    entry.attached() && silence < self.rules.deadlines.heartbeat / 2,
                )
            });
        if let Some((by, silence, true)) = older {
            return self.refuse(Asker::Join(ticket), RefuseReason::SlotTaken { slot, by, silence });
        }
        let max = self.rules.max_workers;
        if older.is_none() && self.roster.workers.len() >= max as usize {
            return self.refuse(Asker::Join(ticket), RefuseReason::Full { max });
        }

        let worker = self.next_worker;
        self.next_worker = WorkerId(worker.0 + 1);
        if let Some((older, _, _)) = older {
            self.lose(older, LostReason::Replaced { by: worker });
        }
        let seating = self.roster.seating(slot);
        seating.attempt = Some(attempt);
        seating.ended = None;
        seating.place = SlotProcess::Serving { worker };
        let entry = JoinedWorker {
            slot,
            data_address: data_address.clone(),
            device: device.clone(),
            line: WorkerStream::Unopened,
            last_heard: now,
            standing: WorkerStanding::Loading,
        };
        self.roster.workers.insert(worker, entry);
        self.record(Record::WorkerJoined {
            worker,
            slot,
            attempt,
            data_address,
            device,
        });
        self.effects.push(Effect::Welcome { ticket, worker, slot });
    }

    pub(super) fn attach(&mut self, worker: WorkerId, generation: Generation) {
        let (current, now) = (self.generation, self.now);
        let patience = self.rules.deadlines.form;
        let Some(entry) = self.roster.workers.get_mut(&worker) else {
            return;
        };
        entry.line = WorkerStream::Open;
        match &mut entry.standing {
            // It was never told of a generation, so it has nothing to leave.
            WorkerStanding::Owing { .. } if generation == Generation::NONE => {
                entry.standing = WorkerStanding::Loading
            }
            WorkerStanding::Owing {
                generation: owed,
                until,
            } => {
                *until = now + patience;
                let owed = *owed;
                self.direct(
                    worker,
                    owed,
                    Directive::Fence {
                        why: FenceReason::CoordinatorRestarted,
                    },
                );
            }
            WorkerStanding::Loading | WorkerStanding::Idle { .. } if generation > current => {
                entry.standing = WorkerStanding::Owing {
                    generation,
                    until: now + patience,
                };
                let why = FenceReason::StaleGeneration {
                    got: generation,
                    current,
                };
                self.direct(worker, generation, Directive::Fence { why });
            }
            WorkerStanding::Loading | WorkerStanding::Idle { .. } => {}
            WorkerStanding::Member => match &self.phase {
                RunPhase::Forming(forming) => {
                    let formation = forming.formation.clone();
                    self.direct(worker, current, Directive::Form(formation));
                }
                RunPhase::Training(_) if generation == current => self.direct(worker, current, Directive::Go),
                RunPhase::Training(_) => {
                    let cause = format!("attached in {generation}, not in {current}");
                    self.abandon(BreakReason::Broke {
                        worker,
                        cause,
                        waiting_for: Vec::new(),
                    });
                }
                RunPhase::Gathering(_)
                | RunPhase::Draining(_)
                | RunPhase::Finished
                | RunPhase::Stopped
                | RunPhase::Failed(_) => {}
            },
        }
    }

    /// A worker can take orders. Who owes a report, owes it still: its collective may be running.
    pub(super) fn ready(&mut self, worker: WorkerId, generation: Generation, state: Option<StateClaim>) {
        let claim = state.map(|state| self.settled(state));
        let current = self.generation;
        let Some(entry) = self.roster.workers.get_mut(&worker) else {
            return;
        };
        match &entry.standing {
            WorkerStanding::Loading => entry.standing = WorkerStanding::Idle { claim },
            // A worker's state never goes back, so the lower claim is the older one.
            WorkerStanding::Idle { claim: known } => {
                let further = cursor_of(known.as_ref()) < cursor_of(claim.as_ref());
                entry.standing = WorkerStanding::Idle {
                    claim: if further { claim } else { known.clone() },
                };
            }
            WorkerStanding::Member if generation == current => {
                if let (Some(state), PhaseName::Training) = (claim, self.phase.name()) {
                    self.progressed(worker, state);
                }
            }
            WorkerStanding::Member | WorkerStanding::Owing { .. } => {}
        }
    }

    pub(super) fn settled(&self, state: StateClaim) -> StateClaim {
        StateClaim {
            cursor: self.rules.settle(state.cursor),
            ..state
        }
    }

    /// Starts what is wanted and does not run.
    pub(super) fn staff(&mut self) {
        if !self.launches() {
            return;
        }
        for slot in (0..self.rules.wanted_workers).map(Slot) {
            let seating = self.roster.seating(slot);
            if seating.place == SlotProcess::Vacant && !seating.retired {
                self.launch(slot);
            }
        }
    }

    pub(super) fn launch(&mut self, slot: Slot) {
        let until = self.now + self.rules.deadlines.gather;
        let seating = self.roster.seating(slot);
        let attempt = seating.attempt.map_or(0, |last| last + 1);
        seating.attempt = Some(attempt);
        seating.ended = None;
        seating.place = SlotProcess::Starting { until };
        if attempt > 0 {
            self.counters.restarts += 1;
            self.record(Record::Restarted { slot, attempt });
        }
        self.effects.push(Effect::Launch { slot, attempt });
    }

    /// The slot's process is gone: start it again if that is wanted and its budget allows.
    pub(super) fn rest(&mut self, slot: Slot) {
        let (now, budget, launches) = (self.now, self.rules.restarts, self.launches());
        let wanted = self.rules.wants(slot) && self.staffing();
        let seating = self.roster.seating(slot);
        seating.forget(now, budget.window);
        seating.place = SlotProcess::Vacant;
        if !launches {
            seating.retired = seating.losses.len() > budget.per_slot as usize;
            return;
        }
        if !wanted || seating.retired {
            return;
        }
        if !seating.budget_left(budget) {
            seating.retired = true;
            return;
        }
        let earlier = u32::try_from(seating.restarts.len()).unwrap_or(u32::MAX);
        seating.restarts.push(now);
        if earlier == 0 {
            self.launch(slot);
        } else {
            let pause = doubled(FIRST_REST, earlier - 1, LONGEST_REST);
            self.roster.seating(slot).place = SlotProcess::Resting { until: now + pause };
        }
    }

    /// Whether lost workers are replaced: not while the run ends.
    fn staffing(&self) -> bool {
        match &self.phase {
            RunPhase::Gathering(_) | RunPhase::Forming(_) => true,
            RunPhase::Training(training) => !training.any_finished(),
            RunPhase::Draining(_) | RunPhase::Finished | RunPhase::Stopped | RunPhase::Failed(_) => false,
        }
    }

    /// Ends a worker that is lost but may be alive.
    pub(super) fn put_down(&mut self, worker: WorkerId, attached: bool, slot: Slot, why: LostReason) {
        if attached {
            let stopping = super::event::Stopping::Now;
            self.direct(
                worker,
                self.generation,
                Directive::Stop {
                    stopping,
                    why: StopReason::Lost(why),
                },
            );
        }
        if self.launches() {
            self.effects.push(Effect::Kill { slot });
        }
    }

    pub(super) fn is_draining(&self) -> bool {
        self.phase.name() == PhaseName::Draining
    }
}

fn cursor_of(claim: Option<&StateClaim>) -> Option<Cursor> {
    claim.map(|claim| claim.cursor)
}

/// `first · 2^times`, at most `longest`.
pub(super) fn doubled(first: Duration, times: u32, longest: Duration) -> Duration {
    first
        .saturating_mul(1_u32.checked_shl(times).unwrap_or(u32::MAX))
        .min(longest)
}
