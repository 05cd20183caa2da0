//! Tenants see nothing of each other, people nothing beyond their scope, and what happens to a record is written down.
//!
//! The checks return what they found, so that `mutations` can prove that they would find it.

use aisha_auth::Role;
use aisha_db::{Db, DbConfig, RequestContext, Sql, SystemReason};
use aisha_kernel::{TenantId, UserId, new_id};
use aisha_testkit::{Stack, TestTenant, database};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio_postgres::{Client, Error, error::SqlState};
use uuid::Uuid;

pub(super) const ROLES: [&str; 4] = ["aisha_all", "aisha_own", "aisha_department", "aisha_system"];

/// What `aisha_system` may see of every tenant, see the reviewed policies in `catalogue`.
const PLATFORM: [&str; 14] = [
    "tenant",
    "users",
    "sessions",
    "api_key",
    "audit_log",
    "audit_chain",
    "audit_chain_state",
    "event_outbox",
    "system_logs",
    "webhook",
    "webhook_message",
    "webhook_delivery",
    "webhook_attempt",
    "webhook_ledger",
];
/// Tables of a tenant that its own roles have no right on.
const CLOSED: [&str; 4] = ["audit_chain", "audit_chain_state", "event_outbox", "notification_event"];
/// What aisha_system reads across tenants and writes in one only.
const LOOKED_UP: [&str; 1] = ["module_settings"];

/// A person as the transaction-local settings name it.
#[derive(Clone, Copy)]
pub(super) struct Who {
    pub tenant: Option<Uuid>,
    pub user: Uuid,
    pub employee: Uuid,
}

impl Who {
    fn nobody() -> Self {
        Self { tenant: None, user: Uuid::nil(), employee: Uuid::nil() }
    }

    fn employee_of(t: &TestTenant) -> Self {
        Self { tenant: Some(t.id), user: t.employee.user_id, employee: t.employee.employee_id }
    }
}

/// Runs one query in a transaction of `role` and rolls back.
async fn run(db: &Client, role: &str, who: Who, query: &str) -> Result<Vec<tokio_postgres::Row>, Error> {
    db.batch_execute("BEGIN").await?;
    let set = "SELECT set_config('app.current_tenant_id', $1, true), set_config('app.current_user_id', $2, true), \
               set_config('app.current_employee_id', $3, true), set_config('role', $4, true)";
    let tenant = who.tenant.map(|t| t.to_string()).unwrap_or_default();
    let answer = match db.query(set, &[&tenant, &who.user.to_string(), &who.employee.to_string(), &role]).await {
        Ok(_) => db.query(query, &[]).await,
        Err(e) => Err(e),
    };
    db.batch_execute("ROLLBACK").await?;
    answer
}

fn denied(e: &Error) -> bool {
    e.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE)
}

/// Every table that has a tenant, with the column that names it. Partitions come along when they are asked for by name.
async fn tenant_tables(admin: &Client, partitions: bool) -> Vec<(String, &'static str)> {
    let sql = "SELECT c.relname::text FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant_id' \
               WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND (NOT c.relispartition OR $1) \
               ORDER BY 1";
    let rows = admin.query(sql, &[&partitions]).await.unwrap();
    let named = rows.iter().map(|r| (r.get(0), "tenant_id"));
    named.chain([("tenant".to_owned(), "id")]).collect()
}

/// Without a filter, `role` in its tenant (or in none) sees no row of any other tenant.
pub(super) async fn sees_no_other(db: &Client, role: &str, who: Who, table: &str, column: &str) -> Result<(), String> {
    let query = format!("SELECT count(*) FILTER (WHERE {column} IS DISTINCT FROM current_tenant_id()) FROM {table}");
    match run(db, role, who, &query).await {
        Ok(rows) => match rows[0].get::<_, i64>(0) {
            0 => Ok(()),
            n => Err(format!("{role} in {:?} sees {n} foreign rows of {table}", who.tenant)),
        },
        Err(e) if denied(&e) => Ok(()),
        Err(e) => Err(format!("{role} on {table}: {e:?}")),
    }
}

/// Without a role chosen, the login can do nothing, whatever the settings say.
pub(super) async fn bare_login_sees_nothing(db: &Client, tenant: Uuid) -> Result<(), String> {
    db.batch_execute(&format!("BEGIN; SET LOCAL app.current_tenant_id = '{tenant}'"))
        .await
        .map_err(|e| e.to_string())?;
    let answer = db.query_one("SELECT count(*) FROM contacts", &[]).await;
    db.batch_execute("ROLLBACK").await.map_err(|e| e.to_string())?;
    match answer {
        Err(e) if denied(&e) => Ok(()),
        Err(e) => Err(e.to_string()),
        Ok(row) => Err(format!("the login sees {} contacts without a role", row.get::<_, i64>(0))),
    }
}

/// What an idle connection must answer, see [`idle_is_clean`].
pub(super) const IDLE: &str = "SELECT coalesce(current_setting('app.current_tenant_id', true), '') \
    || coalesce(current_setting('app.current_user_id', true), '') || coalesce(current_setting('app.request', true), ''), \
    (current_user = session_user)::text";

/// Nothing of the last transaction is left on an idle connection.
pub(super) fn idle_is_clean(settings: &str, own_role: &str) -> Result<(), String> {
    if settings.is_empty() && own_role == "true" {
        return Ok(());
    }
    Err(format!("left on the connection: {settings:?}, current_user = session_user is {own_role}"))
}

/// An INSERT of one row made up from the catalogue alone, so that a new table is covered without being named here.
pub(super) async fn made_up_insert(admin: &Client, table: &str, who: Who, parents: bool) -> String {
    let sql = "SELECT a.attname::text, t.typname::text, \
          (SELECT m[1] FROM pg_constraint c, regexp_matches(pg_get_constraintdef(c.oid), '''([^'']*)''::text', 'g') AS m \
           WHERE c.contype = 'c' AND c.conrelid = a.attrelid AND c.conkey = ARRAY[a.attnum] \
             AND pg_get_constraintdef(c.oid) ~ 'ARRAY' LIMIT 1), \
          (SELECT p.attname || ' FROM ' || c.confrelid::regclass FROM pg_constraint c JOIN pg_attribute p \
             ON p.attrelid = c.confrelid AND p.attnum = c.confkey[2] \
           WHERE c.contype = 'f' AND c.conrelid = a.attrelid AND c.conkey[2] = a.attnum LIMIT 1), \
          a.attnotnull AND NOT a.atthasdef AND a.attidentity = '' AS needed \
        FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid \
        WHERE a.attrelid = $1::text::regclass AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''";
    let tenant = who.tenant.unwrap();
    let (mut names, mut values) = (Vec::new(), Vec::new());
    for row in admin.query(sql, &[&table]).await.unwrap() {
        let (name, kind): (String, String) = (row.get(0), row.get(1));
        let (choice, parent): (Option<String>, Option<String>) = (row.get(2), row.get(3));
        let value = match (name.as_str(), kind.as_str()) {
            ("tenant_id", _) => format!("'{tenant}'"),
            ("user_id" | "created_by", "uuid") => format!("'{}'", who.user),
            ("assigned_to", _) => format!("'{}'", who.employee),
            _ if !row.get::<_, bool>(4) => continue,
            (_, "uuid") => match parent {
                Some(parent) if parents => format!("(SELECT {parent} WHERE tenant_id = '{tenant}' LIMIT 1)"),
                _ => "gen_random_uuid()".into(),
            },
            (_, "text" | "varchar") => match choice {
                Some(choice) => format!("'{choice}'"),
                None => "'x' || replace(gen_random_uuid()::text, '-', '')".into(),
            },
            (_, "bytea") => "uuid_send(gen_random_uuid())".into(),
            (_, "jsonb") => "'{}'".into(),
            (_, "_uuid") => "ARRAY[gen_random_uuid()]".into(),
            (_, "_text") => "'{}'".into(),
            // One after the other: a table may ask for a beginning and an end.
            (_, "timestamptz") => format!("now() + interval '{} ms'", values.len()),
            (_, "date") => "current_date".into(),
            (_, "bool") => "false".into(),
            _ => "1".into(),
        };
        names.push(name);
        values.push(value);
    }
    format!("INSERT INTO {table} ({}) VALUES ({})", names.join(", "), values.join(", "))
}

/// Puts at least one row of the tenant into every table that has a tenant.
pub(super) async fn fill(admin: &Client, who: Who) {
    let mut left = tenant_tables(admin, false).await;
    left.retain(|(table, _)| table != "tenant" && table != "users");
    // Parents first: a table whose parent is still empty gets its turn in the next round.
    for _ in 0..5 {
        let mut again = Vec::new();
        for (table, column) in left {
            let mut insert = made_up_insert(admin, &table, who, true).await;
            if table == "employees" {
                insert = insert.replace(&format!("'{}'", who.user), "NULL");
            }
            match admin.batch_execute(&insert).await {
                Ok(()) => {}
                Err(e) if e.code() == Some(&SqlState::NOT_NULL_VIOLATION) => again.push((table, column)),
                Err(e) => panic!("{insert}: {e:?}"),
            }
        }
        left = again;
    }
    assert!(left.is_empty(), "no row could be made up for {left:?}");
}

/// `role` cannot bring a row into the other tenant's table, nor change or delete one there, nor move its own there.
pub(super) async fn cannot_write(
    db: &Client,
    admin: &Client,
    role: &str,
    me: Who,
    other: Who,
    table: &str,
) -> Result<(), String> {
    let (mine, theirs) = (me.tenant.unwrap(), other.tenant.unwrap());
    let insert = made_up_insert(admin, table, other, false).await;
    match run(db, role, me, &insert).await {
        Err(e) if denied(&e) => {}
        answer => return Err(format!("{role} may insert into another tenant's {table}: {answer:?}")),
    }
    for statement in [
        format!("UPDATE {table} SET tenant_id = tenant_id WHERE tenant_id = '{theirs}' RETURNING 1"),
        format!("DELETE FROM {table} WHERE tenant_id = '{theirs}' RETURNING 1"),
        format!("UPDATE {table} SET tenant_id = '{theirs}' WHERE tenant_id = '{mine}' RETURNING 1"),
    ] {
        match run(db, role, me, &statement).await {
            Ok(rows) if rows.is_empty() => {}
            Err(e) if denied(&e) || e.code() == Some(&SqlState::RESTRICT_VIOLATION) => {}
            answer => return Err(format!("{role}: {statement}: {answer:?}")),
        }
    }
    Ok(())
}

fn all(results: Vec<Result<(), String>>) {
    let problems: Vec<String> = results.into_iter().filter_map(Result::err).collect();
    assert!(problems.is_empty(), "{problems:#?}");
}

/// In the database itself: no role sees or touches a row of another tenant, and without a tenant none at all.
#[actix_web::test]
async fn the_database_keeps_tenants_apart() {
    let stack = Stack::start().await;
    let (a, b) = (stack.tenant().await, stack.tenant().await);
    let (admin, db) = (database::admin().await, database::login().await);
    let (of_a, of_b) = (Who::employee_of(&a), Who::employee_of(&b));
    fill(&admin, of_a).await;
    fill(&admin, of_b).await;
    let mut results = vec![bare_login_sees_nothing(&db, a.id).await];
    for (table, column) in tenant_tables(&admin, true).await {
        for role in ROLES {
            if role == "aisha_system" && PLATFORM.iter().chain(&LOOKED_UP).any(|t| *t == table) {
                continue;
            }
            results.push(sees_no_other(&db, role, Who::nobody(), &table, column).await);
            results.push(sees_no_other(&db, role, of_b, &table, column).await);
        }
    }
    for (table, column) in tenant_tables(&admin, false).await {
        if column == "tenant_id" {
            for role in ROLES {
                if role != "aisha_system" || !PLATFORM.contains(&table.as_str()) {
                    results.push(cannot_write(&db, &admin, role, of_b, of_a, &table).await);
                }
            }
        }
        // Not vacuous: an own row is there to be seen.
        let own = format!("SELECT {column} FROM {table} LIMIT 1");
        if !CLOSED.contains(&table.as_str()) {
            let rows = run(&db, "aisha_all", of_b, &own).await.unwrap();
            results.push(if rows.is_empty() {
                Err(format!("aisha_all sees nothing of its own {table}"))
            } else {
                Ok(())
            });
        }
    }
    all(results);
}

/// After a transaction of [`Db`], ended well or badly, nothing of it is left on its connection; the login is accepted.
#[actix_web::test]
async fn a_connection_forgets_its_last_transaction() {
    let stack = Stack::start().await;
    let t = stack.tenant().await;
    let config = DbConfig { url: database::address("DATABASE_URL"), pool_size: 1, application_name: "forgets".into() };
    let db = Db::new(&config).unwrap();
    db.verify_login().await.unwrap();
    let identity = Arc::new(aisha_auth::Identity {
        user_id: UserId(t.admin.user_id),
        tenant_id: Some(TenantId(t.id)),
        employee_id: Some(t.admin.employee_id),
        role: Role::Admin,
        access: aisha_auth::AccessLevel::ReadWrite,
        scope: aisha_auth::Scope::All,
        department: None,
        grants: None,
        extra: Vec::new(),
        disabled_modules: Vec::new(),
        sid: new_id(),
    });
    let me = identity.in_tenant(None).unwrap();
    let cx = RequestContext { request_id: Some("r".into()), ..RequestContext::default() };
    for end in ["COMMIT", "ROLLBACK"] {
        let (settings, own_role, seen) = db
            .write(&me, &cx, async |tx| {
                let seen: String = tx.rows(Sql::new("SELECT current_tenant_id()::text")).await?[0].get(0).unwrap();
                tx.rows(Sql::new(end)).await?;
                let idle = tx.rows(Sql::new(IDLE)).await?;
                Ok((idle[0].get::<String>(0).unwrap(), idle[0].get::<String>(1).unwrap(), seen))
            })
            .await
            .unwrap();
        assert_eq!(seen, t.id.to_string());
        idle_is_clean(&settings, &own_role).unwrap();
    }
    let why = SystemReason { reason: "test", ..SystemReason::default() };
    let n: i64 = db
        .system(&why, async |tx| Ok(tx.rows(Sql::new("SELECT count(*) FROM contacts")).await?[0].get(0).unwrap()))
        .await
        .unwrap();
    assert_eq!(n, 0, "the platform without a tenant sees no contacts");
}

/// An employee sees what is assigned to it or made by it, may hand it over, and then sees it no more.
#[actix_web::test]
async fn people_see_their_own_and_can_hand_over() {
    let stack = Stack::start().await;
    let t = stack.tenant().await;
    let (me, colleague) = (&t.employee.client, &t.colleague.client);
    let body = json!({"first_name": "Own", "last_name": "Scope", "assigned_to": t.employee.employee_id});
    let given = t.admin.client.post("/api/contacts", body).await.expect(201).id();
    let made = me.post("/api/contacts", json!({"first_name": "Made", "last_name": "Byme"})).await.expect(201).id();
    let hidden =
        t.admin.client.post("/api/contacts", json!({"first_name": "Hid", "last_name": "Den"})).await.expect(201).id();
    let list = me.get("/api/contacts").await.expect(200).data();
    assert_eq!(list["total"], 2, "{list}");
    assert_eq!(t.admin.client.get("/api/contacts").await.expect(200).data()["total"], 3);
    assert_eq!(colleague.get("/api/contacts").await.expect(200).data()["total"], 0);
    for method in ["GET", "PATCH", "DELETE"] {
        let body = (method == "PATCH").then(|| b"{\"city\":\"X\"}".to_vec());
        let headers = [("content-type", "application/json")];
        me.send(method, &format!("/api/contacts/{hidden}"), &headers, body).await.expect(404);
    }
    let at = format!("/api/contacts/{given}");
    me.patch(&at, json!({"assigned_to": t.colleague.employee_id})).await.expect(200);
    me.get(&at).await.expect(404);
    me.patch(&at, json!({"city": "X"})).await.expect(404);
    assert_eq!(colleague.get(&at).await.expect(200).data()["assigned_to"], t.colleague.employee_id.to_string());
    me.get(&format!("/api/contacts/{made}")).await.expect(200);
}

/// Search ends at the tenant and at the scope, and the wider entrances are closed to the narrower roles.
#[actix_web::test]
async fn search_does_not_leak() {
    let stack = Stack::start().await;
    let (a, b) = (stack.tenant().await, stack.tenant().await);
    let word = format!("w{}", new_id().simple());
    let body = |owner: Uuid| json!({"first_name": word, "last_name": "Searched", "assigned_to": owner});
    let ours = a.admin.client.post("/api/contacts", body(a.employee.employee_id)).await.expect(201).id();
    a.admin.client.post("/api/contacts", body(a.colleague.employee_id)).await.expect(201);
    b.admin.client.post("/api/contacts", body(b.employee.employee_id)).await.expect(201);
    for (person, total) in
        [(&a.admin, 2), (&a.manager, 2), (&a.employee, 1), (&a.colleague, 1), (&b.employee, 1), (&b.colleague, 0)]
    {
        for query in ["", "&filter={}&sort=first_name", "&status=active", "&count=exact"] {
            let list = person.client.get(&format!("/api/contacts?q={word}{query}")).await.expect(200).data();
            assert_eq!(
                (&list["total"], list["contacts"].as_array().unwrap().len()),
                (&json!(total), total),
                "{query}: {list}"
            );
        }
    }
    let db = database::login().await;
    let own = Who::employee_of(&a);
    let call = |name: &str| format!("SELECT * FROM {name}('contacts', ARRAY['{word}'], NULL, NULL, 50)");
    let found = run(&db, "aisha_own", own, &call("record_search")).await.unwrap();
    assert_eq!(found.iter().map(|r| r.get::<_, Uuid>(0)).collect::<Vec<_>>(), [ours]);
    let nowhere = run(&db, "aisha_all", Who { tenant: None, ..own }, &call("record_search")).await.unwrap();
    assert!(nowhere.is_empty(), "without a tenant there is nothing to find");
    for (role, closed) in [
        ("aisha_own", "search_all"),
        ("aisha_own", "search_department"),
        ("aisha_department", "search_all"),
        ("aisha_department", "search_own"),
        ("aisha_all", "search_own"),
    ] {
        assert!(denied(&run(&db, role, own, &call(closed)).await.unwrap_err()), "{role} {closed}");
    }
    for closed in [
        "search_ids('contacts', 'all', '{}', NULL, NULL, 9)",
        "search_count('contacts', 'all', '{}', 9)",
        "search_count_all('contacts', '{}', 9)",
    ] {
        assert!(denied(&run(&db, "aisha_own", own, &format!("SELECT {closed}")).await.unwrap_err()), "{closed}");
    }
}

/// Another tenant's, a hidden, a trashed and a missing account are one answer: nobody learns which it was.
#[actix_web::test]
async fn references_that_may_not_be_used_all_look_alike() {
    let stack = Stack::start().await;
    let (a, b) = (stack.tenant().await, stack.tenant().await);
    let name = || format!("Account {}", new_id());
    let foreign = b.admin.client.post("/api/accounts", json!({"name": name()})).await.expect(201).id();
    let hidden = a.admin.client.post("/api/accounts", json!({"name": name()})).await.expect(201).id();
    let body = json!({"name": name(), "assigned_to": a.employee.employee_id});
    let trashed = a.admin.client.post("/api/accounts", body.clone()).await.expect(201).id();
    a.admin.client.delete(&format!("/api/accounts/{trashed}")).await.expect(200);
    let mut body = body;
    body["name"] = name().into();
    let usable = a.admin.client.post("/api/accounts", body).await.expect(201).id();
    let me = &a.employee.client;
    let contact = me.post("/api/contacts", json!({"first_name": "R", "last_name": "F"})).await.expect(201).id();
    let mut answers = Vec::new();
    for account in [foreign, hidden, trashed, new_id()] {
        let created =
            me.post("/api/contacts", json!({"first_name": "R", "last_name": "F", "account_id": account})).await;
        let changed = me.patch(&format!("/api/contacts/{contact}"), json!({"account_id": account})).await;
        for reply in [created, changed] {
            let reply = reply.expect(422);
            assert_eq!(reply.fields(), ["account_id"]);
            let mut answer = reply.json();
            answer.as_object_mut().unwrap().remove("request_id");
            answers.push(answer);
        }
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:#?}");
    let employee = json!({"first_name": "R", "last_name": "F", "assigned_to": b.employee.employee_id});
    assert_eq!(me.post("/api/contacts", employee).await.expect(422).fields(), ["assigned_to"]);
    let employee = json!({"first_name": "R", "last_name": "F", "assigned_to": b.employee.email});
    assert_eq!(me.post("/api/contacts", employee).await.expect(422).fields(), ["assigned_to"]);
    assert_eq!(me.get("/api/contacts").await.expect(200).data()["total"], 1, "nothing was written on the way");
    me.patch(&format!("/api/contacts/{contact}"), json!({"account_id": usable})).await.expect(200);
}

/// A tenant can be named, but only the own one; a superadmin must name one.
#[actix_web::test]
async fn a_named_tenant_must_be_the_own_one() {
    let stack = Stack::start().await;
    let (a, b) = (stack.tenant().await, stack.tenant().await);
    let contact =
        a.admin.client.post("/api/contacts", json!({"first_name": "T", "last_name": "N"})).await.expect(201).id();
    let at = format!("/api/contacts/{contact}");
    for person in a.people() {
        for (path, body) in [
            (at.clone(), json!({"tenant_id": b.id, "city": "X"})),
            (format!("{at}?tenant_id={}", b.id), json!({"city": "X"})),
        ] {
            let refused = person.client.patch(&path, body).await.expect(403);
            assert_eq!(
                (refused.code(), refused.json()["message"].as_str()),
                ("invalid_tenant".into(), Some("Access denied: Invalid tenant"))
            );
        }
        person.client.get(&format!("/api/contacts?tenant_id={}", b.id)).await.expect(403);
    }
    b.admin.client.get(&at).await.expect(404);
    b.admin.client.patch(&at, json!({"city": "X"})).await.expect(404);
    let root = stack.superadmin().await.client;
    for reply in [root.get("/api/contacts").await, root.patch(&at, json!({"city": "X"})).await] {
        assert_eq!(reply.expect(400).fields(), ["tenant_id"]);
    }
    root.get(&format!("{at}?tenant_id={}", a.id)).await.expect(200);
    root.get(&format!("{at}?tenant_id={}", b.id)).await.expect(404);
    assert_eq!(a.admin.client.get(&at).await.expect(200).data()["city"], Value::Null);
}

/// A rename reaches copies in rows that the one who renames cannot see, and is no change of those rows.
#[actix_web::test]
async fn copies_follow_beyond_the_scope_and_quietly() {
    let stack = Stack::start().await;
    let t = stack.tenant().await;
    let (me, boss) = (&t.employee.client, &t.admin.client);
    let account = me.post("/api/accounts", json!({"name": format!("Old {}", new_id())})).await.expect(201).id();
    let body = json!({"first_name": "Far", "last_name": "Away", "account_id": account, "assigned_to": t.colleague.employee_id});
    let contact = boss.post("/api/contacts", body).await.expect(201).id();
    let at = format!("/api/contacts/{contact}");
    me.get(&at).await.expect(404);
    let before = boss.get(&at).await.expect(200).data();
    let renamed = format!("New {}", new_id());
    me.patch(&format!("/api/accounts/{account}"), json!({"name": renamed, "industry": "Tools"})).await.expect(200);
    boss.patch(&format!("/api/employees/{}", t.colleague.employee_id), json!({"last_name": "Renamed"}))
        .await
        .expect(200);
    let mut wanted = before;
    wanted["account_name"] = renamed.into();
    wanted["account_industry"] = "Tools".into();
    wanted["assigned_to_name"] = "Test Renamed".into();
    assert_eq!(boss.get(&at).await.expect(200).data(), wanted, "only the copies differ");
    for (table, what) in [("audit_log", "action"), ("event_outbox", "event")] {
        let query = format!("SELECT count(*) FROM {table} WHERE record_id = '{contact}' AND {what} !~ 'create'");
        assert_eq!(stack.count(&query).await, 0, "{table}");
    }
}

/// Every change has its audit row and its event: who, as what, in which request, and for whom a superadmin acted.
#[actix_web::test]
async fn every_change_is_audited_and_published() {
    let stack = Stack::start().await;
    let t = stack.tenant().await;
    let db = database::admin().await;
    let root = stack.superadmin().await;
    for (person, impersonator) in [(&t.admin, None), (&root, Some(root.user_id))] {
        let asked = |name: &str| format!("{}-{name}-{}", person.role, t.id.simple());
        let send = async |method: &str, path: String, name: &str, body: Option<Value>| {
            let id = asked(name);
            let headers =
                [("content-type", "application/json"), ("x-request-id", id.as_str()), ("user-agent", "isolation")];
            let body = body.map(|b| b.to_string().into_bytes());
            person.client.send(method, &format!("{path}?tenant_id={}", t.id), &headers, body).await
        };
        let new = json!({"first_name": "Au", "last_name": "Dit"});
        let id = send("POST", "/api/contacts".into(), "create", Some(new)).await.expect(201).id();
        let at = format!("/api/contacts/{id}");
        send("PATCH", at.clone(), "update", Some(json!({"city": "Rome"}))).await.expect(200);
        send("DELETE", at.clone(), "delete", None).await.expect(200);
        send("POST", format!("{at}/restore"), "restore", Some(json!({}))).await.expect(200);
        let sql = "SELECT action, changed_by, role, request_id, impersonator, user_agent, tenant_id, table_name, entity, \
                   old_values::text, new_values::text FROM audit_log WHERE record_id = $1 ORDER BY changed_at";
        let audit = db.query(sql, &[&id]).await.unwrap();
        assert_eq!(audit.len(), 4);
        for (row, action) in audit.iter().zip(["create", "update", "delete", "restore"]) {
            let text = |i: usize| row.get::<_, Option<String>>(i).unwrap_or_default();
            assert_eq!((text(0), text(2), text(3)), (action.into(), person.role.to_string(), asked(action)));
            assert_eq!(row.get::<_, Option<Uuid>>(1), Some(person.user_id), "{action}");
            assert_eq!(row.get::<_, Option<Uuid>>(4), impersonator, "{action}");
            assert_eq!(row.get::<_, Uuid>(6), t.id);
            assert_eq!((text(5), text(7), text(8)), ("isolation".into(), "contacts".into(), "contact".into()));
        }
        let values =
            |i: usize, column: usize| -> Value { serde_json::from_str(audit[i].get::<_, &str>(column)).unwrap() };
        assert_eq!((values(1, 9)["city"].clone(), values(1, 10)["city"].clone()), (Value::Null, json!("Rome")));
        assert_eq!(values(0, 10)["last_name"], "Dit");

        let sql =
            "SELECT event, tenant_id, data::text, previous::text FROM event_outbox WHERE record_id = $1 ORDER BY seq";
        let events = db.query(sql, &[&id]).await.unwrap();
        let names: Vec<&str> = events.iter().map(|r| r.get(0)).collect();
        assert_eq!(names, ["contact.created", "contact.updated", "contact.deleted", "contact.restored"]);
        assert!(events.iter().all(|r| r.get::<_, Uuid>(1) == t.id));
        let data: Value = serde_json::from_str(events[1].get(2)).unwrap();
        let previous: Value = serde_json::from_str(events[1].get(3)).unwrap();
        assert_eq!((&data["city"], &previous), (&json!("Rome"), &json!({"city": null})));
    }
}

/// The names of secret columns and a value put into each never turn up in the audit log or in events.
pub(super) async fn secrets_are_silent(admin: &Client, who: Who) -> Result<(), String> {
    let mark = format!("s3cret{}", new_id().simple());
    let sql = "UPDATE users SET password_hash = $1, custom_roles = '{traced}' WHERE id = $2";
    admin.execute(sql, &[&mark, &who.user]).await.map_err(|e| e.to_string())?;
    let insert = made_up_insert(admin, "api_key", who, true)
        .await
        .replace("uuid_send(gen_random_uuid())", &format!("'{mark}'::bytea"));
    admin.batch_execute(&insert).await.map_err(|e| e.to_string())?;
    admin
        .execute("UPDATE api_key SET name = 'traced' WHERE tenant_id = $1", &[&who.tenant])
        .await
        .map_err(|e| e.to_string())?;
    admin.execute("DELETE FROM api_key WHERE tenant_id = $1", &[&who.tenant]).await.map_err(|e| e.to_string())?;
    let hex: String = mark.bytes().map(|b| format!("{b:02x}")).collect();
    for (table, columns) in
        [("audit_log", "concat(old_values, new_values)"), ("event_outbox", "concat(data, previous)")]
    {
        let query =
            format!("SELECT count(*), count(*) FILTER (WHERE {columns} ~ $2) FROM {table} WHERE tenant_id = $1");
        let pattern = format!("{mark}|{hex}|password_hash|key_hash|refresh_hash|successor_sealed");
        let row = admin.query_one(&query, &[&who.tenant, &pattern]).await.map_err(|e| e.to_string())?;
        if row.get::<_, i64>(0) < 4 {
            return Err(format!("{table} has too few rows to tell"));
        }
        if row.get::<_, i64>(1) > 0 {
            return Err(format!("{} rows of {table} hold a secret", row.get::<_, i64>(1)));
        }
    }
    Ok(())
}

/// Password and key hashes reach neither the audit log nor the events, whatever happens to their rows.
#[actix_web::test]
async fn secrets_never_leave_their_tables() {
    let stack = Stack::start().await;
    let t = stack.tenant().await;
    secrets_are_silent(&database::admin().await, Who::employee_of(&t)).await.unwrap();
}
