//! Sealing: each audit row gets its link in the chain of its tenant. The work is one statement per batch, inside the
//! database; see `sql/045_audit_chain.sql`.

use crate::{col, platform};
use aisha_db::{Bind, Db, Sql};
use aisha_kernel::Error;

/// Rows per statement: a second or so of work.
const BATCH: i32 = 10_000;

/// Seals what is complete; returns how many rows were looked at, or `None` while another process is at it. May be called by
/// any number of processes at once, and killed at any time.
///
/// # Errors
/// 503 when the database is away.
pub async fn seal_round(db: &Db) -> Result<Option<i64>, Error> {
    let mut looked_at = 0;
    loop {
        let mut sql = Sql::new("SELECT audit_seal(");
        sql.bind(Bind::Text(Some(BATCH.to_string()), "integer")).push(")");
        let rows = db.system(&platform("audit sealing"), async |tx| tx.rows(sql.clone()).await).await?;
        let Some(n) = rows.first().map(|row| col::<Option<i32>>(row, 0)).transpose()?.flatten() else {
            return Ok(None);
        };
        looked_at += i64::from(n);
        if n < BATCH {
            return Ok(Some(looked_at));
        }
    }
}
