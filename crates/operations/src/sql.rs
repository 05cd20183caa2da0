//! Small helpers between rows, binds and the types of this crate.

use aisha_db::{Bind, Column, PgRow, SystemReason};
use aisha_kernel::{Error, TenantId};
use serde_json::Value;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// The column at `index`; a wrong type is our mistake.
pub(crate) fn col<T: Column>(row: &PgRow, index: usize) -> Result<T, Error> {
    row.get(index).map_err(Error::internal)
}

/// JSON as a `jsonb` bind.
pub(crate) fn json(value: &Value) -> Bind {
    Bind::Text(Some(value.to_string()), "jsonb")
}

/// An instant as text that SQL and clients read.
pub(crate) fn instant(at: OffsetDateTime) -> String {
    at.format(&Rfc3339).unwrap_or_default()
}

/// An instant as a bind.
pub(crate) fn at(at: OffsetDateTime) -> Bind {
    Bind::Text(Some(instant(at)), "timestamptz")
}

/// The platform acting by itself.
pub(crate) fn itself(reason: &'static str, tenant: Option<TenantId>) -> SystemReason {
    SystemReason { reason, tenant, ..SystemReason::default() }
}
