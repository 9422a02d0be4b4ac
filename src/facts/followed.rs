//! What a round of `follow` comes to.

use std::io;

use super::TEMPORARY;
use crate::local::token_file::ReadError;
use crate::vault::kv::FieldTrouble;
use crate::vault::{Error, ErrorKind};
use crate::version::Version;

/// What a round comes to.
#[derive(Debug)]
#[must_use]
pub(crate) enum Round {
    /// The file holds what the secret holds, and did so before.
    Unchanged,
    /// The file was replaced.
    Replaced(Replacement),
    /// The file is as it was, for want of a value to put there.
    Kept(Kept),
}

/// A file that was replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Replacement {
    /// The mount of the secret.
    pub(crate) mount: String,
    /// Its path below the mount.
    pub(crate) path: String,
    /// Why.
    pub(crate) why: Why,
    /// The version that was held before, as far as it is known.
    pub(crate) old: Option<Version>,
    /// The one that is held now, if there are versions.
    pub(crate) new: Option<Version>,
    /// For how many seconds the value before it was the current one, as far as that is known.
    pub(crate) age: Option<u64>,
}

/// Why a file was replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    /// It held nothing.
    First,
    /// The secret holds another value.
    Rotated,
    /// The secret holds an older value, and has said so three times: the server was restored.
    Restored,
    /// Somebody else had changed the file.
    PutBack,
}

/// Why a file was left as it was.
#[derive(Debug)]
pub(crate) enum Kept {
    /// There is no token to ask with.
    NoToken(ReadError),
    /// The server cannot be asked, or says no.
    Vault(Error),
    /// No secret is there.
    Absent,
    /// No KV store is mounted there.
    NoStore,
    /// The secret was deleted.
    Deleted {
        /// Whether nobody can bring it back.
        destroyed: bool,
    },
    /// The field is not what it should be.
    Field(FieldTrouble),
    /// The answer is older than what is held: a standby lags behind.
    Stale {
        /// What is held.
        held: Version,
        /// What was answered.
        seen: Version,
    },
    /// The file cannot be written.
    Unwritten(io::Error),
    /// Somebody wanted it to end.
    Stopped(Option<&'static str>),
}

/// How a fetch ended, by the names that the metrics have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refresh {
    /// The value is there.
    Ok,
    /// No such secret.
    Missing,
    /// There was one.
    Deleted,
    /// The token may not, or there is none.
    Denied,
    /// Nobody answered, or nobody could.
    Unreachable,
    /// What was answered is not what it should be.
    Shape,
    /// What was answered is out of date.
    Stale,
    /// The value is there, and the file could not be written.
    Unwritten,
}

impl Refresh {
    /// All of them.
    pub(crate) const ALL: [Self; 8] = [
        Self::Ok,
        Self::Missing,
        Self::Deleted,
        Self::Denied,
        Self::Unreachable,
        Self::Shape,
        Self::Stale,
        Self::Unwritten,
    ];

    /// Its stable name.
    pub(crate) fn id(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Missing => "missing",
            Self::Deleted => "deleted",
            Self::Denied => "denied",
            Self::Unreachable => "unreachable",
            Self::Shape => "shape",
            Self::Stale => "stale",
            Self::Unwritten => "unwritten",
        }
    }
}

impl Round {
    /// How its fetch ended; none if it was not made.
    pub(crate) fn refresh(&self) -> Option<Refresh> {
        match self {
            Self::Unchanged | Self::Replaced(_) => Some(Refresh::Ok),
            Self::Kept(kept) => kept.refresh(),
        }
    }

    /// The exit status of a process that makes one round.
    pub(crate) fn exit_status(&self) -> u8 {
        match self {
            Self::Unchanged | Self::Replaced(_) => 0,
            Self::Kept(_) => 1,
        }
    }

    /// The same, with the outcomes told apart.
    pub(crate) fn detailed_exit_status(&self) -> u8 {
        match self {
            Self::Unchanged => 0,
            Self::Replaced(_) => 10,
            Self::Kept(kept) if kept.is_temporary() => TEMPORARY,
            Self::Kept(_) => 1,
        }
    }
}

impl Kept {
    fn refresh(&self) -> Option<Refresh> {
        Some(match self {
            Self::NoToken(_) => Refresh::Denied,
            Self::Vault(error) => of_error(&error.kind),
            Self::Absent | Self::NoStore => Refresh::Missing,
            Self::Deleted { .. } => Refresh::Deleted,
            Self::Field(_) => Refresh::Shape,
            Self::Stale { .. } => Refresh::Stale,
            Self::Unwritten(_) => Refresh::Unwritten,
            Self::Stopped(_) => return None,
        })
    }

    /// Whether it may be over the next time, without anybody doing anything.
    pub(crate) fn is_temporary(&self) -> bool {
        match self {
            Self::Vault(error) => error.kind.is_temporary(),
            Self::Stale { .. } | Self::Stopped(_) => true,
            Self::NoToken(_)
            | Self::Absent
            | Self::NoStore
            | Self::Deleted { .. }
            | Self::Field(_)
            | Self::Unwritten(_) => false,
        }
    }
}

fn of_error(kind: &ErrorKind) -> Refresh {
    match kind {
        ErrorKind::Denied { .. } | ErrorKind::Elsewhere { .. } | ErrorKind::AwaitsApproval => Refresh::Denied,
        ErrorKind::NotFound { .. } => Refresh::Missing,
        ErrorKind::Unreachable(_)
        | ErrorKind::Interrupted(_)
        | ErrorKind::Sealed
        | ErrorKind::Unserving { .. }
        | ErrorKind::Throttled { .. }
        | ErrorKind::Server { .. } => Refresh::Unreachable,
        ErrorKind::Refused { .. }
        | ErrorKind::Unclear { .. }
        | ErrorKind::Cached
        | ErrorKind::Unexpected { .. }
        | ErrorKind::NotVault { .. }
        | ErrorKind::Redirect { .. }
        | ErrorKind::AnotherToken => Refresh::Shape,
    }
}
