//! The two streams on which a run speaks, and the journal behind them.

use std::fmt;
use std::fs::File;
use std::io::{self, IsTerminal as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// One of the two streams of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    /// For answers and good news.
    Out,
    /// For whatever somebody should look at.
    Err,
}

/// Where lines go. Handed in, so that a test can read what several runs in one process said.
pub(crate) trait Streams: fmt::Debug + Sync {
    /// Writes a line, whole: lines of runs side by side do not mix.
    fn write(&self, stream: Stream, line: &str) -> io::Result<()>;

    /// Whether what is written there is a line of the journal.
    fn is_journal(&self, stream: Stream) -> bool;

    /// The terminal at which somebody waits for the end of the run, if there is one.
    fn terminal(&self) -> Option<Terminal> {
        None
    }
}

/// A terminal behind standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Terminal {
    /// Whether a line that stands there can be replaced.
    pub(crate) draws: bool,
}

/// The streams of this process.
#[derive(Debug)]
pub(crate) struct OfProcess {
    /// The value of `JOURNAL_STREAM`: device and inode, by which a service recognises its streams.
    pub(crate) journal: Option<String>,
    /// Whether a terminal, if there is one, is too simple to replace a line.
    pub(crate) is_dumb: bool,
}

/// The same for a process that stays: whoever does not read what it says holds up no renewal. While a line waits for
/// its reader, those after it are dropped; the log has them.
#[derive(Debug)]
pub(crate) struct Unhurried {
    streams: OfProcess,
    /// One for each stream.
    pens: [Mutex<Pen>; 2],
}

/// How long a line is waited for. That it is written before the next thing happens is worth that much.
const WRITTEN_WITHIN: Duration = Duration::from_millis(30);

/// A thread that writes, which may take it for ever: no poll says how much a terminal takes at once.
#[derive(Debug)]
struct Pen {
    lines: SyncSender<String>,
    written: Receiver<io::Result<()>>,
    /// Whether the last line still waits for its reader.
    is_stuck: bool,
}

impl Unhurried {
    /// Starts its threads.
    pub(crate) fn start(streams: OfProcess) -> io::Result<Self> {
        Ok(Self {
            streams,
            pens: [Mutex::new(Pen::start(Stream::Out)?), Mutex::new(Pen::start(Stream::Err)?)],
        })
    }
}

impl Pen {
    fn start(stream: Stream) -> io::Result<Self> {
        let (lines, to_write) = mpsc::sync_channel::<String>(1);
        let (done, written) = mpsc::sync_channel(1);
        thread::Builder::new().name("writer".to_owned()).spawn(move || {
            for line in to_write {
                if done.send(write_all(stream, line.as_bytes())).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { lines, written, is_stuck: false })
    }

    fn write(&mut self, line: String) -> io::Result<()> {
        if self.is_stuck && self.written.try_recv().is_err() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.is_stuck = true;
        self.lines.try_send(line).map_err(io::Error::other)?;
        let written = self.written.recv_timeout(WRITTEN_WITHIN).map_err(|_| io::ErrorKind::WouldBlock)?;
        self.is_stuck = false;
        written
    }
}

impl Streams for Unhurried {
    fn write(&self, stream: Stream, line: &str) -> io::Result<()> {
        let [out, err] = &self.pens;
        let pen = match stream {
            Stream::Out => out,
            Stream::Err => err,
        };
        pen.lock().unwrap_or_else(PoisonError::into_inner).write(format!("{line}\n"))
    }

    fn is_journal(&self, stream: Stream) -> bool {
        self.streams.is_journal(stream)
    }
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

    fn terminal(&self) -> Option<Terminal> {
        io::stderr().is_terminal().then_some(Terminal { draws: !self.is_dumb })
    }
}

/// Writes to the terminal behind standard error as it is, without the end of a line.
pub(super) fn to_terminal(text: &str) {
    // Nothing depends on it.
    let _ = write_all(Stream::Err, text.as_bytes());
}

fn is_stream(descriptor: OwnedFd, journal: &str) -> bool {
    File::from(descriptor).metadata().is_ok_and(|data| journal == format!("{}:{}", data.dev(), data.ino()))
}
