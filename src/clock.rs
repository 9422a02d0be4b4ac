//! The clock of this machine.

use time::format_description::FormatItem;
use time::macros::format_description;
use time::{OffsetDateTime, UtcOffset};

/// RFC 3339 with seconds and a numeric offset, as `date -Is` writes it.
const STAMP: &[FormatItem<'_>] = format_description!(
    "[year]-[month]-[day]T[hour]:[minute]:[second][offset_hour sign:mandatory]:[offset_minute]"
);

/// The clock of the lines, with the local offset as it was at the start.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    offset: UtcOffset,
}

impl Clock {
    /// The clock of this machine. Where the offset cannot be told, it is zero and says so.
    pub(crate) fn local() -> Self {
        Self { offset: UtcOffset::current_local_offset().unwrap_or(UtcOffset::UTC) }
    }

    /// Seconds since 1970.
    pub(crate) fn seconds(self) -> u64 {
        u64::try_from(self.now().unix_timestamp()).unwrap_or(0)
    }

    fn now(self) -> OffsetDateTime {
        OffsetDateTime::now_utc().to_offset(self.offset)
    }

    /// Now, as the log has it.
    pub(crate) fn stamp(self) -> String {
        self.now().format(STAMP).unwrap_or_default()
    }

    /// A point in time, given in seconds since 1970, as the log would have it.
    pub(crate) fn at(self, seconds: u64) -> String {
        let time =
            i64::try_from(seconds).ok().and_then(|time| OffsetDateTime::from_unix_timestamp(time).ok());
        let stamp = time.and_then(|time| time.to_offset(self.offset).format(STAMP).ok());
        stamp.unwrap_or_else(|| "the end of time".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_stamps_are_those_of_date_is() {
        let clock = Clock { offset: UtcOffset::from_hms(5, 30, 0).unwrap() };
        let stamp = clock.stamp();
        assert_eq!(stamp.len(), "2026-11-22T00:03:11+00:00".len(), "{stamp}");
        assert!(stamp.ends_with("+05:30"), "{stamp}");
    }
}
