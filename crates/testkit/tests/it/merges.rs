//! Merging: what survives, what moves, who may, and that an undo leaves nothing behind.

use aisha_crm::ops::merge::links::{LINKS, Way};
use aisha_kernel::new_id;
use aisha_testkit::{Client, Reply, Stack, TestTenant, database};
use futures_util::future::join_all;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

async fn create(me: &Client, plural: &str, body: Value) -> Uuid {
    me.post(&format!("/api/{plural}"), body).await.expect(201).id()
}

async fn merge(me: &Client, plural: &str, survivor: Uuid, body: Value) -> Reply {
    me.post(&format!("/api/{plural}/{survivor}/merge"), body).await
}

async fn undo(me: &Client, merge_id: &Value) -> Reply {
    me.post(&format!("/api/merges/{}/undo", merge_id.as_str().unwrap()), json!({})).await
}

/// Every row of the tables that a merge touches, without what counts changes: by table and id.
async fn snapshot(stack: &Stack, t: &TestTenant) -> BTreeMap<(String, String), Value> {
    let _ = stack;
    let db = database::admin().await;
    let mut all = BTreeMap::new();
    for table in
        ["accounts", "activities", "bizdev_sources", "cash_flow", "contacts", "leads", "notes", "opportunities"]
    {
        let sql = format!(
            "SELECT id::text, to_jsonb(t) - '{{version,updated_at}}'::text[] FROM {table} t WHERE tenant_id = $1"
        );
        for row in db.query(&sql, &[&t.id]).await.unwrap() {
            all.insert((table.to_owned(), row.get::<_, String>(0)), row.get::<_, Value>(1));
        }
    }
    all
}

/// One record of each kind that can point at another, for `to`, with the field that points.
async fn point_at(me: &Client, entity: &str, to: Uuid) {
    for (plural, field, body) in [
        ("activities", "related_id", json!({"subject": "Call", "related_type": entity})),
        ("notes", "related_id", json!({"content": "Noted", "related_type": entity})),
        ("contacts", "account_id", json!({"first_name": "C", "last_name": "D"})),
        ("leads", "account_id", json!({"first_name": "L", "last_name": "M"})),
        ("opportunities", "account_id", json!({"name": "Deal"})),
        ("opportunities", "contact_id", json!({"name": "Deal"})),
        ("opportunities", "lead_id", json!({"name": "Deal"})),
        (
            "cashflow",
            "account_id",
            json!({"transaction_type": "income", "amount": 12.5, "transaction_date": "2026-11-21"}),
        ),
    ] {
        if field == "related_id" || field == format!("{entity}_id") {
            let mut body = body;
            body[field] = json!(to);
            create(me, plural, body).await;
        }
    }
}

/// What no route sets: the ends of a conversion and of a promotion.
async fn point_at_quietly(stack: &Stack, t: &TestTenant, entity: &str, to: Uuid, other: Uuid) {
    let me = &t.admin.client;
    let source = create(me, "bizdevsources", json!({"company_name": "Source"})).await;
    let lead = create(me, "leads", json!({"first_name": "Con", "last_name": "Verted"})).await;
    let set = match entity {
        "account" => format!(
            "UPDATE bizdev_sources SET account_id = '{to}' WHERE id = '{source}'; \
             UPDATE leads SET status = 'converted', converted_at = now(), converted_account_id = '{to}' WHERE id = '{lead}'"
        ),
        "contact" => format!(
            "UPDATE bizdev_sources SET contact_id = '{to}' WHERE id = '{source}'; \
             UPDATE leads SET status = 'converted', converted_at = now(), converted_contact_id = '{to}' WHERE id = '{lead}'"
        ),
        _ => format!("UPDATE bizdev_sources SET lead_ids = '{{x,{to},{other},y}}' WHERE id = '{source}'"),
    };
    stack.sql(&set).await;
}

fn sample(plural: &str, i: usize) -> Value {
    match plural {
        "accounts" => {
            json!({"name": format!("Company {i}"), "website": format!("c{i}.example"), "annual_revenue": 1_000_000_000_000.01 + i as f64})
        }
        _ => json!({"first_name": format!("F{i}"), "last_name": "L", "email": format!("e{i}@example.test")}),
    }
}

/// A table that comes later and points at a record must be in the list, or say why not.
#[tokio::test]
async fn every_link_of_the_catalogue_is_covered() {
    let db = database::admin().await;
    let tables = [("accounts", "account"), ("contacts", "contact"), ("leads", "lead")];
    let known: BTreeSet<(&str, String)> = LINKS.iter().map(|l| (l.to, format!("{}.{}", l.table, l.field))).collect();
    let mut found = BTreeSet::new();
    let sql = "SELECT c.confrelid::regclass::text, c.conrelid::regclass || '.' || a.attname FROM pg_constraint c \
               JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = ANY (c.conkey) AND a.attname <> 'tenant_id' \
               WHERE c.contype = 'f' AND c.confrelid IN ('accounts'::regclass, 'contacts'::regclass, 'leads'::regclass)";
    for row in db.query(sql, &[]).await.unwrap() {
        let (table, column): (String, String) = (row.get(0), row.get(1));
        // Says which merge put a record into the trash; it is not moved by another one.
        if !column.ends_with(".merged_into") {
            let (_, to) = tables.iter().find(|(t, _)| *t == table).unwrap();
            found.insert((*to, column));
        }
    }
    // A related type, by the CHECK that lists them. A notification says what somebody was told of then and moves nowhere.
    let sql = "SELECT c.conrelid::regclass::text, pg_get_constraintdef(c.oid) FROM pg_constraint c JOIN pg_attribute a \
               ON a.attrelid = c.conrelid AND c.conkey = ARRAY[a.attnum] WHERE c.contype = 'c' AND a.attname = 'related_type'";
    for row in db.query(sql, &[]).await.unwrap() {
        let (table, check): (String, String) = (row.get(0), row.get(1));
        for (_, to) in tables.iter().filter(|(_, to)| check.contains(&format!("'{to}'"))) {
            found.insert((*to, format!("{table}.related_id")));
        }
    }
    let sql = "SELECT count(*) FROM information_schema.columns JOIN information_schema.tables USING (table_schema, table_name) \
               WHERE table_schema = 'public' AND table_type = 'BASE TABLE' AND column_name = 'related_type' \
               AND table_name <> 'notifications' AND table_name NOT IN (SELECT c.conrelid::regclass::text FROM pg_constraint c JOIN pg_attribute a \
               ON a.attrelid = c.conrelid AND c.conkey = ARRAY[a.attnum] WHERE c.contype = 'c' AND a.attname = 'related_type')";
    assert_eq!(db.query_one(sql, &[]).await.unwrap().get::<_, i64>(0), 0, "a related_type without a CHECK");
    // Lists of ids have no foreign key: they are found by name.
    let sql = "SELECT table_name || '.' || column_name, column_name::text FROM information_schema.columns \
               WHERE table_schema = 'public' AND data_type = 'ARRAY' AND column_name ~ '^(account|contact|lead)_ids$'";
    for row in db.query(sql, &[]).await.unwrap() {
        let (column, name): (String, String) = (row.get(0), row.get(1));
        let (_, to) = tables.iter().find(|(_, to)| name == format!("{to}_ids")).unwrap();
        found.insert((*to, column));
    }
    assert_eq!(known, found, "aisha_crm::ops::merge::links::LINKS and the catalogue");
    assert!(LINKS.iter().any(|l| l.way == Way::Ids) && LINKS.iter().any(|l| l.way == Way::Related));
}

#[actix_web::test]
async fn everything_moves_and_an_undo_restores_it_exactly() {
    let stack = Stack::start().await;
    let t = stack.tenant().await;
    let me = &t.admin.client;
    for (plural, entity) in [("accounts", "account"), ("contacts", "contact"), ("leads", "lead")] {
        let mut ids = Vec::new();
        for i in 0..3 {
            ids.push(create(me, plural, sample(plural, i)).await);
        }
        for id in &ids {
            point_at(me, entity, *id).await;
            point_at_quietly(&stack, &t, entity, *id, ids[0]).await;
        }
        let before = snapshot(&stack, &t).await;
        let body = json!({"merge_ids": [ids[1], ids[2]]});

        let mut dry = body.clone();
        dry["dry_run"] = json!(true);
        let dry = merge(me, plural, ids[0], dry).await.expect(200).data();
        assert_eq!(snapshot(&stack, &t).await, before, "{plural}: a dry run does nothing");
        let in_query = me.post(&format!("/api/{plural}/{}/merge?dry_run=true", ids[0]), body.clone()).await.expect(200);
        assert_eq!(
            (in_query.data()["links"].clone(), in_query.data()["dry_run"].clone()),
            (dry["links"].clone(), json!(true))
        );
        assert_eq!(dry["merge_id"], Value::Null);

        let done = merge(me, plural, ids[0], body).await.expect(200).data();
        assert_eq!(done["links"], dry["links"], "and says what would happen");
        let fields: BTreeSet<String> =
            LINKS.iter().filter(|l| l.to == entity).map(|l| format!("{}.{}", l.entity_type, l.field)).collect();
        let moved: BTreeSet<String> = done["links"]
            .as_array()
            .unwrap()
            .iter()
            .map(|l| format!("{}.{}", l["entity_type"].as_str().unwrap(), l["field"].as_str().unwrap()))
            .collect();
        assert_eq!(moved, fields, "{plural}: each kind of link moved");
        for id in &ids[1..] {
            let hidden = snapshot(&stack, &t).await;
            let text = id.to_string();
            let pointing =
                hidden.iter().filter(|((_, own), row)| *own != text && row.to_string().contains(&text)).count();
            assert_eq!(pointing, 0, "{plural}: nothing points at what was merged");
            me.get(&format!("/api/{plural}/{id}")).await.expect(404);
        }
        let trash = me.get(&format!("/api/{plural}/trash")).await.expect(200).data();
        let merged = trash[plural].as_array().unwrap();
        assert!(merged.len() == 2 && merged.iter().all(|r| r["merged_into"] == ids[0].to_string()), "{trash}");

        let log = me.get(&format!("/api/merges/{}", done["merge_id"].as_str().unwrap())).await.expect(200).data();
        assert_eq!(log["moved"].as_array().unwrap().len() as i64, done["total_links"].as_i64().unwrap());
        assert_eq!((&log["survivor_id"], &log["undone_at"]), (&json!(ids[0]), &Value::Null));

        let undone = undo(me, &done["merge_id"]).await.expect(200).data();
        assert_eq!((&undone["kept"], &undone["kept_count"]), (&json!([]), &json!(0)), "{plural}");
        assert_eq!(undone["restored_links"], done["total_links"]);
        let after = snapshot(&stack, &t).await;
        for (key, row) in &before {
            assert_eq!(after.get(key), Some(row), "{key:?}");
        }
        assert_eq!(after.len(), before.len());
        assert_eq!(undo(me, &done["merge_id"]).await.expect(409).code(), "conflict");
        let list = me.get(&format!("/api/merges?entity_type={entity}")).await.expect(200).data();
        assert_eq!((&list["total"], list["merges"][0]["undone_at"].is_string()), (&json!(1), true));
    }
    assert_eq!(me.get("/api/merges").await.expect(200).data()["total"], 3);
}

#[actix_web::test]
async fn fields_are_chosen_filled_and_united() {
    let stack = Stack::start().await;
    let t = stack.tenant().await;
    let me = &t.admin.client;
    for (name, kind) in [("tier", "text"), ("size", "text")] {
        let body = json!({"entity": "contact", "field_name": name, "field_label": name, "field_type": kind});
        me.post("/api/customfields", body).await.expect(201);
    }
    let a = json!({"first_name": "Ann", "last_name": "Lee", "email": "ann@example.test", "tags": ["x", "y"], "city": "Berlin",
        "metadata": {"a": 1, "b": {"deep": true}}, "custom_fields": {"tier": "gold"}});
    let b = json!({"first_name": "Anne", "last_name": "Lee", "email": "anne@example.test", "phone": "+49 30 901820", "city": "Paris", "zip": "75001",
        "tags": ["y", "z"], "metadata": {"a": 2, "c": 9_007_199_254_740_993_i64}, "custom_fields": {"tier": "iron", "size": "big"}});
    let c = json!({"first_name": "A.", "last_name": "Lee-Smith", "phone": "+1 212 555 0100", "job_title": "CEO", "city": "berlin",
        "zip": "10117", "score": 7, "score_reason": "why"});
    let (a, b, c) = (create(me, "contacts", a).await, create(me, "contacts", b).await, create(me, "contacts", c).await);
    let body = json!({"merge_ids": [b, c], "fields": {"last_name": c, "email": a, "first_name": {"value": "Anna"}, "status": {"value": "customer"}}});
    let done = merge(me, "contacts", a, body).await.expect(200);
    let etag = done.header("etag").unwrap().to_owned();
    let done = done.data();
    let r = &done["record"];
    for (field, expected) in [
        ("first_name", json!("Anna")),
        ("last_name", json!("Lee-Smith")),
        ("email", json!("ann@example.test")),
        ("phone", json!("+49 30 901820")),
        ("phone_e164", json!("+4930901820")),
        ("job_title", json!("CEO")),
        ("status", json!("customer")),
        ("city", json!("Berlin")),
        // The first that has one is another place.
        ("zip", json!("10117")),
        ("score", json!(7)),
        ("score_reason", json!("why")),
        ("tags", json!(["x", "y", "z"])),
        ("metadata", json!({"a": 1, "b": {"deep": true}, "c": 9_007_199_254_740_993_i64})),
        ("custom_fields", json!({"tier": "gold", "size": "big"})),
    ] {
        assert_eq!(r[field], expected, "{field}");
    }
    assert_eq!(etag, format!("\"{}\"", r["version"]));
    assert_eq!(done["fields"]["last_name"], json!({"before": "Lee", "after": "Lee-Smith"}));
    assert!(done["fields"]["email"].is_null(), "what stayed is not listed");
    undo(me, &done["merge_id"]).await.expect(200);
    let restored = me.get(&format!("/api/contacts/{a}")).await.expect(200).data();
    assert_eq!(
        (&restored["first_name"], &restored["phone"], &restored["tags"]),
        (&json!("Ann"), &Value::Null, &json!(["x", "y"]))
    );
    assert_eq!(restored["metadata"], json!({"a": 1, "b": {"deep": true}}));

    // Whoever asked not to be called is not called.
    let quiet = create(me, "leads", json!({"first_name": "Do", "last_name": "Not", "do_not_call": true})).await;
    let loud = create(me, "leads", json!({"first_name": "Do", "last_name": "Call"})).await;
    let done = merge(me, "leads", loud, json!({"merge_ids": [quiet]})).await.expect(200).data();
    assert_eq!((&done["record"]["do_not_call"], &done["record"]["do_not_text"]), (&json!(true), &json!(false)));

    // A survivor takes over a name that only one live record may have.
    let x = create(me, "accounts", json!({"name": "X"})).await;
    let y = create(me, "accounts", json!({"name": "Y"})).await;
    let done = merge(me, "accounts", x, json!({"merge_ids": [y], "fields": {"name": y}})).await.expect(200).data();
    assert_eq!(done["record"]["name"], "Y");
    undo(me, &done["merge_id"]).await.expect(200);
    assert_eq!(me.get(&format!("/api/accounts/{x}")).await.expect(200).data()["name"], "X");
    assert_eq!(me.get(&format!("/api/accounts/{y}")).await.expect(200).data()["name"], "Y");
    let z = create(me, "accounts", json!({"name": "Z"})).await;
    let taken = json!({"merge_ids": [y], "fields": {"name": {"value": "z"}}});
    assert_eq!(merge(me, "accounts", x, taken).await.expect(409).fields(), ["fields.name"]);
    // A name that was taken since keeps the merge.
    let done = merge(me, "accounts", x, json!({"merge_ids": [y]})).await.expect(200).data();
    me.patch(&format!("/api/accounts/{z}"), json!({"name": "y"})).await.expect(200);
    assert_eq!(undo(me, &done["merge_id"]).await.expect(409).fields(), ["name"]);
    me.patch(&format!("/api/accounts/{z}"), json!({"name": "Z"})).await.expect(200);
    undo(me, &done["merge_id"]).await.expect(200);
}

#[actix_web::test]
async fn what_does_not_fit_is_named_and_nothing_happens() {
    let stack = Stack::start().await;
    let (t, other) = (stack.tenant().await, stack.tenant().await);
    let me = &t.admin.client;
    let person = |i: usize| sample("contacts", i);
    let (a, b) = (create(me, "contacts", person(1)).await, create(me, "contacts", person(2)).await);
    let foreign = create(&other.admin.client, "contacts", person(3)).await;
    let trashed = create(me, "contacts", person(4)).await;
    me.delete(&format!("/api/contacts/{trashed}")).await.expect(200);
    let before = snapshot(&stack, &t).await;
    let many: Vec<Uuid> = (0..21).map(|_| new_id()).collect();
    for (body, fields) in [
        (json!({}), vec!["merge_ids"]),
        (json!({"merge_ids": []}), vec!["merge_ids"]),
        (json!({"merge_ids": many}), vec!["merge_ids"]),
        (json!({"merge_ids": ["x", a, b, b]}), vec!["merge_ids.0", "merge_ids.1", "merge_ids.3"]),
        (json!({"merge_ids": [foreign]}), vec!["merge_ids.0"]),
        (json!({"merge_ids": [b, trashed]}), vec!["merge_ids.1"]),
        (json!({"merge_ids": [b, new_id()]}), vec!["merge_ids.1"]),
        (json!({"merge_ids": [b], "dry_run": "yes", "colour": 1}), vec!["dry_run", "colour"]),
        (json!({"merge_ids": [b], "fields": []}), vec!["fields"]),
        (json!({"merge_ids": [b], "fields": {"no_such": b, "version": b}}), vec!["fields.no_such", "fields.version"]),
        (json!({"merge_ids": [b], "fields": {"email": foreign}}), vec!["fields.email"]),
        (json!({"merge_ids": [b], "fields": {"email": {"value": "nobody"}}}), vec!["fields.email"]),
        (json!({"merge_ids": [b], "fields": {"first_name": {"value": null}}}), vec!["fields.first_name"]),
        (json!({"merge_ids": [b], "fields": {"account_id": {"value": new_id()}}}), vec!["fields.account_id"]),
        (json!({"merge_ids": [b], "fields": {"custom_fields": {"value": {"x": 1}}}}), vec!["fields.custom_fields.x"]),
    ] {
        assert_eq!(merge(me, "contacts", a, body.clone()).await.expect(422).fields(), fields, "{body}");
    }
    for gone in [foreign, trashed, new_id()] {
        merge(me, "contacts", gone, json!({"merge_ids": [b]})).await.expect(404);
    }
    let stale = [("content-type", "application/json"), ("if-match", "\"7\"")];
    let body = json!({"merge_ids": [b]}).to_string().into_bytes();
    me.send("POST", &format!("/api/contacts/{a}/merge"), &stale, Some(body)).await.expect(412);
    me.post(&format!("/api/contacts/{a}/merge?dry_run=maybe"), json!({"merge_ids": [b]})).await.expect(400);

    // Tags beyond what a record may hold.
    let tags = |prefix: &str| (0..60).map(|i| format!("{prefix}{i}")).collect::<Vec<_>>();
    let c = create(me, "contacts", json!({"first_name": "T", "last_name": "T", "tags": tags("c")})).await;
    let d = create(me, "contacts", json!({"first_name": "T", "last_name": "T", "tags": tags("d")})).await;
    assert_eq!(merge(me, "contacts", c, json!({"merge_ids": [d]})).await.expect(422).fields(), ["fields.tags"]);

    // A converted lead stands for a contact.
    let converted = create(me, "leads", json!({"first_name": "C", "last_name": "L"})).await;
    let lead = create(me, "leads", json!({"first_name": "C", "last_name": "L"})).await;
    stack.sql(&format!("UPDATE leads SET status = 'converted', converted_at = now() WHERE id = '{converted}'")).await;
    merge(me, "leads", lead, json!({"merge_ids": [converted]})).await.expect(409);
    for key in before.keys() {
        assert_eq!(snapshot(&stack, &t).await.get(key), before.get(key));
    }
    merge(me, "leads", converted, json!({"merge_ids": [lead]})).await.expect(200);
    me.post(&format!("/api/notes/{}/merge", new_id()), json!({})).await.expect(404);
}

#[actix_web::test]
async fn only_who_may_delete_merges_and_takes_back() {
    let stack = Stack::start().await;
    let (t, other) = (stack.tenant().await, stack.tenant().await);
    let me = &t.admin.client;
    let mut body = sample("contacts", 1);
    body["assigned_to"] = json!(t.employee.employee_id);
    let (a, b) = (create(me, "contacts", body.clone()).await, create(me, "contacts", body).await);
    let hidden = create(me, "contacts", sample("contacts", 3)).await;
    for person in [&t.employee, &t.manager] {
        let refused = merge(&person.client, "contacts", a, json!({"merge_ids": [b]})).await.expect(403);
        assert_eq!(refused.code(), "forbidden");
    }
    merge(&t.employee.client, "contacts", hidden, json!({"merge_ids": [b]})).await.expect(404);
    merge(&other.admin.client, "contacts", a, json!({"merge_ids": [b]})).await.expect(404);

    // Somebody's private note moves although nobody but its author and the admins sees it.
    let note = json!({"content": "Secret", "is_private": true, "related_type": "contact", "related_id": b});
    let note = create(&t.employee.client, "notes", note).await;
    let done = merge(me, "contacts", a, json!({"merge_ids": [b]})).await.expect(200).data();
    let seen = t.employee.client.get(&format!("/api/notes/{note}")).await.expect(200).data();
    assert_eq!(seen["related_id"], a.to_string());
    let at = format!("/api/merges/{}", done["merge_id"].as_str().unwrap());
    let log = t.manager.client.get(&at).await.expect(200).data();
    assert_eq!((&log["moved"], &log["links"][0]["count"]), (&json!([]), &json!(1)), "a manager does not see the note");
    assert_eq!(me.get(&at).await.expect(200).data()["moved"].as_array().unwrap().len(), 1);
    t.employee.client.get(&at).await.expect(404);
    other.admin.client.get(&at).await.expect(404);
    undo(&other.admin.client, &done["merge_id"]).await.expect(404);
    undo(&t.manager.client, &done["merge_id"]).await.expect(403);
    undo(&t.employee.client, &done["merge_id"]).await.expect(404);
    undo(me, &done["merge_id"]).await.expect(200);
    let seen = t.employee.client.get(&format!("/api/notes/{note}")).await.expect(200).data();
    assert_eq!(seen["related_id"], b.to_string());

    // What happened is written down, with who did it.
    let sql = format!(
        "SELECT count(*) FROM audit_log WHERE record_id = '{b}' AND changed_by = '{}' AND action IN ('delete', 'restore')",
        t.admin.user_id
    );
    assert_eq!(stack.count(&sql).await, 2);
    let sql = format!(
        "SELECT count(*) FROM event_outbox WHERE record_id = '{b}' AND event IN ('contact.deleted', 'contact.restored')"
    );
    assert_eq!(stack.count(&sql).await, 2);
    let sql = format!("SELECT count(*) FROM event_outbox WHERE record_id = '{note}' AND event = 'note.updated'");
    assert_eq!(stack.count(&sql).await, 2);
    let leaked = format!("SELECT count(*) FROM audit_log WHERE tenant_id = '{}' AND record_id = '{a}'", other.id);
    assert_eq!(stack.count(&leaked).await, 0);
}

#[actix_web::test]
async fn a_repeated_request_merges_once_and_rivals_do_not_both_win() {
    let stack = Stack::start().await;
    let t = stack.tenant().await;
    let me = &t.admin.client;
    let (a, b) =
        (create(me, "contacts", sample("contacts", 1)).await, create(me, "contacts", sample("contacts", 2)).await);
    let key = new_id().to_string();
    let headers = [("content-type", "application/json"), ("idempotency-key", key.as_str())];
    let path = format!("/api/contacts/{a}/merge");
    let body = json!({"merge_ids": [b]}).to_string().into_bytes();
    let replies = join_all((0..10).map(|_| me.send("POST", &path, &headers, Some(body.clone())))).await;
    let texts: BTreeSet<&str> = replies.iter().map(|r| r.text.as_str()).collect();
    assert!(replies.iter().all(|r| r.status == 200) && texts.len() == 1, "{texts:?}");
    let merges = format!("SELECT count(*) FROM record_merge WHERE tenant_id = '{}'", t.id);
    assert_eq!(stack.count(&merges).await, 1);

    for round in 0..5 {
        let ids = join_all((0..3).map(|i| create(me, "contacts", sample("contacts", 10 * round + i)))).await;
        // The same into the same, the other way round, and into a third.
        let rivals = [(ids[0], ids[1]), (ids[0], ids[1]), (ids[1], ids[0]), (ids[2], ids[1])];
        let replies =
            join_all(rivals.map(|(into, from)| merge(me, "contacts", into, json!({"merge_ids": [from]})))).await;
        let won = replies.iter().filter(|r| r.status == 200).count();
        let refused = replies.iter().filter(|r| r.status == 422 || r.status == 404).count();
        assert_eq!(won + refused, 4, "{:?}", replies.iter().map(|r| r.text.clone()).collect::<Vec<_>>());
        let live = format!(
            "SELECT count(*) FROM contacts WHERE deleted_at IS NULL AND id IN ('{}', '{}', '{}')",
            ids[0], ids[1], ids[2]
        );
        // Of the pair exactly one is gone; if that is the first one, the second may have gone on into the third.
        let left = stack.count(&live).await;
        assert_eq!(left + won as i64, 3, "each success takes exactly one record");
        let same = replies[..2].iter().filter(|r| r.status == 200).count();
        assert!(same <= 1 && won >= 1);
    }
    let done = replies[0].data();
    let undone = join_all((0..4).map(|_| undo(me, &done["merge_id"]))).await;
    assert_eq!(undone.iter().filter(|r| r.status == 200).count(), 1);
    assert_eq!(undone.iter().filter(|r| r.status == 409).count(), 3);
}

#[actix_web::test]
async fn an_undo_keeps_what_was_changed_since() {
    let stack = Stack::start().await;
    let t = stack.tenant().await;
    let me = &t.admin.client;
    let a = create(me, "accounts", json!({"name": "A"})).await;
    let b =
        create(me, "accounts", json!({"name": "B", "phone": "+1 212 555 0100", "industry": "Tools", "city": "Oslo"}))
            .await;
    let c = create(me, "accounts", json!({"name": "C"})).await;
    let elsewhere = create(me, "accounts", json!({"name": "Elsewhere"})).await;
    let contact = |i: usize, account: Uuid| {
        let mut body = sample("contacts", i);
        body["account_id"] = json!(account);
        body
    };
    let moved_on = create(me, "contacts", contact(1, b)).await;
    let edited = create(me, "contacts", contact(2, b)).await;
    let purged = create(me, "contacts", contact(3, b)).await;
    let of_c = create(me, "contacts", contact(4, c)).await;
    let done = merge(me, "accounts", a, json!({"merge_ids": [b, c]})).await.expect(200).data();
    assert_eq!(done["total_links"], 4);

    me.patch(&format!("/api/contacts/{moved_on}"), json!({"account_id": elsewhere})).await.expect(200);
    me.patch(&format!("/api/contacts/{edited}"), json!({"job_title": "New"})).await.expect(200);
    me.delete(&format!("/api/contacts/{purged}")).await.expect(200);
    me.delete(&format!("/api/contacts/trash/{purged}")).await.expect(200);
    me.patch(&format!("/api/accounts/{a}"), json!({"phone": "+1 212 555 0199"})).await.expect(200);
    let late = create(me, "contacts", contact(5, a)).await;
    // C comes back and goes away again: what happens to it is nobody's business of the undo any more.
    me.post(&format!("/api/accounts/{c}/restore"), json!({})).await.expect(200);
    assert_eq!(me.get(&format!("/api/accounts/{c}")).await.expect(200).data()["merged_into"], Value::Null);
    me.delete(&format!("/api/accounts/{c}")).await.expect(200);

    let undone = undo(me, &done["merge_id"]).await.expect(200).data();
    let kept: BTreeMap<(String, String), String> = undone["kept"]
        .as_array()
        .unwrap()
        .iter()
        .map(|k| {
            (
                (k["id"].as_str().unwrap().into(), k["field"].as_str().unwrap().into()),
                k["reason"].as_str().unwrap().into(),
            )
        })
        .collect();
    let expected: BTreeMap<(String, String), String> = [
        (a, "phone", "was changed since"),
        (c, "deleted_at", "was moved to the trash again"),
        (moved_on, "account_id", "was changed since"),
        (purged, "account_id", "was deleted for good"),
        (of_c, "account_id", "the record it pointed at stays in the trash"),
    ]
    .into_iter()
    .map(|(id, field, reason)| ((id.to_string(), field.to_owned()), reason.to_owned()))
    .collect();
    assert_eq!(kept, expected);
    assert_eq!((&undone["kept_count"], &undone["restored_links"]), (&json!(5), &json!(1)));
    assert_eq!(undone["restored_ids"], json!([b]));
    let account_of =
        async |id: Uuid| me.get(&format!("/api/contacts/{id}")).await.expect(200).data()["account_id"].clone();
    assert_eq!(account_of(moved_on).await, json!(elsewhere));
    assert_eq!(account_of(edited).await, json!(b));
    assert_eq!(account_of(of_c).await, json!(a));
    assert_eq!(account_of(late).await, json!(a));
    let survivor = me.get(&format!("/api/accounts/{a}")).await.expect(200).data();
    assert_eq!((&survivor["phone"], &survivor["phone_e164"]), (&json!("+1 212 555 0199"), &json!("+12125550199")));
    assert_eq!((&survivor["industry"], &survivor["city"]), (&Value::Null, &Value::Null));
    let log = me.get(&format!("/api/merges/{}", done["merge_id"].as_str().unwrap())).await.expect(200).data();
    assert_eq!(log["undo_result"]["kept_count"], 5);
}

#[actix_web::test]
async fn an_undo_that_cannot_be_says_why() {
    let stack = Stack::start().await;
    let t = stack.tenant().await;
    let me = &t.admin.client;
    let ids = join_all((0..6).map(|i| create(me, "contacts", sample("contacts", i)))).await;
    // A survivor that was merged itself: the later merge first.
    let first = merge(me, "contacts", ids[1], json!({"merge_ids": [ids[0]]})).await.expect(200).data();
    let second = merge(me, "contacts", ids[2], json!({"merge_ids": [ids[1]]})).await.expect(200).data();
    let refused = undo(me, &first["merge_id"]).await.expect(409);
    assert!(refused.json()["message"].as_str().unwrap().contains("Undo that merge first"), "{}", refused.text);
    undo(me, &second["merge_id"]).await.expect(200);
    undo(me, &first["merge_id"]).await.expect(200);

    let purged = merge(me, "contacts", ids[3], json!({"merge_ids": [ids[4]]})).await.expect(200).data();
    me.delete(&format!("/api/contacts/trash/{}", ids[4])).await.expect(200);
    let refused = undo(me, &purged["merge_id"]).await.expect(409);
    assert!(refused.json()["message"].as_str().unwrap().contains("deleted for good"), "{}", refused.text);

    let old = merge(me, "contacts", ids[3], json!({"merge_ids": [ids[5]]})).await.expect(200).data();
    let id = old["merge_id"].as_str().unwrap();
    stack.sql(&format!("UPDATE record_merge SET created_at = now() - interval '31 days' WHERE id = '{id}'")).await;
    let refused = undo(me, &old["merge_id"]).await.expect(409);
    assert!(refused.json()["message"].as_str().unwrap().contains("30 days"), "{}", refused.text);
    me.post(&format!("/api/merges/{}/undo", new_id()), json!({})).await.expect(404);
    for query in ["entity_type=note", "limit=0", "status=x"] {
        me.get(&format!("/api/merges?{query}")).await.expect(400);
    }
}

/// Twenty accounts with five thousand links become one, and come apart again, in seconds.
#[actix_web::test]
async fn twenty_with_five_thousand_links() {
    let stack = Stack::start().await;
    let t = stack.tenant().await;
    let me = &t.admin.client;
    let ids = join_all((0..21).map(|i| create(me, "accounts", json!({"name": format!("Big {i}")})))).await;
    let list: Vec<String> = ids.iter().map(|id| format!("'{id}'")).collect();
    let list = format!("(ARRAY[{}]::uuid[])", list.join(","));
    stack
        .sql(&format!(
            "INSERT INTO contacts (tenant_id, id, first_name, last_name, account_id) \
             SELECT '{0}', gen_random_uuid(), 'C', 'D', {list}[1 + i % 21] FROM generate_series(1, 2500) AS i; \
             INSERT INTO activities (tenant_id, id, subject, related_type, related_id) \
             SELECT '{0}', gen_random_uuid(), 'S', 'account', {list}[1 + i % 21] FROM generate_series(1, 2500) AS i",
            t.id
        ))
        .await;
    let before = snapshot(&stack, &t).await;
    let started = std::time::Instant::now();
    let done = merge(me, "accounts", ids[0], json!({"merge_ids": ids[1..]})).await.expect(200).data();
    let merging = started.elapsed();
    let own = before.values().filter(|r| r["account_id"] == json!(ids[0]) || r["related_id"] == json!(ids[0])).count();
    assert_eq!(done["total_links"], 5000 - own as i64);
    let started = std::time::Instant::now();
    let undone = undo(me, &done["merge_id"]).await.expect(200).data();
    println!("merging 20 with {} links: {merging:?}, undo: {:?}", done["total_links"], started.elapsed());
    assert_eq!((&undone["restored_links"], &undone["kept_count"]), (&done["total_links"], &json!(0)));
    assert_eq!(snapshot(&stack, &t).await, before);
    assert!(merging.as_secs() < 60, "{merging:?}");
}
