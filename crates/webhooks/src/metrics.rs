//! How a subscription did in the last 24 hours.

use crate::{col, subscription};
use aisha_auth::Principal;
use aisha_db::{Db, PgRow, Sql};
use aisha_kernel::{Error, clock};
use serde::Serialize;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

/// How far back.
const HOURS: i64 = 24;

/// The last 24 hours.
#[derive(Debug, Clone, Serialize)]
pub struct Metrics {
    /// The beginning.
    #[serde(with = "time::serde::rfc3339")]
    pub from: OffsetDateTime,
    /// Now.
    #[serde(with = "time::serde::rfc3339")]
    pub to: OffsetDateTime,
    /// Deliveries taken on.
    pub deliveries: i64,
    /// Of these, accepted by now.
    pub delivered: i64,
    /// Of these, given up by now.
    pub failed: i64,
    /// Accepted ones among those that have come to one of these two ends, from 0 to 1.
    pub success_rate: Option<f64>,
    /// Requests.
    pub attempts: i64,
    /// Requests by what was answered.
    pub responses: Responses,
    /// From the event to the first request, of the deliveries taken on; without those that somebody asked for later.
    pub latency_ms: Percentiles,
    /// Of one request.
    pub duration_ms: Percentiles,
    /// The same numbers by hour, oldest first, hours without any left out.
    pub by_hour: Vec<Hour>,
}

/// Requests by the first digit of the answer's status.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Responses {
    /// Accepted.
    #[serde(rename = "2xx")]
    pub success: i64,
    /// Redirected, which is not followed.
    #[serde(rename = "3xx")]
    pub redirect: i64,
    /// Refused.
    #[serde(rename = "4xx")]
    pub refused: i64,
    /// Broken.
    #[serde(rename = "5xx")]
    pub broken: i64,
    /// Any other status.
    pub other: i64,
    /// No answer.
    pub none: i64,
}

/// Two percentiles, in milliseconds; none where nothing was measured.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Percentiles {
    /// Half of all are not slower.
    pub p50: Option<i64>,
    /// 95 of 100 are not slower.
    pub p95: Option<i64>,
}

/// One hour.
#[derive(Debug, Clone, Serialize)]
pub struct Hour {
    /// Its beginning.
    #[serde(with = "time::serde::rfc3339")]
    pub hour: OffsetDateTime,
    /// Deliveries taken on.
    pub deliveries: i64,
    /// Of these, accepted by now.
    pub delivered: i64,
    /// Of these, given up by now.
    pub failed: i64,
    /// Requests.
    pub attempts: i64,
    /// Requests that were accepted.
    pub accepted: i64,
}

fn percentiles(row: &PgRow, at: usize) -> Result<Percentiles, Error> {
    Ok(Percentiles { p50: col(row, at)?, p95: col(row, at + 1)? })
}

/// The last 24 hours of a subscription.
///
/// # Errors
/// 404 when there is none.
pub async fn metrics_read(db: &Db, me: &Principal, webhook: Uuid) -> Result<Metrics, Error> {
    let tenant = me.tenant().0;
    let with = |head: &str, tail: &'static str| {
        let mut sql = Sql::new("WITH taken AS (SELECT * FROM webhook_delivery WHERE tenant_id = ");
        sql.bind(tenant).push(" AND webhook_id = ").bind(webhook).push(format!(
            " AND created_at > now() - interval '{HOURS} hours'), sent AS (SELECT a.* FROM webhook_attempt a JOIN webhook_delivery d \
             ON d.tenant_id = a.tenant_id AND d.id = a.delivery_id WHERE d.tenant_id = "
        ));
        sql.bind(tenant).push(" AND d.webhook_id = ").bind(webhook).push(format!(
            " AND d.last_attempt_at > now() - interval '{HOURS} hours' AND a.started_at > now() - interval '{HOURS} hours') {head}"
        ));
        sql.push(tail);
        sql
    };
    let class = |digit: char| format!("count(*) FILTER (WHERE response_status / 100 = {digit})");
    let classes = ['2', '3', '4', '5'].map(class).join(", ");
    let percentile = |p: &str, of: &str| format!("percentile_disc({p}) WITHIN GROUP (ORDER BY {of})::bigint");
    let duration = ["0.5", "0.95"].map(|p| percentile(p, "duration_ms")).join(", ");
    let latency = ["0.5", "0.95"]
        .map(|p| percentile(p, "greatest(0, extract(epoch FROM t.first_attempt_at - m.happened_at) * 1000)"))
        .join(", ");
    let attempts = with(
        &format!("SELECT count(*), {classes}, count(*) FILTER (WHERE response_status IS NULL), {duration} FROM sent"),
        "",
    );
    let latencies = with(
        &format!(
            "SELECT {latency} FROM taken t JOIN webhook_message m ON m.tenant_id = t.tenant_id AND m.event_id = t.event_id"
        ),
        " WHERE t.first_attempt_at IS NOT NULL AND NOT t.by_hand",
    );
    let hours = with(
        "SELECT hour, sum(deliveries)::bigint, sum(delivered)::bigint, sum(failed)::bigint, sum(attempts)::bigint, \
         sum(accepted)::bigint FROM (SELECT date_trunc('hour', created_at, 'UTC') AS hour, 1 AS deliveries, \
         (state = 'delivered')::int AS delivered, (state = 'failed')::int AS failed, 0 AS attempts, 0 AS accepted FROM taken \
         UNION ALL SELECT date_trunc('hour', started_at, 'UTC'), 0, 0, 0, 1, \
         (coalesce(response_status / 100 = 2, false))::int FROM sent) AS both_kinds",
        " GROUP BY hour ORDER BY hour",
    );
    let all = vec![subscription::there(tenant, webhook), attempts, latencies, hours];
    let mut results = db.fetch(me, all).await?.into_iter();
    let mut next = || results.next().unwrap_or_default();
    if next().is_empty() {
        return Err(Error::not_found());
    }
    let (attempts, latencies, hours) = (next(), next(), next());
    let hour = |row: &PgRow| -> Result<Hour, Error> {
        Ok(Hour {
            hour: col(row, 0)?,
            deliveries: col(row, 1)?,
            delivered: col(row, 2)?,
            failed: col(row, 3)?,
            attempts: col(row, 4)?,
            accepted: col(row, 5)?,
        })
    };
    let by_hour = hours.iter().map(hour).collect::<Result<Vec<_>, _>>()?;
    let sum = |of: fn(&Hour) -> i64| by_hour.iter().map(of).sum::<i64>();
    let (deliveries, delivered, failed) = (sum(|h| h.deliveries), sum(|h| h.delivered), sum(|h| h.failed));
    let row = attempts.first().ok_or_else(Error::not_found)?;
    let n = |i: usize| col::<i64>(row, i);
    let mut responses =
        Responses { success: n(1)?, redirect: n(2)?, refused: n(3)?, broken: n(4)?, other: 0, none: n(5)? };
    let named = responses.success + responses.redirect + responses.refused + responses.broken + responses.none;
    responses.other = n(0)? - named;
    let to = clock::now();
    Ok(Metrics {
        from: to - Duration::hours(HOURS),
        to,
        deliveries,
        delivered,
        failed,
        success_rate: rate(delivered, failed),
        attempts: n(0)?,
        responses,
        latency_ms: percentiles(latencies.first().ok_or_else(Error::not_found)?, 0)?,
        duration_ms: percentiles(row, 6)?,
        by_hour,
    })
}

/// Four digits of the share of `delivered`.
fn rate(delivered: i64, failed: i64) -> Option<f64> {
    let all = delivered + failed;
    if all == 0 {
        return None;
    }
    i32::try_from(delivered * 10_000 / all).ok().map(|n| f64::from(n) / 10_000.0)
}

#[cfg(test)]
mod tests {
    use super::rate;

    #[test]
    fn a_rate_is_a_share() {
        assert_eq!(rate(0, 0), None);
        assert_eq!((rate(3, 1), rate(0, 5), rate(2, 1)), (Some(0.75), Some(0.0), Some(0.6666)));
    }
}
