//! Sends the e-mails that wait in the queue, for as long as the gateway runs. Every replica may have one: the queue gives
//! a letter to one of them at a time.
//!
//! Belongs here: when to look, and what to do with the outcome. Does not belong here: the queue (`aisha-identity`), the
//! conversation with the mail server (`aisha-clients`).

use crate::state::Shared;
use aisha_clients::mail::{Mail, MailError, Mailer, SEND_TIMEOUT};
use aisha_db::{Db, DbConfig};
use aisha_http::Background;
use aisha_identity::mail_queue::{self, Claimed, LEASE, Outcome};
use anyhow::Context as _;
use futures_util::future::join_all;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

/// Letters that are sent side by side.
const AT_ONCE: i64 = 8;
/// The longest pause between two looks: what another replica has queued and could not send.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Between two rounds of housekeeping.
const TIDY_EVERY: Duration = Duration::from_secs(3600);

/// Starts sending.
///
/// # Errors
/// When a setting cannot be used or there is no thread.
pub fn start(shared: &Arc<Shared>) -> anyhow::Result<Background> {
    let mailer = Mailer::new(&shared.config.mail).context("SMTP_FROM")?;
    let config = DbConfig { pool_size: 2, application_name: "gateway mail".into(), ..shared.db_config() };
    let shared = Arc::clone(shared);
    Background::start("mail", |stopped| {
        let db = Db::new(&config)?;
        Ok(move || Sender { db, mailer, shared }.run(stopped))
    })
}

struct Sender {
    db: Db,
    mailer: Mailer,
    shared: Arc<Shared>,
}

impl Sender {
    async fn run(self, mut stopped: watch::Receiver<bool>) {
        let mut tidied: Option<Instant> = None;
        while !*stopped.borrow() {
            if tidied.is_none_or(|at| at.elapsed() > TIDY_EVERY) {
                tidied = Some(Instant::now());
                self.tidy().await;
            }
            let pause = match self.round().await {
                Ok(pause) => pause,
                Err(e) => {
                    tracing::warn!(error = %e, cause = ?e.cause, "the queue of e-mails cannot be read");
                    LONGEST_PAUSE
                }
            };
            tokio::select! {
                () = sleep(pause.min(LONGEST_PAUSE)) => {}
                () = self.shared.mail_queued.notified() => {}
                _ = stopped.changed() => {}
            }
        }
    }

    /// Sends what is due; says how long until the next is.
    async fn round(&self) -> Result<Duration, aisha_kernel::Error> {
        loop {
            let asked = Instant::now();
            let claimed = mail_queue::claim(&self.db, &self.shared.credentials, AT_ONCE).await?;
            if claimed.is_empty() {
                let next = mail_queue::next_due(&self.db, &self.shared.credentials).await?;
                return Ok(next.unwrap_or(LONGEST_PAUSE).max(Duration::from_millis(50)));
            }
            join_all(claimed.iter().map(|claim| self.deliver(claim, asked))).await;
        }
    }

    async fn deliver(&self, claim: &Claimed, asked: Instant) {
        // A database that took this long to answer leaves no time to send before somebody else may.
        if asked.elapsed() + SEND_TIMEOUT > LEASE {
            return;
        }
        let letter = &claim.letter;
        let mail = Mail {
            id: claim.id,
            to: letter.to.clone(),
            to_name: letter.name.clone(),
            subject: letter.subject.clone(),
            text: letter.text.clone(),
        };
        match self.mailer.send(&mail).await {
            Ok(()) => {
                metrics::counter!("emails_total", "outcome" => "sent").increment(1);
                tracing::info!(email = %claim.id, "e-mail sent");
                self.note(claim, asked).await;
            }
            Err(e) => self.failed(claim, &e).await,
        }
    }

    /// Notes that a letter was sent, again and again while the lease lasts: it would be sent a second time.
    async fn note(&self, claim: &Claimed, asked: Instant) {
        let noted = async {
            while let Err(e) = mail_queue::sent(&self.db, claim).await {
                tracing::warn!(email = %claim.id, error = %e, "a sent e-mail is not yet noted as sent");
                sleep(Duration::from_secs(1)).await;
            }
        };
        if timeout(LEASE.saturating_sub(asked.elapsed()), noted).await.is_err() {
            tracing::error!(email = %claim.id, "a sent e-mail could not be noted as sent; it may be sent twice");
        }
    }

    /// The server's own words go to the database only: they quote the address.
    async fn failed(&self, claim: &Claimed, e: &MailError) {
        match mail_queue::failed(&self.db, claim, &e.message, e.permanent).await {
            Ok(Outcome::Again) => {
                metrics::counter!("emails_total", "outcome" => "failed").increment(1);
                tracing::warn!(email = %claim.id, code = e.code, "e-mail not sent, it is tried again");
            }
            Ok(Outcome::GivenUp) => {
                metrics::counter!("emails_total", "outcome" => "given_up").increment(1);
                tracing::error!(email = %claim.id, code = e.code, "e-mail given up");
            }
            Err(e) => tracing::warn!(email = %claim.id, error = %e, "a failed e-mail could not be noted"),
        }
    }

    async fn tidy(&self) {
        match mail_queue::tidy(&self.db).await {
            Ok(0) => {}
            Ok(n) => tracing::error!(emails = n, "e-mails given up: they could not be sent within three days"),
            Err(e) => tracing::warn!(error = %e, "housekeeping did not finish; it goes on in an hour"),
        }
    }
}
