//! `/api/webhooks`: subscriptions, their secrets, pausing, tests. The log and replays stand beside.

mod log;
mod replay;

use super::ENTITIES;
use actix_web::{HttpRequest, http::StatusCode, web, web::ServiceConfig};
use aisha_auth::{Action, Principal, sealing::Sealer};
use aisha_clients::outbound::Guard;
use aisha_db::{Db, record::changes::Mode};
use aisha_http::{
    ApiResult, Caller, body, form, ok,
    record::{
        handlers::{ObjectBody, expected, path_id},
        idempotency::{Claim, Reply, claim, once},
        query,
    },
};
use aisha_kernel::{Error, ErrorCode, TenantId};
use aisha_webhooks::{
    lifecycle::{webhook_pause, webhook_rotate_secret},
    pattern::known_events,
    subscription::{
        Webhook, WebhookFilter, webhook_create, webhook_delete, webhook_list, webhook_read, webhook_update,
    },
    subscription_input::WebhookInput,
    test_send::webhook_test,
};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use serde_json::{Value, json};
use std::cell::RefCell;
use url::Url;
use uuid::Uuid;

/// The permission that all of it takes: addresses and bodies hold more than most people of a tenant may see.
const RESOURCE: &str = "webhooks";

/// Whether the platform delivers at all (`WEBHOOKS_ENABLED`).
#[derive(Debug, Clone, Copy)]
pub struct Enabled(pub bool);

impl Enabled {
    /// 409 while nothing is delivered: what would be taken on now would only pile up.
    fn require(self) -> Result<(), Error> {
        if self.0 {
            return Ok(());
        }
        Err(Error::conflict("Webhooks are switched off on this platform (WEBHOOKS_ENABLED): nothing is taken on."))
    }
}

/// Mounts the routes.
pub fn routes(cfg: &mut ServiceConfig) {
    let one = "/api/webhooks/{id}";
    cfg.service(web::resource("/api/webhooks").route(web::get().to(list)).route(web::post().to(create)))
        .service(web::resource("/api/webhooks/events").route(web::get().to(events)))
        .service(
            web::resource(one)
                .route(web::get().to(read))
                .route(web::put().to(update))
                .route(web::patch().to(update))
                .route(web::delete().to(delete)),
        )
        .service(web::resource(format!("{one}/rotate-secret")).route(web::post().to(rotate)))
        .service(web::resource(format!("{one}/pause")).route(web::post().to(pause)))
        .service(web::resource(format!("{one}/resume")).route(web::post().to(resume)))
        .service(web::resource(format!("{one}/test")).route(web::post().to(test)));
    log::routes(cfg);
    replay::routes(cfg);
}

/// The caller in the tenant of a request that only reads and takes no other parameter.
fn reader(caller: &Caller, request: &HttpRequest) -> Result<Principal, Error> {
    let me = caller.in_tenant(query::tenant_only(request.query_string())?)?;
    me.require(RESOURCE, Action::Read)?;
    Ok(me)
}

/// The caller of a request that says all in its path: no body, or an object that names the tenant at most.
async fn doer(
    caller: &Caller,
    request: &HttpRequest,
    payload: web::Payload,
    action: Action,
) -> Result<(Principal, Option<Claim>), Error> {
    let bytes = body::read(request.headers(), &mut payload.into_inner(), body::MAX_BODY).await?;
    let in_query = query::tenant_only(request.query_string())?;
    let mut in_body = None;
    let mut other = None;
    if !bytes.is_empty() {
        body::require_json(request.headers())?;
        let body::Object(map) = body::parse(&bytes)?;
        in_body = match map.get("tenant_id") {
            None | Some(Value::Null) => None,
            Some(Value::String(s)) => Some(TenantId::parse(s)?),
            Some(_) => return Err(Error::parameter("tenant_id", "must be a UUID")),
        };
        other = map.keys().find(|key| *key != "tenant_id").cloned();
    }
    if in_query.zip(in_body).is_some_and(|(a, b)| a != b) {
        return Err(Error::new(ErrorCode::InvalidTenant, "Access denied: Invalid tenant"));
    }
    let me = caller.in_tenant(in_query.or(in_body))?;
    me.require(RESOURCE, action)?;
    if let Some(other) = other {
        return Err(Error::invalid(other, "is not a field of this request"));
    }
    Ok((me, claim(request, &bytes)?))
}

#[derive(Serialize)]
struct Listed {
    webhooks: Vec<Webhook>,
    total: i64,
    limit: i64,
    offset: i64,
}

async fn list(caller: Caller, db: web::Data<Db>, request: HttpRequest) -> ApiResult {
    let mut filter = WebhookFilter { is_active: None, limit: query::DEFAULT_LIMIT, offset: 0 };
    let mut tenant = None;
    for (name, text) in query::pairs(request.query_string())? {
        match name.as_str() {
            "tenant_id" => tenant = Some(TenantId::parse(&text)?),
            "limit" => filter.limit = query::number("limit", &text, 1, query::MAX_LIMIT)?,
            "offset" => filter.offset = query::number("offset", &text, 0, query::MAX_OFFSET)?,
            "is_active" | "active" => {
                let wrong = |_| Error::parameter(name.clone(), "must be true or false");
                filter.is_active = Some(form::truth(&name, &text).map_err(wrong)?);
            }
            _ => return Err(Error::parameter(name, "is not a parameter of this list").into()),
        }
    }
    let me = caller.in_tenant(tenant)?;
    me.require(RESOURCE, Action::Read)?;
    let (webhooks, total) = webhook_list(&db, &me, &filter).await?;
    Ok(ok(Listed { webhooks, total, limit: filter.limit, offset: filter.offset }))
}

/// What can be asked for.
async fn events(caller: Caller, request: HttpRequest) -> ApiResult {
    reader(&caller, &request)?;
    let events = known_events(ENTITIES);
    Ok(ok(json!({ "total": events.len(), "events": events })))
}

async fn read(caller: Caller, db: web::Data<Db>, request: HttpRequest) -> ApiResult {
    let me = reader(&caller, &request)?;
    let webhook = webhook_read(&db, &me, path_id(&request)?).await?;
    Ok(Reply::new(StatusCode::OK, &webhook)?.version(webhook.version).into_response())
}

/// Refuses an address that requests may not be sent to as things are now; each request is judged again.
async fn reachable(guard: &Guard, url: Option<&Url>) -> Result<(), Error> {
    match url {
        Some(url) => guard.check(url).await.map_err(|e| Error::invalid("url", e.to_string())),
        None => Ok(()),
    }
}

fn shown(status: StatusCode, webhook: &Webhook) -> Result<Reply, Error> {
    let at = format!("/api/webhooks/{}", webhook.id);
    let reply = Reply::new(status, webhook)?.version(webhook.version);
    Ok(if status == StatusCode::CREATED { reply.at(at) } else { reply })
}

#[derive(Serialize)]
struct WithSecret<'a> {
    #[serde(flatten)]
    webhook: &'a Webhook,
    secret: &'a str,
}

/// The one answer that has the secret. What is stored for a repetition of the request does not have it: somebody whose
/// answer got lost makes a new one.
fn once_with_secret(status: StatusCode, stored: Reply, fresh: Option<(Webhook, SecretString)>) -> ApiResult {
    let Some((webhook, secret)) = fresh else { return Ok(stored.into_response()) };
    let all = WithSecret { webhook: &webhook, secret: secret.expose_secret() };
    let reply = Reply::new(status, &all)?.version(webhook.version);
    let created = status == StatusCode::CREATED;
    Ok(if created { reply.at(format!("/api/webhooks/{}", webhook.id)) } else { reply }.into_response())
}

async fn create(
    caller: Caller,
    db: web::Data<Db>,
    sealer: web::Data<Sealer>,
    guard: web::Data<Guard>,
    request: HttpRequest,
    payload: web::Payload,
) -> ApiResult {
    let body = ObjectBody::read(&request, &mut payload.into_inner()).await?;
    let me = caller.in_tenant(body.tenant_id)?;
    me.require(RESOURCE, Action::Create)?;
    let input = WebhookInput::read(body.map, Mode::Create, ENTITIES)?;
    reachable(&guard, input.url()).await?;
    let fresh = RefCell::new(None);
    let stored = once(&db, &me, caller.context(), body.claim.as_ref(), async |tx| {
        let (webhook, secret) = webhook_create(tx, &sealer, &input).await?;
        let reply = shown(StatusCode::CREATED, &webhook);
        fresh.replace(Some((webhook, secret)));
        reply
    })
    .await?;
    once_with_secret(StatusCode::CREATED, stored, fresh.into_inner())
}

async fn update(
    caller: Caller,
    db: web::Data<Db>,
    sealer: web::Data<Sealer>,
    guard: web::Data<Guard>,
    request: HttpRequest,
    payload: web::Payload,
) -> ApiResult {
    let (id, expected) = (path_id(&request)?, expected(&request)?);
    let body = ObjectBody::read(&request, &mut payload.into_inner()).await?;
    let me = caller.in_tenant(body.tenant_id)?;
    me.require(RESOURCE, Action::Update)?;
    let input = WebhookInput::read(body.map, Mode::Update, ENTITIES)?;
    reachable(&guard, input.url()).await?;
    let reply = once(&db, &me, caller.context(), body.claim.as_ref(), async |tx| {
        shown(StatusCode::OK, &webhook_update(tx, &sealer, id, &input, expected).await?)
    })
    .await?;
    Ok(reply.into_response())
}

async fn delete(caller: Caller, db: web::Data<Db>, request: HttpRequest) -> ApiResult {
    let (id, expected) = (path_id(&request)?, expected(&request)?);
    let me = caller.in_tenant(query::tenant_only(request.query_string())?)?;
    me.require(RESOURCE, Action::Delete)?;
    let reply = once(&db, &me, caller.context(), claim(&request, &[])?.as_ref(), async |tx| {
        webhook_delete(tx, id, expected).await?;
        Reply::new(StatusCode::OK, &json!({ "id": id }))
    })
    .await?;
    Ok(reply.into_response())
}

async fn rotate(
    caller: Caller,
    db: web::Data<Db>,
    sealer: web::Data<Sealer>,
    request: HttpRequest,
    payload: web::Payload,
) -> ApiResult {
    let (id, expected) = (path_id(&request)?, expected(&request)?);
    let (me, claim) = doer(&caller, &request, payload, Action::Update).await?;
    let fresh = RefCell::new(None);
    let stored = once(&db, &me, caller.context(), claim.as_ref(), async |tx| {
        let (webhook, secret) = webhook_rotate_secret(tx, &sealer, id, expected).await?;
        let reply = shown(StatusCode::OK, &webhook);
        fresh.replace(Some((webhook, secret)));
        reply
    })
    .await?;
    once_with_secret(StatusCode::OK, stored, fresh.into_inner())
}

async fn set_paused(caller: &Caller, db: &Db, request: &HttpRequest, payload: web::Payload, paused: bool) -> ApiResult {
    let (id, expected) = (path_id(request)?, expected(request)?);
    let (me, claim) = doer(caller, request, payload, Action::Update).await?;
    let reply = once(db, &me, caller.context(), claim.as_ref(), async |tx| {
        shown(StatusCode::OK, &webhook_pause(tx, id, paused, expected).await?)
    })
    .await?;
    Ok(reply.into_response())
}

async fn pause(caller: Caller, db: web::Data<Db>, request: HttpRequest, payload: web::Payload) -> ApiResult {
    set_paused(&caller, &db, &request, payload, true).await
}

async fn resume(caller: Caller, db: web::Data<Db>, request: HttpRequest, payload: web::Payload) -> ApiResult {
    set_paused(&caller, &db, &request, payload, false).await
}

/// Where a delivery is found.
fn delivery_at(webhook: Uuid, id: Uuid) -> String {
    format!("/api/webhooks/{webhook}/deliveries/{id}")
}

async fn test(
    caller: Caller,
    db: web::Data<Db>,
    enabled: web::Data<Enabled>,
    request: HttpRequest,
    payload: web::Payload,
) -> ApiResult {
    let id = path_id(&request)?;
    let (me, claim) = doer(&caller, &request, payload, Action::Update).await?;
    let reply = once(&db, &me, caller.context(), claim.as_ref(), async |tx| {
        let delivery = webhook_test(tx, id).await?;
        enabled.require()?;
        Ok(Reply::new(StatusCode::ACCEPTED, &delivery)?.at(delivery_at(id, delivery.id)))
    })
    .await?;
    Ok(reply.into_response())
}
