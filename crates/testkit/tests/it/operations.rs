//! What operators see: the system log, how fast routes are, what runs, whether all is well. And that none of it is lost
//! without a word, or seen by somebody else.

use aisha_config::LogSection;
use aisha_db::{Db, DbConfig, SystemReason};
use aisha_kernel::{clock, new_id};
use aisha_operations::{
    diagnosis::{Status, diagnose, worst},
    performance::{Pending, performance_roll_up, performance_store},
    recording::Recording,
    retention::{Retention, operations_tidy},
};
use aisha_telemetry::{
    performance::{Sample, Totals},
    process::Usage,
};
use aisha_testkit::{
    Stack,
    database::{address, connect},
    switch::Switch,
};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

fn config(url: &str) -> DbConfig {
    DbConfig { url: url.to_owned(), pool_size: 2, application_name: "operations test".into() }
}

fn database() -> Db {
    Db::new(&config(&address("DATABASE_URL"))).unwrap()
}

fn why() -> SystemReason {
    SystemReason { reason: "test", ..SystemReason::default() }
}

/// Sets up logging, quietly, so that records are collected.
fn collect() -> aisha_telemetry::Guard {
    aisha_telemetry::init("test", &LogSection { level: "off".into(), ..LogSection::default() })
}

fn record(service: &'static str, url: &str) -> Recording {
    Recording::start(service, "1.2.3", config(url), || async || json!({ "redis": "ok" })).unwrap()
}

/// Polls until the count is reached.
async fn until(stack: &Stack, expected: i64, query: &str) {
    let end = Instant::now() + Duration::from_secs(40);
    loop {
        let found = stack.count(query).await;
        if found == expected {
            return;
        }
        assert!(Instant::now() < end, "{found} instead of {expected}: {query}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn ids(data: &Value) -> Vec<String> {
    let rows = data["system-logs"].as_array().unwrap();
    rows.iter().map(|r| r["id"].as_str().unwrap().to_owned()).collect()
}

#[actix_web::test]
async fn what_a_service_warns_of_is_stored_with_its_request() {
    let _guard = collect();
    let (mut postgres, url) = Switch::before(&address("DATABASE_URL")).await;
    let stack = Stack::platform_with(&[("DATABASE_URL", &url)]).await;
    let t = stack.tenant().await;
    let recording = record("crm-core", &address("DATABASE_URL"));
    let mark = new_id();
    tracing::info!(%mark, "not worth keeping");
    tracing::warn!(%mark, tenant_id = %t.id, attempts = 3, nul = "a\0b", "something is odd");
    let odd = format!("SELECT count(*) FROM system_logs WHERE fields ->> 'mark' = '{mark}'");
    until(&stack, 1, &odd).await;
    let row = stack
        .text(&format!(
            "SELECT concat_ws('|', service, level, source, message, tenant_id, fields ->> 'attempts') FROM system_logs \
             WHERE fields ->> 'mark' = '{mark}'"
        ))
        .await;
    assert_eq!(row, format!("crm-core|warn|it::operations|something is odd|{}|3", t.id));

    // A request that fails leaves a record that leads back to it.
    postgres.off().await;
    let failed = t.admin.client.get("/api/accounts").await.expect(503);
    let id = failed.json()["request_id"].as_str().unwrap().to_owned();
    until(
        &stack,
        1,
        &format!("SELECT least(count(*), 1) FROM system_logs WHERE request_id = '{id}' AND level = 'warn'"),
    )
    .await;
    postgres.on().await;

    // What is logged just before the end is written too.
    tracing::error!(mark = %mark, "last words");
    recording.stop().await.unwrap();
    assert_eq!(stack.count(&odd).await, 2);
}

#[actix_web::test]
async fn a_flood_while_the_database_is_away_is_bounded_and_what_is_lost_is_told() {
    const FLOOD: i64 = 100_000;
    let _guard = collect();
    let (mut postgres, url) = Switch::before(&address("DATABASE_URL")).await;
    let stack = Stack::start().await;
    let service = name();
    let stack_service = format!("service = '{service}'");
    let recording = record(service, &url);
    until(&stack, 1, &format!("SELECT count(*) FROM service_instances WHERE {stack_service}")).await;
    postgres.off().await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    let before = Usage::read().resident_bytes.unwrap();
    let mark = new_id().to_string();
    for n in 0..FLOOD {
        tracing::warn!(mark, n, text = "x".repeat(200), "flood");
    }
    let grown = Usage::read().resident_bytes.unwrap().saturating_sub(before);
    assert!(grown < 32 * 1024 * 1024, "{grown} bytes for {FLOOD} records");
    // The service goes on meanwhile.
    let t = stack.tenant().await;
    t.admin.client.get("/api/accounts").await.expect(200);
    postgres.on().await;
    let stored = format!("SELECT count(*) FROM system_logs WHERE fields ->> 'mark' = '{mark}'");
    let lost = format!(
        "SELECT coalesce(sum((fields ->> 'lost')::bigint), 0)::bigint FROM system_logs WHERE {stack_service} AND fields ? 'lost'"
    );
    until(&stack, FLOOD, &format!("SELECT ({stored}) + ({lost})")).await;
    let kept = stack.count(&stored).await;
    assert!((4_096..=10_000).contains(&kept), "{kept}");
    recording.stop().await.unwrap();
    assert_eq!(stack.count(&stored).await, kept, "nothing is stored twice");
    let metrics = aisha_telemetry::render();
    let dropped = metrics.lines().find(|l| l.starts_with("system_log_records_total{outcome=\"dropped\"}")).unwrap();
    assert_eq!(dropped.rsplit(' ').next().unwrap().parse::<i64>().unwrap(), FLOOD - kept);
    let here = stack.count(&format!("SELECT count(*) FROM service_instances WHERE {stack_service}")).await;
    assert_eq!(here, 0, "it has left");
}

#[actix_web::test]
async fn the_log_is_read_by_those_it_concerns() {
    let stack = Stack::start().await;
    let (a, b) = (stack.tenant().await, stack.tenant().await);
    let root = stack.superadmin().await;
    let mark = new_id().simple().to_string();
    let report = |level: &str| {
        json!({"level": level, "message": format!("=cmd|{mark}, it broke"), "source": "Leads::List",
               "metadata": {"access_token": "t0ps3cret", "n": 1}, "url": "https://x.example/reset?token=abc"})
    };
    let of_a = a.employee.client.post("/api/system-logs", report("ERROR")).await.expect(201);
    assert_eq!((&of_a.data()["level"], &of_a.data()["service"]), (&json!("error"), &json!("frontend")));
    assert_eq!(of_a.data()["user_id"], json!(a.employee.user_id));
    assert!(!of_a.text.contains("t0ps3cret") && !of_a.text.contains("token=abc"), "{}", of_a.text);
    let of_b = b.manager.client.post("/api/system-logs", report("info")).await.expect(201).id().to_string();
    let of_nobody = root.client.post("/api/system-logs", report("warning")).await.expect(201);
    assert_eq!(of_nobody.data()["tenant_id"], Value::Null);
    let (of_a, of_nobody) = (of_a.id().to_string(), of_nobody.id().to_string());
    let bad = a.employee.client.post("/api/system-logs", json!({"level": "loud", "colour": 1})).await.expect(422);
    for field in ["level", "message", "colour"] {
        assert!(bad.fields().iter().any(|f| f == field), "{field} in {}", bad.text);
    }

    let search = format!("/api/system-logs?q={mark}");
    for person in [&a.employee, &a.manager] {
        assert_eq!(person.client.get(&search).await.expect(403).code(), "forbidden");
        person.client.get(&format!("/api/system-logs/{of_a}")).await.expect(403);
        person.client.get(&format!("/api/system-logs/export?q={mark}")).await.expect(403);
    }
    let seen = a.admin.client.get(&search).await.expect(200).data();
    assert_eq!((ids(&seen), &seen["total"]), (vec![of_a.clone()], &json!(1)));
    assert_eq!(seen["system-logs"][0]["user_email"], json!(a.employee.email));
    for foreign in [&of_b, &of_nobody] {
        a.admin.client.get(&format!("/api/system-logs/{foreign}")).await.expect(404);
        root.client.get(&format!("/api/system-logs/{foreign}")).await.expect(200);
    }
    assert_eq!(ids(&a.admin.client.get(&format!("{search}&platform=true")).await.expect(200).data()).len(), 0);
    let all = root.client.get(&search).await.expect(200).data();
    assert_eq!(ids(&all), [of_nobody.clone(), of_b.clone(), of_a.clone()], "newest first");
    assert_eq!(
        ids(&root.client.get(&format!("{search}&platform=true")).await.expect(200).data()),
        std::slice::from_ref(&of_nobody)
    );
    assert_eq!(
        ids(&root.client.get(&format!("{search}&tenant_id={}", b.id)).await.expect(200).data()),
        std::slice::from_ref(&of_b)
    );

    for (filter, expected) in [
        ("level=error", vec![&of_a]),
        ("level=warn,error", vec![&of_nobody, &of_a]),
        ("level=WARNING", vec![&of_nobody]),
        ("level=Warn,%20ERROR", vec![&of_nobody, &of_a]),
        ("service=frontend&level=info", vec![&of_b]),
        ("service=crm-core", vec![]),
        ("source=Leads", vec![&of_nobody, &of_b, &of_a]),
        ("source=Lead", vec![]),
        ("from=2026-01-01", vec![&of_nobody, &of_b, &of_a]),
        ("to=2026-01-01T00:00:00Z", vec![]),
    ] {
        let data = root.client.get(&format!("{search}&{filter}")).await.expect(200).data();
        assert_eq!(ids(&data).iter().collect::<Vec<_>>(), expected, "{filter}");
    }
    let by = format!("{search}&user_email={}", a.employee.email.to_uppercase());
    assert_eq!(ids(&root.client.get(&by).await.expect(200).data()), std::slice::from_ref(&of_a));
    let entry = root.client.get(&format!("/api/system-logs/{of_b}")).await.expect(200).data();
    let request = entry["request_id"].as_str().unwrap();
    assert_eq!(
        ids(&root.client.get(&format!("/api/system-logs?request_id={request}")).await.expect(200).data()),
        [of_b]
    );
    for (bad, field) in [
        ("level=loud", "level"),
        ("from=yesterday", "from"),
        ("from=2026-02-01&to=2026-01-01", "to"),
        ("cursor=x", "cursor"),
        ("colour=1", "colour"),
    ] {
        assert_eq!(root.client.get(&format!("{search}&{bad}")).await.expect(400).fields(), [field]);
    }

    // By pages.
    let (mut paged, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = root.client.get(&format!("{search}&limit=1{cursor}")).await.expect(200).data();
        paged.extend(ids(&page));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(paged, ids(&all));

    let export = a.admin.client.get(&format!("/api/system-logs/export?q={mark}")).await.expect(200);
    assert_eq!(export.header("content-type"), Some("text/csv; charset=utf-8"));
    let mut lines = export.text.lines();
    assert!(lines.next().unwrap().starts_with("created_at,level,service,source,message,"));
    let line = lines.next().unwrap();
    assert!(line.contains(&format!("\"'=cmd|{mark}, it broke\"")), "{line}");
    assert_eq!(lines.next(), None, "only its tenant's");
    let audited = format!(
        "SELECT count(*) FROM audit_log WHERE tenant_id = '{}' AND action = 'export' AND table_name = 'system_logs'",
        a.id
    );
    assert_eq!(stack.count(&audited).await, 1);
}

#[actix_web::test]
async fn old_rows_go_and_young_ones_stay() {
    let stack = Stack::start().await;
    let mark = new_id().simple().to_string();
    stack
        .sql(&format!(
            "INSERT INTO system_logs (service, level, message, created_at) VALUES ('{mark}', 'warn', 'old', now() - interval '31 days'), \
             ('{mark}', 'warn', 'young', now() - interval '29 days')"
        ))
        .await;
    operations_tidy(&database(), Retention::default()).await.unwrap();
    assert_eq!(
        stack.text(&format!("SELECT string_agg(message, ',') FROM system_logs WHERE service = '{mark}'")).await,
        "young"
    );
}

/// A service whose name no other test uses; series live as long as the process.
fn name() -> &'static str {
    Box::leak(format!("s{}", new_id().simple()).into_boxed_str())
}

/// A sample as telemetry hands it over: buckets of one percent.
fn sample(route: &str, durations: &[u64]) -> Sample {
    let service = name();
    let series = aisha_telemetry::performance::Series::new(service, "POST", route);
    durations.iter().for_each(|us| series.record(200, Duration::from_micros(*us)));
    aisha_telemetry::performance::drain(service).pop().unwrap()
}

#[actix_web::test]
async fn percentiles_of_a_window_are_those_of_all_its_requests() {
    let (stack, db) = (Stack::start().await, database());
    let (root, service) = (stack.superadmin().await, name());
    // Three very different minutes: an average of their percentiles would be far off.
    let minutes: [Vec<u64>; 3] = [
        (1..=5_000).map(|n| 1_000 + n % 400).collect(),
        (1..=100).map(|n| 50_000 + n * 977).collect(),
        (1..=900).map(|n| 2_000_000 + n * 1_013).collect(),
    ];
    let ten_hours_ago = clock::now() - time::Duration::hours(10);
    let start = ten_hours_ago.replace_time(time::Time::from_hms(ten_hours_ago.hour(), 10, 0).unwrap());
    // At once: another test rolls up what there is.
    db.system(&why(), async |tx| {
        for (i, durations) in minutes.iter().enumerate() {
            let from = start + time::Duration::minutes(i64::try_from(i).unwrap());
            let mut pending = Pending::new(from);
            pending.add(vec![sample("/api/slow/{id}", durations)]);
            // Two workers of one service add up.
            pending.add(vec![sample("/api/slow/{id}", durations)]);
            performance_store(tx, service, &pending, from + time::Duration::minutes(1)).await?;
        }
        Ok(())
    })
    .await
    .unwrap();
    let mut all: Vec<u64> = minutes.iter().flatten().chain(minutes.iter().flatten()).copied().collect();
    all.sort_unstable();
    let url = format!("/api/metrics/performance?service={service}&hours=24");
    let list = async || root.client.get(&url).await.expect(200).data();
    let check = |data: &Value| {
        let one = &data["performance"][0];
        assert_eq!(
            (&data["total"], &one["route"], &one["method"]),
            (&json!(1), &json!("/api/slow/{id}"), &json!("POST"))
        );
        for (key, percent) in [("p50_ms", 50), ("p95_ms", 95), ("p99_ms", 99)] {
            let reference = all[(all.len() * percent).div_ceil(100) - 1] as f64 / 1_000.0;
            let found = one[key].as_f64().unwrap();
            assert!((found / reference - 1.0).abs() < 0.01, "{key}: {found} instead of {reference}");
        }
        assert_eq!(one["request_count"], all.len());
        assert_eq!(one["max_ms"].as_f64(), Some(*all.last().unwrap() as f64 / 1_000.0));
        let mean = all.iter().sum::<u64>() as f64 / all.len() as f64 / 1_000.0;
        assert!((one["mean_ms"].as_f64().unwrap() / mean - 1.0).abs() < 0.001, "{one}");
        // 2 s is in the midst of the slow minute's first bucket; all of it is above.
        assert_eq!((&one["slow_count"], &one["slow"]), (&json!(1_800), &json!(true)));
        assert_eq!(data["summary"]["request_count"], all.len());
    };
    let before = list().await;
    check(&before);
    while db.system(&why(), async |tx| performance_roll_up(tx).await).await.unwrap() > 0 {}
    assert_eq!(stack.count(&format!("SELECT count(*) FROM performance_logs WHERE service = '{service}'")).await, 1);
    let after = list().await;
    check(&after);
    assert_eq!(before["performance"], after["performance"], "an hour says what its minutes said");
}

#[actix_web::test]
async fn requests_are_counted_by_route_and_read_by_superadmins() {
    let stack = Stack::start().await;
    let (t, root) = (stack.tenant().await, stack.superadmin().await);
    let recording = record("crm-core", &address("DATABASE_URL"));
    let since = stack.text("SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC' - interval '1 minute', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')").await;
    for _ in 0..7 {
        t.admin.client.get(&format!("/api/contacts/{}", new_id())).await.expect(404);
    }
    t.admin.client.get("/api/accounts").await.expect(200);
    recording.stop().await.unwrap();
    for person in t.people() {
        person.client.get("/api/metrics/performance").await.expect(403);
        person.client.get("/api/system/metrics").await.expect(403);
        person.client.post("/api/system/diagnostics", json!({})).await.expect(403);
    }
    // Other tests may write rows of crm-core as well: at least these.
    let data = root
        .client
        .get(&format!("/api/metrics/performance?service=crm-core&method=GET&from={since}&limit=200"))
        .await
        .expect(200)
        .data();
    let rows = data["performance"].as_array().unwrap();
    let route = |name: &str| rows.iter().find(|r| r["route"] == name).cloned().unwrap_or_default();
    let one = route("/api/contacts/{id}");
    assert!(one["request_count"].as_i64() >= Some(7) && one["client_error_count"].as_i64() >= Some(7), "{one}");
    assert!(one["p50_ms"].as_f64() > Some(0.0) && one["p99_ms"].as_f64() <= one["max_ms"].as_f64(), "{one}");
    assert!(route("/api/accounts")["request_count"].as_i64() >= Some(1));
    assert!(!data.to_string().contains(&t.id.to_string()), "patterns, no paths");
    for (bad, field) in [
        ("hours=0", "hours"),
        ("sort=colour", "sort"),
        ("from=2026-02-01&to=2026-01-01", "to"),
        ("tenant_id=x", "tenant_id"),
        ("from=2026-01-01&hours=1", "hours"),
    ] {
        let reply = root.client.get(&format!("/api/metrics/performance?{bad}")).await.expect(400);
        assert_eq!(reply.fields(), [field]);
    }
}

#[actix_web::test]
async fn the_state_of_the_platform_is_what_its_processes_say() {
    let stack = Stack::start().await;
    let root = stack.superadmin().await;
    let service = name();
    let recording = record(service, &address("DATABASE_URL"));
    until(&stack, 1, &format!("SELECT count(*) FROM service_instances WHERE service = '{service}'")).await;
    let data = root.client.get("/api/system/metrics").await.expect(200).data();
    let mine = data["services"].as_array().unwrap().iter().find(|s| s["service"] == service).unwrap().clone();
    assert_eq!(
        (&mine["version"], &mine["silent"], &mine["checks"]["redis"]),
        (&json!("1.2.3"), &json!(false), &json!("ok"))
    );
    assert!(mine["resident_bytes"].as_i64() > Some(1_000_000), "{mine}");
    assert!(mine["open_fds"].as_i64() > Some(3), "{mine}");
    assert!(mine["cpu_percent"].is_number() && mine["cpu_ms"].as_i64() > Some(0), "{mine}");
    let database = &data["database"];
    assert!(
        database["connections"].as_i64() >= Some(1) && database["size_bytes"].as_i64() > Some(1_000_000),
        "{database}"
    );
    assert!(database["commits"].as_i64() > Some(0) && database["version"].is_string(), "{database}");

    let checks = async || {
        let data = root.client.post("/api/system/diagnostics", json!({})).await.expect(200).data();
        let checks = data["checks"].as_array().unwrap().clone();
        assert!(
            checks.iter().all(|c| c["duration_ms"].is_number() && c["message"].as_str().is_some_and(|m| m.len() > 5))
        );
        move |name: &str| {
            checks.iter().find(|c| c["name"] == name).unwrap_or_else(|| panic!("{name}"))["status"].clone()
        }
    };
    let status = checks().await;
    for name in ["database", "database_login", "migrations", "row_level_security", "partitions"] {
        assert_eq!(status(name), "ok", "{name}");
    }
    for name in ["connections", "long_transactions", "outbox", "email", "services", "redis", "system_log", "rabbitmq"] {
        assert!(["ok", "warn", "fail"].contains(&status(name).as_str().unwrap()), "{name}");
    }
    // One process that cannot reach Redis is enough.
    let broken = new_id();
    stack
        .sql(&format!(
            "INSERT INTO service_instances (id, service, version, started_at, cpu_ms, recent_cpu_ms, recent_ms, resident_bytes, \
             open_fds, request_count, client_error_count, server_error_count, log_records_dropped, checks) \
             SELECT '{broken}', 'broken', version, started_at, 0, 0, 1, 0, 0, 0, 0, 0, 0, '{{\"redis\": \"not reachable\"}}' \
             FROM service_instances WHERE service = '{service}'"
        ))
        .await;
    let status = checks().await;
    assert_eq!((status("redis"), status("services")), (json!("fail"), json!("warn")));
    stack.sql(&format!("DELETE FROM service_instances WHERE id = '{broken}'")).await;
    recording.stop().await.unwrap();
    root.client.get("/api/system/metrics?tenant_id=x").await.expect(400);
}

#[actix_web::test]
async fn a_diagnosis_counts_connections_and_says_how_queries_fare() {
    // Its own database: other tests open and close connections to theirs.
    let stack = Stack::events_with(&[("CRM_CORE_ROLES", "api")]).await;
    let (t, root) = (stack.tenant().await, stack.superadmin().await);
    let own = stack.own.as_ref().unwrap();
    let route = format!("/api/{}", name());
    let mut pending = Pending::new(clock::now() - time::Duration::minutes(2));
    pending.add(vec![sample(&route, &[3_000_000])]);
    let db = Db::new(&config(&own.database_url)).unwrap();
    db.system(&why(), async |tx| performance_store(tx, "crm-core", &pending, clock::now()).await).await.unwrap();

    // A service that is busy with a tenant's affairs, and one that forgot to end its transaction.
    let (busy, forgetful) = (connect(&own.database_url).await, connect(&own.database_url).await);
    forgetful.batch_execute("SET application_name = 'forgetful'; BEGIN; SELECT 1").await.unwrap();
    busy.batch_execute("SET application_name = 'busy'").await.unwrap();
    let secret = "SELECT pg_sleep(20), 'Ada King''s number'";
    let running = actix_web::rt::spawn(async move { busy.batch_execute(secret).await });
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    let reply = root.client.post("/api/system/diagnostics", json!({})).await.expect(200);
    let data = reply.data();
    assert!(data["checks"].as_array().unwrap().len() > 10 && data["status"].is_string(), "what was there stays");

    let connections = &data["connections"];
    let n = |v: &Value, key: &str| v[key].as_i64().unwrap_or_else(|| panic!("{key}: {v:#}"));
    let most = stack.count("SELECT current_setting('max_connections')::bigint").await;
    assert_eq!(n(connections, "max_connections"), most);
    let sum = ["active", "idle", "idle_in_transaction"].iter().map(|key| n(connections, key)).sum::<i64>();
    let (total, all) = (n(connections, "total"), n(connections, "server_total"));
    assert!(sum <= total && total <= all && all <= most, "{connections:#}");
    let of = |name: &str| {
        let all = connections["by_application"].as_array().unwrap();
        all.iter().find(|a| a["application_name"] == name).unwrap_or_else(|| panic!("{name}: {connections:#}")).clone()
    };
    assert_eq!((n(&of("busy"), "active"), n(&of("forgetful"), "idle_in_transaction")), (1, 1));
    assert!(n(&of("crm-core"), "active") >= 1, "the one that asks");
    let apart: i64 = connections["by_application"].as_array().unwrap().iter().map(|a| n(a, "total")).sum();
    assert_eq!(apart, total);

    let queries = &data["query_performance"];
    assert!(n(queries, "running") >= 1, "{queries:#}");
    assert!((1_000..30_000).contains(&n(queries, "longest_running_ms")), "{queries:#}");
    assert!(n(queries, "longest_transaction_ms") >= n(queries, "longest_running_ms"), "{queries:#}");
    assert!(n(queries, "commits") > 0, "{queries:#}");
    assert!(queries["cache_hit_ratio"].as_f64().is_some_and(|r| (0.0..=1.0).contains(&r)), "{queries:#}");
    let slowest = &queries["slowest_routes"][0];
    assert_eq!(
        (&slowest["route"], &slowest["slow"], &slowest["p95_ms"]),
        (&json!(route), &json!(true), &json!(3_000.0))
    );
    assert_eq!((&queries["last_hour"]["max_ms"], &queries["performance_logging"]), (&json!(3_000.0), &json!(true)));
    assert!(!reply.text.contains("Ada King") && !reply.text.contains("pg_sleep"), "no text of a query");
    assert!(!reply.text.contains(&t.id.to_string()), "{}", reply.text);
    running.abort();
}

#[actix_web::test]
async fn switched_off_no_durations_are_kept_and_requests_are_still_counted() {
    let settings = LogSection { level: "off".into(), performance: false, ..LogSection::default() };
    let _guard = aisha_telemetry::init("test", &settings);
    let (stack, service) = (Stack::start().await, name());
    let series = aisha_telemetry::performance::Series::new(service, "GET", "/api/quiet");
    let recording = record(service, &address("DATABASE_URL"));
    for status in [200, 200, 404] {
        series.record(status, Duration::from_secs(3));
    }
    let counted =
        format!("SELECT coalesce(max(request_count), 0)::bigint FROM service_instances WHERE service = '{service}'");
    until(&stack, 3, &counted).await;
    recording.stop().await.unwrap();
    assert_eq!(stack.count(&format!("SELECT count(*) FROM performance_logs WHERE service = '{service}'")).await, 0);
    let root = stack.superadmin().await;
    let said = root.client.post("/api/system/diagnostics", json!({})).await.expect(200).data();
    assert_eq!(said["query_performance"]["performance_logging"], false);
}

#[actix_web::test]
async fn without_a_database_the_diagnosis_says_so() {
    let (mut postgres, url) = Switch::before(&address("DATABASE_URL")).await;
    let db = Db::new(&config(&url)).unwrap();
    assert!(diagnose(&db).await.len() > 5);
    postgres.off().await;
    let findings = diagnose(&db).await;
    assert_eq!((findings.len(), worst(&findings)), (1, Status::Fail));
    assert!(!findings[0].message.contains("127.0.0.1"), "{}", findings[0].message);
}

#[actix_web::test]
async fn durations_that_could_not_be_written_are_written_later() {
    let (mut postgres, url) = Switch::before(&address("DATABASE_URL")).await;
    let stack = Stack::start().await;
    let service = name();
    let mut pending = Pending::new(clock::now());
    let sample = sample("/x", &[10, 20, 30]);
    assert_eq!(sample.totals, Totals { request_count: 3, client_error_count: 0, server_error_count: 0 });
    pending.add(vec![sample.clone()]);
    let db = Db::new(&config(&url)).unwrap();
    postgres.off().await;
    let until = clock::now();
    let store = async || db.system(&why(), async |tx| performance_store(tx, service, &pending, until).await).await;
    assert!(store().await.is_err());
    postgres.on().await;
    store().await.unwrap();
    assert_eq!(
        stack.count(&format!("SELECT request_count FROM performance_logs WHERE service = '{service}'")).await,
        3
    );
}
