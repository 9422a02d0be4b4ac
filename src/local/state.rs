//! What is kept between runs: the run lock, whether a sweep is due, which tokens this machine minted.
//!
//! One lock file and one state file per token file, in the state directory. Neither holds a secret. None of
//! it is needed for a renewal: where the directory cannot be written, a pass goes on without.

use std::ffi::OsStr;
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::OFlags;
use serde::{Deserialize, Deserializer, Serialize};

use super::staged::{self, Staged};
use crate::token::Accessor;

/// How long a run waits for another one: longer than the longest sweep and the longest sensible retry
/// budget together, so that only a stuck run is ever given up on.
const LOCK_WAIT: Duration = Duration::from_secs(20 * 60);

/// How long a run waits for the lock on the directory of the token file, which any program may take: longer
/// than an ordinary run that keeps its state elsewhere.
const PLACE_WAIT: Duration = Duration::from_secs(2 * 60);

/// After this long, the wait is worth a word to whoever sits before the terminal.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);

/// How often the lock is tried. There is no timed lock to wait on.
const LOCK_POLL: Duration = Duration::from_millis(50);

/// Remembered accessors beyond this are forgotten, oldest first. They pile up only where revocation is
/// denied, and unrenewed tokens end by themselves.
const REMEMBERED: usize = 64;

/// No more accessors than this get a second look. On a busy server many tokens end during a walk, and those of
/// our name, which matter, come first.
pub(crate) const SECOND_LOOKS: usize = 64;

/// A larger state file is not one of ours.
const LARGEST: u64 = 1024 * 1024;

/// What the state file holds. Unknown fields are passed over, so that an older program can follow a newer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Record {
    /// The token file this is about, for people who look into the directory.
    token_file: String,
    /// Whether a sweep was begun, or was about to begin, and has not been seen to end.
    #[serde(deserialize_with = "due")]
    sweep_due: bool,
    /// The token that the last sweep kept, or was to keep.
    kept: Option<Accessor>,
    /// What the last sweep believes gone, or could not make out; the next pass looks at it once more.
    second_look: Vec<Accessor>,
    /// Tokens minted here and not yet known to be gone, oldest first.
    minted: Vec<Accessor>,
}

/// The mark of a due sweep. It used to be the accessor to be kept, or null.
fn due<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    let mark = Option::<serde_json::Value>::deserialize(deserializer)?;
    Ok(mark.is_some_and(|mark| mark != false))
}

/// The state of one token file, and where it is kept if it can be.
#[derive(Debug)]
pub(crate) struct State {
    file: Option<PathBuf>,
    record: Record,
}

/// The exclusive right to work on one token file, given back when dropped.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

/// How the attempt to lock ended.
#[derive(Debug)]
#[must_use]
pub(crate) enum Locking {
    /// We hold it.
    Held(Lock),
    /// Another run held it all the time.
    Busy,
}

impl State {
    /// The state of `token_file` (the real file, links resolved) as last saved in `directory`, which need
    /// not exist. A state file that cannot be read or understood is an error beside an empty state: it is
    /// overwritten at the next save.
    pub(crate) fn load(directory: &Path, token_file: &Path) -> (Self, Option<io::Error>) {
        let file = directory.join(file_name(token_file, "json"));
        let (record, error) = match read_record(&file) {
            Ok(record) => (record, None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => (Record::default(), None),
            Err(error) => (Record::default(), Some(error)),
        };
        let record = Record { token_file: token_file.display().to_string(), ..record };
        (Self { file: Some(file), record }, error)
    }

    /// A state that is forgotten when the pass ends.
    pub(crate) fn fleeting() -> Self {
        Self { file: None, record: Record::default() }
    }

    /// Whether a sweep was begun, or was about to begin, and has not been seen to end.
    pub(crate) fn is_sweep_due(&self) -> bool {
        self.record.sweep_due
    }

    /// What the last sweep believes gone, or could not make out.
    pub(crate) fn second_look(&self) -> &[Accessor] {
        &self.record.second_look
    }

    /// The tokens minted here that may still live, oldest first.
    pub(crate) fn minted(&self) -> &[Accessor] {
        &self.record.minted
    }

    /// Notes a mint before anything else is done with it, so that even a killed run strands no token.
    pub(crate) fn note_mint(&mut self, accessor: &Accessor) -> io::Result<()> {
        self.record.minted.push(accessor.clone());
        let excess = self.record.minted.len().saturating_sub(REMEMBERED);
        self.record.minted.drain(..excess);
        self.save()
    }

    /// Notes that a sweep is due, and which token it has to keep, if that is known.
    pub(crate) fn note_sweep_due(&mut self, keep: Option<&Accessor>) -> io::Result<()> {
        self.record.sweep_due = true;
        self.record.kept = keep.cloned();
        self.save()
    }

    /// Notes that a minted token was not kept after all, whether a sweep is due all the same, and whether
    /// that token is known to be gone.
    pub(crate) fn note_discarded(&mut self, still_due: bool, gone: Option<&Accessor>) -> io::Result<()> {
        self.record.sweep_due = still_due;
        self.record.minted.retain(|accessor| Some(accessor) != gone);
        self.save()
    }

    /// Notes the end of a sweep: whether it is still due, which tokens are known to be gone, and which need
    /// a second look.
    pub(crate) fn note_swept(
        &mut self,
        still_due: bool,
        gone: &[Accessor],
        mut second_look: Vec<Accessor>,
    ) -> io::Result<()> {
        second_look.truncate(SECOND_LOOKS);
        let record = &mut self.record;
        record.sweep_due = still_due;
        record.second_look = second_look;
        record.minted.retain(|accessor| !gone.contains(accessor));
        self.save()
    }

    fn save(&self) -> io::Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        let json = serde_json::to_vec_pretty(&self.record)?;
        // A state that was not synced is no worse than one that was not written: nothing is lost by it.
        Staged::write(file, &json)?.commit().map(|_| ())
    }
}

/// Waits for the lock of `token_file` in `directory`, which is made if need be. `waiting` is called once,
/// when the wait gets long. An error means that there can be no lock here.
pub(crate) fn lock(directory: &Path, token_file: &Path, waiting: impl FnOnce()) -> io::Result<Locking> {
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    // The lock has a file of its own: the token file is replaced, and two runs could each lock "it". A link
    // or a pipe in its place is somebody's joke.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(flags.bits().cast_signed())
        .open(directory.join(file_name(token_file, "lock")))?;
    let locking = wait_for(file, LOCK_WAIT, waiting)?;
    if let Locking::Held(_) = locking {
        // Under the lock nobody else stages a state file, so what lies there was left by a kill.
        let state_file = directory.join(file_name(token_file, "json"));
        staged::remove_leftovers(&state_file, rustix::process::geteuid().as_raw())?;
    }
    Ok(locking)
}

/// Waits for the lock on the directory in which `token_file` is. It needs no file of its own and no right to
/// write, and all runs that replace this file meet at it, wherever they keep their state.
pub(crate) fn lock_place(token_file: &Path, waiting: impl FnOnce()) -> io::Result<Locking> {
    wait_for(File::open(staged::directory(token_file))?, PLACE_WAIT, waiting)
}

fn wait_for(file: File, limit: Duration, waiting: impl FnOnce()) -> io::Result<Locking> {
    let start = Instant::now();
    let mut waiting = Some(waiting);
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(Locking::Held(Lock { _file: file })),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => return Err(error),
        }
        if start.elapsed() >= LOCK_PATIENCE
            && let Some(waiting) = waiting.take()
        {
            waiting();
        }
        if start.elapsed() >= limit {
            return Ok(Locking::Busy);
        }
        thread::sleep(LOCK_POLL);
    }
}

fn read_record(file: &Path) -> io::Result<Record> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(file)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() || metadata.len() > LARGEST {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "not a state file"));
    }
    let mut json = Vec::new();
    file.take(LARGEST).read_to_end(&mut json)?;
    Ok(serde_json::from_slice(&json)?)
}

/// A name for the files that belong to `token_file`: its own name to be recognised by, and a hash of its
/// whole path to tell two apart. The hash has to be the same in every release, which std's is not.
fn file_name(token_file: &Path, extension: &str) -> String {
    let name = token_file.file_name().unwrap_or(OsStr::new("token")).to_string_lossy();
    let name: String =
        name.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_')).take(40).collect();
    format!("{name}-{:016x}.{extension}", fnv1a(token_file.as_os_str().as_bytes()))
}

/// The 64-bit Fowler–Noll–Vo hash, variant 1a. Names files, guards nothing.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::fs;
    use std::io::Write as _;

    fn accessor(text: &str) -> Accessor {
        Accessor::new(text.to_owned()).unwrap()
    }

    fn file() -> &'static Path {
        Path::new("/home/wizard/.vault-token")
    }

    #[test]
    fn what_was_noted_is_there_after_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let (mut state, error) = State::load(directory.path(), file());
        assert!(error.is_none() && !state.is_sweep_due() && state.minted().is_empty());
        state.note_mint(&accessor("one")).unwrap();
        state.note_mint(&accessor("two")).unwrap();
        state.note_sweep_due(Some(&accessor("two"))).unwrap();

        let (mut state, error) = State::load(directory.path(), file());
        assert!(error.is_none() && state.is_sweep_due());
        assert_eq!(state.minted(), [accessor("one"), accessor("two")]);
        state.note_swept(true, &[accessor("one")], Vec::new()).unwrap();
        assert!(state.is_sweep_due());
        let many: Vec<_> = (0..=SECOND_LOOKS).map(|number| accessor(&number.to_string())).collect();
        state.note_swept(false, &[], many.clone()).unwrap();

        let (mut state, _) = State::load(directory.path(), file());
        assert!(!state.is_sweep_due());
        assert_eq!(state.minted(), [accessor("two")]);
        assert_eq!(state.second_look(), &many[..SECOND_LOOKS]);
        state.note_discarded(true, Some(&accessor("two"))).unwrap();
        assert!(state.is_sweep_due() && state.minted().is_empty() && !state.second_look().is_empty());
        state.note_discarded(false, None).unwrap();
        assert!(!state.is_sweep_due());
        let (other, _) = State::load(directory.path(), Path::new("/home/emo/.vault-token"));
        assert!(other.minted().is_empty());
    }

    #[test]
    fn a_spoilt_state_file_is_told_and_started_anew() {
        let directory = tempfile::tempdir().unwrap();
        for contents in ["", "{", "5", "null", r#"{"minted":5}"#, "\0\0\0"] {
            let path = directory.path().join(file_name(file(), "json"));
            Staged::write(&path, contents.as_bytes()).unwrap().commit().map(|_| ()).unwrap();
            let (mut state, error) = State::load(directory.path(), file());
            assert!(error.is_some(), "{contents:?}");
            state.note_mint(&accessor("one")).unwrap();
            assert_eq!(State::load(directory.path(), file()).0.minted(), [accessor("one")]);
        }
    }

    #[test]
    fn a_newer_programs_state_file_is_understood() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(file_name(file(), "json"));
        let json = br#"{"minted":["one"],"something_new":{"a":1}}"#;
        Staged::write(&path, json).unwrap().commit().map(|_| ()).unwrap();
        let (state, error) = State::load(directory.path(), file());
        assert!(error.is_none());
        assert_eq!(state.minted(), [accessor("one")]);
    }

    #[test]
    fn an_older_programs_mark_of_a_due_sweep_is_understood() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(file_name(file(), "json"));
        for (mark, due) in [("null", false), (r#""one""#, true), ("false", false), ("true", true)] {
            let json = format!(r#"{{"minted":["one"],"sweep_due":{mark}}}"#);
            Staged::write(&path, json.as_bytes()).unwrap().commit().map(|_| ()).unwrap();
            let (state, error) = State::load(directory.path(), file());
            assert!(error.is_none() && state.is_sweep_due() == due, "{mark}");
            assert_eq!(state.minted(), [accessor("one")]);
        }
    }

    #[test]
    fn memory_is_bounded() {
        let directory = tempfile::tempdir().unwrap();
        let (mut state, _) = State::load(directory.path(), file());
        for number in 0..REMEMBERED + 3 {
            state.note_mint(&accessor(&number.to_string())).unwrap();
        }
        assert_eq!(state.minted().len(), REMEMBERED);
        assert_eq!(state.minted().first(), Some(&accessor("3")));
    }

    #[test]
    fn the_lock_keeps_others_out_and_is_given_back() {
        let directory = tempfile::tempdir().unwrap();
        let nested = directory.path().join("a/b");
        let Locking::Held(held) = lock(&nested, file(), || ()).unwrap() else { panic!("not held") };
        let probe = File::open(nested.join(file_name(file(), "lock"))).unwrap();
        assert!(matches!(probe.try_lock(), Err(TryLockError::WouldBlock)));
        assert!(matches!(lock(&nested, Path::new("/other"), || ()).unwrap(), Locking::Held(_)));
        drop(held);
        probe.try_lock().unwrap();
    }

    #[test]
    fn a_link_or_a_pipe_in_the_place_of_the_lock_is_neither_followed_nor_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(file_name(file(), "lock"));
        std::os::unix::fs::symlink(directory.path().join("victim"), &path).unwrap();
        assert!(lock(directory.path(), file(), || ()).is_err());
        assert!(!directory.path().join("victim").exists());
        fs::remove_file(&path).unwrap();
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        assert!(lock(directory.path(), file(), || ()).is_err());
    }

    #[test]
    fn a_lock_that_somebody_keeps_is_waited_for_but_not_for_ever() {
        let directory = tempfile::tempdir().unwrap();
        let token_file = directory.path().join("token");
        let Locking::Held(held) = lock_place(&token_file, || ()).unwrap() else { panic!("not held") };
        let another = || File::open(directory.path()).unwrap();
        let limit = Duration::from_millis(120);
        assert!(matches!(wait_for(another(), limit, || ()).unwrap(), Locking::Busy));
        drop(held);
        assert!(matches!(wait_for(another(), limit, || ()).unwrap(), Locking::Held(_)));
        assert!(lock_place(&directory.path().join("nowhere/token"), || ()).is_err());
    }

    #[test]
    fn a_pipe_or_a_link_in_the_place_of_the_state_file_is_not_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(file_name(file(), "json"));
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        assert!(State::load(directory.path(), file()).1.is_some());
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
        assert!(State::load(directory.path(), file()).1.is_some());
    }

    #[test]
    fn a_state_file_that_is_far_too_large_is_not_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(file_name(file(), "json"));
        File::create(&path).unwrap().set_len(LARGEST + 1).unwrap();
        assert_eq!(State::load(directory.path(), file()).1.unwrap().to_string(), "not a state file");
    }

    #[test]
    fn file_names_stay_the_same_from_release_to_release() {
        assert_eq!(file_name(file(), "json"), "vault-token-6474e735d2ccf7c8.json");
        assert!(file_name(Path::new("/a/ü x"), "lock").starts_with("x-"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_state_or_a_spoilt_one(bytes in crate::hostile::bytes(&[
            r#"{"token_file":"/home/wizard/.vault-token","sweep_due":true,"kept":"a","second_look":["b"],"minted":["a","b"]}"#,
        ])) {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join(file_name(file(), "json"));
            File::create(&path).unwrap().write_all(&bytes).unwrap();
            let (mut state, _) = State::load(directory.path(), file());
            state.note_mint(&accessor("one")).unwrap();
            let (state, error) = State::load(directory.path(), file());
            prop_assert!(error.is_none());
            prop_assert!(state.minted().contains(&accessor("one")));
        }
    }
}
