//! API keys: everybody manages the own ones, admins those of the tenant.

use super::{
    docs::{ApiKeyBody, Deleted, ErrorBody, Success},
    query::{TenantQuery, tenant},
};
use crate::{
    auth::Caller,
    state::{Worker, request_context},
};
use actix_web::{
    HttpRequest,
    web::{self, Data, Path, Query, ServiceConfig},
};
use aisha_http::{ApiResult, body::Json, created, ok};
use aisha_identity::api_key::{self, ApiKey, ApiKeyInput};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

/// The routes.
pub fn configure(cfg: &mut ServiceConfig) {
    cfg.service(web::resource("/api/apikeys").route(web::get().to(list)).route(web::post().to(create)))
        .route("/api/apikeys/{id}", web::delete().to(delete));
}

/// Which keys.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ListQuery {
    /// At most this many, 1 to 200; 50 by default.
    limit: Option<i64>,
    /// After this many.
    offset: Option<i64>,
    /// The tenant; required for a superadmin.
    tenant_id: Option<String>,
}

/// A page of keys.
#[derive(Serialize, ToSchema)]
pub struct ApiKeys {
    /// The keys, newest first.
    apikeys: Vec<ApiKey>,
    /// How many there are in all.
    total: i64,
    /// The limit that was used.
    limit: i64,
    /// The offset that was used.
    offset: i64,
}

/// API keys that were not revoked, newest first.
#[utoipa::path(get, path = "/api/apikeys", operation_id = "apikeys_list", tag = "apikeys", params(ListQuery),
    responses((status = 200, description = "A page", body = Success<ApiKeys>),
        (status = 400, description = "A parameter is not valid, or a superadmin names no tenant", body = ErrorBody),
        (status = 401, description = "No valid credential", body = ErrorBody),
        (status = 403, description = "Another tenant", body = ErrorBody),
        (status = 429, description = "Too many requests", body = ErrorBody),
        (status = 503, description = "The database is away", body = ErrorBody)))]
pub async fn list(worker: Data<Worker>, caller: Caller, query: Query<ListQuery>) -> ApiResult {
    let (limit, offset) = (query.limit.unwrap_or(50), query.offset.unwrap_or(0));
    let tenant = tenant(query.tenant_id.as_deref())?;
    let (apikeys, total) = api_key::list(&worker.db, caller.identity(), tenant, limit, offset).await?;
    Ok(ok(ApiKeys { apikeys, total, limit, offset }))
}

/// Makes a key. `data.key` is shown this once.
#[utoipa::path(post, path = "/api/apikeys", operation_id = "apikeys_create", tag = "apikeys", params(TenantQuery),
    request_body = ApiKeyBody,
    responses((status = 201, description = "The key", body = Success<ApiKey>),
        (status = 400, description = "Not JSON, or a superadmin names no tenant", body = ErrorBody),
        (status = 401, description = "No valid credential", body = ErrorBody),
        (status = 403, description = "Another tenant, somebody above, or an API key that asks", body = ErrorBody),
        (status = 409, description = "Too many keys", body = ErrorBody),
        (status = 422, description = "Fields are not valid", body = ErrorBody),
        (status = 429, description = "Too many requests", body = ErrorBody),
        (status = 503, description = "The database is away", body = ErrorBody)))]
pub async fn create(
    request: HttpRequest,
    worker: Data<Worker>,
    caller: Caller,
    query: Query<TenantQuery>,
    body: Json<Value>,
) -> ApiResult {
    let input = ApiKeyInput::parse(&body.0)?;
    let cx = request_context(&request)?;
    let key = api_key::create(&worker.db, caller.identity(), &input, query.tenant()?, &cx).await?;
    let location = format!("/api/apikeys/{}", key.id);
    Ok(created(key, &location))
}

/// Revokes a key.
#[utoipa::path(delete, path = "/api/apikeys/{id}", operation_id = "apikeys_delete", tag = "apikeys",
    params(("id" = Uuid, Path, description = "The key"), TenantQuery),
    responses((status = 200, description = "Revoked", body = Success<Deleted>),
        (status = 400, description = "The id is no UUID, or a superadmin names no tenant", body = ErrorBody),
        (status = 401, description = "No valid credential", body = ErrorBody),
        (status = 403, description = "Another tenant, or an API key that asks", body = ErrorBody),
        (status = 404, description = "No such key", body = ErrorBody),
        (status = 429, description = "Too many requests", body = ErrorBody),
        (status = 503, description = "The database is away", body = ErrorBody)))]
pub async fn delete(
    request: HttpRequest,
    worker: Data<Worker>,
    caller: Caller,
    query: Query<TenantQuery>,
    id: Path<Uuid>,
) -> ApiResult {
    let id = id.into_inner();
    let cx = request_context(&request)?;
    api_key::revoke(&worker.db, caller.identity(), id, query.tenant()?, &cx).await?;
    worker.shared.auth.forget_key(id);
    Ok(ok(Deleted { id }))
}
