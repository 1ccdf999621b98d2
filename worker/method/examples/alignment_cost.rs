//! Time and memory traffic of the pixel term at the published sizes: through the fused projector, as stage 1 does,
//! and through a plain projection of every pixel. `cargo run --release -p ulda-method --example alignment_cost`

use std::time::Instant;

use tch::{Device, Kind, Tensor};
use ulda_method::Result;
use ulda_method::losses::{ClassMap, pixel, region};
use ulda_method::projector::{PUBLISHED_HIDDEN, Projector, Projectors};

const CHANNELS: i64 = 256;
const EMBEDDING: i64 = 1024;
const CLASSES: i64 = 12;
const REPEATS: u32 = 5;

fn main() -> Result<()> {
    for side in [48, 96, 192] {
        let options = (Kind::Float, Device::Cpu);
        tch::manual_seed(1);
        let projector = Projector::new(CHANNELS, PUBLISHED_HIDDEN, EMBEDDING, 3, Device::Cpu)?;
        let pixels = Tensor::f_randn([1, CHANNELS, side * side], options)?
            .f_relu()?
            .f_set_requires_grad(true)?;
        let texts = region::unit_rows(&Tensor::f_randn([1, CLASSES, EMBEDDING], options)?)?;
        let labels = Tensor::f_randint(CLASSES, [4 * side, 4 * side], (Kind::Int64, Device::Cpu))?;
        let map = ClassMap::of(&labels, side, side, CLASSES, Kind::Float)?;
        let fused = || -> Result<Tensor> {
            let fused = Projectors::of(&[&projector])?.fused()?;
            Ok(pixel::pixel(&pixels, &map, &texts, &fused, 10.0)?.f_squeeze()?)
        };
        let plain = || -> Result<Tensor> {
            let projected = Projectors::of(&[&projector])?.project(&pixels.f_transpose(1, 2)?)?;
            let unit = region::unit_rows(&projected)?;
            let logits = texts.f_matmul(&unit.f_transpose(1, 2)?)?.f_mul_scalar(10.0)?;
            Ok(logits.f_cross_entropy_loss(&map.targets, None::<&Tensor>, tch::Reduction::Mean, 255, 0.0)?)
        };
        let (fused_loss, fused_seconds, fused_gradient) = measure(&projector, &pixels, fused)?;
        let (plain_loss, plain_seconds, plain_gradient) = measure(&projector, &pixels, plain)?;
        let deviation = fused_gradient
            .f_sub(&plain_gradient)?
            .f_abs()?
            .f_max()?
            .f_double_value(&[])?;
        let largest = plain_gradient.f_abs()?.f_max()?.f_double_value(&[])?;
        println!(
            "{side}x{side} pixels | fused {:.1} ms | plain {:.1} ms | {:.1}x | loss {:.1e}, W1 gradient {:.1e} relative apart",
            1e3 * fused_seconds,
            1e3 * plain_seconds,
            plain_seconds / fused_seconds,
            (fused_loss - plain_loss).abs() / plain_loss,
            deviation / largest,
        );
    }
    Ok(())
}

/// Loss, seconds per forward and backward, and the gradient of the first weight.
fn measure(
    projector: &Projector,
    pixels: &Tensor,
    loss: impl Fn() -> Result<Tensor>,
) -> Result<(f64, f64, Tensor)> {
    let mut inputs = vec![pixels.shallow_clone()];
    inputs.extend(projector.parameters());
    let once = || -> Result<(Tensor, Vec<Tensor>)> {
        let loss = loss()?;
        let gradients = Tensor::f_run_backward(&[&loss], &inputs, false, false)?;
        Ok((loss, gradients))
    };
    let (value, gradients) = once()?;
    let start = Instant::now();
    for _ in 0..REPEATS {
        let _ = once()?;
    }
    let seconds = start.elapsed().as_secs_f64() / f64::from(REPEATS);
    Ok((value.f_double_value(&[])?, seconds, gradients[1].shallow_clone()))
}
