//! What docs/monitoring.md tells people to do with the log: the rule for Loki, held against the lines that the real
//! program writes, with the regular expressions of Go; and the script that mails errors.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::blocks::{block, file, value_of, write};
use super::support::kv;
use super::support::openbao::OpenBao;
use super::support::prometheus::promtool;
use super::support::sandbox::{PROGRAM, Sandbox};
use super::support::user_manager::text;
use super::support::{NOWHERE, now, server};
use super::{documentation, repository};

/// A line as the journal has it: its priority, and the rest.
type Line = (u8, String);

/// Priorities up to that of an error.
const ERR: u8 = 3;

/// What the program says if the journal reads it.
#[track_caller]
fn journal(home: &Sandbox, address: &str, variables: &[(&str, &str)], arguments: &[&str]) -> Vec<Line> {
    // Both streams are the journal, as systemd has it.
    let script = "PATH=/usr/bin:/bin; exec >journal 2>&1; export JOURNAL_STREAM=\"$(stat -L -c %d:%i journal)\"; \
                  exec \"$0\" \"$@\"";
    let arguments = [&["-c", script, PROGRAM][..], arguments].concat();
    home.wait(home.start_of("/bin/sh", &arguments, address, variables));
    let said = fs::read_to_string(home.path().join("journal")).expect("what it said");
    let lines = said.lines().map(|line| {
        let priority = line.strip_prefix('<').and_then(|line| line.split_once('>'));
        let (priority, rest) = priority.unwrap_or_else(|| panic!("no priority: {line:?}"));
        (priority.parse().expect("a number"), rest.to_owned())
    });
    lines.collect()
}

/// Everything that a run can come to, as lines of the journal, with the settings of this file.
fn lines_of(server: &OpenBao, configuration: Option<&str>) -> Vec<Line> {
    let home = Sandbox::holding(&server.admin_login().token);
    let configuration = configuration.map(|name| home.write(name, ""));
    let configuration = configuration.iter().flat_map(|path| ["--config", path.as_str()]);
    let configuration: Vec<_> = configuration.collect();
    let run = |address: &str, variables: &[(&str, &str)], arguments: &[&str]| {
        journal(&home, address, variables, &[&configuration[..], arguments].concat())
    };
    let address = server.address();
    // HEALED, OK with a WARN, OK of a sweep, FAIL, DRIFT, FAIL without a token.
    let mut lines = run(address, &[], &[]);
    lines.extend(run(address, &[("VAULT_TOKEN", "s.another")], &[]));
    lines.extend(run(address, &[], &["sweep"]));
    lines.extend(run(NOWHERE, &[], &[]));
    home.put(&server.weak_login().token);
    lines.extend(run(address, &[], &[]));
    fs::remove_file(home.token_file()).expect("the token file");
    lines.extend(run(address, &[], &[]));
    let words: Vec<_> =
        lines.iter().filter_map(|(_, line)| without_profile(line).split([' ', ':']).next()).collect();
    assert_eq!(words, ["HEALED", "WARN", "OK", "OK", "FAIL", "DRIFT", "FAIL"], "{lines:?}");
    lines
}

/// A line without the name of its configuration.
fn without_profile(line: &str) -> &str {
    line.strip_prefix("[work] ").unwrap_or(line)
}

/// All lines: of the default configuration, and of one that is called `work`; of a fetch that failed; and the same as
/// the log file has them, with a time stamp.
fn all_lines() -> Vec<Line> {
    let server = server();
    let mut lines = lines_of(&server, None);
    let of_work = lines_of(&server, Some(".config/vault-token-renew/work.toml"));
    assert!(of_work.iter().all(|(_, line)| line.starts_with("[work] ")), "{of_work:#?}");
    lines.extend(of_work);
    let store = kv::World::new();
    let follow = store.arguments();
    let follow: Vec<&str> = follow.iter().map(String::as_str).chain(["--once"]).collect();
    lines.extend(journal(&store.home, store.server.address(), &[], &follow));
    // Settings that cannot be used, of which no log file hears.
    let home = Sandbox::new();
    let unusable = journal(&home, NOWHERE, &[], &["--config", "/nowhere/work.toml"]);
    assert!(unusable.len() == 1 && unusable[0].1.starts_with("vault-token-renew: error: "), "{unusable:?}");
    let stamped: Vec<_> = lines
        .iter()
        .map(|(priority, line)| (*priority, format!("2026-11-22T00:03:11+00:00 {line}")))
        .collect();
    lines.extend(stamped);
    lines.extend(unusable);
    // Words that are only quoted.
    lines.push((4, "WARN: FAIL: is not how this line begins".to_owned()));
    lines.push((6, "OK renewed (dn=token-[x] FAIL: DRIFT: ttl=1s)".to_owned()));
    lines
}

/// The texts between backquotes, in their order: the regular expressions of a rule for Loki.
fn regular_expressions(rule: &str) -> Vec<&str> {
    rule.split('`').skip(1).step_by(2).collect()
}

/// Has promtool evaluate expressions with these series, whose value is 1.
#[track_caller]
fn check_with_promtool(rules: &str, series: &[String], test: Value) {
    let folder = TempDir::with_prefix("vtr-loki-").expect("a directory");
    let series: Vec<_> = series.iter().map(|series| json!({ "series": series, "values": "1x10" })).collect();
    let mut test = test;
    test["interval"] = json!("1m");
    test["input_series"] = json!(series);
    // JSON is YAML, too.
    let tests = json!({ "rule_files": ["rules.yml"], "evaluation_interval": "1m", "tests": [test] });
    write(&folder.path().join("rules.yml"), rules);
    write(&folder.path().join("tests.yml"), &tests.to_string());
    let tested = promtool(folder.path(), &["test", "rules", "tests.yml"]);
    assert!(tested.status.success(), "{}", text(&tested));
}

/// The rule for Loki, with this expression in place of its own.
fn loki_rule_with(expression: &str) -> String {
    let rule = block("yaml", "- name: vault-token-renew-log\n");
    let (before, rest) = rule.split_once("expr: |\n").expect("an expression");
    let (_, after) = rest.split_once("        labels:\n").expect("its end");
    format!("{before}expr: {expression}\n        labels:\n{after}")
}

#[test]
fn the_rule_for_loki_finds_the_lines_of_failures_and_no_others() {
    let lines = all_lines();
    let rule = block("yaml", "- name: vault-token-renew-log\n");
    let [filter, profile] = regular_expressions(&rule)[..] else { panic!("two expressions in:\n{rule}") };
    assert!(rule.contains(&format!("|~ `{filter}`")) && rule.contains(&format!("| regexp `{profile}`")));

    // Loki and Prometheus have the same regular expressions; but Prometheus wants them to match the whole text.
    let series: Vec<_> = lines.iter().map(|(_, line)| format!("line{{text={}}}", json!(line))).collect();
    let bad: Vec<_> = lines.iter().filter(|(priority, _)| *priority <= ERR).map(|(_, line)| line).collect();
    assert_eq!(bad.len(), 15, "{lines:#?}");
    let sample = |labels: String| json!({ "labels": labels, "value": 1 });
    let found: Vec<_> = bad.iter().map(|line| sample(format!("line{{text={}}}", json!(line)))).collect();
    let named = lines.iter().filter(|(_, line)| line.contains("[work] ")).count();
    assert_eq!(named, 14, "{lines:#?}");
    let labelled = lines.iter().map(|(_, line)| {
        let profile = if line.contains("[work] ") { "profile=\"work\"," } else { "" };
        sample(format!("line{{{profile}text={}}}", json!(line)))
    });
    let labelled: Vec<_> = labelled.collect();
    let whole = |regex: &str| json!(format!("(?s:.*?(?:{regex}).*)"));
    let test = json!({ "promql_expr_test": [
        { "expr": format!("line{{text=~{}}}", whole(filter)), "eval_time": "5m", "exp_samples": found },
        { "expr": format!("label_replace(line, \"profile\", \"$profile\", \"text\", {})", whole(profile)),
          "eval_time": "5m", "exp_samples": labelled },
    ] });
    check_with_promtool(&loki_rule_with("up == 0"), &series, test);
}

#[test]
fn the_rule_for_loki_is_one_and_says_who_failed() {
    let summary = "vault-token-renew failed on devvm, for the user with uid 1000";
    let remedy = "On devvm: journalctl -t vault-token-renew _UID=1000 -p warning --since -2h. Then, as that user: \
                  vault-token-renew";
    let of = |labels: &str| format!("failures{{host=\"devvm\", uid=\"1000\"{labels}}}");
    let alert = |profile: Option<&str>| {
        let mut labels = json!({ "severity": "warning", "host": "devvm", "uid": "1000" });
        let (mut named, mut option) = (String::new(), String::new());
        if let Some(profile) = profile {
            labels["profile"] = json!(profile);
            named = format!(" (profile {profile})");
            option = format!(" --config ~/.config/vault-token-renew/{profile}.toml");
        }
        let annotations = json!({
            "summary": format!("{summary}{named}: 1 line(s) within an hour"),
            "remedy": format!("{remedy}{option} status"),
        });
        json!({ "exp_labels": labels, "exp_annotations": annotations })
    };
    let test = json!({ "alert_rule_test": [{
        "eval_time": "5m", "alertname": "VaultTokenRunFailed", "exp_alerts": [alert(None), alert(Some("work"))],
    }] });
    let rule = loki_rule_with("sum by (host, uid, profile) (failures) > 0");
    check_with_promtool(&rule, &[of(""), of(", profile=\"work\"")], test);
}

#[test]
fn the_rule_for_loki_asks_for_labels_that_alloy_sets_and_for_the_name_of_the_program() {
    let rule = block("yaml", "- name: vault-token-renew-log\n");
    let alloy = block("alloy", "loki.source.journal");
    let set: Vec<_> = alloy.lines().filter_map(|line| line.trim().strip_prefix("target_label")).collect();
    let set: Vec<_> = set.iter().filter_map(|line| line.split('"').nth(1)).collect();
    assert_eq!(set, ["identifier", "host", "uid"]);
    let (_, selector) = rule.split_once('{').expect("a selector");
    let (selector, _) = selector.split_once('}').expect("its end");
    let (label, value) = selector.split_once('=').expect("a label");
    let value = value.trim_matches('"');
    assert!(set.contains(&label) && alloy.contains(&format!("\"SYSLOG_IDENTIFIER={value}\"")), "{selector}");
    let (_, grouped) = rule.split_once("sum by (").expect("a sum");
    let (grouped, _) = grouped.split_once(')').expect("its end");
    for label in grouped.split(", ") {
        assert!(set.contains(&label) || rule.contains(&format!("(?P<{label}>")), "nobody sets {label}");
    }

    // The journal calls a service after the program that its unit starts, if the unit says nothing else.
    for unit in ["vault-token-renew", "vault-token-renew@", "vault-token-renew-watch", "vault-token-follow@"]
    {
        let unit = repository("systemd").join(format!("{unit}.service"));
        let unit = fs::read_to_string(&unit).expect("a unit");
        let program = value_of(&unit, "ExecStart");
        let program = Path::new(program.split(' ').next().unwrap_or_default()).file_name().expect("a name");
        assert!(program == value && !unit.contains("SyslogIdentifier="), "{unit}");
    }
}

#[test]
fn the_journal_is_asked_by_the_name_of_the_program_and_never_by_its_unit() {
    let documentation = documentation();
    for command in documentation.split("journalctl").skip(1) {
        let command = command.split(['`', '\n', ';', '"']).next().unwrap_or_default();
        assert!(command.contains(" -t "), "journalctl{command}");
        assert!(!command.contains(" -u ") && !command.contains("_SYSTEMD_"), "journalctl{command}");
    }
}

/// A journal of lines that begin with their second, and a mailbox.
const JOURNALCTL: &str = r#"#!/bin/sh
printf '%s\n' "$*" >>"$HOME/asked"
while [ $# -gt 0 ]; do
    case $1 in
    --user | --quiet | --no-pager) shift ;;
    -t) [ "$2" = vault-token-renew ] || exit 64; shift 2 ;;
    -p) [ "$2" = err ] || exit 64; shift 2 ;;
    --output) [ "$2" = short-iso ] || exit 64; shift 2 ;;
    --since) since=${2#@}; shift 2 ;;
    --until) until=${2#@}; shift 2 ;;
    *) exit 64 ;;
    esac
done
while read -r at line; do
    if [ "$at" -ge "$since" ] && [ "$at" -le "$until" ]; then echo "$line"; fi
done <"$HOME/lines"
"#;
const SENDMAIL: &str =
    "#!/bin/sh\n[ ! -e \"$HOME/no-mail\" ] || exit 75\n[ \"$*\" = -t ] || exit 64\ncat >>\"$HOME/mail\"\n";

#[test]
fn the_script_mails_each_error_once_and_again_if_it_could_not() {
    let home = TempDir::with_prefix("vtr-mail-").expect("a home");
    let path = |name: &str| home.path().join(name);
    for (name, program) in [
        ("bin/journalctl", JOURNALCTL),
        ("bin/sendmail", SENDMAIL),
        (".local/bin/vault-token-renew-mail", &file("sh", ".local/bin/vault-token-renew-mail")),
    ] {
        write(&path(name), program);
        let made = Command::new("chmod").arg("+x").arg(path(name)).status().expect("chmod");
        assert!(made.success(), "{name}");
    }
    fs::create_dir_all(path(".local/state")).expect("a folder");
    let run = || {
        let output = Command::new(path(".local/bin/vault-token-renew-mail"))
            .env_clear()
            .env("HOME", home.path())
            .env("PATH", format!("{}:/usr/bin:/bin", path("bin").display()))
            .output()
            .expect("the script");
        assert!(output.stdout.is_empty() && output.stderr.is_empty(), "{}", text(&output));
        output.status.success()
    };
    let mailed = || {
        let mail = fs::read_to_string(path("mail")).unwrap_or_default();
        let _ = fs::remove_file(path("mail"));
        mail
    };
    let log = |lines: &[(u64, &str)]| {
        let lines: Vec<_> = lines.iter().map(|(at, line)| format!("{at} {line}\n")).collect();
        write(&path("lines"), &lines.concat());
    };

    // Nothing that is older than a day.
    log(&[
        (now() - 90_000, "FAIL: long ago"),
        (now() - 60, "FAIL: first"),
        (now() - 50, "[work] DRIFT: second"),
    ]);
    assert!(run());
    let mail = mailed();
    let (head, body) = mail.split_once("\n\n").expect("a head and a body");
    assert!(head.starts_with("To: ") && head.contains("\nSubject: vault-token-renew failed on "), "{mail}");
    assert_eq!(body, "FAIL: first\n[work] DRIFT: second\n\nWhat to do now: vault-token-renew status --all\n");
    // Each once.
    assert!(run());
    assert_eq!(mailed(), "");
    // What cannot be mailed is not forgotten.
    let mark = fs::read_to_string(path(".local/state/vault-token-renew.mailed")).expect("its mark");
    log(&[(mark.trim().parse::<u64>().expect("a time") + 1, "FAIL: third")]);
    while now() <= mark.trim().parse::<u64>().expect("a time") + 1 {
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    write(&path("no-mail"), "");
    assert!(!run());
    fs::remove_file(path("no-mail")).expect("mail works again");
    assert!(run());
    assert!(mailed().contains("\n\nFAIL: third\n\n"));
    // Nor what cannot be read.
    write(&path("bin/journalctl"), "#!/bin/sh\nexit 1\n");
    let before = fs::read_to_string(path(".local/state/vault-token-renew.mailed")).expect("its mark");
    assert!(!run());
    assert_eq!(fs::read_to_string(path(".local/state/vault-token-renew.mailed")).expect("its mark"), before);
    assert_eq!(mailed(), "");
}
