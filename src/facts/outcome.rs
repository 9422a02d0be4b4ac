//! How a run ended, and its exit status.

use super::failure::{Failure, Refusal};
use super::swept::Swept;
use crate::token::Accessor;

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
        resumed: Option<Swept>,
    },
    /// The token file holds ours again.
    Healed {
        /// What was in it before.
        from: HealedFrom,
        /// The name of what was in it.
        display_name: String,
        /// The token that was in it before, if that never ends and nobody revokes it: nobody else may know that it
        /// lives.
        lives_on: Option<Accessor>,
        /// What the sweep did.
        swept: Swept,
    },
    /// The verb `sweep` did its work.
    Swept(Swept),
    /// The token is foreign, and too weak to mint ours.
    Drift {
        /// Its name.
        display_name: String,
        /// Vault's refusals; none if it was not asked, to spare the token its last uses.
        refusal: Option<Refusal>,
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
            Self::Swept(swept) if swept.is_full() => Level::Info,
            Self::Swept(_) | Self::Drift { .. } | Self::Failed(_) => Level::Error,
        }
    }

    /// The stable name of how it ended.
    pub(crate) fn id(&self) -> &'static str {
        match self {
            Self::Renewed { .. } => "renewed",
            Self::Healed { .. } => "healed",
            Self::Swept(swept) if swept.is_full() => "swept",
            Self::Drift { .. } => "drift",
            Self::Swept(_) | Self::Failed(_) => "failed",
        }
    }

    /// The stable name of why it did not end well.
    pub(crate) fn reason(&self) -> Option<&'static str> {
        match self {
            Self::Renewed { .. } | Self::Healed { .. } => None,
            Self::Swept(swept) => (!swept.is_full()).then_some("sweep_incomplete"),
            Self::Drift { .. } => Some("denied"),
            Self::Failed(failure) => Some(failure.id()),
        }
    }

    /// The sweep, if there was one.
    pub(crate) fn sweep(&self) -> Option<&Swept> {
        match self {
            Self::Renewed { resumed, .. } => resumed.as_ref(),
            Self::Healed { swept, .. } | Self::Swept(swept) => Some(swept),
            Self::Failed(failure) => failure.sweep(),
            Self::Drift { .. } => None,
        }
    }

    /// How many stale tokens it revoked.
    pub(crate) fn swept(&self) -> u64 {
        self.sweep().map_or(0, |swept| u64::try_from(swept.stale.len()).unwrap_or(u64::MAX))
    }

    /// Whether the token file holds a living token of ours since, whatever else is wrong.
    pub(crate) fn leaves_ours(&self) -> bool {
        match self {
            Self::Renewed { .. } | Self::Healed { .. } => true,
            Self::Failed(failure) => matches!(failure, Failure::EndsBeforeNextRun { .. }),
            Self::Swept(_) | Self::Drift { .. } => false,
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
            Self::Swept(swept) => swept.detailed_exit_status(),
            Self::Drift { .. } => 3,
            Self::Failed(failure) => failure.detailed_exit_status(),
        }
    }
}
