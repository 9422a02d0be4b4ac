//! The shapes of requests, and what is made of odd but legal answers.

#![cfg(test)]
#![expect(clippy::disallowed_methods, reason = "tests write files as they like")]

mod support;

use std::fs;
use std::path::Path;

use mockito::{Matcher, Mock, Server, ServerGuard};
use predicates::prelude::*;
use serde_json::{Value, json};
use support::OUR_NAME;
use support::sandbox::Sandbox;

const FILE_TOKEN: &str = "s.in-the-file-0123456789";
const NEW_TOKEN: &str = "hvs.fresh-0123456789";

/// A lookup of our token, as a real server answers it.
fn ours() -> Value {
    json!({
        "accessor": "kept-accessor", "creation_time": 1_795_309_653, "creation_ttl": 2_764_800,
        "display_name": OUR_NAME, "entity_id": "", "expire_time": "2026-12-24T01:07:33.84962884Z",
        "explicit_max_ttl": 0, "id": FILE_TOKEN, "issue_time": "2026-11-22T01:07:33.849632779Z", "meta": null,
        "num_uses": 0, "orphan": true, "path": "auth/token/create", "period": 2_764_800,
        "policies": ["default", "sops-admin", "vault-admin"], "renewable": true, "ttl": 2_764_799,
        "type": "service",
    })
}

fn foreign() -> Value {
    with(with(ours(), "display_name", json!("oidc-vbarzin")), "path", json!("auth/oidc/oidc/callback"))
}

fn minted() -> Value {
    with(with(ours(), "id", json!(NEW_TOKEN)), "accessor", json!("new-accessor"))
}

fn with(mut info: Value, key: &str, value: Value) -> Value {
    info[key] = value;
    info
}

fn without(mut info: Value, keys: &[&str]) -> Value {
    for key in keys {
        info.as_object_mut().unwrap().remove(*key);
    }
    info
}

fn data(info: &Value) -> String {
    json!({
        "request_id": "5fe732c5", "lease_id": "", "renewable": false, "lease_duration": 0, "data": info,
        "wrap_info": null, "warnings": null, "auth": null,
    })
    .to_string()
}

fn auth(token: &str, accessor: &str, lease: u64) -> Value {
    json!({
        "client_token": token, "accessor": accessor, "policies": ["default", "vault-admin"],
        "token_policies": ["default", "vault-admin"], "metadata": null, "lease_duration": lease,
        "renewable": true, "entity_id": "", "token_type": "service", "orphan": true,
        "mfa_requirement": null, "num_uses": 0,
    })
}

fn authenticated(auth: &Value, warnings: &Value) -> String {
    json!({ "data": null, "auth": auth, "warnings": warnings, "lease_duration": 0 }).to_string()
}

/// A lookup with this token is answered so.
fn lookup(server: &mut Server, token: &str, status: usize, body: &str) -> Mock {
    server
        .mock("GET", "/v1/auth/token/lookup-self")
        .match_header("x-vault-token", token)
        .with_status(status)
        .with_header("content-type", "application/json")
        .with_body(body)
        .create()
}

fn post(server: &mut Server, path: &str, status: usize, body: &str) -> Mock {
    server
        .mock("POST", format!("/v1/{path}").as_str())
        .with_status(status)
        .with_header("content-type", "application/json")
        .with_body(body)
        .create()
}

/// A server on which a heal goes well, and its mocks.
fn healing(server: &mut Server) -> Vec<Mock> {
    vec![
        lookup(server, FILE_TOKEN, 200, &data(&foreign())),
        post(
            server,
            "auth/token/create",
            200,
            &authenticated(&auth(NEW_TOKEN, "new-accessor", 2_764_800), &json!(null)),
        ),
        lookup(server, NEW_TOKEN, 200, &data(&minted())),
        server
            .mock("GET", "/v1/auth/token/accessors/")
            .match_query("list=true")
            .with_body(data(&json!({ "keys": ["new-accessor"] })))
            .create(),
        post(server, "auth/token/lookup-accessor", 200, &data(&with(minted(), "id", json!("")))),
    ]
}

/// Takes one of the mocks of [`healing`] away, so that a test can put another in its place. Without this the
/// older one would go on answering.
fn replaced(mocks: &mut Vec<Mock>, number: usize) {
    mocks.remove(number).remove();
}

fn guarded() -> (ServerGuard, Sandbox) {
    let home = Sandbox::holding(FILE_TOKEN);
    home.guard(NEW_TOKEN);
    (Server::new(), home)
}

#[test]
fn a_renewal_is_two_requests_with_the_headers_of_the_official_client() {
    let (mut server, home) = guarded();
    let common = |mock: Mock| {
        mock.match_header("x-vault-token", FILE_TOKEN)
            .match_header("x-vault-request", "true")
            .match_header("x-vault-namespace", Matcher::Missing)
            .match_header("user-agent", concat!("vault-token-renew/", env!("CARGO_PKG_VERSION")))
            .expect(1)
    };
    let look = common(server.mock("GET", "/v1/auth/token/lookup-self"))
        .match_body("")
        .with_body(data(&ours()))
        .create();
    let renew = common(server.mock("POST", "/v1/auth/token/renew-self"))
        .match_header("content-type", "application/json")
        .match_body("{}")
        .with_body(authenticated(&auth(FILE_TOKEN, "kept-accessor", 2_764_800), &json!(null)))
        .create();
    let assertion = home.command(&server.url()).assert().code(0);
    assertion
        .stdout(predicate::str::ends_with(" OK renewed (dn=token-devvm-wizard ttl=2764800s)\n"))
        .stderr("");
    look.assert();
    renew.assert();
}

#[test]
fn a_mint_orders_what_vault_token_create_orphan_orders() {
    let (mut server, home) = guarded();
    let mut mocks = healing(&mut server);
    replaced(&mut mocks, 1);
    let create = server
        .mock("POST", "/v1/auth/token/create")
        .match_header("x-vault-token", FILE_TOKEN)
        .match_header("x-vault-namespace", "team1")
        .match_body(Matcher::AllOf(vec![
            Matcher::PartialJson(json!({
                "policies": ["vault-admin", "sops-admin"], "period": 2_764_800, "display_name": "devvm-wizard",
                "no_parent": true, "renewable": true, "type": "service",
                "meta": { "managed_by": "vault-token-renew", "user": "wizard" },
            })),
            Matcher::Regex(r#""host":"[^"]+""#.to_owned()),
        ]))
        .with_body(authenticated(&auth(NEW_TOKEN, "new-accessor", 2_764_800), &json!(null)))
        .expect(1)
        .create();
    let run = home.run(&server.url(), &["--namespace", "team1"]).expect(0);
    assert_eq!(
        run.said(),
        "HEALED: re-minted periodic token from foreign dn=\"oidc-vbarzin\" (revoked 0 stale periodic token(s))"
    );
    assert_eq!(home.token(), NEW_TOKEN);
    create.assert();
    for mock in mocks {
        mock.assert();
    }
}

#[test]
fn a_refused_mint_is_tried_once_on_the_other_path() {
    for status in [400, 403] {
        let (mut server, home) = guarded();
        let mut mocks = healing(&mut server);
        replaced(&mut mocks, 1);
        let refused = post(&mut server, "auth/token/create", status, r#"{"errors":["no"]}"#).expect(1);
        let other = post(
            &mut server,
            "auth/token/create-orphan",
            200,
            &authenticated(&auth(NEW_TOKEN, "new-accessor", 2_764_800), &json!(null)),
        )
        .expect(1);
        home.run(&server.url(), &[]).expect(0);
        assert_eq!(home.token(), NEW_TOKEN);
        refused.assert();
        other.assert();
    }
}

#[test]
fn a_mint_that_was_not_refused_but_failed_is_never_repeated() {
    for (status, body) in [
        (500, r#"{"errors":["internal error"]}"#),
        (502, "<html>"),
        (503, r#"{"errors":["Vault is sealed"]}"#),
        (429, r#"{"errors":["rate limit"]}"#),
        (412, r#"{"errors":[]}"#),
        (404, r#"{"errors":["no handler for route"]}"#),
        (405, r#"{"errors":["unsupported operation"]}"#),
        (403, "<html>Forbidden</html>"),
        (400, "Bad Request"),
        (204, ""),
        (200, ""),
        (200, "null"),
        (200, r#"{"auth":null}"#),
        (200, r#"{"auth":{"client_token":"","accessor":"x"}}"#),
        (200, "<html>Sign in</html>"),
    ] {
        let (mut server, home) = guarded();
        let _look = lookup(&mut server, FILE_TOKEN, 200, &data(&foreign()));
        let create = post(&mut server, "auth/token/create", status, body).expect(1);
        let other = post(&mut server, "auth/token/create-orphan", 200, "{}").expect(0);
        let mut command = home.command(&server.url());
        let run = home.finish(command.env("VTR_RETRY_FOR", "2s")).expect(1);
        assert!(run.complaint().starts_with("FAIL: mint: "), "{status} {body}: {run:?}");
        assert!(!run.stderr.contains("DRIFT") && !run.stderr.contains("denied"), "{status} {body}: {run:?}");
        assert_eq!(home.token(), FILE_TOKEN);
        create.assert();
        other.assert();
    }
}

#[test]
fn a_minted_token_that_contradicts_the_order_is_revoked_and_not_kept() {
    for (info, reason) in [
        (with(minted(), "display_name", json!("token")), "its display name is \"token\""),
        (with(minted(), "policies", json!(["default", "vault-admin-ro"])), "it lacks the required policy"),
        (with(minted(), "orphan", json!(false)), "it is not an orphan"),
        (with(minted(), "period", json!(60)), "its period is 60s"),
        (with(minted(), "type", json!("batch")), "its type is \"batch\""),
        (with(minted(), "accessor", json!("")), "it has no accessor"),
        (with(minted(), "accessor", json!("another")), "the server speaks of another token"),
    ] {
        let (mut server, home) = guarded();
        let mut mocks = healing(&mut server);
        replaced(&mut mocks, 2);
        let _check = lookup(&mut server, NEW_TOKEN, 200, &data(&info));
        let revoke = server
            .mock("POST", "/v1/auth/token/revoke-self")
            .match_header("x-vault-token", NEW_TOKEN)
            .with_status(204)
            .expect(1)
            .create();
        let run = home.run(&server.url(), &[]).expect(1);
        assert_eq!(
            run.complaint(),
            format!("FAIL: check of the minted token: {reason}; it was not put into ~/.vault-token")
        );
        assert_eq!(home.token(), FILE_TOKEN);
        revoke.assert();
    }
}

#[test]
fn a_minted_token_that_may_not_revoke_itself_is_revoked_by_the_one_that_minted_it() {
    let (mut server, home) = guarded();
    let mut mocks = healing(&mut server);
    replaced(&mut mocks, 2);
    let _check = lookup(&mut server, NEW_TOKEN, 200, &data(&with(minted(), "orphan", json!(false))));
    let _denied = post(&mut server, "auth/token/revoke-self", 403, r#"{"errors":["permission denied"]}"#);
    let revoke = server
        .mock("POST", "/v1/auth/token/revoke-accessor")
        .match_header("x-vault-token", FILE_TOKEN)
        .match_body(r#"{"accessor":"new-accessor"}"#)
        .with_status(204)
        .expect(1)
        .create();
    home.run(&server.url(), &[]).expect(1);
    revoke.assert();
}

#[test]
fn a_minted_token_that_cannot_be_revoked_is_told() {
    let (mut server, home) = guarded();
    let mut mocks = healing(&mut server);
    replaced(&mut mocks, 2);
    let _check = lookup(&mut server, NEW_TOKEN, 200, &data(&with(minted(), "period", json!(1))));
    let _down = post(&mut server, "auth/token/revoke-self", 500, r#"{"errors":["broken"]}"#);
    let _down = post(&mut server, "auth/token/revoke-accessor", 500, r#"{"errors":["broken"]}"#);
    let run = home.run(&server.url(), &[]).expect(1);
    let warning = run.complaints()[0];
    assert!(
        warning.starts_with("WARN: the minted token new-acce… could not be revoked (revocation: "),
        "{run:?}"
    );
    let state = home.snapshot().into_iter().find(|(name, _)| name.contains(".json")).unwrap();
    assert!(String::from_utf8(state.1.3).unwrap().contains("new-accessor"), "the next sweep has to know it");
}

#[test]
fn what_servers_may_leave_out_or_add_changes_nothing() {
    for info in [
        without(
            ours(),
            &["renewable", "issue_time", "expire_time", "meta", "num_uses", "type", "path", "orphan"],
        ),
        with(with(ours(), "identity_policies", json!(null)), "policies", json!(["vault-admin"])),
        with(with(ours(), "identity_policies", json!(["vault-admin"])), "policies", json!([])),
        with(with(ours(), "identity_policies", json!(["vault-admin"])), "policies", json!(null)),
        with(ours(), "identity_policies", json!([])),
        with(ours(), "ttl", json!(-5)),
        with(ours(), "meta", json!({ "host": 5, "deep": { "er": [1] } })),
        with(ours(), "something_new", json!({ "a": [1, 2, { "b": null }] })),
    ] {
        let (mut server, home) = guarded();
        let _look = lookup(&mut server, FILE_TOKEN, 200, &data(&info));
        let body = authenticated(&auth(FILE_TOKEN, "kept-accessor", 2_764_800), &json!(null));
        let _renew = post(&mut server, "auth/token/renew-self", 200, &body);
        let run = home.run(&server.url(), &[]).expect(0);
        assert_eq!(
            (run.said(), run.stderr.as_str()),
            ("OK renewed (dn=token-devvm-wizard ttl=2764800s)", "")
        );
    }
}

#[test]
fn a_minted_token_in_an_answer_that_cannot_be_read_is_not_quoted() {
    for front in ["\u{feff}", ")]}',\n", "\0", "<p>", "garbage "] {
        let (mut server, home) = guarded();
        let _look = lookup(&mut server, FILE_TOKEN, 200, &data(&foreign()));
        let mint = authenticated(&auth(NEW_TOKEN, "new-accessor", 2_764_800), &json!(null));
        let _mint = post(&mut server, "auth/token/create", 200, &format!("{front}{mint}"));
        let run = home.run(&server.url(), &[]).expect(1);
        assert!(run.complaint().contains("not an answer of Vault (not the JSON it should be)"), "{run:?}");
    }
}

#[test]
fn a_lookup_about_another_token_is_refused_and_one_about_nobody_is_warned_of() {
    let (mut server, home) = guarded();
    let _look = lookup(&mut server, FILE_TOKEN, 200, &data(&with(ours(), "id", json!("s.the-agents-own"))));
    home.guard("s.the-agents-own");
    let run = home.run(&server.url(), &[]).expect(1);
    assert!(
        run.complaint().ends_with("the answer speaks of another token than the one in the file"),
        "{run:?}"
    );
    assert!(run.hints()[0].contains("an agent substitutes its own token"), "{run:?}");

    for info in [without(ours(), &["id"]), with(ours(), "id", json!("")), with(ours(), "id", json!(null))] {
        let (mut server, home) = guarded();
        let _look = lookup(&mut server, FILE_TOKEN, 200, &data(&info));
        let body = authenticated(&auth(FILE_TOKEN, "kept-accessor", 2_764_800), &json!(null));
        let _renew = post(&mut server, "auth/token/renew-self", 200, &body);
        let run = home.run(&server.url(), &[]).expect(0);
        assert!(
            run.complaint().starts_with("WARN: the server does not say which token it speaks of"),
            "{run:?}"
        );
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
            "404: no handler for route \"x\".",
        ),
        (404, "404 page not found", "404: not an answer of Vault (application/json, \"404 page not found\")"),
        (405, r#"{"errors":["unsupported operation"]}"#, "405: unsupported operation"),
        (500, r#"{"errors":["a","b"]}"#, "500: a; b"),
        (502, "<html>Bad Gateway", "502: not an answer of Vault ("),
        (201, "{}", "201: not an answer of Vault ("),
    ] {
        let (mut server, home) = guarded();
        let _look = lookup(&mut server, FILE_TOKEN, status, body);
        let run = home.run(&server.url(), &[]).expect(1);
        let expected = format!("FAIL: token lookup: {}/v1/auth/token/lookup-self: {reason}", server.url());
        assert!(run.complaint().starts_with(&expected), "{expected}\n{run:?}");
        assert_eq!(home.token(), FILE_TOKEN);
    }
    let deep = format!(r#"{{"data":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    let (mut server, home) = guarded();
    let _look = lookup(&mut server, FILE_TOKEN, 200, &deep);
    assert!(home.run(&server.url(), &[]).expect(1).complaint().contains("not an answer of Vault"));
}

#[test]
fn a_secret_that_the_server_repeats_does_not_reach_a_line() {
    for (status, body) in [
        (403, format!(r#"{{"errors":["bad token {FILE_TOKEN}"]}}"#)),
        (500, format!(r#"{{"errors":["bad token {FILE_TOKEN}"]}}"#)),
        (502, format!("<p>X-Vault-Token: {FILE_TOKEN}")),
        (200, format!(r#"{{"data":"{FILE_TOKEN}"}}"#)),
        (200, data(&with(foreign(), "display_name", json!(FILE_TOKEN)))),
    ] {
        let (mut server, home) = guarded();
        let _look = lookup(&mut server, FILE_TOKEN, status, &body);
        let denied = format!(r#"{{"errors":["permission denied for {FILE_TOKEN}"]}}"#);
        let _mint = post(&mut server, "auth/token/create", 403, &denied);
        let _mint = post(&mut server, "auth/token/create-orphan", 403, &denied);
        // `run` itself looks for the token in all that was said.
        home.run(&server.url(), &[]).expect(1);
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
            let (mut server, home) = guarded();
            let mut mocks = healing(&mut server);
            replaced(&mut mocks, 2);
            replaced(&mut mocks, 0);
            let _look =
                lookup(&mut server, FILE_TOKEN, 200, &data(&with(foreign(), field, value(FILE_TOKEN))));
            // The lookup of the minted token is asked with that one, and may repeat the other all the same.
            let _check = lookup(&mut server, NEW_TOKEN, 200, &data(&with(minted(), field, value(BOTH))));
            let told = json!({ "auth/token/create": [FILE_TOKEN, "update"], "auth/token/create-orphan": [FILE_TOKEN] });
            let _may = post(&mut server, "sys/capabilities-self", 200, &data(&told));
            home.run(&server.url(), arguments);
        }
    }
    // The answer to the mint.
    let (mut server, home) = guarded();
    let mut mocks = healing(&mut server);
    replaced(&mut mocks, 1);
    let answer = authenticated(&auth(NEW_TOKEN, BOTH, 2_764_800), &json!([BOTH]));
    let _mint = post(&mut server, "auth/token/create", 200, &answer);
    let run = home.run(&server.url(), &[]);
    assert!(run.stderr.contains("(token) (token)"), "{run:?}");
    // The warnings of a renewal.
    let (mut server, home) = guarded();
    let _look = lookup(&mut server, FILE_TOKEN, 200, &data(&ours()));
    let answer = authenticated(&auth(FILE_TOKEN, "kept-accessor", 2_764_800), &json!([FILE_TOKEN]));
    let _renew = post(&mut server, "auth/token/renew-self", 200, &answer);
    assert_eq!(home.run(&server.url(), &[]).expect(0).complaint(), "WARN: the server warns: \"(token)\"");
    // An error that comes when another token has been sent in between.
    let (mut server, home) = guarded();
    let mut mocks = healing(&mut server);
    replaced(&mut mocks, 2);
    let _check = lookup(&mut server, NEW_TOKEN, 500, &json!({ "errors": [BOTH] }).to_string());
    let run = home.run(&server.url(), &[]).expect(1);
    assert!(run.stderr.contains("500: (token) (token)"), "{run:?}");
    // The type of a strange answer, and where a redirect leads.
    for (status, header, value) in [
        (502, "content-type", format!("text/plain; echo={FILE_TOKEN}")),
        (307, "location", format!("/login?next={FILE_TOKEN}")),
        (307, "location", format!("http://127.0.0.1:1/{FILE_TOKEN}")),
        (307, "location", format!("http://{FILE_TOKEN}.example.org/")),
    ] {
        for arguments in modes {
            let (mut server, home) = guarded();
            let _all = server
                .mock("GET", Matcher::Any)
                .with_status(status)
                .with_header(header, &value)
                .with_body("no")
                .create();
            home.run(&server.url(), arguments).expect(1);
        }
    }
    // A listing.
    let (mut server, home) = guarded();
    // It is asked for with the new token; the old one is repeated as well.
    let no_accessors = [FILE_TOKEN, NEW_TOKEN].map(|token| [token.to_owned(), format!("x{token}")]).concat();
    let _mocks = healing_among(&mut server, &no_accessors);
    let denied = r#"{"errors":["permission denied"]}"#;
    let new = Matcher::PartialJson(json!({ "accessor": "new-accessor" }));
    let _kept = post_matching(&mut server, new, 200, &data(&with(minted(), "id", json!(""))));
    let _gone = post_matching(&mut server, Matcher::Any, 403, denied);
    home.run(&server.url(), &["--json"]).expect(0);
}

/// Behind an agent that hides which token it speaks of, the accessor may be the agent's, and ours the one that a
/// sweep would take for stale.
#[test]
fn nothing_is_swept_where_nobody_says_whose_accessor_it_is() {
    for (arguments, status) in [(&["sweep"][..], 1), (&["sweep", "--dry-run"], 1), (&[], 0)] {
        let (mut server, home) = guarded();
        let _look = lookup(&mut server, FILE_TOKEN, 200, &data(&without(ours(), &["id"])));
        let _renew = post(
            &mut server,
            "auth/token/renew-self",
            200,
            &authenticated(&auth(FILE_TOKEN, "a", 2_764_800), &json!(null)),
        );
        let _list = server
            .mock("GET", "/v1/auth/token/accessors/")
            .match_query("list=true")
            .with_body(data(&json!({ "keys": ["kept-accessor", "the-one-in-the-file"] })))
            .create();
        let stale = with(with(ours(), "id", json!("")), "accessor", json!("the-one-in-the-file"));
        let _stale = post_matching(
            &mut server,
            Matcher::PartialJson(json!({ "accessor": "the-one-in-the-file" })),
            200,
            &data(&stale),
        );
        let kept = data(&with(ours(), "id", json!("")));
        let _kept = post_matching(
            &mut server,
            Matcher::PartialJson(json!({ "accessor": "kept-accessor" })),
            200,
            &kept,
        );
        let revoke =
            server.mock("POST", "/v1/auth/token/revoke-accessor").with_status(204).expect(0).create();
        let run = home.run(&server.url(), arguments).expect(status);
        revoke.assert();
        assert!(run.stderr.contains("is there an agent in between?"), "{run:?}");
        if !arguments.is_empty() {
            let all = format!("{}{}", run.stdout, run.stderr);
            assert!(all.contains("the server does not know the token to keep"), "{run:?}");
        }
    }
}

/// A server that renews our token without saying whose accessor it names, and lists another of our name. The
/// last mock is the revocation, which has to happen so many times.
fn behind_an_agent(server: &mut Server, info: &Value, revocations: usize) -> Vec<Mock> {
    let by_accessor =
        |accessor: &str| data(&with(with(ours(), "id", json!("")), "accessor", json!(accessor)));
    let named = |accessor: &str| Matcher::PartialJson(json!({ "accessor": accessor }));
    let renewed = authenticated(&auth(FILE_TOKEN, "a", 2_764_800), &json!(null));
    vec![
        lookup(server, FILE_TOKEN, 200, &data(info)),
        post(server, "auth/token/renew-self", 200, &renewed),
        server
            .mock("GET", "/v1/auth/token/accessors/")
            .match_query("list=true")
            .with_body(data(&json!({ "keys": ["kept-accessor", "another"] })))
            .create(),
        post_matching(server, named("kept-accessor"), 200, &by_accessor("kept-accessor")),
        post_matching(server, named("another"), 200, &by_accessor("another")),
        server
            .mock("POST", "/v1/auth/token/revoke-accessor")
            .match_body(named("another"))
            .with_status(204)
            .expect(revocations)
            .create(),
    ]
}

/// Changes the state that an earlier run has left.
fn remember(home: &Sandbox, change: impl FnOnce(&mut Value)) {
    let path = home.path().join(state_file(home));
    let mut state = state(home);
    change(&mut state);
    fs::write(path, state.to_string()).unwrap();
}

fn state(home: &Sandbox) -> Value {
    serde_json::from_slice(&home.snapshot()[&state_file(home)].3).expect("JSON")
}

fn state_file(home: &Sandbox) -> String {
    let mut names = home.snapshot().into_keys();
    names.find(|name| Path::new(name).extension() == Some("json".as_ref())).expect("a state file")
}

#[test]
fn what_is_due_waits_until_it_is_known_whose_accessor_it_is() {
    let hidden = without(ours(), &["id"]);
    let none: Vec<&str> = Vec::new();
    for left in [json!({ "sweep_due": true }), json!({ "second_look": ["another"] })] {
        // One that this machine minted is ours, whoever is in between.
        for (minted, revocations) in [(none.clone(), 0), (vec!["kept-accessor"], 1)] {
            let (mut server, home) = guarded();
            let mut mocks = behind_an_agent(&mut server, &hidden, revocations);
            home.run(&server.url(), &[]).expect(0);
            remember(&home, |state| {
                state["minted"] = json!(minted);
                for (key, value) in left.as_object().unwrap() {
                    state[key] = value.clone();
                }
            });
            let foreseen = home.run(&server.url(), &["--dry-run"]).expect(0);
            assert_eq!(foreseen.stdout.contains("would revoke 1 stale"), revocations == 1, "{foreseen:?}");
            let run = home.run(&server.url(), &[]).expect(0);
            mocks.last().unwrap().assert();
            let state = state(&home);
            let waits = left.as_object().unwrap().iter().all(|(key, value)| state[key] == *value);
            assert_eq!(waits, revocations == 0, "{left} {state} {run:?}");
            if revocations == 0 {
                // And when it is known, it is made up for.
                drop(mocks);
                server.reset();
                mocks = behind_an_agent(&mut server, &ours(), 1);
                home.run(&server.url(), &[]).expect(0);
                mocks.last().unwrap().assert();
            }
        }
    }
}

#[test]
fn nothing_is_counted_or_listed_where_nobody_says_whose_accessor_it_is() {
    // Our name, and it ends: a heal would follow, and revoke the token it began with.
    let hidden = without(with(ours(), "renewable", json!(false)), &["id"]);
    for (minted, revoked) in
        [(json!([]), json!([])), (json!(["kept-accessor"]), json!(["another", "kept-accessor"]))]
    {
        let (mut server, home) = guarded();
        let mut mocks = behind_an_agent(&mut server, &without(ours(), &["id"]), 0);
        home.run(&server.url(), &[]).expect(0);
        remember(&home, |state| state["minted"] = minted.clone());
        let _policies = server
            .mock("GET", Matcher::Regex("^/v1/sys/policies/acl/".to_owned()))
            .with_status(403)
            .with_body(r#"{"errors":["permission denied"]}"#)
            .create();
        let status: Value =
            serde_json::from_str(&home.run(&server.url(), &["status", "--json"]).stdout).expect("JSON");
        let known = minted != json!([]);
        let expected = if known { json!({ "total": 2, "stale": 1 }) } else { json!(null) };
        assert_eq!(status["tokens_of_our_name"], expected);
        replaced(&mut mocks, 0);
        let _look = lookup(&mut server, FILE_TOKEN, 200, &data(&hidden));
        let may = json!({ "auth/token/create": ["update", "sudo"], "auth/token/create-orphan": ["deny"] });
        let _may = post(&mut server, "sys/capabilities-self", 200, &data(&may));
        let run = home.run(&server.url(), &["--dry-run", "--json"]).expect(0);
        let foreseen: Value = serde_json::from_str(&run.stdout).expect("JSON");
        assert_eq!(
            (&foreseen["outcome"], &foreseen["sweep"]["would_revoke"]),
            (&json!("would_heal"), &revoked)
        );
    }
}

#[test]
fn a_minted_token_is_kept_by_the_accessor_that_its_mint_named() {
    let no_accessor = with(auth(NEW_TOKEN, "", 2_764_800), "accessor", json!(null));
    for (auth, revocations) in [(auth(NEW_TOKEN, "new-accessor", 2_764_800), 1), (no_accessor, 0)] {
        let (mut server, home) = guarded();
        let mut mocks = healing_among(&mut server, &["another".to_owned()]);
        replaced(&mut mocks, 2);
        replaced(&mut mocks, 1);
        let _mint = post(&mut server, "auth/token/create", 200, &authenticated(&auth, &json!(null)));
        let _check = lookup(&mut server, NEW_TOKEN, 200, &data(&without(minted(), &["id"])));
        for accessor in ["new-accessor", "another"] {
            let info = data(&with(with(ours(), "id", json!("")), "accessor", json!(accessor)));
            mocks.push(post_matching(
                &mut server,
                Matcher::PartialJson(json!({ "accessor": accessor })),
                200,
                &info,
            ));
        }
        let revoke = server
            .mock("POST", "/v1/auth/token/revoke-accessor")
            .with_status(204)
            .expect(revocations)
            .create();
        let run = home.run(&server.url(), &[]).expect(0);
        revoke.assert();
        assert_eq!(home.token(), NEW_TOKEN);
        assert_eq!(state(&home)["sweep_due"], json!(revocations == 0), "{run:?}");
    }
}

#[test]
fn an_accessor_that_is_too_long_for_one_is_neither_looked_up_nor_remembered() {
    let (mut server, home) = guarded();
    let long = "a".repeat(257);
    let _mocks = healing_among(&mut server, &[long.clone(), "short".to_owned()]);
    let new = Matcher::PartialJson(json!({ "accessor": "new-accessor" }));
    let _kept = post_matching(&mut server, new, 200, &data(&with(minted(), "id", json!(""))));
    let others = Matcher::Regex("aaa|short".to_owned());
    let denied = post_matching(&mut server, others, 403, r#"{"errors":["permission denied"]}"#).expect(1);
    home.run(&server.url(), &[]).expect(0);
    denied.assert();
    assert_eq!(state(&home)["second_look"], json!(["short"]));
}

#[test]
fn json_on_the_terminal_is_as_harmless_as_a_line() {
    let name = "oidc-\u{9b}31m\u{7f}\u{202e}\u{2066}\u{2028}\u{e0001}é";
    let (mut server, home) = guarded();
    let _look = lookup(&mut server, FILE_TOKEN, 200, &data(&with(foreign(), "display_name", json!(name))));
    let _mints = ["auth/token/create", "auth/token/create-orphan"]
        .map(|path| post(&mut server, path, 403, r#"{"errors":["permission denied"]}"#));
    for arguments in [&["--json"][..], &["status", "--json"], &["--dry-run", "--json"]] {
        let run = home.run(&server.url(), arguments).expect(1);
        let odd = |c: char| (c.is_control() && c != '\n') || (!c.is_ascii() && !"é—".contains(c));
        assert!(!run.stdout.contains(odd), "{run:?}");
        let object: Value = serde_json::from_str(&run.stdout).expect("JSON");
        if arguments != ["--dry-run", "--json"] {
            assert_eq!(object["token"]["display_name"], json!(name));
        }
    }
}

#[test]
fn a_folder_whose_name_holds_a_line_feed_begins_no_line() {
    let home = Sandbox::holding(FILE_TOKEN);
    let folder = home.path().join("a\nOK renewed");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("work.toml"), "").unwrap();
    for (flag, told) in
        [("--config", "--config"), ("--token-file", "--token-file: it"), ("--log-file", "--log-file: it")]
    {
        let mut command = home.command("http://127.0.0.1:1");
        let run = home.finish(command.current_dir(&folder).args([flag, "work.toml"])).expect(2);
        let begin = format!("vault-token-renew: error: {told} holds control characters: ");
        assert!(run.stderr.starts_with(&begin) && run.stderr.lines().count() == 1, "{run:?}");
    }
}

#[test]
fn a_renewal_that_renewed_nothing_is_not_called_one() {
    for (status, body, reason) in [
        (204, String::new(), "the server renews nothing and does not say why (2764799s left)"),
        (400, r#"{"errors":["lease is not renewable"]}"#.to_owned(), "it is not renewable (2764799s left)"),
        (
            200,
            authenticated(&with(auth(FILE_TOKEN, "a", 60), "renewable", json!(false)), &json!(null)),
            "it is not renewable (60s left)",
        ),
        (200, authenticated(&auth(FILE_TOKEN, "a", 0), &json!(null)), "it is not renewable (0s left)"),
    ] {
        let (mut server, home) = guarded();
        let mut mocks = healing(&mut server);
        replaced(&mut mocks, 0);
        let _look = lookup(&mut server, FILE_TOKEN, 200, &data(&ours()));
        let _renew = post(&mut server, "auth/token/renew-self", status, &body);
        let run = home.run(&server.url(), &[]).expect(0);
        assert_eq!(
            run.complaint(),
            format!("WARN: our token dn=\"{OUR_NAME}\" is dying: {reason}; minting its successor")
        );
        assert!(run.said().starts_with("HEALED: re-minted periodic token from dying"), "{run:?}");
    }
    for (status, body) in [
        (200, "null"),
        (200, r#"{"auth":null}"#),
        (200, r#"{"auth":{}}"#),
        (200, ""),
        (403, r#"{"errors":["1 error occurred:\n\t* permission denied\n\n"]}"#),
        (500, r#"{"errors":["failed to renew entry"]}"#),
    ] {
        let (mut server, home) = guarded();
        let _look = lookup(&mut server, FILE_TOKEN, 200, &data(&ours()));
        let _renew = post(&mut server, "auth/token/renew-self", status, body);
        let run = home.run(&server.url(), &[]).expect(1);
        assert!(run.complaint().starts_with("FAIL: renewal: "), "{run:?}");
    }
}

#[test]
fn warnings_of_the_server_are_passed_on() {
    let (mut server, home) = guarded();
    let _look = lookup(&mut server, FILE_TOKEN, 200, &data(&ours()));
    let warnings = json!(["period of \"1000h\" exceeded\nthe effective max_ttl"]);
    let body = authenticated(&auth(FILE_TOKEN, "kept-accessor", 60), &warnings);
    let _renew = post(&mut server, "auth/token/renew-self", 200, &body);
    let run = home.run(&server.url(), &[]).expect(0);
    assert_eq!(
        run.complaint(),
        r#"WARN: the server warns: "period of \"1000h\" exceeded\nthe effective max_ttl""#
    );
}

#[test]
fn one_event_is_one_line_whatever_the_server_calls_the_token() {
    let emoji = "😀".repeat(2_500);
    for name in ["a \"quoted\" name", "two\nlines", "\u{1b}[2J\u{1b}[31mred", "\u{202e}txt", emoji.as_str()] {
        let (mut server, home) = guarded();
        let _look =
            lookup(&mut server, FILE_TOKEN, 200, &data(&with(foreign(), "display_name", json!(name))));
        let _mint = post(&mut server, "auth/token/create", 403, r#"{"errors":["permission\ndenied"]}"#);
        let _mint =
            post(&mut server, "auth/token/create-orphan", 403, r#"{"errors":["permission\ndenied"]}"#);
        let run = home.run(&server.url(), &[]).expect(1);
        assert!(run.complaint().starts_with("DRIFT: ~/.vault-token is dn=\""), "{run:?}");
        assert_eq!(home.log(), run.stderr);
        assert!(!run.stderr.trim_end().contains(|c: char| c.is_control() || c == '\u{202e}'), "{run:?}");
    }
}

#[test]
fn the_sweep_looks_up_the_kept_token_first_and_revokes_nothing_it_does_not_know() {
    // The server does not know the accessor that is to be kept: nothing may be revoked.
    let (mut server, home) = guarded();
    let mut mocks = healing(&mut server);
    replaced(&mut mocks, 4);
    replaced(&mut mocks, 3);
    let _list = server
        .mock("GET", "/v1/auth/token/accessors/")
        .match_query("list=true")
        .with_body(data(&json!({ "keys": ["old-accessor", "another"] })))
        .create();
    let unknown = r#"{"errors":["1 error occurred:\n\t* invalid accessor\n\n"]}"#;
    let _look = post(&mut server, "auth/token/lookup-accessor", 400, unknown);
    let revoke = post(&mut server, "auth/token/revoke-accessor", 204, "").expect(0);
    let run = home.run(&server.url(), &[]).expect(0);
    assert!(
        run.said().ends_with("(accessor sweep skipped (the server does not know the token to keep))"),
        "{run:?}"
    );
    revoke.assert();
}

#[test]
fn an_agent_that_substitutes_its_own_token_loses_nothing_by_us() {
    let (mut server, home) = guarded();
    // The agent answers for itself whoever asks, and removes the id.
    let agents = without(with(foreign(), "accessor", json!("agents-accessor")), &["id"]);
    let _look = lookup(&mut server, FILE_TOKEN, 200, &data(&agents));
    let _look = lookup(&mut server, NEW_TOKEN, 200, &data(&with(agents, "display_name", json!(OUR_NAME))));
    let mint = authenticated(&auth(NEW_TOKEN, "new-accessor", 2_764_800), &json!(null));
    let _mint = post(&mut server, "auth/token/create", 200, &mint);
    let suicide = post(&mut server, "auth/token/revoke-self", 204, "").expect(0);
    let revoke = server
        .mock("POST", "/v1/auth/token/revoke-accessor")
        .match_body(r#"{"accessor":"new-accessor"}"#)
        .with_status(204)
        .expect(1)
        .create();
    let run = home.run(&server.url(), &[]).expect(1);
    assert!(
        run.complaints()
            .last()
            .unwrap()
            .contains("check of the minted token: the server speaks of another token"),
        "{run:?}"
    );
    assert_eq!(home.token(), FILE_TOKEN);
    suicide.assert();
    revoke.assert();
}

/// A heal after which the server lists these accessors besides the kept one.
fn healing_among(server: &mut Server, others: &[String]) -> Vec<Mock> {
    let mut mocks = healing(server);
    replaced(&mut mocks, 4);
    replaced(&mut mocks, 3);
    let keys: Vec<&str> = others.iter().map(String::as_str).chain(["new-accessor"]).collect();
    mocks.push(
        server
            .mock("GET", "/v1/auth/token/accessors/")
            .match_query("list=true")
            .with_body(data(&json!({ "keys": keys })))
            .create(),
    );
    mocks
}

#[test]
fn a_sweep_that_may_not_look_says_so_and_tries_what_it_remembers() {
    let (mut server, home) = guarded();
    let _mocks = healing_among(&mut server, &["other".to_owned()]);
    let denied = r#"{"errors":["1 error occurred:\n\t* permission denied\n\n"]}"#;
    let _look = post(&mut server, "auth/token/lookup-accessor", 403, denied);
    let run = home.run(&server.url(), &[]).expect(0);
    assert!(run.said().ends_with("(accessor sweep skipped (lookup denied))"), "{run:?}");
}

#[test]
fn an_answer_about_another_accessor_than_was_asked_for_revokes_nothing() {
    for (answered, revoked) in [("other", 1), ("yet-another", 0)] {
        let (mut server, home) = guarded();
        let _mocks = healing_among(&mut server, &["other".to_owned()]);
        let of_our_name =
            |accessor| data(&with(with(minted(), "id", json!("")), "accessor", json!(accessor)));
        let asked = |accessor| Matcher::Json(json!({ "accessor": accessor }));
        let _kept = post_matching(&mut server, asked("new-accessor"), 200, &of_our_name("new-accessor"));
        let _other = post_matching(&mut server, asked("other"), 200, &of_our_name(answered));
        let revoke = post(&mut server, "auth/token/revoke-accessor", 204, "").expect(revoked);
        let run = home.run(&server.url(), &[]).expect(0);
        assert!(run.said().ends_with(&format!("(revoked {revoked} stale periodic token(s))")), "{run:?}");
        revoke.assert();
    }
}

#[test]
fn many_denials_during_a_sweep_are_not_taken_for_many_vanished_accessors() {
    let (mut server, home) = guarded();
    let others: Vec<String> = (0..40).map(|number| format!("other-{number}")).collect();
    let _mocks = healing_among(&mut server, &others);
    let denied = r#"{"errors":["1 error occurred:\n\t* permission denied\n\n"]}"#;
    let _look = post(&mut server, "auth/token/lookup-accessor", 403, denied);
    let kept = Matcher::Json(json!({ "accessor": "new-accessor" }));
    let _kept = post_matching(&mut server, kept, 200, &data(&with(minted(), "id", json!(""))));
    let run = home.run(&server.url(), &[]).expect(0);
    assert!(run.said().ends_with("(accessor sweep skipped (lookup denied))"), "{run:?}");
}

#[test]
fn an_accessor_the_server_cannot_digest_does_not_make_every_night_a_walk() {
    let (mut server, home) = guarded();
    let others: Vec<String> = (0..9).map(|number| format!("other-{number}")).collect();
    let _mocks = healing_among(&mut server, &others);
    let somebody = with(with(minted(), "display_name", json!("somebody")), "id", json!(""));
    let _look = post(&mut server, "auth/token/lookup-accessor", 200, &data(&somebody));
    let kept = Matcher::Json(json!({ "accessor": "new-accessor" }));
    let _kept = post_matching(&mut server, kept, 200, &data(&with(minted(), "id", json!(""))));
    let leaked = Matcher::Json(json!({ "accessor": "other-3" }));
    let _leaked = post_matching(&mut server, leaked, 500, r#"{"errors":["internal error"]}"#);
    let run = home.run(&server.url(), &[]).expect(0);
    assert!(run.said().ends_with("(revoked 0 stale periodic token(s); 1 could not be looked at)"), "{run:?}");
    let state = home.snapshot().into_iter().find(|(name, _)| name.contains(".json")).unwrap();
    assert!(String::from_utf8(state.1.3).unwrap().contains(r#""sweep_due": false"#));
}

#[test]
fn a_stale_token_that_could_not_be_revoked_keeps_the_sweep_due() {
    let (mut server, home) = guarded();
    let _mocks = healing_among(&mut server, &["other-1".to_owned(), "other-2".to_owned()]);
    for (accessor, name) in [("other-1", "somebody"), ("other-2", OUR_NAME), ("new-accessor", OUR_NAME)] {
        let info = with(with(minted(), "display_name", json!(name)), "accessor", json!(accessor));
        let by = Matcher::Json(json!({ "accessor": accessor }));
        post_matching(&mut server, by, 200, &data(&with(info, "id", json!(""))));
    }
    let _revoke = post(&mut server, "auth/token/revoke-accessor", 500, r#"{"errors":["broken"]}"#);
    let run = home.run(&server.url(), &[]).expect(0);
    assert!(run.said().contains("accessor sweep cut short after 1 of 2 accessors: revocation: "), "{run:?}");
    let state = home.snapshot().into_iter().find(|(name, _)| name.contains(".json")).unwrap();
    assert!(String::from_utf8(state.1.3).unwrap().contains(r#""sweep_due": true"#));
}

#[test]
fn accessors_that_vanish_during_a_sweep_are_no_error() {
    for (status, body) in [
        (400, r#"{"errors":["1 error occurred:\n\t* invalid accessor\n\n"]}"#),
        (403, r#"{"errors":["1 error occurred:\n\t* permission denied\n\n"]}"#),
        (404, r#"{"errors":[]}"#),
    ] {
        let (mut server, home) = guarded();
        let mut mocks = healing(&mut server);
        replaced(&mut mocks, 4);
        replaced(&mut mocks, 3);
        let _list = server
            .mock("GET", "/v1/auth/token/accessors/")
            .match_query("list=true")
            .with_body(data(&json!({ "keys": ["new-accessor", "gone"] })))
            .create();
        let by = |accessor: &str| Matcher::Json(json!({ "accessor": accessor }));
        let _kept =
            post_matching(&mut server, by("new-accessor"), 200, &data(&with(minted(), "id", json!(""))));
        let _gone = post_matching(&mut server, by("gone"), status, body);
        let run = home.run(&server.url(), &[]).expect(0);
        assert!(run.said().ends_with("(revoked 0 stale periodic token(s))"), "{run:?}");
    }
}

fn post_matching(server: &mut Server, body: Matcher, status: usize, answer: &str) -> Mock {
    server
        .mock("POST", "/v1/auth/token/lookup-accessor")
        .match_body(body)
        .with_status(status)
        .with_body(answer)
        .create()
}

#[test]
fn an_empty_listing_is_a_404_without_a_word() {
    let (mut server, home) = guarded();
    let mut mocks = healing(&mut server);
    replaced(&mut mocks, 3);
    let _list = server
        .mock("GET", "/v1/auth/token/accessors/")
        .match_query("list=true")
        .with_status(404)
        .with_body(r#"{"errors":[]}"#)
        .create();
    let run = home.run(&server.url(), &[]).expect(0);
    assert!(run.said().ends_with("(revoked 0 stale periodic token(s))"), "{run:?}");
}

#[test]
fn the_token_of_the_environment_is_ignored_with_a_warning() {
    let (mut server, home) = guarded();
    let _look = lookup(&mut server, FILE_TOKEN, 200, &data(&ours()));
    let body = authenticated(&auth(FILE_TOKEN, "kept-accessor", 2_764_800), &json!(null));
    let _renew = post(&mut server, "auth/token/renew-self", 200, &body);
    let mut command = home.command(&server.url());
    home.guard("s.from-the-environment");
    let run = home.finish(command.env("VAULT_TOKEN", "s.from-the-environment")).expect(0);
    assert!(run.complaint().starts_with("WARN: VAULT_TOKEN is set and ignored here"), "{run:?}");
}

#[test]
fn usage_and_settings_errors_exit_with_2_and_touch_nothing() {
    let (mut server, home) = guarded();
    let nothing = server.mock("GET", Matcher::Any).expect(0).create();
    let before = home.snapshot();
    for (arguments, reason) in [
        (&["--display-name", "emo"][..], "set both"),
        (&["--policy", "root", "--display-name", "x"], "never minted"),
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
        let run = home.run(&server.url(), arguments).expect(2);
        assert!(run.stderr.contains(reason), "{run:?}");
        assert_eq!(run.stdout, "");
    }
    assert_eq!(home.snapshot(), before);
    nothing.assert();
}

#[test]
fn help_and_version_go_to_standard_output() {
    let home = Sandbox::new();
    let help = home.run("http://unused", &["--help"]).expect(0);
    for words in ["--dry-run", "--detailed-exitcode", "VAULT_ADDR", "sweep", "Exit status:", "Example:"] {
        assert!(help.stdout.contains(words), "{words}");
    }
    let version = home.run("http://unused", &["--version"]).expect(0);
    assert_eq!(version.stdout, concat!("vault-token-renew ", env!("CARGO_PKG_VERSION"), "\n"));
    assert_eq!(home.names(), [""; 0]);
}
