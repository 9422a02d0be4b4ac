//! Every request of a pass, broken in every way: once, and for ever.
//!
//! A server of the tests stands before a real one and passes on what it does not break. Whatever it does, no
//! token may be lost, torn, stranded or let out, an outage may not be called a denial, and once the fault is
//! gone the next run has to put everything right.

#![cfg(test)]
#![expect(clippy::disallowed_methods, reason = "tests write files as they like")]

mod support;

use std::fmt;
use std::fs;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::campaign::{Attempt, Campaign, Case};
use support::certificates::Authority;
use support::openbao::{Minted, OpenBao};
use support::sandbox::{Run, Sandbox};
use support::scripted::{Reply, Request, Scripted, pass_on};
use support::{ours, server, with};

/// Most of the time a run waits, so there are many more workers than processors.
const WORKERS: usize = 16;

/// Long enough for a busy machine, short enough for the many runs that wait for it.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(1);

/// Longer than a request may take, so that one that fell silent can be asked again.
const RETRY_FOR: Duration = Duration::from_millis(1500);

/// At most five requests of a run can fall silent one after the other: lookup or mint, the check, two ways to
/// revoke, the sweep. The rest is for a busy machine.
const RUN_WITHIN: Duration = Duration::from_secs(15);

/// A run without a fault makes about a dozen requests. Within the budget one of them can be repeated a dozen times.
const MOST_REQUESTS: usize = 60;

/// What is done to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// Nobody listens.
    ConnectionRefused,
    Reset,
    HalfABody,
    /// One byte a second.
    Drip,
    Silence,
    /// A status with Vault's `errors`.
    Vault(u16),
    /// A status with `errors` in words that Vault does not use.
    UnknownWords(u16),
    /// A status in the words of a node that cannot serve.
    Unserving(u16),
    /// A rate limit that names the seconds to wait.
    RetryAfter(u16),
    /// A status with a page of something that is not Vault.
    Gateway(u16),
    NoContent,
    EmptyOk,
    HtmlOk,
    Null,
    WrongTypes,
    DeeplyNested,
    FiftyMegabytes,
    RedirectToItself,
    RedirectElsewhere,
    /// From https to http.
    RedirectToPlain,
}

/// Whether the server hears of the request that is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reached {
    /// It does not.
    Never,
    /// It does, and acts on it; the answer is what is broken.
    Acted,
}

/// How often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Times {
    Once,
    ForEver,
}

/// What a run says about a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// No believable answer.
    Outage,
    /// Vault's own no.
    Denial,
    /// Vault's own answer, but about something else.
    Neither,
    /// Words that decide nothing.
    Unknown,
}

const FAULTS: [Fault; 34] = [
    Fault::ConnectionRefused,
    Fault::Reset,
    Fault::HalfABody,
    Fault::Drip,
    Fault::Silence,
    Fault::Vault(400),
    Fault::Vault(403),
    Fault::Vault(404),
    Fault::Vault(405),
    Fault::Vault(412),
    Fault::Vault(429),
    Fault::UnknownWords(400),
    Fault::UnknownWords(403),
    Fault::Unserving(400),
    Fault::RetryAfter(1),
    Fault::RetryAfter(3600),
    Fault::Vault(500),
    Fault::Vault(502),
    Fault::Vault(503),
    Fault::Gateway(400),
    Fault::Gateway(403),
    Fault::Gateway(404),
    Fault::Gateway(429),
    Fault::Gateway(502),
    Fault::NoContent,
    Fault::EmptyOk,
    Fault::HtmlOk,
    Fault::Null,
    Fault::WrongTypes,
    Fault::DeeplyNested,
    Fault::FiftyMegabytes,
    Fault::RedirectToItself,
    Fault::RedirectElsewhere,
    Fault::RedirectToPlain,
];

impl Fault {
    fn kind(self) -> Kind {
        if matches!(self, Self::Vault(400 | 403)) {
            Kind::Denial
        } else if matches!(self, Self::Vault(404 | 405) | Self::NoContent) {
            // To renewals and revocations, a server that has nothing to do answers 204 as well.
            Kind::Neither
        } else if matches!(self, Self::UnknownWords(_)) {
            Kind::Unknown
        } else {
            Kind::Outage
        }
    }

    /// How the server can be said to have heard of a request that changes something.
    fn reaches(self) -> &'static [Reached] {
        match self {
            // These spoil the server's own answer.
            Self::HalfABody | Self::Drip => &[Reached::Acted],
            // Whoever says these did nothing.
            Self::ConnectionRefused
            | Self::Vault(400..=499)
            | Self::Unserving(_)
            | Self::RetryAfter(_)
            | Self::Gateway(429)
            | Self::RedirectToItself
            | Self::RedirectElsewhere
            | Self::RedirectToPlain => &[Reached::Never],
            Self::Reset
            | Self::Silence
            | Self::Vault(_)
            | Self::UnknownWords(_)
            | Self::Gateway(_)
            | Self::NoContent
            | Self::EmptyOk
            | Self::HtmlOk
            | Self::Null
            | Self::WrongTypes
            | Self::DeeplyNested
            | Self::FiftyMegabytes => &[Reached::Never, Reached::Acted],
        }
    }

    /// Whether whoever asks again will be answered, and a run has the time to.
    fn passes(self) -> bool {
        matches!(
            self,
            Self::ConnectionRefused
                | Self::Reset
                | Self::Vault(412 | 429 | 500 | 502 | 503)
                | Self::Unserving(_)
                | Self::RetryAfter(1)
                | Self::Gateway(429 | 502)
        )
    }

    /// Whether whoever says so has certainly done nothing, so that even a mint may be sent again.
    fn has_done_nothing(self) -> bool {
        matches!(
            self,
            Self::ConnectionRefused
                | Self::Vault(429 | 503)
                | Self::Unserving(_)
                | Self::RetryAfter(_)
                | Self::Gateway(429)
        )
    }

    /// What the client gets. `answer` is what the real server said, if it was asked.
    fn reply(self, request: &Request, real: &str, answer: impl Fn() -> Vec<u8>) -> Reply {
        let html = |status| {
            let headers = vec![("Content-Type".to_owned(), "text/html".to_owned())];
            Reply::Full(status, headers, "<html><body>Please sign in</body></html>".to_owned())
        };
        let errors = |status| {
            let said = match status {
                400 => "child policies must be subset of parent",
                403 => r"1 error occurred:\n\t* permission denied\n\n",
                429 => "rate limit quota exceeded",
                503 => "Vault is sealed",
                _ => "something is wrong",
            };
            format!(r#"{{"errors":["{said}"]}}"#)
        };
        let redirect = |to: String| Reply::Full(307, vec![("Location".to_owned(), to)], String::new());
        match self {
            Self::ConnectionRefused | Self::Reset => Reply::Reset,
            Self::HalfABody => {
                let mut bytes = answer();
                let head = bytes.windows(4).position(|window| window == b"\r\n\r\n").unwrap_or(0) + 4;
                let half = if bytes.len() > head { head + (bytes.len() - head) / 2 } else { head / 2 };
                bytes.truncate(half);
                Reply::Raw(bytes)
            }
            Self::Drip => Reply::Drip(answer(), Duration::from_secs(1)),
            Self::Silence => Reply::Hang,
            Self::Vault(status) => Reply::Json(status, errors(status)),
            Self::UnknownWords(status) => {
                Reply::Json(status, r#"{"errors":["the moon is full"]}"#.to_owned())
            }
            Self::Unserving(status) => {
                let said = r#"{"errors":["path disabled in replication DR secondary mode"]}"#;
                Reply::Json(status, said.to_owned())
            }
            Self::RetryAfter(seconds) => {
                let headers = vec![("Retry-After".to_owned(), seconds.to_string())];
                Reply::Full(429, headers, errors(429))
            }
            Self::Gateway(status) => html(status),
            Self::NoContent => Reply::Full(204, Vec::new(), String::new()),
            Self::EmptyOk => Reply::Full(200, Vec::new(), String::new()),
            Self::HtmlOk => html(200),
            Self::Null => Reply::Json(200, "null".to_owned()),
            Self::WrongTypes => Reply::Json(
                200,
                json!({
                    "data": { "id": 1, "display_name": 5, "policies": "x", "keys": {}, "accessor": [] },
                    "auth": { "client_token": 7, "lease_duration": "soon", "accessor": false },
                    "warnings": "none",
                })
                .to_string(),
            ),
            Self::DeeplyNested => Reply::Json(200, format!("{{\"data\":{}", "[".repeat(200_000))),
            Self::FiftyMegabytes => Reply::Json(200, format!(r#"{{"data":"{}"}}"#, "x".repeat(50_000_000))),
            Self::RedirectToItself => redirect(request.path.clone()),
            Self::RedirectElsewhere => redirect(format!("http://vault.example.org:8200{}", request.path)),
            Self::RedirectToPlain => redirect(format!("{real}{}", request.path)),
        }
    }
}

/// A pass that is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pass {
    /// Of our token.
    Renewal,
    /// Of an admin's login, with two tokens of our name left over: one this machine remembers, and one it does not.
    Heal,
    /// Of a login that may only mint on the second path.
    HealOnTheSecondPath,
    /// Of a token of ours without a period.
    HealOfADyingToken,
}

const PASSES: [Pass; 4] = [Pass::Renewal, Pass::Heal, Pass::HealOnTheSecondPath, Pass::HealOfADyingToken];

/// One of all the things that are tried.
struct Combination {
    pass: Pass,
    /// The request that is broken, from 0.
    number: usize,
    /// Its call, and which one of this name it is, from 1.
    call: String,
    nth: usize,
    fault: Fault,
    reached: Reached,
    times: Times,
}

impl Case for Combination {
    fn key(&self) -> String {
        let Self { pass, number: _, call, nth, fault, reached, times } = self;
        let call = call.split("/?").next().unwrap_or_default();
        format!("{pass} / {call} {nth} / {fault} / {reached} / {times}")
    }

    fn detail(&self) -> String {
        format!("request {}", self.number)
    }
}

impl fmt::Display for Pass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Renewal => "renewal",
            Self::Heal => "heal",
            Self::HealOnTheSecondPath => "heal on the second path",
            Self::HealOfADyingToken => "heal of a dying token",
        })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Vault(status) => return write!(f, "{status} of Vault"),
            Self::UnknownWords(status) => return write!(f, "{status} in unknown words"),
            Self::Unserving(status) => return write!(f, "{status} of a secondary"),
            Self::RetryAfter(seconds) => return write!(f, "retry after {seconds} s"),
            Self::Gateway(status) => return write!(f, "{status} of a gateway"),
            Self::ConnectionRefused => "connection refused",
            Self::Reset => "reset",
            Self::HalfABody => "half a body",
            Self::Drip => "drip",
            Self::Silence => "silence",
            Self::NoContent => "no content",
            Self::EmptyOk => "empty 200",
            Self::HtmlOk => "200 in HTML",
            Self::Null => "null",
            Self::WrongTypes => "wrong types",
            Self::DeeplyNested => "deeply nested",
            Self::FiftyMegabytes => "50 MB",
            Self::RedirectToItself => "redirect to itself",
            Self::RedirectElsewhere => "redirect elsewhere",
            Self::RedirectToPlain => "redirect to http",
        })
    }
}

impl fmt::Display for Reached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Never => "unheard",
            Self::Acted => "acted on",
        })
    }
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Once => "once",
            Self::ForEver => "for ever",
        })
    }
}

/// A real server, and the logins that a worker uses again and again.
struct World {
    bao: OpenBao,
    authority: Authority,
    strong: Minted,
    second_path: Minted,
    /// What was there before any test.
    kept: Vec<String>,
}

/// What is in the token file of a machine before a run.
struct Machine {
    home: Sandbox,
    in_file: String,
}

impl World {
    fn new() -> Self {
        let bao = server();
        bao.write_policy(
            "second-path",
            r#"path "auth/token/create-orphan" { capabilities = ["create", "update", "sudo"] }"#,
        );
        let strong = bao.userpass_login("vbarzin", &["vault-admin"], &[]);
        let second_path = bao.userpass_login("orphanage", &["second-path"], &[]);
        let kept = bao.accessors();
        Self { bao, authority: Authority::new(), strong, second_path, kept }
    }

    /// Removes every token but root's and the two logins.
    fn clean(&self) {
        for accessor in self.bao.accessors() {
            if !self.kept.contains(&accessor) {
                self.bao.revoke_accessor(&accessor);
            }
        }
    }

    /// A fresh home, and a server with as many tokens as ever.
    fn machine(&self, pass: Pass) -> Machine {
        self.clean();
        let (home, in_file) = match pass {
            Pass::Renewal => {
                let ours = self.bao.mint_ours().token;
                (Sandbox::holding(&ours), ours)
            }
            Pass::Heal => {
                let home = Sandbox::holding(&self.strong.token);
                home.run(&self.bao, &[]).expect(0);
                home.put(&self.strong.token);
                self.bao.mint_ours();
                (home, self.strong.token.clone())
            }
            Pass::HealOnTheSecondPath => {
                self.bao.mint_ours();
                (Sandbox::holding(&self.second_path.token), self.second_path.token.clone())
            }
            Pass::HealOfADyingToken => {
                let without_a_period = with(with(ours(), "period", Value::Null), "ttl", "1h");
                let dying = self.bao.mint_as_root(without_a_period).token;
                (Sandbox::holding(&dying), dying)
            }
        };
        Machine { home, in_file }
    }

    /// The calls of a pass without a fault, in their order. Of all sweeps, which are alike, those after a heal
    /// of an admin's login will do.
    fn calls(&self, pass: Pass) -> Vec<String> {
        let machine = self.machine(pass);
        let front = Scripted::in_front_of(&self.bao, |_, _| None);
        machine.home.run(&front, &[]).expect(0);
        let mut calls: Vec<String> =
            front.requests().iter().map(|request| request.call().to_owned()).collect();
        let sweep = calls.iter().position(|call| call.starts_with("auth/token/accessors"));
        if pass != Pass::Heal {
            calls.truncate(sweep.unwrap_or(calls.len()));
        }
        calls
    }

    /// Tries one combination.
    fn survive(&self, combination: &Combination) {
        let machine = self.machine(combination.pass);
        let minted = Arc::new(Mutex::new(Vec::new()));
        let front = self.front(combination, &minted);
        let ca = machine.home.path().join("ca.pem");
        fs::write(&ca, self.authority.pem()).unwrap();
        let start = Instant::now();
        let run = machine.home.finish(
            machine
                .home
                .command(front.address())
                .env("VTR_RETRY_FOR", format!("{}ms", RETRY_FOR.as_millis()))
                .env("VAULT_CLIENT_TIMEOUT", format!("{}ms", REQUEST_TIMEOUT.as_millis()))
                .env("VAULT_CACERT", &ca),
        );
        let took = start.elapsed();
        for secret in minted.lock().unwrap().iter() {
            machine.home.guard(secret);
        }
        machine.home.check(&run);
        let result = self.judge(combination, &machine, &run, took, front.requests().len());
        drop(front);
        let result = result.and_then(|()| {
            let next = machine.home.run(&self.bao, &[]);
            self.judge_next(&machine, &next).map_err(|wrong| format!("{wrong}\n  next run: {next:?}"))
        });
        result.unwrap_or_else(|wrong| panic!("{wrong}\n  broken run: {run:?}"));
    }

    fn front(&self, combination: &Combination, minted: &Arc<Mutex<Vec<String>>>) -> Scripted {
        let &Combination { number, fault, reached, times, .. } = combination;
        let (real, minted) = (self.bao.address().to_owned(), Arc::clone(minted));
        let pause = match times {
            // Long enough for one attempt, and shorter than the shortest pause before the next.
            Times::Once => Some(Duration::from_millis(60)),
            Times::ForEver => None,
        };
        let script = move |request: &Request, this: usize| {
            let pass_on = || {
                let answer = pass_on(&real, request).unwrap_or_default();
                minted.lock().unwrap().extend(client_token(&answer));
                answer
            };
            // Where nobody listens, no request comes in.
            let broken = this == number || (times == Times::ForEver && this > number);
            if broken && fault != Fault::ConnectionRefused {
                if reached == Reached::Acted && !matches!(fault, Fault::HalfABody | Fault::Drip) {
                    pass_on();
                }
                return fault.reply(request, &real, pass_on);
            }
            let reply = Reply::Bytes(pass_on());
            if fault == Fault::ConnectionRefused && this + 1 == number {
                return Reply::Last(Box::new(reply), pause);
            }
            reply
        };
        let front = if fault == Fault::RedirectToPlain {
            Scripted::start_tls(self.authority.sign(&["127.0.0.1"]).server(None), script)
        } else {
            Scripted::start(script)
        };
        if fault == Fault::ConnectionRefused && number == 0 {
            front.vanish(pause);
        }
        front
    }

    /// What has to hold after a run with a fault.
    fn judge(
        &self,
        combination: &Combination,
        machine: &Machine,
        run: &Run,
        took: Duration,
        requests: usize,
    ) -> Result<(), String> {
        let said = run.all();
        let holds = |condition: bool, what: &str| if condition { Ok(()) } else { Err(what.to_owned()) };
        holds(matches!(run.status, 0 | 1), "exit status")?;
        holds(took < RUN_WITHIN, &format!("took {took:?}"))?;
        holds(requests <= MOST_REQUESTS, &format!("{requests} requests"))?;
        let token = machine.home.token();
        let ours = self.bao.recognise(&token).is_ok();
        holds(token == machine.in_file || ours, "the file holds neither its old bytes nor ours")?;
        holds(run.status != 0 || ours, "exit 0 without a living token of ours in the file")?;
        holds(machine.home.mode(".vault-token") == 0o600, "mode")?;
        let outcomes = ["OK ", "HEALED: ", "DRIFT: ", "FAIL: "].iter();
        let lines: usize = outcomes.map(|word| said.matches(&format!(" {word}")).count()).sum();
        holds(lines == 1, "not exactly one line about the outcome")?;
        let &Combination { fault, ref call, times, .. } = combination;
        let (denial, outage) = (
            ["DRIFT", "denied", "dead", "log in", "vault login", "lacks", "may not"].iter(),
            ["unreachable", "timed out", "connection", "closed", "not an answer", "rate limit"].iter(),
        );
        let mut forbidden = match fault.kind() {
            Kind::Outage => denial.as_slice().iter(),
            Kind::Denial => outage.as_slice().iter(),
            Kind::Neither => ["DRIFT", "heal denied", "timed out", "connection"].iter(),
            Kind::Unknown => ["DRIFT", "heal denied", "dead", "log in", "timed out", "connection"].iter(),
        };
        if let Some(word) = forbidden.find(|word| said.contains(**word)) {
            return Err(format!("it is a case of {:?}, and the words are {word:?}", fault.kind()));
        }
        let mint = call.starts_with("auth/token/create");
        let repeatable = !mint || fault.has_done_nothing();
        if times == Times::Once && fault.passes() && repeatable {
            holds(run.status == 0, "a passing outage was not ridden out")?;
        }
        Ok(())
    }

    /// What has to hold after the next run, without a fault.
    fn judge_next(&self, machine: &Machine, run: &Run) -> Result<(), String> {
        let holds = |condition: bool, what: &str| if condition { Ok(()) } else { Err(what.to_owned()) };
        holds(run.status == 0, "the next run fails")?;
        let recognised = self.bao.recognise_alone(&machine.home.token());
        recognised.map_err(|wrong| format!("the token in the file after the next run: {wrong}"))?;
        holds(machine.home.names() == [".local", ".vault-token", "ca.pem"], "a file is left behind")?;
        let logins = [&self.strong, &self.second_path];
        holds(logins.iter().all(|login| self.bao.lookup(&login.token).is_some()), "a login was revoked")
    }
}

/// The token in the answer to a mint.
fn client_token(answer: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(answer);
    let rest = text.split_once(r#""client_token":""#)?.1;
    Some(rest.split('"').next()?.to_owned()).filter(|token| !token.is_empty())
}

fn combinations(world: &World) -> Vec<Combination> {
    let mut all = Vec::new();
    for pass in PASSES {
        let calls = world.calls(pass);
        for (number, call) in calls.iter().enumerate() {
            let nth = calls[..=number].iter().filter(|before| *before == call).count();
            // What asks only leaves the server as it was, whether it heard it or not.
            let acts = !(call.contains("lookup") || call.contains("accessors"));
            for fault in FAULTS {
                let reaches = fault.reaches();
                for &reached in if acts { reaches } else { &reaches[..1] } {
                    all.extend([Times::Once, Times::ForEver].map(|times| Combination {
                        pass,
                        number,
                        call: call.clone(),
                        nth,
                        fault,
                        reached,
                        times,
                    }));
                }
            }
        }
    }
    all
}

#[test]
fn whatever_breaks_no_token_is_lost_torn_stranded_or_let_out() {
    let first = World::new();
    let campaign = Campaign {
        what: "combinations of pass, request, fault, reach and times".to_owned(),
        workers: WORKERS,
        place: World::new,
        cases: combinations(&first),
    };
    campaign.run(&first, |world, combination| {
        world.survive(combination);
        Attempt::Made
    });
}
