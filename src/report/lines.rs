//! The one line of a run.
//!
//! The lines are a contract: people search their logs for `OK`, `HEALED`, `DRIFT`, `FAIL`, `heal denied`
//! and `revoked N stale periodic token(s)`.

use super::escape::{Quoted, Shown};
use super::failures;
use super::names::Names;
use super::sweeps::{lives_on_text, resumed_text, sweep_text, whole_sweep_text};
use crate::facts::outcome::{HealedFrom, Outcome};

/// The one line of a run, without its time stamp.
pub(super) fn outcome_text(outcome: &Outcome, names: &Names<'_>) -> String {
    match outcome {
        Outcome::Renewed { display_name, ttl, resumed } => {
            format!("OK renewed (dn={} ttl={ttl}s){}", Shown(display_name), resumed_text(resumed.as_ref()))
        }
        Outcome::Healed { from, display_name, lives_on, swept } => {
            let from = match from {
                HealedFrom::Foreign => "foreign",
                HealedFrom::Dying => "dying",
            };
            format!(
                "HEALED: re-minted periodic token from {from} dn={} ({}){}",
                Quoted(display_name),
                sweep_text(swept),
                lives_on_text(lives_on.as_ref())
            )
        }
        Outcome::Swept(swept) if swept.is_full() => format!("OK {}", whole_sweep_text(swept)),
        Outcome::Swept(swept) => format!("FAIL: sweep: {}", whole_sweep_text(swept)),
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
