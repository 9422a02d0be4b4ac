//! Each row of the behaviour matrix against a real OpenBao: what is in the token file, what the server
//! allows, and what a run makes of it.

#![cfg(test)]
#![expect(clippy::disallowed_methods, reason = "tests write and move files as they like")]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};

use serde_json::{Value, json};
use support::openbao::OpenBao;
use support::sandbox::{PROGRAM, Run, Sandbox, land};
use support::scripted::{Reply, Scripted};
use support::{DISPLAY_NAME, NOWHERE, OUR_NAME, RENEWED, ours, server, with};

#[test]
fn our_token_is_renewed_and_nothing_else_is_touched() {
    let server = server();
    let kept = server.mint_ours();
    let stray = server.mint_ours();
    let home = Sandbox::holding(&kept.token);
    let before = home.snapshot();
    let run = home.run(&server, &[]).expect(0);
    assert_eq!(run.said(), RENEWED);
    assert_eq!(run.stderr, "");
    assert_eq!(home.log(), run.stdout);
    assert_eq!(home.mode(".local/state/vault-token-renew.log"), 0o600);
    assert_eq!(home.snapshot()[".vault-token"], before[".vault-token"]);
    assert!(server.lookup_accessor(&stray.accessor).is_some(), "a renewal must not sweep");
    assert!(server.lookup(&kept.token).unwrap()["last_renewal_time"].as_u64().is_some());
}

#[test]
fn an_admin_login_is_healed_and_exactly_one_token_of_our_name_remains() {
    let server = server();
    let stale = [
        ours(),
        with(ours(), "policies", json!(["reader"])),
        with(ours(), "meta", json!({ "something": "else" })),
    ]
    .map(|order| server.mint_as_root(order).accessor);
    let others = [
        with(ours(), "display_name", "devvm-emo"),
        with(ours(), "display_name", "devvm-wizard-2"),
        with(ours(), "display_name", ""),
    ]
    .map(|order| server.mint_as_root(order));
    let login = server.admin_login();
    let another_login = server.userpass_login("emo", &["reader"], &[]);
    let home = Sandbox::holding(&login.token);
    let run = home.run(&server, &[]).expect(0);
    assert_eq!(
        run.said(),
        "HEALED: re-minted periodic token from foreign dn=\"userpass-admin\" (revoked 3 stale periodic \
         token(s))"
    );
    assert_eq!(run.stderr, "");
    let accessor = server.check_healed(&home);
    // What is remembered: this token, for the day it is stale, and the revoked ones for a second look.
    let mut noted = home.state();
    let second_look = noted["second_look"].take();
    assert_eq!(noted["history"].take()["last_run"]["ending"], "healed");
    assert!(stale.iter().all(|accessor| second_look.as_array().unwrap().contains(&json!(accessor))));
    let remembered = json!({
        "token_file": home.token_file(), "sweep_due": false, "sweep_denied": false, "kept": accessor,
        "second_look": null, "minted": [accessor], "hook_due": false, "history": null,
    });
    assert_eq!(noted, remembered);
    assert!(server.lookup(&login.token).is_some(), "the foreign token must live");
    assert!(server.lookup(&another_login.token).is_some());
    assert!(server.lookup(server.root_token()).is_some());
    for other in others {
        assert!(server.lookup_accessor(&other.accessor).is_some(), "other people's tokens must live");
    }
    // The file holds the raw token, without a newline.
    assert!(!home.token().ends_with('\n'));
    // And the next run has nothing to do but renew.
    let next = home.run(&server, &[]).expect(0);
    assert_eq!(next.said(), RENEWED);
}

#[test]
fn what_a_sweep_must_never_revoke_survives_it() {
    let server = server();
    let root =
        server.mint_as_root(json!({ "display_name": DISPLAY_NAME, "policies": ["root"], "no_parent": true }));
    let elsewhere = server.mint_as_root(with(ours(), "meta", json!({ "host": "laptop" })));
    // A login that happens to bear our name: mount `token-devvm`, user `wizard`.
    server.as_root("POST", "sys/auth/token-devvm", Some(json!({ "type": "userpass" })));
    let user = json!({ "password": "p", "token_policies": ["vault-admin"] });
    server.as_root("POST", "auth/token-devvm/users/wizard", Some(user));
    let body = Some(json!({ "password": "p" }));
    let login = server.request("POST", "auth/token-devvm/login/wizard", None, None, body).expect("login");
    let namesake = login.json["auth"]["accessor"].as_str().unwrap().to_owned();
    assert_eq!(server.lookup_accessor(&namesake).unwrap()["display_name"], OUR_NAME);

    let home = Sandbox::holding(&server.admin_login().token);
    let run = home.run(&server, &[]).expect(0);
    assert!(run.said().ends_with("(revoked 0 stale periodic token(s))"), "{run:?}");
    for accessor in [root.accessor, elsewhere.accessor, namesake] {
        assert!(server.lookup_accessor(&accessor).is_some());
    }
}

#[test]
fn a_weak_login_is_drift_and_nothing_changes() {
    let server = server();
    let login = server.weak_login();
    let home = Sandbox::holding(&login.token);
    let before: BTreeSet<String> = server.accessors().into_iter().collect();
    let file = home.snapshot();
    let run = home.run(&server, &[]).expect(1);
    assert_eq!(run.stdout, "");
    assert_eq!(
        run.complaint(),
        "DRIFT: ~/.vault-token is dn=\"userpass-woodpecker\" — heal denied, foreign token lacks create \
         authority (403: permission denied); investigate what wrote it. Manual re-mint: vault login \
         -method=oidc && vault-token-renew"
    );
    assert_eq!(home.log(), run.stderr);
    assert_eq!(home.snapshot()[".vault-token"], file[".vault-token"]);
    assert_eq!(server.accessors().into_iter().collect::<BTreeSet<_>>(), before);
    assert_eq!(home.run(&server, &["--detailed-exitcode"]).status, 3);
}

#[test]
fn tokens_that_vault_never_lets_mint_are_drift_however_mighty() {
    let server = server();
    for order in [
        json!({ "policies": ["vault-admin"], "type": "batch", "ttl": "1h" }),
        json!({ "policies": ["vault-admin"], "num_uses": 9 }),
    ] {
        let token = server.mint_as_root(with(order, "no_parent", true)).token;
        for arguments in [&["--dry-run"][..], &[]] {
            let home = Sandbox::holding(&token);
            let run = home.run(&server, arguments).expect(1);
            assert!(run.stderr.contains("heal denied"), "{run:?}");
        }
    }
}

#[test]
fn a_token_of_ours_with_limited_uses_is_dying_and_a_pass_costs_it_but_one() {
    let server = server();
    let limited = |uses: u64| server.mint_as_root(with(ours(), "num_uses", uses));
    let token = limited(9);
    let home = Sandbox::holding(&token.token);
    let dry = home.run(&server, &["--dry-run", "--detailed-exitcode"]).expect(5);
    assert!(dry.stderr.contains("which is dying: its number of uses is limited"), "{dry:?}");
    let run = home.run(&server, &["--detailed-exitcode"]).expect(5);
    assert!(run.complaint().contains("(tokens with a limited number of uses cannot mint); "), "{run:?}");
    assert_eq!(server.lookup_accessor(&token.accessor).expect("it lives")["num_uses"], 7);
    // Nor does a sweep spend the rest, and take the denials that follow for tokens that are gone.
    server.mint_ours();
    for arguments in [&["sweep", "--detailed-exitcode"][..], &["sweep", "--dry-run", "--detailed-exitcode"]] {
        home.run(&server, arguments).expect(5);
    }
    assert_eq!(server.lookup_accessor(&token.accessor).expect("it lives")["num_uses"], 5);

    let home = Sandbox::holding(&limited(1).token);
    let run = home.run(&server, &["--detailed-exitcode"]).expect(4);
    assert!(run.complaint().contains("its last use is spent; log in again"), "{run:?}");
}

/// A policy that may do what healing takes, with the right to mint on one path only.
fn healer(server: &OpenBao, name: &str, mint_path: &str, sweep: &str) {
    server.write_policy(
        name,
        &format!(
            r#"
            path "auth/token/{mint_path}" {{ capabilities = ["update", "sudo"] }}
            path "secret/*" {{ capabilities = ["read"] }}
            {sweep}
            "#
        ),
    );
}

const SWEEPER: &str = r#"
    path "auth/token/accessors" { capabilities = ["list", "sudo"] }
    path "auth/token/accessors/" { capabilities = ["list", "sudo"] }
    path "auth/token/lookup-accessor" { capabilities = ["update"] }
    path "auth/token/revoke-accessor" { capabilities = ["update"] }
"#;

#[test]
fn authority_on_either_mint_path_is_enough() {
    for path in ["create", "create-orphan"] {
        let server = server();
        healer(&server, "vault-admin", path, SWEEPER);
        server.mint_ours();
        let home = Sandbox::holding(&server.admin_login().token);
        let dry = home.run(&server, &["--dry-run"]).expect(0);
        assert!(dry.stdout.contains(&format!("the token may, on auth/token/{path}\n")), "{dry:?}");
        let run = home.run(&server, &[]).expect(0);
        assert!(run.said().ends_with("(revoked 1 stale periodic token(s))"), "{path}: {run:?}");
        server.check_healed(&home);
    }
}

#[test]
fn a_heal_whose_listing_is_denied_still_revokes_what_this_machine_minted() {
    let server = server();
    let revoker = r#"path "auth/token/revoke-accessor" { capabilities = ["update"] }"#;
    healer(&server, "vault-admin", "create", revoker);
    let stray = server.mint_ours();
    let home = Sandbox::holding(&server.admin_login().token);
    let run = home.run(&server, &[]).expect(0);
    assert_eq!(
        run.said(),
        "HEALED: re-minted periodic token from foreign dn=\"userpass-admin\" (accessor sweep skipped (list \
         denied))"
    );
    let first = server.accessor_in(&home);

    home.put(&server.admin_login().token);
    let run = home.run(&server, &[]).expect(0);
    assert!(
        run.said().ends_with("(accessor sweep skipped (list denied); revoked 1 stale periodic token(s))"),
        "{run:?}"
    );
    assert!(server.lookup_accessor(&first).is_none(), "what we minted ourselves is revoked");
    assert!(server.lookup_accessor(&stray.accessor).is_some(), "what we do not know is not");
}

#[test]
fn the_ways_to_sweep_differ_in_what_they_look_at() {
    let server = server();
    let home = Sandbox::holding(&server.admin_login().token);
    home.run(&server, &["--sweep=off"]).expect(0);
    let first = server.accessor_in(&home);
    let stray = server.mint_ours();

    home.put(&server.admin_login().token);
    let run = home.run(&server, &["--sweep=off"]).expect(0);
    assert!(run.said().ends_with("(accessor sweep off)"), "{run:?}");
    assert_eq!(server.named(OUR_NAME).len(), 3);

    home.put(&server.admin_login().token);
    let run = home.run(&server, &["--sweep=remembered"]).expect(0);
    assert!(run.said().ends_with("(revoked 2 stale periodic token(s))"), "{run:?}");
    assert!(server.lookup_accessor(&first).is_none());
    assert!(server.lookup_accessor(&stray.accessor).is_some());

    home.put(&server.admin_login().token);
    let run = home.run(&server, &["--sweep=walk"]).expect(0);
    assert!(run.said().ends_with("(revoked 2 stale periodic token(s))"), "{run:?}");
    server.check_healed(&home);
}

#[test]
fn a_dead_token_needs_a_login_and_is_left_where_it_is() {
    let server = server();
    let minted = server.mint_ours();
    server.revoke_accessor(&minted.accessor);
    for token in [minted.token.as_str(), "s.never-existed", "nonsense"] {
        let home = Sandbox::holding(token);
        let run = home.run(&server, &[]).expect(1);
        assert_eq!(
            run.complaint(),
            format!(
                "FAIL: token lookup: {}/v1/auth/token/lookup-self: the token in ~/.vault-token is dead or \
                 blocked (403: permission denied), or of another server; log in again: vault login \
                 -method=oidc && vault-token-renew",
                server.address()
            )
        );
        assert_eq!(home.token(), token);
        assert_eq!(home.run(&server, &["--detailed-exitcode"]).status, 4);
    }
}

#[test]
fn a_sealed_server_is_an_outage() {
    let server = server();
    let minted = server.mint_ours();
    let home = Sandbox::holding(&minted.token);
    server.seal();
    let run = home.run(&server, &[]).expect(1);
    assert_eq!(run.complaint(), format!("FAIL: token lookup: {}: 503: Vault is sealed", server.address()));
    assert_eq!(run.hints(), ["unseal the server; the token file is as it was"]);
    assert_eq!(home.run(&server, &["--detailed-exitcode"]).status, 75);
    assert_eq!(home.token(), minted.token);
    server.unseal();
    home.run(&server, &[]).expect(0);
}

#[test]
fn an_unreachable_server_is_an_outage() {
    let home = Sandbox::holding("s.whatever");
    let run = home.run(NOWHERE, &[]).expect(1);
    assert_eq!(run.complaint(), format!("FAIL: token lookup: {NOWHERE}: connection refused"));
    assert_eq!(run.hints(), ["check that the server is up and that VAULT_ADDR is right"]);
    assert_eq!(home.run(NOWHERE, &["--detailed-exitcode"]).status, 75);
    assert_eq!(home.run(NOWHERE, &["--dry-run"]).status, 1);
    assert_eq!(home.token(), "s.whatever");
}

#[test]
fn what_is_no_token_file_fails_without_a_request_and_is_left_alone() {
    let server = Scripted::start(|_, _| Reply::Json(500, "{}".to_owned()));
    let large = vec![b'x'; 65_537];
    for (contents, reason, status) in [
        (&b""[..], "empty", 4),
        (b" \n\n", "empty", 4),
        (b"two words", "not a token: it holds blanks or unprintable bytes", 1),
        (b"\xff\xfe\0\x01", "not a token: it holds blanks or unprintable bytes", 1),
        (large.as_slice(), "larger than 64 KiB, so not a token", 1),
    ] {
        let home = Sandbox::new();
        fs::write(home.token_file(), contents).unwrap();
        home.chmod(0o600);
        let run = home.run(&server, &[]).expect(1);
        assert_eq!(run.complaint(), format!("FAIL: token file: ~/.vault-token: {reason}"));
        assert_eq!(home.run(&server, &["--detailed-exitcode"]).status, status);
        assert_eq!(fs::read(home.token_file()).unwrap(), contents);
    }
    let home = Sandbox::new();
    let run = home.run(&server, &[]).expect(1);
    assert_eq!(run.complaint(), "FAIL: token file: ~/.vault-token: no such file");
    assert_eq!(run.hints(), ["log in: vault login -method=oidc && vault-token-renew"]);
    assert_eq!(home.run(&server, &["--detailed-exitcode"]).status, 4);
    fs::create_dir(home.token_file()).unwrap();
    let run = home.run(&server, &[]).expect(1);
    assert_eq!(run.complaint(), "FAIL: token file: ~/.vault-token: not a regular file");
    assert_eq!(server.requests().len(), 0);
}

#[test]
fn a_loose_mode_is_tightened_with_a_warning() {
    let server = server();
    let home = Sandbox::holding(&server.mint_ours().token);
    home.chmod(0o644);
    let run = home.run(&server, &[]).expect(0);
    assert_eq!(
        run.complaint(),
        "WARN: ~/.vault-token had mode 0644, so other users could read the token; it is 0600 now"
    );
    assert_eq!(home.mode(".vault-token"), 0o600);
    let lines = home.logged();
    assert_eq!(lines.len(), 2, "warnings stand before the line of the pass");
    assert!(lines[0].starts_with("WARN: ") && lines[1].starts_with("OK renewed"), "{lines:?}");
}

#[test]
fn a_dying_token_of_ours_is_healed_with_its_own_authority() {
    let endings = [
        (with(with(ours(), "period", 0), "ttl", "2h"), "it has no period"),
        (with(ours(), "renewable", false), "it is not renewable"),
        (with(ours(), "explicit_max_ttl", "1h"), "its explicit maximum is near"),
    ];
    for (order, why) in endings {
        let server = server();
        let dying = server.mint_as_root(order);
        let home = Sandbox::holding(&dying.token);
        let dry = home.run(&server, &["--dry-run"]).expect(0);
        let run = home.run(&server, &[]).expect(0);
        assert!(run.complaints().iter().any(|line| line.contains(&format!("is dying: {why}"))), "{run:?}");
        assert_eq!(
            run.said(),
            format!(
                "HEALED: re-minted periodic token from dying dn=\"{OUR_NAME}\" (revoked 1 stale periodic \
                 token(s))"
            )
        );
        server.check_healed(&home);
        assert!(server.lookup(&dying.token).is_none(), "the dying token is a leftover");
        assert!(dry.stdout.contains(&format!("is dying: {why}")), "{dry:?}");
        assert!(dry.stdout.contains("would revoke 1 stale periodic token(s): "), "{dry:?}");
    }
}

#[test]
fn a_cap_of_the_server_below_the_period_is_outlived_with_a_warning() {
    let server = server();
    let home = Sandbox::holding(&server.mint_ours().token);
    server.cap_leases("168h");
    let run = home.run(&server, &[]).expect(0);
    assert_eq!(run.said(), format!("OK renewed (dn={OUR_NAME} ttl=604800s)"));
    assert!(run.complaint().starts_with("WARN: the server warns: \"period of "), "{run:?}");
}

#[test]
fn a_dying_token_without_authority_tells_how_long_it_has() {
    let server = server();
    server.write_policy("vault-admin", r#"path "secret/*" { capabilities = ["read"] }"#);
    let order = with(with(ours(), "renewable", false), "explicit_max_ttl", "1h");
    let home = Sandbox::holding(&server.mint_as_root(order).token);
    let token = home.token();
    let run = home.run(&server, &[]).expect(1);
    let line = *run.complaints().last().unwrap();
    let (start, rest) = line.split_once("(403: permission denied); ").expect(line);
    assert_eq!(
        start,
        format!(
            "FAIL: renewal: our token dn=\"{OUR_NAME}\" is dying (it is not renewable) and may not mint \
             its successor "
        )
    );
    let (seconds, advice) = rest.split_once("s left; ").expect(line);
    assert!((3500..=3600).contains(&seconds.parse::<u64>().unwrap()), "{line}");
    assert_eq!(advice, "replace it before then: vault login -method=oidc && vault-token-renew");
    assert_eq!(home.token(), token);
    assert_eq!(home.run(&server, &["--detailed-exitcode"]).status, 5);
}

#[test]
fn a_dry_run_leaves_file_home_and_server_byte_for_byte_as_they_were() {
    let server = server();
    let stray = server.mint_ours();
    let kept = server.mint_ours();
    let admin = server.admin_login();
    let weak = server.weak_login();
    let everything = || -> BTreeSet<String> {
        server
            .accessors()
            .iter()
            .map(|accessor| {
                let mut info = server.lookup_accessor(accessor).unwrap();
                info["ttl"] = Value::Null;
                info.to_string()
            })
            .collect()
    };
    for (token, arguments, status, words) in [
        (&kept, &["--dry-run"][..], 0, vec!["would renew"]),
        (
            &admin,
            &["--dry-run"],
            0,
            vec![
                "would mint token-devvm-wizard",
                "would replace ~/.vault-token",
                "would revoke 2 stale periodic token(s): ",
            ],
        ),
        (
            &weak,
            &["--dry-run"],
            1,
            vec![
                "would fail: heal denied, foreign token lacks create authority (auth/token/create: deny; \
                 auth/token/create-orphan: deny)",
                "Manual re-mint: vault login",
            ],
        ),
        (&kept, &["sweep", "--dry-run"], 0, vec!["would revoke 1 stale periodic token(s): "]),
        (&admin, &["sweep", "--dry-run"], 1, vec!["not our token"]),
    ] {
        let home = Sandbox::holding(&token.token);
        // A loose mode must stay, too.
        home.chmod(0o640);
        let (files, tokens) = (home.snapshot(), everything());
        let run = home.run(&server, arguments).expect(status);
        let said = run.all();
        for word in words {
            assert!(said.contains(word), "{word:?}: {said}");
        }
        assert!(!said.contains("resume"), "no sweep is due: {said}");
        if said.contains("would revoke 1") {
            assert!(said.contains(&stray.accessor[..8]), "{said}");
        }
        assert_eq!(home.snapshot(), files, "{arguments:?}");
        assert_eq!(everything(), tokens, "{arguments:?}");
    }
}

#[test]
fn a_dry_run_exits_in_detail_as_the_real_run_would() {
    let server = server();
    for (token, status) in [
        (server.mint_ours().token, 10),
        (server.admin_login().token, 11),
        (server.weak_login().token, 3),
        ("s.dead".to_owned(), 4),
    ] {
        for arguments in [&["--dry-run", "--detailed-exitcode"][..], &["--detailed-exitcode"]] {
            assert_eq!(Sandbox::holding(&token).run(&server, arguments).status, status, "{arguments:?}");
        }
    }
}

#[test]
fn the_verb_sweep_revokes_strays_and_keeps_the_token_in_the_file() {
    let server = server();
    let kept = server.mint_ours();
    let strays = [server.mint_ours(), server.mint_ours()];
    let home = Sandbox::holding(&kept.token);
    let run = home.run(&server, &["sweep"]).expect(0);
    let (count, accessors) = run.said().split_once(": ").unwrap();
    assert_eq!(count, "OK revoked 2 stale periodic token(s)");
    for stray in &strays {
        assert!(accessors.contains(&format!("{}…", &stray.accessor[..8])), "{accessors}");
        assert!(!accessors.contains(&stray.accessor), "accessors are shortened");
    }
    assert_eq!(server.named(OUR_NAME), [kept.accessor]);
    assert_eq!(
        home.run(&server, &["sweep", "--detailed-exitcode"]).expect(0).said(),
        "OK revoked 0 stale periodic token(s)"
    );
}

#[test]
fn the_verb_sweep_refuses_to_work_without_our_token() {
    let server = server();
    let stray = server.mint_ours();
    let home = Sandbox::holding(&server.admin_login().token);
    let run = home.run(&server, &["sweep"]).expect(1);
    assert_eq!(
        run.complaint(),
        "FAIL: sweep: ~/.vault-token is dn=\"userpass-admin\", not our token; without ours to keep nothing \
         is revoked"
    );
    assert!(server.lookup_accessor(&stray.accessor).is_some());
    let run = home.run(&server, &["sweep", "--sweep=off"]).expect(2);
    assert!(run.stderr.contains("to sweep all the same: --sweep walk"), "{run:?}");
}

#[test]
fn the_verb_sweep_fails_where_it_may_not_list() {
    let server = server();
    healer(&server, "vault-admin", "create", "");
    let home = Sandbox::holding(&server.mint_ours().token);
    let run = home.run(&server, &["sweep"]).expect(1);
    assert_eq!(run.complaint(), "FAIL: sweep: accessor sweep skipped (list denied)");
}

#[test]
fn an_interrupted_sweep_is_finished_by_the_next_pass() {
    let server = server();
    let stray = server.mint_ours();
    let home = Sandbox::holding(&server.admin_login().token);
    let flaky = server.losing_the_list();
    let run = home.run(&flaky, &[]).expect(0);
    let cut_short = "(revoked 0 stale periodic token(s); accessor sweep cut short after 0 of 0 accessors: \
                     accessor list: ";
    assert!(run.said().contains(cut_short), "{run:?}");
    assert!(server.lookup_accessor(&stray.accessor).is_some());
    let dry = home.run(&server, &["--dry-run"]).expect(0);
    assert!(dry.stdout.contains("would resume the sweep"), "{dry:?}");
    let run = home.run(&server, &[]).expect(0);
    assert_eq!(
        run.said(),
        format!("{RENEWED}; resumed an earlier sweep (revoked 1 stale periodic token(s))")
    );
    server.check_healed(&home);
    let run = home.run(&server, &[]).expect(0);
    assert_eq!(run.said(), RENEWED, "the marker is gone");
}

#[test]
fn a_login_that_lands_during_a_heal_is_seen() {
    for (second, status, line) in [
        ("admin", 0, "HEALED: re-minted periodic token from foreign dn=\"userpass-admin2\""),
        ("weak", 1, "DRIFT: ~/.vault-token is dn=\"userpass-weak\""),
    ] {
        let server = server();
        let home = Sandbox::holding(&server.admin_login().token);
        let late = match second {
            "admin" => server.userpass_login("admin2", &["vault-admin"], &[]),
            _ => server.userpass_login("weak", &["reader"], &[]),
        };
        let (file, token) = (home.token_file(), late.token.clone());
        let during = Scripted::in_front_of(&server, move |request, _| {
            // The first mint brings the login: it lands between lookup and swap.
            if request.call() == "auth/token/create" && fs::read_to_string(&file).unwrap() != token {
                land(&file, &token);
            }
            None
        });
        home.guard(&late.token);
        let run = home.run(&during, &[]).expect(status);
        assert!(run.all().contains(line), "{run:?}");
        assert!(server.lookup(&late.token).is_some(), "the late login must live");
        if second == "admin" {
            server.check_healed(&home);
        } else {
            assert_eq!(home.token(), late.token, "the late login is kept");
            assert_eq!(server.named(OUR_NAME), [""; 0], "nothing is stranded");
            // Nor is a sweep due that never began: a renewal that follows is nothing but that.
            let stray = server.mint_ours();
            home.put(&server.mint_ours().token);
            let run = home.run(&server, &[]).expect(0);
            assert_eq!(run.said(), RENEWED);
            assert!(server.lookup_accessor(&stray.accessor).is_some());
        }
    }
}

/// The program where nothing can be written to any file, as on a full disk. Not even root can.
fn on_a_full_disk(server: &OpenBao, home: &Sandbox) -> Run {
    let mut command = home.command_of("/bin/sh", server.address());
    home.finish(command.args(["-c", r#"trap '' XFSZ; ulimit -f 0; exec "$0""#, PROGRAM]))
}

#[test]
fn a_token_that_cannot_be_stored_is_revoked() {
    let server = server();
    let home = Sandbox::holding(&server.admin_login().token);
    let token = home.token();
    let run = on_a_full_disk(&server, &home).expect(1);
    let line = "FAIL: token file: ~/.vault-token: cannot write beside it: file too large; it is as it was";
    assert_eq!(run.complaints().last(), Some(&line), "{run:?}");
    assert!(run.stderr.contains("/vault-token-renew: the state cannot be saved: file too large"), "{run:?}");
    assert_eq!(run.hints(), ["make the directory of the token file writable, or free some space on it"]);
    assert_eq!(home.token(), token);
    assert_eq!(home.names(), [".local", ".vault-token"]);
    assert_eq!(server.named(OUR_NAME), [""; 0], "the minted token is revoked");
}

#[test]
fn a_renewal_succeeds_although_nothing_can_be_written() {
    let server = server();
    let home = Sandbox::holding(&server.mint_ours().token);
    let run = on_a_full_disk(&server, &home).expect(0);
    assert_eq!(run.said(), RENEWED);
    assert_eq!(
        run.complaints(),
        [
            "WARN: the log file ~/.local/state/vault-token-renew.log cannot be written: file too large",
            "WARN: ~/.local/state/vault-token-renew: the state cannot be saved: file too large"
        ]
    );
}

#[test]
fn files_are_the_owners_alone_whatever_the_mask() {
    let server = server();
    for mask in ["0000", "0777"] {
        let home = Sandbox::holding(&server.admin_login().token);
        let mut command = home.command_of("/bin/sh", server.address());
        home.finish(command.args(["-c", &format!("umask {mask}; exec \"$0\""), PROGRAM])).expect(0);
        for (name, (mode, ..)) in home.snapshot() {
            let expected = if mode & 0o170_000 == 0o040_000 { 0o700 } else { 0o600 };
            assert_eq!(mode & 0o7777, expected, "{name} under the mask {mask}");
        }
    }
}

#[test]
fn a_token_file_of_another_user_is_not_used() {
    let home = Sandbox::holding("s.whatever");
    let mine = fs::metadata(home.token_file()).unwrap().uid();
    // Root can give a file away; anybody else can look at one of root's.
    let (file, owner) = if mine == 0 {
        std::os::unix::fs::chown(home.token_file(), Some(65_534), None).unwrap();
        (home.token_file(), 65_534)
    } else {
        ("/etc/passwd".into(), 0)
    };
    let run = home.run("http://127.0.0.1:9", &["--token-file", file.to_str().unwrap()]).expect(1);
    assert!(run.complaint().ends_with(&format!("it belongs to another user (uid {owner})")), "{run:?}");
}

#[test]
fn a_token_of_our_name_without_our_policy_is_a_leftover_after_the_heal_and_the_dry_run_says_so() {
    let server = server();
    server.write_policy("minter", r#"path "auth/token/*" { capabilities = ["update", "list", "sudo"] }"#);
    let former = server.mint_as_root(with(ours(), "policies", json!(["minter"])));
    let home = Sandbox::holding(&former.token);
    let dry = home.run(&server, &["--dry-run"]).expect(0);
    assert!(dry.stdout.contains("holds a foreign token"), "{dry:?}");
    assert!(dry.stdout.contains("would revoke 1 stale periodic token(s): "), "{dry:?}");
    assert!(!dry.stdout.contains("alive"), "{dry:?}");
    let run = home.run(&server, &[]).expect(0);
    assert!(run.said().ends_with("(revoked 1 stale periodic token(s))"), "{run:?}");
    assert!(server.lookup(&former.token).is_none());
    server.check_healed(&home);
}

#[test]
fn a_dry_run_that_may_not_ask_does_not_promise_a_heal() {
    let server = server();
    let order = json!({ "policies": ["reader"], "no_default_policy": true, "no_parent": true });
    server.write_policy("reader", r#"path "auth/token/lookup-self" { capabilities = ["read"] }"#);
    let home = Sandbox::holding(&server.mint_as_root(order).token);
    let dry = home.run(&server, &["--dry-run", "--detailed-exitcode"]).expect(1);
    assert!(dry.stderr.ends_with("; Vault does not tell whether the token may\n"), "{dry:?}");
    assert!(home.run(&server, &[]).expect(1).complaint().starts_with("DRIFT"));
    // Nor does it deny one.
    server.write_policy(
        "minter",
        r#"path "auth/token/lookup-self" { capabilities = ["read"] }
           path "auth/token/create" { capabilities = ["update", "sudo"] }"#,
    );
    let order = json!({ "policies": ["minter"], "no_default_policy": true, "no_parent": true });
    let home = Sandbox::holding(&server.mint_as_root(order).token);
    let dry = home.run(&server, &["--dry-run", "--json"]).expect(1);
    assert!(dry.stdout.contains(r#""outcome":"would_try","reason":"not_told""#), "{dry:?}");
    let status = home.run(&server, &["status"]).expect(1);
    assert!(status.stdout.contains("not your token\n   fix: vault-token-renew\n"), "{status:?}");
    home.run(&server, &["--detailed-exitcode"]).expect(11);
}

#[test]
fn a_dry_run_foresees_that_a_renewal_or_a_revocation_is_denied() {
    let server = server();
    server.write_policy(
        "vault-admin",
        r#"path "auth/token/lookup-self" { capabilities = ["read"] }
        path "sys/capabilities-self" { capabilities = ["update"] }"#,
    );
    let bare = with(ours(), "no_default_policy", true);
    let home = Sandbox::holding(&server.mint_as_root(bare).token);
    let dry = home.run(&server, &["--dry-run", "--detailed-exitcode"]).expect(1);
    assert!(
        dry.stderr.contains("\nwould fail: the token may not renew itself (auth/token/renew-self"),
        "{dry:?}"
    );
    let run = home.run(&server, &["--detailed-exitcode"]).expect(1);
    assert!(run.complaint().starts_with("FAIL: renewal: "), "{run:?}");

    server.write_policy("vault-admin", &SWEEPER.replace("revoke-accessor", "elsewhere"));
    let home = Sandbox::holding(&server.mint_ours().token);
    let stale = server.mint_ours();
    let dry = home.run(&server, &["sweep", "--dry-run", "--json"]).expect(1);
    let foreseen = dry.object();
    let sweep = &foreseen["sweep"];
    assert_eq!(sweep["would_revoke"], json!([]), "{foreseen}");
    assert!(sweep["may_not_be_revoked"].as_array().unwrap().contains(&json!(stale.accessor)), "{foreseen}");
    assert_eq!(foreseen["token"]["display_name"], OUR_NAME);
    let run = home.run(&server, &["sweep"]).expect(1);
    assert!(run.complaint().contains("may not be revoked (403: permission denied)"), "{run:?}");
    // The second look of the next run revokes nothing either, and has nothing to say.
    let dry = home.run(&server, &["--dry-run"]).expect(0);
    assert!(!dry.stdout.contains("would revoke"), "{dry:?}");
    assert!(home.run(&server, &[]).expect(0).said() == RENEWED);
}

#[test]
fn a_token_whose_role_is_gone_is_dying() {
    let server = server();
    let role = json!({ "orphan": true, "allowed_policies": "vault-admin,sops-admin", "renewable": true });
    server.as_root("POST", "auth/token/roles/r1", Some(role));
    let minted = server.as_root("POST", "auth/token/create/r1", Some(ours()));
    let home = Sandbox::holding(minted.json["auth"]["client_token"].as_str().unwrap());
    server.as_root("DELETE", "auth/token/roles/r1", None);
    let run = home.run(&server, &[]).expect(0);
    assert!(run.said().starts_with("HEALED: re-minted periodic token from dying"), "{run:?}");
    server.check_healed(&home);
}

#[test]
fn runs_that_keep_their_state_in_different_places_do_not_kill_each_others_token() {
    let server = server();
    let home = Sandbox::new();
    for round in 0..8 {
        home.put(&server.admin_login().token);
        let start = |place: &str| {
            let place = home.path().join(place);
            home.start(&server, &[("XDG_STATE_HOME", place.to_str().unwrap())])
        };
        for run in ["one", "two", "three"].map(start) {
            home.wait(run).expect(0);
        }
        assert!(server.lookup(&home.token()).is_some(), "the token in the file is dead in round {round}");
        server.check_minted(&home);
    }
}

#[test]
fn a_sweep_that_is_due_waits_while_sweeps_are_switched_off() {
    let server = server();
    let home = Sandbox::holding(&server.admin_login().token);
    let flaky = server.losing_the_list();
    home.run(&flaky, &[]).expect(0);
    assert_eq!(home.run(&server, &["--sweep=off"]).expect(0).said(), RENEWED);
    home.put(&server.admin_login().token);
    home.run(&server, &["--sweep=off"]).expect(0);
    assert!(home.run(&server, &[]).expect(0).said().contains("; resumed an earlier sweep (revoked 1 "));
    server.check_healed(&home);
}

#[test]
fn a_symbolic_link_stays_a_link() {
    let server = server();
    let home = Sandbox::holding(&server.admin_login().token);
    fs::create_dir(home.path().join("real")).unwrap();
    fs::rename(home.token_file(), home.path().join("real/token")).unwrap();
    symlink("real/token", home.token_file()).unwrap();
    let run = home.run(&server, &[]).expect(0);
    assert!(run.said().starts_with("HEALED"), "{run:?}");
    assert!(home.token_file().is_symlink());
    assert!(server.lookup(&home.token()).is_some());
    assert_eq!(fs::read_dir(home.path().join("real")).unwrap().count(), 1);
}

#[test]
fn leftovers_of_a_killed_run_are_removed_by_the_next() {
    let server = server();
    let home = Sandbox::holding(&server.mint_ours().token);
    home.write("..vault-token.renew-AbCdEf012345", "s.secret");
    home.write(".vault-token.tmp", "a login in progress");
    home.run(&server, &[]).expect(0);
    assert_eq!(home.names(), [".local", ".vault-token", ".vault-token.tmp"]);
}

#[test]
fn a_namespace_is_a_world_of_its_own() {
    let server = server();
    server.create_namespace("team1");
    let inside = |method: &str, path: &str, token: &str, body: Value| {
        server.request(method, path, Some(token), Some("team1"), Some(body)).expect(path)
    };
    let rules = r#"path "*" { capabilities = ["create", "read", "update", "delete", "list", "sudo"] }"#;
    let policy = json!({ "policy": rules });
    for name in ["vault-admin", "sops-admin"] {
        inside("POST", &format!("sys/policies/acl/{name}"), server.root_token(), policy.clone());
    }
    let outside = server.mint_ours();
    let admin = json!({ "policies": ["vault-admin"], "no_parent": true });
    let admin = inside("POST", "auth/token/create", server.root_token(), admin);
    let stray = inside("POST", "auth/token/create", server.root_token(), ours());
    let home = Sandbox::holding(admin.json["auth"]["client_token"].as_str().unwrap());
    let run = home.run(&server, &["--namespace", "team1/"]).expect(0);
    assert_eq!(
        run.said(),
        "HEALED: re-minted periodic token from foreign dn=\"token\" (revoked 1 stale periodic token(s))"
    );
    let lookup =
        |token: &str| server.request("GET", "auth/token/lookup-self", Some(token), Some("team1"), None);
    assert_eq!(lookup(&home.token()).json["data"]["namespace_path"], "team1/");
    assert_eq!(lookup(stray.json["auth"]["client_token"].as_str().unwrap()).status, 403);
    assert!(server.lookup(&outside.token).is_some(), "the other namespace is not swept");
    // Without the namespace, the mint would happen where this token is nobody: that is told.
    let weak = json!({ "policies": ["sops-admin"], "no_parent": true });
    let weak = inside("POST", "auth/token/create", server.root_token(), weak);
    let home = Sandbox::holding(weak.json["auth"]["client_token"].as_str().unwrap());
    let run = home.run(&server, &[]).expect(1);
    assert_eq!(
        run.complaints()[0],
        "WARN: the token lives in the namespace \"team1\", the settings name \"\"; see --namespace"
    );
    let status = home.run(&server, &["status"]).expect(1);
    let said = "the token lives in the namespace \"team1\", the settings name \"\"\n   fix: if your token belongs \
        there: --namespace team1\n";
    assert!(status.stdout.contains(said), "{status:?}");
    let run = home.run(&server, &["--namespace=nowhere"]).expect(1);
    assert!(run.stderr.contains("404: namespace not found"), "{run:?}");
    assert!(run.hints()[0].contains("--namespace"), "{run:?}");
}

#[test]
fn without_a_writable_state_directory_the_renewal_succeeds_all_the_same() {
    let server = server();
    let home = Sandbox::holding(&server.mint_ours().token);
    // A file where a directory would have to be: nobody can write below it, not even root.
    home.write(".local", "");
    let run = home.run(&server, &[]).expect(0);
    assert_eq!(run.said(), RENEWED);
    let complaints = run.complaints();
    assert_eq!(complaints.len(), 2, "{run:?}");
    assert!(run.stderr.contains("WARN: ~/.local/state/vault-token-renew: "), "{run:?}");
    assert!(
        run.stderr.contains("WARN: the log file ~/.local/state/vault-token-renew.log cannot be written: "),
        "{run:?}"
    );
}
