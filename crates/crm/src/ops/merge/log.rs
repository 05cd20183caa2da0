//! The log of merges: what was merged into what, and what that changed.

use super::{
    UNDO_DAYS,
    links::{LINKS, Moved},
    merged_columns,
};
use aisha_auth::Principal;
use aisha_db::{Bind, Db, Json, PgRow, Sql, TenantTx, record::Record};
use aisha_kernel::Error;
use serde::Serialize;
use uuid::Uuid;

/// Moved records that are listed by id.
const LISTED: i64 = 1_000;

/// A merge as the API shows it.
#[derive(Debug, Serialize)]
pub struct MergeLog {
    /// Its id.
    pub id: Uuid,
    /// The tenant it belongs to.
    pub tenant_id: Uuid,
    /// Record type, singular.
    pub entity_type: String,
    /// What survived.
    pub survivor_id: Uuid,
    /// What went to the trash.
    pub merged_ids: Json,
    /// The survivor's fields that changed: `{before, after}`.
    pub fields: Json,
    /// How many links moved, by record type and column.
    pub links: Json,
    /// Who merged.
    pub created_by: Option<Uuid>,
    /// When.
    pub created_at: String,
    /// Until when it can be undone.
    pub undo_until: String,
    /// When it was undone.
    pub undone_at: Option<String>,
    /// By whom.
    pub undone_by: Option<Uuid>,
    /// What that did.
    pub undo_result: Option<Json>,
}

fn columns() -> String {
    let at = |c: &str| format!("to_char({c} AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')");
    format!(
        "id, tenant_id, entity_type, survivor_id, to_jsonb(merged_ids), fields, links, created_by, {}, {}, {}, undone_by, undo_result",
        at("created_at"),
        at(&format!("(created_at + interval '{UNDO_DAYS} days')")),
        at("undone_at")
    )
}

fn from_row(row: &PgRow) -> Result<MergeLog, Error> {
    let read = || -> Result<MergeLog, Box<dyn std::error::Error + Send + Sync>> {
        Ok(MergeLog {
            id: row.get(0)?,
            tenant_id: row.get(1)?,
            entity_type: row.get(2)?,
            survivor_id: row.get(3)?,
            merged_ids: row.get(4)?,
            fields: row.get(5)?,
            links: row.get(6)?,
            created_by: row.get(7)?,
            created_at: row.get(8)?,
            undo_until: row.get(9)?,
            undone_at: row.get(10)?,
            undone_by: row.get(11)?,
            undo_result: row.get(12)?,
        })
    };
    read().map_err(Error::internal)
}

/// Writes the row of a merge; returns what it changed in the survivor. `before` is the survivor as it was; both sides are
/// compared in the database, where numbers are exact.
pub(super) async fn write<R: Record>(
    tx: &mut TenantTx,
    id: Uuid,
    survivor: Uuid,
    merged: &[Uuid],
    before: &Json,
    links: &[Moved],
) -> Result<Json, Error> {
    let links = serde_json::to_string(links).map_err(Error::internal)?;
    let mut sql = Sql::new(
        "INSERT INTO record_merge (tenant_id, id, entity_type, survivor_id, merged_ids, links, created_by, fields) VALUES (",
    );
    sql.bind(tx.principal().tenant().0).push(", ").bind(id).push(format!(", '{}', ", R::DEF.name));
    sql.bind(survivor).push(", ").bind(Bind::Uuids(merged.to_vec())).push(", ");
    sql.bind(Bind::Text(Some(links), "jsonb")).push(", ").bind(tx.principal().user().0);
    sql.push(", (SELECT coalesce(jsonb_object_agg(b.key, jsonb_build_object('before', b.value, 'after', a.after -> b.key)), '{}') \
         FROM jsonb_each(");
    sql.bind(Bind::Text(Some(before.as_str().to_owned()), "jsonb"));
    sql.push(format!(") AS b, (SELECT to_jsonb(t) AS after FROM {} AS t WHERE tenant_id = ", R::DEF.table));
    sql.bind(tx.principal().tenant().0).push(" AND id = ").bind(survivor).push(") AS a WHERE b.key = ANY(");
    sql.bind(Bind::Texts(Some(merged_columns::<R>())));
    sql.push(") AND b.value IS DISTINCT FROM a.after -> b.key)) RETURNING fields");
    let rows = tx.rows(sql).await?;
    rows.first().ok_or_else(Error::not_found)?.get(0).map_err(Error::internal)
}

/// One merge that `me` sees.
///
/// # Errors
/// 404 when there is none.
pub async fn merge_find(db: &Db, me: &Principal, id: Uuid) -> Result<MergeLog, Error> {
    let mut sql = Sql::new(format!("SELECT {} FROM record_merge WHERE tenant_id = ", columns()));
    sql.bind(me.tenant().0).push(" AND id = ").bind(id);
    let rows = db.fetch(me, vec![sql]).await?.pop().unwrap_or_default();
    from_row(rows.first().ok_or_else(Error::not_found)?)
}

/// A record whose link a merge moved.
#[derive(Debug, Serialize)]
pub struct MovedRecord {
    /// Record type, singular.
    pub entity_type: String,
    /// The record.
    pub id: Uuid,
    /// Its column.
    pub field: String,
    /// Where it pointed; null for a column that holds a list.
    pub from_id: Option<Uuid>,
}

/// The records whose links a merge moved: those that `me` sees, at most a thousand.
///
/// # Errors
/// 503 when the database is away.
pub async fn merge_moved(db: &Db, me: &Principal, merge: &MergeLog) -> Result<Vec<MovedRecord>, Error> {
    let mut sql = Sql::new("SELECT * FROM (");
    for (i, link) in LINKS.iter().filter(|l| l.to == merge.entity_type).enumerate() {
        sql.push(if i > 0 { " UNION ALL " } else { "" });
        sql.push(format!(
            "(SELECT '{}'::text, l.record_id, l.field::text, l.from_id FROM record_merge_link l \
             JOIN {table} t ON t.tenant_id = l.tenant_id AND t.id = l.record_id \
             WHERE l.table_name = '{table}' AND l.field = '{}' AND l.tenant_id = ",
            link.entity_type,
            link.field,
            table = link.table
        ));
        sql.bind(me.tenant().0).push(" AND l.merge_id = ").bind(merge.id);
        sql.push(format!(" ORDER BY l.record_id LIMIT {LISTED})"));
    }
    sql.push(format!(") AS moved LIMIT {LISTED}"));
    let rows = db.fetch(me, vec![sql]).await?.pop().unwrap_or_default();
    rows.iter()
        .map(|row| {
            Ok(MovedRecord { entity_type: row.get(0)?, id: row.get(1)?, field: row.get(2)?, from_id: row.get(3)? })
        })
        .collect::<Result<_, Box<dyn std::error::Error + Send + Sync>>>()
        .map_err(Error::internal)
}

/// A page of merges, newest first, with the number of all.
///
/// # Errors
/// 503 when the database is away.
pub async fn merge_list(
    db: &Db,
    me: &Principal,
    entity_type: Option<&str>,
    limit: i64,
    offset: i64,
) -> Result<(Vec<MergeLog>, i64), Error> {
    let conditions = |sql: &mut Sql| {
        sql.bind(me.tenant().0);
        if let Some(entity) = entity_type {
            sql.push(" AND entity_type = ").bind(Bind::text(entity));
        }
    };
    let mut page = Sql::new(format!("SELECT {} FROM record_merge WHERE tenant_id = ", columns()));
    conditions(&mut page);
    page.push(" ORDER BY created_at DESC, id DESC LIMIT ").bind(Bind::Int(limit));
    page.push(" OFFSET ").bind(Bind::Int(offset));
    let mut count = Sql::new("SELECT count(*) FROM record_merge WHERE tenant_id = ");
    conditions(&mut count);
    let mut results = db.fetch(me, vec![page, count]).await?.into_iter();
    let rows = results.next().unwrap_or_default();
    let merges = rows.iter().map(from_row).collect::<Result<Vec<_>, _>>()?;
    let total = results.next().unwrap_or_default();
    let total = total.first().map(|r| r.get(0)).transpose().map_err(Error::internal)?.unwrap_or_default();
    Ok((merges, total))
}
