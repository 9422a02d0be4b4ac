//! A KV store in a real OpenBao, and whoever follows a secret in it.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use super::openbao::OpenBao;
use super::sandbox::{PROGRAM, Run, Sandbox};
use super::scripted::{Reply, Scripted};
use super::stay::Stay;
use super::wait_until;

/// A beat as short as it may be, and the same each time.
pub const QUICK: [&str; 4] = ["--interval", "1s", "--jitter", "0s"];

/// An OpenBao with a KV store of each kind and a token that may read one secret of each, in a home that holds it.
pub struct World {
    /// The server.
    pub server: OpenBao,
    /// The home.
    pub home: Sandbox,
}

impl World {
    pub fn new() -> Self {
        let server = OpenBao::start();
        // A development server has one with versions already, at `secret`.
        let body = json!({ "type": "kv", "options": { "version": "1" } });
        server.as_root("POST", "sys/mounts/old", Some(body));
        // A policy of one line for each secret is enough.
        server.write_policy(
            "agent",
            "path \"secret/data/agent/token\" { capabilities = [\"read\"] }\n\
             path \"old/agent/token\" { capabilities = [\"read\"] }",
        );
        let token = server.mint(server.root_token(), json!({ "policies": ["agent"] })).token;
        // A store that was just mounted prepares itself for a moment.
        let ready = || {
            let body = Some(json!({ "data": { "ready": "yes" } }));
            server.request("POST", "secret/data/ready", Some(server.root_token()), None, body).status == 200
        };
        wait_until("the store is ready", ready);
        Self { server, home: Sandbox::holding(&token) }
    }

    /// Writes a new version, which must not appear anywhere but in the file.
    pub fn put(&self, value: &str) {
        self.home.guard(value);
        self.put_fields(&json!({ "token": value }));
    }

    pub fn put_fields(&self, fields: &Value) {
        self.server.as_root("POST", "secret/data/agent/token", Some(json!({ "data": fields })));
    }

    pub fn out(&self) -> PathBuf {
        self.home.path().join("agent-token")
    }

    pub fn held(&self) -> String {
        fs::read_to_string(self.out()).unwrap_or_default()
    }

    /// The arguments that follow the secret into the file.
    pub fn arguments(&self) -> Vec<String> {
        let out = self.out().to_str().unwrap().to_owned();
        ["follow", "--mount", "secret", "--path", "agent/token", "--out", &out].map(str::to_owned).to_vec()
    }

    pub fn start(&self, variables: &[(&str, &str)], arguments: &[&str]) -> Stay<'_> {
        self.start_at(self.server.address(), variables, arguments)
    }

    pub fn start_at(&self, address: &str, variables: &[(&str, &str)], arguments: &[&str]) -> Stay<'_> {
        let own = self.arguments();
        let own: Vec<&str> = own.iter().map(String::as_str).collect();
        Stay::start_of(&self.home, PROGRAM, &[&own, arguments].concat(), address, variables)
    }

    pub fn once(&self, arguments: &[&str]) -> Run {
        self.once_at(self.server.address(), arguments)
    }

    pub fn once_at(&self, address: &str, arguments: &[&str]) -> Run {
        let own = self.arguments();
        let own: Vec<&str> = own.iter().map(String::as_str).collect();
        self.home.run(address, &[&own[..], &["--once"], arguments].concat())
    }
}

/// A server with one secret, of which it tells the version that is wanted.
pub fn telling(version: &Arc<AtomicUsize>) -> Scripted {
    let version = Arc::clone(version);
    Scripted::start(move |request, _| {
        let number = version.load(Ordering::SeqCst);
        if request.path.contains("internal/ui/mounts") {
            let data = json!({ "path": "secret/", "type": "kv", "options": { "version": "2" } });
            return Reply::Json(200, json!({ "data": data }).to_string());
        }
        let metadata =
            json!({ "version": number, "created_time": format!("2026-11-26T10:00:{number:02}.5Z") });
        let data = json!({ "data": { "token": format!("value-{number}") }, "metadata": metadata });
        Reply::Json(200, json!({ "data": data }).to_string())
    })
}
