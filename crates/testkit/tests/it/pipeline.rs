//! Stages, winning and losing, activities that are due, the people of an account.

use aisha_kernel::new_id;
use aisha_testkit::{Stack, TestTenant};
use serde_json::{Value, json};

async fn deal(t: &TestTenant, body: Value) -> Value {
    t.admin.client.post("/api/opportunities", body).await.expect(201).data()
}

async fn own_stages(stack: &Stack, t: &TestTenant) {
    let stages = json!({ "stages": [
        { "name": "talk", "probability": 20, "outcome": "open" },
        { "name": "offer", "label": "Offer made", "probability": 60, "outcome": "open" },
        { "name": "signed", "probability": 100, "outcome": "won" },
        { "name": "gone", "probability": 0, "outcome": "lost" }
    ] });
    let sql = format!(
        "INSERT INTO module_settings (tenant_id, id, module_name, settings) VALUES ('{}', '{}', 'opportunities', '{stages}')",
        t.id,
        new_id()
    );
    stack.sql(&sql).await;
}

#[actix_web::test]
async fn a_deal_goes_through_the_usual_stages() {
    let stack = Stack::start().await;
    let t = stack.tenant().await;
    let me = &t.admin.client;
    let stages = me.get("/api/opportunities/stages").await.expect(200).data();
    let names: Vec<&str> = stages["stages"].as_array().unwrap().iter().map(|s| s["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["prospecting", "qualification", "proposal", "negotiation", "closed_won", "closed_lost"]);

    let made = deal(&t, json!({ "name": "Roof", "amount": 1000 })).await;
    assert_eq!(
        (&made["stage"], &made["probability"], &made["outcome"]),
        (&json!("prospecting"), &json!(10), &json!("open"))
    );
    let at = format!("/api/opportunities/{}", made["id"].as_str().unwrap());
    // The probability follows the stage, unless the same request says another one.
    let moved = me.patch(&at, json!({ "stage": "Proposal" })).await.expect(200).data();
    assert_eq!((&moved["stage"], &moved["probability"]), (&json!("proposal"), &json!(50)));
    let moved = me.patch(&at, json!({ "stage": "negotiation", "probability": 80 })).await.expect(200).data();
    assert_eq!(moved["probability"], 80);
    let named = me.patch(&at, json!({ "name": "New roof" })).await.expect(200).data();
    assert_eq!((&named["probability"], &named["stage_changed_at"]), (&json!(80), &moved["stage_changed_at"]));
    // Sending back what was read changes nothing.
    let before = me.get(&at).await.expect(200).data();
    let after = me.put(&at, before.clone()).await.expect(200).data();
    assert_eq!((&after["stage"], &after["probability"]), (&before["stage"], &before["probability"]));

    let odd = me.patch(&at, json!({ "stage": "dreaming" })).await.expect(422);
    assert_eq!(odd.fields(), ["stage"]);
    assert!(odd.text.contains("must be one of: prospecting, qualification"), "{}", odd.text);

    let won = me.post(&format!("{at}/win"), json!({ "amount": 1200 })).await.expect(200).data();
    assert_eq!(
        (&won["stage"], &won["outcome"], &won["probability"], &won["amount"]),
        (&json!("closed_won"), &json!("won"), &json!(100), &json!(1200.0))
    );
    assert!(won["closed_at"].is_string());
    let again = me.post(&format!("{at}/win"), json!({})).await.expect(200).data();
    assert_eq!((&again["version"], &again["closed_at"]), (&won["version"], &won["closed_at"]));
    let lost = me.post(&format!("{at}/lose"), json!({ "lost_reason": "price" })).await.expect(200).data();
    assert_eq!((&lost["outcome"], &lost["lost_reason"]), (&json!("lost"), &json!("price")));
    assert_eq!(me.post(&format!("{at}/win"), json!({ "stage": "x" })).await.expect(422).fields(), ["stage"]);

    let history = me.get(&format!("{at}/history")).await.expect(200).data();
    let steps: Vec<(Value, Value)> = history["history"]
        .as_array()
        .unwrap()
        .iter()
        .map(|h| (h["from_stage"].clone(), h["to_stage"].clone()))
        .collect();
    let step = |from: Value, to: &str| (from, json!(to));
    assert_eq!(
        steps,
        [
            step(Value::Null, "prospecting"),
            step(json!("prospecting"), "proposal"),
            step(json!("proposal"), "negotiation"),
            step(json!("negotiation"), "closed_won"),
            step(json!("closed_won"), "closed_lost"),
        ]
    );
    assert!(history["history"].as_array().unwrap().iter().all(|h| h["seconds_in_stage"].as_i64().unwrap() >= 0));
    assert!(history["history"][0]["changed_by_name"].is_string());
}

#[actix_web::test]
async fn a_tenant_has_stages_of_its_own() {
    let stack = Stack::start().await;
    let (t, other) = (stack.tenant().await, stack.tenant().await);
    own_stages(&stack, &t).await;
    let made = deal(&t, json!({ "name": "Roof" })).await;
    assert_eq!((&made["stage"], &made["probability"]), (&json!("talk"), &json!(20)));
    let at = format!("/api/opportunities/{}", made["id"].as_str().unwrap());
    assert_eq!(t.admin.client.patch(&at, json!({ "stage": "proposal" })).await.expect(422).fields(), ["stage"]);
    let won = t.admin.client.post(&format!("{at}/win"), json!({})).await.expect(200).data();
    assert_eq!(won["stage"], "signed");
    // The other tenant has the usual ones, and sees nothing of this deal.
    assert_eq!(deal(&other, json!({ "name": "Roof" })).await["stage"], "prospecting");
    for path in [at.clone(), format!("{at}/history")] {
        other.admin.client.get(&path).await.expect(404);
    }
    other.admin.client.post(&format!("{at}/win"), json!({})).await.expect(404);
    // In bulk and on import a stage that is not there fails its own row only.
    let items =
        json!({ "create": [{ "name": "A" }, { "name": "B", "stage": "proposal" }, { "name": "C", "stage": "OFFER" }] });
    let done = t.admin.client.post("/api/opportunities/bulk", items).await.expect(200).data();
    assert_eq!((&done["succeeded"], &done["failed"]), (&json!(2), &json!(1)));
    assert_eq!(done["results"][1]["details"][0]["field"], "stage");
    let csv = "name,stage,amount\nD,talk,1\nE,proposal,2\nF,gone,3\n";
    let log = t.admin.client.import("/api/opportunities/import", csv.as_bytes(), &[]).await.expect(201).data();
    assert_eq!((&log["success_count"], &log["error_count"]), (&json!(2), &json!(1)));
    assert_eq!(
        (&log["errors"][0]["row_number"], &log["errors"][0]["errors"][0]["field"]),
        (&json!(2), &json!("stage"))
    );
    let lost = t.admin.client.get("/api/opportunities?outcome=lost").await.expect(200).data();
    assert_eq!((&lost["total"], &lost["opportunities"][0]["name"]), (&json!(1), &json!("F")));
}

#[actix_web::test]
async fn an_import_keeps_the_stage_rules_for_rows_that_are_there() {
    let stack = Stack::start().await;
    let t = stack.tenant().await;
    deal(&t, json!({ "name": "Roof", "legacy_id": "R1" })).await;
    deal(&t, json!({ "name": "Door", "legacy_id": "D1" })).await;
    let csv = "name,legacy_id,stage\nRoof,R1,dreaming\nDoor,D1,proposal\n";
    let log = t.admin.client.import("/api/opportunities/import", csv.as_bytes(), &[("on_duplicate", "update")]).await;
    let log = log.expect(201).data();
    assert_eq!((&log["updated_count"], &log["error_count"]), (&json!(1), &json!(1)), "{log}");
    let door = t.admin.client.get("/api/opportunities?legacy_id=D1").await.expect(200).data();
    assert_eq!(door["opportunities"][0]["stage"], "proposal");
}

#[actix_web::test]
async fn employees_close_their_own_deals_only() {
    let stack = Stack::start().await;
    let t = stack.tenant().await;
    let theirs = deal(&t, json!({ "name": "Roof" })).await;
    let own = deal(&t, json!({ "name": "Door", "assigned_to": t.employee.employee_id })).await;
    let at = |deal: &Value| format!("/api/opportunities/{}", deal["id"].as_str().unwrap());
    t.employee.client.post(&format!("{}/win", at(&theirs)), json!({})).await.expect(404);
    t.employee.client.get(&format!("{}/history", at(&theirs))).await.expect(404);
    let etag = t.employee.client.get(&at(&own)).await.expect(200).header("etag").unwrap().to_owned();
    let win = format!("{}/win", at(&own));
    let late = t.employee.client.send("POST", &win, &[("if-match", "\"99\"")], Some(b"{}".to_vec()));
    assert_eq!(late.await.status, 415);
    let headers = [("if-match", "\"99\""), ("content-type", "application/json")];
    t.employee.client.send("POST", &win, &headers, Some(b"{}".to_vec())).await.expect(412);
    let headers = [("if-match", etag.as_str()), ("content-type", "application/json"), ("idempotency-key", "win-1")];
    let first = t.employee.client.send("POST", &win, &headers, Some(b"{}".to_vec())).await;
    let second = t.employee.client.send("POST", &win, &headers, Some(b"{}".to_vec())).await;
    assert_eq!((first.expect(200).json(), ()), (second.expect(200).json(), ()));
    assert_eq!(
        t.employee.client.get(&format!("{}/history", at(&own))).await.expect(200).data()["history"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
}

#[actix_web::test]
async fn activities_are_due_in_a_time_zone() {
    let stack = Stack::start().await;
    let t = stack.tenant().await;
    let me = &t.admin.client;
    let make = async |body: Value| me.post("/api/activities", body).await.expect(201).data();
    let call = make(json!({ "type": "call", "subject": "Call", "due_date": "2026-07-01", "due_time": "9:30", "timezone": "Europe/Berlin" })).await;
    assert_eq!((&call["due_at"], &call["due_time"]), (&json!("2026-07-01T07:30:00Z"), &json!("09:30")));
    // Without a time of day it is due until the day ends, in the tenant's time zone.
    let task = make(json!({ "subject": "Task", "due_date": "2026-01-15" })).await;
    assert_eq!((&task["type"], &task["due_at"]), (&json!("task"), &json!("2026-01-16T00:00:00Z")));
    stack
        .sql(&format!("UPDATE tenant SET settings = '{{\"timezone\": \"America/New_York\"}}' WHERE id = '{}'", t.id))
        .await;
    let task = make(json!({ "subject": "Task", "due_date": "2026-01-15" })).await;
    assert_eq!(task["due_at"], "2026-01-16T05:00:00Z");
    for (body, field) in [
        (json!({ "subject": "x", "due_date": "2026-01-15", "timezone": "Mars/Olympus" }), "timezone"),
        (json!({ "subject": "x", "due_date": "2026-01-15", "due_time": "25:00" }), "due_time"),
        (json!({ "subject": "x", "due_date": "9999-12-31" }), "due_date"),
    ] {
        assert_eq!(me.post("/api/activities", body).await.expect(422).fields(), [field]);
    }
}

#[actix_web::test]
async fn overdue_is_a_state_and_not_a_value() {
    let stack = Stack::start().await;
    let t = stack.tenant().await;
    let me = &t.admin.client;
    let make = async |body: Value| me.post("/api/activities", body).await.expect(201).data();
    let late = make(json!({ "subject": "late", "due_date": "2020-01-01" })).await;
    make(json!({ "subject": "soon", "due_date": "2900-01-01" })).await;
    make(json!({ "subject": "whenever" })).await;
    make(json!({ "subject": "done", "due_date": "2020-01-01", "status": "completed" })).await;
    assert_eq!(late["status"], "overdue");
    let subjects = async |query: &str| {
        let data = me.get(&format!("/api/activities?{query}")).await.expect(200).data();
        let mut names: Vec<String> =
            data["activities"].as_array().unwrap().iter().map(|a| a["subject"].as_str().unwrap().to_owned()).collect();
        names.sort();
        assert_eq!(data["total"], names.len());
        names
    };
    assert_eq!(subjects("status=overdue").await, ["late"]);
    assert_eq!(subjects("status=scheduled").await, ["soon", "whenever"]);
    assert_eq!(
        subjects("filter=%7B%22status%22%3A%7B%22%24in%22%3A%5B%22overdue%22%2C%22completed%22%5D%7D%7D").await,
        ["done", "late"]
    );
    assert_eq!(
        subjects("filter=%7B%22status%22%3A%7B%22%24ne%22%3A%22overdue%22%7D%7D").await,
        ["done", "soon", "whenever"]
    );
    let at = format!("/api/activities/{}", late["id"].as_str().unwrap());
    // Sent back as it was shown, it stays what it was.
    let same = me.put(&at, late.clone()).await.expect(200).data();
    assert_eq!(same["status"], "overdue");
    let put_off = me.post(&format!("{at}/reschedule"), json!({ "due_date": "2900-01-01" })).await.expect(200).data();
    assert_eq!(put_off["status"], "scheduled");
    assert_eq!(me.post(&format!("{at}/reschedule"), json!({})).await.expect(422).fields(), ["due_date"]);
    let done = me.post(&format!("{at}/complete"), json!({ "outcome": "sold" })).await.expect(200).data();
    assert_eq!((&done["status"], &done["outcome"]), (&json!("completed"), &json!("sold")));
    assert!(done["completed_at"].is_string());
    me.post(&format!("{at}/reschedule"), json!({ "due_date": "2900-01-02" })).await.expect(409);
    let reopened = me.patch(&at, json!({ "status": "planned" })).await;
    assert_eq!(reopened.expect(422).fields(), ["status"]);
    let reopened = me.patch(&at, json!({ "status": "in_progress" })).await.expect(200).data();
    assert_eq!((&reopened["status"], &reopened["completed_at"]), (&json!("in-progress"), &Value::Null));
    me.patch(&at, json!({ "status": "cancelled" })).await.expect(200);
    me.post(&format!("{at}/complete"), json!({})).await.expect(409);
    let again = me.post(&format!("{at}/reschedule"), json!({ "due_date": "2900-01-03" })).await.expect(200).data();
    assert_eq!(again["status"], "scheduled");
}

#[actix_web::test]
async fn an_account_has_its_people() {
    let stack = Stack::start().await;
    let (t, other) = (stack.tenant().await, stack.tenant().await);
    let me = &t.admin.client;
    let account = me.post("/api/accounts", json!({ "name": "Acme" })).await.expect(201).id();
    let person = |name: &str| json!({ "first_name": name, "last_name": "X", "account_id": account });
    me.post("/api/contacts", person("Ann")).await.expect(201);
    me.post("/api/leads", person("Bob")).await.expect(201);
    let trashed = me.post("/api/leads", person("Cid")).await.expect(201).id();
    me.delete(&format!("/api/leads/{trashed}")).await.expect(200);
    let path = format!("/api/accounts/{account}/related-people");
    let all = me.get(&path).await.expect(200).data();
    assert_eq!(all["total"], 2);
    assert_eq!((&all["people"][0]["person_type"], &all["people"][0]["first_name"]), (&json!("lead"), &json!("Bob")));
    let page = me.get(&format!("{path}?limit=1&offset=1")).await.expect(200).data();
    assert_eq!((&page["total"], &page["people"][0]["first_name"]), (&json!(2), &json!("Ann")));
    assert_eq!(me.get(&format!("{path}?colour=red")).await.expect(400).fields(), ["colour"]);
    other.admin.client.get(&path).await.expect(404);
    t.employee.client.get(&path).await.expect(404);
    // The account is the employee's, the people are not.
    me.patch(&format!("/api/accounts/{account}"), json!({ "assigned_to": t.employee.employee_id })).await.expect(200);
    assert_eq!(t.employee.client.get(&path).await.expect(200).data()["total"], 0);
}
