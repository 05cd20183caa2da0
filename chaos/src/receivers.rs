//! The receivers of webhooks: two in each tenant that behave, and one for each way not to.
//!
//! Every request is checked when it arrives, whatever is answered to it: both signatures, the time, the tenant, that its id
//! has always had the same body.

use aisha_testkit::receiver::{Arrived, Receiver, Reply};
use aws_lc_rs::hmac;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;
use std::{
    collections::{HashMap, HashSet},
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use uuid::Uuid;

/// Where the receiver that redirects sends its callers; nobody may follow.
const ELSEWHERE: &str = "/elsewhere";
/// How old a request may say that it is, and how far ahead: what Standard Webhooks' libraries allow.
const TOLERANCE: u64 = 300;
/// Problems that are kept of one receiver; they tend to be the same.
const MOST_PROBLEMS: usize = 20;

/// How a receiver answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// 200, at once.
    Good,
    /// 200, after up to a second.
    Slow,
    /// 200, and 20 MB.
    Huge,
    /// 200, and a body without an end.
    Endless,
    /// Never.
    Silent,
    /// By RST.
    Reset,
    /// With what is not HTTP.
    Garbage,
    /// To somewhere else.
    Redirect,
    /// 429 with Retry-After.
    TooMany,
    /// 500.
    Error,
    /// 410: the subscription is switched off.
    Gone,
    /// 200 half of the time, otherwise one of the others.
    Moody,
}

impl Manner {
    /// Whether everything arrives without anybody doing something about the receiver.
    pub fn delivers(self) -> bool {
        matches!(self, Self::Good | Self::Slow | Self::Huge | Self::Endless)
    }

    fn reply(self, n: u64, port: u16) -> Reply {
        let header = |name, value: &str| vec![(name, value.to_owned())];
        match self {
            Self::Good => Reply::Status(200),
            Self::Slow => Reply::Late(Duration::from_millis(100 + n % 5 * 200), Box::new(Reply::Status(200))),
            Self::Huge => Reply::Huge(20_000_000),
            Self::Endless => Reply::Endless,
            Self::Silent => Reply::Silence,
            Self::Reset => Reply::Reset,
            Self::Garbage => Reply::Garbage,
            Self::Redirect => {
                let to = format!("http://127.0.0.1:{port}{ELSEWHERE}");
                Reply::Full(if n.is_multiple_of(2) { 302 } else { 307 }, header("location", &to), Vec::new())
            }
            Self::TooMany => Reply::Full(429, header("retry-after", "7"), b"slower".to_vec()),
            Self::Error => Reply::Status(500),
            Self::Gone => Reply::Status(410),
            Self::Moody => match n % 10 {
                0..5 => Reply::Status(200),
                5 => Reply::Status(503),
                6 => Reply::Reset,
                7 => Reply::Late(Duration::from_secs(2), Box::new(Reply::Status(500))),
                8 => Reply::Garbage,
                _ => Reply::Full(429, header("retry-after", "1"), Vec::new()),
            },
        }
    }
}

/// Whether this answer makes a delivery.
fn accepts(reply: &Reply) -> bool {
    match reply {
        Reply::Status(status) | Reply::Full(status, ..) => (200..300).contains(status),
        Reply::Late(_, reply) => accepts(reply),
        Reply::Huge(_) | Reply::Endless => true,
        Reply::Silence | Reply::Reset | Reply::Garbage => false,
    }
}

/// What is asked for in the tenant with this number (the first, the second, …): address, patterns, manner.
pub fn wanted(tenant: usize) -> Vec<(&'static [&'static str], Manner)> {
    const ALL: &[&str] = &["*"];
    // Fewer events where most of them are tried again and again.
    const SOME: &[&str] = &["account.created", "lead.deleted"];
    let mut all: Vec<(&[&str], Manner)> = vec![(ALL, Manner::Good), (&["contact.*"], Manner::Good)];
    all.extend(match tenant {
        0 => [(ALL, Manner::Moody), (SOME, Manner::Error), (SOME, Manner::Reset), (SOME, Manner::Silent)],
        1 => [(ALL, Manner::Huge), (SOME, Manner::Redirect), (SOME, Manner::Gone), (SOME, Manner::Garbage)],
        _ => [(ALL, Manner::Slow), (SOME, Manner::TooMany), (SOME, Manner::Endless), (SOME, Manner::Moody)],
    });
    all
}

/// What a receiver knows of an event.
#[derive(Debug, Clone)]
pub struct Seen {
    pub event: String,
    pub seq: i64,
    /// Of the body.
    pub hash: u64,
    pub requests: u64,
}

/// What has arrived at one subscription.
#[derive(Default)]
pub struct Ledger {
    pub seen: HashMap<Uuid, Seen>,
    pub requests: u64,
    /// When something arrived that had not arrived before.
    pub fresh: Vec<Instant>,
    pub problems: Vec<String>,
}

/// A subscription with its receiver.
pub struct Subscription {
    pub tenant: Uuid,
    pub id: Uuid,
    pub patterns: &'static [&'static str],
    pub manner: Manner,
    /// The events that had happened when it was made; they may come or not.
    pub before: HashSet<Uuid>,
    pub ledger: Ledger,
    secret: String,
    receiver: Receiver,
    behaves: Arc<AtomicBool>,
    accepted: Arc<Mutex<HashSet<Uuid>>>,
}

/// A receiver that is not subscribed yet.
pub struct Waiting {
    receiver: Receiver,
    manner: Manner,
    patterns: &'static [&'static str],
    behaves: Arc<AtomicBool>,
    accepted: Arc<Mutex<HashSet<Uuid>>>,
}

impl Waiting {
    /// Starts the receiver.
    pub fn start(patterns: &'static [&'static str], manner: Manner) -> Self {
        let receiver = Receiver::start();
        let (behaves, accepted) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(HashSet::new())));
        let (good, list, count, port) =
            (Arc::clone(&behaves), Arc::clone(&accepted), AtomicU64::new(0), receiver.port());
        receiver.answer(move |request| {
            let n = count.fetch_add(1, Ordering::Relaxed);
            let reply = if good.load(Ordering::Relaxed) { Reply::Status(200) } else { manner.reply(n, port) };
            if let (true, Ok(id)) = (accepts(&reply), request.header("webhook-id").parse()) {
                list.lock().unwrap_or_else(PoisonError::into_inner).insert(id);
            }
            reply
        });
        Self { receiver, manner, patterns, behaves, accepted }
    }

    /// Where it is.
    pub fn url(&self) -> String {
        self.receiver.url("/hook")
    }

    /// What it asks for.
    pub fn patterns(&self) -> &'static [&'static str] {
        self.patterns
    }

    /// With what the platform has answered.
    pub fn subscribed(self, tenant: Uuid, id: Uuid, secret: &str, before: HashSet<Uuid>) -> Subscription {
        let Self { receiver, manner, patterns, behaves, accepted } = self;
        let (secret, ledger) = (secret.to_owned(), Ledger::default());
        Subscription { tenant, id, patterns, manner, before, ledger, secret, receiver, behaves, accepted }
    }
}

impl Subscription {
    /// Which one, for people.
    pub fn name(&self) -> String {
        format!("{:?} receiver of {} ({})", self.manner, self.patterns.join(", "), self.id)
    }

    /// Whether it asks for this event.
    pub fn asks_for(&self, event: &str) -> bool {
        self.patterns.iter().any(|pattern| match pattern.strip_suffix('*') {
            Some(prefix) => event.starts_with(prefix),
            None => event == *pattern,
        })
    }

    /// From now on it answers 200 to everything.
    pub fn behave(&self) {
        self.behaves.store(true, Ordering::Relaxed);
    }

    /// The events that it has said 2xx to.
    pub fn accepted(&self) -> HashSet<Uuid> {
        self.accepted.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes in what has arrived since the last time.
    pub fn collect(&mut self) {
        for request in self.receiver.take() {
            self.ledger.requests += 1;
            if let Err(problem) = self.note(&request)
                && self.ledger.problems.len() < MOST_PROBLEMS
            {
                self.ledger.problems.push(format!("{}: {problem}", self.name()));
            }
        }
    }

    fn note(&mut self, request: &Arrived) -> Result<(), String> {
        if request.path == ELSEWHERE {
            return Err("a redirect was followed".to_owned());
        }
        self.verify(request)?;
        let id: Uuid = request.header("webhook-id").parse().map_err(|_| "the webhook-id is no UUID".to_owned())?;
        let body: Value = serde_json::from_slice(&request.body).map_err(|e| format!("{id}: the body: {e}"))?;
        if body["id"] != id.to_string().as_str() {
            return Err(format!("{id}: the body is that of event {}", body["id"]));
        }
        if body["tenant_id"] != self.tenant.to_string().as_str() {
            return Err(format!("{id}: an event of tenant {} came to {}", body["tenant_id"], self.tenant));
        }
        let event = body["event"].as_str().unwrap_or_default().to_owned();
        if !self.asks_for(&event) {
            return Err(format!("{id}: {event} was not asked for"));
        }
        let seq = body["seq"].as_i64().ok_or_else(|| format!("{id}: no seq"))?;
        let mut hasher = DefaultHasher::new();
        request.body.hash(&mut hasher);
        let hash = hasher.finish();
        let seen = self.ledger.seen.entry(id).or_insert(Seen { event, seq, hash, requests: 0 });
        seen.requests += 1;
        if seen.requests == 1 {
            self.ledger.fresh.push(request.at);
        }
        if seen.hash != hash {
            return Err(format!("{id}: came again with another body"));
        }
        Ok(())
    }

    /// Both signatures, made here anew from what the documents say.
    fn verify(&self, request: &Arrived) -> Result<(), String> {
        let id = request.header("webhook-id");
        let hex: String = mac(self.secret.as_bytes(), &[&request.body]).iter().map(|b| format!("{b:02x}")).collect();
        if request.header("x-webhook-signature") != hex {
            return Err(format!("{id}: X-Webhook-Signature is not that of the body"));
        }
        let timestamp = request.header("webhook-timestamp");
        let seconds: u64 = timestamp.parse().map_err(|_| format!("{id}: webhook-timestamp is {timestamp}"))?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        if now.abs_diff(seconds) > TOLERANCE {
            return Err(format!("{id}: the timestamp is {seconds}, now is {now}"));
        }
        let key = self.secret.strip_prefix("whsec_").and_then(|text| STANDARD.decode(text).ok()).unwrap_or_default();
        let signed = mac(&key, &[id.as_bytes(), b".", timestamp.as_bytes(), b".", &request.body]);
        let expected = format!("v1,{}", STANDARD.encode(signed));
        if !request.header("webhook-signature").split(' ').any(|one| one == expected) {
            return Err(format!("{id}: webhook-signature is not that of id, time and body"));
        }
        Ok(())
    }
}

fn mac(key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key));
    parts.iter().for_each(|part| context.update(part));
    context.sign().as_ref().to_vec()
}
