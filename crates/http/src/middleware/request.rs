//! The one middleware around every request: request id, trace context, security headers, uniform error bodies, the log
//! line and the metrics.

use super::{
    facts::{CURRENT, RequestFacts, for_log_records},
    line::{Line, Logged, Meters},
};
use crate::ApiError;
use actix_web::{
    Error, HttpMessage,
    body::{BodySize, BoxBody, EitherBody, MessageBody},
    dev::{Service, ServiceRequest, ServiceResponse, Transform},
    error::InternalError,
    http::{
        StatusCode,
        header::{self, HeaderMap, HeaderName, HeaderValue},
    },
};
use aisha_telemetry::{records, trace};
use futures_util::{FutureExt, future::LocalBoxFuture};
use std::{
    any::Any,
    future::{Ready, ready},
    panic::AssertUnwindSafe,
    rc::Rc,
    task::{Context, Poll},
};
use tracing::{Instrument, Span};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACEPARENT: &str = "traceparent";
const EVENT_STREAM: &[u8] = b"text/event-stream";

/// The middleware; wrap it around the whole app, outermost (`.wrap` it last).
#[derive(Debug, Clone, Copy)]
pub struct RequestLog {
    service: &'static str,
}

impl RequestLog {
    /// For this service's app. The name is the `service` label of its metrics.
    #[must_use]
    pub const fn new(service: &'static str) -> Self {
        Self { service }
    }
}

impl<S, B> Transform<S, ServiceRequest> for RequestLog
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error>,
    S::Future: 'static,
    B: MessageBody + 'static,
{
    type Response = ServiceResponse<Logged<EitherBody<B>>>;
    type Error = Error;
    type Transform = RequestLogService<S>;
    type InitError = ();
    type Future = Ready<Result<Self::Transform, ()>>;

    fn new_transform(&self, inner: S) -> Self::Future {
        records::set_context(for_log_records);
        ready(Ok(RequestLogService { inner, meters: Rc::new(Meters::new(self.service)) }))
    }
}

/// [`RequestLog`] around one worker's app.
pub struct RequestLogService<S> {
    inner: S,
    meters: Rc<Meters>,
}

impl<S, B> Service<ServiceRequest> for RequestLogService<S>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error>,
    S::Future: 'static,
    B: MessageBody + 'static,
{
    type Response = ServiceResponse<Logged<EitherBody<B>>>;
    type Error = Error;
    type Future = LocalBoxFuture<'static, Result<Self::Response, Error>>;

    fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&self, request: ServiceRequest) -> Self::Future {
        let facts =
            Rc::new(RequestFacts::new(request_id(request.headers()), request.peer_addr().map(|address| address.ip())));
        request.extensions_mut().insert(facts.clone());
        let span = start_trace(&request, &facts);
        // The request itself must not be held: the router needs it for itself.
        let line = Line::new(facts.clone(), request.method().clone(), request.uri().clone(), self.meters.clone());
        // Inner services may answer before their future is polled.
        let next = CURRENT.sync_scope(facts.clone(), || self.inner.call(request));
        let work = CURRENT.scope(facts, async move {
            // A handler's panic would close the connection without a word.
            match AssertUnwindSafe(next).catch_unwind().await {
                Ok(outcome) => finish(line, outcome),
                Err(panic) => finish::<B>(line, Err(panicked(&*panic))),
            }
        });
        match span {
            Some(span) => Box::pin(work.instrument(span)),
            None => Box::pin(work),
        }
    }
}

fn finish<B: MessageBody + 'static>(
    mut line: Line,
    outcome: Result<ServiceResponse<B>, Error>,
) -> Result<ServiceResponse<Logged<EitherBody<B>>>, Error> {
    match outcome {
        Ok(response) => {
            let mut response = uniform(response);
            finish_headers(response.headers_mut(), &line);
            line.answered(response.status().as_u16(), response.request().match_pattern());
            if response.headers().get(header::CONTENT_TYPE).is_some_and(|v| v.as_bytes().starts_with(EVENT_STREAM)) {
                line.endless();
            }
            finish_trace(&line, response.status());
            Ok(response.map_body(|_, body| Logged::new(body, line)))
        }
        // An inner middleware gave up without a response. It is made here, where the request is still known.
        Err(e) => {
            let mut response = e.error_response();
            if let Some(api) = e.as_error::<ApiError>() {
                api.log_cause();
            } else {
                let api = ApiError::from_actix(&e, response.status());
                api.log_cause();
                api.set_headers(response.headers_mut());
                response = response.set_body(BoxBody::new(api.body()));
            }
            finish_headers(response.headers_mut(), &line);
            line.answered(response.status().as_u16(), None);
            finish_trace(&line, response.status());
            let response = response.map_body(|_, body| BoxBody::new(Logged::new(body, line)));
            Err(InternalError::from_response(e, response).into())
        }
    }
}

fn panicked(panic: &(dyn Any + Send)) -> Error {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    ApiError(aisha_kernel::Error::internal(format!("panic: {}", text.unwrap_or("without a message")))).into()
}

/// Logs the cause of an error response, and gives those the framework made itself our body.
fn uniform<B: MessageBody>(response: ServiceResponse<B>) -> ServiceResponse<EitherBody<B>> {
    let status = response.status();
    if !status.is_client_error() && !status.is_server_error() {
        return response.map_into_left_body();
    }
    let json =
        response.headers().get(header::CONTENT_TYPE).is_some_and(|v| v.as_bytes().starts_with(b"application/json"));
    let empty = matches!(response.response().body().size(), BodySize::None | BodySize::Sized(0));
    let error = match response.response().error() {
        Some(e) => match e.as_error::<ApiError>() {
            Some(api) => {
                api.log_cause();
                None
            }
            None if json => None,
            None => {
                let api = ApiError::from_actix(e, status);
                api.log_cause();
                Some(api)
            }
        },
        None if empty && !response.headers().contains_key(header::CONTENT_TYPE) => Some(ApiError::for_status(status)),
        None => None,
    };
    match error {
        None => response.map_into_left_body(),
        Some(api) => {
            let mut response = response.map_body(|_, _| EitherBody::right(BoxBody::new(api.body())));
            api.set_headers(response.headers_mut());
            response
        }
    }
}

fn finish_headers(headers: &mut HeaderMap, line: &Line) {
    if let Ok(id) = HeaderValue::from_str(line.facts.request_id()) {
        headers.insert(REQUEST_ID, id);
    }
    set_default(headers, header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    set_default(headers, header::REFERRER_POLICY, "no-referrer");
    set_default(headers, header::X_FRAME_OPTIONS, "DENY");
    if is_api(line.path()) {
        set_default(headers, header::CACHE_CONTROL, "no-store");
    }
}

fn set_default(headers: &mut HeaderMap, name: HeaderName, value: &'static str) {
    if !headers.contains_key(&name) {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

fn is_api(path: &str) -> bool {
    path.strip_prefix("/api").is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The caller's id if it is harmless in logs and headers, otherwise a new one.
fn request_id(headers: &HeaderMap) -> String {
    headers
        .get(REQUEST_ID)
        .and_then(|v| v.to_str().ok())
        .filter(|id| (1..=64).contains(&id.len()))
        .filter(|id| id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.')))
        .map_or_else(|| aisha_kernel::new_id().to_string(), str::to_owned)
}

/// Opens the request's span if traces are exported. Without that, an inbound trace id is still worth logging.
fn start_trace(request: &ServiceRequest, facts: &RequestFacts) -> Option<Span> {
    let header = |name: &str| request.headers().get(name).and_then(|v| v.to_str().ok());
    if !trace::enabled() {
        facts.set_trace_id(header(TRACEPARENT).and_then(parent_trace_id).map(str::to_owned));
        return None;
    }
    let span = tracing::info_span!(
        target: "http",
        "request",
        otel.kind = "server",
        otel.status_code = tracing::field::Empty,
        http.request.method = request.method().as_str(),
        url.path = request.path(),
        http.route = tracing::field::Empty,
        http.response.status_code = tracing::field::Empty,
        request_id = facts.request_id(),
    );
    trace::continue_from(&span, header);
    facts.set_trace_id(trace::trace_id(&span));
    Some(span)
}

fn finish_trace(line: &Line, status: StatusCode) {
    if trace::enabled() {
        let span = Span::current();
        // Semantic conventions for HTTP: a server span is named by method and route.
        trace::rename(&span, format!("{} {}", line.method(), line.route()));
        span.record("http.route", line.route());
        span.record("http.response.status_code", status.as_u16());
        if status.is_server_error() {
            span.record("otel.status_code", "ERROR");
        }
    }
}

/// The trace id in a `traceparent` header of version 00.
fn parent_trace_id(traceparent: &str) -> Option<&str> {
    let id = traceparent.strip_prefix("00-")?.split('-').next()?;
    let valid = id.len() == 32
        && id.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        && id.bytes().any(|b| b != b'0');
    valid.then_some(id)
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
