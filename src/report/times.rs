//! Points and lengths of time, for people and for programs.

use time::OffsetDateTime;
use time::format_description::FormatItem;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;

use crate::clock::Clock;

/// RFC 3339 with seconds and a numeric offset, as `date -Is` writes it.
const STAMP: &[FormatItem<'_>] = format_description!(
    "[year]-[month]-[day]T[hour]:[minute]:[second][offset_hour sign:mandatory]:[offset_minute]"
);

/// Now, as the log has it.
pub(super) fn stamp_text(clock: Clock) -> String {
    clock.now().format(STAMP).unwrap_or_default()
}

/// A point in time, given in seconds since 1970, as the log would have it.
pub(super) fn local_text(clock: Clock, seconds: u64) -> String {
    let stamp = clock.local(seconds).and_then(|time| time.format(STAMP).ok());
    stamp.unwrap_or_else(|| "the end of time".to_owned())
}

/// A length of time as people say it, in the two largest units.
pub(super) fn span_text(seconds: u64) -> String {
    let units = [(86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")];
    let first = units.iter().position(|(unit, _)| seconds >= *unit).unwrap_or(units.len() - 1);
    let mut rest = seconds;
    let mut parts = Vec::new();
    for (unit, name) in units.iter().skip(first).take(2) {
        if rest / unit > 0 || parts.is_empty() {
            parts.push(format!("{} {name}", rest / unit));
        }
        rest %= unit;
    }
    parts.join(" ")
}

/// A point in time, given in seconds since 1970.
pub(super) fn utc_text(seconds: u64) -> String {
    let time =
        i64::try_from(seconds).ok().and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok());
    time.and_then(|time| time.format(&Rfc3339).ok()).unwrap_or_else(|| "9999-12-31T23:59:59Z".to_owned())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use super::*;
    use time::UtcOffset;

    #[test]
    fn time_stamps_are_those_of_date_is() {
        let clock = Clock::set_to(
            || OffsetDateTime::from_unix_timestamp(1_795_309_391).unwrap(),
            |_| UtcOffset::from_hms(5, 30, 0).unwrap(),
        );
        assert_eq!(stamp_text(clock), "2026-11-22T06:33:11+05:30");
        assert_eq!(local_text(clock, 0), "1970-01-01T05:30:00+05:30");
        assert_eq!(local_text(clock, u64::MAX), "the end of time");
    }

    #[test]
    fn a_process_that_stays_sees_summer_time_end() {
        /// Two minutes before the clocks of central Europe are set back in 2026.
        static NOW: AtomicI64 = AtomicI64::new(1_792_889_880);
        let clock = Clock::set_to(
            || OffsetDateTime::from_unix_timestamp(NOW.load(Ordering::Relaxed)).unwrap(),
            |time| {
                let hours = if time.unix_timestamp() < 1_792_890_000 { 2 } else { 1 };
                UtcOffset::from_hms(hours, 0, 0).unwrap()
            },
        );
        assert_eq!(stamp_text(clock), "2026-10-25T02:58:00+02:00");
        NOW.fetch_add(240, Ordering::Relaxed);
        assert_eq!(stamp_text(clock), "2026-10-25T02:02:00+01:00");
    }

    #[test]
    fn lengths_of_time_are_said_in_two_units() {
        for (seconds, said) in [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (61, "1 min 1 s"),
            (3_600, "1 h"),
            (3_659, "1 h"),
            (2_764_800, "32 d"),
            (2_764_799, "31 d 23 h"),
            (90_061, "1 d 1 h"),
        ] {
            assert_eq!(span_text(seconds), said);
        }
    }

    #[test]
    fn points_in_time_are_utc_and_never_fail() {
        assert_eq!(utc_text(0), "1970-01-01T00:00:00Z");
        assert_eq!(utc_text(1_795_309_653), "2026-11-22T01:07:33Z");
        assert_eq!(utc_text(u64::MAX), "9999-12-31T23:59:59Z");
    }
}
