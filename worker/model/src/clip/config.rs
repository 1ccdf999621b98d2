//! Sizes of a CLIP, read from its checkpoint as CLIP's own loader does.

use crate::weights::{Weights, WeightsError};

/// Sizes of both towers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClipSizes {
    pub image: ImageConfig,
    pub text: TextConfig,
}

/// Sizes of a ModifiedResNet. The stages have 4·width, 8·width, 16·width and 32·width channels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageConfig {
    /// Channels of the stem's output; 64 for RN50.
    pub width: i64,
    /// Bottlenecks per stage; 3, 4, 6, 3 for RN50.
    pub blocks: [i64; 4],
    /// The attention pool; absent in segmentation checkpoints.
    pub pool: Option<PoolConfig>,
}

/// Sizes of the attention pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolConfig {
    /// E; 1024 for RN50.
    pub embed: i64,
    /// Side of the square input images, in pixels; 224 for RN50.
    pub resolution: i64,
    pub heads: i64,
}

/// Sizes of the text transformer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextConfig {
    /// Tokens per prompt, start and end tokens included; 77.
    pub context: i64,
    pub vocabulary: i64,
    pub width: i64,
    pub heads: i64,
    pub layers: i64,
    /// E; 1024 for RN50.
    pub embed: i64,
}

impl ClipSizes {
    /// Sizes of the CLIP in `weights`.
    ///
    /// # Errors
    /// A tensor that sizes are read from is missing, or the image tower is no ResNet.
    pub fn read(weights: &Weights) -> Result<Self, WeightsError> {
        Ok(Self {
            image: ImageConfig::read(weights)?,
            text: TextConfig::read(weights)?,
        })
    }
}

impl ImageConfig {
    /// Channels of the low-level feature, C₁.
    pub fn low_channels(&self) -> i64 {
        4 * self.width
    }

    /// Channels of the last stage.
    pub fn deep_channels(&self) -> i64 {
        32 * self.width
    }

    /// Side of the low-level feature that the attention pool was made for, feature pixels; None without a pool.
    pub fn scene_side(&self) -> Option<i64> {
        self.pool.as_ref().map(|pool| pool.resolution / 4)
    }

    /// Prefix of the image tower's tensors: `visual.` in CLIP's checkpoints, `backbone.` in
    /// segmentation checkpoints.
    pub fn prefix(weights: &Weights) -> Result<&'static str, WeightsError> {
        let path = || weights.path().to_owned();
        let of_transformers = ["visual.proj", "visual.class_embedding", "visual.transformer."];
        if of_transformers.iter().any(|name| weights.has_below(name)) {
            return Err(WeightsError::VisionTransformer { path: path() });
        }
        ["visual.", "backbone."]
            .into_iter()
            .find(|prefix| weights.has_below(&format!("{prefix}layer1.")))
            .ok_or_else(|| WeightsError::NoResNet { path: path() })
    }

    /// Sizes of the image tower in `weights`.
    ///
    /// # Errors
    /// See [`ClipSizes::read`].
    pub fn read(weights: &Weights) -> Result<Self, WeightsError> {
        let prefix = Self::prefix(weights)?;
        let mut picker = weights.pick();
        let width = picker.dimension(&format!("{prefix}layer1.0.conv1.weight"), 0);
        let blocks = [1, 2, 3, 4].map(|stage| count(weights, &format!("{prefix}layer{stage}.")));
        if let Some(empty) = blocks.iter().position(|&blocks| blocks == 0) {
            picker.dimension(&format!("{prefix}layer{}.0.conv1.weight", empty + 1), 0);
        }
        let pool = weights.has_below(&format!("{prefix}attnpool.")).then(|| {
            let tokens = picker.dimension(&format!("{prefix}attnpool.positional_embedding"), 0);
            let embed = picker.dimension(&format!("{prefix}attnpool.c_proj.weight"), 0);
            PoolConfig {
                embed,
                resolution: isqrt(tokens - 1) * 32,
                heads: 32 * width / 64,
            }
        });
        let config = picker.finish(Self { width, blocks, pool })?;
        // The stem halves it, and the pool's heads have 64 channels each.
        if width < 2 || width % 2 == 1 {
            return Err(WeightsError::Size {
                path: weights.path().to_owned(),
                field: "image width",
                found: width,
                expected: "an even number".to_owned(),
            });
        }
        Ok(config)
    }
}

impl TextConfig {
    /// Sizes of the text tower in `weights`.
    ///
    /// # Errors
    /// See [`ClipSizes::read`]; or the width is no multiple of 64.
    pub fn read(weights: &Weights) -> Result<Self, WeightsError> {
        let mut picker = weights.pick();
        let width = picker.dimension("ln_final.weight", 0);
        let config = Self {
            context: picker.dimension("positional_embedding", 0),
            vocabulary: picker.dimension("token_embedding.weight", 0),
            width,
            heads: width / 64,
            layers: count(weights, "transformer.resblocks."),
            embed: picker.dimension("text_projection", 1),
        };
        let config = picker.finish(config)?;
        if config.width % 64 != 0 {
            return Err(WeightsError::Size {
                path: weights.path().to_owned(),
                field: "text width",
                found: config.width,
                expected: "a multiple of 64".to_owned(),
            });
        }
        Ok(config)
    }
}

/// Number of different indices that follow `prefix` in names.
fn count(weights: &Weights, prefix: &str) -> i64 {
    let mut indices: Vec<&str> = weights
        .names()
        .filter_map(|name| name.strip_prefix(prefix)?.split('.').next())
        .collect();
    indices.sort_unstable();
    indices.dedup();
    indices.len() as i64
}

fn isqrt(tokens: i64) -> i64 {
    (tokens.max(0) as f64).sqrt().round() as i64
}
