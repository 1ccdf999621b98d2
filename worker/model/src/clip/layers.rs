//! Building blocks of the frozen ResNet.

use tch::{Device, Kind, Tensor};
use ulda_torch::{ConvStep, conv2d_relu};

use crate::weights::Picker;

/// CLIP's and PyTorch's BatchNorm epsilon.
const EPS: f64 = 1e-5;

/// A bias-free convolution with its frozen BatchNorm folded in.
#[derive(Debug)]
pub struct FrozenConv {
    /// [out, in, k, k], channels innermost in memory.
    pub weight: Tensor,
    pub bias: Tensor,
    pub stride: i64,
    pub padding: i64,
    pub dilation: i64,
}

/// Kernel side, and channels in and out.
#[derive(Clone, Copy)]
pub struct ConvShape {
    pub input: i64,
    pub output: i64,
    pub kernel: i64,
}

impl FrozenConv {
    /// Takes `<conv>.weight` and the four tensors of `<norm>`.
    pub fn take(picker: &mut Picker<'_>, conv: &str, norm: &str, shape: ConvShape) -> Self {
        let ConvShape {
            input,
            output,
            kernel,
        } = shape;
        let weight = picker.take(&format!("{conv}.weight"), &[output, input, kernel, kernel]);
        let mut channel = |field: &str| {
            picker
                .take(&format!("{norm}.{field}"), &[output])
                .to_kind(Kind::Double)
        };
        let (gamma, beta) = (channel("weight"), channel("bias"));
        let (mean, var) = (channel("running_mean"), channel("running_var"));
        let scale = gamma / (var + EPS).sqrt();
        let bias = (beta - mean * &scale).to_kind(Kind::Float);
        let weight = (weight.to_kind(Kind::Double) * scale.view([-1, 1, 1, 1])).to_kind(Kind::Float);
        Self {
            weight: channels_last(&weight),
            bias,
            stride: 1,
            padding: kernel / 2,
            dilation: 1,
        }
    }

    pub fn with_stride(mut self, stride: i64) -> Self {
        self.stride = stride;
        self
    }

    /// The same weights with another dilation, padded to keep the size.
    pub fn dilated(&self, dilation: i64) -> Self {
        Self {
            padding: self.padding * dilation,
            dilation,
            ..self.shallow_clone()
        }
    }

    pub fn forward(&self, x: &Tensor) -> Tensor {
        self.convolve(x, Some(&self.bias))
    }

    fn convolve(&self, x: &Tensor, bias: Option<&Tensor>) -> Tensor {
        x.conv2d(
            &self.weight,
            bias,
            [self.stride, self.stride],
            [self.padding, self.padding],
            [self.dilation, self.dilation],
            1,
        )
    }

    /// The convolution and ReLU.
    pub fn forward_relu(&self, x: &Tensor) -> Tensor {
        match x.device() {
            Device::Cuda(_) => self.fused(x, &self.bias, None),
            _ => self.forward(x).relu_(),
        }
    }

    /// The convolution, with `bias` instead of its own, plus `residual`, and ReLU, in one call where a GPU has it.
    fn fused(&self, x: &Tensor, bias: &Tensor, residual: Option<&Tensor>) -> Tensor {
        let step = ConvStep {
            stride: self.stride,
            padding: self.padding,
            dilation: self.dilation,
        };
        // As tch's own operations, which panic where libtorch refuses.
        conv2d_relu(x, &self.weight, bias, residual, step).unwrap_or_else(|error| panic!("{error}"))
    }

    pub fn shallow_clone(&self) -> Self {
        Self {
            weight: self.weight.shallow_clone(),
            bias: self.bias.shallow_clone(),
            ..*self
        }
    }

    /// With weights and bias of another kind; inputs must be of it too.
    pub fn to_kind(&self, kind: Kind) -> Self {
        Self {
            weight: channels_last(&self.weight.to_kind(kind)),
            bias: self.bias.to_kind(kind),
            ..*self
        }
    }

    pub fn to_device(&self, device: Device) -> Self {
        Self {
            weight: self.weight.to_device(device),
            bias: self.bias.to_device(device),
            ..*self
        }
    }
}

/// CLIP's bottleneck: strides are average pools, after the 3×3 convolution and before the shortcut's 1×1.
#[derive(Debug)]
pub struct Bottleneck {
    pub conv1: FrozenConv,
    pub conv2: FrozenConv,
    pub conv3: FrozenConv,
    pub shortcut: Option<FrozenConv>,
    pub stride: i64,
    /// Sum of the biases of `conv3` and `shortcut`.
    joined_bias: Tensor,
}

impl Bottleneck {
    /// Takes the block `name`, from `input` to 4·`width` channels. A block that changes size or
    /// channels has a convolution in its shortcut.
    pub fn take(picker: &mut Picker<'_>, name: &str, input: i64, width: i64, stride: i64) -> Self {
        let output = 4 * width;
        let mut conv = |conv: &str, norm: &str, shape: ConvShape| {
            FrozenConv::take(
                picker,
                &format!("{name}.{conv}"),
                &format!("{name}.{norm}"),
                shape,
            )
        };
        let conv1 = conv(
            "conv1",
            "bn1",
            ConvShape {
                input,
                output: width,
                kernel: 1,
            },
        );
        let conv2 = conv(
            "conv2",
            "bn2",
            ConvShape {
                input: width,
                output: width,
                kernel: 3,
            },
        );
        let conv3 = conv(
            "conv3",
            "bn3",
            ConvShape {
                input: width,
                output,
                kernel: 1,
            },
        );
        let shortcut = (stride > 1 || input != output).then(|| {
            conv(
                "downsample.0",
                "downsample.1",
                ConvShape {
                    input,
                    output,
                    kernel: 1,
                },
            )
        });
        Self {
            joined_bias: joined_bias(&conv3, shortcut.as_ref()),
            conv1,
            conv2,
            conv3,
            shortcut,
            stride,
        }
    }

    /// The same weights without stride and with dilation in the 3×3 convolution.
    pub fn dilated(&self, dilation: i64) -> Self {
        Self {
            conv2: self.conv2.dilated(dilation),
            stride: 1,
            ..self.shallow_clone()
        }
    }

    pub fn forward(&self, x: &Tensor) -> Tensor {
        match x.device() {
            Device::Cuda(_) => self.fused(x),
            _ => self.before_relu(x).relu_(),
        }
    }

    /// The same in as few calls as a GPU needs: the shortcut's bias is added with that of the last convolution.
    fn fused(&self, x: &Tensor) -> Tensor {
        let inner = self.conv1.fused(x, &self.conv1.bias, None);
        let inner = self.conv2.fused(&inner, &self.conv2.bias, None);
        let shortcut = match &self.shortcut {
            Some(conv) => conv.convolve(&self.pool(x), None),
            None => x.shallow_clone(),
        };
        self.conv3
            .fused(&self.pool(&inner), &self.joined_bias, Some(&shortcut))
    }

    /// The residual sum, without the ReLU that follows it.
    pub fn before_relu(&self, x: &Tensor) -> Tensor {
        let inner = self.conv2.forward(&self.conv1.forward(x).relu_()).relu_();
        let out = self.conv3.forward(&self.pool(&inner));
        let shortcut = match &self.shortcut {
            Some(conv) => conv.forward(&self.pool(x)),
            None => x.shallow_clone(),
        };
        out + shortcut
    }

    fn pool(&self, x: &Tensor) -> Tensor {
        if self.stride == 1 {
            x.shallow_clone()
        } else {
            average_pool(x, self.stride)
        }
    }

    pub fn shallow_clone(&self) -> Self {
        self.map(FrozenConv::shallow_clone)
    }

    pub fn to_device(&self, device: Device) -> Self {
        self.map(|conv| conv.to_device(device))
    }

    pub fn to_kind(&self, kind: Kind) -> Self {
        self.map(|conv| conv.to_kind(kind))
    }

    fn map(&self, each: impl Fn(&FrozenConv) -> FrozenConv) -> Self {
        let (conv3, shortcut) = (each(&self.conv3), self.shortcut.as_ref().map(&each));
        Self {
            joined_bias: joined_bias(&conv3, shortcut.as_ref()),
            conv1: each(&self.conv1),
            conv2: each(&self.conv2),
            conv3,
            shortcut,
            stride: self.stride,
        }
    }
}

fn joined_bias(last: &FrozenConv, shortcut: Option<&FrozenConv>) -> Tensor {
    match shortcut {
        Some(shortcut) => &last.bias + &shortcut.bias,
        None => last.bias.shallow_clone(),
    }
}

/// Non-overlapping average pooling; odd sizes floor.
pub fn average_pool(x: &Tensor, stride: i64) -> Tensor {
    x.avg_pool2d([stride, stride], [stride, stride], [0, 0], false, true, None)
}

/// `x` with channels innermost in memory, the layout that the CPU's convolutions work in without reordering.
pub fn channels_last(x: &Tensor) -> Tensor {
    ulda_torch::runtime::channels_last(x).expect("four-dimensional tensors have this layout")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Seeded;

    fn conv(seeded: &mut Seeded, shape: ConvShape) -> FrozenConv {
        let ConvShape {
            input,
            output,
            kernel,
        } = shape;
        FrozenConv {
            weight: channels_last(&seeded.kaiming(&[output, input, kernel, kernel])),
            bias: seeded.normal(&[output], 1.0),
            stride: 1,
            padding: kernel / 2,
            dilation: 1,
        }
    }

    /// From `input` to 16 channels.
    fn block(input: i64, stride: i64) -> Bottleneck {
        let mut seeded = Seeded::new(9);
        let mut make = |input, output, kernel| {
            conv(
                &mut seeded,
                ConvShape {
                    input,
                    output,
                    kernel,
                },
            )
        };
        let [conv1, conv2, conv3] = [make(input, 4, 1), make(4, 4, 3), make(4, 16, 1)];
        let shortcut = (input != 16).then(|| make(input, 16, 1));
        Bottleneck {
            joined_bias: joined_bias(&conv3, shortcut.as_ref()),
            conv1,
            conv2,
            conv3,
            shortcut,
            stride,
        }
    }

    #[test]
    fn the_calls_of_a_gpu_give_the_block_and_its_gradient() {
        for block in [block(16, 1), block(8, 1), block(8, 2), block(16, 1).dilated(2)] {
            let input = block.conv1.weight.size()[1];
            let x = channels_last(&Seeded::new(4).normal(&[2, input, 6, 10], 1.0)).set_requires_grad(true);
            let [plain, fused] = [block.before_relu(&x).relu_(), block.fused(&x)];
            assert_eq!(fused.size(), plain.size());
            assert!(fused.allclose(&plain, 1e-5, 1e-5, false));
            assert!(plain.gt(0.0).any().int64_value(&[]) == 1 && plain.eq(0.0).any().int64_value(&[]) == 1);
            let outer = Seeded::new(5).normal(&plain.size(), 1.0);
            let gradient = |y: &Tensor| {
                Tensor::run_backward(&[(y * &outer).sum(Kind::Float)], &[&x], false, false).remove(0)
            };
            assert!(gradient(&fused).allclose(&gradient(&plain), 1e-4, 1e-5, false));
        }
    }

    #[test]
    fn without_gradients_and_without_images_it_is_the_same_block() {
        let block = block(8, 2);
        let x = Seeded::new(4).normal(&[2, 8, 6, 10], 1.0);
        let fused = tch::no_grad(|| block.fused(&x));
        assert!(!fused.requires_grad());
        assert!(fused.allclose(&block.forward(&x), 1e-5, 1e-5, false));
        assert_eq!(block.fused(&x.narrow(0, 0, 0)).size(), [0, 16, 3, 5]);
    }
}
