//! The service's configuration, read and checked as a whole.

use aisha_config::{AmqpSection, ConfigError, DatabaseSection, Env, HttpSection, LogSection};

/// Configuration of crm-core.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where to listen (`CRM_CORE_LISTEN`).
    pub http: HttpSection,
    /// The database.
    pub database: DatabaseSection,
    /// The message broker.
    pub amqp: AmqpSection,
    /// Logging and traces.
    pub log: LogSection,
    /// Keys that the gateway's tokens are verified with (`INTERNAL_PUBLIC_KEYS`).
    pub internal_public_keys: String,
}

impl Config {
    /// From the process environment and `.env`.
    ///
    /// # Errors
    /// Every problem at once.
    pub fn load() -> Result<Self, ConfigError> {
        Self::read(&Env::load())
    }

    /// From any environment.
    ///
    /// # Errors
    /// Every problem at once.
    pub fn read(env: &Env) -> Result<Self, ConfigError> {
        let config = Self {
            http: HttpSection::read(env, "CRM_CORE_LISTEN", "127.0.0.1:4010"),
            database: DatabaseSection::read(env),
            amqp: AmqpSection::read(env),
            log: LogSection::read(env),
            internal_public_keys: env.text("INTERNAL_PUBLIC_KEYS"),
        };
        env.finish()?;
        Ok(config)
    }
}
