//! The workers' calls: facts for the machine, measurements and notices for the journal.

use ulda_machine::{MachineEvent, RunOutcome, Tick, Ticket};
use ulda_run::ids::{Generation, WorkerId};
use ulda_run::stage::{Course, Cursor, Stage};

use super::drive::{RunDriver, RunError};
use super::news::{News, StorageClient};
use crate::journal::{JournalEntry, clip_fact, metrics_key, style_metric};
use crate::rpc::{Ask, JoiningWorker, Measures, Notice, ReceivedFact, Refusal, StreamEnd};

impl RunDriver {
    /// A call of a worker.
    pub async fn asked(&mut self, now: Tick, ask: Ask) -> Result<Option<RunOutcome>, RunError> {
        match ask {
            Ask::Join { who, reply } => {
                let ticket = Ticket(self.next_ticket);
                self.next_ticket += 1;
                self.tickets.insert(ticket, reply);
                let JoiningWorker {
                    slot,
                    data_address,
                    device,
                    process_id,
                    metrics_address,
                } = who;
                self.journal.note(JournalEntry::Fact {
                    key: metrics_key(slot),
                    value: metrics_address.unwrap_or_default(),
                });
                tracing::debug!(slot = slot.0, process_id, %device, "join asked");
                let ended = self
                    .feed(
                        now,
                        MachineEvent::JoinAsked {
                            ticket,
                            slot,
                            data_address,
                            device,
                        },
                    )
                    .await?;
                if let Some(unanswered) = self.tickets.remove(&ticket) {
                    let _ = unanswered.send(Err(Refusal::Ending));
                }
                Ok(ended)
            }
            Ask::Attend {
                worker,
                attachment,
                generation,
                directives,
                reply,
            } => {
                self.streams.open(worker, attachment, directives);
                let ended = self
                    .feed(now, MachineEvent::WorkerAttached { worker, generation })
                    .await?;
                let answer = if self.streams.attends(worker) {
                    Ok(())
                } else {
                    Err(Refusal::UnknownWorker { worker: worker.0 })
                };
                // A stream whose worker hung up is seen to end by its pump.
                let _ = reply.send(answer);
                Ok(ended)
            }
            Ask::Attended {
                worker,
                attachment,
                generation,
                fact,
            } => {
                if !self.streams.is_current(worker, attachment) {
                    return Ok(None);
                }
                self.attended(now, worker, generation, fact).await
            }
            Ask::Detached {
                worker,
                attachment,
                end,
            } => {
                if !self.streams.is_current(worker, attachment) {
                    return Ok(None);
                }
                self.streams.close(worker);
                self.feed(now, detached(worker, end)).await
            }
            Ask::Whose { worker, reply } => {
                let slot = self.slots.get(&worker).copied();
                let _ = reply.send(slot.ok_or(Refusal::UnknownWorker { worker: worker.0 }));
                Ok(None)
            }
            Ask::Report {
                worker,
                notice,
                reply,
            } => {
                self.reported(worker, notice);
                self.flush().await?;
                let _ = reply.send(Ok(()));
                Ok(None)
            }
            Ask::Superseded { term: theirs } => {
                let ours = self.briefing.term;
                Err(RunError::Superseded { ours, theirs })
            }
        }
    }

    async fn attended(
        &mut self,
        now: Tick,
        worker: WorkerId,
        generation: Generation,
        fact: ReceivedFact,
    ) -> Result<Option<RunOutcome>, RunError> {
        let event = match fact {
            ReceivedFact::Heartbeat => MachineEvent::HeartbeatHeard { worker, generation },
            ReceivedFact::Ready { state, clip } => {
                if let Some(clip) = &clip {
                    self.journal.note(clip_fact(clip));
                }
                MachineEvent::WorkerReady {
                    worker,
                    generation,
                    state,
                }
            }
            ReceivedFact::Formed { state } => MachineEvent::WorkerFormed {
                worker,
                generation,
                state,
            },
            ReceivedFact::Progress { state, measures } => {
                let Some(state) = state else {
                    self.measured(worker, None, measures);
                    return self
                        .feed(now, MachineEvent::HeartbeatHeard { worker, generation })
                        .await;
                };
                if !measures.activity.is_empty() {
                    self.measured(worker, Some(state.cursor), measures);
                    return self
                        .feed(now, MachineEvent::WorkAdvanced { worker, generation })
                        .await;
                }
                self.measured(worker, Some(state.cursor), measures);
                MachineEvent::ProgressMade {
                    worker,
                    generation,
                    state,
                }
            }
            ReceivedFact::Broke {
                cause,
                waiting_for,
                state,
            } => MachineEvent::GenerationBroke {
                worker,
                generation,
                cause,
                waiting_for,
                state,
            },
            ReceivedFact::Storage(count) => {
                if let Some(slot) = self.slots.get(&worker).copied() {
                    let client = StorageClient::Worker(slot);
                    self.tell(News::Storage { client, count });
                }
                return self
                    .feed(now, MachineEvent::HeartbeatHeard { worker, generation })
                    .await;
            }
            ReceivedFact::Finished { digest } => MachineEvent::WorkerFinished {
                worker,
                generation,
                digest,
            },
            ReceivedFact::Failed { cause, exit_code } => MachineEvent::WorkerFailed {
                worker,
                cause,
                exit_code,
            },
        };
        self.feed(now, event).await
    }

    /// Writes down and tells what a worker measured on the way to `cursor`.
    fn measured(&mut self, worker: WorkerId, cursor: Option<Cursor>, measures: Measures) {
        let Some(slot) = self.slots.get(&worker).copied() else {
            return;
        };
        let Some(cursor) = cursor.or_else(|| self.course.start()) else {
            return;
        };
        let place = place_of(&self.course, cursor, &measures);
        let (losses, rates) = (&measures.losses, &measures.learning_rates);
        let named = losses
            .iter()
            .map(|loss| ("loss", loss))
            .chain(rates.iter().map(|rate| ("lr", rate)));
        for (kind, measured) in named {
            let name = format!("{kind}.{}", measured.name);
            self.journal.note(JournalEntry::Metric {
                place,
                name,
                value: measured.value,
            });
        }
        for (domain, health) in &measures.styles {
            for (measure, value) in health.measures() {
                let name = style_metric(domain, measure);
                self.journal.note(JournalEntry::Metric { place, name, value });
            }
        }
        for phase in &measures.phase_seconds {
            self.journal.note(JournalEntry::Phase {
                stage: place.stage,
                slot: slot.0,
                name: phase.name.clone(),
                amount: phase.value,
            });
        }
        if measures.images > 0 {
            let amount = measures.images as f64;
            self.journal.note(JournalEntry::Phase {
                stage: place.stage,
                slot: slot.0,
                name: "images".into(),
                amount,
            });
        }
        self.tell(News::Progress {
            slot,
            stage: place.stage,
            steps_done: place.step,
            measures,
        });
    }

    fn reported(&mut self, worker: WorkerId, notice: Notice) {
        tracing::debug!(worker = worker.0, "reported");
        match notice {
            Notice::Checkpoint {
                path,
                place,
                digest,
                size_bytes,
            } => {
                self.tell(News::Checkpoint {
                    path: path.clone(),
                    place,
                    size_bytes,
                });
                self.journal.note(JournalEntry::Checkpoint {
                    path,
                    place,
                    digest,
                    size_bytes,
                });
            }
            Notice::Evaluation {
                model,
                set,
                confusion,
                images,
                place,
                seconds,
            } => {
                self.tell(News::Evaluated {
                    model: model.clone(),
                    set: set.clone(),
                    place,
                    images,
                    confusion: confusion.clone(),
                });
                self.journal.note(JournalEntry::Evaluation {
                    model,
                    set,
                    place,
                    images,
                    confusion,
                    seconds,
                });
            }
            Notice::StageDone {
                stage,
                seconds,
                digest,
            } => self.stage_done(stage, seconds, digest),
        }
    }

    fn stage_done(&mut self, stage: Stage, seconds: f64, digest: String) {
        self.tell(News::StageDone { stage, seconds });
        self.journal.note(JournalEntry::StageDone {
            stage,
            seconds,
            digest,
        });
    }
}

fn detached(worker: WorkerId, end: StreamEnd) -> MachineEvent {
    match end {
        StreamEnd::Closed => MachineEvent::WorkerLeft { worker },
        StreamEnd::Broke { why } => MachineEvent::WorkerDetached { worker, why },
        StreamEnd::Nonsense { refusal } => MachineEvent::WorkerFailed {
            worker,
            cause: format!("sent a message that makes no sense: {refusal}"),
            exit_code: 1,
        },
    }
}

/// Where `measures` belong that came with `cursor`: an activity to the step that begins there, all else to the step that
/// ended there, which at the start of a stage was one of the stage before.
fn place_of(course: &Course, cursor: Cursor, measures: &Measures) -> Cursor {
    if cursor.step > 0 || !measures.activity.is_empty() {
        return cursor;
    }
    let mut earlier = course.stages().iter().rev();
    let before = earlier.find(|length| length.stage < cursor.stage);
    before.map_or(cursor, |length| Cursor {
        stage: length.stage,
        step: length.steps,
    })
}

#[cfg(test)]
mod tests {
    use ulda_run::stage::{Stage, StageLength};

    use super::*;

    #[test]
    fn at_the_start_of_a_stage_losses_are_of_the_step_before_and_activities_of_the_first() {
        let lengths = [(Stage::Pretrain, 6), (Stage::Simulate, 2)];
        let course = Course::new(lengths.map(|(stage, steps)| StageLength { stage, steps }));
        let at = |stage, step| Cursor { stage, step };
        let activity = Measures {
            activity: "iteration 1 of 3".into(),
            ..Measures::default()
        };
        let place = |cursor, measures: &Measures| place_of(&course, cursor, measures);
        let ended = Measures::default();
        assert_eq!(place(at(Stage::Simulate, 0), &ended), at(Stage::Pretrain, 6));
        assert_eq!(place(at(Stage::Simulate, 1), &ended), at(Stage::Simulate, 1));
        assert_eq!(place(at(Stage::Pretrain, 0), &ended), at(Stage::Pretrain, 0));
        assert_eq!(place(at(Stage::Simulate, 0), &activity), at(Stage::Simulate, 0));
    }
}
