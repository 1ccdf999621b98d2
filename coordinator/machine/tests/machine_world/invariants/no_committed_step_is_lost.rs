//! A generation starts from the furthest state that any ready worker of the run holds, a member holds it, all that is said to be committed is what an undisturbed run computes, and so is the end.

use ulda_machine::{Effect, Record, RunOutcome};
use ulda_run::stage::Cursor;

use super::{Promise, Seen};
use crate::machine_world::truth::Truth;

#[derive(Default)]
pub struct Kept {
    /// Furthest of the generation that trains.
    last: Option<Cursor>,
}

impl Promise for Kept {
    fn see(&mut self, seen: &Seen<'_>) {
        let Seen::Ordered {
            effect: Effect::Journal(record),
            machine,
            processes,
            truth,
        } = seen
        else {
            return;
        };
        match record {
            Record::GenerationFormed { formation, .. } => {
                let start = formation
                    .state
                    .as_ref()
                    .map(|state| truth.steps_before(state.cursor));
                for process in processes
                    .all
                    .values()
                    .filter(|process| process.alive && process.loaded)
                {
                    let member = process.worker.filter(|worker| formation.contains(*worker));
                    assert!(
                        member.is_none() || process.at <= start,
                        "{:?} > {start:?}",
                        process.at
                    );
                }
                for view in machine.snapshot(Default::default()).workers {
                    let claimed = view.cursor.map(|cursor| truth.steps_before(cursor));
                    assert!(
                        claimed <= start,
                        "{} holds {claimed:?}, but {start:?} is started from",
                        view.worker
                    );
                }
                let mut members = formation.members.iter();
                let has_start = |pid| processes.all[&pid].at == start;
                assert!(
                    start.is_none()
                        || members.any(|member| processes.of(member.worker).is_none_or(has_start)),
                    "no member holds {start:?}"
                );
                self.last = None;
            }
            Record::Committed { state, .. } => {
                assert!(
                    Some(state.cursor) > self.last,
                    "committed twice: {}",
                    state.cursor
                );
                self.last = Some(state.cursor);
                let digest = truth.digest(truth.steps_before(state.cursor));
                assert!(
                    state.digest.agrees_with(&digest),
                    "committed something else at {}",
                    state.cursor
                );
            }
            _ => {}
        }
    }

    fn took_up(&mut self, journal: &[Record]) {
        self.last = None;
        for record in journal {
            match record {
                Record::GenerationFormed { .. } => self.last = None,
                Record::Committed { state, .. } => self.last = Some(state.cursor),
                _ => {}
            }
        }
    }

    fn ended(&mut self, outcome: &RunOutcome, truth: &Truth, _after: u64) {
        if let RunOutcome::Finished { digest } = outcome {
            assert_eq!(
                *digest,
                truth.digest(truth.total),
                "the end is not that of an undisturbed run"
            );
        }
    }
}
