//! Senders: several at once, killed ones, and what one receiver or tenant may take from another.

use super::webhook_scene::{SOON, Scene};
use aisha_crm_core::webhook_sender::{self, Sender, SenderConfig};
use aisha_kernel::new_id;
use aisha_testkit::receiver::Reply;
use aisha_webhooks::{dispatch, intake};
use std::{
    collections::HashSet,
    time::{Duration, Instant},
};
use tokio::{sync::watch, time::sleep};
use uuid::Uuid;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_receiver_delays_nobody() {
    let scene = Scene::new().await;
    scene.receiver.answer(|request| if request.path == "/fast" { Reply::Status(200) } else { Reply::Silence });
    let dead = scene.subscribe("/dead", "max_concurrency = 100").await;
    let waiting = 30_000;
    scene
        .stack
        .sql(&format!(
            "WITH m AS (INSERT INTO webhook_message (tenant_id, event_id, event, seq, body, happened_at) \
                 SELECT '{0}', gen_random_uuid(), 'contact.created', n, '{{}}', now() FROM generate_series(1, {waiting}) AS n \
                 RETURNING event_id, seq), \
             d AS (INSERT INTO webhook_delivery (tenant_id, webhook_id, event_id, event, seq) \
                 SELECT '{0}', '{dead}', event_id, 'contact.created', seq FROM m) \
             INSERT INTO webhook_ledger (tenant_id, webhook_id, taken_on) VALUES ('{0}', '{dead}', {waiting})",
            scene.tenant.id
        ))
        .await;
    let fast = scene.subscribe("/fast", "").await;
    let (sender, handle) = scene.sender();
    scene.receiver.wait("/dead", 50, SOON).await;
    let mut lags = Vec::new();
    for n in 1..=100 {
        let started = Instant::now();
        scene.happen(&handle, 1).await;
        scene.receiver.wait("/fast", n, SOON).await;
        lags.push(started.elapsed());
    }
    lags.sort_unstable();
    println!(
        "fast receiver beside a dead one with {waiting} waiting: p50 {:?}, p95 {:?}, max {:?}",
        lags[50], lags[95], lags[99]
    );
    assert!(lags[50] < Duration::from_millis(500) && lags[95] < Duration::from_secs(2), "{lags:?}");
    // The end of one that was given up may be noticed after the beginning of the next.
    let at_once = scene.receiver.most_at_once("/dead");
    assert!((100..=102).contains(&at_once), "{at_once}");
    scene.until(100, &format!("webhook_id = '{fast}' AND state = 'delivered'"), SOON).await;
    scene.receiver.answer(|_| Reply::Status(200));
    sender.stop().await.unwrap();
    scene.balanced().await;
}

/// A receiver that takes its time is none that is down; a hundred of them are one tenant's business.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_with_slow_receivers_delays_no_other() {
    let (slow, quick) = (Scene::new().await, Scene::new().await);
    slow.receiver.answer(|_| Reply::Late(Duration::from_secs(8), Box::new(Reply::Status(200))));
    for _ in 0..40 {
        slow.subscribe("/slow", "max_concurrency = 100").await;
    }
    quick.subscribe("/quick", "").await;
    slow.take_on(&slow.events("contact.created", 60)).await;
    let only = Some(HashSet::from([slow.tenant.id, quick.tenant.id]));
    let (sender, handle) = webhook_sender::start(SenderConfig { only, ..slow.settings() }).unwrap();
    slow.receiver.wait("/slow", 200, SOON).await;
    for n in 1..=20 {
        let started = Instant::now();
        quick.happen(&handle, 1).await;
        quick.receiver.wait("/quick", n, SOON).await;
        assert!(started.elapsed() < Duration::from_secs(7), "the {n}th took {:?}", started.elapsed());
    }
    let most = slow.receiver.most_at_once("/slow");
    assert!((200..=256).contains(&most), "{most} at once");
    slow.receiver.answer(|_| Reply::Status(200));
    slow.until(40 * 60, "state = 'delivered' AND attempts = 1", Duration::from_secs(120)).await;
    sender.stop().await.unwrap();
    slow.balanced().await;
    quick.balanced().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_killed_sender_had_is_sent_by_another() {
    let scene = Scene::new().await;
    let hook = scene.subscribe("/slow", "max_concurrency = 2").await;
    scene.receiver.answer(|_| Reply::Late(Duration::from_secs(30), Box::new(Reply::Status(200))));
    let events = scene.events("contact.created", 5);
    scene.take_on(&events).await;
    let settings = scene.settings();
    let (kill, killing) = tokio::sync::oneshot::channel::<()>();
    let killed = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (_stop, stopped) = watch::channel(false);
        runtime.block_on(async {
            let sender = Sender::new(settings).unwrap();
            tokio::select! {
                () = sender.run(stopped) => {}
                _ = killing => {}
            }
        });
        // Everything that was under way goes with the runtime.
        runtime.shutdown_timeout(Duration::ZERO);
    });
    let first = scene.receiver.wait("/slow", 2, SOON).await;
    kill.send(()).unwrap();
    tokio::task::spawn_blocking(move || killed.join().unwrap()).await.unwrap();
    assert_eq!(scene.count("webhook_delivery", "state = 'sending'").await, 2, "nobody has given them back");
    scene.receiver.answer(|_| Reply::Status(200));
    let (sender, _handle) = scene.sender();
    sleep(Duration::from_secs(2)).await;
    assert_eq!(scene.receiver.count(), 2, "as long as the leases hold nobody else sends");
    scene
        .stack
        .sql(&format!(
            "UPDATE webhook_delivery SET lease_until = now() - interval '1 second' WHERE webhook_id = '{hook}' AND state = 'sending'"
        ))
        .await;
    scene.until(5, "state = 'delivered'", SOON).await;
    let all = scene.receiver.at("/slow");
    let ids: HashSet<&str> = all.iter().map(|a| a.header("webhook-id")).collect();
    assert_eq!((all.len(), ids.len()), (7, 5), "two twice, with the same ids");
    assert!(first.iter().all(|a| ids.contains(a.header("webhook-id"))));
    scene.end(sender).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_senders_keep_to_the_limits_together() {
    let scene = Scene::new().await;
    scene.receiver.answer(|request| match request.path.as_str() {
        "/narrow" => Reply::Late(Duration::from_millis(15), Box::new(Reply::Status(200))),
        _ => Reply::Status(200),
    });
    scene.subscribe("/narrow", "max_concurrency = 3").await;
    scene.subscribe("/paced", "rate_limit = 25").await;
    let senders = [scene.sender(), scene.sender()];
    let started = Instant::now();
    let mut events = Vec::new();
    for round in 0..25 {
        let more = scene.events("contact.created", 4);
        let keys = scene.take_on(&more).await;
        senders[round % 2].1.wake(keys.clone());
        senders[(round + 1) % 2].1.wake(keys);
        events.extend(more);
    }
    scene.until(200, "state = 'delivered'", Duration::from_secs(30)).await;
    assert!(started.elapsed() >= Duration::from_millis(3_900), "{:?}", started.elapsed());
    assert!(scene.receiver.most_at_once("/narrow") <= 3, "{}", scene.receiver.most_at_once("/narrow"));
    for path in ["/narrow", "/paced"] {
        let got = scene.receiver.at(path);
        let ids: HashSet<&str> = got.iter().map(|a| a.header("webhook-id")).collect();
        assert_eq!((got.len(), ids.len()), (100, 100), "{path}: each once");
    }
    let times: Vec<Instant> = scene.receiver.at("/paced").iter().map(|a| a.at).collect();
    // Measured where they arrive, one may be late and the next one not: a whole second could hold one more.
    const PART: Duration = Duration::from_millis(800);
    let most = times.iter().map(|from| times.iter().filter(|t| *t >= from && **t < *from + PART).count()).max();
    println!("paced: {:?} in the fullest {PART:?}, {:?} in all", most, started.elapsed());
    assert!(most.unwrap() <= 25, "{most:?}");
    let starts = scene
        .stack
        .count(&format!(
            "SELECT coalesce(max(n), 0) FROM (SELECT count(*) OVER (ORDER BY a.started_at RANGE BETWEEN CURRENT ROW AND \
             interval '800 milliseconds' FOLLOWING) AS n FROM webhook_attempt a JOIN webhook_delivery d ON d.id = a.delivery_id \
             JOIN webhook w ON w.id = d.webhook_id WHERE w.tenant_id = '{}' AND w.rate_limit IS NOT NULL) AS x",
            scene.tenant.id
        ))
        .await;
    assert!(starts <= 25, "{starts} requests began within {PART:?}");
    for (sender, _) in senders {
        sender.stop().await.unwrap();
    }
    scene.balanced().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_paused_stops_and_goes_on() {
    let scene = Scene::new().await;
    scene.receiver.answer(|_| Reply::Late(Duration::from_millis(700), Box::new(Reply::Status(200))));
    let hook = scene.subscribe("/slow", "max_concurrency = 1").await;
    let (sender, handle) = scene.sender();
    scene.happen(&handle, 10).await;
    scene.receiver.wait("/slow", 1, SOON).await;
    scene.stack.sql(&format!("UPDATE webhook SET paused_at = now() WHERE id = '{hook}'")).await;
    sleep(Duration::from_secs(3)).await;
    let stopped = scene.receiver.count();
    scene.happen(&handle, 1).await;
    sleep(Duration::from_secs(2)).await;
    assert!(stopped < 6 && scene.receiver.count() == stopped, "{stopped}, then {}", scene.receiver.count());
    assert_eq!(scene.count("webhook_delivery", "state = 'pending'").await, 11 - i64::try_from(stopped).unwrap());
    scene.receiver.answer(|_| Reply::Status(200));
    scene.stack.sql(&format!("UPDATE webhook SET paused_at = NULL WHERE id = '{hook}'")).await;
    scene.until(11, "state = 'delivered'", SOON).await;
    assert_eq!(scene.receiver.count(), 11);
    // A stop gives back what has not been sent.
    scene.receiver.answer(|_| Reply::Late(Duration::from_millis(700), Box::new(Reply::Status(200))));
    scene.happen(&handle, 10).await;
    scene.receiver.wait("/slow", 12, SOON).await;
    scene.end(sender).await;
    assert!(scene.count("webhook_delivery", "state = 'pending'").await >= 7);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_result_that_comes_too_late_changes_nothing() {
    use aisha_webhooks::outcome::{self, Attempt, Verdict};
    let scene = Scene::new().await;
    let hook = scene.subscribe("/late", "").await;
    let keys = scene.take_on(&scene.events("contact.created", 1)).await;
    let (slow, quick) = (new_id(), new_id());
    let claim = async |who: Uuid| dispatch::claim(&scene.db, who, &keys, |t| vec![5; t.len()]).await.unwrap();
    let first = claim(slow).await;
    assert_eq!((first.deliveries.len(), first.busy.len()), (1, 0));
    let none = claim(quick).await;
    assert_eq!((none.deliveries.len(), none.busy.as_slice()), (0, keys.as_slice()), "another sender has some of it");
    scene.stack.sql(&format!("UPDATE webhook_delivery SET lease_until = now() WHERE webhook_id = '{hook}'")).await;
    dispatch::look(&scene.db, &[]).await.unwrap();
    let second = claim(quick).await;
    let attempt = |claim: &dispatch::Claim, verdict, status| Attempt {
        key: keys[0],
        delivery_id: claim.deliveries[0].id,
        lease: claim.deliveries[0].lease.clone(),
        verdict,
        status: Some(status),
        excerpt: Some("nul \0".into()),
        error: None,
        started: Duration::from_millis(20),
        duration: Duration::from_millis(10),
        interval: None,
        hold: None,
        tell: true,
    };
    outcome::record(&scene.db, quick, &[attempt(&second, Verdict::Delivered, 200)]).await.unwrap();
    outcome::record(&scene.db, slow, &[attempt(&first, Verdict::Failed, 500)]).await.unwrap();
    outcome::record(&scene.db, quick, &[attempt(&first, Verdict::Failed, 500)]).await.unwrap();
    assert_eq!(
        scene.count("webhook_delivery", "state = 'delivered' AND attempts = 1 AND response_status = 200").await,
        1
    );
    scene.balanced().await;
}

/// A record may be large; what a sender has in memory may not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_events_are_handed_out_a_few_at_a_time() {
    let scene = Scene::new().await;
    for path in ["/one", "/other"] {
        scene.subscribe(path, "max_concurrency = 100").await;
    }
    let size = 400_000;
    let large = |mut event: intake::Incoming| {
        event.body.push_str(&" ".repeat(size - event.body.len()));
        event
    };
    let events: Vec<_> = scene.events("contact.created", 20).into_iter().map(large).collect();
    let mut keys = scene.take_on(&events).await;
    keys.sort_unstable();
    let me = new_id();
    let claim = async || dispatch::claim(&scene.db, me, &keys, |t| vec![20; t.len()]).await.unwrap();
    let first = claim().await;
    assert_eq!(first.deliveries.len(), 21, "8 MiB and the one that exceeds them");
    assert!(!first.cut_short.is_empty() && first.more.len() + first.cut_short.len() == 2, "{:?}", first.cut_short);
    let second = claim().await;
    assert_eq!((second.deliveries.len(), second.cut_short.len() + second.more.len()), (19, 0));
    let ids: HashSet<Uuid> = first.deliveries.iter().chain(&second.deliveries).map(|d| d.id).collect();
    assert_eq!(ids.len(), 40);

    let back = first.deliveries.into_iter().chain(second.deliveries);
    let back: Vec<_> = back.map(|d| (d.key.0, d.id, d.lease)).collect();
    dispatch::release(&scene.db, me, &back).await.unwrap();
    let (sender, _handle) = scene.sender();
    for path in ["/one", "/other"] {
        scene.receiver.wait(path, 20, Duration::from_secs(60)).await;
    }
    scene.end(sender).await;
    let got = scene.receiver.arrived();
    assert!(got.len() == 40 && got.iter().all(|a| a.body.len() == size), "{}", got.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_subscriptions_and_many_deliveries() {
    let scene = Scene::new().await;
    let tenant = scene.tenant.id;
    scene
        .stack
        .sql(&format!(
            "INSERT INTO webhook (tenant_id, url, event_types, secret_sealed) \
             SELECT '{tenant}', 'http://127.0.0.1:1', '{{nothing.happens}}', '\\x00' FROM generate_series(1, 3000)"
        ))
        .await;
    let started = Instant::now();
    for _ in 0..5 {
        dispatch::look(&scene.db, &[]).await.unwrap();
    }
    println!("a look beside 3000 quiet subscriptions: {:?}", started.elapsed() / 5);
    assert!(started.elapsed() < Duration::from_secs(5));
    scene.subscribe("/all", "").await;
    let events = scene.events("contact.created", 4_000);
    let (sender, handle) = scene.sender();
    let started = Instant::now();
    for chunk in events.chunks(200) {
        handle.wake(intake::take_on(&scene.db, chunk).await.unwrap());
    }
    let taken = started.elapsed();
    scene.receiver.wait("/all", events.len(), Duration::from_secs(120)).await;
    let took = started.elapsed();
    let rate = events.len() as f64 / took.as_secs_f64();
    println!("{} deliveries in {took:?} ({rate:.0}/s), taken on in {taken:?}", events.len());
    assert!(scene.receiver.most_at_once("/all") <= 8);
    scene.until(4_000, "state = 'delivered' AND attempts = 1", SOON).await;
    scene.end(sender).await;
    let got = scene.receiver.arrived();
    let ids: HashSet<&str> = got.iter().map(|a| a.header("webhook-id")).collect();
    assert_eq!((got.len(), ids.len()), (4_000, 4_000));
}
