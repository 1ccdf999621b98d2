//! How far a run is, from what its workers tell.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;
use ulda_core::ids::Slot;
use ulda_core::stage::{Course, Stage};

use crate::rpc::Measures;

/// Share of a new rate in the running average.
const FRESH: f64 = 0.3;

/// The state of a run's progress.
#[derive(Clone, Debug)]
pub struct Progress {
    course: Course,
    pub stage: Option<Stage>,
    pub steps_done: u64,
    pub workers: u32,
    /// Newest value of each loss term of the present stage.
    pub losses: BTreeMap<String, f64>,
    pub activity: String,
    steps_per_second: Option<f64>,
    images_per_second: BTreeMap<Slot, f64>,
    stage_seen: Option<Instant>,
    step_seen: Option<(Instant, u64)>,
    slots_seen: BTreeMap<Slot, Instant>,
}

impl Progress {
    #[must_use]
    pub fn new(course: Course) -> Self {
        Self {
            course,
            stage: None,
            steps_done: 0,
            workers: 0,
            losses: BTreeMap::new(),
            activity: String::new(),
            steps_per_second: None,
            images_per_second: BTreeMap::new(),
            stage_seen: None,
            step_seen: None,
            slots_seen: BTreeMap::new(),
        }
    }

    /// Takes in one progress message that arrived at `now`.
    pub fn advance(&mut self, now: Instant, slot: Slot, stage: Stage, steps_done: u64, measures: &Measures) {
        if self.stage.is_some_and(|present| stage < present) {
            return;
        }
        if self.stage != Some(stage) {
            self.stage = Some(stage);
            self.steps_done = 0;
            self.losses.clear();
            self.steps_per_second = None;
            self.images_per_second.clear();
            self.stage_seen = Some(now);
            self.step_seen = None;
        }
        self.steps_done = self.steps_done.max(steps_done);
        for loss in &measures.losses {
            self.losses.insert(loss.name.clone(), loss.value);
        }
        self.activity.clone_from(&measures.activity);
        match self.step_seen {
            None => self.step_seen = Some((now, steps_done)),
            Some((then, before)) if steps_done > before && now > then => {
                let rate = (steps_done - before) as f64 / (now - then).as_secs_f64();
                self.steps_per_second = Some(mixed(self.steps_per_second, rate));
                self.step_seen = Some((now, steps_done));
            }
            Some(_) => {}
        }
        if measures.images > 0 {
            let since = self.slots_seen.get(&slot).copied().or(self.stage_seen);
            if let Some(seconds) = since
                .map(|since| (now - since).as_secs_f64())
                .filter(|seconds| *seconds > 0.0)
            {
                let rate = measures.images as f64 / seconds;
                let before = self.images_per_second.get(&slot).copied();
                self.images_per_second.insert(slot, mixed(before, rate));
            }
        }
        self.slots_seen.insert(slot, now);
    }

    /// A worker left: its throughput no longer counts.
    pub fn left(&mut self, slot: Slot) {
        self.images_per_second.remove(&slot);
    }

    #[must_use]
    pub fn steps_total(&self) -> u64 {
        self.stage.map_or(0, |stage| self.course.steps(stage))
    }

    /// Of all workers together.
    #[must_use]
    pub fn images_per_second(&self) -> f64 {
        self.images_per_second.values().sum()
    }

    /// Until the present stage ends.
    #[must_use]
    pub fn time_left(&self) -> Option<Duration> {
        let rate = self.steps_per_second.filter(|rate| *rate > 0.0)?;
        let left = self.steps_total().saturating_sub(self.steps_done) as f64 / rate;
        Some(Duration::from_secs_f64(left.min(1e8)))
    }

    /// "stage 2 of 4".
    #[must_use]
    pub fn place_in_course(&self) -> (usize, usize) {
        let stages = self.course.stages();
        let index = stages
            .iter()
            .position(|length| Some(length.stage) == self.stage)
            .map_or(0, |index| index + 1);
        (index, stages.len())
    }
}

fn mixed(before: Option<f64>, rate: f64) -> f64 {
    before.map_or(rate, |before| before * (1.0 - FRESH) + rate * FRESH)
}

/// "3 s", "4 min 10 s", "2 h 05 min".
#[must_use]
pub fn duration_text(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..60 if duration.as_secs_f64() < 10.0 => format!("{:.1} s", duration.as_secs_f64()),
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} min", seconds / 3600, seconds / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use ulda_core::stage::StageLength;

    use super::*;
    use crate::rpc::Measured;

    #[test]
    fn rates_and_time_left_come_of_what_was_seen() {
        let course = Course::new([
            StageLength {
                stage: Stage::Simulate,
                steps: 10,
            },
            StageLength {
                stage: Stage::Adapt,
                steps: 100,
            },
        ]);
        let mut progress = Progress::new(course);
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let told = Measures {
            losses: vec![Measured {
                name: "seg".into(),
                value: 2.0,
            }],
            images: 8,
            ..Measures::default()
        };
        progress.advance(start, Slot(0), Stage::Adapt, 10, &told);
        progress.advance(start + second, Slot(0), Stage::Adapt, 20, &told);
        assert_eq!(progress.steps_total(), 100);
        assert_eq!(progress.time_left(), Some(8 * second));
        assert!((progress.images_per_second() - 8.0).abs() < 1e-9);
        assert_eq!(progress.place_in_course(), (2, 2));
        progress.advance(start + second, Slot(1), Stage::Simulate, 3, &Measures::default());
        assert_eq!(
            progress.stage,
            Some(Stage::Adapt),
            "a message of an earlier stage changes nothing"
        );
        progress.left(Slot(0));
        assert_eq!(progress.images_per_second(), 0.0);
    }

    #[test]
    fn durations_read_well() {
        let text = |seconds| duration_text(Duration::from_secs_f64(seconds));
        assert_eq!(
            [text(2.34), text(42.0), text(250.0), text(7500.0)],
            ["2.3 s", "42 s", "4 min 10 s", "2 h 05 min"]
        );
    }
}
