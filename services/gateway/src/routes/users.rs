//! User accounts, for admins.

use super::{
    docs::{Deleted, ErrorBody, NewUserBody, Success, UserBody},
    invitations::send_invitation,
    query::{TenantQuery, live_status, tenant},
    users_files, users_own,
};
use crate::{
    auth::Caller,
    state::{Worker, request_context},
};
use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{self, HeaderValue},
    web::{self, Data, Path, Query, ServiceConfig},
};
use aisha_http::{ApiResult, body::Json, created, ok, record::handlers::expected};
use aisha_identity::{
    invitation::InvitedUser,
    user::{self, User, UserInput, UserPage, UserQuery},
};
use aisha_kernel::Error;
use serde::Deserialize;
use serde_json::Value;
use utoipa::IntoParams;
use uuid::Uuid;

/// The routes.
pub fn configure(cfg: &mut ServiceConfig) {
    users_files::configure(cfg);
    users_own::configure(cfg);
    cfg.service(web::resource("/api/users").route(web::get().to(list)).route(web::post().to(create)))
        .service(web::resource("/api/users/{id}/deactivate").route(web::post().to(deactivate)))
        .service(web::resource("/api/users/{id}/reactivate").route(web::post().to(reactivate)))
        .service(
            web::resource("/api/users/{id}")
                .route(web::get().to(read))
                .route(web::put().to(update))
                .route(web::patch().to(patch))
                .route(web::delete().to(delete)),
        );
}

/// Which users.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ListQuery {
    /// At most this many, 1 to 200; 50 by default.
    limit: Option<i64>,
    /// After this many.
    offset: Option<i64>,
    /// Of this tenant; a superadmin sees all without it.
    tenant_id: Option<String>,
    /// `superadmin`, `admin`, `manager` or `employee`.
    role: Option<String>,
    /// With exactly this address.
    email: Option<String>,
    /// Active or not.
    is_active: Option<bool>,
    /// `online` (seen within two minutes) or `offline`.
    live_status: Option<String>,
    /// With this text in name or address.
    q: Option<String>,
}

impl ListQuery {
    /// What it asks for.
    ///
    /// # Errors
    /// 400 naming the parameter.
    pub fn read(self) -> Result<UserQuery, Error> {
        let role = self
            .role
            .as_deref()
            .map(str::parse)
            .transpose()
            .map_err(|_| Error::parameter("role", "must be superadmin, admin, manager or employee"))?;
        Ok(UserQuery {
            limit: self.limit,
            offset: self.offset,
            tenant: tenant(self.tenant_id.as_deref())?,
            role,
            email: self.email,
            is_active: self.is_active,
            online: live_status(self.live_status.as_deref())?,
            q: self.q,
        })
    }
}

/// Users, newest first.
#[utoipa::path(get, path = "/api/users", operation_id = "users_list", tag = "users", params(ListQuery),
    responses((status = 200, description = "A page", body = Success<UserPage>),
        (status = 400, description = "A parameter is not valid", body = ErrorBody),
        (status = 401, description = "No valid credential", body = ErrorBody),
        (status = 403, description = "Not an admin, or another tenant", body = ErrorBody),
        (status = 429, description = "Too many requests", body = ErrorBody),
        (status = 503, description = "The database is away", body = ErrorBody)))]
pub async fn list(worker: Data<Worker>, caller: Caller, query: Query<ListQuery>) -> ApiResult {
    let query = query.into_inner().read()?;
    Ok(ok(user::list(&worker.db, caller.identity(), &query).await?))
}

/// Makes a user, with its employee record; with `send_invitation` the user gets a link to choose a password.
#[utoipa::path(post, path = "/api/users", operation_id = "users_create", tag = "users", params(TenantQuery),
    request_body = NewUserBody,
    responses((status = 201, description = "The user", body = Success<InvitedUser>),
        (status = 400, description = "Not JSON, or a tenant that is no UUID", body = ErrorBody),
        (status = 401, description = "No valid credential", body = ErrorBody),
        (status = 403, description = "Not an admin, a role above one's own, or another tenant", body = ErrorBody),
        (status = 409, description = "The e-mail address is taken", body = ErrorBody),
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
    let mut body = body.0;
    let invite = send_invitation(&mut body);
    let input = UserInput::parse(&body, true)?;
    let (me, tenant, cx) = (caller.identity(), query.tenant()?, request_context(&request)?);
    let made = if invite? {
        let made = user::create_invited(&worker.db, &worker.shared.credentials, me, input, tenant, &cx).await?;
        worker.shared.mail_queued.notify_one();
        made
    } else {
        InvitedUser { user: user::create(&worker.db, me, input, tenant, &cx).await?, invitation: None }
    };
    let location = format!("/api/users/{}", made.user.id);
    let version = made.user.version;
    Ok(with_etag(created(made, &location), version))
}

/// One user; everybody may read the own account.
#[utoipa::path(get, path = "/api/users/{id}", operation_id = "users_read", tag = "users",
    params(("id" = Uuid, Path, description = "The user")),
    responses((status = 200, description = "The user", body = Success<User>),
        (status = 400, description = "The id is no UUID", body = ErrorBody),
        (status = 401, description = "No valid credential", body = ErrorBody),
        (status = 403, description = "Not an admin", body = ErrorBody),
        (status = 404, description = "No such user", body = ErrorBody),
        (status = 429, description = "Too many requests", body = ErrorBody),
        (status = 503, description = "The database is away", body = ErrorBody)))]
pub async fn read(worker: Data<Worker>, caller: Caller, id: Path<Uuid>) -> ApiResult {
    let user = user::read(&worker.db, caller.identity(), id.into_inner()).await?;
    let version = user.version;
    Ok(with_etag(ok(user), version))
}

/// The version of a user as its ETag.
pub(super) fn with_etag(mut response: HttpResponse, version: i32) -> HttpResponse {
    if let Ok(etag) = HeaderValue::from_str(&format!("\"{version}\"")) {
        response.headers_mut().insert(header::ETAG, etag);
    }
    response
}

/// Changes what is sent. `is_active` false ends the user's sessions and API keys, a new password the sessions. The names
/// and the address of the user's employee follow.
#[utoipa::path(put, path = "/api/users/{id}", operation_id = "users_update", tag = "users",
    params(("id" = Uuid, Path, description = "The user"),
        ("If-Match" = Option<String>, Header, description = "The ETag that the change is based on")),
    request_body = UserBody,
    responses((status = 200, description = "The user", body = Success<User>),
        (status = 400, description = "Not JSON, or an id that is no UUID", body = ErrorBody),
        (status = 401, description = "No valid credential", body = ErrorBody),
        (status = 403, description = "Not an admin, somebody above, or one's own role", body = ErrorBody),
        (status = 404, description = "No such user", body = ErrorBody),
        (status = 409, description = "The e-mail address is taken, or the last superadmin or admin", body = ErrorBody),
        (status = 412, description = "Somebody changed the user first", body = ErrorBody),
        (status = 422, description = "Fields are not valid", body = ErrorBody),
        (status = 429, description = "Too many requests", body = ErrorBody),
        (status = 503, description = "The database is away", body = ErrorBody)))]
pub async fn update(
    request: HttpRequest,
    worker: Data<Worker>,
    caller: Caller,
    id: Path<Uuid>,
    body: Json<Value>,
) -> ApiResult {
    let id = id.into_inner();
    let input = UserInput::parse(&body.0, false)?;
    let (version, cx) = (expected(&request)?, request_context(&request)?);
    let user = user::update(&worker.db, caller.identity(), id, input, version, &cx).await?;
    worker.shared.auth.forget_user(id);
    let version = user.version;
    Ok(with_etag(ok(user), version))
}

/// The same as PUT: absent fields stay as they are in both.
#[utoipa::path(patch, path = "/api/users/{id}", operation_id = "users_patch", tag = "users",
    params(("id" = Uuid, Path, description = "The user"),
        ("If-Match" = Option<String>, Header, description = "The ETag that the change is based on")),
    request_body = UserBody,
    responses((status = 200, description = "The user", body = Success<User>),
        (status = 400, description = "Not JSON, or an id that is no UUID", body = ErrorBody),
        (status = 401, description = "No valid credential", body = ErrorBody),
        (status = 403, description = "Not an admin, somebody above, or one's own role", body = ErrorBody),
        (status = 404, description = "No such user", body = ErrorBody),
        (status = 409, description = "The e-mail address is taken, or the last superadmin or admin", body = ErrorBody),
        (status = 412, description = "Somebody changed the user first", body = ErrorBody),
        (status = 422, description = "Fields are not valid", body = ErrorBody),
        (status = 429, description = "Too many requests", body = ErrorBody),
        (status = 503, description = "The database is away", body = ErrorBody)))]
pub async fn patch(
    request: HttpRequest,
    worker: Data<Worker>,
    caller: Caller,
    id: Path<Uuid>,
    body: Json<Value>,
) -> ApiResult {
    update(request, worker, caller, id, body).await
}

/// Deactivates, like `POST /api/users/{id}/deactivate`: users are never deleted, their names stand on what they did.
#[utoipa::path(delete, path = "/api/users/{id}", operation_id = "users_delete", tag = "users",
    params(("id" = Uuid, Path, description = "The user")),
    responses((status = 200, description = "Deactivated", body = Success<Deleted>),
        (status = 400, description = "The id is no UUID", body = ErrorBody),
        (status = 401, description = "No valid credential", body = ErrorBody),
        (status = 403, description = "Not an admin, somebody above, or oneself", body = ErrorBody),
        (status = 404, description = "No such user", body = ErrorBody),
        (status = 409, description = "The last active superadmin, or the tenant's last active admin", body = ErrorBody),
        (status = 412, description = "Somebody changed the user first", body = ErrorBody),
        (status = 429, description = "Too many requests", body = ErrorBody),
        (status = 503, description = "The database is away", body = ErrorBody)))]
pub async fn delete(request: HttpRequest, worker: Data<Worker>, caller: Caller, id: Path<Uuid>) -> ApiResult {
    let id = id.into_inner();
    let (version, cx) = (expected(&request)?, request_context(&request)?);
    user::deactivate(&worker.db, caller.identity(), id, version, &cx).await?;
    worker.shared.auth.forget_user(id);
    Ok(ok(Deleted { id }))
}

/// Deactivates: the user can no longer sign in, sessions and API keys end, the employee becomes inactive. Data stays.
#[utoipa::path(post, path = "/api/users/{id}/deactivate", operation_id = "users_deactivate", tag = "users",
    params(("id" = Uuid, Path, description = "The user"),
        ("If-Match" = Option<String>, Header, description = "The ETag that the change is based on")),
    responses((status = 200, description = "The user", body = Success<User>),
        (status = 400, description = "The id is no UUID", body = ErrorBody),
        (status = 401, description = "No valid credential", body = ErrorBody),
        (status = 403, description = "Not an admin, somebody above, or oneself", body = ErrorBody),
        (status = 404, description = "No such user", body = ErrorBody),
        (status = 409, description = "The last active superadmin, or the tenant's last active admin", body = ErrorBody),
        (status = 412, description = "Somebody changed the user first", body = ErrorBody),
        (status = 429, description = "Too many requests", body = ErrorBody),
        (status = 503, description = "The database is away", body = ErrorBody)))]
pub async fn deactivate(request: HttpRequest, worker: Data<Worker>, caller: Caller, id: Path<Uuid>) -> ApiResult {
    let id = id.into_inner();
    let (version, cx) = (expected(&request)?, request_context(&request)?);
    let user = user::deactivate(&worker.db, caller.identity(), id, version, &cx).await?;
    worker.shared.auth.forget_user(id);
    let version = user.version;
    Ok(with_etag(ok(user), version))
}

/// Lets a deactivated user sign in again; an inactive employee becomes active. API keys that ended stay so.
#[utoipa::path(post, path = "/api/users/{id}/reactivate", operation_id = "users_reactivate", tag = "users",
    params(("id" = Uuid, Path, description = "The user"),
        ("If-Match" = Option<String>, Header, description = "The ETag that the change is based on")),
    responses((status = 200, description = "The user", body = Success<User>),
        (status = 400, description = "The id is no UUID", body = ErrorBody),
        (status = 401, description = "No valid credential", body = ErrorBody),
        (status = 403, description = "Not an admin, or somebody above", body = ErrorBody),
        (status = 404, description = "No such user", body = ErrorBody),
        (status = 409, description = "Somebody else has the address by now", body = ErrorBody),
        (status = 412, description = "Somebody changed the user first", body = ErrorBody),
        (status = 429, description = "Too many requests", body = ErrorBody),
        (status = 503, description = "The database is away", body = ErrorBody)))]
pub async fn reactivate(request: HttpRequest, worker: Data<Worker>, caller: Caller, id: Path<Uuid>) -> ApiResult {
    let id = id.into_inner();
    let (version, cx) = (expected(&request)?, request_context(&request)?);
    let user = user::reactivate(&worker.db, caller.identity(), id, version, &cx).await?;
    let version = user.version;
    Ok(with_etag(ok(user), version))
}
