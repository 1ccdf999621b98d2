//! A coordinator takes up a run where its journal ends.

use super::effect::{Effect, RunOutcome};
use super::phase::{Gathering, MemberTraining, RunPhase, Training};
use super::record::Resume;
use super::roster::{JoinedWorker, SlotProcess, WorkerStanding, WorkerStream};
use super::run::Machine;

impl Machine {
    /// Workers that may be alive are waited for; a generation that may be training is left alone.
    pub(super) fn take_up(&mut self, resume: Resume) {
        if let Some(digest) = resume.finished {
            self.effects.push(Effect::End(RunOutcome::Finished { digest }));
            return;
        }
        for (slot, attempt) in resume.attempts {
            self.roster.seating(slot).attempt = Some(attempt);
        }
        let running = resume.running.filter(|running| {
            running
                .formation
                .members
                .iter()
                .all(|member| resume.workers.contains_key(&member.worker))
        });
        let until = self.now + self.rules.deadlines.form;
        for (worker, known) in resume.workers {
            self.roster.seating(known.slot).place = SlotProcess::Serving { worker };
            let member = running
                .as_ref()
                .is_some_and(|running| running.formation.contains(worker));
            let standing = if member {
                WorkerStanding::Member
            } else {
                WorkerStanding::Owing {
                    generation: self.generation,
                    until,
                }
            };
            let entry = JoinedWorker {
                slot: known.slot,
                data_address: known.data_address,
                device: known.device,
                line: WorkerStream::Awaited,
                last_heard: self.now,
                standing,
            };
            self.roster.workers.insert(worker, entry);
        }
        self.phase = match running {
            Some(running) => {
                let cursor = running.state.as_ref().map(|state| state.cursor);
                let rank = MemberTraining {
                    cursor,
                    last_progress: self.now,
                    finished: None,
                };
                let members = running.formation.members.iter();
                RunPhase::Training(Training {
                    ranks: members.map(|member| (member.worker, rank.clone())).collect(),
                    formation: running.formation,
                    since: self.now,
                    state: running.state,
                    reporter: None,
                    last_advance: self.now,
                    advanced: false,
                })
            }
            None => RunPhase::Gathering(Gathering {
                since: self.now,
                grace: self.now + self.rules.deadlines.gather,
                not_before: self.now,
                deadline: self.now + self.rules.deadlines.gather,
            }),
        };
        self.staff();
    }
}
