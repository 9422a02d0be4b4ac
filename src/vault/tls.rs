//! Certificates and keys, read and checked before the first request, as the official command lines take them.
//!
//! They are written in Go, whose rules are not those of the TLS library here. Where Go takes more, so does this module:
//! PEM with anything around it, keys under any label, certificates of version 1 to show, a server's certificate that is
//! itself named as trusted, and a key exchange on P-521.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use anyhow::{Context as _, Result, bail};
use aws_lc_rs::agreement::{ECDH_P521, EphemeralPrivateKey, PublicKey, UnparsedPublicKey, agree_ephemeral};
use aws_lc_rs::rand::SystemRandom;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_name;
use rustls::crypto::{
    ActiveKeyExchange, CryptoProvider, GetRandomFailed, SharedSecret, SupportedKxGroup,
    WebPkiSupportedAlgorithms,
};
use rustls::ffdhe_groups::FfdheGroup;
use rustls::pki_types::{
    CertificateDer, PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer, ServerName,
    UnixTime,
};
use rustls::server::ParsedCertificate;
use rustls::sign::{CertifiedKey, SigningKey, SingleCertAndKey};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, NamedGroup, PeerMisbehaved, RootCertStore,
    SignatureScheme,
};
use zeroize::Zeroizing;

use super::der;
use super::pem::{Block, blocks};
use crate::bounded;

/// Larger than any bundle of authorities.
const LARGEST_PEM: usize = 4 * 1024 * 1024;

/// The bundles of authorities that distributions have, of which the first that is there counts.
///
/// Source: Go's `crypto/x509`, `root_linux.go`.
const SYSTEM_FILES: [&str; 6] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// The folders of authorities that distributions have; those that are there count all.
const SYSTEM_FOLDERS: [&str; 2] = ["/etc/ssl/certs", "/etc/pki/tls/certs"];

/// What the connections are encrypted and checked with.
#[derive(Debug, Clone, Default)]
pub(crate) struct TlsSettings {
    /// The authorities to trust.
    pub(crate) roots: Roots,
    /// What we prove ourselves with, where the server asks for it.
    pub(crate) client: Option<Arc<CertifiedKey>>,
    /// The name to ask for and to check, where it is not the one in the address.
    pub(crate) server_name: Option<String>,
    /// Whether the server's certificate is not checked at all.
    pub(crate) skip_verify: bool,
}

/// Who is trusted.
#[derive(Debug, Clone)]
pub(crate) enum Roots {
    /// These.
    Given(Vec<CertificateDer<'static>>),
    /// Those of the system; its files and its folders may be elsewhere.
    System {
        /// `SSL_CERT_FILE`.
        file: Option<PathBuf>,
        /// `SSL_CERT_DIR`, whose folders are separated by colons.
        folders: Option<Vec<PathBuf>>,
    },
}

impl Default for Roots {
    fn default() -> Self {
        Self::System { file: None, folders: None }
    }
}

impl Roots {
    fn certificates(&self) -> Vec<CertificateDer<'static>> {
        match self {
            Self::Given(certificates) => certificates.clone(),
            Self::System { file, folders } => system_roots(file.as_deref(), folders.as_deref()),
        }
    }
}

/// What connections are made with, built from the settings when the first of them needs it: no authority is read for a
/// server without TLS.
#[derive(Debug)]
pub(super) struct Tls {
    settings: TlsSettings,
    built: OnceLock<Arc<ClientConfig>>,
}

impl Tls {
    /// From these settings.
    pub(super) fn new(settings: &TlsSettings) -> Self {
        Self { settings: settings.clone(), built: OnceLock::new() }
    }

    /// The name that the settings give the server.
    pub(super) fn server_name(&self) -> Option<&str> {
        self.settings.server_name.as_deref()
    }

    /// The configuration.
    pub(super) fn config(&self) -> Result<Arc<ClientConfig>, rustls::Error> {
        if let Some(config) = self.built.get() {
            return Ok(Arc::clone(config));
        }
        let provider = provider();
        let algorithms = provider.signature_verification_algorithms;
        let verifier: Arc<dyn ServerCertVerifier> = if self.settings.skip_verify {
            Arc::new(Unverified { algorithms })
        } else {
            Arc::new(Verifier::new(self.settings.roots.certificates(), algorithms))
        };
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let config = match &self.settings.client {
            Some(client) => {
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(client))))
            }
            None => builder.with_no_client_auth(),
        };
        Ok(Arc::clone(self.built.get_or_init(|| Arc::new(config))))
    }
}

/// What encrypts and signs.
fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    let make = || {
        let mut provider = rustls::crypto::aws_lc_rs::default_provider();
        provider.kx_groups.push(&P521);
        Arc::new(provider)
    };
    Arc::clone(PROVIDER.get_or_init(make))
}

/// The authorities in a PEM file.
pub(crate) fn roots_from_file(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let pem = bounded::read(path, LARGEST_PEM).with_context(|| format!("cannot read {}", path.display()))?;
    roots_from_pem(&pem).with_context(|| path.display().to_string())
}

/// The authorities in all files of a directory, subdirectories included. A file without any is passed over, as long as
/// another has one.
pub(crate) fn roots_from_directory(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
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
                let pem = bounded::read(&path, LARGEST_PEM);
                let pem = pem.with_context(|| format!("cannot read {}", path.display()))?;
                roots.extend(roots_from_pem(&pem).unwrap_or_default());
            }
        }
    }
    if roots.is_empty() {
        bail!("{}: no certificate in this directory", path.display());
    }
    Ok(roots)
}

/// The authorities in PEM text, of which there is at least one. Those that cannot be parsed are passed over.
///
/// Source: Go's `CertPool.AppendCertsFromPEM`.
pub(crate) fn roots_from_pem(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>> {
    let found = certificates(pem);
    if found.is_empty() {
        bail!("{}", broken_pem(pem, "a certificate"));
    }
    let usable: Vec<_> = found.into_iter().filter(is_authority).collect();
    if usable.is_empty() {
        bail!("no certificate in it can be parsed");
    }
    Ok(usable)
}

/// All certificates of a PEM text, whatever they are.
fn certificates(pem: &[u8]) -> Vec<CertificateDer<'static>> {
    let is_certificate = |block: &Block| block.label == "CERTIFICATE" && !block.has_headers;
    blocks(pem)
        .into_iter()
        .filter(is_certificate)
        .map(|block| CertificateDer::from(block.bytes.to_vec()))
        .collect()
}

/// Whether the TLS library can trust it.
fn is_authority(certificate: &CertificateDer<'static>) -> bool {
    RootCertStore::empty().add(certificate.clone()).is_ok()
}

/// Those of the system. What cannot be read is passed over, as Go does: whoever is missing will be missed.
fn system_roots(file: Option<&Path>, folders: Option<&[PathBuf]>) -> Vec<CertificateDer<'static>> {
    let read = |path: &Path| bounded::read(path, LARGEST_PEM).map(|pem| certificates(&pem));
    let mut roots = match file {
        Some(file) => read(file).unwrap_or_default(),
        None => SYSTEM_FILES.iter().find_map(|file| read(Path::new(file)).ok()).unwrap_or_default(),
    };
    let usual: Vec<PathBuf> = SYSTEM_FOLDERS.iter().map(PathBuf::from).collect();
    let mut known: std::collections::HashSet<CertificateDer<'static>> = roots.iter().cloned().collect();
    for folder in folders.unwrap_or(&usual) {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            // The other name that a file has in the same folder, that of a hash.
            if path
                .read_link()
                .is_ok_and(|target| !target.as_os_str().is_empty() && target.parent() == Some(Path::new("")))
            {
                continue;
            }
            for certificate in read(&path).unwrap_or_default() {
                if known.insert(certificate.clone()) {
                    roots.push(certificate);
                }
            }
        }
    }
    roots
}

/// A client certificate with its key, known to belong together.
///
/// Source: Go's `tls.X509KeyPair`: of the certificate file every certificate, of the key file the first private key,
/// whatever its label says it is.
pub(crate) fn client_certificate(certificate_file: &Path, key_file: &Path) -> Result<Arc<CertifiedKey>> {
    let read = |path: &Path| {
        bounded::read(path, LARGEST_PEM).with_context(|| format!("cannot read {}", path.display()))
    };
    let pem = Zeroizing::new(read(certificate_file)?);
    let chain = certificates(&pem);
    let Some(own) = chain.first() else {
        bail!("{}: {}", certificate_file.display(), broken_pem(&pem, "a certificate"));
    };
    let Some(own) = der::Certificate::parse(own) else {
        bail!("{}: the certificate cannot be parsed", certificate_file.display());
    };
    let pem = Zeroizing::new(read(key_file)?);
    // No error of a parser is passed on: it may hold what could not be parsed, and that may be the key.
    let Some(block) = blocks(&pem).into_iter().find(Block::is_key) else {
        bail!("{}: {}", key_file.display(), broken_pem(&pem, "a private key"));
    };
    if block.is_encrypted() {
        bail!(
            "{}: the key is encrypted, which is not supported; decrypt it with `openssl pkey -in FILE -out FILE`",
            key_file.display()
        );
    }
    let Some(key) = signing_key(&block.bytes) else {
        bail!(
            "{}: not a private key that can be used (RSA from 2048 bits, ECDSA on P-256, P-384 or P-521, Ed25519)",
            key_file.display()
        );
    };
    if let Some(public) = key.public_key()
        && der::Key::parse_whole(&public).is_none_or(|public| public.bits != own.key.bits)
    {
        bail!("{} and {} do not fit together", certificate_file.display(), key_file.display());
    }
    Ok(Arc::new(CertifiedKey::new(chain, key)))
}

/// The key in whichever of the three forms it is. Their labels are not always right, and Go does not heed them.
fn signing_key(der: &[u8]) -> Option<Arc<dyn SigningKey>> {
    let forms: [PrivateKeyDer<'_>; 3] = [
        PrivatePkcs1KeyDer::from(der).into(),
        PrivatePkcs8KeyDer::from(der).into(),
        PrivateSec1KeyDer::from(der).into(),
    ];
    forms.iter().find_map(|form| provider().key_provider.load_private_key(form.clone_key()).ok())
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

/// Checks a server's certificate as the TLS library does, and trusts two more, as Go does: one that is itself among the
/// trusted, and one that says it is an authority's (`CA:TRUE`) and was signed by a trusted authority.
#[derive(Debug)]
struct Verifier {
    roots: RootCertStore,
    certificates: Vec<CertificateDer<'static>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Verifier {
    fn new(certificates: Vec<CertificateDer<'static>>, algorithms: WebPkiSupportedAlgorithms) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(certificates.iter().cloned());
        Self { roots, certificates, algorithms }
    }

    /// Whether a certificate that the TLS library refused is one of those two. Its validity has been checked before it
    /// was refused for this reason; what it is for has not.
    fn is_trusted(&self, certificate: &CertificateDer<'_>, refusal: &rustls::Error) -> bool {
        let is_itself = || self.certificates.iter().any(|trusted| trusted == certificate);
        let unknown = rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer);
        if *refusal == unknown {
            return is_itself();
        }
        is_authority_as_server(refusal)
            && der::Certificate::parse(certificate)
                .is_some_and(|own| own.may_be_a_servers() && (is_itself() || self.is_signed(&own)))
    }

    /// Whether a trusted authority signed it, and no other in between.
    fn is_signed(&self, own: &der::Certificate<'_>) -> bool {
        self.roots.roots.iter().filter(|root| root.name_constraints.is_none()).any(|root| {
            root.subject.as_ref() == own.issuer
                && der::Key::parse(root.subject_public_key_info.as_ref()).is_some_and(|key| {
                    self.algorithms.all.iter().any(|algorithm| {
                        algorithm.signature_alg_id().as_ref() == own.algorithm
                            && algorithm.public_key_alg_id().as_ref() == key.algorithm
                            && algorithm.verify_signature(key.bits, own.signed, own.signature).is_ok()
                    })
                })
        })
    }
}

/// Whether a certificate was refused because it says that it is an authority's. The TLS library has no name for it.
pub(super) fn is_authority_as_server(error: &rustls::Error) -> bool {
    matches!(error, rustls::Error::InvalidCertificate(CertificateError::Other(other))
        if format!("{other:?}").contains("CaUsedAsEndEntity"))
}

/// A signature of the handshake that cannot be checked is one of a key that is too small. Under that name it would be
/// taken for that of an authority.
fn of_handshake(error: rustls::Error) -> rustls::Error {
    if error != rustls::Error::InvalidCertificate(CertificateError::BadSignature) {
        return error;
    }
    rustls::Error::InvalidCertificate(CertificateError::UnsupportedSignatureAlgorithmContext {
        signature_algorithm_id: Vec::new(),
        supported_algorithms: Vec::new(),
    })
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let certificate = ParsedCertificate::try_from(end_entity)?;
        let verified = rustls::client::verify_server_cert_signed_by_trust_anchor(
            &certificate,
            &self.roots,
            intermediates,
            now,
            self.algorithms.all,
        );
        match verified {
            Err(refusal) if !self.is_trusted(end_entity, &refusal) => return Err(refusal),
            Ok(()) | Err(_) => {}
        }
        verify_server_name(&certificate, server_name)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let verified =
            rustls::crypto::verify_tls12_signature(message, certificate, signature, &self.algorithms);
        verified.map_err(of_handshake)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let verified =
            rustls::crypto::verify_tls13_signature(message, certificate, signature, &self.algorithms);
        verified.map_err(of_handshake)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Checks nothing, which is what `VAULT_SKIP_VERIFY` asks for.
#[derive(Debug)]
struct Unverified {
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// A key exchange on P-521, which the TLS library lacks, and which is all that some servers are set to. It comes last.
#[derive(Debug)]
struct P521;

/// One that has begun.
struct P521Exchange {
    private: EphemeralPrivateKey,
    public: PublicKey,
}

impl SupportedKxGroup for P521 {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, rustls::Error> {
        let private = EphemeralPrivateKey::generate(&ECDH_P521, &SystemRandom::new());
        let private = private.map_err(|_| GetRandomFailed)?;
        let public = private.compute_public_key().map_err(|_| GetRandomFailed)?;
        Ok(Box::new(P521Exchange { private, public }))
    }

    fn ffdhe_group(&self) -> Option<FfdheGroup<'static>> {
        None
    }

    fn name(&self) -> NamedGroup {
        NamedGroup::secp521r1
    }
}

impl ActiveKeyExchange for P521Exchange {
    fn complete(self: Box<Self>, peer_pub_key: &[u8]) -> Result<SharedSecret, rustls::Error> {
        let refusal = rustls::Error::from(PeerMisbehaved::InvalidKeyShare);
        // Only a point as it stands, which is the only form in TLS 1.3, and the only one that was offered before.
        if peer_pub_key.first() != Some(&4) {
            return Err(refusal);
        }
        let peer = UnparsedPublicKey::new(&ECDH_P521, peer_pub_key);
        agree_ephemeral(self.private, peer, refusal, |secret| Ok(SharedSecret::from(secret)))
    }

    fn ffdhe_group(&self) -> Option<FfdheGroup<'static>> {
        None
    }

    fn pub_key(&self) -> &[u8] {
        self.public.as_ref()
    }

    fn group(&self) -> NamedGroup {
        NamedGroup::secp521r1
    }
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

    #[test]
    fn both_sides_of_a_key_exchange_on_p521_agree() {
        let (one, other) = (P521.start().unwrap(), P521.start().unwrap());
        let (mine, theirs) = (one.pub_key().to_vec(), other.pub_key().to_vec());
        let (mine, theirs) = (other.complete(&mine).unwrap(), one.complete(&theirs).unwrap());
        assert_eq!(mine.secret_bytes(), theirs.secret_bytes());
        assert!(P521.start().unwrap().complete(&[2; 67]).is_err());
    }
}
