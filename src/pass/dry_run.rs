//! What a pass would do, without doing it: nothing is sent that changes the server, and nothing is written.

use std::collections::BTreeMap;
use std::io;

use super::sweep::{Scope, look, sweeps};
use super::walk::Action;
use super::{Context, Current, inspect, undisturbed};
use crate::facts::authority::{Authority, NoAuthority};
use crate::facts::failure::Failure;
use crate::facts::forecast::Forecast;
use crate::facts::swept::SweepReport;
use crate::identity::{Verdict, Vitality};
use crate::local::state::State;
use crate::local::token_file::Looseness;
use crate::token::TokenInfo;
use crate::vault::{CREATE_ORPHAN_PATH, CREATE_PATH, No, RENEW_SELF_PATH, REVOKE_ACCESSOR_PATH};

/// What a pass would do.
pub(crate) fn forecast(context: &Context<'_>) -> Forecast {
    undisturbed(|| {
        let current = inspect(context, Looseness::Tell)?;
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
                        Some(found).filter(|report| scope.is_news(report))
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

/// What the verb `sweep` would do.
pub(crate) fn forecast_sweep(context: &Context<'_>) -> Forecast {
    undisturbed(|| {
        let current = inspect(context, Looseness::Tell)?;
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

/// The state as it was last saved, and why it could not be read, if so. Whoever only looks takes no lock and leaves
/// no trace.
pub(crate) fn saved_state(context: &Context<'_>) -> (State, Option<io::Error>) {
    let settings = context.settings;
    let token_file = settings.token_file.resolved().unwrap_or_else(|_| settings.token_file.path().to_owned());
    State::load(&settings.state_directory, &token_file)
}

/// What a sweep that keeps the current token would revoke.
fn list(context: &Context<'_>, current: &Current, state: &State, scope: Scope) -> SweepReport {
    look(context, state, &current.token, current.accessor(state), scope, Action::List)
}

/// What the current token would find stale, and may not revoke, a sweep of its own has to leave alive.
fn revocable(context: &Context<'_>, current: &Current, mut found: SweepReport) -> SweepReport {
    if !found.stale.is_empty() && may_update(context, current, REVOKE_ACCESSOR_PATH) == Some(false) {
        found.kept.append(&mut found.stale);
    }
    found
}

/// Why a token never mints, whatever its policies allow.
pub(super) fn never_mints(info: &TokenInfo) -> Option<NoAuthority> {
    if info.kind.as_deref() == Some("batch") {
        Some(NoAuthority::Batch)
    } else if info.num_uses != 0 {
        Some(NoAuthority::UseLimited)
    } else {
        None
    }
}

/// On which path the token may mint ours, as far as Vault tells: to mint an orphan with a period takes
/// `update` and `sudo` on the path of the mint. A no is certain; rules about parameters can still turn a yes
/// into one.
pub(super) fn authority(context: &Context<'_>, current: &Current) -> Result<Authority, Failure> {
    if let Some(reason) = never_mints(&current.info) {
        return Ok(Authority::Lacking(reason));
    }
    let paths = [CREATE_PATH, CREATE_ORPHAN_PATH];
    let capabilities = match context.client.capabilities(&current.token, &paths) {
        Ok(capabilities) => capabilities,
        Err(error) => match error.kind.no() {
            Some((No::Denied, _)) => return Ok(Authority::Untold),
            Some((No::Refused | No::NotFound, _)) | None => return Err(Failure::Vault(error)),
        },
    };
    let granted = |path: &str| {
        let has = |wanted: &str| has(&capabilities, path, wanted);
        has("root") || (has("update") && has("sudo"))
    };
    Ok(match paths.into_iter().find(|path| granted(path)) {
        Some(path) => Authority::On(path),
        None => Authority::Lacking(NoAuthority::Capabilities(
            paths.map(|path| (path, capabilities.get(path).cloned().unwrap_or_default())),
        )),
    })
}

/// Whether the token has `update` on `path`; none if Vault does not tell.
fn may_update(context: &Context<'_>, current: &Current, path: &str) -> Option<bool> {
    let capabilities = context.client.capabilities(&current.token, &[path]).ok()?;
    capabilities
        .contains_key(path)
        .then(|| has(&capabilities, path, "update") || has(&capabilities, path, "root"))
}

fn has(capabilities: &BTreeMap<String, Vec<String>>, path: &str, wanted: &str) -> bool {
    capabilities.get(path).is_some_and(|capabilities| capabilities.iter().any(|one| one == wanted))
}
