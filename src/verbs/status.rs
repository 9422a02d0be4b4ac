//! `status`: look, do not touch. The facts are gathered here, and held against what they should be.

use std::path::Path;

use crate::config::{Settings, SettingsWarning};
use crate::identity::{Identity, Verdict};
use crate::local::state::History;
use crate::local::timer::{self, Timer, TimerState, Units};
use crate::local::token_file::OTHERS;
use crate::pass::{self, Context};
use crate::report;
use crate::report::outcome::Failure;
use crate::report::status::{End, PolicyTrouble, Problem, Status, View};

/// A nightly run and its delay, and half a day to make good for one that failed.
const OLDEST_SUCCESS: u64 = 36 * 60 * 60;

/// What was asked for besides.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Wishes {
    /// Send nothing.
    pub(crate) offline: bool,
    /// How many seconds the token must have left.
    pub(crate) min_ttl: Option<u64>,
}

/// Finds out all there is to know. `runtime` is where the user manager listens.
pub(crate) fn status(context: &Context<'_>, wishes: Wishes, runtime: &Path) -> Status {
    let settings = context.settings;
    let state = pass::saved_state(context);
    let looked = if wishes.offline { Ok(None) } else { pass::view(context).map(Some) };
    let (access, inaccessible) = match settings.token_file.access() {
        Ok(access) => (Some(access), None),
        Err(error) => (None, Some(Failure::TokenFile(error))),
    };
    let timer =
        settings.units.as_ref().map_or_else(Timer::default, |units| timer::timer(&units.timer, runtime));
    // Without a user manager there is nobody who could linger.
    let lingers = (timer.state != TimerState::Unknown).then(|| timer::lingers(&settings.user));
    let (view, failure) = match looked {
        Ok(Some(view)) => (Some(view), None),
        // Where the server is not asked, the file is not read either; but it has to be there.
        Ok(None) => (None, inaccessible),
        Err(failure) => (None, Some(failure)),
    };
    let mut status = Status {
        now: context.clock.seconds(),
        address: context.client.address(),
        view,
        access,
        history: state.history().clone(),
        sweep_due: state.is_sweep_due(),
        last_line: report::last_line(&settings.log_file),
        units: settings.units.clone(),
        timer,
        lingers,
        problems: Vec::new(),
    };
    status.problems = problems(&status, failure, settings, wishes);
    status
}

/// What is wrong, the worst first.
fn problems(status: &Status, failure: Option<Failure>, settings: &Settings, wishes: Wishes) -> Vec<Problem> {
    let mut problems = Vec::new();
    let unknown = failure.is_some();
    problems.extend(failure.map(Problem::Failed));
    match &status.view {
        Some(view) => about_the_token(&mut problems, view, &settings.identity, &status.history),
        None if wishes.offline && !unknown => remembered(&mut problems, status),
        None => {}
    }
    if let (Some(least), End::At(end)) = (wishes.min_ttl, status.end()) {
        let left = end.saturating_sub(status.now);
        problems.extend((left < least).then_some(Problem::TooShort { left, least }));
    }
    if let Some((mode, _)) = status.access.filter(|(mode, _)| mode & OTHERS != 0) {
        problems.push(Problem::LooseMode(mode));
    }
    problems.extend(settings.warnings.iter().map(|warning| match warning {
        SettingsWarning::TokenVariableIgnored(name) => Problem::Shadowed(name.clone()),
        SettingsWarning::VerificationOff(name) => Problem::VerificationOff(name.clone()),
    }));
    about_the_runs(&mut problems, status, &settings.user);
    if status.sweep_due {
        problems.push(Problem::SweepUnfinished);
    }
    problems
}

/// By the server's word.
fn about_the_token(problems: &mut Vec<Problem>, view: &View, identity: &Identity, history: &History) {
    let View { info, verdict, dying, authority, .. } = view;
    let able = authority.as_ref().map(Result::is_ok);
    match (verdict, *dying) {
        (Verdict::Foreign, _) => {
            problems.push(Problem::Foreign { display_name: info.display_name.clone(), able });
        }
        (Verdict::Ours, Some(dying)) => problems.push(Problem::Dying { dying, able }),
        (Verdict::Ours, None) if info.period.unwrap_or(0) == 0 && !info.is_by_role() => {
            problems.push(Problem::NotPeriodic);
        }
        (Verdict::Ours, None) => {
            // What a renewal was granted is the server's last word; before the first, what the mint was.
            let lease = history.seen.as_ref().filter(|seen| seen.ours).and_then(|seen| seen.lease);
            let (granted, period) = (lease.or(info.creation_ttl), identity.period);
            if let Some(granted) = granted.filter(|granted| *granted < period) {
                problems.push(Problem::Capped { granted, period });
            }
        }
    }
    problems.extend(view.policies.iter().map(|(name, trouble)| match trouble {
        PolicyTrouble::Missing => Problem::PolicyMissing(name.clone()),
        PolicyTrouble::Unreadable(why) => Problem::PolicyUnreadable(name.clone(), why.clone()),
    }));
    if !view.confirmed {
        problems.push(Problem::Unconfirmed);
    }
    if let Some(stale) = view.namesakes.map(|namesakes| namesakes.stale).filter(|stale| *stale > 0) {
        problems.push(Problem::Stale(stale));
    }
}

/// By what the last pass saw.
fn remembered(problems: &mut Vec<Problem>, status: &Status) {
    match (&status.history.seen, status.history.last_run) {
        (Some(seen), _) => {
            if !seen.ours {
                problems.push(Problem::Foreign { display_name: seen.display_name.clone(), able: None });
            }
            if let Some(at) = seen.ends_at.filter(|end| *end <= status.now) {
                problems.push(Problem::Ended { at });
            }
        }
        (None, Some(_)) => problems.push(Problem::NoneSeen),
        // That nothing has run yet is said elsewhere.
        (None, None) => {}
    }
}

/// Whether passes run, and succeed.
fn about_the_runs(problems: &mut Vec<Problem>, status: &Status, user: &str) {
    let Status { history, timer, units, now, .. } = status;
    let known = |state: TimerState| units.clone().filter(|_: &Units| timer.state == state);
    problems.extend(known(TimerState::Off).map(Problem::TimerOff));
    problems.extend(known(TimerState::Absent).map(|_| Problem::NoTimer));
    if status.lingers == Some(false) && timer.state == TimerState::On {
        problems.push(Problem::LingerOff { user: user.to_owned() });
    }
    let Some(last_run) = history.last_run else {
        // A log without a state is one of an older program, or of one that could not save its state.
        if status.last_line.is_none() {
            let installed = matches!(timer.state, TimerState::On | TimerState::Off);
            problems.push(Problem::NeverRun(units.clone().filter(|_| installed)));
        }
        return;
    };
    let fresh = history.last_success.is_some_and(|at| now.saturating_sub(at) <= OLDEST_SUCCESS);
    if !fresh {
        problems.push(Problem::SuccessTooOld(history.last_success));
    } else if !last_run.ending.is_good() {
        problems.push(Problem::LastFailed(last_run));
    }
}
