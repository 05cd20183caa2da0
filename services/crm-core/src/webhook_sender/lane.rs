//! What a sender knows of the subscriptions that it has in hand.

use super::size::Size;
use aisha_clients::outbound::{FailureKind, LONGEST};
use aisha_webhooks::{
    dispatch::{LEASE, Target},
    intake::Key,
};
use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{Mutex, Semaphore, watch},
    time::Instant,
};
use uuid::Uuid;

/// In hand of all lanes. The bytes may be exceeded by what is claimed together.
const MOST_IN_HAND: Size = Size { deliveries: 2_048, bytes: 64 << 20 };
/// In hand of one tenant: half of the deliveries that may be under way at once and of the bytes, so that receivers that take
/// their time, however many, and large records leave the other half to everybody else.
const MOST_OF_TENANT: Size = Size { deliveries: super::claim::AT_ONCE / 2, bytes: MOST_IN_HAND.bytes / 2 };
/// Deliveries in hand of lanes that hardly ever get an answer.
const MOST_STRUGGLING: usize = 128;
/// Deliveries in hand of one lane that takes everything quickly.
const MOST_OF_ONE: usize = MOST_OF_TENANT.deliveries;
/// The same for one that struggles.
const OF_A_STRUGGLING_ONE: usize = 2;
/// From here on a lane struggles.
const STRIKES: u32 = 10;
/// What a request that had no answer in time counts for: it held a place for long.
const STRIKES_OF_A_TIMEOUT: u32 = 5;
/// A request that takes no longer than this is quick.
const QUICK: Duration = Duration::from_millis(500);
/// A success is told to the subscription at most this often.
const TELL_EVERY: Duration = Duration::from_secs(5);
/// A lane that has nothing in hand for this long is forgotten.
const FORGET_AFTER: Duration = Duration::from_secs(60);
/// A delivery must start so early that it has ended when its lease does.
pub(super) const START_WITHIN: Duration = LEASE.saturating_sub(LONGEST).saturating_sub(Duration::from_secs(2));

/// What the requests of a lane share.
pub(super) struct Gate {
    /// Requests at once.
    pub permits: Arc<Semaphore>,
    /// Permits that are to go as soon as they are given back.
    pub surplus: AtomicUsize,
    /// When the last request started; held while the next one waits for its turn.
    pub last_start: Mutex<Option<Instant>>,
    /// True when nothing may start any more.
    pub halt: watch::Sender<bool>,
}

/// A subscription in hand.
pub(super) struct Lane {
    pub gate: Arc<Gate>,
    limit: usize,
    in_hand: Size,
    /// How many deliveries of it may be in hand.
    reach: usize,
    /// Whether there may be more than was claimed.
    more: bool,
    strikes: u32,
    told: Option<Instant>,
    used: Instant,
}

impl Lane {
    fn new(target: &Target) -> Self {
        let limit = target.max_concurrency;
        let gate = Gate {
            permits: Arc::new(Semaphore::new(limit)),
            surplus: AtomicUsize::new(0),
            last_start: Mutex::new(None),
            halt: watch::Sender::new(false),
        };
        Self {
            gate: Arc::new(gate),
            limit,
            in_hand: Size::default(),
            reach: limit,
            more: false,
            strikes: if target.failing { STRIKES } else { 0 },
            told: None,
            used: Instant::now(),
        }
    }

    fn struggles(&self) -> bool {
        self.strikes >= STRIKES
    }

    fn is_idle(&self) -> bool {
        self.in_hand.deliveries == 0
    }

    fn halted(&self) -> bool {
        *self.gate.halt.borrow()
    }

    /// Follows a change of the limit; requests under way end as they are.
    fn follow(&mut self, limit: usize) {
        if limit > self.limit {
            let mut added = limit - self.limit;
            let _ = self.gate.surplus.fetch_update(Ordering::AcqRel, Ordering::Acquire, |surplus| {
                added = (limit - self.limit).saturating_sub(surplus);
                Some(surplus.saturating_sub(limit - self.limit))
            });
            self.gate.permits.add_permits(added);
        } else {
            let gone = self.gate.permits.forget_permits(self.limit - limit);
            self.gate.surplus.fetch_add(self.limit - limit - gone, Ordering::AcqRel);
        }
        self.limit = limit;
        self.reach = self.reach.max(limit).min(MOST_OF_ONE.max(limit));
    }

    fn room(&self) -> usize {
        if self.struggles() { OF_A_STRUGGLING_ONE.min(self.limit) } else { self.reach }
    }
}

/// What became of a request, as far as its lane is concerned.
pub(super) enum Seen {
    /// The receiver has it.
    Success(Duration),
    /// It has not, for this reason if there was no answer at all.
    Failure(Option<FailureKind>),
}

/// What a tenant may have in hand besides what it has, and each of its subscriptions that asks.
struct Room {
    free: usize,
    fair: usize,
}

/// All lanes, and the subscriptions that are to be looked at next.
#[derive(Default)]
pub(super) struct State {
    lanes: HashMap<Key, Lane>,
    hot: VecDeque<Key>,
    queued: HashSet<Key>,
    turns: Turns,
}

/// Since when subscriptions wait for one of the few places of those that struggle: whoever waits longest is next. Without it
/// the same ones would get all the places again and again, and others never recover.
#[derive(Default)]
struct Turns {
    waiting: HashMap<Key, u64>,
    now: u64,
}

impl Turns {
    /// Goes behind all others.
    fn took(&mut self, key: Key) {
        self.now += 1;
        self.waiting.insert(key, self.now);
    }

    /// Those that are new come last, and nobody is first.
    fn of(&self, key: &Key) -> u64 {
        self.waiting.get(key).copied().unwrap_or(u64::MAX)
    }
}

impl State {
    /// Has subscriptions looked at, those that wait already in their place.
    pub fn look_at(&mut self, keys: impl IntoIterator<Item = Key>) {
        for key in keys {
            if self.queued.insert(key) {
                self.hot.push_back(key);
            }
        }
    }

    /// The same for all that are due, which is when their turns begin.
    pub fn look_at_due(&mut self, mut due: Vec<Key>) {
        let known: HashSet<Key> = due.iter().copied().collect();
        let lanes = &self.lanes;
        self.turns.waiting.retain(|key, _| known.contains(key) || lanes.get(key).is_some_and(|lane| !lane.is_idle()));
        self.turns.now += 1;
        for key in &due {
            self.turns.waiting.entry(*key).or_insert(self.turns.now);
        }
        due.sort_by_key(|key| self.turns.of(key));
        self.look_at(due);
    }

    /// The subscriptions to be looked at next, sorted; none while there is no room for anything.
    pub fn next(&mut self, most: usize) -> Vec<Key> {
        if self.in_hand().room(MOST_IN_HAND) == 0 {
            return Vec::new();
        }
        let n = most.min(self.hot.len());
        let mut keys: Vec<Key> = self.hot.drain(..n).collect();
        for key in &keys {
            self.queued.remove(key);
        }
        keys.sort_unstable();
        keys
    }

    /// Whether [`State::next`] would return something.
    pub fn has_next(&self) -> bool {
        !self.hot.is_empty() && self.in_hand().room(MOST_IN_HAND) > 0
    }

    pub fn in_hand(&self) -> Size {
        self.lanes.values().map(|lane| lane.in_hand).sum()
    }

    /// The subscriptions of which something is in hand.
    pub fn busy(&self) -> Vec<Key> {
        self.lanes.iter().filter(|(_, lane)| !lane.is_idle()).map(|(key, _)| *key).collect()
    }

    /// How many deliveries of each are claimed at most. When there is room for a few only, everybody gets some; and so do the
    /// subscriptions of one tenant within its part. Those that struggle get theirs in turn.
    pub fn allot(&mut self, targets: &[Target]) -> Vec<usize> {
        let mut free = self.in_hand().room(MOST_IN_HAND);
        let struggling: Size = self.lanes.values().filter(|lane| lane.struggles()).map(|lane| lane.in_hand).sum();
        let mut free_for_struggling = MOST_STRUGGLING.saturating_sub(struggling.deliveries);
        let fair = (free / targets.len().max(1)).max(1);
        let mut tenants = self.tenants(targets);
        let mut share = |target: &Target| {
            let (room, struggles) = match self.lanes.get(&target.key) {
                // What was halted goes on when all that was under way has ended.
                Some(lane) if lane.halted() && !lane.is_idle() => return (0, false),
                Some(lane) if !lane.halted() => (lane.room(), lane.struggles()),
                _ => {
                    let lane = Lane::new(target);
                    (lane.room(), lane.struggles())
                }
            };
            let pool = if struggles { &mut free_for_struggling } else { &mut free };
            let Some(tenant) = tenants.get_mut(&target.key.0) else { return (0, false) };
            let asked = room.saturating_sub(target.in_hand).min(target.in_time());
            let share = asked.min(fair).min(*pool).min(tenant.fair).min(tenant.free);
            *pool -= share;
            tenant.free -= share;
            (share, struggles)
        };
        let mut turns: Vec<usize> = (0..targets.len()).collect();
        turns.sort_by_key(|i| targets.get(*i).map(|target| self.turns.of(&target.key)));
        let mut shares = vec![0; targets.len()];
        let mut took = Vec::new();
        for i in turns {
            let (Some(target), Some(slot)) = (targets.get(i), shares.get_mut(i)) else { continue };
            let (share, struggles) = share(target);
            *slot = share;
            if share > 0 && struggles {
                took.push(target.key);
            }
        }
        for key in took {
            self.turns.took(key);
        }
        shares
    }

    /// What the tenants of these subscriptions may get, and each subscription of theirs.
    fn tenants(&self, targets: &[Target]) -> HashMap<Uuid, Room> {
        let mut asking: HashMap<Uuid, usize> = HashMap::new();
        for target in targets {
            *asking.entry(target.key.0).or_default() += 1;
        }
        let mut in_hand: HashMap<Uuid, Size> = HashMap::new();
        for (key, lane) in self.lanes.iter().filter(|(key, _)| asking.contains_key(&key.0)) {
            *in_hand.entry(key.0).or_default() += lane.in_hand;
        }
        let room = |(tenant, asking): (Uuid, usize)| {
            let free = in_hand.get(&tenant).copied().unwrap_or_default().room(MOST_OF_TENANT);
            (tenant, Room { free, fair: (free / asking).max(1) })
        };
        asking.into_iter().map(room).collect()
    }

    /// Takes in what was claimed of a subscription, and returns what its requests share.
    pub fn claimed(&mut self, target: &Target, size: Size, more: bool) -> Arc<Gate> {
        let lane = self.lanes.entry(target.key).or_insert_with(|| Lane::new(target));
        if lane.halted() && lane.is_idle() {
            *lane = Lane::new(target);
        }
        if lane.limit != target.max_concurrency {
            lane.follow(target.max_concurrency);
        }
        lane.in_hand += size;
        lane.more = more;
        lane.used = Instant::now();
        Arc::clone(&lane.gate)
    }

    /// Lets nothing of these start any more.
    pub fn halt<'k>(&self, keys: impl IntoIterator<Item = &'k Key>) {
        for lane in keys.into_iter().filter_map(|key| self.lanes.get(key)) {
            lane.gate.halt.send_replace(true);
        }
    }

    /// Lets nothing start any more.
    pub fn halt_all(&self) {
        self.halt(self.lanes.keys());
    }

    /// Learns from a request that has ended: a lane that is quick gets more in hand, one that fails less. Returns whether
    /// the subscription is to be told.
    pub fn learn(&mut self, key: Key, seen: &Seen) -> bool {
        let Some(lane) = self.lanes.get_mut(&key) else { return true };
        match seen {
            Seen::Success(took) => {
                let due = lane.strikes > 0 || lane.told.is_none_or(|at| at.elapsed() > TELL_EVERY);
                lane.strikes = 0;
                lane.reach =
                    if *took <= QUICK { (lane.reach + 4).min(MOST_OF_ONE.max(lane.limit)) } else { lane.limit };
                if due {
                    lane.told = Some(Instant::now());
                }
                due
            }
            Seen::Failure(kind) => {
                let more = if *kind == Some(FailureKind::Timeout) { STRIKES_OF_A_TIMEOUT } else { 1 };
                lane.strikes = lane.strikes.saturating_add(more);
                lane.reach = lane.limit;
                true
            }
        }
    }

    /// Is told that deliveries are no longer in hand. Where there may be more of a subscription it is looked at again, when
    /// half of what is in hand is done; one that struggles waits for the next look at everything.
    pub fn done(&mut self, done: impl IntoIterator<Item = (Key, Size)>) {
        let mut again = Vec::new();
        for (key, size) in done {
            if let Some(lane) = self.lanes.get_mut(&key) {
                lane.in_hand -= size;
                lane.used = Instant::now();
                if lane.more && !lane.struggles() && !lane.halted() && lane.in_hand.deliveries <= lane.reach / 2 {
                    lane.more = false;
                    again.push(key);
                }
            }
        }
        self.look_at(again);
    }

    /// Forgets lanes that have not been used for a while.
    pub fn forget(&mut self) {
        self.lanes.retain(|_, lane| !lane.is_idle() || lane.used.elapsed() < FORGET_AFTER);
    }
}

#[cfg(test)]
mod tests;
