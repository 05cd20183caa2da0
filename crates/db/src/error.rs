//! What a database error means to a client.
//!
//! The rules live here once: a broken unique constraint is a conflict, a broken reference names its field, a dead
//! server is "try again". Constraint names follow `<table>_<field>_<kind>`, which is how the field is found. A trigger that
//! speaks to the client begins its message with `conflict: ` or `invalid: ` and names the field as the column.

use aisha_kernel::{Error, ErrorCode};
use diesel::result::{DatabaseErrorKind as Kind, Error as Diesel};

/// Maps a query error to the error a client sees, with the original as its cause.
#[must_use]
pub fn from_diesel(e: Diesel) -> Error {
    match &e {
        Diesel::NotFound => Error::not_found(),
        Diesel::DatabaseError(kind, info) => {
            let constraint = info.constraint_name().unwrap_or_default().to_owned();
            let field = field_of(&constraint, info.table_name());
            match kind {
                Kind::UniqueViolation => {
                    Error::conflict(format!("Another record already has this {}.", field.replace('_', " ")))
                        .field(field, "is already taken")
                        .because(e)
                }
                Kind::ForeignKeyViolation => Error::invalid(field, "refers to nothing that you may use").because(e),
                // As if it were a rule about the value, although no row of that day could be written.
                Kind::CheckViolation if info.message().starts_with("no partition of relation") => Error::internal(e),
                Kind::CheckViolation => {
                    // The rules of sql/ say in a hint what would be accepted.
                    let message = info.hint().unwrap_or("is not an accepted value").to_owned();
                    Error::invalid(field, message).because(e)
                }
                Kind::NotNullViolation => {
                    Error::invalid(info.column_name().unwrap_or("unknown").to_owned(), "is required").because(e)
                }
                Kind::ReadOnlyTransaction => Error::new(ErrorCode::Forbidden, "Your access is read-only.").because(e),
                Kind::SerializationFailure => Error::unavailable("database", e),
                Kind::ClosedConnection | Kind::UnableToSendCommand => Error::unavailable("database", e),
                // diesel does not pass SQLSTATE on; these texts are fixed (the connection sets lc_messages to C).
                _ if info.message().starts_with("conflict: ") => {
                    let message = info.message().trim_start_matches("conflict: ").to_owned();
                    let hint = info.hint().unwrap_or("is in conflict").to_owned();
                    Error::conflict(message).field(info.column_name().unwrap_or("record").to_owned(), hint).because(e)
                }
                _ if info.message().starts_with("invalid: ") => {
                    let message = info.message().trim_start_matches("invalid: ").to_owned();
                    Error::invalid(info.column_name().unwrap_or("record").to_owned(), message).because(e)
                }
                _ if unfit(info.message()) => {
                    Error::new(ErrorCode::ValidationFailed, "A value cannot be stored as it is.").because(e)
                }
                _ if refused(info.message()) => Error::forbidden("You may not do this.").because(e),
                _ if passing(info.message()) => Error::unavailable("database", e),
                _ => Error::internal(e),
            }
        }
        _ => Error::internal(e),
    }
}

/// SQLSTATE 42501: no right on the table, or a row that the policies refuse.
fn refused(message: &str) -> bool {
    message.starts_with("permission denied") || message.starts_with("new row violates row-level security policy")
}

/// What is wrong with a value and would be wrong with it at any time (class 22, and what is too large for an index).
fn unfit(message: &str) -> bool {
    let starts = [
        "invalid byte sequence for encoding",
        "unsupported Unicode escape sequence",
        "invalid input syntax for type",
        "invalid input value for enum",
        "malformed array literal",
        "value too long for type",
        "numeric field overflow",
        "index row size",
        "string is too long for tsvector",
    ];
    starts.iter().any(|text| message.starts_with(text)) || message.contains(" out of range")
}

/// Errors that say more about the moment than about the request (40P01, 57014, 57P01-57P03, 53300).
fn passing(message: &str) -> bool {
    ["deadlock detected", "canceling statement", "terminating connection", "the database system is", "sorry, too many"]
        .iter()
        .any(|text| message.starts_with(text))
        || message.contains("connection closed")
}

/// Whether running the whole transaction again may help: nothing of it was committed.
#[must_use]
pub fn worth_a_retry(e: &Diesel) -> bool {
    match e {
        Diesel::DatabaseError(Kind::SerializationFailure | Kind::ClosedConnection | Kind::UnableToSendCommand, _) => {
            true
        }
        Diesel::DatabaseError(_, info) => {
            info.message().starts_with("deadlock detected") || info.message().contains("connection closed")
        }
        _ => false,
    }
}

/// `contacts_account_id_fkey` on `contacts` names `account_id`.
fn field_of(constraint: &str, table: Option<&str>) -> String {
    let rest = table.and_then(|t| constraint.strip_prefix(t)).map_or(constraint, |r| r.trim_start_matches('_'));
    let field = ["_fkey", "_key", "_check", "_idx"].iter().find_map(|suffix| rest.strip_suffix(suffix)).unwrap_or(rest);
    let field = field.strip_prefix("tenant_id_").unwrap_or(field);
    let field = if field == "name_key" { "name" } else { field };
    if field.is_empty() { "record".to_owned() } else { field.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::field_of;

    #[test]
    fn constraints_name_their_field() {
        for (constraint, table, field) in [
            ("contacts_account_id_fkey", Some("contacts"), "account_id"),
            ("accounts_name_key_key", Some("accounts"), "name"),
            ("users_email_key", Some("users"), "email"),
            ("accounts_type_check", Some("accounts"), "type"),
            ("", None, "record"),
        ] {
            assert_eq!(field_of(constraint, table), field);
        }
    }
}
