//! What comes after a run, in a process that stays.

use std::time::Duration;

use super::failure::Failure;
use super::outcome::Outcome;
use crate::identity::Dying;

/// How long after the end of a token that nothing helps it is looked at again: by then the server knows it, too.
const AFTER_ITS_END: Duration = Duration::from_secs(1);

/// A token that is gone is looked at again after this long at most: somebody may bring it back without touching the
/// file.
const LOOK_AGAIN: Duration = Duration::from_secs(5 * 60);

/// What comes after a run. Lengths count from its beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sequel {
    /// Another one, after so long.
    Again(Duration),
    /// None that asks the server about this token, unless so long has passed: only another token helps.
    Parked(Duration),
    /// None: the process ends, because only another token helps.
    Over,
}

impl Sequel {
    /// How long it is until the next run, at most.
    pub(crate) fn length(self) -> Duration {
        match self {
            Self::Again(length) | Self::Parked(length) => length,
            Self::Over => Duration::ZERO,
        }
    }
}

/// How a run leaves the token, for whoever has to plan the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Prospect {
    /// It was renewed or minted.
    Granted,
    /// It was renewed, and will end all the same: to renew it again is all there is to do until then.
    Ebbing,
    /// Something failed that may be over the next time.
    Failed,
    /// Nothing but another token helps.
    Hopeless,
    /// There is none alive, which may change without a word.
    Gone,
}

impl Prospect {
    /// That of a run that ended so.
    pub(crate) fn of(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Renewed { .. }
            | Outcome::Healed { .. }
            | Outcome::Failed(Failure::EndsBeforeNextRun { .. }) => Self::Granted,
            Outcome::Failed(Failure::Dying { dying, .. }) => match dying {
                Dying::NotRenewable | Dying::NotRenewed | Dying::UseLimited => Self::Hopeless,
                Dying::ExplicitMaximum | Dying::NoPeriod | Dying::NotOrphan => Self::Ebbing,
            },
            Outcome::Drift { .. } => Self::Hopeless,
            Outcome::Failed(failure) if failure.leaves_nothing() => Self::Gone,
            Outcome::Failed(_) | Outcome::Swept(_) => Self::Failed,
        }
    }

    /// How long a run that leaves it so waits at most for another token, given how much that one has `left`, and the
    /// longest wait that was asked for; none where it waits for nothing of the kind.
    pub(crate) fn parked(self, longest: Duration, left: Option<Duration>) -> Option<Duration> {
        match self {
            Self::Granted | Self::Ebbing | Self::Failed => None,
            // It lives on for that long, and its end is news.
            Self::Hopeless => Some(left.map_or(longest, |left| (left + AFTER_ITS_END).min(longest))),
            Self::Gone => Some(longest.min(LOOK_AGAIN)),
        }
    }
}
