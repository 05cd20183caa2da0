//! Every operation of the platform's document, through the gateway: nobody without a credential, nobody into another
//! tenant's accounts, no role beyond its own. Generated from the document, so a new route is covered by existing.

use aisha_testkit::{Client, Stack};
use serde_json::{Value, json};

/// Operations of the platform: method, path, whether the document says that no credential is needed.
async fn operations(stack: &Stack) -> Vec<(String, String, bool)> {
    let document = stack.anonymous().get("/api-docs.json").await.expect(200).json();
    let mut out = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let open = operation["security"] == json!([{}]);
            out.push((method.to_uppercase(), path.clone(), open));
        }
    }
    assert!(out.len() > 70, "{}", out.len());
    out
}

async fn call(client: &Client, method: &str, path: &str) -> u16 {
    let body = (method != "GET" && method != "DELETE").then(|| b"{}".to_vec());
    let reply = client.send(method, path, &[("content-type", "application/json")], body).await;
    assert!(reply.status.as_u16() < 500, "{method} {path}: {}", reply.text);
    reply.status.as_u16()
}

#[actix_web::test]
async fn nobody_gets_in_without_a_credential() {
    let stack = Stack::platform().await;
    let expired = stack.anonymous().with("authorization", "Bearer eyJhbGciOiJIUzI1NiJ9.e30.AAAA");
    let key = stack.anonymous().with("x-api-key", format!("aisha_{}", "0".repeat(64)));
    let mut public = Vec::new();
    for (method, path, open) in operations(&stack).await {
        let id = aisha_kernel::new_id().to_string();
        let path =
            path.replace("{name}", "somebody").replace("{key}", "some.key").replace("{identifier}", "some-tenant");
        let path = ["{id}", "{delivery_id}", "{replay_id}"].iter().fold(path, |p, name| p.replace(name, &id));
        if open {
            public.push(format!("{method} {path}"));
            continue;
        }
        // Its credential is the refresh token; without one there is nothing to end.
        if path == "/api/auth/logout" {
            continue;
        }
        for client in [&stack.anonymous(), &expired, &key] {
            assert_eq!(call(client, &method, &path).await, 401, "{method} {path}");
        }
    }
    let reviewed = [
        "POST /api/auth/accept-invitation",
        "POST /api/auth/forgot-password",
        "GET /api/auth/invitation",
        "POST /api/auth/login",
        "POST /api/auth/refresh",
        "POST /api/auth/reset-password",
        "GET /api/status",
    ];
    assert_eq!(public, reviewed);
}

#[actix_web::test]
async fn accounts_of_another_tenant_are_not_there() {
    let stack = Stack::platform().await;
    let (a, b) = (stack.tenant().await, stack.tenant().await);
    let key = json!({"name": "k", "permissions": ["*"]});
    let key = a.admin.client.post("/api/apikeys", key).await.expect(201).id();
    let invitation = a.admin.client.post(&format!("/api/users/{}/invite", a.colleague.user_id), json!({})).await;
    let invitation = invitation.expect(201).id();
    let before = a.admin.client.get(&format!("/api/users/{}", a.employee.user_id)).await.expect(200).data();
    for (method, path, open) in operations(&stack).await {
        let id = match path.split('/').nth(2) {
            Some("users") => a.employee.user_id,
            Some("apikeys") => key,
            Some("invitations") => invitation,
            Some("auth") => a.employee.sid,
            _ => continue,
        };
        if open || !path.contains("{id}") {
            continue;
        }
        let path = path.replace("{id}", &id.to_string());
        for person in b.people() {
            let status = call(&person.client, &method, &path).await;
            assert!(matches!(status, 403 | 404), "{} {method} {path}: {status}", person.role);
        }
        assert!(matches!(call(&b.admin.client, &method, &path).await, 404), "an admin of B: {method} {path}");
    }
    let users = b.admin.client.get("/api/users?limit=200").await.expect(200);
    assert!(!users.text.contains(&a.employee.email));
    b.admin.client.get(&format!("/api/users?tenant_id={}", a.id)).await.expect(403);
    let after = a.admin.client.get(&format!("/api/users/{}", a.employee.user_id)).await.expect(200).data();
    assert_eq!(before, after);
    a.employee.client.get("/api/auth/me").await.expect(200);
}

#[actix_web::test]
async fn users_are_managed_by_admins_and_nobody_rises_above_itself() {
    let stack = Stack::platform().await;
    let t = stack.tenant().await;
    let root = stack.superadmin().await;
    let new = |role: &str| {
        json!({"email": format!("{}@example.test", aisha_kernel::new_id().simple()), "first_name": "New", "last_name": "User",
               "role": role, "password": "Correct-Horse-7"})
    };
    for person in [&t.manager, &t.employee] {
        person.client.get("/api/users").await.expect(403);
        person.client.post("/api/users", new("employee")).await.expect(403);
        person.client.patch(&format!("/api/users/{}", person.user_id), json!({"role": "admin"})).await.expect(403);
        person.client.delete(&format!("/api/users/{}", t.colleague.user_id)).await.expect(403);
        person.client.get(&format!("/api/users/{}", person.user_id)).await.expect(200);
    }
    assert_eq!(t.admin.client.post("/api/users", new("superadmin")).await.status, 403);
    let made = t.admin.client.post("/api/users", new("manager")).await.expect(201).data();
    assert_eq!((&made["tenant_id"], &made["employee_role"]), (&json!(t.id.to_string()), &json!("manager")));
    assert!(made["employee_id"].is_string(), "a user of a tenant has an employee: {made}");
    let login = json!({"email": made["email"], "password": "Correct-Horse-7"});
    stack.anonymous().post("/api/auth/login", login).await.expect(200);
    let twice = json!({"email": made["email"], "first_name": "A", "last_name": "B", "role": "employee", "password": "Correct-Horse-7"});
    assert_eq!(t.admin.client.post("/api/users", twice).await.expect(409).fields(), ["email"]);
    let weak = t
        .admin
        .client
        .post("/api/users", json!({"email": "x", "role": "king", "password": "short", "colour": 1}))
        .await
        .expect(422);
    for field in ["email", "role", "password", "colour"] {
        assert!(weak.fields().iter().any(|f| f == field), "{field} in {}", weak.text);
    }
    t.admin.client.patch(&format!("/api/users/{}", t.admin.user_id), json!({"role": "employee"})).await.expect(403);
    root.client.get(&format!("/api/users/{}", t.employee.user_id)).await.expect(200);
    root.client.get("/api/contacts").await.expect(400);
    root.client.get(&format!("/api/contacts?tenant_id={}", t.id)).await.expect(200);
    let slug = root.client.get(&format!("/api/contacts?tenant_id={}", t.slug)).await.expect(400);
    assert!(slug.text.contains("/api/tenantresolve"), "{}", slug.text);
    let all: Value = root.client.get("/api/users?limit=1").await.expect(200).data();
    assert!(all["total"].as_i64().is_some_and(|n| n > 5), "a superadmin lists everybody: {all}");
}
