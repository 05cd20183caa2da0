//! Audit rows of what no trigger can see.

use crate::sql::json;
use aisha_auth::Role;
use aisha_db::{Bind, RequestContext, Sql};
use serde_json::Value;
use uuid::Uuid;

/// One row of `audit_log`, written in the transaction of what it reports.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub action: &'static str,
    pub tenant: Option<Uuid>,
    pub table: &'static str,
    pub record: Option<Uuid>,
    /// Who did it; unknown for a failed sign-in.
    pub user: Option<Uuid>,
    pub role: Option<Role>,
    pub values: Value,
}

impl Entry {
    /// The statement.
    pub(crate) fn insert(&self, cx: &RequestContext) -> Sql {
        let text = |t: Option<&str>| Bind::Text(t.map(str::to_owned), "text");
        let mut sql = Sql::new(
            "INSERT INTO audit_log (action, tenant_id, table_name, record_id, changed_by, role, request_id, ip, \
             user_agent, new_values, impersonator) VALUES (",
        );
        sql.bind(Bind::text(self.action)).push(", ").bind(Bind::Uuid(self.tenant)).push(", ");
        sql.bind(Bind::text(self.table)).push(", ").bind(Bind::Uuid(self.record)).push(", ");
        sql.bind(Bind::Uuid(self.user)).push(", ").bind(text(self.role.map(Role::as_str))).push(", ");
        sql.bind(text(cx.request_id.as_deref())).push(", ").bind(text(cx.ip.as_deref())).push(", ");
        sql.bind(text(cx.user_agent.as_deref())).push(", ").bind(json(&self.values));
        sql.push(", (nullif(current_setting('app.request', true), '')::jsonb ->> 'impersonator')::uuid)");
        sql
    }
}
