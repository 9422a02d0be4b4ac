//! One whole run: what the timer starts, and what a verb that stays will start again and again.
//!
//! 1. Tell what the settings warn of.
//! 2. Do the work, or foresee it: a pass, or the verb `sweep`.
//! 3. Run the deploy hook, if it is due.
//! 4. Tell what came of it, and return the exit status.
//!
//! What belongs to one run (client, retry budget, secrets, warnings) is made here and ends here, so that the next
//! run in the same process begins like the first.

use super::surroundings::Surroundings;
use super::survived::survived;
use crate::config::Settings;
use crate::facts::forecast::Forecast;
use crate::facts::outcome::Outcome;
use crate::facts::warning::Warning;
use crate::local::history::{HeldToken, History};
use crate::local::hook::{Event, HookOutput};
use crate::local::timer;
use crate::pass::{self, Context, Finished, Work};
use crate::report::json::Subject;
use crate::report::metrics::Labels;
use crate::report::names::Names;
use crate::report::{Format, Log, Report};
use crate::vault::{Client, Patience};

/// How a run is made and told.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Manner {
    /// Change nothing, and tell what would happen.
    pub(crate) dry_run: bool,
    /// Whom the answer is for.
    pub(crate) format: Format,
    /// Whether the exit status tells outcomes apart.
    pub(crate) detailed_exitcode: bool,
}

/// Makes one run, and returns its exit status.
pub(crate) fn once(around: &Surroundings<'_>, work: Work, manner: Manner) -> u8 {
    let settings = around.settings;
    let log = if manner.dry_run { Log::None } else { Log::File(settings.log_file.clone()) };
    let report = Report::new(Names::of(settings), around.clock, log, around.streams, manner.format);
    for warning in &settings.warnings {
        report.warn(&Warning::Settings(warning.clone()));
    }
    let patience = Patience { request: around.connection.timeout, retry_for: settings.retry_for };
    let client = Client::new(around.connection, patience, around.stop);
    let context = Context {
        settings,
        client: &client,
        minter: around.minter,
        clock: around.clock,
        warn: &|warning| report.warn(&warning),
        publish: &|history| publish(settings, &report, history),
        stop: around.stop,
        next_run: &|| next_run(around),
    };
    // Told to stop, a run ends in order and says so. Where signals cannot be heard, it ends without a word, as before.
    let _heard = (!manner.dry_run).then(|| around.stop.on_signals());
    let status = if manner.dry_run {
        let forecast = survived(|| pass::forecast(&context, work)).unwrap_or_else(Forecast::Failed);
        tell_forecast(around, &report, work, manner, &forecast)
    } else {
        let Finished { outcome, held, hook_due } =
            survived(|| pass::run(&context, work)).unwrap_or_else(Finished::from);
        if let Some(held) = held.as_ref().filter(|_| hook_due) {
            run_hook(around, &report, &context, held);
        }
        tell_outcome(around, &report, work, manner, &outcome, held.as_ref())
    };
    report.answered(status)
}

/// In how many seconds the timer starts the next run, where there is one and it says so.
fn next_run(around: &Surroundings<'_>) -> Option<u64> {
    let timer = &around.settings.units.as_ref()?.timer;
    timer::next_run(timer, around.runtime, around.clock.seconds())
}

/// The stable name of what a run is for.
fn verb(work: Work) -> &'static str {
    match work {
        Work::Pass => "pass",
        Work::Sweep => "sweep",
    }
}

fn tell_outcome(
    around: &Surroundings<'_>,
    report: &Report<'_>,
    work: Work,
    manner: Manner,
    outcome: &Outcome,
    held: Option<&HeldToken>,
) -> u8 {
    let status =
        if manner.detailed_exitcode { outcome.detailed_exit_status() } else { outcome.exit_status() };
    let subject = Subject::new(verb(work), around.settings, around.clock.seconds());
    report.outcome(subject, outcome, held, status);
    status
}

fn tell_forecast(
    around: &Surroundings<'_>,
    report: &Report<'_>,
    work: Work,
    manner: Manner,
    forecast: &Forecast,
) -> u8 {
    let settings = around.settings;
    let status =
        if manner.detailed_exitcode { forecast.detailed_exit_status() } else { forecast.exit_status() };
    let has_hook = settings.hook.as_ref().is_some_and(|hook| !hook.is_nested);
    let subject = Subject::new(verb(work), settings, around.clock.seconds());
    report.forecast(subject, forecast, settings.sweep, has_hook, status);
    status
}

/// Writes the figures where they are wanted.
fn publish(settings: &Settings, report: &Report<'_>, history: &History) {
    if let Some(path) = &settings.metrics_file {
        report.metrics(path, Labels { profile: &settings.profile, user: &settings.user }, history);
    }
}

/// Runs the deploy hook, if there is one. The locks are given back by now: a hook may look at the token with this
/// very program. What becomes of it is reported, and changes nothing: the token file holds our token.
fn run_hook(around: &Surroundings<'_>, report: &Report<'_>, context: &Context<'_>, held: &HeldToken) {
    let Some(hook) = &around.settings.hook else { return };
    let event = Event {
        token_file: around.settings.token_file.path(),
        display_name: &held.display_name,
        ttl: held.ends_at.map_or(0, |end| end.saturating_sub(around.clock.seconds())),
    };
    let output = match report.format() {
        Format::Lines => HookOutput::Out,
        Format::Json => HookOutput::Err,
    };
    if let Err(failure) = hook.run(&event, output, around.stop, || pass::hook_has_begun(context)) {
        report.warn(&Warning::Hook(failure));
    }
}

#[cfg(test)]
mod tests;
