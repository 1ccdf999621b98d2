//! A run's facts as events: which tag, at which step. Plain data in, events out.
//!
//! Steps count over the whole run: step 3 of the second stage comes after all of the first. Invariant: before a
//! step is told a second time, because all workers that held its result were lost, what was told of it and of
//! later steps is declared void.

use std::collections::BTreeMap;
use ulda_run::RunEnd;

use prost::Message;
use prost_types::value::Kind;
use ulda_dataset::{ConfusionMatrix, PngHeader};
use ulda_run::Classes;
use ulda_run::stage::{Course, Cursor, Stage};

use super::event::{
    Content, Hparams, HparamsData, Metadata, Plugin, SessionEnd, SessionLog, SessionStart, Summary, Tensor,
    TensorBoardEvent, TensorBoardImage, Value, What,
};
use crate::history::steps_before;
use crate::rpc::{Measured, Measures};

/// Sections of run.toml whose values are hyper-parameters.
const HYPERPARAMETERS: [&str; 4] = ["run", "pretrain", "simulate", "adapt"];

/// An example strip of an evaluation set: its name and its PNG file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Strip {
    pub name: String,
    pub png: Vec<u8>,
}

/// Turns facts into events; times are seconds since 1970.
#[derive(Debug)]
pub struct TensorBoardEvents {
    course: Course,
    classes: Classes,
    /// The next step that is told is the first after a state that workers found by themselves.
    unplaced: bool,
    /// Where the latest told step stands.
    latest: Option<Cursor>,
    /// The latest step whose losses were told; they are the same on all workers.
    learned: Option<Cursor>,
    /// Where the pace was told last: what a slower rank tells of the same step comes too late for it.
    paced: Option<Cursor>,
    phases: BTreeMap<(u32, String), Mean>,
    images: u64,
    since: f64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Mean {
    total: f64,
    count: f64,
}

impl TensorBoardEvents {
    /// `now` is when the run, or a part of it, begins to be told.
    #[must_use]
    pub fn new(course: Course, classes: Classes, now: f64) -> Self {
        Self {
            course,
            classes,
            unplaced: false,
            latest: None,
            learned: None,
            paced: None,
            phases: BTreeMap::new(),
            images: 0,
            since: now,
        }
    }

    /// Steps of the whole run at `place`.
    fn at(&self, place: Cursor) -> i64 {
        i64::try_from(steps_before(&self.course, place)).unwrap_or(i64::MAX)
    }

    /// The configuration, as text and as hyper-parameters.
    #[must_use]
    pub fn configuration(&self, now: f64, run_toml: &str) -> TensorBoardEvent {
        let start = HparamsData::Start(SessionStart {
            hparams: hyperparameters(run_toml),
            start_time_secs: now,
        });
        let values = vec![
            Value {
                tag: "configuration/text_summary".into(),
                content: Some(Content::Tensor(Tensor::text(&format!(
                    "```toml\n{run_toml}\n```"
                )))),
                metadata: Some(plugin("text", Vec::new())),
            },
            hparams("_hparams_/session_start_info", start),
        ];
        summary(now, 0, values)
    }

    /// A generation trains on from `at`; `None` is wherever its workers' newest checkpoint is.
    #[must_use]
    pub fn generation_started(&mut self, now: f64, at: Option<Cursor>) -> Option<TensorBoardEvent> {
        self.unplaced = at.is_none();
        self.learned = at;
        self.paced = None;
        self.phases.clear();
        let first = self.at(at?) + 1;
        Some(void_from(now, first))
    }

    /// A worker in `rank` finished the step that leads to `place`.
    #[must_use]
    pub fn step(&mut self, now: f64, rank: u32, place: Cursor, measures: &Measures) -> Vec<TensorBoardEvent> {
        let mut events = Vec::new();
        if std::mem::take(&mut self.unplaced) {
            events.push(void_from(now, self.at(place)));
        }
        if self.latest.is_some_and(|latest| latest.stage != place.stage) {
            events.extend(self.pace(now));
        }
        self.latest = Some(place);
        self.images += measures.images;
        for phase in &measures.phase_seconds {
            let mean = self.phases.entry((rank, phase.name.clone())).or_default();
            mean.total += phase.value;
            mean.count += 1.0;
        }
        let stage = place.stage;
        let tagged = |kind: &str, of: &Measured| scalar(format!("{stage}/{kind}/{}", of.name), of.value);
        let losses = measures.training_losses().map(|loss| tagged("loss", loss));
        let rates = measures.learning_rates.iter();
        let values: Vec<Value> = losses
            .chain(rates.map(|rate| tagged("learning_rate", rate)))
            .collect();
        if !values.is_empty() && self.learned < Some(place) {
            self.learned = Some(place);
            events.push(summary(now, self.at(place), values));
        }
        events
    }

    /// Images per second and mean phase times since this was told last; nothing where no new step was done.
    #[must_use]
    pub fn pace(&mut self, now: f64) -> Option<TensorBoardEvent> {
        let place = self.latest?;
        let stage = place.stage;
        let seconds = now - std::mem::replace(&mut self.since, now);
        let images = std::mem::take(&mut self.images);
        let mut values = phase_means(stage, std::mem::take(&mut self.phases));
        if images > 0 && seconds > 0.0 {
            values.push(scalar(
                format!("{stage}/images_per_second"),
                images as f64 / seconds,
            ));
        }
        if values.is_empty() || self.paced.replace(place) == Some(place) {
            return None;
        }
        Some(summary(now, self.at(place), values))
    }

    /// Mean phase times of a stage that is over, by rank: seconds of one of its steps.
    #[must_use]
    pub fn stage_phases(
        &self,
        now: f64,
        stage: Stage,
        totals: &[(u32, String, f64)],
    ) -> Option<TensorBoardEvent> {
        let steps = self.course.steps(stage);
        let count = steps as f64;
        let means = totals
            .iter()
            .map(|(rank, phase, total)| {
                let mean = Mean { total: *total, count };
                ((*rank, phase.clone()), mean)
            })
            .collect();
        let values = phase_means(stage, means);
        let end = self.at(Cursor { stage, step: steps });
        (!values.is_empty()).then(|| summary(now, end, values))
    }

    /// A model was scored on an evaluation set.
    #[must_use]
    pub fn evaluated(
        &self,
        now: f64,
        set: &str,
        model: &str,
        place: Cursor,
        confusion: &ConfusionMatrix,
    ) -> Option<TensorBoardEvent> {
        let scores = confusion.scores();
        let mut values = vec![scalar(format!("miou/{set}/{model}"), scores.mean_iou?)];
        for (class, score) in self.classes.iter().zip(&scores.class_iou) {
            let tag = format!("class_iou/{set}/{model}/{}", class.name.replace(' ', "_"));
            values.extend(score.map(|score| scalar(tag, score)));
        }
        Some(summary(now, self.at_evaluation(place), values))
    }

    /// The example strips of an evaluation set.
    #[must_use]
    pub fn examples(&self, now: f64, set: &str, place: Cursor, strips: &[Strip]) -> Option<TensorBoardEvent> {
        let values: Vec<Value> = strips
            .iter()
            .filter_map(|strip| {
                let size = PngHeader::parse(&strip.png)?.size;
                Some(Value {
                    tag: format!("examples/{set}/{}", strip.name),
                    content: Some(Content::Image(TensorBoardImage {
                        height: i32::try_from(size.height).ok()?,
                        width: i32::try_from(size.width).ok()?,
                        colorspace: 3,
                        encoded: strip.png.clone(),
                    })),
                    metadata: None,
                })
            })
            .collect();
        (!values.is_empty()).then(|| summary(now, self.at_evaluation(place), values))
    }

    /// An evaluation is told while its set is the step in work, a validation after its step.
    fn at_evaluation(&self, place: Cursor) -> i64 {
        self.at(place) + i64::from(place.stage == Stage::Evaluate)
    }

    /// The run is over; nothing of one that was stopped, as it may go on.
    #[must_use]
    pub fn ended(&self, now: f64, end: &RunEnd) -> Option<TensorBoardEvent> {
        let status = match end {
            RunEnd::Finished { .. } => SessionEnd::SUCCESS,
            RunEnd::Failed { .. } => SessionEnd::FAILURE,
            RunEnd::Stopped => return None,
        };
        let end = HparamsData::End(SessionEnd {
            status,
            end_time_secs: now,
        });
        Some(summary(now, 0, vec![hparams("_hparams_/session_end_info", end)]))
    }
}

fn phase_means(stage: Stage, means: BTreeMap<(u32, String), Mean>) -> Vec<Value> {
    let tagged = means.into_iter().map(|((rank, phase), mean)| {
        scalar(
            format!("{stage}/phase_seconds/{phase}/rank_{rank}"),
            mean.total / mean.count.max(1.0),
        )
    });
    tagged.collect()
}

fn summary(now: f64, step: i64, value: Vec<Value>) -> TensorBoardEvent {
    TensorBoardEvent {
        wall_time: now,
        step,
        what: Some(What::Summary(Summary { value })),
    }
}

/// Whatever was told of `step` and later ones does not count any more.
fn void_from(now: f64, step: i64) -> TensorBoardEvent {
    TensorBoardEvent {
        wall_time: now,
        step,
        what: Some(What::SessionLog(SessionLog {
            status: SessionLog::START,
        })),
    }
}

fn scalar(tag: String, value: f64) -> Value {
    Value {
        tag,
        content: Some(Content::Scalar(value as f32)),
        metadata: None,
    }
}

fn plugin(name: &str, content: Vec<u8>) -> Metadata {
    Metadata {
        plugin: Some(Plugin {
            name: name.to_owned(),
            content,
        }),
    }
}

fn hparams(tag: &str, data: HparamsData) -> Value {
    let content = Hparams { data: Some(data) }.encode_to_vec();
    Value {
        tag: tag.to_owned(),
        content: None,
        metadata: Some(plugin("hparams", content)),
    }
}

/// Plain values of the sections that are hyper-parameters, under `section.key`.
fn hyperparameters(run_toml: &str) -> BTreeMap<String, prost_types::Value> {
    let table: toml::Table = run_toml.parse().unwrap_or_default();
    let mut found = BTreeMap::new();
    for section in HYPERPARAMETERS {
        let Some(toml::Value::Table(keys)) = table.get(section) else {
            continue;
        };
        for (key, value) in keys {
            let kind = match value {
                toml::Value::Integer(number) => Kind::NumberValue(*number as f64),
                toml::Value::Float(number) => Kind::NumberValue(*number),
                toml::Value::Boolean(truth) => Kind::BoolValue(*truth),
                toml::Value::String(text) => Kind::StringValue(text.clone()),
                toml::Value::Datetime(_) | toml::Value::Array(_) | toml::Value::Table(_) => continue,
            };
            found.insert(
                format!("{section}.{key}"),
                prost_types::Value { kind: Some(kind) },
            );
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use ulda_run::stage::StageLength;

    use super::*;

    fn board() -> TensorBoardEvents {
        let lengths = [(Stage::Simulate, 10), (Stage::Adapt, 100), (Stage::Evaluate, 2)];
        TensorBoardEvents::new(
            Course::new(lengths.map(|(stage, steps)| StageLength { stage, steps })),
            Classes::default(),
            100.0,
        )
    }

    fn at(stage: Stage, step: u64) -> Cursor {
        Cursor { stage, step }
    }

    fn loss(value: f64) -> Measures {
        Measures {
            losses: vec![Measured::new("seg", value)],
            phase_seconds: vec![Measured::new("forward", 0.5)],
            images: 4,
            ..Measures::default()
        }
    }

    fn tags(event: &TensorBoardEvent) -> Vec<&str> {
        match &event.what {
            Some(What::Summary(summary)) => summary.value.iter().map(|value| value.tag.as_str()).collect(),
            _ => Vec::new(),
        }
    }

    #[test]
    fn steps_count_over_the_whole_run() {
        let mut board = board();
        let told = board.step(101.0, 0, at(Stage::Adapt, 3), &loss(1.5));
        assert_eq!(told[0].step, 13);
        assert_eq!(tags(&told[0]), ["adapt/loss/seg"]);
        let ones = ConfusionMatrix::from_counts(&[1; 361]).unwrap();
        let evaluated = board.evaluated(102.0, "fog", "adapted", at(Stage::Evaluate, 1), &ones);
        assert_eq!(evaluated.unwrap().step, 112);
        let validated = board.evaluated(102.0, "source", "validation", at(Stage::Adapt, 20), &ones);
        assert_eq!(validated.unwrap().step, 30);
    }

    #[test]
    fn the_pace_of_a_step_is_told_once_however_late_a_rank_is() {
        let mut board = board();
        let step = |board: &mut TensorBoardEvents, rank, step| {
            let _ = board.step(101.0, rank, at(Stage::Adapt, step), &loss(1.0));
        };
        step(&mut board, 0, 3);
        assert_eq!(board.pace(102.0).unwrap().step, 13);
        step(&mut board, 1, 3);
        assert_eq!(board.pace(103.0), None);
        step(&mut board, 0, 4);
        assert_eq!(board.pace(104.0).unwrap().step, 14);
        // Trained again, it is told again.
        let _ = board.generation_started(105.0, Some(at(Stage::Adapt, 3)));
        step(&mut board, 0, 4);
        assert_eq!(board.pace(106.0).unwrap().step, 14);
    }

    #[test]
    fn what_is_trained_again_is_declared_void_first() {
        let void = |event: &TensorBoardEvent| match &event.what {
            Some(What::SessionLog(log)) => (log.status == SessionLog::START).then_some(event.step),
            _ => None,
        };
        let mut board = board();
        let placed = board.generation_started(1.0, Some(at(Stage::Adapt, 20))).unwrap();
        assert_eq!(void(&placed), Some(31));
        assert_eq!(board.generation_started(2.0, None), None);
        let told = board.step(3.0, 1, at(Stage::Adapt, 5), &loss(1.0));
        assert_eq!((void(&told[0]), told[1].step), (Some(15), 15));
        // Another worker tells the same of the same step.
        assert!(board.step(4.0, 0, at(Stage::Adapt, 5), &loss(1.0)).is_empty());
        assert_eq!(board.step(5.0, 0, at(Stage::Adapt, 6), &loss(1.0)).len(), 1);
    }

    #[test]
    fn a_stage_ends_with_its_own_pace() {
        let mut board = board();
        for (rank, step) in [(0, 1), (1, 1), (0, 2)] {
            let _ = board.step(101.0, rank, at(Stage::Simulate, step), &loss(1.0));
        }
        let told = board.step(104.0, 0, at(Stage::Adapt, 1), &loss(1.0));
        assert_eq!(
            tags(&told[0]),
            [
                "simulate/phase_seconds/forward/rank_0",
                "simulate/phase_seconds/forward/rank_1",
                "simulate/images_per_second"
            ]
        );
        assert_eq!(told[0].step, 2);
        let Some(What::Summary(summary)) = &told[0].what else {
            panic!("{told:?}")
        };
        let pace = summary.value.last().unwrap().content.as_ref();
        assert_eq!(pace, Some(&Content::Scalar(3.0)));
    }

    #[test]
    fn plain_values_of_the_stages_are_hyperparameters() {
        let text = "[run]\nseed = 7\nname = \"a\"\n[adapt]\nrectifier = true\nlr = 0.5\nlist = [1]\n[deadline]\nform = 3";
        let names: Vec<String> = hyperparameters(text).into_keys().collect();
        assert_eq!(names, ["adapt.lr", "adapt.rectifier", "run.name", "run.seed"]);
    }
}
