//! What happens when something that a service depends on goes away: a clear answer, and recovery without a restart.

use aisha_config::Env;
use aisha_testkit::{Client, Stack, database::address, switch::Switch};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

async fn ready(url: &str) -> (u16, Value) {
    let reply = Client::anonymous(url).get("/ready").await;
    (reply.status.as_u16(), reply.json())
}

/// Polls until `works` does; a recovery takes a moment but no restart.
async fn eventually(what: &str, works: impl AsyncFn() -> bool) {
    let until = Instant::now() + Duration::from_secs(10);
    while !works().await {
        assert!(Instant::now() < until, "{what} did not recover");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Waits until `/ready` says this: on a busy machine a check may run out of its second.
async fn becomes(url: &str, status: u16, degraded: Value) {
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        let (now, body) = ready(url).await;
        if now == status && body["degraded"] == degraded {
            return;
        }
        assert!(Instant::now() < until, "{now} {body}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[actix_web::test]
async fn without_postgres_there_are_clear_503s_and_then_it_goes_on() {
    let (mut postgres, url) = Switch::before(&address("DATABASE_URL")).await;
    let stack = Stack::platform_with(&[("DATABASE_URL", &url)]).await;
    let t = stack.tenant().await;
    let me = &t.admin.client;
    me.post("/api/accounts", json!({"name": "Before"})).await.expect(201);
    let gateway = stack.gateway_url.clone().unwrap();
    eventually("readiness", async || ready(&gateway).await.0 == 200).await;

    postgres.off().await;
    let started = Instant::now();
    // The first ones go out on connections that have just died.
    for _ in 0..5 {
        for reply in [me.get("/api/accounts").await, me.post("/api/accounts", json!({"name": "During"})).await] {
            assert_eq!((reply.status.as_u16(), reply.code().as_str()), (503, "unavailable"), "{}", reply.text);
            assert!(reply.header("retry-after").is_some());
            assert!(!reply.text.contains("postgres") && !reply.text.contains("127.0.0.1"), "{}", reply.text);
        }
    }
    let login = json!({"email": t.admin.email, "password": "Correct-Horse-7"});
    stack.anonymous().post("/api/auth/login", login).await.expect(503);
    for url in [&gateway, &stack.core_url] {
        let (status, body) = ready(url).await;
        assert_eq!(status, 503, "{body}");
        assert_ne!(body["checks"]["database"], "ok", "{body}");
        Client::anonymous(url).get("/health").await.expect(200);
    }
    assert!(started.elapsed() < Duration::from_secs(60), "refusals are quick: {:?}", started.elapsed());

    postgres.on().await;
    eventually("reading", async || me.get("/api/accounts").await.status == 200).await;
    assert_eq!(me.get("/api/accounts").await.expect(200).data()["total"], 1, "nothing was written in between");
    me.post("/api/accounts", json!({"name": "After"})).await.expect(201);
    eventually("readiness", async || ready(&gateway).await.0 == 200).await;
}

#[actix_web::test]
async fn without_redis_work_goes_on_and_signing_in_waits() {
    let (mut redis, url) = Switch::before(&address("REDIS_URL")).await;
    let settings = [("REDIS_URL", url.as_str()), ("RATE_LIMIT_MAX", "1000"), ("AUTH_RATE_LIMIT_MAX", "5")];
    let stack = Stack::platform_with(&settings).await;
    let t = stack.tenant().await;
    let gateway = stack.gateway_url.clone().unwrap();
    let limited = t.admin.client.get("/api/accounts").await.expect(200);
    assert!(limited.header("x-ratelimit-remaining").is_some());

    redis.off().await;
    for _ in 0..3 {
        t.admin.client.get("/api/accounts").await.expect(200);
    }
    let login = json!({"email": t.admin.email, "password": "Wrong-Horse-7"});
    stack.anonymous().post("/api/auth/login", login.clone()).await.expect(503);
    becomes(&gateway, 200, json!(["redis"])).await;

    redis.on().await;
    eventually("signing in", async || stack.anonymous().post("/api/auth/login", login.clone()).await.status == 401)
        .await;
    becomes(&gateway, 200, json!([])).await;
}

#[actix_web::test]
async fn without_rabbitmq_everything_works_and_readiness_says_so() {
    let (mut rabbit, url) = Switch::before(&address("AMQP_URL")).await;
    let stack = Stack::platform_with(&[("AMQP_URL", &url)]).await;
    let t = stack.tenant().await;
    eventually("rabbitmq", async || ready(&stack.core_url).await.1["checks"]["rabbitmq"] == "ok").await;
    rabbit.off().await;
    becomes(&stack.core_url, 200, json!(["rabbitmq"])).await;
    let id = t.admin.client.post("/api/accounts", json!({"name": "During"})).await.expect(201).id();
    assert_eq!(stack.count(&format!("SELECT count(*) FROM event_outbox WHERE record_id = '{id}'")).await, 1);
    rabbit.on().await;
    eventually("rabbitmq", async || ready(&stack.core_url).await.1["checks"]["rabbitmq"] == "ok").await;
}

#[actix_web::test]
async fn a_service_that_is_away_is_a_503() {
    let stack = Stack::platform_with(&[("CRM_CORE_URL", "http://127.0.0.1:9")]).await;
    let t = stack.tenant().await;
    let reply = t.admin.client.get("/api/contacts").await.expect(503);
    assert_eq!(reply.code(), "unavailable");
    t.admin.client.get("/api/auth/me").await.expect(200);
    becomes(stack.gateway_url.as_ref().unwrap(), 200, json!(["crm-core"])).await;
}

#[test]
fn a_service_without_its_settings_lists_all_that_is_missing() {
    let nothing = Env::from_map(Vec::<(String, String)>::new());
    let text = aisha_gateway::config::Config::read(&nothing).unwrap_err().to_string();
    for name in ["JWT_SECRET", "INTERNAL_SIGNING_KEY", "CREDENTIALS_KEY", "DATABASE_URL", "REDIS_URL"] {
        assert!(text.contains(name), "{name} in {text}");
    }
    let nothing = Env::from_map(Vec::<(String, String)>::new());
    let text = aisha_crm_core::Config::read(&nothing).unwrap_err().to_string();
    for name in ["INTERNAL_PUBLIC_KEYS", "CREDENTIALS_KEY", "DATABASE_URL", "AMQP_URL"] {
        assert!(text.contains(name), "{name} in {text}");
    }
    let nothing = Env::from_map(Vec::<(String, String)>::new());
    let text = aisha_tenant_resolver::Config::read(&nothing).unwrap_err().to_string();
    for name in ["INTERNAL_PUBLIC_KEYS", "DATABASE_URL", "AMQP_URL"] {
        assert!(text.contains(name), "{name} in {text}");
    }
    let defaults = Env::from_map([("JWT_SECRET", "your-secure-random-string-here-your-secure-random-string-here")]);
    let text = aisha_gateway::config::Config::read(&defaults).unwrap_err().to_string();
    assert!(text.contains("JWT_SECRET") && !text.contains("your-secure"), "{text}");
}
