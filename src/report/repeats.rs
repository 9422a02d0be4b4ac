//! What a process that stays has said already: the same trouble again is told once an hour, with a count.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

/// How long the same text is not told again, in seconds.
const ONCE_IN: u64 = 60 * 60;

/// More kinds of trouble than this are not told apart for an hour; the oldest is forgotten first.
const MOST: usize = 64;

/// What was said, by its pattern.
#[derive(Debug, Default)]
pub(crate) struct Repeats(Mutex<VecDeque<Said>>);

#[derive(Debug)]
struct Said {
    pattern: String,
    is_failure: bool,
    /// When it was last told, in seconds since 1970.
    at: u64,
    /// How often it has been kept back since.
    kept_back: u64,
}

/// Whether something is to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is new.
    Tell,
    /// It was told so long ago, and came so many times since.
    TellAgain(u64),
    /// It was told a short while ago.
    KeepBack,
}

impl Repeats {
    /// Whether `text` is to be told at `now`, in seconds since 1970.
    pub(super) fn judge(&self, text: &str, is_failure: bool, now: u64) -> Verdict {
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let pattern = pattern(text);
        if let Some(known) = said.iter_mut().find(|known| known.pattern == pattern) {
            // A clock that was set back is no reason to be silent for longer.
            if now >= known.at && now - known.at < ONCE_IN {
                known.kept_back += 1;
                return Verdict::KeepBack;
            }
            known.at = now;
            return match std::mem::take(&mut known.kept_back) {
                0 => Verdict::Tell,
                count => Verdict::TellAgain(count),
            };
        }
        if said.len() >= MOST {
            said.pop_front();
        }
        said.push_back(Said { pattern, is_failure, at: now, kept_back: 0 });
        Verdict::Tell
    }

    /// Whatever fails after this is news: all is well, or it is about another token.
    pub(crate) fn forget_failures(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|said| !said.is_failure);
    }
}

/// The text without its numbers: seconds that are left, ports and times differ each time, and mean the same. Not so in
/// quotation marks: two names may differ in nothing else.
fn pattern(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len());
    for (place, part) in text.split('"').enumerate() {
        if place > 0 {
            pattern.push('"');
        }
        if place % 2 == 1 {
            pattern.push_str(part);
            continue;
        }
        for character in part.chars() {
            if !character.is_ascii_digit() {
                pattern.push(character);
            } else if !pattern.ends_with('#') {
                pattern.push('#');
            }
        }
    }
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_trouble_is_told_once_an_hour_with_a_count() {
        let repeats = Repeats::default();
        assert_eq!(repeats.judge("FAIL: x (12s left)", true, 1_000), Verdict::Tell);
        assert_eq!(repeats.judge("FAIL: x (7s left)", true, 1_005), Verdict::KeepBack);
        assert_eq!(repeats.judge("FAIL: y", true, 1_006), Verdict::Tell, "another trouble");
        assert_eq!(repeats.judge("FAIL: x (3s left)", true, 4_599), Verdict::KeepBack);
        assert_eq!(repeats.judge("FAIL: x (3s left)", true, 4_600), Verdict::TellAgain(2));
        assert_eq!(repeats.judge("FAIL: x (3s left)", true, 4_601), Verdict::KeepBack);
        assert_eq!(
            repeats.judge("FAIL: x (3s left)", true, 500),
            Verdict::TellAgain(1),
            "the clock was set back"
        );
    }

    #[test]
    fn what_is_quoted_is_a_name_and_no_number() {
        let repeats = Repeats::default();
        assert_eq!(repeats.judge("DRIFT: dn=\"oidc-dev1\" 5s", true, 1_000), Verdict::Tell);
        assert_eq!(repeats.judge("DRIFT: dn=\"oidc-dev2\" 5s", true, 1_001), Verdict::Tell);
        assert_eq!(repeats.judge("DRIFT: dn=\"oidc-dev1\" 4s", true, 1_002), Verdict::KeepBack);
    }

    #[test]
    fn a_failure_after_a_success_is_news_and_a_standing_warning_is_not() {
        let repeats = Repeats::default();
        repeats.judge("FAIL: x", true, 1_000);
        repeats.judge("WARN: z", false, 1_000);
        repeats.forget_failures();
        assert_eq!(repeats.judge("FAIL: x", true, 1_001), Verdict::Tell);
        assert_eq!(repeats.judge("WARN: z", false, 1_001), Verdict::KeepBack);
    }

    #[test]
    fn a_flood_of_different_troubles_is_forgotten_from_its_beginning() {
        let repeats = Repeats::default();
        let text = |n: usize| "x".repeat(n + 1);
        for n in 0..=MOST {
            assert_eq!(repeats.judge(&text(n), true, 1_000), Verdict::Tell);
        }
        assert_eq!(repeats.0.lock().unwrap().len(), MOST);
        assert_eq!(repeats.judge(&text(MOST), true, 1_001), Verdict::KeepBack);
        assert_eq!(repeats.judge(&text(0), true, 1_001), Verdict::Tell);
    }
}
