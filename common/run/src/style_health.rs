//! Whether learned styles still look like statistics of real features.

use serde::{Deserialize, Serialize};

/// A learned σ counts as near zero below this fraction of the σ it started from.
pub const NEAR_ZERO: f64 = 0.05;
/// Largest fraction of channels with a σ near zero, and of channels with a negative μ, that is not warned of. Features after a
/// ReLU have no negative mean, and a channel without deviation carries nothing.
pub const MOST_OUT_OF_RANGE: f64 = 0.25;

/// Measures of one domain's styles after a round of simulate: means over channels and images of the round.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StyleHealth {
    /// L_scene after the last iteration.
    pub scene_loss: f64,
    /// Fraction of channels with |σ| below [`NEAR_ZERO`] of the source crop's.
    pub near_zero: f64,
    /// Fraction of channels with a negative μ.
    pub negative: f64,
    /// Length of the mean shift of (μ, σ) away from the source crops, over the length of theirs.
    pub shift: f64,
    /// The shift beside that to the reference images, where the domain names some.
    pub reference: Option<ReferenceShift>,
}

/// A mean shift of styles compared with the mean shift to reference images.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ReferenceShift {
    /// Cosine between the two shifts of (μ, σ).
    pub cosine: f64,
    /// Length of the learned shift over that of the reference.
    pub length: f64,
}

impl StyleHealth {
    /// Names of the measures, in the order of [`Self::measures`].
    pub const MEASURES: [&str; 6] = [
        "scene_loss",
        "near_zero_deviations",
        "negative_means",
        "shift_length",
        "reference_cosine",
        "reference_length",
    ];

    /// Each measure with its name; those of a missing reference are left out.
    pub fn measures(&self) -> impl Iterator<Item = (&'static str, f64)> {
        let values = [
            Some(self.scene_loss),
            Some(self.near_zero),
            Some(self.negative),
            Some(self.shift),
            self.reference.map(|reference| reference.cosine),
            self.reference.map(|reference| reference.length),
        ];
        let named = Self::MEASURES.into_iter().zip(values);
        named.filter_map(|(name, value)| Some((name, value?)))
    }

    /// Puts measures back together; `of` gives the value of a name.
    pub fn from_measures(of: impl Fn(&str) -> Option<f64>) -> Option<Self> {
        let [scene_loss, near_zero, negative, shift, cosine, length] = Self::MEASURES.map(of);
        Some(Self {
            scene_loss: scene_loss?,
            near_zero: near_zero?,
            negative: negative?,
            shift: shift?,
            reference: cosine
                .zip(length)
                .map(|(cosine, length)| ReferenceShift { cosine, length }),
        })
    }

    /// What is out of the range of real features, with a remedy; `None` where nothing is.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        let percent = |fraction: f64| format!("{:.0} %", 100.0 * fraction);
        let mut found = Vec::new();
        if self.near_zero > MOST_OUT_OF_RANGE {
            found.push(format!(
                "{} of the deviations are near zero",
                percent(self.near_zero)
            ));
        }
        if self.negative > MOST_OUT_OF_RANGE {
            found.push(format!("{} of the means are negative", percent(self.negative)));
        }
        (!found.is_empty()).then(|| {
            format!(
                "{}, which real features never have; hint: lower simulate.lr_pin or simulate.iterations",
                found.join(" and ")
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measures_round_trip_with_and_without_a_reference() {
        let mut health = StyleHealth {
            scene_loss: 0.5,
            near_zero: 0.1,
            negative: 0.2,
            shift: 1.5,
            reference: None,
        };
        for reference in [
            None,
            Some(ReferenceShift {
                cosine: 0.6,
                length: 2.0,
            }),
        ] {
            health.reference = reference;
            let named: Vec<_> = health.measures().collect();
            let of = |name: &str| {
                named
                    .iter()
                    .find(|(known, _)| *known == name)
                    .map(|(_, value)| *value)
            };
            assert_eq!(StyleHealth::from_measures(of), Some(health));
        }
        assert_eq!(StyleHealth::from_measures(|_| None), None);
    }

    #[test]
    fn styles_out_of_range_are_warned_of_with_a_remedy() {
        let health = |near_zero, negative| StyleHealth {
            near_zero,
            negative,
            ..StyleHealth::default()
        };
        assert_eq!(health(0.25, 0.25).warning(), None);
        assert_eq!(
            health(0.41, 0.3).warning().unwrap(),
            "41 % of the deviations are near zero and 30 % of the means are negative, which real features never have; \
             hint: lower simulate.lr_pin or simulate.iterations"
        );
        assert!(
            health(0.0, 0.5)
                .warning()
                .unwrap()
                .starts_with("50 % of the means")
        );
    }
}
