//! Reading the audit log: who may, filters, pages while rows arrive, the file, and what leaves a row at all.

use aisha_testkit::{Stack, TestTenant};
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

async fn list(t: &TestTenant, query: &str) -> Value {
    t.admin.client.get(&format!("/api/audit-logs?{query}")).await.expect(200).data()
}

fn ids(page: &Value) -> Vec<String> {
    page["audit-logs"].as_array().unwrap().iter().map(|e| e["id"].as_str().unwrap().to_owned()).collect()
}

#[actix_web::test]
async fn who_did_what_is_found_and_only_by_admins() {
    let stack = Stack::start().await;
    let (t, other) = (stack.tenant().await, stack.tenant().await);
    let body = json!({ "first_name": "Ada", "last_name": "King", "assigned_to": t.employee.employee_id });
    let id = t.manager.client.post("/api/contacts", body).await.expect(201).id();
    t.employee.client.patch(&format!("/api/contacts/{id}"), json!({ "job_title": "Countess" })).await.expect(200);
    other.admin.client.post("/api/contacts", json!({ "first_name": "X", "last_name": "Y" })).await.expect(201);

    let page = list(&t, &format!("entity_id={id}&entity_type=contact")).await;
    let [update, create] = page["audit-logs"].as_array().unwrap().as_slice() else { panic!("{page:#}") };
    assert_eq!((&update["action"], &create["action"], &page["total"]), (&json!("update"), &json!("create"), &json!(2)));
    assert_eq!(
        (&update["old_values"], &update["new_values"]),
        (&json!({"job_title": null}), &json!({"job_title": "Countess"}))
    );
    assert_eq!((&update["user_email"], &update["role"]), (&json!(t.employee.email), &json!("employee")));
    assert_eq!((&update["entity_type"], &update["entity_id"]), (&json!("contact"), &json!(id)));
    assert!(update["request_id"].is_string() && update["changed_at"].is_string());
    for (query, n) in [
        (format!("user_email={}", t.manager.email.to_uppercase()), 1),
        (format!("user_email={}&action=update&entity_type=contacts", t.employee.email), 1),
        (format!("user_email={}", other.admin.email), 0),
        ("user_email=nobody@example.test".to_owned(), 0),
        (format!("entity_id={id}&to=2020-01-01"), 0),
        (format!("entity_id={id}&from=2020-01-01"), 2),
        (format!("entity_id={id}&from={}", update["changed_at"].as_str().unwrap().replace('+', "%2B")), 1),
        (format!("entity_id={id}&to={}", create["changed_at"].as_str().unwrap().replace('+', "%2B")), 1),
        ("action=no_such_action".to_owned(), 0),
    ] {
        assert_eq!(list(&t, &query).await["total"], n, "{query}");
    }
    let all = t.admin.client.get("/api/audit-logs?limit=200").await.expect(200);
    assert!(all.data()["audit-logs"].as_array().unwrap().iter().all(|e| e["tenant_id"] == json!(t.id)));
    assert!(!all.text.contains(&other.id.to_string()));

    for (query, field) in [
        ("user_email=", "user_email"),
        ("entity_id=x", "entity_id"),
        ("from=yesterday", "from"),
        ("from=2026-02-01&to=2026-01-01", "to"),
        ("limit=201", "limit"),
        ("offset=-1", "offset"),
        ("cursor=x", "cursor"),
        ("scope=all", "scope"),
        ("sort=action", "sort"),
        ("count=some", "count"),
    ] {
        assert_eq!(
            t.admin.client.get(&format!("/api/audit-logs?{query}")).await.expect(400).fields(),
            [field],
            "{query}"
        );
    }
    let at = format!("/api/audit-logs/{}", update["id"].as_str().unwrap());
    for person in [&t.manager, &t.employee] {
        for path in ["/api/audit-logs", "/api/audit-logs/export", &at] {
            person.client.get(path).await.expect(403);
        }
    }
    other.admin.client.get(&at).await.expect(404);
    t.admin.client.get(&at).await.expect(200);
    for method in ["DELETE", "PUT", "PATCH", "POST"] {
        for path in ["/api/audit-logs", &at] {
            t.admin.client.send(method, path, &[], None).await.expect(405);
        }
    }
}

#[actix_web::test]
async fn superadmins_name_the_tenant_or_the_platform() {
    let stack = Stack::start().await;
    let t = stack.tenant().await;
    let root = stack.superadmin().await;
    assert_eq!(root.client.get("/api/audit-logs").await.expect(400).fields(), ["tenant_id"]);
    root.client.post(&format!("/api/accounts?tenant_id={}", t.id), json!({ "name": "Support" })).await.expect(201);
    let page = list(&t, "entity_type=account").await;
    let entry = &page["audit-logs"][0];
    assert_eq!(
        (&entry["impersonator"], &entry["user_email"], &entry["role"]),
        (&json!(root.user_id), &json!(root.email), &json!("superadmin"))
    );
    assert_eq!(list(&t, &format!("user_email={}", root.email)).await["total"], 1);

    let platform =
        root.client.get(&format!("/api/audit-logs?scope=platform&entity_id={}", root.user_id)).await.expect(200).data();
    assert_eq!(
        (&platform["total"], &platform["audit-logs"][0]["tenant_id"]),
        (&json!(1), &json!(null)),
        "{platform:#}"
    );
    let at = format!("/api/audit-logs/{}", platform["audit-logs"][0]["id"].as_str().unwrap());
    root.client.get(&format!("{at}?scope=platform")).await.expect(200);
    root.client.get(&format!("{at}?tenant_id={}", t.id)).await.expect(404);
    t.admin.client.get(&at).await.expect(404);
    for path in
        ["/api/audit-logs?scope=platform", "/api/audit-logs/export?scope=platform", &format!("{at}?scope=platform")]
    {
        t.admin.client.get(path).await.expect(403);
    }
    root.client.get(&format!("/api/audit-logs?scope=platform&tenant_id={}", t.id)).await.expect(400);
}

#[actix_web::test]
async fn pages_neither_skip_nor_repeat_while_rows_arrive() {
    let stack = Stack::start().await;
    let t = stack.tenant().await;
    // Rows of one statement share their time.
    let bulk = |n: i32| {
        format!(
            "INSERT INTO contacts (tenant_id, first_name, last_name) SELECT '{}', 'F' || i, 'L' FROM generate_series(1, {n}) i",
            t.id
        )
    };
    stack.sql(&bulk(450)).await;
    let there: BTreeSet<String> =
        ids(&list(&t, "limit=1&action=create&entity_type=contacts").await).into_iter().collect();
    assert_eq!(there.len(), 1);
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = list(&t, &format!("limit=100&action=create&entity_type=contacts{cursor}")).await;
        seen.extend(ids(&page));
        stack.sql(&bulk(3)).await;
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!((seen.len(), seen.iter().collect::<BTreeSet<_>>().len()), (450, 450));
    stack.sql(&bulk(10_000)).await;
    let page = list(&t, "limit=1&action=create").await;
    assert_eq!((&page["total"], &page["total_is_lower_bound"]), (&json!(10_000), &json!(true)));
    assert!(list(&t, "limit=1&count=exact").await["total"].as_i64() > Some(10_450));
    assert!(list(&t, "limit=1&count=none").await["total"].is_null());
}

#[actix_web::test]
async fn the_file_holds_the_list_and_no_formula() {
    let stack = Stack::start().await;
    let t = stack.tenant().await;
    for n in 0..3 {
        t.admin.client.post("/api/accounts", json!({ "name": format!("=cmd {n}, \"x\"") })).await.expect(201);
    }
    stack.sql(&format!("INSERT INTO contacts (tenant_id, first_name, last_name) SELECT '{}', 'F' || i, 'L' FROM generate_series(1, 1200) i", t.id)).await;
    stack.sql(&format!("INSERT INTO audit_log (tenant_id, action, table_name, user_agent) VALUES ('{}', 'test', 'test', '=HYPERLINK(1)')", t.id)).await;
    let total = list(&t, "count=exact").await["total"].as_u64().unwrap();
    let agent = [("user-agent", "exporter/1")];
    let reply = t.admin.client.send("GET", "/api/audit-logs/export", &agent, None).await.expect(200);
    assert_eq!(reply.header("content-type"), Some("text/csv; charset=utf-8"));
    let mut csv = csv::Reader::from_reader(reply.text.as_bytes());
    let rows: Vec<csv::StringRecord> = csv.records().map(Result::unwrap).collect();
    assert_eq!(rows.len() as u64, total, "and not the row that says it was taken out");
    assert!(reply.text.contains("'=HYPERLINK(1)"));
    assert!(rows.iter().flatten().all(|cell| !cell.starts_with('=')), "no cell is a formula");
    let some = t.admin.client.get("/api/audit-logs/export?entity_type=account&limit=1").await.expect(200);
    assert_eq!(some.text.lines().count(), 4, "the filter counts, the limit does not");
    let page = list(&t, "action=export").await;
    assert_eq!(page["total"], 2);
    let entry = &page["audit-logs"][1];
    assert_eq!(
        (&entry["user_email"], &entry["entity_type"], &entry["user_agent"]),
        (&json!(t.admin.email), &json!("audit_log"), &json!("exporter/1"))
    );
}

#[actix_web::test]
async fn a_refusal_leaves_a_row_and_a_thousand_leave_one() {
    let stack = Stack::start().await;
    let (t, other) = (stack.tenant().await, stack.tenant().await);
    let id = t
        .admin
        .client
        .post("/api/accounts", json!({ "name": "A", "assigned_to": t.employee.employee_id }))
        .await
        .expect(201)
        .id();
    for _ in 0..30 {
        t.employee.client.delete(&format!("/api/accounts/{id}")).await.expect(403);
        t.employee.client.get(&format!("/api/accounts/{}", aisha_kernel::new_id())).await.expect(404);
    }
    t.employee.client.get("/api/accounts/export").await.expect(403);
    t.employee.client.get(&format!("/api/accounts?tenant_id={}", other.id)).await.expect(403);
    let page = list(&t, "action=PERMISSION_DENIED").await;
    let entries = page["audit-logs"].as_array().unwrap();
    assert_eq!(entries.len(), 3, "{page:#}");
    assert!(entries.iter().all(|e| e["user_email"] == json!(t.employee.email) && e["role"] == "employee"));
    let oldest = &entries[2]["new_values"];
    assert_eq!((&oldest["method"], &oldest["code"]), (&json!("DELETE"), &json!("forbidden")));
    assert_eq!(oldest["route"], "/api/accounts/{id}");
    assert_eq!(entries[0]["new_values"]["code"], "invalid_tenant");
    assert_eq!(
        list(&other, "action=PERMISSION_DENIED").await["total"],
        0,
        "who asks for another's tenant leaves it at home"
    );
}

#[actix_web::test]
async fn what_people_do_to_accounts_is_there_and_no_secret_is() {
    let stack = Stack::platform().await;
    let t = stack.tenant().await;
    let password = "Correct-Horse-42!";
    let email = format!("u{}@example.test", aisha_kernel::new_id().simple());
    let body = json!({ "email": email, "password": password, "first_name": "N", "last_name": "U", "role": "employee", "tenant_id": t.id });
    t.admin.client.post("/api/users", body).await.expect(201);
    let login = |password: &str| json!({ "email": email, "password": password });
    stack.anonymous().post("/api/auth/login", login("Wrong-Horse-42!")).await.expect(401);
    let token = stack.anonymous().post("/api/auth/login", login(password)).await.expect(200).json()["token"]
        .as_str()
        .unwrap()
        .to_owned();
    let me = stack.anonymous().with("authorization", format!("Bearer {token}"));
    me.post("/api/auth/logout", json!({})).await;
    let key = t
        .admin
        .client
        .post("/api/apikeys", json!({ "name": "k", "permissions": ["read:contacts"] }))
        .await
        .expect(201)
        .data();
    t.manager.client.get("/api/users").await.expect(403);
    let all = t.admin.client.get("/api/audit-logs?limit=200").await.expect(200);
    for secret in [
        password,
        "Wrong-Horse",
        "argon2",
        key["key"].as_str().unwrap(),
        &token,
        "password_hash",
        "key_hash",
        "_sealed",
    ] {
        assert!(!all.text.contains(secret), "{secret}");
    }
    let page = all.data();
    let actions: BTreeSet<&str> =
        page["audit-logs"].as_array().unwrap().iter().map(|e| e["action"].as_str().unwrap()).collect();
    for action in ["USER_LOGIN", "FAILED_LOGIN", "USER_LOGOUT", "PERMISSION_DENIED", "create"] {
        assert!(actions.contains(action), "{action}: {actions:?}");
    }
    let failed = list(&t, &format!("user_email={email}&action=FAILED_LOGIN")).await;
    assert_eq!((&failed["total"], &failed["audit-logs"][0]["user_email"]), (&json!(1), &json!(email)));
}

#[actix_web::test]
async fn what_is_shown_with_an_address_is_found_by_it() {
    let stack = Stack::platform().await;
    let (t, root) = (stack.tenant().await, stack.superadmin().await);
    let nobody = format!("nobody{}@example.test", aisha_kernel::new_id().simple());
    let former = format!("former{}@example.test", aisha_kernel::new_id().simple());
    stack.sql(&format!("UPDATE users SET email = '{former}' WHERE id = '{}'", t.employee.user_id)).await;
    for email in [&nobody, &former] {
        let login = json!({ "email": email.to_uppercase(), "password": "Wrong-Horse-42!" });
        stack.anonymous().post("/api/auth/login", login).await.expect(401);
    }
    stack.sql(&format!("UPDATE users SET email = '{}' WHERE id = '{}'", t.employee.email, t.employee.user_id)).await;
    let emails = |page: &Value| -> Vec<String> {
        let entries = page["audit-logs"].as_array().unwrap();
        entries.iter().map(|e| e["user_email"].as_str().unwrap().to_owned()).collect()
    };

    // An address that nobody has belongs to no tenant.
    let of_nobody = format!("user_email={}&action=FAILED_LOGIN", nobody.to_uppercase());
    let platform = root.client.get(&format!("/api/audit-logs?scope=platform&{of_nobody}")).await.expect(200).data();
    assert_eq!((&platform["total"], emails(&platform)), (&json!(1), vec![nobody]), "{platform:#}");
    assert_eq!(list(&t, &of_nobody).await["total"], 0);

    // One that a user had then is found by it, and by the user's address of today; in no other tenant.
    for email in [&former, &t.employee.email] {
        let page = list(&t, &format!("user_email={email}&action=FAILED_LOGIN")).await;
        assert_eq!((&page["total"], emails(&page)), (&json!(1), vec![former.clone()]), "{email}: {page:#}");
    }
    let other = stack.tenant().await;
    assert_eq!(list(&other, &format!("user_email={former}")).await["total"], 0);
    root.client.get(&format!("/api/audit-logs?scope=platform&user_email={former}")).await.expect(200);
}

#[actix_web::test]
async fn an_address_is_found_without_a_look_at_every_failure() {
    // Its own database, in which an index that is used was used here.
    let stack = Stack::events_with(&[("CRM_CORE_ROLES", "api")]).await;
    let root = stack.superadmin().await;
    // Somebody tries addresses by the thousand: they all concern no tenant.
    stack
        .sql(
            "INSERT INTO audit_log (action, table_name, new_values) SELECT 'FAILED_LOGIN', 'users', \
             jsonb_build_object('email', i || '@example.test') FROM generate_series(1, 50000) i; ANALYZE audit_log",
        )
        .await;
    let read = async |what: &str| {
        stack
            .count(&format!(
                "SELECT coalesce(sum(idx_scan), 0)::bigint FROM pg_stat_user_indexes \
                 WHERE relname LIKE 'audit_log_%' AND indexrelname LIKE '%{what}%'"
            ))
            .await
    };
    // The server counts now and then.
    let end = Instant::now() + Duration::from_secs(30);
    while read("_expr_").await == 0 {
        assert!(Instant::now() < end, "another way was taken");
        let page = root.client.get("/api/audit-logs?scope=platform&user_email=777@example.test").await.expect(200);
        assert_eq!(page.data()["total"], 1);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert_eq!(read("tenant_id_action").await, 0, "nor all of the failures");
}

#[actix_web::test]
async fn who_takes_something_out_of_a_tenant_is_named() {
    let stack = Stack::platform().await;
    let (t, root) = (stack.tenant().await, stack.superadmin().await);
    for path in ["audit-logs", "system-logs", "contacts", "users"] {
        let agent = [("user-agent", "exporter/2")];
        let of = format!("/api/{path}/export?tenant_id={}", t.id);
        root.client.send("GET", &of, &agent, None).await.expect(200);
        t.admin.client.get(&format!("/api/{path}/export")).await.expect(200);
    }
    let page = list(&t, "limit=200").await;
    let (taken, own): (Vec<&Value>, Vec<&Value>) = page["audit-logs"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|e| ["export", "DATA_EXPORT"].contains(&e["action"].as_str().unwrap()))
        .partition(|e| e["role"] == "superadmin");
    let tables = |entries: &[&Value]| -> BTreeSet<String> {
        entries.iter().map(|e| e["table_name"].as_str().unwrap().to_owned()).collect()
    };
    let all = BTreeSet::from(["audit_log", "system_logs", "contacts", "users"].map(str::to_owned));
    assert_eq!((tables(&taken), tables(&own)), (all.clone(), all));
    for entry in &taken {
        assert_eq!(
            (&entry["impersonator"], &entry["user_email"], &entry["user_agent"]),
            (&json!(root.user_id), &json!(root.email), &json!("exporter/2")),
            "{entry:#}"
        );
        assert!(entry["request_id"].is_string() && entry["ip"].is_string(), "{entry:#}");
    }
    assert!(own.iter().all(|e| e["impersonator"].is_null() && e["user_email"] == json!(t.admin.email)), "{own:#?}");
}
