//! What a token may do, as far as Vault tells.

use std::collections::BTreeMap;

use super::context::Context;
use super::current::Current;
use crate::facts::authority::{Authority, NoAuthority};
use crate::facts::failure::Failure;
use crate::token::TokenInfo;
use crate::vault::{CREATE_ORPHAN_PATH, CREATE_PATH, Error, No};

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

/// Whether the token has `update` on `path`; none if Vault does not tell. An error is an outage.
pub(super) fn may_update(
    context: &Context<'_>,
    current: &Current,
    path: &str,
) -> Result<Option<bool>, Error> {
    match context.client.capabilities(&current.token, &[path]) {
        Ok(told) => {
            Ok(told.contains_key(path).then(|| has(&told, path, "update") || has(&told, path, "root")))
        }
        Err(error) if error.kind.is_temporary() => Err(error),
        Err(_) => Ok(None),
    }
}

fn has(capabilities: &BTreeMap<String, Vec<String>>, path: &str, wanted: &str) -> bool {
    capabilities.get(path).is_some_and(|capabilities| capabilities.iter().any(|one| one == wanted))
}
