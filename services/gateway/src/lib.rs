//! The only door of the platform: sign-in, sessions, API keys, users, limits, the API's documentation, and the way to
//! the services behind it.
//!
//! Belongs here: what happens to a request before a service sees it, and the routes of accounts.
//! Does not belong here: records and their rules; SQL (accounts have theirs in `aisha-identity`).

pub mod auth;
pub mod cli;
pub mod client;
pub mod config;
pub mod door;
pub mod headers;
pub mod limits;
pub mod live;
pub mod mail_sender;
pub mod proxy;
pub mod rotate_keys;
pub mod routes;
pub mod state;
pub mod upstream;

pub use routes::docs::openapi_json;

use actix_cors::Cors;
use actix_web::{
    App, Error,
    body::MessageBody,
    dev::{ServiceFactory, ServiceRequest, ServiceResponse},
    http::Method,
    middleware::from_fn,
    web::Data,
};
use aisha_config::ExposeSecret as _;
use aisha_db::notify::announce;
use aisha_http::{Background, RequestLog, Running, ServeOptions, denied, serve};
use config::Config;
use state::{Shared, Worker};
use std::{
    net::{SocketAddr, TcpListener},
    sync::Arc,
};

/// The app of one worker.
#[must_use]
pub fn app(
    shared: &Arc<Shared>,
) -> App<
    impl ServiceFactory<
        ServiceRequest,
        Config = (),
        Response = ServiceResponse<impl MessageBody + use<>>,
        Error = Error,
        InitError = (),
    > + use<>,
> {
    #[expect(clippy::expect_used, reason = "run() has made a worker of the same settings before")]
    let worker = Worker::new(shared).expect("a worker");
    // The last one is the outermost.
    App::new()
        .configure(routes::configure(&worker))
        .app_data(shared.denials.clone())
        .app_data(Data::new(worker.db.clone()))
        .app_data(Data::new(worker))
        .wrap(from_fn(door::door))
        .wrap(from_fn(denied))
        .wrap(cors(&shared.config))
        .wrap(RequestLog::new("gateway"))
}

fn cors(config: &Config) -> Cors {
    let cors = Cors::default()
        .allowed_methods([Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE])
        .allow_any_header()
        .expose_headers([
            "etag",
            "location",
            "retry-after",
            "x-request-id",
            "x-ratelimit-limit",
            "x-ratelimit-remaining",
            "content-disposition",
        ])
        .supports_credentials()
        .max_age(3600);
    config.allowed_origins.iter().fold(cors, |cors, origin| cors.allowed_origin(origin))
}

/// The gateway at work.
#[derive(Debug)]
pub struct Gateway {
    http: Running,
    mail: Background,
    streams: Background,
    announcer: tokio::task::JoinHandle<()>,
}

impl Gateway {
    /// The address it listens on, with the real port when 0 was asked for.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.http.address()
    }

    /// Its base URL, for instance `http://127.0.0.1:4001`.
    #[must_use]
    pub fn url(&self) -> String {
        self.http.url()
    }

    /// Waits until the process is told to stop, finishes what is in hand, and returns.
    ///
    /// # Errors
    /// When serving or sending e-mails ended otherwise.
    pub async fn wait(self) -> std::io::Result<()> {
        let served = self.http.wait().await;
        self.announcer.abort();
        let streamed = self.streams.stop().await;
        self.mail.stop().await.and(streamed).and(served)
    }

    /// Takes nothing new, finishes what is in hand, and returns.
    ///
    /// # Errors
    /// As [`Gateway::wait`].
    pub async fn stop(self) -> std::io::Result<()> {
        let served = self.http.stop().await;
        self.announcer.abort();
        let streamed = self.streams.stop().await;
        self.mail.stop().await.and(streamed).and(served)
    }
}

/// Serves, and sends what e-mails there are, until the process is told to stop, or until the answer is. Needs a Tokio
/// runtime.
///
/// # Errors
/// When a setting cannot be used or the socket cannot be served.
pub fn run(config: Config, listener: TcpListener, options: &ServeOptions) -> anyhow::Result<Gateway> {
    let shared = Shared::new(config)?;
    // Finds out here, where it can be said, what would fail on every worker.
    Worker::new(&shared)?;
    let mail = mail_sender::start(&shared)?;
    let direct_url = shared.config.database.direct().clone();
    let direct = direct_url.expose_secret().to_owned();
    let streams = live::start(Arc::clone(&shared.live), &shared.db_config(), direct)?;
    let announcer = tokio::spawn(async move { announce(direct_url.expose_secret()).await });
    Ok(Gateway { http: serve(listener, options, move || app(&shared))?, mail, streams, announcer })
}
