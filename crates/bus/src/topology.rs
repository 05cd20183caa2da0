//! The exchange and the queues, declared in one place by whoever uses them first.
//!
//! Queues are quorum queues: what the broker has confirmed survives its restart. A message that cannot be handled leaves its
//! queue for `<queue>.dead`, at least once, and waits there for an operator ([`crate::dead_letters`]). There are no queues
//! for delays: what is to be tried again later has its schedule in the database.

use lapin::{
    Channel, ErrorKind, ExchangeKind, Result,
    options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions},
    protocol::{AMQPErrorKind, AMQPSoftError},
    types::{AMQPValue, FieldTable},
};

/// The topic exchange of all events; the routing key is the event's name.
pub const EXCHANGE: &str = "aisha.events";

/// How often a message may come back because its consumer died, before it counts as what kills it.
const DELIVERY_LIMIT: i32 = 50;

/// A durable queue on the exchange.
#[derive(Debug, Clone, Copy)]
pub struct Queue {
    /// Its name.
    pub name: &'static str,
    /// Routing keys that it takes.
    pub bindings: &'static [&'static str],
}

/// What the webhooks are delivered from: everything.
pub const WEBHOOKS: Queue = Queue { name: "aisha.webhooks", bindings: &["#"] };

/// What people are notified of: assignments and finished imports.
pub const NOTIFICATIONS: Queue = Queue { name: "aisha.notifications", bindings: &["*.created", "*.updated"] };

/// All durable queues.
pub const QUEUES: [Queue; 2] = [WEBHOOKS, NOTIFICATIONS];

impl Queue {
    /// The queue of what it could not handle.
    #[must_use]
    pub fn dead(&self) -> String {
        format!("{}.dead", self.name)
    }

    /// The queue with this name, or with this name after `aisha.`.
    #[must_use]
    pub fn find(name: &str) -> Option<Self> {
        QUEUES.into_iter().find(|q| q.name == name || q.name.strip_prefix("aisha.") == Some(name))
    }
}

fn durable() -> QueueDeclareOptions {
    QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() }
}

fn text(value: &str) -> AMQPValue {
    AMQPValue::LongString(value.into())
}

/// The exchange.
pub(crate) async fn declare_exchange(channel: &Channel) -> Result<()> {
    let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    channel.exchange_declare(EXCHANGE.into(), ExchangeKind::Topic, options, FieldTable::default()).await
}

/// The exchange, the queue with its bindings, and its dead letters.
pub(crate) async fn declare(channel: &Channel, queue: &Queue) -> Result<()> {
    declare_exchange(channel).await?;
    let dead = queue.dead();
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), text("quorum"));
    channel.queue_declare(dead.as_str().into(), durable(), arguments.clone()).await?;
    arguments.insert("x-delivery-limit".into(), AMQPValue::LongInt(DELIVERY_LIMIT));
    arguments.insert("x-dead-letter-exchange".into(), text(""));
    arguments.insert("x-dead-letter-routing-key".into(), text(&dead));
    arguments.insert("x-dead-letter-strategy".into(), text("at-least-once"));
    arguments.insert("x-overflow".into(), text("reject-publish"));
    channel.queue_declare(queue.name.into(), durable(), arguments).await?;
    for key in queue.bindings {
        let (name, exchange) = (queue.name.into(), EXCHANGE.into());
        channel.queue_bind(name, exchange, (*key).into(), QueueBindOptions::default(), FieldTable::default()).await?;
    }
    Ok(())
}

/// How many messages wait in the queue with this name, if it is there. If it is not, the channel is closed.
pub(crate) async fn waiting(channel: &Channel, name: &str) -> Result<Option<u32>> {
    let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    match channel.queue_declare(name.into(), options, FieldTable::default()).await {
        Ok(queue) => Ok(Some(queue.message_count())),
        Err(e) => match e.kind() {
            ErrorKind::ProtocolError(said) if *said.kind() == AMQPErrorKind::Soft(AMQPSoftError::NOTFOUND) => Ok(None),
            _ => Err(e),
        },
    }
}

/// Removes a queue that nobody consumes any more, so that nothing piles up in it; its dead letters stay. Returns how many
/// messages went with it.
///
/// # Errors
/// When the broker refuses or is away.
pub(crate) async fn remove(channel: &Channel, queue: &Queue) -> Result<u32> {
    channel.queue_delete(queue.name.into(), QueueDeleteOptions::default()).await
}
