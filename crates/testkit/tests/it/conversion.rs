//! Leads become contacts and sources accounts, whole or not at all, once, with everything that belongs to them; and back, as
//! long as nobody has built on it.

use aisha_auth::{AccessLevel, Role};
use aisha_crm::ops::transition::LINKS;
use aisha_kernel::new_id;
use aisha_testkit::{Client, Person, Reply, Stack, TestTenant, database};
use futures_util::future::join_all;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use uuid::Uuid;

fn unique(name: &str) -> String {
    format!("{name} {}", new_id().simple())
}

fn count(replies: &[Reply], status: u16) -> usize {
    replies.iter().filter(|r| r.status.as_u16() == status).count()
}

async fn lead_of(t: &TestTenant, person: &Person, more: Value) -> Uuid {
    let mut body = json!({"first_name": "Ada", "last_name": "Lovelace", "assigned_to": person.employee_id});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    t.admin.client.post("/api/leads", body).await.expect(201).id()
}

async fn convert(client: &Client, lead: Uuid, body: Value) -> Reply {
    client.post(&format!("/api/leads/{lead}/convert"), body).await
}

async fn rollback(client: &Client, lead: Uuid) -> Reply {
    client.post(&format!("/api/leads/{lead}/convert/rollback"), json!({})).await
}

async fn with_headers(client: &Client, path: &str, headers: &[(&str, &str)]) -> Reply {
    let headers: Vec<_> = [("content-type", "application/json")].into_iter().chain(headers.iter().copied()).collect();
    client.send("POST", path, &headers, Some(b"{}".to_vec())).await
}

/// Type and what happened, of every record in the way.
fn conflicts(reply: &Reply) -> BTreeSet<(String, Option<String>, String)> {
    let body = reply.json();
    let text = |v: &Value| v.as_str().map(str::to_owned);
    let list = body["conflicts"].as_array().unwrap();
    assert_eq!(list.len(), body["details"].as_array().unwrap().len(), "{body}");
    list.iter().map(|c| (text(&c["type"]).unwrap(), text(&c["id"]), text(&c["what"]).unwrap())).collect()
}

fn conflict(kind: &str, id: Uuid, what: &str) -> (String, Option<String>, String) {
    (kind.into(), Some(id.to_string()), what.into())
}

#[actix_web::test]
async fn a_lead_becomes_a_contact_with_all_that_it_has() {
    let stack = Stack::start().await;
    let t = stack.tenant().await;
    let (admin, me) = (&t.admin.client, &t.employee.client);
    for (entity, name) in
        [("lead", "tier"), ("contact", "tier"), ("lead", "budget"), ("lead", "size"), ("contact", "size")]
    {
        let kind = if name == "size" && entity == "contact" { "number" } else { "text" };
        let field = json!({"entity": entity, "field_name": name, "field_label": name, "field_type": kind});
        admin.post("/api/customfields", field).await.expect(201);
    }
    let company = unique("Engines");
    let given = json!({
        "first_name": "Ada", "last_name": "Lovelace", "email": "Ada@Engines.test", "phone": "+44 20 7946 0958",
        "job_title": "Countess", "score": 42, "score_reason": "keen", "ai_action": "nurture",
        "last_contacted": "2026-11-01", "next_action": "write", "activity_metadata": {"a": 1}, "address_1": "Street 1",
        "address_2": "Flat", "city": "London", "state": "LDN", "zip": "W1", "country": "UK", "notes": "Poet's daughter",
        "tags": ["vip", "maths"], "legacy_id": "L-1", "is_test_data": true
    });
    let mut body = given.clone();
    for (name, value) in [
        ("company", json!(company)),
        ("source", json!("trade_show")),
        ("status", json!("qualified")),
        ("estimated_value", json!(1234.56)),
        ("do_not_call", json!(true)),
        ("metadata", json!({"origin": {"form": 7}})),
        ("custom_fields", json!({"tier": "gold", "budget": "much", "size": "not a number"})),
        ("assigned_to", json!(t.employee.employee_id)),
    ] {
        body[name] = value;
    }
    let before = admin.post("/api/leads", body).await.expect(201);
    let (lead, before) = (before.id(), before.data());
    assert!(!before["last_contacted"].is_null());
    let related = |more: Value| {
        let mut body = json!({"related_type": "lead", "related_id": lead});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let call = admin.post("/api/activities", related(json!({"subject": "Call"}))).await.expect(201).id();
    let note = me.post("/api/notes", related(json!({"content": "Mine"}))).await.expect(201).id();
    let secret = related(json!({"content": "Not the employee's", "is_private": true}));
    let secret = t.manager.client.post("/api/notes", secret).await.expect(201).id();
    me.get(&format!("/api/notes/{secret}")).await.expect(404);
    let trashed = admin.post("/api/activities", related(json!({"subject": "Trashed"}))).await.expect(201).id();
    admin.delete(&format!("/api/activities/{trashed}")).await.expect(200);
    let deal = json!({"name": "Old deal", "lead_id": lead});
    let deal = admin.post("/api/opportunities", deal).await.expect(201).id();

    let options = json!({
        "create_account": true, "create_opportunity": true, "opportunity_amount": "99.50",
        "opportunity_close_date": "2027-01-31", "performed_by": "somebody", "tenant_id": t.id
    });
    let done = convert(me, lead, options).await.expect(200);
    let (contact, account, opportunity) =
        (&done.data()["contact"], &done.data()["account"], &done.data()["opportunity"]);
    assert_eq!(contact["id"], json!(lead), "the same id");
    let shown = me.get(&format!("/api/contacts/{lead}")).await.expect(200).data();
    assert_eq!(&shown, contact);
    for (name, value) in given.as_object().unwrap() {
        let value = match name.as_str() {
            "email" => &json!("ada@engines.test"),
            "last_contacted" => &before[name],
            _ => value,
        };
        assert_eq!(&shown[name], value, "{name}");
    }
    assert_eq!(shown["phone_e164"], "+442079460958");
    assert_eq!((&shown["status"], &shown["lead_source"]), (&json!("prospect"), &json!("trade_show")));
    assert_eq!(shown["assigned_to"], json!(t.employee.employee_id));
    assert_eq!(shown["custom_fields"], json!({"tier": "gold"}), "those of both, where they fit");
    let metadata = json!({"origin": {"form": 7}, "converted_from_lead_id": lead, "do_not_call": true});
    assert_eq!(shown["metadata"], metadata);
    assert_eq!((&account["name"], &account["assigned_to"]), (&json!(company), &json!(t.employee.employee_id)));
    assert_eq!((&shown["account_id"], &shown["account_name"]), (&account["id"], &account["name"]));
    assert_eq!(
        (&opportunity["name"], &opportunity["amount"], &opportunity["stage"]),
        (&json!(company), &json!(99.5), &json!("prospecting"))
    );
    let closes = format!("SELECT count(*) FROM opportunities WHERE lead_id = '{lead}' AND close_date = '2027-01-31'");
    assert_eq!(stack.count(&closes).await, 1);
    assert_eq!(
        (&opportunity["contact_id"], &opportunity["account_id"], &opportunity["lead_id"]),
        (&json!(lead), &account["id"], &json!(lead))
    );
    let after = admin.get(&format!("/api/leads/{lead}")).await.expect(200);
    assert_eq!(after.header("etag"), done.header("etag"));
    let after = after.data();
    assert_eq!(after, done.data()["lead"]);
    assert_eq!((&after["status"], &after["converted_contact_id"]), (&json!("converted"), &json!(lead)));
    assert_eq!(after["converted_account_id"], account["id"]);
    assert_eq!(after["converted_opportunity_id"], opportunity["id"]);
    assert!(after["converted_at"].is_string());
    let deal = admin.get(&format!("/api/opportunities/{deal}")).await.expect(200).data();
    assert_eq!((&deal["contact_id"], &deal["account_id"]), (&json!(lead), &account["id"]));

    for (path, id) in [("activities", call), ("notes", note), ("notes", secret)] {
        // The private note is read by its author.
        let row = t.manager.client.get(&format!("/api/{path}/{id}")).await.expect(200).data();
        assert_eq!((&row["related_type"], &row["related_id"]), (&json!("contact"), &json!(lead)), "{path}");
        assert_eq!((&row["related_name"], &row["version"]), (&json!("Ada Lovelace"), &json!(2)), "{path}");
    }
    me.get(&format!("/api/notes/{note}")).await.expect(200);
    me.get(&format!("/api/notes/{secret}")).await.expect(404);
    let row = admin.post(&format!("/api/activities/{trashed}/restore"), json!({})).await.expect(200).data();
    assert_eq!(row["related_type"], "contact");

    // Written down, in the name of who did it.
    let by = t.employee.user_id;
    for (id, event) in [
        (lead, "contact.created"),
        (lead, "lead.updated"),
        (call, "activity.updated"),
        (note, "note.updated"),
        (secret, "note.updated"),
    ] {
        let sql = format!("SELECT count(*) FROM event_outbox WHERE record_id = '{id}' AND event = '{event}'");
        assert_eq!(stack.count(&sql).await, 1, "{event}");
    }
    for id in [call, note, secret] {
        let sql = format!(
            "SELECT count(*) FROM audit_log WHERE record_id = '{id}' AND action = 'update' AND changed_by = '{by}' \
             AND role = 'employee' AND new_values ->> 'related_type' = 'contact'"
        );
        assert_eq!(stack.count(&sql).await, 1);
    }
    let history = me.get(&format!("/api/leads/{lead}/transitions")).await.expect(200).data();
    assert_eq!((&history["total"], &history["transitions"][0]), (&json!(1), &done.data()["transition"]));
    let data = &history["transitions"][0]["transition_data"];
    assert_eq!((&data["moved"]["activities"], &data["moved"]["notes"]), (&json!(2), &json!(2)));
    assert_eq!((&data["status"], &data["snapshot"]["email"]), (&json!("qualified"), &json!("ada@engines.test")));
    assert_eq!(history["transitions"][0]["performed_by"], json!(by));
}

#[actix_web::test]
async fn who_may_not_does_not() {
    let stack = Stack::start().await;
    let (t, other) = (stack.tenant().await, stack.tenant().await);
    let lead = lead_of(&t, &t.colleague, json!({})).await;
    let read_only = stack.person_with(Some(t.id), Role::Admin, AccessLevel::Read).await;
    let before = super::walk::changes(&stack, t.id).await;
    for path in ["convert", "convert/rollback"] {
        let at = format!("/api/leads/{lead}/{path}");
        other.admin.client.post(&at, json!({})).await.expect(404);
        t.employee.client.post(&at, json!({})).await.expect(404);
        assert_eq!(read_only.client.post(&at, json!({})).await.expect(403).code(), "forbidden");
        let named = format!("{at}?tenant_id={}", t.id);
        assert_eq!(other.admin.client.post(&named, json!({})).await.expect(403).code(), "invalid_tenant");
    }
    t.employee.client.get(&format!("/api/leads/{lead}/transitions")).await.expect(404);
    other.admin.client.get(&format!("/api/leads/{lead}/transitions")).await.expect(404);
    assert_eq!(super::walk::changes(&stack, t.id).await, before);

    let mine = lead_of(&t, &t.employee, json!({"company": unique("Mine")})).await;
    let hidden = t.admin.client.post("/api/accounts", json!({"name": unique("Hidden")})).await.expect(201).data();
    let me = &t.employee.client;
    for (body, field) in [
        (json!({"selected_account_id": hidden["id"]}), "selected_account_id"),
        (json!({"account_id": new_id()}), "selected_account_id"),
        (json!({"create_account": true, "account_id": hidden["id"]}), "selected_account_id"),
        (json!({"create_opportunity": true, "opportunity_stage": "nowhere"}), "opportunity_stage"),
        (json!({"opportunity_amount": -1}), "opportunity_amount"),
        (json!({"opportunity_close_date": "tomorrow"}), "opportunity_close_date"),
        (json!({"assigned_to": new_id()}), "assigned_to"),
        (json!({"create_account": "perhaps"}), "create_account"),
        (json!({"account_custom_fields": {"nope": 1}, "create_account": true}), "account_custom_fields.nope"),
        (json!({"colour": 1}), "colour"),
    ] {
        assert_eq!(convert(me, mine, body.clone()).await.expect(422).fields(), [field], "{body}");
    }
    let nameless = lead_of(&t, &t.employee, json!({})).await;
    assert_eq!(convert(me, nameless, json!({"create_account": true})).await.expect(422).fields(), ["account_name"]);
    // A name that is taken is told; the id only to those who see the account.
    let name = hidden["name"].as_str().unwrap().to_uppercase();
    let taken = convert(me, mine, json!({"account_name": name})).await.expect(409);
    assert_eq!(taken.fields(), ["account_name"]);
    assert!(!taken.text.contains(hidden["id"].as_str().unwrap()), "{}", taken.text);
    let taken = convert(&t.admin.client, mine, json!({"account_name": name})).await.expect(409);
    assert_eq!(taken.fields(), ["account_name"]);
    assert!(taken.text.contains(hidden["id"].as_str().unwrap()), "{}", taken.text);
    let untouched = t.admin.client.get(&format!("/api/leads/{mine}")).await.expect(200).data();
    assert_eq!((&untouched["status"], &untouched["version"]), (&json!("new"), &json!(1)));
    me.get(&format!("/api/contacts/{mine}")).await.expect(404);
    // Chosen, it is used and stays.
    let done = convert(&t.admin.client, mine, json!({"account_id": hidden["id"]})).await.expect(200).data();
    assert_eq!((&done["account"]["id"], &done["opportunity"]), (&hidden["id"], &json!(null)));
    assert_eq!(convert(&t.admin.client, mine, json!({})).await.expect(409).code(), "already_converted");
    // The employee sees the contact, and may not take back what somebody else has done.
    me.get(&format!("/api/contacts/{mine}")).await.expect(200);
    rollback(me, mine).await.expect(403);
    rollback(&t.manager.client, mine).await.expect(403);
    rollback(&t.admin.client, mine).await.expect(200);
    t.admin.client.get(&format!("/api/accounts/{}", hidden["id"].as_str().unwrap())).await.expect(200);
    // A contact of the lead's id, made by hand, is in the way, in the trash as well.
    for deleted in ["NULL", "now()"] {
        stack
            .sql(&format!(
                "INSERT INTO contacts (tenant_id, id, first_name, last_name, deleted_at) \
                 VALUES ('{}', '{nameless}', 'A', 'B', {deleted})",
                t.id
            ))
            .await;
        let refused = convert(&t.admin.client, nameless, json!({})).await.expect(409);
        assert_eq!(refused.text.contains("trash"), deleted == "now()", "{}", refused.text);
        stack.sql(&format!("DELETE FROM contacts WHERE id = '{nameless}'")).await;
    }
}

#[actix_web::test]
async fn once_is_once() {
    let stack = Stack::start().await;
    let t = stack.tenant().await;
    let me = &t.employee.client;
    // The same key: one conversion, the same answer.
    let lead = lead_of(&t, &t.employee, json!({})).await;
    let (at, key) = (format!("/api/leads/{lead}/convert"), new_id().to_string());
    let headers = [("idempotency-key", key.as_str())];
    let keyed = join_all((0..5).map(|_| with_headers(me, &at, &headers))).await;
    assert_eq!(count(&keyed, 200), 5);
    assert!(keyed.iter().all(|r| r.text == keyed[0].text));
    assert_eq!(stack.count(&format!("SELECT count(*) FROM entity_transitions WHERE entity_id = '{lead}'")).await, 1);

    // Without one: exactly one wins, whether or not the version is named.
    for headers in [vec![], vec![("if-match", "\"1\"")]] {
        let lead = lead_of(&t, &t.employee, json!({"company": unique("Race")})).await;
        let at = format!("/api/leads/{lead}/convert");
        let replies = join_all((0..8).map(|_| with_headers(me, &at, &headers))).await;
        assert_eq!((count(&replies, 200), count(&replies, 409)), (1, 7));
        assert!(replies.iter().filter(|r| r.status == 409).all(|r| r.code() == "already_converted"));
        let stale = with_headers(me, &format!("{at}/rollback"), &[("if-match", "\"1\"")]).await;
        assert_eq!(stale.expect(412).code(), "precondition_failed");
    }
    let lead = lead_of(&t, &t.employee, json!({})).await;
    me.patch(&format!("/api/leads/{lead}"), json!({"city": "Rome"})).await.expect(200);
    with_headers(me, &format!("/api/leads/{lead}/convert"), &[("if-match", "\"1\"")]).await.expect(412);

    // There and back at once, again and again: always one or the other, never half.
    for _ in 0..6 {
        let (there, back) = futures_util::future::join(convert(me, lead, json!({})), rollback(me, lead)).await;
        assert!(matches!(there.status.as_u16(), 200 | 409) && matches!(back.status.as_u16(), 200 | 409));
        let shown = me.get(&format!("/api/leads/{lead}")).await.expect(200).data();
        let contact = me.get(&format!("/api/contacts/{lead}")).await.status.as_u16();
        assert_eq!(contact == 200, shown["status"] == "converted", "{shown}");
        assert_eq!(shown["converted_contact_id"].is_string(), shown["status"] == "converted");
    }
    if me.get(&format!("/api/contacts/{lead}")).await.status == 404 {
        convert(me, lead, json!({})).await.expect(200);
    }
    let replies = join_all((0..4).map(|_| rollback(me, lead))).await;
    assert_eq!((count(&replies, 200), count(&replies, 409)), (1, 3));
}

#[actix_web::test]
async fn a_thousand_activities_follow_and_come_back() {
    let stack = Stack::start().await;
    let t = stack.tenant().await;
    let me = &t.employee.client;
    let lead = lead_of(&t, &t.employee, json!({"status": "contacted"})).await;
    let many: Vec<Value> = (0..1000)
        .map(|i| json!({"subject": format!("Call {i}"), "related_type": "lead", "related_id": lead}))
        .collect();
    let made = t.manager.client.post("/api/activities/bulk", json!({"create": many})).await.expect(200).data();
    assert_eq!(made["succeeded"], 1000);
    let of = |kind: &str| {
        format!(
            "SELECT count(*) FROM activities WHERE related_type = '{kind}' AND related_id = '{lead}' AND tenant_id = '{}'",
            t.id
        )
    };
    let started = std::time::Instant::now();
    convert(me, lead, json!({})).await.expect(200);
    assert!(started.elapsed().as_secs() < 60, "{:?}", started.elapsed());
    assert_eq!((stack.count(&of("lead")).await, stack.count(&of("contact")).await), (0, 1000));
    let events = format!(
        "SELECT count(*) FROM event_outbox WHERE tenant_id = '{}' AND event = 'activity.updated' \
         AND data ->> 'related_type' = 'contact' AND previous ->> 'related_type' = 'lead'",
        t.id
    );
    assert_eq!(stack.count(&events).await, 1000);
    let seen = me.get(&format!("/api/activities?related_type=contact&related_id={lead}&limit=1")).await.expect(200);
    assert_eq!(seen.data()["total"], 1000);

    let back = rollback(me, lead).await.expect(200).data();
    assert_eq!((stack.count(&of("lead")).await, stack.count(&of("contact")).await), (1000, 0));
    assert_eq!((&back["lead"]["status"], &back["lead"]["converted_at"]), (&json!("contacted"), &json!(null)));
    assert_eq!(back["removed"], json!({"contact_id": lead, "account_id": null, "opportunity_id": null}));
    me.get(&format!("/api/contacts/{lead}")).await.expect(404);
    let gone = "SELECT count(*) FROM event_outbox WHERE event = 'contact.deleted' AND record_id = ";
    assert_eq!(stack.count(&format!("{gone}'{lead}'")).await, 1);
    // The id is free again.
    convert(me, lead, json!({"create_account": true, "account_name": unique("Again"), "create_opportunity": true}))
        .await
        .expect(200);
    rollback(me, lead).await.expect(200);
    let history = me.get(&format!("/api/leads/{lead}/transitions")).await.expect(200).data();
    let actions: Vec<&str> =
        history["transitions"].as_array().unwrap().iter().map(|t| t["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["rollback", "convert", "rollback", "convert"]);
    let left = format!(
        "SELECT (SELECT count(*) FROM accounts WHERE tenant_id = '{0}') + \
        (SELECT count(*) FROM opportunities WHERE tenant_id = '{0}') + (SELECT count(*) FROM contacts WHERE tenant_id = '{0}')",
        t.id
    );
    assert_eq!(stack.count(&left).await, 0);
    assert_eq!(rollback(me, lead).await.expect(409).code(), "conflict");
}

#[actix_web::test]
async fn what_was_done_since_stands_in_the_way() {
    let stack = Stack::start().await;
    let t = stack.tenant().await;
    let (admin, me) = (&t.admin.client, &t.employee.client);
    let lead = lead_of(&t, &t.employee, json!({"company": unique("Since")})).await;
    let old = json!({"subject": "Old", "related_type": "lead", "related_id": lead});
    let old = me.post("/api/activities", old).await.expect(201).id();
    let deal = json!({"name": "Old deal", "lead_id": lead, "assigned_to": t.employee.employee_id});
    let deal = admin.post("/api/opportunities", deal).await.expect(201).id();
    let done = convert(me, lead, json!({"create_account": true, "create_opportunity": true})).await.expect(200).data();
    let id = |name: &str| done[name]["id"].as_str().unwrap().parse::<Uuid>().unwrap();
    let (account, opportunity) = (id("account"), id("opportunity"));

    // What does not count: work on what followed, and the lead's own fields.
    me.patch(&format!("/api/activities/{old}"), json!({"status": "completed"})).await.expect(200);
    me.patch(&format!("/api/opportunities/{deal}"), json!({"next_step": "call"})).await.expect(200);
    me.patch(&format!("/api/leads/{lead}"), json!({"city": "Rome"})).await.expect(200);

    let at = |path: &str| format!("/api/{path}");
    let make = async |client: &Client, path: &str, body: Value| client.post(&at(path), body).await.expect(201).id();
    let related =
        |kind: &str, id: Uuid| json!({"subject": "New", "content": "New", "related_type": kind, "related_id": id});
    let only = |mut v: Value, drop: &str| {
        v.as_object_mut().unwrap().remove(drop);
        v
    };
    let activity = make(me, "activities", only(related("contact", lead), "content")).await;
    let note = make(me, "notes", only(related("account", account), "subject")).await;
    let note2 = make(me, "notes", only(related("opportunity", opportunity), "subject")).await;
    let second = make(me, "opportunities", json!({"name": "Second", "contact_id": lead})).await;
    let person = make(me, "contacts", json!({"first_name": "B", "last_name": "C", "account_id": account})).await;
    let money =
        json!({"transaction_type": "income", "amount": 5, "transaction_date": "2026-11-22", "account_id": account});
    // Not the employee's: it is listed without its name.
    let hidden = make(admin, "cashflow", money).await;
    let source = make(me, "bizdevsources", json!({"company_name": unique("Source")})).await;
    stack.sql(&format!("UPDATE bizdev_sources SET contact_id = '{lead}' WHERE id = '{source}'")).await;
    let other_lead = make(me, "leads", json!({"first_name": "D", "last_name": "E", "account_id": account})).await;
    me.patch(&at(&format!("opportunities/{opportunity}")), json!({"stage": "proposal"})).await.expect(200);
    me.patch(&at(&format!("accounts/{account}")), json!({"industry": "Steam"})).await.expect(200);

    let before = super::walk::changes(&stack, t.id).await;
    let refused = rollback(me, lead).await.expect(409);
    assert_eq!(refused.code(), "conversion_changed");
    let common = [
        conflict("account", account, "was changed"),
        conflict("opportunity", opportunity, "was changed"),
        conflict("activity", activity, "was linked to the contact"),
        conflict("opportunity", second, "was linked to the contact"),
        conflict("bizdev_source", source, "was linked to the contact"),
        conflict("note", note, "was linked to the account"),
        conflict("contact", person, "was linked to the account"),
        conflict("lead", other_lead, "was linked to the account"),
        conflict("note", note2, "was linked to the opportunity"),
    ];
    let mut expected: BTreeSet<_> = common.into();
    let mut all = expected.clone();
    expected.insert(("cash_flow".into(), None, "was linked to the account".into()));
    all.insert(conflict("cash_flow", hidden, "was linked to the account"));
    assert_eq!(conflicts(&refused), expected);
    assert!(!refused.text.contains(&hidden.to_string()));
    assert!(refused.json()["conflicts"].as_array().unwrap().iter().any(|c| c["name"] == "B C"));
    assert_eq!(conflicts(&rollback(admin, lead).await.expect(409)), all);
    assert_eq!(super::walk::changes(&stack, t.id).await, before, "nothing was taken back");
    me.get(&format!("/api/contacts/{lead}")).await.expect(200);

    // Undone one after the other; what was edited stays edited.
    for (path, id) in [
        ("activities", activity),
        ("notes", note),
        ("notes", note2),
        ("opportunities", second),
        ("contacts", person),
        ("leads", other_lead),
        ("bizdevsources", source),
        ("cashflow", hidden),
    ] {
        admin.delete(&format!("/api/{path}/{id}")).await.expect(200);
    }
    let left = conflicts(&rollback(me, lead).await.expect(409));
    let edited: BTreeSet<_> =
        [conflict("account", account, "was changed"), conflict("opportunity", opportunity, "was changed")].into();
    assert_eq!(left, edited);
    admin.delete(&format!("/api/opportunities/{opportunity}")).await.expect(200);
    let left = conflicts(&rollback(me, lead).await.expect(409));
    assert!(left.contains(&conflict("opportunity", opportunity, "was moved to the trash")), "{left:?}");
    admin.delete(&format!("/api/opportunities/trash/{opportunity}")).await.expect(200);
    let left = conflicts(&rollback(me, lead).await.expect(409));
    assert!(left.contains(&conflict("opportunity", opportunity, "was removed for good")), "{left:?}");

    // Work on what followed did not count, and is kept.
    let lead = lead_of(&t, &t.employee, json!({})).await;
    let old = json!({"subject": "Old", "related_type": "lead", "related_id": lead});
    let old = me.post("/api/activities", old).await.expect(201).id();
    let deal = me.post("/api/opportunities", json!({"name": "Deal", "lead_id": lead})).await.expect(201).id();
    convert(me, lead, json!({"create_opportunity": true})).await.expect(200);
    me.patch(&format!("/api/activities/{old}"), json!({"status": "completed"})).await.expect(200);
    me.patch(&format!("/api/opportunities/{deal}"), json!({"next_step": "call"})).await.expect(200);
    rollback(me, lead).await.expect(200);
    let old = me.get(&format!("/api/activities/{old}")).await.expect(200).data();
    assert_eq!((&old["status"], &old["related_type"]), (&json!("completed"), &json!("lead")));
    let deal = me.get(&format!("/api/opportunities/{deal}")).await.expect(200).data();
    assert_eq!((&deal["next_step"], &deal["contact_id"]), (&json!("call"), &json!(null)));
}

/// An activity that is added while the contact is being removed is refused or blocks the removal; it never dangles.
#[actix_web::test]
async fn nothing_is_linked_to_what_is_being_removed() {
    let stack = Stack::start().await;
    let t = stack.tenant().await;
    let me = &t.employee.client;
    for _ in 0..10 {
        let lead = lead_of(&t, &t.employee, json!({})).await;
        convert(me, lead, json!({})).await.expect(200);
        let body = json!({"subject": "Late", "related_type": "contact", "related_id": lead});
        let (added, back) = futures_util::future::join(me.post("/api/activities", body), rollback(me, lead)).await;
        assert_eq!(
            (added.status == 201, back.status == 200),
            (back.status == 409, added.status == 422),
            "{} {}",
            added.text,
            back.text
        );
    }
    let dangling = format!(
        "SELECT count(*) FROM activities a WHERE tenant_id = '{}' AND related_type = 'contact' \
         AND NOT EXISTS (SELECT FROM contacts c WHERE c.id = a.related_id)",
        t.id
    );
    assert_eq!(stack.count(&dangling).await, 0);
}

#[actix_web::test]
async fn a_source_becomes_an_account_and_back() {
    let stack = Stack::start().await;
    let (t, other) = (stack.tenant().await, stack.tenant().await);
    let (admin, me) = (&t.admin.client, &t.employee.client);
    let company = unique("Source");
    let body = json!({
        "company_name": company, "dba_name": "SRC", "industry": "Steam", "website": "https://src.test",
        "contact_person": "Lovelace, Ada", "email": "ada@src.test", "phone": "+44 20 7946 0958", "source_type": "referral",
        "address_line_1": "Street 1", "city": "London", "state_province": "LDN", "postal_code": "W1", "country": "UK",
        "notes": "Good", "tags": ["a"], "status": "inactive", "assigned_to": t.employee.employee_id
    });
    let source = admin.post("/api/bizdevsources", body).await.expect(201).id();
    let at = |path: &str| format!("/api/bizdevsources/{source}/{path}");
    let note = json!({"content": "Call them", "related_type": "bizdev_source", "related_id": source});
    let note = me.post("/api/notes", note).await.expect(201).id();
    for path in ["promote", "promote/rollback", "archive"] {
        other.admin.client.post(&at(path), json!({})).await.expect(404);
        t.colleague.client.post(&at(path), json!({})).await.expect(404);
    }
    other.admin.client.get(&at("transitions")).await.expect(404);
    me.post(&at("promote"), json!({"delete_source": true})).await.expect(403);

    let path = at("promote");
    let replies = join_all((0..4).map(|_| me.post(&path, json!({})))).await;
    assert_eq!((count(&replies, 200), count(&replies, 409)), (1, 3));
    assert!(replies.iter().filter(|r| r.status == 409).all(|r| r.code() == "already_promoted"));
    let done = replies.iter().find(|r| r.status == 200).unwrap().data();
    let (account, contact) = (&done["account"], &done["contact"]);
    for (name, value) in [
        ("name", json!(company)),
        ("industry", json!("Steam")),
        ("website", json!("https://src.test")),
        ("email", json!("ada@src.test")),
        ("phone", json!("+44 20 7946 0958")),
        ("address_1", json!("Street 1")),
        ("city", json!("London")),
        ("state", json!("LDN")),
        ("zip", json!("W1")),
        ("description", json!("Good")),
        ("tags", json!(["a"])),
        ("assigned_to", json!(t.employee.employee_id)),
        ("metadata", json!({"promoted_from_bizdev_source_id": source, "dba_name": "SRC"})),
    ] {
        assert_eq!(account[name], value, "{name}");
    }
    assert_eq!((&contact["first_name"], &contact["last_name"]), (&json!("Ada"), &json!("Lovelace")));
    assert_eq!((&contact["lead_source"], &contact["account_id"]), (&json!("referral"), &account["id"]));
    let shown = me.get(&format!("/api/bizdevsources/{source}")).await.expect(200).data();
    assert_eq!(shown, done["bizdev_source"]);
    assert_eq!(
        (&shown["status"], &shown["account_id"], &shown["contact_id"]),
        (&json!("promoted"), &account["id"], &contact["id"])
    );
    let moved = me.get(&format!("/api/notes/{note}")).await.expect(200).data();
    assert_eq!((&moved["related_type"], &moved["related_id"]), (&json!("account"), &account["id"]));

    me.patch(&format!("/api/contacts/{}", contact["id"].as_str().unwrap()), json!({"city": "Rome"})).await.expect(200);
    let refused = me.post(&at("promote/rollback"), json!({})).await.expect(409);
    let id = contact["id"].as_str().unwrap().parse().unwrap();
    assert_eq!(conflicts(&refused), BTreeSet::from([conflict("contact", id, "was changed")]));
    let history = me.get(&at("transitions")).await.expect(200).data();
    assert_eq!((&history["total"], &history["transitions"][0]["action"]), (&json!(1), &json!("promote")));

    // To an account that is there, into the trash, and back: the account keeps what is its own.
    let own = admin.post("/api/accounts", json!({"name": unique("Own")})).await.expect(201).id();
    let its = json!({"content": "Its own", "related_type": "account", "related_id": own});
    let its = admin.post("/api/notes", its).await.expect(201).id();
    let body = json!({"company_name": unique("Second"), "email": "info@second.test"});
    let source = admin.post("/api/bizdevsources", body).await.expect(201).id();
    let at = |path: &str| format!("/api/bizdevsources/{source}/{path}");
    let note = json!({"content": "Theirs", "related_type": "bizdev_source", "related_id": source});
    let note = admin.post("/api/notes", note).await.expect(201).id();
    let options = json!({"selected_account_id": own, "delete_source": true, "create_contact": false});
    let done = admin.post(&at("promote"), options).await.expect(200).data();
    assert_eq!((&done["account"]["id"], &done["contact"]), (&json!(own), &json!(null)));
    assert!(done["bizdev_source"]["deleted_at"].is_string());
    admin.get(&format!("/api/bizdevsources/{source}")).await.expect(404);
    let back = admin.post(&at("promote/rollback"), json!({})).await.expect(200).data();
    assert_eq!((&back["bizdev_source"]["status"], &back["removed"]["account_id"]), (&json!("active"), &json!(null)));
    admin.get(&format!("/api/bizdevsources/{source}")).await.expect(200);
    let related =
        async |id: Uuid| admin.get(&format!("/api/notes/{id}")).await.expect(200).data()["related_type"].clone();
    assert_eq!((related(note).await, related(its).await), (json!("bizdev_source"), json!("account")));

    // A name that is taken, then under another one, and all of it back.
    let taken = json!({"account_name": company.to_uppercase()});
    assert_eq!(admin.post(&at("promote"), taken).await.expect(409).fields(), ["account_name"]);
    let done = admin.post(&at("promote"), json!({"account_name": unique("Third")})).await.expect(200).data();
    assert_eq!(done["contact"]["first_name"], "Info");
    admin.post(&at("promote/rollback"), json!({})).await.expect(200);
    admin.get(&format!("/api/accounts/{}", done["account"]["id"].as_str().unwrap())).await.expect(404);
    assert_eq!(related(note).await, "bizdev_source");

    let archived = admin.post(&at("archive"), json!({})).await.expect(200).data();
    assert_eq!(archived["status"], "archived");
    assert!(archived["archived_at"].is_string());
    assert_eq!(admin.post(&at("archive"), json!({})).await.expect(200).data(), archived);
    let active = admin.patch(&format!("/api/bizdevsources/{source}"), json!({"status": "active"})).await.expect(200);
    assert_eq!(active.data()["archived_at"], json!(null));
}

/// Every column that can hold a record which a transition makes is looked at before that record is removed.
#[actix_web::test]
async fn every_link_is_known() {
    let db = database::admin().await;
    let sql = "SELECT c.conrelid::regclass::text, a.attname::text, c.confrelid::regclass::text FROM pg_constraint c \
               JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = c.conkey[2] \
               WHERE c.contype = 'f' AND c.confdeltype <> 'c' \
               AND c.confrelid IN ('contacts'::regclass, 'accounts'::regclass, 'opportunities'::regclass)";
    let there: BTreeSet<(String, String, String)> =
        db.query(sql, &[]).await.unwrap().iter().map(|r| (r.get(0), r.get(1), r.get(2))).collect();
    let plural = |kind: &str| {
        match kind {
            "contact" => "contacts",
            "account" => "accounts",
            _ => "opportunities",
        }
        .to_owned()
    };
    let known: BTreeSet<_> = LINKS
        .iter()
        .filter_map(|(_, table, _, column, to)| Some(((*table).to_owned(), (*column).to_owned(), plural((*to)?))))
        .collect();
    assert_eq!(there, known);
    let sql = "SELECT DISTINCT attrelid::regclass::text FROM pg_attribute a JOIN pg_class c ON c.oid = attrelid \
               WHERE attname = 'related_id' AND relkind = 'r' AND relnamespace = 'public'::regnamespace";
    let mut there: BTreeSet<String> = db.query(sql, &[]).await.unwrap().iter().map(|r| r.get(0)).collect();
    // Says what somebody was told of then; a conversion does not change that.
    assert!(there.remove("notifications"));
    let known: BTreeSet<String> = LINKS.iter().filter(|l| l.4.is_none()).map(|l| l.1.to_owned()).collect();
    assert_eq!(there, known);
}
