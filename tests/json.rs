//! What `--json` prints: one object for every outcome, with the same names in each.

#![cfg(test)]

mod support;

use std::fs;

use serde_json::{Value, json};
use support::sandbox::{Sandbox, unstamped};
use support::{NOWHERE, OUR_NAME, PERIOD, server};

fn names(object: &Value) -> Vec<&str> {
    object.as_object().expect("an object").keys().map(String::as_str).collect()
}

#[track_caller]
fn assert_fields(object: &Value, expected: Value) {
    let Value::Object(expected) = expected else { panic!("an object") };
    for (name, value) in expected {
        assert_eq!(object[&name], value, "{name} in {object}");
    }
}

#[test]
fn a_pass_is_one_object_and_the_line_still_goes_to_the_log() {
    let server = server();
    let home = Sandbox::holding(&server.admin_login().token);
    let stale = server.mint_ours();
    let run = home.run(&server, &["--json"]).expect(0);
    assert_eq!(run.stderr, "");
    let healed = run.object();
    assert_fields(
        &healed,
        json!({
            "verb": "pass", "dry_run": false, "outcome": "healed", "reason": null, "hint": null, "warnings": [],
            "token_file": home.token_file().to_str().unwrap(),
            "identity": {
                "display_name": OUR_NAME, "required_policy": "vault-admin",
                "policies": ["vault-admin", "sops-admin"], "period": PERIOD,
            },
            "sweep": {
                "end": "complete", "reason": null, "revoked": [stale.accessor],
                "may_not_be_revoked": [], "could_not_be_looked_at": [],
            },
        }),
    );
    assert_eq!(unstamped(home.log().trim_end()), healed["message"], "the line goes to the log");
    assert_fields(&healed["token"], json!({"display_name": OUR_NAME, "ours": true}));
    assert!(healed["token"]["ttl"].as_u64().unwrap() > PERIOD - 60);
    let end = healed["token"]["expires_at"].as_str().unwrap();
    assert!(end.ends_with('Z') && end.len() == 20, "{end}");

    let renewed = home.run(&server, &["--json", "--detailed-exitcode"]).expect(10).object();
    assert_fields(&renewed, json!({"outcome": "renewed", "sweep": null}));
    assert_eq!(renewed["token"]["ttl"], PERIOD);
    assert_eq!(names(&renewed), names(&healed), "the names do not depend on the outcome");
}

#[test]
fn what_goes_wrong_is_in_the_object_and_on_standard_error() {
    let server = server();
    let home = Sandbox::holding(&server.weak_login().token);
    let run = home.run_with(&[("VAULT_TOKEN", "x")], &server, &["--json"]).expect(1);
    let drift = run.object();
    assert_fields(&drift, json!({"outcome": "drift", "reason": "denied", "sweep": null}));
    assert_fields(&drift["token"], json!({"display_name": "userpass-woodpecker", "ours": false}));
    let warning =
        "VAULT_TOKEN is set and ignored here; the vault command line uses it instead of the token file";
    assert_eq!(drift["warnings"], json!([warning]));
    let complaints = run.complaints();
    assert_eq!(complaints[0], format!("WARN: {warning}"));
    assert_eq!(complaints[1], drift["message"]);

    let outage = home.run(NOWHERE, &["--json"]).expect(1).object();
    assert_fields(&outage, json!({"outcome": "failed", "reason": "unreachable"}));
    assert!(outage["hint"].as_str().unwrap().contains("VAULT_ADDR"), "{outage}");
    fs::remove_file(home.token_file()).unwrap();
    let missing = home.run(&server, &["--json"]).expect(1).object();
    assert_fields(&missing, json!({"outcome": "failed", "reason": "token_file_missing", "token": null}));
    home.put("s.no-such-token-anywhere");
    let dead = home.run(&server, &["--json"]).expect(1).object();
    assert_fields(&dead, json!({"outcome": "failed", "reason": "token_dead", "token": null}));
    assert_eq!(names(&dead), names(&drift));
}

#[test]
fn a_dry_run_and_a_sweep_are_objects_too() {
    let server = server();
    let home = Sandbox::holding(&server.admin_login().token);
    let stale = server.mint_ours();
    let before = home.snapshot();
    let foreseen = home.run(&server, &["--dry-run", "--json"]).expect(0).object();
    assert_eq!(home.snapshot(), before);
    assert_fields(
        &foreseen,
        json!({"verb": "pass", "dry_run": true, "outcome": "would_heal", "reason": null}),
    );
    assert_fields(&foreseen["token"], json!({"display_name": "userpass-admin", "ours": false}));
    assert_eq!(foreseen["sweep"]["would_revoke"], json!([stale.accessor]));
    assert!(foreseen["sweep"].get("revoked").is_none(), "{foreseen}");
    assert!(foreseen["message"].as_str().unwrap().contains("would mint"), "{foreseen}");

    home.put(&server.mint_ours().token);
    let foreseen = home.run(&server, &["sweep", "--dry-run", "--json"]).expect(0).object();
    assert_fields(&foreseen, json!({"verb": "sweep", "dry_run": true, "outcome": "would_sweep"}));
    let swept = home.run(&server, &["sweep", "--json"]).expect(0).object();
    assert_fields(&swept, json!({"verb": "sweep", "dry_run": false, "outcome": "swept"}));
    assert_eq!(swept["sweep"]["revoked"], json!([stale.accessor]));
    assert_fields(&swept["token"], json!({"display_name": OUR_NAME, "ours": true}));
    assert_eq!(names(&swept), names(&foreseen));

    home.put(&server.weak_login().token);
    let foreseen = home.run(&server, &["--dry-run", "--json"]).expect(1).object();
    assert_fields(&foreseen, json!({"outcome": "would_drift", "reason": "denied"}));
}

#[test]
fn wrong_settings_are_an_object_too() {
    let home = Sandbox::new();
    let run = home.run(NOWHERE, &["--json", "--period", "never"]).expect(2);
    let usage = run.object();
    assert_eq!(usage["outcome"], "usage");
    assert!(usage["message"].as_str().unwrap().contains("--period"), "{usage}");
    assert!(run.stderr.contains("--period"), "{run:?}");
}

#[test]
fn a_misspelt_command_line_is_an_object_too() {
    let home = Sandbox::new();
    for arguments in [&["--json", "--bogus"][..], &["status", "--json", "--min-ttl"], &["--json", "staus"]] {
        let run = home.run(NOWHERE, arguments).expect(2);
        let usage = run.object();
        assert_eq!(usage["outcome"], "usage");
        assert!(run.stderr.contains(usage["message"].as_str().unwrap()), "{run:?}");
    }
    assert_eq!(home.run(NOWHERE, &["--bogus"]).expect(2).stdout, "");
}
