//! `/api/modulesettings`: which modules a tenant has on, and their settings.

use actix_web::{HttpRequest, http::StatusCode, web, web::ServiceConfig};
use aisha_auth::module::find;
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
use aisha_tenancy::module::{
    ModuleSettingInput, module_setting_delete, module_setting_list, module_setting_read, module_setting_update,
    module_setting_upsert, names,
};

/// Mounts the routes.
pub fn routes(cfg: &mut ServiceConfig) {
    cfg.service(web::resource("/api/modulesettings").route(web::get().to(list)).route(web::post().to(upsert))).service(
        web::resource("/api/modulesettings/{id}")
            .route(web::get().to(read))
            .route(web::put().to(update))
            .route(web::patch().to(update))
            .route(web::delete().to(delete)),
    );
}

async fn list(caller: Caller, db: web::Data<Db>, request: HttpRequest) -> ApiResult {
    let (mut tenant, mut module) = (None, None);
    for (name, text) in query::pairs(request.query_string())? {
        match name.as_str() {
            "tenant_id" => tenant = Some(TenantId::parse(&text)?),
            "module_name" | "module_id" => match find(&text) {
                Some(found) => module = Some(found.name),
                None => return Err(Error::parameter(name, format!("must be one of: {}", names())).into()),
            },
            _ => return Err(Error::parameter(name, "is not a parameter of this list").into()),
        }
    }
    Ok(ok(module_setting_list(&db, &caller.in_tenant(tenant)?, module).await?))
}

async fn upsert(caller: Caller, db: web::Data<Db>, request: HttpRequest, payload: web::Payload) -> ApiResult {
    let body = ObjectBody::read(&request, &mut payload.into_inner()).await?;
    let me = caller.in_tenant(body.tenant_id)?;
    let input = ModuleSettingInput::read(body.map, Mode::Create)?;
    let (setting, new) = module_setting_upsert(&db, &me, caller.context(), &input).await?;
    let status = if new { StatusCode::CREATED } else { StatusCode::OK };
    Ok(Reply::new(status, &setting)?.at(format!("/api/modulesettings/{}", setting.id)).into_response())
}

async fn read(caller: Caller, db: web::Data<Db>, request: HttpRequest) -> ApiResult {
    let me = caller.in_tenant(query::tenant_only(request.query_string())?)?;
    Ok(ok(module_setting_read(&db, &me, path_id(&request)?).await?))
}

async fn update(caller: Caller, db: web::Data<Db>, request: HttpRequest, payload: web::Payload) -> ApiResult {
    let id = path_id(&request)?;
    let body = ObjectBody::read(&request, &mut payload.into_inner()).await?;
    let me = caller.in_tenant(body.tenant_id)?;
    let input = ModuleSettingInput::read(body.map, Mode::Update)?;
    Ok(ok(module_setting_update(&db, &me, caller.context(), id, &input).await?))
}

async fn delete(caller: Caller, db: web::Data<Db>, request: HttpRequest) -> ApiResult {
    let id = path_id(&request)?;
    let me = caller.in_tenant(query::tenant_only(request.query_string())?)?;
    module_setting_delete(&db, &me, caller.context(), id).await?;
    Ok(ok(serde_json::json!({ "id": id })))
}
