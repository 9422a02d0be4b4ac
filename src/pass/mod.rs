//! The product: one pass, start to end.
//!
//! [`run`] reads like section "One pass" of the documentation: lock, read, look up, judge, renew or heal.
//! A decision is made in `identity`, an effect happens here, a word is said in `report`.

mod dry_run;
mod heal;
mod sweep;
mod view;
mod walk;

use std::cell::{Cell, RefCell};
use std::thread;
use std::time::Duration;

pub(crate) use dry_run::{forecast, forecast_sweep, saved_state};

use crate::clock::Clock;
use crate::config::Settings;
use crate::facts::failure::Failure;
use crate::facts::outcome::Outcome;
use crate::facts::warning::Warning;
use crate::identity::{Dying, Verdict, Vitality};
use crate::io_text::io_text;
use crate::local::history::{Counters, Ending, History, Seen, Sight};
use crate::local::lock;
use crate::local::lock::{Lock, Locking};
use crate::local::staged;
use crate::local::state::State;
use crate::local::token_file::{Looseness, ReadError, Reading};
use crate::secret::Token;
use crate::token::{Accessor, TokenInfo};
use crate::vault::{Client, Error, ErrorKind, Renewal, SelfLookup};
use heal::Origin;
use sweep::{Scope, sweep};
pub(crate) use view::view;

/// How often a pass starts over because the token file changed under it.
const ATTEMPTS: u32 = 3;

/// How long a login may take to finish writing the file. Logins rename, which takes no time at all; a shell
/// redirection or an editor takes a little.
const MOMENT: Duration = Duration::from_millis(500);

/// What a pass works with. Everything that could differ in a test is handed in.
pub(crate) struct Context<'a> {
    /// What was asked for.
    pub(crate) settings: &'a Settings,
    /// The server.
    pub(crate) client: &'a Client,
    /// The name of this machine.
    pub(crate) host: &'a str,
    /// This machine's clock.
    pub(crate) clock: Clock,
    /// Where warnings go, as they arise.
    pub(crate) warn: &'a dyn Fn(Warning),
    /// Where the figures go when a run is over, while it still has its lock.
    pub(crate) publish: &'a dyn Fn(&History),
    /// Where it leaves word for when its locks are given back.
    pub(crate) aftermath: &'a RefCell<Aftermath>,
}

/// What is known, and has to be done, once a run is over and its locks are given back.
#[derive(Debug, Default)]
pub(crate) struct Aftermath {
    /// The living token in the token file, if this run saw it.
    pub(crate) seen: Option<Seen>,
    /// Whether the deploy hook has to run now.
    pub(crate) hook_due: bool,
}

/// Why an attempt at a pass did not get to an outcome.
enum Interruption {
    /// The token file changed: a login landed. Start over.
    FileChanged,
    /// Nothing more can be done.
    Failed(Failure),
}

impl From<Failure> for Interruption {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// The token in the token file, and what the server says about it.
struct Current {
    token: Token,
    info: TokenInfo,
    /// Whether the server named the token it spoke of. Where it did not, an agent may have put its own in
    /// the place of ours.
    confirmed: bool,
}

impl Current {
    /// The accessor of this very token, which a sweep has to spare. Where the server does not say which token it
    /// speaks of, it may be an agent's, and ours the one that a sweep would take for stale: then it counts only
    /// if this machine minted it.
    fn accessor(&self, state: &State) -> Option<&Accessor> {
        let minted = |accessor: &&Accessor| self.confirmed || state.minted().contains(accessor);
        self.info.accessor.as_ref().filter(minted)
    }
}

/// One complete pass.
pub(crate) fn run(context: &Context<'_>) -> Outcome {
    let tried = Cell::new(None);
    let work = |state: &mut State| {
        tried.set(None);
        let current = inspect(context, Looseness::Tighten)?;
        let outcome = renew_or_heal(context, state, &current, &tried);
        match outcome {
            // Bad news about a token that is no longer there is no news.
            Ok(Outcome::Drift { .. }) | Err(Interruption::Failed(_))
                if matches!(held(context, &current.token), Held::No) =>
            {
                Err(Interruption::FileChanged)
            }
            outcome => outcome,
        }
    };
    locked(context, work, |state, outcome| {
        let (ending, gains) = tally(outcome, tried.get());
        // Also for a run before this one that was killed before it got so far. A hook that has begun is told.
        let hook = context.settings.hook.as_ref();
        if ending.is_good() && !hook.is_some_and(|hook| hook.is_nested) {
            context.aftermath.borrow_mut().hook_due = hook.is_some() && state.is_hook_due();
            state.set_hook_due(false);
        }
        state.note_pass(context.clock.seconds(), ending, gains)
    })
}

/// Revokes the stale tokens of our name now.
pub(crate) fn sweep_now(context: &Context<'_>) -> Outcome {
    let work = |state: &mut State| {
        let current = inspect(context, Looseness::Tighten)?;
        let verdict = context.settings.identity.judge(&current.info);
        see(context, state, &current.info, verdict);
        match verdict {
            Verdict::Foreign => Err(Failure::NotOurs { display_name: current.info.display_name }.into()),
            Verdict::Ours if current.info.num_uses != 0 => Err(Failure::use_limited(&current.info).into()),
            Verdict::Ours => {
                let keep = current.accessor(state).cloned();
                Ok(Outcome::Swept(sweep(context, state, &current.token, keep.as_ref(), Scope::Full)))
            }
        }
    };
    locked(context, work, |state, outcome| {
        state.note_gains(Counters { swept: outcome.swept(), ..Counters::default() })
    })
}

/// Works under the run locks, and notes at the end what it came to.
fn locked(
    context: &Context<'_>,
    mut work: impl FnMut(&mut State) -> Result<Outcome, Interruption>,
    conclude: impl FnOnce(&mut State, &Outcome) -> std::io::Result<()>,
) -> Outcome {
    let (_locks, mut state) = match enter(context) {
        Ok(entered) => entered,
        Err(failure) => return Outcome::Failed(failure),
    };
    let outcome = undisturbed(|| {
        let done = work(&mut state);
        if let Err(Interruption::FileChanged) = done {
            state.look_away();
        }
        done
    })
    .unwrap_or_else(Outcome::Failed);
    if let Outcome::Failed(failure) = &outcome
        && failure.leaves_nothing()
    {
        state.see(Sight::Nothing);
    }
    context.aftermath.borrow_mut().seen = state.seen_now().cloned();
    note(context, conclude(&mut state, &outcome));
    (context.publish)(state.history());
    outcome
}

/// How a pass ended, and what that adds to the counters, given what it `tried` to heal, if it got that far.
fn tally(outcome: &Outcome, tried: Option<Origin>) -> (Ending, Counters) {
    let gains = Counters {
        not_renewable: u64::from(matches!(tried, Some(Origin::Dying { .. }))),
        swept: outcome.swept(),
        ..Counters::default()
    };
    match outcome {
        Outcome::Renewed { .. } => (Ending::Renewed, Counters { renewed: 1, ..gains }),
        Outcome::Healed { .. } => (Ending::Healed, Counters { healed: 1, ..gains }),
        Outcome::Drift { .. } => (Ending::Drift, Counters { heal_denied: 1, ..gains }),
        Outcome::Failed(Failure::Dying { .. }) => (Ending::Failed, Counters { heal_denied: 1, ..gains }),
        Outcome::Failed(_) if tried.is_some() => (Ending::Failed, Counters { heal_failed: 1, ..gains }),
        // A pass that sweeps and does nothing else is none.
        Outcome::Failed(_) | Outcome::Swept(_) => (Ending::Failed, Counters { not_renewed: 1, ..gains }),
    }
}

/// Remembers what a lookup says of the token in the file.
fn see(context: &Context<'_>, state: &mut State, info: &TokenInfo, verdict: Verdict) {
    state.see(Sight::Token(Seen::new(info, verdict == Verdict::Ours, context.clock.seconds())));
}

/// Starts over while the token file changes under the work, but not for ever.
fn undisturbed<T>(mut work: impl FnMut() -> Result<T, Interruption>) -> Result<T, Failure> {
    for _ in 0..ATTEMPTS {
        match work() {
            Ok(done) => return Ok(done),
            Err(Interruption::Failed(failure)) => return Err(failure),
            Err(Interruption::FileChanged) => {}
        }
    }
    Err(Failure::FileKeepsChanging)
}

/// Takes the run locks and loads the state. What cannot be had, the pass goes on without.
fn enter(context: &Context<'_>) -> Result<([Option<Lock>; 2], State), Failure> {
    let settings = context.settings;
    let directory = &settings.state_directory;
    // Where the name leads nowhere, reading will say so; until then the name itself will do.
    let token_file = settings.token_file.resolved().unwrap_or_else(|_| settings.token_file.path().to_owned());
    let waiting = || (context.warn)(Warning::WaitingForLock);
    let run_lock = match lock::lock(directory, &token_file, waiting) {
        Ok(Locking::Held(lock)) => Some(lock),
        Ok(Locking::Busy) => return Err(Failure::LockBusy),
        Err(error) => {
            (context.warn)(Warning::NoState { path: directory.clone(), reason: io_text(&error) });
            None
        }
    };
    // A run that keeps its state elsewhere, because its XDG_STATE_HOME differs, or that can keep none, meets
    // us only here. Its sweep would take the token we are about to store for a stale one.
    let place_lock = match lock::lock_place(&token_file, waiting) {
        Ok(Locking::Held(lock)) => Some(lock),
        // Anybody who may read the directory can hold this one for ever, and must not be able to let a token
        // die.
        Ok(Locking::Busy) => {
            (context.warn)(Warning::PlaceBusy);
            None
        }
        // No such directory, or a file system without locks: reading says the one, and the other is no reason
        // to let a token die.
        Err(_) => None,
    };
    let (state, spoilt) = match run_lock {
        Some(_) => State::load(directory, &token_file),
        None => (State::fleeting(), None),
    };
    if let Some(error) = spoilt {
        (context.warn)(Warning::StateSpoilt { path: directory.clone(), reason: io_text(&error) });
    }
    // What a killed run left beside the token file may hold a living token.
    if place_lock.is_some()
        && let Err(error) = staged::remove_leftovers(&token_file, rustix::process::geteuid().as_raw())
    {
        (context.warn)(Warning::LeftoversRemain { reason: io_text(&error) });
    }
    Ok(([run_lock, place_lock], state))
}

/// Reads the token file and looks up what is in it. If that is refused, the file gets a moment to change
/// before the token is called dead.
fn inspect(context: &Context<'_>, looseness: Looseness) -> Result<Current, Interruption> {
    let token = read(context, looseness)?;
    match context.client.lookup_self(&token) {
        Ok(SelfLookup { info, .. }) if info.num_uses < 0 => {
            Err(unless_changed(context, &token, Failure::Spent))
        }
        Ok(SelfLookup { info, confirmed }) => {
            if !confirmed {
                (context.warn)(Warning::Unconfirmed);
            }
            Ok(Current { token, info, confirmed })
        }
        Err(Error { kind: ErrorKind::Denied { message }, url, .. }) => {
            thread::sleep(MOMENT);
            Err(unless_changed(context, &token, Failure::Dead { url, message }))
        }
        Err(error) => Err(Failure::Vault(error).into()),
    }
}

/// Bad news about the token, unless it is no longer the one in the file.
fn unless_changed(context: &Context<'_>, token: &Token, failure: Failure) -> Interruption {
    match held(context, token) {
        Held::Yes | Held::Unknown(_) => failure.into(),
        Held::No => Interruption::FileChanged,
    }
}

/// Reads the token file; once more after a moment if there is nothing in it, since somebody may be about to
/// write it.
fn read(context: &Context<'_>, looseness: Looseness) -> Result<Token, Failure> {
    let file = &context.settings.token_file;
    let Reading { token, loose_mode } = match file.read(looseness) {
        Err(ReadError::Missing | ReadError::Empty) => {
            thread::sleep(MOMENT);
            file.read(looseness)
        }
        reading => reading,
    }
    .map_err(Failure::TokenFile)?;
    if let Some(loose_mode) = loose_mode {
        (context.warn)(Warning::LooseMode(loose_mode));
    }
    Ok(token)
}

/// Whether the token file holds a certain token.
enum Held {
    /// It does.
    Yes,
    /// It holds something else, or nothing.
    No,
    /// It cannot be read at the moment, which says nothing about what it holds.
    Unknown(ReadError),
}

fn held(context: &Context<'_>, token: &Token) -> Held {
    match context.settings.token_file.read(Looseness::Tell) {
        Ok(reading) if reading.token == *token => Held::Yes,
        Err(error @ ReadError::Io(_)) => Held::Unknown(error),
        Ok(_)
        | Err(
            ReadError::Missing
            | ReadError::Empty
            | ReadError::NotAFile
            | ReadError::TooLarge
            | ReadError::Unprintable
            | ReadError::Owner(_),
        ) => Held::No,
    }
}

/// What the verdict on the token asks for. What is to be healed is left in `tried`.
fn renew_or_heal(
    context: &Context<'_>,
    state: &mut State,
    current: &Current,
    tried: &Cell<Option<Origin>>,
) -> Result<Outcome, Interruption> {
    let verdict = context.settings.identity.judge(&current.info);
    see(context, state, &current.info, verdict);
    let origin = match verdict {
        Verdict::Ours => match renew(context, state, current)? {
            Ok(renewed) => return Ok(renewed),
            Err((dying, seconds_left)) => {
                state.see_dying(dying);
                Origin::Dying { dying, seconds_left }
            }
        },
        Verdict::Foreign => Origin::Foreign,
    };
    tried.set(Some(origin));
    heal::heal(context, state, current, origin)
}

/// Renews a token of ours; if it will end all the same, says why, and in how many seconds.
fn renew(
    context: &Context<'_>,
    state: &mut State,
    current: &Current,
) -> Result<Result<Outcome, (Dying, u64)>, Interruption> {
    let Current { token, info, .. } = current;
    if info.num_uses != 0 {
        // A renewal would cost it a use, and add none.
        return Ok(Err((Dying::UseLimited, info.ttl)));
    }
    let (dying, seconds_left) = match context.client.renew_self(token) {
        Ok(Renewal::Renewed { lease, renewable, warnings }) => {
            for warning in warnings {
                (context.warn)(Warning::Server(warning));
            }
            if lease > 0 {
                let now = context.clock.seconds();
                state.see(Sight::Token(Seen::new(info, true, now).renewed(lease, now)));
            }
            let vitality = if lease == 0 || renewable == Some(false) {
                Vitality::Dying(Dying::NotRenewable)
            } else {
                context.settings.identity.vitality(info, lease)
            };
            match vitality {
                Vitality::Lasting => {
                    let resumed = Scope::left_over(context, state).and_then(|scope| {
                        let keep = current.accessor(state).cloned();
                        Some(sweep(context, state, token, keep.as_ref(), scope))
                            .filter(|report| scope.is_news(report))
                    });
                    let display_name = info.display_name.clone();
                    return Ok(Ok(Outcome::Renewed { display_name, ttl: lease, resumed }));
                }
                Vitality::Dying(dying) => (dying, lease),
            }
        }
        Ok(Renewal::NothingDone) => (Dying::NotRenewed, info.ttl),
        Err(Error { kind: ErrorKind::Refused { .. }, .. }) => (Dying::NotRenewable, info.ttl),
        Err(error) => return Err(Failure::Vault(error).into()),
    };
    (context.warn)(Warning::Dying { display_name: info.display_name.clone(), dying, seconds_left });
    Ok(Err((dying, seconds_left)))
}

/// A state that cannot be saved is worth a warning, and nothing more.
fn note(context: &Context<'_>, saved: std::io::Result<()>) {
    if let Err(error) = saved {
        let path = context.settings.state_directory.clone();
        (context.warn)(Warning::StateUnsaved { path, reason: io_text(&error) });
    }
}
