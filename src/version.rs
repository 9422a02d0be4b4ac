//! A version of a secret in a KV store, and which of two counts. Pure.
//!
//! A standby that lags behind shows a version that was current a while ago (github.com/openbao/openbao/issues/3877). It
//! was written before the one that is known, and its number is no higher. A secret that was deleted with all that was
//! known of it, and written again, begins at 1, but later; what it held before its new beginning has higher numbers,
//! and is out of date all the same. A server that was restored from a backup shows an old version too, and goes on
//! doing so.

use serde::{Deserialize, Serialize};

/// So many answers in a row say the same until an old one is taken for the truth.
const CONVINCED_BY: u32 = 3;

/// A version of a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Version {
    /// Its number. It begins at 1 again when all that is known of the secret was deleted.
    pub(crate) number: u64,
    /// When it was written, by the clock of the server: nanoseconds since 1970.
    pub(crate) created: i128,
}

impl Version {
    /// When it was written, in seconds since 1970.
    pub(crate) fn created_at(self) -> u64 {
        u64::try_from(self.created / 1_000_000_000).unwrap_or(0)
    }

    /// Whether it was there before `other`, by its number and its time.
    fn precedes(self, other: Self) -> bool {
        self.number <= other.number && self.created < other.created
    }
}

/// How an answer stands to what is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Age {
    /// It is the same version, a newer one, or nobody can tell.
    Current,
    /// It is older than this one, which was accepted before.
    Stale(Version),
    /// It is older, and the server insists on it.
    Restored,
}

/// What is known of the versions of one secret.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Versions {
    /// The one that was accepted last.
    newest: Option<Version>,
    /// The last one before the secret began anew.
    former: Option<Version>,
    /// One that is older, and how often in a row the server has said so.
    doubted: Option<(Version, u32)>,
}

impl Versions {
    /// The one that was accepted last.
    pub(crate) fn newest(&self) -> Option<Version> {
        self.newest
    }

    /// Judges a version that was `seen`; none if the store has no versions.
    pub(crate) fn judge(&mut self, seen: Option<Version>) -> Age {
        let Some((seen, newest)) = seen.zip(self.newest) else {
            self.doubted = None;
            return Age::Current;
        };
        let is_of_former = |former: Version| seen == former || seen.precedes(former);
        if !seen.precedes(newest) && !self.former.is_some_and(is_of_former) {
            self.doubted = None;
            return Age::Current;
        }
        let said = self.doubted.filter(|(known, _)| *known == seen).map_or(0, |(_, count)| count);
        let count = CONVINCED_BY.min(said + 1);
        // It stays in mind until it is accepted: the file may not take it at once.
        self.doubted = Some((seen, count));
        if count >= CONVINCED_BY { Age::Restored } else { Age::Stale(newest) }
    }

    /// What was said before is not said in a row any more.
    pub(crate) fn forget_doubts(&mut self) {
        self.doubted = None;
    }

    /// Takes a version that was judged as the one that counts.
    pub(crate) fn accept(&mut self, accepted: Option<Version>, age: Age) {
        let is_new_beginning = accepted
            .zip(self.newest)
            .is_some_and(|(accepted, newest)| accepted.number <= newest.number && accepted != newest);
        match (accepted, age) {
            // Whatever was known is of another time.
            (None, _) | (_, Age::Restored) => self.former = None,
            (Some(_), Age::Current | Age::Stale(_)) if is_new_beginning => self.former = self.newest,
            (Some(_), Age::Current | Age::Stale(_)) => {}
        }
        (self.newest, self.doubted) = (accepted, None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::unnecessary_wraps, reason = "the store may have none")]
    fn version(number: u64, created: i128) -> Option<Version> {
        Some(Version { number, created })
    }

    /// What is known when these were accepted, one after the other.
    fn after(accepted: &[Option<Version>]) -> Versions {
        let mut versions = Versions::default();
        for seen in accepted {
            let age = versions.judge(*seen);
            assert_eq!(age, Age::Current, "{seen:?}");
            versions.accept(*seen, age);
        }
        versions
    }

    #[test]
    fn what_is_older_by_number_and_time_is_out_of_date() {
        let held = version(5, 50);
        let stale = Age::Stale(held.unwrap());
        for (seen, expected) in [
            (version(5, 50), Age::Current),
            (version(6, 60), Age::Current),
            // The clock of the node that wrote it is behind.
            (version(6, 40), Age::Current),
            // Deleted with all that was known of it, and written again.
            (version(1, 60), Age::Current),
            (version(4, 40), stale),
            // The same after a new beginning: the old one had that number, too.
            (version(5, 40), stale),
            (None, Age::Current),
        ] {
            assert_eq!(after(&[held]).judge(seen), expected, "{seen:?}");
        }
        assert_eq!(Versions::default().judge(held), Age::Current);
    }

    #[test]
    fn what_was_there_before_a_new_beginning_is_out_of_date_whatever_its_number() {
        let mut versions = after(&[version(9, 90), version(1, 100)]);
        let stale = Age::Stale(version(1, 100).unwrap());
        for old in [version(9, 90), version(8, 80), version(1, 10)] {
            assert_eq!(versions.judge(old), stale, "{old:?}");
        }
        // Its own next versions are not, at the old numbers either.
        let mut versions = after(&[version(9, 90), version(1, 100), version(2, 110)]);
        assert_eq!(versions.judge(version(9, 200)), Age::Current);
        versions.accept(version(9, 200), Age::Current);
        assert_eq!(versions.judge(version(9, 90)), Age::Stale(version(9, 200).unwrap()));
        // A server that was restored is believed at last, and in all that it says from then on.
        let mut versions = after(&[version(9, 90), version(1, 100)]);
        let ages: Vec<_> = (0..4).map(|_| versions.judge(version(9, 90))).collect();
        assert_eq!(ages, [stale, stale, Age::Restored, Age::Restored], "until it is accepted");
        versions.accept(version(9, 90), Age::Restored);
        assert_eq!(versions.judge(version(9, 90)), Age::Current);
    }

    #[test]
    fn a_server_that_says_so_three_times_was_restored() {
        let [held, old, older] = [version(5, 50), version(3, 30), version(2, 20)];
        let stale = Age::Stale(held.unwrap());
        let mut versions = after(&[held]);
        assert_eq!([0; 3].map(|_| versions.judge(old)), [stale, stale, Age::Restored]);
        // Not three times the same, or not in a row.
        let mut versions = after(&[held]);
        let mut seen = |seen| versions.judge(seen);
        assert_eq!([seen(old), seen(older), seen(old), seen(old)], [stale; 4]);
        assert_eq!([seen(held), seen(old), seen(old)], [Age::Current, stale, stale]);
        versions.forget_doubts();
        assert_eq!(versions.judge(old), stale);
    }

    #[test]
    fn a_store_without_versions_leaves_nothing_to_judge_by() {
        let mut versions = after(&[version(9, 90), version(1, 100), None]);
        assert_eq!(versions, Versions::default());
        assert_eq!(versions.judge(version(1, 1)), Age::Current);
    }
}
