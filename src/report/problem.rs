//! What can be wrong, or worth a word, as `status` tells it: its weight, its name, its words and its remedy.

use std::io;
use std::path::PathBuf;

use serde::Serialize;

use super::escape::{Quoted, Shown};
use super::names::{Names, for_shell, word_for_shell};
use super::times::{local_text, span_text};
use super::{errors, failures, remedies};
use crate::clock::Clock;
use crate::facts::failure::Failure;
use crate::identity::Dying;
use crate::io_text::io_text;
use crate::local::history::LastRun;
use crate::local::timer::Units;
use crate::vault::{Error, ErrorKind};

/// A setting of which shell and service have different values.
#[derive(Debug)]
pub(crate) struct Difference {
    /// Its name.
    pub(crate) setting: &'static str,
    /// What the service finds; empty for nothing.
    pub(crate) service: String,
    /// What a run by hand finds in this shell; empty for nothing.
    pub(crate) shell: String,
    /// The variable of the shell that says so, if one does.
    pub(crate) variable: Option<String>,
}

/// Something that is wrong, or worth a word.
#[derive(Debug)]
pub(crate) enum Problem {
    /// The service and a run by hand in this shell would not do the same.
    ServiceDiffers(Vec<Difference>),
    /// The service cannot use its settings, and a run by hand can.
    ServiceUnusable {
        /// Its unit.
        unit: String,
        /// Why.
        error: String,
    },
    /// The service cannot see that the configuration file with the hook is root's, and refuses it.
    HookRefused(PathBuf),
    /// A run by hand cannot use the settings it finds, and the service can.
    ShellUnusable(String),
    /// The token could not be looked at: no file, no living token, no server.
    Failed(Failure),
    /// The server cannot be reached, and nobody said where it is.
    Unaddressed,
    /// The token in the file is somebody else's.
    Foreign {
        /// Its name.
        display_name: String,
        /// The policy it lacks, if it bears our name.
        lacks: Option<String>,
        /// Whether it may mint ours, as far as Vault tells.
        able: Option<bool>,
        /// Whether the last run tried, and was refused.
        was_refused: bool,
    },
    /// It is ours, and will end.
    Dying {
        /// Why.
        dying: Dying,
        /// Whether it may mint its successor, as far as Vault tells.
        able: Option<bool>,
    },
    /// The last pass saw no living token in the file.
    NoneSeen,
    /// By what the last pass saw, the token has ended since.
    Ended {
        /// When: seconds since 1970.
        at: u64,
    },
    /// It is ours, and has no period.
    NotPeriodic,
    /// It is ours, and has another period than the settings ask for.
    OtherPeriod {
        /// Seconds.
        has: u64,
        /// Seconds.
        wanted: u64,
    },
    /// It is ours, and ends with the token that minted it.
    NotOrphan {
        /// Whether it may mint an orphan in its place, as far as Vault tells.
        able: Option<bool>,
    },
    /// It is ours, and may not renew itself.
    MayNotRenew,
    /// It is ours, and lacks policies of the settings.
    PoliciesLacking(Vec<String>),
    /// It is ours, and a role gives it another period than the settings ask for, in seconds.
    RolePeriod {
        /// Of the role.
        has: u64,
        /// Of the settings.
        wanted: u64,
    },
    /// It ends before the timer starts the next run; seconds since 1970, both.
    EndsBeforeNextRun {
        /// When it ends.
        end: u64,
        /// When the next run comes.
        next: u64,
        /// Whether a run now would give it enough.
        renewal_helps: bool,
    },
    /// The timer starts runs so seldom that it ends in between.
    TooSeldom {
        /// Seconds that it is granted at a time.
        granted: u64,
        /// Seconds between two runs.
        interval: u64,
    },
    /// The path unit has failed and starts nothing any more.
    PathUnitFailed(Units),
    /// This unit of a process that stays has failed, and none runs.
    WatchFailed(String),
    /// The process that stays has made no run for too long.
    WatchOverdue {
        /// Its number.
        pid: u32,
        /// Its unit, if that is what runs it.
        unit: Option<String>,
    },
    /// This file makes the official command line keep its token elsewhere.
    TokenHelper(PathBuf),
    /// It may be used so many times only.
    UseLimited(i64),
    /// The server grants less than the period.
    Capped {
        /// Seconds.
        granted: u64,
        /// Seconds.
        period: u64,
    },
    /// Less life is left than was asked for.
    TooShort {
        /// Seconds.
        left: u64,
        /// Seconds.
        least: u64,
        /// Whether a renewal would give it enough.
        renewal_helps: bool,
    },
    /// How much life is left was asked for, and nobody knows.
    LifeUnknown,
    /// Others may use the token file.
    LooseMode(u32),
    /// This variable hides the token file from the official command line.
    Shadowed(String),
    /// The state file cannot be read.
    StateUnread {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The timer is there and not started.
    TimerOff(Units),
    /// The timer may not be started.
    TimerMasked(Units),
    /// The timer's file cannot be understood.
    TimerBroken(Units),
    /// No pass has ever run.
    NeverRun(Option<Units>),
    /// The timer sleeps while nobody is logged in.
    LingerOff {
        /// The user.
        user: String,
    },
    /// No pass has succeeded for too long; seconds since 1970, none if none ever did.
    SuccessTooOld(Option<u64>),
    /// A policy of the identity does not exist.
    PolicyMissing(String),
    /// A policy of the identity could not be asked for.
    PolicyUnreadable(String, Error),
    /// A sweep waits to be finished.
    SweepUnfinished,
    /// The same, because the token may not list or look up the others.
    SweepDenied,
    /// The same, and sweeps are switched off since.
    SweepOff,
    /// Stale tokens of our name live on the server.
    Stale(usize),
    /// The token has to mint, and lives in another namespace than the settings name.
    OtherNamespace {
        /// The token's.
        token: String,
        /// That of the settings; empty for the root.
        settings: String,
    },
    /// The last pass did not end well.
    LastFailed(LastRun),
    /// The server did not say which token it spoke of.
    Unconfirmed,
    /// The check of the server's certificate is switched off.
    VerificationOff {
        /// By this variable.
        switch: String,
        /// Although this one names authorities to check it with.
        authorities: Option<String>,
    },
    /// There is no timer.
    NoTimer,
}

/// How much a problem weighs; see docs/design.md, "What status calls wrong".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Severity {
    /// The token is in danger, or somebody is about to be surprised.
    Wrong,
    /// Worth a word.
    Note,
}

/// A namespace whose name is longer is not repeated in a command: a server chose it, and cut off it would be another.
const LONGEST_NAMESPACE: usize = 256;

/// What to do about a mint that the policies seem to allow, and the server refuses.
const FENCE_REMEDY: &str = "compare allowed_parameters of its policy with the settings (docs/runbook.md, \"A fenced \
    mint that does not fit\")";

impl Problem {
    /// Its stable name, how much it weighs, and its exit status with `--detailed-exitcode`, if it has one of its own.
    fn facts(&self) -> (&'static str, Severity, Option<u8>) {
        use Severity::{Note, Wrong};
        match self {
            Self::Failed(failure) => {
                let status = failure.detailed_exit_status();
                (failure.id(), Wrong, Some(status).filter(|status| *status != 1))
            }
            Self::ServiceDiffers(_) => ("service_differs", Wrong, None),
            Self::ServiceUnusable { .. } | Self::HookRefused(_) => ("service_settings", Wrong, Some(2)),
            Self::ShellUnusable(_) => ("shell_settings", Wrong, None),
            Self::Unaddressed => ("no_address", Wrong, Some(75)),
            Self::Foreign { .. } => ("foreign", Wrong, Some(3)),
            Self::Dying { .. } => ("dying", Wrong, Some(5)),
            Self::NoneSeen => ("no_token_seen", Wrong, Some(4)),
            Self::Ended { .. } => ("ended", Wrong, Some(4)),
            Self::NotPeriodic => ("not_periodic", Wrong, None),
            Self::OtherPeriod { .. } => ("other_period", Wrong, None),
            Self::NotOrphan { .. } => ("not_orphan", Wrong, None),
            Self::MayNotRenew => ("may_not_renew", Wrong, None),
            Self::PoliciesLacking(_) => ("policies_lacking", Wrong, None),
            Self::EndsBeforeNextRun { .. } => ("ends_before_next_run", Wrong, Some(5)),
            Self::TooSeldom { .. } => ("runs_too_seldom", Wrong, Some(5)),
            Self::PathUnitFailed(_) => ("path_unit_failed", Wrong, None),
            Self::WatchFailed(_) => ("watch_failed", Wrong, None),
            Self::WatchOverdue { .. } => ("watch_overdue", Wrong, None),
            Self::TokenHelper(_) => ("token_helper", Wrong, None),
            Self::RolePeriod { .. } => ("role_period", Note, None),
            Self::UseLimited(_) => ("use_limited", Wrong, Some(5)),
            Self::Capped { .. } => ("period_capped", Wrong, None),
            Self::TooShort { .. } => ("ttl_too_short", Wrong, None),
            Self::LifeUnknown => ("ttl_unknown", Wrong, None),
            Self::LooseMode(_) => ("loose_mode", Wrong, None),
            Self::Shadowed(_) => ("shadowed", Wrong, None),
            Self::StateUnread { .. } => ("state_unreadable", Wrong, None),
            Self::TimerOff(_) => ("timer_off", Wrong, None),
            Self::TimerMasked(_) => ("timer_masked", Wrong, None),
            Self::TimerBroken(_) => ("timer_broken", Wrong, None),
            Self::NeverRun(_) => ("never_run", Wrong, None),
            Self::LingerOff { .. } => ("linger_off", Wrong, None),
            Self::SuccessTooOld(_) => ("success_too_old", Wrong, None),
            Self::PolicyMissing(_) => ("policy_missing", Wrong, None),
            Self::SweepUnfinished => ("sweep_unfinished", Wrong, None),
            // Usual for whoever is no administrator.
            Self::PolicyUnreadable(..) => ("policy_unreadable", Note, None),
            Self::SweepDenied => ("sweep_denied", Note, None),
            Self::SweepOff => ("sweep_off", Note, None),
            Self::Stale(_) => ("stale_tokens", Note, None),
            Self::OtherNamespace { .. } => ("other_namespace", Note, None),
            Self::LastFailed(_) => ("last_pass_failed", Note, None),
            Self::Unconfirmed => ("unconfirmed", Note, None),
            Self::VerificationOff { .. } => ("verification_off", Note, None),
            Self::NoTimer => ("no_timer", Note, None),
        }
    }

    /// Whether it is that the server cannot be reached, and nobody said where it is.
    pub(crate) fn is_unaddressed(&self) -> bool {
        let unreachable = |error: &Error| matches!(error.kind, ErrorKind::Unreachable(_));
        matches!(self, Self::Failed(Failure::Vault(error)) if unreachable(error) && error.named.address.is_none())
    }

    /// Its stable name.
    pub(super) fn id(&self) -> &'static str {
        self.facts().0
    }

    /// How much it weighs.
    pub(crate) fn severity(&self) -> Severity {
        self.facts().1
    }

    /// Its exit status with `--detailed-exitcode`, if it has one of its own.
    pub(super) fn own_exit_status(&self) -> Option<u8> {
        self.facts().2
    }

    /// What is the matter, on one line.
    pub(super) fn text(&self, names: &Names<'_>, clock: Clock) -> String {
        match self {
            Self::Failed(failure) => failures::failure_text(failure, names),
            Self::ServiceDiffers(differences) => {
                let text = |difference: &Difference| {
                    let value = |value: &str| {
                        if value.is_empty() { "none".to_owned() } else { Shown(value).to_string() }
                    };
                    let (service, shell) = (value(&difference.service), value(&difference.shell));
                    format!("{} is {service} for the service and {shell} in this shell", difference.setting)
                };
                differences.iter().map(text).collect::<Vec<_>>().join("; ")
            }
            Self::ServiceUnusable { error, .. } => {
                format!("the service cannot use its settings: {}", Shown(error))
            }
            Self::HookRefused(file) => format!(
                "the service refuses the deploy_hook in {}: it is root's, which PrivateUsers=yes hides",
                names.path(file)
            ),
            Self::ShellUnusable(error) => {
                format!("a run by hand in this shell fails, unlike the service: {}", Shown(error))
            }
            Self::Unaddressed => "no address is configured, so the default was tried".to_owned(),
            Self::Foreign { display_name, lacks, able, was_refused } => {
                let lacks = lacks.as_ref().map(|policy| format!(" (it lacks the policy {})", Quoted(policy)));
                let lacks = lacks.unwrap_or_default();
                let able = match able {
                    Some(true) if *was_refused => {
                        "; by its policies it may mint yours, but the last run was refused"
                    }
                    Some(true) => "; it may mint yours",
                    Some(false) => "; it is too weak to mint yours",
                    None => "",
                };
                format!("{} is dn={}, not your token{lacks}{able}", names.token_file(), Quoted(display_name))
            }
            Self::Dying { dying, able } => {
                let able = match able {
                    Some(true) => "; it may mint its replacement",
                    Some(false) => "; it may not mint its replacement",
                    None => "",
                };
                format!("your token is about to expire for good: {}{able}", failures::dying_text(*dying))
            }
            Self::NoneSeen => {
                format!("the last run found no living token in {}", names.token_file())
            }
            Self::Ended { at } => {
                format!("according to the last run, the token expired at {}", local_text(clock, *at))
            }
            Self::NotPeriodic => {
                "your token has no period, so it expires when the server's maximum TTL is reached".to_owned()
            }
            Self::OtherPeriod { has, wanted } => {
                format!(
                    "your token has a period of {}, the settings ask for {}",
                    span_text(*has),
                    span_text(*wanted)
                )
            }
            Self::NotOrphan { .. } => {
                "your token is not an orphan: it expires with the token that minted it".to_owned()
            }
            Self::MayNotRenew => "your token is not allowed to renew itself".to_owned(),
            Self::PoliciesLacking(names) => {
                format!("your token lacks policies of the settings: {}", Shown(&names.join(", ")))
            }
            Self::RolePeriod { has, wanted } => format!(
                "a role gives your token {} at a time, the settings ask for {}",
                span_text(*has),
                span_text(*wanted)
            ),
            Self::EndsBeforeNextRun { end, next, .. } => format!(
                "your token expires at {}, before the next run at {}",
                local_text(clock, *end),
                local_text(clock, *next)
            ),
            Self::TooSeldom { granted, interval } => format!(
                "each renewal gives your token {}, and the timer runs only every {}",
                span_text(*granted),
                span_text(*interval)
            ),
            Self::PathUnitFailed(units) => {
                format!("{} has failed, so logins no longer start a run", Shown(&units.path))
            }
            Self::WatchFailed(unit) => format!("{} has failed, so no watch is running", Shown(unit)),
            Self::WatchOverdue { pid, .. } => {
                format!("the watch (process {pid}) is overdue: it is stopped or hangs, and renews nothing")
            }
            Self::TokenHelper(file) => format!(
                "{} sets a token_helper, so a login does not write to {}",
                names.path(file),
                names.token_file()
            ),
            Self::UseLimited(uses) => {
                format!("the token has {uses} use(s) left; no further requests were made with it")
            }
            Self::Capped { granted, period } => format!(
                "the server grants {} at a time, less than the period of {}",
                span_text(*granted),
                span_text(*period)
            ),
            Self::TooShort { left, least, .. } => {
                format!(
                    "the token has {} left, less than the {} asked for",
                    span_text(*left),
                    span_text(*least)
                )
            }
            Self::LifeUnknown => "the token's remaining time is unknown".to_owned(),
            Self::LooseMode(mode) => {
                format!("{} has mode {mode:04o}, so other users can read the token", names.token_file())
            }
            Self::Shadowed(name) => {
                format!("{name} is set: the vault command line uses it instead of {}", names.token_file())
            }
            Self::StateUnread { path, error } => {
                format!("the state file {} cannot be read: {}", names.path(path), Shown(&io_text(error)))
            }
            Self::TimerOff(units) => format!("{} is off, so nothing runs by itself", Shown(&units.timer)),
            Self::TimerMasked(units) => {
                format!("{} is masked, so nothing runs by itself", Shown(&units.timer))
            }
            Self::TimerBroken(units) => {
                format!("{} cannot be loaded, so nothing runs by itself", Shown(&units.timer))
            }
            Self::NeverRun(_) => "no run is recorded here yet".to_owned(),
            Self::LingerOff { .. } => "lingering is off: nothing runs while you are logged out".to_owned(),
            Self::SuccessTooOld(Some(at)) if *at > clock.seconds() => format!(
                "the last success is dated in the future ({}): was the clock wrong?",
                local_text(clock, *at)
            ),
            Self::SuccessTooOld(Some(at)) => {
                format!("no run has succeeded since {}", local_text(clock, *at))
            }
            Self::SuccessTooOld(None) => "no run has ever succeeded".to_owned(),
            Self::PolicyMissing(name) => format!("the server has no policy {}", Quoted(name)),
            Self::PolicyUnreadable(name, Error { kind: ErrorKind::Denied { .. }, .. }) => format!(
                "cannot check that policy {} exists: no read on sys/policies/acl/{}",
                Quoted(name),
                Shown(name)
            ),
            Self::PolicyUnreadable(name, error) => {
                format!("cannot check that policy {} exists: {}", Quoted(name), errors::error_text(error))
            }
            Self::SweepUnfinished => "a sweep of stale tokens is unfinished".to_owned(),
            Self::SweepDenied => {
                "stale tokens may remain: your token may not list or look up the others".to_owned()
            }
            Self::SweepOff => {
                "stale tokens may remain: a sweep was unfinished when sweeping was switched off".to_owned()
            }
            Self::OtherNamespace { token, settings } => failures::other_namespace_text(token, settings),
            Self::Stale(count) => format!("the server has {count} stale token(s) of your name"),
            Self::LastFailed(run) => {
                format!("the last run failed: {}, at {}", run.ending.id(), local_text(clock, run.at))
            }
            Self::Unconfirmed => {
                "the server's answer does not name the token; is there an agent in between?".to_owned()
            }
            Self::VerificationOff { switch, .. } => {
                format!("{switch} is set: the server's certificate is not verified")
            }
            Self::NoTimer => "there is no timer, so nothing runs by itself".to_owned(),
        }
    }

    /// What to do about it.
    pub(super) fn remedy(&self, names: &Names<'_>) -> Option<String> {
        let start = |unit: &str, verb: &str| names.systemctl(verb, unit);
        Some(match self {
            Self::Foreign { able: Some(true), was_refused: true, .. } => FENCE_REMEDY.to_owned(),
            Self::Foreign { able: Some(true) | None, .. }
            | Self::Dying { able: Some(true), .. }
            | Self::TooShort { renewal_helps: true, .. }
            | Self::NotOrphan { able: Some(true) }
            | Self::EndsBeforeNextRun { renewal_helps: true, .. }
            | Self::NeverRun(None) => names.command(""),
            Self::EndsBeforeNextRun { renewal_helps: false, .. } | Self::TooSeldom { .. } => {
                remedies::REACH_NEXT_RUN.to_owned()
            }
            Self::TooShort { renewal_helps: false, .. } => {
                "use a --min-ttl below the period; a renewal cannot give more".to_owned()
            }
            Self::Foreign { able: Some(false), .. } => {
                format!("find out what wrote it, then: {}", names.recovery_command())
            }
            Self::Failed(Failure::Dead { .. } | Failure::Ended | Failure::Spent)
            | Self::NoneSeen
            | Self::Ended { .. }
            | Self::NotPeriodic
            | Self::OtherPeriod { .. }
            | Self::NotOrphan { able: Some(false) | None }
            | Self::PoliciesLacking(_)
            | Self::UseLimited(_)
            | Self::Dying { able: Some(false) | None, .. } => names.recovery_command(),
            // Which has its own, above this one.
            Self::Failed(_) if self.is_unaddressed() => return None,
            Self::Failed(failure) => return remedies::failure_remedy(failure, names),
            Self::Unaddressed => remedies::say_where(names),
            Self::ServiceDiffers(differences) => differing_remedy(differences, names),
            Self::ServiceUnusable { unit, .. } => {
                format!("correct it where the unit or its file sets it: {}", start(unit, "cat"))
            }
            Self::HookRefused(file) => format!(
                "sudo chown \"$(id -un):\" {}; or have it below /etc, with a link in its place",
                for_shell(file)
            ),
            Self::ShellUnusable(_) => {
                format!("write these settings to {}, which both read", names.config())
            }
            Self::StateUnread { path, .. } => names
                .take_back(path)
                .unwrap_or_else(|| format!("a run overwrites one that is garbled: {}", names.command(""))),
            Self::Capped { .. } => {
                "set `period` to what the server grants, or raise its max_lease_ttl; let no run fail for \
                 so long"
                    .to_owned()
            }
            Self::LooseMode(_) => format!("chmod 600 {}", for_shell(names.token_file)),
            Self::Shadowed(name) => format!("unset {name}, and remove it from where it is set"),
            Self::TimerOff(units) => start(&units.timer, "enable --now"),
            Self::TimerBroken(units) => {
                format!("systemd-analyze --user verify {}", word_for_shell(&units.timer))
            }
            Self::TimerMasked(units) => {
                format!("{} && {}", start(&units.timer, "unmask"), start(&units.timer, "enable --now"))
            }
            Self::RolePeriod { has, .. } => format!("set period = \"{}\"", setting_text(*has)),
            Self::PathUnitFailed(units) => {
                format!("{} && {}", start(&units.path, "reset-failed"), start(&units.path, "start"))
            }
            Self::WatchFailed(unit) => {
                format!("{}, then: {}", start(unit, "status"), start(unit, "restart"))
            }
            Self::WatchOverdue { unit: Some(unit), .. } => start(unit, "restart"),
            Self::WatchOverdue { pid, unit: None } => {
                format!("kill -CONT {pid}; if that does not help: kill -KILL {pid}, and start it again")
            }
            Self::TokenHelper(file) => format!("remove the line token_helper from {}", for_shell(file)),
            Self::NeverRun(Some(units)) => start(&units.service, "start"),
            Self::LingerOff { user } => format!("loginctl enable-linger {}", word_for_shell(user)),
            Self::SuccessTooOld(_) | Self::LastFailed(_) => {
                format!("read the last lines of the log, and what this says: {}", names.command(" --dry-run"))
            }
            Self::MayNotRenew => failures::MAY_RENEW.to_owned(),
            Self::PolicyMissing(_) => {
                "correct `policies` in the settings, or have the policy written".to_owned()
            }
            Self::PolicyUnreadable(_, Error { kind: ErrorKind::Denied { .. }, .. }) => {
                "harmless; to silence it, have that granted".to_owned()
            }
            Self::LifeUnknown | Self::PolicyUnreadable(..) => names.command(" status"),
            Self::SweepUnfinished | Self::Stale(_) => names.command(" sweep"),
            Self::SweepDenied => {
                "have both granted (docs/runbook.md), or set sweep = \"remembered\"".to_owned()
            }
            Self::SweepOff => format!("{} --sweep walk", names.command(" sweep")),
            Self::OtherNamespace { token, .. } if token.len() <= LONGEST_NAMESPACE => {
                format!("if your token belongs there: --namespace {}", word_for_shell(token))
            }
            Self::OtherNamespace { .. } => "if your token belongs there, name it with --namespace".to_owned(),
            Self::Unconfirmed => "use the address of the server itself".to_owned(),
            Self::VerificationOff { switch, authorities: Some(name) } => {
                format!("unset {switch}: the certificate is checked with what {name} names then")
            }
            Self::VerificationOff { authorities: None, .. } => {
                "name the authority's certificate in VAULT_CACERT instead".to_owned()
            }
            Self::NoTimer => "scripts/install, or copy the units; see the README".to_owned(),
        })
    }
}

/// How shell and service come to agree: the shell says nothing, and the file that both read says it all.
fn differing_remedy(differences: &[Difference], names: &Names<'_>) -> String {
    let variables: Vec<&str> =
        differences.iter().filter_map(|difference| difference.variable.as_deref()).collect();
    let unset = (!variables.is_empty()).then(|| format!("unset {} in this shell", variables.join(" ")));
    let is_key = |difference: &&Difference| difference.setting != "configuration file";
    let keys: Vec<&str> = differences.iter().filter(is_key).map(|difference| difference.setting).collect();
    let write = (!keys.is_empty())
        .then(|| format!("write {} to {}, which both read", keys.join(", "), names.config()));
    let remedy = unset.into_iter().chain(write).collect::<Vec<_>>().join("; ");
    if remedy.is_empty() {
        // Only the configuration file differs, and it is the manager that was told of another place.
        return "set XDG_CONFIG_HOME alike for both: systemctl --user show-environment".to_owned();
    }
    remedy
}

/// A length of time as people write it into the settings: in hours, where it is whole ones.
fn setting_text(seconds: u64) -> String {
    if seconds.is_multiple_of(3_600) { format!("{}h", seconds / 3_600) } else { format!("{seconds}s") }
}

#[cfg(test)]
mod tests {
    use crate::config::MAY_BE_ON_PURPOSE;

    #[test]
    fn what_may_be_on_purpose_are_names_of_problems() {
        for name in MAY_BE_ON_PURPOSE {
            assert!(include_str!("problem.rs").contains(&format!("=> (\"{name}\", ")), "{name}");
        }
    }
}
