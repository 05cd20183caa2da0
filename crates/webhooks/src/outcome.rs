//! What becomes of a delivery after an attempt, and of a subscription whose receiver does not take anything.

use crate::{col, intake::Key, schedule, sql};
use aisha_db::{Bind, Db, Sql, SystemTx};
use aisha_kernel::Error;
use std::time::Duration;
use uuid::Uuid;

/// What becomes of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The receiver has it.
    Delivered,
    /// It is tried again after this long.
    Again(Duration),
    /// It is given up.
    Failed,
    /// The receiver does not want anything any more (410): it is given up, and the subscription switched off.
    Gone,
}

impl Verdict {
    /// After an answer with `status`, or none. `attempts` counts this one, `age` is the time since the schedule began.
    #[must_use]
    pub fn of(status: Option<u16>, attempts: u32, age: Duration, retry_after: Option<Duration>, retries: bool) -> Self {
        match status {
            Some(200..=299) => Self::Delivered,
            Some(410) => Self::Gone,
            _ if !retries => Self::Failed,
            _ => schedule::pause(attempts, age, retry_after).map_or(Self::Failed, Self::Again),
        }
    }

    /// A word for metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Again(_) => "retry",
            Self::Failed => "failed",
            Self::Gone => "gone",
        }
    }

    const fn state(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Again(_) => "pending",
            Self::Failed | Self::Gone => "failed",
        }
    }
}

/// An attempt that has ended.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// The subscription.
    pub key: Key,
    /// The delivery.
    pub delivery_id: Uuid,
    /// Names the lease that it was made under.
    pub lease: String,
    /// What becomes of the delivery.
    pub verdict: Verdict,
    /// The receiver's status.
    pub status: Option<u16>,
    /// The beginning of its answer.
    pub excerpt: Option<String>,
    /// Why there was no answer, or why it does not count.
    pub error: Option<String>,
    /// How long ago it began.
    pub started: Duration,
    /// How long it took.
    pub duration: Duration,
    /// The time to the next request that the subscription's pace asks for.
    pub interval: Option<Duration>,
    /// For how long the receiver wants nothing at all, from now on.
    pub hold: Option<Duration>,
    /// Whether the subscription is to be told. Not every success: that would write its row at every delivery.
    pub tell: bool,
}

/// A subscription that was switched off because of its receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SwitchedOff {
    /// Which.
    pub key: Key,
    /// `gone` or `failing`.
    pub reason: String,
}

impl Attempt {
    /// From now on, the microseconds to the next request to the subscription, where this one has a say in it.
    fn next_slot(&self) -> Option<i64> {
        let paced = self.interval.map(|interval| micros(interval) - micros(self.started));
        paced.max(self.hold.map(micros))
    }
}

/// Writes down what became of attempts, all or none, and returns the subscriptions that were switched off by it. What was
/// attempted under a lease that has run out meanwhile changes nothing: another sender has the delivery, or had it.
///
/// # Errors
/// 503 when the database is away: say it again.
pub async fn record(db: &Db, sender: Uuid, attempts: &[Attempt]) -> Result<Vec<SwitchedOff>, Error> {
    let mut statements = vec![sql::by_index(), deliveries(sender, attempts)];
    let told: Vec<&Attempt> = attempts.iter().filter(|a| a.tell).collect();
    let tells = !told.is_empty();
    if tells {
        statements.push(health(&told));
    }
    // Subscriptions before their ledgers, as those who change a subscription lock them.
    let slots: Vec<(Key, i64)> = attempts.iter().filter_map(|a| Some((a.key, a.next_slot()?))).collect();
    if !slots.is_empty() {
        statements.push(not_before(&slots));
    }
    let rows = db
        .system(&sql::why("webhook delivery"), async |tx: &mut SystemTx| {
            Ok(tx.flight(statements.clone()).await?.into_iter().nth(2).filter(|_| tells).unwrap_or_default())
        })
        .await?;
    let mut off = Vec::new();
    for row in &rows {
        if let Some(reason) = col::<Option<String>>(row, 2)? {
            off.push(SwitchedOff { key: (col(row, 0)?, col(row, 1)?), reason });
        }
    }
    Ok(off)
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

fn ints<'a>(attempts: impl IntoIterator<Item = &'a Attempt>, f: impl Fn(&Attempt) -> i64) -> Bind {
    Bind::Ints(attempts.into_iter().map(f).collect())
}

/// PostgreSQL's text has no NUL.
fn text(value: Option<&String>) -> String {
    value.map(|v| v.replace('\0', "\u{fffd}")).unwrap_or_default()
}

fn deliveries(sender: Uuid, attempts: &[Attempt]) -> Sql {
    let texts = |f: &dyn Fn(&Attempt) -> String| Bind::Texts(Some(attempts.iter().map(f).collect()));
    let mut sql = Sql::new(
        "WITH r AS (SELECT tenant_id, id, CAST(lease AS timestamptz) AS lease, state, \
             pause * interval '1 microsecond' AS pause, CAST(nullif(status, 0) AS integer) AS status, nullif(error, '') AS error, \
             CASE WHEN status > 0 THEN excerpt END AS excerpt, \
             clock_timestamp() - started * interval '1 microsecond' AS started_at, CAST(duration AS integer) AS duration_ms \
         FROM unnest(",
    );
    sql.bind(Bind::Uuids(attempts.iter().map(|a| a.key.0).collect())).push(", ");
    sql.bind(Bind::Uuids(attempts.iter().map(|a| a.delivery_id).collect())).push(", ");
    sql.bind(texts(&|a| a.lease.clone())).push(", ").bind(texts(&|a| a.verdict.state().to_owned())).push(", ");
    sql.bind(ints(attempts, |a| if let Verdict::Again(pause) = a.verdict { micros(pause) } else { 0 })).push(", ");
    sql.bind(ints(attempts, |a| a.status.map_or(0, i64::from))).push(", ");
    sql.bind(texts(&|a| text(a.error.as_ref()))).push(", ").bind(texts(&|a| text(a.excerpt.as_ref()))).push(", ");
    sql.bind(ints(attempts, |a| micros(a.started))).push(", ");
    sql.bind(ints(attempts, |a| i64::try_from(a.duration.as_millis()).unwrap_or(0))).push(
        ") AS t (tenant_id, id, lease, state, pause, status, error, excerpt, started, duration) OFFSET 0), \
         done AS (UPDATE webhook_delivery d SET state = r.state, attempts = d.attempts + 1, lease_owner = NULL, \
             lease_until = NULL, \
             next_attempt_at = CASE WHEN r.state = 'pending' \
                 THEN clock_timestamp() + r.pause * (1 + 0.1 * random()) ELSE d.next_attempt_at END, \
             first_attempt_at = coalesce(d.first_attempt_at, r.started_at), last_attempt_at = r.started_at, \
             finished_at = CASE WHEN r.state <> 'pending' THEN clock_timestamp() END, \
             response_status = r.status, error = r.error \
             FROM r WHERE (d.tenant_id, d.id) = (r.tenant_id, r.id) AND d.state = 'sending' AND d.lease_until = r.lease \
                 AND d.lease_owner = ",
    );
    sql.bind(sender).push(
        " RETURNING d.tenant_id, d.id, r.started_at, r.duration_ms, r.status, r.excerpt, r.error) \
         INSERT INTO webhook_attempt (tenant_id, delivery_id, number, started_at, duration_ms, response_status, \
             response_excerpt, error) \
         SELECT tenant_id, id, 1 + coalesce((SELECT max(a.number) FROM webhook_attempt a \
             WHERE a.tenant_id = done.tenant_id AND a.delivery_id = done.id), 0), \
             started_at, duration_ms, status, excerpt, error FROM done RETURNING 1",
    );
    sql
}

/// A request that started later than its place in the pace moves what comes after it; so does a receiver that asks for it.
fn not_before(slots: &[(Key, i64)]) -> Sql {
    let mut sql = Sql::new(
        "WITH r AS (SELECT tenant_id, webhook_id, max(clock_timestamp() + micros * interval '1 microsecond') AS slot FROM unnest(",
    );
    sql.bind(Bind::Uuids(slots.iter().map(|(key, _)| key.0).collect())).push(", ");
    sql.bind(Bind::Uuids(slots.iter().map(|(key, _)| key.1).collect())).push(", ");
    sql.bind(Bind::Ints(slots.iter().map(|(_, micros)| *micros).collect())).push(
        ") AS t (tenant_id, webhook_id, micros) GROUP BY 1, 2), \
         late AS (SELECT l.tenant_id, l.webhook_id, r.slot FROM r JOIN webhook_ledger l \
             ON (l.tenant_id, l.webhook_id) = (r.tenant_id, r.webhook_id) \
             WHERE r.slot > coalesce(l.next_slot_at, '-infinity') ORDER BY 1, 2 FOR UPDATE OF l) \
         UPDATE webhook_ledger l SET next_slot_at = greatest(l.next_slot_at, late.slot) FROM late \
         WHERE (l.tenant_id, l.webhook_id) = (late.tenant_id, late.webhook_id) RETURNING 1",
    );
    sql
}

/// Since when a receiver has been failing, and whether that is long enough to switch its subscription off.
fn health(told: &[&Attempt]) -> Sql {
    let all = || told.iter().copied();
    let mut sql = Sql::new(
        "WITH r AS (SELECT tenant_id, webhook_id, outcome, clock_timestamp() - started * interval '1 microsecond' AS at \
             FROM unnest(",
    );
    sql.bind(Bind::Uuids(all().map(|a| a.key.0).collect())).push(", ");
    sql.bind(Bind::Uuids(all().map(|a| a.key.1).collect())).push(", ");
    sql.bind(Bind::Texts(Some(all().map(|a| a.verdict.as_str().to_owned()).collect()))).push(", ");
    sql.bind(ints(all(), |a| micros(a.started))).push(format!(
        ") AS t (tenant_id, webhook_id, outcome, started)), \
         h AS (SELECT tenant_id, webhook_id, bool_or(outcome = 'gone') AS gone, \
                   max(at) FILTER (WHERE outcome = 'delivered') AS success, \
                   max(at) FILTER (WHERE outcome <> 'delivered') AS failure, \
                   min(at) FILTER (WHERE outcome <> 'delivered') AS first_failure FROM r GROUP BY 1, 2), \
         was AS (SELECT h.*, w.is_active, CASE WHEN h.failure IS NULL OR h.success >= h.failure THEN NULL \
                     WHEN h.success IS NOT NULL THEN h.failure ELSE coalesce(w.failing_since, h.first_failure) END AS since \
                 FROM h JOIN webhook w ON (w.tenant_id, w.id) = (h.tenant_id, h.webhook_id) \
                 ORDER BY 1, 2 FOR NO KEY UPDATE OF w), \
         now AS (SELECT *, CASE WHEN NOT is_active THEN NULL WHEN gone THEN 'gone' \
                     WHEN since < clock_timestamp() - interval '{} seconds' THEN 'failing' END AS off FROM was) \
         UPDATE webhook w SET last_success_at = greatest(w.last_success_at, now.success), \
             last_failure_at = greatest(w.last_failure_at, now.failure), failing_since = now.since, \
             is_active = w.is_active AND now.off IS NULL, disabled_reason = coalesce(now.off, w.disabled_reason), \
             disabled_at = CASE WHEN now.off IS NOT NULL THEN clock_timestamp() ELSE w.disabled_at END \
         FROM now WHERE (w.tenant_id, w.id) = (now.tenant_id, now.webhook_id) \
         RETURNING w.tenant_id, w.id, now.off",
        schedule::FAILING_FOR.as_secs()
    ));
    sql
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_answer_means() {
        let day = Duration::from_secs(86_400);
        let of = |status, retries| Verdict::of(status, 1, Duration::ZERO, None, retries);
        assert!([200, 201, 204, 299].into_iter().all(|s| of(Some(s), true) == Verdict::Delivered));
        for status in [100, 301, 302, 307, 400, 401, 404, 429, 500, 503] {
            assert_eq!(of(Some(status), true), Verdict::Again(Duration::from_secs(5)), "{status}");
            assert_eq!(of(Some(status), false), Verdict::Failed, "{status}");
        }
        assert_eq!((of(None, true), of(None, false)), (Verdict::Again(Duration::from_secs(5)), Verdict::Failed));
        assert_eq!((of(Some(410), true), of(Some(410), false)), (Verdict::Gone, Verdict::Gone));
        assert_eq!(Verdict::of(Some(500), 30, 8 * day, None, true), Verdict::Failed);
    }
}
