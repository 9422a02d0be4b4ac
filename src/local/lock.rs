//! The run lock: one run at a time for each token file.
//!
//! It is a file of its own in the state directory. Runs that keep their state in different places meet at the
//! directory of the token file, which is locked too. Why two: docs/design.md, "A lock of its own".

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::OFlags;

use super::glance::Glance;
use super::staged;
use super::state_dir::file_name;
use crate::stop::Stop;

/// How long a run waits for another one at most: longer than the longest sweep and the longest sensible retry
/// budget together, so that only a stuck run is ever given up on.
pub(crate) const LONGEST_WAIT: Duration = Duration::from_secs(20 * 60);

/// How long a run waits at most for the lock on the directory of the token file, which any program may take: longer
/// than an ordinary run that keeps its state elsewhere.
const PLACE_WAIT: Duration = Duration::from_secs(2 * 60);

/// How long a word that is only worth a moment waits.
const BRIEF_WAIT: Duration = Duration::from_millis(500);

/// After this long, the wait is worth a word to whoever sits before the terminal.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);

/// How often the lock is tried. There is no timed lock to wait on.
const LOCK_POLL: Duration = Duration::from_millis(50);

/// The exclusive right to work on one token file, given back when dropped.
#[derive(Debug)]
pub(crate) struct Lock {
    file: File,
}

impl Lock {
    /// The locked file, for what its holder has to say.
    pub(super) fn file(&self) -> &File {
        &self.file
    }
}

/// How the attempt to lock ended.
#[derive(Debug)]
#[must_use]
pub(crate) enum Locking {
    /// We hold it.
    Held(Lock),
    /// Another run held it all the time.
    Busy,
    /// Somebody wanted this run to end before the lock was free.
    Stopped,
}

/// Waits up to `limit` for the lock of `token_file` in `directory`, which is made if need be. `waiting` is called once,
/// when the wait gets long. An error means that there can be no lock here.
pub(crate) fn lock(
    directory: &Path,
    token_file: &Path,
    limit: Duration,
    stop: &Stop,
    waiting: impl FnOnce(),
) -> io::Result<Locking> {
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let locking = wait_for(lock_file(&run_lock(directory, token_file))?, limit, stop, waiting)?;
    if let Locking::Held(_) = locking {
        // Under the lock nobody else stages a state file, so what lies there was left by a kill.
        let state_file = directory.join(file_name(token_file, "json"));
        staged::remove_leftovers(&state_file, rustix::process::geteuid().as_raw())?;
    }
    Ok(locking)
}

/// The same for whoever had the lock a moment ago and does not want it badly enough to wait.
pub(crate) fn try_lock(directory: &Path, token_file: &Path, stop: &Stop) -> io::Result<Locking> {
    lock_briefly(&run_lock(directory, token_file), stop)
}

/// The lock of the file at `path`, which is made if need be, and for which nobody waits for long: whoever only looks
/// whether it is held holds it for a moment, too.
pub(super) fn lock_briefly(path: &Path, stop: &Stop) -> io::Result<Locking> {
    wait_for(lock_file(path)?, BRIEF_WAIT, stop, || ())
}

/// The run lock has a file of its own: the token file is replaced, and two runs could each lock "it".
fn run_lock(directory: &Path, token_file: &Path) -> PathBuf {
    directory.join(file_name(token_file, "lock"))
}

fn lock_file(path: &Path) -> io::Result<File> {
    // A link or a pipe in its place is somebody's joke.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(flags.bits().cast_signed())
        .open(path)?;
    // Whoever else owns it could hold it for ever, and a run would wait in vain every night.
    Glance::check_owner(&file)?;
    Ok(file)
}

/// Waits for the lock on the directory in which `token_file` is. It needs no file of its own and no right to
/// write, and all runs that replace this file meet at it, wherever they keep their state.
pub(crate) fn lock_place(
    token_file: &Path,
    limit: Duration,
    stop: &Stop,
    waiting: impl FnOnce(),
) -> io::Result<Locking> {
    wait_for(File::open(staged::directory(token_file))?, limit.min(PLACE_WAIT), stop, waiting)
}

fn wait_for(file: File, limit: Duration, stop: &Stop, waiting: impl FnOnce()) -> io::Result<Locking> {
    let start = Instant::now();
    let mut waiting = Some(waiting);
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(Locking::Held(Lock { file })),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => return Err(error),
        }
        if stop.is_raised() {
            return Ok(Locking::Stopped);
        }
        if start.elapsed() >= LOCK_PATIENCE
            && let Some(waiting) = waiting.take()
        {
            waiting();
        }
        if start.elapsed() >= limit {
            return Ok(Locking::Busy);
        }
        stop.sleep(LOCK_POLL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn file() -> &'static Path {
        Path::new("/home/wizard/.vault-token")
    }

    #[test]
    fn the_lock_keeps_others_out_and_is_given_back() {
        let directory = tempfile::tempdir().unwrap();
        let nested = directory.path().join("a/b");
        let Locking::Held(held) = lock(&nested, file(), LONGEST_WAIT, &Stop::default(), || ()).unwrap()
        else {
            panic!("not held")
        };
        let probe = File::open(nested.join(file_name(file(), "lock"))).unwrap();
        assert!(matches!(probe.try_lock(), Err(TryLockError::WouldBlock)));
        assert!(matches!(
            lock(&nested, Path::new("/other"), LONGEST_WAIT, &Stop::default(), || ()).unwrap(),
            Locking::Held(_)
        ));
        drop(held);
        probe.try_lock().unwrap();
    }

    #[test]
    fn a_link_or_a_pipe_in_the_place_of_the_lock_is_neither_followed_nor_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(file_name(file(), "lock"));
        std::os::unix::fs::symlink(directory.path().join("victim"), &path).unwrap();
        assert!(lock(directory.path(), file(), LONGEST_WAIT, &Stop::default(), || ()).is_err());
        assert!(!directory.path().join("victim").exists());
        fs::remove_file(&path).unwrap();
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        assert!(lock(directory.path(), file(), LONGEST_WAIT, &Stop::default(), || ()).is_err());
    }

    #[test]
    fn a_lock_that_somebody_keeps_is_waited_for_but_not_for_ever() {
        let directory = tempfile::tempdir().unwrap();
        let token_file = directory.path().join("token");
        let Locking::Held(held) = lock_place(&token_file, LONGEST_WAIT, &Stop::default(), || ()).unwrap()
        else {
            panic!("not held")
        };
        let another = || File::open(directory.path()).unwrap();
        let limit = Duration::from_millis(120);
        assert!(matches!(wait_for(another(), limit, &Stop::default(), || ()).unwrap(), Locking::Busy));
        drop(held);
        assert!(matches!(wait_for(another(), limit, &Stop::default(), || ()).unwrap(), Locking::Held(_)));
        assert!(
            lock_place(&directory.path().join("nowhere/token"), LONGEST_WAIT, &Stop::default(), || ())
                .is_err()
        );
    }

    #[test]
    fn a_wait_for_a_lock_ends_when_somebody_wants_the_run_to_end() {
        let directory = tempfile::tempdir().unwrap();
        let token_file = directory.path().join("token");
        let stop = Stop::default();
        let Locking::Held(held) = lock_place(&token_file, LONGEST_WAIT, &stop, || ()).unwrap() else {
            panic!("not held")
        };
        stop.raise(15);
        for _ in 0..2 {
            assert!(matches!(lock_place(&token_file, LONGEST_WAIT, &stop, || ()).unwrap(), Locking::Stopped));
        }
        drop(held);
        // What is free needs no waiting.
        assert!(matches!(lock_place(&token_file, LONGEST_WAIT, &stop, || ()).unwrap(), Locking::Held(_)));
    }
}
