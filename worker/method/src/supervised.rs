//! One shard's part of a supervised step: head in train mode over the frozen backbone, loss, gradients
//! into the flat buffer. Pretrain and adapt differ only in the low-level feature that they feed in.
//!
//! Invariant: over the shards of a step, losses and gradients *add up* to those of one large batch, since the loss
//! is a sum over pixels divided by the step's count of them, and BatchNorm sees every shard's images.

use std::sync::Arc;

use tch::{Kind, Tensor, no_grad};
use ulda_model::{Backbone, Head, HeadStats, TrainMode, upsample};
use ulda_torch::ShardSync;

use crate::error::{MethodError, Result, expect_shape};
use crate::losses::Focal;
use crate::losses::segmentation::segmentation;
use crate::timing::{Phases, timed};

/// Images and labels of one shard.
#[derive(Debug)]
pub struct ShardBatch<'a> {
    /// [n, 3, H, W], normalised as CLIP's; n may be 0 when the step has fewer images than shards.
    pub images: &'a Tensor,
    /// [n, H, W], train ids, 255 ignored, any integer kind.
    pub labels: &'a Tensor,
}

/// The loss of a supervised step.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum SupervisedLoss {
    /// Mean over the labelled pixels of all shards.
    #[default]
    CrossEntropy,
    /// Mean over all pixels of all shards.
    Focal(Focal),
}

/// What a shard must know of its step.
#[derive(Clone)]
pub struct StepContext {
    /// BatchNorm's exchange among the shards.
    pub sync: Arc<dyn ShardSync>,
    /// Labelled pixels of all shards together ([`crate::losses::segmentation::valid_pixels`], summed).
    pub valid_pixels: i64,
    /// Images of all shards together.
    pub images: i64,
    pub loss: SupervisedLoss,
    /// Dropout probability of the head.
    pub dropout: f64,
    /// Seed of this shard's dropout masks in this step.
    pub dropout_seed: u64,
}

/// One shard's result; its gradients are in the flat buffer of the trainable set.
#[derive(Debug)]
pub struct ShardStep {
    /// This shard's share of the loss: the shares of all shards add up to the step's loss.
    pub loss: f64,
    /// Statistics of each BatchNorm layer over all shards, in layer order; the same bits on every shard.
    pub batch_stats: HeadStats,
    pub phases: Phases,
}

impl ShardBatch<'_> {
    /// Low-level feature f [n, C₁, h, w], without gradient.
    ///
    /// # Errors
    /// When the images are not [n, 3, H, W].
    pub fn low_level(&self, backbone: &Backbone) -> Result<Tensor> {
        expect_shape("images", self.images, &[-1, 3, -1, -1])?;
        Ok(no_grad(|| backbone.stem_and_layer1(self.images)))
    }
}

/// Forward from the low-level feature that `features` makes (called once, inside the forward's time), loss, and
/// backward. The gradients are added to whatever the parameters' `.grad` hold.
///
/// # Errors
/// When the step has fewer than two images, the loss is not finite, the exchange fails (in the forward or in the
/// backward pass), or shapes do not fit.
pub(crate) fn supervised_step(
    stage: &'static str,
    backbone: &Backbone,
    head: &Head,
    batch: &ShardBatch<'_>,
    context: &StepContext,
    features: impl FnOnce() -> Result<Tensor>,
) -> Result<ShardStep> {
    expect_shape("images", batch.images, &[-1, 3, -1, -1])?;
    let size = batch.images.size();
    expect_shape("labels", batch.labels, &[size[0], size[2], size[3]])?;
    if context.images < 2 {
        return Err(MethodError::BatchTooSmall {
            stage,
            images: context.images,
        });
    }
    let mut phases = Phases::default();
    let (loss, batch_stats) = timed(&mut phases.forward, || -> Result<_> {
        let low = features()?;
        let deep = backbone.deep(&low);
        let mode = TrainMode {
            sync: Arc::clone(&context.sync),
            dropout: (context.dropout > 0.0).then_some((context.dropout, context.dropout_seed)),
        };
        let (logits, stats) = head.forward_train(&deep, &low, &mode)?;
        let logits = upsample(&logits, [size[2], size[3]]);
        let labels = batch.labels.f_to_kind(Kind::Int64)?;
        let loss = match context.loss {
            SupervisedLoss::CrossEntropy => segmentation(&logits, &labels, context.valid_pixels)?,
            SupervisedLoss::Focal(focal) => {
                focal.loss(&logits, &labels, context.images * size[2] * size[3])?
            }
        };
        Ok((loss, stats))
    })?;
    timed(&mut phases.backward, || loss.f_backward())?;
    let loss = loss.f_double_value(&[])?;
    if !loss.is_finite() {
        return Err(MethodError::NotFinite {
            value: loss,
            at: format!("a step of {stage}"),
        });
    }
    Ok(ShardStep {
        loss,
        batch_stats,
        phases,
    })
}
