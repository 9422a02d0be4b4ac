//! Certificates and keys, read and checked before the first request.
//!
//! ureq ignores roots it cannot parse and panics on a client certificate that does not fit its key. So
//! everything is tried here with rustls first, and what does not work is an error that names the file.

use std::fs;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use anyhow::{Context as _, Result, anyhow, bail};
use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use zeroize::Zeroizing;

use crate::bounded;
use ureq::tls::{Certificate, ClientCert, PemItem, PrivateKey, RootCerts, TlsConfig, parse_pem};

/// Larger than any bundle of authorities.
const LARGEST_PEM: usize = 4 * 1024 * 1024;

/// What the connections are encrypted and checked with.
#[derive(Debug, Default)]
pub(crate) struct TlsSettings {
    /// The authorities to trust; none means the system's own.
    pub(crate) roots: Option<Vec<Certificate<'static>>>,
    /// What we prove ourselves with, where the server asks for it.
    pub(crate) client: Option<ClientCert>,
    /// The name to ask for and to check, where it is not the one in the address.
    pub(crate) server_name: Option<String>,
    /// Whether the server's certificate is not checked at all.
    pub(crate) skip_verify: bool,
}

impl TlsSettings {
    /// The same for ureq.
    pub(super) fn to_ureq(&self) -> TlsConfig {
        let roots = match &self.roots {
            Some(certificates) => RootCerts::new_with_certs(certificates),
            None => RootCerts::PlatformVerifier,
        };
        TlsConfig::builder()
            .root_certs(roots)
            .client_cert(self.client.clone())
            .disable_verification(self.skip_verify)
            .unversioned_rustls_crypto_provider(provider())
            .build()
    }
}

/// What encrypts and checks. It is the one place that names it: ureq is built without one.
fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    Arc::clone(PROVIDER.get_or_init(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider())))
}

/// The authorities in a PEM file.
pub(crate) fn roots_from_file(path: &Path) -> Result<Vec<Certificate<'static>>> {
    let pem = bounded::read(path, LARGEST_PEM).with_context(|| format!("cannot read {}", path.display()))?;
    roots_from_pem(&pem).with_context(|| path.display().to_string())
}

/// The authorities in all files of a directory, subdirectories included.
pub(crate) fn roots_from_directory(path: &Path) -> Result<Vec<Certificate<'static>>> {
    let mut roots = Vec::new();
    let mut pending = vec![path.to_owned()];
    while let Some(directory) = pending.pop() {
        let entries =
            fs::read_dir(&directory).with_context(|| format!("cannot read {}", directory.display()))?;
        for entry in entries {
            let path = entry.with_context(|| format!("cannot read {}", directory.display()))?.path();
            // A symbolic link to a directory is not followed: it could lead in a circle.
            if path.is_dir() && !path.is_symlink() {
                pending.push(path);
            } else if path.is_file() {
                roots.extend(roots_from_file(&path)?);
            }
        }
    }
    if roots.is_empty() {
        bail!("{}: no certificate in this directory", path.display());
    }
    Ok(roots)
}

/// The authorities in PEM text. Each is parsed, and there is at least one.
pub(crate) fn roots_from_pem(pem: &[u8]) -> Result<Vec<Certificate<'static>>> {
    let mut store = RootCertStore::empty();
    let mut roots = Vec::new();
    for item in parse_pem(pem) {
        // What a parser says may hold what it could not parse, and that may be a key.
        let item = item.map_err(|_| anyhow!("{}", broken_pem(pem, "a certificate")))?;
        if let PemItem::Certificate(certificate) = item {
            let added = store.add(CertificateDer::from(certificate.der()));
            added.map_err(|_| anyhow!("a certificate cannot be parsed"))?;
            roots.push(certificate);
        }
    }
    if roots.is_empty() {
        bail!("{}", broken_pem(pem, "a certificate"));
    }
    Ok(roots)
}

/// A client certificate with its key, known to belong together.
pub(crate) fn client_certificate(certificate_file: &Path, key_file: &Path) -> Result<ClientCert> {
    let certificate_pem = bounded::read(certificate_file, LARGEST_PEM)
        .with_context(|| format!("cannot read {}", certificate_file.display()))?;
    // No error of a parser is passed on: it may hold what could not be parsed, and that may be the key.
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&certificate_pem)
        .collect::<Result<_, _>>()
        .map_err(|_| not_in(certificate_file, &certificate_pem, "a certificate"))?;
    if chain.is_empty() {
        return Err(not_in(certificate_file, &certificate_pem, "a certificate"));
    }
    let key_pem = Zeroizing::new(
        bounded::read(key_file, LARGEST_PEM)
            .with_context(|| format!("cannot read {}", key_file.display()))?,
    );
    if find(&key_pem, "ENCRYPTED") {
        bail!(
            "{}: the key is encrypted, which is not supported; decrypt it with `openssl pkey -in FILE -out FILE`",
            key_file.display()
        );
    }
    let key =
        PrivateKeyDer::from_pem_slice(&key_pem).map_err(|_| not_in(key_file, &key_pem, "a private key"))?;
    CertifiedKey::from_der(chain.clone(), key, &provider()).map_err(|_| {
        anyhow!("{} and {} do not fit together", certificate_file.display(), key_file.display())
    })?;
    let chain: Vec<_> = chain.iter().map(|der| Certificate::from_der(der).to_owned()).collect();
    let key = PrivateKey::from_pem(&key_pem).map_err(|_| not_in(key_file, &key_pem, "a private key"))?;
    Ok(ClientCert::new_with_certs(&chain, key))
}

fn not_in(file: &Path, pem: &[u8], what: &str) -> anyhow::Error {
    anyhow!("{}: {}", file.display(), broken_pem(pem, what))
}

/// Why there is no `what` in a PEM text, without a word of what is in it.
fn broken_pem(pem: &[u8], what: &str) -> String {
    let text = pem.trim_ascii();
    let begins = find(text, "-----BEGIN");
    if begins && (find(text, "\\n") || !text.contains(&b'\n')) {
        format!("no PEM of {what} in it: it stands on one line, and PEM needs its line breaks")
    } else if begins {
        format!("no PEM of {what} in it that can be read")
    } else {
        format!("no PEM of {what} in it (it has no line `-----BEGIN …`)")
    }
}

fn find(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|part| part == text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write as _;

    const CERTIFICATE: &str =
        "-----BEGIN CERTIFICATE-----\nMIIBVzCB/qADAgECAhRv\n-----END CERTIFICATE-----\n";
    const KEY: &str = "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49\n-----END PRIVATE KEY-----\n";

    fn file(bytes: &[u8]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().write_all(bytes).unwrap();
        file
    }

    proptest! {
        #[test]
        fn any_bytes_are_certificates_and_keys_or_refusals(
            certificate in crate::hostile::bytes(&[CERTIFICATE, KEY]),
            key in crate::hostile::bytes(&[KEY, CERTIFICATE]),
        ) {
            let _ = roots_from_pem(&certificate);
            let (certificate, key) = (file(&certificate), file(&key));
            let _ = client_certificate(certificate.path(), key.path());
        }
    }
}
