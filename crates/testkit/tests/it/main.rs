//! Integration tests over the real Postgres, Redis and RabbitMQ of the test stack, one module per area.

mod catalogue;
mod concurrency;
mod isolation;
mod faults;
mod gateway;
mod migrations;
mod mutations;
mod properties;
mod records;
mod walk;
mod lists;
mod bulk;
mod custom_fields;
mod tenants;
