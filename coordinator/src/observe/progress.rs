//! How far a run is, from what its workers tell.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use tokio::time::Instant;
use ulda_run::stage::{Course, Stage};

use crate::rpc::Measures;

/// Rates are means over this much of the past.
const WINDOW: Duration = Duration::from_secs(15);
/// A shorter past says nothing: messages come in bursts.
const LEAST: Duration = Duration::from_secs(1);

/// The state of a run's progress.
#[derive(Clone, Debug)]
pub struct RunProgress {
    course: Course,
    pub stage: Option<Stage>,
    pub steps_done: u64,
    pub workers: u32,
    /// Loss terms of step `losses_of`, the newest of the present stage whose losses are known.
    pub losses: BTreeMap<String, f64>,
    pub losses_of: u64,
    pub activity: String,
    /// Steps done and images trained on in the present stage.
    step_rate: Rate,
    image_rate: Rate,
    images: u64,
    /// Domains whose styles were warned of.
    warned: BTreeSet<String>,
}

/// When a count grew, and what it was then. Messages between two steps leave it alone: a step of stage 1 can take longer than
/// the window, and its rate must not depend on how far into the next step it is asked for.
#[derive(Clone, Debug, Default)]
struct Rate {
    grown: VecDeque<(Instant, u64)>,
}

impl Rate {
    fn note(&mut self, now: Instant, count: u64) {
        if self.grown.back().is_some_and(|(_, last)| *last == count) {
            return;
        }
        self.grown.push_back((now, count));
        // The newest that is older than the window stays: the window's change is counted from it.
        while self.grown.len() > 2 && now - self.grown[1].0 > WINDOW {
            self.grown.pop_front();
        }
    }

    /// Above zero; `None` before it can be told.
    fn per_second(&self) -> Option<f64> {
        let ((began, first), (ended, last)) = self.grown.front().zip(self.grown.back())?;
        let span = *ended - *began;
        (span >= LEAST).then(|| (last - first) as f64 / span.as_secs_f64())
    }
}

impl RunProgress {
    #[must_use]
    pub fn new(course: Course) -> Self {
        Self {
            course,
            stage: None,
            steps_done: 0,
            workers: 0,
            losses: BTreeMap::new(),
            losses_of: 0,
            activity: String::new(),
            step_rate: Rate::default(),
            image_rate: Rate::default(),
            images: 0,
            warned: BTreeSet::new(),
        }
    }

    /// Takes in one progress message of any worker that arrived at `now`.
    pub fn advance(&mut self, now: Instant, stage: Stage, steps_done: u64, measures: &Measures) {
        if self.stage.is_some_and(|present| stage < present) {
            return;
        }
        if self.stage != Some(stage) {
            self.stage = Some(stage);
            self.steps_done = 0;
            self.losses.clear();
            self.losses_of = 0;
            self.step_rate = Rate::default();
            self.image_rate = Rate::default();
            self.images = 0;
        }
        self.steps_done = self.steps_done.max(steps_done);
        self.images += measures.images;
        // A slower worker's message of an earlier step may come after a faster one's of a later step.
        if !measures.losses.is_empty() && steps_done >= self.losses_of {
            let terms = measures.losses.iter().map(|loss| (loss.name.clone(), loss.value));
            self.losses = terms.collect();
            self.losses_of = steps_done;
        }
        self.activity.clone_from(&measures.activity);
        self.step_rate.note(now, self.steps_done);
        self.image_rate.note(now, self.images);
    }

    /// A sentence on each domain whose styles are out of range and were not before.
    pub fn style_warnings(&mut self, measures: &Measures) -> Vec<String> {
        let found = measures.styles.iter().filter_map(|(domain, health)| {
            let warning = health.warning()?;
            let first = self.warned.insert(domain.clone());
            first.then(|| format!("styles of `{domain}`: {warning}"))
        });
        found.collect()
    }

    #[must_use]
    pub fn steps_total(&self) -> u64 {
        self.stage.map_or(0, |stage| self.course.steps(stage))
    }

    /// Of all workers together; `None` before it can be told.
    #[must_use]
    pub fn images_per_second(&self) -> Option<f64> {
        self.image_rate.per_second()
    }

    /// Until the present stage ends.
    #[must_use]
    pub fn time_left(&self) -> Option<Duration> {
        let rate = self.step_rate.per_second()?;
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

#[cfg(test)]
mod tests {
    use ulda_run::stage::StageLength;

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
        let mut progress = RunProgress::new(course);
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let told = Measures {
            losses: vec![Measured::new("seg", 2.0)],
            images: 8,
            ..Measures::default()
        };
        progress.advance(start, Stage::Adapt, 10, &told);
        assert_eq!((progress.images_per_second(), progress.time_left()), (None, None));
        progress.advance(start + second, Stage::Adapt, 20, &told);
        assert_eq!(progress.steps_total(), 100);
        assert_eq!(progress.time_left(), Some(8 * second));
        assert_eq!(progress.images_per_second(), Some(8.0));
        assert_eq!(progress.place_in_course(), (2, 2));
        progress.advance(start + second, Stage::Simulate, 3, &Measures::default());
        assert_eq!(
            progress.stage,
            Some(Stage::Adapt),
            "a message of an earlier stage changes nothing"
        );
        for step in 0..30 {
            progress.advance(
                start + (40 + step) * second,
                Stage::Adapt,
                21 + u64::from(step),
                &told,
            );
        }
        assert_eq!(
            progress.images_per_second(),
            Some(8.0),
            "what is long past no longer counts"
        );
    }

    #[test]
    fn steps_longer_than_the_window_have_one_rate() {
        let mut progress = RunProgress::new(Course::new([StageLength {
            stage: Stage::Simulate,
            steps: 10,
        }]));
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let two = Measures {
            images: 2,
            ..Measures::default()
        };
        progress.advance(start, Stage::Simulate, 0, &Measures::default());
        for step in 1..4 {
            progress.advance(start + step * 20 * second, Stage::Simulate, u64::from(step), &two);
            for later in [5, 10, 16] {
                let now = start + (step * 20 + later) * second;
                progress.advance(now, Stage::Simulate, u64::from(step), &Measures::default());
                assert_eq!(
                    progress.images_per_second(),
                    Some(0.1),
                    "{later} s into step {step}"
                );
                assert_eq!(progress.time_left(), Some((10 - step) * 20 * second));
            }
        }
    }

    #[test]
    fn losses_are_those_of_one_step() {
        let mut progress = RunProgress::new(Course::new([StageLength {
            stage: Stage::Adapt,
            steps: 10,
        }]));
        let measured = |terms: &[(&str, f64)]| Measures {
            losses: terms
                .iter()
                .map(|(name, value)| Measured::new(*name, *value))
                .collect(),
            ..Measures::default()
        };
        let known = |progress: &RunProgress| {
            let terms: Vec<(String, f64)> = progress.losses.clone().into_iter().collect();
            (progress.steps_done, progress.losses_of, terms)
        };
        let now = Instant::now();
        progress.advance(
            now,
            Stage::Adapt,
            5,
            &measured(&[("seg", 0.5), ("validation_miou", 0.3)]),
        );
        progress.advance(now, Stage::Adapt, 4, &measured(&[("seg", 0.4)]));
        let of_five = vec![("seg".to_owned(), 0.5), ("validation_miou".to_owned(), 0.3)];
        assert_eq!(
            known(&progress),
            (5, 5, of_five),
            "a slower worker's step 4 changes nothing"
        );
        progress.advance(now, Stage::Adapt, 6, &measured(&[("seg", 0.6)]));
        assert_eq!(
            known(&progress),
            (6, 6, vec![("seg".to_owned(), 0.6)]),
            "the score of step 5 is not one of step 6"
        );
    }
}
