//! What a pass would do, without doing it: nothing is sent that changes the server, and nothing is written.

use super::authority::{authority, may_update};
use super::context::{Context, Work, warn_lacking};
use super::current::{Current, undisturbed};
use super::entry::saved_state;
use super::heal::{lasts_with_its_parent, worth_having};
use super::reach::{Reach, reaches_next_run};
use super::sweep::{Kept, Scope, search, sweeps};
use super::walk::Action;
use crate::facts::authority::Authority;
use crate::facts::failure::Failure;
use crate::facts::forecast::{Forecast, Shortfall};
use crate::facts::swept::Swept;
use crate::facts::warning::Warning;
use crate::identity::{Dying, Provenance, Verdict, Vitality, expected_lease};
use crate::local::state::State;
use crate::token::TokenInfo;
use crate::vault::{RENEW_SELF_PATH, REVOKE_ACCESSOR_PATH};

/// What a run would do.
pub(crate) fn forecast(context: &Context<'_>, work: Work) -> Forecast {
    match work {
        Work::Pass => forecast_pass(context),
        Work::Sweep => forecast_sweep(context),
    }
}

fn forecast_pass(context: &Context<'_>) -> Forecast {
    undisturbed(|| {
        let current = Current::look_at(context)?;
        warn_elsewhere(context, &current);
        let (identity, state) = (&context.settings.identity, saved_state(context).0);
        let (display_name, ttl) = (current.info.display_name.clone(), current.info.ttl);
        let lease = expected_lease(&current.info, context.clock.seconds());
        if identity.judge(&current.info) == Verdict::Ours && current.info.num_uses == 0 {
            warn_lacking(context, &current.info);
        }
        let dying = match identity.judge(&current.info) {
            Verdict::Ours => match identity.forecast(&current.info, context.clock.seconds()) {
                // Where Vault does not tell, it is what it is for nearly everybody.
                Vitality::Lasting
                    if matches!(may_update(context, &current, RENEW_SELF_PATH), Ok(Some(false))) =>
                {
                    return Ok(Forecast::NotRenewed { display_name, ttl });
                }
                Vitality::Lasting => {
                    let sweep = Scope::left_over(context, &state).and_then(|scope| {
                        let found =
                            revocable(context, &current, list(context, &current, &state, scope, false));
                        Some(found).filter(|swept| scope.is_news(swept))
                    });
                    let (owes_hook, shortfall) = (state.is_hook_due(), shortfall(context, lease));
                    return Ok(Forecast::Renew { display_name, ttl, sweep, owes_hook, shortfall });
                }
                Vitality::Dying(dying) => Some(dying),
            },
            Verdict::Foreign => None,
        };
        let path = match authority(context, &current)? {
            Authority::On(path) => path,
            Authority::Lacking(_)
                if dying == Some(Dying::NotOrphan)
                    && lasts_with_its_parent(context, &current.info, lease) =>
            {
                (context.warn)(Warning::EndsWithParent);
                let (owes_hook, shortfall) = (state.is_hook_due(), shortfall(context, lease));
                return Ok(Forecast::Renew { display_name, ttl, sweep: None, owes_hook, shortfall });
            }
            Authority::Lacking(reason) => {
                return Ok(Forecast::Denied { display_name, ttl, dying, reason });
            }
            Authority::Untold => return Ok(Forecast::Try { display_name, ttl, dying }),
        };
        if let Some(policy) = missing_policy(context, &current) {
            return Ok(Forecast::Worthless { display_name, ttl, dying, policy });
        }
        context.settings.token_file.check_replaceable().map_err(Failure::Replace)?;
        let left = identity.period;
        let shortfall = match worth_having(context, &current, left)? {
            Reach::No { next_run } => Some(Shortfall { left, next_run }),
            Reach::Yes | Reach::Unknown => None,
        };
        let mut sweep = list(context, &current, &state, Scope::Full, true);
        // Once its successor is there, a token of our name is itself a leftover.
        let leftover = sweeps(context.settings) && is_leftover(context, &state, &current);
        sweep.stale.extend(current.accessor(&state).filter(|_| leftover).cloned());
        Ok(Forecast::Heal { display_name, ttl, dying, path, leftover, sweep, shortfall })
    })
    .unwrap_or_else(Forecast::Failed)
}

fn forecast_sweep(context: &Context<'_>) -> Forecast {
    undisturbed(|| {
        let current = Current::look_at(context)?;
        warn_elsewhere(context, &current);
        match context.settings.identity.judge(&current.info) {
            Verdict::Ours if current.info.num_uses != 0 => Err(Failure::use_limited(&current.info).into()),
            Verdict::Ours => {
                let found = list(context, &current, &saved_state(context).0, Scope::Full, false);
                let sweep = revocable(context, &current, found);
                let TokenInfo { display_name, ttl, .. } = current.info;
                Ok(Forecast::Sweep { display_name, ttl, sweep })
            }
            Verdict::Foreign => Err(Failure::NotOurs { display_name: current.info.display_name }.into()),
        }
    })
    .unwrap_or_else(Forecast::Failed)
}

/// By how much a token with `left` seconds would miss the next run. Where nobody knows when that comes, it warns as the
/// run would.
fn shortfall(context: &Context<'_>, left: u64) -> Option<Shortfall> {
    match reaches_next_run(context, left) {
        Reach::Yes => None,
        Reach::Unknown => {
            (context.warn)(Warning::ShortLease { left });
            None
        }
        Reach::No { next_run } => Some(Shortfall { left, next_run }),
    }
}

/// Warns as the run would, if the token lives in another namespace than the settings name.
fn warn_elsewhere(context: &Context<'_>, current: &Current) {
    if let Some((token, settings)) = current.elsewhere(context) {
        (context.warn)(Warning::OtherNamespace { token, settings });
    }
}

/// Whether the current token is a leftover as soon as its successor is there.
fn is_leftover(context: &Context<'_>, state: &State, current: &Current) -> bool {
    let remembered = current.info.accessor.as_ref().is_some_and(|one| state.minted().contains(one));
    let provenance = if remembered { Provenance::Remembered } else { Provenance::Unknown };
    context.settings.identity.is_leftover(&current.info, context.minter, provenance)
}

/// Asks for the policies of the settings, as far as the token may read them: what is minted without the required one
/// is worthless, and its name is returned. That another is missing is worth a warning.
fn missing_policy(context: &Context<'_>, current: &Current) -> Option<String> {
    let identity = &context.settings.identity;
    let mut worthless = None;
    for name in &identity.policies {
        match context.client.policy_exists(&current.token, name) {
            Ok(false) if *name == identity.required_policy => worthless = Some(name.clone()),
            Ok(false) => (context.warn)(Warning::NoSuchPolicy(name.clone())),
            Ok(true) => {}
            // Few may read policies. Whoever may not read one is not asked for the next.
            Err(_) => break,
        }
    }
    worthless
}

/// What a sweep that keeps the current token would revoke.
fn list(context: &Context<'_>, current: &Current, state: &State, scope: Scope, heals: bool) -> Swept {
    // Its successor will be an orphan, whatever it is itself.
    let orphan = current.info.orphan.filter(|_| !heals);
    let keep = Kept { accessor: current.accessor(state), orphan };
    search(context, state, &current.token, keep, scope, Action::List)
}

/// What the current token would find stale, and may not revoke, a sweep of its own has to leave alive.
fn revocable(context: &Context<'_>, current: &Current, mut found: Swept) -> Swept {
    if !found.stale.is_empty()
        && matches!(may_update(context, current, REVOKE_ACCESSOR_PATH), Ok(Some(false)))
    {
        found.irrevocable.append(&mut found.stale);
    }
    found
}
