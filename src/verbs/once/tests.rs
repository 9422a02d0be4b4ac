//! Several runs in one process, as a verb that stays makes them.

use std::fs::{self, File, Permissions};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use serde_json::{Value, json};

use super::*;
use crate::clock::Clock;
use crate::config::{Environment, Settings, SettingsFlags, WatchFlags};
use crate::identity::Minter;
use crate::report::streams::{Stream, Streams};
use crate::stop::Stop;
use crate::verbs::surroundings::Pace;

const TOKEN: &str = "s.0123456789abcdef";

/// A server that looks tokens up and renews them, unless `busy` says that it cannot now.
struct Server {
    address: String,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn start(busy: impl Fn() -> bool + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let ended = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&ended);
        let thread = thread::spawn(move || {
            for connection in listener.incoming() {
                if over.load(Ordering::Relaxed) {
                    return;
                }
                answer(connection.unwrap(), &busy);
            }
        });
        Self { address, ended, thread: Some(thread) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        // Whoever waits for a connection has to be woken.
        drop(TcpStream::connect(self.address.trim_start_matches("http://")));
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

/// One request for each connection.
fn answer(mut connection: TcpStream, busy: &impl Fn() -> bool) {
    let mut reader = BufReader::new(connection.try_clone().unwrap());
    let (mut first, mut length) = (String::new(), 0);
    reader.read_line(&mut first).unwrap();
    loop {
        let mut header = String::new();
        if reader.read_line(&mut header).unwrap() == 0 || header.trim().is_empty() {
            break;
        }
        if let Some(value) = header.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    reader.read_exact(&mut vec![0; length]).unwrap();
    let (status, body) = if busy() {
        (503, json!({ "errors": ["Vault is sealed"] }))
    } else if first.contains("lookup-self") {
        let data = json!({
            "id": TOKEN, "accessor": "a", "display_name": "token-devvm-wizard", "ttl": 60,
            "policies": ["sops-admin", "vault-admin"],
            "period": 2_764_800, "orphan": true, "renewable": true, "type": "service", "num_uses": 0,
        });
        (200, json!({ "data": data }))
    } else {
        let lease = 2_764_800;
        (
            200,
            json!({ "auth": { "client_token": TOKEN, "accessor": "a", "lease_duration": lease, "renewable": true } }),
        )
    };
    let body = body.to_string();
    let length = body.len();
    write!(connection, "HTTP/1.1 {status} x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}")
        .unwrap();
}

/// Everything that was said, for the test to read.
#[derive(Debug, Default)]
struct Heard(Mutex<Vec<(Stream, String)>>);

impl Streams for Heard {
    fn write(&self, stream: Stream, line: &str) -> io::Result<()> {
        self.0.lock().unwrap().push((stream, line.to_owned()));
        Ok(())
    }

    fn is_journal(&self, _: Stream) -> bool {
        false
    }
}

impl Heard {
    /// What was said on a stream since the last time somebody asked.
    fn take(&self, stream: Stream) -> Vec<String> {
        let all = std::mem::take(&mut *self.0.lock().unwrap());
        all.into_iter().filter(|(where_, _)| *where_ == stream).map(|(_, line)| line).collect()
    }
}

/// A home with our token in it.
struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Self {
        let home = Self(tempfile::tempdir().unwrap());
        File::create(home.0.path().join(".vault-token")).unwrap().write_all(TOKEN.as_bytes()).unwrap();
        home.set_mode(0o600);
        home
    }

    fn set_mode(&self, mode: u32) {
        fs::set_permissions(self.0.path().join(".vault-token"), Permissions::from_mode(mode)).unwrap();
    }

    /// Lets `test` make runs with the same surroundings.
    fn stay<T>(&self, address: &str, test: impl FnOnce(&dyn Fn() -> u8, &Heard, &Stop) -> T) -> T {
        let home = self.0.path().to_str().unwrap();
        let variables =
            [("HOME", home), ("VAULT_ADDR", address), ("VTR_RETRY_FOR", "1s"), ("USER", "wizard")];
        let environment = Environment::from(&variables[..]);
        let (settings, connection) =
            Settings::resolve(&SettingsFlags::default(), &WatchFlags::default(), &environment, "devvm")
                .unwrap();
        let (streams, stop) = (Heard::default(), Stop::default());
        let minter = Minter { machine: None, host: "devvm".to_owned(), user: "wizard".to_owned() };
        let around = Surroundings {
            settings: &settings,
            connection: &connection,
            streams: &streams,
            clock: Clock::of_this_machine(),
            minter: &minter,
            runtime: Path::new("/nowhere"),
            stop: &stop,
            pace: Pace::of_one_run(&settings, &connection),
            repeats: None,
            earlier: None,
        };
        let manner =
            Manner { dry_run: false, format: Format::Json, detailed_exitcode: true, volume: Volume::Usual };
        test(&|| once(&around, Work::Pass, manner), &streams, &stop)
    }
}

fn object(lines: &[String]) -> Value {
    let [line] = lines else { panic!("{lines:?}") };
    serde_json::from_str(line).unwrap()
}

#[test]
fn a_run_tells_its_own_warnings_and_not_those_of_the_run_before() {
    let (server, home) = (Server::start(|| false), Home::new());
    home.set_mode(0o644);
    home.stay(&server.address, |run, said, _| {
        assert_eq!(run(), 10);
        let first = object(&said.take(Stream::Out));
        assert_eq!(first["warnings"].as_array().unwrap().len(), 1, "{first}");
        assert_eq!(run(), 10);
        let second = object(&said.take(Stream::Out));
        assert_eq!(second["warnings"], Value::Array(Vec::new()));
    });
}

#[test]
fn a_run_has_a_retry_budget_of_its_own() {
    let requests = Arc::new(AtomicUsize::new(0));
    let outage_ends_at = Arc::new(AtomicUsize::new(usize::MAX));
    let (count, end) = (Arc::clone(&requests), Arc::clone(&outage_ends_at));
    let server = Server::start(move || count.fetch_add(1, Ordering::Relaxed) < end.load(Ordering::Relaxed));
    Home::new().stay(&server.address, |run, said, _| {
        assert_eq!(run(), 75, "the budget ends before the outage");
        assert_eq!(object(&said.take(Stream::Out))["reason"], "sealed");
        // The next run is refused once, and has to try again.
        outage_ends_at.store(requests.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        assert_eq!(run(), 10, "{:?}", said.take(Stream::Err));
    });
}

#[test]
fn a_run_that_waits_for_another_one_hears_that_it_shall_end() {
    let (server, home) = (Server::start(|| false), Home::new());
    home.stay(&server.address, |run, said, stop| {
        assert_eq!(run(), 10);
        said.take(Stream::Out);
        let directory = File::open(home.0.path()).unwrap();
        directory.try_lock().unwrap();
        thread::scope(|scope| {
            let stop = stop.clone();
            scope.spawn(move || {
                thread::sleep(std::time::Duration::from_millis(100));
                stop.raise(15);
            });
            assert_eq!(run(), 1);
        });
        assert_eq!(object(&said.take(Stream::Out))["reason"], "stopped");
        drop(directory);
        assert_eq!(fs::read_to_string(home.0.path().join(".vault-token")).unwrap(), TOKEN);
    });
}
