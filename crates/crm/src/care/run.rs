//! Runs: each check, repair and synchronisation leaves a row in `sync_health`, and shows its progress there.

use super::{acting, col, json};
use aisha_auth::Principal;
use aisha_db::{Bind, Db, Json, PgRow, RequestContext, Sql, SystemReason, SystemTx};
use aisha_kernel::{Error, TenantId, new_id};
use serde::Serialize;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use uuid::Uuid;

/// Errors that a run keeps.
const KEPT_ERRORS: usize = 100;

/// A run as the API shows it.
#[derive(Debug, Clone, Serialize)]
pub struct Run {
    /// Id.
    pub id: Uuid,
    /// The tenant.
    pub tenant_id: Uuid,
    /// `denormalization`, `orphan_cleanup` or `data_integrity`.
    pub sync_type: String,
    /// `check`, `fix` or `sync`.
    pub action: String,
    /// `incremental` or `full`.
    pub mode: String,
    /// `running`, `completed`, `failed` or `partial`.
    pub status: String,
    /// When it began.
    #[serde(with = "time::serde::rfc3339")]
    pub start_time: OffsetDateTime,
    /// When it ended.
    #[serde(with = "time::serde::rfc3339::option")]
    pub end_time: Option<OffsetDateTime>,
    /// How long it took.
    pub duration_ms: Option<i64>,
    /// Rows found wrong.
    pub records_processed: i64,
    /// Rows put right.
    pub records_updated: i64,
    /// Checks that failed.
    pub error_count: i32,
    /// What failed, and why.
    pub errors: Json,
    /// Per record type, how many rows were found wrong and how many put right.
    pub entity_stats: Json,
    /// `cron`, `manual` or `api`.
    pub triggered_by: String,
    /// The user who asked for it.
    pub created_by: Option<Uuid>,
}

const COLUMNS: &str = "id, tenant_id, sync_type, action, mode, status, start_time, end_time, duration_ms, \
    records_processed, records_updated, error_count, errors, entity_stats, triggered_by, created_by";

fn from_row(row: &PgRow) -> Result<Run, Error> {
    Ok(Run {
        id: col(row, 0)?,
        tenant_id: col(row, 1)?,
        sync_type: col(row, 2)?,
        action: col(row, 3)?,
        mode: col(row, 4)?,
        status: col(row, 5)?,
        start_time: col(row, 6)?,
        end_time: col(row, 7)?,
        duration_ms: col(row, 8)?,
        records_processed: col(row, 9)?,
        records_updated: col(row, 10)?,
        error_count: col(row, 11)?,
        errors: col(row, 12)?,
        entity_stats: col(row, 13)?,
        triggered_by: col(row, 14)?,
        created_by: col(row, 15)?,
    })
}

/// What a run is to be.
#[derive(Debug, Clone, Copy)]
pub struct Kind {
    /// `denormalization`, `orphan_cleanup` or `data_integrity`.
    pub sync_type: &'static str,
    /// `check`, `fix` or `sync`.
    pub action: &'static str,
    /// Only what changed in the last seven days.
    pub incremental: bool,
}

/// On whose behalf work on a tenant is done.
#[derive(Debug, Clone)]
pub struct Acting {
    /// What its transactions run as.
    pub why: SystemReason,
    /// `cron`, `manual` or `api`.
    pub triggered_by: &'static str,
}

impl Acting {
    /// For somebody who asked.
    #[must_use]
    pub fn person(me: &Principal, cx: &RequestContext) -> Self {
        let triggered_by = if me.identity().grants.is_some() { "api" } else { "manual" };
        Self { why: acting(me, cx, "data_care"), triggered_by }
    }

    /// For the clock.
    #[must_use]
    pub fn cron(tenant: TenantId) -> Self {
        Self {
            why: SystemReason { reason: "housekeeping", tenant: Some(tenant), ..SystemReason::default() },
            triggered_by: "cron",
        }
    }
}

/// A run in progress.
#[derive(Debug)]
pub struct Progress {
    /// Its id.
    pub id: Uuid,
    processed: i64,
    updated: i64,
    errors: Vec<Value>,
    error_count: i64,
    checks: i64,
    stats: Map<String, Value>,
}

/// Begins a run. With `unless_within`, only if none of the same kind was begun by the clock in that time (SQL interval):
/// of several replicas one does the work.
///
/// # Errors
/// 503 when the database is away.
pub async fn begin(
    db: &Db,
    acting: &Acting,
    kind: Kind,
    unless_within: Option<&'static str>,
) -> Result<Option<Progress>, Error> {
    let id = new_id();
    let mode = if kind.incremental { "incremental" } else { "full" };
    let begun = db
        .system(&acting.why, async |tx| {
            let mut flight = Vec::new();
            let mut sql = Sql::new(
                "INSERT INTO sync_health (tenant_id, id, sync_type, action, mode, triggered_by, created_by) \
                 SELECT current_tenant_id(), ",
            );
            sql.bind(id);
            for text in [kind.sync_type, kind.action, mode, acting.triggered_by] {
                sql.push(", ").bind(Bind::text(text));
            }
            sql.push(", current_user_id()");
            if let Some(time) = unless_within {
                flight.push(Sql::new("SELECT pg_advisory_xact_lock(7303, hashtext(current_tenant_id()::text))"));
                sql.push(
                    " WHERE NOT EXISTS (SELECT FROM sync_health WHERE tenant_id = current_tenant_id() AND sync_type = ",
                );
                sql.bind(Bind::text(kind.sync_type))
                    .push(format!(" AND triggered_by = 'cron' AND start_time > now() - interval '{time}')"));
            }
            sql.push(" RETURNING id");
            flight.push(sql);
            Ok(!tx.flight(flight).await?.pop().unwrap_or_default().is_empty())
        })
        .await?;
    Ok(begun.then(|| Progress {
        id,
        processed: 0,
        updated: 0,
        errors: Vec::new(),
        error_count: 0,
        checks: 0,
        stats: Map::new(),
    }))
}

impl Progress {
    /// Counts rows of a record type.
    pub fn count(&mut self, entity: &str, found: i64, fixed: i64) {
        self.processed += found;
        self.updated += fixed;
        let entry = self.stats.entry(entity.to_owned()).or_insert_with(|| json!({ "found": 0, "fixed": 0 }));
        for (key, n) in [("found", found), ("fixed", fixed)] {
            if let Some(value) = entry.get_mut(key) {
                *value = Value::from(value.as_i64().unwrap_or(0) + n);
            }
        }
    }

    /// Notes a check that went through.
    pub fn checked(&mut self) {
        self.checks += 1;
    }

    /// Notes a check that failed.
    pub fn failed(&mut self, entity: &str, check: &str, e: &Error) {
        self.error_count += 1;
        if self.errors.len() < KEPT_ERRORS {
            self.errors.push(json!({ "entity": entity, "check": check, "error": e.message }));
        }
    }

    /// The statement that shows how far the run is.
    pub(crate) fn save(&self) -> Sql {
        let mut sql = Sql::new("UPDATE sync_health SET updated_at = clock_timestamp(), records_processed = ");
        sql.bind(Bind::Int(self.processed)).push(", records_updated = ").bind(Bind::Int(self.updated));
        sql.push(", error_count = ").bind(Bind::Text(Some(self.error_count.to_string()), "integer"));
        sql.push(", errors = ").bind(json(&Value::from(self.errors.clone())));
        sql.push(", entity_stats = ").bind(json(&Value::from(self.stats.clone())));
        sql
    }

    /// Ends the run: completed without an error, failed without anything done, partial in between.
    ///
    /// # Errors
    /// 503 when the database is away.
    pub async fn end(self, db: &Db, acting: &Acting) -> Result<Uuid, Error> {
        let status = match (self.error_count, self.checks) {
            (0, _) => "completed",
            (_, 0) => "failed",
            _ => "partial",
        };
        db.system(&acting.why, async |tx| {
            let mut sql = self.save();
            sql.push(", status = ").bind(Bind::text(status)).push(
                ", end_time = clock_timestamp(), \
                 duration_ms = (extract(epoch FROM clock_timestamp() - start_time) * 1000)::bigint \
                 WHERE tenant_id = current_tenant_id() AND id = ",
            );
            sql.bind(self.id);
            tx.rows(sql).await.map(|_| ())
        })
        .await?;
        Ok(self.id)
    }
}

/// Which runs are wanted.
#[derive(Debug, Clone, Default)]
pub struct RunFilter {
    /// Of this kind.
    pub sync_type: Option<String>,
    /// With this status.
    pub status: Option<String>,
    /// Only checks and repairs, not synchronisations.
    pub consistency: bool,
}

/// A page of runs, newest first, and how many there are.
///
/// # Errors
/// 503 when the database is away.
pub async fn run_list(
    db: &Db,
    me: &Principal,
    filter: &RunFilter,
    limit: i64,
    offset: i64,
) -> Result<(Vec<Run>, i64), Error> {
    let mut wanted = Sql::new(" FROM sync_health WHERE tenant_id = ");
    wanted.bind(me.tenant().0);
    if filter.consistency {
        wanted.push(" AND action IN ('check', 'fix')");
    }
    for (column, value) in [("sync_type", &filter.sync_type), ("status", &filter.status)] {
        if let Some(value) = value {
            wanted.push(format!(" AND {column} = ")).bind(Bind::text(value));
        }
    }
    let mut page = Sql::new(format!("SELECT {COLUMNS}"));
    page.append(wanted.clone()).push(" ORDER BY start_time DESC, id DESC LIMIT ").bind(Bind::Int(limit));
    page.push(" OFFSET ").bind(Bind::Int(offset));
    let mut total = Sql::new("SELECT count(*)");
    total.append(wanted);
    let mut results = db.fetch(me, vec![page, total]).await?;
    let total = super::number(&results.pop().unwrap_or_default())?;
    let rows = results.pop().unwrap_or_default();
    Ok((rows.iter().map(from_row).collect::<Result<_, _>>()?, total))
}

/// One run.
///
/// # Errors
/// 404 when there is none.
pub async fn run_read(db: &Db, me: &Principal, id: Uuid) -> Result<Run, Error> {
    let mut sql = Sql::new(format!("SELECT {COLUMNS} FROM sync_health WHERE tenant_id = "));
    sql.bind(me.tenant().0).push(" AND id = ").bind(id);
    let rows = db.fetch(me, vec![sql]).await?.pop().unwrap_or_default();
    from_row(rows.first().ok_or_else(Error::not_found)?)
}

/// One value that a run changed.
#[derive(Debug, Clone, Serialize)]
pub struct DataFix {
    /// The check.
    pub check: String,
    /// The record type.
    pub entity: String,
    /// The record.
    pub record_id: Uuid,
    /// The column.
    pub column: String,
    /// What it held, as text.
    pub old_value: Option<String>,
    /// What it holds since, as text.
    pub new_value: Option<String>,
    /// When.
    #[serde(with = "time::serde::rfc3339")]
    pub fixed_at: OffsetDateTime,
}

/// A page of what a run changed, in order, and how much there is.
///
/// # Errors
/// 503 when the database is away.
pub async fn fix_list(
    db: &Db,
    me: &Principal,
    run: Uuid,
    limit: i64,
    offset: i64,
) -> Result<(Vec<DataFix>, i64), Error> {
    let mut wanted = Sql::new(" FROM data_fix WHERE tenant_id = ");
    wanted.bind(me.tenant().0).push(" AND run_id = ").bind(run);
    let mut page = Sql::new("SELECT check_name, entity, record_id, column_name, old_value, new_value, fixed_at");
    page.append(wanted.clone()).push(" ORDER BY id LIMIT ").bind(Bind::Int(limit));
    page.push(" OFFSET ").bind(Bind::Int(offset));
    let mut total = Sql::new("SELECT count(*)");
    total.append(wanted);
    let mut results = db.fetch(me, vec![page, total]).await?;
    let total = super::number(&results.pop().unwrap_or_default())?;
    let fixes = results.pop().unwrap_or_default();
    let fixes = fixes.iter().map(|row| {
        Ok(DataFix {
            check: col(row, 0)?,
            entity: col(row, 1)?,
            record_id: col(row, 2)?,
            column: col(row, 3)?,
            old_value: col(row, 4)?,
            new_value: col(row, 5)?,
            fixed_at: col(row, 6)?,
        })
    });
    Ok((fixes.collect::<Result<_, Error>>()?, total))
}

/// Ends runs whose process died, in the tenant that the transaction names.
///
/// # Errors
/// 503 when the database is away.
pub async fn end_abandoned(tx: &mut SystemTx) -> Result<(), Error> {
    let sql = Sql::new(
        "UPDATE sync_health SET status = CASE records_updated WHEN 0 THEN 'failed' ELSE 'partial' END, \
         end_time = clock_timestamp(), error_count = error_count + 1, \
         errors = errors || '[{\"error\": \"The service stopped during this run. Run it again.\"}]' \
         WHERE tenant_id = current_tenant_id() AND status = 'running' AND updated_at < now() - interval '15 minutes'",
    );
    tx.rows(sql).await.map(|_| ())
}
