//! The dead man's switch of docs/monitoring.md, as it is pasted, in a real user manager.

use std::path::Path;
use std::thread;
use std::time::Duration;

use super::support::scripted::{Reply, Scripted};
use super::support::user_manager::text;
use super::{IDENTITY, SERVICE, WATCH, World, blocks};

#[test]
#[ignore = "needs root and a user manager; scripts/test runs it"]
fn a_good_run_pings_a_monitor_and_a_bad_one_does_not() {
    assert!(Path::new("/usr/bin/curl").exists(), "there is no /usr/bin/curl; apt-get install curl");
    let world = World::installed();
    let user = &world.user;
    for (path, contents) in blocks::files("ini") {
        user.write(&path, 0o644, contents);
    }
    let monitor = Scripted::start(|_, _| Reply::Json(200, "OK".to_owned()));
    for name in ["default", "work", "watch"] {
        let address = format!("url = \"{}/{name}\"\n", monitor.address());
        user.write(&format!(".config/vault-token-renew/ping-{name}.curl"), 0o600, address);
    }
    // A name of its own: two tokens of one name would revoke each other.
    let identity = IDENTITY.replace("devvm-wizard", "devvm-wizard-work");
    let work = format!("address = {:?}\ntoken_file = \"~/.work-token\"\n{identity}", world.bao.address());
    user.write(".config/vault-token-renew/work.toml", 0o600, work);
    user.must_systemctl(["daemon-reload"]);
    let pings = || -> Vec<String> { monitor.requests().into_iter().map(|request| request.path).collect() };

    world.weak_login();
    assert!(!user.systemctl(["start", SERVICE]).status.success());
    thread::sleep(Duration::from_secs(1));
    assert_eq!(pings(), [""; 0], "it is not well");
    world.strong_login();
    user.must_systemctl(["start", SERVICE]);
    user.wait_until("the monitor was pinged", || pings() == ["/default"]);
    user.write(".work-token", 0o600, world.bao.admin_login().token);
    user.must_systemctl(["start", "vault-token-renew@work.service"]);
    user.wait_until("the monitor was pinged for work", || pings() == ["/default", "/work"]);

    let ask = "vault-token-renew-watch-ping.service";
    user.must_systemctl(["start", WATCH]);
    user.must_systemctl(["start", ask]);
    user.wait_until("the monitor was pinged for the watch", || pings() == ["/default", "/work", "/watch"]);
    user.must_systemctl(["enable", "--now", "vault-token-renew-watch-ping.timer"]);
    user.must_systemctl(["disable", "--now", "vault-token-renew-watch-ping.timer"]);
    world.weak_login();
    user.wait_until("it is seen", || world.logged("DRIFT: ") == 2);
    let asked = user.systemctl(["start", ask]);
    assert!(!asked.status.success(), "{}", text(&asked));
    assert_eq!(pings().len(), 3);
    user.must_systemctl(["stop", WATCH]);

    // Nobody to be pinged holds up no run, and is no failure.
    drop(monitor);
    world.strong_login();
    user.must_systemctl(["start", SERVICE]);
    assert_eq!(user.property(SERVICE, "Result"), "success");
    let ping = "vault-token-renew-ping@default.service";
    user.wait_until("it tries", || user.property(ping, "ActiveState") == "activating");
    user.must_systemctl(["stop", ping]);
}
