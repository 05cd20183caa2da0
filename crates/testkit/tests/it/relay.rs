//! From the outbox to the exchange: every committed event, at least once, a record's in their order, as the API shows it.

use aisha_bus::{Bus, Heard, Listener, Message, Outgoing, Publisher, Queue, consume, dead_letters, topology};
use aisha_db::{
    Db, DbConfig, SystemReason,
    outbox::{self, OutboxRow, Position},
};
use aisha_kernel::{Error, TenantId, clock, new_id};
use aisha_testkit::{Stack, database, own::Own, switch::Switch};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};
use time::format_description::well_known::Rfc3339;
use tokio::{sync::watch, time::timeout};
use uuid::Uuid;

const PATIENCE: Duration = Duration::from_secs(60);

async fn listen(stack: &Stack) -> Listener {
    let bus = Bus::connect_lazy(&stack.own.as_ref().unwrap().amqp_url).unwrap();
    let mut listener = bus.listen(vec!["#".to_owned()]);
    let first = timeout(PATIENCE, listener.next()).await.unwrap();
    assert!(matches!(first, Some(Heard::Connected)));
    listener
}

async fn next(listener: &mut Listener) -> Message {
    loop {
        match timeout(PATIENCE, listener.next()).await.unwrap().unwrap() {
            Heard::Message(message) => return *message,
            Heard::Connected => {}
        }
    }
}

/// The next event with this name.
async fn event(listener: &mut Listener, name: &str) -> Value {
    loop {
        let message = next(listener).await;
        if message.envelope.event == name {
            return serde_json::from_slice(&message.body).unwrap();
        }
    }
}

#[actix_web::test]
async fn an_event_carries_the_record_as_the_api_shows_it() {
    let stack = Stack::events().await;
    let t = stack.tenant().await;
    let mut heard = listen(&stack).await;
    let api = &t.admin.client;
    let account = api.post("/api/accounts", json!({ "name": "Acme", "annual_revenue": 1_234_567.5 })).await.id();
    let contact =
        json!({ "first_name": "Ada", "last_name": "King", "phone": "+1 202 555 0143", "account_id": account });
    let contact = api.post("/api/contacts", contact).await.id();
    let deal = json!({ "name": "Engine", "amount": 1500, "account_id": account, "close_date": "2030-01-31" });
    let late = json!({ "subject": "Call", "type": "call", "due_date": "2020-01-31", "related_type": "contact",
                       "related_id": contact, "assigned_to": t.employee.employee_id });
    let cash = json!({ "amount": 12.5, "transaction_type": "income", "transaction_date": "2026-01-01",
                       "category": "sales_revenue", "description": "Rent" });
    for (plural, singular, body) in [
        ("leads", "lead", json!({ "first_name": "Bo", "last_name": "Li", "company": "X", "estimated_value": 0.1 })),
        ("opportunities", "opportunity", deal),
        ("activities", "activity", late),
        ("notes", "note", json!({ "content": "Hello", "related_type": "contact", "related_id": contact })),
        ("bizdevsources", "bizdev_source", json!({ "company_name": "Source" })),
        ("cashflow", "cash_flow", cash),
        ("employees", "employee", json!({ "first_name": "E", "last_name": "M", "hourly_rate": 19.9, "city": "Rome" })),
    ] {
        let id = api.post(&format!("/api/{plural}"), body).await.expect(201).id();
        let event = event(&mut heard, &format!("{singular}.created")).await;
        let shown = api.get(&format!("/api/{plural}/{id}")).await.expect(200);
        assert_eq!(event["data"], shown.data(), "{singular}");
        assert_eq!(event["tenant_id"], json!(t.id));
        assert!(event.get("previous").is_none());
    }
    // Amounts are numbers with two decimals in both, and what is computed is computed in both.
    let id = api.post("/api/opportunities", json!({ "name": "Two", "amount": 7 })).await.id();
    loop {
        let message = next(&mut heard).await;
        if message.envelope.event == "opportunity.created" && message.record_id == Some(id) {
            assert!(message.envelope.data.get().contains(r#""amount":7.00"#), "{}", message.envelope.data.get());
            break;
        }
    }
    // A change says what was there before, and nothing but that.
    api.patch(&format!("/api/opportunities/{id}"), json!({ "amount": 9.5, "name": "Three" })).await.expect(200);
    let changed = event(&mut heard, "opportunity.updated").await;
    assert_eq!(changed["previous"], json!({ "amount": 7.0, "name": "Two" }));
    assert_eq!(changed["data"], api.get(&format!("/api/opportunities/{id}")).await.data());
    api.delete(&format!("/api/opportunities/{id}")).await.expect(200);
    let deleted = event(&mut heard, "opportunity.deleted").await;
    let trash = api.get("/api/opportunities/trash").await.expect(200).data();
    assert_eq!(deleted["data"], trash["opportunities"][0]);
}

fn of_records(messages: &[(Uuid, i64)]) -> BTreeMap<Uuid, Vec<i64>> {
    let mut all: BTreeMap<Uuid, Vec<i64>> = BTreeMap::new();
    for (record, seq) in messages {
        all.entry(*record).or_default().push(*seq);
    }
    all
}

/// Event, record and number of what has arrived.
type Seen = Arc<Mutex<Vec<(Uuid, Uuid, i64)>>>;

/// Works the queue of webhooks off into a list.
fn collect(amqp_url: &str) -> (watch::Sender<bool>, Seen) {
    let seen = Seen::default();
    let (stop, stopped) = watch::channel(false);
    let bus = Bus::connect_lazy(amqp_url).unwrap();
    let list = Arc::clone(&seen);
    actix_web::rt::spawn(async move {
        let note = async |batch: &[Message]| {
            let mut list = list.lock().unwrap();
            list.extend(batch.iter().map(|m| (m.envelope.id, m.record_id.unwrap_or_default(), m.envelope.seq)));
            Ok::<(), Error>(())
        };
        consume(&bus, &topology::WEBHOOKS, 500, stopped, note).await;
    });
    (stop, seen)
}

async fn until(what: &str, mut done: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !done().await {
        assert!(Instant::now() < end, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The events of the outbox that have not arrived.
async fn missing(stack: &Stack, seen: &Seen) -> usize {
    let rows = database::connect(&stack.own.as_ref().unwrap().admin_url).await;
    let all = rows.query("SELECT id FROM event_outbox", &[]).await.unwrap();
    let seen: BTreeSet<Uuid> = seen.lock().unwrap().iter().map(|(id, ..)| *id).collect();
    all.iter().filter(|row| !seen.contains(&row.get(0))).count()
}

const ONLY_RELAY: [(&str, &str); 1] = [("CRM_CORE_ROLES", "api,relay")];

/// A transaction that numbered its event early and commits late holds its event back, not away; a record's events keep their
/// order while three relays share the work and the wire to the broker is cut twice.
#[actix_web::test]
async fn nothing_is_skipped_and_records_keep_their_order() {
    let (mut wire, through) = {
        let own = Own::new().await;
        let (wire, url) = Switch::before(&own.amqp_url).await;
        (wire, (own, url))
    };
    let (own, url) = through;
    let settings =
        [("CRM_CORE_ROLES", "api,relay"), ("AMQP_URL", url.as_str()), ("DATABASE_URL", own.database_url.as_str())];
    let stacks = [
        Stack::events_in(own.clone(), &settings).await,
        Stack::events_in(own.clone(), &settings).await,
        Stack::events_in(own.clone(), &settings).await,
    ];
    let stack = &stacks[0];
    let t = stack.tenant().await;
    let (_stop, seen) = collect(&own.amqp_url);
    let late = database::connect(&own.admin_url).await;
    late.batch_execute(&format!(
        "BEGIN; INSERT INTO accounts (tenant_id, id, name) VALUES ('{}', gen_random_uuid(), 'early number, late commit')",
        t.id
    ))
    .await
    .unwrap();
    let mut ids = Vec::new();
    for i in 0..8 {
        ids.push(t.admin.client.post("/api/accounts", json!({ "name": format!("A {i}") })).await.id());
    }
    for round in 0..12 {
        if round == 3 || round == 7 {
            wire.off().await;
        }
        if round == 5 || round == 9 {
            wire.on().await;
        }
        for id in &ids {
            t.admin
                .client
                .patch(&format!("/api/accounts/{id}"), json!({ "phone": format!("+1 202 555 01{round:02}") }))
                .await
                .expect(200);
        }
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
    late.batch_execute("COMMIT").await.unwrap();
    until("every event", async || missing(stack, &seen).await == 0).await;
    let messages: Vec<(Uuid, i64)> = seen.lock().unwrap().iter().map(|(_, record, seq)| (*record, *seq)).collect();
    for (record, seqs) in of_records(&messages) {
        // Repetitions aside, which at-least-once allows: what is new comes in order.
        let mut highest = 0;
        let fresh: Vec<i64> = seqs
            .iter()
            .copied()
            .filter(|s| {
                *s > highest && {
                    highest = *s;
                    true
                }
            })
            .collect();
        let all: BTreeSet<i64> = seqs.iter().copied().collect();
        assert_eq!(fresh, all.into_iter().collect::<Vec<_>>(), "{record}: {seqs:?}");
    }
    // The shards are shared.
    let shares = "SELECT count(DISTINCT lease_owner) FROM event_relay WHERE lease_until > now()";
    until("three relays at work", async || stack.count(shares).await == 3).await;
}

/// A transaction is numbered by its first write. Those that change a record may come to it in another order than that.
#[actix_web::test]
async fn the_changes_of_a_record_keep_their_order_whoever_began_first() {
    let stack = Stack::events_with(&ONLY_RELAY).await;
    let own = stack.own.as_ref().unwrap();
    let (_stop, seen) = collect(&own.amqp_url);
    let t = stack.tenant().await;
    let record = t.admin.client.post("/api/accounts", json!({ "name": "Wanted by all" })).await.expect(201).id();
    let mut open = Vec::new();
    for n in 0..4 {
        let transaction = database::connect(&own.admin_url).await;
        let first =
            format!("INSERT INTO accounts (tenant_id, id, name) VALUES ('{}', gen_random_uuid(), 'F {n}')", t.id);
        transaction.batch_execute(&format!("BEGIN; {first}")).await.unwrap();
        open.push((n, transaction));
    }
    for (n, transaction) in open.into_iter().rev() {
        let change = format!("UPDATE accounts SET phone = '+1 202 555 010{n}' WHERE id = '{record}'; COMMIT");
        transaction.batch_execute(&change).await.unwrap();
    }
    until("every event", async || missing(&stack, &seen).await == 0).await;
    let messages: Vec<(Uuid, i64)> = seen.lock().unwrap().iter().map(|(_, record, seq)| (*record, *seq)).collect();
    let published = of_records(&messages).remove(&record).unwrap();
    assert!(published.len() == 5 && published.is_sorted(), "{published:?}");

    let db =
        Db::new(&DbConfig { url: own.database_url.clone(), pool_size: 1, application_name: "test".into() }).unwrap();
    let why = SystemReason { reason: "test", tenant: Some(TenantId(t.id)), ..SystemReason::default() };
    let (rows, _) =
        db.system(&why, async |tx| outbox::of_tenant(tx, t.id, Position::default(), 1_000).await).await.unwrap();
    let read: Vec<i64> = rows.iter().filter(|row| row.record_id == Some(record)).map(|row| row.seq).collect();
    assert_eq!(read, published, "the stream has the same order");
}

/// What a dead relay had is taken over when its lease ends.
#[actix_web::test]
async fn the_shards_of_a_dead_relay_are_taken_over() {
    let stack = Stack::events_with(&ONLY_RELAY).await;
    let (_stop, seen) = collect(&stack.own.as_ref().unwrap().amqp_url);
    let ghost =
        "UPDATE event_relay SET lease_owner = gen_random_uuid(), lease_until = clock_timestamp() + interval '1 hour'";
    stack.sql(ghost).await;
    let t = stack.tenant().await;
    for i in 0..20 {
        t.admin.client.post("/api/accounts", json!({ "name": format!("A {i}") })).await.expect(201);
    }
    assert!(missing(&stack, &seen).await >= 20, "published by somebody without the lease");
    stack.sql("UPDATE event_relay SET lease_until = clock_timestamp()").await;
    until("the take-over", async || missing(&stack, &seen).await == 0).await;
}

/// A relay that alone has lost the broker does not sit on what another one could publish.
#[actix_web::test]
async fn a_relay_without_the_broker_leaves_its_shards_to_the_others() {
    let own = Own::new().await;
    let (mut wire, url) = Switch::before(&own.amqp_url).await;
    let (_stop, seen) = collect(&own.amqp_url);
    let cut_off = Stack::events_in(own.clone(), &[ONLY_RELAY[0], ("AMQP_URL", url.as_str())]).await;
    let _other = Stack::events_in(own.clone(), &ONLY_RELAY).await;
    let shares = "SELECT count(DISTINCT lease_owner) FROM event_relay WHERE lease_until > now()";
    until("two relays at work", async || cut_off.count(shares).await == 2).await;
    wire.off().await;
    let t = cut_off.tenant().await;
    for i in 0..20 {
        t.admin.client.post("/api/accounts", json!({ "name": format!("A {i}") })).await.expect(201);
    }
    until("every event, by the other one", async || missing(&cut_off, &seen).await == 0).await;
    assert_eq!(cut_off.count(shares).await, 1);
    wire.on().await;
    until("two relays at work again", async || cut_off.count(shares).await == 2).await;
}

/// A dump brings transaction numbers that a younger cluster has not reached: what waited in it, and what is written after the
/// restore, before a relay begins and afterwards, is published; what had been published is not published again.
#[actix_web::test]
async fn a_database_that_was_restored_goes_on() {
    let own = Own::new().await;
    let (_stop, seen) = collect(&own.amqp_url);
    let stack = Stack::events_in(own.clone(), &[("CRM_CORE_ROLES", "api")]).await;
    let t = stack.tenant().await;
    let api = &t.admin.client;
    let name = |n: usize| json!({ "name": format!("A {n}") });
    let mut records = Vec::new();
    for n in 0..40 {
        records.push(api.post("/api/accounts", name(n)).await.expect(201).id());
    }
    let before = Stack::events_in(own.clone(), &ONLY_RELAY).await;
    until("what happens before", async || missing(&stack, &seen).await == 0).await;
    drop(before);
    let published = seen.lock().unwrap().len();

    for (n, id) in records.iter().enumerate() {
        api.patch(&format!("/api/accounts/{id}"), json!({ "phone": format!("+1 202 555 01{n:02}") })).await.expect(200);
    }
    // What a dump from a cluster that is further looks like; some shards were never published from since it got that far.
    stack.sql("UPDATE event_outbox SET transaction_id = transaction_id + 1000000000 WHERE shard % 4 <> 0").await;
    stack.sql("UPDATE event_relay SET transaction_id = transaction_id + 1000000000 WHERE transaction_id > 0 AND shard % 4 <> 0")
        .await;
    for id in &records {
        api.patch(&format!("/api/accounts/{id}"), json!({ "website": "https://acme.example" })).await.expect(200);
    }
    let _after = Stack::events_in(own.clone(), &ONLY_RELAY).await;
    until("what waited and what came since", async || missing(&stack, &seen).await == 0).await;
    api.patch(&format!("/api/accounts/{}", records[0]), name(99)).await.expect(200);
    until("what is new", async || missing(&stack, &seen).await == 0).await;
    let seen = seen.lock().unwrap().clone();
    assert_eq!(seen.len(), published + 2 * records.len() + 1, "each once");
    let messages: Vec<(Uuid, i64)> = seen.iter().map(|(_, record, seq)| (*record, *seq)).collect();
    assert!(of_records(&messages).values().all(|seqs| seqs.is_sorted()), "{messages:?}");
    let forced =
        "SELECT count(*) FROM pg_class WHERE relname IN ('event_outbox', 'event_relay') AND relforcerowsecurity";
    assert_eq!(stack.count(forced).await, 2, "the owner is bound again");
}

#[actix_web::test]
async fn what_cannot_be_handled_waits_among_the_dead_letters() {
    let own = Own::new().await;
    let bus = Bus::connect_lazy(&own.amqp_url).unwrap();
    dead_letters::connected(&bus).await;
    let queue: Queue = topology::NOTIFICATIONS;
    let mut publisher = Publisher::new(&bus, &[queue]);
    let outgoing = |event: &str, body: Vec<u8>| Outgoing {
        event: event.to_owned(),
        id: aisha_kernel::new_id(),
        entity: "contact".to_owned(),
        record_id: None,
        body,
    };
    let good = |n: i64| {
        let envelope = json!({ "id": aisha_kernel::new_id(), "seq": n, "event": "contact.created",
            "timestamp": "2026-01-01T00:00:00Z", "tenant_id": null, "data": {} });
        outgoing("contact.created", envelope.to_string().into_bytes())
    };
    let mut all: Vec<Outgoing> = (0..50).map(good).collect();
    all.insert(20, outgoing("contact.created", b"no envelope".to_vec()));
    publisher.publish(&all).await.unwrap();

    let handled: Arc<Mutex<BTreeSet<i64>>> = Arc::default();
    let (stop, stopped) = watch::channel(false);
    let away = Arc::new(Mutex::new(3));
    let run = {
        let (handled, bus) = (Arc::clone(&handled), bus.clone());
        actix_web::rt::spawn(async move {
            let handle = async |batch: &[Message]| {
                // Something we depend on is away for a while: no reason to give anything up.
                let mut left = away.lock().unwrap();
                if *left > 0 {
                    *left -= 1;
                    return Err(Error::unavailable("database", "away"));
                }
                if batch.iter().any(|m| m.envelope.seq == 33) {
                    return Err(Error::invalid("data", "cannot be stored"));
                }
                handled.lock().unwrap().extend(batch.iter().map(|m| m.envelope.seq));
                Ok(())
            };
            consume(&bus, &queue, 100, stopped, handle).await;
        })
    };
    until("all but two", async || handled.lock().unwrap().len() == 49).await;
    until("two dead letters", async || dead_letters::count(&bus, &queue).await.unwrap() == 2).await;
    let dead = dead_letters::list(&bus, &queue, 10).await.unwrap();
    let bodies: Vec<&str> = dead.iter().map(|d| d.body.as_str()).collect();
    assert!(bodies.contains(&"no envelope") && bodies.iter().any(|b| b.contains("33")), "{bodies:?}");
    assert!(dead.iter().all(|d| d.reason == "rejected"), "{dead:?}");
    stop.send_replace(true);
    run.await.unwrap();

    // Put back, what can be handled now is.
    assert_eq!(dead_letters::requeue(&bus, &queue).await.unwrap(), 2);
    assert_eq!(dead_letters::count(&bus, &queue).await.unwrap(), 0);
    let again: Arc<Mutex<Vec<i64>>> = Arc::default();
    let (stop, stopped) = watch::channel(false);
    let list = Arc::clone(&again);
    let second = bus.clone();
    let run = actix_web::rt::spawn(async move {
        let handle = async |batch: &[Message]| {
            list.lock().unwrap().extend(batch.iter().map(|m| m.envelope.seq));
            Ok(())
        };
        consume(&second, &queue, 100, stopped, handle).await;
    });
    until("the mended one", async || *again.lock().unwrap() == [33]).await;
    until("the other dead again", async || dead_letters::count(&bus, &queue).await.unwrap() == 1).await;
    stop.send_replace(true);
    run.await.unwrap();
    assert_eq!(dead_letters::purge(&bus, &queue).await.unwrap(), 1);
}

/// With webhooks off nothing waits for them at the broker, not even what had begun to.
#[actix_web::test]
async fn without_webhooks_nothing_piles_up() {
    let own = Own::new().await;
    let bus = Bus::connect_lazy(&own.amqp_url).unwrap();
    // Declares the queue, as an earlier run with webhooks on would have.
    let mut earlier = Publisher::new(&bus, &[topology::WEBHOOKS]);
    earlier.connected().await;
    earlier.publish(&[]).await.unwrap();
    assert!(own.queues().await.iter().any(|name| name == topology::WEBHOOKS.name));
    let stack = Stack::events_in(own.clone(), &[("WEBHOOKS_ENABLED", "false")]).await;
    let mut heard = listen(&stack).await;
    let t = stack.tenant().await;
    t.admin.client.post("/api/accounts", json!({ "name": "A" })).await.expect(201);
    event(&mut heard, "account.created").await;
    let names = own.queues().await;
    assert!(!names.iter().any(|name| name == topology::WEBHOOKS.name), "{names:?}");
    assert_eq!(stack.count("SELECT count(*) FROM webhook_delivery").await, 0);
}

/// Records may be large: no batch is much longer than others because of them, nothing is left out, and they arrive.
#[actix_web::test]
async fn large_events_go_in_small_batches() {
    const RECORDS: usize = 200;
    let own = Own::new().await;
    let stack = Stack::events_in(own.clone(), &[("CRM_CORE_ROLES", "api")]).await;
    let t = stack.tenant().await;
    stack
        .sql(&format!(
            "WITH long AS MATERIALIZED (SELECT jsonb_build_object('text', string_agg(md5(n::text), '')) AS text \
                 FROM generate_series(1, 1900) n) \
             INSERT INTO contacts (tenant_id, id, first_name, last_name, metadata, custom_fields, activity_metadata) \
             SELECT '{}', gen_random_uuid(), 'Large', i::text, text, text, text FROM long, generate_series(1, {RECORDS}) i",
            t.id
        ))
        .await;
    let config = DbConfig { url: own.database_url.clone(), pool_size: 1, application_name: "large".into() };
    let (db, why, me) =
        (Db::new(&config).unwrap(), SystemReason { reason: "test", ..SystemReason::default() }, new_id());
    let bytes = |rows: &[OutboxRow]| rows.iter().map(|row| row.data.as_str().len()).sum::<usize>();

    let (mut followed, mut after, mut more) = (0, Position::default(), true);
    let follow = SystemReason { tenant: Some(TenantId(t.id)), ..why.clone() };
    while more {
        let rows;
        (rows, more) = db.system(&follow, async |tx| outbox::of_tenant(tx, t.id, after, 1_000).await).await.unwrap();
        assert!(bytes(&rows) < 2 * outbox::BATCH_BYTES);
        followed += rows.iter().filter(|row| row.event == "contact.created").count();
        after = rows.last().map_or(after, OutboxRow::position);
    }
    assert_eq!(followed, RECORDS);

    let shards = db.system(&why, async |tx| outbox::lease(tx, me).await).await.unwrap();
    let (mut batches, mut relayed) = (0, Vec::new());
    loop {
        let rows = db.system(&why, async |tx| outbox::next(tx, me, 1_000).await).await.unwrap();
        if rows.is_empty() {
            break;
        }
        assert!(bytes(&rows) < 2 * outbox::BATCH_BYTES && rows.is_sorted_by_key(OutboxRow::position));
        batches += 1;
        relayed.extend(rows.iter().map(OutboxRow::position));
        db.system(&why, async |tx| outbox::advance(tx, me, &rows).await).await.unwrap();
    }
    let written = stack.count("SELECT count(*) FROM event_outbox").await;
    assert_eq!((shards as i64, relayed.len() as i64), (outbox::SHARDS, written), "each once, none left out");
    assert!(relayed.is_sorted() && batches > 3, "the oldest first, in {batches} batches");

    // What no relay has published to a queue is replayed from the outbox.
    let hook = json!({ "url": "http://127.0.0.1:9/hook", "event_types": ["contact.created"] });
    let hook = t.admin.client.post("/api/webhooks", hook).await.id();
    let from = (clock::now() - Duration::from_secs(3_600)).format(&Rfc3339).unwrap();
    let window = json!({ "from": from, "states": ["missing"] });
    let replay = t.admin.client.post(&format!("/api/webhooks/{hook}/replay"), window).await.data();
    let at = format!("/api/webhooks/{hook}/replays/{}", replay["id"].as_str().unwrap());
    until("the replay", async || t.admin.client.get(&at).await.data()["status"] == "completed").await;
    assert_eq!(t.admin.client.get(&at).await.data()["added"], RECORDS);

    db.system(&why, async |tx| outbox::release(tx, me).await).await.unwrap();
    stack.sql("UPDATE event_relay SET transaction_id = 0, seq = 0").await;
    let (_stop, seen) = collect(&own.amqp_url);
    let _relay = Stack::events_in(own, &ONLY_RELAY).await;
    until("every event", async || missing(&stack, &seen).await == 0).await;
}
