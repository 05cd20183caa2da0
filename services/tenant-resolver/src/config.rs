//! The service's configuration, read and checked as a whole.

use aisha_config::{AmqpSection, ConfigError, DatabaseSection, Env, HttpSection, LogSection};
use std::time::Duration;
use uuid::Uuid;

/// Configuration of the tenant resolver.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where to listen (`TENANT_RESOLVER_LISTEN`).
    pub http: HttpSection,
    /// The database.
    pub database: DatabaseSection,
    /// The message broker.
    pub amqp: AmqpSection,
    /// Logging and traces.
    pub log: LogSection,
    /// Keys that the gateway's tokens are verified with (`INTERNAL_PUBLIC_KEYS`).
    pub internal_public_keys: String,
    /// How long answers are remembered.
    pub cache: CacheConfig,
    /// `SYSTEM_TENANT_ID`: what `system` stands for.
    pub system_tenant: Option<Uuid>,
    /// Whether `SYSTEM_TENANT_ID` is set and no UUID. It counts as unset then, and the log says so.
    pub system_tenant_unreadable: bool,
}

/// How long answers are remembered.
#[derive(Debug, Clone, Copy)]
pub struct CacheConfig {
    /// `TENANT_RESOLVE_CACHE_TTL_MS`: a tenant that was found.
    pub found: Duration,
    /// `TENANT_RESOLVE_NEGATIVE_TTL_MS`: that there is none. Never longer than the other.
    pub missing: Duration,
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
        let found = env.millis_or("TENANT_RESOLVE_CACHE_TTL_MS", Duration::from_secs(60));
        let missing = env.millis_or("TENANT_RESOLVE_NEGATIVE_TTL_MS", Duration::from_secs(10)).min(found);
        let system = env.optional("SYSTEM_TENANT_ID").map(|text| Uuid::try_parse(&text));
        let config = Self {
            http: HttpSection::read(env, "TENANT_RESOLVER_LISTEN", "127.0.0.1:4011"),
            database: DatabaseSection::read(env),
            amqp: AmqpSection::read(env),
            log: LogSection::read(env),
            internal_public_keys: env.text("INTERNAL_PUBLIC_KEYS"),
            cache: CacheConfig { found, missing },
            system_tenant_unreadable: matches!(system, Some(Err(_))),
            system_tenant: system.and_then(Result::ok),
        };
        env.finish()?;
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(more: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let mut all = vec![
            ("DATABASE_URL", "postgres://a:b@127.0.0.1/aisha"),
            ("AMQP_URL", "amqp://a:b@127.0.0.1"),
            ("INTERNAL_PUBLIC_KEYS", "key"),
        ];
        all.extend(more);
        Config::read(&Env::from_map(all))
    }

    #[test]
    fn the_documented_defaults() {
        let config = with(&[]).unwrap();
        assert_eq!(config.http.listen.to_string(), "127.0.0.1:4011");
        assert_eq!(config.cache.found, Duration::from_secs(60));
        assert!(config.cache.missing < config.cache.found && config.system_tenant.is_none());
    }

    #[test]
    fn what_is_missing_is_forgotten_no_later() {
        let config = with(&[("TENANT_RESOLVE_CACHE_TTL_MS", "500")]).unwrap();
        assert_eq!(
            (config.cache.found, config.cache.missing),
            (Duration::from_millis(500), Duration::from_millis(500))
        );
    }

    #[test]
    fn a_system_tenant_that_is_no_uuid_counts_as_unset() {
        let config = with(&[("SYSTEM_TENANT_ID", "headquarters")]).unwrap();
        assert!(config.system_tenant.is_none() && config.system_tenant_unreadable);
        let config = with(&[("SYSTEM_TENANT_ID", "A11DFB63-4b18-4eb8-872e-747af2e37c46")]).unwrap();
        assert!(config.system_tenant.is_some() && !config.system_tenant_unreadable);
    }

    #[test]
    fn every_problem_shows() {
        let env = Env::from_map([("TENANT_RESOLVE_CACHE_TTL_MS", "0"), ("TENANT_RESOLVER_LISTEN", "nowhere")]);
        let text = Config::read(&env).unwrap_err().to_string();
        for name in [
            "TENANT_RESOLVE_CACHE_TTL_MS",
            "TENANT_RESOLVER_LISTEN",
            "DATABASE_URL",
            "AMQP_URL",
            "INTERNAL_PUBLIC_KEYS",
        ] {
            assert!(text.contains(name), "{name} in {text}");
        }
    }
}
