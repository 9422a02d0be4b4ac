//! What `status` found out, for a person and for a program.

use std::borrow::Cow;

use serde::Serialize;

use super::escape::{Shown, harmless_text};
use super::json::{IdentityObject, SCHEMA};
use super::names::Names;
use super::paint::Paint;
use super::problem::{Problem, Severity};
use super::times::{local_text, span_text, utc_text};
use crate::clock::Clock;
use crate::facts::failure::Failure;
use crate::facts::view::{End, Namesakes, View};
use crate::identity::{Identity, Verdict};
use crate::local::glance::Glance;
use crate::local::history::{History, LastRun};
use crate::local::timer::{Timer, TimerState, Units};
use crate::local::token_file::ReadError;
use crate::local::watching::Watching;
use crate::token::TokenInfo;

/// Everything that could be found out.
#[derive(Debug)]
pub(crate) struct Status {
    /// When: seconds since 1970, this machine's clock.
    pub(crate) now: u64,
    /// Where the server is.
    pub(crate) address: String,
    /// What the server says; none if it was not asked, or gave no answer.
    pub(crate) view: Option<View>,
    /// What can be told of the token file without reading it, if it is there.
    pub(crate) glance: Option<Glance>,
    /// How the passes went.
    pub(crate) history: History,
    /// Whether a sweep is waiting to be finished.
    pub(crate) sweep_due: bool,
    /// The units, if there can be any.
    pub(crate) units: Option<Units>,
    /// What the user manager knows of the timer.
    pub(crate) timer: Timer,
    /// The process that stays with the token file, if there is one.
    pub(crate) watch: Option<Watching>,
    /// One that stays and should have made a run, or ended one, long since.
    pub(crate) overdue_watch: Option<Watching>,
    /// Whether the user manager runs that process.
    pub(crate) watch_is_a_unit: bool,
    /// Whether the unit of one has failed, and none runs.
    pub(crate) watch_failed: bool,
    /// Whether the path unit has failed.
    pub(crate) path_failed: bool,
    /// Whether the user manager runs without a login, if there is one.
    pub(crate) lingers: Option<bool>,
    /// What is wrong, and what is worth a word.
    pub(crate) problems: Vec<Problem>,
    /// What is so on purpose, by its stable names.
    pub(crate) ignored: Vec<&'static str>,
}

impl Status {
    /// Leaves out what is so on purpose, and remembers that it is so.
    pub(crate) fn ignore(&mut self, names: &[String]) {
        let is_on_purpose = |problem: &mut Problem| names.iter().any(|name| name == problem.id());
        self.ignored = self.problems.extract_if(.., is_on_purpose).map(|problem| problem.id()).collect();
    }

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
        self.problems.iter().find_map(Problem::own_exit_status).unwrap_or_else(|| self.exit_status())
    }

    /// The lines for a person: facts first, then what is wrong.
    pub(super) fn lines(
        &self,
        names: &Names<'_>,
        identity: &Identity,
        clock: Clock,
        paint: Paint,
    ) -> Vec<String> {
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
        rows.push(("last run", self.last_pass(clock)));
        if let Some(at) = self.history.last_success {
            rows.push(("last good", self.past(at, clock)));
        }
        if let Some(line) = self.last_line(clock) {
            rows.push(("log", harmless_text(&line)));
        }
        rows.push(("next run", self.next_run(clock)));
        let namesakes = self.view.as_ref().and_then(|view| view.namesakes);
        rows.push((
            "on server",
            match namesakes {
                Some(Namesakes { total, .. }) => format!("{total} token(s) of your name"),
                None => "unknown (your token may not list tokens)".to_owned(),
            },
        ));
        rows.push(("server", Shown(&self.address).to_string()));
        let mut lines: Vec<String> = rows
            .into_iter()
            .map(|(label, text)| format!("{} {text}", paint.dim(&format!("{label:<9}"))))
            .collect();
        if !self.ignored.is_empty() {
            lines.push(format!("{} {}", paint.dim(&format!("{:<9}", "ignored")), self.ignored.join(", ")));
        }
        lines.push(String::new());
        lines.extend(self.problems.iter().flat_map(|problem| problem_lines(problem, names, clock, paint)));
        if self.is_healthy() {
            lines.push(paint.green("healthy"));
        }
        lines
    }

    /// Only what is wrong.
    pub(super) fn wrongs(&self, names: &Names<'_>, clock: Clock, paint: Paint) -> Vec<String> {
        let wrong = self.problems.iter().filter(|problem| problem.severity() == Severity::Wrong);
        wrong.flat_map(|problem| problem_lines(problem, names, clock, paint)).collect()
    }

    fn whose(&self, names: &Names<'_>, identity: &Identity) -> String {
        let file = names.token_file();
        match (&self.view, self.history.contents.held()) {
            (Some(view), _) => match view.verdict {
                Verdict::Ours => format!("{file}: yours, {}", Shown(&view.info.display_name)),
                Verdict::Foreign => format!(
                    "{file}: foreign, {} (yours would be {})",
                    Shown(&view.info.display_name),
                    identity.display_name
                ),
            },
            (None, Some(held)) => {
                let whose = if held.ours { "yours" } else { "foreign" };
                format!("{file}: {whose}, {}, as the last run saw it", Shown(&held.display_name))
            }
            (None, None) => format!("{file}: unknown"),
        }
    }

    /// When the token ends.
    pub(crate) fn end(&self) -> End {
        let end = |at: Option<u64>| at.map_or(End::Never, End::At);
        match (&self.view, self.history.contents.held()) {
            (Some(View { info, .. }), _) => end(info.ends().then(|| self.now.saturating_add(info.ttl))),
            (None, Some(held)) => end(held.ends_at),
            (None, None) => End::Unknown,
        }
    }

    fn life(&self, clock: Clock) -> String {
        match self.end() {
            End::Unknown => "unknown".to_owned(),
            End::Never => "never expires".to_owned(),
            End::At(end) if end <= self.now => format!("none, expired at {}", local_text(clock, end)),
            End::At(end) => format!("{}, until {}", span_text(end - self.now), local_text(clock, end)),
        }
    }

    fn file(&self) -> String {
        let is_missing =
            |problem: &Problem| matches!(problem, Problem::Failed(Failure::TokenFile(ReadError::Missing)));
        match self.glance {
            None if self.problems.iter().any(is_missing) => "missing".to_owned(),
            None => "unknown".to_owned(),
            Some(glance) => {
                let owner = if glance.is_own() { "you".to_owned() } else { format!("uid {}", glance.owner) };
                format!("mode {:04o}, owner {owner}", glance.mode)
            }
        }
    }

    fn last_pass(&self, clock: Clock) -> String {
        match self.history.last_run {
            Some(run) => format!("{}: {}", self.past(run.at, clock), run.ending.id()),
            None => "unknown".to_owned(),
        }
    }

    /// What the last run said, as the log has it. It is not read there: which of the lines is about this token file,
    /// the log does not tell.
    fn last_line(&self, clock: Clock) -> Option<String> {
        let (run, line) = (self.history.last_run?, self.history.last_line.as_ref()?);
        Some(format!("{} {line}", local_text(clock, run.at)))
    }

    /// How long the token has, in a cell of a table.
    pub(super) fn brief_life(&self) -> String {
        match self.end() {
            End::Unknown => "unknown".to_owned(),
            End::Never => "never expires".to_owned(),
            End::At(end) if end <= self.now => "expired".to_owned(),
            End::At(end) => span_text(end - self.now),
        }
    }

    /// How the last run ended, and how long ago, in a cell of a table.
    pub(super) fn brief_last_run(&self) -> String {
        let told =
            |run: LastRun| format!("{}, {} ago", run.ending.id(), span_text(self.now.saturating_sub(run.at)));
        self.history.last_run.map_or_else(|| "none".to_owned(), told)
    }

    /// When the next run comes, in a cell of a table.
    pub(super) fn brief_next_run(&self, clock: Clock) -> String {
        let next = match (self.watch, self.timer) {
            (Some(watch), _) => watch.next_run,
            (None, Timer { state: TimerState::On, next, .. }) => next,
            (None, _) => None,
        };
        match next {
            Some(next) => format!("in {}", span_text(next.saturating_sub(self.now))),
            None => self.next_run(clock).split([' ', ',']).next().unwrap_or_default().to_owned(),
        }
    }

    fn past(&self, at: u64, clock: Clock) -> String {
        format!("{}, {} ago", local_text(clock, at), span_text(self.now.saturating_sub(at)))
    }

    fn next_run(&self, clock: Clock) -> String {
        if let Some(Watching { pid, next_run, .. }) = self.watch {
            return match next_run {
                Some(next) => format!(
                    "{}, in {} (watch, process {pid})",
                    local_text(clock, next),
                    span_text(next.saturating_sub(self.now))
                ),
                None => format!("running now (watch, process {pid})"),
            };
        }
        if let Some(Watching { pid, .. }) = self.overdue_watch {
            return format!("overdue (watch, process {pid}, is stopped or hangs)");
        }
        let timer = self.units.as_ref().map(|units| Shown(&units.timer).to_string()).unwrap_or_default();
        match (self.timer.state, self.timer.next) {
            (TimerState::On, Some(next)) => {
                format!(
                    "{}, in {} ({timer})",
                    local_text(clock, next),
                    span_text(next.saturating_sub(self.now))
                )
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

/// A problem, and what to do about it.
fn problem_lines(problem: &Problem, names: &Names<'_>, clock: Clock, paint: Paint) -> Vec<String> {
    let mark = match problem.severity() {
        Severity::Wrong => paint.red("wrong:"),
        Severity::Note => paint.yellow("note: "),
    };
    let remedy = problem.remedy(names).map(|remedy| format!("   fix: {remedy}"));
    [format!("{mark} {}", problem.text(names, clock))].into_iter().chain(remedy).collect()
}

fn listed(policies: &[String]) -> String {
    if policies.is_empty() { "none".to_owned() } else { Shown(&policies.join(", ")).to_string() }
}

/// What kind of token it is, in the words of the field.
fn kind(info: &TokenInfo) -> String {
    // A server leaves the period out where there is none.
    let period = match info.period {
        Some(0) | None => "no period".to_owned(),
        Some(period) => format!("period {}", span_text(period)),
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
        parts.push(format!("explicit maximum {}", span_text(info.explicit_max_ttl)));
    }
    parts.join(", ")
}

/// The object for a program.
#[derive(Debug, Serialize)]
pub(super) struct StatusObject<'a> {
    schema: u32,
    verb: &'static str,
    healthy: bool,
    exit_status: u8,
    server: &'a str,
    identity: IdentityObject<'a>,
    token_file: FileObject<'a>,
    token: ContentsObject<'a>,
    last_pass: Option<PassObject>,
    last_success: Option<String>,
    last_line: Option<String>,
    timer: TimerObject<'a>,
    watch: Option<WatchObject>,
    linger: Option<bool>,
    tokens_of_our_name: Option<Namesakes>,
    sweep_due: bool,
    problems: Vec<ProblemObject>,
    ignored: &'a [&'static str],
}

#[derive(Debug, Serialize)]
struct FileObject<'a> {
    path: Cow<'a, str>,
    mode: Option<String>,
    owner_uid: Option<u32>,
}

/// The token, by the server's word (`source` is `server`) or as a pass last saw it (`state`).
#[derive(Debug, Default, Serialize)]
struct ContentsObject<'a> {
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
struct PassObject {
    at: String,
    outcome: &'static str,
}

#[derive(Debug, Serialize)]
struct TimerObject<'a> {
    unit: Option<&'a str>,
    state: &'static str,
    next: Option<String>,
    last: Option<String>,
}

#[derive(Debug, Serialize)]
struct WatchObject {
    pid: u32,
    next: Option<String>,
    overdue: bool,
}

#[derive(Debug, Serialize)]
struct ProblemObject {
    id: &'static str,
    severity: Severity,
    message: String,
    remedy: Option<String>,
}

impl Status {
    /// The object for a program.
    pub(super) fn document<'a>(
        &'a self,
        names: &Names<'a>,
        identity: &'a Identity,
        exit_status: u8,
        clock: Clock,
    ) -> StatusObject<'a> {
        StatusObject {
            schema: SCHEMA,
            verb: "status",
            healthy: self.is_healthy(),
            exit_status,
            server: &self.address,
            identity: identity.into(),
            token_file: FileObject {
                path: names.token_file.to_string_lossy(),
                mode: self.glance.map(|glance| format!("{:04o}", glance.mode)),
                owner_uid: self.glance.map(|glance| glance.owner),
            },
            token: self.token(),
            last_pass: self
                .history
                .last_run
                .map(|run| PassObject { at: utc_text(run.at), outcome: run.ending.id() }),
            last_success: self.history.last_success.map(utc_text),
            last_line: self.last_line(clock),
            timer: TimerObject {
                unit: self.units.as_ref().map(|units| units.timer.as_str()),
                state: match self.timer.state {
                    TimerState::Unknown => "unknown",
                    TimerState::Absent => "absent",
                    TimerState::Off => "off",
                    TimerState::Masked => "masked",
                    TimerState::Broken => "broken",
                    TimerState::On => "on",
                },
                next: self.timer.next.map(utc_text),
                last: self.timer.last.map(utc_text),
            },
            watch: self.watch.or(self.overdue_watch).map(|Watching { pid, next_run, .. }| WatchObject {
                pid,
                next: next_run.map(utc_text),
                overdue: self.overdue_watch.is_some(),
            }),
            linger: self.lingers,
            tokens_of_our_name: self.view.as_ref().and_then(|view| view.namesakes),
            sweep_due: self.sweep_due,
            ignored: &self.ignored,
            problems: self
                .problems
                .iter()
                .map(|problem| ProblemObject {
                    id: problem.id(),
                    severity: problem.severity(),
                    message: problem.text(names, clock),
                    remedy: problem.remedy(names),
                })
                .collect(),
        }
    }

    fn token(&self) -> ContentsObject<'_> {
        let (end, never_expires) = match self.end() {
            End::At(end) => (Some(end), Some(false)),
            End::Never => (None, Some(true)),
            End::Unknown => (None, None),
        };
        let life = ContentsObject {
            ttl: end.map(|end| end.saturating_sub(self.now)),
            expires_at: end.map(utc_text),
            never_expires,
            ..ContentsObject::default()
        };
        match (&self.view, self.history.contents.held()) {
            (Some(View { info, verdict, .. }), _) => ContentsObject {
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
            (None, Some(held)) => ContentsObject {
                source: Some("state"),
                ours: Some(held.ours),
                display_name: Some(&held.display_name),
                ..life
            },
            (None, None) => ContentsObject::default(),
        }
    }
}
