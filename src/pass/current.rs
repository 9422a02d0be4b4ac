//! The token in the token file: read, looked up, and held against the file again, which a login may change at
//! any moment.

use std::thread;
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
    /// Reads the token file and looks up what is in it. If that is refused, the file gets a moment to change
    /// before the token is called dead.
    pub(super) fn load(context: &Context<'_>, looseness: Looseness) -> Result<Self, Interruption> {
        let token = read(context, looseness)?;
        match context.client.lookup_self(&token) {
            Ok(SelfLookup { info, .. }) if info.num_uses < 0 => {
                Err(unless_changed(context, &token, Failure::Spent))
            }
            Ok(SelfLookup { info, confirmed }) => {
                if !confirmed {
                    (context.warn)(Warning::Unconfirmed);
                }
                Ok(Self { token, info, confirmed })
            }
            Err(Error { kind: ErrorKind::Denied { message }, url, .. }) => {
                thread::sleep(MOMENT);
                Err(unless_changed(context, &token, Failure::Dead { url, message }))
            }
            Err(error) => Err(Failure::Vault(error).into()),
        }
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

/// Bad news about the token, unless it is no longer the one in the file.
fn unless_changed(context: &Context<'_>, token: &Token, failure: Failure) -> Interruption {
    match file_holds(context, token) {
        Holds::Yes | Holds::Unknown(_) => failure.into(),
        Holds::No => Interruption::FileChanged,
    }
}

/// Reads the token file; once more after a moment if there is nothing in it, since somebody may be about to
/// write it.
fn read(context: &Context<'_>, looseness: Looseness) -> Result<Token, Failure> {
    let file = &context.settings.token_file;
    let Reading { token, loose_mode } = match file.read(looseness) {
        Err(ReadError::Missing | ReadError::Empty) => {
            thread::sleep(MOMENT);
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
