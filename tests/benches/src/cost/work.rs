//! What the networks compute and move, layer by layer: the walk that FLOPs, bytes and launches come from.
//!
//! Multiply-adds are those of `flops.rs` (a test insists on it), so "direct" convolutions without the head's short cuts.

use std::ops::{Add, Mul};

use ulda_model::HeadConfig;

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
pub struct Work(pub Vec<KernelWork>);

impl Work {
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

impl Add for Work {
    type Output = Self;

    fn add(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }
}

/// Passes over a part: forward and each backward count as one.
impl Mul<f64> for Work {
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
pub struct Networks {
    /// Channels of the stem's output.
    pub width: f64,
    pub blocks: [u32; 4],
    pub head: HeadConfig,
}

impl Networks {
    /// CLIP's RN50 under the published head.
    pub fn rn50() -> Self {
        Self {
            width: 64.0,
            blocks: [3, 4, 6, 3],
            head: HeadConfig::published(2048, 256, 19),
        }
    }

    /// Stem and stage 1, of an image of `pixels`.
    pub fn low_level(&self, pixels: f64) -> Work {
        let (half, at) = (self.width / 2.0, pixels / 4.0);
        let mut work = Work::pointwise(at * self.width * 1.25, 1.0);
        for (from, input, output) in [(pixels, 3.0, half), (at, half, half), (at, half, self.width)] {
            work = work
                + Work::convolution(3.0, (from, input), (at, output))
                + Work::pointwise(at * output, 2.0);
        }
        work + self.stage(0, pixels / 16.0, 1.0)
    }

    /// Stages 2 to 4 on a low-level feature of `pixels`; the last with stride or dilated.
    pub fn deep(&self, pixels: f64, last_stride: f64) -> Work {
        self.stage(1, pixels, 2.0)
            + self.stage(2, pixels / 4.0, 2.0)
            + self.stage(3, pixels / 16.0, last_stride)
    }

    /// The head on a low-level feature of `pixels`, with the logits' way up to the image and the loss.
    pub fn head(&self, pixels: f64) -> Work {
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
            Work::convolution(kernel, (from, input), (to, output)) + Work::pointwise(to * output, 6.0)
        };
        let mut work = normed(1.0, (pixels, low), (pixels, low_projection));
        for kernel in [1.0, 3.0, 3.0, 3.0] {
            work = work + normed(kernel, (small, deep), (small, aspp));
        }
        work + normed(1.0, (small, 5.0 * aspp), (small, aspp))
            + normed(3.0, (pixels, low_projection + aspp), (pixels, hidden))
            + Work::convolution(1.0, (pixels, hidden), (pixels, classes))
            + Work::pointwise(16.0 * pixels * classes, 5.0)
    }

    fn stage(&self, number: usize, pixels: f64, stride: f64) -> Work {
        let inner = self.width * f64::from(1 << number);
        let input = if number == 0 { inner } else { 2.0 * inner };
        let rest = pixels / (stride * stride);
        let more = f64::from(self.blocks[number] - 1);
        bottleneck(pixels, input, inner, stride, true)
            + bottleneck(rest, 4.0 * inner, inner, 1.0, false) * more
    }
}

/// A bottleneck from `input` to 4·`inner` channels; `first` has a convolution in its shortcut.
fn bottleneck(pixels: f64, input: f64, inner: f64, stride: f64, first: bool) -> Work {
    let (out, output) = (pixels / (stride * stride), 4.0 * inner);
    let mut work = Work::convolution(1.0, (pixels, input), (pixels, inner))
        + Work::convolution(3.0, (pixels, inner), (pixels, inner))
        + Work::pointwise(pixels * inner, 2.0) * 2.0
        + Work::convolution(1.0, (out, inner), (out, output))
        + Work::pointwise(out * output, 3.0)
        + Work::pointwise(out * output, 2.0);
    if stride > 1.0 {
        work = work
            + Work::pointwise(pixels * inner + out * inner, 1.0)
            + Work::pointwise(pixels * input + out * input, 1.0);
    }
    if first {
        work = work + Work::convolution(1.0, (out, input), (out, output));
    }
    work
}
