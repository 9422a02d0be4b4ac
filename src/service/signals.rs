//! The signals that the main thread hears: each is a byte in a pipe that it polls.

use std::io::{self, Read as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use signal_hook::consts::signal::{SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::low_level::pipe;

use crate::bounded;

/// What a signal says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heard {
    /// That it is enough.
    Stop(i32),
    /// That the next turn is wanted now.
    Now,
}

/// A pipe for each signal, until the process ends: whoever stays hears them all its life.
#[derive(Debug)]
pub(crate) struct Signals {
    pipes: Vec<(i32, UnixStream)>,
    hangup: Heard,
}

/// Larger than this file is on any machine.
const LARGEST_STATUS: usize = 64 * 1024;

impl Signals {
    /// Hears them from now on.
    pub(crate) fn hear() -> io::Result<Self> {
        // Asked before the handler is in the place of what was there.
        let hangup = if has_terminal() && !ignores_hangup() { Heard::Stop(SIGHUP) } else { Heard::Now };
        // Whoever was stopped and goes on may have missed a deadline: it says nothing, and wakes.
        let pipes = [SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGCONT].into_iter().map(|signal| {
            let (ours, handlers) = UnixStream::pair()?;
            ours.set_nonblocking(true)?;
            pipe::register(signal, handlers)?;
            Ok((signal, ours))
        });
        Ok(Self { pipes: pipes.collect::<io::Result<_>>()?, hangup })
    }

    /// None at all: those of a test are not its own.
    #[cfg(test)]
    pub(super) fn none() -> Self {
        Self { pipes: Vec::new(), hangup: Heard::Now }
    }

    /// What has to be polled.
    pub(super) fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.pipes.iter().map(|(_, pipe)| pipe.as_fd())
    }

    /// What came since the last time somebody asked; to stop weighs most.
    pub(super) fn heard(&mut self) -> Option<Heard> {
        let mut heard = None;
        for (signal, pipe) in &mut self.pipes {
            let mut bytes = [0; 64];
            let mut came = false;
            while pipe.read(&mut bytes).is_ok_and(|length| length > 0) {
                came = true;
            }
            let said = match *signal {
                SIGHUP => Some(self.hangup),
                SIGCONT => None,
                _ => Some(Heard::Stop(*signal)),
            };
            if came && !matches!(heard, Some(Heard::Stop(_))) {
                heard = said.or(heard);
            }
        }
        heard
    }
}

/// Whether this process belongs to a terminal, whose end is meant to be its end, too.
fn has_terminal() -> bool {
    std::fs::File::open("/dev/tty").is_ok()
}

/// Whether the signal that a terminal leaves behind was to be ignored, as `nohup` has it.
///
/// Source: proc_pid_status(5), `SigIgn`: a mask in hexadecimal, in which the first signal is the lowest bit.
fn ignores_hangup() -> bool {
    let status = bounded::read_text(Path::new("/proc/self/status"), LARGEST_STATUS).unwrap_or_default();
    is_ignored(&status, SIGHUP)
}

fn is_ignored(status: &str, signal: i32) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    u32::try_from(signal - 1).is_ok_and(|bit| mask.checked_shr(bit).is_some_and(|rest| rest & 1 == 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mask_of_ignored_signals_is_understood() {
        let status =
            |mask: &str| format!("Name:\tx\nSigBlk:\t0000000000000001\nSigIgn:\t{mask}\nSigCgt:\t0\n");
        assert!(is_ignored(&status("0000000000000001"), SIGHUP));
        assert!(is_ignored(&status("0000000000001001"), SIGHUP));
        assert!(!is_ignored(&status("0000000000001000"), SIGHUP));
        assert!(is_ignored(&status("0000000000004000"), SIGTERM));
        for nothing in ["", "SigIgn:\tx\n"] {
            assert!(!is_ignored(nothing, SIGHUP));
        }
    }
}
