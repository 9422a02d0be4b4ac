//! Good news only if it is true: what the field made the program say that was not so, each with a real OpenBao and the
//! real program.

#![cfg(test)]

mod support;

use std::fs;
use std::path::Path;
use std::process::Command as Process;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use assert_cmd::Command;
use serde_json::{Value, json};
use support::between::Between;
use support::openbao::{Minted, OpenBao};
use support::sandbox::{Run, Sandbox, land};
use support::scripted::{Reply, Scripted};
use support::strace::Strace;
use support::{
    FILE_TOKEN, NOWHERE, OUR_NAME, PERIOD, RENEWED, dying, healthy, now, ours, server, wait_until, with,
    without,
};

/// What a token needs that sweeps and does not mint.
const SWEEPER: &str = r#"
    path "auth/token/accessors" { capabilities = ["list", "sudo"] }
    path "auth/token/accessors/" { capabilities = ["list", "sudo"] }
    path "auth/token/lookup-accessor" { capabilities = ["update"] }
    path "auth/token/revoke-accessor" { capabilities = ["update"] }
"#;

/// An answer of `status --json`.
#[track_caller]
fn look(home: &Sandbox, server: &impl AsRef<str>, variables: &[(&str, &str)]) -> Value {
    home.run_with(variables, server, &["status", "--json"]).object()
}

/// The names of what is wrong, without what is no news in a home where nothing has run yet.
#[track_caller]
fn wrong(status: &Value) -> Vec<&str> {
    let problems = status["problems"].as_array().expect("problems").iter();
    problems
        .filter(|problem| problem["severity"] == "wrong")
        .map(|problem| problem["id"].as_str().expect("a name"))
        .filter(|id| !["never_run", "success_too_old"].contains(id))
        .collect()
}

/// The last line of standard error that is no hint.
#[track_caller]
fn verdict(run: &Run) -> &str {
    run.complaints().pop().unwrap_or_else(|| panic!("{run:?}"))
}

// --- what the required policy is worth

#[test]
fn a_required_policy_that_does_not_exist_is_found_out_before_the_good_token_is_gone() {
    let server = server();
    let misspelt = [("VTR_POLICIES", "vault-admn,sops-admin")];
    for token in [server.mint_ours().token, server.admin_login().token] {
        let home = Sandbox::holding(&token);
        let named = server.named(OUR_NAME);

        let dry = home.run_with(&misspelt, &server, &["--dry-run"]).expect(1);
        assert!(dry.all().contains("would fail: the server has no policy \"vault-admn\""), "{dry:?}");
        assert!(wrong(&look(&home, &server, &misspelt)).contains(&"policy_missing"));

        let run = home.run_with(&misspelt, &server, &[]).expect(1);
        assert_eq!(
            verdict(&run),
            "FAIL: check of the minted token: the server has no policy \"vault-admn\", so the token could do \
             nothing; it was not put into ~/.vault-token"
        );
        assert_eq!(home.token(), token);
        assert_eq!(server.named(OUR_NAME), named, "what was minted lives");
    }
}

#[test]
fn another_policy_that_does_not_exist_is_worth_a_warning_each_time_somebody_can_tell() {
    let server = server();
    let misspelt = [("VTR_POLICIES", "vault-admin,sops-admn")];
    let home = Sandbox::holding(&server.admin_login().token);
    let dry = home.run_with(&misspelt, &server, &["--dry-run"]).expect(0);
    assert_eq!(dry.stderr, "WARN: the server has no policy \"sops-admn\"\n");
    let run = home.run_with(&misspelt, &server, &[]).expect(0);
    assert!(run.said().starts_with("HEALED: "), "{run:?}");
    assert!(run.complaint().contains("sops-admn"), "{run:?}");
    assert_eq!(wrong(&look(&home, &server, &misspelt)), ["policy_missing"]);
}

// --- whose token it is

/// The program of this user, who has no settings.
fn without_settings(home: &Sandbox, address: &str, user: &str) -> Command {
    let mut command = home.command(address);
    command.env_remove("VTR_DISPLAY_NAME").env_remove("VTR_POLICIES").env("USER", user);
    command
}

/// The name of this machine.
fn host() -> String {
    fs::read_to_string("/proc/sys/kernel/hostname").expect("a host name").trim().to_owned()
}

#[test]
fn nobody_becomes_somebody_else_and_nothing_is_read_or_sent_before_that_is_said() {
    let home = Sandbox::new();
    // It would be an error, if it were looked at.
    fs::create_dir(home.token_file()).unwrap();
    let before = home.snapshot();
    // Nobody is wizard on devvm here, whatever this machine is called.
    let user = if host() == "devvm" { "emo" } else { "wizard" };
    for user in ["emo", user] {
        for arguments in [
            &[][..],
            &["--dry-run"],
            &["--json"],
            &["--detailed-exitcode"],
            &["status"],
            &["status", "--offline"],
            &["status", "--json"],
            &["sweep"],
            &["sweep", "--dry-run"],
        ] {
            let started = Instant::now();
            let mut command = without_settings(&home, NOWHERE, user);
            let run = home.finish(command.env("VTR_RETRY_FOR", "30s").args(arguments)).expect(2);
            assert!(started.elapsed() < Duration::from_secs(10), "{arguments:?} waited");
            for expected in [
                "whose token is it? ".to_owned(),
                format!("{}/.config/vault-token-renew/config.toml", home.path().display()),
                format!(
                    "display_name = \"{}-{user}\"",
                    host().replace(|c: char| !c.is_ascii_alphanumeric(), "-")
                ),
                "policies = [\"<policy>\"]".to_owned(),
            ] {
                assert!(run.stderr.contains(&expected), "{arguments:?}: {expected} is not in {run:?}");
            }
            if arguments.contains(&"--json") {
                assert_eq!(run.object()["exit_status"], 2);
            } else {
                assert_eq!(run.stdout, "");
            }
        }
    }
    assert_eq!(home.snapshot(), before);
}

#[test]
fn half_an_identity_a_placeholder_a_prefix_and_a_misspelt_variable_are_mistakes() {
    let home = Sandbox::holding(FILE_TOKEN);
    for (variables, words) in [
        (&[("VTR_DISPLAY_NAME", "devvm-emo")][..], "policies are not"),
        (&[("VTR_POLICIES", "vault-admin")], "display_name is not"),
        (&[("VTR_DISPLAY_NAME", "devvm-emo"), ("VTR_POLICIES", "<policy>")], "<policy>"),
        (&[("VTR_DISPLAY_NAME", "token-devvm-emo"), ("VTR_POLICIES", "vault-admin")], "write \"devvm-emo\""),
        (
            &[("VTR_DISPLAY_NAME", "devvm-emo"), ("VTR_POLICIES", "vault-admin"), ("VTR_POLICY", "x")],
            "VTR_POLICY is no variable of this program; did you mean VTR_POLICIES?",
        ),
    ] {
        for arguments in [&[][..], &["--dry-run"], &["status"], &["sweep"]] {
            let mut command = without_settings(&home, NOWHERE, "emo");
            let run = home.finish(command.envs(variables.iter().copied()).args(arguments)).expect(2);
            assert!(run.stderr.contains(words), "{variables:?}: {run:?}");
        }
    }
    assert_eq!(home.names(), [".vault-token"]);
}

#[test]
fn wizard_on_devvm_needs_no_settings() {
    let server = server();
    let home = Sandbox::holding(&server.admin_login().token);
    let mut command = home.command_on(server.address(), "devvm", None);
    command.env_remove("VTR_DISPLAY_NAME").env_remove("VTR_POLICIES");
    let run = home.finish(&mut command).expect(0);
    assert!(run.said().starts_with("HEALED: "), "{run:?}");
    server.check_healed(&home);

    // The same user on another machine, and another one on this.
    for (name, user) in [("devvm2", "wizard"), ("devvm", "emo")] {
        let mut command = home.command_on(server.address(), name, None);
        command.env_remove("VTR_DISPLAY_NAME").env_remove("VTR_POLICIES").env("USER", user);
        let run = home.finish(&mut command).expect(2);
        assert!(run.stderr.contains(&format!("display_name = \"{name}-{user}\"")), "{run:?}");
    }
    server.check_healed(&home);
}

// --- who ends with whom

#[test]
fn a_child_with_authority_is_replaced_by_an_orphan() {
    let server = server();
    for parent in [server.mint_ours(), server.admin_login()] {
        let child = server.mint(&parent.token, without(ours(), &["no_parent"]));
        let home = Sandbox::holding(&child.token);
        assert_eq!(wrong(&look(&home, &server, &[])), ["not_orphan"]);
        let dry = home.run(&server, &["--dry-run"]).expect(0);
        assert!(dry.stdout.contains("would mint token-devvm-wizard "), "{dry:?}");
        let run = home.run(&server, &[]).expect(0);
        assert!(run.said().starts_with("HEALED: re-minted periodic token from dying "), "{run:?}");
        assert!(
            run.complaints()[0].contains("it is not an orphan and expires with the token that minted it"),
            "{run:?}"
        );
        server.check_healed(&home);
        server.revoke_ours();
    }
}

#[test]
fn a_child_without_authority_lives_on_with_a_warning_and_nothing_is_swept_meanwhile() {
    let server = server();
    let parent = server.mint_ours();
    let child = server.mint(&parent.token, without(ours(), &["no_parent"]));
    server.write_policy("vault-admin", SWEEPER);
    let home = Sandbox::holding(&child.token);
    let lives = |token: &Minted| server.lookup(&token.token).is_some();
    for _night in 0..2 {
        let run = home.run(&server, &[]).expect(0);
        assert_eq!(run.said(), RENEWED);
        assert_eq!(
            verdict(&run),
            "WARN: our token expires with the token that minted it, and may not mint an orphan to replace itself"
        );
        assert_eq!(home.token(), child.token);
        let said = home.run(&server, &["--dry-run"]).expect(0);
        assert!(said.all().contains("would renew it"), "{said:?}");
        assert!(said.stderr.contains(verdict(&run)), "{said:?}");
    }
    assert_eq!(wrong(&look(&home, &server, &[])), ["not_orphan"]);

    let why = "the token to keep is not an orphan and could expire with one that is revoked";
    for arguments in [&["sweep", "--dry-run"][..], &["sweep"]] {
        let run = home.run(&server, arguments);
        assert!(run.all().contains(why), "{run:?}");
        assert!(lives(&parent) && lives(&child), "{arguments:?}");
    }
    home.rewrite_state(|state| state["sweep_due"] = json!(true));
    home.run(&server, &[]).expect(0);
    assert!(lives(&parent) && lives(&child), "a due sweep");
}

// --- whether it reaches the next run

#[test]
fn a_server_that_caps_at_an_hour_is_no_place_for_a_nightly_run() {
    let server = server();
    let ours = server.mint_ours();
    let week = server.mint_as_root(json!({ "policies": ["vault-admin"], "ttl": "168h", "no_parent": true }));
    let minutes = server.mint_as_root(with(dying("vault-admin"), "ttl", "10m"));
    server.cap_leases("1h");

    // Nobody knows here when the next run comes.
    let home = Sandbox::holding(&ours.token);
    let run = home.run(&server, &[]).expect(0);
    assert_eq!(run.said(), format!("OK renewed (dn={OUR_NAME} ttl=3600s)"));
    assert_eq!(verdict(&run), "WARN: the token expires in 1 h; will the next run come in time?");
    assert_eq!(wrong(&look(&home, &server, &[])), ["period_capped"]);

    // A heal that shortens a life is none.
    let home = Sandbox::holding(&week.token);
    let named = server.named(OUR_NAME);
    let run = home.run(&server, &[]).expect(1);
    assert!(
        verdict(&run).starts_with(
            "FAIL: check of the minted token: it would end in 1 h, and the one it was to replace in "
        ),
        "{run:?}"
    );
    assert_eq!(home.token(), week.token);
    assert_eq!(server.named(OUR_NAME), named, "what was minted lives");

    // An hour is more than ten minutes.
    let home = Sandbox::holding(&minutes.token);
    let run = home.run(&server, &[]).expect(0);
    assert!(run.said().starts_with("HEALED: "), "{run:?}");
    assert!(
        run.stderr.contains("WARN: the token expires in 1 h; will the next run come in time?"),
        "{run:?}"
    );
}

#[test]
fn a_cap_that_a_nightly_run_outlives_is_good_news_with_the_servers_warning() {
    let server = server();
    let (ours, login) = (server.mint_ours(), server.admin_login());
    server.cap_leases("168h");
    let home = Sandbox::holding(&ours.token);
    let run = home.run(&server, &[]).expect(0);
    assert_eq!(run.said(), format!("OK renewed (dn={OUR_NAME} ttl=604800s)"));
    assert!(run.complaint().starts_with("WARN: the server warns: \"period of "), "{run:?}");
    home.put(&login.token);
    let run = home.run(&server, &[]).expect(0);
    assert!(run.said().starts_with("HEALED: "), "{run:?}");
    assert!(run.stderr.contains("WARN: the server warns: \""), "{run:?}");
    assert!(!run.stderr.contains("will the next run come in time?"), "{run:?}");
}

// --- what stands in between

#[test]
fn a_cache_in_between_neither_renews_nor_mints_in_the_servers_place() {
    let server = server();
    for kind in ["agent", "proxy"] {
        let between = Between::start(&server, kind, "cache {}");
        let home = Sandbox::holding(&server.mint_ours().token);
        let renewed_at = || server.lookup(&home.token()).expect("it lives")["last_renewal_time"].as_u64();
        let mut before = None;
        for night in 0..3 {
            assert_eq!(home.run(&between, &[]).expect(0).said(), RENEWED, "{kind}");
            let after = renewed_at();
            assert!(after.is_some() && after != before, "{kind}: night {night} never reached the server");
            before = after;
            // The server counts in seconds.
            thread::sleep(Duration::from_millis(1_100));
        }

        // The same login lands twice, and is healed into two tokens.
        let login = server.admin_login().token;
        let mut minted = Vec::new();
        for _ in 0..2 {
            home.put(&login);
            let run = home.run(&between, &[]).expect(0);
            assert!(run.said().starts_with("HEALED: "), "{kind}: {run:?}");
            minted.push(server.check_healed(&home));
        }
        assert_ne!(minted[0], minted[1], "{kind}");
        server.revoke_ours();
    }
}

#[test]
fn an_agent_that_puts_its_own_token_in_the_place_of_ours_is_no_good_news() {
    let server = server();
    let own = Sandbox::holding(&server.mint_ours().token);
    let between = Between::start(
        &server,
        "agent",
        &format!(
            "auto_auth {{ method \"token_file\" {{ config = {{ token_file_path = \"{}\" }} }} }}\napi_proxy {{ \
             use_auto_auth_token = \"force\" }}",
            own.token_file().display()
        ),
    );
    // It needs a moment to log in.
    let home = Sandbox::holding("s.garbage-that-is-nobodys");
    wait_until("the agent answers with its token", || {
        !home.run(&between, &["--dry-run"]).all().contains("(403: ")
    });
    let run = home.run(&between, &[]).expect(1);
    assert!(run.complaint().ends_with("the answer is about a different token"), "{run:?}");
    assert_ne!(wrong(&look(&home, &between, &[])), [""; 0]);
    assert_eq!(home.token(), "s.garbage-that-is-nobodys");
    server.check_ours(&own);
}

// --- a sweep and the file

#[test]
fn what_is_put_into_the_file_while_a_sweep_walks_lives() {
    let server = server();
    for work in [&["sweep"][..], &[]] {
        for login in [false, true] {
            let kept = server.mint_ours();
            let older: Vec<Minted> = (0..3).map(|_| server.mint_ours()).collect();
            // A heal keeps what it mints; the verb what is in the file.
            let home =
                Sandbox::holding(&if work.is_empty() { server.admin_login().token } else { kept.token });
            let put = if login { server.admin_login() } else { older[1].clone() };
            home.guard(&put.token);
            let (file, token, done) = (home.token_file(), put.token.clone(), AtomicBool::new(false));
            let tokens: Vec<String> = older.iter().map(|one| one.accessor.clone()).collect();
            // It lands while the first of them is looked at, so that all revocations are still to come.
            let front = Scripted::in_front_of(&server, move |request, _| {
                let is_first = request.call() == "auth/token/lookup-accessor"
                    && tokens.iter().any(|accessor| request.body.contains(accessor));
                if is_first && !done.swap(true, Ordering::SeqCst) {
                    land(&file, &token);
                }
                None
            });
            let one_by_one = [("VTR_SWEEP_CONCURRENCY", "1")];
            let run = home.run_with(&one_by_one, &front, work);
            assert!(run.all().contains("the token file changed"), "{work:?} {login}: {run:?}");
            assert_eq!(home.token(), put.token);
            assert!(server.lookup(&put.token).is_some(), "what is in the file was revoked");
            for one in &older {
                assert!(
                    server.lookup(&one.token).is_some(),
                    "{work:?} {login}: revoked without ours in the file"
                );
            }

            let run = home.run(&server, &[]).expect(0);
            assert!(run.said().contains("stale periodic token(s)"), "{work:?} {login}: {run:?}");
            server.check_ours(&home);
            server.revoke_ours();
        }
    }
}

#[test]
fn a_sweep_that_could_look_at_nothing_is_no_good_news() {
    let server = server();
    let home = Sandbox::holding(&server.mint_ours().token);
    let stale: Vec<Minted> = (0..9).map(|_| server.mint_ours()).collect();
    let kept = server.accessor_in(&home);
    let front = Scripted::in_front_of(&server, move |request, _| {
        let denied = request.call() == "auth/token/lookup-accessor" && !request.body.contains(&kept);
        denied.then(|| {
            let words = "1 error occurred:\n\t* permission denied\n\n";
            Reply::Json(403, json!({ "errors": [words] }).to_string())
        })
    });
    let run = home.run(&front, &["sweep"]).expect(1);
    assert!(run.complaint().contains("accessor sweep skipped (lookup denied)"), "{run:?}");
    assert!(stale.iter().all(|one| server.lookup(&one.token).is_some()));
}

// --- which machine

/// A file with a machine id.
fn machine_id(home: &Sandbox, digit: char) -> std::path::PathBuf {
    let name = format!("machine-id-{digit}");
    home.write(&name, format!("{}\n", digit.to_string().repeat(32))).into()
}

#[test]
fn a_machine_that_changes_its_name_sweeps_what_it_minted_under_the_old_one() {
    let server = server();
    let ids = Sandbox::new();
    // With an id it is known by that; without one it remembers what it minted.
    for id in [machine_id(&ids, '1'), Path::new("/dev/null").to_owned()] {
        let home = Sandbox::new();
        for (round, name) in ["dhcp-17", "dhcp-18", "laptop", "dhcp-17"].iter().enumerate() {
            home.put(&server.admin_login().token);
            let run = home.finish(&mut home.command_on(server.address(), name, Some(&id))).expect(0);
            let swept = usize::from(round > 0);
            assert!(
                run.said().ends_with(&format!("(revoked {swept} stale periodic token(s))")),
                "{name}: {run:?}"
            );
            server.check_healed(&home);
        }
        // And without its memory, by the id alone.
        if id.starts_with(ids.path()) {
            fs::remove_dir_all(home.path().join(".local")).unwrap();
            home.put(&server.admin_login().token);
            let run = home.finish(&mut home.command_on(server.address(), "other", Some(&id))).expect(0);
            assert!(run.said().ends_with("(revoked 1 stale periodic token(s))"), "{run:?}");
        }
        server.revoke_ours();
    }
}

#[test]
fn two_machines_of_one_name_leave_each_others_token_alone() {
    let server = server();
    let ids = Sandbox::new();
    let machines = ['1', '2'].map(|digit| (machine_id(&ids, digit), Sandbox::new()));
    for _ in 0..2 {
        for (id, home) in &machines {
            home.put(&server.admin_login().token);
            let run = home.finish(&mut home.command_on(server.address(), "web", Some(id))).expect(0);
            assert!(run.said().starts_with("HEALED: "), "{run:?}");
        }
    }
    assert_eq!(server.named(OUR_NAME).len(), 2);
    for (_, home) in &machines {
        let info = support::believe(server.recognise_minted(&home.token(), "wizard"));
        assert_eq!(info["meta"]["host"], "web");
        // The id itself is nobody's business.
        let machine = info["meta"]["machine"].as_str().expect("a machine");
        assert!(
            machine.len() == 32 && !["1", "2"].iter().any(|digit| machine == digit.repeat(32)),
            "{machine}"
        );
    }
}

#[test]
fn one_home_on_several_machines_has_one_token() {
    let server = server();
    let (ids, home) = (Sandbox::new(), Sandbox::new());
    for (digit, name) in [('1', "login1"), ('2', "login2"), ('1', "login1")] {
        home.put(&server.admin_login().token);
        let id = machine_id(&ids, digit);
        home.finish(&mut home.command_on(server.address(), name, Some(&id))).expect(0);
        server.check_healed(&home);
    }
}

// --- roles and policies

/// A token of ours from a role with these settings.
fn of_role(server: &OpenBao, role: Value) -> String {
    let mut role = with(role, "allowed_policies", "vault-admin,sops-admin");
    role["orphan"] = json!(true);
    server.as_root("POST", "auth/token/roles/nightly", Some(role));
    let order = without(ours(), &["period", "no_parent"]);
    let minted = server.as_root("POST", "auth/token/create/nightly", Some(order));
    minted.json["auth"]["client_token"].as_str().expect("a token").to_owned()
}

#[test]
fn a_token_that_its_role_brings_back_each_night_is_not_dying() {
    let server = server();
    // Of one that may mint, and of one that may not: neither has to.
    for may_mint in [true, false] {
        for (period, ttl) in [("720h", 2_592_000), ("768h", PERIOD)] {
            let home = Sandbox::holding(&of_role(&server, json!({ "token_period": period })));
            let token = home.token();
            let dry = home.run(&server, &["--dry-run"]).expect(0);
            assert!(dry.stdout.contains("would renew it; would leave the file as it is"), "{dry:?}");
            for _night in 0..2 {
                let run = home.run(&server, &[]).expect(0).quiet();
                assert_eq!(run.said(), format!("OK renewed (dn={OUR_NAME} ttl={ttl}s)"));
            }
            assert_eq!(home.token(), token);
            let status = look(&home, &server, &[]);
            assert_eq!(wrong(&status), [""; 0], "{status}");
            let told = status["problems"].as_array().expect("problems").iter();
            let role: Vec<_> = told.filter(|problem| problem["id"] == "role_period").collect();
            assert_eq!(role.len(), usize::from(ttl != PERIOD), "{status}");
            if let [role] = role[..] {
                assert!(role["remedy"].as_str().expect("a remedy").contains("period = \"720h\""), "{role}");
            }
        }
        if may_mint {
            server.write_policy("vault-admin", SWEEPER);
        }
    }
}

#[test]
fn a_token_of_a_role_with_an_end_is_dying() {
    let server = server();
    // The lookup of such a token speaks of no end: that its renewals no longer reach what it was made with tells.
    let role = json!({ "token_period": "720h", "token_explicit_max_ttl": "48h" });
    let home = Sandbox::holding(&of_role(&server, role));
    thread::sleep(Duration::from_secs(3));
    let run = home.run(&server, &[]).expect(0);
    assert!(run.said().starts_with("HEALED: re-minted periodic token from dying "), "{run:?}");
    server.check_healed(&home);
}

#[test]
fn a_token_that_may_not_renew_itself_is_wrong_before_a_run_says_so() {
    let server = server();
    server.write_policy(
        "keeper",
        r#"path "auth/token/lookup-self" { capabilities = ["read"] }
           path "sys/capabilities-self" { capabilities = ["update"] }"#,
    );
    let order = with(with(ours(), "policies", json!(["keeper"])), "no_default_policy", json!(true));
    let home = Sandbox::holding(&server.mint_as_root(order).token);
    let keeper = [("VTR_POLICIES", "keeper")];
    let status = look(&home, &server, &keeper);
    assert!(wrong(&status).contains(&"may_not_renew"), "{status}");
    assert_eq!(status["exit_status"], 1);
    home.run_with(&keeper, &server, &["--dry-run"]).expect(1);
    home.run_with(&keeper, &server, &[]).expect(1);
}

#[test]
fn a_token_that_lacks_a_policy_of_the_settings_is_renewed_with_a_warning_and_wrong() {
    let server = server();
    let home = Sandbox::holding(&server.mint_as_root(with(ours(), "policies", json!(["vault-admin"]))).token);
    for _night in 0..2 {
        let run = home.run(&server, &[]).expect(0);
        assert_eq!(run.said(), RENEWED);
        assert_eq!(run.complaint(), "WARN: our token lacks policies of the settings: sops-admin");
    }
    let status = look(&home, &server, &[]);
    assert_eq!(wrong(&status), ["policies_lacking"]);
    assert_eq!(status["exit_status"], 1);
    let problem = &status["problems"][0];
    assert_eq!(problem["remedy"], "vault login -method=oidc && vault-token-renew", "{problem}");
}

// --- what else was not so

#[test]
fn a_foreign_token_that_never_ends_is_named_when_it_is_replaced() {
    let server = server();
    let root = server.mint_as_root(json!({ "policies": ["root"], "no_parent": true }));
    let login = server.admin_login();
    for (token, lives_on) in [(&root, true), (&login, false)] {
        let home = Sandbox::holding(&token.token);
        let run = home.run(&server, &[]).expect(0);
        assert!(run.said().starts_with("HEALED: "), "{run:?}");
        let short: String = token.accessor.chars().take(8).collect();
        let told = format!("; the foreign token {short}… never ends and lives on");
        assert_eq!(run.said().ends_with(&told), lives_on, "{run:?}");
        assert!(!run.all().contains(&token.accessor), "accessors are shortened for people");
        assert!(server.lookup(&token.token).is_some());
    }
}

#[test]
fn a_token_helper_that_keeps_logins_out_of_the_file_is_told() {
    let server = server();
    let ours = server.mint_ours().token;
    let line = "token_helper = \"/usr/local/bin/helper\"\n";
    for (name, variable) in [
        (".vault", None),
        (".bao", None),
        ("cli.hcl", Some("VAULT_CONFIG_PATH")),
        ("cli.hcl", Some("BAO_CONFIG_PATH")),
    ] {
        let home = Sandbox::holding(&ours);
        let path = home.write(name, line);
        let variables: Vec<_> = variable.map(|variable| (variable, path.as_str())).into_iter().collect();
        let run = home.run_with(&variables, &server, &[]).expect(0);
        assert_eq!(run.said(), RENEWED);
        assert_eq!(
            run.complaint(),
            format!("WARN: ~/{name} sets a token_helper, so a login does not write to ~/.vault-token")
        );
        assert_eq!(wrong(&look(&home, &server, &variables)), ["token_helper"]);
        // What is no such line is none.
        home.write(name, "# token_helper = \"/x\"\n");
        home.run_with(&variables, &server, &[]).expect(0).quiet();
        assert_eq!(wrong(&look(&home, &server, &variables)), [""; 0]);
    }
}

#[test]
fn another_namespace_is_said_at_once_and_not_waited_for() {
    let server = server();
    server.create_namespace("team");
    let in_team = |method: &str, path: &str, body: Value| {
        server.request(method, path, Some(server.root_token()), Some("team"), Some(body)).expect(path)
    };
    let everything =
        r#"path "*" { capabilities = ["create", "read", "update", "patch", "delete", "list", "sudo"] }"#;
    for policy in ["vault-admin", "sops-admin"] {
        in_team("POST", &format!("sys/policies/acl/{policy}"), json!({ "policy": everything }));
    }
    let admin = json!({ "policies": ["vault-admin"], "no_parent": true });
    let minted = in_team("POST", "auth/token/create", admin).json;
    let team_admin = minted["auth"]["client_token"].as_str().expect("a token").to_owned();

    // What was minted in one namespace is remembered in the other, where the server will never know it.
    let home = Sandbox::holding(&team_admin);
    let patient = ("VTR_RETRY_FOR", "30s");
    home.run_with(&[("VAULT_NAMESPACE", "team"), patient], &server, &[]).expect(0);
    let ours_of_team = home.token();
    home.put(&server.admin_login().token);
    for arguments in [&["--sweep", "remembered"][..], &[], &["sweep"], &["sweep", "--sweep", "remembered"]] {
        let started = Instant::now();
        let run = home.run_with(&[patient], &server, arguments).expect(0);
        assert!(started.elapsed() < Duration::from_secs(10), "{arguments:?} waited: {run:?}");
    }

    // Our own token, in another namespace than the settings'.
    home.put(&ours_of_team);
    for arguments in [&["--dry-run"][..], &["sweep", "--dry-run"], &["sweep"], &[]] {
        let started = Instant::now();
        let run = home.run_with(&[patient], &server, arguments);
        let said = "the token lives in the namespace \"team\", the settings name \"\"";
        assert!(run.all().contains(said), "{arguments:?}: {run:?}");
        assert!(started.elapsed() < Duration::from_secs(10), "{arguments:?} waited: {run:?}");
    }
    assert_eq!(home.token(), ours_of_team);
}

#[test]
fn a_wrapping_token_is_said_to_be_one() {
    let server = server();
    let wrapped = || {
        let output = Process::new(server.binary())
            .args(["token", "create", "-wrap-ttl=60s", "-field=wrapping_token"])
            .env_clear()
            .envs([
                ("BAO_ADDR", server.address()),
                ("BAO_TOKEN", server.root_token()),
                ("HOME", "/nonexistent"),
            ])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    for arguments in [&[][..], &["--dry-run"]] {
        let home = Sandbox::holding(&wrapped());
        let token = home.token();
        let run = home.run(&server, arguments).expect(1);
        assert!(run.all().contains("was a response-wrapping token; this lookup has used it up"), "{run:?}");
        assert_eq!(home.token(), token);
    }
}

// --- what must not keep anybody waiting

#[test]
fn a_systemctl_that_leaves_something_behind_or_floods_does_not_hold_status_up() {
    let server = server();
    let home = Sandbox::holding(&server.mint_ours().token);
    for script in [
        "sleep 50 & echo LoadState=loaded",
        "exec /usr/bin/head -c 1000000000 /dev/zero",
        "while :; do echo x; done",
        "exec sleep 50",
    ] {
        home.write("bin/systemctl", format!("#!/bin/sh\nPATH=/usr/bin:/bin\n{script}\n"));
        fs::set_permissions(
            home.path().join("bin/systemctl"),
            std::os::unix::fs::PermissionsExt::from_mode(0o755),
        )
        .unwrap();
        let path = home.path().join("bin").into_os_string().into_string().unwrap();
        let started = Instant::now();
        look(&home, &server, &[("PATH", path.as_str())]);
        assert!(started.elapsed() < Duration::from_secs(30), "{script}: {:?}", started.elapsed());
    }
}

#[test]
fn a_token_that_ends_with_the_year_9999_is_no_fault_in_any_time_zone() {
    // The last hours of the year 9999, as UTC counts them.
    let end = 253_402_300_799_u64 - 3_600;
    let server = Scripted::start(move |request, _| {
        let reply = healthy(request);
        if let ("auth/token/lookup-self", Reply::Json(_, body)) = (request.call(), &reply) {
            let mut answer: Value = serde_json::from_str(body).unwrap();
            answer["data"]["ttl"] = json!(end - now());
            return Reply::Json(200, answer.to_string());
        }
        reply
    });
    for zone in ["UTC", "Pacific/Kiritimati", "VTR-14"] {
        let home = Sandbox::holding(FILE_TOKEN);
        for arguments in [&["status"][..], &["status", "--json"], &["--dry-run"], &[]] {
            let run = home.run_with(&[("TZ", zone)], &server, arguments);
            assert!(run.status < 2 && !run.all().contains("internal error"), "{zone} {arguments:?}: {run:?}");
        }
    }
}

#[test]
fn a_run_that_is_told_to_stop_says_so_and_leaves_the_file_as_it_was() {
    let server = server();
    let login = server.admin_login().token;
    for (signal, name) in [("TERM", "SIGTERM"), ("INT", "SIGINT")] {
        let home = Sandbox::holding(&login);
        let front = Scripted::in_front_of(&server, |request, _| {
            (request.call() == "auth/token/create").then_some(Reply::Hang)
        });
        let child = home.start(&front, &[]);
        wait_until("the mint is under way", || front.count("auth/token/create") == 1);
        let kill = Process::new("/bin/kill").args([format!("-{signal}"), child.id().to_string()]).status();
        assert!(kill.unwrap().success());
        let run = home.wait(child);
        assert_eq!(run.status, 1, "{run:?}");
        assert!(verdict(&run).starts_with(&format!("FAIL: stopped by {name}; ")), "{run:?}");
        assert!(home.logged().last().unwrap().starts_with(&format!("FAIL: stopped by {name}; ")));
        assert_eq!(home.token(), login);
        // What that mint may have left is swept by the next run, whatever it does.
        let run = home.run(&server, &[]).expect(0);
        assert!(run.said().starts_with("HEALED: "), "{run:?}");
        server.check_healed(&home);
        server.revoke_ours();
    }
}

#[test]
fn a_hook_is_owed_until_it_has_begun() {
    let server = server();
    let home = Sandbox::holding(&server.admin_login().token);
    let variables = [("VTR_DEPLOY_HOOK", "echo began >>told"), ("VTR_SWEEP_CONCURRENCY", "1")];
    let told = || fs::read_to_string(home.path().join("told")).unwrap_or_default().lines().count();

    // Killed when it is about to make the hook's process: the heal is over and noted.
    let strace = Strace::new();
    let injection = "clone,clone3,fork,vfork:signal=KILL:when=1".to_owned();
    let mut command = strace.command(&home, server.address(), &[injection]);
    let killed = command.envs(variables).output().expect("strace");
    assert!(!killed.status.success());
    server.check_minted(&home);
    assert_eq!((told(), &home.state()["hook_due"]), (0, &json!(true)));

    // The next run has only to renew, and makes up for it, once.
    for _night in 0..2 {
        assert_eq!(home.run_with(&variables, &server, &[]).expect(0).said(), RENEWED);
        assert_eq!((told(), &home.state()["hook_due"]), (1, &json!(false)));
    }
}

// --- whether it reaches the next run

/// A user manager whose timer comes next in so many seconds, and then each day. The variables with which it is found.
fn a_timer(home: &Sandbox, next: u64) -> [(&'static str, String); 1] {
    let at = |seconds: u64| {
        let date =
            Process::new("/bin/date").args(["-u", "-d", &format!("@{seconds}"), "+%a %F %T UTC"]).output();
        String::from_utf8(date.unwrap().stdout).unwrap().trim().to_owned()
    };
    let (first, second) = (at(now() + next), at(now() + next + 86_400));
    home.write("systemd/private", "");
    let said = format!(
        "LoadState=loaded\nActiveState=active\nNextElapseUSecRealtime={first}\nLastTriggerUSec=n/a\n\
         TimersCalendar={{ OnCalendar=*-*-* 00:00:00 ; next_elapse={first} }}\nRandomizedDelayUSec=1h\n"
    );
    for (name, said) in
        [("systemctl", said), ("systemd-analyze", format!("Next elapse: {first}\nIteration #2: {second}\n"))]
    {
        home.write(&format!("bin/{name}"), format!("#!/bin/sh\n/bin/cat <<'SAID'\n{said}SAID\n"));
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(home.path().join("bin").join(name), mode).unwrap();
    }
    [("PATH", home.path().join("bin").to_str().unwrap().to_owned())]
}

#[test]
fn a_dry_run_and_status_foresee_that_a_renewal_does_not_reach_the_next_run() {
    let server = server();
    for (period, next, falls_short) in [("10h", 20 * 3_600, true), ("30h", 20 * 3_600, false)] {
        let seconds = period[..2].parse::<u64>().unwrap() * 3_600;
        let home = Sandbox::holding(&server.mint_as_root(with(ours(), "period", period)).token);
        let timer = a_timer(&home, next);
        let variables = [("PATH", timer[0].1.as_str()), ("VTR_PERIOD", period)];
        let foreseen =
            home.run_with(&variables, &server, &["--dry-run", "--json", "--detailed-exitcode"]).object();
        let status = look(&home, &server, &variables);
        if !falls_short {
            assert_eq!((&foreseen["outcome"], &foreseen["exit_status"]), (&json!("would_renew"), &json!(10)));
            assert!(!wrong(&status).contains(&"ends_before_next_run"), "{status}");
            assert!(!wrong(&status).contains(&"runs_too_seldom"), "{status}");
            home.run_with(&variables, &server, &[]).expect(0);
            continue;
        }
        let (outcome, reason) = (&foreseen["outcome"], &foreseen["reason"]);
        assert_eq!((outcome, reason), (&json!("would_fail"), &json!("ends_before_next_run")), "{foreseen}");
        assert_eq!(foreseen["exit_status"], 5);
        let said = foreseen["message"].as_str().unwrap();
        assert!(
            said.ends_with(
                "would still fail: the token would expire in 10 h, and the next run comes in 19 h 59 min"
            ) || said.ends_with(
                "would still fail: the token would expire in 10 h, and the next run comes in 20 h"
            ),
            "{said}"
        );
        assert!(wrong(&status).contains(&"ends_before_next_run"), "{status}");
        // And so it is, for a renewal as for a heal.
        let run = home.run_with(&variables, &server, &["--detailed-exitcode"]).expect(5);
        assert!(
            verdict(&run).starts_with("FAIL: renewed, but it ends in 10 h and the next run comes in"),
            "{run:?}"
        );
        home.put(&server.mint_as_root(json!({ "policies": ["vault-admin"], "ttl": "1h" })).token);
        let foreseen = home.run_with(&variables, &server, &["--dry-run"]).expect(1);
        assert!(
            foreseen.all().contains("would still fail: the token would expire in 10 h, and"),
            "{foreseen:?}"
        );
        home.run_with(&variables, &server, &["--detailed-exitcode"]).expect(5);
        // What lives longer than that is not replaced, and the dry run says so.
        home.put(&server.mint_as_root(json!({ "policies": ["vault-admin"], "ttl": "300h" })).token);
        let foreseen = home.run_with(&variables, &server, &["--dry-run"]).expect(1);
        let run = home.run_with(&variables, &server, &[]).expect(1);
        assert_eq!(verdict(&run), foreseen.stderr.lines().next().unwrap(), "{foreseen:?}");
        assert!(verdict(&run).starts_with("FAIL: check of the minted token"), "{seconds}: {run:?}");
    }
}

#[test]
fn a_timer_that_comes_too_seldom_is_wrong_before_a_night_says_so() {
    let server = server();
    let home = Sandbox::holding(&server.mint_as_root(with(ours(), "period", "24h")).token);
    // The next run comes in time, and the one after it comes too late.
    let timer = a_timer(&home, 3_600);
    let variables = [("PATH", timer[0].1.as_str()), ("VTR_PERIOD", "24h")];
    let status = look(&home, &server, &variables);
    assert!(wrong(&status).contains(&"runs_too_seldom"), "{status}");
    assert_eq!(status["exit_status"], 1);
    let text = home.run_with(&variables, &server, &["status"]).expect(1);
    let words = "each renewal gives your token 1 d, and the timer runs only every 1 d 1 h";
    assert!(text.all().contains(words), "{text:?}");
    home.put(&server.mint_as_root(with(ours(), "period", "26h")).token);
    let variables = [("PATH", timer[0].1.as_str()), ("VTR_PERIOD", "26h")];
    assert!(!wrong(&look(&home, &server, &variables)).contains(&"runs_too_seldom"));
}

#[test]
fn what_a_run_did_is_told_and_finished_although_it_does_not_reach_the_next_one() {
    let server = server();
    // A heal whose sweep found no list leaves it to the next run.
    let home = Sandbox::holding(&server.admin_login().token);
    let stale = server.mint_ours().accessor;
    let front = server.losing_the_list();
    home.run(&front, &[]).expect(0);
    assert_eq!(home.state()["sweep_due"], true);
    let timer = a_timer(&home, 40 * 86_400);
    let variables = [("PATH", timer[0].1.as_str())];
    let run = home.run_with(&variables, &server, &["--json"]).expect(1);
    let object = run.object();
    let line = object["message"].as_str().unwrap();
    assert!(
        line.starts_with("FAIL: renewed, but it ends in 32 d and the next run comes in 39 d 23 h")
            || line.starts_with("FAIL: renewed, but it ends in 32 d and the next run comes in 40 d"),
        "{line}"
    );
    assert!(line.ends_with("; resumed an earlier sweep (revoked 1 stale periodic token(s))"), "{line}");
    assert_eq!(object["sweep"]["revoked"], json!([stale]), "{object}");
    assert!(server.lookup_accessor(&stale).is_none());
    assert_eq!(
        (&home.state()["sweep_due"], &home.state()["history"]["counters"]["swept"]),
        (&json!(false), &json!(1))
    );

    // A heal tells of its sweep, and of a foreign token that lives on for ever.
    let stale = server.mint_ours().accessor;
    let foreign =
        server.mint_as_root(json!({ "policies": ["vault-admin"], "period": "10h", "no_parent": true }));
    home.put(&foreign.token);
    let run = home.run_with(&variables, &server, &["--json"]).expect(1);
    let object = run.object();
    let line = object["message"].as_str().unwrap();
    assert!(line.starts_with("FAIL: healed, but it ends in 32 d and the next run comes in "), "{line}");
    let short: String = foreign.accessor.chars().take(8).collect();
    let end =
        format!("(revoked 2 stale periodic token(s)); the foreign token {short}… never ends and lives on");
    assert!(line.ends_with(&end), "{line}");
    assert!(object["sweep"]["revoked"].as_array().unwrap().contains(&json!(stale)), "{object}");
    assert_eq!(home.state()["history"]["counters"]["swept"], 3);
}

#[test]
fn a_dry_run_warns_of_policies_as_the_run_does() {
    let server = server();
    let lacking = with(ours(), "policies", json!(["vault-admin"]));
    let home = Sandbox::holding(&server.mint_as_root(lacking).token);
    let foreseen = home.run(&server, &["--dry-run"]).expect(0);
    let warning = "WARN: our token lacks policies of the settings: sops-admin";
    assert!(foreseen.stderr.contains(warning), "{foreseen:?}");
    let run = home.run(&server, &[]).expect(0);
    assert_eq!(run.complaints(), [warning], "{run:?}");
    // Where nobody knows when the next run comes, little is worth a warning to both.
    let home = Sandbox::holding(&server.mint_as_root(with(ours(), "period", "2h")).token);
    let period = [("VTR_PERIOD", "2h")];
    let warning = "WARN: the token expires in 2 h; will the next run come in time?";
    assert!(home.run_with(&period, &server, &["--dry-run"]).expect(0).stderr.contains(warning));
    assert_eq!(home.run_with(&period, &server, &[]).expect(0).complaints(), [warning]);
}

#[test]
fn a_child_that_lives_on_with_its_parent_warns_of_a_short_lease_too() {
    let server = server();
    server.write_policy("no-mint", r#"path "auth/token/create" { capabilities = ["deny"] }"#);
    let parent =
        server.mint_as_root(json!({ "policies": ["vault-admin"], "period": "100h", "no_parent": true }));
    let order = with(
        json!({ "display_name": "devvm-wizard", "policies": ["sops-admin", "reader"], "period": "2h" }),
        "no_parent",
        false,
    );
    let home = Sandbox::holding(&server.mint(&parent.token, order).token);
    let variables = [("VTR_POLICIES", "reader,sops-admin"), ("VTR_PERIOD", "2h")];
    let run = home.run_with(&variables, &server, &[]).expect(0);
    let warnings = run.complaints();
    for words in ["WARN: our token expires with the token that minted it", "WARN: the token expires in 2 h;"]
    {
        assert!(warnings.iter().any(|warning| warning.starts_with(words)), "{words}: {run:?}");
    }
}
