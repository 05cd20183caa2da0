//! `/api/webhooks`: subscriptions are the admins' of one tenant, and their secret is shown once.

use aisha_auth::sealing::Sealer;
use aisha_testkit::{CREDENTIALS_KEY, Reply, Stack, TestTenant};
use aisha_webhooks::secret::open_secret;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use uuid::Uuid;

pub(super) const URL: &str = "https://hooks.example/in?token=carried-in-the-address";

pub(super) async fn subscribe(t: &TestTenant, types: &[&str]) -> Uuid {
    t.admin.client.post("/api/webhooks", json!({ "url": URL, "event_types": types })).await.expect(201).id()
}

/// A subscription whose deliveries wait, whatever sender runs over the same database.
pub(super) async fn subscribe_paused(t: &TestTenant, types: &[&str]) -> Uuid {
    let id = subscribe(t, types).await;
    t.admin.client.post(&format!("/api/webhooks/{id}/pause"), json!({})).await.expect(200);
    id
}

fn sealer() -> Sealer {
    Sealer::new(&CREDENTIALS_KEY.to_owned().into(), None).unwrap()
}

async fn opened(stack: &Stack, id: Uuid, column: &str) -> Option<String> {
    let hex = stack.text(&format!("SELECT coalesce(encode({column}, 'hex'), '') FROM webhook WHERE id = '{id}'")).await;
    let bytes: Vec<u8> = (0..hex.len() / 2).map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap()).collect();
    let open = |b: &[u8]| open_secret(&sealer(), id, b).unwrap().expose_secret().to_owned();
    (!bytes.is_empty()).then(|| open(&bytes))
}

#[actix_web::test]
async fn admins_subscribe_change_and_unsubscribe() {
    let stack = Stack::start().await;
    let t = stack.tenant().await;
    let me = &t.admin.client;
    let body = json!({ "url": URL, "event_types": ["contact.created", "lead.*"], "description": "To the warehouse",
                       "retries": false, "max_concurrency": 3, "rate_limit": 50, "metadata": { "team": "ops" } });
    let made = me.post("/api/webhooks", body.clone()).await.expect(201);
    let at = format!("/api/webhooks/{}", made.id());
    assert_eq!((made.header("location"), made.header("etag")), (Some(at.as_str()), Some("\"1\"")));
    let secret = made.data()["secret"].as_str().unwrap().to_owned();
    assert!(secret.starts_with("whsec_") && secret.len() == 66, "{secret}");
    let read = me.get(&at).await.expect(200);
    assert_eq!(read.header("etag"), Some("\"1\""));
    for (field, value) in body.as_object().unwrap() {
        assert_eq!(&read.data()[field], value, "{field}");
    }
    assert_eq!((&read.data()["is_active"], &read.data()["has_secret"]), (&json!(true), &json!(true)));
    assert!(read.data().get("secret").is_none() && !read.text.contains(&secret));

    let changed = me.put(&at, read.data()).await.expect(200).data();
    assert_eq!(changed["event_types"], json!(["contact.created", "lead.*"]), "what was read can be sent back");
    let changed = me.patch(&at, json!({ "event_types": [], "rate_limit": null, "is_active": false })).await.expect(200);
    assert_eq!((&changed.data()["rate_limit"], &changed.data()["is_active"]), (&json!(null), &json!(false)));
    assert_eq!(changed.data()["description"], "To the warehouse");
    assert!(changed.data()["warnings"][0].as_str().unwrap().contains("no event"), "{}", changed.text);
    let json_type = ("content-type", "application/json");
    let stale = me.send("PATCH", &at, &[json_type, ("if-match", "\"1\"")], Some(b"{}".to_vec())).await.expect(412);
    assert_eq!(stale.code(), "precondition_failed");
    let tag = changed.header("etag").unwrap().to_owned();
    me.send("PATCH", &at, &[json_type, ("if-match", &tag)], Some(br#"{"description":"x"}"#.to_vec())).await.expect(200);
    me.send("DELETE", &at, &[("if-match", &tag)], None).await.expect(412);

    let old = json!({ "event_name": "account.updated", "target_url": "https://hooks.example/old", "active": false });
    let old = me.post("/api/webhooks", old).await.expect(201).data();
    assert_eq!(old["event_types"], json!(["account.updated"]));
    assert_eq!((&old["url"], &old["is_active"]), (&json!("https://hooks.example/old"), &json!(false)));
    let live = subscribe(&t, &["*"]).await;
    let list = me.get("/api/webhooks?is_active=true").await.expect(200).data();
    assert_eq!((&list["total"], &list["webhooks"][0]["id"]), (&json!(1), &json!(live)));
    let list = me.get("/api/webhooks?limit=1&offset=1").await.expect(200).data();
    assert_eq!((&list["total"], &list["webhooks"][0]["id"]), (&json!(3), &old["id"]));
    for (bad, field) in [("limit=0", "limit"), ("is_active=perhaps", "is_active"), ("colour=red", "colour")] {
        assert_eq!(me.get(&format!("/api/webhooks?{bad}")).await.expect(400).fields(), [field]);
    }
    let names = me.get("/api/webhooks/events").await.expect(200).data();
    let names: Vec<&str> = names["events"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    for name in ["contact.created", "cash_flow.deleted", "employee.restored", "aicampaign.progress", "call.inbound"] {
        assert!(names.contains(&name), "{name}");
    }
    // Whatever the triggers publish can be asked for.
    let entities = stack.text(
        "SELECT string_agg(DISTINCT split_part(encode(tgargs, 'escape'), '\\000', 1), ' ') FROM pg_trigger WHERE tgname = 'record_insert'",
    );
    let entities = entities.await;
    assert!(entities.contains("webhook") && entities.contains("contact"), "{entities}");
    for entity in entities.split_whitespace() {
        assert!(names.contains(&format!("{entity}.created").as_str()), "{entity}");
    }
    assert_eq!(me.delete(&at).await.expect(200).data(), json!({ "id": made.id() }));
    me.get(&at).await.expect(404);
    me.delete(&at).await.expect(404);
}

#[actix_web::test]
async fn what_cannot_work_is_refused_by_field() {
    let stack = Stack::start().await;
    let t = stack.tenant().await;
    let me = &t.admin.client;
    for (bad, fields) in [
        (json!({}), &["url"][..]),
        (json!({ "url": "not a url" }), &["url"]),
        (json!({ "url": "ftp://hooks.example/x" }), &["url"]),
        (json!({ "url": "https://user:pw@hooks.example/x" }), &["url"]),
        (json!({ "url": "http://127.0.0.1/x" }), &["url"]),
        (json!({ "url": "http://0x7f.1/x" }), &["url"]),
        (json!({ "url": "http://[::1]:8080/x" }), &["url"]),
        (json!({ "url": "http://169.254.169.254/latest/meta-data" }), &["url"]),
        (json!({ "url": "http://localhost/x" }), &["url"]),
        (json!({ "url": URL, "event_types": ["contact.created", "contact.made"] }), &["event_types.1"]),
        (json!({ "url": URL, "event_name": "everything" }), &["event_name"]),
        (json!({ "url": URL, "secret": "short" }), &["secret"]),
        (json!({ "url": URL, "max_concurrency": 101, "rate_limit": 0 }), &["max_concurrency", "rate_limit"]),
        (json!({ "url": URL, "description": "x".repeat(501) }), &["description"]),
        (json!({ "url": URL, "colour": "red" }), &["colour"]),
    ] {
        let refused = me.post("/api/webhooks", bad.clone()).await.expect(422);
        assert_eq!(refused.fields(), fields, "{bad}");
    }
    let id = subscribe(&t, &["*"]).await;
    let moved = me.patch(&format!("/api/webhooks/{id}"), json!({ "url": "http://10.0.0.1/" })).await.expect(422);
    assert_eq!(moved.fields(), ["url"]);
    let unknown = me.post("/api/webhooks", json!({ "url": URL, "event_types": ["contact.made"] })).await.expect(422);
    assert!(unknown.text.contains("contact.created") && unknown.text.contains("cash_flow.updated"), "{}", unknown.text);
    assert_eq!(me.get("/api/webhooks/acme").await.expect(400).fields(), ["id"]);
    assert_eq!(stack.count(&format!("SELECT count(*) FROM webhook WHERE tenant_id = '{}'", t.id)).await, 1);
}

#[actix_web::test]
async fn only_admins_and_only_of_their_own_tenant() {
    let stack = Stack::start().await;
    let (t, other, boss) = (stack.tenant().await, stack.tenant().await, stack.superadmin().await.client);
    let id = subscribe_paused(&t, &["*"]).await;
    let delivery = t.admin.client.post(&format!("/api/webhooks/{id}/test"), json!({})).await.expect(202).id();
    let theirs = subscribe_paused(&other, &["*"]).await;
    let all = [
        ("GET", format!("/api/webhooks/{id}")),
        ("PATCH", format!("/api/webhooks/{id}")),
        ("DELETE", format!("/api/webhooks/{id}")),
        ("POST", format!("/api/webhooks/{id}/rotate-secret")),
        ("POST", format!("/api/webhooks/{id}/pause")),
        ("POST", format!("/api/webhooks/{id}/resume")),
        ("POST", format!("/api/webhooks/{id}/test")),
        ("GET", format!("/api/webhooks/{id}/deliveries")),
        ("GET", format!("/api/webhooks/{id}/deliveries/{delivery}")),
        ("POST", format!("/api/webhooks/{id}/deliveries/{delivery}/resend")),
        ("GET", format!("/api/webhooks/{id}/ledger")),
        ("GET", format!("/api/webhooks/{id}/metrics")),
        ("GET", format!("/api/webhooks/{id}/replays")),
    ];
    let call = async |client: &aisha_testkit::Client, method: &str, path: &str| -> Reply {
        let body = matches!(method, "POST" | "PATCH").then(|| b"{}".to_vec());
        client.send(method, path, &[("content-type", "application/json")], body).await
    };
    for (method, path) in &all {
        for person in [&t.manager, &t.employee] {
            assert_eq!(call(&person.client, method, path).await.expect(403).code(), "forbidden", "{method} {path}");
        }
        call(&other.admin.client, method, path).await.expect(404);
        let named = format!("{path}?tenant_id={}", t.id);
        assert_eq!(call(&other.admin.client, method, &named).await.expect(403).code(), "invalid_tenant");
        assert_eq!(call(&boss, method, path).await.expect(400).fields(), ["tenant_id"], "{method} {path}");
    }
    // A delivery belongs to its own subscription, also within a tenant.
    let second = subscribe_paused(&t, &["*"]).await;
    for path in [format!("{second}/deliveries/{delivery}"), format!("{theirs}/deliveries/{delivery}")] {
        t.admin.client.get(&format!("/api/webhooks/{path}")).await.expect(404);
        t.admin.client.post(&format!("/api/webhooks/{path}/resend"), json!({})).await.expect(404);
    }
    let replay = json!({ "from": aisha_kernel::clock::now().date().to_string(), "dry_run": true });
    for (client, status) in [(&other.admin.client, 404), (&t.manager.client, 403)] {
        client.post(&format!("/api/webhooks/{id}/replay"), replay.clone()).await.expect(status);
    }
    let list = other.admin.client.get("/api/webhooks").await.expect(200).data();
    assert_eq!((&list["total"], &list["webhooks"][0]["id"]), (&json!(1), &json!(theirs)));
    boss.get(&format!("/api/webhooks/{id}?tenant_id={}", t.id)).await.expect(200);
    boss.post(&format!("/api/webhooks/{id}/resume"), json!({ "tenant_id": t.id })).await.expect(200);
    boss.get(&format!("/api/webhooks/{id}?tenant_id={}", other.id)).await.expect(404);
}

/// The secret is in two answers and sealed in the row, and nowhere else, not even for a repetition of the request.
#[actix_web::test]
async fn a_secret_is_shown_once_and_kept_nowhere() {
    let stack = Stack::start().await;
    let t = stack.tenant().await;
    let me = &t.admin.client;
    let brought = "brought-along/by+the-client=0123";
    let json_type = ("content-type", "application/json");
    let body = json!({ "url": URL, "event_types": ["*"], "secret": brought }).to_string().into_bytes();
    let keyed = [json_type, ("idempotency-key", "one")];
    let create = || me.send("POST", "/api/webhooks", &keyed, Some(body.clone()));
    let first = create().await.expect(201);
    let id = first.id();
    assert_eq!(first.data()["secret"], brought);
    let again = create().await.expect(201);
    assert_eq!(
        (again.id(), again.header("location"), again.header("etag")),
        (id, first.header("location"), Some("\"1\""))
    );
    assert!(again.data().get("secret").is_none() && again.data()["has_secret"] == true, "{}", again.text);
    assert_eq!(opened(&stack, id, "secret_sealed").await.as_deref(), Some(brought));

    let at = format!("/api/webhooks/{id}");
    let path = format!("{at}/rotate-secret");
    let keyed = [("idempotency-key", "two")];
    let rotate = || me.send("POST", &path, &keyed, None);
    let rotated = rotate().await.expect(200);
    let made = rotated.data()["secret"].as_str().unwrap().to_owned();
    assert!(made.starts_with("whsec_") && made != brought);
    let again = rotate().await.expect(200);
    assert!(again.data().get("secret").is_none(), "{}", again.text);
    assert_eq!(opened(&stack, id, "secret_sealed").await.as_deref(), Some(made.as_str()));
    assert_eq!(opened(&stack, id, "previous_secret_sealed").await.as_deref(), Some(brought));
    let hours =
        "SELECT round(extract(epoch FROM previous_secret_until - now()) / 3600)::bigint FROM webhook WHERE id = ";
    assert_eq!(stack.count(&format!("{hours}'{id}'")).await, 24);
    assert!(me.get(&at).await.expect(200).data()["previous_secret_until"].is_string());

    let set = "set-by-hand-0123456789";
    let changed = me.put(&at, json!({ "secret": set })).await.expect(200);
    assert!(changed.data()["previous_secret_until"].is_null() && changed.header("etag") != rotated.header("etag"));
    assert_eq!(opened(&stack, id, "secret_sealed").await.as_deref(), Some(set));
    assert_eq!(opened(&stack, id, "previous_secret_sealed").await, None);

    me.post(&format!("{at}/pause"), json!({})).await.expect(200);
    me.post(&format!("{at}/test"), json!({})).await.expect(202);
    for path in ["", "/deliveries", "/ledger", "/metrics"] {
        let text = me.get(&format!("{at}{path}")).await.expect(200).text;
        assert!([brought, set, made.as_str()].iter().all(|s| !text.contains(s)), "{path}: {text}");
    }
    let kept = [
        ("idempotency_key", "coalesce(response, '')"),
        ("audit_log", "concat(old_values, new_values)"),
        ("event_outbox", "concat(data, previous)"),
        ("webhook_message", "body"),
        ("webhook", "concat(webhook.*)"),
    ];
    for (table, column) in kept {
        let all = stack.count(&format!("SELECT count(*) FROM {table} WHERE tenant_id = '{}'", t.id)).await;
        let sql = format!("SELECT string_agg({column}, ' ') FROM {table} WHERE tenant_id = '{}'", t.id);
        let text = stack.text(&sql).await;
        assert!(all > 0 && [brought, set, made.as_str()].iter().all(|s| !text.contains(s)), "{table}: {text}");
        if table == "audit_log" {
            assert!(!text.contains("sealed"), "{text}");
        }
        // Whoever sees events need not be allowed to read subscriptions.
        if table == "event_outbox" {
            assert!(text.contains("event_types") && !text.contains("token=") && !text.contains("sealed"), "{text}");
        }
    }
    let actions = format!(
        "SELECT string_agg(action, ' ' ORDER BY changed_at, action) FROM audit_log WHERE tenant_id = '{}' AND table_name = 'webhook' \
         AND action <> 'update'",
        t.id
    );
    assert_eq!(stack.text(&actions).await, "create secret_rotate secret_set webhook_test");
}

#[actix_web::test]
async fn pausing_going_on_and_switching_on_again() {
    let stack = Stack::start().await;
    let t = stack.tenant().await;
    let me = &t.admin.client;
    let id = subscribe(&t, &["contact.*"]).await;
    let at = format!("/api/webhooks/{id}");
    let post = async |verb: &str| me.post(&format!("{at}/{verb}"), json!({})).await;
    let paused = post("pause").await.expect(200);
    assert!(paused.data()["paused_at"].is_string());
    let again = post("pause").await.expect(200);
    assert_eq!(
        (&again.data()["paused_at"], again.header("etag")),
        (&paused.data()["paused_at"], paused.header("etag"))
    );
    let test = post("test").await.expect(202).data();
    assert_eq!((&test["state"], &test["held_by"]), (&json!("pending"), &json!("paused")));
    assert!(post("resume").await.expect(200).data()["paused_at"].is_null());
    let odd = me.post(&format!("{at}/pause"), json!({ "until": "tomorrow" })).await.expect(422);
    assert_eq!(odd.fields(), ["until"]);

    let failing = "is_active = false, disabled_reason = 'failing', disabled_at = now(), failing_since = now() - interval '5 days'";
    stack.sql(&format!("UPDATE webhook SET {failing} WHERE id = '{id}'")).await;
    let off = me.get(&at).await.expect(200).data();
    assert_eq!((&off["is_active"], &off["disabled_reason"]), (&json!(false), &json!("failing")));
    for verb in ["test", "replay"] {
        let body =
            if verb == "test" { json!({}) } else { json!({ "from": aisha_kernel::clock::now().date().to_string() }) };
        assert_eq!(me.post(&format!("{at}/{verb}"), body).await.expect(409).fields(), ["is_active"]);
    }
    let delivery = test["id"].as_str().unwrap();
    let held = me.get(&format!("{at}/deliveries/{delivery}")).await.expect(200).data();
    if held["state"] == "pending" {
        assert_eq!(held["held_by"], "inactive");
    }
    assert_eq!(me.patch(&at, json!({ "description": "x" })).await.expect(200).data()["disabled_reason"], "failing");
    let on = me.put(&at, json!({ "active": true })).await.expect(200).data();
    let gone = ["disabled_reason", "disabled_at", "failing_since"].map(|f| on[f].clone());
    assert_eq!((&on["is_active"], gone), (&json!(true), [json!(null), json!(null), json!(null)]));
}

#[actix_web::test]
async fn a_test_is_a_delivery_of_its_own() {
    let stack = Stack::start().await;
    let t = stack.tenant().await;
    let me = &t.admin.client;
    let (id, other) = (subscribe_paused(&t, &[]).await, subscribe_paused(&t, &["*"]).await);
    let at = format!("/api/webhooks/{id}");
    let test = me.post(&format!("{at}/test"), json!({})).await.expect(202);
    assert_eq!(test.header("location"), Some(format!("{at}/deliveries/{}", test.id()).as_str()));
    let shown = me.get(test.header("location").unwrap()).await.expect(200).data();
    let body: Value = serde_json::from_str(shown["body"].as_str().unwrap()).unwrap();
    assert_eq!((&body["event"], &body["id"]), (&json!("test_event"), &shown["event_id"]));
    assert_eq!((&body["tenant_id"], &body["data"]["webhook_id"]), (&json!(t.id), &json!(id)));
    assert!(body["timestamp"].as_str().unwrap().ends_with('Z') && shown["next_attempt_at"].is_string());
    assert_eq!(shown["attempt_log"], json!([]));
    let ledger = me.get(&format!("{at}/ledger")).await.expect(200).data();
    assert_eq!((&ledger["taken_on"], &ledger["balanced"]), (&json!(1), &json!(true)));
    assert_eq!(me.get(&format!("/api/webhooks/{other}/deliveries")).await.expect(200).data()["total"], 0);

    let off = Stack::platform_with(&[("WEBHOOKS_ENABLED", "false")]).await;
    let t = off.tenant().await;
    let id = subscribe(&t, &["*"]).await;
    let refused = t.admin.client.post(&format!("/api/webhooks/{id}/test"), json!({})).await.expect(409);
    assert!(refused.text.contains("WEBHOOKS_ENABLED"), "{}", refused.text);
    let list = t.admin.client.get(&format!("/api/webhooks/{id}/deliveries")).await.expect(200).data();
    assert_eq!(list["total"], 0, "nothing piles up");
}

#[actix_web::test]
async fn a_tenant_without_the_module_has_none() {
    let stack = Stack::platform().await;
    let t = stack.tenant().await;
    let me = &t.admin.client;
    subscribe(&t, &["*"]).await;
    let off = json!({ "module_name": "integrations", "is_enabled": false });
    assert!(me.post("/api/modulesettings", off).await.status.is_success());
    let mut refused = me.get("/api/webhooks").await;
    for _ in 0..20 {
        if refused.status == 403 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        refused = me.get("/api/webhooks").await;
    }
    assert_eq!(refused.expect(403).code(), "module_disabled");
    assert_eq!(me.post("/api/webhooks", json!({ "url": URL })).await.expect(403).code(), "module_disabled");
}

#[actix_web::test]
async fn there_are_at_most_a_hundred() {
    let stack = Stack::start().await;
    let (t, other) = (stack.tenant().await, stack.tenant().await);
    let sql = format!(
        "INSERT INTO webhook (tenant_id, url, secret_sealed) SELECT '{}', 'https://hooks.example/', '' FROM generate_series(1, 99)",
        t.id
    );
    stack.sql(&sql).await;
    let one = || t.admin.client.post("/api/webhooks", json!({ "url": URL }));
    let (a, b) = futures_util::future::join(one(), one()).await;
    let mut statuses = [a.status.as_u16(), b.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409], "two at once are not both the hundredth: {} {}", a.text, b.text);
    subscribe(&other, &["*"]).await;
}
