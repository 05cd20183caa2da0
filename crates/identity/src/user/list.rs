//! Lists of users.

use super::{User, presence::ONLINE, reach, select};
use crate::sql::{acting, boolean, col, one};
use aisha_auth::{Action, Identity, Role};
use aisha_db::{Bind, Db, RequestContext, Sql, SystemReason, SystemTx};
use aisha_kernel::{Error, TenantId};
use serde::Serialize;
use std::collections::HashMap;
use utoipa::ToSchema;
use uuid::Uuid;

/// Which users to list. Everything is optional.
#[derive(Debug, Clone, Default)]
pub struct UserQuery {
    /// At most this many, 1 to 200; 50 by default.
    pub limit: Option<i64>,
    /// After this many.
    pub offset: Option<i64>,
    /// Of this tenant. A superadmin without one sees all.
    pub tenant: Option<TenantId>,
    /// With this role.
    pub role: Option<Role>,
    /// With exactly this address.
    pub email: Option<String>,
    /// Active or not.
    pub is_active: Option<bool>,
    /// Online or not.
    pub online: Option<bool>,
    /// With this text in name or address.
    pub q: Option<String>,
}

/// A page of users.
#[derive(Debug, Serialize, ToSchema)]
pub struct UserPage {
    /// The users, newest first.
    pub users: Vec<User>,
    /// How many there are in all.
    pub total: i64,
    /// The limit that was used.
    pub limit: i64,
    /// The offset that was used.
    pub offset: i64,
}

impl UserQuery {
    /// Bounds of the texts.
    pub(super) fn check(&self) -> Result<(), Error> {
        for (name, text) in [("q", &self.q), ("email", &self.email)] {
            if text.as_ref().is_some_and(|t| t.len() > 320 || t.contains('\0')) {
                return Err(Error::parameter(name, "must be a text of at most 320 bytes"));
            }
        }
        Ok(())
    }
}

/// A page of the users that the caller may see, newest first.
///
/// # Errors
/// 403 without the right or for another tenant; 400 for a limit or offset out of range.
pub async fn list(db: &Db, me: &Identity, query: &UserQuery) -> Result<UserPage, Error> {
    me.require("users", Action::Read)?;
    let tenant = reach(me, query.tenant)?;
    let (limit, offset) = (query.limit.unwrap_or(50), query.offset.unwrap_or(0));
    if !(1..=200).contains(&limit) {
        return Err(Error::parameter("limit", "must be between 1 and 200"));
    }
    if !(0..=1_000_000).contains(&offset) {
        return Err(Error::parameter("offset", "must be between 0 and 1000000"));
    }
    query.check()?;
    let condition = condition(tenant, query);
    let mut count = Sql::new("SELECT count(*) FROM users u WHERE ");
    count.append(condition.clone());
    let mut page = select();
    page.append(condition).push(" ORDER BY u.created_at DESC, u.id DESC LIMIT ").bind(Bind::Int(limit));
    page.push(" OFFSET ").bind(Bind::Int(offset));
    let why = acting(me, "users", tenant, &RequestContext::default());
    let (total, mut users) = db
        .system(&why, async |tx: &mut SystemTx| {
            let mut results = tx.flight(vec![count.clone(), page.clone()]).await?;
            let users = results.pop().unwrap_or_default().iter().map(User::from_row).collect::<Result<Vec<_>, _>>()?;
            Ok((col(&one(results.pop().unwrap_or_default())?, 0)?, users))
        })
        .await?;
    if tenant.is_none() {
        add_employees(db, me, &mut users).await?;
    }
    Ok(UserPage { users, total, limit, offset })
}

pub(super) fn condition(tenant: Option<TenantId>, query: &UserQuery) -> Sql {
    let mut sql = Sql::new("true").prepared_once();
    if let Some(tenant) = tenant {
        sql.push(" AND u.tenant_id = ").bind(tenant.0);
    }
    if let Some(role) = query.role {
        sql.push(" AND u.role = ").bind(Bind::text(role.as_str()));
    }
    if let Some(email) = &query.email {
        sql.push(" AND u.email = ").bind(Bind::text(email.trim().to_lowercase()));
    }
    if let Some(active) = query.is_active {
        sql.push(" AND u.is_active = ").bind(boolean(active));
    }
    match query.online {
        Some(true) => sql.push(" AND ").push(ONLINE),
        Some(false) => sql.push(" AND NOT ").push(ONLINE),
        None => &mut sql,
    };
    if let Some(q) = query.q.as_deref().map(str::trim).filter(|q| !q.is_empty()) {
        sql.push(" AND position(lower(").bind(Bind::text(q)).push(") IN lower(u.full_name || ' ' || u.email)) > 0");
    }
    sql
}

/// Fills in the employees of users from several tenants, tenant by tenant: employees never show across tenants.
pub(super) async fn add_employees(db: &Db, me: &Identity, users: &mut [User]) -> Result<(), Error> {
    let mut tenants: HashMap<Uuid, Vec<Uuid>> = HashMap::new();
    for user in users.iter() {
        if let Some(tenant) = user.tenant_id {
            tenants.entry(tenant).or_default().push(user.id);
        }
    }
    let mut employees: HashMap<Uuid, (Uuid, Option<String>)> = HashMap::new();
    for (tenant, ids) in tenants {
        let mut sql =
            Sql::new("SELECT user_id, id, department FROM employees WHERE deleted_at IS NULL AND user_id = ANY (");
        sql.bind(Bind::Uuids(ids)).push(")");
        let why: SystemReason = acting(me, "users", Some(TenantId(tenant)), &RequestContext::default());
        let rows = db.system(&why, async |tx: &mut SystemTx| tx.rows(sql.clone()).await).await?;
        for row in &rows {
            employees.insert(col(row, 0)?, (col(row, 1)?, col(row, 2)?));
        }
    }
    for user in users {
        let found = employees.remove(&user.id);
        user.employee_id = found.as_ref().map(|(id, _)| *id);
        user.department = found.and_then(|(_, department)| department);
    }
    Ok(())
}
