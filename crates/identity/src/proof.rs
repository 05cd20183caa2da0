//! From a row to the [`Identity`] it proves. Sessions and API keys join the same tables and share the columns.

use crate::sql::col;
use aisha_auth::{AccessLevel, Grant, Identity, Role, Scope};
use aisha_db::PgRow;
use aisha_kernel::{Error, TenantId, UserId};
use uuid::Uuid;

/// What [`identity`] reads, starting at column 0, of the tables in [`JOINS`].
/// The lists are in order, so that the same rights make the same identity.
pub(crate) const COLUMNS: &str = "u.id, u.tenant_id, e.id, u.role, u.access_level, e.department, t.manager_scope, \
     ARRAY(SELECT DISTINCT p.action || ':' || p.resource FROM role_permissions rp \
           JOIN permissions p ON p.tenant_id = rp.tenant_id AND p.id = rp.permission_id \
           WHERE rp.tenant_id = u.tenant_id AND rp.role = ANY (u.custom_roles) ORDER BY 1), \
     ARRAY(SELECT m.module_name::text FROM module_settings m \
           WHERE m.tenant_id = u.tenant_id AND NOT m.is_enabled ORDER BY 1)";
/// How many columns those are: what a statement reads beside them comes after.
pub(crate) const WIDTH: usize = 9;

/// Tenant and employee of `users u`. The employee, custom rights and modules show only in a transaction that names the
/// tenant.
pub(crate) const JOINS: &str = " LEFT JOIN tenant t ON t.id = u.tenant_id \
     LEFT JOIN employees e ON e.tenant_id = u.tenant_id AND e.user_id = u.id AND e.deleted_at IS NULL ";

/// Whether the user may sign in or act at all.
pub(crate) const ACTIVE: &str = " u.is_active AND (u.tenant_id IS NULL OR t.status = 'active') ";

/// Whether the tenant asks for a second factor that the user does not have.
pub(crate) const MUST_ENROL: &str = " coalesce(t.settings -> 'require_totp' = 'true', false) AND NOT EXISTS \
     (SELECT FROM user_totp x WHERE x.user_id = u.id AND x.confirmed_at IS NOT NULL) ";

pub(crate) fn identity(row: &PgRow, sid: Uuid, grants: Option<Vec<Grant>>) -> Result<Identity, Error> {
    let role: Role = col::<String>(row, 3)?.parse()?;
    let by_department = col::<Option<String>>(row, 6)?.as_deref() == Some("department");
    Ok(Identity {
        user_id: UserId(col(row, 0)?),
        tenant_id: col::<Option<Uuid>>(row, 1)?.map(TenantId),
        employee_id: col(row, 2)?,
        role,
        access: if col::<String>(row, 4)? == "read" { AccessLevel::Read } else { AccessLevel::ReadWrite },
        scope: scope(role, by_department),
        department: col(row, 5)?,
        grants,
        // A right that can no longer be read gives nothing.
        extra: col::<Vec<String>>(row, 7)?.iter().filter_map(|e| e.parse().ok()).collect(),
        disabled_modules: col(row, 8)?,
        sid,
    })
}

fn scope(role: Role, by_department: bool) -> Scope {
    match role {
        Role::Superadmin | Role::Admin => Scope::All,
        Role::Manager if by_department => Scope::Department,
        Role::Manager => Scope::All,
        Role::Employee => Scope::Own,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_managers_scope_depends_on_the_tenant() {
        for by_department in [false, true] {
            assert_eq!(scope(Role::Superadmin, by_department), Scope::All);
            assert_eq!(scope(Role::Admin, by_department), Scope::All);
            assert_eq!(scope(Role::Employee, by_department), Scope::Own);
        }
        assert_eq!(scope(Role::Manager, false), Scope::All);
        assert_eq!(scope(Role::Manager, true), Scope::Department);
    }
}
