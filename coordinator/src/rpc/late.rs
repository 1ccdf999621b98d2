//! The control plane of a run that is over: whoever still comes is told so.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use ulda_run::spec::RunSpec;

use super::guard::Guard;
use super::refusal::Refusal;
use super::service::{CLOSE_DEADLINE, ServeError, WorkerService, bind, serve};
use super::wire::Ask;

const UNHEARD_CALLS: usize = 64;
/// Nobody obeys a coordinator that only refuses, so its number does not matter; the highest is never stale.
const TERM: u64 = u64::MAX;

/// Takes an address anew that a control plane held which has just closed: it may hold it for a moment longer.
///
/// # Errors
/// It is still taken after [`CLOSE_DEADLINE`], or is not this host's.
pub async fn bind_again(address: SocketAddr) -> Result<TcpListener, ServeError> {
    const PAUSE: Duration = Duration::from_millis(50);
    let begun = Instant::now();
    loop {
        match bind(address).await {
            Err(ServeError::Taken { .. }) if begun.elapsed() < CLOSE_DEADLINE => {
                tokio::time::sleep(PAUSE).await
            }
            other => return other,
        }
    }
}

/// Answers every worker with `refusal` until `closing`.
///
/// # Errors
/// The listener fails.
pub async fn turn_away(
    listener: TcpListener,
    guard: Guard,
    spec: RunSpec,
    refusal: Refusal,
    closing: CancellationToken,
) -> Result<(), ServeError> {
    let (asks, mut inbox) = mpsc::channel(UNHEARD_CALLS);
    let service = WorkerService::new(&spec, TERM, asks, closing, TaskTracker::new(), CLOSE_DEADLINE);
    let answering = tokio::spawn(async move {
        while let Some(ask) = inbox.recv().await {
            answer(ask, &refusal);
        }
    });
    let served = serve(listener, service, guard).await;
    answering.abort();
    served
}

/// A call whose worker hung up needs no answer.
fn answer(ask: Ask, refusal: &Refusal) {
    match ask {
        Ask::Join { reply, .. } => {
            let _ = reply.send(Err(refusal.clone()));
        }
        Ask::Attend { worker, reply, .. } => {
            let _ = reply.send(Err(Refusal::UnknownWorker { worker: worker.0 }));
        }
        Ask::Whose { worker, reply } => {
            let _ = reply.send(Err(Refusal::UnknownWorker { worker: worker.0 }));
        }
        Ask::Report { reply, .. } => {
            let _ = reply.send(Ok(()));
        }
        Ask::Attended { .. } | Ask::Detached { .. } | Ask::Superseded { .. } => {}
    }
}
