//! Trying again: how long in all, and how long to wait before the next attempt.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// The pause before the first repetition is drawn from nothing to this, and the range doubles each time.
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// No pause is drawn from a longer range than this.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// No pause is shorter than this, so that bad luck with the dice never makes a hot loop.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);

/// The time a pass may spend on trying again: one for all its requests, however many run side by side.
///
/// The clock starts with the first request that fails, so that a long sweep does not use it up by being long.
#[derive(Debug)]
pub(super) struct RetryBudget {
    allowed: Duration,
    deadline: OnceLock<Instant>,
}

impl RetryBudget {
    pub(super) fn new(allowed: Duration) -> Self {
        Self { allowed, deadline: OnceLock::new() }
    }

    /// For how long it is tried again.
    pub(super) fn left(&self) -> Duration {
        self.deadline
            .get()
            .map_or(self.allowed, |deadline| deadline.saturating_duration_since(Instant::now()))
    }

    /// How long to wait before repetition number `attempt` (from 0) of a request that was first sent at
    /// `started`, or `None` when the budget does not reach that far. What the server asked for in
    /// `Retry-After` is the least to wait.
    pub(super) fn pause(
        &self,
        started: Instant,
        attempt: u32,
        retry_after: Option<Duration>,
    ) -> Option<Duration> {
        let deadline = self.deadline.get_or_init(|| started + self.allowed);
        let pause = backoff(attempt, fastrand::f64()).max(retry_after.unwrap_or_default());
        let left = deadline.saturating_duration_since(Instant::now());
        (pause < left).then_some(pause)
    }
}

/// Full jitter: anything between nothing and a range that doubles, kept within sane bounds. `dice` is from
/// 0 to 1.
fn backoff(attempt: u32, dice: f64) -> Duration {
    let range = FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(attempt)).min(LONGEST_PAUSE);
    range.mul_f64(dice).max(SHORTEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_but_stay_within_bounds() {
        assert_eq!(backoff(0, 1.0), FIRST_PAUSE);
        assert_eq!(backoff(1, 1.0), FIRST_PAUSE * 2);
        assert_eq!(backoff(0, 0.0), SHORTEST_PAUSE);
        assert_eq!(backoff(u32::MAX, 1.0), LONGEST_PAUSE);
    }

    #[test]
    fn the_budget_ends() {
        let now = Instant::now();
        assert_eq!(RetryBudget::new(Duration::ZERO).pause(now, 0, None), None);
        let budget = RetryBudget::new(Duration::from_secs(30));
        assert!(budget.pause(now, 0, None).unwrap() <= FIRST_PAUSE);
        assert_eq!(budget.pause(now, 0, Some(Duration::from_secs(7))).unwrap(), Duration::from_secs(7));
        assert_eq!(budget.pause(now, 0, Some(Duration::from_secs(31))), None);
        let later = now + Duration::from_secs(3600);
        assert_eq!(
            budget.pause(later, 0, Some(Duration::from_secs(31))),
            None,
            "there is one budget for all"
        );
    }

    #[test]
    fn a_request_that_hung_for_longer_than_the_budget_is_not_repeated() {
        let started = Instant::now().checked_sub(Duration::from_secs(60)).unwrap();
        assert_eq!(RetryBudget::new(Duration::from_secs(30)).pause(started, 0, None), None);
    }
}
