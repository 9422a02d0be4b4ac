//! The few parts of a certificate that the TLS library does not show, or not of every certificate it could use.

/// `serverAuth` and `anyExtendedKeyUsage`, either of which lets a certificate be a server's.
const SERVER_PURPOSES: [&[u8]; 2] = [&[0x2b, 6, 1, 5, 5, 7, 3, 1], &[0x55, 0x1d, 0x25, 0]];

/// `extendedKeyUsage`.
const EXTENDED_KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x25];

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const IDENTIFIER: u8 = 0x06;
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;

/// A certificate of any version.
///
/// Source: RFC 5280, section 4.1.
pub(super) struct Certificate<'a> {
    /// What is signed, whole.
    pub(super) signed: &'a [u8],
    /// How it is signed: what is in its `AlgorithmIdentifier`.
    pub(super) algorithm: &'a [u8],
    /// The signature.
    pub(super) signature: &'a [u8],
    /// Who signed it: what is in the name.
    pub(super) issuer: &'a [u8],
    /// Its key.
    pub(super) key: Key<'a>,
    /// What is in its list of extensions, if it has one.
    extensions: Option<&'a [u8]>,
}

/// A public key, as it stands in a certificate.
pub(super) struct Key<'a> {
    /// Of what kind it is: what is in its `AlgorithmIdentifier`.
    pub(super) algorithm: &'a [u8],
    /// The key itself.
    pub(super) bits: &'a [u8],
}

impl<'a> Certificate<'a> {
    /// Reads it.
    pub(super) fn parse(der: &'a [u8]) -> Option<Self> {
        let mut outer = Reader(Reader(der).take(SEQUENCE)?);
        let (signed, inside) = outer.element(SEQUENCE)?;
        let algorithm = outer.take(SEQUENCE)?;
        let signature = whole_bytes(outer.take(BIT_STRING)?)?;
        let mut inside = Reader(inside);
        let _ = inside.take(VERSION);
        inside.take(INTEGER)?;
        inside.take(SEQUENCE)?;
        let issuer = inside.take(SEQUENCE)?;
        let _validity = inside.take(SEQUENCE)?;
        let _subject = inside.take(SEQUENCE)?;
        let key = Key::parse(inside.take(SEQUENCE)?)?;
        let mut extensions = None;
        while let Some((tag, _, contents)) = inside.any() {
            if tag == EXTENSIONS {
                extensions = Reader(contents).take(SEQUENCE);
            }
        }
        Some(Self { signed, algorithm, signature, issuer, key, extensions })
    }

    /// Whether it may be a server's, as far as it limits what it is for.
    pub(super) fn may_be_a_servers(&self) -> bool {
        let Some(extensions) = self.extensions else { return true };
        let mut extensions = Reader(extensions);
        while let Some(extension) = extensions.take(SEQUENCE) {
            let mut extension = Reader(extension);
            if extension.take(IDENTIFIER) != Some(EXTENDED_KEY_USAGE) {
                continue;
            }
            while let Some((tag, _, contents)) = extension.any() {
                if tag == OCTET_STRING {
                    let mut purposes = Reader(Reader(contents).take(SEQUENCE).unwrap_or_default());
                    return std::iter::from_fn(|| purposes.take(IDENTIFIER))
                        .any(|purpose| SERVER_PURPOSES.contains(&purpose));
                }
            }
            return false;
        }
        true
    }
}

impl<'a> Key<'a> {
    /// Reads what is in a `SubjectPublicKeyInfo`.
    pub(super) fn parse(contents: &'a [u8]) -> Option<Self> {
        let mut reader = Reader(contents);
        let algorithm = reader.take(SEQUENCE)?;
        Some(Self { algorithm, bits: whole_bytes(reader.take(BIT_STRING)?)? })
    }

    /// Reads a whole `SubjectPublicKeyInfo`.
    pub(super) fn parse_whole(der: &'a [u8]) -> Option<Self> {
        Self::parse(Reader(der).take(SEQUENCE)?)
    }
}

/// The contents of a bit string that has no odd bits.
fn whole_bytes(bits: &[u8]) -> Option<&[u8]> {
    bits.strip_prefix(&[0])
}

/// Reads elements one after the other.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// The next element: its tag, itself, its contents.
    fn any(&mut self) -> Option<(u8, &'a [u8], &'a [u8])> {
        let (tag, rest) = self.0.split_first()?;
        let (first, rest) = rest.split_first()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(*first), rest),
            0x81..=0x83 => {
                let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), rest)
            }
            _ => return None,
        };
        let (contents, rest) = rest.split_at_checked(length)?;
        let whole = self.0.get(..self.0.len() - rest.len())?;
        self.0 = rest;
        Some((*tag, whole, contents))
    }

    /// The next element and its contents, if it is of this kind.
    fn element(&mut self, wanted: u8) -> Option<(&'a [u8], &'a [u8])> {
        let mut ahead = Reader(self.0);
        let (tag, whole, contents) = ahead.any()?;
        if tag != wanted {
            return None;
        }
        self.0 = ahead.0;
        Some((whole, contents))
    }

    /// The contents of the next element, if it is of this kind.
    fn take(&mut self, wanted: u8) -> Option<&'a [u8]> {
        Some(self.element(wanted)?.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, KeyPair};

    fn certificate(purposes: &[ExtendedKeyUsagePurpose]) -> (Vec<u8>, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let mut parameters = CertificateParams::new(vec!["a".to_owned()]).unwrap();
        parameters.extended_key_usages = purposes.to_vec();
        (parameters.self_signed(&key).unwrap().der().to_vec(), key)
    }

    #[test]
    fn a_certificate_holds_its_key_and_says_what_it_is_for() {
        use ExtendedKeyUsagePurpose::{Any, ClientAuth, ServerAuth};
        for (purposes, expected) in [
            (&[][..], true),
            (&[ServerAuth], true),
            (&[ClientAuth, ServerAuth], true),
            (&[Any], true),
            (&[ClientAuth], false),
        ] {
            let (der, key) = certificate(purposes);
            let parsed = Certificate::parse(&der).unwrap();
            assert_eq!(parsed.may_be_a_servers(), expected, "{purposes:?}");
            let whole = rcgen::PublicKeyData::subject_public_key_info(&key);
            assert_eq!(parsed.key.bits, Key::parse_whole(&whole).unwrap().bits);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_certificate_or_none(bytes in crate::hostile::bytes(&["0\u{3}\u{2}\u{1}0"])) {
            if let Some(parsed) = Certificate::parse(&bytes) {
                let _ = parsed.may_be_a_servers();
            }
        }

        #[test]
        fn a_certificate_that_was_spoilt_is_one_or_none(at in 0_usize..500, byte: u8) {
            let mut der = certificate(&[ExtendedKeyUsagePurpose::ClientAuth]).0;
            let place = at % der.len();
            der[place] = byte;
            if let Some(parsed) = Certificate::parse(&der) {
                let _ = parsed.may_be_a_servers();
            }
        }
    }
}
