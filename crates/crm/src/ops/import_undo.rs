//! Taking an import back: what it created goes to the trash, what it changed gets its old values back. Records that
//! somebody has changed since are kept and listed.

use aisha_auth::Principal;
use aisha_db::{Bind, Db, RequestContext, Sql, TenantTx, record::Record};
use aisha_kernel::Error;
use serde::Serialize;
use uuid::Uuid;

/// Rows per transaction.
const BATCH: i64 = 5_000;
/// Records that are listed by id.
const LISTED: i64 = 1_000;

/// What an undo did.
#[derive(Debug, Clone, Default, Serialize)]
pub struct UndoResult {
    /// Records moved to the trash.
    pub removed: i64,
    /// Records that have their old values again.
    pub reverted: i64,
    /// Records that were changed since and stay as they are.
    pub kept: i64,
    /// Their ids, at most a thousand.
    pub kept_ids: Vec<Uuid>,
}

/// Undoes an import. May be called again after an interruption: it goes on where it stopped.
///
/// # Errors
/// 404 when there is no such import, 409 when it is still running, was a dry run or has been undone.
pub async fn import_undo<R: Record>(
    db: &Db,
    me: &Principal,
    cx: &RequestContext,
    id: Uuid,
) -> Result<UndoResult, Error> {
    db.write(me, cx, async |tx| {
        let mut sql =
            Sql::new("SELECT status, dry_run FROM import_log WHERE tenant_id = current_tenant_id() AND id = ");
        sql.bind(id).push(" FOR UPDATE");
        let rows = tx.rows(sql).await?;
        let row = rows.first().ok_or_else(Error::not_found)?;
        let status: String = row.get(0).map_err(Error::internal)?;
        let dry_run: bool = row.get(1).map_err(Error::internal)?;
        match status.as_str() {
            _ if dry_run => Err(Error::conflict("A dry run has written nothing that could be undone.")),
            "undone" => Err(Error::conflict("This import has been undone already.")),
            "processing" => Err(Error::conflict("This import is still running.")),
            _ => Ok(()),
        }
    })
    .await?;

    let mut result = UndoResult::default();
    loop {
        let n = db.write(me, cx, async |tx| remove::<R>(tx, id).await).await?;
        result.removed += n;
        if n < BATCH {
            break;
        }
    }
    loop {
        let n = db.write(me, cx, async |tx| revert::<R>(tx, id).await).await?;
        result.reverted += n;
        if n < BATCH {
            break;
        }
    }
    let (kept, kept_ids) =
        db.write(me, cx, async |tx| finish::<R>(tx, id, result.removed, result.reverted).await).await?;
    Ok(UndoResult { kept, kept_ids, ..result })
}

/// Version 1 is what the import made: a higher one was changed since.
async fn remove<R: Record>(tx: &mut TenantTx, id: Uuid) -> Result<i64, Error> {
    let table = R::DEF.table;
    let mut sql = Sql::new(format!("UPDATE {table} SET deleted_at = now(), deleted_by = "));
    sql.bind(tx.principal().user().0).push(format!(
        " WHERE tenant_id = current_tenant_id() AND id IN (SELECT id FROM {table} WHERE tenant_id = current_tenant_id() AND import_id = "
    ));
    sql.bind(id).push(format!(" AND version = 1 AND deleted_at IS NULL LIMIT {BATCH}) RETURNING id"));
    Ok(i64::try_from(tx.rows(sql).await?.len()).unwrap_or_default())
}

/// A row that has been reverted gets version 0, so that it is told from one that somebody changed.
async fn revert<R: Record>(tx: &mut TenantTx, id: Uuid) -> Result<i64, Error> {
    let table = R::DEF.table;
    // The columns are those of the mapping: the keys that every row of the import has kept.
    let mut sql = Sql::new(
        "SELECT DISTINCT jsonb_object_keys(previous) FROM import_row WHERE tenant_id = current_tenant_id() AND import_id = ",
    );
    sql.bind(id);
    let keys: Vec<String> =
        tx.rows(sql).await?.iter().map(|r| r.get(0)).collect::<Result<_, _>>().map_err(Error::internal)?;
    // Only names of our own field table reach the statement.
    let columns: Vec<(&str, &str)> =
        keys.iter().filter_map(|k| R::DEF.field(k)).map(|f| (f.name, f.sql_type())).collect();
    if columns.is_empty() {
        return Ok(0);
    }
    let set: Vec<String> = columns.iter().map(|(c, _)| format!("{c} = p.{c}")).collect();
    let types: Vec<String> = columns.iter().map(|(c, t)| format!("{c} {t}")).collect();
    let mut sql = Sql::new(format!(
        "WITH old AS (SELECT i.row_number, i.record_id, i.version, i.previous FROM import_row i \
         JOIN {table} t ON t.tenant_id = i.tenant_id AND t.id = i.record_id AND t.version = i.version AND t.deleted_at IS NULL \
         WHERE i.tenant_id = current_tenant_id() AND i.import_id = "
    ));
    sql.bind(id).push(format!(
        " LIMIT {BATCH}), done AS (UPDATE import_row i SET version = 0 FROM old \
         WHERE i.tenant_id = current_tenant_id() AND i.import_id = "
    ));
    sql.bind(id).push(format!(
        " AND i.row_number = old.row_number) UPDATE {table} t SET {} FROM old, jsonb_to_record(old.previous) AS p({}) \
         WHERE t.tenant_id = current_tenant_id() AND t.id = old.record_id RETURNING t.id",
        set.join(", "),
        types.join(", ")
    ));
    Ok(i64::try_from(tx.rows(sql.prepared_once()).await?.len()).unwrap_or_default())
}

async fn finish<R: Record>(
    tx: &mut TenantTx,
    id: Uuid,
    removed: i64,
    reverted: i64,
) -> Result<(i64, Vec<Uuid>), Error> {
    let table = R::DEF.table;
    let mut sql = Sql::new(format!(
        "SELECT id, count(*) OVER () FROM (SELECT id FROM {table} WHERE tenant_id = current_tenant_id() AND deleted_at IS NULL AND import_id = "
    ));
    sql.bind(id).push(format!(
        " UNION SELECT t.id FROM import_row i JOIN {table} t ON t.tenant_id = i.tenant_id AND t.id = i.record_id \
         WHERE t.deleted_at IS NULL AND i.version > 0 AND i.tenant_id = current_tenant_id() AND i.import_id = "
    ));
    sql.bind(id).push(format!(") AS kept ORDER BY id LIMIT {LISTED}"));
    let rows = tx.rows(sql).await?;
    let kept = rows.first().map(|r| r.get::<i64>(1)).transpose().map_err(Error::internal)?.unwrap_or(0);
    let ids: Vec<Uuid> = rows.iter().map(|r| r.get(0)).collect::<Result<_, _>>().map_err(Error::internal)?;
    let result = serde_json::json!({ "removed": removed, "reverted": reverted, "kept": kept, "kept_ids": ids });
    let mut sql = Sql::new("UPDATE import_log SET status = 'undone', undone_at = now(), undo_result = ");
    sql.bind(Bind::Text(Some(result.to_string()), "jsonb")).push(" WHERE tenant_id = current_tenant_id() AND id = ");
    sql.bind(id);
    tx.rows(sql).await?;
    Ok((kept, ids))
}
