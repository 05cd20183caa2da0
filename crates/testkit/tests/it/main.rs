//! Integration tests over the real Postgres, Redis and RabbitMQ of the test stack, one module per area.

mod migrations;
mod records;
