//! Reading the environment: the only crate that does.
//!
//! Belongs here: [`Env`] with its typed getters, and the sections that several services share.
//! Does not belong here: a single service's own settings (they stand beside the service and read through [`Env`]),
//! and anything that connects to what a setting names.

mod env;
mod mail;
mod sections;

pub use env::{ConfigError, Env};
pub use mail::{MailSection, SmtpSection, SmtpTls};
pub use secrecy::{ExposeSecret, SecretString};
pub use sections::{AmqpSection, DatabaseSection, HttpSection, LogFormat, LogSection, RedisSection};
