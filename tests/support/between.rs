//! The agent and the proxy of OpenBao, which stand in front of a server.

use std::fs;
use std::process::{Child, Command, Stdio};

use super::openbao::OpenBao;
use super::tie::Tie;
use super::wait_until;

/// An agent or a proxy of OpenBao in front of a server. It ends when dropped.
pub struct Between {
    process: Child,
    _tie: Tie,
    address: String,
    _home: tempfile::TempDir,
}

impl Between {
    /// Starts `bao KIND` with these lines besides the address of the server and a listener.
    pub fn start(server: &OpenBao, kind: &str, lines: &str) -> Self {
        let home = tempfile::Builder::new().prefix("vtr-between-").tempdir().unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let config = home.path().join("config.hcl");
        let text = format!(
            "vault {{ address = \"{}\" }}\nlistener \"tcp\" {{\n address = \"127.0.0.1:{port}\"\n tls_disable = \
             true\n}}\n{lines}\n",
            server.address()
        );
        fs::write(&config, text).unwrap();
        let log = fs::File::create(home.path().join("log")).unwrap();
        let process = Command::new(server.binary())
            .arg(kind)
            .arg(format!("-config={}", config.display()))
            .env_clear()
            .env("HOME", home.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let address = format!("http://127.0.0.1:{port}");
        let this = Self { _tie: Tie::to(&process), process, address, _home: home };
        wait_until("it listens", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
        this
    }
}

impl AsRef<str> for Between {
    fn as_ref(&self) -> &str {
        &self.address
    }
}

impl Drop for Between {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
