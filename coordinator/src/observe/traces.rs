//! The run, its stages and its recoveries as spans of one trace; the workers add their steps.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use ulda_run::RunEnd;

use opentelemetry::KeyValue;
use ulda_run::ids::Generation;
use ulda_run::stage::{Cursor, Stage};
use ulda_telemetry::{Sender, Span, Spans, TraceContext, signed};

use super::metrics::break_reason_name;
use crate::run::{Audience, News};

/// An audience that makes spans of what it hears.
#[derive(Debug)]
pub struct Traces {
    spans: Spans,
    run: String,
    began: SystemTime,
    /// When each stage that is not done was first heard of.
    stages: BTreeMap<Stage, SystemTime>,
    /// Stages whose span was sent.
    told: BTreeSet<Stage>,
    broken: Option<Broken>,
    /// Sends what waits when it is dropped.
    _sender: Sender,
}

#[derive(Debug)]
struct Broken {
    at: SystemTime,
    generation: Generation,
    reason: &'static str,
    why: String,
}

impl Traces {
    /// Starts sending; `began_at` is milliseconds since 1970, of a run that is taken up again.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn start(run: &str, context: TraceContext, began_at: Option<i64>) -> std::io::Result<Self> {
        let attributes = vec![
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
            KeyValue::new("ulda.run", run.to_owned()),
        ];
        let sender = Sender::start(context, "ulda-coordinator", attributes)?;
        let began = began_at.and_then(|millis| u64::try_from(millis).ok());
        Ok(Self {
            spans: sender.spans(),
            run: run.to_owned(),
            began: began.map_or_else(SystemTime::now, |millis| {
                UNIX_EPOCH + Duration::from_millis(millis)
            }),
            stages: BTreeMap::new(),
            told: BTreeSet::new(),
            broken: None,
            _sender: sender,
        })
    }

    fn started(&mut self, now: SystemTime, generation: Generation, at: Option<Cursor>) {
        let Some(broken) = self.broken.take() else { return };
        let mut attributes = vec![
            KeyValue::new("ulda.generation.broken", signed(broken.generation.0)),
            KeyValue::new("ulda.generation.next", signed(generation.0)),
            KeyValue::new("ulda.reason", broken.reason),
            KeyValue::new("ulda.why", broken.why),
        ];
        if let Some(at) = at {
            attributes.push(KeyValue::new("ulda.stage", at.stage.name()));
            attributes.push(KeyValue::new("ulda.step", signed(at.step)));
        }
        self.spans.send(Span {
            id: self.spans.id(),
            parent: Some(self.spans.context().run()),
            name: "recovery".into(),
            start: broken.at,
            end: now,
            attributes,
            error: None,
        });
    }

    fn stage_over(&mut self, now: SystemTime, stage: Stage, lasted: Option<f64>, error: Option<&str>) {
        let known = self.stages.remove(&stage);
        if !self.told.insert(stage) {
            return;
        }
        let lasted = lasted.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        let start = known.or_else(|| now.checked_sub(lasted?));
        self.spans.send(Span {
            id: self.spans.context().stage(stage.name()),
            parent: Some(self.spans.context().run()),
            name: stage.name().into(),
            start: start.unwrap_or(now),
            end: now,
            attributes: vec![KeyValue::new("ulda.stage", stage.name())],
            error: error.map(str::to_owned),
        });
    }

    fn over(&mut self, end: &'static str, error: Option<&str>) {
        let now = SystemTime::now();
        while let Some((stage, _)) = self.stages.last_key_value() {
            self.stage_over(now, *stage, None, Some(error.unwrap_or("the run was stopped")));
        }
        self.spans.send(Span {
            id: self.spans.context().run(),
            parent: None,
            name: format!("run {}", self.run).into(),
            start: self.began,
            end: now,
            attributes: vec![
                KeyValue::new("ulda.run", self.run.clone()),
                KeyValue::new("ulda.end", end),
            ],
            error: error.map(str::to_owned),
        });
    }
}

impl Audience for Traces {
    fn hear(&mut self, news: &News) {
        match news {
            // Workers tell of a stage's last step one after the other.
            News::Progress { stage, .. } if !self.told.contains(stage) => {
                self.stages.entry(*stage).or_insert_with(SystemTime::now);
            }
            News::StageDone { stage, seconds } => {
                self.stage_over(SystemTime::now(), *stage, Some(*seconds), None);
            }
            News::GenerationAbandoned { generation, why } => {
                self.broken.get_or_insert_with(|| Broken {
                    at: SystemTime::now(),
                    generation: *generation,
                    reason: break_reason_name(why),
                    why: why.to_string(),
                });
            }
            News::GenerationStarted { generation, at } => self.started(SystemTime::now(), *generation, *at),
            News::Ended(RunEnd::Failed { why, .. }) => self.over("failed", Some(why)),
            News::Ended(end) => self.over(end.name(), None),
            _ => {}
        }
    }
}
