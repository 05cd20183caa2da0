//! Test data: marked in bulk, hidden by a switch, removed for good only when it is confirmed.

use aisha_testkit::{Stack, TestTenant};
use serde_json::{Value, json};
use uuid::Uuid;

async fn contact(t: &TestTenant, name: &str, account: Option<Uuid>) -> Uuid {
    let body = json!({ "first_name": name, "last_name": "L", "account_id": account });
    t.admin.client.post("/api/contacts", body).await.expect(201).id()
}

async fn counted(t: &TestTenant, entity: &str) -> Value {
    let data = t.admin.client.get("/api/testdata").await.expect(200).data();
    data["testdata"].as_array().unwrap().iter().find(|r| r["entity"] == entity).unwrap().clone()
}

#[actix_web::test]
async fn marked_hidden_and_removed() {
    let stack = Stack::start().await;
    let (t, other) = (stack.tenant().await, stack.tenant().await);
    let me = &t.admin.client;
    let account = me.post("/api/accounts", json!({ "name": "Trial" })).await.expect(201).id();
    let real = contact(&t, "Real", Some(account)).await;
    let fake = [contact(&t, "Fake", None).await, contact(&t, "Fake", None).await];
    let foreign = contact(&other, "Fake", None).await;
    let note = json!({ "content": "about", "related_type": "contact", "related_id": fake[0] });
    let note = me.post("/api/notes", note).await.expect(201).id();

    let mark = json!({ "entity": "contact", "filter": { "first_name": "Fake" }, "is_test_data": true });
    assert_eq!(me.post("/api/testdata/mark", mark.clone()).await.expect(200).data()["marked"], 2);
    assert_eq!(me.post("/api/testdata/mark", mark).await.expect(200).data()["marked"], 0);
    let mark = json!({ "entity": "accounts", "ids": [account, foreign], "is_test_data": true });
    assert_eq!(me.post("/api/testdata/mark", mark).await.expect(200).data()["marked"], 1);
    let counts = counted(&t, "contact").await;
    assert_eq!((&counts["live"], &counts["total"]), (&json!(2), &json!(3)));

    for (query, total) in
        [("", 3), ("?show_test_data=true", 3), ("?show_test_data=false", 1), ("?show_test_data=false&q=fake", 0)]
    {
        for path in ["/api/contacts", "/api/contacts/search"] {
            assert_eq!(me.get(&format!("{path}{query}")).await.expect(200).data()["total"], total, "{path}{query}");
        }
    }
    let csv = me.get("/api/contacts/export?show_test_data=false").await.expect(200).text;
    assert!(csv.contains("Real") && !csv.contains("Fake"));
    assert_eq!(me.get("/api/contacts?show_test_data=x").await.expect(400).fields(), ["show_test_data"]);

    for (bad, field) in [
        (json!({ "entity": "x", "ids": [], "is_test_data": true }), "entity"),
        (json!({ "ids": [], "is_test_data": true }), "entity"),
        (json!({ "entity": "lead", "ids": [] }), "is_test_data"),
        (json!({ "entity": "lead", "ids": ["x"], "is_test_data": true }), "ids"),
        (json!({ "entity": "lead", "is_test_data": true }), "ids"),
        (json!({ "entity": "lead", "ids": [], "filter": {}, "is_test_data": true }), "ids"),
    ] {
        assert_eq!(me.post("/api/testdata/mark", bad).await.expect(422).fields(), [field]);
    }
    for confirm in [
        json!({}),
        json!({ "confirm": "delete test data" }),
        json!({ "confirm": "DELETE_ALL_DATA" }),
        json!({ "confirm": null }),
    ] {
        assert_eq!(me.post("/api/testdata/cleanup", confirm).await.expect(422).fields(), ["confirm"]);
    }
    for person in [&t.manager, &t.employee] {
        person.client.post("/api/testdata/cleanup", json!({ "confirm": "DELETE TEST DATA" })).await.expect(403);
    }
    let dry = me.post("/api/testdata/cleanup", json!({ "dry_run": true })).await.expect(200).data();
    assert_eq!((&dry["total"], &dry["unlinked"], &dry["dry_run"]), (&json!(3), &json!(2), &json!(true)), "{dry}");
    me.get(&format!("/api/contacts/{}", fake[0])).await.expect(200);

    let done = me.post("/api/testdata/cleanup", json!({ "confirm": "DELETE TEST DATA" })).await.expect(200).data();
    assert_eq!(
        (&done["total"], &done["removed"], &done["unlinked"]),
        (&dry["total"], &dry["removed"], &dry["unlinked"])
    );
    me.get(&format!("/api/contacts/{}", fake[0])).await.expect(404);
    let kept = me.get(&format!("/api/contacts/{real}")).await.expect(200).data();
    assert_eq!((&kept["account_id"], &kept["account_name"]), (&Value::Null, &Value::Null));
    let note = me.get(&format!("/api/notes/{note}")).await.expect(200).data();
    assert_eq!((&note["related_id"], &note["related_type"]), (&Value::Null, &Value::Null));
    other.admin.client.get(&format!("/api/contacts/{foreign}")).await.expect(200);
    let audit = format!(
        "SELECT (new_values ->> 'total')::bigint FROM audit_log WHERE tenant_id = '{}' AND action = 'test_data_cleanup'",
        t.id
    );
    assert_eq!(stack.count(&audit).await, 3);
    assert_eq!(
        me.post("/api/testdata/cleanup", json!({ "confirm": "DELETE TEST DATA" })).await.expect(200).data()["total"],
        0
    );
}

/// Whoever can sign in stays, however the record is marked.
#[actix_web::test]
async fn people_with_accounts_stay() {
    let stack = Stack::start().await;
    let t = stack.tenant().await;
    stack.sql(&format!("UPDATE employees SET is_test_data = true WHERE tenant_id = '{}'", t.id)).await;
    let done =
        t.admin.client.post("/api/testdata/cleanup", json!({ "confirm": "DELETE TEST DATA" })).await.expect(200).data();
    assert_eq!((&done["total"], &done["kept_employees"]), (&json!(0), &json!(4)));
    assert_eq!(stack.count(&format!("SELECT count(*) FROM employees WHERE tenant_id = '{}'", t.id)).await, 4);
}
