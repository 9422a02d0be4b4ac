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
use super::survived::survived;
use crate::clock::Clock;
use crate::config::follow::FollowSettings;
use crate::facts::followed::{Kept, Refresh, Replacement, Round};
use crate::facts::outcome::Outcome;
use crate::facts::warning::Warning;
use crate::follow::{self, Context, Memory};
use crate::local::hook::{Event, HookFailure, HookOutput};
use crate::local::watching::{self, Kind, Seat, Taking};
use crate::local::{log_file, staged};
use crate::report::follow::{Following, audit_line, standing_text};
use crate::report::names::Names;
use crate::report::streams::{Streams, Unhurried};
use crate::report::watch::{Stage, Staying};
use crate::report::{Log, Repeats, Report};
use crate::secret::Followed;
use crate::service::listener::{Listener, Page, Pages, Request};
use crate::service::{self, Cause, Door, Duty, End, Next, Signals, Turn};
use crate::stop::Stop;
use crate::vault::{Client, ConnectionSettings, Observer, Patience};
use live::Live;

/// A round takes no longer than this, whatever the interval.
const LONGEST_ROUND: Duration = Duration::from_secs(10);

/// Who asks for a round again and again gets one in so long.
const ASKED_AFTER: Duration = Duration::from_secs(10);

/// So many beats without a good fetch, and what is held is not to be trusted any more.
const BEATS: u32 = 3;

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
    let Ok(_seat) = take_seat(settings, &report, clock, &stop) else { return occupied(manner) };
    for warning in &settings.warnings {
        report.warn(&Warning::Settings(warning.clone()));
    }
    let mut memory = Memory::at_start(settings);
    let round = make(settings, connection, clock, &stop, &report, &|_| (), &mut memory);
    if let Round::Replaced(replacement) = &round {
        write_down(settings, replacement, clock, &report);
        run_hook(settings, replacement, &stop, &report);
    }
    report.round(following(settings), &round, memory.held.is_some(), true);
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
    let Ok(seat) = take_seat(&settings, &report, clock, &stop) else { return occupied(manner) };
    let listener = match settings.listen.as_ref().map(|place| (place, Listener::open(place))) {
        None => None,
        Some((_, Ok(listener))) => Some(listener),
        Some((place, Err(error))) => {
            report.stage(staying, &Stage::CannotListen { place: &place.to_string(), error: &error });
            return FAILED;
        }
    };
    let place = listener.as_ref().map(|listener| listener.place().to_string());
    report.stage(staying, &Stage::Begun(place.as_deref()));
    let memory = Memory::at_start(&settings);
    let live = Arc::new(Live::new(&settings, &memory, BEATS * longest_beat(&settings), clock));
    let mut entrance = Entrance { live: &live, report: &report };
    let rounds = Rounds {
        memory,
        live: Arc::clone(&live),
        repeats: Arc::clone(&repeats),
        was_ok: None,
        aside: Aside::default(),
        _seat: seat,
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

/// The right to be the only one that keeps the file; none where it cannot be had. An error, which was told, where
/// another one has it.
fn take_seat(
    settings: &FollowSettings,
    report: &Report<'_>,
    clock: Clock,
    stop: &Stop,
) -> Result<Option<Seat>, ()> {
    let out = follow::real(&settings.out);
    match watching::take(&out, Kind::Follow, clock.seconds(), stop) {
        Ok(Taking::Taken(seat)) => {
            // Nobody else stages a file there, so what lies there was left by a kill. It may hold a value.
            if let Err(error) = staged::remove_leftovers(&out, rustix::process::geteuid().as_raw()) {
                report.warn(&Warning::LeftoversRemain { error });
            }
            Ok(Some(seat))
        }
        Ok(Taking::Occupied(other)) => {
            report.stage(Staying { verb: "follow", file: &settings.out }, &Stage::Occupied(other.pid));
            Err(())
        }
        Err(error) => {
            report.warn(&Warning::NoSeat { file: settings.out.clone(), error });
            Ok(None)
        }
    }
}

fn following(settings: &FollowSettings) -> Following<'_> {
    Following {
        secret: &settings.asked.path,
        field: &settings.asked.field,
        out: &settings.out,
        deployment_hash: settings.deployment_hash.as_deref(),
    }
}

/// One round, whose requests are bounded all together.
fn make(
    settings: &FollowSettings,
    connection: &ConnectionSettings,
    clock: Clock,
    stop: &Stop,
    report: &Arc<Report<'_>>,
    coming: &dyn Fn(Option<&Followed>),
    memory: &mut Memory,
) -> Round {
    let limit = LONGEST_ROUND.min(settings.interval / 2);
    let patience = Patience { request: connection.timeout.min(limit), retry_for: limit, in_all: Some(limit) };
    let client = Client::new(connection, patience, stop, Arc::clone(report) as Arc<dyn Observer + '_>);
    let warn = |error| report.warn(&Warning::DirectoryUnsynced { error });
    let context = Context { settings, client: &client, clock, stop, warn: &warn, coming };
    follow::round(&context, memory)
}

/// A line of the audit, where that is wanted.
fn write_down(settings: &FollowSettings, replacement: &Replacement, clock: Clock, report: &Report<'_>) {
    let Some(path) = &settings.audit_log else { return };
    let Some(line) = audit_line(following(settings), replacement, clock.seconds()) else { return };
    if let Err(error) = log_file::append(path, &line) {
        report.warn(&Warning::LogUnwritable { path: path.clone(), error });
    }
}

/// The deploy hook, if there is one. What becomes of it is told, and changes nothing.
fn run_hook(settings: &FollowSettings, replacement: &Replacement, stop: &Stop, report: &Report<'_>) {
    let Some(hook) = settings.hook.as_ref().filter(|hook| !hook.is_nested) else { return };
    let version = replacement.new.map(|version| version.number);
    let event = Event::Rotated { file: &settings.out, version };
    match hook.run(&event, HookOutput::Out, stop, || ()) {
        Ok(()) => {}
        // Nothing is noted of it, unlike that of a run.
        Err(HookFailure::PutOff) => report.warn(&Warning::HookNotRun),
        Err(failure) => report.warn(&Warning::Hook(failure)),
    }
}

/// The longest time between the beginnings of two rounds.
fn longest_beat(settings: &FollowSettings) -> Duration {
    settings.interval + settings.jitter.1
}

/// The work: rounds, and what is kept from one to the next.
struct Rounds<R> {
    household: Household<R>,
    memory: Memory,
    live: Arc<Live>,
    repeats: Arc<Repeats>,
    /// Whether the last round ended well; none before the first.
    was_ok: Option<bool>,
    aside: Aside,
    /// Held until the process ends.
    _seat: Option<Seat>,
}

impl<R> Duty for Rounds<R>
where
    R: Fn() -> Result<(FollowSettings, ConnectionSettings)> + Send + 'static,
{
    fn turn(&mut self, _: Cause, stop: &Stop) -> Turn {
        let stale = self.refresh();
        let Self { household, memory, live, repeats, was_ok, aside, .. } = self;
        let (settings, clock, manner) = (&household.settings, household.clock, household.manner);
        let report = report_of(settings, clock, &*household.streams, manner, Some(repeats));
        for warning in settings.warnings.iter().cloned().map(Warning::Settings).chain(stale) {
            report.warn(&warning);
        }
        let began = clock.seconds();
        let round = survived(|| {
            let coming = |value: Option<&Followed>| live.expect(value);
            make(settings, &household.connection, clock, stop, &report, &coming, memory)
        });
        let beat = settings.interval + jitter(settings.jitter, fastrand::f64());
        let next = Next::In(beat);
        let round = match round {
            Ok(round) => round,
            Err(fault) => {
                report.fault(&Outcome::Failed(fault));
                return Turn::good(next, None, false).in_vain();
            }
        };
        let is_ok = round.refresh() == Some(Refresh::Ok);
        live.update(&round, memory);
        if let Round::Replaced(replacement) = &round {
            write_down(settings, replacement, clock, &report);
        }
        report.round(following(settings), &round, memory.held.is_some(), *was_ok != Some(true));
        if !matches!(round, Round::Kept(Kept::Stopped(_))) {
            *was_ok = Some(is_ok);
        }
        let next_at = began.saturating_add(beat.as_secs());
        let status = Some(standing_text(&round, memory.version, next_at, clock));
        if let Round::Replaced(replacement) = round {
            let (settings, streams, repeats) =
                (Arc::clone(settings), Arc::clone(&household.streams), Arc::clone(repeats));
            let stop = stop.clone();
            aside.order(Box::new(move || {
                let report = report_of(&settings, clock, &*streams, manner, Some(&repeats));
                run_hook(&settings, &replacement, &stop, &report);
            }));
        }
        Turn::good(next, status, memory.held.is_some())
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
        false
    }
}

impl Pages for Entrance<'_> {
    fn takes_posts(&self, path: &str) -> bool {
        self.live.verifies(path)
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
