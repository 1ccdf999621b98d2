//! Random tensors from a seed, the same on every machine: libtorch's global generator is neither
//! thread-safe in its order nor part of a run's definition.

use tch::{Device, Kind, Tensor};

/// A stream of random numbers (SplitMix64) that fills tensors on the CPU.
#[derive(Clone, Debug)]
pub struct Seeded {
    state: u64,
}

impl Seeded {
    /// The stream of `seed`.
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// The next 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// In (0, 1].
    fn unit(&mut self) -> f64 {
        ((self.bits() >> 11) + 1) as f64 / (1_u64 << 53) as f64
    }

    /// f32 of the given shape, uniform in (low, high].
    pub fn uniform(&mut self, shape: &[i64], low: f64, high: f64) -> Tensor {
        self.fill(shape, |stream| low + (high - low) * stream.unit())
    }

    /// f32 of the given shape, normal with mean 0 (Box-Muller).
    pub fn normal(&mut self, shape: &[i64], std: f64) -> Tensor {
        self.fill(shape, |stream| {
            let radius = (-2.0 * stream.unit().ln()).sqrt();
            std * radius * (std::f64::consts::TAU * stream.unit()).cos()
        })
    }

    /// Kaiming-normal convolution weight [out, in, k, k] for ReLU: standard deviation √(2 / fan-in).
    pub fn kaiming(&mut self, shape: &[i64]) -> Tensor {
        let fan_in: i64 = shape[1..].iter().product();
        self.normal(shape, (2.0 / fan_in as f64).sqrt())
    }

    /// What PyTorch's `Linear` and `Conv2d` start with, for weight and bias alike: uniform within
    /// ±1/√fan-in.
    pub fn torch_default(&mut self, shape: &[i64], fan_in: i64) -> Tensor {
        let bound = 1.0 / (fan_in as f64).sqrt();
        self.uniform(shape, -bound, bound)
    }

    fn fill(&mut self, shape: &[i64], mut next: impl FnMut(&mut Self) -> f64) -> Tensor {
        let count = shape.iter().product::<i64>() as usize;
        let values: Vec<f32> = (0..count).map(|_| next(self) as f32).collect();
        match count {
            0 => Tensor::zeros(shape, (Kind::Float, Device::Cpu)),
            _ => Tensor::from_slice(&values).view(shape),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_fixed_by_their_seed() {
        let draw = |seed| Seeded::new(seed).normal(&[4, 3], 1.0);
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        // The published test vector of SplitMix64 for seed 1234567.
        assert_eq!(Seeded::new(1_234_567).bits(), 6_457_827_717_110_365_317);
    }

    #[test]
    fn moments_are_as_asked() {
        let normal = Seeded::new(3).normal(&[100_000], 2.0);
        assert!(normal.mean(Kind::Double).double_value(&[]).abs() < 0.03);
        assert!((normal.std(true).double_value(&[]) - 2.0).abs() < 0.03);
        let uniform = Seeded::new(4).torch_default(&[100_000], 16);
        assert!(uniform.abs().max().double_value(&[]) <= 0.25);
        assert!(uniform.mean(Kind::Double).double_value(&[]).abs() < 0.003);
    }
}
