//! The random choices made for one training sample: where to crop, whether to flip, how to jitter.

use super::batches::SampleAt;
use super::stream::{Purpose, Stream, StreamKey};
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
    let mut stream = Stream::new(StreamKey {
        seed,
        purpose: Purpose::Sampling,
        stage,
        major: sample.epoch,
        minor: sample.index as u64,
    });
    let crop = [stream.unit(), stream.unit()];
    let flip = stream.unit();
    let mut factor = |reach: f64| stream.within((1.0 - reach).max(0.0), 1.0 + reach);
    let jitter = [factor(jitter.brightness), factor(jitter.contrast), factor(jitter.saturation)];
    let mut jitter_order = [0, 1, 2];
    for last in (1..jitter_order.len()).rev() {
        jitter_order.swap(last, stream.below(last as u64 + 1) as usize);
    }
    SampleDraw { crop, flip, jitter, jitter_order }
}

/// First pixel of a crop of `crop` pixels within `side` pixels, or `None` if it does not fit.
#[must_use]
pub fn crop_origin(side: u32, crop: u32, fraction: f64) -> Option<u32> {
    let places = side.checked_sub(crop)? + 1;
    Some(((fraction * f64::from(places)) as u32).min(places - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crops_reach_both_borders_and_stay_inside() {
        assert_eq!(crop_origin(10, 4, 0.0), Some(0));
        assert_eq!(crop_origin(10, 4, 0.999_999), Some(6));
        assert_eq!(crop_origin(10, 10, 0.7), Some(0));
        assert_eq!(crop_origin(3, 4, 0.0), None);
    }

    #[test]
    fn a_sample_is_drawn_anew_in_each_epoch() {
        let draw = |epoch| draw_sample(1, Stage::Pretrain, SampleAt { epoch, index: 3 }, JitterConfig::default());
        assert_eq!(draw(0), draw(0));
        assert_ne!(draw(0), draw(1));
        assert!(draw(0).jitter.iter().all(|factor| (0.5..1.5).contains(factor)));
    }
}
