//! CLIP's ModifiedResNet, frozen, in the two uses the method makes of it (CLIP `model.py`; DeepLab's
//! dilation as in the authors' `modified_resnet.py`).

use tch::{Device, Kind, Tensor};

use crate::clip::attention_pool::AttentionPool;
use crate::clip::config::ImageConfig;
use crate::clip::layers::{Bottleneck, ConvShape, FrozenConv, average_pool, channels_last};
use crate::weights::{Picker, Weights, WeightsError, digest};

/// The image tower cannot do what was asked.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum BackboneError {
    #[error("the backbone has no attention pool, so it gives no CLIP embedding")]
    NoPool,
    #[error(
        "the attention pool has {expected} positions but the feature after the last stage is {height}x{width}"
    )]
    PoolSize {
        expected: i64,
        height: i64,
        width: i64,
        side: i64,
    },
}

impl BackboneError {
    /// What a person can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NoPool => {
                "segmentation checkpoints come without it, load CLIP's own checkpoint for the scene loss"
                    .into()
            }
            Self::PoolSize { side, .. } => format!("pool the low-level feature to {side}x{side} first"),
        })
    }
}

/// The frozen image tower. Cloning is shallow; each thread works on its own clone.
///
/// No parameter requires a gradient; gradients flow through to the input. BatchNorm is in evaluation
/// mode and folded into the convolutions.
#[derive(Debug)]
pub struct Backbone {
    config: ImageConfig,
    digest: String,
    /// Of convolutions; what comes in and goes out is float32.
    kind: Kind,
    pub(crate) stem: [FrozenConv; 3],
    pub(crate) stages: [Vec<Bottleneck>; 4],
    pub(crate) dilated_last: Vec<Bottleneck>,
    pool: Option<AttentionPool>,
}

impl Backbone {
    /// The image tower of `weights`, on the CPU: `visual.*` of a CLIP checkpoint, or `backbone.*` of a
    /// segmentation checkpoint (then without attention pool).
    ///
    /// # Errors
    /// Tensors are missing (all named at once) or have other shapes than the tower's sizes imply.
    pub fn load(weights: &Weights) -> Result<Self, WeightsError> {
        let prefix = ImageConfig::prefix(weights)?;
        let config = ImageConfig::read(weights)?;
        let mut picker = weights.pick();
        let width = config.width;
        let stem = take_stem(&mut picker, prefix, width);
        let mut input = width;
        let stages = [0, 1, 2, 3].map(|stage| {
            let inner = width << stage;
            (0..config.blocks[stage])
                .map(|block| {
                    let name = format!("{prefix}layer{}.{block}", stage + 1);
                    let stride = if stage > 0 && block == 0 { 2 } else { 1 };
                    let taken = Bottleneck::take(&mut picker, &name, input, inner, stride);
                    input = 4 * inner;
                    taken
                })
                .collect::<Vec<_>>()
        });
        let pool = config.pool.as_ref().map(|pool| {
            AttentionPool::take(
                &mut picker,
                &format!("{prefix}attnpool"),
                config.deep_channels(),
                pool,
            )
        });
        let dilated_last = dilate(&stages[3]);
        let digest = Self::digest_of(weights, prefix);
        picker.finish(Self {
            config,
            digest,
            kind: Kind::Float,
            stem,
            stages,
            dilated_last,
            pool,
        })
    }

    /// BLAKE3 (hex) over the tensors of the stem and the four stages, by name without prefix: the same
    /// for a CLIP checkpoint and a segmentation checkpoint with CLIP's frozen weights.
    fn digest_of(weights: &Weights, prefix: &str) -> String {
        let mut tensors = Vec::new();
        for name in weights.names() {
            let Some(rest) = name.strip_prefix(prefix) else {
                continue;
            };
            if !rest.starts_with("attnpool.") && !rest.ends_with("num_batches_tracked") {
                tensors.extend(weights.get(name).map(|tensor| (rest, tensor)));
            }
        }
        digest(tensors.iter().map(|(name, tensor)| (*name, tensor)))
    }

    /// Sizes.
    pub fn config(&self) -> &ImageConfig {
        &self.config
    }

    /// Identifies the frozen weights of stem and stages.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// The low-level feature: stem and first stage. [N, 3, H, W] → [N, C₁, H/4, W/4], channels
    /// innermost in memory.
    pub fn stem_and_layer1(&self, x: &Tensor) -> Tensor {
        self.leave(&run(&self.stages[0], &self.convolve_stem(x)))
    }

    /// The same without the very last ReLU (the one after the residual sum of the last block).
    pub fn low_level_without_last_relu(&self, x: &Tensor) -> Tensor {
        self.leave(&self.layer1_sum(x))
    }

    fn layer1_sum(&self, x: &Tensor) -> Tensor {
        let stem = self.convolve_stem(x);
        match self.stages[0].split_last() {
            Some((last, rest)) => last.before_relu(&run(rest, &stem)),
            None => stem,
        }
    }

    /// The stem alone: [N, 3, H, W] → [N, width, H/4, W/4].
    pub fn stem(&self, x: &Tensor) -> Tensor {
        self.leave(&self.convolve_stem(x))
    }

    fn convolve_stem(&self, x: &Tensor) -> Tensor {
        let convolved = self
            .stem
            .iter()
            .fold(self.enter(x), |x, conv| conv.forward_relu(&x));
        average_pool(&convolved, 2)
    }

    fn enter(&self, x: &Tensor) -> Tensor {
        channels_last(&x.to_kind(self.kind))
    }

    fn leave(&self, x: &Tensor) -> Tensor {
        x.to_kind(Kind::Float)
    }

    /// `x` through some of the stages.
    fn through(&self, x: &Tensor, stages: &[&[Bottleneck]]) -> Tensor {
        let out = stages.iter().fold(self.enter(x), |x, stage| run(stage, &x));
        self.leave(&out)
    }

    /// Stage 2 (after the low-level feature): [N, C₁, h, w] → [N, 2·C₁, h/2, w/2].
    pub fn layer2(&self, low: &Tensor) -> Tensor {
        self.through(low, &[&self.stages[1]])
    }

    /// Stage 3.
    pub fn layer3(&self, x: &Tensor) -> Tensor {
        self.through(x, &[&self.stages[2]])
    }

    /// Stage 4 with all strides.
    pub fn layer4(&self, x: &Tensor) -> Tensor {
        self.through(x, &[&self.stages[3]])
    }

    /// Stage 4 without stride, the last block dilated by 2.
    pub fn layer4_dilated(&self, x: &Tensor) -> Tensor {
        self.through(x, &[&self.dilated_last])
    }

    /// The CLIP branch from the low-level feature on: stages 2 to 4 with all strides, attention pooling.
    /// [N, C₁, h, w] → [N, E], not normalised.
    ///
    /// # Errors
    /// There is no attention pool, or the feature's size does not fit it.
    pub fn clip_embedding(&self, low: &Tensor) -> Result<Tensor, BackboneError> {
        let pool = self.pool.as_ref().ok_or(BackboneError::NoPool)?;
        let expected = pool.positions();
        let size = low.size();
        let (height, width) = (size[2] / 8, size[3] / 8);
        if height * width != expected {
            let side = (expected as f64).sqrt().round() as i64 * 8;
            return Err(BackboneError::PoolSize {
                expected,
                height,
                width,
                side,
            });
        }
        let [_, second, third, fourth] = self.stages.each_ref().map(Vec::as_slice);
        Ok(pool.forward(&self.through(low, &[second, third, fourth])))
    }

    /// The segmentation branch from the low-level feature on: stages 2 to 4, the last dilated.
    /// [N, C₁, h, w] → [N, 8·C₁, h/4, w/4].
    pub fn deep(&self, low: &Tensor) -> Tensor {
        self.through(low, &[&self.stages[1], &self.stages[2], &self.dilated_last])
    }

    /// A copy on another device (shallow on the same).
    pub fn to_device(&self, device: Device) -> Self {
        self.map(
            |conv| conv.to_device(device),
            |block| block.to_device(device),
            |pool| pool.to_device(device),
        )
    }

    /// The same tower with convolutions in `kind`, such as bfloat16. Features and embeddings stay float32; the
    /// attention pool, which has little to compute, works in float32.
    pub fn to_kind(&self, kind: Kind) -> Self {
        let mut lowered = self.map(
            |conv| conv.to_kind(kind),
            |block| block.to_kind(kind),
            AttentionPool::shallow_clone,
        );
        lowered.kind = kind;
        lowered
    }

    fn map(
        &self,
        conv: impl Fn(&FrozenConv) -> FrozenConv,
        block: impl Fn(&Bottleneck) -> Bottleneck,
        pool: impl Fn(&AttentionPool) -> AttentionPool,
    ) -> Self {
        let stages = self
            .stages
            .each_ref()
            .map(|stage| stage.iter().map(&block).collect::<Vec<_>>());
        Self {
            config: self.config.clone(),
            digest: self.digest.clone(),
            kind: self.kind,
            stem: self.stem.each_ref().map(conv),
            dilated_last: dilate(&stages[3]),
            stages,
            pool: self.pool.as_ref().map(pool),
        }
    }
}

impl Clone for Backbone {
    fn clone(&self) -> Self {
        self.map(
            FrozenConv::shallow_clone,
            Bottleneck::shallow_clone,
            AttentionPool::shallow_clone,
        )
    }
}

fn take_stem(picker: &mut Picker<'_>, prefix: &str, width: i64) -> [FrozenConv; 3] {
    let half = width / 2;
    [(1, 3, half), (2, half, half), (3, half, width)].map(|(index, input, output)| {
        let conv = format!("{prefix}conv{index}");
        let norm = format!("{prefix}bn{index}");
        let taken = FrozenConv::take(
            picker,
            &conv,
            &norm,
            ConvShape {
                input,
                output,
                kernel: 3,
            },
        );
        if index == 1 { taken.with_stride(2) } else { taken }
    })
}

fn run(blocks: &[Bottleneck], x: &Tensor) -> Tensor {
    blocks
        .iter()
        .fold(x.shallow_clone(), |x, block| block.forward(&x))
}

/// DeepLab's dilation of the last stage as the authors do it: no stride; the first block and the middle
/// ones keep dilation 1, only the last of several blocks gets 2. (Torchvision differs.)
fn dilate(stage: &[Bottleneck]) -> Vec<Bottleneck> {
    let last = stage.len().saturating_sub(1);
    stage
        .iter()
        .enumerate()
        .map(|(index, block)| block.dilated(if index > 0 && index == last { 2 } else { 1 }))
        .collect()
}
