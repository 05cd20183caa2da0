//! What a service writes about itself while it runs: its log records, how long its requests took, and that it is there.
//!
//! One thread with one connection, apart from those that serve requests: connections belong to one thread, and what this
//! thread logs is not collected, so that a failure to store a record makes no record. A database that is away loses
//! nothing that fits into memory: records wait in their queue (what does not fit is counted, and reported as one record),
//! durations add up.

use crate::{
    instance::{REPORT_EVERY, Report, instance_leave, instance_report},
    performance::{Pending, performance_store},
    sql::itself,
    system_log::system_log_store,
};
use aisha_db::{Db, DbConfig, pool::ConnectError};
use aisha_kernel::{Error, ErrorCode, clock, new_id};
use aisha_telemetry::{
    performance, process,
    records::{self, Collected, LogRecord},
};
use serde_json::{Map, Value};
use std::{
    io,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};
use time::OffsetDateTime;
use tokio::{
    runtime::Builder,
    sync::watch,
    task::LocalSet,
    time::{sleep, timeout},
};
use uuid::Uuid;

/// Records per statement.
const BATCH: usize = 500;
/// How long records gather before they are written.
const GATHER: Duration = Duration::from_millis(200);
/// Between two rows of a route in the performance log.
const FLUSH_EVERY: Duration = Duration::from_secs(60);
/// The first and the longest pause after a database that is away.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);
/// How long the last writes of a service that stops may take.
const FAREWELL: Duration = Duration::from_secs(3);

/// A service that writes about itself.
#[derive(Debug)]
pub struct Recording {
    stop: watch::Sender<bool>,
    thread: JoinHandle<()>,
}

/// What goes wrong at the start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// There is no thread or runtime.
    #[error("no thread to record on")]
    Thread(#[from] io::Error),
    /// The database's address cannot be used.
    #[error("cannot record")]
    Connect(#[from] ConnectError),
}

impl Recording {
    /// Starts writing about `service`. `make_checks` runs on the new thread and makes what asks, every ten seconds, whether
    /// that which the service depends on is there: an object of names, each `ok` or what is wrong.
    ///
    /// # Errors
    /// When a setting cannot be used or there is no thread.
    pub fn start<M, C>(
        service: &'static str,
        version: &'static str,
        database: DbConfig,
        make_checks: M,
    ) -> Result<Self, StartError>
    where
        M: FnOnce() -> C + Send + 'static,
        C: AsyncFn() -> Value + 'static,
    {
        let config = DbConfig { pool_size: 2, application_name: format!("{service} recording"), ..database };
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = watch::channel(false);
        let db = {
            // The pool starts its own tasks.
            let _inside = runtime.enter();
            Db::new(&config)?
        };
        let work = move || {
            records::mute_this_thread();
            let recorder = Recorder { id: new_id(), service, version, started_at: clock::now(), db };
            // Clients of other services keep their connections on local tasks.
            LocalSet::new().block_on(&runtime, async {
                let checks = make_checks();
                tokio::join!(
                    recorder.log(stopped.clone()),
                    recorder.durations(stopped.clone()),
                    recorder.presence(stopped.clone(), checks)
                );
            });
        };
        let thread = thread::Builder::new().name("recording".into()).spawn(work)?;
        Ok(Self { stop, thread })
    }

    /// Writes what is there, as far as that takes no longer than a few seconds, and returns.
    ///
    /// # Errors
    /// When the thread has panicked.
    pub async fn stop(self) -> io::Result<()> {
        self.stop.send_replace(true);
        let thread = self.thread;
        let joined = tokio::task::spawn_blocking(move || thread.join()).await.map_err(io::Error::other)?;
        joined.map_err(|_| io::Error::other("the thread that records panicked"))
    }
}

/// Waits until the service stops. Without its owner, which was dropped, there is nobody to say when.
async fn told_to_stop(stopped: &mut watch::Receiver<bool>) {
    if stopped.wait_for(|stop| *stop).await.is_err() {
        std::future::pending::<()>().await;
    }
}

struct Recorder {
    id: Uuid,
    service: &'static str,
    version: &'static str,
    started_at: OffsetDateTime,
    db: Db,
}

fn counted(outcome: &'static str, n: usize) {
    metrics::counter!("system_log_records_total", "outcome" => outcome).increment(n.try_into().unwrap_or(u64::MAX));
}

impl Recorder {
    async fn log(&self, mut stopped: watch::Receiver<bool>) {
        // Another service of this process may be writing them, and where logging was never set up there are none.
        let Some(mut collected) = Collected::take() else { return };
        let mut batch = Vec::new();
        let mut losses = Losses::default();
        let mut pause = FIRST_PAUSE;
        loop {
            if batch.is_empty() {
                tokio::select! {
                    () = collected.receive(&mut batch, BATCH) => {}
                    () = told_to_stop(&mut stopped) => break,
                }
                sleep(GATHER).await;
                collected.receive_now(&mut batch, BATCH);
            }
            match self.store(&mut batch, &mut losses).await {
                Ok(()) => pause = FIRST_PAUSE,
                Err(()) => {
                    tokio::select! {
                        () = sleep(pause) => pause = (pause * 2).min(LONGEST_PAUSE),
                        () = told_to_stop(&mut stopped) => break,
                    }
                }
            }
        }
        let rest = async {
            loop {
                collected.receive_now(&mut batch, BATCH);
                if batch.is_empty() || self.store(&mut batch, &mut losses).await.is_err() {
                    break;
                }
            }
        };
        let _ = timeout(FAREWELL, rest).await;
        collected.receive_now(&mut batch, usize::MAX);
        if !batch.is_empty() {
            counted("lost", batch.len());
            tracing::error!(records = batch.len(), "the service stops before these log records were stored");
        }
    }

    /// Writes the batch and empties it. One that the database is not there for is kept; one that it refuses is lost, and
    /// counted.
    async fn store(&self, batch: &mut Vec<LogRecord>, losses: &mut Losses) -> Result<(), ()> {
        let news = losses.news();
        let mut all = batch.clone();
        all.extend(news.map(|n| self.loss_record(n)));
        let why = itself("system log", None);
        match self.db.system(&why, async |tx| system_log_store(tx, self.service, &all).await).await {
            Ok(()) => {
                counted("stored", batch.len());
                losses.reported += news.unwrap_or_default();
                batch.clear();
                Ok(())
            }
            Err(e) if e.code == ErrorCode::Unavailable => {
                tracing::warn!(error = %e, records = batch.len(), "log records cannot be stored yet");
                Err(())
            }
            Err(e) => {
                counted("refused", batch.len());
                tracing::error!(error = %e, cause = ?e.cause, records = batch.len(), "log records were refused");
                losses.refused += batch.len() as u64;
                batch.clear();
                Ok(())
            }
        }
    }

    fn loss_record(&self, lost: u64) -> LogRecord {
        LogRecord {
            id: new_id(),
            at: clock::now(),
            level: "warn",
            source: module_path!().to_owned(),
            message: format!("{lost} log records were not stored: there were more than could wait."),
            fields: Map::from_iter([("lost".to_owned(), lost.into())]),
            request_id: None,
            trace_id: None,
            tenant_id: None,
            user_id: None,
        }
    }

    async fn durations(&self, mut stopped: watch::Receiver<bool>) {
        let mut pending = Pending::new(clock::now());
        let mut stop = false;
        while !stop {
            tokio::select! {
                () = sleep(FLUSH_EVERY) => {}
                () = told_to_stop(&mut stopped) => stop = true,
            }
            pending.add(performance::drain(self.service));
            let until = clock::now();
            if pending.is_empty() {
                pending = Pending::new(until);
                continue;
            }
            let why = itself("performance log", None);
            let written = self.db.system(&why, async |tx| performance_store(tx, self.service, &pending, until).await);
            match timeout(FAREWELL, written).await {
                Ok(Ok(())) => pending = Pending::new(until),
                Ok(Err(e)) => {
                    tracing::warn!(error = %e, cause = ?e.cause, "the performance log was not written; it adds up")
                }
                Err(_) => tracing::warn!("the performance log was not written in time; it adds up"),
            }
        }
    }

    async fn presence(&self, mut stopped: watch::Receiver<bool>, checks: impl AsyncFn() -> Value) {
        let (mut then, mut cpu_then) =
            (Instant::now(), milliseconds(process::Usage::read().cpu_seconds.unwrap_or_default()));
        let mut complained = false;
        // Long enough for the first report to say how busy it is.
        let mut pause = Duration::from_secs(1);
        loop {
            tokio::select! {
                () = sleep(pause) => {}
                () = told_to_stop(&mut stopped) => break,
            }
            pause = REPORT_EVERY;
            let usage = process::Usage::read();
            let cpu_ms = milliseconds(usage.cpu_seconds.unwrap_or_default());
            let report = Report {
                id: self.id,
                service: self.service,
                version: self.version,
                started_at: self.started_at,
                cpu_ms,
                recent_cpu_ms: cpu_ms - cpu_then,
                recent_ms: then.elapsed().as_millis().try_into().unwrap_or(i64::MAX),
                resident_bytes: usage.resident_bytes.and_then(|n| n.try_into().ok()).unwrap_or_default(),
                open_fds: usage.open_fds.and_then(|n| n.try_into().ok()).unwrap_or_default(),
                totals: performance::totals(self.service),
                log_records_dropped: records::dropped(),
                checks: checks().await,
            };
            (then, cpu_then) = (Instant::now(), cpu_ms);
            match self.system("presence", async |tx| instance_report(tx, &report).await).await {
                Ok(()) => complained = false,
                Err(e) if !complained => {
                    complained = true;
                    tracing::warn!(error = %e, cause = ?e.cause, "the service cannot say that it is there");
                }
                Err(_) => {}
            }
        }
        let _ = timeout(FAREWELL, self.system("presence", async |tx| instance_leave(tx, self.id).await)).await;
    }

    async fn system(
        &self,
        reason: &'static str,
        f: impl AsyncFn(&mut aisha_db::SystemTx) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.db.system(&itself(reason, None), f).await
    }
}

#[expect(clippy::cast_possible_truncation, reason = "CPU time of a process")]
fn milliseconds(seconds: f64) -> i64 {
    (seconds * 1000.0) as i64
}

/// What was lost, and how much of it has been told.
#[derive(Default)]
struct Losses {
    refused: u64,
    reported: u64,
}

impl Losses {
    fn news(&self) -> Option<u64> {
        let lost = records::dropped() + self.refused;
        lost.checked_sub(self.reported).filter(|n| *n > 0)
    }
}
