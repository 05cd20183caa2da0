//! The service's configuration, read and checked as a whole.

use aisha_auth::sealing::{SHORTEST_KEY, Sealer, SealingError};
use aisha_config::{AmqpSection, ConfigError, DatabaseSection, Env, HttpSection, LogSection, SecretString};
use aisha_operations::{performance::SlowLimits, retention::Retention};
use std::time::Duration;

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
    /// `CRM_CORE_ROLES`: what this process does.
    pub roles: Roles,
    /// `WEBHOOKS_ENABLED`: whether events are delivered to subscribers.
    pub webhooks_enabled: bool,
    /// `SLOW_READ_MS` and `SLOW_REQUEST_MS`: from which duration on a request counts as slow.
    pub slow: SlowLimits,
    /// `SYSTEM_LOG_DAYS` and `PERFORMANCE_LOG_DAYS`: how long they are kept.
    pub retention: Retention,
    /// `WEBHOOK_RETRIES`: whether what failed is tried again; `false` is one attempt for everything.
    pub webhook_retries: bool,
    /// `WEBHOOK_ALLOWED_HOSTS`, a list of `host` or `host:port`, and `N8N_HOST`: reached whatever their addresses are.
    pub webhook_allowed_hosts: Vec<String>,
}

/// What a process does. One does everything by default; several can share the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Roles {
    /// `api`: answers requests.
    pub api: bool,
    /// `relay`: publishes events.
    pub relay: bool,
    /// `webhooks`: delivers events to subscribers.
    pub webhooks: bool,
    /// `cron`: what must happen now and then, and what people are notified of.
    pub cron: bool,
}

impl Roles {
    fn read(env: &Env) -> Self {
        let names = env.list("CRM_CORE_ROLES");
        let known = ["api", "relay", "webhooks", "cron"];
        if names.iter().any(|name| !known.contains(&name.as_str())) {
            env.problem("CRM_CORE_ROLES", "must be a list of api, relay, webhooks and cron");
        }
        let has = |name: &str| names.is_empty() || names.iter().any(|n| n == name);
        Self { api: has("api"), relay: has("relay"), webhooks: has("webhooks"), cron: has("cron") }
    }
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
        let mut allowed = env.list("WEBHOOK_ALLOWED_HOSTS");
        allowed.extend(env.optional("N8N_HOST"));
        let config = Self {
            http: HttpSection::read(env, "CRM_CORE_LISTEN", "127.0.0.1:4010"),
            database: DatabaseSection::read(env),
            amqp: AmqpSection::read(env),
            log: LogSection::read(env),
            internal_public_keys: env.text("INTERNAL_PUBLIC_KEYS"),
            credentials_key: env.secret("CREDENTIALS_KEY", SHORTEST_KEY),
            credentials_key_previous: env.optional_secret("CREDENTIALS_KEY_PREVIOUS", SHORTEST_KEY),
            roles: Roles::read(env),
            webhooks_enabled: env.flag("WEBHOOKS_ENABLED", false),
            slow: SlowLimits {
                read: env.millis_or("SLOW_READ_MS", Duration::from_millis(500)),
                write: env.millis_or("SLOW_REQUEST_MS", Duration::from_secs(2)),
            },
            retention: retention(env),
            webhook_retries: env.flag("WEBHOOK_RETRIES", true),
            webhook_allowed_hosts: allowed,
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

fn retention(env: &Env) -> Retention {
    let days = |name, usual| {
        let days = env.number_or(name, usual);
        if days == 0 {
            env.problem(name, "must be at least one day");
        }
        days
    };
    let usual = Retention::default();
    Retention {
        system_log_days: days("SYSTEM_LOG_DAYS", usual.system_log_days),
        performance_log_days: days("PERFORMANCE_LOG_DAYS", usual.performance_log_days),
    }
}
