//! Taking events on: what happened becomes a delivery for every subscription that asked for it, once, however often the
//! event arrives.

use crate::{col, pattern::matches_sql, sql};
use aisha_db::{Bind, Db, Sql, SystemTx};
use aisha_kernel::Error;
use std::collections::HashSet;
use uuid::Uuid;

/// An event that has happened.
#[derive(Debug, Clone)]
pub struct Incoming {
    /// The tenant that it happened in; without one nobody is subscribed to it.
    pub tenant_id: Option<Uuid>,
    /// Its id, the same however often it arrives.
    pub event_id: Uuid,
    /// Its name: `contact.created`.
    pub event: String,
    /// Its place in the order of events.
    pub seq: i64,
    /// The record that it happened to.
    pub record_id: Option<Uuid>,
    /// When (RFC 3339).
    pub happened_at: String,
    /// What subscribers are sent, byte for byte.
    pub body: String,
}

/// A subscription: the tenant and its id.
pub type Key = (Uuid, Uuid);

/// Takes events on, all or none, and returns the subscriptions that have something to deliver that they did not have
/// before. Subscriptions that are switched off, those of tenants that are not active or have the module off, get nothing;
/// what is paused gets its deliveries and they wait.
///
/// # Errors
/// 422 when an event cannot be stored, 503 when the database is away.
pub async fn take_on(db: &Db, events: &[Incoming]) -> Result<Vec<Key>, Error> {
    if events.iter().all(|e| e.tenant_id.is_none()) {
        return Ok(Vec::new());
    }
    let statement = statement(events);
    let rows = db
        .system(&sql::why("webhook intake"), async |tx: &mut SystemTx| {
            let mut rows = tx.flight(vec![sql::by_key(), statement.clone()]).await?;
            Ok(rows.pop().unwrap_or_default())
        })
        .await?;
    let keys: Result<HashSet<Key>, Error> = rows.iter().map(|row| Ok((col(row, 0)?, col(row, 1)?))).collect();
    Ok(keys?.into_iter().collect())
}

/// Locks are taken in the order of ids, here and elsewhere, so that two senders do not wait for each other. A subscription
/// that is being deleted is waited for: its deliveries would be refused, and the whole batch with them.
fn statement(events: &[Incoming]) -> Sql {
    let ours: Vec<&Incoming> = events.iter().filter(|e| e.tenant_id.is_some()).collect();
    let texts = |f: fn(&Incoming) -> String| Bind::Texts(Some(ours.iter().map(|e| f(e)).collect()));
    let mut sql = Sql::new(
        "WITH e AS (SELECT tenant_id, event_id, event, seq, CAST(nullif(record, '') AS uuid) AS record_id, CAST(happened AS timestamptz) AS happened_at, body FROM unnest(",
    );
    sql.bind(Bind::Uuids(ours.iter().filter_map(|e| e.tenant_id).collect())).push(", ");
    sql.bind(Bind::Uuids(ours.iter().map(|e| e.event_id).collect())).push(", ");
    sql.bind(texts(|e| e.event.clone())).push(", ");
    sql.bind(Bind::Ints(ours.iter().map(|e| e.seq).collect())).push(", ");
    sql.bind(texts(|e| e.record_id.map(|id| id.to_string()).unwrap_or_default())).push(", ");
    sql.bind(texts(|e| e.happened_at.clone())).push(", ").bind(texts(|e| e.body.clone()));
    sql.push(format!(
        ") AS t (tenant_id, event_id, event, seq, record, happened, body)), \
         live AS MATERIALIZED (SELECT t.id FROM tenant t WHERE t.id IN (SELECT tenant_id FROM e) AND {}), \
         asked AS MATERIALIZED (SELECT n.tenant_id, n.event, w.id AS webhook_id \
             FROM (SELECT DISTINCT e.tenant_id, e.event FROM e JOIN live ON live.id = e.tenant_id) AS n \
             JOIN webhook w ON w.tenant_id = n.tenant_id AND w.is_active \
                 AND {} FOR KEY SHARE OF w), \
         matched AS MATERIALIZED (SELECT e.*, a.webhook_id FROM e \
             JOIN asked a ON a.tenant_id = e.tenant_id AND a.event = e.event), \
         kept AS (INSERT INTO webhook_message (tenant_id, event_id, event, seq, record_id, body, happened_at) \
             SELECT DISTINCT ON (tenant_id, event_id) tenant_id, event_id, event, seq, record_id, body, happened_at \
             FROM matched ORDER BY tenant_id, event_id ON CONFLICT DO NOTHING), \
         taken AS (INSERT INTO webhook_delivery (tenant_id, webhook_id, event_id, event, seq) \
             SELECT tenant_id, webhook_id, event_id, event, seq FROM matched ORDER BY tenant_id, webhook_id, event_id \
             ON CONFLICT DO NOTHING RETURNING tenant_id, webhook_id) \
         INSERT INTO webhook_ledger AS l (tenant_id, webhook_id, taken_on) \
         SELECT tenant_id, webhook_id, count(*) FROM taken GROUP BY tenant_id, webhook_id ORDER BY tenant_id, webhook_id \
         ON CONFLICT (tenant_id, webhook_id) DO UPDATE SET taken_on = l.taken_on + excluded.taken_on \
         RETURNING tenant_id, webhook_id",
        sql::LIVE,
        matches_sql("w.event_types", "n.event")
    ));
    sql
}
