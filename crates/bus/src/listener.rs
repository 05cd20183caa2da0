//! Hearing what happens, without a claim to hear everything: a queue that lives as long as the connection.
//!
//! For caches and live views. Whoever must not miss anything has a durable queue ([`crate::consume`]).

use crate::{
    connection::{Bus, text},
    consumer::Message,
    topology::{self, EXCHANGE},
};
use futures_util::StreamExt as _;
use lapin::{
    options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions, QueueBindOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable},
};
use std::time::Duration;
use tokio::{sync::mpsc, task::JoinHandle, time::sleep};

/// Messages that wait for the listener here; those that do not fit wait at the broker, and the oldest of them go.
const WAITING_HERE: usize = 256;
const PREFETCH: u16 = 256;
const WAITING_THERE: i32 = 10_000;
const PAUSE: Duration = Duration::from_millis(500);

/// What a listener hears.
#[derive(Debug)]
pub enum Heard {
    /// From now on messages arrive. Before it anything may have been missed.
    Connected,
    /// Something happened.
    Message(Box<Message>),
}

/// Hears until dropped.
#[derive(Debug)]
pub struct Listener {
    heard: mpsc::Receiver<Heard>,
    task: JoinHandle<()>,
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Listener {
    /// The next thing; waits for it. `None` never comes while the bus lives.
    pub async fn next(&mut self) -> Option<Heard> {
        self.heard.recv().await
    }
}

impl Bus {
    /// Listens to the events whose names match `bindings` (`tenant.*`, `#`). Must be called inside a Tokio runtime.
    #[must_use]
    pub fn listen(&self, bindings: Vec<String>) -> Listener {
        let (sender, heard) = mpsc::channel(WAITING_HERE);
        let bus = self.clone();
        let task = tokio::spawn(async move {
            while !sender.is_closed() {
                bus.connected().await;
                if let Err(reason) = bus.while_connected(session(&bus, &bindings, &sender)).await {
                    tracing::debug!(reason, "listening was interrupted");
                }
                sleep(PAUSE).await;
            }
        });
        Listener { heard, task }
    }
}

async fn session(bus: &Bus, bindings: &[String], sender: &mpsc::Sender<Heard>) -> Result<(), String> {
    let channel = bus.channel().await?;
    topology::declare_exchange(&channel).await.map_err(text)?;
    let options = QueueDeclareOptions { exclusive: true, auto_delete: true, ..QueueDeclareOptions::default() };
    let mut arguments = FieldTable::default();
    arguments.insert("x-max-length".into(), AMQPValue::LongInt(WAITING_THERE));
    let queue = channel.queue_declare("".into(), options, arguments).await.map_err(text)?;
    for key in bindings {
        let (name, exchange) = (queue.name().clone(), EXCHANGE.into());
        let bound =
            channel.queue_bind(name, exchange, key.as_str().into(), QueueBindOptions::default(), FieldTable::default());
        bound.await.map_err(text)?;
    }
    channel.basic_qos(PREFETCH, BasicQosOptions::default()).await.map_err(text)?;
    let options = BasicConsumeOptions::default();
    let started = channel.basic_consume(queue.name().clone(), "".into(), options, FieldTable::default());
    let mut consumer = started.await.map_err(text)?;
    let mut open = sender.send(Heard::Connected).await.is_ok();
    while open {
        let Some(delivery) = consumer.next().await else { break };
        let mut delivery = delivery.map_err(text)?;
        match Message::read(&mut delivery) {
            Ok(message) => open = sender.send(Heard::Message(Box::new(message))).await.is_ok(),
            Err(e) => tracing::debug!(error = %e, "heard something that is no event"),
        }
        delivery.ack(BasicAckOptions::default()).await.map_err(text)?;
    }
    Ok(())
}
