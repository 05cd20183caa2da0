//! Taking a merge back: what was merged returns from the trash, links point where they did, and the survivor gets its old
//! values. What somebody has changed since is kept and listed.

use super::merge::{
    UNDO_DAYS,
    fields::{columns, writable},
    links::{Kept, move_links_back},
    lock,
};
use aisha_db::{
    Bind, Json, Sql, TenantTx,
    record::{Field, Kind, Record},
};
use aisha_kernel::Error;
use serde::Serialize;
use serde_json::{Map, Value};
use uuid::Uuid;

/// What an undo did.
#[derive(Debug, Serialize)]
pub struct Undone {
    /// The merge.
    pub id: Uuid,
    /// What survived it.
    pub survivor_id: Uuid,
    /// Records that came back from the trash.
    pub restored_ids: Vec<Uuid>,
    /// Fields of the survivor that have their old values.
    pub restored_fields: Vec<&'static str>,
    /// Links that point where they did.
    pub restored_links: i64,
    /// What was changed since and stays as it is, at most a thousand links per column.
    pub kept: Vec<Kept>,
    /// How much that is in all.
    pub kept_count: i64,
}

struct Log {
    survivor: Uuid,
    merged: Vec<Uuid>,
    fields: Map<String, Value>,
}

/// The merge, locked, if it can be undone.
async fn open(tx: &mut TenantTx, id: Uuid) -> Result<Log, Error> {
    let mut sql = Sql::new(format!(
        "SELECT survivor_id, to_jsonb(merged_ids), fields, undone_at IS NOT NULL, \
         created_at < now() - interval '{UNDO_DAYS} days' FROM record_merge WHERE tenant_id = "
    ));
    sql.bind(tx.principal().tenant().0).push(" AND id = ").bind(id).push(" FOR UPDATE");
    let rows = tx.rows(sql).await?;
    let row = rows.first().ok_or_else(Error::not_found)?;
    let read = || -> Result<(Log, bool, bool), Box<dyn std::error::Error + Send + Sync>> {
        let (merged, fields): (Json, Json) = (row.get(1)?, row.get(2)?);
        let fields = fields.value().as_object().cloned().unwrap_or_default();
        let log = Log { survivor: row.get(0)?, merged: serde_json::from_value(merged.value())?, fields };
        Ok((log, row.get(3)?, row.get(4)?))
    };
    match read().map_err(Error::internal)? {
        (_, true, _) => Err(Error::conflict("This merge has been undone already.")),
        (_, _, true) => Err(Error::conflict(format!("A merge can be undone for {UNDO_DAYS} days."))),
        (log, ..) => Ok(log),
    }
}

/// Undoes a merge of records of type `R`, in the transaction of `tx`.
///
/// # Errors
/// 404 when there is no such merge; 409 when it has been undone, is too old, one of its records has been deleted for
/// good, the survivor is in the trash, or another record has taken the name of one that would come back.
pub async fn merge_undo<R: Record>(tx: &mut TenantTx, id: Uuid) -> Result<Undone, Error> {
    let log = open(tx, id).await?;
    let ids: Vec<Uuid> = std::iter::once(log.survivor).chain(log.merged.iter().copied()).collect();
    let locked: Vec<(Uuid, Value)> =
        lock::<R>(tx, &ids, false).await?.into_iter().map(|(id, row)| (id, row.value())).collect();
    if locked.len() < ids.len() {
        return Err(Error::conflict(
            "One of the records of this merge has been deleted for good, so it cannot be undone any more.",
        ));
    }
    let trashed = |row: &Value| row.get("deleted_at").is_some_and(|at| !at.is_null());
    let into = |row: &Value| row.get("merged_into").and_then(Value::as_str).map(str::to_owned);
    let survivor = locked.iter().find(|(id, _)| *id == log.survivor).ok_or_else(Error::not_found)?;
    if trashed(&survivor.1) {
        return Err(Error::conflict(if into(&survivor.1).is_none() {
            "The record that survived this merge is in the trash. Restore it first."
        } else {
            "The record that survived this merge was itself merged into another one. Undo that merge first."
        }));
    }

    let mut kept = Vec::new();
    let mut keep = |id: Uuid, field: &str, reason: &str| {
        kept.push(Kept { entity_type: R::DEF.name.into(), id, field: field.into(), reason: reason.into() });
    };
    // The survivor first: it may hold a name that one of the others had.
    let restored_fields = restore_fields::<R>(tx, id, &log, &mut keep).await?;
    let (mut restored_ids, mut live) = (Vec::new(), Vec::new());
    for merged in &log.merged {
        let Some((_, row)) = locked.iter().find(|(id, _)| id == merged) else { continue };
        if !trashed(row) {
            live.push(*merged);
            keep(*merged, "deleted_at", "was restored already");
        } else if into(row) == Some(log.survivor.to_string()) {
            restored_ids.push(*merged);
        } else if into(row).is_none() {
            keep(*merged, "deleted_at", "was moved to the trash again");
        } else {
            keep(*merged, "deleted_at", "was merged into another record since");
        }
    }
    let mut back =
        Sql::new(format!("UPDATE {} SET deleted_at = NULL, deleted_by = NULL WHERE tenant_id = ", R::DEF.table));
    back.bind(tx.principal().tenant().0).push(" AND id = ANY(").bind(Bind::Uuids(restored_ids.clone()));
    back.push(") RETURNING id");
    tx.rows(back).await?;
    live.extend(&restored_ids);
    let links = move_links_back(tx, R::DEF.name, id, &live, &log.merged, log.survivor).await?;
    let kept_count = i64::try_from(kept.len()).unwrap_or_default() + links.kept_count;
    kept.extend(links.kept);
    let undone = Undone {
        id,
        survivor_id: log.survivor,
        restored_ids,
        restored_fields,
        restored_links: links.restored,
        kept,
        kept_count,
    };
    let result = serde_json::to_string(&undone).map_err(Error::internal)?;
    let mut sql = Sql::new("UPDATE record_merge SET undone_at = now(), undone_by = ");
    sql.bind(tx.principal().user().0).push(", undo_result = ").bind(Bind::Text(Some(result), "jsonb"));
    sql.push(" WHERE tenant_id = ").bind(tx.principal().tenant().0).push(" AND id = ").bind(id);
    tx.rows(sql).await?;
    Ok(undone)
}

/// The row of a merge and that of its survivor.
fn pair(tx: &TenantTx, sql: &mut Sql, merge: Uuid, survivor: Uuid) {
    let tenant = tx.principal().tenant().0;
    sql.push(" WHERE m.tenant_id = ").bind(tenant).push(" AND m.id = ").bind(merge);
    sql.push(" AND t.tenant_id = ").bind(tenant).push(" AND t.id = ").bind(survivor);
}

/// Gives the survivor its old values where it still has those of the merge.
async fn restore_fields<R: Record>(
    tx: &mut TenantTx,
    id: Uuid,
    log: &Log,
    keep: &mut impl FnMut(Uuid, &str, &str),
) -> Result<Vec<&'static str>, Error> {
    let table = R::DEF.table;
    // Compared in the database, where numbers are exact.
    let mut sql = Sql::new(format!(
        "SELECT f.key FROM record_merge m CROSS JOIN {table} t CROSS JOIN LATERAL jsonb_each(m.fields) AS f"
    ));
    pair(tx, &mut sql, id, log.survivor);
    sql.push(" AND to_jsonb(t) -> f.key IS DISTINCT FROM f.value -> 'after'");
    // A record that an old value refers to may have been deleted for good since.
    let mut gone = Sql::new("SELECT ''::text WHERE false");
    for field in writable(R::DEF) {
        let target = match field.kind {
            Kind::Reference(table) => table,
            Kind::Employee => "employees",
            _ => continue,
        };
        let before =
            log.fields.get(field.name).and_then(|f| f.get("before")?.as_str()).and_then(|s| s.parse::<Uuid>().ok());
        if let Some(before) = before {
            gone.push(format!(
                " UNION ALL SELECT '{}' WHERE NOT EXISTS (SELECT FROM {target} WHERE tenant_id = ",
                field.name
            ));
            gone.bind(tx.principal().tenant().0).push(" AND id = ").bind(before).push(")");
        }
    }
    let results = tx.flight(vec![sql, gone.prepared_once()]).await?;
    let mut names = results.iter().map(|rows| rows.iter().map(|r| r.get(0)).collect::<Result<Vec<String>, _>>());
    let changed = names.next().unwrap_or(Ok(vec![])).map_err(Error::internal)?;
    let gone = names.next().unwrap_or(Ok(vec![])).map_err(Error::internal)?;

    let mut restored: Vec<&'static Field> = Vec::new();
    for field in writable(R::DEF).filter(|f| columns(f).any(|c| log.fields.contains_key(c))) {
        if columns(field).any(|c| changed.iter().any(|name| name == c)) {
            keep(log.survivor, field.name, "was changed since");
        } else if gone.iter().any(|name| name == field.name) {
            keep(log.survivor, field.name, "what it referred to was deleted for good");
        } else {
            restored.push(field);
        }
    }
    // Only names of our own field table reach the statement.
    let set: Vec<(&'static str, &'static str)> = restored
        .iter()
        .flat_map(|f| columns(f).map(|c| (c, f.sql_type())))
        .filter(|(c, _)| log.fields.contains_key(*c))
        .collect();
    if !set.is_empty() {
        let assignments: Vec<String> = set.iter().map(|(c, _)| format!("{c} = p.{c}")).collect();
        let types: Vec<String> = set.iter().map(|(c, sql_type)| format!("{c} {sql_type}")).collect();
        let mut sql = Sql::new(format!(
            "UPDATE {table} AS t SET {} FROM record_merge m CROSS JOIN LATERAL (SELECT jsonb_object_agg(f.key, f.value -> 'before') AS o \
             FROM jsonb_each(m.fields) AS f) AS b CROSS JOIN LATERAL jsonb_to_record(b.o) AS p ({})",
            assignments.join(", "),
            types.join(", ")
        ));
        pair(tx, &mut sql, id, log.survivor);
        tx.rows(sql.prepared_once()).await?;
    }
    Ok(restored.iter().map(|f| f.name).collect())
}
