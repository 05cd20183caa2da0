//! The work of a replay, at most a thousand rows per transaction: finished deliveries wait again, and events of the window
//! that the subscription asks for but never got have their first delivery.
//!
//! Belongs here: going through the window. Does not belong here: what the body of an event is; the service says, as the
//! relay does.

use crate::{
    BATCH, col,
    delivery_log::{AGAIN, instant},
    replay::{self, Replay, ReplayInput},
    sql,
    test_send::taken_on,
};
use aisha_db::{
    Bind, Db, Json, Sql, SystemReason, SystemTx,
    outbox::{BATCH_BYTES, OutboxRow},
};
use aisha_kernel::Error;
use std::time::Duration;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use uuid::Uuid;

/// How often [`replay_alive`] is to be called beside [`replay_run`], which others take for dead otherwise.
pub const ALIVE_EVERY: Duration = Duration::from_secs(30);

/// Does the whole replay. `render` makes the bodies of events, in their order, exactly as live deliveries have them.
///
/// # Errors
/// What stopped it; the replay says so as well.
pub async fn replay_run(
    db: &Db,
    why: &SystemReason,
    replay: &Replay,
    render: impl AsyncFn(&[OutboxRow]) -> Result<Vec<String>, Error>,
) -> Result<(), Error> {
    let done = through(db, why, replay, &render).await;
    let mut sql = Sql::new(
        "UPDATE webhook_replay SET completed_at = clock_timestamp(), updated_at = clock_timestamp(), status = ",
    );
    sql.bind(Bind::text(if done.is_ok() { "completed" } else { "failed" }));
    sql.push(", error = ").bind(Bind::Text(done.as_ref().err().map(|e| e.message.to_string()), "text"));
    sql.push(" WHERE tenant_id = current_tenant_id() AND status = 'running' AND id = ").bind(replay.id);
    db.system(why, async |tx| tx.rows(sql.clone()).await.map(|_| ())).await?;
    done
}

/// Says that a replay is alive, however long a step of it takes. What cannot be said is said the next time.
pub async fn replay_alive(db: &Db, why: &SystemReason, replay: Uuid) {
    let mut sql = Sql::new(
        "UPDATE webhook_replay SET updated_at = clock_timestamp() \
         WHERE tenant_id = current_tenant_id() AND status = 'running' AND id = ",
    );
    sql.bind(replay);
    if let Err(e) = db.system(why, async |tx| tx.rows(sql.clone()).await).await {
        tracing::debug!(replay_id = %replay, error = %e, "a replay could not say that it is alive");
    }
}

async fn through(
    db: &Db,
    why: &SystemReason,
    replay: &Replay,
    render: &impl AsyncFn(&[OutboxRow]) -> Result<Vec<String>, Error>,
) -> Result<(), Error> {
    let input = ReplayInput {
        from: replay.window_from,
        to: replay.window_to,
        events: replay.events.clone(),
        states: replay.states.clone(),
        dry_run: false,
    };
    let mut after = (input.from, Uuid::nil());
    loop {
        let step = db.system(why, async |tx| requeue(tx, replay, &input, after).await).await?;
        match step {
            Some(last) => after = last,
            None => break,
        }
    }
    let mut after = (0, 0);
    while input.asks_for_missing() {
        let batch = db.system(why, async |tx| missed(tx, replay, &input, after).await).await?;
        let bodies = if batch.bodiless.is_empty() { Vec::new() } else { render(&batch.bodiless).await? };
        if bodies.len() != batch.bodiless.len() {
            return Err(Error::internal("as many bodies as events"));
        }
        db.system(why, async |tx| add(tx, replay, &batch, &bodies).await).await?;
        match batch.last {
            Some(last) => after = last,
            None => break,
        }
    }
    Ok(())
}

/// Stops the work when the subscription no longer takes anything on, or when this replay was taken for dead: another one may
/// be at work.
async fn still_active(tx: &mut SystemTx, replay: &Replay) -> Result<(), Error> {
    let mut webhook = Sql::new("SELECT 1 FROM webhook WHERE tenant_id = current_tenant_id() AND is_active AND id = ");
    webhook.bind(replay.webhook_id).push(" FOR KEY SHARE");
    // Whoever begins a replay holds the subscription: this statement sees what was begun before.
    let mut running =
        Sql::new("SELECT 1 FROM webhook_replay WHERE tenant_id = current_tenant_id() AND status = 'running' AND id = ");
    running.bind(replay.id);
    let mut found = tx.flight(vec![webhook, running]).await?.into_iter();
    if found.next().unwrap_or_default().is_empty() {
        return Err(Error::conflict("The webhook was switched off before the replay was through."));
    }
    if found.next().unwrap_or_default().is_empty() {
        return Err(Error::conflict("The replay was ended while it had nothing to say."));
    }
    Ok(())
}

fn progress(replay: &Replay, column: &'static str, n: usize) -> Sql {
    let mut sql = Sql::new(format!("UPDATE webhook_replay SET updated_at = clock_timestamp(), {column} = {column} + "));
    sql.bind(Bind::Int(i64::try_from(n).unwrap_or_default()));
    sql.push(" WHERE tenant_id = current_tenant_id() AND id = ").bind(replay.id);
    sql
}

/// Whether a step took all that there was.
fn last_step(n: usize) -> bool {
    i64::try_from(n).unwrap_or_default() < BATCH
}

/// Where the next step begins; nothing when there is none. What was taken on after the replay began is left alone, so that
/// what it sends again is not sent again by it.
async fn requeue(
    tx: &mut SystemTx,
    replay: &Replay,
    input: &ReplayInput,
    after: (OffsetDateTime, Uuid),
) -> Result<Option<(OffsetDateTime, Uuid)>, Error> {
    still_active(tx, replay).await?;
    let mut sql = Sql::new("WITH picked AS MATERIALIZED (SELECT d.id");
    replay::finished(&mut sql, replay.webhook_id, input);
    sql.push(" AND d.created_at <= ").bind(instant(replay.created_at));
    sql.push(" AND (d.created_at, d.id) > (").bind(instant(after.0)).push(", ").bind(after.1);
    sql.push(format!(
        ") ORDER BY d.created_at, d.id LIMIT {BATCH} FOR UPDATE OF d), again AS (UPDATE webhook_delivery d SET {AGAIN} \
         FROM picked WHERE d.tenant_id = current_tenant_id() AND d.id = picked.id RETURNING d.created_at, d.id) \
         SELECT created_at, id FROM again ORDER BY created_at, id"
    ));
    let rows = tx.flight(vec![sql::by_index(), sql.prepared_once()]).await?.pop().unwrap_or_default();
    tx.rows(progress(replay, "requeued", rows.len())).await?;
    match rows.last() {
        Some(row) if !last_step(rows.len()) => Ok(Some((col(row, 0)?, col(row, 1)?))),
        _ => Ok(None),
    }
}

/// Events without a delivery.
struct Batch {
    tenant: Uuid,
    ids: Vec<Uuid>,
    /// Those of them that no other subscription has a delivery of: nobody has made their bodies.
    bodiless: Vec<OutboxRow>,
    /// Where the next one begins; nothing when there is none.
    last: Option<(i64, i64)>,
}

/// The next events without a delivery, in the order of their transactions.
async fn missed(tx: &mut SystemTx, replay: &Replay, input: &ReplayInput, after: (i64, i64)) -> Result<Batch, Error> {
    // A body that another subscription's delivery has is used as it is.
    let has_body = "EXISTS (SELECT FROM webhook_message m WHERE m.tenant_id = o.tenant_id AND m.event_id = o.id)";
    let mut sql = Sql::new(format!(
        "SELECT o.shard::integer, o.transaction_id, o.seq, o.id, o.tenant_id, o.event, o.entity, o.record_id, \
         CASE WHEN NOT {has_body} THEN o.data END, CASE WHEN NOT {has_body} THEN o.previous END, o.created_at"
    ));
    replay::missing(&mut sql, replay.webhook_id, input);
    sql.push(" AND (o.transaction_id, o.seq) > (").bind(Bind::Int(after.0)).push(", ").bind(Bind::Int(after.1));
    sql.push(format!(") ORDER BY o.transaction_id, o.seq LIMIT {BATCH}"));
    let found = tx.flight(vec![Sql::new("SELECT current_tenant_id()"), sql::by_index()]).await?;
    let tenant = col(found.first().and_then(|rows| rows.first()).ok_or_else(Error::not_found)?, 0)?;
    let (rows, cut_off) = tx.rows_within(BATCH_BYTES, sql.prepared_once()).await?;
    let mut batch = Batch { tenant, ids: Vec::with_capacity(rows.len()), bodiless: Vec::new(), last: None };
    for row in &rows {
        let id: Uuid = col(row, 3)?;
        batch.ids.push(id);
        if let Some(data) = col::<Option<Json>>(row, 8)? {
            batch.bodiless.push(OutboxRow {
                shard: col(row, 0)?,
                transaction_id: col(row, 1)?,
                seq: col(row, 2)?,
                id,
                tenant_id: col(row, 4)?,
                event: col(row, 5)?,
                entity: col(row, 6)?,
                record_id: col(row, 7)?,
                data,
                previous: col(row, 9)?,
                created_at: col(row, 10)?,
            });
        }
    }
    if let Some(row) = rows.last().filter(|_| cut_off || !last_step(rows.len())) {
        batch.last = Some((col(row, 1)?, col(row, 2)?));
    }
    Ok(batch)
}

/// Takes them on. What has been taken on in between, by a live delivery, is left alone and not counted twice.
async fn add(tx: &mut SystemTx, replay: &Replay, batch: &Batch, bodies: &[String]) -> Result<(), Error> {
    still_active(tx, replay).await?;
    if !batch.bodiless.is_empty() {
        tx.rows(messages(&batch.bodiless, bodies)).await?;
    }
    let mut insert = Sql::new(
        "INSERT INTO webhook_delivery (tenant_id, by_hand, webhook_id, event_id, event, seq) SELECT tenant_id, true, ",
    );
    insert
        .bind(replay.webhook_id)
        .push(", event_id, event, seq FROM webhook_message WHERE tenant_id = current_tenant_id() AND event_id = ANY (");
    insert
        .bind(Bind::Uuids(batch.ids.clone()))
        .push(") ORDER BY event_id ON CONFLICT (tenant_id, webhook_id, event_id) DO NOTHING RETURNING 1");
    let added = tx.rows(insert).await?.len();
    let n = i64::try_from(added).unwrap_or_default();
    tx.flight(vec![taken_on(batch.tenant, replay.webhook_id, n), progress(replay, "added", added)]).await?;
    Ok(())
}

/// Stores bodies. The live deliveries may have done so in between, and then theirs stays.
fn messages(events: &[OutboxRow], bodies: &[String]) -> Sql {
    let texts = |f: fn(&OutboxRow) -> String| Bind::Texts(Some(events.iter().map(f).collect()));
    let mut sql = Sql::new(
        "INSERT INTO webhook_message (tenant_id, event_id, event, seq, record_id, body, happened_at) \
         SELECT current_tenant_id(), m.id, m.event, m.seq, nullif(m.record_id, '')::uuid, m.body, m.happened_at::timestamptz \
         FROM unnest(",
    );
    sql.bind(Bind::Uuids(events.iter().map(|e| e.id).collect())).push(", ").bind(texts(|e| e.event.clone()));
    sql.push(", ").bind(Bind::Ints(events.iter().map(|e| e.seq).collect())).push(", ");
    sql.bind(texts(|e| e.record_id.map(|id| id.to_string()).unwrap_or_default())).push(", ");
    sql.bind(Bind::Texts(Some(bodies.to_vec()))).push(", ");
    sql.bind(texts(|e| e.created_at.format(&Rfc3339).unwrap_or_default()));
    sql.push(
        ") AS m (id, event, seq, record_id, body, happened_at) ORDER BY m.id ON CONFLICT (tenant_id, event_id) DO NOTHING",
    );
    sql
}

/// Ends replays whose process died, in the tenant that the transaction names.
///
/// # Errors
/// 503 when the database is away.
pub async fn replay_end_abandoned(tx: &mut SystemTx) -> Result<(), Error> {
    let mut sql = replay::end_abandoned();
    sql.push(" AND tenant_id = current_tenant_id()");
    tx.rows(sql).await.map(|_| ())
}
