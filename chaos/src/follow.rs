//! Somebody who follows the live stream of a tenant, hangs up all the time, and goes on where it stopped.

use crate::{
    person::{PAUSE, Person},
    settings::Settings,
};
use aisha_testkit::stream::EventStream;
use anyhow::bail;
use fastrand::Rng;
use std::{
    cell::RefCell,
    rc::Rc,
    time::{Duration, Instant},
};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};
use uuid::Uuid;

const STREAM: &str = "/api/events/stream?events=contact.*,account.*,lead.*";
/// How long a connection is held, in milliseconds.
const HELD: std::ops::Range<u64> = 200..6_000;
const ANSWER_WITHIN: Duration = Duration::from_secs(20);

/// What a follower has seen.
#[derive(Default, Clone)]
pub struct Followed {
    pub tenant: Uuid,
    /// The ids of the events, as they came.
    pub seen: Vec<Uuid>,
    /// Connections that were opened.
    pub connections: usize,
    pub problems: Vec<String>,
}

/// Follows until told to stop.
pub async fn follow(person: Rc<Person>, log: Rc<RefCell<Followed>>, mut rng: Rng, stop: watch::Receiver<bool>) {
    let mut last: Option<String> = None;
    while !*stop.borrow() {
        let Ok(client) = person.client().await else {
            sleep(PAUSE).await;
            continue;
        };
        let opened = timeout(ANSWER_WITHIN, EventStream::try_open(&client, STREAM, last.as_deref())).await;
        let mut stream = match opened {
            Ok(Ok(Ok(stream))) => stream,
            Ok(Ok(Err(status))) => {
                match status {
                    401 => person.forget(),
                    429 | 500.. => {}
                    other => log.borrow_mut().problems.push(format!("the stream was answered with {other}")),
                }
                sleep(PAUSE).await;
                continue;
            }
            Ok(Err(_)) | Err(_) => {
                sleep(PAUSE).await;
                continue;
            }
        };
        log.borrow_mut().connections += 1;
        let until = Instant::now() + Duration::from_millis(rng.u64(HELD));
        while let Some(event) = stream.next_within(until.saturating_duration_since(Instant::now())).await {
            let mut log = log.borrow_mut();
            match event.data["id"].as_str().and_then(|id| id.parse().ok()) {
                Some(id) => log.seen.push(id),
                None => log.problems.push(format!("{} came without an id: {}", event.event, event.data)),
            }
            last = Some(event.id);
        }
        // A connection that ends at once, over and over, is no reason to be in a hurry.
        sleep(Duration::from_millis(50)).await;
    }
}

/// Compares what was seen with what is in the outbox: everything from the first event on, once, in its order.
pub async fn compare(db: &tokio_postgres::Client, followed: &Followed) -> anyhow::Result<Vec<String>> {
    let Some(first) = followed.seen.first() else {
        return Ok(vec![format!("the stream of tenant {} showed nothing at all", followed.tenant)]);
    };
    let rows = db
        .query(
            "SELECT id FROM event_outbox WHERE tenant_id = $1 AND entity IN ('contact', 'account', 'lead') \
             ORDER BY transaction_id, seq",
            &[&followed.tenant],
        )
        .await?;
    let all: Vec<Uuid> = rows.iter().map(|row| row.get(0)).collect();
    let expected: Vec<Uuid> = all.into_iter().skip_while(|id| id != first).collect();
    let mut problems = followed.problems.clone();
    if let Some(at) = (0..expected.len().max(followed.seen.len())).find(|i| expected.get(*i) != followed.seen.get(*i)) {
        let show = |list: &[Uuid]| list.get(at).map_or("nothing".to_owned(), Uuid::to_string);
        problems.push(format!(
            "the stream of tenant {} showed {} events and there are {}; the first difference is event {at}: {} came, {} is next",
            followed.tenant,
            followed.seen.len(),
            expected.len(),
            show(&followed.seen),
            show(&expected),
        ));
    }
    Ok(problems)
}

/// Waits until the follower has seen as much as there is.
pub async fn caught_up(
    settings: &Settings,
    followed: &Rc<RefCell<Followed>>,
    patience: Duration,
) -> anyhow::Result<()> {
    let db = crate::database(settings).await?;
    let end = Instant::now() + patience;
    loop {
        let so_far = followed.borrow().clone();
        let problems = compare(&db, &so_far).await?;
        if problems.is_empty() {
            return Ok(());
        }
        if Instant::now() > end {
            bail!("{}", problems.join("\n"));
        }
        sleep(PAUSE).await;
    }
}
