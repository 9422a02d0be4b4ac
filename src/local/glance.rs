//! What `stat` says of a file, which is enough to know whether it can be what is looked for.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;

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
