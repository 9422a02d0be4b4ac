//! A request to stop.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use signal_hook::SigId;
use signal_hook::consts::signal::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};

/// The signals by which a terminal, a service manager or a person ends a program.
const ENDING: [i32; 4] = [SIGHUP, SIGINT, SIGQUIT, SIGTERM];

/// How often whoever waits asks whether it is enough: often enough for a stopped run to end at once as people see it,
/// seldom enough to cost nothing.
pub(crate) const POLL: Duration = Duration::from_millis(20);

/// A request to stop, which everything that waits asks for. Once raised, it stays. It holds the number of the signal, 0
/// if there was none yet.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stop(Arc<AtomicUsize>);

/// While it lives, the signals that would end the program raise a [`Stop`] instead.
///
/// Dropped, it takes its handlers back: a program that runs again and again must not gather one more with each
/// run. The signals are then ignored; their usual effect does not come back (signal-hook, `unregister`).
#[derive(Debug)]
pub(crate) struct Heard(Vec<SigId>);

impl Stop {
    /// Raises it, as that signal would.
    pub(crate) fn raise(&self, signal: i32) {
        self.0.store(usize::try_from(signal).unwrap_or(usize::MAX), Ordering::Relaxed);
    }

    /// Whether it was raised.
    pub(crate) fn is_raised(&self) -> bool {
        self.0.load(Ordering::Relaxed) != 0
    }

    /// The name of the signal that raised it.
    pub(crate) fn signal(&self) -> Option<&'static str> {
        match i32::try_from(self.0.load(Ordering::Relaxed)).ok()? {
            SIGHUP => Some("SIGHUP"),
            SIGINT => Some("SIGINT"),
            SIGQUIT => Some("SIGQUIT"),
            SIGTERM => Some("SIGTERM"),
            _ => None,
        }
    }

    /// Waits so long, or until it is raised.
    pub(crate) fn sleep(&self, length: Duration) {
        let start = Instant::now();
        while !self.is_raised() {
            let left = length.saturating_sub(start.elapsed());
            if left.is_zero() {
                return;
            }
            thread::sleep(left.min(POLL));
        }
    }

    /// Lets the signals that would end this program raise it, until what this returns is dropped.
    pub(crate) fn on_signals(&self) -> io::Result<Heard> {
        let mut heard = Heard(Vec::with_capacity(ENDING.len()));
        for signal in ENDING {
            let number = usize::try_from(signal).unwrap_or_default();
            heard.0.push(signal_hook::flag::register_usize(signal, Arc::clone(&self.0), number)?);
        }
        Ok(heard)
    }
}

impl Drop for Heard {
    fn drop(&mut self) {
        for id in self.0.drain(..) {
            signal_hook::low_level::unregister(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::{Signal, getpid, kill_process};

    #[test]
    fn signals_raise_the_stop_of_a_run_and_not_that_of_the_run_before() {
        let mut earlier: Vec<Stop> = Vec::new();
        for _ in 0..3 {
            let stop = Stop::default();
            let heard = stop.on_signals().unwrap();
            assert!(!stop.is_raised());
            kill_process(getpid(), Signal::HUP).unwrap();
            stop.sleep(Duration::from_secs(60));
            assert_eq!(stop.signal(), Some("SIGHUP"));
            drop(heard);
            earlier.push(stop);
            let deaf = Stop::default();
            drop(deaf.on_signals().unwrap());
            kill_process(getpid(), Signal::HUP).unwrap();
            thread::sleep(Duration::from_millis(20));
            assert!(!deaf.is_raised(), "its handler is still there");
        }
        assert!(earlier.iter().all(Stop::is_raised), "once raised, it stays");
    }
}
