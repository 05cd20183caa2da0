//! The limiter and the connection against a real Redis, which the test starts and stops itself.

#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use aisha_cache::{Cache, CacheError, Key, RateLimit};
use aisha_kernel::new_id;
use futures_util::future::join_all;
use std::{
    net::TcpListener,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};
use tokio::time::sleep;

const MINUTE: Duration = Duration::from_secs(60);
/// What the services wait for an answer unless told otherwise.
const USUAL: Duration = Duration::from_millis(250);
/// For tests that need every answer, however busy the machine is.
const PATIENT: Duration = Duration::from_secs(5);

struct Redis {
    port: u16,
    process: Child,
}

impl Redis {
    async fn start() -> Self {
        // Another process may have taken the port since it was free.
        for _ in 0..5 {
            if let Some(redis) = Self::try_start_on(free_port()).await {
                return redis;
            }
        }
        panic!("redis-server does not start");
    }

    async fn start_on(port: u16) -> Self {
        Self::try_start_on(port).await.expect("the port is free")
    }

    /// Nothing where the server ends by itself.
    async fn try_start_on(port: u16) -> Option<Self> {
        let process = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is installed");
        let mut redis = Self { port, process };
        for _ in 0..200 {
            if redis.process.try_wait().expect("asked").is_some() {
                return None;
            }
            if tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
                return Some(redis);
            }
            sleep(Duration::from_millis(25)).await;
        }
        panic!("redis-server does not answer");
    }

    fn cache(&self) -> Cache {
        Cache::connect_lazy(&format!("redis://127.0.0.1:{}", self.port), PATIENT).expect("url")
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.process.kill().expect("killed");
        self.process.wait().expect("ended");
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").expect("port").local_addr().expect("address").port()
}

fn key() -> Key {
    Key::platform("test").part(new_id())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_limit_is_exact_across_connections() {
    let redis = Redis::start().await;
    let limits: Vec<_> = (0..5).map(|_| RateLimit::new(redis.cache())).collect();
    let key = key();
    let decisions = join_all((0..50).zip(limits.iter().cycle()).map(|(_, limit)| limit.check(&key, 20, MINUTE))).await;
    let decisions: Vec<_> = decisions.into_iter().map(|d| d.expect("decision")).collect();
    assert_eq!(decisions.iter().filter(|d| d.allowed).count(), 20);
    let mut remaining: Vec<_> = decisions.iter().filter(|d| d.allowed).map(|d| d.remaining).collect();
    remaining.sort_unstable();
    assert_eq!(remaining, (0..20).collect::<Vec<_>>());
    for refused in decisions.iter().filter(|d| !d.allowed) {
        assert_eq!(refused.remaining, 0);
        assert!(refused.retry_after > Duration::from_secs(55) && refused.retry_after <= MINUTE, "{refused:?}");
    }
}

#[tokio::test]
async fn a_window_starts_with_its_first_request_and_ends() {
    let redis = Redis::start().await;
    let (limit, key, window) = (RateLimit::new(redis.cache()), key(), Duration::from_secs(2));
    assert!(limit.check(&key, 1, window).await.expect("decision").allowed);
    sleep(Duration::from_millis(200)).await;
    let refused = limit.check(&key, 1, window).await.expect("decision");
    assert!(!refused.allowed && refused.retry_after <= Duration::from_millis(1800), "{refused:?}");
    sleep(refused.retry_after + Duration::from_millis(20)).await;
    assert!(limit.check(&key, 1, window).await.expect("decision").allowed);
}

#[tokio::test]
async fn a_refused_pair_does_not_use_up_the_address() {
    let redis = Redis::start().await;
    let limit = RateLimit::new(redis.cache());
    let (pair, other, address) = (key(), key(), key());
    for n in 0..8 {
        let decision = limit.check_many(&[(&pair, 5), (&address, 7)], MINUTE).await.expect("decision");
        assert_eq!(decision.allowed, n < 5, "{n}");
        assert_eq!(decision.remaining, 4_u32.saturating_sub(n));
    }
    // Five were counted against the address: two are left, whoever they are for.
    for n in 0..4 {
        let decision = limit.check_many(&[(&other, 5), (&address, 7)], MINUTE).await.expect("decision");
        assert_eq!(decision.allowed, n < 2, "{n}");
        assert!(n < 2 || decision.retry_after > Duration::ZERO);
    }
    limit.clear(&pair).await.expect("cleared");
    limit.clear(&address).await.expect("cleared");
    let decision = limit.check_many(&[(&pair, 5), (&address, 7)], MINUTE).await.expect("decision");
    assert_eq!((decision.allowed, decision.remaining), (true, 4));
}

#[tokio::test]
async fn the_script_is_loaded_again_when_redis_forgot_it() {
    let redis = Redis::start().await;
    let (cache, key) = (redis.cache(), key());
    let limit = RateLimit::new(cache.clone());
    limit.check(&key, 9, MINUTE).await.expect("decision");
    cache.run::<String>(aisha_cache::redis::cmd("SCRIPT").arg("FLUSH")).await.expect("flushed");
    assert_eq!(limit.check(&key, 9, MINUTE).await.expect("decision").remaining, 7);
}

#[tokio::test]
async fn an_outage_fails_fast_and_ends_by_itself() {
    let redis = Redis::start().await;
    let port = redis.port;
    let (cache, key) = (redis.cache(), key());
    let limit = RateLimit::new(cache.clone());
    cache.ping().await.expect("there");
    drop(redis);
    for _ in 0..5 {
        let started = Instant::now();
        let error = limit.check(&key, 9, MINUTE).await.expect_err("away");
        assert!(matches!(error, CacheError::Unreachable(_)), "{error:?}");
        // Long before the time for an answer is over: a refused connection is noticed as such.
        assert!(started.elapsed() < Duration::from_millis(900), "{:?}", started.elapsed());
        sleep(Duration::from_millis(20)).await;
    }
    let error: aisha_kernel::Error = cache.ping().await.expect_err("away").into();
    assert_eq!(error.code, aisha_kernel::ErrorCode::Unavailable);
    let _redis = Redis::start_on(port).await;
    // The very first call succeeds: the failed attempt before it is not held against it.
    assert!(limit.check(&key, 9, MINUTE).await.expect("back").allowed);
    cache.ping().await.expect("back");
}

#[tokio::test]
async fn a_restart_between_two_calls_is_not_noticed() {
    let redis = Redis::start().await;
    let (port, cache) = (redis.port, redis.cache());
    cache.ping().await.expect("there");
    drop(redis);
    let _redis = Redis::start_on(port).await;
    cache.ping().await.expect("still there");
}

#[tokio::test]
async fn a_silent_redis_costs_one_wait_not_one_each() {
    // Accepts connections and never answers.
    let listener = TcpListener::bind("127.0.0.1:0").expect("port");
    let port = listener.local_addr().expect("address").port();
    let cache = Cache::connect_lazy(&format!("redis://127.0.0.1:{port}"), USUAL).expect("url");
    let started = Instant::now();
    assert!(matches!(cache.ping().await.expect_err("silent"), CacheError::TimedOut | CacheError::Unreachable(_)));
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
    let started = Instant::now();
    assert!(cache.ping().await.is_err());
    assert!(started.elapsed() < Duration::from_millis(200), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_wrong_url_is_refused_without_showing_it() {
    let error = Cache::connect_lazy("nonsense://user:pw@host", USUAL).expect_err("refused");
    assert!(!error.to_string().contains("pw"));
}
