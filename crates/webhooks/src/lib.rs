//! Webhooks: subscriptions of a tenant to its events, and the delivery of every event to every subscriber, at least once.
//!
//! Belongs here: what a subscription is, which events it asks for, the schedule, the log, the ledger, the signatures.
//! Does not belong here: where events come from (`aisha-bus`), the requests themselves (`aisha-clients`), HTTP.

mod audit;
pub mod delivery_log;
pub mod dispatch;
pub mod intake;
pub mod ledger;
pub mod lifecycle;
pub mod metrics;
pub mod outcome;
pub mod pattern;
pub mod replay;
pub mod replay_run;
pub mod retention;
pub mod schedule;
pub mod secret;
pub mod signature;
mod sql;
pub mod subscription;
pub mod subscription_input;
pub mod test_send;

use aisha_db::{Column, PgRow, tx::Rows};
use aisha_kernel::Error;

/// Rows per statement of long work, so that no transaction gets long.
pub(crate) const BATCH: i64 = 1_000;

pub(crate) fn col<T: Column>(row: &PgRow, index: usize) -> Result<T, Error> {
    row.get(index).map_err(Error::internal)
}

/// The number in the only row.
pub(crate) fn number(rows: &Rows) -> Result<i64, Error> {
    rows.first().map_or(Ok(0), |row| col(row, 0))
}
