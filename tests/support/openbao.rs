//! A real OpenBao for one test: a dev server of its own, in memory, on a free loopback port, with a root token
//! nobody else knows and a private home. It is killed and its files are removed when the value is dropped.
//!
//! The small HTTP client here is on purpose not the program's own: a test must not judge a client by itself.
#![allow(
    clippy::panic,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::needless_pass_by_value,
    reason = "a helper for tests: the panic is the test's failure, with the server's own message"
)]
#![allow(unreachable_pub, reason = "shared by several test binaries, none of which exports anything")]

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::tie::Tie;

/// How long a server may take to get ready. It needs 0.3 s on an idle machine; many tests start theirs at the same
/// time, on few cores.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// How often a new port is tried. Between choosing a free port and the server's bind, another process can take it.
const PORTS_TO_TRY: u32 = 10;

/// How long one answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// How long to wait for the first sign of life before asking again, and seeing whether the server still runs: what
/// listens there may be another program that never answers.
const PROBE_WITHIN: Duration = Duration::from_secs(2);

/// A running dev server that belongs to this value.
#[derive(Debug)]
pub struct OpenBao {
    server: Child,
    _tie: Tie,
    home: TempDir,
    port: u16,
    address: String,
    root_token: String,
}

/// What the server answered.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body, `Null` where it was empty.
    pub json: Value,
}

/// A token that was just created.
#[derive(Debug, Clone)]
pub struct Minted {
    /// The token itself.
    pub token: String,
    /// Its accessor.
    pub accessor: String,
}

impl Answer {
    /// The same answer if its status is 2xx.
    ///
    /// # Panics
    /// With `doing` and the server's words otherwise.
    #[track_caller]
    pub fn expect(self, doing: &str) -> Self {
        assert!((200..300).contains(&self.status), "{doing}: OpenBao answered {} {}", self.status, self.json);
        self
    }

    /// The token in the `auth` part of the answer to a mint or a login.
    ///
    /// # Panics
    /// If there is none.
    #[track_caller]
    fn minted(self, doing: &str) -> Minted {
        let answer = self.expect(doing);
        let field = |name: &str| {
            let value = answer.json.pointer(&format!("/auth/{name}")).and_then(Value::as_str);
            value.unwrap_or_else(|| panic!("{doing}: no auth.{name} in {}", answer.json)).to_owned()
        };
        Minted { token: field("client_token"), accessor: field("accessor") }
    }
}

impl OpenBao {
    /// Starts a server and returns when it answers.
    ///
    /// # Panics
    /// If the binary is absent or the server does not get ready.
    pub fn start() -> Self {
        let deadline = Instant::now() + READY_WITHIN;
        for _ in 0..PORTS_TO_TRY {
            if let Some(server) = Self::start_on(free_port(), deadline) {
                return server;
            }
        }
        panic!(
            "OpenBao: {PORTS_TO_TRY} ports in a row were taken by somebody else before the server could bind"
        );
    }

    /// `None` where the port was taken meanwhile.
    fn start_on(port: u16, deadline: Instant) -> Option<Self> {
        let home = tempfile::Builder::new().prefix("openbao-").tempdir().expect("temporary home for OpenBao");
        let log = File::create(home.path().join("log")).expect("log file for OpenBao");
        let root_token = random_hex();
        // -dev-no-store-token: the dev server otherwise overwrites ~/.vault-token, even if only of its own home.
        let server = Command::new(binary_path())
            .args(["server", "-dev", "-dev-no-store-token"])
            .arg(format!("-dev-listen-address=127.0.0.1:{port}"))
            .arg(format!("-dev-root-token-id={root_token}"))
            .env_clear()
            .env("HOME", home.path())
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .current_dir(home.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("second handle of OpenBao's log"))
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("{}: cannot be started: {error}", binary_path().display()));
        let address = format!("http://127.0.0.1:{port}");
        // From here on Drop kills the server, whatever panics below.
        let mut this = Self { _tie: Tie::to(&server), server, home, port, address, root_token };
        loop {
            // A 200 for the root token, which only our child knows, proves that the listener is ours: another
            // test's server on this port would answer 403 while our child ends with "address already in use".
            let path = "auth/token/lookup-self";
            let answer = this.send("GET", path, Some(&this.root_token), None, None, PROBE_WITHIN);
            if answer.is_ok_and(|answer| answer.status == 200) {
                return Some(this);
            }
            if let Some(status) = this.server.try_wait().expect("state of OpenBao") {
                let log = this.log();
                assert!(log.contains("address already in use"), "OpenBao ended with {status}:\n{log}");
                return None;
            }
            assert!(Instant::now() < deadline, "OpenBao not ready within {READY_WITHIN:?}:\n{}", this.log());
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Where it listens: `http://127.0.0.1:PORT`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Its root token, unique to this server.
    pub fn root_token(&self) -> &str {
        &self.root_token
    }

    /// The program that is running, for tests that want its command line too.
    #[expect(
        clippy::unused_self,
        reason = "reads better, and a server that runs proves that the binary is there"
    )]
    pub fn binary(&self) -> &Path {
        binary_path()
    }

    /// What the server has logged so far.
    pub fn log(&self) -> String {
        let bytes = fs::read(self.home.path().join("log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// One request. `path` comes without `/v1/`. Every status is an answer.
    ///
    /// # Panics
    /// If the server does not answer, or not in JSON.
    #[track_caller]
    pub fn request(
        &self,
        method: &str,
        path: &str,
        token: Option<&str>,
        namespace: Option<&str>,
        body: Option<Value>,
    ) -> Answer {
        self.send(method, path, token, namespace, body.as_ref(), ANSWER_WITHIN)
            .unwrap_or_else(|error| panic!("{method} {path}: {error}; OpenBao's log:\n{}", self.log()))
    }

    /// One request with the root token that has to succeed.
    #[track_caller]
    pub fn as_root(&self, method: &str, path: &str, body: Option<Value>) -> Answer {
        self.request(method, path, Some(&self.root_token), None, body).expect(&format!("{method} {path}"))
    }

    /// Writes a policy.
    #[track_caller]
    pub fn write_policy(&self, name: &str, hcl: &str) {
        self.as_root("POST", &format!("sys/policies/acl/{name}"), Some(json!({ "policy": hcl })));
    }

    /// Writes the policies the tests speak of: `vault-admin` may do everything, `sops-admin` one harmless thing,
    /// `reader` can read secrets and nothing else.
    #[track_caller]
    pub fn standard_policies(&self) {
        self.write_policy(
            "vault-admin",
            r#"path "*" { capabilities = ["create", "read", "update", "patch", "delete", "list", "sudo"] }"#,
        );
        self.write_policy("sops-admin", r#"path "transit/keys/sops" { capabilities = ["read"] }"#);
        self.write_policy("reader", r#"path "secret/*" { capabilities = ["read"] }"#);
    }

    /// Creates a namespace below the root one.
    #[track_caller]
    pub fn create_namespace(&self, name: &str) {
        self.as_root("POST", &format!("sys/namespaces/{name}"), Some(json!({})));
    }

    /// `POST auth/token/create` with the authority of `token`.
    #[track_caller]
    pub fn mint(&self, token: &str, body: Value) -> Minted {
        self.request("POST", "auth/token/create", Some(token), None, Some(body)).minted("mint")
    }

    /// What the server knows of a token by its accessor; `None` when the token is gone.
    #[track_caller]
    pub fn lookup_accessor(&self, accessor: &str) -> Option<Value> {
        let body = json!({ "accessor": accessor });
        let answer =
            self.request("POST", "auth/token/lookup-accessor", Some(&self.root_token), None, Some(body));
        match answer.status {
            // Which one it is depends on whether the token expired, was revoked or never was. Root is never denied.
            400 | 403 | 404 => None,
            _ => Some(answer.expect("lookup-accessor").json["data"].take()),
        }
    }

    /// What a token is told about itself; `None` when it is dead.
    #[track_caller]
    pub fn lookup(&self, token: &str) -> Option<Value> {
        let answer = self.request("GET", "auth/token/lookup-self", Some(token), None, None);
        match answer.status {
            403 => None,
            _ => Some(answer.expect("lookup-self").json["data"].take()),
        }
    }

    /// The accessors of all tokens of the root namespace.
    #[track_caller]
    pub fn accessors(&self) -> Vec<String> {
        let answer = self.as_root("LIST", "auth/token/accessors", None);
        let keys = answer.json.pointer("/data/keys").and_then(Value::as_array);
        keys.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    }

    /// The accessors of all living tokens with this display name, sorted.
    #[track_caller]
    pub fn named(&self, display_name: &str) -> Vec<String> {
        let bears_it = |accessor: &String| {
            self.lookup_accessor(accessor).is_some_and(|data| data["display_name"] == display_name)
        };
        let mut named: Vec<String> = self.accessors().into_iter().filter(bears_it).collect();
        named.sort();
        named
    }

    /// Revokes a token, and with it its children.
    #[track_caller]
    pub fn revoke_accessor(&self, accessor: &str) {
        self.as_root("POST", "auth/token/revoke-accessor", Some(json!({ "accessor": accessor })));
    }

    /// Enables the login with user name and password, once.
    #[track_caller]
    pub fn enable_userpass(&self) {
        if self.userpass_mount().is_none() {
            self.as_root("POST", "sys/auth/userpass", Some(json!({ "type": "userpass" })));
        }
    }

    fn userpass_mount(&self) -> Option<String> {
        let mounts = self.as_root("GET", "sys/auth", None).json;
        mounts.pointer("/data/userpass~1/accessor").and_then(Value::as_str).map(str::to_owned)
    }

    /// A real login: creates the user (or gives it a new password and these policies), and where there are identity
    /// policies also an entity that has them with an alias for the user; then logs in. The token is called
    /// `userpass-USER`.
    #[track_caller]
    pub fn userpass_login(&self, user: &str, policies: &[&str], identity_policies: &[&str]) -> Minted {
        self.enable_userpass();
        let password = random_hex();
        self.as_root(
            "POST",
            &format!("auth/userpass/users/{user}"),
            Some(json!({ "password": password, "token_policies": policies })),
        );
        if !identity_policies.is_empty() {
            let entity = format!("identity/entity/name/{user}");
            self.as_root("POST", &entity, Some(json!({ "policies": identity_policies })));
            // The first write answers with the id, a later one with 204: read it, both times.
            let id = self.as_root("GET", &entity, None).json["data"]["id"].take();
            let alias = json!({ "name": user, "canonical_id": id, "mount_accessor": self.userpass_mount() });
            self.as_root("POST", "identity/entity-alias", Some(alias));
        }
        let login = format!("auth/userpass/login/{user}");
        self.request("POST", &login, None, None, Some(json!({ "password": password }))).minted("login")
    }

    /// Seals the server: from now on it answers 503.
    #[track_caller]
    pub fn seal(&self) {
        self.as_root("POST", "sys/seal", None);
    }

    /// Opens a sealed server again, with the key that a dev server prints when it starts.
    #[track_caller]
    pub fn unseal(&self) {
        // The server prints its key only after it has begun to answer.
        let deadline = Instant::now() + READY_WITHIN;
        let key = loop {
            let log = self.log();
            if let Some(key) = log.lines().find_map(|line| line.trim().strip_prefix("Unseal Key: ")) {
                break key.to_owned();
            }
            assert!(Instant::now() < deadline, "no unseal key in OpenBao's log:\n{log}");
            thread::sleep(Duration::from_millis(20));
        };
        let answer =
            self.request("POST", "sys/unseal", None, None, Some(json!({ "key": key }))).expect("unseal");
        assert_eq!(answer.json["sealed"], false, "unseal: {}", answer.json);
    }

    fn send(
        &self,
        method: &str,
        path: &str,
        token: Option<&str>,
        namespace: Option<&str>,
        body: Option<&Value>,
        within: Duration,
    ) -> io::Result<Answer> {
        let body = body.map(Value::to_string).unwrap_or_default();
        let mut request = format!("{method} /v1/{path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n");
        for (header, value) in [("X-Vault-Token", token), ("X-Vault-Namespace", namespace)] {
            if let Some(value) = value {
                let _ = write!(request, "{header}: {value}\r\n");
            }
        }
        let _ = write!(request, "Content-Length: {}\r\n\r\n{body}", body.len());

        let mut stream = TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, self.port)))?;
        stream.set_read_timeout(Some(within))?;
        stream.set_write_timeout(Some(within))?;
        stream.write_all(request.as_bytes())?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        parse(&answer).ok_or_else(|| {
            let text = String::from_utf8_lossy(&answer).into_owned();
            io::Error::new(io::ErrorKind::InvalidData, format!("not an answer in JSON: {text:?}"))
        })
    }
}

/// A run is told where to find it.
impl AsRef<str> for OpenBao {
    fn as_ref(&self) -> &str {
        self.address()
    }
}

impl Drop for OpenBao {
    fn drop(&mut self) {
        // Errors mean that it has ended already. Waiting reaps it, so that no zombie stays until the tests end.
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// Status and JSON body of a whole HTTP/1.1 answer; `None` if it is not one, or not whole.
fn parse(answer: &[u8]) -> Option<Answer> {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = str::from_utf8(answer.get(..end)?).ok()?;
    let rest = answer.get(end + 4..)?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    let header = |name: &str| {
        let mut headers = lines.clone().filter_map(|line| line.split_once(':'));
        headers.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    };
    let body = if header("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
        unchunk(rest)?
    } else if let Some(length) = header("content-length") {
        rest.get(..length.parse().ok()?)?.to_vec()
    } else {
        rest.to_vec()
    };
    let json = if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).ok()? };
    Some(Answer { status, json })
}

/// The body that came in chunks; `None` if the last one is missing.
fn unchunk(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|window| window == b"\r\n")?;
        let size = str::from_utf8(rest.get(..end)?).ok()?.split(';').next()?.trim();
        let size = usize::from_str_radix(size, 16).ok()?;
        if size == 0 {
            return Some(body);
        }
        rest = rest.get(end + 2..)?;
        body.extend_from_slice(rest.get(..size)?);
        rest = rest.get(size + 2..)?;
    }
}

/// A port nobody listens on at this moment.
fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port on loopback");
    listener.local_addr().expect("the address of a listener").port()
}

/// 128 bits for a token or a password.
pub fn random_hex() -> String {
    let mut bytes = [0_u8; 16];
    File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes)).expect("/dev/urandom");
    format!("{:032x}", u128::from_ne_bytes(bytes))
}

/// What `scripts/openbao` has made available. It is asked once and without the network: a test downloads nothing.
pub fn binary_path() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/openbao");
        let output = Command::new(&script).arg("--path-only").output();
        let output = output.unwrap_or_else(|error| panic!("{}: {error}", script.display()));
        assert!(output.status.success(), "there is no OpenBao on this machine: run scripts/openbao first");
        PathBuf::from(String::from_utf8(output.stdout).expect("a path").trim_end())
    })
}
