//! `/api/permissions`: the rights that a tenant's custom roles are made of.
//!
//! Here and not in the gateway, because they are a tenant's own settings, kept under row-level security like its custom
//! fields; the gateway only reads what they come to, when it looks a session up.

use actix_web::{HttpRequest, http::StatusCode, web, web::ServiceConfig};
use aisha_db::{Db, record::changes::Mode};
use aisha_http::{
    ApiResult, Caller, ok,
    record::{
        handlers::{ObjectBody, path_id},
        idempotency::Reply,
        query::{self, MAX_LIMIT},
    },
};
use aisha_kernel::{Error, TenantId};
use aisha_tenancy::permission::{
    Permission, PermissionInput, permission_create, permission_delete, permission_list, permission_read,
    permission_update,
};
use serde::Serialize;

/// Mounts the routes.
pub fn routes(cfg: &mut ServiceConfig) {
    cfg.service(web::resource("/api/permissions").route(web::get().to(list)).route(web::post().to(create))).service(
        web::resource("/api/permissions/{id}")
            .route(web::get().to(read))
            .route(web::put().to(update))
            .route(web::patch().to(update))
            .route(web::delete().to(delete)),
    );
}

#[derive(Serialize)]
struct Listed {
    permissions: Vec<Permission>,
    total: i64,
    limit: i64,
    offset: i64,
}

async fn list(caller: Caller, db: web::Data<Db>, request: HttpRequest) -> ApiResult {
    let (mut tenant, mut limit, mut offset) = (None, query::DEFAULT_LIMIT, 0);
    for (name, text) in query::pairs(request.query_string())? {
        match name.as_str() {
            "tenant_id" => tenant = Some(TenantId::parse(&text)?),
            "limit" => limit = query::number("limit", &text, 1, MAX_LIMIT)?,
            "offset" => offset = query::number("offset", &text, 0, query::MAX_OFFSET)?,
            _ => return Err(Error::parameter(name, "is not a parameter of this list").into()),
        }
    }
    let (permissions, total) = permission_list(&db, &caller.in_tenant(tenant)?, limit, offset).await?;
    Ok(ok(Listed { permissions, total, limit, offset }))
}

async fn create(caller: Caller, db: web::Data<Db>, request: HttpRequest, payload: web::Payload) -> ApiResult {
    let body = ObjectBody::read(&request, &mut payload.into_inner()).await?;
    let me = caller.in_tenant(body.tenant_id)?;
    let input = PermissionInput::read(body.map, Mode::Create)?;
    let permission = permission_create(&db, &me, caller.context(), &input).await?;
    let at = format!("/api/permissions/{}", permission.id);
    Ok(Reply::new(StatusCode::CREATED, &permission)?.at(at).into_response())
}

async fn read(caller: Caller, db: web::Data<Db>, request: HttpRequest) -> ApiResult {
    let me = caller.in_tenant(query::tenant_only(request.query_string())?)?;
    Ok(ok(permission_read(&db, &me, path_id(&request)?).await?))
}

async fn update(caller: Caller, db: web::Data<Db>, request: HttpRequest, payload: web::Payload) -> ApiResult {
    let id = path_id(&request)?;
    let body = ObjectBody::read(&request, &mut payload.into_inner()).await?;
    let me = caller.in_tenant(body.tenant_id)?;
    let input = PermissionInput::read(body.map, Mode::Update)?;
    Ok(ok(permission_update(&db, &me, caller.context(), id, &input).await?))
}

async fn delete(caller: Caller, db: web::Data<Db>, request: HttpRequest) -> ApiResult {
    let id = path_id(&request)?;
    let me = caller.in_tenant(query::tenant_only(request.query_string())?)?;
    permission_delete(&db, &me, caller.context(), id).await?;
    Ok(ok(serde_json::json!({ "id": id })))
}
