//! What is an outage and what is a verdict; and what of a mint may be sent again, what may not, and what is said of a
//! token that the server may hold.

#![cfg(test)]

mod support;

use std::collections::BTreeSet;
use std::net::{Ipv6Addr, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketFlags, SocketType};
use serde_json::{Value, json};
use support::certificates::Authority;
use support::sandbox::{PROGRAM, Run, Sandbox};
use support::scripted::{Reply, Request, Scripted};
use support::strace::{Call, Strace, Trace};
use support::vault_mock::{NEW_TOKEN, healing};
use support::{FILE_TOKEN, OUR_NAME, RENEWED, healthy, renewal, told_of};

const CREATE: &str = "auth/token/create";

/// A home with a token, from which that one and the one that may be minted must not get out.
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

fn errors(status: u16, words: &str) -> Reply {
    Reply::Json(status, json!({ "errors": [words] }).to_string())
}

/// A server on which a heal goes well but for the mint.
fn minting(mint: impl Fn(usize) -> Reply + Send + Sync + 'static) -> Scripted {
    Scripted::start(but_for_the_mint(mint))
}

fn but_for_the_mint(
    mint: impl Fn(usize) -> Reply + Send + Sync + 'static,
) -> impl Fn(&Request, usize) -> Reply + Send + Sync + 'static {
    let mints = AtomicUsize::new(0);
    move |request, _| match request.call() {
        CREATE => mint(mints.fetch_add(1, Ordering::SeqCst)),
        _ => healing(request),
    }
}

/// Checks that the mint was sent once, and that what it may have left is told and remembered.
#[track_caller]
fn check_lost(server: &Scripted, home: &Sandbox, run: &Run) {
    let line = run.complaint();
    assert!(line.starts_with("FAIL: mint: "), "{run:?}");
    assert!(line.contains("the server may have minted a token we never received"), "{run:?}");
    assert_eq!((server.count(CREATE), server.count("auth/token/create-orphan")), (1, 0), "{run:?}");
    assert_eq!(home.token(), FILE_TOKEN);
    assert_eq!(home.state()["sweep_due"], true, "{run:?}");
    assert!(!run.stderr.contains("CACERT") && !run.stderr.contains("certificate"), "{run:?}");
}

#[test]
fn a_mint_whose_connection_breaks_in_whatever_way_is_sent_once() {
    let text = |text: &str| Reply::Raw(text.as_bytes().to_vec());
    for reply in [
        Reply::Reset,
        Reply::Close,
        Reply::Hang,
        text("HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n{"),
        text("HTTP/1.1 2"),
        text("SSH-2.0-OpenSSH\r\n\r\n"),
        text("\x15\x03\x01\x00\x02\x02\x16"),
    ] {
        let what = format!("{reply:?}");
        let server = minting(move |_| reply.clone());
        let home = home();
        let run = run(&home, &server, "4s", &[]);
        assert_eq!(run.status, 75, "{what}: {run:?}");
        check_lost(&server, &home, &run);
    }
}

#[test]
fn a_mint_whose_encryption_breaks_is_sent_once() {
    let authority = Authority::new();
    let pair = authority.sign(&["127.0.0.1"]);
    for reply in [
        // A record that was tampered with, an alert that is not encrypted, half a record, and no TLS at all.
        Reply::Unencrypted([b"\x17\x03\x03\x00\x20".as_slice(), &[7; 32]].concat()),
        Reply::Unencrypted(b"\x15\x03\x03\x00\x02\x02\x28".to_vec()),
        Reply::Unencrypted(b"\x17\x03\x03\x40\x00garbage".to_vec()),
        Reply::Unencrypted(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n".to_vec()),
        Reply::Unencrypted(b"\0\0\0\0\0\0\0\0\0\0\0\0".to_vec()),
        Reply::Close,
        Reply::Reset,
    ] {
        let what = format!("{reply:?}");
        let server = Scripted::start_tls(pair.server(None), but_for_the_mint(move |_| reply.clone()));
        let home = home();
        let run = run(&home, &server, "4s", &[("VAULT_CACERT_BYTES", &authority.pem())]);
        assert_eq!(run.status, 75, "{what}: {run:?}");
        check_lost(&server, &home, &run);
    }
}

/// A server that takes its time for each answer, so that each is asked for in vain once, and the calls of the program
/// are the same in every run.
fn slow() -> Scripted {
    Scripted::start(|request, _| {
        thread::sleep(Duration::from_millis(40));
        healing(request)
    })
}

/// A run under strace, with this call of the program failing.
fn traced(home: &Sandbox, server: &Scripted, injection: &str) -> (Run, Trace) {
    let strace = Strace::new();
    let injections: Vec<String> =
        Some(injection.to_owned()).into_iter().filter(|text| !text.is_empty()).collect();
    let mut command = strace.command(home, server.address(), &injections);
    command.env("VTR_RETRY_FOR", "10s").arg("--detailed-exitcode");
    let run = home.finish(&mut command);
    (run, strace.trace())
}

/// What the kernel says of a connection on which an answer is waited for, when a router, a cable or an address goes.
const GONE: [&str; 7] =
    ["EHOSTUNREACH", "ENETUNREACH", "ENETDOWN", "EADDRNOTAVAIL", "ECONNREFUSED", "ETIMEDOUT", "ECONNRESET"];

#[test]
fn whatever_the_kernel_says_after_a_mint_was_sent_it_is_not_sent_again() {
    let (_, trace) = traced(&home(), &slow(), "");
    let sent = trace.calls.iter().position(|call| call.name == "sendto" && call.text.contains("no_parent"));
    let waiting =
        trace.calls[sent.expect("a mint")..].iter().find(|call| call.name == "recvfrom").unwrap().nth;
    for error in GONE {
        let (server, home) = (slow(), home());
        let (run, trace) = traced(&home, &server, &format!("recvfrom:error={error}:when={waiting}"));
        assert!(trace.calls.iter().any(Call::is_injected), "{error} did not strike");
        assert_eq!(run.status, 75, "{error}: {run:?}");
        check_lost(&server, &home, &run);
    }
}

#[test]
fn what_the_kernel_says_before_a_mint_was_sent_lets_it_be_tried_again() {
    // Each mint has a connection of its own, and this is the second.
    for error in ["EHOSTUNREACH", "ENETUNREACH", "ENETDOWN", "EADDRNOTAVAIL", "ECONNREFUSED"] {
        let (server, home) = (slow(), home());
        let (run, trace) = traced(&home, &server, &format!("connect:error={error}:when=2"));
        assert!(trace.calls.iter().any(Call::is_injected), "{error} did not strike");
        assert_eq!(run.expect(11).stderr, "", "{error}");
        assert_eq!((home.token().as_str(), server.count(CREATE)), (NEW_TOKEN, 1), "{error}");
    }
}

/// Answers of nodes that cannot serve, and what is said of them.
const UNSERVING: [(u16, &str); 9] = [
    (400, "path disabled in replication DR secondary mode"),
    (403, "path disabled in replication DR secondary mode"),
    (472, "path disabled in replication DR secondary mode"),
    (400, "cannot forward from a performance standby"),
    (400, "1 error occurred:\n\t* cannot write to readonly storage\n\n"),
    (403, "API access to this namespace has been locked by an administrator"),
    (400, "Vault is in recovery mode"),
    (500, "local node not active but active cluster node not found"),
    (503, "node not active but active node not found"),
];

/// A server that says this to the call and behaves otherwise.
fn saying(call: &'static str, reply: Reply) -> Scripted {
    Scripted::start(move |request, _| {
        let is_first_token = request.header("x-vault-token") == Some(FILE_TOKEN);
        match request.call() {
            asked if asked == call => reply.clone(),
            // To renew, the token in the file has to be ours.
            "auth/token/lookup-self" if is_first_token && call == "auth/token/renew-self" => healthy(request),
            _ => healing(request),
        }
    })
}

#[test]
fn a_node_that_cannot_serve_is_an_outage_whatever_its_status() {
    for (status, words) in UNSERVING {
        for call in ["auth/token/lookup-self", "auth/token/renew-self", CREATE] {
            let server = saying(call, errors(status, words));
            let home = home();
            let run = run(&home, &server, "900ms", &[]).expect(75);
            let line = run.complaint();
            assert!(line.contains(&format!("{status}: this node cannot serve requests: ")), "{run:?}");
            for verdict in ["DRIFT", "dying", "dead", "log in", "rotate", "lacks", "may have minted"] {
                assert!(!run.all().contains(verdict), "{status} {words} at {call}: {run:?}");
            }
            assert!(server.count(call) > 1, "{status} {words} at {call} was not tried again");
            assert_eq!(home.token(), FILE_TOKEN);
            assert_eq!(server.count("auth/token/create-orphan"), 0);
        }
    }
}

#[test]
fn words_that_nobody_knows_are_told_and_judge_nothing() {
    for status in [400, 403] {
        for (call, what) in [
            ("auth/token/lookup-self", "token lookup"),
            ("auth/token/renew-self", "renewal"),
            (CREATE, "mint"),
        ] {
            let server = saying(call, errors(status, "the moon is full"));
            let home = home();
            let run = run(&home, &server, "5s", &[]).expect(1);
            let line = run.complaint();
            assert!(line.starts_with(&format!("FAIL: {what}: ")), "{run:?}");
            assert!(line.contains(&format!("{status}: the moon is full (not a known refusal")), "{run:?}");
            for verdict in ["DRIFT", "dying", "dead", "log in", "rotate", "lacks", "denied"] {
                assert!(!run.all().contains(verdict), "{status} at {call}: {run:?}");
            }
            assert_eq!(server.count(call), 1, "it is not tried again");
            assert_eq!(home.token(), FILE_TOKEN);
            if call == CREATE {
                check_lost(&server, &home, &run);
            }
        }
    }
}

#[test]
fn a_mint_that_was_certainly_not_executed_is_tried_again_within_the_budget() {
    for refusal in [
        errors(429, "request path \"auth/token/create\": rate limit quota exceeded"),
        Reply::Full(429, vec![("Retry-After".to_owned(), "1".to_owned())], String::new()),
        errors(503, "Vault is sealed"),
        errors(500, "local node not active but active cluster node not found"),
        errors(400, "path disabled in replication DR secondary mode"),
    ] {
        let what = format!("{refusal:?}");
        let server =
            minting(move |number| if number == 0 { refusal.clone() } else { healing(&mint_request()) });
        let home = home();
        let run = run(&home, &server, "20s", &[]);
        assert_eq!((run.status, run.stderr.as_str()), (11, ""), "{what}: {run:?}");
        assert_eq!((home.token().as_str(), server.count(CREATE)), (NEW_TOKEN, 2), "{what}");
        assert_eq!(server.count("auth/token/create-orphan"), 0, "{what}: it is no refusal");
        assert_eq!(server.count("auth/token/revoke-self"), 0);
    }
    // And if it stays so, it ends with the budget, and nothing is lost.
    let server = minting(|_| errors(429, "rate limit quota exceeded"));
    let (home, start) = (home(), Instant::now());
    let run = run(&home, &server, "2s", &[]).expect(75);
    assert!(run.complaint().ends_with("429: rate limit quota exceeded"), "{run:?}");
    assert!(
        server.count(CREATE) > 1 && server.count(CREATE) < 25 && start.elapsed() < Duration::from_secs(7)
    );
    assert!(home.state()["sweep_due"] != true, "{}", home.state());
}

/// A mint as the script has it.
fn mint_request() -> Request {
    Request { path: format!("/v1/{CREATE}"), ..Request::default() }
}

#[test]
fn a_login_with_few_uses_left_is_not_spent() {
    for uses in [1, 3, 4] {
        let server = Scripted::start(move |request, _| match request.call() {
            "auth/token/lookup-self" => {
                let mut told: Value = serde_json::from_str(&told_of(FILE_TOKEN, "oidc-x")).unwrap();
                told["data"]["num_uses"] = json!(uses);
                Reply::Json(200, told.to_string())
            }
            _ => healing(request),
        });
        let home = home();
        let run = run(&home, &server, "5s", &[]).expect(3);
        assert!(run.complaint().starts_with("DRIFT: ~/.vault-token is dn=\"oidc-x\""), "{run:?}");
        assert!(run.complaint().contains("a limited number of uses"), "{run:?}");
        assert_eq!(server.requests().len(), 1, "one use, for the lookup: {run:?}");
    }
}

#[test]
fn a_denial_of_a_standby_that_lags_behind_is_not_the_end_of_a_token() {
    for denials in [1, 2] {
        let server = Scripted::start(move |request, number| {
            if number < denials { errors(403, "permission denied") } else { healthy(request) }
        });
        let run = run(&home(), &server, "0s", &[]).expect(10);
        assert_eq!((run.said(), run.stderr.as_str()), (RENEWED, ""));
    }
}

#[test]
fn a_token_that_may_not_look_itself_up_is_not_called_dead() {
    let server = Scripted::start(|_, _| errors(403, "1 error occurred:\n\t* permission denied\n\n"));
    let home = home();
    let told = run(&home, &server, "5s", &[]).expect(1);
    assert!(
        told.complaint().ends_with(
            ": the token in ~/.vault-token is alive, but may not look itself up (403: permission denied)"
        ),
        "{told:?}"
    );
    assert!(told.hints()[0].contains("read on auth/token/lookup-self"), "{told:?}");
    assert!(!told.all().contains("dead") && !told.all().contains("log in"), "{told:?}");
    // One look more: a response-wrapping token is answered in the same way, and used up by it.
    assert_eq!(server.requests().len(), 2, "that is no lag of a standby");
    // What is dead, or of another server, is said to be so, after more than one look.
    let server = Scripted::start(|_, _| errors(403, "permission denied"));
    let told = run(&home, &server, "5s", &[]).expect(4);
    assert!(told.complaint().contains("is dead or blocked (403: permission denied), or of another server"));
}

/// A server with our token in the file and these accessors, of which `elsewhere` is of another namespace.
fn with_a_stranger(accessors: &'static [&'static str]) -> Scripted {
    let revoked = Mutex::new(BTreeSet::new());
    Scripted::start(move |request, _| {
        let asked: Value = serde_json::from_str(&request.body).unwrap_or_default();
        let asked = asked["accessor"].as_str().unwrap_or_default().to_owned();
        match request.call() {
            "auth/token/accessors/?list=true" => {
                Reply::Json(200, json!({ "data": { "keys": accessors } }).to_string())
            }
            "auth/token/lookup-accessor" | "auth/token/revoke-accessor" if asked == "elsewhere" => {
                errors(500, "1 error occurred:\n\t* cannot lookup token in different namespace\n\n")
            }
            "auth/token/lookup-accessor" if revoked.lock().unwrap().contains(&asked) => {
                errors(400, "1 error occurred:\n\t* invalid accessor\n\n")
            }
            "auth/token/lookup-accessor" => {
                let mut told: Value = serde_json::from_str(&told_of("", OUR_NAME)).unwrap();
                told["data"]["accessor"] = json!(asked);
                Reply::Json(200, told.to_string())
            }
            "auth/token/revoke-accessor" => {
                revoked.lock().unwrap().insert(asked);
                Reply::Full(204, Vec::new(), String::new())
            }
            _ => healthy(request),
        }
    })
}

const KEPT: &str = "accessor-of-token-devvm-wizard";

#[test]
fn an_accessor_of_another_namespace_is_asked_for_once_and_stops_no_sweep() {
    let server = with_a_stranger(&[KEPT, "elsewhere", "stale-1", "stale-2"]);
    let (home, start) = (home(), Instant::now());
    let run = home.run_with(&[("VTR_RETRY_FOR", "20s")], &server, &["sweep"]).expect(0);
    assert!(run.said().contains("revoked 2 stale"), "{run:?}");
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    let asked = |name: &str| {
        server.requests().iter().filter(|request| request.body.contains(&format!("\"{name}\""))).count()
    };
    assert_eq!((asked("elsewhere"), asked("stale-1"), asked("stale-2")), (1, 2, 2));
    assert_eq!(home.run(&server, &[]).expect(0).said(), RENEWED, "nothing is left to be done");
}

#[test]
fn what_this_machine_minted_in_another_namespace_is_not_forgotten() {
    let server = with_a_stranger(&[KEPT, "elsewhere", "stale-1"]);
    let home = home();
    home.run(&server, &[]).expect(0);
    home.rewrite_state(|state| state["minted"] = json!([KEPT, "elsewhere", "stale-1"]));
    let start = Instant::now();
    for sweep in ["remembered", "walk"] {
        let run =
            home.run_with(&[("VTR_RETRY_FOR", "20s"), ("VTR_SWEEP", sweep)], &server, &["sweep"]).expect(0);
        assert_eq!(run.said().contains("revoked 1 stale"), sweep == "remembered", "{run:?}");
        let minted = home.state()["minted"].to_string();
        assert!(minted.contains("elsewhere") && minted.contains(KEPT), "{sweep}: {minted}");
    }
    assert_eq!(home.state()["minted"], json!([KEPT, "elsewhere"]), "what is known to be gone is forgotten");
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

#[test]
fn a_proxy_that_wants_other_credentials_is_asked_once() {
    let proxy = Scripted::start(|_, _| Reply::Full(407, Vec::new(), String::new()));
    let address = proxy.address();
    for (server, variable) in [
        ("https://vault.example.org:8200", "HTTPS_PROXY"),
        ("http://vault.example.org:8200", "HTTP_PROXY"),
        ("https://vault.example.org:8200", "VAULT_PROXY_ADDR"),
        ("http://127.0.0.1:1", "VAULT_PROXY_ADDR"),
    ] {
        let before = proxy.requests().len();
        let with_password = address.replace("http://", "http://somebody:a-password@");
        let home = home();
        home.guard("a-password");
        let run = run(&home, server, "4s", &[(variable, &with_password)]).expect(1);
        let line = run.complaint();
        assert!(line.ends_with(": proxy: 407: wrong or missing credentials"), "{server}: {run:?}");
        assert_eq!(proxy.requests().len() - before, 1, "{server} {variable}: an account may be locked");
    }
}

#[test]
fn an_answer_that_waits_for_approval_is_told_as_that() {
    let wrapped = json!({
        "auth": null, "data": null,
        "wrap_info": { "token": "hvs.wrapping-0123456789", "accessor": "w", "ttl": 86400 },
    });
    for call in [CREATE, "auth/token/renew-self"] {
        let server = saying(call, Reply::Json(200, wrapped.to_string()));
        let home = home();
        home.guard("hvs.wrapping-0123456789");
        let run = run(&home, &server, "4s", &[]).expect(1);
        assert!(
            run.complaint().contains("200: the request waits for the approval of a control group"),
            "{run:?}"
        );
        assert_eq!(server.count(call), 1);
        assert_eq!(home.token(), FILE_TOKEN);
    }
}

/// The healthy answer with more header fields.
fn with_headers(request: &Request, fields: &[(String, String)]) -> Reply {
    let body = match request.call() {
        "auth/token/lookup-self" => told_of(FILE_TOKEN, OUR_NAME),
        _ => renewal(request),
    };
    Reply::Full(200, fields.to_vec(), body)
}

#[test]
fn large_headers_are_read_and_too_large_ones_are_named() {
    let field = |number: usize, length: usize| (format!("X-Filler-{number}"), "x".repeat(length));
    let good = [
        vec![field(0, 20_000)],
        vec![field(0, 30_000), field(1, 30_000)],
        (0..2_000).map(|n| field(n, 9)).collect(),
        vec![field(0, 9_000_000)],
    ];
    for fields in good {
        let server = Scripted::start(move |request, _| with_headers(request, &fields));
        run(&home(), &server, "0s", &[]).expect(10).quiet();
    }
    let bad: [Vec<(String, String)>; 3] = [
        vec![field(0, 11_000_000)],
        (0..110).map(|n| field(n, 100_000)).collect(),
        // These are read, and there is no room for so many.
        vec![("Location".to_owned(), "x".repeat(70_000))],
    ];
    for fields in bad {
        let server = Scripted::start(move |request, _| with_headers(request, &fields));
        let start = Instant::now();
        let run = run(&home(), &server, "20s", &[]).expect(1);
        let reason = "the headers of the answer are larger than can be read";
        assert!(run.complaint().contains(reason), "{run:?}");
        assert!(run.hints()[0].contains("what adds headers"), "{run:?}");
        assert_eq!(server.requests().len(), 1, "it is no outage");
        assert!(start.elapsed() < Duration::from_secs(5));
    }
}

/// A listener at this address that accepts nothing any more, and what fills its queue.
fn silent(address: SocketAddr) -> (OwnedFd, Vec<TcpStream>) {
    let family = if address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let socket = rustix::net::socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
    rustix::net::bind(&socket, &address).expect("an address of the loopback");
    rustix::net::listen(&socket, 0).unwrap();
    let mut held = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(200)) {
        held.push(stream);
        assert!(held.len() < 16, "the queue is never full");
    }
    (socket, held)
}

#[test]
fn a_host_whose_first_address_is_silent_is_reached_at_the_second_at_once() {
    const SCRIPT: &str =
        r#"mount --bind hosts /etc/hosts && mount --bind nsswitch.conf /etc/nsswitch.conf && exec "$0""#;
    let server = Scripted::start(|request, _| healthy(request));
    let port = server.address().rsplit_once(':').unwrap().1.parse().unwrap();
    let _silent = silent((Ipv6Addr::LOCALHOST, port).into());
    let home = home();
    home.write("hosts", "::1 vault.test\n127.0.0.1 vault.test\n");
    home.write("nsswitch.conf", "hosts: files\n");
    let start = Instant::now();
    let mut command = home.command_unshared(&format!("http://vault.test:{port}"));
    command.args(["--mount", "/bin/sh", "-c", SCRIPT, PROGRAM]).env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin");
    assert_eq!(home.finish(&mut command).expect(0).quiet().said(), RENEWED);
    let took = start.elapsed();
    // By its time-out, the first address would take ten seconds.
    assert!(took > Duration::from_millis(240) && took < Duration::from_secs(5), "{took:?}");
}
