//! The verb `watch`: when it makes runs, what it says, how it ends. The real program as a child process, and a real
//! OpenBao where a server is needed that does what servers do.

#![cfg(test)]

mod support;

use std::fs::{self, File, FileTimes};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use rustix::process::Signal;
use serde_json::{Value, json};
use support::hang::{UNKNOWN, dripping, is_called, silent, with_a_deaf_resolver};
use support::sandbox::{PROGRAM, Sandbox};
use support::scripted::{Reply, Scripted};
use support::stay::{Holdings, Stay, get, get_at, granted, granting, no, place, socket, woken};
use support::vault_mock::{NEW_TOKEN, healing};
use support::{FILE_TOKEN, NOWHERE, OUR_NAME, PERIOD, healthy, now, ours, server, told_of, wait_until, with};

/// Long enough to see that something does not happen which would happen within three seconds.
const A_WHILE: Duration = Duration::from_secs(4);

/// What the line of a run begins with that did what it should.
const OK: &str = "OK renewed";

/// The order of a token of ours that lives so long without a renewal.
fn ours_for(period: &str) -> Value {
    with(ours(), "period", period)
}

/// What a server tells of our token that has so many seconds left.
fn told(ttl: u64) -> Reply {
    let mut told: Value = serde_json::from_str(&told_of(FILE_TOKEN, OUR_NAME)).unwrap();
    told["data"]["ttl"] = ttl.into();
    Reply::Json(200, told.to_string())
}

/// A home with our token in it.
fn home() -> Sandbox {
    let home = Sandbox::holding(FILE_TOKEN);
    home.guard(NEW_TOKEN);
    home
}

// --- when a run is made

#[test]
fn three_ticks_three_successes() {
    let server = server();
    let home = Sandbox::holding(&server.mint_as_root(ours_for("12s")).token);
    let start = Instant::now();
    let stay = Stay::start(&home, &server, &[("VTR_PERIOD", "12s")], &[]);
    let lines = stay.wait_for("OK renewed (dn=token-devvm-wizard ttl=12s)", 3);
    let took = start.elapsed().as_secs();
    assert!((10..15).contains(&took), "{took}: {lines:?}");
    let run = stay.stop();
    assert_eq!(run.stderr, "", "{run:?}");
    assert!(server.lookup(&home.token()).is_some());
    assert_eq!(home.state()["history"]["counters"]["renewed"], 3);
}

#[test]
fn the_lease_of_the_renewal_sets_the_beat_and_no_lookup_moves_it() {
    for (lease, ttl, longest) in [(3_600, 7, 1_710), (3_600, 9_000_000, 1_710), (60, 3_600, 29)] {
        let server = Scripted::start(move |request, _| match request.call() {
            "auth/token/lookup-self" => told(ttl),
            "auth/token/renew-self" => granted(request, lease),
            _ => healthy(request),
        });
        let (home, start) = (home(), now());
        let stay = Stay::start(&home, &server, &[], &[]);
        let next = stay.next_run() - start;
        assert!(next <= longest + 1 && next >= longest * 9 / 10 - 1, "{lease}, {ttl}: {next}");
        stay.stop();
    }
}

#[test]
fn the_longest_wait_is_a_day_or_what_the_settings_say() {
    let server = granting(PERIOD);
    for (arguments, longest) in [(&[][..], 86_400), (&["--max-interval", "10m"], 600), (&["-v"], 1_200)] {
        let (home, start) = (home(), now());
        if longest == 1_200 {
            home.write(CONFIG, "[watch]\nmax_interval = \"20m\"\n");
        }
        let stay = Stay::start(&home, &server, &[], arguments);
        let next = stay.next_run() - start;
        assert!(next <= longest && next >= longest * 9 / 10 - 1, "{arguments:?}: {next}");
        stay.stop();
    }
}

#[test]
fn a_login_is_healed_within_five_seconds() {
    let server = server();
    let home = Sandbox::holding(&server.mint_ours().token);
    let stay = Stay::start(&home, &server, &[], &[]);
    stay.wait_for(OK, 1);
    for login in 1..=2 {
        let start = Instant::now();
        home.put(&server.admin_login().token);
        let lines = stay.wait_for("HEALED: ", login);
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}: {lines:?}", start.elapsed());
        server.check_minted(&home);
    }
    // Its own writes, which look like changes, have started nothing.
    thread::sleep(A_WHILE);
    assert_eq!((stay.lines("HEALED: ").len(), stay.lines(OK).len()), (2, 1), "{}", home.log());
    stay.stop();
}

#[test]
fn a_touch_a_chmod_and_the_same_token_in_a_new_file_cause_no_run() {
    let server = granting(PERIOD);
    let home = home();
    let stay = Stay::start(&home, &server, &[], &[]);
    stay.wait_for(OK, 1);
    let asked = server.requests().len();
    let file = File::options().write(true).open(home.token_file()).unwrap();
    file.set_times(FileTimes::new().set_modified(SystemTime::UNIX_EPOCH)).unwrap();
    thread::sleep(Duration::from_millis(1_500));
    home.chmod(0o640);
    thread::sleep(Duration::from_millis(1_500));
    home.put(FILE_TOKEN);
    thread::sleep(A_WHILE);
    assert_eq!(server.requests().len(), asked, "{}", home.log());
    stay.stop();
}

#[test]
fn a_login_in_the_middle_of_a_run_causes_one_after_it() {
    const LOGIN: &str = "s.a-login-0123456789";
    let (reached, go_on) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (is_reached, may_go_on) = (Arc::clone(&reached), Arc::clone(&go_on));
    let server = Scripted::start(move |request, _| {
        if request.call() == "auth/token/renew-self" && !is_reached.swap(true, Ordering::SeqCst) {
            while !may_go_on.load(Ordering::SeqCst) {
                thread::sleep(Duration::from_millis(5));
            }
        }
        match (request.header("x-vault-token"), request.call()) {
            (Some(FILE_TOKEN), "auth/token/renew-self") => granted(request, PERIOD),
            (Some(FILE_TOKEN), _) => healthy(request),
            (Some(LOGIN), "auth/token/lookup-self") => Reply::Json(200, told_of(LOGIN, "oidc-wizard")),
            _ => healing(request),
        }
    });
    let home = home();
    let stay = Stay::start(&home, &server, &[], &[]);
    wait_until("it renews", || reached.load(Ordering::SeqCst));
    home.put(LOGIN);
    // Until the change was noticed, and nothing could be made of it.
    thread::sleep(Duration::from_millis(1_500));
    go_on.store(true, Ordering::SeqCst);
    stay.wait_for("HEALED: ", 1);
    assert_eq!(home.token(), NEW_TOKEN);
    stay.stop();
}

#[test]
fn a_missing_file_ends_no_watch() {
    let server = server();
    let home = Sandbox::new();
    let stay = Stay::start(&home, &server, &[], &[]);
    stay.wait_for("FAIL: token file: ~/.vault-token: no such file", 1);
    home.put(&server.admin_login().token);
    stay.wait_for("HEALED: ", 1);
    fs::remove_file(home.token_file()).unwrap();
    let lines = stay.wait_for("FAIL: token file: ~/.vault-token: no such file", 2);
    assert!(
        lines[1].contains("nothing more is tried until the token file changes, or for 5 min"),
        "{lines:?}"
    );
    home.put(&server.admin_login().token);
    stay.wait_for("HEALED: ", 2);
    server.check_minted(&home);
    stay.stop();
}

#[test]
fn a_hangup_means_now() {
    let server = granting(PERIOD);
    let home = home();
    let stay = Stay::start(&home, &server, &[], &[]);
    for count in 1..=4 {
        stay.wait_for(OK, count);
        stay.signal(Signal::HUP);
    }
    stay.wait_for(OK, 5);
    stay.stop();
}

#[test]
fn a_hangup_ends_what_was_started_from_a_terminal() {
    let server = granting(PERIOD);
    let home = home();
    // `script` gives it a terminal, and passes on what it says. Whoever runs the tests may have had the signal ignored.
    let command = format!("exec env --default-signal=HUP {PROGRAM} watch");
    let mut stay =
        Stay::start_of(&home, "/usr/bin/script", &["-qec", &command, "/dev/null"], server.address(), &[]);
    stay.wait_for(OK, 1);
    let pid = seat(&home)["pid"].as_i64().unwrap();
    let pid = rustix::process::Pid::from_raw(pid.try_into().unwrap()).unwrap();
    rustix::process::kill_process(pid, Signal::HUP).unwrap();
    wait_until("it has ended", || stay.has_ended());
    assert_eq!(home.logged().last().unwrap(), "watch: stopped by SIGHUP");
}

/// The configuration file, below the home.
const CONFIG: &str = ".config/vault-token-renew/config.toml";

/// What a watch notes for others.
fn seat(home: &Sandbox) -> Value {
    serde_json::from_slice(&fs::read(home.path().join(".vault-token.watch")).unwrap()).unwrap()
}

#[test]
fn each_run_resolves_its_settings_anew_and_keeps_the_last_good_ones() {
    let (first, second) = (granting(PERIOD), granting(PERIOD));
    let home = home();
    let settings = |address: &str| format!("address = \"{address}\"\n");
    home.write(CONFIG, settings(first.address()));
    let variables = [("VAULT_ADDR", "")];
    let stay = Stay::start(&home, "", &variables, &[]);
    stay.wait_for(OK, 1);
    assert_eq!(first.requests().len(), 2);
    home.write(CONFIG, settings(second.address()));
    stay.signal(Signal::HUP);
    stay.wait_for(OK, 2);
    assert_eq!((first.requests().len(), second.requests().len()), (2, 2));
    home.write(CONFIG, "adress = \"x\"\n");
    stay.signal(Signal::HUP);
    stay.wait_for(OK, 3);
    assert_eq!(second.requests().len(), 4, "the last good ones count");
    let warnings = stay.wait_for("WARN: the settings cannot be read, keeping the last good ones: ", 1);
    assert!(
        warnings[0].ends_with("config.toml:1:1: unknown key \"adress\"; did you mean \"address\"?"),
        "{warnings:?}"
    );
    home.write(CONFIG, settings(first.address()) + "token_file = \"~/another\"\n");
    stay.signal(Signal::HUP);
    stay.wait_for(OK, 4);
    let moved = "WARN: the settings name another token file (~/another) or state directory; keeping the ones before \
                 until watch is restarted";
    assert_eq!(stay.lines("WARN: ")[1..], [moved]);
    assert_eq!(second.requests().len(), 6);
    stay.stop();
}

#[test]
fn a_second_watch_of_the_same_file_ends_with_a_clear_word() {
    let server = granting(PERIOD);
    let home = home();
    let stay = Stay::start(&home, &server, &[], &[]);
    stay.wait_for(OK, 1);
    let word = format!("FAIL: watch: another watch (process {}) already keeps ~/.vault-token", stay.pid());
    for (arguments, status) in [(&["watch"][..], 1), (&["watch", "--detailed-exitcode"], 75)] {
        let run = home.run(&server, arguments).expect(status);
        assert_eq!(run.complaint(), word);
    }
    // By whatever name: the file is the same.
    std::os::unix::fs::symlink(".vault-token", home.path().join("another-name")).unwrap();
    home.run(&server, &["watch", "--token-file", "another-name"]).expect(1);
    // One run by hand is as welcome as ever, and another file has a watch of its own.
    home.run(&server, &[]).expect(0);
    let another = home.path().join("another");
    fs::copy(home.token_file(), &another).unwrap();
    let log = home.path().join("another.log");
    let arguments = ["--token-file", another.to_str().unwrap(), "--log-file", log.to_str().unwrap()];
    let other = Stay::start(&home, &server, &[], &arguments);
    wait_until("the other one has run", || fs::read_to_string(&log).unwrap_or_default().contains(OK));
    drop(other);
    // Whoever tidies up takes away the file by which they find each other; it is there again with the next run.
    let seat = home.path().join(".vault-token.watch");
    fs::remove_file(&seat).unwrap();
    stay.signal(Signal::HUP);
    wait_until("it sits again", || seat.exists());
    assert_eq!(home.run(&server, &["watch"]).expect(1).complaint(), word);
    stay.stop();
    // Whatever became of the one before, its place is free.
    let killed = Stay::start(&home, &server, &[], &[]);
    killed.wait_for(OK, 4);
    drop(killed);
    let next = Stay::start(&home, &server, &[], &[]);
    next.wait_for(OK, 5);
    next.stop();
}

#[test]
fn a_dry_run_of_a_watch_is_refused() {
    let run = home().run(NOWHERE, &["watch", "--dry-run"]).expect(2);
    assert!(run.stderr.contains("watch has no dry run"), "{run:?}");
}

// --- after a failure

#[test]
fn a_failure_then_a_success() {
    let failing = Arc::new(AtomicBool::new(true));
    let fails = Arc::clone(&failing);
    let server = Scripted::start(move |request, _| match request.call() {
        "auth/token/renew-self" if fails.load(Ordering::SeqCst) => {
            no(403, "1 error occurred:\n\t* permission denied\n\n")
        }
        "auth/token/renew-self" => granted(request, PERIOD),
        _ => healthy(request),
    });
    let home = home();
    let start = Instant::now();
    let stay = Stay::start(&home, &server, &[], &[]);
    let lines = stay.wait_for("FAIL: ", 1);
    for words in ["vault token renewal failed", "rotate the token before TTL expires", "trying again in 5 s"]
    {
        assert!(lines[0].contains(words), "{words:?}: {lines:?}");
    }
    wait_until("it has tried again", || server.count("auth/token/renew-self") == 2);
    assert!(start.elapsed() > Duration::from_secs(4));
    assert_eq!(stay.lines("FAIL: ").len(), 1, "the same again is told once an hour");
    wait_until("both are counted", || home.state()["history"]["counters"]["not_renewed"] == 2);
    failing.store(false, Ordering::SeqCst);
    stay.wait_for(OK, 1);
    // After a success, the same is news.
    failing.store(true, Ordering::SeqCst);
    stay.signal(Signal::HUP);
    stay.wait_for("FAIL: ", 2);
    stay.stop();
}

#[test]
fn a_renewal_whose_answer_does_not_parse_names_what_to_do() {
    let server = Scripted::start(|request, _| match request.call() {
        "auth/token/renew-self" => Reply::Json(200, "{\"auth\":".to_owned()),
        _ => healthy(request),
    });
    let home = home();
    let stay = Stay::start(&home, &server, &[], &[]);
    let lines = stay.wait_for("FAIL: ", 1);
    for words in ["renew-self", "vault token renewal failed", "rotate the token before TTL expires"] {
        assert!(lines[0].contains(words), "{words:?}: {lines:?}");
    }
    stay.stop();
}

#[test]
fn two_failures_in_a_row_do_not_cost_a_token_of_twenty_seconds() {
    let server = server();
    let token = server.mint_as_root(ours_for("20s")).token;
    let (hanging, hung) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let (hangs, count) = (Arc::clone(&hanging), Arc::clone(&hung));
    let front = Scripted::in_front_of(&server, move |_, _| {
        hangs.load(Ordering::SeqCst).then(|| {
            // Two runs get no answer, whatever they ask.
            if count.fetch_add(1, Ordering::SeqCst) == 1 {
                hangs.store(false, Ordering::SeqCst);
            }
            Reply::Hang
        })
    });
    let home = Sandbox::holding(&token);
    let stay = Stay::start(&home, &front, &[("VTR_PERIOD", "20s")], &[]);
    stay.wait_for(OK, 1);
    hanging.store(true, Ordering::SeqCst);
    stay.wait_for(OK, 2);
    assert_eq!(hung.load(Ordering::SeqCst), 2, "{}", home.log());
    assert_eq!(home.token(), token);
    assert!(server.lookup(&token).is_some(), "it lives");
    let run = stay.stop();
    assert!(
        run.stderr.contains("no answer in time; vault token renewal failed, trying again in 5 s"),
        "{run:?}"
    );
}

#[test]
fn a_lease_of_a_few_seconds_is_renewed_as_well_as_it_goes() {
    let server = server();
    let home = Sandbox::holding(&server.mint_as_root(ours_for("8s")).token);
    let stay = Stay::start(&home, &server, &[("VTR_PERIOD", "8s")], &[]);
    stay.wait_for(OK, 3);
    let warnings = stay.lines("WARN: ");
    let warning = "WARN: the token is renewed for 8s at a time: too short to survive a failed run; give it a longer \
         period";
    assert_eq!(warnings, [warning], "once, and not with each run");
    stay.stop();
}

// --- where only another token helps

/// A watch that has come to this line asks nothing more, until the file holds another token.
#[track_caller]
fn check_parked(server: &Scripted, home: &Sandbox, beginning: &str, says: &str) {
    let stay = Stay::start(home, server, &[], &[]);
    let lines = stay.wait_for(beginning, 1);
    assert!(lines[0].contains(says), "{lines:?}");
    let asked = server.requests().len();
    thread::sleep(Duration::from_secs(7));
    assert_eq!(server.requests().len(), asked, "{}", home.log());
    assert_eq!(stay.lines(beginning).len(), 1, "told once");
    // To ask for it is to have it tried.
    stay.signal(Signal::HUP);
    wait_until("it has tried again", || server.requests().len() > asked);
    stay.stop();
}

#[test]
fn stops_on_not_renewable() {
    let server = Scripted::start(|request, _| match request.call() {
        "auth/token/renew-self" => no(400, "lease is not renewable"),
        "auth/token/create" | "auth/token/create-orphan" => no(403, "permission denied"),
        _ => healthy(request),
    });
    check_parked(
        &server,
        &home(),
        "FAIL: ",
        "rotate the token before its TTL expires; nothing more is tried until",
    );
}

#[test]
fn a_weak_login_is_told_once_and_not_asked_about_again() {
    let server = Scripted::start(|request, _| match request.call() {
        "auth/token/lookup-self" => Reply::Json(200, told_of(FILE_TOKEN, "kubernetes-woodpecker-default")),
        _ => no(403, "permission denied"),
    });
    check_parked(
        &server,
        &home(),
        "DRIFT: ",
        "; nothing more is tried until the token file changes, or for 1 d",
    );
}

#[test]
fn a_dead_token_is_looked_at_again_after_five_minutes() {
    let server = Scripted::start(|_, _| no(403, "permission denied"));
    let home = home();
    let start = now();
    let stay = Stay::start(&home, &server, &[], &[]);
    stay.wait_for("FAIL: ", 1);
    let next = stay.next_run() - start;
    assert!((299..=302).contains(&next), "{next}");
    stay.stop();
    check_parked(&server, &Sandbox::holding(FILE_TOKEN), "FAIL: ", "; nothing more is tried until");
}

#[test]
fn a_token_that_may_be_renewed_up_to_its_end_is_renewed_up_to_its_end() {
    let server = server();
    let order = json!({
        "display_name": "devvm-wizard", "policies": ["vault-admin-ro"], "no_parent": true, "ttl": "12s",
    });
    let dying = with(with(order, "policies", json!(["reader", "sops-admin"])), "explicit_max_ttl", "40s");
    let home = Sandbox::holding(&server.mint_as_root(dying).token);
    let variables = [("VTR_POLICIES", "reader,sops-admin"), ("VTR_PERIOD", "40s")];
    let stay = Stay::start(&home, &server, &variables, &[]);
    let lines = stay.wait_for("FAIL: ", 1);
    assert!(
        lines[0].contains("; rotate the token before its TTL expires; renewing it again in 5 s"),
        "{lines:?}"
    );
    thread::sleep(Duration::from_secs(16));
    assert!(server.lookup(&home.token()).is_some(), "it would have ended after 12 s: {}", home.log());
    assert_eq!(stay.lines("FAIL: ").len(), 1, "{}", home.log());
    stay.stop();
}

#[test]
fn nothing_started_when_not_renewable() {
    let not_renewable = || {
        Scripted::start(|request, _| match request.call() {
            "auth/token/renew-self" => no(400, "lease is not renewable"),
            "auth/token/create" | "auth/token/create-orphan" => no(403, "permission denied"),
            _ => healthy(request),
        })
    };
    let dead = || Scripted::start(|_, _| no(403, "permission denied"));
    let weak = || {
        Scripted::start(|request, _| match request.call() {
            "auth/token/lookup-self" => Reply::Json(200, told_of(FILE_TOKEN, "oidc-x")),
            _ => no(403, "permission denied"),
        })
    };
    for (server, status) in [(not_renewable(), 5), (dead(), 4), (weak(), 3)] {
        let home = home();
        let run = home.run(&server, &["watch", "--exit-on-failure"]).expect(status);
        let last = run.complaints().pop().unwrap();
        assert!(last.ends_with("; watch ends, as exit_on_failure asks for"), "{run:?}");
        home.write("c.toml", "[watch]\nexit_on_failure = true\n");
        home.run(&server, &["watch", "--config", "c.toml"]).expect(status);
    }
    Sandbox::new().run(NOWHERE, &["watch", "--exit-on-failure"]).expect(4);
    // What may be over the next time is no reason to end.
    let home = home();
    let stay = Stay::start(&home, NOWHERE, &[("VTR_RETRY_FOR", "0s")], &["--exit-on-failure"]);
    stay.wait_for("FAIL: ", 1);
    thread::sleep(Duration::from_secs(1));
    stay.stop();
}

// --- how it ends

/// Stops a watch once it hangs; its run says so where it could still be heard.
#[track_caller]
fn check_stopped(home: &Sandbox, stay: Stay<'_>, waits: impl FnMut() -> bool) {
    wait_until("it hangs", waits);
    let before = home.token();
    stay.stop();
    let lines = home.logged();
    assert!(lines.iter().any(|line| line.starts_with("FAIL: stopped by SIGTERM; ")), "{lines:?}");
    assert!(!lines.iter().any(|line| line.contains("vault token renewal failed")), "{lines:?}");
    assert_eq!(home.token(), before, "the file is whole");
}

#[test]
fn cancelled_within_200_ms() {
    for reply in [Reply::Hang, dripping()] {
        for call in ["auth/token/lookup-self", "auth/token/renew-self"] {
            let reply = reply.clone();
            let server =
                Scripted::start(
                    move |request, _| {
                        if request.call() == call { reply.clone() } else { healthy(request) }
                    },
                );
            let home = home();
            let stay = Stay::start(&home, &server, &[], &[]);
            check_stopped(&home, stay, || server.count(call) == 1);
        }
    }
    // While it waits for its next run.
    let server = granting(PERIOD);
    for (signal, name) in [(Signal::TERM, "SIGTERM"), (Signal::INT, "SIGINT")] {
        let home = home();
        let stay = Stay::start(&home, &server, &[], &[]);
        stay.next_run();
        stay.stop_by(signal, name);
    }
}

#[test]
fn it_is_cancelled_while_a_greeting_is_not_answered() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("https://{}", listener.local_addr().unwrap());
    let home = home();
    let stay = Stay::start(&home, &address, &[], &[]);
    let (held, _) = listener.accept().unwrap();
    thread::sleep(Duration::from_millis(100));
    check_stopped(&home, stay, || true);
    drop(held);
}

#[test]
fn it_is_cancelled_while_a_connection_does_not_come_about() {
    let (address, _listener, _held) = silent();
    let home = home();
    let stay = Stay::start(&home, &format!("http://{address}"), &[], &[]);
    check_stopped(&home, stay, || is_called(address));
}

#[test]
fn it_is_cancelled_while_a_name_does_not_resolve() {
    let home = home();
    let (starter, mut arguments, path) = with_a_deaf_resolver(&home);
    arguments.push("watch".to_owned());
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let stay = Stay::start_of(&home, starter, &arguments, UNKNOWN, &[path]);
    stay.wait_for("watch: started", 1);
    // Then it takes a moment until the question is asked.
    thread::sleep(Duration::from_millis(700));
    check_stopped(&home, stay, || true);
}

#[test]
fn it_is_cancelled_while_it_waits_for_another_run() {
    let (server, home) = (granting(PERIOD), home());
    home.run(&server, &[]).expect(0);
    let held = File::open(home.lock_file()).unwrap();
    held.lock().unwrap();
    let stay = Stay::start(&home, &server, &[], &[]);
    stay.wait_for("WARN: another run is in progress", 1);
    check_stopped(&home, stay, || true);
}

#[test]
fn it_is_cancelled_in_the_pause_before_another_attempt() {
    let slow_down = || vec![("Retry-After".to_owned(), "20".to_owned())];
    let server =
        Scripted::start(move |_, _| Reply::Full(429, slow_down(), r#"{"errors":["slow down"]}"#.to_owned()));
    let home = home();
    let stay = Stay::start(&home, &server, &[], &[]);
    check_stopped(&home, stay, || server.requests().len() == 1);
}

#[test]
fn it_is_cancelled_while_its_hook_runs() {
    let server = Scripted::start(|request, _| healing(request));
    let home = home();
    let began = home.path().join("began");
    let hook = format!("env > {0}.new; mv {0}.new {0}; exec sleep 50", began.display());
    let secrets = [("NOTIFY_SOCKET", "/nowhere"), ("WATCHDOG_USEC", "9000000"), ("LISTEN_FDS", "1")];
    let variables = [&[("VTR_DEPLOY_HOOK", hook.as_str())], &secrets[..]].concat();
    let stay = Stay::start(&home, &server, &variables, &[]);
    wait_until("the hook runs", || began.exists());
    let run = stay.stop();
    assert_eq!(home.token(), NEW_TOKEN, "the heal stands");
    assert!(run.stderr.contains("the deploy hook was killed, because this run was told to stop"), "{run:?}");
    let inherited = fs::read_to_string(began).unwrap();
    for (name, _) in secrets {
        assert!(!inherited.contains(name), "{name} is none of the hook's business");
    }
}

#[test]
fn an_answer_that_is_on_its_way_is_heard_out() {
    let reached = Arc::new(AtomicBool::new(false));
    let is_reached = Arc::clone(&reached);
    let server = Scripted::start(move |request, _| {
        if request.call() == "auth/token/renew-self" {
            is_reached.store(true, Ordering::SeqCst);
            thread::sleep(Duration::from_millis(50));
            return granted(request, PERIOD);
        }
        healthy(request)
    });
    let home = home();
    let stay = Stay::start(&home, &server, &[], &[]);
    wait_until("it renews", || reached.load(Ordering::SeqCst));
    let run = stay.stop();
    assert!(run.stdout.contains(" OK renewed "), "{run:?}");
}

// --- time

/// A program under a wall clock that a file moves: seconds, with a sign. Other clocks are left alone.
fn under_a_clock<'a>(home: &'a Sandbox, server: &Scripted, arguments: &[&str]) -> Stay<'a> {
    // Debian has it in a directory for each architecture.
    let directories = fs::read_dir("/usr/lib").unwrap().map(|entry| entry.unwrap().path());
    let library = directories
        .map(|directory| directory.join("faketime/libfaketimeMT.so.1"))
        .find(|library| library.exists())
        .expect("libfaketime (apt-get install libfaketime)");
    let clock = home.write("clock", "+0");
    let variables = [
        ("LD_PRELOAD", library.to_str().unwrap()),
        ("FAKETIME_TIMESTAMP_FILE", &clock),
        ("FAKETIME_NO_CACHE", "1"),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
    ];
    Stay::start(home, server, &variables, arguments)
}

#[test]
fn a_wall_clock_that_jumps_ahead_makes_a_run_due() {
    let (server, home) = (granting(7_200), home());
    let stay = under_a_clock(&home, &server, &[]);
    stay.next_run();
    home.write("clock", "+3600");
    let start = Instant::now();
    stay.wait_for("OK renewed", 2);
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    drop(stay);
}

#[test]
fn a_wall_clock_that_is_set_back_delays_no_run() {
    let (server, home) = (granting(14), home());
    let stay = under_a_clock(&home, &server, &[]);
    stay.next_run();
    home.write("clock", "-3600");
    let start = Instant::now();
    wait_until("the next run", || server.count("auth/token/renew-self") == 2);
    let took = start.elapsed();
    assert!(took > Duration::from_secs(4) && took < Duration::from_secs(9), "{took:?}");
    drop(stay);
}

#[test]
fn a_process_that_was_stopped_and_goes_on_acts_at_once() {
    let (server, home) = (granting(14), home());
    let stay = Stay::start(&home, &server, &[], &[]);
    stay.next_run();
    stay.signal(Signal::STOP);
    thread::sleep(Duration::from_secs(9));
    assert_eq!(server.count("auth/token/renew-self"), 1);
    stay.signal(Signal::CONT);
    let start = Instant::now();
    wait_until("the next run", || server.count("auth/token/renew-self") == 2);
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    stay.stop();
}

// --- who asks how it stands

#[test]
fn health_is_good_while_a_token_of_ours_has_granted_time_left_and_not_a_second_longer() {
    let (failing, may_start) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (fails, starts) = (Arc::clone(&failing), Arc::clone(&may_start));
    let server = Scripted::start(move |request, _| {
        while !starts.load(Ordering::SeqCst) {
            thread::sleep(Duration::from_millis(5));
        }
        match request.call() {
            _ if fails.load(Ordering::SeqCst) => Reply::Hang,
            "auth/token/renew-self" => granted(request, 12),
            _ => healthy(request),
        }
    });
    let home = home();
    let stay = Stay::start(&home, &server, &[], &["--listen", "127.0.0.1:0"]);
    let address = place(&stay);
    let starting = get(address, "/health");
    assert_eq!((starting.status, &starting.json()["status"]), (503, &json!("starting")), "{starting:?}");
    may_start.store(true, Ordering::SeqCst);
    stay.wait_for(OK, 1);
    let granted_at = Instant::now();
    wait_until("it is healthy", || get(address, "/health").status == 200);
    let good = get(address, "/health").json();
    assert_eq!(
        (&good["status"], &good["outcome"], &good["reason"]),
        (&json!("healthy"), &json!("renewed"), &Value::Null)
    );
    assert!(good["ttl"].as_u64().is_some_and(|ttl| (9..=12).contains(&ttl)), "{good}");
    failing.store(true, Ordering::SeqCst);
    // However long a run takes that gets no answer.
    wait_until("a run hangs", || server.count("auth/token/lookup-self") == 2);
    assert_eq!(get(address, "/health").status, 200);
    wait_until("the time is over", || get(address, "/health").status == 503);
    let took = granted_at.elapsed();
    assert!(took > Duration::from_secs(10) && took < Duration::from_millis(13_500), "{took:?}");
    let bad = get(address, "/health").json();
    assert_eq!((&bad["status"], &bad["ttl"]), (&json!("failing"), &json!(0)), "{bad}");
    stay.stop();
}

#[test]
fn health_is_bad_as_soon_as_a_login_is_found_that_is_not_ours() {
    let server = server();
    let home = Sandbox::holding(&server.mint_ours().token);
    let listen = format!("unix:{}", socket(&home).display());
    let stay = Stay::start(&home, &server, &[], &["--listen", &listen]);
    wait_until("it is healthy", || socket(&home).exists() && get_at(&socket(&home), "/health").status == 200);
    home.put(&server.weak_login().token);
    stay.wait_for("DRIFT: ", 1);
    wait_until("it is not", || get_at(&socket(&home), "/health").status == 503);
    let health = get_at(&socket(&home), "/health").json();
    assert_eq!((&health["outcome"], &health["reason"]), (&json!("drift"), &json!("denied")), "{health}");
    home.put(&server.admin_login().token);
    wait_until("it is healthy again", || get_at(&socket(&home), "/health").status == 200);
    stay.stop();
    assert!(!socket(&home).exists(), "it takes its socket with it");
}

#[test]
fn metrics_are_those_of_the_file_and_when_the_next_run_comes() {
    let (server, home) = (granting(PERIOD), home());
    let file = home.path().join("vault.prom");
    let arguments = ["--listen", "127.0.0.1:0", "--metrics-file", file.to_str().unwrap()];
    let stay = Stay::start(&home, &server, &[], &arguments);
    let address = place(&stay);
    let next = stay.next_run();
    wait_until("the figures are those after the run", || {
        get(address, "/metrics").body.contains(&next.to_string())
    });
    let page = get(address, "/metrics");
    assert!(page.head.contains("Content-Type: text/plain; version=0.0.4; charset=utf-8"), "{page:?}");
    // What depends on the time is a few seconds older in the file.
    let names = |text: &str| -> Vec<String> {
        let series = text.lines().filter(|line| !line.starts_with('#'));
        series.map(|line| line.rsplit_once(' ').unwrap().0.to_owned()).collect()
    };
    let (shown, written) = (names(&page.body), names(&fs::read_to_string(&file).unwrap()));
    assert_eq!(shown[..shown.len() - 1], written);
    let labels = r#"{profile="default",user="wizard"}"#;
    assert_eq!(shown.last().unwrap(), &format!("vault_token_next_run_timestamp_seconds{labels}"));
    assert_eq!(get(address, "/").status, 404);
    stay.stop();
}

#[test]
fn a_place_that_is_taken_or_open_to_others_is_refused() {
    let (server, home) = (granting(PERIOD), home());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let run = home.run(&server, &["watch", "--listen", &address]).expect(1);
    assert!(run.complaint().starts_with("FAIL: watch: cannot listen"), "{run:?}");
    let run = home.run(&server, &["watch", "--listen", "0.0.0.0:0"]).expect(2);
    assert!(run.stderr.contains("--listen-unprotected"), "{run:?}");
    assert_eq!(server.requests().len(), 0);
}

#[test]
fn status_and_a_run_by_hand_know_when_a_watch_makes_its_next_run() {
    let server = server();
    let home = Sandbox::holding(&server.mint_as_root(ours_for("10h")).token);
    let period = [("VTR_PERIOD", "10h")];
    let short = "WARN: the token expires in 10 h; will the next run come in time?";
    assert_eq!(home.run_with(&period, &server, &[]).expect(0).complaints(), [short], "nobody knows");
    let stay = Stay::start(&home, &server, &period, &[]);
    let next = stay.next_run();
    home.run_with(&period, &server, &[]).expect(0).quiet();
    home.run_with(&period, &server, &["--dry-run"]).expect(0).quiet();
    let status = home.run_with(&period, &server, &["status", "--json"]).expect(0).object();
    assert_eq!(status["watch"]["pid"], stay.pid(), "{status}");
    let lines = home.run_with(&period, &server, &["status"]).expect(0).stdout;
    let row = format!("(watch, process {})", stay.pid());
    let row = lines.lines().find(|line| line.starts_with("next run") && line.ends_with(&row));
    assert!(row.is_some_and(|row| row.contains(", in 4 h ")), "{next}: {lines}");
    stay.stop();
    let status = home.run_with(&period, &server, &["status", "--json"]).object();
    assert_eq!(status["watch"], Value::Null);
}

// --- that it stays small

#[test]
fn hundreds_of_runs_leave_memory_descriptors_and_threads_flat() {
    let (first, runs) = (50, if support::is_thorough() { 10_000 } else { 400 });
    let renewals = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&renewals);
    let server = Scripted::start(move |request, _| match request.call() {
        "auth/token/renew-self" => {
            count.fetch_add(1, Ordering::SeqCst);
            granted(request, PERIOD)
        }
        _ => healthy(request),
    });
    let home = home();
    let stay = Stay::start(&home, &server, &[], &["--listen", "127.0.0.1:0"]);
    let address = place(&stay);
    let run_until = |number: usize| {
        while renewals.load(Ordering::SeqCst) < number {
            let before = renewals.load(Ordering::SeqCst);
            stay.signal(Signal::HUP);
            get(address, "/metrics");
            let start = Instant::now();
            while renewals.load(Ordering::SeqCst) == before {
                assert!(start.elapsed() < A_WHILE, "run {before} was the last: {:?}", home.logged().last());
                thread::sleep(Duration::from_millis(1));
            }
        }
        // What the last run opened is closed when it is over.
        wait_until("it is over", || seat(&home)["next_run"].is_u64());
        thread::sleep(Duration::from_millis(50));
        Holdings::of(stay.pid())
    };
    let before = run_until(first);
    let after = run_until(runs);
    assert_eq!(
        (after.descriptors, after.threads),
        (before.descriptors, before.threads),
        "{before:?} {after:?}"
    );
    assert!(after.memory < before.memory + 1_024, "{before:?} {after:?}");
    support::count(&format!(
        "{runs} runs by SIGHUP: {} KiB after {first}, {} KiB after all",
        before.memory, after.memory
    ));
    stay.stop();
}

#[test]
fn whoever_does_not_read_what_it_says_holds_up_no_run() {
    let (server, home) = (granting(PERIOD), home());
    home.write(support::sandbox::LOG, "");
    let variables = [("VTR_LOG_FILE", "/dev/null")];
    let stay = Stay::start(&home, &server, &variables, &[]);
    // More than a pipe holds, and nobody reads it.
    for run in 1..1_200 {
        wait_until("it has run", || server.count("auth/token/renew-self") >= run);
        stay.signal(Signal::HUP);
    }
    let start = Instant::now();
    stay.signal(Signal::TERM);
    let run = stay.wait();
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    assert_eq!(run.status, 0);
    assert!(run.stdout.len() >= 60_000, "{}", run.stdout.len());
    let whole = |line: &&str| line.ends_with(" OK renewed (dn=token-devvm-wizard ttl=2764800s)");
    assert!(run.stdout.lines().skip(1).all(|line| whole(&line)), "a line is torn");
}

#[test]
fn nobody_is_woken_more_often_than_once_a_second_while_nothing_happens() {
    let (server, home) = (granting(PERIOD), home());
    let stay = Stay::start(&home, &server, &[], &["--listen", "127.0.0.1:0"]);
    stay.next_run();
    thread::sleep(Duration::from_millis(500));
    let before = woken(stay.pid());
    thread::sleep(Duration::from_secs(6));
    let times = woken(stay.pid()) - before;
    assert!((1..=8).contains(&times), "woken {times} times in 6 s");
    stay.stop();
}
