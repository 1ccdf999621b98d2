//! What pretrain and adapt let one choose alike: the loss of the head and the course of the learning rate.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The loss of the segmentation head.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LossConfig {
    /// Which loss; simulate.lambda_seg always weights a cross-entropy.
    pub kind: LossKind,
    /// Exponent of focal_loss. The larger it is, the less count pixels whose class is already likely. 0 as published.
    #[schemars(range(min = 0.0))]
    pub gamma: f64,
    /// Factor of focal_loss.
    #[schemars(range(min = 0.0))]
    pub alpha: f64,
}

impl Default for LossConfig {
    fn default() -> Self {
        Self {
            kind: LossKind::CrossEntropy,
            gamma: 0.0,
            alpha: 1.0,
        }
    }
}

/// What is minimised over the pixels of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LossKind {
    /// Cross-entropy, its mean over the labelled pixels.
    CrossEntropy,
    /// alpha * (1 - p)^gamma * cross-entropy, p the probability of the pixel's class; its mean over all pixels, ignored ones
    /// included, as in the published utils/loss.py.
    FocalLoss,
}

/// How a learning rate falls from its first value, lr.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LrPolicy {
    /// After k of n steps it is lr * (1 - k/n)^poly_power, at least lr_floor.
    Poly,
    /// After k steps it is lr * 0.9^(k / step_size), rounded down to whole decays. Without a least rate.
    Step,
}
