//! Reading one's notifications. Marking one as read is reading too and open to those who may only read, whose transactions
//! write nothing: so what is written here is written with the platform's rights, held to the caller's own rows.

use crate::sql::col;
use aisha_auth::Principal;
use aisha_db::{Bind, Db, PgRow, RequestContext, Sql, Timestamp, acting};
use aisha_kernel::{Error, cursor::Cursor};
use serde::Serialize;
use uuid::Uuid;

/// A notification as the API shows it.
#[derive(Debug, Serialize)]
pub struct Notification {
    /// Identifier.
    pub id: Uuid,
    /// The tenant.
    pub tenant_id: Uuid,
    /// Whose it is.
    pub user_id: Uuid,
    /// Its kind.
    pub r#type: String,
    /// What happened.
    pub title: String,
    /// More of it.
    pub message: String,
    /// Where to look, below the web application's address.
    pub link: Option<String>,
    /// The kind of thing that it is about.
    pub related_type: Option<String>,
    /// The thing, where it is one.
    pub related_id: Option<Uuid>,
    /// How many occasions it stands for.
    pub count: i64,
    /// Whether it was read.
    pub is_read: bool,
    /// When.
    pub read_at: Option<Timestamp>,
    /// When it first happened.
    pub created_at: Timestamp,
    /// When it last happened.
    pub updated_at: Timestamp,
    /// The event that it tells of, or the first of them.
    pub event_id: Option<Uuid>,
}

const COLUMNS: &str = "id, tenant_id, user_id, type, title, message, link, related_type, related_id, count, is_read, \
    read_at, created_at, updated_at, event_id";

fn from_row(row: &PgRow) -> Result<Notification, Error> {
    Ok(Notification {
        id: col(row, 0)?,
        tenant_id: col(row, 1)?,
        user_id: col(row, 2)?,
        r#type: col(row, 3)?,
        title: col(row, 4)?,
        message: col(row, 5)?,
        link: col(row, 6)?,
        related_type: col(row, 7)?,
        related_id: col(row, 8)?,
        count: col(row, 9)?,
        is_read: col(row, 10)?,
        read_at: col(row, 11)?,
        created_at: col(row, 12)?,
        updated_at: col(row, 13)?,
        event_id: col(row, 14)?,
    })
}

/// What is wanted; nothing given is everything.
#[derive(Debug, Default)]
pub struct NotificationFilter {
    /// Only those that were read, or were not.
    pub is_read: Option<bool>,
    /// Only this kind.
    pub kind: Option<String>,
}

/// A page of one's notifications, newest first.
#[derive(Debug, Serialize)]
pub struct Inbox {
    /// The notifications.
    pub notifications: Vec<Notification>,
    /// How many the filter lets through.
    pub total: i64,
    /// How many are unread, whatever the filter.
    pub unread_count: i64,
    /// Where the next page starts.
    pub next_cursor: Option<String>,
}

const SORT: &str = "-created_at";

fn mine(me: &Principal) -> Sql {
    let mut sql = Sql::new("tenant_id = ");
    sql.bind(me.tenant().0).push(" AND user_id = ").bind(me.user().0);
    sql
}

/// One's notifications.
///
/// # Errors
/// 400 for a cursor of another list; 503 when the database is away.
pub async fn notification_list(
    db: &Db,
    me: &Principal,
    filter: &NotificationFilter,
    cursor: Option<&Cursor>,
    (limit, offset): (i64, i64),
) -> Result<Inbox, Error> {
    let mut wanted = mine(me);
    match filter.is_read {
        Some(true) => drop(wanted.push(" AND is_read")),
        Some(false) => drop(wanted.push(" AND NOT is_read")),
        None => {}
    }
    if let Some(kind) = &filter.kind {
        wanted.push(" AND type = ").bind(Bind::text(kind));
    }
    let mut count = Sql::new("SELECT count(*) FROM notifications WHERE ");
    count.append(wanted.clone());
    let mut unread = Sql::new("SELECT count(*) FROM notifications WHERE NOT is_read AND ");
    unread.append(mine(me));
    let mut page = Sql::new(format!("SELECT {COLUMNS} FROM notifications WHERE "));
    page.append(wanted);
    if let Some(cursor) = cursor {
        let instant = crate::sql::at(cursor.instant(SORT)?);
        page.push(" AND (created_at, id) < (").bind(instant).push(", ").bind(cursor.id).push(")");
    }
    page.push(" ORDER BY created_at DESC, id DESC LIMIT ").bind(Bind::Int(limit));
    page.push(" OFFSET ").bind(Bind::Int(offset));
    let mut results = db.fetch(me, vec![page, count, unread]).await?;
    let mut number =
        || -> Result<i64, Error> { results.pop().unwrap_or_default().first().map_or(Ok(0), |row| col(row, 0)) };
    let (unread_count, total) = (number()?, number()?);
    let rows = results.pop().unwrap_or_default();
    let notifications = rows.iter().map(from_row).collect::<Result<Vec<_>, _>>()?;
    let full = i64::try_from(notifications.len()).unwrap_or(i64::MAX) >= limit;
    let next = notifications.last().filter(|_| full).map(|last| Cursor::at(SORT, last.created_at.0, last.id).encode());
    Ok(Inbox { notifications, total, unread_count, next_cursor: next })
}

/// Marks one as read; one that was keeps the time.
///
/// # Errors
/// 404 for one that is not the caller's, too.
pub async fn notification_read(
    db: &Db,
    me: &Principal,
    request: &RequestContext,
    id: Uuid,
) -> Result<Notification, Error> {
    let mut sql = Sql::new("UPDATE notifications SET is_read = true, read_at = coalesce(read_at, now()) WHERE ");
    sql.append(mine(me)).push(" AND id = ").bind(id).push(format!(" RETURNING {COLUMNS}"));
    let why = acting(me.identity(), "notification_read", Some(me.tenant()), request);
    let rows = db.system(&why, async |tx| tx.rows(sql.clone()).await).await?;
    from_row(rows.first().ok_or_else(Error::not_found)?)
}

/// Marks all as read; says how many were not.
///
/// # Errors
/// 503 when the database is away.
pub async fn notifications_read_all(db: &Db, me: &Principal, request: &RequestContext) -> Result<usize, Error> {
    let mut sql = Sql::new("UPDATE notifications SET is_read = true, read_at = now() WHERE NOT is_read AND ");
    sql.append(mine(me)).push(" RETURNING 1");
    let why = acting(me.identity(), "notification_read", Some(me.tenant()), request);
    db.system(&why, async |tx| tx.rows(sql.clone()).await.map(|rows| rows.len())).await
}

/// Removes one.
///
/// # Errors
/// 404 for one that is not the caller's, too.
pub async fn notification_delete(db: &Db, me: &Principal, request: &RequestContext, id: Uuid) -> Result<(), Error> {
    let mut sql = Sql::new("DELETE FROM notifications WHERE ");
    sql.append(mine(me)).push(" AND id = ").bind(id).push(" RETURNING 1");
    let why = acting(me.identity(), "notification_delete", Some(me.tenant()), request);
    let rows = db.system(&why, async |tx| tx.rows(sql.clone()).await).await?;
    if rows.is_empty() { Err(Error::not_found()) } else { Ok(()) }
}
