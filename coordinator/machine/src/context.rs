//! What all phases share: who is there, what is committed, and the orders given so far.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::effect::{Asker, Directive, Effect, Formation, RunOutcome};
use super::event::{MachineEvent, Stopping};
use super::phase::{Gathering, RunPhase};
use super::reason::{BreakReason, FailReason, FenceReason, FirstCause, RefuseReason, StopReason};
use super::record::{Record, Resume};
use super::roster::{Roster, WorkerStanding};
use super::rules::{Launching, MachineRules};
use super::slots::doubled;
use super::snapshot::MachineCounters;
use super::tick::Tick;
use ulda_run::StateClaim;
use ulda_run::ids::{Generation, Shard, Slot, WorkerId};

/// Pause before the next generation after the second one broke without a committed step; doubles with each
/// further one.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// The part of a run that outlives its phases.
#[derive(Clone, Debug)]
pub(super) struct RunContext {
    pub rules: MachineRules,
    pub term: u64,
    /// The last tick an event came with.
    pub now: Tick,
    /// Number of the last generation that was formed.
    pub generation: Generation,
    /// No lower number is formed next.
    pub floor: Generation,
    pub next_worker: WorkerId,
    pub roster: Roster,
    /// Furthest committed state of the run.
    pub committed: Option<StateClaim>,
    /// Shard owners of the last generation.
    pub last_owners: Vec<WorkerId>,
    /// Generations that broke since the last committed step.
    pub breaks: u32,
    /// Progress deadlines that passed since the last committed step.
    pub stalls: u32,
    /// Slots blamed for the break of the current generation.
    pub blamed: BTreeSet<Slot>,
    pub counters: MachineCounters,
    pub effects: Vec<Effect>,
}

impl RunContext {
    /// Numbers go on where `resume` ends; nobody is there yet.
    pub fn new(rules: MachineRules, term: u64, now: Tick, resume: &Resume) -> Self {
        Self {
            rules,
            term,
            now,
            generation: Generation(resume.generation),
            floor: Generation(resume.generation),
            next_worker: resume
                .last_worker
                .map_or(WorkerId(0), |last| WorkerId(last.0 + 1)),
            roster: Roster::default(),
            committed: resume.committed.clone(),
            last_owners: resume.shard_owner.clone(),
            breaks: 0,
            stalls: 0,
            blamed: BTreeSet::new(),
            counters: MachineCounters::default(),
            effects: Vec::new(),
        }
    }

    /// Whether an event counts: its sender is part of the run, and what it reports of a generation is of the
    /// current one. Marks the sender as alive.
    pub fn admits(&mut self, event: &MachineEvent) -> bool {
        let Some(worker) = event.sender() else { return true };
        let Some(entry) = self.roster.workers.get_mut(&worker) else {
            if !matches!(
                event,
                MachineEvent::WorkerDetached { .. } | MachineEvent::WorkerLeft { .. }
            ) {
                self.counters.unknown_sender += 1;
                self.refuse(Asker::Worker(worker), RefuseReason::UnknownWorker { worker });
            }
            return false;
        };
        entry.last_heard = self.now;
        event
            .generation()
            .is_none_or(|got| self.is_current(worker, got, event))
    }

    /// Turns away facts of another generation, or of a worker outside the current one.
    fn is_current(&mut self, worker: WorkerId, got: Generation, event: &MachineEvent) -> bool {
        // A number this coordinator never gave: its journal is older than the worker. Half of all numbers
        // are kept out of reach of a worker that makes one up.
        if got.0 < u64::MAX / 2 {
            self.floor = self.floor.max(got);
        }
        let current = self.generation;
        let fact = match event {
            MachineEvent::WorkerFormed { .. }
            | MachineEvent::ProgressMade { .. }
            | MachineEvent::WorkAdvanced { .. }
            | MachineEvent::WorkerFinished { .. } => true,
            MachineEvent::GenerationBroke { .. } => {
                if got < current {
                    self.counters.stale += 1;
                    return false;
                }
                false
            }
            MachineEvent::WorkerAttached { .. }
            | MachineEvent::WorkerReady { .. }
            | MachineEvent::HeartbeatHeard { .. }
            | MachineEvent::JoinAsked { .. }
            | MachineEvent::WorkerDetached { .. }
            | MachineEvent::WorkerLeft { .. }
            | MachineEvent::WorkerFailed { .. }
            | MachineEvent::ProcessEnded { .. }
            | MachineEvent::StopAsked { .. }
            | MachineEvent::Woke => false,
        };
        if fact && (got != current || !self.is_member(worker)) {
            self.counters.stale += 1;
            let why = FenceReason::StaleGeneration { got, current };
            self.direct(worker, got, Directive::Fence { why });
            return false;
        }
        true
    }

    pub fn is_member(&self, worker: WorkerId) -> bool {
        self.roster
            .workers
            .get(&worker)
            .is_some_and(|entry| entry.standing == WorkerStanding::Member)
    }

    pub fn launches(&self) -> bool {
        self.rules.launching == Launching::Here
    }

    /// Shards by worker in the current or last generation.
    pub fn shards_of(&self) -> BTreeMap<WorkerId, Vec<Shard>> {
        let mut shards: BTreeMap<WorkerId, Vec<Shard>> = BTreeMap::new();
        for (shard, owner) in (0..).zip(&self.last_owners) {
            shards.entry(*owner).or_default().push(Shard(shard));
        }
        shards
    }

    /// A state that was reported outside of training counts if it is beyond all that is committed.
    pub fn commit_if_further(&mut self, generation: Generation, state: StateClaim) {
        if self.is_beyond_committed(&state) {
            self.commit(generation, state);
        }
    }

    /// A step is committed once any member holds the state behind it.
    pub fn commit(&mut self, generation: Generation, state: StateClaim) {
        self.breaks = 0;
        self.stalls = 0;
        self.roster.forget_blame();
        if self.is_beyond_committed(&state) {
            self.committed = Some(state.clone());
        }
        self.record(Record::Committed { generation, state });
    }

    fn is_beyond_committed(&self, state: &StateClaim) -> bool {
        self.committed
            .as_ref()
            .is_none_or(|committed| committed.cursor < state.cursor)
    }

    /// Gives up the current generation: all its members leave it and report the state they keep.
    pub fn abandon(&mut self, formation: &Formation, why: BreakReason) -> RunPhase {
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
            entry.standing = WorkerStanding::Fenced { generation, until };
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
        let grace = if gentle {
            Duration::ZERO
        } else {
            self.rules.relaunch_grace
        };
        self.fill_slots();
        RunPhase::Gathering(Gathering {
            since: self.now,
            grace: self.now + grace,
            not_before: self.now + pause,
            deadline: self.now + self.rules.deadlines.gather,
        })
    }

    pub fn fail(&mut self, reason: FailReason) -> RunPhase {
        let cause = match &reason {
            FailReason::BadInput { cause: first }
            | FailReason::BudgetSpent { first, .. }
            | FailReason::TooFew {
                first: Some(first), ..
            } => first.clone(),
            FailReason::TooFew { first: None, .. } | FailReason::Diverged(_) | FailReason::Stalled { .. } => {
                FirstCause {
                    slot: None,
                    worker: None,
                    text: reason.to_string(),
                }
            }
        };
        self.record(Record::Failed {
            reason: reason.clone(),
            cause: cause.clone(),
            exit: reason.exit(),
        });
        self.stop_all(Stopping::Now, &StopReason::Failed(reason.clone()));
        self.end(RunOutcome::Failed { reason, cause })
    }

    /// Nothing follows.
    pub fn end(&mut self, outcome: RunOutcome) -> RunPhase {
        self.effects.push(Effect::End(outcome.clone()));
        RunPhase::Over(outcome)
    }

    /// Orders all workers that can be reached to end.
    pub fn stop_all(&mut self, stopping: Stopping, why: &StopReason) {
        let attached: Vec<WorkerId> = self
            .roster
            .workers
            .iter()
            .filter(|(_, entry)| entry.attached())
            .map(|(worker, _)| *worker)
            .collect();
        for worker in attached {
            let why = why.clone();
            self.direct(worker, self.generation, Directive::Stop { stopping, why });
        }
    }

    pub fn record(&mut self, record: Record) {
        self.effects.push(Effect::Journal(record));
    }

    pub fn refuse(&mut self, asker: Asker, reason: RefuseReason) {
        self.effects.push(Effect::Refuse { asker, reason });
    }

    pub fn direct(&mut self, worker: WorkerId, generation: Generation, directive: Directive) {
        self.effects.push(Effect::Direct {
            worker,
            generation,
            directive,
        });
    }
}
