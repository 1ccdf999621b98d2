//! Which steps are traced. All workers choose the same ones, without asking each other.

use super::context::TraceContext;

/// The share of steps that is traced, by `OTEL_TRACES_SAMPLER_ARG`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TraceSampling(f64);

/// Unless said otherwise.
const USUAL: f64 = 0.1;

impl TraceSampling {
    /// `None` and what is no ratio are the usual one.
    #[must_use]
    pub fn of(argument: Option<&str>) -> Self {
        let ratio = argument.and_then(|text| text.trim().parse::<f64>().ok());
        Self(ratio.filter(|ratio| (0.0..=1.0).contains(ratio)).unwrap_or(USUAL))
    }

    #[must_use]
    pub fn from_environment() -> Self {
        Self::of(std::env::var("OTEL_TRACES_SAMPLER_ARG").ok().as_deref())
    }

    #[must_use]
    pub fn takes(&self, context: &TraceContext, stage: &str, step: u64) -> bool {
        let digest = context.digest(&format!("sample {stage} {step}"));
        let drawn = u32::from_le_bytes([digest[0], digest[1], digest[2], digest[3]]);
        f64::from(drawn) < self.0 * 2f64.powi(32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn about_the_share_that_is_asked_for_is_taken() {
        let context = TraceContext::of(b"run");
        let count = |argument: &str| {
            let sampling = TraceSampling::of(Some(argument));
            let taken = (0..10_000).filter(|step| sampling.takes(&context, "adapt", *step));
            taken.count()
        };
        assert_eq!((count("0"), count("1")), (0, 10_000));
        assert!((2_300..2_700).contains(&count("0.25")));
        assert_eq!(TraceSampling::of(Some("7")), TraceSampling(USUAL));
        assert_eq!(TraceSampling::of(None), TraceSampling(USUAL));
    }
}
