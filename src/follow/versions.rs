//! Whether an answer is out of date. Pure: two versions in, a judgement out.
//!
//! A standby that lags behind shows a version that was current a while ago (github.com/openbao/openbao/issues/3877). It
//! was written before the one that is held, and its number is no higher. A secret that was deleted with all that is
//! known of it, and written again, begins at 1, but later. A server that was restored from a backup shows an old
//! version too, and goes on doing so.

use crate::version::Version;

/// So many answers in a row say the same until an old one is taken for the truth.
const CONVINCED_BY: u32 = 3;

/// How an answer stands to what is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Age {
    /// It is the same version, a newer one, or nobody can tell.
    Current,
    /// It is older.
    Stale,
    /// It is older, and the server insists on it.
    Restored,
}

/// What the server has said so often that is older than what is held.
#[derive(Debug, Default)]
pub(super) struct Stale(Option<(Version, u32)>);

/// Judges the version that was `seen` by the one that is `held`.
pub(super) fn age(held: Option<Version>, seen: Option<Version>, stale: &mut Stale) -> Age {
    let (Some(held), Some(seen)) = (held, seen) else {
        stale.0 = None;
        return Age::Current;
    };
    if seen.number > held.number || seen.created >= held.created {
        stale.0 = None;
        return Age::Current;
    }
    let count = stale.0.filter(|(known, _)| *known == seen).map_or(0, |(_, count)| count) + 1;
    if count >= CONVINCED_BY {
        stale.0 = None;
        return Age::Restored;
    }
    stale.0 = Some((seen, count));
    Age::Stale
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(number: u64, created: i128) -> Version {
        Version { number, created }
    }

    #[test]
    fn what_is_older_by_number_and_time_is_out_of_date() {
        let held = Some(version(5, 50));
        for (seen, expected) in [
            (Some(version(5, 50)), Age::Current),
            (Some(version(6, 60)), Age::Current),
            // The clock of the node that wrote it is behind.
            (Some(version(6, 40)), Age::Current),
            // Deleted with all that was known of it, and written again.
            (Some(version(1, 60)), Age::Current),
            (Some(version(4, 40)), Age::Stale),
            // The same after a new beginning: the old one had that number, too.
            (Some(version(5, 40)), Age::Stale),
            (None, Age::Current),
        ] {
            assert_eq!(age(held, seen, &mut Stale::default()), expected, "{seen:?}");
        }
        assert_eq!(age(None, held, &mut Stale::default()), Age::Current);
    }

    #[test]
    fn a_server_that_says_so_three_times_was_restored() {
        let [held, old, older] = [version(5, 50), version(3, 30), version(2, 20)].map(Some);
        let mut stale = Stale::default();
        let mut seen = |seen| age(held, seen, &mut stale);
        assert_eq!([seen(old), seen(old), seen(old)], [Age::Stale, Age::Stale, Age::Restored]);
        // Not three times the same, or not in a row.
        assert_eq!([seen(old), seen(older), seen(old), seen(old)], [Age::Stale; 4]);
        assert_eq!([seen(held), seen(old), seen(old)], [Age::Current, Age::Stale, Age::Stale]);
    }
}
