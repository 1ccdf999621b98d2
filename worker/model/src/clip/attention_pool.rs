//! CLIP's attention pooling on top of the ResNet.

use tch::{Device, Kind, Tensor};

use crate::clip::config::PoolConfig;
use crate::weights::Picker;

/// Multi-head attention whose only query is the mean of all positions. (The reference lets all tokens
/// be queries and keeps the first; this is the same.)
#[derive(Debug)]
pub struct AttentionPool {
    positions: Tensor,
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
    heads: i64,
}

#[derive(Debug)]
struct Linear {
    weight: Tensor,
    bias: Tensor,
}

impl Linear {
    fn take(picker: &mut Picker<'_>, name: &str, input: i64, output: i64) -> Self {
        Self {
            weight: picker.take(&format!("{name}.weight"), &[output, input]),
            bias: picker.take(&format!("{name}.bias"), &[output]),
        }
    }

    fn forward(&self, x: &Tensor) -> Tensor {
        x.linear(&self.weight, Some(&self.bias))
    }

    fn map(&self, each: impl Fn(&Tensor) -> Tensor) -> Self {
        Self {
            weight: each(&self.weight),
            bias: each(&self.bias),
        }
    }
}

impl AttentionPool {
    /// Takes the tensors below `prefix` (such as `visual.attnpool`).
    pub fn take(picker: &mut Picker<'_>, prefix: &str, channels: i64, config: &PoolConfig) -> Self {
        let side = config.resolution / 32;
        let mut linear =
            |name: &str, output| Linear::take(picker, &format!("{prefix}.{name}"), channels, output);
        let (query, key, value) = (
            linear("q_proj", channels),
            linear("k_proj", channels),
            linear("v_proj", channels),
        );
        let output = linear("c_proj", config.embed);
        let positions = picker.take(
            &format!("{prefix}.positional_embedding"),
            &[side * side + 1, channels],
        );
        Self {
            positions,
            query,
            key,
            value,
            output,
            heads: config.heads,
        }
    }

    /// Positions that the pool has embeddings for, without that of the mean: height · width.
    pub fn positions(&self) -> i64 {
        self.positions.size()[0] - 1
    }

    /// [N, C, h, w] with h·w = [`AttentionPool::positions`] → [N, E].
    ///
    /// With one query per head its key projection moves to the query's side, q·(K x + b) = (Kᵀq)·x + q·b, and the
    /// value projection behind the weighted mean: C² multiplications per image instead of per position.
    pub fn forward(&self, x: &Tensor) -> Tensor {
        let (images, channels) = (x.size()[0], x.size()[1]);
        let pixels = x.flatten(2, 3).transpose(1, 2);
        let mean = pixels.mean_dim(1, true, Kind::Float);
        let tokens = Tensor::cat(&[mean, pixels], 1) + &self.positions;
        let width = channels / self.heads;
        // [heads, N, width] against a projection's rows of each head, [heads, width, C].
        let by_head = |t: &Tensor| t.view([self.heads, width, channels]);
        let query = self.query.forward(&tokens.select(1, 0)) * (width as f64).powf(-0.5);
        let query = query.view([images, self.heads, width]).transpose(0, 1);
        // The key's bias adds the same to every position of a head, which the softmax ignores.
        let looked_for = query.matmul(&by_head(&self.key.weight)).transpose(0, 1);
        let weights = looked_for
            .matmul(&tokens.transpose(1, 2))
            .softmax(-1, Kind::Float);
        let found = weights.matmul(&tokens).transpose(0, 1);
        let values = found.matmul(&by_head(&self.value.weight).transpose(1, 2));
        let pooled = values.transpose(0, 1).reshape([images, channels]) + &self.value.bias;
        self.output.forward(&pooled)
    }

    pub(super) fn shallow_clone(&self) -> Self {
        self.map(Tensor::shallow_clone)
    }

    pub(super) fn to_device(&self, device: Device) -> Self {
        self.map(|tensor| tensor.to_device(device))
    }

    fn map(&self, each: impl Fn(&Tensor) -> Tensor) -> Self {
        Self {
            positions: each(&self.positions),
            query: self.query.map(&each),
            key: self.key.map(&each),
            value: self.value.map(&each),
            output: self.output.map(&each),
            heads: self.heads,
        }
    }
}
