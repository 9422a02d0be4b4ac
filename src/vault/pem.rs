//! PEM text, read as Go reads it: whatever stands around the blocks is passed over, and so is a block that is broken.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use zeroize::Zeroizing;

/// As lenient as Go's decoder.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A block of PEM text.
pub(super) struct Block {
    /// What it says it is: `CERTIFICATE`, `EC PRIVATE KEY`.
    pub(super) label: String,
    /// Whether headers stand before its contents.
    pub(super) has_headers: bool,
    /// Whether the headers say that the contents are encrypted.
    is_encrypted: bool,
    /// Its contents, which may be a key.
    pub(super) bytes: Zeroizing<Vec<u8>>,
}

impl Block {
    /// Whether it is a private key of any kind.
    pub(super) fn is_key(&self) -> bool {
        self.label == "PRIVATE KEY" || self.label.ends_with(" PRIVATE KEY")
    }

    /// Whether its contents are encrypted, in the old way (headers) or in that of PKCS#8 (its name).
    pub(super) fn is_encrypted(&self) -> bool {
        self.is_encrypted || self.label == "ENCRYPTED PRIVATE KEY"
    }
}

/// The blocks of a text that can be read.
///
/// Source: Go's `encoding/pem`; besides, a byte order mark and blanks before a line do no harm here.
pub(super) fn blocks(text: &[u8]) -> Vec<Block> {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let mut blocks = Vec::new();
    let mut open: Option<(Block, Zeroizing<Vec<u8>>)> = None;
    for line in text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii) {
        if let Some(label) = boundary(line, b"-----BEGIN ") {
            let label = String::from_utf8_lossy(label).into_owned();
            let bytes = Zeroizing::default();
            open =
                Some((Block { label, has_headers: false, is_encrypted: false, bytes }, Zeroizing::default()));
        } else if let Some(label) = boundary(line, b"-----END ") {
            if let Some((block, base64)) = open.take()
                && block.label.as_bytes() == label
                && let Ok(bytes) = BASE64.decode(&*base64)
            {
                blocks.push(Block { bytes: Zeroizing::new(bytes), ..block });
            }
        } else if let Some((block, base64)) = &mut open {
            if base64.is_empty() && line.contains(&b':') {
                block.has_headers = true;
                let is_said = |word: &[u8]| line.windows(word.len()).any(|part| part == word);
                block.is_encrypted |= is_said(b"ENCRYPTED") || line.starts_with(b"DEK-Info");
            } else {
                base64.extend(line.iter().filter(|byte| !byte.is_ascii_whitespace()));
            }
        }
    }
    blocks
}

/// What stands between the beginning of a boundary and its last dashes.
fn boundary<'a>(line: &'a [u8], beginning: &[u8]) -> Option<&'a [u8]> {
    line.strip_prefix(beginning)?.strip_suffix(b"-----")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<(String, Vec<u8>)> {
        blocks(text.as_bytes()).into_iter().map(|block| (block.label, block.bytes.to_vec())).collect()
    }

    #[test]
    fn blocks_are_found_whatever_stands_around_them() {
        let whole = [("A".to_owned(), b"hello".to_vec())];
        for text in [
            "-----BEGIN A-----\naGVsbG8=\n-----END A-----\n",
            "-----BEGIN A-----\r\naGVs\r\nbG8=\r\n-----END A-----",
            "\u{feff}-----BEGIN A-----\naGVsbG8\n-----END A-----\n",
            "a comment\n  -----BEGIN A-----  \n aG Vs\n\tbG8=\n  -----END A-----  \nmore",
            "-----BEGIN A-----\nName: value\n\naGVsbG8=\n-----END A-----\n",
            "-----BEGIN B-----\nnot base64!\n-----END B-----\n-----BEGIN A-----\naGVsbG8=\n-----END A-----\n",
            "-----BEGIN B-----\naGVs\n-----BEGIN A-----\naGVsbG8=\n-----END A-----\n",
            "-----BEGIN B-----\naGVs\n-----END C-----\n-----BEGIN A-----\naGVsbG8=\n-----END A-----\n",
        ] {
            assert_eq!(read(text), whole, "{text:?}");
        }
        for text in
            ["", "aGVsbG8=", "-----BEGIN A-----\naGVsbG8=\n", "-----BEGIN A-----aGVsbG8=-----END A-----"]
        {
            assert_eq!(read(text), [], "{text:?}");
        }
    }

    #[test]
    fn a_key_is_known_by_its_label_and_an_encrypted_one_by_label_or_headers() {
        let block = |label: &str, headers: &str| {
            blocks(format!("-----BEGIN {label}-----\n{headers}aGVsbG8=\n-----END {label}-----\n").as_bytes())
                .remove(0)
        };
        for label in ["PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY"] {
            assert!(block(label, "").is_key() && !block(label, "").is_encrypted(), "{label}");
            assert!(
                block(label, "Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\n").is_encrypted(),
                "{label}"
            );
            assert!(!block(label, "Comment: mine\n\n").is_encrypted(), "{label}");
        }
        assert!(block("ENCRYPTED PRIVATE KEY", "").is_encrypted());
        assert!(!block("PUBLIC KEY", "").is_key());
    }
}
