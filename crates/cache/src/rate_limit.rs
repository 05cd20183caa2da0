//! Counting what may be done only so often, exactly, across all replicas.

use crate::{Cache, CacheError, Key};
use redis::Script;
use std::{sync::LazyLock, time::Duration};

/// Counts a request against every key, or against none if one of them is used up. The window of a key starts with its
/// first request and ends by expiry, so there is nothing to clean up and no clock to agree on.
/// KEYS: counters; ARGV: window in ms, then one maximum per key. Returns count and remaining ms per key, preceded by
/// whether the request is allowed.
static COUNT: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
local allowed = 1
for i, key in ipairs(KEYS) do
  if tonumber(redis.call('GET', key) or '0') >= tonumber(ARGV[i + 1]) then allowed = 0 end
end
local out = {allowed}
for i, key in ipairs(KEYS) do
  local count
  if allowed == 1 then count = redis.call('INCR', key) else count = tonumber(redis.call('GET', key) or '0') end
  local ttl = redis.call('PTTL', key)
  if count > 0 and ttl < 0 then
    redis.call('PEXPIRE', key, ARGV[1])
    ttl = tonumber(ARGV[1])
  end
  out[#out + 1] = count
  out[#out + 1] = ttl
end
return out
",
    )
});

/// Whether a request may go ahead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// Whether it may.
    pub allowed: bool,
    /// How many more would be allowed in this window.
    pub remaining: u32,
    /// Until the window ends: how long to wait when not allowed, when `remaining` starts anew otherwise.
    pub retry_after: Duration,
}

/// A limiter. One round trip per check, fixed windows that start with the first request.
#[derive(Debug, Clone)]
pub struct RateLimit(Cache);

impl RateLimit {
    /// A limiter over this connection.
    #[must_use]
    pub fn new(cache: Cache) -> Self {
        Self(cache)
    }

    /// Counts a request against `key` unless `max` have been counted in the running window.
    pub async fn check(&self, key: &Key, max: u32, window: Duration) -> Result<Decision, CacheError> {
        self.check_many(&[(key, max)], window).await
    }

    /// Counts a request against all keys, or against none if one of them is used up: who is refused because of one key
    /// does not use up the others. `remaining` is the least of all; `retry_after` the longest wait that matters.
    pub async fn check_many(&self, keys: &[(&Key, u32)], window: Duration) -> Result<Decision, CacheError> {
        let mut call = COUNT.prepare_invoke();
        call.arg(u64::try_from(window.as_millis()).unwrap_or(u64::MAX).max(1));
        for (key, max) in keys {
            call.key(key.as_str()).arg(*max);
        }
        let answer: Vec<i64> = self.0.script(&call).await?;
        let (allowed, counters) = answer.split_first().map_or((false, &[][..]), |(a, rest)| (*a == 1, rest));
        let mut decision = Decision { allowed, remaining: u32::MAX, retry_after: Duration::ZERO };
        for ((_, max), pair) in keys.iter().zip(counters.chunks_exact(2)) {
            let &[count, ttl] = pair else { continue };
            let remaining = u32::try_from(i64::from(*max) - count).unwrap_or(0);
            let wait = Duration::from_millis(u64::try_from(ttl).unwrap_or(0));
            decision.remaining = decision.remaining.min(remaining);
            if allowed || remaining == 0 {
                decision.retry_after = decision.retry_after.max(wait);
            }
        }
        Ok(decision)
    }

    /// Forgets what was counted against `key`.
    pub async fn clear(&self, key: &Key) -> Result<(), CacheError> {
        self.0.run::<i64>(redis::cmd("DEL").arg(key.as_str())).await.map(drop)
    }
}
