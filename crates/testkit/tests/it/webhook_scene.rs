//! A tenant with subscriptions, a receiver, and senders: what the tests of deliveries play with.

use aisha_auth::sealing::Sealer;
use aisha_clients::outbound::{Guard, Outbound};
use aisha_crm_core::webhook_sender::{self, Handle, SenderConfig};
use aisha_db::{Db, DbConfig};
use aisha_http::Background;
use aisha_kernel::new_id;
use aisha_testkit::{CREDENTIALS_KEY, Receiver, Stack, TestTenant, database};
use aisha_webhooks::{
    intake::{self, Incoming},
    secret::seal_secret,
};
use secrecy::SecretString;
use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::time::sleep;
use uuid::Uuid;

pub(super) const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
pub(super) const OLD_SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
pub(super) const SOON: Duration = Duration::from_secs(10);

fn sealer() -> Sealer {
    Sealer::new(&SecretString::from(CREDENTIALS_KEY.to_owned()), None).unwrap()
}

fn config(url: &str) -> DbConfig {
    DbConfig { url: url.to_owned(), pool_size: 4, application_name: "test".into() }
}

/// `'\x…'` of a secret, sealed for this subscription.
pub(super) fn sealed(webhook: Uuid, secret: &str) -> String {
    let bytes = seal_secret(&sealer(), webhook, &secret.to_owned().into()).unwrap();
    bytes.iter().fold("'\\x".to_owned(), |s, b| format!("{s}{b:02x}")) + "'"
}

/// A tenant, a receiver, and senders for this tenant only.
pub(super) struct Scene {
    pub stack: Stack,
    pub tenant: TestTenant,
    pub db: Db,
    pub receiver: Receiver,
    seq: AtomicI64,
}

impl Scene {
    pub async fn new() -> Self {
        let stack = Stack::start().await;
        let tenant = stack.tenant().await;
        let db = Db::new(&config(&database::address("DATABASE_URL"))).unwrap();
        Self { stack, tenant, db, receiver: Receiver::start(), seq: AtomicI64::new(1) }
    }

    pub fn settings(&self) -> SenderConfig {
        let outbound = Outbound::new(Guard::new(["127.0.0.1"]), "test").unwrap();
        SenderConfig {
            db: config(&database::address("DATABASE_URL")),
            amqp_url: None,
            sealer: Arc::new(sealer()),
            outbound,
            retries: true,
            only: Some(HashSet::from([self.tenant.id])),
        }
    }

    pub fn sender(&self) -> (Background, Handle) {
        webhook_sender::start(self.settings()).unwrap()
    }

    /// A subscription to everything at this path; `set` changes it (`rate_limit = 5, retries = false`).
    pub async fn subscribe(&self, path: &str, set: &str) -> Uuid {
        self.subscribe_url(&self.receiver.url(path), set).await
    }

    pub async fn subscribe_url(&self, url: &str, set: &str) -> Uuid {
        let (id, tenant) = (new_id(), self.tenant.id);
        let secret = sealed(id, SECRET);
        self.stack
            .sql(&format!(
                "INSERT INTO webhook (tenant_id, id, url, event_types, secret_sealed) \
                 VALUES ('{tenant}', '{id}', '{url}', '{{*}}', {secret})"
            ))
            .await;
        if !set.is_empty() {
            self.stack.sql(&format!("UPDATE webhook SET {set} WHERE id = '{id}'")).await;
        }
        id
    }

    pub fn events(&self, name: &str, count: usize) -> Vec<Incoming> {
        (0..count).map(|_| self.event(name, Some(self.tenant.id))).collect()
    }

    pub fn event(&self, name: &str, tenant_id: Option<Uuid>) -> Incoming {
        let (id, seq) = (new_id(), self.seq.fetch_add(1, Ordering::Relaxed));
        let body = format!(r#"{{"id":"{id}","seq":{seq},"event":"{name}","data":{{"name":"Zoë  \u0007"}}}}"#);
        Incoming {
            tenant_id,
            event_id: id,
            event: name.to_owned(),
            seq,
            record_id: Some(new_id()),
            happened_at: "2026-11-28T10:00:00.123456Z".to_owned(),
            body,
        }
    }

    pub async fn take_on(&self, events: &[Incoming]) -> Vec<intake::Key> {
        let mut keys = HashSet::new();
        for chunk in events.chunks(200) {
            keys.extend(intake::take_on(&self.db, chunk).await.unwrap());
        }
        keys.into_iter().collect()
    }

    /// Has events happen and a sender know of it.
    pub async fn happen(&self, handle: &Handle, count: usize) -> Vec<Incoming> {
        let events = self.events("contact.created", count);
        handle.wake(self.take_on(&events).await);
        events
    }

    pub async fn count(&self, table: &str, condition: &str) -> i64 {
        let tenant = self.tenant.id;
        self.stack.count(&format!("SELECT count(*) FROM {table} WHERE tenant_id = '{tenant}' AND {condition}")).await
    }

    pub async fn text(&self, query: &str) -> String {
        self.stack.text(query).await
    }

    /// Waits until this many deliveries fulfil a condition.
    pub async fn until(&self, count: i64, condition: &str, patience: Duration) {
        let started = Instant::now();
        loop {
            let n = self.count("webhook_delivery", condition).await;
            if n == count {
                return;
            }
            assert!(started.elapsed() < patience, "{n} of {count} deliveries are {condition} within {patience:?}");
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// What was taken on is there; every attempt is written down; nothing is left in hand.
    pub async fn balanced(&self) {
        let tenant = self.tenant.id;
        let off = self
            .stack
            .count(&format!(
                "SELECT count(*) FROM webhook w LEFT JOIN webhook_ledger l ON l.tenant_id = w.tenant_id AND l.webhook_id = w.id \
                 WHERE w.tenant_id = '{tenant}' AND coalesce(l.taken_on, 0) <> coalesce(l.removed_delivered + l.removed_failed \
                 + l.removed_cancelled, 0) + (SELECT count(*) FROM webhook_delivery d \
                 WHERE d.tenant_id = w.tenant_id AND d.webhook_id = w.id)"
            ))
            .await;
        assert_eq!(off, 0, "subscriptions whose ledger does not add up");
        let attempts = "attempts <> (SELECT count(*) FROM webhook_attempt a WHERE a.tenant_id = webhook_delivery.tenant_id \
                        AND a.delivery_id = webhook_delivery.id)";
        assert_eq!(self.count("webhook_delivery", attempts).await, 0, "attempts that are not written down");
        assert_eq!(self.count("webhook_delivery", "state = 'sending'").await, 0, "in hand after the end");
        let finished = "(finished_at IS NULL) = (state IN ('delivered', 'failed', 'cancelled'))";
        assert_eq!(self.count("webhook_delivery", finished).await, 0);
    }

    pub async fn end(&self, sender: Background) {
        sender.stop().await.unwrap();
        self.balanced().await;
    }
}
