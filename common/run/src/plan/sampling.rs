//! The random choices made for one training sample: where to crop, whether to flip, how to jitter.

use super::batches::SampleAt;
use super::stream::{Purpose, RandomStream, StreamKey};
use crate::spec::JitterConfig;
use crate::stage::Stage;

/// Choices for one sample of one epoch. Positions are fractions, since the image's size is not known yet.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SampleDraw {
    /// Horizontal and vertical crop position in [0, 1).
    pub crop: [f64; 2],
    /// Uniform in [0, 1); the image is flipped if it is below the flip probability.
    pub flip: f64,
    /// Factors of brightness, contrast and saturation.
    pub jitter: [f64; 3],
    /// Order in which the three are applied.
    pub jitter_order: [u8; 3],
}

/// Draws for `sample`; equal for any shard and worker that asks.
#[must_use]
pub fn draw_sample(seed: u64, stage: Stage, sample: SampleAt, jitter: JitterConfig) -> SampleDraw {
    let mut stream = RandomStream::new(StreamKey {
        seed,
        purpose: Purpose::Sampling,
        stage,
        major: sample.epoch,
        minor: sample.index as u64,
    });
    let crop = [stream.unit(), stream.unit()];
    let flip = stream.unit();
    let mut factor = |reach: f64| stream.within((1.0 - reach).max(0.0), 1.0 + reach);
    let jitter = [
        factor(jitter.brightness),
        factor(jitter.contrast),
        factor(jitter.saturation),
    ];
    let mut jitter_order = [0, 1, 2];
    for last in (1..jitter_order.len()).rev() {
        jitter_order.swap(last, stream.below(last as u64 + 1) as usize);
    }
    SampleDraw {
        crop,
        flip,
        jitter,
        jitter_order,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_drawn_anew_in_each_epoch() {
        let draw = |epoch| {
            draw_sample(
                1,
                Stage::Pretrain,
                SampleAt { epoch, index: 3 },
                JitterConfig::default(),
            )
        };
        assert_eq!(draw(0), draw(0));
        assert_ne!(draw(0), draw(1));
        assert!(draw(0).jitter.iter().all(|factor| (0.5..1.5).contains(factor)));
    }
}
