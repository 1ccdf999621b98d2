//! Stage 0: supervised training of the head on the source. METHOD "Stage 0".

use ulda_model::{Backbone, Head};

use crate::error::Result;
use crate::optim::SgdSettings;
use crate::supervised::{ShardBatch, ShardStep, StepContext, supervised_step};
use crate::trainable::TrainableSet;

/// Published learning rate of the head.
pub const PUBLISHED_LR: f64 = 0.1;

/// What pretrain trains: group `head`.
///
/// # Errors
/// See [`TrainableSet::new`].
pub fn trainables(head: &Head, settings: SgdSettings) -> Result<TrainableSet> {
    crate::adapt::trainables(head, None, settings)
}

/// One shard's part of a pretrain step: plain features, head in train mode.
///
/// # Errors
/// See [`crate::adapt::AdaptStep::run`].
pub fn pretrain_step(
    backbone: &Backbone,
    head: &Head,
    batch: &ShardBatch<'_>,
    context: &StepContext,
) -> Result<ShardStep> {
    supervised_step("pretrain", backbone, head, batch, context, || {
        batch.low_level(backbone)
    })
}
