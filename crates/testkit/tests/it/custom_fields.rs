//! The tenant's own fields: definitions, and values wherever records go.

use aisha_testkit::{Client, Stack};
use serde_json::{Value, json};
use uuid::Uuid;

async fn define(me: &Client, entity: &str, name: &str, kind: &str, required: bool) -> Uuid {
    let mut body = json!({ "entity": entity, "field_name": name, "field_type": kind, "is_required": required });
    if kind.ends_with("select") {
        body["options"] = json!(["a", "b; c", "d"]);
    }
    me.post("/api/customfields", body).await.expect(201).id()
}

/// Type, value, how it is shown, a value that does not fit.
fn kinds() -> Vec<(&'static str, Value, Value, Value)> {
    vec![
        ("text", json!(" Größe "), json!("Größe"), json!(5)),
        ("email", json!("A@Example.Test"), json!("a@example.test"), json!("nobody")),
        ("phone", json!("+1 555 0100"), json!("+1 555 0100"), json!({})),
        ("textarea", json!("two\nlines"), json!("two\nlines"), json!(["x"])),
        ("select", json!("b; c"), json!("b; c"), json!("e")),
        ("multiselect", json!(["a", "d"]), json!(["a", "d"]), json!(["a", "e"])),
        ("date", json!("2026-11-21"), json!("2026-11-21"), json!("2026-11-31")),
        ("number", json!(-1.5), json!(-1.5), json!("1")),
        ("checkbox", json!(true), json!(true), json!("yes")),
        ("currency", json!(12.5), json!(12.50), json!("12.345")),
    ]
}

#[actix_web::test]
async fn ten_types_live_in_records() {
    let stack = Stack::start().await;
    let t = stack.tenant().await;
    let me = &t.admin.client;
    let mut values = json!({});
    for (kind, value, ..) in kinds() {
        define(me, "contact", kind, kind, false).await;
        values[kind] = value;
    }
    let body = json!({ "first_name": "a", "last_name": "b", "custom_fields": values });
    let made = me.post("/api/contacts", body).await.expect(201);
    let at = format!("/api/contacts/{}", made.id());
    let fields = made.data()["custom_fields"].clone();
    for (kind, _, shown, bad) in kinds() {
        let same = match kind {
            "currency" => fields[kind].as_f64() == shown.as_f64(),
            _ => fields[kind] == shown,
        };
        assert!(same, "{kind}: {}", fields[kind]);
        let refused = me.patch(&at, json!({ "custom_fields": { kind: bad } })).await.expect(422);
        assert_eq!(refused.fields(), [format!("custom_fields.{kind}")]);
        let refused = me
            .post("/api/contacts/bulk", json!({ "update": [{ "id": made.id(), "custom_fields": { kind: bad } }] }))
            .await;
        assert_eq!(refused.expect(200).data()["failed"], 1, "{kind}");
    }
    assert_eq!(me.get(&at).await.expect(200).data()["version"], 1, "what was refused changed nothing");
    // Merged key by key; null removes.
    let changed =
        me.patch(&at, json!({ "custom_fields": { "text": "x", "number": null, "select": "a" } })).await.expect(200);
    let after = changed.data()["custom_fields"].clone();
    assert_eq!((&after["text"], after.get("number"), &after["checkbox"]), (&json!("x"), None, &json!(true)));
    let all_of_it = me.get(&at).await.expect(200).data();
    assert_eq!(me.put(&at, all_of_it.clone()).await.expect(200).data()["custom_fields"], all_of_it["custom_fields"]);
    let unknown = me.patch(&at, json!({ "custom_fields": { "colour": "red" } })).await.expect(422);
    assert_eq!(unknown.fields(), ["custom_fields.colour"]);
    for bad in [json!([]), json!("x"), json!(5)] {
        assert_eq!(me.patch(&at, json!({ "custom_fields": bad })).await.expect(422).fields(), ["custom_fields"]);
    }
    for endless in ["1e999999", "-1e400"] {
        let body = format!(r#"{{"custom_fields":{{"number":{endless}}}}}"#);
        let reply = me.send("PATCH", &at, &[("content-type", "application/json")], Some(body.into_bytes())).await;
        assert!(matches!(reply.status.as_u16(), 400 | 422), "{endless}: {}", reply.text);
    }
}

#[actix_web::test]
async fn required_means_required() {
    let stack = Stack::start().await;
    let t = stack.tenant().await;
    let me = &t.admin.client;
    let before = me.post("/api/accounts", json!({ "name": "Before" })).await.expect(201).id();
    define(me, "account", "tier", "text", true).await;
    for missing in [json!({ "name": "A" }), json!({ "name": "A", "custom_fields": { "tier": null } })] {
        assert_eq!(me.post("/api/accounts", missing.clone()).await.expect(422).fields(), ["custom_fields.tier"]);
        let bulk = me.post("/api/accounts/bulk", json!({ "create": [missing] })).await.expect(200).data();
        assert_eq!(bulk["results"][0]["details"][0]["field"], "custom_fields.tier");
    }
    me.post("/api/accounts", json!({ "name": "A", "custom_fields": { "tier": "gold" } })).await.expect(201);
    me.patch(&format!("/api/accounts/{before}"), json!({ "industry": "x" })).await.expect(200);
    me.post("/api/contacts", json!({ "first_name": "a", "last_name": "b" })).await.expect(201);
}

#[actix_web::test]
async fn definitions_belong_to_one_tenant_and_its_admins() {
    let stack = Stack::start().await;
    let (t, other) = (stack.tenant().await, stack.tenant().await);
    let me = &t.admin.client;
    let id = define(me, "contact", "tier", "text", true).await;
    let at = format!("/api/customfields/{id}");
    other.admin.client.post("/api/contacts", json!({ "first_name": "a", "last_name": "b" })).await.expect(201);
    let foreign = json!({ "first_name": "a", "last_name": "b", "custom_fields": { "tier": "x" } });
    assert_eq!(other.admin.client.post("/api/contacts", foreign).await.expect(422).fields(), ["custom_fields.tier"]);
    assert_eq!(other.admin.client.get("/api/customfields").await.expect(200).data()["total"], 0);
    other.admin.client.patch(&at, json!({ "field_label": "Mine" })).await.expect(404);
    other.admin.client.delete(&at).await.expect(404);

    for person in [&t.manager, &t.employee] {
        assert_eq!(person.client.get("/api/customfields?entity=contact").await.expect(200).data()["total"], 1);
        let body = json!({ "entity": "contact", "field_name": "x", "field_type": "text" });
        person.client.post("/api/customfields", body).await.expect(403);
        person.client.patch(&at, json!({ "field_label": "x" })).await.expect(403);
        person.client.delete(&at).await.expect(403);
    }
    let twice = json!({ "entity": "contact", "field_name": "tier", "field_type": "number" });
    me.post("/api/customfields", twice).await.expect(409);
    me.post("/api/customfields", json!({ "entity": "account", "field_name": "tier", "field_type": "date" }))
        .await
        .expect(201);
    for (bad, field) in [
        (json!({ "entity": "spaceship", "field_name": "x", "field_type": "text" }), "entity"),
        (json!({ "entity": "contact", "field_name": "a-b", "field_type": "text" }), "field_name"),
        (json!({ "entity": "contact", "field_name": "'; --", "field_type": "text" }), "field_name"),
        (json!({ "entity": "contact", "field_name": "x", "field_type": "colour" }), "field_type"),
        (json!({ "entity": "contact", "field_name": "x", "field_type": "select" }), "options"),
        (json!({ "entity": "contact", "field_name": "x", "field_type": "select", "options": ["a\u{0}"] }), "options"),
        (json!({ "entity": "contact", "field_name": "x", "field_type": "text", "is_required": "yes" }), "is_required"),
        (json!({ "entity": "contact", "field_name": "x", "field_type": "text", "secret": 1 }), "secret"),
    ] {
        assert_eq!(me.post("/api/customfields", bad).await.expect(422).fields(), [field]);
    }
    for fixed in ["entity", "field_name", "field_type"] {
        assert_eq!(me.patch(&at, json!({ fixed: "text" })).await.expect(422).fields(), [fixed]);
    }
    assert_eq!(me.get("/api/customfields?entity=%00").await.expect(400).fields(), ["entity"]);
    let changed =
        me.patch(&at, json!({ "field_label": "Tier", "is_required": false, "display_order": 3 })).await.expect(200);
    assert_eq!((&changed.data()["field_label"], &changed.data()["is_required"]), (&json!("Tier"), &json!(false)));
    me.post("/api/contacts", json!({ "first_name": "a", "last_name": "b" })).await.expect(201);
    let kept = json!({ "first_name": "a", "last_name": "b", "custom_fields": { "tier": "gold" } });
    let kept = format!("/api/contacts/{}", me.post("/api/contacts", kept).await.expect(201).id());
    me.delete(&at).await.expect(200);
    me.delete(&at).await.expect(404);
    assert_eq!(me.get(&kept).await.expect(200).data()["custom_fields"]["tier"], "gold", "values stay");
}

#[actix_web::test]
async fn values_go_out_and_come_in() {
    let stack = Stack::start().await;
    let (t, other) = (stack.tenant().await, stack.tenant().await);
    let mut values = json!({});
    for (kind, value, ..) in kinds() {
        define(&t.admin.client, "account", kind, kind, false).await;
        define(&other.admin.client, "account", kind, kind, false).await;
        values[kind] = value;
    }
    let body = json!({ "name": "All of them", "custom_fields": values });
    let original = t.admin.client.post("/api/accounts", body).await.expect(201).data()["custom_fields"].clone();
    let csv = t.admin.client.get("/api/accounts/export").await.expect(200).text;
    let log = other.admin.client.import("/api/accounts/import", csv.as_bytes(), &[]).await.expect(201).data();
    assert_eq!((&log["success_count"], &log["error_count"]), (&json!(1), &json!(0)), "{log}");
    let row = other.admin.client.get("/api/accounts").await.expect(200).data()["accounts"][0].clone();
    assert_eq!(row["custom_fields"], original);

    // One column per field, named after it or mapped to it; cells are texts.
    let csv = "name,custom_fields.number,Ja?,Choices,custom_fields.date\nB,-2.5,yes,a; d,2026-01-01\nC,many,maybe,e,2026-13-01\n";
    let mapping = r#"{"name":"name","custom_fields.number":"custom_fields.number","Ja?":"custom_fields.checkbox",
        "Choices":"custom_fields.multiselect","custom_fields.date":"custom_fields.date"}"#;
    let log = other
        .admin
        .client
        .import("/api/accounts/import", csv.as_bytes(), &[("mapping", mapping)])
        .await
        .expect(201)
        .data();
    assert_eq!((&log["success_count"], &log["error_count"]), (&json!(1), &json!(1)), "{log}");
    let fields: Vec<&str> =
        log["errors"][0]["errors"].as_array().unwrap().iter().map(|e| e["field"].as_str().unwrap()).collect();
    assert_eq!((fields.len(), &log["errors"][0]["row_number"]), (4, &json!(2)), "{log}");
    let row =
        other.admin.client.get("/api/accounts?name=B").await.expect(200).data()["accounts"][0]["custom_fields"].clone();
    assert_eq!(row, json!({ "number": -2.5, "checkbox": true, "multiselect": ["a", "d"], "date": "2026-01-01" }));
    let update = "name,custom_fields.number\nB,7\n";
    let parts = [("on_duplicate", "update")];
    let log = other.admin.client.import("/api/accounts/import", update.as_bytes(), &parts).await.expect(201).data();
    assert_eq!(log["updated_count"], 1, "{log}");
    let row =
        other.admin.client.get("/api/accounts?name=B").await.expect(200).data()["accounts"][0]["custom_fields"].clone();
    assert_eq!((&row["number"], &row["checkbox"]), (&json!(7), &json!(true)), "merged");
}

#[actix_web::test]
async fn lists_are_filtered_by_every_type() {
    let stack = Stack::start().await;
    let t = stack.tenant().await;
    let me = &t.admin.client;
    for (kind, ..) in kinds() {
        define(me, "contact", kind, kind, false).await;
    }
    for (name, values) in [
        (
            "one",
            json!({ "text": "5551234", "email": "a@b.co", "select": "a", "multiselect": ["a", "d"],
                        "date": "2026-01-31", "number": 7, "checkbox": true, "currency": 12.5, "phone": "+1 555 0100" }),
        ),
        (
            "two",
            json!({ "text": "Acme 100%", "email": "c@d.co", "select": "b; c", "multiselect": ["d"],
                        "date": "2026-11-02", "number": -1.5, "checkbox": false, "currency": "1200.00", "textarea": "x" }),
        ),
        ("none", json!({})),
    ] {
        let body = json!({ "first_name": name, "last_name": "x", "custom_fields": values });
        me.post("/api/contacts", body).await.expect(201);
    }
    let names = async |query: &str| {
        let data = me.get(&format!("/api/contacts?sort=first_name&{query}")).await.expect(200).data();
        let rows = data["contacts"].as_array().unwrap().clone();
        rows.iter().map(|r| r["first_name"].as_str().unwrap().to_owned()).collect::<Vec<_>>().join(" ")
    };
    for (field, condition, found) in [
        ("text", json!("5551234"), "one"),
        ("text", json!({ "$contains": "acme 100%" }), "two"),
        ("email", json!({ "$ne": "a@b.co" }), "none two"),
        ("select", json!("b; c"), "two"),
        ("select", json!({ "$in": ["a", "b; c"] }), "one two"),
        ("select", json!({ "$in": ["a", null] }), "none one"),
        ("select", json!({ "$nin": ["a"] }), "none two"),
        ("select", json!({ "$nin": ["a", null] }), "two"),
        ("multiselect", json!("d"), "one two"),
        ("multiselect", json!("a"), "one"),
        ("multiselect", json!({ "$all": ["a", "d"] }), "one"),
        ("multiselect", json!({ "$in": ["a", "b; c"] }), "one"),
        ("multiselect", json!({ "$ne": "a" }), "none two"),
        ("date", json!("2026-01-31"), "one"),
        ("date", json!({ "$gte": "2026-02-01" }), "two"),
        ("date", json!({ "$gte": "2026-01-01", "$lt": "2026-02-01" }), "one"),
        ("number", json!(7), "one"),
        ("number", json!({ "$lt": 0 }), "two"),
        ("number", json!({ "$gt": -2, "$lte": 7 }), "one two"),
        ("currency", json!(12.50), "one"),
        ("currency", json!({ "$gte": 100 }), "two"),
        ("checkbox", json!(true), "one"),
        ("checkbox", json!(false), "two"),
        ("checkbox", json!({ "$ne": true }), "none two"),
        ("phone", json!({ "$exists": true }), "one"),
        ("textarea", Value::Null, "none one"),
    ] {
        let filter = json!({ format!("custom_fields.{field}"): condition }).to_string();
        let query = serde_urlencoded::to_string([("filter", filter)]).unwrap();
        assert_eq!(names(&query).await, found, "{field} {condition}");
    }
    // As a parameter a value has no type of its own.
    for (query, found) in [
        ("custom_fields.text=5551234", "one"),
        ("custom_fields.number=7", "one"),
        ("custom_fields.checkbox=true", "one"),
        ("custom_fields.currency=1200", "two"),
        ("custom_fields.multiselect=d", "one two"),
        ("custom_fields.phone=null", "none two"),
        ("custom_fields.number=%7B%22%24gt%22%3A0%7D", "one"),
    ] {
        assert_eq!(names(query).await, found, "{query}");
    }
}

#[actix_web::test]
async fn what_was_read_can_be_sent_back_after_its_definition_changed() {
    let stack = Stack::start().await;
    let t = stack.tenant().await;
    let me = &t.admin.client;
    let gone = define(me, "account", "gone", "text", false).await;
    let narrowed = define(me, "account", "narrowed", "select", false).await;
    define(me, "account", "duty", "text", true).await;
    let values = json!({ "gone": "x", "narrowed": "a", "duty": "y" });
    let made = me.post("/api/accounts", json!({ "name": "A", "custom_fields": values })).await.expect(201);
    let at = format!("/api/accounts/{}", made.id());
    me.delete(&format!("/api/customfields/{gone}")).await.expect(200);
    me.patch(&format!("/api/customfields/{narrowed}"), json!({ "options": ["b; c", "d"] })).await.expect(200);
    let mut shown = me.get(&at).await.expect(200).data();
    let same = me.put(&at, shown.clone()).await.expect(200).data();
    assert_eq!((&same["custom_fields"], &same["version"]), (&values, &shown["version"]));
    shown["custom_fields"]["duty"] = json!("z");
    let changed = me.put(&at, shown).await.expect(200).data();
    assert_eq!(changed["custom_fields"], json!({ "gone": "x", "narrowed": "a", "duty": "z" }));
    for (bad, field) in [
        (json!({ "gone": "other" }), "custom_fields.gone"),
        (json!({ "narrowed": "e" }), "custom_fields.narrowed"),
        (json!({ "duty": null }), "custom_fields.duty"),
        (json!({ "duty": null, "gone": "x" }), "custom_fields.duty"),
    ] {
        assert_eq!(me.patch(&at, json!({ "custom_fields": bad })).await.expect(422).fields(), [field]);
    }
    let cleared = me.patch(&at, json!({ "custom_fields": { "gone": null } })).await.expect(200).data();
    assert_eq!(cleared["custom_fields"], json!({ "narrowed": "a", "duty": "z" }));
}
