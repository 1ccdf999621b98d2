//! The text that Prometheus reads. What others count is fetched at each scrape.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use ulda_telemetry::{FloatCounter, signed};

use super::families::{Facts, OfKind, WorkerMetrics};
use super::meters::Meters;
use super::process;

/// Of [`WorkerExposition::text`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Who is measured.
#[derive(Clone, Debug)]
pub struct WorkerIdentity {
    pub run: String,
    pub slot: u32,
    /// "cpu" or "cuda:0".
    pub device: String,
    /// Of its GPU, if it has one.
    pub gpu: Option<u8>,
}

/// The registry of a worker with what is measured at each scrape.
#[derive(Debug)]
pub struct WorkerExposition {
    registry: Registry,
    meters: Arc<Meters>,
    gpu: Option<u8>,
}

impl WorkerExposition {
    /// A registry with all metrics; each carries run and rank.
    #[must_use]
    pub fn new(identity: WorkerIdentity) -> Self {
        let labels = [
            (Cow::Borrowed("run"), identity.run.into()),
            (Cow::Borrowed("rank"), identity.slot.to_string().into()),
        ];
        let mut registry = Registry::with_prefix_and_labels("ulda_worker", labels.into_iter());
        let facts = Facts {
            version: env!("CARGO_PKG_VERSION"),
            device: identity.device,
        };
        registry.register("process", "The worker's version and device", Info::new(facts));
        let metrics = WorkerMetrics::register(&mut registry);
        Self {
            registry,
            meters: Arc::new(Meters::new(metrics)),
            gpu: identity.gpu,
        }
    }

    /// To be moved by the trainer.
    #[must_use]
    pub fn meters(&self) -> Arc<Meters> {
        Arc::clone(&self.meters)
    }

    /// All metrics as OpenMetrics text.
    ///
    /// # Errors
    /// A metric has no text form.
    pub fn text(&self) -> Result<String, std::fmt::Error> {
        self.measure();
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }

    fn measure(&self) {
        let metrics = &self.meters.metrics;
        let decoded = self.meters.decode.read();
        count(&metrics.images_decoded, decoded.decoded);
        count(&metrics.images_failed, decoded.failed);
        time(&metrics.decode_seconds, decoded.decode_time);
        time(&metrics.data_wait_seconds, decoded.waited);
        metrics.images_ready.set(signed(decoded.ready));
        let collective = self.meters.collective();
        count(&metrics.sent_bytes, collective.sent_bytes);
        count(&metrics.received_bytes, collective.received_bytes);
        count(&metrics.shared_bytes, collective.shared_bytes);
        count(&metrics.operations, collective.operations);
        time(&metrics.collective_wait_seconds, collective.waited);
        if let Some(bytes) = process::resident_bytes() {
            metrics.resident_bytes.set(signed(bytes));
        }
        if let Some(used) = process::cpu_time() {
            time(&metrics.cpu_seconds, used);
        }
        let memory = self.gpu.and_then(|gpu| ulda_torch::cuda::memory(gpu).ok());
        if let Some(memory) = memory {
            for (kind, bytes) in [
                ("allocated", memory.allocated_bytes),
                ("reserved", memory.reserved_bytes),
                ("free", memory.free_bytes),
                ("all", memory.total_bytes),
            ] {
                metrics
                    .gpu_bytes
                    .get_or_create(&OfKind { kind })
                    .set(signed(bytes));
            }
        }
    }
}

/// Sets a counter to a sum that is kept elsewhere and never falls.
fn count(counter: &Counter, total: u64) {
    counter.inner().store(total, Relaxed);
}

fn time(counter: &FloatCounter, total: Duration) {
    counter.inner().store(total.as_secs_f64().to_bits(), Relaxed);
}
