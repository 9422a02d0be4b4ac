//! A hundred connections, each tried by the official command line and by the program: where the one connects, the other
//! does. What is left of differences is listed here, and in docs/configuration.md.

#![cfg(test)]

mod support;

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};
use support::openbao::binary_path;
use support::sandbox::Sandbox;
use support::scripted::{Reply, Request, Scripted};
use support::tie::Tie;
use support::{FILE_TOKEN, OUR_NAME, RENEWED, count, healthy, renewal, told_of};

/// How many are tried at the same time.
const WORKERS: usize = 6;

/// What becomes of a connection.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Expected {
    /// Both connect.
    Both,
    /// Neither does, and the program says this.
    Neither(&'static str),
    /// A difference: the program connects alone.
    Ours,
    /// A difference: the official command line connects alone, and the program says this.
    Theirs(&'static str),
}

use Expected::{Both, Neither, Ours, Theirs};

/// A connection.
struct Case {
    name: String,
    address: String,
    variables: Vec<(String, String)>,
    expected: Expected,
}

/// All of them, and what they need.
#[derive(Default)]
struct Table {
    cases: Vec<Case>,
    servers: Vec<Scripted>,
}

impl Table {
    fn add(&mut self, name: &str, address: &str, variables: &[(&str, &str)], expected: Expected) {
        let variables = variables.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        self.cases.push(Case { name: name.to_owned(), address: address.to_owned(), variables, expected });
    }

    /// A server without TLS that answers like this.
    fn answering(
        &mut self,
        name: &str,
        expected: Expected,
        script: impl Fn(&Request) -> Reply + Send + Sync + 'static,
    ) {
        let server = Scripted::start(move |request, _| script(request));
        self.add(name, server.address(), &[], expected);
        self.servers.push(server);
    }
}

/// A folder of certificates, made by OpenSSL.
struct Certificates<'a>(&'a Sandbox);

impl Certificates<'_> {
    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    fn write(&self, name: &str, contents: impl AsRef<[u8]>) -> String {
        self.0.write(name, contents)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.0.path().join(name)).unwrap()
    }

    #[track_caller]
    fn openssl(&self, arguments: &str) {
        let output = Command::new("openssl").args(arguments.split(' ')).current_dir(self.0.path()).output();
        let output = output.expect("openssl; apt-get install openssl");
        assert!(output.status.success(), "{arguments}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// A key: `RSA:2048`, `P-521`, `ED25519`. It stays if it is there.
    fn key(&self, name: &str, kind: &str) {
        let options = match kind.split_once(':') {
            Some((algorithm, bits)) => format!("{algorithm} -pkeyopt rsa_keygen_bits:{bits}"),
            None if kind == "ED25519" => kind.to_owned(),
            None => format!("EC -pkeyopt ec_paramgen_curve:{kind}"),
        };
        self.openssl(&format!("genpkey -algorithm {options} -out {name}.key"));
    }

    /// A certificate signed by another, or by itself. Its extensions are lines; without any it is of version 1.
    fn issue(&self, name: &str, kind: &str, by: Option<&str>, extensions: &str, options: &str) {
        self.key(name, kind);
        self.openssl(&format!("req -new -key {name}.key -subj /CN={name} -out {name}.csr"));
        let signer = match by {
            Some(by) => format!("-CA {by}.pem -CAkey {by}.key -CAcreateserial"),
            None => format!("-signkey {name}.key"),
        };
        let options = if options.is_empty() { String::new() } else { format!(" {options}") };
        let mut command = format!("x509 -req -in {name}.csr {signer} -days 30{options} -out {name}.pem");
        if !extensions.is_empty() {
            self.write(&format!("{name}.ext"), extensions);
            let _ = write!(command, " -extfile {name}.ext");
        }
        self.openssl(&command);
    }

    fn authority(&self, name: &str, kind: &str) {
        self.issue(name, kind, None, AUTHORITY, "");
    }
}

const AUTHORITY: &str = "basicConstraints=critical,CA:TRUE\nsubjectKeyIdentifier=hash";
const SERVER: &str = "subjectAltName=IP:127.0.0.1,DNS:localhost,DNS:vault.test";

/// Name, scheme and host, variables, what becomes of it.
type Try = (String, &'static str, Vec<(String, String)>, Expected);

/// A server with TLS to come: what it is, what is tried with it.
struct Wanted {
    server: Value,
    tries: Vec<Try>,
}

/// Collects the servers.
#[derive(Default)]
struct Plan(Vec<Wanted>);

impl Plan {
    fn server(&mut self, certificates: &Certificates<'_>, name: &str, more: Value) -> &mut Wanted {
        let mut server = json!({
            "certificate": certificates.path(&format!("{name}.pem")),
            "key": certificates.path(&format!("{name}.key")),
        });
        if let Value::Object(more) = more {
            server.as_object_mut().unwrap().extend(more);
        }
        self.0.push(Wanted { server, tries: Vec::new() });
        self.0.last_mut().unwrap()
    }
}

impl Wanted {
    fn tried(&mut self, name: &str, variables: &[(&str, &str)], expected: Expected) -> &mut Self {
        self.tried_at(name, "https://127.0.0.1", variables, expected)
    }

    fn tried_at(
        &mut self,
        name: &str,
        host: &'static str,
        variables: &[(&str, &str)],
        expected: Expected,
    ) -> &mut Self {
        let variables = variables.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        self.tries.push((name.to_owned(), host, variables, expected));
        self
    }
}

/// The listeners of OpenSSL's. They end with this value.
struct Listeners {
    child: Child,
    _tie: Tie,
    ports: Vec<u16>,
}

impl Listeners {
    fn start(servers: &[&Value]) -> Self {
        let request = Request {
            headers: vec![("x-vault-token".to_owned(), FILE_TOKEN.to_owned())],
            ..Request::default()
        };
        let wanted = json!({
            "servers": servers,
            "answers": { "lookup": told_of(FILE_TOKEN, OUR_NAME), "renewal": renewal(&request) },
        });
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/listeners.py");
        let mut child = Command::new("python3")
            .arg(script)
            .arg(wanted.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3");
        let tie = Tie::to(&child);
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let ports = serde_json::from_str(&line).expect("the ports of the listeners");
        Self { child, _tie: tie, ports }
    }
}

impl Drop for Listeners {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether the official command line connects, and what it says.
fn official(home: &Sandbox, case: &Case) -> (bool, String) {
    let output = Command::new(binary_path())
        .args(["token", "lookup", "-format=json"])
        .env_clear()
        .env("HOME", home.path())
        .env("VAULT_ADDR", &case.address)
        .env("VAULT_TOKEN", FILE_TOKEN)
        .env("VAULT_MAX_RETRIES", "0")
        .env("GOGC", "off")
        .env("VAULT_CLIENT_TIMEOUT", "20s")
        .envs(case.variables.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .output()
        .expect("the official command line runs");
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// What is wrong with a connection, if anything.
fn judge(case: &Case) -> Option<String> {
    let home = Sandbox::holding(FILE_TOKEN);
    let (theirs, said) = official(&home, case);
    let variables: Vec<(&str, &str)> =
        case.variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let run = home.run_with(&variables, &case.address, &[]);
    let ours = run.status == 0;
    let (is_expected, words) = match case.expected {
        Both => ((theirs, ours) == (true, true), ""),
        Neither(words) => ((theirs, ours) == (false, false), words),
        Ours => ((theirs, ours) == (false, true), ""),
        Theirs(words) => ((theirs, ours) == (true, false), words),
    };
    let is_well_said = if ours { run.stdout.contains(RENEWED) } else { run.stderr.contains(words) };
    // A dump of the library's: braces, or names glued together.
    let is_plain = !run.stderr.contains(['{', '}'])
        && !run.stderr.contains("Error(")
        && !run.stderr.contains("panicked");
    (!is_expected || !is_well_said || !is_plain).then(|| {
        format!(
            "{}: {} expected {:?}; connected: theirs {theirs}, ours {ours}\n  theirs: {}\n  ours: {}",
            case.name,
            case.address,
            case.expected,
            said.trim().replace('\n', " | "),
            run.stderr.trim()
        )
    })
}

#[test]
fn where_the_official_command_line_connects_the_program_connects() {
    let start = Instant::now();
    let home = Sandbox::new();
    let certificates = Certificates(&home);
    let mut plan = Plan::default();
    servers(&certificates, &mut plan);
    clients(&certificates, &mut plan);
    let proxies = proxies(&certificates, &mut plan);
    let listeners = Listeners::start(&plan.0.iter().map(|wanted| &wanted.server).collect::<Vec<_>>());
    let mut table = Table::default();
    for (wanted, port) in plan.0.iter().zip(&listeners.ports) {
        for (name, host, variables, expected) in &wanted.tries {
            let variables: Vec<_> =
                variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            table.add(name, &format!("{host}:{port}"), &variables, *expected);
        }
    }
    answers(&mut table);
    addresses(&mut table);
    routes(&mut table, &certificates, &listeners.ports, &proxies);
    let made = start.elapsed();

    let (next, wrong) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                while let Some(case) = table.cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    // Judged first: while the list is locked, nobody else is at work.
                    let judged = judge(case);
                    wrong.lock().unwrap().extend(judged);
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), table.cases.len(), wrong.join("\n"));
    assert!(start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());
    let documents = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
    let documents = fs::read_to_string(documents).unwrap();
    for case in &table.cases {
        if let Theirs(words) = case.expected {
            assert!(documents.contains(words), "{}: docs/configuration.md does not say: {words}", case.name);
        }
    }
    let differences = table.cases.iter().filter(|case| matches!(case.expected, Ours | Theirs(_))).count();
    count(&format!(
        "{} connections, {differences} of them differ as documented; {made:?} to prepare, {:?} in all",
        table.cases.len(),
        start.elapsed()
    ));
}

/// What a server shows, and what it speaks.
fn servers(certificates: &Certificates<'_>, plan: &mut Plan) {
    const SIGNATURE: &str = "TLS: the key or the signature of the certificate is not supported";
    const UNKNOWN: &str = "TLS: the certificate is signed by an unknown authority";
    for (kind, hashes) in [
        ("RSA:2048", &["sha256", "sha384", "sha512"][..]),
        ("P-256", &["sha256", "sha384", "sha512"]),
        ("P-384", &["sha256", "sha384", "sha512"]),
        ("P-521", &["sha256", "sha384", "sha512"]),
        ("ED25519", &[""]),
    ] {
        let authority = format!("ca-{}", kind.replace(':', ""));
        certificates.authority(&authority, kind);
        let ca = certificates.path(&format!("{authority}.pem"));
        for hash in hashes {
            let name = format!("{authority}-{hash}");
            let option = if hash.is_empty() { String::new() } else { format!("-{hash}") };
            certificates.issue(&name, kind, Some(&authority), SERVER, &option);
            plan.server(certificates, &name, json!({})).tried(&name, &[("VAULT_CACERT", &ca)], Both);
        }
    }
    let ca = certificates.path("ca-P-256.pem");
    let with = [("VAULT_CACERT", ca.as_str())];
    let rsa = certificates.path("ca-RSA2048.pem");
    let with_rsa = [("VAULT_CACERT", rsa.as_str())];
    let mut leaf = |name: &str, kind: &str, by: &str, extensions: &str, options: &str, more: Value| {
        certificates.issue(name, kind, Some(by), extensions, options);
        plan.server(certificates, name, more);
        plan.0.len() - 1
    };

    // Signatures and keys.
    let pss = leaf(
        "pss",
        "RSA:2048",
        "ca-RSA2048",
        SERVER,
        "-sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:32 -sha256",
        json!({}),
    );
    let sha1 = leaf("sha1", "RSA:2048", "ca-RSA2048", SERVER, "-sha1", json!({}));
    let small = leaf("small", "RSA:1024", "ca-RSA2048", SERVER, "", json!({}));
    let koblitz = leaf("koblitz", "secp256k1", "ca-P-256", SERVER, "", json!({ "max": "TLSv1_2" }));
    // Names, dates, purposes.
    let unnamed = leaf("unnamed", "P-256", "ca-P-256", "basicConstraints=CA:FALSE", "", json!({}));
    let elsewhere = leaf("elsewhere", "P-256", "ca-P-256", "subjectAltName=DNS:*.example.org", "", json!({}));
    let purpose = format!("{SERVER}\nextendedKeyUsage=clientAuth");
    let purpose = leaf("purpose", "P-256", "ca-P-256", &purpose, "", json!({}));
    let version1 = leaf("version1", "P-256", "ca-P-256", "", "", json!({}));
    let called =
        leaf("called", "P-256", "ca-P-256", &format!("{SERVER}\nbasicConstraints=CA:TRUE"), "", json!({}));
    let called_rsa = format!("{SERVER}\nbasicConstraints=CA:TRUE\nextendedKeyUsage=clientAuth");
    let called_client = leaf("called-client", "P-256", "ca-P-256", &called_rsa, "", json!({}));
    // Versions, suites, curves.
    let mut speaking = |name: &str, base: &str, more: Value, expected: Expected| {
        let ca = if base == "ca-RSA2048-sha256" { &with_rsa } else { &with };
        plan.server(certificates, base, more).tried(name, ca, expected);
    };
    for (name, base, more, expected) in [
        ("TLS 1.2", "ca-P-256-sha256", json!({ "max": "TLSv1_2" }), Both),
        ("TLS 1.3", "ca-P-256-sha256", json!({ "min": "TLSv1_3" }), Both),
        ("TLS 1.1", "ca-RSA2048-sha256", json!({ "max": "TLSv1_1" }), Neither("TLS: nothing in common")),
        ("curve P-521", "ca-P-256-sha256", json!({ "curve": "secp521r1" }), Both),
        ("curve P-521 in 1.2", "ca-RSA2048-sha256", json!({ "curve": "secp521r1", "max": "TLSv1_2" }), Both),
        ("curve P-384", "ca-P-256-sha256", json!({ "curve": "secp384r1" }), Both),
        ("curve P-256", "ca-P-256-sha256", json!({ "curve": "prime256v1" }), Both),
        ("ChaCha20", "ca-RSA2048-sha256", json!({ "ciphers": "ECDHE+CHACHA20", "max": "TLSv1_2" }), Both),
        ("AES-256-GCM", "ca-RSA2048-sha256", json!({ "ciphers": "ECDHE+AESGCM", "max": "TLSv1_2" }), Both),
        (
            "AES-CBC",
            "ca-RSA2048-sha256",
            json!({ "ciphers": "ECDHE-RSA-AES128-SHA", "max": "TLSv1_2" }),
            Theirs("TLS: nothing in common with the server (TLS version, cipher suite, curve)"),
        ),
        (
            "RSA key exchange",
            "ca-RSA2048-sha256",
            json!({ "ciphers": "AES128-GCM-SHA256", "max": "TLSv1_2" }),
            Neither("TLS: nothing in common with the server (TLS version, cipher suite, curve)"),
        ),
    ] {
        speaking(name, base, more, expected);
    }
    for (index, name, ca, expected) in [
        (pss, "RSA-PSS signature", &with_rsa, Both),
        (sha1, "SHA-1 signature", &with_rsa, Neither(SIGNATURE)),
        (small, "RSA with 1024 bits", &with_rsa, Theirs(SIGNATURE)),
        (koblitz, "a curve that nobody has", &with, Neither("TLS: ")),
        (unnamed, "no SAN", &with, Neither("TLS: the certificate is not for this name")),
        (elsewhere, "another name", &with, Neither("TLS: the certificate is not for this name")),
        (purpose, "for clients only", &with, Neither("no serverAuth in extendedKeyUsage")),
        (
            version1,
            "a leaf of version 1",
            &with,
            Neither("TLS: the certificate cannot be read, or is of version 1"),
        ),
        (called, "CA:TRUE below a trusted authority", &with, Both),
        (called_client, "CA:TRUE for clients only", &with, Neither("TLS: ")),
    ] {
        plan.0[index].tried(name, ca, expected);
    }
    let named = [with[0], ("VAULT_TLS_SERVER_NAME", "vault.example.org")];
    plan.0[elsewhere].tried("a wild card and a name", &named, Both);
    let unchecked = [("VAULT_SKIP_VERIFY", "true")];
    plan.0[elsewhere].tried("unchecked", &unchecked, Both);
    plan.0[version1].tried("version 1, unchecked", &unchecked, Both);
    plan.0[small].tried("RSA with 1024 bits, unchecked", &unchecked, Both);

    // Chains.
    certificates.issue("middle", "P-256", Some("ca-P-256"), AUTHORITY, "");
    certificates.issue("below", "P-256", Some("middle"), SERVER, "");
    let chain = certificates.read("below.pem") + &certificates.read("middle.pem");
    let chain = certificates.write("chain.pem", chain);
    let server = plan.server(certificates, "below", json!({ "certificate": chain }));
    server.tried("a chain", &with, Both);
    server.tried("the authority in the middle", &[("VAULT_CACERT", &certificates.path("middle.pem"))], Both);
    plan.server(certificates, "below", json!({})).tried("a gap in the chain", &with, Neither(UNKNOWN));
    certificates.issue(
        "below-ca",
        "P-256",
        Some("middle"),
        &format!("{SERVER}\nbasicConstraints=CA:TRUE"),
        "",
    );
    let chain = certificates.read("below-ca.pem") + &certificates.read("middle.pem");
    let chain = certificates.write("chain-ca.pem", chain);
    plan.server(certificates, "below-ca", json!({ "certificate": chain })).tried(
        "CA:TRUE below another certificate",
        &with,
        Theirs("TLS: the certificate is an authority's (CA:TRUE), and no server's"),
    );
    // Who stands for itself.
    for (name, extensions) in [
        ("self", format!("{SERVER}\nbasicConstraints=CA:TRUE")),
        ("self-leaf", format!("{SERVER}\nbasicConstraints=CA:FALSE")),
        ("self-plain", SERVER.to_owned()),
    ] {
        certificates.issue(name, "P-256", None, &extensions, "");
        let itself = certificates.path(&format!("{name}.pem"));
        let server = plan.server(certificates, name, json!({}));
        server.tried(&format!("{name}, trusted"), &[("VAULT_CACERT", &itself)], Both);
        server.tried(&format!("{name}, in the system's store"), &[("SSL_CERT_FILE", &itself)], Both);
        server.tried(&format!("{name}, not trusted"), &with, Neither("TLS: "));
    }
    let leaf = certificates.path("ca-P-256-sha256.pem");
    let server = plan.server(certificates, "ca-P-256-sha256", json!({}));
    server.tried("a leaf that is itself trusted", &[("VAULT_CACERT", &leaf)], Both);

    // Times.
    let dated = |name: &str, years: [i32; 2], by: Option<&Issuer<'_, KeyPair>>| {
        let key = KeyPair::generate().unwrap();
        let places = ["localhost", "127.0.0.1"].map(str::to_owned);
        let mut parameters = CertificateParams::new(places).unwrap();
        parameters.distinguished_name.push(DnType::CommonName, name);
        let [begin, end] = years.map(|year| rcgen::date_time_ymd(year, 1, 1));
        (parameters.not_before, parameters.not_after) = (begin, end);
        if by.is_none() {
            parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }
        let certificate = match by {
            Some(by) => parameters.signed_by(&key, by),
            None => parameters.self_signed(&key),
        };
        certificates.write(&format!("{name}.pem"), certificate.unwrap().pem());
        certificates.write(&format!("{name}.key"), key.serialize_pem());
        Issuer::new(parameters, key)
    };
    let (good, over) = (dated("good", [2020, 2090], None), dated("over", [2001, 2002], None));
    for (name, years, issuer, ca, expected) in [
        ("a leaf that is over", [2001, 2002], &good, "good.pem", Neither("TLS: the certificate is expired")),
        (
            "a leaf to come",
            [2089, 2090],
            &good,
            "good.pem",
            Neither("TLS: the certificate is expired, or not"),
        ),
        ("an authority that is over", [2020, 2090], &over, "over.pem", Ours),
    ] {
        let file = name.replace(' ', "-");
        dated(&file, years, Some(issuer));
        plan.server(certificates, &file, json!({})).tried(
            name,
            &[("VAULT_CACERT", &certificates.path(ca))],
            expected,
        );
    }

    // How authorities are named.
    certificates.issue("ca-1", "P-256", None, "", "");
    certificates.issue("by-1", "P-256", Some("ca-1"), SERVER, "");
    let first = certificates.path("ca-1.pem");
    plan.server(certificates, "by-1", json!({})).tried(
        "an authority of version 1",
        &[("VAULT_CACERT", &first)],
        Both,
    );
    let pem = certificates.read("ca-P-256.pem");
    let junk = "-----BEGIN CERTIFICATE-----\nSSBhbSBub3QgREVS\n-----END CERTIFICATE-----\n";
    let mut file = |name: &str, contents: String, expected: Expected| {
        let path = certificates.write(name, contents);
        plan.server(certificates, "ca-P-256-sha256", json!({})).tried(
            name,
            &[("VAULT_CACERT", &path)],
            expected,
        );
    };
    file("text around", format!("Subject: x\n{pem}\nmore\n"), Both);
    file("CRLF", pem.replace('\n', "\r\n"), Both);
    file("byte order mark and text", format!("\u{feff}# authorities\n{pem}"), Both);
    file("byte order mark", format!("\u{feff}{pem}"), Ours);
    file("junk before", format!("{junk}{pem}"), Both);
    file("junk after", format!("{pem}{junk}"), Both);
    file("twice", format!("{pem}{pem}"), Both);
    file("not base64 before", format!("{}{pem}", junk.replace("SSBhb", "!!!!!")), Both);
    file("beside one that is over", format!("{}{pem}", certificates.read("over.pem")), Both);
    file("a key beside it", format!("{}{pem}", certificates.read("ca-P-256.key")), Both);
    file("junk alone", junk.to_owned(), Neither("no certificate in it can be parsed"));
    file(
        "another label",
        pem.replace("CERTIFICATE", "TRUSTED CERTIFICATE"),
        Neither("no PEM of a certificate"),
    );
    file("on one line", pem.replace('\n', ""), Neither("it stands on one line"));
    let server = plan.server(certificates, "ca-P-256-sha256", json!({}));
    server.tried("CACERT_BYTES", &[("VAULT_CACERT_BYTES", &pem)], Both);
    server.tried("BAO_CACERT", &[("BAO_CACERT", &ca), ("VAULT_CACERT", "/nowhere")], Both);
    certificates.write("folder/deeper/ca.pem", &pem);
    certificates.write("folder/junk.pem", format!("{junk}{}", certificates.read("ca-P-521.pem")));
    let folder = certificates.path("folder");
    server.tried("CAPATH", &[("VAULT_CAPATH", &folder)], Both);
    let deeper = certificates.path("folder/deeper");
    server.tried("SSL_CERT_DIR", &[("SSL_CERT_DIR", &format!("/nowhere:{deeper}"))], Both);
    certificates.write("folder2/ca.pem", &pem);
    certificates.write("folder2/README", "nothing");
    let folder = certificates.path("folder2");
    server.tried("CAPATH with another file", &[("VAULT_CAPATH", &folder)], Both);
    server.tried("no authority", &[], Neither(UNKNOWN));
    server.tried_at("upper case", "HTTPS://LocalHost", &with, Both);
    server.tried_at("without TLS", "http://127.0.0.1", &with, Neither(""));
}

/// What a client shows.
fn clients(certificates: &Certificates<'_>, plan: &mut Plan) {
    let ca = certificates.path("ca-P-256.pem");
    certificates.authority("clients", "P-256");
    for version in ["TLSv1_2", "TLSv1_3"] {
        let clients = certificates.path("clients.pem");
        let more = json!({ "clients": clients, "min": version, "max": version });
        let server = plan.server(certificates, "ca-P-256-sha256", more);
        let show = |certificate: &str, key: &str| {
            vec![
                ("VAULT_CACERT", ca.clone()),
                ("VAULT_CLIENT_CERT", certificates.path(certificate)),
                ("VAULT_CLIENT_KEY", certificates.path(key)),
            ]
        };
        let mut shown = |name: &str, variables: Vec<(&str, String)>, expected: Expected| {
            let variables: Vec<_> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
            server.tried(&format!("client: {name}, {version}"), &variables, expected);
        };
        let extensions = "extendedKeyUsage=clientAuth";
        for kind in ["RSA:2048", "P-256", "P-384", "P-521", "ED25519"] {
            let name = format!("client-{}", kind.replace(':', ""));
            certificates.issue(&name, kind, Some("clients"), extensions, "");
            shown(kind, show(&format!("{name}.pem"), &format!("{name}.key")), Both);
        }
        shown("none", vec![("VAULT_CACERT", ca.clone())], Neither("wants a client certificate"));
        shown(
            "of a stranger",
            show("ca-P-256-sha256.pem", "ca-P-256-sha256.key"),
            Neither("TLS: the server wants a client certificate, or another one"),
        );
        certificates.issue("client-1", "P-256", Some("clients"), "", "");
        shown("of version 1", show("client-1.pem", "client-1.key"), Both);
        if version == "TLSv1_2" {
            continue;
        }
        // The forms of keys, once.
        certificates.openssl("rsa -in client-RSA2048.key -traditional -out pkcs1.key");
        shown("PKCS#1", show("client-RSA2048.pem", "pkcs1.key"), Both);
        for curve in ["P-256", "P-384", "P-521"] {
            certificates.openssl(&format!("ec -in client-{curve}.key -out sec1-{curve}.key"));
            shown(
                &format!("SEC1 {curve}"),
                show(&format!("client-{curve}.pem"), &format!("sec1-{curve}.key")),
                Both,
            );
            certificates.openssl(&format!("ecparam -name {} -out parameters", curve_name(curve)));
            let with = certificates.read("parameters") + &certificates.read(&format!("sec1-{curve}.key"));
            certificates.write(&format!("with-{curve}.key"), with);
            shown(
                &format!("EC PARAMETERS {curve}"),
                show(&format!("client-{curve}.pem"), &format!("with-{curve}.key")),
                Both,
            );
        }
        let (certificate, key) =
            (certificates.read("client-P-256.pem"), certificates.read("client-P-256.key"));
        certificates.write("both.pem", format!("{certificate}{key}"));
        shown("one file for both", show("both.pem", "both.pem"), Both);
        certificates.write("both2.pem", format!("{key}{certificate}"));
        shown("one file for both, the key first", show("both2.pem", "both2.pem"), Both);
        let pair = |name: &str, certificate: String, key: String| {
            certificates.write(&format!("{name}.pem"), certificate);
            certificates.write(&format!("{name}.key"), key);
            show(&format!("{name}.pem"), &format!("{name}.key"))
        };
        shown(
            "text around",
            pair("around", format!("a\n{certificate}b: c\n"), format!("d: e\n{key}f\n")),
            Both,
        );
        let crlf = |text: &str| text.replace('\n', "\r\n");
        shown("CRLF", pair("crlf", crlf(&certificate), crlf(&key)), Both);
        let marked = |text: &str| format!("\u{feff}{text}");
        shown("byte order mark", pair("bom", marked(&certificate), marked(&key)), Ours);
        let rsa = certificates.read("client-RSA2048.pem");
        let wrong = certificates.read("client-RSA2048.key").replace("PRIVATE", "RSA PRIVATE");
        shown("PKCS#8 under the label of PKCS#1", pair("label", rsa.clone(), wrong), Both);
        let word = key.replace("-----BEGIN PRIVATE KEY-----", "# not ENCRYPTED\n-----BEGIN PRIVATE KEY-----");
        shown("the word ENCRYPTED beside it", pair("word", certificate.clone(), word), Both);
        certificates.issue("middle-client", "P-256", Some("clients"), AUTHORITY, "");
        certificates.issue("lower", "P-256", Some("middle-client"), extensions, "");
        let chain = certificates.read("lower.pem") + &certificates.read("middle-client.pem");
        shown("a chain", pair("lower-chain", chain, certificates.read("lower.key")), Both);
        // What does not do.
        let encrypted = "the key is encrypted, which is not supported; decrypt it with `openssl pkey";
        certificates.openssl("pkcs8 -topk8 -in client-P-256.key -passout pass:x -out encrypted.key");
        shown("encrypted", show("client-P-256.pem", "encrypted.key"), Neither(encrypted));
        certificates.openssl("rsa -in client-RSA2048.key -traditional -aes128 -passout pass:x -out old.key");
        shown("encrypted in the old way", show("client-RSA2048.pem", "old.key"), Neither(encrypted));
        shown("not a pair", show("client-P-256.pem", "client-P-384.key"), Neither("do not fit together"));
        certificates.openssl("x509 -in client-P-256.pem -outform DER -out client.der");
        shown("DER", show("client.der", "client-P-256.key"), Neither("no PEM of a certificate in it"));
        certificates.issue("client-small", "RSA:1024", Some("clients"), extensions, "");
        shown(
            "RSA with 1024 bits",
            show("client-small.pem", "client-small.key"),
            Theirs("RSA from 2048 bits"),
        );
        certificates.issue("client-k", "secp256k1", Some("clients"), extensions, "");
        shown(
            "a curve that nobody has",
            show("client-k.pem", "client-k.key"),
            Neither("not a private key that can"),
        );
        let alone =
            vec![("VAULT_CACERT", ca.clone()), ("VAULT_CLIENT_CERT", certificates.path("client-P-256.pem"))];
        shown("without a key", alone, Neither("is set alone"));
    }
}

fn curve_name(curve: &str) -> &str {
    match curve {
        "P-256" => "prime256v1",
        "P-384" => "secp384r1",
        _ => "secp521r1",
    }
}

/// The body of a healthy answer.
fn body(request: &Request) -> String {
    let Reply::Json(200, body) = healthy(request) else { panic!("no healthy answer to {request:?}") };
    body
}

/// An answer with this before its headers, and these headers.
fn answer(begin: &str, headers: &str, body: &[u8]) -> Reply {
    let mut bytes = format!("{begin}Content-Type: application/json\r\n{headers}\r\n").into_bytes();
    bytes.extend(body);
    Reply::Bytes(bytes)
}

/// What a server answers.
fn answers(table: &mut Table) {
    const OK: &str = "HTTP/1.1 200 OK\r\n";
    let whole = |request: &Request, begin: &str, headers: &str| {
        let body = body(request);
        answer(begin, &format!("Content-Length: {}\r\n{headers}", body.len()), body.as_bytes())
    };
    let chunks = |request: &Request, trailers: &str| {
        let body = body(request);
        let (one, other) = body.split_at(10);
        let chunked =
            format!("{:x};a=b\r\n{one}\r\n{:X}\r\n{other}\r\n0\r\n{trailers}\r\n", one.len(), other.len());
        answer(OK, "Transfer-Encoding: chunked\r\n", chunked.as_bytes())
    };
    table.answering("as usual", Both, healthy);
    table.answering("gzip", Both, move |request| {
        let body = gzip(body(request).as_bytes());
        answer(OK, &format!("Content-Encoding: gzip\r\nContent-Length: {}\r\n", body.len()), &body)
    });
    table.answering("gzip in chunks", Both, move |request| {
        let body = gzip(body(request).as_bytes());
        let chunked = [format!("{:x}\r\n", body.len()).as_bytes(), &body, b"\r\n0\r\n\r\n"].concat();
        answer(OK, "Content-Encoding: GZIP\r\nTransfer-Encoding: chunked\r\n", &chunked)
    });
    table.answering("gzip that is none", Neither("not an answer of Vault"), move |request| {
        let body = format!("x{}", body(request));
        answer(OK, &format!("Content-Encoding: gzip\r\nContent-Length: {}\r\n", body.len()), body.as_bytes())
    });
    table.answering("a bomb", Neither("far too long"), move |_| {
        let body = gzip(&vec![b' '; 40_000_000]);
        answer(OK, &format!("Content-Encoding: gzip\r\nContent-Length: {}\r\n", body.len()), &body)
    });
    table.answering("1 MB of headers", Both, move |request| whole(request, OK, &filler(10, 100_000)));
    table.answering("9 MB of headers", Both, move |request| whole(request, OK, &filler(1, 9_000_000)));
    table.answering("12 MB of headers", Neither("larger than can be read"), move |request| {
        whole(request, OK, &filler(120, 100_000))
    });
    table.answering("5000 headers", Both, move |request| whole(request, OK, &filler(5_000, 9)));
    table.answering("a folded header", Both, move |request| whole(request, OK, "X-A: b\r\n c\r\n\td\r\n"));
    table.answering("no reason", Both, move |request| whole(request, "HTTP/1.1 200\r\n", ""));
    table.answering("100 Continue", Both, move |request| {
        whole(request, &format!("HTTP/1.1 100 Continue\r\n\r\n{OK}"), "")
    });
    table.answering("103 Early Hints", Both, move |request| {
        let hints = "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n".repeat(3);
        whole(request, &format!("{hints}{OK}"), "")
    });
    table.answering("HTTP/1.0", Both, move |request| {
        let body = body(request);
        Reply::Raw([b"HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n", body.as_bytes()].concat())
    });
    table.answering("HTTP/1.0 that goes on", Both, move |request| {
        whole(request, "HTTP/1.0 200 OK\r\n", "Connection: keep-alive\r\n")
    });
    table.answering("until it closes", Both, move |request| {
        let body = body(request);
        Reply::Raw([b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", body.as_bytes()].concat())
    });
    table.answering("chunks", Both, move |request| chunks(request, ""));
    table.answering("chunks with trailers", Both, move |request| chunks(request, "X-A: b\r\nX-C: d\r\n"));
    table.answering("bare line feeds", Both, move |request| {
        let body = body(request);
        Reply::Bytes(format!("HTTP/1.1 200 OK\nContent-Length: {}\n\n{body}", body.len()).into_bytes())
    });
    table.answering("byte by byte", Both, move |request| {
        let body = body(request);
        let bytes = format!("{OK}Connection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        Reply::Drip(bytes.into_bytes(), Duration::from_micros(300))
    });
    table.answering("half of it", Neither("closed before the answer was complete"), move |request| {
        let body = body(request);
        Reply::Raw(format!("{OK}Content-Length: {}\r\n\r\n{}", body.len(), &body[..20]).into_bytes())
    });
    table.answering("no HTTP", Neither("the answer is not HTTP"), |_| Reply::Raw(b"SSH-2.0-x\r\n".to_vec()));
    table.answering("a page", Neither("not an answer of Vault"), |_| {
        Reply::Full(200, Vec::new(), "<html>".to_owned())
    });
    table.answering("a redirect", Both, |request| {
        if let Some(path) = request.path.strip_prefix("/there") {
            return healthy(&Request { path: path.to_owned(), ..request.clone() });
        }
        let location = ("Location".to_owned(), format!("/there{}", request.path));
        Reply::Full(307, vec![location], String::new())
    });
}

/// Headers that nobody needs.
fn filler(number: usize, length: usize) -> String {
    (0..number).fold(String::new(), |mut headers, number| {
        let _ = write!(headers, "X-Filler-{number}: {}\r\n", "x".repeat(length));
        headers
    })
}

/// The compressed form.
fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// How a server is named.
fn addresses(table: &mut Table) {
    let server = Scripted::start(|request, _| {
        let path = request.path.trim_start_matches("/prefix").to_owned();
        healthy(&Request { path, ..request.clone() })
    });
    let port = server.address().rsplit_once(':').unwrap().1.to_owned();
    for (name, address, expected) in [
        ("a name", format!("http://localhost:{port}"), Both),
        ("a name in upper case", format!("HTTP://LOCALHOST:{port}"), Both),
        (
            "no such name, with a dot",
            format!("http://vault.invalid.:{port}"),
            Neither("the name does not resolve"),
        ),
        ("slashes at the end", format!("http://127.0.0.1:{port}//"), Both),
        ("a path before", format!("http://127.0.0.1:{port}/prefix"), Both),
        ("a mapped address", format!("http://[::ffff:127.0.0.1]:{port}"), Both),
        (
            "user and password",
            format!("http://me:word@127.0.0.1:{port}"),
            Theirs("must not hold a user name"),
        ),
        (
            "a socket of this machine",
            "unix:///nowhere.sock".to_owned(),
            Neither("unix sockets are not supported"),
        ),
        ("no scheme", format!("127.0.0.1:{port}"), Neither("it has no scheme")),
        ("nobody there", "http://127.0.0.1:1".to_owned(), Neither("connection refused")),
        ("no such name", format!("http://vault.invalid:{port}"), Neither("the name does not resolve")),
        ("TLS to a server without", format!("https://127.0.0.1:{port}"), Neither("")),
    ] {
        table.add(name, &address, &[], expected);
    }
    table.servers.push(server);
    // IPv6, in front of the same.
    let Ok(listener) = std::net::TcpListener::bind("[::1]:0") else { return };
    let port6 = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let Ok(server) = std::net::TcpStream::connect(format!("127.0.0.1:{port}")) else { return };
            let (mut one, mut other) = (stream.try_clone().unwrap(), server.try_clone().unwrap());
            thread::spawn(move || std::io::copy(&mut one, &mut other));
            let (mut one, mut other) = (server, stream);
            thread::spawn(move || {
                let _ = std::io::copy(&mut one, &mut other);
                let _ = other.shutdown(std::net::Shutdown::Both);
            });
        }
    });
    for (name, host, expected) in [
        ("IPv6", "[::1]", Both),
        ("IPv6 in a zone", "[::1%25lo]", Both),
        ("IPv6 in a zone by number", "[::1%251]", Both),
        (
            "IPv6 in a zone that is not there",
            "[fe80::1%25nowhere0]",
            Neither("there is no network interface nowhere0"),
        ),
    ] {
        table.add(name, &format!("http://{host}:{port6}"), &[], expected);
    }
}

/// The proxies of the plan, by their places in it.
struct Proxies {
    open: usize,
    closed: usize,
    encrypted: usize,
    refusing: usize,
    target: usize,
}

fn proxies(certificates: &Certificates<'_>, plan: &mut Plan) -> Proxies {
    let mut add = |server: Value| {
        plan.0.push(Wanted { server, tries: Vec::new() });
        plan.0.len() - 1
    };
    let (certificate, key) =
        (certificates.path("ca-P-256-sha256.pem"), certificates.path("ca-P-256-sha256.key"));
    Proxies {
        open: add(json!({ "is_proxy": true })),
        closed: add(json!({ "is_proxy": true, "credentials": "me:pass@word" })),
        encrypted: add(json!({ "is_proxy": true, "certificate": certificate, "key": key })),
        refusing: add(json!({ "is_proxy": true, "refuses": true })),
        target: add(json!({ "certificate": certificate, "key": key })),
    }
}

/// Through proxies. Nobody but they knows the name `vault.test`, so who connects went through one.
fn routes(table: &mut Table, certificates: &Certificates<'_>, ports: &[u16], proxies: &Proxies) {
    const UNKNOWN: &str = "the name does not resolve";
    let place = |index: usize| format!("127.0.0.1:{}", ports[index]);
    let (open, closed) = (place(proxies.open), place(proxies.closed));
    let (encrypted, refusing) = (place(proxies.encrypted), place(proxies.refusing));
    let plain = Scripted::start(|request, _| healthy(request));
    let plain_port = plain.address().rsplit_once(':').unwrap().1.to_owned();
    let http = format!("http://vault.test:{plain_port}");
    let https = format!("https://vault.test:{}", ports[proxies.target]);
    let ca = certificates.path("ca-P-256.pem");
    let url = |scheme: &str, place: &str| format!("{scheme}://{place}");
    let with = |user: &str, place: &str| format!("http://{user}@{place}");
    let socks = |user: &str, place: &str| format!("socks5://{user}@{place}");
    let direct = plain.address().to_owned();
    let mut tried = |name: &str, address: &str, variables: &[(&str, &str)], expected: Expected| {
        let mut variables = variables.to_vec();
        variables.push(("VAULT_CACERT", &ca));
        table.add(&format!("proxy: {name}"), address, &variables, expected);
    };
    let credentials = "proxy: 407: wrong or missing credentials";
    tried("http", &http, &[("HTTP_PROXY", &url("http", &open))], Both);
    tried("http in lower case", &http, &[("http_proxy", &url("http", &open))], Both);
    tried("without scheme", &http, &[("HTTP_PROXY", &open)], Both);
    tried("upper before lower", &http, &[("HTTP_PROXY", &open), ("http_proxy", "127.0.0.1:1")], Both);
    tried("https", &https, &[("HTTPS_PROXY", &url("http", &open))], Both);
    let dotted = https.replace("test", "test.");
    tried("https, a dot at the end", &dotted, &[("HTTPS_PROXY", &open)], Both);
    let umlaut = http.replace("vault", "v\u{e4}ult");
    tried("a name beyond ASCII", &umlaut, &[("HTTP_PROXY", &open)], Theirs("not an address"));
    tried("https in lower case", &https, &[("https_proxy", &open)], Both);
    tried("https, with TLS", &https, &[("HTTPS_PROXY", &url("https", &encrypted))], Both);
    tried("http, with TLS", &http, &[("HTTP_PROXY", &url("https", &encrypted))], Both);
    tried("of the other scheme", &http, &[("HTTPS_PROXY", &open)], Neither(UNKNOWN));
    tried("ALL_PROXY", &http, &[("ALL_PROXY", &open)], Neither(UNKNOWN));
    tried("credentials", &http, &[("HTTP_PROXY", &with("me:pass%40word", &closed))], Both);
    tried("credentials, https", &https, &[("HTTPS_PROXY", &with("me:pass%40word", &closed))], Both);
    tried("no credentials", &http, &[("HTTP_PROXY", &closed)], Neither(credentials));
    tried(
        "wrong credentials, https",
        &https,
        &[("HTTPS_PROXY", &with("me:x", &closed))],
        Neither(credentials),
    );
    tried("nobody there", &https, &[("HTTPS_PROXY", "127.0.0.1:1")], Neither("proxy: connection refused"));
    for scheme in ["socks5", "socks5h"] {
        tried(scheme, &http, &[("HTTP_PROXY", &url(scheme, &open))], Both);
        tried(&format!("{scheme}, https"), &https, &[("HTTPS_PROXY", &url(scheme, &open))], Both);
    }
    tried("socks with credentials", &https, &[("HTTPS_PROXY", &socks("me:pass%40word", &closed))], Both);
    let refused = "proxy: wrong or missing credentials";
    tried("socks, wrong credentials", &https, &[("HTTPS_PROXY", &socks("me:x", &closed))], Neither(refused));
    tried("socks, no credentials", &https, &[("HTTPS_PROXY", &url("socks5", &closed))], Neither(refused));
    let forbidden = "proxy: its rules forbid this connection";
    tried("socks that refuses", &https, &[("HTTPS_PROXY", &url("socks5", &refusing))], Neither(forbidden));
    tried(
        "socks to nobody",
        &https,
        &[("HTTPS_PROXY", "socks5://127.0.0.1:1")],
        Neither("proxy: connection refused"),
    );
    // Go speaks HTTP to whatever it does not know, and this one understands it.
    tried(
        "socks4",
        &https,
        &[("HTTPS_PROXY", &url("socks4", &open))],
        Theirs("only http://, https:// and socks5:// proxies are supported"),
    );
    tried("garbled", &http, &[("HTTP_PROXY", "http://[")], Neither("HTTP_PROXY: not the address of a proxy"));
    // To this machine none is taken, and so none is in the way.
    for (name, value) in
        [("a dead one", "127.0.0.1:1"), ("socks4", "socks4://127.0.0.1:1"), ("garbled", "http://[")]
    {
        tried(
            &format!("{name}, to this machine"),
            &direct,
            &[("HTTP_PROXY", value), ("HTTPS_PROXY", value)],
            Both,
        );
    }
    for (list, is_excepted) in [
        ("*", true),
        ("vault.test", true),
        ("VAULT.test", true),
        ("test", true),
        (".test", true),
        ("*.test", true),
        (" a.b , vault.test ", true),
        (&format!("vault.test:{plain_port}"), true),
        ("vault.test:1", false),
        (".vault.test", false),
        ("ault.test", false),
        ("10.0.0.0/8", false),
    ] {
        let expected = if is_excepted { Neither(UNKNOWN) } else { Both };
        tried(&format!("NO_PROXY={list}"), &http, &[("HTTP_PROXY", &open), ("NO_PROXY", list)], expected);
    }
    tried("no_proxy", &http, &[("HTTP_PROXY", &open), ("no_proxy", "vault.test")], Neither(UNKNOWN));
    let cgi = [("HTTP_PROXY", open.as_str()), ("REQUEST_METHOD", "GET")];
    tried("in a CGI program", &http, &cgi, Neither("HTTP_PROXY is not used where REQUEST_METHOD is set"));
    tried("in a CGI program, to this machine", &direct, &cgi, Ours);
    let excepted = ("NO_PROXY", "*");
    tried("VAULT_PROXY_ADDR", &http, &[("VAULT_PROXY_ADDR", &url("http", &open)), excepted], Both);
    tried("VAULT_PROXY_ADDR, https", &https, &[("VAULT_PROXY_ADDR", &url("http", &open))], Both);
    tried("VAULT_PROXY_ADDR, socks", &https, &[("VAULT_PROXY_ADDR", &url("socks5", &open))], Both);
    tried("VAULT_HTTP_PROXY", &https, &[("VAULT_HTTP_PROXY", &url("http", &open))], Both);
    tried(
        "BAO_PROXY_ADDR",
        &https,
        &[("BAO_PROXY_ADDR", &url("http", &open)), ("VAULT_PROXY_ADDR", "x")],
        Both,
    );
    tried("VAULT_PROXY_ADDR to this machine", &direct, &[("VAULT_PROXY_ADDR", &url("http", &open))], Both);
    tried(
        "VAULT_PROXY_ADDR, dead",
        &direct,
        &[("VAULT_PROXY_ADDR", "http://127.0.0.1:1")],
        Neither("proxy: connection refused"),
    );
    table.servers.push(plain);
}
