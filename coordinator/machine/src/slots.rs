//! Workers join and attach; slots without a process get one.

use std::time::Duration;

use super::context::RunContext;
use super::effect::{Asker, Directive, Effect};
use super::event::{Stopping, Ticket};
use super::machine::Machine;
use super::reason::{FenceReason, LostReason, RefuseReason, StopReason};
use super::record::Record;
use super::roster::{JoinedWorker, SlotProcess, WorkerStanding, WorkerStream};
use ulda_run::StateClaim;
use ulda_run::ids::{Generation, Slot, WorkerId};
use ulda_run::stage::Cursor;

/// Pause before the second start of a slot within its window; doubles with each further one.
const FIRST_BACKOFF: Duration = Duration::from_millis(500);
const LONGEST_BACKOFF: Duration = Duration::from_secs(30);

impl Machine {
    pub(super) fn join(&mut self, ticket: Ticket, slot: Slot, data_address: String, device: String) {
        let run = &mut self.run;
        let older = match run.room_for(slot) {
            Ok(older) => older,
            Err(reason) => return run.refuse(Asker::Join(ticket), reason),
        };
        let attempt = run.roster.slot_mut(slot).attempt.unwrap_or(0);
        let worker = run.next_worker;
        run.next_worker = WorkerId(worker.0 + 1);
        if let Some(older) = older {
            self.lose(older, LostReason::Replaced { by: worker });
        }
        let run = &mut self.run;
        let state = run.roster.slot_mut(slot);
        state.attempt = Some(attempt);
        state.ended = None;
        state.process = SlotProcess::Serving { worker };
        let entry = JoinedWorker {
            slot,
            data_address: data_address.clone(),
            device: device.clone(),
            stream: WorkerStream::Unopened,
            last_heard: run.now,
            standing: WorkerStanding::Loading,
        };
        run.roster.workers.insert(worker, entry);
        run.record(Record::WorkerJoined {
            worker,
            slot,
            attempt,
            data_address,
            device,
        });
        run.effects.push(Effect::Welcome { ticket, worker, slot });
    }

    /// The slot's process is gone: starts it again if that is wanted and its budget allows.
    pub(super) fn restart_slot(&mut self, slot: Slot) {
        let run = &mut self.run;
        let (now, budget, launches) = (run.now, run.rules.restarts, run.launches());
        let wanted = run.rules.wants(slot) && self.phase.replaces_workers();
        let state = run.roster.slot_mut(slot);
        state.forget_before(now, budget.window);
        state.process = SlotProcess::Vacant;
        if !launches {
            state.retired = state.losses.len() > budget.per_slot as usize;
            return;
        }
        if !wanted || state.retired {
            return;
        }
        if !state.budget_left(budget) {
            state.retired = true;
            return;
        }
        let earlier = u32::try_from(state.restarts.len()).unwrap_or(u32::MAX);
        state.restarts.push(now);
        if earlier == 0 {
            run.launch(slot);
        } else {
            let pause = doubled(FIRST_BACKOFF, earlier - 1, LONGEST_BACKOFF);
            state.process = SlotProcess::BackingOff { until: now + pause };
        }
    }
}

impl RunContext {
    /// Whether a worker may join in this slot, and the worker it replaces there.
    fn room_for(&mut self, slot: Slot) -> Result<Option<WorkerId>, RefuseReason> {
        let (now, budget) = (self.now, self.rules.restarts);
        let state = self.roster.slot_mut(slot);
        if state.retired {
            state.forget_before(now, budget.window);
            if let Some(last) = state.losses.last() {
                let losses = u32::try_from(state.losses.len()).unwrap_or(u32::MAX);
                let wait = budget.window.saturating_sub(now.since(last.at));
                return Err(RefuseReason::BudgetSpent { slot, losses, wait });
            }
            state.retired = false;
        }
        let mut workers = self.roster.workers.iter();
        let Some((older, entry)) = workers.find(|(_, entry)| entry.slot == slot) else {
            let max = self.rules.max_workers;
            return if self.roster.workers.len() >= max as usize {
                Err(RefuseReason::Full { max })
            } else {
                Ok(None)
            };
        };
        let (by, silence) = (*older, now.since(entry.last_heard));
        if entry.attached() && silence < self.rules.deadlines.heartbeat / 2 {
            return Err(RefuseReason::SlotTaken { slot, by, silence });
        }
        Ok(Some(by))
    }

    /// A worker opened its attend stream. What a member is told depends on the phase.
    pub fn attach(&mut self, worker: WorkerId, generation: Generation) {
        let current = self.generation;
        let deadline = self.now + self.rules.deadlines.form;
        let Some(entry) = self.roster.workers.get_mut(&worker) else {
            return;
        };
        entry.stream = WorkerStream::Open;
        match &mut entry.standing {
            // It was never told of a generation, so it has nothing to leave.
            WorkerStanding::Fenced { .. } if generation == Generation::NONE => {
                entry.standing = WorkerStanding::Loading;
            }
            WorkerStanding::Fenced {
                generation: asked_of,
                until,
            } => {
                *until = deadline;
                let why = FenceReason::CoordinatorRestarted;
                let asked_of = *asked_of;
                self.direct(worker, asked_of, Directive::Fence { why });
            }
            WorkerStanding::Loading | WorkerStanding::Idle { .. } if generation > current => {
                entry.standing = WorkerStanding::Fenced {
                    generation,
                    until: deadline,
                };
                let got = generation;
                let why = FenceReason::StaleGeneration { got, current };
                self.direct(worker, generation, Directive::Fence { why });
            }
            WorkerStanding::Loading | WorkerStanding::Idle { .. } | WorkerStanding::Member => {}
        }
    }

    /// A worker that is no member can take orders. One that was asked for a report still has to give it: its
    /// collective may be running.
    pub fn ready(&mut self, worker: WorkerId, claim: Option<StateClaim>) {
        let Some(entry) = self.roster.workers.get_mut(&worker) else {
            return;
        };
        match &mut entry.standing {
            WorkerStanding::Loading => entry.standing = WorkerStanding::Idle { claim },
            // A worker's state never goes back, so the lower claim is the older one.
            WorkerStanding::Idle { claim: known } => {
                if cursor_of(known.as_ref()) < cursor_of(claim.as_ref()) {
                    *known = claim;
                }
            }
            WorkerStanding::Member | WorkerStanding::Fenced { .. } => {}
        }
    }

    /// A worker has left its generation by itself and holds this state.
    pub fn set_idle(&mut self, worker: WorkerId, claim: Option<StateClaim>) {
        if let Some(entry) = self.roster.workers.get_mut(&worker)
            && entry.standing != WorkerStanding::Loading
        {
            entry.standing = WorkerStanding::Idle { claim };
        }
    }

    /// Starts what is wanted and does not run.
    pub fn fill_slots(&mut self) {
        if !self.launches() {
            return;
        }
        for slot in (0..self.rules.wanted_workers).map(Slot) {
            let state = self.roster.slot_mut(slot);
            if state.process == SlotProcess::Vacant && !state.retired {
                self.launch(slot);
            }
        }
    }

    pub fn launch(&mut self, slot: Slot) {
        let until = self.now + self.rules.deadlines.gather;
        let state = self.roster.slot_mut(slot);
        let attempt = state.attempt.map_or(0, |last| last + 1);
        state.attempt = Some(attempt);
        state.ended = None;
        state.process = SlotProcess::Starting { until };
        if attempt > 0 {
            self.counters.restarts += 1;
            self.record(Record::Restarted { slot, attempt });
        }
        self.effects.push(Effect::Launch { slot, attempt });
    }

    /// Ends a worker that is lost but may be alive.
    pub fn end_worker(&mut self, worker: WorkerId, attached: bool, slot: Slot, why: LostReason) {
        if attached {
            let order = Directive::Stop {
                stopping: Stopping::Now,
                why: StopReason::Lost(why),
            };
            self.direct(worker, self.generation, order);
        }
        if self.launches() {
            self.effects.push(Effect::Kill { slot });
        }
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
