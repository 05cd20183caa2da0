//! The loop that works a durable queue off: in batches, acknowledged when they are done, kept when something we depend on
//! is away, and split until the one message that cannot be handled stands alone.
//!
//! Only what is wrong with a message itself makes it a dead letter. A full disk, a server that only reads, a table that is
//! not there yet: that happens to one message after the other, and all of them would go. A message that fails like this is
//! set aside, unacknowledged, and tried again; the others go on meanwhile, since the fault may be one of ours that only
//! this message meets.

use crate::{
    connection::{Bus, text},
    envelope::Envelope,
    publisher::{ENTITY, RECORD_ID},
    topology::{self, Queue},
};
use aisha_kernel::{Error, ErrorCode};
use bytes::Bytes;
use futures_util::StreamExt as _;
use lapin::{
    Channel,
    message::Delivery,
    options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions, BasicRejectOptions},
    types::{AMQPValue, FieldTable},
};
use std::{cell::Cell, collections::VecDeque, time::Duration};
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until},
};
use uuid::Uuid;

const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Messages that are handled together at most.
const LARGEST_BATCH: usize = 200;
/// No further message is handled together with others when they are this long.
const BATCH_BYTES: usize = 8 * 1024 * 1024;

/// An event that has arrived.
#[derive(Debug, Clone)]
pub struct Message {
    /// What it says.
    pub envelope: Envelope,
    /// Its JSON as it was published, byte for byte.
    pub body: Bytes,
    /// The record type, singular.
    pub entity: String,
    /// The record.
    pub record_id: Option<Uuid>,
    /// Whether it has been delivered before, to somebody who did not finish.
    pub redelivered: bool,
}

impl Message {
    pub(crate) fn read(delivery: &mut Delivery) -> Result<Self, serde_json::Error> {
        let body = Bytes::from(std::mem::take(&mut delivery.data));
        let envelope = serde_json::from_slice(&body)?;
        let header = |name: &str| match delivery.properties.headers().as_ref()?.inner().get(name)? {
            AMQPValue::LongString(text) => Some(text.to_string()),
            _ => None,
        };
        Ok(Self {
            envelope,
            body,
            entity: header(ENTITY).unwrap_or_default(),
            record_id: header(RECORD_ID).and_then(|id| id.parse().ok()),
            redelivered: delivery.redelivered,
        })
    }
}

/// Works `queue` off until `stop` says so, over any number of lost connections. `handle` gets up to 200 messages at a time
/// (those that are there, never waiting for more) and must be idempotent on the event id: a batch comes again when this
/// process dies before the broker has heard that it is done. It is dropped midway when the connection is lost.
///
/// What `handle` says decides: on `Ok` the batch is done. On 503 and 504 it is kept and tried again, however long it takes,
/// since nothing is wrong with it. On any other error it is split in two. A single message goes to the queue's dead letters
/// when the error is about the message (400, 404, 409, 413, 422); otherwise it is set aside and tried again, however long it
/// takes, beside the others. As many as `prefetch` can be set aside; then nothing more arrives.
pub async fn consume(
    bus: &Bus,
    queue: &Queue,
    prefetch: u16,
    mut stop: watch::Receiver<bool>,
    handle: impl AsyncFn(&[Message]) -> Result<(), Error>,
) {
    let mut pause = FIRST_PAUSE;
    while !*stop.borrow() {
        tokio::select! {
            () = bus.connected() => {}
            _ = stop.changed() => continue,
        }
        let work = Work { queue, prefetch, handle: &handle, handled: Cell::new(false) };
        if let Err(reason) = bus.while_connected(work.session(bus, &mut stop)).await {
            tracing::warn!(queue = queue.name, reason, "consuming was interrupted, it goes on");
        }
        if work.handled.get() {
            pause = FIRST_PAUSE;
        }
        tokio::select! {
            () = sleep(pause) => pause = (pause * 2).min(LONGEST_PAUSE),
            _ = stop.changed() => {}
        }
    }
}

struct Work<'a, H> {
    queue: &'a Queue,
    prefetch: u16,
    handle: &'a H,
    /// Whether any message has been handled and acknowledged.
    handled: Cell<bool>,
}

/// Messages that wait for something that is wrong with none of them.
#[derive(Default)]
struct Aside {
    messages: VecDeque<(u64, Message)>,
    pause: Duration,
    again_at: Option<Instant>,
}

impl Aside {
    /// When the first of them is tried again; never, if there is none.
    async fn due(&self) {
        match self.again_at {
            Some(at) if !self.messages.is_empty() => sleep_until(at).await,
            _ => std::future::pending().await,
        }
    }

    fn add(&mut self, tag: u64, message: Message) {
        if self.messages.is_empty() {
            self.pause = FIRST_PAUSE;
            self.again_at = Some(Instant::now() + FIRST_PAUSE);
        }
        self.messages.push_back((tag, message));
    }

    fn later(&mut self) {
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        self.again_at = Some(Instant::now() + self.pause);
    }
}

/// Whether an error says something about the message, and not about the world that it arrived in.
fn blames_the_message(e: &Error) -> bool {
    matches!(
        e.code,
        ErrorCode::MalformedBody
            | ErrorCode::InvalidParameter
            | ErrorCode::NotFound
            | ErrorCode::Conflict
            | ErrorCode::PayloadTooLarge
            | ErrorCode::ValidationFailed
    )
}

fn cause(e: &Error) -> String {
    e.cause.as_ref().map_or_else(|| e.to_string(), ToString::to_string)
}

impl<H: AsyncFn(&[Message]) -> Result<(), Error>> Work<'_, H> {
    /// One channel's life. What was not acknowledged when it ends comes again.
    async fn session(&self, bus: &Bus, stop: &mut watch::Receiver<bool>) -> Result<(), String> {
        let channel = bus.channel().await?;
        topology::declare(&channel, self.queue).await.map_err(text)?;
        channel.basic_qos(self.prefetch, BasicQosOptions::default()).await.map_err(text)?;
        let (name, options) = (self.queue.name.into(), BasicConsumeOptions::default());
        let consumer = channel.basic_consume(name, "".into(), options, FieldTable::default()).await.map_err(text)?;
        tracing::debug!(queue = self.queue.name, "consuming");
        let mut batches = consumer.ready_chunks(LARGEST_BATCH);
        let mut aside = Aside::default();
        loop {
            let batch = tokio::select! {
                batch = batches.next() => Some(batch),
                () = aside.due() => None,
                _ = stop.changed() => break,
            };
            let goes_on = match batch {
                None => self.again(&channel, &mut aside, stop).await?,
                Some(None) => return Err("the consumer was cancelled".to_owned()),
                Some(Some(batch)) => {
                    let deliveries = batch.into_iter().collect::<Result<Vec<_>, _>>().map_err(text)?;
                    self.batch(&channel, deliveries, &mut aside, stop).await?
                }
            };
            if !goes_on {
                break;
            }
        }
        // Gives back what has arrived and was not begun.
        channel.close(200, "done".into()).await.map_err(text)
    }

    /// Handles what has arrived; `false` when it was left because of `stop`.
    async fn batch(
        &self,
        channel: &Channel,
        deliveries: Vec<Delivery>,
        aside: &mut Aside,
        stop: &mut watch::Receiver<bool>,
    ) -> Result<bool, String> {
        let mut messages = Vec::with_capacity(deliveries.len());
        let mut tags = Vec::with_capacity(deliveries.len());
        for mut delivery in deliveries {
            match Message::read(&mut delivery) {
                Ok(message) => {
                    messages.push(message);
                    tags.push(delivery.delivery_tag);
                }
                Err(e) => self.reject(channel, delivery.delivery_tag, &e.to_string()).await?,
            }
        }
        // What is still to be handled, in order.
        let mut runs = runs(messages.iter().map(|m| m.body.len()));
        while let Some((from, to)) = runs.pop_front() {
            let (Some(run), Some(tags)) = (messages.get(from..to), tags.get(from..to)) else { continue };
            let (Some(last), Some(message)) = (tags.last(), run.last()) else { continue };
            match self.patiently(channel, run, stop).await? {
                None => return Ok(false),
                // Earlier tags are done or rejected by now, so that one answer serves the run.
                Some(Ok(())) if aside.messages.is_empty() => self.done(channel, *last, true, run.len()).await?,
                Some(Ok(())) => {
                    for tag in tags {
                        self.done(channel, *tag, false, 1).await?;
                    }
                }
                Some(Err(e)) if run.len() == 1 && blames_the_message(&e) => {
                    self.reject(channel, *last, &cause(&e)).await?;
                }
                Some(Err(e)) if run.len() == 1 => {
                    if aside.messages.is_empty() {
                        let (queue, event_id) = (self.queue.name, message.envelope.id);
                        tracing::error!(queue, %event_id, error = %e, cause = ?e.cause, "messages are set aside and tried again");
                    }
                    metrics::counter!("bus_messages_total", "queue" => self.queue.name, "outcome" => "aside")
                        .increment(1);
                    aside.add(*last, message.clone());
                }
                Some(Err(_)) => {
                    let middle = from + run.len() / 2;
                    runs.push_front((middle, to));
                    runs.push_front((from, middle));
                }
            }
        }
        Ok(true)
    }

    /// Tries what was set aside, one after the other until one fails: that one goes behind the others, so that it does not
    /// hold them up when they could be handled. `false` because of `stop`.
    async fn again(
        &self,
        channel: &Channel,
        aside: &mut Aside,
        stop: &mut watch::Receiver<bool>,
    ) -> Result<bool, String> {
        while let Some((tag, message)) = aside.messages.pop_front() {
            match self.patiently(channel, std::slice::from_ref(&message), stop).await? {
                None => return Ok(false),
                Some(Ok(())) => self.done(channel, tag, false, 1).await?,
                Some(Err(e)) if blames_the_message(&e) => self.reject(channel, tag, &cause(&e)).await?,
                Some(Err(_)) => {
                    aside.messages.push_back((tag, message));
                    aside.later();
                    return Ok(true);
                }
            }
        }
        tracing::info!(queue = self.queue.name, "what was set aside is done");
        Ok(true)
    }

    async fn done(&self, channel: &Channel, tag: u64, multiple: bool, messages: usize) -> Result<(), String> {
        channel.basic_ack(tag, BasicAckOptions { multiple }).await.map_err(text)?;
        self.handled.set(true);
        metrics::counter!("bus_messages_total", "queue" => self.queue.name, "outcome" => "handled")
            .increment(messages as u64);
        Ok(())
    }

    /// Calls the handler until it says something else than that what we depend on is away; `None` when told to stop before.
    async fn patiently(
        &self,
        channel: &Channel,
        run: &[Message],
        stop: &mut watch::Receiver<bool>,
    ) -> Result<Option<Result<(), Error>>, String> {
        let mut pause = FIRST_PAUSE;
        let mut reported = false;
        loop {
            match (self.handle)(run).await {
                Err(e) if matches!(e.code, ErrorCode::Unavailable | ErrorCode::Timeout) => {
                    if !reported {
                        tracing::warn!(queue = self.queue.name, error = %e, cause = ?e.cause, "messages wait");
                        reported = true;
                    }
                }
                said => return Ok(Some(said)),
            }
            if !channel.status().connected() {
                return Err("the connection was lost".to_owned());
            }
            tokio::select! {
                () = sleep(pause) => pause = (pause * 2).min(LONGEST_PAUSE),
                _ = stop.changed() => return Ok(None),
            }
        }
    }

    async fn reject(&self, channel: &Channel, tag: u64, reason: &str) -> Result<(), String> {
        tracing::error!(queue = self.queue.name, reason, "a message cannot be handled; it is among the dead letters");
        metrics::counter!("bus_messages_total", "queue" => self.queue.name, "outcome" => "dead").increment(1);
        let options = BasicRejectOptions { requeue: false };
        channel.basic_reject(tag, options).await.map_err(text)
    }
}

/// Messages of these sizes as runs of what is handled together, from and to.
fn runs(sizes: impl Iterator<Item = usize>) -> VecDeque<(usize, usize)> {
    let (mut runs, mut bytes): (VecDeque<(usize, usize)>, usize) = (VecDeque::new(), 0);
    for (i, size) in sizes.enumerate() {
        match runs.back_mut() {
            Some((_, to)) if bytes < BATCH_BYTES => *to = i + 1,
            _ => {
                runs.push_back((i, i + 1));
                bytes = 0;
            }
        }
        bytes += size;
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_end_when_they_are_long_enough() {
        const MB: usize = 1024 * 1024;
        let of = |sizes: &[usize]| Vec::from(runs(sizes.iter().copied()));
        assert_eq!(of(&[]), []);
        assert_eq!(of(&[1, 2, 3]), [(0, 3)]);
        assert_eq!(of(&[9 * MB, 1, 9 * MB, 9 * MB]), [(0, 1), (1, 3), (3, 4)]);
        assert_eq!(of(&[3 * MB; 7]), [(0, 3), (3, 6), (6, 7)]);
    }
}
