//! Certificates: the right ones, the wrong ones, and those that would make the TLS library panic.

#![cfg(test)]

mod support;

use std::fs;
use std::io::Write as _;
use std::net::TcpListener;
use std::thread;

use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use support::certificates::{Authority, Pair};
use support::sandbox::Sandbox;
use support::scripted::{Reply, Request, Scripted};
use support::{FILE_TOKEN, RENEWED, healthy};

/// A TLS server that answers a lookup and a renewal of our token. Where `clients` is given, it insists on a
/// client certificate of that authority.
fn serve(pair: &Pair, clients: Option<&Authority>) -> Scripted {
    Scripted::start_tls(pair.server(clients), |request, _| healthy(request))
}

#[test]
fn an_authority_of_ones_own_is_trusted_however_it_is_named() {
    let (authority, home) = (Authority::new(), Sandbox::holding(FILE_TOKEN));
    let server = serve(&authority.sign(&["127.0.0.1"]), None);
    let pem = authority.pem();
    let file = home.write("ca.pem", format!("a comment\n{}{pem}", Authority::new().pem()));
    home.write("authorities/deeper/ca.pem", &pem);
    let directory = home.path().join("authorities");
    for variable in [
        ("VAULT_CACERT", file.as_str()),
        ("BAO_CACERT", &file),
        ("VAULT_CACERT_BYTES", &pem),
        ("VAULT_CAPATH", directory.to_str().unwrap()),
        // Without a setting of ours, the system's store, whose place this variable names.
        ("SSL_CERT_FILE", &file),
    ] {
        let run = home.run_with(&[variable], &server, &[]).expect(0);
        assert_eq!((run.said(), run.stderr.as_str()), (RENEWED, ""), "{variable:?}");
    }
}

#[test]
fn certificates_that_do_not_convince_are_an_error_with_a_remedy() {
    let (authority, home) = (Authority::new(), Sandbox::holding(FILE_TOKEN));
    let file = home.write("ca.pem", authority.pem());
    let ca = ("VAULT_CACERT", file.as_str());

    // The last one bears the name of the authority that is trusted, as one does that was made anew.
    for name in ["a stranger", "an authority"] {
        let stranger = serve(&Authority::named(name).sign(&["127.0.0.1"]), None);
        for variables in [&[ca][..], &[]] {
            let run = home.run_with(variables, &stranger, &[]).expect(1);
            assert_eq!(
                run.complaint(),
                format!(
                    "FAIL: token lookup: {}: TLS: the certificate is signed by an unknown authority",
                    stranger.address()
                )
            );
            let named = "put the certificate of the authority that signed it into what VAULT_CACERT names";
            let unnamed = "name the authority's certificate in VAULT_CACERT";
            assert_eq!(run.hints(), [if variables.is_empty() { unnamed } else { named }]);
        }
    }

    let renamed = serve(&authority.sign(&["vault.example.org"]), None);
    let run = home.run_with(&[ca], &renamed, &[]).expect(1);
    assert!(run.complaint().ends_with("TLS: the certificate is not for this name"), "{run:?}");
    assert!(run.hints()[0].contains("VAULT_TLS_SERVER_NAME"), "{run:?}");
    let named = home.run_with(&[ca, ("VAULT_TLS_SERVER_NAME", "vault.example.org")], &renamed, &[]).expect(0);
    assert_eq!(named.said(), RENEWED);

    // What `openssl req -x509` makes: a self-signed authority in the place of a server's certificate.
    let key = KeyPair::generate().unwrap();
    let mut parameters = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let certificate = parameters.self_signed(&key).unwrap().pem();
    let itself = home.write("self.pem", &certificate);
    let server = serve(&Pair { certificate, key: key.serialize_pem() }, None);
    let run = home.run_with(&[("VAULT_CACERT", &itself)], &server, &[]).expect(0);
    assert_eq!(run.said(), RENEWED);
    let run = home.run_with(&[ca], &server, &[]).expect(1);
    assert!(
        run.complaint().ends_with("TLS: the certificate is an authority's (CA:TRUE), and no server's"),
        "{run:?}"
    );
    assert!(run.hints()[0].contains("CA:FALSE"), "{run:?}");
}

#[test]
fn the_check_can_be_switched_off_with_a_warning() {
    let home = Sandbox::holding(FILE_TOKEN);
    let server = serve(&Authority::new().sign(&["elsewhere"]), None);
    let run = home.run_with(&[("VAULT_SKIP_VERIFY", "true")], &server, &[]).expect(0);
    assert_eq!(run.complaint(), "WARN: VAULT_SKIP_VERIFY is set: the server's certificate is not verified");
    assert_eq!(run.said(), RENEWED);
}

#[test]
fn a_client_certificate_is_shown_where_it_is_asked_for() {
    let (authority, clients, home) = (Authority::new(), Authority::new(), Sandbox::holding(FILE_TOKEN));
    let server = serve(&authority.sign(&["127.0.0.1"]), Some(&clients));
    let pair = clients.sign(&["wizard"]);
    let ca = home.write("ca.pem", authority.pem());
    let certificate = home.write("client.pem", &pair.certificate);
    let key = home.write("client.key", &pair.key);
    let ca = ("VAULT_CACERT", ca.as_str());
    let with = [ca, ("VAULT_CLIENT_CERT", certificate.as_str()), ("VAULT_CLIENT_KEY", key.as_str())];
    assert_eq!(home.run_with(&with, &server, &[]).expect(0).said(), RENEWED);
    let run = home.run_with(&[ca], &server, &[]).expect(1);
    assert!(run.complaint().contains(": TLS: "), "{run:?}");
    assert!(!run.stderr.contains("denied"), "{run:?}");
}

#[test]
fn a_proxy_with_tls_is_known_by_its_own_name() {
    let (authority, home) = (Authority::new(), Sandbox::holding(FILE_TOKEN));
    let busy = |_: &Request, _: usize| Reply::Full(503, Vec::new(), String::new());
    let proxy = Scripted::start_tls(authority.sign(&["127.0.0.1"]).server(None), busy);
    let file = home.write("ca.pem", authority.pem());
    let with = [
        ("VAULT_CACERT", file.as_str()),
        ("VAULT_PROXY_ADDR", proxy.address()),
        // The name of the server, which the certificate of the proxy does not have.
        ("VAULT_TLS_SERVER_NAME", "vault.example.org"),
    ];
    let run = home.run_with(&with, "https://127.0.0.1:8200", &[]).expect(1);
    assert!(run.complaint().contains(": proxy: ") && run.complaint().contains("503"), "{run:?}");
    assert_eq!(proxy.requests().len(), 1);
    assert_eq!(proxy.requests()[0].method, "CONNECT");
}

#[test]
fn certificates_and_keys_that_cannot_be_used_are_settings_errors_and_no_panics() {
    let (authority, home) = (Authority::new(), Sandbox::holding(FILE_TOKEN));
    let (one, other) = (authority.sign(&["a"]), authority.sign(&["b"]));
    let certificate = home.write("one.pem", &one.certificate);
    let wrong_key = home.write("other.key", &other.key);
    let empty = home.write("empty.pem", "");
    let junk =
        home.write("junk.pem", "-----BEGIN CERTIFICATE-----\nSSBhbSBub3QgREVS\n-----END CERTIFICATE-----\n");
    let encrypted = home.write(
        "encrypted.key",
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIB\n-----END ENCRYPTED PRIVATE KEY-----\n",
    );
    let old = home.write(
        "old.key",
        "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: \
         AES-128-CBC,00\n\nMIIB\n-----END RSA PRIVATE KEY-----\n",
    );
    let directory = home.path().join("nothing");
    fs::create_dir(&directory).unwrap();
    let pair = |certificate: &str, key: &str| {
        vec![("VAULT_CLIENT_CERT", certificate.to_owned()), ("VAULT_CLIENT_KEY", key.to_owned())]
    };
    for (variables, reason) in [
        (pair(&certificate, &wrong_key), "do not fit together"),
        (pair(&certificate, &empty), "empty.pem: no PEM of a private key in it"),
        (pair(&certificate, &encrypted), "encrypted.key: the key is encrypted, which is not supported"),
        (pair(&certificate, &old), "old.key: the key is encrypted, which is not supported"),
        (pair(&empty, &wrong_key), "empty.pem: no PEM of a certificate in it"),
        (pair(&junk, &wrong_key), "junk.pem"),
        (pair("/nowhere.pem", &wrong_key), "cannot read /nowhere.pem"),
        (vec![("VAULT_CACERT", empty.clone())], "VAULT_CACERT: "),
        (vec![("VAULT_CACERT", junk.clone())], "no certificate in it can be parsed"),
        (vec![("VAULT_CAPATH", directory.to_str().unwrap().to_owned())], "no certificate in this directory"),
    ] {
        let variables: Vec<(&str, &str)> =
            variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let run = home.run_with(&variables, "https://127.0.0.1:1", &[]).expect(2);
        assert!(run.stderr.contains(reason), "{reason}: {run:?}");
        assert!(!run.stderr.contains("panicked"), "{run:?}");
        assert_eq!(run.stderr.lines().count(), 1, "{run:?}");
    }
}

#[test]
fn https_to_a_plain_port_is_recognised() {
    let plain = Scripted::start(|_, _| Reply::Close);
    let address = plain.address().replace("http://", "https://");
    // Go servers answer the TLS greeting with an HTTP error, which is what a TLS client chokes on.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let go = format!("https://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n400 Bad Request");
        }
    });
    let home = Sandbox::holding(FILE_TOKEN);
    let run = home.run(&go, &[]).expect(1);
    assert_eq!(run.complaint(), format!("FAIL: token lookup: {go}: TLS: the server does not speak TLS"));
    assert_eq!(run.hints(), ["if the server has no TLS, its address begins with http://"]);
    assert_eq!(home.run(&address, &[]).status, 1);
}
