//! Records in events: from the row that a trigger wrote down to the record exactly as the API shows it.
//!
//! The row goes through the very select list that reads a record, so that amounts, computed states and masked fields come out
//! alike; in a caller's transaction they come out as that caller sees them.

use crate::{
    Bind, Json, PgRow, Sql,
    outbox::OutboxRow,
    record::{Field, Kind, Record, RecordDef},
    tx::{Rows, Tx},
};
use aisha_kernel::Error;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use time::{OffsetDateTime, UtcOffset, format_description::well_known::Rfc3339};

/// The statement that makes records of the rows of one type, in order.
#[must_use]
pub fn select<R: Record>(rows: &[&OutboxRow]) -> Sql {
    let table = R::DEF.table;
    let data = rows.iter().map(|row| row.data.as_str().to_owned()).collect();
    let mut sql = Sql::new(format!("SELECT {} FROM unnest(", R::columns()));
    sql.bind(Bind::Texts(Some(data))).push(format!(
        ") WITH ORDINALITY AS events (event_data, event_number) \
         CROSS JOIN LATERAL jsonb_populate_record(NULL::{table}, event_data::jsonb) AS {table} ORDER BY event_number"
    ));
    sql
}

/// The record in a row that [`select`] made, as JSON.
///
/// # Errors
/// When the row does not make a record: it was written before a required column existed.
pub fn read<R: Record>(row: &PgRow) -> Result<Box<RawValue>, Error> {
    let record = R::from_row(row).map_err(Error::internal)?;
    serde_json::value::to_raw_value(&record).map_err(Error::internal)
}

/// The records of one type, in order. What makes no record is passed on as it was written.
///
/// # Errors
/// 503 when the database is away.
pub async fn data<R: Record>(tx: &mut Tx, rows: &[&OutboxRow]) -> Result<Vec<Box<RawValue>>, Error> {
    let found: Rows = tx.rows(select::<R>(rows)).await?;
    Ok(rows.iter().zip(&found).map(|(row, found)| read::<R>(found).unwrap_or_else(|_| raw(&row.data))).collect())
}

/// A value as it was written.
#[must_use]
pub fn raw(json: &Json) -> Box<RawValue> {
    json.raw().to_owned()
}

/// Former values by the API's names: what it does not show is left out, personal fields where `personal` is false, and
/// instants are written as it writes them.
#[must_use]
pub fn previous(def: &RecordDef, json: &Json, personal: bool) -> Option<Box<RawValue>> {
    let old: BTreeMap<String, &RawValue> = serde_json::from_str(json.as_str()).ok()?;
    let shown = |name: &str| def.all_fields().find(|f| f.name == name && (personal || !f.personal));
    let kept: BTreeMap<String, Box<RawValue>> =
        old.into_iter().filter_map(|(name, value)| Some((shown(&name)?, name, value))).map(written).collect();
    if kept.is_empty() { None } else { serde_json::value::to_raw_value(&kept).ok() }
}

fn written((field, name, value): (&Field, String, &RawValue)) -> (String, Box<RawValue>) {
    let instant = || {
        let text: String = serde_json::from_str(value.get()).ok()?;
        let at = OffsetDateTime::parse(&text, &Rfc3339).ok()?.to_offset(UtcOffset::UTC);
        serde_json::value::to_raw_value(&at.format(&Rfc3339).ok()?).ok()
    };
    let value = if field.kind == Kind::Timestamp { instant() } else { None }.unwrap_or_else(|| value.to_owned());
    (name, value)
}
