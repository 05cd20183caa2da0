//! What clients send by mistake or in bad faith: always a clear 4xx that names the field, never a row, never a 5xx.

use super::{
    lists::with,
    walk::{Document, changes, is_type},
};
use aisha_kernel::{cursor::Cursor, new_id};
use aisha_testkit::{Client, Reply, Stack};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// Values that do not fit a field.
fn misfits(name: &str, schema: &Value) -> Vec<Value> {
    let long = |n: u64| json!("x".repeat(usize::try_from(n).unwrap() + 1));
    if schema["enum"].is_array() {
        return vec![json!("no such value"), json!(5), json!([]), json!("a\u{0}")];
    }
    match schema["format"].as_str() {
        Some("uuid") => return vec![json!("x"), json!(5), json!(new_id()), json!("")].into_iter().take(3).collect(),
        Some("email") => {
            let bad =
                ["nobody", "a b@example.test", "@example.test", "a@b", "a\u{0}b@example.test", "a\nb@example.test"];
            return bad
                .into_iter()
                .map(Value::from)
                .chain([json!(5), json!(format!("{}@example.test", "x".repeat(250)))])
                .collect();
        }
        Some("date") => {
            let bad = ["2026-02-30", "2026-13-01", "0000-01-01", "-001-01-01", "10000-01-01", "yesterday", "2026-1-1"];
            return bad.into_iter().map(Value::from).chain([json!(20_260_101)]).collect();
        }
        Some("date-time") => return vec![json!("2026-11-21T25:00:00Z"), json!("0000-01-01T00:00:00Z"), json!(5)],
        _ => {}
    }
    if is_type(schema, "integer") {
        return vec![
            json!("x"),
            json!(1.5),
            json!(99_999_999_999_i64),
            json!(-99_999_999_999_i64),
            json!(true),
            json!([1]),
        ];
    }
    if is_type(schema, "number") {
        return vec![json!("x"), json!(-1), json!(1.234), json!(1e20), json!("1e3"), json!(true), json!({})];
    }
    if is_type(schema, "boolean") {
        return vec![json!("maybe"), json!(1), json!([])];
    }
    if is_type(schema, "array") && schema["items"]["type"].is_null() {
        return vec![json!("x"), json!(5), json!({}), json!(["a\u{0}"]), json!(["x".repeat(70_000)])];
    }
    if is_type(schema, "array") {
        return vec![
            json!("x"),
            json!([5]),
            json!([""]),
            json!(["x".repeat(101)]),
            json!({}),
            json!(["a\u{0}"]),
            json!(vec!["a"; 101]),
        ];
    }
    if is_type(schema, "object") {
        let big = json!({ "a": "x".repeat(70_000) });
        let nul = [json!({ "a": "b\u{0}" }), json!({ "a\u{0}": 1 })];
        let plain = vec![json!([]), json!("x"), json!(5)];
        return if name == "custom_fields" { plain } else { plain.into_iter().chain(nul).chain([big]).collect() };
    }
    let mut bad = vec![json!(5), json!(true), json!([]), json!({}), json!("a\u{0}b"), json!("a\u{1b}b")];
    match schema["maxLength"].as_u64() {
        Some(most) => bad.push(long(most)),
        None => {
            bad.extend([json!("nobody"), json!("nobody@example.test"), json!(new_id()), json!("a\u{0}@example.test")])
        }
    }
    bad
}

#[track_caller]
fn refused(reply: &Reply, what: &str) {
    let body = reply.json();
    assert!((400..500).contains(&reply.status.as_u16()), "{what}: {} {}", reply.status, reply.text);
    assert_eq!(body["status"], "error", "{what}");
    assert!(body["code"].is_string() && body["message"].is_string() && body["details"].is_array(), "{what}: {body}");
    assert!(body["request_id"].is_string(), "{what}: {body}");
}

#[actix_web::test]
async fn every_field_refuses_what_does_not_fit() {
    let (stack, document) = (Stack::start().await, Document::read());
    let t = stack.tenant().await;
    let me = &t.admin.client;
    for (plural, schema) in document.records() {
        let base = format!("/api/{plural}");
        let at = format!("{base}/{}", me.post(&base, document.sample(&plural)).await.expect(201).id());
        let before = changes(&stack, t.id).await;
        for (name, schema) in schema["properties"].as_object().unwrap() {
            for bad in misfits(name, schema) {
                let mut body = document.sample(&plural);
                body[name] = bad.clone();
                let short: String = bad.to_string().chars().take(60).collect();
                for reply in [me.post(&base, body).await, me.patch(&at, json!({ name: bad })).await] {
                    assert_eq!(reply.status, 422, "{plural}.{name} = {short}: {}", reply.text);
                    assert_eq!(reply.fields(), [name.as_str()], "{short}: {}", reply.text);
                }
            }
        }
        for required in schema["required"].as_array().unwrap() {
            let mut body = document.sample(&plural);
            body.as_object_mut().unwrap().remove(required.as_str().unwrap());
            assert_eq!(me.post(&base, body).await.expect(422).fields(), [required.as_str().unwrap()]);
            for empty in [json!(null), json!(""), json!("  ")] {
                let reply = me.patch(&at, json!({ required.as_str().unwrap(): empty })).await.expect(422);
                assert_eq!(reply.fields(), [required.as_str().unwrap()]);
            }
        }
        assert_eq!(me.patch(&at, json!({ "secret": 1, "' OR 1=1": 2 })).await.expect(422).fields().len(), 2);
        assert_eq!(changes(&stack, t.id).await, before, "{plural}: something was written");
    }
}

#[actix_web::test]
async fn bodies_that_are_no_json_object() {
    let (stack, document) = (Stack::start().await, Document::read());
    let t = stack.tenant().await;
    let me = &t.admin.client;
    for (plural, _) in document.records() {
        let base = format!("/api/{plural}");
        let at = format!("{base}/{}", me.post(&base, document.sample(&plural)).await.expect(201).id());
        let before = changes(&stack, t.id).await;
        let deep = format!("{}1{}", "[".repeat(5_000), "]".repeat(5_000));
        for (method, path) in [("POST", &base), ("PATCH", &at), ("PUT", &at)] {
            let send = async |kind: &str, body: &[u8]| {
                me.send(method, path, &[("content-type", kind)], Some(body.to_vec())).await
            };
            let reply = send("application/json", b"{\n  \"notes\": \"x\",\n  \"tags\": }\n").await.expect(400);
            assert!(reply.text.contains("line 3 column"), "{}", reply.text);
            for (what, body) in [
                ("empty", &b""[..]),
                ("blank", b" "),
                ("array", b"[{}]"),
                ("text", b"\"x\""),
                ("null", b"null"),
                ("half", b"{\"notes\": \"x"),
                ("two", b"{} {}"),
                ("lone surrogate", br#"{"notes":"\ud800"}"#),
                ("invalid UTF-8", b"{\"notes\":\"\xff\xfe\"}"),
                ("NaN", br#"{"notes":NaN}"#),
                ("comment", b"{/* */}"),
                ("deep", deep.as_bytes()),
                ("endless number", br#"{"metadata":{"a":1e999999}}"#),
                ("tenant", br#"{"tenant_id":5}"#),
                ("slug", br#"{"tenant_id":"acme"}"#),
            ] {
                let reply = send("application/json", body).await;
                refused(&reply, what);
                assert!(matches!(reply.status.as_u16(), 400 | 422), "{what}: {}", reply.text);
            }
            assert_eq!(send("application/json", br#"{"notes":"a","notes":"b"}"#).await.expect(422).fields(), ["notes"]);
            for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "json"] {
                let reply = send(kind, b"{}").await.expect(415);
                assert_eq!(reply.code(), "unsupported_media_type", "{kind}");
            }
            me.send(method, path, &[], Some(b"{}".to_vec())).await.expect(415);
        }
        assert_eq!(changes(&stack, t.id).await, before, "{plural}: something was written");
    }
}

/// Whether all that an answer's head announces is there.
fn is_whole(answer: &str) -> bool {
    let Some((head, body)) = answer.split_once("\r\n\r\n") else { return false };
    let head = head.to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
    length.is_some_and(|length| body.len() >= length)
}

/// Sends a request byte by byte and returns the answer, as much of it as comes.
async fn raw(me: &Client, path: &str, framing: &str, chunk: &[u8], times: usize) -> String {
    let (base, credential) = me.raw();
    let (name, value) = credential.unwrap();
    let mut socket = tokio::net::TcpStream::connect(base.trim_start_matches("http://")).await.unwrap();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n{name}: {value}\r\nContent-Type: application/json\r\n{framing}\r\n\r\n"
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    for _ in 0..times {
        // Whoever refuses a body need not read it.
        if socket.write_all(chunk).await.is_err() {
            break;
        }
    }
    // The answer may come in pieces. After it the connection may be reset, or stay open for the rest of a body.
    let (mut answer, mut piece) = (String::new(), vec![0; 4096]);
    while !is_whole(&answer)
        && let Ok(n @ 1..) = socket.read(&mut piece).await
    {
        answer += &String::from_utf8_lossy(&piece[..n]);
    }
    answer
}

#[actix_web::test]
async fn bodies_that_are_too_large() {
    let stack = Stack::start().await;
    let t = stack.tenant().await;
    for path in ["/api/accounts", "/api/accounts/bulk", "/api/customfields"] {
        let declared = raw(&t.admin.client, path, "Content-Length: 10485761", b"{", 1).await;
        assert!(declared.starts_with("HTTP/1.1 413") && declared.contains("payload_too_large"), "{path}: {declared}");
        let chunk = [b"100000\r\n".to_vec(), vec![b' '; 0x10_0000], b"\r\n".to_vec()].concat();
        let chunked = raw(&t.admin.client, path, "Transfer-Encoding: chunked", &chunk, 11).await;
        assert!(chunked.starts_with("HTTP/1.1 413") && chunked.contains("payload_too_large"), "{path}: {chunked}");
    }
    let liar = raw(&t.admin.client, "/api/accounts", "Content-Length: ten", b"", 0).await;
    assert!(liar.starts_with("HTTP/1.1 400"), "{liar}");
}

#[actix_web::test]
async fn queries_that_cannot_be_used() {
    let (stack, document) = (Stack::start().await, Document::read());
    let t = stack.tenant().await;
    let me = &t.admin.client;
    for (plural, schema) in document.records() {
        let path = format!("/api/{plural}");
        let nested = |n: usize| format!("{}{{}}{}", r#"{"$and":["#.repeat(n), "]}".repeat(n));
        let many = json!({ "$or": vec![json!({ "id": new_id() }); 51] }).to_string();
        let values = json!({ "id": { "$in": vec![new_id(); 201] } }).to_string();
        let long = "x".repeat(501);
        let cursor = |values: &[Option<&str>], sort: &str| {
            let values = values.iter().map(|v| v.map(str::to_owned)).collect();
            Cursor { sort: sort.to_owned(), values, id: new_id() }.encode()
        };
        let cursors = [
            cursor(&[Some("x")], "-created_at"),
            cursor(&[Some("0000-01-01T00:00:00Z")], "-created_at"),
            cursor(&[], "-created_at"),
            cursor(&[Some("x")], "name"),
            cursor(&[Some("2026-01-01T00:00:00Z")], "created_at"),
        ];
        let mut bad: Vec<(&str, &str)> = vec![
            ("limit", "0"),
            ("limit", "-1"),
            ("limit", "201"),
            ("limit", "99999999999999999999"),
            ("limit", "x"),
            ("limit", ""),
            ("offset", "-1"),
            ("offset", "100001"),
            ("offset", "x"),
            ("cursor", "garbage"),
            ("cursor", ""),
            ("sort", "secret"),
            ("sort", "tags"),
            ("sort", "metadata"),
            ("sort", "id;DROP TABLE"),
            ("sort", "custom_fields.x"),
            ("count", "all"),
            ("sort", "created_at,updated_at,version,created_by"),
            ("sort", "version,-version"),
            ("fields", "secret"),
            ("filter", ""),
            ("filter", "{"),
            ("filter", "[]"),
            ("filter", r#"{"secret":1}"#),
            ("filter", r#"{"id":{"$where":"1"}}"#),
            ("filter", r#"{"$or":5}"#),
            ("filter", r#"{"$or":[5]}"#),
            ("filter", r#"{"$nor":[]}"#),
            ("filter", r#"{"metadata":{}}"#),
            ("filter", r#"{"version":{"$gt":null}}"#),
            ("filter", r#"{"is_test_data":{"$gt":true}}"#),
            ("filter", &many),
            ("filter", &values),
            ("filter", r#"{"version":{"$contains":"1"}}"#),
            ("filter", r#"{"version":"x"}"#),
            ("filter", r#"{"version":99999999999999}"#),
            ("filter", r#"{"created_at":{"$gt":"yesterday"}}"#),
            ("filter", r#"{"tags":{"$in":["a",["b"]]}}"#),
            ("filter", r#"{"tags":{"$in":[null]}}"#),
            ("filter", r#"{"tags":5}"#),
            ("filter", r#"{"tags":{"$gt":"a"}}"#),
            ("filter", r#"{"tags":"a\u0000"}"#),
            ("filter", r#"{"id":{"$exists":"yes"}}"#),
            ("filter", r#"{"custom_fields.a-b":1}"#),
            ("filter", r#"{"custom_fields.a":[{}]}"#),
            ("filter", r#"{"custom_fields.":1}"#),
            ("filter", r#"{"custom_fields.a":"\u0000"}"#),
            ("filter", r#"{"custom_fields.a":1e999999}"#),
            ("custom_fields.a';--", "1"),
            ("custom_fields.a", "\0"),
            ("id", "x"),
            ("id", "\0"),
            ("created_at", "0000-01-01"),
            ("created_at", "2026-02-30"),
            ("tenant_id", "acme"),
            ("tenant_id", "\0"),
            ("secret", "1"),
            ("q", "a\0b"),
            ("$or", "{"),
            ("$or", "x"),
            ("tags", "\0"),
            ("", "1"),
        ];
        bad.extend(cursors.iter().map(|c| ("cursor", c.as_str())));
        let (deep, far_too_deep) = (nested(6), nested(500));
        bad.extend([("filter", deep.as_str()), ("filter", far_too_deep.as_str()), ("q", &long)]);
        // What only those above see cannot be filtered by.
        let open = |s: &Value| !s["description"].as_str().unwrap().contains("shown to managers and above");
        let text = schema["properties"].as_object().unwrap().iter().find(|(_, s)| s["maxLength"] == 200 && open(s));
        let text = text.unwrap().0;
        let (contains, nul) = (json!({ "$contains": long }).to_string(), json!({ "$regex": "a\u{0}" }).to_string());
        bad.extend([
            (text.as_str(), contains.as_str()),
            (text, &nul),
            (text, "\0"),
            (text, r#"{"$all":["a"]}"#),
            (text, "{"),
        ]);
        for (name, value) in bad {
            let reply = me.get(&with(&path, &[(name, value)])).await;
            let short: String = value.chars().take(60).collect();
            refused(&reply, &format!("{plural} {name}={short}"));
            assert_eq!(reply.code(), "invalid_parameter", "{plural} {name}={short}: {}", reply.text);
            let named = reply.fields() == [name] || reply.fields() == ["filter"];
            assert!(
                named && (name != "cursor" || reply.fields() == ["cursor"]),
                "{plural} {name}={short}: {}",
                reply.text
            );
        }
        let both = me
            .get(&with(&path, &[("offset", "5"), ("cursor", &cursor(&[Some("2026-01-01T00:00:00Z")], "-created_at"))]))
            .await;
        assert_eq!(both.expect(400).fields(), ["offset"]);
        refused(&me.get(&format!("{path}?q={}", "x".repeat(20_000))).await, "a long query");

        // Odd, but nothing is wrong with it.
        let bomb = json!({ "$regex": "(a+)+$".repeat(50), "$options": "i" }).to_string();
        for (name, value) in [
            (text.as_str(), bomb.as_str()),
            ("custom_fields.a", r"\u0000"),
            ("custom_fields.a", "null"),
            ("q", "%"),
            ("q", ""),
            ("filter", r#"{"$and":[{"$or":[{"$and":[]}]}]}"#),
            ("sort", ""),
            ("sort", "-id"),
            ("cursor", &cursor(&[None], "-created_at")),
        ] {
            me.get(&with(&path, &[(name, value)])).await.expect(200);
        }
        me.get(&format!("{path}?q=%ff%fe")).await.expect(200);
    }
}

#[actix_web::test]
async fn cursors_of_another_order() {
    let stack = Stack::start().await;
    let t = stack.tenant().await;
    let me = &t.admin.client;
    for n in ["a", "b"] {
        me.post("/api/accounts", json!({ "name": n, "annual_revenue": 5 })).await.expect(201);
    }
    for (sort, other) in
        [("name", "-name"), ("annual_revenue", "employee_count"), ("-created_at", "created_at"), ("name", "type,name")]
    {
        let data = me.get(&format!("/api/accounts?limit=1&sort={sort}")).await.expect(200).data();
        let cursor = data["next_cursor"].as_str().unwrap();
        me.get(&with("/api/accounts", &[("sort", sort), ("cursor", cursor)])).await.expect(200);
        let reply = me.get(&with("/api/accounts", &[("sort", other), ("cursor", cursor)])).await.expect(400);
        assert_eq!(reply.fields(), ["cursor"]);
    }
}

#[actix_web::test]
async fn paths_and_headers() {
    let (stack, document) = (Stack::start().await, Document::read());
    let t = stack.tenant().await;
    let me = &t.admin.client;
    for op in document.ops.iter().filter(|op| op.path.contains("{id}")) {
        for id in ["x", "1", "%00", "%ff", "..%2f..", &"9".repeat(300), "' OR 1=1"] {
            let path = op.path.replace("{id}", &id.replace(' ', "%20"));
            let headers = [("content-type", "application/json")];
            let reply = me.send(&op.method.to_uppercase(), &path, &headers, Some(b"{}".to_vec())).await;
            refused(&reply, &format!("{} {path}", op.method));
        }
        let path = op.path.replace("{id}", "x");
        let reply = me
            .send(&op.method.to_uppercase(), &path, &[("content-type", "application/json")], Some(b"{}".to_vec()))
            .await;
        assert_eq!(reply.expect(400).fields(), ["id"]);
    }
    let at = format!("/api/accounts/{}", me.post("/api/accounts", json!({ "name": "x" })).await.expect(201).id());
    let before = changes(&stack, t.id).await;
    let body = || Some(b"{\"industry\":\"x\"}".to_vec());
    for tag in ["garbage", "\"x\"", "\"99\"", "W/\"1\"", "\"1\", \"2\"", "1"] {
        for (method, body) in [("PATCH", body()), ("PUT", body()), ("DELETE", None)] {
            let reply = me.send(method, &at, &[("content-type", "application/json"), ("if-match", tag)], body).await;
            assert_eq!(reply.expect(412).code(), "precondition_failed", "{tag}");
        }
    }
    for key in ["x".repeat(256), " ".to_owned()] {
        let headers = [("content-type", "application/json"), ("idempotency-key", key.as_str())];
        for (method, path) in [("POST", "/api/accounts"), ("PATCH", &at), ("POST", "/api/accounts/bulk")] {
            let reply = me.send(method, path, &headers, Some(b"{\"name\":\"y\"}".to_vec())).await;
            assert_eq!(reply.expect(400).fields(), ["Idempotency-Key"]);
        }
        assert_eq!(me.send("DELETE", &at, &headers, None).await.expect(400).fields(), ["Idempotency-Key"]);
    }
    assert_eq!(me.get(&format!("{at}?fields=name")).await.expect(400).fields(), ["fields"]);
    assert_eq!(changes(&stack, t.id).await, before, "something was written");
}

#[actix_web::test]
async fn every_script_survives() {
    let stack = Stack::start().await;
    let t = stack.tenant().await;
    let me = &t.admin.client;
    for name in [
        "👩‍👩‍👧‍👦 & Söhne 🏳️‍🌈",
        "שלום עולם",
        "شركة (مثال)",
        "日本語テスト",
        "e\u{301}",
        "\u{202e}abc",
        "𝕬𝖈𝖒𝖊",
        "Robert'); DROP TABLE accounts;--",
    ] {
        let body = json!({ "name": name, "tags": [name], "metadata": { name: name } });
        let made = me.post("/api/accounts", body).await.expect(201);
        let row = me.get(&format!("/api/accounts/{}", made.id())).await.expect(200).data();
        assert_eq!(
            (&row["name"], &row["tags"], &row["metadata"]),
            (&json!(name), &json!([name]), &json!({ name: name }))
        );
        for parameter in ["name", "tags"] {
            let list = me.get(&with("/api/accounts", &[(parameter, name)])).await.expect(200).data();
            assert_eq!(list["total"], 1, "{parameter}={name}");
        }
    }
}
