//! A coordinator takes up a run where its journal ends.

use std::sync::Arc;

use super::context::RunContext;
use super::effect::RunOutcome;
use super::phase::{Gathering, RunPhase, Training};
use super::record::Resume;
use super::roster::{JoinedWorker, SlotProcess, WorkerStanding, WorkerStream};

impl RunContext {
    /// Workers that may be alive are waited for; a generation that may be training is left alone.
    pub fn take_up(&mut self, resume: Resume) -> RunPhase {
        if let Some(digest) = resume.finished {
            return self.end(RunOutcome::Finished { digest });
        }
        for (slot, attempt) in resume.attempts {
            self.roster.slot_mut(slot).attempt = Some(attempt);
        }
        let running = resume.running.filter(|running| {
            let mut members = running.formation.members.iter();
            members.all(|member| resume.workers.contains_key(&member.worker))
        });
        let until = self.now + self.rules.deadlines.form;
        for (worker, known) in resume.workers {
            self.roster.slot_mut(known.slot).process = SlotProcess::Serving { worker };
            let member = running
                .as_ref()
                .is_some_and(|running| running.formation.contains(worker));
            let standing = if member {
                WorkerStanding::Member
            } else {
                WorkerStanding::Fenced {
                    generation: self.generation,
                    until,
                }
            };
            let entry = JoinedWorker {
                slot: known.slot,
                data_address: known.data_address,
                device: known.device,
                stream: WorkerStream::Awaited,
                last_heard: self.now,
                standing,
            };
            self.roster.workers.insert(worker, entry);
        }
        self.fill_slots();
        let now = self.now;
        match running {
            Some(running) => RunPhase::Training(Training::new(
                Arc::new(running.formation),
                running.state,
                None,
                now,
            )),
            None => RunPhase::Gathering(Gathering {
                since: now,
                grace: now + self.rules.deadlines.gather,
                not_before: now,
                deadline: now + self.rules.deadlines.gather,
            }),
        }
    }
}
