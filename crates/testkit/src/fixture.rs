//! Fresh tenants. Each test makes its own, so tests run side by side over one database and row-level security is exercised
//! all the time.

use crate::{Client, Stack, database};
use aisha_auth::{AccessLevel, Identity, Role, Scope};
use aisha_kernel::{TenantId, UserId, new_id};
use uuid::Uuid;

/// Somebody with a session.
#[derive(Clone)]
pub struct Person {
    /// The client that acts as this person.
    pub client: Client,
    /// User id.
    pub user_id: Uuid,
    /// Employee id; nil for a superadmin.
    pub employee_id: Uuid,
    /// The session.
    pub sid: Uuid,
    /// E-mail address.
    pub email: String,
    /// Role.
    pub role: Role,
}

/// A tenant with one user of each role.
pub struct TestTenant {
    /// Its id.
    pub id: Uuid,
    /// Its slug.
    pub slug: String,
    /// An admin.
    pub admin: Person,
    /// A manager.
    pub manager: Person,
    /// An employee.
    pub employee: Person,
    /// A second employee.
    pub colleague: Person,
}

fn access_level(access: AccessLevel) -> &'static str {
    match access {
        AccessLevel::Read => "read",
        AccessLevel::ReadWrite => "read_write",
    }
}

impl TestTenant {
    /// Everybody, strongest first.
    #[must_use]
    pub fn people(&self) -> [&Person; 4] {
        [&self.admin, &self.manager, &self.employee, &self.colleague]
    }
}

impl Stack {
    /// A new tenant.
    pub async fn tenant(&self) -> TestTenant {
        let id = new_id();
        let slug = format!("t-{}", id.simple());
        let sql = "INSERT INTO tenant (id, name, slug) VALUES ($1, $2, $3)";
        self.admin.execute(sql, &[&id, &format!("Tenant {id}"), &slug]).await.unwrap();
        TestTenant {
            id,
            admin: self.person(Some(id), Role::Admin).await,
            manager: self.person(Some(id), Role::Manager).await,
            employee: self.person(Some(id), Role::Employee).await,
            colleague: self.person(Some(id), Role::Employee).await,
            slug,
        }
    }

    /// A superadmin.
    pub async fn superadmin(&self) -> Person {
        self.person(None, Role::Superadmin).await
    }

    /// A user with a session, and an employee record if it has a tenant.
    pub async fn person(&self, tenant: Option<Uuid>, role: Role) -> Person {
        self.person_with(tenant, role, AccessLevel::ReadWrite).await
    }

    /// The same with an access level.
    pub async fn person_with(&self, tenant: Option<Uuid>, role: Role, access: AccessLevel) -> Person {
        let (user_id, sid) = (new_id(), new_id());
        let email = format!("{}-{}@example.test", role.as_str(), user_id.simple());
        let db = &self.admin;
        db.execute(
            "INSERT INTO users (id, tenant_id, email, first_name, last_name, role, access_level) VALUES ($1, $2, $3, 'Test', $4, $5, $6)",
            &[&user_id, &tenant, &email, &role.as_str(), &role.as_str(), &access_level(access)],
        )
        .await
        .unwrap();
        let employee_id = match tenant {
            Some(tenant) => {
                let id = new_id();
                let sql = "INSERT INTO employees (tenant_id, id, user_id, first_name, last_name, email) \
                           VALUES ($1, $2, $3, 'Test', $4, $5)";
                db.execute(sql, &[&tenant, &id, &user_id, &role.as_str(), &email]).await.unwrap();
                id
            }
            None => Uuid::nil(),
        };
        let hash = aisha_auth::api_key::hash(&sid.to_string());
        db.execute(
            "INSERT INTO sessions (id, user_id, refresh_hash, expires_at) VALUES ($1, $2, $3, now() + interval '1 day')",
            &[&sid, &user_id, &hash],
        )
        .await
        .unwrap();
        let identity = Identity {
            user_id: UserId(user_id),
            tenant_id: tenant.map(TenantId),
            employee_id: tenant.map(|_| employee_id),
            role,
            access,
            scope: if role == Role::Employee { Scope::Own } else { Scope::All },
            department: None,
            grants: None,
            extra: Vec::new(),
            disabled_modules: Vec::new(),
            sid,
        };
        Person { client: self.client(&identity), user_id, employee_id, sid, email, role }
    }

    /// Runs a statement as the superuser, past every policy.
    pub async fn sql(&self, statement: &str) {
        self.admin.batch_execute(statement).await.unwrap();
    }

    /// One text from the database, past every policy.
    pub async fn text(&self, query: &str) -> String {
        self.admin.query_one(query, &[]).await.unwrap().get(0)
    }

    /// One number from the database, past every policy.
    pub async fn count(&self, query: &str) -> i64 {
        self.admin.query_one(query, &[]).await.unwrap().get(0)
    }
}

/// A second superuser connection, for tests that hold one for a while.
pub async fn superuser() -> tokio_postgres::Client {
    database::admin().await
}
