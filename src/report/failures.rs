//! The words for why a run failed.

use std::os::unix::process::ExitStatusExt as _;

use super::errors;
use super::escape::{Quoted, Shown};
use super::names::Names;
use crate::facts::failure::{Failure, Refusal};
use crate::identity::{Contradiction, Dying};
use crate::io_text::io_text;
use crate::local::hook::HookFailure;
use crate::local::token_file::{ReadError, ReplaceStep};
use crate::token::Accessor;

/// The namespace of the token, and that of the settings, which differ.
pub(super) fn other_namespace_text(token: &str, settings: &str) -> String {
    format!("the token lives in the namespace {}, the settings name {}", Quoted(token), Quoted(settings))
}

/// `: Fg08GkI6…, i8LfJ…`, or nothing.
pub(super) fn accessors_text(list: &[Accessor]) -> String {
    if list.is_empty() {
        return String::new();
    }
    let list: Vec<String> = list.iter().map(|accessor| Shown(&accessor.short()).to_string()).collect();
    format!(": {}", list.join(", "))
}

/// Both refusals of a mint; one if they are the same.
pub(super) fn refusal_text(refusal: &Refusal) -> String {
    let create = format!("{}: {}", refusal.create.status, errors::reason_text(&refusal.create.message));
    if refusal.create == refusal.create_orphan {
        return create;
    }
    let other = &refusal.create_orphan;
    format!("{create}; on create-orphan {}: {}", other.status, errors::reason_text(&other.message))
}

/// What a token needs to be renewed.
pub(super) const MAY_RENEW: &str =
    "the token's policies must allow update on auth/token/renew-self, as `default` does";

/// Why one of these may not even be tried.
pub(super) const NEVER_MINTS: &str = "tokens with a limited number of uses cannot mint";

/// Why a token of ours will end.
pub(super) fn dying_text(dying: Dying) -> &'static str {
    match dying {
        Dying::NotRenewable => "it is not renewable",
        Dying::NotRenewed => "the server renews nothing and does not say why",
        Dying::ExplicitMaximum => "its explicit maximum comes near",
        Dying::NoPeriod => "it has no period",
        Dying::UseLimited => "it may be used so many times only",
    }
}

/// What a run was doing when it failed, and what went wrong.
pub(super) fn failure_text(failure: &Failure, names: &Names<'_>) -> String {
    let file = names.token_file();
    match failure {
        Failure::TokenFile(error) => format!("token file: {file}: {}", read_error_text(error)),
        Failure::LockBusy => "lock: another run has been at work for too long".to_owned(),
        Failure::Stopped => "lock: told to stop while another run was at work".to_owned(),
        Failure::Dead { url, message } => format!(
            "token lookup: {url}: the token in {file} is dead or blocked (403: {}); log in again: {}",
            errors::reason_text(message),
            names.recovery_command()
        ),
        Failure::Spent => format!(
            "token lookup: the token in {file} is dead: it could be used so many times only, and this was \
             the last; log in again: {}",
            names.recovery_command()
        ),
        Failure::Vault(error) if failure.lost_mint() => format!(
            "{}; the server may hold a token of ours that nobody knows, for a sweep that walks to find",
            errors::error_text(error)
        ),
        Failure::Vault(error) => errors::error_text(error),
        Failure::Dying { display_name, dying: why, seconds_left, refusal: why_not } => format!(
            "renewal: our token dn={} is dying ({}) and may not mint its successor ({}); {seconds_left}s \
             left, rotate it before they end: {}",
            Quoted(display_name),
            dying_text(*why),
            why_not.as_ref().map_or_else(|| NEVER_MINTS.to_owned(), refusal_text),
            names.recovery_command()
        ),
        Failure::Unchecked(error) => format!("check of the minted token: {}", errors::error_text(error)),
        Failure::Contradiction(contradiction) => {
            format!(
                "check of the minted token: {}; it was not put into {file}",
                contradiction_text(contradiction)
            )
        }
        Failure::Replace(error) => {
            let step = match error.step {
                ReplaceStep::Resolve => "cannot find the file behind the name",
                ReplaceStep::Stage => "cannot write beside it",
                ReplaceStep::Rename => "cannot replace it",
            };
            format!("token file: {file}: {step}: {}; it is as it was", io_text(&error.error))
        }
        Failure::Unsettled(error) => format!(
            "token file: {file}: replacing it failed, and reading it too: {}; it holds the old token or \
             the new one, and both live",
            io_text(&error.error)
        ),
        Failure::Internal { place } => {
            format!("internal error at {}; the token file is whole", Shown(place))
        }
        Failure::FileKeepsChanging => {
            format!("token file: {file}: it keeps changing; something else writes it")
        }
        Failure::NotOurs { display_name } => format!(
            "sweep: {file} is dn={}, not our token; without ours to keep nothing is revoked",
            Quoted(display_name)
        ),
    }
}

/// What became of a hook that did not do its work.
pub(super) fn hook_text(failure: &HookFailure) -> String {
    match failure {
        HookFailure::Io(error) => format!("could not be run: {}", io_text(error)),
        HookFailure::Status(status) => match (status.code(), status.signal()) {
            (Some(code), _) => format!("ended with exit status {code}"),
            (None, Some(signal)) => format!("was killed by signal {signal}"),
            (None, None) => "ended in an unknown way".to_owned(),
        },
        HookFailure::TimedOut(limit) => {
            format!("was killed, because it took longer than {}s (see --hook-timeout)", limit.as_secs_f64())
        }
        HookFailure::Stopped => "was killed, because this run was told to stop".to_owned(),
    }
}

fn read_error_text(error: &ReadError) -> String {
    match error {
        ReadError::Missing => "no such file".to_owned(),
        ReadError::Empty => "empty".to_owned(),
        ReadError::NotAFile => "not a regular file".to_owned(),
        ReadError::TooLarge => "larger than 64 KiB, so not a token".to_owned(),
        ReadError::Unprintable => "not a token: it holds blanks or unprintable bytes".to_owned(),
        ReadError::Owner(uid) => format!("it belongs to another user (uid {uid})"),
        ReadError::Io(error) => io_text(error),
    }
}

fn contradiction_text(contradiction: &Contradiction) -> String {
    match contradiction {
        Contradiction::Name(name) => format!("its display name is {}", Quoted(name)),
        Contradiction::Policy => "it lacks the required policy".to_owned(),
        Contradiction::NotOrphan => "it is not an orphan".to_owned(),
        Contradiction::Period(seconds) => format!("its period is {seconds}s"),
        Contradiction::Type(kind) => format!("its type is {}", Quoted(kind)),
        Contradiction::NoAccessor => "it has no accessor".to_owned(),
        Contradiction::Accessor => "the server speaks of another token".to_owned(),
    }
}
