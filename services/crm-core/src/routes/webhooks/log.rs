//! `/api/webhooks/{id}/deliveries`, `…/ledger`, `…/metrics`: what became of the events of a subscription.

use super::{Enabled, RESOURCE, delivery_at, doer, reader};
use actix_web::{HttpRequest, http::StatusCode, web, web::ServiceConfig};
use aisha_auth::Action;
use aisha_db::{
    Db,
    record::{Count, value::timestamp},
};
use aisha_http::{
    ApiResult, Caller, ok,
    record::{
        handlers::path_id,
        idempotency::{Reply, once},
        query,
    },
};
use aisha_kernel::{Error, TenantId, cursor::Cursor};
use aisha_webhooks::{
    delivery_log::{DeliveryFilter, STATES, delivery_list, delivery_read, delivery_resend},
    ledger::ledger_read,
    metrics::metrics_read,
};
use uuid::Uuid;

/// Mounts the routes.
pub(super) fn routes(cfg: &mut ServiceConfig) {
    let deliveries = "/api/webhooks/{id}/deliveries";
    cfg.service(web::resource(deliveries).route(web::get().to(list)))
        .service(web::resource(format!("{deliveries}/{{delivery_id}}")).route(web::get().to(read)))
        .service(web::resource(format!("{deliveries}/{{delivery_id}}/resend")).route(web::post().to(resend)))
        .service(web::resource("/api/webhooks/{id}/ledger").route(web::get().to(ledger)))
        .service(web::resource("/api/webhooks/{id}/metrics").route(web::get().to(metrics)));
}

/// A second id in the path.
pub(super) fn second_id(request: &HttpRequest, name: &'static str) -> Result<Uuid, Error> {
    let text = request.match_info().get(name).unwrap_or_default();
    Uuid::parse_str(text).map_err(|_| Error::parameter(name, "must be a UUID"))
}

async fn list(caller: Caller, db: web::Data<Db>, request: HttpRequest) -> ApiResult {
    let webhook = path_id(&request)?;
    let mut filter = DeliveryFilter { limit: query::DEFAULT_LIMIT, ..DeliveryFilter::default() };
    let mut tenant = None;
    for (name, text) in query::pairs(request.query_string())? {
        let time = || timestamp(&text).map_err(|what| Error::parameter(name.clone(), what));
        match name.as_str() {
            "tenant_id" => tenant = Some(TenantId::parse(&text)?),
            "limit" => filter.limit = query::number("limit", &text, 1, query::MAX_LIMIT)?,
            "offset" => filter.offset = query::number("offset", &text, 0, query::MAX_OFFSET)?,
            "cursor" => {
                let cursor = Cursor::decode(&text).map_err(Error::from)?;
                filter.cursor = Some(cursor);
            }
            "count" => {
                filter.count = match text.as_str() {
                    "exact" => Count::Exact,
                    "none" => Count::None,
                    "capped" => Count::Capped,
                    _ => return Err(Error::parameter("count", "must be exact, capped or none").into()),
                };
            }
            "state" => {
                let known = STATES.into_iter().find(|known| *known == text);
                let wrong = || Error::parameter("state", format!("must be one of: {}", STATES.join(", ")));
                filter.state = Some(known.ok_or_else(wrong)?);
            }
            "event" => filter.event = Some(text.replace('\0', "")),
            "event_id" => {
                let id = Uuid::parse_str(&text).map_err(|_| Error::parameter("event_id", "must be a UUID"))?;
                filter.event_id = Some(id);
            }
            "from" => filter.from = Some(time()?),
            "to" => filter.to = Some(time()?),
            _ => return Err(Error::parameter(name, "is not a parameter of this list").into()),
        }
    }
    if filter.cursor.is_some() && filter.offset > 0 {
        return Err(Error::parameter("offset", "cannot be combined with cursor").into());
    }
    let me = caller.in_tenant(tenant)?;
    me.require(RESOURCE, Action::Read)?;
    Ok(ok(delivery_list(&db, &me, webhook, &filter).await?))
}

async fn read(caller: Caller, db: web::Data<Db>, request: HttpRequest) -> ApiResult {
    let (webhook, id) = (path_id(&request)?, second_id(&request, "delivery_id")?);
    let me = reader(&caller, &request)?;
    Ok(ok(delivery_read(&db, &me, webhook, id).await?))
}

async fn resend(
    caller: Caller,
    db: web::Data<Db>,
    enabled: web::Data<Enabled>,
    request: HttpRequest,
    payload: web::Payload,
) -> ApiResult {
    let (webhook, id) = (path_id(&request)?, second_id(&request, "delivery_id")?);
    let (me, claim) = doer(&caller, &request, payload, Action::Update).await?;
    let reply = once(&db, &me, caller.context(), claim.as_ref(), async |tx| {
        let delivery = delivery_resend(tx, webhook, id).await?;
        enabled.require()?;
        Ok(Reply::new(StatusCode::ACCEPTED, &delivery)?.at(delivery_at(webhook, id)))
    })
    .await?;
    Ok(reply.into_response())
}

async fn ledger(caller: Caller, db: web::Data<Db>, request: HttpRequest) -> ApiResult {
    let me = reader(&caller, &request)?;
    Ok(ok(ledger_read(&db, &me, path_id(&request)?).await?))
}

async fn metrics(caller: Caller, db: web::Data<Db>, request: HttpRequest) -> ApiResult {
    let me = reader(&caller, &request)?;
    Ok(ok(metrics_read(&db, &me, path_id(&request)?).await?))
}
