//! Trace context of the work at hand. Everything here costs nothing while traces are not exported.

use opentelemetry::{Context, trace::TraceContextExt};
use std::{
    collections::HashMap,
    sync::atomic::{AtomicBool, Ordering},
};
use tracing_opentelemetry::OpenTelemetrySpanExt;

static ENABLED: AtomicBool = AtomicBool::new(false);

pub(crate) fn enable() {
    ENABLED.store(true, Ordering::Relaxed);
}

/// Whether traces are exported, that is whether a span is worth opening.
#[must_use]
pub fn enabled() -> bool {
    ENABLED.load(Ordering::Relaxed)
}

/// Makes `span` a child of the W3C context found through `header` (`traceparent`, `tracestate`).
pub fn continue_from<'h>(span: &tracing::Span, header: impl Fn(&str) -> Option<&'h str>) {
    let headers = ["traceparent", "tracestate"]
        .into_iter()
        .filter_map(|name| Some((name.to_owned(), header(name)?.to_owned())))
        .collect::<HashMap<_, _>>();
    let parent = opentelemetry::global::get_text_map_propagator(|p| p.extract(&headers));
    // Fails only for a span that no layer wants, which has no children to link either.
    let _ = span.set_parent(parent);
}

/// The trace id of `span` as 32 hexadecimal digits, if it belongs to a trace.
#[must_use]
pub fn trace_id(span: &tracing::Span) -> Option<String> {
    let context: Context = span.context();
    let id = context.span().span_context().trace_id();
    (id != opentelemetry::TraceId::INVALID).then(|| id.to_string())
}

/// Names `span` once its name is known. A recorded `otel.name` would come too late: the span started when its trace id was
/// asked for.
pub fn rename(span: &tracing::Span, name: String) {
    span.context().span().update_name(name);
}

/// Hands the headers of the current span's context to `set`, for a request or message that leaves this process.
pub fn inject(mut set: impl FnMut(&str, &str)) {
    if enabled() {
        let context = tracing::Span::current().context();
        let mut headers = HashMap::new();
        opentelemetry::global::get_text_map_propagator(|p| p.inject_context(&context, &mut headers));
        headers.iter().for_each(|(name, value)| set(name, value));
    }
}
