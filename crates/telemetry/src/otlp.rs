//! Export of traces to a collector, OTLP over HTTP with protobuf bodies.

use opentelemetry::KeyValue;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::{Resource, propagation::TraceContextPropagator, trace::SdkTracerProvider};
use std::{error::Error, time::Duration};
use tokio::runtime::{Builder, Handle, Runtime};

const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);
const FLUSH_TIMEOUT: Duration = Duration::from_secs(3);

/// The tracer provider with the runtime that its requests run on. The runtime is its own, so that export works whatever
/// runtime the service uses, and still works while that one shuts down.
#[derive(Debug)]
pub(crate) struct Exporter {
    pub(crate) provider: SdkTracerProvider,
    runtime: Runtime,
}

impl Exporter {
    /// Starts exporting to `<endpoint>/v1/traces` and makes W3C trace context the propagation format.
    pub(crate) fn start(service_name: &str, endpoint: &str) -> Result<Self, Box<dyn Error + Send + Sync>> {
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            // The client asks for the provider even for plain http. Losing a race to install it is as good as winning.
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
        let runtime = Builder::new_multi_thread().worker_threads(1).thread_name("otlp").enable_all().build()?;
        let client = reqwest::Client::builder().timeout(EXPORT_TIMEOUT).build()?;
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(OnRuntime { client, handle: runtime.handle().clone() })
            .with_endpoint(format!("{}/v1/traces", endpoint.trim_end_matches('/')))
            .with_protocol(Protocol::HttpBinary)
            .with_timeout(EXPORT_TIMEOUT)
            .build()?;
        let provider = SdkTracerProvider::builder()
            .with_resource(
                Resource::builder()
                    .with_service_name(service_name.to_owned())
                    .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
                    .build(),
            )
            .with_batch_exporter(exporter)
            .build();
        opentelemetry::global::set_text_map_propagator(TraceContextPropagator::new());
        Ok(Self { provider, runtime })
    }

    pub(crate) fn shutdown(self) {
        if let Err(e) = self.provider.shutdown_with_timeout(FLUSH_TIMEOUT) {
            tracing::warn!(error = %e, "some traces were not exported");
        }
        // Not a plain drop: the guard may go out of scope inside an async main, where that would panic.
        self.runtime.shutdown_background();
    }
}

/// Runs requests on the exporter's runtime: the batch processor calls from a thread that has none.
#[derive(Debug)]
struct OnRuntime {
    client: reqwest::Client,
    handle: Handle,
}

#[async_trait::async_trait]
impl HttpClient for OnRuntime {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let client = self.client.clone();
        self.handle.spawn(async move { client.send_bytes(request).await }).await?
    }
}
