//! The values that metrics have before anything happened: what can happen stands at 0.

use prometheus_client::metrics::family::Family;
use ulda_machine::PhaseName;
use ulda_run::stage::{Course, Cursor};
use ulda_telemetry::signed;

use super::families::RunMetrics;
use super::labels::{OfCause, OfRank, OfReason, OfStage, OfState, break_reason_names};
use super::time_account::Cause;
use crate::journal::{CheckpointRow, EvaluationRow, StageRow, wall_millis};

/// What is known of a run that is taken up again.
#[derive(Clone, Debug, Default)]
pub struct Past {
    pub committed: Option<Cursor>,
    pub stages: Vec<StageRow>,
    pub last_checkpoint: Option<CheckpointRow>,
    pub evaluations: Vec<EvaluationRow>,
}

/// Why messages are not acted on, in the order of the machine's counters.
pub(super) const IGNORED: [&str; 3] = ["stale-generation", "unknown-worker", "out-of-turn"];

/// Everything that can be told before anything happened stands at its first value.
pub(super) fn begin(metrics: &RunMetrics, course: &Course, workers: u32) {
    metrics.start_timestamp.set(wall_seconds());
    metrics.last_step_timestamp.set(wall_seconds());
    metrics.checkpoint_timestamp.set(wall_seconds());
    metrics.time_left.set(f64::NAN);
    metrics.workers_wanted.set(workers.into());
    set_state(metrics, "gathering");
    for length in course.stages() {
        let stage = length.stage.name();
        let of = OfStage { stage };
        metrics.stage_steps.get_or_create(&of).set(signed(length.steps));
        metrics.stage_progress.get_or_create(&of).set(0.0);
        appear(&metrics.steps_committed, &of);
        appear(&metrics.losses_not_finite, &of);
        appear(&metrics.images, &of);
    }
    for reason in break_reason_names() {
        appear(&metrics.generations_broken, &OfReason { reason });
    }
    for reason in IGNORED {
        appear(&metrics.messages_ignored, &OfReason { reason });
    }
    for cause in Cause::ALL {
        appear(&metrics.badput, &OfCause { cause: cause.name() });
    }
    for rank in 0..workers {
        register_rank(metrics, rank);
    }
}

/// A rank that is known from now on.
pub(super) fn register_rank(metrics: &RunMetrics, rank: u32) {
    let of = OfRank { rank };
    appear(&metrics.worker_up, &of);
    appear(&metrics.worker_silence, &of);
    appear(&metrics.worker_straggler, &of);
    appear(&metrics.worker_shards, &of);
    appear(&metrics.worker_restarts, &of);
}

/// 1 for the state the run is in.
pub(super) fn set_state(metrics: &RunMetrics, now: &str) {
    for state in PhaseName::ALL.map(PhaseName::name) {
        let family = &metrics.state;
        family
            .get_or_create(&OfState { state })
            .set(i64::from(state == now));
    }
}

/// Makes a member of a family exist, at 0 if it is new.
fn appear<L, M>(family: &Family<L, M>, of: &L)
where
    L: Clone + std::hash::Hash + Eq,
    M: Default + Clone,
{
    drop(family.get_or_create(of));
}

/// Seconds since 1970.
pub(super) fn wall_seconds() -> f64 {
    wall_millis() as f64 / 1e3
}
