//! What the networks compute, move and hold, layer by layer: the walk that FLOPs, bytes and launches come from, for `worker
//! estimate` and the cost model (docs/cost-model.md).
//!
//! Multiply-adds are those that `bench` counts by hand (a test there insists on it), so "direct" convolutions without the
//! head's short cuts.

use std::ops::{Add, Mul};

use crate::clip::ImageConfig;
use crate::head::HeadConfig;

/// One kind of kernel: what each of its launches computes and moves, added up.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct KernelWork {
    /// Multiply-adds per image.
    pub macs: f64,
    /// Activation elements read or written per image.
    pub moved: f64,
    /// Weight elements read, whatever the number of images.
    pub weights: f64,
    /// Launches, whatever the number of images.
    pub launches: f64,
}

impl KernelWork {
    pub fn flops(&self) -> f64 {
        2.0 * self.macs
    }
}

/// Work of one pass over a part of the networks: its operations, which a GPU does one after the other.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NetworkWork(pub Vec<KernelWork>);

impl NetworkWork {
    /// All operations together.
    pub fn total(&self) -> KernelWork {
        self.0.iter().fold(KernelWork::default(), |sum, one| KernelWork {
            macs: sum.macs + one.macs,
            moved: sum.moved + one.moved,
            weights: sum.weights + one.weights,
            launches: sum.launches + one.launches,
        })
    }

    fn convolution(kernel: f64, (from, input): (f64, f64), (to, output): (f64, f64)) -> Self {
        let weights = kernel * kernel * input * output;
        Self(vec![KernelWork {
            macs: to * weights,
            moved: from * input + to * output,
            weights,
            launches: 1.0,
        }])
    }

    /// One elementwise operation over `elements`, reading and writing `passes` times in all.
    fn pointwise(elements: f64, passes: f64) -> Self {
        Self::streamed(elements * passes, 1.0)
    }

    /// `launches` operations that move so many elements in all and compute next to nothing.
    pub fn streamed(moved: f64, launches: f64) -> Self {
        Self(vec![KernelWork {
            moved,
            launches,
            ..KernelWork::default()
        }])
    }
}

impl Add for NetworkWork {
    type Output = Self;

    fn add(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }
}

/// Passes over a part: forward and each backward count as one.
impl Mul<f64> for NetworkWork {
    type Output = Self;

    fn mul(mut self, passes: f64) -> Self {
        for one in &mut self.0 {
            *one = KernelWork {
                macs: one.macs * passes,
                moved: one.moved * passes,
                weights: one.weights * passes,
                launches: one.launches * passes,
            };
        }
        self
    }
}

/// Widths of the networks.
#[derive(Clone, Copy, Debug)]
pub struct NetworkSizes {
    /// Channels of the stem's output.
    pub width: f64,
    pub blocks: [u32; 4],
    pub head: HeadConfig,
}

impl NetworkSizes {
    /// CLIP's RN50 under the published head.
    pub fn rn50() -> Self {
        Self {
            width: 64.0,
            blocks: [3, 4, 6, 3],
            head: HeadConfig::published(2048, 256, 19),
        }
    }

    /// Of an image tower and the head on it.
    pub fn of(image: &ImageConfig, head: HeadConfig) -> Self {
        Self {
            width: image.width as f64,
            blocks: image
                .blocks
                .map(|blocks| u32::try_from(blocks).unwrap_or(u32::MAX)),
            head,
        }
    }

    /// A step of pretrain, per image of `pixels`.
    pub fn pretrain(&self, pixels: f64) -> NetworkWork {
        let low = pixels / 16.0;
        self.low_level(pixels) + self.deep(low, 1.0) + self.head(low) * 3.0
    }

    /// A step of adapt, per image of `pixels`. Restyling and rectifying pass over the feature about 8 times forward and 8
    /// backward.
    pub fn adapt(&self, pixels: f64) -> NetworkWork {
        let low = pixels / 16.0;
        self.low_level(pixels) + self.deep(low, 1.0) * 2.0 + self.head(low) * 3.0 + self.feature(low, 16.0)
    }

    /// An iteration of simulate, per domain and image of `pixels`, whose scene is pooled to a feature of `scene` pixels. PIN,
    /// its gradient and the alignment's pixel terms are about 12 passes.
    pub fn simulate(&self, pixels: f64, scene: f64) -> NetworkWork {
        let low = pixels / 16.0;
        (self.deep(low, 1.0) + self.head(low) + self.deep(scene, 2.0)) * 2.0 + self.feature(low, 12.0)
    }

    /// Scoring of so many heads, per image of `pixels`.
    pub fn evaluate(&self, pixels: f64, heads: u32) -> NetworkWork {
        let low = pixels / 16.0;
        self.low_level(pixels) + self.deep(low, 1.0) + self.head(low) * f64::from(heads)
    }

    /// Passes over the low-level feature of `pixels`.
    fn feature(&self, pixels: f64, passes: f64) -> NetworkWork {
        NetworkWork::streamed(pixels * self.head.low as f64 * passes, passes)
    }

    /// Weights of stem and stages.
    pub fn backbone_weights(&self) -> f64 {
        (self.low_level(1.0) + self.deep(1.0, 1.0)).total().weights
    }

    /// Weights of the head.
    pub fn head_weights(&self) -> f64 {
        self.head(1.0).total().weights + (self.head.deep * self.head.aspp) as f64
    }

    /// Activation elements per pixel of the image that the frozen stem and stage 1 hold at most at once: input and output of
    /// a block of stage 1, and the two maps between them.
    pub fn held_frozen(&self) -> f64 {
        11.0 * self.width / 16.0
    }

    /// Elements of one map of the low-level feature, per pixel of the image.
    pub fn held_map(&self) -> f64 {
        self.head.low as f64 / 16.0
    }

    /// Activation elements per pixel of the image that the head keeps for its backward pass, and the logits with their
    /// gradient at the image's size.
    pub fn held_head(&self) -> f64 {
        let HeadConfig {
            low_projection,
            aspp,
            hidden,
            classes,
            ..
        } = self.head;
        let [low_projection, aspp, hidden, classes] =
            [low_projection, aspp, hidden, classes].map(|channels| channels as f64);
        (2.0 * (low_projection + hidden) + classes) / 16.0 + 10.0 * aspp / 256.0 + 3.0 * classes
    }

    /// Activation elements per pixel of the image that stages 2 to 4 (dilated) keep for their backward pass.
    pub fn held_deep(&self) -> f64 {
        let stage = |number: usize, from: f64, to: f64| {
            let inner = self.width * f64::from(1 << number);
            let (first, rest) = (
                2.0 * inner / from + 7.0 * inner / to,
                f64::from(self.blocks[number] - 1) * 6.0 * inner / to,
            );
            first + rest
        };
        stage(1, 16.0, 64.0) + stage(2, 64.0, 256.0) + stage(3, 256.0, 256.0)
    }

    /// Stem and stage 1, of an image of `pixels`.
    pub fn low_level(&self, pixels: f64) -> NetworkWork {
        let (half, at) = (self.width / 2.0, pixels / 4.0);
        let mut work = NetworkWork::pointwise(at * self.width * 1.25, 1.0);
        for (from, input, output) in [(pixels, 3.0, half), (at, half, half), (at, half, self.width)] {
            work = work
                + NetworkWork::convolution(3.0, (from, input), (at, output))
                + NetworkWork::pointwise(at * output, 2.0);
        }
        work + self.stage(0, pixels / 16.0, 1.0)
    }

    /// Stages 2 to 4 on a low-level feature of `pixels`; the last with stride or dilated.
    pub fn deep(&self, pixels: f64, last_stride: f64) -> NetworkWork {
        self.stage(1, pixels, 2.0)
            + self.stage(2, pixels / 4.0, 2.0)
            + self.stage(3, pixels / 16.0, last_stride)
    }

    /// The head on a low-level feature of `pixels`, with the logits' way up to the image and the loss.
    pub fn head(&self, pixels: f64) -> NetworkWork {
        let HeadConfig {
            deep,
            low,
            low_projection,
            aspp,
            hidden,
            classes,
        } = self.head;
        let [deep, low, low_projection, aspp, hidden, classes] =
            [deep, low, low_projection, aspp, hidden, classes].map(|channels| channels as f64);
        let small = pixels / 16.0;
        let normed = |kernel, (from, input), (to, output)| {
            NetworkWork::convolution(kernel, (from, input), (to, output))
                + NetworkWork::pointwise(to * output, 6.0)
        };
        let mut work = normed(1.0, (pixels, low), (pixels, low_projection));
        for kernel in [1.0, 3.0, 3.0, 3.0] {
            work = work + normed(kernel, (small, deep), (small, aspp));
        }
        work + normed(1.0, (small, 5.0 * aspp), (small, aspp))
            + normed(3.0, (pixels, low_projection + aspp), (pixels, hidden))
            + NetworkWork::convolution(1.0, (pixels, hidden), (pixels, classes))
            + NetworkWork::pointwise(16.0 * pixels * classes, 5.0)
    }

    fn stage(&self, number: usize, pixels: f64, stride: f64) -> NetworkWork {
        let inner = self.width * f64::from(1 << number);
        let input = if number == 0 { inner } else { 2.0 * inner };
        let rest = pixels / (stride * stride);
        let more = f64::from(self.blocks[number] - 1);
        bottleneck(pixels, input, inner, stride, true)
            + bottleneck(rest, 4.0 * inner, inner, 1.0, false) * more
    }
}

/// A bottleneck from `input` to 4·`inner` channels; `first` has a convolution in its shortcut.
fn bottleneck(pixels: f64, input: f64, inner: f64, stride: f64, first: bool) -> NetworkWork {
    let (out, output) = (pixels / (stride * stride), 4.0 * inner);
    let mut work = NetworkWork::convolution(1.0, (pixels, input), (pixels, inner))
        + NetworkWork::convolution(3.0, (pixels, inner), (pixels, inner))
        + NetworkWork::pointwise(pixels * inner, 2.0) * 2.0
        + NetworkWork::convolution(1.0, (out, inner), (out, output))
        + NetworkWork::pointwise(out * output, 3.0)
        + NetworkWork::pointwise(out * output, 2.0);
    if stride > 1.0 {
        work = work
            + NetworkWork::pointwise(pixels * inner + out * inner, 1.0)
            + NetworkWork::pointwise(pixels * input + out * input, 1.0);
    }
    if first {
        work = work + NetworkWork::convolution(1.0, (out, input), (out, output));
    }
    work
}
