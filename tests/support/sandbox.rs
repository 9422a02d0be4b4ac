//! A home of its own for one test, and the real program run in it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use assert_cmd::Command;
use serde_json::Value;
use tempfile::TempDir;

/// No run of the program takes longer than this, unless it hangs.
const RUN_WITHIN: Duration = Duration::from_secs(60);

/// The program.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_vault-token-renew");

/// Where the state is, below the home.
const STATE: &str = ".local/state/vault-token-renew";

/// Where the log is, below the home.
pub const LOG: &str = ".local/state/vault-token-renew.log";

/// A home directory that is thrown away.
pub struct Sandbox {
    home: TempDir,
    secrets: RefCell<Vec<String>>,
}

/// What a run of the program left.
#[derive(Debug)]
pub struct Run {
    /// The exit status; of a killed run the signal, with a minus.
    pub status: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// A file as it was: mode, inode, time of the last change in nanoseconds, contents.
pub type Trace = (u32, u64, i128, Vec<u8>);

impl Sandbox {
    /// An empty home.
    pub fn new() -> Self {
        let home = tempfile::Builder::new().prefix("vtr-home-").tempdir().expect("temporary home");
        Self { home, secrets: RefCell::default() }
    }

    /// A home whose token file holds `token`.
    pub fn holding(token: &str) -> Self {
        let sandbox = Self::new();
        sandbox.put(token);
        sandbox
    }

    /// The home directory.
    pub fn path(&self) -> &Path {
        self.home.path()
    }

    /// The token file.
    pub fn token_file(&self) -> PathBuf {
        self.path().join(".vault-token")
    }

    /// A login lands in the token file. From now on the token must not appear anywhere else.
    pub fn put(&self, token: &str) {
        land(&self.token_file(), token);
        self.guard(token);
    }

    /// Gives the token file this mode.
    pub fn chmod(&self, mode: u32) {
        fs::set_permissions(self.token_file(), fs::Permissions::from_mode(mode)).unwrap();
    }

    /// Writes another file of the home, with the folders it needs. Its path.
    pub fn write(&self, name: &str, contents: impl AsRef<[u8]>) -> String {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, contents).unwrap();
        path.into_os_string().into_string().unwrap()
    }

    /// From now on every run is checked not to let this text out.
    pub fn guard(&self, secret: &str) {
        if !secret.is_empty() {
            self.secrets.borrow_mut().push(secret.to_owned());
        }
    }

    /// What the token file holds.
    pub fn token(&self) -> String {
        fs::read_to_string(self.token_file()).expect("token file")
    }

    /// Permission bits of a file in the home.
    pub fn mode(&self, name: &str) -> u32 {
        fs::metadata(self.path().join(name)).expect(name).mode() & 0o7777
    }

    /// The log file, empty if there is none.
    pub fn log(&self) -> String {
        fs::read_to_string(self.path().join(LOG)).unwrap_or_default()
    }

    /// The lines of the log, without their time stamps.
    #[track_caller]
    pub fn logged(&self) -> Vec<String> {
        self.log().lines().map(|line| unstamped(line).to_owned()).collect()
    }

    /// The file with what the runs in this home remember.
    #[track_caller]
    pub fn state_file(&self) -> PathBuf {
        file_in(&self.path().join(STATE), "json").expect("a state file")
    }

    /// The file that a run locks.
    #[track_caller]
    pub fn lock_file(&self) -> PathBuf {
        file_in(&self.path().join(STATE), "lock").expect("a lock file")
    }

    /// What the runs in this home remember.
    #[track_caller]
    pub fn state(&self) -> Value {
        serde_json::from_slice(&fs::read(self.state_file()).unwrap()).expect("a whole state file")
    }

    /// Makes the next run remember something else.
    #[track_caller]
    pub fn rewrite_state(&self, change: impl FnOnce(&mut Value)) {
        let mut state = self.state();
        change(&mut state);
        fs::write(self.state_file(), state.to_string()).unwrap();
    }

    /// Everything in the home, by path relative to it. What vanishes while a run is at work is not there.
    pub fn snapshot(&self) -> BTreeMap<String, Trace> {
        let mut files = BTreeMap::new();
        let mut pending = vec![self.path().to_owned()];
        while let Some(directory) = pending.pop() {
            for entry in fs::read_dir(&directory).unwrap() {
                let path = entry.unwrap().path();
                let Some(data) = there(path.symlink_metadata()) else { continue };
                let changed = i128::from(data.ctime()) * 1_000_000_000 + i128::from(data.ctime_nsec());
                let contents = if data.is_file() { there(fs::read(&path)) } else { Some(Vec::new()) };
                let Some(contents) = contents else { continue };
                let name = path.strip_prefix(self.path()).unwrap().to_str().unwrap().to_owned();
                files.insert(name, (data.mode(), data.ino(), changed, contents));
                if data.is_dir() {
                    pending.push(path);
                }
            }
        }
        files
    }

    /// The names of all files directly in the home.
    pub fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path()).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// Checks that there is nothing in the home but the token file and what a run may leave in its own folders, where
    /// nothing temporary has stayed.
    #[track_caller]
    pub fn check_tidy(&self) {
        assert_eq!(self.names(), [".local", ".vault-token"]);
        for name in self.snapshot().into_keys() {
            assert!(!name.contains(".renew-"), "{name} is left behind");
        }
    }

    /// The program, in this home and an otherwise empty environment. It does not wait for an outage to pass.
    pub fn command(&self, address: &str) -> Command {
        self.command_of(PROGRAM, address)
    }

    /// Another program in its place, which is to start it: a shell, a tracer.
    pub fn command_of(&self, starter: &str, address: &str) -> Command {
        let mut command = Command::from_std(self.plain_command(starter, address));
        command.timeout(RUN_WITHIN);
        command
    }

    fn plain_command(&self, starter: &str, address: &str) -> std::process::Command {
        let mut command = std::process::Command::new(starter);
        command
            .env_clear()
            .env("HOME", self.path())
            .env("USER", "wizard")
            .env("VTR_DISPLAY_NAME", "devvm-wizard")
            .env("VTR_POLICIES", "vault-admin,sops-admin")
            // The user manager of whoever runs the tests is not asked.
            .env("XDG_RUNTIME_DIR", self.path())
            .env("TZ", "UTC")
            .env("VAULT_ADDR", address)
            .env("VTR_RETRY_FOR", "0s")
            .env("VAULT_CLIENT_TIMEOUT", "20s")
            .current_dir(self.path());
        command
    }

    /// Starts the program and does not wait for it: for several at once, and for those that are killed.
    pub fn start(&self, server: &(impl AsRef<str> + ?Sized), variables: &[(&str, &str)]) -> Child {
        self.start_of(PROGRAM, &[], server.as_ref(), variables)
    }

    /// The same with another program in its place, which is to start it.
    pub fn start_of(
        &self,
        starter: &str,
        arguments: &[&str],
        address: &str,
        variables: &[(&str, &str)],
    ) -> Child {
        let mut command = self.plain_command(starter, address);
        command.args(arguments).envs(variables.iter().copied()).stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap_or_else(|error| panic!("{starter}: {error}"))
    }

    /// Waits for a started run, and checks that it let no secret out. It may have been killed.
    #[track_caller]
    pub fn wait(&self, mut child: Child) -> Run {
        let deadline = Instant::now() + RUN_WITHIN;
        let status = loop {
            if let Some(status) = child.try_wait().expect("the state of the run") {
                break status;
            }
            if Instant::now() > deadline {
                let _ = child.kill();
                panic!("the run has not ended within {RUN_WITHIN:?}");
            }
            thread::sleep(Duration::from_millis(1));
        };
        let (mut stdout, mut stderr) = (String::new(), String::new());
        child.stdout.take().expect("a pipe").read_to_string(&mut stdout).expect("UTF-8 output");
        child.stderr.take().expect("a pipe").read_to_string(&mut stderr).expect("UTF-8 output");
        let status = status.code().or_else(|| status.signal().map(|signal| -signal)).expect("an end");
        let run = Run { status, stdout, stderr };
        self.check(&run);
        run
    }

    /// `unshare`, which is to start the program with what its arguments say. An ordinary user becomes root in a
    /// name space: that is who may mount there, and see what a program does that forbids others to look.
    #[track_caller]
    pub fn command_unshared(&self, address: &str) -> Command {
        const UNSHARE: &str = "/usr/bin/unshare";
        assert!(Path::new(UNSHARE).exists(), "there is no {UNSHARE}; apt-get install util-linux");
        let mut command = self.command_of(UNSHARE, address);
        if fs::metadata(self.path()).expect("the home").uid() != 0 {
            command.args(["--user", "--map-root-user"]);
        }
        command
    }

    /// The program in a world where the machine has this name, and the id in this file, if one is given.
    #[track_caller]
    pub fn command_on(&self, address: &str, name: &str, id: Option<&Path>) -> Command {
        const MACHINE_ID: &str = "/etc/machine-id";
        assert!(Path::new(MACHINE_ID).exists(), "there is no {MACHINE_ID}; systemd-machine-id-setup");
        let id = id.map(|id| format!("mount --bind {} {MACHINE_ID} && ", id.display())).unwrap_or_default();
        let script = format!("PATH=/usr/bin:/bin; {id}hostname {name} && exec \"$0\" \"$@\"");
        let mut command = self.command_unshared(address);
        command.args(["--uts", "--mount", "/bin/sh", "-c", &script, PROGRAM]);
        command
    }

    /// Runs the program. It asks this server, or whoever is at this address.
    #[track_caller]
    pub fn run(&self, server: &(impl AsRef<str> + ?Sized), arguments: &[&str]) -> Run {
        self.run_with(&[], server, arguments)
    }

    /// The same with these variables, too.
    #[track_caller]
    pub fn run_with(
        &self,
        variables: &[(&str, &str)],
        server: &(impl AsRef<str> + ?Sized),
        arguments: &[&str],
    ) -> Run {
        self.finish(self.command(server.as_ref()).envs(variables.iter().copied()).args(arguments))
    }

    /// Runs a prepared command, and checks what must be true of every run: it ended by itself, let no secret
    /// out, and let nobody at the token file who was not let in before.
    #[track_caller]
    pub fn finish(&self, command: &mut Command) -> Run {
        let mode = || fs::metadata(self.token_file()).map_or(0, |data| data.mode() & 0o7777);
        let mode_before = mode();
        let output = command.output().expect("the program runs");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8 output");
        let status = output.status.code().expect("the program ends by itself");
        assert_eq!(mode() & 0o077 & !mode_before, 0, "the token file is more open than it was: {:o}", mode());
        let run = Run { status, stdout: text(output.stdout), stderr: text(output.stderr) };
        self.check(&run);
        run
    }

    /// Checks that none of the secrets known by now was let out.
    #[track_caller]
    pub fn check(&self, run: &Run) {
        if let Ok(token) = fs::read_to_string(self.token_file()) {
            self.guard(token.trim());
        }
        self.check_state_for_secrets();
        self.check_for_secrets("standard output", &run.stdout);
        self.check_for_secrets("standard error", &run.stderr);
    }

    /// Checks that no secret got into the log or the state.
    #[track_caller]
    pub fn check_state_for_secrets(&self) {
        for (name, (_, _, _, contents)) in self.snapshot() {
            if name.starts_with(".local") {
                self.check_for_secrets(&name, &String::from_utf8_lossy(&contents));
            }
        }
    }

    #[track_caller]
    fn check_for_secrets(&self, place: &str, text: &str) {
        for secret in self.secrets.borrow().iter() {
            // Not quoting the text: it would let the secret out once more.
            assert!(!text.contains(secret.as_str()), "a token in {place}");
        }
    }
}

impl Run {
    /// The single line of standard output, without its time stamp.
    #[track_caller]
    pub fn said(&self) -> &str {
        assert_eq!(self.stdout.lines().count(), 1, "{self:?}");
        unstamped(self.stdout.trim_end())
    }

    /// The lines of standard error that are not hints, without their time stamps.
    #[track_caller]
    pub fn complaints(&self) -> Vec<&str> {
        self.stderr.lines().filter(|line| !line.starts_with("hint: ")).map(unstamped).collect()
    }

    /// The hints, without that word.
    pub fn hints(&self) -> Vec<&str> {
        self.stderr.lines().filter_map(|line| line.strip_prefix("hint: ")).collect()
    }

    /// The only complaint.
    #[track_caller]
    pub fn complaint(&self) -> &str {
        let complaints = self.complaints();
        assert_eq!(complaints.len(), 1, "{self:?}");
        complaints[0]
    }

    /// What the run has to write into its log too: all that was said but the hints, which are for people only.
    pub fn told(&self) -> String {
        let said = self.stderr.split_inclusive('\n').filter(|line| !line.starts_with("hint: "));
        said.chain([self.stdout.as_str()]).collect()
    }

    /// All that was said, on both streams.
    pub fn all(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }

    /// The one object of a run with `--json`, which is all that standard output holds.
    #[track_caller]
    pub fn object(&self) -> Value {
        assert_eq!(self.stdout.lines().count(), 1, "{self:?}");
        let object: Value = serde_json::from_str(&self.stdout).expect("one JSON object");
        assert_eq!(object["schema"], 1, "{object}");
        assert_eq!(object["exit_status"], self.status, "{object}");
        object
    }

    /// Checks that nobody was told anything on standard error.
    #[track_caller]
    pub fn quiet(self) -> Self {
        assert_eq!(self.stderr, "", "{self:?}");
        self
    }

    /// Checks the exit status.
    #[track_caller]
    pub fn expect(self, status: i32) -> Self {
        assert_eq!(self.status, status, "{self:?}");
        self
    }
}

/// A line without its time stamp, which has to be one.
#[track_caller]
pub fn unstamped(line: &str) -> &str {
    let (stamp, rest) = line.split_once(' ').unwrap_or_else(|| panic!("no time stamp: {line:?}"));
    let shape: String = stamp.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    assert!(matches!(shape.as_str(), "0000-00-00T00:00:00+00:00" | "0000-00-00T00:00:00-00:00"), "{line:?}");
    rest
}

/// Writes a token file as `vault login` does: raw, mode 0600, by a rename.
#[track_caller]
pub fn land(file: &Path, token: &str) {
    let temporary = file.with_extension("tmp");
    fs::write(&temporary, token).unwrap();
    fs::set_permissions(&temporary, fs::Permissions::from_mode(0o600)).unwrap();
    fs::rename(&temporary, file).unwrap();
}

/// The one file in a directory with this ending, if both are there.
#[track_caller]
pub fn file_in(directory: &Path, ending: &str) -> Option<PathBuf> {
    let entries = fs::read_dir(directory).ok()?.map(|entry| entry.unwrap().path());
    let mut files = entries.filter(|path| path.extension().is_some_and(|extension| extension == ending));
    let file = files.next();
    assert_eq!(files.next(), None, "more than one {ending}");
    file
}

/// `None` of what is not there, or no longer.
#[track_caller]
fn there<T>(result: io::Result<T>) -> Option<T> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        result => Some(result.unwrap()),
    }
}
