//! What is remembered of a followed file, so that a process that begins knows as much as the one before: which version
//! of the secret it holds, which are out of date, and which replacements nobody was told of yet. No value, and nothing
//! derived from one.
//!
//! A replacement is written down before the rename, and crossed out when its line, its line of the audit and its hook
//! are done. So whatever ends a process in between, the next one does what is left: twice perhaps, but not never.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use super::glance::Likeness;
use super::staged::{Readers, Staged};
use super::state_dir::file_name;
use crate::bounded;
use crate::version::{Version, Versions};

/// There is less to say.
const LARGEST: usize = 2 * 1024 * 1024;

/// So many replacements are owed at most; of more the oldest ones are given up.
const MOST_OWED: usize = 100;

/// A file that was replaced, or is about to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Replacement {
    /// The mount of the secret; empty as long as nobody knows it.
    pub(crate) mount: String,
    /// Its path below the mount.
    pub(crate) path: String,
    /// Why.
    pub(crate) why: Why,
    /// The version that was held before, as far as it is known.
    pub(crate) old: Option<Version>,
    /// The one that is held now, if there are versions.
    pub(crate) new: Option<Version>,
    /// For how many seconds the value before it was the current one, as far as that is known.
    pub(crate) age: Option<u64>,
    /// When, in seconds since 1970, this machine's clock.
    pub(crate) at: u64,
}

/// Why a file was replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Why {
    /// It held nothing.
    First,
    /// It could not be read.
    Unread,
    /// The secret holds another value.
    Rotated,
    /// The secret holds an older value, and has said so three times: the server was restored.
    Restored,
    /// It held the value with white space around it, or without.
    Trimmed,
    /// Somebody else had changed or removed it.
    PutBack,
}

impl Why {
    /// Whether the value is another one now.
    pub(crate) fn is_rotation(self) -> bool {
        match self {
            Self::Rotated | Self::Restored => true,
            Self::First | Self::Unread | Self::Trimmed | Self::PutBack => false,
        }
    }
}

/// A replacement, and what was done about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Owed {
    /// By which it is told from others.
    pub(crate) number: u64,
    /// What it is about.
    pub(crate) replacement: Replacement,
    /// The file that took the place.
    file: Likeness,
    /// What was known of the versions from then on.
    versions: Versions,
    /// Whether it did.
    is_made: bool,
    /// Whether there is a line of it in the log.
    pub(crate) is_told: bool,
    /// Whether there is one in the audit.
    pub(crate) is_audited: bool,
    /// Whether the hook was run to its end.
    pub(crate) is_hooked: bool,
    /// How often it was begun.
    pub(crate) hooks_begun: u8,
}

impl Owed {
    fn is_done(&self) -> bool {
        self.is_told && self.is_audited && self.is_hooked
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Record {
    secret: String,
    versions: Versions,
    /// The followed file as it was left.
    file: Option<Likeness>,
    owed: Vec<Owed>,
    next_number: u64,
}

/// What is remembered, on disk and at hand.
#[derive(Debug)]
pub(crate) struct Ledger {
    path: PathBuf,
    pages: Mutex<Pages>,
}

#[derive(Debug)]
struct Pages {
    record: Record,
    /// Whether all of it that somebody may need is on disk.
    is_written: bool,
}

impl Ledger {
    /// What is remembered in `directory` of `out`, which is to hold this `secret`; and why it cannot be read, if so.
    /// Only sensible while nobody else keeps that file.
    pub(crate) fn open(directory: &Path, out: &Path, secret: &str) -> (Self, Option<io::Error>) {
        let path = directory.join(file_name(out, "follow.json"));
        let read = match bounded::read_text(&path, LARGEST) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Record::default()),
            text => text.and_then(|text| Ok(serde_json::from_str(&text)?)),
        };
        let (mut record, spoilt) = match read {
            Ok(record) => (record, None),
            Err(error) => (Record::default(), Some(error)),
        };
        // What this finds is found again by the next one, so it need not be written.
        record.take_stock(out, secret);
        (Self { path, pages: Mutex::new(Pages { record, is_written: true }) }, spoilt)
    }

    /// What is known of the versions of the secret.
    pub(crate) fn versions(&self) -> Versions {
        self.pages().record.versions
    }

    /// Whether the followed file, which looks like this, is as it was left.
    pub(crate) fn left(&self, file: Likeness) -> bool {
        self.pages().record.file.is_some_and(|left| file.has_contents_of(left))
    }

    /// Notes what a fetch has told of the versions.
    pub(crate) fn learn(&self, versions: Versions) -> io::Result<()> {
        self.change(|record| record.versions = versions)
    }

    /// Notes that the followed file, which looks like this, holds the value of the newest of these versions.
    pub(crate) fn confirm(&self, versions: Versions, file: Likeness) -> io::Result<()> {
        self.change(|record| (record.versions, record.file) = (versions, Some(file)))
    }

    /// Notes that this `file` is about to take the place of the followed one, and what is known of the versions then.
    pub(crate) fn begin(
        &self,
        replacement: Replacement,
        versions: Versions,
        file: Likeness,
    ) -> io::Result<()> {
        self.change(|record| {
            let number = record.next_number;
            record.next_number += 1;
            let is_audited = !replacement.why.is_rotation();
            let excess = (record.owed.len() + 1).saturating_sub(MOST_OWED);
            record.owed.drain(..excess);
            record.owed.push(Owed {
                number,
                replacement,
                file,
                versions,
                is_made: false,
                is_told: false,
                is_audited,
                is_hooked: false,
                hooks_begun: 0,
            });
        })
    }

    /// What was begun is made. That is seen from the file, too, so it need not be on disk before the next word.
    pub(crate) fn made(&self) {
        for owed in &mut self.pages().record.owed {
            owed.is_made = true;
        }
    }

    /// Takes back what was begun, and came to nothing.
    pub(crate) fn give_up(&self) -> io::Result<()> {
        self.change(|record| record.owed.retain(|owed| owed.is_made))
    }

    /// The replacements that were made, and of which something is left to do; the oldest first.
    pub(crate) fn owed(&self) -> Vec<Owed> {
        self.pages().record.owed.iter().filter(|owed| owed.is_made).cloned().collect()
    }

    /// Notes what was done about the replacements.
    pub(crate) fn settle(&self, done: impl Fn(&mut Owed)) -> io::Result<()> {
        self.change(|record| {
            record.owed.iter_mut().filter(|owed| owed.is_made).for_each(done);
            record.owed.retain(|owed| !owed.is_done());
        })
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what is remembered, and writes it down unless it is there already. It survives a power cut: what it
    /// says has to be there before what comes next.
    fn change(&self, change: impl FnOnce(&mut Record)) -> io::Result<()> {
        let mut pages = self.pages();
        let before = pages.record.clone();
        change(&mut pages.record);
        if pages.is_written && pages.record == before {
            return Ok(());
        }
        pages.is_written = false;
        let text = serde_json::to_vec(&pages.record)?;
        if let Some(directory) = self.path.parent() {
            DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        }
        // A directory that cannot be synced leaves what counts while the machine runs.
        let _ = Staged::write(&self.path, &text, Readers::Owner)?.commit()?;
        pages.is_written = true;
        Ok(())
    }
}

impl Record {
    /// What an earlier process left, by the light of the file as it is.
    fn take_stock(&mut self, out: &Path, secret: &str) {
        let found = Likeness::of(out);
        for owed in &mut self.owed {
            // It ended between the rename and the next word.
            if !owed.is_made && found.is_some_and(|found| found.has_contents_of(owed.file)) {
                owed.is_made = true;
                (self.versions, self.file) = (owed.versions, found);
            }
        }
        self.owed.retain(|owed| owed.is_made);
        if self.secret != secret {
            // What was known is of no use for another one; what nobody was told of has happened all the same.
            *self = Self {
                secret: secret.to_owned(),
                owed: std::mem::take(&mut self.owed),
                next_number: self.next_number,
                ..Self::default()
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::io::Write as _;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::version::Age;

    struct Scene {
        directory: tempfile::TempDir,
        out: PathBuf,
    }

    impl Scene {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let out = directory.path().join("out");
            Self { directory, out }
        }

        fn state(&self) -> PathBuf {
            self.directory.path().join("state")
        }

        fn ledger_of(&self, secret: &str) -> Ledger {
            let (ledger, spoilt) = Ledger::open(&self.state(), &self.out, secret);
            assert!(spoilt.is_none(), "{spoilt:?}");
            ledger
        }

        fn ledger(&self) -> Ledger {
            self.ledger_of("secret/agent/token")
        }

        fn put(&self, text: &str) {
            File::create(&self.out).unwrap().write_all(text.as_bytes()).unwrap();
        }

        fn look(&self) -> Likeness {
            Likeness::of(&self.out).unwrap()
        }
    }

    fn versions(number: u64) -> Versions {
        let mut versions = Versions::default();
        let created = 1_795_721_503_341_056_371 + i128::from(number);
        versions.accept(Some(Version { number, created }), Age::Current);
        versions
    }

    fn rotation(number: u64) -> Replacement {
        let newest = |number| versions(number).newest();
        Replacement {
            mount: "secret".to_owned(),
            path: "agent/token".to_owned(),
            why: Why::Rotated,
            old: newest(number - 1),
            new: newest(number),
            age: Some(5),
            at: 1_795_721_600,
        }
    }

    #[test]
    fn versions_are_remembered_whatever_becomes_of_the_file_and_its_contents_while_they_stay() {
        let scene = Scene::new();
        assert_eq!(scene.ledger().versions(), Versions::default());
        scene.put("one");
        scene.ledger().confirm(versions(7), scene.look()).unwrap();
        let is_left = || scene.ledger().left(scene.look());
        assert!(is_left());
        // Another name and another mode are no other contents.
        fs::set_permissions(&scene.out, fs::Permissions::from_mode(0o640)).unwrap();
        fs::hard_link(&scene.out, scene.directory.path().join("link")).unwrap();
        assert!(is_left());
        scene.put("two more");
        assert!(!is_left(), "somebody else has written it since");
        fs::remove_file(&scene.out).unwrap();
        assert_eq!(scene.ledger().versions(), versions(7));
        assert_eq!(scene.ledger_of("secret/another").versions(), Versions::default());
        let other = scene.directory.path().join("other");
        assert_eq!(
            Ledger::open(&scene.state(), &other, "secret/agent/token").0.versions(),
            Versions::default()
        );
    }

    #[test]
    fn what_was_begun_is_owed_if_the_file_is_there_and_until_all_of_it_is_done() {
        let scene = Scene::new();
        scene.put("old");
        let staged = Staged::write(&scene.out, b"new", Readers::Owner).unwrap();
        scene.ledger().confirm(versions(1), scene.look()).unwrap();
        let begin = |ledger: &Ledger| {
            ledger.begin(rotation(2), versions(2), staged.likeness().unwrap()).unwrap();
        };
        // It ended before the rename.
        begin(&scene.ledger());
        assert_eq!((scene.ledger().owed(), scene.ledger().versions()), (Vec::new(), versions(1)));
        // And after it.
        begin(&scene.ledger());
        staged.replace().unwrap();
        // Whatever is followed by now.
        assert_eq!(scene.ledger_of("secret/another").owed().len(), 1);
        let ledger = scene.ledger();
        assert_eq!((ledger.versions(), ledger.left(scene.look())), (versions(2), true));
        assert_eq!(ledger.owed()[0].replacement, rotation(2));
        ledger.settle(|owed| (owed.is_told, owed.is_audited) = (true, true)).unwrap();
        let ledger = scene.ledger();
        assert_eq!(ledger.owed().len(), 1, "the hook is missing");
        ledger.settle(|owed| owed.is_hooked = true).unwrap();
        assert_eq!(scene.ledger().owed(), Vec::new());
    }

    #[test]
    fn what_came_to_nothing_is_given_up_and_no_more_than_so_much_is_owed() {
        let scene = Scene::new();
        scene.put("old");
        let ledger = scene.ledger();
        ledger.begin(rotation(2), versions(2), scene.look()).unwrap();
        ledger.give_up().unwrap();
        assert_eq!((ledger.owed(), scene.ledger().owed()), (Vec::new(), Vec::new()));
        for number in 2..200 {
            ledger.begin(rotation(number), versions(number), scene.look()).unwrap();
            ledger.made();
            ledger.confirm(versions(number), scene.look()).unwrap();
        }
        let numbers: Vec<_> = scene.ledger().owed().iter().map(|owed| owed.number).collect();
        assert_eq!((numbers.len(), numbers.last()), (MOST_OWED, Some(&198)));
    }

    #[test]
    fn what_cannot_be_read_is_told_and_what_cannot_be_written_is_still_known() {
        let scene = Scene::new();
        scene.put("one");
        scene.ledger().confirm(versions(7), scene.look()).unwrap();
        let path = scene.ledger().path;
        File::create(&path).unwrap().write_all(b"{").unwrap();
        let (ledger, spoilt) = Ledger::open(&scene.state(), &scene.out, "secret/agent/token");
        assert!(spoilt.is_some());
        assert_eq!(ledger.versions(), Versions::default());
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(ledger.confirm(versions(8), scene.look()).is_err());
        assert_eq!(ledger.versions(), versions(8));
        // Written as soon as that is possible, though nothing has changed since.
        fs::remove_dir(&path).unwrap();
        ledger.confirm(versions(8), scene.look()).unwrap();
        assert_eq!(scene.ledger().versions(), versions(8));
    }
}
