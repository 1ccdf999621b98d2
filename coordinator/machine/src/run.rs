//! The machine itself: one match over phase and event; the transitions are in the modules beside it.

use std::collections::{BTreeMap, BTreeSet};

use super::claim::StateClaim;
use super::effect::{Asker, Directive, Effect, RunOutcome};
use super::event::{MachineEvent, Stopping};
use super::phase::{PhaseName, RunPhase};
use super::reason::{FailReason, FenceReason, FirstCause, LostReason, RefuseReason, StopReason, Why};
use super::record::{Record, Resume};
use super::roster::{Roster, WorkerStanding};
use super::rules::{Launching, MachineRules};
use super::snapshot::MachineCounters;
use super::tick::Tick;
use ulda_run::ids::{Generation, Shard, Slot, WorkerId};

/// One run, from the first worker to its end.
#[derive(Clone, Debug)]
pub struct Machine {
    pub(super) rules: MachineRules,
    pub(super) term: u64,
    /// The last tick an event came with.
    pub(super) now: Tick,
    pub(super) phase: RunPhase,
    /// Number of the last generation that was formed.
    pub(super) generation: Generation,
    /// No lower number is formed next.
    pub(super) floor: Generation,
    pub(super) next_worker: WorkerId,
    pub(super) roster: Roster,
    /// Furthest committed state of the run.
    pub(super) committed: Option<StateClaim>,
    /// Shard owners of the last generation.
    pub(super) last_owners: Vec<WorkerId>,
    /// Generations that broke since the last committed step.
    pub(super) breaks: u32,
    /// Progress deadlines that passed since the last committed step.
    pub(super) stalls: u32,
    /// Slots blamed for the break of the current generation.
    pub(super) blamed: BTreeSet<Slot>,
    pub(super) counters: MachineCounters,
    pub(super) effects: Vec<Effect>,
}

impl Machine {
    /// A coordinator takes up the run: a new one, or with `resume` one that its journal tells of.
    ///
    /// `term` must be above the journal's. `now` starts all waits.
    #[must_use]
    pub fn new(rules: MachineRules, term: u64, now: Tick, resume: Option<Resume>) -> Self {
        let resume = resume.unwrap_or_default();
        let mut machine = Self {
            phase: RunPhase::Finished,
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
            rules,
        };
        machine.record(Record::RunStarted { term });
        machine.take_up(resume);
        machine
    }

    /// Takes in one fact. `now` never runs backwards; an earlier tick counts as the last one.
    pub fn handle(&mut self, now: Tick, event: MachineEvent) {
        let due = self.poll_timeout();
        self.now = self.now.max(now);
        let admitted = self.phase.name().is_over() || self.known_sender(&event);
        if admitted && let Some(event) = self.heard(event) {
            self.dispatch(event, due);
        }
        self.reconsider();
    }

    /// The orders since the last call, in the order in which they are to be carried out.
    pub fn drain_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    fn dispatch(&mut self, event: MachineEvent, due: Option<(Tick, Why)>) {
        use PhaseName::{Draining, Failed, Finished, Forming, Gathering, Stopped, Training};
        match (self.phase.name(), event) {
            (
                Gathering | Forming | Training,
                MachineEvent::JoinAsked {
                    ticket,
                    slot,
                    data_address,
                    device,
                },
            ) => self.join(ticket, slot, data_address, device),
            (Draining, MachineEvent::JoinAsked { ticket, .. }) => {
                self.refuse(Asker::Join(ticket), RefuseReason::Stopping);
            }
            (Finished | Stopped | Failed, MachineEvent::JoinAsked { ticket, .. }) => {
                self.refuse(Asker::Join(ticket), RefuseReason::Over);
            }

            (Gathering | Forming | Training, MachineEvent::WorkerAttached { worker, generation }) => {
                self.attach(worker, generation);
            }
            (
                Gathering | Forming | Training,
                MachineEvent::WorkerReady {
                    worker,
                    generation,
                    state,
                },
            ) => {
                self.ready(worker, generation, state);
            }
            (Draining, MachineEvent::WorkerReady { .. }) => {}
            (Draining, MachineEvent::WorkerAttached { worker, .. }) => self.stop_attached(worker),

            (Gathering | Forming | Training | Draining, MachineEvent::WorkerDetached { worker, why }) => {
                self.detached(worker, why);
            }
            (Gathering | Forming | Training | Draining, MachineEvent::WorkerLeft { worker }) => {
                self.lose(worker, LostReason::Left);
            }
            (
                Gathering | Forming | Training | Draining,
                MachineEvent::WorkerFailed {
                    worker,
                    cause,
                    exit_code,
                },
            ) => {
                self.worker_failed(worker, cause, exit_code);
            }

            (Forming, MachineEvent::WorkerFormed { worker, state, .. }) => self.formed(worker, state),
            (Training, MachineEvent::ProgressMade { worker, state, .. }) => self.progressed(worker, state),
            (Training, MachineEvent::WorkAdvanced { worker, .. }) => self.worked(worker),
            (Gathering | Forming | Draining, MachineEvent::WorkAdvanced { .. }) => {}
            (Training, MachineEvent::WorkerFinished { worker, digest, .. }) => self.finished(worker, digest),
            (
                Forming | Training,
                MachineEvent::GenerationBroke {
                    worker,
                    generation,
                    cause,
                    waiting_for,
                    state,
                },
            ) => self.broke(worker, generation, cause, waiting_for, state),
            (
                Gathering,
                MachineEvent::GenerationBroke {
                    worker,
                    generation,
                    waiting_for,
                    state,
                    ..
                },
            ) => {
                self.reported(worker, generation, &waiting_for, state);
            }

            // A repeated fact of a worker that attached again, or one that a fence overtook.
            (Training, MachineEvent::WorkerFormed { .. })
            | (
                Gathering,
                MachineEvent::WorkerFormed { .. }
                | MachineEvent::ProgressMade { .. }
                | MachineEvent::WorkerFinished { .. },
            )
            | (Forming, MachineEvent::ProgressMade { .. } | MachineEvent::WorkerFinished { .. }) => {
                self.counters.out_of_turn += 1;
            }
            (
                Draining,
                MachineEvent::ProgressMade {
                    worker,
                    generation,
                    state,
                },
            ) => {
                self.commit(generation, state, worker);
            }
            (
                Draining,
                MachineEvent::WorkerFormed { .. }
                | MachineEvent::GenerationBroke { .. }
                | MachineEvent::WorkerFinished { .. },
            ) => {}

            (Gathering | Forming | Training | Draining, MachineEvent::HeartbeatHeard { .. }) => {}

            (
                Gathering | Forming | Training | Draining,
                MachineEvent::ProcessEnded {
                    slot,
                    attempt,
                    exit,
                    last_words,
                },
            ) => self.process_ended(slot, attempt, exit, last_words),

            (Gathering | Forming | Training, MachineEvent::StopAsked { stopping, why }) => {
                self.stop(stopping, why)
            }
            (
                Draining,
                MachineEvent::StopAsked {
                    stopping: Stopping::Now,
                    ..
                },
            ) => self.stop_now(),
            (
                Draining,
                MachineEvent::StopAsked {
                    stopping: Stopping::Drain,
                    ..
                },
            ) => {}

            (Gathering | Forming | Training | Draining, MachineEvent::Woke) => self.woke(due),

            (
                Finished | Stopped | Failed,
                MachineEvent::WorkerAttached { .. }
                | MachineEvent::WorkerReady { .. }
                | MachineEvent::WorkerDetached { .. }
                | MachineEvent::WorkerLeft { .. }
                | MachineEvent::HeartbeatHeard { .. }
                | MachineEvent::WorkerFormed { .. }
                | MachineEvent::ProgressMade { .. }
                | MachineEvent::WorkAdvanced { .. }
                | MachineEvent::GenerationBroke { .. }
                | MachineEvent::WorkerFinished { .. }
                | MachineEvent::WorkerFailed { .. }
                | MachineEvent::ProcessEnded { .. }
                | MachineEvent::StopAsked { .. }
                | MachineEvent::Woke,
            ) => {}
        }
    }

    /// Turns away whoever is not part of the run.
    fn known_sender(&mut self, event: &MachineEvent) -> bool {
        let Some(worker) = event.sender() else { return true };
        if self.roster.workers.contains_key(&worker) {
            return true;
        }
        if !matches!(
            event,
            MachineEvent::WorkerDetached { .. } | MachineEvent::WorkerLeft { .. }
        ) {
            self.counters.strangers += 1;
            self.refuse(Asker::Worker(worker), RefuseReason::UnknownWorker { worker });
        }
        false
    }

    /// Marks the sender as alive and lets only facts of the current generation through.
    fn heard(&mut self, event: MachineEvent) -> Option<MachineEvent> {
        if self.phase.name().is_over() {
            return Some(event);
        }
        let Some(worker) = event.sender() else {
            return Some(event);
        };
        let now = self.now;
        let entry = self.roster.workers.get_mut(&worker)?;
        entry.last_heard = now;
        let Some(got) = event.generation() else {
            return Some(event);
        };
        // A number this coordinator never gave: its journal is older than the worker. Half of all numbers
        // are kept out of reach of a worker that makes one up.
        if got.0 < u64::MAX / 2 {
            self.floor = self.floor.max(got);
        }
        let current = self.generation;
        let fact = match &event {
            MachineEvent::WorkerFormed { .. }
            | MachineEvent::ProgressMade { .. }
            | MachineEvent::WorkAdvanced { .. }
            | MachineEvent::WorkerFinished { .. } => true,
            MachineEvent::GenerationBroke { .. } => {
                if got < current {
                    self.counters.stale += 1;
                    return None;
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
            self.direct(
                worker,
                got,
                Directive::Fence {
                    why: FenceReason::StaleGeneration { got, current },
                },
            );
            return None;
        }
        Some(event)
    }

    pub(super) fn is_member(&self, worker: WorkerId) -> bool {
        self.roster
            .workers
            .get(&worker)
            .is_some_and(|entry| entry.standing == WorkerStanding::Member)
    }

    /// A step is committed once any member holds the state behind it.
    pub(super) fn commit(&mut self, generation: Generation, state: StateClaim, by: WorkerId) {
        let state = StateClaim {
            cursor: self.rules.settle(state.cursor),
            ..state
        };
        let now = self.now;
        let advanced = match &mut self.phase {
            RunPhase::Training(training) => training.advance(now, &state, by),
            RunPhase::Gathering(_) | RunPhase::Forming(_) | RunPhase::Draining(_) => self
                .committed
                .as_ref()
                .is_none_or(|committed| committed.cursor < state.cursor),
            RunPhase::Finished | RunPhase::Stopped | RunPhase::Failed(_) => false,
        };
        if !advanced {
            return;
        }
        self.breaks = 0;
        self.stalls = 0;
        for seating in self.roster.slots.values_mut() {
            seating.blame = 0;
        }
        if self
            .committed
            .as_ref()
            .is_none_or(|committed| committed.cursor < state.cursor)
        {
            self.committed = Some(state.clone());
        }
        self.record(Record::Committed { generation, state });
    }

    pub(super) fn fail(&mut self, reason: FailReason) {
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
        self.effects.push(Effect::End(RunOutcome::Failed {
            reason: reason.clone(),
            cause,
        }));
        self.phase = RunPhase::Failed(reason);
    }

    pub(super) fn stop_all(&mut self, stopping: Stopping, why: &StopReason) {
        let attached: Vec<WorkerId> = self
            .roster
            .workers
            .iter()
            .filter(|(_, entry)| entry.attached())
            .map(|(worker, _)| *worker)
            .collect();
        for worker in attached {
            self.direct(
                worker,
                self.generation,
                Directive::Stop {
                    stopping,
                    why: why.clone(),
                },
            );
        }
    }

    pub(super) fn record(&mut self, record: Record) {
        self.effects.push(Effect::Journal(record));
    }

    pub(super) fn refuse(&mut self, asker: Asker, reason: RefuseReason) {
        self.effects.push(Effect::Refuse { asker, reason });
    }

    pub(super) fn direct(&mut self, worker: WorkerId, generation: Generation, directive: Directive) {
        self.effects.push(Effect::Direct {
            worker,
            generation,
            directive,
        });
    }

    pub(super) fn launches(&self) -> bool {
        self.rules.launching == Launching::Here
    }

    /// Shards by worker in the current or last generation.
    pub(super) fn shards_of(&self) -> BTreeMap<WorkerId, Vec<Shard>> {
        let mut shards: BTreeMap<WorkerId, Vec<Shard>> = BTreeMap::new();
        for (shard, owner) in (0..).zip(&self.last_owners) {
            shards.entry(*owner).or_default().push(Shard(shard));
        }
        shards
    }
}
