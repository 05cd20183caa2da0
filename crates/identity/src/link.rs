//! What invitations and reset links share.

use crate::sql::{col, one};
use aisha_auth::{Identity, Role};
use aisha_db::{Bind, Sql, SystemTx};
use aisha_kernel::{Error, ErrorCode, TenantId, clock};
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

/// The answer to every link that does not work.
pub(crate) fn invalid_link() -> Error {
    let message = "This link does not work: it was used, withdrawn or has expired. Ask for a new one.";
    Error::new(ErrorCode::InvalidLink, message)
}

/// When a link that is made now stops working, to the second.
pub(crate) fn expiry(life: Duration) -> OffsetDateTime {
    let at = clock::now() + life;
    at.replace_nanosecond(0).unwrap_or(at)
}

/// The user that a link is for.
#[derive(Debug, Clone)]
pub(crate) struct Person {
    pub id: Uuid,
    pub tenant: Option<TenantId>,
    pub email: String,
    pub name: String,
    pub has_password: bool,
    pub active: bool,
}

/// Locks the row of a user, who must not be above the caller. That the caller may see it was checked before.
pub(crate) async fn lock(tx: &mut SystemTx, me: &Identity, user: Uuid) -> Result<Person, Error> {
    let mut sql = Sql::new(
        "SELECT id, tenant_id, email, full_name, password_hash IS NOT NULL, is_active, role FROM users WHERE id = ",
    );
    sql.bind(user).push(" FOR UPDATE");
    let row = one(tx.rows(sql).await?)?;
    if col::<String>(&row, 6)?.parse::<Role>()? > me.role {
        return Err(Error::forbidden("You may not do this to somebody above you."));
    }
    Ok(Person {
        id: col(&row, 0)?,
        tenant: col::<Option<Uuid>>(&row, 1)?.map(TenantId),
        email: col(&row, 2)?,
        name: col(&row, 3)?,
        has_password: col(&row, 4)?,
        active: col(&row, 5)?,
    })
}

/// Who acts, as an e-mail names it, and the name of a tenant.
pub(crate) async fn actor(
    tx: &mut SystemTx,
    me: &Identity,
    tenant: Option<TenantId>,
) -> Result<(String, Option<String>), Error> {
    let mut sql = Sql::new("SELECT u.full_name, u.email, (SELECT t.name FROM tenant t WHERE t.id = ");
    sql.bind(Bind::Uuid(tenant.map(|t| t.0))).push(") FROM users u WHERE u.id = ").bind(me.user_id.0);
    let row = one(tx.rows(sql).await?)?;
    let (name, email): (String, String) = (col(&row, 0)?, col(&row, 1)?);
    Ok((if name.is_empty() { email } else { format!("{name} ({email})") }, col(&row, 2)?))
}
