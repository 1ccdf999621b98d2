//! The metrics and their label sets; `run` and `rank` are on all of them.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Unit;
use ulda_telemetry::{FloatCounter, label_sets, metric_families};

label_sets! {
    pub(super) struct Facts { version: &'static str, device: String }
    pub(super) struct OfWorkerStage { shard: u32, stage: &'static str }
    pub(super) struct OfShardPhase { shard: u32, stage: &'static str, phase: &'static str }

    /// A kind of GPU memory.
    pub(super) struct OfKind { kind: &'static str }
}

metric_families! {
    /// All families of one worker.
    pub(super) struct WorkerMetrics {
        pub steps: Family<OfWorkerStage, Counter> = "steps", "Steps a shard finished";
        pub phase_seconds: Family<OfShardPhase, FloatCounter> = "phase" in Unit::Seconds,
            "Time a shard spent in a phase of its steps";
        pub generation: Gauge = "generation", "Number of the generation the worker trains in; 0 between two";
        pub images_decoded: Counter = "images_decoded", "Images read and decoded with their labels";
        pub images_failed: Counter = "images_failed", "Images that could not be read or decoded";
        pub decode_seconds: FloatCounter = "decode" in Unit::Seconds,
            "Time of reading and decoding, summed over threads";
        pub data_wait_seconds: FloatCounter = "data_wait" in Unit::Seconds,
            "Time shards waited for decoded images";
        pub images_ready: Gauge = "images_ready", "Decoded images that wait for their step";
        pub sent_bytes: Counter = "collective_sent" in Unit::Bytes,
            "Written to other workers, headers included";
        pub received_bytes: Counter = "collective_received" in Unit::Bytes,
            "Read from other workers, headers included";
        pub shared_bytes: Counter = "collective_shared" in Unit::Bytes,
            "Payloads taken from workers of the same host in shared memory, which no connection carried";
        pub operations: Counter = "collective_operations", "Collective operations called by shards";
        pub collective_wait_seconds: FloatCounter = "collective_wait" in Unit::Seconds,
            "Time shards waited for others in collective operations";
        pub collective_aborts: Counter = "collective_aborts",
            "Data planes that broke or were given up before the run's end";
        pub resident_bytes: Gauge = "memory_resident" in Unit::Bytes, "Memory of the process";
        pub cpu_seconds: FloatCounter = "cpu" in Unit::Seconds, "Processor time of the process";
        pub gpu_bytes: Family<OfKind, Gauge> = "gpu_memory" in Unit::Bytes,
            "GPU memory by kind: allocated and reserved by this process; free, and all, on the device";
    }
}
