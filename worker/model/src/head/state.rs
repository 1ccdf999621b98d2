//! The head's parameters and buffers: taken from a checkpoint, made new, copied, named.

use tch::{Device, Kind, Tensor};

use crate::head::layer::{ConvNorm, PLACES};
use crate::seeded::Seeded;
use crate::weights::{Weights, WeightsError, WeightsKind};

/// Channels of the head, read from shapes; `deep` and `low` are the backbone's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadConfig {
    /// Channels of the stage-4 output; 2048 for RN50.
    pub deep: i64,
    /// Channels of the low-level feature, C₁; 256 for RN50.
    pub low: i64,
    /// Channels the low-level feature is projected to; 48 as published.
    pub low_projection: i64,
    /// Channels of each ASPP branch and of the ASPP's output; 256 as published.
    pub aspp: i64,
    /// Channels before the last convolution; 256 as published.
    pub hidden: i64,
    pub classes: i64,
}

impl HeadConfig {
    /// The published widths on a backbone with these channels, for so many classes.
    pub fn published(deep: i64, low: i64, classes: i64) -> Self {
        Self {
            deep,
            low,
            low_projection: 48,
            aspp: 256,
            hidden: 256,
            classes,
        }
    }

    /// The channels of the head in `weights`.
    pub(crate) fn read(weights: &Weights) -> Result<Self, WeightsError> {
        let mut picker = weights.pick();
        let config = Self {
            deep: picker.dimension("classifier.aspp.convs.0.0.weight", 1),
            low: picker.dimension("classifier.project.0.weight", 1),
            low_projection: picker.dimension("classifier.project.0.weight", 0),
            aspp: picker.dimension("classifier.aspp.convs.0.0.weight", 0),
            hidden: picker.dimension("classifier.classifier.0.weight", 0),
            classes: picker.dimension("classifier.classifier.3.weight", 0),
        };
        picker.finish(config)
    }
}

/// DeepLabV3+ head: low-level projection, ASPP, classifier. Names are the published `classifier.*`.
///
/// Parameters require gradients only after [`Head::trainable`]. Neither `Clone` nor `Sync`: each thread
/// has its own [`Head::shallow_clone`] or [`Head::deep_clone`].
#[derive(Debug)]
pub struct Head {
    pub(super) config: HeadConfig,
    pub(super) layers: [ConvNorm; 8],
    pub(super) last_weight: Tensor,
    pub(super) last_bias: Tensor,
    pub(super) autocast: Option<Kind>,
}

/// Name of the last convolution, the only one with a bias.
pub(crate) const LAST: &str = "classifier.classifier.3";

impl Head {
    /// The head in `weights` (`classifier.*`), on the CPU, with storage of its own.
    ///
    /// # Errors
    /// Tensors are missing (all named at once) or their shapes contradict each other.
    pub fn load(weights: &Weights) -> Result<Self, WeightsError> {
        let config = HeadConfig::read(weights)?;
        let mut picker = weights.pick();
        let layers = std::array::from_fn(|index| ConvNorm::take(&mut picker, index, &config));
        let last_weight = picker
            .take(&format!("{LAST}.weight"), &[config.classes, config.hidden, 1, 1])
            .copy();
        let last_bias = picker.take(&format!("{LAST}.bias"), &[config.classes]).copy();
        picker.finish(Self {
            config,
            layers,
            last_weight,
            last_bias,
            autocast: None,
        })
    }

    /// A new head on the CPU: Kaiming-normal convolutions, BatchNorm at identity, PyTorch's default for
    /// the last bias.
    pub fn new(config: HeadConfig, seed: u64) -> Self {
        let mut seeded = Seeded::new(seed);
        let layers = std::array::from_fn(|index| ConvNorm::new(&mut seeded, index, &config));
        let last_weight = seeded.kaiming(&[config.classes, config.hidden, 1, 1]);
        let last_bias = seeded.torch_default(&[config.classes], config.hidden);
        Self {
            config,
            layers,
            last_weight,
            last_bias,
            autocast: None,
        }
    }

    /// Channels.
    pub fn config(&self) -> &HeadConfig {
        &self.config
    }

    /// Where the tensors are.
    pub fn device(&self) -> Device {
        self.layers[0].device()
    }

    /// (published name, tensor) of every parameter, in the order of the published state dict. The
    /// tensors share storage with the head.
    pub fn parameters(&self) -> Vec<(String, Tensor)> {
        let last = [
            (format!("{LAST}.weight"), &self.last_weight),
            (format!("{LAST}.bias"), &self.last_bias),
        ];
        let inner = self.layers.iter().flat_map(ConvNorm::parameters);
        inner
            .chain(last)
            .map(|(name, tensor)| (name, tensor.shallow_clone()))
            .collect()
    }

    /// (published name, tensor) of every BatchNorm buffer: `running_mean`, `running_var`, and
    /// `num_batches_tracked` (i64 scalar). The tensors share storage with the head.
    pub fn buffers(&self) -> Vec<(String, Tensor)> {
        let inner = self.layers.iter().flat_map(ConvNorm::buffers);
        inner
            .map(|(name, tensor)| (name, tensor.shallow_clone()))
            .collect()
    }

    /// Parameters, then buffers, detached: what a checkpoint holds.
    pub fn state(&self) -> Vec<(String, Tensor)> {
        let all = self.parameters().into_iter().chain(self.buffers());
        all.map(|(name, tensor)| (name, tensor.detach())).collect()
    }

    /// Copies a state into this head's tensors, which stay the same tensors. `origin` is what errors
    /// name; tensors of other names are ignored.
    ///
    /// # Errors
    /// Tensors are missing or have other shapes; then nothing was changed.
    pub fn load_state(
        &mut self,
        origin: &std::path::Path,
        state: Vec<(String, Tensor)>,
    ) -> Result<(), WeightsError> {
        let weights = Weights::from_tensors(origin, WeightsKind::Safetensors, state)?;
        let mut picker = weights.pick();
        let copies: Vec<(Tensor, Tensor)> = self
            .state()
            .into_iter()
            .map(|(name, mine)| {
                let theirs = picker.take(&name, &mine.size());
                (mine, theirs)
            })
            .collect();
        for (mut mine, theirs) in picker.finish(copies)? {
            tch::no_grad(|| mine.copy_(&theirs));
        }
        Ok(())
    }

    /// Whether backward fills the parameters' gradients.
    pub fn trainable(&self, on: bool) {
        for (_, parameter) in self.parameters() {
            let _ = parameter.set_requires_grad(on);
        }
    }

    /// The same head whose convolutions and matrix products work in `kind`, bfloat16 or half, or in float32. Weights,
    /// BatchNorm, logits and gradients are float32 in any case.
    #[must_use]
    pub fn autocast(mut self, kind: Option<Kind>) -> Self {
        self.autocast = kind;
        self
    }

    /// A head on the same tensors.
    pub fn shallow_clone(&self) -> Self {
        self.map(Tensor::shallow_clone)
    }

    /// A head with tensors of its own, detached.
    pub fn deep_clone(&self) -> Self {
        self.map(|tensor| tensor.detach().copy())
    }

    /// A copy on another device (shallow on the same), not trainable until [`Head::trainable`].
    pub fn to_device(&self, device: Device) -> Self {
        // Without detaching, a parameter that requires a gradient would arrive as no leaf.
        self.map(|tensor| tensor.detach().to_device(device))
    }

    fn map(&self, each: impl Fn(&Tensor) -> Tensor) -> Self {
        Self {
            config: self.config,
            layers: self.layers.each_ref().map(|layer| layer.map(&each)),
            last_weight: each(&self.last_weight),
            last_bias: each(&self.last_bias),
            autocast: self.autocast,
        }
    }

    /// Number of BatchNorm layers.
    pub const BATCH_NORMS: usize = PLACES.len();
}
