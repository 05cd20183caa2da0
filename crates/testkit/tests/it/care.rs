//! Consistency: what is wrong is found and put right once, the log says what was, copies leave no trace, and nobody else's
//! tenant is touched.

use aisha_db::{Db, DbConfig};
use aisha_testkit::{Reply, Stack, TestTenant, database::address};
use serde_json::{Value, json};
use std::time::Duration;
use uuid::Uuid;

/// Statements past the triggers, as if somebody had written around them.
async fn damage(stack: &Stack, statements: &str) {
    stack.sql(&format!("SET session_replication_role = replica; {statements}; RESET session_replication_role")).await;
}

/// `check entity.column` to count, of those that found something.
fn found(report: &Value) -> Vec<(String, i64)> {
    let all = report["checks"].as_array().unwrap().iter();
    all.filter(|c| c["count"] != 0)
        .map(|c| {
            let name = format!("{} {}.{}", c["check"], c["entity"], c["column"]).replace('"', "");
            (name, c["count"].as_i64().unwrap())
        })
        .collect()
}

async fn check(t: &TestTenant, names: &[&str]) -> Value {
    let reply = t.admin.client.post("/api/database/consistency/check", json!({ "checks": names })).await;
    reply.expect(200).data()
}

/// Waits until a run that was begun by a request is through.
async fn through(t: &TestTenant, reply: Reply) -> Value {
    let mut run = reply.data();
    assert!(matches!(reply.status.as_u16(), 200 | 202), "{}", reply.text);
    while run["status"] == "running" {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let at = format!("/api/synchealths/{}", run["id"].as_str().unwrap());
        run = t.admin.client.get(&at).await.expect(200).data();
    }
    run
}

struct Damaged {
    contact: Uuid,
    deal: Uuid,
    note: Uuid,
    call: Uuid,
    account: Uuid,
}

async fn build(stack: &Stack, t: &TestTenant) -> Damaged {
    let me = &t.admin.client;
    let who = t.employee.employee_id;
    let account = me
        .post("/api/accounts", json!({ "name": "Acme", "industry": "Rockets", "assigned_to": who }))
        .await
        .expect(201)
        .id();
    let body = json!({ "first_name": "A", "last_name": "B", "email": "a@example.test", "account_id": account, "assigned_to": who });
    let contact = me.post("/api/contacts", body).await.expect(201).id();
    let body = json!({ "name": "Deal", "account_id": account, "contact_id": contact, "assigned_to": who });
    let deal = me.post("/api/opportunities", body).await.expect(201).id();
    let body = json!({ "content": "n", "related_type": "opportunity", "related_id": deal });
    let note = me.post("/api/notes", body).await.expect(201).id();
    let body = json!({ "subject": "c", "due_date": "2026-11-21", "related_type": "contact", "related_id": contact });
    let call = me.post("/api/activities", body).await.expect(201).id();
    let _ = stack;
    Damaged { contact, deal, note, call, account }
}

#[actix_web::test]
async fn drift_is_put_right_without_a_trace() {
    let stack = Stack::start().await;
    let (t, other) = (stack.tenant().await, stack.tenant().await);
    let (mine, theirs) = (build(&stack, &t).await, build(&stack, &other).await);
    assert_eq!(found(&check(&t, &[]).await), [], "what the API writes is consistent");
    for d in [&mine, &theirs] {
        damage(
            &stack,
            &format!(
                "UPDATE contacts SET account_name = 'Wrong', assigned_to_name = NULL WHERE id = '{}'; \
                 UPDATE opportunities SET contact_email = 'x', account_industry = 'x' WHERE id = '{}'; \
                 UPDATE notes SET related_name = 'x', related_assigned_to = NULL WHERE id = '{}'; \
                 UPDATE activities SET due_at = now(), related_email = 'x' WHERE id = '{}'",
                d.contact, d.deal, d.note, d.call
            ),
        )
        .await;
    }
    let report = check(&t, &["denormalization_drift"]).await;
    let names: Vec<String> = found(&report).into_iter().map(|(n, _)| n).collect();
    for wanted in [
        "activity.due_at",
        "activity.related_name",
        "contact.account_name",
        "contact.assigned_to_name",
        "note.related_name",
        "opportunity.account_name",
        "opportunity.contact_name",
    ] {
        assert!(names.contains(&format!("denormalization_drift {wanted}")), "{wanted}: {names:?}");
    }
    assert_eq!((&report["issues"], &report["foreign_keys"]["unenforced"]), (&json!(7), &json!(0)));

    let traces = format!(
        "SELECT (SELECT count(*) FROM audit_log WHERE tenant_id = '{0}') + (SELECT count(*) FROM event_outbox WHERE tenant_id = '{0}')",
        t.id
    );
    let versions = format!(
        "SELECT sum(version)::bigint FROM (SELECT version FROM contacts WHERE tenant_id = '{0}' UNION ALL SELECT version FROM activities WHERE tenant_id = '{0}') v",
        t.id
    );
    let before = (stack.count(&traces).await, stack.count(&versions).await);
    let dry = t.admin.client.post("/api/database/consistency/fix", json!({ "dry_run": true })).await.expect(200).data();
    assert_eq!((&dry["dry_run"], &dry["issues"]), (&json!(true), &json!(7)));
    let run = through(&t, t.admin.client.post("/api/database/consistency/fix", json!({})).await).await;
    assert_eq!(
        (&run["status"], &run["error_count"], &run["triggered_by"]),
        (&json!("completed"), &json!(0), &json!("manual")),
        "{run}"
    );
    assert!(run["records_updated"].as_i64() >= Some(6), "{run}");
    assert_eq!((stack.count(&traces).await, stack.count(&versions).await), before, "copies are quiet");
    let at = format!("/api/database/consistency/runs/{}", run["id"].as_str().unwrap());
    let log = t.admin.client.get(&at).await.expect(200).data();
    let fix = log["fixes"].as_array().unwrap().iter().find(|f| f["column"] == "account_name").unwrap();
    assert_eq!(
        (&fix["old_value"], &fix["new_value"], &fix["record_id"]),
        (&json!("Wrong"), &json!("Acme"), &json!(mine.contact))
    );
    other.admin.client.get(&at).await.expect(404);

    assert_eq!(found(&check(&t, &[]).await), []);
    let again = through(&t, t.admin.client.post("/api/database/consistency/fix", json!({})).await).await;
    assert_eq!(
        (&again["records_updated"], &again["status"]),
        (&json!(0), &json!("completed")),
        "a second run finds nothing"
    );
    assert!(!found(&check(&other, &[]).await).is_empty(), "the other tenant is left alone");
    let note = t.admin.client.get(&format!("/api/notes/{}", mine.note)).await.expect(200).data();
    assert_eq!(note["related_name"], "Deal");
    t.employee.client.get(&format!("/api/notes/{}", mine.note)).await.expect(200);
}

#[actix_web::test]
async fn links_and_assignments_are_put_right_in_the_open() {
    let stack = Stack::start().await;
    let t = stack.tenant().await;
    let (me, d) = (&t.admin.client, build(&stack, &t).await);
    me.delete(&format!("/api/accounts/{}", d.account)).await.expect(200);
    me.delete(&format!("/api/contacts/{}", d.contact)).await.expect(200);
    damage(&stack, &format!("UPDATE notes SET related_id = gen_random_uuid() WHERE id = '{}'", d.note)).await;
    damage(
        &stack,
        &format!("UPDATE opportunities SET stage = 'limbo', created_by = gen_random_uuid() WHERE id = '{}'", d.deal),
    )
    .await;
    stack.sql(&format!("UPDATE employees SET status = 'terminated' WHERE id = '{}'", t.employee.employee_id)).await;
    let report = check(&t, &[]).await;
    assert_eq!(
        found(&report),
        [
            ("orphaned_references activity.related_id".into(), 1),
            ("orphaned_references note.related_id".into(), 1),
            ("orphaned_references opportunity.account_id".into(), 1),
            ("orphaned_references opportunity.contact_id".into(), 1),
            ("missing_assignments opportunity.assigned_to".into(), 1),
            ("invalid_references opportunity.created_by".into(), 1),
            ("invalid_references opportunity.stage".into(), 1),
        ]
    );
    let stage = report["checks"].as_array().unwrap().iter().find(|c| c["column"] == "stage").unwrap();
    assert_eq!(
        (&stage["fixable"], &stage["examples"][0]["problem"]),
        (&json!(false), &json!("the pipeline has no stage limbo"))
    );

    for (bad, field) in [
        (json!({ "checks": ["x"] }), "checks"),
        (json!({ "checks": "x" }), "checks"),
        (json!({ "assign_to": t.employee.employee_id }), "assign_to"),
        (json!({ "assign_to": "a\u{0}" }), "assign_to"),
        (json!({ "dry_run": "yes" }), "dry_run"),
        (json!({ "colour": 1 }), "colour"),
    ] {
        assert_eq!(me.post("/api/database/consistency/fix", bad).await.expect(422).fields(), [field]);
    }
    through(&t, me.post("/api/database/consistency/fix", json!({ "checks": ["orphaned_references"] })).await).await;
    let left = found(&check(&t, &["orphaned_references", "missing_assignments"]).await);
    assert_eq!(
        left,
        [("missing_assignments opportunity.assigned_to".into(), 1)],
        "without assign_to it stays reported"
    );
    through(&t, me.post("/api/database/consistency/fix", json!({ "assign_to": t.manager.email })).await).await;
    assert_eq!(found(&check(&t, &["orphaned_references", "missing_assignments", "denormalization_drift"]).await), []);
    let deal = me.get(&format!("/api/opportunities/{}", d.deal)).await.expect(200).data();
    assert_eq!(
        (&deal["contact_id"], &deal["contact_name"], &deal["assigned_to"]),
        (&Value::Null, &Value::Null, &json!(t.manager.employee_id))
    );
    let audited = format!(
        "SELECT count(*) FROM audit_log WHERE record_id = '{}' AND action = 'update' AND reason = 'data_care'",
        d.deal
    );
    assert!(stack.count(&audited).await >= 2, "real changes are audited");
    // Nothing was thrown away.
    assert_eq!(
        stack.count(&format!("SELECT count(*) FROM notes WHERE id = '{}' AND deleted_at IS NULL", d.note)).await,
        1
    );
}

#[actix_web::test]
async fn many_rows_go_in_batches_and_the_clock_does_it_too() {
    let stack = Stack::start().await;
    let t = stack.tenant().await;
    stack
        .sql(&format!(
            "INSERT INTO contacts (tenant_id, id, first_name, last_name, assigned_to, created_by) \
             SELECT '{}', gen_random_uuid(), 'F', 'L' || n, '{}', '{}' FROM generate_series(1, 2500) n",
            t.id, t.employee.employee_id, t.admin.user_id
        ))
        .await;
    let wrong = format!("SELECT count(*) FROM contacts WHERE tenant_id = '{}' AND assigned_to_name = 'x'", t.id);
    let spoil = format!("UPDATE contacts SET assigned_to_name = 'x' WHERE tenant_id = '{}'", t.id);
    damage(&stack, &spoil).await;
    let run = through(&t, t.admin.client.post("/api/database/sync", json!({ "mode": "full" })).await).await;
    assert_eq!(
        (&run["records_updated"], &run["entity_stats"]["contact"]["fixed"], &run["mode"]),
        (&json!(2500), &json!(2500), &json!("full"))
    );
    assert_eq!(stack.count(&wrong).await, 0);

    // Incremental: only what changed lately, or whose source did.
    damage(&stack, &format!("{spoil}; UPDATE contacts SET updated_at = now() - interval '8 days' WHERE tenant_id = '{0}' AND last_name <> 'L1'; \
        UPDATE employees SET updated_at = now() - interval '8 days' WHERE tenant_id = '{0}'", t.id)).await;
    let run = through(&t, t.admin.client.post("/api/database/sync", json!({})).await).await;
    assert_eq!((&run["records_updated"], &run["mode"]), (&json!(1), &json!("incremental")));
    assert_eq!(t.admin.client.post("/api/database/sync", json!({ "mode": "x" })).await.expect(422).fields(), ["mode"]);

    // The clock: once in six hours, a report once a day, and runs whose process died are ended.
    let dead = format!(
        "INSERT INTO sync_health (tenant_id, sync_type, action, triggered_by, updated_at) VALUES ('{}', 'denormalization', 'sync', 'manual', now() - interval '1 hour')",
        t.id
    );
    stack.sql(&dead).await;
    let config = DbConfig { url: address("DATABASE_URL"), pool_size: 2, application_name: "care".into() };
    let db = Db::new(&config).unwrap();
    for _ in 0..2 {
        let acting = aisha_crm::care::run::Acting::cron(aisha_kernel::TenantId(t.id));
        aisha_crm::care::repair::care_round(&db, &acting).await.unwrap();
    }
    let runs = t.admin.client.get("/api/synchealths").await.expect(200).data();
    let by_cron: Vec<&str> = runs["synchealths"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|r| r["triggered_by"] == "cron")
        .map(|r| r["sync_type"].as_str().unwrap())
        .collect();
    assert_eq!(by_cron, ["orphan_cleanup", "denormalization"], "{runs}");
    let failed = t.admin.client.get("/api/synchealths?status=failed").await.expect(200).data();
    assert_eq!(failed["total"], 1);
    assert_eq!(t.admin.client.get("/api/synchealths?status=x").await.expect(400).fields(), ["status"]);

    let volume = t.admin.client.get("/api/database/check-volume?count=exact").await.expect(200).data();
    let contacts = volume["tables"].as_array().unwrap().iter().find(|r| r["table"] == "contacts").unwrap().clone();
    assert_eq!(contacts["rows"], 2500);
    let users = volume["tables"].as_array().unwrap().iter().find(|r| r["table"] == "users").unwrap().clone();
    assert_eq!(users["rows"], 4, "only the tenant's own");
}

#[actix_web::test]
async fn the_quality_report_counts_what_is_missing() {
    let stack = Stack::start().await;
    let (t, other) = (stack.tenant().await, stack.tenant().await);
    let me = &t.admin.client;
    for (first, email) in [("-", None), ("An4", Some("x@example.test")), ("Bo", Some("x@example.test"))] {
        let body =
            json!({ "first_name": first, "last_name": "L", "email": email, "assigned_to": t.employee.employee_id });
        me.post("/api/contacts", body).await.expect(201);
    }
    let test = json!({ "first_name": "-", "last_name": "-", "is_test_data": true });
    me.post("/api/contacts", test).await.expect(201);
    other.admin.client.post("/api/contacts", json!({ "first_name": "-", "last_name": "-" })).await.expect(201);
    let report = me.get("/api/reports/data-quality").await.expect(200).data()["report"]["contacts"].clone();
    assert_eq!(
        (&report["total"], &report["issues_count"], &report["issues_percentage"]),
        (&json!(3), &json!(3), &json!(100.0))
    );
    let issues = &report["issues"];
    assert_eq!(
        (
            &issues["missing_first_name"],
            &issues["missing_contact_info"],
            &issues["duplicates"],
            &issues["invalid_name_characters"],
            &issues["missing_account"],
            &issues["no_assignee"],
            &issues["invalid_email"]
        ),
        (&json!(1), &json!(1), &json!(2), &json!(1), &json!(3), &json!(0), &json!(0)),
        "{report}"
    );
    let twins = me.get("/api/reports/data-quality?entity=contact&issue=duplicates&limit=1").await.expect(200).data();
    assert_eq!(twins["records"].as_array().unwrap().len(), 1);
    assert_eq!(me.get("/api/reports/data-quality?entity=contact&issue=x").await.expect(400).fields(), ["issue"]);
    assert_eq!(me.get("/api/reports/data-quality?issue=stale").await.expect(400).fields(), ["entity"]);
    let older = me.post("/api/validation/analyze-data-quality", json!({ "tenant_id": t.id })).await.expect(200).data();
    assert_eq!(older["report"]["contacts"], report);
    t.employee.client.get("/api/reports/data-quality").await.expect(403);
}
