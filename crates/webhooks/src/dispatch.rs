//! Handing deliveries to a sender.
//!
//! A sender is a process with an id of its own. What it has in hand is leased to it; a lease that has run out is anybody's
//! again. **At any time only one sender has leases of a subscription**, so it alone sees to the subscription's limits, in
//! its own memory and exactly: how many requests at once, and how many per second. That, and that a delivery is handed out
//! once, is decided under a lock of the subscription's row in the ledger; locks that somebody else holds are not waited for,
//! so one subscription never delays another.

use crate::{col, intake::Key, sql};
use aisha_db::{Bind, Db, PgRow, Sql, SystemTx, tx::Rows};
use aisha_kernel::Error;
use bytes::Bytes;
use std::time::Duration;
use uuid::Uuid;

/// How long a sender has a delivery. What dies with a process is sent by another one after this.
pub const LEASE: Duration = Duration::from_secs(30);
/// A margin over the pace that a subscription sets, so that a network that delivers unevenly does not exceed it.
const SLOWER: f64 = 1.05;
/// How far ahead requests of a subscription with a pace are handed out.
const AHEAD: Duration = Duration::from_secs(2);
/// About how much is handed out together: a body may be half a megabyte, and there may be thousands of them.
const BYTES: usize = 8 << 20;

/// A subscription as the sender needs it.
#[derive(Debug, Clone, Default)]
pub struct Target {
    /// Which.
    pub key: Key,
    /// Where to.
    pub url: String,
    /// The secret that signs.
    pub secret_sealed: Vec<u8>,
    /// The one before, while it signs as well.
    pub previous_secret_sealed: Option<Vec<u8>>,
    /// Whether what failed is tried again.
    pub retries: bool,
    /// Requests at once.
    pub max_concurrency: usize,
    /// The shortest time between the starts of two requests.
    pub interval: Option<Duration>,
    /// Whether every attempt has failed for a while.
    pub failing: bool,
    /// What this sender has in hand of it.
    pub in_hand: usize,
    /// Until the next request may start, by the pace or because the receiver wants nothing before.
    pub wait: Duration,
}

/// A delivery in hand.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// Its subscription.
    pub key: Key,
    /// Its id.
    pub id: Uuid,
    /// The event's id.
    pub event_id: Uuid,
    /// The event's name.
    pub event: String,
    /// What is sent: shared, however often the delivery is cloned.
    pub body: Bytes,
    /// Attempts of this schedule so far.
    pub attempts: u32,
    /// How long ago the schedule began.
    pub age: Duration,
    /// How long ago the event happened, if nothing was ever sent of it and nobody has asked for it to be sent now.
    pub lag: Option<Duration>,
    /// Names this lease.
    pub lease: String,
    /// By the pace, not earlier than this after the claim.
    pub wait: Duration,
}

/// What a sender got.
#[derive(Debug, Default)]
pub struct Claim {
    /// The subscriptions that were asked for and can be sent to now.
    pub targets: Vec<Target>,
    /// Deliveries, those that are longest due first.
    pub deliveries: Vec<Delivery>,
    /// Subscriptions of which all was taken that was allowed: there may be more.
    pub more: Vec<Key>,
    /// Subscriptions that got less than was allowed, since bodies are large: there may be more.
    pub cut_short: Vec<Key>,
    /// Subscriptions that another sender has some of, or was just busy with: ask again.
    pub busy: Vec<Key>,
}

fn keys(sql: &mut Sql, keys: &[Key]) {
    sql.push("unnest(").bind(Bind::Uuids(keys.iter().map(|k| k.0).collect())).push(", ");
    sql.bind(Bind::Uuids(keys.iter().map(|k| k.1).collect()));
}

fn key(row: &PgRow) -> Result<Key, Error> {
    Ok((col(row, 0)?, col(row, 1)?))
}

fn all_keys(rows: &Rows) -> Result<Vec<Key>, Error> {
    rows.iter().map(key).collect()
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

fn from_micros(micros: i64) -> Duration {
    Duration::from_micros(u64::try_from(micros).unwrap_or(0))
}

/// Claims deliveries of these subscriptions for `sender`; `allot` says how many at most of each one. `wanted` must be sorted.
///
/// # Errors
/// 503 when the database is away.
pub async fn claim(
    db: &Db,
    sender: Uuid,
    wanted: &[Key],
    allot: impl Fn(&[Target]) -> Vec<usize>,
) -> Result<Claim, Error> {
    db.system(&sql::why("webhook delivery"), async |tx: &mut SystemTx| {
        // Each statement sees what was committed before it began: the second one counts under the locks of the first.
        let mut found = tx.flight(vec![sql::by_index(), lock(wanted), state(sender, wanted)]).await?;
        let state = found.pop().unwrap_or_default();
        let locked = all_keys(&found.pop().unwrap_or_default())?;
        let mut busy: Vec<Key> = wanted.iter().filter(|key| locked.binary_search(key).is_err()).copied().collect();
        let mut targets = Vec::with_capacity(state.len());
        for row in &state {
            let others: bool = col(row, 10)?;
            match locked.binary_search(&key(row)?) {
                Ok(_) if others => busy.push(key(row)?),
                Ok(_) => targets.push(target(row)?),
                Err(_) => {}
            }
        }
        let shares: Vec<usize> =
            allot(&targets).into_iter().zip(&targets).map(|(share, target)| share.min(target.in_time())).collect();
        let asked: Vec<(Key, usize)> =
            targets.iter().map(|t| t.key).zip(shares.iter().copied()).filter(|(_, share)| *share > 0).collect();
        if asked.is_empty() {
            return Ok(Claim { targets, busy, ..Claim::default() });
        }
        let mut deliveries = Vec::new();
        for row in tx.rows(take(sender, &asked)).await? {
            deliveries.push(delivery(&row)?);
        }
        let size: usize = deliveries.iter().map(|d| d.body.len()).sum();
        let (mut more, mut cut_short) = (Vec::new(), Vec::new());
        let mut paced = Vec::new();
        for (key, share) in asked {
            let mut got = 0;
            let target = targets.iter().find(|t| t.key == key);
            for delivery in deliveries.iter_mut().filter(|d| d.key == key) {
                if let Some((target, interval)) = target.and_then(|t| Some((t, t.interval?))) {
                    delivery.wait = target.wait + interval * got;
                }
                got += 1;
            }
            if usize::try_from(got).is_ok_and(|got| got >= share) {
                more.push(key);
            } else if size >= BYTES {
                cut_short.push(key);
            }
            if let Some(interval) = target.and_then(|t| t.interval).filter(|_| got > 0) {
                paced.push((key, micros(interval * got)));
            }
        }
        if !paced.is_empty() {
            tx.rows(reserve(&paced)).await?;
        }
        Ok(Claim { targets, deliveries, more, cut_short, busy })
    })
    .await
}

impl Target {
    /// How many requests may start soon: by its pace, and as its receiver wants it.
    #[must_use]
    pub fn in_time(&self) -> usize {
        match self.interval {
            None if self.wait.is_zero() => usize::MAX,
            None => 0,
            Some(_) if self.wait > AHEAD => 0,
            Some(interval) => {
                let slots = AHEAD.saturating_sub(self.wait).as_micros() / interval.as_micros().max(1);
                usize::try_from(slots).unwrap_or(usize::MAX).saturating_add(1)
            }
        }
    }
}

fn lock(wanted: &[Key]) -> Sql {
    let mut sql = Sql::new("SELECT l.tenant_id, l.webhook_id FROM ");
    keys(&mut sql, wanted);
    sql.push(
        ") AS k (tenant_id, webhook_id) JOIN webhook_ledger l ON (l.tenant_id, l.webhook_id) = (k.tenant_id, k.webhook_id) \
         ORDER BY 1, 2 FOR UPDATE OF l SKIP LOCKED",
    );
    sql
}

fn state(sender: Uuid, wanted: &[Key]) -> Sql {
    let mut sql = Sql::new(
        "SELECT w.tenant_id, w.id, w.url, w.secret_sealed, \
             CASE WHEN w.previous_secret_until > statement_timestamp() THEN w.previous_secret_sealed END, \
             w.retries, w.max_concurrency, w.rate_limit, coalesce(w.failing_since < statement_timestamp() - interval '1 minute', false), held.mine, held.others, \
             CAST(greatest(extract(epoch FROM l.next_slot_at - statement_timestamp()) * 1000000, 0) AS bigint) FROM ",
    );
    keys(&mut sql, wanted);
    sql.push(
        ") AS k (tenant_id, webhook_id) JOIN webhook w ON (w.tenant_id, w.id) = (k.tenant_id, k.webhook_id) \
         JOIN tenant t ON t.id = w.tenant_id \
         JOIN webhook_ledger l ON (l.tenant_id, l.webhook_id) = (w.tenant_id, w.id) \
         CROSS JOIN LATERAL (SELECT count(*) FILTER (WHERE d.lease_owner = ",
    );
    sql.bind(sender).push(") AS mine, count(*) FILTER (WHERE d.lease_owner <> ").bind(sender);
    sql.push(format!(
        ") > 0 AS others FROM webhook_delivery d WHERE d.tenant_id = w.tenant_id AND d.webhook_id = w.id \
             AND d.state = 'sending') AS held WHERE {}",
        sql::sends()
    ));
    sql
}

fn target(row: &PgRow) -> Result<Target, Error> {
    let rate: Option<i32> = col(row, 7)?;
    Ok(Target {
        key: key(row)?,
        url: col(row, 2)?,
        secret_sealed: col(row, 3)?,
        previous_secret_sealed: col(row, 4)?,
        retries: col(row, 5)?,
        max_concurrency: usize::try_from(col::<i32>(row, 6)?).unwrap_or(1),
        interval: rate.map(|per_second| Duration::from_secs_f64(SLOWER / f64::from(per_second.max(1)))),
        failing: col(row, 8)?,
        in_hand: usize::try_from(col::<i64>(row, 9)?).unwrap_or(0),
        wait: from_micros(col::<Option<i64>>(row, 11)?.unwrap_or(0)),
    })
}

fn take(sender: Uuid, asked: &[(Key, usize)]) -> Sql {
    let mut sql = Sql::new("WITH k AS (SELECT * FROM ");
    keys(&mut sql, &asked.iter().map(|(key, _)| *key).collect::<Vec<_>>());
    sql.push(", ").bind(Bind::Ints(asked.iter().map(|(_, n)| i64::try_from(*n).unwrap_or(i64::MAX)).collect()));
    sql.push(
        ") AS k (tenant_id, webhook_id, share)), due AS MATERIALIZED (SELECT d.* FROM k CROSS JOIN LATERAL \
             (SELECT d.tenant_id, d.id, d.event_id, d.next_attempt_at, d.seq FROM webhook_delivery d \
              WHERE d.tenant_id = k.tenant_id \
                  AND d.webhook_id = k.webhook_id AND d.state = 'pending' AND d.next_attempt_at <= statement_timestamp() \
              ORDER BY d.tenant_id, d.webhook_id, d.next_attempt_at LIMIT k.share FOR UPDATE SKIP LOCKED) AS d), \
         sized AS (SELECT due.tenant_id, due.id, m.body, m.happened_at, \
                 sum(m.body_bytes) OVER (ORDER BY due.next_attempt_at, due.seq ROWS UNBOUNDED PRECEDING) - m.body_bytes \
                     AS bytes_before \
             FROM due JOIN webhook_message m ON (m.tenant_id, m.event_id) = (due.tenant_id, due.event_id)), \
         taken AS (UPDATE webhook_delivery d SET state = 'sending', lease_until = statement_timestamp() + ",
    );
    sql.push(format!("interval '{} seconds', lease_owner = ", LEASE.as_secs())).bind(sender);
    sql.push(format!(" FROM sized s WHERE s.bytes_before < {BYTES} AND (d.tenant_id, d.id) = (s.tenant_id, s.id) "));
    sql.push(
        "RETURNING d.*, s.body, s.happened_at) \
         SELECT t.tenant_id, t.webhook_id, t.id, t.event_id, t.event, t.body, t.attempts, \
             CAST(extract(epoch FROM statement_timestamp() - t.scheduled_at) * 1000000 AS bigint), \
             CASE WHEN t.first_attempt_at IS NULL AND NOT t.by_hand THEN \
                 CAST(extract(epoch FROM statement_timestamp() - t.happened_at) * 1000000 AS bigint) END, \
             CAST(t.lease_until AS text) \
         FROM taken t \
         ORDER BY t.next_attempt_at, t.seq",
    );
    sql
}

fn delivery(row: &PgRow) -> Result<Delivery, Error> {
    Ok(Delivery {
        key: key(row)?,
        id: col(row, 2)?,
        event_id: col(row, 3)?,
        event: col(row, 4)?,
        body: col::<String>(row, 5)?.into(),
        attempts: u32::try_from(col::<i32>(row, 6)?).unwrap_or(0),
        age: from_micros(col(row, 7)?),
        lag: col::<Option<i64>>(row, 8)?.map(from_micros),
        lease: col(row, 9)?,
        wait: Duration::ZERO,
    })
}

/// What was handed out has its place in the pace, whether it is sent or not.
fn reserve(paced: &[(Key, i64)]) -> Sql {
    let mut sql = Sql::new(
        "UPDATE webhook_ledger l SET next_slot_at = greatest(l.next_slot_at, statement_timestamp()) \
             + k.micros * interval '1 microsecond' FROM ",
    );
    keys(&mut sql, &paced.iter().map(|(key, _)| *key).collect::<Vec<_>>());
    sql.push(", ").bind(Bind::Ints(paced.iter().map(|(_, micros)| *micros).collect()));
    sql.push(
        ") AS k (tenant_id, webhook_id, micros) WHERE (l.tenant_id, l.webhook_id) = (k.tenant_id, k.webhook_id) RETURNING 1",
    );
    sql
}

/// Gives deliveries back that were not sent.
///
/// # Errors
/// 503 when the database is away; they are anybody's when the lease has run out.
pub async fn release(db: &Db, sender: Uuid, deliveries: &[(Uuid, Uuid, String)]) -> Result<(), Error> {
    if deliveries.is_empty() {
        return Ok(());
    }
    let mut sql = Sql::new(
        "UPDATE webhook_delivery d SET state = 'pending', lease_owner = NULL, lease_until = NULL FROM unnest(",
    );
    sql.bind(Bind::Uuids(deliveries.iter().map(|d| d.0).collect())).push(", ");
    sql.bind(Bind::Uuids(deliveries.iter().map(|d| d.1).collect())).push(", ");
    sql.bind(Bind::Texts(Some(deliveries.iter().map(|d| d.2.clone()).collect())));
    sql.push(
        ") AS r (tenant_id, id, lease) WHERE (d.tenant_id, d.id) = (r.tenant_id, r.id) AND d.state = 'sending' \
         AND d.lease_until = CAST(r.lease AS timestamptz) AND d.lease_owner = ",
    );
    sql.bind(sender).push(" RETURNING 1");
    db.system(&sql::why("webhook delivery"), async |tx: &mut SystemTx| {
        tx.flight(vec![sql::by_index(), sql.clone()]).await.map(drop)
    })
    .await
}

/// What a look at everything finds.
#[derive(Debug, Default)]
pub struct Look {
    /// Subscriptions with deliveries that are due.
    pub due: Vec<Key>,
    /// Of those asked about, the ones that may not be sent to any more.
    pub stopped: Vec<Key>,
}

/// Looks at everything that waits, from subscription to subscription and never from delivery to delivery; and takes back
/// what a sender had when it died.
///
/// # Errors
/// 503 when the database is away.
pub async fn look(db: &Db, in_hand: &[Key]) -> Result<Look, Error> {
    let back = Sql::new(
        "UPDATE webhook_delivery SET state = 'pending', lease_owner = NULL, lease_until = NULL \
         WHERE state = 'sending' AND lease_until <= statement_timestamp() RETURNING 1",
    );
    let due = Sql::new(format!(
        "WITH RECURSIVE hop AS ((SELECT tenant_id, webhook_id, next_attempt_at FROM webhook_delivery \
             WHERE state = 'pending' ORDER BY tenant_id, webhook_id, next_attempt_at LIMIT 1) \
         UNION ALL SELECT next.* FROM hop CROSS JOIN LATERAL (SELECT d.tenant_id, d.webhook_id, d.next_attempt_at \
             FROM webhook_delivery d WHERE d.state = 'pending' \
                 AND (d.tenant_id, d.webhook_id) > (hop.tenant_id, hop.webhook_id) \
             ORDER BY d.tenant_id, d.webhook_id, d.next_attempt_at LIMIT 1) AS next) \
         SELECT w.tenant_id, w.id FROM hop JOIN webhook w ON (w.tenant_id, w.id) = (hop.tenant_id, hop.webhook_id) \
         JOIN tenant t ON t.id = w.tenant_id WHERE hop.next_attempt_at <= statement_timestamp() AND {}",
        sql::sends()
    ));
    let mut stopped = Sql::new("SELECT k.tenant_id, k.webhook_id FROM ");
    keys(&mut stopped, in_hand);
    stopped.push(format!(
        ") AS k (tenant_id, webhook_id) WHERE NOT EXISTS (SELECT FROM webhook w JOIN tenant t ON t.id = w.tenant_id \
         WHERE (w.tenant_id, w.id) = (k.tenant_id, k.webhook_id) AND {})",
        sql::sends()
    ));
    db.system(&sql::why("webhook delivery"), async |tx: &mut SystemTx| {
        let mut rows = tx.flight(vec![sql::by_key(), back.clone(), due.clone(), stopped.clone()]).await?;
        let stopped = all_keys(&rows.pop().unwrap_or_default())?;
        Ok(Look { due: all_keys(&rows.pop().unwrap_or_default())?, stopped })
    })
    .await
}

/// For how long the oldest delivery has been waiting, of subscriptions that can be sent to; zero if none does. One that is sent
/// anew waits since somebody asked for it.
///
/// # Errors
/// 503 when the database is away.
pub async fn oldest_pending(db: &Db) -> Result<Duration, Error> {
    let sql = Sql::new(format!(
        "SELECT CAST(extract(epoch FROM statement_timestamp() - min(d.scheduled_at)) * 1000000 AS bigint) \
         FROM webhook_delivery d JOIN webhook w ON (w.tenant_id, w.id) = (d.tenant_id, d.webhook_id) \
         JOIN tenant t ON t.id = w.tenant_id WHERE d.state IN ('pending', 'sending') AND {}",
        sql::sends()
    ));
    let rows = db.system(&sql::why("webhook delivery"), async |tx: &mut SystemTx| tx.rows(sql.clone()).await).await?;
    let age: Option<i64> = rows.first().map(|row| col(row, 0)).transpose()?.flatten();
    Ok(age.map(from_micros).unwrap_or_default())
}
