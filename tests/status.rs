//! The verb `status` against a real OpenBao: what it shows, what it calls wrong, and that it touches nothing. What a
//! user manager knows is tested in tests/systemd.rs.

#![cfg(test)]
#![expect(clippy::disallowed_methods, reason = "tests write files as they like")]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::{Value, json};
use support::openbao::OpenBao;
use support::sandbox::{LOG, PROGRAM, Sandbox};
use support::scripted::{Reply, Scripted};
use support::{DISPLAY_NAME, NOWHERE, OUR_NAME, PERIOD, RENEWED, dying, now, ours, server, with, without};

/// A home in which a pass has just renewed our token.
fn renewed(server: &OpenBao) -> Sandbox {
    let home = Sandbox::holding(&server.mint_ours().token);
    home.run(&server, &[]).expect(0);
    home
}

/// The object `status` prints; it must change nothing in the home.
#[track_caller]
fn look(home: &Sandbox, server: &(impl AsRef<str> + ?Sized), arguments: &[&str]) -> Value {
    let before = home.snapshot();
    let arguments: Vec<&str> = ["status", "--json"].iter().chain(arguments).copied().collect();
    let run = home.run(server, &arguments);
    assert_eq!(home.snapshot(), before, "status touched the home");
    run.quiet().object()
}

/// What is wrong, and what is only noted, by their stable names.
fn problems<'a>(status: &'a Value, severity: &str) -> Vec<&'a str> {
    let all = status["problems"].as_array().expect("problems");
    all.iter()
        .filter(|problem| problem["severity"] == severity)
        .map(|problem| problem["id"].as_str().expect("a name"))
        .collect()
}

/// The problem of this name, which has to come with a remedy.
#[track_caller]
fn problem<'a>(status: &'a Value, id: &str) -> (&'a str, &'a str) {
    let all = status["problems"].as_array().expect("problems");
    let problem =
        all.iter().find(|problem| problem["id"] == id).unwrap_or_else(|| panic!("no {id}: {status}"));
    (problem["message"].as_str().expect("a message"), problem["remedy"].as_str().expect("a remedy"))
}

#[test]
fn a_healthy_token_is_told_with_all_there_is_to_know() {
    let server = server();
    let home = renewed(&server);
    let status = look(&home, &server, &[]);
    assert_eq!((problems(&status, "wrong"), problems(&status, "note")), (vec![], vec![]), "{status}");
    assert_eq!(status["schema"], 1);
    assert_eq!((&status["healthy"], &status["exit_status"]), (&json!(true), &json!(0)));
    assert_eq!(status["server"], server.address());
    assert_eq!(status["token_file"]["path"], home.token_file().to_str().unwrap());
    assert_eq!(status["token_file"]["mode"], "0600");
    let token = &status["token"];
    for (name, value) in [
        ("source", json!("server")),
        ("ours", json!(true)),
        ("display_name", json!(OUR_NAME)),
        ("policies", json!(["default", "sops-admin", "vault-admin"])),
        ("identity_policies", json!([])),
        ("period", json!(PERIOD)),
        ("renewable", json!(true)),
        ("orphan", json!(true)),
        ("type", json!("service")),
        ("never_expires", json!(false)),
    ] {
        assert_eq!(token[name], value, "{name}");
    }
    assert!(token["ttl"].as_u64().unwrap() > PERIOD - 60, "{token}");
    assert_eq!(status["last_pass"]["outcome"], "renewed");
    assert_eq!(status["last_pass"]["at"], status["last_success"]);
    let line = status["last_line"].as_str().unwrap();
    assert_eq!(line.split_once(' ').unwrap().1, home.logged().last().unwrap());
    assert_eq!(status["tokens_of_our_name"], json!({"total": 1, "stale": 0}));
    assert_eq!(status["sweep_due"], false);
    assert_eq!((&status["timer"]["state"], &status["linger"]), (&json!("unknown"), &Value::Null));
}

#[test]
fn a_person_gets_aligned_lines_and_the_verdict_at_the_end() {
    let server = server();
    let home = renewed(&server);
    let run = home.run(&server, &["status"]).expect(0);
    assert_eq!(run.stderr, "");
    let lines: Vec<&str> = run.stdout.lines().collect();
    assert_eq!(lines[0], format!("token     ~/.vault-token: yours, {OUR_NAME}"));
    assert_eq!(lines.last(), Some(&"healthy"));
    let facts: Vec<&str> = lines.iter().copied().take_while(|line| !line.is_empty()).collect();
    let labels: Vec<&str> = facts.iter().map(|line| line[..9].trim_end()).collect();
    assert_eq!(
        labels,
        [
            "token",
            "policies",
            "kind",
            "time left",
            "file",
            "last run",
            "last good",
            "log",
            "next run",
            "on server",
            "server"
        ]
        .map(|label| &label[..label.len().min(9)])
    );
    assert!(facts.iter().all(|line| line.as_bytes()[9] == b' ' && line.as_bytes()[10] != b' '), "{facts:?}");
    for expected in ["period 32 d, renewable, orphan", ", until ", "mode 0600, owner you", " ago: renewed"] {
        assert!(run.stdout.contains(expected), "{expected}: {run:?}");
    }

    home.put(&server.admin_login().token);
    let run = home.run(&server, &["status"]).expect(1);
    assert!(run.stdout.contains("vault-admin (identity)"), "{run:?}");
    assert!(
        run.stdout.ends_with(
            "\nwrong: ~/.vault-token is dn=\"userpass-admin\", not your token; it may mint yours\n   fix: \
             vault-token-renew\n"
        ),
        "{run:?}"
    );
}

/// What a run shows on a terminal.
fn on_a_terminal(home: &Sandbox, variables: &[(&str, &str)]) -> String {
    let mut command = home.command_of("/usr/bin/script", NOWHERE);
    command.args(["--quiet", "--return", "--command", &format!("{PROGRAM} status --offline"), "/dev/null"]);
    command.envs(variables.iter().copied());
    home.finish(&mut command).stdout
}

#[test]
fn colours_are_for_terminals_whose_user_wants_them() {
    assert!(Path::new("/usr/bin/script").exists(), "there is no /usr/bin/script; apt-get install bsdutils");
    let server = server();
    let home = renewed(&server);
    assert!(on_a_terminal(&home, &[("TERM", "xterm")]).contains("\u{1b}[32mhealthy\u{1b}[0m"));
    for variables in [&[("TERM", "xterm"), ("NO_COLOR", "1")][..], &[("TERM", "dumb")], &[]] {
        let shown = on_a_terminal(&home, variables);
        assert!(shown.contains("healthy") && !shown.contains('\u{1b}'), "{variables:?}: {shown:?}");
    }
    let run = home.run_with(&[("TERM", "xterm")], NOWHERE, &["status", "--offline"]);
    assert!(!run.stdout.contains('\u{1b}'), "{run:?}");
}

#[test]
fn a_foreign_token_is_wrong_and_the_remedy_fits_its_authority() {
    let server = server();
    let home = renewed(&server);
    home.put(&server.admin_login().token);
    let status = look(&home, &server, &[]);
    assert_eq!(problems(&status, "wrong"), ["foreign"]);
    assert_eq!(problem(&status, "foreign").1, "vault-token-renew");
    assert_eq!(status["token"]["identity_policies"], json!(["vault-admin"]));
    assert_eq!(status["tokens_of_our_name"], json!({"total": 1, "stale": 1}));

    home.put(&server.weak_login().token);
    let status = look(&home, &server, &["--detailed-exitcode"]);
    assert_eq!(status["exit_status"], 3);
    assert_eq!(problems(&status, "wrong"), ["foreign"]);
    let (message, remedy) = problem(&status, "foreign");
    assert!(message.ends_with("it is too weak to mint yours"), "{message}");
    assert!(remedy.ends_with("vault login -method=oidc && vault-token-renew"), "{remedy}");
    assert_eq!(status["tokens_of_our_name"], Value::Null, "listing is denied");
}

#[test]
fn dead_missing_and_unreachable_are_three_things() {
    let server = server();
    let home = renewed(&server);
    let token = home.token();
    home.put("s.no-such-token-anywhere");
    let dead = look(&home, &server, &["--detailed-exitcode"]);
    assert_eq!((problems(&dead, "wrong"), &dead["exit_status"]), (vec!["token_dead"], &json!(4)));
    fs::remove_file(home.token_file()).unwrap();
    let missing = look(&home, &server, &["--detailed-exitcode"]);
    assert_eq!(
        (problems(&missing, "wrong"), &missing["exit_status"]),
        (vec!["token_file_missing"], &json!(4))
    );
    assert_eq!(missing["token_file"]["mode"], Value::Null);
    assert!(problem(&missing, "token_file_missing").1.starts_with("log in: "));
    home.put(&token);
    let outage = look(&home, NOWHERE, &["--detailed-exitcode"]);
    assert_eq!((problems(&outage, "wrong"), &outage["exit_status"]), (vec!["unreachable"], &json!(75)));
    assert_eq!(outage["token"]["source"], "state", "what a pass saw is better than nothing");
    assert!(outage["token"]["ttl"].as_u64().unwrap() > PERIOD - 60);
}

#[test]
fn a_dying_token_of_ours_is_wrong() {
    let server = server();
    let home = renewed(&server);
    for (policy, able) in [("vault-admin", "it may mint"), ("reader", "it may not mint")] {
        home.put(&server.mint_as_root(dying(policy)).token);
        let status = look(
            &home,
            &server,
            &["--display-name", DISPLAY_NAME, "--policy", policy, "--detailed-exitcode"],
        );
        assert_eq!(problems(&status, "wrong"), ["dying"], "{status}");
        assert_eq!(status["exit_status"], 5);
        assert!(problem(&status, "dying").0.contains(able), "{status}");
    }
}

#[test]
fn a_token_without_a_period_is_wrong_before_it_is_dying() {
    let server = server();
    let home = renewed(&server);
    let order = with(without(ours(), &["period"]), "ttl", "768h");
    home.put(&server.mint_as_root(order).token);
    let status = look(&home, &server, &["--period", "24h"]);
    assert_eq!(problems(&status, "wrong"), ["not_periodic"], "{status}");
}

#[test]
fn a_period_that_the_server_caps_is_wrong_before_and_after_a_renewal() {
    let server = server();
    server.cap_leases("24h");
    let home = Sandbox::holding(&server.mint_ours().token);
    let status = look(&home, &server, &[]);
    assert_eq!(problems(&status, "wrong"), ["period_capped", "never_run"], "{status}");
    home.run(&server, &[]).expect(0);
    let status = look(&home, &server, &[]);
    assert_eq!(problems(&status, "wrong"), ["period_capped"], "{status}");
    let (message, _) = problem(&status, "period_capped");
    assert_eq!(message, "the server grants 1 d at a time, less than the period of 32 d");
    // A token that was minted under the cap, and renewed when it was gone.
    server.cap_leases("768h");
    home.run(&server, &[]).expect(0);
    assert_eq!(problems(&look(&home, &server, &[]), "wrong"), [""; 0]);
}

#[test]
fn a_loose_mode_and_a_shadowing_variable_are_wrong() {
    let server = server();
    let home = renewed(&server);
    home.chmod(0o640);
    let status = look(&home, &server, &[]);
    assert_eq!(problems(&status, "wrong"), ["loose_mode"]);
    assert_eq!(home.mode(".vault-token"), 0o640, "looking must not tighten");
    let (message, remedy) = problem(&status, "loose_mode");
    assert_eq!(message, "~/.vault-token has mode 0640, so other users can read the token");
    assert_eq!(remedy, format!("chmod 600 {}", home.token_file().display()));
    home.chmod(0o600);
    for name in ["VAULT_TOKEN", "BAO_TOKEN"] {
        let run = home.run_with(&[(name, "x")], &server, &["status", "--json"]).expect(1);
        let status = run.quiet().object();
        assert_eq!(problems(&status, "wrong"), ["shadowed"]);
        assert!(problem(&status, "shadowed").1.starts_with(&format!("unset {name}")));
    }
}

#[test]
fn a_policy_that_is_missing_is_wrong_and_one_that_may_not_be_read_is_noted() {
    let server = server();
    let home = renewed(&server);
    server.as_root("DELETE", "sys/policies/acl/sops-admin", None);
    let status = look(&home, &server, &[]);
    assert_eq!(problems(&status, "wrong"), ["policy_missing"]);
    assert_eq!(problem(&status, "policy_missing").0, "the server has no policy \"sops-admin\"");

    let order = with(ours(), "policies", json!(["reader"]));
    home.put(&server.mint_as_root(order).token);
    let status = look(&home, &server, &["--display-name", DISPLAY_NAME, "--policy", "reader"]);
    assert_eq!((problems(&status, "wrong"), problems(&status, "note")), (vec![], vec!["policy_unreadable"]));
    assert_eq!(status["exit_status"], 0, "whoever is no administrator can be healthy too");
}

#[test]
fn an_unfinished_sweep_is_wrong_and_a_stale_token_is_noted() {
    let server = server();
    let home = renewed(&server);
    server.mint_ours();
    let status = look(&home, &server, &[]);
    assert_eq!((problems(&status, "wrong"), problems(&status, "note")), (vec![], vec!["stale_tokens"]));
    assert_eq!(status["tokens_of_our_name"], json!({"total": 2, "stale": 1}));
    assert_eq!(server.named(OUR_NAME).len(), 2, "looking must not sweep");
    assert_eq!(look(&home, &server, &["--sweep", "off"])["tokens_of_our_name"], Value::Null);

    home.put(&server.admin_login().token);
    home.run(&server.losing_the_list(), &[]).expect(0);
    let status = look(&home, &server, &[]);
    assert_eq!(problems(&status, "wrong"), ["sweep_unfinished"]);
    home.run(&server, &[]).expect(0);
    assert_eq!(problems(&look(&home, &server, &[]), "wrong"), [""; 0]);
    // Of our name, and not ours to revoke.
    let elsewhere =
        json!({"display_name": DISPLAY_NAME, "policies": ["reader"], "meta": {"host": "elsewhere"}});
    server.mint_as_root(elsewhere);
    let status = look(&home, &server, &[]);
    assert_eq!(status["tokens_of_our_name"], json!({"total": 2, "stale": 0}));
}

#[test]
fn a_sweep_that_is_denied_or_switched_off_makes_nobody_unhealthy() {
    let server = server();
    server.write_policy("minter", r#"path "auth/token/create" { capabilities = ["update", "sudo"] }"#);
    let ours = ["--display-name", "nl", "--policy", "minter"];
    let home = Sandbox::holding(&server.userpass_login("nl", &["minter"], &[]).token);
    let run = home.run(&server, &ours).expect(0);
    assert!(run.said().ends_with("(accessor sweep skipped (list denied))"), "{run:?}");
    // Also after a pass that only renews.
    for _ in 0..2 {
        let status = look(&home, &server, &ours);
        assert_eq!((problems(&status, "wrong"), &status["sweep_due"]), (vec![], &json!(true)), "{status}");
        assert_eq!(problems(&status, "note"), ["policy_unreadable", "sweep_denied"]);
        assert_eq!(status["tokens_of_our_name"], Value::Null);
        home.run(&server, &ours).expect(0);
    }
    let off = look(&home, &server, &[&ours[..], &["--sweep", "off"]].concat());
    assert_eq!((problems(&off, "wrong"), problems(&off, "note")[1]), (vec![], "sweep_off"));
    let remedy = problem(&off, "sweep_off").1;
    assert_eq!(remedy, "vault-token-renew sweep --display-name nl --policy minter --sweep walk");
    // What the other remedy says.
    let remembered = [&ours[..], &["--sweep", "remembered"]].concat();
    home.run(&server, &remembered).expect(0);
    let status = look(&home, &server, &remembered);
    assert_eq!((problems(&status, "note"), &status["sweep_due"]), (vec!["policy_unreadable"], &json!(false)));
}

/// Changes what is remembered of the passes.
fn rewrite_history(home: &Sandbox, change: impl Fn(&mut Value)) {
    home.rewrite_state(|state| change(&mut state["history"]));
}

fn hours_ago(hours: u64) -> Value {
    json!(now() - hours * 3_600)
}

#[test]
fn a_success_too_long_ago_is_wrong_and_a_failure_since_is_noted() {
    let server = server();
    let home = renewed(&server);
    for (hours, wrong) in [(35, vec![]), (37, vec!["success_too_old"])] {
        rewrite_history(&home, |history| {
            history["last_success"] = hours_ago(hours);
            history["last_run"] = json!({"at": hours_ago(hours), "ending": "renewed"});
        });
        assert_eq!(problems(&look(&home, &server, &[]), "wrong"), wrong, "{hours}");
    }
    rewrite_history(&home, |history| history["last_success"] = hours_ago(1));
    home.run(NOWHERE, &[]).expect(1);
    let status = look(&home, &server, &[]);
    assert_eq!((problems(&status, "wrong"), problems(&status, "note")), (vec![], vec!["last_pass_failed"]));
    assert!(status["last_line"].as_str().unwrap().contains(" FAIL: "), "{status}");
    rewrite_history(&home, |history| history["last_success"] = Value::Null);
    let status = look(&home, &server, &[]);
    assert_eq!(problem(&status, "success_too_old").0, "no run has ever succeeded");
}

#[test]
fn where_no_pass_is_known_to_have_run_that_is_wrong_whatever_a_log_of_all_tokens_says() {
    let server = server();
    let home = Sandbox::holding(&server.mint_ours().token);
    let status = look(&home, &server, &[]);
    assert_eq!(problems(&status, "wrong"), ["never_run"]);
    assert_eq!((&status["last_pass"], &status["last_line"]), (&Value::Null, &Value::Null));
    home.write(LOG, format!("2026-11-22T00:03:11+00:00 {RENEWED}\n"));
    let status = look(&home, &server, &[]);
    assert_eq!((problems(&status, "wrong"), &status["last_line"]), (vec!["never_run"], &Value::Null));
}

#[test]
fn the_least_time_that_must_be_left_is_the_users_choice() {
    let server = server();
    let home = renewed(&server);
    for offline in [&[][..], &["--offline"]] {
        let enough = look(&home, &server, &[&["--min-ttl", "31d"], offline].concat());
        assert_eq!(problems(&enough, "wrong"), [""; 0]);
        let short = look(&home, &server, &[&["--min-ttl", "33d"], offline].concat());
        assert_eq!(problems(&short, "wrong"), ["ttl_too_short"]);
    }
    let run = home.run(&server, &["status", "--min-ttl", "soon"]).expect(2);
    assert!(run.stderr.contains("--min-ttl: \"soon\""), "{run:?}");
}

#[test]
fn offline_nothing_is_sent_and_the_last_pass_is_believed() {
    let server = server();
    let home = renewed(&server);
    let ear = Scripted::start(|_, _| Reply::Close);
    let status = look(&home, &ear, &["--offline"]);
    assert_eq!(problems(&status, "wrong"), [""; 0]);
    assert_eq!((&status["token"]["source"], &status["token"]["ours"]), (&json!("state"), &json!(true)));
    rewrite_history(&home, |history| history["seen"]["ends_at"] = hours_ago(1));
    assert_eq!(problems(&look(&home, &ear, &["--offline"]), "wrong"), ["ended"]);
    rewrite_history(&home, |history| history["seen"] = json!("nothing"));
    assert_eq!(problems(&look(&home, &ear, &["--offline"]), "wrong"), ["no_token_seen"]);
    home.put(&server.weak_login().token);
    home.run(&server, &[]).expect(1);
    let status = look(&home, &ear, &["--offline"]);
    assert_eq!(problems(&status, "wrong"), ["foreign"]);
    assert!(
        problem(&status, "foreign").1.starts_with("find out what wrote it, then: vault login"),
        "{status}"
    );
    let dying = json!({"display_name": DISPLAY_NAME, "policies": ["vault-admin"], "type": "batch", "ttl": "2h",
        "no_parent": true});
    home.put(&server.mint_as_root(dying).token);
    home.run(&server, &[]).expect(1);
    let status = look(&home, &ear, &["--offline", "--detailed-exitcode"]);
    assert_eq!((problems(&status, "wrong"), &status["exit_status"]), (vec!["dying"], &json!(5)));
    // What the server grants, too, is known from the last pass.
    home.put(&server.mint_ours().token);
    home.run(&server, &[]).expect(0);
    rewrite_history(&home, |history| history["seen"]["lease"] = json!(360_000));
    assert_eq!(problems(&look(&home, &ear, &["--offline"]), "wrong"), ["period_capped"]);
    fs::remove_file(home.token_file()).unwrap();
    assert_eq!(problems(&look(&home, &ear, &["--offline"]), "wrong"), ["token_file_missing"]);
    assert_eq!(ear.requests().len(), 0, "something was sent");
}

#[test]
fn an_outage_before_anything_is_known_is_not_taken_for_a_token_that_is_gone() {
    let server = server();
    let home = Sandbox::holding(&server.mint_ours().token);
    let run = home.run(NOWHERE, &["--retry-for", "0s", "--json"]).expect(1);
    assert_eq!(run.object()["token"], Value::Null);
    let status = look(&home, NOWHERE, &["--offline", "--detailed-exitcode"]);
    assert_eq!((problems(&status, "wrong"), &status["exit_status"]), (vec!["success_too_old"], &json!(1)));
    // Nor is what an earlier run saw told as what this one did.
    home.run(&server, &[]).expect(0);
    let run = home.run(NOWHERE, &["--retry-for", "0s", "--json"]).expect(1);
    assert_eq!(run.object()["token"], Value::Null);
}

#[test]
fn looking_changes_nothing_on_the_server() {
    let server = server();
    let home = renewed(&server);
    server.mint_ours();
    home.put(&server.admin_login().token);
    let before = (server.accessors(), server.lookup(&home.token()));
    let ttl = |info: &Option<Value>| info.as_ref().unwrap()["last_renewal_time"].clone();
    look(&home, &server, &[]);
    let after = (server.accessors(), server.lookup(&home.token()));
    assert_eq!(before.0, after.0);
    assert_eq!(ttl(&before.1), ttl(&after.1));
}

#[test]
fn commands_name_the_configuration_they_are_for() {
    let server = server();
    let home = renewed(&server);
    home.put(&server.admin_login().token);
    let config = home.write("work.toml", "");
    let status = look(&home, &server, &["--config", &config]);
    assert_eq!(problem(&status, "foreign").1, format!("vault-token-renew --config {config}"));
    assert_eq!(status["timer"]["unit"], Value::Null, "no unit looks for a file there");
    // Without its flags a command would ask another server, or be somebody else's.
    let flags = ["--address", server.address(), "--display-name", "x", "--policy", "vault-admin"];
    let status = look(&home, NOWHERE, &flags);
    assert_eq!(problem(&status, "foreign").1, format!("vault-token-renew {}", flags.join(" ")));
}

#[test]
fn a_token_that_ends_with_its_parent_is_wrong() {
    let server = server();
    let login = server.mint_as_root(json!({"policies": ["vault-admin", "sops-admin"], "no_parent": true}));
    let child = server.mint(&login.token, without(ours(), &["no_parent"]));
    let home = Sandbox::holding(&child.token);
    let status = look(&home, &server, &[]);
    assert_eq!(problems(&status, "wrong"), ["not_orphan", "never_run"]);
    // It may mint, so that what helps is a run: an orphan takes its place.
    assert_eq!(problem(&status, "not_orphan").1, "vault-token-renew");
    home.run(&server, &[]).expect(0);
    assert_eq!(problems(&look(&home, &server, &[]), "wrong"), [""; 0]);
    server.check_minted(&home);
}

#[test]
fn a_token_of_limited_uses_is_wrong_and_loses_no_more_than_one_by_a_look() {
    let server = server();
    let limited = server.mint_as_root(with(ours(), "num_uses", 5));
    let home = Sandbox::holding(&limited.token);
    let status = look(&home, &server, &["--detailed-exitcode"]);
    assert_eq!(problems(&status, "wrong"), ["use_limited", "never_run"]);
    assert_eq!((&status["token"]["num_uses"], &status["exit_status"]), (&json!(4), &json!(5)));
    assert_eq!(server.lookup_accessor(&limited.accessor).expect("it lives")["num_uses"], 4);
}

#[test]
fn a_foreign_token_that_never_mints_is_not_told_to_try() {
    let server = server();
    let order = json!({"policies": ["vault-admin"], "num_uses": 9});
    let home = Sandbox::holding(&server.mint_as_root(order).token);
    let status = look(&home, &server, &[]);
    assert_eq!(problems(&status, "wrong"), ["foreign", "use_limited", "never_run"]);
    assert!(
        problem(&status, "foreign").1.starts_with("find out what wrote it, then: vault login"),
        "{status}"
    );
}

#[test]
fn a_token_whose_last_use_was_this_look_is_dead_and_not_healthy() {
    let server = server();
    let home = Sandbox::holding(&server.mint_as_root(with(ours(), "num_uses", 1)).token);
    let status = look(&home, &server, &["--detailed-exitcode"]);
    assert_eq!(problems(&status, "wrong"), ["token_dead", "never_run"]);
    assert_eq!(status["exit_status"], 4);
    assert!(problem(&status, "token_dead").0.contains("its last use is spent"), "{status}");
}

#[test]
fn a_token_with_another_period_than_asked_for_is_wrong() {
    let server = server();
    let home = Sandbox::holding(&server.mint_as_root(with(ours(), "period", "1h")).token);
    home.run(&server, &[]).expect(0);
    let status = look(&home, &server, &[]);
    assert_eq!(problems(&status, "wrong"), ["other_period"]);
    let (message, remedy) = problem(&status, "other_period");
    assert_eq!(message, "your token has a period of 1 h, the settings ask for 32 d");
    assert_eq!(remedy, "vault login -method=oidc && vault-token-renew");
}

#[test]
fn a_state_that_cannot_be_read_is_wrong() {
    let server = server();
    let home = renewed(&server);
    let state = home.state_file();
    fs::write(&state, "{\"sweep").unwrap();
    assert_eq!(problems(&look(&home, &server, &[]), "wrong"), ["state_unreadable"]);
    let offline = look(&home, NOWHERE, &["--offline", "--min-ttl", "7d"]);
    assert_eq!(problems(&offline, "wrong"), ["ttl_unknown", "state_unreadable"]);
    fs::remove_file(&state).unwrap();
    let offline = look(&home, NOWHERE, &["--offline", "--min-ttl", "7d"]);
    assert_eq!(problems(&offline, "wrong"), ["ttl_unknown", "never_run"]);
}

#[test]
fn offline_a_token_file_that_cannot_be_one_is_wrong() {
    let server = server();
    let home = renewed(&server);
    let file = home.token_file();
    fs::write(&file, "").unwrap();
    assert_eq!(problems(&look(&home, NOWHERE, &["--offline"]), "wrong"), ["token_file_empty"]);
    fs::write(&file, "x".repeat(65_537)).unwrap();
    assert_eq!(problems(&look(&home, NOWHERE, &["--offline"]), "wrong"), ["token_file"]);
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    home.chmod(0o700);
    assert_eq!(problems(&look(&home, NOWHERE, &["--offline"]), "wrong"), ["token_file"]);
}

#[test]
fn a_server_that_falls_silent_is_waited_for_once() {
    let server = server();
    let home = renewed(&server);
    let silent = Scripted::in_front_of(&server, |request, _| {
        (!request.path.contains("lookup-self")).then_some(Reply::Hang)
    });
    let variables = [("VAULT_CLIENT_TIMEOUT", "1s"), ("VTR_RETRY_FOR", "0s")];
    let run = home.run_with(&variables, &silent, &["status", "--json"]).expect(0);
    let status = run.quiet().object();
    assert_eq!(problems(&status, "note"), ["policy_unreadable"]);
    assert_eq!(silent.requests().len(), 2, "one lookup, one silence");
}

#[test]
fn commands_repeat_the_flags_that_say_whose_token_it_is() {
    let server = server();
    let home = renewed(&server);
    let flags = ["--display-name", "devvm emo", "--policy", "vault-admin", "--policy", "sops-admin"];
    let status = look(&home, &server, &flags);
    let command = "vault-token-renew --display-name 'devvm emo' --policy vault-admin --policy sops-admin";
    assert_eq!(problem(&status, "foreign").1, command);
}

#[test]
fn our_name_without_our_policy_says_what_it_lacks() {
    let server = server();
    let home = renewed(&server);
    let order = without(with(ours(), "policies", json!(["reader"])), &["period"]);
    home.put(&server.mint_as_root(order).token);
    let (status, policy) = (look(&home, &server, &[]), "(it lacks the policy \"vault-admin\")");
    assert!(problem(&status, "foreign").0.contains(policy), "{status}");
}

#[test]
fn a_path_that_is_not_utf_8_is_an_object_all_the_same() {
    use std::os::unix::ffi::OsStrExt as _;
    let server = server();
    let home = renewed(&server);
    let outside = tempfile::tempdir().unwrap();
    let folder = outside.path().join(std::ffi::OsStr::from_bytes(b"c\xff"));
    fs::create_dir(&folder).unwrap();
    let mut command = home.command(server.address());
    command.args(["status", "--json", "--token-file", "tok"]).current_dir(&folder);
    let status = home.finish(&mut command).expect(1).quiet().object();
    assert_eq!(problems(&status, "wrong")[0], "token_file_missing");
}

#[test]
fn lines_name_the_configuration_they_belong_to_and_status_shows_its_own() {
    let server = server();
    let home = Sandbox::holding(&server.mint_ours().token);
    home.write("work-token", &server.weak_login().token);
    fs::set_permissions(home.path().join("work-token"), PermissionsExt::from_mode(0o600)).unwrap();
    let work = home.write("work.toml", "token_file = \"~/work-token\"\n");
    home.run(&server, &[]).expect(0);
    let run = home.run(&server, &["--config", &work]).expect(1);
    assert!(run.complaint().starts_with("[work] DRIFT: ~/work-token is dn="), "{run:?}");
    fs::set_permissions(home.path().join("work-token"), PermissionsExt::from_mode(0o644)).unwrap();
    let run = home.run(&server, &["--config", &work]).expect(1);
    assert!(run.complaints()[0].starts_with("[work] WARN: ~/work-token had mode 0644"), "{run:?}");
    let logged = home.logged();
    assert_eq!(logged[0], RENEWED);
    assert!(logged[1..].iter().all(|line| line.starts_with("[work] ")), "{logged:?}");

    let last_line =
        |arguments: &[&str]| look(&home, &server, arguments)["last_line"].as_str().unwrap().to_owned();
    assert!(last_line(&[]).ends_with(RENEWED), "the line of another token");
    assert!(last_line(&["--config", &work]).contains(" [work] DRIFT: "));
    // What a program reads is about one configuration anyway.
    let object = home.run(&server, &["--json", "--config", &work]).expect(1).object();
    assert!(object["message"].as_str().unwrap().starts_with("DRIFT: "), "{object}");
}

#[test]
fn status_does_not_tell_the_line_of_another_token_file_as_this_ones() {
    let server = server();
    let home = renewed(&server);
    home.write("other", &server.weak_login().token);
    fs::set_permissions(home.path().join("other"), PermissionsExt::from_mode(0o600)).unwrap();
    let other = home.path().join("other").to_str().unwrap().to_owned();
    let by_flag = ["--token-file", other.as_str()];
    let by_variable = [("VAULT_TOKEN_PATH", other.as_str())];
    home.run(&server, &by_flag).expect(1);
    home.run_with(&by_variable, &server, &[]).expect(1);
    home.run(&server, &["sweep"]).expect(0);
    let logged = home.logged();
    assert_eq!(logged.len(), 4, "all of them write to the same log: {logged:?}");

    let last_line = |status: &Value| -> String {
        let line = status["last_line"].as_str().expect("a line");
        line.split_once(' ').expect("a time stamp").1.to_owned()
    };
    assert_eq!(last_line(&look(&home, &server, &[])), RENEWED);
    assert_eq!(last_line(&look(&home, &server, &by_flag)), logged[2]);
    let status = home.run_with(&by_variable, &server, &["status", "--json"]).object();
    assert_eq!(last_line(&status), logged[2]);
    // Nor that of a run before it.
    fs::remove_file(home.path().join(LOG)).unwrap();
    home.run(NOWHERE, &by_flag).expect(1);
    assert_eq!(last_line(&look(&home, &server, &[])), RENEWED);
    assert_eq!(last_line(&look(&home, &server, &by_flag)), home.logged()[0]);
}

/// Whose token it is, as an environment file says it.
const IDENTITY: &str = "VTR_DISPLAY_NAME=devvm-wizard\nVTR_POLICIES=vault-admin,sops-admin\n";

/// A user manager that would start the service like this: the words of `systemctl show`, and what stands in the
/// environment file.
fn manager(home: &Sandbox, unit: &str, environment: &str, file: &str) -> [(&'static str, String); 1] {
    home.write("systemd/private", "");
    let file = home.write("service.env", file);
    let script = format!(
        "#!/bin/sh\ncase \"$*\" in\n*show-environment*) echo HOME={home};;\n*ExecStart*{unit}) cat <<'END'\n\
         LoadState=loaded\nExecStart={{ path=/x ; argv[]=/x{arguments} ; ignore_errors=no }}\n\
         Environment=VTR_RETRY_FOR=5m {environment}\nEnvironmentFiles={file} (ignore_errors=yes)\nEND\n;;\n\
         *) echo LoadState=not-found;;\nesac\n",
        home = home.path().display(),
        arguments = if unit.contains('@') { " --config $HOME/x.toml" } else { "" },
    );
    let path = home.write("bin/systemctl", script);
    fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
    [("PATH", format!("{}:/usr/bin:/bin", home.path().join("bin").display()))]
}

#[test]
fn status_looks_at_what_the_service_will_use_and_says_where_the_shell_differs() {
    let server = server();
    let look = |file: &str, unset: &[&str], set: &[(&str, &str)], arguments: &[&str]| -> Value {
        let home = renewed(&server);
        let [(name, value)] = manager(&home, "vault-token-renew.service", "", file);
        let mut command = home.command(NOWHERE);
        for name in unset {
            command.env_remove(name);
        }
        command.env(name, value).envs(set.iter().copied());
        let run = home.finish(command.args(["status", "--json"]).args(arguments));
        run.object()
    };
    let of_service = format!("VAULT_ADDR={}\n{IDENTITY}", server.address());

    // What only the service knows is what is looked at; and that a run by hand fails, or goes elsewhere, is wrong.
    let status = look(&of_service, &["VAULT_ADDR", "VTR_DISPLAY_NAME", "VTR_POLICIES"], &[], &[]);
    assert_eq!(status["server"], server.address());
    assert_eq!(status["token"]["ours"], true, "{status}");
    assert_eq!(problems(&status, "wrong"), ["shell_settings"]);
    let (message, remedy) = problem(&status, "shell_settings");
    assert!(message.contains("whose token is it?"), "{message}");
    assert!(remedy.contains("~/.config/vault-token-renew/config.toml"), "{remedy}");

    let status = look(&of_service, &["VAULT_ADDR"], &[], &[]);
    assert_eq!(
        (&status["server"], problems(&status, "wrong")),
        (&json!(server.address()), vec!["service_differs"])
    );
    let (message, remedy) = problem(&status, "service_differs");
    let said =
        format!("address is {} for the service and https://127.0.0.1:8200 in this shell", server.address());
    assert_eq!(message, said);
    assert_eq!(remedy, "write address to ~/.config/vault-token-renew/config.toml, which both read");

    let status = look(&of_service, &[], &[("VAULT_NAMESPACE", "team1"), ("VAULT_TOKEN_PATH", "/t")], &[]);
    let (message, remedy) = problem(&status, "service_differs");
    assert!(
        message.contains("; namespace is none for the service and team1 in this shell; token_file is "),
        "{message}"
    );
    assert!(
        remedy.starts_with("unset VAULT_ADDR VAULT_NAMESPACE VAULT_TOKEN_PATH in this shell; write "),
        "{remedy}"
    );
    assert_eq!(
        look(&of_service, &[], &[], &["--ignore", "service_differs"])["ignored"],
        json!(["service_differs"])
    );

    // They agree; or somebody says what to look at.
    let address = server.address();
    let status = look(&of_service, &[], &[("VAULT_ADDR", address)], &[]);
    assert_eq!(problems(&status, "wrong"), [""; 0], "{status}");
    let status = look(IDENTITY, &[], &[], &["--address", address]);
    assert_eq!(problems(&status, "wrong"), [""; 0], "{status}");

    // The service cannot use what it finds.
    let status = look(&format!("VTR_PERIOD=soon\n{IDENTITY}"), &[], &[("VAULT_ADDR", address)], &[]);
    assert_eq!(problems(&status, "wrong"), ["service_settings"]);
    assert!(problem(&status, "service_settings").0.contains("VTR_PERIOD"), "{status}");
}

#[test]
fn a_further_token_is_looked_at_as_its_own_service_would() {
    let server = server();
    let home = renewed(&server);
    let file = home.write(".config/vault-token-renew/x.toml", "");
    home.write("x.toml", "");
    let unit = "vault-token-renew@x.service";
    let address = format!("VAULT_ADDR={}", server.address());
    let [(name, value)] = manager(&home, unit, &address, "");
    let script =
        fs::read_to_string(home.path().join("bin/systemctl")).unwrap().replace("$HOME/x.toml", &file);
    let identity = "VTR_DISPLAY_NAME=devvm-wizard VTR_POLICIES=vault-admin,sops-admin";
    home.write("bin/systemctl", script.replace(&address, &format!("{address} {identity}")));
    let run = home.run_with(&[(name, &value)], NOWHERE, &["status", "--json", "--config", &file]);
    let status = run.object();
    assert_eq!(
        (&status["server"], problems(&status, "wrong")),
        (&json!(server.address()), vec!["service_differs"])
    );
    // A command that it prints leads where the service leads.
    home.put(&server.admin_login().token);
    let run = home.run_with(&[(name, &value)], NOWHERE, &["status", "--json", "--config", &file]);
    let status = run.object();
    let expected = format!("vault-token-renew --config {file} --address {}", server.address());
    assert_eq!(problem(&status, "foreign").1, expected);
}

#[test]
fn a_command_names_no_server_that_shell_and_configuration_file_agree_on() {
    let server = server();
    let home = renewed(&server);
    let address = format!("address = \"{}\"\n", server.address());
    home.write(".config/vault-token-renew/config.toml", address);
    let [(name, value)] = manager(&home, "vault-token-renew.service", "", IDENTITY);
    home.put(&server.admin_login().token);
    let status = home.run_with(&[(name, &value)], &server, &["status", "--json"]).object();
    assert_eq!(problems(&status, "wrong"), ["foreign"], "{status}");
    assert_eq!(problem(&status, "foreign").1, "vault-token-renew");
}

#[test]
fn what_is_so_on_purpose_is_left_out_and_what_nobody_means_cannot_be() {
    let server = server();
    let home = renewed(&server);
    let variables = [("VAULT_TOKEN", "s.shadow")];
    let asked = ["status", "--ignore", "shadowed", "--ignore", "timer_off"];
    assert_eq!(home.run_with(&variables, &server, &["status"]).status, 1);
    let run = home.run_with(&variables, &server, &asked).expect(0);
    assert!(run.stdout.contains("\nignored   shadowed\n") && run.stdout.ends_with("healthy\n"), "{run:?}");
    for name in ["foreign", "dying", "token_dead", "ttl_too_short", "ends_before_next_run", "nonsense"] {
        let run = home.run(&server, &["status", "--ignore", name]).expect(2);
        assert!(run.stderr.contains("timer_off"), "the names there are: {run:?}");
    }
    let run = home.run(&server, &["status", "--ignore", "timer_of"]).expect(2);
    assert!(run.stderr.contains("'timer_off'"), "{run:?}");
}

#[test]
fn all_tokens_of_a_user_are_one_table() {
    let server = server();
    let home = renewed(&server);
    let folder = ".config/vault-token-renew";
    let work =
        "token_file = \"~/work-token\"\ndisplay_name = \"devvm-wizard-work\"\npolicies = [\"reader\"]\n";
    home.write("work-token", &server.weak_login().token);
    fs::set_permissions(home.path().join("work-token"), PermissionsExt::from_mode(0o600)).unwrap();
    let run = home.run(&server, &["status", "--all"]).expect(0).quiet();
    assert_eq!(run.stdout.lines().count(), 2, "the default one need not be there: {run:?}");
    assert!(run.stdout.contains("\ndefault  yours"), "{run:?}");

    home.write(&format!("{folder}/work.toml"), work);
    home.write(&format!("{folder}/broken.toml"), "addres = \"x\"\n");
    home.write(&format!("{folder}/agent.toml"), "[follow]\nmount = \"secret\"\n");
    home.write(&format!("{folder}/config.toml"), "");
    let unset = |arguments: &[&str]| {
        let mut command = home.command(server.address());
        command.env_remove("VTR_DISPLAY_NAME").env_remove("VTR_POLICIES");
        home.finish(command.args(["status", "--all"]).args(arguments))
    };
    home.write(
        &format!("{folder}/config.toml"),
        "display_name = \"devvm-wizard\"\npolicies = [\"vault-admin\", \"sops-admin\"]\n",
    );
    let run = unset(&[]).expect(1).quiet();
    let rows: Vec<&str> = run.stdout.lines().collect();
    let column = rows[0].find("token").unwrap();
    assert!(
        rows.iter().all(|row| row.as_bytes()[column - 1] == b' ' && row.as_bytes()[column - 2] == b' '),
        "{rows:#?}"
    );
    let names: Vec<&str> = rows.iter().map(|row| row.split(' ').next().unwrap()).collect();
    assert_eq!(names, ["profile", "default", "broken", "work"], "{rows:#?}");
    assert!(rows[1].ends_with("healthy") && rows[1].contains("yours"), "{rows:#?}");
    assert!(rows[2].contains("settings: ") && rows[2].contains("did you mean \"address\"?"), "{rows:#?}");
    let command = format!("vault-token-renew status --config {}/{folder}/work.toml", home.path().display());
    assert!(rows[3].contains("foreign, userpass-") && rows[3].ends_with(&command), "{rows:#?}");
    assert_eq!(unset(&["-q"]).expect(1).stdout.lines().count(), 3, "the head, and what is not well");
    assert_eq!(unset(&["--detailed-exitcode"]).status, 2, "that of the first that is not well");

    let object = unset(&["--json"]).expect(1).quiet().object();
    let all = object["configurations"].as_array().unwrap();
    let told: Vec<_> =
        all.iter().map(|one| (one["profile"].as_str().unwrap(), one["healthy"].as_bool().unwrap())).collect();
    assert_eq!(told, [("default", true), ("broken", false), ("work", false)]);
    assert_eq!(all[2]["status"]["token"]["ours"], false);
    assert!(all[1]["error"].as_str().unwrap().contains("unknown key"), "{object}");
    home.run(&server, &["status", "--all", "--config", "x.toml"]).expect(2);
}

#[test]
fn a_login_whose_mint_was_refused_is_not_told_to_try_again() {
    let server = server();
    let home = Sandbox::new();
    // A fence around the mint that does not fit: the server says beforehand only that there is one.
    let fence = "path \"auth/token/create\" {\n capabilities = [\"update\", \"sudo\"]\n \
                 allowed_parameters = { \"period\" = [\"1h\"] }\n}\n";
    server.write_policy("fenced", fence);
    home.put(&server.userpass_login("emo", &["fenced"], &[]).token);
    let (message, remedy) = {
        let status = look(&home, &server, &[]);
        let (message, remedy) = problem(&status, "foreign");
        (message.to_owned(), remedy.to_owned())
    };
    assert!(message.ends_with("; it may mint yours") && remedy == "vault-token-renew", "{message}: {remedy}");
    assert!(home.run(&server, &[]).expect(1).complaint().starts_with("DRIFT: "));
    let status = look(&home, &server, &[]);
    let (message, remedy) = problem(&status, "foreign");
    assert!(
        message.ends_with("by its policies it may mint yours, but the last run was refused"),
        "{message}"
    );
    assert!(remedy.starts_with("compare allowed_parameters"), "{remedy}");
    // Another login is another matter.
    home.put(&server.admin_login().token);
    assert_eq!(problem(&look(&home, &server, &[]), "foreign").1, "vault-token-renew");
}

#[test]
fn a_configuration_file_is_the_same_however_it_is_named() {
    let server = server();
    let home = renewed(&server);
    let path = home.write(".config/vault-token-renew/x.toml", "");
    let environment = format!(
        "VAULT_ADDR={} VTR_DISPLAY_NAME=devvm-wizard VTR_POLICIES=vault-admin,sops-admin",
        server.address()
    );
    let [(name, value)] = manager(&home, "vault-token-renew@x.service", &environment, "");
    let script =
        fs::read_to_string(home.path().join("bin/systemctl")).unwrap().replace("$HOME/x.toml", &path);
    home.write("bin/systemctl", script);
    let relative = ["status", "--json", "--config", ".config/vault-token-renew/x.toml"];
    let status = home.run_with(&[(name, &value)], &server, &relative).object();
    assert!(!problems(&status, "wrong").contains(&"service_differs"), "{status}");
}
