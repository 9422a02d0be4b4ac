//! The real promtool, a real node_exporter and a real Prometheus, which `scripts/prometheus` makes available. They
//! judge what the program writes for monitors, and what the documentation tells people to do with it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use super::tie::Tie;

/// How long an exporter may take to listen, and to answer. Measured: 0.1 s, 0.01 s.
const PATIENCE: Duration = Duration::from_secs(60);

/// promtool with these arguments, in this directory. Every exit status is an answer.
pub fn promtool(directory: &Path, args: &[&str]) -> Output {
    Command::new(&tools().promtool)
        .args(args)
        .current_dir(directory)
        .stdin(Stdio::null())
        .output()
        .expect("promtool")
}

/// What promtool has to say against a text of metrics: nothing, if it is as Prometheus would have it.
pub fn lint(metrics: &str) -> String {
    let mut promtool = Command::new(&tools().promtool)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool");
    let mut input = promtool.stdin.take().expect("promtool's input");
    input.write_all(metrics.as_bytes()).expect("promtool reads");
    drop(input);
    let output = promtool.wait_with_output().expect("promtool");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    if output.status.success() { said } else { format!("{said}{}", output.status) }
}

/// Holds texts of metrics, those of one user or profile each, against the real tools: promtool has nothing against any
/// of them; and a node_exporter that reads all of them at once, each from a directory of its own as docs/monitoring.md
/// has it, serves every series of every text with its value, and finds no fault.
///
/// # Panics
/// Where that is not so.
#[track_caller]
pub fn assert_collected(texts: &[&str]) {
    let root = TempDir::with_prefix("vtr-metrics-").expect("a directory");
    let mut expected = BTreeMap::new();
    for (number, text) in texts.iter().enumerate() {
        assert_eq!(lint(text), "", "promtool check metrics, on:\n{text}");
        let directory = root.path().join(format!("node-exporter.{number}"));
        fs::create_dir(&directory).expect("a directory");
        fs::write(directory.join("vault-token-renew.prom"), text).expect("a file of metrics");
        for (name, value) in series(text) {
            assert!(expected.insert(name.clone(), value).is_none(), "{name} is in two of the texts");
        }
    }
    assert!(!expected.is_empty(), "no text, no test");

    let exporter = NodeExporter::start(&format!("{}/node-exporter*", root.path().display()));
    // What goes wrong in one scrape is counted in the next.
    exporter.scrape();
    let served = exporter.scrape();
    for text in texts {
        for line in text.lines().filter(|line| line.starts_with('#')) {
            assert!(served.lines().any(|served| served == line), "{line:?} is not in:\n{served}");
        }
    }
    let served = series(&served);
    for (name, value) in &expected {
        assert_eq!(served.get(name), Some(value), "{name}{}", exporter.log());
    }
    let surplus: Vec<_> =
        served.keys().filter(|name| is_ours(name) && !expected.contains_key(*name)).collect();
    assert!(surplus.is_empty(), "nobody wrote {surplus:?}");
    assert_eq!(served.get(SCRAPE_ERROR), Some(&0.0), "{}", exporter.log());
    assert_eq!(served.get(GATHERING_ERRORS), Some(&0.0), "{}", exporter.log());
    let files = served.keys().filter(|name| name.starts_with("node_textfile_mtime_seconds{")).count();
    assert_eq!(files, texts.len(), "files that were read{}", exporter.log());
}

/// 1 if a file could not be read or parsed.
pub const SCRAPE_ERROR: &str = "node_textfile_scrape_error{}";
/// How often what was read did not fit together, a series that is there twice for instance.
pub const GATHERING_ERRORS: &str = "promhttp_metric_handler_errors_total{cause=\"gathering\"}";

fn is_ours(series: &str) -> bool {
    series.starts_with("vault_token_")
}

/// The series of a text of metrics and their values. The labels are sorted, because node_exporter sorts them too.
///
/// # Panics
/// If a line has another form than the program and node_exporter give it.
#[track_caller]
pub fn series(text: &str) -> BTreeMap<String, f64> {
    let mut all = BTreeMap::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no value: {line}"));
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        let mut labels: Vec<_> =
            labels.trim_end_matches('}').split("\",").map(|label| label.trim_end_matches('"')).collect();
        labels.retain(|label| !label.is_empty());
        labels.sort_unstable();
        let labels: Vec<_> = labels.iter().map(|label| format!("{label}\"")).collect();
        let value = value.parse().unwrap_or_else(|_| panic!("no number: {line}"));
        let before = all.insert(format!("{name}{{{}}}", labels.join(",")), value);
        assert!(before.is_none(), "twice: {line}");
    }
    all
}

/// A running node_exporter with nothing but the textfile collector, on a port of its own. It is stopped when the value
/// is dropped.
#[derive(Debug)]
pub struct NodeExporter {
    exporter: Child,
    _tie: Tie,
    address: String,
    home: TempDir,
}

impl NodeExporter {
    /// Starts one that reads this directory, or, with wild cards, these, and returns when it listens.
    ///
    /// # Panics
    /// If the binary is absent or does not start.
    pub fn start(directory: &str) -> Self {
        let home = TempDir::with_prefix("vtr-node-exporter-").expect("a home for node_exporter");
        let log = File::create(home.path().join("log")).expect("a log for node_exporter");
        let exporter = Command::new(&tools().node_exporter)
            .args(["--collector.disable-defaults", "--collector.textfile"])
            .arg(format!("--collector.textfile.directory={directory}"))
            // The kernel chooses a free port, and the log says which.
            .arg("--web.listen-address=127.0.0.1:0")
            .env_clear()
            .env("HOME", home.path())
            .current_dir(home.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("second handle of the log"))
            .stderr(log)
            .spawn()
            .expect("node_exporter");
        // From here on Drop stops it, whatever panics below.
        let mut this = Self { _tie: Tie::to(&exporter), exporter, address: String::new(), home };
        let deadline = Instant::now() + PATIENCE;
        while this.address.is_empty() {
            let ended = this.exporter.try_wait().expect("state of node_exporter");
            assert!(
                ended.is_none() && Instant::now() < deadline,
                "no node_exporter, {ended:?}{}",
                this.log()
            );
            thread::sleep(Duration::from_millis(20));
            let log = this.log();
            // A line that is whole, so that the port is.
            let mut lines = log.split_inclusive('\n').filter(|line| line.ends_with('\n'));
            let listens = lines.find_map(|line| line.split_once("msg=\"Listening on\" address="));
            if let Some((_, address)) = listens {
                this.address = address.split_whitespace().next().unwrap_or_default().into();
            }
        }
        this
    }

    /// What it serves.
    ///
    /// # Panics
    /// If it does not answer with 200.
    #[track_caller]
    pub fn scrape(&self) -> String {
        let (head, body) = ask(&*self.address, "/metrics", &|| self.log());
        assert!(head.starts_with("HTTP/1.0 200 "), "{head}\n{body}{}", self.log());
        body
    }

    /// What it has logged so far, with a heading, to be put behind a message.
    pub fn log(&self) -> String {
        let log = fs::read_to_string(self.home.path().join("log")).unwrap_or_default();
        format!("\n--- node_exporter\n{log}")
    }
}

impl Drop for NodeExporter {
    fn drop(&mut self) {
        // Errors mean that it has ended already. Waiting reaps it, so that no zombie stays until the tests end.
        let _ = self.exporter.kill();
        let _ = self.exporter.wait();
    }
}

/// A running Prometheus that scrapes one place each second, with rules. It is stopped when the value is dropped.
#[derive(Debug)]
pub struct Prometheus {
    server: Child,
    _tie: Tie,
    address: SocketAddr,
    home: TempDir,
}

impl Prometheus {
    /// Starts one, and returns when it answers.
    ///
    /// # Panics
    /// If the binary is absent or does not start.
    #[track_caller]
    pub fn start(target: SocketAddr, rules: &str) -> Self {
        let home = TempDir::with_prefix("vtr-prometheus-").expect("a home for Prometheus");
        let config = format!(
            "global: {{ scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s }}\n\
             rule_files: [ rules.yml ]\n\
             scrape_configs: [ {{ job_name: watch, static_configs: [ {{ targets: [ '{target}' ] }} ] }} ]\n"
        );
        fs::write(home.path().join("prometheus.yml"), config).expect("a configuration");
        fs::write(home.path().join("rules.yml"), rules).expect("the rules");
        let log = File::create(home.path().join("log")).expect("a log for Prometheus");
        // It does not say which port it was given, so one is chosen for it.
        let port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port");
        let server = Command::new(&tools().prometheus)
            .args(["--config.file=prometheus.yml", "--storage.tsdb.path=data"])
            .arg(format!("--web.listen-address={port}"))
            .env_clear()
            .env("HOME", home.path())
            .current_dir(home.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("second handle of the log"))
            .stderr(log)
            .spawn()
            .expect("prometheus");
        let mut this = Self { _tie: Tie::to(&server), server, address: port, home };
        let deadline = Instant::now() + PATIENCE;
        while !this.log().contains("Server is ready to receive web requests") {
            let ended = this.server.try_wait().expect("state of Prometheus");
            assert!(ended.is_none() && Instant::now() < deadline, "no Prometheus, {ended:?}{}", this.log());
            thread::sleep(Duration::from_millis(20));
        }
        this
    }

    /// What its API answers.
    ///
    /// # Panics
    /// If that is not JSON.
    #[track_caller]
    pub fn ask(&self, path: &str) -> Value {
        let (head, body) = ask(self.address, &format!("/api/v1/{path}"), &|| self.log());
        serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {head}\n{body}{}", self.log()))
    }

    /// The last value it has of a metric with one series; none if it has none.
    #[track_caller]
    pub fn value(&self, metric: &str) -> Option<f64> {
        let answer = self.ask(&format!("query?query={metric}"));
        answer["data"]["result"][0]["value"][1].as_str()?.parse().ok()
    }

    /// What it has logged so far, with a heading, to be put behind a message.
    pub fn log(&self) -> String {
        let log = fs::read_to_string(self.home.path().join("log")).unwrap_or_default();
        format!("\n--- Prometheus\n{log}")
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// Head and body of what a server of this machine answers.
#[track_caller]
fn ask(address: impl ToSocketAddrs, path: &str, log: &dyn Fn() -> String) -> (String, String) {
    let mut stream = TcpStream::connect(address).unwrap_or_else(|error| panic!("{error}{}", log()));
    stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
    // HTTP/1.0, so that the body ends with the connection.
    let request = format!("GET {path} HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap_or_else(|error| panic!("{error}{}", log()));
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    (head.to_owned(), body.to_owned())
}

struct Tools {
    promtool: PathBuf,
    node_exporter: PathBuf,
    prometheus: PathBuf,
}

/// What `scripts/prometheus` has made available. It is asked once and without the network: a test downloads nothing.
fn tools() -> &'static Tools {
    static TOOLS: OnceLock<Tools> = OnceLock::new();
    TOOLS.get_or_init(|| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/prometheus");
        let output = Command::new(&script).arg("--path-only").output();
        let output = output.unwrap_or_else(|error| panic!("{}: {error}", script.display()));
        let paths = String::from_utf8(output.stdout).expect("three paths");
        let mut paths = paths.lines().map(PathBuf::from);
        let (true, Some(promtool), Some(node_exporter), Some(prometheus)) =
            (output.status.success(), paths.next(), paths.next(), paths.next())
        else {
            panic!("promtool, node_exporter or prometheus is missing: run scripts/prometheus first")
        };
        Tools { promtool, node_exporter, prometheus }
    })
}
