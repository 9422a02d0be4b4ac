//! The verb `watch` where something beside it dawdles or is in the way: a hook, another run, a server that is slow, a
//! terminal that nobody reads. It must neither lose a token nor keep bad news to itself.

#![cfg(test)]

mod support;

use std::env;
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use support::sandbox::{PROGRAM, Sandbox};
use support::scripted::{Reply, Scripted};
use support::stay::{AT_ONCE, Stay, get, granted, granting, no, place};
use support::vault_mock::NEW_TOKEN;
use support::{FILE_TOKEN, NOWHERE, OUR_NAME, PERIOD, healthy, now, ours, server, told_of, wait_until, with};

const OK: &str = "OK renewed";

/// An order of a token of ours that has to be renewed every ten seconds.
fn ours_for_twenty_seconds() -> Value {
    with(ours(), "period", "20s")
}

/// A home with our token in it.
fn home() -> Sandbox {
    let home = Sandbox::holding(FILE_TOKEN);
    home.guard(NEW_TOKEN);
    home
}

/// A figure of a page of metrics.
#[track_caller]
fn figure(page: &str, name: &str) -> u64 {
    let line = page.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name}: {page}"));
    line.rsplit(' ').next().unwrap().parse().unwrap_or_else(|error| panic!("{error}: {line}"))
}

// --- a hook

#[test]
fn a_hook_that_takes_longer_than_the_lease_costs_no_token_and_keeps_no_news_back() {
    let server = server();
    let home = Sandbox::holding(&server.admin_login().token);
    let hook = "sleep 32; exit 3";
    let variables = [("VTR_PERIOD", "20s"), ("VTR_DEPLOY_HOOK", hook), ("VTR_HOOK_TIMEOUT", "60s")];
    let start = Instant::now();
    let stay = Stay::start(&home, &server, &variables, &["--listen", "127.0.0.1:0"]);
    let address = place(&stay);
    stay.wait_for("HEALED: ", 1);
    // It is told, and can be asked for, while the hook is at work.
    assert_eq!(get(address, "/health").status, 200);
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    let first = home.token();
    stay.wait_for(OK, 1);
    assert!(server.lookup(&first).is_some());
    // A login is noticed meanwhile.
    let landed = Instant::now();
    home.put(&server.admin_login().token);
    stay.wait_for("HEALED: ", 2);
    assert!(landed.elapsed() < Duration::from_secs(5), "{:?}", landed.elapsed());
    // What becomes of the hook is told when it is over.
    let warned = stay.wait_for("WARN: the deploy hook", 1);
    assert!(start.elapsed() > Duration::from_secs(31), "{warned:?}");
    assert!(server.lookup(&home.token()).is_some(), "{}", home.log());
    stay.stop();
}

#[test]
fn of_several_hooks_that_are_due_the_last_one_is_run() {
    let server = server();
    let home = Sandbox::holding(&server.admin_login().token);
    let told = home.path().join("told");
    let hook = format!("echo \"$VTR_EVENT\" >> {}; sleep 9", told.display());
    let variables = [("VTR_DEPLOY_HOOK", hook.as_str()), ("VTR_HOOK_TIMEOUT", "60s")];
    let stay = Stay::start(&home, &server, &variables, &[]);
    stay.wait_for("HEALED: ", 1);
    for healed in 2..=3 {
        home.put(&server.admin_login().token);
        stay.wait_for("HEALED: ", healed);
    }
    let count = || fs::read_to_string(&told).unwrap_or_default().lines().count();
    wait_until("the second one", || count() == 2);
    // Told to stop, the process takes the hook with it.
    stay.stop();
    thread::sleep(Duration::from_millis(500));
    assert_eq!(count(), 2, "three heals, and the hook was told of the first and of the last");
}

// --- another run

#[test]
fn another_run_that_hangs_is_counted_told_and_not_waited_for_beyond_a_quarter_of_the_lease() {
    let server = server();
    let home = Sandbox::holding(&server.mint_as_root(ours_for_twenty_seconds()).token);
    let stay = Stay::start(&home, &server, &[("VTR_PERIOD", "20s")], &["--listen", "127.0.0.1:0"]);
    let address = place(&stay);
    stay.wait_for(OK, 1);
    let held = File::open(home.lock_file()).unwrap();
    held.lock().unwrap();
    let lines = stay.wait_for("FAIL: lock: ", 1);
    assert!(lines[0].contains("vault token renewal failed, trying again in 5 s"), "{lines:?}");
    let failures = "vault_token_renewals_total{profile=\"default\",user=\"wizard\",result=\"failure\"}";
    let failed = || figure(&get(address, "/metrics").body, failures);
    wait_until("it is counted", || failed() == 1);
    assert_eq!(get(address, "/health").json()["reason"], "lock_busy");
    // It is healthy for as long as it was granted time, and no longer than it is in the file.
    assert_eq!(get(address, "/health").status, 200);
    home.put(&server.weak_login().token);
    wait_until("it is not", || get(address, "/health").status == 503);
    wait_until("each is counted", || failed() >= 2);
    held.unlock().unwrap();
    let before = failed();
    stay.wait_for("DRIFT: ", 1);
    wait_until("what could not be noted is noted", || {
        home.state()["history"]["counters"]["not_renewed"].as_u64() >= Some(before)
    });
    stay.stop();
}

#[test]
fn a_run_that_another_one_holds_up_costs_no_token() {
    let server = server();
    let home = Sandbox::holding(&server.mint_as_root(ours_for_twenty_seconds()).token);
    let stay = Stay::start(&home, &server, &[("VTR_PERIOD", "20s")], &[]);
    stay.wait_for(OK, 1);
    let held = File::open(home.lock_file()).unwrap();
    held.lock().unwrap();
    stay.wait_for("FAIL: lock: ", 1);
    thread::sleep(Duration::from_secs(3));
    held.unlock().unwrap();
    stay.wait_for(OK, 2);
    assert!(server.lookup(&home.token()).is_some(), "{}", home.log());
    stay.stop();
}

// --- a server that is slow

#[test]
fn slow_lookups_and_renewals_without_an_answer_cost_no_token_of_twenty_seconds() {
    let server = server();
    let token = server.mint_as_root(ours_for_twenty_seconds()).token;
    let (is_bad, hung) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let (bad, count) = (Arc::clone(&is_bad), Arc::clone(&hung));
    let front = Scripted::in_front_of(&server, move |request, _| {
        if !bad.load(Ordering::SeqCst) {
            return None;
        }
        if request.call() == "auth/token/lookup-self" {
            thread::sleep(Duration::from_millis(4_500));
            return None;
        }
        if count.fetch_add(1, Ordering::SeqCst) == 1 {
            bad.store(false, Ordering::SeqCst);
        }
        Some(Reply::Hang)
    });
    let home = Sandbox::holding(&token);
    let stay = Stay::start(&home, &front, &[("VTR_PERIOD", "20s")], &[]);
    stay.wait_for(OK, 1);
    is_bad.store(true, Ordering::SeqCst);
    stay.wait_for(OK, 2);
    assert_eq!(hung.load(Ordering::SeqCst), 2, "{}", home.log());
    assert!(server.lookup(&token).is_some(), "{}", home.log());
    stay.stop();
}

#[test]
fn a_heal_has_a_time_of_its_own() {
    // A lookup, a mint and a check take longer than a quarter of the lease, and no two of them do.
    let server = server();
    let front = Scripted::in_front_of(&server, |_, _| {
        thread::sleep(Duration::from_secs(2));
        None
    });
    let home = Sandbox::holding(&server.admin_login().token);
    let variables = [("VTR_PERIOD", "20s"), ("VTR_SWEEP", "off")];
    let stay = Stay::start(&home, &front, &variables, &[]);
    stay.wait_for("HEALED: ", 1);
    assert_eq!(stay.lines("FAIL: "), [""; 0]);
    stay.stop();
}

// --- whoever does not read

#[test]
fn a_terminal_that_nobody_reads_holds_up_no_run_and_no_end() {
    let (server, home) = (granting(10), home());
    // The terminal is full before the first run, and whoever shows it is stopped.
    let script = format!(
        "{PROGRAM} watch --max-interval 5s & kill -STOP $PPID; head -c 100000 /dev/zero | tr '\\0' x; wait"
    );
    let stay =
        Stay::start_of(&home, "/usr/bin/script", &["-qec", &script, "/dev/null"], server.address(), &[]);
    stay.wait_for(OK, 3);
    let seat: Value =
        serde_json::from_slice(&fs::read(home.path().join(".vault-token.watch")).unwrap()).unwrap();
    let pid = Pid::from_raw(seat["pid"].as_i64().unwrap().try_into().unwrap()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    let start = Instant::now();
    wait_until("it has said so", || {
        home.logged().last().is_some_and(|line| line == "watch: stopped by SIGTERM")
    });
    wait_until("it has ended", || !home.path().join(".vault-token.watch").exists());
    assert!(start.elapsed() < AT_ONCE + Duration::from_millis(300), "{:?}", start.elapsed());
    stay.signal(Signal::CONT);
}

#[test]
fn a_manager_that_does_not_read_holds_up_no_run_and_no_end_and_hears_of_readiness_later() {
    let (server, home) = (granting(10), home());
    let path = home.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    // Its queue is full before the first word.
    let filler = UnixDatagram::unbound().unwrap();
    filler.set_nonblocking(true).unwrap();
    while filler.send_to(b"x", &path).is_ok() {}
    let variables = [("NOTIFY_SOCKET", path.to_str().unwrap()), ("WATCHDOG_USEC", "30000")];
    let stay = Stay::start(&home, &server, &variables, &["--max-interval", "5s"]);
    stay.wait_for(OK, 2);
    manager.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
    let mut heard = Vec::new();
    let mut buffer = [0; 4096];
    while !heard.iter().any(|word: &String| word.contains("READY=1")) {
        let length = manager.recv(&mut buffer).expect("what was not heard is said again");
        heard.push(String::from_utf8_lossy(&buffer[..length]).into_owned());
    }
    let ready = heard.last().unwrap();
    assert!(ready.contains("STATUS=ours, renewed, next at "), "{ready:?}");
    // Full again.
    while filler.send_to(b"x", &path).is_ok() {}
    stay.wait_for(OK, 3);
    stay.stop();
}

// --- bad news

#[test]
fn another_weak_login_is_told_whatever_was_told_of_the_one_before() {
    const SECOND: &str = "s.another-login-0123456789";
    let server = Scripted::start(|request, _| match (request.call(), request.header("x-vault-token")) {
        ("auth/token/lookup-self", Some(SECOND)) => Reply::Json(200, told_of(SECOND, "oidc-dev2")),
        ("auth/token/lookup-self", _) => Reply::Json(200, told_of(FILE_TOKEN, "oidc-dev1")),
        _ => no(403, "permission denied"),
    });
    let home = home();
    let stay = Stay::start(&home, &server, &[], &[]);
    stay.wait_for("DRIFT: ", 1);
    home.put(SECOND);
    let lines = stay.wait_for("DRIFT: ", 2);
    assert!(lines[1].contains("oidc-dev2"), "{lines:?}");
    // The first one once more is news, too: it was gone.
    home.put(FILE_TOKEN);
    stay.wait_for("DRIFT: ", 3);
    stay.stop();
}

#[test]
fn what_is_no_token_is_told_whatever_was_in_the_file_before() {
    let server = Scripted::start(|request, _| healthy(request));
    let home = Sandbox::new();
    let stay = Stay::start(&home, &server, &[], &[]);
    let mut told = stay.wait_for("FAIL: ", 1);
    for contents in ["{\"token\": 5}", "VAULT_TOKEN=s.0123456789", "", "s.0123456789 s.0123456789"] {
        support::sandbox::land(&home.token_file(), contents);
        let count = told.len() + 1;
        told = stay.wait_for("FAIL: ", count);
    }
    assert_eq!(server.requests().len(), 0);
    stay.stop();
}

#[test]
fn that_a_token_which_nothing_helps_has_ended_is_told_when_it_ends() {
    let start = Instant::now();
    let server = Scripted::start(move |request, _| {
        let left = 7_u64.saturating_sub(start.elapsed().as_secs());
        let mut told: Value = serde_json::from_str(&told_of(FILE_TOKEN, OUR_NAME)).unwrap();
        told["data"]["ttl"] = left.into();
        match request.call() {
            "auth/token/lookup-self" if left > 0 => Reply::Json(200, told.to_string()),
            "auth/token/renew-self" if left > 0 => no(400, "lease is not renewable"),
            _ => no(403, "permission denied"),
        }
    });
    let home = home();
    let stay = Stay::start(&home, &server, &[], &["--listen", "127.0.0.1:0"]);
    let lines = stay.wait_for("FAIL: ", 1);
    assert!(lines[0].contains("nothing more is tried until the token file changes, or for 8 s"), "{lines:?}");
    let address = place(&stay);
    let lines = stay.wait_for("FAIL: ", 2);
    assert!(start.elapsed() < Duration::from_secs(12), "{:?}", start.elapsed());
    assert!(lines[1].starts_with("FAIL: token "), "{lines:?}");
    wait_until("the metrics say so", || {
        figure(&get(address, "/metrics").body, "vault_token_expiry_timestamp_seconds") == 0
    });
    stay.stop();
}

#[test]
fn a_watch_that_does_nothing_is_no_schedule() {
    let server = server();
    let home = Sandbox::holding(&server.mint_as_root(with(ours(), "period", "10h")).token);
    let period = [("VTR_PERIOD", "10h")];
    let stay = Stay::start(&home, &server, &period, &[]);
    stay.next_run();
    stay.signal(Signal::STOP);
    let seat = |next_run: Value, since: Value| {
        let seat = json!({ "pid": stay.pid(), "next_run": next_run, "at_work_since": since }).to_string();
        home.write(".vault-token.watch", seat);
    };
    // It was stopped for longer than a run may come late, or take.
    for (next_run, since) in [(json!(now() - 100), Value::Null), (Value::Null, json!(now() - 2_000))] {
        seat(next_run, since);
        let status = home.run_with(&period, &server, &["status", "--json"]).expect(1).object();
        let problems: Vec<_> = status["problems"].as_array().unwrap().iter().map(|it| &it["id"]).collect();
        assert!(problems.contains(&&json!("watch_overdue")), "{status}");
        assert_eq!(status["watch"]["overdue"], true, "{status}");
        let short = "WARN: the token expires in 10 h; will the next run come in time?";
        assert_eq!(home.run_with(&period, &server, &[]).expect(0).complaints(), [short], "nobody knows");
    }
    stay.signal(Signal::CONT);
    stay.stop();
}

#[test]
fn without_a_state_directory_the_counters_add_up_and_each_warning_comes_once() {
    let (server, home) = (granting(PERIOD), home());
    let file = home.write("no-directory", "");
    let log = home.path().join("watch.log");
    let variables = [("XDG_STATE_HOME", file.as_str()), ("VTR_LOG_FILE", log.to_str().unwrap())];
    let stay = Stay::start(&home, &server, &variables, &["--listen", "127.0.0.1:0"]);
    let started = || fs::read_to_string(&log).unwrap_or_default();
    wait_until("it has started", || started().contains("listening on http://"));
    let place = started();
    let place = place.lines().next().unwrap().rsplit("http://").next().unwrap().parse().unwrap();
    let renewals = "vault_token_renewals_total{profile=\"default\",user=\"wizard\",result=\"success\"}";
    for count in 1..=3 {
        wait_until("it is counted", || figure(&get(place, "/metrics").body, renewals) == count);
        stay.signal(Signal::HUP);
    }
    assert_eq!(started().matches("WARN: ").count(), 1, "{}", started());
    drop(stay);
}

#[test]
fn two_that_keep_their_state_in_different_places_see_each_other() {
    let (server, home) = (granting(PERIOD), home());
    let stay = Stay::start(&home, &server, &[], &[]);
    stay.wait_for(OK, 1);
    let elsewhere = home.path().join("elsewhere");
    let variables = [("XDG_STATE_HOME", elsewhere.to_str().unwrap())];
    let run = home.run_with(&variables, &server, &["watch"]).expect(1);
    let word = format!("FAIL: watch: another watch (process {}) already keeps ~/.vault-token", stay.pid());
    assert_eq!(run.complaint(), word);
    let status = home.run_with(&variables, &server, &["status", "--json"]).object();
    assert_eq!(status["watch"]["pid"], stay.pid(), "{status}");
    stay.stop();
    assert_eq!(home.names(), [".local", ".vault-token", "elsewhere"], "it takes its lock with it");
}

#[test]
fn what_an_earlier_process_was_granted_counts_in_an_outage() {
    let home = home();
    {
        let server = granting(PERIOD);
        // A write in the very second of a run could be one after it.
        thread::sleep(Duration::from_millis(1_100));
        home.run(&server, &[]).expect(0);
    }
    let health = |home: &Sandbox| {
        let stay = Stay::start(home, NOWHERE, &[("VTR_RETRY_FOR", "0s")], &["--listen", "127.0.0.1:0"]);
        let address = place(&stay);
        wait_until("a verdict", || get(address, "/health").json()["outcome"] == "failed");
        let health = get(address, "/health");
        drop(stay);
        fs::remove_file(home.path().join(support::sandbox::LOG)).unwrap();
        health
    };
    let known = health(&home);
    assert_eq!((known.status, &known.json()["reason"]), (200, &json!("unreachable")), "{known:?}");
    assert!(known.json()["ttl"].as_u64() > Some(PERIOD - 60), "{known:?}");
    // Whatever landed since was granted nothing.
    home.put("s.a-login-since-0123456789");
    assert_eq!(health(&home).status, 503);
}

#[test]
fn a_lease_that_is_shorter_than_the_shortest_pause_is_renewed_and_told() {
    let server = Scripted::start(|request, _| match request.call() {
        "auth/token/renew-self" => granted(request, 4),
        _ => healthy(request),
    });
    let home = home();
    let stay = Stay::start(&home, &server, &[], &[]);
    let lines = stay.wait_for("FAIL: ", 1);
    assert!(
        lines[0].contains("rotate the token before its TTL expires; renewing it again in 5 s"),
        "{lines:?}"
    );
    wait_until("it is renewed all the same", || server.count("auth/token/renew-self") == 3);
    assert_eq!(stay.lines("FAIL: ").len(), 1, "{}", home.log());
    let run = stay.stop();
    assert!(!run.stderr.contains("timer"), "{run:?}");
}

// --- what it keeps to itself

/// How often a text is in the memory of a process.
fn copies(pid: u32, needle: &str) -> usize {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let memory = File::open(format!("/proc/{pid}/mem")).unwrap();
    let mut count = 0;
    for map in maps.lines().filter(|map| map.split(' ').nth(1).unwrap().starts_with("rw")) {
        let (from, to) = map.split(' ').next().unwrap().split_once('-').unwrap();
        let (from, to) = (u64::from_str_radix(from, 16).unwrap(), u64::from_str_radix(to, 16).unwrap());
        let mut part = vec![0; usize::try_from(to - from).unwrap()];
        memory.read_exact_at(&mut part, from).unwrap();
        count += part.windows(needle.len()).filter(|window| *window == needle.as_bytes()).count();
    }
    count
}

#[test]
fn an_idle_watch_holds_no_copy_of_the_token_in_its_memory() {
    const NAME: &str = "an_idle_watch_holds_no_copy_of_the_token_in_its_memory";
    if !rustix::process::geteuid().is_root() {
        // Nobody else may look at a process that lets nobody look; in a name space everybody is root.
        let mut command = Command::new("/usr/bin/unshare");
        command.args(["--user", "--map-root-user"]).arg(env::current_exe().unwrap());
        let status = command.args(["--exact", NAME]).status().expect("unshare (apt-get install util-linux)");
        assert!(status.success());
        return;
    }
    let server = server();
    let home = Sandbox::holding(&server.mint_ours().token);
    let stay = Stay::start(&home, &server, &[], &[]);
    stay.wait_for(OK, 1);
    home.put(&server.admin_login().token);
    stay.wait_for("HEALED: ", 1);
    stay.signal(Signal::HUP);
    stay.wait_for(OK, 2);
    thread::sleep(Duration::from_millis(300));
    // Without its kind, as something might keep it.
    let token = home.token();
    let secret = token.trim_start_matches("hvs.").trim_start_matches("s.");
    assert_eq!(copies(stay.pid(), secret), 0, "copies of the token");
    assert!(copies(stay.pid(), home.path().to_str().unwrap()) > 0, "this finds what is there");
    stay.stop();
}
