//! The gateway's settings. Everything that is wrong with them shows at one start.

use aisha_auth::{
    sealing::{SHORTEST_KEY, Sealer},
    token::{AccessKeys, InternalSigner},
};
use aisha_clients::mail::Mailer;
use aisha_config::{
    ConfigError, DatabaseSection, Env, HttpSection, LogSection, MailSection, RedisSection, SecretString,
};
use aisha_identity::Credentials;
use ipnet::IpNet;
use std::{fmt, net::IpAddr, time::Duration};

/// How the gateway runs.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where and how it listens; `GATEWAY_LISTEN`, or all addresses with `PORT`.
    pub http: HttpSection,
    /// Logs and traces.
    pub log: LogSection,
    /// The database.
    pub database: DatabaseSection,
    /// Redis.
    pub redis: RedisSection,
    /// The keys of tokens.
    pub keys: Keys,
    /// `CRM_CORE_URL`.
    pub crm_core_url: String,
    /// `TENANT_RESOLVER_URL`.
    pub tenant_resolver_url: String,
    /// How mail leaves.
    pub mail: MailSection,
    /// `FRONTEND_URL`: the web application, where the links in e-mails lead.
    pub frontend_url: String,
    /// `ALLOWED_ORIGINS` and the origin of `FRONTEND_URL`: where browsers may call from.
    pub allowed_origins: Vec<String>,
    /// Limits.
    pub limits: LimitConfig,
    /// `TRUSTED_PROXIES`: whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// `PRODUCTION_READONLY`: every write is refused.
    pub readonly: bool,
    /// Whether cookies are for https only: `PUBLIC_URL` is one.
    pub secure_cookies: bool,
}

/// Secrets that sign tokens.
#[derive(Clone)]
pub struct Keys {
    /// `JWT_SECRET`.
    pub jwt: SecretString,
    /// `JWT_SECRET_PREVIOUS`: still accepted during a rotation.
    pub jwt_previous: Option<SecretString>,
    /// `INTERNAL_SIGNING_KEY`.
    pub internal: SecretString,
    /// `CREDENTIALS_KEY`: seals what must be read again, such as the secrets of second factors.
    pub credentials: SecretString,
    /// `CREDENTIALS_KEY_PREVIOUS`: still opens what it has sealed.
    pub credentials_previous: Option<SecretString>,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys")
    }
}

/// How much is allowed.
#[derive(Debug, Clone, Copy)]
pub struct LimitConfig {
    /// `RATE_LIMIT_WINDOW_MS`.
    pub window: Duration,
    /// `RATE_LIMIT_MAX` per user, API key or anonymous address; 0 is no limit.
    pub general: u32,
    /// `AUTH_RATE_LIMIT_MAX` per address and e-mail; 0 is no limit.
    pub login: u32,
}

impl Config {
    /// Reads the settings.
    ///
    /// # Errors
    /// Everything that is wrong, at once.
    pub fn read(env: &Env) -> Result<Self, ConfigError> {
        let listen = env.optional("PORT").map_or_else(|| "127.0.0.1:4001".into(), |port| format!("0.0.0.0:{port}"));
        let keys = Keys {
            jwt: env.secret("JWT_SECRET", 32),
            jwt_previous: env.optional_secret("JWT_SECRET_PREVIOUS", 32),
            internal: env.secret("INTERNAL_SIGNING_KEY", 32),
            credentials: env.secret("CREDENTIALS_KEY", SHORTEST_KEY),
            credentials_previous: env.optional_secret("CREDENTIALS_KEY_PREVIOUS", SHORTEST_KEY),
        };
        let config = Self {
            http: HttpSection::read(env, "GATEWAY_LISTEN", &listen),
            log: LogSection::read(env),
            database: DatabaseSection::read(env),
            redis: RedisSection::read(env),
            crm_core_url: env.url_or("CRM_CORE_URL", &["http"], "http://127.0.0.1:4010"),
            tenant_resolver_url: env.url_or("TENANT_RESOLVER_URL", &["http"], "http://127.0.0.1:4011"),
            mail: MailSection::read(env),
            frontend_url: env.url_or("FRONTEND_URL", &["http", "https"], "http://localhost:4000"),
            allowed_origins: origins(env),
            limits: LimitConfig {
                window: env.millis_or("RATE_LIMIT_WINDOW_MS", Duration::from_secs(60)),
                general: env.number_or("RATE_LIMIT_MAX", 120),
                login: env.number_or("AUTH_RATE_LIMIT_MAX", 5),
            },
            trusted_proxies: networks(env),
            readonly: env.flag("PRODUCTION_READONLY", false),
            secure_cookies: env.url_or("PUBLIC_URL", &["http", "https"], "http://127.0.0.1:4001").starts_with("https:"),
            keys,
        };
        if env.optional("INTERNAL_SIGNING_KEY").is_some_and(|k| k.len() >= 32)
            && let Err(e) = InternalSigner::new(&config.keys.internal)
        {
            env.problem("INTERNAL_SIGNING_KEY", e);
        }
        if let Err(e) = Mailer::new(&config.mail) {
            env.problem("SMTP_FROM", e);
        }
        env.finish()?;
        Ok(config)
    }

    /// What credentials are made with.
    ///
    /// # Errors
    /// When the key cannot be used; [`Config::read`] has made sure that it can.
    pub fn credentials(&self) -> anyhow::Result<Credentials> {
        let sealer = Sealer::new(&self.keys.credentials, self.keys.credentials_previous.as_ref())?;
        Ok(Credentials::new(sealer, self.frontend_url.clone()))
    }

    /// The keys as the code uses them.
    ///
    /// # Errors
    /// When a key cannot be used; [`Config::read`] has made sure that it can.
    pub fn open_keys(&self) -> anyhow::Result<(AccessKeys, InternalSigner)> {
        let keys = &self.keys;
        Ok((AccessKeys::new(&keys.jwt, keys.jwt_previous.as_ref())?, InternalSigner::new(&keys.internal)?))
    }
}

fn origins(env: &Env) -> Vec<String> {
    let mut all = env.list("ALLOWED_ORIGINS");
    all.extend(env.optional_url("FRONTEND_URL", &["http", "https"]));
    let mut all: Vec<String> = all.into_iter().map(|o| o.trim_end_matches('/').to_owned()).collect();
    for origin in &all {
        let after_scheme =
            origin.split_once("://").filter(|(s, _)| matches!(*s, "http" | "https")).map(|(_, rest)| rest);
        if after_scheme.is_none_or(|host| host.is_empty() || host.contains(['/', '*'])) {
            env.problem("ALLOWED_ORIGINS", "must be origins such as https://crm.example.com; there is no wildcard");
        }
    }
    all.dedup();
    all
}

fn networks(env: &Env) -> Vec<IpNet> {
    let parse = |text: &String| text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    let parsed: Vec<_> = env.list("TRUSTED_PROXIES").iter().map(parse).collect();
    if parsed.iter().any(Result::is_err) {
        env.problem("TRUSTED_PROXIES", "must be addresses or networks such as 10.0.0.0/8");
    }
    parsed.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_problem_shows() {
        let env = Env::from_map([
            ("JWT_SECRET", "short"),
            ("TRUSTED_PROXIES", "10.0.0.0/8,nonsense"),
            ("ALLOWED_ORIGINS", "*"),
            ("RATE_LIMIT_MAX", "many"),
            ("CREDENTIALS_KEY", "too short"),
            ("SMTP_HOST", "mail.example"),
            ("SMTP_FROM", "nobody"),
        ]);
        let text = Config::read(&env).unwrap_err().to_string();
        for name in [
            "JWT_SECRET",
            "INTERNAL_SIGNING_KEY",
            "DATABASE_URL",
            "REDIS_URL",
            "TRUSTED_PROXIES",
            "ALLOWED_ORIGINS",
            "RATE_LIMIT_MAX",
            "CREDENTIALS_KEY",
            "SMTP_FROM",
        ] {
            assert!(text.contains(name), "{name} in {text}");
        }
    }

    #[test]
    fn a_good_environment_is_read() {
        let key = InternalSigner::generate().unwrap();
        let env = Env::from_map([
            ("JWT_SECRET", "0123456789abcdef0123456789abcdef"),
            ("INTERNAL_SIGNING_KEY", key.as_str()),
            ("CREDENTIALS_KEY", "0123456789abcdef0123456789abcdef"),
            ("DATABASE_URL", "postgres://a:b@127.0.0.1/aisha"),
            ("REDIS_URL", "redis://127.0.0.1"),
            ("TRUSTED_PROXIES", "10.0.0.0/8, ::1"),
            ("ALLOWED_ORIGINS", "https://a.example"),
            ("FRONTEND_URL", "https://b.example/"),
            ("PUBLIC_URL", "https://api.example"),
            ("PORT", "3001"),
        ]);
        let config = Config::read(&env).unwrap();
        assert_eq!(config.http.listen.to_string(), "0.0.0.0:3001");
        assert_eq!(config.allowed_origins, ["https://a.example", "https://b.example"]);
        assert_eq!(config.trusted_proxies.len(), 2);
        assert!(config.secure_cookies && !config.readonly);
        assert!(config.open_keys().is_ok() && config.credentials().is_ok());
        assert_eq!(config.frontend_url, "https://b.example");
    }
}
