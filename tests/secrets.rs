//! Secrets that must not get out, and foreign text that must not get in: whatever a key, a token in the wrong place, a
//! file, a flag or a server says, no line repeats the one or obeys the other, and none is longer than anybody reads.

#![cfg(test)]
#![expect(clippy::disallowed_methods, reason = "tests write files as they like")]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::time::{Duration, Instant};

use rcgen::KeyPair;
use serde_json::{Value, json};
use support::certificates::Authority;
use support::sandbox::{LOG, Run, Sandbox};
use support::scripted::{Reply, Request, Scripted};
use support::vault_mock::{
    NEW_TOKEN, Vault, answer, auth, authenticated, data, denied, errors, foreign_token, healing, known_by,
    new_token, our_token,
};
use support::{FILE_TOKEN, NOWHERE, OUR_NAME, PERIOD, healthy, renewal, told_of, with};

/// A home with a token, from which that one and the one that may be minted must not get out.
fn home() -> Sandbox {
    let home = Sandbox::holding(FILE_TOKEN);
    home.guard(NEW_TOKEN);
    home
}

/// Every way in which the program answers.
const WAYS: [&[&str]; 7] = [
    &[],
    &["--json"],
    &["--dry-run"],
    &["--dry-run", "--json"],
    &["status"],
    &["status", "--json"],
    &["sweep", "--json"],
];

/// Enough of them where all take the same way out.
const FEW_WAYS: [&[&str]; 3] = [&[], &["--json"], &["status"]];

/// Checks that nothing of a key in PEM is said: neither as it stands there nor as bytes, in whatever way they are
/// written.
#[track_caller]
fn check_no_key(text: &str, pem: &str, der: &[u8]) {
    let body: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    for part in body.as_bytes().windows(8) {
        assert!(!text.contains(str::from_utf8(part).unwrap()), "a part of the key in what is said");
    }
    let spelt = |part: &[u8], separator: &str, spell: &dyn Fn(u8) -> String| {
        part.iter().map(|byte| spell(*byte)).collect::<Vec<_>>().join(separator)
    };
    for part in der.windows(4).chain(body.as_bytes().windows(4)) {
        for separator in [", ", ",", " "] {
            let decimal = spelt(part, separator, &|byte| byte.to_string());
            let hex = spelt(part, separator, &|byte| format!("{byte:02x}"));
            assert!(!text.contains(&decimal) && !text.contains(&hex), "a part of the key, as numbers");
        }
    }
}

#[test]
fn no_byte_of_a_key_that_cannot_be_read_is_repeated() {
    let key = KeyPair::generate().unwrap();
    let (pem, der) = (key.serialize_pem(), key.serialize_der());
    let certificate = Authority::new().sign(&["wizard"]).certificate;
    let body: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    let spoilt = [
        pem.replace('\n', "\\n"),
        pem.replace('\n', " "),
        pem.replace('\n', ""),
        pem.replace('\n', "\r"),
        pem[..pem.len() / 2].to_owned(),
        pem[..pem.len() - 30].to_owned(),
        pem.replace("-----END", "----END"),
        pem.replace("PRIVATE KEY", "EC PRIVATE KEY"),
        pem.replace("PRIVATE KEY", "RSA PRIVATE KEY"),
        pem.replace("PRIVATE KEY", "CERTIFICATE"),
        pem.replace(&body[..4], "!!!!"),
        pem.replace(&body[8..12], ""),
        body.clone(),
        format!("key = \"{}\"", pem.replace('\n', "\\n")),
        format!("{{\"key\": \"{}\"}}", pem.replace('\n', "\\n")),
    ];
    for (number, spoilt) in spoilt.iter().enumerate() {
        let home = home();
        let file = home.write("client.pem", spoilt);
        let certificate = home.write("certificate.pem", &certificate);
        for variables in [
            vec![("VAULT_CLIENT_CERT", certificate.as_str()), ("VAULT_CLIENT_KEY", file.as_str())],
            vec![("VAULT_CLIENT_CERT", file.as_str()), ("VAULT_CLIENT_KEY", certificate.as_str())],
            vec![("VAULT_CLIENT_CERT", file.as_str()), ("VAULT_CLIENT_KEY", file.as_str())],
            vec![("VAULT_CACERT", file.as_str())],
            vec![("VAULT_CACERT_BYTES", spoilt.as_str())],
            vec![("VAULT_CAPATH", home.path().to_str().unwrap())],
        ] {
            for way in FEW_WAYS {
                let run = home.run_with(&variables, "https://127.0.0.1:1", way);
                // A directory of authorities may hold a good one beside it.
                assert!(run.status == 2 || variables[0].0 == "VAULT_CAPATH", "{number} {run:?}");
                check_no_key(&format!("{}{}", run.all(), home.log()), &pem, &der);
                assert!(!run.all().contains("panicked"), "{number}");
            }
        }
    }
}

/// What looks like a token, and stands where it should not.
const MISPLACED: &str = concat!("hvs.", "misplaced-by-somebody-0123456789");

#[test]
fn what_looks_like_a_token_is_not_repeated_wherever_it_was_put() {
    let vault = Vault::new().lookup(FILE_TOKEN, data(&foreign_token())).mints(denied());
    let flags: Vec<Vec<String>> = [
        "--address",
        "--token-file",
        "--period",
        "--policy",
        "--display-name",
        "--required-policy",
        "--namespace",
        "--retry-for",
        "--sweep",
        "--sweep-concurrency",
        "--log-file",
        "--metrics-file",
        "--deploy-hook",
        "--hook-timeout",
        "--config",
        "--no-such-flag",
    ]
    .iter()
    .flat_map(|flag| [vec![(*flag).to_owned(), MISPLACED.to_owned()], vec![format!("{flag}={MISPLACED}")]])
    .chain([vec![MISPLACED.to_owned()], vec![format!("--{MISPLACED}")]])
    .collect();
    for flag in flags {
        for way in FEW_WAYS {
            let home = home();
            home.guard(MISPLACED);
            let flag: Vec<&str> = flag.iter().map(String::as_str).collect();
            home.run(&vault, &if way == ["status"] { [&flag, way].concat() } else { [way, &flag].concat() });
        }
    }
    for name in [
        "VAULT_ADDR",
        "BAO_ADDR",
        "VAULT_AGENT_ADDR",
        "VAULT_NAMESPACE",
        "VAULT_CACERT",
        "VAULT_CACERT_BYTES",
        "VAULT_CAPATH",
        "VAULT_CLIENT_CERT",
        "VAULT_CLIENT_KEY",
        "VAULT_SKIP_VERIFY",
        "VAULT_TLS_SERVER_NAME",
        "VAULT_CLIENT_TIMEOUT",
        "VAULT_PROXY_ADDR",
        "VAULT_HTTP_PROXY",
        "HTTPS_PROXY",
        "NO_PROXY",
        "VAULT_DISABLE_REDIRECTS",
        "BAO_TOKEN_PATH",
        "VAULT_TOKEN",
        "VTR_PERIOD",
        "VTR_POLICIES",
        "VTR_DISPLAY_NAME",
        "VTR_REQUIRED_POLICY",
        "VTR_RETRY_FOR",
        "VTR_SWEEP",
        "VTR_DEPLOY_HOOK",
        concat!("VTR_hvs.", "misplaced-by-somebody-0123456789"),
    ] {
        for way in FEW_WAYS {
            let home = home();
            home.guard(MISPLACED);
            home.run_with(&[(name, MISPLACED)], &vault, way);
        }
    }
    for file in [
        format!("address = \"{MISPLACED}\""),
        format!("address = \"https://{MISPLACED}/\""),
        format!("period = \"{MISPLACED}\""),
        format!("token_file = \"{MISPLACED}\""),
        format!("sweep = \"{MISPLACED}\""),
        format!("retry_for = {MISPLACED}"),
        format!("policies = \"{MISPLACED}\""),
        format!("\"{MISPLACED}\" = 1"),
        format!("[\"{MISPLACED}\"]\nx = 1"),
        format!("{MISPLACED} = 1"),
        MISPLACED.to_owned(),
        format!("token = \"{MISPLACED}\""),
        format!("sweep_concurrency = \"{MISPLACED}\""),
    ] {
        for way in FEW_WAYS {
            let home = home();
            home.guard(MISPLACED);
            let config = home.write("settings.toml", &file);
            let run = home.run(&vault, &[&["--config", &config], way].concat());
            assert!(run.status != 0, "{run:?}");
        }
    }
}

/// What a terminal would obey, what would begin a line of its own, and what would leave a command to be copied.
const HOSTILE: &str =
    "a\u{1b}[31m\u{9b}2J\r\nOK renewed (dn=x ttl=1s)\nall-is-well\u{202e}\u{2028}'; rm -rf ~ #\u{7}";

/// Checks that no line is forged and nothing said would move a cursor.
#[track_caller]
fn check_harmless(run: &Run, log: &str) {
    for text in [&run.stdout, &run.stderr, log] {
        let odd = |c: char| c != '\n' && (c.is_control() || "\u{202e}\u{2028}".contains(c));
        assert!(!text.contains(odd), "{run:?}");
        for line in text.lines() {
            assert!(!line.starts_with("OK renewed") && !line.starts_with("all-is-well"), "{run:?}");
            assert!(!line.contains("+00:00 OK renewed (dn=x"), "{run:?}");
        }
    }
}

#[test]
fn what_a_server_says_moves_no_cursor_and_forges_no_line() {
    let fields = ["display_name", "namespace_path", "path", "type", "accessor", "role", "expire_time"];
    let lists = ["policies", "identity_policies"];
    for (field, value) in fields
        .map(|field| (field, json!(HOSTILE)))
        .into_iter()
        .chain(lists.map(|field| (field, json!(["default", "sops-admin", "vault-admin", HOSTILE]))))
        .chain([("meta", json!({ "host": HOSTILE, "user": HOSTILE, "machine": HOSTILE }))])
    {
        for told in [our_token(), foreign_token()] {
            let told = with(told, field, value.clone());
            let minted = with(new_token(), field, value.clone());
            let vault = Vault::healing()
                .lookup(FILE_TOKEN, data(&told))
                .lookup(NEW_TOKEN, data(&minted))
                .renewal(authenticated(&auth(FILE_TOKEN, "kept-accessor", PERIOD)))
                .list(&["new-accessor", "kept-accessor", "another"])
                .any_other_accessor(data(&with(known_by("another"), field, value.clone())))
                .capabilities(data(&json!({ "auth/token/create": [HOSTILE], HOSTILE: ["update"] })))
                .any_policy(errors(403, HOSTILE));
            let home = home();
            for way in WAYS {
                let run = home.run(&vault, way);
                check_harmless(&run, &home.log());
            }
        }
    }
    for call in
        ["auth/token/lookup-self", "auth/token/renew-self", "auth/token/create", "sys/capabilities-self"]
    {
        for status in [400, 403, 404, 429, 500, 503] {
            for words in [HOSTILE.to_owned(), format!("permission denied{HOSTILE}")] {
                let said = json!({ "errors": [words] }).to_string();
                let server = Scripted::start(move |request, _| match request.call() {
                    asked if asked == call => Reply::Json(status, said.clone()),
                    "auth/token/lookup-self" if call == "auth/token/renew-self" => healthy(request),
                    _ => healing(request),
                });
                let home = home();
                for way in [&[][..], &["--json"], &["--dry-run"], &["status"]] {
                    let run = home.run(&server, way);
                    check_harmless(&run, &home.log());
                }
            }
        }
    }
}

#[test]
fn a_reason_stands_bare_only_if_it_can_say_nothing_but_words() {
    for (words, told) in [
        ("permission denied", "(403: permission denied)"),
        (
            "permission denied); investigate nothing. OK renewed (dn=x",
            r#"(403: "permission denied); investigate nothing. OK renewed (dn=x")"#,
        ),
        ("permission denied \"now\"", r#"(403: "permission denied \"now\"")"#),
        ("permission denied\u{a0}here", r#"(403: "permission denied\u{a0}here")"#),
    ] {
        let vault = Vault::new().lookup(FILE_TOKEN, data(&foreign_token())).mints(errors(403, words));
        let run = home().run(&vault, &[]).expect(1);
        assert!(run.complaint().contains(told), "{told}: {run:?}");
        let vault = Vault::healing()
            .list(&["new-accessor", "another"])
            .accessor("another", data(&known_by("another")))
            .revocation("another", errors(403, words));
        let run = home().run(&vault, &[]).expect(0);
        assert!(run.said().contains(&format!("1 may not be revoked {told}")), "{told}: {run:?}");
    }
}

#[test]
fn a_line_feed_in_a_flag_or_variable_begins_no_line() {
    let vault = Vault::new().lookup(FILE_TOKEN, data(&foreign_token())).mints(denied());
    for value in ["768h\n", "\nOK renewed", "a\nOK renewed (dn=x ttl=1s)\n", "\u{1b}[31m1h", "x\u{202e}"] {
        for flag in [
            "--period",
            "--namespace",
            "--display-name",
            "--policy",
            "--required-policy",
            "--address",
            "--token-file",
            "--retry-for",
            "--log-file",
            "--metrics-file",
            "--deploy-hook",
            "--config",
        ] {
            for way in [&[][..], &["--json"], &["status"]] {
                let home = home();
                let run = home.run(&vault, &[&[flag, value], way].concat());
                check_harmless(&run, &home.log());
                let outcomes = run.all().matches("+00:00 ").count();
                assert!(run.status == 2 || way == ["status"] || outcomes >= 1, "{flag} {value:?}: {run:?}");
            }
        }
        for name in
            ["VTR_PERIOD", "VTR_DISPLAY_NAME", "VTR_POLICIES", "VAULT_NAMESPACE", "VAULT_ADDR", "USER"]
        {
            let home = home();
            let run = home.run_with(&[(name, value)], &vault, &[]);
            check_harmless(&run, &home.log());
        }
    }
}

/// The words of the last command in a line, as a shell reads them.
fn read_by_a_shell(line: &str) -> Vec<String> {
    let command = line.rsplit_once(" && ").expect("a recovery").1;
    let script = format!("set -- {command}\nprintf '%s\\n' \"$@\"");
    let output = Command::new("/bin/sh").args(["-c", &script]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn an_empty_namespace_swallows_no_flag_of_the_recovery() {
    let vault = Vault::new().lookup(FILE_TOKEN, data(&foreign_token())).mints(denied());
    for flags in [["--namespace", "", "--period", "24h"], ["--period", "24h", "--namespace", ""]] {
        let run = home().run(&vault, &flags).expect(1);
        let words = read_by_a_shell(run.complaint());
        assert_eq!(words[0], "vault-token-renew", "{run:?}");
        let period = words.iter().position(|word| word == "--period").expect("the period is not lost");
        assert_eq!(words[period + 1], "24h", "{words:?}");
        assert!(
            words.iter().all(|word| word != "--namespace") || words.contains(&String::new()),
            "{words:?}"
        );
    }
}

/// More than this is said of no event, however much the server says.
const MOST_SAID: usize = 40 * 1024;

#[test]
fn no_server_floods_the_log_or_the_terminal() {
    let many = |count: usize, text: &str| json!(vec![text; count]);
    let names: Vec<String> = (0..90_000).map(|number| format!("p{number}")).collect();
    let all: Vec<&str> =
        names.iter().map(String::as_str).chain(["default", "sops-admin", "vault-admin"]).collect();
    let renewed_with = |warnings: &Value| {
        let auth = auth(FILE_TOKEN, "kept-accessor", PERIOD);
        answer(200, json!({ "auth": auth, "warnings": warnings }).to_string())
    };
    let long = "long words ".repeat(80_000);
    let vaults = [
        Vault::renewing().renewal(renewed_with(&many(250_000, "w"))),
        Vault::renewing().renewal(renewed_with(&many(900, &"w".repeat(1_000)))),
        Vault::renewing().lookup(FILE_TOKEN, data(&with(our_token(), "policies", all.clone()))),
        Vault::healing().lookup(NEW_TOKEN, data(&with(new_token(), "policies", all.clone()))),
        Vault::new()
            .lookup(FILE_TOKEN, data(&with(foreign_token(), "identity_policies", all)))
            .mints(denied()),
        Vault::new()
            .lookup(FILE_TOKEN, data(&with(foreign_token(), "display_name", long.as_str())))
            .mints(denied()),
        Vault::new()
            .lookup(FILE_TOKEN, data(&with(foreign_token(), "namespace_path", long.as_str())))
            .mints(denied()),
        Vault::new()
            .lookup(FILE_TOKEN, data(&foreign_token()))
            .mints(errors(403, &format!("permission denied {long}"))),
        Vault::new().lookup(FILE_TOKEN, answer(400, json!({ "errors": many(200_000, "no") }).to_string())),
        Vault::new().lookup(FILE_TOKEN, errors(500, &long)),
        Vault::new().lookup(FILE_TOKEN, answer(502, &*long)),
        Vault::new().lookup(FILE_TOKEN, answer(502, "x").with_header("content-type", &"x/".repeat(9_000))),
        Vault::new()
            .lookup(FILE_TOKEN, data(&foreign_token()))
            .mints(denied())
            .capabilities(data(&json!({ "auth/token/create": many(90_000, "update") }))),
    ];
    for (number, vault) in vaults.iter().enumerate() {
        let home = home();
        for way in WAYS {
            let before = home.log().len();
            let run = home.run(vault, way);
            let logged = home.log().len() - before;
            // What a program asked for may hold a name as long as the server has it.
            let most = if way.contains(&"--json") { 4 * 1024 * 1024 } else { MOST_SAID };
            assert!(run.stdout.len() < most, "{number} {way:?}: {} bytes", run.stdout.len());
            assert!(run.stderr.len() < MOST_SAID, "{number} {way:?}: {} bytes", run.stderr.len());
            assert!(logged < MOST_SAID, "{number} {way:?}: {logged} bytes in the log");
        }
    }
}

#[test]
fn what_cannot_be_a_token_is_not_sent_and_stays_as_it_is() {
    let server = Scripted::start(|request, _| healthy(request));
    for (contents, reason) in [
        (r#"{"auth":{"client_token":"s.in-json-0123456789abcdef"}}"#, "it holds JSON"),
        ("{\n  \"request_id\": \"x\"\n}\n", "it holds JSON"),
        (r#"["s.in-json-0123456789abcdef"]"#, "it holds JSON"),
        ("\"s.quoted-0123456789abcdef\"", "it stands in quotation marks"),
        ("'s.quoted-0123456789abcdef'\n", "it stands in quotation marks"),
        ("\"s.half-quoted-0123456789abcdef", "it stands in quotation marks"),
        ("VAULT_TOKEN=s.assigned-0123456789abcdef", "it holds NAME=value"),
        ("export VAULT_TOKEN=s.assigned-0123456789abcdef\n", "it holds NAME=value"),
        ("token=s.assigned-0123456789abcdef", "it holds NAME=value"),
        ("<your-token>", "it holds a placeholder"),
        ("<your-token-here>\n", "it holds a placeholder"),
    ] {
        for mode in [0o600, 0o644] {
            let home = Sandbox::holding(contents);
            home.chmod(mode);
            let before = home.snapshot()[".vault-token"].clone();
            for way in [&[][..], &["--json"], &["--dry-run"], &["status"], &["sweep"]] {
                let run = home.run(&server, way).expect(1);
                assert!(run.all().contains(&format!("not a token: {reason}")), "{contents}: {run:?}");
            }
            assert_eq!(home.snapshot()[".vault-token"], before, "{contents} {mode:o}");
        }
    }
    assert_eq!(server.requests().len(), 0, "nothing was sent");
    // What has such characters in it, and can be a token, is sent.
    for token in ["s.with=sign-0123456789abcdef==", "hvs.a{b}c-0123456789abcdef", "root", "a=b.c"] {
        let server = Scripted::start(move |request, _| match request.call() {
            "auth/token/lookup-self" => Reply::Json(200, told_of(token, OUR_NAME)),
            _ => Reply::Json(200, renewal(request)),
        });
        let home = Sandbox::new();
        fs::write(home.token_file(), token).unwrap();
        fs::set_permissions(home.token_file(), fs::Permissions::from_mode(0o600)).unwrap();
        let output = home.command(server.address()).output().unwrap();
        let expected = i32::from(token == "a=b.c");
        assert_eq!(output.status.code(), Some(expected), "{token}: {output:?}");
    }
}

#[test]
fn what_is_no_file_is_read_neither_for_ever_nor_without_end() {
    let home = home();
    let path = |name: &str| home.path().join(name).into_os_string().into_string().unwrap();
    let (fifo, silent) = (path("fifo"), path("silent"));
    for pipe in [&fifo, &silent] {
        assert!(Command::new("mkfifo").arg(pipe).status().unwrap().success());
    }
    // Somebody has it open for writing, and says nothing.
    let _writer = fs::OpenOptions::new().read(true).write(true).open(&silent).unwrap();
    let certificate = home.write("certificate.pem", Authority::new().sign(&["wizard"]).certificate);
    let directory = home.path().to_str().unwrap().to_owned();
    for (file, is_nothing) in [
        (fifo.as_str(), true),
        (silent.as_str(), false),
        ("/dev/zero", false),
        ("/dev/urandom", false),
        ("/dev/null", true),
        (directory.as_str(), false),
    ] {
        for (variables, arguments) in [
            (vec![], vec!["--config", file]),
            (vec![("VAULT_CACERT", file)], vec![]),
            (vec![("VAULT_CLIENT_CERT", certificate.as_str()), ("VAULT_CLIENT_KEY", file)], vec![]),
            (vec![("VAULT_CLIENT_CERT", file), ("VAULT_CLIENT_KEY", certificate.as_str())], vec![]),
        ] {
            let start = Instant::now();
            let mut command = home.command(NOWHERE);
            let output = command.envs(variables.iter().copied()).args(&arguments).output().unwrap();
            let took = start.elapsed();
            // An empty configuration is one.
            let expected = if is_nothing && !arguments.is_empty() { 1 } else { 2 };
            assert_eq!(
                output.status.code(),
                Some(expected),
                "{file} {variables:?} {arguments:?}: {output:?}"
            );
            assert!(took < Duration::from_secs(9), "{file} {variables:?} {arguments:?}: {took:?}");
            assert!(output.stderr.len() < 2_000 && output.stdout.is_empty(), "{file}: {output:?}");
        }
    }
    assert!(!home.path().join(LOG).exists() || home.log().lines().all(|line| line.contains("FAIL: ")));
}

/// The request of a script's own.
#[test]
fn a_token_in_a_config_or_log_path_is_not_told_by_the_hook_either() {
    let server = Scripted::start(|request: &Request, _| healing(request));
    let home = home();
    let hook = home.path().join("told");
    let run = home
        .run_with(
            &[("VAULT_TOKEN", MISPLACED)],
            &server,
            &["--deploy-hook", &format!("env > {}", hook.display())],
        )
        .expect(0);
    let told = fs::read_to_string(&hook).unwrap();
    for secret in [FILE_TOKEN, NEW_TOKEN, MISPLACED] {
        assert!(
            !told.contains(secret) && !run.all().contains(secret),
            "a token in the environment of a hook"
        );
    }
}
