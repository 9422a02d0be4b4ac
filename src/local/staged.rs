//! Atomic replacement of a file: written and synced under another name first, then renamed.
//!
//! [`Staged::replace`] is the only rename in the program, and [`Staged::commit`] makes it last. A staged file
//! that is not put in place is removed when it is dropped.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::glance::Likeness;

/// What stands between the name of the file to be replaced and the random part. Neither the file name that
/// `vault login` writes (`.vault-token.tmp`) nor anything a person would choose.
const INFIX: &str = ".renew-";

/// The length of the random part: 62 characters to the power of 12 are not guessed.
const RANDOM: usize = 12;

/// Bits of the mode of a directory that let others than its owner replace what is in it.
const OTHERS_WRITE: u32 = 0o022;

/// Who may read a staged file, and the file it becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Readers {
    /// The owner: mode 0600, from birth.
    Owner,
    /// Everybody: mode 0644, for what another program collects.
    Everybody,
    /// Whom this mode lets in.
    Mode(u32),
}

/// A complete, synced file beside the one it is to replace.
#[derive(Debug)]
pub(crate) struct Staged {
    file: NamedTempFile,
    target: PathBuf,
}

/// How well the rename was made durable.
#[derive(Debug)]
#[must_use]
pub(crate) enum Committed {
    /// It survives a power cut.
    Durably,
    /// The file is in place, but the directory could not be synced.
    Unsynced(io::Error),
}

impl Staged {
    /// Writes `contents` to a new file beside `target`: an unpredictable name, `O_EXCL`, mode 0600 from
    /// birth, synced to disk.
    pub(crate) fn write(target: &Path, contents: &[u8], readers: Readers) -> io::Result<Self> {
        let mut file = tempfile::Builder::new()
            .prefix(&prefix(target))
            .rand_bytes(RANDOM)
            .permissions(fs::Permissions::from_mode(0o600))
            .tempfile_in(directory(target))?;
        file.write_all(contents)?;
        match readers {
            Readers::Owner => {}
            // Not at birth, because the mask of this process would take it away again.
            Readers::Everybody => file.as_file().set_permissions(fs::Permissions::from_mode(0o644))?,
            Readers::Mode(mode) => file.as_file().set_permissions(fs::Permissions::from_mode(mode))?,
        }
        file.as_file().sync_all()?;
        Ok(Self { file, target: target.to_owned() })
    }

    /// By what the file is recognised, before and after the rename.
    pub(crate) fn likeness(&self) -> io::Result<Likeness> {
        Ok(Likeness::from(&self.file.as_file().metadata()?))
    }

    /// Gives the staged file the owner and the group of its target, as far as this process may. Whether they are the
    /// same now, or there was no target.
    ///
    /// Not where others than the owner of the directory may write to it: they could put a file of theirs in the place
    /// of the target, and would own what it becomes.
    pub(crate) fn keep_owner(&self) -> io::Result<bool> {
        let Ok(former) = self.target.metadata() else { return Ok(true) };
        let own = self.file.as_file().metadata()?;
        if (own.uid(), own.gid()) == (former.uid(), former.gid()) {
            return Ok(true);
        }
        if directory(&self.target).metadata()?.mode() & OTHERS_WRITE != 0 {
            return Ok(false);
        }
        let give = |uid| fchown(self.file.as_file(), uid, Some(former.gid()));
        // Only root may give a file away; a group of his own anybody may give it to.
        Ok(give(Some(former.uid())).is_ok() || (give(None).is_ok() && own.uid() == former.uid()))
    }

    /// Puts the staged file in the place of its target. A power cut may undo that, and leaves one of the two
    /// whole.
    pub(crate) fn replace(self) -> io::Result<()> {
        self.file.persist(&self.target).map(drop).map_err(|error| error.error)
    }

    /// Puts the staged file in the place of its target, and sees to it that it stays there.
    pub(crate) fn commit(self) -> io::Result<Committed> {
        let directory = directory(&self.target).to_owned();
        self.replace()?;
        // From here on the new file is in place, and nothing that fails may be taken to say otherwise.
        Ok(match File::open(&directory).and_then(|directory| directory.sync_all()) {
            Ok(()) => Committed::Durably,
            Err(error) => Committed::Unsynced(error),
        })
    }
}

/// Removes what a killed run staged beside `target` and could not commit. Only sensible while holding the
/// lock that every run holds which stages such files.
pub(crate) fn remove_leftovers(target: &Path, owner: u32) -> io::Result<()> {
    let prefix = prefix(target);
    let entries = match fs::read_dir(directory(target)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let random = name.as_encoded_bytes().strip_prefix(prefix.as_encoded_bytes());
        // Exactly what staging makes; a name that merely begins like it may be somebody's file.
        let staged = random
            .is_some_and(|random| random.len() == RANDOM && random.iter().all(u8::is_ascii_alphanumeric));
        if staged && entry.metadata().is_ok_and(|data| data.is_file() && data.uid() == owner) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// The directory in which `target` is.
pub(crate) fn directory(target: &Path) -> &Path {
    target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The beginning of the names of staged files: hidden, and bound to the one file they are to replace.
fn prefix(target: &Path) -> OsString {
    let mut prefix = OsString::from(".");
    prefix.push(target.file_name().unwrap_or(OsStr::new("file")));
    prefix.push(INFIX);
    prefix
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_committed_file_replaces_its_target_with_mode_0600() {
        let home = tempfile::tempdir().unwrap();
        let target = home.path().join(".vault-token");
        File::create(&target).unwrap().write_all(b"old").unwrap();
        fs::set_permissions(&target, fs::Permissions::from_mode(0o644)).unwrap();
        let staged = Staged::write(&target, b"new", Readers::Owner).unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"old");
        assert!(matches!(staged.commit().unwrap(), Committed::Durably));
        assert_eq!(fs::read(&target).unwrap(), b"new");
        assert_eq!(fs::metadata(&target).unwrap().mode() & 0o7777, 0o600);
        assert_eq!(names(home.path()), [".vault-token"]);
    }

    #[test]
    fn what_everybody_may_read_has_mode_0644() {
        let home = tempfile::tempdir().unwrap();
        let target = home.path().join("figures");
        let mask = rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
        let staged = Staged::write(&target, b"1", Readers::Everybody);
        rustix::process::umask(mask);
        assert!(matches!(staged.unwrap().commit().unwrap(), Committed::Durably));
        assert_eq!(fs::metadata(&target).unwrap().mode() & 0o7777, 0o644);
    }

    #[test]
    fn a_dropped_file_leaves_nothing_behind() {
        let home = tempfile::tempdir().unwrap();
        drop(Staged::write(&home.path().join("token"), b"new", Readers::Owner).unwrap());
        assert_eq!(names(home.path()), [""; 0]);
    }

    #[test]
    fn leftovers_of_this_target_are_removed_and_nothing_else() {
        let home = tempfile::tempdir().unwrap();
        let spared = [
            ".t.renew-work",
            ".t.renew-0123456789abc",
            ".t.renew-0123456789-b",
            ".t2.renew-0123456789ab",
            "..t.renew-0123456789ab",
            "t.renew-0123456789ab",
            ".t.tmp",
            "t",
        ];
        for name in spared.iter().chain(&[".t.renew-0123456789ab"]) {
            File::create(home.path().join(name)).unwrap();
        }
        fs::create_dir(home.path().join(".t.renew-directory012")).unwrap();
        let me = rustix::process::geteuid().as_raw();
        remove_leftovers(&home.path().join("t"), me + 1).unwrap();
        assert_eq!(names(home.path()).len(), spared.len() + 2);
        remove_leftovers(&home.path().join("t"), me).unwrap();
        let mut left: Vec<&str> = spared.iter().copied().chain([".t.renew-directory012"]).collect();
        left.sort_unstable();
        assert_eq!(names(home.path()), left);
        remove_leftovers(&home.path().join("nowhere/t"), me).unwrap();
    }

    #[test]
    fn what_staging_makes_is_what_is_removed() {
        let home = tempfile::tempdir().unwrap();
        let target = home.path().join("token");
        let staged = Staged::write(&target, b"new", Readers::Owner).unwrap();
        assert_eq!(names(home.path()).len(), 1);
        remove_leftovers(&target, rustix::process::geteuid().as_raw()).unwrap();
        assert_eq!(names(home.path()), [""; 0]);
        drop(staged);
    }
}
