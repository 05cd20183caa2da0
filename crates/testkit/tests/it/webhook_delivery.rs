//! From an event to a request, with receivers that behave and receivers that do not.

use super::webhook_scene::{OLD_SECRET, SECRET, SOON, Scene, sealed};
use aisha_clients::outbound::{Guard, Outbound};
use aisha_crm_core::webhook_sender::{self, SenderConfig};
use aisha_kernel::new_id;
use aisha_testkit::{database, receiver::Reply};
use aisha_webhooks::{dispatch, intake::Incoming};
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::time::sleep;
use uuid::Uuid;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_carries_the_body_and_its_proofs() {
    let scene = Scene::new().await;
    let (sender, handle) = scene.sender();
    let rotated = scene.subscribe("/rotated", "").await;
    let over = scene.subscribe("/over", "").await;
    let own = scene.subscribe("/own", "").await;
    for (id, until) in [(rotated, "now() + interval '1 hour'"), (over, "now() - interval '1 second'")] {
        let old = sealed(id, OLD_SECRET);
        let set = format!("previous_secret_sealed = {old}, previous_secret_until = {until}");
        scene.stack.sql(&format!("UPDATE webhook SET {set} WHERE id = '{id}'")).await;
    }
    let secret = sealed(own, "topsecret");
    scene.stack.sql(&format!("UPDATE webhook SET secret_sealed = {secret} WHERE id = '{own}'")).await;
    let events = scene.happen(&handle, 1).await;
    let event = &events[0];
    for path in ["/rotated", "/over", "/own"] {
        let got = &scene.receiver.wait(path, 1, SOON).await[0];
        assert_eq!(got.body, event.body.as_bytes(), "byte for byte");
        assert_eq!(got.header("webhook-id"), event.event_id.to_string());
        assert_eq!(got.header("x-webhook-event"), "contact.created");
        assert_eq!(got.header("content-type"), "application/json");
        let sent: i64 = got.header("webhook-timestamp").parse().unwrap();
        assert!((aisha_kernel::clock::now().unix_timestamp() - sent).abs() < 20);
        assert_eq!(got.header("x-webhook-signature").len(), 64);
        let signatures = got.header("webhook-signature").split_whitespace().filter(|s| s.starts_with("v1,")).count();
        assert_eq!(
            signatures,
            match path {
                "/rotated" => 2,
                "/over" => 1,
                _ => 0,
            },
            "{path}"
        );
    }
    scene.until(3, "state = 'delivered' AND attempts = 1 AND response_status = 200", SOON).await;
    assert_eq!(
        scene.count("webhook", "last_success_at IS NOT NULL AND failing_since IS NULL AND version > 1").await,
        3
    );
    scene.end(sender).await;
}

/// The library that receivers take from PyPI, and the three lines that do without one.
const VERIFY: &str = r#"
import hashlib, hmac, json, sys
from standardwebhooks.webhooks import Webhook, WebhookVerificationError
r = json.load(sys.stdin)
body, headers = r["body"].encode(), r["headers"]
for secret in r["secrets"]:
    assert Webhook(secret).verify(body, headers) == json.loads(body)
assert hmac.new(r["secrets"][0].encode(), body, hashlib.sha256).hexdigest() == headers["x-webhook-signature"]
try:
    Webhook(r["secrets"][0]).verify(body + b" ", headers)
    sys.exit("a body that was changed is accepted")
except WebhookVerificationError:
    print("verified")
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stock_library_verifies_what_is_delivered() {
    use std::{
        io::Write as _,
        process::{Command, Stdio},
    };
    let scene = Scene::new().await;
    let (sender, handle) = scene.sender();
    let hook = scene.subscribe("/python", "").await;
    let old = sealed(hook, OLD_SECRET);
    let set = format!("previous_secret_sealed = {old}, previous_secret_until = now() + interval '1 day'");
    scene.stack.sql(&format!("UPDATE webhook SET {set} WHERE id = '{hook}'")).await;
    scene.happen(&handle, 1).await;
    let got = scene.receiver.wait("/python", 1, SOON).await.remove(0);
    let request = serde_json::json!({
        "body": String::from_utf8(got.body).unwrap(), "headers": got.headers, "secrets": [SECRET, OLD_SECRET],
    });
    let python = database::root().join(".local/python/bin/python");
    let mut run = Command::new(&python)
        .args(["-c", VERIFY])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("{}: {e}; scripts/install.sh --tests makes it", python.display()));
    run.stdin.take().unwrap().write_all(request.to_string().as_bytes()).unwrap();
    let output = run.wait_with_output().unwrap();
    assert_eq!((output.status.success(), output.stdout.as_slice()), (true, b"verified\n".as_slice()));
    scene.until(1, "state = 'delivered'", SOON).await;
    scene.end(sender).await;
}

#[tokio::test]
async fn who_gets_what() {
    let scene = Scene::new().await;
    let other = scene.stack.tenant().await;
    let foreign = new_id();
    scene
        .stack
        .sql(&format!(
            "INSERT INTO webhook (tenant_id, id, url, event_types, secret_sealed) \
             VALUES ('{}', '{foreign}', 'http://127.0.0.1:1', '{{*}}', '\\x00')",
            other.id
        ))
        .await;
    for (path, types) in [
        ("/all", "*"),
        ("/exact", "contact.created"),
        ("/prefix", "contact.*"),
        ("/two", "lead.deleted,contact.created"),
        ("/none", ""),
        ("/near", "contact,contact.creat*,*.created,contact.created.x"),
    ] {
        scene.subscribe(path, &format!("event_types = '{{{types}}}'")).await;
    }
    scene.subscribe("/off", "is_active = false").await;
    scene.subscribe("/paused", "paused_at = now()").await;
    let events = [
        scene.event("contact.created", Some(scene.tenant.id)),
        scene.event("contact.updated", Some(scene.tenant.id)),
        scene.event("lead.deleted", Some(scene.tenant.id)),
        scene.event("contact.created", None),
    ];
    // Twice in one batch, and once more: redelivered by the broker.
    let twice: Vec<Incoming> = events.iter().chain(&events).cloned().collect();
    let keys = scene.take_on(&twice).await;
    assert_eq!(keys.len(), 5, "{keys:?}");
    assert!(scene.take_on(&events).await.is_empty(), "nothing new");
    let got = scene
        .text(&format!(
            "SELECT string_agg(substring(url FROM '[a-z]+$') || ':' || n, ' ' ORDER BY url) FROM \
             (SELECT w.url, count(*) AS n FROM webhook_delivery d JOIN webhook w ON w.id = d.webhook_id \
              WHERE d.tenant_id = '{}' GROUP BY w.url) AS x",
            scene.tenant.id
        ))
        .await;
    assert_eq!(got, "all:3 exact:1 paused:3 prefix:2 two:2");
    assert_eq!(scene.count("webhook_message", "true").await, 3, "a body is kept once");
    assert_eq!(
        scene.stack.count(&format!("SELECT count(*) FROM webhook_delivery WHERE webhook_id = '{foreign}'")).await,
        0
    );
    scene.balanced().await;

    for (how, back) in [
        (
            format!(
                "INSERT INTO module_settings (tenant_id, module_name, is_enabled) VALUES ('{}', 'integrations', false)",
                scene.tenant.id
            ),
            format!("DELETE FROM module_settings WHERE tenant_id = '{}'", scene.tenant.id),
        ),
        (
            format!("UPDATE tenant SET status = 'suspended' WHERE id = '{}'", scene.tenant.id),
            format!("UPDATE tenant SET status = 'active' WHERE id = '{}'", scene.tenant.id),
        ),
    ] {
        scene.stack.sql(&how).await;
        assert!(scene.take_on(&scene.events("contact.created", 1)).await.is_empty(), "{how}");
        let look = dispatch::look(&scene.db, &keys).await.unwrap();
        assert!(look.due.iter().all(|k| k.0 != scene.tenant.id) && look.stopped.len() == keys.len(), "{how}");
        scene.stack.sql(&back).await;
        assert_eq!(scene.take_on(&scene.events("contact.created", 1)).await.len(), 5, "{back}");
    }
    scene.balanced().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_receiver_from_hell() {
    let scene = Scene::new().await;
    let paths = [
        "/slow",
        "/huge",
        "/endless",
        "/reset",
        "/redirect",
        "/later",
        "/broken",
        "/gone",
        "/silent",
        "/garbage",
        "/text",
        "/once",
    ];
    let mut hooks = HashMap::new();
    for path in paths {
        hooks.insert(path, scene.subscribe(path, if path == "/once" { "retries = false" } else { "" }).await);
    }
    hooks.insert("nobody", scene.subscribe_url("http://127.0.0.1:1/nobody", "").await);
    let tls = scene.receiver.url("/tls").replace("http:", "https:");
    hooks.insert("tls", scene.subscribe_url(&tls, "").await);
    hooks.insert("inside", scene.subscribe_url("http://localhost:1/", "").await);
    scene.receiver.answer(|request| match request.path.as_str() {
        "/slow" => Reply::Late(Duration::from_millis(800), Box::new(Reply::Status(204))),
        "/huge" => Reply::Huge(500_000_000),
        "/endless" => Reply::Endless,
        "/reset" => Reply::Reset,
        "/redirect" => Reply::Full(302, vec![("location", "/elsewhere".into())], vec![]),
        "/later" => Reply::Full(429, vec![("retry-after", "90".into())], b"slow down".to_vec()),
        "/broken" | "/once" => Reply::Status(500),
        "/gone" => Reply::Status(410),
        "/silent" => Reply::Silence,
        "/garbage" => Reply::Garbage,
        "/text" => Reply::Full(400, vec![], b"nul \0 bell \x07 broken \xff end".to_vec()),
        _ => Reply::Status(200),
    });
    let settings = scene.settings();
    let outbound = settings.outbound.clone().with_patience(Duration::from_secs(3));
    let (sender, handle) = webhook_sender::start(SenderConfig { outbound, ..settings }).unwrap();
    scene.happen(&handle, 1).await;
    scene.until(0, "attempts = 0", SOON).await;
    let row = async |path: &str| {
        scene
            .text(&format!(
                "SELECT d.state || ' ' || coalesce(a.response_status::text, '-') || ' ' || coalesce(a.error, '-') || ' ' || \
                 round(extract(epoch FROM d.next_attempt_at - d.last_attempt_at)) || '|' || coalesce(a.response_excerpt, 'null') \
                 FROM webhook_delivery d JOIN webhook_attempt a ON a.delivery_id = d.id AND a.number = 1 \
                 WHERE d.webhook_id = '{}'",
                hooks[path]
            ))
            .await
    };
    assert!(row("/slow").await.starts_with("delivered 204 - "));
    let huge = row("/huge").await;
    assert!(huge.starts_with("delivered 200") && huge.split_once('|').unwrap().1 == "x".repeat(2_048), "{huge}");
    assert!(row("/endless").await.starts_with("delivered 200"));
    for (path, start) in [
        ("/reset", "pending - reset: the connection ended"),
        ("/redirect", "pending 302 answered 302"),
        ("/broken", "pending 500 answered 500"),
        ("/once", "failed 500 answered 500"),
        ("/gone", "failed 410 answered 410"),
        ("/silent", "pending - timeout: no answer within 3 s"),
        ("/garbage", "pending - protocol: the answer was not HTTP"),
        ("nobody", "pending - connect: connection refused"),
        ("tls", "pending - tls: "),
        ("inside", "pending - refused: leads to a private"),
    ] {
        let got = row(path).await;
        assert!(got.starts_with(start), "{path}: {got}");
    }
    let text = row("/text").await;
    assert!(text.ends_with("|nul \u{fffd} bell \u{fffd} broken \u{fffd} end"), "{text}");
    let later = row("/later").await;
    let wait: u64 = later.split('|').next().unwrap().rsplit(' ').next().unwrap().parse().unwrap();
    assert!((90..=100).contains(&wait) && later.ends_with("|slow down"), "{later}");
    assert!(scene.receiver.at("/elsewhere").is_empty() && scene.receiver.at("/tls").is_empty());

    let gone = hooks["/gone"];
    assert_eq!(
        scene.text(&format!("SELECT is_active || ' ' || disabled_reason FROM webhook WHERE id = '{gone}'")).await,
        "false gone"
    );
    let told = format!("record_id = '{gone}' AND event = 'webhook.updated' AND data ->> 'disabled_reason' = 'gone'");
    assert_eq!(scene.count("event_outbox", &told).await, 1);
    let audit = format!(
        "record_id = '{gone}' AND action = 'update' AND role = 'system' AND new_values ->> 'is_active' = 'false'"
    );
    assert_eq!(scene.count("audit_log", &audit).await, 1);
    assert_eq!(scene.count("webhook", "failing_since IS NOT NULL AND last_failure_at IS NOT NULL").await, 12);
    scene.end(sender).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_failed_is_tried_again_with_the_same_id() {
    let scene = Scene::new().await;
    let tries = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&tries);
    scene.receiver.answer(move |request| match request.path.as_str() {
        "/again" if seen.fetch_add(1, Ordering::SeqCst) == 0 => Reply::Status(503),
        _ => Reply::Status(200),
    });
    let hook = scene.subscribe("/again", "").await;
    let (sender, handle) = scene.sender();
    let events = scene.happen(&handle, 1).await;
    let got = scene.receiver.wait("/again", 2, Duration::from_secs(30)).await;
    let pause = got[1].at - got[0].at;
    assert!((4_900..20_000).contains(&pause.as_millis()), "{pause:?}");
    assert_eq!(
        (got[0].header("webhook-id"), got[0].body.as_slice()),
        (got[1].header("webhook-id"), got[1].body.as_slice())
    );
    assert_eq!(got[0].header("webhook-id"), events[0].event_id.to_string());
    assert_eq!(got[0].header("x-webhook-delivery"), got[1].header("x-webhook-delivery"));
    assert_ne!(got[0].header("webhook-timestamp"), got[1].header("webhook-timestamp"));
    assert_ne!(got[0].header("webhook-signature"), got[1].header("webhook-signature"));
    assert_eq!(got[0].header("x-webhook-signature"), got[1].header("x-webhook-signature"), "the body is the same");
    scene.until(1, "state = 'delivered' AND attempts = 2", SOON).await;
    assert_eq!(scene.count("webhook", "failing_since IS NULL").await, 1);
    // The end of the schedule.
    scene.receiver.answer(|_| Reply::Status(500));
    scene.happen(&handle, 1).await;
    scene.until(1, "state = 'pending' AND attempts = 1", SOON).await;
    scene
        .stack
        .sql(&format!(
            "UPDATE webhook_delivery SET attempts = 25, next_attempt_at = now(), scheduled_at = now() - interval '8 days 1 minute' \
             WHERE webhook_id = '{hook}' AND state = 'pending'"
        ))
        .await;
    scene.until(1, "state = 'failed' AND attempts = 26 AND finished_at IS NOT NULL", SOON).await;
    scene
        .stack
        .sql(&format!("UPDATE webhook_delivery SET attempts = 2 WHERE webhook_id = '{hook}' AND state = 'failed'"))
        .await;
    scene.end(sender).await;

    // WEBHOOK_RETRIES=false
    let settings = SenderConfig { retries: false, ..scene.settings() };
    let (sender, handle) = webhook_sender::start(settings).unwrap();
    scene.happen(&handle, 1).await;
    scene.until(2, "state = 'failed'", SOON).await;
    scene.end(sender).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_fails_for_five_days_is_switched_off_and_the_rest_waits() {
    let scene = Scene::new().await;
    scene.receiver.answer(|_| Reply::Status(500));
    let young = scene.subscribe("/young", "failing_since = now() - interval '4 days 23 hours'").await;
    let old = scene.subscribe("/old", "failing_since = now() - interval '5 days 1 minute', max_concurrency = 1").await;
    let (sender, handle) = scene.sender();
    scene.happen(&handle, 3).await;
    scene.receiver.wait("/old", 1, SOON).await;
    let off = async |id: Uuid| {
        scene
            .text(&format!("SELECT is_active || ' ' || coalesce(disabled_reason, '-') FROM webhook WHERE id = '{id}'"))
            .await
    };
    let started = Instant::now();
    while off(old).await != "false failing" {
        assert!(started.elapsed() < SOON);
        sleep(Duration::from_millis(20)).await;
    }
    scene.until(0, &format!("webhook_id = '{young}' AND attempts = 0"), SOON).await;
    assert_eq!(off(young).await, "true -");
    sleep(Duration::from_secs(2)).await;
    assert!(scene.receiver.at("/old").len() <= 2, "nothing leaves after that");
    // Switched on again, it goes on where it was.
    scene.receiver.answer(|_| Reply::Status(200));
    scene
        .stack
        .sql(&format!(
            "UPDATE webhook SET is_active = true, disabled_reason = NULL, disabled_at = NULL, failing_since = NULL WHERE id = '{old}'"
        ))
        .await;
    scene.until(3, &format!("webhook_id = '{old}' AND state = 'delivered'"), Duration::from_secs(15)).await;
    scene.end(sender).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_leads_inside_is_refused_when_it_is_delivered() {
    let scene = Scene::new().await;
    let asked = Arc::new(AtomicUsize::new(0));
    let lookups = Arc::clone(&asked);
    let guard = Guard::new::<&str>([]).with_lookup(move |_| {
        let first = lookups.fetch_add(1, Ordering::SeqCst) == 0;
        Box::pin(async move { Ok(vec![if first { "8.8.8.8" } else { "127.0.0.1" }.parse().unwrap()]) })
    });
    let url = format!("http://rebinding.test:{}/", scene.receiver.port());
    guard.check(&url.parse().unwrap()).await.unwrap();
    scene.subscribe_url(&url, "").await;
    let outbound = Outbound::new(guard, "test").unwrap();
    let (sender, handle) = webhook_sender::start(SenderConfig { outbound, ..scene.settings() }).unwrap();
    scene.happen(&handle, 1).await;
    scene.until(1, "state = 'pending' AND error LIKE 'refused: %'", SOON).await;
    assert_eq!((scene.receiver.count(), asked.load(Ordering::SeqCst)), (0, 2));
    scene.end(sender).await;
}
