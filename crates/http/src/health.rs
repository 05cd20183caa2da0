//! Whether a service is alive, whether it can work, and its metrics.

use crate::{ApiError, ApiResult, envelope::json};
use actix_web::{
    HttpRequest, HttpResponse,
    http::{StatusCode, header},
    web::{self, ServiceConfig},
};
use aisha_kernel::{Error, clock};
use futures_util::future::{LocalBoxFuture, join_all};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use std::{collections::BTreeMap, fmt, future::Future, rc::Rc, sync::Arc, time::Duration};
use subtle::ConstantTimeEq;
use time::format_description::well_known::Rfc3339;
use tokio::time::timeout;

const CHECK_TIMEOUT: Duration = Duration::from_secs(1);

type Run = dyn Fn() -> LocalBoxFuture<'static, Result<(), String>>;

/// One thing a service depends on. Checks are made per worker, in the app factory.
#[derive(Clone)]
pub struct Check {
    name: &'static str,
    required: bool,
    run: Rc<Run>,
}

impl fmt::Debug for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Check").field("name", &self.name).field("required", &self.required).finish()
    }
}

impl Check {
    /// Something without which the service cannot work. The error's text is shown to anybody who asks, so it must not
    /// contain addresses or secrets.
    pub fn required<F, E>(name: &'static str, run: impl Fn() -> F + 'static) -> Self
    where
        F: Future<Output = Result<(), E>> + 'static,
        E: fmt::Display,
    {
        Self::new(name, true, run)
    }

    /// Something without which the service works, but not fully. The error's text is public as above.
    pub fn optional<F, E>(name: &'static str, run: impl Fn() -> F + 'static) -> Self
    where
        F: Future<Output = Result<(), E>> + 'static,
        E: fmt::Display,
    {
        Self::new(name, false, run)
    }

    fn new<F, E>(name: &'static str, required: bool, run: impl Fn() -> F + 'static) -> Self
    where
        F: Future<Output = Result<(), E>> + 'static,
        E: fmt::Display,
    {
        let run = move || -> LocalBoxFuture<'static, Result<(), String>> {
            let check = run();
            Box::pin(async move {
                match timeout(CHECK_TIMEOUT, check).await {
                    Ok(result) => result.map_err(|e| e.to_string()),
                    Err(_) => Err(format!("no answer within {} s", CHECK_TIMEOUT.as_secs())),
                }
            })
        };
        Self { name, required, run: Rc::new(run) }
    }
}

/// The answer of `/ready`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Readiness {
    /// `ok`, `degraded` (something optional is away) or `unavailable` (something required is).
    pub status: &'static str,
    /// Names of what failed.
    pub degraded: Vec<&'static str>,
    /// `ok` or what is wrong, by name.
    pub checks: BTreeMap<&'static str, String>,
}

impl Readiness {
    /// Runs all checks at the same time, each for at most a second.
    pub async fn of(checks: &[Check]) -> Self {
        let results = join_all(checks.iter().map(|check| async move { (check, (check.run)().await) })).await;
        let mut readiness = Self { status: "ok", degraded: Vec::new(), checks: BTreeMap::new() };
        for (check, result) in results {
            if result.is_err() {
                readiness.degraded.push(check.name);
                if check.required {
                    readiness.status = "unavailable";
                } else if readiness.status == "ok" {
                    readiness.status = "degraded";
                }
            }
            readiness.checks.insert(check.name, result.err().unwrap_or_else(|| "ok".to_owned()));
        }
        readiness
    }

    /// Whether requests can be served.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.status != "unavailable"
    }
}

/// Who may read `/metrics` from elsewhere than loopback: nobody without a token.
#[derive(Debug, Clone, Default)]
pub struct MetricsAccess(Option<Arc<SecretString>>);

impl MetricsAccess {
    /// Access with this token, if there is one.
    #[must_use]
    pub fn new(token: Option<SecretString>) -> Self {
        Self(token.map(Arc::new))
    }

    /// Whether whoever sends this request may read metrics.
    ///
    /// # Errors
    /// 401 for a wrong token, 403 where there is none to show.
    pub fn check(&self, request: &HttpRequest) -> Result<(), Error> {
        let headers = request.headers();
        // A proxy on this machine also comes from loopback; what it carries does not.
        let forwarded = headers.contains_key(header::FORWARDED) || headers.contains_key(header::X_FORWARDED_FOR);
        if !forwarded && request.peer_addr().is_some_and(|peer| peer.ip().to_canonical().is_loopback()) {
            return Ok(());
        }
        let Some(expected) = &self.0 else {
            return Err(Error::forbidden("Metrics are readable on loopback only."));
        };
        let given = headers
            .get(header::AUTHORIZATION)
            .and_then(|v| v.to_str().ok())
            .and_then(|v| v.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map_or("", |(_, token)| token.trim());
        if bool::from(given.as_bytes().ct_eq(expected.expose_secret().as_bytes())) {
            Ok(())
        } else {
            Err(Error::unauthenticated())
        }
    }
}

/// The routes `/health`, `/ready` and `/metrics`, for `App::configure`.
pub fn routes(checks: Vec<Check>, metrics: MetricsAccess) -> impl FnOnce(&mut ServiceConfig) {
    routes_with(checks, metrics, || async { String::new() })
}

/// The same, with metrics that a service keeps itself: `more` writes them in the text format.
pub fn routes_with<F: Future<Output = String> + 'static>(
    checks: Vec<Check>,
    metrics: MetricsAccess,
    more: impl Fn() -> F + Clone + 'static,
) -> impl FnOnce(&mut ServiceConfig) {
    move |cfg| {
        let read = move |request: HttpRequest| {
            let (metrics, more) = (metrics.clone(), more.clone());
            async move { read_metrics(&request, &metrics, more()).await }
        };
        cfg.route("/health", web::get().to(health))
            .route("/ready", web::get().to(move || ready(checks.clone())))
            .route("/metrics", web::get().to(read));
    }
}

#[derive(Debug, Serialize)]
struct Health {
    status: &'static str,
    timestamp: String,
}

async fn health() -> ApiResult {
    let timestamp = clock::now().format(&Rfc3339).map_err(Error::internal)?;
    Ok(plain(StatusCode::OK, &Health { status: "ok", timestamp }))
}

async fn ready(checks: Vec<Check>) -> HttpResponse {
    let readiness = Readiness::of(&checks).await;
    let status = if readiness.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    plain(status, &readiness)
}

async fn read_metrics(request: &HttpRequest, access: &MetricsAccess, more: impl Future<Output = String>) -> ApiResult {
    access.check(request)?;
    Ok(metrics_text(aisha_telemetry::render() + &more.await))
}

/// Metrics in the Prometheus text format.
#[must_use]
pub fn metrics_text(text: String) -> HttpResponse {
    HttpResponse::Ok().content_type("text/plain; version=0.0.4; charset=utf-8").body(text)
}

/// These three answer without the envelope: probes and scrapers expect their own forms.
fn plain(status: StatusCode, body: &impl Serialize) -> HttpResponse {
    match serde_json::to_vec(body) {
        Ok(body) => json(status, body),
        Err(e) => actix_web::ResponseError::error_response(&ApiError(Error::internal(e))),
    }
}

#[cfg(test)]
#[path = "health_tests.rs"]
mod tests;
