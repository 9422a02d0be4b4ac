//! A run that is told to stop ends at once and in order, whatever it waits for, and says so in one line; the next run
//! finds nothing broken.

#![cfg(test)]
#![expect(clippy::disallowed_methods, reason = "tests read and write files as they like")]

mod support;

use std::fs::File;
use std::net::TcpListener;
use std::process::Child;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use support::hang::{UNKNOWN, dripping, is_called, silent, with_a_deaf_resolver};
use support::sandbox::{PROGRAM, Run, Sandbox, unstamped};
use support::scripted::{Reply, Request, Scripted};
use support::vault_mock::{NEW_TOKEN, healing};
use support::{FILE_TOKEN, OUR_NAME, healthy, renewal, told_of, wait_until};

/// People call this at once.
const AT_ONCE: Duration = Duration::from_millis(500);

/// Patience of a run that is stopped long before.
const PATIENT: [(&str, &str); 2] = [("VTR_RETRY_FOR", "50s"), ("VAULT_CLIENT_TIMEOUT", "50s")];

const SIGNALS: [(Signal, &str); 3] =
    [(Signal::TERM, "SIGTERM"), (Signal::INT, "SIGINT"), (Signal::HUP, "SIGHUP")];

/// A home with a token, from which that one and the one that may be minted must not get out.
fn home() -> Sandbox {
    let home = Sandbox::holding(FILE_TOKEN);
    home.guard(NEW_TOKEN);
    home
}

/// Starts a run, stops it once it waits, and checks how it ended and what it left. What else its line says.
#[track_caller]
fn stopped(
    home: &Sandbox,
    child: Child,
    (signal, name): (Signal, &str),
    waits: impl FnMut() -> bool,
) -> (Run, String) {
    wait_until("it waits", waits);
    let pid = Pid::from_raw(child.id().try_into().unwrap()).unwrap();
    let before = home.token();
    let start = Instant::now();
    kill_process(pid, signal).unwrap();
    let run = home.wait(child);
    let took = start.elapsed();
    assert!(took < AT_ONCE, "{name}: {took:?} {run:?}");
    assert_eq!(run.status, 1, "{name}: {run:?}");
    let begin = format!("FAIL: stopped by {name}; ");
    let lines: Vec<&str> =
        run.stderr.lines().map(unstamped_or_whole).filter(|line| line.starts_with(&begin)).collect();
    assert_eq!(lines.len(), 1, "{run:?}");
    let logged = home.logged();
    let logged: Vec<&String> = logged.iter().filter(|line| line.starts_with(&begin)).collect();
    assert_eq!(logged, lines, "{run:?}");
    assert!(!run.all().contains("DRIFT") && !run.all().contains("dead"), "{run:?}");
    assert_eq!(home.token(), before, "the file is whole");
    assert_eq!(home.mode(".vault-token"), 0o600);
    for entry in home.snapshot().keys() {
        assert!(!entry.contains(".renew-"), "{entry} is left behind");
    }
    let rest = lines[0][begin.len()..].to_owned();
    (run, rest)
}

fn unstamped_or_whole(line: &str) -> &str {
    if line.starts_with("20") { unstamped(line) } else { line }
}

/// After that, a run against a server that is well finds nothing broken.
#[track_caller]
fn check_clean(home: &Sandbox) {
    let server = Scripted::start(|request, _| healthy(request));
    let run = home.run(&server, &[]).expect(0);
    assert_eq!(run.stderr, "", "{run:?}");
}

#[test]
fn a_run_ends_at_once_while_an_answer_hangs_or_drips() {
    for signal in SIGNALS {
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
                let child = home.start(&server, &PATIENT);
                let (_, rest) = stopped(&home, child, signal, || server.count(call) == 1);
                assert!(rest.ends_with(": told to stop"), "{rest}");
                check_clean(&home);
            }
        }
    }
}

#[test]
fn a_mint_that_was_cut_off_is_told_and_swept() {
    let server = Scripted::start(|request, _| match request.call() {
        "auth/token/create" => Reply::Hang,
        _ => healing(request),
    });
    let home = home();
    let child = home.start(&server, &PATIENT);
    let (run, rest) = stopped(&home, child, SIGNALS[0], || server.count("auth/token/create") == 1);
    assert!(rest.contains("the server may have minted a token we never received"), "{run:?}");
    assert_eq!(home.state()["sweep_due"], true);
    assert_eq!(server.count("auth/token/create"), 1);
}

#[test]
fn what_was_minted_when_the_stop_came_is_revoked() {
    let server = Scripted::start(|request, _| match request.call() {
        "auth/token/lookup-self" if request.header("x-vault-token") == Some(NEW_TOKEN) => Reply::Hang,
        _ => healing(request),
    });
    let home = home();
    let child = home.start(&server, &PATIENT);
    let minted_is_looked_up = || server.count("auth/token/lookup-self") == 2;
    let (run, _) = stopped(&home, child, SIGNALS[0], minted_is_looked_up);
    assert_eq!(server.count("auth/token/revoke-self"), 1, "{run:?}");
    assert_eq!(home.token(), FILE_TOKEN);
}

#[test]
fn a_run_ends_at_once_while_a_connection_does_not_come_about() {
    let (address, _listener, _held) = silent();
    for signal in SIGNALS {
        let home = home();
        let child = home.start(&format!("http://{address}"), &PATIENT);
        let (_, rest) = stopped(&home, child, signal, || is_called(address));
        assert!(rest.ends_with(": told to stop"), "{rest}");
        check_clean(&home);
    }
}

#[test]
fn a_connection_that_does_not_come_about_ends_with_its_time() {
    let (address, _listener, _held) = silent();
    let (home, start) = (home(), Instant::now());
    let patience = [("VAULT_CLIENT_TIMEOUT", "1s"), ("VTR_RETRY_FOR", "0s")];
    let run = home.run_with(&patience, &format!("http://{address}"), &[]).expect(1);
    assert!(run.complaint().ends_with(": connection timed out"), "{run:?}");
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    // A request may take a minute; a connection may not.
    let patience = [("VAULT_CLIENT_TIMEOUT", "50s"), ("VTR_RETRY_FOR", "0s")];
    let start = Instant::now();
    let run = home.run_with(&patience, &format!("http://{address}"), &[]).expect(1);
    assert!(run.complaint().ends_with(": connection timed out"), "{run:?}");
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
}

#[test]
fn a_run_ends_at_once_while_a_greeting_is_not_answered() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let greeted = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&greeted);
    thread::spawn(move || {
        let mut held = Vec::new();
        for stream in listener.incoming().flatten() {
            held.push(stream);
            seen.store(true, Ordering::SeqCst);
        }
    });
    let home = home();
    for signal in SIGNALS {
        greeted.store(false, Ordering::SeqCst);
        let child = home.start(&format!("https://{address}"), &PATIENT);
        stopped(&home, child, signal, || greeted.load(Ordering::SeqCst));
        std::fs::remove_dir_all(home.path().join(".local")).unwrap();
    }
    check_clean(&home);
}

#[test]
fn a_run_ends_at_once_while_a_name_does_not_resolve() {
    let home = home();
    let (starter, arguments, path) = with_a_deaf_resolver(&home);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let child = home.start_of(starter, &arguments, UNKNOWN, &[&PATIENT[..], &[path]].concat());
    // Then it takes a moment until the question is asked.
    let asks = || home.path().join("listens").exists() && home.path().join(".local").exists();
    wait_until("it asks", asks);
    thread::sleep(Duration::from_millis(700));
    let (run, rest) = stopped(&home, child, SIGNALS[0], || true);
    assert!(rest.ends_with(": told to stop"), "{run:?}");
    check_clean(&home);
}

#[test]
fn a_run_ends_at_once_in_the_pause_before_another_attempt() {
    for signal in SIGNALS {
        let wait = || vec![("Retry-After".to_owned(), "30".to_owned())];
        let server =
            Scripted::start(move |_, _| Reply::Full(429, wait(), r#"{"errors":["slow down"]}"#.to_owned()));
        let home = home();
        let child = home.start(&server, &PATIENT);
        let (_, rest) = stopped(&home, child, signal, || server.requests().len() == 1);
        assert!(rest.contains("slow down") || rest.contains("told to stop"), "{rest}");
        check_clean(&home);
    }
}

#[test]
fn a_run_ends_at_once_while_it_waits_for_another() {
    let server = Scripted::start(|request, _| healthy(request));
    let home = home();
    home.run(&server, &[]).expect(0);
    let held = File::open(home.lock_file()).unwrap();
    held.lock().unwrap();
    for signal in SIGNALS {
        let child = home.start(&server, &PATIENT);
        let waits = Instant::now();
        let (_, rest) = stopped(&home, child, signal, || waits.elapsed() > Duration::from_millis(600));
        assert_eq!(rest, "it waited for another run");
        std::fs::write(home.path().join(support::sandbox::LOG), "").unwrap();
    }
    held.unlock().unwrap();
    check_clean(&home);
}

#[test]
fn a_run_ends_at_once_while_its_hook_runs() {
    let server = Scripted::start(|request, _| healing(request));
    for (signal, name) in SIGNALS {
        let home = home();
        let began = home.path().join("began");
        let hook = format!("touch {}; exec sleep 50", began.display());
        let child = home.start(&server, &[&PATIENT[..], &[("VTR_DEPLOY_HOOK", &hook)]].concat());
        wait_until("the hook runs", || began.exists());
        let start = Instant::now();
        kill_process(Pid::from_raw(child.id().try_into().unwrap()).unwrap(), signal).unwrap();
        let run = home.wait(child);
        assert!(start.elapsed() < AT_ONCE, "{name}: {:?} {run:?}", start.elapsed());
        // The heal stands, and the hook is what was stopped.
        assert_eq!((run.status, home.token().as_str()), (0, NEW_TOKEN), "{run:?}");
        assert!(
            run.stderr.contains("the deploy hook was killed, because this run was told to stop"),
            "{run:?}"
        );
        assert!(run.stdout.contains(" HEALED: "), "{run:?}");
    }
}

#[test]
fn a_hook_that_a_stop_prevented_is_run_by_the_next_run() {
    let is_listing = |request: &Request| request.call().starts_with("auth/token/accessors");
    let server = Scripted::start(move |request, number| {
        let slow = is_listing(request) && number < 20;
        if slow { Reply::Hang } else { healing(request) }
    });
    let home = home();
    let ran = home.path().join("ran");
    let hook = format!("echo >> {}", ran.display());
    let variables = [&PATIENT[..], &[("VTR_DEPLOY_HOOK", &hook)]].concat();
    let child = home.start(&server, &variables);
    wait_until("it sweeps", || server.requests().iter().any(is_listing));
    kill_process(Pid::from_raw(child.id().try_into().unwrap()).unwrap(), Signal::TERM).unwrap();
    let run = home.wait(child);
    assert!(
        run.stderr.contains("the deploy hook is left to the next run, because this one was told to stop"),
        "{run:?}"
    );
    assert!(run.stdout.contains(" HEALED: ") && !ran.exists(), "{run:?}");
    let renewing = Scripted::start(|request, _| match request.call() {
        "auth/token/lookup-self" => Reply::Json(200, told_of(NEW_TOKEN, OUR_NAME)),
        "auth/token/renew-self" => Reply::Json(200, renewal(request)),
        _ => healing(request),
    });
    home.run_with(&[("VTR_DEPLOY_HOOK", &hook)], &renewing, &[]).expect(0);
    assert!(ran.exists(), "what is owed is run");
}

#[test]
fn a_program_that_reads_json_is_told_of_a_stop_too() {
    let server = Scripted::start(|_, _| Reply::Hang);
    let home = home();
    let child = home.start_of(PROGRAM, &["--json", "--detailed-exitcode"], server.address(), &PATIENT);
    let (run, _) = stopped(&home, child, SIGNALS[0], || server.requests().len() == 1);
    let object: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!((&object["outcome"], &object["reason"]), (&json!("failed"), &json!("stopped")), "{object}");
}

#[test]
fn the_verb_sweep_says_that_it_was_stopped() {
    let server = Scripted::start(|request, _| match request.call() {
        call if call.starts_with("auth/token/accessors") => {
            let keys = json!(["stale", "slow", "accessor-of-token-devvm-wizard"]);
            Reply::Json(200, json!({ "data": { "keys": keys } }).to_string())
        }
        "auth/token/lookup-accessor" if request.body.contains("slow") => Reply::Hang,
        "auth/token/lookup-accessor" if request.body.contains("stale") => {
            Reply::Json(200, told_of("x", OUR_NAME).replace("accessor-of-token-devvm-wizard", "stale"))
        }
        "auth/token/lookup-accessor" => Reply::Json(200, told_of("x", OUR_NAME)),
        "auth/token/revoke-accessor" => Reply::Json(204, String::new()),
        _ => healthy(request),
    });
    let home = home();
    let arguments = ["sweep", "--sweep-concurrency", "1"];
    let child = home.start_of(PROGRAM, &arguments, server.address(), &PATIENT);
    let hangs = || server.requests().iter().any(|request| request.body.contains("slow"));
    let (run, rest) = stopped(&home, child, SIGNALS[0], hangs);
    // A walk begins anywhere, so that the stale one may have had its turn or not.
    let revoked = server.count("auth/token/revoke-accessor");
    let said = format!("sweep: revoked {revoked} stale periodic token(s); accessor sweep cut short after ");
    assert!(rest.starts_with(&said) && rest.contains("told to stop"), "{run:?}");
    assert_eq!(home.state()["history"]["counters"]["swept"], revoked, "what was done counts");
}

#[test]
fn a_stop_takes_nothing_away_from_the_news_that_a_token_ends_before_the_next_run() {
    let home = home();
    let (timer, said) = (home.path().join("bin"), home.path().join("asked"));
    home.write("systemd/private", "");
    // The user manager is asked after the renewal; the stop comes before its answer.
    let script = format!(
        "#!/bin/sh\n: > {}\n/bin/sleep 0.3\n/bin/cat <<'SAID'\nLoadState=loaded\nActiveState=active\n\
         NextElapseUSecRealtime=Fri 9999-12-31 00:00:00 UTC\nSAID\n",
        said.display()
    );
    home.write("bin/systemctl", script);
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(timer.join("systemctl"), mode).unwrap();
    let server = Scripted::start(|request, _| healthy(request));
    let variables = [&PATIENT[..], &[("PATH", timer.to_str().unwrap())]].concat();
    let child = home.start(&server, &variables);
    wait_until("the user manager is asked", || said.exists());
    kill_process(Pid::from_raw(child.id().try_into().unwrap()).unwrap(), Signal::TERM).unwrap();
    let run = home.wait(child);
    assert_eq!(run.status, 1, "{run:?}");
    assert!(run.stderr.contains(" FAIL: renewed, but it ends in 32 d and the next run comes in "), "{run:?}");
}
