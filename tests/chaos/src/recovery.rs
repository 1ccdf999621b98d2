//! How long a run felt a fault, read from its journal when it is over.

use std::time::Duration;

use ulda_machine::Record;

use crate::fault::{Fault, Kind};
use crate::journal::Dated;

/// A fault that was inflicted.
#[derive(Clone, Copy, Debug)]
pub struct Inflicted {
    pub fault: Fault,
    /// Milliseconds since 1970.
    pub at: i64,
    /// The generation the run was in.
    pub generation: u64,
    /// When the harness was done with it: the process continued, the coordinator started again.
    pub over_at: i64,
    /// What was done meanwhile, where there was no coordinator.
    pub alone: Option<Alone>,
}

/// A while without a coordinator.
#[derive(Clone, Copy, Debug, Default)]
pub struct Alone {
    /// Steps that the checkpoints grew by.
    pub steps: u64,
    /// Whether they had to grow: a generation was at work, and the coordinator stayed away for long enough.
    pub expected: bool,
}

/// Time from the fault to the next committed step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recovery {
    pub kind: Kind,
    pub time: Duration,
}

/// Recoveries from those faults that no other one came into.
#[must_use]
pub fn recoveries(inflicted: &[Inflicted], records: &[Dated]) -> Vec<Recovery> {
    let mut found = Vec::new();
    for (index, one) in inflicted.iter().enumerate() {
        let next = inflicted.get(index + 1).map_or(i64::MAX, |next| next.at);
        let commits = records.iter().filter_map(|dated| match &dated.record {
            Record::Committed { generation, .. } => Some((dated.at, generation.0)),
            _ => None,
        });
        let breaks = one.fault.kind.breaks_generation();
        let felt_until = commits
            .filter(|(at, generation)| *at > one.at && (!breaks || *generation > one.generation))
            .map(|(at, _)| at)
            .next();
        if let Some(until) = felt_until.filter(|until| *until < next) {
            let millis = u64::try_from(until - one.at).unwrap_or(0);
            found.push(Recovery {
                kind: one.fault.kind,
                time: Duration::from_millis(millis),
            });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use ulda_run::ids::Generation;
    use ulda_run::stage::{Cursor, Stage};
    use ulda_run::{Digest, StateClaim};

    use super::*;

    fn committed(at: i64, generation: u64, step: u64) -> Dated {
        let cursor = Cursor {
            stage: Stage::Pretrain,
            step,
        };
        let state = StateClaim {
            cursor,
            digest: Digest::default(),
        };
        let generation = Generation(generation);
        Dated {
            at,
            record: Record::Committed { generation, state },
        }
    }

    fn inflicted(kind: Kind, at: i64) -> Inflicted {
        let fault = Fault {
            kind,
            victim: 0,
            time: Duration::ZERO,
            workers: 1,
        };
        Inflicted {
            fault,
            at,
            generation: 1,
            over_at: at,
            alone: None,
        }
    }

    #[test]
    fn a_step_of_the_broken_generation_is_no_recovery() {
        let records = [committed(10, 1, 1), committed(30, 1, 2), committed(90, 2, 3)];
        let of = |kind| recoveries(&[inflicted(kind, 20)], &records)[0].time.as_millis();
        assert_eq!(of(Kind::KillWorker), 70);
        assert_eq!(of(Kind::PauseWorker), 10);
    }

    #[test]
    fn a_fault_that_another_one_came_into_is_not_counted() {
        let records = [committed(10, 1, 1), committed(90, 2, 3)];
        let both = [inflicted(Kind::KillWorker, 20), inflicted(Kind::KillWorker, 50)];
        assert_eq!(recoveries(&both, &records).len(), 1);
    }
}
