//! The proof of isolation: it holds for everybody who may ask, is asked of the database, and says so when it does not hold.

use aisha_testkit::Stack;
use serde_json::json;
use std::time::Instant;

#[actix_web::test]
async fn it_is_asked_now_and_fast() {
    let stack = Stack::start().await;
    let (a, b) = (stack.tenant().await, stack.tenant().await);
    for t in [&a, &b] {
        t.admin.client.post("/api/accounts", json!({ "name": "Acme" })).await.expect(201);
    }
    crate::audit_chain::sealed(&stack, a.id).await;
    a.admin.client.get("/api/trust").await.expect(200);
    let started = Instant::now();
    let trust = a.admin.client.get("/api/trust").await.expect(200).data();
    let took = started.elapsed();
    assert!(took.as_secs() < 10, "{took:?}");
    assert_eq!((&trust["holds"], &trust["tenant_id"]), (&json!(true), &json!(a.id)), "{trust:#}");
    let isolation = &trust["isolation"];
    assert!(
        isolation["checks"].as_array().unwrap().iter().all(|c| c["passed"] == true && c["violations"] == json!([]))
    );
    assert!(isolation["tables_probed"].as_u64() > Some(10), "{isolation}");
    assert_eq!(isolation["other_tenant_probed"], true);
    assert_eq!((&isolation["foreign_rows"], &isolation["rows_without_tenant"]), (&json!(0), &json!(0)));
    let state = &trust["audit_chain"]["state"];
    assert!(state["links"].as_i64() > Some(0) && state["head"].as_str().is_some_and(|h| h.len() == 64), "{state}");
    assert_eq!((&trust["sign_in"]["active_users"], &trust["sign_in"]["totp_required"]), (&json!(4), &json!(false)));
    for person in [&a.manager, &a.employee] {
        person.client.get("/api/trust").await.expect(403);
    }
    a.admin.client.get(&format!("/api/trust?tenant_id={}", b.id)).await.expect(403);
    let root = stack.superadmin().await;
    assert_eq!(root.client.get("/api/trust").await.expect(400).fields(), ["tenant_id"]);
    root.client.get(&format!("/api/trust?tenant_id={}", b.id)).await.expect(200);
}

#[actix_web::test]
async fn a_secret_that_is_not_sealed_is_noticed() {
    let stack = Stack::start().await;
    let t = stack.tenant().await;
    stack
        .sql(&format!(
            "INSERT INTO user_totp (user_id, secret_sealed) VALUES ('{}', 'plain'::bytea);
             UPDATE users SET password_hash = 'md5' WHERE id = '{}'",
            t.employee.user_id, t.manager.user_id
        ))
        .await;
    let trust = t.admin.client.get("/api/trust").await.expect(200).data();
    assert_eq!(trust["holds"], false);
    assert_eq!(
        (&trust["sign_in"]["unsealed_secrets"], &trust["sign_in"]["passwords_in_another_form"]),
        (&json!(1), &json!(1))
    );
}
