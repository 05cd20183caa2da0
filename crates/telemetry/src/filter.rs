//! What gets into the log. The level applies to our own crates; libraries speak from WARN on.

use tracing_subscriber::{
    EnvFilter,
    filter::{LevelFilter, ParseError, Targets},
};

/// Libraries that tell their life story at INFO or below.
const NOISY: &[&str] = &[
    "actix_http",
    "actix_server",
    "actix_web",
    "async_rs",
    "diesel",
    "diesel_async",
    "h2",
    "hyper",
    "hyper_util",
    "mio",
    "opentelemetry",
    "opentelemetry_http",
    "opentelemetry_otlp",
    "opentelemetry_sdk",
    "redis",
    "reqwest",
    "rustls",
    "tokio_postgres",
    "tokio_util",
    "tower",
];

/// Libraries whose every complaint is one that we make ourselves, once (lapin: three errors for one lost connection).
const SILENT: &[&str] = &["lapin"];

/// The filter for `LOG_LEVEL`, and what was wrong with it if INFO had to take its place. A directive given there wins
/// over the ones for libraries, so `info,lapin=debug` does what it says.
pub(crate) fn parse(level: &str) -> (EnvFilter, Option<ParseError>) {
    let noisy = NOISY.iter().map(|target| format!("{target}=warn"));
    let silent = SILENT.iter().map(|target| format!("{target}=off"));
    let quiet = noisy.chain(silent).collect::<Vec<_>>().join(",");
    match EnvFilter::builder().parse(format!("{quiet},{level}")) {
        Ok(filter) => (filter, None),
        Err(e) => (EnvFilter::builder().parse_lossy(format!("{quiet},info")), Some(e)),
    }
}

/// Spans that are exported: ours. Not those of the exporter's own HTTP client, which would feed on themselves.
pub(crate) fn spans() -> Targets {
    Targets::new()
        .with_target("aisha", LevelFilter::INFO)
        .with_target("http", LevelFilter::INFO)
        .with_target("sql", LevelFilter::DEBUG)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_directives() {
        assert!(parse("info").1.is_none());
        assert!(parse("warn,aisha_db=debug").1.is_none());
        let (filter, error) = parse("aisha_db=loud");
        assert!(error.is_some());
        assert!(filter.to_string().contains("info"));
        assert!(parse("info,lapin=debug").0.to_string().contains("lapin=debug"));
    }
}
