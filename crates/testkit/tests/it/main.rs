//! Integration tests over the real Postgres, Redis and RabbitMQ of the test stack, one module per area.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod archive;
mod bad_input;
mod bulk;
mod care;
mod catalogue;
mod concurrency;
mod custom_fields;
mod diagnostics;
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
mod tenants;
mod test_data;
mod walk;
