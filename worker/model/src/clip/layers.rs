//! Building blocks of the frozen ResNet.

use tch::{Device, Kind, Tensor};

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
        x.conv2d(
            &self.weight,
            Some(&self.bias),
            [self.stride, self.stride],
            [self.padding, self.padding],
            [self.dilation, self.dilation],
            1,
        )
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
        self.before_relu(x).relu_()
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
        Self {
            conv1: each(&self.conv1),
            conv2: each(&self.conv2),
            conv3: each(&self.conv3),
            shortcut: self.shortcut.as_ref().map(&each),
            stride: self.stride,
        }
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
