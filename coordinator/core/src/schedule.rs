//! Learning-rate schedules.

/// Polynomial decay with a floor: `max(base · (1 − done/total)^power, floor)` (METHOD.md, stages 0 and 2;
/// the reference's `PolyLR`).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PolyDecay {
    pub total: u64,
    pub power: f64,
    pub floor: f64,
}

impl PolyDecay {
    /// Rate of the step that follows `done` finished steps.
    #[must_use]
    pub fn rate(&self, base: f64, done: u64) -> f64 {
        let left = 1.0 - done as f64 / self.total as f64;
        (base * left.max(0.0).powf(self.power)).max(self.floor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_step_has_the_base_rate_and_the_end_has_the_floor() {
        let decay = PolyDecay { total: 8, power: 0.9, floor: 1e-6 };
        assert_eq!(decay.rate(0.01, 0), 0.01);
        assert!((decay.rate(0.01, 1) - 0.008_867_623_542_572_074).abs() < 1e-15);
        assert_eq!(decay.rate(0.01, 8), 1e-6);
        assert_eq!(decay.rate(0.01, 9), 1e-6);
    }
}
