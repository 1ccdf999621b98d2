//! A generation is told to train only while it is the newest one and not abandoned, and only lost
//! workers still apply a step of an older one after a newer one started.

use std::collections::BTreeSet;

use ulda_machine::{Directive, Effect, Record};
use ulda_run::ids::{Generation, WorkerId};

use super::{Promise, Seen};

#[derive(Default)]
pub struct OneTrains {
    formed: Option<Generation>,
    started: Option<Generation>,
    abandoned: BTreeSet<Generation>,
    lost: BTreeSet<WorkerId>,
}

impl OneTrains {
    fn written(&mut self, record: &Record) {
        match record {
            Record::GenerationFormed { generation, .. } => {
                assert!(
                    Some(*generation) > self.formed,
                    "{generation} is not above {:?}",
                    self.formed
                );
                self.formed = Some(*generation);
            }
            Record::GenerationStarted { generation, .. } => self.started = Some(*generation),
            Record::GenerationAbandoned { generation, .. } => {
                self.abandoned.insert(*generation);
            }
            Record::WorkerLost { worker, .. } => {
                self.lost.insert(*worker);
            }
            _ => {}
        }
    }
}

impl Promise for OneTrains {
    fn took_up(&mut self, journal: &[Record]) {
        *self = Self::default();
        journal.iter().for_each(|record| self.written(record));
    }

    fn see(&mut self, seen: &Seen<'_>) {
        match seen {
            Seen::Ordered {
                effect: Effect::Journal(record),
                ..
            } => self.written(record),
            Seen::Ordered {
                effect:
                    Effect::Direct {
                        generation,
                        directive: Directive::Go,
                        ..
                    },
                ..
            } => {
                assert_eq!(
                    Some(*generation),
                    self.formed,
                    "an older generation is told to train"
                );
                assert_eq!(
                    Some(*generation),
                    self.started,
                    "a generation is told to train before it started"
                );
                assert!(
                    !self.abandoned.contains(generation),
                    "an abandoned generation is told to train"
                );
            }
            Seen::Reduced { generation, appliers } => {
                if Some(*generation) < self.started {
                    let lost = appliers.iter().all(|worker| self.lost.contains(worker));
                    assert!(
                        lost,
                        "{generation} goes on beside {:?} with workers of the run",
                        self.started
                    );
                }
            }
            Seen::Ordered { .. } | Seen::Fed { .. } => {}
        }
    }
}
