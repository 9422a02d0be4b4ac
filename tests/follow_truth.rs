//! The verb `follow`: that what it says of its file is true at every moment, and that one process knows what the one
//! before it did. The real program, and a real OpenBao; scripted servers for what a real one cannot be made to answer.

#![cfg(test)]

mod support;

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};
use support::kv::{QUICK, World, telling};
use support::sandbox::{LOG, PROGRAM, land};
use support::scripted::{Reply, Scripted};
use support::stay::{Stay, get, place};
use support::wait_until;

/// A beat that does not come in time: what is seen meanwhile was noticed.
const SLOW: [&str; 4] = ["--interval", "1h", "--jitter", "0s"];

fn health(address: SocketAddr) -> (u16, Value) {
    let page = get(address, "/health");
    (page.status, page.json())
}

/// A server that can be switched off.
fn switched(world: &World) -> (Scripted, Arc<AtomicBool>) {
    let is_down = Arc::new(AtomicBool::new(false));
    let down = Arc::clone(&is_down);
    let front = Scripted::in_front_of(&world.server, move |_, _| {
        down.load(Ordering::SeqCst)
            .then(|| Reply::Json(503, json!({ "errors": ["Vault is sealed"] }).to_string()))
    });
    (front, is_down)
}

// --- the file, whatever becomes of it

#[test]
fn a_file_that_vanishes_in_an_outage_is_put_back_and_health_knows_it_meanwhile() {
    const VALUE: &str = "kept-in-an-outage-0123456789";
    let world = World::new();
    world.put(VALUE);
    let (front, is_down) = switched(&world);
    let arguments = [&SLOW[..], &["--listen", "127.0.0.1:0"]].concat();
    let stay = world.start_at(front.address(), &[("VTR_RETRY_FOR", "0s")], &arguments);
    stay.wait_for("Token fetched", 1);
    let address = place(&stay);
    wait_until("it is well", || health(address).0 == 200);
    is_down.store(true, Ordering::SeqCst);
    let change: [(&str, &dyn Fn()); 4] = [
        ("removed", &|| fs::remove_file(world.out()).unwrap()),
        ("emptied", &|| drop(fs::File::create(world.out()).unwrap())),
        ("replaced", &|| land(&world.out(), "something else")),
        ("written over", &|| drop(world.home.write("agent-token", VALUE.to_uppercase()))),
    ];
    for (count, (what, change)) in change.into_iter().enumerate() {
        change();
        let (status, page) = health(address);
        assert_eq!((status, &page["status"]), (503, &json!("failed")), "{what}: the moment it happens");
        assert_eq!((&page["version"], &page["token_age_seconds"]), (&Value::Null, &Value::Null), "{what}");
        wait_until(&format!("{what}: it is put back"), || world.held() == VALUE);
        assert_eq!(world.home.mode("agent-token"), 0o600, "{what}");
        wait_until(&format!("{what}: it is there, and the server is silent"), || {
            let (status, page) = health(address);
            (status, &page["status"]) == (200, &json!("degraded"))
        });
        let told = "WARN: somebody had changed ~/agent-token; it holds version 1 of secret/agent/token again";
        stay.wait_for(told, count + 1);
    }
    let failed = stay.lines("FAIL: Failed to fetch token from Vault: ");
    assert!(failed[0].ends_with("; ~/agent-token holds what it did before"), "{failed:?}");
    stay.stop();
}

#[test]
fn a_touch_changes_nothing_that_is_said() {
    let world = World::new();
    world.put("touched-and-the-same-0123456789");
    let stay = world.start(&[], &[&SLOW[..], &["--listen", "127.0.0.1:0"]].concat());
    stay.wait_for("Token fetched", 1);
    let address = place(&stay);
    let inode = fs::metadata(world.out()).unwrap().ino();
    let touch = |how: &str| {
        assert!(Command::new("touch").args(["-d", how]).arg(world.out()).status().unwrap().success());
    };
    touch("yesterday");
    wait_until("it was looked at", || health(address).0 == 200);
    assert_eq!(fs::metadata(world.out()).unwrap().ino(), inode);
    assert_eq!(stay.lines("WARN: "), [""; 0]);
    assert_eq!(stay.lines("Token "), stay.lines("Token fetched"));
    stay.stop();
}

#[test]
fn a_file_that_cannot_be_put_back_is_not_called_held() {
    let world = World::new();
    world.put("cannot-be-put-back-0123456789");
    let (front, is_down) = switched(&world);
    let folder = world.home.path().join("folder");
    fs::create_dir(&folder).unwrap();
    let out = folder.join("token");
    let manager = UnixDatagram::bind(world.home.path().join("notify")).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let told = || {
        let mut buffer = [0; 4096];
        let length = manager.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    };
    let notify = world.home.path().join("notify");
    let variables = [("VTR_RETRY_FOR", "0s"), ("NOTIFY_SOCKET", notify.to_str().unwrap())];
    let arguments = ["--out", out.to_str().unwrap(), "--listen", "127.0.0.1:0"];
    let arguments =
        [&["follow", "--mount", "secret", "--path", "agent/token"], &QUICK[..], &arguments].concat();
    let start = || Stay::start_of(&world.home, PROGRAM, &arguments, front.address(), &variables);
    let stay = start();
    stay.wait_for("Token fetched", 1);
    assert!(told().starts_with("READY=1\n"));
    is_down.store(true, Ordering::SeqCst);
    fs::remove_dir_all(&folder).unwrap();
    let address = place(&stay);
    assert_eq!(health(address).0, 503);
    // A directory in its place.
    wait_until("it is told", || {
        let lines = stay.lines("FAIL: Failed to fetch token from Vault: ");
        lines.iter().any(|line| {
            line.ends_with(
                "; ~/folder/token holds nothing yet, and cannot be written: no such file or directory",
            )
        })
    });
    assert_eq!(health(address).0, 503);
    wait_until("the manager knows", || {
        told().contains("STATUS=the file does not hold what it should, not fetched (unreachable), next at ")
    });
    fs::create_dir(&folder).unwrap();
    wait_until("it is there again", || out.exists() && health(address).0 == 200);
    stay.stop();
    fs::remove_file(world.home.path().join(LOG)).unwrap();
    // A process that begins without the file has nothing to put there, and is not ready.
    fs::remove_file(&out).unwrap();
    let stay = start();
    let lines = stay.wait_for("FAIL: Failed to fetch token from Vault: ", 1);
    assert!(lines[0].ends_with("; ~/folder/token holds nothing yet"), "{lines:?}");
    let ready = (0..3).map(|_| told()).any(|told| told.contains("READY=1"));
    assert!(!ready, "nothing is held");
    // What somebody puts there by hand meanwhile is the current value.
    land(&out, "put-there-by-hand-0123456789");
    wait_until("it is ready", || told().contains("READY=1"));
    assert_eq!(health(place(&stay)).0, 200);
    is_down.store(false, Ordering::SeqCst);
    stay.wait_for("Token rotated", 1);
    stay.stop();
}

#[test]
fn a_file_that_cannot_be_replaced_keeps_its_value_and_is_held_until_that_is_too_old() {
    const VALUE: &str = "the-value-before-0123456789";
    let world = World::new();
    world.put(VALUE);
    // Room for its own name, and for none beside it.
    let out = world.home.path().join("x".repeat(250));
    land(&out, VALUE);
    let arguments = ["--mount", "secret", "--path", "agent/token", "--out", out.to_str().unwrap()];
    let arguments = [&["follow"], &arguments[..], &QUICK, &["--listen", "127.0.0.1:0"]].concat();
    let stay = Stay::start_of(&world.home, PROGRAM, &arguments, world.server.address(), &[]);
    stay.wait_for("OK unchanged", 1);
    let address = place(&stay);
    world.put("the-value-after-it-0123456789");
    let lines = stay.wait_for("FAIL: ", 1);
    assert!(lines[0].contains(" cannot be written: file name too long; "), "{lines:?}");
    assert!(lines[0].ends_with(" keeps what it holds"), "{lines:?}");
    let (status, page) = health(address);
    assert_eq!((status, &page["status"], &page["version"]), (200, &json!("degraded"), &json!(1)));
    wait_until("it is too old", || health(address).0 == 503);
    assert_eq!(fs::read_to_string(&out).unwrap(), VALUE);
    stay.stop();
}

#[test]
fn white_space_around_the_first_value_is_no_rotation() {
    let world = World::new();
    world.put("with-a-line-feed-0123456789");
    let audit = world.home.path().join("audit.log");
    let audit = ["--detailed-exitcode", "--audit-log", audit.to_str().unwrap()];
    land(&world.out(), "with-a-line-feed-0123456789\n");
    let run = world.once(&audit).expect(10);
    let line = "Token fetched: ~/agent-token holds version 1 of secret/agent/token now; white space around it has \
                changed";
    assert_eq!(run.said(), line);
    assert_eq!(world.held(), "with-a-line-feed-0123456789");
    assert!(!world.home.path().join("audit.log").exists());
    // Later it is another value, since a signature with it is.
    world.put("with-a-line-feed-0123456789\n");
    let run = world.once(&audit).expect(10);
    assert!(run.said().starts_with("Token rotated: "), "{run:?}");
}

#[test]
fn a_token_file_that_others_can_read_is_told() {
    let world = World::new();
    world.put("asked-with-a-loose-token-0123456789");
    world.home.chmod(0o644);
    let run = world.once(&[]).expect(0);
    let line = "WARN: ~/.vault-token had mode 0644, so other users could read the token; it should be 0600";
    assert_eq!(run.complaint(), line);
}

#[test]
fn it_asks_with_the_token_that_is_in_the_file_at_that_moment() {
    let world = World::new();
    world.put("asked-with-the-first-token-0123456789");
    let stay = world.start(&[], &QUICK);
    stay.wait_for("Token fetched", 1);
    let first = world.home.token();
    let second = world.server.mint(world.server.root_token(), json!({ "policies": ["agent"] })).token;
    fs::remove_file(world.home.token_file()).unwrap();
    let lines = stay.wait_for("FAIL: Failed to fetch token from Vault: no token to ask with: ", 1);
    assert!(lines[0].ends_with("no such file; ~/agent-token keeps what it holds"), "{lines:?}");
    land(&world.home.token_file(), &second);
    world.server.as_root("POST", "auth/token/revoke", Some(json!({ "token": first })));
    world.put("asked-with-the-second-token-0123456789");
    stay.wait_for("Token rotated", 1);
    assert_eq!(world.held(), "asked-with-the-second-token-0123456789");
    stay.stop();
}

#[test]
fn before_the_first_try_health_says_that_there_was_none() {
    let world = World::new();
    let server = Scripted::start(|_, _| Reply::Hang);
    let arguments = [&SLOW[..], &["--listen", "127.0.0.1:0"]].concat();
    for (held, expected) in [("", (503, "failed")), ("left-by-an-earlier-one-0123456789", (200, "degraded"))]
    {
        land(&world.out(), held);
        let asked = server.requests().len();
        let stay = world.start_at(server.address(), &[], &arguments);
        wait_until("it asks", || server.requests().len() > asked);
        let (status, page) = health(place(&stay));
        assert_eq!((status, page["status"].as_str()), (expected.0, Some(expected.1)), "{held}");
        assert_eq!([&page["last_refresh_ok"], &page["last_refresh_age_seconds"]], [&Value::Null; 2]);
        assert_eq!(page["token_age_seconds"].is_null(), held.is_empty(), "{page}");
        stay.stop();
        fs::remove_file(world.home.path().join(LOG)).unwrap();
    }
}

// --- from one process to the next

#[test]
fn a_server_that_was_restored_is_believed_by_the_third_of_three_processes() {
    let world = World::new();
    let version = Arc::new(AtomicUsize::new(5));
    let server = telling(&version);
    let once = || world.once_at(server.address(), &["--detailed-exitcode"]);
    once().expect(10);
    version.store(4, Ordering::SeqCst);
    for _ in 0..2 {
        let run = once().expect(75);
        assert!(run.complaint().contains("an answer that is out of date: version 4 of "), "{run:?}");
        assert_eq!(world.held(), "value-5");
    }
    let run = once().expect(10);
    assert!(run.complaint().contains("was it restored from a backup? event=token_rotated"), "{run:?}");
    assert_eq!(world.held(), "value-4");
    once().expect(0);
}

#[test]
fn what_becomes_of_the_file_costs_no_memory_of_the_versions() {
    let world = World::new();
    let version = Arc::new(AtomicUsize::new(5));
    let server = telling(&version);
    let once = || world.once_at(server.address(), &["--detailed-exitcode"]);
    once().expect(10);
    let changes: [(&str, &dyn Fn()); 3] = [
        ("touched", &|| drop(world.home.write("agent-token", "value-5"))),
        ("changed", &|| land(&world.out(), "something else")),
        ("removed", &|| fs::remove_file(world.out()).unwrap()),
    ];
    for (what, change) in changes {
        change();
        version.store(4, Ordering::SeqCst);
        let run = once().expect(75);
        assert!(run.complaint().contains("version 5 of "), "{what}: {run:?}");
        version.store(5, Ordering::SeqCst);
        let run = world.once_at(server.address(), &[]).expect(0);
        assert_eq!(world.held(), "value-5", "{what}: {run:?}");
    }
    // Another secret in the same file is not judged by the versions of this one.
    version.store(3, Ordering::SeqCst);
    let other = ["follow", "--once", "--mount", "secret", "--path", "other", "--out"];
    let out = world.out();
    world.home.run(server.address(), &[&other[..], &[out.to_str().unwrap()]].concat()).expect(0);
    assert_eq!(world.held(), "value-3");
}

#[test]
fn a_standby_that_shows_what_was_there_before_a_new_beginning_is_not_believed() {
    let world = World::new();
    for value in ["one-0123456789", "two-0123456789", "three-0123456789"] {
        world.put(value);
    }
    let path = "secret/data/agent/token";
    let before = world.server.as_root("GET", path, None).json.to_string();
    let is_behind = Arc::new(AtomicBool::new(false));
    let behind = Arc::clone(&is_behind);
    let front = Scripted::in_front_of(&world.server, move |request, _| {
        let is_secret = request.path.contains("data/agent/token") && !request.path.contains("internal");
        (is_secret && behind.load(Ordering::SeqCst)).then(|| Reply::Json(200, before.clone()))
    });
    let stay = world.start_at(front.address(), &[], &QUICK);
    stay.wait_for("Token fetched: ~/agent-token holds version 3", 1);
    world.server.as_root("DELETE", "secret/metadata/agent/token", None);
    world.put("a-new-beginning-0123456789");
    stay.wait_for("Token rotated: ~/agent-token holds version 1", 1);
    is_behind.store(true, Ordering::SeqCst);
    let lines = stay.wait_for("FAIL: Failed to fetch token from Vault: an answer that is out of date", 1);
    assert!(lines[0].contains("version 3 of") && lines[0].contains("and version 1 of"), "{lines:?}");
    assert_eq!(world.held(), "a-new-beginning-0123456789");
    is_behind.store(false, Ordering::SeqCst);
    stay.wait_for("OK unchanged", 1);
    stay.stop();
}

#[test]
fn a_hook_that_was_cut_off_is_run_by_the_next_process() {
    let world = World::new();
    world.put("its-hook-was-cut-off-0123456789");
    let told = world.home.path().join("told");
    let hook = format!("echo $VTR_VERSION >> {}", told.display());
    let hook = [("VTR_DEPLOY_HOOK", hook.as_str())];
    let arguments = world.arguments();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).chain(["--once"]).collect();
    for signal in [Signal::TERM, Signal::KILL] {
        fs::remove_file(&told).ok();
        fs::remove_file(world.out()).ok();
        // It has an output of its own: that of a process that was killed ends with its last child.
        let stay = world.start(&[("VTR_DEPLOY_HOOK", "sleep 10 > /dev/null 2>&1")], &QUICK);
        stay.wait_for("Token fetched", 1);
        wait_until("the hook runs", || has_child(stay.pid()));
        stay.signal(signal);
        stay.wait();
        fs::remove_file(world.home.path().join(LOG)).unwrap();
        // Nothing is to be replaced by now, and the hook is still owed; once, and not again.
        for _ in 0..2 {
            world.home.run_with(&hook, &world.server, &arguments).expect(0);
            assert_eq!(fs::read_to_string(&told).unwrap(), "1\n", "{signal:?}");
        }
        assert_eq!(world.home.logged().iter().filter(|line| line.starts_with("Token ")).count(), 0);
    }
}

#[test]
fn a_hook_that_ends_its_own_process_does_not_go_on_for_ever() {
    let world = World::new();
    world.put("its-hook-ends-everything-0123456789");
    let begun = world.home.path().join("begun");
    let hook = format!("echo x >> {}; kill -TERM $PPID; sleep 5", begun.display());
    let arguments = world.arguments();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).chain(["--once"]).collect();
    let run = || world.home.run_with(&[("VTR_DEPLOY_HOOK", &hook)], &world.server, &arguments);
    for count in 1..=3 {
        assert!(run().stderr.contains("the deploy hook was killed"), "{count}");
    }
    let warned = "WARN: the deploy hook was cut off 3 times, and is not run again; does it end this process?";
    assert_eq!(run().expect(0).complaint(), warned);
    run().expect(0).stderr.is_empty().then_some(()).expect("nothing is left");
    assert_eq!(fs::read_to_string(&begun).unwrap().lines().count(), 3);
}

/// Whether any thread of the process has a child.
fn has_child(pid: u32) -> bool {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    tasks.flatten().any(|task| {
        fs::read_to_string(task.path().join("children")).is_ok_and(|text| !text.trim().is_empty())
    })
}

#[test]
fn an_audit_that_cannot_be_written_is_written_when_it_can() {
    let world = World::new();
    world.put("before-the-audit-0123456789");
    let folder = world.home.path().join("audit");
    world.home.write("audit", "no directory");
    let audit = folder.join("log");
    let stay = world.start(&[], &[&QUICK[..], &["--audit-log", audit.to_str().unwrap()]].concat());
    stay.wait_for("Token fetched", 1);
    for number in 2..4 {
        world.put(&format!("rotated-{number}-0123456789"));
        stay.wait_for("Token rotated", number - 1);
    }
    assert_eq!(stay.lines("WARN: the log file ~/audit/log cannot be written").len(), 1);
    fs::remove_file(&folder).unwrap();
    let read = || fs::read_to_string(&audit).unwrap_or_default();
    wait_until("it is written", || read().lines().count() == 2);
    assert!(read().lines().next().unwrap().contains("old_version=1 new_version=2"), "{}", read());
    stay.stop();
    assert_eq!(read().lines().count(), 2, "each once");
}

#[test]
fn two_that_follow_into_one_file_find_each_other_whatever_was_there_at_their_start() {
    let world = World::new();
    world.put("for-one-of-them-0123456789");
    let folder = world.home.path().join("folder");
    let out = folder.join("token");
    let arguments = ["follow", "--mount", "secret", "--path", "agent/token", "--out", out.to_str().unwrap()];
    let arguments = [&arguments[..], &QUICK].concat();
    let address = world.server.address();
    let start = || Stay::start_of(&world.home, PROGRAM, &arguments, address, &[]);
    let (mut one, mut other) = (start(), start());
    one.wait_for("WARN: cannot lock a file beside ", 2);
    fs::create_dir(&folder).unwrap();
    wait_until("one has gone", || one.has_ended() || other.has_ended());
    let (left, gone) = if one.has_ended() { (other, one) } else { (one, other) };
    let refusal = format!("FAIL: follow: another follow (process {}) already keeps", left.pid());
    assert!(gone.wait().expect(1).complaints().iter().any(|line| line.starts_with(&refusal)));
    wait_until("it is fetched", || out.exists());
    // Whoever tidies up takes its lock file away; it is there again before long, and is its own.
    let seat = folder.join(".token.follow");
    fs::remove_file(&seat).unwrap();
    wait_until("it sits again", || seat.exists());
    let second = start();
    assert!(second.wait().expect(1).complaints().iter().any(|line| line.starts_with(&refusal)));
    left.stop();
    assert!(!seat.exists());
}
