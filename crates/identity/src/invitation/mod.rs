//! Invitations: a new user gets a link and chooses the password. A link works once, for seven days, at the address it was
//! sent to, and only while the user has no password.

mod accept;

pub use accept::{Acceptance, InvitationView, accept, show};

use crate::{
    audit::Entry,
    credentials::Credentials,
    letter::{self, Kind, Recipient},
    link::{Person, actor, expiry, lock},
    mail_queue::cancel,
    sql::{acting, col, one},
    token,
    user::{self, User},
};
use aisha_auth::{Action, Identity, Role};
use aisha_db::{Bind, Db, PgRow, RequestContext, Sql, SystemTx};
use aisha_kernel::{Error, TenantId, new_id};
use serde::Serialize;
use serde_json::json;
use time::{Duration, OffsetDateTime, format_description::well_known::Rfc3339};
use utoipa::ToSchema;
use uuid::Uuid;

/// Life of an invitation.
const LIFE: Duration = Duration::days(7);
/// The page of the web application that a link leads to.
const PAGE: &str = "accept-invite";

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
