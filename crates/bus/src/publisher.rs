//! Publishing in batches, each confirmed by the broker.

use crate::{
    connection::{Bus, text},
    envelope::Envelope,
    topology::{self, EXCHANGE, Queue},
};
use aisha_kernel::Error;
use futures_util::future::try_join_all;
use lapin::{
    BasicProperties, Channel,
    options::{BasicPublishOptions, ConfirmSelectOptions},
    types::{AMQPValue, FieldTable},
};
use std::time::Duration;
use tokio::time::timeout;
use uuid::Uuid;

/// How long a batch may take from the first message to the last confirm.
pub const PUBLISH_TIMEOUT: Duration = Duration::from_secs(8);

/// Headers of a message that are not part of its body.
pub(crate) const ENTITY: &str = "entity";
pub(crate) const RECORD_ID: &str = "record_id";

/// Stays in the queue over a restart of the broker.
const PERSISTENT: u8 = 2;

/// An event on its way out.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// Routing key: the event's name.
    pub event: String,
    /// The event's id.
    pub id: Uuid,
    /// The record type, singular.
    pub entity: String,
    /// The record.
    pub record_id: Option<Uuid>,
    /// The JSON of its [`Envelope`].
    pub body: Vec<u8>,
}

impl Outgoing {
    /// The message that carries `envelope`.
    ///
    /// # Errors
    /// When it cannot be written as JSON.
    pub fn new(envelope: &Envelope, entity: &str, record_id: Option<Uuid>) -> Result<Self, serde_json::Error> {
        let body = serde_json::to_vec(envelope)?;
        Ok(Self { event: envelope.event.clone(), id: envelope.id, entity: entity.to_owned(), record_id, body })
    }

    fn properties(&self) -> BasicProperties {
        let mut headers = FieldTable::default();
        headers.insert(ENTITY.into(), AMQPValue::LongString(self.entity.as_str().into()));
        if let Some(id) = self.record_id {
            headers.insert(RECORD_ID.into(), AMQPValue::LongString(id.to_string().into()));
        }
        aisha_telemetry::trace::inject(|name, value| {
            headers.insert(name.into(), AMQPValue::LongString(value.into()));
        });
        BasicProperties::default()
            .with_delivery_mode(PERSISTENT)
            .with_content_type("application/json".into())
            .with_message_id(self.id.to_string().into())
            .with_headers(headers)
    }
}

/// Publishes to the exchange over a channel of its own.
#[derive(Debug)]
pub struct Publisher {
    bus: Bus,
    queues: Vec<Queue>,
    channel: Option<Channel>,
}

impl Publisher {
    /// Declares `queues` before the first message, so that none is published past a queue that is meant to have it.
    #[must_use]
    pub fn new(bus: &Bus, queues: &[Queue]) -> Self {
        Self { bus: bus.clone(), queues: queues.to_vec(), channel: None }
    }

    /// Publishes the messages in order and returns when the broker has taken every one of them. After an error any of them
    /// may have arrived: they are to be published again.
    ///
    /// # Errors
    /// 503 when the broker is away, slow or refuses one.
    pub async fn publish(&mut self, messages: &[Outgoing]) -> Result<(), Error> {
        let bus = self.bus.clone();
        let sent = timeout(PUBLISH_TIMEOUT, bus.while_connected(self.attempt(messages))).await;
        let sent = sent.unwrap_or_else(|_| Err("no confirm".into()));
        sent.map_err(|reason| {
            // What is still under way on this channel must not be confirmed to the next batch.
            self.channel = None;
            Error::unavailable("message broker", reason)
        })
    }

    async fn attempt(&mut self, messages: &[Outgoing]) -> Result<(), String> {
        let channel = match self.channel.take().filter(|c| c.status().connected()) {
            Some(channel) => channel,
            None => self.open().await?,
        };
        let mut confirms = Vec::with_capacity(messages.len());
        for message in messages {
            let (exchange, key) = (EXCHANGE.into(), message.event.as_str().into());
            let options = BasicPublishOptions::default();
            let sent = channel.basic_publish(exchange, key, options, &message.body, message.properties());
            confirms.push(sent.await.map_err(text)?);
        }
        let confirmed = try_join_all(confirms).await.map_err(text)?;
        if confirmed.iter().all(lapin::Confirmation::is_ack) {
            self.channel = Some(channel);
            return Ok(());
        }
        Err("the broker refused a message".to_owned())
    }

    async fn open(&self) -> Result<Channel, String> {
        let channel = self.bus.channel().await?;
        let prepare = async {
            topology::declare_exchange(&channel).await?;
            for queue in &self.queues {
                topology::declare(&channel, queue).await?;
            }
            channel.confirm_select(ConfirmSelectOptions::default()).await
        };
        prepare.await.map_err(text)?;
        Ok(channel)
    }

    /// Removes a queue that is not used any more, with what is in it; says how many messages that were.
    ///
    /// # Errors
    /// 503 when the broker is away.
    pub async fn remove(&self, queue: &Queue) -> Result<u32, Error> {
        let removal = async {
            let channel = self.bus.channel().await?;
            topology::remove(&channel, queue).await.map_err(text)
        };
        self.bus.while_connected(removal).await.map_err(|reason| Error::unavailable("message broker", reason))
    }

    /// Waits until there is a connection.
    pub async fn connected(&self) {
        self.bus.connected().await;
    }
}
