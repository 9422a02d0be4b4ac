//! Why a run failed, and what follows from that.

use crate::identity::{Contradiction, Dying};
use crate::local::token_file::{ReadError, ReplaceError};
use crate::token::TokenInfo;
use crate::vault::{Call, Error, ErrorKind};

/// `EX_TEMPFAIL` of sysexits: try again later.
pub(super) const TEMPORARY: u8 = 75;

/// How a mint was refused on one path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RefusedMint {
    /// 403 or 400.
    pub(crate) status: u16,
    /// Vault's words.
    pub(crate) message: String,
}

/// How a mint was refused on both paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// On `auth/token/create`.
    pub(crate) create: RefusedMint,
    /// On `auth/token/create-orphan`.
    pub(crate) create_orphan: RefusedMint,
}

/// Why a run failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// No token could be read.
    TokenFile(ReadError),
    /// Another run held the lock all the time.
    LockBusy,
    /// Vault refused to look the token up: it is dead, or blocked.
    Dead {
        /// Where.
        url: String,
        /// Vault's words.
        message: String,
    },
    /// It could be used so many times only, and the lookup was the last.
    Spent,
    /// A call did not succeed.
    Vault(Error),
    /// The token is ours, will end, and may not mint its successor.
    Dying {
        /// Its name.
        display_name: String,
        /// Why it will end.
        dying: Dying,
        /// In how many seconds.
        seconds_left: u64,
        /// Vault's refusals; none if it was not asked, because such tokens never mint.
        refusal: Option<Refusal>,
    },
    /// The minted token could not be looked up.
    Unchecked(Error),
    /// The minted token is not what was ordered.
    Contradiction(Contradiction),
    /// The token file could not be replaced.
    Replace(ReplaceError),
    /// The token file was perhaps replaced, and cannot be read to find out.
    Unsettled(ReplaceError),
    /// A fault of this program.
    Internal {
        /// Where in its source.
        place: String,
    },
    /// Logins kept landing.
    FileKeepsChanging,
    /// The verb `sweep` needs a token of ours, and this is none.
    NotOurs {
        /// Its name.
        display_name: String,
    },
}

impl Failure {
    /// A token of ours that may be used so many times only: a renewal adds none, and it may mint no successor. What
    /// else could be asked with it would only cost it more of them, and after the last every answer is a denial.
    pub(crate) fn use_limited(info: &TokenInfo) -> Self {
        let TokenInfo { display_name, ttl, .. } = info;
        let display_name = display_name.clone();
        Self::Dying { display_name, dying: Dying::UseLimited, seconds_left: *ttl, refusal: None }
    }

    /// Its stable name.
    pub(crate) fn id(&self) -> &'static str {
        match self {
            Self::TokenFile(ReadError::Missing) => "token_file_missing",
            Self::TokenFile(ReadError::Empty) => "token_file_empty",
            Self::TokenFile(
                ReadError::NotAFile
                | ReadError::TooLarge
                | ReadError::Unprintable
                | ReadError::Owner(_)
                | ReadError::Io(_),
            ) => "token_file",
            Self::LockBusy => "lock_busy",
            Self::Dead { .. } | Self::Spent => "token_dead",
            Self::Vault(error) | Self::Unchecked(error) => match &error.kind {
                ErrorKind::Unreachable(_) => "unreachable",
                ErrorKind::Interrupted(_) => "interrupted",
                ErrorKind::Denied { .. } => "denied",
                ErrorKind::Refused { .. } => "refused",
                ErrorKind::NotFound { .. } => "not_found",
                ErrorKind::Sealed => "sealed",
                ErrorKind::Throttled { .. } => "throttled",
                ErrorKind::Server { .. } => "server_error",
                ErrorKind::Unexpected { .. } | ErrorKind::NotVault { .. } | ErrorKind::Redirect { .. } => {
                    "not_vault"
                }
                ErrorKind::AnotherToken => "another_token",
            },
            Self::Dying { .. } => "not_renewable",
            Self::Contradiction(_) => "not_as_ordered",
            Self::Replace(_) => "not_replaced",
            Self::Unsettled(_) => "unsettled",
            Self::Internal { .. } => "internal",
            Self::FileKeepsChanging => "file_keeps_changing",
            Self::NotOurs { .. } => "not_ours",
        }
    }

    /// The exit status with `--detailed-exitcode`.
    pub(crate) fn detailed_exit_status(&self) -> u8 {
        match self {
            Self::TokenFile(ReadError::Missing | ReadError::Empty) | Self::Dead { .. } | Self::Spent => 4,
            Self::Dying { .. } => 5,
            Self::LockBusy => TEMPORARY,
            Self::Vault(error) | Self::Unchecked(error) if error.kind.is_temporary() => TEMPORARY,
            Self::NotOurs { .. } => 3,
            Self::TokenFile(_)
            | Self::Vault(_)
            | Self::Unchecked(_)
            | Self::Contradiction(_)
            | Self::Replace(_)
            | Self::Unsettled(_)
            | Self::Internal { .. }
            | Self::FileKeepsChanging => 1,
        }
    }

    /// Whether it means that there is no living token in the token file.
    pub(crate) fn leaves_nothing(&self) -> bool {
        match self {
            // What cannot be read at the moment may be what it was.
            Self::TokenFile(error) => !matches!(error, ReadError::Io(_)),
            Self::Dead { .. } | Self::Spent => true,
            Self::LockBusy
            | Self::Vault(_)
            | Self::Dying { .. }
            | Self::Unchecked(_)
            | Self::Contradiction(_)
            | Self::Replace(_)
            | Self::Unsettled(_)
            | Self::Internal { .. }
            | Self::FileKeepsChanging
            | Self::NotOurs { .. } => false,
        }
    }

    /// Whether the server may hold a token of ours that nobody knows.
    pub(crate) fn lost_mint(&self) -> bool {
        match self {
            Self::Vault(error) => {
                matches!(error.call, Call::Create | Call::CreateOrphan) && error.kind.may_have_acted()
            }
            Self::TokenFile(_)
            | Self::LockBusy
            | Self::Dead { .. }
            | Self::Spent
            | Self::Dying { .. }
            | Self::Unchecked(_)
            | Self::Contradiction(_)
            | Self::Replace(_)
            | Self::Unsettled(_)
            | Self::Internal { .. }
            | Self::FileKeepsChanging
            | Self::NotOurs { .. } => false,
        }
    }
}
