//! The only road to Postgres.
//!
//! Belongs here: the pool, tenant-bound and system transactions, the generic record path (field tables, filters, pages,
//! writes), migrations, what a database error means. Does not belong here: what a single record type is (that is
//! `crm`), HTTP.

pub mod error;
pub mod migrate;
pub mod notify;
pub mod outbox;
pub mod pool;
pub mod record;
pub mod row;
pub mod schema;
mod server;
mod settings;
pub mod sql;
pub mod tx;

pub use pool::DbConfig;
pub use row::{Column, Day, Decoded, Json, PgRow, Timestamp};
pub use settings::{RequestContext, SystemReason, acting, archiving, as_login, by_index, by_key};
pub use sql::{Bind, Sql};
pub use tx::{Db, SystemTx, TenantTx, Tx};
