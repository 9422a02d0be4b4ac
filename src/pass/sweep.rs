//! How much there is to sweep, and what the state remembers of it. The walk itself is in `walk`.

use super::context::{Context, note};
use super::walk::{Action, Walk};
use crate::config::{Settings, SweepMode};
use crate::facts::swept::{SweepEnd, SweepReport};
use crate::local::state::{Due, State};
use crate::secret::Token;
use crate::token::Accessor;

/// How much of a sweep there is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// All of it.
    Full,
    /// What the last sweep was not sure of.
    SecondLook,
}

impl Scope {
    /// What earlier sweeps left for a pass that only renews.
    pub(super) fn left_over(context: &Context<'_>, state: &State) -> Option<Self> {
        if !sweeps(context.settings) {
            None
        } else if state.is_sweep_due() {
            Some(Self::Full)
        } else if state.second_look().is_empty() {
            None
        } else {
            Some(Self::SecondLook)
        }
    }

    /// Whether a sweep that nobody asked for found something worth a word.
    pub(super) fn is_news(self, report: &SweepReport) -> bool {
        match self {
            // That listing is still denied was said when the token was minted.
            Self::Full => {
                !report.stale.is_empty()
                    || report.unseen > 0
                    || !matches!(report.end, SweepEnd::ListDenied | SweepEnd::LookupDenied)
            }
            Self::SecondLook => !report.stale.is_empty() || report.unseen > 0,
        }
    }
}

/// Looks for what is stale, given the token to `keep`, with the authority of `token`.
pub(super) fn look(
    context: &Context<'_>,
    state: &State,
    token: &Token,
    keep: Option<&Accessor>,
    scope: Scope,
    action: Action,
) -> SweepReport {
    // Fail-safe: with nothing known to keep, nothing is revoked.
    let Some(keep) = keep else { return SweepReport::nothing_to_keep() };
    let walk = Walk {
        client: context.client,
        token,
        identity: &context.settings.identity,
        host: context.host,
        keep,
        remembered: state.minted(),
        doubtful: state.second_look(),
        action,
    };
    match scope {
        Scope::Full => walk.run(context.settings.sweep),
        Scope::SecondLook => walk.look_again(),
    }
}

/// Sweeps with `token`, which is ours and is the one to `keep`, and notes in the state how it went.
pub(super) fn sweep(
    context: &Context<'_>,
    state: &mut State,
    token: &Token,
    keep: Option<&Accessor>,
    scope: Scope,
) -> SweepReport {
    let report = look(context, state, token, keep, scope, Action::Revoke);
    let seen = |accessor: &&Accessor| match scope {
        Scope::Full => true,
        Scope::SecondLook => state.second_look().contains(accessor),
    };
    let gone: Vec<_> = state
        .minted()
        .iter()
        .filter(seen)
        .filter(|&accessor| Some(accessor) != keep && report.is_gone(accessor))
        .cloned()
        .collect();
    let (due, second_look) = match scope {
        // A sweep that is switched off finishes none that is due.
        Scope::Full => {
            let off = state.is_sweep_due() && !sweeps(context.settings);
            let due = if off { state.due() } else { report.leaves() };
            (due, report.second_look.clone())
        }
        // One that an outage cut short is made up for; one at which the server itself breaks never ends.
        Scope::SecondLook if report.is_worth_repeating() => (Due::Nothing, state.second_look().to_vec()),
        Scope::SecondLook => (Due::Nothing, Vec::new()),
    };
    note(context, state.note_swept(due, &gone, second_look));
    report
}

/// Whether sweeps are switched on.
pub(super) fn sweeps(settings: &Settings) -> bool {
    match settings.sweep {
        SweepMode::Walk | SweepMode::Remembered => true,
        SweepMode::Off => false,
    }
}
