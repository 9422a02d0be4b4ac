//! A moment that is past when either of two clocks says so.
//!
//! The wall clock sees a machine that was moved or frozen; the clock that counts from the boot, suspension included,
//! sees a wall clock that was set back. Each alone would let something run out unnoticed.

use std::time::{Duration, SystemTime};

use rustix::time::{ClockId, clock_gettime};

/// A moment to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Deadline {
    wall: SystemTime,
    since_boot: Duration,
}

/// Both clocks at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moment {
    wall: SystemTime,
    since_boot: Duration,
}

impl Moment {
    /// That at which it is called.
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place where a process that stays asks what it waits for"
    )]
    pub(crate) fn now() -> Self {
        let since_boot = clock_gettime(ClockId::Boottime);
        let whole = u64::try_from(since_boot.tv_sec).unwrap_or(0);
        let part = u32::try_from(since_boot.tv_nsec).unwrap_or(0);
        Self { wall: SystemTime::now(), since_boot: Duration::new(whole, part) }
    }

    /// How long ago that was, by whichever clock says more: one of them may have been set back, or have stood still.
    pub(crate) fn elapsed(self) -> Duration {
        let now = Self::now();
        let by_wall = now.wall.duration_since(self.wall).unwrap_or_default();
        by_wall.max(now.since_boot.saturating_sub(self.since_boot))
    }

    /// The moment that is so much later.
    pub(crate) fn after(self, length: Duration) -> Deadline {
        // What no clock can hold is as good as never.
        let century = Duration::from_secs(100 * 365 * 24 * 60 * 60);
        let length = length.min(century);
        Deadline {
            wall: self.wall.checked_add(length).unwrap_or(self.wall),
            since_boot: self.since_boot.saturating_add(length),
        }
    }
}

impl Deadline {
    /// What is left at `now`, by the clock that has less.
    pub(crate) fn left_at(self, now: Moment) -> Duration {
        let by_wall = self.wall.duration_since(now.wall).unwrap_or_default();
        by_wall.min(self.since_boot.saturating_sub(now.since_boot))
    }

    /// What is left.
    pub(crate) fn left(self) -> Duration {
        self.left_at(Moment::now())
    }

    /// Whether it is past.
    pub(crate) fn is_past(self) -> bool {
        self.left().is_zero()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(wall: u64, since_boot: u64) -> Moment {
        Moment {
            wall: SystemTime::UNIX_EPOCH + Duration::from_secs(wall),
            since_boot: Duration::from_secs(since_boot),
        }
    }

    #[test]
    fn the_clock_that_has_less_counts() {
        let deadline = moment(1_000, 10).after(Duration::from_secs(60));
        for (wall, since_boot, left) in
            [(1_000, 10, 60), (1_020, 30, 40), (4_600, 30, 0), (500, 30, 40), (500, 70, 0), (1_060, 10, 0)]
        {
            let found = deadline.left_at(moment(wall, since_boot));
            assert_eq!(found, Duration::from_secs(left), "{wall}, {since_boot}");
        }
    }

    #[test]
    fn what_never_ends_is_no_overflow() {
        let deadline = Moment::now().after(Duration::MAX);
        assert!(!deadline.is_past());
        assert!(deadline.left() > Duration::from_secs(50 * 365 * 24 * 3600));
    }
}
