//! Atomic replacement of a file: written and synced under another name first, then renamed.
//!
//! [`Staged::commit`] is the only rename in the program. A staged file that is not committed is removed
//! when it is dropped.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

/// What stands between the name of the file to be replaced and the random part. Neither the file name that
/// `vault login` writes (`.vault-token.tmp`) nor anything a person would choose.
const INFIX: &str = ".renew-";

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
    pub(crate) fn write(target: &Path, contents: &[u8]) -> io::Result<Self> {
        let mut file = tempfile::Builder::new()
            .prefix(&prefix(target))
            .rand_bytes(12)
            .permissions(fs::Permissions::from_mode(0o600))
            .tempfile_in(directory(target))?;
        file.write_all(contents)?;
        file.as_file().sync_all()?;
        Ok(Self { file, target: target.to_owned() })
    }

    /// Puts the staged file in the place of its target.
    pub(crate) fn commit(self) -> io::Result<Committed> {
        let directory = directory(&self.target).to_owned();
        self.file.persist(&self.target).map_err(|error| error.error)?;
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
    for entry in fs::read_dir(directory(target))? {
        let entry = entry?;
        let ours = entry.file_name().as_encoded_bytes().starts_with(prefix.as_encoded_bytes())
            && entry.metadata().is_ok_and(|data| data.is_file() && data.uid() == owner);
        if ours {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn directory(target: &Path) -> &Path {
    target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The beginning of the names of staged files: hidden, and bound to the one file they are to replace.
fn prefix(target: &Path) -> OsString {
    let name = target.file_name().unwrap_or(OsStr::new("file"));
    let mut prefix = OsString::new();
    if !name.as_encoded_bytes().starts_with(b".") {
        prefix.push(".");
    }
    prefix.push(name);
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
        let staged = Staged::write(&target, b"new").unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"old");
        assert!(matches!(staged.commit().unwrap(), Committed::Durably));
        assert_eq!(fs::read(&target).unwrap(), b"new");
        assert_eq!(fs::metadata(&target).unwrap().mode() & 0o7777, 0o600);
        assert_eq!(names(home.path()), [".vault-token"]);
    }

    #[test]
    fn a_dropped_file_leaves_nothing_behind() {
        let home = tempfile::tempdir().unwrap();
        drop(Staged::write(&home.path().join("token"), b"new").unwrap());
        assert_eq!(names(home.path()), [""; 0]);
    }

    #[test]
    fn leftovers_of_this_target_are_removed_and_nothing_else() {
        let home = tempfile::tempdir().unwrap();
        for name in [".t.renew-abc", ".t2.renew-abc", ".t.tmp", "t", "t.renew-abc"] {
            File::create(home.path().join(name)).unwrap();
        }
        fs::create_dir(home.path().join(".t.renew-directory")).unwrap();
        let me = rustix::process::geteuid().as_raw();
        remove_leftovers(&home.path().join("t"), me + 1).unwrap();
        assert_eq!(names(home.path()).len(), 6);
        remove_leftovers(&home.path().join("t"), me).unwrap();
        assert_eq!(names(home.path()), [".t.renew-directory", ".t.tmp", ".t2.renew-abc", "t", "t.renew-abc"]);
    }
}
