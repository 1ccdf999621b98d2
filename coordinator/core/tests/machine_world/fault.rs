//! What goes wrong.

use ulda_core::ids::Slot;
use ulda_core::machine::{Event, ExitKind};

use super::world::{Happening, World};

/// Something that goes wrong. `pick` chooses among the living.
#[derive(Clone, Debug)]
pub enum Fault {
    Crash {
        pick: u8,
    },
    Fail {
        pick: u8,
    },
    Pause {
        pick: u8,
        millis: u64,
    },
    /// Heartbeats go on, nothing else does.
    Stick {
        pick: u8,
    },
    /// The attend stream ends; the process lives.
    Cut {
        pick: u8,
    },
    /// The coordinator dies for `millis`, after it carried out so many more effects of one batch.
    CoordinatorCrash {
        millis: u64,
        after_effects: usize,
    },
    CoordinatorPause {
        millis: u64,
    },
    Newcomer,
}

impl World {
    pub(super) fn fault(&mut self, index: usize) {
        let fault = self.life.faults[index].1.clone();
        let living = self.processes.living();
        let victim = |pick: u8| (!living.is_empty()).then(|| living[usize::from(pick) % living.len()]);
        match fault {
            Fault::Crash { pick } => {
                if let Some(pid) = victim(pick) {
                    self.die(pid, ExitKind::Signal(9));
                }
            }
            Fault::Fail { pick } => {
                if let Some(pid) = victim(pick) {
                    self.say(pid, |worker, _| Event::WorkerFailed {
                        worker,
                        cause: "out of memory".into(),
                        exit_code: 1,
                    });
                    self.soon(10, 60, Happening::Die(pid, ExitKind::Code(1)));
                }
            }
            Fault::Pause { pick, millis } => {
                if let Some(pid) = victim(pick) {
                    self.process(pid).paused_until = self.now + millis;
                }
            }
            Fault::Stick { pick } => {
                if let Some(pid) = victim(pick) {
                    self.process(pid).stuck = true;
                }
            }
            Fault::Cut { pick } => {
                if let Some(pid) = victim(pick)
                    && let (Some(stream), Some(worker)) =
                        (self.processes.all[&pid].stream, self.processes.all[&pid].worker)
                {
                    self.soon(1, 20, Happening::Detached(worker, stream));
                    self.soon(1, 20, Happening::StreamEnded(pid, stream));
                }
            }
            Fault::CoordinatorCrash {
                millis,
                after_effects,
            } => {
                if self.machine.is_some() && after_effects == 0 {
                    self.coordinator_down(millis);
                } else if self.machine.is_some() {
                    self.dies_after = Some((after_effects, millis));
                }
            }
            Fault::CoordinatorPause { millis } => self.coordinator_paused_until = self.now + millis,
            Fault::Newcomer => {
                let slot = Slot(self.life.wanted + u32::try_from(self.luck.between(0, 3)).unwrap_or(0));
                let pid = self.processes.spawn(slot, None);
                self.begin(pid);
            }
        }
    }
}
