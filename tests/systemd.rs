//! The shipped units, scripts and Debian package in a real, unprivileged `systemd --user`, with the real program and a
//! real OpenBao.
//!
//! Every test has a user, a user manager and a server of its own. Where a test needs something else than what is
//! shipped (another schedule, a place for the output), a drop-in adds just that: the hardening stays as it is.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    reason = "tests, with helpers outside of #[test] functions"
)]

#[path = "monitoring/blocks.rs"]
#[expect(dead_code, reason = "tests/monitoring.rs uses the rest")]
mod blocks;
#[path = "systemd/follow.rs"]
mod follow;
#[path = "systemd/install.rs"]
mod install;
#[path = "systemd/ping.rs"]
mod ping;
mod support;

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::openbao::OpenBao;
use support::sandbox::{LOG, PROGRAM};
use support::scripted::{Reply, Scripted};
use support::stay::get_at;
use support::user_manager::{Lack, UserManager, text};
use support::{NOWHERE, OUR_NAME, dying, server, with};

const SERVICE: &str = "vault-token-renew.service";
const TIMER: &str = "vault-token-renew.timer";
const PATH_UNIT: &str = "vault-token-renew.path";
const WATCH: &str = "vault-token-renew-watch.service";
const FOLLOW: &str = "vault-token-follow@.service";

/// The name of the program, of its Debian package and of its man page.
const PACKAGE: &str = "vault-token-renew";

/// The schedule of a day in a second.
const AT_ONCE: &str = "[Timer]\nOnCalendar=\nOnActiveSec=1s\nRandomizedDelaySec=0\nAccuracySec=100ms\n";

/// Where the settings are.
const CONFIG: &str = ".config/vault-token-renew/config.toml";

/// Whose token it is: the throw-away user is nobody for whom that is built in.
const IDENTITY: &str = "display_name = \"devvm-wizard\"\npolicies = [\"vault-admin\", \"sops-admin\"]\n";

/// There is no journal here, so that what a pass says would be lost.
const TO_FILE: &str = "[Service]\nStandardOutput=append:%h/output\nStandardError=append:%h/output\n";

/// From which `blocks` takes what people copy.
fn documentation() -> String {
    source("docs/monitoring.md")
}

/// A user with a manager, in whose home the program and the units are, and the user's server.
struct World {
    user: UserManager,
    bao: OpenBao,
}

impl World {
    /// Installed by `scripts/install`, address and identity configured, nothing enabled.
    fn installed() -> Self {
        let world = Self::on_a_machine_without(Lack::Nothing);
        world.must_script("install", &["--binary", "source/program", "--no-enable"]);
        world
    }

    /// Sources and settings, nothing installed.
    fn on_a_machine_without(lack: Lack) -> Self {
        let world = Self { user: user_with_sources_without(lack), bao: server() };
        fake_loginctl(&world.user, ":");
        world.user.write(CONFIG, 0o600, IDENTITY);
        world.user.write(".config/vault-token-renew/env", 0o600, world.vault_addr());
        world
    }

    fn vault_addr(&self) -> String {
        format!("VAULT_ADDR={}\n", self.bao.address())
    }

    /// One of the scripts, from the copy of the sources in the user's home.
    fn script(&self, name: &str, args: &[&str]) -> Output {
        self.user.command(format!("source/scripts/{name}")).args(args).output().expect("a script")
    }

    #[track_caller]
    fn must_script(&self, name: &str, args: &[&str]) -> String {
        let output = self.script(name, args);
        assert!(output.status.success(), "scripts/{name} {args:?}: {}", text(&output));
        text(&output)
    }

    /// Puts a drop-in beside a unit.
    fn drop_in(&self, unit: &str, name: &str, content: &str) {
        self.user.write(&format!(".config/systemd/user/{unit}.d/{name}.conf"), 0o644, content);
        self.user.must_systemctl(["daemon-reload"]);
    }

    /// What `vault login` does to the token file.
    fn login(&self, token: &str) {
        self.user.write(".vault-token", 0o600, token);
    }

    /// A login that can mint lands in the file.
    fn strong_login(&self) -> String {
        let token = self.bao.admin_login().token;
        self.login(&token);
        token
    }

    /// A login that can read lands in the file.
    fn weak_login(&self) -> String {
        let token = self.bao.weak_login().token;
        self.login(&token);
        token
    }

    /// The display name of the token in a file, empty where there is no living one.
    fn name_in(&self, file: &str) -> String {
        let data = self.bao.lookup(&self.user.read(file)).unwrap_or_default();
        data["display_name"].as_str().unwrap_or_default().to_owned()
    }

    fn is_ours(&self) -> bool {
        self.name_in(".vault-token") == OUR_NAME
    }

    /// How many lines of the log contain this.
    fn logged(&self, what: &str) -> usize {
        self.user.read(LOG).lines().filter(|line| line.contains(what)).count()
    }

    fn is_idle(&self, unit: &str) -> bool {
        !self.user.property(unit, "ActiveState").starts_with("activating")
    }

    /// The token in the file is the one that the program minted for this user, and the only one of our name.
    #[track_caller]
    fn check_healed(&self) {
        let token = self.user.read(".vault-token");
        let minted = self.bao.recognise_minted(&token, self.user.name());
        let minted = minted.and_then(|_| self.bao.recognise_alone(&token));
        if let Err(wrong) = minted {
            panic!("the token in the file: {wrong}{}", self.user.report());
        }
        assert_eq!(self.user.mode(".vault-token"), 0o600);
    }

    /// The last pass of the unit ended well, in the program and not in the manager's preparations.
    #[track_caller]
    fn assert_succeeded(&self, unit: &str) {
        let state = self.user.properties(unit, ["Result", "ExecMainStatus", "ActiveState"]);
        assert_eq!(state, ["success", "0", "inactive"], "{unit}{}", self.user.report());
    }
}

/// The sources may lie where an ordinary user cannot read them, so that they are copied.
fn user_with_sources() -> UserManager {
    user_with_sources_without(Lack::Nothing)
}

fn user_with_sources_without(lack: Lack) -> UserManager {
    let user = UserManager::start_without(lack);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for folder in ["scripts", "systemd", "docs/man", "docs/completions"] {
        for entry in fs::read_dir(root.join(folder)).expect("sources").flatten() {
            let name = entry.file_name();
            user.copy(&entry.path(), &format!("source/{folder}/{}", name.to_string_lossy()));
        }
    }
    user.copy(Path::new(PROGRAM), "source/program");
    user
}

#[test]
#[ignore = "needs root and a user manager; scripts/test runs it"]
fn the_timer_fires_and_the_service_heals() {
    let world = World::installed();
    let stale = world.bao.mint_ours().token;
    let foreign = world.strong_login();
    world.drop_in(TIMER, "at-once", AT_ONCE);
    world.user.must_systemctl(["enable", "--now", TIMER]);

    world
        .user
        .wait_until("the service has healed", || world.logged(" HEALED: ") == 1 && world.is_idle(SERVICE));

    world.assert_succeeded(SERVICE);
    world.check_healed();
    assert_ne!(world.user.property(TIMER, "LastTriggerUSec"), "", "it was not the timer");
    assert!(world.bao.lookup(&stale).is_none(), "the stale token lives");
    assert!(world.bao.lookup(&foreign).is_some(), "the foreign token was revoked");
    assert_eq!(world.logged("re-minted periodic token from foreign dn=\"userpass-admin\""), 1);

    // And as on every other night:
    world.user.must_systemctl(["start", SERVICE]);
    world.assert_succeeded(SERVICE);
    assert_eq!(world.logged(&format!(" OK renewed (dn={OUR_NAME} ")), 1, "{}", world.user.read(LOG));
}

/// A mark of lingering, as `loginctl enable-linger` makes it for logind, which does not run here.
struct Linger(PathBuf);

impl Linger {
    fn of(user: &str) -> Self {
        let folder = Path::new("/var/lib/systemd/linger");
        fs::create_dir_all(folder).expect("the folder of the marks");
        let mark = folder.join(user);
        fs::write(&mark, "").expect("a mark");
        Self(mark)
    }
}

impl Drop for Linger {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
#[ignore = "needs root and a user manager; scripts/test runs it"]
fn status_knows_what_the_user_manager_knows() {
    let world = World::installed();
    let ours = world.bao.mint_ours().token;
    world.login(&ours);
    // Without XDG_RUNTIME_DIR, as in a shell of su: the place is known all the same.
    let status = |config: &[&str]| -> Value {
        let mut command = world.user.command(world.user.path(".local/bin/vault-token-renew"));
        command.args(["status", "--json"]).args(config).env("VAULT_ADDR", world.bao.address());
        let output = command.env_remove("XDG_RUNTIME_DIR").output().expect("status");
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", text(&output)))
    };
    let wrong = |status: &Value| -> Vec<String> {
        let problems = status["problems"].as_array().expect("problems").iter();
        problems.map(|problem| problem["id"].as_str().expect("a name").to_owned()).collect()
    };

    let installed = status(&[]);
    assert_eq!(installed["timer"]["unit"], TIMER);
    assert_eq!(installed["timer"]["state"], "off", "{installed}");
    assert_eq!(wrong(&installed), ["timer_off", "never_run"], "{installed}");

    // What it advises works in the shell it was printed in, too.
    let problems = installed["problems"].as_array().expect("problems");
    let advised = problems.iter().find(|problem| problem["id"] == "timer_off").expect("timer_off");
    let mut shell = world.user.command("/bin/sh");
    let typed =
        shell.args(["-c", advised["remedy"].as_str().expect("a remedy")]).env_remove("XDG_RUNTIME_DIR");
    let output = typed.output().expect("a shell");
    assert!(output.status.success(), "{}", text(&output));
    let enabled = status(&[]);
    assert_eq!((&enabled["timer"]["state"], &enabled["linger"]), (&json!("on"), &json!(false)));
    assert_eq!(wrong(&enabled), ["linger_off", "never_run"], "{enabled}");
    let next = enabled["timer"]["next"].as_str().expect("a next run");
    let words = world.user.property(TIMER, "NextElapseUSecRealtime");
    let date = Command::new("date").args(["-u", "-d", &words, "+%Y-%m-%dT%H:%M:%SZ"]).output();
    assert_eq!(next, String::from_utf8_lossy(&date.expect("date").stdout).trim(), "{enabled}");

    let _linger = Linger::of(world.user.name());
    world.user.must_systemctl(["start", SERVICE]);
    let healthy = status(&[]);
    assert_eq!((wrong(&healthy), &healthy["linger"]), (vec![], &json!(true)), "{healthy}");
    assert_eq!(healthy["exit_status"], 0);
    assert_eq!(healthy["last_pass"]["outcome"], "renewed");

    // A shell that does not know what only the service was told: the token is looked at where the service will look.
    let mut command = world.user.command(world.user.path(".local/bin/vault-token-renew"));
    let output = command.args(["status", "--json"]).output().expect("status");
    let of_service: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(of_service["server"], world.bao.address(), "{of_service}");
    assert_eq!(of_service["token"]["ours"], true);
    assert_eq!(wrong(&of_service), ["service_differs"], "{of_service}");

    // A second token has units of its own, and none for a file that is not there.
    world.user.write(".config/vault-token-renew/work.toml", 0o600, IDENTITY);
    let work = status(&["--config", ".config/vault-token-renew/work.toml"]);
    assert_eq!(work["timer"]["unit"], "vault-token-renew@work.timer");
    assert_eq!(work["timer"]["state"], "off", "{work}");
    for unit in [TIMER, "vault-token-renew@.timer"] {
        fs::remove_file(world.user.path(".config/systemd/user").join(unit)).expect(unit);
    }
    world.user.must_systemctl(["stop", TIMER]);
    world.user.must_systemctl(["daemon-reload"]);
    let absent = status(&[]);
    assert_eq!(
        (wrong(&absent), &absent["timer"]["state"]),
        (vec!["no_timer".to_owned()], &json!("absent")),
        "{absent}"
    );
}

#[test]
#[ignore = "needs root and a user manager; scripts/test runs it"]
fn a_hook_and_a_metrics_file_work_inside_the_hardened_service() {
    let world = World::installed();
    let told =
        "metrics_file = \"~/metrics/vault.prom\"\ndeploy_hook = \"systemctl --user start told.service\"\n";
    world.user.write(CONFIG, 0o600, format!("{IDENTITY}{told}"));
    fs::create_dir(world.user.path("metrics")).expect("a folder");
    let home = fs::metadata(world.user.home()).expect("the home");
    std::os::unix::fs::chown(world.user.path("metrics"), Some(home.uid()), Some(home.gid()))
        .expect("its owner");
    let told = "[Service]\nType=oneshot\nExecStart=/bin/touch %h/told\n";
    world.user.write(".config/systemd/user/told.service", 0o644, told);
    world.user.must_systemctl(["daemon-reload"]);
    world.strong_login();
    world.user.must_systemctl(["start", SERVICE]);
    world.assert_succeeded(SERVICE);
    world.check_healed();
    assert!(world.user.path("told").exists(), "the hook did not get through{}", world.user.report());
    assert_eq!(world.logged("WARN: "), 0, "{}", world.user.read(LOG));
    let healed = "vault_token_heals_total{profile=\"default\",user=\"";
    let text = world.user.read("metrics/vault.prom");
    assert!(text.contains(healed) && text.contains("result=\"healed\"} 1\n"), "{text}");
}

#[test]
#[ignore = "needs root and a user manager; scripts/test runs it"]
fn a_weak_clobber_leaves_the_unit_failed_until_somebody_logs_in() {
    let world = World::installed();
    world.drop_in(SERVICE, "output", TO_FILE);
    let weak = world.weak_login();

    let started = world.user.systemctl(["start", SERVICE]);

    assert!(!started.status.success(), "the start of a pass that fails has to fail");
    let state = world.user.properties(SERVICE, ["Result", "ExecMainStatus", "ActiveState"]);
    assert_eq!(state, ["exit-code", "1", "failed"], "{}", world.user.report());
    let failed = world.user.must_systemctl(["list-units", "--failed", "--plain", "--no-legend"]);
    assert!(failed.contains(SERVICE), "not among the failed units: {failed}");
    let output = world.user.read("output");
    assert!(output.contains("DRIFT: ") && output.contains("heal denied"), "{output}");
    assert!(output.contains("dn=\"userpass-woodpecker\""), "{output}");
    assert_eq!(world.user.read(".vault-token"), weak, "the file was touched");

    world.strong_login();
    world.user.must_systemctl(["start", SERVICE]);
    world.assert_succeeded(SERVICE);
    world.check_healed();
}

#[test]
#[ignore = "needs root and a user manager; scripts/test runs it"]
fn the_path_unit_heals_within_seconds_and_does_not_go_round_in_circles() {
    let world = World::installed();
    world.login(&world.bao.mint_ours().token);
    world.user.must_systemctl(["enable", "--now", PATH_UNIT]);

    for round in 1..=3 {
        world.strong_login();
        world.user.wait_until("the login is healed", || world.logged(" HEALED: ") == round);
    }
    // Whether our own write starts the service once more depends on the version of systemd; that run only renews.
    thread::sleep(Duration::from_secs(3));
    world.assert_succeeded(SERVICE);
    world.check_healed();
    let run = world.user.property(SERVICE, "InvocationID");
    assert_eq!(world.logged(" HEALED: "), 3, "{}", world.user.read(LOG));
    assert!(world.logged(" OK ") <= 3, "one run per write of ours at most:\n{}", world.user.read(LOG));
    assert_eq!(
        world.logged(""),
        world.logged(" HEALED: ") + world.logged(" OK "),
        "{}",
        world.user.read(LOG)
    );
    thread::sleep(Duration::from_secs(3));
    assert_eq!(world.user.property(SERVICE, "InvocationID"), run, "it goes on:\n{}", world.user.read(LOG));

    // A pass that fails does not end the watching.
    world.weak_login();
    world
        .user
        .wait_until("the weak login is found", || world.logged(" DRIFT: ") == 1 && world.is_idle(SERVICE));
    assert_eq!(world.user.property(SERVICE, "ActiveState"), "failed");
    thread::sleep(Duration::from_secs(2));
    assert_eq!(world.logged(" DRIFT: "), 1, "a failed pass is repeated:\n{}", world.user.read(LOG));
    world.strong_login();
    world.user.wait_until("the login is healed", || world.logged(" HEALED: ") == 4 && world.is_idle(SERVICE));
    world.assert_succeeded(SERVICE);

    // More logins at once than the usual limit of 5 starts in 10 seconds.
    for _ in 0..8 {
        world.strong_login();
        thread::sleep(Duration::from_millis(400));
    }
    assert_eq!(world.user.property(PATH_UNIT, "ActiveState"), "active", "{}", world.user.report());
    world.user.wait_until("the last login is healed", || world.is_ours() && world.is_idle(SERVICE));
    world.check_healed();
}

#[test]
#[ignore = "needs root and a user manager; scripts/test runs it"]
fn an_instance_of_the_template_serves_a_second_token() {
    let world = World::installed();
    let first = world.bao.mint_ours().token;
    world.login(&first);
    let second = world.user.path(".vault-token-work");
    world.user.write(
        ".config/vault-token-renew/work.toml",
        0o600,
        format!("token_file = {second:?}\ndisplay_name = \"work-bot\"\npolicies = [\"reader\"]\n"),
    );
    world.user.write(".config/vault-token-renew/work.env", 0o600, world.vault_addr());
    // The other file must not be what made it work.
    world.user.write(".config/vault-token-renew/env", 0o600, format!("VAULT_ADDR={NOWHERE}\n"));
    world.user.write(".vault-token-work", 0o600, world.bao.admin_login().token);
    world.drop_in("vault-token-renew@.timer", "at-once", AT_ONCE);
    world.user.must_systemctl(["enable", "--now", "vault-token-renew@work.timer"]);
    let instance = "vault-token-renew@work.service";

    world.user.wait_until("the second token is healed", || {
        world.name_in(".vault-token-work") == "token-work-bot" && world.is_idle(instance)
    });

    world.assert_succeeded(instance);
    assert_eq!(world.user.mode(".vault-token-work"), 0o600);
    let healed = world.bao.lookup(&world.user.read(".vault-token-work")).expect("a living token");
    assert_eq!(healed["policies"], json!(["default", "reader"]));
    assert_eq!(world.user.read(".vault-token"), first, "the first token was touched");
    assert!(world.bao.lookup(&first).is_some(), "the first token was revoked");
}

#[test]
fn the_template_differs_from_the_service_in_names_only() {
    let directives = |file: &str| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd").join(file);
        let text = fs::read_to_string(path).expect("a unit");
        text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect::<Vec<_>>().join("\n")
    };
    let instance = |text: String| {
        text.replace("the token file", "the token file of %i")
            .replace("of the Vault token in the token file of %i", "of the Vault token of %i")
            .replace("/vault-token-renew\n", "/vault-token-renew --config %E/vault-token-renew/%i.toml\n")
            .replace("/env", "/%i.env")
    };
    assert_eq!(instance(directives(SERVICE)), directives("vault-token-renew@.service"));
    assert_eq!(instance(directives(TIMER)), directives("vault-token-renew@.timer"));
}

#[test]
fn the_units_that_stay_are_hardened_like_the_service() {
    let hardening = |unit: &str| {
        let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd").join(unit));
        let text = text.expect("a unit").replace(unit, "UNIT");
        let (_, hardening) =
            text.split_once("# Nothing it starts may gain privileges").expect("the hardening");
        hardening.split("\n[Install]").next().unwrap_or_default().trim_end().to_owned()
    };
    assert_eq!(hardening(WATCH), hardening(SERVICE));
    let without_comments = |text: String| -> Vec<String> {
        text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
    };
    assert_eq!(without_comments(hardening(FOLLOW)), without_comments(hardening(SERVICE)));
}

#[test]
#[ignore = "needs root and a user manager; scripts/test runs it"]
fn systemd_has_nothing_to_say_against_the_units() {
    let world = World::installed();
    for unit in
        [SERVICE, TIMER, PATH_UNIT, WATCH, FOLLOW, "vault-token-renew@.service", "vault-token-renew@.timer"]
    {
        world.user.check_verified(&world.user.path(&format!(".config/systemd/user/{unit}")));
    }
    for unit in [SERVICE, WATCH, "vault-token-follow@work.service", "vault-token-renew@work.service"] {
        let security = world
            .user
            .command("systemd-analyze")
            .args(["--user", "--no-pager", "security", unit])
            .output()
            .expect("systemd-analyze");
        let said = text(&security);
        let exposure = said
            .split("Overall exposure level for ")
            .nth(1)
            .and_then(|rest| rest.split_once(": ")?.1.split(' ').next()?.parse::<f32>().ok());
        assert!(exposure.is_some_and(|exposure| exposure <= 4.0), "{unit}: {exposure:?}\n{said}");
    }
}

/// What the comment in the failure unit, and docs/monitoring.md, tell the user to write into a unit.
const TELL_ME: &str = "[Unit]\nOnFailure=vault-token-renew-failure@%n.service\n";

/// The failure unit of a unit.
fn failure_unit_of(unit: &str) -> String {
    format!("vault-token-renew-failure@{unit}.service")
}

#[test]
#[ignore = "needs root and a user manager; scripts/test runs it"]
fn the_failure_unit_tells_the_user_which_unit_failed_and_why_or_fails_itself() {
    let world = World::installed();
    let user = &world.user;
    let template = "vault-token-renew-failure@.service";
    let source = Path::new(env!("CARGO_MANIFEST_DIR"));
    let shipped = fs::read_to_string(source.join("systemd").join(template)).expect("the failure unit");
    let documented = fs::read_to_string(source.join("docs/monitoring.md")).expect("docs/monitoring.md");
    for line in TELL_ME.lines() {
        assert!(shipped.contains(&format!("\n#   {line}\n")), "{line:?} is not in the comment of the unit");
        assert!(documented.contains(&format!("\n{line}\n")), "{line:?} is not in docs/monitoring.md");
    }
    user.check_verified(&user.path(&format!(".config/systemd/user/{}", failure_unit_of(SERVICE))));

    // A machine with mail: what is handed over is kept. No desktop, whatever this machine has.
    user.write("bin/sendmail", 0o755, "#!/bin/sh\n{ echo \"arguments: $*\"; cat; } >>~/mail\n");
    user.write("bin/notify-send", 0o755, "#!/bin/sh\nexit 1\n");
    world.drop_in(
        template,
        "test",
        "[Service]\nEnvironment=PATH=%h/bin:/usr/bin:/bin\nStandardError=append:%h/errors\n",
    );
    world.drop_in(SERVICE, "tell", TELL_ME);
    world.drop_in("vault-token-renew@.service", "tell", TELL_ME);
    let name = user.command("id").arg("-un").output().expect("id");
    let name = String::from_utf8_lossy(&name.stdout).trim_end().to_owned();
    // Fails the unit, and returns what its failure unit made of it.
    let told_in = |file: &str, unit: &str| {
        user.write(file, 0o600, "");
        user.write("errors", 0o600, "");
        assert!(!user.systemctl(["start", unit]).status.success(), "{unit} has to fail");
        let failure_unit = failure_unit_of(unit);
        user.wait_until("somebody is told", || !user.read(file).is_empty() && world.is_idle(&failure_unit));
        user.read(file)
    };

    world.weak_login();
    let mail = told_in("mail", SERVICE);
    world.assert_succeeded(&failure_unit_of(SERVICE));
    for expected in [
        format!("arguments: -t\nTo: {name}\nSubject: {SERVICE} failed on "),
        "\nContent-Type: text/plain; charset=UTF-8\n\n".to_owned(),
        format!("{SERVICE} - Renew or heal"),
        "code=exited, status=1/FAILURE".to_owned(),
        "DRIFT: ~/.vault-token is dn=\"userpass-woodpecker\" — heal denied".to_owned(),
        "Manual re-mint: vault login".to_owned(),
    ] {
        assert!(mail.contains(&expected), "{expected:?} is not in:\n{mail}{}", user.report());
    }
    assert_eq!(mail.matches("\nSubject: ").count(), 1, "{mail}");
    assert!(user.read("errors").contains(&format!("<2>{SERVICE} failed on ")), "{}", user.read("errors"));

    // An instance, with a name that had to be escaped, whose settings are wrong: it is named as systemd names it.
    let instance = r"vault-token-renew@my\x2dwork.service";
    user.write(r".config/vault-token-renew/my\x2dwork.toml", 0o600, "display_nam = \"x\"\n");
    let mail = told_in("mail", instance);
    for expected in [&format!("Subject: {instance} failed on "), "(code=exited, status=2)"] {
        assert!(mail.contains(expected), "{expected:?} is not in:\n{mail}{}", user.report());
    }

    // A good run tells nobody anything.
    world.strong_login();
    user.must_systemctl(["start", SERVICE]);
    world.check_healed();
    thread::sleep(Duration::from_secs(1));
    assert_eq!(user.read("mail"), mail);

    // Nothing to tell anybody with: it fails, once, and starts nothing more.
    user.write("bin/sendmail", 0o755, "#!/bin/sh\nexit 75\n");
    world.weak_login();
    let errors = told_in("errors", SERVICE);
    let state = user.properties(&failure_unit_of(SERVICE), ["Result", "ActiveState"]);
    assert_eq!(state, ["exit-code", "failed"], "{}", user.report());
    assert!(
        errors.contains(&format!("<2>neither sendmail nor notify-send could tell {name} that")),
        "{errors}"
    );
    thread::sleep(Duration::from_secs(2));
    assert_eq!(user.read("errors"), errors, "it goes on");
    let known = user.must_systemctl(["list-units", "--all", "--plain", "--no-legend", "vault-token-renew-*"]);
    assert!(!known.contains("failure@vault-token-renew-failure@"), "it told of itself:\n{known}");

    // With a desktop alone.
    user.write("bin/notify-send", 0o755, "#!/bin/sh\nprintf '%s\\n' \"$@\" >~/notification\n");
    let shown = told_in("notification", SERVICE);
    world.assert_succeeded(&failure_unit_of(SERVICE));
    assert!(shown.starts_with(&format!("--urgency=critical\n{SERVICE} failed on ")), "{shown}");
    assert!(shown.contains("DRIFT: "), "{shown}");
}

#[test]
#[ignore = "needs root and a user manager; scripts/test runs it"]
fn the_failure_unit_quotes_the_lines_of_the_token_that_it_tells_of() {
    let world = World::installed();
    let user = &world.user;
    user.write("bin/sendmail", 0o755, "#!/bin/sh\ncat >~/mail\n");
    user.write("bin/notify-send", 0o755, "#!/bin/sh\nexit 1\n");
    user.write("bin/journalctl", 0o755, "#!/bin/sh\nexit 1\n");
    let environment = "[Service]\nEnvironment=PATH=%h/bin:/usr/bin:/bin\n";
    world.drop_in("vault-token-renew-failure@.service", "test", environment);
    // What the mail about a unit holds beside the state of the unit.
    let told = |unit: &str| {
        let _ = fs::remove_file(user.path("mail"));
        user.must_systemctl(["start", &failure_unit_of(unit)]);
        let mail = user.read("mail");
        let (_, told) = mail.split_once("\nThe last lines about it:\n").unwrap_or_else(|| panic!("{mail}"));
        told.trim_end().to_owned()
    };
    let advice = "\n\nHow it is now, and what to do: vault-token-renew";
    let of = |file: &str| format!(" --config ~/.config/vault-token-renew/{file}");
    let escaped = r"vault-token-renew@my\x2dwork.service";

    let time = "2026-11-22T00:03:11+00:00";
    let log = format!(
        "{time} FAIL: the first one\n{time} [work] FAIL: the second one\n{time} [my\\x2dwork] DRIFT: a\\nb \\c %s\n\
         {time} OK of the first [work] one\n{time} [workshop] FAIL: another\n{time} [agent] FAIL: a secret\n"
    );
    user.write(LOG, 0o600, log);
    let second = told("vault-token-renew@work.service");
    assert_eq!(second, format!("{time} [work] FAIL: the second one{advice}{} status", of("work.toml")));
    let first = format!("{time} FAIL: the first one\n{time} OK of the first [work] one{advice} status");
    assert_eq!([told(SERVICE), told(WATCH)], [first.clone(), first]);
    let quoted = of(r"'my\x2dwork.toml'");
    let line = format!("{time} [my\\x2dwork] DRIFT: a\\nb \\c %s");
    assert_eq!(told(escaped), format!("{line}{advice}{quoted} status"));
    let fetch = "\n\nTo fetch once, and see what is wrong: vault-token-renew follow --once";
    let follow = format!("{time} [agent] FAIL: a secret{fetch}{}", of("agent.toml"));
    assert_eq!(told("vault-token-follow@agent.service"), follow);

    // Where the log has none, the journal may have some: without a time, and an error of the settings names their file.
    let journal = "#!/bin/sh\necho \"$*\" >~/asked\nprintf '%s\\n' 'FAIL: journal one' '[work] FAIL: two' \\\n\
                   'vault-token-renew: error: /home/x/.config/vault-token-renew/other.toml: wrong'\n";
    user.write("bin/journalctl", 0o755, journal);
    user.write(LOG, 0o600, format!("{time} [workshop] FAIL: another\n"));
    let second = told("vault-token-renew@work.service");
    assert_eq!(second, format!("[work] FAIL: two{advice}{} status", of("work.toml")));
    assert!(user.read("asked").contains("--user ") && user.read("asked").contains("-t vault-token-renew"));
    assert!(told("vault-token-renew@other.service").contains("other.toml: wrong\n"));
    fs::remove_file(user.path(LOG)).expect("the log");
    assert!(told(SERVICE).starts_with("FAIL: journal one\n"), "{}", told(SERVICE));
    assert!(told("vault-token-renew@third.service").starts_with("(none in the log and the journal)\n"));
}

/// What a process can do, one line each: the name of the attempt, what came of it. Perl, because every Debian has it.
const PROBE: &str = r#"
    $| = 1;
    sub show { my ($name, $ok) = @_; print "$name: ", ($ok ? "yes" : "$!"), "\n"; }
    sub field {
        my ($file, $pattern) = @_;
        open(my $f, '<', $file) or return "$!";
        /$pattern/ and return $1 while <$f>;
        "?"
    }
    my $status = '/proc/self/status';
    print 'no new privileges: ', field($status, qr/^NoNewPrivs:\s*(\d)/), "\n";
    print 'system call filter: ', field($status, qr/^Seccomp:\s*(\d)/), "\n";
    print 'capability bounding set: ', field($status, qr/^CapBnd:\s*0*([0-9a-f])/), "\n";
    print 'core file: ', field('/proc/self/limits', qr/^Max core file size\s+(\S+)/), "\n";
    print 'umask: ', sprintf('%04o', umask), "\n";
    for my $namespace ('user', 'mnt', 'uts') {
        my $is_shared = readlink("/proc/self/ns/$namespace") eq $ENV{"OUTER_$namespace"};
        print "namespace $namespace: ", ($is_shared ? 'shared' : 'own'), "\n";
    }
    my $probe = "$ENV{HOME}/probe";
    show('write to the home', open(my $a, '>', "$probe.1") && rename("$probe.1", "$probe.2"));
    show('write outside the home', open(my $b, '>', "$ENV{OUTSIDE}/probe"));
    show('see the shared /tmp', -e $ENV{IN_TMP});
    my %mounts;
    open(my $m, '<', '/proc/self/mountinfo');
    while (<$m>) { my @f = split; $mounts{$f[4]} = $f[5] =~ /^ro\b/ ? 'ro' : 'rw'; }
    print "$_: ", $mounts{$_} // 'none', "\n" for '/proc/sys', '/proc/kmsg', '/sys/fs/cgroup';
    print '/dev: ', (grep { /^(?:sd|vd|nvme|loop|kmsg|mem)/ } map { s!.*/!!r } glob('/dev/*')) ? 'real' : 'own', "\n";
    show('socket AF_INET', socket(my $s1, 2, 1, 0));
    show('socket AF_INET6', socket(my $s2, 10, 1, 0) || $!{EAFNOSUPPORT} && !-e '/proc/net/if_inet6');
    show('socket AF_UNIX', socket(my $s3, 1, 1, 0));
    show('socket AF_NETLINK', socket(my $s4, 16, 3, 0));
    show("take another process's file", syscall(438, -1, 0, 0) != -1);
    show('change the priority', setpriority(0, 0, 5));
    show('set-user-id file', open(my $d, '>', "$ENV{HOME}/probe.3") && chmod(04755, "$ENV{HOME}/probe.3"));
    show('writable and executable memory', syscall(`uname -m` =~ /x86_64/ ? 9 : 222, 0, 4096, 7, 0x22, -1, 0) != -1);
    print 'new namespace: ', (system("unshare --user true 2>/dev/null") == 0 ? 'yes' : 'no'), "\n";
    print 'other personality: ', (system("setarch --addr-no-randomize true 2>/dev/null") == 0 ? 'yes' : 'no'), "\n";
"#;

impl World {
    /// What the probe finds: within the service (with its hardening, and `OUTER` as the manager sees the world), or
    /// as a plain process of the user.
    fn probe(&self, in_service: bool) -> String {
        let starter = if in_service { self.user.manager_pid().to_string() } else { "self".to_owned() };
        let outer = ["user", "mnt", "uts"].map(|kind| {
            let namespace = fs::read_link(format!("/proc/{starter}/ns/{kind}"));
            format!("OUTER_{kind}={}\n", namespace.expect("a name space").display())
        });
        let in_tmp = tempfile::NamedTempFile::new_in("/tmp").expect("a file in /tmp");
        let outside =
            tempfile::Builder::new().prefix("vtr-outside-").tempdir_in("/var/lib").expect("a folder");
        // Not in /var/tmp, which PrivateTmp= hides. Writable for everybody: the mount has to refuse, not the mode.
        fs::set_permissions(outside.path(), fs::Permissions::from_mode(0o777)).expect("its mode");
        let environment = format!(
            "{}IN_TMP={}\nOUTSIDE={}\n",
            outer.concat(),
            in_tmp.path().display(),
            outside.path().display()
        );
        self.user.write("probe.pl", 0o644, PROBE);
        if in_service {
            self.user.write(".config/vault-token-renew/env", 0o600, &environment);
            self.drop_in(
                SERVICE,
                "probe",
                &format!("{TO_FILE}ExecStart=\nExecStart=/usr/bin/perl %h/probe.pl\n"),
            );
            self.user.write("output", 0o600, "");
            self.user.must_systemctl(["start", SERVICE]);
            self.user.read("output")
        } else {
            let variables = environment.lines().filter_map(|line| line.split_once('='));
            let output = self.user.command("perl").arg("probe.pl").envs(variables).output().expect("perl");
            String::from_utf8_lossy(&output.stdout).into_owned()
        }
    }
}

#[test]
#[ignore = "needs root and a user manager; scripts/test runs it"]
fn each_line_of_hardening_takes_effect() {
    // Attempt, in the service, in the service without namespaces, outside.
    let table = [
        ("no new privileges", "1", "1", "0"),
        ("system call filter", "2", "2", "0"),
        ("core file", "0", "0", ""),
        ("umask", "0077", "0077", ""),
        ("capability bounding set", "0", "1", "1"),
        ("namespace user", "own", "shared", "shared"),
        ("namespace mnt", "own", "shared", "shared"),
        ("namespace uts", "own", "shared", "shared"),
        ("write to the home", "yes", "yes", "yes"),
        ("write outside the home", "Read-only file system", "yes", "yes"),
        ("see the shared /tmp", "No such file or directory", "yes", "yes"),
        ("/proc/sys", "ro", "", ""),
        ("/proc/kmsg", "ro", "none", "none"),
        ("/sys/fs/cgroup", "ro", "", ""),
        ("/dev", "own", "", ""),
        ("socket AF_INET", "yes", "yes", "yes"),
        ("socket AF_INET6", "yes", "yes", "yes"),
        ("socket AF_UNIX", "yes", "yes", "yes"),
        (
            "socket AF_NETLINK",
            "Address family not supported by protocol",
            "Address family not supported by protocol",
            "yes",
        ),
        // Not on the list of what is allowed; outside it is the argument that is wrong.
        (
            "take another process's file",
            "Operation not permitted",
            "Operation not permitted",
            "Bad file descriptor",
        ),
        ("change the priority", "Operation not permitted", "Operation not permitted", "yes"),
        ("set-user-id file", "Operation not permitted", "Operation not permitted", "yes"),
        ("writable and executable memory", "Operation not permitted", "Operation not permitted", "yes"),
        ("new namespace", "no", "no", "yes"),
        ("other personality", "no", "no", "yes"),
    ];
    let world = World::installed();
    let inside = world.probe(true);
    // What is on the outside shows that the attempt is worth making. "" where that differs between machines.
    let outside = world.probe(false);
    // What cannot be seen from within, the manager has at least understood.
    for unit in [SERVICE, "vault-token-renew@work.service"] {
        for (name, value) in [
            ("KeyringMode", "private"),
            ("SystemCallArchitectures", "native"),
            ("RestrictRealtime", "yes"),
            ("LimitCORE", "0"),
            ("ProtectKernelModules", "yes"),
            ("ProtectClock", "yes"),
            ("TimeoutStartUSec", "30min"),
            ("Restart", "no"),
        ] {
            assert_eq!(world.user.property(unit, name), value, "{name} of {unit}");
        }
    }

    for unit in [SERVICE, "vault-token-renew@.service"] {
        world.drop_in(unit, "no-namespaces", &no_namespaces_of(unit));
    }
    let without = world.probe(true);
    for (attempt, hardened, without_namespaces, bare) in table {
        for (found, expected, place) in [
            (&inside, hardened, "in the service"),
            (&without, without_namespaces, "without namespaces"),
            (&outside, bare, "outside"),
        ] {
            let line = found.lines().find_map(|line| line.strip_prefix(attempt)?.strip_prefix(": "));
            assert!(
                line.is_some_and(|line| line == expected || expected.is_empty()),
                "{attempt}, {place}: {line:?} instead of {expected:?}\n{found}{}",
                world.user.report()
            );
        }
    }

    // And the program itself works under it, too, with the drop-in for machines without user namespaces.
    fs::remove_file(world.user.path(&format!(".config/systemd/user/{SERVICE}.d/probe.conf")))
        .expect("the drop-in");
    world.user.write(".config/vault-token-renew/env", 0o600, world.vault_addr());
    world.user.must_systemctl(["daemon-reload"]);
    world.strong_login();
    world.user.must_systemctl(["start", SERVICE]);
    world.check_healed();
}

/// The drop-in that the comment in the unit offers.
fn no_namespaces_of(unit: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd").join(unit);
    let text = fs::read_to_string(path).expect("a unit");
    let (_, after) = text.split_once("/no-namespaces.conf:\n").expect("the comment with the drop-in");
    after.lines().filter_map(|line| line.strip_prefix("#   ")).collect::<Vec<_>>().join("\n")
}

#[test]
#[ignore = "needs root and a user manager; scripts/test runs it"]
fn scripts_install_and_uninstall_do_what_they_say_twice() {
    let world = World { user: user_with_sources(), bao: server() };
    let user = &world.user;
    let install = ["--binary", "source/program"];
    user.write(CONFIG, 0o600, IDENTITY);

    // Nothing else is configured, and lingering is refused: it works all the same, and says what is left to do.
    fake_loginctl(user, "echo 'Could not enable linger: Access denied' >&2; exit 1");
    let said = world.must_script("install", &install);
    for expected in [
        "timer is active, next run: ",
        "warning: lingering could not be enabled: Could not enable linger: Access denied",
        "As root: loginctl enable-linger vtrtest",
        "No address of a server is configured",
        "vault login -method=oidc && vault-token-renew",
    ] {
        assert!(said.contains(expected), "{expected:?} is not in:\n{said}");
    }
    assert_installed(user);
    assert!(said.contains(&user.property(TIMER, "NextElapseUSecRealtime")), "the wrong next run:\n{said}");

    // A second time, with everything in order.
    fake_loginctl(user, "echo \"$*\" >>~/linger");
    user.write(".config/vault-token-renew/env", 0o600, world.vault_addr());
    world.login(&world.bao.mint_ours().token);
    let said = world.must_script("install", &install);
    assert!(said.contains("the next run would succeed; a dry run says:"), "{said}");
    assert!(said.contains("would renew"), "{said}");
    assert!(said.contains("nothing is left to do"), "{said}");
    assert!(!said.contains("warning"), "{said}");
    assert_eq!(user.read("linger"), "enable-linger\n");
    assert_installed(user);

    // A weak token is a thing left to do, not a failure of the installation.
    world.weak_login();
    let said = world.must_script("install", &install);
    assert!(
        said.contains("the next run would fail; a dry run says:") && said.contains("heal denied"),
        "{said}"
    );
    user.write(CONFIG, 0o600, "display_nam = \"x\"\n");
    let said = world.must_script("install", &install);
    assert!(
        said.contains("the settings are wrong; a dry run says:") && said.contains("display_name"),
        "{said}"
    );
    user.write(CONFIG, 0o600, IDENTITY);

    // Everything that can be enabled and started goes away, and what is the user's stays.
    world.strong_login();
    user.must_systemctl(["start", SERVICE]);
    user.must_systemctl(["enable", "--now", PATH_UNIT, "vault-token-renew@work.timer"]);
    user.must_systemctl(["start", "vault-token-renew@other.timer"]);
    world.drop_in(SERVICE, "mine", "[Service]\nEnvironment=MINE=1\n");
    let kept = [".vault-token", LOG, ".config/vault-token-renew/env", CONFIG];
    let before = kept.map(|file| user.read(file));
    assert!(!before[0].is_empty() && !before[1].is_empty());
    let said = world.must_script("uninstall", &[]);
    assert!(said.contains("left alone: "), "{said}");
    assert!(said.contains("stopped vault-token-renew@other.timer"), "{said}");
    assert_eq!(kept.map(|file| user.read(file)), before);
    assert!(user.path(".local/state/vault-token-renew").exists(), "the state is gone");
    assert!(
        user.path(&format!(".config/systemd/user/{SERVICE}.d/mine.conf")).exists(),
        "the drop-in is gone"
    );
    assert_uninstalled(user);
    let said = world.must_script("uninstall", &[]);
    assert!(said.contains("there was nothing to remove"), "{said}");
    assert_uninstalled(user);

    // Completions follow the user's data folder, the man page does not; and both places are cleared.
    world.must_script("install", &install);
    let data = user.path("data");
    let with_data = |name: &str, args: &[&str]| {
        let mut command = user.command(format!("source/scripts/{name}"));
        let output = command.args(args).env("XDG_DATA_HOME", &data).env("SHELL", "/usr/bin/zsh").output();
        let output = output.expect("a script");
        assert!(output.status.success(), "{}", text(&output));
        text(&output)
    };
    let said = with_data("install", &install);
    assert!(said.contains("fpath+=(~/data/zsh/site-functions)"), "{said}");
    for (document, place) in DOCUMENTS.iter().skip(1) {
        assert_eq!(user.read(&format!("data/{place}")), source(&format!("docs/{document}")));
    }
    assert!(!user.path("data/man").exists(), "man does not look there");
    assert_installed(user);
    let said = with_data("uninstall", &[]);
    assert_eq!(said.matches("\nremoved ~/data/").count(), 3, "{said}");
    assert_uninstalled(user);

    // --no-enable: there, but asleep; and what runs already has the new unit.
    let no_enable = ["--binary=source/program", "--no-enable"];
    world.must_script("install", &no_enable);
    assert_eq!(user.property(TIMER, "ActiveState"), "inactive");
    assert_eq!(user.property(TIMER, "UnitFileState"), "disabled");
    user.write(&format!(".config/systemd/user/{TIMER}"), 0o644, "[Timer]\nOnCalendar=weekly\n");
    user.must_systemctl(["start", TIMER]);
    world.must_script("install", &no_enable);
    assert!(
        user.property(TIMER, "TimersCalendar").contains("OnCalendar=*-*-* 00:00:00"),
        "the old timer runs on"
    );
    world.must_script("uninstall", &[]);

    // No user manager: the files are there, the timer is enabled, and the exit status tells that it does not run.
    let mut command = user.command("source/scripts/install");
    let output =
        command.args(install).env("XDG_RUNTIME_DIR", "/nonexistent").output().expect("scripts/install");
    let said = text(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("warning: the timer does not run: no user manager of systemd can be reached"),
        "{said}"
    );
    user.must_systemctl(["daemon-reload"]);
    assert_eq!(user.property(TIMER, "UnitFileState"), "enabled");
    assert_eq!(user.mode(".local/bin/vault-token-renew"), 0o755);

    // A manager without a session bus: it cannot be asked for a dry run, which is no reason to say anything wrong.
    let mut command = user.command("source/scripts/install");
    let no_bus = command.args(install).env("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nonexistent");
    let said = text(&no_bus.output().expect("scripts/install"));
    assert!(
        said.contains("timer is active")
            && said.contains("could not be made in the environment of the service"),
        "{said}"
    );
    assert!(!said.contains("would fail") && !said.contains("namespaces"), "{said}");

    // Mistakes.
    let missing = world.script("install", &["--binary", "source/nothing"]);
    assert_eq!(missing.status.code(), Some(1), "{}", text(&missing));
    let unknown = world.script("install", &["--bianry", "source/program"]);
    assert_eq!(unknown.status.code(), Some(2), "{}", text(&unknown));
    let unknown = world.script("uninstall", &["--all"]);
    assert_eq!(unknown.status.code(), Some(2), "{}", text(&unknown));
}

/// What `scripts/install` installs beside program and units: below `docs`, and below `~/.local/share`.
const DOCUMENTS: [(&str, &str); 4] = [
    ("man/vault-token-renew.1", "man/man1/vault-token-renew.1"),
    ("completions/vault-token-renew.bash", "bash-completion/completions/vault-token-renew"),
    ("completions/_vault-token-renew", "zsh/site-functions/_vault-token-renew"),
    ("completions/vault-token-renew.fish", "fish/vendor_completions.d/vault-token-renew.fish"),
];

/// A file of the sources.
#[track_caller]
fn source(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Where `man` finds the page, for this user.
#[track_caller]
fn man_page(user: &UserManager) -> String {
    let output = user.command("man").args(["--where", PACKAGE]).output().expect("timeout, which starts it");
    assert!(output.status.success(), "man (apt-get install man-db): {}", text(&output));
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}

/// There is no logind here, and a real one must not learn of a throw-away user.
fn fake_loginctl(user: &UserManager, script: &str) {
    user.write(".local/bin/loginctl", 0o755, format!("#!/bin/sh\n{script}\n"));
}

#[track_caller]
fn assert_installed(user: &UserManager) {
    assert_eq!(user.mode(".local/bin/vault-token-renew"), 0o755);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd");
    for entry in fs::read_dir(folder).expect("the units").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let installed = format!(".config/systemd/user/{name}");
        assert_eq!(user.mode(&installed), 0o644, "{name}");
        assert_eq!(user.read(&installed), fs::read_to_string(entry.path()).expect("a unit"), "{name}");
    }
    for (document, place) in DOCUMENTS {
        let place = format!(".local/share/{place}");
        assert_eq!(user.mode(&place), 0o644, "{place}");
        assert_eq!(user.read(&place), source(&format!("docs/{document}")), "{place}");
    }
    assert_eq!(Path::new(&man_page(user)), user.path(".local/share/man/man1/vault-token-renew.1"));
    let state = user.properties(TIMER, ["ActiveState", "UnitFileState"]);
    assert_eq!(state, ["active", "enabled"], "{}", user.report());
}

#[track_caller]
fn assert_uninstalled(user: &UserManager) {
    assert!(!user.path(".local/bin/vault-token-renew").exists(), "the program is still there");
    let left = user.must_systemctl(["list-units", "--all", "--plain", "--no-legend", "vault-token-renew*"]);
    assert_eq!(left, "", "units are still loaded");
    // Its exit status says that it found none.
    let left = user.systemctl(["list-unit-files", "--plain", "--no-legend", "vault-token-renew*"]);
    assert_eq!(String::from_utf8_lossy(&left.stdout), "", "unit files are still there");
    let mut find = user.command("find");
    find.args([".config/systemd", ".local/bin", ".local/share", "data"]);
    find.args(["-name", "*vault-token-renew*", "!", "-name", "*.d"]);
    let left = find.output().expect("find");
    assert_eq!(String::from_utf8_lossy(&left.stdout), "", "files are still there");
}

/// The Debian package, really installed on this machine; dropping it purges it.
struct Package {
    /// Everything in the package that was not on the machine before.
    new: Vec<PathBuf>,
    installed: bool,
}

impl Package {
    /// Installs the package that `VTR_TEST_DEB` names.
    ///
    /// # Panics
    /// Without having touched anything, where there is such a package, or a file in its place, already.
    fn install() -> Self {
        let file = std::env::var_os("VTR_TEST_DEB")
            .expect("VTR_TEST_DEB names no package; build one: export VTR_TEST_DEB=$(scripts/deb)");
        let status =
            admin("dpkg-query").args(["--show", "--showformat=${db:Status-Abbrev}", PACKAGE]).output();
        let status = status.expect("dpkg-query: this needs a machine whose packages are Debian's");
        assert_eq!(
            String::from_utf8_lossy(&status.stdout).trim_end(),
            "",
            "the package {PACKAGE} is on this machine already, and this test would purge it; \
             if nobody needs it: apt-get purge {PACKAGE}"
        );
        let contents = admin("dpkg-deb").arg("--contents").arg(&file).output().expect("dpkg-deb");
        assert!(contents.status.success(), "{}", text(&contents));
        let mut new = Vec::new();
        for line in String::from_utf8_lossy(&contents.stdout).lines() {
            let (_, path) = line.split_once(" ./").unwrap_or_else(|| panic!("no path in {line:?}"));
            let path = Path::new("/").join(path.split(" -> ").next().unwrap_or(path));
            let there = fs::symlink_metadata(&path).is_ok();
            let is_folder = line.starts_with('d');
            assert!(is_folder || !there, "{} is there already, and no package {PACKAGE} is", path.display());
            if !there {
                new.push(path);
            }
        }
        let this = Self { new, installed: true };
        // Images of containers like to leave out man pages and documentation (/etc/dpkg/dpkg.cfg.d).
        dpkg(admin("dpkg").args(["--path-include=/usr/share/*", "--install"]).arg(&file));
        for path in &this.new {
            assert!(path.exists(), "{} is in the package and was not installed", path.display());
        }
        this
    }

    /// Purges it, and fails if anything of it is left.
    fn purge(mut self) {
        dpkg(admin("dpkg").args(["--purge", PACKAGE]));
        self.installed = false;
        let mut left: Vec<_> = self.new.iter().filter(|path| fs::symlink_metadata(path).is_ok()).collect();
        let info: Vec<_> = fs::read_dir("/var/lib/dpkg/info").expect("dpkg").flatten().collect();
        let info: Vec<_> = info.iter().map(fs::DirEntry::path).collect();
        left.extend(info.iter().filter(|path| path.file_stem().is_some_and(|stem| stem == PACKAGE)));
        assert!(left.is_empty(), "the package left {left:?}");
    }
}

impl Drop for Package {
    fn drop(&mut self) {
        if self.installed {
            dpkg(admin("dpkg").args(["--purge", PACKAGE]));
        }
    }
}

/// A command of the administrator, who has the folders for such commands on PATH.
fn admin(program: &str) -> Command {
    let mut command = Command::new(program);
    command.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    command.env("LC_ALL", "C.UTF-8").env("DEBIAN_FRONTEND", "noninteractive");
    command
}

/// Something that dpkg has to do, after whatever else it is doing.
#[track_caller]
fn dpkg(command: &mut Command) {
    let deadline = Instant::now() + Duration::from_secs(300);
    loop {
        let output = command.output().expect("dpkg");
        if output.status.success() {
            return;
        }
        let said = text(&output);
        let busy = said.contains("locked by another process") && Instant::now() < deadline;
        // A second panic would hide the first.
        assert!(busy || thread::panicking(), "{command:?}: {said}");
        if !busy {
            return;
        }
        thread::sleep(Duration::from_secs(1));
    }
}

/// A file as `gzip` unpacks it.
#[track_caller]
fn unpacked(path: &str) -> String {
    let output = admin("gzip").args(["--decompress", "--stdout", path]).output().expect("gzip");
    assert!(output.status.success(), "{path}: {}", text(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
#[ignore = "needs root, a user manager and the package of scripts/deb; scripts/test runs it"]
fn the_debian_package_heals_a_users_token_and_goes_without_a_trace() {
    let package = Package::install();
    let world = World { user: user_with_sources(), bao: server() };
    let user = &world.user;

    // Every unit, with no other difference than the place of the program.
    let folder = Path::new("/usr/lib/systemd/user");
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd");
    let mut units = Vec::new();
    for entry in fs::read_dir(sources).expect("the units").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        user.check_verified(&folder.join(&name));
        let unit = fs::read_to_string(folder.join(&name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        let expected = fs::read_to_string(entry.path())
            .expect("a unit")
            .replace("ExecStart=%h/.local/bin/", "ExecStart=/usr/bin/");
        assert_eq!(unit, expected, "{name}");
        assert!(!unit.contains(".local/bin"), "{name}");
        units.push(name);
    }
    let packaged = package.new.iter().filter(|path| path.starts_with(folder)).count();
    assert_eq!(packaged, units.len(), "{units:?}, and in the package: {:?}", package.new);

    // What is for people.
    let share = Path::new("/usr/share");
    for (document, place) in [
        ("docs/completions/vault-token-renew.bash", "bash-completion/completions/vault-token-renew"),
        ("docs/completions/_vault-token-renew", "zsh/vendor-completions/_vault-token-renew"),
        ("docs/completions/vault-token-renew.fish", "fish/vendor_completions.d/vault-token-renew.fish"),
        ("README.md", "doc/vault-token-renew/README.md"),
        ("docs/runbook.md", "doc/vault-token-renew/docs/runbook.md"),
    ] {
        let installed =
            fs::read_to_string(share.join(place)).unwrap_or_else(|error| panic!("{place}: {error}"));
        assert_eq!(installed, source(document), "{place}");
    }
    let page = man_page(user);
    assert_eq!(page, "/usr/share/man/man1/vault-token-renew.1.gz");
    assert_eq!(unpacked(&page), source("docs/man/vault-token-renew.1"));
    let doc = share.join("doc").join(PACKAGE);
    let copyright = fs::read_to_string(doc.join("copyright")).expect("copyright");
    assert!(copyright.contains("\nFiles: *\nCopyright: 20"), "{copyright}");
    assert!(copyright.contains("\nLicense: Expat or Apache-2.0\n"), "{copyright}");
    for linked in ["rustls", "ring", "clap", "serde_json"] {
        assert!(copyright.contains(&format!("\nFiles: crates/{linked}-")), "{linked}");
    }
    assert!(!copyright.contains("crates/proptest-"), "what only the tests need is not in the package");
    // With the sums that it brings.
    let verified = admin("dpkg").args(["--verify", PACKAGE]).output().expect("dpkg");
    assert!(verified.status.success() && verified.stdout.is_empty(), "{}", text(&verified));
    let sums = fs::read_to_string(format!("/var/lib/dpkg/info/{PACKAGE}.md5sums")).expect("sums");
    assert!(sums.contains("  usr/bin/vault-token-renew\n"), "{sums}");
    let version = env!("CARGO_PKG_VERSION");
    let changelog = unpacked("/usr/share/doc/vault-token-renew/changelog.Debian.gz");
    assert!(changelog.starts_with(&format!("vault-token-renew ({version}-1) ")), "{changelog}");
    assert_eq!(unpacked("/usr/share/doc/vault-token-renew/changelog.gz"), source("CHANGELOG.md"));

    // The user has nothing but a configuration, and nothing is enabled for them.
    for below_home in [".config/systemd", ".local/bin"] {
        assert!(!user.path(below_home).exists(), "{below_home}");
    }
    user.must_systemctl(["daemon-reload"]);
    for unit in [TIMER, PATH_UNIT] {
        let state = user.properties(unit, ["ActiveState", "UnitFileState"]);
        assert_eq!(state, ["inactive", "disabled"], "{unit}");
    }
    for unit in [SERVICE, "vault-token-renew@work.service"] {
        let [file, command] = user.properties(unit, ["FragmentPath", "ExecStart"]);
        assert!(file.starts_with("/usr/lib/systemd/user/"), "{unit}: {file}");
        assert!(command.contains("path=/usr/bin/vault-token-renew ;"), "{unit}: {command}");
    }
    user.write(".config/vault-token-renew/env", 0o600, world.vault_addr());
    user.write(CONFIG, 0o600, IDENTITY);
    world.strong_login();
    user.must_systemctl(["start", SERVICE]);
    world.assert_succeeded(SERVICE);
    world.check_healed();
    assert_eq!(world.logged(" HEALED: "), 1, "{}", user.read(LOG));

    // What the documentation says to do.
    user.must_systemctl(["enable", "--now", TIMER]);
    let state = user.properties(TIMER, ["ActiveState", "UnitFileState"]);
    assert_eq!(state, ["active", "enabled"], "{}", user.report());
    user.must_systemctl(["disable", "--now", TIMER]);

    // A mask keeps `enable` from working; the remedy that `status` names does not.
    user.must_systemctl(["mask", TIMER]);
    let status = user.command("/usr/bin/vault-token-renew").args(["status", "--json", "--offline"]).output();
    let status: Value = serde_json::from_slice(&status.expect("status").stdout).expect("JSON");
    let problems = status["problems"].as_array().expect("problems");
    let masked = problems.iter().find(|problem| problem["id"] == "timer_masked").expect("the mask is seen");
    let remedy = user.command("sh").arg("-c").arg(masked["remedy"].as_str().expect("a remedy")).output();
    let remedy = remedy.expect("sh");
    assert!(remedy.status.success(), "{}", text(&remedy));
    assert_eq!(user.property(TIMER, "ActiveState"), "active", "{status}");
    user.must_systemctl(["disable", "--now", TIMER]);

    // scripts/install over it: it says that its units are those that count, and how to go back.
    fake_loginctl(user, ":");
    user.must_systemctl(["enable", "--now", TIMER]);
    let file = |unit: &str| user.property(unit, "FragmentPath");
    let said = world.must_script("install", &["--binary", "source/program"]);
    assert!(said.contains("override those of the Debian package in /usr/lib/systemd/user"), "{said}");
    let back = said.split_once("To go back to those of the Debian package: ");
    let (_, back) = back.unwrap_or_else(|| panic!("{said}"));
    for unit in [SERVICE, TIMER] {
        assert_eq!(Path::new(&file(unit)), user.path(".config/systemd/user").join(unit));
    }
    let back = back.lines().next().expect("a command");
    let back = user.command("sh").args(["-c", back]).current_dir(user.path("source")).output().expect("sh");
    assert!(back.status.success(), "{}", text(&back));
    assert_eq!(file(TIMER), format!("/usr/lib/systemd/user/{TIMER}"));
    assert_eq!(user.property(TIMER, "ActiveState"), "active");
    // A timer of the package is not one of scripts/install.
    let said = world.must_script("uninstall", &[]);
    assert!(said.contains("there was nothing to remove"), "{said}");
    assert_eq!(user.properties(TIMER, ["ActiveState", "UnitFileState"]), ["active", "enabled"]);
    user.must_systemctl(["disable", "--now", TIMER]);

    package.purge();
    user.must_systemctl(["daemon-reload"]);
    let left = user.systemctl(["list-unit-files", "--plain", "--no-legend", "vault-token-renew*"]);
    assert_eq!(String::from_utf8_lossy(&left.stdout), "", "unit files are still there");
    // The user's token was not touched.
    world.check_healed();
}

/// Twelve hours from now, as a schedule for every day.
fn in_half_a_day() -> String {
    let date = Command::new("date").args(["-u", "-d", "+12 hours", "+%H:%M:%S"]).output().expect("date");
    format!("OnCalendar=*-*-* {}\n", String::from_utf8_lossy(&date.stdout).trim())
}

#[test]
#[ignore = "needs root and a user manager; scripts/test runs it"]
fn a_token_that_ends_before_the_timer_comes_again_is_bad_news() {
    let world = World::installed();
    let user = &world.user;
    world.login(&world.bao.mint_ours().token);
    let minutes = world.bao.mint_as_root(with(dying("vault-admin"), "ttl", "10m")).token;
    world.drop_in(SERVICE, "output", TO_FILE);
    let schedule = format!("[Timer]\nOnCalendar=\n{}RandomizedDelaySec=0\n", in_half_a_day());
    world.drop_in(TIMER, "schedule", &schedule);
    user.must_systemctl(["enable", "--now", TIMER]);
    let by_hand = |arguments: &[&str]| {
        let mut command = user.command(user.path(".local/bin/vault-token-renew"));
        command.args(arguments).env("VAULT_ADDR", world.bao.address()).output().expect("the program")
    };
    let problems = || -> Vec<String> {
        let status: Value = serde_json::from_slice(&by_hand(&["status", "--json"]).stdout).expect("JSON");
        let problems = status["problems"].as_array().expect("problems").iter();
        problems.map(|problem| problem["id"].as_str().expect("a name").to_owned()).collect()
    };
    assert!(!by_hand(&["status"]).stdout.is_empty());
    assert!(!problems().contains(&"ends_before_next_run".to_owned()));

    world.bao.cap_leases("1h");
    let too_short = "FAIL: renewed, but it ends in 1 h and the next run comes in 1";
    let run = by_hand(&[]);
    assert_eq!(run.status.code(), Some(1), "{}", text(&run));
    assert!(text(&run).contains(too_short), "{}", text(&run));
    let run = by_hand(&["--detailed-exitcode"]);
    assert_eq!(run.status.code(), Some(5), "{}", text(&run));
    assert!(problems().contains(&"ends_before_next_run".to_owned()), "{:?}", problems());

    // From inside the service, hardened as it is, started by hand.
    assert!(!user.systemctl(["start", SERVICE]).status.success(), "{}", user.report());
    assert!(user.read("output").contains(too_short), "{}{}", user.read("output"), user.report());

    // And started by its timer, which does not know while it runs when it comes next.
    user.must_systemctl(["stop", TIMER]);
    world.drop_in(TIMER, "schedule", &format!("{schedule}OnActiveSec=1s\nAccuracySec=100ms\n"));
    user.write("output", 0o600, "");
    user.must_systemctl(["start", TIMER]);
    user.wait_until("the timer has fired", || !user.read("output").is_empty() && world.is_idle(SERVICE));
    assert!(user.read("output").contains(too_short), "{}{}", user.read("output"), user.report());

    // An hour is more than ten minutes, and less than half a day.
    world.login(&minutes);
    let run = by_hand(&["--detailed-exitcode"]);
    assert_eq!(run.status.code(), Some(5), "{}", text(&run));
    assert!(
        text(&run).contains("FAIL: healed, but it ends in 1 h and the next run comes in 1"),
        "{}",
        text(&run)
    );
    assert!(world.is_ours());

    // A server that grants a week is good enough.
    world.bao.cap_leases("168h");
    user.must_systemctl(["start", SERVICE]);
    world.assert_succeeded(SERVICE);
    assert!(!problems().contains(&"ends_before_next_run".to_owned()));
}

#[test]
#[ignore = "needs root and a user manager; scripts/test runs it"]
fn a_burst_of_logins_does_not_end_the_path_unit() {
    let world = World::installed();
    let user = &world.user;
    world.login(&world.bao.mint_ours().token);
    user.must_systemctl(["enable", "--now", PATH_UNIT]);
    let login = world.bao.admin_login().token;
    // systemd does not watch while the service runs: a login that lands then waits for the next one, or the night.
    let heals = || {
        for _ in 0..10 {
            world.login(&login);
            let deadline = Instant::now() + Duration::from_secs(5);
            while Instant::now() < deadline {
                if world.is_ours() && world.is_idle(SERVICE) {
                    return true;
                }
                thread::sleep(Duration::from_millis(50));
            }
        }
        false
    };
    for _ in 0..100 {
        world.login(&login);
        thread::sleep(Duration::from_millis(20));
    }
    user.wait_until("the service is at rest", || world.is_idle(SERVICE));
    assert!(heals(), "{}", user.report());
    let rest = |unit: &str| user.property(unit, "ActiveState");
    assert_eq!([rest(PATH_UNIT), rest(SERVICE)], ["active", "inactive"], "{}", user.report());

    // As slow as a script of a person, but more often than any limit on starts has in mind.
    for _ in 0..40 {
        assert!(heals(), "{}", user.report());
    }
    assert_eq!([rest(PATH_UNIT), rest(SERVICE)], ["active", "inactive"], "{}", user.report());
    world.check_healed();
}

#[test]
#[ignore = "needs root and a user manager; scripts/test runs it"]
fn a_path_unit_that_has_failed_is_wrong_and_the_remedy_mends_it() {
    let world = World::installed();
    let user = &world.user;
    world.login(&world.bao.mint_ours().token);
    // Somebody else's limit.
    world.drop_in(SERVICE, "limit", "[Unit]\nStartLimitIntervalSec=1h\nStartLimitBurst=1\n");
    user.must_systemctl(["enable", "--now", PATH_UNIT]);
    user.wait_until("the path unit has failed", || {
        world.strong_login();
        user.property(PATH_UNIT, "ActiveState") == "failed"
    });
    let status = || -> Value {
        let mut command = user.command(user.path(".local/bin/vault-token-renew"));
        command.args(["status", "--json"]).env("VAULT_ADDR", world.bao.address());
        serde_json::from_slice(&command.output().expect("status").stdout).expect("JSON")
    };
    let failed = |status: &Value| {
        let mut problems = status["problems"].as_array().expect("problems").iter();
        problems.find(|problem| problem["id"] == "path_unit_failed").cloned()
    };
    let problem = failed(&status()).expect("status looks at it");
    assert_eq!(problem["severity"], "wrong");
    fs::remove_file(user.path(&format!(".config/systemd/user/{SERVICE}.d/limit.conf"))).expect("the drop-in");
    user.must_systemctl(["daemon-reload"]);
    let remedy = user.command("sh").arg("-c").arg(problem["remedy"].as_str().expect("a remedy")).output();
    let remedy = remedy.expect("sh");
    assert!(remedy.status.success(), "{}", text(&remedy));
    user.wait_until("it watches again", || {
        world.strong_login();
        thread::sleep(Duration::from_secs(1));
        world.is_ours() && world.is_idle(SERVICE)
    });
    assert!(failed(&status()).is_none());
}

/// A folder below /etc with a configuration of root's; it goes when dropped.
struct OfRoot(tempfile::TempDir);

impl OfRoot {
    fn new(settings: &str) -> Self {
        let folder =
            tempfile::Builder::new().prefix("vtr-test-").tempdir_in("/etc").expect("a folder in /etc");
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("its mode");
        let this = Self(folder);
        fs::write(this.config(), settings).expect("a file");
        fs::set_permissions(this.config(), fs::Permissions::from_mode(0o644)).expect("its mode");
        this
    }

    fn config(&self) -> PathBuf {
        self.0.path().join("config.toml")
    }
}

#[test]
#[ignore = "needs root and a user manager; scripts/test runs it"]
fn a_hook_that_root_has_configured_runs_inside_the_hardened_service() {
    let world = World::installed();
    let user = &world.user;
    let of_root = OfRoot::new(&format!("{IDENTITY}deploy_hook = \"touch told\"\n"));
    let config = of_root.config();
    let start =
        format!("ExecStart=\nExecStart=%h/.local/bin/vault-token-renew --config {}\n", config.display());
    world.drop_in(SERVICE, "config", &format!("{TO_FILE}WorkingDirectory=%h\n{start}"));
    world.strong_login();
    user.systemctl(["start", SERVICE]);
    assert!(user.path("told").exists(), "the hook did not run: {}{}", user.read("output"), user.report());
    world.assert_succeeded(SERVICE);
    world.check_healed();

    // What others can write is no more trusted than before.
    fs::set_permissions(&config, fs::Permissions::from_mode(0o666)).expect("its mode");
    assert!(!user.systemctl(["start", SERVICE]).status.success());
    assert!(user.read("output").contains("others can write"), "{}", user.read("output"));
}

#[test]
#[ignore = "needs root and a user manager; scripts/test runs it"]
fn status_foresees_that_the_service_refuses_a_hook_of_root_that_does_not_lie_below_etc() {
    let world = World::installed();
    let user = &world.user;
    world.drop_in(SERVICE, "output", TO_FILE);
    world.strong_login();
    let refused = || -> Option<Value> {
        let mut command = user.command(user.path(".local/bin/vault-token-renew"));
        let output = command.args(["status", "--json"]).env("VAULT_ADDR", world.bao.address()).output();
        let status: Value = serde_json::from_slice(&output.expect("status").stdout).expect("JSON");
        let mut problems = status["problems"].as_array().expect("problems").iter();
        problems.find(|problem| problem["id"] == "service_settings").cloned()
    };
    let settings = format!("{IDENTITY}deploy_hook = \"true\"\n");
    user.write(CONFIG, 0o644, &settings);
    assert_eq!(refused(), None, "it is the user's own");
    std::os::unix::fs::chown(user.path(CONFIG), Some(0), None).expect("root's file");
    let problem = refused().expect("service_settings");
    assert_eq!(
        problem["message"],
        format!(
            "the service refuses the deploy_hook in ~/{CONFIG}: it is root's, which PrivateUsers=yes hides"
        )
    );
    let remedy = problem["remedy"].as_str().expect("a remedy");
    assert!(remedy.starts_with("sudo chown \"$(id -un):\" /"), "{remedy}");
    assert!(!user.systemctl(["start", SERVICE]).status.success());
    assert!(user.read("output").contains("another user (uid 65534)"), "{}", user.read("output"));

    // The other remedy.
    let of_root = OfRoot::new(&settings);
    fs::remove_file(user.path(CONFIG)).expect("no file any more");
    std::os::unix::fs::symlink(of_root.config(), user.path(CONFIG)).expect("a link");
    assert_eq!(refused(), None);
    user.must_systemctl(["start", SERVICE]);
    world.check_healed();
}

#[test]
#[ignore = "needs root and a user manager; scripts/test runs it"]
fn scripts_install_asks_whose_token_it_is_before_it_starts_the_timer() {
    let world = World { user: user_with_sources(), bao: server() };
    let user = &world.user;
    fake_loginctl(user, "exit 0");
    let host = fs::read_to_string("/proc/sys/kernel/hostname").expect("a name");
    let name = format!("{}-{}", host.trim().replace(|c: char| !c.is_ascii_alphanumeric(), "-"), user.name());
    let install = ["--binary", "source/program"];
    let timer = || user.properties(TIMER, ["ActiveState", "UnitFileState"]);
    // With a terminal, on which somebody types this.
    let typing_with = |variables: &str, text: &str| {
        let mut command = user.command("sh");
        let install = format!("{variables} source/scripts/install --binary source/program");
        let line = format!("printf '{text}' | script --quiet --return --command '{install}' /dev/null");
        command.args(["-c", &line]).output().expect("script (apt-get install bsdutils)")
    };
    let typing = |text: &str| typing_with("", text);

    // Without a terminal it prints what to write. The settings of a shell are not those of the service.
    let mut command = user.command("source/scripts/install");
    command.args(install).env("VTR_DISPLAY_NAME", "devvm-wizard").env("VTR_POLICIES", "vault-admin");
    let output = command.output().expect("scripts/install");
    let said = text(&output);
    assert_eq!(output.status.code(), Some(3), "{said}");
    for expected in [
        "warning: the timer is not started: nobody has said whose token it is",
        &format!("display_name = \"{name}\""),
        "policies = [\"<policy>\"]",
        "~/.config/vault-token-renew/config.toml",
    ] {
        assert!(said.contains(expected), "{expected:?} is not in:\n{said}");
    }
    assert!(!said.contains("timer is active"), "{said}");
    assert_eq!(timer(), ["inactive", "disabled"]);
    assert!(!user.path(CONFIG).exists());
    assert!(user.path(".local/bin/vault-token-renew").exists());

    // The same without a manager to ask, and where nothing is to be started.
    let mut command = user.command("source/scripts/install");
    let output =
        command.args(install).env("XDG_RUNTIME_DIR", "/nonexistent").output().expect("scripts/install");
    assert_eq!(output.status.code(), Some(3), "{}", text(&output));
    assert!(!user.path(".config/systemd/user/timers.target.wants").join(TIMER).exists());
    let said = world.must_script("install", &["--binary", "source/program", "--no-enable"]);
    assert!(said.contains("policies = [\"<policy>\"]"), "{said}");

    // Half an answer is none.
    let said = text(&typing("\\n\\n"));
    assert!(said.contains("Without policies there is no token to renew"), "{said}");
    assert!(!user.path(CONFIG).exists());
    assert_eq!(timer(), ["inactive", "disabled"]);

    // What the program refuses is asked again; what it accepts is written, for the owner alone, and the timer runs.
    let output = typing(
        "token-x\\nvault-admin\\n\\n\\nvault-admin\\nvault:8200\\n\\nvault-admin, sops-admin\\nhttp://[::1]:8200\\n",
    );
    let said = text(&output);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("token-x") && said.contains("write"), "{said}");
    assert!(said.contains("it has no scheme; did you mean https://vault:8200?"), "{said}");
    assert!(!said.contains("No address of a server is configured"), "{said}");
    assert!(said.contains("wrote ~/.config/vault-token-renew/config.toml"), "{said}");
    let written = format!(
        "address = \"http://[::1]:8200\"\ndisplay_name = \"{name}\"\npolicies = [\"vault-admin\", \"sops-admin\"]\n"
    );
    assert_eq!(user.read(CONFIG), written);
    assert_eq!(user.mode(CONFIG), 0o600);
    assert_eq!(timer(), ["active", "enabled"]);

    // It is not asked again, and not taken away.
    world.must_script("install", &install);
    world.must_script("uninstall", &[]);
    assert_eq!(user.read(CONFIG), written);

    // The address of the shell is proposed; what the service finds elsewhere is not asked for; and it may come later.
    let identity = format!("display_name = \"{name}\"\npolicies = [\"vault-admin\"]\n");
    let addressed = format!("address = \"https://shell:8200\"\n{identity}");
    for (env, variables, typed, expected, is_configured) in [
        ("", "BAO_ADDR=https://shell:8200 VAULT_ADDR=https://x:1", "\\nvault-admin\\n\\n", &addressed, true),
        ("", "VAULT_ADDR=https://x:1", "\\nvault-admin\\nhttps://shell:8200\\n", &addressed, true),
        ("", "", "\\nvault-admin\\n\\n", &identity, false),
        ("VAULT_ADDR=https://file:8200\n", "VAULT_ADDR=https://x:1", "\\nvault-admin\\n", &identity, true),
    ] {
        fs::remove_file(user.path(CONFIG)).expect("no file any more");
        user.write(".config/vault-token-renew/env", 0o600, env);
        let output = typing_with(variables, typed);
        let said = text(&output);
        assert!(output.status.success(), "{said}");
        assert_eq!(&user.read(CONFIG), expected, "{said}");
        assert_eq!(!said.contains("No address of a server is configured"), is_configured, "{said}");
        world.must_script("uninstall", &[]);
    }
    fs::remove_file(user.path(".config/vault-token-renew/env")).expect("no file any more");

    // A file that is there is the user's, even if it says nothing of this.
    user.write(CONFIG, 0o600, "address = \"http://127.0.0.1:1\"\n");
    let output = typing("x\\ny\\n");
    assert_eq!(output.status.code(), Some(3), "{}", text(&output));
    assert_eq!(user.read(CONFIG), "address = \"http://127.0.0.1:1\"\n");
    assert_eq!(timer(), ["inactive", "disabled"]);

    // One half of it is none, wherever it stands, and what is missing is said.
    for (config, env, missing) in [
        ("policies = [\"vault-admin\"]\n", "", "policies are set but display_name is not; set both ("),
        ("", "VTR_DISPLAY_NAME=devvm-wizard\n", "display_name is set but policies are not; set both ("),
    ] {
        user.write(CONFIG, 0o600, config);
        user.write(".config/vault-token-renew/env", 0o600, env);
        let output = typing("x\\ny\\n");
        assert_eq!(output.status.code(), Some(3), "{}", text(&output));
        assert!(text(&output).contains(missing), "{missing:?} is not in:\n{}", text(&output));
        assert_eq!(
            (user.read(CONFIG).as_str(), timer()),
            (config, ["inactive", "disabled"].map(str::to_owned))
        );
    }
    user.write(CONFIG, 0o600, "address = \"http://127.0.0.1:1\"\n");

    // The settings of the service count, wherever they are.
    let quoted = "VTR_DISPLAY_NAME=\"devvm-wizard\"\nVTR_POLICIES='vault-admin'\n";
    user.write(".config/vault-token-renew/env", 0o600, quoted);
    world.must_script("install", &install);
    assert_eq!(timer(), ["active", "enabled"]);
    world.must_script("uninstall", &[]);
    let mut command = user.command("source/scripts/install");
    let output =
        command.args(install).env("XDG_RUNTIME_DIR", "/nonexistent").output().expect("scripts/install");
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
}

/// What `status` tells for programs.
fn status_of(world: &World) -> Value {
    let mut command = world.user.command(world.user.path(".local/bin/vault-token-renew"));
    let output = command.args(["status", "--json"]).env("VAULT_ADDR", world.bao.address()).output();
    let output = output.expect("status");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", text(&output)))
}

/// The names of what is wrong.
fn wrong_in(status: &Value) -> Vec<String> {
    let problems = status["problems"].as_array().expect("problems").iter();
    let wrong = problems.filter(|problem| problem["severity"] == "wrong");
    wrong.map(|problem| problem["id"].as_str().expect("a name").to_owned()).collect()
}

/// Where the watch of the unit listens.
fn socket_of_watch(user: &UserManager) -> PathBuf {
    runtime_of(user).join("vault-token-renew/watch.sock")
}

fn runtime_of(user: &UserManager) -> PathBuf {
    let shown = user.must_systemctl(["show-environment"]);
    shown.lines().find_map(|line| line.strip_prefix("XDG_RUNTIME_DIR=")).expect("a place").into()
}

#[test]
#[ignore = "needs root and a user manager; scripts/test runs it"]
fn a_watch_is_ready_after_its_first_run_heals_logins_and_runs_when_it_is_reloaded() {
    let world = World::installed();
    world.strong_login();
    world.user.must_systemctl(["enable", "--now", WATCH]);
    // Started means ready, and ready means that the first run has ended.
    assert_eq!(world.logged(" HEALED: "), 1, "{}", world.user.report());
    world.check_healed();
    let status = world.user.property(WATCH, "StatusText");
    assert!(status.starts_with("ours, healed, next at 20"), "{status:?}");
    let told = status_of(&world);
    assert_eq!(told["timer"]["state"], "off", "{told}");
    assert_eq!(told["watch"]["pid"].to_string(), world.user.property(WATCH, "MainPID"), "{told}");
    let next = told["watch"]["next"].as_str().expect("a next run");
    assert!(status.contains(&next[..16]), "{status:?}, {next}");
    assert_eq!(wrong_in(&told), ["linger_off"], "the timer is off, and need not be on: {told}");
    let _linger = Linger::of(world.user.name());
    assert_eq!(status_of(&world)["healthy"], true);

    let health = get_at(&socket_of_watch(&world.user), "/health");
    assert_eq!((health.status, &health.json()["status"]), (200, &json!("healthy")), "{health:?}");

    world.user.must_systemctl(["reload", WATCH]);
    world.user.wait_until("it has run again", || world.logged(" OK renewed ") == 1);
    world.strong_login();
    world.user.wait_until("the login is healed", || world.logged(" HEALED: ") == 2);
    world.weak_login();
    world.user.wait_until("the weak one is told", || world.logged(" DRIFT: ") == 1);
    world.user.wait_until("and is its status", || {
        world.user.property(WATCH, "StatusText").starts_with("foreign, and too weak to mint ours, next at 20")
    });

    world.user.must_systemctl(["stop", WATCH]);
    let state = world.user.properties(WATCH, ["Result", "ExecMainStatus", "ActiveState"]);
    assert_eq!(state, ["success", "0", "inactive"], "{}", world.user.report());
    assert_eq!(world.logged("watch: stopped by SIGTERM"), 1);
    assert!(!socket_of_watch(&world.user).exists());
}

#[test]
#[ignore = "needs root and a user manager; scripts/test runs it"]
fn a_watch_that_hangs_is_killed_and_restarted_and_one_whose_run_is_long_is_not() {
    let (world, slow) = (World::installed(), Arc::new(AtomicBool::new(false)));
    let is_slow = Arc::clone(&slow);
    let front = Scripted::in_front_of(&world.bao, move |_, _| {
        // Longer than the time after which the manager takes it for hung.
        is_slow.load(Ordering::SeqCst).then_some(Reply::Hang)
    });
    world.user.write(".config/vault-token-renew/env", 0o600, format!("VAULT_ADDR={}\n", front.address()));
    world.login(&world.bao.mint_ours().token);
    world.drop_in(WATCH, "hasty", "[Service]\nWatchdogSec=3s\nRestartSec=100ms\n");
    world.user.must_systemctl(["start", WATCH]);
    let first = world.user.property(WATCH, "MainPID");

    slow.store(true, Ordering::SeqCst);
    world.user.must_systemctl(["reload", WATCH]);
    world.user.wait_until("a run hangs", || front.count("auth/token/lookup-self") == 2);
    thread::sleep(Duration::from_secs(8));
    assert_eq!(world.user.property(WATCH, "MainPID"), first, "{}", world.user.report());
    assert_eq!(world.user.property(WATCH, "NRestarts"), "0");
    slow.store(false, Ordering::SeqCst);

    let stopped = Command::new("kill").args(["-STOP", &first]).status().expect("kill");
    assert!(stopped.success());
    world.user.wait_until("it is restarted", || world.user.property(WATCH, "NRestarts") == "1");
    world.user.wait_until("it is ready again", || world.user.property(WATCH, "ActiveState") == "active");
    assert_ne!(world.user.property(WATCH, "MainPID"), first);
    assert!(world.is_ours());
}

#[test]
#[ignore = "needs root and a user manager; scripts/test runs it"]
fn a_watch_with_wrong_settings_is_not_started_again_and_one_that_fails_is_ready_all_the_same() {
    let world = World::installed();
    world.user.write(CONFIG, 0o600, "adress = \"x\"\n");
    world.drop_in(WATCH, "hasty", "[Service]\nRestartSec=100ms\n");
    assert!(!world.user.systemctl(["start", WATCH]).status.success());
    thread::sleep(Duration::from_secs(1));
    let state = world.user.properties(WATCH, ["Result", "ExecMainStatus", "ActiveState", "NRestarts"]);
    assert_eq!(state, ["exit-code", "2", "failed", "0"], "{}", world.user.report());

    world.user.write(CONFIG, 0o600, IDENTITY);
    assert!(wrong_in(&status_of(&world)).contains(&"watch_failed".to_owned()), "{}", status_of(&world));
    world.user.write(
        ".config/vault-token-renew/env",
        0o600,
        format!("VAULT_ADDR={NOWHERE}\nVTR_RETRY_FOR=2s\n"),
    );
    world.strong_login();
    world.user.must_systemctl(["start", WATCH]);
    assert_eq!(world.user.property(WATCH, "ActiveState"), "active");
    let status = world.user.property(WATCH, "StatusText");
    assert!(status.starts_with("failed (unreachable), next at 20"), "{status:?}");
    assert_eq!(world.logged("vault token renewal failed"), 1, "{}", world.user.read(LOG));
    let killed = Command::new("kill").args(["-KILL", &world.user.property(WATCH, "MainPID")]).status();
    assert!(killed.expect("kill").success());
    world.user.wait_until("it is started again", || world.logged("watch: started") == 2);
}

#[test]
#[ignore = "needs root and a user manager; scripts/test runs it"]
fn scripts_install_puts_a_watch_in_the_place_of_the_timer_and_an_upgrade_keeps_it() {
    let world = World::installed();
    let user = &world.user;
    fake_loginctl(user, ":");
    let install = ["--binary", "source/program"];
    let states = |unit: &str| user.properties(unit, ["ActiveState", "UnitFileState"]);
    world.login(&world.bao.mint_ours().token);
    world.must_script("install", &install);
    user.must_systemctl(["enable", "--now", PATH_UNIT]);
    assert_eq!(states(TIMER), ["active", "enabled"]);

    let said = world.must_script("install", &["--binary", "source/program", "--watch"]);
    assert!(said.contains("\nwatch is active: ours, renewed, next at 20"), "{said}");
    assert!(said.contains("nothing is left to do") && !said.contains("--with path"), "{said}");
    for _ in 0..2 {
        assert_eq!(states(WATCH), ["active", "enabled"], "{}", user.report());
        assert_eq!(states(TIMER), ["inactive", "disabled"]);
        assert_eq!(states(PATH_UNIT), ["inactive", "disabled"]);
        // An upgrade keeps the choice, and the new program runs.
        let before = user.property(WATCH, "MainPID");
        world.must_script("install", &install);
        assert_ne!(user.property(WATCH, "MainPID"), before);
    }
    let said = world.must_script("uninstall", &[]);
    assert!(said.contains("stopped vault-token-renew-watch.service"), "{said}");
    assert_uninstalled(user);

    // As the help has it: back to the timer.
    world.must_script("install", &["--binary", "source/program", "--watch"]);
    user.must_systemctl(["disable", "--now", "vault-token-renew-watch"]);
    world.must_script("install", &install);
    assert_eq!((states(TIMER)[0].as_str(), states(WATCH)[0].as_str()), ("active", "inactive"));
    world.must_script("uninstall", &[]);

    // Where there is no manager, it is enabled for the next one.
    let mut command = user.command("source/scripts/install");
    command.args(install).arg("--watch").env("XDG_RUNTIME_DIR", "/nonexistent");
    let output = command.output().expect("scripts/install");
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(text(&output).contains("warning: the watch does not run: no user manager"), "{}", text(&output));
    user.must_systemctl(["daemon-reload"]);
    assert_eq!(states(WATCH)[1], "enabled");
}
