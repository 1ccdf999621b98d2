//! A word to every open page when there is something new to fetch, and how its coordinator left the run.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::response::sse::{Event, KeepAlive, Sse};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_stream::wrappers::ReceiverStream;

use super::site::Site;

/// A page is told at most this often.
const PACE: Duration = Duration::from_secs(1);

pub(super) fn stream(
    site: Arc<Site>,
    permit: OwnedSemaphorePermit,
) -> Sse<impl tokio_stream::Stream<Item = Result<Event, Infallible>>> {
    let (events, stream) = mpsc::channel(1);
    tokio::spawn(tell(site, permit, events));
    Sse::new(ReceiverStream::new(stream)).keep_alive(KeepAlive::default())
}

async fn tell(
    site: Arc<Site>,
    permit: OwnedSemaphorePermit,
    events: mpsc::Sender<Result<Event, Infallible>>,
) {
    let closing = site.closing();
    let mut pace = tokio::time::interval(PACE);
    let mut seen = None;
    loop {
        tokio::select! {
            biased;
            () = closing.cancelled() => {
                if site.is_served() {
                    say_how_it_was_left(&site, &events).await;
                }
                break;
            }
            () = events.closed() => break,
            _ = pace.tick() => {}
        }
        let mark = site.mark();
        if seen != Some(mark) {
            seen = Some(mark);
            // A page that has not read the last word does not need another.
            let _ = events.try_send(Ok(Event::default().event("changed").data(mark.to_string())));
        }
    }
    drop(permit);
}

/// The page's changing part itself, as there will be nobody to fetch it from.
async fn say_how_it_was_left(site: &Arc<Site>, events: &mpsc::Sender<Result<Event, Infallible>>) {
    let rendering = site.clone();
    let rendered = tokio::task::spawn_blocking(move || rendering.live_part()).await;
    if let Ok(Ok(last)) = rendered {
        // An event's lines have no carriage returns.
        let word = Event::default().event("left").data(last.replace('\r', ""));
        // Whoever does not read it by the time all connections are cut off misses it.
        let _ = events.send(Ok(word)).await;
    }
}
