//! Notifications: whom, once, together, and nobody else.

use aisha_auth::{AccessLevel, Role};
use aisha_db::{Db, DbConfig};
use aisha_kernel::new_id;
use aisha_operations::notification::{Event, notifications_from_batch};
use aisha_testkit::{Person, Stack, database::address};
use serde_json::{Value, json};
use uuid::Uuid;

fn database() -> Db {
    Db::new(&DbConfig { url: address("DATABASE_URL"), pool_size: 2, application_name: "notifications test".into() })
        .unwrap()
}

/// The events of a tenant, as a consumer gets them.
async fn events(tenant: Uuid) -> Vec<Event> {
    let admin = aisha_testkit::database::admin().await;
    let sql = "SELECT id, event, entity, record_id, tenant_id, created_at, data, previous FROM event_outbox \
               WHERE tenant_id = $1 ORDER BY seq";
    let rows = admin.query(sql, &[&tenant]).await.unwrap();
    let event = |r: &tokio_postgres::Row| Event {
        id: r.get(0),
        event: r.get(1),
        entity: r.get(2),
        record_id: r.get(3),
        tenant_id: r.get(4),
        created_at: r.get(5),
        data: r.get(6),
        previous: r.get(7),
    };
    rows.iter().map(event).collect()
}

/// Hands all events of a tenant in, some at a time.
async fn tell(db: &Db, tenant: Uuid, at_once: usize) -> usize {
    let mut told = 0;
    for batch in events(tenant).await.chunks(at_once) {
        told += notifications_from_batch(db, batch).await.unwrap();
    }
    told
}

async fn inbox(person: &Person) -> (Vec<Value>, Value) {
    let data = person.client.get("/api/notifications").await.expect(200).data();
    (data["notifications"].as_array().unwrap().clone(), data["unread_count"].clone())
}

fn lead(n: usize, to: Uuid) -> Value {
    json!({"first_name": "Ada", "last_name": format!("King {n}"), "company": "Engines", "assigned_to": to})
}

async fn create(by: &Person, to: Uuid) -> Uuid {
    by.client.post("/api/leads", lead(0, to)).await.expect(201).id()
}

#[actix_web::test]
async fn one_request_is_one_notification_however_many_records_and_however_often_its_events_come() {
    let (stack, db) = (Stack::start().await, database());
    let t = stack.tenant().await;
    let leads: Vec<Value> = (0..500).map(|n| lead(n, t.employee.employee_id)).collect();
    let others: Vec<Value> = (500..530).map(|n| lead(n, t.colleague.employee_id)).collect();
    let all = [leads, others].concat();
    let body = json!({ "create": all });
    let made = t.admin.client.post("/api/leads/bulk", body).await;
    assert!(made.status.is_success(), "{}", made.text);

    // Batches cut the request in pieces; two consumers get the same ones.
    let (one, other) = (database(), database());
    let (a, b) = futures_util::join!(tell(&one, t.id, 64), tell(&other, t.id, 100));
    assert_eq!(a + b, 530, "each event is told once");
    assert_eq!(tell(&db, t.id, 1_000).await, 0, "and never again");

    let (mine, unread) = inbox(&t.employee).await;
    assert_eq!((mine.len(), &unread), (1, &json!(1)));
    assert_eq!((&mine[0]["type"], &mine[0]["count"]), (&json!("assignment"), &json!(500)));
    assert_eq!(mine[0]["title"], "Test admin assigned 500 leads to you");
    assert_eq!((&mine[0]["link"], &mine[0]["related_id"]), (&json!("/leads"), &json!(null)));
    assert_eq!(inbox(&t.colleague).await.0[0]["count"], 30);
    for nobody in [&t.admin, &t.manager] {
        assert!(inbox(nobody).await.0.is_empty());
    }

    // Reassigning all of them by one request is one more, for the one who gets them.
    let ids = t.admin.client.get("/api/leads?limit=200").await.expect(200).data();
    let updates: Vec<Value> = ids["leads"]
        .as_array()
        .unwrap()
        .iter()
        .map(|l| json!({"id": l["id"], "assigned_to": t.manager.employee_id}))
        .collect();
    let moved = t.admin.client.post("/api/leads/bulk", json!({ "update": updates })).await;
    assert!(moved.status.is_success(), "{}", moved.text);
    tell(&db, t.id, 64).await;
    let (managers, _) = inbox(&t.manager).await;
    assert_eq!((managers.len(), &managers[0]["count"]), (1, &json!(200)));
    assert_eq!(inbox(&t.employee).await.0.len(), 1);
}

#[actix_web::test]
async fn only_somebody_else_s_doing_is_told_and_only_to_those_who_want_it() {
    let (stack, db) = (Stack::start().await, database());
    let t = stack.tenant().await;
    // One's own doing.
    create(&t.employee, t.employee.employee_id).await;
    assert_eq!(tell(&db, t.id, 100).await, 1);
    assert!(inbox(&t.employee).await.0.is_empty());

    let id = create(&t.manager, t.employee.employee_id).await;
    tell(&db, t.id, 100).await;
    let (mine, _) = inbox(&t.employee).await;
    assert_eq!(mine[0]["title"], "Test manager assigned a lead to you");
    assert_eq!((&mine[0]["message"], &mine[0]["link"]), (&json!("Ada King 0"), &json!(format!("/leads/{id}"))));
    assert_eq!((&mine[0]["related_type"], &mine[0]["related_id"]), (&json!("lead"), &json!(id)));
    // Another change of the record is no assignment.
    t.manager.client.patch(&format!("/api/leads/{id}"), json!({"company": "Other"})).await.expect(200);
    tell(&db, t.id, 100).await;
    assert_eq!(inbox(&t.employee).await.0.len(), 1);

    // Switched off.
    let settings = t.colleague.client.get("/api/notifications/settings").await.expect(200).data();
    assert_eq!(settings, json!({"assignment": true, "import": true, "webhook": true, "system": true}));
    let off =
        t.colleague.client.put("/api/notifications/settings", json!({"assignment": false})).await.expect(200).data();
    assert_eq!((&off["assignment"], &off["import"]), (&json!(false), &json!(true)));
    let bad = t.colleague.client.put("/api/notifications/settings", json!({"weather": true, "import": 1})).await;
    assert_eq!(bad.expect(422).fields().len(), 2);
    create(&t.manager, t.colleague.employee_id).await;
    tell(&db, t.id, 100).await;
    assert!(inbox(&t.colleague).await.0.is_empty());
    t.colleague.client.put("/api/notifications/settings", json!({"assignment": true})).await.expect(200);
    create(&t.manager, t.colleague.employee_id).await;
    tell(&db, t.id, 100).await;
    assert_eq!(inbox(&t.colleague).await.0.len(), 1);

    // Somebody who has left.
    stack.sql(&format!("UPDATE users SET is_active = false WHERE id = '{}'", t.employee.user_id)).await;
    create(&t.manager, t.employee.employee_id).await;
    tell(&db, t.id, 100).await;
    let told = format!("SELECT count(*) FROM notifications WHERE user_id = '{}'", t.employee.user_id);
    assert_eq!(stack.count(&told).await, 1);
}

#[actix_web::test]
async fn an_import_is_told_to_whoever_started_it() {
    let (stack, db) = (Stack::start().await, database());
    let t = stack.tenant().await;
    let csv = format!(
        "first_name,last_name,company,assigned_to\nAda,One,E,{0}\nAda,Two,E,{0}\nAda,Three,E,nobody\n",
        t.employee.employee_id
    );
    t.manager.client.import("/api/leads/import", csv.as_bytes(), &[("dry_run", "true")]).await.expect(201);
    tell(&db, t.id, 100).await;
    assert!(inbox(&t.manager).await.0.is_empty(), "a trial is no import");
    let import = t.manager.client.import("/api/leads/import", csv.as_bytes(), &[]).await.expect(201).id();
    tell(&db, t.id, 1).await;
    let (managers, _) = inbox(&t.manager).await;
    assert_eq!((managers.len(), &managers[0]["type"]), (1, &json!("import")));
    assert_eq!(managers[0]["title"], "The import of test.csv is finished");
    assert_eq!(managers[0]["message"], "2 created, 0 updated, 0 skipped, 1 with errors.");
    assert_eq!(managers[0]["related_id"], json!(import));
    let (employees, _) = inbox(&t.employee).await;
    assert_eq!((employees.len(), &employees[0]["count"]), (1, &json!(2)));
    // Nobody who listens to events gets to see the file.
    for event in events(t.id).await.iter().filter(|e| e.entity == "import") {
        assert!(event.data["errors"].is_null() && event.data["mapping"].is_null(), "{}", event.data);
    }
    // A superadmin that works in a tenant is told there.
    let root = stack.superadmin().await;
    let at = format!("/api/accounts/import?tenant_id={}", t.id);
    root.client.import(&at, b"name\nACME\n", &[]).await.expect(201);
    tell(&db, t.id, 100).await;
    let data = root.client.get(&format!("/api/notifications?tenant_id={}", t.id)).await.expect(200).data();
    assert_eq!((&data["total"], &data["notifications"][0]["type"]), (&json!(1), &json!("import")));
}

#[actix_web::test]
async fn admins_are_told_once_of_a_webhook_that_was_switched_off() {
    let (stack, db) = (Stack::start().await, database());
    let (t, other) = (stack.tenant().await, stack.tenant().await);
    let averse = stack.person(Some(t.id), Role::Admin).await;
    averse.client.put("/api/notifications/settings", json!({"webhook": false})).await.expect(200);
    let body = json!({"url": "https://hooks.example/in?token=carried", "description": "To the warehouse"});
    let id = t.admin.client.post("/api/webhooks", body).await.expect(201).id();
    let gone = format!(
        "UPDATE webhook SET is_active = false, disabled_reason = 'gone', disabled_at = now() WHERE id = '{id}'"
    );
    stack.sql(&gone).await;

    // Two consumers get the same events, and one of them gets them twice.
    let (one, second) = (database(), database());
    let (a, b) = futures_util::join!(tell(&one, t.id, 100), tell(&second, t.id, 1));
    assert_eq!((a + b, tell(&db, t.id, 100).await), (1, 0));
    let (mine, unread) = inbox(&t.admin).await;
    assert_eq!((mine.len(), &mine[0]["count"], &unread), (1, &json!(1), &json!(1)));
    assert_eq!(mine[0]["title"], "The webhook To the warehouse was switched off");
    let message = mine[0]["message"].as_str().unwrap();
    assert!(message.starts_with("https://hooks.example/in answered that it is gone (410)."), "{message}");
    assert_eq!((&mine[0]["link"], &mine[0]["related_id"]), (&json!(format!("/settings/webhooks/{id}")), &json!(id)));
    for nobody in [&averse, &t.manager, &t.employee, &other.admin] {
        assert!(inbox(nobody).await.0.is_empty());
    }
    let read = format!("/api/notifications/{}/read", mine[0]["id"].as_str().unwrap());
    t.admin.client.post(&read, json!({})).await.expect(200);
    tell(&db, t.id, 100).await;
    assert_eq!(inbox(&t.admin).await.1, 0, "what comes again is no news");

    // Switched off by hand it is no news; by its receiver once more, it is.
    let at = format!("/api/webhooks/{id}");
    for active in [true, false, true] {
        t.admin.client.patch(&at, json!({"is_active": active})).await.expect(200);
    }
    assert_eq!(tell(&db, t.id, 100).await, 0);
    stack.sql(&gone.replace("gone", "failing")).await;
    assert_eq!(tell(&db, t.id, 100).await, 1);
    let (mine, _) = inbox(&t.admin).await;
    assert_eq!(mine.len(), 2);
    assert!(
        mine[0]["message"].as_str().unwrap().starts_with("Nothing has reached https://hooks.example/in for five days.")
    );
}

#[actix_web::test]
async fn everybody_has_its_own_and_reading_is_open_to_readers() {
    let stack = Stack::start().await;
    let (t, other) = (stack.tenant().await, stack.tenant().await);
    let reader = stack.person_with(Some(t.id), Role::Employee, AccessLevel::Read).await;
    let put = async |person: &Person, kind: &str| {
        let id = new_id();
        let sql = "INSERT INTO notifications (tenant_id, id, user_id, type, title, group_key) VALUES ";
        stack.sql(&format!("{sql} ('{}', '{id}', '{}', '{kind}', 'T', '{id}')", t.id, person.user_id)).await;
        id
    };
    let ids = [put(&reader, "assignment").await, put(&reader, "import").await, put(&reader, "import").await];
    let foreign = put(&t.admin, "import").await;
    let get = async |query: &str| reader.client.get(&format!("/api/notifications{query}")).await.expect(200).data();
    let all = get("").await;
    assert_eq!((&all["total"], &all["unread_count"]), (&json!(3), &json!(3)));
    assert_eq!(get("?type=import").await["total"], 2);
    let (first, mut seen) = (get("?limit=2").await, Vec::new());
    let second = get(&format!("?limit=2&cursor={}", first["next_cursor"].as_str().unwrap())).await;
    for page in [&first, &second] {
        seen.extend(page["notifications"].as_array().unwrap().iter().map(|n| n["id"].clone()));
    }
    assert_eq!(seen, [json!(ids[2]), json!(ids[1]), json!(ids[0])], "newest first, each once");

    let read = reader.client.post(&format!("/api/notifications/{}/read", ids[0]), json!({})).await.expect(200).data();
    assert!(read["is_read"] == true && read["read_at"].is_string(), "{read}");
    let again = reader.client.post(&format!("/api/notifications/{}/read", ids[0]), json!({})).await.expect(200).data();
    assert_eq!(read["read_at"], again["read_at"]);
    let unread = get("?is_read=false").await;
    assert_eq!((&unread["total"], &unread["unread_count"]), (&json!(2), &json!(2)));
    for stranger in [&t.manager, &other.admin] {
        stranger.client.post(&format!("/api/notifications/{}/read", ids[1]), json!({})).await.expect(404);
        stranger.client.delete(&format!("/api/notifications/{}", ids[1])).await.expect(404);
        assert_eq!(
            stranger.client.post("/api/notifications/read-all", json!({})).await.expect(200).data()["updated"],
            0
        );
    }
    assert_eq!(reader.client.post("/api/notifications/read-all", json!({})).await.expect(200).data()["updated"], 2);
    assert_eq!(get("").await["unread_count"], 0);
    reader.client.delete(&format!("/api/notifications/{}", ids[0])).await.expect(403);
    reader.client.put("/api/notifications/settings", json!({"import": false})).await.expect(403);
    t.admin.client.delete(&format!("/api/notifications/{foreign}")).await.expect(200);
    t.admin.client.delete(&format!("/api/notifications/{foreign}")).await.expect(404);
    for (bad, field) in
        [("is_read=maybe", "is_read"), ("type=weather", "type"), ("colour=1", "colour"), ("cursor=x", "cursor")]
    {
        assert_eq!(reader.client.get(&format!("/api/notifications?{bad}")).await.expect(400).fields(), [field]);
    }
}
