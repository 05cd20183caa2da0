//! Lists: every kind of filter, search, order, page and count, and what an employee's list holds.

use aisha_testkit::{Client, Stack};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// `path` with these parameters, encoded.
pub(super) fn with(path: &str, parameters: &[(&str, &str)]) -> String {
    format!("{path}?{}", serde_urlencoded::to_string(parameters).unwrap())
}

async fn list(me: &Client, plural: &str, parameters: &[(&str, &str)]) -> Value {
    let path = with(&format!("/api/{plural}"), parameters);
    let reply = me.get(&path).await;
    assert_eq!(reply.status, 200, "{path}: {}", reply.text);
    reply.data()
}

fn column<'d>(data: &'d Value, plural: &str, field: &str) -> Vec<&'d Value> {
    let key = plural.split('/').next().unwrap();
    data[key].as_array().unwrap().iter().map(|r| &r[field]).collect()
}

/// The last names that a list of contacts holds, in order.
async fn names(me: &Client, parameters: &[(&str, &str)]) -> String {
    let data = list(me, "contacts", parameters).await;
    let names: Vec<&str> = column(&data, "contacts", "last_name").into_iter().map(|v| v.as_str().unwrap()).collect();
    assert_eq!(data["total"], names.len(), "{parameters:?}");
    names.join("")
}

#[actix_web::test]
async fn filters_of_every_kind() {
    let stack = Stack::start().await;
    let t = stack.tenant().await;
    let me = &t.admin.client;
    for (name, kind) in [("tier", "text"), ("seats", "number"), ("vip", "checkbox")] {
        let body = json!({ "entity": "contact", "field_name": name, "field_type": kind });
        me.post("/api/customfields", body).await.expect(201);
    }
    let account = me.post("/api/accounts", json!({ "name": "Acme" })).await.expect(201).id();
    let rows = json!([
        { "last_name": "a", "status": "active", "score": 10, "tags": ["x", "y"], "last_contacted": "2026-01-31",
          "account_id": account, "custom_fields": { "tier": "gold", "seats": 5, "vip": true } },
        { "last_name": "b", "status": "inactive", "score": 50, "tags": ["x"], "last_contacted": "2026-02-01",
          "custom_fields": { "tier": "silver", "seats": 40 } },
        { "last_name": "c", "status": "prospect", "score": 90, "tags": ["y, z"], "email": "c_1%@example.test",
          "custom_fields": { "tier": "5" } },
        { "last_name": "d", "status": "customer", "job_title": "Ärztin (50%)" },
    ]);
    for row in rows.as_array().unwrap() {
        let mut row = row.clone();
        row["first_name"] = json!("Test");
        me.post("/api/contacts", row).await.expect(201);
    }
    let at = account.to_string();
    for (parameter, value, expected) in [
        ("status", "active", "a"),
        ("status", r#"{"$ne":"active"}"#, "bcd"),
        ("status", r#"{"$in":["active","customer"]}"#, "ad"),
        ("status", r#"{"$nin":["active","customer"]}"#, "bc"),
        ("score", "50", "b"),
        ("score", r#"{"$gte":50}"#, "bc"),
        ("score", r#"{"$gt":10,"$lt":90}"#, "b"),
        ("score", r#"{"$lte":10}"#, "a"),
        ("score", "null", "d"),
        ("score", r#"{"$exists":true}"#, "abc"),
        ("score", r#"{"$exists":false}"#, "d"),
        ("score", r#"{"$in":[10,null]}"#, "ad"),
        ("score", r#"{"$nin":[10,null]}"#, "bc"),
        ("score", r#"{"$nin":[10]}"#, "bcd"),
        ("score", r#"{"$in":[]}"#, ""),
        ("score", r#"{"$nin":[]}"#, "abcd"),
        ("tags", "x", "ab"),
        ("tags", "y, z", "c"),
        ("tags", r#"{"$all":["x","y"]}"#, "a"),
        ("tags", r#"{"$in":["y","y, z"]}"#, "ac"),
        ("tags", r#"{"$exists":false}"#, "d"),
        ("last_contacted", "2026-02-01", "b"),
        ("last_contacted", r#"{"$gte":"2026-01-31","$lt":"2026-02-01"}"#, "a"),
        ("last_contacted", "null", "cd"),
        ("created_at", r#"{"$gt":"2020-01-01T00:00:00+02:00"}"#, "abcd"),
        ("created_at", r#"{"$lt":"2020-01-01"}"#, ""),
        ("account_id", at.as_str(), "a"),
        ("account_name", "Acme", "a"),
        ("assigned_to", "null", "abcd"),
        ("is_test_data", "false", "abcd"),
        ("is_test_data", "true", ""),
        ("email", r#"{"$contains":"_1%@"}"#, "c"),
        ("email", r#"{"$contains":"_"}"#, "c"),
        ("job_title", r#"{"$contains":"ÄRZTIN"}"#, "d"),
        ("job_title", r#"{"$regex":"^(a+)+$"}"#, ""),
        ("job_title", r#"{"$regex":"(50%)","$options":"i"}"#, "d"),
        ("custom_fields.tier", "gold", "a"),
        ("custom_fields.tier", r#"{"$in":["gold","silver"]}"#, "ab"),
        ("custom_fields.tier", r#"{"$eq":"5"}"#, "c"),
        ("custom_fields.tier", "null", "d"),
        ("custom_fields.tier", r#"{"$contains":"IL"}"#, "b"),
        ("custom_fields.seats", "5", "a"),
        ("custom_fields.seats", r#"{"$gt":5}"#, "b"),
        ("custom_fields.seats", r#"{"$exists":true}"#, "ab"),
        ("custom_fields.vip", "true", "a"),
        ("custom_fields.nothing", "x", ""),
        ("$or", r#"[{"status":"active"},{"score":{"$gte":90}}]"#, "ac"),
        ("$or", "[]", ""),
        ("$and", r#"[{"tags":"x"},{"score":50}]"#, "b"),
        ("filter", "{}", "abcd"),
        ("filter", r#"{"tags":"x","$or":[{"score":10},{"custom_fields.seats":40}]}"#, "ab"),
        ("filter", r#"{"status":["active","inactive"]}"#, "ab"),
        ("filter", r#"{"score":null}"#, "d"),
        ("filter", r#"{"last_name":"' OR 1=1 --"}"#, ""),
    ] {
        assert_eq!(names(me, &[("sort", "last_name"), (parameter, value)]).await, expected, "{parameter}={value}");
    }
    let both = [("sort", "-last_name"), ("tags", "x"), ("$or", r#"[{"score":50},{"score":90}]"#), ("q", "test")];
    assert_eq!(names(me, &both).await, "b", "parameters of different kinds all hold");
}

#[actix_web::test]
async fn money_is_compared_exactly() {
    let stack = Stack::start().await;
    let t = stack.tenant().await;
    let me = &t.admin.client;
    for (name, revenue) in [("a", json!(0.1)), ("b", json!(0.2)), ("c", json!("9999999999999.99")), ("d", Value::Null)]
    {
        me.post("/api/accounts", json!({ "name": name, "annual_revenue": revenue })).await.expect(201);
    }
    for (value, expected) in [
        ("0.1", "a"),
        (r#"{"$gt":0.1,"$lt":0.21}"#, "b"),
        (r#"{"$gte":9999999999999.99}"#, "c"),
        (r#"{"$in":[null,0.2]}"#, "bd"),
        (r#"{"$in":[0.2,null]}"#, "bd"),
        (r#"{"$nin":[0.2]}"#, "acd"),
        (r#"{"$ne":0.2}"#, "acd"),
        ("null", "d"),
    ] {
        let data = list(me, "accounts", &[("sort", "name"), ("annual_revenue", value)]).await;
        let found: Vec<&str> = column(&data, "accounts", "name").into_iter().map(|v| v.as_str().unwrap()).collect();
        assert_eq!(found.join(""), expected, "{value}");
    }
    let text = me.get("/api/accounts?sort=-annual_revenue").await.text;
    assert!(text.contains(":9999999999999.99,") && text.contains(":0.10,"), "{text}");
}

/// Reads all pages by cursor and by offset and returns the ids.
async fn pages(me: &Client, plural: &str, parameters: &[(&str, &str)]) -> Vec<String> {
    let ids = |data: &Value| -> Vec<String> {
        column(data, plural, "id").into_iter().map(|v| v.as_str().unwrap().to_owned()).collect()
    };
    let whole = list(me, plural, &[parameters, &[("limit", "200")]].concat()).await;
    assert_eq!(whole["next_cursor"], Value::Null);
    let (mut by_cursor, mut by_offset) = (Vec::new(), Vec::new());
    let mut cursor: Option<String> = None;
    loop {
        let mut page = [parameters, &[("limit", "7")]].concat();
        page.extend(cursor.as_deref().map(|c| ("cursor", c)));
        let data = list(me, plural, &page).await;
        by_cursor.extend(ids(&data));
        assert_eq!(data["total"], whole["total"], "{parameters:?}");
        let offset = by_offset.len().to_string();
        let data = list(me, plural, &[parameters, &[("limit", "7"), ("offset", &offset)]].concat()).await;
        by_offset.extend(ids(&data));
        match data["next_cursor"].as_str() {
            Some(next) => cursor = Some(next.to_owned()),
            None => break,
        }
    }
    assert_eq!(by_cursor, ids(&whole), "cursor {parameters:?}");
    assert_eq!(by_offset, ids(&whole), "offset {parameters:?}");
    by_cursor
}

#[actix_web::test]
async fn orders_and_pages_agree() {
    let stack = Stack::start().await;
    let t = stack.tenant().await;
    let me = &t.admin.client;
    let account = me.post("/api/accounts", json!({ "name": "Zebra" })).await.expect(201).id();
    let rows: Vec<Value> = (0..45)
        .map(|i| {
            json!({
                "first_name": format!("F{}", i % 5), "last_name": if i % 2 == 0 { "Ä" } else { "z" },
                "score": if i % 3 == 0 { Value::Null } else { json!(i % 4) },
                "account_id": if i % 2 == 0 { json!(account) } else { Value::Null },
                "phone": if i % 4 == 0 { json!("+49 30 901820") } else { Value::Null },
                "last_contacted": if i % 5 == 0 { Value::Null } else { json!(format!("2026-01-{:02}", 1 + i % 9)) },
                "assigned_to": if i % 2 == 0 { t.employee.email.clone() } else { t.colleague.email.clone() },
            })
        })
        .collect();
    me.post("/api/contacts/bulk", json!({ "create": rows })).await.expect(200);
    for sort in [
        "",
        "-created_at",
        "created_at",
        "id",
        "score",
        "-score",
        "score,-last_name",
        "-last_contacted,score,first_name",
        "account_name",
        "-account_name",
        "phone_e164",
        "-phone_e164",
        "assigned_to_name",
        "is_test_data",
        "-version",
        "updated_at",
        "status",
        "created_by",
        "last_name,-first_name",
        "processed_by_ai_doc",
        "tenant_id",
    ] {
        assert_eq!(pages(me, "contacts", &[("sort", sort)]).await.len(), 45, "{sort}");
    }
    assert_eq!(pages(me, "contacts", &[("q", "f1")]).await.len(), 9);
    assert_eq!(pages(me, "contacts", &[("q", "f1"), ("sort", "score")]).await.len(), 9);
    assert_eq!(pages(me, "contacts", &[("score", r#"{"$gte":2}"#), ("sort", "-score")]).await.len(), 14);
    let data = list(me, "contacts", &[("sort", "score"), ("limit", "200")]).await;
    let scores = column(&data, "contacts", "score");
    assert!(
        scores[..30].is_sorted_by_key(|v| v.as_i64().unwrap()) && scores[30..].iter().all(|v| v.is_null()),
        "nulls last"
    );
    let data = list(me, "contacts", &[("sort", "-score"), ("limit", "200")]).await;
    assert!(column(&data, "contacts", "score")[30..].iter().all(|v| v.is_null()), "nulls last, whatever the direction");

    // What an employee may see is its whole list, in the same order, on every page.
    for sort in ["-created_at", "score"] {
        let mine = pages(&t.employee.client, "contacts", &[("sort", sort)]).await;
        let employee = t.employee.employee_id.to_string();
        let all = list(me, "contacts", &[("sort", sort), ("limit", "200"), ("assigned_to", &employee)]).await;
        let all: Vec<&str> = column(&all, "contacts", "id").into_iter().map(|v| v.as_str().unwrap()).collect();
        assert_eq!(mine, all, "{sort}");
        for id in &mine {
            t.employee.client.get(&format!("/api/contacts/{id}")).await.expect(200);
        }
    }
    me.post("/api/contacts/bulk", json!({ "delete": pages(me, "contacts", &[]).await })).await.expect(200);
    assert_eq!(pages(me, "contacts/trash", &[]).await.len(), 45);
}

#[actix_web::test]
async fn totals_say_how_far_they_counted() {
    let stack = Stack::start().await;
    let t = stack.tenant().await;
    let me = &t.admin.client;
    stack
        .sql(&format!(
            "INSERT INTO contacts (tenant_id, first_name, last_name) SELECT '{}', 'Many', n::text FROM generate_series(1, 10050) AS n",
            t.id
        ))
        .await;
    let data = list(me, "contacts", &[("limit", "1")]).await;
    assert_eq!((&data["total"], &data["total_is_lower_bound"]), (&json!(10_000), &json!(true)));
    let data = list(me, "contacts", &[("limit", "1"), ("q", "many")]).await;
    assert_eq!((&data["total"], &data["total_is_lower_bound"]), (&json!(10_000), &json!(true)));
    let data = list(me, "contacts", &[("limit", "1"), ("count", "exact")]).await;
    assert_eq!((&data["total"], &data["total_is_lower_bound"]), (&json!(10_050), &Value::Null));
    let data = list(me, "contacts", &[("limit", "1"), ("count", "exact"), ("q", "many")]).await;
    assert_eq!(data["total"], 10_050);
    let data = list(me, "contacts", &[("limit", "1"), ("count", "none")]).await;
    assert!(data.get("total").is_none() && data["next_cursor"].is_string(), "{data}");
    let data = list(me, "contacts", &[("limit", "1"), ("last_name", r#"{"$contains":"99"}"#)]).await;
    assert!(data["total"].as_i64().is_some_and(|n| n < 10_000) && data["total_is_lower_bound"].is_null(), "{data}");
    let data = list(me, "contacts", &[("limit", "10"), ("offset", "10045")]).await;
    assert_eq!(data["contacts"].as_array().unwrap().len(), 5);
}

#[actix_web::test]
async fn fields_are_chosen() {
    let stack = Stack::start().await;
    let t = stack.tenant().await;
    let me = &t.admin.client;
    me.post("/api/accounts", json!({ "name": "A", "annual_revenue": 1 })).await.expect(201);
    let data = list(me, "accounts", &[("fields", "name,annual_revenue,custom_fields")]).await;
    let row = data["accounts"][0].as_object().unwrap();
    let keys: BTreeSet<&str> = row.keys().map(String::as_str).collect();
    assert_eq!(keys, BTreeSet::from(["id", "name", "annual_revenue", "custom_fields"]));
    assert_eq!(me.get("/api/accounts?fields=name,secret").await.expect(400).fields(), ["fields"]);
}

#[actix_web::test]
async fn search_finds_what_was_typed() {
    let stack = Stack::start().await;
    let t = stack.tenant().await;
    let me = &t.admin.client;
    for (first, last) in
        [("Zoë", "Ångström"), ("Łukasz", "O'Hara"), ("100%", "a_b"), ("1000", "axb"), ("السلام", "عليكم")]
    {
        me.post("/api/contacts", json!({ "first_name": first, "last_name": last })).await.expect(201);
    }
    let gone = me.post("/api/contacts", json!({ "first_name": "Zoë", "last_name": "Gone" })).await.expect(201).id();
    me.delete(&format!("/api/contacts/{gone}")).await.expect(200);
    for (q, expected) in [
        ("zoë", "Ångström"),
        ("ZOË ångSTRÖM", "Ångström"),
        ("ström zo", "Ångström"),
        ("ŁUKASZ", "O'Hara"),
        ("o'hara", "O'Hara"),
        ("100%", "a_b"),
        ("a_b", "a_b"),
        ("%", "a_b"),
        ("_", "a_b"),
        ("عليكم", "عليكم"),
        ("zoë hara", ""),
        ("\\", ""),
        ("gone", ""),
    ] {
        assert_eq!(names(me, &[("q", q)]).await, expected, "{q}");
        let narrowed = [("q", q), ("sort", "last_name"), ("filter", r#"{"status":"active"}"#)];
        assert_eq!(names(me, &narrowed).await, expected, "{q} with a filter");
    }
    assert_eq!(list(me, "contacts/trash", &[("q", "zoë")]).await["total"], 1, "the trash can be searched too");
    assert_eq!(list(&t.employee.client, "contacts", &[("q", "zoë")]).await["total"], 0, "only in what it may see");
    for (q, total) in [("manager", 1), ("TEST employee", 2), ("nobody", 0)] {
        assert_eq!(list(&t.employee.client, "employees", &[("q", q)]).await["total"], total, "{q}");
    }
}
