//! Sends spans to a collector, on a thread of its own.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime};

use opentelemetry::trace::SpanId;
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_otlp::{ExporterBuildError, RetryPolicy, SpanExporter, WithExportConfig, WithTonicConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanExporter as _};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::context::TraceContext;
use super::span::Span;

/// Where a collector is, by the OpenTelemetry specification.
const ENDPOINTS: [&str; 2] = [
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
];
/// Spans that wait; more are left out.
const WAITING: usize = 4096;
const BATCH: usize = 512;
/// Spans are collected for so long before they are sent.
const COLLECT: Duration = Duration::from_millis(500);
/// Longest wait for the collector to take a batch.
const EXPORT_DEADLINE: Duration = Duration::from_secs(5);
/// A collector that did not take a batch is left alone for so long; spans of that time are left out.
const LEFT_ALONE: Duration = Duration::from_secs(10);
/// Longest wait for the last spans when a process ends.
const LAST_SPANS: Duration = Duration::from_secs(3);

/// Makes spans of one run known. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Spans {
    context: TraceContext,
    scope: InstrumentationScope,
    waiting: mpsc::Sender<SpanData>,
    ids: Arc<Ids>,
}

/// Ids for spans that nobody else has to know.
#[derive(Debug)]
struct Ids {
    state: RandomState,
    next: AtomicU64,
}

impl Spans {
    #[must_use]
    pub fn context(&self) -> &TraceContext {
        &self.context
    }

    /// A fresh id.
    #[must_use]
    pub fn id(&self) -> SpanId {
        let mut hasher = self.ids.state.build_hasher();
        hasher.write_u64(self.ids.next.fetch_add(1, Relaxed));
        // No span has the id 0.
        SpanId::from_bytes(hasher.finish().max(1).to_be_bytes())
    }

    /// Hands a span over; it is left out where too many wait.
    pub fn send(&self, span: Span) {
        let _ = self.waiting.try_send(span.into_data(&self.context, &self.scope));
    }
}

/// The thread that sends. Dropping it sends what waits, within a deadline.
#[derive(Debug)]
pub struct Sender {
    spans: Spans,
    ending: CancellationToken,
    ended: std::sync::mpsc::Receiver<()>,
}

impl Sender {
    /// Whether the environment names a collector.
    #[must_use]
    pub fn is_wanted() -> bool {
        let set = |name: &str| std::env::var(name).is_ok_and(|value| !value.is_empty());
        let is = |name: &str, value: &str| {
            std::env::var(name).is_ok_and(|found| found.eq_ignore_ascii_case(value))
        };
        ENDPOINTS.into_iter().any(set)
            && !is("OTEL_SDK_DISABLED", "true")
            && !is("OTEL_TRACES_EXPORTER", "none")
    }

    /// Starts sending the spans of a run in the name of `service`.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn start(
        context: TraceContext,
        service: &'static str,
        attributes: Vec<KeyValue>,
    ) -> std::io::Result<Self> {
        let (waiting, inbox) = mpsc::channel(WAITING);
        let (over, ended) = std::sync::mpsc::channel();
        let ending = CancellationToken::new();
        let until = ending.clone();
        let resource = Resource::builder()
            .with_service_name(std::env::var("OTEL_SERVICE_NAME").unwrap_or_else(|_| service.to_owned()))
            .with_attributes(attributes)
            .build();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        std::thread::Builder::new().name("traces".into()).spawn(move || {
            runtime.block_on(send_all(resource, inbox, until));
            drop(over);
        })?;
        let spans = Spans {
            context,
            scope: InstrumentationScope::builder("ulda")
                .with_version(env!("CARGO_PKG_VERSION"))
                .build(),
            waiting,
            ids: Arc::new(Ids {
                state: RandomState::new(),
                next: AtomicU64::new(seed()),
            }),
        };
        Ok(Self { spans, ending, ended })
    }

    #[must_use]
    pub fn spans(&self) -> Spans {
        self.spans.clone()
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.ending.cancel();
        // What a collector does not take by then is lost.
        let _ = self.ended.recv_timeout(LAST_SPANS);
    }
}

fn seed() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_nanos() as u64)
}

async fn send_all(resource: Resource, mut inbox: mpsc::Receiver<SpanData>, ending: CancellationToken) {
    let mut exporter = match exporter() {
        Ok(exporter) => exporter,
        Err(error) => {
            return tracing::warn!(%error, "no traces: the collector's address cannot be used; hint: it looks like http://127.0.0.1:4317");
        }
    };
    exporter.set_resource(&resource);
    let mut outage = Outage::default();
    loop {
        let mut batch = Vec::new();
        tokio::select! {
            biased;
            count = inbox.recv_many(&mut batch, BATCH) => if count == 0 { return },
            () = ending.cancelled() => return,
        }
        if !ending.is_cancelled() {
            let _ = tokio::time::timeout(COLLECT, ending.cancelled()).await;
        }
        while batch.len() < BATCH
            && let Ok(span) = inbox.try_recv()
        {
            batch.push(span);
        }
        if outage.goes_on() {
            continue;
        }
        let sent = tokio::time::timeout(EXPORT_DEADLINE, exporter.export(batch)).await;
        match sent {
            Ok(Ok(())) => outage.over(),
            Ok(Err(error)) => outage.begins(&error.to_string()),
            Err(_) => outage.begins(&format!("no answer within {} s", EXPORT_DEADLINE.as_secs())),
        }
    }
}

/// The endpoint comes from the environment. Spans are not worth a second try.
fn exporter() -> Result<SpanExporter, ExporterBuildError> {
    SpanExporter::builder()
        .with_tonic()
        .with_timeout(EXPORT_DEADLINE)
        .with_retry_policy(RetryPolicy::disabled())
        .build()
}

/// Whether the collector is away.
#[derive(Debug, Default)]
struct Outage {
    until: Option<Instant>,
}

impl Outage {
    fn goes_on(&self) -> bool {
        self.until.is_some_and(|until| Instant::now() < until)
    }

    /// Said once, until it takes spans again.
    fn begins(&mut self, why: &str) {
        if self.until.is_none() {
            tracing::warn!(why, "the collector takes no traces; training goes on without");
        }
        self.until = Some(Instant::now() + LEFT_ALONE);
    }

    fn over(&mut self) {
        if self.until.take().is_some() {
            tracing::info!("the collector takes traces again");
        }
    }
}
