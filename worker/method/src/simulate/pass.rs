//! One domain's forward and backward of one iteration.
//!
//! Each branch (scene, segmentation, alignment) is differentiated down to the styled feature before the next one
//! is built, so only one branch's graph is in memory at a time; the style's own gradient is then two sums.

use std::sync::Arc;

use tch::{Kind, Tensor, no_grad};
use ulda_model::{HeadStats, TrainMode, upsample};
use ulda_torch::Solo;

use super::batch::{ImageTexts, RoundBatch};
use super::report::DomainLosses;
use super::round::Networks;
use super::{Prototype, SimulateSettings};
use crate::error::{MethodError, Result};
use crate::losses::region::prototypes;
use crate::losses::{intra, pixel, region, scene, segmentation};
use crate::pin::{Style, StyleGradient};
use crate::projector::{PARAMETER_NAMES, Projector};
use crate::timing::{Phases, timed};

/// What a domain's pass gives.
pub(super) struct PassResult {
    pub losses: DomainLosses,
    pub style: StyleGradient,
    /// In the order of the projector's parameters; empty when no term needs it.
    pub projector: Vec<Tensor>,
    pub batch_stats: HeadStats,
}

/// One domain of a round, for one iteration.
pub(super) struct DomainPass<'a> {
    pub domain: usize,
    pub batch: &'a RoundBatch,
    pub settings: &'a SimulateSettings,
    pub networks: &'a Networks<'a>,
    pub projector: &'a Projector,
    /// ∂L_cross/∂prototypes [K, E] per image, unweighted; None where the term is absent.
    pub cross: Vec<Option<Tensor>>,
    pub dropout_seed: u64,
}

/// Detached prototypes of every image that has classes.
pub(super) fn detached_prototypes(
    domain: usize,
    batch: &RoundBatch,
    style: &mut Style,
    projector: &Projector,
) -> Result<Vec<Prototype>> {
    no_grad(|| {
        let styled = style.forward(&batch.content_norm)?;
        let mut found = Vec::with_capacity(batch.len());
        for (image, texts) in batch.images.iter().enumerate() {
            let rows = match texts.map.count() {
                0 => texts.texts.f_get(domain as i64)?,
                _ => prototypes(&pixels_of(&styled, image)?, &texts.map, projector)?,
            };
            found.push(Prototype { domain, image, rows });
        }
        Ok(found)
    })
}

impl DomainPass<'_> {
    /// Losses and gradients at the current style and projector.
    pub fn run(&self, style: &mut Style, phases: &mut Phases) -> Result<PassResult> {
        let weights = &self.settings.weights;
        let styled = timed(&mut phases.forward, || {
            no_grad(|| style.forward(&self.batch.content_norm))
        })?;
        let leaf = styled.detach().f_set_requires_grad(true)?;
        let mut losses = DomainLosses {
            domain: self.domain,
            scene: 0.0,
            seg: 0.0,
            region: vec![0.0; self.batch.len()],
            pixel: vec![0.0; self.batch.len()],
            intra: vec![0.0; self.batch.len()],
        };
        let mut gradient = None;
        let mut batch_stats = HeadStats(Vec::new());
        let mut projector = Vec::new();

        if weights.scene != 0.0 {
            let loss = timed(&mut phases.forward, || self.scene(&leaf))?;
            losses.scene = self.finite(&loss, "scene")?;
            let root = loss.f_mul_scalar(weights.scene / self.batch.domains as f64)?;
            self.differentiate(&root, &leaf, &[], &mut gradient, phases)?;
        }
        if weights.seg != 0.0 && self.batch.valid_pixels > 0 {
            let (loss, stats) = timed(&mut phases.forward, || self.segmentation(&leaf))?;
            batch_stats = stats;
            losses.seg = self.finite(&loss, "segmentation")?;
            let root = loss.f_mul_scalar(weights.seg / self.batch.domains as f64)?;
            self.differentiate(&root, &leaf, &[], &mut gradient, phases)?;
        }
        if weights.needs_projector() {
            let parameters = self.projector.parameters();
            let root = timed(&mut phases.forward, || self.alignment(&leaf, &mut losses))?;
            projector = match root {
                Some(root) => self.differentiate(&root, &leaf, &parameters, &mut gradient, phases)?,
                None => parameters
                    .iter()
                    .map(|parameter| Ok(parameter.detach().f_zeros_like()?))
                    .collect::<Result<_>>()?,
            };
        }
        let gradient = match gradient {
            Some(gradient) => gradient,
            None => styled.f_zeros_like()?,
        };
        let style = timed(&mut phases.backward, || {
            Style::backward(&self.batch.content_norm, &styled, &gradient)
        })?;
        Ok(PassResult {
            losses,
            style,
            projector,
            batch_stats,
        })
    }

    fn scene(&self, styled: &Tensor) -> Result<Tensor> {
        let side = self.settings.scene_pool;
        let pooled = styled.f_adaptive_avg_pool2d([side, side])?;
        let embeddings = self.networks.clip.clip_embedding(&pooled)?;
        scene::scene(&embeddings, &self.batch.scene.f_get(self.domain as i64)?)
    }

    fn segmentation(&self, styled: &Tensor) -> Result<(Tensor, HeadStats)> {
        let segmenter = self
            .networks
            .segmentation
            .as_ref()
            .ok_or(MethodError::MissingNetwork {
                loss: "the segmentation loss",
                needs: "segmentation network",
            })?;
        let mode = TrainMode {
            sync: Arc::new(Solo),
            dropout: (self.settings.dropout > 0.0).then_some((self.settings.dropout, self.dropout_seed)),
        };
        let deep = segmenter.backbone.deep(styled);
        let (logits, stats) = segmenter.head.forward_train(&deep, styled, &mode)?;
        let (_, height, width) = self.batch.labels.size3()?;
        let logits = upsample(&logits, [height, width]);
        let loss = segmentation::segmentation(&logits, &self.batch.labels, self.batch.valid_pixels)?;
        Ok((loss, stats))
    }

    /// Region, pixel, intra and the injected cross gradient of all images as one weighted root; None when no image
    /// has classes. The losses' own values go to `losses`.
    fn alignment(&self, styled: &Tensor, losses: &mut DomainLosses) -> Result<Option<Tensor>> {
        let weights = &self.settings.weights;
        let images = self.batch.len() as f64;
        let share = 1.0 / (images * self.batch.domains as f64);
        let fused = match weights.pixel != 0.0 {
            true => Some(self.projector.fused()?),
            false => None,
        };
        let mut root: Option<Tensor> = None;
        let mut add = |term: &Tensor, weight: f64| -> Result<()> {
            let weighted = term.f_mul_scalar(weight)?;
            root = Some(match root.take() {
                Some(sum) => sum.f_add(&weighted)?,
                None => weighted,
            });
            Ok(())
        };
        for (image, ImageTexts { map, texts, .. }) in self.batch.images.iter().enumerate() {
            if map.count() == 0 {
                continue;
            }
            let texts = texts.f_get(self.domain as i64)?;
            let pixels = pixels_of(styled, image)?;
            if let Some(fused) = &fused {
                let loss = pixel::pixel(&pixels, map, &texts, fused, self.settings.temperature)?;
                losses.pixel[image] = self.finite(&loss, "pixel")?;
                add(&loss, weights.pixel * share)?;
            }
            if !weights.needs_prototypes() {
                continue;
            }
            let rows = prototypes(&pixels, map, self.projector)?;
            let region = region::region(&rows, &texts, self.settings.temperature)?;
            losses.region[image] = self.finite(&region, "region")?;
            if weights.region != 0.0 {
                add(&region, weights.region * share)?;
            }
            let intra = intra::intra(&rows, &texts)?;
            losses.intra[image] = self.finite(&intra, "intra")?;
            if weights.intra != 0.0 {
                add(&intra, weights.intra * share)?;
            }
            if let Some(Some(gradient)) = self.cross.get(image) {
                add(
                    &rows.f_mul(gradient)?.f_sum(None::<Kind>)?,
                    weights.cross / images,
                )?;
            }
        }
        Ok(root)
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
                .zip(PARAMETER_NAMES)
                .map(|(tensor, name)| match tensor.defined() {
                    true => Ok(tensor),
                    false => Err(MethodError::State {
                        name: name.into(),
                        problem: "left out of the loss".into(),
                    }),
                })
                .collect()
        })
    }

    fn finite(&self, loss: &Tensor, term: &str) -> Result<f64> {
        let value = loss.f_double_value(&[])?;
        if value.is_finite() {
            return Ok(value);
        }
        Err(MethodError::NotFinite {
            value,
            at: format!("the {term} term of domain {}", self.domain),
        })
    }
}

/// One image of a feature [B, C, h, w] as [C, h·w].
fn pixels_of(feature: &Tensor, image: usize) -> Result<Tensor> {
    Ok(feature.f_get(image as i64)?.f_flatten(1, 2)?)
}
