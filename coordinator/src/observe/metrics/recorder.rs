//! Moves the metrics as the run's news come in.

use std::collections::BTreeMap;
use std::time::Duration;
use ulda_run::{Classes, RunEnd};

use tokio::time::Instant;
use ulda_dataset::ConfusionMatrix;
use ulda_machine::{Formation, Snapshot, Verdict};
use ulda_run::ids::Slot;
use ulda_run::stage::{Course, Cursor, Stage};
use ulda_telemetry::signed;

use super::families::RunMetrics;
use super::labels::{
    OfCause, OfClass, OfGroup, OfModel, OfPhase, OfRank, OfReason, OfStage, OfStyle, OfTerm,
    break_reason_name,
};
use super::opening::{IGNORED, Past, begin, register_rank, set_state, wall_seconds};
use super::samples::SamplesPerStep;
use super::storage::StorageAccount;
use super::time_account::TimeAccount;
use crate::history::steps_before;
use crate::observe::RunProgress;
use crate::rpc::Measures;
use crate::run::{Audience, News};

/// An audience that keeps the metrics of a run.
#[derive(Debug)]
pub struct MetricsRecorder {
    metrics: RunMetrics,
    course: Course,
    classes: Classes,
    progress: RunProgress,
    time: TimeAccount,
    /// Steps known to be committed, by stage.
    done: BTreeMap<Stage, u64>,
    furthest: Option<Cursor>,
    broken_at: Option<Instant>,
    /// A generation started from wherever the workers' newest checkpoint is.
    unplaced: bool,
    /// Slot of each shard in the last generation.
    shard_slots: Vec<Option<Slot>>,
    samples: SamplesPerStep,
    ignored: [u64; 3],
    storage: StorageAccount,
}

impl MetricsRecorder {
    /// Starts from what the run's journal tells of it; `workers` were asked for.
    #[must_use]
    pub fn new(
        metrics: RunMetrics,
        course: Course,
        classes: Classes,
        samples: SamplesPerStep,
        workers: u32,
        past: &Past,
    ) -> Self {
        let mut recorder = Self {
            progress: RunProgress::new(course.clone()),
            metrics,
            course,
            classes,
            time: TimeAccount::new(Instant::now()),
            done: BTreeMap::new(),
            furthest: past.committed,
            broken_at: None,
            unplaced: false,
            shard_slots: Vec::new(),
            samples,
            ignored: [0; 3],
            storage: StorageAccount::default(),
        };
        begin(&recorder.metrics, &recorder.course, workers);
        recorder.remember(past);
        recorder
    }

    fn remember(&mut self, past: &Past) {
        if let Some(cursor) = past.committed {
            self.reach(cursor, Counted::Before);
        }
        for row in &past.stages {
            self.stage_done(row.stage, row.seconds);
        }
        if let Some(row) = &past.last_checkpoint {
            self.metrics.checkpoint_timestamp.set(row.at_millis as f64 / 1e3);
            self.metrics.checkpoint_size.set(signed(row.size_bytes));
        }
        for row in &past.evaluations {
            self.evaluated(&row.model, row.set.as_str(), &row.confusion);
        }
    }

    fn settle(&mut self, now: Instant) {
        match self.time.settle(now) {
            Some((None, seconds)) => {
                self.metrics.goodput.inc_by(seconds);
            }
            Some((Some(cause), seconds)) => {
                let of = OfCause { cause: cause.name() };
                self.metrics.badput.get_or_create(&of).inc_by(seconds);
            }
            None => {}
        }
    }

    fn turn(&mut self, now: Instant, verdict: &Verdict) {
        self.settle(now);
        self.time.turn(verdict);
        set_state(
            &self.metrics,
            match verdict {
                Verdict::Waiting(_) => "gathering",
                Verdict::Forming { .. } => "forming",
                Verdict::Training { .. } | Verdict::Reattaching { .. } => "training",
                Verdict::Draining { .. } => "draining",
                Verdict::Finished => "finished",
                Verdict::Stopped => "stopped",
                Verdict::Failed(_) => "failed",
            },
        );
    }

    /// All steps before `cursor` are committed; those of earlier stages with them.
    fn reach(&mut self, cursor: Cursor, counted: Counted) {
        let stages: Vec<(Stage, u64)> = self
            .course
            .stages()
            .iter()
            .filter(|length| length.stage <= cursor.stage)
            .map(|length| {
                let earlier = length.stage < cursor.stage;
                let done = if earlier {
                    length.steps
                } else {
                    cursor.step.min(length.steps)
                };
                (length.stage, done)
            })
            .collect();
        for (stage, done) in stages {
            let known = self.done.entry(stage).or_default();
            let new = done.saturating_sub(*known);
            *known += new;
            let of = OfStage { stage: stage.name() };
            if counted == Counted::Now {
                self.metrics.steps_committed.get_or_create(&of).inc_by(new);
            }
            let share = *known as f64 / self.course.steps(stage).max(1) as f64;
            self.metrics.stage_progress.get_or_create(&of).set(share);
        }
        self.furthest = self.furthest.max(Some(cursor));
    }

    fn measured(&mut self, now: Instant, slot: Slot, place: Cursor, measures: &Measures) {
        let metrics = &self.metrics;
        let stage = place.stage.name();
        metrics.last_step_timestamp.set(wall_seconds());
        for loss in measures.training_losses() {
            let of = OfTerm {
                stage,
                term: loss.name.clone(),
            };
            metrics.loss.get_or_create(&of).set(loss.value);
            if !loss.value.is_finite() {
                metrics.losses_not_finite.get_or_create(&OfStage { stage }).inc();
            }
        }
        for (domain, health) in &measures.styles {
            for (measure, value) in health.measures() {
                let domain = domain.clone();
                let of = OfStyle { domain, measure };
                metrics.style_health.get_or_create(&of).set(value);
            }
        }
        for rate in &measures.learning_rates {
            let of = OfGroup {
                stage,
                group: rate.name.clone(),
            };
            metrics.learning_rate.get_or_create(&of).set(rate.value);
        }
        for phase in measures.phase_seconds.iter().filter(|phase| phase.value >= 0.0) {
            let of = OfPhase {
                rank: slot.0,
                stage,
                phase: phase.name.clone(),
            };
            metrics.phase_seconds.get_or_create(&of).inc_by(phase.value);
        }
        let images = metrics.images.get_or_create_owned(&OfStage { stage });
        images.inc_by(measures.images);
        self.progress.advance(now, place.stage, place.step, measures);
        let left = self.progress.time_left();
        metrics
            .time_left
            .set(left.map_or(f64::NAN, |left| left.as_secs_f64()));
        // Between two steps a worker only tells what it is busy with.
        if measures.activity.is_empty() {
            if std::mem::take(&mut self.unplaced) {
                // The first step that is told is the one after the checkpoint.
                self.discard_after(steps_before(&self.course, place).saturating_sub(1));
            }
            self.reach(place, Counted::Now);
        }
    }

    fn evaluated(&self, model: &str, set: &str, confusion: &ConfusionMatrix) {
        let scores = confusion.scores();
        if let Some(mean) = scores.mean_iou {
            let of = OfModel {
                set: set.to_owned(),
                model: model.to_owned(),
            };
            self.metrics.mean_iou.get_or_create(&of).set(mean);
        }
        for (class, score) in self.classes.iter().zip(&scores.class_iou) {
            let of = OfClass {
                set: set.to_owned(),
                model: model.to_owned(),
                class: class.name.to_string(),
            };
            match score {
                Some(score) => {
                    self.metrics.class_iou.get_or_create(&of).set(*score);
                }
                None => {
                    self.metrics.class_iou.remove(&of);
                }
            }
        }
    }

    fn stage_done(&self, stage: Stage, seconds: f64) {
        let of = OfStage { stage: stage.name() };
        self.metrics.stage_seconds.get_or_create(&of).set(seconds);
    }

    fn formed(&mut self, formation: &Formation) {
        let slot_of = |worker| {
            let mut members = formation.members.iter();
            members
                .find(|member| member.worker == worker)
                .map(|member| member.slot)
        };
        let shard_slots: Vec<Option<Slot>> = formation
            .shard_owner
            .iter()
            .map(|owner| slot_of(*owner))
            .collect();
        let moved: Vec<usize> = (0..shard_slots.len().min(self.shard_slots.len()))
            .filter(|shard| self.shard_slots[*shard] != shard_slots[*shard])
            .collect();
        self.metrics.shards_reassigned.inc_by(moved.len() as u64);
        let place = formation.state.as_ref().map(|state| state.cursor);
        if let Some(place) = place.or_else(|| self.course.start()) {
            let samples = moved
                .iter()
                .map(|shard| self.samples.of_shard(place.stage, *shard));
            self.metrics.samples_reassigned.inc_by(samples.sum());
        }
        self.shard_slots = shard_slots;
        self.metrics
            .generation_workers
            .set(signed(formation.members.len() as u64));
    }

    fn started(&mut self, now: Instant, at: Option<Cursor>) {
        if let Some(broken_at) = self.broken_at.take() {
            self.metrics.recovery.observe((now - broken_at).as_secs_f64());
        }
        match at {
            Some(at) => {
                if self.furthest.is_none() {
                    // Done before this journal began, as of a run that was taken up from its storage.
                    self.reach(at, Counted::Before);
                }
                self.discard_after(steps_before(&self.course, at));
            }
            None => self.unplaced = self.furthest.is_some(),
        }
    }

    /// Only `kept` steps of the run are still there; what was committed beyond is trained again.
    fn discard_after(&self, kept: u64) {
        let committed = self
            .furthest
            .map_or(0, |cursor| steps_before(&self.course, cursor));
        self.metrics
            .steps_discarded
            .inc_by(committed.saturating_sub(kept));
    }

    fn looked(&mut self, now: Instant, snapshot: &Snapshot) {
        self.settle(now);
        let committed = snapshot.committed.as_ref().map(|state| state.cursor);
        self.time
            .repeats(snapshot.at.is_some() && snapshot.at < committed);
        self.metrics.generation.set(signed(snapshot.generation.0));
        self.metrics.term.set(signed(snapshot.term));
        for slot in &snapshot.slots {
            register_rank(&self.metrics, slot.slot.0);
            let of = OfRank { rank: slot.slot.0 };
            let present = snapshot.workers.iter().find(|worker| worker.slot == slot.slot);
            let metrics = &self.metrics;
            let up = present.is_some_and(|worker| worker.attached);
            metrics.worker_up.get_or_create(&of).set(up.into());
            let silence = present.map_or(Duration::ZERO, |worker| worker.silent_for);
            metrics
                .worker_silence
                .get_or_create(&of)
                .set(silence.as_secs_f64());
            let straggler = present.is_some_and(|worker| worker.straggler);
            metrics.worker_straggler.get_or_create(&of).set(straggler.into());
            let shards = present.map_or(0, |worker| worker.shards.len());
            metrics
                .worker_shards
                .get_or_create(&of)
                .set(signed(shards as u64));
        }
        let counters = snapshot.counters;
        let ignored = [counters.stale, counters.unknown_sender, counters.out_of_turn];
        for ((reason, total), known) in IGNORED.into_iter().zip(ignored).zip(&mut self.ignored) {
            let family = &self.metrics.messages_ignored;
            family
                .get_or_create(&OfReason { reason })
                .inc_by(total.saturating_sub(*known));
            *known = total;
        }
    }

    fn over(&mut self, now: Instant, verdict: &Verdict, state: &str) {
        self.turn(now, verdict);
        set_state(&self.metrics, state);
        self.metrics.time_left.set(0.0);
    }
}

/// Whether steps are counted as committed by this coordinator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Counted {
    Now,
    Before,
}

impl Audience for MetricsRecorder {
    fn hear(&mut self, news: &News) {
        let now = Instant::now();
        match news {
            News::Verdict(verdict) => self.turn(now, verdict),
            News::Lost { slot, .. } => {
                self.storage.lost(&self.metrics, *slot);
                self.metrics.workers_lost.inc();
            }
            News::Progress {
                slot,
                stage,
                steps_done,
                measures,
            } => {
                let place = Cursor {
                    stage: *stage,
                    step: *steps_done,
                };
                self.measured(now, *slot, place, measures);
            }
            News::Checkpoint { size_bytes, .. } => {
                self.metrics.checkpoints.inc();
                self.metrics.checkpoint_timestamp.set(wall_seconds());
                self.metrics.checkpoint_size.set(signed(*size_bytes));
            }
            News::Evaluated {
                model,
                set,
                confusion,
                ..
            } => self.evaluated(model, set.as_str(), confusion),
            News::StageDone { stage, seconds } => self.stage_done(*stage, *seconds),
            News::Restarted { slot } => {
                let of = OfRank { rank: slot.0 };
                self.metrics.worker_restarts.get_or_create(&of).inc();
            }
            News::GenerationFormed {
                generation,
                formation,
            } => {
                self.metrics.generation.set(signed(generation.0));
                self.formed(formation);
            }
            News::GenerationStarted { at, .. } => self.started(now, *at),
            News::GenerationAbandoned { why, .. } => {
                let reason = break_reason_name(why);
                let family = &self.metrics.generations_broken;
                family.get_or_create(&OfReason { reason }).inc();
                self.broken_at.get_or_insert(now);
            }
            News::JournalWritten { took } => self.metrics.journal_commit.observe(took.as_secs_f64()),
            News::Looked(snapshot) => self.looked(now, snapshot),
            News::Storage { client, count } => self.storage.count(&self.metrics, *client, count),
            News::Ended(end @ RunEnd::Finished { .. }) => self.over(now, &Verdict::Finished, end.name()),
            News::Ended(end) => self.over(now, &Verdict::Stopped, end.name()),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::registry::Registry;
    use ulda_run::ids::Generation;
    use ulda_run::stage::StageLength;

    use super::*;
    use crate::rpc::Measured;

    fn recorder() -> (MetricsRecorder, RunMetrics) {
        let metrics = RunMetrics::register(&mut Registry::default());
        let course = Course::new(
            [(Stage::Simulate, 10), (Stage::Adapt, 100)].map(|(stage, steps)| StageLength { stage, steps }),
        );
        (
            MetricsRecorder::new(
                metrics.clone(),
                course,
                Classes::default(),
                SamplesPerStep::default(),
                2,
                &Past::default(),
            ),
            metrics,
        )
    }

    fn progress(stage: Stage, steps_done: u64, loss: f64) -> News {
        News::Progress {
            slot: Slot(0),
            stage,
            steps_done,
            measures: Measures {
                losses: vec![Measured::new("seg", loss)],
                ..Measures::default()
            },
        }
    }

    #[test]
    fn steps_count_once_and_those_trained_again_are_told() {
        let (mut recorder, metrics) = recorder();
        let committed = |stage| metrics.steps_committed.get_or_create(&OfStage { stage }).get();
        for news in [
            progress(Stage::Simulate, 4, 1.0),
            progress(Stage::Adapt, 30, 1.0),
            progress(Stage::Adapt, 30, 1.0),
        ] {
            recorder.hear(&news);
        }
        assert_eq!((committed("simulate"), committed("adapt")), (10, 30));
        // All workers die; the next generation finds the checkpoint after step 20.
        recorder.hear(&News::GenerationStarted {
            generation: Generation(2),
            at: None,
        });
        recorder.hear(&progress(Stage::Adapt, 21, 1.0));
        recorder.hear(&progress(Stage::Adapt, 31, 1.0));
        assert_eq!(metrics.steps_discarded.get(), 10);
        assert_eq!(committed("adapt"), 31);
    }

    #[test]
    fn losses_that_are_not_finite_are_counted() {
        let (mut recorder, metrics) = recorder();
        for loss in [1.0, f64::NAN, f64::INFINITY] {
            recorder.hear(&progress(Stage::Adapt, 1, loss));
        }
        let stage = "adapt";
        assert_eq!(
            metrics.losses_not_finite.get_or_create(&OfStage { stage }).get(),
            2
        );
    }
}
