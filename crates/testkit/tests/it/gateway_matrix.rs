//! Which role may call which operation of the gateway itself: asked of the running gateway, compared with the reviewed file.

use aisha_auth::Role;
use aisha_testkit::{Person, Stack, TestTenant, database, stream::EventStream};
use serde_json::{Value, json};
use std::fmt::Write as _;

/// Operations of the gateway's document that ask for a credential.
fn operations() -> Vec<(String, String)> {
    let document: Value = serde_json::from_str(&aisha_gateway::openapi_json()).unwrap();
    let mut out = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            if operation["security"] != json!([{}]) {
                out.push((method.to_uppercase(), path.clone()));
            }
        }
    }
    assert!(out.len() > 30, "{}", out.len());
    out
}

/// What `{id}` stands for: something that every role could act on if it were allowed to.
async fn target(stack: &Stack, t: &TestTenant, path: &str, me: &Person) -> String {
    match path.split('/').nth(2) {
        Some("apikeys") if me.role != Role::Superadmin => {
            let key = json!({ "name": "k", "permissions": ["read:*"] });
            me.client.post("/api/apikeys", key).await.expect(201).id().to_string()
        }
        Some("auth") => me.sid.to_string(),
        Some("invitations") => {
            let new = json!({ "email": format!("{}@example.test", aisha_kernel::new_id().simple()), "first_name": "A",
                              "last_name": "B", "send_invitation": true });
            let made = t.admin.client.post("/api/users", new).await.expect(201).data();
            made["invitation"]["id"].as_str().unwrap().to_owned()
        }
        _ => stack.person(Some(t.id), Role::Employee).await.user_id.to_string(),
    }
}

/// A body that fits, so that what is refused is the caller.
fn body(t: &TestTenant, method: &str, path: &str) -> (&'static str, Vec<u8>) {
    let email = format!("{}@example.test", aisha_kernel::new_id().simple());
    let json = match (method, path) {
        ("POST", "/api/users") => {
            json!({ "email": email, "first_name": "A", "last_name": "B", "tenant_id": t.id })
        }
        ("POST", "/api/users/bulk-import") => {
            return ("text/csv", format!("email,first_name,last_name,tenant_id\n{email},A,B,{}\n", t.id).into_bytes());
        }
        ("POST", "/api/users/sync-from-auth") => {
            json!({ "users": [{ "email": email, "first_name": "A", "last_name": "B" }], "tenant_id": t.id })
        }
        ("POST", "/api/apikeys") => json!({ "name": "k", "permissions": ["read:contacts"] }),
        ("PUT" | "PATCH", "/api/users/{id}" | "/api/users/me") => json!({ "first_name": "New" }),
        _ => json!({}),
    };
    ("application/json", json.to_string().into_bytes())
}

#[actix_web::test]
async fn roles_may_what_the_gateway_matrix_says() {
    let stack = Stack::platform().await;
    let t = stack.tenant().await;
    let mut table =
        String::from("| operation of the gateway | employee | manager | admin | superadmin |\n|---|---|---|---|---|\n");
    for (method, path) in operations() {
        write!(table, "| {method} {path} |").unwrap();
        for role in Role::ALL {
            // Somebody new each time: the operation may end the session.
            let me = stack.person(Some(t.id).filter(|_| role != Role::Superadmin), role).await;
            let at = if path.contains('{') {
                path.replace("{id}", &target(&stack, &t, &path, &me).await)
            } else {
                path.clone()
            };
            let (kind, bytes) = body(&t, &method, &path);
            let bytes = (method != "GET" && method != "DELETE").then_some(bytes);
            // An answer without an end is only begun.
            let status = if path.ends_with("/stream") {
                EventStream::open(&me.client, &path, None).await.err().unwrap_or(200)
            } else {
                me.client.send(&method, &at, &[("content-type", kind)], bytes).await.status.as_u16()
            };
            assert!(status < 500 && status != 401, "{role} {method} {at}: {status}");
            table.push_str(if status == 403 { " - |" } else { " yes |" });
        }
        table.push('\n');
    }
    let reviewed = std::fs::read_to_string(database::root().join("docs/operation-matrix.md")).unwrap();
    assert!(reviewed.contains(&table), "docs/operation-matrix.md must contain:\n{table}");
}
