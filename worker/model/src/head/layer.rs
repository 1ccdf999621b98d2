//! Convolution without bias, then BatchNorm: eight of them make up the head.

use std::sync::Arc;

use tch::{Device, Kind, Tensor};
use ulda_torch::{
    BatchStats, NormInput, Normalised, RunningStatistic, ShardSync, TorchError, conv2d, move_running,
    sync_batch_norms,
};

use crate::clip::{ConvShape, FrozenConv};
use crate::head::{BATCH_NORM_EPS, BATCH_NORM_MOMENTUM, HeadConfig, upsampled};
use crate::seeded::Seeded;
use crate::weights::Picker;

/// Published names and geometry of one layer.
pub struct LayerGeometry {
    pub conv: &'static str,
    pub norm: &'static str,
    kernel: i64,
    dilation: i64,
}

const fn place(conv: &'static str, norm: &'static str, kernel: i64, dilation: i64) -> LayerGeometry {
    LayerGeometry {
        conv,
        norm,
        kernel,
        dilation,
    }
}

/// Index of each layer in [`PLACES`]; it is also the layer number of the BatchNorm exchange.
pub const LOW: usize = 0;
pub const POOLED: usize = 5;
pub const ASPP_PROJECT: usize = 6;
pub const HIDDEN: usize = 7;

/// All layers, in the order of the published state dict.
pub const PLACES: [LayerGeometry; 8] = [
    place("classifier.project.0", "classifier.project.1", 1, 1),
    place("classifier.aspp.convs.0.0", "classifier.aspp.convs.0.1", 1, 1),
    place("classifier.aspp.convs.1.0", "classifier.aspp.convs.1.1", 3, 6),
    place("classifier.aspp.convs.2.0", "classifier.aspp.convs.2.1", 3, 12),
    place("classifier.aspp.convs.3.0", "classifier.aspp.convs.3.1", 3, 18),
    // The pooling itself is number 0 of this branch.
    place("classifier.aspp.convs.4.1", "classifier.aspp.convs.4.2", 1, 1),
    place("classifier.aspp.project.0", "classifier.aspp.project.1", 1, 1),
    place("classifier.classifier.0", "classifier.classifier.1", 3, 1),
];

/// Weights and BatchNorm of one layer.
#[derive(Debug)]
pub struct ConvNorm {
    index: usize,
    weight: Tensor,
    gamma: Tensor,
    beta: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    batches: Tensor,
}

impl ConvNorm {
    pub fn take(picker: &mut Picker<'_>, index: usize, config: &HeadConfig) -> Self {
        let LayerGeometry { conv, norm, .. } = PLACES[index];
        let shape = Self::shape(index, config);
        let weight = picker.take(&format!("{conv}.weight"), &shape).copy();
        let mut channel = |field: &str| picker.take(&format!("{norm}.{field}"), &shape[..1]).copy();
        Self {
            index,
            weight,
            gamma: channel("weight"),
            beta: channel("bias"),
            running_mean: channel("running_mean"),
            running_var: channel("running_var"),
            batches: picker
                .take(&format!("{norm}.num_batches_tracked"), &[])
                .to_kind(Kind::Int64)
                .copy(),
        }
    }

    pub fn new(seeded: &mut Seeded, index: usize, config: &HeadConfig) -> Self {
        let shape = Self::shape(index, config);
        let ones = || Tensor::ones(&shape[..1], tch::kind::FLOAT_CPU);
        let zeros = || Tensor::zeros(&shape[..1], tch::kind::FLOAT_CPU);
        Self {
            index,
            weight: seeded.kaiming(&shape),
            gamma: ones(),
            beta: zeros(),
            running_mean: zeros(),
            running_var: ones(),
            batches: Tensor::zeros(&[] as &[i64], tch::kind::INT64_CPU),
        }
    }

    /// The layer for evaluation alone, with its BatchNorm folded in.
    pub fn folded(picker: &mut Picker<'_>, index: usize, config: &HeadConfig) -> FrozenConv {
        let LayerGeometry {
            conv,
            norm,
            kernel,
            dilation,
        } = PLACES[index];
        let [output, input, ..] = Self::shape(index, config);
        let shape = ConvShape {
            input,
            output,
            kernel,
        };
        FrozenConv::take(picker, conv, norm, shape).dilated(dilation)
    }

    fn shape(index: usize, config: &HeadConfig) -> [i64; 4] {
        let (input, output) = match index {
            LOW => (config.low, config.low_projection),
            ASPP_PROJECT => (5 * config.aspp, config.aspp),
            HIDDEN => (config.low_projection + config.aspp, config.hidden),
            _ => (config.deep, config.aspp),
        };
        let kernel = PLACES[index].kernel;
        [output, input, kernel, kernel]
    }

    pub fn parameters(&self) -> [(String, &Tensor); 3] {
        let LayerGeometry { conv, norm, .. } = PLACES[self.index];
        [
            (format!("{conv}.weight"), &self.weight),
            (format!("{norm}.weight"), &self.gamma),
            (format!("{norm}.bias"), &self.beta),
        ]
    }

    pub fn buffers(&self) -> [(String, &Tensor); 3] {
        let norm = PLACES[self.index].norm;
        [
            (format!("{norm}.running_mean"), &self.running_mean),
            (format!("{norm}.running_var"), &self.running_var),
            (format!("{norm}.num_batches_tracked"), &self.batches),
        ]
    }

    pub fn map(&self, each: impl Fn(&Tensor) -> Tensor) -> Self {
        Self {
            index: self.index,
            weight: each(&self.weight),
            gamma: each(&self.gamma),
            beta: each(&self.beta),
            running_mean: each(&self.running_mean),
            running_var: each(&self.running_var),
            batches: each(&self.batches),
        }
    }

    pub fn index(&self) -> usize {
        self.index
    }

    pub fn device(&self) -> Device {
        self.weight.device()
    }

    /// The convolution alone.
    pub fn convolve(&self, x: &Tensor) -> Tensor {
        let LayerGeometry { kernel, dilation, .. } = PLACES[self.index];
        same_size(x, &self.weight, kernel / 2 * dilation, dilation)
    }

    /// The convolution of `low` beside `small` upsampled to its size, see [`upsampled`].
    pub fn convolve_joined(&self, low: &Tensor, small: &Tensor) -> Tensor {
        let own = low.size()[1];
        let weights = self
            .weight
            .split_with_sizes([own, self.weight.size()[1] - own], 1);
        let low_part = same_size(low, &weights[0], 1, 1);
        low_part + upsampled::convolve(small, &weights[1], [low.size()[2], low.size()[3]])
    }

    /// BatchNorm on running statistics and ReLU, after the convolution.
    pub fn eval(&self, convolved: &Tensor) -> Tensor {
        let (gamma, beta) = (Some(&self.gamma), Some(&self.beta));
        let (mean, var) = (Some(&self.running_mean), Some(&self.running_var));
        convolved
            .to_kind(Kind::Float)
            .batch_norm(
                gamma,
                beta,
                mean,
                var,
                false,
                BATCH_NORM_MOMENTUM,
                BATCH_NORM_EPS,
                false,
            )
            .relu_()
    }

    /// BatchNorm on the statistics of all shards' images and ReLU, after the convolutions of `layers`, which follow
    /// each other in [`PLACES`] and do not need each other; each of the batch's equal `parts` by itself. Running
    /// statistics stay.
    pub fn train(
        layers: &[Self],
        convolved: &[Tensor],
        sync: &Arc<dyn ShardSync>,
        parts: usize,
    ) -> Result<Vec<Normalised>, TorchError> {
        // Under autocast convolutions give half precision; statistics need f32.
        let xs: Vec<Tensor> = convolved.iter().map(|x| x.to_kind(Kind::Float)).collect();
        let inputs: Vec<NormInput<'_>> = layers
            .iter()
            .zip(&xs)
            .map(|(layer, x)| NormInput {
                x,
                weight: &layer.gamma,
                bias: &layer.beta,
            })
            .collect();
        let mut normalised = sync_batch_norms(&inputs, BATCH_NORM_EPS, sync, layers[0].index as u32, parts)?;
        for layer in &mut normalised {
            let _ = layer.y.relu_();
        }
        Ok(normalised)
    }

    /// Moves the running statistics of layers towards those of one forward: momentum 0.1, unbiased variance.
    pub fn commit(forwards: &[(&Self, &BatchStats)]) {
        let mut entries = Vec::with_capacity(2 * forwards.len());
        for (layer, stats) in forwards {
            let count = stats.count as f64;
            entries.push(RunningStatistic {
                running: &layer.running_mean,
                found: &stats.mean,
                factor: 1.0,
            });
            entries.push(RunningStatistic {
                running: &layer.running_var,
                found: &stats.var_biased,
                factor: count / (count - 1.0),
            });
        }
        let counters: Vec<&Tensor> = forwards.iter().map(|(layer, _)| &layer.batches).collect();
        // As tch's own operations, which panic where libtorch refuses.
        move_running(&entries, &counters, BATCH_NORM_MOMENTUM).unwrap_or_else(|error| panic!("{error}"));
    }
}

fn same_size(x: &Tensor, weight: &Tensor, padding: i64, dilation: i64) -> Tensor {
    // As tch's own operations, which panic where libtorch refuses.
    conv2d(x, weight, padding, dilation).unwrap_or_else(|error| panic!("{error}"))
}
