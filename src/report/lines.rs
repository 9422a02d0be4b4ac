//! The one line of a run.
//!
//! The lines are a contract: people search their logs for `OK`, `HEALED`, `DRIFT`, `FAIL`, `heal denied`
//! and `revoked N stale periodic token(s)`.

use super::escape::{Quoted, Shown};
use super::names::Names;
use super::{errors, failures};
use crate::facts::outcome::{HealedFrom, Outcome};
use crate::facts::swept::{CutCause, SweepEnd, Swept};
use crate::io_text::io_text;

/// The one line of a run, without its time stamp.
pub(super) fn outcome_text(outcome: &Outcome, names: &Names<'_>) -> String {
    match outcome {
        Outcome::Renewed { display_name, ttl, resumed } => {
            let swept =
                resumed.as_ref().map(|swept| format!("; resumed an earlier sweep ({})", sweep_text(swept)));
            format!("OK renewed (dn={} ttl={ttl}s){}", Shown(display_name), swept.unwrap_or_default())
        }
        Outcome::Healed { from, display_name, lives_on, swept } => {
            let from = match from {
                HealedFrom::Foreign => "foreign",
                HealedFrom::Dying => "dying",
            };
            let lives_on = lives_on.as_ref().map(|accessor| {
                format!("; the foreign token {} never ends and lives on", Shown(&accessor.short()))
            });
            format!(
                "HEALED: re-minted periodic token from {from} dn={} ({}){}",
                Quoted(display_name),
                sweep_text(swept),
                lives_on.unwrap_or_default()
            )
        }
        Outcome::Swept(swept) if swept.is_full() => {
            format!("OK {}{}", sweep_text(swept), failures::accessors_text(&swept.stale))
        }
        Outcome::Swept(swept) => {
            format!("FAIL: sweep: {}{}", sweep_text(swept), failures::accessors_text(&swept.stale))
        }
        Outcome::Drift { display_name, refusal } => format!(
            "DRIFT: {} is dn={} — heal denied, foreign token lacks create authority ({}); investigate what \
             wrote it. {}",
            names.token_file(),
            Quoted(display_name),
            refusal.as_ref().map_or_else(|| failures::NEVER_MINTS.to_owned(), failures::refusal_text),
            names.recovery()
        ),
        Outcome::Failed(failure) => format!("FAIL: {}", failures::failure_text(failure, names)),
    }
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
            "the token to keep is no orphan and could end with one that is revoked".to_owned()
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
