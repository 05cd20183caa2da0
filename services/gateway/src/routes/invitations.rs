//! Invitations: admins send and withdraw them, the invited choose a password.

use super::{
    auth::{TokenAnswer, counted, opened},
    docs::{Deleted, ErrorBody, Success},
    query::tenant,
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
use aisha_identity::invitation::{self, Acceptance, InvitationPage, InvitationQuery, InvitationView, NewInvitation};
use aisha_kernel::Error;
use serde::Deserialize;
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

/// The routes.
pub fn configure(cfg: &mut ServiceConfig) {
    cfg.route("/api/auth/invitation", web::get().to(show))
        .route("/api/auth/accept-invitation", web::post().to(accept))
        .route("/api/invitations", web::get().to(list))
        .route("/api/invitations/{id}", web::delete().to(delete))
        .route("/api/users/{id}/invite", web::post().to(invite));
}

/// Takes `send_invitation` out of the body of a new user.
///
/// # Errors
/// 422 for what is neither true nor false.
pub(super) fn send_invitation(body: &mut Value) -> Result<bool, Error> {
    match body.as_object_mut().and_then(|map| map.remove("send_invitation")) {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(send)) => Ok(send),
        Some(_) => Err(Error::invalid("send_invitation", "must be true or false")),
    }
}

/// Which invitations.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ListQuery {
    /// At most this many, 1 to 200; 50 by default.
    limit: Option<i64>,
    /// After this many.
    offset: Option<i64>,
    /// Of this tenant; a superadmin sees all without it.
    tenant_id: Option<String>,
    /// `pending`, `accepted`, `expired` or `revoked`.
    status: Option<String>,
}

/// The token of a link.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct TokenQuery {
    /// The token of the link.
    token: String,
}

/// What the invited person sends.
#[derive(Deserialize, ToSchema)]
pub struct AcceptBody {
    /// The token of the link.
    token: String,
    /// At least 8 characters with upper and lower case, digit and special character, and not a common one.
    password: String,
    /// Given name, where it differs from what was shown.
    first_name: Option<String>,
    /// Family name, where it differs from what was shown.
    last_name: Option<String>,
}

/// What a limit counts of a token: the row it names, not the secret.
pub(super) fn subject(token: &str) -> String {
    token.chars().take(32).collect()
}

/// Invitations, newest first.
#[utoipa::path(get, path = "/api/invitations", operation_id = "invitations_list", tag = "invitations",
    params(ListQuery),
    responses((status = 200, description = "A page", body = Success<InvitationPage>),
        (status = 400, description = "A parameter is not valid", body = ErrorBody),
        (status = 401, description = "No valid credential", body = ErrorBody),
        (status = 403, description = "Not an admin, or another tenant", body = ErrorBody),
        (status = 429, description = "Too many requests", body = ErrorBody),
        (status = 503, description = "The database is away", body = ErrorBody)))]
pub async fn list(worker: Data<Worker>, caller: Caller, query: Query<ListQuery>) -> ApiResult {
    let q = query.into_inner();
    let tenant = tenant(q.tenant_id.as_deref())?;
    let query = InvitationQuery { limit: q.limit, offset: q.offset, tenant, status: q.status };
    Ok(ok(invitation::list(&worker.db, caller.identity(), &query).await?))
}

/// Withdraws an invitation: its link stops working.
#[utoipa::path(delete, path = "/api/invitations/{id}", operation_id = "invitations_delete", tag = "invitations",
    params(("id" = Uuid, Path, description = "The invitation")),
    responses((status = 200, description = "Withdrawn", body = Success<Deleted>),
        (status = 400, description = "The id is no UUID", body = ErrorBody),
        (status = 401, description = "No valid credential", body = ErrorBody),
        (status = 403, description = "Not an admin, or of somebody above", body = ErrorBody),
        (status = 404, description = "No such invitation", body = ErrorBody),
        (status = 409, description = "It was accepted", body = ErrorBody),
        (status = 429, description = "Too many requests", body = ErrorBody),
        (status = 503, description = "The database is away", body = ErrorBody)))]
pub async fn delete(request: HttpRequest, worker: Data<Worker>, caller: Caller, id: Path<Uuid>) -> ApiResult {
    let id = id.into_inner();
    invitation::revoke(&worker.db, caller.identity(), id, &request_context(&request)?).await?;
    Ok(ok(Deleted { id }))
}

/// Invites a user who has no password yet, or once more: an earlier link stops working.
#[utoipa::path(post, path = "/api/users/{id}/invite", operation_id = "users_invite", tag = "invitations",
    params(("id" = Uuid, Path, description = "The user")),
    responses((status = 201, description = "The e-mail is on its way", body = Success<NewInvitation>),
        (status = 400, description = "The id is no UUID", body = ErrorBody),
        (status = 401, description = "No valid credential", body = ErrorBody),
        (status = 403, description = "Not an admin, or somebody above", body = ErrorBody),
        (status = 404, description = "No such user", body = ErrorBody),
        (status = 409, description = "The user has a password already, or is not active", body = ErrorBody),
        (status = 429, description = "Too many requests", body = ErrorBody),
        (status = 503, description = "The database is away", body = ErrorBody)))]
pub async fn invite(request: HttpRequest, worker: Data<Worker>, caller: Caller, id: Path<Uuid>) -> ApiResult {
    let (me, cx) = (caller.identity(), request_context(&request)?);
    let made = invitation::invite(&worker.db, &worker.shared.credentials, me, id.into_inner(), &cx).await?;
    worker.shared.mail_queued.notify_one();
    let location = format!("/api/invitations/{}", made.id);
    Ok(created(made, &location))
}

/// What the page behind an invitation's link shows.
#[utoipa::path(get, path = "/api/auth/invitation", operation_id = "auth_invitation_read", tag = "invitations",
    security(()), params(TokenQuery),
    responses((status = 200, description = "Who is invited where", body = Success<InvitationView>),
        (status = 400, description = "No token", body = ErrorBody),
        (status = 404, description = "`invalid_link`: used, withdrawn, expired or unknown", body = ErrorBody),
        (status = 429, description = "Too many attempts", body = ErrorBody),
        (status = 503, description = "Database or Redis is away", body = ErrorBody)))]
pub async fn show(request: HttpRequest, worker: Data<Worker>, query: Query<TokenQuery>) -> ApiResult {
    counted(&worker, &request, "link", &subject(&query.token)).await?;
    Ok(ok(invitation::show(&worker.db, &query.token).await?))
}

/// Chooses the password of an invited user and signs in, as login does.
#[utoipa::path(post, path = "/api/auth/accept-invitation", operation_id = "auth_invitation_accept",
    tag = "invitations", security(()), request_body = AcceptBody,
    responses((status = 200, description = "Tokens and the user; also sets the refresh cookie", body = TokenAnswer),
        (status = 400, description = "Not JSON", body = ErrorBody),
        (status = 404, description = "`invalid_link`: used, withdrawn, expired or unknown", body = ErrorBody),
        (status = 422, description = "Fields are missing or not valid", body = ErrorBody),
        (status = 429, description = "Too many attempts", body = ErrorBody),
        (status = 503, description = "Database or Redis is away", body = ErrorBody)))]
pub async fn accept(request: HttpRequest, worker: Data<Worker>, body: Json<AcceptBody>) -> ApiResult {
    let AcceptBody { token, password, first_name, last_name } = body.0;
    counted(&worker, &request, "link", &subject(&token)).await?;
    let (input, cx) = (Acceptance { token, password, first_name, last_name }, request_context(&request)?);
    let signed_in = invitation::accept(&worker.db, &worker.shared.credentials, &input, &cx).await?;
    opened(&worker, &request, signed_in)
}
