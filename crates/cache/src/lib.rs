//! Redis: short-lived shared state.
//!
//! Belongs here: the connection, keys that carry their tenant, and counters shared by all replicas.
//! Does not belong here: anything that must survive (that is the database's), and what a caller keeps under its keys.

mod connection;
mod key;
mod rate_limit;

pub use connection::{Cache, CacheError};
pub use key::Key;
pub use rate_limit::{Decision, RateLimit};
pub use redis;
