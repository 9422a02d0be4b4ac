//! A real, unprivileged `systemd --user` for one test: a throw-away Unix user with a home, a runtime folder and a
//! delegated cgroup of its own, and the manager, started by hand. Dropping the value ends every process of that user
//! and removes all of it.
//!
//! It needs root, and works on machines that were not booted with systemd, containers included. What is absent makes
//! the test fail with the command that installs it.
#![allow(
    clippy::panic,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a helper for tests: the panic is the test's failure, and these files are not the user's"
)]
#![allow(unreachable_pub, reason = "shared by several test binaries, none of which exports anything")]

use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::tie::Tie;

/// How long manager, units and processes may take for anything. Measured: 0.2 s for the start of a manager.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Names of throw-away users begin with this; the pid of the test process and a number follow.
const PREFIX: &str = "vtrtest";

/// Below systemd's home for volatile files, created where systemd has not: without `system` a user manager believes
/// that the machine was not booted with systemd and gives up; `unit-root` is where it assembles the file system of a
/// unit with mount options, which it cannot create itself (226/NAMESPACE).
const RUN_FOLDERS: [&str; 2] = ["/run/systemd/system", "/run/systemd/unit-root"];

/// Held shared by everyone who needs [`RUN_FOLDERS`]; who gets it exclusively at the end is the last.
const RUN_LOCK: &str = "/run/vault-token-renew-tests.lock";

/// What a machine may lack, as the manager finds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lack {
    /// Nothing.
    Nothing,
    /// The kernel refuses user namespaces to whoever is not root: here by its rule for processes in a chroot.
    UserNamespaces,
    /// The folder in which systemd assembles the file system of a unit.
    UnitRoot,
}

impl Lack {
    /// What the shell that becomes the manager does about it, still as root and with mounts of its own.
    fn preparation(self) -> &'static str {
        match self {
            Self::Nothing => "enter=",
            Self::UserNamespaces => {
                "mount --rbind / /run/systemd/unit-root || exit 1; enter='/usr/sbin/chroot /run/systemd/unit-root'"
            }
            Self::UnitRoot => {
                "mount -t tmpfs -o mode=755 none /run/systemd && mkdir /run/systemd/system || exit 1; enter="
            }
        }
    }
}

/// A throw-away user with a running user manager.
#[derive(Debug)]
pub struct UserManager {
    name: String,
    uid: u32,
    gid: u32,
    home: PathBuf,
    manager: Option<(Child, Tie)>,
    run_lock: Option<File>,
}

impl UserManager {
    /// Creates the user and starts the manager; returns when it is ready.
    ///
    /// # Panics
    /// With what to do, where something is missing.
    pub fn start() -> Self {
        Self::start_without(Lack::Nothing)
    }

    /// The same on a machine that lacks something.
    ///
    /// # Panics
    /// With what to do, where something is missing.
    pub fn start_without(lack: Lack) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        check_requirements();
        remove_leftovers();
        let run_lock = take_run_folders();

        let name = format!("{PREFIX}{}x{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        // Not below /tmp: PrivateTmp= would hide the home from the unit.
        must(Command::new("useradd").args(["--create-home", "--base-dir", "/var/lib"]).args([
            "--shell",
            "/bin/sh",
            "--comment",
            "throw-away user of the tests of vault-token-renew",
            &name,
        ]));
        let home = Path::new("/var/lib").join(&name);
        let owner = fs::metadata(&home).expect("the home that useradd made");
        let (uid, gid) = (owner.uid(), owner.gid());
        // From here on Drop removes everything, whatever panics below.
        let mut this = Self { name, uid, gid, home, manager: None, run_lock: Some(run_lock) };
        // Everybody has to get through the folder above, whatever umask this runs under.
        if fs::create_dir("/run/user").is_ok() {
            fs::set_permissions("/run/user", Permissions::from_mode(0o755)).expect("mode of /run/user");
        }
        this.folder(&this.runtime_folder(), 0o700);
        this.launch(lack);
        this
    }

    fn launch(&mut self, lack: Lack) {
        let cgroups = cgroups(&self.name);
        for cgroup in &cgroups {
            fs::create_dir(cgroup).unwrap_or_else(|error| {
                panic!(
                    "{}: {error}; a user manager needs a cgroup of its own: run this on a machine, or in a \
                     container that may write to the cgroup file system",
                    cgroup.display()
                )
            });
            own(cgroup, self.uid, self.gid);
            for entry in fs::read_dir(cgroup).expect("the files of a cgroup").flatten() {
                own(&entry.path(), self.uid, self.gid);
            }
        }
        // The shell enters the cgroups while it is still root, then becomes the user and at last the manager, all
        // under the one pid that Child knows. It has mounts of its own, because /run is a mount point on a machine that
        // was booted, and where it is none, a hardened service finds an empty one.
        let script = format!(
            r#"for cgroup in $CGROUPS; do echo $$ >"$cgroup/cgroup.procs" || exit 1; done
            unset CGROUPS; mount --bind /run /run || exit 1
            {}
            exec $enter setpriv --reuid "$1" --regid "$2" --init-groups "$3" --user"#,
            lack.preparation()
        );
        let log = File::create(self.manager_log()).expect("the log of the user manager");
        let cgroups: Vec<_> = cgroups.iter().filter_map(|path| path.to_str()).collect();
        let manager = Command::new("unshare")
            .args([
                "--mount",
                "--propagation",
                "private",
                "sh",
                "-c",
                &script,
                "sh",
                &self.uid.to_string(),
                &self.gid.to_string(),
            ])
            .arg(systemd().expect("checked before"))
            .env_clear()
            .envs(self.environment())
            .env("CGROUPS", cgroups.join(" "))
            .current_dir(&self.home)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("second handle of the manager's log"))
            .stderr(log)
            .spawn()
            .expect("sh for the user manager");
        let tie = Tie::to(&manager);
        self.manager = Some((manager, tie));

        let deadline = Instant::now() + PATIENCE;
        loop {
            let state = self.systemctl(["is-system-running"]);
            let state = String::from_utf8_lossy(&state.stdout).trim().to_owned();
            if state == "running" || state == "degraded" {
                return;
            }
            let ended = self.manager.as_mut().and_then(|(manager, _)| manager.try_wait().ok().flatten());
            assert!(
                ended.is_none() && Instant::now() < deadline,
                "the user manager is {state}, {ended:?}:\n{}",
                fs::read_to_string(self.manager_log()).unwrap_or_default()
            );
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// The user's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The process of the manager.
    pub fn manager_pid(&self) -> u32 {
        self.manager.as_ref().expect("a manager").0.id()
    }

    /// The user's home, an absolute path.
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// A path below the home.
    pub fn path(&self, below_home: &str) -> PathBuf {
        self.home.join(below_home)
    }

    /// A command of the user, in the environment of a fresh login, ended after [`PATIENCE`].
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("timeout");
        command
            .arg(PATIENCE.as_secs().to_string())
            .arg(program)
            .env_clear()
            .envs(self.environment())
            .current_dir(&self.home)
            .stdin(Stdio::null())
            // As root this also drops root's groups.
            .uid(self.uid)
            .gid(self.gid);
        command
    }

    fn environment(&self) -> [(&'static str, String); 9] {
        let home = self.home.to_str().expect("a home in UTF-8");
        [
            ("HOME", home.to_owned()),
            ("USER", self.name.clone()),
            ("LOGNAME", self.name.clone()),
            ("PATH", format!("{home}/.local/bin:/usr/local/bin:/usr/bin:/bin")),
            ("XDG_RUNTIME_DIR", self.runtime_folder().to_str().expect("UTF-8").to_owned()),
            ("LC_ALL", "C.UTF-8".to_owned()),
            ("TZ", "UTC".to_owned()),
            ("SYSTEMD_PAGER", "cat".to_owned()),
            ("SYSTEMD_COLORS", "0".to_owned()),
        ]
    }

    /// `systemctl --user …`, whatever its exit status.
    pub fn systemctl<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Output {
        self.command("systemctl").arg("--user").args(args).output().expect("systemctl")
    }

    /// `systemctl --user …` that has to succeed.
    #[track_caller]
    pub fn must_systemctl<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> String {
        let output = self.systemctl(args);
        assert!(output.status.success(), "systemctl: {}{}", text(&output), self.report());
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// One property of a unit as `systemctl show` prints it.
    #[track_caller]
    pub fn property(&self, unit: &str, name: &str) -> String {
        self.must_systemctl(["show", "--property", name, "--value", unit]).trim_end().to_owned()
    }

    /// Several of them, in this order.
    #[track_caller]
    pub fn properties<const N: usize>(&self, unit: &str, names: [&str; N]) -> [String; N] {
        names.map(|name| self.property(unit, name))
    }

    /// Checks that `systemd-analyze verify` has nothing to say against a unit in this place.
    #[track_caller]
    pub fn check_verified(&self, unit: &Path) {
        let verify = self.command("systemd-analyze").args(["--user", "verify"]).arg(unit).output();
        let verify = verify.expect("systemd-analyze");
        let quiet = verify.stdout.is_empty() && verify.stderr.is_empty();
        assert!(verify.status.success() && quiet, "{}: {}", unit.display(), text(&verify));
    }

    /// Writes a file of the user with this mode, by a rename, as a login does with the token. Missing folders are made.
    #[track_caller]
    pub fn write(&self, below_home: &str, mode: u32, content: impl AsRef<[u8]>) {
        let path = self.path(below_home);
        self.folders_to(&path);
        let temporary = path.with_extension("tmp");
        fs::write(&temporary, content).expect("a file of the user");
        fs::set_permissions(&temporary, Permissions::from_mode(mode)).expect("its mode");
        own(&temporary, self.uid, self.gid);
        fs::rename(&temporary, &path).expect("its name");
    }

    /// Copies a file, with its mode, into the home.
    #[track_caller]
    pub fn copy(&self, from: &Path, below_home: &str) {
        let path = self.path(below_home);
        self.folders_to(&path);
        fs::copy(from, &path).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
        own(&path, self.uid, self.gid);
    }

    /// A file of the user as text, empty if it is not there.
    pub fn read(&self, below_home: &str) -> String {
        fs::read(self.path(below_home))
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// The permission bits of a file of the user.
    #[track_caller]
    pub fn mode(&self, below_home: &str) -> u32 {
        let path = self.path(below_home);
        let metadata =
            fs::symlink_metadata(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        metadata.mode() & 0o7777
    }

    /// Waits until it is so, and fails with the state of the units otherwise.
    #[track_caller]
    pub fn wait_until(&self, what: &str, mut is_so: impl FnMut() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_so() {
            assert!(Instant::now() < deadline, "waited {PATIENCE:?} in vain until {what}{}", self.report());
            thread::sleep(Duration::from_millis(100));
        }
    }

    /// What a person would look at when a test failed.
    pub fn report(&self) -> String {
        let units = self.systemctl(["status", "--no-pager", "--full", "vault-token-renew*"]);
        format!(
            "\n--- units\n{}\n--- log\n{}\n--- the user manager\n{}",
            text(&units),
            self.read(".local/state/vault-token-renew.log"),
            fs::read_to_string(self.manager_log()).unwrap_or_default()
        )
    }

    fn runtime_folder(&self) -> PathBuf {
        PathBuf::from(format!("/run/user/{}", self.uid))
    }

    fn manager_log(&self) -> PathBuf {
        self.home.join("user-manager.log")
    }

    fn folder(&self, path: &Path, mode: u32) {
        fs::create_dir_all(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        fs::set_permissions(path, Permissions::from_mode(mode)).expect("mode of a folder");
        own(path, self.uid, self.gid);
    }

    fn folders_to(&self, path: &Path) {
        let mut missing: Vec<_> =
            path.ancestors().skip(1).take_while(|folder| *folder != self.home && !folder.exists()).collect();
        missing.reverse();
        for folder in missing {
            self.folder(folder, 0o755);
        }
    }
}

impl Drop for UserManager {
    fn drop(&mut self) {
        if let Some((manager, _)) = &mut self.manager {
            // At once: whatever it would do on the way out belongs to a user who is about to vanish.
            let _ = manager.kill();
            let _ = manager.wait();
        }
        remove_user(&self.name);
        give_back_run_folders(self.run_lock.take());
    }
}

/// What a command printed and how it ended.
pub fn text(output: &Output) -> String {
    let [stdout, stderr] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    format!("{}\n{stdout}{stderr}", output.status)
}

fn check_requirements() {
    let uid = fs::metadata("/proc/self").expect("/proc").uid();
    assert_eq!(uid, 0, "these tests create a throw-away user and start its manager: run them as root");
    let missing: Vec<_> = [
        ("systemctl", "systemd"),
        ("systemd-analyze", "systemd"),
        ("systemd-run", "systemd"),
        ("setpriv", "util-linux"),
        ("useradd", "passwd"),
        ("userdel", "passwd"),
        ("timeout", "coreutils"),
        ("perl", "perl-base"),
    ]
    .into_iter()
    .filter(|(tool, _)| !on_path(tool))
    .collect();
    let packages: Vec<_> = missing.iter().map(|(_, package)| *package).collect();
    assert!(missing.is_empty(), "missing: {missing:?}; apt-get install {}", packages.join(" "));
    // For systemd-run, in scripts/install; all the rest does without a session bus.
    let bus = Path::new("/usr/lib/systemd/user/dbus.socket");
    assert!(bus.exists(), "there is no session bus; apt-get install dbus-user-session");
    assert!(systemd().is_some(), "there is no /usr/lib/systemd/systemd; apt-get install systemd");
}

fn on_path(tool: &str) -> bool {
    // The usual places, because the PATH of a test may lack the sbin ones.
    ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"]
        .iter()
        .any(|folder| Path::new(folder).join(tool).exists())
}

fn systemd() -> Option<&'static str> {
    ["/usr/lib/systemd/systemd", "/lib/systemd/systemd"].into_iter().find(|path| Path::new(path).exists())
}

/// Where the user's cgroup is: below the unified hierarchy, and in the hybrid layout below systemd's own one too.
fn cgroups(name: &str) -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").expect("/proc/self/mounts");
    let mut cgroups = Vec::new();
    for line in mounts.lines() {
        let mut fields = line.split(' ').skip(1);
        let (Some(path), Some(kind), Some(options)) = (fields.next(), fields.next(), fields.next()) else {
            continue;
        };
        if kind == "cgroup2"
            || (kind == "cgroup" && options.split(',').any(|option| option == "name=systemd"))
        {
            cgroups.push(Path::new(path).join(name));
        }
    }
    assert!(!cgroups.is_empty(), "no cgroup2 file system is mounted, and a user manager needs one");
    cgroups
}

fn take_run_folders() -> File {
    let lock = File::create(RUN_LOCK).unwrap_or_else(|error| panic!("{RUN_LOCK}: {error}"));
    lock.lock_shared().unwrap_or_else(|error| panic!("{RUN_LOCK}: {error}"));
    for folder in RUN_FOLDERS {
        fs::create_dir_all(folder).unwrap_or_else(|error| panic!("{folder}: {error}"));
    }
    lock
}

fn give_back_run_folders(lock: Option<File>) {
    let booted_with_systemd = fs::read_to_string("/proc/1/comm").is_ok_and(|name| name.trim() == "systemd");
    let Some(lock) = lock.filter(|_| !booted_with_systemd) else { return };
    // A folder that stayed would make package scripts believe that systemd runs this machine.
    if lock.unlock().is_ok() && lock.try_lock().is_ok() {
        for folder in RUN_FOLDERS {
            let _ = fs::remove_dir(folder);
        }
    }
}

/// What test processes left that were killed before they could clean up. Alive ones are known by their pid.
fn remove_leftovers() {
    let users = fs::read_to_string("/etc/passwd").expect("/etc/passwd");
    for name in users.lines().filter_map(|line| line.split(':').next()) {
        let pid = name.strip_prefix(PREFIX).and_then(|rest| rest.split_once('x')).map(|(pid, _)| pid);
        if pid.is_some_and(|pid| pid.parse::<u32>().is_ok() && !Path::new("/proc").join(pid).exists()) {
            remove_user(name);
        }
    }
}

/// Ends the user's processes, all of which are in the user's cgroup, and removes what the user had.
fn remove_user(name: &str) {
    let cgroups: Vec<_> = cgroups(name).into_iter().filter(|cgroup| cgroup.exists()).collect();
    let deadline = Instant::now() + PATIENCE;
    for cgroup in &cgroups {
        // Only an empty cgroup can be removed, so success means that no process is left.
        while !remove_cgroup(cgroup) && Instant::now() < deadline {
            let pids = processes(cgroup);
            if !pids.is_empty() {
                let _ = Command::new("sh")
                    .args(["-c", r#"kill -KILL "$@" 2>/dev/null"#, "sh"])
                    .args(pids)
                    .status();
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
    if let Ok(home) = fs::metadata(Path::new("/var/lib").join(name)) {
        let _ = fs::remove_dir_all(format!("/run/user/{}", home.uid()));
    }
    // Another test may hold the lock on the user database at this moment.
    let deleted = (0..20).any(|_| {
        let status = Command::new("userdel").args(["--remove", name]).stderr(Stdio::null()).status();
        let deleted = status.is_ok_and(|status| status.success());
        if !deleted {
            thread::sleep(Duration::from_millis(200));
        }
        deleted
    });
    assert!(
        deleted || thread::panicking(),
        "the throw-away user {name} could not be removed: userdel -r {name}"
    );
}

fn remove_cgroup(cgroup: &Path) -> bool {
    for entry in fs::read_dir(cgroup).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_cgroup(&entry.path());
        }
    }
    fs::remove_dir(cgroup).is_ok()
}

fn processes(cgroup: &Path) -> Vec<String> {
    let own = fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default();
    let mut pids: Vec<_> = own.lines().map(str::to_owned).collect();
    for entry in fs::read_dir(cgroup).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            pids.extend(processes(&entry.path()));
        }
    }
    pids
}

fn own(path: &Path, uid: u32, gid: u32) {
    chown(path, Some(uid), Some(gid)).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

#[track_caller]
fn must(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", text(&output));
}
