//! `POST /api/<plural>/bulk`: each item with its own result, none that takes another one down.

use aisha_testkit::Stack;
use serde_json::{Value, json};

fn results(data: &Value) -> Vec<(String, String)> {
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    data["results"].as_array().unwrap().iter().map(|r| (text(&r["status"]), text(&r["code"]))).collect()
}

#[actix_web::test]
async fn items_succeed_and_fail_by_themselves() {
    let stack = Stack::start().await;
    let t = stack.tenant().await;
    let other = stack.tenant().await;
    let me = &t.admin.client;
    me.post("/api/accounts", json!({ "name": "Taken" })).await.expect(201);
    let foreign = other.admin.client.post("/api/accounts", json!({ "name": "Foreign" })).await.expect(201).id();
    let body = json!({ "create": [
        { "name": "One", "assigned_to": t.employee.email, "annual_revenue": "12.50", "tags": ["a"], "phone": "+49 30 901820" },
        { "name": "taken" },
        { "nam": "Typo" },
        { "name": "Two", "assigned_to": "nobody@example.test" },
        { "name": "Three", "tenant_id": other.id },
        { "name": "Four", "tenant_id": t.id, "type": "vendor" },
        { "name": "one" },
    ] });
    let data = me.post("/api/accounts/bulk", body).await.expect(200).data();
    let expected =
        ["created", "conflict", "validation_failed", "validation_failed", "validation_failed", "created", "conflict"];
    for (i, (status, code)) in results(&data).iter().enumerate() {
        let got = if status == "error" { code } else { status };
        assert_eq!(got, expected[i], "{i}: {data}");
        assert_eq!(data["results"][i]["index"], i);
    }
    assert_eq!((&data["succeeded"], &data["failed"]), (&json!(2), &json!(5)));
    assert_eq!(data["results"][3]["details"][0]["field"], "assigned_to");
    let one = data["results"][0]["id"].as_str().unwrap();
    let four = data["results"][5]["id"].as_str().unwrap();
    let row = me.get(&format!("/api/accounts/{one}")).await.expect(200).data();
    assert_eq!((&row["phone_e164"], &row["assigned_to"]), (&json!("+4930901820"), &json!(t.employee.employee_id)));
    assert_eq!((&row["type"], &row["version"]), (&json!("prospect"), &json!(1)));

    let body = json!({ "update": [
        { "id": one, "name": "First", "annual_revenue": null },
        { "id": four, "name": "TAKEN" },
        { "id": foreign, "name": "Mine now" },
        { "id": "x", "name": "y" },
        { "id": four, "type": "customer" },
        { "name": "No id" },
        { "id": four, "version": 7, "colour": "red" },
    ] });
    let data = me.post("/api/accounts/bulk", body).await.expect(200).data();
    let expected = ["", "conflict", "not_found", "validation_failed", "", "validation_failed", "validation_failed"];
    assert_eq!(results(&data).iter().map(|(_, code)| code.as_str()).collect::<Vec<_>>(), expected, "{data}");
    assert_eq!(me.get(&format!("/api/accounts/{four}")).await.expect(200).data()["type"], "customer");

    let data = me.post("/api/accounts/bulk", json!({ "delete": [one, foreign, "x", 5, one] })).await.expect(200).data();
    let codes = ["", "not_found", "validation_failed", "validation_failed"];
    assert_eq!(results(&data).iter().take(4).map(|(_, code)| code.as_str()).collect::<Vec<_>>(), codes, "{data}");
    me.get(&format!("/api/accounts/{one}")).await.expect(404);
    other.admin.client.get(&format!("/api/accounts/{foreign}")).await.expect(200);
}

#[actix_web::test]
async fn a_thousand_and_no_more() {
    let stack = Stack::start().await;
    let t = stack.tenant().await;
    let me = &t.admin.client;
    let rows = |n: usize| -> Vec<Value> {
        (0..n).map(|i| json!({ "first_name": "B", "last_name": format!("{i}"), "custom_fields": {} })).collect()
    };
    assert_eq!(me.post("/api/contacts/bulk", json!({ "create": rows(1_001) })).await.expect(422).fields(), ["create"]);
    let data = me.post("/api/contacts/bulk", json!({ "create": rows(1_000) })).await.expect(200).data();
    assert_eq!(data["succeeded"], 1_000);
    let ids: Vec<&Value> = data["results"].as_array().unwrap().iter().map(|r| &r["id"]).collect();
    let update: Vec<Value> = ids.iter().map(|id| json!({ "id": id, "score": 5 })).collect();
    assert_eq!(me.post("/api/contacts/bulk", json!({ "update": update })).await.expect(200).data()["succeeded"], 1_000);
    assert_eq!(me.get("/api/contacts?score=5&limit=1").await.expect(200).data()["total"], 1_000);
    assert_eq!(me.post("/api/contacts/bulk", json!({ "delete": ids })).await.expect(200).data()["succeeded"], 1_000);
    assert_eq!(me.get("/api/contacts").await.expect(200).data()["total"], 0);
    for bad in [
        json!({}),
        json!({ "create": [] }),
        json!({ "create": {} }),
        json!({ "create": [5] }),
        json!({ "remove": ["x"] }),
        json!({ "create": [{}], "delete": ["x"] }),
        json!({ "create": [{}], "dry_run": true }),
    ] {
        let reply = me.post("/api/contacts/bulk", bad.clone()).await.expect(422);
        assert!(reply.fields().iter().all(|f| f == "create"), "{bad}: {}", reply.text);
    }
}

#[actix_web::test]
async fn within_role_and_scope() {
    let stack = Stack::start().await;
    let t = stack.tenant().await;
    let (me, admin) = (&t.employee.client, &t.admin.client);
    let name = |n: &str, to: uuid::Uuid| json!({ "first_name": n, "last_name": n, "assigned_to": to });
    let mine = admin.post("/api/contacts", name("mine", t.employee.employee_id)).await.expect(201).id();
    let theirs = admin.post("/api/contacts", name("theirs", t.colleague.employee_id)).await.expect(201).id();
    assert_eq!(me.post("/api/contacts/bulk", json!({ "delete": [mine] })).await.expect(403).code(), "forbidden");
    t.manager.client.post("/api/contacts/bulk", json!({ "delete": [mine] })).await.expect(403);
    let update = json!({ "update": [
        { "id": mine, "score": 1 }, { "id": theirs, "score": 1 }, { "id": mine, "assigned_to": t.colleague.email },
    ] });
    let data = me.post("/api/contacts/bulk", update).await.expect(200).data();
    let codes: Vec<String> = results(&data).into_iter().map(|(_, code)| code).collect();
    assert_eq!(codes, ["", "not_found", ""], "handing a record over is no error: {data}");
    me.get(&format!("/api/contacts/{mine}")).await.expect(404);
    assert_eq!(admin.get(&format!("/api/contacts/{theirs}")).await.expect(200).data()["score"], Value::Null);
    let made =
        me.post("/api/contacts/bulk", json!({ "create": [name("new", t.colleague.employee_id)] })).await.expect(200);
    assert_eq!(made.data()["succeeded"], 1);
    me.post("/api/employees/bulk", json!({ "create": [{ "first_name": "a", "last_name": "b" }] })).await.expect(403);
}

#[actix_web::test]
async fn repeated_with_a_key_it_runs_once() {
    let stack = Stack::start().await;
    let t = stack.tenant().await;
    let me = &t.admin.client;
    let headers = [("content-type", "application/json"), ("idempotency-key", "bulk-1")];
    let body = |name: &str| json!({ "create": [{ "name": name }, { "nam": 1 }] }).to_string().into_bytes();
    let first = me.send("POST", "/api/accounts/bulk", &headers, Some(body("Once"))).await.expect(200);
    let second = me.send("POST", "/api/accounts/bulk", &headers, Some(body("Once"))).await.expect(200);
    assert_eq!(first.text, second.text);
    assert_eq!(me.get("/api/accounts").await.expect(200).data()["total"], 1);
    let other = me.send("POST", "/api/accounts/bulk", &headers, Some(body("Twice"))).await.expect(422);
    assert_eq!(other.code(), "idempotency_key_reused");
}
