//! Forgotten passwords.

use super::{
    auth::{Done, counted},
    docs::{ErrorBody, Success},
    invitations::subject,
};
use crate::{
    auth::Caller,
    state::{Worker, request_context},
};
use actix_web::{
    HttpRequest,
    web::{self, Data, Path, ServiceConfig},
};
use aisha_http::{ApiResult, body::Json, ok};
use aisha_identity::reset::{self as links, ResetSent};
use serde::Deserialize;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};
use utoipa::ToSchema;
use uuid::Uuid;

/// How long the answer to a forgotten password takes at least: longer than the work, so that it does not tell whether
/// there was any.
const ANSWER_AFTER: Duration = Duration::from_millis(250);

/// The routes.
pub fn configure(cfg: &mut ServiceConfig) {
    cfg.route("/api/auth/forgot-password", web::post().to(forgot))
        .route("/api/auth/reset-password", web::post().to(reset))
        .route("/api/users/{id}/reset-password", web::post().to(send));
}

/// Whose password was forgotten.
#[derive(Deserialize, ToSchema)]
pub struct ForgotBody {
    /// E-mail address.
    email: String,
}

/// A new password, with the token of the link.
#[derive(Deserialize, ToSchema)]
pub struct ResetBody {
    /// The token of the link.
    token: String,
    /// At least 8 characters with upper and lower case, digit and special character, and not a common one.
    password: String,
}

/// Sends a link to choose a new password, if there is an account with this address. The answer is always the same.
#[utoipa::path(post, path = "/api/auth/forgot-password", operation_id = "auth_forgot_password", tag = "auth",
    security(()), request_body = ForgotBody,
    responses((status = 200, description = "If there is such an account, an e-mail is on its way", body = Success<Done>),
        (status = 400, description = "Not JSON", body = ErrorBody),
        (status = 422, description = "A field is missing", body = ErrorBody),
        (status = 429, description = "Too many attempts", body = ErrorBody),
        (status = 503, description = "Database or Redis is away", body = ErrorBody)))]
pub async fn forgot(request: HttpRequest, worker: Data<Worker>, body: Json<ForgotBody>) -> ApiResult {
    counted(&worker, &request, "forgot", &body.0.email).await?;
    let answer_at = Instant::now() + ANSWER_AFTER;
    links::request(&worker.db, &worker.shared.credentials, &body.0.email, &request_context(&request)?).await?;
    worker.shared.mail_queued.notify_one();
    sleep_until(answer_at).await;
    Ok(ok(Done { message: "If there is an account with this address, an e-mail with a link is on its way." }))
}

/// Chooses a new password with the link of an e-mail; all sessions of the user end.
#[utoipa::path(post, path = "/api/auth/reset-password", operation_id = "auth_reset_password", tag = "auth",
    security(()), request_body = ResetBody,
    responses((status = 200, description = "Changed; sign in with it", body = Success<Done>),
        (status = 400, description = "Not JSON", body = ErrorBody),
        (status = 404, description = "`invalid_link`: used, expired or unknown", body = ErrorBody),
        (status = 422, description = "A field is missing, or the password breaks the rule", body = ErrorBody),
        (status = 429, description = "Too many attempts", body = ErrorBody),
        (status = 503, description = "Database or Redis is away", body = ErrorBody)))]
pub async fn reset(request: HttpRequest, worker: Data<Worker>, body: Json<ResetBody>) -> ApiResult {
    let ResetBody { token, password } = body.0;
    counted(&worker, &request, "link", &subject(&token)).await?;
    let cx = request_context(&request)?;
    let user = links::redeem(&worker.db, &worker.shared.credentials, &token, &password, &cx).await?;
    worker.shared.auth.forget_user(user);
    worker.shared.mail_queued.notify_one();
    Ok(ok(Done { message: "Your password was changed. Sign in with it." }))
}

/// Sends a user a link to choose a new password; the present one holds until then.
#[utoipa::path(post, path = "/api/users/{id}/reset-password", operation_id = "users_reset_password", tag = "users",
    params(("id" = Uuid, Path, description = "The user")),
    responses((status = 200, description = "The e-mail is on its way", body = Success<ResetSent>),
        (status = 400, description = "The id is no UUID", body = ErrorBody),
        (status = 401, description = "No valid credential", body = ErrorBody),
        (status = 403, description = "Not an admin, or somebody above", body = ErrorBody),
        (status = 404, description = "No such user", body = ErrorBody),
        (status = 409, description = "The user has no password yet, or is not active", body = ErrorBody),
        (status = 429, description = "Too many requests", body = ErrorBody),
        (status = 503, description = "The database is away", body = ErrorBody)))]
pub async fn send(request: HttpRequest, worker: Data<Worker>, caller: Caller, id: Path<Uuid>) -> ApiResult {
    let (me, cx) = (caller.identity(), request_context(&request)?);
    let sent = links::send(&worker.db, &worker.shared.credentials, me, id.into_inner(), &cx).await?;
    worker.shared.mail_queued.notify_one();
    Ok(ok(sent))
}
