//! The log of a webhook: finding, sending anew, replaying a window, and books that add up whatever happens meanwhile.

use crate::webhooks::{subscribe, subscribe_paused};
use aisha_db::{Db, DbConfig, SystemReason};
use aisha_kernel::TenantId;
use aisha_testkit::{Stack, TestTenant, database::address, fixture::superuser};
use aisha_webhooks::retention::retention_step;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

/// Takes on deliveries as the sender does, all in one state: message, delivery and ledger in one transaction. The events
/// happened a second apart, the last one an hour ago.
async fn take_on(stack: &Stack, t: &TestTenant, id: Uuid, event: &str, state: &str, n: i64) {
    let finished = if matches!(state, "pending" | "sending") { "NULL" } else { "now()" };
    let lease = if state == "sending" { "gen_random_uuid(), now() + interval '1 day'" } else { "NULL, NULL" };
    let sql = format!(
        "WITH m AS (INSERT INTO webhook_message (tenant_id, event_id, event, seq, body, happened_at, created_at) \
             SELECT '{tenant}', gen_random_uuid(), '{event}', n, '{{}}', at, at FROM \
             (SELECT n, now() - interval '1 hour' - n * interval '1 second' AS at FROM generate_series(1, {n}) AS n) AS s RETURNING *), \
         d AS (INSERT INTO webhook_delivery (tenant_id, webhook_id, event_id, event, seq, state, finished_at, lease_owner, lease_until, \
             created_at, scheduled_at) SELECT tenant_id, '{id}', event_id, event, seq, '{state}', {finished}, {lease}, created_at, \
             created_at FROM m RETURNING 1) \
         UPDATE webhook_ledger SET taken_on = taken_on + (SELECT count(*) FROM d) WHERE webhook_id = '{id}'",
        tenant = t.id
    );
    // The deliveries refer to messages of the same statement.
    stack.sql(&sql).await;
}

/// Events of the past that no relay is going to publish: copies of a contact's own, an hour old.
async fn past_events(stack: &Stack, t: &TestTenant, n: i64) {
    let body = json!({ "first_name": "Ada", "last_name": "Past" });
    let contact = t.admin.client.post("/api/contacts", body).await.expect(201).id();
    let sql = format!(
        "INSERT INTO event_outbox (tenant_id, event, entity, record_id, shard, data, transaction_id, created_at) \
         SELECT tenant_id, event, entity, record_id, shard, data, 1, now() - interval '1 hour' FROM event_outbox, \
         generate_series(1, {n}) WHERE tenant_id = '{}' AND record_id = '{contact}' AND event = 'contact.created'",
        t.id
    );
    stack.sql(&sql).await;
}

/// The last ten hours, which have the events of [`take_on`] and [`past_events`].
fn window(more: Value) -> Value {
    let from = aisha_kernel::clock::now() - std::time::Duration::from_secs(10 * 3600);
    let mut body = json!({ "from": from.format(&Rfc3339).unwrap() });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

/// Asks for a replay, with a key or without, and follows it to its end: where it is, and what it did.
async fn replayed(t: &TestTenant, id: Uuid, body: &Value, key: &str) -> (String, Value) {
    let headers = [("content-type", "application/json"), ("idempotency-key", key)];
    let path = format!("/api/webhooks/{id}/replay");
    let asked = t.admin.client.send("POST", &path, &headers, Some(body.to_string().into_bytes())).await;
    assert!(matches!(asked.status.as_u16(), 200 | 202), "{}", asked.text);
    let at = asked.header("location").unwrap().to_owned();
    let mut replay = asked.data();
    for _ in 0..600 {
        if replay["status"] != "running" {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        replay = t.admin.client.get(&at).await.expect(200).data();
    }
    assert_eq!(replay["status"], "completed", "{replay}");
    (at, replay)
}

async fn ledger(t: &TestTenant, id: Uuid) -> Value {
    t.admin.client.get(&format!("/api/webhooks/{id}/ledger")).await.expect(200).data()
}

#[actix_web::test]
async fn a_log_is_found_page_by_page() {
    let stack = Stack::start().await;
    let t = stack.tenant().await;
    let me = &t.admin.client;
    let (id, other) = (subscribe_paused(&t, &["*"]).await, subscribe_paused(&t, &["*"]).await);
    for (event, state, n) in
        [("contact.created", "delivered", 25), ("lead.updated", "failed", 7), ("lead.updated", "pending", 3)]
    {
        take_on(&stack, &t, id, event, state, n).await;
    }
    take_on(&stack, &t, other, "contact.created", "failed", 4).await;
    let at = format!("/api/webhooks/{id}/deliveries");
    let all = me.get(&at).await.expect(200).data();
    assert_eq!((&all["total"], all["deliveries"].as_array().unwrap().len()), (&json!(35), 35));
    let times: Vec<&str> =
        all["deliveries"].as_array().unwrap().iter().map(|d| d["created_at"].as_str().unwrap()).collect();
    assert!(times.is_sorted_by(|a, b| a >= b), "newest first");
    let (mut seen, mut cursor) = (BTreeSet::new(), String::new());
    for _ in 0..10 {
        let page = me.get(&format!("{at}?limit=4{cursor}")).await.expect(200).data();
        assert_eq!(page["total"], 35);
        for d in page["deliveries"].as_array().unwrap() {
            assert!(seen.insert(d["id"].as_str().unwrap().to_owned()), "twice");
        }
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(seen.len(), 35);
    let one = all["deliveries"][0]["event_id"].as_str().unwrap();
    for (filter, total) in [
        ("state=failed", 7),
        ("state=pending", 3),
        ("state=sending", 0),
        ("event=lead.updated", 10),
        ("event=lead.updated&state=failed&count=exact", 7),
        (&format!("event_id={one}"), 1),
        ("from=2999-01-01", 0),
        ("to=2020-01-01", 0),
    ] {
        assert_eq!(me.get(&format!("{at}?{filter}")).await.expect(200).data()["total"], total, "{filter}");
    }
    assert!(me.get(&format!("{at}?count=none")).await.expect(200).data().get("total").is_none());
    for (bad, field) in [
        ("state=lost", "state"),
        ("event_id=x", "event_id"),
        ("from=soon", "from"),
        ("cursor=x", "cursor"),
        ("limit=201", "limit"),
        ("sort=seq", "sort"),
    ] {
        assert_eq!(me.get(&format!("{at}?{bad}")).await.expect(400).fields(), [field]);
    }
    me.get(&format!("/api/webhooks/{}/deliveries", aisha_kernel::new_id())).await.expect(404);
    me.get(&format!("{at}/{}", aisha_kernel::new_id())).await.expect(404);
}

#[actix_web::test]
async fn a_delivery_shows_its_attempts_and_is_sent_anew() {
    let stack = Stack::start().await;
    let t = stack.tenant().await;
    let me = &t.admin.client;
    let id = subscribe_paused(&t, &["*"]).await;
    take_on(&stack, &t, id, "contact.created", "failed", 1).await;
    let at = format!("/api/webhooks/{id}/deliveries");
    let found = me.get(&at).await.expect(200).data()["deliveries"][0].clone();
    let (delivery, event) = (found["id"].as_str().unwrap().to_owned(), found["event_id"].clone());
    let attempts = format!(
        "UPDATE webhook_delivery SET attempts = 2, response_status = 500, first_attempt_at = now(), last_attempt_at = now() WHERE id = '{delivery}'; \
         INSERT INTO webhook_attempt (tenant_id, delivery_id, number, started_at, duration_ms, response_status, response_excerpt, error) \
         VALUES ('{t}', '{delivery}', 2, now(), 31, 500, 'it broke', NULL), ('{t}', '{delivery}', 1, now(), 15000, NULL, NULL, 'no answer in time')",
        t = t.id
    );
    stack.sql(&attempts).await;
    let at = format!("{at}/{delivery}");
    let shown = me.get(&at).await.expect(200).data();
    let log = shown["attempt_log"].as_array().unwrap();
    assert_eq!(log.iter().map(|a| a["number"].as_i64().unwrap()).collect::<Vec<_>>(), [1, 2]);
    assert_eq!((&log[0]["error"], &log[1]["response_excerpt"]), (&json!("no answer in time"), &json!("it broke")));
    assert_eq!(
        (&shown["body"], &shown["next_attempt_at"], &shown["response_status"]),
        (&json!("{}"), &json!(null), &json!(500))
    );

    let again = me.post(&format!("{at}/resend"), json!({})).await.expect(202);
    assert_eq!(again.header("location"), Some(at.as_str()));
    let again = again.data();
    assert_eq!((&again["state"], &again["attempts"], &again["event_id"]), (&json!("pending"), &json!(0), &event));
    assert!(
        again["next_attempt_at"].is_string() && again["finished_at"].is_null() && again["response_status"].is_null()
    );
    assert_eq!(me.get(&at).await.expect(200).data()["attempt_log"].as_array().unwrap().len(), 2, "the log stays");
    let audited = format!(
        "SELECT count(*) FROM audit_log WHERE action = 'delivery_resend' AND record_id = '{id}' AND changed_by = '{}' \
         AND new_values ->> 'delivery_id' = '{delivery}'",
        t.admin.user_id
    );
    assert_eq!(stack.count(&audited).await, 1);

    let sending = "state = 'sending', lease_owner = gen_random_uuid(), lease_until = now() + interval '1 hour'";
    stack.sql(&format!("UPDATE webhook_delivery SET {sending} WHERE id = '{delivery}'")).await;
    let refused = me.post(&format!("{at}/resend"), json!({})).await.expect(409);
    assert_eq!(refused.fields(), ["state"]);
    let failed = "state = 'failed', finished_at = now(), lease_owner = NULL, lease_until = NULL";
    stack.sql(&format!("UPDATE webhook_delivery SET {failed} WHERE id = '{delivery}'")).await;
    me.patch(&format!("/api/webhooks/{id}"), json!({ "is_active": false })).await.expect(200);
    assert_eq!(me.post(&format!("{at}/resend"), json!({})).await.expect(409).fields(), ["is_active"]);
    assert_eq!(stack.count(&audited).await, 1, "what is refused leaves no trace of having been done");
    assert_eq!(ledger(&t, id).await["failed"], 1);
}

/// What a dry run counts is what is done, a second time there is less to do, and the books agree.
#[actix_web::test]
async fn a_window_is_replayed() {
    let stack = Stack::start().await;
    let t = stack.tenant().await;
    let me = &t.admin.client;
    past_events(&stack, &t, 5).await;
    let id = subscribe_paused(&t, &["contact.created", "lead.*"]).await;
    for (event, state, n) in [
        ("contact.created", "delivered", 4),
        ("lead.updated", "failed", 3),
        ("lead.created", "cancelled", 2),
        ("lead.created", "pending", 2),
        ("lead.created", "sending", 1),
        ("test_event", "failed", 1),
    ] {
        take_on(&stack, &t, id, event, state, n).await;
    }
    let at = format!("/api/webhooks/{id}/replay");
    let run = async |more: Value| me.post(&at, window(more)).await.expect(200).data();
    let planned = run(json!({ "dry_run": true })).await;
    // The contact of the copies itself is in the window too, unless a sender has taken it on.
    let missing = planned["missing"].as_i64().unwrap();
    assert!((5..=6).contains(&missing), "{planned}");
    let counts = ["delivered", "failed", "cancelled"].map(|s| planned[s].as_i64().unwrap());
    assert_eq!((counts, planned["total"].as_i64()), ([4, 3, 2], Some(9 + missing)));
    for (more, total) in [
        (json!({ "states": ["failed"] }), 3),
        (json!({ "events": ["lead.*"] }), 5),
        (json!({ "events": ["lead.*"], "states": ["failed", "delivered"] }), 3),
        (json!({ "events": ["account.*"] }), 0),
        (json!({ "from": "2026-01-01", "to": "2026-01-02" }), 0),
    ] {
        let mut body = more.clone();
        body["dry_run"] = json!(true);
        assert_eq!(run(body).await["total"], total, "{more}");
    }
    assert_eq!(ledger(&t, id).await["pending"], 2, "counting changes nothing");

    let only = json!({ "states": ["failed", "missing"], "events": ["lead.*", "contact.created"] });
    let mut dry = only.clone();
    dry["dry_run"] = json!(true);
    let planned = run(dry.clone()).await;
    let (location, done) = replayed(&t, id, &window(only.clone()), "first").await;
    assert_eq!((&done["requeued"], &done["added"]), (&planned["failed"], &planned["missing"]));
    assert_eq!(run(dry).await["total"], 0, "nothing is left of that kind");
    assert_eq!(replayed(&t, id, &window(only), "second").await.1["added"], 0);
    assert_eq!(me.get(&location).await.expect(200).data()["id"], done["id"]);
    assert_eq!(me.get(&format!("{at}s")).await.expect(200).data()["total"], 2);
    let books = ledger(&t, id).await;
    assert_eq!((&books["balanced"], &books["failed"], &books["cancelled"]), (&json!(true), &json!(1), &json!(2)));
    assert_eq!(books["taken_on"], json!(13 + planned["missing"].as_i64().unwrap()));

    // The body is that of a live delivery: the record as the API shows it.
    let made =
        me.get(&format!("/api/webhooks/{id}/deliveries?event=contact.created&state=pending")).await.expect(200).data();
    let made = made["deliveries"][0]["id"].as_str().unwrap().to_owned();
    let made = me.get(&format!("/api/webhooks/{id}/deliveries/{made}")).await.expect(200).data();
    let body: Value = serde_json::from_str(made["body"].as_str().unwrap()).unwrap();
    assert_eq!((&body["id"], &body["event"]), (&made["event_id"], &json!("contact.created")));
    assert_eq!((&body["data"]["last_name"], &body["tenant_id"]), (&json!("Past"), &json!(t.id)));
    assert!(body["data"].get("search_text").is_none() && body["data"]["custom_fields"].is_object(), "{body}");

    for (bad, field) in [
        (json!({ "states": ["pending"] }), "states"),
        (json!({ "events": ["x"] }), "events.0"),
        (json!({ "from": "2020-01-01" }), "from"),
        (json!({ "from": null }), "from"),
        (json!({ "sideways": true }), "sideways"),
    ] {
        assert_eq!(me.post(&at, window(bad)).await.expect(422).fields(), [field]);
    }
    let audited = format!(
        "SELECT count(*) FROM audit_log WHERE table_name = 'webhook_replay' AND action = 'create' AND tenant_id = '{}'",
        t.id
    );
    assert_eq!(stack.count(&audited).await, 2);
    stack
        .sql(&format!(
            "UPDATE webhook_replay SET status = 'running' WHERE webhook_id = '{id}' AND id = '{}'",
            done["id"].as_str().unwrap()
        ))
        .await;
    me.post(&at, window(json!({}))).await.expect(409);
}

/// More than fits into one transaction, for two subscriptions: one has the bodies, the other uses them.
#[actix_web::test]
async fn a_long_replay_goes_through_in_steps() {
    let stack = Stack::start().await;
    let t = stack.tenant().await;
    let me = &t.admin.client;
    past_events(&stack, &t, 2_300).await;
    let (one, two) = (subscribe_paused(&t, &["contact.*"]).await, subscribe_paused(&t, &["*"]).await);
    take_on(&stack, &t, one, "lead.updated", "failed", 2_500).await;
    let body = window(json!({ "events": ["contact.created", "lead.*"], "to": null }));
    for (id, requeued) in [(one, 2_500), (two, 0)] {
        let (at, replay) = replayed(&t, id, &body, &format!("long {id}")).await;
        assert_eq!(replayed(&t, id, &body, &format!("long {id}")).await.0, at, "asked twice, done once");
        assert_eq!(me.get(&format!("/api/webhooks/{id}/replays")).await.expect(200).data()["total"], 1);
        assert_eq!(replay["requeued"], json!(requeued), "{replay}");
        assert!(replay["added"].as_i64() >= Some(2_300), "{replay}");
        let books = ledger(&t, id).await;
        assert!(books["balanced"] == true && books["failed"] == 0, "{books}");
    }
    let bodies =
        format!("SELECT count(*) - count(DISTINCT event_id) FROM webhook_message WHERE tenant_id = '{}'", t.id);
    assert_eq!(stack.count(&bodies).await, 0);
}

/// The books are read while deliveries are taken on, sent, finished, sent anew and removed: never a moment out of balance.
#[actix_web::test]
async fn books_balance_at_every_moment() {
    let stack = Stack::start().await;
    let t = stack.tenant().await;
    let me = &t.admin.client;
    let id = subscribe_paused(&t, &["*"]).await;
    take_on(&stack, &t, id, "contact.created", "pending", 200).await;
    let tenant = t.id;
    let worker = tokio::task::spawn_local(async move {
        let (db, admin) = (Db::new(&config()).unwrap(), superuser().await);
        for round in 0..40 {
            let some = format!("id IN (SELECT id FROM webhook_delivery WHERE webhook_id = '{id}' AND state = ");
            let sql = format!(
                "UPDATE webhook_delivery SET state = 'sending', lease_owner = gen_random_uuid(), lease_until = now() + interval '1 day' WHERE {some}'pending' LIMIT 40); \
                 UPDATE webhook_delivery SET state = (ARRAY['delivered', 'failed', 'cancelled'])[1 + {round} % 3], finished_at = now() - interval '40 days', \
                 created_at = now() - interval '40 days', lease_owner = NULL, lease_until = NULL WHERE {some}'sending' LIMIT 30)"
            );
            admin.batch_execute(&sql).await.unwrap();
            let more = format!(
                "WITH m AS (INSERT INTO webhook_message (tenant_id, event_id, event, seq, body, happened_at) \
                 SELECT '{tenant}', gen_random_uuid(), 'lead.created', n, '{{}}', now() FROM generate_series(1, 9) AS n RETURNING *), \
                 d AS (INSERT INTO webhook_delivery (tenant_id, webhook_id, event_id, event, seq) \
                 SELECT tenant_id, '{id}', event_id, event, seq FROM m RETURNING 1) \
                 UPDATE webhook_ledger SET taken_on = taken_on + (SELECT count(*) FROM d) WHERE webhook_id = '{id}'"
            );
            admin.batch_execute(&more).await.unwrap();
            if round % 5 == 4 {
                retire(&db, tenant).await;
            }
        }
    });
    let mut looks = 0;
    while !worker.is_finished() || looks < 20 {
        let books = ledger(&t, id).await;
        assert_eq!(books["balanced"], true, "{books}");
        looks += 1;
        if looks % 7 == 0 {
            let failed =
                me.get(&format!("/api/webhooks/{id}/deliveries?state=failed&limit=1")).await.expect(200).data();
            if let Some(delivery) = failed["deliveries"][0]["id"].as_str() {
                let again = me.post(&format!("/api/webhooks/{id}/deliveries/{delivery}/resend"), json!({})).await;
                assert!(matches!(again.status.as_u16(), 202 | 404 | 409), "{}", again.text);
            }
            me.post(&format!("/api/webhooks/{id}/test"), json!({})).await.expect(202);
        }
    }
    worker.await.unwrap();
    let books = ledger(&t, id).await;
    assert!(books["balanced"] == true && books["removed"]["delivered"].as_i64() > Some(0), "{books}");
    assert!(books["taken_on"].as_i64() >= Some(200 + 40 * 9), "{books}");
}

fn config() -> DbConfig {
    DbConfig { url: address("DATABASE_URL"), pool_size: 2, application_name: "webhook log".into() }
}

async fn retire(db: &Db, tenant: Uuid) {
    let why = SystemReason { reason: "test", tenant: Some(TenantId(tenant)), ..SystemReason::default() };
    while db.system(&why, async |tx| retention_step(tx).await).await.unwrap() {}
}

#[actix_web::test]
async fn what_is_old_goes_and_stays_counted() {
    let stack = Stack::start().await;
    let (t, other) = (stack.tenant().await, stack.tenant().await);
    let (id, theirs) = (subscribe_paused(&t, &["*"]).await, subscribe_paused(&other, &["*"]).await);
    for (state, n) in [("delivered", 1_300), ("failed", 20), ("cancelled", 5), ("pending", 4)] {
        take_on(&stack, &t, id, "contact.created", state, n).await;
    }
    take_on(&stack, &other, theirs, "contact.created", "delivered", 3).await;
    let old = |tenant: Uuid| {
        format!(
            "UPDATE webhook_delivery SET created_at = now() - interval '31 days', finished_at = CASE WHEN finished_at IS NOT NULL \
             THEN now() - interval '31 days' END WHERE tenant_id = '{tenant}'; \
             UPDATE webhook_message SET created_at = now() - interval '31 days' WHERE tenant_id = '{tenant}'; \
             INSERT INTO webhook_attempt (tenant_id, delivery_id, number, started_at, duration_ms) \
             SELECT tenant_id, id, 1, now(), 1 FROM webhook_delivery WHERE tenant_id = '{tenant}' AND state = 'failed'"
        )
    };
    stack.sql(&old(t.id)).await;
    stack.sql(&old(other.id)).await;
    take_on(&stack, &t, id, "contact.created", "delivered", 6).await;
    stack
        .sql(&format!(
            "INSERT INTO webhook_message (tenant_id, event_id, event, seq, body, happened_at, created_at) \
         VALUES ('{}', gen_random_uuid(), 'contact.created', 1, '{{}}', now(), now() - interval '31 days')",
            t.id
        ))
        .await;
    retire(&Db::new(&config()).unwrap(), t.id).await;
    let books = ledger(&t, id).await;
    assert_eq!(books["removed"], json!({ "delivered": 1_300, "failed": 20, "cancelled": 5 }));
    assert_eq!((&books["balanced"], &books["taken_on"]), (&json!(true), &json!(1_335)));
    assert_eq!((&books["delivered"], &books["pending"], &books["attempts"]), (&json!(6), &json!(4), &json!(0)));
    let left = |tenant: Uuid| format!("SELECT count(*) FROM webhook_message WHERE tenant_id = '{tenant}'");
    assert_eq!((stack.count(&left(t.id)).await, stack.count(&left(other.id)).await), (10, 3));
    assert_eq!(ledger(&other, theirs).await["delivered"], 3, "another tenant's are left alone");

    let abandoned = format!(
        "INSERT INTO webhook_replay (tenant_id, webhook_id, window_from, window_to, states, updated_at) \
         VALUES ('{}', '{id}', now() - interval '1 day', now(), '{{failed}}', now() - interval '1 hour')",
        t.id
    );
    stack.sql(&abandoned).await;
    let why = SystemReason { reason: "test", tenant: Some(TenantId(t.id)), ..SystemReason::default() };
    let db = Db::new(&config()).unwrap();
    db.system(&why, async |tx| aisha_webhooks::replay_run::replay_end_abandoned(tx).await).await.unwrap();
    let replay =
        t.admin.client.get(&format!("/api/webhooks/{id}/replays")).await.expect(200).data()["replays"][0].clone();
    assert!(replay["status"] == "failed" && replay["error"].as_str().unwrap().contains("stopped"), "{replay}");
}

#[actix_web::test]
async fn a_day_in_numbers() {
    let stack = Stack::start().await;
    let t = stack.tenant().await;
    let id = subscribe_paused(&t, &["*"]).await;
    let empty = t.admin.client.get(&format!("/api/webhooks/{id}/metrics")).await.expect(200).data();
    assert_eq!(
        (&empty["deliveries"], &empty["success_rate"], &empty["by_hour"]),
        (&json!(0), &json!(null), &json!([]))
    );
    take_on(&stack, &t, id, "contact.created", "delivered", 3).await;
    take_on(&stack, &t, id, "contact.created", "failed", 1).await;
    let attempts = format!(
        "UPDATE webhook_delivery d SET first_attempt_at = m.happened_at + interval '200 milliseconds', last_attempt_at = now() \
         FROM webhook_message m WHERE m.event_id = d.event_id AND d.webhook_id = '{id}'; \
         INSERT INTO webhook_attempt (tenant_id, delivery_id, number, started_at, duration_ms, response_status) \
         SELECT tenant_id, id, n, now() - interval '1 hour', n * 10, CASE WHEN state = 'delivered' AND n = 2 THEN 204 WHEN n = 1 THEN 503 END \
         FROM webhook_delivery, generate_series(1, 2) AS n WHERE webhook_id = '{id}'"
    );
    stack.sql(&attempts).await;
    let numbers = t.admin.client.get(&format!("/api/webhooks/{id}/metrics")).await.expect(200).data();
    assert_eq!((&numbers["deliveries"], &numbers["delivered"], &numbers["failed"]), (&json!(4), &json!(3), &json!(1)));
    assert_eq!((&numbers["success_rate"], &numbers["attempts"]), (&json!(0.75), &json!(8)));
    assert_eq!(numbers["responses"], json!({ "2xx": 3, "3xx": 0, "4xx": 0, "5xx": 4, "other": 0, "none": 1 }));
    assert_eq!(
        (&numbers["latency_ms"], &numbers["duration_ms"]),
        (&json!({"p50": 200, "p95": 200}), &json!({"p50": 10, "p95": 20}))
    );
    let hours = numbers["by_hour"].as_array().unwrap();
    let sum = |field: &str| hours.iter().map(|h| h[field].as_i64().unwrap()).sum::<i64>();
    assert_eq!((sum("deliveries"), sum("attempts"), sum("accepted")), (4, 8, 3));
    let live = subscribe(&t, &[]).await;
    assert_eq!(ledger(&t, live).await["oldest_undelivered_seconds"], json!(null));
}
