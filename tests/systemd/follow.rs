//! `follow` below a real user manager: as a service that stays, once on a timer, and for root.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use serde_json::json;

use super::support::kv::World as Store;
use super::support::stay::get_at;
use super::{World, blocks, runtime_of, source};

const UNIT: &str = "vault-token-follow@agent.service";

impl World {
    /// One whose follow has its settings, and whose token may read its secret.
    fn following() -> Self {
        let world = Self::installed();
        world.strong_login();
        let settings = format!(
            "address = \"{}\"\n[follow]\nmount = \"secret\"\npath = \"agent/token\"\nout = \"~/agent-token\"\n",
            world.bao.address()
        );
        world.user.write(".config/vault-token-renew/agent.toml", 0o600, settings);
        world
    }

    fn put_secret(&self, value: &str) {
        self.bao.as_root("POST", "secret/data/agent/token", Some(json!({ "data": { "token": value } })));
    }

    fn held(&self) -> String {
        fs::read_to_string(self.user.path("agent-token")).unwrap_or_default()
    }
}

#[test]
#[ignore = "needs root and a user manager; scripts/test runs it"]
fn a_follow_is_ready_when_its_file_holds_a_value_and_fetches_when_it_is_reloaded() {
    let world = World::following();
    world.user.must_systemctl(["start", "--no-block", UNIT]);
    world.user.wait_until("it says what it waits for", || {
        world.user.property(UNIT, "StatusText").starts_with("not fetched (missing), next at 20")
    });
    assert_eq!(world.user.property(UNIT, "ActiveState"), "activating");
    world.put_secret("first-value-0123456789");
    // Asked for at most once in ten seconds.
    world.user.must_systemctl(["kill", "--signal=HUP", UNIT]);
    world.user.wait_until("it is ready", || world.user.property(UNIT, "ActiveState") == "active");
    assert_eq!(world.held(), "first-value-0123456789");
    world.put_secret("second-value-0123456789");
    world.user.must_systemctl(["reload", UNIT]);
    world.user.wait_until("it is rotated", || world.held() == "second-value-0123456789");
    assert!(world.user.property(UNIT, "StatusText").starts_with("version 2 held, fetched, next at 20"));
    let socket = runtime_of(&world.user).join("vault-token-follow-agent/follow.sock");
    let health = get_at(&socket, "/health");
    assert_eq!((health.status, &health.json()["version"]), (200, &json!(2)), "{health:?}");
    world.user.must_systemctl(["stop", UNIT]);
    let state = world.user.properties(UNIT, ["Result", "ExecMainStatus", "ActiveState"]);
    assert_eq!(state, ["success", "0", "inactive"], "{}", world.user.report());
}

#[test]
#[ignore = "needs root and a user manager; scripts/test runs it"]
fn the_timer_of_the_documents_fetches_again_and_again_without_a_process_that_stays() {
    let world = World::following();
    let user = &world.user;
    let files = blocks::files_of(&source("docs/follow.md"), "ini");
    let names: Vec<_> = files.iter().filter_map(|(path, _)| path.rsplit('/').next()).collect();
    assert_eq!(names, ["once.conf", "vault-token-follow@.timer"]);
    for (path, contents) in files {
        // A minute is too long for a test, and nothing else is changed.
        user.write(&path, 0o644, contents.replace("OnCalendar=*:*:00", "OnCalendar=*:*:0/2"));
    }
    user.must_systemctl(["daemon-reload"]);
    user.must_systemctl(["enable", "--now", "vault-token-follow@agent.timer"]);
    user.wait_until("it fails without a secret", || user.property(UNIT, "Result") == "exit-code");
    world.put_secret("first-value-0123456789");
    user.wait_until("it is fetched", || world.held() == "first-value-0123456789");
    world.put_secret("second-value-0123456789");
    user.wait_until("it is rotated", || world.held() == "second-value-0123456789");
    user.wait_until("it has ended well", || {
        user.properties(UNIT, ["Result", "ActiveState"]) == ["success", "inactive"]
    });
    // The hardening is that of the service, and it still protects.
    assert_eq!(user.property(UNIT, "NoNewPrivileges"), "yes");
    user.must_systemctl(["disable", "--now", "vault-token-follow@agent.timer"]);
}

#[test]
#[ignore = "needs root and a user manager; scripts/test runs it"]
fn root_leaves_a_followed_file_to_its_owner_where_nobody_else_could_have_put_it() {
    let world = Store::new();
    let folder = world.home.path().join("folder");
    let out = folder.join("token");
    fs::create_dir(&folder).expect("a folder");
    let begin = |mode: u32| {
        let _ = fs::remove_file(&out);
        fs::write(&out, "").expect("a file");
        std::os::unix::fs::chown(&out, Some(12_345), Some(23_456)).expect("root");
        fs::set_permissions(&folder, fs::Permissions::from_mode(mode)).expect("a mode");
    };
    let once = |value: &str| {
        world.put(value);
        let arguments = ["follow", "--once", "--mount", "secret", "--path", "agent/token", "--mode", "0640"];
        let out = ["--out", out.to_str().expect("UTF-8")];
        world.home.run(&world.server, &[&arguments[..], &out].concat()).expect(0)
    };
    let owner =
        || fs::metadata(&out).map(|data| (data.uid(), data.gid(), data.mode() & 0o7777)).expect("a file");
    begin(0o755);
    for value in ["first-for-another-0123456789", "second-for-another-0123456789"] {
        once(value).quiet();
        assert_eq!(owner(), (12_345, 23_456, 0o640));
        assert_eq!(fs::read_to_string(&out).expect("a value"), value);
    }
    // Anybody could have put it there, and would own the value now.
    for mode in [0o775, 0o777, 0o1777] {
        begin(mode);
        let run = once("for-nobody-else-0123456789");
        let warned = "WARN: ~/folder/token belonged to another user or group, and belongs to this one now; can \
                      whoever reads it still do so?";
        assert_eq!(run.complaint(), warned);
        assert_eq!(owner(), (0, 0, 0o640), "{mode:o}");
    }
}
