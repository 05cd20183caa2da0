//! Serving an app until the process is told to stop.

use actix_web::{
    App, Error, HttpServer,
    body::MessageBody,
    dev::{ServerHandle, ServiceFactory, ServiceRequest, ServiceResponse},
};
use std::{
    future::Future,
    io,
    net::{SocketAddr, TcpListener},
    sync::LazyLock,
    time::Duration,
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
    task::JoinHandle,
};

/// How to serve. The defaults suit production.
#[derive(Debug, Clone)]
pub struct ServeOptions {
    /// Worker threads; the app factory runs once on each.
    pub workers: usize,
    /// How long requests may take to finish after the signal to stop.
    pub shutdown_timeout: Duration,
    /// How long an idle connection is kept. Longer than that of common proxies, so that it is they who close.
    pub keep_alive: Duration,
    /// How long a client may take to send the head of a request.
    pub client_request_timeout: Duration,
    /// Open connections per worker.
    pub max_connections: usize,
    /// Whether SIGTERM and SIGINT stop the server. Tests say no.
    pub signals: bool,
}

impl Default for ServeOptions {
    fn default() -> Self {
        Self {
            workers: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            shutdown_timeout: Duration::from_secs(20),
            keep_alive: Duration::from_secs(75),
            client_request_timeout: Duration::from_secs(10),
            max_connections: 10_000,
            signals: true,
        }
    }
}

/// A server at work.
#[derive(Debug)]
pub struct Running {
    address: SocketAddr,
    handle: ServerHandle,
    task: JoinHandle<io::Result<()>>,
}

impl Running {
    /// The address it listens on, with the real port when 0 was asked for.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its base URL, for instance `http://127.0.0.1:4010`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Waits until it has stopped, by signal or by [`Running::stop`] elsewhere.
    pub async fn wait(self) -> io::Result<()> {
        self.task.await.map_err(io::Error::other)?
    }

    /// Takes no new connections, lets requests finish within the time limit, and returns when all is done.
    pub async fn stop(self) -> io::Result<()> {
        self.handle.stop(true).await;
        self.wait().await
    }
}

/// Serves the app that `factory` makes on each worker. Returns when the socket takes connections; must be called inside
/// a Tokio runtime.
pub fn serve<F, T, B>(listener: TcpListener, options: &ServeOptions, factory: F) -> io::Result<Running>
where
    F: Fn() -> App<T> + Send + Clone + 'static,
    T: ServiceFactory<ServiceRequest, Config = (), Response = ServiceResponse<B>, Error = Error, InitError = ()>
        + 'static,
    B: MessageBody + 'static,
{
    let address = listener.local_addr()?;
    let server = HttpServer::new(factory)
        .workers(options.workers.max(1))
        .keep_alive(options.keep_alive)
        .client_request_timeout(options.client_request_timeout)
        .max_connections(options.max_connections)
        .tcp_nodelay(true)
        .shutdown_timeout(options.shutdown_timeout.as_secs().max(1));
    // The library's own handling would cut requests off on SIGINT.
    let server = if options.signals { server.shutdown_signal(stop_signal()?) } else { server.disable_signals() };
    let server = server.listen(listener)?.run();
    let handle = server.handle();
    Ok(Running { address, handle, task: tokio::spawn(server) })
}

static STOPPING: LazyLock<watch::Sender<bool>> = LazyLock::new(|| watch::channel(false).0);

/// Says `true` once the process was told to stop: answers that would go on for ever end then, instead of being waited for.
#[must_use]
pub fn stopping() -> watch::Receiver<bool> {
    STOPPING.subscribe()
}

fn stop_signal() -> io::Result<impl Future<Output = ()>> {
    let mut term = signal(SignalKind::terminate())?;
    let mut int = signal(SignalKind::interrupt())?;
    Ok(async move {
        let name = tokio::select! {
            _ = term.recv() => "SIGTERM",
            _ = int.recv() => "SIGINT",
        };
        tracing::info!(signal = name, "stopping");
        STOPPING.send_replace(true);
    })
}

#[cfg(test)]
#[path = "serve_tests.rs"]
mod tests;
