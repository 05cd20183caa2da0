//! `/api/roles`: the built-in roles and a tenant's own.

use actix_web::{HttpRequest, web, web::ServiceConfig};
use aisha_db::Db;
use aisha_http::{
    ApiResult, Caller, ok,
    record::{handlers::ObjectBody, query},
};
use aisha_tenancy::role::{RoleInput, RoleView, role_delete, role_list, role_set};
use serde::Serialize;

/// Mounts the routes.
pub fn routes(cfg: &mut ServiceConfig) {
    cfg.service(web::resource("/api/roles").route(web::get().to(list)))
        .service(web::resource("/api/roles/{name}").route(web::put().to(set)).route(web::delete().to(delete)));
}

#[derive(Serialize)]
struct Listed {
    total: usize,
    roles: Vec<RoleView>,
}

async fn list(caller: Caller, db: web::Data<Db>, request: HttpRequest) -> ApiResult {
    let me = caller.in_tenant(query::tenant_only(request.query_string())?)?;
    let roles = role_list(&db, &me).await?;
    Ok(ok(Listed { total: roles.len(), roles }))
}

async fn set(
    caller: Caller,
    db: web::Data<Db>,
    name: web::Path<String>,
    request: HttpRequest,
    payload: web::Payload,
) -> ApiResult {
    let body = ObjectBody::read(&request, &mut payload.into_inner()).await?;
    let me = caller.in_tenant(body.tenant_id)?;
    let input = RoleInput::read(&body.map)?;
    Ok(ok(role_set(&db, &me, caller.context(), &name, &input).await?))
}

async fn delete(caller: Caller, db: web::Data<Db>, name: web::Path<String>, request: HttpRequest) -> ApiResult {
    let me = caller.in_tenant(query::tenant_only(request.query_string())?)?;
    role_delete(&db, &me, caller.context(), &name).await?;
    Ok(ok(serde_json::json!({ "name": name.trim() })))
}
