//! The performance log: how long requests took, per service, method and route.
//!
//! Stored are histograms, which add up: a percentile over a window is that of all its requests, right to one percent,
//! and never an average of percentiles.

use crate::sql::{at, col, instant, json};
use aisha_db::{Bind, Db, PgRow, Sql, SystemReason, SystemTx};
use aisha_kernel::Error;
use aisha_telemetry::performance::{Sample, Totals};
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;
use time::OffsetDateTime;

/// What is waiting to be written, added up. Bounded by the number of routes, however long the database is away.
#[derive(Debug)]
pub struct Pending {
    since: OffsetDateTime,
    series: HashMap<(&'static str, String), Sum>,
}

#[derive(Debug, Default)]
struct Sum {
    totals: Totals,
    total_us: u64,
    max_us: u64,
    buckets: BTreeMap<u64, u64>,
}

impl Pending {
    /// Nothing yet.
    #[must_use]
    pub fn new(since: OffsetDateTime) -> Self {
        Self { since, series: HashMap::new() }
    }

    /// Adds what was drained.
    pub fn add(&mut self, samples: Vec<Sample>) {
        for s in samples {
            let sum = self.series.entry((s.method, s.route)).or_default();
            sum.totals.request_count += s.totals.request_count;
            sum.totals.client_error_count += s.totals.client_error_count;
            sum.totals.server_error_count += s.totals.server_error_count;
            sum.total_us += s.total_us;
            sum.max_us = sum.max_us.max(s.max_us);
            for (us, n) in s.buckets {
                *sum.buckets.entry(us).or_default() += n;
            }
        }
    }

    /// Whether there is nothing to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.series.is_empty()
    }

    fn rows(&self, service: &str, until: OffsetDateTime) -> Value {
        let row = |((method, route), sum): (&(&'static str, String), &Sum)| {
            json!({
                "service": service,
                "method": method,
                "route": route.chars().take(300).collect::<String>(),
                "period_start": instant(self.since),
                "period_end": instant(until),
                "request_count": sum.totals.request_count,
                "client_error_count": sum.totals.client_error_count,
                "server_error_count": sum.totals.server_error_count,
                "total_us": sum.total_us,
                "max_us": sum.max_us,
                "bucket_us": sum.buckets.keys().collect::<Vec<_>>(),
                "counts": sum.buckets.values().collect::<Vec<_>>(),
            })
        };
        self.series.iter().map(row).collect()
    }
}

const COLUMNS: &str = "service, method, route, period_start, period_end, request_count, client_error_count, \
    server_error_count, total_us, max_us, bucket_us, counts";

/// Writes what is waiting as one period that ends at `until`.
///
/// # Errors
/// 503 when the database is away; nothing was written then.
pub async fn performance_store(
    tx: &mut SystemTx,
    service: &str,
    pending: &Pending,
    until: OffsetDateTime,
) -> Result<(), Error> {
    let mut sql =
        Sql::new(format!("INSERT INTO performance_logs ({COLUMNS}) SELECT {COLUMNS} FROM jsonb_to_recordset("));
    sql.bind(json(&pending.rows(service, until))).push(
        ") AS r (service text, method text, route text, period_start timestamptz, period_end timestamptz, \
         request_count bigint, client_error_count bigint, server_error_count bigint, total_us bigint, max_us bigint, \
         bucket_us bigint[], counts bigint[])",
    );
    tx.rows(sql).await.map(|_| ())
}

/// Puts the periods of an hour that is over for six hours together into one row per route; says how many rows it took.
/// Several may run at once: each row is taken by one of them.
///
/// # Errors
/// 503 when the database is away.
pub async fn performance_roll_up(tx: &mut SystemTx) -> Result<i64, Error> {
    const ROLL_UP: &str = "WITH oldest AS (
            SELECT date_trunc('hour', min(period_start), 'UTC') AS hour FROM performance_logs
            WHERE period_end - period_start < interval '1 hour'
              AND period_start < date_trunc('hour', now() - interval '6 hours', 'UTC')
        ), taken AS (
            DELETE FROM performance_logs p USING oldest
            WHERE p.period_start >= oldest.hour AND p.period_start < oldest.hour + interval '1 hour'
              AND p.period_end - p.period_start < interval '1 hour' RETURNING p.*
        ), buckets AS (
            SELECT service, method, route, b.us, sum(b.n)::bigint AS n FROM taken, unnest(bucket_us, counts) AS b (us, n)
            GROUP BY service, method, route, b.us
        ), histograms AS (
            SELECT service, method, route, array_agg(us ORDER BY us) AS bucket_us, array_agg(n ORDER BY us) AS counts
            FROM buckets GROUP BY service, method, route
        ), sums AS (
            SELECT service, method, route, sum(request_count)::bigint AS request_count,
                sum(client_error_count)::bigint AS client_error_count,
                sum(server_error_count)::bigint AS server_error_count, sum(total_us)::bigint AS total_us,
                max(max_us) AS max_us
            FROM taken GROUP BY service, method, route
        ), written AS (
            INSERT INTO performance_logs (service, method, route, period_start, period_end, request_count,
                client_error_count, server_error_count, total_us, max_us, bucket_us, counts)
            SELECT service, method, route, hour, hour + interval '1 hour', request_count, client_error_count,
                server_error_count, total_us, max_us, bucket_us, counts
            FROM sums JOIN histograms USING (service, method, route), oldest
        )
        SELECT count(*) FROM taken";
    let rows = tx.rows(Sql::new(ROLL_UP)).await?;
    rows.first().map_or(Ok(0), |row| col(row, 0))
}

/// From which duration on a request counts as slow.
#[derive(Debug, Clone, Copy)]
pub struct SlowLimits {
    /// One that only reads.
    pub read: Duration,
    /// Any other.
    pub write: Duration,
}

/// A percentile or sum to sort by, largest first.
pub const SORTS: [(&str, &str); 7] = [
    ("p95", "p95_us"),
    ("p50", "p50_us"),
    ("p99", "p99_us"),
    ("max", "max_us"),
    ("requests", "request_count"),
    ("errors", "server_error_count"),
    ("slow", "slow_count"),
];

/// What is wanted.
#[derive(Debug, Clone)]
pub struct PerformanceQuery {
    /// Periods that begin from here on.
    pub from: OffsetDateTime,
    /// And before this.
    pub to: OffsetDateTime,
    /// Only this service.
    pub service: Option<String>,
    /// Only this method.
    pub method: Option<String>,
    /// One of [`SORTS`], its SQL.
    pub sort: &'static str,
    /// Routes per page.
    pub limit: i64,
    /// Routes to skip.
    pub offset: i64,
    /// What counts as slow.
    pub slow: SlowLimits,
}

/// How one route did, or all of them together.
#[derive(Debug, Serialize, PartialEq)]
pub struct Performance {
    /// The service; absent in the sum of all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// The method; absent in the sum of all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// The route's pattern; absent in the sum of all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// Requests.
    pub request_count: i64,
    /// Answered with 4xx.
    pub client_error_count: i64,
    /// Answered with 5xx.
    pub server_error_count: i64,
    /// Share of those answered with 5xx.
    pub error_rate: f64,
    /// Mean duration in milliseconds.
    pub mean_ms: f64,
    /// Half of the requests took at most this.
    pub p50_ms: f64,
    /// 95 of 100 took at most this.
    pub p95_ms: f64,
    /// 99 of 100 took at most this.
    pub p99_ms: f64,
    /// The longest.
    pub max_ms: f64,
    /// Requests that were slow.
    pub slow_count: i64,
    /// Whether more than one in twenty is slow.
    pub slow: bool,
}

#[expect(clippy::cast_precision_loss, reason = "microseconds and counts are far below 2^52")]
fn ratio(a: i64, b: i64) -> f64 {
    if b == 0 { 0.0 } else { a as f64 / b as f64 }
}

fn from_row(row: &PgRow) -> Result<Performance, Error> {
    let ms = |i| -> Result<f64, Error> { Ok(ratio(col::<Option<i64>>(row, i)?.unwrap_or_default(), 1_000)) };
    let n = |i| -> Result<i64, Error> { Ok(col::<Option<i64>>(row, i)?.unwrap_or_default()) };
    let (requests, errors, total_us, slow_count) = (n(3)?, n(5)?, n(6)?, n(11)?);
    Ok(Performance {
        service: col(row, 0)?,
        method: col(row, 1)?,
        route: col(row, 2)?,
        request_count: requests,
        client_error_count: n(4)?,
        server_error_count: errors,
        error_rate: (ratio(errors, requests) * 1e6).round() / 1e6,
        mean_ms: ratio(total_us.checked_div(requests).unwrap_or_default(), 1_000),
        max_ms: ms(7)?,
        p50_ms: ms(8)?,
        p95_ms: ms(9)?,
        p99_ms: ms(10)?,
        slow_count,
        slow: slow_count * 20 > requests,
    })
}

/// Sums and percentiles of the window, grouped by `keys` (none: all together).
fn percentiles(query: &PerformanceQuery, keys: &[&str]) -> Sql {
    let group = if keys.is_empty() { "()".to_owned() } else { keys.join(", ") };
    let partition = if keys.is_empty() { String::new() } else { format!("PARTITION BY {group}") };
    let named = |prefix: &str| keys.iter().map(|k| format!("{prefix}{k}, ")).collect::<String>();
    let same: String = keys.iter().map(|k| format!(" AND s.{k} = p.{k}")).collect();
    let mut sql = Sql::new("WITH periods AS (SELECT * FROM performance_logs WHERE period_start >= ");
    sql.bind(at(query.from)).push(" AND period_start < ").bind(at(query.to));
    for (column, value) in [("service", &query.service), ("method", &query.method)] {
        if let Some(value) = value {
            sql.push(format!(" AND {column} = ")).bind(Bind::text(value));
        }
    }
    let us = |d: Duration| Bind::Int(i64::try_from(d.as_micros()).unwrap_or(i64::MAX));
    sql.push(format!(
        "), sums AS (SELECT {}sum(request_count)::bigint AS request_count, \
             sum(client_error_count)::bigint AS client_error_count, sum(server_error_count)::bigint AS server_error_count, \
             sum(total_us)::bigint AS total_us, max(max_us) AS max_us FROM periods GROUP BY {group} \
         ), buckets AS (SELECT {}b.us, sum(b.n) AS n, sum(b.n) FILTER (WHERE b.us > CASE WHEN method IN ('GET', 'HEAD') THEN ",
        named(""),
        named(""),
    ));
    sql.bind(us(query.slow.read)).push(" ELSE ").bind(us(query.slow.write));
    sql.push(format!(
        " END) AS slow FROM periods, unnest(bucket_us, counts) AS b (us, n) GROUP BY {}b.us \
         ), running AS (SELECT {}us, slow, sum(n) OVER ({partition} ORDER BY us) AS up_to, sum(n) OVER ({partition}) AS of \
             FROM buckets \
         ), p AS (SELECT {}min(us) FILTER (WHERE up_to >= of * 0.50) AS p50, min(us) FILTER (WHERE up_to >= of * 0.95) AS p95, \
             min(us) FILTER (WHERE up_to >= of * 0.99) AS p99, sum(slow)::bigint AS slow_count FROM running GROUP BY {group} \
         ), joined AS (SELECT {}s.request_count, s.client_error_count, s.server_error_count, s.total_us, s.max_us, \
             least(p.p50, s.max_us) AS p50_us, least(p.p95, s.max_us) AS p95_us, least(p.p99, s.max_us) AS p99_us, \
             coalesce(p.slow_count, 0) AS slow_count FROM sums s JOIN p ON true{same}) ",
        named(""),
        named(""),
        named(""),
        named("s."),
    ));
    sql
}

const VALUES: &str =
    "request_count, client_error_count, server_error_count, total_us, max_us, p50_us, p95_us, p99_us, slow_count";

/// The routes of a window, with how many there are, and all of them together.
///
/// # Errors
/// 503 when the database is away.
pub async fn performance_list(
    db: &Db,
    why: &SystemReason,
    query: &PerformanceQuery,
) -> Result<(Vec<Performance>, i64, Performance), Error> {
    let mut routes = percentiles(query, &["service", "method", "route"]);
    let sort = query.sort;
    routes.push(format!(
        "SELECT service, method, route, {VALUES} FROM joined \
         ORDER BY {sort} DESC NULLS LAST, request_count DESC, service, route, method LIMIT "
    ));
    routes.bind(Bind::Int(query.limit)).push(" OFFSET ").bind(Bind::Int(query.offset));
    let mut all = percentiles(query, &[]);
    all.push(format!("SELECT NULL::text, NULL::text, NULL::text, {VALUES} FROM joined"));
    let mut count = Sql::new(
        "SELECT count(*) FROM (SELECT DISTINCT service, method, route FROM performance_logs WHERE period_start >= ",
    );
    count.bind(at(query.from)).push(" AND period_start < ").bind(at(query.to));
    for (column, value) in [("service", &query.service), ("method", &query.method)] {
        if let Some(value) = value {
            count.push(format!(" AND {column} = ")).bind(Bind::text(value));
        }
    }
    count.push(") AS routes");
    let mut results =
        db.system(why, async |tx| tx.flight(vec![routes.clone(), all.clone(), count.clone()]).await).await?;
    let total = results.pop().unwrap_or_default().first().map_or(Ok(0), |row| col(row, 0))?;
    let all = results.pop().unwrap_or_default();
    let all = from_row(all.first().ok_or_else(|| Error::internal("a sum without a row"))?)?;
    let routes = results.pop().unwrap_or_default();
    Ok((routes.iter().map(from_row).collect::<Result<_, _>>()?, total, all))
}
