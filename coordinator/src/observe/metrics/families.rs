//! The metrics themselves. Everything but build and label names is decided by the recorder.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Unit;
use ulda_telemetry::{FloatCounter, FloatGauge, metric_families, ratio};

use super::labels::{
    OfCause, OfClass, OfClient, OfGroup, OfModel, OfOperation, OfPhase, OfRank, OfReason, OfStage, OfState,
    OfStyle, OfTerm,
};

/// Seconds from a broken generation to the next that trains.
const RECOVERY_BUCKETS: [f64; 12] = [
    0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0,
];
/// Seconds of a journal commit.
const COMMIT_BUCKETS: [f64; 12] = [
    0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0,
];

metric_families! {
    /// All families of one run.
    pub struct RunMetrics {
        pub(super) state: Family<OfState, Gauge> = "run_state",
            "1 for the state the run is in, 0 for the others";
        pub(super) start_timestamp: FloatGauge = "run_start_timestamp" in Unit::Seconds,
            "When this coordinator took up the run, since 1970";
        pub(super) term: Gauge = "coordinator_term", "How many coordinators have taken up the run";
        pub(super) stage_steps: Family<OfStage, Gauge> = "stage_steps", "Steps a stage has";
        pub(super) stage_progress: Family<OfStage, FloatGauge> = "stage_progress" in ratio(),
            "Steps committed of the steps a stage has";
        pub(super) stage_seconds: Family<OfStage, FloatGauge> = "stage_duration" in Unit::Seconds,
            "Wall time of a stage that is done";
        pub(super) time_left: FloatGauge = "stage_time_left" in Unit::Seconds,
            "Until the present stage ends at its present pace; NaN before it can be told";
        pub(super) steps_committed: Family<OfStage, Counter> = "steps_committed",
            "Steps committed since this coordinator took up the run";
        pub(super) steps_discarded: Counter = "steps_discarded",
            "Committed steps that have to be repeated, because all workers that held them were lost";
        pub(super) last_step_timestamp: FloatGauge = "last_step_timestamp" in Unit::Seconds,
            "When a worker last told of progress, since 1970; the coordinator's start before that";
        pub(super) loss: Family<OfTerm, FloatGauge> = "loss", "Newest value of a loss term";
        pub(super) losses_not_finite: Family<OfStage, Counter> = "losses_not_finite",
            "Loss values that were NaN or infinite";
        pub(super) learning_rate: Family<OfGroup, FloatGauge> = "learning_rate",
            "Newest learning rate of a parameter group";
        pub(super) style_health: Family<OfStyle, FloatGauge> = "style_health",
            "Newest measure of a domain's learned styles; docs/controls.md explains each";
        pub(super) mean_iou: Family<OfModel, FloatGauge> = "miou" in ratio(),
            "Mean IoU over the classes that occur, of a model on an evaluation set";
        pub(super) class_iou: Family<OfClass, FloatGauge> = "class_iou" in ratio(),
            "IoU of one class, of a model on an evaluation set; absent where the class does not occur";
        pub(super) images: Family<OfStage, Counter> = "images", "Images trained on or evaluated";
        pub(super) phase_seconds: Family<OfPhase, FloatCounter> = "phase" in Unit::Seconds,
            "Time a rank spent in a phase of its steps";
        pub(super) workers_wanted: Gauge = "workers_wanted", "Workers that were asked for";
        pub(super) worker_up: Family<OfRank, Gauge> = "worker_up", "1 while the rank's worker attends";
        pub(super) worker_silence: Family<OfRank, FloatGauge> = "worker_silence" in Unit::Seconds,
            "Since the rank's worker was last heard of";
        pub(super) worker_straggler: Family<OfRank, Gauge> = "worker_straggler",
            "1 while the others wait for the rank";
        pub(super) worker_shards: Family<OfRank, Gauge> = "worker_shards",
            "Shards the rank serves in the present generation";
        pub(super) worker_restarts: Family<OfRank, Counter> = "worker_restarts",
            "Processes started again for the rank";
        pub(super) workers_lost: Counter = "workers_lost", "Workers that were lost";
        pub(super) generation: Gauge = "generation", "Number of the present generation";
        pub(super) generation_workers: Gauge = "generation_workers", "Members of the present generation";
        pub(super) generations_broken: Family<OfReason, Counter> = "generations_broken",
            "Generations abandoned, by reason";
        pub(super) recovery: Histogram = "recovery" in Unit::Seconds,
            "From a broken generation to the next one that trains", Histogram::new(RECOVERY_BUCKETS);
        pub(super) shards_reassigned: Counter = "shards_reassigned",
            "Shards that moved to another rank between generations";
        pub(super) samples_reassigned: Counter = "samples_reassigned",
            "Samples of steps in flight that another rank took over, because a generation broke";
        pub(super) ledger_violations: Counter = "ledger_violations",
            "Samples that were skipped or used twice within an epoch, found by the check at the run's end";
        pub(super) messages_ignored: Family<OfReason, Counter> = "messages_ignored",
            "Messages that were not acted on, by reason";
        pub(super) checkpoints: Counter = "checkpoints", "Checkpoints written";
        pub(super) checkpoint_timestamp: FloatGauge = "checkpoint_last_timestamp" in Unit::Seconds,
            "When the newest checkpoint was written, since 1970; the coordinator's start before the first";
        pub(super) checkpoint_size: Gauge = "checkpoint_last_size" in Unit::Bytes,
            "Size of the newest checkpoint";
        pub(super) storage_operations: Family<OfOperation, Counter> = "storage_operations",
            "Operations on storages, done or given up";
        pub(super) storage_failures: Family<OfOperation, Counter> = "storage_failures",
            "Operations given up; what they were for is tried again later";
        pub(super) storage_retries: Family<OfOperation, Counter> = "storage_retries",
            "Requests repeated within operations";
        pub(super) storage_bytes: Family<OfOperation, Counter> = "storage" in Unit::Bytes,
            "Bytes of objects written and read";
        pub(super) storage_seconds: Family<OfOperation, FloatCounter> = "storage" in Unit::Seconds,
            "Time spent in operations, pauses included";
        pub(super) storage_last_upload: Family<OfClient, FloatGauge> = "storage_last_upload_timestamp" in Unit::Seconds,
            "When an object was last written, since 1970; absent before";
        pub(super) storage_pending: Family<OfClient, Gauge> = "storage_pending_uploads",
            "Checkpoints and files that are still to be written there";
        pub(super) journal_commit: Histogram = "journal_commit" in Unit::Seconds,
            "Wait until a journal commit is on disk", Histogram::new(COMMIT_BUCKETS);
        pub(super) journal_size: Gauge = "journal_size" in Unit::Bytes, "Size of the journal with its log";
        pub(super) disk_free: Gauge = "disk_free" in Unit::Bytes, "Free space where the run directory is";
        pub(super) disk_size: Gauge = "disk_size" in Unit::Bytes, "Size of the disk the run directory is on";
        pub(super) goodput: FloatCounter = "goodput" in Unit::Seconds,
            "Time in which steps were trained that count";
        pub(super) badput: Family<OfCause, FloatCounter> = "badput" in Unit::Seconds,
            "Time in which none were, by cause";
    }
}

impl RunMetrics {
    /// The sample ledger was checked.
    pub fn ledger_checked(&self, violations: usize) {
        self.ledger_violations.inc_by(violations as u64);
    }
}
