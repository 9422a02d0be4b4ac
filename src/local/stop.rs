//! A request to stop.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::SigId;
use signal_hook::consts::signal::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};

/// The signals by which a terminal, a service manager or a person ends a program.
const ENDING: [i32; 4] = [SIGHUP, SIGINT, SIGQUIT, SIGTERM];

/// A request to stop, which whoever waits for a lock or a hook asks for. Once raised, it stays.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stop(Arc<AtomicBool>);

/// While it lives, the signals that would end the program raise a [`Stop`] instead.
///
/// Dropped, it takes its handlers back: a program that runs again and again must not gather one more with each
/// run. The signals are then ignored; their usual effect does not come back (signal-hook, `unregister`).
#[derive(Debug)]
pub(crate) struct Heard(Vec<SigId>);

impl Stop {
    /// Raises it.
    #[cfg(test)]
    pub(crate) fn raise(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it was raised.
    pub(crate) fn is_raised(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Lets the signals that would end this program raise it, until what this returns is dropped.
    pub(crate) fn on_signals(&self) -> io::Result<Heard> {
        let mut heard = Heard(Vec::with_capacity(ENDING.len()));
        for signal in ENDING {
            heard.0.push(signal_hook::flag::register(signal, Arc::clone(&self.0))?);
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
            while !stop.is_raised() {
                std::thread::yield_now();
            }
            drop(heard);
            earlier.push(stop);
            let deaf = Stop::default();
            drop(deaf.on_signals().unwrap());
            kill_process(getpid(), Signal::HUP).unwrap();
            std::thread::sleep(std::time::Duration::from_millis(20));
            assert!(!deaf.is_raised(), "its handler is still there");
        }
        assert!(earlier.iter().all(Stop::is_raised), "once raised, it stays");
    }
}
