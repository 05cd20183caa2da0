//! Invitations and forgotten passwords: who may, what a link opens, and when it no longer does.

use aisha_testkit::{Client, Person, Reply, Stack, TestTenant};
use futures_util::future::join_all;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

pub(super) const PASSWORD: &str = "Correct-Horse-7";
const OTHER: &str = "Other-Battery-8";

/// Gives a person the password [`PASSWORD`].
pub(super) async fn with_password(stack: &Stack, person: &Person) {
    let hash = aisha_auth::password::hash(PASSWORD).unwrap();
    stack.sql(&format!("UPDATE users SET password_hash = '{hash}' WHERE id = '{}'", person.user_id)).await;
}

pub(super) async fn login(stack: &Stack, email: &str, password: &str) -> Reply {
    stack.anonymous().post("/api/auth/login", json!({"email": email, "password": password})).await
}

pub(super) fn bearer(stack: &Stack, reply: &Reply) -> Client {
    stack.anonymous().with("authorization", format!("Bearer {}", reply.json()["token"].as_str().unwrap()))
}

pub(super) async fn audited(stack: &Stack, action: &str, tenant: &TestTenant) -> i64 {
    stack
        .count(&format!("SELECT count(*) FROM audit_log WHERE action = '{action}' AND tenant_id = '{}'", tenant.id))
        .await
}

fn newcomer() -> Value {
    json!({"email": format!("new-{}@example.test", aisha_kernel::new_id().simple()), "first_name": "Ada",
           "last_name": "Newcomer", "role": "manager", "send_invitation": true})
}

async fn accept(stack: &Stack, token: &str, password: &str) -> Reply {
    stack.anonymous().post("/api/auth/accept-invitation", json!({"token": token, "password": password})).await
}

async fn show(stack: &Stack, token: &str) -> Reply {
    stack.anonymous().get(&format!("/api/auth/invitation?token={token}")).await
}

/// Invites somebody new: the answer of the API, and the token of the e-mail.
async fn invited(stack: &Stack, t: &TestTenant) -> (Value, String) {
    let made = t.admin.client.post("/api/users", newcomer()).await.expect(201).data();
    let mail = stack.mail.nth(made["email"].as_str().unwrap(), 1).await;
    (made, mail.token())
}

#[actix_web::test]
async fn an_invited_user_chooses_a_password_and_is_in() {
    let stack = Stack::platform().await;
    let t = stack.tenant().await;
    let (made, token) = invited(&stack, &t).await;
    let email = made["email"].as_str().unwrap();
    assert_eq!(made["invitation"]["status"], "pending");
    assert!(!made.to_string().contains(&token[..40]), "{made}");
    let mail = stack.mail.nth(email, 1).await;
    for part in [&format!("Tenant {}", t.id), &t.admin.email, &"http://crm.example/accept-invite?token=".to_owned()] {
        assert!(mail.text.contains(part.as_str()), "{part} in {}", mail.text);
    }
    for password in ["", PASSWORD] {
        assert_eq!(login(&stack, email, password).await.expect(401).code(), "invalid_credentials");
    }
    let shown = show(&stack, &token).await.expect(200).data();
    assert_eq!((&shown["email"], &shown["tenant_name"]), (&made["email"], &json!(format!("Tenant {}", t.id))));
    assert_eq!(shown["expires_at"], made["invitation"]["expires_at"]);

    let weak = accept(&stack, &token, "password").await.expect(422);
    assert!(weak.fields().iter().all(|f| f == "password"), "{}", weak.text);
    let body = json!({"token": token, "password": PASSWORD, "last_name": "Lovelace"});
    let reply = stack.anonymous().post("/api/auth/accept-invitation", body).await.expect(200);
    assert_eq!(reply.json()["token"], reply.data()["token"]);
    assert_eq!(
        (&reply.data()["user"]["full_name"], &reply.data()["user"]["role"]),
        (&json!("Ada Lovelace"), &json!("manager"))
    );
    assert!(reply.header("set-cookie").unwrap().contains("HttpOnly"));
    let me = bearer(&stack, &reply);
    me.get("/api/auth/me").await.expect(200);
    let employee = format!("/api/employees/{}", made["employee_id"].as_str().unwrap());
    assert_eq!(me.get(&employee).await.expect(200).data()["last_name"], "Lovelace");
    login(&stack, email, PASSWORD).await.expect(200);

    assert_eq!(accept(&stack, &token, OTHER).await.expect(404).code(), "invalid_link");
    assert_eq!(show(&stack, &token).await.expect(404).code(), "invalid_link");
    login(&stack, email, PASSWORD).await.expect(200);
    for action in ["INVITATION_SENT", "INVITATION_ACCEPTED"] {
        assert_eq!(audited(&stack, action, &t).await, 1, "{action}");
    }
    let accepted = async || t.admin.client.get("/api/invitations?status=accepted").await.expect(200).data();
    let page = accepted().await;
    assert_eq!((&page["total"], &page["invitations"][0]["user_id"]), (&json!(1), &made["id"]));
    // That a letter was sent is noted after it has arrived.
    let until = Instant::now() + Duration::from_secs(15);
    while accepted().await["invitations"][0]["email_status"] != "sent" {
        assert!(Instant::now() < until, "{}", accepted().await);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let secret = &token[32..];
    for table in ["audit_log", "event_outbox", "invitations", "email_outbox", "sessions"] {
        let leaked = format!("SELECT count(*) FROM {table} x WHERE to_jsonb(x)::text LIKE '%{secret}%'");
        assert_eq!(stack.count(&leaked).await, 0, "{table}");
    }
}

#[actix_web::test]
async fn only_admins_invite_and_only_into_their_tenant() {
    let stack = Stack::platform().await;
    let (a, b) = (stack.tenant().await, stack.tenant().await);
    let (made, _) = invited(&stack, &a).await;
    let (user, invitation) = (made["id"].as_str().unwrap(), made["invitation"]["id"].as_str().unwrap());
    for person in [&a.manager, &a.employee, &b.manager] {
        person.client.post("/api/users", newcomer()).await.expect(403);
        person.client.get("/api/invitations").await.expect(403);
        assert!(matches!(
            person.client.post(&format!("/api/users/{user}/invite"), json!({})).await.status.as_u16(),
            403
        ));
        assert!(matches!(person.client.delete(&format!("/api/invitations/{invitation}")).await.status.as_u16(), 403));
    }
    b.admin.client.post(&format!("/api/users/{user}/invite"), json!({})).await.expect(404);
    b.admin.client.delete(&format!("/api/invitations/{invitation}")).await.expect(404);
    b.admin.client.get(&format!("/api/invitations?tenant_id={}", a.id)).await.expect(403);
    assert_eq!(b.admin.client.get("/api/invitations").await.expect(200).data()["total"], 0);
    let root = stack.superadmin().await;
    let of_a = root.client.get(&format!("/api/invitations?tenant_id={}", a.id)).await.expect(200).data();
    assert_eq!((&of_a["total"], &of_a["invitations"][0]["status"]), (&json!(1), &json!("pending")));
    let mut superadmin = newcomer();
    superadmin["role"] = json!("superadmin");
    a.admin.client.post("/api/users", superadmin.clone()).await.expect(403);
    let made = root.client.post("/api/users", superadmin).await.expect(201).data();
    let token = stack.mail.nth(made["email"].as_str().unwrap(), 1).await.token();
    assert!(show(&stack, &token).await.expect(200).data()["tenant_name"].is_null());
    let reply = accept(&stack, &token, PASSWORD).await.expect(200);
    bearer(&stack, &reply).get("/api/users?limit=1").await.expect(200);
}

#[actix_web::test]
async fn an_invitation_that_makes_no_sense_is_refused_and_leaves_nothing() {
    let stack = Stack::platform().await;
    let t = stack.tenant().await;
    for (field, value) in
        [("password", json!(PASSWORD)), ("is_active", json!(false)), ("send_invitation", json!("yes"))]
    {
        let mut body = newcomer();
        body[field] = value;
        let refused = t.admin.client.post("/api/users", body.clone()).await.expect(422);
        assert_eq!(refused.fields(), ["send_invitation"], "{}", refused.text);
        assert!(stack.mail.all(body["email"].as_str().unwrap()).is_empty());
    }
    let taken = json!({"email": t.employee.email, "send_invitation": true});
    assert_eq!(t.admin.client.post("/api/users", taken).await.expect(409).fields(), ["email"]);
    let plain = json!({"email": format!("{}@example.test", aisha_kernel::new_id().simple()), "send_invitation": false});
    assert!(t.admin.client.post("/api/users", plain).await.expect(201).data()["invitation"].is_null());
    with_password(&stack, &t.employee).await;
    t.admin.client.post(&format!("/api/users/{}/invite", t.employee.user_id), json!({})).await.expect(409);
    t.admin.client.delete(&format!("/api/users/{}", t.colleague.user_id)).await.expect(200);
    t.admin.client.post(&format!("/api/users/{}/invite", t.colleague.user_id), json!({})).await.expect(409);
    for query in ["status=open", "limit=0", "limit=201", "offset=-1", "tenant_id=acme"] {
        t.admin.client.get(&format!("/api/invitations?{query}")).await.expect(400);
    }
    let waiting =
        format!("SELECT count(*) FROM email_outbox o JOIN users u ON u.id = o.user_id WHERE u.tenant_id = '{}'", t.id);
    assert_eq!(stack.count(&waiting).await, 0);
}

#[actix_web::test]
async fn a_link_dies_with_everything_that_ends_it() {
    let stack = Stack::platform().await;
    let t = stack.tenant().await;
    let dead = async |token: &str, why: &str| {
        assert_eq!(show(&stack, token).await.code(), "invalid_link", "{why}");
        assert_eq!(accept(&stack, token, PASSWORD).await.code(), "invalid_link", "{why}");
    };
    let status = async |id: &Value| {
        let page = t.admin.client.get("/api/invitations?limit=200").await.expect(200).data();
        let all = page["invitations"].as_array().unwrap().clone();
        all.into_iter().find(|i| i["id"] == *id).unwrap()["status"].clone()
    };

    let (made, first) = invited(&stack, &t).await;
    let (user, email) = (made["id"].as_str().unwrap(), made["email"].as_str().unwrap());
    let again = t.admin.client.post(&format!("/api/users/{user}/invite"), json!({})).await.expect(201).data();
    let second = stack.mail.nth(email, 2).await.token();
    dead(&first, "another one was sent").await;
    assert_eq!(status(&made["invitation"]["id"]).await, "revoked");
    show(&stack, &second).await.expect(200);
    t.admin.client.delete(&format!("/api/invitations/{}", again["id"].as_str().unwrap())).await.expect(200);
    t.admin.client.delete(&format!("/api/invitations/{}", again["id"].as_str().unwrap())).await.expect(200);
    dead(&second, "withdrawn").await;
    assert_eq!(audited(&stack, "INVITATION_REVOKED", &t).await, 1);
    // Nor does a forgotten password lead around it.
    stack.anonymous().post("/api/auth/forgot-password", json!({"email": email})).await.expect(200);

    let (made, token) = invited(&stack, &t).await;
    let sql = format!(
        "UPDATE invitations SET expires_at = now() - interval '1 second' WHERE user_id = '{}'",
        made["id"].as_str().unwrap()
    );
    stack.sql(&sql).await;
    dead(&token, "expired").await;
    assert_eq!(status(&made["invitation"]["id"]).await, "expired");

    let (made, token) = invited(&stack, &t).await;
    let path = format!("/api/users/{}", made["id"].as_str().unwrap());
    t.admin.client.patch(&path, json!({"is_active": false})).await.expect(200);
    dead(&token, "the user was deactivated").await;
    t.admin.client.patch(&path, json!({"is_active": true})).await.expect(200);
    show(&stack, &token).await.expect(200);
    let moved = format!("moved-{}@example.test", aisha_kernel::new_id().simple());
    t.admin.client.patch(&path, json!({"email": moved})).await.expect(200);
    dead(&token, "the address was changed").await;
    assert_eq!(status(&made["invitation"]["id"]).await, "revoked");

    let (made, token) = invited(&stack, &t).await;
    let path = format!("/api/users/{}", made["id"].as_str().unwrap());
    t.admin.client.patch(&path, json!({"password": OTHER})).await.expect(200);
    dead(&token, "an admin set a password").await;
    login(&stack, made["email"].as_str().unwrap(), OTHER).await.expect(200);

    let (_, token) = invited(&stack, &t).await;
    let mut forged = token.clone();
    forged.replace_range(95.., if token.ends_with('0') { "1" } else { "0" });
    dead(&forged, "one digit off").await;
    dead("", "nothing").await;
    dead(&"0".repeat(96), "never made").await;
    stack.sql(&format!("UPDATE tenant SET status = 'suspended' WHERE id = '{}'", t.id)).await;
    dead(&token, "the tenant was suspended").await;
    stack.sql(&format!("UPDATE tenant SET status = 'active' WHERE id = '{}'", t.id)).await;
    accept(&stack, &token, PASSWORD).await.expect(200);
    assert_eq!(stack.mail.all(email).len(), 2, "no link to reset a password that never was");
}

#[actix_web::test]
async fn of_many_who_accept_at_once_one_is_let_in() {
    let stack = Stack::platform().await;
    let t = stack.tenant().await;
    let (made, token) = invited(&stack, &t).await;
    let passwords: Vec<String> = (0..6).map(|n| format!("Correct-Horse-{n}")).collect();
    let replies = join_all(passwords.iter().map(|p| accept(&stack, &token, p))).await;
    let won: Vec<usize> = (0..6).filter(|n| replies[*n].status == 200).collect();
    assert_eq!(won.len(), 1, "{:?}", replies.iter().map(|r| r.status).collect::<Vec<_>>());
    assert!(replies.iter().all(|r| r.status == 200 || r.code() == "invalid_link"));
    for (n, password) in passwords.iter().enumerate() {
        let expected = if n == won[0] { 200 } else { 401 };
        login(&stack, made["email"].as_str().unwrap(), password).await.expect(expected);
    }
    assert_eq!(audited(&stack, "INVITATION_ACCEPTED", &t).await, 1);
}

async fn forgot(stack: &Stack, email: &str) -> Reply {
    stack.anonymous().post("/api/auth/forgot-password", json!({"email": email})).await
}

async fn redeem(stack: &Stack, token: &str, password: &str) -> Reply {
    stack.anonymous().post("/api/auth/reset-password", json!({"token": token, "password": password})).await
}

#[actix_web::test]
async fn a_forgotten_password_is_replaced_once_and_everybody_is_out() {
    let stack = Stack::platform().await;
    let t = stack.tenant().await;
    with_password(&stack, &t.employee).await;
    let email = &t.employee.email;
    let session = bearer(&stack, &login(&stack, email, PASSWORD).await.expect(200));
    // Letters that wait together are sent side by side, so each is waited for before the next is asked for.
    forgot(&stack, &format!(" {} ", email.to_uppercase())).await.expect(200);
    let first = stack.mail.nth(email, 1).await;
    forgot(&stack, email).await.expect(200);
    let second = stack.mail.nth(email, 2).await.token();
    assert!(first.text.contains("http://crm.example/reset-password?token="), "{}", first.text);
    assert!(first.text.contains("did not ask"), "{}", first.text);
    login(&stack, email, PASSWORD).await.expect(200);

    let weak = redeem(&stack, &first.token(), "short").await.expect(422);
    assert!(weak.fields().iter().all(|f| f == "password"));
    let replies = join_all((0..4).map(|_| redeem(&stack, &second, OTHER))).await;
    assert_eq!(replies.iter().filter(|r| r.status == 200).count(), 1);
    for token in [&second, &first.token(), &"0".repeat(96)] {
        assert_eq!(redeem(&stack, token, PASSWORD).await.expect(404).code(), "invalid_link");
    }
    login(&stack, email, PASSWORD).await.expect(401);
    login(&stack, email, OTHER).await.expect(200);
    tokio::time::sleep(Duration::from_secs(1)).await;
    session.get("/api/auth/me").await.expect(401);
    t.employee.client.get("/api/auth/me").await.expect(401);
    let notice = stack.mail.nth(email, 3).await;
    assert!(notice.subject.contains("password was changed") && notice.text.contains("not you"), "{notice:?}");
    assert_eq!(audited(&stack, "PASSWORD_RESET_REQUESTED", &t).await, 2);
    assert_eq!(audited(&stack, "PASSWORD_RESET", &t).await, 1);

    // A link does not outlive the password it replaces.
    forgot(&stack, email).await.expect(200);
    let late = stack.mail.nth(email, 4).await.token();
    let me = bearer(&stack, &login(&stack, email, OTHER).await.expect(200));
    me.put("/api/auth/password", json!({"current_password": OTHER, "new_password": PASSWORD})).await.expect(200);
    redeem(&stack, &late, OTHER).await.expect(404);
    assert!(stack.mail.nth(email, 5).await.subject.contains("password was changed"));
    forgot(&stack, email).await.expect(200);
    let old = stack.mail.nth(email, 6).await.token();
    stack.sql(&format!("UPDATE password_resets SET expires_at = now() WHERE user_id = '{}'", t.employee.user_id)).await;
    redeem(&stack, &old, OTHER).await.expect(404);
}

#[actix_web::test]
async fn nobody_learns_who_has_an_account() {
    let stack = Stack::platform().await;
    let t = stack.tenant().await;
    with_password(&stack, &t.employee).await;
    with_password(&stack, &t.colleague).await;
    t.admin.client.delete(&format!("/api/users/{}", t.colleague.user_id)).await.expect(200);
    let mut answers = Vec::new();
    let nobody = format!("nobody-{}@example.test", aisha_kernel::new_id().simple());
    for email in [&t.employee.email, &nobody, &t.manager.email, &t.colleague.email, &"no address".to_owned()] {
        let started = Instant::now();
        let reply = forgot(&stack, email).await.expect(200);
        assert!(started.elapsed() >= Duration::from_millis(250), "{email}: {:?}", started.elapsed());
        let shape: Vec<String> =
            reply.headers.keys().map(ToString::to_string).filter(|h| h != "x-request-id").collect();
        answers.push((reply.text.clone(), shape.len()));
    }
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "{answers:?}");
    stack.mail.nth(&t.employee.email, 1).await;
    for email in [&nobody, &t.manager.email, &t.colleague.email] {
        assert!(stack.mail.all(email).is_empty(), "{email}");
    }
    // Nor does anybody fill somebody else's mailbox.
    for _ in 0..8 {
        forgot(&stack, &t.employee.email).await.expect(200);
    }
    stack.mail.nth(&t.employee.email, 5).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(stack.mail.all(&t.employee.email).len(), 5);
    stack.anonymous().post("/api/auth/forgot-password", json!({})).await.expect(422);
}

#[actix_web::test]
async fn an_admin_sends_a_link_and_the_password_holds_until_it_is_used() {
    let stack = Stack::platform().await;
    let (t, other) = (stack.tenant().await, stack.tenant().await);
    with_password(&stack, &t.employee).await;
    let path = format!("/api/users/{}/reset-password", t.employee.user_id);
    t.manager.client.post(&path, json!({})).await.expect(403);
    other.admin.client.post(&path, json!({})).await.expect(404);
    t.admin.client.post(&format!("/api/users/{}/reset-password", t.manager.user_id), json!({})).await.expect(409);
    let sent = t.admin.client.post(&path, json!({})).await.expect(200).data();
    assert_eq!(sent["email"], t.employee.email);
    let mail = stack.mail.nth(&t.employee.email, 1).await;
    assert!(mail.text.contains(&t.admin.email), "{}", mail.text);
    assert!(!sent.to_string().contains(&mail.token()[..40]));
    login(&stack, &t.employee.email, PASSWORD).await.expect(200);
    redeem(&stack, &mail.token(), OTHER).await.expect(200);
    login(&stack, &t.employee.email, OTHER).await.expect(200);
    let root = stack.superadmin().await;
    with_password(&stack, &root).await;
    t.admin.client.post(&format!("/api/users/{}/reset-password", root.user_id), json!({})).await.expect(404);
}

#[actix_web::test]
async fn links_and_forgotten_passwords_are_limited() {
    let stack = Stack::platform_with(&[("AUTH_RATE_LIMIT_MAX", "3")]).await;
    let email = format!("nobody-{}@example.test", aisha_kernel::new_id().simple());
    for _ in 0..3 {
        forgot(&stack, &email).await.expect(200);
    }
    let refused = forgot(&stack, &email).await.expect(429);
    assert!(refused.header("retry-after").is_some());
    // The sign-in of the same person is not used up by that.
    login(&stack, &email, PASSWORD).await.expect(401);
    let guess = format!("{}{}", aisha_kernel::new_id().simple(), "0".repeat(64));
    for _ in 0..3 {
        redeem(&stack, &guess, PASSWORD).await.expect(404);
    }
    redeem(&stack, &guess, PASSWORD).await.expect(429);
    accept(&stack, &guess, PASSWORD).await.expect(429);
    show(&stack, &guess).await.expect(429);
}
