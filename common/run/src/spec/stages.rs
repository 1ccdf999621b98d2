//! The sections of the three stages that train.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::styles::{StyleDraw, StyleSource};
use super::training::{LossConfig, LrPolicy};

/// Images of one step.
const MOST_IMAGES: u32 = 65_536;
/// Pixels; the network's coarsest stride.
const LEAST_CROP: u32 = 32;

/// Colour jitter: each factor is drawn from [1 - x, 1 + x].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct JitterConfig {
    /// x of the brightness.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub brightness: f64,
    /// x of the contrast.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub contrast: f64,
    /// x of the saturation.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub saturation: f64,
}

impl Default for JitterConfig {
    fn default() -> Self {
        Self {
            brightness: 0.5,
            contrast: 0.5,
            saturation: 0.5,
        }
    }
}

/// Stage 0: supervised training of the DeepLabV3+ head on the source; the CLIP backbone is frozen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PretrainConfig {
    /// A source checkpoint to start from (.pth or .safetensors with backbone.* and classifier.*); skips the stage.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "path"), example = &"source.pth")]
    pub checkpoint: Option<PathBuf>,
    /// A .pth of the authors' main.py whose training goes on (--continue_training): its head, the momentum and the number of its
    /// steps, after which lr falls further. steps are those of this run, and best heads are found among them.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "path"), example = &"latest_deeplabv3plus_resnet_clip_cityscapes.pth")]
    pub continue_from: Option<PathBuf>,
    /// Optimiser steps.
    pub steps: u64,
    /// Images per step, over all shards.
    #[schemars(range(min = 1, max = MOST_IMAGES))]
    pub batch: u32,
    /// Side of the square random crop, pixels.
    #[schemars(range(min = LEAST_CROP))]
    pub crop: u32,
    /// Learning rate of SGD at the first step.
    #[schemars(range(min = 0.0))]
    pub lr: f64,
    /// How it falls.
    pub lr_policy: LrPolicy,
    /// Steps between two decays of lr_policy = "step".
    #[schemars(range(min = 1))]
    pub step_size: u64,
    /// Momentum of SGD.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub momentum: f64,
    /// Weight decay of SGD.
    #[schemars(range(min = 0.0))]
    pub weight_decay: f64,
    /// Power of lr_policy = "poly".
    #[schemars(range(min = 0.0))]
    pub poly_power: f64,
    /// Least learning rate of lr_policy = "poly".
    #[schemars(range(min = 0.0))]
    pub lr_floor: f64,
    /// Dropout before the head's last convolution.
    #[schemars(range(min = 0.0, max = 0.99))]
    pub dropout: f64,
    /// Colour jitter: each factor is drawn from [1 - x, 1 + x].
    pub jitter: JitterConfig,
    /// Probability of a horizontal flip.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub flip: f64,
    /// Steps between validations on the source; 0 for never. The head that scored highest is kept, or the last one if there
    /// was no validation.
    pub validate_every: u64,
    /// Channels of the head's inner layers when it starts from scratch.
    #[schemars(range(min = 1))]
    pub head_channels: u32,
    pub loss: LossConfig,
}

impl Default for PretrainConfig {
    fn default() -> Self {
        Self {
            checkpoint: None,
            continue_from: None,
            steps: 200_000,
            batch: 2,
            crop: 768,
            lr: 0.1,
            lr_policy: LrPolicy::Poly,
            step_size: 10,
            momentum: 0.9,
            weight_decay: 1e-4,
            poly_power: 0.9,
            lr_floor: 1e-6,
            dropout: 0.1,
            jitter: JitterConfig::default(),
            flip: 0.5,
            validate_every: 100,
            head_channels: 256,
            loss: LossConfig::default(),
        }
    }
}

/// Stage 1: prompt-driven instance normalisation. For every batch and domain, learn the feature statistics
/// (a style) that make the features look like what the sentence says. One step of it is a round: a batch per data shard with
/// all its iterations.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SimulateConfig {
    /// Where styles come from. Other than batches, batch, crop and data_shards for content, the rest of this section
    /// matters to learned alone.
    pub styles: StyleSource,
    /// The styles for styles = "bank": the bank of another run with the same CLIP checkpoint, whose domains are found by name; or
    /// the .pkl files of the authors' stage 1. Of those it names the folder with one folder per domain, of the domain's name; or,
    /// with {domain} where that name stands, the domains' folders, as in save_100_param1/cs_six_{domain}.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "path"), example = &"runs/ulda/styles/bank.safetensors")]
    pub bank: Option<PathBuf>,
    /// Batches over all data shards.
    #[schemars(range(min = 1))]
    pub batches: u64,
    /// Images per batch.
    #[schemars(range(min = 1, max = MOST_IMAGES))]
    pub batch: u32,
    /// Side of the square random crop, pixels.
    #[schemars(range(min = LEAST_CROP))]
    pub crop: u32,
    /// Optimiser iterations per batch.
    #[schemars(range(min = 1))]
    pub iterations: u32,
    /// Learning rate of the styles (mu, sigma). The loss is a mean over domains and images, so a style's gradient is divided
    /// by domains x batch (L_cross's by the batch; it is a mean over pairs of domains). 1 belongs to the published 6 domains x
    /// batch 2; domains * batch / 12 keeps its step: 0.6667 for 4 domains x batch 2. weight_decay acts through it.
    #[schemars(range(min = 0.0))]
    pub lr_pin: f64,
    /// Learning rate of the projectors. Their gradient is divided by the domains alone.
    #[schemars(range(min = 0.0))]
    pub lr_projector: f64,
    /// Momentum of SGD.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub momentum: f64,
    /// Weight decay of SGD.
    #[schemars(range(min = 0.0))]
    pub weight_decay: f64,
    /// Weight of the hierarchical context alignment's L_pixel; L_scene has weight 1. PODA: all weights 0, one domain, and
    /// adapt.rectifier = false.
    #[schemars(range(min = 0.0))]
    pub lambda_pixel: f64,
    /// Weight of its L_region.
    #[schemars(range(min = 0.0))]
    pub lambda_region: f64,
    /// Weight of the segmentation loss L_seg.
    #[schemars(range(min = 0.0))]
    pub lambda_seg: f64,
    /// Weight of domain consistent representation learning's L_intra.
    #[schemars(range(min = 0.0))]
    pub lambda_intra: f64,
    /// Weight of its L_cross.
    #[schemars(range(min = 0.0))]
    pub lambda_cross: f64,
    /// Factor of the cosine similarities in L_region and L_pixel.
    #[schemars(range(min = 0.0))]
    pub temperature: f64,
    /// Hidden width of the projectors, Linear(C1, hidden) -> Linear(hidden, E).
    #[schemars(range(min = 1))]
    pub projector_hidden: u32,
    /// Whether L_scene sees features that were pooled to scene_pool x scene_pool. false: the whole feature, which must fit
    /// the checkpoint's attention pool (RN50: crop = 224).
    pub resize_feature: bool,
    /// Side to which features are pooled before the CLIP branch, feature pixels; the attention pool must have been trained
    /// for it. Left out: the side that it was trained for (RN50: 56).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 8), extend("multipleOf" = 8), example = 56)]
    pub scene_pool: Option<u32>,
    /// Dropout before the head's last convolution.
    #[schemars(range(min = 0.0, max = 0.99))]
    pub dropout: f64,
    /// Batches worked on at once; they share projector gradients, so their number is part of what the run computes.
    #[schemars(range(min = 1))]
    pub data_shards: u32,
    /// Groups over which the domains of one batch are spread; changes no number while domains_at_once is 1. Left out: as
    /// many as fit the shards.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1), example = 2)]
    pub prompt_groups: Option<u32>,
    /// Domains that a shard computes as one batch: fewer, larger launches on a GPU, and as many times the memory. Part of
    /// what the run computes, within rounding: kernels add up a larger batch in another order. More than a shard has means
    /// all of them. Left out: 1 on CPUs; on GPUs of the host that starts the run as many as fit their memory, decided when
    /// the run is created and kept from then on.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1), example = 6)]
    pub domains_at_once: Option<u32>,
}

impl Default for SimulateConfig {
    fn default() -> Self {
        Self {
            styles: StyleSource::Learned,
            bank: None,
            batches: 100,
            batch: 2,
            crop: 768,
            iterations: 100,
            lr_pin: 1.0,
            lr_projector: 1e-3,
            momentum: 0.9,
            weight_decay: 1e-4,
            lambda_pixel: 0.5,
            lambda_region: 1.0,
            lambda_seg: 1.0,
            lambda_intra: 0.0,
            lambda_cross: 20.0,
            temperature: 10.0,
            projector_hidden: 512,
            resize_feature: true,
            scene_pool: None,
            dropout: 0.1,
            data_shards: 1,
            prompt_groups: None,
            domains_at_once: None,
        }
    }
}

/// Stage 2: fine-tuning of the head on simulated features, with the text-driven rectifier (TDR).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AdaptConfig {
    /// A finished model to score instead of training one (.pth or .safetensors with backbone.* and classifier.*); skips this stage
    /// and all before it. With pretrain.checkpoint, both models are scored.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "path"), example = &"adapted.pth")]
    pub checkpoint: Option<PathBuf>,
    /// A .pth of the authors' stage2_adapt.py or main.py --train_aug whose training goes on (--continue_training); takes the
    /// place of pretrain. As in pretrain. A rectifier starts anew, since the file has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "path"), example = &"adapted_deeplabv3plus_resnet_clip_cityscapes.pth")]
    pub continue_from: Option<PathBuf>,
    /// Optimiser steps.
    #[schemars(range(min = 1))]
    pub steps: u64,
    /// Images per step, over all shards.
    #[schemars(range(min = 1, max = MOST_IMAGES))]
    pub batch: u32,
    /// Which style each of them draws.
    pub draw: StyleDraw,
    /// Whether a style is mixed with the image's own statistics, as PODA's --mix does: s * own + (1 - s) * style with s drawn
    /// from [0, 1) for each image and channel.
    pub mix: bool,
    /// Side of the square random crop, pixels.
    #[schemars(range(min = LEAST_CROP))]
    pub crop: u32,
    /// Whether crops are jittered and flipped as pretrain.jitter and pretrain.flip say.
    pub augment: bool,
    /// Learning rate of the head at the first step.
    #[schemars(range(min = 0.0))]
    pub lr_head: f64,
    /// Learning rate of the rectifier's two MLPs.
    #[schemars(range(min = 0.0))]
    pub lr_rectifier: f64,
    /// Learning rate of the rectifier's per-channel scale beta.
    #[schemars(range(min = 0.0))]
    pub lr_scale: f64,
    /// How the three fall.
    pub lr_policy: LrPolicy,
    /// Steps between two decays of lr_policy = "step".
    #[schemars(range(min = 1))]
    pub step_size: u64,
    /// Momentum of SGD.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub momentum: f64,
    /// Weight decay of SGD.
    #[schemars(range(min = 0.0))]
    pub weight_decay: f64,
    /// Power of lr_policy = "poly".
    #[schemars(range(min = 0.0))]
    pub poly_power: f64,
    /// Least learning rate of lr_policy = "poly".
    #[schemars(range(min = 0.0))]
    pub lr_floor: f64,
    /// Dropout before the head's last convolution.
    #[schemars(range(min = 0.0, max = 0.99))]
    pub dropout: f64,
    /// The text-driven rectifier; false for PODA.
    pub rectifier: bool,
    /// Start of the rectifier's per-channel scale beta.
    #[schemars(range(min = 0.0))]
    pub scale_init: f64,
    /// Steps between validations on the source; 0 for never.
    pub validate_every: u64,
    pub loss: LossConfig,
}

impl Default for AdaptConfig {
    fn default() -> Self {
        Self {
            checkpoint: None,
            continue_from: None,
            steps: 2_000,
            batch: 8,
            draw: StyleDraw::Different,
            mix: false,
            crop: 768,
            augment: false,
            lr_head: 0.01,
            lr_rectifier: 1e-3,
            lr_scale: 1e-4,
            lr_policy: LrPolicy::Poly,
            step_size: 10,
            momentum: 0.9,
            weight_decay: 1e-4,
            poly_power: 0.9,
            lr_floor: 1e-6,
            dropout: 0.1,
            rectifier: true,
            scale_init: 0.01,
            validate_every: 100,
            loss: LossConfig::default(),
        }
    }
}
