//! A fact of an older or abandoned generation, or of a lost worker, changes nothing: it has the same
//! consequences as a heartbeat of its sender, besides the fence it is answered with.

use std::collections::BTreeSet;

use ulda_machine::{Directive, Effect, Machine, MachineEvent, Record, Snapshot, Tick};
use ulda_run::ids::{Generation, WorkerId};

use super::{Promise, Seen};

#[derive(Default)]
pub struct Fenced {
    formed: Option<Generation>,
    abandoned: BTreeSet<Generation>,
    lost: BTreeSet<WorkerId>,
}

impl Fenced {
    pub fn is_stale(&self, machine: &Machine, event: &MachineEvent) -> bool {
        let (Some(worker), Some(generation)) = (event.sender(), event.generation()) else {
            return false;
        };
        let fact = matches!(
            event,
            MachineEvent::WorkerFormed { .. }
                | MachineEvent::ProgressMade { .. }
                | MachineEvent::WorkerFinished { .. }
        );
        let broke = matches!(event, MachineEvent::GenerationBroke { .. });
        if machine.phase().is_over() || !(fact || broke) {
            return false;
        }
        self.lost.contains(&worker)
            || Some(generation) < self.formed
            || (fact && self.abandoned.contains(&generation))
    }

    pub fn compare(&self, now: Tick, mut before: Machine, after: &Machine, event: &MachineEvent) {
        let (Some(worker), Some(generation)) = (event.sender(), event.generation()) else {
            return;
        };
        before.handle(now, MachineEvent::HeartbeatHeard { worker, generation });
        assert_eq!(state(&before, now), state(after, now), "obeyed {event:?}");
        assert_eq!(orders(before), orders(after.clone()), "obeyed {event:?}");
    }
}

fn state(machine: &Machine, now: Tick) -> Snapshot {
    Snapshot {
        counters: Default::default(),
        ..machine.snapshot(now)
    }
}

fn orders(mut machine: Machine) -> Vec<Effect> {
    let fence = |effect: &Effect| {
        matches!(
            effect,
            Effect::Direct {
                directive: Directive::Fence { .. },
                ..
            }
        )
    };
    machine
        .drain_effects()
        .into_iter()
        .filter(|effect| !fence(effect))
        .collect()
}

impl Promise for Fenced {
    fn see(&mut self, seen: &Seen<'_>) {
        if let Seen::Ordered {
            effect: Effect::Journal(record),
            ..
        } = seen
        {
            self.written(record);
        }
    }

    fn took_up(&mut self, journal: &[Record]) {
        *self = Self::default();
        journal.iter().for_each(|record| self.written(record));
    }
}

impl Fenced {
    fn written(&mut self, record: &Record) {
        match record {
            Record::GenerationFormed { generation, .. } => self.formed = Some(*generation),
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
