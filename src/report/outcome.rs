//! How a run ended, its line, and its exit status.
//!
//! The lines are a contract: people search their logs for `OK`, `HEALED`, `DRIFT`, `FAIL`, `heal denied`
//! and `revoked N stale periodic token(s)`.

use std::collections::BTreeSet;

use super::words::{self, Names, Quoted, Shown};
use crate::identity::{Contradiction, Dying};
use crate::local::state::Due;
use crate::local::token_file::{ReadError, ReplaceError};
use crate::token::{Accessor, TokenInfo};
use crate::vault::{Call, Error, ErrorKind, Said};

/// How a run ended.
#[derive(Debug)]
#[must_use]
pub(crate) enum Outcome {
    /// Our token was renewed.
    Renewed {
        /// Its name.
        display_name: String,
        /// Seconds it has to live now.
        ttl: u64,
        /// The sweep an earlier run could not finish, if one was due.
        resumed: Option<SweepReport>,
    },
    /// The token file holds ours again.
    Healed {
        /// What was in it before.
        from: HealedFrom,
        /// The name of what was in it.
        display_name: String,
        /// What the sweep did.
        report: SweepReport,
    },
    /// The verb `sweep` did its work.
    Swept(SweepReport),
    /// The token is foreign, and too weak to mint ours.
    Drift {
        /// Its name.
        display_name: String,
        /// Vault's refusals.
        refusal: Refusal,
    },
    /// Anything else.
    Failed(Failure),
}

/// What a heal began with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HealedFrom {
    /// Somebody else's token.
    Foreign,
    /// Our own, which would have ended.
    Dying,
}

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

/// What a sweep did.
#[derive(Debug, Default)]
pub(crate) struct SweepReport {
    /// Stale tokens: revoked, or only found in a dry run.
    pub(crate) stale: Vec<Accessor>,
    /// Accessors that turned out to name nothing.
    pub(crate) gone: BTreeSet<String>,
    /// Stale tokens whose revocation Vault forbids.
    pub(crate) kept: Vec<Accessor>,
    /// Vault's words about the first of them.
    pub(crate) kept_because: Option<String>,
    /// Remembered tokens a dry run may not look at.
    pub(crate) unseen: usize,
    /// Tokens of our name that are not ours to revoke.
    pub(crate) namesakes: usize,
    /// Accessors to which the server answered with an error of its own.
    pub(crate) indigestible: Vec<Accessor>,
    /// What a later sweep has to look at once more, because a wrong answer would look the same; those of our
    /// name first.
    pub(crate) second_look: Vec<Accessor>,
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
}

impl SweepReport {
    /// The report of a sweep that had nothing to keep and therefore did nothing.
    pub(crate) fn nothing_to_keep() -> Self {
        Self { end: SweepEnd::NothingToKeep, ..Self::default() }
    }

    /// What the next pass has to do about it.
    pub(crate) fn leaves(&self) -> Due {
        match self.end {
            // A standby that lags behind may not know the token to keep yet.
            SweepEnd::CutShort { .. } | SweepEnd::NothingToKeep => Due::Sweep,
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
            SweepEnd::CutShort { cause: CutCause::TimeIsUp, .. } | SweepEnd::NothingToKeep => true,
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
        if self.second_look.contains(accessor) {
            return false;
        }
        match self.end {
            // Everything was seen, so what is none of these is either gone or not ours to revoke.
            SweepEnd::Complete => !self.kept.contains(accessor) && !self.indigestible.contains(accessor),
            SweepEnd::Off
            | SweepEnd::ListDenied
            | SweepEnd::LookupDenied
            | SweepEnd::MostlyDenied
            | SweepEnd::NothingToKeep
            | SweepEnd::CutShort { .. } => found_gone,
        }
    }

    /// `revoked 2 stale periodic token(s)`, and what else there is to say.
    fn words(&self) -> String {
        let mut parts = Vec::new();
        let mut kept_because = self.kept_because.as_ref();
        let revoked = format!("revoked {} stale periodic token(s)", self.stale.len());
        match &self.end {
            SweepEnd::Complete => parts.push(revoked),
            SweepEnd::Off => parts.push("accessor sweep off".to_owned()),
            SweepEnd::ListDenied
            | SweepEnd::LookupDenied
            | SweepEnd::MostlyDenied
            | SweepEnd::NothingToKeep => {
                // One denial is enough said.
                kept_because = None;
                parts.push(format!("accessor sweep skipped ({})", self.end.reason()));
                if !self.stale.is_empty() {
                    parts.push(revoked);
                }
            }
            SweepEnd::CutShort { .. } => {
                parts.push(revoked);
                parts.push(format!("accessor sweep cut short {}", self.end.reason()));
            }
        }
        if let Some(message) = kept_because {
            parts.push(format!("{} may not be revoked (403: {})", self.kept.len(), Shown(message)));
        }
        if !self.indigestible.is_empty() {
            parts.push(format!("{} could not be looked at", self.indigestible.len()));
        }
        parts.join("; ")
    }
}

impl SweepEnd {
    /// Why a sweep did not do all its work; empty if it did.
    pub(super) fn reason(&self) -> String {
        match self {
            Self::Complete | Self::Off => String::new(),
            Self::ListDenied => "list denied".to_owned(),
            Self::LookupDenied | Self::MostlyDenied => "lookup denied".to_owned(),
            Self::NothingToKeep => "the server does not know the token to keep".to_owned(),
            Self::CutShort { examined, total, cause } => {
                let cause = match cause {
                    CutCause::Error(error) => words::error(error),
                    CutCause::TimeIsUp => "time is up".to_owned(),
                };
                format!("after {examined} of {total} accessors: {cause}")
            }
        }
    }
}

/// How loud a line is; the numbers are those of the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    /// All is well.
    Info,
    /// Somebody should look some time.
    Warning,
    /// Somebody should look now.
    Error,
}

impl Outcome {
    /// How loud it is.
    pub(crate) fn level(&self) -> Level {
        match self {
            Self::Renewed { .. } | Self::Healed { .. } => Level::Info,
            Self::Swept(report) if report.is_full() => Level::Info,
            Self::Swept(_) | Self::Drift { .. } | Self::Failed(_) => Level::Error,
        }
    }

    /// The one line of a run, without its time stamp.
    pub(crate) fn line(&self, names: &Names<'_>) -> String {
        match self {
            Self::Renewed { display_name, ttl, resumed } => {
                let swept =
                    resumed.as_ref().map(|report| format!("; resumed an earlier sweep ({})", report.words()));
                format!("OK renewed (dn={} ttl={ttl}s){}", Shown(display_name), swept.unwrap_or_default())
            }
            Self::Healed { from, display_name, report } => {
                let from = match from {
                    HealedFrom::Foreign => "foreign",
                    HealedFrom::Dying => "dying",
                };
                format!(
                    "HEALED: re-minted periodic token from {from} dn={} ({})",
                    Quoted(display_name),
                    report.words()
                )
            }
            Self::Swept(report) if report.is_full() => {
                format!("OK {}{}", report.words(), words::accessors(&report.stale))
            }
            Self::Swept(report) => {
                format!("FAIL: sweep: {}{}", report.words(), words::accessors(&report.stale))
            }
            Self::Drift { display_name, refusal } => format!(
                "DRIFT: {} is dn={} — heal denied, foreign token lacks create authority ({}); investigate what wrote it. {}",
                names.token_file(),
                Quoted(display_name),
                words::refusal(refusal),
                names.recovery()
            ),
            Self::Failed(failure) => format!("FAIL: {}", words::failure(failure, names)),
        }
    }

    /// The stable name of how it ended.
    pub(super) fn id(&self) -> &'static str {
        match self {
            Self::Renewed { .. } => "renewed",
            Self::Healed { .. } => "healed",
            Self::Swept(report) if report.is_full() => "swept",
            Self::Drift { .. } => "drift",
            Self::Swept(_) | Self::Failed(_) => "failed",
        }
    }

    /// The stable name of why it did not end well.
    pub(super) fn reason(&self) -> Option<&'static str> {
        match self {
            Self::Renewed { .. } | Self::Healed { .. } => None,
            Self::Swept(report) => (!report.is_full()).then_some("sweep_incomplete"),
            Self::Drift { .. } => Some("denied"),
            Self::Failed(failure) => Some(failure.id()),
        }
    }

    /// The sweep, if there was one.
    pub(crate) fn sweep(&self) -> Option<&SweepReport> {
        match self {
            Self::Renewed { resumed, .. } => resumed.as_ref(),
            Self::Healed { report, .. } | Self::Swept(report) => Some(report),
            Self::Drift { .. } | Self::Failed(_) => None,
        }
    }

    /// How many stale tokens it revoked.
    pub(crate) fn swept(&self) -> u64 {
        self.sweep().map_or(0, |report| u64::try_from(report.stale.len()).unwrap_or(u64::MAX))
    }

    /// What to do about it, where the line does not say.
    pub(crate) fn remedy(&self, names: &Names<'_>) -> Option<String> {
        match self {
            Self::Failed(failure) => words::remedy(failure, names),
            Self::Renewed { .. } | Self::Healed { .. } | Self::Swept(_) | Self::Drift { .. } => None,
        }
    }

    /// The exit status: 0 or 1.
    pub(crate) fn exit_status(&self) -> u8 {
        match self.level() {
            Level::Info => 0,
            Level::Warning | Level::Error => 1,
        }
    }

    /// The exit status with `--detailed-exitcode`.
    pub(crate) fn detailed_exit_status(&self) -> u8 {
        match self {
            Self::Renewed { .. } => 10,
            Self::Healed { .. } => 11,
            Self::Swept(report) => report.detailed_exit_status(),
            Self::Drift { .. } => 3,
            Self::Failed(failure) => failure.detailed_exit_status(),
        }
    }
}

impl SweepReport {
    /// Whether it did all that was asked of it.
    pub(super) fn is_full(&self) -> bool {
        matches!(self.end, SweepEnd::Complete) && self.kept.is_empty() && self.indigestible.is_empty()
    }

    /// The exit status of the verb `sweep` with `--detailed-exitcode`.
    pub(super) fn detailed_exit_status(&self) -> u8 {
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
            | SweepEnd::NothingToKeep => u8::from(!self.is_full()),
        }
    }
}

/// `EX_TEMPFAIL` of sysexits: try again later.
const TEMPORARY: u8 = 75;

impl Failure {
    /// A token of ours that may be used so many times only: a renewal adds none, and it may mint no successor. What
    /// else could be asked with it would only cost it more of them, and after the last every answer is a denial.
    pub(crate) fn use_limited(info: &TokenInfo) -> Self {
        let TokenInfo { display_name, ttl, .. } = info;
        let display_name = display_name.clone();
        Self::Dying { display_name, dying: Dying::UseLimited, seconds_left: *ttl, refusal: None }
    }

    /// Its stable name.
    pub(super) fn id(&self) -> &'static str {
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
    pub(super) fn detailed_exit_status(&self) -> u8 {
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
