//! Forward and backward of a group of domains for one iteration.
//!
//! Each branch (scene, segmentation, alignment) is differentiated down to the styled feature before the next one
//! is built, so only one branch's graph is in memory at a time; the styles' own gradient is then two sums.

use std::sync::Arc;

use tch::{Kind, Tensor};
use ulda_model::{HeadStats, upsample};
use ulda_torch::runtime::{ExactProducts, channels_last};
use ulda_torch::{ShardSync, Solo};

use super::SimulateSettings;
use super::batch::RoundBatch;
use super::group::{DomainGroup, parameters_of};
use super::round::{DomainProjector, Networks};
use super::values::{Term, UnreadLosses};
use crate::error::{MethodError, Result};
use crate::losses::{scene, segmentation};
use crate::pin::{Style, StyleGradient};
use crate::projector::PARAMETER_NAMES;
use crate::timing::{Phases, timed};

/// What a group's pass gives.
pub(super) struct PassResult {
    pub losses: UnreadLosses,
    /// [G·B, C₁, 1, 1], as the group's style.
    pub style: StyleGradient,
    /// Per domain, in the order of a projector's parameters; a domain's are empty when no term needs them.
    pub projectors: Vec<Vec<Tensor>>,
    /// Per domain.
    pub batch_stats: Vec<HeadStats>,
}

/// A group of domains of a round, for one iteration.
pub(super) struct GroupPass<'a> {
    pub group: &'a DomainGroup,
    pub owned: &'a [DomainProjector],
    pub batch: &'a RoundBatch,
    pub settings: &'a SimulateSettings,
    pub networks: &'a Networks<'a>,
    /// ∂L_cross/∂prototypes [G, K, E] per image, unweighted; None where the term is absent.
    pub cross: Vec<Option<Tensor>>,
    /// One per domain.
    pub dropout_seeds: Vec<u64>,
}

impl GroupPass<'_> {
    /// Losses and gradients at the current projectors and the `styled` feature [G·B, C₁, h, w].
    pub fn run(&self, styled: &Tensor, phases: &mut Phases) -> Result<PassResult> {
        let weights = &self.settings.weights;
        let domains = self.batch.domains as f64;
        let leaf = styled.detach().f_set_requires_grad(true)?;
        let mut losses = UnreadLosses::default();
        let mut gradient = None;
        let mut batch_stats: Vec<HeadStats> = self.each(|_| HeadStats(Vec::new()));
        let mut projectors = self.each(|_| Vec::new());

        if weights.scene != 0.0 {
            let loss = timed(&mut phases.forward, || self.scene(&leaf))?;
            losses.keep(Term::Scene, &loss);
            let root = loss.f_mul_scalar(weights.scene / domains)?.f_sum(None::<Kind>)?;
            self.differentiate(&root, &leaf, &[], &mut gradient, phases)?;
        }
        if weights.seg != 0.0 && self.batch.valid_pixels > 0 {
            let (loss, stats) = timed(&mut phases.forward, || self.segmentation(&leaf))?;
            batch_stats = stats;
            losses.keep(Term::Segmentation, &loss);
            let root = loss.f_mul_scalar(weights.seg / domains)?.f_sum(None::<Kind>)?;
            self.differentiate(&root, &leaf, &[], &mut gradient, phases)?;
        }
        if weights.needs_projector() {
            // It compares nearly equal numbers.
            let _exact = ExactProducts::enter()?;
            let parameters = parameters_of(self.owned);
            let root = timed(&mut phases.forward, || self.alignment(&leaf, &mut losses))?;
            let found = match root {
                Some(root) => self.differentiate(&root, &leaf, &parameters, &mut gradient, phases)?,
                None => parameters
                    .iter()
                    .map(|parameter| Ok(parameter.detach().f_zeros_like()?))
                    .collect::<Result<_>>()?,
            };
            let mut found = found.into_iter();
            projectors = self.each(|_| found.by_ref().take(PARAMETER_NAMES.len()).collect());
        }
        let gradient = match gradient {
            Some(gradient) => gradient,
            None => styled.f_zeros_like()?,
        };
        let style = timed(&mut phases.backward, || {
            Style::backward(&self.batch.content_norm, styled, &gradient)
        })?;
        Ok(PassResult {
            losses,
            style,
            projectors,
            batch_stats,
        })
    }

    fn each<T>(&self, make: impl FnMut(&DomainProjector) -> T) -> Vec<T> {
        self.owned.iter().map(make).collect()
    }

    fn scene(&self, styled: &Tensor) -> Result<Tensor> {
        let pooled = match self.settings.scene_pool {
            // On GPUs its backward pass adds up in a fixed order only with channels innermost, as they are; this makes sure.
            Some(side) => channels_last(styled)?.f_adaptive_avg_pool2d([side, side])?,
            None => styled.shallow_clone(),
        };
        let embeddings = self.networks.clip.clip_embedding(&pooled)?;
        scene::scene(&embeddings, &self.group.scene)
    }

    fn segmentation(&self, styled: &Tensor) -> Result<(Tensor, Vec<HeadStats>)> {
        let segmenter = self
            .networks
            .segmentation
            .as_ref()
            .ok_or(MethodError::MissingNetwork {
                loss: "the segmentation loss",
                needs: "segmentation network",
            })?;
        let deep = segmenter.backbone.deep(styled);
        let alone: Arc<dyn ShardSync> = Arc::new(Solo);
        let (dropout, seeds) = (self.settings.dropout, &self.dropout_seeds);
        let head = segmenter.head;
        let (logits, stats) = head.forward_train_parts(&deep, styled, &alone, dropout, seeds)?;
        let (images, height, width) = self.batch.labels.size3()?;
        let logits = upsample(&logits, [height, width]);
        let labels = &self.batch.labels;
        let mut losses = Vec::with_capacity(seeds.len());
        for logits in cut(&logits, images)? {
            losses.push(segmentation::segmentation(
                &logits,
                labels,
                self.batch.valid_pixels,
            )?);
        }
        Ok((Tensor::f_stack(&losses, 0)?, stats))
    }

    /// Adds ∂root/∂leaf to `gradient` and returns ∂root/∂parameters.
    fn differentiate(
        &self,
        root: &Tensor,
        leaf: &Tensor,
        parameters: &[Tensor],
        gradient: &mut Option<Tensor>,
        phases: &mut Phases,
    ) -> Result<Vec<Tensor>> {
        timed(&mut phases.backward, || {
            let mut inputs = vec![leaf.shallow_clone()];
            inputs.extend(parameters.iter().map(Tensor::shallow_clone));
            let mut found = Tensor::f_run_backward(&[root], &inputs, false, false)?.into_iter();
            if let Some(of_leaf) = found.next().filter(Tensor::defined) {
                *gradient = Some(match gradient.take() {
                    Some(sum) => sum.f_add(&of_leaf)?,
                    None => of_leaf,
                });
            }
            found
                .zip(PARAMETER_NAMES.iter().cycle())
                .map(|(tensor, name)| match tensor.defined() {
                    true => Ok(tensor),
                    false => Err(MethodError::State {
                        name: (*name).into(),
                        problem: "left out of the loss".into(),
                    }),
                })
                .collect()
        })
    }
}

/// `batch` in parts of so many images. One part is the batch itself: cutting would cost its gradient a copy.
fn cut(batch: &Tensor, images: i64) -> Result<Vec<Tensor>> {
    match batch.size()[0] == images {
        true => Ok(vec![batch.shallow_clone()]),
        false => Ok(batch.f_split(images, 0)?),
    }
}
