//! A delivery that somebody asks for to see one arrive: an event of its own, for one subscription.

use crate::{
    audit,
    delivery_log::{Delivery, delivery_in, instant},
    pattern::TEST_EVENT,
    subscription::{lock_shared, require_active},
};
use aisha_db::{Bind, Sql, TenantTx};
use aisha_kernel::{Error, clock, new_id};
use serde_json::json;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

/// Takes on a test: it goes out like any delivery, signed and repeated, and stands in log and ledger.
///
/// # Errors
/// 404; 409 when the subscription is not active.
pub async fn webhook_test(tx: &mut TenantTx, webhook: Uuid) -> Result<Delivery, Error> {
    let held = lock_shared(tx, webhook).await?;
    require_active(&held)?;
    let (tenant, event_id, id, now) = (tx.principal().tenant().0, new_id(), new_id(), clock::now());
    // Not an event of the tenant: it has no place in their order.
    let body = json!({
        "id": event_id,
        "seq": 0,
        "event": TEST_EVENT,
        "timestamp": now.format(&Rfc3339).map_err(Error::internal)?,
        "tenant_id": tenant,
        "data": { "webhook_id": webhook, "message": "This is a test. Events of this webhook arrive in the same way." }
    })
    .to_string();
    let mut message =
        Sql::new("INSERT INTO webhook_message (tenant_id, event_id, event, seq, body, happened_at) VALUES (");
    message.bind(tenant).push(", ").bind(event_id).push(", ").bind(Bind::text(TEST_EVENT)).push(", 0, ");
    message.bind(Bind::text(body)).push(", ").bind(instant(now)).push(")");
    let mut delivery =
        Sql::new("INSERT INTO webhook_delivery (tenant_id, id, webhook_id, event_id, event, seq) VALUES (");
    delivery.bind(tenant).push(", ").bind(id).push(", ").bind(webhook).push(", ").bind(event_id);
    delivery.push(", ").bind(Bind::text(TEST_EVENT)).push(", 0)");
    let note = audit::entry("webhook_test", webhook, &json!({ "delivery_id": id, "event_id": event_id }));
    tx.flight(vec![message, delivery, taken_on(tenant, webhook, 1), note]).await?;
    delivery_in(tx, webhook, id).await
}

/// Counts deliveries that were taken on, in the transaction that makes them.
pub(crate) fn taken_on(tenant: Uuid, webhook: Uuid, n: i64) -> Sql {
    let mut sql = Sql::new("INSERT INTO webhook_ledger AS l (tenant_id, webhook_id, taken_on) VALUES (");
    sql.bind(tenant)
        .push(", ")
        .bind(webhook)
        .push(", ")
        .bind(Bind::Int(n))
        .push(") ON CONFLICT (tenant_id, webhook_id) DO UPDATE SET taken_on = l.taken_on + excluded.taken_on");
    sql
}
