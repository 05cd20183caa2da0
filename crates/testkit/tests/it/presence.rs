//! Heartbeats and who is online.

use aisha_auth::{AccessLevel, Role};
use aisha_testkit::Stack;
use serde_json::{Value, json};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

#[actix_web::test]
async fn a_heartbeat_is_cheap_and_leaves_no_other_trace() {
    let stack = Stack::platform().await;
    let t = stack.tenant().await;
    let reader = stack.person_with(Some(t.id), Role::Employee, AccessLevel::Read).await;
    let id = reader.user_id;
    let trace = format!(
        "SELECT (SELECT count(*) FROM audit_log WHERE record_id = '{id}') + (SELECT count(*) FROM event_outbox \
         WHERE record_id = '{id}') + (SELECT version FROM users WHERE id = '{id}')"
    );
    let before = stack.count(&trace).await;
    let first = reader.client.post("/api/users/heartbeat", json!({})).await.expect(200).data();
    assert_eq!((&first["id"], &first["live_status"]), (&json!(id), &json!("online")));
    let row = format!("SELECT xmin::text::bigint FROM users WHERE id = '{id}'");
    let written = stack.count(&row).await;
    let again = reader.client.send("POST", "/api/users/heartbeat", &[], None).await.expect(200).data();
    assert_eq!((&again["last_seen_at"], stack.count(&row).await), (&first["last_seen_at"], written), "no second write");
    stack.sql(&format!("UPDATE users SET last_seen_at = now() - interval '31 seconds' WHERE id = '{id}'")).await;
    let later = reader.client.post("/api/users/heartbeat", json!({})).await.expect(200).data();
    let seen = |data: &Value| OffsetDateTime::parse(data["last_seen_at"].as_str().unwrap(), &Rfc3339).unwrap();
    assert!(seen(&later) > seen(&first));
    assert_eq!(stack.count(&trace).await, before);

    let key = json!({"name": "k", "permissions": ["*"]});
    let key = t.admin.client.post("/api/apikeys", key).await.expect(201).data()["key"].as_str().unwrap().to_owned();
    stack.anonymous().with("x-api-key", key).post("/api/users/heartbeat", json!({})).await.expect(403);
    stack.superadmin().await.client.post("/api/users/heartbeat", json!({})).await.expect(200);
}

#[actix_web::test]
async fn colleagues_see_each_other_and_nobody_else() {
    let stack = Stack::platform().await;
    let (t, other, root) = (stack.tenant().await, stack.tenant().await, stack.superadmin().await);
    for person in [&t.manager, &t.employee, &other.employee] {
        person.client.post("/api/users/heartbeat", json!({})).await.expect(200);
    }
    let who = |data: &Value| -> Vec<String> {
        let users = data["users"].as_array().unwrap().iter();
        let mut ids: Vec<String> = users.map(|u| u["id"].as_str().unwrap().to_owned()).collect();
        ids.sort();
        ids
    };
    let mut there = [t.manager.user_id.to_string(), t.employee.user_id.to_string()];
    there.sort();
    for person in t.people() {
        let online = person.client.get("/api/users/presence?live_status=online").await.expect(200).data();
        assert_eq!((who(&online), &online["total"]), (there.to_vec(), &json!(2)), "{}", person.role);
        let all = person.client.get("/api/users/presence").await.expect(200).data();
        assert_eq!(all["total"], 4);
        let shown: Vec<&String> = all["users"][0].as_object().unwrap().keys().collect();
        assert_eq!(shown.len(), 4, "{shown:?}");
        person.client.get(&format!("/api/users/presence?tenant_id={}", other.id)).await.expect(403);
    }
    root.client.get("/api/users/presence").await.expect(400);
    let seen = root.client.get(&format!("/api/users/presence?live_status=online&tenant_id={}", t.id)).await;
    assert_eq!(who(&seen.expect(200).data()), there);
    t.admin.client.get("/api/users/presence?live_status=away").await.expect(400);

    let list = t.admin.client.get("/api/users?live_status=online").await.expect(200).data();
    assert_eq!((who(&list), &list["total"]), (there.to_vec(), &json!(2)));
    let rest = t.admin.client.get("/api/users?live_status=offline").await.expect(200).data();
    assert_eq!((&rest["total"], &rest["users"][0]["live_status"]), (&json!(2), &json!("offline")));
    // Two minutes later, and at once for whoever is deactivated.
    let id = t.manager.user_id;
    stack.sql(&format!("UPDATE users SET last_seen_at = now() - interval '121 seconds' WHERE id = '{id}'")).await;
    t.admin.client.post(&format!("/api/users/{}/deactivate", t.employee.user_id), json!({})).await.expect(200);
    let nobody = t.admin.client.get("/api/users/presence?live_status=online").await.expect(200).data();
    assert_eq!(nobody["total"], 0, "{nobody}");
}
