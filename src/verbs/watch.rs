//! The verb `watch`: the run of the timer, again and again, in a process that stays.
//!
//! 1. Be the only one that stays with this token file, and listen, if that is wanted.
//! 2. Make runs until told to stop (`service`): at once; when half of what was granted is gone; when the token file
//!    holds another token; when somebody asks. Each resolves its settings anew.
//! 3. Plan the next one by what this one came to.
//!
//! It decides when a run is made, and nothing that a run does: that is `once`.

mod hooks;
mod live;
mod plan;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;

use super::aside::Aside;
use super::once::{Manner, Run};
use super::pages;
use super::seat::Place;
use super::surroundings::{Pace, Surroundings};
use crate::clock::Clock;
use crate::config::Settings;
use crate::facts::sequel::Sequel;
use crate::facts::warning::Warning;
use crate::identity::Minter;
use crate::local::glance::Likeness;
use crate::local::history::{History, LastRun};
use crate::local::state::State;
use crate::local::token_file::Looseness;
use crate::local::watching::{Kind, Watching};
use crate::pass::{LONGEST_WALK, Work};
use crate::report::names::Names;
use crate::report::streams::Unhurried;
use crate::report::watch::{Stage, Staying, standing_text};
use crate::report::{Log, Repeats, Report};
use crate::secret::Fingerprint;
use crate::service::listener::{Allowed, Listener, Page, Pages, Request};
use crate::service::{self, Cause, Door, Duty, End, FLOOR, Moment, Next, Signals, Turn, patience};
use crate::stop::Stop;
use crate::vault::{ConnectionSettings, Patience};
use hooks::DueHook;
use live::Live;
use plan::Plan;

/// No request of a run waits for longer than this, and no run repeats its requests for longer: the first has to end
/// for the service to be ready.
const LONGEST_PATIENCE: Duration = Duration::from_secs(30);

/// Two runs at the floor have to fit into a lease, or one that fails costs the token.
const BRIEF: Duration = FLOOR.saturating_mul(2);

/// The exit status of a process that could not begin, or broke down.
const FAILED: u8 = 1;

/// The same with `--detailed-exitcode`, if another process is in the way: it may be gone the next time.
const TEMPORARY: u8 = 75;

/// What a process needs that makes one run after the other.
pub(crate) struct Household<R> {
    /// Brings the settings together as they are when it is called.
    pub(crate) resolve: R,
    /// Those it found the first time.
    pub(crate) settings: Arc<Settings>,
    /// The way to the server that belongs to them.
    pub(crate) connection: ConnectionSettings,
    /// Where and for whom tokens are minted.
    pub(crate) minter: Minter,
    /// Where lines go.
    pub(crate) streams: Arc<Unhurried>,
    /// This machine's clock.
    pub(crate) clock: Clock,
    /// Where the user manager listens.
    pub(crate) runtime: PathBuf,
    /// How each run is made and told.
    pub(crate) manner: Manner,
}

/// Stays, and returns the exit status when it was told to stop, or cannot do any more.
pub(crate) fn watch<R>(household: Household<R>) -> u8
where
    R: Fn() -> Result<(Settings, ConnectionSettings)> + Send + 'static,
{
    let (stop, settings) = (Stop::default(), Arc::clone(&household.settings));
    let (streams, clock, manner) = (Arc::clone(&household.streams), household.clock, household.manner);
    let log = Log::File(settings.log_file.clone());
    let report = Report::new(Names::of(&settings), clock, log, &*streams, manner.format).at(manner.volume);
    let staying = Staying { verb: "watch", file: settings.token_file.path() };
    // Before it says that it has started: whoever reads that may send one.
    let signals = match Signals::hear() {
        Ok(signals) => signals,
        Err(error) => {
            report.stage(staying, &Stage::CannotStay(&error));
            return FAILED;
        }
    };
    let token_file = settings.token_file.real();
    let mut place = Place::of(token_file.clone(), Kind::Watch);
    let Ok(_) = place.take(staying, &report, clock, &stop) else { return occupied(manner) };
    let listener = match settings.watch.listen.as_ref().map(|place| (place, Listener::open(place))) {
        None => None,
        Some((_, Ok(listener))) => Some(listener),
        Some((place, Err(error))) => {
            report.stage(staying, &Stage::CannotListen { place: &place.to_string(), error: &error });
            return FAILED;
        }
    };
    report.stage(
        staying,
        &Stage::Begun(listener.as_ref().map(|listener| listener.place().to_string()).as_deref()),
    );
    let (state, _) = State::load(&settings.state_directory, &token_file);
    let history = state.history().clone();
    let live = Arc::new(Live::new(&settings, history.clone(), clock));
    let mut entrance = Entrance {
        token_file: settings.token_file.path(),
        // What is there now is for the first run; whatever comes after this moment is a change.
        likeness: Likeness::of(settings.token_file.path()),
        live: &live,
    };
    let runs = Runs {
        place,
        live: Arc::clone(&live),
        token: None,
        plan: remembered(&settings, &history, clock),
        repeats: Arc::default(),
        history,
        aside: Some(Aside::default()),
        household,
    };
    match service::stay(runs, &mut entrance, listener, signals, Duration::ZERO, &stop) {
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

/// The work: runs, and what is kept from one to the next.
struct Runs<R> {
    household: Household<R>,
    place: Place,
    live: Arc<Live>,
    /// The token that the last run left in the token file.
    token: Option<Fingerprint>,
    plan: Plan,
    repeats: Arc<Repeats>,
    /// How the runs went so far.
    history: History,
    /// Where hooks run, until it ends.
    aside: Option<Aside>,
}

impl<R> Duty for Runs<R>
where
    R: Fn() -> Result<(Settings, ConnectionSettings)> + Send + 'static,
{
    fn turn(&mut self, cause: Cause, stop: &Stop) -> Turn {
        let found = self.token_in_file();
        // Its own write looks like a change, and so do a chmod and a touch: the token decides, where there is one.
        if cause == Cause::Changed && found.is_some() && found == self.token {
            return Turn::good(Next::AsPlanned, None, true);
        }
        let stale = self.refresh();
        self.takes_note_of(found);
        let Self { household, place, live, plan, repeats, history, .. } = self;
        let (settings, clock, manner) = (&household.settings, household.clock, household.manner);
        {
            let log = Log::File(settings.log_file.clone());
            let report = Report::new(Names::of(settings), clock, log, &*household.streams, manner.format)
                .in_mind_of(Some(repeats))
                .at(manner.volume);
            let staying = Staying { verb: "watch", file: settings.token_file.path() };
            let Ok(_) = place.take(staying, &report, clock, stop) else {
                return Turn::good(Next::Over(occupied(manner)), None, false);
            };
        }
        let (began, began_at) = (Moment::now(), clock.seconds());
        place.note(Watching { at_work_since: Some(began_at), ..Watching::default() });
        let around = Surroundings {
            settings,
            connection: &household.connection,
            streams: &*household.streams,
            clock,
            minter: &household.minter,
            runtime: &household.runtime,
            stop,
            pace: pace(settings, &household.connection, plan.granted()),
            repeats: Some(&**repeats),
            earlier: Some(&*history),
        };
        let run = Run::begin(&around, Work::Pass, manner);
        if let Some(warning) = &stale {
            run.warn(warning);
        }
        let finished = run.make();
        let left = finished.left(clock.seconds()).map(Duration::from_secs);
        let sequel = match plan.after(&finished, began, left, settings.watch.max_interval) {
            Sequel::Parked(_) if settings.watch.exit_on_failure => Sequel::Over,
            sequel @ (Sequel::Again(_) | Sequel::Parked(_) | Sequel::Over) => sequel,
        };
        if let Some(lease) = finished.lease().filter(|lease| *lease < BRIEF.as_secs()) {
            run.warn(&Warning::BriefLease { lease });
        }
        let is_granted = finished.lease().is_some();
        let next_run = began_at.saturating_add(sequel.length().as_secs());
        // Whoever reads the line may ask at once.
        live.update(&finished, plan.deadline(), next_run);
        place.note(Watching { next_run: Some(next_run), ..Watching::default() });
        let token = finished.token.or(found);
        if token != self.token {
            repeats.forget_failures();
        }
        run.tell(&finished, Some(sequel).filter(|_| !stop.is_raised()));
        drop(run);
        let status = standing_text(&finished.outcome, next_run, clock);
        self.token = token;
        if let Some(aside) = &mut self.aside
            && finished.hook_due
            && let Some(held) = finished.held
        {
            let due = DueHook {
                settings: Arc::clone(settings),
                held,
                streams: Arc::clone(&household.streams),
                repeats: Arc::clone(repeats),
                clock,
                manner: household.manner,
                stop: stop.clone(),
            };
            aside.order(Box::new(move || due.run()));
        }
        if let Some(known) = finished.history {
            self.history = known;
        }
        let next = match sequel {
            Sequel::Over => {
                // A hook at work is waited for here, where a signal is still heard.
                self.aside = None;
                Next::Over(finished.outcome.detailed_exit_status())
            }
            Sequel::Again(length) | Sequel::Parked(length) => Next::In(length),
        };
        let turn = Turn::good(next, Some(status), true);
        if is_granted { turn } else { turn.in_vain() }
    }
}

impl<R> Runs<R>
where
    R: Fn() -> Result<(Settings, ConnectionSettings)>,
{
    /// The token that is in the token file at this moment, if there is one.
    fn token_in_file(&self) -> Option<Fingerprint> {
        let read = self.household.settings.token_file.read(Looseness::Tell).ok()?;
        Some(read.token.fingerprint())
    }

    /// The token that is in the token file before a run. If it is another one, nothing that is known is about it.
    fn takes_note_of(&mut self, found: Option<Fingerprint>) {
        if found.is_some() && found != self.token {
            self.plan.finds(found);
            self.live.granted(self.plan.deadline());
        }
    }

    /// Takes the settings as they are now. If they cannot be used, the last good ones count, and it says why.
    fn refresh(&mut self) -> Option<Warning> {
        let household = &mut self.household;
        let (settings, connection) = match (household.resolve)() {
            Ok(resolved) => resolved,
            Err(error) => return Some(Warning::SettingsKept(error)),
        };
        // It has its seat, its memory and its eyes on this file; and the new settings as a whole are meant for another
        // token, perhaps for another server.
        let moved = settings.token_file.path() != household.settings.token_file.path()
            || settings.state_directory != household.settings.state_directory;
        if moved {
            return Some(Warning::TokenFileMoved { to: settings.token_file.path().to_owned() });
        }
        household.settings = Arc::new(settings);
        household.connection = connection;
        None
    }
}

/// How long a run may take that is one of many: what it holds may run out meanwhile.
fn pace(settings: &Settings, connection: &ConnectionSettings, granted: Option<Duration>) -> Pace {
    // Before anything was granted, it is no more than what is going to be ordered.
    let granted = granted.unwrap_or(Duration::from_secs(settings.identity.period));
    let part = patience(granted);
    let longest = part.min(LONGEST_PATIENCE);
    Pace {
        patience: Patience {
            request: connection.timeout.min(longest),
            retry_for: settings.retry_for.min(longest),
            in_all: Some(part),
        },
        walk: LONGEST_WALK.min(part),
        // Something has to be left for the run itself.
        wait: longest / 2,
        comes_again: Some(FLOOR),
    }
}

/// What an earlier process was granted counts for this one, too, as long as nobody has touched the token file since: an
/// outage that meets it at its start is no reason to know nothing.
fn remembered(settings: &Settings, history: &History, clock: Clock) -> Plan {
    let now = clock.seconds();
    let granted = || {
        let LastRun { at, .. } = history.last_run?;
        let held = history.contents.held().filter(|held| held.ours)?;
        let token = settings.token_file.read(Looseness::Tell).ok()?.token.fingerprint();
        let is_untouched = Likeness::of(settings.token_file.path())?.is_older_than(at);
        let (lease, left) = (held.lease?, held.ends_at?.checked_sub(now)?);
        let length = Duration::from_secs(lease);
        is_untouched.then(|| Plan::granted_earlier(token, length, Duration::from_secs(left.min(lease))))
    };
    granted().unwrap_or_default()
}

/// What is seen from outside: the token file, and who asks how it stands.
struct Entrance<'a> {
    token_file: &'a Path,
    likeness: Option<Likeness>,
    live: &'a Live,
}

impl Door for Entrance<'_> {
    fn has_changed(&mut self) -> bool {
        let now = Likeness::of(self.token_file);
        now != std::mem::replace(&mut self.likeness, now)
    }
}

impl Pages for Entrance<'_> {
    fn allowed(&self, path: &str) -> Option<Allowed> {
        pages::allowed(path)
    }

    fn page(&self, request: &Request<'_>) -> Option<Page> {
        self.live.page(request.path)
    }
}
