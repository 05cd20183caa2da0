//! The service's configuration, read and checked as a whole.

use aisha_auth::sealing::{SHORTEST_KEY, Sealer, SealingError};
use aisha_config::{AmqpSection, ConfigError, DatabaseSection, Env, HttpSection, LogSection, SecretString};

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
    /// `CREDENTIALS_KEY`: seals secrets that are stored.
    pub credentials_key: SecretString,
    /// `CREDENTIALS_KEY_PREVIOUS`: still opens what it sealed, during a rotation.
    pub credentials_key_previous: Option<SecretString>,
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
            credentials_key: env.secret("CREDENTIALS_KEY", SHORTEST_KEY),
            credentials_key_previous: env.optional_secret("CREDENTIALS_KEY_PREVIOUS", SHORTEST_KEY),
        };
        env.finish()?;
        Ok(config)
    }

    /// What seals secrets that are stored.
    ///
    /// # Errors
    /// When a key cannot be used; [`Config::read`] has made sure that it can.
    pub fn sealer(&self) -> Result<Sealer, SealingError> {
        Sealer::new(&self.credentials_key, self.credentials_key_previous.as_ref())
    }
}
