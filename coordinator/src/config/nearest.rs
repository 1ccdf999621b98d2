//! Which known word was meant.

use strsim::levenshtein;

/// The candidate that a person most likely meant by `word`, if one is close enough to be worth saying.
///
/// A candidate whose last part (after the last dot) fits is found even in another section.
#[must_use]
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let last = |text: &str| text.rsplit('.').next().unwrap_or(text).to_owned();
    let (distance, best) = candidates
        .into_iter()
        .map(|candidate| {
            let whole = levenshtein(word, candidate);
            let elsewhere = levenshtein(&last(word), &last(candidate)) + 1;
            (whole.min(elsewhere), whole, candidate)
        })
        .min()
        .map(|(distance, _, candidate)| (distance, candidate))?;
    let allowed = (last(word).chars().count() / 2).clamp(2, 4);
    (distance <= allowed).then_some(best)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_typos_and_keys_of_other_sections() {
        let keys = [
            "adapt.steps",
            "adapt.lr_head",
            "pretrain.steps",
            "simulate.batches",
        ];
        assert_eq!(nearest("adapt.stpes", keys), Some("adapt.steps"));
        assert_eq!(nearest("lr_head", keys), Some("adapt.lr_head"));
        assert_eq!(nearest("simulate.batchs", keys), Some("simulate.batches"));
        assert_eq!(nearest("zebra.colour", keys), None);
    }
}
