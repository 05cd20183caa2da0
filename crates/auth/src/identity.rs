//! What a verified credential proves.
//!
//! An [`Identity`] is somebody who is signed in. A [`Principal`] is an identity bound to exactly one tenant; it is the
//! only key to tenant data. "No tenant means all tenants" does not exist as a value.

use crate::permission::{self, Action, Grant};
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

    /// Checks the permission matrix, and for an API key its own list.
    ///
    /// # Errors
    /// 403 `forbidden`.
    pub fn require(&self, resource: &str, action: Action) -> Result<(), Error> {
        let by_key = self.grants.as_ref().is_none_or(|grants| grants.iter().any(|g| g.covers(resource, action)));
        // An employee's key only reads, whatever its list says.
        let key_writes = self.grants.is_some() && self.role == Role::Employee && !action.is_read();
        let read_only = self.access == AccessLevel::Read && !action.is_read();
        if by_key && !key_writes && !read_only && permission::allows(self.role, resource, action) {
            return Ok(());
        }
        Err(Error::forbidden(format!("You may not {} {}.", action.as_str(), resource.replace('_', " "))))
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
    /// 403 `forbidden`.
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
}
