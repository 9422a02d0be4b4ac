//! The verb `watch` as a child of a test: started, followed by its log, and ended whatever happens.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::sandbox::{PROGRAM, Run, Sandbox};
use super::scripted::{Reply, Request, Scripted};
use super::tie::Tie;
use super::{PATIENCE, healthy, wait_until};

/// A person calls this at once: what is promised of a process that is told to stop.
pub const AT_ONCE: Duration = Duration::from_millis(200);

/// What a busy machine may add to that before a test fails.
const BUSY: Duration = Duration::from_millis(300);

/// A process that stays, in this home.
pub struct Stay<'a> {
    home: &'a Sandbox,
    verb: &'static str,
    child: Option<Child>,
    _tie: Tie,
}

impl<'a> Stay<'a> {
    /// Starts it.
    pub fn start(
        home: &'a Sandbox,
        address: &(impl AsRef<str> + ?Sized),
        variables: &[(&str, &str)],
        arguments: &[&str],
    ) -> Self {
        Self::start_of(home, PROGRAM, &[&["watch"][..], arguments].concat(), address.as_ref(), variables)
    }

    /// The same with another program in its place, which is to start it.
    pub fn start_of(
        home: &'a Sandbox,
        starter: &str,
        arguments: &[&str],
        address: &str,
        variables: &[(&str, &str)],
    ) -> Self {
        // A request to a server that hangs ends by the rules of a process that stays, and by no others.
        let patient = [("VAULT_CLIENT_TIMEOUT", "60s"), ("VTR_RETRY_FOR", "30s")];
        let child = home.start_of(starter, arguments, address, &[&patient[..], variables].concat());
        let verb = if arguments.contains(&"follow") { "follow" } else { "watch" };
        Self { home, verb, _tie: Tie::to(&child), child: Some(child) }
    }

    /// Its number.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("it was not ended yet").id()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.pid().try_into().unwrap()).unwrap(), signal).unwrap();
    }

    /// The lines of its log that begin with this.
    pub fn lines(&self, beginning: &str) -> Vec<String> {
        self.home.logged().into_iter().filter(|line| line.starts_with(beginning)).collect()
    }

    /// Waits until there are so many of them.
    #[track_caller]
    pub fn wait_for(&self, beginning: &str, count: usize) -> Vec<String> {
        let start = Instant::now();
        loop {
            let lines = self.lines(beginning);
            if lines.len() >= count {
                return lines;
            }
            let log = self.home.log();
            assert!(start.elapsed() < PATIENCE, "not {count} lines with {beginning:?} in the log:\n{log}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until it has ended a run, and says when the next one comes: in seconds since 1970.
    #[track_caller]
    pub fn next_run(&self) -> u64 {
        let mut next_run = None;
        wait_until("a run has ended", || {
            next_run = self.seat().and_then(|seat| seat["next_run"].as_u64());
            next_run.is_some()
        });
        next_run.unwrap()
    }

    fn seat(&self) -> Option<Value> {
        serde_json::from_slice(&std::fs::read(self.home.path().join(".vault-token.watch")).ok()?).ok()
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        self.child.as_mut().expect("it was not ended yet").try_wait().unwrap().is_some()
    }

    /// Waits until it ends by itself, and what it said.
    #[track_caller]
    pub fn wait(mut self) -> Run {
        self.home.wait(self.child.take().unwrap())
    }

    /// Tells it to stop, and checks that it does so at once, in order, with a line.
    #[track_caller]
    pub fn stop(self) -> Run {
        self.stop_by(Signal::TERM, "SIGTERM")
    }

    /// The same by another signal.
    #[track_caller]
    pub fn stop_by(mut self, signal: Signal, name: &str) -> Run {
        let start = Instant::now();
        self.signal(signal);
        let run = self.home.wait(self.child.take().unwrap());
        let took = start.elapsed();
        assert!(took < AT_ONCE + BUSY, "{name}: {took:?} {run:?}");
        assert_eq!(run.status, 0, "{run:?}");
        let last = self.home.logged().pop().unwrap_or_default();
        assert_eq!(last, format!("{}: stopped by {name}", self.verb), "{run:?}");
        assert!(
            !self.home.snapshot().keys().any(|name| name.contains(".renew-")),
            "something is left behind"
        );
        run
    }
}

impl Drop for Stay<'_> {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// What somebody got who asked over HTTP.
#[derive(Debug)]
pub struct Page {
    /// The status.
    pub status: u16,
    /// All lines of the head.
    pub head: String,
    /// The body.
    pub body: String,
}

impl Page {
    fn parse(answer: &str) -> Self {
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer:?}"));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        Self { status: status.expect("a status"), head: head.to_owned(), body: body.to_owned() }
    }

    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// Asks at a port of this machine.
#[track_caller]
pub fn get(address: SocketAddr, path: &str) -> Page {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nAccept: */*\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    Page::parse(&answer)
}

/// Brings something to a port of this machine; the status of the answer, and all of it.
#[track_caller]
pub fn post(address: SocketAddr, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Page {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let headers: Vec<String> = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let length = body.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: {address}\r\n{}Content-Length: {length}\r\n\r\n",
        headers.concat()
    );
    stream.write_all(&[head.as_bytes(), body].concat()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    Page::parse(&answer)
}

/// Asks at a socket in the file system.
#[track_caller]
pub fn get_at(socket: &Path, path: &str) -> Page {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: watch\r\n\r\n").as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    Page::parse(&answer)
}

/// Where a process listens that was told to take any port: its first line says so.
#[track_caller]
pub fn place(stay: &Stay<'_>) -> SocketAddr {
    let line = stay.wait_for(&format!("{}: started", stay.verb), 1).remove(0);
    let place = line.rsplit("listening on http://").next().unwrap();
    place.parse().unwrap_or_else(|error| panic!("{error}: {line:?}"))
}

/// A socket in this home.
pub fn socket(home: &Sandbox) -> PathBuf {
    home.path().join("watch.sock")
}

/// What it answers to a renewal that grants so many seconds.
pub fn granted(request: &Request, lease: u64) -> Reply {
    let token = request.header("x-vault-token");
    let auth = json!({ "client_token": token, "lease_duration": lease, "renewable": true });
    Reply::Json(200, json!({ "auth": auth }).to_string())
}

/// A server that knows our token and renews it for so many seconds each time.
pub fn granting(lease: u64) -> Scripted {
    Scripted::start(move |request, _| match request.call() {
        "auth/token/renew-self" => granted(request, lease),
        _ => healthy(request),
    })
}

/// What the server answers to a request that asks for too much.
pub fn no(status: u16, words: &str) -> Reply {
    Reply::Json(status, json!({ "errors": [words] }).to_string())
}

/// What a process holds at this moment.
#[derive(Debug, PartialEq, Eq)]
pub struct Holdings {
    /// Open files.
    pub descriptors: usize,
    /// Threads.
    pub threads: usize,
    /// KiB.
    pub memory: u64,
}

impl Holdings {
    /// That of a process.
    pub fn of(pid: u32) -> Self {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let count = |place: &str| std::fs::read_dir(format!("/proc/{pid}/{place}")).unwrap().count();
        Self { descriptors: count("fd"), threads: count("task"), memory: field(&status, "VmRSS:") }
    }
}

/// The number after a name in a file of /proc.
fn field(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

/// How often a process has been woken so far.
pub fn woken(pid: u32) -> u64 {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let status = tasks.map(|task| std::fs::read_to_string(task.unwrap().path().join("status")).unwrap());
    status.map(|status| field(&status, "voluntary_ctxt_switches:")).sum()
}
