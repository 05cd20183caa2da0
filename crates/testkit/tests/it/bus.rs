//! The connection to the broker: what breaks with it comes back with it, whatever was under way.

use aisha_bus::{Bus, Envelope, Heard, Message, Outgoing, Publisher, consume, topology};
use aisha_kernel::{Error, new_id};
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
        let id = new_id();
        let (event, timestamp) = ("account.updated".to_owned(), "2026-11-29T00:00:00Z".to_owned());
        let data = to_raw_value(&id).unwrap();
        let said = Envelope { id, seq: 1, event, timestamp, tenant_id: None, data, previous: None };
        publisher.publish(&[Outgoing::new(&said, "account", None).unwrap()]).await.unwrap();
        published.lock().unwrap().insert(id);
    }
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
