//! What a transaction runs as: role, tenant, caller and request, set transaction-locally where the policies and the audit
//! triggers read them.
//!
//! Belongs here: how a principal or a reason becomes settings. Does not belong here: running anything.

use crate::sql::{Bind, Sql};
use aisha_auth::{AccessLevel, Identity, Principal, Role, Scope};
use aisha_kernel::TenantId;

/// Facts of the request that end up in the audit log.
#[derive(Debug, Clone, Default, serde::Serialize)]
pub struct RequestContext {
    /// Id of the request, as in its response and its log line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// Address of the client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip: Option<String>,
    /// The client's `User-Agent`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
}

/// What a transaction runs as. Text values: an unset one is the empty string, which the SQL side reads as null.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) role: &'static str,
    tenant: String,
    user: String,
    employee: String,
    department: String,
    request: String,
    read_only: bool,
}

fn text(id: Option<impl ToString>) -> String {
    id.map(|i| i.to_string()).unwrap_or_default()
}

impl Settings {
    pub(crate) fn of(me: &Principal, cx: &RequestContext, read_only: bool) -> Self {
        let id = me.identity();
        let mut request = serde_json::json!({ "role": id.role.as_str() });
        if let Some(map) = request.as_object_mut()
            && !read_only
        {
            if let Ok(serde_json::Value::Object(facts)) = serde_json::to_value(cx) {
                map.extend(facts);
            }
            if me.impersonates() {
                map.insert("impersonator".into(), me.user().to_string().into());
            }
        }
        Self {
            role: match me.scope() {
                Scope::All => "aisha_all",
                Scope::Department => "aisha_department",
                Scope::Own => "aisha_own",
            },
            tenant: me.tenant().to_string(),
            user: me.user().to_string(),
            employee: text(me.employee()),
            department: id.department.clone().unwrap_or_default(),
            // A reader has a role too: policies ask for it (a private note is open to admins).
            request: request.to_string(),
            read_only: read_only || id.access == AccessLevel::Read,
        }
    }

    pub(crate) fn system(why: &SystemReason) -> Self {
        let mut request = serde_json::to_value(&why.request).unwrap_or_default();
        if let Some(map) = request.as_object_mut() {
            map.insert("role".into(), why.role.map_or("system", Role::as_str).into());
            map.insert("reason".into(), why.reason.into());
            if let (Some(Role::Superadmin), Some(_), Some(user)) = (why.role, why.tenant, why.user) {
                map.insert("impersonator".into(), user.to_string().into());
            }
        }
        Self {
            role: "aisha_system",
            tenant: text(why.tenant),
            user: text(why.user),
            employee: String::new(),
            department: String::new(),
            request: request.to_string(),
            read_only: false,
        }
    }

    pub(crate) fn begin(&self) -> Sql {
        Sql::new(if self.read_only { "BEGIN READ ONLY" } else { "BEGIN" })
    }

    pub(crate) fn set(&self) -> Sql {
        let mut sql = Sql::new("SELECT set_config('app.current_tenant_id', ");
        sql.bind(Bind::text(&self.tenant)).push(", true), set_config('app.current_user_id', ");
        sql.bind(Bind::text(&self.user)).push(", true), set_config('app.current_employee_id', ");
        sql.bind(Bind::text(&self.employee)).push(", true), set_config('app.current_department', ");
        sql.bind(Bind::text(&self.department)).push(", true), set_config('app.request', ");
        sql.bind(Bind::text(&self.request)).push(", true), set_config('role', ");
        sql.bind(Bind::text(self.role)).push(", true)");
        sql
    }
}

/// The statement that tells the triggers that this transaction moves records into the archive or back: see `archiving()` in
/// `sql/020_context.sql`. It holds until the transaction ends.
#[must_use]
pub fn archiving() -> Sql {
    Sql::new("SELECT set_config('app.archiving', 'on', true)")
}

/// For the rest of a transaction that only looks at what the server's sessions do: the login alone sees those of all services,
/// and it has a right on no table.
#[must_use]
pub fn as_login() -> Sql {
    Sql::new("SET LOCAL ROLE NONE")
}

/// For the rest of a transaction that looks for few rows in tables of any size: along the index, whatever the planner
/// thinks of the length of an array.
#[must_use]
pub fn by_index() -> Sql {
    Sql::new(
        "SELECT set_config('enable_seqscan', 'off', true), set_config('enable_hashjoin', 'off', true), \
         set_config('enable_mergejoin', 'off', true), set_config('enable_bitmapscan', 'off', true)",
    )
}

/// The same, but what is not in a table may be joined in any way.
#[must_use]
pub fn by_key() -> Sql {
    Sql::new("SELECT set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true)")
}

/// Why the platform itself acts; written to the audit log.
#[derive(Debug, Clone, Default)]
pub struct SystemReason {
    /// A few words, such as `login`.
    pub reason: &'static str,
    /// The tenant whose tables are touched, if any.
    pub tenant: Option<TenantId>,
    /// The user on whose behalf it happens, if known.
    pub user: Option<uuid::Uuid>,
    /// The role of that user; without one the audit log says `system`.
    pub role: Option<Role>,
    /// The request.
    pub request: RequestContext,
}

/// The platform acting for somebody who is signed in.
#[must_use]
pub fn acting(me: &Identity, reason: &'static str, tenant: Option<TenantId>, request: &RequestContext) -> SystemReason {
    SystemReason { reason, tenant, user: Some(me.user_id.0), role: Some(me.role), request: request.clone() }
}
