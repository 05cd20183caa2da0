//! Integration tests over the real Postgres, Redis and RabbitMQ of the test stack, one module per area.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod access;
mod archive;
mod bad_input;
mod bulk;
mod care;
mod catalogue;
mod concurrency;
mod conversion;
mod credentials;
mod custom_fields;
mod day;
mod diagnostics;
mod duplicates;
mod faults;
mod gateway;
mod gateway_matrix;
mod gateway_walk;
mod housekeeping;
mod imports;
mod isolation;
mod lists;
mod mail;
mod merges;
mod migrations;
mod modules;
mod mutations;
mod people;
mod pipeline;
mod presence;
mod properties;
mod records;
mod related;
mod reports;
mod tenants;
mod test_data;
mod totp;
mod users;
mod walk;
