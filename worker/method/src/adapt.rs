//! Stage 2: training the head on simulated features. METHOD "Stage 2", golden README items 26 to 32.

use tch::{Tensor, no_grad};
use ulda_model::{Backbone, Head};
use ulda_torch::{restyle, upload};

use crate::error::{MethodError, Result, expect_shape};
use crate::optim::SgdSettings;
use crate::rectifier::Rectifier;
use crate::stats::Stats;
use crate::stylebank::DrawnStyles;
use crate::supervised::{ShardBatch, ShardStep, StepContext, supervised_step};
use crate::trainable::{ParameterGroup, TrainableSet};

/// Published learning rate of the head.
pub const PUBLISHED_HEAD_LR: f64 = 0.01;
/// Published learning rate of the rectifier's MLPs.
pub const PUBLISHED_RECTIFIER_LR: f64 = 0.001;
/// Published learning rate of the rectifier's scale β.
pub const PUBLISHED_SCALE_LR: f64 = 0.0001;

/// The rectifier and the texts that it looks at.
#[derive(Debug, Clone, Copy)]
pub struct Rectification<'a> {
    pub rectifier: &'a Rectifier,
    /// Scene embeddings of all domains [D, E].
    pub scene: &'a Tensor,
}

/// One shard's part of an adapt step.
pub struct AdaptStep<'a> {
    /// Frozen, in eval mode; gradients flow through it to the rectifier.
    pub backbone: &'a Backbone,
    pub head: &'a Head,
    /// None for PØDA.
    pub rectification: Option<Rectification<'a>>,
    /// Where styles are mixed with the images' own statistics: the share s of the latter, [n, C₁, 1, 1].
    pub mix: Option<&'a Tensor>,
}

impl AdaptStep<'_> {
    /// Runs the shard's images with one drawn style each; gradients are added to the parameters' `.grad`.
    ///
    /// The drawn σ are used as they are, also where negative (golden README item 13).
    ///
    /// # Errors
    /// When the styles do not match the images, a domain is unknown, the step has fewer than two images, the loss
    /// is not finite, or the exchange among shards fails in the forward or the backward pass.
    pub fn run(
        &self,
        batch: &ShardBatch<'_>,
        styles: &DrawnStyles,
        context: &StepContext,
    ) -> Result<ShardStep> {
        supervised_step("adapt", self.backbone, self.head, batch, context, || {
            self.features(batch, styles)
        })
    }

    /// f″ [n, C₁, h, w], or f′ without a rectifier.
    ///
    /// # Errors
    /// When styles, images and texts do not fit together.
    pub fn features(&self, batch: &ShardBatch<'_>, styles: &DrawnStyles) -> Result<Tensor> {
        let feature = batch.low_level(self.backbone)?;
        let (count, channels, _, _) = feature.size4()?;
        expect_shape("drawn means", &styles.mean, &[count, channels, 1, 1])?;
        expect_shape("drawn deviations", &styles.std, &[count, channels, 1, 1])?;
        let styled = no_grad(|| -> Result<Tensor> {
            let content = Stats::of(&feature)?;
            let normalised = content.normalise(&feature)?;
            match self.mix {
                None => Ok(restyle(&normalised, &styles.mean, &styles.std)?),
                Some(share) => {
                    let mean = mix(share, &content.mean, &styles.mean)?;
                    Ok(restyle(
                        &normalised,
                        &mean,
                        &mix(share, &content.std, &styles.std)?,
                    )?)
                }
            }
        })?;
        match &self.rectification {
            None => Ok(styled),
            Some(rectification) => Ok(rectification.apply(&styled, &styles.domains)?),
        }
    }
}

/// s · own + (1 − s) · style, PØDA's `--mix` (`network/utils.py`); all [n, C, 1, 1].
fn mix(share: &Tensor, own: &Tensor, style: &Tensor) -> Result<Tensor> {
    expect_shape("shares of a mix", share, &own.size())?;
    Ok(share
        .f_mul(own)?
        .f_add(&share.f_rsub_scalar(1.0)?.f_mul(style)?)?)
}

impl Rectification<'_> {
    fn apply(&self, styled: &Tensor, domains: &[usize]) -> Result<Tensor> {
        let known = self.scene.size2()?.0;
        if let Some(unknown) = domains.iter().find(|domain| **domain as i64 >= known) {
            return Err(MethodError::State {
                name: format!("scene embedding of domain {unknown}"),
                problem: format!("missing; the run has {known} domains"),
            });
        }
        let numbers: Vec<i64> = domains.iter().map(|domain| *domain as i64).collect();
        let numbers = upload(&Tensor::f_from_slice(&numbers)?, self.scene.device())?;
        let texts = self.scene.f_index_select(0, &numbers)?;
        Ok(self.rectifier.forward(styled, &texts)?.feature)
    }
}

/// What adapt trains: group `head`, then `rectifier` and `scale` when there is one.
///
/// # Errors
/// See [`TrainableSet::new`].
pub fn trainables(head: &Head, rectifier: Option<&Rectifier>, settings: SgdSettings) -> Result<TrainableSet> {
    let mut groups = vec![ParameterGroup {
        name: "head",
        parameters: head.parameters(),
    }];
    if let Some(rectifier) = rectifier {
        groups.push(ParameterGroup {
            name: "rectifier",
            parameters: rectifier.mlp_parameters(),
        });
        groups.push(ParameterGroup {
            name: "scale",
            parameters: vec![rectifier.scale_parameter()],
        });
    }
    TrainableSet::new(groups, settings)
}
