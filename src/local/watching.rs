//! That a process stays with a token file, and when its next run comes: for a second one, for `status`, and for a run
//! that somebody else starts.
//!
//! A file beside the token file says so, where everybody finds it who uses the same token, wherever he keeps his state.
//! Its lock says that the process lives, since the kernel gives that back whatever becomes of it; what is written into
//! the locked file says the rest.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};

use super::glance::Glance;
use super::lock::{self, Lock, Locking};
use super::staged;
use crate::stop::Stop;

/// There is less to say.
const LARGEST: u64 = 4 * 1024;

/// Seconds by which a run may come late, on a machine that is busy or was suspended a moment ago.
const LATE: u64 = 60;

/// Seconds that no run takes: after so long its watchdog takes the process for hung (`service`).
const NO_RUN: u64 = 30 * 60;

/// What a process does that stays with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It keeps the token in it alive.
    Watch,
    /// It keeps it equal to a secret.
    Follow,
}

/// What is known of a process that stays. Times are seconds since 1970, this machine's clock.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Watching {
    /// Its number.
    pub(crate) pid: u32,
    /// When its next run comes; none if it is at work, or cannot say.
    pub(crate) next_run: Option<u64>,
    /// When the run began that it is at.
    pub(crate) at_work_since: Option<u64>,
}

impl Watching {
    /// Whether at `now` it should have made a run, or ended one, long since: it was stopped, or hangs.
    pub(crate) fn is_overdue(&self, now: u64) -> bool {
        let is_late = self.next_run.is_some_and(|at| at.saturating_add(LATE) < now);
        is_late || self.at_work_since.is_some_and(|since| since.saturating_add(NO_RUN) < now)
    }
}

/// The right to be the only one that stays with a token file, given back when dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    lock: Lock,
    path: PathBuf,
}

/// How the attempt to take it ended.
#[derive(Debug)]
#[must_use]
pub(crate) enum Taking {
    /// Nobody else has it.
    Taken(Seat),
    /// This process has it.
    Occupied(Watching),
}

/// Takes that right, if nobody has it, for a process that is at work since `now`. An error means that nothing can be
/// locked there.
pub(crate) fn take(file: &Path, kind: Kind, now: u64, stop: &Stop) -> io::Result<Taking> {
    let path = beside(file, kind);
    loop {
        let Locking::Held(lock) = lock::lock_briefly(&path, stop)? else {
            return Ok(Taking::Occupied(found(&path).unwrap_or_default()));
        };
        // Whoever had it before may have taken the file away between our opening and our locking it.
        let seat = Seat { lock, path: path.clone() };
        if !seat.is_lost() {
            seat.note(Watching { at_work_since: Some(now), ..Watching::default() })?;
            return Ok(Taking::Taken(seat));
        }
    }
}

impl Seat {
    /// Whether somebody has taken the file away: then others find none, and sit down beside us.
    pub(crate) fn is_lost(&self) -> bool {
        let inode = |data: io::Result<fs::Metadata>| data.map(|data| (data.dev(), data.ino())).ok();
        let own = inode(self.lock.file().metadata());
        own.is_none() || inode(self.path.symlink_metadata()) != own
    }

    /// Notes for others how it stands, whatever number is in it.
    pub(crate) fn note(&self, watching: Watching) -> io::Result<()> {
        let text = serde_json::to_vec(&Watching { pid: std::process::id(), ..watching })?;
        // Whoever reads meanwhile finds no JSON, and learns no more than that somebody stays.
        self.lock.file().set_len(0)?;
        self.lock.file().write_all_at(&text, 0)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        // While it is locked, so that it is nobody else's. One that stays there is nobody's lock, and harmless.
        if !self.is_lost() {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// The process that stays with `token_file` (the real file, links resolved), if there is one. Leaves no trace.
pub(crate) fn watching(token_file: &Path) -> Option<Watching> {
    found(&beside(token_file, Kind::Watch))
}

fn found(path: &Path) -> Option<Watching> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(flags.bits().cast_signed());
    let file = options.open(path).ok()?;
    Glance::check_owner(&file).ok()?;
    match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => Some(read(file).unwrap_or_default()),
        Ok(()) | Err(TryLockError::Error(_)) => None,
    }
}

/// The hidden file beside `file`: `.vault-token.watch`.
pub(crate) fn beside(file: &Path, kind: Kind) -> PathBuf {
    let name = file.file_name().unwrap_or_default();
    let mut hidden = OsString::from(if name.as_encoded_bytes().starts_with(b".") { "" } else { "." });
    hidden.push(name);
    hidden.push(match kind {
        Kind::Watch => ".watch",
        Kind::Follow => ".follow",
    });
    staged::directory(file).join(hidden)
}

fn read(file: File) -> Option<Watching> {
    let mut text = Vec::new();
    file.take(LARGEST).read_to_end(&mut text).ok()?;
    serde_json::from_slice(&text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(token_file: &Path) -> Seat {
        match take(token_file, Kind::Watch, 1_000, &Stop::default()).unwrap() {
            Taking::Taken(seat) => seat,
            other @ Taking::Occupied(_) => panic!("{other:?}"),
        }
    }

    #[test]
    fn one_stays_and_says_when_its_next_run_comes() {
        let directory = tempfile::tempdir().unwrap();
        let token_file = &directory.path().join(".vault-token");
        let pid = std::process::id();
        assert_eq!(watching(token_file), None);
        let seat = taken(token_file);
        let begun = Watching { pid, next_run: None, at_work_since: Some(1_000) };
        assert_eq!(watching(token_file), Some(begun), "from its first moment on");
        let second = take(token_file, Kind::Watch, 1_001, &Stop::default()).unwrap();
        assert!(matches!(second, Taking::Occupied(found) if found == begun), "{second:?}");
        for next_run in [Some(1_795_309_391), None, Some(7)] {
            let noted = Watching { next_run, ..Watching::default() };
            seat.note(noted).unwrap();
            assert_eq!(watching(token_file), Some(Watching { pid, ..noted }));
        }
        assert_eq!(watching(&directory.path().join(".another")), None);
        drop(seat);
        assert_eq!(watching(token_file), None);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0, "it leaves nothing behind");
        // Left by one that was killed: what is written there is of earlier times.
        let left = File::create(directory.path().join(".vault-token.watch")).unwrap();
        left.write_all_at(b"{\"pid\":5,\"next_run\":7}", 0).unwrap();
        assert_eq!(watching(token_file), None);
        taken(token_file);
    }

    #[test]
    fn whose_file_was_taken_away_knows_it_and_takes_nobody_elses_along() {
        let directory = tempfile::tempdir().unwrap();
        let token_file = &directory.path().join("token");
        let seat = taken(token_file);
        assert!(!seat.is_lost());
        fs::remove_file(directory.path().join(".token.watch")).unwrap();
        assert!(seat.is_lost());
        let other = taken(token_file);
        assert!(seat.is_lost() && !other.is_lost());
        drop(seat);
        assert!(!other.is_lost() && watching(token_file).is_some());
    }

    #[test]
    fn what_is_garbled_still_says_that_somebody_stays() {
        let directory = tempfile::tempdir().unwrap();
        let token_file = &directory.path().join("token");
        let seat = taken(token_file);
        assert!(directory.path().join(".token.watch").exists(), "hidden, whatever the name");
        for text in ["", "null", "{\"pid\":-1}", "{\"pid\":5,\"next_run\":", "\u{0}"] {
            seat.lock.file().set_len(0).unwrap();
            seat.lock.file().write_all_at(text.as_bytes(), 0).unwrap();
            assert_eq!(watching(token_file), Some(Watching::default()), "{text:?}");
        }
    }

    #[test]
    fn a_link_in_its_place_is_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        let token_file = &directory.path().join(".vault-token");
        let victim = directory.path().join("victim");
        std::os::unix::fs::symlink(&victim, directory.path().join(".vault-token.watch")).unwrap();
        assert!(take(token_file, Kind::Watch, 1_000, &Stop::default()).is_err());
        assert!(!victim.exists());
    }

    #[test]
    fn who_should_have_run_or_ended_long_since_is_overdue() {
        let watching = |next_run, at_work_since| Watching { pid: 5, next_run, at_work_since };
        for (watching, is_overdue) in [
            (Watching::default(), false),
            (watching(Some(10_000), None), false),
            (watching(Some(10_000 - LATE), None), false),
            (watching(Some(9_999 - LATE), None), true),
            (watching(None, Some(10_000 - NO_RUN)), false),
            (watching(None, Some(9_999 - NO_RUN)), true),
        ] {
            assert_eq!(watching.is_overdue(10_000), is_overdue, "{watching:?}");
        }
    }
}
