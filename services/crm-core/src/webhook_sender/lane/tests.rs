//! What lanes let through.

use super::*;

fn target(n: u128, max_concurrency: usize) -> Target {
    Target { key: (Uuid::nil(), Uuid::from_u128(n)), max_concurrency, ..Target::default() }
}

fn some(deliveries: usize) -> Size {
    Size { deliveries, bytes: deliveries * 1_000 }
}

#[tokio::test]
async fn a_lane_that_is_quick_gets_more_and_one_that_fails_gets_little() {
    let (mut state, t) = (State::default(), target(1, 8));
    assert_eq!(state.allot(std::slice::from_ref(&t)), [8]);
    state.claimed(&t, some(8), true);
    for _ in 0..100 {
        state.learn(t.key, &Seen::Success(Duration::from_millis(3)));
    }
    assert_eq!(state.allot(std::slice::from_ref(&t)), [MOST_OF_ONE - 8], "besides the 8 in hand");
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
        state.claimed(t, some(share), true);
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
        (shares.iter().min(), shares.iter().sum::<usize>() <= MOST_OF_TENANT.deliveries),
        (Some(&2), true),
        "{shares:?}"
    );
    for (t, share) in slow.iter().zip(shares) {
        state.claimed(t, some(share), true);
    }
    let rest = MOST_OF_TENANT.deliveries - 200;
    assert_eq!(state.allot(&slow).iter().sum::<usize>(), rest);
    state.claimed(&slow[0], some(rest), true);
    assert_eq!(state.allot(&slow).iter().sum::<usize>(), 0);
    let other = Target { key: (Uuid::from_u128(1), Uuid::from_u128(1)), ..target(1, 100) };
    assert_eq!(state.allot(&[slow[1].clone(), other]), [0, 100]);
    state.done([(slow[0].key, some(10))]);
    assert_eq!(state.allot(&slow[..20]).iter().sum::<usize>(), 10, "what is done makes room");
}

#[tokio::test]
async fn large_bodies_leave_room_for_the_others_and_fit_into_memory() {
    let mut state = State::default();
    let of = |n: u128| Target { key: (Uuid::from_u128(n), Uuid::from_u128(n)), ..target(n, 100) };
    let large = Size { deliveries: 70, bytes: MOST_OF_TENANT.bytes };
    state.claimed(&of(1), large, true);
    assert_eq!(state.allot(&[of(1), of(2)]), [0, 100]);
    state.claimed(&of(2), large, true);
    state.look_at([of(3).key]);
    assert!(!state.has_next() && state.next(1).is_empty(), "all of the memory is in use");
    state.done([(of(1).key, Size { deliveries: 1, bytes: 500_000 })]);
    assert!(state.has_next());
    assert_eq!(state.allot(&[of(1), of(2), of(3)]), [100, 0, 100]);
}

#[tokio::test]
async fn a_limit_that_changes_holds_at_once_for_what_starts() {
    let (mut state, t) = (State::default(), target(1, 4));
    let gate = state.claimed(&t, some(4), false);
    let held: Vec<_> = (0..3).map(|_| Arc::clone(&gate.permits).try_acquire_owned().unwrap()).collect();
    state.claimed(&target(1, 2), some(0), false);
    assert_eq!((gate.permits.available_permits(), gate.surplus.load(Ordering::Acquire)), (0, 1));
    state.claimed(&target(1, 5), some(0), false);
    assert_eq!((gate.permits.available_permits(), gate.surplus.load(Ordering::Acquire)), (2, 0));
    drop(held);
    assert_eq!(gate.permits.available_permits(), 5);
}

#[tokio::test]
async fn what_was_halted_goes_on_when_nothing_is_under_way() {
    let (mut state, t) = (State::default(), target(1, 4));
    let gate = state.claimed(&t, some(2), true);
    state.halt([&t.key]);
    assert!(*gate.halt.borrow());
    assert_eq!(state.allot(std::slice::from_ref(&t)), [0]);
    state.done([(t.key, some(2))]);
    assert!(!state.has_next());
    assert_eq!(state.allot(std::slice::from_ref(&t)), [4]);
    assert!(!*state.claimed(&t, some(1), false).halt.borrow());
}

/// Subscriptions whose receivers never answer, with more to deliver than will ever be.
fn dead(count: u128) -> Vec<Target> {
    (0..count)
        .map(|n| Target { key: (Uuid::from_u128(n % 40), Uuid::from_u128(n)), failing: true, ..target(n, 8) })
        .collect()
}

/// Has everything that is due looked at, as the sender does; returns what was claimed.
fn look(state: &mut State, due: &[Target]) -> Vec<(Key, Size)> {
    let mut keys: Vec<Key> = due.iter().map(|t| t.key).collect();
    keys.sort_unstable();
    state.look_at_due(keys);
    let mut claimed = Vec::new();
    loop {
        let wanted = state.next(64);
        if wanted.is_empty() {
            return claimed;
        }
        let targets: Vec<Target> =
            wanted.iter().map(|key| due.iter().find(|t| t.key == *key).unwrap().clone()).collect();
        let shares = state.allot(&targets);
        for (t, share) in targets.iter().zip(shares).filter(|(_, share)| *share > 0) {
            state.claimed(t, some(share), true);
            claimed.push((t.key, some(share)));
        }
    }
}

#[tokio::test]
async fn of_many_that_struggle_each_has_its_turn() {
    let (mut state, all) = (State::default(), dead(200));
    let mut served: HashMap<Key, usize> = HashMap::new();
    for round in 1..=20 {
        let claimed = look(&mut state, &all);
        assert_eq!(claimed.iter().map(|(_, size)| size.deliveries).sum::<usize>(), MOST_STRUGGLING, "round {round}");
        // While all places are taken nobody loses its turn by asking.
        assert!(look(&mut state, &all).is_empty());
        for (key, _) in &claimed {
            *served.entry(*key).or_default() += 1;
        }
        // All of them time out, in any order, and the lanes are forgotten meanwhile.
        state.done(claimed);
        state.lanes.clear();
        if round == 4 {
            assert_eq!(served.len(), 200, "64 at a time");
        }
    }
    let (least, most) = (served.values().min(), served.values().max());
    assert_eq!((served.len(), least, most), (200, Some(&6), Some(&7)), "nobody more often than others");
}

/// One that has just had its turn is woken all the time; one that waits for its receiver's time to come takes no place.
#[tokio::test]
async fn whoever_asks_more_often_gets_no_more_turns() {
    let (mut state, mut all) = (State::default(), dead(100));
    for waiting in &mut all[10..20] {
        waiting.wait = Duration::from_secs(60);
    }
    let loud = all[0].clone();
    let mut served: HashMap<Key, usize> = HashMap::new();
    let mut woken = Vec::new();
    for _ in 0..20 {
        let claimed = look(&mut state, &all);
        for (key, _) in &claimed {
            *served.entry(*key).or_default() += 1;
        }
        state.done(claimed.into_iter().chain(woken));
        let share = some(state.allot(std::slice::from_ref(&loud))[0]);
        assert_eq!(share.deliveries, OF_A_STRUGGLING_ONE);
        state.claimed(&loud, share, true);
        woken = vec![(loud.key, share)];
    }
    served.remove(&loud.key);
    assert!(all[10..20].iter().all(|t| !served.contains_key(&t.key)), "their receivers want nothing now");
    let (least, most) = (served.values().min().unwrap(), served.values().max().unwrap());
    assert!(served.len() == 89 && most - least <= 1, "{served:?}");
}
