//! From an identifier that people or older programs use, a slug or a UUID, to the tenant.
//!
//! Belongs here: which tenants somebody may find, and the statement. Does not belong here: remembering answers (the
//! resolver service).

use aisha_auth::Principal;
use aisha_db::{Bind, Db, PgRow, Sql, SystemReason};
use aisha_kernel::{Error, TenantId};
use uuid::Uuid;

/// The slug that stands for the platform itself. It is no secret: everybody may resolve it.
pub const SYSTEM: &str = "system";

/// What a tenant is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantName {
    /// Identifier.
    pub id: Uuid,
    /// Slug.
    pub slug: String,
}

/// Which tenants somebody may find. What is outside is not searched at all, so its answer cannot be told from that for
/// what does not exist, by content or by time.
#[derive(Debug, Clone)]
pub enum Sight {
    /// All of them: for superadmins, and for what is no secret.
    All,
    /// The own one; row-level security sees to it.
    Own(Principal),
}

impl Sight {
    /// The only tenant that can be found, if there is but one.
    #[must_use]
    pub fn tenant(&self) -> Option<TenantId> {
        match self {
            Self::All => None,
            Self::Own(me) => Some(me.tenant()),
        }
    }
}

/// The tenants with one of these ids or slugs, in one statement.
///
/// # Errors
/// 503 when the database is away.
pub async fn tenant_resolve(
    db: &Db,
    sight: &Sight,
    ids: Vec<Uuid>,
    slugs: Vec<String>,
) -> Result<Vec<TenantName>, Error> {
    let mut sql = Sql::new("SELECT id, slug FROM tenant WHERE id = ANY(");
    sql.bind(Bind::Uuids(ids)).push(") OR slug = ANY(").bind(Bind::Texts(Some(slugs))).push(")");
    let rows = match sight {
        Sight::Own(me) => db.fetch(me, vec![sql]).await?.pop().unwrap_or_default(),
        Sight::All => {
            let why = SystemReason { reason: "resolving a tenant", ..SystemReason::default() };
            db.system(&why, async |tx| tx.rows(sql.clone()).await).await?
        }
    };
    rows.iter().map(|row| name(row).map_err(Error::internal)).collect()
}

fn name(row: &PgRow) -> Result<TenantName, Box<dyn std::error::Error + Send + Sync>> {
    Ok(TenantName { id: row.get(0)?, slug: row.get(1)? })
}
