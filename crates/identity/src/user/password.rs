//! A user's own password, and what every new password entails.

use crate::{
    audit::Entry,
    credentials::Credentials,
    hashing,
    letter::{self, Kind, Recipient},
    sql::{acting, col, one},
};
use aisha_auth::{Identity, password};
use aisha_db::{Bind, Db, RequestContext, Sql, SystemTx};
use aisha_kernel::{Error, TenantId};
use serde_json::json;
use uuid::Uuid;

/// Changes one's own password. All other sessions end, and one is told by e-mail.
///
/// # Errors
/// 403 for an API key; 422 naming `current_password` or `new_password`.
pub async fn change_password(
    db: &Db,
    credentials: &Credentials,
    me: &Identity,
    current: &str,
    new: &str,
    cx: &RequestContext,
) -> Result<(), Error> {
    if me.grants.is_some() {
        return Err(Error::forbidden("An API key may not change a password."));
    }
    let problems = password::check("new_password", new);
    if !problems.is_empty() {
        return Err(Error::validation(problems));
    }
    let why = acting(me, "password changed", me.tenant_id, cx);
    let mut sql = Sql::new("SELECT password_hash, email, full_name FROM users WHERE id = ");
    sql.bind(me.user_id.0);
    let row = one(db.system(&why, async |tx: &mut SystemTx| tx.rows(sql.clone()).await).await?)?;
    let stored: Option<String> = col(&row, 0)?;
    if current.len() > 1024 || !hashing::verify(current.to_owned(), stored.clone()).await? {
        return Err(Error::invalid("current_password", "is not the current password"));
    }
    let hash = hashing::hash(new.to_owned()).await?;
    let (email, name): (String, String) = (col(&row, 1)?, col(&row, 2)?);
    let letter = letter::notice(Recipient { email: &email, name: &name }, Kind::PasswordChanged, None)?;
    db.system(&why, async |tx: &mut SystemTx| {
        // The hash that was verified must still be the one in force: of two changes at once the second is refused.
        let mut sql = Sql::new("UPDATE users SET password_changed_at = now(), password_hash = ");
        sql.bind(Bind::text(&hash)).push(" WHERE id = ").bind(me.user_id.0).push(" AND password_hash = ");
        sql.bind(Bind::Text(stored.clone(), "text")).push(" RETURNING id");
        let ended = end_sessions(me.user_id.0, me.sid, "password changed");
        let entry = reset_entry(me, me.user_id.0, me.tenant_id).insert(cx);
        let notice = credentials.queue(me.user_id.0, Kind::PasswordChanged, &letter)?.insert;
        let results = tx.flight(vec![sql, ended, entry, notice]).await?;
        if results.first().is_none_or(Vec::is_empty) {
            return Err(Error::conflict("The password was changed at the same time."));
        }
        Ok(())
    })
    .await
}

/// Ends all live sessions of a user but one.
pub(crate) fn end_sessions(user: Uuid, but: Uuid, reason: &'static str) -> Sql {
    let mut sql = Sql::new("UPDATE sessions SET revoked_at = now(), revoked_reason = ");
    sql.bind(Bind::text(reason)).push(" WHERE revoked_at IS NULL AND user_id = ").bind(user);
    sql.push(" AND id <> ").bind(but);
    sql
}

/// The audit row of a new password: the hash itself never reaches the log, so no trigger writes one.
pub(super) fn reset_entry(me: &Identity, user: Uuid, tenant: Option<TenantId>) -> Entry {
    Entry {
        action: "PASSWORD_RESET",
        tenant: tenant.map(|t| t.0),
        table: "users",
        record: Some(user),
        user: Some(me.user_id.0),
        role: Some(me.role),
        values: json!({ "by": if user == me.user_id.0 { "self" } else { "administrator" } }),
    }
}
