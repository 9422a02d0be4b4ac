//! What the server says of the token in the file, its namesakes and its policies, for whoever only looks.

use serde::Serialize;

use super::authority::Authority;
use crate::identity::{Dying, Verdict};
use crate::token::TokenInfo;
use crate::vault::Error;

/// What the server says, as far as it was asked and answered.
#[derive(Debug)]
pub(crate) struct View {
    /// The token in the file.
    pub(crate) info: TokenInfo,
    /// Whether the server named the token it spoke of.
    pub(crate) confirmed: bool,
    /// Whose it is.
    pub(crate) verdict: Verdict,
    /// Why it will end, if it is ours and will.
    pub(crate) dying: Option<Dying>,
    /// Whether a foreign or dying one may mint ours; none if nobody asked, or there was no answer.
    pub(crate) authority: Option<Authority>,
    /// Whether ours may renew itself; none if nobody asked, or Vault does not tell.
    pub(crate) renewal: Option<bool>,
    /// The namespace it lives in and that of the settings, if they differ.
    pub(crate) elsewhere: Option<(String, String)>,
    /// The living tokens of our name; none where they may not be listed or looked up, or not in time.
    pub(crate) namesakes: Option<Namesakes>,
    /// Those policies of the identity that are not there, or could not be asked for.
    pub(crate) policies: Vec<(String, PolicyTrouble)>,
}

/// How many living tokens bear our name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Namesakes {
    /// Together: the one in the file included, and those that are not ours to revoke.
    pub(crate) total: usize,
    /// Those that a sweep would revoke, were the one in the file kept.
    pub(crate) stale: usize,
}

/// What is the matter with a policy.
#[derive(Debug)]
pub(crate) enum PolicyTrouble {
    /// The server has none of this name.
    Missing,
    /// It could not be asked for.
    Unreadable(Error),
}

/// When a token ends, unless it is renewed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// Then: seconds since 1970, this machine's clock.
    At(u64),
    /// Never.
    Never,
    /// Nobody knows.
    Unknown,
}
