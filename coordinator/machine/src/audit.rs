//! Whether the records of a journal can be those of one run, served by one coordinator after the other.

use std::collections::BTreeMap;

use super::record::{Record, Resume, fold};
use ulda_run::ids::{Generation, Slot, WorkerId};
use ulda_run::stage::Cursor;

/// What no run may have written. `record` counts from 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    #[error("record {record} stands before any coordinator took up the run")]
    BeforeTheStart { record: usize },
    #[error("record {record}: a coordinator took up the run in term {got}, after term {last}")]
    TermAgain { record: usize, got: u64, last: u64 },
    #[error("record {record}: {got} was formed after {last}")]
    GenerationAgain {
        record: usize,
        got: Generation,
        last: Generation,
    },
    #[error("record {record}: {got} trains, {last} was formed last")]
    GenerationUnformed {
        record: usize,
        got: Generation,
        last: Generation,
    },
    #[error("record {record}: {got} joined after {last}")]
    WorkerAgain {
        record: usize,
        got: WorkerId,
        last: WorkerId,
    },
    #[error("record {record}: {slot} went back from attempt {last} to {got}")]
    AttemptAgain {
        record: usize,
        slot: Slot,
        got: u32,
        last: u32,
    },
    #[error("record {record}: {generation} committed {got} after {last}")]
    CommittedAgain {
        record: usize,
        generation: Generation,
        got: Cursor,
        last: Cursor,
    },
}

/// A coordinator that took up the run, and what the journal told it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TakenUp {
    pub term: u64,
    /// `None` for the first one.
    pub from: Option<Resume>,
}

/// Reads a whole journal: who took it up with what, or the first thing that is wrong with it.
///
/// # Errors
/// Numbers that must grow do not, or something is used that was not made.
pub fn audit(records: &[Record]) -> Result<Vec<TakenUp>, Flaw> {
    let mut taken = Vec::new();
    let mut generation = Generation(0);
    let mut joined: Option<WorkerId> = None;
    let mut attempts: BTreeMap<Slot, u32> = BTreeMap::new();
    let mut committed: Option<Cursor> = None;
    let mut attempt = |record: usize, slot: Slot, got: u32| match attempts.insert(slot, got) {
        Some(last) if last > got => Err(Flaw::AttemptAgain {
            record,
            slot,
            got,
            last,
        }),
        Some(_) | None => Ok(()),
    };
    for (index, one) in records.iter().enumerate() {
        let record = index + 1;
        if taken.is_empty() && !matches!(one, Record::RunStarted { .. }) {
            return Err(Flaw::BeforeTheStart { record });
        }
        match one {
            Record::RunStarted { term } => {
                let from = fold(&records[..index]);
                let (got, last) = (*term, from.as_ref().map_or(0, |resume| resume.term));
                // One that claimed its term and died before it took up the run leaves a gap.
                if got <= last {
                    return Err(Flaw::TermAgain { record, got, last });
                }
                taken.push(TakenUp { term: *term, from });
            }
            Record::WorkerJoined {
                worker,
                slot,
                attempt: number,
                ..
            } => {
                if let Some(last) = joined.replace(*worker).filter(|last| last >= worker) {
                    let got = *worker;
                    return Err(Flaw::WorkerAgain { record, got, last });
                }
                attempt(record, *slot, *number)?;
            }
            Record::Restarted {
                slot,
                attempt: number,
            } => attempt(record, *slot, *number)?,
            Record::GenerationFormed {
                generation: formed, ..
            } => {
                let (got, last) = (*formed, generation);
                if got <= last {
                    return Err(Flaw::GenerationAgain { record, got, last });
                }
                generation = got;
                committed = None;
            }
            Record::GenerationStarted {
                generation: started, ..
            } => trains(record, *started, generation)?,
            Record::Committed {
                generation: by,
                state,
            } => {
                trains(record, *by, generation)?;
                let got = state.cursor;
                if let Some(last) = committed.replace(got).filter(|last| *last >= got) {
                    return Err(Flaw::CommittedAgain {
                        record,
                        generation,
                        got,
                        last,
                    });
                }
            }
            Record::GenerationAbandoned { .. }
            | Record::WorkerLost { .. }
            | Record::Finished { .. }
            | Record::Failed { .. }
            | Record::Stopped => {}
        }
    }
    Ok(taken)
}

fn trains(record: usize, got: Generation, last: Generation) -> Result<(), Flaw> {
    if got == last {
        Ok(())
    } else {
        Err(Flaw::GenerationUnformed { record, got, last })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Formation;
    use ulda_run::stage::Stage;
    use ulda_run::{Digest, StateClaim};

    fn formed(generation: u64) -> Record {
        Record::GenerationFormed {
            generation: Generation(generation),
            formation: Formation {
                members: Vec::new(),
                shard_owner: Vec::new(),
                state: None,
            },
        }
    }

    fn committed(generation: u64, step: u64) -> Record {
        let cursor = Cursor {
            stage: Stage::Adapt,
            step,
        };
        Record::Committed {
            generation: Generation(generation),
            state: StateClaim {
                cursor,
                digest: Digest::default(),
            },
        }
    }

    fn started(term: u64) -> Record {
        Record::RunStarted { term }
    }

    #[test]
    fn a_run_that_lost_everything_and_did_steps_again_is_sound() {
        let records = [
            started(1),
            formed(1),
            committed(1, 1),
            committed(1, 2),
            started(3),
            formed(2),
            committed(2, 1),
        ];
        let taken = audit(&records).unwrap();
        assert_eq!(taken.len(), 2);
        assert_eq!(taken[0].from, None);
        assert_eq!(taken[1].from, fold(&records[..4]));
    }

    #[test]
    fn what_cannot_be_is_named() {
        let said = |records: &[Record]| audit(records).unwrap_err().to_string();
        assert_eq!(
            said(&[formed(1)]),
            "record 1 stands before any coordinator took up the run"
        );
        assert!(said(&[started(1), started(1)]).ends_with("in term 1, after term 1"));
        assert!(said(&[started(1), formed(2), formed(2)]).contains("was formed after"));
        assert!(said(&[started(1), formed(1), committed(2, 1)]).contains("was formed last"));
        let twice = [started(1), formed(1), committed(1, 2), committed(1, 2)];
        assert!(said(&twice).starts_with("record 4: "), "{}", said(&twice));
    }
}
