//! Users: people who can sign in. Who may see and change whom; the row as the API shows it.

mod batch;
mod create;
mod employ;
mod export;
mod import;
mod input;
mod list;
mod myself;
mod navigation;
mod password;
mod presence;
mod sync;
mod update;

pub use create::{Superadmin, create, create_invited, create_superadmin};
pub use export::{UserExport, export_users};
pub use import::{Imported, ImportedUser, OnDuplicate, UserImport, bulk_import};
pub use input::UserInput;
pub use list::{UserPage, UserQuery, list};
pub use myself::{myself, update_myself};
pub use navigation::PAGES;
pub use password::change_password;
pub(crate) use password::end_sessions;
pub use presence::{Presence, PresenceList, heartbeat, presence};
pub use sync::{DirectorySync, Synced, SyncedUser, sync_from_auth};
pub use update::{deactivate, reactivate, update};

use crate::sql::{acting, col, one};
use aisha_auth::{Action, Identity, Role};
use aisha_db::{Db, Json, PgRow, RequestContext, Sql, SystemTx, tx::Rows};
use aisha_kernel::{Error, ErrorCode, TenantId};
use serde::Serialize;
use serde_json::{Map, Value};
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
    /// Which parts of the application the user's menu shows: every one of them, true or false. The defaults of the role,
    /// and over them what was set for this user.
    #[schema(value_type = Object)]
    pub navigation_permissions: Map<String, Value>,
    /// What was set for this user.
    #[serde(skip)]
    pub(super) navigation_overrides: Value,
    /// Names of further roles that add permissions.
    pub custom_roles: Vec<String>,
    /// The employee record of this user.
    pub employee_id: Option<Uuid>,
    /// The department of that employee.
    pub department: Option<String>,
    /// Id in the directory that the tenant's users come from; unique in the tenant.
    pub external_id: Option<String>,
    /// Anything else.
    #[schema(value_type = Object)]
    pub metadata: Json,
    /// When the user last signed in.
    #[serde(with = "time::serde::rfc3339::option")]
    pub last_login_at: Option<OffsetDateTime>,
    /// When the user was last seen, to half a minute.
    #[serde(with = "time::serde::rfc3339::option")]
    pub last_seen_at: Option<OffsetDateTime>,
    /// `online` when the user was seen within two minutes, else `offline`.
    pub live_status: &'static str,
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

const COLUMNS: &str = "SELECT u.id, u.tenant_id, u.email, u.first_name, u.last_name, u.full_name, u.role, \
     u.access_level, u.can_use_softphone, u.is_active, u.navigation_permissions, u.custom_roles, e.id, u.metadata, \
     u.last_login_at, u.created_at, u.updated_at, u.version, u.last_seen_at, u.external_id, e.department, ";
const TABLES: &str = " FROM users u \
     LEFT JOIN employees e ON e.tenant_id = u.tenant_id AND e.user_id = u.id AND e.deleted_at IS NULL WHERE ";

/// `SELECT … WHERE `, for a condition on `users u`.
fn select() -> Sql {
    let mut sql = Sql::new(COLUMNS);
    sql.push(presence::ONLINE).push(TABLES);
    sql
}

impl User {
    fn from_row(row: &PgRow) -> Result<Self, Error> {
        let role: Role = col::<String>(row, 6)?.parse()?;
        let navigation_overrides = col::<Json>(row, 10)?.value();
        let created_at = col(row, 15)?;
        Ok(Self {
            id: col(row, 0)?,
            tenant_id: col(row, 1)?,
            email: col(row, 2)?,
            first_name: col(row, 3)?,
            last_name: col(row, 4)?,
            full_name: col(row, 5)?,
            employee_role: (role < Role::Admin).then(|| role.to_string()),
            role: role.to_string(),
            access_level: col(row, 7)?,
            can_use_softphone: col(row, 8)?,
            is_active: col(row, 9)?,
            navigation_permissions: navigation::effective(role, &navigation_overrides),
            navigation_overrides,
            custom_roles: col(row, 11)?,
            employee_id: col(row, 12)?,
            metadata: col(row, 13)?,
            last_login_at: col(row, 14)?,
            created_at,
            created_date: created_at,
            updated_at: col(row, 16)?,
            version: col(row, 17)?,
            last_seen_at: col(row, 18)?,
            external_id: col(row, 19)?,
            department: col(row, 20)?,
            live_status: presence::live_status(col(row, 21)?),
        })
    }
}

/// The statement for one user.
pub(crate) fn by_id(id: Uuid) -> Sql {
    let mut sql = select();
    sql.push("u.id = ").bind(id);
    sql
}

/// The only row as a user, or 404.
pub(crate) fn from_rows(rows: Rows) -> Result<User, Error> {
    User::from_row(&one(rows)?)
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
