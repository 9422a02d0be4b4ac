//! Certificates for tests, and what a server needs to show them.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};

/// A certificate with its key, in PEM.
pub struct Pair {
    /// The certificate.
    pub certificate: String,
    /// Its key.
    pub key: String,
}

/// An authority that signs.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    /// A new one.
    pub fn new() -> Self {
        Self::named("an authority")
    }

    /// A new one of this name.
    pub fn named(name: &str) -> Self {
        let mut parameters = CertificateParams::new(Vec::new()).unwrap();
        parameters.distinguished_name.push(DnType::CommonName, name);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap())
    }

    /// Its certificate, in PEM.
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate for these names.
    pub fn sign(&self, names: &[&str]) -> Pair {
        let key = KeyPair::generate().unwrap();
        let parameters =
            CertificateParams::new(names.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap();
        let issuer: &Issuer<'_, KeyPair> = &self.0;
        Pair { certificate: parameters.signed_by(&key, issuer).unwrap().pem(), key: key.serialize_pem() }
    }

    /// A store that trusts it alone.
    fn store(&self) -> RootCertStore {
        let mut store = RootCertStore::empty();
        store.add(CertificateDer::from_pem_slice(self.pem().as_bytes()).unwrap()).unwrap();
        store
    }
}

impl Pair {
    /// A server that shows this certificate. Where `clients` is given, it insists on a client certificate of
    /// that authority.
    pub fn server(&self, clients: Option<&Authority>) -> Arc<ServerConfig> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder =
            ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
        let builder = match clients {
            Some(authority) => {
                let roots = Arc::new(authority.store());
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider).build().unwrap();
                builder.unwrap().with_client_cert_verifier(verifier)
            }
            None => builder.unwrap().with_no_client_auth(),
        };
        let chain = vec![CertificateDer::from_pem_slice(self.certificate.as_bytes()).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).unwrap();
        Arc::new(builder.with_single_cert(chain, key).unwrap())
    }
}
