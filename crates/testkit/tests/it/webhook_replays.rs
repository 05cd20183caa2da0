//! Replays that died, and what is sent by hand: in nobody's way, and no measure of how late the service is.

use super::webhook_scene::Scene;
use aisha_db::{Db, DbConfig, SystemReason};
use aisha_kernel::{TenantId, new_id};
use aisha_testkit::{Stack, TestTenant, own::Own};
use aisha_webhooks::{
    dispatch,
    replay::Replay,
    replay_run::{ALIVE_EVERY, replay_alive, replay_run},
};
use serde_json::{Value, json};
use std::time::Duration;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

fn since(hours: u64) -> String {
    let from = aisha_kernel::clock::now() - Duration::from_secs(hours * 3_600);
    from.format(&Rfc3339).unwrap()
}

fn why(t: &TestTenant) -> SystemReason {
    SystemReason { reason: "test", tenant: Some(TenantId(t.id)), ..SystemReason::default() }
}

/// A replay as its process left it, without progress for this long.
async fn left(scene: &Scene, hook: Uuid, idle: &str) -> Uuid {
    let (id, tenant) = (new_id(), scene.tenant.id);
    let sql = format!(
        "INSERT INTO webhook_replay (tenant_id, id, webhook_id, window_from, window_to, states, created_at, updated_at) \
         VALUES ('{tenant}', '{id}', '{hook}', now() - interval '1 day', now(), '{{failed,missing}}', \
         now(), now() - interval '{idle}')"
    );
    scene.stack.sql(&sql).await;
    id
}

#[actix_web::test]
async fn a_replay_whose_process_died_is_in_nobody_s_way() {
    let scene = Scene::new().await;
    let (t, api) = (&scene.tenant, &scene.tenant.admin.client);
    let hook = scene.subscribe("/hook", "paused_at = now()").await;
    scene.take_on(&scene.events("contact.created", 3)).await;
    scene
        .stack
        .sql(&format!("UPDATE webhook_delivery SET state = 'failed', finished_at = now() WHERE webhook_id = '{hook}'"))
        .await;
    let at = format!("/api/webhooks/{hook}/replay");
    // The events happened long ago, whatever the test says.
    scene.stack.sql(&format!("UPDATE webhook_message SET happened_at = now() WHERE tenant_id = '{}'", t.id)).await;
    let ask = async || api.post(&at, json!({ "from": since(2), "states": ["failed"] })).await;

    let alive = left(&scene, hook, "90 seconds").await;
    assert!(ask().await.expect(409).text.contains(&alive.to_string()));
    // It says so often enough.
    assert!(4 * ALIVE_EVERY <= Duration::from_secs(120));
    let idle = format!("id = '{alive}' AND updated_at < now() - interval '1 minute'");
    assert_eq!(scene.count("webhook_replay", &idle).await, 1);
    replay_alive(&scene.db, &why(t), alive).await;
    assert_eq!(scene.count("webhook_replay", &idle).await, 0);

    scene
        .stack
        .sql(&format!("UPDATE webhook_replay SET updated_at = now() - interval '121 seconds' WHERE id = '{alive}'"))
        .await;
    let dead = api.get(&format!("{at}s/{alive}")).await.expect(200).data();
    let done = ask().await.expect(200).data();
    assert_eq!((&done["status"], &done["requeued"]), (&json!("completed"), &json!(3)), "{done}");
    let ended = api.get(&format!("{at}s/{alive}")).await.expect(200).data();
    assert_eq!(ended["status"], "failed");
    assert!(ended["error"].as_str().unwrap().contains("stopped") && ended["completed_at"].is_string(), "{ended}");

    // It was not dead, only slow: it stops, and does nothing beside the one that took its place.
    let finished =
        format!("UPDATE webhook_delivery SET state = 'failed', finished_at = now() WHERE webhook_id = '{hook}'");
    scene.stack.sql(&finished).await;
    let slow = replay_of(&dead);
    let stopped = replay_run(&scene.db, &why(t), &slow, async |_| Ok(Vec::new())).await.unwrap_err();
    assert_eq!(stopped.code, aisha_kernel::ErrorCode::Conflict);
    assert_eq!(scene.count("webhook_delivery", "state = 'failed'").await, 3);
    let after = api.get(&format!("{at}s/{alive}")).await.expect(200).data();
    assert_eq!(after, ended, "it stays as it was ended");
    scene.balanced().await;
}

fn replay_of(shown: &Value) -> Replay {
    let id = |name: &str| shown[name].as_str().unwrap().parse().unwrap();
    let time = |name: &str| time::OffsetDateTime::parse(shown[name].as_str().unwrap(), &Rfc3339).unwrap();
    Replay {
        id: id("id"),
        webhook_id: id("webhook_id"),
        window_from: time("window_from"),
        window_to: time("window_to"),
        events: Vec::new(),
        states: vec!["failed".into(), "missing".into()],
        status: "running".into(),
        requeued: 0,
        added: 0,
        error: None,
        created_by: None,
        created_at: time("created_at"),
        updated_at: time("updated_at"),
        completed_at: None,
    }
}

/// How late the first attempt is says something of the service only where the service decided when.
#[actix_web::test]
async fn what_is_sent_by_hand_is_not_late() {
    let scene = Scene::new().await;
    let (t, api) = (&scene.tenant, &scene.tenant.admin.client);
    let contact = api.post("/api/contacts", json!({ "first_name": "Ada", "last_name": "King" })).await.expect(201).id();
    let hook = scene.subscribe("/hook", "paused_at = now()").await;
    let events = scene.events("lead.created", 2);
    let keys = scene.take_on(&events).await;
    let delivery = |event: Uuid| {
        format!("SELECT id::text FROM webhook_delivery WHERE webhook_id = '{hook}' AND event_id = '{event}'")
    };
    let resent = scene.text(&delivery(events[0].event_id)).await;
    api.post(&format!("/api/webhooks/{hook}/deliveries/{resent}/resend"), json!({})).await.expect(202);
    let body = json!({ "from": since(2), "states": ["missing"], "events": ["contact.created"] });
    assert_eq!(api.post(&format!("/api/webhooks/{hook}/replay"), body).await.expect(200).data()["added"], 1);
    api.post(&format!("/api/webhooks/{hook}/resume"), json!({})).await.expect(200);

    let claim = dispatch::claim(&scene.db, new_id(), &keys, |t| vec![9; t.len()]).await.unwrap();
    let mut late: Vec<(&str, bool)> = claim.deliveries.iter().map(|d| (d.event.as_str(), d.lag.is_some())).collect();
    late.sort_unstable();
    assert_eq!(
        late,
        [("contact.created", false), ("lead.created", false), ("lead.created", true)],
        "{contact} {}",
        t.id
    );
    // The numbers of the day agree.
    scene.stack.sql(&format!(
        "UPDATE webhook_delivery d SET first_attempt_at = m.happened_at + CASE WHEN d.by_hand THEN interval '20 days' ELSE interval '70 milliseconds' END \
         FROM webhook_message m WHERE m.event_id = d.event_id AND d.webhook_id = '{hook}'"
    )).await;
    let numbers = api.get(&format!("/api/webhooks/{hook}/metrics")).await.expect(200).data();
    assert_eq!(numbers["latency_ms"], json!({ "p50": 70, "p95": 70 }));
}

/// The alarm is over what waits, not over how old it is.
#[actix_web::test]
async fn an_old_delivery_that_is_sent_anew_waits_since_then() {
    let own = Own::new().await;
    let config = DbConfig { url: own.database_url.clone(), pool_size: 1, application_name: "oldest".into() };
    let stack = Stack::events_in(own, &[("CRM_CORE_ROLES", "api")]).await;
    let (db, t) = (Db::new(&config).unwrap(), stack.tenant().await);
    let hook = json!({ "url": "http://127.0.0.1:9/hook", "event_types": ["*"] });
    let hook = t.admin.client.post("/api/webhooks", hook).await.expect(201).id();
    let delivery = t.admin.client.post(&format!("/api/webhooks/{hook}/test"), json!({})).await.expect(202).id();
    let old = "created_at = now() - interval '29 days', scheduled_at = now() - interval '29 days'";
    stack.sql(&format!("UPDATE webhook_delivery SET {old}, state = 'failed', finished_at = now()")).await;
    assert_eq!(dispatch::oldest_pending(&db).await.unwrap(), Duration::ZERO);
    t.admin.client.post(&format!("/api/webhooks/{hook}/deliveries/{delivery}/resend"), json!({})).await.expect(202);
    let waits = dispatch::oldest_pending(&db).await.unwrap();
    assert!(waits > Duration::ZERO && waits < Duration::from_secs(60), "{waits:?}");
}
