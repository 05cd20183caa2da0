//! `/api/system-settings`: settings of the platform, for superadmins. They belong to no tenant.

use actix_web::{HttpRequest, http::StatusCode, web, web::ServiceConfig};
use aisha_auth::sealing::Sealer;
use aisha_db::Db;
use aisha_http::{
    ApiResult, Caller,
    body::{Json, Object},
    ok,
    record::{idempotency::Reply, query},
};
use aisha_kernel::Error;
use aisha_tenancy::system_setting::{
    SystemSetting, SystemSettingInput, system_setting_delete, system_setting_list, system_setting_read,
    system_setting_set,
};
use serde::Serialize;

/// Mounts the routes.
pub fn routes(cfg: &mut ServiceConfig) {
    cfg.service(web::resource("/api/system-settings").route(web::get().to(list))).service(
        web::resource("/api/system-settings/{key}")
            .route(web::get().to(read))
            .route(web::put().to(set))
            .route(web::delete().to(delete)),
    );
}

#[derive(Serialize)]
struct Listed {
    total: usize,
    systemsettings: Vec<SystemSetting>,
}

/// These routes take no parameters, least of all a tenant.
fn no_parameters(request: &HttpRequest) -> Result<(), Error> {
    match query::pairs(request.query_string())?.into_iter().next() {
        Some((name, _)) => Err(Error::parameter(name, "is not a parameter of this request")),
        None => Ok(()),
    }
}

async fn list(caller: Caller, db: web::Data<Db>, request: HttpRequest) -> ApiResult {
    no_parameters(&request)?;
    let systemsettings = system_setting_list(&db, caller.identity(), caller.context()).await?;
    Ok(ok(Listed { total: systemsettings.len(), systemsettings }))
}

async fn read(caller: Caller, db: web::Data<Db>, key: web::Path<String>, request: HttpRequest) -> ApiResult {
    no_parameters(&request)?;
    Ok(ok(system_setting_read(&db, caller.identity(), caller.context(), &key).await?))
}

async fn set(
    caller: Caller,
    db: web::Data<Db>,
    sealer: web::Data<Sealer>,
    key: web::Path<String>,
    request: HttpRequest,
    body: Json<Object>,
) -> ApiResult {
    no_parameters(&request)?;
    let me = caller.identity();
    // Before the body is looked at: who may not set anything is told nothing about settings.
    me.require("system_settings", aisha_auth::Action::Update)?;
    let input = SystemSettingInput::read(&key, body.0.0)?;
    let (setting, new) = system_setting_set(&db, me, caller.context(), &sealer, &input).await?;
    let status = if new { StatusCode::CREATED } else { StatusCode::OK };
    Ok(Reply::new(status, &setting)?.into_response())
}

async fn delete(caller: Caller, db: web::Data<Db>, key: web::Path<String>, request: HttpRequest) -> ApiResult {
    no_parameters(&request)?;
    system_setting_delete(&db, caller.identity(), caller.context(), &key).await?;
    Ok(ok(serde_json::json!({ "setting_key": key.as_str() })))
}
