//! A round of `follow`, with every request broken in every way, killed at every system call, and with a disk that says
//! no. Whatever happens, the file holds the old value or the new one, whole, with its mode; and the next round is
//! right.

#![cfg(test)]

mod support;

use std::fs;
use std::process::Output;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;
use support::kv::{QUICK, World};
use support::sandbox::{LOG, file_in, land};
use support::scripted::{Reply, Scripted};
use support::stay::{get, place};
use support::strace::{Call, Strace, Trace};
use support::wait_until;

const OLD: &str = "the-old-value-0123456789-0123456789";
const NEW: &str = "the-new-value-0123456789-0123456789";

/// What a server, or something in front of it, answers instead of what it should.
fn faults() -> Vec<(&'static str, Reply)> {
    let status = |status: u16| Reply::Json(status, json!({ "errors": ["1 error occurred: no"] }).to_string());
    let html = |status: u16| {
        let header = vec![("Content-Type".to_owned(), "text/html".to_owned())];
        Reply::Full(status, header, "<html>log in</html>".to_owned())
    };
    let ok = |body: &str| Reply::Json(200, body.to_owned());
    let redirect = vec![("Location".to_owned(), "/v1/secret/data/agent/token".to_owned())];
    let half = "HTTP/1.1 200 OK\r\nContent-Length: 400\r\n\r\n{\"data\":{\"data\":{\"token\":\"the-n";
    vec![
        ("reset", Reply::Reset),
        ("close", Reply::Close),
        ("silence", Reply::Hang),
        ("half a body", Reply::Raw(half.into())),
        ("drip", Reply::Drip(half.into(), Duration::from_millis(200))),
        ("400", status(400)),
        ("403", status(403)),
        ("404", status(404)),
        ("404 without a word", Reply::Json(404, "{\"errors\":[]}".to_owned())),
        ("405", status(405)),
        ("412", status(412)),
        ("429", status(429)),
        ("500", status(500)),
        ("503", status(503)),
        ("a page of a gateway", html(502)),
        ("a page instead of an answer", html(200)),
        ("204", Reply::Full(204, Vec::new(), String::new())),
        ("nothing", ok("")),
        ("null", ok("null")),
        ("no data", ok("{}")),
        ("wrong types", ok("{\"data\":5}")),
        (
            "wrong types deeper",
            ok("{\"data\":{\"data\":{\"token\":{\"x\":1}},\"metadata\":{\"version\":\"x\"}}}"),
        ),
        ("no version", ok("{\"data\":{\"data\":{\"token\":\"forged\"},\"metadata\":{}}}")),
        ("an empty value", ok("{\"data\":{\"data\":{\"token\":\"\"},\"metadata\":{\"version\":3}}}")),
        ("deeply nested", ok(&format!("{}{}", "[".repeat(100_000), "]".repeat(100_000)))),
        ("megabytes", ok(&format!("{{\"data\":{{\"x\":\"{}\"}}}}", "x".repeat(5 << 20)))),
        ("a redirect to itself", Reply::Full(307, redirect, String::new())),
    ]
}

/// What has to be true after anything.
#[track_caller]
fn check_whole(world: &World, what: &str) {
    let held = world.held();
    assert!(held == OLD || held == NEW, "{what}: {} bytes", held.len());
    assert_eq!(world.home.mode("agent-token"), 0o640, "{what}");
}

/// The next round, with nothing in its way.
#[track_caller]
fn check_next(world: &World, what: &str) {
    world.once(&["--mode", "0640"]).expect(0);
    assert_eq!(world.held(), NEW, "{what}");
    assert_eq!(world.home.mode("agent-token"), 0o640, "{what}");
    let names = world.home.names();
    assert!(
        !names.iter().any(|name| name.contains(".renew-") || name.contains(".follow")),
        "{what}: {names:?}"
    );
}

/// The old value is in the file, and the new one on the server.
fn begin(world: &World) {
    land(&world.out(), OLD);
    fs::set_permissions(world.out(), std::os::unix::fs::PermissionsExt::from_mode(0o640)).unwrap();
}

fn world() -> World {
    let world = World::new();
    world.home.guard(OLD);
    world.put(NEW);
    world
}

#[test]
fn every_request_broken_in_every_way_leaves_the_file_whole() {
    let mut cases = Vec::new();
    for request in ["internal/ui/mounts", "data/agent/token"] {
        cases.extend(faults().into_iter().map(|(name, reply)| (request, name, reply)));
    }
    let count = cases.len();
    let cases = Mutex::new(cases);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let world = world();
                loop {
                    let Some((request, name, reply)) = cases.lock().unwrap().pop() else { return };
                    let what = format!("{name} in answer to {request}");
                    begin(&world);
                    let is_it = move |path: &str| {
                        path.contains(request)
                            && (request != "data/agent/token" || !path.contains("internal"))
                    };
                    let answer = reply.clone();
                    let front = Scripted::in_front_of(&world.server, move |request, _| {
                        is_it(&request.path).then(|| answer.clone())
                    });
                    let arguments = world.arguments();
                    let mut arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
                    arguments.extend(["--once", "--mode", "0640", "--interval", "2s", "--detailed-exitcode"]);
                    let start = Instant::now();
                    let run = world.home.run(front.address(), &arguments);
                    assert!(start.elapsed() < Duration::from_secs(8), "{what}: {:?}", start.elapsed());
                    assert!(run.status == 1 || run.status == 75, "{what}: {run:?}");
                    assert!(
                        run.complaint().starts_with("FAIL: Failed to fetch token from Vault: "),
                        "{what}: {run:?}"
                    );
                    assert_eq!(world.held(), OLD, "{what}");
                    check_whole(&world, &what);
                    check_next(&world, &what);
                }
            });
        }
    });
    support::count(&format!("{count} broken answers to a round of follow"));
}

#[test]
fn a_fault_that_lasts_for_rounds_keeps_the_value_is_told_by_health_and_ends_with_the_next_round() {
    let cases = Mutex::new(faults());
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let world = World::new();
                world.home.guard(OLD);
                loop {
                    let Some((name, reply)) = cases.lock().unwrap().pop() else { return };
                    lasts(&world, name, reply);
                }
            });
        }
    });
}

/// One that goes on for three beats while the value on the server is another one already.
fn lasts(world: &World, name: &str, reply: Reply) {
    world.put(OLD);
    let is_broken = Arc::new(AtomicBool::new(false));
    let broken = Arc::clone(&is_broken);
    let front = Scripted::in_front_of(&world.server, move |request, _| {
        let is_secret = request.path.contains("data/agent/token") && !request.path.contains("internal");
        (is_secret && broken.load(Ordering::SeqCst)).then(|| reply.clone())
    });
    let arguments = [&QUICK[..], &["--mode", "0640", "--listen", "127.0.0.1:0"]].concat();
    let _ = fs::remove_file(world.home.path().join(LOG));
    let stay = world.start_at(front.address(), &[], &arguments);
    let address = place(&stay);
    // What an earlier process left in the file is a value, too, until the first round is over.
    wait_until("it is well", || get(address, "/health").json()["last_refresh_ok"] == true);
    assert_eq!(world.held(), OLD, "{name}");
    is_broken.store(true, Ordering::SeqCst);
    world.put(NEW);
    wait_until(&format!("{name}: three beats are over"), || get(address, "/health").status == 503);
    let page = get(address, "/health").json();
    assert_eq!(
        (&page["last_refresh_ok"], &page["status"]),
        (&json!(false), &json!("failed")),
        "{name}: {page}"
    );
    assert_eq!(world.held(), OLD, "{name}");
    check_whole(world, name);
    assert!(!stay.lines("FAIL: ").is_empty(), "{name}: {}", world.home.log());
    is_broken.store(false, Ordering::SeqCst);
    wait_until(&format!("{name}: it is over"), || get(address, "/health").json()["last_refresh_ok"] == true);
    assert_eq!(world.held(), NEW, "{name}");
    check_whole(world, name);
    stay.stop();
}

/// The calls that leave a trace outside the program's own memory, or wait for one.
const TELLING: [&str; 12] = [
    "openat", "read", "write", "close", "fsync", "renameat", "unlink", "unlinkat", "flock", "connect",
    "sendto", "fchmod",
];

/// The audit of a rotation.
const AUDIT: &str = "audit.log";

/// One round under strace, with an audit.
fn under_strace(world: &World, injections: &[String]) -> (Output, Trace) {
    let strace = Strace::new();
    let mut command = strace.command(&world.home, world.server.address(), injections);
    let audit = world.home.path().join(AUDIT);
    command.args(world.arguments()).args(["--once", "--mode", "0640", "--audit-log"]).arg(audit);
    (command.output().expect("strace runs"), strace.trace())
}

/// The first world of a rotation: nothing of an earlier one is remembered.
fn begin_anew(world: &World) {
    begin(world);
    for name in [AUDIT, LOG] {
        let _ = fs::remove_file(world.home.path().join(name));
    }
    let state = world.home.path().join(".local/state/vault-token-renew");
    if let Some(ledger) = file_in(&state, "json") {
        fs::remove_file(ledger).unwrap();
    }
}

/// What a rotation owes is there: its line, and its line of the audit.
#[track_caller]
fn check_told(world: &World, what: &str) {
    let read = |name: &str| fs::read_to_string(world.home.path().join(name)).unwrap_or_default();
    assert!(read(LOG).contains("Token rotated: ~/agent-token holds version 1 of "), "{what}: {}", read(LOG));
    assert!(read(AUDIT).contains("event=token_rotated mount=\"secret\""), "{what}: {}", read(AUDIT));
}

#[test]
fn killed_at_any_system_call_of_a_rotation_the_file_is_whole_and_the_rotation_is_told() {
    let world = world();
    begin_anew(&world);
    let (output, trace) = under_strace(&world, &[]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(world.held(), NEW);
    check_told(&world, "undisturbed");
    let points: Vec<_> = trace.calls.iter().filter(|call| TELLING.contains(&call.name.as_str())).collect();
    let step = if support::is_thorough() { 1 } else { 5 };
    let mut count = 0;
    for call in points.iter().step_by(step).chain(points.iter().filter(|call| {
        // Around the replacement itself none is left out.
        call.touches("agent-token") || call.name == "renameat" || call.name == "fsync"
    })) {
        let what = format!("killed at {} number {}", call.name, call.nth);
        begin_anew(&world);
        let (output, _) = under_strace(&world, &[format!("{}:signal=KILL:when={}", call.name, call.nth)]);
        assert!(!output.status.success(), "{what}");
        check_whole(&world, &what);
        let (output, _) = under_strace(&world, &[]);
        assert!(output.status.success(), "{what}: {output:?}");
        check_told(&world, &what);
        check_next(&world, &what);
        count += 1;
    }
    assert!(count > 20, "{count}");
    support::count(&format!("{count} kills of a rotation"));
}

#[test]
fn a_disk_that_says_no_leaves_the_file_whole_and_is_told() {
    let world = world();
    begin_anew(&world);
    let (_, trace) = under_strace(&world, &[]);
    let of_file = |name: &str| {
        let is_it = |call: &&Call| call.name == name && call.text.contains("agent-token.renew-");
        trace.calls.iter().find(is_it).or_else(|| {
            trace.calls.iter().find(|call| call.name == name && call.file.contains("agent-token.renew-"))
        })
    };
    for (call, error, says) in [
        ("fsync", "EIO", "cannot be written: "),
        ("fsync", "ENOSPC", "no space left on device"),
        ("renameat", "EROFS", "read-only file system"),
        ("fchmod", "EPERM", "operation not permitted"),
    ] {
        begin_anew(&world);
        let nth = of_file(call).unwrap_or_else(|| panic!("no {call} of it")).nth;
        let (output, _) = under_strace(&world, &[format!("{call}:error={error}:when={nth}")]);
        let line = String::from_utf8_lossy(&output.stderr).trim_end().to_owned();
        assert_eq!(output.status.code(), Some(1), "{call} {error}: {output:?}");
        assert!(
            line.contains("FAIL: ~/agent-token cannot be written: ") && line.contains(says),
            "{call} {error}: {line}"
        );
        assert!(line.ends_with("; ~/agent-token keeps what it holds"), "{line}");
        assert_eq!(world.held(), OLD, "{call} {error}");
        assert!(!world.home.path().join(AUDIT).exists(), "nothing was rotated");
        check_whole(&world, call);
        let (output, _) = under_strace(&world, &[]);
        assert!(output.status.success(), "{call} {error}: {output:?}");
        check_told(&world, call);
        check_next(&world, call);
    }
}

#[test]
fn a_ledger_that_cannot_be_written_is_told_and_holds_nothing_up() {
    let world = world();
    begin(&world);
    world.home.write(".local/state/vault-token-renew", "no directory");
    let run = world.once(&["--mode", "0640"]).expect(0);
    assert_eq!(world.held(), NEW);
    let warned = "WARN: ~/.local/state/vault-token-renew: the state cannot be ";
    assert!(run.complaints().iter().any(|line| line.starts_with(warned)), "{run:?}");
    assert!(run.said().contains("Token rotated"), "{run:?}");
}
