//! What systemd is told: that the first turn is over, how it stands, that we are alive, that we end.
//!
//! Without systemd, or where it does not listen, nothing happens: nobody depends on it for the work.

use std::time::{Duration, Instant};

use sd_notify::{NotifyState, notify, watchdog_enabled};

/// Where the service manager listens, and how often it wants to hear from us.
#[derive(Debug)]
pub(super) struct Readiness {
    /// A third of the time after which it takes us for hung.
    interval: Option<Duration>,
    last_sign: Instant,
    is_ready: bool,
}

impl Readiness {
    /// By what the environment says.
    pub(super) fn of_this_process() -> Self {
        let interval = watchdog_enabled().map(|limit| limit / 3).filter(|interval| !interval.is_zero());
        Self { interval, last_sign: Instant::now(), is_ready: false }
    }

    /// Tells how it stands, in one line; the first time, that the service is ready.
    pub(super) fn turned(&mut self, status: &str) {
        let status = NotifyState::Status(status);
        if self.is_ready {
            tell(&[status]);
        } else {
            self.is_ready = true;
            tell(&[NotifyState::Ready, status]);
        }
    }

    /// Gives a sign of life, if one is due.
    pub(super) fn give_sign(&mut self) {
        if self.interval.is_some_and(|interval| self.last_sign.elapsed() >= interval) {
            self.last_sign = Instant::now();
            tell(&[NotifyState::Watchdog]);
        }
    }

    /// How long until the next sign is due.
    pub(super) fn next_sign(&self) -> Option<Duration> {
        self.interval.map(|interval| interval.saturating_sub(self.last_sign.elapsed()))
    }
}

/// Tells that we end.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

fn tell(states: &[NotifyState<'_>]) {
    // A manager that does not listen is no reason to let anything die.
    let _ = notify(states);
}
