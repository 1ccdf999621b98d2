//! One round of one lane: a batch, with all its inner iterations, for the domains of its prompt group.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tch::Tensor;
use ulda_method::Phases;
use ulda_method::projector::{PARAMETER_NAMES, Projector};
use ulda_method::simulate::{
    DomainProjector, DomainStyle, Hooks, Networks, Round, RoundBatch, Segmenter, Start,
};
use ulda_method::stats::Stats;
use ulda_run::plan::{Lane, Purpose};
use ulda_run::stage::{Cursor, Stage};

use super::Simulate;
use super::losses::RoundLosses;
use crate::link::{At, LanePrototypes, LaneReduce, Op};
use crate::stages::StageError;
use crate::stages::feed::Batch;

/// Least time between two notes on how far a round has come.
const NOTE_EVERY: Duration = Duration::from_secs(1);

/// Statistics of a lane's source crops in its message, [B, C₁, 1, 1] each.
pub(super) const CONTENT_MEAN: &str = "content.mean";
pub(super) const CONTENT_STD: &str = "content.std";

/// What a lane learned in a round.
pub(super) struct Learned {
    pub tensors: BTreeMap<String, Tensor>,
    pub losses: RoundLosses,
    pub phases: Phases,
    pub waited: Duration,
}
impl Simulate<'_> {
    pub(super) fn learn(&mut self, step: u64, lane: Lane) -> Result<Learned, StageError> {
        let feed = self.feed.as_mut().ok_or(StageError::Unprepared {
            stage: "simulate",
            what: "feed",
        })?;
        let batch = feed.next()?;
        let mut mine = Vec::new();
        for domain in self.lanes.domains_of(lane.prompt_group) {
            let projector = Projector::from_values(&self.projectors[domain].parameters())?;
            mine.push(DomainProjector { domain, projector });
        }
        let (losses, phases, styles, content) = self.round(step, lane, &batch, &mut mine)?;
        let mut tensors = BTreeMap::new();
        for style in styles {
            tensors.insert(format!("style.{}.mean", style.domain), style.mean);
            tensors.insert(format!("style.{}.std", style.domain), style.std);
        }
        tensors.insert(CONTENT_MEAN.to_owned(), content.mean);
        tensors.insert(CONTENT_STD.to_owned(), content.std);
        if lane.data_shard == 0 {
            for owned in &mine {
                for (name, value) in PARAMETER_NAMES.iter().zip(owned.projector.parameters()) {
                    tensors.insert(format!("projector.{}.{name}", owned.domain), value.detach());
                }
            }
        }
        Ok(Learned {
            tensors,
            losses,
            phases,
            waited: batch.waited,
        })
    }

    fn round(
        &self,
        step: u64,
        lane: Lane,
        batch: &Batch,
        projectors: &mut [DomainProjector],
    ) -> Result<(RoundLosses, Phases, Vec<DomainStyle>, Stats), StageError> {
        let resources = &self.context.resources;
        let at = At::step(Stage::Simulate, step);
        let prepared = RoundBatch::prepare(
            &resources.clip,
            &batch.images,
            &batch.labels,
            &self.texts,
            &self.settings.weights,
        )?;
        let networks = Networks {
            clip: &resources.clip,
            segmentation: Some(Segmenter {
                backbone: &resources.segmentation,
                head: &self.head,
            }),
        };
        let mut round = Round::begin(self.settings, networks, &prepared, projectors, Start::Content)?;
        let exchange = LanePrototypes::new(&self.context.link, at, &self.lanes, lane, resources.device);
        let reduce = LaneReduce::new(&self.context.link, at, &self.lanes, lane);
        let dropout_seed = |iteration: usize, domain: usize| {
            let position = (iteration * self.projectors.len() + domain) as u64;
            let batch = self.lanes.batch_number(step, lane.data_shard);
            self.context
                .seed(Purpose::Dropout, Stage::Simulate, batch, position)
        };
        let hooks = Hooks {
            exchange: &exchange,
            reduce: &reduce,
            dropout_seed: &dropout_seed,
        };
        let mut phases = Phases::default();
        let mut noted = Instant::now();
        let mut last = None;
        while round.done() < self.settings.iterations {
            self.context.interrupt.check()?;
            let report = round.iterate(&hooks)?;
            phases.add(&report.phases);
            self.pulse(step, report.iteration)?;
            if noted.elapsed() >= NOTE_EVERY {
                noted = Instant::now();
                let (iteration, all) = (report.iteration, self.settings.iterations);
                let note = format!("step {}: iteration {iteration} of {all}", step + 1);
                self.context.activity(
                    Cursor {
                        stage: Stage::Simulate,
                        step,
                    },
                    note,
                );
            }
            last = Some(report);
        }
        let losses = last.map_or_else(RoundLosses::default, |report| RoundLosses {
            domains: report.domains.into_iter().map(|domain| domain.losses).collect(),
            cross: report.cross,
        });
        let content = Stats {
            mean: prepared.content().mean.shallow_clone(),
            std: prepared.content().std.shallow_clone(),
        };
        Ok((losses, phases, round.styles()?, content))
    }

    /// Keeps all shards within one iteration of each other, so that no wait is as long as a round.
    fn pulse(&self, step: u64, iteration: usize) -> Result<(), StageError> {
        let at = At {
            iteration: iteration as u32,
            ..At::step(Stage::Simulate, step)
        };
        let everyone = self.context.link.everyone();
        self.context.link.gather(at, Op::Pulse, &everyone, &[])?;
        Ok(())
    }

    /// A shard without a lane only keeps pace.
    pub(super) fn keep_pace(&self, step: u64) -> Result<(), StageError> {
        (1..=self.settings.iterations).try_for_each(|iteration| {
            self.context.interrupt.check()?;
            self.pulse(step, iteration)
        })
    }
}
