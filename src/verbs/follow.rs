//! The verb `follow`: a round again and again, in a process that stays; or once, for a timer.
//!
//! 1. Be the only one that keeps this file, and listen, if that is wanted.
//! 2. Make rounds until told to stop (`service`): at once, then at a fixed beat, and when somebody asks.
//! 3. Answer how it stands, and whether a signature is good, with what the last round left.

mod live;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;

use super::aside::Aside;
use super::once::Manner;
use super::seat::{Occupied, Place};
use super::survived::survived;
use crate::clock::Clock;
use crate::config::follow::FollowSettings;
use crate::facts::followed::{Kept, Refresh, Round};
use crate::facts::outcome::Outcome;
use crate::facts::warning::Warning;
use crate::follow::{self, Coming, Context, Memory};
use crate::local::followed::{Ledger, Owed, Replacement};
use crate::local::hook::{Event, Hook, HookFailure, HookOutput};
use crate::local::watching::Kind;
use crate::local::{log_file, staged};
use crate::report::follow::{Following, audit_line, standing_text};
use crate::report::names::Names;
use crate::report::streams::{Streams, Unhurried};
use crate::report::watch::{Stage, Staying};
use crate::report::{Log, Repeats, Report};
use crate::service::listener::{Allowed, Listener, Page, Pages, Request};
use crate::service::{self, Cause, Door, Duty, End, Next, Signals, Turn};
use crate::stop::Stop;
use crate::vault::{Client, ConnectionSettings, Observer, Patience};
use live::Live;

/// A round takes no longer than this, whatever the interval.
const LONGEST_ROUND: Duration = Duration::from_secs(10);

/// Who asks for a round again and again gets one in so long.
const ASKED_AFTER: Duration = Duration::from_secs(10);

/// After a failure nobody waits for longer until the next try, whatever the interval.
const AFTER_FAILURE: Duration = Duration::from_secs(60);

/// So many beats without a good fetch, and what is held is not to be trusted any more.
const BEATS: u32 = 3;

/// So often a hook is begun that never comes to its end: one that ends this very process would go on for ever.
const MOST_HOOKS: u8 = 3;

/// The exit status of a process that could not begin, or broke down.
const FAILED: u8 = 1;

/// The same with `--detailed-exitcode`, if another process is in the way.
const TEMPORARY: u8 = 75;

/// What a process needs that follows.
pub(crate) struct Household<R> {
    /// Brings the settings together as they are when it is called.
    pub(crate) resolve: R,
    /// Those it found the first time.
    pub(crate) settings: Arc<FollowSettings>,
    /// The way to the server that belongs to them.
    pub(crate) connection: ConnectionSettings,
    /// Where lines go.
    pub(crate) streams: Arc<Unhurried>,
    /// This machine's clock.
    pub(crate) clock: Clock,
    /// How rounds are told.
    pub(crate) manner: Manner,
}

/// Makes one round, and returns its exit status.
pub(crate) fn follow_once(
    settings: &FollowSettings,
    connection: &ConnectionSettings,
    streams: &dyn Streams,
    clock: Clock,
    manner: Manner,
) -> u8 {
    let stop = Stop::default();
    // Where signals cannot be heard, it ends without a word.
    let _heard = stop.on_signals();
    let report = report_of(settings, clock, streams, manner, None);
    let mut place = place_of(settings);
    let Ok(()) = sit_down(&mut place, settings, &report, clock, &stop) else { return occupied(manner) };
    for warning in &settings.warnings {
        report.warn(&Warning::Settings(warning.clone()));
    }
    let ledger = open_ledger(settings, connection, &report);
    tell(settings, &ledger, &report);
    let mut memory = Memory::at_start(settings, &ledger);
    let work = Work { settings, connection, clock, stop: &stop, report: &report, ledger: &ledger };
    let round = work.round(&|_| (), &mut memory);
    tell(settings, &ledger, &report);
    if let Some((hook, owed)) = hook_due(settings, &ledger) {
        run_hook(settings, hook, &owed, &ledger, &stop, &report);
    }
    report.round(following(settings), &round, true);
    if manner.detailed_exitcode { round.detailed_exit_status() } else { round.exit_status() }
}

/// Stays, and returns the exit status when it was told to stop, or cannot do any more.
pub(crate) fn follow<R>(household: Household<R>) -> u8
where
    R: Fn() -> Result<(FollowSettings, ConnectionSettings)> + Send + 'static,
{
    let (stop, settings) = (Stop::default(), Arc::clone(&household.settings));
    let (streams, clock, manner) = (Arc::clone(&household.streams), household.clock, household.manner);
    let repeats = Arc::<Repeats>::default();
    let report = report_of(&settings, clock, &*streams, manner, Some(&repeats));
    let staying = Staying { verb: "follow", file: &settings.out };
    let signals = match Signals::hear() {
        Ok(signals) => signals,
        Err(error) => {
            report.stage(staying, &Stage::CannotStay(&error));
            return FAILED;
        }
    };
    let mut place = place_of(&settings);
    let Ok(()) = sit_down(&mut place, &settings, &report, clock, &stop) else { return occupied(manner) };
    let listener = match settings.listen.as_ref().map(|place| (place, Listener::open(place))) {
        None => None,
        Some((_, Ok(listener))) => Some(listener),
        Some((place, Err(error))) => {
            report.stage(staying, &Stage::CannotListen { place: &place.to_string(), error: &error });
            return FAILED;
        }
    };
    let listens_at = listener.as_ref().map(|listener| listener.place().to_string());
    report.stage(staying, &Stage::Begun(listens_at.as_deref()));
    let ledger = Arc::new(open_ledger(&settings, &household.connection, &report));
    let memory = Memory::at_start(&settings, &ledger);
    let live = Arc::new(Live::new(&settings, &memory, BEATS * longest_beat(&settings), clock));
    let mut entrance = Entrance { live: &live, report: &report };
    let rounds = Rounds {
        place,
        ledger,
        memory,
        live: Arc::clone(&live),
        repeats: Arc::clone(&repeats),
        was_ok: None,
        aside: Aside::default(),
        hook_ordered: None,
        household,
    };
    match service::stay(rounds, &mut entrance, listener, signals, ASKED_AFTER, &stop) {
        Ok(End::Stopped) => {
            report.stage(staying, &Stage::Stopped(stop.signal()));
            0
        }
        Ok(End::Over(status)) => status,
        Ok(End::Broken) => {
            report.stage(staying, &Stage::Broken);
            FAILED
        }
        Err(error) => {
            report.stage(staying, &Stage::CannotStay(&error));
            FAILED
        }
    }
}

/// The exit status where another one keeps the file, which may be gone the next time.
fn occupied(manner: Manner) -> u8 {
    if manner.detailed_exitcode { TEMPORARY } else { FAILED }
}

fn report_of<'a>(
    settings: &'a FollowSettings,
    clock: Clock,
    streams: &'a dyn Streams,
    manner: Manner,
    repeats: Option<&'a Repeats>,
) -> Arc<Report<'a>> {
    let names = Names {
        home: &settings.home,
        token_file: settings.token_file.path(),
        token_file_said_by: settings.token_file_said_by.as_ref(),
        named_config: settings.named_config.as_deref(),
        named_token_file: settings.named_token_file.as_deref(),
        config_file: &settings.config_file,
        named_flags: &[],
        login: &settings.login,
        has_token_helper: false,
        named_runtime: None,
        profile: settings.named_config.as_ref().map(|_| settings.profile.as_str()),
    };
    let report = Report::new(names, clock, Log::File(settings.log_file.clone()), streams, manner.format);
    Arc::new(report.in_mind_of(repeats).at(manner.volume))
}

fn place_of(settings: &FollowSettings) -> Place {
    Place::of(follow::real(&settings.out), Kind::Follow)
}

/// Makes this process the only one that keeps the file, unless it is.
fn sit_down(
    place: &mut Place,
    settings: &FollowSettings,
    report: &Report<'_>,
    clock: Clock,
    stop: &Stop,
) -> Result<(), Occupied> {
    let staying = Staying { verb: "follow", file: &settings.out };
    if place.take(staying, report, clock, stop)? {
        let out = follow::real(&settings.out);
        // Nobody else stages a file there, so what lies there was left by a kill. It may hold a value.
        if let Err(error) = staged::remove_leftovers(&out, rustix::process::geteuid().as_raw()) {
            report.warn(&Warning::LeftoversRemain { file: out, error });
        }
    }
    Ok(())
}

/// What earlier processes have left of this file.
fn open_ledger(settings: &FollowSettings, connection: &ConnectionSettings, report: &Report<'_>) -> Ledger {
    let namespace = connection.namespace.iter().map(String::as_str);
    let secret = namespace.chain([settings.asked.path.as_str()]).collect::<Vec<_>>().join("/");
    let (ledger, spoilt) = Ledger::open(&settings.state_directory, &settings.out, &secret);
    if let Some(error) = spoilt {
        report.warn(&Warning::StateSpoilt { path: settings.state_directory.clone(), error });
    }
    ledger
}

fn following(settings: &FollowSettings) -> Following<'_> {
    Following {
        secret: &settings.asked.path,
        field: &settings.asked.field,
        out: &settings.out,
        deployment_hash: settings.deployment_hash.as_deref(),
    }
}

/// What a round is made with.
struct Work<'a> {
    settings: &'a FollowSettings,
    connection: &'a ConnectionSettings,
    clock: Clock,
    stop: &'a Stop,
    report: &'a Arc<Report<'a>>,
    ledger: &'a Ledger,
}

impl Work<'_> {
    /// One round, whose requests are bounded all together.
    fn round(&self, coming: &dyn Fn(Option<Coming<'_>>), memory: &mut Memory) -> Round {
        let Self { settings, connection, clock, stop, report, ledger } = *self;
        let limit = LONGEST_ROUND.min(settings.interval / 2);
        let patience =
            Patience { request: connection.timeout.min(limit), retry_for: limit, in_all: Some(limit) };
        let client = Client::new(connection, patience, stop, Arc::clone(report) as Arc<dyn Observer + '_>);
        let warn = |warning| report.warn(&warning);
        follow::round(
            &Context { settings, client: &client, clock, stop, ledger, warn: &warn, coming },
            memory,
        )
    }
}

/// Tells what was replaced, and writes it down; how many of them were rotations.
fn tell(settings: &FollowSettings, ledger: &Ledger, report: &Report<'_>) -> u64 {
    let mut rotations = 0;
    let mut done = Vec::new();
    for owed in ledger.owed() {
        if !owed.is_told {
            report.replacement(following(settings), &owed.replacement);
            rotations += u64::from(owed.replacement.why.is_rotation());
        }
        let is_audited = owed.is_audited || write_down(settings, &owed.replacement, report);
        done.push((owed.number, is_audited));
    }
    let settled = ledger.settle(|owed| {
        if let Some((_, is_audited)) = done.iter().find(|(number, _)| *number == owed.number) {
            (owed.is_told, owed.is_audited) = (true, *is_audited);
            owed.is_hooked |= hook_of(settings).is_none();
        }
    });
    noted(settings, settled, report);
    rotations
}

/// A line of the audit, where that is wanted; whether nothing is left to do about it.
fn write_down(settings: &FollowSettings, replacement: &Replacement, report: &Report<'_>) -> bool {
    let Some(path) = &settings.audit_log else { return true };
    match log_file::append(path, &audit_line(following(settings), replacement)) {
        Ok(()) => true,
        Err(error) => {
            report.warn(&Warning::LogUnwritable { path: path.clone(), error });
            false
        }
    }
}

/// What cannot be noted is done twice at worst.
fn noted(settings: &FollowSettings, note: std::io::Result<()>, report: &Report<'_>) {
    if let Err(error) = note {
        report.warn(&Warning::StateUnsaved { path: settings.state_directory.clone(), error });
    }
}

/// The deploy hook, if one is to be run.
fn hook_of(settings: &FollowSettings) -> Option<&Hook> {
    settings.hook.as_ref().filter(|hook| !hook.is_nested)
}

/// The deploy hook, and the last replacement that it was not run for, if there is one.
fn hook_due<'a>(settings: &'a FollowSettings, ledger: &Ledger) -> Option<(&'a Hook, Owed)> {
    hook_of(settings).zip(ledger.owed().into_iter().rfind(|owed| !owed.is_hooked))
}

/// Runs the hook. What becomes of it is told, and changes nothing; one that did not come to its end because somebody
/// wanted this process to end is left to the next one.
fn run_hook(
    settings: &FollowSettings,
    hook: &Hook,
    owed: &Owed,
    ledger: &Ledger,
    stop: &Stop,
    report: &Report<'_>,
) {
    // Of those before it, it is run for the last one.
    let note = |done: &dyn Fn(&mut Owed)| {
        let settled = ledger.settle(|other| {
            if other.number <= owed.number {
                done(other);
            }
        });
        noted(settings, settled, report);
    };
    if owed.hooks_begun >= MOST_HOOKS {
        report.warn(&Warning::HookGivenUp(owed.hooks_begun));
        return note(&|other| other.is_hooked = true);
    }
    let version = owed.replacement.new.map(|version| version.number);
    let event = Event::Rotated { file: &settings.out, version };
    if !stop.is_raised() {
        // Before it is begun: nothing of this process may be left a moment later.
        note(&|other| other.hooks_begun = other.hooks_begun.saturating_add(1));
    }
    let ran = hook.run(&event, HookOutput::Out, stop, || ());
    let is_put_off = matches!(ran, Err(HookFailure::PutOff | HookFailure::Stopped));
    if let Err(failure) = ran {
        report.warn(&Warning::Hook(failure));
    }
    if !is_put_off {
        note(&|other| other.is_hooked = true);
    }
}

/// The longest time between the beginnings of two rounds.
fn longest_beat(settings: &FollowSettings) -> Duration {
    settings.interval + settings.jitter.1
}

/// The work: rounds, and what is kept from one to the next.
struct Rounds<R> {
    household: Household<R>,
    place: Place,
    ledger: Arc<Ledger>,
    memory: Memory,
    live: Arc<Live>,
    repeats: Arc<Repeats>,
    /// Whether the last round ended well; none before the first.
    was_ok: Option<bool>,
    aside: Aside,
    /// The replacement for which the hook was ordered last.
    hook_ordered: Option<u64>,
}

impl<R> Duty for Rounds<R>
where
    R: Fn() -> Result<(FollowSettings, ConnectionSettings)> + Send + 'static,
{
    fn turn(&mut self, cause: Cause, stop: &Stop) -> Turn {
        let stale = self.refresh();
        let Self { household, place, ledger, memory, live, repeats, was_ok, aside, hook_ordered } = self;
        let (settings, clock, manner) = (&household.settings, household.clock, household.manner);
        let report = report_of(settings, clock, &*household.streams, manner, Some(repeats));
        let Ok(()) = sit_down(place, settings, &report, clock, stop) else {
            return Turn::good(Next::Over(occupied(manner)), None, false);
        };
        for warning in settings.warnings.iter().cloned().map(Warning::Settings).chain(stale) {
            report.warn(&warning);
        }
        // What the process before this one could not.
        live.count_rotations(tell(settings, ledger, &report));
        let began = clock.seconds();
        let work = Work { settings, connection: &household.connection, clock, stop, report: &report, ledger };
        let round = survived(|| work.round(&|coming| live.expect(coming), memory));
        let round = match round {
            Ok(round) => round,
            Err(fault) => {
                report.fault(&Outcome::Failed(fault));
                return Turn::good(Next::In(beat(settings, false)), None, false).in_vain();
            }
        };
        let is_ok = round.refresh() == Some(Refresh::Ok);
        let beat = beat(settings, is_ok);
        live.update(&round, memory);
        live.count_rotations(tell(settings, ledger, &report));
        report.round(following(settings), &round, *was_ok != Some(true));
        if !matches!(round.kept, Some(Kept::Stopped(_))) {
            *was_ok = Some(is_ok);
        }
        if let Some((_, owed)) = hook_due(settings, ledger)
            && hook_ordered.is_none_or(|number| number < owed.number)
        {
            *hook_ordered = Some(owed.number);
            let (settings, streams, repeats, ledger) = (
                Arc::clone(settings),
                Arc::clone(&household.streams),
                Arc::clone(repeats),
                Arc::clone(ledger),
            );
            let stop = stop.clone();
            aside.order(Box::new(move || {
                let report = report_of(&settings, clock, &*streams, manner, Some(&repeats));
                if let Some(hook) = hook_of(&settings) {
                    run_hook(&settings, hook, &owed, &ledger, &stop, &report);
                }
            }));
        }
        let status = standing_text(&round, memory.version, began.saturating_add(beat.as_secs()), clock);
        let turn = Turn::good(Next::In(beat), Some(status), round.holds());
        // Whoever changes the file again and again causes no hot loop.
        if cause == Cause::Changed { turn.in_vain() } else { turn }
    }
}

impl<R> Rounds<R>
where
    R: Fn() -> Result<(FollowSettings, ConnectionSettings)>,
{
    /// Takes the way to the server as the settings have it now, certificates included; all else needs a restart. If
    /// they cannot be used, the last good ones count, and it says why.
    fn refresh(&mut self) -> Option<Warning> {
        match (self.household.resolve)() {
            Ok((_, connection)) => self.household.connection = connection,
            Err(error) => return Some(Warning::SettingsKept(error)),
        }
        None
    }
}

/// How long after the beginning of a round the next one begins.
fn beat(settings: &FollowSettings, is_ok: bool) -> Duration {
    interval(settings.interval, is_ok) + jitter(settings.jitter, fastrand::f64())
}

/// The beat without what chance adds to it.
fn interval(set: Duration, is_ok: bool) -> Duration {
    if is_ok { set } else { set.min(AFTER_FAILURE) }
}

/// What chance adds to the interval. `dice` is from 0 to 1.
fn jitter((least, most): (Duration, Duration), dice: f64) -> Duration {
    least + most.saturating_sub(least).mul_f64(dice)
}

/// What is seen from outside.
struct Entrance<'a> {
    live: &'a Live,
    report: &'a Report<'a>,
}

impl Door for Entrance<'_> {
    fn has_changed(&mut self) -> bool {
        self.live.forget();
        self.live.has_changed()
    }
}

impl Pages for Entrance<'_> {
    fn allowed(&self, path: &str) -> Option<Allowed> {
        self.live.allowed(path)
    }

    fn page(&self, request: &Request<'_>) -> Option<Page> {
        let (page, refused) = self.live.page(request)?;
        if let Some(why) = refused {
            self.report.refused_signature(why);
        }
        Some(page)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_failure_it_tries_again_within_a_minute_and_never_sooner_than_it_should() {
        let [second, minute, hour] = [1, 60, 3600].map(Duration::from_secs);
        for (set, is_ok, expected) in [
            (hour, true, hour),
            (hour, false, minute),
            (minute, false, minute),
            (second, false, second),
            (second, true, second),
        ] {
            assert_eq!(interval(set, is_ok), expected, "{set:?} {is_ok}");
        }
    }

    #[test]
    fn chance_adds_no_more_and_no_less_than_it_may() {
        let span = (Duration::from_secs(5), Duration::from_secs(10));
        assert_eq!(
            [jitter(span, 0.0), jitter(span, 0.5), jitter(span, 1.0)],
            [5, 7, 10].map(|seconds| {
                if seconds == 7 { Duration::from_millis(7_500) } else { Duration::from_secs(seconds) }
            })
        );
    }
}
