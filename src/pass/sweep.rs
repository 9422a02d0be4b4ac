//! How much there is to sweep, and what the state remembers of it. The walk itself is in `walk`.

use super::context::{Context, warn_unsaved};
use super::walk::{Action, Walk};
use crate::config::{Settings, SweepMode};
use crate::facts::swept::{SweepEnd, Swept};
use crate::local::state::{Due, State};
use crate::secret::Token;
use crate::token::Accessor;

/// How much of a sweep there is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// All of it.
    Full,
    /// What the last sweep was not sure of.
    Doubtful,
}

impl Scope {
    /// What earlier sweeps left for a pass that only renews.
    pub(super) fn left_over(context: &Context<'_>, state: &State) -> Option<Self> {
        if !sweeps(context.settings) {
            None
        } else if state.is_sweep_due() {
            Some(Self::Full)
        } else if state.doubtful().is_empty() {
            None
        } else {
            Some(Self::Doubtful)
        }
    }

    /// Whether a sweep that nobody asked for found something worth a word.
    pub(super) fn is_news(self, swept: &Swept) -> bool {
        match self {
            // That listing is still denied was said when the token was minted.
            Self::Full => {
                !swept.stale.is_empty()
                    || swept.lookup_denied > 0
                    || !matches!(
                        swept.end,
                        SweepEnd::ListDenied | SweepEnd::LookupDenied | SweepEnd::KeptIsNoOrphan
                    )
            }
            Self::Doubtful => !swept.stale.is_empty() || swept.lookup_denied > 0,
        }
    }
}

/// The token that a sweep keeps.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kept<'a> {
    /// Its accessor, if it is known to be that of this very token.
    pub(super) accessor: Option<&'a Accessor>,
    /// Whether it outlives the one that minted it, if the server says.
    pub(super) orphan: Option<bool>,
}

/// Looks for what is stale, given the token to `keep`, with the authority of `token`.
pub(super) fn search(
    context: &Context<'_>,
    state: &State,
    token: &Token,
    keep: Kept<'_>,
    scope: Scope,
    action: Action,
) -> Swept {
    // Fail-safe: with nothing known to keep, nothing is revoked; nor while it could end with what is revoked.
    let Some(accessor) = keep.accessor else { return Swept::ended(SweepEnd::NothingToKeep) };
    if keep.orphan == Some(false) {
        return Swept::ended(SweepEnd::KeptIsNoOrphan);
    }
    let walk = Walk {
        client: context.client,
        token,
        identity: &context.settings.identity,
        minter: context.minter,
        token_file: &context.settings.token_file,
        keep: accessor,
        remembered: state.minted(),
        doubtful: state.doubtful(),
        action,
        longest: context.longest_walk,
        progress: context.progress,
    };
    match scope {
        Scope::Full => walk.run(context.settings.sweep),
        Scope::Doubtful => walk.recheck(),
    }
}

/// Sweeps with `token`, which is ours and is the one to `keep`, and notes in the state how it went.
pub(super) fn sweep(
    context: &Context<'_>,
    state: &mut State,
    token: &Token,
    keep: Kept<'_>,
    scope: Scope,
) -> Swept {
    let swept = search(context, state, token, keep, scope, Action::Revoke);
    let looked_at = |accessor: &&Accessor| match scope {
        Scope::Full => true,
        Scope::Doubtful => state.doubtful().contains(accessor),
    };
    let gone: Vec<_> = state
        .minted()
        .iter()
        .filter(looked_at)
        .filter(|&accessor| Some(accessor) != keep.accessor && swept.is_gone(accessor))
        .cloned()
        .collect();
    let (due, doubtful) = match scope {
        // A sweep that is switched off finishes none that is due.
        Scope::Full => {
            let off = state.is_sweep_due() && !sweeps(context.settings);
            let due = if off { state.due() } else { swept.leaves() };
            (due, swept.doubtful.clone())
        }
        // One that an outage cut short is made up for; one at which the server itself breaks never ends.
        Scope::Doubtful if swept.is_worth_repeating() => (Due::Nothing, state.doubtful().to_vec()),
        Scope::Doubtful => (Due::Nothing, Vec::new()),
    };
    warn_unsaved(context, state.note_swept(due, &gone, doubtful));
    swept
}

/// Whether sweeps are switched on.
pub(super) fn sweeps(settings: &Settings) -> bool {
    match settings.sweep {
        SweepMode::Walk | SweepMode::Remembered => true,
        SweepMode::Off => false,
    }
}
