//! The summary: what was done, what was done to it, and how long the platform took to come back.

use crate::{
    faults::Done,
    follow::Followed,
    load::{Log, Resolved},
    receivers::Subscription,
};
use std::{
    collections::BTreeMap,
    fmt,
    time::{Duration, Instant},
};

/// How long it took after faults of one kind.
#[derive(Debug, Default)]
struct Recovery {
    count: usize,
    /// From the fault to the return of what it hit.
    away: Duration,
    /// From the return to the next acknowledged write, and to the next new event at a receiver that behaves.
    write: Duration,
    event: Duration,
}

/// What the summary is made of.
pub struct Facts<'a> {
    pub log: &'a Log,
    pub resolved: &'a Resolved,
    pub followed: Vec<&'a Followed>,
    pub subscriptions: &'a [Subscription],
    pub faults: &'a [Done],
    pub left_out: usize,
    pub events: usize,
    pub deliveries: i64,
    pub attempts: i64,
    /// When the load began and ended.
    pub load: (Instant, Instant),
    /// From the end of the load to the last delivery to receivers that behave.
    pub settled: Duration,
}

/// From `at` to the next of `times`, which are sorted; zero when there is none.
fn next_after(times: &[Instant], at: Instant) -> Duration {
    let i = times.partition_point(|t| *t < at);
    times.get(i).map(|t| t.duration_since(at)).unwrap_or_default()
}

/// The longest time within the load without any of `times`.
fn longest_gap(times: &[Instant], (from, to): (Instant, Instant)) -> Duration {
    let within = times.iter().copied().filter(|t| (from..to).contains(t));
    let marks: Vec<Instant> = std::iter::once(from).chain(within).chain([to]).collect();
    marks.windows(2).filter_map(|w| Some(w.last()?.duration_since(*w.first()?))).max().unwrap_or_default()
}

impl fmt::Display for Facts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let writes = &self.log.writes;
        let acknowledged = writes.iter().filter(|w| w.acknowledged).count();
        let repeated = writes.iter().filter(|w| w.attempts > 1).count();
        let good: Vec<&Subscription> = self.subscriptions.iter().filter(|s| s.manner.delivers()).collect();
        let mut events: Vec<Instant> = good.iter().flat_map(|s| s.ledger.fresh.iter().copied()).collect();
        events.sort_unstable();
        let mut times = self.log.acknowledged.clone();
        times.sort_unstable();
        let requests: u64 = self.subscriptions.iter().map(|s| s.ledger.requests).sum();
        let repetitions: u64 = good.iter().map(|s| s.ledger.requests - s.ledger.seen.len() as u64).sum();
        let opened: usize = self.followed.iter().map(|s| s.connections).sum();
        let seen: usize = self.followed.iter().map(|s| s.seen.len()).sum();
        let seconds = |d: Duration| format!("{:.1} s", d.as_secs_f64());
        writeln!(
            f,
            "writes        {} ({acknowledged} acknowledged, {repeated} asked for more than once)",
            writes.len()
        )?;
        writeln!(f, "events        {} in the outbox", self.events)?;
        writeln!(f, "deliveries    {} of {} subscriptions", self.deliveries, self.subscriptions.len())?;
        writeln!(f, "attempts      {} in the log, {requests} requests arrived", self.attempts)?;
        writeln!(
            f,
            "duplicates    {repetitions} requests at receivers that accept everything, each with the id and body of the first"
        )?;
        writeln!(
            f,
            "live streams  {} followed, {opened} connections, {seen} events, none missing, none twice",
            self.followed.len()
        )?;
        writeln!(
            f,
            "resolver      {} found, {} times unknown or away, never wrong",
            self.resolved.found, self.resolved.unknown
        )?;
        writeln!(f, "longest time without an acknowledged write {}", seconds(longest_gap(&times, self.load)))?;
        writeln!(f, "longest time without a new delivery        {}", seconds(longest_gap(&events, self.load)))?;
        writeln!(f, "from the end of the load to the last one   {}", seconds(self.settled))?;
        let mut kinds: BTreeMap<String, Recovery> = BTreeMap::new();
        for done in self.faults {
            let kind = kinds.entry(done.fault.kind()).or_default();
            kind.count += 1;
            kind.away = kind.away.max(done.to.duration_since(done.from));
            kind.write = kind.write.max(next_after(&times, done.to));
            kind.event = kind.event.max(next_after(&events, done.to));
        }
        writeln!(
            f,
            "{} faults, {} left out because the machine was too slow; at worst,",
            self.faults.len(),
            self.left_out
        )?;
        writeln!(f, "  {:26}{:>6}{:>12}{:>16}{:>16}", "", "times", "away", "to next write", "to next event")?;
        for (kind, r) in kinds {
            let (away, write, event) = (seconds(r.away), seconds(r.write), seconds(r.event));
            writeln!(f, "  {kind:26}{:>6}{away:>12}{write:>16}{event:>16}", r.count)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_and_what_comes_next() {
        let start = Instant::now();
        let at = |s: u64| start + Duration::from_secs(s);
        let times = [at(1), at(2), at(6), at(30)];
        assert_eq!(longest_gap(&times, (at(0), at(8))), Duration::from_secs(4));
        assert_eq!(longest_gap(&times, (at(0), at(20))), Duration::from_secs(14), "the end counts");
        assert_eq!(next_after(&times, at(3)), Duration::from_secs(3));
        assert_eq!(next_after(&times, at(40)), Duration::ZERO);
    }
}
