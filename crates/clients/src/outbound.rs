//! Requests to URLs that a tenant has given: the one way out for them.
//!
//! Belongs here: which hosts may be reached, the time and memory that a receiver can cost us, what its answer or silence
//! means. Does not belong here: what is sent, to whom, and when again (domains and services).
//!
//! No redirect is followed (it would lead past the check), no proxy of the environment is used (it would do the look-up
//! for us), and of the answer's body only the beginning is read.

mod address;
mod failure;
mod guard;

pub use address::special;
pub use failure::{Failure, FailureKind};
pub use guard::{Guard, Refusal};

use bytes::Bytes;
use reqwest::{
    Client, Response,
    dns::{Name, Resolve, Resolving},
    header::{HeaderMap, RETRY_AFTER},
    redirect::Policy,
};
use std::time::{Duration, Instant, SystemTime};
use tokio::time::timeout;
use url::Url;

/// How long a receiver has to answer, from the look-up of its name to its status.
pub const TIMEOUT: Duration = Duration::from_secs(15);
/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the beginning of the answer's body is waited for after its head; the status counts either way.
const EXCERPT_TIMEOUT: Duration = Duration::from_secs(1);
/// The longest an exchange takes in all.
pub const LONGEST: Duration = Duration::from_secs(16);
/// Bytes of the answer that are kept.
const EXCERPT: usize = 2_048;
/// A connection on which a little more than that comes is read to its end, so that it can be used again.
const READ_AT_MOST: usize = 16_384;
/// Shorter than most servers keep an idle connection: one that they close while we write is a failed attempt.
const IDLE: Duration = Duration::from_secs(4);
/// Connections that are kept open for the next request to the same host.
const IDLE_PER_HOST: usize = 100;

/// What a receiver answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// How long it asks us to wait.
    pub retry_after: Option<Duration>,
    /// The beginning of the body as text, without control characters.
    pub excerpt: String,
}

/// A request that has been sent, or tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchange {
    /// From the start to the head of the answer or to the failure.
    pub duration: Duration,
    /// The answer, or why there is none.
    pub outcome: Result<Answer, Failure>,
}

/// Gives a connection the addresses that the guard has just judged.
struct Vetted(Guard);

impl Resolve for Vetted {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = self.0.clone();
        Box::pin(async move {
            let addresses = guard.resolve(name.as_str()).await?;
            Ok(Box::new(addresses.into_iter()) as reqwest::dns::Addrs)
        })
    }
}

/// The client. Connections are kept open and used again; clones share them.
#[derive(Debug, Clone)]
pub struct Outbound {
    guard: Guard,
    guarded: Client,
    /// For hosts that the operator has let through.
    exempt: Client,
    patience: Duration,
}

fn builder(user_agent: &str) -> reqwest::ClientBuilder {
    Client::builder()
        .user_agent(user_agent)
        .no_proxy()
        .redirect(Policy::none())
        .referer(false)
        .http1_only()
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_idle_timeout(IDLE)
        .pool_max_idle_per_host(IDLE_PER_HOST)
}

impl Outbound {
    /// A client that goes where `guard` lets it.
    ///
    /// # Errors
    /// When TLS cannot be set up, for instance because the machine has no trusted certificates.
    pub fn new(guard: Guard, user_agent: &str) -> Result<Self, reqwest::Error> {
        // Fails when there is one already, which will do.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let guarded = builder(user_agent).dns_resolver(Vetted(guard.clone())).build()?;
        Ok(Self { guard, guarded, exempt: builder(user_agent).build()?, patience: TIMEOUT })
    }

    /// Waits this long for an answer, and no longer than [`TIMEOUT`].
    #[must_use]
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience: patience.min(TIMEOUT), ..self }
    }

    /// What decides where requests may go.
    #[must_use]
    pub fn guard(&self) -> &Guard {
        &self.guard
    }

    /// Sends a body as it is, byte for byte, and says what came of it within [`LONGEST`].
    pub async fn post(&self, url: &Url, headers: HeaderMap, body: Bytes) -> Exchange {
        let started = Instant::now();
        let answered = match self.guard.check_form(url) {
            Err(refusal) => Err(refusal.into()),
            Ok(()) => {
                let client = if self.guard.is_exempt(url) { &self.exempt } else { &self.guarded };
                let sent = client.post(url.clone()).headers(headers).body(body).send();
                match timeout(self.patience, sent).await {
                    Err(_) => {
                        let text = format!("no answer within {} s", self.patience.as_secs_f32());
                        Err(Failure::new(FailureKind::Timeout, text))
                    }
                    Ok(sent) => sent.map_err(Failure::from),
                }
            }
        };
        let duration = started.elapsed();
        let outcome = match answered {
            Ok(response) => Ok(Answer {
                status: response.status().as_u16(),
                retry_after: response.headers().get(RETRY_AFTER).and_then(|v| retry_after(v.to_str().ok()?)),
                excerpt: excerpt(response).await,
            }),
            Err(failure) => Err(failure),
        };
        Exchange { duration, outcome }
    }
}

/// Seconds, or a date (RFC 9110, 10.2.3).
fn retry_after(text: &str) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = httpdate::parse_http_date(text).ok()?;
    Some(at.duration_since(SystemTime::now()).unwrap_or_default())
}

/// The beginning of the body. What does not end soon is left, and its connection closed.
async fn excerpt(mut response: Response) -> String {
    let mut start = Vec::new();
    let mut read = 0;
    let reading = async {
        while let Ok(Some(chunk)) = response.chunk().await {
            read += chunk.len();
            let room = EXCERPT.saturating_sub(start.len()).min(chunk.len());
            start.extend_from_slice(chunk.get(..room).unwrap_or_default());
            if read > READ_AT_MOST {
                break;
            }
        }
    };
    // What was read before the time was up counts.
    let _ = timeout(EXCERPT_TIMEOUT, reading).await;
    let whole = read <= EXCERPT;
    let text = String::from_utf8_lossy(&start);
    // A cut may go through a character.
    let text = if whole { &*text } else { text.trim_end_matches(char::REPLACEMENT_CHARACTER) };
    text.chars()
        .map(|c| if c.is_control() && c != '\n' && c != '\t' { char::REPLACEMENT_CHARACTER } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_long_to_wait() {
        assert_eq!(retry_after(" 120 "), Some(Duration::from_secs(120)));
        assert_eq!(retry_after("soon"), None);
        assert_eq!(retry_after("-1"), None);
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::ZERO));
        let later = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(100));
        let wait = retry_after(&later).unwrap();
        assert!((95..=100).contains(&wait.as_secs()), "{wait:?}");
    }
}
