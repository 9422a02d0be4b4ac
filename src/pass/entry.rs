//! The way in: the run locks and the state; or the state alone, for whoever only looks.

use std::io;
use std::time::Instant;

use super::context::Context;
use crate::config::Settings;
use crate::facts::failure::{During, Failure};
use crate::facts::warning::Warning;
use crate::local::lock::{self, Lock, Locking};
use crate::local::staged;
use crate::local::state::State;
use crate::stop::Stop;

/// What a run holds while it works.
pub(super) struct Entered {
    /// Nobody else works on this token file while they are held.
    pub(super) locks: Locks,
    /// What the runs before this one left.
    pub(super) state: State,
}

/// The run lock, and the one on the directory of the token file; none where it cannot be had.
pub(super) type Locks = [Option<Lock>; 2];

/// Takes the run locks and loads the state. What cannot be had, the run goes on without.
pub(super) fn enter(context: &Context<'_>) -> Result<Entered, Failure> {
    let settings = context.settings;
    let directory = &settings.state_directory;
    let token_file = context.settings.token_file.real();
    let waiting = || (context.warn)(Warning::WaitingForLock);
    let start = Instant::now();
    let run_lock = match lock::lock(directory, &token_file, context.longest_wait, context.stop, waiting) {
        Ok(Locking::Held(lock)) => Some(lock),
        Ok(Locking::Busy) => return Err(Failure::LockBusy),
        Ok(Locking::Stopped) => {
            return Err(Failure::Stopped { signal: context.stop.signal(), during: During::Wait });
        }
        Err(error) => {
            (context.warn)(Warning::NoState { path: directory.clone(), error });
            None
        }
    };
    // A run that keeps its state elsewhere, because its XDG_STATE_HOME differs, or that can keep none, meets
    // us only here. Its sweep would take the token we are about to store for a stale one.
    let left = context.longest_wait.saturating_sub(start.elapsed());
    let place_lock = match lock::lock_place(&token_file, left, context.stop, waiting) {
        Ok(Locking::Held(lock)) => Some(lock),
        // Anybody who may read the directory can hold this one for ever, and must not be able to let a token
        // die.
        Ok(Locking::Busy) => {
            (context.warn)(Warning::PlaceBusy);
            None
        }
        Ok(Locking::Stopped) => {
            return Err(Failure::Stopped { signal: context.stop.signal(), during: During::Wait });
        }
        // No such directory, or a file system without locks: reading says the one, and the other is no reason
        // to let a token die.
        Err(_) => None,
    };
    let (mut state, spoilt) = match run_lock {
        Some(_) => State::load(directory, &token_file),
        None => (State::fleeting(), None),
    };
    if let Some(error) = spoilt {
        (context.warn)(Warning::StateSpoilt { path: directory.clone(), error });
    }
    if let Some(earlier) = context.earlier {
        state.catch_up(earlier);
    }
    // What a killed run left beside the token file may hold a living token.
    if place_lock.is_some()
        && let Err(error) = staged::remove_leftovers(&token_file, rustix::process::geteuid().as_raw())
    {
        (context.warn)(Warning::LeftoversRemain { file: settings.token_file.path().to_owned(), error });
    }
    Ok(Entered { locks: [run_lock, place_lock], state })
}

/// The run lock and the state once more, for a word to be added; not waited for long.
pub(super) fn enter_briefly(settings: &Settings, stop: &Stop) -> Option<(Lock, State)> {
    let directory = &settings.state_directory;
    let token_file = settings.token_file.real();
    match lock::try_lock(directory, &token_file, stop) {
        Ok(Locking::Held(lock)) => Some((lock, State::load(directory, &token_file).0)),
        Ok(Locking::Busy | Locking::Stopped) | Err(_) => None,
    }
}

/// The state as it was last saved, and why it could not be read, if so. Whoever only looks takes no lock and leaves
/// no trace.
pub(crate) fn saved_state(context: &Context<'_>) -> (State, Option<io::Error>) {
    State::load(&context.settings.state_directory, &context.settings.token_file.real())
}
