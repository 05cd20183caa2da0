//! Systems outside the platform, and how it talks to them.
//!
//! Belongs here: one module per outside system, with the real client; what it speaks to in tests is in `aisha-testkit`.
//! Does not belong here: SQL, HTTP routes, what is sent and why (domains and services).

pub mod mail;
pub mod outbound;
