//! One request: its turn, its headers, its answer.

use super::lane::{Gate, START_WITHIN};
use aisha_clients::outbound::{Exchange, Outbound};
use aisha_webhooks::{
    dispatch::Delivery,
    signature::{HEX_HEADER, ID_HEADER, LIST_HEADER, Signer, TIMESTAMP_HEADER},
};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use tokio::{
    sync::{Semaphore, mpsc},
    time::{Instant, sleep_until, timeout_at},
};
use url::Url;

/// Where the requests of a subscription go, and how.
pub(super) struct Route {
    /// The URL, or what is wrong with it.
    pub url: Result<Url, &'static str>,
    /// What signs, or why nothing can be signed.
    pub signer: Result<Signer, &'static str>,
    pub interval: Option<Duration>,
    pub retries: bool,
}

/// What became of a delivery in hand.
pub(super) struct Report {
    pub delivery: Delivery,
    pub route: Arc<Route>,
    pub claimed_at: Instant,
    /// When the request started and what came of it, or why it could not be made; `None` when it had no turn.
    pub sent: Option<(Instant, Result<Exchange, &'static str>)>,
}

/// A delivery in hand. However its task ends, there is a report of it.
pub(super) struct Job {
    delivery: Option<Delivery>,
    route: Arc<Route>,
    claimed_at: Instant,
    /// When the claim was answered: the delivery's wait began before, and no request may be early.
    answered_at: Instant,
    reports: mpsc::UnboundedSender<Report>,
}

impl Drop for Job {
    fn drop(&mut self) {
        if self.delivery.is_some() {
            self.report(None);
        }
    }
}

impl Job {
    pub fn new(
        delivery: Delivery,
        route: Arc<Route>,
        claimed_at: Instant,
        answered_at: Instant,
        reports: mpsc::UnboundedSender<Report>,
    ) -> Self {
        Self { delivery: Some(delivery), route, claimed_at, answered_at, reports }
    }

    fn report(&mut self, sent: Option<(Instant, Result<Exchange, &'static str>)>) {
        if let Some(delivery) = self.delivery.take() {
            // Nobody listens when the sender was cut off; the lease runs out by itself.
            let _ = self.reports.send(Report {
                delivery,
                route: Arc::clone(&self.route),
                claimed_at: self.claimed_at,
                sent,
            });
        }
    }

    /// Waits for its turn and sends; gives the delivery back if there is no turn in time.
    pub async fn run(mut self, gate: Arc<Gate>, places: Arc<Semaphore>, outbound: Outbound) {
        let claimed_at = self.claimed_at;
        let Some(delivery) = self.delivery.clone() else { return };
        let mut halt = gate.halt.subscribe();
        let turn = async {
            let permit = Arc::clone(&gate.permits).acquire_owned().await.ok()?;
            let mut last_start = gate.last_start.lock().await;
            if let Some(interval) = self.route.interval {
                let after = last_start.map_or(self.answered_at, |last| last + interval);
                sleep_until(after.max(self.answered_at + delivery.wait)).await;
            }
            let place = places.acquire().await.ok()?;
            *last_start = Some(Instant::now());
            Some((permit, place))
        };
        let turn = tokio::select! {
            biased;
            _ = halt.wait_for(|halt| *halt) => None,
            turn = timeout_at(claimed_at + START_WITHIN, turn) => turn.ok().flatten(),
        };
        let Some((permit, place)) = turn else { return };
        let started = Instant::now();
        metrics::gauge!("webhook_in_flight").increment(1);
        let exchange = match (&self.route.url, &self.route.signer) {
            (Err(what), _) | (_, Err(what)) => Err(*what),
            (Ok(url), Ok(signer)) => Ok(outbound.post(url, headers(&delivery, signer), delivery.body).await),
        };
        metrics::gauge!("webhook_in_flight").decrement(1);
        drop(place);
        let fewer = |surplus: usize| surplus.checked_sub(1);
        if gate.surplus.fetch_update(Ordering::AcqRel, Ordering::Acquire, fewer).is_ok() {
            permit.forget();
        }
        self.report(Some((started, exchange)));
    }
}

fn headers(delivery: &Delivery, signer: &Signer) -> HeaderMap {
    let now = aisha_kernel::clock::now().unix_timestamp();
    let signed = signer.sign(delivery.event_id, now, &delivery.body);
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let all = [
        ("x-webhook-event", Some(delivery.event.clone())),
        ("x-webhook-delivery", Some(delivery.id.to_string())),
        (ID_HEADER, Some(delivery.event_id.to_string())),
        (TIMESTAMP_HEADER, Some(now.to_string())),
        (HEX_HEADER, Some(signed.hex)),
        (LIST_HEADER, signed.list),
    ];
    for (name, value) in all {
        if let Some(value) = value.and_then(|v| HeaderValue::try_from(v).ok()) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    headers
}
