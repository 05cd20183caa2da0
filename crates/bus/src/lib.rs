//! The message broker.
//!
//! Belongs here: connecting to the broker and staying connected, the topology, publishing with confirms, consuming,
//! listening, and what waits among the dead letters.
//! Does not belong here: what happened (events are written to the outbox in the database, not sent from requests), and what
//! a consumer does with it.

mod connection;
mod consumer;
pub mod dead_letters;
mod envelope;
mod listener;
mod publisher;
pub mod topology;

pub use connection::{Bus, BusError};
pub use consumer::{Message, consume};
pub use envelope::Envelope;
pub use listener::{Heard, Listener};
pub use publisher::{Outgoing, Publisher};
pub use topology::Queue;
