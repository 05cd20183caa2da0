//! How long requests took, per route: histograms in memory until somebody takes them ([`drain`]).
//!
//! Belongs here: recording and handing over. Does not belong here: storing and reading them (`aisha-operations`).
//!
//! A [`Series`] belongs to one worker thread, so its lock is contended only at the moment it is drained. When durations are not
//! to be kept ([`keep`]), requests are still counted, for [`totals`].

use hdrhistogram::Histogram;
use std::{
    mem,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// Significant digits of a duration: what is read later is right to one percent.
const DIGITS: u8 = 2;
/// Longer than this counts as this long.
const LONGEST_US: u64 = 3_600_000_000;

static KEPT: AtomicBool = AtomicBool::new(true);

/// Whether durations are kept from now on; they are unless this says otherwise.
pub(crate) fn keep(durations: bool) {
    KEPT.store(durations, Ordering::Relaxed);
}

/// Whether durations are kept.
#[must_use]
pub fn kept() -> bool {
    KEPT.load(Ordering::Relaxed)
}

/// How many requests there were, and how many were answered with an error.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// All of them.
    pub request_count: u64,
    /// Answered with 4xx.
    pub client_error_count: u64,
    /// Answered with 5xx.
    pub server_error_count: u64,
}

impl Totals {
    fn count(&mut self, status: u16) {
        self.request_count += 1;
        self.client_error_count += u64::from((400..500).contains(&status));
        self.server_error_count += u64::from(status >= 500);
    }

    fn add(&mut self, other: Self) {
        self.request_count += other.request_count;
        self.client_error_count += other.client_error_count;
        self.server_error_count += other.server_error_count;
    }
}

/// What has been recorded since the last time.
#[derive(Debug, Default)]
struct Data {
    totals: Totals,
    total_us: u64,
    max_us: u64,
    histogram: Option<Histogram<u32>>,
}

#[derive(Debug)]
struct Shared {
    service: &'static str,
    method: &'static str,
    route: String,
    data: Mutex<Data>,
}

/// The durations of one method and route on one worker.
#[derive(Debug, Clone)]
pub struct Series(Arc<Shared>);

/// What one series has recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// Method.
    pub method: &'static str,
    /// Pattern of the route.
    pub route: String,
    /// How many requests.
    pub totals: Totals,
    /// Their durations together, in microseconds.
    pub total_us: u64,
    /// The longest.
    pub max_us: u64,
    /// Upper bounds in microseconds, ascending, each with the number of requests up to it and above the one before.
    pub buckets: Vec<(u64, u64)>,
}

struct Registry {
    series: Vec<Arc<Shared>>,
    /// Of what was drained, by service.
    drained: Vec<(&'static str, Totals)>,
}

static REGISTRY: Mutex<Registry> = Mutex::new(Registry { series: Vec::new(), drained: Vec::new() });

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Series {
    /// A new one. Routes are patterns, so their number is that of the code.
    #[must_use]
    pub fn new(service: &'static str, method: &'static str, route: &str) -> Self {
        let shared = Arc::new(Shared { service, method, route: route.to_owned(), data: Mutex::default() });
        lock(&REGISTRY).series.push(Arc::clone(&shared));
        Self(shared)
    }

    /// Records one request.
    pub fn record(&self, status: u16, elapsed: Duration) {
        let us = u64::try_from(elapsed.as_micros()).unwrap_or(LONGEST_US).clamp(1, LONGEST_US);
        let mut data = lock(&self.0.data);
        data.totals.count(status);
        if !kept() {
            return;
        }
        data.total_us += us;
        data.max_us = data.max_us.max(us);
        if data.histogram.is_none() {
            // Fails for a number of digits that no histogram has.
            data.histogram = Histogram::new(DIGITS).ok();
        }
        if let Some(histogram) = &mut data.histogram {
            // It grows, so every value fits.
            let _ = histogram.record(us);
        }
    }
}

/// Takes what a service has recorded since the last time, and forgets series whose worker is gone.
#[must_use]
pub fn drain(service: &str) -> Vec<Sample> {
    let mut registry = lock(&REGISTRY);
    let Some(service) = registry.series.iter().map(|s| s.service).find(|name| *name == service) else { return vec![] };
    let mut samples: Vec<Sample> = Vec::new();
    let mut totals = Totals::default();
    registry.series.retain(|series| {
        if series.service != service {
            return true;
        }
        let in_use = Arc::strong_count(series) > 1;
        let data = mem::take(&mut *lock(&series.data));
        totals.add(data.totals);
        if data.histogram.is_some() {
            samples.push(sample(series, &data));
        }
        in_use
    });
    match registry.drained.iter_mut().find(|(name, _)| *name == service) {
        Some((_, sum)) => sum.add(totals),
        None => registry.drained.push((service, totals)),
    }
    samples
}

fn sample(series: &Shared, data: &Data) -> Sample {
    let values = data.histogram.iter().flat_map(Histogram::iter_recorded);
    Sample {
        method: series.method,
        route: series.route.clone(),
        totals: data.totals,
        total_us: data.total_us,
        max_us: data.max_us,
        buckets: values.map(|v| (v.value_iterated_to(), v.count_since_last_iteration())).collect(),
    }
}

/// The requests of a service since the process started.
#[must_use]
pub fn totals(service: &str) -> Totals {
    let registry = lock(&REGISTRY);
    let mut sum = registry.drained.iter().find(|(name, _)| *name == service).map(|(_, t)| *t).unwrap_or_default();
    registry.series.iter().filter(|s| s.service == service).for_each(|s| sum.add(lock(&s.data).totals));
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn nothing_is_counted_twice_and_bounds_are_right_to_one_percent() {
        let series = Series::new("unit", "GET", "/a/{id}");
        let other = Series::new("other", "GET", "/a/{id}");
        other.record(200, Duration::from_millis(1));
        for (us, status) in [(100, 200), (100, 404), (2_500_000, 500), (0, 200)] {
            series.record(status, Duration::from_micros(us));
        }
        let expected = Totals { request_count: 4, client_error_count: 1, server_error_count: 1 };
        assert_eq!(totals("unit"), expected);
        let samples = drain("unit");
        let [sample] = samples.as_slice() else { panic!("{samples:?}") };
        assert_eq!((sample.method, sample.route.as_str(), sample.totals), ("GET", "/a/{id}", expected));
        assert_eq!((sample.total_us, sample.max_us), (2_500_201, 2_500_000));
        assert_eq!(sample.buckets.iter().map(|(_, n)| n).sum::<u64>(), 4);
        assert_eq!(sample.buckets[..2], [(1, 1), (100, 2)]);
        let (last, _) = sample.buckets[2];
        assert!((2_500_000..2_525_000).contains(&last), "{last}");
        assert!(drain("unit").is_empty());
        assert_eq!(totals("unit"), expected, "what was drained still counts");
        series.record(200, Duration::from_secs(100_000));
        assert_eq!(drain("unit")[0].max_us, LONGEST_US);
        drop(series);
        assert!(drain("unit").is_empty());
        assert!(!lock(&REGISTRY).series.iter().any(|s| s.service == "unit"), "its worker is gone");
        assert_eq!(totals("unit").request_count, 5);
    }

    /// Not a measure, a guard: recording stays far below a microsecond. `cargo test --release -- --nocapture` prints it.
    #[test]
    fn recording_is_cheap() {
        let series = Series::new("cheap", "GET", "/");
        let rounds: u32 = 200_000;
        let started = Instant::now();
        for i in 0..rounds {
            series.record(200, Duration::from_micros(u64::from(i % 5_000)));
        }
        let each = started.elapsed() / rounds;
        println!("{} ns per request", each.as_nanos());
        assert!(each < Duration::from_micros(200), "{each:?}");
    }
}
