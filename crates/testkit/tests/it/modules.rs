//! Modules: switched off they are closed to the whole tenant, on every way in, and lose nothing.

use aisha_testkit::{Client, Stack, TestTenant};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

async fn switch(t: &TestTenant, module: &str, on: bool) {
    let reply = t.admin.client.post("/api/modulesettings", json!({ "module_name": module, "is_enabled": on })).await;
    assert!(reply.status.is_success(), "{}", reply.text);
}

/// Asks until the answer has this status. What is asked a second later must have it, however long the answer takes.
async fn soon(me: &Client, path: &str, status: u16) {
    let begun = Instant::now();
    loop {
        let asked = begun.elapsed();
        let reply = me.get(path).await;
        if reply.status == status {
            return;
        }
        assert!(asked < Duration::from_secs(1), "{path} stays {}: {}", reply.status, reply.text);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[actix_web::test]
async fn a_module_that_is_off_is_closed_to_everybody_and_loses_nothing() {
    let stack = Stack::platform().await;
    let (t, other) = (stack.tenant().await, stack.tenant().await);
    let boss = stack.superadmin().await.client;
    let admin = &t.admin.client;
    let contact = json!({ "first_name": "Ada", "last_name": "Lovelace", "assigned_to": t.employee.employee_id });
    let at = format!("/api/contacts/{}", admin.post("/api/contacts", contact.clone()).await.expect(201).id());
    let log = admin.import("/api/contacts/import", b"first_name,last_name\nGrace,\n", &[]).await.expect(201).data();
    let log = format!("/api/imports/{}", log["id"].as_str().unwrap());
    assert_eq!(admin.get("/api/imports").await.expect(200).data()["total"], 1);
    let body = json!({ "name": "k", "permissions": ["*"] });
    let key = admin.post("/api/apikeys", body).await.expect(201).data()["key"].as_str().unwrap().to_owned();
    let key = stack.anonymous().with("x-api-key", key);

    switch(&t, "contacts", false).await;
    for person in t.people() {
        soon(&person.client, "/api/contacts", 403).await;
    }
    soon(&key, "/api/contacts", 403).await;
    let closed = [
        ("GET", "/api/contacts".to_owned()),
        ("GET", "/api/contacts/search?q=ada".to_owned()),
        ("GET", "/api/contacts/trash".to_owned()),
        ("GET", "/api/contacts/export".to_owned()),
        ("GET", at.clone()),
        ("PATCH", at.clone()),
        ("PUT", at.clone()),
        ("DELETE", at.clone()),
        ("POST", format!("{at}/restore")),
        ("DELETE", at.replace("/contacts/", "/contacts/trash/")),
        ("GET", log.clone()),
        ("POST", format!("{log}/undo")),
    ];
    for client in t.people().map(|p| &p.client).into_iter().chain([&key]) {
        for (method, path) in &closed {
            let body = matches!(*method, "PATCH" | "PUT").then(|| b"{\"first_name\":\"X\"}".to_vec());
            let reply = client.send(method, path, &[("content-type", "application/json")], body).await;
            // Only who sees an import learns that it is closed.
            if path.starts_with("/api/imports") && reply.status == 404 {
                continue;
            }
            assert_eq!((reply.status.as_u16(), reply.code().as_str()), (403, "module_disabled"), "{method} {path}");
            assert!(reply.text.contains("contacts"), "it names the module: {}", reply.text);
        }
        for reply in [
            client.post("/api/contacts", contact.clone()).await,
            client.post("/api/contacts/bulk", json!({ "create": [contact.clone()] })).await,
            client.post("/api/contacts/bulk", json!({ "delete": [at.rsplit('/').next()] })).await,
            client.import("/api/contacts/import", b"first_name,last_name\nA,B\n", &[]).await,
        ] {
            assert_eq!(reply.expect(403).code(), "module_disabled");
        }
    }
    assert_eq!(admin.get("/api/imports").await.expect(200).data()["total"], 0, "its imports are closed too");
    // Nothing else is closed, and nobody else is concerned.
    admin.get("/api/accounts").await.expect(200);
    other.admin.client.get("/api/contacts").await.expect(200);
    boss.get(&format!("/api/contacts?tenant_id={}", t.id)).await.expect(200);
    aisha_crm_core::housekeeping::round(&db()).await.unwrap();

    switch(&t, "contacts", true).await;
    soon(&t.employee.client, &at, 200).await;
    soon(admin, &log, 200).await;
    let kept = admin.get(&at).await.expect(200).data();
    assert_eq!((&kept["first_name"], &kept["version"]), (&json!("Ada"), &json!(1)));
}

fn db() -> aisha_db::Db {
    aisha_db::Db::new(&aisha_db::DbConfig {
        url: aisha_testkit::database::address("DATABASE_URL"),
        pool_size: 2,
        application_name: "test".into(),
    })
    .unwrap()
}

#[actix_web::test]
async fn each_module_closes_its_own_resource() {
    let stack = Stack::platform().await;
    let t = stack.tenant().await;
    let open = ["contacts", "accounts", "bizdevsources", "employees"];
    for (module, plural) in [("accounts", "accounts"), ("bizdev_sources", "bizdevsources"), ("employees", "employees")]
    {
        switch(&t, module, false).await;
        soon(&t.admin.client, &format!("/api/{plural}"), 403).await;
        for other in open.iter().filter(|o| **o != plural) {
            t.admin.client.get(&format!("/api/{other}")).await.expect(200);
        }
        switch(&t, module, true).await;
        soon(&t.admin.client, &format!("/api/{plural}"), 200).await;
    }
    // Whoever switched off too much can switch it on again.
    for module in aisha_auth::module::MODULES {
        switch(&t, module.name, false).await;
    }
    soon(&t.admin.client, "/api/contacts", 403).await;
    let off = t.admin.client.get("/api/modulesettings").await.expect(200).data();
    assert!(off["modules"].as_array().unwrap().iter().all(|m| m["is_enabled"] == false), "{off}");
    let at = format!("/api/tenants/{}", t.id);
    t.admin.client.patch(&at, json!({ "modules": { "contacts": true } })).await.expect(200);
    soon(&t.admin.client, "/api/contacts", 200).await;
    t.admin.client.get("/api/accounts").await.expect(403);
}

#[actix_web::test]
async fn settings_are_kept_once_per_module() {
    let stack = Stack::start().await;
    let (t, other) = (stack.tenant().await, stack.tenant().await);
    let me = &t.admin.client;
    let list = me.get("/api/modulesettings").await.expect(200).data();
    assert_eq!((&list["modulesettings"], &list["total"]), (&json!([]), &json!(0)));
    assert!(list["modules"].as_array().is_some_and(|m| m.len() == 19 && m.iter().all(|m| m["is_enabled"] == true)));

    let old =
        json!({ "module_id": "cash_flow", "module_name": "Cash Flow", "is_active": false, "user_email": "a@b.co" });
    let made = me.post("/api/modulesettings", old).await.expect(201);
    assert_eq!((&made.data()["module_name"], &made.data()["is_enabled"]), (&json!("cash_flow"), &json!(false)));
    let at = format!("/api/modulesettings/{}", made.id());
    let again = json!({ "module_name": "cash_flow", "settings": { "limit": 5 } });
    let again = me.post("/api/modulesettings", again).await.expect(200);
    assert_eq!((again.id(), &again.data()["is_enabled"]), (made.id(), &json!(false)), "only what was sent");
    let shown = me.get(&at).await.expect(200).data();
    assert_eq!(shown["settings"], json!({ "limit": 5 }));
    assert_eq!(me.put(&at, shown).await.expect(200).data()["settings"], json!({ "limit": 5 }), "sent back as read");
    me.patch(&at, json!({ "is_active": true })).await.expect(200);
    assert_eq!(me.patch(&at, json!({ "module_name": "leads" })).await.expect(422).fields(), ["module_name"]);
    let one = me.get("/api/modulesettings?module_name=cash_flow").await.expect(200).data();
    assert_eq!((&one["total"], &one["modules"][0]["is_enabled"]), (&json!(1), &json!(true)));
    assert_eq!(me.get("/api/modulesettings?module_name=leads").await.expect(200).data()["total"], 0);
    assert_eq!(me.get("/api/modulesettings?module_name=x").await.expect(400).fields(), ["module_name"]);
    for (bad, field) in [
        (json!({}), "module_name"),
        (json!({ "module_name": "teleport" }), "module_name"),
        (json!({ "module_name": "leads", "is_enabled": "no" }), "is_enabled"),
        (json!({ "module_name": "leads", "settings": "x" }), "settings"),
        (json!({ "module_name": "leads", "settings": { "a": "b\u{0}" } }), "settings"),
        (json!({ "module_name": "leads", "tier": 1 }), "tier"),
    ] {
        assert_eq!(me.post("/api/modulesettings", bad).await.expect(422).fields(), [field]);
    }
    for person in [&t.manager, &t.employee] {
        person.client.get("/api/modulesettings").await.expect(200);
        person.client.get(&at).await.expect(200);
        person.client.post("/api/modulesettings", json!({ "module_name": "leads" })).await.expect(403);
        person.client.patch(&at, json!({ "is_enabled": false })).await.expect(403);
        person.client.delete(&at).await.expect(403);
    }
    for method in ["GET", "DELETE"] {
        assert_eq!(other.admin.client.send(method, &at, &[], None).await.expect(404).code(), "not_found");
    }
    other.admin.client.patch(&at, json!({ "is_enabled": false })).await.expect(404);
    assert_eq!(other.admin.client.get("/api/modulesettings").await.expect(200).data()["total"], 0);
    // Two at once make one setting.
    let body = || json!({ "module_name": "reports", "is_enabled": true });
    let twins =
        futures_util::future::join(me.post("/api/modulesettings", body()), me.post("/api/modulesettings", body()));
    let (a, b) = twins.await;
    assert_eq!(a.id(), b.id());
    me.delete(&at).await.expect(200);
    me.delete(&at).await.expect(404);
}

#[actix_web::test]
async fn stages_of_opportunities_are_checked_and_completed() {
    let stack = Stack::start().await;
    let t = stack.tenant().await;
    let me = &t.admin.client;
    let simple = json!(["prospect", "qualified", "proposal", "negotiation", "closed"]);
    let body = json!({ "module_name": "opportunities", "settings": { "stages": simple, "note": "x" } });
    let made = me.post("/api/modulesettings", body).await.expect(201);
    let stages = made.data()["settings"]["stages"].clone();
    let of = |name: &str| -> Value {
        stages.as_array().unwrap().iter().find(|s| s["name"] == name).cloned().unwrap_or_default()
    };
    assert_eq!(
        of("prospect"),
        json!({ "name": "prospect", "label": "Prospect", "probability": 20, "outcome": "open" })
    );
    assert_eq!((&of("closed")["outcome"], &of("closed")["probability"]), (&json!("won"), &json!(100)));
    assert_eq!((&of("closed_lost")["outcome"], &of("closed_lost")["probability"]), (&json!("lost"), &json!(0)));
    assert_eq!(made.data()["settings"]["note"], "x");
    let at = format!("/api/modulesettings/{}", made.id());
    let same = me.put(&at, made.data()).await.expect(200);
    assert_eq!(same.data()["settings"]["stages"], stages, "what was read can be sent back");
    for (bad, field) in [
        (json!([]), "settings.stages"),
        (json!(["a", "a"]), "settings.stages"),
        (json!(["Won it"]), "settings.stages[0]"),
        (json!([{ "name": "a", "probability": 200 }]), "settings.stages[0].probability"),
        (json!(["won", "lost"]), "settings.stages"),
    ] {
        let body = json!({ "settings": { "stages": bad } });
        assert_eq!(me.patch(&at, body.clone()).await.expect(422).fields(), [field]);
        let body = json!({ "module_name": "opportunities", "settings": body["settings"] });
        assert_eq!(me.post("/api/modulesettings", body).await.expect(422).fields(), [field]);
    }
    assert_eq!(me.get(&at).await.expect(200).data()["settings"]["stages"], stages);
}
