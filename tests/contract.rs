//! The shapes of requests, and what is made of odd but legal answers.

#![cfg(test)]

mod support;

use mockito::Matcher;
use serde_json::{Value, json};
use support::sandbox::Sandbox;
use support::vault_mock::{
    Answer, NEW_TOKEN, Vault, answer, auth, authenticated, data, denied, errors, foreign_token, known_by,
    minted, new_token, no_content, our_token, renewed, warning,
};
use support::{FILE_TOKEN, NOWHERE, OUR_NAME, PERIOD, RENEWED, with, without};

/// A home with a token, from which that one and the one that may be minted must not get out.
fn home() -> Sandbox {
    let home = Sandbox::holding(FILE_TOKEN);
    home.guard(NEW_TOKEN);
    home
}

#[test]
fn a_renewal_is_two_requests_with_the_headers_of_the_official_client() {
    let once_from_the_client = |answer: Answer| {
        answer
            .if_header("x-vault-token", FILE_TOKEN)
            .if_header("x-vault-request", "true")
            .if_header("x-vault-namespace", Matcher::Missing)
            .if_header("user-agent", concat!("vault-token-renew/", env!("CARGO_PKG_VERSION")))
            .times(1)
    };
    let lookup = once_from_the_client(data(&our_token())).if_body("");
    let renewal = once_from_the_client(renewed()).if_header("content-type", "application/json").if_body("{}");
    let vault = Vault::new().lookup(FILE_TOKEN, lookup).renewal(renewal);
    assert_eq!(home().run(&vault, &[]).expect(0).quiet().said(), RENEWED);
}

#[test]
fn a_mint_orders_what_vault_token_create_orphan_orders() {
    let order = json!({
        "policies": ["vault-admin", "sops-admin"], "period": PERIOD, "display_name": "devvm-wizard",
        "no_parent": true, "renewable": true, "type": "service",
        "meta": { "managed_by": "vault-token-renew", "user": "wizard" },
    });
    let mint = minted()
        .if_header("x-vault-token", FILE_TOKEN)
        .if_header("x-vault-namespace", "team1")
        .if_body(Matcher::PartialJson(order))
        .if_body(Matcher::Regex(r#""host":"[^"]+""#.to_owned()));
    let vault = Vault::healing().mint(mint).each_once();
    let home = home();
    let run = home.run(&vault, &["--namespace", "team1"]).expect(0);
    assert_eq!(
        run.said(),
        "HEALED: re-minted periodic token from foreign dn=\"oidc-vbarzin\" (revoked 0 stale periodic \
         token(s))"
    );
    assert_eq!(home.token(), NEW_TOKEN);
}

#[test]
fn a_refused_mint_is_tried_once_on_the_other_path() {
    for refusal in [
        errors(400, "child policies must be subset of parent"),
        errors(400, "root or sudo privileges required to create orphan token"),
        denied(),
        errors(403, "permission denied"),
    ] {
        let vault = Vault::healing().mint(refusal.times(1)).second_mint(minted().times(1));
        let home = home();
        home.run(&vault, &[]).expect(0);
        assert_eq!(home.token(), NEW_TOKEN);
    }
}

#[test]
fn a_mint_that_was_not_refused_but_failed_is_never_repeated() {
    for (status, body) in [
        (500, r#"{"errors":["internal error"]}"#),
        (502, "<html>"),
        (412, r#"{"errors":[]}"#),
        (404, r#"{"errors":["no handler for route"]}"#),
        (405, r#"{"errors":["unsupported operation"]}"#),
        (403, "<html>Forbidden</html>"),
        (400, "Bad Request"),
        (400, r#"{"errors":["the moon is full"]}"#),
        (403, r#"{"errors":["the moon is full"]}"#),
        (204, ""),
        (200, ""),
        (200, "null"),
        (200, r#"{"auth":null}"#),
        (200, r#"{"auth":{"client_token":"","accessor":"x"}}"#),
        (200, "<html>Sign in</html>"),
    ] {
        let vault =
            Vault::healing().mint(answer(status, body).times(1)).second_mint(answer(200, "{}").times(0));
        let home = home();
        let run = home.run_with(&[("VTR_RETRY_FOR", "2s")], &vault, &[]).expect(1);
        assert!(run.complaint().starts_with("FAIL: mint: "), "{status} {body}: {run:?}");
        assert!(!run.stderr.contains("DRIFT") && !run.stderr.contains("denied"), "{status} {body}: {run:?}");
        assert_eq!(home.token(), FILE_TOKEN);
    }
}

#[test]
fn a_minted_token_that_contradicts_the_order_is_revoked_and_not_kept() {
    for (info, reason) in [
        (with(new_token(), "display_name", "token"), "its display name is \"token\""),
        (with(new_token(), "policies", ["default", "vault-admin-ro"]), "it lacks the required policy"),
        (with(new_token(), "orphan", false), "it is not an orphan"),
        (with(new_token(), "period", 60), "its period is 60s"),
        (with(new_token(), "type", "batch"), "its type is \"batch\""),
        (with(new_token(), "accessor", ""), "it has no accessor"),
        (with(new_token(), "accessor", "another"), "the answer is about a different token"),
    ] {
        let vault = Vault::healing()
            .lookup(NEW_TOKEN, data(&info))
            .self_revocation(no_content().if_header("x-vault-token", NEW_TOKEN).times(1));
        let home = home();
        let run = home.run(&vault, &[]).expect(1);
        assert_eq!(
            run.complaint(),
            format!("FAIL: check of the minted token: {reason}; it was not put into ~/.vault-token")
        );
        assert_eq!(home.token(), FILE_TOKEN);
    }
}

#[test]
fn a_minted_token_that_may_not_revoke_itself_is_revoked_by_the_one_that_minted_it() {
    let vault = Vault::healing()
        .lookup(NEW_TOKEN, data(&with(new_token(), "orphan", false)))
        .self_revocation(denied())
        .revocation("new-accessor", no_content().if_header("x-vault-token", FILE_TOKEN).times(1));
    home().run(&vault, &[]).expect(1);
}

#[test]
fn a_minted_token_that_cannot_be_revoked_is_told() {
    let vault = Vault::healing()
        .lookup(NEW_TOKEN, data(&with(new_token(), "period", 1)))
        .self_revocation(errors(500, "broken"))
        .revocation("new-accessor", errors(500, "broken"));
    let home = home();
    let run = home.run(&vault, &[]).expect(1);
    let warning = run.complaints()[0];
    assert!(
        warning.starts_with("WARN: the minted token new-acce… could not be revoked (revocation: "),
        "{run:?}"
    );
    assert!(home.state().to_string().contains("new-accessor"), "the next sweep has to know it");
    assert_eq!(home.state()["sweep_due"], true);
}

#[test]
fn a_minted_token_whose_accessor_nobody_named_revokes_itself() {
    let nameless = without(auth(NEW_TOKEN, "", PERIOD), &["accessor"]);
    let vault = Vault::healing()
        .mint(authenticated(&nameless))
        .lookup(NEW_TOKEN, data(&with(new_token(), "orphan", false)))
        .self_revocation(no_content().if_header("x-vault-token", NEW_TOKEN).times(1))
        .any_other_revocation(no_content().times(0));
    let home = home();
    let run = home.run(&vault, &[]).expect(1);
    assert!(run.complaint().contains("it is not an orphan"), "{run:?}");
    assert_eq!(home.token(), FILE_TOKEN);
}

#[test]
fn a_denial_without_a_reason_is_no_verdict() {
    let unsaid = answer(403, r#"{"errors":[]}"#);
    let vault = Vault::new().lookup(FILE_TOKEN, unsaid.clone().times(1));
    let run = home().run(&vault, &["--detailed-exitcode"]).expect(1);
    let said = run.complaint();
    assert!(said.ends_with("403: no reason given (not a known refusal or outage)"), "{run:?}");
    let vault = Vault::healing().mint(unsaid.times(1)).second_mint(minted().times(0));
    let run = home().run(&vault, &[]).expect(1);
    assert!(run.complaint().starts_with("FAIL: mint: "), "{run:?}");
}

#[test]
fn what_servers_may_leave_out_or_add_changes_nothing() {
    const BOTH: [&str; 2] = ["vault-admin", "sops-admin"];
    for info in [
        without(
            our_token(),
            &["renewable", "issue_time", "expire_time", "meta", "num_uses", "type", "path", "orphan"],
        ),
        with(with(our_token(), "identity_policies", Value::Null), "policies", BOTH),
        with(with(our_token(), "identity_policies", BOTH), "policies", json!([])),
        with(with(our_token(), "identity_policies", BOTH), "policies", Value::Null),
        with(with(our_token(), "identity_policies", ["sops-admin"]), "policies", ["vault-admin"]),
        with(our_token(), "identity_policies", json!([])),
        with(our_token(), "ttl", -5),
        with(our_token(), "meta", json!({ "host": 5, "deep": { "er": [1] } })),
        with(our_token(), "something_new", json!({ "a": [1, 2, { "b": null }] })),
    ] {
        let vault = Vault::renewing().lookup(FILE_TOKEN, data(&info));
        assert_eq!(home().run(&vault, &[]).expect(0).quiet().said(), RENEWED);
    }
}

#[test]
fn a_minted_token_in_an_answer_that_cannot_be_read_is_not_quoted() {
    for front in ["\u{feff}", ")]}',\n", "\0", "<p>", "garbage "] {
        let vault = Vault::healing().mint(minted().after(front));
        let run = home().run(&vault, &[]).expect(1);
        assert!(run.complaint().contains("not an answer of Vault (not the JSON it should be)"), "{run:?}");
    }
}

#[test]
fn a_lookup_about_another_token_is_refused_and_one_about_nobody_is_warned_of() {
    let of_the_agent = with(our_token(), "id", "s.the-agents-own");
    let vault = Vault::renewing().lookup(FILE_TOKEN, data(&of_the_agent));
    let machine = home();
    machine.guard("s.the-agents-own");
    let run = machine.run(&vault, &[]).expect(1);
    assert!(run.complaint().ends_with("the answer is about a different token"), "{run:?}");
    assert!(run.hints()[0].contains("an agent substitutes its own token"), "{run:?}");

    for info in
        [without(our_token(), &["id"]), with(our_token(), "id", ""), with(our_token(), "id", Value::Null)]
    {
        let vault = Vault::renewing().lookup(FILE_TOKEN, data(&info));
        let run = home().run(&vault, &[]).expect(0);
        assert!(run.complaint().starts_with("WARN: the server's answer does not name the token"), "{run:?}");
    }
}

#[test]
fn a_lookup_is_believed_only_if_it_has_vaults_shape() {
    for (status, body, reason) in [
        (200, "", "200: not an answer of Vault (empty body)"),
        (200, "null", "200: not an answer of Vault (unexpected JSON"),
        (200, "{}", "200: not an answer of Vault (no data)"),
        (200, r#"{"data":null}"#, "200: not an answer of Vault (no data)"),
        (200, r#"{"data":{}}"#, "200: not an answer of Vault (unexpected JSON"),
        (200, r#"{"data":{"display_name":5,"ttl":1}}"#, "200: not an answer of Vault (unexpected JSON"),
        (200, r#"{"data":{"display_name":"x","ttl":"1"}}"#, "200: not an answer of Vault (unexpected JSON"),
        (200, r#"{"data":{"display_name":"#, "200: not an answer of Vault ("),
        (
            200,
            "<html><title>Sign in</title>",
            "200: not an answer of Vault (application/json, \"<html><title>Sign in</title>\")",
        ),
        (403, "<html>Forbidden</html>", "403: not an answer of Vault ("),
        (403, "{}", "403: not an answer of Vault ("),
        (
            404,
            r#"{"errors":["no handler for route \"x\". route entry not found."]}"#,
            r#"404: "no handler for route \"x\". route entry not found.""#,
        ),
        (404, "404 page not found", "404: not an answer of Vault (application/json, \"404 page not found\")"),
        (405, r#"{"errors":["unsupported operation"]}"#, "405: unsupported operation"),
        (500, r#"{"errors":["a","b"]}"#, "500: \"a; b\""),
        (502, "<html>Bad Gateway", "502: not an answer of Vault ("),
        (201, "{}", "201: not an answer of Vault ("),
    ] {
        let vault = Vault::new().lookup(FILE_TOKEN, answer(status, body));
        let home = home();
        let run = home.run(&vault, &[]).expect(1);
        let expected = format!("FAIL: token lookup: {}/v1/auth/token/lookup-self: {reason}", vault.address());
        assert!(run.complaint().starts_with(&expected), "{expected}\n{run:?}");
        assert_eq!(home.token(), FILE_TOKEN);
    }
    let deep = format!(r#"{{"data":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    let vault = Vault::new().lookup(FILE_TOKEN, answer(200, deep));
    assert!(home().run(&vault, &[]).expect(1).complaint().contains("not an answer of Vault"));
}

#[test]
fn a_secret_that_the_server_repeats_does_not_reach_a_line() {
    for lookup in [
        errors(403, &format!("bad token {FILE_TOKEN}")),
        errors(500, &format!("bad token {FILE_TOKEN}")),
        answer(502, format!("<p>X-Vault-Token: {FILE_TOKEN}")),
        data(&json!(FILE_TOKEN)),
        data(&with(foreign_token(), "display_name", FILE_TOKEN)),
    ] {
        let vault = Vault::new()
            .lookup(FILE_TOKEN, lookup)
            .mints(errors(403, &format!("permission denied for {FILE_TOKEN}")));
        // `run` itself looks for the token in all that was said.
        home().run(&vault, &[]).expect(1);
    }
}

/// Every place in which a server, a gateway or an agent can repeat what it was sent. That no token gets out is
/// looked for in all that is said, logged and remembered, at the end of each run.
#[test]
fn wherever_a_secret_is_repeated_it_goes_no_further() {
    const BOTH: &str = "s.in-the-file-0123456789 hvs.fresh-0123456789";
    let modes = [
        &[][..],
        &["--json"],
        &["--dry-run"],
        &["--dry-run", "--json"],
        &["status"],
        &["status", "--json"],
        &["sweep", "--json"],
    ];
    for field in [
        "display_name",
        "policies",
        "identity_policies",
        "type",
        "path",
        "namespace_path",
        "accessor",
        "meta",
    ] {
        let value = |token: &str| match field {
            "policies" | "identity_policies" => json!(["vault-admin", token]),
            "meta" => json!({ "host": token }),
            _ => json!(format!("{token}.")),
        };
        for arguments in modes {
            let told = json!({ "auth/token/create": [FILE_TOKEN, "update"], "auth/token/create-orphan": [FILE_TOKEN] });
            let vault = Vault::healing()
                .lookup(FILE_TOKEN, data(&with(foreign_token(), field, value(FILE_TOKEN))))
                // It is asked with the minted token, and may repeat the other all the same.
                .lookup(NEW_TOKEN, data(&with(new_token(), field, value(BOTH))))
                .capabilities(data(&told));
            home().run(&vault, arguments);
        }
    }
    // The answer to the mint.
    let vault = Vault::healing().mint(warning(&auth(NEW_TOKEN, BOTH, PERIOD), BOTH));
    let run = home().run(&vault, &[]);
    assert!(run.stderr.contains("(token) (token)"), "{run:?}");
    // The warnings of a renewal.
    let vault = Vault::renewing().renewal(warning(&auth(FILE_TOKEN, "kept-accessor", PERIOD), FILE_TOKEN));
    let run = home().run(&vault, &[]).expect(0);
    assert_eq!(run.complaint(), "WARN: the server warns: \"(token)\"");
    // An error that comes when another token has been sent in between.
    let vault = Vault::healing().lookup(NEW_TOKEN, errors(500, BOTH));
    let run = home().run(&vault, &[]).expect(1);
    assert!(run.stderr.contains("500: \"(token) (token)\""), "{run:?}");
    // The type of a strange answer, and where a redirect leads.
    for (status, header, value) in [
        (502, "content-type", format!("text/plain; echo={FILE_TOKEN}")),
        (307, "location", format!("/login?next={FILE_TOKEN}")),
        (307, "location", format!("http://127.0.0.1:1/{FILE_TOKEN}")),
        (307, "location", format!("http://{FILE_TOKEN}.example.org/")),
    ] {
        for arguments in modes {
            let vault = Vault::new().any_get(answer(status, "no").with_header(header, &value));
            home().run(&vault, arguments).expect(1);
        }
    }
    // A listing. It is asked for with the new token; the old one is repeated as well.
    let no_accessors = [FILE_TOKEN, NEW_TOKEN].map(|token| [token.to_owned(), format!("x{token}")]).concat();
    let vault = healing_among(&no_accessors).any_other_accessor(denied());
    home().run(&vault, &["--json"]).expect(0);
}

/// A server that renews our token without saying whose accessor it names, and lists another of our name.
fn behind_an_agent() -> Vault {
    Vault::new()
        .lookup(FILE_TOKEN, data(&without(our_token(), &["id"])))
        .renewal(renewed())
        .list(&["kept-accessor", "another"])
        .accessor("kept-accessor", data(&known_by("kept-accessor")))
        .accessor("another", data(&known_by("another")))
}

/// Behind an agent that hides which token it speaks of, the accessor may be the agent's, and ours the one that a
/// sweep would take for stale.
#[test]
fn nothing_is_swept_where_nobody_says_whose_accessor_it_is() {
    for (arguments, status) in [(&["sweep"][..], 1), (&["sweep", "--dry-run"], 1), (&[], 0)] {
        let vault = behind_an_agent().any_other_revocation(no_content().times(0));
        let run = home().run(&vault, arguments).expect(status);
        assert!(run.stderr.contains("is there an agent in between?"), "{run:?}");
        if !arguments.is_empty() {
            assert!(run.all().contains("the server does not know the token to keep"), "{run:?}");
        }
    }
}

#[test]
fn what_is_due_waits_until_it_is_known_whose_accessor_it_is() {
    let none: Vec<&str> = Vec::new();
    for left in [json!({ "sweep_due": true }), json!({ "second_look": ["another"] })] {
        // One that this machine minted is ours, whoever is in between.
        for (minted, revocations) in [(none.clone(), 0), (vec!["kept-accessor"], 1)] {
            let vault = behind_an_agent().revocation("another", no_content().times(revocations));
            let home = home();
            home.run(&vault, &[]).expect(0);
            home.rewrite_state(|state| {
                state["minted"] = json!(minted);
                for (key, value) in left.as_object().unwrap() {
                    state[key] = value.clone();
                }
            });
            let foreseen = home.run(&vault, &["--dry-run"]).expect(0);
            assert_eq!(foreseen.stdout.contains("would revoke 1 stale"), revocations == 1, "{foreseen:?}");
            let run = home.run(&vault, &[]).expect(0);
            let state = home.state();
            let waits = left.as_object().unwrap().iter().all(|(key, value)| state[key] == *value);
            assert_eq!(waits, revocations == 0, "{left} {state} {run:?}");
            if revocations == 0 {
                // And when it is known, it is made up for.
                let vault =
                    vault.lookup(FILE_TOKEN, data(&our_token())).revocation("another", no_content().times(1));
                home.run(&vault, &[]).expect(0);
            }
        }
    }
}

#[test]
fn nothing_is_counted_or_listed_where_nobody_says_whose_accessor_it_is() {
    for (minted, counted, revoked) in [
        (json!([]), json!(null), json!([])),
        (json!(["kept-accessor"]), json!({ "total": 2, "stale": 1 }), json!(["another", "kept-accessor"])),
    ] {
        let vault = behind_an_agent().any_other_revocation(no_content().times(0)).any_policy(denied());
        let home = home();
        home.run(&vault, &[]).expect(0);
        home.rewrite_state(|state| state["minted"] = minted.clone());
        let status = home.run(&vault, &["status", "--json"]).object();
        assert_eq!(status["tokens_of_our_name"], counted);
        // Our name, and it ends: a heal would follow, and revoke the token it began with.
        let dying = without(with(our_token(), "renewable", false), &["id"]);
        let may = json!({ "auth/token/create": ["update", "sudo"], "auth/token/create-orphan": ["deny"] });
        let vault = vault.lookup(FILE_TOKEN, data(&dying)).capabilities(data(&may));
        let foreseen = home.run(&vault, &["--dry-run", "--json"]).expect(0).object();
        assert_eq!(
            (&foreseen["outcome"], &foreseen["sweep"]["would_revoke"]),
            (&json!("would_heal"), &revoked)
        );
    }
}

#[test]
fn a_minted_token_is_kept_by_the_accessor_that_its_mint_named() {
    let named = auth(NEW_TOKEN, "new-accessor", PERIOD);
    let nameless = with(named.clone(), "accessor", Value::Null);
    for (auth, revocations) in [(named, 1), (nameless, 0)] {
        let vault = healing_among(&["another".to_owned()])
            .mint(authenticated(&auth))
            .lookup(NEW_TOKEN, data(&without(new_token(), &["id"])))
            .accessor("another", data(&known_by("another")))
            .any_other_revocation(no_content().times(revocations));
        let home = home();
        let run = home.run(&vault, &[]).expect(0);
        assert_eq!(home.token(), NEW_TOKEN);
        assert_eq!(home.state()["sweep_due"], json!(revocations == 0), "{run:?}");
    }
}

#[test]
fn an_accessor_that_is_too_long_for_one_is_neither_looked_up_nor_remembered() {
    let long = "a".repeat(257);
    let vault = healing_among(&[long.clone(), "short".to_owned()])
        .accessor("short", denied().times(1))
        .accessor(&long, denied().times(0));
    let home = home();
    home.run(&vault, &[]).expect(0);
    assert_eq!(home.state()["second_look"], json!(["short"]));
}

#[test]
fn json_on_the_terminal_is_as_harmless_as_a_line() {
    let name = "oidc-\u{9b}31m\u{7f}\u{202e}\u{2066}\u{2028}\u{e0001}é";
    let vault =
        Vault::new().lookup(FILE_TOKEN, data(&with(foreign_token(), "display_name", name))).mints(denied());
    let home = home();
    for arguments in [&["--json"][..], &["status", "--json"], &["--dry-run", "--json"]] {
        let run = home.run(&vault, arguments).expect(1);
        let odd = |c: char| (c.is_control() && c != '\n') || (!c.is_ascii() && !"é—".contains(c));
        assert!(!run.stdout.contains(odd), "{run:?}");
        let object = run.object();
        if arguments != ["--dry-run", "--json"] {
            assert_eq!(object["token"]["display_name"], json!(name));
        }
    }
}

#[test]
fn a_folder_whose_name_holds_a_line_feed_begins_no_line() {
    let home = Sandbox::holding(FILE_TOKEN);
    home.write("a\nOK renewed/work.toml", "");
    let folder = home.path().join("a\nOK renewed");
    for (flag, told) in
        [("--config", "--config"), ("--token-file", "--token-file: it"), ("--log-file", "--log-file: it")]
    {
        let mut command = home.command(NOWHERE);
        let run = home.finish(command.current_dir(&folder).args([flag, "work.toml"])).expect(2);
        let begin = format!("vault-token-renew: error: {told} holds control characters: ");
        assert!(run.stderr.starts_with(&begin) && run.stderr.lines().count() == 1, "{run:?}");
    }
}

#[test]
fn a_renewal_that_renewed_nothing_is_not_called_one() {
    for (renewal, reason) in [
        (no_content(), "the server renews nothing and does not say why (2764799s left)"),
        (errors(400, "lease is not renewable"), "it is not renewable (2764799s left)"),
        (
            authenticated(&with(auth(FILE_TOKEN, "kept-accessor", 60), "renewable", false)),
            "it is not renewable (60s left)",
        ),
        (authenticated(&auth(FILE_TOKEN, "kept-accessor", 0)), "it is not renewable (0s left)"),
    ] {
        let vault = Vault::healing().lookup(FILE_TOKEN, data(&our_token())).renewal(renewal);
        let run = home().run(&vault, &[]).expect(0);
        assert_eq!(
            run.complaint(),
            format!("WARN: our token dn=\"{OUR_NAME}\" is dying: {reason}; minting its successor")
        );
        assert!(run.said().starts_with("HEALED: re-minted periodic token from dying"), "{run:?}");
    }
    for renewal in [
        answer(200, "null"),
        answer(200, r#"{"auth":null}"#),
        answer(200, r#"{"auth":{}}"#),
        answer(200, ""),
        denied(),
        errors(500, "failed to renew entry"),
    ] {
        let vault = Vault::renewing().renewal(renewal);
        let run = home().run(&vault, &[]).expect(1);
        assert!(run.complaint().starts_with("FAIL: renewal: "), "{run:?}");
    }
}

#[test]
fn warnings_of_the_server_are_passed_on() {
    let warning = warning(
        &auth(FILE_TOKEN, "kept-accessor", PERIOD),
        "period of \"1000h\" exceeded\nthe effective max_ttl",
    );
    let vault = Vault::renewing().renewal(warning);
    let run = home().run(&vault, &[]).expect(0);
    assert_eq!(
        run.complaint(),
        r#"WARN: the server warns: "period of \"1000h\" exceeded\nthe effective max_ttl""#
    );
}

#[test]
fn one_event_is_one_line_whatever_the_server_calls_the_token() {
    let emoji = "😀".repeat(2_500);
    for name in ["a \"quoted\" name", "two\nlines", "\u{1b}[2J\u{1b}[31mred", "\u{202e}txt", emoji.as_str()] {
        let vault = Vault::new()
            .lookup(FILE_TOKEN, data(&with(foreign_token(), "display_name", name)))
            .mints(answer(403, r#"{"errors":["permission denied\nOK renewed"]}"#));
        let home = home();
        let run = home.run(&vault, &[]).expect(1);
        assert!(run.complaint().starts_with("DRIFT: ~/.vault-token is dn=\""), "{run:?}");
        assert_eq!(home.log(), run.stderr);
        assert!(!run.stderr.trim_end().contains(|c: char| c.is_control() || c == '\u{202e}'), "{run:?}");
    }
}

#[test]
fn the_sweep_looks_up_the_kept_token_first_and_revokes_nothing_it_does_not_know() {
    for kept in [errors(400, "1 error occurred:\n\t* invalid accessor\n\n"), data(&known_by("another"))] {
        let vault = Vault::healing()
            .list(&["old-accessor", "another"])
            .accessor("new-accessor", kept)
            .accessor("another", data(&known_by("another")))
            .any_other_revocation(no_content().times(0));
        let run = home().run(&vault, &[]).expect(0);
        assert!(
            run.said().ends_with("(accessor sweep skipped (the server does not know the token to keep))"),
            "{run:?}"
        );
    }
}

#[test]
fn an_agent_that_substitutes_its_own_token_loses_nothing_by_us() {
    // The agent answers for itself whoever asks, and removes the id.
    let agents = without(with(foreign_token(), "accessor", "agents-accessor"), &["id"]);
    let vault = Vault::healing()
        .lookup(FILE_TOKEN, data(&agents))
        .lookup(
            NEW_TOKEN,
            data(&with(
                with(with(agents, "display_name", OUR_NAME), "path", "auth/token/create"),
                "period",
                PERIOD,
            )),
        )
        .self_revocation(no_content().times(0))
        .revocation("new-accessor", no_content().times(1));
    let home = home();
    let run = home.run(&vault, &[]).expect(1);
    assert!(
        run.complaints()
            .last()
            .unwrap()
            .contains("check of the minted token: the answer is about a different token"),
        "{run:?}"
    );
    assert_eq!(home.token(), FILE_TOKEN);
}

/// A heal after which the server lists these accessors besides the kept one.
fn healing_among(others: &[String]) -> Vault {
    let accessors: Vec<&str> = others.iter().map(String::as_str).chain(["new-accessor"]).collect();
    Vault::healing().list(&accessors)
}

#[test]
fn a_sweep_that_may_not_look_says_so_and_tries_what_it_remembers() {
    let vault =
        healing_among(&["other".to_owned()]).accessor("new-accessor", denied()).any_other_accessor(denied());
    let run = home().run(&vault, &[]).expect(0);
    assert!(run.said().ends_with("(accessor sweep skipped (lookup denied))"), "{run:?}");
}

#[test]
fn an_answer_about_another_accessor_than_was_asked_for_revokes_nothing() {
    for (answered, revoked) in [("other", 1), ("yet-another", 0)] {
        let vault = healing_among(&["other".to_owned()])
            .accessor("other", data(&known_by(answered)))
            .any_other_revocation(no_content().times(revoked));
        let run = home().run(&vault, &[]).expect(0);
        assert!(run.said().ends_with(&format!("(revoked {revoked} stale periodic token(s))")), "{run:?}");
    }
}

#[test]
fn many_denials_during_a_sweep_are_not_taken_for_many_vanished_accessors() {
    let others: Vec<String> = (0..40).map(|number| format!("other-{number}")).collect();
    let vault = healing_among(&others).any_other_accessor(denied());
    let run = home().run(&vault, &[]).expect(0);
    assert!(run.said().ends_with("(accessor sweep skipped (lookup denied))"), "{run:?}");
}

#[test]
fn an_accessor_the_server_cannot_digest_does_not_make_every_night_a_walk() {
    let others: Vec<String> = (0..9).map(|number| format!("other-{number}")).collect();
    let mut vault = healing_among(&others);
    for other in &others {
        vault = vault.accessor(other, data(&with(known_by(other), "display_name", "somebody")));
    }
    let vault = vault.accessor("other-3", errors(500, "internal error"));
    let home = home();
    let run = home.run(&vault, &[]).expect(0);
    assert!(run.said().ends_with("(revoked 0 stale periodic token(s); 1 could not be looked at)"), "{run:?}");
    assert_eq!(home.state()["sweep_due"], false);
}

#[test]
fn a_stale_token_that_could_not_be_revoked_keeps_the_sweep_due() {
    let vault = healing_among(&["other-1".to_owned(), "other-2".to_owned()])
        .accessor("other-1", data(&with(known_by("other-1"), "display_name", "somebody")))
        .accessor("other-2", data(&known_by("other-2")))
        .any_other_revocation(errors(500, "broken"));
    let home = home();
    let run = home.run(&vault, &[]).expect(0);
    assert!(run.said().contains("accessor sweep cut short after 1 of 2 accessors: revocation: "), "{run:?}");
    assert_eq!(home.state()["sweep_due"], true);
}

#[test]
fn what_was_gone_before_it_was_revoked_is_not_counted() {
    for gone in [
        errors(400, "1 error occurred:\n\t* invalid accessor\n\n"),
        answer(404, r#"{"errors":[]}"#),
        answer(200, r#"{"warnings":["No token found with this accessor"]}"#),
    ] {
        let vault = healing_among(&["gone".to_owned()])
            .accessor("gone", data(&known_by("gone")))
            .revocation("gone", gone.times(1));
        let home = home();
        let run = home.run(&vault, &[]).expect(0);
        assert!(run.said().ends_with("(revoked 0 stale periodic token(s))"), "{run:?}");
        assert_eq!(home.state()["sweep_due"], false);
    }
}

#[test]
fn a_token_of_another_machine_or_user_is_spared_however_alike_their_names_are() {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    for (meta, revoked) in [
        (json!({ "host": host, "user": "wizard" }), 1),
        (json!({ "host": format!("{host}2"), "user": "wizard" }), 0),
        (json!({ "host": &host[..host.len() - 1], "user": "wizard" }), 0),
        (json!({ "host": host, "user": "wizard2" }), 0),
        (json!({ "host": host, "user": "wizar" }), 0),
        (json!({ "host": host, "user": "" }), 0),
    ] {
        let vault = healing_among(&["other".to_owned()])
            .accessor("other", data(&with(known_by("other"), "meta", meta.clone())))
            .any_other_revocation(no_content().times(revoked));
        let run = home().run(&vault, &[]).expect(0);
        assert!(run.said().contains(&format!("revoked {revoked} stale")), "{meta}: {run:?}");
    }
}

#[test]
fn accessors_that_vanish_during_a_sweep_are_no_error() {
    for gone in [
        errors(400, "1 error occurred:\n\t* invalid accessor\n\n"),
        denied(),
        answer(404, r#"{"errors":[]}"#),
    ] {
        let vault = healing_among(&["gone".to_owned()]).accessor("gone", gone);
        let run = home().run(&vault, &[]).expect(0);
        assert!(run.said().ends_with("(revoked 0 stale periodic token(s))"), "{run:?}");
    }
}

#[test]
fn an_empty_listing_is_a_404_without_a_word() {
    let vault = Vault::healing().listing(answer(404, r#"{"errors":[]}"#));
    let run = home().run(&vault, &[]).expect(0);
    assert!(run.said().ends_with("(revoked 0 stale periodic token(s))"), "{run:?}");
}

#[test]
fn the_token_of_the_environment_is_ignored_with_a_warning() {
    let vault = Vault::renewing();
    let home = home();
    home.guard("s.from-the-environment");
    let run = home.run_with(&[("VAULT_TOKEN", "s.from-the-environment")], &vault, &[]).expect(0);
    assert!(run.complaint().starts_with("WARN: VAULT_TOKEN is set and ignored here"), "{run:?}");
}

#[test]
fn usage_and_settings_errors_exit_with_2_and_touch_nothing() {
    let vault = Vault::new().any_get(no_content().times(0));
    let home = home();
    let before = home.snapshot();
    for (arguments, reason) in [
        (&["--policy", "root", "--display-name", "x"][..], "never minted"),
        (&["--periot", "1h"], "a similar argument exists: '--period'"),
        (&["swep"], "a similar subcommand exists: 'sweep'"),
        (&["--sweep", "wolk"], "a similar value exists: 'walk'"),
        (&["--offline"], "--offline is a flag of `status`: vault-token-renew status --offline\n"),
        (
            &["sweep", "--min-ttl", "7d"],
            "--min-ttl is a flag of `status`: vault-token-renew status --min-ttl\n",
        ),
        (&["--config", "/nowhere.toml"], "cannot read /nowhere.toml: No such file"),
        (&["--token", "s.x"], "unexpected argument '--token'"),
    ] {
        let run = home.run(&vault, arguments).expect(2);
        assert!(run.stderr.contains(reason), "{run:?}");
        assert_eq!(run.stdout, "");
    }
    let mut half = home.command(vault.address());
    half.env_remove("VTR_POLICIES").args(["--display-name", "emo"]);
    let run = home.finish(&mut half).expect(2);
    assert!(run.stderr.contains("set both"), "{run:?}");
    assert_eq!(home.snapshot(), before);
}

#[test]
fn help_and_version_go_to_standard_output() {
    let home = Sandbox::new();
    let help = home.run(NOWHERE, &["--help"]).expect(0);
    for words in ["--dry-run", "--detailed-exitcode", "VAULT_ADDR", "sweep", "Exit status:", "Example:"] {
        assert!(help.stdout.contains(words), "{words}");
    }
    let version = home.run(NOWHERE, &["--version"]).expect(0);
    assert_eq!(version.stdout, concat!("vault-token-renew ", env!("CARGO_PKG_VERSION"), "\n"));
    assert_eq!(home.names(), [""; 0]);
}
