//! The way through the gateway: signing in, staying in, being thrown out, limits, headers, documents.

use aisha_testkit::{Client, Stack};
use serde_json::json;

/// Gives a person a password, as the operator's command would.
async fn with_password(stack: &Stack, user: uuid::Uuid) -> &'static str {
    let hash = aisha_auth::password::hash("Correct-Horse-7").unwrap();
    stack.sql(&format!("UPDATE users SET password_hash = '{hash}' WHERE id = '{user}'")).await;
    "Correct-Horse-7"
}

async fn login(stack: &Stack, email: &str, password: &str) -> aisha_testkit::Reply {
    stack.anonymous().post("/api/auth/login", json!({"email": email, "password": password})).await
}

fn bearer(stack: &Stack, token: &serde_json::Value) -> Client {
    stack.anonymous().with("authorization", format!("Bearer {}", token.as_str().unwrap()))
}

#[actix_web::test]
async fn signing_in_and_out() {
    let stack = Stack::platform().await;
    let t = stack.tenant().await;
    let password = with_password(&stack, t.admin.user_id).await;

    let wrong = login(&stack, &t.admin.email, "Wrong-Horse-7").await.expect(401);
    let unknown = login(&stack, "nobody@example.test", "Wrong-Horse-7").await.expect(401);
    assert_eq!((wrong.code(), &wrong.json()["message"]), (unknown.code(), &unknown.json()["message"]));

    let reply = login(&stack, &t.admin.email.to_uppercase(), password).await.expect(200);
    let body = reply.json();
    assert_eq!(body["token"], body["data"]["token"]);
    assert_eq!(body["data"]["user"]["id"], t.admin.user_id.to_string());
    assert!(!reply.text.contains("password"), "{}", reply.text);
    let cookie = reply.header("set-cookie").unwrap();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite"), "{cookie}");
    let me = bearer(&stack, &body["token"]);
    me.get("/api/auth/me").await.expect(200);
    me.post("/api/accounts", json!({"name": "Through the gateway"})).await.expect(201);

    let refresh = body["data"]["refresh_token"].clone();
    let next = stack.anonymous().post("/api/auth/refresh", json!({"refresh_token": refresh})).await.expect(200).data();
    let again = stack.anonymous().post("/api/auth/refresh", json!({"refresh_token": refresh})).await.expect(200).data();
    assert_eq!(next["refresh_token"], again["refresh_token"], "two tabs get the same successor");
    stack
        .sql(&format!(
            "UPDATE sessions SET rotated_at = now() - interval '1 minute' WHERE user_id = '{}'",
            t.admin.user_id
        ))
        .await;
    stack.anonymous().post("/api/auth/refresh", json!({"refresh_token": refresh})).await.expect(401);
    stack.anonymous().post("/api/auth/refresh", json!({"refresh_token": next["refresh_token"]})).await.expect(401);
    // The thief's and the owner's access tokens die with the session.
    tokio::time::sleep(std::time::Duration::from_millis(1000)).await;
    me.get("/api/auth/me").await.expect(401);

    let body = login(&stack, &t.admin.email, password).await.expect(200).json();
    let me = bearer(&stack, &body["token"]);
    me.post("/api/auth/logout", json!({"refresh_token": body["data"]["refresh_token"]})).await.expect(200);
    me.get("/api/auth/me").await.expect(401);
    let audit =
        "SELECT count(*) FROM audit_log WHERE action = ANY('{USER_LOGIN,USER_LOGOUT,FAILED_LOGIN}') AND changed_by = ";
    assert!(stack.count(&format!("{audit}'{}'", t.admin.user_id)).await >= 3);
}

#[actix_web::test]
async fn a_change_of_role_and_a_deactivation_act_within_a_second() {
    let stack = Stack::platform().await;
    let t = stack.tenant().await;
    let account = t.admin.client.post("/api/accounts", json!({"name": "Mine"})).await.expect(201).id();
    t.colleague.client.get(&format!("/api/accounts/{account}")).await.expect(404);
    stack.sql(&format!("UPDATE users SET role = 'manager' WHERE id = '{}'", t.colleague.user_id)).await;
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    t.colleague.client.get(&format!("/api/accounts/{account}")).await.expect(200);
    t.admin.client.delete(&format!("/api/users/{}", t.colleague.user_id)).await.expect(200);
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    t.colleague.client.get("/api/accounts").await.expect(401);
}

#[actix_web::test]
async fn api_keys_narrow_and_die() {
    let stack = Stack::platform().await;
    let t = stack.tenant().await;
    let made =
        t.admin.client.post("/api/apikeys", json!({"name": "n8n", "permissions": ["read:contacts"]})).await.expect(201);
    let key = made.data()["key"].as_str().unwrap().to_owned();
    assert!(!t.admin.client.get("/api/apikeys").await.expect(200).text.contains(&key), "a key is shown once");
    let n8n = stack.anonymous().with("x-api-key", key.clone());
    n8n.get("/api/contacts").await.expect(200);
    n8n.get("/api/accounts").await.expect(403);
    n8n.post("/api/contacts", json!({"first_name": "A", "last_name": "B"})).await.expect(403);
    assert_eq!(stack.count(&format!("SELECT count(*) FROM audit_log WHERE new_values::text LIKE '%{key}%'")).await, 0);
    t.admin.client.delete(&format!("/api/apikeys/{}", made.id())).await.expect(200);
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    n8n.get("/api/contacts").await.expect(401);
    let employee =
        t.employee.client.post("/api/apikeys", json!({"name": "mine", "permissions": ["*"]})).await.expect(201);
    let reader = stack.anonymous().with("x-api-key", employee.data()["key"].as_str().unwrap());
    reader.get("/api/contacts").await.expect(200);
    reader.post("/api/contacts", json!({"first_name": "A", "last_name": "B"})).await.expect(403);
}

#[actix_web::test]
async fn limits_are_exact_and_say_when_to_come_back() {
    let stack = Stack::platform_with(&[("RATE_LIMIT_MAX", "20"), ("AUTH_RATE_LIMIT_MAX", "3")]).await;
    let t = stack.tenant().await;
    let requests = (0..40).map(|_| t.admin.client.get("/api/contacts"));
    let replies = futures_util::future::join_all(requests).await;
    assert_eq!(replies.iter().filter(|r| r.status == 200).count(), 20);
    let refused = replies.into_iter().find(|r| r.status == 429).unwrap();
    assert_eq!(refused.json()["message"], "Too many requests, please try again later.");
    assert!(refused.json()["retryAfter"].as_u64().is_some_and(|s| (1..=60).contains(&s)));
    assert!(refused.header("retry-after").is_some());
    t.manager.client.get("/api/contacts").await.expect(200);
    for _ in 0..3 {
        login(&stack, &t.admin.email, "Wrong-Horse-7").await.expect(401);
    }
    login(&stack, &t.admin.email, "Wrong-Horse-7").await.expect(429);
}

#[actix_web::test]
async fn identity_headers_of_a_client_count_for_nothing() {
    let stack = Stack::platform().await;
    let t = stack.tenant().await;
    let forged = [("x-internal-token", "forged"), ("x-user-id", "1"), ("x-tenant-id", "1")];
    stack.anonymous().send("GET", "/api/contacts", &forged, None).await.expect(401);
    let reply = t.employee.client.send("GET", "/api/auth/me", &forged, None).await.expect(200);
    assert_eq!(reply.data()["id"], t.employee.user_id.to_string());
}

#[actix_web::test]
async fn read_only_means_no_writes() {
    let stack = Stack::platform_with(&[("PRODUCTION_READONLY", "true")]).await;
    let t = stack.tenant().await;
    t.admin.client.get("/api/accounts").await.expect(200);
    let refused = t.admin.client.post("/api/accounts", json!({"name": "No"})).await.expect(403);
    assert_eq!(refused.code(), "production_readonly");
}

#[actix_web::test]
async fn the_document_covers_both_services_and_browsers_may_call() {
    let stack = Stack::platform_with(&[("ALLOWED_ORIGINS", "http://localhost:4000")]).await;
    let document = stack.anonymous().get("/api-docs.json").await.expect(200).json();
    for path in ["/api/auth/login", "/api/users", "/api/contacts", "/api/contacts/{id}"] {
        assert!(document["paths"].get(path).is_some(), "{path}");
    }
    stack.anonymous().get("/api-docs/").await.expect(200);
    let preflight = [("origin", "http://localhost:4000"), ("access-control-request-method", "PATCH")];
    let reply = stack.anonymous().send("OPTIONS", "/api/contacts", &preflight, None).await.expect(200);
    assert_eq!(reply.header("access-control-allow-origin"), Some("http://localhost:4000"));
    let other = [("origin", "http://evil.test"), ("access-control-request-method", "PATCH")];
    let reply = stack.anonymous().send("OPTIONS", "/api/contacts", &other, None).await;
    assert_eq!(reply.header("access-control-allow-origin"), None);
}

#[actix_web::test]
async fn a_manager_of_a_department_sees_its_people_and_nobody_else() {
    let stack = Stack::platform().await;
    let t = stack.tenant().await;
    let make = async |name: &str, owner: &aisha_testkit::Person| {
        let body = json!({"first_name": name, "last_name": "Doe", "assigned_to": owner.employee_id});
        t.admin.client.post("/api/contacts", body).await.expect(201).id()
    };
    let (ours, theirs) = (make("Ours", &t.colleague).await, make("Theirs", &t.employee).await);
    let total = async || t.manager.client.get("/api/contacts").await.expect(200).data()["total"].clone();
    assert_eq!(total().await, 2, "a manager sees all of its tenant unless told otherwise");

    t.admin.client.patch(&format!("/api/tenants/{}", t.id), json!({"manager_scope": "department"})).await.expect(200);
    for (person, department) in [(&t.manager, "Sales"), (&t.colleague, "Sales"), (&t.employee, "Support")] {
        let path = format!("/api/employees/{}", person.employee_id);
        t.admin.client.patch(&path, json!({"department": department})).await.expect(200);
    }
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    assert_eq!(total().await, 1);
    let found = t.manager.client.get("/api/contacts?q=doe").await.expect(200).data();
    assert_eq!((&found["total"], &found["contacts"][0]["id"]), (&json!(1), &json!(ours.to_string())));
    t.manager.client.patch(&format!("/api/contacts/{ours}"), json!({"job_title": "Buyer"})).await.expect(200);
    t.manager.client.get(&format!("/api/contacts/{theirs}")).await.expect(404);
    t.manager.client.patch(&format!("/api/contacts/{theirs}"), json!({"job_title": "Buyer"})).await.expect(404);
    t.manager.client.delete(&format!("/api/contacts/{theirs}")).await.expect(404);
    t.manager.client.delete(&format!("/api/contacts/{ours}")).await.expect(403);
}
