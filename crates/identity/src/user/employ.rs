//! The employee record that comes with a user of a tenant. Names, address and activity are kept equal by the database
//! (`sql/055_people.sql`); here records are made and linked.

use crate::sql::col;
use aisha_db::{Bind, Sql, SystemTx};
use aisha_kernel::{Error, Patch, TenantId, new_id};
use uuid::Uuid;

/// Who gets the record.
pub(super) struct Colleague<'a> {
    pub user: Uuid,
    pub tenant: TenantId,
    pub email: &'a str,
    pub first_name: &'a str,
    pub last_name: &'a str,
    pub by: Option<Uuid>,
}

pub(super) fn email_taken() -> Error {
    Error::conflict("Another record already has this email.").field("email", "is already taken")
}

/// The statement that finds the live employee with an address.
pub(super) fn with_email(tenant: TenantId, email: &str) -> Sql {
    let mut sql = Sql::new("SELECT id, user_id FROM employees WHERE deleted_at IS NULL AND tenant_id = ");
    sql.bind(tenant.0).push(" AND email = ").bind(Bind::text(email)).push(" FOR UPDATE");
    sql
}

impl Colleague<'_> {
    /// The statement that links the live employee with the user's address, which [`with_email`] found, or makes one.
    ///
    /// # Errors
    /// 409 naming `email` when that employee is somebody else's.
    pub fn employ(&self, found: &[aisha_db::PgRow]) -> Result<Sql, Error> {
        let Some(row) = found.first() else { return Ok(self.hire()) };
        let (employee, user): (Uuid, Option<Uuid>) = (col(row, 0)?, col(row, 1)?);
        if user.is_some() {
            return Err(email_taken());
        }
        let mut sql = Sql::new("UPDATE employees SET user_id = ");
        sql.bind(self.user).push(", first_name = coalesce(nullif(").bind(Bind::text(self.first_name));
        sql.push(", ''), first_name), last_name = coalesce(nullif(").bind(Bind::text(self.last_name));
        sql.push(", ''), last_name) WHERE tenant_id = ").bind(self.tenant.0).push(" AND id = ").bind(employee);
        Ok(sql)
    }

    fn hire(&self) -> Sql {
        // An employee has both names; where one is missing, the address says more than a dash.
        let local = self.email.split('@').next().unwrap_or_default();
        let name = |n| Bind::text(if n == "" { local } else { n });
        let mut sql = Sql::new(
            "INSERT INTO employees (tenant_id, id, user_id, first_name, last_name, email, created_by) VALUES (",
        );
        sql.bind(self.tenant.0).push(", ").bind(new_id()).push(", ").bind(self.user).push(", ");
        sql.bind(name(self.first_name)).push(", ").bind(name(self.last_name)).push(", ");
        sql.bind(Bind::text(self.email)).push(", ").bind(Bind::Uuid(self.by)).push(")");
        sql
    }

    /// Gives somebody who comes back the record back: from the trash, or a new one where it is gone.
    ///
    /// # Errors
    /// 409 naming `email` when somebody else has the address by now.
    pub async fn return_to_work(&self, tx: &mut SystemTx) -> Result<(), Error> {
        let mut restore = Sql::new("UPDATE employees SET deleted_at = NULL, deleted_by = NULL WHERE tenant_id = ");
        restore.bind(self.tenant.0).push(" AND deleted_at IS NOT NULL AND user_id = ").bind(self.user);
        let mut own = Sql::new("SELECT id FROM employees WHERE tenant_id = ");
        own.bind(self.tenant.0).push(" AND user_id = ").bind(self.user);
        let mut results = tx.flight(vec![restore, own, with_email(self.tenant, self.email)]).await?;
        let found = results.pop().unwrap_or_default();
        if results.pop().is_some_and(|own| !own.is_empty()) {
            return Ok(());
        }
        let sql = self.employ(&found)?;
        tx.rows(sql).await.map(drop)
    }
}

/// The statement that puts a user's employee into a department, where it is in another one.
///
/// # Errors
/// 422 for a superadmin, who is nobody's employee.
pub(super) fn department(
    tenant: Option<TenantId>,
    user: Uuid,
    department: &Patch<String>,
) -> Result<Option<Sql>, Error> {
    let value = match department {
        Patch::Absent => return Ok(None),
        Patch::Null => None,
        Patch::Value(text) => Some(text.clone()),
    };
    let Some(tenant) = tenant else {
        return match value {
            None => Ok(None),
            Some(_) => Err(Error::invalid("department", "must be empty: a superadmin has no employee record")),
        };
    };
    let value = Bind::Text(value, "text");
    let mut sql = Sql::new("UPDATE employees SET department = ");
    sql.bind(value.clone()).push(" WHERE tenant_id = ").bind(tenant.0).push(" AND user_id = ").bind(user);
    sql.push(" AND department IS DISTINCT FROM ").bind(value);
    Ok(Some(sql))
}
