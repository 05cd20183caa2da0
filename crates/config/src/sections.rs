//! Groups of settings that more than one service reads.

use crate::Env;
use secrecy::SecretString;
use std::{net::SocketAddr, time::Duration};

/// Where and how a service listens.
#[derive(Debug, Clone)]
pub struct HttpSection {
    /// Address to listen on.
    pub listen: SocketAddr,
    /// Worker threads; `HTTP_WORKERS`, by default one per core.
    pub workers: usize,
    /// Bearer token for `/metrics` from elsewhere than loopback; `METRICS_TOKEN`.
    pub metrics_token: Option<SecretString>,
}

impl HttpSection {
    /// Reads the section; `listen_name` is the service's own variable, for instance `GATEWAY_LISTEN`.
    pub fn read(env: &Env, listen_name: &str, default_listen: &str) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self {
            listen: env.socket_addr_or(listen_name, default_listen),
            workers: env.number_or("HTTP_WORKERS", cores).clamp(1, 256),
            metrics_token: env.optional_secret("METRICS_TOKEN", 16),
        }
    }
}

/// The database.
#[derive(Debug, Clone)]
pub struct DatabaseSection {
    /// `DATABASE_URL`: the login of the services.
    pub url: SecretString,
    /// `DATABASE_OWNER_URL`: the owner, for migrations only.
    pub owner_url: Option<SecretString>,
    /// `DATABASE_DIRECT_URL`: past a pooler, for what belongs to a connection (notifications, locks).
    pub direct_url: Option<SecretString>,
    /// `DATABASE_POOL_SIZE`: connections per HTTP worker.
    pub pool_size: u32,
}

impl DatabaseSection {
    /// Reads the section.
    pub fn read(env: &Env) -> Self {
        const SCHEMES: &[&str] = &["postgres", "postgresql"];
        Self {
            url: env.secret_url("DATABASE_URL", SCHEMES),
            owner_url: env.optional_secret_url("DATABASE_OWNER_URL", SCHEMES),
            direct_url: env.optional_secret_url("DATABASE_DIRECT_URL", SCHEMES),
            pool_size: env.number_or("DATABASE_POOL_SIZE", 8).clamp(1, 512),
        }
    }

    /// The address past a pooler, or the usual one where there is none.
    #[must_use]
    pub fn direct(&self) -> &SecretString {
        self.direct_url.as_ref().unwrap_or(&self.url)
    }
}

/// Redis.
#[derive(Debug, Clone)]
pub struct RedisSection {
    /// `REDIS_URL`.
    pub url: SecretString,
    /// `REDIS_TIMEOUT_MS`: how long an answer may take; every request waits for one.
    pub timeout: Duration,
}

impl RedisSection {
    /// Reads the section.
    pub fn read(env: &Env) -> Self {
        Self {
            url: env.secret_url("REDIS_URL", &["redis"]),
            timeout: env.millis_or("REDIS_TIMEOUT_MS", Duration::from_millis(250)),
        }
    }
}

/// The message broker.
#[derive(Debug, Clone)]
pub struct AmqpSection {
    /// `AMQP_URL`.
    pub url: SecretString,
}

impl AmqpSection {
    /// Reads the section.
    pub fn read(env: &Env) -> Self {
        Self { url: env.secret_url("AMQP_URL", &["amqp", "amqps"]) }
    }
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// For a person at a terminal.
    #[default]
    Pretty,
    /// One JSON object a line.
    Json,
}

/// Logs and traces.
#[derive(Debug, Clone)]
pub struct LogSection {
    /// `LOG_LEVEL`: a level, or filter directives such as `info,aisha_db=debug`.
    pub level: String,
    /// `LOG_FORMAT`: `pretty` or `json`.
    pub format: LogFormat,
    /// `OTEL_EXPORTER_OTLP_ENDPOINT`: base URL of a collector; traces are exported only when it is set.
    pub otlp_endpoint: Option<String>,
    /// `ENABLE_PERFORMANCE_LOGGING`: whether it is kept how long requests took.
    pub performance: bool,
}

impl LogSection {
    /// Reads the section.
    pub fn read(env: &Env) -> Self {
        Self {
            level: env.text_or("LOG_LEVEL", "info"),
            format: env.one_of(
                "LOG_FORMAT",
                &[("pretty", LogFormat::Pretty), ("json", LogFormat::Json)],
                LogFormat::Pretty,
            ),
            otlp_endpoint: env.optional_url("OTEL_EXPORTER_OTLP_ENDPOINT", &["http", "https"]),
            performance: env.flag("ENABLE_PERFORMANCE_LOGGING", true),
        }
    }
}

impl Default for LogSection {
    fn default() -> Self {
        Self { level: "info".to_owned(), format: LogFormat::Pretty, otlp_endpoint: None, performance: true }
    }
}
