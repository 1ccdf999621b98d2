//! Answers `/metrics` and `/healthz` on a thread of its own, whatever the trainer is busy with.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio_util::sync::CancellationToken;
use ulda_net::{Admission, AdmissionCaps, serve_http};
use ulda_run::hints;

use super::address::MetricsAddress;
use super::exposition::{CONTENT_TYPE, WorkerExposition};

/// Why metrics are not served.
#[derive(Debug, thiserror::Error)]
pub enum MetricsServeError {
    #[error("serve metrics at {address}")]
    Bind {
        address: SocketAddr,
        source: std::io::Error,
    },
    #[error("start the thread that serves metrics")]
    Start(#[source] std::io::Error),
}

hints!(pub MetricsServeError {
    Self::Bind { .. } => "give another address with --http, or `off`",
});

/// Serves until it is dropped.
#[derive(Debug)]
pub struct MetricsServer {
    address: SocketAddr,
    closing: CancellationToken,
}

impl MetricsServer {
    /// Serves the metrics of one worker. `None` where nothing is to be served.
    ///
    /// # Errors
    /// The address is taken or not this host's, or no thread can be started.
    pub fn start(
        wanted: MetricsAddress,
        slot: u32,
        exposition: Arc<WorkerExposition>,
    ) -> Result<Option<Self>, MetricsServeError> {
        let router = Router::new()
            .route("/metrics", get(metrics))
            .route("/healthz", get(async || "ok\n"))
            .with_state(exposition);
        Self::serve(wanted, slot, router)
    }

    /// Serves whatever `router` answers. `None` where nothing is to be served.
    ///
    /// # Errors
    /// The address is taken or not this host's, or no thread can be started.
    pub fn serve(
        wanted: MetricsAddress,
        slot: u32,
        router: Router,
    ) -> Result<Option<Self>, MetricsServeError> {
        let mut refused = None;
        for address in wanted.candidates(slot) {
            match TcpListener::bind(address) {
                Ok(listener) => {
                    return serve(listener, router)
                        .map(Some)
                        .map_err(MetricsServeError::Start);
                }
                Err(source) => refused = Some(MetricsServeError::Bind { address, source }),
            }
        }
        refused.map_or(Ok(None), Err)
    }

    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for MetricsServer {
    fn drop(&mut self) {
        self.closing.cancel();
    }
}

fn serve(listener: TcpListener, router: Router) -> std::io::Result<MetricsServer> {
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let closing = CancellationToken::new();
    let until = closing.clone();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    std::thread::Builder::new()
        .name("metrics".into())
        .spawn(move || {
            let served = runtime.block_on(async move {
                let listener = tokio::net::TcpListener::from_std(listener)?;
                let admission = Admission::new("metrics", AdmissionCaps::of_process());
                let serving = serve_http(listener, router, admission, until.clone());
                // Scrapes in progress end with the worker.
                let _ = until.run_until_cancelled_owned(serving).await;
                Ok::<_, std::io::Error>(())
            });
            if let Err(error) = served {
                tracing::warn!(%error, "metrics are no longer served");
            }
        })?;
    Ok(MetricsServer { address, closing })
}

async fn metrics(State(exposition): State<Arc<WorkerExposition>>) -> Response {
    match exposition.text() {
        Ok(text) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response(),
        Err(cause) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{cause}\n")).into_response(),
    }
}
