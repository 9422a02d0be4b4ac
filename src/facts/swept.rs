//! What a sweep did, how it ended, and what follows from that for the passes after it.

use std::collections::BTreeSet;
use std::io;

use super::TEMPORARY;
use crate::local::state::Due;
use crate::token::Accessor;
use crate::vault::{Error, ErrorKind, Said};

/// What a sweep did.
#[derive(Debug, Default)]
pub(crate) struct Swept {
    /// Stale tokens: revoked, or only found in a dry run.
    pub(crate) stale: Vec<Accessor>,
    /// Accessors that turned out to name nothing.
    pub(crate) gone: BTreeSet<String>,
    /// Stale tokens whose revocation Vault forbids.
    pub(crate) irrevocable: Vec<Accessor>,
    /// Vault's words about the first of them.
    pub(crate) irrevocable_because: Option<String>,
    /// Remembered tokens a dry run may not look at.
    pub(crate) lookup_denied: usize,
    /// Tokens of our name that are not ours to revoke.
    pub(crate) namesakes: usize,
    /// Accessors to which the server answered with an error of its own.
    pub(crate) indigestible: Vec<Accessor>,
    /// Accessors that live in another namespace.
    pub(crate) elsewhere: BTreeSet<String>,
    /// What a later sweep has to look at once more, because a wrong answer would look the same; those of our
    /// name first.
    pub(crate) doubtful: Vec<Accessor>,
    /// How it ended.
    pub(crate) end: SweepEnd,
}

/// How a sweep ended.
#[derive(Debug, Default)]
pub(crate) enum SweepEnd {
    /// Everything was looked at.
    #[default]
    Complete,
    /// It is switched off.
    Off,
    /// Accessors may not be listed; only remembered ones were looked at.
    ListDenied,
    /// Accessors may not be looked up; only remembered ones were tried.
    LookupDenied,
    /// Most lookups were denied, although the first was not: either something forbids them, or the server lists
    /// a lot of what is gone. The next walk would find the same.
    MostlyDenied,
    /// The server does not know the token that is to be kept, so nothing was revoked.
    NothingToKeep,
    /// The token that is to be kept is no orphan: it could end with one that is revoked, so nothing was.
    KeptIsNoOrphan,
    /// It did not get to the end.
    CutShort {
        /// How many accessors were dealt with.
        examined: usize,
        /// How many there are; 0 if not even that is known.
        total: usize,
        /// Why.
        cause: CutCause,
    },
}

/// Why a sweep was cut short.
#[derive(Debug)]
pub(crate) enum CutCause {
    /// A call did not succeed.
    Error(Box<Error>),
    /// It took too long.
    TimeIsUp,
    /// The token file no longer holds the token that is to be kept. Whatever it holds now must not be revoked.
    FileChanged,
    /// The token file cannot be read, so nobody knows what it holds.
    FileUnread(io::Error),
}

impl Swept {
    /// That of a sweep that ended so before it had done anything.
    pub(crate) fn ended(end: SweepEnd) -> Self {
        Self { end, ..Self::default() }
    }

    /// What the next pass has to do about it.
    pub(crate) fn leaves(&self) -> Due {
        match self.end {
            // A standby that lags behind may not know the token to keep yet.
            SweepEnd::CutShort { .. } | SweepEnd::NothingToKeep | SweepEnd::KeptIsNoOrphan => Due::Sweep,
            SweepEnd::ListDenied | SweepEnd::LookupDenied => Due::Denied,
            SweepEnd::Complete | SweepEnd::Off | SweepEnd::MostlyDenied => Due::Nothing,
        }
    }

    /// Whether it was cut short by something that may be over the next time. A server that answers some
    /// accessor with an error in its own words will do so again; a gateway's words are an outage.
    pub(crate) fn is_worth_repeating(&self) -> bool {
        match &self.end {
            SweepEnd::CutShort { cause: CutCause::Error(error), .. } => {
                !matches!(error.kind, ErrorKind::Server { said: Said::Errors(_), .. })
            }
            // With nothing to keep, nothing was looked at.
            SweepEnd::CutShort {
                cause: CutCause::TimeIsUp | CutCause::FileChanged | CutCause::FileUnread(_),
                ..
            }
            | SweepEnd::NothingToKeep
            | SweepEnd::KeptIsNoOrphan => true,
            SweepEnd::Complete
            | SweepEnd::Off
            | SweepEnd::ListDenied
            | SweepEnd::LookupDenied
            | SweepEnd::MostlyDenied => false,
        }
    }

    /// Whether `accessor` need not be remembered any longer.
    pub(crate) fn is_gone(&self, accessor: &Accessor) -> bool {
        let found_gone = self.stale.contains(accessor) || self.gone.contains(accessor.as_str());
        if self.doubtful.contains(accessor) || self.elsewhere.contains(accessor.as_str()) {
            return false;
        }
        match self.end {
            // Everything was seen, so what is none of these is either gone or not ours to revoke.
            SweepEnd::Complete => {
                !self.irrevocable.contains(accessor) && !self.indigestible.contains(accessor)
            }
            SweepEnd::Off
            | SweepEnd::ListDenied
            | SweepEnd::LookupDenied
            | SweepEnd::MostlyDenied
            | SweepEnd::NothingToKeep
            | SweepEnd::KeptIsNoOrphan
            | SweepEnd::CutShort { .. } => found_gone,
        }
    }

    /// Whether it did all that was asked of it.
    pub(crate) fn is_full(&self) -> bool {
        matches!(self.end, SweepEnd::Complete) && self.irrevocable.is_empty() && self.indigestible.is_empty()
    }

    /// The exit status of the verb `sweep` with `--detailed-exitcode`.
    pub(crate) fn detailed_exit_status(&self) -> u8 {
        match &self.end {
            SweepEnd::CutShort { cause: CutCause::Error(error), .. } if error.kind.is_temporary() => {
                TEMPORARY
            }
            SweepEnd::CutShort { .. }
            | SweepEnd::Complete
            | SweepEnd::Off
            | SweepEnd::ListDenied
            | SweepEnd::LookupDenied
            | SweepEnd::MostlyDenied
            | SweepEnd::NothingToKeep
            | SweepEnd::KeptIsNoOrphan => u8::from(!self.is_full()),
        }
    }
}

impl SweepEnd {
    /// The stable name of how a sweep ended.
    pub(crate) fn id(&self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Off => "off",
            Self::ListDenied => "list_denied",
            Self::LookupDenied => "lookup_denied",
            Self::MostlyDenied => "mostly_denied",
            Self::NothingToKeep => "nothing_to_keep",
            Self::KeptIsNoOrphan => "kept_is_no_orphan",
            Self::CutShort { .. } => "cut_short",
        }
    }
}
