//! What goes wrong.

use serde::{Deserialize, Serialize};
use ulda_machine::{ExitKind, MachineEvent};
use ulda_run::ids::Slot;

use super::world::{Happening, World};

/// Something that goes wrong. `pick` chooses among the living.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    Crash {
        pick: u8,
    },
    Fail {
        pick: u8,
    },
    /// It is told to leave, and does after its step.
    Leave {
        pick: u8,
    },
    Pause {
        pick: u8,
        millis: u64,
    },
    /// Its steps take up to a second.
    Slow {
        pick: u8,
        millis: u64,
    },
    /// Heartbeats go on, nothing else does.
    Stick {
        pick: u8,
    },
    /// The attend stream breaks, and what was on its way is lost; no other can be opened for `millis`.
    Cut {
        pick: u8,
        millis: u64,
    },
    /// Nothing comes through to it or from it, from nobody.
    CutOff {
        pick: u8,
        millis: u64,
    },
    /// The coordinator dies for `millis`, after it carried out so many more effects of one batch. `loses`: with
    /// all that it had written and not synced.
    CoordinatorCrash {
        millis: u64,
        after_effects: usize,
        loses: bool,
    },
    CoordinatorPause {
        millis: u64,
    },
    /// Another coordinator is started on the journal; the first one lives on and keeps its streams for up to `millis`.
    Takeover {
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
                    self.say(pid, |worker, _| MachineEvent::WorkerFailed {
                        worker,
                        cause: "out of memory".into(),
                        exit_code: 1,
                    });
                    self.soon(10, 60, Happening::Die(pid, ExitKind::Code(1)));
                }
            }
            Fault::Leave { pick } => {
                if let Some(pid) = victim(pick) {
                    self.say(pid, |worker, _| MachineEvent::WorkerLeft { worker });
                    self.soon(10, 60, Happening::Die(pid, ExitKind::Code(0)));
                }
            }
            Fault::Pause { pick, millis } => {
                if let Some(pid) = victim(pick) {
                    self.process(pid).paused_until = self.now + millis;
                }
            }
            Fault::Slow { pick, millis } => {
                if let Some(pid) = victim(pick) {
                    self.process(pid).slow_until = self.now + millis;
                }
            }
            Fault::Stick { pick } => {
                if let Some(pid) = victim(pick) {
                    self.process(pid).stuck = true;
                }
            }
            Fault::Cut { pick, millis } => {
                if let Some(pid) = victim(pick) {
                    let until = self.now + millis;
                    let process = self.process(pid);
                    process.deaf_until = until;
                    let term = process.stream_term;
                    if let (Some(stream), Some(worker)) = (process.stream, process.worker) {
                        self.soon(1, 20, Happening::Detached(worker, stream, term));
                        self.soon(1, 20, Happening::StreamEnded(pid, stream));
                    }
                }
            }
            Fault::CutOff { pick, millis } => {
                if let Some(pid) = victim(pick) {
                    self.process(pid).cut_off_until = self.now + millis;
                }
            }
            Fault::CoordinatorCrash {
                millis,
                after_effects,
                loses,
            } => {
                if self.machine.is_some() {
                    self.dies = Some((after_effects, millis, loses));
                    if after_effects == 0 {
                        self.coordinator_down();
                    }
                }
            }
            Fault::CoordinatorPause { millis } => self.coordinator_paused_until = self.now + millis,
            Fault::Takeover { millis } => self.takeover(millis),
            Fault::Newcomer => {
                let slot = Slot(self.life.wanted + u32::try_from(self.rng.between(0, 3)).unwrap_or(0));
                let pid = self.processes.spawn(slot, None);
                self.begin(pid);
            }
        }
    }
}

impl Fault {
    /// Milliseconds until it is over; what a recovery takes is not counted.
    pub fn lasts(&self) -> u64 {
        match self {
            Self::Pause { millis, .. }
            | Self::Slow { millis, .. }
            | Self::Cut { millis, .. }
            | Self::CutOff { millis, .. }
            | Self::CoordinatorCrash { millis, .. }
            | Self::CoordinatorPause { millis }
            | Self::Takeover { millis } => *millis,
            Self::Crash { .. }
            | Self::Fail { .. }
            | Self::Leave { .. }
            | Self::Stick { .. }
            | Self::Newcomer => 0,
        }
    }
}
