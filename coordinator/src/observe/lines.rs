//! JSON lines for log collectors: phase changes at once, progress at most every few seconds.

use std::time::Duration;

use tokio::time::Instant;
use ulda_machine::Verdict;
use ulda_run::stage::Course;
use ulda_run::{RunEnd, log_event};

use super::progress::RunProgress;
use crate::run::{Audience, News};

const PROGRESS_EVERY: Duration = Duration::from_secs(5);

/// Tells a run's news as log events.
#[derive(Debug)]
pub struct LogReporter {
    progress: RunProgress,
    written: Option<Instant>,
}

impl LogReporter {
    #[must_use]
    pub fn new(course: Course) -> Self {
        Self {
            progress: RunProgress::new(course),
            written: None,
        }
    }

    fn tell_progress(&mut self, now: Instant) {
        let Some(stage) = self.progress.stage else { return };
        if self.written.is_some_and(|last| now - last < PROGRESS_EVERY)
            && self.progress.steps_done < self.progress.steps_total()
        {
            return;
        }
        self.written = Some(now);
        let progress = &self.progress;
        // Of the step that the line names, or none.
        let loss = |name: &str| {
            let term = progress.losses.get(name).copied();
            term.filter(|_| progress.losses_of == progress.steps_done)
        };
        tracing::info!(
            stage = stage.name(),
            step = progress.steps_done,
            steps = progress.steps_total(),
            workers = progress.workers,
            images_per_second = progress.images_per_second(),
            seconds_left = progress.time_left().map(|left| left.as_secs()),
            loss_scene = loss("scene"),
            loss_pixel = loss("pixel"),
            loss_region = loss("region"),
            loss_seg = loss("seg"),
            loss_intra = loss("intra"),
            loss_cross = loss("cross"),
            loss_total = loss("total"),
            validation_miou = loss("validation_miou"),
            activity = progress.activity,
            event = log_event::PROGRESS,
            "progress"
        );
    }
}

impl Audience for LogReporter {
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
                for warning in self.progress.style_warnings(measures) {
                    tracing::warn!("{warning}");
                }
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
                let mean_iou = confusion.scores().mean_iou;
                tracing::info!(
                    model,
                    %set,
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
            News::Ended(RunEnd::Finished { digest }) => tracing::info!(digest, "finished"),
            News::Ended(RunEnd::Stopped) => tracing::info!("stopped"),
            News::Ended(RunEnd::Failed { why, .. }) => tracing::error!(why, "failed"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex, PoisonError};

    use serde_json::Value;
    use ulda_run::stage::{Stage, StageLength};

    use super::*;
    use crate::rpc::{Measured, Measures};

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut written = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            written.extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What is logged while `work` runs.
    fn logged(work: impl FnOnce()) -> Vec<Value> {
        let written = Written::default();
        let target = written.clone();
        let subscriber = tracing_subscriber::fmt()
            .json()
            .flatten_event(true)
            .with_writer(move || target.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, work);
        let bytes = written.0.lock().unwrap_or_else(PoisonError::into_inner);
        let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        lines.map(|line| serde_json::from_slice(line).unwrap()).collect()
    }

    #[test]
    fn losses_are_numbers_of_the_step_in_their_line() {
        let measured = |terms: &[(&str, f64)], activity: &str| Measures {
            losses: terms
                .iter()
                .map(|(name, value)| Measured::new(*name, *value))
                .collect(),
            activity: activity.into(),
            ..Measures::default()
        };
        // Every term of a worker's stages.
        let terms = ["scene", "pixel", "region", "seg", "intra", "cross", "total"];
        let first: Vec<(&str, f64)> = terms
            .into_iter()
            .zip([0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5])
            .collect();
        let steps = [
            (1, measured(&first, "")),
            (2, Measures::default()),
            (3, measured(&[("total", 0.25)], "")),
            (3, measured(&[], "iteration 1 of 3")),
        ];
        let lines = logged(|| {
            let mut lines = LogReporter::new(Course::new([StageLength {
                stage: Stage::Simulate,
                steps: 9,
            }]));
            let mut now = Instant::now();
            for (step, measures) in &steps {
                lines.progress.advance(now, Stage::Simulate, *step, measures);
                lines.tell_progress(now);
                now += PROGRESS_EVERY;
            }
        });
        let losses = |line: &Value| -> Vec<(String, f64)> {
            let fields = line.as_object().unwrap().iter();
            let losses = fields.filter_map(|(name, value)| Some((name.strip_prefix("loss_")?, value)));
            losses
                .map(|(name, value)| (name.to_owned(), value.as_f64().expect("a number")))
                .collect()
        };
        assert_eq!(lines.len(), 4);
        let mut all: Vec<(String, f64)> = first
            .iter()
            .map(|(name, value)| ((*name).to_owned(), *value))
            .collect();
        all.sort_by(|one, other| one.0.cmp(&other.0));
        let mut first_line = losses(&lines[0]);
        first_line.sort_by(|one, other| one.0.cmp(&other.0));
        assert_eq!(first_line, all);
        assert_eq!(
            losses(&lines[1]),
            [],
            "step 2 has none, and those of step 1 are not its"
        );
        assert_eq!(losses(&lines[2]), [("total".to_owned(), 0.25)]);
        assert_eq!(lines[3]["step"], 3);
        assert_eq!(
            losses(&lines[3]),
            losses(&lines[2]),
            "of step 3, while step 4 is in work"
        );
    }
}
