//! What a pass would do, without doing it: nothing is sent that changes the server, and nothing is written.

use super::authority::{authority, may_update};
use super::context::{Context, Work};
use super::current::{Current, undisturbed};
use super::entry::saved_state;
use super::sweep::{Scope, search, sweeps};
use super::walk::Action;
use crate::facts::authority::Authority;
use crate::facts::failure::Failure;
use crate::facts::forecast::Forecast;
use crate::facts::swept::Swept;
use crate::identity::{Verdict, Vitality};
use crate::local::state::State;
use crate::local::token_file::Looseness;
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
        let current = Current::load(context, Looseness::Tell)?;
        let (identity, state) = (&context.settings.identity, saved_state(context).0);
        let (display_name, ttl) = (current.info.display_name.clone(), current.info.ttl);
        let dying = match identity.judge(&current.info) {
            Verdict::Ours => match identity.forecast(&current.info, context.clock.seconds()) {
                // Where Vault does not tell, it is what it is for nearly everybody.
                Vitality::Lasting if may_update(context, &current, RENEW_SELF_PATH) == Some(false) => {
                    return Ok(Forecast::NotRenewed { display_name, ttl });
                }
                Vitality::Lasting => {
                    let sweep = Scope::left_over(context, &state).and_then(|scope| {
                        let found = revocable(context, &current, list(context, &current, &state, scope));
                        Some(found).filter(|swept| scope.is_news(swept))
                    });
                    let owes_hook = state.is_hook_due();
                    return Ok(Forecast::Renew { display_name, ttl, sweep, owes_hook });
                }
                Vitality::Dying(dying) => Some(dying),
            },
            Verdict::Foreign => None,
        };
        let path = match authority(context, &current)? {
            Authority::On(path) => path,
            Authority::Lacking(reason) => {
                return Ok(Forecast::Denied { display_name, ttl, dying, reason });
            }
            Authority::Untold => return Ok(Forecast::Try { display_name, ttl, dying }),
        };
        context.settings.token_file.check_replaceable().map_err(Failure::Replace)?;
        let mut sweep = list(context, &current, &state, Scope::Full);
        // Once its successor is there, a token of our name is itself a leftover.
        let leftover = sweeps(context.settings) && identity.is_leftover(&current.info, context.host);
        sweep.stale.extend(current.accessor(&state).filter(|_| leftover).cloned());
        Ok(Forecast::Heal { display_name, ttl, dying, path, leftover, sweep })
    })
    .unwrap_or_else(Forecast::Failed)
}

fn forecast_sweep(context: &Context<'_>) -> Forecast {
    undisturbed(|| {
        let current = Current::load(context, Looseness::Tell)?;
        match context.settings.identity.judge(&current.info) {
            Verdict::Ours if current.info.num_uses != 0 => Err(Failure::use_limited(&current.info).into()),
            Verdict::Ours => {
                let found = list(context, &current, &saved_state(context).0, Scope::Full);
                let sweep = revocable(context, &current, found);
                let TokenInfo { display_name, ttl, .. } = current.info;
                Ok(Forecast::Sweep { display_name, ttl, sweep })
            }
            Verdict::Foreign => Err(Failure::NotOurs { display_name: current.info.display_name }.into()),
        }
    })
    .unwrap_or_else(Forecast::Failed)
}

/// What a sweep that keeps the current token would revoke.
fn list(context: &Context<'_>, current: &Current, state: &State, scope: Scope) -> Swept {
    search(context, state, &current.token, current.accessor(state), scope, Action::List)
}

/// What the current token would find stale, and may not revoke, a sweep of its own has to leave alive.
fn revocable(context: &Context<'_>, current: &Current, mut found: Swept) -> Swept {
    if !found.stale.is_empty() && may_update(context, current, REVOKE_ACCESSOR_PATH) == Some(false) {
        found.irrevocable.append(&mut found.stale);
    }
    found
}
