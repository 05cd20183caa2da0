//! Links to choose a new password: asked for by somebody who is not signed in, or sent by an administrator. A link works
//! once, for an hour, at the address it was sent to, and not after the password has changed otherwise.
//!
//! A user who never had a password gets none: that would go around an invitation that was withdrawn.

use crate::{
    audit::Entry,
    credentials::Credentials,
    hashing,
    letter::{self, Kind, Recipient},
    link::{Person, actor, expiry, invalid_link, lock},
    proof::ACTIVE,
    sql::{acting, col, one},
    token,
    user::{self, end_sessions},
};
use aisha_auth::{Action, Identity, Role, password};
use aisha_db::{Bind, Db, RequestContext, Sql, SystemReason, SystemTx, record::value::is_email};
use aisha_kernel::{Error, TenantId, new_id};
use serde::Serialize;
use serde_json::json;
use time::{Duration, OffsetDateTime, format_description::well_known::Rfc3339};
use utoipa::ToSchema;
use uuid::Uuid;

/// Life of a link.
const LIFE: Duration = Duration::hours(1);
/// Links that one user gets within an hour, whoever asks.
const MOST_PER_HOUR: i64 = 5;
/// The page of the web application that a link leads to.
const PAGE: &str = "reset-password";

/// Whether a link works, of `password_resets r` and `users u`; all but the tenant's and the user's own state.
const LIVE: &str = "r.used_at IS NULL AND r.expires_at > now() AND r.email = u.email \
     AND u.password_hash IS NOT NULL AND coalesce(u.password_changed_at, '-infinity') < r.created_at";

/// A link that was sent.
#[derive(Debug, Serialize, ToSchema)]
pub struct ResetSent {
    /// Where to.
    pub email: String,
    /// When it stops working.
    #[serde(with = "time::serde::rfc3339")]
    pub expires_at: OffsetDateTime,
}

/// A link that waits for its transaction.
struct NewLink {
    statements: Vec<Sql>,
    expires_at: OffsetDateTime,
}

fn new_link(credentials: &Credentials, to: &Person, by: Option<(&Identity, &str)>) -> Result<NewLink, Error> {
    let id = new_id();
    let (token, hash) = token::generate(id)?;
    let expires_at = expiry(LIFE);
    let link = credentials.link(PAGE, &token);
    let recipient = Recipient { email: &to.email, name: &to.name };
    let letter = letter::password_reset(recipient, by.map(|(_, name)| name), &link, expires_at)?;
    let queued = credentials.queue(to.id, Kind::PasswordReset, &letter)?;
    let mut insert =
        Sql::new("INSERT INTO password_resets (id, user_id, email, token_hash, created_by, expires_at) SELECT ");
    insert.bind(id).push(", id, email, ").bind(Bind::Bytes(hash)).push(", ");
    insert.bind(Bind::Uuid(by.map(|(me, _)| me.user_id.0))).push(", ");
    insert.bind(Bind::Text(Some(expires_at.format(&Rfc3339).map_err(Error::internal)?), "timestamptz"));
    insert.push(" FROM users WHERE id = ").bind(to.id);
    Ok(NewLink { statements: vec![queued.insert, insert], expires_at })
}

/// Sends a link to an address, if it is that of an active user with a password who did not get too many lately. Does the
/// same work, and says nothing, if it is not.
///
/// # Errors
/// 503 when the database is away.
pub async fn request(db: &Db, credentials: &Credentials, email: &str, cx: &RequestContext) -> Result<(), Error> {
    let email = email.trim().to_lowercase();
    let plausible = email.len() <= 320 && is_email(&email);
    let why = SystemReason { reason: "password reset", request: cx.clone(), ..SystemReason::default() };
    db.system(&why, async |tx: &mut SystemTx| {
        let mut sql = Sql::new("SELECT u.id, u.tenant_id, u.full_name, u.email FROM users u LEFT JOIN tenant t ");
        sql.push("ON t.id = u.tenant_id WHERE u.password_hash IS NOT NULL AND ").push(ACTIVE).push(" AND u.email = ");
        sql.bind(Bind::text(if plausible { email.as_str() } else { "" }));
        sql.push(" AND (SELECT count(*) FROM password_resets r WHERE r.user_id = u.id AND r.created_by IS NULL ");
        sql.push("AND r.created_at > now() - interval '1 hour') < ").bind(Bind::Int(MOST_PER_HOUR));
        let rows = tx.rows(sql).await?;
        let found = rows.first();
        let to = Person {
            // No user has the nil id, so that the statements of a link to nobody find no row.
            id: found.map_or(Ok(Uuid::nil()), |row| col(row, 0))?,
            tenant: found.map_or(Ok(None), |row| col::<Option<Uuid>>(row, 1))?.map(TenantId),
            name: found.map_or(Ok("Somebody".to_owned()), |row| col(row, 2))?,
            email: found.map_or(Ok("somebody@example.invalid".to_owned()), |row| col(row, 3))?,
            has_password: true,
            active: true,
        };
        let mut statements = new_link(credentials, &to, None)?.statements;
        let shown = if plausible { email.as_str() } else { "(not an e-mail address)" };
        let entry = Entry {
            action: "PASSWORD_RESET_REQUESTED",
            tenant: to.tenant.map(|t| t.0),
            table: "users",
            record: found.map(|_| to.id),
            user: None,
            role: None,
            values: json!({ "email": shown, "sent": found.is_some() }),
        };
        statements.push(entry.insert(cx));
        tx.flight(statements).await.map(drop)
    })
    .await
}

/// Sends a link to a user in the name of an administrator. The password in force stays until the link is used.
///
/// # Errors
/// 403 without the right or for somebody above; 404 for nobody the caller may see; 409 for a user without a password or
/// who is not active.
pub async fn send(
    db: &Db,
    credentials: &Credentials,
    me: &Identity,
    user: Uuid,
    cx: &RequestContext,
) -> Result<ResetSent, Error> {
    me.require("users", Action::Update)?;
    let tenant = user::tenant_of(db, me, user).await?;
    db.system(&acting(me, "password reset", tenant, cx), async |tx: &mut SystemTx| {
        let person = lock(tx, me, user).await?;
        if !person.has_password {
            return Err(Error::conflict("This user has no password yet: send an invitation."));
        }
        if !person.active {
            return Err(Error::conflict("This user is not active: activate it first."));
        }
        let (name, _) = actor(tx, me, person.tenant).await?;
        let NewLink { mut statements, expires_at } = new_link(credentials, &person, Some((me, &name)))?;
        let entry = Entry {
            action: "PASSWORD_RESET_REQUESTED",
            tenant: person.tenant.map(|t| t.0),
            table: "users",
            record: Some(user),
            user: Some(me.user_id.0),
            role: Some(me.role),
            values: json!({ "by": "administrator" }),
        };
        statements.push(entry.insert(cx));
        tx.flight(statements).await?;
        Ok(ResetSent { email: person.email, expires_at })
    })
    .await
}

/// Sets the password with a link: all sessions of the user end, all its other links too, and it is told by e-mail.
/// Returns the user.
///
/// # Errors
/// 404 `invalid_link`; 422 naming `password`.
pub async fn redeem(
    db: &Db,
    credentials: &Credentials,
    shown: &str,
    password: &str,
    cx: &RequestContext,
) -> Result<Uuid, Error> {
    let problems = password::check("password", password);
    if !problems.is_empty() {
        return Err(Error::validation(problems));
    }
    let id = token::row_of(shown).ok_or_else(invalid_link)?;
    let mut sql = Sql::new("SELECT r.token_hash, u.id, u.tenant_id, u.role FROM password_resets r ");
    sql.push("JOIN users u ON u.id = r.user_id LEFT JOIN tenant t ON t.id = u.tenant_id WHERE r.id = ").bind(id);
    sql.push(" AND ").push(LIVE).push(" AND ").push(ACTIVE);
    let why = SystemReason { reason: "password reset", request: cx.clone(), ..SystemReason::default() };
    let rows = db.system(&why, async |tx: &mut SystemTx| tx.rows(sql.clone()).await).await?;
    let row = rows.first().ok_or_else(invalid_link)?;
    if !token::is_hash_of(&col::<Vec<u8>>(row, 0)?, shown) {
        return Err(invalid_link());
    }
    let (user, tenant): (Uuid, Option<Uuid>) = (col(row, 1)?, col(row, 2)?);
    let role: Role = col::<String>(row, 3)?.parse()?;
    let hash = hashing::hash(password.to_owned()).await?;
    let why = SystemReason { tenant: tenant.map(TenantId), user: Some(user), role: Some(role), ..why };
    db.system(&why, async |tx: &mut SystemTx| {
        let mut lock = Sql::new("SELECT email, full_name FROM users WHERE id = ");
        lock.bind(user).push(" FOR UPDATE");
        let row = one(tx.rows(lock).await?)?;
        let mut used = Sql::new("UPDATE password_resets r SET used_at = now() FROM users u LEFT JOIN tenant t ");
        used.push("ON t.id = u.tenant_id WHERE u.id = r.user_id AND r.id = ").bind(id).push(" AND ").push(LIVE);
        used.push(" AND ").push(ACTIVE).push(" RETURNING r.id");
        if tx.rows(used).await?.is_empty() {
            return Err(invalid_link());
        }
        let mut set = Sql::new("UPDATE users SET password_changed_at = now(), password_hash = ");
        set.bind(Bind::text(&hash)).push(" WHERE id = ").bind(user);
        let (email, name): (String, String) = (col(&row, 0)?, col(&row, 1)?);
        let letter = letter::notice(Recipient { email: &email, name: &name }, Kind::PasswordChanged, None)?;
        let entry = Entry {
            action: "PASSWORD_RESET",
            tenant,
            table: "users",
            record: Some(user),
            user: Some(user),
            role: Some(role),
            values: json!({ "by": "link" }),
        };
        let notice = credentials.queue(user, Kind::PasswordChanged, &letter)?.insert;
        let ended = end_sessions(user, Uuid::nil(), "password reset");
        tx.flight(vec![set, ended, entry.insert(cx), notice]).await.map(drop)
    })
    .await?;
    Ok(user)
}
