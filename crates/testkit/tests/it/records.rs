//! Records: the whole life of one, and every way to find it.

use aisha_testkit::Stack;
use serde_json::json;

#[actix_web::test]
async fn a_contact_lives_is_found_and_dies() {
    let stack = Stack::start().await;
    let t = stack.tenant().await;
    let me = &t.admin.client;
    let account =
        me.post("/api/accounts", json!({"name": "Äpfel, Birnen & Co", "annual_revenue": 1234.5})).await.expect(201);
    assert_eq!(account.header("etag"), Some("\"1\""));
    assert!(account.text.contains("\"annual_revenue\":1234.50"), "{}", account.text);
    let body = json!({"first_name": "Zoë", "last_name": "O'Hara", "email": "ZOE@Example.Test", "phone": "+49 30 901820",
        "account_id": account.id(), "tags": ["vip", "vip", "new"], "assigned_to": t.employee.email});
    let created = me.post("/api/contacts", body).await.expect(201);
    let at = format!("/api/contacts/{}", created.id());
    assert_eq!(created.header("location"), Some(at.as_str()));
    let c = created.data();
    assert_eq!(c["email"], "zoe@example.test");
    assert_eq!(c["phone_e164"], "+4930901820");
    assert_eq!(c["account_name"], "Äpfel, Birnen & Co");
    assert_eq!(c["assigned_to"], t.employee.employee_id.to_string());
    assert_eq!(c["tags"], json!(["vip", "new"]));
    assert_eq!(c["created_date"], c["created_at"]);

    let read = me.get(&at).await.expect(200);
    assert_eq!(read.data(), c);
    let back = me.put(&at, c.clone()).await.expect(200);
    assert_eq!(back.data()["first_name"], "Zoë", "what was read can be sent back");
    let changed = me.patch(&at, json!({"last_name": "Hara", "email": null})).await.expect(200).data();
    assert_eq!((&changed["last_name"], &changed["email"]), (&json!("Hara"), &json!(null)));

    for query in [
        "q=zo%C3%AB%20hara",
        "status=active&last_name=Hara",
        "filter=%7B%22tags%22%3A%7B%22%24all%22%3A%5B%22vip%22%5D%7D%7D",
    ] {
        let list = me.get(&format!("/api/contacts?{query}")).await.expect(200).data();
        assert_eq!(list["total"], 1, "{query}: {list}");
    }
    me.delete(&at).await.expect(200);
    me.get(&at).await.expect(404);
    assert_eq!(me.get("/api/contacts/trash").await.expect(200).data()["total"], 1);
    me.post(&format!("{at}/restore"), json!({})).await.expect(200);
    me.get(&at).await.expect(200);
}
