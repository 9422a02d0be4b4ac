//! What somebody at a terminal is told while a run is at work: what it waits for, and how far it is.
//!
//! Nothing of it is in the log, in a pipe or in the journal, and no run depends on it.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::streams::to_terminal;
use super::times::span_text;

/// Who waits for longer wants to know what for.
const PATIENCE: Duration = Duration::from_secs(2);

/// How often what is shown is brought up to date.
const BEAT: Duration = Duration::from_millis(250);

/// Begins the line anew and empties it.
///
/// Source: ECMA-48, CR and EL.
const ERASE: &str = "\r\x1b[K";

/// Somebody at a terminal, and a thread that keeps an eye on the time for them.
#[derive(Debug)]
pub(super) struct Meanwhile {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    bell: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// What is waited for, if anything.
    wait: Option<Wait>,
    /// How far a walk is.
    walk: Option<Walk>,
    /// Whether a line stands there that is to be replaced.
    is_drawn: bool,
    is_over: bool,
}

#[derive(Debug)]
struct Wait {
    since: Instant,
    /// What to say of it; none if that was said.
    text: Option<String>,
    /// Whether it was said, or is about to be, what went wrong.
    has_failed: bool,
}

#[derive(Debug)]
struct Walk {
    since: Instant,
    examined: usize,
    total: usize,
}

impl Meanwhile {
    /// Starts its thread; none if there are no more to be had, and then nobody is told. `draws` is whether the
    /// terminal can replace a line.
    pub(super) fn start(draws: bool) -> Option<Self> {
        let shared = Arc::new(Shared::default());
        let of_thread = Arc::clone(&shared);
        let look = move || {
            let mut state = of_thread.lock();
            while !state.is_over {
                state.look(draws);
                (state, _) = of_thread.bell.wait_timeout(state, BEAT).unwrap_or_else(PoisonError::into_inner);
            }
            state.erase();
        };
        let thread = thread::Builder::new().name("meanwhile".to_owned()).spawn(look).ok()?;
        Some(Self { shared, thread: Some(thread) })
    }

    /// Something is waited for from now on, unless it is already.
    pub(super) fn waits(&self, text: String) {
        let mut state = self.shared.lock();
        if state.wait.is_none() {
            state.wait = Some(Wait { since: Instant::now(), text: Some(text), has_failed: false });
        }
    }

    /// Something went wrong, and it is waited for all the same. That is said once.
    pub(super) fn waits_on(&self, text: String) {
        if let Some(wait) = &mut self.shared.lock().wait
            && (wait.text.is_some() || !wait.has_failed)
        {
            (wait.text, wait.has_failed) = (Some(text), true);
        }
    }

    /// It is waited for no longer.
    pub(super) fn waits_no_more(&self) {
        self.shared.lock().wait = None;
    }

    /// So many of so many have been looked at.
    pub(super) fn has_examined(&self, examined: usize, total: usize) {
        let mut state = self.shared.lock();
        if examined >= total {
            state.walk = None;
            state.erase();
            return;
        }
        let walk = state.walk.get_or_insert_with(|| Walk { since: Instant::now(), examined: 0, total });
        // Another walk may begin where one was cut short.
        if walk.total != total || examined < walk.examined {
            *walk = Walk { since: Instant::now(), examined, total };
        }
        walk.examined = examined;
    }

    /// Makes room for a line.
    pub(super) fn make_room(&self) {
        self.shared.lock().erase();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn look(&mut self, draws: bool) {
        let text = self.wait.as_mut().filter(|wait| wait.since.elapsed() >= PATIENCE);
        if let Some(text) = text.and_then(|wait| wait.text.take()) {
            self.erase();
            to_terminal(&format!("{text}\n"));
        }
        let walk = self.walk.as_ref().filter(|walk| draws && walk.since.elapsed() >= PATIENCE);
        if let Some(text) = walk.map(|walk| progress_text(walk.examined, walk.total, walk.since.elapsed())) {
            to_terminal(&format!("{ERASE}{text}"));
            self.is_drawn = true;
        }
    }

    fn erase(&mut self) {
        if std::mem::take(&mut self.is_drawn) {
            to_terminal(ERASE);
        }
    }
}

impl Drop for Meanwhile {
    fn drop(&mut self) {
        self.shared.lock().is_over = true;
        self.shared.bell.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// How far a walk is, and how long it will take if it goes on like that.
fn progress_text(examined: usize, total: usize, elapsed: Duration) -> String {
    let left = elapsed.as_secs().saturating_mul((total - examined.min(total)) as u64)
        / u64::try_from(examined.max(1)).unwrap_or(u64::MAX);
    format!("sweep: looked at {examined} of {total} tokens, about {} left", span_text(left.max(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_says_how_far_and_how_long() {
        let text = progress_text(25_000, 100_000, Duration::from_secs(10));
        assert_eq!(text, "sweep: looked at 25000 of 100000 tokens, about 30 s left");
        assert!(progress_text(0, 5, Duration::from_secs(3)).ends_with("about 15 s left"));
        assert!(progress_text(5, 5, Duration::ZERO).ends_with("about 1 s left"));
    }
}
