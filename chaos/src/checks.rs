//! What must be true in the end, however it went in between. Each check returns what is wrong, with ids.

use crate::{
    load::{Kind, Write},
    receivers::{Manner, Subscription},
};
use anyhow::Context as _;
use std::collections::{HashMap, HashSet};
use tokio_postgres::Client;
use uuid::Uuid;

/// Ids that a problem names at most; how many there are in all, it says as well.
const SHOWN: usize = 10;

/// An event as it is in the outbox.
pub struct Event {
    pub id: Uuid,
    pub tenant: Option<Uuid>,
    pub name: String,
    pub entity: String,
    pub record: Option<Uuid>,
    pub seq: i64,
    /// The field that says which write it comes from.
    pub mark: Option<String>,
}

/// Every event there is, in the order of commits.
pub async fn events(db: &Client) -> anyhow::Result<Vec<Event>> {
    let rows = db
        .query(
            "SELECT id, tenant_id, event, entity, record_id, seq, data ->> 'city' FROM event_outbox \
             ORDER BY transaction_id, seq",
            &[],
        )
        .await?;
    let read = |row: &tokio_postgres::Row| Event {
        id: row.get(0),
        tenant: row.get(1),
        name: row.get(2),
        entity: row.get(3),
        record: row.get(4),
        seq: row.get(5),
        mark: row.get(6),
    };
    Ok(rows.iter().map(read).collect())
}

/// One line for what is wrong with many things.
fn about(what: &str, which: &[String]) -> Option<String> {
    let shown = which.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    let more = if which.len() > SHOWN { ", …" } else { "" };
    (!which.is_empty()).then(|| format!("{} {what}: {shown}{more}", which.len()))
}

/// What was said to be done is there, once; what was not answered is there at most once.
pub fn writes(writes: &[Write], events: &[Event]) -> Vec<String> {
    let mut found: HashMap<(Uuid, &str, &str), u32> = HashMap::new();
    for event in events {
        if let (Some(tenant), Some(mark)) = (event.tenant, &event.mark) {
            *found.entry((tenant, event.name.as_str(), mark.as_str())).or_default() += 1;
        }
    }
    let (mut lost, mut repeated) = (Vec::new(), Vec::new());
    for write in writes {
        let name = format!("{}.{}", write.entity, write.kind.event());
        let record = write.record.map_or("a new record".to_owned(), |id| id.to_string());
        let shown = format!("{name} {} of {record} ({} attempts)", write.mark, write.attempts);
        match found.get(&(write.tenant, name.as_str(), write.mark.as_str())).copied().unwrap_or(0) {
            0 if write.acknowledged => lost.push(shown),
            0 | 1 => {}
            n => repeated.push(format!("{shown} {n} times")),
        }
    }
    [
        about("writes were acknowledged and have no event", &lost),
        about("writes were carried out more than once", &repeated),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The records are what the last acknowledged write made them, unless one without an answer came after it.
pub async fn records(db: &Client, writes: &[Write]) -> anyhow::Result<Vec<String>> {
    // Of a record, the last one wins: a writer waits for one to end before it begins the next.
    let mut last: HashMap<Uuid, &Write> = HashMap::new();
    for write in writes {
        if let Some(id) = write.record {
            last.insert(id, write);
        }
    }
    let mut wrong = Vec::new();
    for (entity, table) in [("contact", "contacts"), ("account", "accounts"), ("lead", "leads")] {
        let rows = db.query(&format!("SELECT id, city, deleted_at IS NOT NULL FROM {table}"), &[]).await?;
        let there: HashMap<Uuid, (Option<String>, bool)> =
            rows.iter().map(|row| (row.get(0), (row.get(1), row.get(2)))).collect();
        for (id, write) in last.iter().filter(|(_, w)| w.entity == entity && w.acknowledged) {
            let should = (Some(write.mark.clone()), write.kind == Kind::Delete);
            match there.get(id) {
                Some(is) if *is == should => {}
                is => wrong.push(format!("{entity} {id} is {is:?}, not {should:?}")),
            }
        }
    }
    Ok(about("records are not what the last acknowledged write made them", &wrong).into_iter().collect())
}

/// Every event has its row in the audit log, and the other way round.
pub async fn audit(db: &Client) -> anyhow::Result<Vec<String>> {
    let rows = db
        .query(
            "WITH e AS (SELECT record_id, count(*) AS n FROM event_outbox \
                 WHERE entity IN ('contact', 'account', 'lead') GROUP BY 1), \
             a AS (SELECT record_id, count(*) AS n FROM audit_log \
                 WHERE table_name IN ('contacts', 'accounts', 'leads') GROUP BY 1) \
             SELECT coalesce(e.record_id, a.record_id), coalesce(e.n, 0), coalesce(a.n, 0) \
             FROM e FULL JOIN a USING (record_id) WHERE e.n IS DISTINCT FROM a.n",
            &[],
        )
        .await?;
    let show = |row: &tokio_postgres::Row| {
        format!("{} ({} events, {} audit rows)", row.get::<_, Uuid>(0), row.get::<_, i64>(1), row.get::<_, i64>(2))
    };
    Ok(about(
        "records have events without audit rows, or the other way round",
        &rows.iter().map(show).collect::<Vec<_>>(),
    )
    .into_iter()
    .collect())
}

/// Nothing waits in the outbox.
pub async fn unpublished(db: &Client) -> anyhow::Result<i64> {
    let row = db
        .query_one(
            "SELECT count(*) FROM event_outbox o JOIN event_relay r ON r.shard = o.shard \
             WHERE (o.transaction_id, o.seq) > (r.transaction_id, r.seq)",
            &[],
        )
        .await?;
    Ok(row.get(0))
}

/// A delivery as it is in the log.
pub struct Delivery {
    pub state: String,
    /// Whether it waits for a time that is known.
    pub attempts: i64,
    pub accepted: bool,
}

/// The deliveries of a subscription, by event.
pub async fn deliveries(db: &Client, subscription: &Subscription) -> anyhow::Result<HashMap<Uuid, Delivery>> {
    let rows = db
        .query(
            "SELECT d.event_id, d.state, count(a.id), \
                 coalesce(bool_or(a.response_status BETWEEN 200 AND 299), false) \
             FROM webhook_delivery d \
             LEFT JOIN webhook_attempt a ON a.tenant_id = d.tenant_id AND a.delivery_id = d.id \
             WHERE d.tenant_id = $1 AND d.webhook_id = $2 AND d.event <> 'webhook.test' GROUP BY 1, 2",
            &[&subscription.tenant, &subscription.id],
        )
        .await?;
    Ok(rows
        .iter()
        .map(|row| (row.get(0), Delivery { state: row.get(1), attempts: row.get(2), accepted: row.get(3) }))
        .collect())
}

/// How many deliveries of these subscriptions are neither delivered nor given up.
pub async fn waiting(db: &Client, subscriptions: &[&Subscription]) -> anyhow::Result<i64> {
    let ids: Vec<Uuid> = subscriptions.iter().map(|s| s.id).collect();
    let row = db
        .query_one(
            "SELECT count(*) FROM webhook_delivery WHERE webhook_id = ANY ($1) AND state IN ('pending', 'sending')",
            &[&ids],
        )
        .await?;
    Ok(row.get(0))
}

/// While a receiver misbehaves, what it did not take waits with a time to try again, and nothing is given up but at 410.
pub async fn kept(db: &Client, subscription: &Subscription) -> anyhow::Result<Vec<String>> {
    let rows = db
        .query(
            "SELECT id::text || ' ' || state FROM webhook_delivery WHERE tenant_id = $1 AND webhook_id = $2 AND NOT \
             (state IN ('delivered', 'sending') OR state = 'pending' AND next_attempt_at IS NOT NULL \
              OR state = 'failed' AND $3)",
            &[&subscription.tenant, &subscription.id, &(subscription.manner == Manner::Gone)],
        )
        .await?;
    let which: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    Ok(about(&format!("deliveries of the {} were given up", subscription.name()), &which).into_iter().collect())
}

/// Every event that the subscription asks for was delivered: taken on, sent, accepted by the receiver with the content of the
/// outbox; and nothing arrived that never happened.
pub async fn delivered(db: &Client, subscription: &Subscription, events: &[Event]) -> anyhow::Result<Vec<String>> {
    let deliveries = deliveries(db, subscription).await?;
    let accepted = subscription.accepted();
    let mut wrong: HashMap<&str, Vec<String>> = HashMap::new();
    let mut happened = HashMap::new();
    for event in events.iter().filter(|e| e.tenant == Some(subscription.tenant)) {
        happened.insert(event.id, event);
        if subscription.before.contains(&event.id) || !subscription.asks_for(&event.name) {
            continue;
        }
        let record = event.record.unwrap_or_default();
        let mut note = |what| {
            wrong
                .entry(what)
                .or_default()
                .push(format!("{} ({} of {record}, seq {})", event.id, event.name, event.seq));
        };
        match deliveries.get(&event.id) {
            None => note("events were never taken on"),
            Some(d) if d.state != "delivered" => note("events are not delivered"),
            Some(d) if !d.accepted || d.attempts == 0 => note("deliveries have no attempt that was accepted"),
            Some(_) if !accepted.contains(&event.id) => note("events are said to be delivered and never arrived"),
            Some(_) => {}
        }
        match subscription.ledger.seen.get(&event.id) {
            Some(seen) if seen.seq != event.seq || seen.event != event.name => note("events arrived changed"),
            _ => {}
        }
    }
    let ghosts: Vec<String> =
        subscription.ledger.seen.keys().filter(|id| !happened.contains_key(*id)).map(Uuid::to_string).collect();
    wrong.insert("events arrived that never happened", ghosts);
    let mut problems: Vec<String> = wrong
        .into_iter()
        .filter_map(|(what, which)| about(&format!("{what} ({})", subscription.name()), &which))
        .collect();
    problems.extend(subscription.ledger.problems.iter().cloned());
    Ok(problems)
}

/// Receivers can put a record's events in order: the numbers grow as the record changed.
pub fn order(events: &[Event]) -> Vec<String> {
    let mut highest: HashMap<Uuid, i64> = HashMap::new();
    let mut wrong = HashSet::new();
    for event in events {
        let Some(record) = event.record else { continue };
        let before = highest.entry(record).or_insert(event.seq);
        if event.seq < *before {
            wrong.insert(format!("{} {record}", event.entity));
        }
        *before = event.seq.max(*before);
    }
    about("records have events whose numbers do not grow", &wrong.into_iter().collect::<Vec<_>>()).into_iter().collect()
}

/// One body for everybody: an event that several subscriptions got was the same for all of them.
pub fn same_body(subscriptions: &[Subscription]) -> Vec<String> {
    let mut first: HashMap<Uuid, u64> = HashMap::new();
    let mut wrong = Vec::new();
    for subscription in subscriptions {
        for (id, seen) in &subscription.ledger.seen {
            if *first.entry(*id).or_insert(seen.hash) != seen.hash {
                wrong.push(id.to_string());
            }
        }
    }
    about("events were sent with different bodies", &wrong).into_iter().collect()
}

/// Nothing was put among the dead letters: no message is poison just because somebody died.
pub async fn dead_letters(amqp_url: &str) -> anyhow::Result<Vec<String>> {
    let bus = aisha_bus::Bus::connect_lazy(amqp_url).context("the broker's address")?;
    aisha_bus::dead_letters::connected(&bus).await;
    let mut problems = Vec::new();
    for queue in aisha_bus::topology::QUEUES {
        match aisha_bus::dead_letters::count(&bus, &queue).await {
            Ok(0) => {}
            Ok(n) => problems.push(format!("{n} dead letters of {}", queue.name)),
            Err(e) => problems.push(format!("the dead letters of {} cannot be counted: {e}", queue.name)),
        }
    }
    Ok(problems)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(name: &str, record: u128, seq: i64, mark: &str) -> Event {
        let entity = name.split('.').next().unwrap_or_default().to_owned();
        let (id, record) = (Uuid::from_u128(seq as u128), Some(Uuid::from_u128(record)));
        let tenant = Some(Uuid::nil());
        Event { id, tenant, name: name.to_owned(), entity, record, seq, mark: Some(mark.to_owned()) }
    }

    fn write(kind: Kind, mark: &str, acknowledged: bool) -> Write {
        let mark = mark.to_owned();
        Write { tenant: Uuid::nil(), entity: "contact", kind, mark, record: None, acknowledged, attempts: 1 }
    }

    #[test]
    fn a_write_that_was_acknowledged_and_one_that_was_carried_out_twice_are_noticed() {
        let there = [event("contact.created", 1, 1, "a"), event("contact.updated", 1, 2, "b")];
        let asked = [write(Kind::Create, "a", true), write(Kind::Update, "b", false), write(Kind::Delete, "b", false)];
        assert!(writes(&asked, &there).is_empty());
        let lost = writes(&[write(Kind::Update, "c", true)], &there);
        assert!(lost.len() == 1 && lost[0].contains("contact.updated c"), "{lost:?}");
        let twice = [event("contact.created", 1, 1, "a"), event("contact.created", 2, 2, "a")];
        for acknowledged in [true, false] {
            let repeated = writes(&[write(Kind::Create, "a", acknowledged)], &twice);
            assert!(repeated.len() == 1 && repeated[0].contains("2 times"), "{repeated:?}");
        }
    }

    #[test]
    fn numbers_that_fall_are_noticed_within_a_record_only() {
        let rising =
            [event("lead.created", 1, 5, ""), event("lead.created", 2, 3, ""), event("lead.updated", 1, 6, "")];
        assert!(order(&rising).is_empty());
        let falling = [event("lead.created", 1, 5, ""), event("lead.updated", 1, 4, "")];
        assert_eq!(order(&falling).len(), 1);
    }
}
