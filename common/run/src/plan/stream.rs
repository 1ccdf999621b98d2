//! Random streams keyed by what they are for, so that any draw can be made anywhere without the draws
//! before it.
//!
//! The generator is SplitMix64 (Steele, Lea, Flood, OOPSLA 2014) over a key mixed by the same finaliser.
//! It is written out here, and not taken from a crate, because its numbers are part of every run's
//! definition: an upgrade must never change them.

use crate::stage::Stage;

/// What a stream decides. The number is part of every run's definition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    EpochOrder = 1,
    Sampling = 2,
    Styles = 3,
    Dropout = 4,
    Initialisation = 5,
    Mix = 6,
}

/// Full name of one stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamKey {
    pub seed: u64,
    pub purpose: Purpose,
    pub stage: Stage,
    /// Coarse position: epoch, step, or nothing.
    pub major: u64,
    /// Fine position: sample, shard, iteration, or nothing.
    pub minor: u64,
}

const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// One stream of numbers.
#[derive(Clone, Debug)]
pub struct RandomStream {
    state: u64,
}

impl RandomStream {
    #[must_use]
    pub fn new(key: StreamKey) -> Self {
        let parts = [
            key.seed,
            key.purpose as u64,
            u64::from(key.stage.code()),
            key.major,
            key.minor,
        ];
        let state = parts.iter().fold(GAMMA, |state, part| {
            mix(state.wrapping_add(GAMMA) ^ mix(part.wrapping_add(GAMMA)))
        });
        Self { state }
    }

    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(GAMMA);
        mix(self.state)
    }

    /// Uniform in [0, 1), with 53 random bits.
    pub fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Uniform in [0, 1), with the 24 random bits that float32 holds.
    pub fn unit_f32(&mut self) -> f32 {
        (self.next_u64() >> 40) as f32 / (1u32 << 24) as f32
    }

    /// Uniform in [low, high).
    pub fn within(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// Uniform in 0..n, without bias (Lemire's rejection).
    ///
    /// # Panics
    /// If `n` is 0.
    pub fn below(&mut self, n: u64) -> u64 {
        assert!(n > 0, "there is no number below 0");
        loop {
            let wide = u128::from(self.next_u64()) * u128::from(n);
            let low = wide as u64;
            if low >= n || low >= n.wrapping_neg() % n {
                return (wide >> 64) as u64;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(major: u64, minor: u64) -> StreamKey {
        StreamKey {
            seed: 1,
            purpose: Purpose::Sampling,
            stage: Stage::Adapt,
            major,
            minor,
        }
    }

    #[test]
    fn the_numbers_of_a_stream_never_change() {
        let mut stream = RandomStream::new(key(3, 5));
        let drawn: Vec<u64> = (0..3).map(|_| stream.next_u64()).collect();
        assert_eq!(
            drawn,
            [
                2_978_588_514_229_652_005,
                2_905_559_573_075_192_717,
                16_279_502_645_138_815_686
            ]
        );
    }

    #[test]
    fn neighbouring_keys_give_unrelated_streams() {
        let first = |major, minor| RandomStream::new(key(major, minor)).next_u64();
        let mut drawn: Vec<u64> = (0..100)
            .flat_map(|a| (0..100).map(move |b| first(a, b)))
            .collect();
        drawn.sort_unstable();
        drawn.dedup();
        assert_eq!(drawn.len(), 10_000);
        let ones: u32 = drawn.iter().map(|number| number.count_ones()).sum();
        assert!((f64::from(ones) / 640_000.0 - 0.5).abs() < 0.005);
    }

    #[test]
    fn below_reaches_every_number_about_equally_often() {
        let mut stream = RandomStream::new(key(0, 0));
        let mut counts = [0u32; 7];
        for _ in 0..70_000 {
            counts[stream.below(7) as usize] += 1;
        }
        assert!(
            counts.iter().all(|&count| (9_500..10_500).contains(&count)),
            "{counts:?}"
        );
    }
}
