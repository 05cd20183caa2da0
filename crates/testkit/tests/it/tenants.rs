//! `/api/tenants`: the operator makes them, their admins configure them, nobody sees another one.

use aisha_testkit::Stack;
use serde_json::json;

#[actix_web::test]
async fn a_superadmin_makes_tenants() {
    let stack = Stack::start().await;
    let (boss, t) = (stack.superadmin().await.client, stack.tenant().await);
    let name = format!("Müller & Co {}", &t.id.simple().to_string()[16..]);
    let slug = format!("m-ller-co-{}", &t.id.simple().to_string()[16..]);
    let first = boss
        .post("/api/tenants", json!({ "name": name, "timezone": "Europe/Berlin", "settings": { "currency": "EUR" } }));
    let first = first.await.expect(201);
    assert_eq!((first.data()["slug"].as_str(), first.header("etag")), (Some(slug.as_str()), Some("\"1\"")));
    assert_eq!(first.header("location"), Some(format!("/api/tenants/{}", first.id()).as_str()));
    assert_eq!(first.data()["settings"], json!({ "timezone": "Europe/Berlin", "currency": "EUR" }));
    let second = boss.post("/api/tenants", json!({ "name": name, "slug": "" })).await.expect(201);
    assert_eq!(second.data()["slug"], format!("{slug}-2"));
    let taken = boss.post("/api/tenants", json!({ "name": name, "slug": slug })).await.expect(409);
    assert_eq!(taken.fields(), ["slug"]);
    for (bad, field) in [
        (json!({ "slug": "x" }), "name"),
        (json!({ "name": "x", "slug": "Not a slug" }), "slug"),
        (json!({ "name": "x", "timezone": 5 }), "timezone"),
        (json!({ "name": "x", "manager_scope": "some" }), "manager_scope"),
        (json!({ "name": "x", "colour": "red" }), "colour"),
        (json!({ "name": "x", "settings": { "a": "b\u{0}" } }), "settings"),
    ] {
        assert_eq!(boss.post("/api/tenants", bad).await.expect(422).fields(), [field]);
    }
    for person in t.people() {
        assert_eq!(person.client.post("/api/tenants", json!({ "name": "Mine" })).await.expect(403).code(), "forbidden");
    }
    // Two at once get two slugs.
    let twins =
        (boss.post("/api/tenants", json!({ "name": name })), boss.post("/api/tenants", json!({ "name": name })));
    let (a, b) = futures_util::future::join(twins.0, twins.1).await;
    assert_ne!(a.expect(201).data()["slug"], b.expect(201).data()["slug"]);
}

#[actix_web::test]
async fn admins_configure_their_own() {
    let stack = Stack::start().await;
    let (t, other, boss) = (stack.tenant().await, stack.tenant().await, stack.superadmin().await.client);
    let at = format!("/api/tenants/{}", t.id);
    let me = &t.admin.client;
    let tag = me.get(&at).await.expect(200).header("etag").unwrap().to_owned();
    let flat =
        json!({ "timezone": "America/New_York", "date_format": "MM/DD/YYYY", "branding_settings": { "logo": "a" } });
    let changed = me.patch(&at, flat).await.expect(200).data();
    assert_eq!(changed["settings"], json!({ "timezone": "America/New_York", "date_format": "MM/DD/YYYY" }));
    let merged =
        me.patch(&at, json!({ "currency": "USD", "branding_settings": { "colour": "b" } })).await.expect(200).data();
    assert_eq!(merged["settings"]["timezone"], "America/New_York");
    assert_eq!(merged["branding_settings"], json!({ "logo": "a", "colour": "b" }));
    assert_eq!(
        me.put(&at, merged.clone()).await.expect(200).data()["name"],
        merged["name"],
        "what was read can be sent back"
    );

    for (field, value) in [("status", "suspended"), ("plan", "enterprise")] {
        let refused = me.patch(&at, json!({ field: value, "city": "x" })).await;
        assert!(matches!(refused.status.as_u16(), 403 | 422), "{}", refused.text);
        assert_eq!(me.patch(&at, json!({ field: value })).await.expect(403).fields(), [field]);
        assert_eq!(boss.patch(&at, json!({ field: value })).await.expect(200).data()[field], value);
    }
    let json_type = [("content-type", "application/json")];
    let body = || Some(br#"{"country":"DE"}"#.to_vec());
    let stale = me.send("PATCH", &at, &[json_type[0], ("if-match", &tag)], body()).await.expect(412);
    assert_eq!(stale.code(), "precondition_failed");
    me.send("PATCH", &at, &[json_type[0], ("if-match", "garbage")], body()).await.expect(412);
    let tag = me.get(&at).await.expect(200).header("etag").unwrap().to_owned();
    let fresh = me.send("PATCH", &at, &[json_type[0], ("if-match", &tag)], body()).await.expect(200);
    assert_ne!(fresh.header("etag"), Some(tag.as_str()));
    for person in [&t.manager, &t.employee] {
        person.client.get(&at).await.expect(200);
        person.client.patch(&at, json!({ "country": "FR" })).await.expect(403);
    }
    let theirs = format!("/api/tenants/{}", other.id);
    for person in t.people() {
        assert_eq!(person.client.get(&theirs).await.expect(404).code(), "not_found");
        assert_eq!(person.client.patch(&theirs, json!({ "country": "FR" })).await.expect(404).code(), "not_found");
    }
    boss.get(&format!("/api/tenants/{}", aisha_kernel::new_id())).await.expect(404);
    boss.patch(&format!("/api/tenants/{}", aisha_kernel::new_id()), json!({ "country": "FR" })).await.expect(404);
    assert_eq!(me.get("/api/tenants/acme").await.expect(400).fields(), ["id"]);
}

#[actix_web::test]
async fn a_list_by_role() {
    let stack = Stack::start().await;
    let (t, other, boss) = (stack.tenant().await, stack.tenant().await, stack.superadmin().await.client);
    for person in t.people() {
        let data = person.client.get("/api/tenants").await.expect(200).data();
        assert_eq!((&data["total"], &data["tenants"][0]["id"]), (&json!(1), &json!(t.id)));
        person.client.get(&format!("/api/tenants?tenant_id={}", other.id)).await.expect(403);
    }
    let all = boss.get("/api/tenants?limit=1&status=active").await.expect(200).data();
    assert!(all["total"].as_i64() >= Some(2) && all["tenants"].as_array().is_some_and(|l| l.len() == 1), "{all}");
    for (bad, field) in [
        ("limit=0", "limit"),
        ("limit=201", "limit"),
        ("offset=-1", "offset"),
        ("status=%00", "status"),
        ("status=x", "status"),
        ("sort=name", "sort"),
    ] {
        assert_eq!(boss.get(&format!("/api/tenants?{bad}")).await.expect(400).fields(), [field]);
    }
}

#[actix_web::test]
async fn the_flat_form_goes_round() {
    let stack = Stack::start().await;
    let (t, boss) = (stack.tenant().await, stack.superadmin().await.client);
    let at = format!("/api/tenants/{}", t.id);
    let me = &t.admin.client;
    let flat = json!({ "timezone": "America/Los_Angeles", "currency": "usd", "date_format": "MM/DD/YYYY",
                       "modules": { "opportunities": true, "workflows": true, "document_processing": false } });
    let changed = me.put(&at, flat).await.expect(200).data();
    let settings = json!({ "timezone": "America/Los_Angeles", "currency": "USD", "date_format": "MM/DD/YYYY" });
    assert_eq!(changed["settings"], settings);
    assert_eq!(changed["modules"].as_object().map(|m| m.len()), Some(19));
    for (module, on) in [("document_processing", false), ("opportunities", true), ("contacts", true)] {
        assert_eq!(changed["modules"][module], on, "{module}");
    }
    let set = me.get("/api/modulesettings").await.expect(200).data();
    assert_eq!(set["modulesettings"][0]["module_name"], "document_processing", "only what differs gets a row: {set}");
    assert_eq!(set["total"], 1);
    let again = me.put(&at, changed.clone()).await.expect(200).data();
    assert_eq!((&again["settings"], &again["modules"]), (&changed["settings"], &changed["modules"]));
    assert_eq!(me.get("/api/modulesettings").await.expect(200).data()["total"], 1);
    let listed = boss.get("/api/tenants?limit=200").await.expect(200).data();
    let listed = listed["tenants"].as_array().unwrap().iter().find(|l| l["id"] == json!(t.id)).cloned();
    if let Some(listed) = listed {
        assert_eq!(listed["modules"]["document_processing"], false, "the operator's list knows it too");
    }
    let back = json!({ "timezone": null, "modules": { "document_processing": true } });
    let back = me.patch(&at, back).await.expect(200).data();
    assert_eq!((back["settings"].get("timezone"), &back["modules"]["document_processing"]), (None, &json!(true)));

    // All of it or nothing of it.
    for (bad, field) in [
        (json!({ "modules": { "contacts": false }, "timezone": "Mars/Olympus" }), "timezone"),
        (json!({ "modules": { "contacts": false, "teleport": true } }), "modules.teleport"),
        (json!({ "modules": { "contacts": "no" } }), "modules.contacts"),
        (json!({ "settings": { "require_totp": 1 } }), "settings.require_totp"),
        (json!({ "currency": "BTCX" }), "currency"),
        (json!({ "date_format": "dd" }), "date_format"),
        (json!({ "primary_color": "blue" }), "primary_color"),
        (json!({ "accent_color": "#12" }), "accent_color"),
        (json!({ "logo_url": "nowhere" }), "logo_url"),
        (json!({ "call_agent_url": "ftp://example.com" }), "call_agent_url"),
        (json!({ "geographic_focus": "moon" }), "geographic_focus"),
        (json!({ "display_order": -1 }), "display_order"),
    ] {
        assert_eq!(me.patch(&at, bad.clone()).await.expect(422).fields(), [field], "{bad}");
    }
    let body = Some(br#"{"modules":{"contacts":false}}"#.to_vec());
    let headers = [("content-type", "application/json"), ("if-match", "\"1\"")];
    me.send("PATCH", &at, &headers, body).await.expect(412);
    me.patch(&at, json!({ "modules": { "contacts": false }, "status": "suspended" })).await.expect(403);
    assert_eq!(me.get(&at).await.expect(200).data()["modules"]["contacts"], true);
    let full = json!({ "logo_url": "https://example.com/logo.png", "primary_color": "#3b82f6", "accent_color": "#F59",
                       "industry": "saas_and_cloud_services", "business_model": "hybrid", "geographic_focus": "europe",
                       "country": "Germany", "major_city": "Berlin", "display_order": 4, "elevenlabs_agent_id": "agent",
                       "domain": "example.com", "call_agent_url": "https://agent.example.com/call",
                       "settings": { "require_totp": true } });
    let shown = me.patch(&at, full.clone()).await.expect(200).data();
    for (field, value) in full.as_object().unwrap().iter().filter(|(f, _)| *f != "settings") {
        assert_eq!(&shown[field], value, "{field}");
    }
    assert_eq!(shown["settings"]["require_totp"], true);
    let made = json!({ "name": "Born small", "modules": { "leads": false }, "currency": "EUR",
                       "ai_calling_providers": { "thoughtly": { "agent_id": "a1", "api_key": "born-secret" } } });
    let made = boss.post("/api/tenants", made).await.expect(201);
    assert_eq!((&made.data()["modules"]["leads"], &made.data()["modules"]["contacts"]), (&json!(false), &json!(true)));
    assert_eq!(made.data()["ai_calling_providers"]["thoughtly"]["has_api_key"], true);
    assert!(!made.text.contains("born-secret"), "{}", made.text);
}

#[actix_web::test]
async fn provider_keys_go_in_and_never_come_out() {
    let stack = Stack::start().await;
    let t = stack.tenant().await;
    let at = format!("/api/tenants/{}", t.id);
    let me = &t.admin.client;
    let secret = format!("cf-{}", t.id.simple());
    let body = json!({ "ai_calling_providers": {
        "callfluent": { "webhook_url": "https://example.com/hook", "api_key": secret, "is_active": true },
        "thoughtly": { "agent_id": "agent 7", "is_active": false } } });
    let changed = me.patch(&at, body).await.expect(200);
    let shown = json!({
        "callfluent": { "webhook_url": "https://example.com/hook", "is_active": true, "has_api_key": true },
        "thoughtly": { "agent_id": "agent 7", "is_active": false, "has_api_key": false } });
    assert_eq!(changed.data()["ai_calling_providers"], shown);
    let version = changed.data()["version"].as_i64();
    let read = me.get(&at).await.expect(200);
    let again = me.put(&at, read.data()).await.expect(200);
    assert_eq!(again.data()["ai_calling_providers"], shown, "what was read can be sent back");
    let replaced = json!({ "ai_calling_providers": { "callfluent": { "api_key": format!("{secret}-2") } } });
    let replaced = me.patch(&at, replaced).await.expect(200);
    assert_eq!(replaced.data()["ai_calling_providers"], shown, "the rest stays");
    assert!(replaced.data()["version"].as_i64() > version, "a new key is a change");
    let listed = me.get("/api/tenants").await.expect(200);
    for text in [&changed.text, &read.text, &again.text, &replaced.text, &listed.text] {
        assert!(!text.contains(&secret) && !text.contains("sealed"), "{text}");
    }
    for person in [&t.manager, &t.employee] {
        let theirs = person.client.get(&at).await.expect(200);
        assert!(!theirs.text.contains("example.com/hook"), "half a secret: {}", theirs.text);
    }
    let found =
        |place: &str, text: &str| format!("SELECT count(*) FROM {place} WHERE tenant_id = '{}' AND {text}", t.id);
    for place in ["audit_log", "event_outbox"] {
        let columns =
            if place == "audit_log" { "old_values::text, new_values::text" } else { "data::text, previous::text" };
        assert_eq!(stack.count(&found(place, &format!("concat({columns}) LIKE '%{secret}%'"))).await, 0, "{place}");
        assert_eq!(stack.count(&found(place, &format!("concat({columns}) LIKE '%sealed%'"))).await, 0, "{place}");
        let told = found(place, &format!("concat({columns}) LIKE '%callfluent_key_set_at%'"));
        assert!(stack.count(&told).await >= 2, "{place}: that a key was set and replaced shows");
    }
    let stored = format!(
        "SELECT count(*) FROM tenant WHERE id = '{}' AND callfluent_key_sealed IS NOT NULL
                          AND position('{secret}'::bytea IN callfluent_key_sealed) = 0",
        t.id
    );
    assert_eq!(stack.count(&stored).await, 1, "sealed at rest");

    let sealer = aisha_auth::sealing::Sealer::new(&aisha_testkit::CREDENTIALS_KEY.to_owned().into(), None).unwrap();
    let provider = async |name: &'static str| {
        let db = aisha_db::Db::new(&aisha_db::DbConfig {
            url: aisha_testkit::database::address("DATABASE_URL"),
            pool_size: 1,
            application_name: "test".into(),
        })
        .unwrap();
        let tenant = aisha_kernel::TenantId(t.id);
        let why = aisha_db::SystemReason { reason: "test", tenant: Some(tenant), ..Default::default() };
        let found =
            db.system(&why, async |tx| aisha_tenancy::tenant::ai_calling_provider(tx, tenant, name, &sealer).await);
        found.await.unwrap()
    };
    let callfluent = provider("callfluent").await.unwrap();
    assert_eq!(
        callfluent.api_key.map(|k| secrecy::ExposeSecret::expose_secret(&k).to_owned()),
        Some(format!("{secret}-2"))
    );
    assert!(provider("thoughtly").await.is_none(), "not switched on");

    for (bad, field) in [
        (json!({ "twilio": {} }), "ai_calling_providers.twilio"),
        (json!({ "callfluent": { "webhook_url": "nowhere" } }), "ai_calling_providers.callfluent.webhook_url"),
        (json!({ "callfluent": { "api_key": 5 } }), "ai_calling_providers.callfluent.api_key"),
        (
            json!({ "thoughtly": { "webhook_url": "https://example.com" } }),
            "ai_calling_providers.thoughtly.webhook_url",
        ),
        (json!("x"), "ai_calling_providers"),
    ] {
        assert_eq!(me.patch(&at, json!({ "ai_calling_providers": bad })).await.expect(422).fields(), [field]);
    }
    let cleared = json!({ "ai_calling_providers": { "callfluent": { "api_key": null } } });
    let cleared = me.patch(&at, cleared).await.expect(200).data();
    assert_eq!(cleared["ai_calling_providers"]["callfluent"]["has_api_key"], false);
    assert!(provider("callfluent").await.unwrap().api_key.is_none());
}

#[actix_web::test]
async fn nobody_signs_in_to_a_tenant_that_is_not_active() {
    let stack = Stack::platform().await;
    let (t, other, boss) = (stack.tenant().await, stack.tenant().await, stack.superadmin().await.client);
    let hash = aisha_auth::password::hash("Correct-Horse-7").unwrap();
    stack.sql(&format!("UPDATE users SET password_hash = '{hash}' WHERE tenant_id = '{}'", t.id)).await;
    let login = async || {
        let body = json!({ "email": t.admin.email, "password": "Correct-Horse-7" });
        stack.anonymous().post("/api/auth/login", body).await
    };
    let session = login().await.expect(200).data();
    let body = json!({ "name": "k", "permissions": ["*"] });
    let key = t.admin.client.post("/api/apikeys", body).await.expect(201).data()["key"].as_str().unwrap().to_owned();
    let key = stack.anonymous().with("x-api-key", key);
    key.get("/api/contacts").await.expect(200);
    let at = format!("/api/tenants/{}", t.id);
    for status in ["suspended", "inactive"] {
        boss.patch(&at, json!({ "status": status })).await.expect(200);
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        assert_eq!(login().await.expect(401).code(), "invalid_credentials", "{status}");
        let refresh = json!({ "refresh_token": session["refresh_token"] });
        stack.anonymous().post("/api/auth/refresh", refresh).await.expect(401);
        for client in t.people().map(|p| &p.client).into_iter().chain([&key]) {
            client.get("/api/contacts").await.expect(401);
            client.post("/api/accounts", json!({ "name": "x" })).await.expect(401);
        }
        other.admin.client.get("/api/contacts").await.expect(200);
        boss.get(&format!("/api/contacts?tenant_id={}", t.id)).await.expect(200);
    }
    boss.patch(&at, json!({ "status": "active" })).await.expect(200);
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    login().await.expect(200);
    t.employee.client.get("/api/contacts").await.expect(200);
}
