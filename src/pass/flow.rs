//! How many lookups of a walk run side by side: few where the server is near, because more only wait in its queue; as
//! many as the settings allow where the line is long; and fewer while the server is busy with others.
//!
//! What is tried is judged by the lookups of a window: more at once are worth it if more of them are answered in a
//! second. Afterwards answers that take twice as long as they did mean that somebody else needs the server, too.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Where a lone lookup takes longer, its time is spent on the way and not at the server.
const FAR: Duration = Duration::from_millis(5);

/// So many at once keep a near server of two processors busy, and a larger one gets more. Measured: `scripts/bench`,
/// section 2.
const FEW: usize = 2;

/// So many lookups for each that runs at once make a window.
const TURNS: usize = 32;

/// The gates that the workers pass before each lookup.
#[derive(Debug)]
pub(super) struct Flow {
    most: usize,
    state: Mutex<State>,
    bell: Condvar,
}

#[derive(Debug)]
struct State {
    /// How many may run at once.
    allowed: usize,
    /// The window that is being filled.
    window: Window,
    /// How the best one went; none before the first is over.
    best: Option<Best>,
    /// Whether more at once are still tried.
    climbs: bool,
    /// Whether all work is done.
    is_over: bool,
}

#[derive(Debug)]
struct Window {
    since: Instant,
    count: usize,
    waited: Duration,
}

#[derive(Debug, Clone, Copy)]
struct Best {
    allowed: usize,
    /// Lookups in a second.
    rate: f64,
    /// Of one lookup, in seconds.
    latency: f64,
}

impl Window {
    fn new(since: Instant) -> Self {
        Self { since, count: 0, waited: Duration::ZERO }
    }
}

impl Flow {
    /// For a walk with at most so many at once. `first` is how long the lookup took that came before all others.
    pub(super) fn new(most: usize, first: Option<Duration>) -> Self {
        let is_near = first.is_some_and(|first| first < FAR);
        let allowed = if is_near { FEW.min(most) } else { most };
        let window = Window::new(Instant::now());
        let state = State { allowed, window, best: None, climbs: is_near && allowed < most, is_over: false };
        Self { most, state: Mutex::new(state), bell: Condvar::new() }
    }

    /// How many workers can ever be needed.
    pub(super) fn most(&self) -> usize {
        self.most
    }

    /// Waits until this worker may go on, counted from 0; false if there is nothing left to do.
    pub(super) fn enter(&self, worker: usize) -> bool {
        let mut state = self.lock();
        while !state.is_over && worker >= state.allowed {
            state = self.bell.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        !state.is_over
    }

    /// A lookup is over, and took so long.
    pub(super) fn leave(&self, took: Duration) {
        let mut state = self.lock();
        let before = state.allowed;
        state.note(took, Instant::now(), self.most);
        if state.allowed > before {
            self.bell.notify_all();
        }
    }

    /// There is nothing left to do once what this returns is gone.
    pub(super) fn closing(&self) -> Closing<'_> {
        Closing(self)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lets everybody go at its end.
#[derive(Debug)]
pub(super) struct Closing<'a>(&'a Flow);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        self.0.lock().is_over = true;
        self.0.bell.notify_all();
    }
}

impl State {
    fn note(&mut self, took: Duration, now: Instant, most: usize) {
        self.window.count += 1;
        self.window.waited += took;
        if self.window.count < TURNS * self.allowed {
            return;
        }
        #[expect(clippy::cast_precision_loss, reason = "a count of lookups, and only a ratio of it is used")]
        let count = self.window.count as f64;
        let rate = count / now.duration_since(self.window.since).as_secs_f64().max(f64::EPSILON);
        let latency = self.window.waited.as_secs_f64() / count;
        self.window = Window::new(now);
        self.judge(Best { allowed: self.allowed, rate, latency }, most);
    }

    fn judge(&mut self, seen: Best, most: usize) {
        let best = *self.best.get_or_insert(seen);
        if self.climbs {
            if seen.allowed == best.allowed || seen.rate > best.rate * 1.1 {
                self.best = Some(seen);
                self.climbs = seen.allowed < most;
                self.allowed = (seen.allowed * 2).min(most);
            } else {
                self.climbs = false;
                self.allowed = best.allowed;
            }
        } else if seen.latency > best.latency * 2.0 {
            self.allowed = (seen.allowed / 2).max(1);
        } else if seen.latency < best.latency * 1.5 && seen.allowed < best.allowed {
            self.allowed = seen.allowed + 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many are allowed after each of these windows: lookups in a second, and milliseconds of one.
    fn allowed(flow: &Flow, windows: &[(f64, f64)]) -> Vec<usize> {
        let judge = |(rate, latency): &(f64, f64)| {
            let mut state = flow.lock();
            let seen = Best { allowed: state.allowed, rate: *rate, latency: latency / 1e3 };
            state.judge(seen, flow.most);
            state.allowed
        };
        windows.iter().map(judge).collect()
    }

    #[test]
    fn a_near_server_gets_more_at_once_only_while_it_answers_more() {
        let near = || Flow::new(16, Some(Duration::from_millis(1)));
        assert_eq!(near().lock().allowed, 2);
        // Twice as many at once wait twice as long, and no more are answered.
        assert_eq!(allowed(&near(), &[(8_000.0, 0.25), (8_100.0, 0.5), (8_000.0, 0.25)]), [4, 2, 2]);
        // A server of many processors.
        let windows = [(4_000.0, 0.5), (8_000.0, 0.5), (15_000.0, 0.5), (29_000.0, 0.6)];
        assert_eq!(allowed(&near(), &windows), [4, 8, 16, 16]);
        assert_eq!(Flow::new(1, Some(Duration::from_millis(1))).lock().allowed, 1);
    }

    #[test]
    fn a_long_line_is_filled_at_once() {
        for first in [Some(Duration::from_millis(20)), None] {
            let far = Flow::new(16, first);
            assert_eq!(allowed(&far, &[(800.0, 20.0), (810.0, 20.0)]), [16, 16]);
        }
    }

    #[test]
    fn it_gives_way_while_answers_take_longer_and_comes_back() {
        let flow = Flow::new(16, None);
        let windows =
            [(800.0, 20.0), (400.0, 45.0), (200.0, 60.0), (200.0, 30.5), (400.0, 25.0), (500.0, 25.0)];
        assert_eq!(allowed(&flow, &windows), [16, 8, 4, 4, 5, 6]);
        let busy = [(9.0, 900.0); 9];
        assert_eq!(allowed(&flow, &busy).last(), Some(&1), "it never stops");
    }

    #[test]
    fn who_waits_at_the_gate_is_let_go_when_all_is_done_or_went_wrong() {
        for goes_wrong in [false, true] {
            let flow = Flow::new(2, None);
            flow.lock().allowed = 1;
            assert!(flow.enter(0));
            std::thread::scope(|scope| {
                let waiting = scope.spawn(|| flow.enter(1));
                let working = scope.spawn(|| {
                    let _closing = flow.closing();
                    assert!(!goes_wrong, "as it should");
                });
                assert_eq!(working.join().is_err(), goes_wrong);
                assert!(!waiting.join().unwrap());
            });
        }
    }
}
