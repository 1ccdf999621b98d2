//! Which styles of the bank the images of an adapt step get.

use std::ops::Range;

use super::stream::{Purpose, RandomStream, StreamKey};
use crate::stage::Stage;

/// Indices into the style bank for the images of one batch, uniform; unless `repeats`, without replacement within the batch
/// (METHOD.md, stage 2).
///
/// # Panics
/// If nothing repeats and the bank has fewer styles than the batch has images, or it has none.
#[must_use]
pub fn draw_styles(seed: u64, step: u64, batch: usize, bank: usize, repeats: bool) -> Vec<usize> {
    let mut stream = stream(seed, step);
    if repeats {
        return (0..batch).map(|_| stream.below(bank as u64) as usize).collect();
    }
    assert!(
        batch <= bank,
        "{batch} images need as many styles, and the bank has {bank}"
    );
    let mut indices: Vec<usize> = (0..bank).collect();
    for first in 0..batch {
        let other = first + stream.below((bank - first) as u64) as usize;
        indices.swap(first, other);
    }
    indices.truncate(batch);
    indices
}

/// The same where each image draws uniformly among its `own` styles.
///
/// # Panics
/// If an image has none.
#[must_use]
pub fn draw_own_styles(seed: u64, step: u64, own: &[Range<usize>]) -> Vec<usize> {
    let mut stream = stream(seed, step);
    let draw = |own: &Range<usize>| own.start + stream.below(own.len() as u64) as usize;
    own.iter().map(draw).collect()
}

/// Of the image at place `image` of a step's batch, the share s of its own statistics in each channel where styles are mixed,
/// uniform in [0, 1) as `torch.rand` draws it (PØDA's `network/utils.py`).
#[must_use]
pub fn draw_mix(seed: u64, step: u64, image: usize, channels: usize) -> Vec<f32> {
    let mut stream = RandomStream::new(StreamKey {
        seed,
        purpose: Purpose::Mix,
        stage: Stage::Adapt,
        major: step,
        minor: image as u64,
    });
    (0..channels).map(|_| stream.unit_f32()).collect()
}

fn stream(seed: u64, step: u64) -> RandomStream {
    RandomStream::new(StreamKey {
        seed,
        purpose: Purpose::Styles,
        stage: Stage::Adapt,
        major: step,
        minor: 0,
    })
}

#[cfg(test)]
mod tests {
    use super::{draw_mix, draw_own_styles, draw_styles};

    #[test]
    fn no_style_is_drawn_twice_within_a_batch_and_all_are_drawn_in_time() {
        let mut seen = [false; 12];
        for step in 0..50 {
            let mut drawn = draw_styles(1, step, 8, 12, false);
            drawn.iter().for_each(|&index| seen[index] = true);
            drawn.sort_unstable();
            drawn.dedup();
            assert_eq!(drawn.len(), 8);
        }
        assert!(seen.iter().all(|&seen| seen));
    }

    #[test]
    fn styles_may_repeat_where_they_are_put_back() {
        let drawn: Vec<_> = (0..50)
            .flat_map(|step| draw_styles(1, step, 8, 3, true))
            .collect();
        assert_eq!(drawn.len(), 400);
        for style in 0..3 {
            let share = drawn.iter().filter(|&&index| index == style).count();
            assert!(
                (100..170).contains(&share),
                "style {style} was drawn {share} times of 400"
            );
        }
    }

    #[test]
    fn each_image_draws_among_its_own() {
        let own = [4..6, 0..1, 9..12];
        let mut seen = [false; 12];
        for step in 0..50 {
            let drawn = draw_own_styles(1, step, &own);
            assert!(
                drawn.iter().zip(&own).all(|(style, own)| own.contains(style)),
                "{drawn:?}"
            );
            drawn.iter().for_each(|&index| seen[index] = true);
        }
        assert_eq!(seen.iter().filter(|&&seen| seen).count(), 6);
    }

    #[test]
    fn shares_are_drawn_for_each_image_of_a_step_and_lie_below_1() {
        let drawn = draw_mix(1, 4, 2, 1000);
        assert_eq!(drawn, draw_mix(1, 4, 2, 1000));
        assert_eq!(drawn[..10], draw_mix(1, 4, 2, 10));
        for other in [
            draw_mix(1, 5, 2, 10),
            draw_mix(1, 4, 3, 10),
            draw_mix(2, 4, 2, 10),
        ] {
            assert_ne!(drawn[..10], other);
        }
        assert!(drawn.iter().all(|share| (0.0..1.0).contains(share)));
        let mean = drawn.iter().sum::<f32>() / 1000.0;
        assert!((mean - 0.5).abs() < 0.05, "{mean}");
    }
}
