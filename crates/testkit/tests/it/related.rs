//! Activities and notes: seen with the record they belong to, and following it.

use aisha_testkit::{Person, Stack, TestTenant};
use serde_json::{Value, json};
use uuid::Uuid;

const RELATED: [(&str, &str, &str); 5] = [
    ("account", "accounts", r#"{"name":"Acme"}"#),
    ("bizdev_source", "bizdevsources", r#"{"company_name":"Acme"}"#),
    ("contact", "contacts", r#"{"first_name":"Ann","last_name":"Lee"}"#),
    ("lead", "leads", r#"{"first_name":"Ann","last_name":"Lee"}"#),
    ("opportunity", "opportunities", r#"{"name":"Roof"}"#),
];

async fn record(person: &Person, plural: &str, sample: &str, owner: Option<Uuid>) -> Uuid {
    let mut body: Value = serde_json::from_str(sample).unwrap();
    body["assigned_to"] = json!(owner);
    person.client.post(&format!("/api/{plural}"), body).await.expect(201).id()
}

async fn attach(t: &TestTenant, kind: &str, id: Uuid) -> [String; 2] {
    let link = json!({ "related_type": kind, "related_id": id });
    let mut made = Vec::new();
    for (plural, field) in [("activities", "subject"), ("notes", "content")] {
        let mut body = link.clone();
        body[field] = json!("follow up");
        made.push(format!(
            "/api/{plural}/{}",
            t.admin.client.post(&format!("/api/{plural}"), body).await.expect(201).id()
        ));
    }
    [made.remove(0), made.remove(0)]
}

#[actix_web::test]
async fn what_belongs_to_a_record_is_seen_with_it() {
    let stack = Stack::start().await;
    let (t, other) = (stack.tenant().await, stack.tenant().await);
    for (kind, plural, sample) in RELATED {
        let id = record(&t.admin, plural, sample, Some(t.employee.employee_id)).await;
        let attached = attach(&t, kind, id).await;
        for path in &attached {
            let seen = t.employee.client.get(path).await.expect(200).data();
            assert_eq!(seen["related_id"], json!(id));
            assert!(["Acme", "Ann Lee", "Roof"].contains(&seen["related_name"].as_str().unwrap()), "{seen}");
            t.colleague.client.get(path).await.expect(404);
            other.admin.client.get(path).await.expect(404);
        }
        for list in ["activities", "notes"] {
            for query in ["", "&q=follow", "&sort=updated_at", "&count=exact", "&limit=1"] {
                let path = format!("/api/{list}?related_id={id}{query}");
                let mine = t.employee.client.get(&path).await.expect(200).data();
                assert_eq!((&mine["total"], mine[list].as_array().unwrap().len()), (&json!(1), 1), "{path}");
                let theirs = t.colleague.client.get(&path).await.expect(200).data();
                assert_eq!((&theirs["total"], theirs[list].as_array().unwrap().len()), (&json!(0), 0), "{path}");
            }
        }
        // Handing the record over hands over what belongs to it, and leaves no trace on it.
        let before = t.admin.client.get(&attached[0]).await.expect(200).data();
        let over = json!({ "assigned_to": t.colleague.employee_id });
        t.employee.client.patch(&format!("/api/{plural}/{id}"), over).await.expect(200);
        for path in &attached {
            t.employee.client.get(path).await.expect(404);
            t.colleague.client.get(path).await.expect(200);
        }
        assert_eq!(t.admin.client.get(&attached[0]).await.expect(200).data()["version"], before["version"]);
        // A purge unlinks.
        t.admin.client.delete(&format!("/api/{plural}/{id}")).await.expect(200);
        t.admin.client.delete(&format!("/api/{plural}/trash/{id}")).await.expect(200);
        for path in &attached {
            let left = t.admin.client.get(path).await.expect(200).data();
            assert_eq!(
                (&left["related_type"], &left["related_id"], &left["related_name"]),
                (&Value::Null, &Value::Null, &Value::Null)
            );
            t.colleague.client.get(path).await.expect(404);
        }
    }
}

#[actix_web::test]
async fn a_link_leads_to_what_the_caller_may_use() {
    let stack = Stack::start().await;
    let (t, other) = (stack.tenant().await, stack.tenant().await);
    let foreign = record(&other.admin, "contacts", RELATED[2].2, None).await;
    let hidden = record(&t.admin, "contacts", RELATED[2].2, None).await;
    let trashed = record(&t.employee, "contacts", RELATED[2].2, None).await;
    t.admin.client.delete(&format!("/api/contacts/{trashed}")).await.expect(200);
    let own = record(&t.employee, "contacts", RELATED[2].2, None).await;
    let note = |kind: Value, id: Value| json!({ "content": "x", "related_type": kind, "related_id": id });
    for id in [foreign, hidden, trashed, Uuid::nil()] {
        let reply = t.employee.client.post("/api/notes", note(json!("contact"), json!(id))).await.expect(422);
        assert_eq!(reply.fields(), ["related_id"]);
    }
    let wrong_type = t.employee.client.post("/api/notes", note(json!("lead"), json!(own))).await.expect(422);
    assert_eq!(wrong_type.fields(), ["related_id"]);
    let no_type = t.employee.client.post("/api/notes", note(Value::Null, json!(own))).await.expect(422);
    assert_eq!(no_type.fields(), ["related_id"]);
    let at = t.employee.client.post("/api/notes", note(json!("contact"), json!(own))).await.expect(201);
    let at = format!("/api/notes/{}", at.id());
    assert_eq!(
        t.employee.client.patch(&at, json!({ "related_id": hidden })).await.expect(422).fields(),
        ["related_id"]
    );
    // A note that the caller may not see the record of any more can still be changed.
    let kept = t.employee.client.patch(&at, json!({ "content": "y", "related_id": own })).await.expect(200).data();
    assert_eq!(kept["related_name"], "Ann Lee");
    // In bulk, a bad link fails its own item only.
    let items = json!({ "create": [note(json!("contact"), json!(own)), note(json!("contact"), json!(hidden))] });
    let done = t.employee.client.post("/api/notes/bulk", items).await.expect(200).data();
    assert_eq!((&done["succeeded"], &done["failed"]), (&json!(1), &json!(1)));
    assert_eq!(done["results"][1]["details"][0]["field"], "related_id");
}

#[actix_web::test]
async fn names_follow_the_record() {
    let stack = Stack::start().await;
    let t = stack.tenant().await;
    let contact = record(&t.admin, "contacts", RELATED[2].2, None).await;
    let deal = t
        .admin
        .client
        .post("/api/opportunities", json!({ "name": "Roof", "contact_id": contact }))
        .await
        .expect(201)
        .id();
    let attached = attach(&t, "opportunity", deal).await;
    let change = json!({ "first_name": "Anna", "email": "anna@example.test" });
    t.admin.client.patch(&format!("/api/contacts/{contact}"), change).await.expect(200);
    let seen = t.admin.client.get(&format!("/api/opportunities/{deal}")).await.expect(200).data();
    assert_eq!((&seen["contact_name"], &seen["contact_email"]), (&json!("Anna Lee"), &json!("anna@example.test")));
    assert_eq!(seen["version"], 1);
    t.admin.client.patch(&format!("/api/opportunities/{deal}"), json!({ "name": "New roof" })).await.expect(200);
    let seen = t.admin.client.get(&attached[0]).await.expect(200).data();
    assert_eq!((&seen["related_name"], &seen["related_email"]), (&json!("New roof"), &json!("anna@example.test")));
}

#[actix_web::test]
async fn a_private_note_is_its_authors_and_the_admins() {
    let stack = Stack::start().await;
    let t = stack.tenant().await;
    let contact = record(&t.admin, "contacts", RELATED[2].2, Some(t.colleague.employee_id)).await;
    t.admin
        .client
        .patch(&format!("/api/contacts/{contact}"), json!({ "assigned_to": t.employee.employee_id }))
        .await
        .expect(200);
    let body =
        json!({ "content": "salary talk", "is_private": true, "related_type": "contact", "related_id": contact });
    let id = t.employee.client.post("/api/notes", body).await.expect(201).id();
    let counts = async |person: &Person| {
        person.client.get(&format!("/api/notes/{id}")).await.expect(200);
        person.client.get("/api/notes?q=salary").await.expect(200).data()["total"].clone()
    };
    assert_eq!((counts(&t.employee).await, counts(&t.admin).await), (json!(1), json!(1)));
    for person in [&t.manager, &t.colleague] {
        person.client.get(&format!("/api/notes/{id}")).await.expect(404);
        for query in ["", "?q=salary", "?q=salary&count=exact", "?count=exact"] {
            let list = person.client.get(&format!("/api/notes{query}")).await.expect(200).data();
            assert_eq!((&list["total"], list["notes"].as_array().unwrap().len()), (&json!(0), 0), "{query}");
        }
        person.client.patch(&format!("/api/notes/{id}"), json!({ "content": "z" })).await.expect(404);
    }
    // Nobody hides another one's note by making it private.
    let open = t.employee.client.post("/api/notes", json!({ "content": "open" })).await.expect(201).id();
    t.manager.client.patch(&format!("/api/notes/{open}"), json!({ "is_private": true })).await.expect(403);
}

#[actix_web::test]
async fn a_lead_becomes_converted_by_conversion_only() {
    let stack = Stack::start().await;
    let t = stack.tenant().await;
    let person = json!({ "first_name": "Ann", "last_name": "Lee", "status": "converted" });
    assert_eq!(t.admin.client.post("/api/leads", person).await.expect(422).fields(), ["status"]);
    let id = record(&t.admin, "leads", RELATED[3].2, None).await;
    let at = format!("/api/leads/{id}");
    assert_eq!(t.admin.client.patch(&at, json!({ "status": "converted" })).await.expect(422).fields(), ["status"]);
    t.admin.client.patch(&at, json!({ "status": "Qualified" })).await.expect(200);
    let csv = "first_name,last_name,status\nA,B,new\nC,D,converted\n";
    let log = t.admin.client.import("/api/leads/import", csv.as_bytes(), &[]).await.expect(201).data();
    assert_eq!((&log["success_count"], &log["error_count"]), (&json!(1), &json!(1)));
}
