//! How much data a tenant has, table by table.

use super::{acting, col};
use aisha_auth::Principal;
use aisha_db::{Db, RequestContext, Sql, record::list::COUNT_CAP};
use aisha_kernel::Error;
use serde::Serialize;

/// Rows of a table.
#[derive(Debug, Clone, Serialize)]
pub struct Volume {
    /// The table.
    pub table: String,
    /// Rows of the tenant.
    pub rows: i64,
    /// Whether there are more than `rows`.
    pub is_lower_bound: bool,
}

/// Counts the tenant's rows in every table that has any of a tenant: to the end with `exact`, else up to ten thousand.
///
/// # Errors
/// 503 when the database is away.
pub async fn check_volume(db: &Db, me: &Principal, cx: &RequestContext, exact: bool) -> Result<Vec<Volume>, Error> {
    db.system(&acting(me, cx, "check_volume"), async |tx| {
        let tables = Sql::new(
            "SELECT c.oid::regclass::text FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant_id' \
             WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition \
             AND has_table_privilege(c.oid, 'SELECT') ORDER BY 1",
        );
        let tables: Vec<String> = tx.rows(tables).await?.iter().map(|row| col(row, 0)).collect::<Result<_, _>>()?;
        let limit = if exact { String::new() } else { format!(" LIMIT {}", COUNT_CAP + 1) };
        let counts = tables
            .iter()
            .map(|t| {
                Sql::new(format!(
                    "SELECT count(*) FROM (SELECT FROM {t} WHERE tenant_id = current_tenant_id(){limit}) AS counted"
                ))
            })
            .collect();
        let counted = tx.flight(counts).await?;
        tables
            .into_iter()
            .zip(&counted)
            .map(|(table, rows)| {
                let n = super::number(rows)?;
                let over = !exact && n > COUNT_CAP;
                Ok(Volume { table, rows: if over { COUNT_CAP } else { n }, is_lower_bound: over })
            })
            .collect()
    })
    .await
}
