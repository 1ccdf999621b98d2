//! Means over seeds, and how far they can be trusted.

/// A mean of several values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    pub mean: f64,
    /// Standard deviation or standard error, as its maker says; `None` of a single value.
    pub spread: Option<f64>,
    pub count: usize,
}

impl Estimate {
    /// Mean and standard deviation (n − 1); `None` of no values.
    #[must_use]
    pub fn with_deviation(values: &[f64]) -> Option<Self> {
        let count = values.len();
        let mean = mean(values)?;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let spread = (count > 1).then(|| (squares / (count - 1) as f64).sqrt());
        Some(Self { mean, spread, count })
    }

    /// Mean and standard error, the standard deviation over √n; `None` of no values.
    #[must_use]
    pub fn with_error(values: &[f64]) -> Option<Self> {
        let estimate = Self::with_deviation(values)?;
        let root = (estimate.count as f64).sqrt();
        Some(Self {
            spread: estimate.spread.map(|deviation| deviation / root),
            ..estimate
        })
    }
}

/// `None` of no values.
pub(super) fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deviations_and_errors_are_those_computed_by_hand() {
        // Values, mean, sum of squared deviations over n − 1, n.
        let rows: [(&[f64], f64, Option<f64>); 5] = [
            (&[], f64::NAN, None),
            (&[0.5], 0.5, None),
            (&[1.0, 3.0], 2.0, Some(2.0)),
            (&[2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0], 5.0, Some(32.0 / 7.0)),
            (&[7.0, 7.0, 7.0], 7.0, Some(0.0)),
        ];
        for (values, mean, variance) in rows {
            let count = values.len();
            let expected = |over: f64| {
                (count > 0).then(|| Estimate {
                    mean,
                    spread: variance.map(|variance| variance.sqrt() / over.sqrt()),
                    count,
                })
            };
            assert_eq!(Estimate::with_deviation(values), expected(1.0), "{values:?}");
            assert_eq!(Estimate::with_error(values), expected(count as f64), "{values:?}");
        }
    }
}
