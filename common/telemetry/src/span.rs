//! A span that is over, as it is sent.

use std::borrow::Cow;
use std::time::SystemTime;

use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};

use super::context::TraceContext;

/// Something that took from `start` to `end`.
#[derive(Clone, Debug)]
pub struct Span {
    pub id: SpanId,
    /// `None` for the run.
    pub parent: Option<SpanId>,
    pub name: Cow<'static, str>,
    pub start: SystemTime,
    pub end: SystemTime,
    pub attributes: Vec<KeyValue>,
    /// Why it went wrong.
    pub error: Option<String>,
}

impl Span {
    pub(crate) fn into_data(self, context: &TraceContext, scope: &InstrumentationScope) -> SpanData {
        let flags = TraceFlags::SAMPLED;
        SpanData {
            span_context: SpanContext::new(context.trace(), self.id, flags, false, TraceState::NONE),
            parent_span_id: self.parent.unwrap_or(SpanId::INVALID),
            parent_span_is_remote: false,
            span_kind: SpanKind::Internal,
            name: self.name,
            start_time: self.start,
            // A clock that was set back must not make a span that ends before it starts.
            end_time: self.end.max(self.start),
            attributes: self.attributes,
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: self.error.map_or(Status::Unset, Status::error),
            instrumentation_scope: scope.clone(),
        }
    }
}
