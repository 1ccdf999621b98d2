//! The metrics themselves. Everything but build and label names is decided by the recorder.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use super::labels::{
    Build, OfCause, OfClass, OfGroup, OfModel, OfPhase, OfRank, OfReason, OfStage, OfState, OfStyle, OfTerm,
    RunFacts,
};
use super::listing::{FloatCounter, Listing, Real};
use super::storage::StorageMetrics;

/// Seconds from a broken generation to the next that trains.
const RECOVERY_BUCKETS: [f64; 12] = [
    0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0,
];
/// Seconds of a journal commit.
const COMMIT_BUCKETS: [f64; 12] = [
    0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0,
];

/// All families of one run.
#[derive(Clone, Debug)]
pub struct RunMetrics {
    pub(super) state: Family<OfState, Gauge>,
    pub(super) start_timestamp: Real,
    pub(super) term: Gauge,
    pub(super) stage_steps: Family<OfStage, Gauge>,
    pub(super) stage_progress: Family<OfStage, Real>,
    pub(super) stage_seconds: Family<OfStage, Real>,
    pub(super) time_left: Real,
    pub(super) steps_committed: Family<OfStage, Counter>,
    pub(super) steps_discarded: Counter,
    pub(super) last_step_timestamp: Real,
    pub(super) loss: Family<OfTerm, Real>,
    pub(super) losses_not_finite: Family<OfStage, Counter>,
    pub(super) learning_rate: Family<OfGroup, Real>,
    pub(super) style_health: Family<OfStyle, Real>,
    pub(super) mean_iou: Family<OfModel, Real>,
    pub(super) class_iou: Family<OfClass, Real>,
    pub(super) images: Family<OfStage, Counter>,
    pub(super) phase_seconds: Family<OfPhase, FloatCounter>,
    pub(super) workers_wanted: Gauge,
    pub(super) worker_up: Family<OfRank, Gauge>,
    pub(super) worker_silence: Family<OfRank, Real>,
    pub(super) worker_straggler: Family<OfRank, Gauge>,
    pub(super) worker_shards: Family<OfRank, Gauge>,
    pub(super) worker_restarts: Family<OfRank, Counter>,
    pub(super) workers_lost: Counter,
    pub(super) generation: Gauge,
    pub(super) generation_workers: Gauge,
    pub(super) generations_broken: Family<OfReason, Counter>,
    pub(super) recovery: Histogram,
    pub(super) shards_reassigned: Counter,
    pub(super) samples_reassigned: Counter,
    pub(super) ledger_violations: Counter,
    pub(super) messages_ignored: Family<OfReason, Counter>,
    pub(super) checkpoints: Counter,
    pub(super) checkpoint_timestamp: Real,
    pub(super) checkpoint_size: Gauge,
    pub(super) storage: StorageMetrics,
    pub(super) journal_commit: Histogram,
    pub(super) journal_size: Gauge,
    pub(super) disk_free: Gauge,
    pub(super) disk_size: Gauge,
    pub(super) goodput: FloatCounter,
    pub(super) badput: Family<OfCause, FloatCounter>,
}

impl RunMetrics {
    /// Adds all families to `registry`, whose prefix and `run` label they get.
    #[must_use]
    pub fn register(registry: &mut Registry, facts: RunFacts) -> Self {
        let version = env!("CARGO_PKG_VERSION");
        registry.register("build", "The coordinator's version", Info::new(Build { version }));
        registry.register("run", "The run's fixed facts", Info::new(facts));
        let mut list = Listing { registry };
        Self {
            state: list.plain("run_state", "1 for the state the run is in, 0 for the others"),
            start_timestamp: list.unit(
                "run_start_timestamp",
                Unit::Seconds,
                "When this coordinator took up the run, since 1970",
            ),
            term: list.plain("coordinator_term", "How many coordinators have taken up the run"),
            stage_steps: list.plain("stage_steps", "Steps a stage has"),
            stage_progress: list.unit(
                "stage_progress",
                ratio(),
                "Steps committed of the steps a stage has",
            ),
            stage_seconds: list.unit(
                "stage_duration",
                Unit::Seconds,
                "Wall time of a stage that is done",
            ),
            time_left: list.unit(
                "stage_time_left",
                Unit::Seconds,
                "Until the present stage ends at its present pace; NaN before it can be told",
            ),
            steps_committed: list.plain(
                "steps_committed",
                "Steps committed since this coordinator took up the run",
            ),
            steps_discarded: list.plain(
                "steps_discarded",
                "Committed steps that have to be repeated, because all workers that held them were lost",
            ),
            last_step_timestamp: list.unit(
                "last_step_timestamp",
                Unit::Seconds,
                "When a worker last told of progress, since 1970; the coordinator's start before that",
            ),
            loss: list.plain("loss", "Newest value of a loss term"),
            losses_not_finite: list.plain("losses_not_finite", "Loss values that were NaN or infinite"),
            learning_rate: list.plain("learning_rate", "Newest learning rate of a parameter group"),
            style_health: list.plain(
                "style_health",
                "Newest measure of a domain's learned styles; docs/controls.md explains each",
            ),
            mean_iou: list.unit(
                "miou",
                ratio(),
                "Mean IoU over the classes that occur, of a model on an evaluation set",
            ),
            class_iou: list.unit(
                "class_iou",
                ratio(),
                "IoU of one class, of a model on an evaluation set; absent where the class does not occur",
            ),
            images: list.plain("images", "Images trained on or evaluated"),
            phase_seconds: list.unit(
                "phase",
                Unit::Seconds,
                "Time a rank spent in a phase of its steps",
            ),
            workers_wanted: list.plain("workers_wanted", "Workers that were asked for"),
            worker_up: list.plain("worker_up", "1 while the rank's worker attends"),
            worker_silence: list.unit(
                "worker_silence",
                Unit::Seconds,
                "Since the rank's worker was last heard of",
            ),
            worker_straggler: list.plain("worker_straggler", "1 while the others wait for the rank"),
            worker_shards: list.plain(
                "worker_shards",
                "Shards the rank serves in the present generation",
            ),
            worker_restarts: list.plain("worker_restarts", "Processes started again for the rank"),
            workers_lost: list.plain("workers_lost", "Workers that were lost"),
            generation: list.plain("generation", "Number of the present generation"),
            generation_workers: list.plain("generation_workers", "Members of the present generation"),
            generations_broken: list.plain("generations_broken", "Generations abandoned, by reason"),
            recovery: list.given(
                "recovery",
                Unit::Seconds,
                "From a broken generation to the next one that trains",
                Histogram::new(RECOVERY_BUCKETS),
            ),
            shards_reassigned: list.plain(
                "shards_reassigned",
                "Shards that moved to another rank between generations",
            ),
            samples_reassigned: list.plain(
                "samples_reassigned",
                "Samples of steps in flight that another rank took over, because a generation broke",
            ),
            ledger_violations: list.plain(
                "ledger_violations",
                "Samples that were skipped or used twice within an epoch, found by the check at the run's end",
            ),
            messages_ignored: list.plain("messages_ignored", "Messages that were not acted on, by reason"),
            checkpoints: list.plain("checkpoints", "Checkpoints written"),
            checkpoint_timestamp: list.unit(
                "checkpoint_last_timestamp",
                Unit::Seconds,
                "When the newest checkpoint was written, since 1970; the coordinator's start before the first",
            ),
            checkpoint_size: list.unit(
                "checkpoint_last_size",
                Unit::Bytes,
                "Size of the newest checkpoint",
            ),
            storage: StorageMetrics::register(list.registry),
            journal_commit: list.given(
                "journal_commit",
                Unit::Seconds,
                "Wait until a journal commit is on disk",
                Histogram::new(COMMIT_BUCKETS),
            ),
            journal_size: list.unit("journal_size", Unit::Bytes, "Size of the journal with its log"),
            disk_free: list.unit("disk_free", Unit::Bytes, "Free space where the run directory is"),
            disk_size: list.unit("disk_size", Unit::Bytes, "Size of the disk the run directory is on"),
            goodput: list.unit("goodput", Unit::Seconds, "Time in which steps were trained that count"),
            badput: list.unit("badput", Unit::Seconds, "Time in which none were, by cause"),
        }
    }
}

impl RunMetrics {
    /// The sample ledger was checked.
    pub fn ledger_checked(&self, violations: usize) {
        self.ledger_violations.inc_by(violations as u64);
    }
}

/// Names end in `_ratio`, as Prometheus has it; the library only knows the plural.
fn ratio() -> Unit {
    Unit::Other("ratio".into())
}
