//! The processes of the platform: each reports every few seconds what it uses and what it reaches, so that whichever of
//! them is asked knows of all.

use crate::sql::{at, col, json};
use aisha_db::{Bind, Json, Sql, SystemTx};
use aisha_kernel::Error;
use aisha_telemetry::performance::Totals;
use serde_json::Value;
use time::OffsetDateTime;
use uuid::Uuid;

/// Between two reports of a process.
pub const REPORT_EVERY: std::time::Duration = std::time::Duration::from_secs(10);
/// A process that has not reported for this long is gone, or cannot reach the database.
pub const SILENT_AFTER_SECONDS: i64 = 35;

/// What a process says of itself.
#[derive(Debug, Clone)]
pub struct Report {
    /// Made anew at each start.
    pub id: Uuid,
    /// The service.
    pub service: &'static str,
    /// Its version.
    pub version: &'static str,
    /// When it started.
    pub started_at: OffsetDateTime,
    /// CPU time used, in milliseconds.
    pub cpu_ms: i64,
    /// The part of it since the report before.
    pub recent_cpu_ms: i64,
    /// How long ago that was.
    pub recent_ms: i64,
    /// Memory in use.
    pub resident_bytes: i64,
    /// Open file descriptors.
    pub open_fds: i64,
    /// Requests served.
    pub totals: Totals,
    /// Log records that were not stored.
    pub log_records_dropped: u64,
    /// What it depends on by name: `ok`, or what is wrong.
    pub checks: Value,
}

fn count(n: u64) -> Bind {
    Bind::Int(i64::try_from(n).unwrap_or(i64::MAX))
}

/// Writes a report over the one before.
///
/// # Errors
/// 503 when the database is away.
pub async fn instance_report(tx: &mut SystemTx, report: &Report) -> Result<(), Error> {
    let mut sql = Sql::new(
        "INSERT INTO service_instances (id, service, version, started_at, cpu_ms, recent_cpu_ms, recent_ms, resident_bytes, \
         open_fds, request_count, client_error_count, server_error_count, log_records_dropped, checks) VALUES (",
    );
    sql.bind(report.id).push(", ").bind(Bind::text(report.service)).push(", ").bind(Bind::text(report.version));
    sql.push(", ").bind(at(report.started_at));
    for n in [report.cpu_ms, report.recent_cpu_ms, report.recent_ms, report.resident_bytes, report.open_fds] {
        sql.push(", ").bind(Bind::Int(n));
    }
    let totals = report.totals;
    for n in [totals.request_count, totals.client_error_count, totals.server_error_count, report.log_records_dropped] {
        sql.push(", ").bind(count(n));
    }
    sql.push(", ").bind(json(&report.checks)).push(
        ") ON CONFLICT (id) DO UPDATE SET seen_at = now(), cpu_ms = EXCLUDED.cpu_ms, recent_cpu_ms = EXCLUDED.recent_cpu_ms, \
         recent_ms = EXCLUDED.recent_ms, resident_bytes = EXCLUDED.resident_bytes, open_fds = EXCLUDED.open_fds, \
         request_count = EXCLUDED.request_count, client_error_count = EXCLUDED.client_error_count, \
         server_error_count = EXCLUDED.server_error_count, log_records_dropped = EXCLUDED.log_records_dropped, \
         checks = EXCLUDED.checks",
    );
    tx.rows(sql).await.map(|_| ())
}

/// A process that ends says so by taking its row away.
///
/// # Errors
/// 503 when the database is away.
pub async fn instance_leave(tx: &mut SystemTx, id: Uuid) -> Result<(), Error> {
    let mut sql = Sql::new("DELETE FROM service_instances WHERE id = ");
    sql.bind(id);
    tx.rows(sql).await.map(|_| ())
}

/// The processes that have reported lately, as JSON objects: those that are there, and those that fell silent within the
/// last hour (`silent`).
///
/// # Errors
/// 503 when the database is away.
pub async fn instance_list(tx: &mut SystemTx) -> Result<Json, Error> {
    let mut sql = Sql::new(
        "SELECT coalesce(jsonb_agg(to_jsonb(i) - '{recent_cpu_ms,recent_ms}'::text[] || jsonb_build_object(
             'started_at', to_char(started_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"'),
             'seen_at', to_char(seen_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"'),
             'seen_seconds_ago', extract(epoch FROM now() - seen_at)::bigint,
             'uptime_seconds', extract(epoch FROM seen_at - started_at)::bigint,
             'cpu_percent', round(100.0 * recent_cpu_ms / nullif(recent_ms, 0), 1),
             'silent', seen_at < now() - make_interval(secs => CAST(",
    );
    sql.bind(Bind::Int(SILENT_AFTER_SECONDS)).push(
        " AS integer))) ORDER BY service, started_at), '[]') FROM service_instances i WHERE seen_at > now() - interval '1 hour'",
    );
    let rows = tx.rows(sql).await?;
    col(rows.first().ok_or_else(|| Error::internal("an aggregate without a row"))?, 0)
}
