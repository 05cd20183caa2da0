//! Users as CSV, page by page, so that memory stays flat whatever their number. An export can be edited and imported.

use super::{
    User, UserQuery,
    list::{add_employees, condition},
    reach, select,
};
use crate::{audit::Entry, sql::acting};
use aisha_auth::{Action, Identity};
use aisha_csv::cell;
use aisha_db::{Bind, Db, RequestContext, SystemTx};
use aisha_kernel::{Error, TenantId};
use serde_json::{Value, json};
use std::sync::Arc;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use uuid::Uuid;

/// Users per page.
const PAGE: usize = 500;

/// The columns; those that an import takes have the names it knows.
const COLUMNS: &[&str] = &[
    "id",
    "tenant_id",
    "email",
    "first_name",
    "last_name",
    "full_name",
    "role",
    "employee_role",
    "access_level",
    "can_use_softphone",
    "is_active",
    "department",
    "navigation_permissions",
    "custom_roles",
    "external_id",
    "last_login_at",
    "last_seen_at",
    "created_at",
];

/// An export under way.
pub struct UserExport {
    db: Db,
    me: Arc<Identity>,
    tenant: Option<TenantId>,
    query: UserQuery,
    after: Option<(OffsetDateTime, Uuid)>,
    started: bool,
    done: bool,
}

/// Begins an export of what a list holds, whatever its limit, and writes the audit row that says who took what out.
///
/// # Errors
/// 403 without the right or for another tenant; 400 for a parameter out of bounds; 503 when the database is away.
pub async fn export_users(
    db: &Db,
    me: &Arc<Identity>,
    query: UserQuery,
    cx: &RequestContext,
) -> Result<UserExport, Error> {
    me.require("users", Action::Export)?;
    let tenant = reach(me, query.tenant)?;
    query.check()?;
    let entry = Entry {
        action: "DATA_EXPORT",
        tenant: tenant.map(|t| t.0),
        table: "users",
        record: None,
        user: Some(me.user_id.0),
        role: Some(me.role),
        values: json!({
            "role": query.role.map(aisha_auth::Role::as_str), "email": query.email, "is_active": query.is_active,
            "q": query.q, "format": "csv",
        }),
    };
    let why = acting(me, "user export", tenant, cx);
    db.system(&why, async |tx: &mut SystemTx| tx.rows(entry.insert(cx)).await.map(drop)).await?;
    Ok(UserExport { db: db.clone(), me: Arc::clone(me), tenant, query, after: None, started: false, done: false })
}

impl UserExport {
    /// The next piece of text; the first has the header, `None` is the end.
    ///
    /// # Errors
    /// 503 when the database went away in between.
    pub async fn next_page(&mut self) -> Result<Option<String>, Error> {
        if self.done {
            return Ok(None);
        }
        let mut sql = select();
        sql.append(condition(self.tenant, &self.query));
        if let Some((at, id)) = self.after {
            let at = at.format(&Rfc3339).map_err(Error::internal)?;
            sql.push(" AND (u.created_at, u.id) < (").bind(Bind::Text(Some(at), "timestamptz"));
            sql.push(", ").bind(id).push(")");
        }
        sql.push(format!(" ORDER BY u.created_at DESC, u.id DESC LIMIT {PAGE}"));
        let why = acting(&self.me, "user export", self.tenant, &RequestContext::default());
        let rows = self.db.system(&why, async |tx: &mut SystemTx| tx.rows(sql.clone()).await).await?;
        let mut users = rows.iter().map(User::from_row).collect::<Result<Vec<_>, _>>()?;
        if self.tenant.is_none() {
            add_employees(&self.db, &self.me, &mut users).await?;
        }
        self.done = users.len() < PAGE;
        self.after = users.last().map(|u| (u.created_at, u.id));
        let mut out = String::new();
        if !std::mem::replace(&mut self.started, true) {
            out.push_str(&COLUMNS.join(","));
            out.push_str("\r\n");
        }
        for user in &users {
            line(user, &mut out)?;
        }
        Ok(Some(out))
    }
}

fn line(user: &User, out: &mut String) -> Result<(), Error> {
    let mut shown = serde_json::to_value(user).map_err(Error::internal)?;
    if let Some(map) = shown.as_object_mut() {
        // What was set for the user and not what follows from the role: an import would set all of it.
        map.insert("navigation_permissions".into(), user.navigation_overrides.clone());
    }
    for (i, column) in COLUMNS.iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        match shown.get(*column) {
            None | Some(Value::Null) => {}
            Some(Value::String(s)) => cell::push(out, s),
            Some(Value::Array(items)) => {
                let items: Vec<&str> = items.iter().filter_map(Value::as_str).collect();
                cell::push(out, &items.join("; "));
            }
            Some(other) => cell::push_quoted(out, &other.to_string()),
        }
    }
    out.push_str("\r\n");
    Ok(())
}
