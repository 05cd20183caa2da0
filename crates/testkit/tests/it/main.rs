//! Integration tests over the real Postgres, Redis and RabbitMQ of the test stack, one module per area.

mod bulk;
mod catalogue;
mod concurrency;
mod custom_fields;
mod faults;
mod gateway;
mod isolation;
mod lists;
mod migrations;
mod mutations;
mod properties;
mod records;
mod tenants;
mod walk;
