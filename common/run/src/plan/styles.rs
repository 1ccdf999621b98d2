//! Which styles of the bank the images of an adapt step get.

use super::stream::{Purpose, RandomStream, StreamKey};
use crate::stage::Stage;

/// Indices into the style bank for the images of one batch, uniform and without replacement within the
/// batch (METHOD.md, stage 2).
///
/// # Panics
/// If the bank has fewer styles than the batch has images.
#[must_use]
pub fn draw_styles(seed: u64, step: u64, batch: usize, bank: usize) -> Vec<usize> {
    assert!(
        batch <= bank,
        "{batch} images need as many styles, and the bank has {bank}"
    );
    let mut stream = RandomStream::new(StreamKey {
        seed,
        purpose: Purpose::Styles,
        stage: Stage::Adapt,
        major: step,
        minor: 0,
    });
    let mut indices: Vec<usize> = (0..bank).collect();
    for first in 0..batch {
        let other = first + stream.below((bank - first) as u64) as usize;
        indices.swap(first, other);
    }
    indices.truncate(batch);
    indices
}

#[cfg(test)]
mod tests {
    use super::draw_styles;

    #[test]
    fn no_style_is_drawn_twice_within_a_batch_and_all_are_drawn_in_time() {
        let mut seen = [false; 12];
        for step in 0..50 {
            let mut drawn = draw_styles(1, step, 8, 12);
            drawn.iter().for_each(|&index| seen[index] = true);
            drawn.sort_unstable();
            drawn.dedup();
            assert_eq!(drawn.len(), 8);
        }
        assert!(seen.iter().all(|&seen| seen));
    }
}
