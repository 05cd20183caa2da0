//! Integration tests over the real Postgres, Redis and RabbitMQ of the test stack, one module per area.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod bad_input;
mod bulk;
mod catalogue;
mod concurrency;
mod custom_fields;
mod faults;
mod gateway;
mod gateway_walk;
mod housekeeping;
mod imports;
mod isolation;
mod lists;
mod migrations;
mod mutations;
mod properties;
mod records;
mod reports;
mod tenants;
mod walk;
