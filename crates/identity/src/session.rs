//! Sessions: signing in, refreshing, signing out, and what a session proves at this moment.

use crate::{
    audit::Entry,
    credentials::Credentials,
    hashing,
    proof::{ACTIVE, COLUMNS, JOINS, MUST_ENROL, WIDTH, identity},
    refresh,
    sql::{acting, col, cut},
    token,
    totp::{self, Verdict},
    user::{self, User},
};
use aisha_auth::{Action, Identity, Role, api_key::hash};
use aisha_db::{Bind, Db, RequestContext, Sql, SystemReason, SystemTx};
use aisha_kernel::{Error, ErrorCode, TenantId, UserId, new_id};
use serde::Serialize;
use serde_json::json;
use subtle::ConstantTimeEq as _;
use time::OffsetDateTime;
use utoipa::ToSchema;
use uuid::Uuid;

/// Life of a refresh token in days; each use starts it anew.
pub const REFRESH_DAYS: i64 = 30;
/// How long a replaced refresh token still answers with its successor, in seconds: two tabs may refresh at once.
const GRACE_SECONDS: i64 = 10;

/// A fresh session.
#[derive(Debug)]
pub struct SignedIn {
    /// The session.
    pub session: Uuid,
    /// Its first refresh token; only its hash is stored.
    pub refresh_token: String,
    /// Who signed in.
    pub user: User,
    /// Whether the session may set up a second factor and nothing else.
    pub must_enrol: bool,
}

/// What a session proves.
#[derive(Debug, Clone)]
pub struct SessionProof {
    /// Whose it is, and what they may do.
    pub identity: Identity,
    /// Whether it may set up a second factor and nothing else, until it has: its tenant asks for one.
    pub must_enrol: bool,
}

/// A continued session.
#[derive(Debug)]
pub struct Refreshed {
    /// The session.
    pub session: Uuid,
    /// The refresh token in force.
    pub refresh_token: String,
    /// Whose session it is.
    pub user: UserId,
    /// The user's tenant.
    pub tenant: Option<TenantId>,
    /// The user's role.
    pub role: Role,
}

/// A session as its owner sees it.
#[derive(Debug, Serialize, ToSchema)]
pub struct Session {
    /// Id.
    pub id: Uuid,
    /// Whether it is the one that asks.
    pub current: bool,
    /// Address it was opened from.
    pub ip: Option<String>,
    /// Browser or program it was opened with.
    pub user_agent: Option<String>,
    /// When it was opened.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    /// When it was last refreshed.
    #[serde(with = "time::serde::rfc3339")]
    pub last_used_at: OffsetDateTime,
    /// When it ends unless it is refreshed.
    #[serde(with = "time::serde::rfc3339")]
    pub expires_at: OffsetDateTime,
}

fn invalid_credentials() -> Error {
    Error::new(ErrorCode::InvalidCredentials, "Invalid email or password.")
}

fn invalid_refresh() -> Error {
    Error::new(ErrorCode::Unauthenticated, "The refresh token is not valid, please log in again.")
}

struct Candidate {
    id: Uuid,
    tenant: Option<TenantId>,
    password_hash: Option<String>,
    role: Role,
    active: bool,
}

async fn candidate(db: &Db, email: &str, cx: &RequestContext) -> Result<Option<Candidate>, Error> {
    let why = SystemReason { reason: "login", request: cx.clone(), ..SystemReason::default() };
    let mut sql = Sql::new("SELECT u.id, u.tenant_id, u.password_hash, u.role, (");
    sql.push(ACTIVE).push(") FROM users u LEFT JOIN tenant t ON t.id = u.tenant_id WHERE u.email = ");
    sql.bind(Bind::text(email));
    let rows = db.system(&why, async |tx: &mut SystemTx| tx.rows(sql.clone()).await).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    Ok(Some(Candidate {
        id: col(row, 0)?,
        tenant: col::<Option<Uuid>>(row, 1)?.map(TenantId),
        password_hash: col(row, 2)?,
        role: col::<String>(row, 3)?.parse()?,
        active: col(row, 4)?,
    }))
}

/// Signs in. An unknown e-mail address, a wrong password and an inactive user or tenant get the same answer in the same
/// time. Whether there is a second factor is said only to who knows the password.
///
/// # Errors
/// 401 `invalid_credentials`, `otp_required` or `invalid_otp`; 429 after too many wrong codes; 503 when the database is
/// away.
pub async fn login(
    db: &Db,
    credentials: &Credentials,
    email: &str,
    password: &str,
    otp: Option<&str>,
    cx: &RequestContext,
) -> Result<SignedIn, Error> {
    let email = email.trim().to_lowercase();
    // No stored address or password is longer, and Postgres takes no NUL.
    let plausible = email.len() <= 320 && password.len() <= 1024 && !email.contains('\0');
    let found = if plausible { candidate(db, &email, cx).await? } else { None };
    let stored = found.as_ref().and_then(|c| c.password_hash.clone());
    let password = if plausible { password.to_owned() } else { String::new() };
    let verified = hashing::verify(password, stored).await?;
    match found {
        Some(c) if verified && c.active => {
            let opened = open(db, credentials, c.id, c.tenant, c.role, otp, cx).await;
            if opened.as_ref().is_err_and(|e| e.code == ErrorCode::InvalidOtp) {
                failed(db, Some(&c), &email, cx).await?;
            }
            opened
        }
        other => {
            failed(db, other.as_ref(), &email, cx).await?;
            Err(invalid_credentials())
        }
    }
}

async fn failed(db: &Db, who: Option<&Candidate>, email: &str, cx: &RequestContext) -> Result<(), Error> {
    // What is not an address may be a password typed into the wrong field.
    let shown = if aisha_db::record::value::is_email(email) { email } else { "(not an e-mail address)" };
    let entry = Entry {
        action: "FAILED_LOGIN",
        tenant: who.and_then(|c| c.tenant).map(|t| t.0),
        table: "users",
        record: who.map(|c| c.id),
        user: None,
        role: None,
        values: json!({ "email": shown }),
    };
    let why = SystemReason { reason: "failed login", request: cx.clone(), ..SystemReason::default() };
    db.system(&why, async |tx: &mut SystemTx| tx.rows(entry.insert(cx)).await.map(drop)).await
}

/// Opens a session for somebody who has proved to be this user, but for the second factor.
pub(crate) async fn open(
    db: &Db,
    credentials: &Credentials,
    user: Uuid,
    tenant: Option<TenantId>,
    role: Role,
    otp: Option<&str>,
    cx: &RequestContext,
) -> Result<SignedIn, Error> {
    let session = new_id();
    let (refresh_token, refresh_hash) = token::generate(session)?;
    let mut insert = Sql::new("INSERT INTO sessions (id, user_id, refresh_hash, ip, user_agent, expires_at) SELECT ");
    insert.bind(session).push(", u.id, ").bind(Bind::Bytes(refresh_hash)).push(", ");
    insert.bind(cut(cx.ip.as_deref(), 100)).push(", ").bind(cut(cx.user_agent.as_deref(), 2000));
    insert.push(", now() + make_interval(days => CAST(").bind(Bind::Int(REFRESH_DAYS)).push(" AS integer)) ");
    insert.push("FROM users u LEFT JOIN tenant t ON t.id = u.tenant_id WHERE u.id = ").bind(user);
    insert.push(" AND ").push(ACTIVE).push(" RETURNING id");
    let mut seen = Sql::new("UPDATE users SET last_login_at = now() WHERE id = ");
    seen.bind(user);
    let mut must_enrol = Sql::new("SELECT ");
    must_enrol.push(MUST_ENROL).push("FROM users u LEFT JOIN tenant t ON t.id = u.tenant_id WHERE u.id = ").bind(user);
    let entry = Entry {
        action: "USER_LOGIN",
        tenant: tenant.map(|t| t.0),
        table: "sessions",
        record: Some(session),
        user: Some(user),
        role: Some(role),
        values: json!({}),
    };
    let why = SystemReason { reason: "login", tenant, user: Some(user), role: Some(role), request: cx.clone() };
    // A refusal commits too: a wrong code was counted, and none is taken twice.
    let opened = db
        .system(&why, async |tx: &mut SystemTx| {
            let mut statements = vec![insert.clone(), seen.clone(), entry.insert(cx)];
            let verdict = match otp {
                Some(otp) => totp::spend(tx, credentials, user, otp, true).await?,
                None if totp::is_on(tx, user).await? => return Ok(Err(otp_required())),
                None => Verdict::NotEnrolled,
            };
            match verdict {
                Verdict::Wrong => return Ok(Err(invalid_otp())),
                Verdict::Locked => return Ok(Err(Verdict::locked())),
                Verdict::Right("recovery code") => statements.push(totp::recovery_used(user, tenant, role).insert(cx)),
                Verdict::Right(_) | Verdict::NotEnrolled => {}
            }
            statements.extend([must_enrol.clone(), user::by_id(user)]);
            let mut results = tx.flight(statements).await?;
            // Deactivated since the password was checked.
            if results.first().is_none_or(Vec::is_empty) {
                return Err(invalid_credentials());
            }
            let user = user::from_rows(results.pop().unwrap_or_default())?;
            let must_enrol = results.pop().unwrap_or_default().first().map(|row| col(row, 0)).transpose()?;
            Ok(Ok((user, must_enrol.unwrap_or(false))))
        })
        .await?;
    let (user, must_enrol) = opened?;
    Ok(SignedIn { session, refresh_token, user, must_enrol })
}

fn otp_required() -> Error {
    Error::new(ErrorCode::OtpRequired, "This account has two-step sign-in: send the code of your device as otp.")
}

fn invalid_otp() -> Error {
    Error::new(ErrorCode::InvalidOtp, "The code is wrong, too old or was used already.")
}

/// Continues a session with its refresh token, which is replaced. The token before it gets the same successor for ten
/// seconds; later it can only be a stolen copy or the victim's own, and the session ends.
///
/// # Errors
/// 401; 503 when the database is away.
pub async fn refresh(db: &Db, token: &str, cx: &RequestContext) -> Result<Refreshed, Error> {
    let session = token::row_of(token).ok_or_else(invalid_refresh)?;
    let presented = hash(token);
    let why = SystemReason { reason: "refresh", request: cx.clone(), ..SystemReason::default() };
    // A refusal commits too: it may have ended the session.
    db.system(&why, async |tx: &mut SystemTx| {
        let mut sql = Sql::new(
            "SELECT s.refresh_hash, s.previous_refresh_hash, s.successor_sealed, \
                    coalesce(s.rotated_at > now() - make_interval(secs => CAST(",
        );
        sql.bind(Bind::Int(GRACE_SECONDS)).push(" AS integer)), false), u.id, u.tenant_id, u.role FROM sessions s ");
        sql.push("JOIN users u ON u.id = s.user_id LEFT JOIN tenant t ON t.id = u.tenant_id WHERE s.id = ");
        sql.bind(session).push(" AND s.revoked_at IS NULL AND s.expires_at > now() AND ").push(ACTIVE);
        sql.push(" FOR UPDATE OF s");
        let rows = tx.rows(sql).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let same = |stored: &[u8]| bool::from(stored.ct_eq(&presented));
        let refresh_token = if same(&col::<Vec<u8>>(row, 0)?) {
            Some(rotate(tx, session, token, &presented).await?)
        } else {
            let replaced = col::<Option<Vec<u8>>>(row, 1)?.is_some_and(|previous| same(&previous));
            let sealed: Option<Vec<u8>> = col(row, 2)?;
            let again = if replaced && col(row, 3)? { sealed } else { None };
            again.and_then(|sealed| refresh::open(token, &sealed))
        };
        let (user, tenant): (Uuid, Option<Uuid>) = (col(row, 4)?, col(row, 5)?);
        let role: Role = col::<String>(row, 6)?.parse()?;
        let Some(refresh_token) = refresh_token else {
            end_reused(tx, session, user, tenant, cx).await?;
            return Ok(None);
        };
        Ok(Some(Refreshed { session, refresh_token, user: UserId(user), tenant: tenant.map(TenantId), role }))
    })
    .await?
    .ok_or_else(invalid_refresh)
}

async fn rotate(tx: &mut SystemTx, session: Uuid, token: &str, presented: &[u8]) -> Result<String, Error> {
    let (next, next_hash) = token::generate(session)?;
    let mut sql = Sql::new("UPDATE sessions SET refresh_hash = ");
    sql.bind(Bind::Bytes(next_hash)).push(", previous_refresh_hash = ").bind(Bind::Bytes(presented.to_vec()));
    sql.push(", successor_sealed = ").bind(Bind::Bytes(refresh::seal(token, &next)?));
    sql.push(", rotated_at = now(), last_used_at = now(), expires_at = now() + make_interval(days => CAST(");
    sql.bind(Bind::Int(REFRESH_DAYS)).push(" AS integer)) WHERE id = ").bind(session);
    tx.rows(sql).await?;
    Ok(next)
}

async fn end_reused(
    tx: &mut SystemTx,
    session: Uuid,
    user: Uuid,
    tenant: Option<Uuid>,
    cx: &RequestContext,
) -> Result<(), Error> {
    let mut sql =
        Sql::new("UPDATE sessions SET revoked_at = now(), revoked_reason = 'refresh token reused' WHERE id = ");
    sql.bind(session);
    let entry = Entry {
        action: "USER_LOGOUT",
        tenant,
        table: "sessions",
        record: Some(session),
        user: Some(user),
        role: None,
        values: json!({ "reason": "refresh token reused" }),
    };
    tx.flight(vec![sql, entry.insert(cx)]).await.map(drop)
}

/// Who a session belongs to and what they may do now; `None` when the session has ended or its user or tenant is not
/// active. `tenant` is the one the access token names; it only opens that tenant's employees to the look-up.
///
/// # Errors
/// 503 when the database is away.
pub async fn session_identity(db: &Db, sid: Uuid, tenant: Option<TenantId>) -> Result<Option<SessionProof>, Error> {
    let mut sql =
        Sql::new(format!("SELECT {COLUMNS}, {MUST_ENROL} FROM sessions s JOIN users u ON u.id = s.user_id {JOINS}"));
    sql.push(" WHERE s.id = ").bind(sid).push(" AND s.revoked_at IS NULL AND s.expires_at > now() AND ").push(ACTIVE);
    let why = SystemReason { reason: "authenticate", tenant, ..SystemReason::default() };
    let rows = db.system(&why, async |tx: &mut SystemTx| tx.rows(sql.clone()).await).await?;
    let proof = |row| Ok(SessionProof { identity: identity(row, sid, None)?, must_enrol: col(row, WIDTH)? });
    rows.first().map(proof).transpose()
}

/// The session that a refresh token of its names, if the token is in force: for signing out without an access token.
///
/// # Errors
/// 503 when the database is away.
pub async fn session_of_refresh(db: &Db, token: &str) -> Result<Option<Uuid>, Error> {
    let Some(session) = token::row_of(token) else { return Ok(None) };
    let mut sql = Sql::new("SELECT refresh_hash FROM sessions WHERE revoked_at IS NULL AND id = ");
    sql.bind(session);
    let why = SystemReason { reason: "logout", ..SystemReason::default() };
    let rows = db.system(&why, async |tx: &mut SystemTx| tx.rows(sql.clone()).await).await?;
    let stored: Option<Vec<u8>> = rows.first().map(|row| col(row, 0)).transpose()?;
    Ok(stored.is_some_and(|stored| bool::from(stored.ct_eq(&hash(token)))).then_some(session))
}

/// Ends a session whose credential was shown. Ending an ended one is no error.
///
/// # Errors
/// 503 when the database is away.
pub async fn logout(db: &Db, sid: Uuid, cx: &RequestContext) -> Result<(), Error> {
    let mut sql = Sql::new("s.id = ");
    sql.bind(sid);
    let why = SystemReason { reason: "logout", request: cx.clone(), ..SystemReason::default() };
    end(db, &why, sql, "logout", None, cx).await.map(drop)
}

/// The live sessions of a user: one's own, or for an admin those of a user of its tenant.
///
/// # Errors
/// 404 for a user that the caller may not see.
pub async fn list(db: &Db, me: &Identity, user: Option<Uuid>) -> Result<Vec<Session>, Error> {
    let user = match user {
        Some(other) if other != me.user_id.0 => {
            me.require("users", Action::Read)?;
            user::read(db, me, other).await?.id
        }
        _ => me.user_id.0,
    };
    let mut sql =
        Sql::new("SELECT id, ip, user_agent, created_at, last_used_at, expires_at FROM sessions WHERE user_id = ");
    sql.bind(user).push(" AND revoked_at IS NULL AND expires_at > now() ORDER BY last_used_at DESC, id LIMIT 200");
    let why = acting(me, "sessions", None, &RequestContext::default());
    let rows = db.system(&why, async |tx: &mut SystemTx| tx.rows(sql.clone()).await).await?;
    rows.iter()
        .map(|r| {
            let id: Uuid = col(r, 0)?;
            Ok(Session {
                id,
                current: id == me.sid,
                ip: col(r, 1)?,
                user_agent: col(r, 2)?,
                created_at: col(r, 3)?,
                last_used_at: col(r, 4)?,
                expires_at: col(r, 5)?,
            })
        })
        .collect()
}

fn only_people(me: &Identity) -> Result<(), Error> {
    if me.grants.is_some() { Err(Error::forbidden("An API key may not end sessions.")) } else { Ok(()) }
}

/// Ends one session: one's own, or for an admin one of its tenant.
///
/// # Errors
/// 403 for an API key; /// 404 when there is no such live session that the caller may see.
pub async fn revoke(db: &Db, me: &Identity, sid: Uuid, cx: &RequestContext) -> Result<(), Error> {
    only_people(me)?;
    let mut sql = Sql::new("s.id = ");
    sql.bind(sid).push(" AND (s.user_id = ").bind(me.user_id.0);
    if me.require("users", Action::Update).is_ok() {
        match me.tenant_id {
            Some(tenant) => sql.push(" OR u.tenant_id = ").bind(tenant.0),
            None => sql.push(" OR true"),
        };
    }
    sql.push(")");
    let ended = end(db, &acting(me, "session revoked", None, cx), sql, "revoked", Some(me), cx).await?;
    if ended.is_empty() { Err(Error::not_found()) } else { Ok(()) }
}

/// Ends all of one's own sessions but the current one; returns their ids.
///
/// # Errors
/// 403 for an API key; /// 503 when the database is away.
pub async fn revoke_others(db: &Db, me: &Identity, cx: &RequestContext) -> Result<Vec<Uuid>, Error> {
    only_people(me)?;
    let mut sql = Sql::new("s.user_id = ");
    sql.bind(me.user_id.0).push(" AND s.id <> ").bind(me.sid);
    end(db, &acting(me, "sessions revoked", None, cx), sql, "revoked", Some(me), cx).await
}

/// Ends live sessions, with an audit row each, in the name of `me` or of their owners.
async fn end(
    db: &Db,
    why: &SystemReason,
    condition: Sql,
    reason: &'static str,
    me: Option<&Identity>,
    cx: &RequestContext,
) -> Result<Vec<Uuid>, Error> {
    let mut sql = Sql::new("UPDATE sessions s SET revoked_at = now(), revoked_reason = ");
    sql.bind(Bind::text(reason)).push(" FROM users u WHERE u.id = s.user_id AND s.revoked_at IS NULL AND ");
    sql.append(condition).push(" RETURNING s.id, u.id, u.tenant_id, u.role");
    db.system(why, async |tx: &mut SystemTx| {
        let rows = tx.rows(sql.clone()).await?;
        let mut ended = Vec::with_capacity(rows.len());
        let mut entries = Vec::with_capacity(rows.len());
        for row in &rows {
            let (session, owner): (Uuid, Uuid) = (col(row, 0)?, col(row, 1)?);
            let role: Role = col::<String>(row, 3)?.parse()?;
            let entry = Entry {
                action: "USER_LOGOUT",
                tenant: col(row, 2)?,
                table: "sessions",
                record: Some(session),
                user: Some(me.map_or(owner, |me| me.user_id.0)),
                role: Some(me.map_or(role, |me| me.role)),
                values: json!({ "reason": reason, "user_id": owner }),
            };
            ended.push(session);
            entries.push(entry.insert(cx));
        }
        tx.flight(entries).await?;
        Ok(ended)
    })
    .await
}
