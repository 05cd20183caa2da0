//! Invitations: a new user gets a link and chooses the password. A link works once, for seven days, at the address it was
//! sent to, and only while the user has no password.

use crate::{
    audit::Entry,
    credentials::Credentials,
    hashing,
    letter::{self, Kind, Recipient},
    link::{Person, actor, expiry, invalid_link, lock},
    mail_queue::cancel,
    proof::ACTIVE,
    session::{self, SignedIn},
    sql::{acting, col, one},
    token,
    user::{self, User},
};
use aisha_auth::{Action, Identity, Role, password};
use aisha_db::{Bind, Db, PgRow, RequestContext, Sql, SystemReason, SystemTx};
use aisha_kernel::{Error, FieldError, TenantId, new_id};
use serde::Serialize;
use serde_json::json;
use time::{Duration, OffsetDateTime, format_description::well_known::Rfc3339};
use utoipa::ToSchema;
use uuid::Uuid;

/// Life of an invitation.
const LIFE: Duration = Duration::days(7);
/// The page of the web application that a link leads to.
const PAGE: &str = "accept-invite";

/// Whether a link works, of `invitations i` and `users u`; all but the tenant's and the user's own state.
const LIVE: &str = "i.accepted_at IS NULL AND i.revoked_at IS NULL AND i.expires_at > now() AND i.email = u.email \
     AND u.password_hash IS NULL";

const STATUS: &str = "CASE WHEN i.accepted_at IS NOT NULL THEN 'accepted' \
     WHEN i.revoked_at IS NOT NULL OR i.email <> u.email OR u.password_hash IS NOT NULL THEN 'revoked' \
     WHEN i.expires_at <= now() THEN 'expired' ELSE 'pending' END";

/// An invitation that was just made. Its token is in the e-mail and nowhere else.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct NewInvitation {
    /// Id.
    pub id: Uuid,
    /// `pending`.
    pub status: &'static str,
    /// When the link stops working.
    #[serde(with = "time::serde::rfc3339")]
    pub expires_at: OffsetDateTime,
}

/// A user that was just made, with its invitation if one was sent.
#[derive(Debug, Serialize, ToSchema)]
pub struct InvitedUser {
    /// The user.
    #[serde(flatten)]
    pub user: User,
    /// The invitation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub invitation: Option<NewInvitation>,
}

/// An invitation as admins see it.
#[derive(Debug, Serialize, ToSchema)]
pub struct Invitation {
    /// Id.
    pub id: Uuid,
    /// The user who was invited.
    pub user_id: Uuid,
    /// The user's tenant; null for a superadmin.
    pub tenant_id: Option<Uuid>,
    /// Where the link was sent.
    pub email: String,
    /// The user's name.
    pub full_name: String,
    /// The user's role.
    pub role: String,
    /// `pending`, `accepted`, `expired` or `revoked` (also when another one was sent, the address was changed, or the
    /// user got a password otherwise).
    pub status: String,
    /// What became of the e-mail: `queued`, `sent` or `failed`; null when it was withdrawn or is no longer known.
    pub email_status: Option<String>,
    /// What the mail server said last, where the e-mail has not left.
    pub email_error: Option<String>,
    /// Who invited.
    pub created_by: Option<Uuid>,
    /// When.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    /// When the link stops working.
    #[serde(with = "time::serde::rfc3339")]
    pub expires_at: OffsetDateTime,
    /// When the user chose a password.
    #[serde(with = "time::serde::rfc3339::option")]
    pub accepted_at: Option<OffsetDateTime>,
    /// When it was withdrawn.
    #[serde(with = "time::serde::rfc3339::option")]
    pub revoked_at: Option<OffsetDateTime>,
}

/// A page of invitations.
#[derive(Debug, Serialize, ToSchema)]
pub struct InvitationPage {
    /// The invitations, newest first.
    pub invitations: Vec<Invitation>,
    /// How many there are in all.
    pub total: i64,
    /// The limit that was used.
    pub limit: i64,
    /// The offset that was used.
    pub offset: i64,
}

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

/// Which invitations to list. Everything is optional.
#[derive(Debug, Clone, Default)]
pub struct InvitationQuery {
    /// At most this many, 1 to 200; 50 by default.
    pub limit: Option<i64>,
    /// After this many.
    pub offset: Option<i64>,
    /// Of this tenant. A superadmin without one sees all.
    pub tenant: Option<TenantId>,
    /// `pending`, `accepted`, `expired` or `revoked`.
    pub status: Option<String>,
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

/// Invites a user of this transaction, whose row it holds: earlier invitations end, their e-mails too as far as they have
/// not left.
pub(crate) async fn issue(
    tx: &mut SystemTx,
    credentials: &Credentials,
    me: &Identity,
    to: &Person,
    cx: &RequestContext,
) -> Result<NewInvitation, Error> {
    let id = new_id();
    let (token, hash) = token::generate(id)?;
    let expires_at = expiry(LIFE);
    let (inviter, tenant) = actor(tx, me, to.tenant).await?;
    let link = credentials.link(PAGE, &token);
    let recipient = Recipient { email: &to.email, name: &to.name };
    let letter = letter::invitation(recipient, &inviter, tenant.as_deref(), &link, expires_at)?;
    let queued = credentials.queue(to.id, Kind::Invitation, &letter)?;
    let mut withdraw = Sql::new(
        "UPDATE invitations SET revoked_at = now() WHERE accepted_at IS NULL AND revoked_at IS NULL AND user_id = ",
    );
    withdraw.bind(to.id);
    let mut unsent = Sql::new("kind = 'invitation' AND user_id = ");
    unsent.bind(to.id);
    let mut insert =
        Sql::new("INSERT INTO invitations (id, user_id, email, token_hash, email_id, created_by, expires_at) VALUES (");
    insert.bind(id).push(", ").bind(to.id).push(", ").bind(Bind::text(&to.email)).push(", ");
    insert.bind(Bind::Bytes(hash)).push(", ").bind(queued.id).push(", ").bind(me.user_id.0).push(", ");
    insert.bind(Bind::Text(Some(expires_at.format(&Rfc3339).map_err(Error::internal)?), "timestamptz")).push(")");
    let entry = entry("INVITATION_SENT", me, to.tenant, id, to.id);
    tx.flight(vec![withdraw, cancel(unsent), queued.insert, insert, entry.insert(cx)]).await?;
    Ok(NewInvitation { id, status: "pending", expires_at })
}

fn entry(action: &'static str, me: &Identity, tenant: Option<TenantId>, invitation: Uuid, user: Uuid) -> Entry {
    Entry {
        action,
        tenant: tenant.map(|t| t.0),
        table: "invitations",
        record: Some(invitation),
        user: Some(me.user_id.0),
        role: Some(me.role),
        values: json!({ "user_id": user }),
    }
}

/// Invites a user who has no password yet, or once more: an earlier link stops working.
///
/// # Errors
/// 403 without the right or for somebody above; 404 for nobody the caller may see; 409 for a user who has a password or
/// is not active.
pub async fn invite(
    db: &Db,
    credentials: &Credentials,
    me: &Identity,
    user: Uuid,
    cx: &RequestContext,
) -> Result<NewInvitation, Error> {
    me.require("users", Action::Create)?;
    let tenant = user::tenant_of(db, me, user).await?;
    db.system(&acting(me, "invitation", tenant, cx), async |tx: &mut SystemTx| {
        let person = lock(tx, me, user).await?;
        if person.has_password {
            return Err(Error::conflict("This user has a password already: send a link to reset it."));
        }
        if !person.active {
            return Err(Error::conflict("This user is not active: activate it first."));
        }
        issue(tx, credentials, me, &person, cx).await
    })
    .await
}

/// A page of invitations, newest first.
///
/// # Errors
/// 403 without the right or for another tenant; 400 naming a parameter.
pub async fn list(db: &Db, me: &Identity, query: &InvitationQuery) -> Result<InvitationPage, Error> {
    me.require("users", Action::Read)?;
    let tenant = user::reach(me, query.tenant)?;
    let (limit, offset) = (query.limit.unwrap_or(50), query.offset.unwrap_or(0));
    if !(1..=200).contains(&limit) {
        return Err(Error::parameter("limit", "must be between 1 and 200"));
    }
    if !(0..=1_000_000).contains(&offset) {
        return Err(Error::parameter("offset", "must be between 0 and 1000000"));
    }
    let mut condition = Sql::new(" FROM invitations i JOIN users u ON u.id = i.user_id LEFT JOIN email_outbox o ");
    condition.push("ON o.id = i.email_id WHERE true");
    if let Some(tenant) = tenant {
        condition.push(" AND u.tenant_id = ").bind(tenant.0);
    }
    if let Some(status) = &query.status {
        if !["pending", "accepted", "expired", "revoked"].contains(&status.as_str()) {
            return Err(Error::parameter("status", "must be pending, accepted, expired or revoked"));
        }
        condition.push(" AND ").push(STATUS).push(" = ").bind(Bind::text(status));
    }
    let mut count = Sql::new("SELECT count(*)");
    count.append(condition.clone());
    let mut page = Sql::new("SELECT i.id, u.id, u.tenant_id, i.email, u.full_name, u.role, ");
    page.push(STATUS).push(", CASE WHEN o.sent_at IS NOT NULL THEN 'sent' WHEN o.failed_at IS NOT NULL THEN 'failed' ");
    page.push("WHEN o.id IS NOT NULL THEN 'queued' END, o.error, i.created_by, i.created_at, i.expires_at, ");
    page.push("i.accepted_at, i.revoked_at").append(condition);
    page.push(" ORDER BY i.created_at DESC, i.id DESC LIMIT ").bind(Bind::Int(limit));
    page.push(" OFFSET ").bind(Bind::Int(offset));
    let why = acting(me, "invitations", tenant, &RequestContext::default());
    db.system(&why, async |tx: &mut SystemTx| {
        let mut results = tx.flight(vec![count.clone(), page.clone()]).await?;
        let invitations = results.pop().unwrap_or_default().iter().map(from_row).collect::<Result<Vec<_>, _>>()?;
        let total = col(&one(results.pop().unwrap_or_default())?, 0)?;
        Ok(InvitationPage { invitations, total, limit, offset })
    })
    .await
}

fn from_row(row: &PgRow) -> Result<Invitation, Error> {
    Ok(Invitation {
        id: col(row, 0)?,
        user_id: col(row, 1)?,
        tenant_id: col(row, 2)?,
        email: col(row, 3)?,
        full_name: col(row, 4)?,
        role: col(row, 5)?,
        status: col(row, 6)?,
        email_status: col(row, 7)?,
        email_error: col(row, 8)?,
        created_by: col(row, 9)?,
        created_at: col(row, 10)?,
        expires_at: col(row, 11)?,
        accepted_at: col(row, 12)?,
        revoked_at: col(row, 13)?,
    })
}

/// Withdraws an invitation. Again is no error.
///
/// # Errors
/// 403 without the right or for somebody above; 404 for none that the caller may see; 409 when it was accepted.
pub async fn revoke(db: &Db, me: &Identity, id: Uuid, cx: &RequestContext) -> Result<(), Error> {
    me.require("users", Action::Delete)?;
    let tenant = user::reach(me, None)?;
    db.system(&acting(me, "invitation revoked", tenant, cx), async |tx: &mut SystemTx| {
        let mut sql = Sql::new(
            "SELECT u.id, u.tenant_id, u.role, i.accepted_at IS NOT NULL, i.revoked_at IS NOT NULL, i.email_id \
             FROM invitations i JOIN users u ON u.id = i.user_id WHERE i.id = ",
        );
        sql.bind(id);
        if let Some(tenant) = tenant {
            sql.push(" AND u.tenant_id = ").bind(tenant.0);
        }
        sql.push(" FOR UPDATE OF i");
        let row = one(tx.rows(sql).await?)?;
        if col::<String>(&row, 2)?.parse::<Role>()? > me.role {
            return Err(Error::forbidden("You may not withdraw the invitation of somebody above you."));
        }
        if col(&row, 3)? {
            return Err(Error::conflict("This invitation was accepted: deactivate the user instead."));
        }
        if col(&row, 4)? {
            return Ok(());
        }
        let mut withdraw = Sql::new("UPDATE invitations SET revoked_at = now() WHERE id = ");
        withdraw.bind(id);
        let mut unsent = Sql::new("id = ");
        unsent.bind(Bind::Uuid(col(&row, 5)?));
        let home = col::<Option<Uuid>>(&row, 1)?.map(TenantId);
        let entry = entry("INVITATION_REVOKED", me, home, id, col(&row, 0)?);
        tx.flight(vec![withdraw, cancel(unsent), entry.insert(cx)]).await.map(drop)
    })
    .await
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
