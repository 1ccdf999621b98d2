//! A generation starts only after each of its members said that it formed, all from one state.

use std::collections::BTreeMap;

use ulda_machine::{Effect, Formation, MachineEvent, Record};
use ulda_run::StateClaim;
use ulda_run::ids::{Generation, WorkerId};

use super::{Promise, Seen};

#[derive(Default)]
pub struct Complete {
    formation: Option<(Generation, Formation)>,
    formed: BTreeMap<(Generation, WorkerId), Option<StateClaim>>,
    started: Option<Generation>,
}

impl Complete {
    fn check(&self, generation: Generation, cursor_of: impl Fn(&StateClaim) -> u64) {
        let Some((_, formation)) = self
            .formation
            .as_ref()
            .filter(|(formed, _)| *formed == generation)
        else {
            panic!("{generation} started without being formed");
        };
        let said = |worker| {
            self.formed
                .get(&(generation, worker))
                .expect("every member formed before the start")
        };
        let states: Vec<_> = formation
            .members
            .iter()
            .map(|member| said(member.worker).as_ref().map(&cursor_of))
            .collect();
        assert!(
            states.iter().all(|state| *state == states[0]),
            "{generation} starts from {states:?}"
        );
    }
}

impl Promise for Complete {
    fn see(&mut self, seen: &Seen<'_>) {
        match seen {
            // Orders are seen after the event that caused them.
            Seen::Fed {
                event:
                    MachineEvent::WorkerFormed {
                        worker,
                        generation,
                        state,
                    },
                ..
            } => {
                self.formed.insert((*generation, *worker), state.clone());
            }
            Seen::Ordered {
                effect: Effect::Journal(record),
                truth,
                ..
            } => match record {
                Record::GenerationFormed {
                    generation,
                    formation,
                } => {
                    self.formation = Some((*generation, formation.clone()));
                }
                Record::GenerationStarted { generation, .. } => {
                    assert!(
                        self.started.replace(*generation) < Some(*generation),
                        "started twice"
                    );
                    self.check(*generation, |state| truth.steps_before(state.cursor));
                }
                _ => {}
            },
            Seen::Ordered { .. } | Seen::Fed { .. } | Seen::Reduced { .. } => {}
        }
    }
}
