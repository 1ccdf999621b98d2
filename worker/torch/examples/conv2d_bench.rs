//! Backward pass of the head's 3×3 convolutions, ours against libtorch's, in turn on one CPU thread.
//!
//! `cargo run --release -p ulda-torch --example conv2d_bench [-- ROUNDS]`
//!
//! RN50's ASPP and last layer at crop 512. Only the weight asks for a gradient. Prints medians over rounds and how far
//! the two gradients are apart, relative to the largest value.
#![allow(clippy::print_stdout, reason = "its output is its purpose")]

use std::env;
use std::error::Error;
use std::time::Instant;

use tch::{Device, Kind, Tensor};
use ulda_torch::{conv2d, runtime};

struct Layer {
    name: &'static str,
    inputs: i64,
    dilation: i64,
    side: i64,
}

const OUTPUTS: i64 = 256;
const LAYERS: [Layer; 4] = [
    aspp("ASPP, dilation 6", 6),
    aspp("ASPP, dilation 12", 12),
    aspp("ASPP, dilation 18", 18),
    Layer {
        name: "low-level part of the last 3x3",
        inputs: 48,
        dilation: 1,
        side: 128,
    },
];

const fn aspp(name: &'static str, dilation: i64) -> Layer {
    Layer {
        name,
        inputs: 2048,
        dilation,
        side: 32,
    }
}

/// Milliseconds of the backward pass, and the weight's gradient.
fn backward(
    layer: &Layer,
    [x, weight, dy]: [&Tensor; 3],
    ours: bool,
) -> Result<(f64, Tensor), Box<dyn Error>> {
    let weight = weight.copy().set_requires_grad(true);
    let pad = layer.dilation;
    let y = if ours {
        conv2d(x, &weight, pad, pad)?
    } else {
        x.f_conv2d(&weight, None::<&Tensor>, [1, 1], [pad, pad], [pad, pad], 1)?
    };
    let loss = (y * dy).sum(Kind::Float);
    let began = Instant::now();
    loss.f_backward()?;
    Ok((began.elapsed().as_secs_f64() * 1e3, weight.grad()))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() -> Result<(), Box<dyn Error>> {
    let rounds: usize = env::args().nth(1).map_or(Ok(5), |text| text.parse())?;
    runtime::set_threads(1)?;
    runtime::keep_freed_memory()?;
    println!("| layer | images | libtorch ms | ours ms | ratio | apart |");
    println!("|--|--|--|--|--|--|");
    for layer in &LAYERS {
        for images in [1, 2] {
            let map = |channels| {
                let map = Tensor::randn(
                    [images, channels, layer.side, layer.side],
                    (Kind::Float, Device::Cpu),
                );
                runtime::channels_last(&map)
            };
            let (x, dy) = (map(layer.inputs)?, map(OUTPUTS)?);
            let weight = Tensor::randn([OUTPUTS, layer.inputs, 3, 3], (Kind::Float, Device::Cpu));
            let (mut theirs, mut mine, mut apart) = (Vec::new(), Vec::new(), 0.0);
            // The first of each makes its kernels.
            for round in 0..=rounds {
                let (plain, expected) = backward(layer, [&x, &weight, &dy], false)?;
                let (own, gradient) = backward(layer, [&x, &weight, &dy], true)?;
                if round > 0 {
                    theirs.push(plain);
                    mine.push(own);
                }
                let scale = expected.abs().max().double_value(&[]);
                apart = (gradient - expected).abs().max().double_value(&[]) / scale;
            }
            let (theirs, mine) = (median(theirs), median(mine));
            println!(
                "| {} | {images} | {theirs:.0} | {mine:.0} | {:.1}x | {apart:.0e} |",
                layer.name,
                theirs / mine
            );
        }
    }
    Ok(())
}
