//! What an order rests on is written before the order is given.

use std::collections::BTreeSet;

use ulda_machine::{Directive, Effect, FenceReason, Record, RunOutcome};
use ulda_run::ids::{Generation, Slot, WorkerId};

use super::{Promise, Seen};

#[derive(Default)]
pub struct Written {
    joined: BTreeSet<WorkerId>,
    formed: BTreeSet<Generation>,
    started: BTreeSet<Generation>,
    abandoned: BTreeSet<Generation>,
    restarted: BTreeSet<(Slot, u32)>,
    /// How the run ended; a coordinator that comes back after that only repeats it.
    end: Option<Record>,
}

impl Written {
    fn written(&mut self, record: &Record) {
        match record {
            Record::WorkerJoined { worker, .. } => {
                self.joined.insert(*worker);
            }
            Record::GenerationFormed { generation, .. } => {
                self.formed.insert(*generation);
            }
            Record::GenerationStarted { generation, .. } => {
                self.started.insert(*generation);
            }
            Record::GenerationAbandoned { generation, .. } => {
                self.abandoned.insert(*generation);
            }
            Record::Restarted { slot, attempt } => {
                self.restarted.insert((*slot, *attempt));
            }
            Record::Finished { .. } | Record::Failed { .. } | Record::Stopped => {
                self.end = Some(record.clone())
            }
            Record::RunStarted { .. } | Record::Committed { .. } | Record::WorkerLost { .. } => {}
        }
    }

    fn directed(&self, generation: Generation, directive: &Directive) {
        match directive {
            Directive::Form(_) => assert!(self.formed.contains(&generation)),
            Directive::Go => assert!(self.started.contains(&generation)),
            Directive::Fence {
                why: FenceReason::Abandoned { generation, .. },
            } => {
                assert!(self.abandoned.contains(generation));
            }
            Directive::Fence { .. } | Directive::Stop { .. } => {}
        }
    }
}

impl Promise for Written {
    fn took_up(&mut self, journal: &[Record]) {
        *self = Self::default();
        journal.iter().for_each(|record| self.written(record));
    }

    fn see(&mut self, seen: &Seen<'_>) {
        let Seen::Ordered { effect, .. } = seen else {
            return;
        };
        match effect {
            Effect::Journal(record) => self.written(record),
            Effect::Welcome { worker, .. } => assert!(self.joined.contains(worker)),
            Effect::Direct {
                generation,
                directive,
                ..
            } => self.directed(*generation, directive),
            Effect::Launch { slot, attempt } => {
                assert!(*attempt == 0 || self.restarted.contains(&(*slot, *attempt)));
            }
            Effect::End(RunOutcome::Finished { .. }) => {
                assert!(matches!(self.end, Some(Record::Finished { .. })))
            }
            Effect::End(RunOutcome::Failed { .. }) => {
                assert!(matches!(self.end, Some(Record::Failed { .. })))
            }
            Effect::End(RunOutcome::Stopped) => assert!(matches!(self.end, Some(Record::Stopped))),
            Effect::Refuse { .. } | Effect::Kill { .. } => {}
        }
    }
}
