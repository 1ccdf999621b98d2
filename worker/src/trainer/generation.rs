//! One generation from *form* to its end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, at, never, select, unbounded};
use ulda_collective::{AbortCause, CollectiveError};
use ulda_run::ids::{Generation, Shard};
use ulda_run::{Digest, Exit, StateClaim};

use super::form::Formed;
use super::form_error::FormError;
use super::shards::{GenerationFailure, Shards, ShardsOutcome};
use super::{Trainer, TrainerError, claim};
use crate::agent::{Fact, Form, Order};
use crate::checkpoint::{CheckpointError, CheckpointWriter, Written};
use crate::exit::with_hint;
use crate::link::GpuSums;
use crate::progress::Report;
use crate::stages::{Interrupt, ShardEvent};

/// How a generation ended for this worker.
#[derive(Debug, PartialEq, Eq)]
pub enum Left {
    /// It broke or was fenced off, by a fence of the number given; another generation may follow.
    Abandoned {
        fenced: Option<Generation>,
    },
    /// The run is over.
    Finished,
    Stopped {
        drain: bool,
        why: String,
        exit: Exit,
    },
}

/// What the trainer hears while it waits.
enum Heard {
    Order(Order),
    Event(ShardEvent),
    Written(Result<Written, CheckpointError>),
    AllShardsLeft,
    StepTakesTooLong,
}

impl Trainer {
    pub(super) fn serve_generation(&mut self, form: &Form) -> Result<Left, TrainerError> {
        let generation = form.generation;
        let formed = match self.form(form) {
            Ok(formed) => formed,
            Err(FormError::Own(error)) => return Err(*error),
            Err(error) => {
                let error = with_hint(&error, error.hint());
                tracing::warn!(%generation, error, "generation not formed");
                self.tell_broke(generation, error, Vec::new());
                return Ok(Left::Abandoned { fenced: None });
            }
        };
        self.agent.tell(Fact::Formed {
            generation,
            state: claim(&formed.state),
        });
        match self.await_go(generation) {
            None => self.train(generation, formed),
            Some(left) => {
                self.state = Some(formed.state);
                close(formed.gpu_sums)?;
                drop(formed.plane);
                if let Ok(Left::Abandoned { fenced }) = &left {
                    self.tell_broke(
                        fenced.unwrap_or(generation),
                        "left before training".to_owned(),
                        Vec::new(),
                    );
                }
                left
            }
        }
    }

    /// `None` when the order to train has come.
    fn await_go(&mut self, generation: Generation) -> Option<Result<Left, TrainerError>> {
        let patience = Duration::from_secs_f64(self.spec.config().deadline.form);
        loop {
            match self.next_order(patience) {
                Some(Order::Go { generation: going }) if going == generation => return None,
                Some(Order::Go { .. }) => {}
                Some(Order::Fence {
                    generation: fenced, ..
                }) if fenced < generation => {}
                Some(Order::Fence {
                    generation: fenced,
                    why,
                }) => {
                    tracing::info!(%generation, why, "fenced before training");
                    return Some(Ok(Left::Abandoned { fenced: Some(fenced) }));
                }
                Some(Order::Stop { drain, why, exit }) => {
                    return Some(Ok(Left::Stopped { drain, why, exit }));
                }
                Some(Order::Orphaned { why }) => return Some(Err(TrainerError::Orphaned(why))),
                // Repeated to a worker that attached again.
                Some(Order::Form(form)) if form.generation <= generation => {}
                Some(Order::Form(form)) => return Some(Ok(self.overtaken(generation, form))),
                None => {
                    tracing::warn!(%generation, seconds = patience.as_secs(), "waited for the order to train in vain");
                    return Some(Ok(Left::Abandoned { fenced: None }));
                }
            }
        }
    }

    fn train(&mut self, generation: Generation, formed: Formed) -> Result<Left, TrainerError> {
        let Formed {
            plane,
            shards,
            state,
            gpu_sums,
        } = formed;
        self.meters.generation_began(generation, plane.meter());
        tracing::info!(%generation, at = %state.cursor, shards = shards.len(), "training");
        let (events, event_inbox) = unbounded();
        let (written, written_inbox) = std::sync::mpsc::channel();
        let (written_sender, written_receiver) = unbounded();
        // The writer speaks a std channel; selecting wants a crossbeam one.
        let relay = std::thread::spawn(move || {
            written_inbox
                .into_iter()
                .try_for_each(|outcome| written_sender.send(outcome))
        });
        let writer = CheckpointWriter::start(self.checkpoints.clone(), written);
        let interrupt = Arc::new(Interrupt::default());
        let running = Shards::start(
            self,
            &plane,
            gpu_sums.as_ref(),
            &shards,
            state,
            &events,
            &interrupt,
        )?;
        drop(events);

        let mut left = None;
        let mut leave_by = None;
        loop {
            match self.listen(&event_inbox, &written_receiver, leave_by) {
                Heard::Event(event) => self.pass_on(generation, event, &writer),
                Heard::Written(outcome) => self.note_checkpoint(generation, outcome),
                Heard::AllShardsLeft => break,
                Heard::Order(Order::Stop {
                    drain: true,
                    why,
                    exit,
                }) => {
                    tracing::info!(%generation, why, "stopping after the step in flight");
                    interrupt.ask(&why);
                    leave_by.get_or_insert_with(|| Instant::now() + self.patience_with_step());
                    left.get_or_insert(Ok(Left::Stopped {
                        drain: true,
                        why,
                        exit,
                    }));
                }
                Heard::Order(order) => {
                    if let Some(reason) = self.leaves(generation, order) {
                        let why = reason.as_ref().map_or_else(ToString::to_string, why_of);
                        interrupt.raise(&why);
                        plane.abort(AbortCause::new(why));
                        left.get_or_insert(reason);
                    }
                }
                Heard::StepTakesTooLong => {
                    leave_by = None;
                    let why = "the step in flight takes too long";
                    tracing::warn!(%generation, "{why}; it is given up");
                    interrupt.raise(why);
                    plane.abort(AbortCause::new(why));
                }
            }
        }
        let outcome = running.join()?;
        drop(writer);
        let _ = relay.join();
        for outcome in written_receiver.try_iter() {
            self.note_checkpoint(generation, outcome);
        }
        self.meters.generation_ended(plane.fault().is_some());
        close(gpu_sums)?;
        drop(plane);
        self.conclude(generation, outcome, left)
    }

    fn listen(
        &mut self,
        events: &Receiver<ShardEvent>,
        written: &Receiver<Result<Written, CheckpointError>>,
        leave_by: Option<Instant>,
    ) -> Heard {
        if let Some(order) = self.held.pop_front() {
            return Heard::Order(order);
        }
        let too_long = leave_by.map_or_else(never, at);
        select! {
            recv(too_long) -> _ => Heard::StepTakesTooLong,
            recv(self.agent.orders) -> order => match order {
                Ok(order) => Heard::Order(order),
                Err(_) => Heard::Order(Order::Orphaned { why: "the agent ended".to_owned() }),
            },
            recv(events) -> event => event.map_or(Heard::AllShardsLeft, Heard::Event),
            recv(written) -> outcome => match outcome {
                Ok(outcome) => Heard::Written(outcome),
                // It ends after this generation's events do.
                Err(_) => Heard::AllShardsLeft,
            },
        }
    }

    /// Whether an order ends this generation here.
    fn leaves(&mut self, generation: Generation, order: Order) -> Option<Result<Left, TrainerError>> {
        match order {
            Order::Go { .. } => None,
            Order::Fence {
                generation: fenced, ..
            } if fenced < generation => None,
            Order::Form(form) if form.generation <= generation => None,
            Order::Fence {
                generation: fenced,
                why,
            } => {
                tracing::info!(%generation, why, "fenced");
                Some(Ok(Left::Abandoned { fenced: Some(fenced) }))
            }
            Order::Form(form) => Some(Ok(self.overtaken(generation, form))),
            Order::Stop { drain, why, exit } => Some(Ok(Left::Stopped { drain, why, exit })),
            Order::Orphaned { why } => Some(Err(TrainerError::Orphaned(why))),
        }
    }

    /// A later generation forms although no fence of this one came: it was lost with its stream.
    fn overtaken(&mut self, generation: Generation, form: Form) -> Left {
        tracing::warn!(%generation, next = %form.generation, "another generation is formed without a fence");
        self.held.push_front(Order::Form(form));
        Left::Abandoned { fenced: None }
    }

    /// How long a step may take to end by itself when the worker is to leave; the rest of the time is for its
    /// last checkpoint.
    fn patience_with_step(&self) -> Duration {
        Duration::from_secs_f64(self.spec.config().deadline.drain / 2.0)
    }

    fn pass_on(&self, generation: Generation, event: ShardEvent, writer: &CheckpointWriter) {
        match event {
            ShardEvent::Progress { cursor, progress } => {
                let state = StateClaim {
                    cursor,
                    digest: Digest::default(),
                };
                self.agent.tell(Fact::Progress {
                    generation,
                    state,
                    progress,
                });
            }
            ShardEvent::Snapshot(state) => writer.write(state),
            ShardEvent::Report(report) => self.agent.report(generation, report),
        }
    }

    fn note_checkpoint(&self, generation: Generation, outcome: Result<Written, CheckpointError>) {
        match outcome {
            Ok(written) => {
                tracing::debug!(
                    path = %written.path.display(),
                    size_bytes = written.size_bytes,
                    written_bytes = written.written_bytes,
                    "checkpoint written"
                );
                if self.checkpoints.uploads().is_some() {
                    // It counts once it is in the storage: `courier` tells of it then.
                    return;
                }
                let state = StateClaim {
                    cursor: written.cursor,
                    digest: Digest(written.digest),
                };
                self.agent.report(
                    generation,
                    Report::Checkpoint {
                        path: written.path,
                        state,
                        size_bytes: written.size_bytes,
                    },
                );
            }
            Err(error) => {
                tracing::warn!(
                    error = with_hint(&error, error.hint()),
                    "checkpoint not written; training goes on"
                );
            }
        }
    }

    fn conclude(
        &mut self,
        generation: Generation,
        outcome: ShardsOutcome,
        left: Option<Result<Left, TrainerError>>,
    ) -> Result<Left, TrainerError> {
        self.state = Some(outcome.state);
        if let Some(left) = left {
            if let Ok(Left::Abandoned { fenced }) = &left {
                self.tell_broke(
                    fenced.unwrap_or(generation),
                    "fenced by the coordinator".to_owned(),
                    Vec::new(),
                );
            }
            return left;
        }
        match outcome.failure {
            None => {
                let state = self.state.as_ref().expect("set above");
                let digest = Digest(state.digest());
                self.agent.tell(Fact::Finished { generation, digest });
                Ok(Left::Finished)
            }
            Some(GenerationFailure::Collective(error)) => {
                tracing::warn!(%generation, %error, "generation broke");
                let waiting_for = match &error {
                    CollectiveError::Timeout { waiting_for, .. } => {
                        waiting_for.iter().map(|(shard, _)| *shard).collect()
                    }
                    _ => Vec::new(),
                };
                self.tell_broke(generation, error.to_string(), waiting_for);
                Ok(Left::Abandoned { fenced: None })
            }
            Some(GenerationFailure::Own(error)) => Err(TrainerError::Stage(error)),
        }
    }

    pub(super) fn tell_broke(&self, generation: Generation, cause: String, waiting_for: Vec<Shard>) {
        self.agent.tell(Fact::Broke {
            generation,
            cause,
            waiting_for,
            state: self.state.as_ref().map(claim),
        });
    }
}

/// Ends a generation's sums on the GPU, which no shard uses any more.
fn close(sums: Option<Arc<GpuSums>>) -> Result<(), TrainerError> {
    match sums.and_then(Arc::into_inner) {
        Some(sums) => sums.close().map_err(TrainerError::Nccl),
        None => Ok(()),
    }
}

fn why_of(left: &Left) -> String {
    match left {
        Left::Abandoned { .. } => "the coordinator ended the generation".to_owned(),
        Left::Finished => "the run is over".to_owned(),
        Left::Stopped { why, .. } => why.clone(),
    }
}
