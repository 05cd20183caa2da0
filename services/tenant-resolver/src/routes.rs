//! `/api/tenantresolve`: not tenant-scoped; a superadmin resolves all tenants, everybody else its own.

use crate::{
    answer::{Answer, Identifier, Shown},
    events::Herald,
    resolver::{Resolver, Stats},
};
use actix_web::{
    FromRequest as _, HttpRequest, HttpResponse,
    http::{
        StatusCode,
        header::{self, HeaderValue},
    },
    web::{self, Data, Path, ServiceConfig},
};
use aisha_auth::{Action, Role};
use aisha_db::Db;
use aisha_http::{
    ApiResult, Caller, envelope,
    health::{MetricsAccess, metrics_text},
    principal::INTERNAL_TOKEN,
    record::query,
};
use aisha_kernel::{Error, ErrorCode, TenantId};
use aisha_tenancy::resolve::Sight;
use bytes::Bytes;
use serde::Serialize;
use std::sync::Arc;

/// Identifiers in one request.
pub const MOST_IDENTIFIERS: usize = 100;

/// What all workers share.
#[derive(Debug)]
pub struct Shared {
    /// The cache.
    pub resolver: Arc<Resolver>,
    /// Tells the other replicas.
    pub herald: Herald,
    /// Who may read the metrics directly.
    pub metrics: MetricsAccess,
}

/// Mounts the routes.
pub fn configure(cfg: &mut ServiceConfig) {
    // The fixed names first: they are no identifiers.
    cfg.service(web::resource("/api/tenantresolve").route(web::get().to(list)))
        .service(web::resource("/api/tenantresolve/reset").route(web::post().to(reset)))
        .service(web::resource("/api/tenantresolve/metrics").route(web::get().to(metrics)))
        .service(web::resource("/api/tenantresolve/{identifier}").route(web::get().to(read)));
}

#[derive(Serialize)]
struct Body<T> {
    status: &'static str,
    data: T,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache: Option<Stats>,
}

fn body<T: Serialize>(data: T, cache: Option<Stats>) -> ApiResult {
    let body = Body { status: "success", data, cache };
    Ok(envelope::json(StatusCode::OK, serde_json::to_vec(&body).map_err(Error::internal)?))
}

fn sight(caller: &Caller) -> Result<Sight, Error> {
    caller.identity().require("tenantresolve", Action::Read)?;
    if caller.identity().role == Role::Superadmin { Ok(Sight::All) } else { Ok(Sight::Own(caller.in_tenant(None)?)) }
}

#[derive(Default)]
struct Parameters {
    ids: Option<String>,
    stats: bool,
}

impl Parameters {
    fn read(caller: &Caller, text: &str, list: bool) -> Result<Self, Error> {
        let mut out = Self::default();
        if text.is_empty() {
            return Ok(out);
        }
        for (name, value) in query::pairs(text)? {
            match (name.as_str(), value.as_str()) {
                ("ids", _) if list => out.ids = Some(value),
                ("stats", "true" | "1") => out.stats = true,
                ("stats", "false" | "0" | "") => out.stats = false,
                ("stats", _) => return Err(Error::parameter(name, "must be true or false")),
                ("tenant_id", _) => {
                    caller.in_tenant(Some(TenantId::parse(&value)?))?;
                }
                _ => return Err(Error::parameter(name, "is not a parameter of this request")),
            }
        }
        Ok(out)
    }

    async fn stats(&self, resolver: &Resolver) -> Option<Stats> {
        if self.stats { Some(resolver.stats().await) } else { None }
    }
}

async fn read(
    caller: Caller,
    identifier: Path<String>,
    shared: Data<Shared>,
    db: Data<Db>,
    request: HttpRequest,
) -> ApiResult {
    let sight = sight(&caller)?;
    let parameters = Parameters::read(&caller, request.query_string(), false)?;
    let resolver = &shared.resolver;
    let Some(asked) = Identifier::read("identifier", &identifier)? else {
        let answer = Answer::empty();
        return body(answer.show("", false), parameters.stats(resolver).await);
    };
    let (answer, cached) = match resolver.remembered(&sight, &asked).await {
        Some(answer) => (answer, true),
        None => (resolver.find_out(&db, &sight, &asked).await, false),
    };
    if cached
        && !parameters.stats
        && let Some(ready) = answer.ready(&asked)
    {
        return Ok(json(ready));
    }
    body(answer.show(asked.text, cached), parameters.stats(resolver).await)
}

/// A body that is ready, without a copy.
fn json(body: Bytes) -> HttpResponse {
    let mut response = HttpResponse::new(StatusCode::OK);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.set_body(actix_web::body::BoxBody::new(body))
}

async fn list(caller: Caller, shared: Data<Shared>, db: Data<Db>, request: HttpRequest) -> ApiResult {
    let sight = sight(&caller)?;
    let parameters = Parameters::read(&caller, request.query_string(), true)?;
    let bad =
        |message: &'static str, detail: &str| Error::new(ErrorCode::InvalidParameter, message).field("ids", detail);
    let given = parameters.ids.as_deref();
    let given =
        given.ok_or_else(|| bad("ids query parameter required", "is required: identifiers, comma-separated"))?;
    let mut asked = Vec::new();
    for raw in given.split(',') {
        asked.extend(Identifier::read("ids", raw)?);
        if asked.len() > MOST_IDENTIFIERS {
            return Err(Error::parameter("ids", format!("takes at most {MOST_IDENTIFIERS} identifiers")).into());
        }
    }
    if asked.is_empty() {
        return Err(bad("No valid identifiers provided", "holds nothing but blanks").into());
    }
    let answers = shared.resolver.resolve_all(&db, &sight, &asked).await;
    let shown = answers.iter().zip(&asked);
    let shown: Vec<Shown<'_>> =
        shown.map(|((answer, cached), asked)| answer.show(asked.text, *cached).in_list(asked.text)).collect();
    body(shown, parameters.stats(&shared.resolver).await)
}

#[derive(Serialize)]
struct Cleared {
    status: &'static str,
    message: &'static str,
}

async fn reset(caller: Caller, shared: Data<Shared>, request: HttpRequest) -> ApiResult {
    caller.identity().require("tenantresolve_cache", Action::Delete)?;
    query::tenant_only(request.query_string())?;
    shared.resolver.reset();
    shared.herald.announce_reset().await.map_err(|e| {
        let message = "This replica's cache was cleared, but the others could not be told: try again shortly.";
        Error { message: message.into(), ..e }
    })?;
    let cleared = Cleared { status: "success", message: "Tenant resolve cache cleared" };
    Ok(envelope::json(StatusCode::OK, serde_json::to_vec(&cleared).map_err(Error::internal)?))
}

/// For superadmins through the gateway, and for whoever may read `/metrics` directly.
async fn metrics(request: HttpRequest, shared: Data<Shared>) -> ApiResult {
    if request.headers().contains_key(INTERNAL_TOKEN) {
        let caller = Caller::extract(&request).await?;
        caller.identity().require("tenantresolve_cache", Action::Read)?;
    } else {
        shared.metrics.check(&request)?;
    }
    Ok(metrics_text(shared.resolver.stats().await.prometheus()))
}
