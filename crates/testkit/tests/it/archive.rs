//! The archive: what is done and old goes, and comes back byte for byte, whatever happens in between.

use aisha_auth::{AccessLevel, Identity, Principal, Role, Scope};
use aisha_crm::care::archive::{ARCHIVE_BATCH, Retention, Wanted, archive_batch, new_batch, parts};
use aisha_db::{Db, DbConfig, RequestContext};
use aisha_kernel::{TenantId, UserId, new_id};
use aisha_testkit::{Stack, TestTenant, database::address};
use serde_json::{Value, json};
use std::sync::Arc;
use uuid::Uuid;

/// A digest of every column of every row that the archive may move, and of what hangs on it.
async fn digest(stack: &Stack, t: &TestTenant) -> i64 {
    let of = |table: &str| format!("SELECT md5(x::text) AS d FROM {table} x WHERE tenant_id = '{}'", t.id);
    let all = ["activities", "opportunities", "bizdev_sources", "opportunity_stage_history", "notes"]
        .map(of)
        .join(" UNION ALL ");
    stack
        .count(&format!("SELECT ('x' || left(md5(string_agg(d, ',' ORDER BY d)), 15))::bit(60)::bigint FROM ({all}) y"))
        .await
}

async fn age(stack: &Stack, t: &TestTenant) {
    stack
        .sql(&format!(
            "SET session_replication_role = replica; \
             UPDATE activities SET completed_at = completed_at - interval '2 years', updated_at = now() - interval '2 years' WHERE tenant_id = '{0}'; \
             UPDATE opportunities SET closed_at = closed_at - interval '2 years', version = 7 WHERE tenant_id = '{0}'; \
             RESET session_replication_role",
            t.id
        ))
        .await;
}

fn principal(t: &TestTenant) -> Principal {
    let identity = Identity {
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
        sid: new_id(),
    };
    Arc::new(identity).in_tenant(None).unwrap()
}

#[actix_web::test]
async fn what_belongs_together_stays_together() {
    let stack = Stack::start().await;
    let (t, other) = (stack.tenant().await, stack.tenant().await);
    let me = &t.admin.client;
    let who = t.employee.employee_id;
    let account = me.post("/api/accounts", json!({ "name": "Acme" })).await.expect(201).id();
    let body =
        json!({ "name": "Old deal", "amount": 1234.50, "account_id": account, "assigned_to": who, "tags": ["a", "b"] });
    let deal = me.post("/api/opportunities", body).await.expect(201).id();
    me.patch(&format!("/api/opportunities/{deal}"), json!({ "stage": "closed_won" })).await.expect(200);
    let open = me.post("/api/opportunities", json!({ "name": "Open" })).await.expect(201).id();
    let money =
        json!({ "transaction_type": "income", "amount": 5, "transaction_date": "2026-01-01", "opportunity_id": deal });
    let money = me.post("/api/cashflow", money).await.expect(201).id();
    let related = |subject: &str, status: &str| json!({ "subject": subject, "status": status, "due_date": "2024-01-02", "related_type": "opportunity", "related_id": deal });
    let done = me.post("/api/activities", related("Done", "completed")).await.expect(201).id();
    let todo = me.post("/api/activities", related("To do", "scheduled")).await.expect(201).id();
    let note = me
        .post("/api/notes", json!({ "content": "n", "related_type": "opportunity", "related_id": deal }))
        .await
        .expect(201)
        .id();
    let source =
        me.post("/api/bizdevsources", json!({ "company_name": "Gone", "status": "inactive" })).await.expect(201).id();
    age(&stack, &t).await;
    let before = (digest(&stack, &t).await, me.get(&format!("/api/opportunities/{deal}")).await.expect(200).data());

    let dry = me.post("/api/database/archive", json!({ "dry_run": true })).await.expect(200).data();
    assert_eq!(dry["total"], 3, "{dry}");
    assert_eq!(digest(&stack, &t).await, before.0);
    for person in [&t.manager, &t.employee] {
        person.client.post("/api/database/archive", json!({})).await.expect(403);
        person.client.get("/api/database/archive").await.expect(403);
    }
    let ran = me.post("/api/database/archive", json!({})).await.expect(200).data();
    assert_eq!((&ran["total"], &ran["records"]), (&json!(3), &dry["records"]));
    assert_eq!(me.post("/api/database/archive", json!({})).await.expect(200).data()["total"], 0);
    for path in [format!("opportunities/{deal}"), format!("activities/{done}"), format!("bizdevsources/{source}")] {
        me.get(&format!("/api/{path}")).await.expect(404);
    }
    me.get(&format!("/api/opportunities/{open}")).await.expect(200);
    // What belongs to the deal still says so, and is seen by whose deal it was.
    let kept = t.employee.client.get(&format!("/api/notes/{note}")).await.expect(200).data();
    assert_eq!((&kept["related_id"], &kept["related_name"]), (&json!(deal), &json!("Old deal")));
    t.employee.client.get(&format!("/api/activities/{todo}")).await.expect(200);
    assert_eq!(me.get(&format!("/api/cashflow/{money}")).await.expect(200).data()["opportunity_id"], Value::Null);
    let report = me
        .post("/api/database/consistency/check", json!({ "checks": ["orphaned_references", "denormalization_drift"] }))
        .await;
    assert_eq!(report.expect(200).data()["issues"], 0, "a link into the archive is no orphan");
    // Nobody is told that a deal was deleted.
    let events = |event: &str| {
        format!("SELECT count(*) FROM event_outbox WHERE record_id = '{deal}' AND event = 'opportunity.{event}'")
    };
    assert_eq!((stack.count(&events("archived")).await, stack.count(&events("deleted")).await), (1, 0));
    let audit = format!(
        "SELECT count(*) FROM audit_log WHERE record_id = '{deal}' AND action = 'archive' AND old_values ->> 'name' = 'Old deal'"
    );
    assert_eq!(stack.count(&audit).await, 1);

    let list = me.get("/api/database/archive?entity_type=opportunity&q=OLD").await.expect(200).data();
    let shown = &list["archived_records"][0];
    assert_eq!((&list["total"], &shown["id"], &shown["record"]), (&json!(1), &json!(deal), &before.1), "as it looked");
    assert_eq!(other.admin.client.get("/api/database/archive").await.expect(200).data()["total"], 0);
    for (query, field) in [
        ("entity_type=x", "entity_type"),
        ("batch_id=x", "batch_id"),
        ("from=x", "from"),
        ("q=%00", "q"),
        ("limit=0", "limit"),
    ] {
        assert_eq!(me.get(&format!("/api/database/archive?{query}")).await.expect(400).fields(), [field]);
    }
    let why = me.get(&format!("/api/diagnostics/access?entity=opportunity&id={deal}")).await.expect(200).data();
    assert_eq!((&why["suggestions"][0]["action"], &why["agrees"]), (&json!("unarchive"), &json!(true)), "{why}");

    let restore = json!({ "ids": [deal, done, source, open] });
    assert_eq!(
        other.admin.client.post("/api/database/archive/restore", restore.clone()).await.expect(200).data()["restored"],
        0
    );
    let back = me.post("/api/database/archive/restore", restore).await.expect(200).data();
    assert_eq!(
        (&back["restored"], &back["relinked"], &back["unlinked"], &back["not_found"]),
        (&json!(3), &json!(1), &json!(0), &json!([open]))
    );
    assert_eq!(digest(&stack, &t).await, before.0, "byte for byte");
    assert_eq!(me.get(&format!("/api/cashflow/{money}")).await.expect(200).data()["opportunity_id"], json!(deal));
    assert_eq!((stack.count(&events("restored")).await, stack.count(&events("created")).await), (1, 1));
    for bad in [json!({}), json!({ "ids": [deal], "batch_id": deal }), json!({ "ids": ["x"] })] {
        assert_eq!(me.post("/api/database/archive/restore", bad).await.expect(422).fields(), ["ids"]);
    }
}

#[actix_web::test]
async fn what_was_lost_meanwhile_is_said() {
    let stack = Stack::start().await;
    let t = stack.tenant().await;
    let me = &t.admin.client;
    let account = me.post("/api/accounts", json!({ "name": "Acme" })).await.expect(201).id();
    let mut deals = Vec::new();
    for name in ["One", "Two"] {
        let body = json!({ "name": name, "account_id": account, "stage": "closed_lost" });
        deals.push(me.post("/api/opportunities", body).await.expect(201).id());
    }
    age(&stack, &t).await;
    // The tenant keeps them longer than that; the request decides.
    me.patch(&format!("/api/tenants/{}", t.id), json!({ "settings": { "opportunity_retention_days": 3650 } }))
        .await
        .expect(200);
    assert_eq!(me.post("/api/database/archive", json!({})).await.expect(200).data()["total"], 0);
    let body = json!({ "opportunities_older_than_days": 365 });
    let batch = me.post("/api/database/archive", body).await.expect(200).data();
    assert_eq!(batch["total"], 2);
    me.delete(&format!("/api/accounts/{account}")).await.expect(200);
    me.delete(&format!("/api/accounts/trash/{account}")).await.expect(200);
    stack
        .sql(&format!(
            "INSERT INTO opportunities (tenant_id, id, name) VALUES ('{}', '{}', 'Squatter')",
            t.id, deals[0]
        ))
        .await;
    let refused = me.post("/api/database/archive/restore", json!({ "batch_id": batch["batch_id"] })).await.expect(409);
    assert!(refused.text.contains(&deals[0].to_string()));
    let back = me.post("/api/database/archive/restore", json!({ "ids": [deals[1]] })).await.expect(200).data();
    assert_eq!((&back["restored"], &back["unlinked"]), (&json!(1), &json!(1)));
    let deal = me.get(&format!("/api/opportunities/{}", deals[1])).await.expect(200).data();
    assert_eq!(
        (&deal["account_id"], &deal["account_name"], &deal["outcome"]),
        (&Value::Null, &Value::Null, &json!("lost"))
    );
    for (bad, field) in [
        (json!({ "activities_older_than_days": 0 }), "activities_older_than_days"),
        (json!({ "opportunities_older_than_days": "x" }), "opportunities_older_than_days"),
        (json!({ "include_bizdev": 1 }), "include_bizdev"),
        (json!({ "x": 1 }), "x"),
    ] {
        assert_eq!(me.post("/api/database/archive", bad).await.expect(422).fields(), [field]);
    }
}

/// Ten thousand rows there and back, stopped half-way in both directions.
#[actix_web::test]
async fn ten_thousand_go_and_come_back() {
    let stack = Stack::start().await;
    let t = stack.tenant().await;
    stack
        .sql(&format!(
            "INSERT INTO activities (tenant_id, id, subject, status, due_date, assigned_to, created_by, tags, metadata) \
             SELECT '{}', gen_random_uuid(), 'Task ' || n, 'completed', '2024-01-01', '{}', '{}', ARRAY['x'], '{{\"n\": 1.50}}' \
             FROM generate_series(1, 10000) n",
            t.id, t.employee.employee_id, t.admin.user_id
        ))
        .await;
    age(&stack, &t).await;
    let before = digest(&stack, &t).await;
    let config = DbConfig { url: address("DATABASE_URL"), pool_size: 2, application_name: "archive".into() };
    let (db, me) = (Db::new(&config).unwrap(), principal(&t));
    let retention = Retention { activity_retention_days: 365, opportunity_retention_days: 365 };
    let batch = new_batch();
    for _ in 0..3 {
        let moved = archive_batch(&db, &me, &RequestContext::default(), &parts(Wanted::default(), retention)[0], batch)
            .await
            .unwrap();
        assert_eq!(moved, ARCHIVE_BATCH);
    }
    let left = format!("SELECT count(*) FROM activities WHERE tenant_id = '{}'", t.id);
    assert_eq!(stack.count(&left).await, 8_500, "stopped here");
    let admin = &t.admin.client;
    let rest = admin.post("/api/database/archive", json!({})).await.expect(200).data();
    assert_eq!((&rest["total"], stack.count(&left).await), (&json!(8_500), 0));
    let first = admin.post("/api/database/archive/restore", json!({ "batch_id": batch })).await.expect(200).data();
    assert_eq!((&first["restored"], stack.count(&left).await), (&json!(1_500), 1_500));
    let rest = json!({ "batch_id": rest["batch_id"].as_str().unwrap().parse::<Uuid>().unwrap() });
    assert_eq!(admin.post("/api/database/archive/restore", rest).await.expect(200).data()["restored"], 8_500);
    assert_eq!(digest(&stack, &t).await, before, "byte for byte");
    assert_eq!(stack.count(&format!("SELECT count(*) FROM archived_record WHERE tenant_id = '{}'", t.id)).await, 0);
}
