//! One worker's attend stream.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::{Status, Streaming};
use ulda_proto::v1;
use ulda_run::ids::WorkerId;

use super::answer::answered;
use super::bounds::{self, Bounds};
use super::refusal::Refusal;
use super::wire::{Ask, Attachment, ReceivedFact, StreamEnd};

/// Directives a worker has not read yet; more mean that it is stuck.
const UNREAD_DIRECTIVES: usize = 64;

/// What a stream needs to know of its surroundings.
pub(super) struct AttendContext {
    pub attachment: Attachment,
    pub asks: mpsc::Sender<Ask>,
    pub closing: CancellationToken,
    /// Number of this coordinator.
    pub term: u64,
    pub bounds: Arc<Bounds>,
    /// Longest wait for the first message, which says who attends.
    pub silence: Duration,
}

/// Lets the worker in and pumps its messages to the owner until the stream ends.
pub(super) async fn open(
    context: AttendContext,
    mut messages: Streaming<v1::Attendance>,
    tasks: &TaskTracker,
) -> Result<impl tokio_stream::Stream<Item = Result<v1::Directive, Status>> + use<>, Refusal> {
    let first = tokio::time::timeout(context.silence, messages.next())
        .await
        .map_err(|_| Refusal::Silent {
            what: "first message on its attend stream",
            waited: context.silence,
        })?;
    let first = match first {
        Some(Ok(message)) => message,
        Some(Err(status)) => {
            return Err(Refusal::Malformed {
                field: "attendance",
                reason: status.message().to_owned(),
            });
        }
        None => {
            return Err(Refusal::Malformed {
                field: "attendance",
                reason: "ended before its first message".into(),
            });
        }
    };
    let theirs = bounds::number("coordinator_term", first.coordinator_term)?;
    let ours = context.term;
    if theirs > ours {
        // The owner may be ending already.
        let _ = context.asks.send(Ask::Superseded { term: theirs }).await;
        return Err(Refusal::Superseded { ours, theirs });
    }
    let worker = WorkerId(first.worker);
    let (directives, inbox) = mpsc::channel(UNREAD_DIRECTIVES);
    let (attachment, generation) = (context.attachment, bounds::generation(first.generation)?);
    answered(&context.asks, "Attend", |reply| Ask::Attend {
        worker,
        attachment,
        generation,
        directives,
        reply,
    })
    .await?;
    tasks.spawn(pump(context, worker, first, messages));
    Ok(ReceiverStream::new(inbox).map(Ok))
}

async fn pump(
    context: AttendContext,
    worker: WorkerId,
    first: v1::Attendance,
    mut messages: Streaming<v1::Attendance>,
) {
    let attachment = context.attachment;
    let mut next = Some(first);
    let end = loop {
        let message = match next.take() {
            Some(message) => message,
            None => {
                let event = tokio::select! {
                    biased;
                    () = context.closing.cancelled() => {
                        let why = "the coordinator is ending".to_owned();
                        break StreamEnd::Broke { why };
                    }
                    event = messages.next() => event,
                };
                match event {
                    Some(Ok(message)) => message,
                    Some(Err(status)) => {
                        let why = format!("stream broke: {}", status.message());
                        break StreamEnd::Broke { why };
                    }
                    None => break StreamEnd::Closed,
                }
            }
        };
        let Some(fact) = message.fact else { continue };
        let heard = bounds::generation(message.generation)
            .and_then(|generation| Ok((generation, ReceivedFact::from_wire(fact, &context.bounds)?)));
        match heard {
            Ok((generation, fact)) => {
                let ask = Ask::Attended {
                    worker,
                    attachment,
                    generation,
                    fact,
                };
                if context.asks.send(ask).await.is_err() {
                    return;
                }
            }
            Err(refusal) => break StreamEnd::Nonsense { refusal },
        }
    };
    // The owner is gone when this fails, and with it everyone who could care.
    let _ = context
        .asks
        .send(Ask::Detached {
            worker,
            attachment,
            end,
        })
        .await;
}
