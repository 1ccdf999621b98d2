//! How many samples of a step a shard computes.

use ulda_run::plan::{Lanes, slice};
use ulda_run::spec::{RunSpec, StyleSource};
use ulda_run::stage::Stage;

/// Samples per step by shard, of the stages that train. Sets are scored again as a whole, so evaluate has none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SamplesPerStep {
    pretrain: Vec<usize>,
    simulate: Vec<usize>,
    adapt: Vec<usize>,
}

impl SamplesPerStep {
    #[must_use]
    pub fn of(spec: &RunSpec) -> Self {
        let config = spec.config();
        let shards = spec.shards();
        let batch = |images: u32| -> Vec<usize> {
            let active = shards.min(images) as usize;
            (0..active)
                .map(|shard| slice(images as usize, active, shard).len())
                .collect()
        };
        let lanes = Lanes {
            data_shards: config.simulate.data_shards,
            prompt_groups: spec.prompt_groups(),
            domains: u32::try_from(config.domains.len()).unwrap_or(u32::MAX),
        };
        Self {
            pretrain: batch(config.pretrain.batch),
            simulate: match config.simulate.styles {
                StyleSource::Learned => vec![config.simulate.batch as usize; lanes.count() as usize],
                // One lane per batch measures it.
                StyleSource::Content => (0..lanes.count())
                    .map(|lane| match lane.is_multiple_of(lanes.prompt_groups) {
                        true => config.simulate.batch as usize,
                        false => 0,
                    })
                    .collect(),
                StyleSource::Images | StyleSource::Bank => Vec::new(),
            },
            adapt: batch(config.adapt.batch),
        }
    }

    /// Of one shard; none where it has nothing to do.
    #[must_use]
    pub fn of_shard(&self, stage: Stage, shard: usize) -> u64 {
        let stage = match stage {
            Stage::Pretrain => &self.pretrain,
            Stage::Simulate => &self.simulate,
            Stage::Adapt => &self.adapt,
            Stage::Evaluate => return 0,
        };
        stage.get(shard).map_or(0, |samples| *samples as u64)
    }
}
