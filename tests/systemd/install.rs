//! What `scripts/install` does on machines and in homes where not everything is as it should be.

use std::os::unix::fs::symlink;

use super::*;

const INSTALL: [&str; 2] = ["--binary", "source/program"];
const UNITS: &str = ".config/systemd/user";

/// Everything that an installation could touch: names, kinds, sizes and where links lead. No times, because a file that
/// comes and goes changes those of its folder.
fn tree(user: &UserManager) -> String {
    let mut find = user.command("find");
    find.args([".config", ".local", "bin", "-printf", "%p %y %s %l\n"]);
    let found = find.output().expect("find").stdout;
    // A folder's size says nothing.
    let line = |line: &str| line.split_once(" d ").map_or(line, |(name, _)| name).to_owned();
    let mut lines: Vec<_> = String::from_utf8_lossy(&found).lines().map(line).collect();
    lines.sort();
    lines.join("\n")
}

/// What follows these words in what a script said, to the end of the line.
#[track_caller]
fn after<'a>(said: &'a str, words: &str) -> &'a str {
    let (_, rest) = said.split_once(words).unwrap_or_else(|| panic!("{words:?} is not in:\n{said}"));
    rest.lines().next().unwrap_or_default()
}

impl World {
    /// A command that a script printed, typed by the user beside the sources.
    #[track_caller]
    fn typed(&self, command: &str) -> String {
        let mut shell = self.user.command("bash");
        let output =
            shell.args(["-c", command]).current_dir(self.user.path("source")).output().expect("bash");
        assert!(output.status.success(), "{command}: {}", text(&output));
        text(&output)
    }

    #[track_caller]
    fn script_ends(&self, name: &str, args: &[&str], status: i32) -> String {
        let output = self.script(name, args);
        assert_eq!(output.status.code(), Some(status), "scripts/{name} {args:?}: {}", text(&output));
        text(&output)
    }
}

#[track_caller]
fn assert_says(said: &str, expected: &[&str]) {
    for expected in expected {
        assert!(said.contains(expected), "{expected:?} is not in:\n{said}");
    }
}

#[test]
#[ignore = "needs root and a user manager; scripts/test runs it"]
fn scripts_install_leaves_a_masked_unit_masked_and_says_so() {
    let world = World::on_a_machine_without(Lack::Nothing);
    let user = &world.user;
    let mask = |unit: &str| fs::read_link(user.path(UNITS).join(unit)).ok();
    let null = Some(PathBuf::from("/dev/null"));
    world.login(&world.bao.mint_ours().token);

    user.must_systemctl(["mask", TIMER]);
    let said = world.script_ends("install", &INSTALL, 1);
    assert_says(
        &said,
        &[
            "warning: vault-token-renew.timer is masked, and stays masked",
            "warning: the timer is not started: vault-token-renew.timer is masked",
            "systemctl --user unmask vault-token-renew.timer, then run this again",
            "the next run would succeed",
        ],
    );
    assert_eq!(mask(TIMER), null);
    assert_eq!(user.property(TIMER, "LoadState"), "masked");
    assert!(user.path(".local/bin/vault-token-renew").exists() && user.path(UNITS).join(SERVICE).is_file());
    let said = world.script_ends("install", &["--binary", "source/program", "--no-enable"], 0);
    assert_says(&said, &["vault-token-renew.timer is masked, and stays masked"]);
    assert_eq!(mask(TIMER), null);
    // Nor is it anything that the installation made.
    let said = world.must_script("uninstall", &[]);
    assert_says(&said, &["left alone: ~/.config/systemd/user/vault-token-renew.timer (masked)"]);
    assert_eq!(mask(TIMER), null);

    user.must_systemctl(["unmask", TIMER]);
    user.must_systemctl(["mask", "--runtime", SERVICE]);
    let said = world.script_ends("install", &INSTALL, 1);
    assert_says(&said, &["systemctl --user unmask --runtime vault-token-renew.service, then run this again"]);
    assert_eq!((mask(SERVICE), user.property(SERVICE, "LoadState").as_str()), (None, "masked"));
    world.must_script("uninstall", &[]);
    user.must_systemctl(["unmask", "--runtime", SERVICE]);
    user.must_systemctl(["mask", SERVICE]);
    let said = world.script_ends("install", &INSTALL, 1);
    assert_says(&said, &["warning: the timer is not started: vault-token-renew.service is masked"]);
    assert_eq!(mask(SERVICE), null);
    assert_eq!(user.property(TIMER, "ActiveState"), "inactive");

    // A masked timer does not stand in the way of a watch, which does not want it.
    user.must_systemctl(["unmask", SERVICE]);
    world.must_script("uninstall", &[]);
    user.must_systemctl(["mask", TIMER]);
    world.must_script("install", &["--binary", "source/program", "--watch"]);
    assert_eq!((mask(TIMER), user.property(WATCH, "ActiveState").as_str()), (null, "active"));
    user.must_systemctl(["disable", "--now", WATCH]);

    user.must_systemctl(["unmask", TIMER]);
    let said = world.must_script("install", &INSTALL);
    assert!(!said.contains("masked"), "{said}");
    assert_installed(user);
}

#[test]
#[ignore = "needs root and a user manager; scripts/test runs it"]
fn scripts_install_changes_nothing_if_something_cannot_be_written() {
    let world = World::on_a_machine_without(Lack::Nothing);
    let user = &world.user;
    let mode = |path: &str, mode: u32| {
        fs::set_permissions(user.path(path), fs::Permissions::from_mode(mode)).expect("a mode");
    };
    let refused = |args: &[&str], expected: &[&str]| {
        let before = tree(user);
        let said = world.script_ends("install", args, 1);
        assert_says(&said, expected);
        assert_eq!(said.matches("error: ").count(), 1, "{said}");
        assert_eq!(tree(user), before, "{said}");
        assert!(!user.path(".local/bin/vault-token-renew").exists());
    };
    user.write(&format!("{UNITS}/mine.service"), 0o644, "[Service]\nExecStart=/bin/true\n");
    user.write(&format!("{UNITS}/timers.target.wants/mine"), 0o644, "");

    mode(UNITS, 0o555);
    let unwritable =
        ["error: cannot write to ~/.config/systemd/user: Permission denied; nothing was changed", "ls -ld "];
    refused(&INSTALL, &unwritable);
    mode(UNITS, 0o755);
    mode(&format!("{UNITS}/timers.target.wants"), 0o555);
    refused(&INSTALL, &["cannot write to ~/.config/systemd/user/timers.target.wants: Permission denied"]);
    mode(&format!("{UNITS}/timers.target.wants"), 0o755);

    // A folder that has the name of a unit, and a file in the place of a folder.
    user.write(&format!("{UNITS}/{PATH_UNIT}/mine"), 0o644, "");
    refused(&INSTALL, &["error: ~/.config/systemd/user/vault-token-renew.path is a folder"]);
    fs::remove_dir_all(user.path(UNITS).join(PATH_UNIT)).expect("the folder");
    user.write(".local/share/fish", 0o644, "");
    refused(&INSTALL, &["cannot write to ~/.local/share/fish: it is not a folder; nothing was changed"]);
    fs::remove_file(user.path(".local/share/fish")).expect("the file");
    user.write(&format!("{UNITS}/{SERVICE}.d"), 0o644, "");
    refused(
        &["--binary", "source/program", "--with", "failure"],
        &["vault-token-renew.service.d: it is not a folder"],
    );
    fs::remove_file(user.path(UNITS).join(format!("{SERVICE}.d"))).expect("the file");
    for args in [&["--binary", "source/program", "--with", "mail"][..], &["--with"], &["--with="]] {
        world.script_ends("install", args, 2);
    }

    // A disk that is read-only although the modes allow it.
    let before = tree(user);
    let mut command = Command::new("unshare");
    let script = r#"mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" || exit 99; shift; exec "$@""#;
    let setpriv = ["setpriv", "--reuid", user.name(), "--regid", user.name(), "--clear-groups"];
    command.args(["--mount", "sh", "-c", script, "sh"]).arg(user.path(UNITS)).args(setpriv);
    let install = user.path("source/scripts/install");
    command.arg(install).arg("--binary").arg(user.path("source/program")).env("HOME", user.home());
    let output = command.env_remove("XDG_RUNTIME_DIR").env_remove("SUDO_USER").output().expect("unshare");
    let said = text(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert_says(
        &said,
        &["error: cannot write to ~/.config/systemd/user: Read-only file system; nothing was changed"],
    );
    assert_eq!(tree(user), before, "{said}");

    world.must_script("install", &INSTALL);
    assert_installed(user);
}

#[test]
#[ignore = "needs root and a user manager; scripts/test runs it"]
fn scripts_install_keeps_the_units_of_an_older_script_and_says_how_to_go_back() {
    let world = World::on_a_machine_without(Lack::Nothing);
    let user = &world.user;
    let address = world.bao.address();
    fs::remove_file(user.path(CONFIG)).expect("the settings");
    fs::remove_file(user.path(".config/vault-token-renew/env")).expect("the variables");
    world.login(&world.bao.mint_ours().token);
    // As it was: a unit with the script in it, and a timer that is a link into a checkout, enabled from there.
    let script = format!(
        "#!/bin/bash\n# VAULT_ADDR=https://old.example.org\nexport VAULT_ADDR=\"${{VAULT_ADDR:-{address}}}\"\n\
         touch ~/ran; exit 1\n"
    );
    user.write("bin/vault-token-renew.sh", 0o755, &script);
    let old_service =
        "[Service]\nType=oneshot\nExecStart=/bin/bash -eu \"%h/bin/vault-token-renew.sh\" --quiet\n";
    user.write(&format!("{UNITS}/{SERVICE}"), 0o644, old_service);
    let old_timer = "[Timer]\nOnCalendar=Sun 03:00\n[Install]\nWantedBy=timers.target\n";
    user.write("checkout/vault-token-renew.timer", 0o644, old_timer);
    let checkout = user.path("checkout/vault-token-renew.timer");
    user.must_systemctl(["enable", "--now", checkout.to_str().expect("UTF-8")]);
    assert!(!user.systemctl(["start", SERVICE]).status.success());
    assert_eq!(user.property(SERVICE, "ActiveState"), "failed");
    let cron = "echo '# vault-token-renew.sh'; echo '17 3 * * * $HOME/bin/vault-token-renew.sh'\n";
    user.write(".local/bin/crontab", 0o755, format!("#!/bin/sh\n{cron}"));

    // Until its successor knows whose token it is, the script goes on.
    let before = tree(user);
    let said = world.script_ends("install", &INSTALL, 3);
    assert_says(
        &said,
        &["error: nothing was changed: ", "display_name = ", &format!("address = \"{address}\"")],
    );
    assert_eq!(tree(user), before);
    assert_eq!(user.property(TIMER, "ActiveState"), "active");

    user.write(CONFIG, 0o600, IDENTITY);
    let said = world.must_script("install", &INSTALL);
    assert_says(
        &said,
        &[
            "kept the old ~/.config/systemd/user/vault-token-renew.service as vault-token-renew.service.before-2",
            "kept the old ~/.config/systemd/user/vault-token-renew.timer, a link to ",
            "left where it is: ~/bin/vault-token-renew.sh",
            "Your crontab still starts the old script: 17 3 * * * $HOME/bin/vault-token-renew.sh",
            "No address of a server is configured. (The one built into the old script does not count",
        ],
    );
    assert_installed(user);
    assert_eq!(fs::read_to_string(&checkout).expect("the checkout"), old_timer, "written through the link");
    assert!(user.property(TIMER, "TimersCalendar").contains("OnCalendar=*-*-* 00:00:00"), "the old schedule");
    assert_eq!(user.property(SERVICE, "ActiveState"), "inactive", "the failure of the script is not ours");
    world.typed(after(&said, "For instance: "));
    user.must_systemctl(["start", SERVICE]);
    world.assert_succeeded(SERVICE);

    // A second time there is nothing old any more.
    let again = world.must_script("install", &INSTALL);
    assert!(!again.contains("kept the old") && !again.contains("to go back"), "{again}");

    // And back.
    fs::remove_file(user.path("ran")).expect("it has run");
    world.typed(after(&said, "to go back to the old script: "));
    assert_eq!(user.read(&format!("{UNITS}/{SERVICE}")), old_service);
    assert_eq!(fs::read_link(user.path(UNITS).join(TIMER)).ok(), Some(checkout.clone()));
    assert!(user.property(TIMER, "TimersCalendar").contains("Sun"));
    assert_eq!(user.property(TIMER, "ActiveState"), "active");
    assert!(!user.systemctl(["start", SERVICE]).status.success() && user.path("ran").exists());
    // What is not of the installation is not removed, and not stopped.
    let before = tree(user);
    world.must_script("uninstall", &[]);
    assert_eq!((tree(user), user.property(TIMER, "ActiveState").as_str()), (before, "active"));

    // The other way round: the service is a link, dangling or not, and the script has the name of the program.
    user.must_systemctl(["disable", "--now", TIMER]);
    user.write(
        "checkout/vault-token-renew.service",
        0o644,
        "[Service]\nExecStart=%h/.local/bin/vault-token-renew\n",
    );
    fs::remove_file(user.path(UNITS).join(SERVICE)).expect("the service");
    symlink(user.path("checkout/vault-token-renew.service"), user.path(UNITS).join(SERVICE)).expect("a link");
    user.write(".local/bin/vault-token-renew", 0o755, &script);
    user.must_systemctl(["daemon-reload"]);
    let said = world.must_script("install", &INSTALL);
    assert_says(
        &said,
        &["kept the old ~/.local/bin/vault-token-renew as vault-token-renew.before-", "service, a link to "],
    );
    assert_installed(user);
    world.typed(after(&said, "to go back to the old script: "));
    assert_eq!(user.read(".local/bin/vault-token-renew"), script);
    let linked = fs::read_link(user.path(UNITS).join(SERVICE)).ok();
    assert_eq!(linked, Some(user.path("checkout/vault-token-renew.service")));
}

#[test]
#[ignore = "needs root and a user manager; scripts/test runs it"]
fn scripts_install_adds_by_name_what_tells_of_failures_and_uninstall_takes_it_away() {
    let world = World::on_a_machine_without(Lack::Nothing);
    let user = &world.user;
    world.login(&world.bao.mint_ours().token);
    let said = world.must_script("install", &INSTALL);
    let offers = ["--with failure", "--with metrics", "--with path"]
        .map(|with| format!("scripts/install --binary source/program {with}\n"));
    assert_says(&said, &["nothing is left to do\noptional:\n  To be told of failures: "]);
    assert_says(&said, &offers.each_ref().map(String::as_str));
    let on_failure = |unit: &str| user.property(unit, "OnFailure");
    assert_eq!(on_failure(SERVICE), "");

    user.write(".local/bin/sendmail", 0o755, "#!/bin/sh\nexit 0\n");
    let said = world.must_script("install", &["--binary", "source/program", "--with", "failure,path"]);
    assert_says(
        &said,
        &[
            "installed ~/.config/systemd/user/vault-token-renew@.service.d/failure.conf",
            "nothing is left to do",
        ],
    );
    for unit in [SERVICE, WATCH, "vault-token-renew@work.service", "vault-token-follow@agent.service"] {
        assert_eq!(on_failure(unit), failure_unit_of(unit));
    }
    let states = |unit: &str| user.properties(unit, ["ActiveState", "UnitFileState"]);
    assert_eq!((states(PATH_UNIT), states(TIMER)), (states(TIMER), ["active", "enabled"].map(str::to_owned)));

    // An upgrade keeps it, and offers what is missing; what the user has changed stays the user's.
    let mine = "[Unit]\nOnFailure=mine.service\n";
    user.write(&format!("{UNITS}/{WATCH}.d/failure.conf"), 0o644, mine);
    let said = world.must_script("install", &INSTALL);
    assert!(!said.contains(&offers[0]) && said.contains(&offers[1]) && !said.contains(&offers[2]), "{said}");
    assert_eq!(on_failure(SERVICE), failure_unit_of(SERVICE));
    let said = world.must_script("install", &["--binary", "source/program", "--with=failure"]);
    assert_says(&said, &["watch.service.d/failure.conf is not from this script and is left as it is"]);

    // Metrics: the settings are the user's, so that the line to add is said.
    let said = world.must_script("install", &["--binary", "source/program", "--with", "metrics"]);
    let folder = format!("/var/lib/prometheus/node-exporter.{}", user.name());
    assert_says(&said, &[&format!("install -d -o {} -m 0755 {folder}", user.name())]);
    assert_eq!(user.read(CONFIG), IDENTITY);
    for unit in [SERVICE, WATCH, "vault-token-renew@work.service"] {
        assert!(user.property(unit, "ReadWritePaths").contains(&format!("-{folder}")), "{unit}");
    }
    world.typed(after(&said, "Say where the metrics go: "));
    assert_eq!(user.read(CONFIG), format!("{IDENTITY}metrics_file = \"{folder}/vault-token-renew.prom\"\n"));
    // The folder is not there, which costs a warning and no renewal.
    user.must_systemctl(["start", SERVICE]);
    world.assert_succeeded(SERVICE);
    let said = world.must_script("install", &["--binary", "source/program", "--with", "metrics"]);
    assert!(!said.contains("Say where the metrics go"), "{said}");
    user.write(CONFIG, 0o600, format!("{IDENTITY}[watch]\nmax_interval = \"1h\"\n"));
    let said = world.must_script("install", &["--binary", "source/program", "--with", "metrics"]);
    world.typed(after(&said, "Say where the metrics go: "));
    assert!(user.read(CONFIG).starts_with("metrics_file = "), "{}", user.read(CONFIG));
    assert_eq!(world.script("install", &INSTALL).status.code(), Some(0));

    // What a shell lacks that was opened before there was such a folder.
    let mut command = user.command("source/scripts/install");
    command.args(["--binary", "source/program", "--no-enable"]).env("PATH", "/usr/bin:/bin");
    let remedy =
        r#"~/.local/bin is not on your PATH. Log in again, or: export PATH="$HOME/.local/bin:$PATH""#;
    assert_says(&text(&command.output().expect("scripts/install")), &[remedy]);

    let said = world.must_script("uninstall", &[]);
    assert_eq!(said.matches("/failure.conf\n").count(), 3, "{said}");
    assert_eq!(said.matches("/metrics.conf\n").count(), 3, "{said}");
    assert_says(&said, &["left alone: ~/.config/systemd/user/vault-token-renew-watch.service.d"]);
    assert_eq!(user.read(&format!("{UNITS}/{WATCH}.d/failure.conf")), mine);
    assert!(!user.path(UNITS).join(format!("{SERVICE}.d")).exists());
    fs::remove_dir_all(user.path(UNITS).join(format!("{WATCH}.d"))).expect("the drop-in");
    assert_uninstalled(user);
}

#[test]
#[ignore = "needs root and a user manager; scripts/test runs it"]
fn where_user_namespaces_are_refused_one_command_mends_every_unit() {
    let world = World::on_a_machine_without(Lack::UserNamespaces);
    let user = &world.user;
    world.login(&world.bao.mint_ours().token);
    let work = format!("{IDENTITY}address = \"{}\"\n", world.bao.address());
    user.write(".config/vault-token-renew/work.toml", 0o600, work);
    let said = world.must_script("install", &INSTALL);
    assert_says(&said, &["The kernel refuses unprivileged user namespaces", "217/USER"]);
    let units = [SERVICE, "vault-token-renew@work.service", WATCH];
    for unit in units {
        assert!(
            !user.systemctl(["start", unit]).status.success(),
            "{unit} has to fail for the test to mean anything"
        );
        assert!(
            ["217", "218", "226"].contains(&user.property(unit, "ExecMainStatus").as_str()),
            "{}",
            user.report()
        );
        user.systemctl(["stop", unit]);
    }
    world.typed(after(&said, "Turn that part of their hardening off: "));
    for unit in units {
        user.must_systemctl(["start", unit]);
        user.systemctl(["stop", unit]);
        assert_eq!(user.property(unit, "ExecMainStatus"), "0", "{unit}{}", user.report());
    }
    let unit = "vault-token-follow@work.service";
    assert_eq!(user.property(unit, "PrivateUsers"), "no", "{unit}");
    let said = world.must_script("install", &INSTALL);
    assert!(!said.contains("namespaces"), "{said}");
    // Not made by a script, and not removed by one.
    world.must_script("uninstall", &[]);
    assert!(user.path(UNITS).join(format!("{SERVICE}.d/no-namespaces.conf")).exists());
}

#[test]
#[ignore = "needs root and a user manager; scripts/test runs it"]
fn where_the_folder_of_systemd_is_missing_the_kernel_is_not_blamed() {
    let world = World::on_a_machine_without(Lack::UnitRoot);
    let user = &world.user;
    world.login(&world.bao.mint_ours().token);
    let said = world.must_script("install", &INSTALL);
    assert_says(
        &said,
        &["There is no /run/systemd/unit-root", "As root, after each boot: mkdir -p /run/systemd/unit-root"],
    );
    assert!(!said.contains("kernel"), "{said}");
    assert!(!user.systemctl(["start", SERVICE]).status.success());
    assert_eq!(user.property(SERVICE, "ExecMainStatus"), "226");
    world.typed(after(&said, "Or turn that part of their hardening off: "));
    user.must_systemctl(["start", SERVICE]);
    world.assert_succeeded(SERVICE);
}

#[test]
#[ignore = "needs root and a user manager; scripts/test runs it"]
fn scripts_install_tells_of_a_unit_that_is_still_marked_as_failed() {
    let world = World::installed();
    let user = &world.user;
    world.weak_login();
    assert!(!user.systemctl(["start", SERVICE]).status.success());
    // As long as the next run would fail too, that is what there is to say.
    let said = world.must_script("install", &INSTALL);
    assert!(said.contains("the next run would fail") && !said.contains("reset-failed"), "{said}");
    world.login(&world.bao.mint_ours().token);
    let said = world.must_script("install", &INSTALL);
    assert_says(&said, &["vault-token-renew.service is still marked as failed by an earlier run"]);
    world.typed(&format!("systemctl{}", after(&said, "Or only clear it: systemctl")));
    let said = world.must_script("install", &INSTALL);
    assert_says(&said, &["nothing is left to do"]);
    assert_eq!(user.property(SERVICE, "ActiveState"), "inactive");
}
