//! The one line of a run.
//!
//! The lines are a contract: people search their logs for `OK`, `HEALED`, `DRIFT`, `FAIL`, `heal denied`
//! and `revoked N stale periodic token(s)`.

use super::escape::{Quoted, Shown};
use super::failures;
use super::names::Names;
use super::sweeps::{accessors_text, sweep_text};
use crate::facts::outcome::{HealedFrom, Outcome};

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
            format!("OK {}{}", sweep_text(swept), accessors_text(&swept.stale))
        }
        Outcome::Swept(swept) => {
            format!("FAIL: sweep: {}{}", sweep_text(swept), accessors_text(&swept.stale))
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
