//! Who is calling, and what may they do.
//!
//! Belongs here: credentials (tokens, API keys, passwords), what they prove ([`Identity`], [`Principal`]) and the
//! permission matrix. A [`Principal`] is made nowhere else.
//! Does not belong here: SQL, HTTP, sessions.

pub mod api_key;
pub mod identity;
pub mod module;
pub mod password;
pub mod permission;
pub mod sealing;
pub mod token;

pub use identity::{AccessLevel, Identity, Principal, Role, Scope};
pub use permission::{Action, Extra, Grant};
