//! Who follows which tenant's events in this process, and waking them when there are new ones.
//!
//! One task for all streams: it is told that something was committed (`aisha_db::notify`), asks once which of the followed
//! tenants that was, and wakes their streams. What the events are, and who may see them, each stream finds out for itself.

use aisha_db::{
    Db, DbConfig, SystemReason,
    notify::listen,
    outbox::{self, Position},
};
use aisha_http::Background;
use aisha_kernel::{Error, TenantId, UserId};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    sync::{Notify, watch},
    time::{sleep, timeout},
};
use uuid::Uuid;

/// Between two questions: many commits are one look.
const PACE: Duration = Duration::from_millis(50);
/// The longest pause between two questions, for what no notification told of.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Streams of one user in this process.
const MOST_PER_USER: usize = 10;

/// The streams of this process.
#[derive(Debug, Default)]
pub struct Live {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    tenants: HashMap<Uuid, Followed>,
    users: HashMap<UserId, usize>,
}

#[derive(Debug)]
struct Followed {
    streams: usize,
    /// How far the tenant's events were when its streams were last woken.
    position: Position,
    news: watch::Sender<()>,
}

/// A place among the streams, given back when dropped.
#[derive(Debug)]
pub struct Place {
    live: Arc<Live>,
    tenant: Uuid,
    user: UserId,
    /// Changes whenever the tenant has new events.
    pub news: watch::Receiver<()>,
}

impl Live {
    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for one more stream of `user`; `None` when there are too many.
    #[must_use]
    pub fn enter(self: &Arc<Self>, tenant: TenantId, user: UserId) -> Option<Place> {
        let mut inner = self.lock();
        let streams = inner.users.entry(user).or_default();
        if *streams >= MOST_PER_USER {
            return None;
        }
        *streams += 1;
        let followed = inner.tenants.entry(tenant.0).or_insert_with(|| Followed {
            streams: 0,
            position: Position::default(),
            news: watch::channel(()).0,
        });
        followed.streams += 1;
        let news = followed.news.subscribe();
        metrics::gauge!("event_streams").increment(1);
        Some(Place { live: Arc::clone(self), tenant: tenant.0, user, news })
    }

    fn followed(&self) -> Vec<(Uuid, Position)> {
        self.lock().tenants.iter().map(|(tenant, f)| (*tenant, f.position)).collect()
    }

    fn wake(&self, tenants: &[Uuid], position: Position) {
        let mut inner = self.lock();
        for tenant in tenants {
            if let Some(followed) = inner.tenants.get_mut(tenant) {
                followed.position = position;
                followed.news.send_replace(());
            }
        }
    }

    async fn look(&self, db: &Db) -> Result<(), Error> {
        let followed = self.followed();
        if followed.is_empty() {
            return Ok(());
        }
        let why = SystemReason { reason: "event streams", ..SystemReason::default() };
        let (end, tenants) = db
            .system(&why, async |tx| {
                // Asked before the look: what is committed in between is found again, not missed.
                let end = outbox::end(tx).await?;
                Ok((end, outbox::with_news(tx, &followed).await?))
            })
            .await?;
        self.wake(&tenants, end);
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        metrics::gauge!("event_streams").decrement(1);
        let mut inner = self.live.lock();
        if let Some(streams) = inner.users.get_mut(&self.user) {
            *streams -= 1;
            if *streams == 0 {
                inner.users.remove(&self.user);
            }
        }
        if let Some(followed) = inner.tenants.get_mut(&self.tenant) {
            followed.streams -= 1;
            if followed.streams == 0 {
                inner.tenants.remove(&self.tenant);
            }
        }
    }
}

/// Starts the task that wakes the streams. `direct_url` leads past a pooler.
///
/// # Errors
/// When the address cannot be used.
pub fn start(live: Arc<Live>, db: &DbConfig, direct_url: String) -> anyhow::Result<Background> {
    let config = DbConfig { pool_size: 1, application_name: "gateway streams".into(), ..db.clone() };
    Background::start("streams", move |stop| {
        let db = Db::new(&config)?;
        let committed = Arc::new(Notify::new());
        Ok(move || async move {
            let mut stop = stop;
            tokio::select! {
                () = wake(&live, &db, &committed) => {}
                () = listen(&direct_url, Arc::clone(&committed)) => {}
                _ = stop.wait_for(|stop| *stop) => {}
            }
        })
    })
}

async fn wake(live: &Live, db: &Db, committed: &Notify) {
    loop {
        // The database being away is told by every request; here the next look tells that it is back.
        if let Err(e) = live.look(db).await {
            tracing::debug!(error = %e, "event streams wait");
        }
        sleep(PACE).await;
        let _ = timeout(LOOK_EVERY, committed.notified()).await;
    }
}
