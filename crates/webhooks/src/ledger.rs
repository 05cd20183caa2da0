//! The books of a subscription: what was taken on is what is there and what was removed of old age, always.

use crate::{col, subscription};
use aisha_auth::Principal;
use aisha_db::{Db, Sql};
use aisha_kernel::Error;
use serde::Serialize;
use time::OffsetDateTime;
use uuid::Uuid;

/// The books, at one instant.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Ledger {
    /// Deliveries taken on since the subscription was made, counted when that happened.
    pub taken_on: i64,
    /// Waiting.
    pub pending: i64,
    /// In the hands of a process.
    pub sending: i64,
    /// Accepted by the receiver.
    pub delivered: i64,
    /// Given up.
    pub failed: i64,
    /// Not to be sent any more.
    pub cancelled: i64,
    /// Those that were removed 30 days after they had come to their end.
    pub removed: Removed,
    /// Whether `taken_on` is the sum of all others.
    pub balanced: bool,
    /// Since when the oldest one waits.
    #[serde(with = "time::serde::rfc3339::option")]
    pub oldest_pending_at: Option<OffsetDateTime>,
    /// The same in seconds, those that are being sent included.
    pub oldest_undelivered_seconds: Option<i64>,
    /// Requests that the log knows.
    pub attempts: i64,
}

/// What was removed, by the state it had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Removed {
    /// Accepted by the receiver.
    pub delivered: i64,
    /// Given up.
    pub failed: i64,
    /// Not to be sent any more.
    pub cancelled: i64,
}

/// The books of a subscription: one statement, so one snapshot.
///
/// # Errors
/// 404 when there is none.
pub async fn ledger_read(db: &Db, me: &Principal, webhook: Uuid) -> Result<Ledger, Error> {
    let tenant = me.tenant().0;
    let mut sql = Sql::new(
        "SELECT l.taken_on, l.removed_delivered, l.removed_failed, l.removed_cancelled, d.*, \
         (SELECT count(*) FROM webhook_attempt a JOIN webhook_delivery x ON x.tenant_id = a.tenant_id AND x.id = a.delivery_id \
          WHERE x.tenant_id = l.tenant_id AND x.webhook_id = l.webhook_id) \
         FROM webhook_ledger l CROSS JOIN LATERAL (SELECT count(*) FILTER (WHERE state = 'pending'), \
         count(*) FILTER (WHERE state = 'sending'), count(*) FILTER (WHERE state = 'delivered'), \
         count(*) FILTER (WHERE state = 'failed'), count(*) FILTER (WHERE state = 'cancelled'), \
         min(scheduled_at) FILTER (WHERE state = 'pending'), \
         greatest(0, extract(epoch FROM clock_timestamp() - min(scheduled_at) FILTER (WHERE state IN ('pending', 'sending'))))::bigint \
         FROM webhook_delivery WHERE tenant_id = l.tenant_id AND webhook_id = l.webhook_id) AS d WHERE l.tenant_id = ",
    );
    sql.bind(tenant).push(" AND l.webhook_id = ").bind(webhook);
    let mut results = db.fetch(me, vec![subscription::there(tenant, webhook), sql]).await?.into_iter();
    if results.next().unwrap_or_default().is_empty() {
        return Err(Error::not_found());
    }
    let rows = results.next().unwrap_or_default();
    let row = rows.first().ok_or_else(|| Error::internal("a webhook without a ledger"))?;
    let n = |i: usize| col::<i64>(row, i);
    let (taken_on, removed) = (n(0)?, Removed { delivered: n(1)?, failed: n(2)?, cancelled: n(3)? });
    let [pending, sending, delivered, failed, cancelled] = [n(4)?, n(5)?, n(6)?, n(7)?, n(8)?];
    let there = pending + sending + delivered + failed + cancelled;
    Ok(Ledger {
        taken_on,
        pending,
        sending,
        delivered,
        failed,
        cancelled,
        removed,
        balanced: taken_on == there + removed.delivered + removed.failed + removed.cancelled,
        oldest_pending_at: col(row, 9)?,
        // greatest() of a null is the other value.
        oldest_undelivered_seconds: if pending + sending > 0 { col(row, 10)? } else { None },
        attempts: n(11)?,
    })
}
