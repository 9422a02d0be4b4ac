//! When the next turn comes. Pure: lengths of time and dice in, a length of time out.
//!
//! All lengths count from the moment at which a turn began, which is never later than the moment at which something
//! was granted.

use std::time::Duration;

/// No turn comes sooner after the one before: whatever is wrong, nobody is asked in a hot loop.
pub(crate) const FLOOR: Duration = Duration::from_secs(5);

/// From the third failure in a row on, a turn comes no sooner than this. Two tries at the floor are what a grant of
/// twenty seconds needs; going on like that would be more than eleven a minute.
const PATIENT_FLOOR: Duration = Duration::from_secs(6);

/// Failures in a row that are answered at the floor.
const HASTY: u32 = 2;

/// After a failure nobody waits for longer than this.
const LONGEST_AFTER_FAILURE: Duration = Duration::from_secs(5 * 60);

/// Half of a grant is gone when it is asked for again.
const SHARE: u32 = 2;

/// After a failure, the eighth part of what is left is waited for.
const SHARE_OF_THE_REST: u32 = 8;

/// The part of a length by which chance shortens it: at least, and at most. Not none at all: where two turns in a row
/// time out, the third must not begin at the very end of a grant of twenty seconds.
const CHANCE: (f64, f64) = (0.05, 0.10);

/// The part of a grant that one turn may take. Two that fail and one that does not have to fit into half of it.
const SHARE_OF_A_TURN: u32 = 4;

/// What was granted, and what is left of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Grant {
    /// All of it.
    pub(crate) length: Duration,
    /// What is left.
    pub(crate) left: Duration,
}

/// How long after a turn that was granted `length` the next one comes: when half of it is gone, less a little by
/// chance, so that many who began together do not come back together. `dice` is from 0 to 1.
pub(crate) fn after_success(length: Duration, longest: Duration, dice: f64) -> Duration {
    shortened((length / SHARE).min(longest), dice).max(FLOOR)
}

/// How long after a turn that failed the next one comes, being number `failures` in a row (from 1). Where nothing is
/// known of a grant, the pauses double from the floor on.
pub(crate) fn after_failure(grant: Option<Grant>, longest: Duration, failures: u32, dice: f64) -> Duration {
    let wanted = match grant {
        Some(Grant { length, left }) => (length / SHARE).min(left / SHARE_OF_THE_REST),
        None => FLOOR.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1))),
    };
    let floor = if failures <= HASTY { FLOOR } else { PATIENT_FLOOR };
    shortened(wanted.min(LONGEST_AFTER_FAILURE).min(longest), dice).max(floor)
}

/// How long a turn may take to have `granted` granted again, with all its questions and all their repetitions.
pub(crate) fn patience(granted: Duration) -> Duration {
    (granted / SHARE_OF_A_TURN).max(Duration::from_secs(1))
}

fn shortened(length: Duration, dice: f64) -> Duration {
    let (least, most) = CHANCE;
    length.mul_f64(1.0 - least - (most - least) * dice.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn seconds(number: u64) -> Duration {
        Duration::from_secs(number)
    }

    #[test]
    fn the_table_of_intervals() {
        for (granted, latest) in [
            (0, 5.0),
            (4, 5.0),
            (9, 5.0),
            (10, 5.0),
            (20, 9.5),
            (60, 28.5),
            (600, 285.0),
            (3_600, 1_710.0),
            (86_400, 41_040.0),
            // Half of a month is more than anybody should wait to hear of trouble.
            (2_764_800, 82_080.0),
        ] {
            let late = after_success(seconds(granted), DAY, 0.0).as_secs_f64();
            let soon = after_success(seconds(granted), DAY, 1.0).as_secs_f64();
            assert!((late - latest).abs() < 0.001, "{granted}: {late}");
            assert!(soon <= late && soon >= 5.0 && soon >= latest * 0.9, "{granted}: {soon}");
        }
    }

    #[test]
    fn after_a_failure_it_comes_sooner() {
        let after = |length, left, failures| {
            let grant = Grant { length: seconds(length), left: seconds(left) };
            after_failure(Some(grant), DAY, failures, 0.0).as_secs_f64()
        };
        for (length, left, failures, expected) in [
            (20, 10, 1, 5.0),
            (20, 5, 2, 5.0),
            (20, 0, 3, 6.0),
            (3_600, 1_800, 1, 213.75),
            (3_600, 80, 9, 9.5),
            (2_764_800, 2_700_000, 1, 285.0),
        ] {
            let after = after(length, left, failures);
            assert!((after - expected).abs() < 0.001, "{length}, {left}, {failures}: {after}");
        }
        let unknown: Vec<_> =
            (1..=9).map(|failures| after_failure(None, DAY, failures, 0.0).as_secs()).collect();
        assert_eq!(unknown, [5, 9, 19, 38, 76, 152, 285, 285, 285]);
    }

    #[test]
    fn a_turn_takes_no_more_than_a_quarter_of_what_was_granted() {
        assert_eq!(patience(seconds(20)), seconds(5));
        assert_eq!(patience(seconds(1)), seconds(1));
    }

    /// The moments at which turns begin after a grant, if each of them fails after `slowness`.
    fn tries(granted: Duration, slowness: Duration, dice: f64, count: u32) -> Vec<Duration> {
        let mut begun = vec![after_success(granted, DAY, dice)];
        for failures in 1..count {
            let last = *begun.last().unwrap();
            let over = last + slowness;
            let grant = Grant { length: granted, left: granted.saturating_sub(over) };
            begun.push((last + after_failure(Some(grant), DAY, failures, dice)).max(over));
        }
        begun
    }

    proptest! {
        #[test]
        fn never_hot_never_above_the_ceiling(
            granted in 0..10_000_000_u64, left in 0..10_000_000_u64, longest in 5..10_000_000_u64,
            failures in 1..2_000_000_000_u32, dice in 0.0..=1.0_f64,
        ) {
            let longest = seconds(longest);
            let good = after_success(seconds(granted), longest, dice);
            prop_assert!(good >= FLOOR && good <= longest.max(FLOOR));
            prop_assert!(good <= (seconds(granted) / 2).max(FLOOR));
            for grant in [None, Some(Grant { length: seconds(granted), left: seconds(left) })] {
                let bad = after_failure(grant, longest, failures, dice);
                prop_assert!(bad >= FLOOR && bad <= LONGEST_AFTER_FAILURE.min(longest.max(PATIENT_FLOOR)));
            }
        }

        #[test]
        fn two_failures_in_a_row_cost_no_grant_of_twenty_seconds_or_more(
            granted in 20..3_000_000_u64, dice in 0.0..=1.0_f64, slow in 0.0..=1.0_f64,
        ) {
            let granted = seconds(granted);
            let slowness = patience(granted).mul_f64(slow);
            let third = tries(granted, slowness, dice, 3)[2];
            prop_assert!(third < granted, "{third:?}");
        }

        #[test]
        fn eleven_turns_a_minute_are_the_most(
            granted in 0..400_u64, dice in 0.0..=1.0_f64, from in 0..30_usize,
        ) {
            let begun = tries(seconds(granted), Duration::ZERO, dice, 50);
            let start = begun[from];
            let within = begun.iter().filter(|&&at| at >= start && at < start + seconds(60)).count();
            prop_assert!(within <= 11, "{within}");
        }
    }
}
