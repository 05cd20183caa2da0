//! Small helpers between rows, binds and the types of this crate.

pub(crate) use aisha_db::acting;
use aisha_db::{Bind, Column, PgRow, tx::Rows};
use aisha_kernel::Error;
use uuid::Uuid;

/// The column at `index`; a wrong type is our mistake.
pub(crate) fn col<T: Column>(row: &PgRow, index: usize) -> Result<T, Error> {
    row.get(index).map_err(Error::internal)
}

/// The only row, or 404.
pub(crate) fn one(rows: Rows) -> Result<PgRow, Error> {
    rows.into_iter().next().ok_or_else(Error::not_found)
}

/// JSON as a `jsonb` bind.
pub(crate) fn json(value: &serde_json::Value) -> Bind {
    Bind::Text(Some(value.to_string()), "jsonb")
}

/// A truth value.
pub(crate) fn boolean(value: bool) -> Bind {
    Bind::Text(Some(value.to_string()), "boolean")
}

/// Cuts what a client sent to what a column takes.
pub(crate) fn cut(text: Option<&str>, chars: usize) -> Bind {
    Bind::Text(text.map(|t| t.chars().take(chars).collect()), "text")
}

/// The id in the only row.
pub(crate) fn id_of(rows: Rows) -> Result<Uuid, Error> {
    col(&one(rows)?, 0)
}
