//! The metrics recorder and its text form.

use crate::process;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use std::{sync::OnceLock, thread, time::Duration};

static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();

/// Upper bounds in seconds: a read should sit in the first few, an import in the last.
const SECONDS: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

pub(crate) fn install() {
    HANDLE.get_or_init(|| {
        let recorder = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), SECONDS)
            .unwrap_or_else(|_| PrometheusBuilder::new())
            .build_recorder();
        let handle = recorder.handle();
        if metrics::set_global_recorder(recorder).is_err() {
            tracing::warn!("another metrics recorder is installed, /metrics will stay empty");
        }
        let upkeep = handle.clone();
        // Histograms collect samples until somebody renders them; without a scraper that would never be.
        let thread = thread::Builder::new().name("metrics".to_owned()).spawn(move || {
            loop {
                thread::sleep(Duration::from_secs(5));
                upkeep.run_upkeep();
            }
        });
        if let Err(e) = thread {
            tracing::warn!(error = %e, "metrics are drained only when they are read");
        }
        handle
    });
}

/// All metrics in the Prometheus text format, with the process metrics read at this moment. Works before [`crate::init`]
/// too, then it shows only those.
#[must_use]
pub fn render() -> String {
    let mut text = HANDLE.get().map(PrometheusHandle::render).unwrap_or_default();
    process::Usage::read().write_prometheus(&mut text);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renders_counters_histograms_and_the_process() {
        install();
        install();
        metrics::counter!("test_total", "service" => "unit").increment(3);
        metrics::histogram!("test_duration_seconds").record(0.004);
        let text = render();
        assert!(text.contains("test_total{service=\"unit\"} 3"), "{text}");
        assert!(text.contains("test_duration_seconds_bucket{le=\"0.005\"} 1"), "{text}");
        assert!(text.contains("test_duration_seconds_bucket{le=\"0.0025\"} 0"), "{text}");
        assert!(text.contains("process_resident_memory_bytes "), "{text}");
    }
}
