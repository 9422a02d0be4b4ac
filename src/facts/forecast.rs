//! What a run would do, and the exit status it would have.

use super::authority::NoAuthority;
use super::failure::{ENDS_BEFORE_NEXT_RUN, Failure};
use super::swept::Swept;
use crate::identity::Dying;
use crate::local::history::HeldToken;

/// How far a token would fall short of the next run; seconds, both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shortfall {
    /// What it would have.
    pub(crate) left: u64,
    /// When the next run comes.
    pub(crate) next_run: u64,
}

/// What a run would do.
#[derive(Debug)]
#[must_use]
pub(crate) enum Forecast {
    /// Renew our token.
    Renew {
        /// Its name.
        display_name: String,
        /// Seconds it has left.
        ttl: u64,
        /// The sweep an earlier run could not finish, if one is due.
        sweep: Option<Swept>,
        /// Whether an earlier run did not get to run the deploy hook.
        owes_hook: bool,
        /// Whether it would end before the next run all the same.
        shortfall: Option<Shortfall>,
    },
    /// Mint ours.
    Heal {
        /// The name of the token in the file.
        display_name: String,
        /// Seconds it has left.
        ttl: u64,
        /// Why it will end, if it is ours.
        dying: Option<Dying>,
        /// The path on which it may mint.
        path: &'static str,
        /// Whether it bears our name, so that the sweep will revoke it.
        leftover: bool,
        /// What the sweep would find.
        sweep: Swept,
        /// Whether what is minted would end before the next run.
        shortfall: Option<Shortfall>,
    },
    /// Fail for want of authority.
    Denied {
        /// The name of the token in the file.
        display_name: String,
        /// Seconds it has left.
        ttl: u64,
        /// Why it will end, if it is ours.
        dying: Option<Dying>,
        /// What it lacks.
        reason: NoAuthority,
    },
    /// Fail, because the server does not know the required policy: what is minted could do nothing.
    Worthless {
        /// The name of the token in the file.
        display_name: String,
        /// Seconds it has left.
        ttl: u64,
        /// Why it will end, if it is ours.
        dying: Option<Dying>,
        /// The policy.
        policy: String,
    },
    /// Try to mint ours: Vault does not tell whether the token may.
    Try {
        /// The name of the token in the file.
        display_name: String,
        /// Seconds it has left.
        ttl: u64,
        /// Why it will end, if it is ours.
        dying: Option<Dying>,
    },
    /// Fail to renew our token, because it may not renew itself.
    NotRenewed {
        /// Its name.
        display_name: String,
        /// Seconds it has left.
        ttl: u64,
    },
    /// Sweep, as the verb does.
    Sweep {
        /// The name of the token in the file.
        display_name: String,
        /// Seconds it has left.
        ttl: u64,
        /// What it would find.
        sweep: Swept,
    },
    /// Fail for another reason.
    Failed(Failure),
}

impl Forecast {
    /// The stable name of what would happen.
    pub(crate) fn id(&self) -> &'static str {
        match self {
            Self::Renew { shortfall: None, .. } => "would_renew",
            Self::Heal { shortfall: None, .. } => "would_heal",
            Self::Denied { dying: None, .. } => "would_drift",
            Self::Try { .. } => "would_try",
            Self::Sweep { sweep, .. } if sweep.is_full() => "would_sweep",
            Self::Renew { shortfall: Some(_), .. }
            | Self::Heal { shortfall: Some(_), .. }
            | Self::Worthless { .. }
            | Self::Denied { dying: Some(_), .. }
            | Self::NotRenewed { .. }
            | Self::Sweep { .. }
            | Self::Failed(_) => "would_fail",
        }
    }

    /// The stable name of why it would not end well.
    pub(crate) fn reason(&self) -> Option<&'static str> {
        match self {
            Self::Renew { shortfall, .. } | Self::Heal { shortfall, .. } => {
                shortfall.is_some().then_some(ENDS_BEFORE_NEXT_RUN.0)
            }
            Self::Denied { dying: None, .. } | Self::NotRenewed { .. } => Some("denied"),
            Self::Try { .. } => Some("not_told"),
            Self::Denied { dying: Some(_), .. } => Some("not_renewable"),
            Self::Worthless { .. } => Some("not_as_ordered"),
            Self::Sweep { sweep, .. } => (!sweep.is_full()).then_some("sweep_incomplete"),
            Self::Failed(failure) => Some(failure.id()),
        }
    }

    /// The token that is in the token file at `now` (seconds since 1970), as far as it is known.
    pub(crate) fn held(&self, now: u64) -> Option<HeldToken> {
        let (display_name, ttl, ours) = match self {
            Self::Renew { display_name, ttl, .. }
            | Self::NotRenewed { display_name, ttl }
            | Self::Sweep { display_name, ttl, .. } => (display_name, *ttl, true),
            Self::Heal { display_name, ttl, dying, .. }
            | Self::Denied { display_name, ttl, dying, .. }
            | Self::Worthless { display_name, ttl, dying, .. }
            | Self::Try { display_name, ttl, dying } => (display_name, *ttl, dying.is_some()),
            Self::Failed(_) => return None,
        };
        let ends_at = (ttl > 0).then(|| now.saturating_add(ttl));
        Some(HeldToken { display_name: display_name.clone(), ours, ends_at, lease: None, dying: None })
    }

    /// What a sweep would do, if there would be one.
    pub(crate) fn sweep(&self) -> Option<&Swept> {
        match self {
            Self::Renew { sweep, .. } => sweep.as_ref(),
            Self::Heal { sweep, .. } | Self::Sweep { sweep, .. } => Some(sweep),
            Self::Denied { .. }
            | Self::Worthless { .. }
            | Self::Try { .. }
            | Self::NotRenewed { .. }
            | Self::Failed(_) => None,
        }
    }

    /// Whether the real run would end well.
    pub(crate) fn is_good(&self) -> bool {
        match self {
            Self::Renew { shortfall, .. } | Self::Heal { shortfall, .. } => shortfall.is_none(),
            Self::Sweep { sweep, .. } => sweep.is_full(),
            // Nobody can promise that a try ends well.
            Self::Denied { .. }
            | Self::Worthless { .. }
            | Self::Try { .. }
            | Self::NotRenewed { .. }
            | Self::Failed(_) => false,
        }
    }

    /// The exit status the real run would have, as far as Vault tells.
    pub(crate) fn exit_status(&self) -> u8 {
        u8::from(!self.is_good())
    }

    /// The exit status the real run would have with `--detailed-exitcode`.
    pub(crate) fn detailed_exit_status(&self) -> u8 {
        match self {
            Self::Renew { shortfall: Some(_), .. } | Self::Heal { shortfall: Some(_), .. } => {
                ENDS_BEFORE_NEXT_RUN.1
            }
            Self::Renew { shortfall: None, .. } => 10,
            Self::Heal { shortfall: None, .. } => 11,
            Self::Denied { dying: None, .. } => 3,
            Self::Denied { dying: Some(_), .. } => 5,
            Self::Worthless { .. } | Self::Try { .. } | Self::NotRenewed { .. } => 1,
            Self::Sweep { sweep, .. } => sweep.detailed_exit_status(),
            Self::Failed(failure) => failure.detailed_exit_status(),
        }
    }
}
