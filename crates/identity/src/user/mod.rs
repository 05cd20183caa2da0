//! Users: people who can sign in. Who may see and change whom; the row as the API shows it.

mod create;
mod input;
mod password;
mod update;

pub use create::{Superadmin, create, create_invited, create_superadmin};
pub use input::UserInput;
pub use password::change_password;
pub(crate) use password::end_sessions;
pub use update::{deactivate, update};

use crate::sql::{acting, boolean, col, one};
use aisha_auth::{Action, Identity, Role};
use aisha_db::{Bind, Db, Json, PgRow, RequestContext, Sql, SystemReason, SystemTx, tx::Rows};
use aisha_kernel::{Error, ErrorCode, TenantId};
use serde::Serialize;
use std::collections::HashMap;
use time::OffsetDateTime;
use utoipa::ToSchema;
use uuid::Uuid;

/// A user as the API shows it.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct User {
    /// Id.
    pub id: Uuid,
    /// The tenant; null for a superadmin.
    pub tenant_id: Option<Uuid>,
    /// E-mail address, in lower case; unique.
    pub email: String,
    /// Given name.
    pub first_name: String,
    /// Family name.
    pub last_name: String,
    /// Both names.
    pub full_name: String,
    /// `superadmin`, `admin`, `manager` or `employee`.
    pub role: String,
    /// The older view of the role: `manager` or `employee`, null above them.
    pub employee_role: Option<String>,
    /// `read` or `read_write`.
    pub access_level: String,
    /// Whether the user may place calls.
    pub can_use_softphone: bool,
    /// Whether the user may sign in.
    pub is_active: bool,
    /// Which parts of the application the user's menu shows.
    #[schema(value_type = Object)]
    pub navigation_permissions: Json,
    /// Names of further roles that add permissions.
    pub custom_roles: Vec<String>,
    /// The employee record of this user.
    pub employee_id: Option<Uuid>,
    /// Anything else.
    #[schema(value_type = Object)]
    pub metadata: Json,
    /// When the user last signed in.
    #[serde(with = "time::serde::rfc3339::option")]
    pub last_login_at: Option<OffsetDateTime>,
    /// When the account was made.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    /// The same as `created_at`, for older clients.
    #[serde(with = "time::serde::rfc3339")]
    pub created_date: OffsetDateTime,
    /// When the account last changed.
    #[serde(with = "time::serde::rfc3339")]
    pub updated_at: OffsetDateTime,
    /// Counts the changes.
    pub version: i32,
}

const SELECT: &str = "SELECT u.id, u.tenant_id, u.email, u.first_name, u.last_name, u.full_name, u.role, u.access_level, \
     u.can_use_softphone, u.is_active, u.navigation_permissions, u.custom_roles, e.id, u.metadata, u.last_login_at, \
     u.created_at, u.updated_at, u.version FROM users u \
     LEFT JOIN employees e ON e.tenant_id = u.tenant_id AND e.user_id = u.id AND e.deleted_at IS NULL WHERE ";

impl User {
    fn from_row(row: &PgRow) -> Result<Self, Error> {
        let role: String = col(row, 6)?;
        let created_at = col(row, 15)?;
        Ok(Self {
            id: col(row, 0)?,
            tenant_id: col(row, 1)?,
            email: col(row, 2)?,
            first_name: col(row, 3)?,
            last_name: col(row, 4)?,
            full_name: col(row, 5)?,
            employee_role: Some(role.clone()).filter(|r| r == "manager" || r == "employee"),
            role,
            access_level: col(row, 7)?,
            can_use_softphone: col(row, 8)?,
            is_active: col(row, 9)?,
            navigation_permissions: col(row, 10)?,
            custom_roles: col(row, 11)?,
            employee_id: col(row, 12)?,
            metadata: col(row, 13)?,
            last_login_at: col(row, 14)?,
            created_at,
            created_date: created_at,
            updated_at: col(row, 16)?,
            version: col(row, 17)?,
        })
    }
}

/// The statement for one user.
pub(crate) fn by_id(id: Uuid) -> Sql {
    let mut sql = Sql::new(SELECT);
    sql.push("u.id = ").bind(id);
    sql
}

/// The only row as a user, or 404.
pub(crate) fn from_rows(rows: Rows) -> Result<User, Error> {
    User::from_row(&one(rows)?)
}

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

/// The tenant that a request about users is bound to: one's own, or for a superadmin the one it names, if any.
pub(crate) fn reach(me: &Identity, requested: Option<TenantId>) -> Result<Option<TenantId>, Error> {
    match (me.tenant_id, requested) {
        (Some(own), Some(asked)) if own != asked => Err(invalid_tenant()),
        (Some(own), _) => Ok(Some(own)),
        (None, asked) if me.role == Role::Superadmin => Ok(asked),
        (None, _) => Err(invalid_tenant()),
    }
}

fn invalid_tenant() -> Error {
    Error::new(ErrorCode::InvalidTenant, "Access denied: Invalid tenant")
}

/// One user: oneself, or for admins any of the tenant, for superadmins any.
///
/// # Errors
/// 403 without the right; 404 for nobody the caller may see.
pub async fn read(db: &Db, me: &Identity, id: Uuid) -> Result<User, Error> {
    if id != me.user_id.0 || me.grants.is_some() {
        me.require("users", Action::Read)?;
    }
    let tenant = tenant_of(db, me, id).await?;
    let why = acting(me, "users", tenant, &RequestContext::default());
    db.system(&why, async |tx: &mut SystemTx| from_rows(tx.rows(by_id(id)).await?)).await
}

/// Who is signed in.
///
/// # Errors
/// 503 when the database is away.
pub async fn myself(db: &Db, me: &Identity) -> Result<User, Error> {
    let why = acting(me, "myself", me.tenant_id, &RequestContext::default());
    db.system(&why, async |tx: &mut SystemTx| from_rows(tx.rows(by_id(me.user_id.0)).await?)).await
}

/// The tenant of a user that the caller may see, or 404. An employee row shows only in a transaction that names its
/// tenant, so this comes first when somebody from above the tenants asks.
pub(crate) async fn tenant_of(db: &Db, me: &Identity, id: Uuid) -> Result<Option<TenantId>, Error> {
    let own = reach(me, None)?;
    let mut sql = Sql::new("SELECT tenant_id FROM users WHERE id = ");
    sql.bind(id);
    let why = acting(me, "users", own, &RequestContext::default());
    let rows = db.system(&why, async |tx: &mut SystemTx| tx.rows(sql.clone()).await).await?;
    let tenant = col::<Option<Uuid>>(&one(rows)?, 0)?.map(TenantId);
    if own.is_some() && tenant != own { Err(Error::not_found()) } else { Ok(tenant) }
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
    for (name, text) in [("q", &query.q), ("email", &query.email)] {
        if text.as_ref().is_some_and(|t| t.len() > 320 || t.contains('\0')) {
            return Err(Error::parameter(name, "must be a text of at most 320 bytes"));
        }
    }
    let condition = condition(tenant, query);
    let mut count = Sql::new("SELECT count(*) FROM users u WHERE ");
    count.append(condition.clone());
    let mut page = Sql::new(SELECT);
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

fn condition(tenant: Option<TenantId>, query: &UserQuery) -> Sql {
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
    if let Some(q) = query.q.as_deref().map(str::trim).filter(|q| !q.is_empty()) {
        sql.push(" AND position(lower(").bind(Bind::text(q)).push(") IN lower(u.full_name || ' ' || u.email)) > 0");
    }
    sql
}

/// Fills in the employees of users from several tenants, tenant by tenant: employees never show across tenants.
async fn add_employees(db: &Db, me: &Identity, users: &mut [User]) -> Result<(), Error> {
    let mut tenants: HashMap<Uuid, Vec<Uuid>> = HashMap::new();
    for user in users.iter() {
        if let Some(tenant) = user.tenant_id {
            tenants.entry(tenant).or_default().push(user.id);
        }
    }
    let mut employees: HashMap<Uuid, Uuid> = HashMap::new();
    for (tenant, ids) in tenants {
        let mut sql = Sql::new("SELECT user_id, id FROM employees WHERE deleted_at IS NULL AND user_id = ANY (");
        sql.bind(Bind::Uuids(ids)).push(")");
        let why: SystemReason = acting(me, "users", Some(TenantId(tenant)), &RequestContext::default());
        let rows = db.system(&why, async |tx: &mut SystemTx| tx.rows(sql.clone()).await).await?;
        for row in &rows {
            employees.insert(col(row, 0)?, col(row, 1)?);
        }
    }
    for user in users {
        user.employee_id = employees.get(&user.id).copied();
    }
    Ok(())
}
