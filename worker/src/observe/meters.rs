//! What a worker counts while it trains.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use ulda_collective::{Meter, PlaneStats};
use ulda_dataset::DecodeCounters;
use ulda_run::ids::Generation;
use ulda_telemetry::signed;

use super::families::{OfShardPhase, OfWorkerStage, WorkerMetrics};
use super::steps::{StepDone, StepTraces};

/// Shared by the trainer and all its shards.
#[derive(Debug)]
pub struct Meters {
    /// To be given to whoever decodes.
    pub decode: Arc<DecodeCounters>,
    pub(super) metrics: WorkerMetrics,
    planes: Mutex<Planes>,
    traces: OnceLock<StepTraces>,
}

/// Data planes so far: the sum of those that are gone, and the one that stands.
#[derive(Debug, Default)]
struct Planes {
    past: PlaneStats,
    present: Option<Meter>,
}

impl Meters {
    pub(super) fn new(metrics: WorkerMetrics) -> Self {
        Self {
            decode: Arc::default(),
            metrics,
            planes: Mutex::default(),
            traces: OnceLock::new(),
        }
    }

    /// Steps are traced from now on; a second call changes nothing.
    pub fn trace(&self, traces: StepTraces) {
        let _ = self.traces.set(traces);
    }

    /// A shard finished a step.
    pub fn step_done(&self, step: &StepDone<'_>) {
        if let Some(traces) = self.traces.get() {
            let generation = self.metrics.generation.get();
            traces.tell(u64::try_from(generation).unwrap_or_default(), step);
        }
        let StepDone {
            at,
            shard,
            phase_seconds,
            ..
        } = *step;
        let stage = at.stage.name();
        self.metrics
            .steps
            .get_or_create(&OfWorkerStage { shard, stage })
            .inc();
        for (phase, seconds) in phase_seconds {
            let of = OfShardPhase { shard, stage, phase };
            self.metrics
                .phase_seconds
                .get_or_create(&of)
                .inc_by(seconds.max(0.0));
        }
    }

    /// The worker trains in a generation, over the plane that `meter` reads.
    pub fn generation_began(&self, generation: Generation, meter: Meter) {
        self.metrics.generation.set(signed(generation.0));
        self.planes().present = Some(meter);
    }

    /// The generation's plane is given up, `broken` before the run's end.
    pub fn generation_ended(&self, broken: bool) {
        self.metrics.generation.set(0);
        if broken {
            self.metrics.collective_aborts.inc();
        }
        let mut planes = self.planes();
        let last = planes.present.take().map(|meter| meter.read());
        planes.past = sum(planes.past, last.unwrap_or_default());
    }

    /// Of all planes so far.
    pub(super) fn collective(&self) -> PlaneStats {
        let planes = self.planes();
        let present = planes.present.as_ref().map(Meter::read);
        sum(planes.past, present.unwrap_or_default())
    }

    fn planes(&self) -> MutexGuard<'_, Planes> {
        self.planes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn sum(one: PlaneStats, other: PlaneStats) -> PlaneStats {
    PlaneStats {
        sent_bytes: one.sent_bytes + other.sent_bytes,
        received_bytes: one.received_bytes + other.received_bytes,
        shared_bytes: one.shared_bytes + other.shared_bytes,
        operations: one.operations + other.operations,
        waited: one.waited + other.waited,
    }
}
