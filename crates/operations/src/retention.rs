//! How long what operators are told is kept.

use crate::{performance::performance_roll_up, sql::itself};
use aisha_db::{Bind, Db, Sql};
use aisha_kernel::Error;

/// Rows per statement, so that no transaction gets long.
const BATCH: i64 = 5_000;

/// Days after which rows go.
#[derive(Debug, Clone, Copy)]
pub struct Retention {
    /// Of the system log.
    pub system_log_days: u16,
    /// Of the performance log.
    pub performance_log_days: u16,
}

impl Default for Retention {
    fn default() -> Self {
        Self { system_log_days: 30, performance_log_days: 30 }
    }
}

/// Removes what is old, forgets processes that have been gone for a day, and puts minutes of the performance log together
/// into hours. Several may run at once.
///
/// # Errors
/// 503 when the database is away.
pub async fn operations_tidy(db: &Db, retention: Retention) -> Result<(), Error> {
    let why = itself("housekeeping", None);
    for (table, column, days) in [
        ("system_logs", "created_at", retention.system_log_days),
        ("performance_logs", "period_start", retention.performance_log_days),
        ("service_instances", "seen_at", 1),
    ] {
        loop {
            let mut sql = Sql::new(format!(
                "DELETE FROM {table} WHERE id IN (SELECT id FROM {table} WHERE {column} < now() - make_interval(days => CAST("
            ));
            sql.bind(Bind::Int(days.into()))
                .push(format!(" AS integer)) ORDER BY {column} LIMIT {BATCH}) RETURNING 1"));
            let gone = db.system(&why, async |tx| tx.rows(sql.clone()).await.map(|rows| rows.len())).await?;
            if i64::try_from(gone).unwrap_or(0) < BATCH {
                break;
            }
        }
    }
    while db.system(&why, async |tx| performance_roll_up(tx).await).await? > 0 {}
    Ok(())
}
