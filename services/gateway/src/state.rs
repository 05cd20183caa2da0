//! What handlers share: settings and keys in the whole process, connections on each worker.

use crate::{auth::Authenticator, config::Config, limits::Limits, live::Live, proxy::Proxy, upstream::Upstream};
use actix_web::web::Data;
use aisha_cache::Cache;
use aisha_config::ExposeSecret as _;
use aisha_db::{Db, DbConfig, RequestContext};
use aisha_http::{Denials, RequestFacts, health::Check};
use aisha_identity::Credentials;
use aisha_kernel::Error;
use std::sync::Arc;
use tokio::sync::Notify;

/// Shared by all workers.
#[derive(Debug)]
pub struct Shared {
    /// The settings.
    pub config: Config,
    /// Verifies credentials.
    pub auth: Authenticator,
    /// What credentials are made with.
    pub credentials: Credentials,
    /// Wakes the sender of e-mails: one was queued.
    pub mail_queued: Notify,
    /// The event streams.
    pub live: Arc<Live>,
    /// Which refusals are written to the audit log.
    pub denials: Data<Denials>,
}

impl Shared {
    /// With these settings.
    ///
    /// # Errors
    /// When a key cannot be used.
    pub fn new(config: Config) -> anyhow::Result<Arc<Self>> {
        let (access, internal) = config.open_keys()?;
        let (credentials, auth) = (config.credentials()?, Authenticator::new(access, internal));
        Ok(Arc::new(Self {
            config,
            auth,
            credentials,
            mail_queued: Notify::new(),
            live: Arc::default(),
            denials: Data::new(Denials::default()),
        }))
    }

    /// How to reach the database.
    #[must_use]
    pub fn db_config(&self) -> DbConfig {
        let database = &self.config.database;
        DbConfig {
            url: database.url.expose_secret().to_owned(),
            pool_size: database.pool_size,
            application_name: "gateway".into(),
        }
    }
}

/// What one worker has to itself. Connects when first used.
pub struct Worker {
    /// What it shares with the others.
    pub shared: Arc<Shared>,
    /// The database.
    pub db: Db,
    /// The limits.
    pub limits: Limits,
    /// The services behind.
    pub proxy: Proxy,
    cache: Cache,
}

impl Worker {
    /// Must be made on the thread that will use it.
    ///
    /// # Errors
    /// When a URL cannot be read.
    pub fn new(shared: &Arc<Shared>) -> anyhow::Result<Self> {
        let cache = Cache::connect_lazy(shared.config.redis.url.expose_secret(), shared.config.redis.timeout)?;
        Ok(Self {
            shared: Arc::clone(shared),
            db: Db::new(&shared.db_config())?,
            limits: Limits::new(cache.clone(), shared.config.limits),
            proxy: Proxy::new(&shared.config)?,
            cache,
        })
    }

    /// What the gateway depends on. Only the database is required: without Redis and the services it still answers.
    #[must_use]
    pub fn checks(&self) -> Vec<Check> {
        let (db, cache) = (self.db.clone(), self.cache.clone());
        let mut checks = vec![
            Check::required("database", move || {
                let db = db.clone();
                async move { db.ping().await.map_err(|_| "not reachable") }
            }),
            Check::optional("redis", move || {
                let cache = cache.clone();
                async move { cache.ping().await.map_err(|_| "not reachable") }
            }),
        ];
        checks.extend(Upstream::ALL.map(|upstream| {
            let proxy = self.proxy.clone();
            Check::optional(upstream.name(), move || {
                let proxy = proxy.clone();
                async move { proxy.ping(upstream).await.map_err(|_| "not reachable") }
            })
        }));
        checks
    }
}

/// The request for the audit log.
///
/// # Errors
/// When the request middleware is missing, which is our mistake.
pub fn request_context(request: &actix_web::HttpRequest) -> Result<RequestContext, Error> {
    let facts = RequestFacts::of(request).ok_or_else(|| Error::internal("no request facts"))?;
    let agent = request.headers().get("user-agent").and_then(|v| v.to_str().ok());
    Ok(RequestContext {
        request_id: Some(facts.request_id().to_owned()),
        ip: facts.client_ip().map(|ip| ip.to_string()),
        user_agent: agent.map(|a| a.chars().take(500).collect()),
    })
}
