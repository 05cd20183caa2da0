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
