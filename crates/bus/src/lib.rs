//! The message broker.
//!
//! Belongs here: connecting to the broker and staying connected.
//! Does not belong here: what is said over it; events are written to the outbox in the database, not sent from requests.

mod connection;

pub use connection::{Bus, BusError};
