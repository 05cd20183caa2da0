//! Passing requests on to the services: bodies are streamed both ways, headers are the business of [`crate::headers`].

use crate::{auth::Caller, config::Config, headers, state::Worker, upstream::Upstream};
use actix_service::ServiceExt as _;
use actix_tls::connect::{Connection, ConnectorService};
use actix_web::{
    HttpRequest, HttpResponse,
    body::{BoxBody, SizedStream},
    dev::PeerAddr,
    error::PayloadError,
    http::{
        Method, StatusCode, Uri,
        header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue},
        uri::{Authority, PathAndQuery, Scheme},
    },
    rt::net::TcpStream,
    web::{self, Data},
};
use aisha_http::{ApiResult, RequestFacts};
use aisha_kernel::{Error, ErrorCode};
use awc::{
    Client, ClientResponse, Connector,
    error::{ConnectError, SendRequestError},
};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use std::{cell::Cell, net::IpAddr, rc::Rc, time::Duration};
use tokio::time::timeout;

/// How long a service may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a service may take until its answer begins.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// The same where the request brings a file, which must arrive first.
const UPLOAD_TIMEOUT: Duration = Duration::from_secs(600);
/// How long an idle connection is kept; services keep them longer, so that it is never they who close.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// Connections per worker and service.
const MOST_CONNECTIONS: usize = 1_000;

/// The largest body.
const MAX_BODY: u64 = 10 * 1024 * 1024;
/// The largest file.
const MAX_UPLOAD: u64 = 200 * 1024 * 1024;

/// The services as one worker reaches them.
#[derive(Clone)]
pub struct Proxy {
    client: Client,
    authorities: Rc<[Authority]>,
}

impl Proxy {
    /// To the services that the settings name.
    ///
    /// # Errors
    /// When a URL has no host.
    pub fn new(config: &Config) -> anyhow::Result<Self> {
        let authority = |upstream: &Upstream| match upstream {
            Upstream::CrmCore => authority(&config.crm_core_url),
            Upstream::TenantResolver => authority(&config.tenant_resolver_url),
        };
        let authorities: Vec<Authority> = Upstream::ALL.iter().map(authority).collect::<Result<_, _>>()?;
        // Without this a small body waits for the acknowledgement of its head.
        let connect = ConnectorService::default().map(|connection: Connection<Uri, TcpStream>| {
            if let Err(e) = connection.io_ref().set_nodelay(true) {
                tracing::debug!(error = %e, "TCP_NODELAY not set");
            }
            connection
        });
        let connector = Connector::new()
            .connector(connect)
            .timeout(CONNECT_TIMEOUT)
            .conn_keep_alive(KEEP_ALIVE)
            .conn_lifetime(Duration::from_secs(600))
            .limit(MOST_CONNECTIONS);
        let client = Client::builder().connector(connector).disable_timeout().disable_redirects().no_default_headers();
        Ok(Self { client: client.finish(), authorities: authorities.into() })
    }

    fn uri(&self, upstream: Upstream, path: PathAndQuery) -> Result<Uri, Error> {
        let mut parts = actix_web::http::uri::Parts::default();
        parts.scheme = Some(Scheme::HTTP);
        parts.authority = self.authorities.get(upstream as usize).cloned();
        parts.path_and_query = Some(path);
        Uri::from_parts(parts).map_err(Error::internal)
    }

    /// Whether a service answers.
    ///
    /// # Errors
    /// When it does not.
    pub async fn ping(&self, upstream: Upstream) -> Result<(), Error> {
        let uri = self.uri(upstream, PathAndQuery::from_static("/health"))?;
        let answer = self.client.get(uri).send().await.map_err(|e| refused(&e, upstream))?;
        if answer.status().is_success() { Ok(()) } else { Err(Error::internal("not healthy")) }
    }
}

fn authority(url: &str) -> anyhow::Result<Authority> {
    let uri: Uri = url.parse()?;
    anyhow::ensure!(matches!(uri.path(), "" | "/"), "a service's URL has no path");
    uri.into_parts().authority.ok_or_else(|| anyhow::anyhow!("a service's URL has no host"))
}

/// The handler of every path that the gateway has no route of its own for.
///
/// # Errors
/// 413 for a body that is too large, 503 when the service is away, 504 when it does not answer.
pub async fn forward(
    request: HttpRequest,
    payload: web::Payload,
    worker: Data<Worker>,
    caller: Caller,
    peer: PeerAddr,
) -> ApiResult {
    let upstream = Upstream::of(request.path());
    let body = Body::of(request.headers())?;
    let path = request.uri().path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    let uri = worker.proxy.uri(upstream, path)?;
    let token = caller.internal_token(&worker.shared.auth.internal, upstream)?;
    let address = RequestFacts::of(&request).and_then(|f| f.client_ip()).unwrap_or_else(|| peer.0.ip());
    let send = Send { request: &request, worker: &worker, upstream, uri, token, address };
    let answer = match body {
        Body::None => send.without_body().await?,
        Body::Some { length, limit } => send.with_body(payload, length, limit).await?,
    };
    Ok(respond(&request, answer))
}

fn outgoing(request: &HttpRequest, token: HeaderValue, address: IpAddr) -> HeaderMap {
    let mut head = headers::to_service(request.headers());
    let facts = RequestFacts::of(request);
    let id = facts.as_ref().and_then(|f| HeaderValue::from_str(f.request_id()).ok());
    headers::vouch(&mut head, token, address, id);
    head
}

/// What the head of a request says about its body.
#[derive(Debug, PartialEq, Eq)]
enum Body {
    None,
    Some { length: Option<u64>, limit: u64 },
}

impl Body {
    fn of(headers: &HeaderMap) -> Result<Self, Error> {
        let length = match headers.get(CONTENT_LENGTH).map(|v| v.to_str().ok().and_then(|v| v.trim().parse().ok())) {
            None => None,
            Some(Some(length)) => Some(length),
            Some(None) => return Err(Error::new(ErrorCode::MalformedBody, "The Content-Length is not a number.")),
        };
        if length == Some(0) || (length.is_none() && !headers.contains_key("transfer-encoding")) {
            return Ok(Self::None);
        }
        let kind = headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default().to_ascii_lowercase();
        let limit = if kind.starts_with("multipart/") || kind.starts_with("text/csv") { MAX_UPLOAD } else { MAX_BODY };
        if length.is_some_and(|n| n > limit) {
            return Err(too_large(limit));
        }
        Ok(Self::Some { length, limit })
    }
}

fn too_large(limit: u64) -> Error {
    let size = limit / (1024 * 1024);
    Error::new(ErrorCode::PayloadTooLarge, format!("The body is larger than the {size} MB that are accepted here."))
}

struct Send<'a> {
    request: &'a HttpRequest,
    worker: &'a Worker,
    upstream: Upstream,
    uri: Uri,
    token: HeaderValue,
    address: IpAddr,
}

type Upstreamed = ClientResponse;

impl Send<'_> {
    fn start(&self) -> awc::ClientRequest {
        let mut out = self.worker.proxy.client.request(self.request.method().clone(), self.uri.clone()).no_decompress();
        *out.headers_mut() = outgoing(self.request, self.token.clone(), self.address);
        out
    }

    async fn without_body(&self) -> Result<Upstreamed, Error> {
        // A connection may close just when it is used again; a read can be repeated.
        let repeatable = matches!(*self.request.method(), Method::GET | Method::HEAD);
        let first = timeout(ANSWER_TIMEOUT, self.start().send()).await.map_err(|_| late(self.upstream))?;
        match first {
            Err(SendRequestError::Connect(ConnectError::Disconnected) | SendRequestError::Send(_)) if repeatable => {
                let again = timeout(ANSWER_TIMEOUT, self.start().send()).await.map_err(|_| late(self.upstream))?;
                again.map_err(|e| refused(&e, self.upstream))
            }
            other => other.map_err(|e| refused(&e, self.upstream)),
        }
    }

    async fn with_body(&self, payload: web::Payload, length: Option<u64>, limit: u64) -> Result<Upstreamed, Error> {
        let exceeded = Rc::new(Cell::new(false));
        let stream = limited(payload, limit, Rc::clone(&exceeded));
        let out = self.start();
        let sent = match length {
            Some(length) => out.send_body(SizedStream::new(length, stream)),
            None => out.send_stream(stream),
        };
        let patience = if limit == MAX_UPLOAD { UPLOAD_TIMEOUT } else { ANSWER_TIMEOUT };
        match timeout(patience, sent).await.map_err(|_| late(self.upstream))? {
            Err(_) if exceeded.get() => Err(too_large(limit)),
            Err(SendRequestError::Body(e)) => {
                Err(Error::new(ErrorCode::MalformedBody, "The body did not arrive whole.").because(e.to_string()))
            }
            other => other.map_err(|e| refused(&e, self.upstream)),
        }
    }
}

/// The body, cut off with an error where it grows past the limit (a chunked one says nothing in advance).
fn limited(
    payload: web::Payload,
    limit: u64,
    exceeded: Rc<Cell<bool>>,
) -> impl Stream<Item = Result<Bytes, PayloadError>> + Unpin {
    let mut seen: u64 = 0;
    payload.into_inner().map(move |chunk| {
        let chunk = chunk?;
        seen = seen.saturating_add(chunk.len() as u64);
        if seen > limit {
            exceeded.set(true);
            return Err(PayloadError::Overflow);
        }
        Ok(chunk)
    })
}

fn late(upstream: Upstream) -> Error {
    Error::new(ErrorCode::Timeout, format!("{} did not answer in time.", upstream.name()))
}

fn refused(e: &SendRequestError, upstream: Upstream) -> Error {
    match e {
        SendRequestError::Timeout => late(upstream),
        _ => Error::unavailable(upstream.name(), e.to_string()),
    }
}

fn respond(request: &HttpRequest, answer: Upstreamed) -> HttpResponse {
    let status = answer.status();
    let mut response = HttpResponse::new(status);
    headers::to_client(answer.headers(), response.headers_mut());
    let bodiless = matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let length = answer.headers().get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()).and_then(|v| v.parse().ok());
    let body = match length {
        _ if bodiless => BoxBody::new(()),
        Some(length) => BoxBody::new(SizedStream::new(length, answer)),
        None if *request.method() == Method::HEAD => BoxBody::new(()),
        None => BoxBody::new(actix_web::body::BodyStream::new(answer)),
    };
    response.set_body(body)
}
