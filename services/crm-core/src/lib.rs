//! crm-core: tenants, records and what is done with them, behind the gateway.
//!
//! Belongs here: configuration, wiring, and the routes that are not the same for every record type.
//! Does not belong here: rules (domain crates), the generic record routes (`aisha_http::record`).

mod config;
pub mod housekeeping;
pub mod openapi;
mod routes;

pub use config::Config;
pub use openapi::openapi_json;

use actix_web::{App, web};
use aisha_auth::token::InternalVerifier;
use aisha_bus::Bus;
use aisha_db::{Db, DbConfig};
use aisha_http::{
    Doorkeeper, RequestLog, Running, ServeOptions,
    health::{self, Check, MetricsAccess},
    serve,
};
use anyhow::Context as _;
use std::{net::TcpListener, sync::Arc};

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
    let db = Db::new(&config.db())?;
    check_login(&db).await?;
    let keeper = actix_web::rt::spawn(housekeeping::run(db));
    let outcome = start(config, listener, &options)?.wait().await;
    keeper.abort();
    Ok(outcome?)
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
    let metrics = MetricsAccess::new(config.http.metrics_token.clone());
    let bus = Bus::connect_lazy(&config.amqp_url())?;
    let db_config = config.db();
    // Fails here and not once per worker.
    Db::new(&db_config)?;
    let running = serve(listener, options, move || {
        #[expect(clippy::expect_used, reason = "the same configuration made a pool a moment ago")]
        let db = Db::new(&db_config).expect("the database configuration was checked");
        let probe = db.clone();
        let bus = bus.clone();
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
            .app_data(web::Data::new(Doorkeeper::new(Arc::clone(&verifier))))
            .configure(aisha_http::configure)
            .configure(health::routes(checks, metrics.clone()))
            .configure(routes::configure)
            .wrap(RequestLog::new(NAME))
    })?;
    Ok(running)
}

impl Config {
    fn db(&self) -> DbConfig {
        use aisha_config::ExposeSecret as _;
        DbConfig {
            url: self.database.url.expose_secret().to_owned(),
            pool_size: self.database.pool_size,
            application_name: NAME.to_owned(),
        }
    }

    fn amqp_url(&self) -> String {
        use aisha_config::ExposeSecret as _;
        self.amqp.url.expose_secret().to_owned()
    }
}
