//! What integration tests are made of: the test stack's addresses, services on free ports, fresh tenants with one user of
//! each role, and a client for each of them.
//!
//! Belongs here: fixtures. Does not belong here: assertions about a feature (those are in `tests/`).

// This crate is test code: a fixture that cannot be made is a failed test.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a fixture that fails is a failed test")]

pub mod client;
pub mod database;
pub mod fixture;
pub mod mail;
pub mod own;
pub mod receiver;
pub mod stack;
pub mod stream;
pub mod switch;

pub use client::{Client, Reply};
pub use fixture::{Person, TestTenant};
pub use mail::{MailFolder, MailServer};
pub use own::Own;
pub use receiver::{Arrived, Receiver};
pub use stack::{CREDENTIALS_KEY, Resolver, Stack};
