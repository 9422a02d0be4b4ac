//! What is kept between runs: whether a sweep is due, which tokens this machine minted, and the history.
//!
//! One state file per token file, in the state directory. It holds no secret. None of it is needed for a
//! renewal: where the directory cannot be written, a pass goes on without.

use std::fs::OpenOptions;
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};

use super::glance::Glance;
use super::history::{Contents, Counters, Ending, HeldToken, History, LastRun, lenient};
use super::staged::{Readers, Staged};
use super::state_dir::file_name;
use crate::identity::Dying;
use crate::secret::Fingerprint;
use crate::token::Accessor;

/// Remembered accessors beyond this are forgotten, oldest first. They pile up only where revocation is
/// denied, and unrenewed tokens end by themselves.
const REMEMBERED: usize = 64;

/// No more accessors than this get a second look. On a busy server many tokens end during a walk, and those of
/// our name, which matter, come first.
pub(crate) const MOST_DOUBTFUL: usize = 64;

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
    /// What the last sweep believes gone, or could not make out; the next pass looks at it once more. See
    /// docs/design.md, "A second look".
    #[serde(rename = "second_look", deserialize_with = "lenient")]
    doubtful: Vec<Accessor>,
    /// Tokens minted here and not yet known to be gone, oldest first.
    #[serde(deserialize_with = "entries")]
    minted: Vec<Accessor>,
    /// How the passes went.
    #[serde(deserialize_with = "lenient")]
    history: History,
}

/// The entries of a list that are understood; that it is no list is worth a warning.
fn entries<'de, D: Deserializer<'de>, T: DeserializeOwned>(deserializer: D) -> Result<Vec<T>, D::Error> {
    let entries = Vec::<serde_json::Value>::deserialize(deserializer)?;
    Ok(entries.into_iter().filter_map(|entry| T::deserialize(entry).ok()).collect())
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
    told: bool,
    /// The token that this run found there, or put there.
    token: Option<Fingerprint>,
    /// Whether there is a state file that could not be read, and may be as good as ever the next time.
    unread: bool,
}

impl State {
    /// The state of `token_file` (the real file, links resolved) as last saved in `directory`, which need
    /// not exist. A state file that cannot be read or understood is an error beside an empty state. One that
    /// cannot be understood is overwritten at the next save; one that cannot be read only if it has to be; one of
    /// somebody else never.
    pub(crate) fn load(directory: &Path, token_file: &Path) -> (Self, Option<io::Error>) {
        let file = Self::place(directory, token_file);
        let (record, error) = match read_record(&file) {
            Ok(record) => (record, None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => (Record::default(), None),
            Err(error) => (Record::default(), Some(error)),
        };
        let record = Record { token_file: token_file.display().to_string(), ..record };
        let garbled = [io::ErrorKind::InvalidData, io::ErrorKind::UnexpectedEof];
        let unread = error.as_ref().is_some_and(|error| !garbled.contains(&error.kind()));
        let foreign =
            error.is_some() && file.symlink_metadata().is_ok_and(|data| !Glance::from(&data).is_own());
        (Self { file: Some(file).filter(|_| !foreign), record, told: false, token: None, unread }, error)
    }

    /// Where it is kept, whether it can be read or not.
    pub(crate) fn place(directory: &Path, token_file: &Path) -> PathBuf {
        directory.join(file_name(token_file, "json"))
    }

    /// A state that is forgotten when the pass ends.
    pub(crate) fn fleeting() -> Self {
        Self { file: None, record: Record::default(), told: false, token: None, unread: false }
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
    pub(crate) fn doubtful(&self) -> &[Accessor] {
        &self.record.doubtful
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
    pub(crate) fn set_contents(&mut self, contents: Contents) {
        self.record.history.contents = contents;
        self.told = true;
    }

    /// Adds what this process knows of earlier runs and could not save.
    pub(crate) fn catch_up(&mut self, earlier: &History) {
        self.record.history.catch_up(earlier);
    }

    /// Remembers why the token in the file will end.
    pub(crate) fn set_dying(&mut self, dying: Dying) {
        if let Contents::Held(held) = &mut self.record.history.contents {
            held.dying = Some(dying);
        }
    }

    /// Remembers for this run which token it found in the token file, or put there; none if it found none.
    pub(crate) fn set_token(&mut self, token: Option<Fingerprint>) {
        self.token = token;
    }

    /// The token that this run found in the token file, or put there.
    pub(crate) fn token(&self) -> Option<Fingerprint> {
        self.token
    }

    /// Begins anew: what was found so far may not be there any more.
    pub(crate) fn disregard(&mut self) {
        self.told = false;
    }

    /// The living token that this run saw in the token file.
    pub(crate) fn held_now(&self) -> Option<&HeldToken> {
        self.record.history.contents.held().filter(|_| self.told)
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

    /// Notes what is known of the deploy hook now.
    pub(crate) fn note_hook(&mut self) -> io::Result<()> {
        if self.unread { Ok(()) } else { self.save() }
    }

    /// Remembers whether our token ends before the next run comes, to be saved with the end of the run.
    pub(crate) fn set_ends_before_next_run(&mut self, ends: bool) {
        self.record.history.ends_before_next_run = ends;
    }

    /// Notes the end of a pass at `at` (seconds since 1970), its line, and what it adds to the counters.
    pub(crate) fn note_pass(
        &mut self,
        at: u64,
        ending: Ending,
        line: String,
        gains: Counters,
    ) -> io::Result<()> {
        self.record.history.last_run = Some(LastRun { at, ending });
        self.record.history.last_line = Some(line);
        if ending.is_good() {
            self.record.history.last_success = Some(at);
        }
        self.note_gains(gains)
    }

    /// Notes what the counters gain without a pass.
    pub(crate) fn note_gains(&mut self, gains: Counters) -> io::Result<()> {
        self.record.history.counters.add(gains);
        // Renamed without a sync of the directory, and what an unread state file remembers is worth more than this:
        // docs/design.md, "The state file keeps a history".
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
        mut doubtful: Vec<Accessor>,
    ) -> io::Result<()> {
        doubtful.truncate(MOST_DOUBTFUL);
        self.set_due(due);
        let record = &mut self.record;
        record.doubtful = doubtful;
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

fn read_record(file: &Path) -> io::Result<Record> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(file)?;
    // What somebody else lists here as minted by us would be revoked.
    let glance = Glance::check_owner(&file)?;
    if !glance.is_file || glance.size > LARGEST {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "not a state file"));
    }
    let mut json = Vec::new();
    file.take(LARGEST).read_to_end(&mut json)?;
    Ok(serde_json::from_slice(&json)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local::lock::lock;
    use crate::stop::Stop;
    use crate::token::TokenInfo;
    use proptest::prelude::*;
    use std::fs::{self, File};
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
        let many: Vec<_> = (0..=MOST_DOUBTFUL).map(|number| accessor(&number.to_string())).collect();
        state.note_swept(Due::Nothing, &[], many.clone()).unwrap();

        let (mut state, _) = State::load(directory.path(), file());
        assert!(!state.is_sweep_due());
        assert_eq!(state.minted(), [accessor("two")]);
        assert_eq!(state.doubtful(), &many[..MOST_DOUBTFUL]);
        state.note_discarded(Due::Denied, Some(&accessor("two"))).unwrap();
        assert_eq!(state.due(), Due::Denied);
        assert!(state.is_sweep_due() && state.minted().is_empty() && !state.doubtful().is_empty());
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
        state.note_pass(1, Ending::Renewed, String::new(), Counters::default()).unwrap();
        assert!(path.is_symlink());
        state.note_mint(&accessor("one")).unwrap();
        state.note_pass(2, Ending::Healed, String::new(), Counters::default()).unwrap();
        assert_eq!(State::load(directory.path(), file()).0.history().last_success, Some(2));
    }

    #[test]
    fn a_part_that_is_not_understood_is_lost_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(file_name(file(), "json"));
        for odd in [
            r#""history":null"#,
            r#""history":[1]"#,
            r#""history":{"last_run":{"at":1,"ending":"followed"},"last_line":5,"last_success":7}"#,
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
        load().note_pass(100, Ending::Healed, "HEALED".to_owned(), gains).unwrap();
        let failure = Counters { not_renewed: 1, ..Counters::default() };
        load().note_pass(200, Ending::Failed, "FAIL".to_owned(), failure).unwrap();
        load().note_gains(Counters { swept: 3, ..Counters::default() }).unwrap();
        let state = load();
        let record = state.history();
        assert_eq!(record.counters, Counters { healed: 1, swept: 5, not_renewed: 1, ..Counters::default() });
        assert_eq!(record.last_run, Some(LastRun { at: 200, ending: Ending::Failed }));
        assert_eq!((record.last_line.as_deref(), record.last_success), (Some("FAIL"), Some(100)));
    }

    #[test]
    fn a_name_of_any_length_leaves_the_state_readable() {
        let directory = tempfile::tempdir().unwrap();
        let (mut state, _) = State::load(directory.path(), file());
        let display_name = "é".repeat(1_000_000);
        state.set_contents(Contents::Held(HeldToken::new(
            &TokenInfo { display_name, ..TokenInfo::default() },
            false,
            1,
        )));
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
            assert!(
                lock(directory.path(), file(), crate::local::lock::LONGEST_WAIT, &Stop::default(), || ())
                    .is_err()
            );
        } else {
            assert!(Glance::check_owner(&File::open("/etc/passwd").unwrap()).is_err());
        }
        assert!(Glance::check_owner(&tempfile::tempfile().unwrap()).is_ok());
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

    proptest! {
        #[test]
        fn any_bytes_are_a_state_or_a_spoilt_one(bytes in crate::hostile::bytes(&[
            r#"{"token_file":"/home/wizard/.vault-token","sweep_due":true,"kept":"a","second_look":["b"],
                "minted":["a","b"],"history":{"seen":{"display_name":"token-x","ours":true,"ends_at":5,
                "lease":null,"dying":"no_period"},"last_run":{"at":1,"ending":"healed"},"last_success":1,
                "counters":{"renewed":1}}}"#,
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
