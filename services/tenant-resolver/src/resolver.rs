//! What was found out, remembered for a while by all workers of the process.
//!
//! An answer is remembered for those who may know it: for superadmins, or for the people of one tenant. So the suffix
//! `-cache` tells nobody what others have asked for, and forgetting a tenant is not to be noticed from another.

use crate::{
    answer::{Answer, Identifier},
    config::CacheConfig,
};
use actix_web::rt;
use aisha_db::Db;
use aisha_kernel::TenantId;
use aisha_tenancy::resolve::{Sight, TenantName, tenant_resolve};
use equivalent::Equivalent;
use moka::{Expiry, future::Cache};
use serde::Serialize;
use std::{
    fmt::Write as _,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::sync::OnceCell;
use uuid::Uuid;

/// Answers kept; each is some 500 bytes. What is seldom asked for gives way.
const MOST_ENTRIES: u64 = 10_000;

/// Who may know an answer, and what it answers.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    /// `None`: whoever sees all tenants, and everybody for what is no secret.
    tenant: Option<TenantId>,
    text: Box<str>,
}

/// A key to look up with.
#[derive(Hash)]
struct KeyRef<'a> {
    tenant: Option<TenantId>,
    text: &'a str,
}

impl Equivalent<Key> for KeyRef<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        self.tenant == key.tenant && *self.text == *key.text
    }
}

impl Key {
    fn of(sight: &Sight, asked: &Identifier<'_>) -> Self {
        Self { tenant: whose(sight, asked), text: asked.key().into() }
    }
}

fn whose(sight: &Sight, asked: &Identifier<'_>) -> Option<TenantId> {
    if asked.is_system() { None } else { sight.tenant() }
}

impl Expiry<Key, Arc<Answer>> for CacheConfig {
    fn expire_after_create(&self, _: &Key, answer: &Arc<Answer>, _: Instant) -> Option<Duration> {
        Some(if answer.found() { self.found } else { self.missing })
    }
}

/// Counts since the start or the last reset.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Stats {
    ttl_ms: u64,
    size: u64,
    hits: u64,
    misses: u64,
    hit_ratio: f64,
}

impl Stats {
    /// The metrics of the manual, in the Prometheus text format.
    #[must_use]
    pub fn prometheus(&self) -> String {
        let mut text = String::with_capacity(1_000);
        let mut metric = |name: &str, kind: &str, help: &str, value: String| {
            let name = format!("tenant_resolve_cache_{name}");
            let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n");
        };
        metric("size", "gauge", "Answers that are remembered.", self.size.to_string());
        let since = "since the start or the last reset.";
        metric("hits_total", "counter", &format!("Identifiers answered from the cache {since}"), self.hits.to_string());
        metric(
            "misses_total",
            "counter",
            &format!("Identifiers that were not in the cache {since}"),
            self.misses.to_string(),
        );
        metric("hit_ratio", "gauge", "Hits among all lookups, 0 to 1.", format!("{:.4}", self.hit_ratio));
        metric("ttl_ms", "gauge", "How long a tenant that was found is remembered.", self.ttl_ms.to_string());
        text
    }
}

/// The cache and what fills it.
#[derive(Debug)]
pub struct Resolver {
    answers: Cache<Key, Arc<Answer>>,
    ttl: Duration,
    system: Option<Uuid>,
    hits: AtomicU64,
    misses: AtomicU64,
    /// Grows whenever something is forgotten.
    forgotten: AtomicU64,
}

/// What one request asks the database, at most once, for all identifiers that turn out not to be remembered.
struct Question {
    db: Db,
    sight: Sight,
    ids: Vec<Uuid>,
    slugs: Vec<String>,
    /// [`Resolver::forgotten`] before anything was read.
    before: u64,
    /// `None`: the database could not be asked.
    found: OnceCell<Option<Vec<TenantName>>>,
}

impl Question {
    /// The answer to one of its identifiers; `Err` when the database could not be asked.
    async fn find(&self, asked: &Identifier<'_>) -> Result<Option<TenantName>, ()> {
        let all = self.found.get_or_init(|| self.ask()).await.as_ref().ok_or(())?;
        let is = |t: &&TenantName| asked.uuid.map_or_else(|| t.slug == asked.text, |id| t.id == id);
        Ok(all.iter().find(is).cloned())
    }

    async fn ask(&self) -> Option<Vec<TenantName>> {
        metrics::counter!("tenant_resolve_queries_total").increment(1);
        match tenant_resolve(&self.db, &self.sight, self.ids.clone(), self.slugs.clone()).await {
            Ok(found) => Some(found),
            Err(e) => {
                metrics::counter!("tenant_resolve_errors_total").increment(1);
                tracing::warn!(error = %e, cause = ?e.cause, "tenants could not be looked up");
                None
            }
        }
    }
}

impl Resolver {
    /// With nothing remembered yet.
    #[must_use]
    pub fn new(config: CacheConfig, system: Option<Uuid>) -> Self {
        let answers = Cache::builder().max_capacity(MOST_ENTRIES).expire_after(config).build();
        let (hits, misses, forgotten) = Default::default();
        Self { answers, ttl: config.found, system, hits, misses, forgotten }
    }

    /// The answer if it is remembered, which counts as a hit.
    pub async fn remembered(&self, sight: &Sight, asked: &Identifier<'_>) -> Option<Arc<Answer>> {
        let key = asked.key();
        let answer = self.answers.get(&KeyRef { tenant: whose(sight, asked), text: &key }).await?;
        self.hits.fetch_add(1, Ordering::Relaxed);
        Some(answer)
    }

    /// The answer to one identifier that is not remembered, which counts as a miss.
    pub async fn find_out(self: &Arc<Self>, db: &Db, sight: &Sight, asked: &Identifier<'_>) -> Arc<Answer> {
        let sight = if asked.is_system() { Sight::All } else { sight.clone() };
        self.learn(&self.question(db, sight, std::slice::from_ref(asked)), asked).await
    }

    fn question(&self, db: &Db, sight: Sight, asked: &[Identifier<'_>]) -> Arc<Question> {
        let ids = asked.iter().filter_map(|a| a.uuid).collect();
        let slugs = asked.iter().filter(|a| a.uuid.is_none()).map(|a| a.text.to_owned()).collect();
        let before = self.forgotten.load(Ordering::SeqCst);
        Arc::new(Question { db: db.clone(), sight, ids, slugs, before, found: OnceCell::new() })
    }

    /// The answers to several identifiers in their order, and whether each was remembered.
    pub async fn resolve_all(
        self: &Arc<Self>,
        db: &Db,
        sight: &Sight,
        asked: &[Identifier<'_>],
    ) -> Vec<(Arc<Answer>, bool)> {
        let question = self.question(db, sight.clone(), asked);
        let mut answers = Vec::with_capacity(asked.len());
        for one in asked {
            answers.push(match self.remembered(sight, one).await {
                Some(answer) => (answer, true),
                None if one.is_system() => (self.find_out(db, sight, one).await, false),
                None => (self.learn(&question, one).await, false),
            });
        }
        answers
    }

    /// Asks, and remembers what came out unless it failed. Whoever asks the same meanwhile waits for this answer.
    async fn learn(self: &Arc<Self>, question: &Arc<Question>, asked: &Identifier<'_>) -> Arc<Answer> {
        self.misses.fetch_add(1, Ordering::Relaxed);
        let (this, question, text) = (Arc::clone(self), Arc::clone(question), asked.text.to_owned());
        let uuid = asked.uuid;
        // On a task of its own: a client that hangs up takes neither the others' answer nor the check below with it.
        let flight = rt::spawn(async move {
            let asked = Identifier { text: &text, uuid };
            let key = Key::of(&question.sight, &asked);
            let answer = this.answers.try_get_with(key.clone(), this.ask(&question, &asked)).await;
            // Something was forgotten meanwhile; perhaps this, which may have been read before it changed.
            if this.forgotten.load(Ordering::SeqCst) != question.before {
                this.answers.invalidate(&key).await;
            }
            answer.unwrap_or_else(|_| Arc::new(Answer::failed(&asked)))
        });
        // The task ends early only with the process.
        flight.await.unwrap_or_else(|_| Arc::new(Answer::failed(asked)))
    }

    async fn ask(&self, question: &Question, asked: &Identifier<'_>) -> Result<Arc<Answer>, ()> {
        if let (true, Some(id)) = (asked.is_system(), self.system) {
            return Ok(Arc::new(Answer::env(id)));
        }
        Ok(Arc::new(Answer::from_database(asked, question.find(asked).await?)))
    }

    /// Forgets what is known about a tenant under its id and these slugs, also that there was none. Only for those who may
    /// know it: for all others nothing has changed.
    pub async fn forget(&self, tenant: Uuid, slugs: &[&str]) {
        self.forgotten.fetch_add(1, Ordering::SeqCst);
        let id = tenant.to_string();
        for text in slugs.iter().copied().chain([id.as_str()]) {
            for tenant in [None, Some(TenantId(tenant))] {
                self.answers.invalidate(&KeyRef { tenant, text }).await;
            }
        }
    }

    /// Forgets every answer; the counters go on.
    pub fn forget_all(&self) {
        self.forgotten.fetch_add(1, Ordering::SeqCst);
        self.answers.invalidate_all();
    }

    /// Forgets every answer and counts from zero.
    pub fn reset(&self) {
        self.forget_all();
        self.hits.store(0, Ordering::Relaxed);
        self.misses.store(0, Ordering::Relaxed);
    }

    /// The counts.
    pub async fn stats(&self) -> Stats {
        // What has expired is counted until somebody looks.
        self.answers.run_pending_tasks().await;
        let (hits, misses) = (self.hits.load(Ordering::Relaxed), self.misses.load(Ordering::Relaxed));
        let all = hits.saturating_add(misses);
        let ratio = if all == 0 { 0.0 } else { hits as f64 / all as f64 };
        Stats {
            ttl_ms: u64::try_from(self.ttl.as_millis()).unwrap_or(u64::MAX),
            size: self.answers.entry_count(),
            hits,
            misses,
            hit_ratio: (ratio * 1e4).round() / 1e4,
        }
    }
}
