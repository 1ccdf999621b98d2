//! Steps with their phases as spans below the stage's.

use std::time::{Duration, SystemTime};

use opentelemetry::KeyValue;
use ulda_run::stage::Cursor;
use ulda_telemetry::{Sender, Span, Spans, TraceContext, TraceSampling, signed};

/// A step that a shard finished.
#[derive(Clone, Copy, Debug)]
pub struct StepDone<'a> {
    /// The step, by its number from 0.
    pub at: Cursor,
    pub shard: u32,
    pub began: SystemTime,
    pub phase_seconds: &'a [(&'static str, f64)],
}

/// Makes spans of some steps.
#[derive(Debug)]
pub struct StepTraces {
    spans: Spans,
    sampling: TraceSampling,
    rank: u32,
}

impl StepTraces {
    /// Starts sending for the worker in slot `rank`; what waits is sent when the sender is dropped.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn start(context: TraceContext, run: &str, rank: u32) -> std::io::Result<(Self, Sender)> {
        let attributes = vec![
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
            KeyValue::new("service.instance.id", format!("{run}/{rank}")),
            KeyValue::new("ulda.run", run.to_owned()),
            KeyValue::new("ulda.rank", i64::from(rank)),
        ];
        let sender = Sender::start(context, "ulda-worker", attributes)?;
        let traces = Self {
            spans: sender.spans(),
            sampling: TraceSampling::from_environment(),
            rank,
        };
        Ok((traces, sender))
    }

    /// A step with its phases, one after the other: what a phase did in several parts is told as one.
    pub fn tell(&self, generation: u64, step: &StepDone<'_>) {
        let stage = step.at.stage.name();
        if !self.sampling.takes(self.spans.context(), stage, step.at.step) {
            return;
        }
        let id = self.spans.id();
        self.spans.send(Span {
            id,
            parent: Some(self.spans.context().stage(stage)),
            name: "step".into(),
            start: step.began,
            end: SystemTime::now(),
            attributes: vec![
                KeyValue::new("ulda.stage", stage),
                KeyValue::new("ulda.step", signed(step.at.step)),
                KeyValue::new("ulda.generation", signed(generation)),
                KeyValue::new("ulda.rank", i64::from(self.rank)),
                KeyValue::new("ulda.shard", i64::from(step.shard)),
            ],
            error: None,
        });
        let mut start = step.began;
        for (phase, seconds) in step.phase_seconds {
            let lasted = Duration::try_from_secs_f64(*seconds).unwrap_or_default();
            let end = start + lasted;
            self.spans.send(Span {
                id: self.spans.id(),
                parent: Some(id),
                name: (*phase).into(),
                start,
                end,
                attributes: Vec::new(),
                error: None,
            });
            start = end;
        }
    }
}
