//! crm-core: tenants, records and what is done with them, behind the gateway.
//!
//! Belongs here: configuration, wiring, and the routes that are not the same for every record type.
//! Does not belong here: rules (domain crates), the generic record routes (`aisha_http::record`).

pub mod cli;
mod config;
pub mod housekeeping;
pub mod notifier;
pub mod openapi;
pub mod relay;
mod routes;
pub mod sealing;
pub mod webhook_sender;

pub use config::{Config, Roles};
pub use openapi::openapi_json;

use actix_web::{App, middleware::from_fn, web};
use aisha_auth::token::InternalVerifier;
use aisha_bus::Bus;
use aisha_clients::outbound::{Guard, Outbound};
use aisha_db::{Db, DbConfig, notify::announce};
use aisha_http::{
    Background, Denials, Doorkeeper, RequestLog, Running, ServeOptions, denied,
    health::{self, Check, MetricsAccess},
    serve,
};
use aisha_operations::recording::Recording;
use anyhow::Context as _;
use relay::RelayConfig;
use std::{future::Future, net::TcpListener, sync::Arc};
use tokio::sync::watch;
use webhook_sender::SenderConfig;

/// The service's name in logs, metrics and internal tokens.
pub const NAME: &str = "crm-core";

/// Runs the service until it is told to stop.
///
/// # Errors
/// When it cannot start.
pub async fn run(config: Config) -> anyhow::Result<()> {
    let listener = TcpListener::bind(config.http.listen)
        .with_context(|| format!("cannot listen on {} (CRM_CORE_LISTEN)", config.http.listen))?;
    let options = ServeOptions { workers: config.http.workers, ..ServeOptions::default() };
    check_login(&Db::new(&config.db())?).await?;
    let work = work(&config)?;
    // What it depends on is in its own answer to the diagnosis.
    let recording = Recording::start(NAME, env!("CARGO_PKG_VERSION"), config.db(), || async || serde_json::json!({}))?;
    let mut outcome = start(config, listener, &options)?.wait().await;
    for part in work {
        outcome = part.stop().await.and(outcome);
    }
    recording.stop().await?;
    Ok(outcome?)
}

/// Starts what the roles of this process ask for beside answering requests.
///
/// # Errors
/// When an address cannot be used.
pub fn work(config: &Config) -> anyhow::Result<Vec<Background>> {
    let mut work = Vec::new();
    let (db, direct_url, amqp_url) = (config.db(), config.direct_url(), config.amqp_url());
    if config.roles.api {
        let url = direct_url.clone();
        work.push(Background::start("announce", |stop| Ok(move || until(stop, async move { announce(&url).await })))?);
    }
    if config.roles.cron {
        let (db, retention) = (DbConfig { pool_size: 1, ..db.clone() }, config.retention);
        work.push(Background::start("housekeeping", |stop| {
            let db = Db::new(&db)?;
            Ok(move || until(stop, housekeeping::run(db, retention)))
        })?);
        let db = DbConfig { pool_size: 1, ..config.db() };
        work.push(Background::start("sealing", |stop| {
            let db = Db::new(&db)?;
            Ok(move || until(stop, sealing::run(db)))
        })?);
        work.push(notifier::start(&db, &amqp_url)?);
    }
    if config.roles.webhooks && config.webhooks_enabled {
        work.push(webhook_sender::start(config.sender()?)?.0);
    }
    if config.roles.relay {
        work.push(relay::start(RelayConfig { db, direct_url, amqp_url, webhooks: config.webhooks_enabled })?);
    }
    Ok(work)
}

/// Work that may be cut off anywhere.
async fn until(mut stop: watch::Receiver<bool>, work: impl Future<Output = ()>) {
    tokio::select! {
        () = work => {}
        _ = stop.wait_for(|stop| *stop) => {}
    }
}

/// Refuses a login that row-level security does not bind; a server that is away is no reason not to start.
async fn check_login(db: &Db) -> anyhow::Result<()> {
    match db.verify_login().await {
        Ok(()) => Ok(()),
        Err(e) if e.code == aisha_kernel::ErrorCode::Unavailable => {
            tracing::warn!("the database is not available yet");
            Ok(())
        }
        Err(e) => Err(anyhow::anyhow!(e.cause.map_or_else(|| e.message.to_string(), |c| c.to_string()))),
    }
}

/// Starts serving on `listener`; for tests as well as for [`run`].
///
/// # Errors
/// When the keys or addresses cannot be used.
pub fn start(config: Config, listener: TcpListener, options: &ServeOptions) -> anyhow::Result<Running> {
    let verifier = Arc::new(InternalVerifier::new(&config.internal_public_keys, NAME)?);
    let sealer = web::Data::new(config.sealer()?);
    let webhooks = web::Data::new(routes::webhooks::Enabled(config.webhooks_enabled));
    let guard = web::Data::new(config.guard());
    let metrics = MetricsAccess::new(config.http.metrics_token.clone());
    // One for all workers: what it bounds is the process.
    let denials = web::Data::new(Denials::default());
    let bus = Bus::connect_lazy(&config.amqp_url())?;
    let slow = web::Data::new(config.slow);
    let db_config = config.db();
    let api = config.roles.api;
    // Fails here and not once per worker.
    Db::new(&db_config)?;
    let running = serve(listener, options, move || {
        #[expect(clippy::expect_used, reason = "the same configuration made a pool a moment ago")]
        let db = Db::new(&db_config).expect("the database configuration was checked");
        let probe = db.clone();
        let (bus, shown) = (bus.clone(), web::Data::new(bus.clone()));
        let checks = vec![
            Check::required("database", move || {
                let db = probe.clone();
                async move { db.ping().await.map_err(|e| e.message) }
            }),
            Check::optional("rabbitmq", move || {
                let up = bus.is_connected();
                async move { if up { Ok(()) } else { Err("not connected") } }
            }),
        ];
        App::new()
            .app_data(web::Data::new(db))
            .app_data(sealer.clone())
            .app_data(denials.clone())
            .app_data(shown)
            .app_data(slow.clone())
            .app_data(webhooks.clone())
            .app_data(guard.clone())
            .app_data(web::Data::new(Doorkeeper::new(Arc::clone(&verifier))))
            .configure(aisha_http::configure)
            .configure(health::routes(checks, metrics.clone()))
            .configure(|cfg| {
                if api {
                    routes::configure(cfg)
                }
            })
            .wrap(from_fn(denied))
            .wrap(RequestLog::new(NAME))
    })?;
    Ok(running)
}

impl Config {
    /// What decides where requests to URLs of tenants may go.
    #[must_use]
    pub fn guard(&self) -> Guard {
        Guard::new(&self.webhook_allowed_hosts)
    }

    fn sender(&self) -> anyhow::Result<SenderConfig> {
        Ok(SenderConfig {
            db: self.db(),
            amqp_url: Some(self.amqp_url()),
            sealer: Arc::new(self.sealer()?),
            outbound: Outbound::new(self.guard(), webhook_sender::USER_AGENT)?,
            retries: self.webhook_retries,
            only: None,
        })
    }

    fn db(&self) -> DbConfig {
        use aisha_config::ExposeSecret as _;
        DbConfig {
            url: self.database.url.expose_secret().to_owned(),
            pool_size: self.database.pool_size,
            application_name: NAME.to_owned(),
        }
    }

    fn direct_url(&self) -> String {
        use aisha_config::ExposeSecret as _;
        self.database.direct().expose_secret().to_owned()
    }

    fn amqp_url(&self) -> String {
        use aisha_config::ExposeSecret as _;
        self.amqp.url.expose_secret().to_owned()
    }
}
