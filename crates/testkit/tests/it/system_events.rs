//! What events tell of what is no record of the CRM: what the API shows but for what docs/api.md ("Events") says, and never a
//! secret.

use aisha_testkit::{Receiver, Stack};
use serde_json::{Map, Value, json};
use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// Event, what the API shows and it does not, what it has besides.
const TOLD: [(&str, &[&str], &[&str]); 5] = [
    (
        "user.created",
        &["employee_role", "employee_id", "department", "live_status", "created_date"],
        &["created_by", "deactivated_at", "password_changed_at", "synced_at"],
    ),
    ("tenant.updated", &["ai_calling_providers", "modules", "created_date"], &[]),
    ("api_key.created", &["key", "created_date"], &["created_by", "revoked_at", "updated_at", "version"]),
    ("webhook.created", &["url", "metadata", "has_secret", "warnings"], &[]),
    ("import.updated", &["mapping", "errors", "undo_result"], &["updated_at", "version"]),
];

fn keys(object: &Map<String, Value>) -> BTreeSet<&str> {
    object.keys().map(String::as_str).collect()
}

fn instant(v: &Value) -> Option<OffsetDateTime> {
    OffsetDateTime::parse(v.as_str()?, &Rfc3339).ok()
}

#[actix_web::test]
async fn they_tell_what_the_api_shows_and_no_secret() {
    let stack = Stack::events().await;
    let t = stack.tenant().await;
    let (api, receiver) = (&t.admin.client, Receiver::start());
    let all = ["user.*", "tenant.*", "api_key.*", "webhook.*", "import.*"];
    api.post("/api/webhooks", json!({ "url": receiver.url("/all"), "event_types": all })).await.expect(201);

    let hook = json!({ "url": receiver.url("/other?token=t0ps3cret"), "event_types": ["contact.created"],
                       "description": "Ours", "metadata": { "key": "t0ps3cret" } });
    let hook = api.post("/api/webhooks", hook).await.expect(201).data();
    let user = json!({ "email": format!("u{}@example.test", aisha_kernel::new_id().simple()), "first_name": "N",
                       "last_name": "U", "role": "employee", "password": "T0ps3cret-Horse-42!", "tenant_id": t.id });
    let user = api.post("/api/users", user).await.expect(201).id();
    let at = format!("/api/tenants/{}", t.id);
    let providers = json!({ "callfluent": { "webhook_url": "https://calls.example/?token=t0ps3cret", "is_active": true,
                                            "api_key": "t0ps3cret-key" } });
    api.patch(&at, json!({ "country": "FR", "ai_calling_providers": providers })).await.expect(200);
    let key = json!({ "name": "k", "permissions": ["read:contacts"] });
    let key = api.post("/api/apikeys", key).await.expect(201).data();
    let csv = "first_name,last_name,email\nAda,King,ada@example.test\nBo,Li,t0ps3cret\n";
    let import = api.import("/api/contacts/import", csv.as_bytes(), &[]).await.expect(201).data();
    assert_eq!((&import["success_count"], &import["error_count"]), (&json!(1), &json!(1)), "{import}");

    let text = |v: &Value| v.as_str().unwrap().to_owned();
    let get = async |path: String| api.get(&path).await.expect(200).data();
    let shown = [
        get(format!("/api/users/{user}")).await,
        get(at).await,
        key.clone(),
        get(format!("/api/webhooks/{}", text(&hook["id"]))).await,
        get(format!("/api/imports/{}", text(&import["id"]))).await,
    ];
    let end = Instant::now() + Duration::from_secs(60);
    let events = loop {
        let events: Vec<Value> = receiver.at("/all").iter().map(|a| a.json()).collect();
        let of = |(name, shown): (&str, &Value)| {
            events
                .iter()
                .filter(|e| e["event"] == name && e["data"]["id"] == shown["id"])
                .max_by_key(|e| e["seq"].as_i64())
        };
        let names = TOLD.iter().map(|(name, ..)| *name);
        let found: Vec<Value> = names.zip(&shown).filter_map(of).cloned().collect();
        if found.len() == TOLD.len() {
            break found;
        }
        assert!(Instant::now() < end, "{found:#?} of {events:#?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    for ((event, shown), (name, not, besides)) in events.iter().zip(&shown).zip(&TOLD) {
        let (data, shown) = (event["data"].as_object().unwrap(), shown.as_object().unwrap());
        let mut expected = keys(shown);
        assert!(not.iter().all(|key| expected.remove(key)), "{name}: {shown:#?}");
        expected.extend(*besides);
        assert_eq!(keys(data), expected, "{name}");
        for (key, value) in data.iter().filter(|(key, _)| shown.contains_key(*key) && *key != "navigation_permissions")
        {
            let (told, seen) = (instant(value), instant(&shown[key]));
            assert!(
                *value == shown[key] || told.is_some() && told == seen,
                "{name}, {key}: {value} for {}",
                shown[key]
            );
        }
    }
    assert_eq!(events[1]["previous"], json!({ "country": null }), "what is not told has no former value either");
    for got in receiver.at("/all") {
        let body = String::from_utf8(got.body.to_vec()).unwrap();
        for secret in [text(&hook["secret"]), text(&key["key"]), "t0ps3cret".into(), "argon2".into(), "_sealed".into()]
        {
            assert!(!body.to_lowercase().contains(&secret.to_lowercase()), "{secret}: {body}");
        }
    }
}
