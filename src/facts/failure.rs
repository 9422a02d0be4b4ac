//! Why a run failed, and what follows from that.

use super::TEMPORARY;
use super::swept::Swept;
use crate::identity::{Contradiction, Dying};
use crate::local::token_file::{ReadError, ReplaceError};
use crate::token::{Accessor, TokenInfo};
use crate::vault::{Call, Error, ErrorKind};

/// The stable name of a token that ends before the next run, and the exit status with `--detailed-exitcode`.
pub(super) const ENDS_BEFORE_NEXT_RUN: (&str, u8) = ("ends_before_next_run", 5);

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

/// What a run did for a token, although it was not enough.
#[derive(Debug)]
pub(crate) enum Done {
    /// Renewed it.
    Renewed {
        /// The sweep an earlier run could not finish, if one was due.
        resumed: Option<Box<Swept>>,
    },
    /// Minted it, and put it into the file.
    Healed {
        /// The token that was in it before, if that never ends and nobody revokes it.
        lives_on: Option<Accessor>,
        /// What the sweep did.
        swept: Box<Swept>,
    },
}

/// What a run was doing when it was told to stop.
#[derive(Debug)]
pub(crate) enum During {
    /// It waited for another run.
    Wait,
    /// Something that failed because of that.
    Failed(Box<Failure>),
    /// The sweep of the verb, which got no further than this.
    Sweep(Box<Swept>),
}

/// Why a run failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// No token could be read.
    TokenFile(ReadError),
    /// Another run held the lock all the time.
    LockBusy,
    /// Somebody wanted the run to end.
    Stopped {
        /// The signal that said so.
        signal: Option<&'static str>,
        /// What it was doing.
        during: During,
    },
    /// Vault does not know the token: it is dead, or blocked, or of another server.
    Dead {
        /// Where.
        url: String,
        /// Vault's words.
        message: String,
    },
    /// It lives, and no policy of its lets it look itself up.
    MayNotLookUp {
        /// Where.
        url: String,
        /// Vault's words.
        message: String,
    },
    /// Its time is up, although the server still knows it.
    Ended,
    /// It could be used so many times only, and the lookup was the last.
    Spent,
    /// It was a response-wrapping token, which a lookup uses up.
    Wrapping,
    /// It is ours and alive, and ends before a run can renew it again.
    EndsBeforeNextRun {
        /// What was done all the same.
        done: Done,
        /// Seconds it has left.
        left: u64,
        /// Seconds to the next run.
        next_run: u64,
    },
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
        self.consequences().id
    }

    /// The exit status with `--detailed-exitcode`.
    pub(crate) fn detailed_exit_status(&self) -> u8 {
        self.consequences().detailed_exit_status
    }

    /// Whether it means that there is no living token in the token file.
    pub(crate) fn leaves_nothing(&self) -> bool {
        self.consequences().leaves_nothing
    }

    /// Whether the server may have minted a token we never received.
    pub(crate) fn lost_mint(&self) -> bool {
        self.consequences().lost_mint
    }

    /// The sweep that was made all the same, or begun.
    pub(crate) fn sweep(&self) -> Option<&Swept> {
        match self {
            Self::EndsBeforeNextRun { done: Done::Renewed { resumed }, .. } => resumed.as_deref(),
            Self::EndsBeforeNextRun { done: Done::Healed { swept, .. }, .. }
            | Self::Stopped { during: During::Sweep(swept), .. } => Some(swept),
            Self::Stopped { during: During::Wait | During::Failed(_), .. }
            | Self::TokenFile(_)
            | Self::LockBusy
            | Self::Dead { .. }
            | Self::MayNotLookUp { .. }
            | Self::Ended
            | Self::Spent
            | Self::Wrapping
            | Self::Vault(_)
            | Self::Dying { .. }
            | Self::Unchecked(_)
            | Self::Contradiction(_)
            | Self::Replace(_)
            | Self::Unsettled(_)
            | Self::Internal { .. }
            | Self::FileKeepsChanging
            | Self::NotOurs { .. } => None,
        }
    }

    /// All of that, a row for each kind of failure.
    fn consequences(&self) -> Consequences {
        let row = |id, detailed_exit_status| Consequences {
            id,
            detailed_exit_status,
            leaves_nothing: false,
            lost_mint: false,
        };
        let nothing_left = |row| Consequences { leaves_nothing: true, ..row };
        match self {
            Self::TokenFile(ReadError::Missing) => nothing_left(row("token_file_missing", 4)),
            Self::TokenFile(ReadError::Empty) => nothing_left(row("token_file_empty", 4)),
            Self::TokenFile(
                ReadError::NotAFile
                | ReadError::TooLarge
                | ReadError::Unprintable
                | ReadError::NotAToken(_)
                | ReadError::Owner(_),
            ) => nothing_left(row("token_file", 1)),
            // What cannot be read at the moment may be what it was.
            Self::TokenFile(ReadError::Io(_)) => row("token_file", 1),
            Self::LockBusy => row("lock_busy", TEMPORARY),
            Self::Stopped { during: During::Wait | During::Sweep(_), .. } => row("stopped", 1),
            // What was minted may still be there.
            Self::Stopped { during: During::Failed(failure), .. } => {
                Consequences { lost_mint: failure.lost_mint(), ..row("stopped", 1) }
            }
            Self::Dead { .. } | Self::Ended | Self::Spent => nothing_left(row("token_dead", 4)),
            Self::MayNotLookUp { .. } => row("lookup_denied", 1),
            Self::Wrapping => nothing_left(row("wrapping_token", 4)),
            Self::EndsBeforeNextRun { .. } => row(ENDS_BEFORE_NEXT_RUN.0, ENDS_BEFORE_NEXT_RUN.1),
            Self::Vault(error) => Consequences { lost_mint: is_lost_mint(error), ..no_answer(error) },
            Self::Unchecked(error) => no_answer(error),
            Self::Dying { .. } => row("not_renewable", 5),
            Self::Contradiction(_) => row("not_as_ordered", 1),
            Self::Replace(_) => row("not_replaced", 1),
            Self::Unsettled(_) => row("unsettled", 1),
            Self::Internal { .. } => row("internal", 1),
            Self::FileKeepsChanging => row("file_keeps_changing", 1),
            Self::NotOurs { .. } => row("not_ours", 3),
        }
    }
}

/// What follows from a failure.
struct Consequences {
    id: &'static str,
    detailed_exit_status: u8,
    leaves_nothing: bool,
    lost_mint: bool,
}

/// What follows from a call that did not succeed.
fn no_answer(error: &Error) -> Consequences {
    let id = match &error.kind {
        ErrorKind::Unreachable(_) => "unreachable",
        ErrorKind::Interrupted(_) => "interrupted",
        ErrorKind::Denied { .. } => "denied",
        ErrorKind::Refused { .. } => "refused",
        ErrorKind::NotFound { .. } => "not_found",
        ErrorKind::Unclear { .. } => "unclear",
        ErrorKind::Unserving { .. } => "not_serving",
        ErrorKind::Elsewhere { .. } => "other_namespace",
        ErrorKind::AwaitsApproval => "awaits_approval",
        ErrorKind::Cached => "cached",
        ErrorKind::Sealed => "sealed",
        ErrorKind::Throttled { .. } => "throttled",
        ErrorKind::Server { .. } => "server_error",
        ErrorKind::Unexpected { .. } | ErrorKind::NotVault { .. } | ErrorKind::Redirect { .. } => "not_vault",
        ErrorKind::AnotherToken => "another_token",
    };
    let detailed_exit_status = if error.kind.is_temporary() { TEMPORARY } else { 1 };
    Consequences { id, detailed_exit_status, leaves_nothing: false, lost_mint: false }
}

/// Whether a mint may have happened although no believable answer says so.
fn is_lost_mint(error: &Error) -> bool {
    matches!(error.call, Call::Create | Call::CreateOrphan) && error.kind.may_have_acted()
}
