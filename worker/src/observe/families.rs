//! The metrics and their label sets; `run` and `rank` are on all of them.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Metric, Registry, Unit};

/// Seconds that add up.
pub(super) type SecondsCounter = Counter<f64, AtomicU64>;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Facts {
    pub version: &'static str,
    pub device: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct OfWorkerStage {
    pub shard: u32,
    pub stage: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct OfShardPhase {
    pub shard: u32,
    pub stage: &'static str,
    pub phase: &'static str,
}

/// A kind of GPU memory.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct OfKind {
    pub kind: &'static str,
}

/// All families of one worker.
#[derive(Clone, Debug)]
pub(super) struct WorkerMetrics {
    pub steps: Family<OfWorkerStage, Counter>,
    pub phase_seconds: Family<OfShardPhase, SecondsCounter>,
    pub generation: Gauge,
    pub images_decoded: Counter,
    pub images_failed: Counter,
    pub decode_seconds: SecondsCounter,
    pub data_wait_seconds: SecondsCounter,
    pub images_ready: Gauge,
    pub sent_bytes: Counter,
    pub received_bytes: Counter,
    pub shared_bytes: Counter,
    pub operations: Counter,
    pub collective_wait_seconds: SecondsCounter,
    pub collective_aborts: Counter,
    pub resident_bytes: Gauge,
    pub cpu_seconds: SecondsCounter,
    pub gpu_bytes: Family<OfKind, Gauge>,
}

/// Registers under a name; HELP ends with a full stop that the registry adds.
struct Listing<'a> {
    registry: &'a mut Registry,
}

impl Listing<'_> {
    fn plain<M: Metric + Clone + Default>(&mut self, name: &str, help: &str) -> M {
        let metric = M::default();
        self.registry.register(name, help, metric.clone());
        metric
    }

    /// The unit is appended to the name.
    fn unit<M: Metric + Clone + Default>(&mut self, name: &str, unit: Unit, help: &str) -> M {
        let metric = M::default();
        self.registry.register_with_unit(name, help, unit, metric.clone());
        metric
    }
}

impl WorkerMetrics {
    /// Adds all families to `registry`, whose prefix and labels they get.
    pub fn register(registry: &mut Registry, facts: Facts) -> Self {
        registry.register("process", "The worker's version and device", Info::new(facts));
        let mut list = Listing { registry };
        Self {
            steps: list.plain("steps", "Steps a shard finished"),
            phase_seconds: list.unit(
                "phase",
                Unit::Seconds,
                "Time a shard spent in a phase of its steps",
            ),
            generation: list.plain(
                "generation",
                "Number of the generation the worker trains in; 0 between two",
            ),
            images_decoded: list.plain("images_decoded", "Images read and decoded with their labels"),
            images_failed: list.plain("images_failed", "Images that could not be read or decoded"),
            decode_seconds: list.unit(
                "decode",
                Unit::Seconds,
                "Time of reading and decoding, summed over threads",
            ),
            data_wait_seconds: list.unit(
                "data_wait",
                Unit::Seconds,
                "Time shards waited for decoded images",
            ),
            images_ready: list.plain("images_ready", "Decoded images that wait for their step"),
            sent_bytes: list.unit(
                "collective_sent",
                Unit::Bytes,
                "Written to other workers, headers included",
            ),
            received_bytes: list.unit(
                "collective_received",
                Unit::Bytes,
                "Read from other workers, headers included",
            ),
            shared_bytes: list.unit(
                "collective_shared",
                Unit::Bytes,
                "Payloads taken from workers of the same host in shared memory, which no connection carried",
            ),
            operations: list.plain("collective_operations", "Collective operations called by shards"),
            collective_wait_seconds: list.unit(
                "collective_wait",
                Unit::Seconds,
                "Time shards waited for others in collective operations",
            ),
            collective_aborts: list.plain(
                "collective_aborts",
                "Data planes that broke or were given up before the run's end",
            ),
            resident_bytes: list.unit("memory_resident", Unit::Bytes, "Memory of the process"),
            cpu_seconds: list.unit("cpu", Unit::Seconds, "Processor time of the process"),
            gpu_bytes: list.unit(
                "gpu_memory",
                Unit::Bytes,
                "GPU memory by kind: allocated and reserved by this process; free, and all, on the device",
            ),
        }
    }
}
