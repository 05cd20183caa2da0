//! Many requests at once: what must happen exactly once does, and a client that hangs up leaves nothing behind.

use aisha_auth::{AccessLevel, Identity, Role, Scope};
use aisha_db::{Db, DbConfig, RequestContext, Sql};
use aisha_kernel::{TenantId, UserId, new_id};
use aisha_testkit::{Client, Reply, Stack, TestTenant, database};
use futures_util::future::join_all;
use serde_json::json;
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use tokio::{io::AsyncWriteExt as _, net::TcpStream};

fn count(replies: &[Reply], status: u16) -> usize {
    replies.iter().filter(|r| r.status.as_u16() == status).count()
}

fn statuses(replies: &[Reply]) -> Vec<u16> {
    replies.iter().map(|r| r.status.as_u16()).collect()
}

async fn post_with_key(client: &Client, key: &str, body: &serde_json::Value) -> Reply {
    let headers = [("content-type", "application/json"), ("idempotency-key", key)];
    client.send("POST", "/api/contacts", &headers, Some(body.to_string().into_bytes())).await
}

/// One key, fifty requests: one record, fifty equal answers; with another body the key is refused.
#[actix_web::test]
async fn one_key_makes_one_record() {
    let stack = Stack::start().await;
    let t = stack.tenant().await;
    let me = &t.admin.client;
    let (key, body) = (new_id().to_string(), json!({"first_name": "Only", "last_name": "Once"}));
    let replies = join_all((0..50).map(|_| post_with_key(me, &key, &body))).await;
    assert_eq!(count(&replies, 201), 50, "{:?}", statuses(&replies));
    let answers: BTreeSet<(&str, Option<&str>, Option<&str>)> =
        replies.iter().map(|r| (r.text.as_str(), r.header("etag"), r.header("location"))).collect();
    assert_eq!(answers.len(), 1, "{answers:?}");
    assert_eq!(stack.count(&format!("SELECT count(*) FROM contacts WHERE tenant_id = '{}'", t.id)).await, 1);
    assert_eq!(
        stack.count(&format!("SELECT count(*) FROM event_outbox WHERE record_id = '{}'", replies[0].id())).await,
        1
    );

    let other = json!({"first_name": "Only", "last_name": "Twice"});
    assert_eq!(post_with_key(me, &key, &other).await.expect(422).code(), "idempotency_key_reused");
    // A key belongs to its user: for somebody else it is free.
    post_with_key(&t.manager.client, &key, &other).await.expect(201);
    assert_eq!(stack.count(&format!("SELECT count(*) FROM contacts WHERE tenant_id = '{}'", t.id)).await, 2);
}

/// A write that failed does not use its key up.
#[actix_web::test]
async fn a_failed_request_leaves_its_key_free() {
    let stack = Stack::start().await;
    let t = stack.tenant().await;
    let key = new_id().to_string();
    let missing = json!({"first_name": "No", "last_name": "Account", "account_id": new_id()});
    post_with_key(&t.admin.client, &key, &missing).await.expect(422);
    post_with_key(&t.admin.client, &key, &json!({"first_name": "No", "last_name": "Account"})).await.expect(201);
}

/// Of two changes made from one version, one wins and the other is told.
#[actix_web::test]
async fn one_version_is_changed_once() {
    let stack = Stack::start().await;
    let t = stack.tenant().await;
    let me = &t.admin.client;
    let made = me.post("/api/contacts", json!({"first_name": "If", "last_name": "Match"})).await.expect(201);
    let at = format!("/api/contacts/{}", made.id());
    let mut tag = made.header("etag").unwrap().to_owned();
    for round in 0..10 {
        let replies = join_all(["Rome", "Oslo"].map(|city| {
            let (at, tag) = (at.clone(), tag.clone());
            async move {
                let headers = [("content-type", "application/json"), ("if-match", tag.as_str())];
                let body = json!({"city": format!("{city} {round}")}).to_string().into_bytes();
                me.send("PATCH", &at, &headers, Some(body)).await
            }
        }))
        .await;
        assert_eq!((count(&replies, 200), count(&replies, 412)), (1, 1), "{:?}", statuses(&replies));
        let winner = replies.iter().find(|r| r.status == 200).unwrap();
        assert_eq!(me.get(&at).await.expect(200).data()["city"], winner.data()["city"]);
        tag = winner.header("etag").unwrap().to_owned();
    }
    assert_eq!(tag, "\"11\"");
}

/// One name, in any case, is one account, however many ask for it at once.
#[actix_web::test]
async fn one_name_is_one_account() {
    let stack = Stack::start().await;
    let t = stack.tenant().await;
    let me = &t.admin.client;
    let name = |i: u32| {
        let letters =
            "concurrent".char_indices().map(|(at, c)| if i >> (at % 5) & 1 == 1 { c.to_ascii_uppercase() } else { c });
        letters.collect::<String>()
    };
    let replies = join_all((0..20).map(|i| me.post("/api/accounts", json!({"name": name(i)})))).await;
    assert_eq!((count(&replies, 201), count(&replies, 409)), (1, 19), "{:?}", statuses(&replies));
    assert!(replies.iter().filter(|r| r.status == 409).all(|r| r.fields() == ["name"]));
}

/// A name that was taken in the meantime keeps its record in the trash.
#[actix_web::test]
async fn a_restore_does_not_take_a_name_back() {
    let stack = Stack::start().await;
    let t = stack.tenant().await;
    let me = &t.admin.client;
    let first = me.post("/api/accounts", json!({"name": "Phoenix"})).await.expect(201).id();
    me.delete(&format!("/api/accounts/{first}")).await.expect(200);
    let second = me.post("/api/accounts", json!({"name": "PHOENIX"})).await.expect(201).id();
    let at = format!("/api/accounts/{first}/restore");
    let restore = || me.post(&at, json!({}));
    assert_eq!(restore().await.expect(409).code(), "conflict");
    me.get(&format!("/api/accounts/{first}")).await.expect(404);
    me.delete(&format!("/api/accounts/{second}")).await.expect(200);
    let replies = join_all((0..5).map(|_| restore())).await;
    assert_eq!((count(&replies, 200), count(&replies, 404)), (1, 4), "{:?}", statuses(&replies));
}

/// Tenants of one name made at once get a slug each.
#[actix_web::test]
async fn tenants_of_one_name_get_different_slugs() {
    let stack = Stack::start().await;
    let root = stack.superadmin().await.client;
    let name = format!("Same {}", new_id().simple());
    let replies = join_all((0..10).map(|_| root.post("/api/tenants", json!({"name": name})))).await;
    assert_eq!(count(&replies, 201), 10, "{:?}", statuses(&replies));
    let slugs: BTreeSet<String> = replies.iter().map(|r| r.data()["slug"].as_str().unwrap().to_owned()).collect();
    assert_eq!(slugs.len(), 10, "{slugs:?}");
}

fn admin_of(t: &TestTenant) -> Identity {
    Identity {
        user_id: UserId(t.admin.user_id),
        tenant_id: Some(TenantId(t.id)),
        employee_id: Some(t.admin.employee_id),
        role: Role::Admin,
        access: AccessLevel::ReadWrite,
        scope: Scope::All,
        department: None,
        grants: None,
        extra: Vec::new(),
        disabled_modules: Vec::new(),
        sid: t.admin.sid,
    }
}

/// Connections of services that have been idle in a transaction for a while; waits for them to go.
async fn abandoned_transactions(stack: &Stack) -> i64 {
    let sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND usename = 'aisha_login' \
               AND state LIKE 'idle in transaction%' AND state_change < clock_timestamp() - interval '1 second'";
    let mut left = 0;
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        left = stack.count(sql).await;
        if left == 0 {
            // Not before a transaction left open now would have been noticed.
            tokio::time::sleep(Duration::from_millis(1100)).await;
            left = stack.count(sql).await;
            if left == 0 {
                break;
            }
        }
    }
    left
}

/// A transaction that was dropped half-way is not committed by the next one on the pool's only connection.
#[actix_web::test]
async fn a_dropped_transaction_is_never_committed() {
    let stack = Stack::start().await;
    let t = stack.tenant().await;
    let config = DbConfig { url: database::address("DATABASE_URL"), pool_size: 1, application_name: "dropped".into() };
    let (db, cx) = (Db::new(&config).unwrap(), RequestContext::default());
    let me = Arc::new(admin_of(&t)).in_tenant(None).unwrap();
    let insert = |name: &str| Sql::new(format!("INSERT INTO accounts (tenant_id, name) VALUES ('{}', '{name}')", t.id));
    let half_way = db.write(&me, &cx, async |tx| {
        tx.rows(insert("dropped")).await?;
        tokio::time::sleep(Duration::from_secs(60)).await;
        Ok(())
    });
    tokio::time::timeout(Duration::from_millis(500), half_way).await.unwrap_err();
    // Dropped while its statements are on their way.
    for micros in [0, 100, 300, 1000, 3000] {
        let flying = db.write(&me, &cx, async |tx| {
            tx.flight(vec![insert(&format!("flying {micros}")), Sql::new("SELECT pg_sleep(5)")]).await
        });
        assert!(tokio::time::timeout(Duration::from_micros(micros), flying).await.is_err());
    }
    db.write(&me, &cx, async |tx| tx.rows(insert("kept")).await).await.unwrap();
    let names = format!("SELECT count(*) FROM accounts WHERE tenant_id = '{}'", t.id);
    assert_eq!(stack.count(&names).await, 1);
    assert_eq!(stack.count(&format!("{names} AND name = 'kept'")).await, 1);
}

/// Clients that hang up, before, while and after their request runs, leave no transaction open and no record half made.
#[actix_web::test]
async fn hanging_up_leaves_nothing_behind() {
    // A database of its own: what is left open there is of nobody else.
    let stack = Stack::events_with(&[("CRM_CORE_ROLES", "api")]).await;
    let t = stack.tenant().await;
    let client = stack.internal(&stack.core_url, "crm-core", &admin_of(&t));
    let address = stack.core_url.trim_start_matches("http://").to_owned();
    let key = new_id().to_string();
    let request = |key: &str| {
        let (name, token) = client.raw().1.unwrap();
        let body = json!({"first_name": "Hung", "last_name": "Up"}).to_string();
        format!(
            "POST /api/contacts HTTP/1.1\r\nhost: {address}\r\n{name}: {token}\r\nidempotency-key: {key}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    // At once, or some time into the request; whole, or with the end of the body missing.
    for i in 0..50u64 {
        let mut socket = TcpStream::connect(&address).await.unwrap();
        let text = request(&new_id().to_string());
        let sent = if i % 5 == 0 { &text[..text.len() - 3] } else { &text };
        socket.write_all(sent.as_bytes()).await.unwrap();
        tokio::time::sleep(Duration::from_micros(i % 7 * 500)).await;
    }
    // Certainly in the middle: the key is held by somebody else, so the request waits inside its transaction.
    let holder = database::connect(&stack.own.as_ref().unwrap().admin_url).await;
    let hold = format!(
        "BEGIN; INSERT INTO idempotency_key (tenant_id, user_id, key, request_hash, status, expires_at) \
         VALUES ('{}', '{}', '{key}', '', 0, now() + interval '1 hour')",
        t.id, t.admin.user_id
    );
    holder.batch_execute(&hold).await.unwrap();
    let mut sockets = Vec::new();
    for _ in 0..10 {
        let mut socket = TcpStream::connect(&address).await.unwrap();
        socket.write_all(request(&key).as_bytes()).await.unwrap();
        sockets.push(socket);
    }
    let holding: i32 = holder.query_one("SELECT pg_backend_pid()", &[]).await.unwrap().get(0);
    let waiting = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE usename = 'aisha_login' AND wait_event_type = 'Lock' \
         AND query LIKE '%idempotency_key%' AND pg_blocking_pids(pid) @> ARRAY[{holding}]"
    );
    for _ in 0..1_000 {
        if stack.count(&waiting).await > 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(stack.count(&waiting).await > 0, "the requests are in the middle");
    drop(sockets);
    tokio::time::sleep(Duration::from_millis(200)).await;
    holder.batch_execute("ROLLBACK").await.unwrap();

    assert_eq!(abandoned_transactions(&stack).await, 0);
    // In one statement: a request may still be at work.
    let apart = format!(
        "SELECT (SELECT count(*) FROM contacts WHERE tenant_id = '{0}') \
         - (SELECT count(*) FROM idempotency_key WHERE tenant_id = '{0}' AND status = 201)",
        t.id
    );
    let mut difference = stack.count(&apart).await;
    for _ in 0..100 {
        if difference == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        difference = stack.count(&apart).await;
    }
    assert_eq!(difference, 0, "every record has its stored answer and the other way round");
    let body = json!({"first_name": "Next", "last_name": "One"});
    let replies = join_all((0..20).map(|_| post_with_key(&client, &key, &body))).await;
    let fine = count(&replies, 201) + count(&replies, 422);
    assert_eq!(fine, 20, "the next requests are served: {:?}", statuses(&replies));
    client.get("/api/contacts").await.expect(200);
}
