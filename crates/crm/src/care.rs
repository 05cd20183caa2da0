//! Data care: why somebody sees a record or not, what is wrong with the data and putting it right, test data, the archive.
//!
//! Belongs here: work over all record types of a tenant at once. It is made from their definitions, so that a new type is
//! cared for by existing. Does not belong here: what happens to one record (`ops`), HTTP.

pub mod archive;
pub mod consistency;
pub mod diagnosis;
pub mod quality;
pub mod repair;
pub mod run;
pub mod test_data;
pub mod volume;

use aisha_auth::Principal;
use aisha_db::{
    Bind, Column, PgRow, RequestContext, SystemReason,
    record::{Kind, Record, RecordDef},
    tx::Rows,
};
use aisha_kernel::Error;

macro_rules! definitions {
    ($($record:path),+ $(,)?) => {
        /// Every record type.
        pub const RECORDS: &[&RecordDef] = &[$(<$record as Record>::DEF),+];
    };
}
crate::records!(definitions);

/// Rows per transaction.
pub(crate) const BATCH: usize = 1_000;

/// A record type by its name, singular or plural.
#[must_use]
pub fn definition(name: &str) -> Option<&'static RecordDef> {
    RECORDS.iter().copied().find(|d| d.name == name || d.plural == name)
}

/// The record type of a table.
pub(crate) fn of_table(table: &str) -> Option<&'static RecordDef> {
    RECORDS.iter().copied().find(|d| d.table == table)
}

/// SQL of what a row is called; `alias` is the row.
pub(crate) fn label(def: &RecordDef, alias: &str) -> String {
    let has = |name: &str| def.fields.iter().any(|f| f.name == name);
    if has("first_name") && has("last_name") {
        return format!("{alias}.first_name || ' ' || {alias}.last_name");
    }
    if let Some(name) = ["name", "company_name", "subject"].into_iter().find(|n| has(n)) {
        return format!("{alias}.{name}");
    }
    let texts: Vec<String> = ["title", "description", "content", "invoice_number"]
        .into_iter()
        .filter(|n| has(n))
        .map(|n| format!("left({alias}.{n}, 80)"))
        .collect();
    format!("coalesce({}, {alias}.id::text)", texts.join(", "))
}

/// SQL of a row's e-mail address.
pub(crate) fn address(def: &RecordDef, alias: &str) -> String {
    match ["email", "contact_email"].into_iter().find(|n| def.fields.iter().any(|f| f.name == *n)) {
        Some(name) => format!("{alias}.{name}"),
        None => "NULL::text".into(),
    }
}

/// The types that a row of `def` can belong to.
pub(crate) fn related_types(def: &RecordDef) -> Vec<&'static RecordDef> {
    match def.fields.iter().find(|f| f.name == "related_type").map(|f| f.kind) {
        Some(Kind::Choice(names)) => names.iter().filter_map(|n| definition(n)).collect(),
        _ => Vec::new(),
    }
}

/// The platform working on a tenant's data for somebody who may ask for it.
pub(crate) fn acting(me: &Principal, cx: &RequestContext, reason: &'static str) -> SystemReason {
    aisha_db::acting(me.identity(), reason, Some(me.tenant()), cx)
}

pub(crate) fn col<T: Column>(row: &PgRow, index: usize) -> Result<T, Error> {
    row.get(index).map_err(Error::internal)
}

/// The number in the only row.
pub(crate) fn number(rows: &Rows) -> Result<i64, Error> {
    rows.first().map_or(Ok(0), |row| col(row, 0))
}

pub(crate) fn json(value: &serde_json::Value) -> Bind {
    Bind::Text(Some(value.to_string()), "jsonb")
}

pub(crate) fn count(rows: &Rows) -> i64 {
    i64::try_from(rows.len()).unwrap_or(i64::MAX)
}
