//! CSV in and out: mapping, duplicates, errors by row, undo, odd files, and exports that come back as they went.

use super::{lists::with, walk::changes};
use aisha_testkit::{Client, Stack, database};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

const MAPPING: &str = r#"{"Symbol":"legacy_id","Security":"name","GICS Sector":"industry","GICS Sub-Industry":"description",
    "Headquarters Location":"address_1"}"#;

fn demo() -> Vec<u8> {
    std::fs::read(database::root().join("demo/sp500-companies.csv")).unwrap()
}

/// The rows of a CSV text, by column name.
fn rows(csv: &[u8]) -> Vec<BTreeMap<String, String>> {
    csv::Reader::from_reader(csv).deserialize().map(Result::unwrap).collect()
}

async fn import(me: &Client, plural: &str, csv: &[u8], parts: &[(&str, &str)]) -> Value {
    me.import(&format!("/api/{plural}/import"), csv, parts).await.expect(201).data()
}

/// Read, created, updated, skipped, failed.
fn counts(log: &Value) -> [i64; 5] {
    ["total_records", "success_count", "updated_count", "skipped_count", "error_count"]
        .map(|c| log[c].as_i64().unwrap())
}

fn id(log: &Value) -> &str {
    log["id"].as_str().unwrap()
}

/// Every live record, by cursor.
async fn everything(me: &Client, plural: &str) -> Vec<Value> {
    let (mut all, mut cursor) = (Vec::new(), None::<String>);
    loop {
        let mut parameters = vec![("limit", "200")];
        parameters.extend(cursor.as_deref().map(|c| ("cursor", c)));
        let data = me.get(&with(&format!("/api/{plural}"), &parameters)).await.expect(200).data();
        all.extend(data[plural].as_array().unwrap().iter().cloned());
        match data["next_cursor"].as_str() {
            Some(next) => cursor = Some(next.to_owned()),
            None => return all,
        }
    }
}

#[actix_web::test]
async fn the_demo_file_comes_in_whole() {
    let stack = Stack::start().await;
    let t = stack.tenant().await;
    let me = &t.admin.client;
    let file = demo();
    let source = rows(&file);
    let names: BTreeSet<String> = source.iter().map(|r| r["Security"].to_lowercase()).collect();
    let (read, distinct) = (source.len() as i64, names.len() as i64);
    assert_eq!(read, 503);

    let dry = import(me, "accounts", &file, &[("mapping", MAPPING), ("dry_run", "true")]).await;
    assert_eq!(me.get("/api/accounts").await.expect(200).data()["total"], 0, "a dry run writes nothing");
    let log = import(me, "accounts", &file, &[("mapping", MAPPING)]).await;
    assert_eq!(counts(&log), [read, distinct, 0, read - distinct, 0], "{log}");
    assert_eq!(counts(&dry), counts(&log), "and says what would happen");
    assert_eq!((&log["status"], &log["filename"]), (&json!("completed"), &json!("test.csv")));
    assert_eq!(log["metadata"]["unmapped_columns"], json!(["Date added", "CIK", "Founded"]));
    let stored = everything(me, "accounts").await;
    let stored: BTreeMap<&str, &Value> = stored.iter().map(|a| (a["legacy_id"].as_str().unwrap(), a)).collect();
    assert_eq!(stored.len() as i64, distinct);
    for row in &source {
        let Some(account) = stored.get(row["Symbol"].as_str()) else { continue };
        for (column, field) in
            [("Security", "name"), ("GICS Sector", "industry"), ("Headquarters Location", "address_1")]
        {
            assert_eq!(account[field], row[column].trim(), "{}", row["Symbol"]);
        }
    }

    let again = import(me, "accounts", &file, &[("mapping", MAPPING)]).await;
    assert_eq!(counts(&again), [read, 0, 0, read, 0]);
    let updated = import(me, "accounts", &file, &[("mapping", MAPPING), ("on_duplicate", "update")]).await;
    assert_eq!(counts(&updated), [read, 0, distinct, read - distinct, 0]);
    let undo = me.post(&format!("/api/imports/{}/undo", id(&updated)), json!({})).await.expect(200).data();
    assert_eq!((&undo["removed"], &undo["kept"]), (&json!(0), &json!(0)), "nothing of it had changed: {undo}");

    let undo = me.post(&format!("/api/imports/{}/undo", id(&log)), json!({})).await.expect(200).data();
    assert_eq!((undo["removed"].as_i64(), &undo["kept"]), (Some(distinct), &json!(0)), "{undo}");
    assert_eq!(me.get("/api/accounts").await.expect(200).data()["total"], 0);
    assert_eq!(me.get("/api/accounts/trash").await.expect(200).data()["total"].as_i64(), Some(distinct));
    me.post(&format!("/api/imports/{}/undo", id(&log)), json!({})).await.expect(409);
    me.post(&format!("/api/imports/{}/undo", id(&dry)), json!({})).await.expect(409);
    assert_eq!(me.get(&format!("/api/imports/{}", id(&log))).await.expect(200).data()["status"], "undone");
    let anew = import(me, "accounts", &file, &[("mapping", MAPPING)]).await;
    assert_eq!(counts(&anew), [read, distinct, 0, read - distinct, 0]);
    assert_eq!(me.get("/api/imports").await.expect(200).data()["total"], 5);
}

#[actix_web::test]
async fn undo_keeps_what_was_changed_since() {
    let stack = Stack::start().await;
    let t = stack.tenant().await;
    let me = &t.admin.client;
    let log = import(me, "accounts", b"name,phone\nA,+49 30 901820\nB,\nC,\n", &[]).await;
    let by_name = async |name: &str| {
        me.get(&with("/api/accounts", &[("name", name)])).await.expect(200).data()["accounts"][0].clone()
    };
    let (a, b) = (by_name("A").await, by_name("B").await);
    me.patch(&format!("/api/accounts/{}", b["id"].as_str().unwrap()), json!({ "city": "Bonn" })).await.expect(200);

    // Taken back, an update leaves no trace: the E.164 form follows its number in both directions.
    let csv = b"name,phone,tags,annual_revenue\nA,ask for Kim (555),x; y,12.50\nB,,z,\n";
    let update = import(me, "accounts", csv, &[("on_duplicate", "update")]).await;
    assert_eq!(counts(&update), [2, 0, 2, 0, 0], "{update}");
    let now = by_name("A").await;
    assert_eq!(
        (&now["phone_e164"], &now["tags"], &now["annual_revenue"]),
        (&Value::Null, &json!(["x", "y"]), &json!(12.5))
    );
    let undo = me.post(&format!("/api/imports/{}/undo", id(&update)), json!({})).await.expect(200).data();
    assert_eq!((&undo["reverted"], &undo["removed"], &undo["kept"]), (&json!(2), &json!(0), &json!(0)));
    let back = by_name("A").await;
    for field in ["phone", "phone_e164", "tags", "annual_revenue", "name"] {
        assert_eq!(back[field], a[field], "{field}");
    }

    let c = by_name("C").await["id"].as_str().unwrap().to_owned();
    let update = import(me, "accounts", b"name,city\nC,Ulm\n", &[("on_duplicate", "update")]).await;
    me.patch(&format!("/api/accounts/{c}"), json!({ "state": "BW" })).await.expect(200);
    let undo = me.post(&format!("/api/imports/{}/undo", id(&update)), json!({})).await.expect(200).data();
    assert_eq!((&undo["reverted"], &undo["kept_ids"]), (&json!(0), &json!([c])));
    assert_eq!(by_name("C").await["city"], "Ulm");
    // What held the import's values already is still anybody's to change.
    let same = import(me, "accounts", b"name,city\nC,Ulm\n", &[("on_duplicate", "update")]).await;
    me.patch(&format!("/api/accounts/{c}"), json!({ "city": "Kiel" })).await.expect(200);
    let undo = me.post(&format!("/api/imports/{}/undo", id(&same)), json!({})).await.expect(200).data();
    assert_eq!(
        (&undo["reverted"], &undo["kept_ids"], &by_name("C").await["city"]),
        (&json!(0), &json!([c]), &json!("Kiel"))
    );

    // A, B and C have all been changed since the first import.
    let undo = me.post(&format!("/api/imports/{}/undo", id(&log)), json!({})).await.expect(200).data();
    assert_eq!((&undo["removed"], &undo["kept"]), (&json!(0), &json!(3)), "{undo}");
    let ids: BTreeSet<&str> = undo["kept_ids"].as_array().unwrap().iter().map(|v| v.as_str().unwrap()).collect();
    assert!(ids.contains(b["id"].as_str().unwrap()) && ids.contains(c.as_str()));
}

#[actix_web::test]
async fn rows_with_errors_leave_the_others_alone() {
    let stack = Stack::start().await;
    let t = stack.tenant().await;
    let me = &t.admin.client;
    let csv = format!(
        "First name,Last name,E-Mail,Owner,Last contact,Extra\n\
         A,One,a@example.test,{0},2026-01-31,x\n\
         B,Two,nobody,{0},2026-01-31,\n\
         C,Three,c@example.test,{0},2026-02-30,\n\
         ,Four,d@example.test,{0},,\n\
         E,Five,e@example.test,stranger@example.test,,\n\
         F,Six,,,,\n\
         G,Seven,A@EXAMPLE.TEST,,,\n\
         H,Eight,h@example.test,,,,,too many\n\
         I,Nine\n",
        t.employee.email
    );
    let mapping = r#"{"First name":"first_name","Last name":"last_name","E-Mail":"email","Owner":"assigned_to","Last contact":"last_contacted"}"#;
    let dry = import(me, "contacts", csv.as_bytes(), &[("mapping", mapping), ("dry_run", "1")]).await;
    let log = import(me, "contacts", csv.as_bytes(), &[("mapping", mapping)]).await;
    assert_eq!(counts(&log), [9, 3, 0, 1, 5], "{log}");
    assert_eq!((counts(&dry), &dry["errors"]), (counts(&log), &log["errors"]));
    let errors: Vec<(i64, &str)> = log["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| (e["row_number"].as_i64().unwrap(), e["errors"][0]["field"].as_str().unwrap()))
        .collect();
    let expected = [(2, "email"), (3, "last_contacted"), (4, "first_name"), (5, "assigned_to"), (8, "row")];
    assert_eq!(errors.iter().copied().collect::<BTreeSet<_>>(), BTreeSet::from(expected), "{log}");
    let mine = t.employee.client.get("/api/contacts").await.expect(200).data();
    assert_eq!(
        (&mine["total"], &mine["contacts"][0]["last_name"]),
        (&json!(1), &json!("One")),
        "assigned by e-mail address"
    );
}

#[actix_web::test]
async fn mappings_are_checked_before_anything_is_written() {
    let stack = Stack::start().await;
    let t = stack.tenant().await;
    let me = &t.admin.client;
    let before = changes(&stack, t.id).await;
    for (mapping, part) in [
        (r#"{"Name":"name","Nope":"city"}"#, "mapping"),
        (r#"{"Name":"name","City":"secret"}"#, "mapping"),
        (r#"{"Name":"name","City":"id"}"#, "mapping"),
        (r#"{"Name":"name","City":"tenant_id"}"#, "mapping"),
        (r#"{"Name":"name","City":"name"}"#, "mapping"),
        (r#"{"City":"city"}"#, "mapping"),
        ("{}", "mapping"),
        ("[]", "mapping"),
        (r#"{"Name":5}"#, "mapping"),
        ("not json", "mapping"),
    ] {
        let reply = me.import("/api/accounts/import", b"Name,City\nA,B\n", &[("mapping", mapping)]).await.expect(422);
        assert!(reply.fields().iter().all(|f| f == part), "{mapping}: {}", reply.text);
    }
    for (part, value) in [("dry_run", "perhaps"), ("on_duplicate", "merge"), ("secret", "x")] {
        let reply = me.import("/api/accounts/import", b"name\nA\n", &[(part, value)]).await.expect(422);
        assert_eq!(reply.fields(), [part]);
    }
    let no_file = b"--x\r\nContent-Disposition: form-data; name=\"dry_run\"\r\n\r\ntrue\r\n--x--\r\n".to_vec();
    let form = [("content-type", "multipart/form-data; boundary=x")];
    assert_eq!(me.send("POST", "/api/accounts/import", &form, Some(no_file)).await.expect(422).fields(), ["file"]);
    me.send("POST", "/api/accounts/import", &form, Some(b"--x\r\nbroken".to_vec())).await.expect(400);
    me.send("POST", "/api/accounts/import", &[("content-type", "text/csv")], Some(b"name\nA\n".to_vec()))
        .await
        .expect(415);
    assert_eq!(changes(&stack, t.id).await, before, "something was written");
}

#[actix_web::test]
async fn files_of_all_sorts() {
    let stack = Stack::start().await;
    let t = stack.tenant().await;
    let me = &t.admin.client;
    let before = changes(&stack, t.id).await;
    let utf16: Vec<u8> =
        [0xff, 0xfe].into_iter().chain("name\nMüller\n".encode_utf16().flat_map(u16::to_le_bytes)).collect();
    let wide = format!("{}\n", vec!["a"; 100_000].join(","));
    let late_nul = format!("{},\0\nA\n", (0..499).map(|i| format!("c{i:0200}")).collect::<Vec<_>>().join(","));
    for (what, file) in [
        ("empty", &b""[..]),
        ("blank", b"\n\n"),
        ("Latin-1", b"name\nM\xfcller\n"),
        ("UTF-16", &utf16),
        ("NUL", b"name\nA\0B\n"),
        ("NUL in a long header", late_nul.as_bytes()),
        ("columns", wide.as_bytes()),
        ("two columns of a name", b"name,name\nA,B\n"),
        ("missing quote", b"name,city\n\"Acme,Berlin\nBeta,Bonn\nGamma,Ulm\n"),
        ("missing quote at the end", b"name,city\nAcme,Berlin\nBeta,\"Bonn"),
        ("missing quote in the header", b"\"name,city\nAcme,Berlin\n"),
    ] {
        let reply = me.import("/api/accounts/import", file, &[]).await;
        assert_eq!((reply.status.as_u16(), reply.fields()), (422, vec!["file".to_owned()]), "{what}: {}", reply.text);
    }
    assert_eq!(changes(&stack, t.id).await, before, "something was written");
    let quote = me.import("/api/accounts/import", b"name,city\nA,B\n\"C,D\nE,F\n", &[]).await.expect(422);
    assert!(quote.text.contains("line 3"), "{}", quote.text);

    for (name, file) in [
        ("Semikolon; GmbH", "name;city\n\"Semikolon; GmbH\";Köln\n"),
        ("Tab", "name\tcity\nTab\tKöln\n"),
        ("BOM", "\u{feff}name,city\r\nBOM,Köln\r\n"),
        ("No end", "name,city\nNo end,Köln"),
        ("Two\nlines", "name,city\n\"Two\nlines\",Köln\n"),
        ("A \"quoted\" one", "NAME , City\n\"A \"\"quoted\"\" one\",Köln\n"),
        ("5\" pipe", "name,city\n5\" pipe,Köln\n"),
    ] {
        let log = import(me, "accounts", file.as_bytes(), &[]).await;
        assert_eq!(counts(&log), [1, 1, 0, 0, 0], "{name}: {log}");
        let found = me.get(&with("/api/accounts", &[("name", name), ("city", "Köln")])).await.expect(200).data();
        assert_eq!(found["total"], 1, "{name}");
    }
    let log = import(me, "accounts", b"name,city\n", &[]).await;
    assert_eq!((counts(&log), &log["status"]), ([0; 5], &json!("completed")), "a header alone is an import of nothing");
}

#[actix_web::test]
async fn within_role_and_tenant() {
    let stack = Stack::start().await;
    let (t, other) = (stack.tenant().await, stack.tenant().await);
    let refused = t.employee.client.import("/api/accounts/import", b"name\nA\n", &[]).await.expect(403);
    assert_eq!(refused.code(), "forbidden");
    t.employee.client.get("/api/accounts/export").await.expect(403);
    let foreign =
        t.admin.client.import("/api/accounts/import", b"name\nA\n", &[("tenant_id", &other.id.to_string())]).await;
    assert_eq!(foreign.expect(403).code(), "invalid_tenant");
    let log = import(&t.manager.client, "accounts", b"name\nA\n", &[("tenant_id", &t.id.to_string())]).await;
    let at = format!("/api/imports/{}", id(&log));
    let stranger = &other.admin.client;
    stranger.get(&at).await.expect(404);
    stranger.post(&format!("{at}/undo"), json!({})).await.expect(404);
    assert_eq!(stranger.get("/api/imports").await.expect(200).data()["total"], 0);
    assert_eq!(stranger.get("/api/accounts").await.expect(200).data()["total"], 0);
    assert_eq!(rows(stranger.get("/api/accounts/export").await.expect(200).text.as_bytes()).len(), 0);
    // The same name in another tenant is another account.
    assert_eq!(counts(&import(stranger, "accounts", b"name\nA\n", &[]).await), [1, 1, 0, 0, 0]);
    t.admin.client.get(&at).await.expect(200);
}

#[actix_web::test]
async fn twenty_thousand_rows() {
    let stack = Stack::start().await;
    let t = stack.tenant().await;
    let me = &t.admin.client;
    let mut csv = String::from("first_name,last_name,email,city\n");
    for i in 0..20_000 {
        csv.push_str(&format!("Name,\"Number, {i}\",row{i}@example.test,Köln\n"));
    }
    let started = me.import("/api/contacts/import", csv.as_bytes(), &[]).await;
    assert!(matches!(started.status.as_u16(), 201 | 202), "{}", started.text);
    let at = format!("/api/imports/{}", started.id());
    assert_eq!(started.header("location"), Some(at.as_str()));
    let mut log = started.data();
    let mut seen = 0;
    while log["status"] == "processing" {
        assert!(log["total_records"].as_i64() >= Some(seen), "progress goes forward");
        seen = log["total_records"].as_i64().unwrap();
        actix_web::rt::time::sleep(Duration::from_millis(200)).await;
        log = me.get(&at).await.expect(200).data();
    }
    assert_eq!((&log["status"], counts(&log)), (&json!("completed"), [20_000, 20_000, 0, 0, 0]), "{log}");
    assert_eq!(me.get("/api/contacts?limit=1&count=exact").await.expect(200).data()["total"], 20_000);
}

#[actix_web::test]
async fn exports_are_whole_ordered_and_recorded() {
    let stack = Stack::start().await;
    let t = stack.tenant().await;
    let me = &t.manager.client;
    stack
        .sql(&format!(
            "INSERT INTO contacts (tenant_id, first_name, last_name, score, status)
             SELECT '{}', 'Name', n::text, nullif(n % 7, 0), CASE n % 2 WHEN 0 THEN 'active' ELSE 'customer' END
             FROM generate_series(1, 1300) AS n",
            t.id
        ))
        .await;
    let gone = me.post("/api/contacts", json!({ "first_name": "Gone", "last_name": "x" })).await.expect(201).id();
    t.admin.client.delete(&format!("/api/contacts/{gone}")).await.expect(200);
    let reply = me.get("/api/contacts/export").await.expect(200);
    assert_eq!(reply.header("content-type"), Some("text/csv; charset=utf-8"));
    assert!(reply.header("content-disposition").is_some_and(|d| d.contains("contacts.csv")));
    let exported: Vec<String> = rows(reply.text.as_bytes()).into_iter().map(|mut r| r.remove("id").unwrap()).collect();
    let listed = everything(me, "contacts").await;
    let listed: Vec<&str> = listed.iter().map(|r| r["id"].as_str().unwrap()).collect();
    assert_eq!(exported.len(), 1_300);
    assert_eq!(exported, listed, "every page once, in the order of the list");

    let query = with("/api/contacts/export", &[("sort", "score"), ("filter", r#"{"status":"active"}"#), ("q", "name")]);
    let some = rows(me.get(&query).await.expect(200).text.as_bytes());
    assert_eq!((some.len(), some.iter().filter(|r| r["status"] == "active").count()), (650, 650));
    let scores: Vec<&str> = some.iter().map(|r| r["score"].as_str()).filter(|s| !s.is_empty()).collect();
    assert!(scores.is_sorted(), "ordered as asked");
    me.get("/api/contacts/export?secret=1").await.expect(400);
    let audit = format!(
        "SELECT count(*) FROM audit_log WHERE tenant_id = '{}' AND action = 'export' AND table_name = 'contacts' \
         AND changed_by = '{}' AND role = 'manager'",
        t.id, t.manager.user_id
    );
    assert_eq!(stack.count(&audit).await, 2, "who took what out is on record");
    assert_eq!(stack.count(&format!("{audit} AND new_values ->> 'query' LIKE '%score%'")).await, 1);
}

#[actix_web::test]
async fn what_goes_out_comes_back() {
    let stack = Stack::start().await;
    let (t, other) = (stack.tenant().await, stack.tenant().await);
    let names = [
        "=1+1",
        "@SUM(A1)",
        "+cmd|' /C calc'!A0",
        "-2+3+cmd",
        "'=already",
        "'quoted'",
        "a \"b\", c; d",
        "two\nlines",
        "ümlaut 👩‍👩‍👧 שלום",
        "-5",
        "+49 30 901820",
        "tab\there",
        ",",
        "\"",
        "'",
        "' leading",
    ];
    for (i, name) in names.iter().enumerate() {
        let body = json!({
            "name": name, "type": "vendor", "industry": "=x", "website": "https://example.test/?a=1,2", "phone": "+49 30 901820",
            "email": format!("mail{i}@example.test"), "annual_revenue": "9999999999999.99", "employee_count": i, "address_1": "-",
            "city": "@home", "description": "a\n\"b\"\n'c'", "tags": ["x", "=y"], "metadata": { "a": ["b", 1.50, null] },
            "legacy_id": format!("0{i}"), "is_test_data": true, "ai_doc_source_type": "business_card",
        });
        t.admin.client.post("/api/accounts", body).await.expect(201);
    }
    let csv = t.admin.client.get("/api/accounts/export").await.expect(200).text;
    let dangerous = ['=', '+', '-', '@', '\t', '\r'];
    for row in rows(csv.as_bytes()) {
        for (column, cell) in row {
            let number = cell.chars().all(|c| c.is_ascii_digit() || "+-(). /".contains(c));
            assert!(number || !cell.starts_with(dangerous), "{column}: {cell}");
        }
    }
    let log = import(&other.admin.client, "accounts", csv.as_bytes(), &[]).await;
    assert_eq!(counts(&log)[1], names.len() as i64, "{log}");
    let by_name = |rows: Vec<Value>| -> BTreeMap<String, Value> {
        let own = ["id", "tenant_id", "created_by", "created_at", "created_date", "updated_at", "version"];
        rows.into_iter()
            .map(|mut row| {
                own.iter().for_each(|f| drop(row.as_object_mut().unwrap().remove(*f)));
                (row["name"].as_str().unwrap().to_owned(), row)
            })
            .collect()
    };
    let before = by_name(everything(&t.admin.client, "accounts").await);
    let after = by_name(everything(&other.admin.client, "accounts").await);
    assert_eq!(before, after);
    let second = other.admin.client.get("/api/accounts/export?sort=legacy_id").await.expect(200).text;
    let first = t.admin.client.get("/api/accounts/export?sort=legacy_id").await.expect(200).text;
    assert_eq!(rows(first.as_bytes())[3]["description"], rows(second.as_bytes())[3]["description"]);
}
