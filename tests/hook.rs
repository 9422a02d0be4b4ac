//! The deploy hook: when it runs, what it is told, and what becomes of it when it fails or hangs. Real hooks, against a
//! real OpenBao.

#![cfg(test)]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;
use support::openbao::OpenBao;
use support::sandbox::{PROGRAM, Run, Sandbox, unstamped};
use support::scripted::{Reply, Scripted};
use support::{NOWHERE, OUR_NAME, PERIOD, server, wait_until};

fn is_alive(pid: &str) -> bool {
    // A process that has ended but is not reaped yet is not alive.
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

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
        self.run_with(&[], hook, more)
    }

    #[track_caller]
    fn run_with(&self, variables: &[(&str, &str)], hook: &str, more: &[&str]) -> Run {
        let arguments = [&["--deploy-hook", hook], more].concat();
        self.home.run_with(variables, &self.server, &arguments)
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
    let variables = [("VAULT_TOKEN", "a-token-of-the-shell"), ("BAO_TOKEN", "another-token-of-the-shell")];
    let hook = "env > told; cat \"$VTR_TOKEN_FILE\" > seen; tr '\\0' '\\n' < /proc/$$/cmdline > arguments";
    healing.run_with(&variables, hook, &[]).expect(0);
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
    home.run(&server, &hook).expect(0);
    home.run(&server, &["sweep", hook[0], hook[1]]).expect(0);
    home.put(&server.weak_login().token);
    home.run(&server, &hook).expect(1);
    home.put(&server.admin_login().token);
    let dry = home.run(&server, &["--dry-run", hook[0], hook[1]]).expect(0);
    assert!(dry.stdout.ends_with("\nwould run the deploy hook\n"), "{dry:?}");
    home.run(NOWHERE, &hook).expect(1);
    assert!(!home.path().join("ran").exists(), "the hook ran without a heal");
    home.run(&server, &hook).expect(0);
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
    let hook = "trap '' TERM; sh -c 'trap \"\" TERM; sleep 600' >/dev/null 2>&1 & \
        echo $! > child; echo $$ > self; wait";
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
    let hook = "echo $$ > self.new && mv self.new self; sleep 600 >/dev/null 2>&1";
    let variables = [("VTR_DEPLOY_HOOK", hook), ("VTR_HOOK_TIMEOUT", "10m")];
    let child = healing.home.start(&healing.server, &variables);
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
    let settings = "display_name = \"devvm-wizard\"\npolicies = [\"vault-admin\", \"sops-admin\"]\n";
    let config = healing.home.write("own.toml", settings);
    let hook = format!("{PROGRAM} --config {config} --deploy-hook 'touch again'");
    let run = healing.run(&hook, &["--config", &config]).expect(0);
    let said: Vec<&str> = run.stdout.lines().map(unstamped).collect();
    assert!(said[0].starts_with("[own] OK renewed") && said[1].starts_with("[own] HEALED: "), "{run:?}");
    assert!(!healing.file("again").exists(), "the nested run took our token for a foreign one");
    healing.check_healed();
}

#[test]
fn a_hook_that_makes_a_heal_necessary_again_starts_no_chain_of_hooks() {
    let healing = Healing::new();
    healing.home.write("login", healing.server.admin_login().token);
    healing.home.write(
        "hook",
        format!(
            "echo x >> ran; [ $(wc -l < ran) -gt 5 ] && exit; cat login > .vault-token; {PROGRAM} \
                 --deploy-hook 'sh hook'\n"
        ),
    );
    let run = healing.run("sh hook", &[]).expect(0);
    let healed = |run: &Run| run.stdout.matches("HEALED: ").count();
    assert_eq!((healed(&run), healing.read("ran").lines().count()), (2, 1), "{run:?}");
    // What the nested run owes is made up for by the next that no hook started.
    healing.home.write("hook", "echo x >> ran\n");
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
    for stays in ["", "sleep 600 & "] {
        healing.home.put(&healing.server.admin_login().token);
        let hook = format!("echo $$ > self; {stays}exec perl -e 'setpgrp(0, getpgrp(getppid())); sleep 600'");
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
    let stuck = Scripted::in_front_of(&healing.server, |request, _| {
        request.path.contains("accessors").then_some(Reply::Hang)
    });
    let variables = [("VTR_DEPLOY_HOOK", "echo \"$VTR_EVENT $VTR_DISPLAY_NAME\" >> told")];
    let mut child = healing.home.start(&stuck, &variables);
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
    let variables = [("VTR_DISPLAY_NAME", "devvm-emo"), ("VTR_POLICIES", "vault-admin")];
    let hook = format!("{PROGRAM} --deploy-hook 'touch again'");
    let run = healing.run_with(&variables, &hook, &[]).expect(0);
    assert!(
        unstamped(run.stdout.lines().next().unwrap()).starts_with("OK renewed (dn=token-devvm-emo "),
        "{run:?}"
    );
    assert!(!healing.file("again").exists());
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
