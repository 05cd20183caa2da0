//! Putting right what the checks find, in batches that each commit with their part of the log, and the runs around it.
//!
//! The platform's own role does the work: copies are quiet columns, so setting them right leaves neither audit row nor
//! event; a cleared reference or a new assignee is a change like any other and leaves both.

use super::{
    BATCH, col,
    consistency::{Check, Fix, Report, check_all, checks},
    count,
    run::{Acting, Kind, Progress, begin},
};
use aisha_db::{Bind, Db, Sql};
use aisha_kernel::Error;
use uuid::Uuid;

/// How far back an incremental synchronisation looks.
const RECENT_DAYS: i32 = 7;

/// What is to be put right.
#[derive(Debug, Clone, Default)]
pub struct Repair {
    /// Names of checks; all when empty.
    pub checks: Vec<String>,
    /// The employee who gets what nobody looks after.
    pub assign_to: Option<Uuid>,
}

/// One batch of one check: rows with an id above `after`, in order. Answers with the ids.
fn batch(check: &Check, run: Uuid, after: Uuid, since: Option<i32>, assign_to: Option<Uuid>) -> Option<Sql> {
    let set: Vec<(&str, String)> = match (&check.fix, assign_to) {
        (Fix::Set(columns), _) => columns.clone(),
        (Fix::Assign, Some(employee)) => vec![("assigned_to", format!("'{employee}'::uuid"))],
        (Fix::Assign, None) | (Fix::Advice(_), _) => return None,
    };
    let picked: Vec<String> =
        set.iter().enumerate().map(|(i, (c, v))| format!("t.{c} AS old_{i}, {v} AS new_{i}")).collect();
    let assigned: Vec<String> = set.iter().enumerate().map(|(i, (c, _))| format!("{c} = w.new_{i}")).collect();
    let logged: Vec<String> =
        set.iter().enumerate().map(|(i, (c, _))| format!("('{c}', w.old_{i}::text, w.new_{i}::text)")).collect();
    let table = check.def.table;
    let mut sql = Sql::new(format!(
        "WITH wrong AS MATERIALIZED (SELECT t.id, {}{} AND t.id > ",
        picked.join(", "),
        check.rows(since)
    ));
    sql.bind(after).push(format!(
        " ORDER BY t.id LIMIT {BATCH} FOR NO KEY UPDATE OF t), fixed AS (UPDATE {table} u SET {} FROM wrong w \
         WHERE u.tenant_id = current_tenant_id() AND u.id = w.id), \
         logged AS (INSERT INTO data_fix (tenant_id, run_id, check_name, entity, record_id, column_name, old_value, new_value) \
         SELECT current_tenant_id(), ",
        assigned.join(", ")
    ));
    sql.bind(run).push(format!(
        ", '{}', '{}', w.id, c.column_name, c.old_value, c.new_value \
         FROM wrong w CROSS JOIN LATERAL (VALUES {}) AS c (column_name, old_value, new_value) \
         WHERE c.old_value IS DISTINCT FROM c.new_value ORDER BY w.id) SELECT id FROM wrong ORDER BY id",
        check.name,
        check.def.name,
        logged.join(", ")
    ));
    Some(sql.prepared_once())
}

async fn put_right(
    db: &Db,
    acting: &Acting,
    progress: &mut Progress,
    check: &Check,
    since: Option<i32>,
    assign_to: Option<Uuid>,
) -> Result<(), Error> {
    let mut after = Uuid::nil();
    while let Some(sql) = batch(check, progress.id, after, since, assign_to) {
        let rows = db.system(&acting.why, async |tx| tx.rows(sql.clone()).await).await?;
        let n = count(&rows);
        progress.count(check.def.name, n, n);
        let id = progress.id;
        let mut saved = progress.save();
        saved.push(" WHERE tenant_id = current_tenant_id() AND id = ").bind(id);
        if n > 0 {
            db.system(&acting.why, async |tx| tx.rows(saved.clone()).await.map(|_| ())).await?;
        }
        match rows.last() {
            Some(row) if rows.len() == BATCH => after = col(row, 0)?,
            _ => break,
        }
    }
    Ok(())
}

async fn run_checks(
    db: &Db,
    acting: &Acting,
    mut progress: Progress,
    names: &[&str],
    since: Option<i32>,
    assign_to: Option<Uuid>,
) -> Result<Uuid, Error> {
    for check in checks(names).iter().filter(|c| c.fixable()) {
        match put_right(db, acting, &mut progress, check, since, assign_to).await {
            Ok(()) => progress.checked(),
            Err(e) => {
                tracing::warn!(check = check.name, entity = check.def.name, error = %e, cause = ?e.cause, "a repair failed");
                progress.failed(check.def.name, check.name, &e);
            }
        }
    }
    progress.end(db, acting).await
}

/// Begins a repair; [`repair_run`] does it.
///
/// # Errors
/// 503 when the database is away.
pub async fn repair_begin(db: &Db, acting: &Acting) -> Result<Progress, Error> {
    let kind = Kind { sync_type: "data_integrity", action: "fix", incremental: false };
    begin(db, acting, kind, None).await?.ok_or_else(Error::not_found)
}

/// Puts right what can be. A second run finds nothing.
///
/// # Errors
/// 503 when the database is away.
pub async fn repair_run(db: &Db, acting: &Acting, progress: Progress, repair: &Repair) -> Result<Uuid, Error> {
    let names: Vec<&str> = repair.checks.iter().map(String::as_str).collect();
    run_checks(db, acting, progress, &names, None, repair.assign_to).await
}

/// Begins a synchronisation of the copies.
///
/// # Errors
/// 503 when the database is away.
pub async fn sync_begin(db: &Db, acting: &Acting, incremental: bool) -> Result<Progress, Error> {
    let kind = Kind { sync_type: "denormalization", action: "sync", incremental };
    begin(db, acting, kind, None).await?.ok_or_else(Error::not_found)
}

/// Copies again what differs from its source; incrementally, where row or source changed in the last seven days.
///
/// # Errors
/// 503 when the database is away.
pub async fn sync_run(db: &Db, acting: &Acting, progress: Progress, incremental: bool) -> Result<Uuid, Error> {
    run_checks(db, acting, progress, &["denormalization_drift"], incremental.then_some(RECENT_DAYS), None).await
}

/// Checks, and leaves a run that says what was found.
///
/// # Errors
/// 503 when the database is away.
pub async fn check_run(db: &Db, acting: &Acting, names: &[&str]) -> Result<(Uuid, Report), Error> {
    let kind = Kind { sync_type: "data_integrity", action: "check", incremental: false };
    let mut progress = begin(db, acting, kind, None).await?.ok_or_else(Error::not_found)?;
    let report = match db.system(&acting.why, async |tx| check_all(tx, names).await).await {
        Ok(report) => report,
        Err(e) => {
            progress.failed("", "", &e);
            progress.end(db, acting).await?;
            return Err(e);
        }
    };
    note(&mut progress, &report);
    Ok((progress.end(db, acting).await?, report))
}

fn note(progress: &mut Progress, report: &Report) {
    for finding in &report.checks {
        progress.checked();
        if finding.count > 0 {
            progress.count(finding.entity, finding.count, 0);
        }
    }
}

/// What the clock does for a tenant: an incremental synchronisation every six hours, and a daily report of orphans, which
/// deletes nothing.
///
/// # Errors
/// 503 when the database is away.
pub async fn care_round(db: &Db, acting: &Acting) -> Result<(), Error> {
    db.system(&acting.why, async |tx| super::run::end_abandoned(tx).await).await?;
    let kind = Kind { sync_type: "denormalization", action: "sync", incremental: true };
    // A little less than the time between two rounds, so that it does not slip by one each time.
    if let Some(progress) = begin(db, acting, kind, Some("5 hours 55 minutes")).await? {
        sync_run(db, acting, progress, true).await?;
    }
    let kind = Kind { sync_type: "orphan_cleanup", action: "check", incremental: false };
    if let Some(mut progress) = begin(db, acting, kind, Some("23 hours 55 minutes")).await? {
        match db.system(&acting.why, async |tx| check_all(tx, &["orphaned_references"]).await).await {
            Ok(report) => note(&mut progress, &report),
            Err(e) => progress.failed("", "orphaned_references", &e),
        }
        progress.end(db, acting).await?;
    }
    Ok(())
}

/// The employee that `assign_to` names, who must work here.
///
/// # Errors
/// 422 naming `assign_to`.
pub async fn assignee(db: &Db, acting: &Acting, text: &str) -> Result<Uuid, Error> {
    let mut sql = Sql::new(
        "SELECT id FROM employees WHERE tenant_id = current_tenant_id() AND deleted_at IS NULL \
         AND status IN ('active', 'on_leave') AND ",
    );
    match Uuid::parse_str(text) {
        Ok(id) => sql.push("id = ").bind(id),
        Err(_) if text.contains('\0') => return Err(nobody()),
        Err(_) => sql.push("email = ").bind(Bind::text(text.to_lowercase())),
    };
    let rows = db.system(&acting.why, async |tx| tx.rows(sql.clone()).await).await?;
    rows.first().map_or_else(|| Err(nobody()), |row| col(row, 0))
}

fn nobody() -> Error {
    Error::invalid("assign_to", "must be the id or the e-mail address of an employee who works here")
}
