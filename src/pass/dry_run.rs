//! What a pass would do, without doing it: nothing is sent that changes the server, and nothing is written.

use std::collections::BTreeMap;
use std::io;

use super::sweep::{Scope, look, sweeps};
use super::walk::Action;
use super::{Context, Current, inspect, undisturbed};
use crate::identity::{Verdict, Vitality};
use crate::local::state::State;
use crate::local::token_file::Looseness;
use crate::report::forecast::{Forecast, NoAuthority};
use crate::report::outcome::{Failure, SweepReport};
use crate::vault::{CREATE_ORPHAN_PATH, CREATE_PATH, No};

/// What a pass would do.
pub(crate) fn forecast(context: &Context<'_>) -> Forecast {
    undisturbed(|| {
        let current = inspect(context, Looseness::Tell)?;
        let (identity, state) = (&context.settings.identity, saved_state(context).0);
        let (display_name, ttl) = (current.info.display_name.clone(), current.info.ttl);
        let dying = match identity.judge(&current.info) {
            Verdict::Ours => match identity.forecast(&current.info, context.clock.seconds()) {
                Vitality::Lasting => {
                    let sweep = Scope::left_over(context, &state).and_then(|scope| {
                        Some(list(context, &current, &state, scope)).filter(|report| scope.is_news(report))
                    });
                    return Ok(Forecast::Renew { display_name, ttl, sweep });
                }
                Vitality::Dying(dying) => Some(dying),
            },
            Verdict::Foreign => None,
        };
        let path = match authority(context, &current)? {
            Ok(path) => path,
            Err(reason) => return Ok(Forecast::Denied { display_name, ttl, dying, reason }),
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
            Verdict::Ours => {
                Ok(Forecast::Sweep(list(context, &current, &saved_state(context).0, Scope::Full)))
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

/// On which path the token may mint ours, as far as Vault tells: to mint an orphan with a period takes
/// `update` and `sudo` on the path of the mint. A no is certain; rules about parameters can still turn a yes
/// into one.
pub(super) fn authority(
    context: &Context<'_>,
    current: &Current,
) -> Result<Result<&'static str, NoAuthority>, Failure> {
    if current.info.kind.as_deref() == Some("batch") {
        return Ok(Err(NoAuthority::Batch));
    }
    if current.info.num_uses != 0 {
        return Ok(Err(NoAuthority::UseLimited));
    }
    let paths = [CREATE_PATH, CREATE_ORPHAN_PATH];
    let capabilities = match context.client.capabilities(&current.token, &paths) {
        Ok(capabilities) => capabilities,
        Err(error) => match error.kind.no() {
            Some((No::Denied, _)) => return Ok(Err(NoAuthority::NotTold)),
            Some((No::Refused | No::NotFound, _)) | None => return Err(Failure::Vault(error)),
        },
    };
    let granted = |path: &str| {
        let has = |wanted: &str| capability(&capabilities, path).any(|capability| capability == wanted);
        has("root") || (has("update") && has("sudo"))
    };
    Ok(match paths.into_iter().find(|path| granted(path)) {
        Some(path) => Ok(path),
        None => Err(NoAuthority::Capabilities(
            paths.map(|path| (path, capability(&capabilities, path).map(str::to_owned).collect())),
        )),
    })
}

fn capability<'a>(
    capabilities: &'a BTreeMap<String, Vec<String>>,
    path: &str,
) -> impl Iterator<Item = &'a str> {
    capabilities.get(path).into_iter().flatten().map(String::as_str)
}
