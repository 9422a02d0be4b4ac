//! What the files of the state directory are called.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

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
