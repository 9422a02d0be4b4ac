//! The words of a sweep.

use super::errors;
use super::escape::Shown;
use crate::facts::swept::{CutCause, SweepEnd, Swept};
use crate::io_text::io_text;
use crate::token::Accessor;

/// A line names so many accessors at most; JSON has them all.
const MOST_ACCESSORS: usize = 32;

/// `: Fg08GkI6…, i8LfJ…`, or nothing.
pub(super) fn accessors_text(list: &[Accessor]) -> String {
    if list.is_empty() {
        return String::new();
    }
    let mut shown: Vec<String> =
        list.iter().take(MOST_ACCESSORS).map(|accessor| Shown(&accessor.short()).to_string()).collect();
    if let Some(more) = list.len().checked_sub(MOST_ACCESSORS).filter(|more| *more > 0) {
        shown.push(format!("and {more} more"));
    }
    format!(": {}", shown.join(", "))
}

/// That a foreign token never ends and nobody has revoked it; empty if there is none.
pub(super) fn lives_on_text(lives_on: Option<&Accessor>) -> String {
    let text = |accessor: &Accessor| {
        format!("; the foreign token {} never ends and lives on", Shown(&accessor.short()))
    };
    lives_on.map(text).unwrap_or_default()
}

/// What became of a sweep that an earlier run left; empty if nothing was left.
pub(super) fn resumed_text(resumed: Option<&Swept>) -> String {
    resumed.map(|swept| format!("; resumed an earlier sweep ({})", sweep_text(swept))).unwrap_or_default()
}

/// What the verb `sweep` came to.
pub(super) fn whole_sweep_text(swept: &Swept) -> String {
    format!("{}{}", sweep_text(swept), accessors_text(&swept.stale))
}

/// `revoked 2 stale periodic token(s)`, and what else there is to say.
pub(super) fn sweep_text(swept: &Swept) -> String {
    let mut parts = Vec::new();
    let mut irrevocable_because = swept.irrevocable_because.as_ref();
    let revoked = format!("revoked {} stale periodic token(s)", swept.stale.len());
    match &swept.end {
        SweepEnd::Complete => parts.push(revoked),
        SweepEnd::Off => parts.push("accessor sweep off".to_owned()),
        SweepEnd::ListDenied
        | SweepEnd::LookupDenied
        | SweepEnd::MostlyDenied
        | SweepEnd::NothingToKeep
        | SweepEnd::KeptIsNoOrphan => {
            // One denial is enough said.
            irrevocable_because = None;
            parts.push(format!("accessor sweep skipped ({})", sweep_end_text(&swept.end)));
            if !swept.stale.is_empty() {
                parts.push(revoked);
            }
        }
        SweepEnd::CutShort { .. } => {
            parts.push(revoked);
            parts.push(format!("accessor sweep cut short {}", sweep_end_text(&swept.end)));
        }
    }
    if let Some(message) = irrevocable_because {
        parts.push(format!(
            "{} may not be revoked (403: {})",
            swept.irrevocable.len(),
            errors::reason_text(message)
        ));
    }
    if !swept.indigestible.is_empty() {
        parts.push(format!("{} could not be looked at", swept.indigestible.len()));
    }
    parts.join("; ")
}

/// Why a sweep did not do all its work; empty if it did.
pub(super) fn sweep_end_text(end: &SweepEnd) -> String {
    match end {
        SweepEnd::Complete | SweepEnd::Off => String::new(),
        SweepEnd::ListDenied => "list denied".to_owned(),
        SweepEnd::LookupDenied | SweepEnd::MostlyDenied => "lookup denied".to_owned(),
        SweepEnd::KeptIsNoOrphan => {
            "the token to keep is not an orphan and could expire with one that is revoked".to_owned()
        }
        SweepEnd::NothingToKeep => "the server does not know the token to keep".to_owned(),
        SweepEnd::CutShort { examined, total, cause } => {
            let cause = match cause {
                CutCause::Error(error) => errors::error_text(error),
                CutCause::TimeIsUp => "time is up".to_owned(),
                CutCause::FileChanged => "the token file changed".to_owned(),
                CutCause::FileUnread(error) => format!("the token file cannot be read: {}", io_text(error)),
            };
            format!("after {examined} of {total} accessors: {cause}")
        }
    }
}
