//! One's sessions, and for admins those of their users.

use super::docs::{Deleted, ErrorBody, Success};
use crate::{
    auth::Caller,
    state::{Worker, request_context},
};
use actix_web::{
    HttpRequest,
    web::{self, Data, Path, Query, ServiceConfig},
};
use aisha_http::{ApiResult, ok};
use aisha_identity::session::{self, Session};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

/// The routes.
pub fn configure(cfg: &mut ServiceConfig) {
    cfg.service(web::resource("/api/auth/sessions").route(web::get().to(list)).route(web::delete().to(delete_others)))
        .route("/api/auth/sessions/{id}", web::delete().to(delete));
}

/// Whose sessions.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct SessionQuery {
    /// A user of one's tenant, for admins; oneself by default.
    user_id: Option<Uuid>,
}

/// Sessions that are open.
#[derive(Serialize, ToSchema)]
pub struct Sessions {
    /// The sessions, last used first; at most 200.
    sessions: Vec<Session>,
    /// How many.
    total: usize,
}

/// What was ended.
#[derive(Serialize, ToSchema)]
pub struct Ended {
    /// How many sessions.
    revoked: usize,
}

/// Open sessions.
#[utoipa::path(get, path = "/api/auth/sessions", operation_id = "sessions_list", tag = "auth", params(SessionQuery),
    responses((status = 200, description = "The sessions", body = Success<Sessions>),
        (status = 401, description = "No valid credential", body = ErrorBody),
        (status = 403, description = "Somebody else's, without being an admin", body = ErrorBody),
        (status = 404, description = "No such user", body = ErrorBody),
        (status = 429, description = "Too many requests", body = ErrorBody),
        (status = 503, description = "The database is away", body = ErrorBody)))]
pub async fn list(worker: Data<Worker>, caller: Caller, query: Query<SessionQuery>) -> ApiResult {
    let sessions = session::list(&worker.db, caller.identity(), query.user_id).await?;
    Ok(ok(Sessions { total: sessions.len(), sessions }))
}

/// Ends one session.
#[utoipa::path(delete, path = "/api/auth/sessions/{id}", operation_id = "sessions_delete", tag = "auth",
    params(("id" = Uuid, Path, description = "The session")),
    responses((status = 200, description = "Ended", body = Success<Deleted>),
        (status = 400, description = "The id is no UUID", body = ErrorBody),
        (status = 401, description = "No valid credential", body = ErrorBody),
        (status = 403, description = "An API key may not", body = ErrorBody),
        (status = 404, description = "No such open session", body = ErrorBody),
        (status = 429, description = "Too many requests", body = ErrorBody),
        (status = 503, description = "The database is away", body = ErrorBody)))]
pub async fn delete(request: HttpRequest, worker: Data<Worker>, caller: Caller, id: Path<Uuid>) -> ApiResult {
    let id = id.into_inner();
    session::revoke(&worker.db, caller.identity(), id, &request_context(&request)?).await?;
    worker.shared.auth.forget_session(id);
    Ok(ok(Deleted { id }))
}

/// Ends all of one's sessions but this one.
#[utoipa::path(delete, path = "/api/auth/sessions", operation_id = "sessions_delete_others", tag = "auth",
    responses((status = 200, description = "Ended", body = Success<Ended>),
        (status = 401, description = "No valid credential", body = ErrorBody),
        (status = 403, description = "An API key may not", body = ErrorBody),
        (status = 429, description = "Too many requests", body = ErrorBody),
        (status = 503, description = "The database is away", body = ErrorBody)))]
pub async fn delete_others(request: HttpRequest, worker: Data<Worker>, caller: Caller) -> ApiResult {
    let ended = session::revoke_others(&worker.db, caller.identity(), &request_context(&request)?).await?;
    for sid in &ended {
        worker.shared.auth.forget_session(*sid);
    }
    Ok(ok(Ended { revoked: ended.len() }))
}
