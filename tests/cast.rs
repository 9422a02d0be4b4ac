//! The checks that the other tests share can fail, each of their demands alone.

#![cfg(test)]
#![expect(clippy::disallowed_methods, reason = "tests write files as they like")]

mod support;

use std::env;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;
use support::sandbox::{Run, Sandbox};
use support::stay::Stay;
use support::{DISPLAY_NAME, OUR_NAME, USER, ours, server, wait_until, what_was_said, with, without};

/// What a check says that has to fail.
#[track_caller]
fn complaint<T>(check: impl FnOnce() -> T) -> String {
    let Err(panic) = catch_unwind(AssertUnwindSafe(check)) else { panic!("nothing was wrong with it") };
    what_was_said(&*panic)
}

#[test]
fn a_token_that_differs_from_ours_in_one_respect_is_not_ours() {
    let server = server();
    let kept = server.mint_ours();
    assert_eq!(server.recognise(&kept.token).expect("ours")["accessor"], kept.accessor);
    for (order, wrong) in [
        (with(ours(), "display_name", "devvm-emo"), "its display_name is \"token-devvm-emo\""),
        (with(ours(), "policies", json!(["vault-admin"])), "its policies is [\"default\",\"vault-admin\"]"),
        (
            with(ours(), "policies", json!(["vault-admin", "sops-admin", "reader"])),
            "its policies is [\"default\",\"reader\",",
        ),
        (with(ours(), "no_default_policy", true), "its policies is [\"sops-admin\",\"vault-admin\"]"),
        (with(ours(), "period", "1h"), "its period is 3600"),
        (with(without(ours(), &["period"]), "ttl", "768h"), "its period is null"),
        (with(ours(), "renewable", false), "its renewable is false"),
        (without(ours(), &["no_parent"]), "its orphan is false"),
        (with(ours(), "explicit_max_ttl", "768h"), "its explicit_max_ttl is 2764800"),
        (with(ours(), "num_uses", 9), "its num_uses is 8"),
    ] {
        let token = server.mint_as_root(order).token;
        let said = server.recognise(&token).expect_err(wrong);
        assert!(said.starts_with(wrong), "{said}");
    }
    // In more than one respect: a batch token has no period.
    let batch = json!({
        "display_name": DISPLAY_NAME, "policies": ["vault-admin", "sops-admin"], "type": "batch", "no_parent": true,
    });
    assert!(server.recognise(&server.mint_as_root(batch).token).is_err());
    for blank in [" ", "\n"] {
        let raw = server.recognise(&format!("{}{blank}", kept.token));
        assert_eq!(raw, Err("it is not the raw token".to_owned()));
    }
    server.revoke_accessor(&kept.accessor);
    assert_eq!(server.recognise(&kept.token), Err("it is dead".to_owned()));
}

#[test]
fn a_second_token_of_our_name_is_one_too_many() {
    let server = server();
    let home = Sandbox::holding(&server.mint_ours().token);
    let stray = server.mint_as_root(with(ours(), "policies", json!(["reader"])));
    assert_eq!(server.recognise_alone(&home.token()), Err("2 tokens of our name live".to_owned()));
    assert_eq!(complaint(|| server.check_ours(&home)), "the token in the file: 2 tokens of our name live");
    server.revoke_accessor(&stray.accessor);
    assert_eq!(server.named(OUR_NAME), [server.check_ours(&home)]);
}

#[test]
fn what_a_person_minted_is_not_taken_for_a_heal() {
    let server = server();
    let home = Sandbox::holding(&server.mint_ours().token);
    server.check_ours(&home);
    assert!(complaint(|| server.check_minted(&home)).contains("the program did not mint it for wizard"));
    server.revoke_ours();
    for meta in [json!({ "managed_by": "hand", "user": USER }), json!({ "managed_by": "vault-token-renew" })]
    {
        let token = server.mint_as_root(with(ours(), "meta", meta)).token;
        server.recognise_minted(&token, USER).expect_err("no heal");
    }
    home.put(&server.admin_login().token);
    assert!(complaint(|| server.check_ours(&home)).contains("its display_name is \"userpass-admin\""));
    home.run(&server, &[]).expect(0);
    server.check_healed(&home);
    let other = server.recognise_minted(&home.token(), "emo").expect_err("somebody else's");
    assert!(other.starts_with("the program did not mint it for emo: {"), "{other}");
    server.recognise_minted(&home.token(), USER).expect("ours");
}

#[test]
fn a_loose_mode_and_a_leftover_are_seen_after_a_heal() {
    let server = server();
    let home = Sandbox::holding(&server.admin_login().token);
    home.run(&server, &[]).expect(0);
    for mode in [0o640, 0o604, 0o700, 0o400] {
        home.chmod(mode);
        assert!(complaint(|| server.check_ours(&home)).starts_with("assertion `left == right` failed"));
    }
    home.chmod(0o600);
    for name in [".vault-token.tmp", "..vault-token.renew-0123456789ab", "core"] {
        let path = home.write(name, "");
        assert!(complaint(|| server.check_healed(&home)).contains(name), "{name}");
        fs::remove_file(path).unwrap();
    }
    let staged = format!("{}.renew-0123456789ab", home.state_file().display());
    fs::write(&staged, "").unwrap();
    assert!(complaint(|| server.check_healed(&home)).ends_with(" is left behind"));
    fs::remove_file(staged).unwrap();
    server.check_healed(&home);
}

#[test]
fn a_secret_is_found_wherever_a_run_lets_it_out() {
    let home = Sandbox::holding("s.a-secret-of-the-test");
    let run =
        |stdout: &str, stderr: &str| Run { status: 0, stdout: stdout.to_owned(), stderr: stderr.to_owned() };
    home.check(&run("quite", "harmless"));
    let secret = "before s.a-secret-of-the-test behind";
    assert_eq!(complaint(|| home.check(&run(secret, ""))), "a token in standard output");
    assert_eq!(complaint(|| home.check(&run("", secret))), "a token in standard error");
    home.write(".local/state/somewhere", secret);
    assert_eq!(complaint(|| home.check(&run("", ""))), "a token in .local/state/somewhere");
    // Nor may a run let others at the token.
    home.write(".local/state/somewhere", "");
    let mut loosening = home.command_of("/bin/chmod", "");
    let said = complaint(|| home.finish(loosening.args(["0604", ".vault-token"])));
    assert!(said.contains("the token file is more open than it was"), "{said}");
    assert_eq!(fs::metadata(home.token_file()).unwrap().permissions().mode() & 0o777, 0o604);
}

#[test]
fn what_is_not_one_object_with_the_status_of_the_run_is_no_answer_in_json() {
    let run = |stdout: &str| Run { status: 1, stdout: stdout.to_owned(), stderr: "a word\n".to_owned() };
    let good = r#"{"schema":1,"exit_status":1}"#;
    assert_eq!(run(good).object(), json!({ "schema": 1, "exit_status": 1 }));
    for bad in [
        String::new(),
        format!("{good}\n{good}"),
        good.replace(',', ",\n"),
        good.replace('}', ""),
        good.replace("\"schema\":1", "\"schema\":2"),
        good.replace("\"exit_status\":1", "\"exit_status\":0"),
    ] {
        complaint(|| run(&bad).object());
    }
    complaint(|| run(good).quiet());
    complaint(|| run(good).expect(0));
}

/// Set where this is the test process that is going to be killed.
const VICTIM: &str = "VTR_TEST_VICTIM";

#[test]
fn what_a_test_has_started_goes_with_it_when_it_is_killed() {
    if env::var_os(VICTIM).is_some() {
        let server = server();
        let home = Sandbox::holding(&server.mint_ours().token);
        let watch = Stay::start(&home, &server, &[], &[]);
        watch.wait_for("OK renewed ", 1);
        let mut told = std::io::stderr();
        writeln!(told, "\nstarted {} {}", server.address(), watch.pid()).unwrap();
        loop {
            thread::park();
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let mut victim = Command::new(env::current_exe().unwrap())
        .args(["--exact", "what_a_test_has_started_goes_with_it_when_it_is_killed", "--nocapture"])
        .env(VICTIM, "1")
        .env("TMPDIR", folder.path())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let said = BufReader::new(victim.stderr.take().unwrap()).lines();
    let started = said.map(Result::unwrap).find(|line| line.starts_with("started "));
    let started = started.expect("the other process started its server and its watch");
    let [_, address, watch] = started.split(' ').collect::<Vec<_>>()[..] else { panic!("{started}") };
    let address = address.strip_prefix("http://").unwrap();
    // A zombie, which waits for somebody to reap it, has none.
    let watch = Path::new("/proc").join(watch).join("exe");
    assert!(TcpStream::connect(address).is_ok() && watch.exists());

    victim.kill().unwrap();
    victim.wait().unwrap();
    let killed = Instant::now();
    wait_until("both are gone", || TcpStream::connect(address).is_err() && !watch.exists());
    assert!(killed.elapsed() < Duration::from_secs(2), "after {:?}", killed.elapsed());
}
