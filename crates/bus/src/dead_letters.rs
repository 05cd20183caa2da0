//! What could not be handled: counted, shown, put back into its queue, or thrown away. For operators.

use crate::{
    connection::{Bus, text},
    topology::{self, Queue},
};
use aisha_kernel::Error;
use lapin::{
    Channel,
    message::Delivery,
    options::{
        BasicAckOptions, BasicGetOptions, BasicNackOptions, BasicPublishOptions, ConfirmSelectOptions,
        QueuePurgeOptions,
    },
    types::{AMQPValue, FieldTable},
};
use serde::Serialize;
use std::{future::pending, time::Duration};
use tokio::time::timeout;

/// How long the broker may take to say whether there is a queue.
const PATIENCE: Duration = Duration::from_secs(5);
/// After this a connection that is still there stays.
const SETTLED: Duration = Duration::from_secs(1);

/// A message that could not be handled.
#[derive(Debug, Clone, Serialize)]
pub struct DeadLetter {
    /// The event's id.
    pub id: String,
    /// The event's name.
    pub event: String,
    /// Why the broker put it here: `rejected`, or `delivery_limit` when its consumer kept dying.
    pub reason: String,
    /// The message, as text.
    pub body: String,
}

/// Does `work` on a channel of its own. Declares nothing: a queue that nobody consumes, once declared, fills without end.
async fn on_channel<T>(bus: &Bus, work: impl AsyncFnOnce(&Channel) -> Result<T, String>) -> Result<T, Error> {
    let whole = async {
        let channel = bus.channel().await?;
        let done = work(&channel).await?;
        channel.close(200, "done".into()).await.map_err(text)?;
        Ok(done)
    };
    bus.while_connected(whole).await.map_err(|reason| Error::unavailable("message broker", reason))
}

/// How many wait in the queue with this name; `None` if there is no such queue.
async fn waiting(bus: &Bus, name: &str) -> Result<Option<u32>, Error> {
    // The broker closes the channel over a queue that it does not know, so the question has one of its own.
    let asking = async {
        let channel = bus.channel().await?;
        match topology::waiting(&channel, name).await.map_err(text)? {
            None => Ok(None),
            found => channel.close(200, "done".into()).await.map_err(text).map(|()| found),
        }
    };
    let found = timeout(PATIENCE, asking).await.unwrap_or_else(|_| Err("no answer in time".into()));
    let found = found.map_err(|reason| Error::unavailable("message broker", reason))?;
    if found.is_none() {
        // The library tells of a channel that the broker has closed as of a lost connection, and the bus makes a new one.
        let _ = timeout(SETTLED, bus.while_connected(pending::<Result<(), String>>())).await;
        bus.connected().await;
    }
    Ok(found)
}

/// How many there are.
///
/// # Errors
/// 503 when the broker is away.
pub async fn count(bus: &Bus, queue: &Queue) -> Result<u32, Error> {
    Ok(waiting(bus, &queue.dead()).await?.unwrap_or(0))
}

/// The first `limit` of them; they stay where they are.
///
/// # Errors
/// 503 when the broker is away.
pub async fn list(bus: &Bus, queue: &Queue, limit: usize) -> Result<Vec<DeadLetter>, Error> {
    if waiting(bus, &queue.dead()).await?.is_none() {
        return Ok(Vec::new());
    }
    let looking = async |channel: &Channel| {
        let mut found = Vec::new();
        let mut last = None;
        while found.len() < limit {
            let got =
                channel.basic_get(queue.dead().as_str().into(), BasicGetOptions::default()).await.map_err(text)?;
            let Some(message) = got else { break };
            last = Some(message.delivery_tag);
            found.push(DeadLetter::of(&message));
        }
        if let Some(tag) = last {
            let options = BasicNackOptions { multiple: true, requeue: true };
            channel.basic_nack(tag, options).await.map_err(text)?;
        }
        Ok(found)
    };
    on_channel(bus, looking).await
}

impl DeadLetter {
    fn of(message: &Delivery) -> Self {
        let properties = &message.properties;
        let header = |name: &str| match properties.headers().as_ref().and_then(|h| h.inner().get(name)) {
            Some(AMQPValue::LongString(text)) => Some(text.to_string()),
            Some(AMQPValue::ShortString(text)) => Some(text.to_string()),
            _ => None,
        };
        let body = String::from_utf8_lossy(&message.data).into_owned();
        let event =
            serde_json::from_str(&body).ok().and_then(|v: serde_json::Value| Some(v.get("event")?.as_str()?.into()));
        Self {
            id: properties.message_id().as_ref().map(ToString::to_string).unwrap_or_default(),
            event: event.unwrap_or_default(),
            reason: header("x-first-death-reason").unwrap_or_default(),
            body,
        }
    }
}

/// Puts those that are there now back into their queue, each gone from here only when the broker has it there. Returns how
/// many.
///
/// # Errors
/// 409 when there is no such queue, which is so while nobody consumes it; 503 when the broker is away; what was put back
/// until then stays put back.
pub async fn requeue(bus: &Bus, queue: &Queue) -> Result<u32, Error> {
    let there = count(bus, queue).await?;
    if there == 0 {
        return Ok(0);
    }
    if waiting(bus, queue.name).await?.is_none() {
        let name = queue.name;
        return Err(Error::conflict(format!(
            "There is no queue {name}: start what consumes it first (aisha.webhooks: WEBHOOKS_ENABLED). Its {there} dead letters stay."
        )));
    }
    let moving = async |channel: &Channel| {
        channel.confirm_select(ConfirmSelectOptions::default()).await.map_err(text)?;
        let mut moved = 0;
        while moved < there {
            let got =
                channel.basic_get(queue.dead().as_str().into(), BasicGetOptions::default()).await.map_err(text)?;
            let Some(message) = got else { break };
            put_back(channel, queue, &message).await?;
            moved += 1;
        }
        Ok(moved)
    };
    on_channel(bus, moving).await
}

async fn put_back(channel: &Channel, queue: &Queue, message: &Delivery) -> Result<(), String> {
    let mut headers = FieldTable::default();
    // The count that brought it here starts again.
    for (name, value) in message.properties.headers().iter().flat_map(FieldTable::inner) {
        if !name.as_str().starts_with("x-") {
            headers.insert(name.clone(), value.clone());
        }
    }
    let properties = message.properties.clone().with_headers(headers);
    let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
    let sent = channel.basic_publish("".into(), queue.name.into(), options, &message.data, properties);
    let confirmed = sent.await.map_err(text)?.await.map_err(text)?;
    if !confirmed.is_ack() || confirmed.take_message().is_some() {
        return Err("the message was not taken".to_owned());
    }
    channel.basic_ack(message.delivery_tag, BasicAckOptions::default()).await.map_err(text)
}

/// Throws away those that are there. Returns how many.
///
/// # Errors
/// 503 when the broker is away.
pub async fn purge(bus: &Bus, queue: &Queue) -> Result<u32, Error> {
    if waiting(bus, &queue.dead()).await?.is_none() {
        return Ok(0);
    }
    let purging = async |channel: &Channel| {
        channel.queue_purge(queue.dead().as_str().into(), QueuePurgeOptions::default()).await.map_err(text)
    };
    on_channel(bus, purging).await
}

/// Waits until there is a connection.
pub async fn connected(bus: &Bus) {
    bus.connected().await;
}
