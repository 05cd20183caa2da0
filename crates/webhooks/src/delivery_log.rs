//! The log of a subscription: what was delivered, what was not, what waits; and sending one anew.

use crate::{
    audit, col, number,
    subscription::{self, lock_shared, require_active},
};
use aisha_auth::Principal;
use aisha_db::{Bind, Db, PgRow, Sql, TenantTx, record::Count, tx::Rows};
use aisha_kernel::{Error, cursor::Cursor};
use serde::Serialize;
use serde_json::json;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use uuid::Uuid;

/// States of a delivery. The last three are final until somebody sends it anew.
pub const STATES: [&str; 5] = ["pending", "sending", "delivered", "failed", "cancelled"];

/// Rows that are counted unless more is asked for.
const COUNTED: i64 = 10_000;
/// Attempts of one delivery that are shown.
const ATTEMPTS: i64 = 200;
/// The only order of the list.
const SORT: &str = "-created_at";

/// What makes a finished delivery wait again, its schedule from the beginning, under the same `webhook-id`. How late the first
/// attempt was is measured no more where there has been none.
pub(crate) const AGAIN: &str = "state = 'pending', attempts = 0, next_attempt_at = clock_timestamp(), \
    scheduled_at = clock_timestamp(), by_hand = by_hand OR first_attempt_at IS NULL, finished_at = NULL, response_status = NULL, error = NULL";

/// A delivery as lists show it.
#[derive(Debug, Clone, Serialize)]
pub struct Delivery {
    /// Identifier.
    pub id: Uuid,
    /// The subscription.
    pub webhook_id: Uuid,
    /// The event: the `webhook-id` of each attempt.
    pub event_id: Uuid,
    /// Its name.
    pub event: String,
    /// Its place among the tenant's events; 0 for a test.
    pub seq: i64,
    /// One of [`STATES`].
    pub state: String,
    /// What a pending one waits for beside its schedule: `inactive` or `paused`.
    pub held_by: Option<String>,
    /// Attempts of the present schedule.
    pub attempts: i32,
    /// When a pending one is due.
    #[serde(with = "time::serde::rfc3339::option")]
    pub next_attempt_at: Option<OffsetDateTime>,
    /// When the schedule began.
    #[serde(with = "time::serde::rfc3339")]
    pub scheduled_at: OffsetDateTime,
    /// The first attempt ever.
    #[serde(with = "time::serde::rfc3339::option")]
    pub first_attempt_at: Option<OffsetDateTime>,
    /// The last attempt.
    #[serde(with = "time::serde::rfc3339::option")]
    pub last_attempt_at: Option<OffsetDateTime>,
    /// When it came to its end.
    #[serde(with = "time::serde::rfc3339::option")]
    pub finished_at: Option<OffsetDateTime>,
    /// Status of the last answer.
    pub response_status: Option<i32>,
    /// Why there was none.
    pub error: Option<String>,
    /// When it was taken on.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
}

const COLUMNS: &str = "d.id, d.webhook_id, d.event_id, d.event, d.seq, d.state, \
    CASE WHEN d.state <> 'pending' THEN NULL WHEN NOT w.is_active THEN 'inactive' WHEN w.paused_at IS NOT NULL THEN 'paused' END, \
    d.attempts, CASE d.state WHEN 'pending' THEN d.next_attempt_at END, d.scheduled_at, d.first_attempt_at, \
    d.last_attempt_at, d.finished_at, d.response_status, d.error, d.created_at";

const FROM: &str = " FROM webhook_delivery d JOIN webhook w ON w.tenant_id = d.tenant_id AND w.id = d.webhook_id";

fn from_row(row: &PgRow) -> Result<Delivery, Error> {
    Ok(Delivery {
        id: col(row, 0)?,
        webhook_id: col(row, 1)?,
        event_id: col(row, 2)?,
        event: col(row, 3)?,
        seq: col(row, 4)?,
        state: col(row, 5)?,
        held_by: col(row, 6)?,
        attempts: col(row, 7)?,
        next_attempt_at: col(row, 8)?,
        scheduled_at: col(row, 9)?,
        first_attempt_at: col(row, 10)?,
        last_attempt_at: col(row, 11)?,
        finished_at: col(row, 12)?,
        response_status: col(row, 13)?,
        error: col(row, 14)?,
        created_at: col(row, 15)?,
    })
}

pub(crate) fn instant(t: OffsetDateTime) -> Bind {
    Bind::Text(t.format(&Rfc3339).ok(), "timestamptz")
}

/// Which deliveries are wanted, newest first.
#[derive(Debug, Clone, Default)]
pub struct DeliveryFilter {
    /// In this state.
    pub state: Option<&'static str>,
    /// Of events with this name.
    pub event: Option<String>,
    /// Of this event.
    pub event_id: Option<Uuid>,
    /// Taken on then or later.
    pub from: Option<OffsetDateTime>,
    /// Taken on before.
    pub to: Option<OffsetDateTime>,
    /// Rows per page.
    pub limit: i64,
    /// Rows to skip.
    pub offset: i64,
    /// Where the page before ended.
    pub cursor: Option<Cursor>,
    /// How far they are counted.
    pub count: Count,
}

/// A page of the log.
#[derive(Debug, Clone, Serialize)]
pub struct DeliveryPage {
    /// The deliveries.
    pub deliveries: Vec<Delivery>,
    /// How many there are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<i64>,
    /// Present when there are more than that.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub total_is_lower_bound: bool,
    /// Rows per page.
    pub limit: i64,
    /// Rows skipped.
    pub offset: i64,
    /// Where the next page begins.
    pub next_cursor: Option<String>,
}

impl DeliveryFilter {
    fn wanted(&self, tenant: Uuid, webhook: Uuid) -> Sql {
        let mut sql = Sql::new(format!("{FROM} WHERE d.tenant_id = "));
        sql.bind(tenant).push(" AND d.webhook_id = ").bind(webhook);
        if let Some(state) = self.state {
            // In the text, so that the partial indexes serve it.
            sql.push(format!(" AND d.state = '{state}'"));
        }
        if let Some(event) = &self.event {
            sql.push(" AND d.event = ").bind(Bind::text(event));
        }
        if let Some(id) = self.event_id {
            sql.push(" AND d.event_id = ").bind(id);
        }
        for (operator, t) in [(">=", self.from), ("<", self.to)] {
            if let Some(t) = t {
                sql.push(format!(" AND d.created_at {operator} ")).bind(instant(t));
            }
        }
        sql
    }
}

/// A page of a subscription's log, newest first.
///
/// # Errors
/// 404 when there is no such subscription; 400 for a cursor of another list.
pub async fn delivery_list(
    db: &Db,
    me: &Principal,
    webhook: Uuid,
    filter: &DeliveryFilter,
) -> Result<DeliveryPage, Error> {
    let tenant = me.tenant().0;
    let wanted = filter.wanted(tenant, webhook);
    let mut page = Sql::new(format!("SELECT {COLUMNS}"));
    page.append(wanted.clone());
    if let Some(cursor) = &filter.cursor {
        page.push(" AND (d.created_at, d.id) < (")
            .bind(instant(cursor.instant(SORT)?))
            .push(", ")
            .bind(cursor.id)
            .push(")");
    }
    page.push(" ORDER BY d.created_at DESC, d.id DESC LIMIT ").bind(Bind::Int(filter.limit + 1));
    page.push(" OFFSET ").bind(Bind::Int(filter.offset));
    let mut statements = vec![subscription::there(tenant, webhook), page];
    if filter.count != Count::None {
        let mut total = Sql::new("SELECT count(*) FROM (SELECT 1");
        total.append(wanted);
        if filter.count == Count::Capped {
            total.push(" LIMIT ").bind(Bind::Int(COUNTED + 1));
        }
        total.push(") AS counted");
        statements.push(total);
    }
    let mut results = db.fetch(me, statements).await?.into_iter();
    let mut next = || results.next().unwrap_or_default();
    if next().is_empty() {
        return Err(Error::not_found());
    }
    let rows = next();
    let mut deliveries = rows.iter().map(from_row).collect::<Result<Vec<_>, _>>()?;
    let more = i64::try_from(deliveries.len()).unwrap_or(i64::MAX) > filter.limit;
    deliveries.truncate(usize::try_from(filter.limit).unwrap_or_default());
    let next_cursor = deliveries.last().filter(|_| more).map(|d| Cursor::at(SORT, d.created_at, d.id).encode());
    let total = if filter.count == Count::None { None } else { Some(number(&next())?) };
    let beyond = filter.count == Count::Capped && total.is_some_and(|n| n > COUNTED);
    Ok(DeliveryPage {
        deliveries,
        total: total.map(|n| if beyond { COUNTED } else { n }),
        total_is_lower_bound: beyond,
        limit: filter.limit,
        offset: filter.offset,
        next_cursor,
    })
}

/// One request, and what came of it.
#[derive(Debug, Clone, Serialize)]
pub struct Attempt {
    /// The first of the delivery is 1.
    pub number: i32,
    /// When it began.
    #[serde(with = "time::serde::rfc3339")]
    pub started_at: OffsetDateTime,
    /// How long it took.
    pub duration_ms: i32,
    /// Status of the answer.
    pub response_status: Option<i32>,
    /// The beginning of the answer.
    pub response_excerpt: Option<String>,
    /// Why there was none.
    pub error: Option<String>,
}

/// A delivery with all that is known of it.
#[derive(Debug, Clone, Serialize)]
pub struct DeliveryDetail {
    /// The delivery.
    #[serde(flatten)]
    pub delivery: Delivery,
    /// When the event happened.
    #[serde(with = "time::serde::rfc3339")]
    pub happened_at: OffsetDateTime,
    /// The body as it is sent, byte for byte.
    pub body: String,
    /// Every request, oldest first; of more than two hundred the last ones.
    pub attempt_log: Vec<Attempt>,
}

fn find(tenant: Uuid, webhook: Uuid, id: Uuid) -> Sql {
    let mut sql = Sql::new(format!("SELECT {COLUMNS}{FROM} WHERE d.tenant_id = "));
    sql.bind(tenant).push(" AND d.webhook_id = ").bind(webhook).push(" AND d.id = ").bind(id);
    sql
}

/// One delivery of a subscription.
///
/// # Errors
/// 404 when there is none.
pub async fn delivery_read(db: &Db, me: &Principal, webhook: Uuid, id: Uuid) -> Result<DeliveryDetail, Error> {
    let tenant = me.tenant().0;
    let mut message = Sql::new(
        "SELECT m.happened_at, m.body FROM webhook_message m JOIN webhook_delivery d ON d.tenant_id = m.tenant_id \
         AND d.event_id = m.event_id WHERE d.tenant_id = ",
    );
    message.bind(tenant).push(" AND d.id = ").bind(id);
    let mut attempts = Sql::new(
        "SELECT number, started_at, duration_ms, response_status, response_excerpt, error FROM webhook_attempt WHERE tenant_id = ",
    );
    attempts.bind(tenant).push(" AND delivery_id = ").bind(id).push(" ORDER BY number DESC LIMIT ");
    attempts.bind(Bind::Int(ATTEMPTS));
    let mut results = db.fetch(me, vec![find(tenant, webhook, id), message, attempts]).await?.into_iter();
    let mut next = || results.next().unwrap_or_default();
    let delivery = only(&next())?;
    let message = next();
    let message = message.first().ok_or_else(Error::not_found)?;
    let attempt = |row: &PgRow| -> Result<Attempt, Error> {
        Ok(Attempt {
            number: col(row, 0)?,
            started_at: col(row, 1)?,
            duration_ms: col(row, 2)?,
            response_status: col(row, 3)?,
            response_excerpt: col(row, 4)?,
            error: col(row, 5)?,
        })
    };
    let attempt_log = next().iter().rev().map(attempt).collect::<Result<_, _>>()?;
    Ok(DeliveryDetail { delivery, happened_at: col(message, 0)?, body: col(message, 1)?, attempt_log })
}

pub(crate) fn only(rows: &Rows) -> Result<Delivery, Error> {
    from_row(rows.first().ok_or_else(Error::not_found)?)
}

/// The delivery within a transaction.
pub(crate) async fn delivery_in(tx: &mut TenantTx, webhook: Uuid, id: Uuid) -> Result<Delivery, Error> {
    let sql = find(tx.principal().tenant().0, webhook, id);
    only(&tx.rows(sql).await?)
}

/// Sends a delivery anew: it waits again, its schedule from the beginning, with the same `webhook-id` and body.
///
/// # Errors
/// 404; 409 while it is being sent, or when the subscription is not active.
pub async fn delivery_resend(tx: &mut TenantTx, webhook: Uuid, id: Uuid) -> Result<Delivery, Error> {
    let held = lock_shared(tx, webhook).await?;
    let tenant = tx.principal().tenant().0;
    let mut sql = find(tenant, webhook, id);
    sql.push(" FOR UPDATE OF d");
    let found = only(&tx.rows(sql).await?)?;
    require_active(&held)?;
    if found.state == "sending" {
        return Err(Error::conflict("This delivery is being sent: wait for its end.").field("state", "is sending"));
    }
    let mut sql = Sql::new(format!("UPDATE webhook_delivery SET {AGAIN} WHERE tenant_id = "));
    sql.bind(tenant).push(" AND id = ").bind(id);
    let values = json!({ "delivery_id": id, "event_id": found.event_id, "event": found.event, "state": found.state });
    tx.flight(vec![sql, audit::entry("delivery_resend", webhook, &values)]).await?;
    delivery_in(tx, webhook, id).await
}
