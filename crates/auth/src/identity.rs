//! What a verified credential proves.
//!
//! An [`Identity`] is somebody who is signed in. A [`Principal`] is an identity bound to exactly one tenant; it is the
//! only key to tenant data. "No tenant means all tenants" does not exist as a value.

use crate::{
    module,
    permission::{self, Action, Extra, Grant},
};
use aisha_kernel::{Error, ErrorCode, TenantId, UserId};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr, sync::Arc};
use uuid::Uuid;

/// The four roles of the permission matrix, weakest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Sees and edits its own records.
    Employee,
    /// Sees and edits its team's records.
    Manager,
    /// Runs one tenant.
    Admin,
    /// Runs the platform; acts on one named tenant at a time.
    Superadmin,
}

impl Role {
    /// Every role, weakest first.
    pub const ALL: [Self; 4] = [Self::Employee, Self::Manager, Self::Admin, Self::Superadmin];

    /// The name in SQL, JSON and tokens.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Employee => "employee",
            Self::Manager => "manager",
            Self::Admin => "admin",
            Self::Superadmin => "superadmin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = Error;

    fn from_str(s: &str) -> Result<Self, Error> {
        Self::ALL
            .into_iter()
            .find(|r| r.as_str() == s)
            .ok_or_else(|| Error::invalid("role", "must be superadmin, admin, manager or employee"))
    }
}

/// Whether a user may write at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AccessLevel {
    /// Tenant data only inside read-only transactions.
    Read,
    /// Reads and writes, within the role.
    ReadWrite,
}

/// Which records of its tenant a principal sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// All of them.
    All,
    /// Those assigned to its department, or created by itself.
    Department,
    /// Those assigned to it or created by it.
    Own,
}

/// Somebody who is signed in, as the gateway vouches for it in an internal token.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Identity {
    /// The user.
    #[serde(rename = "sub")]
    pub user_id: UserId,
    /// The tenant the user belongs to; `None` for a superadmin.
    pub tenant_id: Option<TenantId>,
    /// The employee record in that tenant.
    pub employee_id: Option<Uuid>,
    /// The role.
    pub role: Role,
    /// Read or read and write.
    pub access: AccessLevel,
    /// What the role sees in this tenant.
    pub scope: Scope,
    /// The employee's department, for [`Scope::Department`].
    pub department: Option<String>,
    /// Limits of an API key; `None` for a person.
    pub grants: Option<Vec<Grant>>,
    /// What custom roles add to the role.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub extra: Vec<Extra>,
    /// Names of the modules that the tenant has switched off; none for a superadmin, who belongs to no tenant.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub disabled_modules: Vec<String>,
    /// The session or API key behind the request.
    pub sid: Uuid,
}

impl Identity {
    /// Binds the identity to one tenant.
    ///
    /// `requested` is the `tenant_id` that the request names, if any: a superadmin chooses with it, everybody else may
    /// only repeat its own.
    ///
    /// # Errors
    /// 403 `invalid_tenant` for another tenant; 400 naming `tenant_id` when a superadmin names none.
    pub fn in_tenant(self: &Arc<Self>, requested: Option<TenantId>) -> Result<Principal, Error> {
        let tenant = match (self.tenant_id, requested) {
            (Some(own), None) => own,
            (Some(own), Some(asked)) if own == asked => own,
            (Some(_), Some(_)) => return Err(Error::new(ErrorCode::InvalidTenant, "Access denied: Invalid tenant")),
            (None, Some(asked)) if self.role == Role::Superadmin => asked,
            (None, None) if self.role == Role::Superadmin => {
                return Err(Error::parameter(
                    "tenant_id",
                    "is required: a superadmin acts on one named tenant at a time",
                ));
            }
            (None, _) => return Err(Error::new(ErrorCode::InvalidTenant, "Access denied: Invalid tenant")),
        };
        Ok(Principal { identity: Arc::clone(self), tenant })
    }

    /// Whether role, custom roles, API key and access level together allow it, whatever modules are on: the role or a
    /// custom role gives, then the key's own list and the access level take away.
    #[must_use]
    pub fn may(&self, resource: &str, action: Action) -> bool {
        let given = permission::allows(self.role, resource, action)
            || self.extra.iter().any(|extra| extra.covers(resource, action));
        let by_key = self.grants.as_ref().is_none_or(|grants| grants.iter().any(|g| g.covers(resource, action)));
        // An employee's key only reads, whatever its list says.
        let key_writes = self.grants.is_some() && self.role == Role::Employee && !action.is_read();
        let read_only = self.access == AccessLevel::Read && !action.is_read();
        given && by_key && !key_writes && !read_only
    }

    /// Checks that the resource's module is on and that [`Identity::may`] allows the action.
    ///
    /// # Errors
    /// 403 `module_disabled` or `forbidden`.
    pub fn require(&self, resource: &str, action: Action) -> Result<(), Error> {
        if !self.disabled_modules.is_empty()
            && let Some(module) = module::of(resource)
            && self.disabled_modules.iter().any(|name| name == module.name)
        {
            let message = format!("The module {} is switched off for your organisation.", module.name);
            return Err(Error::new(ErrorCode::ModuleDisabled, message));
        }
        if self.may(resource, action) {
            return Ok(());
        }
        Err(Error::forbidden(format!("You may not {} {}.", action.as_str(), resource.replace('_', " "))))
    }

    /// The resources of the modules that are off, for lists that show several kinds of records together.
    #[must_use]
    pub fn disabled_resources(&self) -> Vec<&'static str> {
        let off = module::MODULES.iter().filter(|m| self.disabled_modules.iter().any(|name| name == m.name));
        off.flat_map(|m| m.resources).copied().collect()
    }
}

/// An identity bound to one tenant: the only key to tenant data.
///
/// It has no constructor but [`Identity::in_tenant`].
#[derive(Debug, Clone)]
pub struct Principal {
    identity: Arc<Identity>,
    tenant: TenantId,
}

impl Principal {
    /// The tenant whose data this principal may touch.
    #[must_use]
    pub fn tenant(&self) -> TenantId {
        self.tenant
    }

    /// Who it is.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The user.
    #[must_use]
    pub fn user(&self) -> UserId {
        self.identity.user_id
    }

    /// The employee record, if the user has one in this tenant.
    #[must_use]
    pub fn employee(&self) -> Option<Uuid> {
        self.identity.employee_id
    }

    /// What it sees.
    #[must_use]
    pub fn scope(&self) -> Scope {
        self.identity.scope
    }

    /// Whether it acts in a tenant that is not its own.
    #[must_use]
    pub fn impersonates(&self) -> bool {
        self.identity.tenant_id != Some(self.tenant)
    }

    /// See [`Identity::require`].
    ///
    /// # Errors
    /// 403 `module_disabled` or `forbidden`.
    pub fn require(&self, resource: &str, action: Action) -> Result<(), Error> {
        self.identity.require(resource, action)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(role: Role, tenant: Option<TenantId>) -> Arc<Identity> {
        Arc::new(Identity {
            user_id: UserId(Uuid::from_u128(1)),
            tenant_id: tenant,
            employee_id: None,
            role,
            access: AccessLevel::ReadWrite,
            scope: Scope::All,
            department: None,
            grants: None,
            extra: Vec::new(),
            disabled_modules: Vec::new(),
            sid: Uuid::nil(),
        })
    }

    #[test]
    fn nobody_but_a_superadmin_leaves_its_tenant() {
        let (a, b) = (TenantId(Uuid::from_u128(10)), TenantId(Uuid::from_u128(11)));
        for role in [Role::Employee, Role::Manager, Role::Admin] {
            let me = identity(role, Some(a));
            assert_eq!(me.in_tenant(None).map(|p| p.tenant()).ok(), Some(a));
            assert_eq!(me.in_tenant(Some(a)).map(|p| p.tenant()).ok(), Some(a));
            assert_eq!(me.in_tenant(Some(b)).err().map(|e| e.code), Some(ErrorCode::InvalidTenant));
            // A stray account without a tenant has no tenant at all, least of all every tenant.
            assert!(identity(role, None).in_tenant(Some(a)).is_err());
        }
        let root = identity(Role::Superadmin, None);
        assert_eq!(root.in_tenant(None).err().map(|e| e.code), Some(ErrorCode::InvalidParameter));
        assert!(root.in_tenant(Some(b)).is_ok_and(|p| p.tenant() == b && p.impersonates()));
    }

    #[test]
    fn a_key_narrows_and_never_widens() {
        let tenant = Some(TenantId(Uuid::from_u128(10)));
        let with = |role, grants: &[&str], access| {
            let mut me = (*identity(role, tenant)).clone();
            me.grants = Some(grants.iter().filter_map(|g| g.parse().ok()).collect());
            me.access = access;
            me
        };
        let rw = AccessLevel::ReadWrite;
        assert!(with(Role::Admin, &["read:contacts"], rw).require("contacts", Action::Read).is_ok());
        assert!(with(Role::Admin, &["read:contacts"], rw).require("contacts", Action::Update).is_err());
        assert!(with(Role::Admin, &["read:contacts"], rw).require("accounts", Action::Read).is_err());
        assert!(with(Role::Admin, &["write:*"], rw).require("accounts", Action::Delete).is_ok());
        assert!(with(Role::Manager, &["*:*"], rw).require("accounts", Action::Delete).is_err());
        assert!(with(Role::Employee, &["*:*"], rw).require("contacts", Action::Create).is_err());
        assert!(with(Role::Admin, &["*:*"], AccessLevel::Read).require("contacts", Action::Create).is_err());
    }

    #[test]
    fn custom_roles_widen_and_everything_else_narrows() {
        let tenant = Some(TenantId(Uuid::from_u128(10)));
        let with = |role, extra: &[&str]| {
            let mut me = (*identity(role, tenant)).clone();
            me.extra = extra.iter().map(|e| e.parse().unwrap()).collect();
            me
        };
        let me = with(Role::Employee, &["delete:contacts", "export:*"]);
        assert!(me.require("contacts", Action::Delete).is_ok());
        assert!(me.require("accounts", Action::Delete).is_err());
        assert!(me.require("leads", Action::Export).is_ok());
        for resource in ["users", "tenants", "api_keys", "permissions", "employees", "system_settings"] {
            for action in [Action::Create, Action::Export, Action::Import] {
                let plain = identity(Role::Employee, tenant).may(resource, action);
                assert_eq!(with(Role::Employee, &["*:*"]).may(resource, action), plain, "{resource}");
            }
        }
        let mut reader = me.clone();
        reader.access = AccessLevel::Read;
        assert!(reader.require("contacts", Action::Delete).is_err());
        let mut key = with(Role::Manager, &["*:*"]);
        key.grants = Some(vec!["read:contacts".parse().unwrap()]);
        assert!(key.require("contacts", Action::Read).is_ok());
        assert!(key.require("contacts", Action::Delete).is_err());
        let mut key = me.clone();
        key.grants = Some(vec!["*:*".parse().unwrap()]);
        assert!(key.require("contacts", Action::Delete).is_err(), "an employee's key only reads");
    }

    #[test]
    fn a_module_that_is_off_is_off_for_everybody() {
        for role in Role::ALL {
            let mut me = (*identity(role, Some(TenantId(Uuid::from_u128(10))))).clone();
            me.extra = vec!["*:*".parse().unwrap()];
            me.disabled_modules = vec!["bizdev_sources".into(), "no_longer_known".into()];
            for action in Action::ALL {
                let refused = me.require("bizdevsources", action).unwrap_err();
                assert_eq!(refused.code, ErrorCode::ModuleDisabled);
                assert!(refused.message.contains("bizdev_sources"));
            }
            assert!(me.require("contacts", Action::Read).is_ok());
            assert_eq!(me.disabled_resources(), ["bizdevsources"]);
        }
    }
}
