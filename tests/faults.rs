//! Servers, lines and streams that misbehave: silence, half answers, redirects, proxies, closed pipes.

#![cfg(test)]
#![expect(clippy::disallowed_methods, reason = "tests write files as they like")]

mod support;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::Stdio;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::sandbox::{PROGRAM, Run, Sandbox, unstamped};
use support::scripted::{Reply, Request, Scripted};
use support::vault_mock::{NEW_TOKEN, healing};
use support::{
    DISPLAY_NAME, FILE_TOKEN, NOWHERE, OUR_NAME, RENEWED, healthy, renewal, server, told_of, wait_until,
};

fn home() -> Sandbox {
    let home = Sandbox::holding(FILE_TOKEN);
    home.guard(NEW_TOKEN);
    home
}

/// Runs with a request time-out of one second and this retry budget.
#[track_caller]
fn run(
    home: &Sandbox,
    server: &(impl AsRef<str> + ?Sized),
    retry_for: &str,
    variables: &[(&str, &str)],
) -> Run {
    let patience = [("VAULT_CLIENT_TIMEOUT", "1s"), ("VTR_RETRY_FOR", retry_for)];
    home.run_with(&[&patience, variables].concat(), server, &["--detailed-exitcode"])
}

#[test]
fn a_server_that_does_not_answer_in_time_or_in_full_is_an_outage() {
    let half = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 5000\r\n\r\n{\"data\":{\"id\":";
    let slow = format!("HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n{}", " ".repeat(9999));
    for (reply, reason) in [
        (Reply::Hang, "no answer in time"),
        (Reply::Close, "the connection was closed before the answer was complete"),
        (Reply::Raw(half.to_vec()), "the connection was closed before the answer was complete"),
        (Reply::Raw(b"HTTP/1.1 2".to_vec()), "the connection was closed before the answer was complete"),
        (Reply::Raw(b"SSH-2.0-OpenSSH\r\n\r\n".to_vec()), "the answer is not HTTP"),
        (Reply::Drip(slow.into_bytes(), Duration::from_millis(100)), "no answer in time"),
    ] {
        let what = format!("{reply:?}").chars().take(60).collect::<String>();
        let server = Scripted::start(move |_, _| reply.clone());
        let (home, start) = (home(), Instant::now());
        let run = run(&home, &server, "0s", &[]).expect(75);
        assert_eq!(run.complaint(), format!("FAIL: token lookup: {}: {reason}", server.address()), "{what}");
        assert!(start.elapsed() < Duration::from_secs(10), "{what}");
        assert_eq!(home.token(), FILE_TOKEN);
    }
}

#[test]
fn an_outage_that_passes_within_the_budget_is_ridden_out() {
    let replies = [
        Reply::Close,
        Reply::Json(503, r#"{"errors":["Vault is sealed"]}"#.to_owned()),
        Reply::Json(412, r#"{"errors":["required index state not present"]}"#.to_owned()),
        Reply::Full(429, vec![("Retry-After".to_owned(), "1".to_owned())], "{}".to_owned()),
        Reply::Full(502, Vec::new(), "<html>".to_owned()),
    ];
    for reply in replies {
        let server =
            Scripted::start(move |request, number| if number < 2 { reply.clone() } else { healthy(request) });
        let home = home();
        assert_eq!(run(&home, &server, "20s", &[]).expect(10).said(), RENEWED);
        assert_eq!(server.count("auth/token/lookup-self"), 3);
    }
}

#[test]
fn an_outage_that_lasts_is_not_hammered_and_ends_with_the_budget() {
    let server = Scripted::start(|_, _| Reply::Json(500, r#"{"errors":["broken"]}"#.to_owned()));
    let (home, start) = (home(), Instant::now());
    let run = run(&home, &server, "3s", &[]).expect(75);
    assert!(run.complaint().ends_with("500: broken"), "{run:?}");
    assert!(start.elapsed() < Duration::from_secs(8), "{:?}", start.elapsed());
    let requests = server.requests().len();
    assert!((2..=31).contains(&requests), "{requests} requests in three seconds");
}

#[test]
fn what_the_server_asks_to_wait_is_waited_or_given_up_on_at_once() {
    let wait = |seconds: &str| {
        Reply::Full(429, vec![("Retry-After".to_owned(), seconds.to_owned())], "{}".to_owned())
    };
    let long = wait("3600");
    let server = Scripted::start(move |_, _| long.clone());
    let start = Instant::now();
    run(&home(), &server, "20s", &[]).expect(75);
    assert_eq!(server.requests().len(), 1);
    assert!(start.elapsed() < Duration::from_secs(5));

    let short = wait("2");
    let server =
        Scripted::start(move |request, number| if number == 0 { short.clone() } else { healthy(request) });
    let start = Instant::now();
    run(&home(), &server, "20s", &[]).expect(10);
    assert!(start.elapsed() >= Duration::from_secs(2));
}

#[test]
fn a_denial_is_believed_the_third_time_and_not_retried_within_the_budget() {
    let server = Scripted::start(|_, _| Reply::Json(403, r#"{"errors":["permission denied"]}"#.to_owned()));
    // A standby that lags behind does not know it yet: so a denial is believed the third time, budget or not.
    let start = Instant::now();
    run(&home(), &server, "20s", &[]).expect(4);
    assert_eq!(server.requests().len(), 3);
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    let server = Scripted::start(|_, _| Reply::Json(501, r#"{"errors":["not here"]}"#.to_owned()));
    run(&home(), &server, "20s", &[]).expect(1);
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn a_mint_whose_answer_is_lost_is_not_repeated() {
    for reply in
        [Reply::Close, Reply::Hang, Reply::Raw(b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n{".to_vec())]
    {
        let server = Scripted::start(move |request, _| match request.call() {
            "auth/token/create" => reply.clone(),
            _ => healing(request),
        });
        let home = home();
        let run = run(&home, &server, "10s", &[]).expect(75);
        assert!(run.complaint().starts_with("FAIL: mint: "), "{run:?}");
        assert!(run.complaint().ends_with("; `vault-token-renew sweep` finds it"), "{run:?}");
        assert_eq!(server.count("auth/token/create"), 1);
        assert_eq!(server.count("auth/token/create-orphan"), 0);
        assert_eq!(home.token(), FILE_TOKEN);
    }
}

#[test]
fn a_mint_has_a_connection_of_its_own() {
    // A server may close a kept connection at any moment. A mint written into one that is being closed could
    // not be repeated, and so the heal would fail, night after night.
    let server = Scripted::start(|request, _| healing(request));
    let home = home();
    run(&home, &server, "0s", &[]).expect(11);
    let requests = server.requests();
    let (mints, others): (Vec<&Request>, Vec<&Request>) =
        requests.iter().partition(|request| request.call() == "auth/token/create");
    assert_eq!(mints.len(), 1);
    assert!(others.iter().all(|other| other.connection != mints[0].connection), "{requests:?}");
    assert!(others.windows(2).any(|pair| pair[0].connection == pair[1].connection), "the others share");
}

#[test]
fn an_outage_after_the_mint_revokes_what_was_minted() {
    let server = Scripted::start(|request, _| match request.call() {
        "auth/token/lookup-self" if request.header("x-vault-token") == Some(NEW_TOKEN) => Reply::Close,
        _ => healing(request),
    });
    let home = home();
    let run = run(&home, &server, "0s", &[]).expect(75);
    assert!(run.complaint().starts_with("FAIL: check of the minted token: token lookup: "), "{run:?}");
    assert_eq!(home.token(), FILE_TOKEN);
    let revoked: Vec<Request> =
        server.requests().into_iter().filter(|request| request.call() == "auth/token/revoke-self").collect();
    assert_eq!(revoked.len(), 1);
    assert_eq!(revoked[0].header("x-vault-token"), Some(NEW_TOKEN));
}

#[test]
fn a_standby_that_denies_what_was_just_minted_gets_a_moment() {
    let server = Scripted::start(|request, number| match request.call() {
        "auth/token/lookup-self" if request.header("x-vault-token") == Some(NEW_TOKEN) && number < 4 => {
            Reply::Json(403, r#"{"errors":["permission denied"]}"#.to_owned())
        }
        _ => healing(request),
    });
    let home = home();
    run(&home, &server, "0s", &[]).expect(11);
    assert_eq!(home.token(), NEW_TOKEN);
}

#[test]
fn a_denied_token_is_read_once_more_before_it_is_called_dead() {
    let home = home();
    let file = home.token_file();
    let server = Scripted::start(move |request, _| match request.header("x-vault-token") {
        Some(FILE_TOKEN) => {
            // A login that was being written when we first looked.
            fs::write(&file, NEW_TOKEN).unwrap();
            Reply::Json(403, r#"{"errors":["permission denied"]}"#.to_owned())
        }
        _ if request.call() == "auth/token/lookup-self" => Reply::Json(200, told_of(NEW_TOKEN, OUR_NAME)),
        _ => healthy(request),
    });
    assert_eq!(run(&home, &server, "0s", &[]).expect(10).said(), RENEWED);
}

#[test]
fn a_file_that_keeps_changing_is_given_up_on_after_three_times() {
    let home = home();
    let file = home.token_file();
    let server = Scripted::start(move |_, number| {
        fs::write(&file, format!("s.another-{number}-0123456789")).unwrap();
        Reply::Json(403, r#"{"errors":["permission denied"]}"#.to_owned())
    });
    let run = run(&home, &server, "0s", &[]).expect(1);
    let line = "FAIL: token file: ~/.vault-token: it keeps changing; something else writes it";
    assert_eq!(run.complaint(), line);
    assert_eq!(server.count("auth/token/lookup-self"), 3);
}

#[test]
fn bad_news_about_a_token_that_is_no_longer_there_is_no_news() {
    let home = home();
    let file = home.token_file();
    let server = Scripted::start(move |request, _| match (request.header("x-vault-token"), request.call()) {
        (Some(FILE_TOKEN), "auth/token/lookup-self") => Reply::Json(200, told_of(FILE_TOKEN, "weak")),
        (Some(FILE_TOKEN), _) => {
            fs::write(&file, NEW_TOKEN).unwrap();
            Reply::Json(403, r#"{"errors":["permission denied"]}"#.to_owned())
        }
        (_, "auth/token/lookup-self") => Reply::Json(200, told_of(NEW_TOKEN, OUR_NAME)),
        _ => healthy(request),
    });
    let run = run(&home, &server, "0s", &[]).expect(10);
    assert_eq!((run.said(), run.stderr.as_str()), (RENEWED, ""));
}

#[test]
fn a_mint_that_cannot_have_arrived_is_repeated() {
    let server = Scripted::start(|request, _| healing(request));
    let real = server.address().to_owned();
    let standby = Scripted::start(move |request, number| {
        // The standby sends us to a leader that is not there yet, twice.
        let dead = request.call() == "auth/token/create" && number < 3;
        let target = if dead { NOWHERE } else { &real };
        redirect(307, &format!("{target}{}", request.path))
    });
    let home = home();
    run(&home, &standby, "20s", &[]).expect(11);
    assert_eq!(standby.count("auth/token/create"), 3);
    assert_eq!(server.count("auth/token/create"), 1);
}

#[test]
fn where_a_redirect_leads_nowhere_that_place_is_named() {
    let server = Scripted::start(|request, _| redirect(307, &format!("http://127.0.0.1:1{}", request.path)));
    let run = run(&home(), &server, "0s", &[]).expect(75);
    assert_eq!(
        run.complaint(),
        format!(
            "FAIL: token lookup: http://127.0.0.1:1 (where {} redirected us): connection refused",
            server.address()
        )
    );
    assert_eq!(
        run.hints(),
        ["check the server's api_addr: it names an address that cannot be reached from here"]
    );
}

#[test]
fn a_token_as_long_as_a_token_file_may_hold_is_sent() {
    let long = "s".repeat(65_000);
    let (home, expected) = (Sandbox::holding(&long), long.clone());
    let server = Scripted::start(move |request, _| {
        assert_eq!(request.header("x-vault-token").map(str::len), Some(65_000));
        match request.call() {
            "auth/token/lookup-self" => Reply::Json(200, told_of(&expected, OUR_NAME)),
            _ => healthy(request),
        }
    });
    run(&home, &server, "0s", &[]).expect(10);
}

#[test]
fn a_request_that_outlives_the_budget_is_not_repeated() {
    let server = Scripted::start(|_, _| Reply::Hang);
    run(&home(), &server, "500ms", &[]).expect(75);
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn a_body_without_end_is_not_read_to_the_end() {
    let body = format!(r#"{{"data":"{}"}}"#, "x".repeat(50_000_000));
    let server = Scripted::start(move |_, _| Reply::Json(200, body.clone()));
    let run = run(&home(), &server, "0s", &[("VAULT_CLIENT_TIMEOUT", "20s")]).expect(1);
    assert!(run.complaint().ends_with("200: not an answer of Vault (far too long)"), "{run:?}");
}

fn redirect(status: u16, to: &str) -> Reply {
    Reply::Full(status, vec![("Location".to_owned(), to.to_owned())], String::new())
}

#[test]
fn one_redirect_is_followed_with_method_body_and_headers() {
    for status in [301, 302, 307, 308] {
        let active = Scripted::start(|request, _| healing(request));
        let target = active.address().to_owned();
        let standby =
            Scripted::start(move |request, _| redirect(status, &format!("{target}{}", request.path)));
        let home = home();
        run(&home, &standby, "0s", &[("VAULT_NAMESPACE", "team1")]).expect(11);
        assert_eq!(home.token(), NEW_TOKEN);
        let (asked, done) = (standby.requests(), active.requests());
        assert_eq!(asked.len(), done.len());
        for (asked, done) in asked.iter().zip(&done) {
            assert_eq!((&asked.method, &asked.path, &asked.body), (&done.method, &done.path, &done.body));
            for header in ["x-vault-token", "x-vault-request", "x-vault-namespace", "content-type"] {
                assert_eq!(asked.header(header), done.header(header), "{header}");
            }
        }
        let mint = done.iter().find(|request| request.call() == "auth/token/create").unwrap();
        assert_eq!(serde_json::from_str::<Value>(&mint.body).unwrap()["no_parent"], true);
    }
}

#[test]
fn a_relative_redirect_stays_with_the_server() {
    let server = Scripted::start(|request, _| match request.path.strip_prefix("/moved") {
        Some(path) => healthy(&Request { path: path.to_owned(), ..request.clone() }),
        None => redirect(307, &format!("/moved{}", request.path)),
    });
    run(&home(), &server, "0s", &[]).expect(10);
}

#[test]
fn redirects_that_lead_in_a_circle_or_astray_end_at_once() {
    let circle = |request: &Request, _| redirect(307, &request.path);
    let server = Scripted::start(circle);
    let run_ = run(&home(), &server, "5s", &[]).expect(1);
    assert!(run_.complaint().ends_with("307: a redirect after a redirect"), "{run_:?}");
    assert_eq!(server.requests().len(), 2);

    for (location, reason) in [
        (
            "http://vault.example.org/v1/x",
            "a redirect to another host without encryption (vault.example.org) is not followed",
        ),
        (
            "http://192.0.2.1/v1/x",
            "a redirect to another host without encryption (192.0.2.1) is not followed",
        ),
        ("https://user:password@localhost/v1/x", "a redirect to nowhere"),
        ("ftp://localhost/", "a redirect to nowhere"),
        ("", "a redirect to nowhere"),
    ] {
        let server = Scripted::start(move |_, _| redirect(307, location));
        let run = run(&home(), &server, "5s", &[]).expect(1);
        assert!(run.complaint().ends_with(&format!("307: {reason}")), "{run:?}");
        assert_eq!(server.requests().len(), 1);
    }
    for status in [300, 303, 304] {
        let server = Scripted::start(move |_, _| redirect(status, "/v1/x"));
        let run = run(&home(), &server, "5s", &[]).expect(1);
        assert!(run.complaint().ends_with(&format!("{status}: a redirect to nowhere")), "{run:?}");
    }
}

#[test]
fn redirects_can_be_forbidden() {
    let server = Scripted::start(|request, _| redirect(307, &format!("/moved{}", request.path)));
    let run = run(&home(), &server, "0s", &[("BAO_DISABLE_REDIRECTS", "1")]).expect(1);
    assert!(run.complaint().ends_with("307: a redirect, and redirects are disabled"), "{run:?}");
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn a_redirect_is_not_counted_as_a_second_mint() {
    let server = Scripted::start(|request, _| {
        if request.call() == "auth/token/create" { redirect(307, "/elsewhere") } else { healing(request) }
    });
    run(&home(), &server, "5s", &[]).expect(1);
    assert_eq!(server.count("auth/token/create"), 1);
    assert_eq!(server.count("/elsewhere"), 1);
}

#[test]
fn the_standard_proxies_are_not_taken_to_this_machine_but_vaults_own_is() {
    let proxy = Scripted::start(|_, _| Reply::Full(407, Vec::new(), String::new()));
    let server = Scripted::start(|request, _| healthy(request));
    let address = proxy.address();
    let standard =
        [("HTTP_PROXY", address), ("http_proxy", address), ("HTTPS_PROXY", address), ("ALL_PROXY", address)];
    run(&home(), &server, "0s", &standard).expect(10);
    assert_eq!(proxy.requests().len(), 0);

    let run_ = run(&home(), &server, "0s", &[("VAULT_PROXY_ADDR", address), ("NO_PROXY", "*")]).expect(1);
    assert!(run_.complaint().ends_with(": proxy: 407: wrong or missing credentials"), "{run_:?}");
    assert_eq!(run_.hints(), ["put the right user name and password into VAULT_PROXY_ADDR"]);
    let dead = run(&home(), &server, "0s", &[("VAULT_PROXY_ADDR", "127.0.0.1:1")]).expect(75);
    assert!(dead.complaint().ends_with(": proxy: connection refused"), "{dead:?}");
    assert_eq!(dead.hints(), ["check the proxy that VAULT_PROXY_ADDR names"]);
    let requests = proxy.requests();
    assert_eq!(requests.len(), 1);
    // What is not encrypted is the proxy's to pass on, so it is told the whole address.
    assert_eq!(requests[0].path, format!("{}/v1/auth/token/lookup-self", server.address()));
    let encrypted = server.address().replace("http://", "https://");
    run(&home(), &encrypted, "0s", &[("VAULT_PROXY_ADDR", address)]).expect(1);
    let requests = proxy.requests();
    assert_eq!(requests[1].method, "CONNECT");
    assert!(requests[1].header("x-vault-token").is_none(), "a proxy must not see the token");
    // A host that is not this machine takes the standard proxy; it need not exist for that.
    let run_ = run(&home(), "http://vault.example.org:8200", "0s", &[("HTTP_PROXY", address)]).expect(1);
    assert!(run_.complaint().contains(": proxy: "), "{run_:?}");
}

#[test]
fn plain_http_to_a_tls_port_is_recognised() {
    let go = b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";
    let server = Scripted::start(|_, _| Reply::Raw(go.to_vec()));
    let run = run(&home(), &server, "0s", &[]).expect(1);
    assert!(
        run.complaint()
            .contains("400: not an answer of Vault (no content type, \"Client sent an HTTP request"),
        "{run:?}"
    );
    assert_eq!(run.hints(), ["this port speaks TLS; its address begins with https://"]);
}

#[test]
fn a_failing_server_is_not_asked_about_every_accessor() {
    let keys: Vec<String> = (0..500).map(|number| format!("accessor-{number}")).collect();
    let list = json!({ "data": { "keys": keys } }).to_string();
    let server = Scripted::start(move |request, _| match request.call() {
        "auth/token/accessors/?list=true" => Reply::Json(200, list.clone()),
        "auth/token/lookup-accessor" if !request.body.contains("accessor-of-") => Reply::Close,
        _ => healing(request),
    });
    let home = home();
    let run = run(&home, &server, "1s", &[]).expect(11);
    assert!(
        run.said().contains("accessor sweep cut short after 0 of 500 accessors: accessor lookup: "),
        "{run:?}"
    );
    let asked = server.count("auth/token/lookup-accessor");
    assert!(asked < 250, "{asked} lookups of a server that answers none");
}

/// A server after a heal, with a twin of the kept token: what is answered to the lookup of the twin, to its
/// revocation and to the listing, one answer after the other and then always the last.
struct Aftermath {
    server: Scripted,
    home: Sandbox,
}

impl Aftermath {
    fn new(listing: &[(u16, &str)], lookups: &[(u16, &str)], revocations: &[(u16, &str)]) -> Self {
        let own = |answers: &[(u16, &str)]| -> Vec<(u16, String)> {
            answers.iter().map(|(status, body)| (*status, (*body).to_owned())).rev().collect()
        };
        let answers = Mutex::new([own(listing), own(lookups), own(revocations)]);
        let next = move |which: usize| {
            let answers = &mut answers.lock().unwrap()[which];
            let answer =
                if answers.len() > 1 { answers.pop() } else { answers.first().cloned() }.expect("an answer");
            if answer.0 == 0 { Reply::Close } else { Reply::Json(answer.0, answer.1) }
        };
        let server = Scripted::start(move |request, _| match request.call() {
            "auth/token/accessors/?list=true" => next(0),
            "auth/token/lookup-accessor" if request.body.contains("twin") => next(1),
            "auth/token/revoke-accessor" => next(2),
            "auth/token/renew-self" => Reply::Json(200, renewal(request)),
            _ => healing(request),
        });
        Self { server, home: home() }
    }

    /// What a run says, and how many requests it makes.
    #[track_caller]
    fn run(&self) -> (String, usize) {
        let before = self.server.requests().len();
        let run = run(&self.home, &self.server, "0s", &[]);
        assert_eq!((run.status / 2, run.stderr.as_str()), (5, ""), "{run:?}");
        (run.said().to_owned(), self.server.requests().len() - before)
    }
}

/// What a run says that has found the twin alive, and a sweep to finish.
const SWEPT: &str = "OK renewed (dn=token-devvm-wizard ttl=2764800s); \
    resumed an earlier sweep (revoked 1 stale periodic token(s))";

const LISTED: (u16, &str) = (200, r#"{"data":{"keys":["accessor-of-token-devvm-wizard","twin"]}}"#);
const ALIVE: (u16, &str) = (
    200,
    r#"{"data":{"accessor":"twin","display_name":"token-devvm-wizard","ttl":60,"policies":["vault-admin"]}}"#,
);
const DENIED: (u16, &str) = (403, r#"{"errors":["permission denied"]}"#);
const BROKEN: (u16, &str) = (500, r#"{"errors":["internal error"]}"#);
const REVOKED: (u16, &str) = (204, "");
const CLOSED: (u16, &str) = (0, "");

#[test]
fn what_a_sweep_is_not_sure_of_is_looked_at_once_more_by_the_next_run() {
    // Answers about the twin; what the second run says, with how many requests, and those of the third.
    type Case<'a> = (&'a [(u16, &'a str)], &'a [(u16, &'a str)], &'a str, usize, usize);
    let cases: [Case; 8] = [
        // It had vanished, and has.
        (&[DENIED], &[], RENEWED, 3, 2),
        // It had not.
        (&[DENIED, ALIVE], &[REVOKED], SWEPT, 4, 2),
        (&[(404, r#"{"errors":[]}"#), ALIVE], &[REVOKED], SWEPT, 4, 2),
        // It was revoked, and is gone, or is not.
        (&[ALIVE, DENIED], &[REVOKED], RENEWED, 3, 2),
        (&[ALIVE], &[REVOKED], SWEPT, 4, 2),
        // It might not be revoked, and still may not.
        (&[ALIVE], &[DENIED], RENEWED, 4, 2),
        // The server breaks at it every time. That is no reason to ask every night.
        (&[ALIVE, BROKEN], &[REVOKED], RENEWED, 3, 2),
        // An outage came between.
        (&[ALIVE, CLOSED, DENIED], &[REVOKED], RENEWED, 3, 3),
    ];
    for (number, (lookups, revocations, said, second, third)) in cases.into_iter().enumerate() {
        let aftermath = Aftermath::new(&[LISTED], lookups, revocations);
        assert!(aftermath.run().0.starts_with("HEALED"), "{number}");
        assert_eq!(aftermath.run(), (said.to_owned(), second), "{number}");
        assert_eq!(aftermath.run(), (RENEWED.to_owned(), third), "{number}");
        assert_eq!(aftermath.run(), (RENEWED.to_owned(), 2), "{number}");
    }
}

#[test]
fn what_this_machine_minted_is_remembered_until_it_is_known_to_be_gone() {
    for (revocation, said, remembered) in [
        (DENIED, RENEWED, json!(["accessor-of-token-devvm-wizard", "twin", "another"])),
        (REVOKED, SWEPT, json!(["accessor-of-token-devvm-wizard", "another"])),
    ] {
        // The lookup is denied, as it is for one that is gone; but this one was minted here.
        let aftermath = Aftermath::new(&[(200, r#"{"data":{"keys":[]}}"#)], &[DENIED], &[revocation]);
        assert!(aftermath.run().0.starts_with("HEALED"));
        aftermath.home.rewrite_state(|state| {
            state["minted"] = json!(["accessor-of-token-devvm-wizard", "twin", "another"]);
            state["second_look"] = json!(["twin"]);
        });
        assert_eq!(aftermath.run().0, said);
        let state = aftermath.home.state();
        assert_eq!((&state["minted"], &state["second_look"]), (&remembered, &json!([])));
    }
}

#[test]
fn a_denied_listing_is_asked_for_again_every_night_and_talked_about_once() {
    let aftermath = Aftermath::new(&[DENIED, DENIED, LISTED], &[ALIVE, DENIED], &[REVOKED]);
    assert!(aftermath.run().0.ends_with("(accessor sweep skipped (list denied))"));
    assert_eq!(aftermath.run(), (RENEWED.to_owned(), 3));
    let (said, _) = aftermath.run();
    assert!(said.ends_with("; resumed an earlier sweep (revoked 1 stale periodic token(s))"), "{said}");
    assert_eq!(aftermath.run(), (RENEWED.to_owned(), 3));
    assert_eq!(aftermath.run(), (RENEWED.to_owned(), 2));
}

#[test]
fn what_a_lost_mint_left_is_swept_even_if_the_next_run_only_renews() {
    let server = Scripted::start(|request, number| match request.call() {
        "auth/token/lookup-self" => Reply::Json(200, told_of(FILE_TOKEN, OUR_NAME)),
        "auth/token/renew-self" if number < 3 => Reply::Full(204, Vec::new(), String::new()),
        "auth/token/create" => Reply::Close,
        "auth/token/accessors/?list=true" => Reply::Json(LISTED.0, LISTED.1.to_owned()),
        "auth/token/lookup-accessor" if request.body.contains("twin") => {
            Reply::Json(ALIVE.0, ALIVE.1.to_owned())
        }
        "auth/token/lookup-accessor" => Reply::Json(200, told_of("", OUR_NAME)),
        "auth/token/revoke-accessor" => Reply::Full(204, Vec::new(), String::new()),
        _ => healthy(request),
    });
    let home = home();
    let first = run(&home, &server, "0s", &[]).expect(75);
    assert!(first.stderr.contains("the server may have minted a token we never received"), "{first:?}");
    let second = run(&home, &server, "0s", &[]).expect(10);
    assert!(second.said().ends_with("; resumed an earlier sweep (revoked 1 stale periodic token(s))"));
    assert!(server.requests().iter().any(|request| {
        request.call() == "auth/token/revoke-accessor" && request.body == r#"{"accessor":"twin"}"#
    }));
}

#[test]
fn a_walk_begins_at_another_place_each_time() {
    // One that is cut short every night would look at the same accessors every night.
    let keys: Vec<String> = (0..160).map(|number| format!("accessor-{number}")).collect();
    let list = json!({ "data": { "keys": keys } }).to_string();
    let server = Scripted::start(move |request, _| match request.call() {
        "auth/token/accessors/?list=true" => Reply::Json(200, list.clone()),
        "auth/token/lookup-accessor" if !request.body.contains("accessor-of-") => {
            Reply::Json(200, told_of("", "somebody-else"))
        }
        _ => healing(request),
    });
    let mut beginnings = BTreeSet::new();
    for _ in 0..6 {
        let before = server.requests().len();
        home().run(&server, &["--sweep-concurrency", "1"]).expect(0);
        let requests = server.requests();
        let first = requests[before..].iter().find(|request| {
            request.call() == "auth/token/lookup-accessor" && !request.body.contains("accessor-of-")
        });
        beginnings.insert(first.expect("a walk").body.clone());
    }
    assert!(beginnings.len() > 1, "six walks began with {beginnings:?}");
}

#[test]
fn a_login_that_lands_during_a_heal_leaves_no_hook_owed() {
    const LANDED: &str = "s.landed-meanwhile-0123456789";
    let home = home();
    let (file, ran) = (home.token_file(), home.path().join("ran"));
    let server = Scripted::start(move |request, _| {
        let asker = request.header("x-vault-token");
        match request.call() {
            "auth/token/lookup-self" if asker == Some(NEW_TOKEN) => {
                fs::write(&file, LANDED).unwrap();
                healing(request)
            }
            "auth/token/lookup-self" if asker == Some(LANDED) => Reply::Json(200, told_of(LANDED, OUR_NAME)),
            "auth/token/renew-self" => Reply::Json(200, renewal(request)),
            _ => healing(request),
        }
    });
    let hook = format!("touch {}", ran.display());
    let run = home.run(&server, &["--deploy-hook", &hook]).expect(0);
    assert_eq!((run.said(), server.count("auth/token/revoke-self")), (RENEWED, 1));
    home.run(&server, &["--deploy-hook", &hook]).expect(0);
    assert!(!ran.exists(), "nothing was deployed, so nobody is told");
}

#[test]
fn a_token_file_that_is_too_large_is_found_out_by_its_size_and_by_its_contents() {
    let server = Scripted::start(|request, _| healthy(request));
    // So large that no memory would hold it.
    let home = Sandbox::new();
    let sparse = home.write("sparse", "");
    File::options().write(true).open(&sparse).unwrap().set_len(1 << 43).unwrap();
    let output = home.command(server.address()).args(["--token-file", &sparse]).output().unwrap();
    fs::remove_file(&sparse).unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("FAIL: token file: ") && said.contains("larger than 64 KiB"), "{said}");
    // Its size says that it is empty; it is not.
    let mut sleep = std::process::Command::new("/bin/sleep");
    let mut sleep = sleep.arg0("s".repeat(100_000)).arg("50").spawn().unwrap();
    let file = format!("/proc/{}/cmdline", sleep.id());
    wait_until("it is executed", || fs::read(&file).is_ok_and(|bytes| bytes.len() > 100_000));
    let run = home.run(&server, &["--token-file", &file]);
    sleep.kill().unwrap();
    sleep.wait().unwrap();
    assert!(run.expect(1).stderr.contains("larger than 64 KiB"));
    assert_eq!(server.requests().len(), 0, "nothing was sent");
}

#[test]
fn a_sweep_keeps_sixteen_lookups_under_way() {
    let keys: Vec<String> = (0..160).map(|number| format!("accessor-{number}")).collect();
    let list = json!({ "data": { "keys": keys } }).to_string();
    let server = Scripted::start(move |request, _| match request.call() {
        "auth/token/accessors/?list=true" => Reply::Json(200, list.clone()),
        "auth/token/lookup-accessor" if !request.body.contains("accessor-of-") => {
            thread::sleep(Duration::from_millis(100));
            Reply::Json(200, told_of("", "somebody-else"))
        }
        _ => healing(request),
    });
    let start = Instant::now();
    run(&home(), &server, "0s", &[("VAULT_CLIENT_TIMEOUT", "20s")]).expect(11);
    // One after the other it would take sixteen seconds.
    assert!(start.elapsed() < Duration::from_secs(8), "{:?}", start.elapsed());
    assert_eq!(server.count("auth/token/lookup-accessor"), 161);
}

#[test]
fn a_pipe_in_the_place_of_the_token_file_is_not_waited_for() {
    let home = Sandbox::new();
    let made = std::process::Command::new("mkfifo").arg(home.token_file()).status().unwrap();
    assert!(made.success());
    // No snapshot is taken of a pipe: reading it would wait.
    let output = home.command("http://127.0.0.1:9").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("FAIL: token file: ~/.vault-token: not a regular file"), "{text}");
}

#[test]
fn a_second_run_waits_for_the_first_and_says_so() {
    let server = Scripted::start(|request, _| healthy(request));
    let home = home();
    run(&home, &server, "0s", &[]).expect(10);
    let lock = home.lock_file();
    let waiting = "WARN: another run is in progress; waiting for it to end";
    // A short wait is not worth a word.
    for (seconds, complaints) in [(1, vec![]), (4, vec![waiting])] {
        let held = File::open(&lock).unwrap();
        held.lock().unwrap();
        let release = thread::spawn(move || {
            thread::sleep(Duration::from_secs(seconds));
            held.unlock().unwrap();
        });
        let start = Instant::now();
        let run = run(&home, &server, "0s", &[]).expect(10);
        release.join().unwrap();
        assert!(start.elapsed() + Duration::from_millis(200) > Duration::from_secs(seconds));
        assert_eq!((run.said(), run.complaints()), (RENEWED, complaints));
    }
}

#[test]
fn closed_streams_do_not_end_a_renewal() {
    let server = Scripted::start(|request, _| healthy(request));
    let home = home();
    let mut command = home.command_of("/bin/sh", server.address());
    home.finish(command.args(["-c", r#""$0" >&- 2>&-"#, PROGRAM])).expect(0);
    assert!(home.log().contains(RENEWED));
    assert_eq!(home.token(), FILE_TOKEN);
}

#[test]
fn an_answer_that_could_not_be_written_is_no_success() {
    let server = server();
    let home = Sandbox::holding(&server.mint_ours().token);
    home.run(&server, &[]).expect(0);
    for (arguments, status) in
        [(&["status"][..], 1), (&["status", "--json"], 1), (&["--dry-run"], 1), (&["--json"], 1), (&[], 0)]
    {
        let mut command = home.command_of("/bin/sh", server.address());
        command.args(["-c", "exec \"$0\" \"$@\" > /dev/full", PROGRAM]).args(arguments);
        let run = home.finish(&mut command).expect(status);
        let complaint = "vault-token-renew: error: standard output: no space left on device\n";
        assert_eq!(run.stderr, if status == 1 { complaint } else { "" }, "{arguments:?}");
    }
}

#[test]
fn in_the_journal_lines_have_a_priority_and_no_time_stamp() {
    let server = Scripted::start(|request, _| healthy(request));
    let home = home();
    let stream = |name: &str| File::create(home.path().join(name)).unwrap();
    let (out, err) = (stream("out"), stream("err"));
    let run = |address: &str, journal: &File| {
        let data = journal.metadata().unwrap();
        std::process::Command::new(PROGRAM)
            .env_clear()
            .env("HOME", home.path())
            .env("TZ", "UTC")
            .env("VAULT_ADDR", address)
            .env("VTR_DISPLAY_NAME", DISPLAY_NAME)
            .env("VTR_POLICIES", "vault-admin,sops-admin")
            .env("VTR_RETRY_FOR", "0")
            .env("VAULT_TOKEN", "ignored")
            .env("JOURNAL_STREAM", format!("{}:{}", data.dev(), data.ino()))
            .stdin(Stdio::null())
            .stdout(out.try_clone().unwrap())
            .stderr(err.try_clone().unwrap())
            .status()
            .unwrap()
    };
    assert!(run(server.address(), &err).success());
    assert!(!run(NOWHERE, &err).success());
    let read = |name: &str| fs::read_to_string(home.path().join(name)).unwrap();
    let lines: Vec<String> = read("err").lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), 3, "one event is one line, and hints are for terminals: {lines:?}");
    assert!(lines[0].starts_with("<4>WARN: VAULT_TOKEN"), "{lines:?}");
    assert_eq!(lines[2], "<3>FAIL: token lookup: http://127.0.0.1:1: connection refused");
    // Standard output was another stream, so its line is stamped.
    assert_eq!(unstamped(read("out").trim_end()), RENEWED);
    assert!(run(server.address(), &out).success());
    assert_eq!(read("out").lines().last(), Some(format!("<6>{RENEWED}").as_str()));
    let log = home.log();
    assert!(!log.contains("<3>") && log.lines().all(|line| line.starts_with("20")), "{log}");
}
