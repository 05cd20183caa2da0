//! The canonical log line and the metrics of a request, written when its response has been sent or given up.

use super::RequestFacts;
use actix_web::{
    body::{BodySize, MessageBody},
    http::{Method, Uri},
};
use aisha_telemetry::performance::Series;
use bytes::Bytes;
use metrics::{Counter, Histogram};
use pin_project_lite::pin_project;
use std::{
    cell::RefCell,
    collections::HashMap,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

/// The status on record when nobody waited for the response: the client hung up first.
const CLIENT_GONE: u16 = 499;
/// The route on record when no route took the request, or none was reached.
const UNMATCHED: &str = "unmatched";

/// What the line says. Written when dropped, so that a request that was given up is on record too.
pub(super) struct Line {
    pub(super) facts: Rc<RequestFacts>,
    started: Instant,
    method: Method,
    uri: Uri,
    route: Option<String>,
    status: u16,
    bytes: u64,
    endless: bool,
    meters: Rc<Meters>,
}

impl Line {
    pub(super) fn new(facts: Rc<RequestFacts>, method: Method, uri: Uri, meters: Rc<Meters>) -> Self {
        Self {
            facts,
            started: Instant::now(),
            method,
            uri,
            route: None,
            status: CLIENT_GONE,
            bytes: 0,
            endless: false,
            meters,
        }
    }

    pub(super) fn path(&self) -> &str {
        self.uri.path()
    }

    pub(super) fn answered(&mut self, status: u16, route: Option<String>) {
        self.status = status;
        self.route = route;
    }

    /// Says that the answer goes on for as long as somebody listens: how long that was says nothing about the route.
    pub(super) fn endless(&mut self) {
        self.endless = true;
    }

    pub(super) fn method(&self) -> &Method {
        &self.method
    }

    pub(super) fn route(&self) -> &str {
        self.route.as_deref().unwrap_or(UNMATCHED)
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let elapsed = self.started.elapsed();
        self.meters.record(self.route(), &self.method, self.status, elapsed, self.endless);
        let facts = &self.facts;
        tracing::info!(
            target: "http",
            method = self.method.as_str(),
            route = self.route(),
            path = self.path(),
            status = self.status,
            duration_ms = (elapsed.as_secs_f64() * 1e6).round() / 1e3,
            bytes = self.bytes,
            request_id = facts.request_id(),
            trace_id = facts.trace_id().as_deref(),
            tenant_id = facts.tenant_id().map(tracing::field::display),
            user_id = facts.user_id().map(tracing::field::display),
            client_ip = facts.client_ip().map(tracing::field::display),
            notes = facts.notes(),
            "request"
        );
    }
}

pin_project! {
    /// A body that carries the line until it has been sent.
    pub struct Logged<B> {
        #[pin]
        body: B,
        line: Line,
    }
}

impl<B> Logged<B> {
    pub(super) fn new(body: B, line: Line) -> Self {
        Self { body, line }
    }
}

impl<B: MessageBody> MessageBody for Logged<B> {
    type Error = B::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        let this = self.project();
        let chunk = ready!(this.body.poll_next(cx));
        if let Some(Ok(bytes)) = &chunk {
            this.line.bytes += bytes.len() as u64;
        }
        Poll::Ready(chunk)
    }

    fn try_into_bytes(self) -> Result<Bytes, Self> {
        let Self { body, mut line } = self;
        match body.try_into_bytes() {
            Ok(bytes) => {
                line.bytes += bytes.len() as u64;
                Ok(bytes)
            }
            Err(body) => Err(Self { body, line }),
        }
    }
}

/// The metrics of one service on one worker. Handles are kept, because finding one by its labels costs more than the
/// rest of the middleware.
pub(super) struct Meters {
    service: &'static str,
    routes: RefCell<HashMap<String, Vec<Meter>>>,
}

struct Meter {
    method: &'static str,
    status: u16,
    requests: Counter,
    duration: Histogram,
    series: Series,
}

impl Meters {
    pub(super) fn new(service: &'static str) -> Self {
        Self { service, routes: RefCell::default() }
    }

    /// Counts one request. Routes are patterns, so their number is that of the code.
    fn record(&self, route: &str, method: &Method, status: u16, elapsed: Duration, endless: bool) {
        let method = label(method);
        let mut routes = self.routes.borrow_mut();
        if let Some(meter) =
            routes.get(route).and_then(|meters| meters.iter().find(|m| m.status == status && m.method == method))
        {
            meter.count(elapsed, endless);
            return;
        }
        let service = self.service;
        // One series for all statuses.
        let known = routes.get(route).and_then(|meters| meters.iter().find(|m| m.method == method));
        let series = known.map_or_else(|| Series::new(service, method, route), |m| m.series.clone());
        let requests = metrics::counter!(
            "http_requests_total",
            "service" => service, "method" => method, "route" => route.to_owned(), "status" => status.to_string()
        );
        let duration = metrics::histogram!(
            "http_request_duration_seconds", "service" => service, "method" => method, "route" => route.to_owned()
        );
        let meter = Meter { method, status, requests, duration, series };
        meter.count(elapsed, endless);
        routes.entry(route.to_owned()).or_default().push(meter);
    }
}

impl Meter {
    fn count(&self, elapsed: Duration, endless: bool) {
        self.requests.increment(1);
        self.duration.record(elapsed.as_secs_f64());
        if !endless {
            self.series.record(self.status, elapsed);
        }
    }
}

/// The method as a label. A client can invent methods; it must not invent time series.
fn label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        _ => "OTHER",
    }
}
