//! One whole run: what the timer starts, and what a verb that stays starts again and again.
//!
//! 1. Tell what the settings warn of.
//! 2. Do the work, or foresee it: a pass, or the verb `sweep`.
//! 3. Run the deploy hook, if it is due. A process that stays leaves that to another thread.
//! 4. Tell what came of it, and return the exit status.
//!
//! What belongs to one run (client, retry budget, secrets, warnings) is made here and ends here, so that the next
//! run in the same process begins like the first.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::surroundings::Surroundings;
use super::survived::survived;
use crate::clock::Clock;
use crate::config::Settings;
use crate::facts::forecast::Forecast;
use crate::facts::sequel::Sequel;
use crate::facts::warning::Warning;
use crate::local::history::{HeldToken, History};
use crate::local::hook::{Event, HookOutput};
use crate::local::{timer, watching};
use crate::pass::{self, Context, Finished, Work};
use crate::report::json::Subject;
use crate::report::metrics::Labels;
use crate::report::names::Names;
use crate::report::{Format, Log, Report, Volume};
use crate::stop::Stop;
use crate::vault::{Client, Observer};

/// How a run is made and told.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Manner {
    /// Change nothing, and tell what would happen.
    pub(crate) dry_run: bool,
    /// Whom the answer is for.
    pub(crate) format: Format,
    /// Whether the exit status tells outcomes apart.
    pub(crate) detailed_exitcode: bool,
    /// How much is told to whoever reads along.
    pub(crate) volume: Volume,
}

/// Makes one run, and returns its exit status.
pub(crate) fn once(around: &Surroundings<'_>, work: Work, manner: Manner) -> u8 {
    // Told to stop, a run ends in order and says so. Where signals cannot be heard, it ends without a word, as before.
    let _heard = (!manner.dry_run).then(|| around.stop.on_signals());
    let run = Run::begin(around, work, manner);
    if manner.dry_run {
        let forecast = run.foresee();
        run.tell_forecast(&forecast)
    } else {
        let finished = run.make();
        if let Some(held) = finished.held.as_ref().filter(|_| finished.hook_due) {
            let warn = |warning| run.warn(&warning);
            deploy(around.settings, held, around.clock, manner.format, around.stop, &warn);
        }
        run.tell(&finished, None)
    }
}

/// One run, from its first warning to its line.
pub(crate) struct Run<'a> {
    around: &'a Surroundings<'a>,
    work: Work,
    manner: Manner,
    client: Client<'a>,
    report: Arc<Report<'a>>,
    /// The token file behind its name, by which a `watch` of it is found.
    token_file: PathBuf,
}

impl<'a> Run<'a> {
    /// Begins it, and tells what the settings warn of.
    pub(crate) fn begin(around: &'a Surroundings<'a>, work: Work, manner: Manner) -> Self {
        let settings = around.settings;
        let log = if manner.dry_run { Log::None } else { Log::File(settings.log_file.clone()) };
        let report = Report::new(Names::of(settings), around.clock, log, around.streams, manner.format)
            .in_mind_of(around.repeats)
            .at(manner.volume);
        let report = Arc::new(report);
        for warning in &settings.warnings {
            report.warn(&Warning::Settings(warning.clone()));
        }
        let client = {
            let observer = Arc::clone(&report) as Arc<dyn Observer>;
            Client::new(around.connection, around.pace.patience, around.stop, observer)
        };
        Self { around, work, manner, client, report, token_file: settings.token_file.real() }
    }

    /// Does the work.
    pub(crate) fn make(&self) -> Finished {
        self.in_context(|context| survived(|| pass::run(context, self.work)).unwrap_or_else(Finished::from))
    }

    /// Thinks the work through.
    fn foresee(&self) -> Forecast {
        self.in_context(|context| {
            survived(|| pass::forecast(context, self.work)).unwrap_or_else(Forecast::Failed)
        })
    }

    /// Tells something that arose beside the work.
    pub(crate) fn warn(&self, warning: &Warning) {
        self.report.warn(warning);
    }

    fn in_context<T>(&self, work: impl FnOnce(&Context<'_>) -> T) -> T {
        let around = self.around;
        work(&Context {
            settings: around.settings,
            client: &self.client,
            minter: around.minter,
            clock: around.clock,
            warn: &|warning| self.report.warn(&warning),
            line: &|outcome| self.report.line(outcome),
            publish: &|history| self.publish(history),
            progress: &|examined, total| self.report.has_examined(examined, total),
            stop: around.stop,
            next_run: &|| next_run(around, &self.token_file),
            longest_walk: around.pace.walk,
            longest_wait: around.pace.wait,
            earlier: around.earlier,
        })
    }

    /// Tells what came of it, and what comes next where that is known, and returns the exit status.
    pub(crate) fn tell(&self, finished: &Finished, sequel: Option<Sequel>) -> u8 {
        let Finished { outcome, held, .. } = finished;
        let detailed = self.manner.detailed_exitcode;
        let status = if detailed { outcome.detailed_exit_status() } else { outcome.exit_status() };
        self.report.outcome(self.subject(), outcome, held.as_ref(), sequel, status);
        self.report.answered(status)
    }

    fn tell_forecast(&self, forecast: &Forecast) -> u8 {
        let settings = self.around.settings;
        let detailed = self.manner.detailed_exitcode;
        let status = if detailed { forecast.detailed_exit_status() } else { forecast.exit_status() };
        let has_hook = settings.hook.as_ref().is_some_and(|hook| !hook.is_nested);
        self.report.forecast(self.subject(), forecast, settings.sweep, has_hook, status);
        self.report.answered(status)
    }

    fn subject(&self) -> Subject<'_> {
        Subject::new(verb(self.work), self.around.settings, self.around.clock.seconds())
    }

    /// Writes the figures where they are wanted.
    fn publish(&self, history: &History) {
        let settings = self.around.settings;
        if let Some(path) = &settings.metrics_file {
            let labels = Labels { profile: &settings.profile, user: &settings.user };
            self.report.metrics(path, labels, history);
        }
    }
}

/// Runs the deploy hook, if there is one, for the token that is `held` now. The locks are given back by then: a hook
/// may look at the token with this very program. What becomes of it is reported, and changes nothing: the token file
/// holds our token.
pub(crate) fn deploy(
    settings: &Settings,
    held: &HeldToken,
    clock: Clock,
    format: Format,
    stop: &Stop,
    warn: &dyn Fn(Warning),
) {
    let Some(hook) = &settings.hook else { return };
    let event = Event::Healed {
        token_file: settings.token_file.path(),
        display_name: &held.display_name,
        ttl: held.ends_at.map_or(0, |end| end.saturating_sub(clock.seconds())),
    };
    let output = match format {
        Format::Lines => HookOutput::Out,
        Format::Json => HookOutput::Err,
    };
    if let Err(failure) = hook.run(&event, output, stop, || pass::hook_has_begun(settings, stop, warn)) {
        warn(Warning::Hook(failure));
    }
}

/// In how many seconds the next run comes, where somebody says so: this very process, a `watch` that lives, or the
/// timer; the first of them.
fn next_run(around: &Surroundings<'_>, token_file: &Path) -> Option<u64> {
    if let Some(length) = around.pace.comes_again {
        return Some(length.as_secs());
    }
    let (settings, now) = (around.settings, around.clock.seconds());
    let watch = watching::watching(token_file);
    let watch = watch.filter(|watch| !watch.is_overdue(now));
    let watch = watch.and_then(|watch| watch.next_run).map(|at| at.saturating_sub(now));
    let timer = settings.units.as_ref();
    let timer = timer.and_then(|units| timer::next_run(&units.timer, around.runtime, now));
    watch.into_iter().chain(timer).min()
}

/// The stable name of what a run is for.
fn verb(work: Work) -> &'static str {
    match work {
        Work::Pass => "pass",
        Work::Sweep => "sweep",
    }
}

#[cfg(test)]
mod tests;
