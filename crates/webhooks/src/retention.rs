//! The end of old deliveries and their bodies. Their numbers stay in the ledger.

use crate::{BATCH, sql};
use aisha_db::{Sql, SystemTx};
use aisha_kernel::Error;

/// How long a finished delivery stays, and a body that no delivery needs.
const KEPT: &str = "interval '30 days'";

/// Removes some of what is due in the tenant that the transaction names. Whoever calls this goes on with a new transaction
/// until nothing is left.
///
/// # Errors
/// 503 when the database is away.
pub async fn retention_step(tx: &mut SystemTx) -> Result<bool, Error> {
    // A delivery that somebody sends anew at this moment is left alone. Both limits, so that the index leads to the oldest.
    let deliveries = format!(
        "WITH old AS MATERIALIZED (SELECT o.id FROM webhook w CROSS JOIN LATERAL (SELECT d.id FROM webhook_delivery d \
         WHERE d.tenant_id = w.tenant_id AND d.webhook_id = w.id AND d.created_at < now() - {KEPT} \
         AND d.finished_at < now() - {KEPT} ORDER BY d.created_at LIMIT {BATCH} FOR UPDATE SKIP LOCKED) AS o \
         WHERE w.tenant_id = current_tenant_id() LIMIT {BATCH}), \
         gone AS (DELETE FROM webhook_delivery d USING old WHERE d.tenant_id = current_tenant_id() AND d.id = old.id \
         RETURNING d.webhook_id, d.state), \
         sums AS (SELECT webhook_id, count(*) FILTER (WHERE state = 'delivered') AS delivered, \
         count(*) FILTER (WHERE state = 'failed') AS failed, count(*) FILTER (WHERE state = 'cancelled') AS cancelled \
         FROM gone GROUP BY webhook_id), \
         booked AS (UPDATE webhook_ledger l SET removed_delivered = l.removed_delivered + s.delivered, \
         removed_failed = l.removed_failed + s.failed, removed_cancelled = l.removed_cancelled + s.cancelled \
         FROM sums s WHERE l.tenant_id = current_tenant_id() AND l.webhook_id = s.webhook_id) SELECT 1 FROM gone"
    );
    let messages = format!(
        "WITH old AS MATERIALIZED (SELECT m.event_id FROM webhook_message m WHERE m.tenant_id = current_tenant_id() \
         AND m.created_at < now() - {KEPT} AND NOT EXISTS (SELECT FROM webhook_delivery d \
         WHERE d.tenant_id = m.tenant_id AND d.event_id = m.event_id) ORDER BY m.created_at LIMIT {BATCH}) \
         DELETE FROM webhook_message m USING old WHERE m.tenant_id = current_tenant_id() AND m.event_id = old.event_id RETURNING 1"
    );
    let done = tx.flight(vec![sql::by_index(), Sql::new(deliveries), Sql::new(messages)]).await?;
    let removed = done.get(1..).unwrap_or_default();
    Ok(removed.iter().any(|rows| !rows.is_empty()))
}
