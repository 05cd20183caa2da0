//! Test data: marking it, counting it, and removing all of it for good.

use super::{BATCH, RECORDS, acting, col, count, json, number, of_table};
use aisha_auth::Principal;
use aisha_db::{
    Bind, Db, RequestContext, Sql,
    record::{Kind, RecordDef, filter::Filter},
};
use aisha_kernel::Error;
use serde::Serialize;
use serde_json::json;
use uuid::Uuid;

/// What must be typed to remove test data.
pub const CONFIRMATION: &str = "DELETE TEST DATA";

/// Which records are meant.
#[derive(Debug, Clone)]
pub enum Which {
    /// These.
    Ids(Vec<Uuid>),
    /// Those that match.
    Filter(Filter),
}

/// Marks live records as test data, or as real; answers with how many changed.
///
/// # Errors
/// 403 when read-only, 503 when the database is away.
pub async fn test_data_mark(
    db: &Db,
    me: &Principal,
    cx: &RequestContext,
    def: &'static RecordDef,
    which: &Which,
    is_test_data: bool,
) -> Result<i64, Error> {
    let mut marked = 0;
    loop {
        let mut sql = Sql::new(format!(
            "UPDATE {0} SET is_test_data = {is_test_data} WHERE tenant_id = current_tenant_id() AND id IN (SELECT id FROM {0} \
             WHERE tenant_id = current_tenant_id() AND deleted_at IS NULL AND is_test_data <> {is_test_data} AND ",
            def.table
        ));
        match which {
            Which::Ids(ids) => sql.push("id = ANY(").bind(Bind::Uuids(ids.clone())).push(")"),
            Which::Filter(filter) => sql.append(filter.sql()),
        };
        sql.push(format!(" ORDER BY id LIMIT {BATCH}) RETURNING id"));
        let sql = sql.prepared_once();
        let n = db.write(me, cx, async |tx| tx.rows(sql.clone()).await.map(|rows| rows.len())).await?;
        marked += i64::try_from(n).unwrap_or_default();
        if n < BATCH {
            return Ok(marked);
        }
    }
}

/// Test data of a record type.
#[derive(Debug, Clone, Serialize)]
pub struct TestData {
    /// The record type.
    pub entity: &'static str,
    /// Live records.
    pub live: i64,
    /// Records in the trash.
    pub in_trash: i64,
    /// Records in the archive.
    pub archived: i64,
    /// All live records, for comparison.
    pub total: i64,
}

/// Counts test data, type by type.
///
/// # Errors
/// 503 when the database is away.
pub async fn test_data_counts(db: &Db, me: &Principal) -> Result<Vec<TestData>, Error> {
    let statements = RECORDS
        .iter()
        .map(|d| {
            let mut sql = Sql::new(
                "SELECT count(*) FILTER (WHERE is_test_data AND deleted_at IS NULL), \
                 count(*) FILTER (WHERE is_test_data AND deleted_at IS NOT NULL), count(*) FILTER (WHERE deleted_at IS NULL), \
                 (SELECT count(*) FROM archived_record a WHERE a.tenant_id = ",
            );
            sql.bind(me.tenant().0).push(format!(
                " AND a.entity_type = '{}' AND (a.record ->> 'is_test_data')::boolean) FROM {} WHERE tenant_id = ",
                d.name, d.table
            ));
            sql.bind(me.tenant().0);
            sql
        })
        .collect();
    let results = db.fetch(me, statements).await?;
    let mut out = Vec::new();
    for (def, rows) in RECORDS.iter().zip(&results) {
        let row = rows.first().ok_or_else(Error::not_found)?;
        out.push(TestData {
            entity: def.name,
            live: col(row, 0)?,
            in_trash: col(row, 1)?,
            total: col(row, 2)?,
            archived: col(row, 3)?,
        });
    }
    Ok(out)
}

/// Records of a type that were removed.
#[derive(Debug, Clone, Serialize)]
pub struct Removed {
    /// The record type.
    pub entity: &'static str,
    /// How many, the trash and the archive included.
    pub count: i64,
}

/// What a cleanup did, or would do.
#[derive(Debug, Clone, Serialize)]
pub struct Cleanup {
    /// Whether nothing was removed.
    pub dry_run: bool,
    /// Type by type, in the order of their removal.
    pub removed: Vec<Removed>,
    /// In all.
    pub total: i64,
    /// Real records that referred to test data and no longer do.
    pub unlinked: i64,
    /// Employees marked as test data who have a user account: they stay.
    pub kept_employees: i64,
}

/// What others refer to goes last, so that fewer references have to be cleared.
const LAST: [&str; 6] = ["opportunities", "leads", "bizdev_sources", "contacts", "accounts", "employees"];

fn order() -> Vec<&'static RecordDef> {
    let mut all = RECORDS.to_vec();
    all.sort_by_key(|d| LAST.iter().position(|t| *t == d.table).map_or(0, |i| i + 1));
    all
}

/// Whoever can sign in is no test data.
fn removable(def: &RecordDef) -> &'static str {
    if def.table == "employees" { "is_test_data AND user_id IS NULL" } else { "is_test_data" }
}

/// Real records that refer to test data, one statement per reference.
fn references() -> Vec<Sql> {
    let mut out = Vec::new();
    for def in RECORDS {
        for field in def.fields {
            let target = match field.kind {
                Kind::Reference(table) => of_table(table),
                Kind::Employee => of_table("employees"),
                _ => None,
            };
            let Some(target) = target else { continue };
            out.push(Sql::new(format!(
                "SELECT count(*) FROM {} t JOIN {} s ON s.tenant_id = t.tenant_id AND s.id = t.{} \
                 WHERE t.tenant_id = current_tenant_id() AND NOT t.is_test_data AND s.id IN \
                 (SELECT id FROM {} WHERE tenant_id = current_tenant_id() AND {})",
                def.table,
                target.table,
                field.name,
                target.table,
                removable(target)
            )));
        }
        for target in super::related_types(def) {
            out.push(Sql::new(format!(
                "SELECT count(*) FROM {} t JOIN {} s ON s.tenant_id = t.tenant_id AND s.id = t.related_id \
                 WHERE t.tenant_id = current_tenant_id() AND t.related_type = '{}' AND NOT t.is_test_data AND s.is_test_data",
                def.table, target.table, target.name
            )));
        }
    }
    out
}

/// Removes all test data for good, the trash and the archive included; what referred to it is unlinked. This cannot be
/// undone.
///
/// # Errors
/// 503 when the database is away; what is gone by then stays gone, and the next call goes on.
pub async fn test_data_cleanup(db: &Db, me: &Principal, cx: &RequestContext, dry_run: bool) -> Result<Cleanup, Error> {
    let why = acting(me, cx, "test_data_cleanup");
    let mut before = references();
    let links = before.len();
    before.push(Sql::new(
        "SELECT count(*) FROM employees WHERE tenant_id = current_tenant_id() AND is_test_data AND user_id IS NOT NULL",
    ));
    before.extend(order().into_iter().map(|d| {
        Sql::new(format!(
            "SELECT (SELECT count(*) FROM {} WHERE tenant_id = current_tenant_id() AND {}) + (SELECT count(*) FROM archived_record \
             WHERE tenant_id = current_tenant_id() AND entity_type = '{}' AND (record ->> 'is_test_data')::boolean)",
            d.table,
            removable(d),
            d.name
        ))
    }));
    let counted = db.system(&why, async |tx| tx.flight(before.clone()).await).await?;
    let numbers = counted.iter().map(number).collect::<Result<Vec<i64>, _>>()?;
    let (unlinked, rest) = numbers.split_at(links);
    let (kept, planned) = rest.split_at(1);
    let mut out = Cleanup {
        dry_run,
        removed: Vec::new(),
        total: 0,
        unlinked: unlinked.iter().sum(),
        kept_employees: kept.iter().sum(),
    };
    for (def, planned) in order().into_iter().zip(planned) {
        let gone = if dry_run { *planned } else { remove(db, &why, def).await? };
        out.total += gone;
        out.removed.push(Removed { entity: def.name, count: gone });
    }
    if !dry_run {
        let counts: serde_json::Map<_, _> = out.removed.iter().map(|r| (r.entity.to_owned(), r.count.into())).collect();
        let summary = json!({ "removed": counts, "total": out.total, "unlinked": out.unlinked });
        db.system(&why, async |tx| {
            let mut sql = Sql::new(
                "INSERT INTO audit_log (tenant_id, action, table_name, changed_by, role, request_id, ip, user_agent, impersonator, \
                 reason, new_values) SELECT current_tenant_id(), 'test_data_cleanup', 'tenant', current_user_id(), r ->> 'role', \
                 r ->> 'request_id', r ->> 'ip', r ->> 'user_agent', (r ->> 'impersonator')::uuid, r ->> 'reason', ",
            );
            sql.bind(json(&summary)).push(" FROM (SELECT nullif(current_setting('app.request', true), '')::jsonb AS r) AS request");
            tx.rows(sql).await.map(|_| ())
        })
        .await?;
    }
    Ok(out)
}

async fn remove(db: &Db, why: &aisha_db::SystemReason, def: &'static RecordDef) -> Result<i64, Error> {
    let mut gone = 0;
    for sql in [
        format!(
            "DELETE FROM {0} WHERE tenant_id = current_tenant_id() AND id IN (SELECT id FROM {0} \
             WHERE tenant_id = current_tenant_id() AND {1} ORDER BY id LIMIT {BATCH}) RETURNING id",
            def.table,
            removable(def)
        ),
        format!(
            "DELETE FROM archived_record WHERE tenant_id = current_tenant_id() AND entity_type = '{0}' AND id IN \
             (SELECT id FROM archived_record WHERE tenant_id = current_tenant_id() AND entity_type = '{0}' \
              AND (record ->> 'is_test_data')::boolean ORDER BY id LIMIT {BATCH}) RETURNING id",
            def.name
        ),
    ] {
        loop {
            let rows = db.system(why, async |tx| tx.rows(Sql::new(sql.clone())).await).await?;
            gone += count(&rows);
            if rows.len() < BATCH {
                break;
            }
        }
    }
    Ok(gone)
}
