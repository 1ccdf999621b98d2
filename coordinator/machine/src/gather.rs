//! From a set of workers to the decision to form a generation, to wait, or to give up.

use std::time::Duration;

use super::claim::StateClaim;
use super::effect::Directive;
use super::phase::{Gathering, RunPhase};
use super::reason::{BreakReason, FailReason, FenceReason, FirstCause, LostReason, WaitReason};
use super::record::Record;
use super::roster::WorkerStanding;
use super::run::Machine;
use super::staff::doubled;
use super::tick::Tick;
use ulda_run::ids::{Generation, Shard, Slot, WorkerId};

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// Generations that waited in vain for the same worker before it is replaced.
const PATIENCE: u32 = 2;

/// What a gathering leads to right now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    Form,
    Wait(WaitReason),
    Fail(FailReason),
}

impl Machine {
    /// Does what the present situation allows; called after each event.
    pub(super) fn reconsider(&mut self) {
        loop {
            match &self.phase {
                RunPhase::Gathering(gathering) => match self.decide(gathering) {
                    Decision::Wait(_) => return,
                    Decision::Fail(reason) => return self.fail(reason),
                    Decision::Form => self.form(),
                },
                RunPhase::Training(training) => {
                    if training.all_finished() {
                        return self.finish();
                    }
                    let Some(slots) = self.admissible() else { return };
                    self.abandon(BreakReason::Newcomers { slots });
                }
                RunPhase::Draining(_) => return self.leave_if_empty(),
                RunPhase::Forming(_) | RunPhase::Finished | RunPhase::Stopped | RunPhase::Failed(_) => return,
            }
        }
    }

    pub(super) fn decide(&self, gathering: &Gathering) -> Decision {
        let rules = &self.rules;
        let need = rules.min_workers.max(1);
        let present: Vec<Slot> = self.roster.available().map(|(seat, _)| seat.slot).collect();
        let have = u32::try_from(present.len()).unwrap_or(u32::MAX);
        let retired = |slot: &Slot| self.roster.slots.get(slot).is_some_and(|seating| seating.retired);
        let missing: Vec<Slot> = (0..rules.wanted_workers)
            .map(Slot)
            .filter(|slot| !retired(slot) && !present.contains(slot))
            .collect();

        if let Some(reason) = self.hopeless(need) {
            return Decision::Fail(reason);
        }
        let owing = self.roster.owing();
        if !owing.is_empty() {
            return Decision::Wait(WaitReason::Reports { workers: owing });
        }
        let complete = missing.is_empty() || have >= rules.wanted_workers;
        if have >= need && (complete || self.now >= gathering.grace.min(gathering.deadline)) {
            if self.now < gathering.not_before {
                return Decision::Wait(WaitReason::Pacing { breaks: self.breaks });
            }
            return Decision::Form;
        }
        let loading = self.roster.slots_of(self.roster.loading());
        if have < need && !loading.is_empty() && self.now < self.loading_deadline(gathering) {
            return Decision::Wait(WaitReason::Loading { slots: loading });
        }
        if have < need && self.now < self.queue_deadline(gathering) {
            return Decision::Wait(WaitReason::TooFew { have, need });
        }
        if self.now >= gathering.deadline {
            let waited = self.now.since(gathering.since);
            let first = self.roster.first_cause();
            return Decision::Fail(FailReason::TooFew {
                have,
                need,
                missing,
                waited,
                first,
            });
        }
        if have < need {
            Decision::Wait(WaitReason::TooFew { have, need })
        } else {
            Decision::Wait(WaitReason::Missing { slots: missing })
        }
    }

    /// Loading takes as long as a step may take, on top of joining.
    pub(super) fn loading_deadline(&self, gathering: &Gathering) -> Tick {
        gathering.deadline + self.rules.deadlines.progress
    }

    /// Workers that somebody else starts may wait for a place themselves; nothing is lost by waiting for them.
    pub(super) fn queue_deadline(&self, gathering: &Gathering) -> Tick {
        if self.launches() {
            return gathering.deadline;
        }
        gathering
            .deadline
            .max(gathering.since + self.rules.deadlines.queue)
    }

    /// Too many slots are retired to ever have enough workers.
    fn hopeless(&self, need: u32) -> Option<FailReason> {
        let retired = |slot: Slot| self.roster.slots.get(&slot).filter(|seating| seating.retired);
        let hoped = (0..self.rules.wanted_workers)
            .filter(|slot| retired(Slot(*slot)).is_none())
            .count();
        let extra = self
            .roster
            .workers
            .values()
            .filter(|entry| !self.rules.wants(entry.slot) || retired(entry.slot).is_some())
            .count();
        if hoped + extra >= need as usize {
            return None;
        }
        let slot = self
            .roster
            .slots
            .iter()
            .find(|(_, seating)| seating.retired)
            .map(|(slot, _)| *slot)?;
        let spent = self.roster.slots.get(&slot)?;
        let first = spent
            .first_cause()
            .map(|loss| loss.cause.clone())
            .unwrap_or(FirstCause {
                slot: Some(slot),
                worker: None,
                text: "restarts are spent".to_owned(),
            });
        let have = u32::try_from(self.roster.workers.len()).unwrap_or(u32::MAX);
        Some(FailReason::BudgetSpent {
            slot,
            have,
            need,
            first,
        })
    }

    /// A worker was lost while gathering: its successor gets time to come.
    pub(super) fn extend_gathering(&mut self) {
        let grace = self.now + self.rules.relaunch_grace;
        let deadline = self.now + self.rules.deadlines.gather;
        if let RunPhase::Gathering(gathering) = &mut self.phase {
            gathering.grace = gathering.grace.max(grace);
            gathering.deadline = gathering.deadline.max(deadline);
        }
    }

    /// Gives up the current generation: all its members leave it and say what state they keep.
    pub(super) fn abandon(&mut self, why: BreakReason) {
        let formation = match &self.phase {
            RunPhase::Forming(forming) => forming.formation.clone(),
            RunPhase::Training(training) => training.formation.clone(),
            RunPhase::Gathering(_)
            | RunPhase::Draining(_)
            | RunPhase::Finished
            | RunPhase::Stopped
            | RunPhase::Failed(_) => return,
        };
        let generation = self.generation;
        let gentle = matches!(why, BreakReason::Newcomers { .. });
        self.counters.abandoned += 1;
        self.record(Record::GenerationAbandoned {
            generation,
            why: why.clone(),
        });

        let until = self.now + self.rules.deadlines.form;
        for member in &formation.members {
            let Some(entry) = self.roster.workers.get_mut(&member.worker) else {
                continue;
            };
            if entry.standing != WorkerStanding::Member {
                continue;
            }
            entry.standing = WorkerStanding::Owing { generation, until };
            if entry.attached() {
                let why = FenceReason::Abandoned {
                    generation,
                    why: why.clone(),
                };
                self.direct(member.worker, generation, Directive::Fence { why });
            }
        }

        let pause = if gentle {
            Duration::ZERO
        } else {
            self.breaks += 1;
            if self.breaks < 2 {
                Duration::ZERO
            } else {
                doubled(FIRST_PAUSE, self.breaks - 2, LONGEST_PAUSE)
            }
        };
        self.phase = RunPhase::Gathering(Gathering {
            since: self.now,
            grace: if gentle {
                self.now
            } else {
                self.now + self.rules.relaunch_grace
            },
            not_before: self.now + pause,
            deadline: self.now + self.rules.deadlines.gather,
        });
        self.staff();
    }

    /// A fenced worker says what state it keeps.
    pub(super) fn reported(
        &mut self,
        worker: WorkerId,
        generation: Generation,
        waiting_for: &[Shard],
        state: Option<StateClaim>,
    ) {
        let claim = state.map(|state| self.settled(state));
        let Some(entry) = self.roster.workers.get_mut(&worker) else {
            return;
        };
        match &entry.standing {
            WorkerStanding::Owing { generation: owed, .. } if *owed > generation => {
                self.counters.stale += 1;
                return;
            }
            WorkerStanding::Owing { .. } => {}
            // Said twice; the first one may be known to be out of date by now.
            WorkerStanding::Idle { .. } => return,
            WorkerStanding::Loading | WorkerStanding::Member => return,
        }
        entry.standing = WorkerStanding::Idle { claim: claim.clone() };
        self.blame(worker, waiting_for);
        if let Some(claim) = claim {
            self.commit(generation, claim, worker);
        }
    }

    /// Remembers who was waited for in vain; once per generation and slot.
    pub(super) fn blame(&mut self, by: WorkerId, waiting_for: &[Shard]) {
        for shard in waiting_for {
            let owner = usize::try_from(shard.0)
                .ok()
                .and_then(|shard| self.last_owners.get(shard))
                .copied();
            let Some(owner) = owner.filter(|owner| *owner != by) else {
                continue;
            };
            if let Some(slot) = self.roster.slot_of(owner) {
                self.blame_slot(slot);
            }
        }
    }

    pub(super) fn blame_slot(&mut self, slot: Slot) {
        if self.blamed.insert(slot) {
            self.roster.seating(slot).blame += 1;
        }
    }

    /// Replaces the worker that one generation after the other waited for. True if there was one.
    pub(super) fn replace_most_blamed(&mut self) -> bool {
        let worst = self
            .roster
            .workers
            .iter()
            .map(|(worker, entry)| {
                (
                    self.roster
                        .slots
                        .get(&entry.slot)
                        .map_or(0, |seating| seating.blame),
                    *worker,
                )
            })
            .max();
        let Some((times, worker)) = worst.filter(|(times, _)| *times >= PATIENCE) else {
            return false;
        };
        for seating in self.roster.slots.values_mut() {
            seating.blame = 0;
        }
        self.lose(worker, LostReason::Blamed { times });
        true
    }
}
