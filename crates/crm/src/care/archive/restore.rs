//! Bringing archived records back under the same ids, with what went along and what referred to them.

use super::{ARCHIVE_BATCH, rows_to_ids};
use crate::care::{acting, col, consistency::copies, count, definition, number, related_types};
use aisha_auth::Principal;
use aisha_db::{
    Bind, Db, RequestContext, Sql, SystemTx, archiving,
    record::{RecordDef, RowScope},
};
use aisha_kernel::{Error, FieldError};
use serde::Serialize;
use uuid::Uuid;

/// Conflicting records that an answer names.
const NAMED: usize = 20;

/// What is to come back.
#[derive(Debug, Clone)]
pub enum Which {
    /// These records.
    Ids(Vec<Uuid>),
    /// What went together.
    Batch(Uuid),
}

/// What came back.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Restored {
    /// Records that came back.
    pub restored: i64,
    /// Of these, records that lost a reference because what it named is gone for good.
    pub unlinked: i64,
    /// References of other records that are set again.
    pub relinked: i64,
    /// Given ids that are not in the archive.
    pub not_found: Vec<Uuid>,
}

/// Brings records back, batch by batch. May be called again after an interruption: it goes on.
///
/// # Errors
/// 409 naming the ids that a live record has taken.
pub async fn restore(db: &Db, me: &Principal, cx: &RequestContext, which: &Which) -> Result<Restored, Error> {
    let why = acting(me, cx, "archive_restore");
    let mut out = Restored::default();
    let mut found: Vec<Uuid> = Vec::new();
    // Deals before activities: what belongs to a deal is copied from it on the way in.
    for name in ["bizdev_source", "opportunity", "activity"] {
        let Some(def) = definition(name) else { continue };
        loop {
            let (ids, unlinked, relinked) = db.system(&why, async |tx| restore_batch(tx, def, which).await).await?;
            out.restored += i64::try_from(ids.len()).unwrap_or_default();
            out.unlinked += unlinked;
            out.relinked += relinked;
            let full = ids.len() == ARCHIVE_BATCH;
            found.extend(ids);
            if !full {
                break;
            }
        }
    }
    if let Which::Ids(ids) = which {
        found.sort_unstable();
        out.not_found = ids.iter().copied().filter(|id| found.binary_search(id).is_err()).collect();
    }
    Ok(out)
}

/// A column of a table that a row is written to.
struct Column {
    name: String,
    required: bool,
    default: Option<String>,
    /// The table that it refers to.
    target: Option<String>,
}

async fn columns(tx: &mut SystemTx, table: &str) -> Result<Vec<Column>, Error> {
    let mut sql = Sql::new(
        "SELECT quote_ident(a.attname), a.attnotnull, pg_get_expr(d.adbin, d.adrelid), \
                (SELECT c.confrelid::regclass::text FROM pg_constraint c WHERE c.contype = 'f' AND c.conrelid = a.attrelid \
                 AND cardinality(c.conkey) = 2 AND c.conkey[2] = a.attnum LIMIT 1) \
         FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum \
         WHERE a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '' AND a.attrelid = ",
    );
    sql.bind(Bind::Text(Some(table.to_owned()), "regclass")).push(" ORDER BY a.attnum");
    let rows = tx.rows(sql).await?;
    rows.iter()
        .map(|row| {
            Ok(Column { name: col(row, 0)?, required: col(row, 1)?, default: col(row, 2)?, target: col(row, 3)? })
        })
        .collect()
}

impl Column {
    /// The value: what was kept, or the default of a column that came later.
    fn value(&self) -> String {
        match (&self.default, self.required) {
            (Some(default), true) => format!("coalesce(p.{}, {default})", self.name),
            _ => format!("p.{}", self.name),
        }
    }

    /// Whether what the row `p` refers to is still there.
    fn alive(&self, def: &RecordDef) -> Option<String> {
        if let Some(target) = &self.target {
            return Some(format!(
                "EXISTS (SELECT FROM {target} x WHERE x.tenant_id = p.tenant_id AND x.id = p.{})",
                self.name
            ));
        }
        (def.scope == RowScope::Attached && self.name == "related_id").then(|| related_alive(def))
    }
}

fn related_alive(def: &RecordDef) -> String {
    let live = related_types(def).into_iter().map(|d| {
        format!(
            "p.related_type = '{}' AND EXISTS (SELECT FROM {} x WHERE x.tenant_id = p.tenant_id AND x.id = p.related_id)",
            d.name, d.table
        )
    });
    let archived = "EXISTS (SELECT FROM archived_record x WHERE x.tenant_id = p.tenant_id \
                    AND x.entity_type = p.related_type AND x.id = p.related_id)";
    format!("({} OR {archived})", live.collect::<Vec<_>>().join(" OR "))
}

fn wanted(def: &RecordDef, which: &Which) -> Sql {
    let mut sql = Sql::new("a.tenant_id = current_tenant_id() AND a.entity_type = ");
    sql.bind(Bind::text(def.name));
    match which {
        Which::Ids(ids) => sql.push(" AND a.id = ANY(").bind(Bind::Uuids(ids.clone())).push(")"),
        Which::Batch(batch) => sql.push(" AND a.batch_id = ").bind(*batch),
    };
    sql
}

async fn restore_batch(
    tx: &mut SystemTx,
    def: &'static RecordDef,
    which: &Which,
) -> Result<(Vec<Uuid>, i64, i64), Error> {
    let table = def.table;
    let mut pick = Sql::new("SELECT a.id FROM archived_record a WHERE ");
    pick.append(wanted(def, which)).push(format!(" ORDER BY a.id LIMIT {ARCHIVE_BATCH} FOR UPDATE"));
    let ids = rows_to_ids(&tx.rows(pick).await?)?;
    if ids.is_empty() {
        return Ok((ids, 0, 0));
    }
    let these = |sql: &mut Sql| {
        sql.push("a.tenant_id = current_tenant_id() AND a.entity_type = ").bind(Bind::text(def.name));
        sql.push(" AND a.id = ANY(").bind(Bind::Uuids(ids.clone())).push(")");
    };
    let mut taken = Sql::new(format!("SELECT id FROM {table} WHERE tenant_id = current_tenant_id() AND id = ANY("));
    taken.bind(Bind::Uuids(ids.clone())).push(")");
    let taken = rows_to_ids(&tx.rows(taken).await?)?;
    if !taken.is_empty() {
        let mut conflict = Error::conflict("Another record has taken the place of one that is archived.");
        conflict.details =
            taken.iter().take(NAMED).map(|id| FieldError::new("ids", format!("{id} is in use"))).collect();
        return Err(conflict);
    }

    let columns = columns(tx, table).await?;
    let groups = copies(def);
    let mut names = Vec::new();
    let mut values = Vec::new();
    let mut lost = Vec::new();
    for column in &columns {
        // A copy goes the way of the column that decides about it.
        let decided_by = groups.iter().find(|g| g.columns.iter().any(|(c, _)| *c == column.name)).map(|g| g.decided_by);
        let decides = match (decided_by, column.name.as_str()) {
            (Some(key), _) => columns.iter().find(|c| c.name == key),
            (None, "related_type") => columns.iter().find(|c| c.name == "related_id"),
            (None, _) => Some(column),
        };
        let alive = decides.and_then(|c| c.alive(def));
        if let (Some(alive), None) = (&alive, decided_by) {
            lost.push(format!("p.{} IS NOT NULL AND NOT {alive}", column.name));
        }
        values.push(match alive {
            Some(alive) => format!("CASE WHEN {alive} THEN {} END", column.value()),
            None => column.value(),
        });
        names.push(column.name.clone());
    }
    let source = format!(" FROM archived_record a, jsonb_populate_record(NULL::{table}, a.record) p WHERE ");
    let mut unlinked = Sql::new(format!(
        "SELECT count(*){source}({}) AND ",
        if lost.is_empty() { "false".into() } else { lost.join(" OR ") }
    ));
    these(&mut unlinked);
    let mut insert =
        Sql::new(format!("INSERT INTO {table} ({}) SELECT {}{source}", names.join(", "), values.join(", ")));
    these(&mut insert);
    let counted = tx.flight(vec![archiving(), unlinked, insert]).await?;
    let unlinked = number(counted.get(1).unwrap_or(&Vec::new()))?;

    let mut kept = Sql::new(
        "SELECT DISTINCT c ->> 'table', NULL FROM archived_record a, jsonb_array_elements(a.children) c WHERE ",
    );
    these(&mut kept);
    kept.push(" UNION ALL SELECT DISTINCT l ->> 'table', l ->> 'column' FROM archived_record a, jsonb_array_elements(a.links) l WHERE ");
    these(&mut kept);
    let mut relinked = 0;
    for row in &tx.rows(kept).await? {
        let other: String = col(row, 0)?;
        let columns = present(tx, &other).await?;
        match col::<Option<String>>(row, 1)? {
            None if columns.is_empty() => {}
            None => tx.rows(bring_along(&columns, &other, &these)).await.map(|_| ())?,
            Some(column) if columns.iter().any(|c| c.name == column) => {
                relinked += count(&tx.rows(link(&other, &column, &these)).await?);
            }
            Some(_) => {}
        }
    }
    let mut remove = Sql::new("DELETE FROM archived_record a WHERE ");
    these(&mut remove);
    tx.rows(remove).await?;
    Ok((ids, unlinked, relinked))
}

/// Columns of a table that may have gone since; none then.
async fn present(tx: &mut SystemTx, table: &str) -> Result<Vec<Column>, Error> {
    let mut sql = Sql::new("SELECT to_regclass(");
    sql.bind(Bind::text(table)).push(") IS NOT NULL");
    let there = tx.rows(sql).await?;
    if there.first().map_or(Ok(false), |row| col(row, 0))? { columns(tx, table).await } else { Ok(Vec::new()) }
}

/// The rows of another table that went along. The name comes from the catalogue, quoted, when the record was archived.
fn bring_along(columns: &[Column], table: &str, these: &impl Fn(&mut Sql)) -> Sql {
    let names: Vec<&str> = columns.iter().map(|c| c.name.as_str()).collect();
    let values: Vec<String> = columns.iter().map(Column::value).collect();
    let mut sql = Sql::new(format!(
        "INSERT INTO {table} ({}) OVERRIDING SYSTEM VALUE SELECT {} FROM archived_record a, \
         jsonb_array_elements(a.children) c, jsonb_populate_recordset(NULL::{table}, c -> 'rows') p WHERE c ->> 'table' = ",
        names.join(", "),
        values.join(", ")
    ));
    sql.bind(Bind::text(table)).push(" AND ");
    these(&mut sql);
    sql
}

/// References that were cleared and still are.
fn link(table: &str, column: &str, these: &impl Fn(&mut Sql)) -> Sql {
    let mut sql = Sql::new(format!(
        "UPDATE {table} u SET {column} = l.record_id FROM (SELECT a.id AS record_id, x.id::uuid AS id \
         FROM archived_record a, jsonb_array_elements(a.links) l, jsonb_array_elements_text(l -> 'ids') AS x (id) \
         WHERE l ->> 'table' = "
    ));
    sql.bind(Bind::text(table)).push(" AND l ->> 'column' = ").bind(Bind::text(column)).push(" AND ");
    these(&mut sql);
    sql.push(format!(
        ") AS l WHERE u.tenant_id = current_tenant_id() AND u.id = l.id AND u.{column} IS NULL RETURNING u.id"
    ));
    sql
}
