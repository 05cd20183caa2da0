//! A receiver says that it is gone: the admins of its tenant hear of it, and find it in their log.

use aisha_bus::{Bus, Envelope, Outgoing, Publisher};
use aisha_config::LogSection;
use aisha_db::DbConfig;
use aisha_operations::recording::Recording;
use aisha_testkit::{Person, Receiver, Stack, own::Own, receiver::Reply};
use serde_json::{Value, json, value::to_raw_value};
use std::time::{Duration, Instant};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use tokio::time::sleep;
use uuid::Uuid;

const SOON: Duration = Duration::from_secs(30);

async fn inbox(person: &Person) -> Vec<Value> {
    let data = person.client.get("/api/notifications").await.expect(200).data();
    data["notifications"].as_array().unwrap().clone()
}

/// Waits until somebody has been told something.
async fn told(person: &Person) -> Vec<Value> {
    let end = Instant::now() + SOON;
    loop {
        let all = inbox(person).await;
        if !all.is_empty() {
            return all;
        }
        assert!(Instant::now() < end, "nobody is told");
        sleep(Duration::from_millis(50)).await;
    }
}

/// Publishes the event of a webhook's end once more, as a relay does that died before it noted how far it was.
async fn again(stack: &Stack, own: &Own, webhook: Uuid, times: usize) {
    let admin = aisha_testkit::database::connect(&own.admin_url).await;
    let sql = "SELECT id, seq, tenant_id, created_at, data, previous FROM event_outbox \
               WHERE record_id = $1 AND event = 'webhook.updated'";
    let row = admin.query_one(sql, &[&webhook]).await.unwrap();
    let said = Envelope {
        id: row.get(0),
        seq: row.get(1),
        event: "webhook.updated".into(),
        timestamp: row.get::<_, OffsetDateTime>(3).format(&Rfc3339).unwrap(),
        tenant_id: row.get(2),
        data: to_raw_value(&row.get::<_, Value>(4)).unwrap(),
        previous: Some(to_raw_value(&row.get::<_, Value>(5)).unwrap()),
    };
    assert_eq!(stack.count("SELECT count(*) FROM notification_event").await, 1);
    let mut publisher = Publisher::new(&Bus::connect_lazy(&own.amqp_url).unwrap(), &[]);
    publisher.connected().await;
    let said = Outgoing::new(&said, "webhook", Some(webhook)).unwrap();
    publisher.publish(&vec![said; times]).await.unwrap();
}

#[actix_web::test]
async fn admins_hear_of_a_webhook_whose_receiver_is_gone() {
    let _guard = aisha_telemetry::init("test", &LogSection { level: "off".into(), ..LogSection::default() });
    let stack = Stack::events().await;
    let own = stack.own.clone().unwrap();
    let config = DbConfig { url: own.database_url.clone(), pool_size: 1, application_name: "log".into() };
    let recording = Recording::start("crm-core", "1.2.3", config, || async || json!({})).unwrap();
    let (t, other) = (stack.tenant().await, stack.tenant().await);
    let receiver = Receiver::start();
    receiver.answer(|_| Reply::Status(410));
    let body = json!({ "url": receiver.url("/hook?token=x"), "event_types": ["contact.*"], "description": "The shop" });
    let webhook = t.admin.client.post("/api/webhooks", body).await.expect(201).id();
    let contact = json!({ "first_name": "Ada", "last_name": "King" });
    t.admin.client.post("/api/contacts", contact).await.expect(201);

    let mine = told(&t.admin).await;
    assert_eq!((mine.len(), &mine[0]["count"], &mine[0]["type"]), (1, &json!(1), &json!("webhook")));
    assert_eq!(mine[0]["title"], "The webhook The shop was switched off");
    let (message, url) = (mine[0]["message"].as_str().unwrap(), receiver.url("/hook"));
    assert!(message.starts_with(&format!("{url} answered that it is gone (410).")), "{message}");
    let read = format!("/api/notifications/{}/read", mine[0]["id"].as_str().unwrap());
    t.admin.client.post(&read, json!({})).await.expect(200);

    // The broker delivers it twice more; what comes after it shows when that is over.
    again(&stack, &own, webhook, 2).await;
    let lead = json!({ "first_name": "B", "last_name": "C", "company": "D", "assigned_to": t.employee.employee_id });
    t.admin.client.post("/api/leads", lead).await.expect(201);
    told(&t.employee).await;
    let still = inbox(&t.admin).await;
    assert_eq!((still.len(), &still[0]["count"], &still[0]["is_read"]), (1, &json!(1), &json!(true)));
    assert!(inbox(&other.admin).await.is_empty());

    let logged = async |person: &Person| {
        let found = person.client.get("/api/system-logs?q=switched+off").await.expect(200).data();
        found["system-logs"].as_array().unwrap().clone()
    };
    let end = Instant::now() + SOON;
    while logged(&t.admin).await.is_empty() {
        assert!(Instant::now() < end, "the log does not say it");
        sleep(Duration::from_millis(100)).await;
    }
    let line = &logged(&t.admin).await[0];
    assert_eq!((&line["message"], &line["fields"]["webhook"]), (&json!("a webhook was switched off"), &json!(webhook)));
    assert!(logged(&other.admin).await.is_empty());
    recording.stop().await.unwrap();
}
