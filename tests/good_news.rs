//! Good news only if it is true: answers that look like success, and are about another token, out of a cache, or
//! about a token that is not what was ordered.

#![cfg(test)]

mod support;

use std::collections::BTreeSet;
use std::fs;

use serde_json::{Value, json};
use support::sandbox::Sandbox;
use support::scripted::{Reply, Request, Scripted};
use support::vault_mock::{
    Answer, NEW_TOKEN, Vault, answer, auth, authenticated, data, denied, foreign_token, minted, new_token,
    no_content, our_token, renewed, warning,
};
use support::{FILE_TOKEN, OUR_NAME, PERIOD, RENEWED, told_of, with, without};

const ANOTHER_TOKEN: &str = "the answer is about a different token";

const CACHED: &str = "the answer came from a cache (an agent or proxy), not from the server";

/// A home with a token, from which that one and the one that may be minted must not get out.
fn home() -> Sandbox {
    let home = Sandbox::holding(FILE_TOKEN);
    home.guard(NEW_TOKEN);
    home
}

/// What is answered on a server on which each mint makes another token.
fn minting(request: &Request, number: usize) -> Reply {
    let asker = request.header("x-vault-token").unwrap_or_default();
    match request.call() {
        "auth/token/lookup-self" if asker == FILE_TOKEN => Reply::Json(200, told_of(FILE_TOKEN, "oidc-x")),
        "auth/token/lookup-self" => Reply::Json(200, told_of(asker, OUR_NAME)),
        "auth/token/create" | "auth/token/create-orphan" => {
            let token = format!("hvs.fresh-{number}-0123456789");
            let auth = json!({ "client_token": token, "lease_duration": PERIOD });
            Reply::Json(200, json!({ "auth": auth }).to_string())
        }
        "auth/token/accessors/?list=true" => Reply::Json(404, r#"{"errors":[]}"#.to_owned()),
        _ => forbidden(),
    }
}

/// What a token is told that may not.
fn forbidden() -> Reply {
    Reply::Json(403, r#"{"errors":["1 error occurred:\n\t* permission denied\n\n"]}"#.to_owned())
}

/// Marks an answer as an agent's cache does, and as caches do that know nothing of Vault.
const MARKS: [(&str, &str); 3] = [("x-cache", "HIT"), ("x-cache", "Hit from elsewhere"), ("age", "7")];

#[test]
fn a_lookup_or_renewal_out_of_a_cache_is_not_believed() {
    for (header, value) in MARKS {
        for vault in [
            Vault::renewing().lookup(FILE_TOKEN, data(&our_token()).with_header(header, value)),
            Vault::renewing().renewal(renewed().with_header(header, value)),
        ] {
            let home = home();
            let run = home.run(&vault, &[]).expect(1);
            assert!(run.complaint().starts_with("FAIL: ") && run.complaint().ends_with(CACHED), "{run:?}");
            assert!(run.hints()[0].contains("switch off `cache`"), "{run:?}");
            assert_eq!(home.token(), FILE_TOKEN);
            assert_eq!(home.state()["last_success"], Value::Null, "{}", home.state());
        }
    }
    // What says that it came from the server is believed.
    for (header, value) in [("x-cache", "MISS"), ("age", "0"), ("age", "never")] {
        let vault = Vault::renewing().renewal(renewed().with_header(header, value));
        assert_eq!(home().run(&vault, &[]).expect(0).quiet().said(), RENEWED);
    }
}

#[test]
fn a_mint_or_the_lookup_of_what_was_minted_out_of_a_cache_is_not_believed() {
    for (header, value) in MARKS {
        let vault = Vault::healing()
            .mint(minted().with_header(header, value).times(1))
            .second_mint(minted().times(0));
        let home = home();
        let run = home.run(&vault, &[]).expect(1);
        assert!(run.complaint().starts_with("FAIL: mint: ") && run.complaint().contains(CACHED), "{run:?}");
        assert_eq!((home.token(), &home.state()["sweep_due"]), (FILE_TOKEN.to_owned(), &json!(true)));

        let vault = Vault::healing()
            .lookup(NEW_TOKEN, data(&new_token()).with_header(header, value))
            .self_revocation(no_content().times(1));
        let run = home.run(&vault, &[]).expect(1);
        let line = run.complaint();
        assert!(line.starts_with("FAIL: check of the minted token: ") && line.ends_with(CACHED), "{run:?}");
        assert_eq!(home.token(), FILE_TOKEN);
    }
}

#[test]
fn no_two_requests_look_alike_to_a_cache() {
    let flaky = Scripted::start(|request, number| {
        if request.call() == "auth/token/lookup-self" && number < 2 {
            Reply::Json(500, r#"{"errors":["internal error"]}"#.to_owned())
        } else {
            minting(request, number)
        }
    });
    let mut orders = BTreeSet::new();
    for _ in 0..3 {
        let home = home();
        home.run_with(&[("VTR_RETRY_FOR", "20s")], &flaky, &[]).expect(0);
        home.guard(&home.token());
    }
    let requests = flaky.requests();
    assert!(requests.len() > 12, "{} requests", requests.len());
    let ids: BTreeSet<&str> =
        requests.iter().map(|request| request.header("x-request-id").expect("a request id")).collect();
    assert_eq!(ids.len(), requests.len(), "retries and later runs included");
    assert!(ids.iter().all(|id| id.len() >= 16), "{ids:?}");
    for mint in requests.iter().filter(|request| request.call() == "auth/token/create") {
        let order: Value = serde_json::from_str(&mint.body).unwrap();
        orders.insert(order["meta"]["run"].as_str().expect("a run").to_owned());
    }
    assert_eq!(orders.len(), 3, "each order is one of its own: {orders:?}");
}

#[test]
fn a_lookup_that_names_neither_token_nor_accessor_is_an_agents() {
    for nobody in [
        without(our_token(), &["id", "accessor"]),
        with(with(our_token(), "id", ""), "accessor", ""),
        with(with(our_token(), "id", Value::Null), "accessor", Value::Null),
    ] {
        let vault = Vault::renewing().lookup(FILE_TOKEN, data(&nobody)).renewal(renewed().times(0));
        let home = home();
        for arguments in [&[][..], &["--dry-run"], &["sweep"], &["status"]] {
            let run = home.run(&vault, arguments).expect(1);
            assert!(run.all().contains(ANOTHER_TOKEN), "{arguments:?}: {run:?}");
        }
        // The same of the one that was minted: it is not kept.
        let vault = Vault::healing()
            .lookup(NEW_TOKEN, data(&with(nobody, "display_name", OUR_NAME)))
            .self_revocation(no_content().times(1));
        let run = home.run(&vault, &[]).expect(1);
        assert!(run.complaint().contains("check of the minted token: "), "{run:?}");
        assert_eq!(home.token(), FILE_TOKEN);
    }
}

#[test]
fn a_batch_token_has_no_accessor_and_is_looked_at_all_the_same() {
    let batch = with(without(foreign_token(), &["id", "accessor"]), "type", "batch");
    let refusal = support::vault_mock::errors(400, "batch tokens cannot create more tokens");
    let vault = Vault::new().lookup(FILE_TOKEN, data(&batch)).mints(refusal);
    let run = home().run(&vault, &[]).expect(1);
    assert!(run.complaints()[1].contains("(400: batch tokens cannot create more tokens)"), "{run:?}");
}

#[test]
fn a_renewal_of_another_token_is_none_of_ours() {
    let ours = auth(FILE_TOKEN, "kept-accessor", PERIOD);
    for another in [
        with(ours.clone(), "client_token", "s.the-agents-own-0123"),
        with(ours.clone(), "accessor", "agents-accessor"),
        with(without(ours.clone(), &["client_token"]), "accessor", "agents-accessor"),
        with(without(ours.clone(), &["accessor"]), "client_token", "s.the-agents-own-0123"),
    ] {
        let vault = Vault::renewing().renewal(authenticated(&another)).mints(minted().times(0));
        let home = home();
        home.guard("s.the-agents-own-0123");
        let run = home.run(&vault, &[]).expect(1);
        assert!(run.complaint().starts_with("FAIL: renewal: "), "{run:?}");
        assert!(run.complaint().ends_with(ANOTHER_TOKEN), "{run:?}");
        assert_eq!(home.state()["last_success"], Value::Null);
    }
    for unsaid in [
        without(ours.clone(), &["client_token", "accessor"]),
        with(with(ours.clone(), "client_token", ""), "accessor", ""),
        with(with(ours, "client_token", Value::Null), "accessor", Value::Null),
    ] {
        let vault = Vault::renewing().renewal(authenticated(&unsaid));
        assert_eq!(home().run(&vault, &[]).expect(0).quiet().said(), RENEWED);
    }
}

/// A server on which a heal comes as far as the lookup of the minted token, which says this.
fn saying_of_the_minted(info: &Value) -> Vault {
    Vault::healing().lookup(NEW_TOKEN, data(info))
}

#[test]
fn whatever_contradicts_the_order_is_revoked_and_not_kept() {
    let policies = |policies: &[&str]| with(new_token(), "policies", json!(policies));
    let namespace = |namespace: &str| with(new_token(), "namespace_path", namespace);
    for (arguments, info, reason) in [
        (&[][..], with(new_token(), "renewable", false), "it is not renewable"),
        (&[], with(new_token(), "num_uses", 3), "its number of uses is limited"),
        (&[], with(new_token(), "num_uses", -1), "its number of uses is limited"),
        (&[], with(new_token(), "ttl", 1), "it has 1s left, and was granted 2764800s"),
        (&[], with(new_token(), "ttl", 0), "it has 0s left, and was granted 2764800s"),
        (&[], with(new_token(), "ttl", PERIOD - 300), "it has 2764500s left, and was granted 2764800s"),
        (&[], with(new_token(), "explicit_max_ttl", 60), "it has an explicit maximum of 60s"),
        (&[], policies(&["root"]), "it lacks the required policy"),
        (
            &[],
            policies(&["default", "root", "sops-admin", "vault-admin"]),
            "it has the policy \"root\", which was not asked for",
        ),
        (
            &[],
            policies(&["default", "sops-admin", "vault-admin", "vault-admin-ro"]),
            "it has the policy \"vault-admin-ro\", which was not asked for",
        ),
        (&[], policies(&["default", "vault-admin"]), "it lacks the policy \"sops-admin\""),
        (&[], policies(&["default", "sops-admin"]), "it lacks the required policy"),
        (&[], policies(&[]), "it lacks the required policy"),
        (
            &[],
            with(new_token(), "identity_policies", ["root"]),
            "it has the policy \"root\", which was not asked for",
        ),
        (
            &[],
            with(new_token(), "path", "auth/oidc/oidc/callback"),
            "it was made at \"auth/oidc/oidc/callback\"",
        ),
        (
            &[],
            with(new_token(), "path", "auth/token/create/role"),
            "it was made at \"auth/token/create/role\"",
        ),
        (&[], namespace("team1/"), "it lives in the namespace \"team1\""),
        (&["--namespace", "team1"], namespace(""), "it lives in the namespace \"\""),
        (&["--namespace", "team1"], namespace("team1/deeper/"), "it lives in the namespace \"team1/deeper\""),
    ] {
        let vault = saying_of_the_minted(&info)
            .self_revocation(no_content().if_header("x-vault-token", NEW_TOKEN).times(1));
        let home = home();
        let run = home.run(&vault, arguments).expect(1);
        let line = format!("FAIL: check of the minted token: {reason}; it was not put into ~/.vault-token");
        assert_eq!(run.complaint(), line, "{info}");
        assert_eq!(home.token(), FILE_TOKEN);
        assert_eq!(home.state()["sweep_due"], false, "{info}: it is gone");
    }
}

#[test]
fn what_a_lookup_leaves_out_contradicts_nothing() {
    let fields = [
        "renewable",
        "num_uses",
        "explicit_max_ttl",
        "path",
        "namespace_path",
        "orphan",
        "period",
        "type",
        "identity_policies",
        "creation_ttl",
        "expire_time",
        "meta",
    ];
    let mut silent: Vec<Value> = fields.map(|field| without(new_token(), &[field])).to_vec();
    silent.push(without(new_token(), &fields));
    silent.push(fields.into_iter().fold(new_token(), |info, field| with(info, field, Value::Null)));
    silent.push(with(new_token(), "identity_policies", ["engineering"]));
    silent.push(with(new_token(), "ttl", PERIOD - 30));
    for info in silent {
        let home = home();
        home.run(&saying_of_the_minted(&info), &[]).expect(0).quiet();
        assert_eq!(home.token(), NEW_TOKEN, "{info}");
    }
    // Nor does an answer to the mint that names no seconds.
    let lease = without(auth(NEW_TOKEN, "new-accessor", PERIOD), &["lease_duration"]);
    home().run(&Vault::healing().mint(authenticated(&lease)), &[]).expect(0).quiet();
    // In the namespace of the settings, the token may say so, with the slash and without.
    for lives in ["team1/", "team1"] {
        let home = home();
        let info = with(new_token(), "namespace_path", lives);
        home.run(&saying_of_the_minted(&info), &["--namespace", "team1"]).expect(0).quiet();
        assert_eq!(home.token(), NEW_TOKEN);
    }
}

/// A mint at which the server warns.
fn mint_with(words: &str) -> Answer {
    warning(&auth(NEW_TOKEN, "new-accessor", PERIOD), words)
}

#[test]
fn a_mint_that_is_answered_with_the_token_in_the_file_costs_it_nothing() {
    for auth in [auth(FILE_TOKEN, "kept-accessor", PERIOD), auth(NEW_TOKEN, "kept-accessor", PERIOD)] {
        let vault = Vault::healing()
            .mint(authenticated(&auth))
            .self_revocation(no_content().times(0))
            .revocation("kept-accessor", no_content().times(0));
        let home = home();
        let run = home.run(&vault, &[]).expect(1);
        assert!(
            run.complaint().ends_with(
                "FAIL: check of the minted token: it is the one that was to be replaced; it was not put into \
                 ~/.vault-token"
            ),
            "{run:?}"
        );
        assert_eq!(home.token(), FILE_TOKEN);
    }
}

#[test]
fn a_required_policy_that_does_not_exist_is_found_among_any_number_of_warnings() {
    let words: Vec<String> = (0..40).map(|number| format!("Policy \"a{number}\" does not exist")).collect();
    let words = [&words[..], &["Policy \"vault-admin\" does not exist".to_owned()]].concat();
    let whole = json!({ "auth": auth(NEW_TOKEN, "new-accessor", PERIOD), "warnings": words });
    let vault = Vault::healing()
        .mint(answer(200, whole.to_string()))
        .self_revocation(no_content().if_header("x-vault-token", NEW_TOKEN).times(1));
    let home = home();
    let run = home.run(&vault, &[]).expect(1);
    let complaints = run.complaints();
    assert!(complaints.last().unwrap().contains("the server has no policy \"vault-admin\""), "{run:?}");
    assert_eq!(complaints.len(), 34, "32 warnings, how many more there are, and the failure: {run:?}");
}

#[test]
fn a_mint_whose_required_policy_does_not_exist_is_worthless() {
    let vault = Vault::healing()
        .mint(mint_with(r#"Policy "vault-admin" does not exist"#).times(1))
        .self_revocation(no_content().if_header("x-vault-token", NEW_TOKEN).times(1));
    let home = home();
    let run = home.run(&vault, &[]).expect(1);
    assert_eq!(
        run.complaints().last().unwrap(),
        &"FAIL: check of the minted token: the server has no policy \"vault-admin\", so the token could do \
          nothing; it was not put into ~/.vault-token"
    );
    assert!(run.hints()[0].starts_with("correct `policies` and `required_policy`"), "{run:?}");
    assert_eq!(home.token(), FILE_TOKEN);
}

#[test]
fn that_another_policy_does_not_exist_is_a_warning() {
    // Neither of the last two is the name of the required one.
    for words in [
        r#"Policy "sops-admin" does not exist"#,
        r#"Policy "vault-admin-ro" does not exist"#,
        "TTL of 768h exceeded the effective max_ttl",
    ] {
        let home = home();
        let run = home.run(&Vault::healing().mint(mint_with(words)), &[]).expect(0);
        assert_eq!(run.complaint(), format!("WARN: the server warns: \"{}\"", words.replace('"', "\\\"")));
        assert_eq!(home.token(), NEW_TOKEN);
    }
}

#[test]
fn a_token_in_the_last_moment_of_its_life_is_not_one_without_end() {
    for (ttl, keeps) in [(0, "expire_time"), (0, "creation_ttl"), (-1, "neither"), (-60, "expire_time")] {
        let mut told = with(foreign_token(), "ttl", ttl);
        for field in ["expire_time", "creation_ttl"] {
            if field != keeps {
                told = with(told, field, Value::Null);
            }
        }
        let vault = Vault::new().lookup(FILE_TOKEN, data(&told)).mints(denied());
        let home = home();
        let metrics = home.path().join("vault.prom");
        let run =
            home.run(&vault, &["--json", "--metrics-file", metrics.to_str().unwrap()]).expect(1).object();
        assert_eq!(run["token"]["ttl"], 0, "{keeps}: {run}");
        assert!(run["token"]["expires_at"].is_string(), "{keeps}: {run}");
        let text = fs::read_to_string(&metrics).unwrap();
        assert!(!text.contains("} +Inf"), "{keeps}: {text}");
        let status = home.run(&vault, &["status", "--json"]).expect(1).object();
        assert!(!status.to_string().contains(r#""never_expires":true"#), "{keeps}: {status}");
        let run = home.run(&vault, &["status", "--min-ttl", "1s"]).expect(1);
        assert!(!run.stdout.contains("never expires") && !run.stdout.contains("never ends"), "{run:?}");
        let foreseen = home.run(&vault, &["--dry-run"]).expect(1);
        assert!(foreseen.all().contains("the token in ~/.vault-token has just expired"), "{foreseen:?}");
    }
    // One that was never given an end has none.
    let root = with(with(with(foreign_token(), "ttl", 0), "expire_time", Value::Null), "creation_ttl", 0);
    let vault = Vault::new().lookup(FILE_TOKEN, data(&root)).mints(denied());
    let run = home().run(&vault, &["--json"]).expect(1).object();
    assert_eq!(run["token"]["ttl"], Value::Null, "{run}");
}

/// The mints that came, and whether each had notes.
fn mints(server: &Scripted) -> Vec<(String, bool)> {
    let is_mint = |request: &&Request| request.call().starts_with("auth/token/create");
    let with_notes = |request: &Request| request.body.contains(r#""meta":"#);
    server
        .requests()
        .iter()
        .filter(is_mint)
        .map(|request| (request.call().to_owned(), with_notes(request)))
        .collect()
}

/// A server that denies every mint with notes, and grants one without on this path; to the question what the token may
/// do it answers this.
fn without_notes(granting: &'static str, may: (u16, Value)) -> Scripted {
    Scripted::start(move |request, number| {
        let is_mint = request.call().starts_with(CREATE);
        match request.call() {
            "sys/capabilities-self" => Reply::Json(may.0, may.1.to_string()),
            call if is_mint && (request.body.contains(r#""meta":"#) || call != granting) => forbidden(),
            _ => minting(request, number),
        }
    })
}

const CREATE: &str = "auth/token/create";
const CREATE_ORPHAN: &str = "auth/token/create-orphan";

#[test]
fn where_only_the_notes_of_a_mint_are_forbidden_it_is_made_without() {
    for (granting, other) in [(CREATE, CREATE_ORPHAN), (CREATE_ORPHAN, CREATE)] {
        let may = json!({ "data": { granting: ["update", "sudo"], other: ["deny"] } });
        let server = without_notes(granting, (200, may));
        let home = home();
        home.run(&server, &[]).expect(0);
        home.guard(&home.token());
        assert_ne!(home.token(), FILE_TOKEN);
        let all = [(CREATE, true), (CREATE_ORPHAN, true), (granting, false)];
        assert_eq!(mints(&server), all.map(|(path, notes)| (path.to_owned(), notes)));
    }
}

#[test]
fn a_token_that_may_not_mint_is_asked_for_no_third_mint() {
    let denied = json!({ "errors": ["1 error occurred:\n\t* permission denied\n\n"] });
    for may in [
        (200, json!({ "data": { CREATE: ["update"], CREATE_ORPHAN: ["update"] } })),
        (200, json!({ "data": { CREATE: ["sudo"], CREATE_ORPHAN: ["deny"] } })),
        (200, json!({ "data": {} })),
        (403, denied),
        (500, json!({ "errors": ["internal error"] })),
    ] {
        let server = without_notes(CREATE, may.clone());
        let home = home();
        let run = home.run(&server, &[]).expect(1);
        assert!(run.complaint().starts_with("DRIFT: "), "{may:?}: {run:?}");
        assert!(run.complaint().contains("(403: permission denied)"), "{may:?}: {run:?}");
        assert_eq!(mints(&server), [(CREATE.to_owned(), true), (CREATE_ORPHAN.to_owned(), true)], "{may:?}");
        assert_eq!(home.token(), FILE_TOKEN);
    }
    // And where it may, and the third is denied as well, the first two refusals are told.
    let may = json!({ "data": { CREATE: ["update", "sudo"], CREATE_ORPHAN: ["deny"] } });
    let server = without_notes("nowhere", (200, may));
    let run = home().run(&server, &[]).expect(1);
    assert!(run.complaint().starts_with("DRIFT: "), "{run:?}");
    assert_eq!(mints(&server).len(), 3);
}
