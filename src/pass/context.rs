//! What a pass works with.

use std::io;
use std::time::Duration;

use crate::clock::Clock;
use crate::config::Settings;
use crate::facts::outcome::Outcome;
use crate::facts::warning::Warning;
use crate::identity::Minter;
use crate::local::history::History;
use crate::stop::Stop;
use crate::token::TokenInfo;
use crate::vault::Client;

/// What a pass works with. Everything that could differ in a test is handed in.
pub(crate) struct Context<'a> {
    /// What was asked for.
    pub(crate) settings: &'a Settings,
    /// The server.
    pub(crate) client: &'a Client<'a>,
    /// Where and for whom tokens are minted.
    pub(crate) minter: &'a Minter,
    /// This machine's clock.
    pub(crate) clock: Clock,
    /// Where warnings go, as they arise.
    pub(crate) warn: &'a dyn Fn(Warning),
    /// Who puts the end of a run into words. They are remembered, and nothing is done with them here.
    pub(crate) line: &'a dyn Fn(&Outcome) -> String,
    /// Where the figures go when a run is over, while it still has its lock.
    pub(crate) publish: &'a dyn Fn(&History),
    /// Who hears how far a walk over the accessors is, and of how many.
    pub(crate) progress: &'a (dyn Fn(usize, usize) + Sync),
    /// Whether somebody wants the run to end.
    pub(crate) stop: &'a Stop,
    /// In how many seconds the next run comes, where that can be known.
    pub(crate) next_run: &'a dyn Fn() -> Option<u64>,
    /// How long a walk over the accessors may take.
    pub(crate) longest_walk: Duration,
    /// How long it may wait for other runs.
    pub(crate) longest_wait: Duration,
    /// How the runs went that this process made before, if it stays. What of it could not be saved counts all the same.
    pub(crate) earlier: Option<&'a History>,
}

/// What a run is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Work {
    /// A pass: renew our token, or heal.
    Pass,
    /// The verb `sweep`: revoke the stale tokens of our name now.
    Sweep,
}

/// Of one answer, so many warnings are passed on. Each policy that does not exist is one.
const MOST_WARNINGS: usize = 32;

/// Passes on what the server warns of, and not more than anybody reads.
pub(super) fn warn_of(context: &Context<'_>, warnings: &[String]) {
    for warning in warnings.iter().take(MOST_WARNINGS) {
        (context.warn)(Warning::Server(warning.clone()));
    }
    if let Some(more) = warnings.len().checked_sub(MOST_WARNINGS).filter(|more| *more > 0) {
        (context.warn)(Warning::Server(format!("and {more} more")));
    }
}

/// Warns of policies of the settings that a token of ours lacks.
pub(super) fn warn_lacking(context: &Context<'_>, info: &TokenInfo) {
    let lacking: Vec<String> = context.settings.identity.missing_policies(info).map(str::to_owned).collect();
    if !lacking.is_empty() {
        (context.warn)(Warning::PoliciesMissing(lacking));
    }
}

/// A state that cannot be saved is worth a warning, and nothing more.
pub(super) fn warn_unsaved(context: &Context<'_>, saved: io::Result<()>) {
    if let Err(error) = saved {
        let path = context.settings.state_directory.clone();
        (context.warn)(Warning::StateUnsaved { path, error });
    }
}
