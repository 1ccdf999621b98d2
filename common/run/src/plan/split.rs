//! Cutting things into even, contiguous parts.

use std::ops::Range;

/// Part `index` of `parts` of `0..items`; sizes differ by at most one. Empty where there are more parts than items.
///
/// # Panics
/// If `index` is not below `parts`.
#[must_use]
pub fn slice(items: usize, parts: usize, index: usize) -> Range<usize> {
    assert!(index < parts, "part {index} of {parts}");
    items * index / parts..items * (index + 1) / parts
}

#[cfg(test)]
mod tests {
    use super::slice;

    #[test]
    fn parts_cover_everything_once_and_evenly() {
        for items in 0..40 {
            for parts in 1..12 {
                let ranges: Vec<_> = (0..parts).map(|index| slice(items, parts, index)).collect();
                let joined: Vec<usize> = ranges.iter().cloned().flatten().collect();
                assert_eq!(joined, (0..items).collect::<Vec<_>>());
                let sizes = ranges.iter().map(ExactSizeIterator::len);
                assert!(sizes.clone().max().unwrap() - sizes.min().unwrap() <= 1);
            }
        }
    }
}
