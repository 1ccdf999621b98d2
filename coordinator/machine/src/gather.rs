//! From a set of workers to the decision to form a generation, to wait, or to give up.

use std::collections::BTreeSet;

use super::context::RunContext;
use super::phase::{Gathering, Next};
use super::reason::{FailReason, FirstCause, WaitReason};
use super::roster::{SlotState, WorkerStanding};
use super::tick::Tick;
use ulda_run::StateClaim;
use ulda_run::ids::{Generation, Shard, Slot, WorkerId};

/// Generations that waited in vain for the same worker before it is replaced.
const PATIENCE: u32 = 2;

/// What a gathering leads to right now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    Form,
    Wait(WaitReason),
    Fail(FailReason),
}

impl Gathering {
    pub fn reconsider(&self, run: &mut RunContext) -> Next {
        match self.decide(run) {
            Decision::Wait(_) => Next::Stay,
            Decision::Fail(reason) => Next::Enter(run.fail(reason)),
            Decision::Form => run.form(),
        }
    }

    pub fn decide(&self, run: &RunContext) -> Decision {
        let rules = &run.rules;
        let need = rules.min_workers.max(1);
        let have = u32::try_from(run.roster.available().count()).unwrap_or(u32::MAX);

        if let Some(reason) = run.too_few_slots_left(need) {
            return Decision::Fail(reason);
        }
        let fenced = run.roster.fenced();
        if !fenced.is_empty() {
            return Decision::Wait(WaitReason::Reports { workers: fenced });
        }
        let complete = || have >= rules.wanted_workers || !run.misses_a_slot();
        if have >= need && (complete() || run.now >= self.grace.min(self.deadline)) {
            if run.now < self.not_before {
                return Decision::Wait(WaitReason::Pacing { breaks: run.breaks });
            }
            return Decision::Form;
        }
        let loading = run.roster.slots_of(run.roster.loading());
        if have < need && !loading.is_empty() && run.now < self.loading_deadline(run) {
            return Decision::Wait(WaitReason::Loading { slots: loading });
        }
        if have < need && run.now < self.queue_deadline(run) {
            return Decision::Wait(WaitReason::TooFew { have, need });
        }
        if run.now >= self.deadline {
            let waited = run.now.since(self.since);
            let first = run.roster.first_cause();
            return Decision::Fail(FailReason::TooFew {
                have,
                need,
                missing: run.missing_slots(),
                waited,
                first,
            });
        }
        if have < need {
            Decision::Wait(WaitReason::TooFew { have, need })
        } else {
            Decision::Wait(WaitReason::Missing {
                slots: run.missing_slots(),
            })
        }
    }

    /// Loading takes as long as a step may take, on top of joining.
    pub fn loading_deadline(&self, run: &RunContext) -> Tick {
        self.deadline + run.rules.deadlines.progress
    }

    /// Workers that somebody else starts may queue for a place themselves; nothing is lost by waiting for them.
    pub fn queue_deadline(&self, run: &RunContext) -> Tick {
        if run.launches() {
            return self.deadline;
        }
        self.deadline.max(self.since + run.rules.deadlines.queue)
    }

    /// A worker was lost while gathering: its successor gets time to come.
    pub fn extend(&mut self, run: &RunContext) {
        self.grace = self.grace.max(run.now + run.rules.relaunch_grace);
        self.deadline = self.deadline.max(run.now + run.rules.deadlines.gather);
    }
}

impl RunContext {
    /// Slots that are to be staffed and have no worker that can be put into a generation.
    fn missing_slots(&self) -> Vec<Slot> {
        let present: BTreeSet<Slot> = self.roster.available().map(|(seat, _)| seat.slot).collect();
        (0..self.rules.wanted_workers)
            .map(Slot)
            .filter(|slot| !self.roster.is_retired(*slot) && !present.contains(slot))
            .collect()
    }

    /// Whether there are such slots, by counting: this is asked after each event, also of ten thousand workers.
    fn misses_a_slot(&self) -> bool {
        let wanted = |slot: Slot| self.rules.wants(slot);
        let retired = |(slot, state): &(&Slot, &SlotState)| wanted(**slot) && state.retired;
        let retired = self.roster.slots.iter().filter(retired).count();
        let present = self
            .roster
            .available()
            .filter(|(seat, _)| wanted(seat.slot) && (retired == 0 || !self.roster.is_retired(seat.slot)));
        present.count() + retired < self.rules.wanted_workers as usize
    }

    /// Too many slots are retired to ever have enough workers.
    fn too_few_slots_left(&self, need: u32) -> Option<FailReason> {
        let (slot, spent) = self.roster.slots.iter().find(|(_, state)| state.retired)?;
        let hoped = (0..self.rules.wanted_workers)
            .filter(|slot| !self.roster.is_retired(Slot(*slot)))
            .count();
        let extra = self
            .roster
            .workers
            .values()
            .filter(|entry| !self.rules.wants(entry.slot) || self.roster.is_retired(entry.slot))
            .count();
        if hoped + extra >= need as usize {
            return None;
        }
        let first = spent
            .first_cause()
            .map(|loss| loss.cause.clone())
            .unwrap_or(FirstCause {
                slot: Some(*slot),
                worker: None,
                text: "restarts are spent".to_owned(),
            });
        let have = u32::try_from(self.roster.workers.len()).unwrap_or(u32::MAX);
        Some(FailReason::BudgetSpent {
            slot: *slot,
            have,
            need,
            first,
        })
    }

    /// A fenced worker reports the state it keeps.
    pub fn reported(
        &mut self,
        worker: WorkerId,
        generation: Generation,
        waiting_for: &[Shard],
        state: Option<StateClaim>,
    ) {
        let Some(entry) = self.roster.workers.get_mut(&worker) else {
            return;
        };
        match &entry.standing {
            WorkerStanding::Fenced {
                generation: asked_of, ..
            } if *asked_of > generation => {
                self.counters.stale += 1;
                return;
            }
            WorkerStanding::Fenced { .. } => {}
            // Reported twice; the first report may be known to be out of date by now.
            WorkerStanding::Idle { .. } => return,
            WorkerStanding::Loading | WorkerStanding::Member => return,
        }
        entry.standing = WorkerStanding::Idle { claim: state.clone() };
        self.blame(worker, waiting_for);
        if let Some(state) = state {
            self.commit_if_further(generation, state);
        }
    }

    /// Remembers who was waited for in vain; once per generation and slot.
    pub fn blame(&mut self, by: WorkerId, waiting_for: &[Shard]) {
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

    pub fn blame_slot(&mut self, slot: Slot) {
        if self.blamed.insert(slot) {
            self.roster.slot_mut(slot).blame += 1;
        }
    }

    /// The worker that one generation after the other waited for in vain, and how many did; then all blame is
    /// forgotten.
    pub fn take_most_blamed(&mut self) -> Option<(WorkerId, u32)> {
        let blame = |slot: &Slot| self.roster.slots.get(slot).map_or(0, |state| state.blame);
        let workers = self.roster.workers.iter();
        let (times, worker) = workers
            .map(|(worker, entry)| (blame(&entry.slot), *worker))
            .max()
            .filter(|(times, _)| *times >= PATIENCE)?;
        self.roster.forget_blame();
        Some((worker, times))
    }
}
