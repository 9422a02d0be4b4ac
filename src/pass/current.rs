//! The token in the token file: read, looked up, and held against the file again, which a login may change at
//! any moment.

use std::time::Duration;

use super::context::Context;
use crate::facts::failure::Failure;
use crate::facts::outcome::Outcome;
use crate::facts::warning::Warning;
use crate::local::state::State;
use crate::local::token_file::{Looseness, ReadError, Reading};
use crate::secret::Token;
use crate::token::{Accessor, TokenInfo};
use crate::vault::{Error, ErrorKind, SelfLookup};

/// How often a pass starts over because the token file changed under it.
const ATTEMPTS: u32 = 3;

/// How often a token is looked up before a denial is believed: a standby that lags behind may not know it yet.
const LOOKUPS: u32 = 3;

/// The policy of a token that only unwraps what was put aside for somebody.
const WRAPPING_POLICY: &str = "response-wrapping";

/// How long a login may take to finish writing the file. Logins rename, which takes no time at all; a shell
/// redirection or an editor takes a little.
const MOMENT: Duration = Duration::from_millis(500);

/// Why an attempt at a pass did not get to an outcome.
pub(super) enum Interruption {
    /// The token file changed: a login landed. Start over.
    FileChanged,
    /// Nothing more can be done.
    Failed(Failure),
}

impl From<Failure> for Interruption {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// The token in the token file, and what the server says about it.
pub(super) struct Current {
    /// The token.
    pub(super) token: Token,
    /// What the lookup says.
    pub(super) info: TokenInfo,
    /// Whether the server named the token it spoke of. Where it did not, an agent may have put its own in
    /// the place of ours.
    pub(super) confirmed: bool,
}

impl Current {
    /// Looks up what was read from the token file. If that is refused, the file gets a moment to change before the
    /// token is called dead.
    pub(super) fn look_up(context: &Context<'_>, token: Token) -> Result<Self, Interruption> {
        let mut lookups = 1;
        let mut was_alive = false;
        loop {
            let (url, message, by_policy) = match context.client.lookup_self(&token) {
                Ok(SelfLookup { info, confirmed }) => {
                    if let Some(failure) = used_up(&info) {
                        return Err(unless_changed(context, &token, failure));
                    }
                    if !confirmed {
                        (context.warn)(Warning::Unconfirmed);
                    }
                    return Ok(Self { token, info, confirmed });
                }
                Err(Error { kind: ErrorKind::Denied { message, by_policy }, url, .. }) => {
                    (url, message, by_policy)
                }
                Err(error) => return Err(Failure::Vault(error).into()),
            };
            context.stop.sleep(MOMENT);
            let failure = match (by_policy, was_alive) {
                (true, _) => Failure::MayNotLookUp { url, message },
                // Measured: the server says of a response-wrapping token that it may not, which has used it up.
                (false, true) => Failure::Wrapping,
                (false, false) => Failure::Dead { url, message },
            };
            let interruption = unless_changed(context, &token, failure);
            let is_settled = was_alive || lookups == LOOKUPS;
            if is_settled || matches!(interruption, Interruption::FileChanged) {
                return Err(interruption);
            }
            was_alive = by_policy;
            lookups += 1;
        }
    }

    /// The same for whoever only looks: a token in the last moment of its life, which a run would try to renew, is as
    /// good as dead.
    pub(super) fn look_at(context: &Context<'_>) -> Result<Self, Interruption> {
        let current = Self::look_up(context, read(context, Looseness::Tell)?)?;
        if current.info.has_ended() { Err(Failure::Ended.into()) } else { Ok(current) }
    }

    /// The accessor of this very token, which a sweep has to spare. Where the server does not say which token it
    /// speaks of, it may be an agent's, and ours the one that a sweep would take for stale: then it counts only
    /// if this machine minted it.
    pub(super) fn accessor(&self, state: &State) -> Option<&Accessor> {
        let minted = |accessor: &&Accessor| self.confirmed || state.minted().contains(accessor);
        self.info.accessor.as_ref().filter(minted)
    }

    /// The namespace it lives in and that of the settings, if they differ. A mint happens in that of the request,
    /// where this token may be nobody.
    pub(super) fn elsewhere(&self, context: &Context<'_>) -> Option<(String, String)> {
        let works = context.client.namespace().unwrap_or("");
        let lives = self.info.namespace.as_deref().filter(|&lives| lives != works)?;
        Some((lives.to_owned(), works.to_owned()))
    }

    /// The same end, unless it is bad news about a token that is no longer in the file: that is no news. See
    /// docs/design.md, "Only a token that is still in the file is judged".
    pub(super) fn unless_replaced(
        &self,
        context: &Context<'_>,
        ended: Result<Outcome, Interruption>,
    ) -> Result<Outcome, Interruption> {
        match ended {
            Ok(Outcome::Drift { .. }) | Err(Interruption::Failed(_))
                if matches!(file_holds(context, &self.token), Holds::No) =>
            {
                Err(Interruption::FileChanged)
            }
            ended @ (Ok(
                Outcome::Renewed { .. }
                | Outcome::Healed { .. }
                | Outcome::Swept(_)
                | Outcome::Drift { .. }
                | Outcome::Failed(_),
            )
            | Err(_)) => ended,
        }
    }
}

/// Why a token that was just looked up can do nothing more.
fn used_up(info: &TokenInfo) -> Option<Failure> {
    if info.policies.iter().any(|policy| policy == WRAPPING_POLICY) {
        Some(Failure::Wrapping)
    } else if info.num_uses < 0 {
        Some(Failure::Spent)
    } else {
        None
    }
}

/// Bad news about the token, unless it is no longer the one in the file.
fn unless_changed(context: &Context<'_>, token: &Token, failure: Failure) -> Interruption {
    match file_holds(context, token) {
        Holds::Yes | Holds::Unknown(_) => failure.into(),
        Holds::No => Interruption::FileChanged,
    }
}

/// Reads the token file; once more after a moment if there is nothing in it, since somebody may be about to
/// write it.
pub(super) fn read(context: &Context<'_>, looseness: Looseness) -> Result<Token, Failure> {
    let file = &context.settings.token_file;
    let Reading { token, loose_mode } = match file.read(looseness) {
        Err(ReadError::Missing | ReadError::Empty) => {
            context.stop.sleep(MOMENT);
            file.read(looseness)
        }
        reading => reading,
    }
    .map_err(Failure::TokenFile)?;
    if let Some(loose_mode) = loose_mode {
        (context.warn)(Warning::LooseMode(loose_mode));
    }
    Ok(token)
}

/// Whether the token file holds a certain token.
pub(super) enum Holds {
    /// It does.
    Yes,
    /// It holds something else, or nothing.
    No,
    /// It cannot be read at the moment, which says nothing about what it holds.
    Unknown(ReadError),
}

/// Whether the token file holds `token` now.
pub(super) fn file_holds(context: &Context<'_>, token: &Token) -> Holds {
    match context.settings.token_file.read(Looseness::Tell) {
        Ok(reading) if reading.token == *token => Holds::Yes,
        Err(error @ ReadError::Io(_)) => Holds::Unknown(error),
        Ok(_)
        | Err(
            ReadError::Missing
            | ReadError::Empty
            | ReadError::NotAFile
            | ReadError::TooLarge
            | ReadError::Unprintable
            | ReadError::NotAToken(_)
            | ReadError::Owner(_),
        ) => Holds::No,
    }
}

/// Starts over while the token file changes under the work, but not for ever.
pub(super) fn undisturbed<T>(mut work: impl FnMut() -> Result<T, Interruption>) -> Result<T, Failure> {
    for _ in 0..ATTEMPTS {
        match work() {
            Ok(done) => return Ok(done),
            Err(Interruption::Failed(failure)) => return Err(failure),
            Err(Interruption::FileChanged) => {}
        }
    }
    Err(Failure::FileKeepsChanging)
}
