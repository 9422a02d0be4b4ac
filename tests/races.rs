//! A login lands at the worst moment, and many runs start at the same one, against a real OpenBao.

#![cfg(test)]
#![expect(clippy::disallowed_methods, reason = "tests write and move files as they like")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;
use support::openbao::OpenBao;
use support::sandbox::{PROGRAM, Run, Sandbox, land};
use support::scripted::{Reply, Scripted};
use support::strace::STRACE;
use support::{OUR_NAME, PATIENCE, RENEWED, count, server, wait_until};

/// How long a login that writes the file in place takes from its first byte to its last.
const SLOW_LOGIN: Duration = Duration::from_millis(200);

/// How long a run gives a login to finish writing.
const MOMENT: Duration = Duration::from_millis(500);

/// How many runs start at once.
const CROWD: usize = 12;

/// What a run says that gives up because logins keep landing.
const KEEPS_CHANGING: &str = "FAIL: token file: ~/.vault-token: it keeps changing; something else writes it";

/// How often the official program logs in.
const CLI_LOGINS: usize = 24;

/// Runs that keep their state in different places meet only there.
#[test]
fn a_run_waits_for_whoever_has_locked_the_directory_of_the_token_file() {
    let server = server();
    let home = Sandbox::holding(&server.mint_ours().token);
    let directory = File::open(home.path()).unwrap();
    directory.lock().unwrap();
    let front = Scripted::in_front_of(&server, |_, _| None);
    let asked = || !front.requests().is_empty();
    let child = home.start(&front, &[]);
    // It says so after two seconds.
    wait_until("the run waits", || asked() || home.logged().iter().any(|line| line.contains("another")));
    assert!(!asked(), "it did not wait");
    drop(directory);
    let run = home.wait(child);
    assert_eq!((run.status, run.said()), (0, RENEWED), "{run:?}");
}

#[test]
fn twelve_runs_at_once_heal_once() {
    let server = server();
    let (mut healed, mut renewed) = (0, 0);
    for first in [server.admin_login(), server.userpass_login("boss", &["vault-admin"], &[])] {
        server.mint_ours();
        let home = Sandbox::holding(&first.token);
        let children: Vec<_> = (0..CROWD).map(|_| home.start(&server, &[])).collect();
        let runs: Vec<_> = children.into_iter().map(|child| home.wait(child)).collect();
        let mut lines = home.logged();
        lines.retain(|line| !line.starts_with("WARN: "));
        let heals = lines.iter().filter(|line| {
            line.starts_with("HEALED: re-minted periodic token from foreign dn=\"userpass-")
                && line.ends_with(" stale periodic token(s))")
        });
        let renewals = lines.iter().filter(|line| **line == RENEWED);
        let counts = (heals.count(), renewals.count(), lines.len());
        assert_eq!(counts, (1, CROWD - 1, CROWD), "{lines:?}");
        for run in &runs {
            assert_eq!(run.status, 0, "{runs:?}");
            // Whoever waited for long may say so.
            assert!(run.complaints().iter().all(|line| line.contains("another run")), "{run:?}");
        }
        let mut said: Vec<_> = runs.iter().map(Run::said).collect();
        said.sort_unstable();
        lines.sort_unstable();
        assert_eq!(said, lines, "what was said and what was logged");
        server.check_healed(&home);
        assert!(server.lookup(&first.token).is_some(), "the login lives");
        healed += counts.0;
        renewed += counts.1;
    }
    count(&format!("{healed} heals and {renewed} renewals in 2 crowds of {CROWD} runs"));
}

/// What lands in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Late {
    Admin,
    Weak,
    /// A person puts ours back.
    Ours,
}

const LATE: [Late; 3] = [Late::Admin, Late::Weak, Late::Ours];

impl Late {
    fn token(self, server: &OpenBao) -> String {
        match self {
            Self::Admin => server.userpass_login("late", &["vault-admin"], &[]).token,
            Self::Weak => server.userpass_login("weak", &["reader"], &[]).token,
            Self::Ours => server.mint_ours().token,
        }
    }
}

/// A server, a home, and a login that is about to land in it.
struct Scene {
    home: Sandbox,
    late: Late,
    token: String,
    first: Option<String>,
    named: Vec<String>,
}

impl Scene {
    /// A strong login is in the file, and a stray of ours lies around.
    fn new(server: &OpenBao, late: Late) -> Self {
        server.revoke_ours();
        server.mint_ours();
        let first = server.admin_login().token;
        let token = late.token(server);
        let home = Sandbox::holding(&first);
        home.guard(&token);
        Self { home, late, token, first: Some(first), named: server.named(OUR_NAME) }
    }

    /// What has to be true of a run in whose middle the login landed.
    #[track_caller]
    fn check(&self, server: &OpenBao, run: &Run) {
        let (late, home) = (self.late, &self.home);
        match late {
            Late::Admin => {
                assert_eq!((run.status, run.stderr.as_str()), (0, ""), "{run:?}");
                // The stray, and nothing of what was minted on the way.
                let line = "HEALED: re-minted periodic token from foreign dn=\"userpass-late\" \
                    (revoked 1 stale periodic token(s))";
                assert_eq!(run.said(), line);
                server.check_healed(home);
            }
            Late::Weak => {
                assert_eq!((run.status, run.stdout.as_str()), (1, ""), "{run:?}");
                assert!(
                    run.complaint()
                        .starts_with("DRIFT: ~/.vault-token is dn=\"userpass-weak\" — heal denied, ")
                );
                assert_eq!(home.token(), self.token, "the late login is kept");
                assert_eq!(server.named(OUR_NAME), self.named, "nothing is stranded, and nothing swept");
            }
            Late::Ours => {
                assert_eq!((run.status, run.said(), run.stderr.as_str()), (0, RENEWED, ""), "{run:?}");
                assert_eq!(home.token(), self.token, "ours, put back, is kept");
                assert_eq!(server.named(OUR_NAME), self.named, "nothing is stranded, and nothing swept");
            }
        }
        assert_eq!(home.log(), run.told(), "one line");
        assert_eq!(home.mode(".vault-token"), 0o600);
        home.check_tidy();
        for token in self.first.iter().chain([&self.token]) {
            assert!(server.lookup(token).is_some(), "{late:?}: a login, or ours, was revoked");
        }
        // Nor is anything left to do: what the next run makes of it is what it would make of it any day.
        let before = server.named(OUR_NAME);
        let next = home.run(&server, &[]);
        assert_eq!(next.status, run.status, "{next:?}");
        assert!(next.status == 1 || next.said() == RENEWED, "{next:?}");
        assert_eq!(server.named(OUR_NAME), before);
    }
}

/// Empties the token file and writes the first part, as a shell or an editor does, and the rest a little later. Tells
/// at last how long the file was not whole.
fn land_slowly(file: PathBuf, token: &str, first: usize, took: Sender<Duration>) {
    let (start, rest) = token.split_at(first);
    let since = Instant::now();
    fs::write(&file, start).unwrap();
    let rest = rest.to_owned();
    thread::spawn(move || {
        thread::sleep(SLOW_LOGIN);
        OpenOptions::new().append(true).open(file).unwrap().write_all(rest.as_bytes()).unwrap();
        took.send(since.elapsed()).unwrap();
    });
}

/// Plays a scene with each kind of late login. The run waits half a second for a login to finish writing; on a busy
/// machine a login can be slower than that, and then the scene is played again.
fn with_a_slow_login(server: &OpenBao, play: impl Fn(&mut Scene, Sender<Duration>) -> Run) {
    for late in LATE {
        let in_time = (0..20).any(|_| {
            let mut scene = Scene::new(server, late);
            let (sender, took) = channel();
            let run = play(&mut scene, sender);
            let is_in_time = took.recv_timeout(PATIENCE).expect("the login ends") < MOMENT;
            if is_in_time {
                scene.check(server, &run);
            }
            is_in_time
        });
        assert!(in_time, "this machine is too busy: no login of {SLOW_LOGIN:?} took less than {MOMENT:?}");
    }
}

/// In front of the real server: lets the login land when this call comes in for this time (from 1).
fn landing_at(
    server: &OpenBao,
    call: &'static str,
    time: u64,
    land: impl Fn() + Send + Sync + 'static,
) -> Scripted {
    let seen = AtomicU64::new(0);
    Scripted::in_front_of(&server, move |request, _| {
        if request.call() == call && seen.fetch_add(1, Ordering::SeqCst) + 1 == time {
            land();
        }
        None
    })
}

/// Each kind of login lands when this call comes in for this time, and what was minted by then is revoked.
fn is_not_lost_if_it_lands_at(call: &'static str, time: u64) {
    let server = server();
    for late in LATE {
        let scene = Scene::new(&server, late);
        let (file, token) = (scene.home.token_file(), scene.token.clone());
        let front = landing_at(&server, call, time, move || land(&file, &token));
        let run = scene.home.run(&front, &[]);
        scene.check(&server, &run);
        assert_eq!(front.count("auth/token/revoke-self"), 1, "what was minted in vain is revoked");
    }
}

#[test]
fn a_login_that_lands_between_lookup_and_mint_is_not_lost() {
    is_not_lost_if_it_lands_at("auth/token/create", 1);
}

#[test]
fn a_login_that_lands_between_mint_and_swap_is_not_lost() {
    // The second lookup is that of the minted token.
    is_not_lost_if_it_lands_at("auth/token/lookup-self", 2);
}

/// The program under `strace`, which holds every `fsync` up for so long.
fn start_slowed(home: &Sandbox, address: &str, delay: Duration) -> Child {
    let delay = format!("inject=fsync:delay_enter={}", delay.as_micros());
    let arguments = ["-f", "-qq", "-o", "/dev/null", "-e", "trace=fsync", "-e", &delay, PROGRAM];
    home.start_of(STRACE, &arguments, address, &[])
}

/// The run whose new file was being written when the login landed; `None` if the login came too late for that.
fn run_with_a_login_while_staged(server: &OpenBao, scene: &Scene) -> Option<Run> {
    let home = &scene.home;
    let is_staged = || home.names().iter().any(|name| name.starts_with("..vault-token.renew-"));
    // The new file is there, and its bytes are on their way to the disk. That takes 300 ms, and as long again for
    // each of the two syncs of the state that come before the last look at the token file.
    let child = start_slowed(home, server.address(), Duration::from_millis(300));
    wait_until("a new file is written", is_staged);
    land(&home.token_file(), &scene.token);
    // It is not in place yet.
    let in_time = is_staged();
    let run = home.wait(child);
    in_time.then_some(run)
}

#[test]
fn a_login_that_lands_while_the_new_file_is_being_written_is_not_lost() {
    let server = server();
    for late in LATE {
        let in_time = (0..20).any(|_| {
            let scene = Scene::new(&server, late);
            let run = run_with_a_login_while_staged(&server, &scene);
            if let Some(run) = &run {
                scene.check(&server, run);
            }
            run.is_some()
        });
        assert!(in_time, "this machine is too busy: no login landed within the 900 ms it has");
    }
}

#[test]
fn a_login_that_is_still_writing_the_file_is_waited_for() {
    let server = server();
    with_a_slow_login(&server, |scene, took| {
        scene.first = None;
        let (file, token) = (scene.home.token_file(), scene.token.clone());
        // Half a token, which looks dead.
        let half = &scene.token[..scene.token.len() / 2];
        fs::write(&file, half).unwrap();
        // The login begins anew, and goes on after the run has asked for the half.
        let front = landing_at(&server, "auth/token/lookup-self", 1, move || {
            land_slowly(file.clone(), &token, token.len() / 2, took.clone());
        });
        let run = scene.home.run(&front, &[]);
        assert_eq!(front.requests()[0].header("x-vault-token"), Some(half), "half a token was read");
        run
    });
}

#[test]
fn a_login_that_has_only_emptied_the_file_is_waited_for() {
    let server = server();
    with_a_slow_login(&server, |scene, took| {
        scene.first = None;
        land_slowly(scene.home.token_file(), &scene.token, 0, took);
        scene.home.run(&server, &[])
    });
}

#[test]
fn a_login_that_is_still_writing_the_file_at_the_swap_is_waited_for() {
    let server = server();
    with_a_slow_login(&server, |scene, took| {
        let (file, token) = (scene.home.token_file(), scene.token.clone());
        let front = landing_at(&server, "auth/token/lookup-self", 2, move || {
            land_slowly(file.clone(), &token, token.len() / 2, took.clone());
        });
        scene.home.run(&front, &[])
    });
}

#[test]
fn bad_news_about_a_token_that_is_no_longer_in_the_file_is_no_news() {
    let server = server();
    let weak = server.userpass_login("weak", &["reader"], &[]).token;
    let dead = server.userpass_login("short", &["reader"], &[]);
    let calls = ["auth/token/create", "auth/token/create-orphan", "auth/token/lookup-self"];
    for (first, call) in [(&weak, calls[0]), (&weak, calls[1]), (&dead.token, calls[2])] {
        if call == calls[2] {
            server.revoke_accessor(&dead.accessor);
        }
        let mut scene = Scene::new(&server, Late::Admin);
        scene.home.put(first);
        scene.first = server.lookup(first).map(|_| first.clone());
        let (file, token) = (scene.home.token_file(), scene.token.clone());
        let front = landing_at(&server, call, 1, move || land(&file, &token));
        let run = scene.home.run(&front, &[]);
        scene.check(&server, &run);
    }
}

#[test]
fn a_login_that_lands_with_the_last_use_of_the_token_before_is_not_called_dead() {
    let server = server();
    let (home, ours) = (Sandbox::holding("s.spent-token-of-somebody"), server.mint_ours());
    let file = home.token_file();
    let spent = json!({"data": {
        "accessor": "of-the-spent", "display_name": "token", "policies": ["default"], "ttl": 60, "num_uses": -1,
    }});
    let between = Scripted::in_front_of(&server, move |_, number| {
        (number == 0).then(|| {
            fs::write(&file, &ours.token).unwrap();
            Reply::Json(200, spent.to_string())
        })
    });
    let run = home.run(&between, &[]).expect(0);
    assert!(run.said().starts_with("OK renewed"), "{run:?}");
}

#[test]
fn logins_that_keep_landing_end_the_run_with_nothing_stranded() {
    let server = server();
    let home = Sandbox::holding(&server.admin_login().token);
    let logins: Vec<_> = (0..3).map(|_| server.userpass_login("late", &["vault-admin"], &[]).token).collect();
    for login in &logins {
        home.guard(login);
    }
    let (file, arrived, last) = (home.token_file(), AtomicU64::new(0), logins[2].clone());
    let front = Scripted::in_front_of(&server, move |request, _| {
        if request.call() == "auth/token/create" {
            let number = arrived.fetch_add(1, Ordering::SeqCst);
            if let Some(login) = logins.get(usize::try_from(number).unwrap()) {
                land(&file, login);
            }
        }
        None
    });
    let run = home.run(&front, &[]).expect(1);
    assert_eq!(run.complaint(), KEEPS_CHANGING);
    assert_eq!(home.token(), last, "the last login is kept");
    assert_eq!(server.named(OUR_NAME), [""; 0], "nothing is stranded");
    assert_eq!(front.count("auth/token/create"), 3, "three times at most");
    home.run(&server, &[]).expect(0);
    server.check_healed(&home);
}

/// A user of the real command line, who can log in with this name and the password `p`.
fn user(server: &OpenBao, name: &str, policy: &str) {
    server.enable_userpass();
    let body = json!({ "password": "p", "token_policies": [policy] });
    server.as_root("POST", &format!("auth/userpass/users/{name}"), Some(body));
}

/// `bao login`, which writes `~/.vault-token`.
fn cli_login(server: &OpenBao, home: &Path, name: &str) {
    let output = Command::new(server.binary())
        .args(["login", "-method=userpass", "-no-print", &format!("username={name}"), "password=p"])
        .env_clear()
        .env("HOME", home)
        .env("BAO_ADDR", server.address())
        .current_dir(home)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "bao login: {}", String::from_utf8_lossy(&output.stderr));
}

/// Tells the reader to stop, also when the test fails: nobody would wait for it in vain.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// What the reader of the token file saw.
#[derive(Default)]
struct Seen {
    reads: u64,
    tokens: BTreeSet<String>,
}

/// Reads the token file until told to stop. Every time it has to hold a token the server gave out: at first sight
/// it is alive, unless the file holds another one by the time the server has answered.
fn read_continuously(server: &OpenBao, file: &Path, length: usize, stop: &AtomicBool) -> Seen {
    let mut seen = Seen::default();
    while !stop.load(Ordering::SeqCst) {
        let token = fs::read_to_string(file).expect("the token file is there at every moment");
        let data = fs::metadata(file).expect("the token file is there at every moment");
        seen.reads += 1;
        // Not quoted: it may be half a secret.
        let is_whole = token.len() == length && token.starts_with("s.");
        assert!(is_whole, "the token file holds {} bytes that are no whole token", token.len());
        assert_eq!(data.mode() & 0o7777, 0o600);
        if seen.tokens.insert(token.clone()) && server.lookup(&token).is_none() {
            assert_ne!(fs::read_to_string(file).unwrap(), token, "the token in the file is dead");
        }
        thread::sleep(Duration::from_micros(200));
    }
    seen
}

#[test]
fn logins_of_the_real_command_line_and_runs_do_not_tear_the_file() {
    let server = server();
    user(&server, "admin", "vault-admin");
    user(&server, "weak", "reader");
    let home = Sandbox::new();
    cli_login(&server, home.path(), "admin");
    let length = home.token().len();
    let (place, file) = (home.path().to_owned(), home.token_file());
    let stop = AtomicBool::new(false);
    let mut ends: BTreeMap<String, u64> = BTreeMap::new();
    let seen = thread::scope(|scope| {
        let stopped = Stop(&stop);
        let reader = scope.spawn(|| read_continuously(&server, &file, length, &stop));
        let logins = scope.spawn(|| {
            for round in 0..CLI_LOGINS {
                cli_login(&server, &place, if round % 4 == 2 { "weak" } else { "admin" });
                let token = fs::read_to_string(&file).unwrap();
                assert_eq!((token.len(), fs::metadata(&file).unwrap().mode() & 0o7777), (length, 0o600));
            }
        });
        while !logins.is_finished() {
            let run = home.run(&server, &[]);
            let line = if run.status == 0 { run.said() } else { run.complaint() };
            let word = line.split([':', ' ']).next().unwrap().to_owned();
            let expected = match word.as_str() {
                "OK" | "HEALED" => 0,
                "DRIFT" => 1,
                // So many logins in so little time that the run gives up.
                "FAIL" if line == KEEPS_CHANGING => 1,
                _ => panic!("{run:?}"),
            };
            assert_eq!(run.status, expected, "{run:?}");
            *ends.entry(word).or_default() += 1;
        }
        let logged_in = logins.join();
        drop(stopped);
        let seen = reader.join();
        logged_in.expect("the logins");
        seen.expect("the reader")
    });
    cli_login(&server, home.path(), "admin");
    let run = home.run(&server, &[]).expect(0);
    assert!(run.said().starts_with("HEALED: re-minted periodic token from foreign dn=\"userpass-admin\""));
    server.check_healed(&home);
    count(&format!(
        "{CLI_LOGINS} logins of the real command line against {} runs ({ends:?}), {} reads of the file \
         that saw {} tokens",
        ends.values().sum::<u64>(),
        seen.reads,
        seen.tokens.len()
    ));
}
