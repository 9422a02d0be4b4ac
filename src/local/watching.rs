//! That a process stays with a token file, and when its next run comes: for a second one, for `status`, and for a run
//! that somebody else starts.
//!
//! Its lock says that it lives, since the kernel gives that back whatever becomes of the process; what is written into
//! the locked file says the rest.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};

use super::glance::Glance;
use super::lock::{self, Lock, Locking};
use super::state_dir::file_name;
use crate::stop::Stop;

/// The kind of the file that is locked.
const KIND: &str = "watch";

/// There is less to say.
const LARGEST: u64 = 4 * 1024;

/// What is known of a process that stays.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Watching {
    /// Its number.
    pub(crate) pid: u32,
    /// When its next run comes, in seconds since 1970; none if it is at work, or cannot say.
    pub(crate) next_run: Option<u64>,
}

/// The right to be the only one that stays with a token file, given back when dropped.
#[derive(Debug)]
pub(crate) struct Seat(Lock);

/// How the attempt to take it ended.
#[derive(Debug)]
#[must_use]
pub(crate) enum Taking {
    /// Nobody else has it.
    Taken(Seat),
    /// This process has it.
    Occupied(Watching),
}

/// Takes that right, if nobody has it. An error means that nothing can be locked here.
pub(crate) fn take(directory: &Path, token_file: &Path, stop: &Stop) -> io::Result<Taking> {
    Ok(match lock::lock_briefly(directory, token_file, KIND, stop)? {
        Locking::Held(lock) => Taking::Taken(Seat(lock)),
        Locking::Busy | Locking::Stopped => {
            Taking::Occupied(watching(directory, token_file).unwrap_or_default())
        }
    })
}

impl Seat {
    /// Notes for others when the next run comes.
    pub(crate) fn note(&self, next_run: Option<u64>) -> io::Result<()> {
        let text = serde_json::to_vec(&Watching { pid: std::process::id(), next_run })?;
        // Whoever reads meanwhile finds no JSON, and learns no more than that somebody stays.
        self.0.file().set_len(0)?;
        self.0.file().write_all_at(&text, 0)
    }
}

/// The process that stays with `token_file`, if there is one. Leaves no trace.
pub(crate) fn watching(directory: &Path, token_file: &Path) -> Option<Watching> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(flags.bits().cast_signed());
    let file = options.open(directory.join(file_name(token_file, KIND))).ok()?;
    Glance::check_owner(&file).ok()?;
    match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => Some(read(file).unwrap_or_default()),
        Ok(()) | Err(TryLockError::Error(_)) => None,
    }
}

fn read(file: File) -> Option<Watching> {
    let mut text = Vec::new();
    file.take(LARGEST).read_to_end(&mut text).ok()?;
    serde_json::from_slice(&text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(directory: &Path, token_file: &Path) -> Seat {
        match take(directory, token_file, &Stop::default()).unwrap() {
            Taking::Taken(seat) => seat,
            other @ Taking::Occupied(_) => panic!("{other:?}"),
        }
    }

    #[test]
    fn one_stays_and_says_when_its_next_run_comes() {
        let directory = tempfile::tempdir().unwrap();
        let token_file = Path::new("/home/wizard/.vault-token");
        assert_eq!(watching(directory.path(), token_file), None);
        let seat = taken(directory.path(), token_file);
        assert_eq!(watching(directory.path(), token_file), Some(Watching::default()), "nothing said yet");
        let second = take(directory.path(), token_file, &Stop::default()).unwrap();
        assert!(matches!(second, Taking::Occupied(_)), "{second:?}");
        for next_run in [Some(1_795_309_391), None, Some(7)] {
            seat.note(next_run).unwrap();
            let found = Watching { pid: std::process::id(), next_run };
            assert_eq!(watching(directory.path(), token_file), Some(found));
        }
        assert_eq!(watching(directory.path(), Path::new("/home/wizard/.another")), None);
        drop(seat);
        assert_eq!(watching(directory.path(), token_file), None, "what is written there is of earlier times");
        taken(directory.path(), token_file);
    }

    #[test]
    fn what_is_garbled_still_says_that_somebody_stays() {
        let directory = tempfile::tempdir().unwrap();
        let token_file = Path::new("/home/wizard/.vault-token");
        let seat = taken(directory.path(), token_file);
        for text in ["", "null", "{\"pid\":-1}", "{\"pid\":5,\"next_run\":", "\u{0}"] {
            seat.0.file().set_len(0).unwrap();
            seat.0.file().write_all_at(text.as_bytes(), 0).unwrap();
            assert_eq!(watching(directory.path(), token_file), Some(Watching::default()), "{text:?}");
        }
    }
}
