//! Workers that are gone, and what follows from it.

use super::context::RunContext;
use super::event::ExitKind;
use super::machine::Machine;
use super::phase::{Next, RunPhase};
use super::reason::{FailReason, FirstCause, LostReason};
use super::record::Record;
use super::roster::{JoinedWorker, Loss, SlotProcess, WorkerStream};
use ulda_run::Exit;
use ulda_run::ids::{Slot, WorkerId};

/// What is known of the process of a lost worker.
enum ProcessAfterLoss {
    Gone,
    /// It is expected to end by itself.
    Ending,
    MayHang,
    /// Another worker has the slot.
    Replaced,
}

impl LostReason {
    fn process_after(&self) -> ProcessAfterLoss {
        match self {
            Self::ProcessEnded { .. } => ProcessAfterLoss::Gone,
            Self::Left | Self::Failed { .. } => ProcessAfterLoss::Ending,
            Self::Replaced { .. } => ProcessAfterLoss::Replaced,
            Self::Detached { .. }
            | Self::Silent { .. }
            | Self::NeverAttached { .. }
            | Self::NeverJoined { .. }
            | Self::Stuck { .. }
            | Self::Blamed { .. }
            | Self::NoReport { .. }
            | Self::WrongState { .. } => ProcessAfterLoss::MayHang,
        }
    }

    /// Whether it names what went wrong inside the worker, not only that it is gone.
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
    /// A worker's stream broke. Its collective does not notice, so a generation that trains goes on.
    pub(super) fn detached(&mut self, worker: WorkerId, why: String) {
        let run = &mut self.run;
        let since = run.now;
        let Some(entry) = run.roster.workers.get_mut(&worker) else {
            return;
        };
        entry.stream = WorkerStream::Broken { since, why };
        let slot = entry.slot;
        let process_gone = run.roster.slot_mut(slot).ended.is_some();
        if process_gone || self.phase.is_draining() || self.phase.has_finished(worker) {
            self.lose(worker, LostReason::Left);
        }
    }

    /// The worker is out; nothing it sends counts any more.
    pub(super) fn lose(&mut self, worker: WorkerId, why: LostReason) {
        let run = &mut self.run;
        let Some(entry) = run.roster.workers.remove(&worker) else {
            return;
        };
        let slot = entry.slot;
        let why = run.roster.slot_mut(slot).ended.take().unwrap_or(why);
        if self.phase.has_finished(worker) {
            return self.free_slot(slot, &why);
        }
        run.record(Record::WorkerLost {
            worker,
            slot,
            why: why.clone(),
        });
        match why.process_after() {
            ProcessAfterLoss::Replaced | ProcessAfterLoss::MayHang => {
                run.end_worker(worker, entry.attached(), slot, why.clone());
            }
            ProcessAfterLoss::Gone | ProcessAfterLoss::Ending => {}
        }
        run.note_loss(slot, Some(worker), &why);
        self.free_slot(slot, &why);

        let run = &mut self.run;
        let next = match &mut self.phase {
            RunPhase::Gathering(gathering) => {
                gathering.extend(run);
                Next::Stay
            }
            RunPhase::Forming(forming) => forming.lost(run, worker, slot, why),
            RunPhase::Training(training) => training.lost(run, worker, slot, why),
            RunPhase::Draining(_) | RunPhase::Over(_) => Next::Stay,
        };
        self.follow(next);
    }

    pub(super) fn worker_failed(&mut self, worker: WorkerId, cause: String, exit_code: i32) {
        let slot = self.run.roster.slot_of(worker);
        let text = cause.clone();
        self.lose(worker, LostReason::Failed { cause, exit_code });
        if Exit::from(exit_code) == Exit::BadInput {
            self.fail_on_bad_input(FirstCause {
                slot,
                worker: Some(worker),
                text,
            });
        }
    }

    pub(super) fn process_ended(
        &mut self,
        slot: Slot,
        attempt: u32,
        exit: ExitKind,
        last_words: Option<String>,
    ) {
        let run = &mut self.run;
        let Some(state) = run.roster.slots.get_mut(&slot) else {
            return;
        };
        if state.attempt != Some(attempt) {
            return;
        }
        let bad_input = exit == ExitKind::Code(Exit::BadInput.into());
        let why = LostReason::ProcessEnded { exit, last_words };
        match state.process {
            SlotProcess::Serving { worker } => {
                state.ended = Some(why.clone());
                let entry = run.roster.workers.get(&worker);
                // Its stream tells when the worker is gone; it may be of another process than this one.
                if !entry.is_some_and(JoinedWorker::attached) {
                    self.lose(worker, why.clone());
                }
            }
            SlotProcess::Starting { .. } => {
                run.note_loss(slot, None, &why);
                self.restart_slot(slot);
                if let RunPhase::Gathering(gathering) = &mut self.phase {
                    gathering.extend(&self.run);
                }
            }
            SlotProcess::Leaving { .. } => {
                if let Some(loss) = state.losses.last_mut().filter(|loss| !loss.explained) {
                    loss.cause.text = why.to_string();
                    loss.explained = why.explains();
                }
                self.restart_slot(slot);
            }
            SlotProcess::Vacant | SlotProcess::BackingOff { .. } => return,
        }
        if bad_input {
            let last_loss = self.run.roster.slot_mut(slot).losses.last();
            let cause = last_loss.map_or_else(
                || FirstCause {
                    slot: Some(slot),
                    worker: None,
                    text: why.to_string(),
                },
                |loss| loss.cause.clone(),
            );
            self.fail_on_bad_input(cause);
        }
    }

    /// No restart helps against a bad configuration or input; a run that stops anyway stops as it was asked to.
    fn fail_on_bad_input(&mut self, cause: FirstCause) {
        if !self.phase.is_draining() && !self.phase.is_over() {
            self.phase = self.run.fail(FailReason::BadInput { cause });
        }
    }

    fn free_slot(&mut self, slot: Slot, why: &LostReason) {
        let run = &mut self.run;
        match why.process_after() {
            ProcessAfterLoss::Replaced => {}
            // Nobody reports the end of a process that was not started for a slot of ours.
            ProcessAfterLoss::Ending if run.launches() && run.rules.wants(slot) => {
                let soon = run.now + run.rules.exit_grace;
                let until = self.phase.drain_deadline().unwrap_or(soon);
                run.roster.slot_mut(slot).process = SlotProcess::Leaving { until };
            }
            ProcessAfterLoss::Gone | ProcessAfterLoss::Ending | ProcessAfterLoss::MayHang => {
                self.restart_slot(slot);
            }
        }
    }
}

impl RunContext {
    pub fn note_loss(&mut self, slot: Slot, worker: Option<WorkerId>, why: &LostReason) {
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
        self.roster.slot_mut(slot).losses.push(loss);
    }
}
