//! The units, drop-ins and commands of docs/monitoring.md by which somebody is told: systemd has nothing against them,
//! and they do what the documentation says.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

use super::blocks::{block, blocks, file, files, value_of, write};
use super::repository;
use super::support::sandbox::{PROGRAM, Sandbox};
use super::support::scripted::{Reply, Scripted};
use super::support::server;
use super::support::stay::Stay;
use super::support::user_manager::text;

/// Where the units of a user are, below the home.
const UNITS: &str = ".config/systemd/user/";

/// What has to be installed on the machine that runs these tests.
#[track_caller]
fn installed(path: &str, package: &str) {
    assert!(Path::new(path).exists(), "there is no {path}; apt-get install {package}");
}

/// A home with the units that the project ships, those of the documentation, and what they start.
fn home_with_units() -> TempDir {
    let home = TempDir::with_prefix("vtr-units-").expect("a home");
    let folder = home.path().join(UNITS);
    fs::create_dir_all(home.path().join(".local/bin")).expect("a folder");
    symlink(PROGRAM, home.path().join(".local/bin/vault-token-renew")).expect("the program");
    for unit in fs::read_dir(repository("systemd")).expect("the units") {
        let unit = unit.expect("a unit").path();
        let name = unit.file_name().and_then(|name| name.to_str()).expect("a name");
        write(&folder.join(name), &fs::read_to_string(&unit).expect(name));
    }
    for (path, contents) in files("ini").into_iter().chain(files("sh")) {
        write(&home.path().join(path), &contents);
    }
    let script = home.path().join(".local/bin/vault-token-renew-mail");
    fs::set_permissions(script, fs::Permissions::from_mode(0o755)).expect("its mode");
    home
}

fn verify(home: &Path, unit: &str) -> Output {
    Command::new("systemd-analyze")
        .args(["--user", "verify"])
        .arg(home.join(UNITS).join(unit))
        .env_clear()
        .env("HOME", home)
        // Not that of whoever runs the tests; it need not be more than a directory.
        .env("XDG_RUNTIME_DIR", home)
        .env("PATH", "/usr/bin:/bin")
        .output()
        .expect("systemd-analyze")
}

#[test]
fn systemd_has_nothing_against_the_units_and_drop_ins_of_the_documentation() {
    installed("/usr/bin/systemd-analyze", "systemd");
    installed("/usr/bin/curl", "curl");
    let home = home_with_units();
    let named: Vec<_> = files("ini").into_iter().map(|(path, _)| path.replace(UNITS, "")).collect();
    assert_eq!(
        named,
        [
            "vault-token-renew-ping@.service",
            "vault-token-renew.service.d/ping.conf",
            "vault-token-renew@.service.d/ping.conf",
            "vault-token-renew-watch-ping.service",
            "vault-token-renew-watch-ping.timer",
            "vault-token-renew-mail.service",
            "vault-token-renew-mail.timer",
        ]
    );
    // A drop-in is judged with its unit.
    for unit in named.iter().map(|name| name.split(".d/").next().unwrap_or_default()) {
        let verified = verify(home.path(), unit);
        let quiet = verified.stdout.is_empty() && verified.stderr.is_empty();
        assert!(verified.status.success() && quiet, "{unit}: {}", text(&verified));
    }
    // Those without a name are for units that somebody edits.
    for (number, dropin) in blocks().iter().filter(|block| block.language == "ini").enumerate() {
        write(
            &home.path().join(UNITS).join(format!("vault-token-renew-failure@.service.d/{number}.conf")),
            &dropin.text,
        );
    }
    let verified = verify(home.path(), "vault-token-renew.service");
    assert!(verified.status.success() && verified.stderr.is_empty(), "{}", text(&verified));

    // It does look at drop-ins, and at what a unit starts.
    let dropin = home.path().join(UNITS).join("vault-token-renew.service.d/ping.conf");
    write(
        &dropin,
        &file("ini", ".config/systemd/user/vault-token-renew.service.d/ping.conf").replace("OnS", "OnZ"),
    );
    assert!(text(&verify(home.path(), "vault-token-renew.service")).contains("OnZuccess"));
    fs::remove_file(home.path().join(".local/bin/vault-token-renew-mail")).expect("the script");
    assert!(!verify(home.path(), "vault-token-renew-mail.service").status.success());
}

/// Runs what a unit of this instance starts, as systemd would. Whether it succeeded, and whether that matters.
#[track_caller]
fn start(home: &Path, unit: &str, instance: &str) -> (Output, bool) {
    let line = value_of(unit, "ExecStart");
    assert!(!line.contains(['\'', '"', '\\', '$', ';']), "a shell or systemd would read more in {line:?}");
    let (line, matters) = line.strip_prefix('-').map_or((line.as_str(), true), |line| (line, false));
    let line = line.replace("%i", instance);
    let line = line.replace("%E", &format!("{}/.config", home.display()));
    let line = line.replace("%t", home.to_str().expect("UTF-8")).replace("%h", home.to_str().expect("UTF-8"));
    assert!(!line.contains('%'), "{line:?}");
    let mut words = line.split(' ');
    let program = words.next().expect("a program");
    installed(program, "curl");
    // As a user manager has it: nothing of a shell, of proxies least of all.
    let output = Command::new(program).args(words).env_clear().env("HOME", home).output().expect("curl");
    (output, matters)
}

/// The instance of the ping that a unit starts when it succeeds.
#[track_caller]
fn pinged_by(unit: &str, instance: &str) -> String {
    let pinged = value_of(unit, "OnSuccess").replace("%i", instance);
    let pinged =
        pinged.strip_prefix("vault-token-renew-ping@").and_then(|name| name.strip_suffix(".service"));
    pinged.expect("the unit of the documentation").to_owned()
}

#[test]
fn a_good_run_pings_the_monitor_also_if_it_has_to_try_twice_and_no_monitor_is_no_failure() {
    let monitor = Scripted::start(|_, number| match number {
        0 => Reply::Json(503, String::new()),
        1 => Reply::Reset,
        _ => Reply::Json(200, "OK".to_owned()),
    });
    let home = TempDir::with_prefix("vtr-ping-").expect("a home");
    // As it is pasted.
    let paste = block("sh", "ping-default.curl");
    let pasted = Command::new("/bin/sh").args(["-c", &paste]).env_clear().env("HOME", home.path()).output();
    let pasted = pasted.expect("sh");
    assert!(pasted.status.success() && pasted.stderr.is_empty(), "{}", text(&pasted));
    let folder = home.path().join(".config/vault-token-renew");
    let written = folder.join("ping-default.curl");
    let mode = fs::metadata(&written).expect("the file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let said = fs::read_to_string(&written).expect("the file");
    let address =
        said.strip_prefix("url = \"").and_then(|said| said.strip_suffix("\"\n")).expect("an address");
    assert!(address.starts_with("https://"), "{address}");

    let unit = file("ini", &format!("{UNITS}vault-token-renew-ping@.service"));
    for (dropin, instance) in [("vault-token-renew", ""), ("vault-token-renew@", "work")] {
        let dropin = file("ini", &format!("{UNITS}{dropin}.service.d/ping.conf"));
        let name = pinged_by(&dropin, instance);
        let expected = if instance.is_empty() { "default" } else { instance };
        assert_eq!(name, expected);
        let config = said.replace(address, &format!("{}/ping/{name}", monitor.address()));
        write(&folder.join(format!("ping-{name}.curl")), &config);
        let (output, matters) = start(home.path(), &unit, &name);
        assert!(output.status.success() && !matters, "{}", text(&output));
        assert_eq!(output.stdout, b"");
        let last = monitor.requests().pop().expect("a ping");
        assert_eq!((last.method.as_str(), last.path), ("GET", format!("/ping/{name}")));
    }
    assert_eq!(monitor.requests().len(), 4, "two that failed, and two that did not");

    // Nobody there, and the patience of a test.
    write(&folder.join("ping-default.curl"), "url = \"http://127.0.0.1:1/ping\"\nretry = 1\n");
    let (output, matters) = start(home.path(), &unit, "default");
    assert!(!output.status.success() && !matters, "{}", text(&output));
    assert!(String::from_utf8_lossy(&output.stderr).contains("curl: (7)"), "{}", text(&output));
    // No address at all says so, too.
    let (output, _) = start(home.path(), &unit, "forgotten");
    assert!(String::from_utf8_lossy(&output.stderr).contains("option --config"), "{}", text(&output));
}

#[test]
fn a_watch_is_asked_for_its_health_and_pinged_for_only_while_it_is_well() {
    let server = server();
    let home = Sandbox::holding(&server.admin_login().token);
    let folder = home.path().join("vault-token-renew");
    fs::create_dir(&folder).expect("the runtime directory of the unit");
    let shipped =
        fs::read_to_string(repository("systemd/vault-token-renew-watch.service")).expect("the unit");
    let listen = value_of(&shipped, "ExecStart");
    let (_, listen) = listen.split_once("--listen ").expect("a socket");
    let listen = listen.replace("%t", home.path().to_str().expect("UTF-8"));
    let unit = file("ini", &format!("{UNITS}vault-token-renew-watch-ping.service"));
    assert_eq!(pinged_by(&unit, ""), "watch");
    let is_well = || {
        let (output, matters) = start(home.path(), &unit, "");
        assert!(matters, "a ping would be sent although it is not well");
        output.status.success()
    };

    assert!(!is_well(), "there is no watch");
    let stay = Stay::start(&home, &server, &[], &["--listen", &listen]);
    stay.wait_for("HEALED", 1);
    super::wait_until("it is well", is_well);
    home.put(&server.weak_login().token);
    stay.wait_for("DRIFT", 1);
    assert!(!is_well(), "a foreign token is in the file");
    stay.stop();
    assert!(!is_well(), "the watch is gone");
}

/// Runs a command of the documentation in this home, which has the program in its place and the address in its
/// configuration file, as the documentation has it.
fn shell(home: &Sandbox, script: &str) -> (Option<i32>, String) {
    let output = Command::new("/bin/sh")
        .args(["-c", script])
        .env_clear()
        .env("HOME", home.path())
        .env("USER", "wizard")
        .env("PATH", "/usr/bin:/bin")
        .output()
        .expect("sh");
    assert!(output.stderr.is_empty(), "{}", text(&output));
    (output.status.code(), String::from_utf8(output.stdout).expect("UTF-8"))
}

#[test]
fn the_checks_for_a_crontab_and_for_nagios_speak_up_when_they_should() {
    let server = server();
    let home = Sandbox::holding(&server.mint_ours().token);
    fs::create_dir_all(home.path().join(".local/bin")).expect("a folder");
    symlink(PROGRAM, home.path().join(".local/bin/vault-token-renew")).expect("the program");
    let settings = format!(
        "address = {:?}\ndisplay_name = \"devvm-wizard\"\npolicies = [\"vault-admin\", \"sops-admin\"]\n",
        server.address()
    );
    home.write(".config/vault-token-renew/config.toml", settings);
    home.run(&server, &[]).expect(0);
    let crontab = block("", "17 9 * * * said=");
    let cron = crontab.trim().splitn(6, ' ').nth(5).expect("a command");
    assert!(!cron.contains('%'), "cron takes that for the end of a line");
    let nagios = block("sh", "CRITICAL");

    assert_eq!(shell(&home, cron), (Some(0), String::new()));
    let (status, said) = shell(&home, &nagios);
    assert!(status == Some(0) && said.starts_with("OK: {\"schema\":1,"), "{status:?} {said}");
    home.put(&server.weak_login().token);
    let (_, said) = shell(&home, cron);
    assert!(said.contains("not your token"), "{said}");
    let (status, said) = shell(&home, &nagios);
    assert!(status == Some(2) && said.starts_with("CRITICAL: {\"schema\":1,"), "{status:?} {said}");
}
