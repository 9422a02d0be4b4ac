//! A Vault that says what it is told to: for the shapes of requests, and for odd but legal answers.
//!
//! Every call has one answer. Another answer to the same call takes the place of the first, in whatever order they are
//! given. A call that has none is answered 501, which nothing takes for an answer of Vault.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::thread;

use mockito::{Matcher, Mock, Server, ServerGuard};
use serde_json::{Value, json};

use super::scripted::{Reply, Request};
use super::{FILE_TOKEN, OUR_NAME, PERIOD, told_of, with};

/// The token that is minted.
pub const NEW_TOKEN: &str = "hvs.fresh-0123456789";

/// Stands for all accessors that have no answer of their own.
const ANY_OTHER: &str = "any other";

/// The server.
pub struct Vault {
    server: ServerGuard,
    address: String,
    /// By method, path, and the token or accessor that it is about.
    answers: BTreeMap<String, Told>,
    /// The accessors that have answers of their own, each after the path of its call.
    accessors: Arc<Mutex<BTreeSet<String>>>,
}

/// An answer that is being given.
struct Told {
    mock: Mock,
    /// Whether it was said how often the call has to come.
    is_counted: bool,
}

/// What is answered to a call.
#[derive(Debug, Clone)]
pub struct Answer {
    status: usize,
    headers: Vec<(&'static str, String)>,
    body: String,
    times: Option<usize>,
    asked_headers: Vec<(&'static str, Matcher)>,
    asked_body: Vec<Matcher>,
}

/// A status and a body that is said to be JSON, whatever it is.
pub fn answer(status: usize, body: impl Into<String>) -> Answer {
    Answer {
        status,
        headers: vec![("content-type", "application/json".to_owned())],
        body: body.into(),
        times: None,
        asked_headers: Vec::new(),
        asked_body: Vec::new(),
    }
}

/// Done, and nothing to say.
pub fn no_content() -> Answer {
    answer(204, "")
}

/// A status with Vault's own words.
pub fn errors(status: usize, words: &str) -> Answer {
    answer(status, json!({ "errors": [words] }).to_string())
}

/// Vault's own no.
pub fn denied() -> Answer {
    errors(403, "1 error occurred:\n\t* permission denied\n\n")
}

/// The answer to a call that asks.
pub fn data(info: &Value) -> Answer {
    let whole = json!({
        "request_id": "5fe732c5", "lease_id": "", "renewable": false, "lease_duration": 0, "data": info,
        "wrap_info": null, "warnings": null, "auth": null,
    });
    answer(200, whole.to_string())
}

/// The `auth` part of the answer to a mint or a renewal.
pub fn auth(token: &str, accessor: &str, lease: u64) -> Value {
    json!({
        "client_token": token, "accessor": accessor, "policies": ["default", "vault-admin"],
        "token_policies": ["default", "vault-admin"], "metadata": null, "lease_duration": lease,
        "renewable": true, "entity_id": "", "token_type": "service", "orphan": true,
        "mfa_requirement": null, "num_uses": 0,
    })
}

/// The answer to a mint or a renewal.
pub fn authenticated(auth: &Value) -> Answer {
    authenticated_with(auth, &Value::Null)
}

/// The same, and the server warns.
pub fn warning(auth: &Value, words: &str) -> Answer {
    authenticated_with(auth, &json!([words]))
}

fn authenticated_with(auth: &Value, warnings: &Value) -> Answer {
    let whole = json!({ "data": null, "auth": auth, "warnings": warnings, "lease_duration": 0 });
    answer(200, whole.to_string())
}

/// The answer to a renewal that goes well.
pub fn renewed() -> Answer {
    authenticated(&auth(FILE_TOKEN, "kept-accessor", PERIOD))
}

/// The answer to a mint that goes well.
pub fn minted() -> Answer {
    authenticated(&auth(NEW_TOKEN, "new-accessor", PERIOD))
}

/// Our token, as a real server tells of it.
pub fn our_token() -> Value {
    json!({
        "accessor": "kept-accessor", "creation_time": 1_795_309_653, "creation_ttl": PERIOD,
        "display_name": OUR_NAME, "entity_id": "", "expire_time": "2026-12-24T01:07:33.84962884Z",
        "explicit_max_ttl": 0, "id": FILE_TOKEN, "issue_time": "2026-11-22T01:07:33.849632779Z", "meta": null,
        "num_uses": 0, "orphan": true, "path": "auth/token/create", "period": PERIOD,
        "policies": ["default", "sops-admin", "vault-admin"], "renewable": true, "ttl": PERIOD - 1,
        "type": "service",
    })
}

/// The token of an administrator's login.
pub fn foreign_token() -> Value {
    let login = with(with(our_token(), "display_name", "oidc-vbarzin"), "path", "auth/oidc/oidc/callback");
    with(login, "period", 0)
}

/// The token that is minted.
pub fn new_token() -> Value {
    with(with(our_token(), "id", NEW_TOKEN), "accessor", "new-accessor")
}

/// What a scripted server answers to each request of a heal that goes well, and leaves nothing to revoke.
pub fn healing(request: &Request) -> Reply {
    let minted = request.header("x-vault-token") == Some(NEW_TOKEN);
    let auth = json!({
        "client_token": NEW_TOKEN, "accessor": "accessor-of-token-devvm-wizard", "lease_duration": PERIOD,
    });
    let mint = json!({ "auth": auth });
    match request.call() {
        "auth/token/lookup-self" if minted => Reply::Json(200, told_of(NEW_TOKEN, OUR_NAME)),
        "auth/token/lookup-self" => Reply::Json(200, told_of(FILE_TOKEN, "oidc-x")),
        "auth/token/create" => Reply::Json(200, mint.to_string()),
        "auth/token/accessors/?list=true" => Reply::Json(200, json!({ "data": { "keys": [] } }).to_string()),
        "auth/token/lookup-accessor" => Reply::Json(200, told_of("", OUR_NAME)),
        "auth/token/revoke-self" => Reply::Full(204, Vec::new(), String::new()),
        _ => Reply::Json(404, r#"{"errors":["no handler for route"]}"#.to_owned()),
    }
}

/// A token of our name, as it is told of to whoever knows its accessor only.
pub fn known_by(accessor: &str) -> Value {
    with(with(our_token(), "id", ""), "accessor", accessor)
}

impl Answer {
    /// How often the call has to come. It is checked when the server goes, or gets another answer to this call.
    pub fn times(mut self, times: usize) -> Self {
        self.times = Some(times);
        self
    }

    /// Another header, or another value of one.
    pub fn with_header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.retain(|(known, _)| *known != name);
        self.headers.push((name, value.to_owned()));
        self
    }

    /// Something stands before the body, so that it is no JSON.
    pub fn after(mut self, front: &str) -> Self {
        self.body.insert_str(0, front);
        self
    }

    /// Only to requests with this header.
    pub fn if_header(mut self, name: &'static str, value: impl Into<Matcher>) -> Self {
        self.asked_headers.push((name, value.into()));
        self
    }

    /// Only to requests with this body.
    pub fn if_body(mut self, body: impl Into<Matcher>) -> Self {
        self.asked_body.push(body.into());
        self
    }

    fn give(self, mut mock: Mock) -> Told {
        for (name, value) in self.asked_headers {
            mock = mock.match_header(name, value);
        }
        if !self.asked_body.is_empty() {
            mock = mock.match_body(Matcher::AllOf(self.asked_body));
        }
        mock = mock.with_status(self.status).with_body(self.body);
        for (name, value) in self.headers {
            mock = mock.with_header(name, &value);
        }
        if let Some(times) = self.times {
            mock = mock.expect(times);
        }
        Told { mock: mock.create(), is_counted: self.times.is_some() }
    }
}

impl Told {
    fn check(&self) {
        if self.is_counted {
            self.mock.assert();
        }
    }
}

impl Vault {
    /// It has no answer yet.
    pub fn new() -> Self {
        let server = Server::new();
        Self { address: server.url(), server, answers: BTreeMap::new(), accessors: Arc::default() }
    }

    /// One on which a renewal goes well.
    pub fn renewing() -> Self {
        Self::new().lookup(FILE_TOKEN, data(&our_token())).renewal(renewed())
    }

    /// One on which a heal goes well, and leaves nothing to revoke.
    pub fn healing() -> Self {
        Self::new()
            .lookup(FILE_TOKEN, data(&foreign_token()))
            .mint(minted())
            .lookup(NEW_TOKEN, data(&new_token()))
            .list(&["new-accessor"])
            .accessor("new-accessor", data(&known_by("new-accessor")))
    }

    /// Where it listens.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Every call that has an answer has to come exactly once.
    pub fn each_once(mut self) -> Self {
        for told in self.answers.values_mut() {
            told.is_counted = true;
        }
        self
    }

    /// What this token is told about itself.
    pub fn lookup(self, token: &str, answer: Answer) -> Self {
        self.say("GET", "auth/token/lookup-self", token, answer.if_header("x-vault-token", token))
    }

    /// The renewal.
    pub fn renewal(self, answer: Answer) -> Self {
        self.say("POST", "auth/token/renew-self", "", answer)
    }

    /// The mint.
    pub fn mint(self, answer: Answer) -> Self {
        self.say("POST", "auth/token/create", "", answer)
    }

    /// The mint on the other path.
    pub fn second_mint(self, answer: Answer) -> Self {
        self.say("POST", "auth/token/create-orphan", "", answer)
    }

    /// Both mints.
    pub fn mints(self, answer: Answer) -> Self {
        self.mint(answer.clone()).second_mint(answer)
    }

    /// The revocation by which a token ends itself.
    pub fn self_revocation(self, answer: Answer) -> Self {
        self.say("POST", "auth/token/revoke-self", "", answer)
    }

    /// The accessors that are listed.
    pub fn list(self, accessors: &[&str]) -> Self {
        self.listing(data(&json!({ "keys": accessors })))
    }

    /// Whatever else is answered where they are asked for.
    pub fn listing(self, answer: Answer) -> Self {
        self.say("GET", "auth/token/accessors/?list=true", "", answer)
    }

    /// The lookup of this accessor.
    pub fn accessor(self, accessor: &str, answer: Answer) -> Self {
        self.about("auth/token/lookup-accessor", accessor, answer)
    }

    /// The lookup of any other.
    pub fn any_other_accessor(self, answer: Answer) -> Self {
        self.say("POST", "auth/token/lookup-accessor", ANY_OTHER, answer)
    }

    /// The revocation of this accessor.
    pub fn revocation(self, accessor: &str, answer: Answer) -> Self {
        self.about("auth/token/revoke-accessor", accessor, answer)
    }

    /// The revocation of any other.
    pub fn any_other_revocation(self, answer: Answer) -> Self {
        self.say("POST", "auth/token/revoke-accessor", ANY_OTHER, answer)
    }

    /// What a token may do.
    pub fn capabilities(self, answer: Answer) -> Self {
        self.say("POST", "sys/capabilities-self", "", answer)
    }

    /// What is in a policy, whichever it is.
    pub fn any_policy(self, answer: Answer) -> Self {
        self.say("GET", "sys/policies/acl/*", "", answer)
    }

    /// Everything that is asked with GET, on a server that has no other answer to one.
    pub fn any_get(self, answer: Answer) -> Self {
        self.say("GET", "*", "", answer)
    }

    fn about(self, path: &str, accessor: &str, answer: Answer) -> Self {
        self.accessors.lock().unwrap().insert(format!("/v1/{path} {accessor}"));
        self.say("POST", path, accessor, answer.if_body(Matcher::Json(json!({ "accessor": accessor }))))
    }

    fn say(mut self, method: &str, path: &str, whose: &str, answer: Answer) -> Self {
        let matcher = match path.strip_suffix('*') {
            Some(beginning) => Matcher::Regex(format!("^/v1/{beginning}")),
            None => Matcher::Exact(format!("/v1/{path}")),
        };
        let mut mock = self.server.mock(method, matcher);
        if whose == ANY_OTHER {
            let named = Arc::clone(&self.accessors);
            mock = mock.match_request(move |request| {
                let body: Value = serde_json::from_slice(request.body().unwrap()).unwrap_or_default();
                let asked = format!("{} {}", request.path(), body["accessor"].as_str().unwrap_or_default());
                !named.lock().unwrap().contains(&asked)
            });
        }
        let told = answer.give(mock);
        if let Some(before) = self.answers.insert(format!("{method} {path} {whose}"), told) {
            before.check();
            before.mock.remove();
        }
        self
    }
}

/// A run is told where to find it.
impl AsRef<str> for Vault {
    fn as_ref(&self) -> &str {
        self.address()
    }
}

impl Drop for Vault {
    fn drop(&mut self) {
        if !thread::panicking() {
            self.answers.values().for_each(Told::check);
        }
    }
}
