//! The settings of the verb `follow`, and of those that stay: what is refused, what is told, and where a secret must
//! not be repeated. The real program; real servers where somebody has to answer.

#![cfg(test)]

mod support;

use std::fs;

use serde_json::json;
use support::NOWHERE;
use support::kv::World;
use support::sandbox::Sandbox;
use support::scripted::{Reply, Scripted};

/// The arguments of a round into this file.
fn into<'a>(out: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["follow", "--once", "--mount", "secret", "--path", "agent/token", "--out", out], more].concat()
}

#[test]
fn whatever_goes_wrong_the_error_names_what_was_asked_for() {
    let world = World::new();
    world.put("asked-for-by-its-name-0123456789");
    let no = |status: u16| Reply::Json(status, json!({ "errors": ["permission denied"] }).to_string());
    for (what, path) in [
        ("mount of the secret", "sys/internal/ui/mounts/secret/agent/token"),
        ("secret", "secret/data/agent/token"),
    ] {
        for (name, reply) in [
            ("403", no(403)),
            ("500", no(500)),
            ("no JSON", Reply::Json(200, "no JSON".to_owned())),
            ("null", Reply::Json(200, "null".to_owned())),
            ("no data", Reply::Json(200, "{}".to_owned())),
            ("a page", Reply::Full(200, Vec::new(), "<html>log in</html>".to_owned())),
        ] {
            let front = Scripted::in_front_of(&world.server, move |request, _| {
                request.path.ends_with(path).then(|| reply.clone())
            });
            let out = world.out();
            let arguments = into(out.to_str().unwrap(), &["--interval", "2s"]);
            let run = world.home.run(front.address(), &arguments).expect(1);
            let named = format!("{what}: {}/v1/{path}: ", front.address());
            assert!(run.complaint().contains(&named), "{name} of {what}: {run:?}");
        }
    }
}

#[test]
fn a_store_without_versions_has_what_an_agent_wrote_where_the_agent_wrote_it() {
    let world = World::new();
    world.server.write_policy("agent", "path \"old/data/agent/token\" { capabilities = [\"read\"] }");
    world.server.as_root("POST", "old/data/agent/token", Some(json!({ "token": "below-data-0123456789" })));
    let out = world.out();
    let variables = [("VAULT_AGENT_PATH_PREFIX", "old/data"), ("DEPLOYMENT_HASH", "agent")];
    let arguments = ["follow", "--once", "--out", out.to_str().unwrap()];
    world.home.run_with(&variables, &world.server, &arguments).expect(0);
    assert_eq!(world.held(), "below-data-0123456789");
}

#[test]
fn what_is_no_path_is_not_repeated() {
    let home = Sandbox::new();
    let key =
        "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSj\n-----END PRIVATE KEY-----\n";
    for name in [
        "VAULT_CACERT",
        "BAO_CACERT",
        "VAULT_CAPATH",
        "VAULT_CLIENT_CERT",
        "VAULT_CLIENT_KEY",
        "BAO_CLIENT_KEY",
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
    ] {
        for arguments in [&into("out", &[])[..], &["status"], &[]] {
            let run = home.run_with(&[(name, key)], NOWHERE, arguments).expect(2);
            let said = format!("{name} holds PEM; write that to a file, and set {name} to its path");
            assert!(run.all().contains(&said) && !run.all().contains("MIIE"), "{name}: {run:?}");
        }
    }
    let out = "--out=elsewhere";
    for path in ["--out=", "--audit-log=", "--token-file="] {
        let (given, out) = (format!("{path}{key}"), if path == "--out=" { "--once" } else { out });
        let arguments = ["follow", "--mount", "secret", "--path", "agent/token", out, &given];
        let run = home.run(NOWHERE, &arguments).expect(2);
        assert!(run.all().contains("holds PEM, and names no file"), "{run:?}");
        assert!(!run.all().contains("MIIE"), "{run:?}");
    }
}

#[test]
fn what_this_program_needs_for_itself_is_no_place_for_anything_else() {
    let home = Sandbox::new();
    fs::create_dir(home.path().join("folder")).unwrap();
    let of = |name: &str| home.path().join(name).to_str().unwrap().to_owned();
    let state = of(".local/state/vault-token-renew/x");
    for (out, more, says) in [
        ("folder", None, "out: "),
        ("out", Some(("--audit-log", "folder")), "audit_log: "),
        (".vault-token", None, "out and token_file are the same file"),
        (".vault-token.watch", None, "out and lock file of watch are the same file"),
        ("out", Some(("--audit-log", ".out.follow")), "lock file of follow and audit_log are the same file"),
        ("out", Some(("--log-file", ".out.follow")), "lock file of follow and log_file are the same file"),
        ("out", Some(("--audit-log", "out")), "audit_log and out are the same file"),
        (&state, None, "out lies among the state files"),
    ] {
        let (out, more) =
            (of(out.trim_start_matches(&of(""))), more.map(|(flag, name)| [flag.to_owned(), of(name)]));
        let more: Vec<&str> = more.iter().flatten().map(String::as_str).collect();
        let run = home.run(NOWHERE, &into(&out, &more)).expect(2);
        assert!(run.stderr.contains(says), "{says}: {run:?}");
    }
}

#[test]
fn a_flag_that_says_nothing_to_a_verb_is_not_in_its_help_and_refused_with_a_reason() {
    let home = Sandbox::new();
    let help = |verb: &str| home.run(NOWHERE, &[verb, "--help"]).expect(0).stdout;
    for (flag, value) in [
        ("--dry-run", None),
        ("--json", None),
        ("--display-name", Some("x")),
        ("--policy", Some("x")),
        ("--required-policy", Some("x")),
        ("--period", Some("1h")),
        ("--retry-for", Some("1s")),
        ("--sweep", Some("off")),
        ("--sweep-concurrency", Some("2")),
        ("--metrics-file", Some("x")),
    ] {
        assert!(!help("follow").contains(&format!(" {flag}")), "{flag}");
        let given: Vec<&str> = [Some(flag), value].into_iter().flatten().collect();
        let run = home.run(NOWHERE, &into("out", &given)).expect(2);
        let reasons = ["follow has no ", "follow prints no ", "follow writes no ", "is no flag of follow"];
        assert!(reasons.iter().any(|reason| run.stderr.contains(reason)), "{flag}: {run:?}");
    }
    let options = help("watch").split("\nExit status").next().unwrap().to_owned();
    assert!(!options.contains(" --dry-run  "), "{options}");
    assert!(home.run(NOWHERE, &["watch", "--dry-run"]).expect(2).stderr.contains("watch has no dry run"));
}

#[test]
fn a_unit_that_says_where_to_listen_says_so_if_the_file_says_something_else() {
    let world = World::new();
    world.put("listened-to-elsewhere-0123456789");
    let table = "[follow]\nmount = \"secret\"\npath = \"agent/token\"\nout = \"~/agent-token\"\nlisten = ";
    let own = format!("unix:{}", world.home.path().join("of-the-unit").display());
    let same = format!("{table}{own:?}\n");
    for (contents, is_told) in [(format!("{table}\"127.0.0.1:0\"\n"), true), (same, false)] {
        let file = world.home.write("c.toml", contents);
        // As the service manager starts it: by its own number.
        let script = "export SYSTEMD_EXEC_PID=$$; exec \"$0\" \"$@\"";
        let arguments = ["-c", script, support::sandbox::PROGRAM, "follow", "--config", &file, "--once"];
        let command = &mut world.home.command_of("/bin/sh", world.server.address());
        let run = world.home.finish(command.args(arguments).args(["--listen", &own])).expect(0);
        let said = format!(
            " WARN: {file}: follow.listen is not used, because ExecStart= in the unit says --listen; to listen \
             elsewhere, change that with `systemctl --user edit`"
        );
        assert_eq!(run.complaints().iter().any(|line| line.ends_with(&said)), is_told, "{run:?}");
    }
}
