//! The words for why a run failed.

use std::os::unix::process::ExitStatusExt as _;

use super::errors;
use super::escape::{Quoted, Shown};
use super::names::Names;
use super::sweeps::{lives_on_text, resumed_text, sweep_text, whole_sweep_text};
use super::times::span_text;
use crate::facts::failure::{Done, During, Failure, Refusal};
use crate::identity::{Contradiction, Dying};
use crate::io_text::io_text;
use crate::local::hook::HookFailure;
use crate::local::token_file::{Mistake, ReadError, ReplaceStep};

/// The namespace of the token, and that of the settings, which differ.
pub(super) fn other_namespace_text(token: &str, settings: &str) -> String {
    format!("the token lives in the namespace {}, the settings name {}", Quoted(token), Quoted(settings))
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
        Dying::ExplicitMaximum => "its explicit maximum is near",
        Dying::NoPeriod => "it has no period",
        Dying::UseLimited => "its number of uses is limited",
        Dying::NotOrphan => "it is not an orphan and expires with the token that minted it",
    }
}

/// What a run was doing when it failed, and what went wrong.
pub(super) fn failure_text(failure: &Failure, names: &Names<'_>) -> String {
    let file = names.token_file();
    match failure {
        Failure::TokenFile(error) => format!("token file: {file}: {}", read_error_text(error)),
        Failure::LockBusy => "lock: another run has been in progress for too long".to_owned(),
        Failure::Stopped { signal, during } => {
            let signal = signal.unwrap_or("a signal");
            match during {
                During::Wait => format!("stopped by {signal}; it waited for another run"),
                During::Failed(failure) => format!("stopped by {signal}; {}", failure_text(failure, names)),
                During::Sweep(swept) => format!("stopped by {signal}; sweep: {}", whole_sweep_text(swept)),
            }
        }
        Failure::Dead { url, message } => format!(
            "token lookup: {url}: the token in {file} is dead or blocked (403: {}), or of another server; \
             log in again: {}",
            errors::reason_text(message),
            names.recovery_command()
        ),
        Failure::MayNotLookUp { url, message } => format!(
            "token lookup: {url}: the token in {file} is alive, but may not look itself up (403: {})",
            errors::reason_text(message)
        ),
        Failure::Ended => {
            format!(
                "token lookup: the token in {file} has just expired; log in again: {}",
                names.recovery_command()
            )
        }
        Failure::Wrapping => format!(
            "token lookup: the token in {file} was a response-wrapping token; this lookup has used it up"
        ),
        Failure::EndsBeforeNextRun { done, left, next_run } => {
            let (left, next_run) = (span_text(*left), span_text(*next_run));
            let but = format!("but it ends in {left} and the next run comes in {next_run}");
            match done {
                Done::Renewed { resumed } => format!("renewed, {but}{}", resumed_text(resumed.as_deref())),
                Done::Healed { lives_on, swept } => {
                    format!("healed, {but} ({}){}", sweep_text(swept), lives_on_text(lives_on.as_ref()))
                }
            }
        }
        Failure::Spent => format!(
            "token lookup: the token in {file} is dead: its last use is \
             spent; log in again: {}",
            names.recovery_command()
        ),
        Failure::Vault(error) if failure.lost_mint() => format!(
            "{}; the server may have minted a token we never received; `{}` finds it",
            errors::error_text(error),
            names.command(" sweep")
        ),
        Failure::Vault(error) => errors::error_text(error),
        Failure::Dying { display_name, dying: why, seconds_left, refusal: why_not } => format!(
            "renewal: our token dn={} is dying ({}) and may not mint its successor ({}); {seconds_left}s \
             left; replace it before then: {}",
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
        HookFailure::PutOff => "is left to the next run, because this one was told to stop".to_owned(),
    }
}

pub(super) fn read_error_text(error: &ReadError) -> String {
    match error {
        ReadError::Missing => "no such file".to_owned(),
        ReadError::Empty => "empty".to_owned(),
        ReadError::NotAFile => "not a regular file".to_owned(),
        ReadError::TooLarge => "larger than 64 KiB, so not a token".to_owned(),
        ReadError::Unprintable => "not a token: it holds blanks or unprintable bytes".to_owned(),
        ReadError::NotAToken(mistake) => match mistake {
            Mistake::Json => "not a token: it holds JSON",
            Mistake::Quoted => "not a token: it stands in quotation marks",
            Mistake::Assignment => "not a token: it holds NAME=value",
            Mistake::Placeholder => "not a token: it holds a placeholder",
        }
        .to_owned(),
        ReadError::Owner(uid) => format!("it belongs to another user (uid {uid})"),
        ReadError::Io(error) => io_text(error),
    }
}

fn contradiction_text(contradiction: &Contradiction) -> String {
    match contradiction {
        Contradiction::Name(name) => format!("its display name is {}", Quoted(name)),
        Contradiction::Policy => "it lacks the required policy".to_owned(),
        Contradiction::MissingPolicy(name) => format!("it lacks the policy {}", Quoted(name)),
        Contradiction::ExtraPolicy(name) => {
            format!("it has the policy {}, which was not asked for", Quoted(name))
        }
        Contradiction::NoSuchPolicy(name) => {
            format!("the server has no policy {}, so the token could do nothing", Quoted(name))
        }
        Contradiction::NotRenewable => "it is not renewable".to_owned(),
        Contradiction::UseLimited(_) => "its number of uses is limited".to_owned(),
        Contradiction::ExplicitMaximum(seconds) => format!("it has an explicit maximum of {seconds}s"),
        Contradiction::TimeLeft { left, granted } => {
            format!("it has {left}s left, and was granted {granted}s")
        }
        Contradiction::ShortLife { left, replaced } => {
            let replaced =
                replaced.map_or_else(|| "never".to_owned(), |replaced| format!("in {}", span_text(replaced)));
            format!("it would end in {}, and the one it was to replace {replaced}", span_text(*left))
        }
        Contradiction::NotNew => "it is the one that was to be replaced".to_owned(),
        Contradiction::Path(path) => format!("it was made at {}", Quoted(path)),
        Contradiction::Namespace(namespace) => format!("it lives in the namespace {}", Quoted(namespace)),
        Contradiction::NotOrphan => "it is not an orphan".to_owned(),
        Contradiction::Period(seconds) => format!("its period is {seconds}s"),
        Contradiction::Type(kind) => format!("its type is {}", Quoted(kind)),
        Contradiction::NoAccessor => "it has no accessor".to_owned(),
        Contradiction::Accessor => "the answer is about a different token".to_owned(),
    }
}
