//! Which machine this is, by an id that stays when its name changes.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use aws_lc_rs::hmac;

/// Where systemd, D-Bus and others keep it: 32 hexadecimal digits.
///
/// Source: machine-id(5).
pub(crate) const MACHINE_ID: &str = "/etc/machine-id";

/// What this program derives its own id with. Never changed: what is minted bears the result.
const APPLICATION: [u8; 16] =
    [0x5c, 0x0b, 0x1e, 0x2f, 0x8d, 0x43, 0x4a, 0x67, 0xb1, 0x9a, 0xe4, 0x26, 0x70, 0xd5, 0x3c, 0x98];

/// The id of this machine for this program alone, as `systemd-id128 machine-id --app-specific=` derives it: the id in
/// the file must not be published, and one id in two programs would tie them together. None where there is none, as in
/// many containers.
///
/// Source: sd_id128_get_machine_app_specific(3): HMAC-SHA256, keyed by the machine id, cut to 128 bits, made a UUID of
/// version 4.
pub(crate) fn machine(file: &Path) -> Option<String> {
    let mut text = String::new();
    File::open(file).ok()?.take(64).read_to_string(&mut text).ok()?;
    let key = bytes(text.trim())?;
    let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), &APPLICATION);
    let mut id: [u8; 16] = signature.as_ref().get(..16)?.try_into().ok()?;
    id[6] = (id[6] & 0x0f) | 0x40;
    id[8] = (id[8] & 0x3f) | 0x80;
    let mut hex = String::with_capacity(32);
    for byte in id {
        // Writing to a string does not fail.
        let _ = write!(hex, "{byte:02x}");
    }
    Some(hex)
}

/// The 16 bytes of a machine id. One of zeros is none.
fn bytes(text: &str) -> Option<[u8; 16]> {
    if text.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let number = u128::from_str_radix(text, 16).ok()?;
    (number != 0).then(|| number.to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn derived(contents: &str) -> Option<String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().write_all(contents.as_bytes()).unwrap();
        machine(file.path())
    }

    #[test]
    fn the_id_is_the_one_that_systemd_derives() {
        // systemd-id128 machine-id --app-specific=5c0b1e2f8d434a67b19ae42670d53c98, on a machine with this id.
        let id = derived("0123456789abcdef0123456789abcdef\n").unwrap();
        assert_eq!(id, "9c5da62c39c6476ca5462597dd976092");
        assert_ne!(derived("0123456789abcdef0123456789abcdee\n").unwrap(), id);
    }

    #[test]
    fn what_is_no_machine_id_is_none() {
        for contents in [
            "",
            "uninitialized\n",
            "0123",
            "00000000000000000000000000000000",
            "zz23456789abcdef0123456789abcdef",
        ] {
            assert_eq!(derived(contents), None, "{contents:?}");
        }
        assert_eq!(machine(Path::new("/nowhere/machine-id")), None);
    }
}
