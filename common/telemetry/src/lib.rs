//! A run as one trace: run > stage > step > phase, and recoveries. How metrics are declared.
//!
//! Coordinator and workers send their spans by themselves, over OTLP, where the standard `OTEL_EXPORTER_OTLP_ENDPOINT`
//! names a collector; without it nothing is made or kept. Ids of run and stages are derived from the run's own
//! trace id, so that a step finds its stage without asking, and a run that is taken up again goes on in its trace.
//! Invariants: whoever makes a span never waits; a collector that is down costs nothing and is said once.

mod context;
mod metrics;
mod sampling;
mod sender;
mod span;

pub use context::TraceContext;
pub use metrics::{FloatCounter, FloatGauge, ratio, register_metric, signed};
pub use sampling::TraceSampling;
pub use sender::{Sender, Spans};
pub use span::Span;
