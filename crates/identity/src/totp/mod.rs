//! The second factor: a code of a device, or a recovery code in its place.
//!
//! A tenant with the setting `require_totp` asks for it of all its users; those without one can do nothing but set one up
//! (see [`crate::session::SessionProof`]).

mod code;

use crate::{
    audit::Entry,
    credentials::Credentials,
    hashing,
    letter::{self, Kind, Recipient},
    link::{actor, lock},
    sql::{acting, col, one},
    user::{self, end_sessions},
};
use aisha_auth::{Action, Identity, Role};
use aisha_db::{Bind, Db, RequestContext, Sql, SystemTx};
use aisha_kernel::{Error, ErrorCode, TenantId, clock};
use code::Typed;
use serde::Serialize;
use serde_json::{Value, json};
use std::time::Duration;
use time::OffsetDateTime;
use utoipa::ToSchema;
use uuid::Uuid;

/// Wrong codes in a row after which no more are looked at for a while, wherever they come from: six digits can be guessed.
const MOST_FAILURES: i32 = 10;
/// That while, in minutes.
const LOCKED_MINUTES: u64 = 15;

/// A second factor that waits for its first code.
#[derive(Debug, Serialize, ToSchema)]
pub struct Enrolment {
    /// The secret, for typing into an authenticator app.
    pub secret: String,
    /// The same as an `otpauth://` address.
    pub otpauth_url: String,
    /// The address as a QR code: a `data:` URL of an SVG image.
    pub qr_code: String,
}

/// Recovery codes; shown once.
#[derive(Debug, Serialize, ToSchema)]
pub struct RecoveryCodes {
    /// Each stands in for the device once.
    pub recovery_codes: Vec<String>,
}

/// How it stands with the second factor of a user.
#[derive(Debug, Serialize, ToSchema)]
pub struct TotpStatus {
    /// Whether signing in asks for a code.
    pub enabled: bool,
    /// Whether one was begun and waits for its first code.
    pub pending: bool,
    /// Whether the tenant asks for it.
    pub required: bool,
    /// Since when it is on.
    #[serde(with = "time::serde::rfc3339::option")]
    pub enabled_at: Option<OffsetDateTime>,
    /// Recovery codes that were not used.
    pub recovery_codes_left: i64,
}

/// What a code turned out to be.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The user has no second factor.
    NotEnrolled,
    /// Right, and used up now. Says what it was.
    Right(&'static str),
    /// Wrong, too old or used before.
    Wrong,
    /// Too many were wrong.
    Locked,
}

impl Verdict {
    /// 429 for somebody who is locked out.
    pub(crate) fn locked() -> Error {
        let mut e = Error::new(ErrorCode::RateLimited, "Too many wrong codes.");
        e.retry_after = Some(Duration::from_secs(LOCKED_MINUTES * 60));
        e
    }
}

fn context(user: Uuid) -> String {
    format!("user_totp {user}")
}

fn wrong() -> Error {
    Error::invalid("otp", "is not the current code")
}

fn off() -> Error {
    Error::conflict("Two-step sign-in is not on.")
}

fn only_people(me: &Identity) -> Result<(), Error> {
    match me.grants {
        Some(_) => Err(Error::forbidden("An API key has no second factor.")),
        None => Ok(()),
    }
}

/// Whether a user has a second factor that signing in asks for.
pub(crate) async fn is_on(tx: &mut SystemTx, user: Uuid) -> Result<bool, Error> {
    let mut sql = Sql::new("SELECT 1 FROM user_totp WHERE confirmed_at IS NOT NULL AND user_id = ");
    sql.bind(user);
    Ok(!tx.rows(sql).await?.is_empty())
}

/// Looks at a code and uses it up; the transaction must be committed whatever the verdict. `confirmed` says which factor
/// is meant: the one in force, or the one that waits for its first code (which has no recovery codes).
pub(crate) async fn spend(
    tx: &mut SystemTx,
    credentials: &Credentials,
    user: Uuid,
    otp: &str,
    confirmed: bool,
) -> Result<Verdict, Error> {
    let mut sql =
        Sql::new("SELECT secret_sealed, last_step, CASE WHEN last_failure_at > now() - make_interval(mins => CAST(");
    sql.bind(Bind::Int(i64::try_from(LOCKED_MINUTES).unwrap_or(15))).push(" AS integer)) THEN failures ELSE 0 END ");
    sql.push("FROM user_totp WHERE user_id = ").bind(user);
    sql.push(if confirmed { " AND confirmed_at IS NOT NULL" } else { " AND confirmed_at IS NULL" }).push(" FOR UPDATE");
    let rows = tx.rows(sql).await?;
    let Some(row) = rows.first() else { return Ok(Verdict::NotEnrolled) };
    let failures: i32 = col(row, 2)?;
    if failures >= MOST_FAILURES {
        return Ok(Verdict::Locked);
    }
    let (what, step) = match code::typed(user, otp) {
        Typed::Device(digits) => {
            let secret = credentials.open(&context(user), &col::<Vec<u8>>(row, 0)?)?;
            let last: i64 = col(row, 1)?;
            let step = code::step(&secret, &digits, clock::now().unix_timestamp())?;
            ("code", step.filter(|step| *step > last))
        }
        Typed::Recovery(hash) if confirmed => {
            let mut used =
                Sql::new("UPDATE totp_recovery_codes SET used_at = now() WHERE used_at IS NULL AND user_id = ");
            used.bind(user).push(" AND code_hash = ").bind(Bind::Bytes(hash)).push(" RETURNING 1");
            ("recovery code", (!tx.rows(used).await?.is_empty()).then_some(0))
        }
        Typed::Recovery(_) | Typed::Nothing => ("", None),
    };
    let mut note = Sql::new("UPDATE user_totp SET ");
    match step {
        Some(step) => note.push("failures = 0, last_step = greatest(last_step, ").bind(Bind::Int(step)).push(")"),
        None => {
            note.push("last_failure_at = now(), failures = CAST(");
            note.bind(Bind::Int(i64::from(failures) + 1)).push(" AS integer)")
        }
    };
    note.push(" WHERE user_id = ").bind(user);
    tx.rows(note).await?;
    Ok(if step.is_some() { Verdict::Right(what) } else { Verdict::Wrong })
}

fn entry(action: &'static str, me: &Identity, user: Uuid, tenant: Option<TenantId>, values: Value) -> Entry {
    Entry {
        action,
        tenant: tenant.map(|t| t.0),
        table: "user_totp",
        record: Some(user),
        user: Some(me.user_id.0),
        role: Some(me.role),
        values,
    }
}

/// The e-mail that tells a user what was done to its second factor.
async fn notice(
    tx: &mut SystemTx,
    credentials: &Credentials,
    user: Uuid,
    kind: Kind,
    by: Option<&str>,
) -> Result<Sql, Error> {
    let mut sql = Sql::new("SELECT email, full_name FROM users WHERE id = ");
    sql.bind(user);
    let row = one(tx.rows(sql).await?)?;
    let (email, name): (String, String) = (col(&row, 0)?, col(&row, 1)?);
    let letter = letter::notice(Recipient { email: &email, name: &name }, kind, by)?;
    Ok(credentials.queue(user, kind, &letter)?.insert)
}

/// How it stands with one's own second factor.
///
/// # Errors
/// 403 for an API key.
pub async fn status(db: &Db, me: &Identity) -> Result<TotpStatus, Error> {
    only_people(me)?;
    status_of(db, me, me.user_id.0, me.tenant_id).await
}

/// How it stands with the second factor of a user, for admins.
///
/// # Errors
/// 403 without the right; 404 for nobody the caller may see.
pub async fn user_status(db: &Db, me: &Identity, user: Uuid) -> Result<TotpStatus, Error> {
    me.require("users", Action::Read)?;
    let tenant = user::tenant_of(db, me, user).await?;
    status_of(db, me, user, tenant).await
}

async fn status_of(db: &Db, me: &Identity, user: Uuid, tenant: Option<TenantId>) -> Result<TotpStatus, Error> {
    let mut sql = Sql::new(
        "SELECT x.user_id IS NOT NULL, x.confirmed_at, coalesce(t.settings -> 'require_totp' = 'true', false), \
         (SELECT count(*) FROM totp_recovery_codes c WHERE c.user_id = u.id AND c.used_at IS NULL) FROM users u \
         LEFT JOIN user_totp x ON x.user_id = u.id LEFT JOIN tenant t ON t.id = u.tenant_id WHERE u.id = ",
    );
    sql.bind(user);
    let why = acting(me, "totp", tenant, &RequestContext::default());
    let row = one(db.system(&why, async |tx: &mut SystemTx| tx.rows(sql.clone()).await).await?)?;
    let enabled_at: Option<OffsetDateTime> = col(&row, 1)?;
    Ok(TotpStatus {
        enabled: enabled_at.is_some(),
        pending: col::<bool>(&row, 0)? && enabled_at.is_none(),
        required: col(&row, 2)?,
        enabled_at,
        recovery_codes_left: col(&row, 3)?,
    })
}

/// Makes a secret that waits for its first code; an earlier one that waits is replaced.
///
/// # Errors
/// 403 for an API key; 409 when a second factor is on.
pub async fn enrol(db: &Db, credentials: &Credentials, me: &Identity) -> Result<Enrolment, Error> {
    only_people(me)?;
    let user = me.user_id.0;
    let secret = code::new_secret()?;
    let mut insert = Sql::new("INSERT INTO user_totp (user_id, secret_sealed) SELECT id, ");
    insert.bind(Bind::Bytes(credentials.seal(&context(user), &secret)?)).push(" FROM users WHERE id = ").bind(user);
    insert.push(" ON CONFLICT (user_id) DO UPDATE SET secret_sealed = excluded.secret_sealed, created_at = now() ");
    insert.push("WHERE user_totp.confirmed_at IS NULL RETURNING (SELECT email FROM users u WHERE u.id = user_id)");
    let why = acting(me, "totp", me.tenant_id, &RequestContext::default());
    let rows = db.system(&why, async |tx: &mut SystemTx| tx.rows(insert.clone()).await).await?;
    let Some(row) = rows.first() else {
        return Err(Error::conflict("Two-step sign-in is on already: switch it off first."));
    };
    let device = code::device(&secret, &col::<String>(row, 0)?)?;
    let otpauth_url = device.to_url().map_err(|e| Error::internal(e.to_string()))?;
    Ok(Enrolment { secret: device.secret().to_base32(), qr_code: code::qr(&otpauth_url)?, otpauth_url })
}

/// Switches the second factor on with a first code of the device.
///
/// # Errors
/// 403 for an API key; 409 when none waits; 422 naming `otp`; 429 after too many wrong codes.
pub async fn verify(
    db: &Db,
    credentials: &Credentials,
    me: &Identity,
    otp: &str,
    cx: &RequestContext,
) -> Result<RecoveryCodes, Error> {
    only_people(me)?;
    let user = me.user_id.0;
    let codes = code::new_recovery_codes(user)?;
    let verdict = db
        .system(&acting(me, "totp on", me.tenant_id, cx), async |tx: &mut SystemTx| {
            let verdict = spend(tx, credentials, user, otp, false).await?;
            if let Verdict::Right(_) = verdict {
                let mut on = Sql::new("UPDATE user_totp SET confirmed_at = now() WHERE user_id = ");
                on.bind(user);
                let mail = notice(tx, credentials, user, Kind::TotpEnabled, None).await?;
                let entry = entry("TOTP_ENABLED", me, user, me.tenant_id, json!({}));
                let mut statements = vec![on, mail, entry.insert(cx)];
                statements.extend(replace_codes(user, &codes));
                tx.flight(statements).await?;
            }
            Ok(verdict)
        })
        .await?;
    match verdict {
        Verdict::Right(_) => Ok(shown(codes)),
        Verdict::NotEnrolled => Err(Error::conflict("There is nothing to verify: begin with enrol.")),
        Verdict::Wrong => Err(wrong()),
        Verdict::Locked => Err(Verdict::locked()),
    }
}

fn shown(codes: Vec<(String, Vec<u8>)>) -> RecoveryCodes {
    RecoveryCodes { recovery_codes: codes.into_iter().map(|(shown, _)| shown).collect() }
}

fn replace_codes(user: Uuid, codes: &[(String, Vec<u8>)]) -> Vec<Sql> {
    let mut old = Sql::new("DELETE FROM totp_recovery_codes WHERE user_id = ");
    old.bind(user);
    let mut new = Sql::new("INSERT INTO totp_recovery_codes (user_id, code_hash) VALUES ");
    for (n, (_, hash)) in codes.iter().enumerate() {
        new.push(if n == 0 { "(" } else { ", (" }).bind(user).push(", ").bind(Bind::Bytes(hash.clone())).push(")");
    }
    vec![old, new]
}

/// Replaces the recovery codes.
///
/// # Errors
/// 403 for an API key; 409 when no second factor is on; 422 naming `otp`; 429 after too many wrong codes.
pub async fn new_recovery_codes(
    db: &Db,
    credentials: &Credentials,
    me: &Identity,
    otp: &str,
    cx: &RequestContext,
) -> Result<RecoveryCodes, Error> {
    only_people(me)?;
    let user = me.user_id.0;
    let codes = code::new_recovery_codes(user)?;
    let mut statements = replace_codes(user, &codes);
    statements.push(entry("TOTP_RECOVERY_CODES_REPLACED", me, user, me.tenant_id, json!({})).insert(cx));
    with_code(db, credentials, me, otp, "totp recovery codes", cx, async |tx: &mut SystemTx| {
        tx.flight(statements.clone()).await.map(drop)
    })
    .await?;
    Ok(shown(codes))
}

/// Switches the second factor off.
///
/// # Errors
/// 403 for an API key; 409 when none is on; 422 naming `password` or `otp`; 429 after too many wrong codes.
pub async fn disable(
    db: &Db,
    credentials: &Credentials,
    me: &Identity,
    password: &str,
    otp: &str,
    cx: &RequestContext,
) -> Result<(), Error> {
    only_people(me)?;
    let user = me.user_id.0;
    let mut sql = Sql::new("SELECT password_hash FROM users WHERE id = ");
    sql.bind(user);
    let why = acting(me, "totp off", me.tenant_id, cx);
    let row = one(db.system(&why, async |tx: &mut SystemTx| tx.rows(sql.clone()).await).await?)?;
    if password.len() > 1024 || !hashing::verify(password.to_owned(), col(&row, 0)?).await? {
        return Err(Error::invalid("password", "is not the current password"));
    }
    with_code(db, credentials, me, otp, "totp off", cx, async |tx: &mut SystemTx| {
        let mail = notice(tx, credentials, user, Kind::TotpDisabled, None).await?;
        let entry = entry("TOTP_DISABLED", me, user, me.tenant_id, json!({}));
        tx.flight(vec![remove(user), mail, entry.insert(cx)]).await.map(drop)
    })
    .await
}

fn remove(user: Uuid) -> Sql {
    let mut sql = Sql::new("DELETE FROM user_totp WHERE user_id = ");
    sql.bind(user).push(" RETURNING confirmed_at IS NOT NULL");
    sql
}

/// Does something that takes a code of the second factor in force.
async fn with_code(
    db: &Db,
    credentials: &Credentials,
    me: &Identity,
    otp: &str,
    reason: &'static str,
    cx: &RequestContext,
    then: impl AsyncFn(&mut SystemTx) -> Result<(), Error>,
) -> Result<(), Error> {
    let verdict = db
        .system(&acting(me, reason, me.tenant_id, cx), async |tx: &mut SystemTx| {
            let verdict = spend(tx, credentials, me.user_id.0, otp, true).await?;
            if let Verdict::Right(_) = verdict {
                then(tx).await?;
            }
            Ok(verdict)
        })
        .await?;
    match verdict {
        Verdict::Right(_) => Ok(()),
        Verdict::NotEnrolled => Err(off()),
        Verdict::Wrong => Err(wrong()),
        Verdict::Locked => Err(Verdict::locked()),
    }
}

/// Removes the second factor of a user whose device is lost: its sessions end, and it is told by e-mail.
///
/// # Errors
/// 403 without the right, for somebody above or for oneself; 404 for nobody the caller may see; 409 when none is on.
pub async fn reset(
    db: &Db,
    credentials: &Credentials,
    me: &Identity,
    user: Uuid,
    cx: &RequestContext,
) -> Result<(), Error> {
    me.require("users", Action::Update)?;
    let tenant = user::tenant_of(db, me, user).await?;
    if user == me.user_id.0 {
        let message =
            "Switch off your own second factor with your password and a code, or have another admin reset it.";
        return Err(Error::forbidden(message));
    }
    db.system(&acting(me, "totp reset", tenant, cx), async |tx: &mut SystemTx| {
        lock(tx, me, user).await?;
        let removed = tx.rows(remove(user)).await?;
        if !removed.first().map(|row| col::<bool>(row, 0)).transpose()?.unwrap_or(false) {
            return Err(off());
        }
        let (name, _) = actor(tx, me, tenant).await?;
        let mail = notice(tx, credentials, user, Kind::TotpReset, Some(&name)).await?;
        let entry = entry("TOTP_RESET", me, user, tenant, json!({ "by": "administrator" }));
        tx.flight(vec![end_sessions(user, Uuid::nil(), "totp reset"), mail, entry.insert(cx)]).await.map(drop)
    })
    .await
}

/// The audit row of a recovery code that opened a session: somebody may have found the list.
pub(crate) fn recovery_used(user: Uuid, tenant: Option<TenantId>, role: Role) -> Entry {
    Entry {
        action: "TOTP_RECOVERY_CODE_USED",
        tenant: tenant.map(|t| t.0),
        table: "user_totp",
        record: Some(user),
        user: Some(user),
        role: Some(role),
        values: json!({}),
    }
}
