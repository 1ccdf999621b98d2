//! Workers that are gone, and what follows from it.

use super::event::ExitKind;
use super::phase::RunPhase;
use super::reason::{BreakReason, FailReason, FirstCause, LostReason};
use super::record::Record;
use super::roster::{JoinedWorker, Loss, SlotProcess, WorkerStream};
use super::run::Machine;
use ulda_run::Exit;
use ulda_run::ids::{Slot, WorkerId};

/// What is left to do about the process of a lost worker.
enum Remains {
    /// It is known to be gone.
    Nothing,
    /// It is expected to end by itself.
    Expected,
    /// It may hang.
    Process,
    /// Another worker has the slot.
    Successor,
}

impl LostReason {
    fn remains(&self) -> Remains {
        match self {
            Self::ProcessEnded { .. } => Remains::Nothing,
            Self::Left | Self::Failed { .. } => Remains::Expected,
            Self::Replaced { .. } => Remains::Successor,
            Self::Detached { .. }
            | Self::Silent { .. }
            | Self::NeverAttached { .. }
            | Self::NeverJoined { .. }
            | Self::Stuck { .. }
            | Self::Blamed { .. }
            | Self::NoReport { .. }
            | Self::WrongState { .. } => Remains::Process,
        }
    }

    /// Says what went wrong inside the worker, not only that it is gone.
    fn explains(&self) -> bool {
        match self {
            Self::Failed { .. } | Self::WrongState { .. } => true,
            Self::ProcessEnded { last_words, exit } => {
                last_words.is_some() || matches!(exit, ExitKind::NotStarted(_))
            }
            Self::Detached { .. }
            | Self::Left
            | Self::Silent { .. }
            | Self::NeverAttached { .. }
            | Self::NeverJoined { .. }
            | Self::Replaced { .. }
            | Self::Stuck { .. }
            | Self::Blamed { .. }
            | Self::NoReport { .. } => false,
        }
    }
}

impl Machine {
    /// A worker's stream broke. Its collective knows nothing of that, so a generation that trains goes on.
    pub(super) fn detached(&mut self, worker: WorkerId, why: String) {
        let since = self.now;
        let Some(entry) = self.roster.workers.get_mut(&worker) else {
            return;
        };
        entry.line = WorkerStream::Broken { since, why };
        let slot = entry.slot;
        let process_gone = self.roster.seating(slot).ended.is_some();
        if process_gone || self.is_draining() || self.left_after_finishing(worker) {
            self.lose(worker, LostReason::Left);
        }
    }

    /// The worker is out, whatever it still says.
    pub(super) fn lose(&mut self, worker: WorkerId, why: LostReason) {
        let Some(entry) = self.roster.workers.remove(&worker) else {
            return;
        };
        let slot = entry.slot;
        let why = self.roster.seating(slot).ended.take().unwrap_or(why);
        if self.left_after_finishing(worker) {
            self.vacate(slot, &why);
            return;
        }
        self.record(Record::WorkerLost {
            worker,
            slot,
            why: why.clone(),
        });
        match why.remains() {
            Remains::Successor | Remains::Process => {
                self.put_down(worker, entry.attached(), slot, why.clone())
            }
            Remains::Nothing | Remains::Expected => {}
        }
        self.note_loss(slot, Some(worker), &why);
        self.vacate(slot, &why);

        match &mut self.phase {
            RunPhase::Gathering(_) => self.extend_gathering(),
            RunPhase::Forming(forming) if forming.formation.contains(worker) => {
                self.abandon(BreakReason::WorkerLost { worker, slot, why });
            }
            RunPhase::Training(training) if training.formation.contains(worker) => {
                training.ranks.remove(&worker);
                if !(training.any_finished() && training.all_finished()) {
                    self.abandon(BreakReason::WorkerLost { worker, slot, why });
                }
            }
            RunPhase::Forming(_)
            | RunPhase::Training(_)
            | RunPhase::Draining(_)
            | RunPhase::Finished
            | RunPhase::Stopped
            | RunPhase::Failed(_) => {}
        }
    }

    pub(super) fn worker_failed(&mut self, worker: WorkerId, cause: String, exit_code: i32) {
        let slot = self.roster.slot_of(worker);
        self.lose(
            worker,
            LostReason::Failed {
                cause: cause.clone(),
                exit_code,
            },
        );
        if Exit::from(exit_code) == Exit::BadInput && !self.is_draining() && !self.phase.name().is_over() {
            let cause = FirstCause {
                slot,
                worker: Some(worker),
                text: cause,
            };
            self.fail(FailReason::BadInput { cause });
        }
    }

    pub(super) fn process_ended(
        &mut self,
        slot: Slot,
        attempt: u32,
        exit: ExitKind,
        last_words: Option<String>,
    ) {
        let Some(seating) = self.roster.slots.get_mut(&slot) else {
            return;
        };
        if seating.attempt != Some(attempt) {
            return;
        }
        let place = seating.place;
        let bad_input = exit == ExitKind::Code(Exit::BadInput.into());
        let why = LostReason::ProcessEnded { exit, last_words };
        match place {
            SlotProcess::Serving { worker } => {
                let attached = self
                    .roster
                    .workers
                    .get(&worker)
                    .is_some_and(JoinedWorker::attached);
                self.roster.seating(slot).ended = Some(why.clone());
                // Its stream tells when the worker is gone; it may be of another process than this one.
                if !attached {
                    self.lose(worker, why.clone());
                }
            }
            SlotProcess::Starting { .. } => {
                self.note_loss(slot, None, &why);
                self.rest(slot);
                self.extend_gathering();
            }
            SlotProcess::Leaving { .. } => {
                if let Some(loss) = seating.losses.last_mut().filter(|loss| !loss.explained) {
                    loss.cause.text = why.to_string();
                    loss.explained = why.explains();
                }
                self.rest(slot);
            }
            SlotProcess::Vacant | SlotProcess::Resting { .. } => return,
        }
        if bad_input && !self.is_draining() && !self.phase.name().is_over() {
            let told = self
                .roster
                .seating(slot)
                .losses
                .last()
                .map(|loss| loss.cause.clone());
            let cause = told.unwrap_or_else(|| FirstCause {
                slot: Some(slot),
                worker: None,
                text: why.to_string(),
            });
            self.fail(FailReason::BadInput { cause });
        }
    }

    pub(super) fn note_loss(&mut self, slot: Slot, worker: Option<WorkerId>, why: &LostReason) {
        if matches!(why, LostReason::Replaced { .. }) {
            return;
        }
        let cause = FirstCause {
            slot: Some(slot),
            worker,
            text: why.to_string(),
        };
        let loss = Loss {
            at: self.now,
            cause,
            explained: why.explains(),
        };
        self.roster.seating(slot).losses.push(loss);
    }

    fn vacate(&mut self, slot: Slot, why: &LostReason) {
        let wait = match &self.phase {
            RunPhase::Draining(draining) => draining.deadline,
            RunPhase::Gathering(_)
            | RunPhase::Forming(_)
            | RunPhase::Training(_)
            | RunPhase::Finished
            | RunPhase::Stopped
            | RunPhase::Failed(_) => self.now + self.rules.exit_grace,
        };
        match why.remains() {
            Remains::Successor => {}
            // Nobody tells of the end of a process that was not started for a slot of ours.
            Remains::Expected if self.launches() && self.rules.wants(slot) => {
                self.roster.seating(slot).place = SlotProcess::Leaving { until: wait };
            }
            Remains::Nothing | Remains::Expected | Remains::Process => self.rest(slot),
        }
    }

    /// A member that said it is through may go.
    fn left_after_finishing(&self, worker: WorkerId) -> bool {
        match &self.phase {
            RunPhase::Training(training) => training
                .ranks
                .get(&worker)
                .is_some_and(|rank| rank.finished.is_some()),
            RunPhase::Gathering(_)
            | RunPhase::Forming(_)
            | RunPhase::Draining(_)
            | RunPhase::Finished
            | RunPhase::Stopped
            | RunPhase::Failed(_) => false,
        }
    }
}
