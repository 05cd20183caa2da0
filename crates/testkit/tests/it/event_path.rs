//! The whole way of an event, with every process at work: a change over the API, the relay, the broker, the sender, and the
//! receiver of a subscription that was made over the API.

use aisha_testkit::{Receiver, Stack, TestTenant, own::Own, receiver::Arrived, switch::Switch};
use aisha_webhooks::signature::Signer;
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};
use tokio::time::sleep;
use uuid::Uuid;

const SOON: Duration = Duration::from_secs(20);

/// A subscription and the secret that it was given.
struct Subscription {
    id: Uuid,
    secret: String,
}

async fn subscribe(t: &TestTenant, url: &str, event_types: &[&str]) -> Subscription {
    let body = json!({ "url": url, "event_types": event_types });
    let made = t.admin.client.post("/api/webhooks", body).await.expect(201).data();
    let text = |name: &str| made[name].as_str().unwrap().to_owned();
    Subscription { id: text("id").parse().unwrap(), secret: text("secret") }
}

/// The event that has arrived, after its signatures.
fn verified(got: &Arrived, secret: &str) -> Value {
    let signer = Signer::new(&secret.to_owned().into(), None);
    let id = got.header("webhook-id").parse().unwrap();
    let signed = signer.sign(id, got.header("webhook-timestamp").parse().unwrap(), &got.body);
    assert_eq!(got.header("x-webhook-signature"), signed.hex);
    assert_eq!(got.header("webhook-signature"), signed.list.unwrap());
    let event = got.json();
    assert_eq!((&event["id"], &event["event"]), (&json!(id), &json!(got.header("x-webhook-event"))));
    event
}

/// Waits until the books say that this many were delivered and nothing else was taken on.
async fn delivered(t: &TestTenant, webhook: Uuid, count: usize) {
    let end = Instant::now() + SOON;
    loop {
        let ledger = t.admin.client.get(&format!("/api/webhooks/{webhook}/ledger")).await.expect(200).data();
        assert_eq!(ledger["balanced"], true, "{ledger}");
        if ledger["delivered"] == count && ledger["taken_on"] == count {
            return;
        }
        assert!(Instant::now() < end, "{count} are not delivered: {ledger}");
        sleep(Duration::from_millis(50)).await;
    }
}

#[actix_web::test]
async fn a_change_reaches_those_who_asked_for_it_and_nobody_else() {
    let stack = Stack::events().await;
    let (ours, theirs) = (stack.tenant().await, stack.tenant().await);
    let receiver = Receiver::start();
    let contacts = subscribe(&ours, &receiver.url("/contacts"), &["contact.*"]).await;
    let leads = subscribe(&ours, &receiver.url("/leads"), &["lead.created"]).await;
    let foreign = subscribe(&theirs, &receiver.url("/theirs"), &["lead.*", "contact.*"]).await;

    let api = &ours.admin.client;
    let id = api.post("/api/contacts", json!({ "first_name": "Ada", "last_name": "King" })).await.expect(201).id();
    let created = api.get(&format!("/api/contacts/{id}")).await.expect(200).data();
    api.patch(&format!("/api/contacts/{id}"), json!({ "job_title": "Countess" })).await.expect(200);
    let updated = api.get(&format!("/api/contacts/{id}")).await.expect(200).data();
    api.delete(&format!("/api/contacts/{id}")).await.expect(200);
    let lead = json!({ "first_name": "Bo", "last_name": "Li", "company": "Acme" });
    api.post("/api/leads", lead).await.expect(201);
    // What is refused changes nothing and tells nobody.
    api.post("/api/contacts", json!({ "first_name": "" })).await.expect(422);

    let got = receiver.wait("/contacts", 3, SOON).await;
    let mut events: Vec<Value> = got.iter().map(|a| verified(a, &contacts.secret)).collect();
    events.sort_by_key(|e| e["seq"].as_i64());
    let names: Vec<&str> = events.iter().map(|e| e["event"].as_str().unwrap()).collect();
    assert_eq!(names, ["contact.created", "contact.updated", "contact.deleted"]);
    assert_eq!((&events[0]["data"], &events[1]["data"]), (&created, &updated), "as the API shows it");
    assert_eq!(events[1]["previous"], json!({ "job_title": null }));
    let lead = &receiver.wait("/leads", 1, SOON).await[0];
    assert_eq!(verified(lead, &leads.secret)["event"], "lead.created");
    delivered(&ours, contacts.id, 3).await;
    delivered(&ours, leads.id, 1).await;

    // The neighbour hears of its own and of nothing else, and does not see our books.
    theirs
        .admin
        .client
        .post("/api/leads", json!({ "first_name": "C", "last_name": "D", "company": "E" }))
        .await
        .expect(201);
    let event = verified(&receiver.wait("/theirs", 1, SOON).await[0], &foreign.secret);
    assert_eq!((&event["event"], &event["tenant_id"]), (&json!("lead.created"), &json!(theirs.id)));
    delivered(&theirs, foreign.id, 1).await;
    theirs.admin.client.get(&format!("/api/webhooks/{}/deliveries", contacts.id)).await.expect(404);
    let arrived: BTreeMap<String, usize> = receiver.arrived().into_iter().fold(BTreeMap::new(), |mut all, a| {
        *all.entry(a.path).or_default() += 1;
        all
    });
    assert_eq!(arrived, BTreeMap::from([("/contacts".into(), 3), ("/leads".into(), 1), ("/theirs".into(), 1)]));
}

#[actix_web::test]
async fn while_the_broker_is_away_work_goes_on_and_afterwards_everything_arrives() {
    let own = Own::new().await;
    let (mut wire, through) = Switch::before(&own.amqp_url).await;
    let stack = Stack::events_in(own, &[("AMQP_URL", &through)]).await;
    let t = stack.tenant().await;
    let receiver = Receiver::start();
    let subscription = subscribe(&t, &receiver.url("/hook"), &["contact.*"]).await;
    let api = &t.admin.client;
    let id = api.post("/api/contacts", json!({ "first_name": "Ada", "last_name": "King" })).await.expect(201).id();
    receiver.wait("/hook", 1, SOON).await;

    wire.off().await;
    let mut made = BTreeSet::from([id]);
    for n in 0..100 {
        let body = json!({ "first_name": format!("N{n}"), "last_name": "Away" });
        made.insert(api.post("/api/contacts", body).await.expect(201).id());
        api.patch(&format!("/api/contacts/{id}"), json!({ "job_title": format!("{n}") })).await.expect(200);
    }
    sleep(Duration::from_secs(2)).await;
    assert_eq!(receiver.count(), 1, "nothing arrives past the broker");
    wire.on().await;

    let got = receiver.wait("/hook", 201, Duration::from_secs(60)).await;
    delivered(&t, subscription.id, 201).await;
    let events: Vec<Value> = got.iter().map(|a| verified(a, &subscription.secret)).collect();
    let of = |name: &'static str| events.iter().filter(move |e| e["event"] == name);
    let created: BTreeSet<Uuid> =
        of("contact.created").map(|e| e["data"]["id"].as_str().unwrap().parse().unwrap()).collect();
    assert_eq!(created, made);
    let mut changes: Vec<&Value> = of("contact.updated").collect();
    changes.sort_by_key(|e| e["seq"].as_i64());
    let titles: Vec<String> = changes.iter().map(|e| e["data"]["job_title"].as_str().unwrap().to_owned()).collect();
    assert_eq!(titles, (0..100).map(|n| n.to_string()).collect::<Vec<_>>(), "each with the state that it made");
}

#[actix_web::test]
async fn switched_off_nothing_leaves_and_nothing_waits() {
    let stack = Stack::events_with(&[("WEBHOOKS_ENABLED", "false")]).await;
    let t = stack.tenant().await;
    let receiver = Receiver::start();
    let subscription = subscribe(&t, &receiver.url("/hook"), &["*"]).await;
    let body = json!({ "first_name": "Ada", "last_name": "King" });
    let id = t.admin.client.post("/api/contacts", body).await.expect(201).id();
    // It is published all the same: others listen.
    let passed = format!(
        "SELECT count(*) FROM event_outbox e JOIN event_relay r ON r.shard = e.shard \
         AND (r.transaction_id, r.seq) >= (e.transaction_id, e.seq) WHERE e.record_id = '{id}'"
    );
    let end = Instant::now() + SOON;
    while stack.count(&passed).await == 0 {
        assert!(Instant::now() < end, "the relay stands still");
        sleep(Duration::from_millis(50)).await;
    }
    sleep(Duration::from_secs(1)).await;
    assert_eq!(receiver.count(), 0);
    assert_eq!(
        stack.count("SELECT (SELECT count(*) FROM webhook_delivery) + (SELECT count(*) FROM webhook_message)").await,
        0
    );
    let queues = stack.own.as_ref().unwrap().queues().await;
    assert!(!queues.iter().any(|name| name.starts_with("aisha.webhooks")), "{queues:?}");
    // A test says that it cannot be sent, instead of waiting for ever.
    let test = t.admin.client.post(&format!("/api/webhooks/{}/test", subscription.id), json!({})).await;
    assert!([409, 503].contains(&test.status.as_u16()), "{}", test.status);
}
