//! The two streams on which a run speaks, and the journal behind them.

use std::fmt;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;

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

impl Streams for OfProcess {
    fn write(&self, stream: Stream, line: &str) -> io::Result<()> {
        let bytes = format!("{line}\n");
        match stream {
            Stream::Out => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(bytes.as_bytes())?;
                stdout.flush()
            }
            Stream::Err => io::stderr().lock().write_all(bytes.as_bytes()),
        }
    }

    fn is_journal(&self, stream: Stream) -> bool {
        let descriptor = match stream {
            Stream::Out => io::stdout().as_fd().try_clone_to_owned(),
            Stream::Err => io::stderr().as_fd().try_clone_to_owned(),
        };
        self.journal
            .as_ref()
            .is_some_and(|journal| descriptor.is_ok_and(|descriptor| is_stream(descriptor, journal)))
    }
}

fn is_stream(descriptor: OwnedFd, journal: &str) -> bool {
    File::from(descriptor).metadata().is_ok_and(|data| journal == format!("{}:{}", data.dev(), data.ino()))
}
