//! Log records for whoever stores them: WARN and above, handed over through a queue of limited length.
//!
//! Belongs here: which records, and how they wait. Does not belong here: storing them (`aisha-operations`).
//!
//! Logging never waits for the store: what does not fit is dropped and counted. A thread that stores records is muted
//! ([`mute_this_thread`]), so that its own failures do not feed on themselves; they still reach stdout.

use aisha_kernel::{TenantId, UserId, clock, new_id};
use serde_json::{Map, Value};
use std::{
    cell::Cell,
    fmt::{self, Write as _},
    sync::{
        Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};
use time::OffsetDateTime;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::layer::{Context as LayerContext, Layer};
use uuid::Uuid;

/// Records that may wait.
const QUEUE: usize = 4_096;
/// Longest message, in bytes.
const MAX_MESSAGE: usize = 2_048;
/// Longest value of one field, in bytes.
const MAX_VALUE: usize = 1_024;
/// Most that all fields of a record hold together, in bytes.
const MAX_FIELDS: usize = 4_096;
/// A library whose complaints are ours already, see `filter`.
const SILENT: &str = "lapin";

/// One record.
#[derive(Debug, Clone)]
pub struct LogRecord {
    /// Its id, made with it.
    pub id: Uuid,
    /// When it was logged.
    pub at: OffsetDateTime,
    /// `warn` or `error`.
    pub level: &'static str,
    /// The module that speaks.
    pub source: String,
    /// The sentence.
    pub message: String,
    /// What else it says.
    pub fields: Map<String, Value>,
    /// The request it belongs to.
    pub request_id: Option<String>,
    /// The trace it belongs to.
    pub trace_id: Option<String>,
    /// The tenant it concerns.
    pub tenant_id: Option<TenantId>,
    /// The user whose request it was.
    pub user_id: Option<UserId>,
}

/// What a record takes from the request that is being served.
#[derive(Debug, Clone, Default)]
pub struct RequestContext {
    /// The request.
    pub request_id: String,
    /// The trace.
    pub trace_id: Option<String>,
    /// The tenant, once known.
    pub tenant_id: Option<TenantId>,
    /// The user, once known.
    pub user_id: Option<UserId>,
}

type ReadContext = fn() -> Option<RequestContext>;

struct Queue {
    sender: Sender<LogRecord>,
    receiver: Mutex<Option<Receiver<LogRecord>>>,
    dropped: AtomicU64,
}

static QUEUED: OnceLock<Queue> = OnceLock::new();
static CONTEXT: OnceLock<ReadContext> = OnceLock::new();

thread_local! {
    static MUTED: Cell<bool> = const { Cell::new(false) };
}

/// Says how to find the request that the current task serves. The first caller wins.
pub fn set_context(read: ReadContext) {
    CONTEXT.get_or_init(|| read);
}

/// What this thread logs is not collected from now on.
pub fn mute_this_thread() {
    MUTED.set(true);
}

/// How many records have been dropped since the process started because the queue was full.
#[must_use]
pub fn dropped() -> u64 {
    QUEUED.get().map_or(0, |queue| queue.dropped.load(Ordering::Relaxed))
}

/// The reading end of the queue. One at a time; dropping it leaves it to the next.
#[derive(Debug)]
pub struct Collected(Option<Receiver<LogRecord>>);

impl Collected {
    /// Takes the reading end; `None` while somebody else has it, or before logging is set up.
    #[must_use]
    pub fn take() -> Option<Self> {
        let queue = QUEUED.get()?;
        let receiver = queue.receiver.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        Some(Self(Some(receiver)))
    }

    /// Waits for records and adds at most `most` of them to `batch`.
    pub async fn receive(&mut self, batch: &mut Vec<LogRecord>, most: usize) {
        match &mut self.0 {
            Some(receiver) => drop(receiver.recv_many(batch, most).await),
            None => std::future::pending().await,
        }
    }

    /// Adds what is there already, at most until `batch` has `most` records.
    pub fn receive_now(&mut self, batch: &mut Vec<LogRecord>, most: usize) {
        while batch.len() < most
            && let Some(record) = self.0.as_mut().and_then(|receiver| receiver.try_recv().ok())
        {
            batch.push(record);
        }
    }
}

impl Drop for Collected {
    fn drop(&mut self) {
        if let Some(queue) = QUEUED.get() {
            *queue.receiver.lock().unwrap_or_else(PoisonError::into_inner) = self.0.take();
        }
    }
}

/// The layer that fills the queue.
pub(crate) struct Collector;

impl Collector {
    pub(crate) fn new() -> Self {
        QUEUED.get_or_init(|| {
            let (sender, receiver) = channel(QUEUE);
            Queue { sender, receiver: Mutex::new(Some(receiver)), dropped: AtomicU64::new(0) }
        });
        Self
    }
}

impl<S: Subscriber> Layer<S> for Collector {
    fn on_event(&self, event: &Event<'_>, _: LayerContext<'_, S>) {
        if *event.metadata().level() > Level::WARN || MUTED.get() {
            return;
        }
        let Some(queue) = QUEUED.get() else { return };
        let Ok(place) = queue.sender.try_reserve() else {
            queue.dropped.fetch_add(1, Ordering::Relaxed);
            metrics::counter!("system_log_records_total", "outcome" => "dropped").increment(1);
            return;
        };
        if let Some(record) = record_of(event) {
            place.send(record);
        }
    }
}

fn record_of(event: &Event<'_>) -> Option<LogRecord> {
    let mut seen = Seen::default();
    event.record(&mut seen);
    // Records of the `log` crate carry their target as a field.
    let source = seen.take("log.target").unwrap_or_else(|| event.metadata().target().to_owned());
    if source.starts_with(SILENT) {
        return None;
    }
    let request = CONTEXT.get().and_then(|read| read()).unwrap_or_default();
    let request_id = seen.take("request_id").unwrap_or(request.request_id);
    let trace_id = seen.take("trace_id").or(request.trace_id);
    let tenant_id = seen.take("tenant_id").and_then(|t| TenantId::parse(&t).ok()).or(request.tenant_id);
    let user_id = seen.take("user_id").and_then(|t| Uuid::parse_str(&t).ok()).map(UserId).or(request.user_id);
    seen.fields.retain(|name, _| !name.starts_with("log."));
    if seen.truncated {
        seen.fields.insert("truncated".into(), true.into());
    }
    Some(LogRecord {
        id: new_id(),
        at: clock::now(),
        level: if *event.metadata().level() == Level::ERROR { "error" } else { "warn" },
        source: shortened(source, 200),
        message: seen.message,
        fields: seen.fields,
        request_id: Some(request_id).filter(|id| !id.is_empty()).map(|id| shortened(id, 64)),
        trace_id: trace_id.filter(|id| !id.is_empty()).map(|id| shortened(id, 64)),
        tenant_id,
        user_id,
    })
}

/// At most `most` bytes, without the character NUL, which a database refuses.
fn shortened(mut text: String, most: usize) -> String {
    if text.contains('\0') {
        text = text.replace('\0', "\u{fffd}");
    }
    if text.len() > most {
        let mark = '…';
        let mut end = most.saturating_sub(mark.len_utf8());
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push(mark);
    }
    text
}

/// Takes only what fits: a value is never built whole first, however long what it is made from.
struct Bounded {
    text: String,
    most: usize,
}

impl fmt::Write for Bounded {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        // One character more than fits, so that `shortened` sees that something is missing.
        let mut end = s.len().min((self.most + 4).saturating_sub(self.text.len()));
        while !s.is_char_boundary(end) {
            end -= 1;
        }
        self.text.push_str(s.get(..end).unwrap_or_default());
        if end < s.len() { Err(fmt::Error) } else { Ok(()) }
    }
}

fn bounded(value: fmt::Arguments<'_>, most: usize) -> String {
    let mut out = Bounded { text: String::new(), most };
    // An error says that it is full.
    let _ = out.write_fmt(value);
    shortened(out.text, most)
}

#[derive(Default)]
struct Seen {
    message: String,
    fields: Map<String, Value>,
    size: usize,
    truncated: bool,
}

impl Seen {
    fn take(&mut self, name: &str) -> Option<String> {
        match self.fields.remove(name)? {
            Value::String(text) => Some(text),
            other => Some(other.to_string()),
        }
    }

    fn add(&mut self, field: &Field, value: Value) {
        let size = field.name().len() + value.as_str().map_or(8, str::len);
        if self.size + size > MAX_FIELDS {
            self.truncated = true;
            return;
        }
        self.size += size;
        self.fields.insert(field.name().to_owned(), value);
    }

    fn add_text(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        if field.name() == "message" {
            self.message = bounded(value, MAX_MESSAGE);
        } else {
            self.add(field, bounded(value, MAX_VALUE).into());
        }
    }
}

impl Visit for Seen {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add_text(field, format_args!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add_text(field, format_args!("{value}"));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, value.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing_subscriber::layer::SubscriberExt as _;

    /// Everything in one test: the queue is the process's.
    #[test]
    fn what_is_collected_and_what_is_not() {
        let subscriber = tracing_subscriber::registry().with(Collector::new());
        set_context(|| {
            Some(RequestContext {
                request_id: "of-the-request".into(),
                user_id: Some(UserId(Uuid::from_u128(7))),
                ..RequestContext::default()
            })
        });
        let mut collected = Collected::take().unwrap();
        assert!(Collected::take().is_none(), "one reader at a time");
        let tenant = Uuid::from_u128(9);
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!("not worth it");
            tracing::warn!(tenant_id = %tenant, attempts = 3, late = true, "a warning");
            tracing::error!(request_id = "own", cause = "x".repeat(5_000), nul = "a\0b", "{}", "ä".repeat(3_000));
            tracing::warn!(target: "lapin::io", "said already");
        });
        let mut batch = Vec::new();
        collected.receive_now(&mut batch, 10);
        let [warning, error] = batch.as_slice() else { panic!("{batch:?}") };
        assert_eq!((warning.level, warning.message.as_str()), ("warn", "a warning"));
        assert_eq!(warning.source, "aisha_telemetry::records::tests");
        assert_eq!(warning.request_id.as_deref(), Some("of-the-request"));
        assert_eq!((warning.tenant_id, warning.user_id), (Some(TenantId(tenant)), Some(UserId(Uuid::from_u128(7)))));
        assert_eq!(Value::from(warning.fields.clone()), serde_json::json!({"attempts": 3, "late": true}));
        assert_eq!((error.level, error.request_id.as_deref()), ("error", Some("own")));
        assert!(error.message.len() <= MAX_MESSAGE && error.message.ends_with('…'), "{}", error.message.len());
        let cause = error.fields["cause"].as_str().unwrap();
        assert!(cause.len() <= MAX_VALUE && cause.ends_with('…'));
        assert_eq!(error.fields["nul"], "a\u{fffd}b");

        // A flood: what fits waits, the rest is counted.
        let subscriber = tracing_subscriber::registry().with(Collector::new());
        tracing::subscriber::with_default(subscriber, || {
            for n in 0..100_000 {
                tracing::warn!(n, "flood");
            }
        });
        assert_eq!(dropped(), 100_000 - QUEUE as u64);
        batch.clear();
        collected.receive_now(&mut batch, usize::MAX);
        assert_eq!(batch.len(), QUEUE);

        drop(collected);
        let again = Collected::take();
        assert!(again.is_some(), "the next reader finds the same queue");
        std::thread::spawn(|| {
            mute_this_thread();
            let subscriber = tracing_subscriber::registry().with(Collector::new());
            tracing::subscriber::with_default(subscriber, || tracing::error!("of the one who stores"));
        })
        .join()
        .unwrap();
        batch.clear();
        again.unwrap().receive_now(&mut batch, 10);
        assert!(batch.is_empty(), "{batch:?}");
    }
}
