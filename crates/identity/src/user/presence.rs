//! Who is there: a heartbeat leaves its time on the user, and who was seen lately is online.

use super::reach;
use crate::sql::{acting, col, one};
use aisha_auth::{Action, Identity};
use aisha_db::{Bind, Db, RequestContext, Sql, SystemTx};
use aisha_kernel::{Error, TenantId};
use serde::Serialize;
use time::OffsetDateTime;
use utoipa::ToSchema;
use uuid::Uuid;

/// A heartbeat within this many seconds of the last one writes nothing.
const QUIET_SECONDS: i64 = 30;
/// SQL that is true for who is online: an active user, seen within two minutes.
pub(super) const ONLINE: &str = "(u.is_active AND coalesce(u.last_seen_at > now() - interval '2 minutes', false))";
/// Most people of one answer.
const MOST: i64 = 1_000;

/// `online` or `offline`.
pub(super) fn live_status(online: bool) -> &'static str {
    if online { "online" } else { "offline" }
}

/// Presence of one user.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Presence {
    /// The user.
    pub id: Uuid,
    /// Both names.
    pub full_name: String,
    /// `online` when the user was seen within two minutes, else `offline`.
    pub live_status: &'static str,
    /// When the user was last seen, to half a minute.
    #[serde(with = "time::serde::rfc3339::option")]
    pub last_seen_at: Option<OffsetDateTime>,
}

/// Who is there.
#[derive(Debug, Serialize, ToSchema)]
pub struct PresenceList {
    /// The users, who was seen last first; at most 1,000.
    pub users: Vec<Presence>,
    /// How many there are in all.
    pub total: i64,
}

const SELECT: &str = "u.id, u.full_name, u.last_seen_at, ";

fn from_row(row: &aisha_db::PgRow) -> Result<Presence, Error> {
    Ok(Presence {
        id: col(row, 0)?,
        full_name: col(row, 1)?,
        last_seen_at: col(row, 2)?,
        live_status: live_status(col(row, 3)?),
    })
}

/// Says that one is there. Writes at most once in half a minute, whatever the access level, and leaves no other trace.
///
/// # Errors
/// 403 for an API key: a program is nobody's presence.
pub async fn heartbeat(db: &Db, me: &Identity) -> Result<Presence, Error> {
    if me.grants.is_some() {
        return Err(Error::forbidden("An API key has no presence."));
    }
    let id = me.user_id.0;
    let mut seen = Sql::new("UPDATE users SET last_seen_at = now() WHERE id = ");
    seen.bind(id).push(" AND coalesce(last_seen_at < now() - make_interval(secs => CAST(");
    seen.bind(Bind::Int(QUIET_SECONDS)).push(" AS integer)), true)");
    let mut read = Sql::new("SELECT ");
    read.push(SELECT).push(ONLINE).push(" FROM users u WHERE u.id = ").bind(id);
    let why = acting(me, "heartbeat", me.tenant_id, &RequestContext::default());
    db.system(&why, async |tx: &mut SystemTx| {
        let mut results = tx.flight(vec![seen.clone(), read.clone()]).await?;
        from_row(&one(results.pop().unwrap_or_default())?)
    })
    .await
}

/// The active users of the tenant with their presence, for every colleague to see. `online` narrows to who is there, or
/// is not.
///
/// # Errors
/// 400 naming `tenant_id` for a superadmin who names none; 403 for another tenant or a key that may not read users.
pub async fn presence(
    db: &Db,
    me: &Identity,
    tenant: Option<TenantId>,
    online: Option<bool>,
) -> Result<PresenceList, Error> {
    if me.grants.as_ref().is_some_and(|grants| !grants.iter().any(|g| g.covers("users", Action::Read))) {
        return Err(Error::forbidden("You may not read users."));
    }
    let tenant = reach(me, tenant)?
        .ok_or_else(|| Error::parameter("tenant_id", "is required: presence is that of one tenant"))?;
    let mut condition = Sql::new(" FROM users u WHERE u.is_active AND u.tenant_id = ");
    condition.bind(tenant.0);
    match online {
        Some(true) => condition.push(" AND ").push(ONLINE),
        Some(false) => condition.push(" AND NOT ").push(ONLINE),
        None => &mut condition,
    };
    let mut count = Sql::new("SELECT count(*)");
    count.append(condition.clone());
    let mut list = Sql::new("SELECT ");
    list.push(SELECT).push(ONLINE).append(condition);
    list.push(" ORDER BY u.last_seen_at DESC NULLS LAST, u.id LIMIT ").bind(Bind::Int(MOST));
    let why = acting(me, "presence", Some(tenant), &RequestContext::default());
    db.system(&why, async |tx: &mut SystemTx| {
        let mut results = tx.flight(vec![count.clone(), list.clone()]).await?;
        let users = results.pop().unwrap_or_default().iter().map(from_row).collect::<Result<_, _>>()?;
        Ok(PresenceList { users, total: col(&one(results.pop().unwrap_or_default())?, 0)? })
    })
    .await
}
