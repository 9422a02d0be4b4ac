//! What a person should know although the run goes on.

use std::path::PathBuf;

use super::words::{self, Names, Quoted, Shown};
use crate::config::SettingsWarning;
use crate::identity::Dying;
use crate::local::hook::HookFailure;
use crate::local::token_file::LooseMode;
use crate::token::Accessor;
use crate::vault::Error;

/// A warning, in the order in which it arose.
#[derive(Debug)]
pub(crate) enum Warning {
    /// About the settings.
    Settings(SettingsWarning),
    /// Another run is at work.
    WaitingForLock,
    /// Somebody holds a lock on the directory of the token file, and does not let go.
    PlaceBusy,
    /// There can be neither lock nor state.
    NoState {
        /// The state directory.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The state file could not be read; what it knew is lost.
    StateSpoilt {
        /// The state directory.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The state could not be saved.
    StateUnsaved {
        /// The state directory.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// What a killed run staged could not be removed.
    LeftoversRemain {
        /// Why.
        reason: String,
    },
    /// The log file could not be written.
    LogUnwritable {
        /// The log file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The metrics could not be written.
    MetricsUnwritable {
        /// The metrics file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The deploy hook did not do its work.
    Hook(HookFailure),
    /// Others could read the token file.
    LooseMode(LooseMode),
    /// The server did not say which token it speaks of.
    Unconfirmed,
    /// The token lives in another namespace than the one the settings name.
    OtherNamespace {
        /// The token's.
        token: String,
        /// The settings'.
        settings: String,
    },
    /// A warning of the server's.
    Server(String),
    /// Our own token will end.
    Dying {
        /// Its name.
        display_name: String,
        /// Why.
        dying: Dying,
        /// In how many seconds.
        seconds_left: u64,
    },
    /// The token file was replaced, but a power cut now could undo that.
    DirectoryUnsynced {
        /// Why.
        reason: String,
    },
    /// A minted token could not be revoked.
    Stranded {
        /// Its accessor, if it has one.
        accessor: Option<Accessor>,
        /// Why.
        error: Error,
    },
}

impl Warning {
    /// What is said, without time stamp and level.
    pub(crate) fn text(&self, names: &Names<'_>) -> String {
        match self {
            Self::Settings(SettingsWarning::TokenVariableIgnored(name)) => {
                format!(
                    "{name} is set and ignored here; the vault command line uses it instead of the token file"
                )
            }
            Self::Settings(SettingsWarning::VerificationOff(name)) => {
                format!("{name} is set: the server's certificate is not verified")
            }
            Self::WaitingForLock => "another run is at work here; waiting for it to end".to_owned(),
            Self::PlaceBusy => {
                format!("the directory of {} stays locked by another program; going on", names.token_file())
            }
            Self::NoState { path, reason } => {
                format!("{}: {reason}; going on without its lock and state", names.path(path))
            }
            Self::StateSpoilt { path, reason } => {
                format!(
                    "{}: the state file cannot be read, starting anew: {}",
                    names.path(path),
                    Shown(reason)
                )
            }
            Self::StateUnsaved { path, reason } => {
                format!("{}: the state cannot be saved: {reason}", names.path(path))
            }
            Self::LeftoversRemain { reason } => {
                format!(
                    "what a killed run may have left beside {} cannot be removed: {reason}",
                    names.token_file()
                )
            }
            Self::LogUnwritable { path, reason } => {
                format!("the log file {} cannot be written: {reason}", names.path(path))
            }
            Self::MetricsUnwritable { path, reason } => {
                format!("the metrics file {} cannot be written: {reason}", names.path(path))
            }
            Self::Hook(failure) => format!("the deploy hook {}", words::hook(failure)),
            Self::LooseMode(LooseMode { mode, tightened }) => format!(
                "{} had mode {mode:04o}, which lets others read the token; {}",
                names.token_file(),
                if *tightened { "it is 0600 now" } else { "it should be 0600" }
            ),
            Self::Unconfirmed => {
                "the server does not say which token it speaks of; is there an agent in between?".to_owned()
            }
            Self::OtherNamespace { token, settings } => {
                format!("{}; see --namespace", words::other_namespace(token, settings))
            }
            Self::Server(text) => format!("the server warns: {}", Quoted(text)),
            Self::Dying { display_name, dying, seconds_left } => format!(
                "our token dn={} is dying: {} ({seconds_left}s left); minting its successor",
                Quoted(display_name),
                words::dying(*dying)
            ),
            Self::DirectoryUnsynced { reason } => {
                format!("{} is replaced, but its directory cannot be synced: {reason}", names.token_file())
            }
            Self::Stranded { accessor, error } => format!(
                "the minted token{} could not be revoked ({}); a sweep that walks will find it",
                accessor
                    .as_ref()
                    .map(|accessor| format!(" {}", Shown(&accessor.short())))
                    .unwrap_or_default(),
                words::error(error)
            ),
        }
    }
}
