//! Reports and the calendar: numbers checked against rows counted by hand, for each role, in the tenant's time zone.

use super::lists::with;
use aisha_auth::{AccessLevel, Identity, Role, Scope};
use aisha_kernel::{TenantId, UserId, new_id};
use aisha_testkit::{Client, Stack, TestTenant};
use serde_json::{Value, json};
use std::time::Duration;

const PLAIN: [&str; 10] = [
    "reports/dashboard-stats",
    "reports/dashboard-bundle",
    "reports/pipeline",
    "reports/lead-status",
    "reports/lead-age",
    "reports/lead-sources",
    "reports/activity-report",
    "reports/forecast",
    "reports/stage-duration",
    "cashflow/summary",
];

async fn report(me: &Client, path: &str, parameters: &[(&str, &str)]) -> Value {
    me.get(&with(&format!("/api/{path}"), parameters)).await.expect(200).data()
}

/// The values of one column of a list, by another.
fn column(data: &Value, list: &str, key: &str, value: &str) -> Vec<(String, Value)> {
    let text = |v: &Value| v.as_str().map_or_else(|| v.to_string(), str::to_owned);
    data[list].as_array().unwrap().iter().map(|row| (text(&row[key]), row[value].clone())).collect()
}

fn counts(data: &Value, list: &str, key: &str) -> Vec<(String, u64)> {
    let all = column(data, list, key, "count").into_iter().map(|(k, v)| (k, v.as_u64().unwrap()));
    all.filter(|(_, n)| *n > 0).collect()
}

fn pairs<V: Clone>(expected: &[(&str, V)]) -> Vec<(String, V)> {
    expected.iter().map(|(k, v)| ((*k).to_owned(), v.clone())).collect()
}

/// Waits for the next month where this one is about to end: what is written in one is not of the other.
async fn away_from_the_end_of_a_month() {
    while (aisha_kernel::clock::now() + Duration::from_secs(90)).month() != aisha_kernel::clock::now().month() {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Rows of a tenant: those of the employee, of its colleague, test data and trash. Written past the triggers, so that
/// every moment is chosen here.
async fn fill(stack: &Stack, t: &TestTenant) {
    away_from_the_end_of_a_month().await;
    let (tenant, me, colleague, user, other) =
        (t.id, t.employee.employee_id, t.colleague.employee_id, t.employee.user_id, t.colleague.user_id);
    let lead = |n: u32,
                status: &str,
                source: &str,
                days: u32,
                value: &str,
                whose: uuid::Uuid,
                by: uuid::Uuid,
                rest: &str| {
        let converted = if status == "converted" { "now()" } else { "NULL" };
        format!(
            "INSERT INTO leads (tenant_id, id, first_name, last_name, status, source, estimated_value, converted_at, \
             created_at, assigned_to, created_by, is_test_data, deleted_at) VALUES ('{tenant}', gen_random_uuid(), 'L', '{n}', \
             '{status}', {source}, {value}, {converted}, now() - interval '{days} days', '{whose}', '{by}', {rest});"
        )
    };
    let live = "false, NULL";
    let mut sql = String::from("BEGIN; SET LOCAL session_replication_role = replica;");
    sql += &lead(1, "new", "'website'", 1, "100.10", me, user, live);
    sql += &lead(2, "contacted", "'website'", 10, "200", colleague, other, live);
    sql += &lead(3, "converted", "'referral'", 40, "50", me, user, live);
    sql += &lead(4, "lost", "NULL", 100, "NULL", colleague, other, live);
    sql += &lead(5, "new", "'website'", 1, "7", me, user, "true, NULL");
    sql += &lead(6, "new", "'website'", 1, "9", me, user, "false, now()");
    // created by the employee for its colleague: seen by both
    sql += &lead(7, "qualified", "'referral'", 70, "10", colleague, user, live);
    let deal = |id: &str,
                stage: &str,
                outcome: &str,
                amount: &str,
                likely: u32,
                close: &str,
                whose: uuid::Uuid,
                rest: &str| {
        let closed = if outcome == "open" { "NULL" } else { "now()" };
        format!(
            "INSERT INTO opportunities (tenant_id, id, name, stage, outcome, amount, probability, close_date, closed_at, \
             created_at, assigned_to, is_test_data, deleted_at) VALUES ('{tenant}', '{id}', 'D', '{stage}', '{outcome}', \
             {amount}, {likely}, {close}, {closed}, now() - interval '10 days', '{whose}', {rest});"
        )
    };
    let ids: Vec<String> = (0..7).map(|_| new_id().to_string()).collect();
    let next_month = "(date_trunc('month', now()) + interval '1 month 14 days')::date";
    sql += &deal(&ids[0], "prospecting", "open", "1000.50", 10, next_month, me, live);
    sql += &deal(&ids[1], "proposal", "open", "200", 50, "(now() - interval '3 years')::date", colleague, live);
    sql += &deal(&ids[2], "closed_won", "won", "300.25", 100, "now()::date", me, live);
    sql += &deal(&ids[3], "closed_lost", "lost", "400", 0, "now()::date", colleague, live);
    sql += &deal(&ids[4], "old_stage", "open", "50", 20, "NULL", me, live);
    sql += &deal(&ids[5], "prospecting", "open", "1", 10, next_month, me, "true, NULL");
    sql += &deal(&ids[6], "prospecting", "open", "2", 10, next_month, me, "false, now()");
    for (deal, from, to, seconds) in [
        (0, "'prospecting'", "proposal", "86400"),
        (4, "'prospecting'", "old_stage", "172800"),
        (1, "'qualification'", "proposal", "43200"),
        (5, "'prospecting'", "proposal", "999999"),
        (6, "'prospecting'", "proposal", "999999"),
        (0, "NULL", "prospecting", "NULL"),
    ] {
        sql += &format!(
            "INSERT INTO opportunity_stage_history (tenant_id, opportunity_id, from_stage, to_stage, outcome, changed_at, \
             seconds_in_previous) VALUES ('{tenant}', '{}', {from}, '{to}', 'open', now() - interval '1 hour', {seconds});",
            ids[deal]
        );
    }
    let activity = |kind: &str, status: &str, due: &str, related: &str, whose: uuid::Uuid, rest: &str| {
        let completed = if status == "completed" { "now()" } else { "NULL" };
        format!(
            "INSERT INTO activities (tenant_id, id, type, subject, status, due_date, due_at, completed_at, \
             related_assigned_to, assigned_to, is_test_data, deleted_at) VALUES ('{tenant}', gen_random_uuid(), '{kind}', \
             'A', '{status}', ({due})::date, {due}, {completed}, {related}, '{whose}', {rest});"
        )
    };
    let (late, soon) = ("now() - interval '2 days'", "now() + interval '2 days'");
    sql += &activity("call", "scheduled", late, "NULL", me, live);
    sql += &activity("meeting", "completed", late, "NULL", me, live);
    sql += &activity("task", "pending", soon, "NULL", colleague, live);
    // the colleague's, about a record of the employee
    sql += &activity("email", "scheduled", late, &format!("'{me}'"), colleague, live);
    sql += &activity("call", "scheduled", late, "NULL", me, "true, NULL");
    sql += &activity("call", "scheduled", late, "NULL", me, "false, now()");
    let money = |kind: &str, category: &str, amount: &str, day: &str, status: &str, whose: uuid::Uuid| {
        format!(
            "INSERT INTO cash_flow (tenant_id, id, transaction_type, category, amount, transaction_date, status, assigned_to) \
             VALUES ('{tenant}', gen_random_uuid(), '{kind}', '{category}', {amount}, '{day}', '{status}', '{whose}');"
        )
    };
    sql += &money("income", "sales_revenue", "100.10", "2026-01-31", "actual", me);
    sql += &money("expense", "rent", "30.05", "2026-02-01", "actual", me);
    sql += &money("expense", "rent", "10", "2026-02-28", "projected", colleague);
    sql += &money("income", "refund", "5", "2026-02-28", "cancelled", me);
    for (table, rows) in [
        ("accounts (tenant_id, name, assigned_to)", 2),
        ("contacts (tenant_id, first_name, last_name, assigned_to)", 3),
    ] {
        for n in 0..rows {
            let names = if table.starts_with("contacts") { format!("'C', '{n}'") } else { format!("'A{n}'") };
            let whose = if n == 0 { me } else { colleague };
            sql += &format!("INSERT INTO {table} VALUES ('{tenant}', {names}, '{whose}');");
        }
    }
    stack.sql(&(sql + "COMMIT;")).await;
}

#[actix_web::test]
async fn leads_by_status_age_and_source() {
    let stack = Stack::start().await;
    let (t, stranger) = (stack.tenant().await, stack.tenant().await);
    fill(&stack, &t).await;
    fill(&stack, &stranger).await;
    let (admin, manager, employee) = (&t.admin.client, &t.manager.client, &t.employee.client);
    for me in [admin, manager] {
        let data = report(me, "reports/lead-status", &[]).await;
        let all = counts(&data, "statuses", "status");
        assert_eq!(all, pairs(&[("new", 1), ("contacted", 1), ("qualified", 1), ("converted", 1), ("lost", 1)]));
        assert_eq!((data["total"].as_u64(), data["statuses"].as_array().unwrap().len()), (Some(5), 6));
        let age = report(me, "reports/lead-age", &[]).await;
        assert_eq!(counts(&age, "buckets", "bucket"), pairs(&[("0-7", 1), ("8-30", 1), ("61-90", 1), ("90+", 1)]));
        assert_eq!(
            (&age["buckets"][3]["qualified"], &age["buckets"][3]["new"], &age["total"]),
            (&json!(1), &json!(0), &json!(4))
        );
        let sources = report(me, "reports/lead-sources", &[]).await;
        assert_eq!(counts(&sources, "sources", "source"), pairs(&[("referral", 2), ("website", 2), ("null", 1)]));
        let rates = column(&sources, "sources", "source", "conversion_rate");
        assert_eq!(rates, pairs(&[("referral", json!(50.0)), ("website", json!(0.0)), ("null", json!(0.0))]));
        let values = column(&sources, "sources", "source", "value");
        assert_eq!(values, pairs(&[("referral", json!(60.0)), ("website", json!(300.1)), ("null", json!(0.0))]));
        assert_eq!(sources["totals"], json!({ "count": 5, "converted": 1, "conversion_rate": 20.0, "value": 360.1 }));
    }
    let mine = counts(&report(employee, "reports/lead-status", &[]).await, "statuses", "status");
    assert_eq!(mine, pairs(&[("new", 1), ("qualified", 1), ("converted", 1)]));
    let age = report(employee, "reports/lead-age", &[]).await;
    assert_eq!(counts(&age, "buckets", "bucket"), pairs(&[("0-7", 1), ("61-90", 1)]));
    let sources = report(employee, "reports/lead-sources", &[]).await;
    assert_eq!(counts(&sources, "sources", "source"), pairs(&[("referral", 2), ("website", 1)]));
    for (me, expected) in [(admin, 2), (employee, 2)] {
        let tests = [("include_test_data", "true")];
        let data = report(me, "reports/lead-status", &tests).await;
        assert_eq!(data["statuses"][0], json!({ "status": "new", "count": expected }));
        let sources = report(me, "reports/lead-sources", &tests).await;
        let website = column(&sources, "sources", "source", "count").into_iter().find(|(s, _)| s == "website").unwrap();
        assert_eq!(website.1, expected + u64::from(std::ptr::eq(me, admin)));
        assert_eq!(report(me, "reports/lead-age", &tests).await["buckets"][0]["new"], expected);
    }
}

#[actix_web::test]
async fn deals_by_stage_month_and_time_in_stage() {
    let stack = Stack::start().await;
    let t = stack.tenant().await;
    fill(&stack, &t).await;
    let (admin, employee) = (&t.admin.client, &t.employee.client);
    let data = report(admin, "reports/pipeline", &[]).await;
    let order = ["prospecting", "qualification", "proposal", "negotiation", "closed_won", "closed_lost", "old_stage"];
    let stages: Vec<String> = column(&data, "stages", "stage", "count").into_iter().map(|(s, _)| s).collect();
    assert_eq!(stages, order, "the tenant's order, then what it no longer has");
    let one = json!({ "stage": "prospecting", "label": "Prospecting", "position": 1, "outcome": "open", "count": 1,
        "total_value": 1000.5, "avg_value": 1000.5, "avg_probability": 10.0, "weighted_value": 100.05 });
    assert_eq!(data["stages"][0], one);
    let none = json!({ "stage": "qualification", "label": "Qualification", "position": 2, "outcome": "open", "count": 0,
        "total_value": 0.0, "avg_value": null, "avg_probability": null, "weighted_value": 0.0 });
    assert_eq!(data["stages"][1], none);
    assert_eq!((&data["stages"][6]["position"], &data["stages"][6]["label"]), (&Value::Null, &json!("Old Stage")));
    let totals = &data["totals"];
    assert_eq!((&totals["count"], &totals["total_value"]), (&json!(5), &json!(1950.75)));
    assert_eq!(totals["open"], json!({ "count": 3, "total_value": 1250.5, "weighted_value": 210.05 }));
    assert_eq!(totals["won"], json!({ "count": 1, "total_value": 300.25, "weighted_value": 300.25 }));
    let mine = report(employee, "reports/pipeline", &[]).await;
    assert_eq!(counts(&mine, "stages", "stage"), pairs(&[("prospecting", 1), ("closed_won", 1), ("old_stage", 1)]));
    for me in [admin, employee] {
        let with_tests = report(me, "reports/pipeline", &[("include_test_data", "true")]).await;
        assert_eq!(with_tests["stages"][0]["count"], 2);
    }
    // Amounts are passed through as decimals.
    let text = admin.get("/api/reports/pipeline").await.text;
    assert!(text.contains("1000.50") && text.contains("1950.75"), "{text}");

    let forecast = report(admin, "reports/forecast", &[]).await;
    assert_eq!(forecast["months"][0]["count"], 0);
    assert_eq!(
        (&forecast["months"][1]["amount"], &forecast["months"][1]["weighted_amount"]),
        (&json!(1000.5), &json!(100.05))
    );
    assert_eq!(forecast["overdue"], json!({ "count": 1, "amount": 200.0, "weighted_amount": 100.0 }));
    assert_eq!(forecast["without_close_date"]["count"], 1);
    assert_eq!(forecast["totals"]["count"], 1);
    let mine = report(employee, "reports/forecast", &[]).await;
    assert_eq!((&mine["months"][1]["count"], &mine["overdue"]["count"]), (&json!(1), &json!(0)));
    assert_eq!(mine["months"].as_array().unwrap().len(), forecast["months"].as_array().unwrap().len());

    let durations = report(admin, "reports/stage-duration", &[]).await;
    assert_eq!(counts(&durations, "stages", "stage"), pairs(&[("prospecting", 2), ("qualification", 1)]));
    let first = &durations["stages"][0];
    assert_eq!(
        (&first["avg_seconds"], &first["avg_days"], &first["max_days"]),
        (&json!(129_600), &json!(1.5), &json!(2.0))
    );
    let mine = report(employee, "reports/stage-duration", &[]).await;
    assert_eq!(counts(&mine, "stages", "stage"), pairs(&[("prospecting", 2)]));
    let with_tests = report(admin, "reports/stage-duration", &[("include_test_data", "true")]).await;
    assert_eq!(with_tests["stages"][0]["count"], 3);
}

#[actix_web::test]
async fn the_dashboard_counts_what_the_caller_sees() {
    let stack = Stack::start().await;
    let t = stack.tenant().await;
    fill(&stack, &t).await;
    let private = json!({ "content": "for me alone", "is_private": true });
    t.colleague.client.post("/api/notes", private).await.expect(201);
    let expected = [
        (&t.admin.client, [3, 2, 5, 5, 4, 2], ["1250.50", "300.25"]),
        (&t.employee.client, [1, 1, 3, 3, 3, 2], ["1050.50", "300.25"]),
        (&t.colleague.client, [2, 1, 3, 2, 2, 1], ["200.00", "0.00"]),
    ];
    for (me, counts, money) in expected {
        let data = report(me, "reports/dashboard-stats", &[]).await;
        for (i, name) in ["Contacts", "Accounts", "Leads", "Opportunities", "Activities"].iter().enumerate() {
            assert_eq!(data[format!("total{name}")], counts[i], "{name}: {data}");
            assert_eq!(data[format!("total_{}", name.to_lowercase())], counts[i], "{name}");
        }
        assert_eq!(data["overdue_activities"], counts[5]);
        assert_eq!(data["recentActivities"].as_array().unwrap().len(), counts[4]);
        let text = me.get("/api/reports/dashboard-stats").await.text;
        let whole = [format!("\"pipeline_value\":{}", money[0]), format!("\"total\": {}", money[1])];
        assert!(whole.iter().all(|w| text.contains(w)), "{whole:?} {text}");
        assert_eq!(data["revenue"]["thisMonth"], data["revenue"]["total"]);
        assert_eq!(data["revenue"]["last_month"], 0.0);
        let bundle = report(me, "reports/dashboard-bundle", &[]).await;
        assert_eq!(bundle["stats"]["total_leads"], counts[2]);
        assert_eq!(bundle["pipeline"], report(me, "reports/pipeline", &[]).await);
        assert_eq!(bundle["lead_status"], report(me, "reports/lead-status", &[]).await["statuses"]);
        let upcoming = bundle["upcoming_activities"].as_array().unwrap();
        assert_eq!(upcoming.len(), usize::from(!std::ptr::eq(me, &t.employee.client)));
    }
    let late = report(&t.admin.client, "reports/dashboard-stats", &[]).await;
    let statuses = late["recent_activities"].as_array().unwrap().iter().filter(|a| a["status"] == "overdue").count();
    assert_eq!(statuses, 2);
}

#[actix_web::test]
async fn days_are_those_of_the_tenant() {
    let stack = Stack::start().await;
    let t = stack.tenant().await;
    let mut sql = String::from("BEGIN; SET LOCAL session_replication_role = replica;");
    // Half an hour before and after midnight in New York, two days after its clocks went forward.
    for (at, kind) in
        [("2026-03-10T03:30:00Z", "call"), ("2026-03-10T04:30:00Z", "call"), ("2026-03-10T05:00:00Z", "task")]
    {
        sql += &format!(
            "INSERT INTO activities (tenant_id, type, subject, created_at, assigned_to) VALUES ('{}', '{kind}', 'A', '{at}', '{}');",
            t.id, t.employee.employee_id
        );
    }
    stack.sql(&(sql + "COMMIT;")).await;
    for (zone, first, second) in [("America/New_York", 1, 2), ("UTC", 0, 3), ("Nowhere/Land", 0, 3)] {
        stack.sql(&format!("UPDATE tenant SET settings = '{{\"timezone\": \"{zone}\"}}' WHERE id = '{}'", t.id)).await;
        for me in [&t.admin.client, &t.employee.client] {
            for (day, expected) in [("2026-03-09", first), ("2026-03-10", second)] {
                let data = report(me, "reports/activity-report", &[("from", day), ("to", day)]).await;
                assert_eq!(data["total"], expected, "{zone} {day}");
            }
            let both = [("from", "2026-03-09"), ("to", "2026-03-10")];
            let data = report(me, "reports/activity-summary", &both).await;
            assert_eq!(data["by_type"], json!({ "call": 2, "task": 1 }));
            let days = counts(&data, "activities", "date");
            let expected: &[(&str, u64)] = match first {
                1 => &[("2026-03-10", 1), ("2026-03-10", 1), ("2026-03-09", 1)],
                _ => &[("2026-03-10", 2), ("2026-03-10", 1)],
            };
            assert_eq!(days, pairs(expected), "{zone}");
            for (group, date) in [("week", "2026-03-09"), ("month", "2026-03-01")] {
                let data = report(me, "reports/activity-report", &[both[0], both[1], ("group", group)]).await;
                assert_eq!(counts(&data, "activities", "date"), pairs(&[(date, 2), (date, 1)]), "{zone} {group}");
            }
        }
    }
}

#[actix_web::test]
async fn money_by_month_and_category() {
    let stack = Stack::start().await;
    let t = stack.tenant().await;
    fill(&stack, &t).await;
    let period = [("from", "2026-01-15"), ("to", "2026-03-31")];
    let data = report(&t.manager.client, "cashflow/summary", &period).await;
    let expected = json!([
        { "month": "2026-01", "income": 100.1, "expense": 0.0, "net": 100.1, "count": 1 },
        { "month": "2026-02", "income": 0.0, "expense": 40.05, "net": -40.05, "count": 2 },
        { "month": "2026-03", "income": 0.0, "expense": 0.0, "net": 0.0, "count": 0 },
    ]);
    assert_eq!(data["months"], expected);
    let rent = json!({ "category": "rent", "income": 0.0, "expense": 40.05, "net": -40.05, "count": 2 });
    assert_eq!(data["categories"][1], rent);
    assert_eq!(data["totals"], json!({ "income": 100.1, "expense": 40.05, "net": 60.05, "count": 3 }));
    let mine = report(&t.employee.client, "cashflow/summary", &period).await;
    assert_eq!(mine["totals"], json!({ "income": 100.1, "expense": 30.05, "net": 70.05, "count": 2 }));
    let cut = report(&t.manager.client, "cashflow/summary", &[("from", "2026-01-15"), ("to", "2026-02-27")]).await;
    assert_eq!(cut["totals"]["expense"], 30.05);
}

#[actix_web::test]
async fn performance_is_for_managers_and_a_department_is_one() {
    let stack = Stack::start().await;
    let t = stack.tenant().await;
    fill(&stack, &t).await;
    let refused = t.employee.client.get("/api/reports/performance").await;
    assert_eq!((refused.status.as_u16(), refused.code().as_str()), (403, "forbidden"));
    let data = report(&t.manager.client, "reports/performance", &[]).await;
    assert_eq!(data["employees"].as_array().unwrap().len(), 4);
    let best = &data["employees"][0];
    assert_eq!(best["employee_id"], json!(t.employee.employee_id));
    for (name, expected) in [
        ("leads", json!(1)),
        ("opportunities_won", json!(1)),
        ("opportunities_lost", json!(0)),
        ("win_rate", json!(100.0)),
        ("revenue_won", json!(300.25)),
        ("average_deal_size", json!(300.25)),
        ("average_sales_cycle_days", json!(10.0)),
        ("activities_completed", json!(1)),
        ("meetings_held", json!(1)),
        ("calls_made", json!(0)),
    ] {
        assert_eq!(best[name], expected, "{name}");
    }
    assert_eq!((&data["totals"]["win_rate"], &data["totals"]["leads"]), (&json!(50.0), &json!(2)));
    let long_ago =
        report(&t.admin.client, "reports/performance", &[("from", "2020-01-01"), ("to", "2020-12-31")]).await;
    assert_eq!(long_ago["totals"]["win_rate"], Value::Null);

    stack.sql(&format!("UPDATE employees SET department = 'Sales' WHERE id = '{}'", t.employee.employee_id)).await;
    let head = Identity {
        user_id: UserId(t.manager.user_id),
        tenant_id: Some(TenantId(t.id)),
        employee_id: Some(t.manager.employee_id),
        role: Role::Manager,
        access: AccessLevel::ReadWrite,
        scope: Scope::Department,
        department: Some("Sales".into()),
        grants: None,
        extra: Vec::new(),
        disabled_modules: Vec::new(),
        sid: t.manager.sid,
    };
    let head = stack.client(&head);
    let data = report(&head, "reports/performance", &[]).await;
    assert_eq!(column(&data, "employees", "employee_id", "opportunities_won").len(), 1);
    assert_eq!(data["totals"]["revenue_won"], 300.25);
    let leads = report(&head, "reports/lead-status", &[]).await;
    assert_eq!(counts(&leads, "statuses", "status"), pairs(&[("new", 1), ("converted", 1)]));
    let stages = report(&head, "reports/pipeline", &[]).await;
    assert_eq!(counts(&stages, "stages", "stage"), pairs(&[("prospecting", 1), ("closed_won", 1), ("old_stage", 1)]));
    let stats = report(&head, "reports/dashboard-stats", &[]).await;
    assert_eq!((&stats["total_activities"], &stats["total_contacts"]), (&json!(3), &json!(1)));
    assert_eq!(report(&head, "reports/activity-report", &[]).await["total"], 3);
    assert_eq!(report(&head, "reports/stage-duration", &[]).await["stages"][0]["count"], 2);
    assert_eq!(report(&head, "reports/calendar", &[]).await["truncated"], false);
}

#[actix_web::test]
async fn an_empty_tenant_has_zeros() {
    let stack = Stack::start().await;
    let t = stack.tenant().await;
    for me in [&t.admin.client, &t.employee.client] {
        for path in PLAIN {
            report(me, path, &[]).await;
        }
        assert_eq!(report(me, "reports/dashboard-stats", &[]).await["total_leads"], 0);
        assert_eq!(report(me, "reports/dashboard-stats", &[]).await["recent_activities"], json!([]));
        assert_eq!(report(me, "reports/pipeline", &[]).await["stages"].as_array().unwrap().len(), 6);
        assert_eq!(report(me, "reports/lead-sources", &[]).await["sources"], json!([]));
        assert_eq!(report(me, "reports/activity-report", &[]).await["activities"], json!([]));
        assert_eq!(report(me, "reports/calendar", &[]).await["activities"], json!([]));
        let months = report(me, "cashflow/summary", &[]).await;
        assert_eq!(months["totals"], json!({ "income": 0.0, "expense": 0.0, "net": 0.0, "count": 0 }));
        assert_eq!(months["categories"], json!([]));
    }
    assert_eq!(report(&t.manager.client, "reports/performance", &[]).await["totals"]["leads"], 0);
}

#[actix_web::test]
async fn what_cannot_be_used_is_named() {
    let stack = Stack::start().await;
    let t = stack.tenant().await;
    for (path, parameters, field) in [
        ("reports/pipeline", vec![("from", "2026-01-01")], "from"),
        ("reports/pipeline", vec![("nonsense", "1")], "nonsense"),
        ("reports/pipeline", vec![("format", "pdf")], "format"),
        ("reports/pipeline", vec![("include_test_data", "perhaps")], "include_test_data"),
        ("reports/lead-status", vec![("group", "day")], "group"),
        ("reports/activity-report", vec![("group", "hour")], "group"),
        ("reports/activity-report", vec![("from", "2026-02-30")], "from"),
        ("reports/activity-report", vec![("from", "2026-02-02"), ("to", "2026-02-01")], "from"),
        ("reports/activity-report", vec![("from_date", "2026-02-02"), ("to_date", "2026-02-01")], "from_date"),
        ("reports/activity-report", vec![("from", "2024-01-01"), ("to", "2025-01-01")], "to"),
        ("reports/activity-report", vec![("from", "2024-01-01"), ("from_date", "2024-01-01")], "from_date"),
        ("reports/performance", vec![("to", "soon")], "to"),
        ("reports/forecast", vec![("from", "2025-01-01"), ("to", "2027-01-01")], "to"),
        ("reports/calendar", vec![("from_date", "2025-01-01"), ("to_date", "2026-01-02")], "to_date"),
        ("reports/calendar", vec![("limit", "0")], "limit"),
        ("reports/calendar", vec![("assigned_to", "me")], "assigned_to"),
        ("activities/calendar", vec![("status", "done")], "status"),
        ("reports/dashboard-bundle", vec![("format", "csv")], "format"),
        ("cashflow/summary", vec![("to", "9999-12-31")], "to"),
        ("calendar.ics", vec![("from", "2026-01-01")], "from"),
    ] {
        let reply = t.admin.client.get(&with(&format!("/api/{path}"), &parameters)).await;
        assert_eq!((reply.status.as_u16(), reply.fields()), (400, vec![field.to_owned()]), "{path} {parameters:?}");
    }
    report(&t.admin.client, "reports/activity-report", &[("from", "2024-01-01"), ("to", "2024-12-31")]).await;
}

#[actix_web::test]
async fn numbers_are_taken_out_by_managers() {
    let stack = Stack::start().await;
    let t = stack.tenant().await;
    fill(&stack, &t).await;
    let name = "UPDATE employees SET first_name = '=cmd()', last_name = 'x, y'";
    stack.sql(&format!("{name} WHERE id = '{}'", t.employee.employee_id)).await;
    for path in PLAIN.iter().filter(|p| !p.ends_with("bundle")).chain(&["reports/performance"]) {
        let path = format!("/api/{path}?format=csv");
        assert_eq!(t.employee.client.get(&path).await.code(), "forbidden", "{path}");
        let reply = t.manager.client.get(&path).await.expect(200);
        assert_eq!(reply.header("content-type"), Some("text/csv; charset=utf-8"));
        let mut file = csv::Reader::from_reader(reply.text.as_bytes());
        let head = file.headers().unwrap().clone();
        for row in file.records() {
            assert_eq!(row.unwrap().len(), head.len(), "{path}");
        }
    }
    let text = t.manager.client.get("/api/reports/pipeline?format=csv").await.text;
    assert!(text.starts_with("stage,label,position,outcome,count,"), "{text}");
    assert!(text.contains("prospecting,Prospecting,1,open,1,1000.50,1000.50,10.0,100.05\r\n"), "{text}");
    let text = t.manager.client.get("/api/reports/performance?format=csv").await.text;
    assert!(text.contains(",\"'=cmd() x, y\","), "{text}");
}

#[actix_web::test]
async fn the_calendar_and_its_feed() {
    let stack = Stack::start().await;
    let t = stack.tenant().await;
    let (me, colleague) = (&t.employee.client, &t.colleague.client);
    let today = stack.text("SELECT now()::date::text").await;
    let long = "Agenda: äöü, semicolons; backslashes \\ and\nlines, ".repeat(6).trim_end().to_owned();
    let timed = json!({ "type": "meeting", "subject": "Demo; with, commas", "description": long, "location": "Room 1",
        "due_date": today, "due_time": "14:30", "timezone": "America/New_York", "duration": 45,
        "assigned_to": t.employee.employee_id });
    let timed = me.post("/api/activities", timed).await.expect(201);
    let day = json!({ "subject": "All day", "due_date": today, "status": "cancelled", "assigned_to": t.employee.employee_id });
    let day = me.post("/api/activities", day).await.expect(201).id();
    let theirs = json!({ "subject": "Theirs", "due_date": today, "assigned_to": t.colleague.employee_id });
    colleague.post("/api/activities", theirs).await.expect(201);
    me.post("/api/activities", json!({ "subject": "Some time" })).await.expect(201);

    let all = [("from_date", today.as_str()), ("to_date", today.as_str())];
    for path in ["reports/calendar", "activities/calendar"] {
        let seen = |data: Value| data["activities"].as_array().unwrap().len();
        assert_eq!(seen(report(&t.admin.client, path, &all).await), 3);
        assert_eq!(seen(report(me, path, &all).await), 2);
        assert_eq!(seen(report(me, path, &[("from_date", "2020-01-01"), ("to_date", "2020-12-31")]).await), 0);
        let whose = t.colleague.employee_id.to_string();
        assert_eq!(seen(report(&t.admin.client, path, &[all[0], all[1], ("assigned_to", &whose)]).await), 1);
        let cut = report(&t.admin.client, path, &[all[0], all[1], ("limit", "2")]).await;
        assert_eq!((cut["truncated"].as_bool(), seen(cut)), (Some(true), 2));
    }
    let first = &report(me, "reports/calendar", &all).await["activities"][0];
    assert_eq!((&first["id"], &first["location"]), (&timed.data()["id"], &json!("Room 1")));

    let reply = me.get("/api/calendar.ics").await.expect(200);
    assert_eq!(reply.header("content-type"), Some("text/calendar; charset=utf-8"));
    assert!(reply.text.lines().all(|line| line.len() <= 75), "lines are folded at 75 octets");
    assert!(reply.text.ends_with("END:VCALENDAR\r\n"));
    let parsed: icalendar::Calendar = reply.text.parse().unwrap();
    use icalendar::{CalendarComponent, Component as _, DatePerhapsTime, EventLike as _, EventStatus};
    let events: Vec<_> = parsed.components.iter().filter_map(CalendarComponent::as_event).collect();
    assert_eq!(events.len(), 2, "{}", reply.text);
    let find =
        |id: uuid::Uuid| *events.iter().find(|e| e.get_uid() == Some(&format!("{id}@activities.aisha-crm"))).unwrap();
    let demo = find(timed.id());
    assert_eq!(demo.get_summary(), Some("Demo; with, commas"));
    assert_eq!(demo.get_description(), Some(long.as_str()));
    assert_eq!((demo.get_location(), demo.get_status()), (Some("Room 1"), Some(EventStatus::Confirmed)));
    let start = timed.data()["due_at"].as_str().unwrap().replace(['-', ':'], "");
    assert_eq!(demo.property_value("DTSTART"), Some(start.as_str()));
    assert!(demo.property_value("DTEND").unwrap().ends_with("1500Z"), "45 minutes later");
    let whole = find(day);
    assert!(matches!(whole.get_start(), Some(DatePerhapsTime::Date(d)) if d.to_string() == today));
    assert_eq!(whole.get_status(), Some(EventStatus::Cancelled));
    assert_eq!(me.get("/api/calendar.ics").await.text, reply.text, "nothing changes by itself");
}
