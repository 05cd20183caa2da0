//! What is done to the platform, and when: all of it drawn from one number, so that a run can be repeated.
//!
//! Belongs here: the plan. Does not belong here: carrying it out (`faults`).

use fastrand::Rng;
use std::{collections::HashMap, fmt, time::Duration};

/// The services, as separate processes: the roles of crm-core each for itself, what shares work twice.
pub const SERVICES: [&str; 8] =
    ["gateway", "api", "relay-1", "relay-2", "webhooks-1", "webhooks-2", "cron", "tenant-resolver"];

/// The servers that the services depend on.
pub const SERVERS: [&str; 3] = ["postgres", "rabbitmq", "redis"];

/// Between two faults, in milliseconds.
const PAUSE: std::ops::Range<u64> = 800..3_500;
/// How long a killed service is away, in milliseconds.
const SERVICE_AWAY: std::ops::Range<u64> = 0..3_000;
/// How long a server is away before it is started again, in milliseconds.
const SERVER_AWAY: std::ops::Range<u64> = 500..7_000;
/// A server is left alone for this long after its return, so that the platform comes to work in between.
pub const SERVER_REST: Duration = Duration::from_secs(12);
/// How often each service is in the bag that faults are drawn from; each server is in it once killed and once stopped.
const SERVICE_SHARE: usize = 2;

/// How something ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum How {
    /// SIGKILL, to everything it consists of.
    Killed,
    /// As an administrator stops it.
    Stopped,
}

/// One fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// When, counted from the first moment of the faults.
    pub at: Duration,
    /// To what: of [`SERVICES`] or [`SERVERS`].
    pub what: &'static str,
    /// How.
    pub how: How,
    /// After this it is started again.
    pub away: Duration,
}

impl Fault {
    /// Whether it is a server's.
    pub fn is_server(&self) -> bool {
        SERVERS.contains(&self.what)
    }

    /// The kind, for the summary.
    pub fn kind(&self) -> String {
        format!("{} {}", self.what, if self.how == How::Killed { "killed" } else { "stopped" })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:8.2} s  {}, for {:.2} s", self.at.as_secs_f64(), self.kind(), self.away.as_secs_f64())
    }
}

/// The faults of a run: everything in turn and in random order, until `length` is over.
pub fn schedule(seed: u64, length: Duration) -> Vec<Fault> {
    let mut rng = Rng::with_seed(seed);
    let mut bag: Vec<(&'static str, How)> = Vec::new();
    let mut free: HashMap<&str, Duration> = HashMap::new();
    let mut at = Duration::ZERO;
    let mut all = Vec::new();
    loop {
        at += Duration::from_millis(rng.u64(PAUSE));
        if at >= length {
            return all;
        }
        if bag.is_empty() {
            bag = fresh_bag(&mut rng);
        }
        // What still rests keeps its place; a service can always be killed, so there is something for every bag but the last
        // few of servers, and then nothing happens this time.
        let ready = |(what, _): &(&str, How)| free.get(what).is_none_or(|from| *from <= at);
        let Some(next) = bag.iter().rposition(ready) else { continue };
        let (what, how) = bag.remove(next);
        let mut fault = Fault { at, what, how, away: Duration::ZERO };
        let (away, rest) =
            if fault.is_server() { (SERVER_AWAY, SERVER_REST) } else { (SERVICE_AWAY, Duration::from_secs(1)) };
        fault.away = Duration::from_millis(rng.u64(away));
        free.insert(what, at + fault.away + rest);
        all.push(fault);
    }
}

fn fresh_bag(rng: &mut Rng) -> Vec<(&'static str, How)> {
    let mut bag = Vec::new();
    for service in SERVICES {
        bag.extend(std::iter::repeat_n((service, How::Killed), SERVICE_SHARE));
    }
    for server in SERVERS {
        bag.extend([(server, How::Killed), (server, How::Stopped)]);
    }
    rng.shuffle(&mut bag);
    bag
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    const THREE_MINUTES: Duration = Duration::from_secs(180);

    #[test]
    fn a_seed_is_a_schedule() {
        assert_eq!(schedule(7, THREE_MINUTES), schedule(7, THREE_MINUTES));
        assert_ne!(schedule(7, THREE_MINUTES), schedule(8, THREE_MINUTES));
        let longer = schedule(7, 2 * THREE_MINUTES);
        assert_eq!(longer.split_at(schedule(7, THREE_MINUTES).len()).0, schedule(7, THREE_MINUTES));
    }

    #[test]
    fn three_minutes_see_every_fault() {
        for seed in 0..50 {
            let kinds: HashSet<String> = schedule(seed, THREE_MINUTES).iter().map(Fault::kind).collect();
            assert_eq!(kinds.len(), SERVICES.len() + 2 * SERVERS.len(), "{seed}: {kinds:?}");
        }
    }

    #[test]
    fn a_server_rests_between_its_faults() {
        for seed in 0..50 {
            let mut until: HashMap<&str, Duration> = HashMap::new();
            for fault in schedule(seed, 5 * THREE_MINUTES).iter().filter(|f| f.is_server()) {
                assert!(until.get(fault.what).is_none_or(|t| *t <= fault.at), "{seed}: {fault}");
                until.insert(fault.what, fault.at + fault.away + SERVER_REST);
            }
        }
    }
}
