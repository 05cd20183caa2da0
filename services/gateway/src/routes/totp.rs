//! Two-step sign-in: one's own second factor, and for admins the lost one of somebody else.

use super::{
    auth::{Done, counted},
    docs::{Deleted, ErrorBody, Success},
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
use aisha_identity::totp::{self as factor, Enrolment, RecoveryCodes, TotpStatus};
use serde::Deserialize;
use utoipa::ToSchema;
use uuid::Uuid;

/// The routes.
pub fn configure(cfg: &mut ServiceConfig) {
    cfg.route("/api/auth/totp", web::get().to(read))
        .route("/api/auth/totp/enrol", web::post().to(enrol))
        .route("/api/auth/totp/verify", web::post().to(verify))
        .route("/api/auth/totp/disable", web::post().to(disable))
        .route("/api/auth/totp/recovery-codes", web::post().to(recovery_codes))
        .service(
            web::resource("/api/users/{id}/totp").route(web::get().to(read_user)).route(web::delete().to(reset_user)),
        );
}

/// A code.
#[derive(Deserialize, ToSchema)]
pub struct OtpBody {
    /// The code that the device shows now; where one is in force, a recovery code does as well.
    otp: String,
}

/// A code, and the password.
#[derive(Deserialize, ToSchema)]
pub struct DisableBody {
    /// The password in force.
    password: String,
    /// The code that the device shows now, or a recovery code.
    otp: String,
}

/// How it stands with one's own second factor.
#[utoipa::path(get, path = "/api/auth/totp", operation_id = "totp_read", tag = "auth",
    responses((status = 200, description = "On, off, begun, asked for", body = Success<TotpStatus>),
        (status = 401, description = "No valid credential", body = ErrorBody),
        (status = 403, description = "An API key has none", body = ErrorBody),
        (status = 429, description = "Too many requests", body = ErrorBody),
        (status = 503, description = "The database is away", body = ErrorBody)))]
pub async fn read(worker: Data<Worker>, caller: Caller) -> ApiResult {
    Ok(ok(factor::status(&worker.db, caller.identity()).await?))
}

/// Begins: a new secret for an authenticator app. Nothing is asked for until a first code has come back.
#[utoipa::path(post, path = "/api/auth/totp/enrol", operation_id = "totp_enrol", tag = "auth",
    responses((status = 200, description = "The secret, as text, address and QR code", body = Success<Enrolment>),
        (status = 401, description = "No valid credential", body = ErrorBody),
        (status = 403, description = "An API key may not", body = ErrorBody),
        (status = 409, description = "It is on already", body = ErrorBody),
        (status = 429, description = "Too many requests", body = ErrorBody),
        (status = 503, description = "The database is away", body = ErrorBody)))]
pub async fn enrol(worker: Data<Worker>, caller: Caller) -> ApiResult {
    Ok(ok(factor::enrol(&worker.db, &worker.shared.credentials, caller.identity()).await?))
}

/// Switches two-step sign-in on with a first code; the answer shows the recovery codes, once.
#[utoipa::path(post, path = "/api/auth/totp/verify", operation_id = "totp_verify", tag = "auth",
    request_body = OtpBody,
    responses((status = 200, description = "It is on", body = Success<RecoveryCodes>),
        (status = 400, description = "Not JSON", body = ErrorBody),
        (status = 401, description = "No valid credential", body = ErrorBody),
        (status = 403, description = "An API key may not", body = ErrorBody),
        (status = 409, description = "Nothing was begun", body = ErrorBody),
        (status = 422, description = "The code is wrong", body = ErrorBody),
        (status = 429, description = "Too many attempts", body = ErrorBody),
        (status = 503, description = "Database or Redis is away", body = ErrorBody)))]
pub async fn verify(request: HttpRequest, worker: Data<Worker>, caller: Caller, body: Json<OtpBody>) -> ApiResult {
    let (me, cx) = (caller.identity(), request_context(&request)?);
    let attempt = counted(&worker, &request, "otp", &me.user_id.to_string()).await?;
    let codes = factor::verify(&worker.db, &worker.shared.credentials, me, &body.0.otp, &cx).await?;
    worker.limits.login_succeeded(&attempt).await;
    worker.shared.auth.forget_user(me.user_id.0);
    worker.shared.mail_queued.notify_one();
    Ok(ok(codes))
}

/// Switches two-step sign-in off.
#[utoipa::path(post, path = "/api/auth/totp/disable", operation_id = "totp_disable", tag = "auth",
    request_body = DisableBody,
    responses((status = 200, description = "It is off", body = Success<Done>),
        (status = 400, description = "Not JSON", body = ErrorBody),
        (status = 401, description = "No valid credential", body = ErrorBody),
        (status = 403, description = "An API key may not", body = ErrorBody),
        (status = 409, description = "It is not on", body = ErrorBody),
        (status = 422, description = "The password or the code is wrong", body = ErrorBody),
        (status = 429, description = "Too many attempts", body = ErrorBody),
        (status = 503, description = "Database or Redis is away", body = ErrorBody)))]
pub async fn disable(request: HttpRequest, worker: Data<Worker>, caller: Caller, body: Json<DisableBody>) -> ApiResult {
    let (me, cx) = (caller.identity(), request_context(&request)?);
    let attempt = counted(&worker, &request, "otp", &me.user_id.to_string()).await?;
    let DisableBody { password, otp } = body.0;
    factor::disable(&worker.db, &worker.shared.credentials, me, &password, &otp, &cx).await?;
    worker.limits.login_succeeded(&attempt).await;
    worker.shared.auth.forget_user(me.user_id.0);
    worker.shared.mail_queued.notify_one();
    Ok(ok(Done { message: "Two-step sign-in is off." }))
}

/// Makes a new set of recovery codes; the old ones stop working.
#[utoipa::path(post, path = "/api/auth/totp/recovery-codes", operation_id = "totp_recovery_codes", tag = "auth",
    request_body = OtpBody,
    responses((status = 200, description = "The codes, shown once", body = Success<RecoveryCodes>),
        (status = 400, description = "Not JSON", body = ErrorBody),
        (status = 401, description = "No valid credential", body = ErrorBody),
        (status = 403, description = "An API key may not", body = ErrorBody),
        (status = 409, description = "Two-step sign-in is not on", body = ErrorBody),
        (status = 422, description = "The code is wrong", body = ErrorBody),
        (status = 429, description = "Too many attempts", body = ErrorBody),
        (status = 503, description = "Database or Redis is away", body = ErrorBody)))]
pub async fn recovery_codes(
    request: HttpRequest,
    worker: Data<Worker>,
    caller: Caller,
    body: Json<OtpBody>,
) -> ApiResult {
    let (me, cx) = (caller.identity(), request_context(&request)?);
    let attempt = counted(&worker, &request, "otp", &me.user_id.to_string()).await?;
    let codes = factor::new_recovery_codes(&worker.db, &worker.shared.credentials, me, &body.0.otp, &cx).await?;
    worker.limits.login_succeeded(&attempt).await;
    Ok(ok(codes))
}

/// How it stands with the second factor of a user.
#[utoipa::path(get, path = "/api/users/{id}/totp", operation_id = "users_totp_read", tag = "users",
    params(("id" = Uuid, Path, description = "The user")),
    responses((status = 200, description = "On, off, begun, asked for", body = Success<TotpStatus>),
        (status = 400, description = "The id is no UUID", body = ErrorBody),
        (status = 401, description = "No valid credential", body = ErrorBody),
        (status = 403, description = "Not an admin", body = ErrorBody),
        (status = 404, description = "No such user", body = ErrorBody),
        (status = 429, description = "Too many requests", body = ErrorBody),
        (status = 503, description = "The database is away", body = ErrorBody)))]
pub async fn read_user(worker: Data<Worker>, caller: Caller, id: Path<Uuid>) -> ApiResult {
    Ok(ok(factor::user_status(&worker.db, caller.identity(), id.into_inner()).await?))
}

/// Removes the second factor of a user whose device is lost; its sessions end.
#[utoipa::path(delete, path = "/api/users/{id}/totp", operation_id = "users_totp_delete", tag = "users",
    params(("id" = Uuid, Path, description = "The user")),
    responses((status = 200, description = "Removed", body = Success<Deleted>),
        (status = 400, description = "The id is no UUID", body = ErrorBody),
        (status = 401, description = "No valid credential", body = ErrorBody),
        (status = 403, description = "Not an admin, somebody above, or oneself", body = ErrorBody),
        (status = 404, description = "No such user", body = ErrorBody),
        (status = 409, description = "Two-step sign-in is not on", body = ErrorBody),
        (status = 429, description = "Too many requests", body = ErrorBody),
        (status = 503, description = "The database is away", body = ErrorBody)))]
pub async fn reset_user(request: HttpRequest, worker: Data<Worker>, caller: Caller, id: Path<Uuid>) -> ApiResult {
    let (id, me, cx) = (id.into_inner(), caller.identity(), request_context(&request)?);
    factor::reset(&worker.db, &worker.shared.credentials, me, id, &cx).await?;
    worker.shared.auth.forget_user(id);
    worker.shared.mail_queued.notify_one();
    Ok(ok(Deleted { id }))
}
