//! What the published rounding of a restyled feature costs: the product of σ and the normalised content is rounded before μ is
//! added, where a fused multiply-add rounds once. Three ways for one domain of stage 1, in turn in one process.

use std::time::Instant;

use tch::{Device, Kind, Tensor, no_grad};
use ulda_torch::runtime::channels_last;
use ulda_torch::{restyle, style_gradient};

use crate::Failure;
use crate::case::IMAGES;

/// Channels of RN50's low-level feature, whose side is a quarter of the crop's.
const CHANNELS: i64 = 256;

/// A way to compute ReLU(σ · n + μ) and the gradients of μ and σ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// `addcmul`, which is fused, then the ReLU; gradients by autograd.
    Fused,
    /// Product, sum and ReLU, as the authors' scripts; gradients by autograd.
    Published,
    /// The same rounding in one pass of this program's own, and one for the gradients.
    Ours,
}

const WAYS: [(Way, &str); 3] = [
    (Way::Fused, "fused multiply-add, libtorch"),
    (Way::Published, "rounded as published, libtorch"),
    (Way::Ours, "rounded as published, ours"),
];

/// Feature, style and gradient of the styled feature, all random.
struct Inputs {
    normalised: Tensor,
    mean: Tensor,
    std: Tensor,
    gradient: Tensor,
}

/// Milliseconds of the forward pass, and of it with the gradients of the style.
struct Times {
    forward: f64,
    both: f64,
}

impl Inputs {
    fn new(crop: i64) -> Result<Self, Failure> {
        let on = (Kind::Float, Device::Cpu);
        let feature = [IMAGES, CHANNELS, crop / 4, crop / 4];
        let style = [IMAGES, CHANNELS, 1, 1];
        // The networks' order in memory, on either side.
        let map = || channels_last(&Tensor::randn(feature, on));
        Ok(Self {
            normalised: map()?,
            mean: Tensor::rand(style, on),
            std: Tensor::rand(style, on) + 0.5,
            gradient: map()?,
        })
    }

    fn time(&self, way: Way) -> Result<Times, Failure> {
        let began = Instant::now();
        if way == Way::Ours {
            let styled = no_grad(|| restyle(&self.normalised, &self.mean, &self.std))?;
            let forward = began.elapsed();
            let _ = style_gradient(&self.normalised, &styled, &self.gradient)?;
            return Ok(Times::of(forward.as_secs_f64(), began.elapsed().as_secs_f64()));
        }
        let leaf = |style: &Tensor| style.detach().set_requires_grad(true);
        let (mean, std) = (leaf(&self.mean), leaf(&self.std));
        let sum = match way {
            Way::Fused => mean.f_addcmul(&self.normalised, &std)?,
            Way::Published | Way::Ours => std.f_mul(&self.normalised)?.f_add(&mean)?,
        };
        let styled = sum.f_relu()?;
        let forward = began.elapsed();
        let _ = Tensor::f_run_backward(
            &[(&styled * &self.gradient).f_sum(Kind::Float)?],
            &[&mean, &std],
            false,
            false,
        )?;
        Ok(Times::of(forward.as_secs_f64(), began.elapsed().as_secs_f64()))
    }
}

impl Times {
    fn of(forward_s: f64, both_s: f64) -> Self {
        Self {
            forward: forward_s * 1e3,
            both: both_s * 1e3,
        }
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Prints medians over `rounds`, each of which measures every way once, and their ratios to the fused one.
///
/// # Errors
/// When libtorch is out of memory.
pub fn compare(crop: i64, rounds: usize) -> Result<(), Failure> {
    let inputs = Inputs::new(crop)?;
    let mut seen: [Vec<Times>; WAYS.len()] = Default::default();
    // The first round warms the allocator.
    for round in 0..=rounds.max(1) {
        for ((way, _), times) in WAYS.iter().zip(&mut seen) {
            let measured = inputs.time(*way)?;
            if round > 0 {
                times.push(measured);
            }
        }
    }
    let medians = seen.map(|times| {
        let of = |part: fn(&Times) -> f64| median(times.iter().map(part).collect());
        (of(|times| times.forward), of(|times| times.both))
    });
    println!(
        "| restyling of one domain, crop {crop} | forward ms | with gradients ms | forward | with gradients |"
    );
    println!("|--|--|--|--|--|");
    let (fused_forward, fused_both) = medians[0];
    for ((_, name), (forward, both)) in WAYS.iter().zip(medians) {
        println!(
            "| {name} | {forward:.1} | {both:.1} | {:.2}x | {:.2}x |",
            forward / fused_forward,
            both / fused_both
        );
    }
    Ok(())
}
