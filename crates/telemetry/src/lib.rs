//! Logs, traces and metrics of a process.
//!
//! Belongs here: setting up the subscriber, the trace exporter and the metrics recorder, rendering metrics, and what waits
//! in memory to be stored: log records and durations.
//! Does not belong here: what is logged, traced or counted; that stands where it happens.

mod filter;
mod otlp;
pub mod performance;
pub mod process;
mod prometheus;
pub mod records;
pub mod trace;

use aisha_config::LogFormat;
use opentelemetry::trace::TracerProvider as _;
use tracing_subscriber::{
    Layer, filter::LevelFilter, fmt, layer::SubscriberExt, registry::LookupSpan, util::SubscriberInitExt,
};

pub use aisha_config::LogSection;
pub use prometheus::render;

/// Keeps telemetry going; dropping it sends the spans that still wait (up to 3 s). Hold it until the end of `main`.
#[must_use = "dropping the guard stops the export of traces"]
#[derive(Debug)]
pub struct Guard {
    exporter: Option<otlp::Exporter>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(exporter) = self.exporter.take() {
            exporter.shutdown();
        }
    }
}

/// Sets up logs (stdout, and [`records`] for whoever stores them), metrics and, when an OTLP endpoint is configured,
/// traces; says whether durations are kept. Never keeps a service from starting: what cannot be set up is reported in the
/// log. A second call in one process changes nothing, so tests may each call it.
pub fn init(service_name: &str, settings: &LogSection) -> Guard {
    prometheus::install();
    let (filter, bad_filter) = filter::parse(&settings.level);
    let (exporter, export_error) =
        match settings.otlp_endpoint.as_deref().map(|e| otlp::Exporter::start(service_name, e)) {
            None => (None, None),
            Some(Ok(exporter)) => (Some(exporter), None),
            Some(Err(e)) => (None, Some(e)),
        };
    let spans = exporter
        .as_ref()
        .map(|e| tracing_opentelemetry::layer().with_tracer(e.provider.tracer("aisha")).with_filter(filter::spans()));
    let first = tracing_subscriber::registry()
        .with(log_layer(settings.format).with_filter(filter))
        .with(spans)
        .with(records::Collector::new().with_filter(LevelFilter::WARN))
        .try_init()
        .is_ok();
    if first {
        performance::keep(settings.performance);
        if exporter.is_some() {
            trace::enable();
        }
    }
    if let Some(e) = bad_filter {
        tracing::warn!(error = %e, "LOG_LEVEL is not understood, using info");
    }
    if let Some(e) = export_error {
        tracing::error!(error = %e, "traces cannot be exported");
    }
    Guard { exporter: exporter.filter(|_| first) }
}

fn log_layer<S>(format: LogFormat) -> Box<dyn Layer<S> + Send + Sync>
where
    S: tracing::Subscriber + for<'a> LookupSpan<'a>,
{
    match format {
        LogFormat::Pretty => fmt::layer().with_ansi(std::io::IsTerminal::is_terminal(&std::io::stdout())).boxed(),
        LogFormat::Json => {
            fmt::layer().json().flatten_event(true).with_current_span(false).with_span_list(false).boxed()
        }
    }
}
