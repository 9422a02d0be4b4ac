//! Mint, check, swap, sweep: a foreign or dying token turned back into ours with its own authority. In which order,
//! and what a kill leaves behind: docs/design.md, "Order of a heal, and what a kill leaves behind". Why the foreign
//! token lives on: docs/design.md, "The foreign token is not revoked".

use std::thread;
use std::time::Duration;

use super::context::{Context, warn_unsaved};
use super::current::{Current, Holds, Interruption, file_holds};
use super::sweep::{Scope, sweep, sweeps};
use crate::facts::failure::{Failure, Refusal, RefusedMint};
use crate::facts::outcome::{HealedFrom, Outcome};
use crate::facts::warning::Warning;
use crate::identity::{Contradiction, Dying};
use crate::local::history::{Contents, HeldToken};
use crate::local::staged::Committed;
use crate::local::state::{Due, State};
use crate::secret::Token;
use crate::token::TokenInfo;
use crate::vault::{Call, Error, ErrorKind, Meta, MintOrder, Minted, No, Revocation};

/// The name this program leaves on what it mints.
const MANAGED_BY: &str = "vault-token-renew";

/// How often a minted token is looked up before a denial is believed: a standby may not know it yet.
const CHECKS: u32 = 4;

/// The pause between these lookups.
const CHECK_PAUSE: Duration = Duration::from_millis(500);

/// What is to be healed.
#[derive(Debug, Clone, Copy)]
pub(super) enum Origin {
    /// Somebody else's token.
    Foreign,
    /// Our own, which will end.
    Dying {
        /// Why.
        dying: Dying,
        /// In how many seconds.
        seconds_left: u64,
    },
}

/// Heals the token file, which holds `current`.
pub(super) fn heal(
    context: &Context<'_>,
    state: &mut State,
    current: &Current,
    origin: Origin,
) -> Result<Outcome, Interruption> {
    let info = &current.info;
    let display_name = info.display_name.clone();
    if let Origin::Dying { dying: Dying::UseLimited, .. } = origin {
        return Err(Failure::use_limited(info).into());
    }
    if let Some((token, settings)) = current.elsewhere(context) {
        (context.warn)(Warning::OtherNamespace { token, settings });
    }
    let minted = match mint(context, &current.token) {
        Ok(Mint::Done(minted)) => minted,
        Ok(Mint::Refused(refusal)) => {
            return match origin {
                Origin::Foreign => Ok(Outcome::Drift { display_name, refusal }),
                Origin::Dying { dying, seconds_left } => {
                    Err(Failure::Dying { display_name, dying, seconds_left, refusal: Some(refusal) }.into())
                }
            };
        }
        Err(failure) => {
            // What the server may hold now is found by a walk, even if the next run finds no need to heal.
            if failure.lost_mint() && sweeps(context.settings) {
                warn_unsaved(context, state.note_sweep_due(None));
            }
            return Err(failure.into());
        }
    };
    if let Some(accessor) = &minted.accessor {
        warn_unsaved(context, state.note_mint(accessor));
    }
    for warning in &minted.warnings {
        (context.warn)(Warning::Server(warning.clone()));
    }
    let (was_due, was_hook_due) = (state.due(), state.is_hook_due());
    let ours = match adopt(context, state, &current.token, &minted) {
        Ok(ours) => ours,
        // The minted token may be the one in the file: then it must live.
        Err(unsettled @ Interruption::Failed(Failure::Unsettled(_))) => return Err(unsettled),
        Err(interruption) => {
            state.set_hook_due(was_hook_due);
            discard(context, state, current, &minted, was_due);
            return Err(interruption);
        }
    };
    state.set_contents(Contents::Held(HeldToken::new(&ours, true, context.clock.seconds())));
    let from = match origin {
        Origin::Foreign => HealedFrom::Foreign,
        Origin::Dying { .. } => HealedFrom::Dying,
    };
    let swept = sweep(context, state, &minted.token, ours.accessor.as_ref(), Scope::Full);
    Ok(Outcome::Healed { from, display_name, swept })
}

/// What the server made of the order.
enum Mint {
    /// A token, not yet checked.
    Done(Minted),
    /// Nothing: it refused on both paths.
    Refused(Refusal),
}

/// Mints by whichever of the two calls is granted. Vault's answer is the only judge; an outage is none.
fn mint(context: &Context<'_>, current: &Token) -> Result<Mint, Failure> {
    let settings = context.settings;
    let order = MintOrder {
        policies: &settings.identity.policies,
        period: settings.identity.period,
        display_name: &settings.identity.requested_name,
        no_parent: true,
        renewable: true,
        r#type: "service",
        meta: Meta { managed_by: MANAGED_BY, host: context.host, user: &settings.user },
    };
    let create = match context.client.mint(Call::Create, current, &order) {
        Ok(minted) => return Ok(Mint::Done(minted)),
        Err(error) => refused(error)?,
    };
    // A refusal has minted nothing, so asking on the other path cannot make a second token.
    match context.client.mint(Call::CreateOrphan, current, &order) {
        Ok(minted) => Ok(Mint::Done(minted)),
        Err(error) => Ok(Mint::Refused(Refusal { create, create_orphan: refused(error)? })),
    }
}

/// Tells a refusal from everything else that can go wrong with a mint.
fn refused(error: Error) -> Result<RefusedMint, Failure> {
    match error.kind.no() {
        Some((No::Denied, message)) => Ok(RefusedMint { status: 403, message: message.to_owned() }),
        Some((No::Refused, message)) => Ok(RefusedMint { status: 400, message: message.to_owned() }),
        Some((No::NotFound, _)) | None => Err(Failure::Vault(error)),
    }
}

/// Checks the minted token and puts it into the token file. On any failure the file is as it was, and the
/// minted token is the caller's to discard.
fn adopt(
    context: &Context<'_>,
    state: &mut State,
    current: &Token,
    minted: &Minted,
) -> Result<TokenInfo, Interruption> {
    let info = check(context, minted)?;
    let token_file = &context.settings.token_file;
    let staged = token_file.stage(&minted.token).map_err(Failure::Replace)?;
    state.set_hook_due(context.settings.hook.is_some());
    warn_unsaved(
        context,
        state.note_replacement(info.accessor.as_ref().filter(|_| sweeps(context.settings))),
    );
    // The last look at the file, as late as it can be: whoever logged in meanwhile must not lose that login.
    match file_holds(context, current) {
        Holds::Yes => {}
        Holds::No => return Err(Interruption::FileChanged),
        Holds::Unknown(error) => return Err(Failure::TokenFile(error).into()),
    }
    match staged.commit() {
        Ok(Committed::Durably) => {}
        Ok(Committed::Unsynced(error)) => {
            (context.warn)(Warning::DirectoryUnsynced { error });
        }
        // Some network file systems report a failure of a rename that has happened. Were the minted token
        // revoked then, the file would hold a dead one.
        Err(error) => match file_holds(context, &minted.token) {
            Holds::Yes => {}
            Holds::No => return Err(Failure::Replace(error).into()),
            Holds::Unknown(_) => return Err(Failure::Unsettled(error).into()),
        },
    }
    Ok(info)
}

/// Looks the minted token up with itself, and holds the answer against the order.
fn check(context: &Context<'_>, minted: &Minted) -> Result<TokenInfo, Failure> {
    let mut checks = 1;
    let lookup = loop {
        match context.client.lookup_self(&minted.token) {
            Err(Error { kind: ErrorKind::Denied { .. }, .. }) if checks < CHECKS => {
                thread::sleep(CHECK_PAUSE);
                checks += 1;
            }
            answer => break answer.map_err(Failure::Unchecked)?,
        }
    };
    if !lookup.confirmed {
        (context.warn)(Warning::Unconfirmed);
    }
    context.settings.identity.check_minted(&lookup.info).map_err(Failure::Contradiction)?;
    // An agent that puts its own token in the place of ours speaks of another accessor than the mint did.
    if minted.accessor.is_some() && minted.accessor != lookup.info.accessor {
        return Err(Failure::Contradiction(Contradiction::Accessor));
    }
    // Where neither says which token it is, there is nothing known to keep.
    let known = lookup.confirmed || minted.accessor.is_some();
    Ok(TokenInfo { accessor: lookup.info.accessor.filter(|_| known), ..lookup.info })
}

/// Revokes a minted token that cannot be kept: with itself, or else with the token that minted it. The due
/// sweep is as it was before.
///
/// A token is told to revoke itself only if the server is known to hear the token that was sent: behind an
/// agent that substitutes its own, it would be the agent's that dies.
fn discard(context: &Context<'_>, state: &mut State, current: &Current, minted: &Minted, was_due: Due) {
    let by_itself = || context.client.revoke_self(&minted.token);
    let by_accessor = |accessor| context.client.revoke_accessor(&current.token, accessor).map(gone);
    let revoked = match (&minted.accessor, current.confirmed) {
        (Some(accessor), true) => by_itself().or_else(|error| by_accessor(accessor).map_err(|_| error)),
        (Some(accessor), false) => by_accessor(accessor),
        (None, _) => by_itself(),
    };
    let gone = minted.accessor.as_ref().filter(|_| revoked.is_ok());
    // What could not be revoked is left for a sweep.
    let due = match was_due {
        Due::Nothing if revoked.is_err() && sweeps(context.settings) => Due::Sweep,
        Due::Nothing | Due::Sweep | Due::Denied => was_due,
    };
    warn_unsaved(context, state.note_discarded(due, gone));
    if let Err(error) = revoked {
        (context.warn)(Warning::Stranded { accessor: minted.accessor.clone(), error });
    }
}

fn gone(revocation: Revocation) {
    match revocation {
        Revocation::Revoked | Revocation::AlreadyGone => {}
    }
}
