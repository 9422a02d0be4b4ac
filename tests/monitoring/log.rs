//! What docs/monitoring.md tells people to do with the log.

use std::fs;
use std::process::Command;

use tempfile::TempDir;

use super::blocks::{file, write};
use super::documentation;
use super::support::now;
use super::support::user_manager::text;

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
