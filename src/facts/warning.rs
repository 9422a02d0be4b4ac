//! What a person should know although the run goes on.

use std::io;
use std::path::PathBuf;

use crate::config::SettingsWarning;
use crate::identity::Dying;
use crate::local::hook::HookFailure;
use crate::local::token_file::LooseMode;
use crate::token::Accessor;
use crate::vault::Error;

/// A warning, in the order in which it arose.
#[derive(Debug)]
pub(crate) enum Warning {
    /// The server cannot be reached, and nobody said where it is: this is only the default.
    Unaddressed {
        /// The default.
        address: String,
    },
    /// About the settings.
    Settings(SettingsWarning),
    /// The settings cannot be used as they are now; those of the run before count.
    SettingsKept(anyhow::Error),
    /// The settings name another token file than the one this process stays with.
    TokenFileMoved {
        /// The one they name now.
        to: PathBuf,
    },
    /// Our token is granted so little at a time that one failed run costs it.
    BriefLease {
        /// Seconds.
        lease: u64,
    },
    /// Another run is at work.
    WaitingForLock,
    /// Somebody holds a lock on the directory of the token file, and does not let go.
    PlaceBusy,
    /// There can be neither lock nor state.
    NoState {
        /// The state directory.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// No other process can see that this one stays with its file.
    NoSeat {
        /// Its file.
        file: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The state file could not be read; what it knew is lost.
    StateSpoilt {
        /// The state directory.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The state could not be saved.
    StateUnsaved {
        /// The state directory.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// What a killed run staged could not be removed.
    LeftoversRemain {
        /// Beside which file it lies.
        file: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The log file could not be written.
    LogUnwritable {
        /// The log file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The metrics could not be written.
    MetricsUnwritable {
        /// The metrics file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The deploy hook did not do its work.
    Hook(HookFailure),
    /// It was begun so often, and this process ended each time before it did.
    HookGivenUp(u8),
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
    /// Our own token lacks policies of the settings.
    PoliciesMissing(Vec<String>),
    /// The server has no such policy, and our token was minted with it.
    NoSuchPolicy(String),
    /// Our token ends with the one that minted it, and may not mint its successor.
    EndsWithParent,
    /// Our token has so little left, and nobody knows when the next run comes.
    ShortLease {
        /// Seconds.
        left: u64,
    },
    /// The minted token has less left than the one it replaced.
    ShorterThanReplaced {
        /// Seconds.
        left: u64,
        /// Seconds; none if it never ended.
        replaced: Option<u64>,
    },
    /// Our own token will end.
    Dying {
        /// Its name.
        display_name: String,
        /// Why.
        dying: Dying,
        /// In how many seconds.
        seconds_left: u64,
    },
    /// The file was replaced, but a power cut now could undo that.
    DirectoryUnsynced {
        /// The file.
        file: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The file was replaced, and its owner or its group is another one now.
    OwnerLost {
        /// The file.
        file: PathBuf,
    },
    /// A minted token could not be revoked.
    Stranded {
        /// Its accessor, if it has one.
        accessor: Option<Accessor>,
        /// Why.
        error: Error,
    },
}
