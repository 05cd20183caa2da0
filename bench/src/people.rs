//! Who sends the requests: users, employees and sessions as `load.sql` numbers them, and their credentials.

use aisha_auth::{
    AccessLevel, Identity, Role, Scope,
    token::{AccessKeys, InternalSigner},
};
use aisha_kernel::{TenantId, UserId};
use secrecy::SecretString;
use uuid::Uuid;

/// The ids that `bench.id()` makes.
fn id(kind: u128, tenant: u16, n: u16) -> Uuid {
    Uuid::from_u128(kind << 96 | u128::from(tenant) << 80 | 0x7000 << 64 | 0x8000 << 48 | u128::from(n))
}

/// A user of a tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Person {
    /// Number of the tenant, 1 to 50, of which the first is the largest; 51 is the one of `reports.sql`.
    pub tenant: u16,
    n: u16,
}

impl Person {
    /// Sees everything.
    pub const fn admin(tenant: u16) -> Self {
        Self { tenant, n: 1 }
    }

    /// Sees the few records of its own.
    pub const fn employee(tenant: u16) -> Self {
        Self { tenant, n: 2 }
    }

    /// Id of the tenant.
    pub fn tenant_id(self) -> Uuid {
        id(1, self.tenant, 0)
    }

    /// Sees the records of a department.
    pub const fn manager(tenant: u16) -> Self {
        Self { tenant, n: 3 }
    }

    fn identity(self) -> Identity {
        let (role, scope, department) = match self.n {
            1 => (Role::Admin, Scope::All, None),
            3 => (Role::Manager, Scope::Department, Some("Partners".to_owned())),
            _ => (Role::Employee, Scope::Own, None),
        };
        Identity {
            user_id: UserId(id(2, self.tenant, self.n)),
            tenant_id: Some(TenantId(self.tenant_id())),
            employee_id: Some(id(3, self.tenant, self.n)),
            role,
            access: AccessLevel::ReadWrite,
            scope,
            department,
            grants: None,
            extra: Vec::new(),
            disabled_modules: Vec::new(),
            sid: id(4, self.tenant, self.n),
        }
    }
}

/// Where requests go, which decides what they carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Target {
    /// Through the gateway, as clients do.
    Gateway,
    /// Straight to crm-core, with the token that the gateway would show it.
    CrmCore,
    /// Straight to the tenant resolver, likewise.
    #[value(skip)]
    TenantResolver,
}

/// Keys made for this run.
pub struct Keys {
    /// For `JWT_SECRET`.
    pub jwt_secret: String,
    /// For `INTERNAL_SIGNING_KEY`.
    pub signing_key: String,
    access: AccessKeys,
    internal: InternalSigner,
}

impl Keys {
    /// Fresh ones.
    pub fn generate() -> anyhow::Result<Self> {
        let jwt_secret = InternalSigner::generate()?;
        let signing_key = InternalSigner::generate()?;
        let access = AccessKeys::new(&SecretString::from(jwt_secret.clone()), None)?;
        let internal = InternalSigner::new(&SecretString::from(signing_key.clone()))?;
        Ok(Self { jwt_secret, signing_key, access, internal })
    }

    /// For `INTERNAL_PUBLIC_KEYS`.
    pub fn public_key(&self) -> &str {
        self.internal.public_key()
    }

    /// The header that says who sends a request; good for two minutes.
    pub fn credential(&self, person: Person, target: Target) -> anyhow::Result<(&'static str, String)> {
        let me = person.identity();
        Ok(match target {
            Target::CrmCore => ("x-internal-token", self.internal.mint(&me, "crm-core")?),
            Target::TenantResolver => ("x-internal-token", self.internal.mint(&me, "tenant-resolver")?),
            Target::Gateway => {
                let tenant = Some(person.tenant_id());
                ("authorization", format!("Bearer {}", self.access.mint(me.user_id, me.sid, tenant, me.role)?))
            }
        })
    }
}
