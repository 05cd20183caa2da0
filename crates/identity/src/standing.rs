//! Who somebody is in a tenant without asking for a credential: for diagnosis, and for work that runs with a person's
//! rights while the person is away.
//!
//! The identity is the same that a session of theirs would prove; it carries no session.

use crate::{
    proof::{COLUMNS, JOINS, identity},
    sql::col,
};
use aisha_auth::Identity;
use aisha_db::{Bind, PgRow, Sql, SystemTx};
use aisha_kernel::{Error, TenantId};
use std::collections::HashMap;
use time::OffsetDateTime;
use uuid::Uuid;

/// A user as the platform knows it.
#[derive(Debug, Clone)]
pub struct Standing {
    /// What the user is and sees.
    pub identity: Identity,
    /// E-mail address.
    pub email: String,
    /// First and last name.
    pub full_name: String,
    /// Whether the account is active.
    pub is_active: bool,
    /// Status of the user's tenant; `None` for a superadmin.
    pub tenant_status: Option<String>,
    /// Name and status of the employee record that belongs to the account.
    pub employee: Option<(String, String)>,
    /// Names of custom roles.
    pub custom_roles: Vec<String>,
    /// When the user last signed in.
    pub last_login_at: Option<OffsetDateTime>,
}

/// Which user is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whom {
    /// By id.
    Id(Uuid),
    /// By e-mail address, in lower case.
    Email(String),
}

impl Whom {
    /// Reads an id or an e-mail address.
    ///
    /// # Errors
    /// 400 naming the parameter.
    pub fn parse(name: &str, text: &str) -> Result<Self, Error> {
        if let Ok(id) = Uuid::parse_str(text) {
            return Ok(Self::Id(id));
        }
        if text.contains('@') && text.len() <= 320 && !text.contains('\0') {
            return Ok(Self::Email(text.to_lowercase()));
        }
        Err(Error::parameter(name, "must be the id or the e-mail address of a user"))
    }
}

fn from_row(row: &PgRow, identity: Identity) -> Result<Standing, Error> {
    let employee = match (col::<Option<String>>(row, 5)?, col::<Option<String>>(row, 6)?) {
        (Some(name), Some(status)) => Some((name, status)),
        _ => None,
    };
    Ok(Standing {
        identity,
        email: col(row, 1)?,
        full_name: col(row, 2)?,
        is_active: col(row, 3)?,
        tenant_status: col(row, 4)?,
        employee,
        custom_roles: col(row, 7)?,
        last_login_at: col(row, 8)?,
    })
}

/// Users of a tenant: the one that is meant, superadmins included, or the first `limit` of its own by e-mail address.
/// The transaction must name the tenant.
///
/// # Errors
/// 503 when the database is away.
pub async fn standings(
    tx: &mut SystemTx,
    tenant: TenantId,
    whom: Option<&Whom>,
    limit: i64,
) -> Result<Vec<Standing>, Error> {
    let mut wanted = Sql::new(format!(" FROM users u {JOINS} WHERE "));
    match whom {
        None => wanted.push("u.tenant_id = ").bind(tenant.0),
        Some(whom) => {
            wanted.push("(u.tenant_id = ").bind(tenant.0).push(" OR u.role = 'superadmin') AND ");
            match whom {
                Whom::Id(id) => wanted.push("u.id = ").bind(*id),
                Whom::Email(email) => wanted.push("u.email = ").bind(Bind::text(email)),
            }
        }
    };
    wanted.push(" ORDER BY u.email LIMIT ").bind(Bind::Int(limit));
    let mut proofs = Sql::new(format!("SELECT {COLUMNS}"));
    proofs.append(wanted.clone());
    let mut accounts = Sql::new(
        "SELECT u.id, u.email, u.full_name, u.is_active, t.status, e.first_name || ' ' || e.last_name, e.status, \
         u.custom_roles, u.last_login_at",
    );
    accounts.append(wanted);
    let mut results = tx.flight(vec![proofs, accounts]).await?;
    let accounts = results.pop().unwrap_or_default();
    let mut proven: HashMap<Uuid, Identity> = HashMap::new();
    for row in results.pop().unwrap_or_default() {
        let identity = identity(&row, Uuid::nil(), None)?;
        proven.insert(identity.user_id.0, identity);
    }
    // Whoever came or went between the two statements is left out.
    let known = accounts.iter().filter_map(|row| {
        let id = col::<Uuid>(row, 0);
        Some((row, proven.remove(&id.ok()?)?))
    });
    known.map(|(row, identity)| from_row(row, identity)).collect()
}
