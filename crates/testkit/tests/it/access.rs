//! Custom permissions and roles: what they add, what they cannot add, and that they come and go within a second.

use aisha_auth::Role;
use aisha_testkit::{Client, Person, Stack, TestTenant};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use uuid::Uuid;

async fn permission(me: &Client, name: &str, resource: &str, action: &str) -> Uuid {
    me.post("/api/permissions", json!({ "name": name, "resource": resource, "action": action })).await.expect(201).id()
}

async fn role(me: &Client, name: &str, permissions: &[&str]) {
    me.put(&format!("/api/roles/{name}"), json!({ "permissions": permissions })).await.expect(200);
}

async fn give(t: &TestTenant, who: &Person, roles: &[&str]) {
    t.admin.client.patch(&format!("/api/users/{}", who.user_id), json!({ "custom_roles": roles })).await.expect(200);
}

async fn contact(t: &TestTenant, owner: &Person, name: &str) -> String {
    let body = json!({ "first_name": name, "last_name": "Doe", "assigned_to": owner.employee_id });
    format!("/api/contacts/{}", t.admin.client.post("/api/contacts", body).await.expect(201).id())
}

/// Asks until the answer has this status. What is asked a second later must have it, however long the answer takes.
async fn soon(me: &Client, method: &str, path: &str, status: u16) {
    let begun = Instant::now();
    loop {
        let asked = begun.elapsed();
        let reply = me.send(method, path, &[], None).await;
        if reply.status == status {
            return;
        }
        assert!(asked < Duration::from_secs(1), "{method} {path} stays {}: {}", reply.status, reply.text);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[actix_web::test]
async fn a_right_is_given_and_taken_within_a_second() {
    let stack = Stack::platform().await;
    let t = stack.tenant().await;
    let (admin, me) = (&t.admin.client, &t.employee.client);
    let (mine, theirs) = (contact(&t, &t.employee, "Mine").await, contact(&t, &t.colleague, "Theirs").await);
    assert_eq!(me.delete(&mine).await.expect(403).code(), "forbidden");
    me.get("/api/contacts/export").await.expect(403);

    let remove = permission(admin, "bulk_delete", "contacts", "delete").await;
    permission(admin, "take_out", "*", "export").await;
    role(admin, "cleaner", &["bulk_delete", "take_out"]).await;
    me.delete(&mine).await.expect(403);
    give(&t, &t.employee, &["cleaner"]).await;
    soon(me, "GET", "/api/contacts/export", 200).await;

    // What it sees and nothing else; other kinds of records stay closed.
    me.delete(&theirs).await.expect(404);
    me.delete(&mine).await.expect(200);
    let trash = me.get("/api/contacts/trash").await.expect(200).data();
    assert_eq!(trash["total"], 1, "{trash}");
    me.post(&format!("{mine}/restore"), json!({})).await.expect(200);
    me.post("/api/contacts/bulk", json!({ "delete": [mine.rsplit('/').next()] })).await.expect(200);
    let purge = mine.replace("/contacts/", "/contacts/trash/");
    let refused = me.delete(&purge).await.expect(403);
    assert!(refused.text.contains("trash"), "{}", refused.text);
    me.get("/api/accounts/trash").await.expect(403);
    let exported = me.get("/api/contacts/export").await.expect(200).text;
    assert!(!exported.contains("Theirs"), "{exported}");
    me.get("/api/users").await.expect(403);
    me.get("/api/permissions").await.expect(403);
    me.post("/api/customfields", json!({ "entity": "contact", "field_name": "x", "field_type": "text" }))
        .await
        .expect(403);

    // Every way of taking it away.
    admin.patch(&format!("/api/permissions/{remove}"), json!({ "resource": "accounts" })).await.expect(200);
    soon(me, "GET", "/api/contacts/trash", 403).await;
    soon(me, "GET", "/api/accounts/trash", 200).await;
    admin.delete(&format!("/api/permissions/{remove}")).await.expect(200);
    soon(me, "GET", "/api/accounts/trash", 403).await;
    me.get("/api/contacts/export").await.expect(200);
    give(&t, &t.employee, &[]).await;
    soon(me, "GET", "/api/contacts/export", 403).await;
    give(&t, &t.employee, &["cleaner"]).await;
    soon(me, "GET", "/api/contacts/export", 200).await;
    admin.delete("/api/roles/cleaner").await.expect(200);
    soon(me, "GET", "/api/contacts/export", 403).await;
    let user = admin.get(&format!("/api/users/{}", t.employee.user_id)).await.expect(200).data();
    assert_eq!(user["custom_roles"], json!([]), "the name is gone from its users");
    role(admin, "cleaner", &["take_out"]).await;
    tokio::time::sleep(Duration::from_millis(700)).await;
    me.get("/api/contacts/export").await.expect(403);

    let audited = |table: &str, action: &str| {
        format!(
            "SELECT count(*) FROM audit_log WHERE tenant_id = '{}' AND table_name = '{table}' AND action = '{action}'
                 AND changed_by = '{}'",
            t.id, t.admin.user_id
        )
    };
    for (table, action) in [("permissions", "create"), ("role_permissions", "create"), ("permissions", "delete")] {
        assert!(stack.count(&audited(table, action)).await > 0, "{table} {action}");
    }
}

#[actix_web::test]
async fn managers_gain_within_what_they_see_and_purge_only_with_all_of_it() {
    let stack = Stack::platform().await;
    let t = stack.tenant().await;
    let admin = &t.admin.client;
    let (first, second) = (contact(&t, &t.colleague, "First").await, contact(&t, &t.employee, "Second").await);
    permission(admin, "remove", "contacts", "delete").await;
    role(admin, "cleaner", &["remove"]).await;
    give(&t, &t.manager, &["cleaner"]).await;
    soon(&t.manager.client, "GET", "/api/contacts/trash", 200).await;
    t.manager.client.delete(&first).await.expect(200);
    t.manager.client.delete(&first.replace("/contacts/", "/contacts/trash/")).await.expect(200);
    t.manager.client.delete(&second).await.expect(200);
    admin.patch(&format!("/api/tenants/{}", t.id), json!({ "manager_scope": "department" })).await.expect(200);
    tokio::time::sleep(Duration::from_millis(1000)).await;
    let purge = second.replace("/contacts/", "/contacts/trash/");
    assert_eq!(t.manager.client.delete(&purge).await.expect(403).code(), "forbidden");
}

#[actix_web::test]
async fn an_employee_may_import_when_it_is_given_that() {
    let stack = Stack::platform().await;
    let t = stack.tenant().await;
    let csv = b"first_name,last_name,email\nAda,Lovelace,ada@example.test\n";
    let me = &t.employee.client;
    me.import("/api/contacts/import", csv, &[]).await.expect(403);
    permission(&t.admin.client, "bring in", "contacts", "import").await;
    role(&t.admin.client, "importer", &["bring in"]).await;
    give(&t, &t.employee, &["importer"]).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let log = me.import("/api/contacts/import", csv, &[]).await.expect(201).data();
    assert_eq!((&log["success_count"], &log["error_count"]), (&json!(1), &json!(0)), "{log}");
    assert_eq!(me.get("/api/contacts?q=lovelace").await.expect(200).data()["total"], 1);
    let undo = format!("/api/imports/{}/undo", log["id"].as_str().unwrap());
    assert_eq!(me.post(&undo, json!({})).await.expect(200).data()["removed"], 1);
    me.import("/api/accounts/import", b"name\nX\n", &[]).await.expect(403);
}

#[actix_web::test]
async fn keys_and_access_levels_narrow_what_roles_add() {
    let stack = Stack::platform().await;
    let t = stack.tenant().await;
    permission(&t.admin.client, "everything", "*", "*").await;
    role(&t.admin.client, "all_of_it", &["everything"]).await;
    give(&t, &t.manager, &["all_of_it"]).await;
    let doomed = contact(&t, &t.manager, "Doomed").await;
    let key = async |permissions: Value| {
        let body = json!({ "name": "k", "permissions": permissions });
        let made = t.manager.client.post("/api/apikeys", body).await.expect(201).data();
        stack.anonymous().with("x-api-key", made["key"].as_str().unwrap())
    };
    let (reader, remover) = (key(json!(["read:contacts"])).await, key(json!(["delete:contacts"])).await);
    reader.get("/api/contacts").await.expect(200);
    reader.delete(&doomed).await.expect(403);
    remover.delete(&doomed).await.expect(200);
    let readonly = json!({ "access_level": "read" });
    t.admin.client.patch(&format!("/api/users/{}", t.manager.user_id), readonly).await.expect(200);
    tokio::time::sleep(Duration::from_secs(1)).await;
    t.manager.client.post(&format!("{doomed}/restore"), json!({})).await.expect(403);
    t.manager.client.get("/api/contacts").await.expect(200);
    give(&t, &t.employee, &["all_of_it"]).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let made = json!({ "name": "k", "permissions": ["*"] });
    let made = t.employee.client.post("/api/apikeys", made).await.expect(201).data();
    let mine = stack.anonymous().with("x-api-key", made["key"].as_str().unwrap());
    mine.get("/api/contacts/export").await.expect(200);
    mine.get("/api/contacts/trash").await.expect(403);
}

#[actix_web::test]
async fn nothing_but_records_can_be_granted_and_nobody_grants_but_admins() {
    let stack = Stack::start().await;
    let (t, other) = (stack.tenant().await, stack.tenant().await);
    let admin = &t.admin.client;
    for resource in [
        "users",
        "tenants",
        "permissions",
        "roles",
        "employees",
        "api_keys",
        "sessions",
        "module_settings",
        "custom_fields",
        "system_settings",
        "webhooks",
        "contact",
        "Contacts",
        "",
        "**",
        "a'; DROP",
    ] {
        let body = json!({ "name": "x", "resource": resource, "action": "*" });
        assert_eq!(admin.post("/api/permissions", body).await.expect(422).fields(), ["resource"], "{resource}");
    }
    for (bad, field) in [
        (json!({ "name": "x", "resource": "contacts", "action": "write" }), "action"),
        (json!({ "resource": "contacts", "action": "read" }), "name"),
        (json!({ "name": "x".repeat(101), "resource": "contacts", "action": "read" }), "name"),
        (json!({ "name": "x", "resource": "contacts", "action": "read", "scope": "all" }), "scope"),
    ] {
        assert_eq!(admin.post("/api/permissions", bad).await.expect(422).fields(), [field]);
    }
    let id = permission(admin, "mine", "contacts", "delete").await;
    let at = format!("/api/permissions/{id}");
    assert_eq!(admin.patch(&at, json!({ "resource": "users" })).await.expect(422).fields(), ["resource"]);
    let twice = json!({ "name": "mine", "resource": "*", "action": "read" });
    assert_eq!(admin.post("/api/permissions", twice).await.expect(409).fields(), ["name"]);
    let shown = admin.get(&at).await.expect(200).data();
    assert_eq!(
        admin.put(&at, shown.clone()).await.expect(200).data()["name"],
        "mine",
        "what was read can be sent back"
    );
    role(admin, "cleaner", &["mine"]).await;
    let named = format!("/api/roles/cleaner?tenant_id={}", t.id);
    admin.put(&named, json!({ "permissions": [id], "tenant_id": t.id })).await.expect(200);

    for (bad, field) in [
        (json!({ "permissions": [] }), "permissions"),
        (json!({ "permissions": ["no such"] }), "permissions"),
        (json!({ "permissions": [aisha_kernel::new_id()] }), "permissions"),
        (json!({ "permissions": "mine" }), "permissions"),
        (json!({ "permissions": ["mine"], "scope": "all" }), "scope"),
    ] {
        assert_eq!(admin.put("/api/roles/cleaner", bad).await.expect(422).fields(), [field]);
    }
    for taken in ["admin", "Superadmin", "%20manager", "user", "a%00b", &"x".repeat(101)] {
        let path = format!("/api/roles/{taken}");
        assert_eq!(
            admin.put(&path, json!({ "permissions": ["mine"] })).await.expect(422).fields(),
            ["name"],
            "{taken}"
        );
        assert_eq!(admin.delete(&path).await.expect(422).fields(), ["name"], "{taken}");
    }
    let odd = admin.put("/api/roles/%ff", json!({ "permissions": ["mine"] })).await;
    assert!(matches!(odd.status.as_u16(), 400 | 404 | 422), "{}", odd.text);
    admin.delete("/api/roles/nobody").await.expect(404);

    for person in [&t.manager, &t.employee] {
        let me = &person.client;
        me.get("/api/permissions").await.expect(403);
        me.get("/api/roles").await.expect(403);
        me.post("/api/permissions", json!({ "name": "y", "resource": "contacts", "action": "delete" }))
            .await
            .expect(403);
        me.patch(&at, json!({ "action": "*" })).await.expect(403);
        me.delete(&at).await.expect(403);
        me.put("/api/roles/cleaner", json!({ "permissions": ["mine"] })).await.expect(403);
        me.delete("/api/roles/cleaner").await.expect(403);
    }
    // Another tenant neither sees nor uses nor removes them.
    let them = &other.admin.client;
    assert_eq!(them.get("/api/permissions").await.expect(200).data()["total"], 0);
    for (method, body) in [("GET", None), ("PATCH", Some(b"{}".to_vec())), ("DELETE", None)] {
        let reply = them.send(method, &at, &[("content-type", "application/json")], body).await;
        assert_eq!(reply.expect(404).code(), "not_found");
    }
    for named in [json!("mine"), json!(id)] {
        let body = json!({ "permissions": [named] });
        assert_eq!(them.put("/api/roles/cleaner", body).await.expect(422).fields(), ["permissions"]);
    }
    them.delete("/api/roles/cleaner").await.expect(404);
    them.get(&format!("/api/roles?tenant_id={}", t.id)).await.expect(403);
    let roles = admin.get("/api/roles").await.expect(200).data()["roles"].clone();
    let names: Vec<&str> = roles.as_array().unwrap().iter().map(|r| r["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["superadmin", "admin", "manager", "employee", "cleaner"]);
    let cleaner = &roles[4];
    assert_eq!((&cleaner["rights"], &cleaner["built_in"]), (&json!(["delete:contacts"]), &json!(false)));
    assert_eq!(roles[3]["users"], 2);
    let boss = stack.superadmin().await.client;
    boss.get("/api/roles").await.expect(400);
    assert_eq!(boss.get(&format!("/api/roles?tenant_id={}", t.id)).await.expect(200).data()["total"], 5);
}

#[actix_web::test]
async fn a_key_cannot_give_away_more_than_it_has() {
    let stack = Stack::platform().await;
    let t = stack.tenant().await;
    let admin = &t.admin.client;
    let delete = permission(admin, "remove", "contacts", "delete").await;
    let body = json!({ "name": "k", "permissions": ["write:permissions", "read:permissions", "read:contacts"] });
    let made = admin.post("/api/apikeys", body).await.expect(201).data();
    let key = stack.anonymous().with("x-api-key", made["key"].as_str().unwrap());
    let read = json!({ "name": "look", "resource": "contacts", "action": "read" });
    let look = key.post("/api/permissions", read).await.expect(201).id();
    let more = json!({ "name": "more", "resource": "contacts", "action": "*" });
    assert_eq!(key.post("/api/permissions", more).await.expect(403).code(), "forbidden");
    let at = format!("/api/permissions/{look}");
    key.patch(&at, json!({ "action": "delete" })).await.expect(403);
    assert_eq!(admin.get(&at).await.expect(200).data()["action"], "read", "rolled back");
    key.put("/api/roles/sly", json!({ "permissions": [delete] })).await.expect(403);
    key.put("/api/roles/sly", json!({ "permissions": [look] })).await.expect(200);
}

#[actix_web::test]
async fn the_database_itself_lets_only_admins_write_rights() {
    let stack = Stack::start().await;
    for role in ["aisha_own", "aisha_department", "aisha_reporting"] {
        for table in ["permissions", "role_permissions"] {
            for privilege in ["INSERT", "UPDATE", "DELETE"] {
                let sql = format!("SELECT has_table_privilege('{role}', '{table}', '{privilege}')::int::bigint");
                assert_eq!(stack.count(&sql).await, 0, "{role} {privilege} {table}");
            }
        }
    }
    assert_eq!(stack.superadmin().await.role, Role::Superadmin);
}

#[actix_web::test]
async fn settings_of_the_platform_are_the_superadmins_and_secrets_stay_in() {
    let stack = Stack::platform().await;
    let (t, boss) = (stack.tenant().await, stack.superadmin().await);
    let me = &boss.client;
    let unique = aisha_kernel::new_id().simple().to_string();
    let (key, plain) = (format!("k{unique}.api_key"), format!("k{unique}.limit"));
    let (at, plain_at) = (format!("/api/system-settings/{key}"), format!("/api/system-settings/{plain}"));
    let secret = format!("sk-{unique}");
    let made = me.put(&at, json!({ "value": secret, "description": "for the assistant" })).await.expect(201);
    assert_eq!((&made.data()["is_secret"], &made.data()["value"]), (&json!(true), &Value::Null));
    me.put(&plain_at, json!({ "value": { "per_day": 5 } })).await.expect(201);
    assert_eq!(me.get(&plain_at).await.expect(200).data()["value"], json!({ "per_day": 5 }));
    let shown = me.get(&at).await.expect(200);
    let again = me.put(&at, shown.data()).await.expect(200);
    let list = me.get("/api/system-settings").await.expect(200);
    assert!(list.data()["systemsettings"].as_array().is_some_and(|l| l.iter().any(|s| s["setting_key"] == key)));
    for text in [&made.text, &shown.text, &again.text, &list.text] {
        assert!(!text.contains(&secret), "{text}");
    }
    let replaced = me.put(&at, json!({ "value": format!("{secret}-2") })).await.expect(200);
    assert!(!replaced.text.contains(&secret), "{}", replaced.text);
    assert_eq!(me.put(&at, json!({ "is_secret": false })).await.expect(422).fields(), ["value"], "no unveiling");

    let audit = format!(
        "SELECT count(*) FROM audit_log WHERE table_name = 'system_settings' AND changed_by = '{}'",
        boss.user_id
    );
    assert!(stack.count(&audit).await >= 3, "made, made, replaced");
    for place in ["audit_log WHERE new_values::text || coalesce(old_values::text, '')", "event_outbox WHERE data::text"]
    {
        assert_eq!(stack.count(&format!("SELECT count(*) FROM {place} LIKE '%{unique}%sk-%'")).await, 0, "{place}");
        assert_eq!(stack.count(&format!("SELECT count(*) FROM {place} LIKE '%sk-{unique}%'")).await, 0, "{place}");
    }
    let stored = format!(
        "SELECT count(*) FROM system_settings WHERE setting_key = '{key}' AND value IS NULL
                          AND position('{secret}'::bytea IN value_sealed) = 0"
    );
    assert_eq!(stack.count(&stored).await, 1, "sealed at rest");

    for (bad_key, body, field) in [
        ("openai_api_key", json!({ "value": 5 }), "value"),
        ("openai_api_key", json!({ "value": "sk-1", "is_secret": false }), "is_secret"),
        ("openai_base_url", json!({ "value": "nowhere" }), "value"),
        ("Bad-Key", json!({ "value": 1 }), "setting_key"),
        (plain.as_str(), json!({ "value": 1, "colour": 1 }), "colour"),
        (&format!("{plain}2"), json!({ "description": "x" }), "value"),
    ] {
        let reply = me.put(&format!("/api/system-settings/{bad_key}"), body).await.expect(422);
        assert_eq!(reply.fields(), [field], "{bad_key}");
    }
    for odd in ["%00", "%ff", "a%2fb"] {
        let reply = me.get(&format!("/api/system-settings/{odd}")).await;
        assert!(matches!(reply.status.as_u16(), 400 | 404), "{odd}: {}", reply.text);
    }
    for person in t.people() {
        let c = &person.client;
        for reply in [
            c.get("/api/system-settings").await,
            c.get(&at).await,
            c.delete(&at).await,
            c.put(&at, json!({ "value": 1 })).await,
        ] {
            assert_eq!(reply.expect(403).code(), "forbidden");
        }
    }
    assert_eq!(me.get("/api/system-settings?tenant_id=x").await.expect(400).fields(), ["tenant_id"]);
    for path in [&at, &plain_at] {
        me.delete(path).await.expect(200);
        me.delete(path).await.expect(404);
        me.get(path).await.expect(404);
    }
}
