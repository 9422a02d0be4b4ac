//! What a pass would do, without doing it: nothing is sent that changes the server, and nothing is written.

use std::collections::BTreeMap;

use super::sweep::{Action, Sweep};
use super::{Context, look_up, read, sweeps, undisturbed};
use crate::identity::{Verdict, Vitality};
use crate::local::state::State;
use crate::local::token_file::Looseness;
use crate::report::forecast::{Authority, Forecast, NoAuthority};
use crate::report::outcome::{Failure, SweepReport};
use crate::token::{Token, TokenInfo};
use crate::vault::{CREATE_ORPHAN_PATH, CREATE_PATH, No};

/// What a pass would do.
pub(crate) fn forecast(context: &Context<'_>) -> Forecast {
    undisturbed(|| {
        let token = read(context, Looseness::Tell)?;
        let info = look_up(context, &token)?;
        let identity = &context.settings.identity;
        let display_name = info.display_name.clone();
        let dying = match identity.judge(&info) {
            Verdict::Ours => match identity.forecast(&info, context.now) {
                Vitality::Lasting => {
                    let due = state(context).is_sweep_due() && sweeps(context.settings);
                    let sweep = due.then(|| list(context, &token, &info));
                    return Ok(Forecast::Renew { display_name, ttl: info.ttl, sweep });
                }
                Vitality::Dying(dying) => Some(dying),
            },
            Verdict::Foreign => None,
        };
        let ttl = info.ttl;
        Ok(match authority(context, &token, &info)? {
            Ok(authority) => {
                let mut sweep = list(context, &token, &info);
                // A dying token of ours is itself a leftover once its successor is there.
                if let (Some(_), true, Some(accessor)) = (dying, sweeps(context.settings), &info.accessor) {
                    sweep.stale.push(accessor.clone());
                }
                Forecast::Heal { display_name, ttl, dying, authority, sweep }
            }
            Err(reason) => Forecast::Denied { display_name, ttl, dying, reason },
        })
    })
    .unwrap_or_else(Forecast::Failed)
}

/// What the verb `sweep` would do.
pub(crate) fn forecast_sweep(context: &Context<'_>) -> Forecast {
    undisturbed(|| {
        let token = read(context, Looseness::Tell)?;
        let info = look_up(context, &token)?;
        match context.settings.identity.judge(&info) {
            Verdict::Ours => Ok(Forecast::Sweep(list(context, &token, &info))),
            Verdict::Foreign => Err(Failure::NotOurs { display_name: info.display_name }.into()),
        }
    })
    .unwrap_or_else(Forecast::Failed)
}

/// The state as it was last saved; a dry run takes no lock and leaves no trace.
fn state(context: &Context<'_>) -> State {
    let settings = context.settings;
    let token_file = settings.token_file.resolved().unwrap_or_else(|_| settings.token_file.path().to_owned());
    State::load(&settings.state_directory, &token_file).0
}

/// What a sweep that keeps the current token would revoke.
fn list(context: &Context<'_>, token: &Token, info: &TokenInfo) -> SweepReport {
    let Some(keep) = &info.accessor else { return SweepReport::nothing_to_keep() };
    Sweep {
        client: context.client,
        token,
        identity: &context.settings.identity,
        host: context.host,
        keep,
        remembered: state(context).minted(),
        action: Action::List,
    }
    .run(context.settings.sweep)
}

/// Whether the token may mint ours, as far as Vault tells: to mint an orphan with a period takes `update`
/// and `sudo` on the path of the mint. A no is certain; rules about parameters can still turn a yes into one.
fn authority(
    context: &Context<'_>,
    token: &Token,
    info: &TokenInfo,
) -> Result<Result<Authority, NoAuthority>, Failure> {
    if info.kind.as_deref() == Some("batch") {
        return Ok(Err(NoAuthority::Batch));
    }
    if info.num_uses != 0 {
        return Ok(Err(NoAuthority::UseLimited));
    }
    let paths = [CREATE_PATH, CREATE_ORPHAN_PATH];
    let capabilities = match context.client.capabilities(token, &paths) {
        Ok(capabilities) => capabilities,
        Err(error) => match error.kind.no() {
            Some((No::Denied, _)) => return Ok(Ok(Authority::Unknown)),
            Some((No::Refused | No::NotFound, _)) | None => return Err(Failure::Vault(error)),
        },
    };
    let granted = |path: &str| {
        let has = |wanted: &str| capability(&capabilities, path).any(|capability| capability == wanted);
        has("root") || (has("update") && has("sudo"))
    };
    Ok(match paths.into_iter().find(|path| granted(path)) {
        Some(path) => Ok(Authority::On(path)),
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
