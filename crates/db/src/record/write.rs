//! Creating, changing, trashing and restoring one record. Audit rows and events are the database's work.

use super::{Changes, Record, changes::push_value, custom, field::Kind, read::one, value::Parsed};
use crate::{
    sql::{Bind, Sql},
    tx::{Rows, TenantTx},
};
use aisha_kernel::{Error, ErrorCode, FieldError, new_id};
use serde_json::{Map, Value};
use uuid::Uuid;

/// Columns that a client's values go to, with those that come along (`phone_e164`).
pub(crate) fn writable<R: Record>() -> impl Iterator<Item = (&'static str, &'static str, Option<&'static str>)> {
    R::DEF.all_fields().filter(|f| !f.read_only).flat_map(|f| {
        let companion = match f.kind {
            Kind::Phone(column) => Some((column, "text", None)),
            _ => None,
        };
        std::iter::once((f.name, f.sql_type(), f.default)).chain(companion)
    })
}

/// Checks custom fields against the tenant's definitions; costs a round trip only when some were sent.
pub(crate) async fn check_custom<R: Record>(tx: &mut TenantTx, changes: &Changes) -> Result<Map<String, Value>, Error> {
    if changes.custom.is_empty() {
        return Ok(Map::new());
    }
    let definitions = custom::definitions(tx, R::DEF.name).await?;
    custom::check(&definitions, &changes.custom).map_err(Error::validation)
}

/// The same for a change of a record. What was read can be sent back although its definition has changed since, or is
/// gone: values that the record already holds are no change. Costs a round trip more only when something is refused.
async fn check_custom_of<R: Record>(
    tx: &mut TenantTx,
    id: Uuid,
    changes: &Changes,
) -> Result<Map<String, Value>, Error> {
    let refused = match check_custom::<R>(tx, changes).await {
        Err(e) if e.code == ErrorCode::ValidationFailed => e,
        checked => return checked,
    };
    let mut sql = Sql::new(format!("SELECT {} FROM {} WHERE tenant_id = ", custom::FIELD, R::DEF.table));
    sql.bind(tx.principal().tenant().0).push(" AND id = ").bind(id).push(" AND deleted_at IS NULL");
    super::list::scope::<R>(tx.principal(), &mut sql);
    let rows = tx.rows(sql).await?;
    let Some(row) = rows.first() else { return Err(refused) };
    let held = row.get::<crate::Json>(0).map_err(Error::internal)?.value();
    let mut rest = Changes { custom: changes.custom.clone(), ..Changes::default() };
    rest.custom.retain(|name, v| held.get(name) != Some(v));
    check_custom::<R>(tx, &rest).await
}

/// Reads the answers of the checks that flew with a write.
fn judge(references: Option<Rows>, missing: Option<Rows>) -> Result<(), Error> {
    let names = |rows: Option<Rows>| {
        rows.into_iter().flatten().map(|r| r.get::<String>(0)).collect::<Result<Vec<_>, _>>().map_err(Error::internal)
    };
    let mut problems: Vec<FieldError> = Vec::new();
    problems.extend(names(references)?.into_iter().map(|f| FieldError::new(f, "refers to nothing that you may use")));
    let missing = names(missing)?.into_iter();
    problems.extend(missing.map(|f| FieldError::new(format!("{}.{f}", custom::FIELD), "is required")));
    if problems.is_empty() { Ok(()) } else { Err(Error::validation(problems)) }
}

/// Custom fields as they are stored: a cleared one is simply not there.
fn stored(custom: &Map<String, Value>) -> Map<String, Value> {
    custom.iter().filter(|(_, v)| !v.is_null()).map(|(k, v)| (k.clone(), v.clone())).collect()
}

fn insert<R: Record>(tx: &TenantTx, changes: &Changes, custom: &Map<String, Value>) -> Sql {
    let mut columns = String::new();
    let mut values = Sql::new("");
    for (column, sql_type, default) in writable::<R>() {
        columns.push_str(", ");
        columns.push_str(column);
        values.push(", ");
        if column == custom::FIELD {
            values.bind(Bind::Text(Some(Value::Object(stored(custom)).to_string()), "jsonb"));
        } else if let Some((_, value)) = changes.set.iter().find(|(c, _)| *c == column) {
            push_value(&mut values, value);
        } else if sql_type == "text[]" {
            values.bind(Bind::Texts(default.map(|_| Vec::new())));
        } else {
            // Absent values are bound too, so that the statement has one shape and stays prepared.
            values.bind(Bind::Text(default.map(str::to_owned), sql_type));
        }
    }
    let mut sql = Sql::new(format!("INSERT INTO {} (tenant_id, id, created_by{columns}) VALUES (", R::DEF.table));
    sql.bind(tx.principal().tenant().0).push(", ").bind(new_id()).push(", ").bind(tx.principal().user().0);
    sql.append(values).push(format!(") RETURNING {}", R::columns()));
    sql
}

/// Creates a record.
///
/// # Errors
/// 422 naming the fields, 409 for a duplicate, 403 when read-only.
pub async fn record_create<R: Record>(tx: &mut TenantTx, changes: &Changes) -> Result<R, Error> {
    let custom = check_custom::<R>(tx, changes).await?;
    let mut flight = vec![custom::missing_required(R::DEF.name, &custom)];
    flight.push(insert::<R>(tx, changes, &custom));
    flight.extend(changes.reference_check(None));
    let mut results = tx.flight(flight).await?.into_iter();
    let (missing, inserted, references) = (results.next(), results.next(), results.next());
    judge(references, missing)?;
    one(&inserted.unwrap_or_default())
}

/// What a conditional request expects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Expected {
    /// Whatever is there.
    #[default]
    Any,
    /// Exactly this version.
    Version(i32),
}

/// Changes a live record; only the given fields.
///
/// # Errors
/// 404 when there is none that the principal sees, 412 when somebody changed it first, 422 naming the fields, 409 for a
/// duplicate, 403 when read-only.
pub async fn record_update<R: Record>(
    tx: &mut TenantTx,
    id: Uuid,
    changes: &Changes,
    expected: Expected,
) -> Result<R, Error> {
    let custom = check_custom_of::<R>(tx, id, changes).await?;
    if changes.set.is_empty() && custom.is_empty() {
        let row: R = super::read::record_find(tx, id).await?;
        return match expected {
            Expected::Version(v) if v != row.version() => Err(outdated()),
            _ => Ok(row),
        };
    }
    let mut sql = Sql::new(format!("UPDATE {} SET ", R::DEF.table));
    sql.append(changes.assignments());
    if !custom.is_empty() {
        let (gone, kept): (Vec<_>, Vec<_>) = custom.into_iter().partition(|(_, v)| v.is_null());
        sql.push(if changes.set.is_empty() { "" } else { ", " }).push("custom_fields = (custom_fields || ");
        sql.bind(Bind::Text(Some(Value::Object(kept.into_iter().collect()).to_string()), "jsonb")).push(") - ");
        sql.bind(Bind::Texts(Some(gone.into_iter().map(|(k, _)| k).collect())));
    }
    sql.push(" WHERE tenant_id = ").bind(tx.principal().tenant().0).push(" AND id = ").bind(id);
    sql.push(" AND deleted_at IS NULL");
    if let Expected::Version(v) = expected {
        sql.push(" AND version = ").bind(Bind::Int(i64::from(v)));
    }
    super::list::scope::<R>(tx.principal(), &mut sql);
    sql.push(format!(" RETURNING {}", R::columns()));

    // The references first: an update makes its own values current.
    let mut flight: Vec<Sql> = changes.reference_check(Some((R::DEF.table, id))).into_iter().collect();
    flight.push(sql);
    let mut results = tx.flight(flight).await?;
    let updated = results.pop().unwrap_or_default();
    let references = results.pop();
    if updated.is_empty() {
        return Err(missed::<R>(tx, id).await);
    }
    judge(references, None)?;
    one(&updated)
}

/// Reads a live record and keeps others from changing it until the transaction ends.
///
/// # Errors
/// 404 when there is none that the principal sees, 412 when somebody changed it first.
pub async fn record_lock<R: Record>(tx: &mut TenantTx, id: Uuid, expected: Expected) -> Result<R, Error> {
    let mut sql = super::read::select::<R>(tx.principal(), id, true);
    sql.push(" FOR UPDATE");
    let row: R = one(&tx.rows(sql).await?)?;
    match expected {
        Expected::Version(v) if v != row.version() => Err(outdated()),
        _ => Ok(row),
    }
}

/// Why a write reached no row: somebody else was first, or there is none to see.
async fn missed<R: Record>(tx: &mut TenantTx, id: Uuid) -> Error {
    match super::read::record_find::<R>(tx, id).await {
        Ok(_) => outdated(),
        Err(e) => e,
    }
}

fn outdated() -> Error {
    Error::new(
        ErrorCode::PreconditionFailed,
        "Somebody changed this record first: read it again and repeat your change.",
    )
}

/// Moves a live record to the trash.
///
/// # Errors
/// 404 when there is none that the principal sees, 412 when somebody changed it first, 403 when read-only.
pub async fn record_trash<R: Record>(tx: &mut TenantTx, id: Uuid, expected: Expected) -> Result<(), Error> {
    let mut sql = Sql::new(format!("UPDATE {} SET deleted_at = now(), deleted_by = ", R::DEF.table));
    sql.bind(tx.principal().user().0).push(" WHERE tenant_id = ").bind(tx.principal().tenant().0);
    sql.push(" AND id = ").bind(id).push(" AND deleted_at IS NULL");
    if let Expected::Version(v) = expected {
        sql.push(" AND version = ").bind(Bind::Int(i64::from(v)));
    }
    super::list::scope::<R>(tx.principal(), &mut sql);
    sql.push(" RETURNING id");
    if tx.rows(sql).await?.is_empty() {
        return Err(missed::<R>(tx, id).await);
    }
    Ok(())
}

/// Brings a record back from the trash.
///
/// # Errors
/// 404 when it is not in the trash, 409 when a live record has taken its place.
pub async fn record_restore<R: Record>(tx: &mut TenantTx, id: Uuid) -> Result<R, Error> {
    let mut sql =
        Sql::new(format!("UPDATE {} SET deleted_at = NULL, deleted_by = NULL WHERE tenant_id = ", R::DEF.table));
    sql.bind(tx.principal().tenant().0).push(" AND id = ").bind(id).push(" AND deleted_at IS NOT NULL");
    super::list::scope::<R>(tx.principal(), &mut sql);
    sql.push(format!(" RETURNING {}", R::columns()));
    one(&tx.rows(sql).await?)
}

/// Removes a record from the trash for good; what referred to it is unlinked.
///
/// # Errors
/// 404 when it is not in the trash.
pub async fn record_purge<R: Record>(tx: &mut TenantTx, id: Uuid) -> Result<(), Error> {
    let mut sql = Sql::new(format!("DELETE FROM {} WHERE tenant_id = ", R::DEF.table));
    sql.bind(tx.principal().tenant().0).push(" AND id = ").bind(id).push(" AND deleted_at IS NOT NULL RETURNING id");
    if tx.rows(sql).await?.is_empty() { Err(Error::not_found()) } else { Ok(()) }
}

impl Changes {
    /// The row as JSON for a set-based insert, once every employee's address has been replaced by an id.
    pub(crate) fn to_json(&self, custom: &Map<String, Value>) -> Map<String, Value> {
        let mut row: Map<String, Value> = self
            .set
            .iter()
            .map(|(column, value)| {
                let v = match value {
                    Parsed::Value(Bind::Text(Some(s), "jsonb")) => serde_json::from_str(s).unwrap_or_default(),
                    Parsed::Value(Bind::Text(Some(s), _)) => Value::from(s.as_str()),
                    Parsed::Value(Bind::Uuid(Some(id))) => Value::from(id.to_string()),
                    Parsed::Value(Bind::Texts(Some(list))) => Value::from(list.clone()),
                    _ => Value::Null,
                };
                ((*column).to_owned(), v)
            })
            .collect();
        row.insert(custom::FIELD.into(), Value::Object(stored(custom)));
        row
    }
}
