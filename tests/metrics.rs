//! The metrics file: what it counts of every outcome, and how it is written.

#![cfg(test)]
#![expect(clippy::disallowed_methods, reason = "tests write files as they like")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;
use support::sandbox::Sandbox;
use support::scripted::{Reply, Scripted};
use support::{DISPLAY_NAME, NOWHERE, PERIOD, dying, now, server};

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
    fn run(&self, server: &(impl AsRef<str> + ?Sized), arguments: &[&str], status: i32) {
        let arguments: Vec<&str> =
            arguments.iter().chain(&["--metrics-file", self.file.to_str().unwrap()]).copied().collect();
        self.home.run(server, &arguments).expect(status);
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
    metrics.run(&server, &[], 0);
    assert_eq!(metrics.counts(), [0, 1, 0, 1, 0, 0, 1, 0]);
    let end = metrics.time("expiry");
    assert!((start + PERIOD - 5..=now() + PERIOD).contains(&end), "{end}");
    assert!(metrics.value("vault_token_ttl_seconds", "") > PERIOD - 60);
    assert!(metrics.time("last_success") >= start);
    // A renewal.
    metrics.run(&server, &[], 0);
    assert_eq!(metrics.counts(), [1, 1, 0, 1, 0, 0, 1, 0]);
    // A weak token that dies soon.
    let weak = json!({"policies": ["reader"], "ttl": "1h"});
    home.put(&server.mint_as_root(weak).token);
    metrics.run(&server, &[], 1);
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
    metrics.run(&server, &[], 0);
    assert_eq!(metrics.counts()[..6], [1, 2, 1, 2, 1, 0]);
    // A mint that fails for another reason than a denial.
    home.put(&server.admin_login().token);
    let broken = Scripted::in_front_of(&server, |request, _| {
        let error = Reply::Json(500, r#"{"errors":["internal error"]}"#.to_owned());
        (request.call() == "auth/token/create").then_some(error)
    });
    metrics.run(&broken, &[], 1);
    assert_eq!(metrics.counts()[..6], [1, 2, 1, 2, 1, 1]);
    assert_eq!(metrics.counts()[7], 1);
    // A dead token.
    home.put("s.no-such-token-anywhere");
    metrics.run(&server, &[], 1);
    assert_eq!(metrics.counts()[..6], [1, 3, 1, 2, 1, 1]);
    assert_eq!([metrics.time("expiry"), metrics.value("vault_token_ttl_seconds", "")], [0, 0]);
    assert_eq!(metrics.counts()[7], 0);
}

#[test]
fn a_token_file_that_cannot_be_read_at_the_moment_is_not_told_as_gone() {
    let server = server();
    let home = Sandbox::holding(&server.mint_ours().token);
    let metrics = Metrics::of(&home);
    metrics.run(&server, &[], 0);
    let end = metrics.time("expiry");
    fs::rename(home.token_file(), home.path().join("away")).unwrap();
    std::os::unix::fs::symlink(".vault-token", home.token_file()).unwrap();
    metrics.run(&server, &[], 1);
    assert_eq!((metrics.time("expiry"), metrics.counts()[1]), (end, 1));
    fs::remove_file(home.token_file()).unwrap();
    metrics.run(&server, &[], 1);
    assert_eq!(metrics.time("expiry"), 0);
}

#[test]
fn a_dying_token_that_may_not_mint_is_counted_as_both() {
    let server = server();
    server.write_policy("weak-admin", "path \"secret/*\" { capabilities = [\"read\"] }");
    let home = Sandbox::holding(&server.mint_as_root(dying("weak-admin")).token);
    let metrics = Metrics::of(&home);
    metrics.run(&server, &["--display-name", DISPLAY_NAME, "--policy", "weak-admin"], 1);
    assert_eq!(metrics.counts(), [0, 0, 1, 0, 1, 0, 0, 0]);
}

#[test]
fn the_verb_sweep_adds_to_the_metrics_and_is_no_pass() {
    let server = server();
    let home = Sandbox::holding(&server.mint_ours().token);
    server.mint_ours();
    let metrics = Metrics::of(&home);
    metrics.run(&server, &["sweep"], 0);
    assert_eq!(metrics.counts(), [0, 0, 0, 0, 0, 0, 1, 0]);
    assert_eq!(metrics.time("last_run"), 0);
    assert!(metrics.time("expiry") > now());
    // What it learns of the token it tells, too.
    fs::remove_file(home.token_file()).unwrap();
    metrics.run(&server, &["sweep"], 1);
    assert_eq!(metrics.time("expiry"), 0);
}

#[test]
fn a_dry_run_writes_no_metrics() {
    let server = server();
    let home = Sandbox::holding(&server.mint_ours().token);
    home.run(&server, &["--dry-run", "--metrics-file", "vault.prom"]).expect(0);
    assert_eq!(home.names(), [".vault-token"]);
}

#[test]
fn metrics_that_cannot_be_written_are_a_warning() {
    let server = server();
    let home = Sandbox::holding(&server.mint_ours().token);
    let run = home.run(&server, &["--metrics-file", "~/no/such/folder/vault.prom"]).expect(0);
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
        let run = home.run(&server, &["--metrics-file", &format!("~/{name}")]).expect(0);
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
    metrics.run(&server, &[], 0);
    let reader = fs::File::open(&metrics.file).unwrap();
    let (inode, text) = (reader.metadata().unwrap().ino(), metrics.text());
    let leftover = home.write(".vault.prom.renew-0123456789ab", "left by a killed run");
    metrics.run(&server, &[], 0);
    assert_ne!(fs::metadata(&metrics.file).unwrap().ino(), inode);
    assert_eq!(std::io::read_to_string(reader).unwrap(), text, "whoever reads has a whole file");
    assert!(!Path::new(&leftover).exists(), "what a killed run left stays for ever");
}

#[test]
fn a_second_token_has_a_profile_of_its_own() {
    let server = server();
    let home = Sandbox::holding(&server.mint_ours().token);
    let settings = format!("metrics_file = \"{}/work.prom\"\n", home.path().display());
    let config = home.write("work.toml", settings);
    home.run(&server, &["--config", &config]).expect(0);
    let text = fs::read_to_string(home.path().join("work.prom")).unwrap();
    assert!(text.contains("vault_token_foreign{profile=\"work\",user=\"wizard\"} 0\n"), "{text}");
}
