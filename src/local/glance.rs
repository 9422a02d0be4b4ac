//! What `stat` says of a file, which is enough to know whether it can be what is looked for.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// Bits of a mode that let others than the owner in.
const OTHERS: u32 = 0o077;

/// Mode, owner, kind and size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Glance {
    /// The mode, without the kind.
    pub(crate) mode: u32,
    /// The owner's uid.
    pub(crate) owner: u32,
    /// Whether it is a regular file.
    pub(crate) is_file: bool,
    /// Bytes.
    pub(crate) size: u64,
}

/// By what a file is taken for the same as before, without being read. Whoever replaces or writes it changes some of
/// it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Likeness {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Likeness {
    /// That of the file at `path`, links followed; none where there is no file, or nobody may look.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        path.metadata().ok().map(|data| Self::from(&data))
    }

    /// Whether what is in both is the same, whatever became of name, mode and owner: a rename and a chmod change no
    /// byte.
    pub(crate) fn has_contents_of(self, other: Self) -> bool {
        Self { changed: other.changed, ..self } == other
    }

    /// Whether nobody has written, renamed or otherwise changed it since `at`, nor in that very second: seconds since
    /// 1970, this machine's clock.
    pub(crate) fn is_older_than(self, at: u64) -> bool {
        u64::try_from(self.changed.0).is_ok_and(|changed| changed < at)
    }
}

impl From<&Metadata> for Likeness {
    fn from(data: &Metadata) -> Self {
        Self {
            device: data.dev(),
            inode: data.ino(),
            size: data.len(),
            modified: (data.mtime(), data.mtime_nsec()),
            changed: (data.ctime(), data.ctime_nsec()),
        }
    }
}

impl From<&Metadata> for Glance {
    fn from(data: &Metadata) -> Self {
        Self { mode: data.mode() & 0o7777, owner: data.uid(), is_file: data.is_file(), size: data.len() }
    }
}

impl Glance {
    /// Whether it belongs to the user who runs this program.
    pub(crate) fn is_own(self) -> bool {
        self.owner == rustix::process::geteuid().as_raw()
    }

    /// Whether others than the owner may use it.
    pub(crate) fn is_loose(self) -> bool {
        self.mode & OTHERS != 0
    }

    /// An error unless it belongs to the user who runs this program. A file of somebody else is none of ours,
    /// whatever its name.
    pub(super) fn check_owner(file: &File) -> io::Result<Self> {
        let glance = Self::from(&file.metadata()?);
        if glance.is_own() {
            return Ok(glance);
        }
        let reason = format!("it belongs to another user (uid {})", glance.owner);
        Err(io::Error::new(io::ErrorKind::PermissionDenied, reason))
    }
}
