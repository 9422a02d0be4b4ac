//! `status`: look, do not touch. The facts are gathered here, and held against what they should be.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::once::Manner;
use super::surroundings::Surroundings;
use super::survived::survived;
use crate::config::{Settings, SettingsWarning, SweepMode};
use crate::facts::authority::Authority;
use crate::facts::failure::Failure;
use crate::facts::outcome::Outcome;
use crate::facts::view::{End, PolicyTrouble, View};
use crate::identity::{Dying, Identity, Verdict, expected_lease};
use crate::local::history::{Contents, Ending, History};
use crate::local::state::{Due, State};
use crate::local::timer::{self, Timer, TimerState, Units};
use crate::local::watching;
use crate::pass::{self, Context};
use crate::report::json::Subject;
use crate::report::names::Names;
use crate::report::problem::Problem;
use crate::report::status::Status;
use crate::report::{Log, Paint, Report};
use crate::vault::{Client, Observer, Patience};

/// A nightly run and its delay, and half a day to make good for one that failed.
const OLDEST_SUCCESS: u64 = 36 * 60 * 60;

/// A clock that was set back a little is no reason to distrust what was noted before.
const AHEAD: u64 = 60 * 60;

/// How long it waits for one answer, at most: a person waits for it.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long it tries again, at most: over a restart of a proxy, not of a server. The person asks again if need be.
const RETRY: Duration = Duration::from_secs(3);

/// What was asked for besides.
#[derive(Debug)]
pub(crate) struct Wishes {
    /// Send nothing.
    pub(crate) offline: bool,
    /// How many seconds the token must have left.
    pub(crate) min_ttl: Option<u64>,
    /// How the lines are coloured.
    pub(crate) paint: Paint,
    /// What may be wrong on purpose, by its stable names.
    pub(crate) ignore: Vec<String>,
}

/// Looks, tells, and returns the exit status.
///
/// `differences` is where shell and service differ.
pub(crate) fn status(
    around: &Surroundings<'_>,
    differences: Vec<Problem>,
    wishes: &Wishes,
    manner: Manner,
) -> u8 {
    let settings = around.settings;
    let report = report_of(around, manner);
    let status = match look(around, differences, wishes, &report) {
        Ok(found) => {
            let status =
                if manner.detailed_exitcode { found.detailed_exit_status() } else { found.exit_status() };
            report.status(&found, &settings.identity, status, wishes.paint);
            status
        }
        Err(fault) => {
            let outcome = Outcome::Failed(fault);
            let status =
                if manner.detailed_exitcode { outcome.detailed_exit_status() } else { outcome.exit_status() };
            let subject = Subject::new("status", settings, around.clock.seconds());
            report.outcome(subject, &outcome, None, None, status);
            status
        }
    };
    report.answered(status)
}

/// What `status` would tell of one of several tokens.
pub(crate) fn look_at(
    around: &Surroundings<'_>,
    differences: Vec<Problem>,
    wishes: &Wishes,
    manner: Manner,
) -> Result<Status, Failure> {
    look(around, differences, wishes, &report_of(around, manner))
}

fn report_of<'a>(around: &Surroundings<'a>, manner: Manner) -> Arc<Report<'a>> {
    let names = Names::of(around.settings);
    let report = Report::new(names, around.clock, Log::None, around.streams, manner.format);
    Arc::new(report.at(manner.volume).of_problems())
}

/// Looks, without a word but on what it waits for.
fn look(
    around: &Surroundings<'_>,
    differences: Vec<Problem>,
    wishes: &Wishes,
    report: &Arc<Report<'_>>,
) -> Result<Status, Failure> {
    let settings = around.settings;
    let request = around.connection.timeout.min(PATIENCE);
    let client = Client::new(
        around.connection,
        Patience { request, retry_for: settings.retry_for.min(RETRY), in_all: None },
        around.stop,
        Arc::clone(report) as Arc<dyn Observer + '_>,
    );
    let context = Context {
        settings,
        client: &client,
        minter: around.minter,
        clock: around.clock,
        // What a pass would warn of is among the problems.
        warn: &|_| (),
        line: &|_| String::new(),
        publish: &|_| (),
        progress: &|examined, total| report.has_examined(examined, total),
        stop: around.stop,
        next_run: &|| None,
        longest_walk: pass::LONGEST_WALK,
        longest_wait: Duration::ZERO,
        earlier: None,
    };
    let mut found = survived(|| gather(&context, wishes, around.runtime))?;
    if found.problems.iter().any(Problem::is_unaddressed) {
        found.problems.insert(0, Problem::Unaddressed);
    }
    found.problems.extend(differences);
    found.problems.sort_by_key(Problem::severity);
    found.ignore(&wishes.ignore);
    Ok(found)
}

/// Finds out all there is to know.
fn gather(context: &Context<'_>, wishes: &Wishes, runtime: &Path) -> Status {
    let settings = context.settings;
    let (state, unread) = pass::saved_state(context);
    let viewed = if wishes.offline { Ok(None) } else { pass::view(context).map(Some) };
    let (glance, trouble) = settings.token_file.glance();
    let now = context.clock.seconds();
    let timer =
        settings.units.as_ref().map_or_else(Timer::default, |units| timer::timer(&units.timer, runtime, now));
    let watch = watching::watching(&settings.token_file.real());
    let unit = |is: fn(&str, &Path) -> bool| {
        let name = settings.units.as_ref().and_then(|units| units.watch.as_ref());
        timer.state != TimerState::Unknown && name.is_some_and(|name| is(name, runtime))
    };
    let watch_is_a_unit = watch.is_some() && unit(timer::is_active);
    let watch_failed = watch.is_none() && unit(timer::has_failed);
    let (overdue_watch, watch) =
        (watch.filter(|watch| watch.is_overdue(now)), watch.filter(|watch| !watch.is_overdue(now)));
    let path_failed = timer.state != TimerState::Unknown
        && settings.units.as_ref().is_some_and(|units| timer::has_failed(&units.path, runtime));
    // Without a user manager there is nobody who could linger.
    let lingers = (timer.state != TimerState::Unknown).then(|| timer::lingers(&settings.user));
    let (view, failure) = match viewed {
        Ok(Some(view)) => (Some(view), None),
        // Where the server is not asked, the file is not read either; but what can be told without has to be right.
        Ok(None) => (None, trouble.map(Failure::TokenFile)),
        Err(failure) => (None, Some(failure)),
    };
    let mut history = state.history().clone();
    if failure.as_ref().is_some_and(Failure::leaves_nothing) {
        // What a pass saw is not what is in the file now.
        history.contents = Contents::NoToken;
    }
    let mut status = Status {
        now,
        address: context.client.address(),
        view,
        glance,
        history,
        sweep_due: state.is_sweep_due(),
        units: settings.units.clone(),
        timer,
        watch,
        overdue_watch,
        watch_is_a_unit,
        watch_failed,
        path_failed,
        lingers,
        problems: Vec::new(),
        ignored: Vec::new(),
    };
    status.problems = problems(&status, &state, failure, settings, wishes);
    match unread {
        Some(error) => {
            let path = State::place(&settings.state_directory, &settings.token_file.real());
            status.problems.push(Problem::StateUnread { path, error });
        }
        None => about_the_runs(&mut status),
    }
    status.problems.sort_by_key(Problem::severity);
    status
}

/// What is wrong, the worst first.
fn problems(
    status: &Status,
    state: &State,
    failure: Option<Failure>,
    settings: &Settings,
    wishes: &Wishes,
) -> Vec<Problem> {
    let mut problems = Vec::new();
    let unknown = failure.is_some();
    problems.extend(failure.map(Problem::Failed));
    match &status.view {
        Some(view) => about_the_token(&mut problems, view, &settings.identity, &status.history),
        None if wishes.offline && !unknown => remembered(&mut problems, status, &settings.identity),
        None => {}
    }
    match (wishes.min_ttl, status.end()) {
        (Some(least), End::At(end)) => {
            let left = end.saturating_sub(status.now);
            let renewal_helps = least < settings.identity.period;
            problems.extend((left < least).then_some(Problem::TooShort { left, least, renewal_helps }));
        }
        (Some(_), End::Unknown) if problems.is_empty() => problems.push(Problem::LifeUnknown),
        (Some(_), End::Never | End::Unknown) | (None, _) => {}
    }
    // Nobody mends the mode of somebody else's file.
    if let Some(glance) = status.glance.filter(|glance| glance.is_loose() && glance.is_own()) {
        problems.push(Problem::LooseMode(glance.mode));
    }
    problems.extend(settings.warnings.iter().filter_map(|warning| {
        Some(match warning {
            SettingsWarning::TokenVariableIgnored(name) | SettingsWarning::TokenVariableOfAgent(name) => {
                Problem::Shadowed(name.clone())
            }
            SettingsWarning::VerificationOff { switch, authorities } => {
                Problem::VerificationOff { switch: switch.clone(), authorities: authorities.clone() }
            }
            SettingsWarning::TokenHelper(file) => Problem::TokenHelper(file.clone()),
            // Of a unit alone, and nobody asks in one.
            SettingsWarning::ListenOverridden(_) => return None,
        })
    }));
    about_the_timer(&mut problems, status, &settings.user, granted(status));
    problems.extend(about_the_sweep(state, settings.sweep));
    problems
}

/// By the server's word.
fn about_the_token(problems: &mut Vec<Problem>, view: &View, identity: &Identity, history: &History) {
    let View { info, verdict, dying, authority, .. } = view;
    let able = match authority {
        Some(Authority::On(_)) => Some(true),
        Some(Authority::Lacking(_)) => Some(false),
        Some(Authority::Untold) | None => None,
    };
    match (verdict, *dying) {
        (Verdict::Foreign, _) => {
            let namesake = info.display_name == identity.display_name;
            problems.push(Problem::Foreign {
                display_name: info.display_name.clone(),
                lacks: namesake.then(|| identity.required_policy.clone()),
                able,
                was_refused: history.last_run.is_some_and(|run| run.ending == Ending::Drift)
                    && history.contents.held().is_some_and(|held| held.display_name == info.display_name),
            });
        }
        // Which is said below, for any token.
        (Verdict::Ours, Some(Dying::UseLimited)) => {}
        (Verdict::Ours, Some(Dying::NotOrphan)) => problems.push(Problem::NotOrphan { able }),
        (Verdict::Ours, None) if info.is_by_role() && info.period.unwrap_or(0) == 0 => {
            let (wanted, has) = (identity.period, info.creation_ttl.unwrap_or(identity.period));
            problems.extend((has != wanted).then_some(Problem::RolePeriod { has, wanted }));
        }
        (Verdict::Ours, Some(dying)) => problems.push(Problem::Dying { dying, able }),
        (Verdict::Ours, None) if info.period.unwrap_or(0) == 0 => {
            problems.push(Problem::NotPeriodic);
        }
        (Verdict::Ours, None) if info.period.is_some_and(|has| has > 0 && has != identity.period) => {
            let (has, wanted) = (info.period.unwrap_or(0), identity.period);
            problems.push(Problem::OtherPeriod { has, wanted });
        }
        (Verdict::Ours, None) => {
            // What a renewal was granted is the server's last word; before the first, what the mint was.
            let lease = history.contents.held().filter(|held| held.ours).and_then(|held| held.lease);
            problems.extend(capped(lease.or(info.creation_ttl), identity));
        }
    }
    problems.extend((view.renewal == Some(false)).then_some(Problem::MayNotRenew));
    let lacking: Vec<String> = identity.missing_policies(info).map(str::to_owned).collect();
    if *verdict == Verdict::Ours && !lacking.is_empty() {
        problems.push(Problem::PoliciesLacking(lacking));
    }
    if info.num_uses > 0 {
        problems.push(Problem::UseLimited(info.num_uses));
    }
    problems.extend(view.policies.iter().map(|(name, trouble)| match trouble {
        PolicyTrouble::Missing => Problem::PolicyMissing(name.clone()),
        PolicyTrouble::Unreadable(why) => Problem::PolicyUnreadable(name.clone(), why.clone()),
    }));
    if let Some((token, settings)) = view.elsewhere.clone() {
        problems.push(Problem::OtherNamespace { token, settings });
    }
    if !view.confirmed {
        problems.push(Problem::Unconfirmed);
    }
    // With a foreign token in the file nothing may be swept, and ours is among them.
    let stale = view.namesakes.map_or(0, |namesakes| namesakes.stale);
    if *verdict == Verdict::Ours && stale > 0 {
        problems.push(Problem::Stale(stale));
    }
}

/// By what the last pass saw.
fn remembered(problems: &mut Vec<Problem>, status: &Status, identity: &Identity) {
    let Status { history, now, .. } = status;
    match &history.contents {
        Contents::Held(held) => {
            match held.dying {
                _ if !held.ours => problems.push(Problem::Foreign {
                    display_name: held.display_name.clone(),
                    lacks: None,
                    able: history.last_run.filter(|run| run.ending == Ending::Drift).map(|_| false),
                    was_refused: false,
                }),
                Some(dying) => problems.push(Problem::Dying { dying, able: None }),
                None => problems.extend(capped(held.lease, identity)),
            }
            if let Some(at) = held.ends_at.filter(|end| end <= now) {
                problems.push(Problem::Ended { at });
            }
        }
        Contents::NoToken => problems.push(Problem::NoneSeen),
        // That no pass has run or succeeded yet is said elsewhere.
        Contents::Unknown => {}
    }
}

/// A token that is granted less than its period each time.
fn capped(granted: Option<u64>, identity: &Identity) -> Option<Problem> {
    let period = identity.period;
    granted.filter(|granted| *granted < period).map(|granted| Problem::Capped { granted, period })
}

/// Whether passes run, and succeed.
fn about_the_runs(status: &mut Status) {
    let Status { history, now, .. } = &*status;
    let Some(last_run) = history.last_run else {
        let installed = status.watch.is_none()
            && match status.timer.state {
                TimerState::On | TimerState::Off | TimerState::Masked | TimerState::Broken => true,
                TimerState::Absent | TimerState::Unknown => false,
            };
        status.problems.push(Problem::NeverRun(status.units.clone().filter(|_| installed)));
        return;
    };
    // One that lies ahead was noted while the clock was wrong, and says nothing.
    let fresh = |at: u64| at <= now.saturating_add(AHEAD) && now.saturating_sub(at) <= OLDEST_SUCCESS;
    if !history.last_success.is_some_and(fresh) {
        status.problems.push(Problem::SuccessTooOld(history.last_success));
    } else if !last_run.ending.is_good() {
        status.problems.push(Problem::LastFailed(last_run));
    }
}

/// Whether a sweep has still to be made.
fn about_the_sweep(state: &State, mode: SweepMode) -> Option<Problem> {
    match (state.due(), mode) {
        (Due::Nothing, _) => None,
        (Due::Sweep | Due::Denied, SweepMode::Off) => Some(Problem::SweepOff),
        (Due::Denied, SweepMode::Walk) => Some(Problem::SweepDenied),
        // What this machine remembers needs no listing.
        (Due::Denied, SweepMode::Remembered) | (Due::Sweep, _) => Some(Problem::SweepUnfinished),
    }
}

/// Whether the next run comes in time: before the token ends, and again before what a renewal is `granted` is over.
fn about_the_schedule(status: &Status, granted: Option<u64>) -> Option<Problem> {
    let (next, interval) = match (status.watch, status.timer) {
        // It comes again when half of what was granted is gone.
        (Some(watch), _) => (watch.next_run, None),
        (None, Timer { state: TimerState::On, next, interval, .. }) => (next, interval),
        (None, _) => return None,
    };
    if let (End::At(end), Some(next)) = (status.end(), next)
        && end > status.now
        && end <= next
    {
        let renewal_helps = granted.is_some_and(|granted| status.now.saturating_add(granted) > next);
        return Some(Problem::EndsBeforeNextRun { end, next, renewal_helps });
    }
    let (granted, interval) = (granted?, interval?);
    (granted <= interval).then_some(Problem::TooSeldom { granted, interval })
}

/// How many seconds the next renewal will grant our token, as far as can be told: no more than its lookup makes one
/// expect, and no more than the last one granted.
fn granted(status: &Status) -> Option<u64> {
    let view = status.view.as_ref().filter(|view| view.verdict == Verdict::Ours);
    // Without a period, nobody can tell what a renewal gives.
    let periodic = view.filter(|view| view.info.is_by_role() || view.info.period.is_some_and(|it| it > 0));
    let expected = periodic.map(|view| expected_lease(&view.info, status.now));
    let before = status.history.contents.held().filter(|held| held.ours).and_then(|held| held.lease);
    expected.into_iter().chain(before).min()
}

/// Whether anything starts passes by itself, and in time for a token that is `granted` so many seconds at a time.
fn about_the_timer(problems: &mut Vec<Problem>, status: &Status, user: &str, granted: Option<u64>) {
    let Status { timer, units, .. } = status;
    problems.extend(about_the_schedule(status, granted));
    if status.watch.is_some() {
        if status.lingers == Some(false) && status.watch_is_a_unit {
            problems.push(Problem::LingerOff { user: user.to_owned() });
        }
        return;
    }
    if let Some(watch) = status.overdue_watch {
        let unit = units.as_ref().and_then(|units| units.watch.clone()).filter(|_| status.watch_is_a_unit);
        problems.push(Problem::WatchOverdue { pid: watch.pid, unit });
    }
    let known = |state: TimerState| units.clone().filter(|_: &Units| timer.state == state);
    problems.extend(known(TimerState::Off).map(Problem::TimerOff));
    problems.extend(known(TimerState::Masked).map(Problem::TimerMasked));
    problems.extend(known(TimerState::Broken).map(Problem::TimerBroken));
    problems.extend(known(TimerState::Absent).map(|_| Problem::NoTimer));
    problems.extend(
        units
            .as_ref()
            .filter(|_| status.watch_failed)
            .and_then(|units| units.watch.clone())
            .map(Problem::WatchFailed),
    );
    if let Some(units) = units.clone().filter(|_| status.path_failed) {
        problems.push(Problem::PathUnitFailed(units));
    }
    if status.lingers == Some(false) && timer.state == TimerState::On {
        problems.push(Problem::LingerOff { user: user.to_owned() });
    }
}
