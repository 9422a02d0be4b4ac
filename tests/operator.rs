//! What an operator sees of a run besides its line: the deploy hook, the metrics file, the JSON object. Against a
//! real OpenBao, with real hooks.

#![cfg(test)]
#![expect(clippy::disallowed_methods, reason = "tests write files as they like")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::openbao::OpenBao;
use support::sandbox::{PROGRAM, Run, Sandbox, unstamped};
use support::scripted::{Reply, Scripted};
use support::{DISPLAY_NAME, NOWHERE, OUR_NAME, PERIOD, dying, now, server, wait_until};

fn is_alive(pid: &str) -> bool {
    // A process that has ended but is not reaped yet is not alive.
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

// --- the hook

/// A home with a login that can be healed, and what a hook writes into it.
struct Healing {
    server: OpenBao,
    home: Sandbox,
}

impl Healing {
    fn new() -> Self {
        let server = server();
        let home = Sandbox::holding(&server.admin_login().token);
        Self { server, home }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.file(name)).unwrap_or_default()
    }

    #[track_caller]
    fn run(&self, hook: &str, more: &[&str]) -> Run {
        let arguments: Vec<&str> = ["--deploy-hook", hook].iter().chain(more).copied().collect();
        self.home.run(self.server.address(), &arguments)
    }

    /// The heal stands, whatever became of the hook. What hooks write is in the home, too.
    #[track_caller]
    fn check_healed(&self) {
        self.server.check_minted(&self.home);
    }
}

#[test]
fn the_hook_is_told_of_the_heal_and_of_no_token() {
    let healing = Healing::new();
    let foreign = healing.home.token();
    let mut command = healing.home.command(healing.server.address());
    command.args([
        "--deploy-hook",
        "env > told; cat \"$VTR_TOKEN_FILE\" > seen; tr '\\0' '\\n' < /proc/$$/cmdline > arguments",
    ]);
    command.env("VAULT_TOKEN", "a-token-of-the-shell").env("BAO_TOKEN", "another-token-of-the-shell");
    healing.home.finish(&mut command).expect(0);
    healing.check_healed();
    let told: BTreeMap<String, String> = healing
        .read("told")
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    assert_eq!(told["VTR_EVENT"], "healed");
    assert_eq!(told["VTR_TOKEN_FILE"], healing.home.token_file().to_str().unwrap());
    assert_eq!(told["VTR_DISPLAY_NAME"], OUR_NAME);
    let ttl: u64 = told["VTR_TTL"].parse().expect("seconds");
    assert!((PERIOD - 60..=PERIOD).contains(&ttl), "{ttl}");
    assert_eq!(told["USER"], "wizard", "the rest of the environment is passed on");
    assert_eq!(healing.read("seen"), healing.home.token(), "the file was replaced before the hook ran");
    for place in ["told", "arguments"] {
        let text = healing.read(place);
        assert!(!text.is_empty());
        for secret in [foreign.as_str(), &healing.home.token(), "a-token-of-the-shell", "another-token"] {
            assert!(!text.contains(secret), "a token in {place}");
        }
    }
}

#[test]
fn only_a_heal_runs_the_hook() {
    let server = server();
    let hook = ["--deploy-hook", "touch ran"];
    let home = Sandbox::holding(&server.mint_ours().token);
    home.run(server.address(), &hook).expect(0);
    home.run(server.address(), &["sweep", hook[0], hook[1]]).expect(0);
    home.put(&server.weak_login().token);
    home.run(server.address(), &hook).expect(1);
    home.put(&server.admin_login().token);
    let dry = home.run(server.address(), &["--dry-run", hook[0], hook[1]]).expect(0);
    assert!(dry.stdout.ends_with("\nwould run the deploy hook\n"), "{dry:?}");
    home.run(NOWHERE, &hook).expect(1);
    assert!(!home.path().join("ran").exists(), "the hook ran without a heal");
    home.run(server.address(), &hook).expect(0);
    assert!(home.path().join("ran").exists(), "the hook did not run after a heal");
}

#[test]
fn what_the_hook_says_is_passed_on() {
    let healing = Healing::new();
    let run = healing.run("echo to everybody; echo complaint >&2", &[]).expect(0);
    assert!(run.stdout.starts_with("to everybody\n"), "{run:?}");
    assert_eq!(run.stderr, "complaint\n");
    assert!(unstamped(run.stdout.lines().last().unwrap()).starts_with("HEALED: "), "{run:?}");
    assert!(!healing.home.log().contains("to everybody"), "the log is for our own lines");
}

#[test]
fn a_hook_that_fails_is_a_warning_and_the_heal_stands() {
    let healing = Healing::new();
    let run = healing.run("exit 3", &[]).expect(0);
    assert_eq!(run.complaint(), "WARN: the deploy hook ended with exit status 3");
    assert!(run.said().starts_with("HEALED: "), "{run:?}");
    let lines = healing.home.logged();
    assert!(lines[0].starts_with("WARN: the deploy hook") && lines[1].starts_with("HEALED: "), "{lines:?}");
    healing.check_healed();
}

#[test]
fn a_hook_that_takes_too_long_is_killed_with_all_it_started() {
    let healing = Healing::new();
    let start = Instant::now();
    let hook = "trap '' TERM; sh -c 'trap \"\" TERM; sleep 60' >/dev/null 2>&1 & echo $! > child; echo $$ > self; wait";
    let run = healing.run(hook, &["--hook-timeout", "500ms"]).expect(0);
    assert!(start.elapsed() < Duration::from_secs(30), "the limit did not count");
    assert_eq!(
        run.complaint(),
        "WARN: the deploy hook was killed, because it took longer than 0.5s (see --hook-timeout)"
    );
    for name in ["child", "self"] {
        let pid = healing.read(name);
        assert!(!pid.is_empty(), "the hook did not get far enough to test anything");
        wait_until("the hook's processes are gone", || !is_alive(pid.trim()));
    }
    healing.check_healed();
}

#[test]
fn whoever_stops_the_program_stops_the_hook_and_the_report_still_comes() {
    let healing = Healing::new();
    let hook = "echo $$ > self.new && mv self.new self; sleep 60 >/dev/null 2>&1";
    let variables = [("VTR_DEPLOY_HOOK", hook), ("VTR_HOOK_TIMEOUT", "10m")];
    let child = healing.home.start(healing.server.address(), &variables);
    wait_until("the hook runs", || !healing.read("self").is_empty());
    let killed = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().expect("kill");
    assert!(killed.success());
    let run = healing.home.wait(child).expect(0);
    assert_eq!(run.complaint(), "WARN: the deploy hook was killed, because this run was told to stop");
    assert!(run.said().starts_with("HEALED: "), "{run:?}");
    let pid = healing.read("self");
    wait_until("the hook is gone", || !is_alive(pid.trim()));
}

#[test]
fn a_hook_may_run_the_program_itself() {
    let healing = Healing::new();
    let config = healing.file("own.toml");
    fs::write(&config, "display_name = \"devvm-wizard\"\npolicies = [\"vault-admin\", \"sops-admin\"]\n")
        .unwrap();
    let hook = format!("{PROGRAM} --config {0} --deploy-hook 'touch again'", config.display());
    let run = healing.run(&hook, &["--config", config.to_str().unwrap()]).expect(0);
    let said: Vec<&str> = run.stdout.lines().map(unstamped).collect();
    assert!(said[0].starts_with("OK renewed") && said[1].starts_with("HEALED: "), "{run:?}");
    assert!(!healing.file("again").exists(), "the nested run took our token for a foreign one");
    healing.check_healed();
}

#[test]
fn a_login_that_lands_with_the_last_use_of_the_token_before_is_not_called_dead() {
    let server = server();
    let (home, ours) = (Sandbox::holding("s.spent-token-of-somebody"), server.mint_ours());
    let file = home.token_file();
    let spent =
        json!({"data": {"display_name": "token", "policies": ["default"], "ttl": 60, "num_uses": -1}});
    let between = Scripted::in_front_of(server.address(), move |_, number| {
        (number == 0).then(|| {
            fs::write(&file, &ours.token).unwrap();
            Reply::Json(200, spent.to_string())
        })
    });
    let run = home.run(between.address(), &[]).expect(0);
    assert!(run.said().starts_with("OK renewed"), "{run:?}");
}

#[test]
fn a_hook_that_makes_a_heal_necessary_again_starts_no_chain_of_hooks() {
    let healing = Healing::new();
    fs::write(healing.file("login"), &healing.server.admin_login().token).unwrap();
    let script = healing.file("hook");
    fs::write(
        &script,
        format!("echo x >> ran; [ $(wc -l < ran) -gt 5 ] && exit; cat login > .vault-token; {PROGRAM} --deploy-hook 'sh hook'\n"),
    )
    .unwrap();
    let run = healing.run("sh hook", &[]).expect(0);
    let healed = |run: &Run| run.stdout.matches("HEALED: ").count();
    assert_eq!((healed(&run), healing.read("ran").lines().count()), (2, 1), "{run:?}");
    // What the nested run owes is made up for by the next that no hook started.
    fs::write(&script, "echo x >> ran\n").unwrap();
    let dry = healing.run("sh hook", &["--dry-run"]).expect(0);
    assert!(dry.stdout.ends_with("\nwould run the deploy hook, which an earlier run owes\n"), "{dry:?}");
    assert_eq!(healed(&healing.run("sh hook", &[]).expect(0)), 0);
    assert_eq!(healing.read("ran").lines().count(), 2);
    healing.run("sh hook", &[]).expect(0);
    assert_eq!(healing.read("ran").lines().count(), 2);
    healing.check_healed();
}

#[test]
fn a_hook_that_leaves_its_process_group_is_killed_all_the_same() {
    let healing = Healing::new();
    // Two processes: one that stays in the group, and the first, which goes over to ours.
    for stays in ["", "sleep 60 & "] {
        healing.home.put(&healing.server.admin_login().token);
        let hook = format!("echo $$ > self; {stays}exec perl -e 'setpgrp(0, getpgrp(getppid())); sleep 60'");
        let run = healing.run(&hook, &["--hook-timeout", "500ms"]).expect(0);
        assert!(run.complaint().contains("the deploy hook was killed, because it took longer"), "{run:?}");
        wait_until("the hook is gone", || !is_alive(healing.read("self").trim()));
    }
}

#[test]
fn a_hook_can_be_waited_for_where_children_are_left_to_nobody() {
    let healing = Healing::new();
    let mut command = healing.home.command_of("/bin/bash", healing.server.address());
    // A parent that ignores SIGCHLD hands this down, and then the kernel reaps children on its own.
    command.args(["-c", "trap '' CHLD; exec \"$0\" \"$@\"", PROGRAM, "--deploy-hook", "sleep 0.1; exit 3"]);
    let run = healing.home.finish(&mut command).expect(0);
    assert_eq!(run.complaint(), "WARN: the deploy hook ended with exit status 3");
}

#[test]
fn a_hook_that_a_killed_run_owes_is_run_by_the_next() {
    let healing = Healing::new();
    // The sweep, which comes after the replacement, never gets its list.
    let stuck = Scripted::in_front_of(healing.server.address(), |request, _| {
        request.path.contains("accessors").then_some(Reply::Hang)
    });
    let variables = [("VTR_DEPLOY_HOOK", "echo \"$VTR_EVENT $VTR_DISPLAY_NAME\" >> told")];
    let mut child = healing.home.start(stuck.address(), &variables);
    wait_until("the sweep has begun", || {
        stuck.requests().iter().any(|request| request.path.contains("accessors"))
    });
    child.kill().expect("a kill");
    healing.home.wait(child);
    healing.check_healed();
    assert_eq!(healing.read("told"), "");
    // An outage pays nothing back; the next good run does, once.
    let hook = variables[0].1;
    healing.home.run(NOWHERE, &["--deploy-hook", hook]).expect(1);
    for _ in 0..2 {
        let run = healing.run(hook, &[]).expect(0);
        assert!(run.said().starts_with("OK renewed"), "{run:?}");
        assert_eq!(healing.read("told"), format!("healed {OUR_NAME}\n"));
    }
}

#[test]
fn an_identity_of_the_environment_is_the_same_inside_of_a_hook() {
    let healing = Healing::new();
    let mut command = healing.home.command(healing.server.address());
    command.env("VTR_DISPLAY_NAME", "devvm-emo").env("VTR_POLICIES", "vault-admin");
    command.args(["--deploy-hook", &format!("{PROGRAM} --deploy-hook 'touch again'")]);
    let run = healing.home.finish(&mut command).expect(0);
    assert!(
        unstamped(run.stdout.lines().next().unwrap()).starts_with("OK renewed (dn=token-devvm-emo "),
        "{run:?}"
    );
    assert!(!healing.file("again").exists());
}

// --- the metrics

/// A metrics file in a home.
struct Metrics<'a> {
    home: &'a Sandbox,
    file: PathBuf,
}

impl<'a> Metrics<'a> {
    fn of(home: &'a Sandbox) -> Self {
        Self { home, file: home.path().join("vault.prom") }
    }

    #[track_caller]
    fn run(&self, address: &str, arguments: &[&str], status: i32) {
        let arguments: Vec<&str> =
            arguments.iter().chain(&["--metrics-file", self.file.to_str().unwrap()]).copied().collect();
        self.home.run(address, &arguments).expect(status);
        assert_eq!(self.home.mode("vault.prom"), 0o644, "{arguments:?}");
        let text = self.text();
        let token = fs::read_to_string(self.home.token_file()).unwrap_or_default();
        assert!(token.is_empty() || !text.contains(&token), "a token in the metrics");
    }

    fn text(&self) -> String {
        fs::read_to_string(&self.file).expect("the metrics file")
    }

    /// The value of a series of the user and the profile of these tests.
    #[track_caller]
    fn value(&self, name: &str, result: &str) -> u64 {
        self.said(name, result).parse().expect("a number")
    }

    /// The same as it is written there.
    #[track_caller]
    fn said(&self, name: &str, result: &str) -> String {
        let result = if result.is_empty() { String::new() } else { format!(",result=\"{result}\"") };
        let series = format!("{name}{{profile=\"default\",user=\"wizard\"{result}}} ");
        let text = self.text();
        let value = text.lines().find_map(|line| line.strip_prefix(&series));
        value.unwrap_or_else(|| panic!("no {series}in {text}")).to_owned()
    }

    /// success, failure, not_renewable; healed, denied, failed; swept; foreign.
    fn counts(&self) -> [u64; 8] {
        let renewals = |result| self.value("vault_token_renewals_total", result);
        let heals = |result| self.value("vault_token_heals_total", result);
        [
            renewals("success"),
            renewals("failure"),
            renewals("not_renewable"),
            heals("healed"),
            heals("denied"),
            heals("failed"),
            self.value("vault_token_swept_total", ""),
            self.value("vault_token_foreign", ""),
        ]
    }

    fn time(&self, what: &str) -> u64 {
        self.value(&format!("vault_token_{what}_timestamp_seconds"), "")
    }
}

#[test]
fn the_metrics_tell_how_every_pass_went() {
    let server = server();
    let home = Sandbox::holding(&server.admin_login().token);
    let metrics = Metrics::of(&home);
    let start = now();

    // An outage, before anything is known.
    metrics.run(NOWHERE, &[], 1);
    assert_eq!(metrics.counts(), [0, 1, 0, 0, 0, 0, 0, 0]);
    // 0 would mean that there is no living token.
    assert_eq!(metrics.said("vault_token_expiry_timestamp_seconds", ""), "NaN");
    assert_eq!(metrics.said("vault_token_ttl_seconds", ""), "NaN");
    assert_eq!(metrics.time("last_success"), 0);
    assert!(metrics.time("last_run") >= start);
    // A heal.
    server.mint_ours();
    metrics.run(server.address(), &[], 0);
    assert_eq!(metrics.counts(), [0, 1, 0, 1, 0, 0, 1, 0]);
    let end = metrics.time("expiry");
    assert!((start + PERIOD - 5..=now() + PERIOD).contains(&end), "{end}");
    assert!(metrics.value("vault_token_ttl_seconds", "") > PERIOD - 60);
    assert!(metrics.time("last_success") >= start);
    // A renewal.
    metrics.run(server.address(), &[], 0);
    assert_eq!(metrics.counts(), [1, 1, 0, 1, 0, 0, 1, 0]);
    // A weak token that dies soon.
    let weak = json!({"policies": ["reader"], "ttl": "1h"});
    home.put(&server.mint_as_root(weak).token);
    metrics.run(server.address(), &[], 1);
    assert_eq!(metrics.counts(), [1, 1, 0, 1, 1, 0, 1, 1]);
    assert!(metrics.time("expiry") < end, "the end is that of the token in the file");
    let success = metrics.time("last_success");
    assert!(success <= metrics.time("last_run"));
    // An outage afterwards: what was known stays known.
    metrics.run(NOWHERE, &[], 1);
    assert_eq!(metrics.counts(), [1, 2, 0, 1, 1, 0, 1, 1]);
    assert_eq!(metrics.time("last_success"), success);
    // Our token, dying and without the authority to mint; then one with it.
    home.put(&server.mint_as_root(dying("vault-admin")).token);
    metrics.run(server.address(), &[], 0);
    assert_eq!(metrics.counts()[..6], [1, 2, 1, 2, 1, 0]);
    // A mint that fails for another reason than a denial.
    home.put(&server.admin_login().token);
    let broken = Scripted::in_front_of(server.address(), |request, _| {
        let error = Reply::Json(500, r#"{"errors":["internal error"]}"#.to_owned());
        (request.call() == "auth/token/create").then_some(error)
    });
    metrics.run(broken.address(), &[], 1);
    assert_eq!(metrics.counts()[..6], [1, 2, 1, 2, 1, 1]);
    assert_eq!(metrics.counts()[7], 1);
    // A dead token.
    home.put("s.no-such-token-anywhere");
    metrics.run(server.address(), &[], 1);
    assert_eq!(metrics.counts()[..6], [1, 3, 1, 2, 1, 1]);
    assert_eq!([metrics.time("expiry"), metrics.value("vault_token_ttl_seconds", "")], [0, 0]);
    assert_eq!(metrics.counts()[7], 0);
}

#[test]
fn a_token_file_that_cannot_be_read_at_the_moment_is_not_told_as_gone() {
    let server = server();
    let home = Sandbox::holding(&server.mint_ours().token);
    let metrics = Metrics::of(&home);
    metrics.run(server.address(), &[], 0);
    let end = metrics.time("expiry");
    fs::rename(home.token_file(), home.path().join("away")).unwrap();
    std::os::unix::fs::symlink(".vault-token", home.token_file()).unwrap();
    metrics.run(server.address(), &[], 1);
    assert_eq!((metrics.time("expiry"), metrics.counts()[1]), (end, 1));
    fs::remove_file(home.token_file()).unwrap();
    metrics.run(server.address(), &[], 1);
    assert_eq!(metrics.time("expiry"), 0);
}

#[test]
fn a_dying_token_that_may_not_mint_is_counted_as_both() {
    let server = server();
    server.write_policy("weak-admin", "path \"secret/*\" { capabilities = [\"read\"] }");
    let home = Sandbox::holding(&server.mint_as_root(dying("weak-admin")).token);
    let metrics = Metrics::of(&home);
    metrics.run(server.address(), &["--display-name", DISPLAY_NAME, "--policy", "weak-admin"], 1);
    assert_eq!(metrics.counts(), [0, 0, 1, 0, 1, 0, 0, 0]);
}

#[test]
fn the_verb_sweep_adds_to_the_metrics_and_is_no_pass() {
    let server = server();
    let home = Sandbox::holding(&server.mint_ours().token);
    server.mint_ours();
    let metrics = Metrics::of(&home);
    metrics.run(server.address(), &["sweep"], 0);
    assert_eq!(metrics.counts(), [0, 0, 0, 0, 0, 0, 1, 0]);
    assert_eq!(metrics.time("last_run"), 0);
    assert!(metrics.time("expiry") > now());
    // What it learns of the token it tells, too.
    fs::remove_file(home.token_file()).unwrap();
    metrics.run(server.address(), &["sweep"], 1);
    assert_eq!(metrics.time("expiry"), 0);
}

#[test]
fn a_dry_run_writes_no_metrics() {
    let server = server();
    let home = Sandbox::holding(&server.mint_ours().token);
    home.run(server.address(), &["--dry-run", "--metrics-file", "vault.prom"]).expect(0);
    assert_eq!(home.names(), [".vault-token"]);
}

#[test]
fn metrics_that_cannot_be_written_are_a_warning() {
    let server = server();
    let home = Sandbox::holding(&server.mint_ours().token);
    let run = home.run(server.address(), &["--metrics-file", "~/no/such/folder/vault.prom"]).expect(0);
    assert_eq!(
        run.complaint(),
        "WARN: the metrics file ~/no/such/folder/vault.prom cannot be written: no such file or directory"
    );
    assert!(run.said().starts_with("OK renewed"));
}

#[test]
fn what_is_no_regular_file_is_not_replaced_by_metrics() {
    use std::os::unix::fs::symlink;
    let server = server();
    let home = Sandbox::holding(&server.mint_ours().token);
    let (link, folder) = (home.path().join("link"), home.path().join("folder"));
    symlink(home.path().join("target"), &link).unwrap();
    fs::create_dir(&folder).unwrap();
    for name in ["link", "folder"] {
        let run = home.run(server.address(), &["--metrics-file", &format!("~/{name}")]).expect(0);
        let expected = format!("WARN: the metrics file ~/{name} cannot be written: not a regular file");
        assert_eq!(run.complaint(), expected);
    }
    assert!(link.is_symlink() && folder.is_dir());
}

#[test]
fn the_metrics_file_is_replaced_and_never_written_in_place() {
    use std::os::unix::fs::MetadataExt as _;
    let server = server();
    let home = Sandbox::holding(&server.mint_ours().token);
    let metrics = Metrics::of(&home);
    metrics.run(server.address(), &[], 0);
    let reader = fs::File::open(&metrics.file).unwrap();
    let (inode, text) = (reader.metadata().unwrap().ino(), metrics.text());
    let leftover = home.path().join(".vault.prom.renew-0123456789ab");
    fs::write(&leftover, "left by a killed run").unwrap();
    metrics.run(server.address(), &[], 0);
    assert_ne!(fs::metadata(&metrics.file).unwrap().ino(), inode);
    assert_eq!(std::io::read_to_string(reader).unwrap(), text, "whoever reads has a whole file");
    assert!(!leftover.exists(), "what a killed run left stays for ever");
}

#[test]
fn a_second_token_has_a_profile_of_its_own() {
    let server = server();
    let home = Sandbox::holding(&server.mint_ours().token);
    let config = home.path().join("work.toml");
    fs::write(&config, format!("metrics_file = \"{}/work.prom\"\n", home.path().display())).unwrap();
    home.run(server.address(), &["--config", config.to_str().unwrap()]).expect(0);
    let text = fs::read_to_string(home.path().join("work.prom")).unwrap();
    assert!(text.contains("vault_token_foreign{profile=\"work\",user=\"wizard\"} 0\n"), "{text}");
}

// --- JSON

fn names(object: &Value) -> Vec<&str> {
    object.as_object().expect("an object").keys().map(String::as_str).collect()
}

#[track_caller]
fn assert_fields(object: &Value, expected: Value) {
    let Value::Object(expected) = expected else { panic!("an object") };
    for (name, value) in expected {
        assert_eq!(object[&name], value, "{name} in {object}");
    }
}

#[test]
fn a_pass_is_one_object_and_the_line_still_goes_to_the_log() {
    let server = server();
    let home = Sandbox::holding(&server.admin_login().token);
    let stale = server.mint_ours();
    let run = home.run(server.address(), &["--json"]).expect(0);
    assert_eq!(run.stderr, "");
    let healed = run.object();
    assert_fields(
        &healed,
        json!({
            "verb": "pass", "dry_run": false, "outcome": "healed", "reason": null, "hint": null, "warnings": [],
            "token_file": home.token_file().to_str().unwrap(),
            "identity": {
                "display_name": OUR_NAME, "required_policy": "vault-admin",
                "policies": ["vault-admin", "sops-admin"], "period": PERIOD,
            },
            "sweep": {
                "end": "complete", "reason": null, "revoked": [stale.accessor],
                "may_not_be_revoked": [], "could_not_be_looked_at": [],
            },
        }),
    );
    assert_eq!(unstamped(home.log().trim_end()), healed["message"], "the line goes to the log");
    assert_fields(&healed["token"], json!({"display_name": OUR_NAME, "ours": true}));
    assert!(healed["token"]["ttl"].as_u64().unwrap() > PERIOD - 60);
    let end = healed["token"]["expires_at"].as_str().unwrap();
    assert!(end.ends_with('Z') && end.len() == 20, "{end}");

    let renewed = home.run(server.address(), &["--json", "--detailed-exitcode"]).expect(10).object();
    assert_fields(&renewed, json!({"outcome": "renewed", "sweep": null}));
    assert_eq!(renewed["token"]["ttl"], PERIOD);
    assert_eq!(names(&renewed), names(&healed), "the names do not depend on the outcome");
}

#[test]
fn what_goes_wrong_is_in_the_object_and_on_standard_error() {
    let server = server();
    let home = Sandbox::holding(&server.weak_login().token);
    let mut command = home.command(server.address());
    let run = home.finish(command.args(["--json"]).env("VAULT_TOKEN", "x")).expect(1);
    let drift = run.object();
    assert_fields(&drift, json!({"outcome": "drift", "reason": "denied", "sweep": null}));
    assert_fields(&drift["token"], json!({"display_name": "userpass-woodpecker", "ours": false}));
    let warning =
        "VAULT_TOKEN is set and ignored here; the vault command line uses it instead of the token file";
    assert_eq!(drift["warnings"], json!([warning]));
    let complaints = run.complaints();
    assert_eq!(complaints[0], format!("WARN: {warning}"));
    assert_eq!(complaints[1], drift["message"]);

    let outage = home.run(NOWHERE, &["--json"]).expect(1).object();
    assert_fields(&outage, json!({"outcome": "failed", "reason": "unreachable"}));
    assert!(outage["hint"].as_str().unwrap().contains("--address"), "{outage}");
    fs::remove_file(home.token_file()).unwrap();
    let missing = home.run(server.address(), &["--json"]).expect(1).object();
    assert_fields(&missing, json!({"outcome": "failed", "reason": "token_file_missing", "token": null}));
    home.put("s.no-such-token-anywhere");
    let dead = home.run(server.address(), &["--json"]).expect(1).object();
    assert_fields(&dead, json!({"outcome": "failed", "reason": "token_dead", "token": null}));
    assert_eq!(names(&dead), names(&drift));
}

#[test]
fn a_dry_run_and_a_sweep_are_objects_too() {
    let server = server();
    let home = Sandbox::holding(&server.admin_login().token);
    let stale = server.mint_ours();
    let before = home.snapshot();
    let foreseen = home.run(server.address(), &["--dry-run", "--json"]).expect(0).object();
    assert_eq!(home.snapshot(), before);
    assert_fields(
        &foreseen,
        json!({"verb": "pass", "dry_run": true, "outcome": "would_heal", "reason": null}),
    );
    assert_fields(&foreseen["token"], json!({"display_name": "userpass-admin", "ours": false}));
    assert_eq!(foreseen["sweep"]["would_revoke"], json!([stale.accessor]));
    assert!(foreseen["sweep"].get("revoked").is_none(), "{foreseen}");
    assert!(foreseen["message"].as_str().unwrap().contains("would mint"), "{foreseen}");

    home.put(&server.mint_ours().token);
    let foreseen = home.run(server.address(), &["sweep", "--dry-run", "--json"]).expect(0).object();
    assert_fields(&foreseen, json!({"verb": "sweep", "dry_run": true, "outcome": "would_sweep"}));
    let swept = home.run(server.address(), &["sweep", "--json"]).expect(0).object();
    assert_fields(&swept, json!({"verb": "sweep", "dry_run": false, "outcome": "swept"}));
    assert_eq!(swept["sweep"]["revoked"], json!([stale.accessor]));
    assert_fields(&swept["token"], json!({"display_name": OUR_NAME, "ours": true}));
    assert_eq!(names(&swept), names(&foreseen));

    home.put(&server.weak_login().token);
    let foreseen = home.run(server.address(), &["--dry-run", "--json"]).expect(1).object();
    assert_fields(&foreseen, json!({"outcome": "would_drift", "reason": "denied"}));
}

#[test]
fn wrong_settings_are_an_object_too() {
    let home = Sandbox::new();
    let run = home.run(NOWHERE, &["--json", "--period", "never"]).expect(2);
    let usage = run.object();
    assert_eq!(usage["outcome"], "usage");
    assert!(usage["message"].as_str().unwrap().contains("--period"), "{usage}");
    assert!(run.stderr.contains("--period"), "{run:?}");
}

#[test]
fn a_misspelt_command_line_is_an_object_too() {
    let home = Sandbox::new();
    for arguments in [&["--json", "--bogus"][..], &["status", "--json", "--min-ttl"], &["--json", "staus"]] {
        let run = home.run(NOWHERE, arguments).expect(2);
        let usage = run.object();
        assert_eq!(usage["outcome"], "usage");
        assert!(run.stderr.contains(usage["message"].as_str().unwrap()), "{run:?}");
    }
    assert_eq!(home.run(NOWHERE, &["--bogus"]).expect(2).stdout, "");
}

#[test]
fn an_answer_that_could_not_be_written_is_no_success() {
    let server = server();
    let home = Sandbox::holding(&server.mint_ours().token);
    home.run(server.address(), &[]).expect(0);
    for (arguments, status) in
        [(&["status"][..], 1), (&["status", "--json"], 1), (&["--dry-run"], 1), (&["--json"], 1), (&[], 0)]
    {
        let mut command = home.command_of("/bin/sh", server.address());
        command.args(["-c", "exec \"$0\" \"$@\" > /dev/full", PROGRAM]).args(arguments);
        let run = home.finish(&mut command).expect(status);
        let complaint = "vault-token-renew: error: standard output: no space left on device\n";
        assert_eq!(run.stderr, if status == 1 { complaint } else { "" }, "{arguments:?}");
    }
}

#[test]
fn a_hook_does_not_disturb_the_object() {
    let healing = Healing::new();
    let run = healing.run("echo noise; exit 3", &["--json"]).expect(0);
    let healed = run.object();
    assert_eq!(healed["warnings"], json!(["the deploy hook ended with exit status 3"]));
    assert!(run.stderr.contains("noise\n"), "{run:?}");
    assert!(Path::new(&healing.home.token_file()).exists());
}
