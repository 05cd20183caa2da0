//! The connection to the broker: what breaks with it comes back with it, whatever was under way.

use aisha_bus::{Bus, Envelope, Heard, Message, Outgoing, Publisher, consume, dead_letters, topology};
use aisha_kernel::{Error, ErrorCode, new_id};
use aisha_testkit::{own::Own, switch::Switch};
use serde_json::value::to_raw_value;
use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{sync::watch, time::timeout};
use uuid::Uuid;

/// Connecting again takes about a second.
const PATIENCE: Duration = Duration::from_secs(30);
const CUTS: usize = 8;

type Ids = Arc<Mutex<BTreeSet<Uuid>>>;

/// Publishes without a pause and notes what the broker has taken.
async fn chatter(mut publisher: Publisher, published: Ids) {
    publisher.connected().await;
    loop {
        let said = event(1);
        publisher.publish(std::slice::from_ref(&said)).await.unwrap();
        published.lock().unwrap().insert(said.id);
    }
}

fn event(seq: i64) -> Outgoing {
    let id = new_id();
    let (event, timestamp) = ("account.updated".to_owned(), "2026-11-29T00:00:00Z".to_owned());
    let data = to_raw_value(&id).unwrap();
    let said = Envelope { id, seq, event, timestamp, tenant_id: None, data, previous: None };
    Outgoing::new(&said, "account", None).unwrap()
}

async fn until(what: &str, condition: impl AsyncFn() -> bool) {
    let waiting = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("{what}"));
}

/// A listener and a consumer acknowledge without a pause, so that every cut meets an acknowledgement on its way.
#[actix_web::test]
async fn cut_in_the_middle_of_everything_they_go_on() {
    let own = Own::new().await;
    let (mut wire, url) = Switch::before(&own.amqp_url).await;
    let (direct, cut) = (Bus::connect_lazy(&own.amqp_url).unwrap(), Bus::connect_lazy(&url).unwrap());
    let (published, taken) = (Ids::default(), Ids::default());
    let (stop, stopped) = watch::channel(false);
    let mut listener = cut.listen(vec!["account.*".to_owned()]);
    let consuming = actix_web::rt::spawn({
        let taken = Arc::clone(&taken);
        async move {
            let take = async |batch: &[Message]| {
                taken.lock().unwrap().extend(batch.iter().map(|m| m.envelope.id));
                Ok::<(), Error>(())
            };
            consume(&cut, &topology::WEBHOOKS, 10, stopped, take).await;
        }
    });
    let chattering =
        actix_web::rt::spawn(chatter(Publisher::new(&direct, &[topology::WEBHOOKS]), Arc::clone(&published)));
    for round in 0..=CUTS {
        if round > 0 {
            wire.off().await;
            wire.on().await;
        }
        let mut connected = false;
        let heard = async {
            // What was heard before the cut does not count.
            while let Some(heard) = listener.next().await {
                match heard {
                    Heard::Connected => connected = true,
                    Heard::Message(_) if connected => break,
                    Heard::Message(_) => {}
                }
            }
        };
        timeout(PATIENCE, heard).await.unwrap_or_else(|_| panic!("nothing is heard after cut {round}"));
        let before = taken.lock().unwrap().len();
        let goes_on = async {
            // One prefetch more than what may have been there already.
            while taken.lock().unwrap().len() < before + 20 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(PATIENCE, goes_on).await.unwrap_or_else(|_| panic!("nothing is consumed after cut {round}"));
    }
    chattering.abort();
    let _ = chattering.await;
    let all = async {
        while !published.lock().unwrap().is_subset(&taken.lock().unwrap()) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, all).await.expect("what the broker has taken reaches the consumer");
    stop.send_replace(true);
    timeout(PATIENCE, consuming).await.expect("the consumer stops").unwrap();
}

/// A full disk, or a server that only reads, happens to one message after the other: none is given up. A fault of ours that
/// one message meets holds up this one only. What is wrong itself is given up at once.
#[actix_web::test]
async fn what_is_wrong_with_the_world_makes_no_dead_letters() {
    #[derive(Clone, Copy, PartialEq)]
    enum World {
        Broken,
        OneMeetsAFault,
        Mended,
    }
    const ALL: i64 = 60;
    let own = Own::new().await;
    let bus = Bus::connect_lazy(&own.amqp_url).unwrap();
    dead_letters::connected(&bus).await;
    let queue = topology::NOTIFICATIONS;
    let all: Vec<Outgoing> = (0..ALL).map(event).collect();
    Publisher::new(&bus, &[queue]).publish(&all).await.unwrap();
    let (world, taken) = (Arc::new(Mutex::new(World::Broken)), Arc::<Mutex<Vec<i64>>>::default());
    let (stop, stopped) = watch::channel(false);
    let consuming = actix_web::rt::spawn({
        let (world, taken, bus) = (Arc::clone(&world), Arc::clone(&taken), bus.clone());
        async move {
            let take = async |batch: &[Message]| {
                let seqs: Vec<i64> = batch.iter().map(|m| m.envelope.seq).collect();
                match *world.lock().unwrap() {
                    World::Broken if seqs.contains(&1) => {
                        return Err(Error::new(
                            ErrorCode::Forbidden,
                            "cannot execute INSERT in a read-only transaction",
                        ));
                    }
                    World::Broken => return Err(Error::internal("could not extend file: No space left on device")),
                    World::OneMeetsAFault if seqs.contains(&7) => return Err(Error::internal("a fault of ours")),
                    _ if seqs.contains(&33) => return Err(Error::invalid("name", "cannot be stored")),
                    _ => {}
                }
                taken.lock().unwrap().extend(seqs);
                Ok(())
            };
            consume(&bus, &queue, 20, stopped, take).await;
        }
    });
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(taken.lock().unwrap().is_empty());
    assert_eq!(dead_letters::count(&bus, &queue).await.unwrap(), 0, "nothing is wrong with any of them");

    *world.lock().unwrap() = World::OneMeetsAFault;
    until("all but two", async || taken.lock().unwrap().len() as i64 == ALL - 2).await;
    until("one is given up", async || dead_letters::count(&bus, &queue).await.unwrap() == 1).await;
    assert!(dead_letters::list(&bus, &queue, 9).await.unwrap()[0].body.contains(r#""seq":33,"#));

    *world.lock().unwrap() = World::Mended;
    until("the last one", async || taken.lock().unwrap().len() as i64 == ALL - 1).await;
    let mut taken: Vec<i64> = taken.lock().unwrap().clone();
    taken.sort_unstable();
    assert_eq!(taken, (0..ALL).filter(|n| *n != 33).collect::<Vec<_>>(), "each once");
    stop.send_replace(true);
    timeout(PATIENCE, consuming).await.expect("the consumer stops").unwrap();
    assert_eq!(dead_letters::count(&bus, &queue).await.unwrap(), 1);
}

/// A queue that nobody consumes fills without end, so nobody makes one by looking.
#[actix_web::test]
async fn looking_for_dead_letters_makes_no_queue() {
    let own = Own::new().await;
    let bus = Bus::connect_lazy(&own.amqp_url).unwrap();
    dead_letters::connected(&bus).await;
    for queue in topology::QUEUES {
        assert_eq!(dead_letters::count(&bus, &queue).await.unwrap(), 0);
        assert!(dead_letters::list(&bus, &queue, 9).await.unwrap().is_empty());
        assert_eq!(dead_letters::requeue(&bus, &queue).await.unwrap(), 0);
        assert_eq!(dead_letters::purge(&bus, &queue).await.unwrap(), 0);
    }
    assert!(own.queues().await.is_empty(), "{:?}", own.queues().await);

    // Webhooks were on and are off now: what they could not handle stays, and cannot be put back.
    let queue = topology::WEBHOOKS;
    let mut publisher = Publisher::new(&bus, &[queue]);
    publisher.publish(&[event(1)]).await.unwrap();
    let (stop, stopped) = watch::channel(false);
    let consuming = actix_web::rt::spawn({
        let bus = bus.clone();
        async move { consume(&bus, &queue, 20, stopped, async |_| Err(Error::invalid("a", "b"))).await }
    });
    until("a dead letter", async || dead_letters::count(&bus, &queue).await.unwrap() == 1).await;
    stop.send_replace(true);
    consuming.await.unwrap();
    publisher.remove(&queue).await.unwrap();
    let refused = dead_letters::requeue(&bus, &queue).await.unwrap_err();
    assert!(refused.code == ErrorCode::Conflict && refused.message.contains("WEBHOOKS_ENABLED"), "{refused}");
    assert_eq!(dead_letters::list(&bus, &queue, 9).await.unwrap().len(), 1);
    assert_eq!(own.queues().await, [queue.dead()]);
    assert_eq!(dead_letters::purge(&bus, &queue).await.unwrap(), 1);
    assert_eq!(dead_letters::count(&bus, &queue).await.unwrap(), 0);
}
