//! What a person may want to see of the machine.

use std::time::Duration;

use super::effect::RunOutcome;
use super::gather::Decision;
use super::machine::Machine;
use super::phase::{PhaseName, RunPhase};
use super::reason::{Verdict, WaitReason};
use super::tick::Tick;
use ulda_run::StateClaim;
use ulda_run::ids::{Generation, Shard, Slot, WorkerId};
use ulda_run::stage::Cursor;

/// Things that happened since this coordinator took up the run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MachineCounters {
    /// Messages of an older generation.
    pub stale: u64,
    /// Messages of workers that are not part of the run.
    pub unknown_sender: u64,
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
    /// What the run does now, and why.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        let run = &self.run;
        let generation = run.generation;
        match &self.phase {
            RunPhase::Gathering(gathering) => match gathering.decide(run) {
                Decision::Wait(reason) => Verdict::Waiting(reason),
                Decision::Fail(reason) => Verdict::Failed(reason),
                Decision::Form => Verdict::Waiting(WaitReason::Missing { slots: Vec::new() }),
            },
            RunPhase::Forming(forming) => Verdict::Forming {
                generation,
                missing: forming.missing().map(|member| member.slot).collect(),
            },
            RunPhase::Training(training) => {
                let detached = training.members.keys().copied().filter(|worker| {
                    let entry = run.roster.workers.get(worker);
                    entry.is_some_and(|entry| !entry.attached())
                });
                let missing = run.roster.slots_of(detached);
                if missing.is_empty() {
                    let workers = u32::try_from(training.members.len()).unwrap_or(u32::MAX);
                    Verdict::Training { generation, workers }
                } else {
                    Verdict::Reattaching { generation, missing }
                }
            }
            RunPhase::Draining(draining) => Verdict::Draining {
                why: draining.why.clone(),
                left: run.left_to_leave(),
            },
            RunPhase::Over(RunOutcome::Finished { .. }) => Verdict::Finished,
            RunPhase::Over(RunOutcome::Stopped) => Verdict::Stopped,
            RunPhase::Over(RunOutcome::Failed { reason, .. }) => Verdict::Failed(reason.clone()),
        }
    }

    /// The machine at `now`.
    #[must_use]
    pub fn snapshot(&self, now: Tick) -> Snapshot {
        let run = &self.run;
        let mut shards = run.shards_of();
        let state = match &self.phase {
            RunPhase::Training(training) => &training.state,
            RunPhase::Forming(forming) => &forming.formation.state,
            RunPhase::Gathering(_) | RunPhase::Draining(_) | RunPhase::Over(_) => &run.committed,
        };
        let workers = run.roster.workers.iter().map(|(worker, entry)| {
            let member = run.is_member(*worker);
            let training = self.phase.training();
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
                cursor: match training.and_then(|training| training.members.get(worker)) {
                    Some(member) => member.cursor,
                    None => entry.claim().and_then(Option::as_ref).map(|claim| claim.cursor),
                },
                silent_for: now.since(entry.last_heard),
                straggler: training.is_some_and(|training| training.is_straggler(run, now, *worker)),
            }
        });
        let workers = workers.collect();
        let slots = run.roster.slots.iter().map(|(slot, state)| SlotView {
            slot: *slot,
            attempt: state.attempt,
            losses: u32::try_from(state.losses.len()).unwrap_or(u32::MAX),
            retired: state.retired,
        });
        Snapshot {
            term: run.term,
            phase: self.phase.name(),
            verdict: self.verdict(),
            generation: run.generation,
            committed: run.committed.clone(),
            at: state.as_ref().map(|state| state.cursor),
            workers,
            slots: slots.collect(),
            counters: run.counters,
        }
    }
}
