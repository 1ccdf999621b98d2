//! JSON lines for log collectors: phase changes at once, progress at most every few seconds.

use std::time::Duration;

use tokio::time::Instant;
use ulda_core::machine::Verdict;
use ulda_core::stage::Course;
use ulda_data::ConfusionMatrix;

use super::progress::Progress;
use crate::run::{Audience, News};

const PROGRESS_EVERY: Duration = Duration::from_secs(5);

/// Tells a run's news as log events.
#[derive(Debug)]
pub struct Lines {
    progress: Progress,
    told: Option<Instant>,
}

impl Lines {
    #[must_use]
    pub fn new(course: Course) -> Self {
        Self {
            progress: Progress::new(course),
            told: None,
        }
    }

    fn tell_progress(&mut self, now: Instant) {
        let Some(stage) = self.progress.stage else { return };
        if self.told.is_some_and(|told| now - told < PROGRESS_EVERY)
            && self.progress.steps_done < self.progress.steps_total()
        {
            return;
        }
        self.told = Some(now);
        let progress = &self.progress;
        let losses: Vec<String> = progress
            .losses
            .iter()
            .map(|(name, value)| format!("{name}={value:.4}"))
            .collect();
        tracing::info!(
            stage = stage.name(),
            step = progress.steps_done,
            steps = progress.steps_total(),
            workers = progress.workers,
            images_per_second = progress.images_per_second(),
            seconds_left = progress.time_left().map(|left| left.as_secs()),
            losses = losses.join(" "),
            activity = progress.activity,
            "progress"
        );
    }
}

impl Audience for Lines {
    fn hear(&mut self, news: &News) {
        let now = Instant::now();
        match news {
            News::Serving {
                run,
                address,
                page,
                directory,
            } => {
                tracing::info!(run, address, page, directory = %directory.display(), "serving");
            }
            News::Verdict(verdict) => {
                if let Verdict::Training { workers, .. } = verdict {
                    self.progress.workers = *workers;
                }
                tracing::info!("{verdict}");
            }
            News::Launched {
                slot,
                attempt,
                process_id,
            } => {
                tracing::info!(slot = slot.0, attempt, process_id, "worker started");
            }
            News::Joined { slot, worker, device } => {
                tracing::info!(slot = slot.0, worker = worker.0, device, "worker joined");
            }
            News::Lost { slot, worker, why } => {
                tracing::warn!(slot = slot.0, worker = worker.0, why, "worker lost");
            }
            News::Progress {
                stage,
                steps_done,
                measures,
                ..
            } => {
                self.progress.advance(now, *stage, *steps_done, measures);
                self.tell_progress(now);
            }
            News::Checkpoint {
                path,
                place,
                size_bytes,
            } => {
                tracing::info!(
                    path,
                    stage = place.stage.name(),
                    step = place.step,
                    size_bytes,
                    "checkpoint written"
                );
            }
            News::Evaluated {
                model,
                set,
                place,
                images,
                confusion,
            } => {
                let mean_iou = ConfusionMatrix::try_from(confusion.clone())
                    .ok()
                    .and_then(|matrix| matrix.scores().mean_iou);
                tracing::info!(
                    model,
                    set,
                    stage = place.stage.name(),
                    step = place.step,
                    images,
                    mean_iou,
                    "evaluated"
                );
            }
            News::StageDone { stage, seconds } => tracing::info!(stage = stage.name(), seconds, "stage done"),
            News::Restarted { slot } => tracing::info!(slot = slot.0, "worker is started again"),
            News::GenerationAbandoned { generation, why } => {
                tracing::warn!(generation = generation.0, %why, "generation abandoned");
            }
            News::GenerationFormed { .. }
            | News::GenerationStarted { .. }
            | News::JournalWritten { .. }
            | News::Storage { .. }
            | News::Looked(_) => {}
            News::WorkerDied(cause) => {
                tracing::error!(slot = cause.slot, exit = cause.exit, log = %cause.log.display(), last_lines = ?cause.lines, "worker died");
            }
            News::Stopping { why } => tracing::info!(why, "stopping"),
            News::Finished { digest } => tracing::info!(digest, "finished"),
            News::Stopped => tracing::info!("stopped"),
            News::Failed { why } => tracing::error!(why, "failed"),
        }
    }
}
