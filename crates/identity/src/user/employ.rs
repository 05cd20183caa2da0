//! The employee record that comes with a user of a tenant. Names, address and activity are kept equal by the database
//! (`sql/055_people.sql`); here records are made and linked.

use crate::sql::col;
use aisha_db::{Bind, Sql, SystemTx};
use aisha_kernel::{Error, Patch, TenantId, new_id};
use std::collections::HashMap;
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

/// A live employee, and its user if it has one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found {
    id: Uuid,
    user: Option<Uuid>,
}

/// The live employees with these addresses, by address.
///
/// # Errors
/// 503 when the database is away.
pub(super) async fn find(
    tx: &mut SystemTx,
    tenant: TenantId,
    emails: Vec<String>,
) -> Result<HashMap<String, Found>, Error> {
    let mut sql = Sql::new("SELECT email, id, user_id FROM employees WHERE deleted_at IS NULL AND tenant_id = ");
    sql.bind(tenant.0).push(" AND email = ANY(").bind(Bind::Texts(Some(emails))).push(")");
    let rows = tx.rows(sql).await?;
    rows.iter().map(|row| Ok((col(row, 0)?, Found { id: col(row, 1)?, user: col(row, 2)? }))).collect()
}

impl Colleague<'_> {
    /// The statement that links the live employee with the user's address, which [`find`] found, or makes one.
    ///
    /// # Errors
    /// 409 naming `email` when that employee is somebody else's.
    pub fn employ(&self, found: Option<Found>) -> Result<Sql, Error> {
        let Some(employee) = found else { return Ok(self.hire()) };
        if employee.user.is_some() {
            return Err(email_taken());
        }
        let mut sql = Sql::new("UPDATE employees SET user_id = ");
        sql.bind(self.user).push(", first_name = coalesce(nullif(").bind(Bind::text(self.first_name));
        sql.push(", ''), first_name), last_name = coalesce(nullif(").bind(Bind::text(self.last_name));
        sql.push(", ''), last_name) WHERE tenant_id = ").bind(self.tenant.0).push(" AND id = ").bind(employee.id);
        Ok(sql)
    }

    fn hire(&self) -> Sql {
        // An employee has both names; where one is missing, the address says more than a dash.
        let local = self.email.split('@').next().unwrap_or_default();
        let name = |n: &str| Bind::text(if n.is_empty() { local } else { n });
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
        if tx.flight(vec![restore, own]).await?.pop().is_some_and(|own| !own.is_empty()) {
            return Ok(());
        }
        let found = find(tx, self.tenant, vec![self.email.to_owned()]).await?.remove(self.email);
        let sql = self.employ(found)?;
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
