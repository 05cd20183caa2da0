//! The tenant resolver: what it answers and to whom, what it remembers, and when it forgets.

use aisha_auth::{AccessLevel, Identity, Role, Scope};
use aisha_bus::{Bus, Envelope, Outgoing, Publisher};
use aisha_kernel::{TenantId, UserId, new_id};
use aisha_testkit::{
    Client, Own, Resolver, Stack, TestTenant,
    database::{self, address},
    switch::Switch,
};
use futures_util::future::join_all;
use serde_json::{Value, json};
use std::{
    fmt::Write as _,
    time::{Duration, Instant},
};
use tokio::sync::OnceCell;
use uuid::Uuid;

/// Long before time forgets; that it takes less than a second shows where the fastest of several counts.
const SOON: Duration = Duration::from_secs(5);

const SYSTEM_ID: &str = "a11dfb63-4b18-4eb8-872e-747af2e37c46";

fn somebody(role: Role, tenant: Option<Uuid>) -> Identity {
    Identity {
        user_id: UserId(new_id()),
        tenant_id: tenant.map(TenantId),
        employee_id: None,
        role,
        access: AccessLevel::ReadWrite,
        scope: if role == Role::Employee { Scope::Own } else { Scope::All },
        department: None,
        grants: None,
        extra: Vec::new(),
        disabled_modules: Vec::new(),
        sid: new_id(),
    }
}

fn client(stack: &Stack, replica: &Resolver, role: Role, tenant: Option<Uuid>) -> Client {
    stack.internal(&replica.url, "tenant-resolver", &somebody(role, tenant))
}

fn root(stack: &Stack, replica: &Resolver) -> Client {
    client(stack, replica, Role::Superadmin, None)
}

fn unknown_slug() -> String {
    format!("nobody-{}", new_id().simple())
}

/// `[uuid, slug, source, found]`.
async fn resolve(client: &Client, identifier: &str) -> Value {
    let data = client.get(&format!("/api/tenantresolve/{identifier}")).await.expect(200).data();
    json!([data["uuid"], data["slug"], data["source"], data["found"]])
}

async fn source(client: &Client, identifier: &str) -> String {
    resolve(client, identifier).await[2].as_str().unwrap().to_owned()
}

async fn stats(client: &Client) -> Value {
    client.get("/api/tenantresolve/%20?stats=true").await.expect(200).json()["cache"].clone()
}

/// The broker of this test alone: a reset reaches every replica at its broker, and other tests reset too.
static BROKER: OnceCell<Own> = OnceCell::const_new();

async fn broker() -> &'static str {
    &BROKER.get_or_init(Own::new).await.amqp_url
}

/// A replica that listens; what it has not heard yet cannot surprise a test then.
async fn replica(stack: &Stack, settings: &[(&str, &str)]) -> Resolver {
    let mut all = vec![("AMQP_URL", broker().await)];
    all.extend_from_slice(settings);
    let replica = stack.resolver_with(&all);
    let probe = root(stack, &replica);
    eventually("listening", async || {
        let ready = Client::anonymous(&replica.url).get("/ready").await;
        ready.json()["checks"]["rabbitmq"] == "ok"
    })
    .await;
    // Listening begins with forgetting. An answer that is still there a while later says that this is over.
    let id = new_id().to_string();
    let mut quiet = 0;
    while quiet < 5 {
        quiet = if source(&probe, &id).await.ends_with("-cache") { quiet + 1 } else { 0 };
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    probe.post("/api/tenantresolve/reset", json!({})).await.expect(200);
    replica
}

/// Two of them. The reset that making the second ends with has reached the first as well.
async fn replicas(stack: &Stack, first: &[(&str, &str)], second: &[(&str, &str)]) -> (Resolver, Resolver) {
    let first = replica(stack, first).await;
    let probe = root(stack, &first);
    source(&probe, &unknown_slug()).await;
    let second = replica(stack, second).await;
    eventually("the reset of the second", async || stats(&probe).await["misses"] == 0).await;
    (first, second)
}

async fn eventually(what: &str, works: impl AsyncFn() -> bool) -> Duration {
    let started = Instant::now();
    while !works().await {
        assert!(started.elapsed() < Duration::from_secs(40), "{what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    started.elapsed()
}

/// Says on the exchange what the relay says about a tenant.
async fn announce(bus: &Bus, event: &str, id: Uuid, data: Value, previous: Option<Value>) {
    let raw = |v: &Value| serde_json::value::to_raw_value(v).unwrap();
    let envelope = Envelope {
        id: new_id(),
        seq: 1,
        event: event.into(),
        timestamp: "2026-11-28T00:00:00Z".into(),
        tenant_id: Some(id),
        data: raw(&data),
        previous: previous.as_ref().map(raw),
    };
    let mut publisher = Publisher::new(bus, &[]);
    publisher.connected().await;
    publisher.publish(&[Outgoing::new(&envelope, "tenant", Some(id)).unwrap()]).await.unwrap();
}

#[actix_web::test]
async fn every_source_and_its_cached_form() {
    let stack = Stack::start().await;
    let t = stack.tenant().await;
    let (id, slug) = (t.id.to_string(), t.slug.clone());
    let (no_slug, no_id) = (unknown_slug(), new_id().to_string());
    let (with, without) =
        replicas(&stack, &[("SYSTEM_TENANT_ID", SYSTEM_ID)], &[("SYSTEM_TENANT_ID", "headquarters")]).await;
    let (me, plain) = (root(&stack, &with), root(&stack, &without));

    for (client, asked, expected) in [
        (&me, "system", json!([SYSTEM_ID, "system", "env", true])),
        (&plain, "system", json!([null, "system", "system-slug", false])),
        (&me, &id, json!([id, slug, "db-id", true])),
        (&me, &slug, json!([id, slug, "db-slug", true])),
        (&me, &no_id, json!([no_id, no_id, "uuid-input", false])),
        (&me, &no_slug, json!([null, no_slug, "slug-input", false])),
    ] {
        assert_eq!(resolve(client, asked).await, expected);
        for _ in 0..2 {
            let mut again = expected.clone();
            again[2] = json!(format!("{}-cache", expected[2].as_str().unwrap()));
            assert_eq!(resolve(client, asked).await, again);
        }
    }
    // Blank is nothing: neither remembered nor counted.
    let before = stats(&me).await;
    for _ in 0..2 {
        assert_eq!(resolve(&me, "%20%09").await, json!([null, null, "empty", false]));
    }
    assert_eq!(stats(&me).await, before);
    // Blanks around it do not count, and a UUID is one in any letters.
    assert_eq!(resolve(&me, &format!("%20{slug}%20")).await, json!([id, slug, "db-slug-cache", true]));
    assert_eq!(resolve(&me, &id.to_uppercase()).await, json!([id, slug, "db-id-cache", true]));
    let upper = no_id.to_uppercase();
    assert_eq!(resolve(&me, &upper).await, json!([upper, upper, "uuid-input-cache", false]));
    // Fixed names are no identifiers, and odd ones are refused or simply not found.
    me.get("/api/tenantresolve/reset").await.expect(405);
    me.post("/api/tenantresolve/metrics", json!({})).await.expect(405);
    for bad in ["a".repeat(101), "a%00b".into(), "a%0Ab".into()] {
        let refused = me.get(&format!("/api/tenantresolve/{bad}")).await.expect(400);
        assert_eq!(refused.fields(), ["identifier"]);
    }
    assert_eq!(resolve(&me, "a%2Fb%25").await, json!([null, "a/b%", "slug-input", false]));
    assert_eq!(resolve(&me, "%27%20OR%201%3D1").await[3], false);
    for (query, field) in [("stats=perhaps", "stats"), ("colour=red", "colour"), ("tenant_id=acme", "tenant_id")] {
        let refused = me.get(&format!("/api/tenantresolve/{slug}?{query}")).await.expect(400);
        assert_eq!(refused.fields(), [field]);
    }
}

#[actix_web::test]
async fn a_tenant_called_system_is_found_by_everybody() {
    // In a database of its own: other tests rely on there being none.
    let stack = Stack::events_with(&[("CRM_CORE_ROLES", "api")]).await;
    let own = stack.own.clone().unwrap();
    let mine = stack.tenant().await;
    let id = stack.text("INSERT INTO tenant (name, slug) VALUES ('System', 'system') RETURNING id::text").await;
    let one = replica(&stack, &[("DATABASE_URL", &own.database_url), ("AMQP_URL", &own.amqp_url)]).await;
    let me = client(&stack, &one, Role::Employee, Some(mine.id));
    let answer = resolve(&me, "system").await;
    let batch = me.get("/api/tenantresolve?ids=system").await.expect(200).data();
    // Its id alone is another tenant's.
    let by_id = resolve(&me, &id).await;
    assert_eq!(answer, json!([id, "system", "system-slug", true]));
    assert_eq!(batch[0]["source"], "system-slug-cache");
    assert_eq!(by_id, json!([id, id, "uuid-input", false]));
}

#[actix_web::test]
async fn what_the_database_could_not_say_is_not_remembered() {
    let stack = Stack::start().await;
    let t = stack.tenant().await;
    let (mut postgres, url) = Switch::before(&address("DATABASE_URL")).await;
    let one = replica(&stack, &[("DATABASE_URL", &url)]).await;
    let me = root(&stack, &one);
    let (id, slug) = (t.id.to_string(), t.slug.clone());
    assert_eq!(source(&me, &slug).await, "db-slug");

    postgres.off().await;
    for _ in 0..2 {
        assert_eq!(resolve(&me, &id).await, json!([id, id, "uuid-error", false]));
        assert_eq!(resolve(&me, "acme").await, json!([null, "acme", "slug-error", false]));
    }
    assert_eq!(source(&me, &slug).await, "db-slug-cache", "what is remembered is still answered");
    let batch = me.get(&format!("/api/tenantresolve?ids={slug},{id},acme")).await.expect(200).data();
    let sources: Vec<&str> = batch.as_array().unwrap().iter().map(|a| a["source"].as_str().unwrap()).collect();
    assert_eq!(sources, ["db-slug-cache", "uuid-error", "slug-error"]);
    let ready = Client::anonymous(&one.url).get("/ready").await.expect(503).json();
    assert_ne!(ready["checks"]["database"], "ok");

    postgres.on().await;
    eventually("the database", async || source(&me, &id).await.starts_with("db-id")).await;
    assert_eq!(source(&me, "acme").await, "slug-input", "no error was remembered");
}

#[actix_web::test]
async fn counts_and_metrics_add_up_and_a_reset_clears_them() {
    let stack = Stack::start().await;
    let t = stack.tenant().await;
    let one = replica(&stack, &[("TENANT_RESOLVE_CACHE_TTL_MS", "50000")]).await;
    let me = root(&stack, &one);
    let empty = json!({"ttlMs": 50000, "size": 0, "hits": 0, "misses": 0, "hitRatio": 0.0});
    assert_eq!(stats(&me).await, empty);
    for _ in 0..2 {
        source(&me, &t.slug).await;
    }
    let answer = me.get(&format!("/api/tenantresolve/{}?stats=true", t.slug)).await.expect(200).json();
    assert_eq!(answer["cache"], json!({"ttlMs": 50000, "size": 1, "hits": 2, "misses": 1, "hitRatio": 0.6667}));
    let plain = me.get(&format!("/api/tenantresolve/{}?stats=false", t.slug)).await.expect(200).json();
    assert!(plain.get("cache").is_none(), "{plain}");

    let text = me.get("/api/tenantresolve/metrics").await.expect(200);
    assert!(text.header("content-type").unwrap().starts_with("text/plain; version=0.0.4"));
    let expected = [
        ("tenant_resolve_cache_size", "gauge", "1"),
        ("tenant_resolve_cache_hits_total", "counter", "3"),
        ("tenant_resolve_cache_misses_total", "counter", "1"),
        ("tenant_resolve_cache_hit_ratio", "gauge", "0.7500"),
        ("tenant_resolve_cache_ttl_ms", "gauge", "50000"),
    ];
    let everything = Client::anonymous(&one.url).get("/metrics").await.expect(200).text;
    let mut lines = text.text.lines();
    for (name, kind, value) in expected {
        let help = lines.next().unwrap();
        assert!(help.starts_with(&format!("# HELP {name} ")) && help.ends_with('.'), "{help}");
        assert_eq!(lines.next().unwrap(), format!("# TYPE {name} {kind}"));
        assert_eq!(lines.next().unwrap(), format!("{name} {value}"));
        assert!(everything.contains(&format!("\n{name} {value}\n")), "{name} is in /metrics too");
    }
    assert_eq!(lines.next(), None, "these five and no others");
    assert!(text.text.ends_with('\n') && everything.contains("process_resident_memory_bytes"));

    let cleared = me.post("/api/tenantresolve/reset", json!({})).await.expect(200).json();
    assert_eq!(cleared, json!({"status": "success", "message": "Tenant resolve cache cleared"}));
    assert_eq!(stats(&me).await, empty);
    assert_eq!(source(&me, &t.slug).await, "db-slug");
}

#[actix_web::test]
async fn a_reset_reaches_the_other_replicas_once() {
    let stack = Stack::start().await;
    let t = stack.tenant().await;
    let (a, b) = replicas(&stack, &[], &[]).await;
    let (on_a, on_b) = (root(&stack, &a), root(&stack, &b));
    for client in [&on_a, &on_b] {
        source(client, &t.slug).await;
        source(client, &t.slug).await;
    }
    on_a.post("/api/tenantresolve/reset", json!({})).await.expect(200);
    // From here on counts again, although the message comes back to the one that sent it.
    assert_eq!(source(&on_a, &t.slug).await, "db-slug");
    let took = eventually("the other replica", async || stats(&on_b).await["hits"] == 0).await;
    assert!(took < SOON, "{took:?}");
    assert_eq!(source(&on_b, &t.slug).await, "db-slug");
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(stats(&on_a).await["misses"], 1);
    assert_eq!(source(&on_a, &t.slug).await, "db-slug-cache");
}

#[actix_web::test]
async fn a_hundred_who_ask_at_once_are_one_query() {
    let _guard = aisha_telemetry::init("test", &aisha_telemetry::LogSection::default());
    let stack = Stack::start().await;
    let t = stack.tenant().await;
    let one = replica(&stack, &[]).await;
    let me = root(&stack, &one);
    let queries = async || {
        let text = Client::anonymous(&one.url).get("/metrics").await.expect(200).text;
        let line = text.lines().find_map(|l| l.strip_prefix("tenant_resolve_queries_total "));
        line.map_or(0, |n| n.parse::<u64>().unwrap())
    };
    let before = queries().await;
    let all = join_all((0..100).map(|_| resolve(&me, &t.slug))).await;
    for answer in &all {
        assert_eq!((&answer[0], &answer[3]), (&json!(t.id), &json!(true)));
    }
    assert_eq!(queries().await - before, 1);
    let counts = stats(&me).await;
    assert_eq!(counts["hits"].as_u64().unwrap() + counts["misses"].as_u64().unwrap(), 100);
    // A list asks once, whatever it holds.
    let ids: Vec<String> = (0..100).map(|_| unknown_slug()).collect();
    let list = me.get(&format!("/api/tenantresolve?ids={}", ids.join(","))).await.expect(200).data();
    assert!(list.as_array().unwrap().iter().all(|a| a["source"] == "slug-input"));
    assert_eq!(queries().await - before, 2);
}

#[actix_web::test]
async fn that_there_is_none_is_forgotten_sooner() {
    let stack = Stack::start().await;
    let t = stack.tenant().await;
    let one = replica(&stack, &[("TENANT_RESOLVE_NEGATIVE_TTL_MS", "2000")]).await;
    let me = root(&stack, &one);
    let (no_slug, no_id) = (unknown_slug(), new_id().to_string());
    for asked in [&t.slug, &no_slug, &no_id] {
        assert!(!source(&me, asked).await.ends_with("-cache"));
        assert!(source(&me, asked).await.ends_with("-cache"));
    }
    tokio::time::sleep(Duration::from_millis(2200)).await;
    assert_eq!(source(&me, &no_slug).await, "slug-input");
    assert_eq!(source(&me, &no_id).await, "uuid-input");
    assert_eq!(source(&me, &t.slug).await, "db-slug-cache");
    let short = replica(&stack, &[("TENANT_RESOLVE_CACHE_TTL_MS", "2000")]).await;
    let me = root(&stack, &short);
    assert_eq!(source(&me, &t.slug).await, "db-slug");
    assert_eq!(source(&me, &t.slug).await, "db-slug-cache");
    tokio::time::sleep(Duration::from_millis(2200)).await;
    assert_eq!(source(&me, &t.slug).await, "db-slug");
}

#[actix_web::test]
async fn a_change_shows_within_a_second() {
    let stack = Stack::start().await;
    let t = stack.tenant().await;
    let bus = Bus::connect_lazy(broker().await).unwrap();
    let one = replica(&stack, &[]).await;
    let me = root(&stack, &one);
    let own = client(&stack, &one, Role::Employee, Some(t.id));
    let (id, old, new) = (t.id.to_string(), t.slug.clone(), format!("new-{}", t.id.simple()));
    for client in [&me, &own] {
        for asked in [&id, &old, &new] {
            source(client, asked).await;
            assert!(source(client, asked).await.ends_with("-cache"));
        }
    }
    let hits = stats(&me).await["hits"].as_u64().unwrap();

    stack.sql(&format!("UPDATE tenant SET slug = '{new}' WHERE id = '{id}'")).await;
    assert_eq!(source(&me, &old).await, "db-slug-cache", "nobody has said so yet");
    let (data, previous) = (json!({"id": id, "slug": new}), json!({"slug": old}));
    announce(&bus, "tenant.updated", t.id, data, Some(previous)).await;
    let took = eventually("the new slug", async || resolve(&me, &new).await[0] == json!(id)).await;
    assert!(took < SOON, "{took:?}");
    for client in [&me, &own] {
        assert_eq!(resolve(client, &old).await, json!([null, old, "slug-input", false]));
        let by_id = resolve(client, &id).await;
        assert_eq!((&by_id[1], &by_id[3]), (&json!(new), &json!(true)));
        assert_eq!(resolve(client, &new).await[0], json!(id));
    }
    assert!(stats(&me).await["hits"].as_u64().unwrap() >= hits, "counts go on");

    // A tenant that appears where there was none, and one that goes.
    let (born, name) = (new_id(), unknown_slug());
    for asked in [&born.to_string(), &name] {
        source(&me, asked).await;
    }
    stack.sql(&format!("INSERT INTO tenant (id, name, slug) VALUES ('{born}', 'Born', '{name}')")).await;
    announce(&bus, "tenant.created", born, json!({"id": born, "slug": name}), None).await;
    let took = eventually("the new tenant", async || resolve(&me, &name).await[0] == json!(born)).await;
    assert!(took < SOON, "{took:?}");
    assert_eq!(resolve(&me, &born.to_string()).await[1], json!(name));
    stack.sql(&format!("DELETE FROM tenant WHERE id = '{born}'")).await;
    announce(&bus, "tenant.deleted", born, json!({"id": born, "slug": name}), None).await;
    let took = eventually("that it is gone", async || resolve(&me, &name).await[3] == false).await;
    assert!(took < SOON, "{took:?}");
    assert_eq!(resolve(&me, &born.to_string()).await[3], false);
}

#[actix_web::test]
async fn a_tenant_renamed_over_the_api_is_noticed_through_the_relay() {
    let stack = Stack::events_with(&[("CRM_CORE_ROLES", "api,relay")]).await;
    let own = stack.own.clone().unwrap();
    let t = stack.tenant().await;
    let settings = [
        ("DATABASE_URL", own.database_url.as_str()),
        ("AMQP_URL", own.amqp_url.as_str()),
        ("TENANT_RESOLVE_CACHE_TTL_MS", "600000"),
    ];
    let one = replica(&stack, &settings).await;
    let me = root(&stack, &one);
    let id = t.id.to_string();
    let rename = async |slug: &str| {
        source(&me, &id).await;
        t.admin.client.patch(&format!("/api/tenants/{id}"), json!({"slug": slug})).await.expect(200);
        eventually("the new slug", async || resolve(&me, &id).await[1] == json!(slug)).await
    };
    // The fastest of several: a single one may have had to wait for the processor.
    let mut fastest = Duration::MAX;
    for letter in ["a", "b", "c", "d", "e"] {
        fastest = fastest.min(rename(&format!("{letter}-{}", t.id.simple())).await);
    }
    assert!(fastest < Duration::from_secs(1), "{fastest:?}");
}

#[actix_web::test]
async fn without_rabbitmq_time_forgets_and_readiness_says_so() {
    let stack = Stack::start().await;
    let t = stack.tenant().await;
    let (mut rabbit, url) = Switch::before(broker().await).await;
    let one = replica(&stack, &[("AMQP_URL", &url)]).await;
    let me = root(&stack, &one);
    assert_eq!(source(&me, &t.slug).await, "db-slug");
    rabbit.off().await;
    let ready = async || Client::anonymous(&one.url).get("/ready").await.expect(200).json();
    eventually("noticing", async || ready().await["degraded"] == json!(["rabbitmq"])).await;
    assert_eq!(source(&me, &t.slug).await, "db-slug-cache", "resolving goes on");
    let reset = me.post("/api/tenantresolve/reset", json!({})).await.expect(503);
    assert!(reset.code() == "unavailable" && reset.text.contains("could not be told"), "{}", reset.text);
    assert_eq!(source(&me, &t.slug).await, "db-slug", "here it was cleared");
    let hits = stats(&me).await["hits"].as_u64().unwrap();
    stack.sql(&format!("UPDATE tenant SET slug = slug || '-x' WHERE id = '{}'", t.id)).await;
    rabbit.on().await;
    // What was said in between is not said again, so everything is forgotten.
    eventually("forgetting", async || source(&me, &t.slug).await == "slug-input").await;
    assert!(stats(&me).await["hits"].as_u64().unwrap() >= hits);
    eventually("readiness", async || ready().await["degraded"] == json!([])).await;
    me.post("/api/tenantresolve/reset", json!({})).await.expect(200);
}

#[actix_web::test]
async fn another_tenant_cannot_be_told_from_one_that_does_not_exist() {
    let stack = Stack::start().await;
    let (mine, other) = (stack.tenant().await, stack.tenant().await);
    let bus = Bus::connect_lazy(broker().await).unwrap();
    let one = replica(&stack, &[]).await;
    // Others have asked before, so that answers about it are remembered.
    for theirs in [root(&stack, &one), client(&stack, &one, Role::Admin, Some(other.id))] {
        for asked in [&other.slug, &other.id.to_string()] {
            assert_eq!(resolve(&theirs, asked).await[3], true);
        }
    }
    for role in [Role::Employee, Role::Manager, Role::Admin] {
        let me = client(&stack, &one, role, Some(mine.id));
        me.get("/api/tenantresolve?ids=x").await.expect(200);
        assert_eq!(resolve(&me, &mine.slug).await[0], json!(mine.id));
        assert_eq!(resolve(&me, &mine.id.to_string()).await[1], json!(mine.slug));
        me.get(&format!("/api/tenantresolve/{}?tenant_id={}", mine.slug, mine.id)).await.expect(200);
        me.get(&format!("/api/tenantresolve/{}?tenant_id={}", other.slug, other.id)).await.expect(403);
    }
    let me = client(&stack, &one, Role::Admin, Some(mine.id));
    let (slug, id) = (unknown_slug(), new_id());
    let generic = |answer: Value, asked: &str| answer.to_string().replace(asked, "X");
    for (real, made_up) in [(&other.slug, &slug), (&other.id.to_string(), &id.to_string())] {
        for _ in 0..3 {
            let (a, b) = (resolve(&me, real).await, resolve(&me, made_up).await);
            assert_eq!(a[3], false);
            assert_eq!(generic(a, real), generic(b, made_up));
        }
    }
    // Nor does it show that something happens there.
    let data = json!({"id": other.id, "slug": other.slug});
    announce(&bus, "tenant.updated", other.id, data, Some(json!({"slug": "former"}))).await;
    eventually("the event", async || {
        let theirs = root(&stack, &one);
        !source(&theirs, &other.slug).await.ends_with("-cache")
    })
    .await;
    assert_eq!(source(&me, &other.slug).await, "slug-input-cache");
    assert_eq!(source(&me, &other.id.to_string()).await, "uuid-input-cache");
    // An account without a tenant has none, least of all every one.
    let stray = client(&stack, &one, Role::Admin, None);
    stray.get(&format!("/api/tenantresolve/{}", other.slug)).await.expect(403);
}

#[actix_web::test]
async fn lists_keep_order_duplicates_and_bounds() {
    let stack = Stack::start().await;
    let t = stack.tenant().await;
    let one = replica(&stack, &[("SYSTEM_TENANT_ID", SYSTEM_ID)]).await;
    let me = client(&stack, &one, Role::Manager, Some(t.id));
    let none = unknown_slug();
    let ids = format!("{},%20{},,{none},%20,system,{}", t.slug, t.slug, t.id);
    let reply = me.get(&format!("/api/tenantresolve?ids={ids}&stats=true")).await.expect(200).json();
    let id = t.id.to_string();
    let row = |input: &str, uuid: Value, slug: &str, source: &str, found: bool| json!({"input": input, "uuid": uuid, "slug": slug, "source": source, "found": found});
    assert_eq!(
        reply["data"],
        json!([
            row(&t.slug, json!(id), &t.slug, "db-slug", true),
            row(&t.slug, json!(id), &t.slug, "db-slug-cache", true),
            row(&none, Value::Null, &none, "slug-input", false),
            row("system", json!(SYSTEM_ID), "system", "env", true),
            row(&id, json!(id), &t.slug, "db-id", true),
        ])
    );
    assert_eq!((&reply["cache"]["hits"], &reply["cache"]["misses"]), (&json!(1), &json!(4)));
    for (query, message) in [
        ("", "ids query parameter required"),
        ("?stats=true", "ids query parameter required"),
        ("?ids=", "No valid identifiers provided"),
        ("?ids=,%20,", "No valid identifiers provided"),
    ] {
        let refused = me.get(&format!("/api/tenantresolve{query}")).await.expect(400);
        assert_eq!((&refused.json()["message"], refused.fields()), (&json!(message), vec!["ids".to_owned()]));
    }
    let many = |n: usize| vec!["x"; n].join(",");
    let full = me.get(&format!("/api/tenantresolve?ids={}", many(100))).await.expect(200).data();
    assert_eq!(full.as_array().unwrap().len(), 100);
    for bad in [many(101), format!("ok,{}", "a".repeat(101))] {
        assert_eq!(me.get(&format!("/api/tenantresolve?ids={bad}")).await.expect(400).fields(), ["ids"]);
    }
}

#[actix_web::test]
async fn it_stays_small_whatever_is_asked() {
    let stack = Stack::start().await;
    let t = stack.tenant().await;
    let one = replica(&stack, &[]).await;
    let me = client(&stack, &one, Role::Admin, Some(t.id));
    for _ in 0..130 {
        let ids: Vec<String> = (0..100).map(|_| unknown_slug()).collect();
        me.get(&format!("/api/tenantresolve?ids={}", ids.join(","))).await.expect(200);
    }
    let size = stats(&me).await["size"].as_u64().unwrap();
    assert!((1_000..=10_000).contains(&size), "{size}");
}

#[actix_web::test]
async fn directly_it_takes_its_own_tokens_only_and_metrics_are_for_this_machine() {
    let stack = Stack::start().await;
    let t = stack.tenant().await;
    let one = replica(&stack, &[("METRICS_TOKEN", "a-token-for-metrics")]).await;
    let nobody = Client::anonymous(&one.url);
    let foreign = stack.internal(&one.url, "crm-core", &somebody(Role::Superadmin, None));
    for client in [&nobody, &foreign, &nobody.with("x-internal-token", "garbage")] {
        client.get(&format!("/api/tenantresolve/{}", t.slug)).await.expect(401);
        client.get("/api/tenantresolve?ids=a").await.expect(401);
        client.post("/api/tenantresolve/reset", json!({})).await.expect(401);
    }
    foreign.get("/api/tenantresolve/metrics").await.expect(401);
    nobody.get("/api/tenantresolve/metrics").await.expect(200);
    let forwarded = async |headers: &[(&str, &str)]| {
        let all = [&[("x-forwarded-for", "203.0.113.9")], headers].concat();
        nobody.send("GET", "/api/tenantresolve/metrics", &all, None).await.status.as_u16()
    };
    assert_eq!(forwarded(&[]).await, 401);
    assert_eq!(forwarded(&[("authorization", "Bearer wrong")]).await, 401);
    assert_eq!(forwarded(&[("authorization", "Bearer a-token-for-metrics")]).await, 200);
    let admin = client(&stack, &one, Role::Admin, Some(t.id));
    admin.get("/api/tenantresolve/metrics").await.expect(403);
    admin.post("/api/tenantresolve/reset", json!({})).await.expect(403);
    let mut reader = somebody(Role::Superadmin, None);
    reader.access = AccessLevel::Read;
    let reader = stack.internal(&one.url, "tenant-resolver", &reader);
    reader.get("/api/tenantresolve/metrics").await.expect(200);
    reader.post("/api/tenantresolve/reset", json!({})).await.expect(403);
}

async fn call(client: &Client, t: &TestTenant, method: &str, path: &str) -> u16 {
    let path = path.replace("{identifier}", &t.slug);
    let path = if path == "/api/tenantresolve" { format!("{path}?ids={}", t.slug) } else { path };
    client.send(method, &path, &[], None).await.status.as_u16()
}

#[actix_web::test]
async fn through_the_gateway_roles_may_what_the_matrix_says() {
    let stack = Stack::platform().await;
    let t = stack.tenant().await;
    let root = stack.superadmin().await;
    eventually("the status", async || {
        stack.anonymous().get("/api/status").await.expect(200).data()["tenant_resolver"] == "ok"
    })
    .await;
    let document: Value = serde_json::from_str(&aisha_tenant_resolver::openapi_json()).unwrap();
    let merged = stack.anonymous().get("/api-docs.json").await.expect(200).json();
    let mut table = String::from(
        "| operation of the resolver | employee | manager | admin | superadmin |\n|---|---|---|---|---|\n",
    );
    for (path, item) in document["paths"].as_object().unwrap() {
        assert_eq!(&merged["paths"][path], item);
        for method in item.as_object().unwrap().keys() {
            let method = method.to_uppercase();
            write!(table, "| {method} {path} |").unwrap();
            for person in [&t.employee, &t.manager, &t.admin, &root] {
                let status = call(&person.client, &t, &method, path).await;
                assert!(matches!(status, 200 | 403), "{} {method} {path}: {status}", person.role);
                table.push_str(if status == 403 { " - |" } else { " yes |" });
            }
            table.push('\n');
            assert_eq!(call(&stack.anonymous(), &t, &method, path).await, 401);
        }
    }
    let reviewed = std::fs::read_to_string(database::root().join("docs/operation-matrix.md")).unwrap();
    assert!(reviewed.contains(&table), "docs/operation-matrix.md must contain:\n{table}");

    // A key does what its list says.
    let key = async |permission: &str| {
        let key = json!({"name": "k", "permissions": [permission]});
        let key = t.admin.client.post("/api/apikeys", key).await.expect(201).data();
        stack.anonymous().with("x-api-key", key["key"].as_str().unwrap())
    };
    let path = format!("/api/tenantresolve/{}", t.slug);
    key("read:contacts").await.get(&path).await.expect(403);
    assert_eq!(key("read:tenantresolve").await.get(&path).await.expect(200).data()["uuid"], json!(t.id));
}

#[actix_web::test]
async fn a_resolver_that_is_away_is_a_503() {
    let stack = Stack::platform_with(&[("TENANT_RESOLVER_URL", "http://127.0.0.1:9")]).await;
    let t = stack.tenant().await;
    let reply = t.admin.client.get("/api/tenantresolve/acme").await.expect(503);
    assert_eq!(reply.code(), "unavailable");
    t.admin.client.get("/api/contacts").await.expect(200);
    // On a busy machine another check may run out of its second once.
    eventually("readiness", async || {
        let ready = Client::anonymous(stack.gateway_url.as_ref().unwrap()).get("/ready").await;
        ready.status == 200 && ready.json()["degraded"] == json!(["tenant-resolver"])
    })
    .await;
}
