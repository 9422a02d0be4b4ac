//! What is kept between runs: the run lock, whether a sweep is due, which tokens this machine minted, and how
//! the passes went, for `status` and the metrics.
//!
//! One lock file and one state file per token file, in the state directory. Neither holds a secret. None of
//! it is needed for a renewal: where the directory cannot be written, a pass goes on without.

use std::ffi::OsStr;
use std::fs::{DirBuilder, File, Metadata, OpenOptions, TryLockError};
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::OFlags;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};

use super::staged::{self, Readers, Staged};
use crate::identity::Dying;
use crate::token::{Accessor, TokenInfo};

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

/// How much of a token's name is remembered, in characters: as much as a line shows.
const LONGEST_NAME: usize = 256;

/// A larger state file is not one of ours.
const LARGEST: u64 = 1024 * 1024;

/// What the state file holds. Unknown fields are passed over, so that an older program can follow a newer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Record {
    /// The token file this is about, for people who look into the directory.
    #[serde(deserialize_with = "lenient")]
    token_file: String,
    /// Whether a sweep was begun, or was about to begin, and has not been seen to end.
    #[serde(deserialize_with = "due")]
    sweep_due: bool,
    /// Whether that sweep was tried, and the token may not list or look up the others.
    #[serde(deserialize_with = "lenient")]
    sweep_denied: bool,
    /// Whether the token file was replaced, or was about to be, and the deploy hook has not been told yet.
    #[serde(deserialize_with = "lenient")]
    hook_due: bool,
    /// The token that the last sweep kept, or was to keep: for people, too.
    #[serde(deserialize_with = "lenient")]
    kept: Option<Accessor>,
    /// What the last sweep believes gone, or could not make out; the next pass looks at it once more.
    #[serde(deserialize_with = "lenient")]
    second_look: Vec<Accessor>,
    /// Tokens minted here and not yet known to be gone, oldest first.
    #[serde(deserialize_with = "entries")]
    minted: Vec<Accessor>,
    /// How the passes went.
    #[serde(deserialize_with = "lenient")]
    history: History,
}

/// A part that another version, or a hand, wrote in a way that is not understood is lost, and nothing else is.
fn lenient<'de, D: Deserializer<'de>, T: Default + DeserializeOwned>(deserializer: D) -> Result<T, D::Error> {
    Ok(T::deserialize(serde_json::Value::deserialize(deserializer)?).unwrap_or_default())
}

/// The same for each entry of a list; that it is none is worth a warning.
fn entries<'de, D: Deserializer<'de>, T: DeserializeOwned>(deserializer: D) -> Result<Vec<T>, D::Error> {
    let entries = Vec::<serde_json::Value>::deserialize(deserializer)?;
    Ok(entries.into_iter().filter_map(|entry| T::deserialize(entry).ok()).collect())
}

/// How the passes went, for `status` and the metrics. Nothing is decided by it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct History {
    /// What was in the token file when a run could last tell.
    #[serde(deserialize_with = "lenient")]
    pub(crate) seen: Sight,
    /// The last pass.
    #[serde(deserialize_with = "lenient")]
    pub(crate) last_run: Option<LastRun>,
    /// When a pass last renewed or healed: seconds since 1970, this machine's clock.
    #[serde(deserialize_with = "lenient")]
    pub(crate) last_success: Option<u64>,
    /// What all passes came to.
    #[serde(deserialize_with = "lenient")]
    pub(crate) counters: Counters,
}

/// What a run found in the token file. An outage is no sight: it leaves the one before.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Sight {
    /// No run has ever been able to tell.
    #[default]
    Never,
    /// No living token.
    Nothing,
    /// This one.
    #[serde(untagged)]
    Token(Seen),
}

impl Sight {
    /// The living token that was there.
    pub(crate) fn token(&self) -> Option<&Seen> {
        match self {
            Self::Token(seen) => Some(seen),
            Self::Never | Self::Nothing => None,
        }
    }
}

/// The token in the token file, as a run saw it. Times are seconds since 1970, this machine's clock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Seen {
    /// Its name.
    pub(crate) display_name: String,
    /// Whether it was ours.
    pub(crate) ours: bool,
    /// When it ends, unless it is renewed; none if never.
    pub(crate) ends_at: Option<u64>,
    /// What the last renewal granted, in seconds; none if it was not renewed then.
    #[serde(default)]
    pub(crate) lease: Option<u64>,
    /// Why it will end, if it is ours and will.
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) dying: Option<Dying>,
}

impl Seen {
    /// What a lookup at `now` says.
    pub(crate) fn new(info: &TokenInfo, ours: bool, now: u64) -> Self {
        let ends_at = info.ends().then(|| now.saturating_add(info.ttl));
        // A name has no limit, and a state file has.
        let display_name = info.display_name.chars().take(LONGEST_NAME).collect();
        Self { display_name, ours, ends_at, lease: None, dying: None }
    }

    /// The same after a renewal at `now` that granted `lease` seconds.
    pub(crate) fn renewed(self, lease: u64, now: u64) -> Self {
        Self { ends_at: Some(now.saturating_add(lease)), lease: Some(lease), ..self }
    }
}

/// A pass that is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LastRun {
    /// When: seconds since 1970, this machine's clock.
    pub(crate) at: u64,
    /// How.
    pub(crate) ending: Ending,
}

/// How a pass ended, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Ending {
    /// Our token was renewed.
    Renewed,
    /// The token file holds ours again.
    Healed,
    /// The token is foreign, and too weak to mint ours.
    Drift,
    /// Anything else.
    Failed,
}

impl Ending {
    /// The word, as the state file has it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Renewed => "renewed",
            Self::Healed => "healed",
            Self::Drift => "drift",
            Self::Failed => "failed",
        }
    }

    /// Whether the token file holds a living token of ours since.
    pub(crate) fn is_good(self) -> bool {
        match self {
            Self::Renewed | Self::Healed => true,
            Self::Drift | Self::Failed => false,
        }
    }
}

/// What passes came to since the state file was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Counters {
    /// Our token was renewed.
    #[serde(deserialize_with = "lenient")]
    pub(crate) renewed: u64,
    /// The pass failed before anything had to be healed.
    #[serde(deserialize_with = "lenient")]
    pub(crate) not_renewed: u64,
    /// Our token turned out to be dying, whatever was made of it then.
    #[serde(deserialize_with = "lenient")]
    pub(crate) not_renewable: u64,
    /// A token was minted and stored.
    #[serde(deserialize_with = "lenient")]
    pub(crate) healed: u64,
    /// Vault refused the mint.
    #[serde(deserialize_with = "lenient")]
    pub(crate) heal_denied: u64,
    /// The heal failed for another reason.
    #[serde(deserialize_with = "lenient")]
    pub(crate) heal_failed: u64,
    /// Stale tokens revoked, one by one.
    #[serde(deserialize_with = "lenient")]
    pub(crate) swept: u64,
}

impl Counters {
    fn add(&mut self, gains: Self) {
        let Self { renewed, not_renewed, not_renewable, healed, heal_denied, heal_failed, swept } = gains;
        for (counter, gain) in [
            (&mut self.renewed, renewed),
            (&mut self.not_renewed, not_renewed),
            (&mut self.not_renewable, not_renewable),
            (&mut self.healed, healed),
            (&mut self.heal_denied, heal_denied),
            (&mut self.heal_failed, heal_failed),
            (&mut self.swept, swept),
        ] {
            *counter = counter.saturating_add(gain);
        }
    }
}

/// The mark of a due sweep. It used to be the accessor to be kept, or null.
fn due<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    let mark = Option::<serde_json::Value>::deserialize(deserializer)?;
    Ok(mark.is_some_and(|mark| mark != false))
}

/// What a sweep leaves to the passes after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    /// Nothing.
    Nothing,
    /// All of it: it was cut short, or never begun.
    Sweep,
    /// The same, because the token may not list or look up the others. It may be granted some day.
    Denied,
}

/// The state of one token file, and where it is kept if it can be.
#[derive(Debug)]
pub(crate) struct State {
    file: Option<PathBuf>,
    record: Record,
    /// Whether this run could tell what is in the token file.
    sighted: bool,
    /// Whether there is a state file that could not be read, and may be as good as ever the next time.
    unread: bool,
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
    /// not exist. A state file that cannot be read or understood is an error beside an empty state. One that
    /// cannot be understood is overwritten at the next save; one that cannot be read only if it has to be; one of
    /// somebody else never.
    pub(crate) fn load(directory: &Path, token_file: &Path) -> (Self, Option<io::Error>) {
        let file = directory.join(file_name(token_file, "json"));
        let (record, error) = match read_record(&file) {
            Ok(record) => (record, None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => (Record::default(), None),
            Err(error) => (Record::default(), Some(error)),
        };
        let record = Record { token_file: token_file.display().to_string(), ..record };
        let garbled = [io::ErrorKind::InvalidData, io::ErrorKind::UnexpectedEof];
        let unread = error.as_ref().is_some_and(|error| !garbled.contains(&error.kind()));
        let foreign = error.is_some() && file.symlink_metadata().is_ok_and(|data| !is_own(&data));
        (Self { file: Some(file).filter(|_| !foreign), record, sighted: false, unread }, error)
    }

    /// A state that is forgotten when the pass ends.
    pub(crate) fn fleeting() -> Self {
        Self { file: None, record: Record::default(), sighted: false, unread: false }
    }

    /// Whether a sweep was begun, or was about to begin, and has not been seen to end.
    pub(crate) fn is_sweep_due(&self) -> bool {
        self.record.sweep_due
    }

    /// What the last sweep left to be done.
    pub(crate) fn due(&self) -> Due {
        match (self.record.sweep_due, self.record.sweep_denied) {
            (false, _) => Due::Nothing,
            (true, false) => Due::Sweep,
            (true, true) => Due::Denied,
        }
    }

    fn set_due(&mut self, due: Due) {
        self.record.sweep_due = due != Due::Nothing;
        self.record.sweep_denied = due == Due::Denied;
    }

    /// What the last sweep believes gone, or could not make out.
    pub(crate) fn second_look(&self) -> &[Accessor] {
        &self.record.second_look
    }

    /// The tokens minted here that may still live, oldest first.
    pub(crate) fn minted(&self) -> &[Accessor] {
        &self.record.minted
    }

    /// How the passes went.
    pub(crate) fn history(&self) -> &History {
        &self.record.history
    }

    /// Remembers what is in the token file, to be saved with the end of the run.
    pub(crate) fn see(&mut self, sight: Sight) {
        self.record.history.seen = sight;
        self.sighted = true;
    }

    /// Remembers why the token that was seen will end.
    pub(crate) fn see_dying(&mut self, dying: Dying) {
        if let Sight::Token(seen) = &mut self.record.history.seen {
            seen.dying = Some(dying);
        }
    }

    /// Begins anew: what was seen so far may not be there any more.
    pub(crate) fn look_away(&mut self) {
        self.sighted = false;
    }

    /// The living token that this run saw in the token file.
    pub(crate) fn seen_now(&self) -> Option<&Seen> {
        self.record.history.seen.token().filter(|_| self.sighted)
    }

    /// Whether the deploy hook has still to be told of a replacement.
    pub(crate) fn is_hook_due(&self) -> bool {
        self.record.hook_due
    }

    /// Remembers whether it has, to be saved with the next note.
    pub(crate) fn set_hook_due(&mut self, due: bool) {
        self.record.hook_due = due;
    }

    /// Notes what a replacement of the token file, which comes next, leaves to be done: a sweep that keeps
    /// `keep`, if there is to be one, and the hook, if that is due.
    pub(crate) fn note_replacement(&mut self, keep: Option<&Accessor>) -> io::Result<()> {
        match keep {
            Some(_) => self.note_sweep_due(keep),
            None if self.record.hook_due => self.save(),
            None => Ok(()),
        }
    }

    /// Notes the end of a pass at `at` (seconds since 1970), and what it adds to the counters.
    pub(crate) fn note_pass(&mut self, at: u64, ending: Ending, gains: Counters) -> io::Result<()> {
        self.record.history.last_run = Some(LastRun { at, ending });
        if ending.is_good() {
            self.record.history.last_success = Some(at);
        }
        self.note_gains(gains)
    }

    /// Notes what the counters gain without a pass.
    pub(crate) fn note_gains(&mut self, gains: Counters) -> io::Result<()> {
        self.record.history.counters.add(gains);
        // What an unread state file remembers is worth more than this.
        if self.unread { Ok(()) } else { self.stage()?.map_or(Ok(()), Staged::replace) }
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
        self.set_due(Due::Sweep);
        self.record.kept = keep.cloned();
        self.save()
    }

    /// Notes that a minted token was not kept after all, what a sweep has to do all the same, and whether that
    /// token is known to be gone.
    pub(crate) fn note_discarded(&mut self, due: Due, gone: Option<&Accessor>) -> io::Result<()> {
        self.set_due(due);
        self.record.minted.retain(|accessor| Some(accessor) != gone);
        self.save()
    }

    /// Notes the end of a sweep: what it leaves to be done, which tokens are known to be gone, and which need
    /// a second look.
    pub(crate) fn note_swept(
        &mut self,
        due: Due,
        gone: &[Accessor],
        mut second_look: Vec<Accessor>,
    ) -> io::Result<()> {
        second_look.truncate(SECOND_LOOKS);
        self.set_due(due);
        let record = &mut self.record;
        record.second_look = second_look;
        record.minted.retain(|accessor| !gone.contains(accessor));
        self.save()
    }

    fn save(&mut self) -> io::Result<()> {
        // A state that was not synced is no worse than one that was not written: nothing is lost by it.
        self.stage()?.map_or(Ok(()), |staged| staged.commit().map(|_| ()))?;
        self.unread = false;
        Ok(())
    }

    /// What is to be saved, synced to disk, if there is a place for it.
    fn stage(&self) -> io::Result<Option<Staged>> {
        let Some(file) = &self.file else { return Ok(None) };
        let json = serde_json::to_vec_pretty(&self.record)?;
        Staged::write(file, &json, Readers::Owner).map(Some)
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
    // Whoever else owns it could hold it for ever, and a run would wait in vain every night.
    check_owner(&file)?;
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
    // What somebody else lists here as minted by us would be revoked.
    check_owner(&file)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() || metadata.len() > LARGEST {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "not a state file"));
    }
    let mut json = Vec::new();
    file.take(LARGEST).read_to_end(&mut json)?;
    Ok(serde_json::from_slice(&json)?)
}

/// A file of somebody else is none of ours, whatever its name.
fn check_owner(file: &File) -> io::Result<()> {
    let data = file.metadata()?;
    if is_own(&data) {
        return Ok(());
    }
    let reason = format!("it belongs to another user (uid {})", data.uid());
    Err(io::Error::new(io::ErrorKind::PermissionDenied, reason))
}

fn is_own(data: &Metadata) -> bool {
    data.uid() == rustix::process::geteuid().as_raw()
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
        state.note_swept(Due::Denied, &[accessor("one")], Vec::new()).unwrap();
        assert_eq!(state.due(), Due::Denied);
        state.note_swept(Due::Sweep, &[], Vec::new()).unwrap();
        assert_eq!(state.due(), Due::Sweep);
        let many: Vec<_> = (0..=SECOND_LOOKS).map(|number| accessor(&number.to_string())).collect();
        state.note_swept(Due::Nothing, &[], many.clone()).unwrap();

        let (mut state, _) = State::load(directory.path(), file());
        assert!(!state.is_sweep_due());
        assert_eq!(state.minted(), [accessor("two")]);
        assert_eq!(state.second_look(), &many[..SECOND_LOOKS]);
        state.note_discarded(Due::Denied, Some(&accessor("two"))).unwrap();
        assert_eq!(state.due(), Due::Denied);
        assert!(state.is_sweep_due() && state.minted().is_empty() && !state.second_look().is_empty());
        state.note_discarded(Due::Nothing, None).unwrap();
        assert!(!state.is_sweep_due());
        let (other, _) = State::load(directory.path(), Path::new("/home/emo/.vault-token"));
        assert!(other.minted().is_empty());
    }

    #[test]
    fn a_spoilt_state_file_is_told_and_started_anew() {
        let directory = tempfile::tempdir().unwrap();
        for contents in ["", "{", "5", "null", r#"{"minted":5}"#, "\0\0\0"] {
            let path = directory.path().join(file_name(file(), "json"));
            Staged::write(&path, contents.as_bytes(), Readers::Owner).unwrap().commit().map(|_| ()).unwrap();
            let (mut state, error) = State::load(directory.path(), file());
            assert!(error.is_some(), "{contents:?}");
            state.note_mint(&accessor("one")).unwrap();
            assert_eq!(State::load(directory.path(), file()).0.minted(), [accessor("one")]);
        }
    }

    #[test]
    fn a_state_file_that_could_not_be_read_is_not_overwritten_by_mere_history() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(file_name(file(), "json"));
        std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
        let (mut state, error) = State::load(directory.path(), file());
        assert!(error.is_some());
        state.note_pass(1, Ending::Renewed, Counters::default()).unwrap();
        assert!(path.is_symlink());
        state.note_mint(&accessor("one")).unwrap();
        state.note_pass(2, Ending::Healed, Counters::default()).unwrap();
        assert_eq!(State::load(directory.path(), file()).0.history().last_success, Some(2));
    }

    #[test]
    fn a_part_that_is_not_understood_is_lost_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(file_name(file(), "json"));
        for odd in [
            r#""history":null"#,
            r#""history":[1]"#,
            r#""history":{"last_run":{"at":1,"ending":"followed"},"last_success":7}"#,
            r#""history":{"counters":{"renewed":-1},"last_success":7}"#,
            r#""history":{"counters":null,"seen":{"display_name":"x"},"last_success":7}"#,
            r#""second_look":null,"kept":5,"hook_due":"x","history":{"last_success":7}"#,
        ] {
            let json = format!(r#"{{"sweep_due":true,"minted":["one"],{odd}}}"#);
            Staged::write(&path, json.as_bytes(), Readers::Owner).unwrap().commit().map(|_| ()).unwrap();
            let (state, error) = State::load(directory.path(), file());
            assert!(error.is_none() && state.is_sweep_due(), "{odd}: {error:?}");
            assert_eq!(state.minted(), [accessor("one")], "{odd}");
            assert_eq!(state.history().last_success, Some(7).filter(|_| odd.contains('7')), "{odd}");
        }
        let json = r#"{"minted":[{"accessor":"x"},"one",5],"second_look":"x","sweep_due":true,
            "history":{"counters":{"renewed":3,"swept":"many"}}}"#;
        Staged::write(&path, json.as_bytes(), Readers::Owner).unwrap().commit().map(|_| ()).unwrap();
        let (state, error) = State::load(directory.path(), file());
        assert!(error.is_none() && state.is_sweep_due(), "{error:?}");
        assert_eq!(state.minted(), [accessor("one")]);
        assert_eq!(state.history().counters, Counters { renewed: 3, ..Counters::default() });
    }

    #[test]
    fn a_newer_programs_state_file_is_understood() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(file_name(file(), "json"));
        let json = br#"{"minted":["one"],"something_new":{"a":1}}"#;
        Staged::write(&path, json, Readers::Owner).unwrap().commit().map(|_| ()).unwrap();
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
            Staged::write(&path, json.as_bytes(), Readers::Owner).unwrap().commit().map(|_| ()).unwrap();
            let (state, error) = State::load(directory.path(), file());
            assert!(error.is_none() && state.is_sweep_due() == due, "{mark}");
            assert_eq!(state.minted(), [accessor("one")]);
        }
    }

    #[test]
    fn what_passes_came_to_adds_up_from_run_to_run() {
        let directory = tempfile::tempdir().unwrap();
        let load = || State::load(directory.path(), file()).0;
        let gains = Counters { healed: 1, swept: 2, ..Counters::default() };
        load().note_pass(100, Ending::Healed, gains).unwrap();
        let failure = Counters { not_renewed: 1, ..Counters::default() };
        load().note_pass(200, Ending::Failed, failure).unwrap();
        load().note_gains(Counters { swept: 3, ..Counters::default() }).unwrap();
        let state = load();
        let record = state.history();
        assert_eq!(record.counters, Counters { healed: 1, swept: 5, not_renewed: 1, ..Counters::default() });
        assert_eq!(record.last_run, Some(LastRun { at: 200, ending: Ending::Failed }));
        assert_eq!(record.last_success, Some(100));
    }

    #[test]
    fn what_was_seen_ends_when_the_lookup_or_the_renewal_says() {
        let info = TokenInfo { display_name: "token-x".to_owned(), ttl: 50, ..TokenInfo::default() };
        let seen = Seen::new(&info, true, 1_000);
        assert_eq!((seen.ends_at, seen.lease), (Some(1_050), None));
        let renewed = seen.renewed(600, 1_001);
        assert_eq!((renewed.ends_at, renewed.lease), (Some(1_601), Some(600)));
        assert_eq!(Seen::new(&TokenInfo::default(), false, 1_000).ends_at, None);
    }

    #[test]
    fn a_name_of_any_length_leaves_the_state_readable() {
        let directory = tempfile::tempdir().unwrap();
        let (mut state, _) = State::load(directory.path(), file());
        let display_name = "é".repeat(1_000_000);
        state.see(Sight::Token(Seen::new(&TokenInfo { display_name, ..TokenInfo::default() }, false, 1)));
        state.note_mint(&accessor("one")).unwrap();
        let (state, error) = State::load(directory.path(), file());
        assert!(error.is_none());
        assert_eq!(state.minted(), [accessor("one")]);
    }

    #[test]
    fn files_of_another_user_are_neither_state_nor_lock() {
        // Only root can make such files; whoever is not root has /etc/passwd.
        let directory = tempfile::tempdir().unwrap();
        if rustix::process::geteuid().is_root() {
            let nobody = Some(65_534);
            let (json, lock_file) = (file_name(file(), "json"), file_name(file(), "lock"));
            for (name, contents) in [(json, r#"{"sweep_due":true,"minted":["planted"]}"#), (lock_file, "")] {
                let path = directory.path().join(name);
                File::create(&path).unwrap().write_all(contents.as_bytes()).unwrap();
                std::os::unix::fs::chown(path, nobody, nobody).unwrap();
            }
            let (mut state, error) = State::load(directory.path(), file());
            assert_eq!(error.unwrap().to_string(), "it belongs to another user (uid 65534)");
            assert_eq!((state.minted(), state.is_sweep_due(), state.unread), (&[][..], false, true));
            // Nor is it overwritten, not even for what would be noted elsewhere.
            state.note_mint(&accessor("one")).unwrap();
            let planted = fs::read_to_string(directory.path().join(file_name(file(), "json"))).unwrap();
            assert!(planted.contains("planted"), "{planted}");
            assert!(lock(directory.path(), file(), || ()).is_err());
        } else {
            assert!(check_owner(&File::open("/etc/passwd").unwrap()).is_err());
        }
        assert!(check_owner(&tempfile::tempfile().unwrap()).is_ok());
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
            r#"{"token_file":"/home/wizard/.vault-token","sweep_due":true,"kept":"a","second_look":["b"],"minted":["a","b"],"history":{"seen":{"display_name":"token-x","ours":true,"ends_at":5,"lease":null,"dying":"no_period"},"last_run":{"at":1,"ending":"healed"},"last_success":1,"counters":{"renewed":1}}}"#,
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
