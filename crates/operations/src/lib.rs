//! What operators and users are told about the platform at work: the system log, how fast it is, which processes there
//! are, whether all is well, and notifications.
//!
//! Belongs here: storing what telemetry has collected, and reading it; notifications and what makes them. Does not belong
//! here: collecting (`aisha-telemetry`), the audit log, HTTP, the broker that events come from.

pub mod database;
pub mod diagnosis;
pub mod instance;
pub mod notification;
pub mod performance;
pub mod recording;
pub mod retention;
mod sql;
pub mod system_log;
