//! The two streams on which a run speaks, and the journal behind them.

use std::fmt;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// One of the two streams of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    /// For answers and good news.
    Out,
    /// For whatever somebody should look at.
    Err,
}

/// Where lines go. Handed in, so that a test can read what several runs in one process said.
pub(crate) trait Streams: fmt::Debug {
    /// Writes a line, whole: lines of runs side by side do not mix.
    fn write(&self, stream: Stream, line: &str) -> io::Result<()>;

    /// Whether what is written there is a line of the journal.
    fn is_journal(&self, stream: Stream) -> bool;
}

/// The streams of this process.
#[derive(Debug)]
pub(crate) struct OfProcess {
    /// The value of `JOURNAL_STREAM`: device and inode, by which a service recognises its streams.
    pub(crate) journal: Option<String>,
}

/// The same for a process that stays: whoever does not read what it says holds up no renewal. A line for which there is
/// no room is dropped; the log has it.
#[derive(Debug)]
pub(crate) struct Unhurried {
    streams: OfProcess,
    /// Whether there was no room the last time, for each stream. Then nobody waits for it again.
    is_full: [AtomicBool; 2],
}

/// How long a line waits for room, the first time.
const ROOM_WITHIN: Duration = Duration::from_millis(50);

/// A pipe that can be written to at all takes so much at once. Source: pipe(7), `PIPE_BUF`.
const PIECE: usize = 4096;

impl From<OfProcess> for Unhurried {
    fn from(streams: OfProcess) -> Self {
        Self { streams, is_full: Default::default() }
    }
}

impl Streams for Unhurried {
    fn write(&self, stream: Stream, line: &str) -> io::Result<()> {
        let descriptor = descriptor(stream)?;
        let [out, err] = &self.is_full;
        let is_full = match stream {
            Stream::Out => out,
            Stream::Err => err,
        };
        let line = format!("{line}\n");
        for piece in line.as_bytes().chunks(PIECE) {
            let limit = if is_full.load(Ordering::Relaxed) { Duration::ZERO } else { ROOM_WITHIN };
            is_full.store(!has_room(&descriptor, limit)?, Ordering::Relaxed);
            if is_full.load(Ordering::Relaxed) {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            write_all(stream, piece)?;
        }
        Ok(())
    }

    fn is_journal(&self, stream: Stream) -> bool {
        self.streams.is_journal(stream)
    }
}

/// Whether something can be written without waiting for it, or will be within that time.
fn has_room(descriptor: &OwnedFd, limit: Duration) -> io::Result<bool> {
    let limit = Timespec { tv_sec: 0, tv_nsec: i64::from(limit.subsec_nanos()) };
    let mut ready = [PollFd::new(descriptor, PollFlags::OUT)];
    Ok(poll(&mut ready, Some(&limit))? > 0)
}

fn write_all(stream: Stream, bytes: &[u8]) -> io::Result<()> {
    match stream {
        Stream::Out => {
            let mut stdout = io::stdout().lock();
            stdout.write_all(bytes)?;
            stdout.flush()
        }
        Stream::Err => io::stderr().lock().write_all(bytes),
    }
}

fn descriptor(stream: Stream) -> io::Result<OwnedFd> {
    match stream {
        Stream::Out => io::stdout().as_fd().try_clone_to_owned(),
        Stream::Err => io::stderr().as_fd().try_clone_to_owned(),
    }
}

impl Streams for OfProcess {
    fn write(&self, stream: Stream, line: &str) -> io::Result<()> {
        write_all(stream, format!("{line}\n").as_bytes())
    }

    fn is_journal(&self, stream: Stream) -> bool {
        let journal = self.journal.as_ref();
        journal
            .is_some_and(|journal| descriptor(stream).is_ok_and(|descriptor| is_stream(descriptor, journal)))
    }
}

fn is_stream(descriptor: OwnedFd, journal: &str) -> bool {
    File::from(descriptor).metadata().is_ok_and(|data| journal == format!("{}:{}", data.dev(), data.ino()))
}
