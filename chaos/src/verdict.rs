//! The end of a run: waiting until everything has arrived, having the receivers that misbehave think better of it, and then
//! asking everything of `checks`.

use crate::{
    checks::{self, Event},
    faults::Outcome,
    follow,
    person::{PAUSE, Said},
    receivers::{Manner, Subscription},
    report::Facts,
    scene::Scene,
    settings::Settings,
};
use aisha_kernel::clock;
use anyhow::{Context as _, bail};
use serde_json::json;
use std::time::{Duration, Instant};
use time::format_description::well_known::Rfc3339;
use tokio::time::sleep;
use tokio_postgres::Client;

const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How long a request may take now that nothing dies any more.
const PATIENCE: Duration = Duration::from_secs(30);
/// How soon the resolver must have heard of a change; what it remembers would last for 60 s.
const HEARD_WITHIN: Duration = Duration::from_secs(15);
/// What is under way to a receiver that does not answer ends after this at the latest.
const UNDER_WAY: Duration = Duration::from_secs(45);

/// Whether a commit is on the disk when it is answered.
pub async fn durable(db: &Client) -> anyhow::Result<bool> {
    let row = db
        .query_one(
            "SELECT bool_and(setting = 'on') FROM pg_settings \
             WHERE name IN ('fsync', 'synchronous_commit', 'full_page_writes')",
            &[],
        )
        .await?;
    Ok(row.get(0))
}

/// The whole end. Returns what is wrong, after printing the summary.
pub async fn reach(
    scene: &mut Scene,
    settings: &Settings,
    settle: Duration,
    outcome: &Outcome,
) -> anyhow::Result<Vec<String>> {
    let db = crate::database(settings).await?;
    let events = checks::events(&db).await?;
    let mut all = std::mem::take(&mut *scene.subscriptions.borrow_mut());
    let mut problems = Vec::new();

    let since = Instant::now();
    let delivers = |s: &Subscription| s.manner.delivers();
    problems.extend(arrive(&db, &mut all, delivers, &events, settle).await?);
    let settled = since.elapsed();
    for followed in &scene.followed {
        if let Err(e) = follow::caught_up(settings, followed, PATIENCE).await {
            problems.push(format!("{e:#}"));
        }
    }
    for subscription in all.iter().filter(|s| !s.manner.delivers()) {
        problems.extend(checks::kept(&db, subscription).await?);
    }
    println!("==> the receivers that misbehave are mended; what waits for them is sent");
    for subscription in all.iter().filter(|s| !s.manner.delivers()) {
        subscription.behave();
        if let Err(e) = mend(scene, subscription).await {
            problems.push(format!("{}: {e:#}", subscription.name()));
        }
    }
    // Mending is an event as well.
    let events = checks::events(&db).await?;
    problems.extend(arrive(&db, &mut all, |_| true, &events, settle + UNDER_WAY).await?);
    problems.extend(everything(&db, scene, settings, &all, &events).await?);

    let row = db
        .query_one("SELECT (SELECT count(*) FROM webhook_delivery), (SELECT count(*) FROM webhook_attempt)", &[])
        .await?;
    let log = scene.log.borrow();
    let resolved = scene.resolved.borrow();
    let followed: Vec<_> = scene.followed.iter().map(|f| f.borrow()).collect();
    let facts = Facts {
        log: &log,
        resolved: &resolved,
        followed: followed.iter().map(|f| &**f).collect(),
        subscriptions: &all,
        faults: &outcome.done,
        left_out: outcome.left_out,
        events: events.len(),
        deliveries: row.get(0),
        attempts: row.get(1),
        load: scene.load,
        settled,
    };
    println!("\n{facts}");
    Ok(problems)
}

/// Waits until everything that these subscriptions ask for was delivered, for as long as what is left keeps getting less: how
/// much a receiver that takes its time is owed depends on how long its senders kept dying. Returns what was not delivered.
async fn arrive(
    db: &Client,
    all: &mut [Subscription],
    which: impl Fn(&Subscription) -> bool,
    events: &[Event],
    patience: Duration,
) -> anyhow::Result<Vec<String>> {
    let (mut end, mut least) = (Instant::now() + patience, i64::MAX);
    loop {
        let mut problems = Vec::new();
        let unpublished = checks::unpublished(db).await?;
        if unpublished > 0 {
            problems.push(format!("{unpublished} events were never published"));
        }
        for subscription in all.iter_mut().filter(|s| which(s)) {
            subscription.collect();
            problems.extend(checks::delivered(db, subscription, events).await?);
        }
        let waiting: Vec<&Subscription> = all.iter().filter(|s| which(s)).collect();
        let undelivered = checks::waiting(db, &waiting).await?;
        if undelivered > 0 {
            problems.push(format!("{undelivered} deliveries still wait"));
        }
        if unpublished + undelivered < least {
            least = unpublished + undelivered;
            end = Instant::now() + patience;
        }
        if problems.is_empty() || Instant::now() > end {
            return Ok(problems);
        }
        // Time passes quicker for what is tried again in minutes or hours.
        let mended: Vec<_> = waiting.iter().filter(|s| !s.manner.delivers()).map(|s| s.id).collect();
        if !mended.is_empty() {
            let sooner = "UPDATE webhook_delivery SET next_attempt_at = clock_timestamp() \
                          WHERE state = 'pending' AND next_attempt_at > clock_timestamp() AND webhook_id = ANY ($1)";
            db.execute(sooner, &[&mended]).await?;
        }
        sleep(LOOK_EVERY).await;
    }
}

/// What an administrator does when a receiver is in order again: sends one delivery anew; where it said 410, switches the
/// subscription on and replays what it missed.
async fn mend(scene: &Scene, subscription: &Subscription) -> anyhow::Result<()> {
    let admin = &scene.tenant_of(subscription)?.admin;
    let path = format!("/api/webhooks/{}", subscription.id);
    if subscription.manner != Manner::Gone {
        let (pending, end) = (format!("{path}/deliveries?state=pending&limit=1"), Instant::now() + PATIENCE);
        loop {
            let page = admin.insist("GET", &pending, None, PATIENCE).await?.data();
            let Some(id) = page["deliveries"][0]["id"].as_str() else { return Ok(()) };
            // The delivery is the key as well: asked twice, it is sent anew once.
            match admin.once("POST", &format!("{path}/deliveries/{id}/resend"), Some(id), None).await {
                Said::Done(_) => return Ok(()),
                // A sender has taken it in between.
                Said::Refused(why) if !why.starts_with("409") => bail!("{id} cannot be sent anew: {why}"),
                Said::Refused(why) | Said::Nothing(why) if Instant::now() > end => {
                    bail!("{id} was not sent anew: {why}")
                }
                _ => sleep(PAUSE).await,
            }
        }
    }
    let before = admin.insist("GET", &path, None, PATIENCE).await?.data();
    if before["is_active"] != false || before["disabled_reason"] != "gone" {
        bail!("410 did not switch it off: {before}");
    }
    admin.insist("PATCH", &path, Some(&json!({ "is_active": true })), PATIENCE).await?;
    let from = clock::now() - scene.load.0.elapsed() - Duration::from_secs(60);
    let window = json!({ "from": from.format(&Rfc3339)?, "states": ["failed", "missing"] });
    let replay = admin.insist("POST", &format!("{path}/replay"), Some(&window), PATIENCE).await?.data();
    let id = replay["id"].as_str().context("a replay without an id")?.to_owned();
    let end = Instant::now() + PATIENCE;
    loop {
        let now = admin.insist("GET", &format!("{path}/replays/{id}"), None, PATIENCE).await?.data();
        match now["status"].as_str() {
            Some("completed") => return Ok(()),
            Some("running") if Instant::now() < end => sleep(LOOK_EVERY).await,
            _ => bail!("the replay did not come to its end: {now}"),
        }
    }
}

/// Everything that must be true.
async fn everything(
    db: &Client,
    scene: &Scene,
    settings: &Settings,
    all: &[Subscription],
    events: &[Event],
) -> anyhow::Result<Vec<String>> {
    let mut problems = Vec::new();
    {
        let log = scene.log.borrow();
        problems.extend(log.refused.iter().map(|what| format!("a write was refused: {what}")));
        problems.extend(checks::writes(&log.writes, events));
    }
    let writes = scene.log.borrow().writes.clone();
    problems.extend(checks::records(db, &writes).await?);
    problems.extend(checks::audit(db).await?);
    problems.extend(checks::order(events));
    problems.extend(checks::same_body(all));
    problems.extend(checks::dead_letters(settings.server("AMQP_URL")?).await?);
    problems.extend(scene.resolved.borrow().wrong.iter().map(|what| format!("the resolver was wrong: {what}")));
    for subscription in all {
        let admin = &scene.tenant_of(subscription)?.admin;
        let path = format!("/api/webhooks/{}/ledger", subscription.id);
        let ledger = admin.insist("GET", &path, None, PATIENCE).await?.data();
        let there = checks::deliveries(db, subscription).await?.len();
        if ledger["balanced"] != true || ledger["taken_on"] != there || ledger["delivered"] != there {
            problems.push(format!("the books of the {} do not add up with {there}: {ledger}", subscription.name()));
        }
    }
    // Last, since it makes an event that the others have not counted.
    problems.extend(resolver_hears(scene).await.err().map(|e| format!("the resolver: {e:#}")));
    Ok(problems)
}

/// After all it has been through, the resolver hears of a change long before what it remembers expires.
async fn resolver_hears(scene: &Scene) -> anyhow::Result<()> {
    let tenant = scene.tenants.first().context("there is no tenant")?;
    let (path, asked) = (format!("/api/tenants/{}", tenant.id), format!("/api/tenantresolve/{}", tenant.id));
    let slug = async || anyhow::Ok(tenant.admin.insist("GET", &asked, None, PATIENCE).await?.data()["slug"].clone());
    let before = slug().await?;
    let after = json!(format!("{}-renamed", before.as_str().context("a tenant without a slug")?));
    tenant.admin.insist("PATCH", &path, Some(&json!({ "slug": after })), PATIENCE).await?;
    let end = Instant::now() + HEARD_WITHIN;
    while slug().await? != after {
        anyhow::ensure!(Instant::now() < end, "a new slug was not noticed within {} s", HEARD_WITHIN.as_secs());
        sleep(LOOK_EVERY).await;
    }
    Ok(())
}
