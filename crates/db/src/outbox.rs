//! The outbox of events: reading what is committed, in order, and how far it was published (`event_outbox`,
//! `event_relay`).
//!
//! A number given inside a transaction says nothing about when that transaction commits, so a reader that advances by `seq`
//! would skip what commits late. Readers here advance by `(transaction_id, seq)` and only up to the oldest transaction that
//! still runs: below it nothing can appear any more. An event has the newest transaction number that there was when it was
//! written, so that the events of a record have this order too, whichever of the transactions began first.
//!
//! Belongs here: the SQL. Does not belong here: publishing (`aisha-bus`), what a record looks like in an event
//! ([`crate::record::event`]).

use crate::{Bind, Json, PgRow, Sql, SystemTx, Timestamp, row::Decoded, tx::Rows};
use aisha_kernel::Error;
use std::{collections::BTreeMap, time::Duration};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use uuid::Uuid;

/// Lanes of the outbox; the events of a record share one and are published in order.
pub const SHARDS: i64 = 64;
/// How long a relay has a shard to itself without renewing the lease. A process that dies is replaced after this.
pub const LEASE: Duration = Duration::from_secs(15);

/// An event as it was written.
#[derive(Debug, Clone)]
pub struct OutboxRow {
    /// Its lane.
    pub shard: i32,
    /// Its place in the order of reading, together with `seq`.
    pub transaction_id: i64,
    /// Grows with time within a record.
    pub seq: i64,
    /// The event's id.
    pub id: Uuid,
    /// The tenant that it happened in.
    pub tenant_id: Option<Uuid>,
    /// `contact.created`.
    pub event: String,
    /// The record type, singular.
    pub entity: String,
    /// The record.
    pub record_id: Option<Uuid>,
    /// The row.
    pub data: Json,
    /// Former values of the columns that changed.
    pub previous: Option<Json>,
    /// When it happened.
    pub created_at: OffsetDateTime,
}

/// What [`OutboxRow::read`] reads, with `o` for the outbox.
const COLUMNS: &str = "o.shard::integer, o.transaction_id, o.seq, o.id, o.tenant_id, o.event, o.entity, o.record_id, \
                       o.data, o.previous, o.created_at";

impl OutboxRow {
    fn read(row: &PgRow) -> Decoded<Self> {
        Ok(Self {
            shard: row.get(0)?,
            transaction_id: row.get(1)?,
            seq: row.get(2)?,
            id: row.get(3)?,
            tenant_id: row.get(4)?,
            event: row.get(5)?,
            entity: row.get(6)?,
            record_id: row.get(7)?,
            data: row.get(8)?,
            previous: row.get(9)?,
            created_at: row.get(10)?,
        })
    }

    /// Its place in the order of reading.
    #[must_use]
    pub fn position(&self) -> Position {
        Position { transaction_id: self.transaction_id, seq: self.seq }
    }
}

/// What is read at once is cut off when its events are this long together: a record can be large, and nobody is to wait for, or
/// find the memory for, a whole batch of such.
pub const BATCH_BYTES: usize = 8 * 1024 * 1024;

fn read_all(rows: &Rows) -> Result<Vec<OutboxRow>, Error> {
    rows.iter().map(OutboxRow::read).collect::<Decoded<_>>().map_err(Error::internal)
}

/// Everything below this transaction is complete.
const COMPLETE: &str = "pg_snapshot_xmin(pg_current_snapshot())::text::bigint";

/// Keeps a look at what comes after `event_relay r` to a few partitions. Nothing is older: a transaction's events are older than
/// what was published before it by at most the time that a transaction can take, which is far less than a day. The clock may
/// have been ahead when `happened_at` was written.
const RECENT: &str = "coalesce(least(r.happened_at, clock_timestamp()), '-infinity') - interval '1 day'";

/// What was read last. The text form is opaque to clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Position {
    /// The transaction.
    pub transaction_id: i64,
    /// The event in it.
    pub seq: i64,
}

impl std::fmt::Display for Position {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.transaction_id, self.seq)
    }
}

impl std::str::FromStr for Position {
    type Err = Error;

    fn from_str(s: &str) -> Result<Self, Error> {
        let parts = s.split_once('-').and_then(|(t, q)| Some((t.parse().ok()?, q.parse().ok()?)));
        let (transaction_id, seq) =
            parts.ok_or_else(|| Error::parameter("Last-Event-ID", "is not one of this stream"))?;
        Ok(Self { transaction_id, seq })
    }
}

/// Takes this relay's fair share of the shards, renews what it has and gives back what is too much; returns how many it has
/// now. Call it every third of [`LEASE`].
///
/// # Errors
/// 503 when the database is away.
pub async fn lease(tx: &mut SystemTx, me: Uuid) -> Result<usize, Error> {
    let seconds = i64::try_from(LEASE.as_secs()).unwrap_or(15);
    let mut seen = Sql::new("INSERT INTO event_relay_member (id) VALUES (");
    seen.bind(me).push(") ON CONFLICT (id) DO UPDATE SET seen_at = clock_timestamp()");
    let mut gone =
        Sql::new("DELETE FROM event_relay_member WHERE seen_at < clock_timestamp() - make_interval(secs => ");
    gone.bind(Bind::Int(seconds)).push("::double precision)");
    // A row that another relay is looking at in this moment is left for the next time.
    let mut take = Sql::new(format!(
        "WITH share AS (SELECT ceil({SHARDS}.0 / greatest(count(*), 1))::integer AS most FROM event_relay_member), \
         mine AS (SELECT shard FROM event_relay WHERE lease_owner = "
    ));
    take.bind(me)
        .push(
            " AND lease_until > clock_timestamp() ORDER BY shard LIMIT (SELECT most FROM share) FOR UPDATE), \
             free AS (SELECT shard FROM event_relay WHERE lease_owner IS NULL OR lease_until <= clock_timestamp() \
                 ORDER BY shard LIMIT greatest((SELECT most FROM share) - (SELECT count(*) FROM mine), 0) \
                 FOR UPDATE SKIP LOCKED), \
             kept AS (SELECT shard FROM mine UNION SELECT shard FROM free), \
             given_back AS (UPDATE event_relay SET lease_owner = NULL, lease_until = NULL WHERE lease_owner = ",
        )
        .bind(me)
        .push(" AND shard NOT IN (SELECT shard FROM kept)) UPDATE event_relay SET lease_owner = ")
        .bind(me)
        .push(", lease_until = clock_timestamp() + make_interval(secs => ")
        .bind(Bind::Int(seconds))
        .push("::double precision) WHERE shard IN (SELECT shard FROM kept) RETURNING 1");
    let rows = tx.flight(vec![seen, gone, take]).await?;
    Ok(rows.last().map_or(0, Vec::len))
}

/// Gives back every shard and leaves.
///
/// # Errors
/// 503 when the database is away; then the leases end by themselves.
pub async fn release(tx: &mut SystemTx, me: Uuid) -> Result<(), Error> {
    let mut shards = Sql::new("UPDATE event_relay SET lease_owner = NULL, lease_until = NULL WHERE lease_owner = ");
    shards.bind(me);
    let mut member = Sql::new("DELETE FROM event_relay_member WHERE id = ");
    member.bind(me);
    tx.flight(vec![shards, member]).await.map(|_| ())
}

/// Puts events in order that came with a dump from a cluster whose transactions had higher numbers than this one's: readers go
/// by these. Says whether there were any. To be called before the first [`next`], and again when the database has been away:
/// it may be another one.
///
/// # Errors
/// 503 when the database is away or the tables are busy.
pub async fn restored(tx: &mut SystemTx) -> Result<bool, Error> {
    let ahead = tx
        .rows(Sql::new(
            "WITH newest AS MATERIALIZED (SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS id) \
             SELECT 1 FROM event_relay r CROSS JOIN newest WHERE r.transaction_id > newest.id \
                 OR EXISTS (SELECT FROM event_outbox e WHERE e.shard = r.shard AND e.transaction_id > newest.id) LIMIT 1",
        ))
        .await?;
    if ahead.is_empty() {
        return Ok(false);
    }
    let rows = tx.rows(Sql::new("SELECT events_restored()")).await?;
    rows.first().map_or(Ok(false), |row| row.get(0)).map_err(Error::internal)
}

/// The next events of the shards that `me` has: at most `per_shard` of each and some [`BATCH_BYTES`] of all, the oldest first.
///
/// # Errors
/// 503 when the database is away.
pub async fn next(tx: &mut SystemTx, me: Uuid, per_shard: i64) -> Result<Vec<OutboxRow>, Error> {
    let mut sql = Sql::new(format!(
        "SELECT {COLUMNS} FROM event_relay r CROSS JOIN LATERAL (SELECT * FROM event_outbox e WHERE e.shard = r.shard \
             AND (e.transaction_id, e.seq) > (r.transaction_id, r.seq) AND e.transaction_id < {COMPLETE} \
             AND e.created_at > {RECENT} AND e.created_at < clock_timestamp() + interval '1 day' \
             ORDER BY e.transaction_id, e.seq LIMIT "
    ));
    sql.bind(Bind::Int(per_shard)).push(") o WHERE r.lease_until > clock_timestamp() AND r.lease_owner = ").bind(me);
    // Across the shards: no shard waits behind another's large ones.
    sql.push(" ORDER BY o.transaction_id, o.seq");
    read_all(&tx.rows_within(BATCH_BYTES, sql).await?.0)
}

/// Notes what was published: the last event of each shard. Shards that `me` has lost meanwhile stay as they are.
///
/// # Errors
/// 503 when the database is away; then the events are published again.
pub async fn advance(tx: &mut SystemTx, me: Uuid, published: &[OutboxRow]) -> Result<usize, Error> {
    let last: BTreeMap<i32, &OutboxRow> = published.iter().map(|row| (row.shard, row)).collect();
    let texts = |text: fn(&OutboxRow) -> String| Bind::Texts(Some(last.values().map(|row| text(row)).collect()));
    let mut sql = Sql::new(
        "UPDATE event_relay r SET transaction_id = p.transaction_id, seq = p.seq, \
         happened_at = greatest(r.happened_at, p.happened_at) FROM unnest((",
    );
    sql.bind(texts(|row| row.shard.to_string())).push(")::smallint[], (");
    sql.bind(texts(|row| row.transaction_id.to_string())).push(")::bigint[], (");
    sql.bind(texts(|row| row.seq.to_string())).push(")::bigint[], (");
    sql.bind(texts(|row| row.created_at.format(&Rfc3339).unwrap_or_default())).push(
        ")::timestamptz[]) AS p (shard, transaction_id, seq, happened_at) \
         WHERE r.shard = p.shard AND (r.transaction_id, r.seq) < (p.transaction_id, p.seq) AND r.lease_owner = ",
    );
    sql.bind(me).push(" RETURNING 1");
    Ok(tx.rows(sql).await?.len())
}

/// What waits to be published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backlog {
    /// How many, counted up to 10,000.
    pub waiting: i64,
    /// When the oldest of them happened.
    pub oldest: Option<Timestamp>,
    /// Shards that a relay looks after.
    pub leased: i64,
}

/// What waits to be published now.
///
/// # Errors
/// 503 when the database is away.
pub async fn backlog(tx: &mut SystemTx) -> Result<Backlog, Error> {
    let rows = tx
        .rows(Sql::new(format!(
            "WITH waiting AS MATERIALIZED (SELECT o.created_at FROM event_relay r CROSS JOIN LATERAL \
                 (SELECT e.created_at FROM event_outbox e WHERE e.shard = r.shard \
                  AND (e.transaction_id, e.seq) > (r.transaction_id, r.seq) \
                  AND e.created_at > {RECENT} \
                  ORDER BY e.transaction_id, e.seq LIMIT 10000) o LIMIT 10000) \
             SELECT (SELECT count(*) FROM waiting), (SELECT min(created_at) FROM waiting), \
                    (SELECT count(*) FROM event_relay WHERE lease_until > clock_timestamp())"
        )))
        .await?;
    let row = rows.first().ok_or_else(|| Error::internal("no backlog"))?;
    let read = || -> Decoded<_> { Ok(Backlog { waiting: row.get(0)?, oldest: row.get(1)?, leased: row.get(2)? }) };
    read().map_err(Error::internal)
}

/// Where the stream of a tenant's events ends now: what is read from here on happened later.
///
/// # Errors
/// 503 when the database is away.
pub async fn end(tx: &mut SystemTx) -> Result<Position, Error> {
    let rows = tx.rows(Sql::new(format!("SELECT {COMPLETE}"))).await?;
    let transaction_id = rows.first().map(|r| r.get(0)).transpose().map_err(Error::internal)?;
    Ok(Position { transaction_id: transaction_id.unwrap_or_default(), seq: 0 })
}

/// The events of one tenant after `after`, in order, at most `limit` and some [`BATCH_BYTES`]; and whether there may be more.
///
/// # Errors
/// 503 when the database is away.
pub async fn of_tenant(
    tx: &mut SystemTx,
    tenant: Uuid,
    after: Position,
    limit: i64,
) -> Result<(Vec<OutboxRow>, bool), Error> {
    let mut sql = Sql::new(format!("SELECT {COLUMNS} FROM event_outbox o WHERE o.tenant_id = "));
    sql.bind(tenant).push(" AND (o.transaction_id, o.seq) > (").bind(Bind::Int(after.transaction_id));
    sql.push(", ").bind(Bind::Int(after.seq));
    sql.push(format!(") AND o.transaction_id < {COMPLETE} ORDER BY o.transaction_id, o.seq LIMIT "))
        .bind(Bind::Int(limit));
    let (rows, more) = tx.rows_within(BATCH_BYTES, sql).await?;
    let more = more || i64::try_from(rows.len()).unwrap_or(limit) == limit;
    Ok((read_all(&rows)?, more))
}

/// Those of `followed` (a tenant, and how far its events were read) that have further events.
///
/// # Errors
/// 503 when the database is away.
pub async fn with_news(tx: &mut SystemTx, followed: &[(Uuid, Position)]) -> Result<Vec<Uuid>, Error> {
    let numbers = |text: fn(&Position) -> i64| {
        Bind::Texts(Some(followed.iter().map(|(_, position)| text(position).to_string()).collect()))
    };
    let mut sql = Sql::new("SELECT f.tenant FROM unnest(");
    sql.bind(Bind::Uuids(followed.iter().map(|(tenant, _)| *tenant).collect())).push(", (");
    sql.bind(numbers(|p| p.transaction_id)).push(")::bigint[], (");
    sql.bind(numbers(|p| p.seq)).push(format!(
        ")::bigint[]) AS f (tenant, transaction_id, seq) WHERE EXISTS (SELECT FROM event_outbox o \
         WHERE o.tenant_id = f.tenant AND (o.transaction_id, o.seq) > (f.transaction_id, f.seq) \
           AND o.transaction_id < {COMPLETE})"
    ));
    let rows = tx.rows(sql).await?;
    rows.iter().map(|row| row.get(0)).collect::<Decoded<_>>().map_err(Error::internal)
}
