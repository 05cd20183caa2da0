//! The role `relay`: from the outbox to the exchange. Every committed event is published at least once, the events of a record
//! in their order, whoever dies in between.
//!
//! Several relays share the shards of the outbox by leases. A relay publishes a batch, waits until the broker has taken all of
//! it, and only then notes how far it came: what dies before the note is published again, by itself or by whoever gets the
//! shard next. It begins nothing that could still be under way when its lease ends.
//!
//! Belongs here: the loop. Does not belong here: the outbox (`aisha_db::outbox`), the broker (`aisha-bus`), what records look
//! like (`aisha_crm::event`).

use aisha_bus::{Bus, Envelope, Outgoing, Publisher, Queue, topology};
use aisha_crm::event::{self, Rendered};
use aisha_db::{
    Db, DbConfig, Json, SystemReason,
    notify::listen,
    outbox::{self, LEASE, OutboxRow, SHARDS},
};
use aisha_http::Background;
use aisha_kernel::{Error, ErrorCode};
use std::{sync::Arc, time::Duration};
use time::{UtcOffset, format_description::well_known::Rfc3339};
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep, timeout},
};
use uuid::Uuid;

/// Events that are published together at most, fewer when they are large: bounds the memory, however many wait.
const BATCH: i64 = 512;
/// The longest pause between two looks, for what no notification told of.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Between two renewals of the leases.
const RENEW_EVERY: Duration = Duration::from_secs(5);
/// Before the next attempt when something we depend on is away.
const PAUSE: Duration = Duration::from_millis(500);
/// How long reading, rendering and publishing a batch may take: what has begun ends before somebody else may begin.
const BATCH_TIMEOUT: Duration = Duration::from_secs(9);
/// Between two measurements of what waits.
const MEASURE_EVERY: Duration = Duration::from_secs(10);

/// What a relay needs.
#[derive(Clone)]
pub struct RelayConfig {
    /// The database.
    pub db: DbConfig,
    /// Its address past a pooler.
    pub direct_url: String,
    /// The broker.
    pub amqp_url: String,
    /// Whether the queue of the webhooks exists. Without it nothing piles up for them.
    pub webhooks: bool,
}

/// Starts a relay.
///
/// # Errors
/// When an address cannot be used.
pub fn start(config: RelayConfig) -> anyhow::Result<Background> {
    Background::start("relay", move |stop| {
        let db = Db::new(&DbConfig { pool_size: 2, application_name: "crm-core relay".into(), ..config.db.clone() })?;
        let bus = Bus::connect_lazy(&config.amqp_url)?;
        let queues: &[Queue] = if config.webhooks { &topology::QUEUES } else { &[topology::NOTIFICATIONS] };
        let publisher = Publisher::new(&bus, queues);
        let wake = Arc::new(Notify::new());
        Ok(move || async move {
            let relay = Relay {
                db,
                publisher,
                me: aisha_kernel::new_id(),
                shards: 0,
                leased_until: Instant::now(),
                renew_at: Instant::now(),
                measure_at: Instant::now(),
                known: false,
                troubled: false,
            };
            tokio::select! {
                () = relay.run(stop, Arc::clone(&wake), !config.webhooks) => {}
                () = listen(&config.direct_url, wake) => {}
            }
        })
    })
}

struct Relay {
    db: Db,
    publisher: Publisher,
    me: Uuid,
    shards: usize,
    leased_until: Instant,
    renew_at: Instant,
    measure_at: Instant,
    /// Whether this is the database that it was: after a loss it may be a restored one.
    known: bool,
    /// Whether the last attempt failed, so that one loss makes one line in the log.
    troubled: bool,
}

fn why() -> SystemReason {
    SystemReason { reason: "relay", ..SystemReason::default() }
}

impl Relay {
    async fn run(mut self, mut stop: watch::Receiver<bool>, wake: Arc<Notify>, mut without_webhooks: bool) {
        while !*stop.borrow() {
            if without_webhooks {
                without_webhooks = !self.remove_webhooks().await;
            }
            let pause = match self.step().await {
                // There may be more.
                Ok(n) if n > 0 => Duration::ZERO,
                Ok(_) => LOOK_EVERY,
                Err(e) => {
                    self.known = false;
                    if !std::mem::replace(&mut self.troubled, true) {
                        tracing::warn!(error = %e, cause = ?e.cause, "events wait in the outbox");
                    }
                    PAUSE
                }
            };
            if pause.is_zero() {
                continue;
            }
            tokio::select! {
                () = sleep(pause) => {}
                () = wake.notified(), if pause == LOOK_EVERY => {}
                _ = stop.changed() => {}
            }
        }
        if let Err(e) = self.db.system(&why(), async |tx| outbox::release(tx, self.me).await).await {
            tracing::debug!(error = %e, "the leases of this relay end by themselves");
        }
    }

    /// Whether the queue that nobody empties is gone.
    async fn remove_webhooks(&self) -> bool {
        match self.publisher.remove(&topology::WEBHOOKS).await {
            Ok(0) => true,
            Ok(n) => {
                tracing::warn!(messages = n, "webhooks are off: what waited for them at the broker was thrown away");
                true
            }
            Err(_) => false,
        }
    }

    async fn step(&mut self) -> Result<usize, Error> {
        if !self.known {
            if self.db.system(&why(), async |tx| outbox::restored(tx).await).await? {
                tracing::warn!("the database was restored: what its events were numbered by was set to this cluster");
            }
            self.known = true;
        }
        if self.measure_at <= Instant::now() {
            self.measure_at = Instant::now() + MEASURE_EVERY;
            let backlog = self.db.system(&why(), async |tx| outbox::backlog(tx).await).await?;
            let age = backlog.oldest.map_or(0.0, |at| (aisha_kernel::clock::now() - at.0).as_seconds_f64());
            metrics::gauge!("relay_waiting_events").set(backlog.waiting as f64);
            metrics::gauge!("relay_oldest_waiting_seconds").set(age.max(0.0));
        }
        if self.renew_at <= Instant::now() {
            // Nothing, which takes a channel: shards are for those who reach the broker, and this may be the only one that
            // does not.
            self.publisher.publish(&[]).await?;
            let asked = Instant::now();
            self.shards = self.db.system(&why(), async |tx| outbox::lease(tx, self.me).await).await?;
            self.leased_until = asked + LEASE;
            self.renew_at = asked + RENEW_EVERY;
            metrics::gauge!("relay_shards").set(self.shards as f64);
        }
        if self.shards == 0 {
            return Ok(0);
        }
        if Instant::now() + BATCH_TIMEOUT > self.leased_until {
            self.renew_at = Instant::now();
            return Ok(1);
        }
        timeout(BATCH_TIMEOUT, self.batch())
            .await
            .unwrap_or_else(|_| Err(Error::unavailable("message broker", "publishing a batch took too long")))
    }

    /// Publishes what is next; says how many events that were.
    async fn batch(&mut self) -> Result<usize, Error> {
        let per_shard = (BATCH / i64::try_from(self.shards).unwrap_or(SHARDS).max(1)).max(8);
        let me = self.me;
        let rows = self.db.system(&why(), async |tx| outbox::next(tx, me, per_shard).await).await?;
        let messages = messages(&self.db, &rows).await?;
        if messages.is_empty() {
            return Ok(0);
        }
        self.publisher.publish(&messages).await?;
        let shards = self.db.system(&why(), async |tx| outbox::advance(tx, me, &rows).await).await?;
        metrics::counter!("relay_published_total").increment(rows.len() as u64);
        if std::mem::take(&mut self.troubled) {
            tracing::info!("events are published again");
        }
        tracing::trace!(events = rows.len(), shards, "published");
        Ok(rows.len())
    }
}

/// The messages of these events.
///
/// # Errors
/// 503 when the database is away.
async fn messages(db: &Db, rows: &[OutboxRow]) -> Result<Vec<Outgoing>, Error> {
    let rendered = render(db, rows).await?;
    let all = rows.iter().zip(rendered).map(|(row, r)| {
        let envelope = envelope(row, r)?;
        Outgoing::new(&envelope, &row.entity, row.record_id).map_err(Error::internal)
    });
    all.collect()
}

/// The records of these events as the API shows them, in order. One that makes no record (written by an older version, say)
/// does not hold up the others: it goes out as it was written. A database that can show no record at all is waited for: a
/// migration may be missing.
///
/// # Errors
/// 503 when the database is away, 500 when it can show no record of that type.
pub async fn render(db: &Db, rows: &[OutboxRow]) -> Result<Vec<Rendered>, Error> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    match db.system(&why(), async |tx| event::render(tx, rows).await).await {
        Err(e) if e.code != ErrorCode::Unavailable => {}
        done => return done,
    }
    let mut all = Vec::with_capacity(rows.len());
    for row in rows {
        let one = std::slice::from_ref(row);
        match db.system(&why(), async |tx| event::render(tx, one).await).await {
            Ok(rendered) => all.extend(rendered),
            Err(e) if e.code == ErrorCode::Unavailable => return Err(e),
            Err(e) => {
                let blank = [OutboxRow { data: Json::empty(), previous: None, ..row.clone() }];
                db.system(&why(), async |tx| event::render(tx, &blank).await).await?;
                tracing::warn!(event = row.event, id = %row.id, cause = ?e.cause, "an event goes out as it was written");
                all.push(event::as_written(row));
            }
        }
    }
    Ok(all)
}

/// What is published of an event, and what a webhook carries.
///
/// # Errors
/// When the time of the event cannot be written.
pub fn envelope(row: &OutboxRow, rendered: Rendered) -> Result<Envelope, Error> {
    Ok(Envelope {
        id: row.id,
        seq: row.seq,
        event: row.event.clone(),
        timestamp: row.created_at.to_offset(UtcOffset::UTC).format(&Rfc3339).map_err(Error::internal)?,
        tenant_id: row.tenant_id,
        data: rendered.data,
        previous: rendered.previous,
    })
}
