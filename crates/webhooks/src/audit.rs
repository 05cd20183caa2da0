//! Audit rows of what no trigger sees: secrets leave no values, deliveries no audit at all.

use aisha_db::{Bind, Sql};
use serde_json::Value;
use uuid::Uuid;

/// The statement that reports `action` on a subscription, with role, caller and request of the transaction it runs in.
pub(crate) fn entry(action: &'static str, webhook: Uuid, values: &Value) -> Sql {
    let mut sql = Sql::new(
        "INSERT INTO audit_log (tenant_id, action, table_name, record_id, entity, changed_by, role, request_id, ip, user_agent, \
         impersonator, new_values) SELECT current_tenant_id(), ",
    );
    sql.bind(Bind::text(action)).push(", 'webhook', ").bind(webhook).push(
        ", 'webhook', current_user_id(), r ->> 'role', r ->> 'request_id', r ->> 'ip', r ->> 'user_agent', \
         (r ->> 'impersonator')::uuid, ",
    );
    sql.bind(Bind::Text(Some(values.to_string()), "jsonb"));
    sql.push(" FROM (SELECT nullif(current_setting('app.request', true), '')::jsonb AS r) AS request");
    sql
}
