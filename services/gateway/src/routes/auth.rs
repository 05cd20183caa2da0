//! Signing in and out, and one's own account.

use super::docs::{ErrorBody, Success};
use crate::{
    auth::Caller,
    limits::LoginAttempt,
    state::{Worker, request_context},
};
use actix_web::{
    HttpRequest, HttpResponse,
    cookie::{Cookie, SameSite, time::Duration as CookieAge},
    web::{self, Bytes, Data, ServiceConfig},
};
use aisha_auth::{Role, token::ACCESS_TTL};
use aisha_http::{ApiError, ApiResult, RequestFacts, body::Json, ok};
use aisha_identity::{
    session::{self, REFRESH_DAYS, SignedIn},
    user::{self, User},
};
use aisha_kernel::{Error, ErrorCode, TenantId, UserId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// The cookie with the refresh token, for browsers. Script cannot read it and it goes to `/api/auth` only; `Secure` when
/// `PUBLIC_URL` is https.
const COOKIE: &str = "aisha_refresh";
const COOKIE_PATH: &str = "/api/auth";

/// The routes.
pub fn configure(cfg: &mut ServiceConfig) {
    cfg.route("/api/auth/login", web::post().to(login))
        .route("/api/auth/refresh", web::post().to(refresh))
        .route("/api/auth/logout", web::post().to(logout))
        .route("/api/auth/me", web::get().to(me))
        .route("/api/auth/password", web::put().to(change_password));
}

/// E-mail and password.
#[derive(Deserialize, ToSchema)]
pub struct LoginBody {
    /// E-mail address.
    email: String,
    /// Password.
    password: String,
    /// Where two-step sign-in is on: the code of the device, or a recovery code.
    otp: Option<String>,
}

/// A refresh token, where no cookie carries it.
#[derive(Default, Deserialize, ToSchema)]
pub struct RefreshBody {
    /// The refresh token that was last received.
    refresh_token: Option<String>,
}

/// The old and the new password.
#[derive(Deserialize, ToSchema)]
pub struct PasswordBody {
    /// The password in force.
    current_password: String,
    /// At least 8 characters with upper and lower case, digit and special character, and not a common one.
    new_password: String,
}

/// Tokens of a session.
#[derive(Serialize, ToSchema)]
pub struct Tokens {
    /// Access token for `Authorization: Bearer`.
    token: String,
    /// Gets the next pair of tokens; can be used once.
    refresh_token: String,
    /// Life of the access token, in seconds.
    expires_in: i64,
    /// Who signed in; with login only.
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<User>,
    /// With login only, and then true: the tenant asks for two-step sign-in, which must be set up before anything else.
    #[serde(skip_serializing_if = "Option::is_none")]
    totp_enrolment_required: Option<bool>,
}

/// The envelope of tokens, with the access token on top as well for older clients.
#[derive(Serialize, ToSchema)]
pub struct TokenAnswer {
    /// `success`.
    status: &'static str,
    /// The access token.
    token: String,
    /// The tokens.
    data: Tokens,
}

/// What was done.
#[derive(Serialize, ToSchema)]
pub struct Done {
    /// A sentence.
    pub message: &'static str,
}

/// Signs in with e-mail and password.
#[utoipa::path(post, path = "/api/auth/login", operation_id = "auth_login", tag = "auth", security(()),
    request_body = LoginBody,
    responses((status = 200, description = "Tokens and the user; also sets the refresh cookie", body = TokenAnswer),
        (status = 400, description = "Not JSON", body = ErrorBody),
        (status = 401, description = "`invalid_credentials`: one answer for every reason. With the right password: \
            `otp_required` or `invalid_otp`", body = ErrorBody),
        (status = 422, description = "A field is missing", body = ErrorBody),
        (status = 429, description = "Too many attempts", body = ErrorBody),
        (status = 503, description = "Database or Redis is away", body = ErrorBody)))]
pub async fn login(request: HttpRequest, worker: Data<Worker>, body: Json<LoginBody>) -> ApiResult {
    let body = body.0;
    let attempt = counted(&worker, &request, "login", &body.email).await?;
    let cx = request_context(&request)?;
    let (credentials, otp) = (&worker.shared.credentials, body.otp.as_deref().filter(|otp| !otp.trim().is_empty()));
    let signed_in = session::login(&worker.db, credentials, &body.email, &body.password, otp, &cx).await?;
    worker.limits.login_succeeded(&attempt).await;
    opened(&worker, &request, signed_in)
}

/// The answer to somebody who has just signed in.
pub(super) fn opened(worker: &Worker, request: &HttpRequest, signed_in: SignedIn) -> ApiResult {
    let SignedIn { session, refresh_token, user, must_enrol } = signed_in;
    if let Some(facts) = RequestFacts::of(request) {
        facts.set_user_id(UserId(user.id));
    }
    let role: Role = user.role.parse()?;
    let whose = (UserId(user.id), user.tenant_id.map(TenantId), role);
    tokens(worker, session, refresh_token, whose, Some((user, must_enrol)))
}

/// Counts an attempt at a credential, as a login is counted.
pub(super) async fn counted(
    worker: &Worker,
    request: &HttpRequest,
    kind: &'static str,
    subject: &str,
) -> Result<LoginAttempt, ApiError> {
    let address = RequestFacts::of(request).and_then(|f| f.client_ip()).ok_or_else(|| Error::internal("no address"))?;
    worker.limits.check_credential(kind, address, subject).await
}

/// Continues a session: a new access token and a new refresh token, from the body or the cookie.
#[utoipa::path(post, path = "/api/auth/refresh", operation_id = "auth_refresh", tag = "auth", security(()),
    request_body = Option<RefreshBody>,
    responses((status = 200, description = "The next tokens", body = TokenAnswer),
        (status = 400, description = "Not JSON", body = ErrorBody),
        (status = 401, description = "The refresh token is unknown, used up or revoked", body = ErrorBody),
        (status = 429, description = "Too many requests", body = ErrorBody),
        (status = 503, description = "The database is away", body = ErrorBody)))]
pub async fn refresh(request: HttpRequest, worker: Data<Worker>, body: Bytes) -> ApiResult {
    let token = refresh_token(&request, &body)?.ok_or_else(Error::unauthenticated)?;
    let cx = request_context(&request)?;
    let r = session::refresh(&worker.db, &token, &cx).await?;
    if let Some(facts) = RequestFacts::of(&request) {
        facts.set_user_id(r.user);
    }
    tokens(&worker, r.session, r.refresh_token, (r.user, r.tenant, r.role), None)
}

/// Ends the session of the access token or, without one, of the refresh token.
#[utoipa::path(post, path = "/api/auth/logout", operation_id = "auth_logout", tag = "auth",
    request_body = Option<RefreshBody>,
    responses((status = 200, description = "The session has ended", body = Success<Done>),
        (status = 401, description = "No valid credential", body = ErrorBody),
        (status = 429, description = "Too many requests", body = ErrorBody),
        (status = 503, description = "The database is away", body = ErrorBody)))]
pub async fn logout(request: HttpRequest, worker: Data<Worker>, body: Bytes) -> ApiResult {
    let auth = &worker.shared.auth;
    let sid = match auth.authenticate(&worker.db, request.headers()).await {
        Ok(caller) if caller.identity().grants.is_none() => caller.identity().sid,
        Ok(_) => return Err(Error::forbidden("An API key has no session; revoke the key instead.").into()),
        Err(e) if e.code == ErrorCode::Unauthenticated => {
            let token = refresh_token(&request, &body)?.ok_or_else(Error::unauthenticated)?;
            session::session_of_refresh(&worker.db, &token).await?.ok_or_else(Error::unauthenticated)?
        }
        Err(e) => return Err(e.into()),
    };
    session::logout(&worker.db, sid, &request_context(&request)?).await?;
    auth.forget_session(sid);
    let mut response = ok(Done { message: "You are logged out." });
    let mut gone = cookie(&worker, String::new());
    gone.make_removal();
    set_cookie(&mut response, &gone)?;
    Ok(response)
}

/// Who is signed in.
#[utoipa::path(get, path = "/api/auth/me", operation_id = "auth_me", tag = "auth",
    responses((status = 200, description = "The user behind the credential", body = Success<User>),
        (status = 401, description = "No valid credential", body = ErrorBody),
        (status = 429, description = "Too many requests", body = ErrorBody),
        (status = 503, description = "The database is away", body = ErrorBody)))]
pub async fn me(worker: Data<Worker>, caller: Caller) -> ApiResult {
    Ok(ok(user::myself(&worker.db, caller.identity()).await?))
}

/// Changes one's own password; all other sessions end, and an e-mail says so.
#[utoipa::path(put, path = "/api/auth/password", operation_id = "auth_password_update", tag = "auth",
    request_body = PasswordBody,
    responses((status = 200, description = "Changed", body = Success<Done>),
        (status = 400, description = "Not JSON", body = ErrorBody),
        (status = 401, description = "No valid credential", body = ErrorBody),
        (status = 403, description = "An API key may not", body = ErrorBody),
        (status = 422, description = "The current password is wrong, or the new one breaks the rule", body = ErrorBody),
        (status = 429, description = "Too many requests", body = ErrorBody),
        (status = 503, description = "Database or Redis is away", body = ErrorBody)))]
pub async fn change_password(
    request: HttpRequest,
    worker: Data<Worker>,
    caller: Caller,
    body: Json<PasswordBody>,
) -> ApiResult {
    let me = caller.identity();
    // Guessing the current password is guessing a password, whoever holds the session.
    let attempt = counted(&worker, &request, "login", &me.user_id.to_string()).await?;
    let (body, cx) = (body.0, request_context(&request)?);
    user::change_password(&worker.db, &worker.shared.credentials, me, &body.current_password, &body.new_password, &cx)
        .await?;
    worker.limits.login_succeeded(&attempt).await;
    worker.shared.auth.forget_user(me.user_id.0);
    worker.shared.mail_queued.notify_one();
    Ok(ok(Done { message: "Your password was changed." }))
}

/// The refresh token of a request: the body's, else the cookie's.
fn refresh_token(request: &HttpRequest, body: &Bytes) -> Result<Option<String>, Error> {
    let body: RefreshBody =
        if body.iter().all(u8::is_ascii_whitespace) { RefreshBody::default() } else { aisha_http::body::parse(body)? };
    Ok(body.refresh_token.or_else(|| request.cookie(COOKIE).map(|c| c.value().to_owned())))
}

fn tokens(
    worker: &Worker,
    session: Uuid,
    refresh_token: String,
    (user, tenant, role): (UserId, Option<TenantId>, Role),
    opened: Option<(User, bool)>,
) -> ApiResult {
    let token = worker.shared.auth.access.mint(user, session, tenant.map(|t| t.0), role).map_err(Error::internal)?;
    let cookie = cookie(worker, refresh_token.clone());
    let (user, must_enrol) = opened.unzip();
    let totp_enrolment_required = must_enrol.filter(|must| *must);
    let data = Tokens { token: token.clone(), refresh_token, expires_in: ACCESS_TTL, user, totp_enrolment_required };
    let answer = TokenAnswer { status: "success", token, data };
    let body = serde_json::to_vec(&answer).map_err(Error::internal)?;
    let mut response = aisha_http::envelope::json(actix_web::http::StatusCode::OK, body);
    set_cookie(&mut response, &cookie)?;
    Ok(response)
}

fn cookie(worker: &Worker, value: String) -> Cookie<'static> {
    Cookie::build(COOKIE, value)
        .path(COOKIE_PATH)
        .http_only(true)
        .secure(worker.shared.config.secure_cookies)
        .same_site(SameSite::Lax)
        .max_age(CookieAge::days(REFRESH_DAYS))
        .finish()
}

fn set_cookie(response: &mut HttpResponse, cookie: &Cookie<'_>) -> Result<(), Error> {
    response.add_cookie(cookie).map_err(|e| Error::internal(e.to_string()))
}
