//! A day in the life of a new tenant, through the gateway and with nothing but what its people have: links from their
//! e-mails, and the API.

use aisha_testkit::{Client, Stack};
use serde_json::{Value, json};

const PASSWORD: &str = "Correct-Horse-7";

/// Opens the invitation that arrived for an address.
async fn arrive(stack: &Stack, email: &str) -> Client {
    let token = stack.mail.nth(email, 1).await.token();
    let body = json!({ "token": token, "password": PASSWORD });
    let reply = stack.anonymous().post("/api/auth/accept-invitation", body).await.expect(200);
    stack.anonymous().with("authorization", format!("Bearer {}", reply.json()["token"].as_str().unwrap()))
}

fn ids(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|r| r["id"].as_str().unwrap()).collect()
}

#[actix_web::test]
async fn a_day_in_the_life() {
    let stack = Stack::platform().await;
    let root = stack.superadmin().await.client;
    let some = aisha_kernel::new_id().simple().to_string();
    let email = |who: &str| format!("{who}-{some}@example.test");

    // A tenant, its admin, and the admin's people: one by one and from a file.
    let tenant = root.post("/api/tenants", json!({ "name": format!("Day {some}") })).await.expect(201).id();
    let person = |who: &str, role: &str| json!({ "email": email(who), "first_name": who, "last_name": "Day", "role": role, "send_invitation": true });
    let mut admin = person("Ada", "admin");
    admin["tenant_id"] = json!(tenant);
    root.post("/api/users", admin).await.expect(201);
    let ada = arrive(&stack, &email("Ada").to_lowercase()).await;
    ada.post("/api/users", person("mia", "manager")).await.expect(201);
    let csv = format!(
        "email,first_name,last_name,role\n{},Eve,Day,employee\n{},Cid,Day,employee\n",
        email("eve"),
        email("cid")
    );
    let headers = [("content-type", "text/csv")];
    let path = "/api/users/bulk-import?send_invitation=true";
    let done = ada.send("POST", path, &headers, Some(csv.clone().into_bytes())).await.expect(200).data();
    assert_eq!((&done["created"], &done["results"][0]["invited"]), (&json!(2), &json!(true)), "{done}");
    // The same file again makes nobody and sends nothing.
    let again = ada.send("POST", path, &headers, Some(csv.into_bytes())).await.expect(200).data();
    assert_eq!((&again["created"], &again["skipped"]), (&json!(0), &json!(2)));
    let (mia, eve, cid) =
        (arrive(&stack, &email("mia")).await, arrive(&stack, &email("eve")).await, arrive(&stack, &email("cid")).await);
    assert_eq!(stack.mail.all(&email("eve")).len(), 1);

    // The manager imports leads; one row is wrong and says so. Eve has one, the others wait.
    let csv = format!(
        "First name,Last name,E-mail,Company,Owner\nLee,One,one-{some}@example.test,Roofs Ltd,{}\n\
         Lou,Two,two-{some}@example.test,Doors Ltd,\nLia,Three,not an address,,\n",
        email("eve")
    );
    let mapping = json!({ "First name": "first_name", "Last name": "last_name", "E-mail": "email", "Company": "company",
                          "Owner": "assigned_to" });
    let log =
        mia.import("/api/leads/import", csv.as_bytes(), &[("mapping", &mapping.to_string())]).await.expect(201).data();
    assert_eq!((&log["success_count"], &log["error_count"]), (&json!(2), &json!(1)), "{log}");
    let mine = eve.get("/api/leads").await.expect(200).data();
    assert_eq!((&mine["total"], &mine["leads"][0]["first_name"]), (&json!(1), &json!("Lee")));
    let lead = mine["leads"][0]["id"].as_str().unwrap().to_owned();

    // The other one is handed to Eve, who now sees it; Cid sees neither, and is told why.
    let two = mia.get("/api/leads?company=Doors%20Ltd").await.expect(200).data();
    let two = two["leads"][0]["id"].as_str().unwrap().to_owned();
    mia.patch(&format!("/api/leads/{two}"), json!({ "assigned_to": email("eve") })).await.expect(200);
    assert_eq!(eve.get("/api/leads").await.expect(200).data()["total"], 2);
    cid.get(&format!("/api/leads/{lead}")).await.expect(404);
    let why = format!("/api/diagnostics/access?user={}&entity=lead&id={lead}", email("cid"));
    let why = ada.get(&why).await.expect(200).data();
    assert_eq!(why["verdict"]["can_read"], false, "{why}");

    // Eve calls, and notes it down.
    let related = |body: Value| {
        let mut body = body;
        body["related_type"] = json!("lead");
        body["related_id"] = json!(lead);
        body
    };
    let call =
        related(json!({ "type": "call", "subject": "First call", "due_date": "2020-05-01", "due_time": "10:00" }));
    let call = eve.post("/api/activities", call).await.expect(201);
    assert_eq!(call.data()["status"], "overdue");
    let call = format!("/api/activities/{}", call.id());
    eve.post(&format!("{call}/complete"), json!({ "outcome": "wants a roof" })).await.expect(200);
    eve.post("/api/notes", related(json!({ "content": "prefers slate" }))).await.expect(201);
    eve.patch(&format!("/api/leads/{lead}"), json!({ "status": "qualified" })).await.expect(200);

    // Converted, taken back, converted again: the id stays, and so does everything that belongs to it.
    let convert = json!({ "create_account": true, "create_opportunity": true, "opportunity_amount": 5000 });
    let at = format!("/api/leads/{lead}");
    let made = eve.post(&format!("{at}/convert"), convert.clone()).await.expect(200).data();
    assert_eq!((&made["contact"]["id"], &made["account"]["name"]), (&json!(lead), &json!("Roofs Ltd")));
    assert_eq!(eve.get(&call).await.expect(200).data()["related_type"], "contact");
    eve.post(&format!("{at}/convert"), convert.clone()).await.expect(409);
    eve.post(&format!("{at}/convert/rollback"), json!({})).await.expect(200);
    assert_eq!(eve.get(&at).await.expect(200).data()["status"], "qualified");
    eve.get(&format!("/api/contacts/{lead}")).await.expect(404);
    assert_eq!(eve.get(&call).await.expect(200).data()["related_type"], "lead");
    let made = eve.post(&format!("{at}/convert"), convert).await.expect(200).data();
    assert_eq!(made["contact"]["id"], json!(lead));
    let deal = format!("/api/opportunities/{}", made["opportunity"]["id"].as_str().unwrap());

    // Won; and now there is something that a roll-back would lose.
    let won = eve.post(&format!("{deal}/win"), json!({})).await.expect(200).data();
    assert_eq!((&won["outcome"], &won["contact_name"]), (&json!("won"), &json!("Lee One")));
    let refused = eve.post(&format!("{at}/convert/rollback"), json!({})).await.expect(409);
    assert_eq!(refused.code(), "conversion_changed");
    let history = eve.get(&format!("{deal}/history")).await.expect(200).data();
    assert_eq!(history["history"].as_array().unwrap().len(), 2);

    // The numbers add up for whoever asks, and only for what they see.
    for (who, count) in [(&mia, 1), (&eve, 1), (&cid, 0)] {
        let pipeline = who.get("/api/reports/pipeline").await.expect(200).data();
        let stages = pipeline["stages"].as_array().unwrap();
        let won = stages.iter().find(|s| s["stage"] == "closed_won").unwrap();
        assert_eq!(won["count"], count, "{pipeline}");
    }
    let stats = mia.get("/api/reports/dashboard-stats").await.expect(200).data();
    assert_eq!((&stats["total_contacts"], &stats["total_leads"]), (&json!(1), &json!(2)), "{stats}");
    eve.get("/api/reports/performance").await.expect(403);
    mia.get("/api/reports/performance").await.expect(200);

    // Somebody enters the customer again; the check had said so, and the admin merges the two, and could take it back.
    let twin = json!({ "first_name": "Lee", "last_name": "One", "email": format!("one-{some}@example.test"), "mobile": "+1 555 010 9999" });
    let check = json!({ "entity_type": "contact", "data": twin });
    let check = eve.post("/api/validation/check-duplicate-before-create", check).await.expect(200).data();
    assert_eq!(check["has_duplicates"], true);
    let twin = mia.post("/api/contacts", twin).await.expect(201).id();
    let merge = format!("/api/contacts/{lead}/merge");
    mia.post(&merge, json!({ "merge_ids": [twin] })).await.expect(403);
    ada.post(&merge, json!({ "merge_ids": [twin] })).await.expect(200);
    let contacts = mia.get("/api/contacts").await.expect(200).data();
    assert_eq!(ids(&contacts["contacts"]), [lead.as_str()]);
    assert_eq!(contacts["contacts"][0]["mobile"], "+1 555 010 9999");

    // Home with the data: managers export, employees do not.
    eve.get("/api/contacts/export").await.expect(403);
    let file = mia.get("/api/contacts/export").await.expect(200).text;
    assert_eq!(file.lines().count(), 2, "{file}");
    assert!(file.contains("Lee") && file.contains(&lead));

    // Nothing of it is anybody else's.
    let other = stack.tenant().await;
    for path in [&at, &call, &deal, &format!("/api/contacts/{lead}")] {
        other.admin.client.get(path).await.expect(404);
    }
    // Every step left an audit row and an event in the same transaction.
    for (table, what) in
        [("audit_log", "action = 'create' AND table_name = 'contacts'"), ("event_outbox", "event = 'contact.created'")]
    {
        let sql = format!("SELECT count(*) FROM {table} WHERE tenant_id = '{tenant}' AND {what}");
        assert_eq!(stack.count(&sql).await, 3, "{table}");
    }
}
