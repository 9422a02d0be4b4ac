//! The files of the state directory: what they are called, and whose they may be.

use std::ffi::OsStr;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// A file of somebody else is none of ours, whatever its name.
pub(super) fn check_owner(file: &File) -> io::Result<()> {
    let data = file.metadata()?;
    if is_own(&data) {
        return Ok(());
    }
    let reason = format!("it belongs to another user (uid {})", data.uid());
    Err(io::Error::new(io::ErrorKind::PermissionDenied, reason))
}

/// Whether a file belongs to the user who runs this program.
pub(super) fn is_own(data: &Metadata) -> bool {
    data.uid() == rustix::process::geteuid().as_raw()
}

/// A name for the files that belong to `token_file`: its own name to be recognised by, and a hash of its
/// whole path to tell two apart. The hash has to be the same in every release, which std's is not.
pub(super) fn file_name(token_file: &Path, extension: &str) -> String {
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

    #[test]
    fn file_names_stay_the_same_from_release_to_release() {
        assert_eq!(
            file_name(Path::new("/home/wizard/.vault-token"), "json"),
            "vault-token-6474e735d2ccf7c8.json"
        );
        assert!(file_name(Path::new("/a/ü x"), "lock").starts_with("x-"));
    }
}
