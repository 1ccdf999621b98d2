//! Forming a generation: picking members, shards and state; waiting until all have formed.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::assign::{Seat, assign};
use super::claim::{Divergence, most_advanced};
use super::context::RunContext;
use super::effect::{Directive, Formation, Member};
use super::phase::{Forming, Next, RunPhase, Training};
use super::reason::{BreakReason, FailReason, LostReason};
use super::record::Record;
use super::roster::WorkerStanding;
use ulda_run::StateClaim;
use ulda_run::ids::{Generation, Shard, Slot, WorkerId};

impl RunContext {
    /// Forms the next generation of those that are available.
    pub fn form(&mut self) -> Next {
        if let Some((worker, times)) = self.take_most_blamed() {
            return Next::Lose(vec![(worker, LostReason::Blamed { times })]);
        }
        let claims = self
            .roster
            .available()
            .filter_map(|(seat, claim)| Some((seat.worker, claim?)));
        if let Err(divergence) = most_advanced(claims) {
            return Next::Enter(self.fail(FailReason::Diverged(divergence)));
        }
        let (seats, claims) = self.pick();
        let state = match most_advanced(claims.iter().map(|(worker, claim)| (*worker, claim))) {
            Ok(state) => state,
            Err(divergence) => return Next::Enter(self.fail(FailReason::Diverged(divergence))),
        };

        self.generation = self.generation.max(self.floor).next();
        self.floor = self.generation;
        self.blamed.clear();
        let members = seats.iter().filter_map(|seat| {
            let entry = self.roster.workers.get_mut(&seat.worker)?;
            entry.standing = WorkerStanding::Member;
            Some(Member {
                worker: seat.worker,
                slot: seat.slot,
                data_address: entry.data_address.clone(),
            })
        });
        let formation = Arc::new(Formation {
            members: members.collect(),
            shard_owner: assign(self.rules.shards, &seats, &self.last_owners),
            state,
        });
        self.last_owners.clone_from(&formation.shard_owner);
        let generation = self.generation;
        self.record(Record::GenerationFormed {
            generation,
            formation: Formation::clone(&formation),
        });
        for member in &formation.members {
            self.direct(member.worker, generation, Directive::Form(Arc::clone(&formation)));
        }
        Next::Enter(RunPhase::Forming(Forming {
            formation,
            formed: BTreeMap::new(),
            since: self.now,
            deadline: self.now + self.rules.deadlines.form,
        }))
    }

    /// At most as many as there are shards: the most advanced first, then those that served before.
    fn pick(&self) -> (BTreeSet<Seat>, Vec<(WorkerId, StateClaim)>) {
        let owners: BTreeSet<WorkerId> = self.last_owners.iter().copied().collect();
        let mut candidates: Vec<(Seat, Option<&StateClaim>)> = self.roster.available().collect();
        candidates.sort_by_key(|(seat, claim)| {
            let served = owners.contains(&seat.worker);
            (Reverse(claim.map(|claim| claim.cursor)), Reverse(served), *seat)
        });
        candidates.truncate(self.rules.shards.max(1) as usize);
        let claims = candidates
            .iter()
            .filter_map(|(seat, claim)| Some((seat.worker, (*claim)?.clone())))
            .collect();
        (candidates.iter().map(|(seat, _)| *seat).collect(), claims)
    }
}

impl Forming {
    /// A member that attached again gets the order again.
    pub fn attached(&self, run: &mut RunContext, worker: WorkerId, generation: Generation) {
        run.attach(worker, generation);
        if run.is_member(worker) {
            run.direct(
                worker,
                run.generation,
                Directive::Form(Arc::clone(&self.formation)),
            );
        }
    }

    /// A member reports that its data plane stands and its state is in place.
    pub fn formed(&mut self, run: &mut RunContext, worker: WorkerId, state: Option<StateClaim>) -> Next {
        if let Some(expected) = self.formation.state.clone() {
            let right = state
                .as_ref()
                .is_some_and(|got| got.cursor == expected.cursor && got.digest.agrees_with(&expected.digest));
            if !right {
                let why = LostReason::WrongState { expected, got: state };
                return Next::Lose(vec![(worker, why)]);
            }
        }
        self.formed.insert(worker, state);
        if self.formed.len() < self.formation.members.len() || self.missing().next().is_some() {
            return Next::Stay;
        }
        self.start(run)
    }

    /// Members that have yet to form.
    pub fn missing(&self) -> impl Iterator<Item = &Member> {
        self.formation
            .members
            .iter()
            .filter(|member| !self.formed.contains_key(&member.worker))
    }

    /// All have formed: the generation trains, if all start from the same state.
    fn start(&self, run: &mut RunContext) -> Next {
        let mut states = self.formed.iter();
        let Some((one, one_state)) = states.next() else {
            return Next::Stay;
        };
        let mut start = one_state.clone();
        let mut reporter = *one;
        for (other, other_state) in states {
            match (&mut start, other_state) {
                (None, None) => {}
                (Some(here), Some(there)) if here.cursor == there.cursor => {
                    if !here.digest.agrees_with(&there.digest) {
                        return Next::Enter(run.fail(FailReason::Diverged(Divergence {
                            cursor: here.cursor,
                            one: reporter,
                            one_digest: here.digest.clone(),
                            other: *other,
                            other_digest: there.digest.clone(),
                        })));
                    }
                    if there.digest.is_known() && !here.digest.is_known() {
                        here.digest = there.digest.clone();
                        reporter = *other;
                    }
                }
                (None | Some(_), None | Some(_)) => {
                    let why = BreakReason::StatesDiffer {
                        one: *one,
                        one_state: one_state.clone(),
                        other: *other,
                        other_state: other_state.clone(),
                    };
                    return Next::Enter(run.abandon(&self.formation, why));
                }
            }
        }
        if let (Some(start), Some(ordered)) = (&mut start, &self.formation.state)
            && !start.digest.is_known()
        {
            start.digest = ordered.digest.clone();
        }

        let generation = run.generation;
        run.record(Record::GenerationStarted {
            generation,
            state: start.clone(),
        });
        for member in &self.formation.members {
            run.direct(member.worker, generation, Directive::Go);
        }
        if run.committed.as_ref().map(|state| state.cursor) < start.as_ref().map(|state| state.cursor) {
            run.committed.clone_from(&start);
        }
        let formation = Arc::clone(&self.formation);
        Next::Enter(RunPhase::Training(Training::new(
            formation,
            start,
            Some(reporter),
            run.now,
        )))
    }

    /// A worker's collective is unusable.
    pub fn broke(
        &self,
        run: &mut RunContext,
        worker: WorkerId,
        generation: Generation,
        cause: String,
        waiting_for: Vec<Shard>,
        state: Option<StateClaim>,
    ) -> Next {
        let member = run.is_member(worker) && generation == run.generation;
        if member && let Some(state) = &state {
            run.commit_if_further(generation, state.clone());
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

    /// A worker is lost; without a member the generation cannot form.
    pub fn lost(&self, run: &mut RunContext, worker: WorkerId, slot: Slot, why: LostReason) -> Next {
        if !self.formation.contains(worker) {
            return Next::Stay;
        }
        Next::Enter(run.abandon(&self.formation, BreakReason::WorkerLost { worker, slot, why }))
    }

    pub fn deadline_passed(&self, run: &mut RunContext) -> Next {
        let waited = run.now.since(self.since);
        let missing = run.roster.slots_of(self.missing().map(|member| member.worker));
        for slot in &missing {
            run.blame_slot(*slot);
        }
        let why = BreakReason::FormDeadline { waited, missing };
        Next::Enter(run.abandon(&self.formation, why))
    }
}
