//! The audit log: reading it, taking it out, what only the application can write into it, the hash chain over it, and the
//! proof that a tenant is kept apart.
//!
//! Belongs here: everything that reads `audit_log` as a log. Does not belong here: how a change gets into it (the triggers of
//! `sql/040_changes.sql`, and whoever does what no trigger sees), HTTP.

pub mod export;
pub mod log;
pub mod seal;
pub mod trust;
pub mod verify;

pub(crate) use aisha_db::acting;
use aisha_db::{Column, PgRow, SystemReason, tx::Rows};
use aisha_kernel::Error;

pub(crate) fn col<T: Column>(row: &PgRow, index: usize) -> Result<T, Error> {
    row.get(index).map_err(Error::internal)
}

/// The value in the first row; the default when there is none.
pub(crate) fn first<T: Column + Default>(rows: &Rows) -> Result<T, Error> {
    rows.first().map_or_else(|| Ok(T::default()), |row| col(row, 0))
}

/// The platform for its own sake.
pub(crate) fn platform(reason: &'static str) -> SystemReason {
    SystemReason { reason, ..SystemReason::default() }
}
