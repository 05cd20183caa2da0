//! `/api/notifications`: one's own.

use actix_web::{HttpRequest, web, web::ServiceConfig};
use aisha_auth::{Action, Principal};
use aisha_db::Db;
use aisha_http::{
    ApiResult, Caller, ok,
    record::{
        handlers::{ObjectBody, path_id},
        query,
    },
};
use aisha_kernel::{Error, TenantId, cursor::Cursor};
use aisha_operations::notification::{
    Inbox, KINDS, NotificationFilter, notification_delete, notification_list, notification_read, notification_settings,
    notification_settings_set, notifications_read_all,
};
use serde::Serialize;
use serde_json::json;

const RESOURCE: &str = "notifications";

/// Mounts the routes.
pub fn routes(cfg: &mut ServiceConfig) {
    cfg.service(web::resource("/api/notifications").route(web::get().to(list)))
        .service(web::resource("/api/notifications/read-all").route(web::post().to(read_all)))
        .service(
            web::resource("/api/notifications/settings")
                .route(web::get().to(settings))
                .route(web::put().to(settings_set)),
        )
        .service(web::resource("/api/notifications/{id}").route(web::delete().to(delete)))
        .service(web::resource("/api/notifications/{id}/read").route(web::post().to(read)));
}

#[derive(Serialize)]
struct Listed {
    #[serde(flatten)]
    inbox: Inbox,
    limit: i64,
    offset: i64,
}

async fn list(caller: Caller, db: web::Data<Db>, request: HttpRequest) -> ApiResult {
    let (mut tenant, mut limit, mut offset, mut cursor) = (None, query::DEFAULT_LIMIT, 0, None);
    let mut filter = NotificationFilter::default();
    for (name, text) in query::pairs(request.query_string())? {
        match name.as_str() {
            "tenant_id" => tenant = Some(TenantId::parse(&text)?),
            "limit" => limit = query::number("limit", &text, 1, query::MAX_LIMIT)?,
            "offset" => offset = query::number("offset", &text, 0, query::MAX_OFFSET)?,
            "cursor" => {
                cursor = Some(Cursor::decode(&text).map_err(Error::from)?);
            }
            "is_read" => {
                let flag = text.parse().map_err(|_| Error::parameter("is_read", "must be true or false"))?;
                filter.is_read = Some(flag);
            }
            "type" => {
                if !KINDS.iter().any(|(kind, _)| *kind == text) {
                    let names: Vec<&str> = KINDS.iter().map(|(kind, _)| *kind).collect();
                    return Err(Error::parameter("type", format!("must be one of: {}", names.join(", "))).into());
                }
                filter.kind = Some(text);
            }
            _ => return Err(Error::parameter(name, "is not a parameter of this list").into()),
        }
    }
    if cursor.is_some() && offset > 0 {
        return Err(Error::parameter("offset", "cannot be combined with cursor").into());
    }
    let me = caller.in_tenant(tenant)?;
    me.require(RESOURCE, Action::Read)?;
    let inbox = notification_list(&db, &me, &filter, cursor.as_ref(), (limit, offset)).await?;
    Ok(ok(Listed { inbox, limit, offset }))
}

fn person(caller: &Caller, request: &HttpRequest, action: Action) -> Result<Principal, Error> {
    let me = caller.in_tenant(query::tenant_only(request.query_string())?)?;
    me.require(RESOURCE, action)?;
    Ok(me)
}

/// Marking as read is part of reading: it is open to those who may only read.
async fn read(caller: Caller, db: web::Data<Db>, request: HttpRequest) -> ApiResult {
    let me = person(&caller, &request, Action::Read)?;
    Ok(ok(notification_read(&db, &me, caller.context(), path_id(&request)?).await?))
}

async fn read_all(caller: Caller, db: web::Data<Db>, request: HttpRequest) -> ApiResult {
    let me = person(&caller, &request, Action::Read)?;
    let updated = notifications_read_all(&db, &me, caller.context()).await?;
    Ok(ok(json!({ "updated": updated })))
}

async fn delete(caller: Caller, db: web::Data<Db>, request: HttpRequest) -> ApiResult {
    let me = person(&caller, &request, Action::Delete)?;
    let id = path_id(&request)?;
    notification_delete(&db, &me, caller.context(), id).await?;
    Ok(ok(json!({ "id": id })))
}

async fn settings(caller: Caller, db: web::Data<Db>, request: HttpRequest) -> ApiResult {
    let me = person(&caller, &request, Action::Read)?;
    Ok(ok(notification_settings(&db, &me).await?))
}

async fn settings_set(caller: Caller, db: web::Data<Db>, request: HttpRequest, payload: web::Payload) -> ApiResult {
    let body = ObjectBody::read(&request, &mut payload.into_inner()).await?;
    let me = caller.in_tenant(body.tenant_id)?;
    me.require(RESOURCE, Action::Update)?;
    Ok(ok(notification_settings_set(&db, &me, caller.context(), body.map).await?))
}
