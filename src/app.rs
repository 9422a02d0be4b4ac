//! The one place that wires things: settings → verb → report → exit status.

use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::cli::{CommandLine, Verb};
use crate::clock::Clock;
use crate::config::{self, Environment, Settings, SweepMode};
use crate::facts::failure::Failure;
use crate::facts::forecast::Forecast;
use crate::facts::outcome::Outcome;
use crate::facts::warning::Warning;
use crate::local::history::{HeldToken, History};
use crate::local::hook::{Event, HookOutput};
use crate::pass::{self, Aftermath, Context};
use crate::report;
use crate::report::json::Subject;
use crate::report::metrics::Labels;
use crate::report::names::Names;
use crate::report::{Format, Log, Paint, Report};
use crate::vault::Client;
use crate::verbs::status::{Wishes, status};

/// The exit status of a usage or settings error.
const USAGE: u8 = 2;

/// How long `status` waits for one answer, at most.
const STATUS_PATIENCE: Duration = Duration::from_secs(10);

/// How long `status` tries again, at most: over a restart of a proxy, not of a server.
const STATUS_RETRY: Duration = Duration::from_secs(3);

/// Runs what the command line asks for and returns the exit status.
pub(crate) fn run(command: &CommandLine, environment: &Environment, clock: Clock, host: &str) -> u8 {
    // A value that is not UTF-8 cannot be the device and inode it would have to be.
    let journal = environment.get("JOURNAL_STREAM").ok().flatten().map(|variable| variable.value);
    match act(command, environment, clock, host, journal.as_deref()) {
        Ok(status) => status,
        Err(error) => {
            report::usage_error(&error, USAGE, journal.as_deref(), format(command));
            USAGE
        }
    }
}

fn format(command: &CommandLine) -> Format {
    if command.mode.json { Format::Json } else { Format::Lines }
}

fn act(
    command: &CommandLine,
    environment: &Environment,
    clock: Clock,
    host: &str,
    journal: Option<&str>,
) -> Result<u8> {
    let (settings, connection) = Settings::resolve(&command.settings, environment)?;
    let sweeps = matches!(command.verb, Some(Verb::Sweep));
    if sweeps && settings.sweep == SweepMode::Off {
        bail!("the sweep is switched off in the settings; to sweep all the same: --sweep walk");
    }
    let names = Names {
        home: &settings.home,
        token_file: settings.token_file.path(),
        named_config: settings.named_config.as_deref(),
        named_token_file: settings.named_token_file.as_deref(),
        named_flags: &settings.named_flags,
    };
    let log = match command.verb {
        None | Some(Verb::Sweep) if !command.mode.dry_run => Log::File(settings.log_file.clone()),
        None | Some(Verb::Sweep | Verb::Status(_)) => Log::None,
    };
    let report = Report::new(names, clock, log, journal, format(command));
    // A person waits for what status says, and asks again if need be.
    let (connection, retry_for) = match command.verb {
        Some(Verb::Status(_)) => (connection.within(STATUS_PATIENCE), settings.retry_for.min(STATUS_RETRY)),
        None | Some(Verb::Sweep) => (connection, settings.retry_for),
    };
    let client = Client::new(connection, retry_for);
    let aftermath = RefCell::new(Aftermath::default());
    let context = Context {
        settings: &settings,
        client: &client,
        host,
        clock,
        warn: &|warning| report.warn(&warning),
        publish: &|history| publish(&settings, &report, history),
        aftermath: &aftermath,
    };
    let detailed = command.mode.detailed_exitcode;
    let subject = |verb| Subject {
        verb,
        identity: &settings.identity,
        token_file: settings.token_file.path(),
        now: clock.seconds(),
    };
    let conclude = |verb, outcome: &Outcome, held: Option<&HeldToken>| {
        let status = if detailed { outcome.detailed_exit_status() } else { outcome.exit_status() };
        report.outcome(subject(verb), outcome, held, status);
        report.answered(status)
    };
    if let Some(Verb::Status(flags)) = &command.verb {
        let min_ttl = flags.min_ttl.as_deref().map(config::min_ttl).transpose()?;
        let wishes = Wishes { offline: flags.offline, min_ttl };
        let runtime = environment.user_runtime_directory();
        // What a pass would warn of is among the problems.
        let context = Context { warn: &|_| (), ..context };
        let found = match survived(|| status(&context, wishes, &runtime)) {
            Ok(found) => found,
            Err(fault) => return Ok(conclude("status", &Outcome::Failed(fault), None)),
        };
        let exit_status = if detailed { found.detailed_exit_status() } else { found.exit_status() };
        let unwanted = environment.is_set("NO_COLOR") || environment.is_dumb();
        report.status(&found, &settings.identity, exit_status, Paint::of_stdout(unwanted));
        return Ok(report.answered(exit_status));
    }
    for warning in &settings.warnings {
        report.warn(&Warning::Settings(warning.clone()));
    }
    let verb = if sweeps { "sweep" } else { "pass" };
    if command.mode.dry_run {
        let forecast =
            survived(|| if sweeps { pass::forecast_sweep(&context) } else { pass::forecast(&context) })
                .unwrap_or_else(Forecast::Failed);
        let status = if detailed { forecast.detailed_exit_status() } else { forecast.exit_status() };
        let has_hook = settings.hook.as_ref().is_some_and(|hook| !hook.is_nested);
        let lines = report::forecast_lines(&forecast, &names, &settings.identity, settings.sweep, has_hook);
        report.forecast(subject(verb), &forecast, &lines, status);
        return Ok(report.answered(status));
    }
    let outcome = survived(|| if sweeps { pass::sweep_now(&context) } else { pass::run(&context) })
        .unwrap_or_else(Outcome::Failed);
    let Aftermath { held, hook_due } = aftermath.take();
    if let Some(held) = held.as_ref().filter(|_| hook_due) {
        tell_hook(&settings, &report, held, clock);
    }
    Ok(conclude(verb, &outcome, held.as_ref()))
}

/// Writes the figures where they are wanted.
fn publish(settings: &Settings, report: &Report<'_>, history: &History) {
    if let Some(path) = &settings.metrics_file {
        report.metrics(path, Labels { profile: &settings.profile, user: &settings.user }, history);
    }
}

/// Runs the deploy hook, if there is one. The locks are given back by now: a hook may look at the token with this
/// very program. What becomes of it is reported, and changes nothing: the token file holds our token.
fn tell_hook(settings: &Settings, report: &Report<'_>, held: &HeldToken, clock: Clock) {
    let Some(hook) = &settings.hook else { return };
    let event = Event {
        token_file: settings.token_file.path(),
        display_name: &held.display_name,
        ttl: held.ends_at.map_or(0, |end| end.saturating_sub(clock.seconds())),
    };
    let output = match report.format() {
        Format::Lines => HookOutput::Out,
        Format::Json => HookOutput::Err,
    };
    if let Err(failure) = hook.run(&event, output) {
        report.warn(&Warning::Hook(failure));
    }
}

/// Makes a panic a failure like any other: one line in the log, and no word of what a panic's own message
/// might hold. Locks are given back and staged files removed on the way here.
fn survived<T>(work: impl FnOnce() -> T) -> Result<T, Failure> {
    static PLACE: Mutex<String> = Mutex::new(String::new());
    let usual = panic::take_hook();
    panic::set_hook(Box::new(|panic| {
        if let (Some(place), Ok(mut first)) = (panic.location(), PLACE.lock())
            && first.is_empty()
        {
            *first = place.to_string();
        }
    }));
    let done = panic::catch_unwind(AssertUnwindSafe(work));
    panic::set_hook(usual);
    done.map_err(|_| {
        let place = PLACE.lock().map(|place| place.clone()).unwrap_or_default();
        Failure::Internal { place }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_a_failure_without_its_message() {
        let fault = survived(|| -> () { panic!("with a secret in it") });
        let Err(Failure::Internal { place }) = fault else { panic!("{fault:?}") };
        assert!(place.starts_with("src/app.rs:"), "{place}");
    }
}
