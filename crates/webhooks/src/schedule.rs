//! When a delivery that failed is tried again, and when it is given up.

use std::time::Duration;

/// Pauses between attempts, in seconds; the last one repeats.
const PAUSES: [u64; 6] = [5, 5 * 60, 30 * 60, 2 * 3_600, 5 * 3_600, 10 * 3_600];
/// After this a delivery has failed.
pub const PATIENCE: Duration = Duration::from_secs(8 * 86_400);
/// The longest pause that a receiver can ask for.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(86_400);
/// A subscription of which no attempt has succeeded for this long is switched off.
pub const FAILING_FOR: Duration = Duration::from_secs(5 * 86_400);

/// How long to wait after an attempt that failed; `None` when it was the last. `attempts` counts it, `age` is the time since
/// the schedule began. What the receiver asks for lengthens a pause and never shortens it: a receiver that always says
/// "in a second" would be asked 700,000 times. The last attempt is at the end of the schedule.
#[must_use]
pub fn pause(attempts: u32, age: Duration, retry_after: Option<Duration>) -> Option<Duration> {
    let left = PATIENCE.checked_sub(age).filter(|left| !left.is_zero())?;
    let index = usize::try_from(attempts.saturating_sub(1)).unwrap_or(usize::MAX).min(PAUSES.len() - 1);
    let step = Duration::from_secs(PAUSES.get(index).copied().unwrap_or(36_000));
    let asked = retry_after.unwrap_or_default().min(LONGEST_RETRY_AFTER);
    Some(step.max(asked).min(left))
}

/// How long nothing at all is sent to a receiver after this answer: one that says that it is too much (429), or that it is
/// not there (503), and when to come back, says so to everything that waits for it.
#[must_use]
pub fn hold(status: Option<u16>, retry_after: Option<Duration>) -> Option<Duration> {
    let asked = retry_after.filter(|asked| !asked.is_zero())?.min(LONGEST_RETRY_AFTER);
    matches!(status, Some(429 | 503)).then_some(asked)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hours(h: u64) -> Duration {
        Duration::from_secs(h * 3_600)
    }

    #[test]
    fn the_schedule_from_the_first_attempt_to_the_last() {
        let (mut age, mut pauses) = (Duration::ZERO, Vec::new());
        while let Some(next) = pause(u32::try_from(pauses.len()).unwrap() + 1, age, None) {
            pauses.push(next);
            age += next;
        }
        let start: Vec<u64> = pauses.iter().take(6).map(Duration::as_secs).collect();
        assert_eq!(start, [5, 300, 1_800, 7_200, 18_000, 36_000]);
        let (last, middle) = pauses.get(6..).unwrap().split_last().unwrap();
        assert!(middle.iter().all(|p| *p == hours(10)) && *last <= hours(10));
        assert_eq!(age, PATIENCE, "the last attempt is at the end");
    }

    #[test]
    fn what_the_receiver_asks_for() {
        let zero = Duration::ZERO;
        assert_eq!(pause(1, zero, Some(Duration::from_secs(40))), Some(Duration::from_secs(40)));
        assert_eq!(pause(2, zero, Some(Duration::from_secs(40))), Some(Duration::from_secs(300)), "never shorter");
        assert_eq!(pause(1, zero, Some(hours(1_000))), Some(hours(24)), "at most a day");
        assert_eq!(pause(1, PATIENCE - hours(1), Some(hours(20))), Some(hours(1)), "not beyond the end");
        let asked = Some(Duration::from_secs(40));
        assert_eq!((hold(Some(429), asked), hold(Some(503), asked)), (asked, asked));
        assert_eq!(hold(Some(503), Some(hours(1_000))), Some(hours(24)));
        let nobody =
            [(Some(500), asked), (Some(200), asked), (None, asked), (Some(429), None), (Some(429), Some(zero))];
        assert!(nobody.into_iter().all(|(status, asked)| hold(status, asked).is_none()));
        assert_eq!(pause(9, PATIENCE, None), None);
        assert_eq!(pause(9, PATIENCE + hours(1), Some(hours(1))), None);
    }
}
