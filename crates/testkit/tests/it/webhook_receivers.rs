//! Receivers that cannot take everything: those that ask for time, those that are down in large numbers, those that come back.

use super::webhook_scene::{SOON, Scene};
use aisha_crm_core::webhook_sender::{self, SenderConfig};
use aisha_testkit::receiver::Reply;
use serde_json::json;
use std::{
    collections::HashMap,
    sync::Mutex,
    time::{Duration, Instant},
};
use tokio::time::sleep;
use uuid::Uuid;

fn later(status: u16, seconds: u64) -> Reply {
    Reply::Full(status, vec![("retry-after", seconds.to_string())], vec![])
}

/// What a receiver says to one delivery holds for all that wait: it is not asked once for each of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_asks_for_time_gets_it() {
    const WAITING: usize = 50;
    const ASKED: u64 = 6;
    // What counts is when an answer was given, and that is a little later.
    let until = Duration::from_millis(ASKED * 1_000 - 100);
    let scene = Scene::new().await;
    let busy = [("/busy", 429), ("/paced", 503)];
    let since: Mutex<HashMap<String, Instant>> = Mutex::default();
    scene.receiver.answer(move |request| {
        let Some((_, status)) = busy.iter().find(|(path, _)| *path == request.path) else { return Reply::Status(200) };
        let first = *since.lock().unwrap().entry(request.path.clone()).or_insert_with(Instant::now);
        if first.elapsed() < until { later(*status, ASKED) } else { Reply::Status(200) }
    });
    let hook = scene.subscribe("/busy", "max_concurrency = 4").await;
    scene.subscribe("/paced", "max_concurrency = 4, rate_limit = 200").await;
    scene.subscribe("/free", "max_concurrency = 4").await;
    let (sender, handle) = scene.sender();
    scene.happen(&handle, WAITING).await;
    let free = scene.receiver.wait("/free", WAITING, SOON).await;
    let first = scene.receiver.wait("/busy", 1, SOON).await[0].at;
    assert!(free.iter().all(|a| a.at < first + Duration::from_secs(4)), "nobody else waits");
    let held = format!("webhook_id = '{hook}' AND next_slot_at > now() + interval '1 second'");
    assert_eq!(scene.count("webhook_ledger", &held).await, 1);
    scene.until(3 * WAITING as i64, "state = 'delivered'", Duration::from_secs(20)).await;
    for (path, _) in busy {
        let got = scene.receiver.at(path);
        let early = got.iter().filter(|a| a.at < got[0].at + until).count();
        assert!(early <= 4, "{path}: {early} requests before the receiver's time, for those under way at once");
        assert_eq!(got.len(), WAITING + early, "{path}: each once more, and no more often");
    }
    scene.end(sender).await;
}

/// Somebody who knows better than the receiver pauses and goes on: what waits is sent then.
#[actix_web::test]
async fn going_on_by_hand_does_not_wait_for_the_receiver_s_time() {
    let scene = Scene::new().await;
    scene.receiver.answer(|_| later(503, 3_600));
    let hook = scene.subscribe("/hook", "max_concurrency = 1").await;
    let (sender, handle) = scene.sender();
    scene.happen(&handle, 10).await;
    scene.receiver.wait("/hook", 1, SOON).await;
    sleep(Duration::from_secs(3)).await;
    assert_eq!(scene.receiver.count(), 1);
    scene.receiver.answer(|_| Reply::Status(200));
    for verb in ["pause", "resume"] {
        let path = format!("/api/webhooks/{hook}/{verb}");
        scene.tenant.admin.client.post(&path, json!({})).await.expect(200);
    }
    scene.until(9, "state = 'delivered'", SOON).await;
    // Neither does another receiver.
    let hold = async |set: &str| {
        let sql = format!("UPDATE webhook_ledger SET next_slot_at = now() + {set} WHERE webhook_id = '{hook}'");
        scene.stack.sql(&sql).await;
    };
    let (path, far) = (format!("/api/webhooks/{hook}"), "next_slot_at > now() + interval '10 seconds'");
    hold("interval '1 day'").await;
    scene.tenant.admin.client.patch(&path, json!({ "description": "the same" })).await.expect(200);
    assert_eq!(scene.count("webhook_ledger", far).await, 1);
    scene.tenant.admin.client.patch(&path, json!({ "url": "https://hooks.example/other" })).await.expect(200);
    assert_eq!(scene.count("webhook_ledger", far).await, 0);
    assert_eq!(
        scene.count("webhook_delivery", "state = 'pending' AND next_attempt_at > now() + interval '50 min'").await,
        1
    );
    scene.end(sender).await;
}

/// However many receivers never answer, each is asked in its turn: one that has come back is noticed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_receivers_that_are_down_each_is_asked() {
    const DOWN: usize = 150;
    let scene = Scene::new().await;
    scene.receiver.answer(|_| Reply::Silence);
    for n in 0..DOWN {
        scene.subscribe(&format!("/down/{n}"), "failing_since = now() - interval '1 hour'").await;
    }
    scene.take_on(&scene.events("contact.created", 40)).await;
    let settings = scene.settings();
    let outbound = settings.outbound.clone().with_patience(Duration::from_secs(1));
    let (sender, _handle) = webhook_sender::start(SenderConfig { outbound, ..settings }).unwrap();
    let started = Instant::now();
    loop {
        let mut asked: HashMap<String, usize> = HashMap::new();
        for request in scene.receiver.arrived() {
            *asked.entry(request.path).or_default() += 1;
        }
        let most = asked.values().max().copied().unwrap_or(0);
        if asked.len() == DOWN {
            println!("all were asked within {:?}, none more than {most} times", started.elapsed());
            break;
        }
        let took = started.elapsed();
        assert!(
            took < Duration::from_secs(20),
            "{} of {DOWN} were asked within {took:?}, one {most} times",
            asked.len()
        );
        sleep(Duration::from_millis(100)).await;
    }
    scene.receiver.answer(|_| Reply::Status(200));
    sender.stop().await.unwrap();
    scene.balanced().await;
}

/// Nothing is tried while a subscription is paused, so that time does not count as time of failing.
#[actix_web::test]
async fn one_failure_after_a_long_pause_switches_nothing_off() {
    let scene = Scene::new().await;
    scene.receiver.answer(|_| Reply::Status(503));
    let six_days = "now() - interval '6 days'";
    let hook: Uuid = scene.subscribe("/hook", &format!("failing_since = {six_days}, paused_at = {six_days}")).await;
    let path = format!("/api/webhooks/{hook}");
    let api = &scene.tenant.admin.client;
    let resumed = api.post(&format!("{path}/resume"), json!({})).await.expect(200).data();
    assert_eq!((&resumed["paused_at"], &resumed["failing_since"]), (&json!(null), &json!(null)));
    let (sender, handle) = scene.sender();
    scene.happen(&handle, 1).await;
    scene.until(1, "attempts = 1 AND response_status = 503", SOON).await;
    let now = api.get(&path).await.expect(200).data();
    assert_eq!((&now["is_active"], &now["disabled_reason"]), (&json!(true), &json!(null)));
    assert!(now["failing_since"].is_string(), "it begins now: {now}");
    scene.end(sender).await;
}
