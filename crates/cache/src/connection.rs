//! The connection. It connects when first used, reconnects by itself, and fails instead of waiting when Redis is away.

use redis::{
    Client, Cmd, FromRedisValue, RedisError, ScriptInvocation,
    aio::{ConnectionManager, ConnectionManagerConfig},
};
use std::{
    fmt,
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::time::{self, Instant};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// What a call as a whole, connecting included, may take longer than an answer.
const MORE_FOR_A_CALL: Duration = Duration::from_millis(850);
/// After a call ran into its time limit, the others fail at once for this long: with a Redis that swallows packets,
/// every request would otherwise wait out the limit.
const PAUSE_AFTER_TIMEOUT: Duration = Duration::from_millis(500);

/// Why a call to Redis failed.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// The URL cannot be used. The text does not contain it, since it may carry a password.
    #[error("the Redis URL cannot be used")]
    Url,
    /// Redis cannot be reached or the connection broke.
    #[error("Redis is not reachable")]
    Unreachable(#[source] RedisError),
    /// Redis did not answer in time.
    #[error("Redis did not answer in time")]
    TimedOut,
    /// Redis answered with an error, or with something else than expected.
    #[error("Redis refused the command")]
    Refused(#[source] RedisError),
}

impl From<CacheError> for aisha_kernel::Error {
    fn from(e: CacheError) -> Self {
        Self::unavailable("cache", e)
    }
}

/// A connection to Redis; make one per HTTP worker. Clones share it and may be used at the same time.
#[derive(Clone)]
pub struct Cache {
    manager: ConnectionManager,
    call_timeout: Duration,
    pause: Arc<Pause>,
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").field("paused", &self.pause.active()).finish()
    }
}

impl Cache {
    /// A handle that connects when first used and waits this long for an answer; must be called inside a Tokio runtime.
    pub fn connect_lazy(url: &str, response_timeout: Duration) -> Result<Self, CacheError> {
        let client = Client::open(url).map_err(|_| CacheError::Url)?;
        let config = ConnectionManagerConfig::new()
            .set_response_timeout(Some(response_timeout))
            .set_connection_timeout(Some(CONNECT_TIMEOUT.max(response_timeout)))
            // A failed attempt fails the calls that wait for it; the next call makes the next attempt.
            .set_number_of_retries(0);
        let manager = ConnectionManager::new_lazy_with_config(client, config).map_err(|_| CacheError::Url)?;
        let call_timeout = response_timeout.saturating_add(MORE_FOR_A_CALL);
        Ok(Self { manager, call_timeout, pause: Arc::new(Pause::new()) })
    }

    /// Asks Redis whether it is there.
    pub async fn ping(&self) -> Result<(), CacheError> {
        self.run::<String>(&redis::cmd("PING")).await.map(drop)
    }

    /// Runs one command. If the connection turns out to be broken it is tried once more on a new one, so a command may
    /// run twice when Redis goes away in the middle of it.
    pub async fn run<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, CacheError> {
        self.attempt(|mut manager| async move { command.query_async(&mut manager).await }).await
    }

    /// Runs a script by its hash, loading it where Redis does not know it yet. Tried again like [`Cache::run`].
    pub(crate) async fn script<T: FromRedisValue>(&self, call: &ScriptInvocation<'_>) -> Result<T, CacheError> {
        self.attempt(|mut manager| async move { call.invoke_async(&mut manager).await }).await
    }

    async fn attempt<T, F>(&self, call: impl Fn(ConnectionManager) -> F) -> Result<T, CacheError>
    where
        F: Future<Output = Result<T, RedisError>>,
    {
        if self.pause.active() {
            return Err(CacheError::TimedOut);
        }
        let tries = async {
            match call(self.manager.clone()).await {
                // The connection was dead, or the last attempt to connect had failed; this error started a new one.
                Err(e) if is_broken(&e) => call(self.manager.clone()).await,
                other => other,
            }
        };
        match time::timeout(self.call_timeout, tries).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(e)) if e.is_timeout() => Err(self.timed_out()),
            Ok(Err(e)) if is_broken(&e) => Err(CacheError::Unreachable(e)),
            Ok(Err(e)) => Err(CacheError::Refused(e)),
            Err(_) => Err(self.timed_out()),
        }
    }

    fn timed_out(&self) -> CacheError {
        self.pause.start();
        CacheError::TimedOut
    }
}

fn is_broken(e: &RedisError) -> bool {
    !e.is_timeout() && (e.is_io_error() || e.is_connection_dropped() || e.is_unrecoverable_error())
}

/// When calls may be made again, as milliseconds since the handle was made.
struct Pause {
    since: Instant,
    until: AtomicU64,
}

impl Pause {
    fn new() -> Self {
        Self { since: Instant::now(), until: AtomicU64::new(0) }
    }

    fn elapsed(&self) -> u64 {
        u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn active(&self) -> bool {
        let until = self.until.load(Ordering::Relaxed);
        until > 0 && self.elapsed() < until
    }

    fn start(&self) {
        let length = u64::try_from(PAUSE_AFTER_TIMEOUT.as_millis()).unwrap_or(u64::MAX);
        self.until.store(self.elapsed().saturating_add(length), Ordering::Relaxed);
    }
}
