//! `/api/customfields`: the definitions of a tenant's own fields.

use super::ENTITIES;
use actix_web::{HttpRequest, http::StatusCode, web, web::ServiceConfig};
use aisha_db::{Db, record::changes::Mode};
use aisha_http::{
    ApiResult, Caller, ok,
    record::{
        handlers::{ObjectBody, path_id},
        idempotency::Reply,
        query,
    },
};
use aisha_kernel::{Error, TenantId};
use aisha_tenancy::custom_field::{
    CustomField, CustomFieldInput, custom_field_create, custom_field_delete, custom_field_list, custom_field_update,
};
use serde::Serialize;

/// Mounts the routes.
pub fn routes(cfg: &mut ServiceConfig) {
    cfg.service(web::resource("/api/customfields").route(web::get().to(list)).route(web::post().to(create))).service(
        web::resource("/api/customfields/{id}")
            .route(web::put().to(update))
            .route(web::patch().to(update))
            .route(web::delete().to(delete)),
    );
}

#[derive(Serialize)]
struct Listed {
    total: usize,
    customfields: Vec<CustomField>,
}

async fn list(caller: Caller, db: web::Data<Db>, request: HttpRequest) -> ApiResult {
    let (mut tenant, mut entity) = (None, None);
    for (name, text) in query::pairs(request.query_string())? {
        match name.as_str() {
            "tenant_id" => tenant = Some(TenantId::parse(&text)?),
            "entity" if ENTITIES.contains(&text.as_str()) => entity = Some(text),
            "entity" => return Err(Error::parameter(name, format!("must be one of: {}", ENTITIES.join(", "))).into()),
            _ => return Err(Error::parameter(name, "is not a parameter of this list").into()),
        }
    }
    let customfields = custom_field_list(&db, &caller.in_tenant(tenant)?, entity.as_deref()).await?;
    Ok(ok(Listed { total: customfields.len(), customfields }))
}

async fn create(caller: Caller, db: web::Data<Db>, request: HttpRequest, payload: web::Payload) -> ApiResult {
    let body = ObjectBody::read(&request, &mut payload.into_inner()).await?;
    let me = caller.in_tenant(body.tenant_id)?;
    let input = CustomFieldInput::read(body.map, Mode::Create, ENTITIES)?;
    let field = custom_field_create(&db, &me, caller.context(), &input).await?;
    let at = format!("/api/customfields/{}", field.id);
    Ok(Reply::new(StatusCode::CREATED, &field)?.at(at).into_response())
}

async fn update(caller: Caller, db: web::Data<Db>, request: HttpRequest, payload: web::Payload) -> ApiResult {
    let id = path_id(&request)?;
    let body = ObjectBody::read(&request, &mut payload.into_inner()).await?;
    let me = caller.in_tenant(body.tenant_id)?;
    let input = CustomFieldInput::read(body.map, Mode::Update, ENTITIES)?;
    Ok(ok(custom_field_update(&db, &me, caller.context(), id, &input).await?))
}

async fn delete(caller: Caller, db: web::Data<Db>, request: HttpRequest) -> ApiResult {
    let id = path_id(&request)?;
    let me = caller.in_tenant(query::tenant_only(request.query_string())?)?;
    custom_field_delete(&db, &me, caller.context(), id).await?;
    Ok(ok(serde_json::json!({ "id": id })))
}
