//! The other side of an invitation: what its link shows, and choosing the password.

use crate::{
    audit::Entry,
    credentials::Credentials,
    hashing,
    link::invalid_link,
    proof::ACTIVE,
    session::{self, SignedIn},
    sql::col,
    token,
};
use aisha_auth::{Role, password};
use aisha_db::{Bind, Db, RequestContext, Sql, SystemReason, SystemTx};
use aisha_kernel::{Error, FieldError, TenantId};
use serde::Serialize;
use serde_json::json;
use time::OffsetDateTime;
use utoipa::ToSchema;
use uuid::Uuid;

/// Whether a link works, of `invitations i` and `users u`; all but the tenant's and the user's own state.
const LIVE: &str = "i.accepted_at IS NULL AND i.revoked_at IS NULL AND i.expires_at > now() AND i.email = u.email \
     AND u.password_hash IS NULL";

/// What the page behind the link shows.
#[derive(Debug, Serialize, ToSchema)]
pub struct InvitationView {
    /// The address to sign in with.
    pub email: String,
    /// Given name, as far as it is known.
    pub first_name: String,
    /// Family name, as far as it is known.
    pub last_name: String,
    /// The tenant's name; null for a superadmin.
    pub tenant_name: Option<String>,
    /// When the link stops working.
    #[serde(with = "time::serde::rfc3339")]
    pub expires_at: OffsetDateTime,
}

/// What the invited person sends.
#[derive(Debug, Clone, Default)]
pub struct Acceptance {
    /// Of the link.
    pub token: String,
    /// The password to be.
    pub password: String,
    /// Given name, where it differs from what was shown.
    pub first_name: Option<String>,
    /// Family name, likewise.
    pub last_name: Option<String>,
}

impl Acceptance {
    fn check(&self) -> Result<(), Error> {
        let mut problems = password::check("password", &self.password);
        for (field, name) in [("first_name", &self.first_name), ("last_name", &self.last_name)] {
            if name.as_ref().is_some_and(|n| n.trim().chars().count() > 200 || n.chars().any(char::is_control)) {
                problems.push(FieldError::new(field, "must have at most 200 characters, none of them a control one"));
            }
        }
        if problems.is_empty() { Ok(()) } else { Err(Error::validation(problems)) }
    }
}

struct Found {
    id: Uuid,
    user: Uuid,
    tenant: Option<TenantId>,
    role: Role,
    view: InvitationView,
}

async fn find(db: &Db, shown: &str) -> Result<Found, Error> {
    let id = token::row_of(shown).ok_or_else(invalid_link)?;
    let mut sql = Sql::new(
        "SELECT i.token_hash, u.id, u.tenant_id, u.role, u.email, u.first_name, u.last_name, t.name, i.expires_at \
         FROM invitations i JOIN users u ON u.id = i.user_id LEFT JOIN tenant t ON t.id = u.tenant_id WHERE i.id = ",
    );
    sql.bind(id).push(" AND ").push(LIVE).push(" AND ").push(ACTIVE);
    let why = SystemReason { reason: "invitation", ..SystemReason::default() };
    let rows = db.system(&why, async |tx: &mut SystemTx| tx.rows(sql.clone()).await).await?;
    let row = rows.first().ok_or_else(invalid_link)?;
    if !token::is_hash_of(&col::<Vec<u8>>(row, 0)?, shown) {
        return Err(invalid_link());
    }
    Ok(Found {
        id,
        user: col(row, 1)?,
        tenant: col::<Option<Uuid>>(row, 2)?.map(TenantId),
        role: col::<String>(row, 3)?.parse()?,
        view: InvitationView {
            email: col(row, 4)?,
            first_name: col(row, 5)?,
            last_name: col(row, 6)?,
            tenant_name: col(row, 7)?,
            expires_at: col(row, 8)?,
        },
    })
}

/// What the page behind a link shows.
///
/// # Errors
/// 404 `invalid_link`.
pub async fn show(db: &Db, token: &str) -> Result<InvitationView, Error> {
    Ok(find(db, token).await?.view)
}

/// Sets the password of the invited user and signs it in. Of two at once one succeeds.
///
/// # Errors
/// 404 `invalid_link`; 422 naming the field.
pub async fn accept(
    db: &Db,
    credentials: &Credentials,
    input: &Acceptance,
    cx: &RequestContext,
) -> Result<SignedIn, Error> {
    input.check()?;
    let found = find(db, &input.token).await?;
    let hash = hashing::hash(input.password.clone()).await?;
    let why = SystemReason {
        reason: "invitation accepted",
        tenant: found.tenant,
        user: Some(found.user),
        role: Some(found.role),
        request: cx.clone(),
    };
    db.system(&why, async |tx: &mut SystemTx| take(tx, &found, input, &hash, cx).await).await?;
    session::open(db, credentials, found.user, found.tenant, found.role, None, cx).await
}

async fn take(
    tx: &mut SystemTx,
    found: &Found,
    input: &Acceptance,
    hash: &str,
    cx: &RequestContext,
) -> Result<(), Error> {
    // The user first: everything that gives it a password waits here.
    let mut lock = Sql::new("SELECT id FROM users WHERE id = ");
    lock.bind(found.user).push(" FOR UPDATE");
    let mut used = Sql::new("UPDATE invitations i SET accepted_at = now() FROM users u LEFT JOIN tenant t ");
    used.push("ON t.id = u.tenant_id WHERE u.id = i.user_id AND i.id = ").bind(found.id).push(" AND ").push(LIVE);
    used.push(" AND ").push(ACTIVE).push(" RETURNING i.id");
    tx.rows(lock).await?;
    if tx.rows(used).await?.is_empty() {
        return Err(invalid_link());
    }
    let names: Vec<(&'static str, &str)> = [("first_name", &input.first_name), ("last_name", &input.last_name)]
        .into_iter()
        .filter_map(|(column, name)| Some((column, name.as_deref()?.trim())).filter(|(_, n)| !n.is_empty()))
        .collect();
    let mut user = Sql::new("UPDATE users SET password_changed_at = now(), password_hash = ");
    user.bind(Bind::text(hash));
    for (column, name) in &names {
        user.push(", ").push(*column).push(" = ").bind(Bind::text(*name));
    }
    user.push(" WHERE id = ").bind(found.user);
    let mut statements = vec![user];
    if let (Some(tenant), false) = (found.tenant, names.is_empty()) {
        let mut employee = Sql::new("UPDATE employees SET ");
        for (n, (column, name)) in names.iter().enumerate() {
            employee.push(if n == 0 { "" } else { ", " }).push(*column).push(" = ").bind(Bind::text(*name));
        }
        employee.push(" WHERE deleted_at IS NULL AND tenant_id = ").bind(tenant.0);
        employee.push(" AND user_id = ").bind(found.user);
        statements.push(employee);
    }
    let entry = Entry {
        action: "INVITATION_ACCEPTED",
        tenant: found.tenant.map(|t| t.0),
        table: "invitations",
        record: Some(found.id),
        user: Some(found.user),
        role: Some(found.role),
        values: json!({ "user_id": found.user }),
    };
    statements.push(entry.insert(cx));
    tx.flight(statements).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_acceptance_is_checked_at_once() {
        let bad = Acceptance { password: "short".into(), first_name: Some("A\nB".into()), ..Acceptance::default() };
        let fields: Vec<_> = bad.check().unwrap_err().details.into_iter().map(|d| d.field).collect();
        assert!(fields.contains(&"password".to_owned()) && fields.contains(&"first_name".to_owned()), "{fields:?}");
        let good = Acceptance { password: "Correct-Horse-7".into(), ..Acceptance::default() };
        assert!(good.check().is_ok());
    }
}
