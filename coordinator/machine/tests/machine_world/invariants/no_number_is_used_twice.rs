//! Worker ids, generations and the attempts of a slot only grow, over all coordinators of a run.

use std::collections::BTreeMap;

use ulda_machine::{Effect, Record};
use ulda_run::ids::{Generation, Slot, WorkerId};

use super::{Promise, Seen};

#[derive(Default)]
pub struct Fresh {
    worker: Option<WorkerId>,
    generation: Option<Generation>,
    term: Option<u64>,
    attempts: BTreeMap<Slot, u32>,
}

impl Promise for Fresh {
    fn see(&mut self, seen: &Seen<'_>) {
        if let Seen::Ordered {
            effect: Effect::Journal(record),
            ..
        } = seen
        {
            self.written(record);
        }
    }

    /// What was lost before it was synced had been told to nobody.
    fn took_up(&mut self, journal: &[Record]) {
        *self = Self::default();
        journal.iter().for_each(|record| self.written(record));
    }
}

impl Fresh {
    fn written(&mut self, record: &Record) {
        match record {
            Record::RunStarted { term } => assert!(self.term.replace(*term) < Some(*term)),
            Record::WorkerJoined { worker, .. } => assert!(self.worker.replace(*worker) < Some(*worker)),
            Record::GenerationFormed { generation, .. } => {
                assert!(self.generation.replace(*generation) < Some(*generation));
            }
            Record::Restarted { slot, attempt } => {
                let last = self.attempts.insert(*slot, *attempt);
                assert!(last < Some(*attempt), "{slot}: attempt {attempt} after {last:?}");
            }
            _ => {}
        }
    }
}
