//! User administration through the gateway: files, directories, roles, verbs, the own account, the menu.

use aisha_auth::Role;
use aisha_testkit::{Person, Reply, Stack, TestTenant};
use serde_json::{Value, json};
use uuid::Uuid;

fn fresh() -> String {
    format!("u-{}@example.test", aisha_kernel::new_id().simple())
}

/// A user of the tenant that has no session yet.
async fn make(t: &TestTenant, body: Value) -> Value {
    let mut all = json!({"email": fresh(), "first_name": "Ana", "last_name": "Lopez"});
    all.as_object_mut().unwrap().extend(body.as_object().unwrap().clone());
    t.admin.client.post("/api/users", all).await.expect(201).data()
}

async fn raw(person: &Person, path: &str, kind: &str, body: impl Into<Vec<u8>>) -> Reply {
    person.client.send("POST", path, &[("content-type", kind)], Some(body.into())).await
}

fn at(user: &Value) -> String {
    format!("/api/users/{}", user["id"].as_str().unwrap())
}

fn statuses(reply: &Value) -> Vec<&str> {
    reply["results"].as_array().unwrap().iter().map(|r| r["status"].as_str().unwrap()).collect()
}

#[actix_web::test]
async fn a_file_makes_users_row_by_row() {
    let stack = Stack::platform().await;
    let (t, other) = (stack.tenant().await, stack.tenant().await);
    let (one, two, three) = (fresh(), fresh(), fresh());
    let csv = format!(
        "email,first_name,last_name,role,tenant_id,password,can_use_softphone,full_name\n\
         {one},Jane,Smith,employee,{id},,yes,\n\
         {},Bob,Jones,Manager,,Correct-Horse-7,,\n\
         {one},Jane,Again,employee,,,,\n\
         {three},,,superadmin,,,,\n\
         not-an-address,A,B,employee,,,maybe,\n\
         {},A,B,employee,{},,,\n\
         {},A,B,employee,,,,\n\
         {three},,,,,,,Carla de la Cruz\n",
        two.to_uppercase(),
        fresh(),
        other.id,
        other.employee.email,
        id = t.id,
    );
    for person in [&t.manager, &t.employee] {
        raw(person, "/api/users/bulk-import", "text/csv", csv.clone()).await.expect(403);
    }
    let dry = raw(&t.admin, "/api/users/bulk-import?dry_run=true", "text/csv", csv.clone()).await.expect(200).data();
    let expected = ["created", "created", "skipped", "error", "error", "error", "error", "created"];
    assert_eq!((statuses(&dry), &dry["dry_run"]), (expected.to_vec(), &json!(true)), "{dry}");
    assert_eq!(
        stack.count(&format!("SELECT count(*) FROM users WHERE email IN ('{one}', '{two}', '{three}')")).await,
        0
    );

    // As the manual's example sends it: the name of a form and the file itself.
    let done = raw(&t.admin, "/api/users/bulk-import", "multipart/form-data", csv.clone()).await.expect(200).data();
    assert_eq!(statuses(&done), expected, "{done}");
    let field = |row: usize| done["results"][row]["errors"][0]["field"].as_str().unwrap().to_owned();
    assert_eq!([field(3), field(4), field(5), field(6)], ["role", "can_use_softphone", "tenant_id", "email"]);
    assert_eq!((&done["created"], &done["skipped"], &done["failed"]), (&json!(3), &json!(1), &json!(4)));
    assert_eq!((&done["results"][2]["row"], &done["results"][2]["email"]), (&json!(3), &json!(one)));
    let bob = t.admin.client.get(&format!("/api/users/{}", done["results"][1]["id"].as_str().unwrap())).await;
    let bob = bob.expect(200).data();
    assert_eq!((&bob["email"], &bob["role"], &bob["tenant_id"]), (&json!(two), &json!("manager"), &json!(t.id)));
    assert!(bob["employee_id"].is_string(), "{bob}");
    let login = json!({"email": two, "password": "Correct-Horse-7"});
    stack.anonymous().post("/api/auth/login", login).await.expect(200);
    let carla = t.admin.client.get(&format!("/api/users?email={three}")).await.expect(200).data();
    assert_eq!(carla["users"][0]["last_name"], "de la Cruz");

    let before = stack.count(&format!("SELECT count(*) FROM audit_log WHERE tenant_id = '{}'", t.id)).await;
    let again = t.admin.client.import("/api/users/bulk-import", csv.as_bytes(), &[("on_duplicate", "skip")]).await;
    let again = again.expect(200).data();
    let repeated = ["skipped", "skipped", "skipped", "error", "error", "error", "error", "skipped"];
    assert_eq!(statuses(&again), repeated, "{again}");
    let after = stack.count(&format!("SELECT count(*) FROM audit_log WHERE tenant_id = '{}'", t.id)).await;
    assert_eq!(after, before + 1, "a repetition leaves the trace that it happened and no other");
    let audit = "SELECT count(*) FROM audit_log WHERE action = 'DATA_IMPORT' AND table_name = 'users' AND tenant_id = ";
    assert_eq!(stack.count(&format!("{audit}'{}'", t.id)).await, 3);
    assert!(!done.to_string().contains("Correct-Horse"));

    for (file, problem) in [
        ("", "empty"),
        ("first_name\nx\n", "no column email"),
        ("email,colour\na@b.example,red\n", "colour"),
        ("email,E-Mail\n", "E-Mail"),
    ] {
        let refused = raw(&t.admin, "/api/users/bulk-import", "text/csv", file).await.expect(422);
        assert!(refused.text.contains(problem), "{problem}: {}", refused.text);
        assert_eq!(refused.fields()[0], "file");
    }
    let many = format!("email\n{}", "x@y.example\n".repeat(5_001));
    assert!(raw(&t.admin, "/api/users/bulk-import", "text/csv", many).await.expect(422).text.contains("5000 rows"));
    raw(&t.admin, "/api/users/bulk-import", "application/json", "{}").await.expect(415);
    raw(&t.admin, "/api/users/bulk-import?on_duplicate=create", "text/csv", csv).await.expect(422);
    raw(&t.admin, &format!("/api/users/bulk-import?tenant_id={}", other.id), "text/csv", "email\n").await.expect(403);
}

#[actix_web::test]
async fn a_superadmin_imports_into_the_tenant_that_each_row_names() {
    let stack = Stack::platform().await;
    let (a, b, root) = (stack.tenant().await, stack.tenant().await, stack.superadmin().await);
    let (one, two, boss) = (fresh(), fresh(), fresh());
    let csv = format!(
        "email;tenant_id;role\n{one};{};admin\n{two};{};\n{};;employee\n{boss};;superadmin\n{};{};employee\n",
        a.id,
        b.id,
        fresh(),
        fresh(),
        Uuid::nil(),
    );
    let done = raw(&root, "/api/users/bulk-import", "text/csv", csv).await.expect(200).data();
    assert_eq!(statuses(&done), ["created", "created", "error", "created", "error"], "{done}");
    assert_eq!(done["results"][2]["errors"][0]["field"], "tenant_id");
    assert_eq!(done["results"][4]["errors"][0]["field"], "tenant_id");
    let users = b.admin.client.get("/api/users?limit=200").await.expect(200);
    assert!(users.text.contains(&two) && !users.text.contains(&one) && !users.text.contains(&boss));
}

#[actix_web::test]
async fn an_export_is_edited_and_comes_back() {
    let stack = Stack::platform().await;
    let (t, other) = (stack.tenant().await, stack.tenant().await);
    let evil = make(
        &t,
        json!({"first_name": "=cmd|' /c calc'!A1", "last_name": "O'Brien, \"Jr\"", "role": "manager",
        "navigation_permissions": {"CashFlow": false}, "department": "Sales", "external_id": "dir-1"}),
    )
    .await;
    let plain = make(&t, json!({"role": "employee"})).await;
    for person in [&t.manager, &t.employee] {
        person.client.get("/api/users/export").await.expect(403);
    }
    t.admin.client.get(&format!("/api/users/export?tenant_id={}", other.id)).await.expect(403);
    let export = t.admin.client.get("/api/users/export").await.expect(200);
    assert_eq!(export.header("content-type"), Some("text/csv; charset=utf-8"));
    assert!(export.text.contains("\"'=cmd|' /c calc'!A1\""), "{}", export.text);
    assert!(!export.text.contains(&other.employee.email) && !export.text.contains("password"));
    let audit = "SELECT count(*) FROM audit_log WHERE action = 'DATA_EXPORT' AND table_name = 'users' AND tenant_id = ";
    assert_eq!(stack.count(&format!("{audit}'{}'", t.id)).await, 1);
    let narrowed = t.admin.client.get("/api/users/export?role=manager&is_active=true").await.expect(200);
    assert!(narrowed.text.contains(evil["email"].as_str().unwrap()));
    assert!(!narrowed.text.contains(plain["email"].as_str().unwrap()));

    // Unchanged, it changes nothing: not even the row of the one who imports.
    let update = "/api/users/bulk-import?on_duplicate=update";
    let same = raw(&t.admin, update, "text/csv", export.text.clone()).await.expect(200).data();
    assert_eq!((&same["skipped"], &same["failed"]), (&json!(6), &json!(0)), "{same}");
    let read = t.admin.client.get(&at(&evil)).await.expect(200).data();
    assert_eq!((&read["version"], &read["first_name"]), (&evil["version"], &json!("=cmd|' /c calc'!A1")));

    // Role, tier, access, menu and activity are edited; a tenant's row about somebody else's user is refused.
    let csv = format!(
        "email,role,employee_role,access_level,navigation_permissions,is_active,tenant_id,first_name\n\
         {},manager,employee,read,\"{{\"\"Reports\"\": true}}\",true,{id},\n\
         {},admin,,,,,,Nora\n\
         {},,,,,false,,\n\
         {},,,,,,,Stolen\n\
         {},employee,,,,,,\n",
        evil["email"].as_str().unwrap(),
        plain["email"].as_str().unwrap(),
        t.colleague.email,
        other.employee.email,
        t.admin.email,
        id = t.id,
    );
    let done = raw(&t.admin, update, "text/csv", csv).await.expect(200).data();
    assert_eq!(statuses(&done), ["updated", "updated", "updated", "error", "error"], "{done}");
    let read = t.admin.client.get(&at(&evil)).await.expect(200).data();
    assert_eq!((&read["role"], &read["access_level"]), (&json!("employee"), &json!("read")));
    assert_eq!(read["navigation_permissions"]["Reports"], true);
    assert_eq!((&read["department"], &read["last_name"]), (&json!("Sales"), &json!("O'Brien, \"Jr\"")));
    let nora = t.admin.client.get(&at(&plain)).await.expect(200).data();
    assert_eq!((&nora["role"], &nora["first_name"]), (&json!("admin"), &json!("Nora")));
    let stolen = other.admin.client.get(&format!("/api/users/{}", other.employee.user_id)).await.expect(200).data();
    assert_eq!(stolen["first_name"], "Test");
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    t.colleague.client.get("/api/auth/me").await.expect(401);
    assert_eq!(done["results"][4]["errors"][0]["field"], "role", "nobody changes its own role");
}

#[actix_web::test]
async fn five_thousand_rows_are_one_request_and_twice_is_once() {
    let stack = Stack::platform().await;
    let t = stack.tenant().await;
    let mark = aisha_kernel::new_id().simple().to_string();
    let mut csv = String::from("email,first_name,last_name,role\n");
    for n in 0..5_000 {
        csv.push_str(&format!("{mark}-{n}@example.test,First{n},Last{n},employee\n"));
    }
    let first = raw(&t.admin, "/api/users/bulk-import", "text/csv", csv.clone()).await.expect(200).data();
    assert_eq!((&first["created"], &first["failed"]), (&json!(5_000), &json!(0)));
    let second = raw(&t.admin, "/api/users/bulk-import", "text/csv", csv).await.expect(200).data();
    assert_eq!((&second["skipped"], &second["failed"]), (&json!(5_000), &json!(0)));
    let employees = format!("SELECT count(*) FROM employees WHERE tenant_id = '{}' AND user_id IS NOT NULL", t.id);
    assert_eq!(stack.count(&employees).await, 5_004);
    let export = t.admin.client.get("/api/users/export").await.expect(200);
    assert_eq!(export.text.lines().count(), 5_005);
    let mut ids: Vec<&str> = export.text.lines().skip(1).filter_map(|l| l.split(',').next()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 5_004);
}

/// Whoever comes second finds the row there, whichever half of the file that is.
#[actix_web::test]
async fn the_same_file_twice_at_once_is_once() {
    let stack = Stack::platform().await;
    let t = stack.tenant().await;
    let mark = aisha_kernel::new_id().simple().to_string();
    let row = |n: usize| format!("{mark}-{n}@example.test,A,B\n");
    let forth = format!("email,first_name,last_name\n{}", (0..150).map(row).collect::<String>());
    let back = format!("email,first_name,last_name\n{}", (0..150).rev().map(row).collect::<String>());
    let (a, b) = futures_util::join!(
        raw(&t.admin, "/api/users/bulk-import", "text/csv", forth),
        raw(&t.admin, "/api/users/bulk-import", "text/csv", back)
    );
    let (a, b) = (a.expect(200).data(), b.expect(200).data());
    let sum = |name: &str| a[name].as_i64().unwrap() + b[name].as_i64().unwrap();
    assert_eq!((sum("created"), sum("skipped"), sum("failed")), (150, 150, 0), "{a}");
}

#[actix_web::test]
async fn a_directory_brings_users_in_line() {
    let stack = Stack::platform().await;
    let (t, other, root) = (stack.tenant().await, stack.tenant().await, stack.superadmin().await);
    let path = "/api/users/sync-from-auth";
    let (one, two, three) = (fresh(), fresh(), fresh());
    let list = json!({"deactivate_missing": true, "users": [
        {"email": one, "first_name": "Una", "last_name": "First", "role": "user", "employee_role": "employee",
         "external_id": "x-1", "department": "Support", "is_active": true},
        {"email": two, "full_name": "Dos Second", "employee_role": "manager", "external_id": "x-2"},
        {"email": three, "role": "superadmin"},
        {"email": other.employee.email, "first_name": "Stolen"},
        {"email": "nonsense", "colour": 1},
        7,
    ]});
    for person in [&t.manager, &t.employee] {
        person.client.post(path, list.clone()).await.expect(403);
    }
    let mut dry = list.clone();
    dry["dry_run"] = json!(true);
    let dry = t.admin.client.post(path, dry).await.expect(200).data();
    assert_eq!((&dry["created"], &dry["refused"], &dry["deactivated"]), (&json!(2), &json!(4), &json!(0)), "{dry}");
    assert_eq!(stack.count(&format!("SELECT count(*) FROM users WHERE email = '{one}'")).await, 0);
    let done = t.admin.client.post(path, list.clone()).await.expect(200).data();
    assert_eq!((&done["created"], &done["refused"], &done["deactivated"]), (&json!(2), &json!(4), &json!(0)), "{done}");
    assert_eq!(done["users"][2]["errors"][0]["field"], "role");
    assert_eq!(done["users"][3]["errors"][0]["field"], "email");
    let again = t.admin.client.post(path, list).await.expect(200).data();
    assert_eq!(
        (&again["unchanged"], &again["updated"], &again["created"]),
        (&json!(2), &json!(0), &json!(0)),
        "{again}"
    );

    // The directory's id outlives an address; who is missing goes, who was never in a list stays.
    let moved = fresh();
    let next = json!({"deactivate_missing": true, "users": [
        {"email": moved, "external_id": "x-1", "department": "Sales", "employee_role": "manager"}]});
    let next = t.admin.client.post(path, next).await.expect(200).data();
    assert_eq!((&next["updated"], &next["deactivated"]), (&json!(1), &json!(1)), "{next}");
    assert_eq!((&next["users"][1]["email"], &next["users"][1]["status"]), (&json!(two), &json!("deactivated")));
    assert_eq!(next["users"][0]["id"], done["users"][0]["id"]);
    let una = t.admin.client.get(&format!("/api/users?email={moved}")).await.expect(200).data()["users"][0].clone();
    assert_eq!((&una["role"], &una["department"]), (&json!("manager"), &json!("Sales")));
    t.employee.client.get("/api/auth/me").await.expect(200);

    let single = t.admin.client.post(path, json!({"email": three, "full_name": "Tres"})).await.expect(200).data();
    assert_eq!(single["created"], 1);
    let off = t.admin.client.post(path, json!({"email": three, "is_active": false})).await.expect(200).data();
    assert_eq!((&off["deactivated"], &off["users"][0]["status"]), (&json!(1), &json!("deactivated")));
    root.client.post(path, json!({"email": fresh()})).await.expect(400);
    root.client.post(path, json!({"email": fresh(), "tenant_id": t.id})).await.expect(200);
    t.admin.client.post(path, json!({"email": fresh(), "tenant_id": other.id})).await.expect(403);
    for (bad, field) in [
        (json!({"users": []}), "users"),
        (json!({}), "users"),
        (json!({"users": [{}], "colour": 1}), "colour"),
        (json!({"users": [{}], "dry_run": "x"}), "dry_run"),
    ] {
        assert_eq!(t.admin.client.post(path, bad).await.expect(422).fields(), [field]);
    }
    // Nobody but the admin itself may keep the tenant running: a list cannot take that away.
    let own = json!({"users": [{"email": t.admin.email, "role": "employee", "is_active": false}]});
    assert_eq!(t.admin.client.post(path, own).await.expect(200).data()["refused"], 1);
    let taken = json!({"users": [{"email": t.employee.email, "external_id": "x-1"}]});
    let taken = t.admin.client.post(path, taken).await.expect(200).data();
    assert_eq!(taken["users"][0]["errors"][0]["field"], "email", "{taken}");
}

#[actix_web::test]
async fn deactivation_ends_everything_at_once_and_keeps_the_data() {
    let stack = Stack::platform().await;
    let (t, other) = (stack.tenant().await, stack.tenant().await);
    let key = json!({"name": "k", "permissions": ["*"]});
    let key = t.manager.client.post("/api/apikeys", key).await.expect(201).data()["key"].as_str().unwrap().to_owned();
    let n8n = stack.anonymous().with("x-api-key", key);
    n8n.get("/api/contacts").await.expect(200);
    let account = t.manager.client.post("/api/accounts", json!({"name": "Kept"})).await.expect(201).id();
    let path = format!("/api/users/{}", t.manager.user_id);
    let verb = |v: &str| format!("{path}/{v}");
    for (person, status) in [(&t.manager, 403), (&t.employee, 403), (&other.admin, 404), (&other.manager, 403)] {
        person.client.post(&verb("deactivate"), json!({})).await.expect(status);
        person.client.post(&verb("reactivate"), json!({})).await.expect(status);
    }
    let off = t.admin.client.post(&verb("deactivate"), json!({})).await.expect(200).data();
    assert_eq!((&off["is_active"], &off["live_status"]), (&json!(false), &json!("offline")));
    let twice = t.admin.client.post(&verb("deactivate"), json!({})).await.expect(200).data();
    assert_eq!(twice["version"], off["version"]);
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    t.manager.client.get("/api/auth/me").await.expect(401);
    n8n.get("/api/contacts").await.expect(401);
    t.admin.client.get(&format!("/api/accounts/{account}")).await.expect(200);
    let employee = format!("/api/employees/{}", t.manager.employee_id);
    let shown = t.admin.client.get(&employee).await.expect(200).data();
    assert_eq!(
        (&shown["status"], &shown["is_active"], &shown["has_crm_access"]),
        (&json!("inactive"), &json!(false), &json!(false))
    );

    let stale = [("if-match", "\"1\""), ("content-type", "application/json")];
    t.admin.client.send("POST", &verb("reactivate"), &stale, Some(b"{}".to_vec())).await.expect(412);
    t.admin.client.post(&verb("reactivate"), json!({})).await.expect(200);
    let shown = t.admin.client.get(&employee).await.expect(200).data();
    assert_eq!((&shown["status"], &shown["has_crm_access"]), (&json!("active"), &json!(true)));
    n8n.get("/api/contacts").await.expect(401);
    let audit = "SELECT count(*) FROM audit_log WHERE table_name = 'employees' AND record_id = ";
    assert!(stack.count(&format!("{audit}'{}' AND new_values ? 'status'", t.manager.employee_id)).await >= 2);
}

#[actix_web::test]
async fn a_tenant_keeps_an_admin() {
    let stack = Stack::platform().await;
    let (t, root) = (stack.tenant().await, stack.superadmin().await);
    let second = stack.person(Some(t.id), Role::Admin).await;
    let path = |p: &Person| format!("/api/users/{}", p.user_id);
    for body in
        [json!({"is_active": false}), json!({"role": "manager"}), json!({"role": "user", "employee_role": "employee"})]
    {
        assert_eq!(t.admin.client.patch(&path(&t.admin), body).await.expect(403).fields().len(), 1);
    }
    t.admin.client.patch(&path(&second), json!({"role": "superadmin"})).await.expect(403);
    // Each takes the other's role away at once: one of them is too late.
    let (of_second, of_first) = (path(&second), path(&t.admin));
    let (a, b) = futures_util::join!(
        t.admin.client.patch(&of_second, json!({"is_active": false})),
        second.client.patch(&of_first, json!({"role": "manager"}))
    );
    let mut seen = [a.status.as_u16(), b.status.as_u16()];
    seen.sort_unstable();
    // The one that is too late may find itself deactivated or demoted already.
    assert!(seen[0] == 200 && [401, 403, 409].contains(&seen[1]), "{} {}", a.text, b.text);
    let admins = format!("SELECT count(*) FROM users WHERE tenant_id = '{}' AND role = 'admin' AND is_active", t.id);
    assert_eq!(stack.count(&admins).await, 1);
    let left = if a.status == 200 { &t.admin } else { &second };
    // The operator of the platform may all the same.
    root.client.post(&format!("{}/deactivate", path(left)), json!({})).await.expect(200);
    assert_eq!(stack.count(&admins).await, 0);
}

#[actix_web::test]
async fn legacy_roles_come_in_and_go_out() {
    let stack = Stack::platform().await;
    let t = stack.tenant().await;
    for (sent, role, tier) in [
        (json!({"role": "user", "employee_role": "manager"}), "manager", json!("manager")),
        (json!({"role": "user", "employee_role": "employee"}), "employee", json!("employee")),
        (json!({"role": "power-user"}), "manager", json!("manager")),
        (json!({"role": "admin"}), "admin", json!(null)),
        (json!({}), "employee", json!("employee")),
    ] {
        let made = make(&t, sent.clone()).await;
        assert_eq!((&made["role"], &made["employee_role"]), (&json!(role), &tier), "{sent}");
        let same = t.admin.client.put(&at(&made), made.clone()).await.expect(200).data();
        assert_eq!(same["version"], made["version"], "what was read can be sent back: {sent}");
    }
}

#[actix_web::test]
async fn the_menu_follows_the_role_and_what_was_set() {
    let stack = Stack::platform().await;
    let t = stack.tenant().await;
    let user =
        make(&t, json!({"role": "employee", "navigation_permissions": {"CashFlow": true, "Leads": false}})).await;
    let menu = |u: &Value, page: &str| u["navigation_permissions"][page].clone();
    assert_eq!(
        [menu(&user, "CashFlow"), menu(&user, "Leads"), menu(&user, "Contacts"), menu(&user, "Reports")],
        [true, false, true, false].map(Value::from)
    );
    let promoted = t.admin.client.patch(&at(&user), json!({"role": "manager"})).await.expect(200).data();
    assert_eq!(
        [menu(&promoted, "Leads"), menu(&promoted, "Reports"), menu(&promoted, "Tenants")],
        [false, true, false].map(Value::from)
    );
    let stored = format!(
        "SELECT count(*) FROM users WHERE id = '{}' AND navigation_permissions = '{{\"CashFlow\": true, \"Leads\": false}}'",
        user["id"].as_str().unwrap()
    );
    assert_eq!(stack.count(&stored).await, 1);
    let bad = json!({"navigation_permissions": {"Moon": true, "Contacts": "yes"}});
    let refused = t.admin.client.patch(&at(&user), bad).await.expect(422);
    assert_eq!(refused.fields(), ["navigation_permissions.Contacts", "navigation_permissions.Moon"]);
    let reset = t.admin.client.patch(&at(&user), json!({"navigation_permissions": {}})).await.expect(200).data();
    assert_eq!(menu(&reset, "Leads"), true);
}

#[actix_web::test]
async fn everybody_has_an_account_of_its_own() {
    let stack = Stack::platform().await;
    let (t, root) = (stack.tenant().await, stack.superadmin().await);
    for person in t.people().into_iter().chain([&root]) {
        let me = person.client.get("/api/users/me").await.expect(200);
        assert_eq!((&me.data()["id"], me.header("etag").is_some()), (&json!(person.user_id), true));
    }
    let me = &t.employee.client;
    let read = me.get("/api/users/me").await.expect(200).data();
    let body = json!({"full_name": "Neue Name", "metadata": {"preferences": {"theme": "dark"}}});
    let mine = me.put("/api/users/me", body).await.expect(200).data();
    assert_eq!((&mine["first_name"], &mine["metadata"]["preferences"]["theme"]), (&json!("Neue"), &json!("dark")));
    let employee = me.get(&format!("/api/employees/{}", t.employee.employee_id)).await.expect(200).data();
    assert_eq!((&employee["first_name"], &employee["last_name"]), (&json!("Neue"), &json!("Name")));
    assert_eq!(me.put("/api/users/me", mine.clone()).await.expect(200).data()["version"], mine["version"]);
    for (body, field) in [
        (json!({"role": "admin"}), "role"),
        (json!({"email": "new@example.test"}), "email"),
        (json!({"is_active": false}), "is_active"),
        (json!({"access_level": "read"}), "access_level"),
        (json!({"navigation_permissions": {"Tenants": true}}), "navigation_permissions"),
        (json!({"custom_roles": ["x"]}), "custom_roles"),
        (json!({"password": "Correct-Horse-7"}), "password"),
        (json!({"metadata": {"plan": "gold"}}), "metadata.plan"),
        (json!({"metadata": {"preferences": 5}}), "metadata.preferences"),
        (json!({"colour": 1}), "colour"),
    ] {
        assert_eq!(me.put("/api/users/me", body.clone()).await.expect(422).fields(), [field], "{body}");
    }
    let stale = [("if-match", "\"1\""), ("content-type", "application/json")];
    assert_ne!(read["version"], mine["version"]);
    me.send("PUT", "/api/users/me", &stale, Some(br#"{"first_name":"X"}"#.to_vec())).await.expect(412);
    let reader = stack.person_with(Some(t.id), Role::Manager, aisha_auth::AccessLevel::Read).await;
    reader.client.put("/api/users/me", json!({"first_name": "X"})).await.expect(403);
}

/// In a database of its own: elsewhere other tests make superadmins all the time.
#[tokio::test(flavor = "multi_thread")]
async fn the_platform_keeps_a_superadmin() {
    use aisha_auth::{AccessLevel, Identity, Scope};
    use aisha_db::{Db, DbConfig, RequestContext, record::write::Expected};
    use aisha_identity::user::{UserInput, create_superadmin, deactivate, update};
    use aisha_kernel::{ErrorCode, UserId};
    use aisha_testkit::database::{address, admin, connect, migration_turn, with_database};

    let _turn = migration_turn().await;
    let superuser = admin().await;
    let name = format!("aisha_users_{}", aisha_kernel::new_id().simple());
    superuser.batch_execute(&format!("CREATE DATABASE {name} OWNER aisha_owner")).await.unwrap();
    let own = connect(&with_database(&address("DATABASE_ADMIN_URL"), &name)).await;
    own.batch_execute("ALTER SCHEMA public OWNER TO aisha_owner").await.unwrap();
    aisha_db::migrate::up(&with_database(&address("DATABASE_OWNER_URL"), &name)).await.unwrap();
    let config =
        DbConfig { url: with_database(&address("DATABASE_URL"), &name), pool_size: 4, application_name: "test".into() };
    let db = Db::new(&config).unwrap();
    let mut people = Vec::new();
    for _ in 0..2 {
        let email = fresh();
        create_superadmin(&db, &email, "Correct-Horse-7").await.unwrap();
        let id: Uuid = own.query_one("SELECT id FROM users WHERE email = $1", &[&email]).await.unwrap().get(0);
        people.push(Identity {
            user_id: UserId(id),
            tenant_id: None,
            employee_id: None,
            role: Role::Superadmin,
            access: AccessLevel::ReadWrite,
            scope: Scope::All,
            department: None,
            grants: None,
            extra: Vec::new(),
            disabled_modules: Vec::new(),
            sid: Uuid::nil(),
        });
    }
    let cx = RequestContext::default();
    let active = "SELECT count(*) FROM users WHERE is_active";
    for round in 0..20 {
        own.batch_execute("UPDATE users SET is_active = true").await.unwrap();
        let (a, b) = (&people[0], &people[1]);
        let (first, second) = futures_util::join!(
            deactivate(&db, a, b.user_id.0, Expected::Any, &cx),
            deactivate(&db, b, a.user_id.0, Expected::Any, &cx)
        );
        let left: i64 = own.query_one(active, &[]).await.unwrap().get(0);
        assert_eq!(left, 1, "round {round}");
        let refused = first.err().or(second.err()).unwrap();
        assert_eq!(refused.code, ErrorCode::Conflict, "{refused:?}");
    }
    own.batch_execute("UPDATE users SET is_active = true").await.unwrap();
    for body in [json!({"role": "admin"}), json!({"role": "user", "employee_role": "manager"})] {
        let input = UserInput::parse(&body, false).unwrap();
        let refused = update(&db, &people[0], people[1].user_id.0, input, Expected::Any, &cx).await.unwrap_err();
        assert_eq!(refused.details[0].field, "role", "{refused:?}");
    }
    drop(db);
    superuser.batch_execute(&format!("DROP DATABASE {name} WITH (FORCE)")).await.unwrap();
}
