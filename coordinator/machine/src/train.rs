//! A generation at work: commits, breaks, newcomers, stalls, the end.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::claim::Divergence;
use super::context::RunContext;
use super::effect::{Directive, Formation, RunOutcome};
use super::event::Stopping;
use super::phase::{MemberTraining, Next, Training};
use super::reason::{BreakReason, FailReason, LostReason, StopReason};
use super::record::Record;
use super::tick::Tick;
use ulda_run::ids::{Generation, Shard, Slot, WorkerId};
use ulda_run::stage::Cursor;
use ulda_run::{Digest, StateClaim};

impl Training {
    /// A generation that begins to train, or one that trained on while its coordinator was away: then no
    /// reporter is known.
    pub fn new(
        formation: Arc<Formation>,
        state: Option<StateClaim>,
        reporter: Option<WorkerId>,
        now: Tick,
    ) -> Self {
        let member = MemberTraining {
            cursor: state.as_ref().map(|state| state.cursor),
            last_progress: now,
            finished: None,
        };
        let members = formation.members.iter();
        Self {
            members: members.map(|each| (each.worker, member.clone())).collect(),
            formation,
            since: now,
            state,
            reporter,
            last_advance: now,
            advanced: false,
        }
    }

    /// A member that attached again is told to train, unless it is in another generation.
    pub fn attached(&self, run: &mut RunContext, worker: WorkerId, generation: Generation) -> Next {
        run.attach(worker, generation);
        let current = run.generation;
        if !run.is_member(worker) {
            return Next::Stay;
        }
        if generation == current {
            run.direct(worker, current, Directive::Go);
            return Next::Stay;
        }
        let why = BreakReason::Broke {
            worker,
            cause: format!("attached in {generation}, not in {current}"),
            waiting_for: Vec::new(),
        };
        Next::Enter(run.abandon(&self.formation, why))
    }

    /// A member says so again when it attaches again, and then its state is progress.
    pub fn ready(
        &mut self,
        run: &mut RunContext,
        worker: WorkerId,
        generation: Generation,
        state: Option<StateClaim>,
    ) -> Next {
        if !run.is_member(worker) {
            run.ready(worker, state);
            return Next::Stay;
        }
        match state {
            Some(state) if generation == run.generation => self.progressed(run, worker, state),
            Some(_) | None => Next::Stay,
        }
    }

    pub fn progressed(&mut self, run: &mut RunContext, worker: WorkerId, state: StateClaim) -> Next {
        if let Some(divergence) = self.divergence(&state, worker) {
            return Next::Enter(run.fail(FailReason::Diverged(divergence)));
        }
        self.commit(run, state, worker);
        Next::Stay
    }

    /// A long step is not a stuck one: its parts count against the progress deadline too.
    pub fn worked(&mut self, now: Tick, worker: WorkerId) {
        if let Some(member) = self.members.get_mut(&worker) {
            member.last_progress = now;
            self.last_advance = now;
        }
    }

    pub fn finished(&mut self, now: Tick, worker: WorkerId, digest: Digest) {
        if let Some(member) = self.members.get_mut(&worker) {
            member.finished = Some(digest);
            member.last_progress = now;
        }
    }

    /// A worker's collective is unusable.
    pub fn broke(
        &mut self,
        run: &mut RunContext,
        worker: WorkerId,
        generation: Generation,
        cause: String,
        waiting_for: Vec<Shard>,
        state: Option<StateClaim>,
    ) -> Next {
        if self.has_finished(worker) {
            run.counters.out_of_turn += 1;
            return Next::Stay;
        }
        let member = run.is_member(worker) && generation == run.generation;
        if member && let Some(state) = &state {
            if let Some(divergence) = self.divergence(state, worker) {
                return Next::Enter(run.fail(FailReason::Diverged(divergence)));
            }
            self.commit(run, state.clone(), worker);
        }
        run.set_idle(worker, state);
        if !member {
            return Next::Stay;
        }
        run.blame(worker, &waiting_for);
        let why = BreakReason::Broke {
            worker,
            cause,
            waiting_for,
        };
        Next::Enter(run.abandon(&self.formation, why))
    }

    /// A worker is lost; a generation of which all others have finished needs it no more.
    pub fn lost(&mut self, run: &mut RunContext, worker: WorkerId, slot: Slot, why: LostReason) -> Next {
        if !self.formation.contains(worker) {
            return Next::Stay;
        }
        self.members.remove(&worker);
        if self.all_finished() {
            return Next::Stay;
        }
        Next::Enter(run.abandon(&self.formation, BreakReason::WorkerLost { worker, slot, why }))
    }

    pub fn reconsider(&self, run: &mut RunContext) -> Next {
        if self.all_finished() {
            return self.finish(run);
        }
        match self.admissible(run) {
            Some(slots) => Next::Enter(run.abandon(&self.formation, BreakReason::Newcomers { slots })),
            None => Next::Stay,
        }
    }

    /// All that are left have finished: the run is over, if they agree.
    fn finish(&self, run: &mut RunContext) -> Next {
        let mut digests = self
            .members
            .iter()
            .filter_map(|(worker, member)| Some((*worker, member.finished.clone()?)));
        let Some((one, one_digest)) = digests.next() else {
            return Next::Stay;
        };
        let differing = digests.find(|(_, digest)| !digest.agrees_with(&one_digest));
        if let Some((other, other_digest)) = differing {
            let Some(last) = run.rules.course.stages().last() else {
                return Next::Stay;
            };
            let cursor = Cursor {
                stage: last.stage,
                step: last.steps,
            };
            return Next::Enter(run.fail(FailReason::Diverged(Divergence {
                cursor,
                one,
                one_digest,
                other,
                other_digest,
            })));
        }
        run.record(Record::Finished {
            digest: one_digest.clone(),
        });
        run.stop_all(Stopping::Drain, &StopReason::Finished);
        Next::Enter(run.end(RunOutcome::Finished { digest: one_digest }))
    }

    /// All members are alive, but no step was committed for too long.
    pub fn progress_deadline_passed(&self, run: &mut RunContext) -> Next {
        let stalled = run.now.since(self.last_advance);
        let blamed = self.members.keys().copied();
        let blamed: BTreeSet<WorkerId> = blamed.filter(|worker| run.roster.is_blamed(*worker)).collect();
        let stragglers = self.stragglers(&blamed);
        run.stalls += 1;
        if run.stalls > run.rules.stalls_allowed {
            let slots = run.roster.slots_of(stragglers);
            let names: Vec<String> = slots.iter().map(ToString::to_string).collect();
            let reason = FailReason::Stalled {
                at: self.cursor(),
                times: run.stalls,
                last: format!("{} held the others up", names.join(", ")),
            };
            return Next::Enter(run.fail(reason));
        }
        let stuck = stragglers.into_iter().map(|worker| {
            let at = self.members.get(&worker).and_then(|member| member.cursor);
            (worker, LostReason::Stuck { stalled, at })
        });
        Next::Lose(stuck.collect())
    }

    /// Notes a member's state, and commits it if it is beyond all that this generation reported before.
    fn commit(&mut self, run: &mut RunContext, state: StateClaim, by: WorkerId) {
        if self.advance(run.now, &state, by) {
            run.commit(run.generation, state);
        }
    }

    fn advance(&mut self, now: Tick, state: &StateClaim, by: WorkerId) -> bool {
        if let Some(member) = self.members.get_mut(&by)
            && member.cursor < Some(state.cursor)
        {
            member.cursor = Some(state.cursor);
            member.last_progress = now;
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

    /// The furthest position that was reported.
    pub fn cursor(&self) -> Option<Cursor> {
        self.state.as_ref().map(|state| state.cursor)
    }

    pub fn has_finished(&self, worker: WorkerId) -> bool {
        self.members
            .get(&worker)
            .is_some_and(|member| member.finished.is_some())
    }

    pub fn any_finished(&self) -> bool {
        self.members.values().any(|member| member.finished.is_some())
    }

    /// All that are left have finished.
    pub fn all_finished(&self) -> bool {
        !self.members.is_empty() && self.members.values().all(|member| member.finished.is_some())
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
    fn stragglers(&self, blamed: &BTreeSet<WorkerId>) -> Vec<WorkerId> {
        let busy = || {
            self.members
                .iter()
                .filter(|(_, member)| member.finished.is_none())
        };
        let accused: Vec<WorkerId> = busy()
            .map(|(worker, _)| *worker)
            .filter(|worker| blamed.contains(worker))
            .collect();
        if !accused.is_empty() {
            return accused;
        }
        let lowest = busy().map(|(_, member)| member.cursor).min();
        let behind: Vec<WorkerId> = busy()
            .filter(|(_, member)| Some(member.cursor) == lowest)
            .map(|(worker, _)| *worker)
            .collect();
        if behind.len() < self.members.len() {
            return behind;
        }
        busy()
            .min_by_key(|(worker, member)| (member.last_progress, **worker))
            .map(|(worker, _)| *worker)
            .into_iter()
            .collect()
    }

    /// Whether the others wait for this member: blamed since the last committed step, or behind while they went on.
    pub fn is_straggler(&self, run: &RunContext, now: Tick, worker: WorkerId) -> bool {
        let member = self.members.get(&worker);
        let Some(member) = member.filter(|member| member.finished.is_none()) else {
            return false;
        };
        run.roster.is_blamed(worker)
            || (member.cursor < self.cursor()
                && now.since(self.last_advance) >= run.rules.deadlines.progress / 4)
    }

    /// Workers beside the generation that could take over shards.
    pub fn spares(&self, run: &RunContext) -> Vec<Slot> {
        let room = (run.rules.shards as usize).saturating_sub(self.formation.members.len());
        if room == 0 || self.any_finished() {
            return Vec::new();
        }
        let mut slots: Vec<Slot> = run.roster.available().map(|(seat, _)| seat.slot).collect();
        slots.sort_unstable();
        slots.truncate(room);
        slots
    }

    /// Newcomers to be taken in now: at a step boundary, and not too often.
    fn admissible(&self, run: &RunContext) -> Option<Vec<Slot>> {
        let ripe = self.advanced && run.now.since(self.since) >= run.rules.admit_every;
        let slots = self.spares(run);
        (ripe && !slots.is_empty()).then_some(slots)
    }
}
