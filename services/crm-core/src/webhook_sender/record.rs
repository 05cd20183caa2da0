//! Writing down what became of requests, many at a time.

use super::{Work, lane::Seen, request::Report, size::Size};
use aisha_kernel::ErrorCode;
use aisha_webhooks::{
    dispatch::{LEASE, release},
    outcome::{self, Attempt, SwitchedOff, Verdict},
    schedule,
};
use std::time::Duration;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, timeout_at},
};

/// Reports that are written together.
const MOST: usize = 200;
/// How long the first of them waits for others.
const GATHER: Duration = Duration::from_millis(4);
/// How long a database that is away is waited for. Longer than the leases hold: nobody claims anything either.
const PATIENCE: Duration = Duration::from_secs(600);
/// Before the next attempt when the database is away.
const PAUSE: Duration = Duration::from_millis(250);

/// An attempt that is to be written down, and when it began: how long ago that was is only known when it is written.
struct Ended {
    attempt: Attempt,
    began: Instant,
}

impl Work {
    /// Writes reports down until there are no more to come.
    pub(super) async fn record_all(&self, mut reports: mpsc::UnboundedReceiver<Report>) {
        while let Some(first) = reports.recv().await {
            let gathered = Instant::now() + GATHER;
            let mut batch = vec![first];
            while batch.len() < MOST {
                match timeout_at(gathered, reports.recv()).await {
                    Ok(Some(report)) => batch.push(report),
                    Ok(None) | Err(_) => break,
                }
            }
            self.write_down(batch).await;
        }
    }

    async fn write_down(&self, batch: Vec<Report>) {
        let done: Vec<_> = batch.iter().map(|r| (r.delivery.key, Size::of([&r.delivery]))).collect();
        let (mut ended, mut back) = (Vec::new(), Vec::new());
        for report in batch {
            match report.sent {
                None => back.push((report.delivery.key.0, report.delivery.id, report.delivery.lease)),
                Some(_) => ended.extend(self.judge(report)),
            }
        }
        // First what receivers have asked for, so that nobody sends at once what is given back because of it.
        if !ended.is_empty() {
            self.record(&ended).await;
        }
        if let Err(e) = release(&self.db, self.me, &back).await {
            tracing::debug!(error = %e, "what was not sent waits until its lease has run out");
        }
        self.state.borrow_mut().done(done);
        self.freed.notify_one();
    }

    fn judge(&self, report: Report) -> Option<Ended> {
        let Report { delivery, route, claimed_at, sent } = report;
        let (began, result) = sent?;
        let attempts = delivery.attempts.saturating_add(1);
        let (status, retry_after, excerpt, error, kind, duration) = match result {
            Ok(exchange) => match exchange.outcome {
                Ok(answer) => {
                    let error = (!(200..=299).contains(&answer.status)).then(|| format!("answered {}", answer.status));
                    (Some(answer.status), answer.retry_after, Some(answer.excerpt), error, None, exchange.duration)
                }
                Err(failure) => (None, None, None, Some(failure.to_string()), Some(failure.kind), exchange.duration),
            },
            // Nothing was sent, and the receiver has nothing to do with it.
            Err(what) => (None, None, None, Some(what.to_owned()), None, Duration::ZERO),
        };
        let verdict = Verdict::of(status, attempts, delivery.age, retry_after, route.retries);
        let hold = schedule::hold(status, retry_after);
        let seen = match verdict {
            Verdict::Delivered => Seen::Success(duration),
            _ => Seen::Failure(kind),
        };
        let mut state = self.state.borrow_mut();
        let tell = state.learn(delivery.key, &seen) && (status.is_some() || kind.is_some());
        if verdict == Verdict::Gone || hold.is_some() {
            state.halt([&delivery.key]);
        }
        metrics::counter!("webhook_deliveries_total", "outcome" => verdict.as_str()).increment(1);
        metrics::histogram!("webhook_attempt_seconds").record(duration.as_secs_f64());
        if let Some(lag) = delivery.lag {
            metrics::histogram!("webhook_lag_seconds").record((lag + (began - claimed_at)).as_secs_f64());
        }
        let attempt = Attempt {
            key: delivery.key,
            delivery_id: delivery.id,
            lease: delivery.lease,
            verdict,
            status,
            excerpt,
            error,
            started: Duration::ZERO,
            duration,
            interval: route.interval,
            hold,
            tell,
        };
        Some(Ended { attempt, began })
    }

    /// Says it again while the database is away: what is not written down is sent again.
    async fn record(&self, ended: &[Ended]) {
        let oldest = ended.iter().map(|e| e.began).min().unwrap_or_else(Instant::now);
        // One loss makes one line in the log.
        let mut said = false;
        loop {
            let patience = if *self.stop.borrow() { LEASE } else { PATIENCE };
            let attempts: Vec<Attempt> =
                ended.iter().map(|e| Attempt { started: e.began.elapsed(), ..e.attempt.clone() }).collect();
            match outcome::record(&self.db, self.me, &attempts).await {
                Ok(off) => return off.iter().for_each(tell),
                Err(e) if e.code == ErrorCode::Unavailable && oldest.elapsed() < patience => {
                    if !std::mem::replace(&mut said, true) {
                        tracing::warn!(error = %e, attempts = ended.len(), "what became of webhooks is not yet written down");
                    }
                    sleep(PAUSE).await;
                }
                // One that cannot be written must not take the others with it.
                Err(e) if ended.len() > 1 => {
                    tracing::warn!(error = %e, cause = ?e.cause, "writing down what became of webhooks one by one");
                    let (left, right) = ended.split_at(ended.len() / 2);
                    Box::pin(self.record(left)).await;
                    return Box::pin(self.record(right)).await;
                }
                Err(e) => {
                    tracing::error!(error = %e, cause = ?e.cause, "what became of a webhook is lost; it is sent again");
                    return;
                }
            }
        }
    }
}

/// The subscription says why it is off, and the change of it is an event like any other.
fn tell(off: &SwitchedOff) {
    metrics::counter!("webhook_switched_off_total", "reason" => off.reason.clone()).increment(1);
    tracing::warn!(tenant_id = %off.key.0, webhook = %off.key.1, reason = off.reason, "a webhook was switched off");
}
