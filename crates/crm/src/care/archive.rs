//! The archive: old records that are done move out of the working tables and can come back as they were.
//!
//! A batch is one transaction: rows are kept in `archived_record` and leave their table together, so that an interruption
//! leaves nothing in between and the next call goes on. What refers to a record by a foreign key is looked up in the
//! catalogue: rows that go with it are kept with it, references that are cleared are remembered and set again on restore.
//! Activities and notes of an archived record keep their link. `archiving()` in `sql/020_context.sql` tells the triggers.
//!
//! The events are `<entity>.archived` and `<entity>.restored`, the audit actions `archive` and `unarchive`: nobody is told
//! that a deal was deleted.

mod restore;

pub use restore::{Restored, Which, restore};

use super::{acting, col, definition, label, number};
use aisha_auth::Principal;
use aisha_db::{
    Bind, Db, Json, RequestContext, Sql, SystemTx, archiving,
    record::{Kind, RecordDef},
    tx::Rows,
};
use aisha_kernel::{Error, new_id};
use serde::Serialize;
use std::collections::BTreeSet;
use time::OffsetDateTime;
use uuid::Uuid;

/// Rows per transaction.
pub const ARCHIVE_BATCH: usize = 500;
/// Retention when neither the request nor the tenant says anything.
const DAYS: i64 = 365;

/// What is to be archived.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wanted {
    /// Age of completed and cancelled activities; the tenant's `activity_retention_days` when absent.
    pub activities_older_than_days: Option<i64>,
    /// Age of won and lost deals; the tenant's `opportunity_retention_days` when absent.
    pub opportunities_older_than_days: Option<i64>,
    /// Promoted, inactive and archived sources too, whatever their age.
    pub include_bizdev: bool,
}

/// One kind of record that is archived, and when.
#[derive(Debug, Clone)]
pub struct Part {
    def: &'static RecordDef,
    due: String,
    reason: String,
}

impl Part {
    /// The record type.
    #[must_use]
    pub fn def(&self) -> &'static RecordDef {
        self.def
    }
}

/// Days that a tenant keeps what is done.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Retention {
    /// For activities.
    pub activity_retention_days: i64,
    /// For deals.
    pub opportunity_retention_days: i64,
}

/// The tenant's settings, 365 days each unless they say otherwise.
///
/// # Errors
/// 503 when the database is away.
pub async fn retention(db: &Db, me: &Principal) -> Result<Retention, Error> {
    let days = |key: &str| {
        format!(
            "CASE WHEN settings ->> '{key}' ~ '^[1-9][0-9]{{0,4}}$' THEN (settings ->> '{key}')::bigint ELSE {DAYS} END"
        )
    };
    let mut sql = Sql::new(format!(
        "SELECT {}, {} FROM tenant WHERE id = ",
        days("activity_retention_days"),
        days("opportunity_retention_days")
    ));
    sql.bind(me.tenant().0);
    let rows = db.fetch(me, vec![sql]).await?.pop().unwrap_or_default();
    let row = rows.first().ok_or_else(Error::not_found)?;
    Ok(Retention { activity_retention_days: col(row, 0)?, opportunity_retention_days: col(row, 1)? })
}

/// What a request comes to.
#[must_use]
pub fn parts(wanted: Wanted, kept: Retention) -> Vec<Part> {
    let activities = wanted.activities_older_than_days.unwrap_or(kept.activity_retention_days);
    let deals = wanted.opportunities_older_than_days.unwrap_or(kept.opportunity_retention_days);
    let part = |name: &str, due: String, reason: String| definition(name).map(|def| Part { def, due, reason });
    let bizdev = || {
        part(
            "bizdev_source",
            "t.status IN ('promoted', 'inactive', 'archived')".into(),
            "promoted, inactive or archived".into(),
        )
    };
    [
        part(
            "activity",
            format!(
                "t.status IN ('completed', 'cancelled') \
                 AND coalesce(t.completed_at, t.updated_at) < now() - interval '{activities} days'"
            ),
            format!("done for more than {activities} days"),
        ),
        part(
            "opportunity",
            format!("t.outcome IN ('won', 'lost') AND t.closed_at < now() - interval '{deals} days'"),
            format!("closed for more than {deals} days"),
        ),
        wanted.include_bizdev.then(bizdev).flatten(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// A foreign key that points to a table.
pub(crate) struct Reference {
    pub table: String,
    pub column: String,
    /// `n` is cleared, `c` goes along, anything else keeps the record where it is.
    pub on_delete: String,
}

/// The foreign keys to a table, from the catalogue. Names come quoted where they have to be.
async fn references(tx: &mut SystemTx, def: &RecordDef) -> Result<Vec<Reference>, Error> {
    let mut sql = Sql::new(
        "SELECT c.conrelid::regclass::text, quote_ident(a.attname), c.confdeltype::text FROM pg_constraint c \
         JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = c.conkey[2] \
         WHERE c.contype = 'f' AND c.conparentid = 0 AND cardinality(c.conkey) = 2 AND c.confrelid = ",
    );
    sql.bind(Bind::Text(Some(def.table.to_owned()), "regclass")).push(" ORDER BY 1, 2");
    let rows = tx.rows(sql).await?;
    rows.iter()
        .map(|row| Ok(Reference { table: col(row, 0)?, column: col(row, 1)?, on_delete: col(row, 2)? }))
        .collect()
}

/// `jsonb_build_array(…)` of objects that are not null.
fn json_list(parts: &[String]) -> String {
    if parts.is_empty() {
        return "'[]'::jsonb".into();
    }
    format!(
        "(SELECT coalesce(jsonb_agg(x), '[]') FROM (VALUES {}) AS v (x) WHERE x IS NOT NULL)",
        parts.iter().map(|p| format!("({p})")).collect::<Vec<_>>().join(", ")
    )
}

/// Moves one batch; answers with how many records went.
///
/// # Errors
/// 503 when the database is away.
pub async fn archive_batch(
    db: &Db,
    me: &Principal,
    cx: &RequestContext,
    part: &Part,
    batch_id: Uuid,
) -> Result<usize, Error> {
    let def = part.def;
    db.system(&acting(me, cx, "archive"), async |tx| {
        let pointing = references(tx, def).await?;
        let mut pick = Sql::new(format!(
            "SELECT t.id FROM {} t WHERE t.tenant_id = current_tenant_id() AND t.deleted_at IS NULL AND {}",
            def.table, part.due
        ));
        let (mut children, mut links) = (Vec::new(), Vec::new());
        for Reference { table, column, on_delete } in &pointing {
            let held = format!("FROM {table} x WHERE x.tenant_id = t.tenant_id AND x.{column} = t.id");
            match on_delete.as_str() {
                "c" => children.push(format!(
                    "(SELECT jsonb_build_object('table', '{table}', 'rows', jsonb_agg(to_jsonb(x) ORDER BY x.id)) {held} \
                     HAVING count(*) > 0)"
                )),
                "n" => links.push(format!(
                    "(SELECT jsonb_build_object('table', '{table}', 'column', '{column}', 'ids', jsonb_agg(x.id ORDER BY x.id)) \
                     {held} HAVING count(*) > 0)"
                )),
                _ => {
                    pick.push(format!(" AND NOT EXISTS (SELECT {held})"));
                }
            }
        }
        // Locked before what refers to the rows is read: nobody can refer to them any more.
        pick.push(format!(" ORDER BY t.id LIMIT {ARCHIVE_BATCH} FOR UPDATE SKIP LOCKED"));
        let rows = tx.rows(pick).await?;
        let ids: Vec<Uuid> = rows.iter().map(|row| col(row, 0)).collect::<Result<_, _>>()?;
        if ids.is_empty() {
            return Ok(0);
        }
        let mut keep = Sql::new(
            "INSERT INTO archived_record (tenant_id, entity_type, id, batch_id, name, record, children, links, reason, \
             archived_by) SELECT t.tenant_id, ",
        );
        keep.bind(Bind::text(def.name)).push(", t.id, ").bind(batch_id).push(format!(
            ", {}, to_jsonb(t) - 'search_text', {}, {}, ",
            label(def, "t"),
            json_list(&children),
            json_list(&links)
        ));
        keep.bind(Bind::text(&part.reason)).push(format!(
            ", current_user_id() FROM {} t WHERE t.tenant_id = current_tenant_id() AND t.id = ANY(",
            def.table
        ));
        keep.bind(Bind::Uuids(ids.clone())).push(")");
        let mut remove =
            Sql::new(format!("DELETE FROM {} WHERE tenant_id = current_tenant_id() AND id = ANY(", def.table));
        remove.bind(Bind::Uuids(ids)).push(") RETURNING id");
        let gone = tx.flight(vec![archiving(), keep, remove]).await?.pop().unwrap_or_default();
        Ok(gone.len())
    })
    .await
}

/// How many records of a kind went, or would go.
#[derive(Debug, Clone, Serialize)]
pub struct Moved {
    /// The record type.
    pub entity_type: &'static str,
    /// How many.
    pub count: i64,
}

/// What an archiving did.
#[derive(Debug, Clone, Serialize)]
pub struct Archived {
    /// What the records carry that went together; restoring by it brings them back.
    pub batch_id: Uuid,
    /// Whether nothing was moved.
    pub dry_run: bool,
    /// Kind by kind.
    pub records: Vec<Moved>,
    /// In all.
    pub total: i64,
}

/// A new batch.
#[must_use]
pub fn new_batch() -> Uuid {
    new_id()
}

/// Archives everything that is due, batch by batch. May be called again after an interruption: it goes on.
///
/// # Errors
/// 503 when the database is away.
pub async fn archive(
    db: &Db,
    me: &Principal,
    cx: &RequestContext,
    parts: &[Part],
    batch_id: Uuid,
    dry_run: bool,
) -> Result<Archived, Error> {
    let mut out = Archived { batch_id, dry_run, records: Vec::new(), total: 0 };
    for part in parts {
        let mut moved = 0;
        if dry_run {
            let mut sql = Sql::new(format!("SELECT count(*) FROM {} t WHERE t.tenant_id = ", part.def.table));
            sql.bind(me.tenant().0).push(format!(" AND t.deleted_at IS NULL AND {}", part.due));
            moved = number(&db.fetch(me, vec![sql]).await?.pop().unwrap_or_default())?;
        } else {
            loop {
                let n = archive_batch(db, me, cx, part, batch_id).await?;
                moved += i64::try_from(n).unwrap_or_default();
                if n < ARCHIVE_BATCH {
                    break;
                }
            }
        }
        out.total += moved;
        out.records.push(Moved { entity_type: part.def.name, count: moved });
    }
    Ok(out)
}

/// An archived record as the API shows it.
#[derive(Debug, Clone, Serialize)]
pub struct ArchivedRecord {
    /// Its id, which it keeps.
    pub id: Uuid,
    /// The record type.
    pub entity_type: String,
    /// What it is called.
    pub name: Option<String>,
    /// What it was archived with.
    pub batch_id: Uuid,
    /// Why.
    pub reason: String,
    /// By whom.
    pub archived_by: Option<Uuid>,
    /// When.
    #[serde(with = "time::serde::rfc3339")]
    pub archived_at: OffsetDateTime,
    /// The record as it looked.
    pub record: Json,
}

/// Which archived records are wanted.
#[derive(Debug, Clone, Default)]
pub struct ArchiveFilter {
    /// Of this type.
    pub entity_type: Option<&'static str>,
    /// Of this batch.
    pub batch_id: Option<Uuid>,
    /// Whose name contains this.
    pub q: Option<String>,
    /// Archived on this day or later.
    pub from: Option<String>,
    /// Archived on this day or earlier.
    pub to: Option<String>,
}

/// A page of the archive, newest first, and how much there is.
///
/// # Errors
/// 503 when the database is away.
pub async fn archive_list(
    db: &Db,
    me: &Principal,
    filter: &ArchiveFilter,
    limit: i64,
    offset: i64,
) -> Result<(Vec<ArchivedRecord>, i64), Error> {
    let mut wanted = Sql::new(" FROM archived_record a WHERE tenant_id = ");
    wanted.bind(me.tenant().0);
    if let Some(entity) = filter.entity_type {
        wanted.push(" AND entity_type = ").bind(Bind::text(entity));
    }
    if let Some(batch) = filter.batch_id {
        wanted.push(" AND batch_id = ").bind(batch);
    }
    if let Some(q) = &filter.q {
        wanted.push(" AND position(lower(").bind(Bind::text(q)).push(") in lower(name)) > 0");
    }
    if let Some(from) = &filter.from {
        wanted.push(" AND archived_at >= ").bind(Bind::Text(Some(from.clone()), "date")).push(" AT TIME ZONE 'UTC'");
    }
    if let Some(to) = &filter.to {
        wanted.push(" AND archived_at < (").bind(Bind::Text(Some(to.clone()), "date")).push(" + 1) AT TIME ZONE 'UTC'");
    }
    // Columns that the record's API never shows stay away here too.
    let shown: Vec<String> = super::RECORDS
        .iter()
        .map(|d| {
            let names: Vec<String> = d.all_fields().map(|f| format!("'{}'", f.name)).collect();
            format!("WHEN '{}' THEN ARRAY[{}]", d.name, names.join(", "))
        })
        .collect();
    // As the record's API writes instants.
    let instants: BTreeSet<String> = super::RECORDS
        .iter()
        .flat_map(|d| d.all_fields())
        .filter(|f| f.kind == Kind::Timestamp)
        .map(|f| format!("'{}'", f.name))
        .collect();
    let instants: Vec<String> = instants.into_iter().collect();
    let mut page = Sql::new(format!(
        "SELECT id, entity_type, name, batch_id, reason, archived_by, archived_at, \
         (SELECT jsonb_object_agg(f.key, CASE WHEN f.key = ANY (ARRAY[{}]) AND jsonb_typeof(f.value) = 'string' \
          THEN to_jsonb(replace(f.value #>> '{{}}', '+00:00', 'Z')) ELSE f.value END) FROM jsonb_each(record) f \
          WHERE f.key = ANY (CASE entity_type {} END) AND NOT (f.key = 'deleted_at' AND f.value = 'null')) \
         || jsonb_build_object('created_date', replace(record ->> 'created_at', '+00:00', 'Z'))",
        instants.join(", "),
        shown.join(" ")
    ));
    page.append(wanted.clone()).push(" ORDER BY archived_at DESC, id DESC LIMIT ").bind(Bind::Int(limit));
    page.push(" OFFSET ").bind(Bind::Int(offset));
    let mut total = Sql::new("SELECT count(*)");
    total.append(wanted);
    let mut results = db.fetch(me, vec![page.prepared_once(), total.prepared_once()]).await?;
    let total = number(&results.pop().unwrap_or_default())?;
    let rows: Rows = results.pop().unwrap_or_default();
    let records = rows.iter().map(|row| {
        Ok(ArchivedRecord {
            id: col(row, 0)?,
            entity_type: col(row, 1)?,
            name: col(row, 2)?,
            batch_id: col(row, 3)?,
            reason: col(row, 4)?,
            archived_by: col(row, 5)?,
            archived_at: col(row, 6)?,
            record: col(row, 7)?,
        })
    });
    Ok((records.collect::<Result<_, Error>>()?, total))
}

pub(crate) fn rows_to_ids(rows: &Rows) -> Result<Vec<Uuid>, Error> {
    rows.iter().map(|row| col(row, 0)).collect()
}
