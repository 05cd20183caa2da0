//! "Why can't I see this?": the rules and the database come to the same, nobody learns of another tenant, and leads find
//! somebody who sees them.

use aisha_auth::{AccessLevel, Role};
use aisha_kernel::new_id;
use aisha_testkit::{Client, Stack, TestTenant};
use serde_json::{Value, json};
use uuid::Uuid;

fn rule<'v>(report: &'v Value, name: &str) -> &'v Value {
    report["rules"].as_array().unwrap().iter().find(|r| r["rule"] == name).unwrap_or(&Value::Null)
}

async fn ask(me: &Client, user: Uuid, entity: &str, id: Uuid) -> Value {
    me.get(&format!("/api/diagnostics/access?user={user}&entity={entity}&id={id}")).await.expect(200).data()
}

fn actions(report: &Value) -> Vec<&str> {
    report["suggestions"].as_array().unwrap().iter().map(|s| s["action"].as_str().unwrap()).collect()
}

async fn lead(t: &TestTenant, assigned_to: Option<Uuid>) -> Uuid {
    let body = json!({ "first_name": "Ada", "last_name": "Byron", "assigned_to": assigned_to });
    t.admin.client.post("/api/leads", body).await.expect(201).id()
}

#[actix_web::test]
async fn each_reason_is_named() {
    let stack = Stack::start().await;
    let (t, other) = (stack.tenant().await, stack.tenant().await);
    let (admin, user) = (&t.admin.client, t.employee.user_id);
    let theirs = lead(&t, Some(t.colleague.employee_id)).await;

    let report = ask(admin, user, "lead", theirs).await;
    assert_eq!(report["verdict"], json!({ "can_read": false, "can_update": false, "can_delete": false }));
    assert_eq!((&report["agrees"], &rule(&report, "assigned_to")["passed"]), (&json!(true), &json!(false)), "{report}");
    assert!(rule(&report, "assigned_to")["detail"].as_str().unwrap().contains("Test employee"), "{report}");
    assert_eq!(actions(&report), ["assign", "make_manager"]);
    let by_mail =
        admin.get(&format!("/api/diagnostics/access?user={}&entity=leads&id={theirs}", t.employee.email)).await;
    assert_eq!(by_mail.expect(200).data()["rules"], report["rules"]);

    let mine = lead(&t, Some(t.employee.employee_id)).await;
    let report = ask(admin, user, "lead", mine).await;
    assert_eq!(report["verdict"], json!({ "can_read": true, "can_update": true, "can_delete": false }), "{report}");
    assert_eq!(rule(&report, "permission_delete")["passed"], false);
    admin.delete(&format!("/api/leads/{mine}")).await.expect(200);
    let report = ask(admin, user, "lead", mine).await;
    assert_eq!((&rule(&report, "not_in_trash")["passed"], actions(&report)), (&json!(false), vec!["restore"]));
    assert_eq!(report["verdict"]["can_read"], false);

    // A private note belongs to its author and the admins.
    let note = json!({ "content": "secret", "is_private": true });
    let note = t.colleague.client.post("/api/notes", note).await.expect(201).id();
    let report = ask(admin, t.manager.user_id, "note", note).await;
    assert_eq!(
        (&rule(&report, "private_note")["passed"], &report["agrees"]),
        (&json!(false), &json!(true)),
        "{report}"
    );
    let report = ask(admin, t.admin.user_id, "note", note).await;
    assert_eq!((&report["verdict"]["can_read"], &report["agrees"]), (&json!(true), &json!(true)), "{report}");
    admin.get(&format!("/api/notes/{note}")).await.expect(200);
    t.manager.client.get(&format!("/api/notes/{note}")).await.expect(404);

    // What is seen with the record it belongs to.
    let body = json!({ "subject": "Call", "related_type": "lead", "related_id": theirs });
    let call = admin.post("/api/activities", body).await.expect(201).id();
    let report = ask(admin, t.colleague.user_id, "activity", call).await;
    assert_eq!(
        (&rule(&report, "related_assigned_to")["passed"], &report["verdict"]["can_read"]),
        (&json!(true), &json!(true))
    );

    // Another tenant's record and user are not there, and nothing is told of them.
    let foreign = lead(&other, None).await;
    let report = ask(admin, user, "lead", foreign).await;
    assert_eq!(rule(&report, "record_exists")["detail"], "There is no such record in this tenant.");
    let report = ask(admin, other.employee.user_id, "lead", theirs).await;
    assert_eq!(
        (&rule(&report, "user_exists")["passed"], report["rules"].as_array().unwrap().len()),
        (&json!(false), 1)
    );
    assert!(!report.to_string().contains(&other.employee.email));

    // Deactivated: nothing at all.
    stack.sql(&format!("UPDATE users SET is_active = false WHERE id = '{user}'")).await;
    let report = ask(admin, user, "lead", lead(&t, Some(t.employee.employee_id)).await).await;
    assert_eq!(
        (&rule(&report, "user_active")["passed"], &report["verdict"]["can_read"]),
        (&json!(false), &json!(false))
    );
    assert_eq!(report["agrees"], true);
}

#[actix_web::test]
async fn one_asks_about_oneself_and_learns_nothing_of_others() {
    let stack = Stack::start().await;
    let t = stack.tenant().await;
    let me = &t.employee;
    let theirs = lead(&t, Some(t.colleague.employee_id)).await;
    let (hidden, nothing) =
        (ask(&me.client, me.user_id, "lead", theirs).await, ask(&me.client, me.user_id, "lead", new_id()).await);
    assert_eq!(hidden["rules"], nothing["rules"], "what is hidden looks like what is not there");
    assert_eq!(hidden["suggestions"], nothing["suggestions"]);
    assert_eq!(rule(&hidden, "record_visible")["passed"], false);
    let mine = lead(&t, Some(me.employee_id)).await;
    let report = ask(&me.client, me.user_id, "lead", mine).await;
    assert_eq!(
        (&report["verdict"]["can_update"], &rule(&report, "assigned_to")["passed"]),
        (&json!(true), &json!(true))
    );
    for who in [t.admin.user_id, new_id()] {
        me.client.get(&format!("/api/diagnostics/access?user={who}&entity=lead&id={mine}")).await.expect(403);
        me.client.get(&format!("/api/diagnostics/users/{who}")).await.expect(404);
    }
    let whole = me.client.get("/api/diagnostics/access").await.expect(200).data();
    assert_eq!((&whole["verdict"], &rule(&whole, "employee_linked")["passed"]), (&Value::Null, &json!(true)));
    for (query, field) in [
        ("entity=lead", "id"),
        ("id=x", "id"),
        ("entity=spaceship", "entity"),
        ("user=%00@", "user"),
        ("user=nobody", "user"),
        ("colour=red", "colour"),
    ] {
        assert_eq!(me.client.get(&format!("/api/diagnostics/access?{query}")).await.expect(400).fields(), [field]);
    }

    // Superadmins name the tenant; each person's counts are its own.
    let boss = stack.superadmin().await;
    boss.client.get("/api/diagnostics/access").await.expect(400);
    let about = format!("/api/diagnostics/users/{}?tenant_id={}", me.email, t.id);
    let user = boss.client.get(&about).await.expect(200).data();
    let leads = user["records"].as_array().unwrap().iter().find(|r| r["entity"] == "lead").unwrap().clone();
    assert_eq!((&leads["visible"], &leads["total"]), (&json!(1), &json!(2)), "{user}");
    assert_eq!(user["employee_id"], json!(me.employee_id));
    // The platform's own people are nobody of the tenant.
    t.admin.client.get(&format!("/api/diagnostics/users/{}", boss.user_id)).await.expect(404);
}

/// Every user of a tenant with departments against every kind of record: what the rules say is what the database does, and
/// what the database does is what the API does.
#[actix_web::test]
async fn rules_and_database_agree() {
    let stack = Stack::start().await;
    let t = stack.tenant().await;
    let reader = stack.person_with(Some(t.id), Role::Manager, AccessLevel::Read).await;
    let lonely = stack.person(Some(t.id), Role::Employee).await;
    stack.sql(&format!("UPDATE employees SET user_id = NULL WHERE id = '{}'", lonely.employee_id)).await;
    let sales = format!("'{}', '{}'", t.manager.employee_id, t.employee.employee_id);
    stack.sql(&format!("UPDATE employees SET department = 'Sales' WHERE id IN ({sales})")).await;
    stack.sql(&format!("UPDATE employees SET department = 'Support' WHERE id = '{}'", t.colleague.employee_id)).await;
    let admin = &t.admin.client;
    let mut records: Vec<(&str, Uuid)> = Vec::new();
    let owners = [None, Some(t.manager.employee_id), Some(t.employee.employee_id), Some(t.colleague.employee_id)];
    for (i, author) in [&t.admin, &t.employee, &t.colleague].into_iter().enumerate() {
        for (j, owner) in owners.into_iter().enumerate() {
            let body = json!({ "first_name": "A", "last_name": format!("{i}{j}"), "assigned_to": owner });
            let lead = author.client.post("/api/leads", body).await.expect(201).id();
            records.push(("lead", lead));
            let related = json!({ "subject": "s", "related_type": "lead", "related_id": lead });
            records.push(("activity", admin.post("/api/activities", related).await.expect(201).id()));
            let note = json!({ "content": "c", "assigned_to": owner, "is_private": j % 2 == 0 });
            records.push(("note", author.client.post("/api/notes", note).await.expect(201).id()));
        }
    }
    records.push(("employee", t.colleague.employee_id));
    for (_, id) in records.iter().step_by(7) {
        let sql = format!(
            "UPDATE leads SET deleted_at = now() WHERE id = '{id}'; UPDATE notes SET deleted_at = now() WHERE id = '{id}'"
        );
        stack.sql(&sql).await;
    }
    let plural = |entity: &str| if entity == "activity" { "activities".into() } else { format!("{entity}s") };
    for scope in ["all", "department"] {
        stack.sql(&format!("UPDATE tenant SET manager_scope = '{scope}' WHERE id = '{}'", t.id)).await;
        for person in t.people().into_iter().chain([&reader, &lonely]) {
            let mut seen = 0;
            for (entity, id) in &records {
                let report = ask(admin, person.user_id, entity, *id).await;
                assert_eq!(report["agrees"], true, "{} {scope} {report}", person.email);
                // The test's tokens carry the scope of manager_scope=all and the employee that was linked at first.
                if scope == "all" && person.user_id != lonely.user_id {
                    let got = person.client.get(&format!("/api/{}/{id}", plural(entity))).await.status == 200;
                    assert_eq!(report["verdict"]["can_read"], got, "{} {report}", person.email);
                }
                seen += i32::from(report["verdict"]["can_read"] == true);
            }
            assert!(seen > 0 && (person.role != Role::Employee || seen < 30), "{} {seen}", person.email);
        }
    }
}

#[actix_web::test]
async fn a_lead_finds_somebody_who_sees_it() {
    let stack = Stack::start().await;
    let (t, other) = (stack.tenant().await, stack.tenant().await);
    let id = lead(&t, None).await;
    let (look, fix) =
        (format!("/api/diagnostics/leads/{id}/visibility"), format!("/api/diagnostics/leads/{id}/fix-assignment"));
    let report = t.manager.client.get(&look).await.expect(200).data();
    assert_eq!(report["problems"], json!(["unassigned"]));
    let users = report["users"].as_array().unwrap();
    assert_eq!(users.len(), 4);
    let of = |user: Uuid| users.iter().find(|u| u["user_id"] == json!(user)).unwrap();
    assert_eq!((&of(t.admin.user_id)["can_see"], &of(t.admin.user_id)["reason"]), (&json!(true), &json!("role")));
    assert_eq!(
        (&of(t.employee.user_id)["can_see"], &of(t.employee.user_id)["reason"]),
        (&json!(false), &json!("not_theirs"))
    );
    t.employee.client.get(&look).await.expect(403);
    other.admin.client.get(&look).await.expect(404);
    other.admin.client.post(&fix, json!({ "assigned_to": other.employee.employee_id })).await.expect(404);
    t.employee.client.post(&fix, json!({ "assigned_to": t.employee.employee_id })).await.expect(403);

    let gone =
        t.admin.client.post("/api/employees", json!({ "first_name": "G", "last_name": "One", "status": "terminated" }));
    let gone = gone.await.expect(201).id();
    let silent = t
        .admin
        .client
        .post("/api/employees", json!({ "first_name": "No", "last_name": "Account" }))
        .await
        .expect(201)
        .id();
    for bad in [
        json!(gone),
        json!(silent),
        json!(other.employee.employee_id),
        json!("nobody@example.test"),
        json!(7),
        Value::Null,
    ] {
        let refused = t.manager.client.post(&fix, json!({ "assigned_to": bad })).await.expect(422);
        assert_eq!(refused.fields(), ["assigned_to"], "{bad}");
    }
    assert_eq!(t.manager.client.post(&fix, json!({})).await.expect(422).fields(), ["assigned_to"]);
    let fixed = t.manager.client.post(&fix, json!({ "assigned_to": t.employee.email })).await.expect(200).data();
    assert_eq!(fixed["assigned_to"], json!(t.employee.employee_id));
    let report = t.admin.client.get(&look).await.expect(200).data();
    assert_eq!(report["problems"], json!([]));
    t.employee.client.get(&format!("/api/leads/{id}")).await.expect(200);
    for (employee, problem) in [(gone, "assignee_gone"), (silent, "assignee_without_user")] {
        let id = lead(&t, Some(employee)).await;
        let report = t.admin.client.get(&format!("/api/diagnostics/leads/{id}/visibility")).await.expect(200).data();
        assert_eq!(report["problems"], json!([problem]));
    }
}
