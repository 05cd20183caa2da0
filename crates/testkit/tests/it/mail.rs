//! E-mail: the conversation with a mail server, and the queue in front of it when the server or a sender is away.

use aisha_clients::mail::{Mail, Mailer};
use aisha_config::Env;
use aisha_db::{Db, DbConfig, RequestContext};
use aisha_identity::{Credentials, reset};
use aisha_testkit::{MailServer, Stack, database::address, mail::Behaviour};
use serde_json::json;
use std::time::{Duration, Instant};

fn mail(to: &str) -> Mail {
    Mail {
        id: aisha_kernel::new_id(),
        to: to.to_owned(),
        to_name: "Zoë".to_owned(),
        subject: "Grüße".to_owned(),
        text: "First.\n.\n.a line with a dot\nhttps://crm.example/?token=abc\n".to_owned(),
    }
}

fn mailer(server: &MailServer, more: &[(&str, &str)]) -> Mailer {
    let port = server.port().to_string();
    let mut vars = vec![("SMTP_HOST", "127.0.0.1"), ("SMTP_PORT", &port), ("SMTP_FROM", "CRM <crm@example.test>")];
    vars.extend(more);
    let env = Env::from_map(vars);
    let section = aisha_config::MailSection::read(&env);
    env.finish().unwrap();
    Mailer::new(&section).unwrap()
}

#[tokio::test]
async fn a_message_arrives_as_it_was_written() {
    let server = MailServer::start().await;
    let sent = mail("ada@example.test");
    mailer(&server, &[("SMTP_USER", "crm"), ("SMTP_PASS", "s3cret-17")]).send(&sent).await.unwrap();
    server.behave(Behaviour::Slow(Duration::from_secs(1)));
    mailer(&server, &[]).send(&mail("grace@example.test")).await.unwrap();
    let received = server.received();
    assert_eq!(received.len(), 2);
    let first = &received[0];
    assert_eq!((first.to.as_str(), first.subject.as_str()), ("ada@example.test", "Grüße"));
    assert_eq!(first.text.trim_end(), sent.text.trim_end());
    assert_eq!(first.id, format!("<{}@example.test>", sent.id));
    // AUTH PLAIN: user and password behind a NUL each.
    assert_eq!(server.logins(), ["AUTH PLAIN AGNybQBzM2NyZXQtMTc="], "once, by the one with a password");
}

#[tokio::test]
async fn a_refusal_says_whether_it_is_for_good() {
    let mut server = MailServer::start().await;
    let mailer = mailer(&server, &[]);
    for (reply, permanent, code) in
        [("550 no such user", true, 550), ("451 try later", false, 451), ("530 log in first", false, 530)]
    {
        server.behave(Behaviour::Refuse(reply.to_owned()));
        let failed = mailer.send(&mail("ada@example.test")).await.unwrap_err();
        assert_eq!((failed.permanent, failed.code), (permanent, Some(code)), "{failed}");
    }
    server.down().await;
    let failed = mailer.send(&mail("ada@example.test")).await.unwrap_err();
    assert!(!failed.permanent && failed.code.is_none(), "{failed}");
    assert!(server.received().is_empty());
}

#[tokio::test]
async fn a_server_that_says_nothing_is_not_waited_for_forever() {
    let server = MailServer::start().await;
    server.behave(Behaviour::Silent);
    let started = Instant::now();
    let mailer = mailer(&server, &[]).with_patience(Duration::from_secs(1));
    let failed = mailer.send(&mail("ada@example.test")).await.unwrap_err();
    assert!(!failed.permanent && started.elapsed() < Duration::from_secs(30), "{failed}");
}

const KEY_LENGTH: usize = 32;

fn new_key() -> String {
    let key = format!("{0}{0}", aisha_kernel::new_id().simple());
    assert!(key.len() >= KEY_LENGTH);
    key
}

/// A gateway that sends to a server with a key, so that several can share a queue.
async fn sending(server: &MailServer, key: &str) -> Stack {
    let port = server.port().to_string();
    Stack::platform_with(&[
        ("SMTP_HOST", "127.0.0.1"),
        ("SMTP_PORT", &port),
        ("SMTP_FROM", "crm@example.test"),
        ("CREDENTIALS_KEY", key),
    ])
    .await
}

async fn queued(stack: &Stack, user: uuid::Uuid) -> i64 {
    stack.count(&format!("SELECT count(*) FROM email_outbox WHERE sealed IS NOT NULL AND user_id = '{user}'")).await
}

#[actix_web::test]
async fn a_server_that_is_down_gets_it_when_it_is_up() {
    let mut server = MailServer::start().await;
    let stack = sending(&server, &new_key()).await;
    let t = stack.tenant().await;
    server.down().await;
    let path = format!("/api/users/{}/invite", t.employee.user_id);
    t.admin.client.post(&path, json!({})).await.expect(201);
    let until = Instant::now() + Duration::from_secs(30);
    let status = async || t.admin.client.get("/api/invitations").await.expect(200).data()["invitations"][0].clone();
    while status().await["email_error"].is_null() {
        assert!(Instant::now() < until, "the failure does not show");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(status().await["email_status"], "queued");
    server.up().await;
    let received = server.wait(1).await;
    assert_eq!(received[0].to, t.employee.email);
    let until = Instant::now() + Duration::from_secs(20);
    while queued(&stack, t.employee.user_id).await > 0 {
        assert!(Instant::now() < until, "the letter is still there");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(
        (status().await["email_status"].clone(), status().await["email_error"].clone()),
        (json!("sent"), json!(null))
    );
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(server.received().len(), 1);
}

#[actix_web::test]
async fn a_refusal_for_good_is_told_to_the_admins() {
    let server = MailServer::start().await;
    server.behave(Behaviour::Refuse("550 there is nobody here".to_owned()));
    let stack = sending(&server, &new_key()).await;
    let t = stack.tenant().await;
    t.admin.client.post(&format!("/api/users/{}/invite", t.employee.user_id), json!({})).await.expect(201);
    server.wait_attempts(1).await;
    let audited =
        format!("SELECT count(*) FROM audit_log WHERE action = 'EMAIL_NOT_DELIVERED' AND tenant_id = '{}'", t.id);
    let until = Instant::now() + Duration::from_secs(30);
    while stack.count(&audited).await == 0 {
        assert!(Instant::now() < until, "it is not audited");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let shown = t.admin.client.get("/api/invitations").await.expect(200).data()["invitations"][0].clone();
    assert_eq!(shown["email_status"], "failed");
    assert!(shown["email_error"].as_str().unwrap().contains("there is nobody here"), "{shown}");
    assert_eq!(queued(&stack, t.employee.user_id).await, 0, "the link is forgotten");
    // Another address, another attempt.
    server.behave(Behaviour::Accept);
    t.admin.client.post(&format!("/api/users/{}/invite", t.employee.user_id), json!({})).await.expect(201);
    server.wait(1).await;
    assert_eq!(server.attempts(), 2);
}

#[actix_web::test]
async fn of_several_senders_one_sends() {
    let server = MailServer::start().await;
    server.behave(Behaviour::Slow(Duration::from_millis(30)));
    let key = new_key();
    let stacks = [sending(&server, &key).await, sending(&server, &key).await, sending(&server, &key).await];
    let t = stacks[0].tenant().await;
    let mut people = Vec::new();
    for _ in 0..24 {
        people.push(stacks[0].person(Some(t.id), aisha_auth::Role::Employee).await);
    }
    for person in &people {
        t.admin.client.post(&format!("/api/users/{}/invite", person.user_id), json!({})).await.expect(201);
    }
    server.wait(people.len()).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut to: Vec<String> = server.received().into_iter().map(|m| m.to).collect();
    to.sort();
    let mut expected: Vec<String> = people.iter().map(|p| p.email.clone()).collect();
    expected.sort();
    assert_eq!(to, expected, "each once");
}

/// Asks for a reset link as a gateway does that ends right after the commit.
async fn commit_without_sending(key: &str, email: &str) {
    let config = DbConfig { url: address("DATABASE_URL"), pool_size: 1, application_name: "test".into() };
    let db = Db::new(&config).unwrap();
    let sealer = aisha_auth::sealing::Sealer::new(&key.to_owned().into(), None).unwrap();
    let credentials = Credentials::new(sealer, "http://crm.example".into());
    reset::request(&db, &credentials, email, &RequestContext::default()).await.unwrap();
}

async fn with_password(stack: &Stack, user: uuid::Uuid) {
    let hash = aisha_auth::password::hash("Correct-Horse-7").unwrap();
    stack.sql(&format!("UPDATE users SET password_hash = '{hash}' WHERE id = '{user}'")).await;
}

#[actix_web::test]
async fn what_was_committed_is_sent_by_whoever_comes_next() {
    let server = MailServer::start().await;
    let (stack, key) = (Stack::start().await, new_key());
    let t = stack.tenant().await;
    with_password(&stack, t.employee.user_id).await;
    commit_without_sending(&key, &t.employee.email).await;
    assert_eq!(queued(&stack, t.employee.user_id).await, 1);

    // Whoever has another key leaves it alone.
    let _other = sending(&server, &new_key()).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(server.attempts(), 0);

    let _next = sending(&server, &key).await;
    let received = server.wait(1).await;
    assert!(received[0].text.contains("http://crm.example/reset-password?token="), "{}", received[0].text);
}

#[actix_web::test]
async fn what_a_dead_process_held_is_sent_when_its_lease_has_ended() {
    let server = MailServer::start().await;
    let (stack, key) = (Stack::start().await, new_key());
    let t = stack.tenant().await;
    with_password(&stack, t.employee.user_id).await;
    commit_without_sending(&key, &t.employee.email).await;
    stack
        .sql(&format!(
            "UPDATE email_outbox SET attempts = 1, lease = gen_random_uuid(), leased_until = now() + interval '1 hour' \
             WHERE user_id = '{}'",
            t.employee.user_id
        ))
        .await;
    let _next = sending(&server, &key).await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(server.attempts(), 0, "somebody may still be sending it");
    stack.sql(&format!("UPDATE email_outbox SET leased_until = now() WHERE user_id = '{}'", t.employee.user_id)).await;
    assert_eq!(server.wait(1).await.len(), 1);
}

#[actix_web::test]
async fn what_nobody_can_send_is_given_up_after_three_days_and_said() {
    let (stack, key) = (Stack::start().await, new_key());
    let t = stack.tenant().await;
    with_password(&stack, t.employee.user_id).await;
    commit_without_sending(&key, &t.employee.email).await;
    let user = t.employee.user_id;
    stack
        .sql(&format!("UPDATE email_outbox SET created_at = now() - interval '4 days' WHERE user_id = '{user}'"))
        .await;
    // Its key is gone: any sender's housekeeping sees to it.
    let server = MailServer::start().await;
    let _other = sending(&server, &new_key()).await;
    let until = Instant::now() + Duration::from_secs(30);
    while queued(&stack, user).await > 0 {
        assert!(Instant::now() < until, "it is still queued");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let given_up = format!("SELECT count(*) FROM email_outbox WHERE failed_at IS NOT NULL AND user_id = '{user}'");
    assert_eq!(stack.count(&given_up).await, 1);
    let audited =
        format!("SELECT count(*) FROM audit_log WHERE action = 'EMAIL_NOT_DELIVERED' AND tenant_id = '{}'", t.id);
    assert_eq!(stack.count(&audited).await, 1);
}
