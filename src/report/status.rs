//! What `status` found out, for a person and for a program.

use std::borrow::Cow;

use serde::Serialize;

use super::forecast::Authority;
use super::json::{SCHEMA, Whose, instant};
use super::outcome::Failure;
use super::words::{self, Names, Quoted, Shown};
use super::{Clock, Format, Paint, Report};
use crate::identity::{Dying, Identity, Verdict};
use crate::local::state::{History, LastRun};
use crate::local::timer::{Timer, TimerState, Units};
use crate::local::token_file::ReadError;
use crate::token::TokenInfo;
use crate::vault::{Error, ErrorKind};

/// Everything that could be found out.
#[derive(Debug)]
pub(crate) struct Status {
    /// When: seconds since 1970, this machine's clock.
    pub(crate) now: u64,
    /// Where the server is.
    pub(crate) address: String,
    /// What the server says; none if it was not asked, or gave no answer.
    pub(crate) view: Option<View>,
    /// Mode and owner (uid) of the token file, if it is there.
    pub(crate) access: Option<(u32, u32)>,
    /// How the passes went.
    pub(crate) history: History,
    /// Whether a sweep is waiting to be finished.
    pub(crate) sweep_due: bool,
    /// The last line of the log that is no warning.
    pub(crate) last_line: Option<String>,
    /// The units, if there can be any.
    pub(crate) units: Option<Units>,
    /// What the user manager knows of the timer.
    pub(crate) timer: Timer,
    /// Whether the user manager runs without a login, if there is one.
    pub(crate) lingers: Option<bool>,
    /// What is wrong, and what is worth a word.
    pub(crate) problems: Vec<Problem>,
}

/// What the server says, as far as it was asked and answered.
#[derive(Debug)]
pub(crate) struct View {
    /// The token in the file.
    pub(crate) info: TokenInfo,
    /// Whether the server named the token it spoke of.
    pub(crate) confirmed: bool,
    /// Whose it is.
    pub(crate) verdict: Verdict,
    /// Why it will end, if it is ours and will.
    pub(crate) dying: Option<Dying>,
    /// Whether a foreign or dying one may mint ours; none if it need not, or if nobody could tell.
    pub(crate) authority: Option<Authority>,
    /// The namespace it lives in and that of the settings, if they differ.
    pub(crate) elsewhere: Option<(String, String)>,
    /// The living tokens of our name; none where they may not be listed or looked up, or not in time.
    pub(crate) namesakes: Option<Namesakes>,
    /// Those policies of the identity that are not there, or could not be asked for.
    pub(crate) policies: Vec<(String, PolicyTrouble)>,
}

/// When a token ends, unless it is renewed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// Then: seconds since 1970, this machine's clock.
    At(u64),
    /// Never.
    Never,
    /// Nobody knows.
    Unknown,
}

/// How many living tokens bear our name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Namesakes {
    /// Together: the one in the file included, and those that are not ours to revoke.
    pub(crate) total: usize,
    /// Those that a sweep would revoke, were the one in the file kept.
    pub(crate) stale: usize,
}

/// What is the matter with a policy.
#[derive(Debug)]
pub(crate) enum PolicyTrouble {
    /// The server has none of this name.
    Missing,
    /// It could not be asked for.
    Unreadable(Error),
}

/// Something that is wrong, or worth a word.
#[derive(Debug)]
pub(crate) enum Problem {
    /// The token could not be looked at: no file, no living token, no server.
    Failed(Failure),
    /// The token in the file is somebody else's.
    Foreign {
        /// Its name.
        display_name: String,
        /// The policy it lacks, if it bears our name.
        lacks: Option<String>,
        /// Whether it may mint ours, as far as Vault tells.
        able: Option<bool>,
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
    NotOrphan,
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
    StateUnread(String),
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
    /// This variable switched off the check of the server's certificate.
    VerificationOff(String),
    /// There is no timer.
    NoTimer,
}

/// How much a problem weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Severity {
    /// The token is in danger, or somebody is about to be surprised.
    Wrong,
    /// Worth a word.
    Note,
}

impl Problem {
    /// How much it weighs.
    pub(crate) fn severity(&self) -> Severity {
        match self {
            Self::Failed(_)
            | Self::Foreign { .. }
            | Self::Dying { .. }
            | Self::NoneSeen
            | Self::Ended { .. }
            | Self::NotPeriodic
            | Self::OtherPeriod { .. }
            | Self::NotOrphan
            | Self::UseLimited(_)
            | Self::Capped { .. }
            | Self::TooShort { .. }
            | Self::LifeUnknown
            | Self::LooseMode(_)
            | Self::Shadowed(_)
            | Self::StateUnread(_)
            | Self::TimerOff(_)
            | Self::TimerMasked(_)
            | Self::TimerBroken(_)
            | Self::NeverRun(_)
            | Self::LingerOff { .. }
            | Self::SuccessTooOld(_)
            | Self::PolicyMissing(_)
            | Self::SweepUnfinished => Severity::Wrong,
            // That a policy may not be read is usual for whoever is no administrator.
            Self::PolicyUnreadable(..)
            | Self::SweepDenied
            | Self::SweepOff
            | Self::Stale(_)
            | Self::OtherNamespace { .. }
            | Self::LastFailed(_)
            | Self::Unconfirmed
            | Self::VerificationOff(_)
            | Self::NoTimer => Severity::Note,
        }
    }

    /// Its stable name.
    fn id(&self) -> &'static str {
        match self {
            Self::Failed(failure) => failure.id(),
            Self::Foreign { .. } => "foreign",
            Self::Dying { .. } => "dying",
            Self::NoneSeen => "no_token_seen",
            Self::Ended { .. } => "ended",
            Self::NotPeriodic => "not_periodic",
            Self::OtherPeriod { .. } => "other_period",
            Self::NotOrphan => "not_orphan",
            Self::UseLimited(_) => "use_limited",
            Self::Capped { .. } => "period_capped",
            Self::TooShort { .. } => "ttl_too_short",
            Self::LifeUnknown => "ttl_unknown",
            Self::LooseMode(_) => "loose_mode",
            Self::Shadowed(_) => "shadowed",
            Self::StateUnread(_) => "state_unreadable",
            Self::TimerOff(_) => "timer_off",
            Self::TimerMasked(_) => "timer_masked",
            Self::TimerBroken(_) => "timer_broken",
            Self::NeverRun(_) => "never_run",
            Self::LingerOff { .. } => "linger_off",
            Self::SuccessTooOld(_) => "success_too_old",
            Self::PolicyMissing(_) => "policy_missing",
            Self::PolicyUnreadable(..) => "policy_unreadable",
            Self::SweepUnfinished => "sweep_unfinished",
            Self::SweepDenied => "sweep_denied",
            Self::SweepOff => "sweep_off",
            Self::Stale(_) => "stale_tokens",
            Self::OtherNamespace { .. } => "other_namespace",
            Self::LastFailed(_) => "last_pass_failed",
            Self::Unconfirmed => "unconfirmed",
            Self::VerificationOff(_) => "verification_off",
            Self::NoTimer => "no_timer",
        }
    }

    /// What is the matter, on one line.
    fn text(&self, names: &Names<'_>, clock: Clock) -> String {
        match self {
            Self::Failed(failure) => words::failure(failure, names),
            Self::Foreign { display_name, lacks, able } => {
                let lacks = lacks.as_ref().map(|policy| format!(" (it lacks the policy {})", Quoted(policy)));
                let lacks = lacks.unwrap_or_default();
                let able = match able {
                    Some(true) => "; it may mint yours",
                    Some(false) => "; it is too weak to mint yours",
                    None => "",
                };
                format!("{} is dn={}, not your token{lacks}{able}", names.token_file(), Quoted(display_name))
            }
            Self::Dying { dying, able } => {
                let able = match able {
                    Some(true) => "; it may mint its successor",
                    Some(false) => "; it may not mint its successor",
                    None => "",
                };
                format!("your token is dying: {}{able}", words::dying(*dying))
            }
            Self::NoneSeen => {
                format!("the last pass found no living token in {}", names.token_file())
            }
            Self::Ended { at } => format!("by what the last pass saw, the token ended at {}", clock.at(*at)),
            Self::NotPeriodic => {
                "your token has no period: it dies when the server's maximum is reached".to_owned()
            }
            Self::OtherPeriod { has, wanted } => {
                format!("your token has a period of {}, the settings ask for {}", span(*has), span(*wanted))
            }
            Self::NotOrphan => "your token is no orphan: it dies with the token that minted it".to_owned(),
            Self::UseLimited(uses) => {
                format!("the token may be used {uses} more time(s); nothing else was asked, to spare them")
            }
            Self::Capped { granted, period } => format!(
                "the server grants {} at a time, less than the period of {}",
                span(*granted),
                span(*period)
            ),
            Self::TooShort { left, least, .. } => {
                format!("the token has {} left, less than the {} asked for", span(*left), span(*least))
            }
            Self::LifeUnknown => "how long the token has is not known".to_owned(),
            Self::LooseMode(mode) => {
                format!("{} has mode {mode:04o}, which lets others at the token", names.token_file())
            }
            Self::Shadowed(name) => {
                format!("{name} is set: the vault command line uses it instead of {}", names.token_file())
            }
            Self::StateUnread(reason) => format!("the state file cannot be read: {}", Shown(reason)),
            Self::TimerOff(units) => format!("{} is off: no pass runs by itself", Shown(&units.timer)),
            Self::TimerMasked(units) => format!("{} is masked: no pass runs by itself", Shown(&units.timer)),
            Self::TimerBroken(units) => {
                format!("{} cannot be loaded: no pass runs by itself", Shown(&units.timer))
            }
            Self::NeverRun(_) => "no pass is known to have run here".to_owned(),
            Self::LingerOff { .. } => {
                "lingering is off: the timer sleeps while you are logged out".to_owned()
            }
            Self::SuccessTooOld(Some(at)) if *at > clock.seconds() => format!(
                "the last success is noted for {}, which is still to come: was the clock wrong?",
                clock.at(*at)
            ),
            Self::SuccessTooOld(Some(at)) => format!("no pass has succeeded since {}", clock.at(*at)),
            Self::SuccessTooOld(None) => "no pass has ever succeeded".to_owned(),
            Self::PolicyMissing(name) => format!("the server has no policy {}", Quoted(name)),
            Self::PolicyUnreadable(name, error) => {
                format!("whether the policy {} exists cannot be told ({})", Quoted(name), words::error(error))
            }
            Self::SweepUnfinished => "a sweep of stale tokens waits to be finished".to_owned(),
            Self::SweepDenied => {
                "stale tokens may be left: your token may not list the others, or not look them up".to_owned()
            }
            Self::SweepOff => {
                "stale tokens may be left: a sweep was not finished before it was switched off".to_owned()
            }
            Self::OtherNamespace { token, settings } => words::other_namespace(token, settings),
            Self::Stale(count) => format!("{count} stale token(s) of your name live on the server"),
            Self::LastFailed(run) => {
                format!("the last pass did not end well: {}, at {}", run.ending.word(), clock.at(run.at))
            }
            Self::Unconfirmed => {
                "the server does not say which token it speaks of; is there an agent in between?".to_owned()
            }
            Self::VerificationOff(name) => {
                format!("{name} is set: the server's certificate is not verified")
            }
            Self::NoTimer => "there is no timer, so no pass runs by itself".to_owned(),
        }
    }

    /// What to do about it.
    fn remedy(&self, names: &Names<'_>) -> Option<String> {
        let start = |unit: &str, verb: &str| format!("systemctl --user {verb} {unit}");
        Some(match self {
            Self::Failed(failure) if !matches!(failure, Failure::Dead { .. } | Failure::Spent) => return words::remedy(failure, names),
            Self::Foreign { able: Some(true) | None, .. }
            | Self::Dying { able: Some(true), .. }
            | Self::TooShort { renewal_helps: true, .. }
            | Self::NeverRun(None) => names.command(""),
            Self::TooShort { renewal_helps: false, .. } => {
                "ask for less than the period; no renewal gives it more".to_owned()
            }
            Self::Foreign { able: Some(false), .. } => {
                format!("see what wrote it, then: {}", names.recovery_command())
            }
            Self::Failed(_)
            | Self::NoneSeen
            | Self::Ended { .. }
            | Self::NotPeriodic
            | Self::OtherPeriod { .. }
            | Self::NotOrphan
            | Self::UseLimited(_)
            | Self::Dying { able: Some(false) | None, .. } => names.recovery_command(),
            Self::StateUnread(_) => {
                "see whose it is and what is in it; a run overwrites one that is garbled".to_owned()
            }
            Self::Capped { .. } => {
                "set `period` to what the server grants, or raise its max_lease_ttl; let no run fail for so long".to_owned()
            }
            Self::LooseMode(_) => format!("chmod 600 {}", words::for_shell(names.token_file)),
            Self::Shadowed(name) => format!("unset {name}, and remove it from where it is set"),
            Self::TimerOff(units) => start(&words::word_for_shell(&units.timer), "enable --now"),
            Self::TimerBroken(units) => {
                format!("systemd-analyze --user verify {}", words::word_for_shell(&units.timer))
            }
            Self::TimerMasked(units) => {
                let timer = words::word_for_shell(&units.timer);
                format!("{} && {}", start(&timer, "unmask"), start(&timer, "enable --now"))
            }
            Self::NeverRun(Some(units)) => start(&words::word_for_shell(&units.service), "start"),
            Self::LingerOff { user } => format!("loginctl enable-linger {}", words::word_for_shell(user)),
            Self::SuccessTooOld(_) | Self::LastFailed(_) => {
                format!("see the last lines of the log, and what {} says", names.command(" --dry-run"))
            }
            Self::PolicyMissing(_) => {
                "correct `policies` in the settings, or have the policy written".to_owned()
            }
            Self::PolicyUnreadable(name, Error { kind: ErrorKind::Denied { .. }, .. }) => {
                format!("nothing, or have read granted on sys/policies/acl/{}", Shown(name))
            }
            Self::LifeUnknown | Self::PolicyUnreadable(..) => names.command(" status"),
            Self::SweepUnfinished | Self::Stale(_) => names.command(" sweep"),
            Self::SweepDenied => {
                "have both granted (docs/runbook.md), or set sweep = \"remembered\"".to_owned()
            }
            Self::SweepOff => format!("{} --sweep walk", names.command(" sweep")),
            Self::OtherNamespace { token, .. } => {
                format!("if yours is to live there: --namespace {}", words::word_for_shell(token))
            }
            Self::Unconfirmed => "use the address of the server itself".to_owned(),
            Self::VerificationOff(_) => "name the authority's certificate in VAULT_CACERT instead".to_owned(),
            Self::NoTimer => "scripts/install, or copy the units; see the README".to_owned(),
        })
    }
}

impl Status {
    /// Whether nothing is wrong.
    pub(crate) fn is_healthy(&self) -> bool {
        self.problems.iter().all(|problem| problem.severity() == Severity::Note)
    }

    /// The exit status: 0 or 1.
    pub(crate) fn exit_status(&self) -> u8 {
        u8::from(!self.is_healthy())
    }

    /// The exit status with `--detailed-exitcode`: that of the first problem that has one of its own.
    pub(crate) fn detailed_exit_status(&self) -> u8 {
        let own = |problem: &Problem| match problem {
            Problem::Failed(failure) => Some(failure.detailed_exit_status()).filter(|status| *status != 1),
            Problem::NoneSeen | Problem::Ended { .. } => Some(4),
            Problem::Foreign { .. } => Some(3),
            Problem::Dying { .. } | Problem::UseLimited(_) => Some(5),
            Problem::NotPeriodic
            | Problem::OtherPeriod { .. }
            | Problem::NotOrphan
            | Problem::Capped { .. }
            | Problem::TooShort { .. }
            | Problem::LifeUnknown
            | Problem::LooseMode(_)
            | Problem::Shadowed(_)
            | Problem::StateUnread(_)
            | Problem::TimerOff(_)
            | Problem::TimerMasked(_)
            | Problem::TimerBroken(_)
            | Problem::NeverRun(_)
            | Problem::LingerOff { .. }
            | Problem::SuccessTooOld(_)
            | Problem::PolicyMissing(_)
            | Problem::PolicyUnreadable(..)
            | Problem::SweepUnfinished
            | Problem::SweepDenied
            | Problem::SweepOff
            | Problem::Stale(_)
            | Problem::OtherNamespace { .. }
            | Problem::LastFailed(_)
            | Problem::Unconfirmed
            | Problem::VerificationOff(_)
            | Problem::NoTimer => None,
        };
        self.problems.iter().find_map(own).unwrap_or_else(|| self.exit_status())
    }

    /// The lines for a person: facts first, then what is wrong.
    fn lines(&self, names: &Names<'_>, identity: &Identity, clock: Clock, paint: Paint) -> Vec<String> {
        let mut rows = vec![("token", self.whose(names, identity))];
        if let Some(View { info, .. }) = &self.view {
            rows.push(("policies", listed(&info.policies)));
            if !info.identity_policies.is_empty() {
                rows.push(("", format!("{} (identity)", listed(&info.identity_policies))));
            }
            rows.push(("kind", kind(info)));
        }
        rows.push(("time left", self.life(clock)));
        rows.push(("file", self.file()));
        rows.push(("last pass", self.last_pass(clock)));
        if let Some(at) = self.history.last_success {
            rows.push(("last good", self.past(at, clock)));
        }
        if let Some(line) = &self.last_line {
            rows.push(("log", words::harmless(line)));
        }
        rows.push(("next run", self.next_run(clock)));
        let namesakes = self.view.as_ref().and_then(|view| view.namesakes);
        rows.push((
            "on server",
            match namesakes {
                Some(Namesakes { total, .. }) => format!("{total} token(s) of your name"),
                None => "unknown how many tokens of your name".to_owned(),
            },
        ));
        rows.push(("server", Shown(&self.address).to_string()));
        let mut lines: Vec<String> = rows
            .into_iter()
            .map(|(label, text)| format!("{} {text}", paint.dim(&format!("{label:<9}"))))
            .collect();
        lines.push(String::new());
        for problem in &self.problems {
            let mark = match problem.severity() {
                Severity::Wrong => paint.red("wrong:"),
                Severity::Note => paint.yellow("note: "),
            };
            lines.push(format!("{mark} {}", problem.text(names, clock)));
            if let Some(remedy) = problem.remedy(names) {
                lines.push(format!("   fix: {remedy}"));
            }
        }
        if self.is_healthy() {
            lines.push(paint.green("healthy"));
        }
        lines
    }

    fn whose(&self, names: &Names<'_>, identity: &Identity) -> String {
        let file = names.token_file();
        match (&self.view, self.history.seen.token()) {
            (Some(view), _) => match view.verdict {
                Verdict::Ours => format!("{file}: yours, {}", Shown(&view.info.display_name)),
                Verdict::Foreign => format!(
                    "{file}: foreign, {} (yours would be {})",
                    Shown(&view.info.display_name),
                    identity.display_name
                ),
            },
            (None, Some(seen)) => {
                let whose = if seen.ours { "yours" } else { "foreign" };
                format!("{file}: {whose}, {}, when a pass last saw it", Shown(&seen.display_name))
            }
            (None, None) => format!("{file}: unknown"),
        }
    }

    /// When the token ends.
    pub(crate) fn end(&self) -> End {
        let end = |at: Option<u64>| at.map_or(End::Never, End::At);
        match (&self.view, self.history.seen.token()) {
            (Some(View { info, .. }), _) => end(info.ends().then(|| self.now.saturating_add(info.ttl))),
            (None, Some(seen)) => end(seen.ends_at),
            (None, None) => End::Unknown,
        }
    }

    fn life(&self, clock: Clock) -> String {
        match self.end() {
            End::Unknown => "unknown".to_owned(),
            End::Never => "without end".to_owned(),
            End::At(end) if end <= self.now => format!("none, since {}", clock.at(end)),
            End::At(end) => format!("{}, until {}", span(end - self.now), clock.at(end)),
        }
    }

    fn file(&self) -> String {
        let is_missing =
            |problem: &Problem| matches!(problem, Problem::Failed(Failure::TokenFile(ReadError::Missing)));
        match self.access {
            None if self.problems.iter().any(is_missing) => "missing".to_owned(),
            None => "unknown".to_owned(),
            Some((mode, uid)) => {
                let owner = if uid == rustix::process::geteuid().as_raw() {
                    "you".to_owned()
                } else {
                    format!("uid {uid}")
                };
                format!("mode {mode:04o}, owner {owner}")
            }
        }
    }

    fn last_pass(&self, clock: Clock) -> String {
        match self.history.last_run {
            Some(run) => format!("{}: {}", self.past(run.at, clock), run.ending.word()),
            None => "unknown".to_owned(),
        }
    }

    fn past(&self, at: u64, clock: Clock) -> String {
        format!("{}, {} ago", clock.at(at), span(self.now.saturating_sub(at)))
    }

    fn next_run(&self, clock: Clock) -> String {
        let timer = self.units.as_ref().map(|units| Shown(&units.timer).to_string()).unwrap_or_default();
        match (self.timer.state, self.timer.next) {
            (TimerState::On, Some(next)) => {
                format!("{}, in {} ({timer})", clock.at(next), span(next.saturating_sub(self.now)))
            }
            (TimerState::On, None) => format!("unknown ({timer} is on, and does not say when)"),
            (TimerState::Off, _) => format!("none ({timer} is off)"),
            (TimerState::Masked, _) => format!("none ({timer} is masked)"),
            (TimerState::Broken, _) => format!("none ({timer} cannot be loaded)"),
            (TimerState::Absent, _) => format!("unknown (there is no {timer})"),
            (TimerState::Unknown, _) => "unknown".to_owned(),
        }
    }
}

fn listed(policies: &[String]) -> String {
    if policies.is_empty() { "none".to_owned() } else { Shown(&policies.join(", ")).to_string() }
}

/// What kind of token it is, in the words of the field.
fn kind(info: &TokenInfo) -> String {
    // A server leaves the period out where there is none.
    let period = match info.period {
        Some(0) | None => "no period".to_owned(),
        Some(period) => format!("period {}", span(period)),
    };
    let said = |yes: Option<bool>, words: [&str; 3]| match yes {
        Some(true) => words[0].to_owned(),
        Some(false) => words[1].to_owned(),
        None => words[2].to_owned(),
    };
    let mut parts = vec![
        period,
        said(info.renewable, ["renewable", "not renewable", "perhaps renewable"]),
        said(info.orphan, ["orphan", "not an orphan", "perhaps an orphan"]),
    ];
    if let Some(kind) = info.kind.as_deref().filter(|kind| *kind != "service") {
        parts.push(Shown(kind).to_string());
    }
    if info.explicit_max_ttl > 0 {
        parts.push(format!("explicit maximum {}", span(info.explicit_max_ttl)));
    }
    parts.join(", ")
}

/// A length of time as people say it, in the two largest units.
pub(super) fn span(seconds: u64) -> String {
    let units = [(86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")];
    let first = units.iter().position(|(unit, _)| seconds >= *unit).unwrap_or(units.len() - 1);
    let mut rest = seconds;
    let mut parts = Vec::new();
    for (unit, name) in units.iter().skip(first).take(2) {
        if rest / unit > 0 || parts.is_empty() {
            parts.push(format!("{} {name}", rest / unit));
        }
        rest %= unit;
    }
    parts.join(" ")
}

/// The object for a program.
#[derive(Debug, Serialize)]
struct Document<'a> {
    schema: u32,
    verb: &'static str,
    healthy: bool,
    exit_status: u8,
    server: &'a str,
    identity: Whose<'a>,
    token_file: File<'a>,
    token: Token<'a>,
    last_pass: Option<Pass>,
    last_success: Option<String>,
    last_line: Option<&'a str>,
    timer: TimerDocument<'a>,
    linger: Option<bool>,
    tokens_of_our_name: Option<Namesakes>,
    sweep_due: bool,
    problems: Vec<ProblemDocument>,
}

#[derive(Debug, Serialize)]
struct File<'a> {
    path: Cow<'a, str>,
    mode: Option<String>,
    owner_uid: Option<u32>,
}

/// The token, by the server's word (`source` is `server`) or as a pass last saw it (`state`).
#[derive(Debug, Default, Serialize)]
struct Token<'a> {
    source: Option<&'static str>,
    ours: Option<bool>,
    display_name: Option<&'a str>,
    ttl: Option<u64>,
    expires_at: Option<String>,
    never_expires: Option<bool>,
    policies: Option<&'a [String]>,
    identity_policies: Option<&'a [String]>,
    period: Option<u64>,
    explicit_max_ttl: Option<u64>,
    num_uses: Option<i64>,
    renewable: Option<bool>,
    orphan: Option<bool>,
    r#type: Option<&'a str>,
}

#[derive(Debug, Serialize)]
struct Pass {
    at: String,
    outcome: &'static str,
}

#[derive(Debug, Serialize)]
struct TimerDocument<'a> {
    unit: Option<&'a str>,
    state: &'static str,
    next: Option<String>,
    last: Option<String>,
}

#[derive(Debug, Serialize)]
struct ProblemDocument {
    id: &'static str,
    severity: Severity,
    message: String,
    remedy: Option<String>,
}

impl Status {
    fn document<'a>(
        &'a self,
        names: &Names<'a>,
        identity: &'a Identity,
        exit_status: u8,
        clock: Clock,
    ) -> Document<'a> {
        Document {
            schema: SCHEMA,
            verb: "status",
            healthy: self.is_healthy(),
            exit_status,
            server: &self.address,
            identity: identity.into(),
            token_file: File {
                path: names.token_file.to_string_lossy(),
                mode: self.access.map(|(mode, _)| format!("{mode:04o}")),
                owner_uid: self.access.map(|(_, uid)| uid),
            },
            token: self.token(),
            last_pass: self
                .history
                .last_run
                .map(|run| Pass { at: instant(run.at), outcome: run.ending.word() }),
            last_success: self.history.last_success.map(instant),
            last_line: self.last_line.as_deref(),
            timer: TimerDocument {
                unit: self.units.as_ref().map(|units| units.timer.as_str()),
                state: match self.timer.state {
                    TimerState::Unknown => "unknown",
                    TimerState::Absent => "absent",
                    TimerState::Off => "off",
                    TimerState::Masked => "masked",
                    TimerState::Broken => "broken",
                    TimerState::On => "on",
                },
                next: self.timer.next.map(instant),
                last: self.timer.last.map(instant),
            },
            linger: self.lingers,
            tokens_of_our_name: self.view.as_ref().and_then(|view| view.namesakes),
            sweep_due: self.sweep_due,
            problems: self
                .problems
                .iter()
                .map(|problem| ProblemDocument {
                    id: problem.id(),
                    severity: problem.severity(),
                    message: problem.text(names, clock),
                    remedy: problem.remedy(names),
                })
                .collect(),
        }
    }

    fn token(&self) -> Token<'_> {
        let (end, never_expires) = match self.end() {
            End::At(end) => (Some(end), Some(false)),
            End::Never => (None, Some(true)),
            End::Unknown => (None, None),
        };
        let life = Token {
            ttl: end.map(|end| end.saturating_sub(self.now)),
            expires_at: end.map(instant),
            never_expires,
            ..Token::default()
        };
        match (&self.view, self.history.seen.token()) {
            (Some(View { info, verdict, .. }), _) => Token {
                source: Some("server"),
                ours: Some(*verdict == Verdict::Ours),
                display_name: Some(&info.display_name),
                policies: Some(&info.policies),
                identity_policies: Some(&info.identity_policies),
                period: info.period,
                explicit_max_ttl: Some(info.explicit_max_ttl),
                num_uses: Some(info.num_uses),
                renewable: info.renewable,
                orphan: info.orphan,
                r#type: info.kind.as_deref(),
                ..life
            },
            (None, Some(seen)) => Token {
                source: Some("state"),
                ours: Some(seen.ours),
                display_name: Some(&seen.display_name),
                ..life
            },
            (None, None) => Token::default(),
        }
    }
}

impl Report<'_> {
    /// What `status` found out: on standard output, healthy or not.
    pub(crate) fn status(&self, status: &Status, identity: &Identity, exit_status: u8, paint: Paint) {
        match self.format {
            Format::Json => {
                self.answer_json(&status.document(&self.names, identity, exit_status, self.clock));
            }
            Format::Lines => {
                for line in status.lines(&self.names, identity, self.clock, paint) {
                    self.answer(&line);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_are_said_in_two_units() {
        for (seconds, said) in [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (61, "1 min 1 s"),
            (3_600, "1 h"),
            (3_659, "1 h"),
            (2_764_800, "32 d"),
            (2_764_799, "31 d 23 h"),
            (90_061, "1 d 1 h"),
        ] {
            assert_eq!(span(seconds), said);
        }
    }
}
