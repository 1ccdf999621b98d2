//! What a step costs when every convolution is computed directly: multiply-adds counted by hand from the layer
//! sizes, over this machine's measured peak of matrix products. A yardstick rather than a bound: the head mixes
//! the channels of its upsampled map at the small size, which needs fewer multiplications than are counted here.

use std::time::{Duration, Instant};

use tch::{Kind, Tensor};

use crate::Failure;
use crate::case::{IMAGES, Size};
use crate::setting::{On, Setting};
use crate::steps::Step;

/// No further try of the peak once they took this long: a CPU without bfloat16 units takes minutes for one.
const TRIES_END: Duration = Duration::from_secs(3);

/// Widths and blocks of the two models (`MiniatureSpec`).
struct Shape {
    width: f64,
    blocks: [f64; 4],
}

/// Multiply-adds of a bottleneck: `side²` pixels in, stride `stride`, `input` to 4·`inner` channels.
fn bottleneck(pixels: f64, input: f64, inner: f64, stride: f64, first: bool) -> f64 {
    let out = pixels / (stride * stride);
    let shortcut = if first { out * input * 4.0 * inner } else { 0.0 };
    pixels * input * inner + pixels * 9.0 * inner * inner + out * inner * 4.0 * inner + shortcut
}

fn stage(shape: &Shape, number: usize, pixels: f64, stride: f64) -> f64 {
    let inner = shape.width * f64::from(1 << number);
    let input = if number == 0 { inner } else { 2.0 * inner };
    let rest = pixels / (stride * stride);
    bottleneck(pixels, input, inner, stride, true)
        + (shape.blocks[number] - 1.0) * bottleneck(rest, 4.0 * inner, inner, 1.0, false)
}

/// Stem and stage 1 of an image of `pixels`.
fn low_level(shape: &Shape, pixels: f64) -> f64 {
    let half = shape.width / 2.0;
    let stem = pixels / 4.0 * 9.0 * (3.0 * half + half * half + half * shape.width);
    stem + stage(shape, 0, pixels / 16.0, 1.0)
}

/// Stages 2 to 4 of a low-level feature of `pixels`, the last with stride or dilated.
fn deep(shape: &Shape, pixels: f64, last_stride: f64) -> f64 {
    stage(shape, 1, pixels, 2.0)
        + stage(shape, 2, pixels / 4.0, 2.0)
        + stage(shape, 3, pixels / 16.0, last_stride)
}

/// The head on a low-level feature of `pixels`.
fn head(shape: &Shape, pixels: f64) -> f64 {
    let deep = 32.0 * shape.width;
    let small = pixels / 16.0;
    pixels * (4.0 * shape.width * 48.0 + 9.0 * 304.0 * 256.0 + 256.0 * 19.0)
        + small * (deep * 256.0 * (1.0 + 27.0) + 1280.0 * 256.0)
}

/// FLOPs (two per multiply-add) of a step's convolutions, forward and backward.
pub fn of_step(step: Step, size: Size, crop: i64, domains: i64, photo: i64) -> f64 {
    let shape = match size {
        Size::Small => Shape {
            width: 16.0,
            blocks: [1.0; 4],
        },
        Size::Rn50 => Shape {
            width: 64.0,
            blocks: [3.0, 4.0, 6.0, 3.0],
        },
    };
    let (images, crop) = (IMAGES as f64, (crop * crop) as f64);
    let low = crop / 16.0;
    let macs = match step {
        // Features forward; the head forward and twice backward (inputs and weights).
        Step::Pretrain => {
            images * (low_level(&shape, crop) + deep(&shape, low, 1.0) + 3.0 * head(&shape, low))
        }
        Step::Adapt => {
            images * (low_level(&shape, crop) + 2.0 * deep(&shape, low, 1.0) + 3.0 * head(&shape, low))
        }
        // Per domain the segmentation branch and the scene branch on 56x56, forward and backward to the input.
        Step::Simulate => {
            let branches = deep(&shape, low, 1.0) + head(&shape, low) + deep(&shape, 56.0 * 56.0, 2.0);
            images * domains as f64 * 2.0 * branches
        }
        Step::Evaluate => {
            let pixels = (2 * photo * photo) as f64;
            low_level(&shape, pixels) + deep(&shape, pixels / 16.0, 1.0) + head(&shape, pixels / 16.0)
        }
    };
    2.0 * macs
}

/// Best FLOP/s of matrix products of 2048x2048 (8192 on a GPU) over 12 tries, or those of three seconds, in the
/// setting's precision, with the threads set before.
///
/// # Errors
/// When libtorch is out of memory.
pub fn matmul_peak(setting: &Setting) -> Result<f64, Failure> {
    let side: i64 = match setting.device {
        On::Cpu => 2048,
        On::Cuda => 8192,
    };
    let kind = setting.reduced().unwrap_or(Kind::Float);
    let a = Tensor::f_ones([side, side], (kind, setting.device()))?;
    setting.finish()?;
    let mut best = f64::INFINITY;
    let began = Instant::now();
    for _ in 0..12 {
        let started = Instant::now();
        drop(a.f_matmul(&a)?);
        setting.finish()?;
        best = best.min(started.elapsed().as_secs_f64());
        if began.elapsed() > TRIES_END {
            break;
        }
    }
    Ok(2.0 * (side as f64).powi(3) / best)
}
