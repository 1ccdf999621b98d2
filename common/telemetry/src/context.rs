//! Which trace a run is, and where its spans hang.

use std::fmt;
use std::str::FromStr;

use opentelemetry::trace::{SpanId, TraceId};

/// The trace of one run. Its text is the W3C `traceparent` of the run's span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    trace: TraceId,
}

/// Text that is no `traceparent` of a run.
#[derive(Debug, PartialEq, Eq)]
pub struct NotATrace;

impl TraceContext {
    /// The trace of the run that `identity` is unique for and stays with.
    #[must_use]
    pub fn of(identity: &[u8]) -> Self {
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&blake3::derive_key("ulda 2026 trace of a run", identity)[..16]);
        Self {
            trace: TraceId::from_bytes(bytes),
        }
    }

    #[must_use]
    pub fn trace(&self) -> TraceId {
        self.trace
    }

    /// The span of the run as a whole.
    #[must_use]
    pub fn run(&self) -> SpanId {
        self.derived("run")
    }

    /// The span of one stage.
    #[must_use]
    pub fn stage(&self, name: &str) -> SpanId {
        self.derived(&format!("stage {name}"))
    }

    fn derived(&self, name: &str) -> SpanId {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&self.digest(name)[..8]);
        SpanId::from_bytes(bytes)
    }

    /// Bytes that depend on this trace and `name` only.
    pub(crate) fn digest(&self, name: &str) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.trace.to_bytes());
        hasher.update(name.as_bytes());
        *hasher.finalize().as_bytes()
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{}-{}-01", self.trace, self.run())
    }
}

impl FromStr for TraceContext {
    type Err = NotATrace;

    fn from_str(text: &str) -> Result<Self, NotATrace> {
        let trace = text.split('-').nth(1).filter(|trace| trace.len() == 32);
        let trace = TraceId::from_hex(trace.ok_or(NotATrace)?).map_err(|_| NotATrace)?;
        let context = Self { trace };
        // Spans hang below the run's own, whose id follows from the trace's.
        (trace != TraceId::INVALID && context.to_string() == text)
            .then_some(context)
            .ok_or(NotATrace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_know_the_same_spans() {
        let here = TraceContext::of(b"secret");
        let there: TraceContext = here.to_string().parse().unwrap();
        assert_eq!(there, here);
        assert_eq!(there.stage("adapt"), here.stage("adapt"));
        assert_ne!(here.stage("adapt"), here.stage("pretrain"));
        assert_ne!(here, TraceContext::of(b"another"));
        for text in [
            "",
            "00-zz-1-01",
            "00-00000000000000000000000000000000-0000000000000000-01",
        ] {
            assert_eq!(text.parse::<TraceContext>(), Err(NotATrace), "{text}");
        }
    }
}
