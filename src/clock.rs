//! The clock of this machine, with its local time. Handed in, so that a test can set it.

use time::{OffsetDateTime, UtcOffset};

/// The wall clock, and the offset of local time from UTC.
///
/// The offset is asked for each time anew: a process that stays sees summer time come and go.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    now: fn() -> OffsetDateTime,
    offset_at: fn(OffsetDateTime) -> UtcOffset,
}

impl Clock {
    /// That of this machine. Where its offset cannot be told, it is zero and says so.
    pub(crate) fn of_this_machine() -> Self {
        let offset_at = |time| UtcOffset::local_offset_at(time).unwrap_or(UtcOffset::UTC);
        // The zone is loaded now, and not when a line has to be written in want of a file descriptor.
        offset_at(OffsetDateTime::now_utc());
        Self { now: OffsetDateTime::now_utc, offset_at }
    }

    /// Seconds since 1970.
    pub(crate) fn seconds(self) -> u64 {
        u64::try_from((self.now)().unix_timestamp()).unwrap_or(0)
    }

    /// Now, in local time.
    pub(crate) fn now(self) -> OffsetDateTime {
        let now = (self.now)();
        now.checked_to_offset((self.offset_at)(now)).unwrap_or(now)
    }

    /// A point in time, given in seconds since 1970, with the offset that counts now; none where a calendar ends.
    pub(crate) fn local(self, seconds: u64) -> Option<OffsetDateTime> {
        let time = OffsetDateTime::from_unix_timestamp(i64::try_from(seconds).ok()?).ok()?;
        time.checked_to_offset((self.offset_at)((self.now)()))
    }

    /// A clock for a test.
    #[cfg(test)]
    pub(crate) fn set_to(now: fn() -> OffsetDateTime, offset_at: fn(OffsetDateTime) -> UtcOffset) -> Self {
        Self { now, offset_at }
    }
}
