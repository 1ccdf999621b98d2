//! What an iteration tells: loss terms, gradients, batch statistics.

use serde::{Deserialize, Serialize};
use tch::Tensor;
use ulda_model::HeadStats;

use super::LossWeights;
use crate::pin::StyleGradient;
use crate::timing::Phases;

/// Loss terms of one domain, not averaged over domains; a skipped term is 0.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DomainLosses {
    pub domain: usize,
    /// Mean over images.
    pub scene: f64,
    /// Mean over labelled pixels.
    pub seg: f64,
    /// One per image; 0 for an image without labelled pixels. Likewise below.
    pub region: Vec<f64>,
    pub pixel: Vec<f64>,
    pub intra: Vec<f64>,
}

/// Loss terms of an iteration over all domains, averaged as METHOD says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LossTerms {
    pub scene: f64,
    pub pixel: f64,
    pub region: f64,
    pub seg: f64,
    pub intra: f64,
    pub cross: f64,
    /// Weighted sum.
    pub total: f64,
}

impl LossTerms {
    /// Averages `domains` (all of them, in any grouping put back in domain order) and `cross` (one per image).
    pub fn combine(domains: &[DomainLosses], cross: &[f64], weights: &LossWeights) -> LossTerms {
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len().max(1) as f64;
        let over = |pick: &dyn Fn(&DomainLosses) -> f64| mean(&domains.iter().map(pick).collect::<Vec<_>>());
        let (scene, seg) = (over(&|domain| domain.scene), over(&|domain| domain.seg));
        let (region, pixel) = (
            over(&|domain| mean(&domain.region)),
            over(&|domain| mean(&domain.pixel)),
        );
        let (intra, cross) = (over(&|domain| mean(&domain.intra)), mean(cross));
        let total = weights.scene * scene
            + weights.pixel * pixel
            + weights.region * region
            + weights.seg * seg
            + weights.intra * intra
            + weights.cross * cross;
        LossTerms {
            scene,
            pixel,
            region,
            seg,
            intra,
            cross,
            total,
        }
    }
}

/// Gradient of one domain's parameters.
#[derive(Debug)]
pub struct DomainGradient {
    pub style: StyleGradient,
    /// In the order of [`crate::projector::PARAMETER_NAMES`]; empty when no term needs the projector.
    pub projector: Vec<Tensor>,
}

/// One domain's part of an iteration.
#[derive(Debug)]
pub struct DomainReport {
    pub losses: DomainLosses,
    /// As applied: the projector's part is already reduced over data shards.
    pub gradient: DomainGradient,
    /// Batch statistics of the head's one forward, by BatchNorm layer, in layer order; empty when the segmentation
    /// term is skipped. Committed in domain order they are the drift of the published code's buffers.
    pub batch_stats: HeadStats,
}

/// One iteration, as seen by a holder of some of the domains.
#[derive(Debug)]
pub struct IterationReport {
    /// Counted from 1.
    pub iteration: usize,
    /// The domains held here, in domain order.
    pub domains: Vec<DomainReport>,
    /// L_cross per image, the same numbers at every holder; 0 when skipped.
    pub cross: Vec<f64>,
    pub phases: Phases,
}

impl IterationReport {
    /// The loss terms, when all domains are held here.
    pub fn terms(&self, weights: &LossWeights) -> LossTerms {
        let losses: Vec<DomainLosses> = self.domains.iter().map(|domain| domain.losses.clone()).collect();
        LossTerms::combine(&losses, &self.cross, weights)
    }
}
