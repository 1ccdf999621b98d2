//! The gRPC server.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::{Request, Response, Status, Streaming};
use ulda_credentials::channel::is_loopback;
use ulda_proto::v1;
use ulda_proto::v1::coordinator_server::{Coordinator, CoordinatorServer};
use ulda_run::hints;
use ulda_run::spec::RunSpec;

use super::VERSION;
use super::answer::answered;
use super::attend::{self, AttendContext};
use super::bounds::{self, Bounds};
use super::guard::Guard;
use super::incoming::incoming;
use super::logs::keep_log;
use super::refusal::Refusal;
use super::wire::{Ask, Attachment, JoiningWorker, Notice};
use crate::logs::{LogBatch, LogKeeper};

/// Calls in flight get this long to end when a control plane closes.
pub const CLOSE_DEADLINE: Duration = Duration::from_secs(2);

/// Why the control plane cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("address {address} is taken")]
    Taken { address: SocketAddr },
    #[error("listen on {address}")]
    Bind { address: SocketAddr, source: io::Error },
    #[error("serve the control plane")]
    Serve { source: tonic::transport::Error },
}

hints!(pub ServeError {
    Self::Taken { .. } => "give another port with --listen, or 0 for any free one",
});

/// Takes the address for the control plane.
///
/// # Errors
/// It is taken or is not this host's.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, ServeError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| match source.kind() {
            io::ErrorKind::AddrInUse => ServeError::Taken { address },
            _ => ServeError::Bind { address, source },
        })
}

/// What the workers' calls meet: hands each to the owner of the run.
#[derive(Clone, Debug)]
pub struct WorkerService {
    run: Arc<str>,
    bounds: Arc<Bounds>,
    term: u64,
    asks: mpsc::Sender<Ask>,
    closing: CancellationToken,
    tasks: TaskTracker,
    silence: Duration,
    attachments: Arc<AtomicU64>,
    within_host: bool,
    /// Where workers' log lines go; none where they write their own files.
    logs: Option<Arc<LogKeeper>>,
}

impl WorkerService {
    /// `term` is the number of the coordinator of the run `spec`, `silence` the longest wait for a worker's first message on its
    /// attend stream.
    #[must_use]
    pub fn new(
        spec: &RunSpec,
        term: u64,
        asks: mpsc::Sender<Ask>,
        closing: CancellationToken,
        tasks: TaskTracker,
        silence: Duration,
    ) -> Self {
        Self {
            run: spec.config().run.name.as_str().into(),
            bounds: Arc::new(Bounds::of(spec)),
            term,
            asks,
            closing,
            tasks,
            silence,
            attachments: Arc::new(AtomicU64::new(1)),
            within_host: false,
            logs: None,
        }
    }

    /// Refuses workers whose data plane is beyond this host, for what it says there is not encrypted.
    #[must_use]
    pub fn within_host(self, within_host: bool) -> Self {
        Self { within_host, ..self }
    }

    /// Keeps the log lines that workers send.
    #[must_use]
    pub fn keeping_logs(mut self, keeper: LogKeeper) -> Self {
        self.logs = Some(Arc::new(keeper));
        self
    }

    fn admit(&self, request: &v1::JoinRequest) -> Result<(), Refusal> {
        if request.run != *self.run {
            return Err(Refusal::AnotherRun {
                asked: bounds::echo(&request.run),
                ours: self.run.to_string(),
            });
        }
        if request.version != VERSION {
            return Err(Refusal::AnotherVersion {
                theirs: bounds::echo(&request.version),
                ours: VERSION.to_owned(),
            });
        }
        if self.within_host
            && let Some((host, _)) = request.data_address.rsplit_once(':')
            && !is_loopback(host.trim_matches(['[', ']']))
        {
            return Err(Refusal::Exposed {
                data_address: bounds::echo(&request.data_address),
            });
        }
        Ok(())
    }
}

/// Serves those whom `guard` trusts until `service` closes, then lets calls in flight end.
///
/// # Errors
/// The listener fails.
pub async fn serve(listener: TcpListener, service: WorkerService, guard: Guard) -> Result<(), ServeError> {
    let closing = service.closing.clone();
    let connections = incoming(listener, guard.clone(), closing.clone());
    tonic::transport::Server::builder()
        .http2_keepalive_interval(Some(Duration::from_secs(10)))
        .http2_keepalive_timeout(Some(Duration::from_secs(20)))
        .add_service(CoordinatorServer::with_interceptor(service, guard))
        .serve_with_incoming_shutdown(connections, closing.cancelled_owned())
        .await
        .map_err(|source| ServeError::Serve { source })
}

#[tonic::async_trait]
impl Coordinator for WorkerService {
    type AttendStream = Pin<Box<dyn Stream<Item = Result<v1::Directive, Status>> + Send>>;

    async fn join(&self, request: Request<v1::JoinRequest>) -> Result<Response<v1::JoinReply>, Status> {
        let request = request.into_inner();
        self.admit(&request)?;
        let who = JoiningWorker::try_from(request)?;
        let welcome = answered(&self.asks, "Join", |reply| Ask::Join { who, reply }).await?;
        Ok(Response::new(welcome))
    }

    async fn attend(
        &self,
        request: Request<Streaming<v1::Attendance>>,
    ) -> Result<Response<Self::AttendStream>, Status> {
        let attachment = Attachment(self.attachments.fetch_add(1, Ordering::Relaxed));
        let context = AttendContext {
            attachment,
            asks: self.asks.clone(),
            closing: self.closing.clone(),
            term: self.term,
            bounds: Arc::clone(&self.bounds),
            silence: self.silence,
        };
        let directives = attend::open(context, request.into_inner(), &self.tasks).await?;
        Ok(Response::new(Box::pin(directives)))
    }

    async fn report(&self, request: Request<v1::ReportRequest>) -> Result<Response<v1::ReportReply>, Status> {
        let request = request.into_inner();
        let fact = request.fact.ok_or(Refusal::Malformed {
            field: "fact",
            reason: "is missing".into(),
        })?;
        bounds::generation(request.generation)?;
        let notice = Notice::from_wire(fact, &self.bounds)?;
        let worker = ulda_run::ids::WorkerId(request.worker);
        answered(&self.asks, "Report", |reply| Ask::Report {
            worker,
            notice,
            reply,
        })
        .await?;
        Ok(Response::new(v1::ReportReply {}))
    }

    async fn log(&self, request: Request<v1::LogRequest>) -> Result<Response<v1::LogReply>, Status> {
        let keeper = self.logs.clone().ok_or(Refusal::NoLog)?;
        let request = request.into_inner();
        let worker = ulda_run::ids::WorkerId(request.worker);
        let slot = answered(&self.asks, "Log", |reply| Ask::Whose { worker, reply }).await?;
        keep_log(keeper, LogBatch::from_wire(slot, request)?).await?;
        Ok(Response::new(v1::LogReply {}))
    }
}
