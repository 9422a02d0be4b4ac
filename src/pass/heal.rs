//! Mint, check, swap, sweep: a foreign or dying token turned back into ours with its own authority. In which order,
//! and what a kill leaves behind: docs/design.md, "Order of a heal, and what a kill leaves behind". Why the foreign
//! token lives on: docs/design.md, "The foreign token is not revoked".

use std::time::{Duration, Instant};

use super::authority::authority;
use super::context::{Context, warn_of, warn_unsaved};
use super::current::{Current, Holds, Interruption, file_holds};
use super::reach::{Reach, reaches_next_run};
use super::sweep::{Kept, Scope, sweep, sweeps};
use crate::facts::authority::Authority;
use crate::facts::failure::{Done, Failure, Refusal, RefusedMint};
use crate::facts::outcome::{HealedFrom, Outcome};
use crate::facts::swept::Swept;
use crate::facts::warning::Warning;
use crate::identity::{Contradiction, Dying, Minter, Vitality};
use crate::local::history::{Contents, HeldToken};
use crate::local::staged::Committed;
use crate::local::state::{Due, State};
use crate::token::{Accessor, TokenInfo};
use crate::vault::{CREATE_PATH, Call, Error, ErrorKind, Meta, MintOrder, Minted, No, Revocation};

/// The name this program leaves on what it mints.
const MANAGED_BY: &str = "vault-token-renew";

/// How often a minted token is looked up before a denial is believed: a standby may not know it yet.
const CHECKS: u32 = 4;

/// Seconds that may get lost between a mint and its lookup by rounding and by clocks.
const SLACK: u64 = 60;

/// Requests that a heal may make with the foreign token: two or three mints, a question, a revocation. One that may be
/// used less often is not spent on it.
const USES_OF_A_HEAL: i64 = 5;

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
        /// Seconds that a renewal granted all the same.
        lease: Option<u64>,
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
    if let (Origin::Foreign, 1..USES_OF_A_HEAL) = (origin, info.num_uses) {
        // Vault lets no such token mint, and the attempts would take what it has left.
        return Ok(Outcome::Drift { display_name, refusal: None });
    }
    if let (Origin::Foreign, Some((token, settings))) = (origin, current.elsewhere(context)) {
        (context.warn)(Warning::OtherNamespace { token, settings });
    }
    let minted = match mint(context, current) {
        Ok(Mint::Done(minted)) => minted,
        Ok(Mint::Refused(refusal)) => {
            return match origin {
                Origin::Foreign => Ok(Outcome::Drift { display_name, refusal: Some(refusal) }),
                // Nothing is known to end it but its parent, and that may live for ever.
                Origin::Dying { dying: Dying::NotOrphan, lease: Some(lease), .. }
                    if lasts_with_its_parent(context, info, lease) =>
                {
                    (context.warn)(Warning::EndsWithParent);
                    if reaches_next_run(context, lease) == Reach::Unknown {
                        (context.warn)(Warning::ShortLease { left: lease });
                    }
                    Ok(Outcome::Renewed { display_name, ttl: lease, resumed: None })
                }
                Origin::Dying { dying, seconds_left, .. } => {
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
    // Something in between that repeats an answer: were it discarded as worthless, the token in the file would die.
    if minted.token == current.token || (minted.accessor.is_some() && minted.accessor == info.accessor) {
        return Err(Failure::Contradiction(Contradiction::NotNew).into());
    }
    if let Some(accessor) = &minted.accessor {
        warn_unsaved(context, state.note_mint(accessor));
    }
    warn_of(context, &minted.warnings);
    let (was_due, was_hook_due) = (state.due(), state.is_hook_due());
    let (ours, reach) = match adopt(context, state, current, &minted) {
        Ok(adopted) => adopted,
        // The minted token may be the one in the file: then it must live.
        Err(unsettled @ Interruption::Failed(Failure::Unsettled(_))) => return Err(unsettled),
        Err(interruption) => {
            state.set_hook_due(was_hook_due);
            discard(context, state, current, &minted, was_due);
            return Err(interruption);
        }
    };
    let now = context.clock.seconds();
    let held = HeldToken::new(&ours, true, now);
    state.set_contents(Contents::Held(match minted.lease {
        Some(lease) => held.granted(lease, now),
        None => held,
    }));
    state.set_token(Some(minted.token.fingerprint()));
    let from = match origin {
        Origin::Foreign => HealedFrom::Foreign,
        Origin::Dying { .. } => HealedFrom::Dying,
    };
    let keep = Kept { accessor: ours.accessor.as_ref(), orphan: ours.orphan };
    let swept = sweep(context, state, &minted.token, keep, Scope::Full);
    let lives_on = lives_on(origin, info, &ours, &swept);
    Ok(match reach {
        Reach::No { next_run } => {
            let done = Done::Healed { lives_on, swept: Box::new(swept) };
            let left = minted.lease.unwrap_or(ours.ttl);
            // It is about the token that is in the file by now, and not about the one that was replaced.
            Outcome::Failed(Failure::EndsBeforeNextRun { done, left, next_run })
        }
        Reach::Yes | Reach::Unknown => Outcome::Healed { from, display_name, lives_on, swept },
    })
}

/// The foreign token, if it never ends of itself: nobody else may know that it lives.
fn lives_on(origin: Origin, foreign: &TokenInfo, ours: &TokenInfo, swept: &Swept) -> Option<Accessor> {
    let is_foreign = matches!(origin, Origin::Foreign);
    let is_endless = !foreign.ends() || foreign.period.is_some_and(|period| period > 0);
    let accessor = foreign.accessor.as_ref().filter(|_| is_foreign && is_endless)?;
    let is_over = ours.accessor.as_ref() == Some(accessor) || swept.stale.contains(accessor);
    (!is_over).then(|| accessor.clone())
}

/// Whether a token that is no orphan, which a renewal gave `lease` seconds, lives on with its parent as far as anybody
/// can tell.
pub(super) fn lasts_with_its_parent(context: &Context<'_>, info: &TokenInfo, lease: u64) -> bool {
    let as_an_orphan = TokenInfo { orphan: None, ..info.clone() };
    let lasting = context.settings.identity.vitality(&as_an_orphan, lease) == Vitality::Lasting;
    lasting && !matches!(reaches_next_run(context, lease), Reach::No { .. })
}

/// What the server made of the order.
enum Mint {
    /// A token, not yet checked.
    Done(Minted),
    /// Nothing: it refused on both paths.
    Refused(Refusal),
}

/// Mints by whichever of the two calls is granted. Vault's answer is the only judge; an outage is none.
fn mint(context: &Context<'_>, current: &Current) -> Result<Mint, Failure> {
    let settings = context.settings;
    let run = format!("{:016x}", fastrand::u64(..));
    let Minter { machine, host, user } = context.minter;
    let meta = Meta { managed_by: MANAGED_BY, machine: machine.as_deref(), host, user, run: &run };
    let order = MintOrder {
        policies: &settings.identity.policies,
        period: settings.identity.period,
        display_name: &settings.identity.requested_name,
        no_parent: true,
        renewable: true,
        r#type: "service",
        meta: Some(meta),
    };
    let create = match context.client.mint(Call::Create, &current.token, &order) {
        Ok(minted) => return Ok(Mint::Done(minted)),
        Err(error) => refused(error)?,
    };
    // A refusal has minted nothing, so asking on the other path cannot make a second token.
    let create_orphan = match context.client.mint(Call::CreateOrphan, &current.token, &order) {
        Ok(minted) => return Ok(Mint::Done(minted)),
        Err(error) => refused(error)?,
    };
    // Vault says that the token may, and refused all the same: then it is about what was sent. Rules about parameters
    // that were made for the command line know no notes.
    let call = match authority(context, current) {
        Ok(Authority::On(CREATE_PATH)) => Call::Create,
        Ok(Authority::On(_)) => Call::CreateOrphan,
        Ok(Authority::Lacking(_) | Authority::Untold) | Err(_) => {
            return Ok(Mint::Refused(Refusal { create, create_orphan }));
        }
    };
    match context.client.mint(call, &current.token, &MintOrder { meta: None, ..order }) {
        Ok(minted) => Ok(Mint::Done(minted)),
        Err(error) => refused(error).map(|_| Mint::Refused(Refusal { create, create_orphan })),
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
    current: &Current,
    minted: &Minted,
) -> Result<(TokenInfo, Reach), Interruption> {
    let info = check(context, minted)?;
    let reach = worth_having(context, current, minted.lease.unwrap_or(info.ttl))?;
    let token_file = &context.settings.token_file;
    let staged = token_file.stage(&minted.token).map_err(Failure::Replace)?;
    state.set_hook_due(context.settings.hook.is_some());
    warn_unsaved(
        context,
        state.note_replacement(info.accessor.as_ref().filter(|_| sweeps(context.settings))),
    );
    // The last look at the file, as late as it can be: whoever logged in meanwhile must not lose that login.
    match file_holds(context, &current.token) {
        Holds::Yes => {}
        Holds::No => return Err(Interruption::FileChanged),
        Holds::Unknown(error) => return Err(Failure::TokenFile(error).into()),
    }
    match staged.commit() {
        Ok(Committed::Durably) => {}
        Ok(Committed::Unsynced(error)) => {
            let file = context.settings.token_file.path().to_owned();
            (context.warn)(Warning::DirectoryUnsynced { file, error });
        }
        // Some network file systems report a failure of a rename that has happened. Were the minted token
        // revoked then, the file would hold a dead one.
        Err(error) => match file_holds(context, &minted.token) {
            Holds::Yes => {}
            Holds::No => return Err(Failure::Replace(error).into()),
            Holds::Unknown(_) => return Err(Failure::Unsettled(error).into()),
        },
    }
    Ok((info, reach))
}

/// Whether a minted token with `left` seconds is worth having in the place of the current one: it reaches the next run,
/// or at least lives longer. What is capped so low that it would end sooner is no heal.
pub(super) fn worth_having(context: &Context<'_>, current: &Current, left: u64) -> Result<Reach, Failure> {
    let replaced = current.info.ends().then_some(current.info.ttl);
    let is_shorter = replaced.is_none_or(|replaced| left + SLACK < replaced);
    let reach = reaches_next_run(context, left);
    match reach {
        Reach::Unknown | Reach::No { .. } if is_shorter => {
            return Err(Failure::Contradiction(Contradiction::ShortLife { left, replaced }));
        }
        Reach::Unknown => (context.warn)(Warning::ShortLease { left }),
        Reach::Yes if is_shorter && left + SLACK < context.settings.identity.period => {
            (context.warn)(Warning::ShorterThanReplaced { left, replaced });
        }
        Reach::Yes | Reach::No { .. } => {}
    }
    Ok(reach)
}

/// Looks the minted token up with itself, and holds the answer against the order.
fn check(context: &Context<'_>, minted: &Minted) -> Result<TokenInfo, Failure> {
    let identity = &context.settings.identity;
    for policy in minted.warnings.iter().filter_map(|warning| missing_policy(warning)) {
        if policy == identity.required_policy {
            return Err(Failure::Contradiction(Contradiction::NoSuchPolicy(policy.to_owned())));
        }
    }
    let start = Instant::now();
    let mut checks = 1;
    let lookup = loop {
        match context.client.lookup_self(&minted.token) {
            Err(Error { kind: ErrorKind::Denied { .. }, .. }) if checks < CHECKS => {
                context.stop.sleep(CHECK_PAUSE);
                checks += 1;
            }
            answer => break answer.map_err(Failure::Unchecked)?,
        }
    };
    if !lookup.confirmed {
        (context.warn)(Warning::Unconfirmed);
    }
    identity.check_minted(&lookup.info, context.client.namespace()).map_err(Failure::Contradiction)?;
    let left = lookup.info.ttl;
    if let Some(granted) = minted.lease
        && left + start.elapsed().as_secs() + SLACK < granted
    {
        return Err(Failure::Contradiction(Contradiction::TimeLeft { left, granted }));
    }
    // An agent that puts its own token in the place of ours speaks of another accessor than the mint did.
    if minted.accessor.is_some() && minted.accessor != lookup.info.accessor {
        return Err(Failure::Contradiction(Contradiction::Accessor));
    }
    // Where neither says which token it is, there is nothing known to keep.
    let known = lookup.confirmed || minted.accessor.is_some();
    Ok(TokenInfo { accessor: lookup.info.accessor.filter(|_| known), ..lookup.info })
}

/// The policy that does not exist, if that is what the server warns of. It mints all the same, a token that lists the
/// policy and may do nothing by it.
///
/// Source: OpenBao and Vault, `token_store.go`, "Policy %q does not exist"; measured.
fn missing_policy(warning: &str) -> Option<&str> {
    warning.strip_prefix("Policy \"")?.strip_suffix("\" does not exist")
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
