//! The verb `follow`: a file kept equal to a field of a KV secret. The real program as a child process, and a real
//! OpenBao; scripted servers for what a real one cannot be made to answer.

#![cfg(test)]

mod support;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustix::process::Signal;
use serde_json::{Value, json};
use support::kv::{QUICK, World, telling};
use support::sandbox::{LOG, PROGRAM, land};
use support::scripted::{Reply, Scripted};
use support::stay::{Holdings, Page, Stay, get, place, post, woken};
use support::{NOWHERE, now, wait_until};

/// A figure of a page of metrics.
#[track_caller]
fn figure(page: &Page, series: &str) -> u64 {
    let (name, result) = series.split_once('=').unwrap_or((series, ""));
    let fits = |line: &&str| {
        line.starts_with(&format!("{name}{{"))
            && (result.is_empty() || line.contains(&format!("result=\"{result}\"")))
    };
    let line = page.body.lines().find(fits).unwrap_or_else(|| panic!("{series}: {page:?}"));
    line.rsplit(' ').next().unwrap().parse().unwrap_or_else(|error| panic!("{error}: {line}"))
}

fn health(address: std::net::SocketAddr) -> (u16, Value) {
    let page = get(address, "/health");
    (page.status, page.json())
}

// --- rotation

#[test]
fn a_rotation_is_seen_by_the_next_beat_and_told_without_the_value() {
    let world = World::new();
    world.put("the-first-value-0123456789");
    let audit = world.home.path().join("audit.log");
    let hook = format!("echo \"$VTR_EVENT $VTR_FILE $VTR_VERSION\" >> {}/told", world.home.path().display());
    let arguments = ["--listen", "127.0.0.1:0", "--mode", "0640", "--audit-log", audit.to_str().unwrap()];
    let variables = [("VTR_DEPLOY_HOOK", hook.as_str()), ("DEPLOYMENT_HASH", "a1b2")];
    let stay = world.start(&variables, &[&QUICK[..], &arguments].concat());
    stay.wait_for("Token fetched: ~/agent-token holds version 1 of secret/agent/token now", 1);
    assert_eq!(world.held(), "the-first-value-0123456789");
    assert_eq!(world.home.mode("agent-token"), 0o640);
    let inode = fs::metadata(world.out()).unwrap().ino();
    world.put("the-second-value-0123456789");
    let landed = Instant::now();
    let lines = stay.wait_for("Token rotated: ~/agent-token holds version 2 of secret/agent/token now", 1);
    assert!(landed.elapsed() < Duration::from_secs(3), "{:?}", landed.elapsed());
    let rotated = "event=token_rotated mount=\"secret\" path=\"agent/token\" deployment_hash=\"a1b2\" old_version=1 \
                   new_version=2";
    assert!(lines[0].contains(rotated) && lines[0].contains(" age_seconds="), "{lines:?}");
    assert_eq!(world.held(), "the-second-value-0123456789");
    assert_ne!(fs::metadata(world.out()).unwrap().ino(), inode, "a new file, whole");
    assert_eq!(world.home.mode("agent-token"), 0o640);
    let written = fs::read_to_string(&audit).unwrap();
    assert!(
        written.starts_with("time=") && written.contains(rotated) && written.lines().count() == 1,
        "{written}"
    );
    assert_eq!(world.home.mode("audit.log"), 0o600);
    let address = place(&stay);
    let (status, page) = health(address);
    assert_eq!((status, &page["status"], &page["version"]), (200, &json!("ok"), &json!(2)), "{page}");
    assert_eq!(page.as_object().unwrap().len(), 5, "{page}");
    let metrics = get(address, "/metrics");
    assert_eq!(figure(&metrics, "vault_token_rotations_total"), 1);
    assert!(figure(&metrics, "vault_token_refresh_total=ok") >= 2);
    let told = || fs::read_to_string(world.home.path().join("told")).unwrap_or_default();
    wait_until("the hook was told of both", || told().lines().count() == 2);
    assert_eq!(told().lines().last().unwrap(), format!("rotated {} 2", world.out().display()));
    // Beats that change nothing say nothing.
    let count = world.home.logged().len();
    thread::sleep(Duration::from_millis(2_500));
    assert_eq!(world.home.logged().len(), count, "{}", world.home.log());
    stay.stop();
}

#[test]
fn a_new_version_with_the_same_value_is_no_rotation_and_an_equal_first_fetch_writes_nothing() {
    let world = World::new();
    world.put("a-value-that-stays-0123456789");
    land(&world.out(), "a-value-that-stays-0123456789");
    let before = fs::metadata(world.out()).unwrap();
    let manager = UnixDatagram::bind(world.home.path().join("notify")).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let notify = world.home.path().join("notify");
    let variables = [("NOTIFY_SOCKET", notify.to_str().unwrap())];
    let stay = world.start(&variables, &[&QUICK[..], &["--listen", "127.0.0.1:0"]].concat());
    let mut buffer = [0; 4096];
    let length = manager.recv(&mut buffer).unwrap();
    let told = String::from_utf8_lossy(&buffer[..length]).into_owned();
    assert!(told.starts_with("READY=1\nSTATUS=version 1 held, fetched, next at "), "{told:?}");
    world.put("a-value-that-stays-0123456789");
    wait_until("the new version is known", || health(place(&stay)).1["version"] == 2);
    assert_eq!(figure(&get(place(&stay), "/metrics"), "vault_token_rotations_total"), 0);
    let after = fs::metadata(world.out()).unwrap();
    assert_eq!((after.ino(), after.mtime_nsec()), (before.ino(), before.mtime_nsec()), "nothing was written");
    assert_eq!(stay.lines("Token rotated"), [""; 0]);
    stay.stop();
}

#[test]
fn readiness_waits_for_a_value_and_says_why() {
    let world = World::new();
    let manager = UnixDatagram::bind(world.home.path().join("notify")).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let notify = world.home.path().join("notify");
    let variables = [("NOTIFY_SOCKET", notify.to_str().unwrap())];
    let stay = world.start(&variables, &[&QUICK[..], &["--listen", "127.0.0.1:0"]].concat());
    let told = || {
        let mut buffer = [0; 4096];
        let length = manager.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    };
    assert!(told().starts_with("STATUS=not fetched (missing), next at "));
    let (status, page) = health(place(&stay));
    assert_eq!((status, &page["status"], &page["last_refresh_ok"]), (503, &json!("failed"), &json!(false)));
    assert_eq!(page["token_age_seconds"], Value::Null);
    let never = "vault_token_last_refresh_age_seconds{profile=\"default\",user=\"wizard\"} +Inf";
    assert!(get(place(&stay), "/metrics").body.contains(never), "an alert has to see it");
    world.put("late-but-there-0123456789");
    wait_until("it is ready", || told().starts_with("READY=1\n"));
    assert_eq!(world.held(), "late-but-there-0123456789");
    stay.stop();
}

#[test]
fn who_changes_the_file_finds_it_put_back() {
    let world = World::new();
    world.put("the-true-value-0123456789");
    let stay = world.start(&[], &QUICK);
    stay.wait_for("Token fetched", 1);
    land(&world.out(), "something else");
    stay.wait_for(
        "WARN: somebody had changed ~/agent-token; it holds version 1 of secret/agent/token again",
        1,
    );
    assert_eq!(world.held(), "the-true-value-0123456789");
    fs::remove_file(world.out()).unwrap();
    wait_until("it is there again", || world.held() == "the-true-value-0123456789");
    stay.stop();
}

#[test]
fn the_mode_is_that_of_the_settings_and_a_device_stays_a_device() {
    let world = World::new();
    world.put("too-loose-a-file-0123456789");
    land(&world.out(), "too-loose-a-file-0123456789");
    fs::set_permissions(world.out(), fs::Permissions::from_mode(0o644)).unwrap();
    let inode = fs::metadata(world.out()).unwrap().ino();
    world.once(&["--detailed-exitcode"]).expect(0);
    assert_eq!(world.home.mode("agent-token"), 0o600);
    assert_eq!(fs::metadata(world.out()).unwrap().ino(), inode);
    fs::remove_file(world.out()).unwrap();
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, world.out(), rustix::fs::FileType::Fifo, mode, 0).unwrap();
    let run = world.once(&[]).expect(1);
    let line = "FAIL: ~/agent-token cannot be written: not a regular file; ~/agent-token holds nothing yet";
    assert_eq!(run.complaint(), line);
    assert!(!fs::metadata(world.out()).unwrap().is_file());
}

#[test]
fn a_link_stays_a_link_and_one_follower_is_enough() {
    let world = World::new();
    world.put("behind-a-link-0123456789");
    std::os::unix::fs::symlink("elsewhere/token", world.out()).unwrap();
    world.home.write("elsewhere/token", "");
    let stay = world.start(&[], &QUICK);
    stay.wait_for("Token fetched", 1);
    assert!(world.out().is_symlink());
    assert_eq!(world.held(), "behind-a-link-0123456789");
    let refusal =
        format!("FAIL: follow: another follow (process {}) already keeps ~/agent-token", stay.pid());
    assert_eq!(world.once(&[]).expect(1).complaint(), refusal);
    world.once(&["--detailed-exitcode"]).expect(75);
    stay.stop();
    world.once(&["--detailed-exitcode"]).expect(0);
    assert!(!world.home.path().join("elsewhere/.token.follow").exists());
}

// --- what is no value

#[test]
fn every_answer_that_is_no_value_is_told_apart_and_leaves_the_file_alone() {
    const VALUE: &str = "the-value-that-stays-0123456789";
    let world = World::new();
    let check = |says: &str, arguments: &[&str], status: i32| {
        let run = world.once(&[&["--detailed-exitcode"], arguments].concat()).expect(status);
        let line = run.complaint();
        assert!(line.starts_with("FAIL: Failed to fetch token from Vault: "), "{line}");
        assert!(
            line.contains(says) && line.ends_with("; ~/agent-token keeps what it holds"),
            "{says}: {line}"
        );
        assert_eq!(world.held(), VALUE);
    };
    land(&world.out(), VALUE);
    world.home.guard(VALUE);
    check("there is no secret secret/agent/token", &[], 1);
    world.put_fields(&json!({ "other": VALUE, "token": 5 }));
    check("the field \"token\" of secret/agent/token is not a string", &[], 1);
    world.put_fields(&json!({ "other": VALUE, "token": "" }));
    check("the field \"token\" of secret/agent/token is empty", &[], 1);
    world.put_fields(&json!({ "other": VALUE }));
    check("secret/agent/token has no field \"token\"", &[], 1);
    world.once(&["--field", "other", "--detailed-exitcode"]).expect(0);
    world.server.as_root("DELETE", "secret/data/agent/token", None);
    check("the last version of secret/agent/token was deleted", &[], 1);
    world.server.as_root("POST", "secret/destroy/agent/token", Some(json!({ "versions": [1, 2, 3] })));
    check("the last version of secret/agent/token was destroyed", &[], 1);
    // What the token may not read, and where nothing is mounted: the server says the same of both.
    let out = world.out().to_str().unwrap().to_owned();
    for (mount, path, call) in [
        ("secret", "not/ours", "secret: {}/v1/secret/data/not/ours"),
        ("nowhere", "agent/token", "mount of the secret: {}/v1/sys/internal/ui/mounts/nowhere/agent/token"),
    ] {
        let arguments = ["follow", "--mount", mount, "--path", path, "--out", &out, "--once"];
        let run = world.home.run(&world.server, &arguments).expect(1);
        let says = call.replace("{}", world.server.address()) + ": 403: ";
        assert!(run.complaint().contains(&says), "{run:?}");
        assert_eq!(run.hints().len(), 1, "{run:?}");
    }
    world.server.as_root("DELETE", "sys/mounts/secret", None);
    check("403", &[], 1);
    // And nobody there.
    let own = world.arguments();
    let own: Vec<&str> = own.iter().map(String::as_str).collect();
    let run = world.home.run(NOWHERE, &[&own[..], &["--once", "--detailed-exitcode"]].concat()).expect(75);
    assert!(run.complaint().contains("connection refused; ~/agent-token keeps what it holds"), "{run:?}");
    fs::remove_file(world.home.token_file()).unwrap();
    check("no token to ask with: ~/.vault-token: no such file", &[], 1);
}

#[test]
fn results_are_counted_by_their_names_and_health_is_the_truth() {
    let world = World::new();
    world.put("good-for-three-beats-0123456789");
    let is_down = Arc::new(AtomicBool::new(false));
    let down = Arc::clone(&is_down);
    let front = Scripted::in_front_of(&world.server, move |_, _| {
        down.load(Ordering::SeqCst)
            .then(|| Reply::Json(503, json!({ "errors": ["Vault is sealed"] }).to_string()))
    });
    let listen = ["--listen", "127.0.0.1:0"];
    let stay = world.start_at(front.address(), &[("VTR_RETRY_FOR", "0s")], &[&QUICK[..], &listen].concat());
    stay.wait_for("Token fetched", 1);
    let address = place(&stay);
    assert_eq!(health(address).0, 200);
    is_down.store(true, Ordering::SeqCst);
    stay.wait_for("FAIL: Failed to fetch token from Vault: ", 1);
    let (status, page) = health(address);
    assert_eq!((status, &page["status"], &page["last_refresh_ok"]), (200, &json!("degraded"), &json!(false)));
    wait_until("three beats are over", || health(address).0 == 503);
    assert!(health(address).1["last_refresh_age_seconds"].as_u64() >= Some(3));
    assert_eq!(world.held(), "good-for-three-beats-0123456789", "it keeps what it has");
    assert!(figure(&get(address, "/metrics"), "vault_token_refresh_total=unreachable") >= 2);
    assert_eq!(stay.lines("FAIL: ").len(), 1, "the same is told once an hour");
    is_down.store(false, Ordering::SeqCst);
    stay.wait_for("OK unchanged: ~/agent-token holds what secret/agent/token holds", 1);
    wait_until("it is well again", || health(address).0 == 200);
    world.server.as_root("DELETE", "secret/data/agent/token", None);
    wait_until("it is counted", || {
        figure(&get(address, "/metrics"), "vault_token_refresh_total=deleted") >= 1
    });
    stay.stop();
}

// --- versions

#[test]
fn a_standby_that_lags_behind_is_not_believed_until_it_insists() {
    let world = World::new();
    let version = Arc::new(AtomicUsize::new(5));
    let server = telling(&version);
    let listen = ["--interval", "2s", "--jitter", "0s", "--listen", "127.0.0.1:0"];
    let stay = world.start_at(server.address(), &[], &listen);
    stay.wait_for("Token fetched", 1);
    version.store(4, Ordering::SeqCst);
    let lines = stay.wait_for("FAIL: Failed to fetch token from Vault: an answer that is out of date", 1);
    assert!(
        lines[0].contains("version 4 of secret/agent/token, of 2026-11-26T10:00:04+00:00, and version 5 of"),
        "{lines:?}"
    );
    assert_eq!(world.held(), "value-5");
    let address = place(&stay);
    assert_eq!(figure(&get(address, "/metrics"), "vault_token_refresh_total=stale"), 1);
    version.store(5, Ordering::SeqCst);
    wait_until("it has caught up", || health(address).1["last_refresh_ok"] == true);
    // A process that begins anew knows as much.
    stay.stop();
    fs::remove_file(world.home.path().join(LOG)).unwrap();
    version.store(4, Ordering::SeqCst);
    let stay = world.start_at(server.address(), &[], &listen);
    let address = place(&stay);
    wait_until("it is told", || health(address).1["last_refresh_ok"] == false);
    assert_eq!((world.held().as_str(), &health(address).1["version"]), ("value-5", &json!(5)));
    // Three times the same: the server was restored.
    let lines =
        stay.wait_for("WARN: Token rotated: ~/agent-token holds version 4 of secret/agent/token now", 1);
    assert!(lines[0].contains("was it restored from a backup?"), "{lines:?}");
    assert_eq!(world.held(), "value-4");
    stay.stop();
}

#[test]
fn a_secret_that_begins_anew_is_taken() {
    let world = World::new();
    for value in ["one-0123456789", "two-0123456789"] {
        world.put(value);
    }
    let stay = world.start(&[], &QUICK);
    stay.wait_for("Token fetched: ~/agent-token holds version 2", 1);
    world.server.as_root("DELETE", "secret/metadata/agent/token", None);
    world.put("a-new-beginning-0123456789");
    let lines = stay.wait_for("Token rotated: ~/agent-token holds version 1", 1);
    assert!(lines[0].contains("old_version=2 new_version=1"), "{lines:?}");
    assert_eq!(world.held(), "a-new-beginning-0123456789");
    stay.stop();
}

// --- coming from an agent

#[test]
fn an_agents_environment_and_both_shapes_of_a_store_without_versions_are_understood() {
    let world = World::new();
    let out = world.out();
    let run = |variables: &[(&str, &str)], arguments: &[&str]| {
        let given = ["follow", "--out", out.to_str().unwrap(), "--once", "--detailed-exitcode"];
        let address = ("VAULT_ADDRESS", world.server.address());
        let variables = [&[address, ("VAULT_ADDR", "")], variables].concat();
        world.home.run_with(&variables, "", &[&given[..], arguments].concat())
    };
    world.put("for-the-agent-0123456789");
    for prefix in ["secret", "secret/data", "/secret/", "secret/data/"] {
        fs::remove_file(&out).ok();
        run(&[("VAULT_AGENT_PATH_PREFIX", prefix), ("DEPLOYMENT_HASH", "agent")], &[]).expect(10);
        assert_eq!(world.held(), "for-the-agent-0123456789", "{prefix}");
    }
    run(&[("VAULT_AGENT_PATH_PREFIX", "secret/agent")], &["--path", "token"]).expect(0);
    // Without versions: as it is, and as the agent itself wrote it.
    for (fields, value) in [
        (json!({ "token": "plain-0123456789" }), "plain-0123456789"),
        (json!({ "data": { "token": "nested-0123456789" } }), "nested-0123456789"),
    ] {
        world.server.as_root("POST", "old/agent/token", Some(fields));
        run(&[("VAULT_AGENT_PATH_PREFIX", "old"), ("DEPLOYMENT_HASH", "agent")], &[]).expect(10);
        assert_eq!(world.held(), value);
    }
    // Its token has to go into a file, and it is told how.
    let with_token = [("VAULT_AGENT_PATH_PREFIX", "old"), ("DEPLOYMENT_HASH", "agent"), ("VAULT_TOKEN", "x")];
    let warned = run(&with_token, &[]).expect(0);
    let how = "WARN: VAULT_TOKEN is set and ignored: follow asks with the token in ~/.vault-token; to put this one \
               there: (umask 077; printf %s \"$VAULT_TOKEN\" > ~/.vault-token)";
    assert_eq!(warned.complaint(), how);
    // No identity is asked for.
    assert!(!world.home.log().contains("display_name"));
}

#[test]
fn a_secret_in_a_namespace_is_followed_by_the_setting_and_by_the_path_of_the_mount() {
    let world = World::new();
    let server = &world.server;
    server.create_namespace("team");
    let mount = json!({ "type": "kv", "options": { "version": "2" } });
    server.as_root("POST", "team/sys/mounts/kv", Some(mount));
    let rules = "path \"kv/data/agent/token\" { capabilities = [\"read\"] }";
    server.as_root("POST", "team/sys/policies/acl/agent", Some(json!({ "policy": rules })));
    let of_root = "path \"team/kv/data/agent/token\" { capabilities = [\"read\"] }";
    server.write_policy("from-above", of_root);
    let within = server.as_root("POST", "team/auth/token/create", Some(json!({ "policies": ["agent"] })));
    let within = within.json["auth"]["client_token"].as_str().unwrap().to_owned();
    let above = server.mint(server.root_token(), json!({ "policies": ["from-above"] })).token;
    let put = |value: &str| {
        world.home.guard(value);
        let body = json!({ "data": { "token": value } });
        let path = "team/kv/data/agent/token";
        wait_until("the store is ready", || {
            server.request("POST", path, Some(server.root_token()), None, Some(body.clone())).status == 200
        });
    };
    for (number, (token, variables, mount)) in [
        (&within, &[("VAULT_NAMESPACE", "team")][..], "kv"),
        (&within, &[("BAO_NAMESPACE", "/team/")], "kv/"),
        (&above, &[], "team/kv"),
    ]
    .into_iter()
    .enumerate()
    {
        world.home.put(token);
        let out = world.home.path().join(format!("out-{number}"));
        let arguments = ["follow", "--mount", mount, "--path", "agent/token", "--out", out.to_str().unwrap()];
        let held = || fs::read_to_string(&out).unwrap_or_default();
        let (old, new) = (format!("old-value-0123456789-{number}"), format!("new-value-0123456789-{number}"));
        put(&old);
        let arguments = [&arguments[..], &QUICK].concat();
        let stay = Stay::start_of(&world.home, PROGRAM, &arguments, server.address(), variables);
        wait_until("it is fetched", || held() == old);
        put(&new);
        wait_until("it is rotated", || held() == new);
        stay.stop();
    }
    // Without a word about the namespace the token is nobody.
    world.home.put(&within);
    let out = world.home.path().join("out");
    let arguments =
        ["follow", "--once", "--mount", "kv", "--path", "agent/token", "--out", out.to_str().unwrap()];
    let run = world.home.run(server, &arguments).expect(1);
    assert!(run.complaint().starts_with("FAIL: Failed to fetch token from Vault: "), "{run:?}");
}

#[test]
fn settings_stand_in_the_configuration_file_too() {
    let world = World::new();
    world.put("by-the-file-0123456789");
    let table =
        "[follow]\nmount = \"secret\"\npath = \"agent/token\"\nout = \"~/agent-token\"\nmode = \"0400\"\n";
    world.home.write("c.toml", table);
    world.home.run(&world.server, &["follow", "--config", "c.toml", "--once"]).expect(0);
    assert_eq!(world.held(), "by-the-file-0123456789");
    assert_eq!(world.home.mode("agent-token"), 0o400);
    for (arguments, words) in [
        (&["follow", "--dry-run"][..], "follow has no dry run"),
        (&["follow", "--json"], "follow prints no JSON"),
        (&["follow", "--metrics-file", "x"], "follow writes no metrics file"),
        (&["follow"], "--mount is missing"),
    ] {
        let run = world.home.run(NOWHERE, arguments).expect(2);
        assert!(run.stderr.contains(words), "{run:?}");
    }
}

// --- how it ends, and who asks

#[test]
fn it_ends_at_once_whatever_it_waits_for() {
    let world = World::new();
    land(&world.out(), "kept");
    let server = Scripted::start(|_, _| Reply::Hang);
    let stay = world.start_at(server.address(), &[], &[]);
    wait_until("it asks", || server.requests().len() == 1);
    stay.stop();
    let lines = world.home.logged();
    let said = "FAIL: stopped by SIGTERM while it fetched; ~/agent-token keeps what it holds";
    assert!(lines.contains(&said.to_owned()), "{lines:?}");
    // While it waits for its next beat.
    world.put("between-beats-0123456789");
    let stay = world.start(&[], &[]);
    stay.wait_for("Token rotated", 1);
    stay.stop_by(Signal::INT, "SIGINT");
}

#[test]
fn a_hangup_means_now_and_no_more_than_once_in_ten_seconds() {
    let version = Arc::new(AtomicUsize::new(1));
    let server = telling(&version);
    let world = World::new();
    let stay = world.start_at(server.address(), &[], &[]);
    stay.wait_for("Token fetched", 1);
    let asked = server.requests().len();
    let start = Instant::now();
    version.store(2, Ordering::SeqCst);
    for _ in 0..20 {
        stay.signal(Signal::HUP);
        thread::sleep(Duration::from_millis(20));
    }
    stay.wait_for("Token rotated", 1);
    let took = start.elapsed();
    assert!(took > Duration::from_secs(8) && took < Duration::from_secs(13), "{took:?}");
    assert_eq!(server.requests().len(), asked + 1, "{:?}", server.requests().len());
    stay.stop();
}

// --- signatures

fn signature(value: &str, body: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, value.as_bytes()), body).as_ref().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat()
}

#[test]
fn signatures_are_good_with_the_value_and_for_a_while_with_the_one_before() {
    const BODY: &[u8] = b"\x00any bytes\xff";
    let world = World::new();
    world.put("first-key-0123456789");
    let arguments = ["--listen", "127.0.0.1:0", "--verify", "--grace", "3s"];
    let stay = world.start(&[], &[&QUICK[..], &arguments].concat());
    stay.wait_for("Token fetched", 1);
    let address = place(&stay);
    let ask = |value: &str, skew: i64| {
        let time = (i64::try_from(now()).unwrap() + skew).to_string();
        let signature = hex(&signature(value, BODY));
        post(address, "/verify", &[("X-Timestamp", &time), ("X-Agent-Signature", &signature)], BODY)
    };
    let in_base64 = STANDARD.encode(signature("first-key-0123456789", BODY));
    let headers = [("X-Timestamp", &*now().to_string()), ("X-Agent-Signature", &*in_base64)];
    assert_eq!(post(address, "/verify", &headers, BODY).status, 204);
    assert_eq!(ask("first-key-0123456789", 0).status, 204);
    // A wrong key, a stale time and no signature look alike.
    let wrong = ask("another-key", 0);
    let stale = ask("first-key-0123456789", -200);
    let none = post(address, "/verify", &[], BODY);
    assert_eq!(wrong.status, 401);
    assert_eq!((&wrong.head, &wrong.body), (&stale.head, &stale.body));
    assert_eq!((&wrong.head, &wrong.body), (&none.head, &none.body));
    let metrics = get(address, "/metrics");
    for (result, count) in [("ok", 2), ("bad", 1), ("skew", 1), ("malformed", 1)] {
        assert_eq!(figure(&metrics, &format!("vault_token_signatures_total={result}")), count, "{result}");
    }
    let told = stay.lines("WARN: a signature was refused");
    assert_eq!(told.len(), 3, "{told:?}");
    // No page of a browser, no other place.
    let time = now().to_string();
    let good = hex(&signature("first-key-0123456789", BODY));
    let browser =
        [("Origin", "https://evil.example.org"), ("X-Timestamp", &*time), ("X-Agent-Signature", &*good)];
    assert_eq!(post(address, "/verify", &browser, BODY).status, 403);
    let wrong = [post(address, "/health", &[], BODY), get(address, "/verify")];
    for (page, allowed) in wrong.iter().zip(["GET, HEAD", "POST"]) {
        let says = page.head.lines().any(|line| line == format!("Allow: {allowed}"));
        assert!(page.status == 405 && says, "{page:?}");
    }
    world.put("second-key-0123456789");
    stay.wait_for("Token rotated", 1);
    assert_eq!([ask("first-key-0123456789", 0).status, ask("second-key-0123456789", 0).status], [204, 204]);
    wait_until("the grace is over", || ask("first-key-0123456789", 0).status == 401);
    assert_eq!(ask("second-key-0123456789", 0).status, 204);
    stay.stop();
    // Off by default.
    fs::remove_file(world.home.path().join(LOG)).unwrap();
    let stay = world.start(&[], &[&QUICK[..], &["--listen", "127.0.0.1:0"]].concat());
    assert_eq!(post(place(&stay), "/verify", &[], BODY).status, 404);
    stay.stop();
}

#[test]
fn it_ends_at_once_however_much_it_is_asked() {
    let world = World::new();
    world.put("asked-without-end-0123456789");
    let stay = world.start(&[], &["--listen", "127.0.0.1:0", "--verify"]);
    stay.wait_for("Token fetched", 1);
    let address = place(&stay);
    let body = vec![b'x'; 1024 * 1024];
    let head = format!(
        "POST /verify HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\nX-Timestamp: {}\r\n\
         X-Agent-Signature: {}\r\n\r\n",
        body.len(),
        now(),
        "0".repeat(64)
    );
    // Dropped when this ends, however it does: then the others end, too.
    let (goes_on, count) = (Arc::new(()), Arc::new(AtomicUsize::new(0)));
    let flood: Vec<_> = (0..16)
        .map(|_| {
            let (goes_on, count) = (Arc::downgrade(&goes_on), Arc::clone(&count));
            let (head, body) = (head.clone(), body.clone());
            thread::spawn(move || {
                while goes_on.strong_count() > 0 {
                    let Ok(mut stream) = TcpStream::connect(address) else { return };
                    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
                    let mut answer = String::new();
                    if stream.read_to_string(&mut answer).is_ok() && answer.starts_with("HTTP/1.1 401 ") {
                        count.fetch_add(1, Ordering::SeqCst);
                    }
                }
            })
        })
        .collect();
    wait_until("it is busy", || count.load(Ordering::SeqCst) > 50);
    stay.stop();
    drop(goes_on);
    for caller in flood {
        caller.join().unwrap();
    }
}

#[test]
fn rotation_each_second_costs_no_reader_and_no_signature_anything() {
    let seconds = if support::is_thorough() { 60 } else { 12 };
    let world = World::new();
    let value = |number: u64| format!("rotated-{number:04}-{}", "x".repeat(2_000));
    world.put(&value(0));
    let arguments = ["--listen", "127.0.0.1:0", "--verify", "--grace", "5s"];
    let stay = world.start(&[], &[&QUICK[..], &arguments].concat());
    stay.wait_for("Token fetched", 1);
    let address = place(&stay);
    let is_over = AtomicBool::new(false);
    let out = world.out();
    let (reads, signed) = thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let (mut reads, mut buffer) = (0_u64, String::new());
            while !is_over.load(Ordering::SeqCst) {
                buffer.clear();
                fs::File::open(&out).unwrap().read_to_string(&mut buffer).unwrap();
                assert_eq!(buffer.len(), value(0).len(), "a torn read");
                assert!(buffer.starts_with("rotated-") && buffer.ends_with('x'), "a torn read");
                reads += 1;
                thread::sleep(Duration::from_micros(200));
            }
            reads
        });
        let signer = scope.spawn(|| {
            let mut signed = 0_u64;
            while !is_over.load(Ordering::SeqCst) {
                let held = fs::read_to_string(&out).unwrap();
                // It takes a while until the request is made.
                thread::sleep(Duration::from_millis(if signed.is_multiple_of(10) { 1_200 } else { 2 }));
                let (time, signature) = (now().to_string(), hex(&signature(&held, b"body")));
                let headers = [("X-Timestamp", &*time), ("X-Agent-Signature", &*signature)];
                assert_eq!(post(address, "/verify", &headers, b"body").status, 204, "request {signed}");
                signed += 1;
            }
            signed
        });
        for number in 1..=seconds {
            thread::sleep(Duration::from_secs(1));
            world.put(&value(number));
        }
        wait_until("the last one is there", || world.held() == value(seconds));
        is_over.store(true, Ordering::SeqCst);
        (reader.join().unwrap(), signer.join().unwrap())
    });
    let metrics = get(address, "/metrics");
    let rotations = figure(&metrics, "vault_token_rotations_total");
    assert!(rotations >= seconds / 2, "{rotations}");
    assert_eq!(figure(&metrics, "vault_token_signatures_total=ok"), signed);
    support::count(&format!(
        "{seconds} s with a rotation each: {rotations} seen, {reads} whole reads, {signed} good signatures"
    ));
    stay.stop();
}

// --- that it stays small

#[test]
fn rounds_leave_memory_descriptors_and_threads_flat_and_idle_it_hardly_wakes() {
    let rounds = if support::is_thorough() { 40 } else { 12 };
    let world = World::new();
    world.put("what-is-held-0123456789");
    let arguments = [&QUICK[..], &["--listen", "127.0.0.1:0", "--verify"]].concat();
    let stay = world.start(&[], &arguments);
    stay.wait_for("Token fetched", 1);
    let address = place(&stay);
    let run_until = |number: u64| {
        wait_until("so many rounds", || {
            figure(&get(address, "/metrics"), "vault_token_refresh_total=ok") >= number
        });
        thread::sleep(Duration::from_millis(100));
        Holdings::of(stay.pid())
    };
    let before = run_until(4);
    let after = run_until(4 + rounds);
    assert_eq!(
        (after.descriptors, after.threads),
        (before.descriptors, before.threads),
        "{before:?} {after:?}"
    );
    assert!(after.memory < before.memory + 512, "{before:?} {after:?}");
    support::count(&format!("{rounds} rounds of follow: {} KiB, then {} KiB", before.memory, after.memory));
    stay.stop();
    fs::remove_file(world.home.path().join(LOG)).unwrap();
    let stay = world.start(&[], &["--listen", "127.0.0.1:0"]);
    stay.wait_for("OK unchanged", 1);
    thread::sleep(Duration::from_millis(500));
    let before = woken(stay.pid());
    thread::sleep(Duration::from_secs(6));
    let times = woken(stay.pid()) - before;
    assert!((1..=8).contains(&times), "woken {times} times in 6 s");
    stay.stop();
}

// --- what a hostile review found

#[test]
fn the_token_file_is_never_taken_for_the_followed_one() {
    let world = World::new();
    world.put("the-first-value-0123456789");
    let stay = world.start(&[], &QUICK);
    stay.wait_for("Token fetched", 1);
    let token = world.home.token();
    fs::remove_file(world.out()).unwrap();
    std::os::unix::fs::symlink(".vault-token", world.out()).unwrap();
    world.put("the-second-value-0123456789");
    let lines = stay.wait_for("FAIL: ", 1);
    assert!(lines[0].contains("it is the token file"), "{lines:?}");
    assert_eq!(world.home.token(), token);
    fs::remove_file(world.out()).unwrap();
    wait_until("it is well again", || world.held() == "the-second-value-0123456789");
    stay.stop();
}

#[test]
fn a_link_to_a_file_that_is_still_to_be_made_stays_and_one_that_leads_nowhere_is_told() {
    let world = World::new();
    world.put("a-value-0123456789");
    fs::create_dir(world.home.path().join("real")).unwrap();
    std::os::unix::fs::symlink("real/x", world.out()).unwrap();
    world.once(&[]).expect(0);
    assert!(world.out().is_symlink(), "the link stays");
    assert_eq!(fs::read_to_string(world.home.path().join("real/x")).unwrap(), "a-value-0123456789");
    fs::remove_file(world.out()).unwrap();
    std::os::unix::fs::symlink("agent-token", world.out()).unwrap();
    let run = world.once(&[]).expect(1);
    assert!(run.complaint().contains("the link leads nowhere"), "{run:?}");
    assert!(world.out().is_symlink());
}

#[test]
fn a_store_that_is_exchanged_with_its_policy_is_found_again() {
    let world = World::new();
    world.put("value-of-the-old-store-0123456789");
    let stay = world.start(&[], &QUICK);
    stay.wait_for("Token fetched", 1);
    // Versions are gone, and so is the rule for the old path.
    let server = &world.server;
    server.write_policy("agent", "path \"secret/agent/token\" { capabilities = [\"read\"] }");
    server.as_root("DELETE", "sys/mounts/secret", None);
    let body = json!({ "type": "kv", "options": { "version": "1" } });
    server.as_root("POST", "sys/mounts/secret", Some(body));
    world.home.guard("value-of-the-new-store-0123456789");
    let fields = json!({ "token": "value-of-the-new-store-0123456789" });
    server.as_root("POST", "secret/agent/token", Some(fields));
    wait_until("it is found", || world.held() == "value-of-the-new-store-0123456789");
    stay.stop();
}

#[test]
fn a_policy_that_lacks_the_secret_is_a_denial_with_a_hint() {
    let world = World::new();
    let nobody = world.server.mint(world.server.root_token(), json!({ "policies": ["default"] })).token;
    world.home.put(&nobody);
    let run = world.once(&["--detailed-exitcode"]).expect(1);
    assert!(run.complaint().contains("403: \"preflight capability check returned 403"), "{run:?}");
    assert!(run.hints()[0].contains("policy that lets it read the secret"), "{run:?}");
}

#[test]
fn a_value_that_is_answered_bare_is_not_repeated() {
    let world = World::new();
    let value = "a-bare-value-0123456789";
    world.put(value);
    world.once(&[]).expect(0);
    for reply in [
        Reply::Json(200, value.to_owned()),
        Reply::Json(500, value.to_owned()),
        Reply::Json(403, json!({ "errors": [format!("permission denied: {value}")] }).to_string()),
    ] {
        let front = Scripted::in_front_of(&world.server, move |request, _| {
            request.path.contains("data/agent/token").then(|| reply.clone())
        });
        let own = world.arguments();
        let own: Vec<&str> = own.iter().map(String::as_str).collect();
        // The sandbox looks for it in all that is said.
        world.home.run(front.address(), &[&own[..], &["--once", "--interval", "2s"]].concat()).expect(1);
    }
}

#[test]
fn a_signature_with_what_the_file_holds_is_good_from_the_first_moment() {
    let world = World::new();
    world.put("value-0-0123456789");
    let arguments = ["--listen", "127.0.0.1:0", "--verify"];
    let stay = world.start(&[], &[&QUICK[..], &arguments].concat());
    stay.wait_for("Token fetched", 1);
    let address = place(&stay);
    let is_over = Arc::new(AtomicBool::new(false));
    let (over, out) = (Arc::clone(&is_over), world.out());
    let client = thread::spawn(move || {
        let (mut good, mut refused) = (0, 0);
        while !over.load(Ordering::SeqCst) {
            let value = fs::read_to_string(&out).unwrap();
            let time = now().to_string();
            let sign = hex(&signature(&value, b"body"));
            let headers = [("X-Timestamp", time.as_str()), ("X-Agent-Signature", sign.as_str())];
            match post(address, "/verify", &headers, b"body").status {
                204 => good += 1,
                _ => refused += 1,
            }
        }
        (good, refused)
    });
    for number in 1..6 {
        let value = format!("value-{number}-0123456789");
        world.put(&value);
        wait_until("it is rotated", || world.held() == value);
        thread::sleep(Duration::from_millis(300));
    }
    is_over.store(true, Ordering::SeqCst);
    let (good, refused) = client.join().unwrap();
    assert!(good > 100 && refused == 0, "{good} good, {refused} refused");
    stay.stop();
}
