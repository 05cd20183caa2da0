//! The chain over the audit log: nothing is left out, every kind of tampering is named, and erasing keeps the proof.

use aisha_audit::{
    seal::seal_round,
    verify::{Anchor, Verification, verify, verify_due},
};
use aisha_db::{Db, DbConfig};
use aisha_testkit::{Stack, TestTenant, database, fixture::superuser};
use serde_json::{Value, json};
use std::{collections::BTreeMap, time::Duration};
use uuid::Uuid;

fn db() -> Db {
    let config = DbConfig { url: database::address("DATABASE_URL"), pool_size: 2, application_name: "audit".into() };
    Db::new(&config).unwrap()
}

/// Seals until nothing is left that is complete; other tests may be at it at the same time.
pub(super) async fn seal_all() {
    let db = db();
    for _ in 0..600 {
        if seal_round(&db).await.unwrap().is_some() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("sealing is stuck");
}

/// Seals until every row of the tenant has its link: a transaction of another test may hold it up for a while.
pub(super) async fn sealed(stack: &Stack, tenant: Uuid) {
    for _ in 0..600 {
        seal_all().await;
        let rows = format!("SELECT count(*) FROM audit_log WHERE tenant_id = '{tenant}'");
        let links = format!("SELECT count(*) FROM audit_chain WHERE tenant_id = '{tenant}'");
        if stack.count(&rows).await == stack.count(&links).await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("rows are left out");
}

async fn found(tenant: Uuid) -> Verification {
    verify(&db(), tenant, None).await.unwrap()
}

fn kinds(found: &Verification) -> BTreeMap<&str, i64> {
    found.problems.iter().map(|(kind, n)| (kind.as_str(), *n)).collect()
}

/// A tenant with a few changes, all sealed.
async fn tenant(stack: &Stack) -> TestTenant {
    let t = stack.tenant().await;
    for n in 0..5 {
        let body = json!({ "first_name": format!("N{n}"), "last_name": "B" });
        let id = t.admin.client.post("/api/contacts", body).await.expect(201).id();
        t.admin.client.patch(&format!("/api/contacts/{id}"), json!({ "job_title": "x" })).await.expect(200);
    }
    sealed(stack, t.id).await;
    t
}

#[actix_web::test]
async fn what_is_sealed_verifies_and_anybody_can_compute_it() {
    let stack = Stack::start().await;
    let t = tenant(&stack).await;
    let found = found(t.id).await;
    assert!(found.intact(), "{found:?}");
    assert_eq!((found.pending, found.redacted), (0, 0));
    assert!(found.links >= 10);
    // By hand, from what the API shows and the description alone.
    let page = t.admin.client.get("/api/audit-logs?action=update&limit=1").await.expect(200).data();
    let id = page["audit-logs"][0]["id"].as_str().unwrap().to_owned();
    let shown = t.admin.client.get(&format!("/api/audit-logs/{id}")).await.expect(200).data();
    let seal = &shown["seal"];
    let part = |v: &Value| v.as_str().map_or("-,".to_owned(), |s| format!("{}:{s},", s.len()));
    let micros: i64 = {
        let sql = format!("SELECT (extract(epoch FROM changed_at) * 1000000)::bigint FROM audit_log WHERE id = '{id}'");
        stack.count(&sql).await
    };
    let entity = stack.text(&format!("SELECT entity FROM audit_log WHERE id = '{id}'")).await;
    let mut text = "aisha-audit-row-1,".to_owned();
    for v in [&shown["id"], &shown["tenant_id"], &shown["action"], &shown["table_name"], &shown["entity_id"]] {
        text += &part(v);
    }
    text += &(part(&json!(entity)) + &part(&shown["changed_by"]) + &part(&json!(micros.to_string())));
    for name in ["role", "request_id", "ip", "user_agent", "impersonator", "reason"] {
        text += &part(&shown[name]);
    }
    let sha = |bytes: &[u8]| aisha_auth::api_key::hash(std::str::from_utf8(bytes).unwrap());
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    assert_eq!(hex(&sha(text.as_bytes())), seal["row_digest"].as_str().unwrap(), "{text}");
    // Somebody who wrote a hash down earlier can hold the chain to it.
    let link = seal["link"].as_i64().unwrap();
    let anchor = |hash: &str| Anchor { link, hash: hash.to_owned() };
    assert!(verify(&db(), t.id, Some(&anchor(seal["hash"].as_str().unwrap()))).await.unwrap().intact());
    let differs = verify(&db(), t.id, Some(&anchor(&"0".repeat(64)))).await.unwrap();
    assert_eq!(kinds(&differs), BTreeMap::from([("anchor_differs", 1)]));
    let beyond = verify(&db(), t.id, Some(&Anchor { link: 1_000_000, hash: "0".repeat(64) })).await.unwrap();
    assert_eq!(kinds(&beyond), BTreeMap::from([("anchor_differs", 1)]));
}

#[actix_web::test]
async fn every_kind_of_tampering_is_named() {
    let stack = Stack::start().await;
    let row = "(SELECT audit_id FROM audit_chain WHERE tenant_id = '{t}' AND link = 4)";
    let last = "(SELECT max(link) FROM audit_chain WHERE tenant_id = '{t}')";
    let cases: &[(&str, String, &[&str])] = &[
        ("value", format!("UPDATE audit_log SET new_values = '{{\"a\":1}}' WHERE id = {row}"), &["row_changed"]),
        (
            "fixed part",
            format!("UPDATE audit_log SET changed_by = NULL, ip = '1.1.1.1' WHERE id = {row}"),
            &["row_changed"],
        ),
        ("emptied", format!("UPDATE audit_log SET new_values = NULL WHERE id = {row}"), &["row_changed"]),
        ("removed", format!("DELETE FROM audit_log WHERE id = {row}"), &["row_missing"]),
        ("another tenant's", format!("UPDATE audit_log SET tenant_id = NULL WHERE id = {row}"), &["row_missing"]),
        (
            "moved in time",
            format!("UPDATE audit_log SET changed_at = changed_at - interval '1 second' WHERE id = {row}"),
            &["row_missing", "row_unsealed"],
        ),
        (
            "link",
            "DELETE FROM audit_chain WHERE tenant_id = '{t}' AND link = 4".into(),
            &["link_changed", "link_missing", "row_unsealed"],
        ),
        (
            "last link",
            format!("DELETE FROM audit_chain WHERE tenant_id = '{{t}}' AND link = {last}"),
            &["link_missing", "row_unsealed"],
        ),
        (
            "last link and row",
            format!(
                "DELETE FROM audit_log WHERE id = (SELECT audit_id FROM audit_chain WHERE tenant_id = '{{t}}' AND link = {last}); \
                 DELETE FROM audit_chain WHERE tenant_id = '{{t}}' AND link = {last}"
            ),
            &["link_missing"],
        ),
        (
            "swapped",
            "UPDATE audit_chain SET link = 1000000 WHERE tenant_id = '{t}' AND link = 3; \
             UPDATE audit_chain SET link = 3 WHERE tenant_id = '{t}' AND link = 4; \
             UPDATE audit_chain SET link = 4 WHERE tenant_id = '{t}' AND link = 1000000"
                .into(),
            &["link_changed"],
        ),
        (
            "row and link together",
            format!(
                "UPDATE audit_log SET action = 'delete' WHERE id = {row}; UPDATE audit_chain c SET row_digest = \
                 audit_row_digest(l.id, l.tenant_id, l.action, l.table_name, l.record_id, l.entity, l.changed_by, l.changed_at, \
                 l.role, l.request_id, l.ip, l.user_agent, l.impersonator, l.reason) FROM audit_log l WHERE c.tenant_id = '{{t}}' \
                 AND c.link = 4 AND l.id = c.audit_id; UPDATE audit_chain SET hash = sha256(previous_hash || \
                 audit_link(link, audit_id, row_digest, values_digest)) WHERE tenant_id = '{{t}}' AND link = 4"
            ),
            &["link_changed"],
        ),
        ("head", "UPDATE audit_chain_state SET hash = 'x' WHERE tenant_id = '{t}'".into(), &["link_changed"]),
        (
            "put into the past, behind the seal",
            "INSERT INTO audit_log (tenant_id, action, table_name, changed_at, transaction_id) \
             VALUES ('{t}', 'create', 'contacts', now() - interval '3 days', 1)"
                .into(),
            &["row_unsealed"],
        ),
        (
            "erased without a record",
            format!(
                "UPDATE audit_log SET old_values = NULL, new_values = NULL WHERE id = {row}; \
                     UPDATE audit_chain SET salt = NULL WHERE tenant_id = '{{t}}' AND link = 4"
            ),
            &["redaction_unrecorded"],
        ),
    ];
    let other = tenant(&stack).await;
    for (name, sql, expected) in cases {
        let t = tenant(&stack).await;
        stack.sql(&sql.replace("{t}", &t.id.to_string())).await;
        let found = found(t.id).await;
        let kinds: Vec<&str> = kinds(&found).into_keys().collect();
        assert_eq!(kinds, *expected, "{name}: {found:?}");
        let named = &found.named[0];
        assert!(named.link.is_some() || named.audit_id.is_some(), "{name}: {named:?}");
        if *name == "value" {
            assert_eq!((found.problems["row_changed"], named.link), (1, Some(4)));
        }
    }
    assert!(found(other.id).await.intact(), "another tenant's chain is its own");

    let t = tenant(&stack).await;
    let past = "INSERT INTO audit_log (tenant_id, action, table_name, changed_at) VALUES ('{t}', 'create', 'contacts', now() - interval '3 days')";
    stack.sql(&past.replace("{t}", &t.id.to_string())).await;
    sealed(&stack, t.id).await;
    assert_eq!(kinds(&found(t.id).await), BTreeMap::from([("row_backdated", 1)]));
}

#[actix_web::test]
async fn erased_values_leave_the_proof() {
    let stack = Stack::start().await;
    let t = tenant(&stack).await;
    let secret = json!({ "first_name": "Forget", "last_name": "Me", "email": "forget@example.test" });
    let id = t.admin.client.post("/api/contacts", secret).await.expect(201).id();
    sealed(&stack, t.id).await;
    let owner = database::connect(&database::address("DATABASE_OWNER_URL")).await;
    let erase = format!("SELECT audit_redact('{}', 'contacts', '{id}', 'request 17')", t.id);
    let n: i64 = owner.query_one(&erase, &[]).await.unwrap().get(0);
    assert_eq!(n, 1);
    sealed(&stack, t.id).await;
    let found = found(t.id).await;
    assert!(found.intact(), "{found:?}");
    assert_eq!(found.redacted, 1);
    let page = t.admin.client.get(&format!("/api/audit-logs?entity_id={id}")).await.expect(200);
    assert!(!page.text.contains("forget@example.test"), "{}", page.text);
    let entries = page.data()["audit-logs"].clone();
    let actions: Vec<&str> = entries.as_array().unwrap().iter().map(|e| e["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["redact", "create"], "that it was made stays, and so does who asked");
    let at = format!("/api/audit-logs/{}", entries[1]["id"].as_str().unwrap());
    let shown = t.admin.client.get(&at).await.expect(200).data();
    assert_eq!(
        (&shown["redacted"], &shown["new_values"], &shown["seal"]["salt"]),
        (&json!(true), &json!(null), &json!(null))
    );
    // No service may do that.
    let login = database::login().await;
    for role in ["aisha_all", "aisha_own", "aisha_department", "aisha_system"] {
        login.batch_execute(&format!("SET ROLE {role}")).await.unwrap();
        for sql in [
            erase.as_str(),
            "UPDATE audit_log SET new_values = NULL",
            "DELETE FROM audit_log",
            "TRUNCATE audit_log",
            "UPDATE audit_chain SET salt = NULL",
            "DELETE FROM audit_chain",
            "TRUNCATE audit_chain",
        ] {
            let refused = login.batch_execute(sql).await.unwrap_err();
            assert_eq!(refused.code().map(|c| c.code()), Some("42501"), "{role}: {sql}");
        }
        login.batch_execute("RESET ROLE").await.unwrap();
    }
}

#[actix_web::test]
async fn whatever_commits_late_is_sealed_and_whoever_is_killed_loses_nothing() {
    let stack = Stack::start().await;
    let t = tenant(&stack).await;
    let row = |n: i32| {
        format!(
            "INSERT INTO audit_log (tenant_id, action, table_name, reason) VALUES ('{}', 'test', 'late', '{n}')",
            t.id
        )
    };
    let links = format!("SELECT count(*) FROM audit_chain WHERE tenant_id = '{}'", t.id);
    let before = stack.count(&links).await;
    // One begins first and commits last, one is rolled back.
    let (slow, gone) = (superuser().await, superuser().await);
    slow.batch_execute(&format!("BEGIN; {}", row(1))).await.unwrap();
    gone.batch_execute(&format!("BEGIN; {}; ROLLBACK", row(2))).await.unwrap();
    stack.sql(&row(3)).await;
    seal_all().await;
    assert_eq!(stack.count(&links).await, before, "what a running transaction could still precede waits");
    let waiting = found(t.id).await;
    assert!(waiting.intact() && waiting.pending == 1, "{waiting:?}");
    slow.batch_execute("COMMIT").await.unwrap();
    sealed(&stack, t.id).await;
    assert_eq!(stack.count(&links).await, before + 2);
    assert!(found(t.id).await.intact());

    // Killed after it sealed and before it committed. Whatever other tests left is sealed with it: a batch that is rolled
    // back and does not reach this row would never get further. Another process may be faster; then there is another row.
    let dying = superuser().await;
    let mut rows = before + 2;
    loop {
        rows += 1;
        stack.sql(&row(i32::try_from(rows).unwrap())).await;
        dying.batch_execute("BEGIN; SET LOCAL ROLE aisha_system").await.unwrap();
        dying.query_one("SELECT audit_seal(1000000)", &[]).await.unwrap();
        let seen_by_it: i64 = dying.query_one(&links, &[]).await.unwrap().get(0);
        if seen_by_it == rows && stack.count(&links).await < rows {
            break;
        }
        dying.batch_execute("ROLLBACK").await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(seal_round(&db()).await.unwrap(), None, "another one stands back meanwhile");
    let pid: i32 = dying.query_one("SELECT pg_backend_pid()", &[]).await.unwrap().get(0);
    stack.sql(&format!("SELECT pg_terminate_backend({pid})")).await;
    sealed(&stack, t.id).await;
    let all = found(t.id).await;
    assert!(all.intact(), "{all:?}");
    assert_eq!(all.links, rows);
}

#[actix_web::test]
async fn many_rows_are_sealed_in_bulk_by_several_at_once() {
    let stack = Stack::start().await;
    let t = stack.tenant().await;
    sealed(&stack, t.id).await;
    let bulk = |n: i32| {
        format!(
            "INSERT INTO contacts (tenant_id, first_name, last_name) SELECT '{}', 'F' || i, 'L' FROM generate_series(1, {n}) i",
            t.id
        )
    };
    for n in [2_500, 25_000] {
        stack.sql(&bulk(n)).await;
        let started = std::time::Instant::now();
        futures_util::future::join_all((0..3).map(|_| seal_all())).await;
        sealed(&stack, t.id).await;
        println!("{n} rows sealed in {:?}", started.elapsed());
        let started = std::time::Instant::now();
        let found = found(t.id).await;
        println!("{} links verified in {:?}", found.links, started.elapsed());
        assert!(found.intact() && found.pending == 0, "{found:?}");
    }
}

#[actix_web::test]
async fn a_verification_that_came_to_no_end_says_nothing_and_is_made_again() {
    // Nobody else verifies in this database.
    let stack = Stack::events_with(&[("CRM_CORE_ROLES", "api")]).await;
    let own = stack.own.as_ref().unwrap();
    let config = DbConfig { url: own.database_url.clone(), pool_size: 2, application_name: "audit".into() };
    let db = Db::new(&config).unwrap();
    let t = stack.tenant().await;
    let there = format!("SELECT count(*) FROM audit_chain_state WHERE tenant_id = '{}'", t.id);
    for _ in 0..600 {
        seal_round(&db).await.unwrap();
        if stack.count(&there).await > 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    verify(&db, t.id, None).await.unwrap();
    stack
        .sql(&format!(
            "UPDATE audit_chain_state SET verified_at = now() - CASE WHEN tenant_id = '{}' THEN interval '2 days' \
             ELSE interval '0' END",
            t.id
        ))
        .await;
    let shown = async || {
        let trust = t.admin.client.get("/api/trust").await.expect(200).data();
        let state = &trust["audit_chain"]["state"];
        (state["verified_at"].clone(), state["verified"].clone())
    };
    let before = shown().await;
    assert!(before.0.is_string() && before.1.is_object(), "{before:?}");

    // Who verifies is killed on the way.
    let holding = database::connect(&own.admin_url).await;
    holding.batch_execute("BEGIN; LOCK TABLE audit_chain IN ACCESS EXCLUSIVE MODE").await.unwrap();
    assert!(tokio::time::timeout(Duration::from_secs(1), verify_due(&db)).await.is_err(), "it waits for the lock");
    holding.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(shown().await, before, "nothing was verified since");

    // It is left alone for a while, and then taken again.
    let due = async || verify_due(&db).await.unwrap();
    assert!(due().await.is_none());
    stack.sql("UPDATE audit_chain_state SET claimed_at = claimed_at - interval '61 minutes'").await;
    let (chain, found) = due().await.unwrap();
    assert!(chain == t.id && found.intact(), "{chain} {found:?}");
    let after = shown().await;
    assert!(after.0.as_str() > before.0.as_str(), "{after:?}");
    stack.sql("UPDATE audit_chain_state SET claimed_at = claimed_at - interval '61 minutes'").await;
    assert!(due().await.is_none(), "once a day");
}
