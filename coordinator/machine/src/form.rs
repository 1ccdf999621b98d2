//! Forming a generation: picking members, shards and state; waiting until all have formed.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::assign::{Seat, assign};
use super::claim::{Digest, Divergence, StateClaim, lead};
use super::effect::{Directive, Formation, Member};
use super::phase::{Forming, MemberTraining, RunPhase, Training};
use super::reason::{BreakReason, FailReason, LostReason};
use super::record::Record;
use super::roster::WorkerStanding;
use super::run::Machine;
use ulda_run::ids::WorkerId;

impl Machine {
    /// Forms the next generation of those that are available.
    pub(super) fn form(&mut self) {
        if self.replace_most_blamed() {
            return;
        }
        let claims = self
            .roster
            .available()
            .filter_map(|(seat, claim)| Some((seat.worker, claim?)));
        if let Err(divergence) = lead(claims) {
            return self.fail(FailReason::Diverged(divergence));
        }
        let (seats, claims) = self.pick();
        let lead = match lead(claims.iter().map(|(worker, claim)| (*worker, claim))) {
            Ok(lead) => lead,
            Err(divergence) => return self.fail(FailReason::Diverged(divergence)),
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
        let formation = Formation {
            members: members.collect(),
            shard_owner: assign(self.rules.shards, &seats, &self.last_owners),
            holder: lead.as_ref().map(|lead| lead.holder),
            state: lead.map(|lead| lead.state),
        };
        self.last_owners.clone_from(&formation.shard_owner);
        let generation = self.generation;
        self.record(Record::GenerationFormed {
            generation,
            formation: formation.clone(),
        });
        for member in &formation.members {
            self.direct(member.worker, generation, Directive::Form(formation.clone()));
        }
        let (since, deadline) = (self.now, self.now + self.rules.deadlines.form);
        self.phase = RunPhase::Forming(Forming {
            formation,
            formed: BTreeMap::new(),
            since,
            deadline,
        });
    }

    /// At most as many as there are shards: the most advanced first, then those that served before.
    fn pick(&self) -> (BTreeSet<Seat>, Vec<(WorkerId, StateClaim)>) {
        let mut candidates: Vec<(Seat, Option<&StateClaim>)> = self.roster.available().collect();
        candidates.sort_by_key(|(seat, claim)| {
            let served = self.last_owners.contains(&seat.worker);
            (Reverse(claim.map(|claim| claim.cursor)), Reverse(served), *seat)
        });
        candidates.truncate(self.rules.shards.max(1) as usize);
        let claims = candidates
            .iter()
            .filter_map(|(seat, claim)| Some((seat.worker, (*claim)?.clone())))
            .collect();
        (candidates.iter().map(|(seat, _)| *seat).collect(), claims)
    }

    /// A member says that its data plane stands and its state is in place.
    pub(super) fn formed(&mut self, worker: WorkerId, state: Option<StateClaim>) {
        let state = state.map(|state| self.settled(state));
        let RunPhase::Forming(forming) = &mut self.phase else {
            return;
        };
        if let Some(expected) = forming.formation.state.clone() {
            let right = state
                .as_ref()
                .is_some_and(|got| got.cursor == expected.cursor && got.digest.agrees_with(&expected.digest));
            if !right {
                return self.lose(worker, LostReason::WrongState { expected, got: state });
            }
        }
        forming.formed.insert(worker, state);
        if forming
            .formation
            .members
            .iter()
            .all(|member| forming.formed.contains_key(&member.worker))
        {
            let forming = forming.clone();
            self.start(forming);
        }
    }

    /// All have formed: the generation trains, if all start from the same state.
    fn start(&mut self, forming: Forming) {
        let mut states = forming.formed.iter();
        let Some((one, one_state)) = states.next() else {
            return;
        };
        let mut start = one_state.clone();
        let mut reporter = *one;
        for (other, other_state) in states {
            match (&mut start, other_state) {
                (None, None) => {}
                (Some(here), Some(there)) if here.cursor == there.cursor => {
                    if !here.digest.agrees_with(&there.digest) {
                        return self.fail(FailReason::Diverged(Divergence {
                            cursor: here.cursor,
                            one: reporter,
                            one_digest: here.digest.clone(),
                            other: *other,
                            other_digest: there.digest.clone(),
                        }));
                    }
                    if there.digest.is_known() && !here.digest.is_known() {
                        here.digest = there.digest.clone();
                        reporter = *other;
                    }
                }
                (None | Some(_), None | Some(_)) => {
                    return self.abandon(BreakReason::StatesDiffer {
                        one: *one,
                        one_state: one_state.clone(),
                        other: *other,
                        other_state: other_state.clone(),
                    });
                }
            }
        }
        if let Some(start) = &mut start {
            let told = forming
                .formation
                .state
                .as_ref()
                .map_or_else(Digest::default, |state| state.digest.clone());
            if !start.digest.is_known() {
                start.digest = told;
            }
        }

        let generation = self.generation;
        self.record(Record::GenerationStarted {
            generation,
            state: start.clone(),
        });
        for member in &forming.formation.members {
            self.direct(member.worker, generation, Directive::Go);
        }
        if self.committed.as_ref().map(|state| state.cursor) < start.as_ref().map(|state| state.cursor) {
            self.committed.clone_from(&start);
        }
        let rank = MemberTraining {
            cursor: start.as_ref().map(|state| state.cursor),
            last_progress: self.now,
            finished: None,
        };
        self.phase = RunPhase::Training(Training {
            ranks: forming
                .formation
                .members
                .iter()
                .map(|member| (member.worker, rank.clone()))
                .collect(),
            formation: forming.formation,
            since: self.now,
            state: start,
            reporter: Some(reporter),
            last_advance: self.now,
            advanced: false,
        });
    }

    pub(super) fn form_deadline_passed(&mut self) {
        let RunPhase::Forming(forming) = &self.phase else {
            return;
        };
        let waited = self.now.since(forming.since);
        let late = forming
            .formation
            .members
            .iter()
            .filter(|member| !forming.formed.contains_key(&member.worker));
        let missing = self.roster.slots_of(late.map(|member| member.worker));
        for slot in &missing {
            self.blame_slot(*slot);
        }
        self.abandon(BreakReason::FormDeadline { waited, missing });
    }
}
