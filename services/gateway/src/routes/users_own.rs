//! One's own account and presence: for everybody who is signed in.

use super::{
    docs::{ErrorBody, OwnBody, Success},
    query::{live_status, tenant},
    users::with_etag,
};
use crate::{
    auth::Caller,
    state::{Worker, request_context},
};
use actix_web::{
    HttpRequest,
    web::{self, Data, Query, ServiceConfig},
};
use aisha_http::{ApiResult, body::Json, ok, record::handlers::expected};
use aisha_identity::user::{self, Presence, PresenceList, User};
use serde::Deserialize;
use serde_json::Value;
use utoipa::IntoParams;

/// The routes.
pub fn configure(cfg: &mut ServiceConfig) {
    cfg.service(web::resource("/api/users/heartbeat").route(web::post().to(heartbeat)))
        .service(web::resource("/api/users/presence").route(web::get().to(presence)))
        .service(
            web::resource("/api/users/me")
                .route(web::get().to(read))
                .route(web::put().to(update))
                .route(web::patch().to(patch)),
        );
}

/// The own account.
#[utoipa::path(get, path = "/api/users/me", operation_id = "users_me_read", tag = "users",
    responses((status = 200, description = "The user", body = Success<User>),
        (status = 401, description = "No valid credential", body = ErrorBody),
        (status = 429, description = "Too many requests", body = ErrorBody),
        (status = 503, description = "The database is away", body = ErrorBody)))]
pub async fn read(worker: Data<Worker>, caller: Caller) -> ApiResult {
    let user = user::myself(&worker.db, caller.identity()).await?;
    let version = user.version;
    Ok(with_etag(ok(user), version))
}

/// Changes the own names and `metadata.preferences`. Everything else is an admin's to change; what was read may be sent
/// back.
#[utoipa::path(put, path = "/api/users/me", operation_id = "users_me_update", tag = "users",
    params(("If-Match" = Option<String>, Header, description = "The ETag that the change is based on")),
    request_body = OwnBody,
    responses((status = 200, description = "The user", body = Success<User>),
        (status = 400, description = "Not JSON", body = ErrorBody),
        (status = 401, description = "No valid credential", body = ErrorBody),
        (status = 403, description = "An API key, or read-only access", body = ErrorBody),
        (status = 412, description = "The account was changed in the meantime", body = ErrorBody),
        (status = 422, description = "Fields are not valid, or not one's own to change", body = ErrorBody),
        (status = 429, description = "Too many requests", body = ErrorBody),
        (status = 503, description = "The database is away", body = ErrorBody)))]
pub async fn update(request: HttpRequest, worker: Data<Worker>, caller: Caller, body: Json<Value>) -> ApiResult {
    let (version, cx) = (expected(&request)?, request_context(&request)?);
    let user = user::update_myself(&worker.db, caller.identity(), &body.0, version, &cx).await?;
    let version = user.version;
    Ok(with_etag(ok(user), version))
}

/// The same as PUT: absent fields stay as they are in both.
#[utoipa::path(patch, path = "/api/users/me", operation_id = "users_me_patch", tag = "users",
    params(("If-Match" = Option<String>, Header, description = "The ETag that the change is based on")),
    request_body = OwnBody,
    responses((status = 200, description = "The user", body = Success<User>),
        (status = 400, description = "Not JSON", body = ErrorBody),
        (status = 401, description = "No valid credential", body = ErrorBody),
        (status = 403, description = "An API key, or read-only access", body = ErrorBody),
        (status = 412, description = "The account was changed in the meantime", body = ErrorBody),
        (status = 422, description = "Fields are not valid, or not one's own to change", body = ErrorBody),
        (status = 429, description = "Too many requests", body = ErrorBody),
        (status = 503, description = "The database is away", body = ErrorBody)))]
pub async fn patch(request: HttpRequest, worker: Data<Worker>, caller: Caller, body: Json<Value>) -> ApiResult {
    update(request, worker, caller, body).await
}

/// Says that one is there: to be called every half minute to minute while the application is open. A body is ignored.
#[utoipa::path(post, path = "/api/users/heartbeat", operation_id = "users_heartbeat", tag = "users",
    responses((status = 200, description = "One's own presence", body = Success<Presence>),
        (status = 401, description = "No valid credential", body = ErrorBody),
        (status = 403, description = "An API key", body = ErrorBody),
        (status = 429, description = "Too many requests", body = ErrorBody),
        (status = 503, description = "The database is away", body = ErrorBody)))]
pub async fn heartbeat(worker: Data<Worker>, caller: Caller) -> ApiResult {
    Ok(ok(user::heartbeat(&worker.db, caller.identity()).await?))
}

/// Whose presence.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct PresenceQuery {
    /// One's own tenant; required for a superadmin.
    tenant_id: Option<String>,
    /// `online` (seen within two minutes) or `offline`; everybody without it.
    live_status: Option<String>,
}

/// The active users of the tenant and who of them is there, for every colleague to see.
#[utoipa::path(get, path = "/api/users/presence", operation_id = "users_presence", tag = "users",
    params(PresenceQuery),
    responses((status = 200, description = "Who was seen last first", body = Success<PresenceList>),
        (status = 400, description = "A parameter is not valid, or a superadmin names no tenant", body = ErrorBody),
        (status = 401, description = "No valid credential", body = ErrorBody),
        (status = 403, description = "Another tenant, or a key that may not read users", body = ErrorBody),
        (status = 429, description = "Too many requests", body = ErrorBody),
        (status = 503, description = "The database is away", body = ErrorBody)))]
pub async fn presence(worker: Data<Worker>, caller: Caller, query: Query<PresenceQuery>) -> ApiResult {
    let tenant = tenant(query.tenant_id.as_deref())?;
    let online = live_status(query.live_status.as_deref())?;
    Ok(ok(user::presence(&worker.db, caller.identity(), tenant, online).await?))
}
