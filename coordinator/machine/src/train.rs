//! A generation at work: commits, breaks, newcomers, stalls, the end.

use std::collections::BTreeSet;

use super::claim::{Digest, Divergence, StateClaim};
use super::effect::{Effect, RunOutcome};
use super::event::Stopping;
use super::phase::{RunPhase, Training};
use super::reason::{BreakReason, FailReason, LostReason, StopReason};
use super::record::Record;
use super::roster::WorkerStanding;
use super::run::Machine;
use super::tick::Tick;
use ulda_run::ids::{Generation, Shard, Slot, WorkerId};

impl Training {
    /// Takes in a member's state. True if it is beyond all that was reported before.
    pub fn advance(&mut self, now: Tick, state: &StateClaim, by: WorkerId) -> bool {
        if let Some(rank) = self.ranks.get_mut(&by)
            && rank.cursor < Some(state.cursor)
        {
            rank.cursor = Some(state.cursor);
            rank.last_progress = now;
        }
        if self
            .state
            .as_ref()
            .is_some_and(|furthest| furthest.cursor >= state.cursor)
        {
            return false;
        }
        self.state = Some(state.clone());
        self.reporter = Some(by);
        self.last_advance = now;
        self.advanced = true;
        true
    }

    pub fn any_finished(&self) -> bool {
        self.ranks.values().any(|rank| rank.finished.is_some())
    }

    /// All that are left have finished.
    pub fn all_finished(&self) -> bool {
        !self.ranks.is_empty() && self.ranks.values().all(|rank| rank.finished.is_some())
    }

    fn divergence(&self, state: &StateClaim, by: WorkerId) -> Option<Divergence> {
        let furthest = self
            .state
            .as_ref()
            .filter(|furthest| furthest.cursor == state.cursor)?;
        if furthest.digest.agrees_with(&state.digest) {
            return None;
        }
        Some(Divergence {
            cursor: state.cursor,
            one: self.reporter.unwrap_or(by),
            one_digest: furthest.digest.clone(),
            other: by,
            other_digest: state.digest.clone(),
        })
    }

    /// Who holds the others up: those that lie behind, else the one not heard of for longest.
    fn laggards(&self, blamed: &BTreeSet<WorkerId>) -> Vec<WorkerId> {
        let busy = || self.ranks.iter().filter(|(_, rank)| rank.finished.is_none());
        let accused: Vec<WorkerId> = busy()
            .map(|(worker, _)| *worker)
            .filter(|worker| blamed.contains(worker))
            .collect();
        if !accused.is_empty() {
            return accused;
        }
        let lowest = busy().map(|(_, rank)| rank.cursor).min();
        let behind: Vec<WorkerId> = busy()
            .filter(|(_, rank)| Some(rank.cursor) == lowest)
            .map(|(worker, _)| *worker)
            .collect();
        if behind.len() < self.ranks.len() {
            return behind;
        }
        busy()
            .min_by_key(|(worker, rank)| (rank.last_progress, **worker))
            .map(|(worker, _)| *worker)
            .into_iter()
            .collect()
    }
}

impl Machine {
    pub(super) fn progressed(&mut self, worker: WorkerId, state: StateClaim) {
        let state = self.settled(state);
        if self.diverged(worker, &state) {
            return;
        }
        self.commit(self.generation, state, worker);
    }

    /// A long step is not a stuck one: its parts count against the progress deadline too.
    pub(super) fn worked(&mut self, worker: WorkerId) {
        let now = self.now;
        if let RunPhase::Training(training) = &mut self.phase
            && let Some(rank) = training.ranks.get_mut(&worker)
        {
            rank.last_progress = now;
            training.last_advance = now;
        }
    }

    fn diverged(&mut self, worker: WorkerId, state: &StateClaim) -> bool {
        let RunPhase::Training(training) = &self.phase else {
            return false;
        };
        let Some(divergence) = training.divergence(state, worker) else {
            return false;
        };
        self.fail(FailReason::Diverged(divergence));
        true
    }

    /// A worker's collective is unusable, in forming or in training.
    pub(super) fn broke(
        &mut self,
        worker: WorkerId,
        generation: Generation,
        cause: String,
        waiting_for: Vec<Shard>,
        state: Option<StateClaim>,
    ) {
        let claim = state.map(|state| self.settled(state));
        let left = |training: &Training| {
            training
                .ranks
                .get(&worker)
                .is_some_and(|rank| rank.finished.is_some())
        };
        if matches!(&self.phase, RunPhase::Training(training) if left(training)) {
            self.counters.out_of_turn += 1;
            return;
        }
        let member = self.is_member(worker) && generation == self.generation;
        if member && let Some(claim) = &claim {
            if self.diverged(worker, claim) {
                return;
            }
            self.commit(generation, claim.clone(), worker);
        }
        if let Some(entry) = self.roster.workers.get_mut(&worker)
            && entry.standing != WorkerStanding::Loading
        {
            entry.standing = WorkerStanding::Idle { claim };
        }
        if member {
            self.blame(worker, &waiting_for);
            self.abandon(BreakReason::Broke {
                worker,
                cause,
                waiting_for,
            });
        }
    }

    pub(super) fn finished(&mut self, worker: WorkerId, digest: Digest) {
        let now = self.now;
        let RunPhase::Training(training) = &mut self.phase else {
            return;
        };
        if let Some(rank) = training.ranks.get_mut(&worker) {
            rank.finished = Some(digest);
            rank.last_progress = now;
        }
    }

    /// All that are left have finished: the run is over, if they agree.
    pub(super) fn finish(&mut self) {
        let RunPhase::Training(training) = &self.phase else {
            return;
        };
        let mut digests = training
            .ranks
            .iter()
            .filter_map(|(worker, rank)| Some((*worker, rank.finished.clone()?)));
        let Some((one, one_digest)) = digests.next() else {
            return;
        };
        let differing = digests.find(|(_, digest)| !digest.agrees_with(&one_digest));
        if let Some((other, other_digest)) = differing {
            let end = self.rules.course.stages().last();
            let cursor = end.map(|last| ulda_run::stage::Cursor {
                stage: last.stage,
                step: last.steps,
            });
            let Some(cursor) = cursor else { return };
            let divergence = Divergence {
                cursor,
                one,
                one_digest,
                other,
                other_digest,
            };
            return self.fail(FailReason::Diverged(divergence));
        }
        self.record(Record::Finished {
            digest: one_digest.clone(),
        });
        self.stop_all(Stopping::Drain, &StopReason::Finished);
        self.effects
            .push(Effect::End(RunOutcome::Finished { digest: one_digest }));
        self.phase = RunPhase::Finished;
    }

    /// Workers beside the generation that could take over shards.
    pub(super) fn spares(&self) -> Vec<Slot> {
        let RunPhase::Training(training) = &self.phase else {
            return Vec::new();
        };
        let members = training.formation.members.len();
        let room = (self.rules.shards as usize).saturating_sub(members);
        if room == 0 || training.any_finished() {
            return Vec::new();
        }
        let mut slots: Vec<Slot> = self.roster.available().map(|(seat, _)| seat.slot).collect();
        slots.sort_unstable();
        slots.truncate(room);
        slots
    }

    /// Newcomers to be taken in now: at a step boundary, and not too often.
    pub(super) fn admissible(&self) -> Option<Vec<Slot>> {
        let RunPhase::Training(training) = &self.phase else {
            return None;
        };
        let ripe = training.advanced && self.now.since(training.since) >= self.rules.admit_every;
        let slots = self.spares();
        (ripe && !slots.is_empty()).then_some(slots)
    }

    /// All members are alive, but no step was committed for too long.
    pub(super) fn progress_deadline_passed(&mut self) {
        let RunPhase::Training(training) = &self.phase else {
            return;
        };
        let at = training.state.as_ref().map(|state| state.cursor);
        let stalled = self.now.since(training.last_advance);
        let blamed = |entry: &WorkerId| {
            let slot = self.roster.slot_of(*entry)?;
            self.roster
                .slots
                .get(&slot)
                .filter(|seating| seating.blame > 0)
                .map(|_| *entry)
        };
        let blamed: BTreeSet<WorkerId> = training.ranks.keys().filter_map(blamed).collect();
        let laggards = training.laggards(&blamed);
        let ranks = training.ranks.clone();
        self.stalls += 1;
        if self.stalls > self.rules.stalls_allowed {
            let slots = self.roster.slots_of(laggards);
            let names: Vec<String> = slots.iter().map(ToString::to_string).collect();
            let last = format!("{} held the others up", names.join(", "));
            return self.fail(FailReason::Stalled {
                at,
                times: self.stalls,
                last,
            });
        }
        for worker in laggards {
            let at = ranks.get(&worker).and_then(|rank| rank.cursor);
            self.lose(worker, LostReason::Stuck { stalled, at });
        }
    }
}
