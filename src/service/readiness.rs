//! What systemd is told: that the first turn is over, how it stands, that we are alive, that we end.
//!
//! Without systemd, or where it does not listen, nothing happens: nobody depends on it for the work.

use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};

use sd_notify::{NotifyState, watchdog_enabled};

/// Where the service manager listens. Source: sd_notify(3).
const SOCKET: &str = "NOTIFY_SOCKET";

/// Where the service manager listens, and how often it wants to hear from us.
#[derive(Debug)]
pub(super) struct Readiness {
    /// A third of the time after which it takes us for hung.
    interval: Option<Duration>,
    last_sign: Instant,
    is_ready: bool,
    /// What there was no room for, and whether it makes ready. It is told as soon as there is: a manager waits for it.
    untold: Option<(String, bool)>,
}

impl Readiness {
    /// By what the environment says.
    pub(super) fn of_this_process() -> Self {
        let interval = watchdog_enabled().map(|limit| limit / 3).filter(|interval| !interval.is_zero());
        Self { interval, last_sign: Instant::now(), is_ready: false, untold: None }
    }

    /// Tells how it stands, in one line; the first time that it is so, that the service is ready.
    pub(super) fn turned(&mut self, status: String, is_ready: bool) {
        self.untold = Some((status, is_ready));
        self.catch_up();
    }

    /// Tells what there was no room for.
    pub(super) fn catch_up(&mut self) {
        let Some((status, is_ready)) = self.untold.take() else { return };
        let how_it_stands = NotifyState::Status(&status);
        let told = if self.is_ready || !is_ready {
            tell(&[how_it_stands])
        } else {
            tell(&[NotifyState::Ready, how_it_stands])
        };
        match told {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.untold = Some((status, is_ready)),
            // Without a manager that listens there is nobody to be told again.
            Ok(()) | Err(_) => self.is_ready |= is_ready,
        }
    }

    /// Gives a sign of life, if one is due.
    pub(super) fn give_sign(&mut self) {
        if self.interval.is_some_and(|interval| self.last_sign.elapsed() >= interval) {
            self.last_sign = Instant::now();
            // A manager that does not listen is no reason to let anything die.
            let _ = tell(&[NotifyState::Watchdog]);
        }
    }

    /// How long until the next sign is due.
    pub(super) fn next_sign(&self) -> Option<Duration> {
        self.interval.map(|interval| interval.saturating_sub(self.last_sign.elapsed()))
    }
}

/// Tells that we end.
pub(super) fn stopping() {
    let _ = tell(&[NotifyState::Stopping]);
}

/// Sends it, and never waits for a manager that does not read: whoever tells also hears signals, and answers callers.
/// That is why it does not leave the sending to the crate.
#[expect(clippy::disallowed_methods, reason = "what the manager says to this very process is no setting")]
fn tell(states: &[NotifyState<'_>]) -> io::Result<()> {
    let Some(socket) = env::var_os(SOCKET) else { return Ok(()) };
    let message: Vec<String> = states.iter().map(ToString::to_string).collect();
    let sender = UnixDatagram::unbound()?;
    sender.set_nonblocking(true)?;
    sender.send_to_addr(message.join("\n").as_bytes(), &address(&socket)?).map(drop)
}

/// A path, or after an `@` a name that is in no file system.
fn address(socket: &OsStr) -> io::Result<SocketAddr> {
    match socket.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(socket),
    }
}
