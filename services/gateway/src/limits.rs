//! How often somebody may call. Counted in Redis, exact across replicas.
//!
//! Without Redis the general limit lets everything pass and says so in a metric: an outage of a counter should not be an
//! outage of the platform. Logins are refused: guessing passwords without a limit is worse than waiting.

use crate::{auth::Caller, client, config::LimitConfig};
use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use aisha_cache::{Cache, Decision, Key, RateLimit};
use aisha_http::ApiError;
use std::net::IpAddr;

const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
/// Logins per address for each allowed per address and e-mail: an office has one address.
const ADDRESS_FACTOR: u32 = 20;

/// The limits on one worker.
#[derive(Debug)]
pub struct Limits {
    redis: RateLimit,
    config: LimitConfig,
}

/// What is left in this window, for the response.
#[derive(Debug, Clone, Copy)]
pub struct Quota {
    limit: u32,
    remaining: u32,
}

impl Quota {
    /// Adds `X-RateLimit-Limit` and `X-RateLimit-Remaining`.
    pub fn set_headers(self, headers: &mut HeaderMap) {
        headers.insert(LIMIT, HeaderValue::from(self.limit));
        headers.insert(REMAINING, HeaderValue::from(self.remaining));
    }
}

/// A login that was counted.
#[derive(Debug)]
pub struct LoginAttempt(Option<Key>);

impl Limits {
    /// Over this connection.
    #[must_use]
    pub fn new(cache: Cache, config: LimitConfig) -> Self {
        Self { redis: RateLimit::new(cache), config }
    }

    /// Counts a request of somebody who is signed in: per user, whatever the session, or per API key.
    ///
    /// # Errors
    /// 429.
    pub async fn check_caller(&self, caller: &Caller) -> Result<Option<Quota>, ApiError> {
        let me = caller.identity();
        let (kind, id) = if me.grants.is_some() { ("key", me.sid) } else { ("user", me.user_id.0) };
        self.check(&Key::platform("rate").part(kind).part(id)).await
    }

    /// Counts a request of somebody unknown.
    ///
    /// # Errors
    /// 429.
    pub async fn check_address(&self, address: IpAddr) -> Result<Option<Quota>, ApiError> {
        self.check(&Key::platform("rate").part("ip").part(client::counted(address))).await
    }

    async fn check(&self, key: &Key) -> Result<Option<Quota>, ApiError> {
        let limit = self.config.general;
        if limit == 0 {
            return Ok(None);
        }
        match self.redis.check(key, limit, self.config.window).await {
            Ok(Decision { allowed: true, remaining, .. }) => Ok(Some(Quota { limit, remaining })),
            Ok(refused) => Err(ApiError::rate_limited(refused.retry_after)),
            Err(e) => {
                metrics::counter!("rate_limit_skipped_total").increment(1);
                tracing::debug!(error = %e, "request not counted");
                Ok(None)
            }
        }
    }

    /// Counts an attempt at a credential against the address with the subject (an e-mail address, a user, a link), and
    /// against the address. Kinds, such as `login`, do not use up each other.
    ///
    /// # Errors
    /// 429; 503 without Redis.
    pub async fn check_credential(
        &self,
        kind: &'static str,
        address: IpAddr,
        subject: &str,
    ) -> Result<LoginAttempt, ApiError> {
        let max = self.config.login;
        if max == 0 {
            return Ok(LoginAttempt(None));
        }
        let address = client::counted(address);
        let subject: String = subject.trim().to_lowercase().chars().take(320).collect();
        let pair = Key::platform(kind).part(address).part(subject);
        let all = Key::platform(kind).part(address).part("").part("all");
        let limits = [(&pair, max), (&all, max.saturating_mul(ADDRESS_FACTOR))];
        let decision = self.redis.check_many(&limits, self.config.window).await.map_err(aisha_kernel::Error::from)?;
        if decision.allowed { Ok(LoginAttempt(Some(pair))) } else { Err(ApiError::rate_limited(decision.retry_after)) }
    }

    /// Forgets the attempts of an address with an e-mail: one of them was right.
    pub async fn login_succeeded(&self, attempt: &LoginAttempt) {
        if let Some(key) = &attempt.0
            && let Err(e) = self.redis.clear(key).await
        {
            tracing::debug!(error = %e, "login attempts not cleared");
        }
    }
}
