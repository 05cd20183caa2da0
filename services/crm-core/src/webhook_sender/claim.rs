//! Claiming what is due, and starting its requests.

use super::{
    Work,
    request::{Job, Report, Route},
    size::Size,
};
use aisha_kernel::Error;
use aisha_webhooks::{
    dispatch::{self, Target},
    intake::Key,
    secret::open_secret,
    signature::Signer,
};
use secrecy::SecretString;
use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::{Semaphore, mpsc, watch},
    task::JoinSet,
    time::{Instant, sleep_until},
};
use url::Url;

/// Requests under way at once, of all subscriptions.
pub(super) const AT_ONCE: usize = 512;
/// Subscriptions that are claimed for together.
const SUBSCRIPTIONS: usize = 64;
/// Between two looks at everything: for what no event told of, such as retries.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Between two measurements of what waits.
const MEASURE_EVERY: Duration = Duration::from_secs(15);
/// After this a subscription that another sender is busy with is asked for again; twice as long every time.
const AGAIN_AFTER: Duration = Duration::from_millis(10);
/// How often, before it is left to the next look at everything.
const TIMES: u32 = 6;

/// Subscriptions to ask for again.
#[derive(Default)]
struct Later(HashMap<Key, (Instant, u32)>);

impl Later {
    fn add(&mut self, keys: impl IntoIterator<Item = Key>, asked: &HashMap<Key, u32>) {
        for key in keys {
            let times = asked.get(&key).copied().unwrap_or(0);
            if times < TIMES {
                self.0.insert(key, (Instant::now() + AGAIN_AFTER * 2u32.pow(times), times + 1));
            }
        }
    }

    fn next(&self) -> Option<Instant> {
        self.0.values().map(|(at, _)| *at).min()
    }

    /// Those whose time has come, with how often they have been asked for.
    fn due(&mut self) -> Vec<(Key, u32)> {
        let now = Instant::now();
        let due: Vec<_> = self.0.iter().filter(|(_, (at, _))| *at <= now).map(|(key, (_, n))| (*key, *n)).collect();
        for (key, _) in &due {
            self.0.remove(key);
        }
        due
    }
}

impl Work {
    fn ours(&self, key: &Key) -> bool {
        self.config.only.as_ref().is_none_or(|only| only.contains(&key.0))
    }

    /// Claims and starts requests until told to stop; then waits for those that are under way.
    pub(super) async fn claim_all(
        &self,
        mut woken: mpsc::UnboundedReceiver<Vec<Key>>,
        reports: mpsc::UnboundedSender<Report>,
        mut stop: watch::Receiver<bool>,
    ) {
        let mut tasks = JoinSet::new();
        let places = Arc::new(Semaphore::new(AT_ONCE));
        let (mut later, mut tries) = (Later::default(), HashMap::new());
        let (mut look_at, mut measure_at) = (Instant::now(), Instant::now());
        let mut troubled = false;
        while !*stop.borrow() {
            while tasks.try_join_next().is_some() {}
            let due = later.due();
            self.state.borrow_mut().look_at(due.iter().map(|(key, _)| *key));
            tries.extend(due);
            while let Ok(keys) = woken.try_recv() {
                self.state.borrow_mut().look_at(keys.into_iter().filter(|key| self.ours(key)));
            }
            let step = async {
                if look_at <= Instant::now() {
                    look_at = Instant::now() + LOOK_EVERY;
                    self.look().await?;
                }
                if measure_at <= Instant::now() {
                    measure_at = Instant::now() + MEASURE_EVERY;
                    let oldest = dispatch::oldest_pending(&self.db).await?;
                    metrics::gauge!("webhook_oldest_pending_seconds").set(oldest.as_secs_f64());
                }
                let wanted = self.state.borrow_mut().next(SUBSCRIPTIONS);
                if !wanted.is_empty() {
                    let busy = self.claim(&wanted, &mut tasks, &places, &reports).await?;
                    later.add(busy, &tries);
                    for key in &wanted {
                        tries.remove(key);
                    }
                }
                Ok::<(), Error>(())
            };
            match step.await {
                Ok(()) if std::mem::take(&mut troubled) => tracing::info!("webhooks are delivered again"),
                Ok(()) => {}
                Err(e) => {
                    if !std::mem::replace(&mut troubled, true) {
                        tracing::warn!(error = %e, cause = ?e.cause, "webhooks wait in the database");
                    }
                    // What was to be looked at is found by the next look.
                    look_at = Instant::now() + LOOK_EVERY;
                }
            }
            if self.state.borrow().has_next() && !troubled {
                continue;
            }
            let next = later.next().map_or(look_at, |at| at.min(look_at));
            tokio::select! {
                () = sleep_until(next) => {}
                Some(keys) = woken.recv() => self.state.borrow_mut().look_at(keys.into_iter().filter(|key| self.ours(key))),
                () = self.freed.notified() => {}
                _ = stop.changed() => {}
            }
        }
        self.state.borrow().halt_all();
        // The last one drops the last way to report, and the records end.
        drop(reports);
        while tasks.join_next().await.is_some() {}
    }

    async fn look(&self) -> Result<(), Error> {
        let busy = self.state.borrow().busy();
        let look = dispatch::look(&self.db, &busy).await?;
        let mut state = self.state.borrow_mut();
        state.halt(&look.stopped);
        state.look_at_due(look.due.into_iter().filter(|key| self.ours(key)).collect());
        state.forget();
        metrics::gauge!("webhook_in_hand").set(state.in_hand().deliveries as f64);
        Ok(())
    }

    /// Claims what is due of these subscriptions and starts its requests. Returns those that could not be looked at now.
    async fn claim(
        &self,
        wanted: &[Key],
        tasks: &mut JoinSet<()>,
        places: &Arc<Semaphore>,
        reports: &mpsc::UnboundedSender<Report>,
    ) -> Result<Vec<Key>, Error> {
        let asked_at = Instant::now();
        let allot = |targets: &[Target]| self.state.borrow_mut().allot(targets);
        let claim = dispatch::claim(&self.db, self.me, wanted, allot).await?;
        let answered_at = Instant::now();
        let more: HashSet<Key> = claim.more.into_iter().collect();
        let mut deliveries: HashMap<Key, Vec<_>> = HashMap::new();
        for delivery in claim.deliveries {
            deliveries.entry(delivery.key).or_default().push(delivery);
        }
        for target in &claim.targets {
            let Some(mine) = deliveries.remove(&target.key) else { continue };
            let size = Size::of(&mine);
            let gate = self.state.borrow_mut().claimed(target, size, more.contains(&target.key));
            let route = Arc::new(self.route(target));
            for delivery in mine {
                let job = Job::new(delivery, Arc::clone(&route), asked_at, answered_at, reports.clone());
                let (gate, places, outbound) = (Arc::clone(&gate), Arc::clone(places), self.config.outbound.clone());
                tasks.spawn(job.run(gate, places, outbound));
            }
        }
        self.state.borrow_mut().look_at(claim.cut_short);
        Ok(claim.busy)
    }

    fn route(&self, target: &Target) -> Route {
        let open = |sealed: &[u8]| -> Result<SecretString, &'static str> {
            open_secret(&self.config.sealer, target.key.1, sealed).map_err(|e| {
                tracing::error!(tenant_id = %target.key.0, webhook = %target.key.1, cause = ?e.cause, "the secret of a webhook cannot be opened");
                "the secret cannot be opened here; make a new one"
            })
        };
        let signer = open(&target.secret_sealed).map(|secret| {
            let previous = target.previous_secret_sealed.as_deref().and_then(|sealed| open(sealed).ok());
            Signer::new(&secret, previous.as_ref())
        });
        Route {
            url: Url::parse(&target.url).map_err(|_| "the URL cannot be read"),
            signer,
            interval: target.interval,
            retries: target.retries && self.config.retries,
        }
    }
}
