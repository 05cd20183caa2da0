//! What a sender knows of the subscriptions that it has in hand.

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

/// Deliveries in hand, of all lanes.
const MOST_IN_HAND: usize = 2_048;
/// Deliveries in hand of one tenant: half of what may be under way at once, so that receivers that take their time, however
/// many, leave the other half to everybody else.
const MOST_OF_TENANT: usize = super::claim::AT_ONCE / 2;
/// Deliveries in hand of lanes that hardly ever get an answer.
const MOST_STRUGGLING: usize = 128;
/// Deliveries in hand of one lane that takes everything quickly.
const MOST_OF_ONE: usize = MOST_OF_TENANT;
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
    in_hand: usize,
    /// How much of it may be in hand.
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
            in_hand: 0,
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

    /// The subscriptions to be looked at next, sorted; none while there is no room for anything.
    pub fn next(&mut self, most: usize) -> Vec<Key> {
        if self.in_hand() >= MOST_IN_HAND {
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
        !self.hot.is_empty() && self.in_hand() < MOST_IN_HAND
    }

    pub fn in_hand(&self) -> usize {
        self.lanes.values().map(|lane| lane.in_hand).sum()
    }

    /// The subscriptions of which something is in hand.
    pub fn busy(&self) -> Vec<Key> {
        self.lanes.iter().filter(|(_, lane)| lane.in_hand > 0).map(|(key, _)| *key).collect()
    }

    /// How many deliveries of each are claimed at most. When there is room for a few only, everybody gets some; and so do the
    /// subscriptions of one tenant within its part.
    pub fn allot(&self, targets: &[Target]) -> Vec<usize> {
        let mut free = MOST_IN_HAND.saturating_sub(self.in_hand());
        let struggling: usize = self.lanes.values().filter(|lane| lane.struggles()).map(|lane| lane.in_hand).sum();
        let mut free_for_struggling = MOST_STRUGGLING.saturating_sub(struggling);
        let fair = (free / targets.len().max(1)).max(1);
        let mut tenants = self.tenants(targets);
        let share = |target: &Target| {
            let (room, struggles) = match self.lanes.get(&target.key) {
                // What was halted goes on when all that was under way has ended.
                Some(lane) if lane.halted() && lane.in_hand > 0 => return 0,
                Some(lane) if !lane.halted() => (lane.room(), lane.struggles()),
                _ => {
                    let lane = Lane::new(target);
                    (lane.room(), lane.struggles())
                }
            };
            let pool = if struggles { &mut free_for_struggling } else { &mut free };
            let Some(tenant) = tenants.get_mut(&target.key.0) else { return 0 };
            let share = room.saturating_sub(target.in_hand).min(fair).min(*pool).min(tenant.fair).min(tenant.free);
            *pool -= share;
            tenant.free -= share;
            share
        };
        targets.iter().map(share).collect()
    }

    /// What the tenants of these subscriptions may get, and each subscription of theirs.
    fn tenants(&self, targets: &[Target]) -> HashMap<Uuid, Room> {
        let mut asking: HashMap<Uuid, usize> = HashMap::new();
        for target in targets {
            *asking.entry(target.key.0).or_default() += 1;
        }
        let mut in_hand: HashMap<Uuid, usize> = HashMap::new();
        for (key, lane) in self.lanes.iter().filter(|(key, _)| asking.contains_key(&key.0)) {
            *in_hand.entry(key.0).or_default() += lane.in_hand;
        }
        let room = |(tenant, asking): (Uuid, usize)| {
            let free = MOST_OF_TENANT.saturating_sub(in_hand.get(&tenant).copied().unwrap_or(0));
            (tenant, Room { free, fair: (free / asking).max(1) })
        };
        asking.into_iter().map(room).collect()
    }

    /// Takes in what was claimed of a subscription, and returns what its requests share.
    pub fn claimed(&mut self, target: &Target, count: usize, more: bool) -> Arc<Gate> {
        let lane = self.lanes.entry(target.key).or_insert_with(|| Lane::new(target));
        if lane.halted() && lane.in_hand == 0 {
            *lane = Lane::new(target);
        }
        if lane.limit != target.max_concurrency {
            lane.follow(target.max_concurrency);
        }
        lane.in_hand += count;
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
    pub fn done(&mut self, keys: impl IntoIterator<Item = Key>) {
        let mut again = Vec::new();
        for key in keys {
            if let Some(lane) = self.lanes.get_mut(&key) {
                lane.in_hand = lane.in_hand.saturating_sub(1);
                lane.used = Instant::now();
                if lane.more && !lane.struggles() && !lane.halted() && lane.in_hand <= lane.reach / 2 {
                    lane.more = false;
                    again.push(key);
                }
            }
        }
        self.look_at(again);
    }

    /// Forgets lanes that have not been used for a while.
    pub fn forget(&mut self) {
        self.lanes.retain(|_, lane| lane.in_hand > 0 || lane.used.elapsed() < FORGET_AFTER);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(n: u128, max_concurrency: usize) -> Target {
        Target { key: (Uuid::nil(), Uuid::from_u128(n)), max_concurrency, ..Target::default() }
    }

    #[tokio::test]
    async fn a_lane_that_is_quick_gets_more_and_one_that_fails_gets_little() {
        let (mut state, t) = (State::default(), target(1, 8));
        assert_eq!(state.allot(std::slice::from_ref(&t)), [8]);
        state.claimed(&t, 8, true);
        for _ in 0..100 {
            state.learn(t.key, &Seen::Success(Duration::from_millis(3)));
        }
        assert_eq!(state.allot(std::slice::from_ref(&t)), [MOST_OF_TENANT - 8], "besides the 8 in hand");
        state.learn(t.key, &Seen::Success(Duration::from_secs(3)));
        assert_eq!(state.allot(std::slice::from_ref(&t)), [8], "slow");
        for _ in 0..2 {
            state.learn(t.key, &Seen::Failure(Some(FailureKind::Timeout)));
        }
        assert_eq!(state.allot(std::slice::from_ref(&t)), [OF_A_STRUGGLING_ONE]);
        assert!(state.learn(t.key, &Seen::Success(Duration::from_millis(3))), "what recovers says so");
        assert!(state.allot(std::slice::from_ref(&t))[0] > 8);
    }

    #[tokio::test]
    async fn receivers_that_are_down_leave_room_for_the_others() {
        let mut state = State::default();
        let of = |n: u128| (Uuid::from_u128(n / 100), Uuid::from_u128(n));
        let down: Vec<Target> = (0..2_000).map(|n| Target { key: of(n), failing: true, ..target(n, 8) }).collect();
        let shares = state.allot(&down);
        assert_eq!(shares.iter().sum::<usize>(), MOST_STRUGGLING);
        for (t, share) in down.iter().zip(shares) {
            state.claimed(t, share, true);
        }
        assert_eq!(state.allot(&[target(5_000, 100)]), [100]);
        assert_eq!(state.allot(&down).iter().sum::<usize>(), 0);
    }

    #[tokio::test]
    async fn a_tenant_leaves_room_for_the_others_and_for_all_that_is_its_own() {
        let mut state = State::default();
        let slow: Vec<Target> = (0..100).map(|n| target(n, 100)).collect();
        let shares = state.allot(&slow);
        assert_eq!(
            (shares.iter().min(), shares.iter().sum::<usize>() <= MOST_OF_TENANT),
            (Some(&2), true),
            "{shares:?}"
        );
        for (t, share) in slow.iter().zip(shares) {
            state.claimed(t, share, true);
        }
        let rest = MOST_OF_TENANT - 200;
        assert_eq!(state.allot(&slow).iter().sum::<usize>(), rest);
        state.claimed(&slow[0], rest, true);
        assert_eq!(state.allot(&slow).iter().sum::<usize>(), 0);
        let other = Target { key: (Uuid::from_u128(1), Uuid::from_u128(1)), ..target(1, 100) };
        assert_eq!(state.allot(&[slow[1].clone(), other]), [0, 100]);
        state.done(std::iter::repeat_n(slow[0].key, 10));
        assert_eq!(state.allot(&slow[..20]).iter().sum::<usize>(), 10, "what is done makes room");
    }

    #[tokio::test]
    async fn a_limit_that_changes_holds_at_once_for_what_starts() {
        let (mut state, t) = (State::default(), target(1, 4));
        let gate = state.claimed(&t, 4, false);
        let held: Vec<_> = (0..3).map(|_| Arc::clone(&gate.permits).try_acquire_owned().unwrap()).collect();
        state.claimed(&target(1, 2), 0, false);
        assert_eq!((gate.permits.available_permits(), gate.surplus.load(Ordering::Acquire)), (0, 1));
        state.claimed(&target(1, 5), 0, false);
        assert_eq!((gate.permits.available_permits(), gate.surplus.load(Ordering::Acquire)), (2, 0));
        drop(held);
        assert_eq!(gate.permits.available_permits(), 5);
    }

    #[tokio::test]
    async fn what_was_halted_goes_on_when_nothing_is_under_way() {
        let (mut state, t) = (State::default(), target(1, 4));
        let gate = state.claimed(&t, 2, true);
        state.halt([&t.key]);
        assert!(*gate.halt.borrow());
        assert_eq!(state.allot(std::slice::from_ref(&t)), [0]);
        state.done([t.key, t.key]);
        assert!(!state.has_next());
        assert_eq!(state.allot(std::slice::from_ref(&t)), [4]);
        assert!(!*state.claimed(&t, 1, false).halt.borrow());
    }
}
