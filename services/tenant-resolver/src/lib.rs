//! tenant-resolver: from a slug or UUID to the tenant, remembered for a while, behind the gateway.
//!
//! Belongs here: the cache, what invalidates it, and its routes. Does not belong here: tenants themselves (crm-core), the
//! statement (`aisha_tenancy::resolve`).

mod answer;
mod config;
mod events;
mod openapi;
mod resolver;
mod routes;

pub use config::{CacheConfig, Config};
pub use openapi::openapi_json;

use actix_web::{App, web};
use aisha_auth::token::InternalVerifier;
use aisha_bus::Bus;
use aisha_config::ExposeSecret as _;
use aisha_db::{Db, DbConfig};
use aisha_http::{
    Doorkeeper, RequestLog, Running, ServeOptions,
    health::{self, Check, MetricsAccess},
    serve,
};
use aisha_kernel::{ErrorCode, new_id};
use aisha_operations::recording::Recording;
use anyhow::Context as _;
use events::Herald;
use resolver::Resolver;
use routes::Shared;
use std::{net::TcpListener, sync::Arc};
use tokio::task::JoinHandle;

/// The service's name in logs, metrics and internal tokens.
pub const NAME: &str = "tenant-resolver";

/// The service at work.
#[derive(Debug)]
pub struct Service {
    http: Running,
    listener: Listening,
}

/// Listening to changes; ends when dropped.
#[derive(Debug)]
struct Listening(JoinHandle<()>);

impl Drop for Listening {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Service {
    /// Its base URL, for instance `http://127.0.0.1:4011`.
    #[must_use]
    pub fn url(&self) -> String {
        self.http.url()
    }

    /// Waits until the process is told to stop.
    ///
    /// # Errors
    /// When serving ended otherwise.
    pub async fn wait(self) -> std::io::Result<()> {
        let Self { http, listener } = self;
        let served = http.wait().await;
        drop(listener);
        served
    }
}

/// Runs the service until it is told to stop.
///
/// # Errors
/// When it cannot start.
pub async fn run(config: Config) -> anyhow::Result<()> {
    let listener = TcpListener::bind(config.http.listen)
        .with_context(|| format!("cannot listen on {} (TENANT_RESOLVER_LISTEN)", config.http.listen))?;
    if config.system_tenant_unreadable {
        tracing::warn!("SYSTEM_TENANT_ID is not a UUID and counts as unset");
    }
    match Db::new(&config.db())?.verify_login().await {
        Err(e) if e.code == ErrorCode::Unavailable => tracing::warn!("the database is not available yet"),
        checked => checked?,
    }
    let options = ServeOptions { workers: config.http.workers, ..ServeOptions::default() };
    // What it depends on is in its own answer to the diagnosis.
    let recording = Recording::start(NAME, env!("CARGO_PKG_VERSION"), config.db(), || async || serde_json::json!({}))?;
    let outcome = start(config, listener, &options)?.wait().await;
    recording.stop().await?;
    Ok(outcome?)
}

/// Starts serving on `listener`; for tests as well as for [`run`].
///
/// # Errors
/// When the keys or addresses cannot be used.
pub fn start(config: Config, listener: TcpListener, options: &ServeOptions) -> anyhow::Result<Service> {
    let verifier = Arc::new(InternalVerifier::new(&config.internal_public_keys, NAME)?);
    let bus = Bus::connect_lazy(config.amqp.url.expose_secret())?;
    let db_config = config.db();
    // Fails here and not once per worker.
    Db::new(&db_config)?;
    let instance = new_id();
    let resolver = Arc::new(Resolver::new(config.cache, config.system_tenant));
    let listening = tokio::spawn(events::forget_what_changes(bus.clone(), Arc::clone(&resolver), instance));
    let access = MetricsAccess::new(config.http.metrics_token);
    let shared = web::Data::new(Shared { resolver, herald: Herald::new(&bus, instance), metrics: access.clone() });
    let http = serve(listener, options, move || {
        #[expect(clippy::expect_used, reason = "the same configuration made a pool a moment ago")]
        let db = Db::new(&db_config).expect("the database configuration was checked");
        let (resolver, checks) = (Arc::clone(&shared.resolver), checks(&db, &bus));
        let more = move || {
            let resolver = Arc::clone(&resolver);
            async move { resolver.stats().await.prometheus() }
        };
        App::new()
            .app_data(web::Data::new(db))
            .app_data(shared.clone())
            .app_data(web::Data::new(Doorkeeper::new(Arc::clone(&verifier))))
            .configure(aisha_http::configure)
            .configure(health::routes_with(checks, access.clone(), more))
            .configure(routes::configure)
            .wrap(RequestLog::new(NAME))
    })?;
    Ok(Service { http, listener: Listening(listening) })
}

fn checks(db: &Db, bus: &Bus) -> Vec<Check> {
    let (db, bus) = (db.clone(), bus.clone());
    vec![
        Check::required("database", move || {
            let db = db.clone();
            async move { db.ping().await.map_err(|e| e.message) }
        }),
        Check::optional("rabbitmq", move || {
            let up = bus.is_connected();
            let away = "not connected: changes of tenants show when what is remembered expires";
            async move { if up { Ok(()) } else { Err(away) } }
        }),
    ]
}

impl Config {
    fn db(&self) -> DbConfig {
        DbConfig {
            url: self.database.url.expose_secret().to_owned(),
            pool_size: self.database.pool_size,
            application_name: NAME.to_owned(),
        }
    }
}
