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
    /// Steps done and images trained on in the present stage, as they were told.
    seen: VecDeque<Seen>,
    images: u64,
    /// Domains whose styles were warned of.
    warned: BTreeSet<String>,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    at: Instant,
    steps: u64,
    images: u64,
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
            seen: VecDeque::new(),
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
            self.seen.clear();
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
        self.seen.push_back(Seen {
            at: now,
            steps: self.steps_done,
            images: self.images,
        });
        while self.seen.len() > 2 && self.seen.front().is_some_and(|first| now - first.at > WINDOW) {
            self.seen.pop_front();
        }
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

    /// Change of a count per second over the window.
    fn rate(&self, count: impl Fn(&Seen) -> u64) -> Option<f64> {
        let (first, last) = self.seen.front().zip(self.seen.back())?;
        let span = last.at - first.at;
        (span >= LEAST).then(|| (count(last) - count(first)) as f64 / span.as_secs_f64())
    }

    #[must_use]
    pub fn steps_total(&self) -> u64 {
        self.stage.map_or(0, |stage| self.course.steps(stage))
    }

    /// Of all workers together; `None` before it can be told.
    #[must_use]
    pub fn images_per_second(&self) -> Option<f64> {
        self.rate(|seen| seen.images).filter(|rate| *rate > 0.0)
    }

    /// Until the present stage ends.
    #[must_use]
    pub fn time_left(&self) -> Option<Duration> {
        let rate = self.rate(|seen| seen.steps).filter(|rate| *rate > 0.0)?;
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
        progress.advance(start + 40 * second, Stage::Adapt, 20, &Measures::default());
        progress.advance(start + 41 * second, Stage::Adapt, 21, &told);
        assert_eq!(
            progress.images_per_second(),
            Some(8.0),
            "what is long past no longer counts"
        );
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
