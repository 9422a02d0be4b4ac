//! What a round of `follow` comes to.

use std::io;

use super::TEMPORARY;
use crate::local::followed::Why;
use crate::local::token_file::ReadError;
use crate::vault::kv::FieldTrouble;
use crate::vault::{Error, ErrorKind};
use crate::version::Version;

/// What a round comes to.
#[derive(Debug)]
#[must_use]
pub(crate) struct Round {
    /// Why there is no value to put into the file; none if there is one.
    pub(crate) kept: Option<Kept>,
    /// How the file stands after it.
    pub(crate) file: FileStands,
}

/// How a followed file stands after a round.
#[derive(Debug)]
pub(crate) enum FileStands {
    /// It holds the value that it should, and did so before.
    Held,
    /// It holds that since it was replaced.
    Replaced(Why),
    /// It cannot be written.
    Unwritten(io::Error, Holding),
    /// There is no value that it should hold, and it holds nothing.
    Empty,
    /// There is no value that it should hold, and nobody can tell what it holds.
    Unread(io::Error),
}

/// What a file holds that cannot be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holding {
    /// The value that it held before the round.
    Former,
    /// Nothing.
    Nothing,
    /// Something else, or what nobody can read.
    SomethingElse,
}

/// Why a round has no value to put into the file.
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
        match (&self.kept, &self.file) {
            (Some(kept), _) => kept.refresh(),
            (None, FileStands::Unwritten(..) | FileStands::Unread(_)) => Some(Refresh::Unwritten),
            (None, FileStands::Held | FileStands::Replaced(_) | FileStands::Empty) => Some(Refresh::Ok),
        }
    }

    /// Whether the file holds the value that it should at the end of it, as far as that is known.
    pub(crate) fn holds(&self) -> bool {
        match &self.file {
            FileStands::Held | FileStands::Replaced(_) => true,
            FileStands::Unwritten(_, holding) => *holding == Holding::Former,
            FileStands::Empty | FileStands::Unread(_) => false,
        }
    }

    /// The exit status of a process that makes one round.
    pub(crate) fn exit_status(&self) -> u8 {
        u8::from(self.refresh() != Some(Refresh::Ok))
    }

    /// The same, with the outcomes told apart.
    pub(crate) fn detailed_exit_status(&self) -> u8 {
        match (&self.kept, &self.file) {
            (Some(kept), _) if kept.is_temporary() => TEMPORARY,
            (None, FileStands::Replaced(_)) => 10,
            (Some(_) | None, _) => self.exit_status(),
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
            Self::Stopped(_) => return None,
        })
    }

    /// Whether it may be over the next time, without anybody doing anything.
    pub(crate) fn is_temporary(&self) -> bool {
        match self {
            Self::Vault(error) => error.kind.is_temporary(),
            Self::Stale { .. } | Self::Stopped(_) => true,
            Self::NoToken(_) | Self::Absent | Self::NoStore | Self::Deleted { .. } | Self::Field(_) => false,
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
