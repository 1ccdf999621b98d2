//! Progress bars for a person at a terminal.

use std::time::Duration;
use ulda_run::RunEnd;

use console::style;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use tokio::time::Instant;
use ulda_machine::Verdict;
use ulda_run::stage::{Course, Stage};

use super::progress::RunProgress;
use crate::durations::duration_text;
use crate::printable::printable;
use crate::run::{Audience, News};
use crate::score_table::percent;

const REDRAW: Duration = Duration::from_millis(200);

/// One bar per stage, a line above them for what happens.
#[derive(Debug)]
pub struct Bars {
    all: MultiProgress,
    bar: Option<ProgressBar>,
    stage: Option<Stage>,
    progress: RunProgress,
}

impl Bars {
    /// Draws into `all`, through which log lines must go as well.
    #[must_use]
    pub fn new(course: Course, all: MultiProgress) -> Self {
        Self {
            all,
            bar: None,
            stage: None,
            progress: RunProgress::new(course),
        }
    }

    fn say(&self, line: impl std::fmt::Display) {
        // A terminal that is gone has nobody to read it.
        let _ = self.all.println(line.to_string());
    }

    fn open_bar(&mut self) {
        let Some(stage) = self.progress.stage else { return };
        if self.stage == Some(stage) {
            return;
        }
        self.close_bar();
        let (index, count) = self.progress.place_in_course();
        let template = "{prefix:>18.bold} {bar:28.cyan/dim} {pos}/{len} {wide_msg}";
        let look = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = self.all.add(ProgressBar::new(self.progress.steps_total()));
        bar.set_style(look.progress_chars("━━─"));
        bar.set_prefix(format!("{index}/{count} {stage}"));
        bar.enable_steady_tick(REDRAW);
        self.bar = Some(bar);
        self.stage = Some(stage);
    }

    fn close_bar(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.abandon();
        }
    }

    fn message(&self) -> String {
        let progress = &self.progress;
        let mut parts = Vec::new();
        if let Some(rate) = progress.images_per_second() {
            parts.push(format!("{rate:.1} img/s"));
        }
        parts.extend(
            progress
                .losses
                .iter()
                .map(|(name, value)| format!("{name} {value:.3}")),
        );
        if let Some(left) = progress.time_left() {
            parts.push(format!("{} left", duration_text(left)));
        }
        if progress.workers > 0 {
            let plural = if progress.workers == 1 { "" } else { "s" };
            parts.push(format!("{} worker{plural}", progress.workers));
        }
        if !progress.activity.is_empty() {
            parts.push(progress.activity.clone());
        }
        parts.join(" · ")
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        self.close_bar();
    }
}

impl Audience for Bars {
    fn hear(&mut self, news: &News) {
        match news {
            News::Serving {
                run,
                address,
                page,
                directory,
            } => {
                self.say(format!(
                    "run {} at {address}, in {}",
                    style(run).bold(),
                    directory.display()
                ));
                if let Some(page) = page {
                    self.say(format!("status page {}", style(page).underlined()));
                }
            }
            News::Verdict(verdict) => {
                if let Verdict::Training { workers, .. } = verdict {
                    self.progress.workers = *workers;
                } else {
                    self.say(style(verdict).dim());
                }
            }
            News::Launched { .. }
            | News::Joined { .. }
            | News::Checkpoint { .. }
            | News::Restarted { .. }
            | News::GenerationFormed { .. }
            | News::GenerationStarted { .. }
            | News::GenerationAbandoned { .. }
            | News::JournalWritten { .. }
            | News::Storage { .. }
            | News::Looked(_) => {}
            News::Lost { slot, worker, why } => {
                let why = why.to_string();
                self.say(style(format!("{worker} in {slot} is lost: {}", printable(&why))).yellow());
            }
            News::Progress {
                stage,
                steps_done,
                measures,
                ..
            } => {
                self.progress
                    .advance(Instant::now(), *stage, *steps_done, measures);
                for warning in self.progress.style_warnings(measures) {
                    self.say(style(warning).yellow());
                }
                self.open_bar();
                if let Some(bar) = &self.bar {
                    bar.set_position(self.progress.steps_done);
                    bar.set_message(self.message());
                }
            }
            News::Evaluated {
                model,
                set,
                place,
                confusion,
                ..
            } => {
                let mean = percent(confusion.scores().mean_iou);
                let when = if place.stage == Stage::Evaluate {
                    String::new()
                } else {
                    format!(" at {place}")
                };
                self.say(format!("{model} on {set}{when}: mIoU {mean}"));
            }
            News::StageDone { stage, seconds } => {
                if self.stage == Some(*stage) {
                    self.close_bar();
                }
                self.say(format!(
                    "{stage} done in {}",
                    duration_text(Duration::from_secs_f64(seconds.max(0.0)))
                ));
            }
            News::WorkerDied(cause) => self.say(style(printable(&cause.to_string())).red()),
            News::Stopping { why } => self.say(format!("stopping: {why}; once more to end at once")),
            News::Ended(RunEnd::Finished { digest }) => {
                self.close_bar();
                self.say(format!("{}, digest {digest}", style("finished").green()));
            }
            News::Ended(RunEnd::Stopped) => {
                self.close_bar();
                self.say("stopped");
            }
            // The cause is printed last of all, by whoever ends the process.
            News::Ended(RunEnd::Failed { .. }) => self.close_bar(),
        }
    }
}
