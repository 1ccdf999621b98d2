//! What a person may want to see of the machine.

use std::time::Duration;

use super::claim::StateClaim;
use super::gather::Decision;
use super::phase::{PhaseName, RunPhase};
use super::reason::{Verdict, WaitReason};
use super::run::Machine;
use super::tick::Tick;
use ulda_run::ids::{Generation, Shard, Slot, WorkerId};
use ulda_run::stage::Cursor;

/// Things that happened since this coordinator took up the run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MachineCounters {
    /// Messages of an older generation.
    pub stale: u64,
    /// Messages of workers that are not part of the run.
    pub strangers: u64,
    /// Messages that mean nothing in the phase they came in.
    pub out_of_turn: u64,
    /// Generations given up.
    pub abandoned: u64,
    /// Processes started again.
    pub restarts: u64,
}

/// One worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerView {
    pub worker: WorkerId,
    pub slot: Slot,
    pub device: String,
    pub data_address: String,
    pub attached: bool,
    /// In the current generation.
    pub member: bool,
    /// Empty if it is no member.
    pub shards: Vec<Shard>,
    /// Position it last reported.
    pub cursor: Option<Cursor>,
    pub silent_for: Duration,
    /// The others wait for it.
    pub straggler: bool,
}

/// One slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotView {
    pub slot: Slot,
    /// Number of its last start, from 0; `None` before the first.
    pub attempt: Option<u32>,
    /// Workers lost in it within the budget's window.
    pub losses: u32,
    /// Its restarts are spent.
    pub retired: bool,
}

/// The machine at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    pub term: u64,
    pub phase: PhaseName,
    pub verdict: Verdict,
    pub generation: Generation,
    /// Furthest committed state of the run.
    pub committed: Option<StateClaim>,
    /// Where the current generation stands; behind `committed` after all holders of that were lost.
    pub at: Option<Cursor>,
    pub workers: Vec<WorkerView>,
    pub slots: Vec<SlotView>,
    pub counters: MachineCounters,
}

impl Machine {
    #[must_use]
    pub fn phase(&self) -> PhaseName {
        self.phase.name()
    }

    #[must_use]
    pub fn generation(&self) -> Generation {
        self.generation
    }

    #[must_use]
    pub fn term(&self) -> u64 {
        self.term
    }

    /// What the run does now, and why.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        let generation = self.generation;
        match &self.phase {
            RunPhase::Gathering(gathering) => match self.decide(gathering) {
                Decision::Wait(reason) => Verdict::Waiting(reason),
                Decision::Fail(reason) => Verdict::Failed(reason),
                Decision::Form => Verdict::Waiting(WaitReason::Missing { slots: Vec::new() }),
            },
            RunPhase::Forming(forming) => {
                let members = forming.formation.members.iter();
                let late = members.filter(|member| !forming.formed.contains_key(&member.worker));
                Verdict::Forming {
                    generation,
                    missing: late.map(|member| member.slot).collect(),
                }
            }
            RunPhase::Training(training) => {
                let away = |worker: &WorkerId| {
                    self.roster
                        .workers
                        .get(worker)
                        .is_some_and(|entry| !entry.attached())
                };
                let missing = self
                    .roster
                    .slots_of(training.ranks.keys().copied().filter(|worker| away(worker)));
                if missing.is_empty() {
                    let workers = u32::try_from(training.ranks.len()).unwrap_or(u32::MAX);
                    Verdict::Training { generation, workers }
                } else {
                    Verdict::Reattaching { generation, missing }
                }
            }
            RunPhase::Draining(draining) => Verdict::Draining {
                why: draining.why.clone(),
                left: self.left_to_leave(),
            },
            RunPhase::Finished => Verdict::Finished,
            RunPhase::Stopped => Verdict::Stopped,
            RunPhase::Failed(reason) => Verdict::Failed(reason.clone()),
        }
    }

    /// The machine at `now`.
    #[must_use]
    pub fn snapshot(&self, now: Tick) -> Snapshot {
        let mut shards = self.shards_of();
        let at = match &self.phase {
            RunPhase::Training(training) => training.state.as_ref().map(|state| state.cursor),
            RunPhase::Forming(forming) => forming.formation.state.as_ref().map(|state| state.cursor),
            RunPhase::Gathering(_)
            | RunPhase::Draining(_)
            | RunPhase::Finished
            | RunPhase::Stopped
            | RunPhase::Failed(_) => self.committed.as_ref().map(|state| state.cursor),
        };
        let workers = self.roster.workers.iter().map(|(worker, entry)| {
            let member = self.is_member(*worker);
            WorkerView {
                worker: *worker,
                slot: entry.slot,
                device: entry.device.clone(),
                data_address: entry.data_address.clone(),
                attached: entry.attached(),
                member,
                shards: if member {
                    shards.remove(worker).unwrap_or_default()
                } else {
                    Vec::new()
                },
                cursor: self.cursor_of(*worker),
                silent_for: now.since(entry.last_heard),
                straggler: self.is_straggler(now, *worker),
            }
        });
        let workers = workers.collect();
        let slots = self.roster.slots.iter().map(|(slot, seating)| SlotView {
            slot: *slot,
            attempt: seating.attempt,
            losses: u32::try_from(seating.losses.len()).unwrap_or(u32::MAX),
            retired: seating.retired,
        });
        Snapshot {
            term: self.term,
            phase: self.phase.name(),
            verdict: self.verdict(),
            generation: self.generation,
            committed: self.committed.clone(),
            at,
            workers,
            slots: slots.collect(),
            counters: self.counters,
        }
    }

    fn cursor_of(&self, worker: WorkerId) -> Option<Cursor> {
        if let RunPhase::Training(training) = &self.phase
            && let Some(rank) = training.ranks.get(&worker)
        {
            return rank.cursor;
        }
        let entry = self.roster.workers.get(&worker)?;
        entry.claim().and_then(Option::as_ref).map(|claim| claim.cursor)
    }

    /// Blamed since the last committed step, or behind while the others went on.
    fn is_straggler(&self, now: Tick, worker: WorkerId) -> bool {
        let RunPhase::Training(training) = &self.phase else {
            return false;
        };
        let Some(rank) = training.ranks.get(&worker).filter(|rank| rank.finished.is_none()) else {
            return false;
        };
        let slot = self.roster.slot_of(worker);
        let blamed = slot
            .and_then(|slot| self.roster.slots.get(&slot))
            .is_some_and(|seating| seating.blame > 0);
        let furthest = training.state.as_ref().map(|state| state.cursor);
        blamed
            || (rank.cursor < furthest
                && now.since(training.last_advance) >= self.rules.deadlines.progress / 4)
    }
}
