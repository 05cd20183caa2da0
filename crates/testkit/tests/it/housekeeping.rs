//! What crm-core clears away once an hour, and what it leaves alone.

use aisha_db::{Db, DbConfig};
use aisha_testkit::{Stack, database::address};
use serde_json::json;

#[actix_web::test]
async fn only_what_is_due_goes() {
    let stack = Stack::start().await;
    let t = stack.tenant().await;
    let me = &t.admin.client;
    let account = me.post("/api/accounts", json!({"name": "Old"})).await.expect(201).id();
    let fresh = me.post("/api/accounts", json!({"name": "Fresh"})).await.expect(201).id();
    let body = json!({"first_name": "A", "last_name": "B", "account_id": account});
    let contact = me.post("/api/contacts", body).await.expect(201).id();
    let key = [("content-type", "application/json"), ("idempotency-key", "old")];
    me.send("POST", "/api/accounts", &key, Some(br#"{"name":"Keyed"}"#.to_vec())).await.expect(201);
    for id in [account, fresh] {
        me.delete(&format!("/api/accounts/{id}")).await.expect(200);
    }
    let csv = b"name\nImported\n";
    let stuck = me.import("/api/accounts/import", csv, &[]).await.expect(201).id();
    let running = me.import("/api/accounts/import", csv, &[]).await.expect(201).id();
    let set = |table: &str, what: &str, id: uuid::Uuid| format!("UPDATE {table} SET {what} WHERE id = '{id}';");
    // As if that long had passed: the row-level triggers would set the time of the change.
    stack
        .sql(&format!(
            "SET session_replication_role = replica; {} {} {} UPDATE idempotency_key SET expires_at = now() - interval '1 hour' \
             WHERE tenant_id = '{}'; RESET session_replication_role",
            set("accounts", "deleted_at = now() - interval '31 days'", account),
            set("import_log", "status = 'processing', created_at = now() - interval '1 hour', updated_at = now() - interval '1 hour'", stuck),
            set("import_log", "status = 'processing'", running),
            t.id
        ))
        .await;

    let config = DbConfig { url: address("DATABASE_URL"), pool_size: 2, application_name: "housekeeping".into() };
    aisha_crm_core::housekeeping::round(&Db::new(&config).unwrap()).await.unwrap();

    let trash = me.get("/api/accounts/trash").await.expect(200).data();
    assert_eq!((&trash["total"], &trash["accounts"][0]["id"]), (&json!(1), &json!(fresh.to_string())));
    let unlinked = me.get(&format!("/api/contacts/{contact}")).await.expect(200).data();
    assert_eq!((&unlinked["account_id"], &unlinked["account_name"]), (&json!(null), &json!(null)));
    assert_eq!(stack.count(&format!("SELECT count(*) FROM idempotency_key WHERE tenant_id = '{}'", t.id)).await, 0);
    let stuck = me.get(&format!("/api/imports/{stuck}")).await.expect(200).data();
    assert_eq!(stuck["status"], "failed");
    assert!(stuck["metadata"]["failure"].as_str().is_some_and(|f| f.contains("stopped")), "{stuck}");
    assert_eq!(me.get(&format!("/api/imports/{running}")).await.expect(200).data()["status"], "processing");
}
