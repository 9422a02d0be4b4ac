//! How much the program says, to whom, and when: what a person who waits is told, and what a pipe is spared.

#![cfg(test)]
mod support;

use std::net::TcpListener;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use support::sandbox::{PROGRAM, Run, Sandbox};
use support::scripted::Scripted;
use support::{FILE_TOKEN, NOWHERE, RENEWED, server};

/// The program at a terminal.
fn at_a_terminal(home: &Sandbox, address: &str, arguments: &str, variables: &[(&str, &str)]) -> Run {
    assert!(Path::new("/usr/bin/script").exists(), "there is no /usr/bin/script; apt-get install bsdutils");
    let mut command = home.command_of("/usr/bin/script", address);
    command.env("TERM", "xterm").envs(variables.iter().copied());
    home.finish(command.args(["-qec", &format!("{PROGRAM} {arguments}"), "/dev/null"]))
}

#[test]
fn quiet_leaves_failures_only_and_the_log_has_all_of_it() {
    let server = server();
    let home = Sandbox::holding(&server.mint_ours().token);
    home.chmod(0o644);
    let run = home.run(&server, &["-q"]).expect(0);
    assert_eq!((run.stdout.as_str(), run.stderr.as_str()), ("", ""));
    let logged = home.logged();
    assert!(logged[0].starts_with("WARN: ~/.vault-token had mode 0644"), "{logged:?}");
    assert_eq!(logged[1], RENEWED);
    for arguments in [&["sweep", "-q"][..], &["--dry-run", "--quiet"], &["status", "-q"]] {
        let run = home.run(&server, arguments).expect(0);
        assert_eq!((run.stdout.as_str(), run.stderr.as_str()), ("", ""), "{arguments:?}");
    }
    let object = home.run(&server, &["-q", "--json"]).expect(0).quiet().object();
    assert_eq!(object["outcome"], "renewed");

    home.put(&server.weak_login().token);
    assert!(home.run(&server, &["-q"]).expect(1).complaint().starts_with("DRIFT: "));
    assert!(home.run(&server, &["-q", "--dry-run"]).expect(1).stderr.contains("would fail: heal denied"));
    let run = home.run(&server, &["-q", "status"]).expect(1);
    let lines: Vec<&str> = run.stdout.lines().collect();
    assert!(lines.iter().all(|line| line.starts_with("wrong: ") || line.starts_with("   fix: ")), "{run:?}");
    assert!(lines[0].contains("not your token"), "{run:?}");
    home.run(&server, &["-q", "-v"]).expect(2);
}

#[test]
fn verbose_adds_a_line_for_each_request_and_no_secret() {
    let server = server();
    let home = Sandbox::holding(&server.admin_login().token);
    let run = home.run(&server, &["-v"]).expect(0);
    assert!(run.said().starts_with("HEALED: "), "{run:?}");
    let requests: Vec<&str> = run
        .stderr
        .lines()
        .map(|line| line.strip_prefix("request: ").unwrap_or_else(|| panic!("{line}")))
        .collect();
    let first: Vec<&str> = requests[0].split(' ').collect();
    let url = format!("{}/v1/auth/token/lookup-self:", server.address());
    assert!(matches!(first[..], ["GET", asked, "200,", _, "ms"] if asked == url), "{requests:?}");
    for path in
        ["auth/token/create: 200", "auth/token/accessors/?list=true: 200", "auth/token/lookup-accessor: 200"]
    {
        assert!(requests.iter().any(|request| request.contains(path)), "{path}: {requests:?}");
    }
    assert!(!home.log().contains("request: "), "the log is for what happened");
    // What no server answered has a line, too.
    let run = home.run(NOWHERE, &["--verbose"]).expect(1);
    let url = format!("request: GET {NOWHERE}/v1/auth/token/lookup-self: connection refused, ");
    assert!(run.stderr.starts_with(&url), "{run:?}");
    let object = home.run(&server, &["-v", "--json"]).expect(0).object();
    assert_eq!(object["outcome"], "renewed");
}

#[test]
fn who_waits_at_a_terminal_is_told_what_for_and_until_when() {
    let home = Sandbox::holding(FILE_TOKEN);
    // The longest pause is 10 s: with 2 s more no run gives up before there is something to tell.
    let retrying = [("VTR_RETRY_FOR", "12s")];
    let run = at_a_terminal(&home, NOWHERE, "", &retrying).expect(1);
    let told: Vec<&str> = run.stdout.lines().filter(|line| line.contains("trying again until 20")).collect();
    assert_eq!(told.len(), 1, "{run:?}");
    assert!(
        told[0].starts_with(&format!("token lookup: {NOWHERE}: connection refused; trying again")),
        "{run:?}"
    );
    for (arguments, variables) in [("-q", &retrying[..]), ("", &[])] {
        let run = at_a_terminal(&home, NOWHERE, arguments, variables).expect(1);
        assert!(!run.stdout.contains("trying again"), "{arguments} {run:?}");
    }
    let run = home.run_with(&retrying, NOWHERE, &[]).expect(1);
    assert_eq!(run.complaints().len(), 1, "a pipe is told how it ended: {run:?}");
    assert!(!home.log().contains("trying again"));
}

#[test]
fn a_server_that_takes_its_time_is_named_to_who_waits_at_a_terminal() {
    // It takes the connection and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", silent.local_addr().unwrap());
    let home = Sandbox::holding(FILE_TOKEN);
    let run = at_a_terminal(&home, &address, "", &[("VAULT_CLIENT_TIMEOUT", "3s")]).expect(1);
    let told = format!("waiting for {address}: no answer yet");
    assert_eq!(run.stdout.matches(&told).count(), 1, "{run:?}");
}

#[test]
fn a_long_walk_shows_at_a_terminal_how_far_it_is_and_nowhere_else() {
    let server = server();
    for _ in 0..25 {
        server.mint_ours();
    }
    let slow = Scripted::in_front_of(&server, |request, _| {
        if request.call() == "auth/token/lookup-accessor" {
            thread::sleep(Duration::from_millis(150));
        }
        None
    });
    let shown = |terminal: &str| {
        let home = Sandbox::holding(&server.mint_ours().token);
        let arguments = "sweep --dry-run --sweep-concurrency 1";
        let run = at_a_terminal(&home, slow.address(), arguments, &[("TERM", terminal)]).expect(0);
        run.stdout
    };
    let text = shown("xterm");
    assert!(text.contains("tokens, about ") && text.contains(" s left"), "{text:?}");
    assert!(text.contains("\r\u{1b}[Ksweep: looked at "), "{text:?}");
    assert!(text.contains("\r\u{1b}[Kwould revoke "), "the line stays in the way: {text:?}");
    assert!(!shown("dumb").contains("looked at"));
    let home = Sandbox::holding(&server.mint_ours().token);
    let run = home.run(slow.address(), &["sweep", "--dry-run", "--sweep-concurrency", "1"]).expect(0).quiet();
    assert!(!run.stdout.contains("looked at"), "{run:?}");
}

#[test]
fn that_no_address_is_configured_is_told_at_once() {
    let home = Sandbox::holding(FILE_TOKEN);
    let mut command = home.command(NOWHERE);
    command.env_remove("VAULT_ADDR").env("VTR_RETRY_FOR", "3s");
    let started = Instant::now();
    let run = home.finish(&mut command).expect(1);
    assert!(started.elapsed() > Duration::from_millis(500), "it was tried again: {run:?}");
    let complaints = run.complaints();
    assert!(
        complaints[0].starts_with("WARN: no address is configured, so https://127.0.0.1:8200 is tried"),
        "{run:?}"
    );
    assert_eq!(complaints.len(), 2, "once: {run:?}");
    let hint =
        "write the address of the server to ~/.config/vault-token-renew/config.toml: address = \"https://…\"";
    assert_eq!(run.hints(), [hint]);
    // Who named an address that happens to be the default is not told so.
    let run = home.run("https://127.0.0.1:8200", &[]).expect(1);
    assert_eq!(run.complaints().len(), 1, "{run:?}");
    let status: Value = {
        let mut command = home.command(NOWHERE);
        let run = home.finish(command.env_remove("VAULT_ADDR").args(["status", "--json"]));
        serde_json::from_str(&run.stdout).unwrap()
    };
    let problems = status["problems"].to_string();
    assert!(problems.contains("no address is configured"), "{problems}");
    assert!(!problems.contains("check that the server is up"), "{problems}");
}

#[test]
fn the_short_help_is_short_and_the_long_one_has_everything() {
    let home = Sandbox::new();
    let help = |arguments: &[&str]| home.run(NOWHERE, arguments).expect(0).quiet().stdout;
    let (short, long) = (help(&["-h"]), help(&["--help"]));
    assert!(short.lines().count() <= 25 && !short.contains("--sweep-concurrency"), "{short}");
    assert!(short.contains("--help") && short.contains("--config"), "{short}");
    assert!(long.contains("--sweep-concurrency") && long.contains("Exit status:"), "{long}");
    assert_eq!(help(&["help"]), long);
    for verb in ["status", "sweep", "watch", "follow"] {
        assert_eq!(help(&["help", verb]), help(&[verb, "--help"]), "{verb}");
        assert!(help(&[verb, "-h"]).lines().count() <= 32, "{verb}");
    }
}
