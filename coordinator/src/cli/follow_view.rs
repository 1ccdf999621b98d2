//! A run on a cluster as a person sees it from afar: one bar for the stage, a line for what happens.

use std::time::Duration;

use console::style;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use ulda_kubernetes::cluster::{ClusterLogLine, Happening, LoggedProgress};

use super::common::losses_text;
use crate::durations::duration_text;
use crate::printable::printable;

/// Without a terminal, progress is a line when a tenth more is done.
const SHARES: u64 = 10;

/// Shows what `follow` tells.
pub struct FollowView {
    all: Option<MultiProgress>,
    bar: Option<ProgressBar>,
    stage: String,
    share: u64,
}

impl FollowView {
    pub fn new(terminal: bool) -> Self {
        Self {
            all: terminal.then(MultiProgress::new),
            bar: None,
            stage: String::new(),
            share: 0,
        }
    }

    pub fn tell(&mut self, happening: Happening) {
        match happening {
            Happening::Coordinator(state) => self.say(&format!("coordinator  {state}")),
            Happening::Workers(state) => self.say(&format!("workers      {state}")),
            Happening::Line(ClusterLogLine::Progress(progress)) => self.progress(&progress),
            Happening::Line(ClusterLogLine::Message { level, text }) => {
                match (level.as_str(), printable(&text)) {
                    ("ERROR", text) => {
                        self.say(&format!("{}        {text}", style("error").red().for_stderr()))
                    }
                    ("WARN", text) => {
                        self.say(&format!("{}      {text}", style("warning").yellow().for_stderr()))
                    }
                    (_, text) => self.say(&format!("{}  {text}", style("coordinator").dim().for_stderr())),
                }
            }
            Happening::Line(ClusterLogLine::Raw(text)) => self.say(&printable(&text)),
            Happening::Line(ClusterLogLine::Ended(_)) => {}
        }
    }

    pub fn close(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.abandon();
        }
    }

    fn say(&self, line: &str) {
        match &self.all {
            Some(all) => {
                // A terminal that is gone has nobody to read it.
                let _ = all.println(line);
            }
            None => eprintln!("{line}"),
        }
    }

    fn progress(&mut self, progress: &LoggedProgress) {
        if self.stage != progress.stage {
            self.close();
            self.stage.clone_from(&progress.stage);
            self.share = 0;
            self.bar = self.all.as_ref().map(|all| all.add(bar(progress)));
        }
        match &self.bar {
            Some(bar) => {
                bar.set_length(progress.steps);
                bar.set_position(progress.step);
                bar.set_message(details(progress));
            }
            None => {
                let share = (progress.step * SHARES).checked_div(progress.steps).unwrap_or(0);
                if share > self.share {
                    self.share = share;
                    let (stage, step, steps) = (&progress.stage, progress.step, progress.steps);
                    self.say(&format!("{stage:<11}  {step}/{steps} {}", details(progress)));
                }
            }
        }
    }
}

fn bar(progress: &LoggedProgress) -> ProgressBar {
    let bar = ProgressBar::new(progress.steps);
    let style = ProgressStyle::with_template("{prefix:<11}  {bar:24} {pos}/{len} {msg}")
        .expect("the template is well formed");
    bar.set_style(style);
    bar.set_prefix(progress.stage.clone());
    bar
}

fn details(progress: &LoggedProgress) -> String {
    let mut parts = vec![format!("{} workers", progress.workers)];
    parts.extend(
        progress
            .images_per_second
            .map(|rate| format!("{rate:.1} images/s")),
    );
    parts.extend(
        progress
            .seconds_left
            .map(|seconds| format!("{} left", duration_text(Duration::from_secs(seconds)))),
    );
    if !progress.losses.is_empty() {
        parts.push(losses_text(&progress.losses));
    }
    parts.join(" · ")
}
