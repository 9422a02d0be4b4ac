//! The server, typed: one method per call, each answer believed only if it has Vault's shape.

mod address;
mod call;
mod classify;
mod connect;
mod conversation;
mod der;
mod error;
mod http;
pub(crate) mod kv;
mod observer;
mod pem;
mod proxy;
mod retry;
mod socket;
mod tls;
mod wire;
mod words;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::{DeserializeOwned, IgnoredAny};

pub(crate) use address::{Address, DEFAULT_ADDRESS};
pub(crate) use call::{CREATE_ORPHAN_PATH, CREATE_PATH, Call, RENEW_SELF_PATH, REVOKE_ACCESSOR_PATH};
pub(crate) use error::{
    Error, ErrorKind, Interrupted, Named, No, Oddity, RedirectRefusal, Said, SaidBy, TlsTrouble, Unreachable,
};
pub(crate) use http::ConnectionSettings;
pub(crate) use observer::{Exchange, Observer};
pub(crate) use proxy::{Candidate, NoProxy, Proxy, ProxyRules};
pub(crate) use tls::{
    Roots, TlsSettings, client_certificate, roots_from_directory, roots_from_file, roots_from_pem,
};
pub(crate) use wire::{Meta, MintOrder};

use crate::secret::{Secrets, Token};
use crate::stop::Stop;
use crate::token::{Accessor, TokenInfo};
use http::{Answer, Http, Question};
use retry::RetryBudget;
use wire::{ByAccessor, ByPaths, Empty, Envelope, Errors, Keys, LookupData, MintAuth, RenewAuth};

/// The longest ordinary answer that is read. A lookup is about 1 KiB; policies and metadata may add to it.
const ANSWER_LIMIT: u64 = 1024 * 1024;

/// The longest listing of accessors that is read: at 27 bytes each, about nine million.
const LISTING_LIMIT: u64 = 256 * 1024 * 1024;

/// The body of a GET.
const NO_BODY: Option<&Empty> = None;

/// How much of a strange answer is quoted.
const QUOTED_START: usize = 60;

/// A lookup of the token that asked.
#[derive(Debug)]
pub(crate) struct SelfLookup {
    /// What it says.
    pub(crate) info: TokenInfo,
    /// Whether the answer named the token it speaks of. An agent that substitutes its own token leaves
    /// that out.
    pub(crate) confirmed: bool,
}

/// What a renewal did.
#[derive(Debug)]
pub(crate) enum Renewal {
    /// The token has this many seconds to live now.
    Renewed {
        /// Seconds.
        lease: u64,
        /// `false` says that this was the last time.
        renewable: Option<bool>,
        /// Vault's warnings, for instance about a cap.
        warnings: Vec<String>,
    },
    /// Vault answered 204: nothing was renewed.
    NothingDone,
}

/// A minted token, not yet checked.
#[derive(Debug)]
pub(crate) struct Minted {
    /// The secret.
    pub(crate) token: Token,
    /// Its handle.
    pub(crate) accessor: Option<Accessor>,
    /// How many seconds it was granted, if the answer says so.
    pub(crate) lease: Option<u64>,
    /// Vault's warnings, for instance about a policy that does not exist.
    pub(crate) warnings: Vec<String>,
}

/// What a revocation by accessor found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Revocation {
    /// A living token, dead now.
    Revoked,
    /// No such token (any more).
    AlreadyGone,
}

/// How long a client waits, at most.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// For one request, its body included; the settings may ask for less.
    pub(crate) request: Duration,
    /// For trying again, all requests together.
    pub(crate) retry_for: Duration,
    /// For a lookup and a renewal, or a round of `follow`, with all repetitions, from the moment at which the client is
    /// made; and for a
    /// mint with all that belongs to it, from its first request. None where nothing runs out meanwhile.
    pub(crate) in_all: Option<Duration>,
}

/// Until when something may be asked, where that is limited.
#[derive(Debug)]
struct Limit {
    length: Option<Duration>,
    since: Mutex<Instant>,
}

impl Limit {
    fn new(length: Option<Duration>) -> Self {
        Self { length, since: Mutex::new(Instant::now()) }
    }

    /// That of a request. A walk and the revocation of what would be stranded have limits of their own.
    fn of(&self, call: Call) -> Option<Instant> {
        let length = self.length?;
        let mut since = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        match call {
            Call::Create => *since = Instant::now(),
            Call::LookupSelf
            | Call::RenewSelf
            | Call::CreateOrphan
            | Call::Capabilities
            | Call::Policy
            | Call::Mount
            | Call::Secret => {}
            Call::Accessors | Call::LookupAccessor | Call::RevokeAccessor | Call::RevokeSelf => return None,
        }
        since.checked_add(length)
    }
}

/// A client of one server, with one retry budget and one list of secrets for its whole life: every run makes a new
/// one.
pub(crate) struct Client<'a> {
    http: Http<'a>,
    budget: RetryBudget,
    limit: Limit,
    /// Every token it has sent or was given. None of them leaves here in a text.
    secrets: Secrets,
    /// Nothing is sent any more once somebody wants the run to end.
    stop: &'a Stop,
}

impl<'a> Client<'a> {
    /// A client that has opened no connection yet.
    pub(crate) fn new(
        settings: &'a ConnectionSettings,
        patience: Patience,
        stop: &'a Stop,
        observer: Arc<dyn Observer + 'a>,
    ) -> Self {
        Self {
            http: Http::new(settings, patience.request, stop, observer),
            budget: RetryBudget::new(patience.retry_for),
            limit: Limit::new(patience.in_all),
            secrets: Secrets::default(),
            stop,
        }
    }

    /// Blanks this out of all that the server says, too, if it is a word.
    pub(crate) fn hide(&self, value: &[u8]) {
        if let Ok(word) = Token::parse(value) {
            self.secrets.add(&word);
        }
    }

    /// Where the server is.
    pub(crate) fn address(&self) -> String {
        self.http.settings().address.to_string()
    }

    /// The namespace it works in.
    pub(crate) fn namespace(&self) -> Option<&str> {
        self.http.settings().namespace.as_deref()
    }

    /// How many requests may run side by side.
    pub(crate) fn concurrency(&self) -> usize {
        self.http.settings().concurrency
    }

    /// Looks up the token that asks. An answer about another token is an error, not a lookup.
    pub(crate) fn lookup_self(&self, token: &Token) -> Result<SelfLookup, Error> {
        let call = Call::LookupSelf;
        let answer = self.ask(call, token, NO_BODY)?;
        let envelope: Envelope<LookupData, IgnoredAny> = self.read(call, &answer)?;
        let data = envelope.data.ok_or_else(|| self.shape(call, &answer, "no data"))?;
        let is_batch = data.kind() == Some("batch");
        match &data.id {
            Some(id) if !token.is(id) => Err(self.error(call, &answer.path, ErrorKind::AnotherToken)),
            // An agent that puts its own token in the place of ours takes both out. Every server says who it means.
            None if !data.names_accessor() && !is_batch => {
                Err(self.error(call, &answer.path, ErrorKind::AnotherToken))
            }
            id => {
                let confirmed = id.is_some();
                Ok(SelfLookup { info: TokenInfo::from(data).without(&self.secrets), confirmed })
            }
        }
    }

    /// Renews the token that asks, which has this `accessor`, as far as it is known. No increment is sent: it would
    /// shorten the life of a token without a period. An answer about another token is an error, not a renewal.
    pub(crate) fn renew_self(&self, token: &Token, accessor: Option<&Accessor>) -> Result<Renewal, Error> {
        let call = Call::RenewSelf;
        let answer = self.ask(call, token, Some(&Empty {}))?;
        if answer.status == 204 {
            return Ok(Renewal::NothingDone);
        }
        let envelope: Envelope<IgnoredAny, RenewAuth> = self.read(call, &answer)?;
        let auth = self.auth(call, &answer, envelope.auth, envelope.wrap_info.is_some())?;
        let named = auth.accessor.and_then(Accessor::new);
        let about_another = auth.client_token.is_some_and(|named| !token.is(&named))
            || matches!((&named, accessor), (Some(named), Some(accessor)) if named != accessor);
        if about_another {
            return Err(self.error(call, &answer.path, ErrorKind::AnotherToken));
        }
        Ok(Renewal::Renewed {
            lease: auth.lease_duration,
            renewable: auth.renewable,
            warnings: self.redacted(envelope.warnings),
        })
    }

    /// Mints by [`Call::Create`] or [`Call::CreateOrphan`].
    ///
    /// Repeated only while it is certain that nothing was executed. After any other failure but a refusal the server
    /// may hold a token nobody knows.
    pub(crate) fn mint(&self, call: Call, token: &Token, order: &MintOrder<'_>) -> Result<Minted, Error> {
        let answer = self.ask(call, token, Some(order))?;
        let envelope: Envelope<IgnoredAny, MintAuth> = self.read(call, &answer)?;
        let auth = self.auth(call, &answer, envelope.auth, envelope.wrap_info.is_some())?;
        self.secrets.add(&auth.client_token);
        Ok(Minted {
            warnings: self.redacted(envelope.warnings),
            accessor: auth.accessor.and_then(Accessor::new).filter(|accessor| self.holds_no_secret(accessor)),
            lease: auth.lease_duration,
            token: auth.client_token,
        })
    }

    /// The accessors of all tokens in the namespace.
    pub(crate) fn accessors(&self, token: &Token) -> Result<Vec<Accessor>, Error> {
        let call = Call::Accessors;
        let answer = match self.ask(call, token, NO_BODY) {
            // An empty listing is a 404 without a word.
            Err(Error { kind: ErrorKind::NotFound { message }, .. }) if message.is_empty() => {
                return Ok(Vec::new());
            }
            answer => answer?,
        };
        let envelope: Envelope<Keys, IgnoredAny> = self.read(call, &answer)?;
        let mut keys =
            envelope.data.map(|data| data.keys).ok_or_else(|| self.shape(call, &answer, "no data"))?;
        keys.retain(|accessor| accessor.is_plausible() && self.holds_no_secret(accessor));
        Ok(keys)
    }

    /// Looks up a token by its accessor.
    pub(crate) fn lookup_accessor(&self, token: &Token, accessor: &Accessor) -> Result<TokenInfo, Error> {
        let call = Call::LookupAccessor;
        let answer = self.ask(call, token, Some(&ByAccessor { accessor: accessor.as_str() }))?;
        let envelope: Envelope<LookupData, IgnoredAny> = self.read(call, &answer)?;
        let info = envelope.data.map(|data| TokenInfo::from(data).without(&self.secrets));
        info.ok_or_else(|| self.shape(call, &answer, "no data"))
    }

    /// Revokes a token by its accessor.
    pub(crate) fn revoke_accessor(&self, token: &Token, accessor: &Accessor) -> Result<Revocation, Error> {
        let call = Call::RevokeAccessor;
        match self.ask(call, token, Some(&ByAccessor { accessor: accessor.as_str() })) {
            Ok(answer) if answer.status == 204 => Ok(Revocation::Revoked),
            // 200 with a warning: no token with this accessor.
            Ok(answer) => {
                let _: Envelope<IgnoredAny, IgnoredAny> = self.read(call, &answer)?;
                Ok(Revocation::AlreadyGone)
            }
            // 400: gone between the index and the token (or on Vault before 1.10, just gone).
            Err(Error { kind: ErrorKind::Refused { .. } | ErrorKind::NotFound { .. }, .. }) => {
                Ok(Revocation::AlreadyGone)
            }
            Err(error) => Err(error),
        }
    }

    /// Revokes the token that asks.
    pub(crate) fn revoke_self(&self, token: &Token) -> Result<(), Error> {
        let call = Call::RevokeSelf;
        let answer = self.ask(call, token, Some(&Empty {}))?;
        if answer.status == 204 {
            return Ok(());
        }
        self.read::<Envelope<IgnoredAny, IgnoredAny>>(call, &answer).map(|_| ())
    }

    /// What the token may do on each of `paths`, in Vault's words: `update`, `sudo`, `deny`, `root`, …
    pub(crate) fn capabilities(
        &self,
        token: &Token,
        paths: &[&str],
    ) -> Result<BTreeMap<String, Vec<String>>, Error> {
        let call = Call::Capabilities;
        let answer = self.ask(call, token, Some(&ByPaths { paths }))?;
        let envelope: Envelope<BTreeMap<String, Vec<String>>, IgnoredAny> = self.read(call, &answer)?;
        let mut told = envelope.data.ok_or_else(|| self.shape(call, &answer, "no data"))?;
        for capability in told.values_mut().flatten() {
            *capability = self.secrets.redact(capability);
        }
        Ok(told)
    }

    /// Whether there is a policy of this name, as far as the token may read it.
    pub(crate) fn policy_exists(&self, token: &Token, name: &str) -> Result<bool, Error> {
        let call = Call::Policy;
        let path = format!("{}{}", call.route().1, in_path(name));
        match self.ask_at(call, &path, token, NO_BODY) {
            // What is not there is a 404 without a word; one with words is about something else.
            Err(Error { kind: ErrorKind::NotFound { message }, .. }) if message.is_empty() => Ok(false),
            answer => {
                let answer = answer?;
                let policy: Envelope<IgnoredAny, IgnoredAny> = self.read(call, &answer)?;
                policy.data.map(|_| true).ok_or_else(|| self.shape(call, &answer, "no data"))
            }
        }
    }

    /// Sends, and sends again within the budget whatever is safe to repeat.
    fn ask(&self, call: Call, token: &Token, body: Option<&impl Serialize>) -> Result<Answer, Error> {
        self.ask_at(call, call.route().1, token, body)
    }

    /// The same, at a path that is not the call's own.
    fn ask_at(
        &self,
        call: Call,
        path: &str,
        token: &Token,
        body: Option<&impl Serialize>,
    ) -> Result<Answer, Error> {
        let observer = self.http.observer();
        observer.asks(call, &self.address());
        let answer = self.ask_until_told(call, path, token, body);
        observer.has_asked(call);
        answer
    }

    fn ask_until_told(
        &self,
        call: Call,
        path: &str,
        token: &Token,
        body: Option<&impl Serialize>,
    ) -> Result<Answer, Error> {
        let (method, _) = call.route();
        let body = match body.map(serde_json::to_vec).transpose() {
            Ok(body) => body,
            Err(error) => {
                let kind = ErrorKind::Unreachable(Unreachable::Other(error.to_string()));
                return Err(self.error(call, path, kind));
            }
        };
        let limit = if call == Call::Accessors { LISTING_LIMIT } else { ANSWER_LIMIT };
        let until = self.limit.of(call);
        let question = Question { method, path, token, body, limit, fresh: !call.is_repeatable(), until };
        self.secrets.add(token);
        // Of what is not under way yet only the revocation of what would be stranded is worth the moment that is left.
        if self.stop.is_raised() && call != Call::RevokeSelf {
            let kind = ErrorKind::Unreachable(Unreachable::Other("told to stop".to_owned()));
            return Err(self.error(call, path, kind));
        }
        let started = Instant::now();
        let mut attempt = 0;
        loop {
            let (kind, place, retry_after) = match self.http.attempt(&question) {
                Ok(answer) if answer.is_cached => (ErrorKind::Cached, None, None),
                Ok(answer) if matches!(answer.status, 200 | 204) => return Ok(answer),
                // What this means for a secret is in its body.
                Ok(answer) if answer.status == 404 && call == Call::Secret && is_vaults(&answer) => {
                    return Ok(answer);
                }
                Ok(answer) => (refusal(call, &answer, &self.secrets), None, answer.retry_after),
                // Where a redirect leads is the server's word too.
                Err((ErrorKind::Redirect { status, reason }, place)) => {
                    let reason = reason.without(&self.secrets);
                    (ErrorKind::Redirect { status, reason }, self.place(place), None)
                }
                Err((kind, place)) => (kind, self.place(place), None),
            };
            let repeatable = call.is_repeatable() || kind.has_done_nothing();
            let pause = (repeatable && kind.is_temporary())
                .then(|| self.budget.pause(started, attempt, retry_after))
                .flatten()
                .filter(|pause| until.is_none_or(|until| Instant::now() + *pause < until));
            let settings = self.http.settings();
            if settings.is_unaddressed() && matches!(kind, ErrorKind::Unreachable(_)) {
                self.http.observer().has_no_address(&settings.address.to_string());
            }
            let redirected_by = place.is_some().then(|| settings.address.to_string().into());
            let url = place.unwrap_or_else(|| settings.address.join(path));
            let error = Error { call, named: Box::new(settings.named(&url)), url, redirected_by, kind };
            match pause {
                Some(pause) if !self.stop.is_raised() => {
                    let until = until.map(|until| until.saturating_duration_since(Instant::now()));
                    let left = self.budget.left().min(until.unwrap_or(Duration::MAX));
                    self.http.observer().tries_again(&error, left);
                    self.stop.sleep(pause);
                }
                Some(_) | None => return Err(error),
            }
            attempt = attempt.saturating_add(1);
        }
    }

    /// Reads a good answer; anything but JSON of the expected shape is an error.
    fn read<Body: DeserializeOwned>(&self, call: Call, answer: &Answer) -> Result<Body, Error> {
        serde_json::from_slice(&answer.body).map_err(|error| {
            let oddity = if answer.body.is_empty() {
                Oddity::Empty
            } else if matches!(call, Call::Create | Call::CreateOrphan | Call::Secret) {
                // However strange, it may hold the token that was minted, or the value that is followed.
                Oddity::Shape("not the JSON it should be".to_owned())
            } else if error.is_data() && !looks_like_html(answer) {
                // serde names a value it did not expect, and that value could be a secret.
                Oddity::Shape(format!("unexpected JSON at line {}, column {}", error.line(), error.column()))
            } else {
                not_json(answer, &self.secrets)
            };
            self.error(call, &answer.path, ErrorKind::NotVault { status: answer.status, oddity })
        })
    }

    /// The `auth` of an answer, which a control group may hold back.
    fn auth<Auth>(
        &self,
        call: Call,
        answer: &Answer,
        auth: Option<Auth>,
        is_wrapped: bool,
    ) -> Result<Auth, Error> {
        match auth {
            Some(auth) => Ok(auth),
            None if is_wrapped => Err(self.error(call, &answer.path, ErrorKind::AwaitsApproval)),
            None => Err(self.shape(call, answer, "no auth")),
        }
    }

    fn shape(&self, call: Call, answer: &Answer, what: &str) -> Error {
        let oddity = Oddity::Shape(what.to_owned());
        self.error(call, &answer.path, ErrorKind::NotVault { status: answer.status, oddity })
    }

    fn error(&self, call: Call, path: &str, kind: ErrorKind) -> Error {
        let settings = self.http.settings();
        let url = settings.address.join(path);
        Error { call, named: Box::new(settings.named(&url)), url, redirected_by: None, kind }
    }

    /// Where a redirect led, as far as it may be shown.
    fn place(&self, place: Option<String>) -> Option<String> {
        place.map(|place| self.secrets.redact(&place))
    }

    /// Warnings without the secrets, should one repeat them.
    fn redacted(&self, warnings: Option<Vec<String>>) -> Vec<String> {
        warnings.unwrap_or_default().iter().map(|warning| self.secrets.redact(warning)).collect()
    }

    /// Whether an accessor holds none of the secrets. One that does is none, and must not be remembered.
    fn holds_no_secret(&self, accessor: &Accessor) -> bool {
        !self.secrets.are_in(accessor.as_str())
    }
}

/// Whether a body is an object as Vault's answers are: with errors, data or warnings.
fn is_vaults(answer: &Answer) -> bool {
    let body: Option<serde_json::Value> = serde_json::from_slice(&answer.body).ok();
    body.is_some_and(|body| ["errors", "data", "warnings"].iter().any(|key| body.get(key).is_some()))
}

/// What a status other than 200 and 204 means. The words decide as much as the number: whatever is in between may
/// use the same numbers, and a node that cannot serve says so with one of them.
fn refusal(call: Call, answer: &Answer, secrets: &Secrets) -> ErrorKind {
    let status = answer.status;
    let (said, by_policy) = match serde_json::from_slice::<Errors>(&answer.body) {
        Ok(body) => {
            // Vault wraps what a policy forbids once more than what it says of a token it does not know. Measured.
            let by_policy = body.errors.iter().any(|error| error.starts_with("1 error occurred"));
            (Said::Errors(secrets.redact(&joined(&body.errors))), by_policy)
        }
        Err(_) if answer.body.is_empty() => (Said::Foreign(Oddity::Empty), false),
        Err(_) if call == Call::Secret => {
            (Said::Foreign(Oddity::Shape("not the JSON it should be".to_owned())), false)
        }
        Err(_) => (Said::Foreign(not_json(answer, secrets)), false),
    };
    match (status, said) {
        // What Vault says of a token whose role is gone, with the status of a fault: it will say so for ever.
        (500, Said::Errors(message)) if message.ends_with("not renewing") => ErrorKind::Refused { message },
        (500, Said::Errors(message)) if message.contains("in different namespace") => {
            ErrorKind::Elsewhere { message }
        }
        (503, Said::Errors(message)) if words::is_sealed(&message) => ErrorKind::Sealed,
        (429, said) => ErrorKind::Throttled { said },
        (400..=499 | 500 | 503, Said::Errors(message)) if words::is_unserving(status, &message) => {
            ErrorKind::Unserving { status, message }
        }
        (403, Said::Errors(message)) if words::is_denial(&message) => {
            ErrorKind::Denied { message, by_policy }
        }
        (400, Said::Errors(message)) if words::is_refusal(call, &message) => ErrorKind::Refused { message },
        // An accessor that is gone is no error, so it has to be the accessor that is spoken of.
        (404, Said::Errors(message))
            if matches!(call, Call::LookupAccessor | Call::RevokeAccessor) && !words::is_absent(&message) =>
        {
            ErrorKind::Unclear { status, message }
        }
        (404, Said::Errors(message)) => ErrorKind::NotFound { message },
        (400 | 403, Said::Errors(message)) => ErrorKind::Unclear { status, message },
        (400 | 403 | 404, Said::Foreign(oddity)) => ErrorKind::NotVault { status, oddity },
        (501, said) => ErrorKind::Unexpected { status, said },
        // Besides Vault's own, the two by which a gateway says that it gave up waiting or wants it again.
        (408 | 412 | 425 | 500..=599, said) => ErrorKind::Server { status, said },
        (_, said) => ErrorKind::Unexpected { status, said },
    }
}

/// Vault's errors on one line: multi-line lists lose their bullets and their count.
fn joined(errors: &[String]) -> String {
    let words = |error: &String| {
        error
            .lines()
            .map(|line| line.trim().trim_start_matches("* ").trim())
            .filter(|line| !line.is_empty() && !line.ends_with("occurred:"))
            .collect::<Vec<_>>()
            .join(", ")
    };
    errors.iter().map(words).filter(|error| !error.is_empty()).collect::<Vec<_>>().join("; ")
}

/// A name as part of a path: everything that could mean something else there is escaped. Names of policies may
/// hold slashes.
fn in_path(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    name.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

fn looks_like_html(answer: &Answer) -> bool {
    answer.content_type.contains("html")
}

/// A strange answer, as far as it may be shown: up to the first character of what could be JSON, and so hold
/// a token, or binary.
fn not_json(answer: &Answer, secrets: &Secrets) -> Oddity {
    let text = secrets.redact(&String::from_utf8_lossy(&answer.body));
    let shown = |c: &char| !matches!(c, '{' | '[' | '"' | '\0' | '\u{fffd}' | '\u{feff}');
    let start = text.trim_start().chars().take(QUOTED_START).take_while(shown).collect();
    Oddity::NotJson { content_type: secrets.redact(&answer.content_type), start }
}

#[cfg(test)]
mod tests {
    use super::observer::Nobody;
    use super::*;
    use proptest::prelude::*;

    fn refusal(answer: &Answer) -> ErrorKind {
        super::refusal(Call::Create, answer, &Secrets::default())
    }

    fn sent() -> Secrets {
        let secrets = Secrets::default();
        secrets.add(&Token::parse(b"s.secret-0123456").unwrap());
        secrets
    }

    #[test]
    fn a_client_knows_the_secrets_of_its_own_run_only() {
        let settings = ConnectionSettings {
            address: Address::parse("http://127.0.0.1:1").unwrap(),
            namespace: None,
            timeout: Duration::from_secs(1),
            disable_redirects: false,
            concurrency: 1,
            tls: TlsSettings::default(),
            proxies: ProxyRules::default(),
            named: Named::default(),
        };
        let patience = Patience { request: Duration::from_secs(1), retry_for: Duration::ZERO, in_all: None };
        let stop = Stop::default();
        let token = Token::parse(b"s.secret-0123456").unwrap();
        let first = Client::new(&settings, patience, &stop, Arc::new(Nobody));
        assert!(first.lookup_self(&token).is_err());
        assert!(first.secrets.are_in("x s.secret-0123456 y"));
        assert!(
            !Client::new(&settings, patience, &stop, Arc::new(Nobody)).secrets.are_in("x s.secret-0123456 y")
        );
    }

    fn answer(status: u16, body: &str) -> Answer {
        Answer {
            path: String::new(),
            status,
            content_type: "application/json".to_owned(),
            retry_after: None,
            is_cached: false,
            body: body.as_bytes().to_vec().into(),
        }
    }

    #[test]
    fn errors_are_joined_into_one_line() {
        let join = |errors: &[&str]| joined(&errors.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(join(&["1 error occurred:\n\t* permission denied\n\n"]), "permission denied");
        assert_eq!(
            join(&["2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n"]),
            "permission denied, invalid token"
        );
        assert_eq!(join(&["a", "b"]), "a; b");
        assert_eq!(join(&[]), "");
    }

    #[test]
    fn a_name_stays_inside_its_part_of_the_path() {
        assert_eq!(in_path("vault-admin"), "vault-admin");
        assert_eq!(in_path("team/a b?list=1#é%"), "team/a%20b%3Flist%3D1%23%C3%A9%25");
    }

    #[test]
    fn only_vaults_own_words_are_a_denial() {
        let denied = r#"{"errors":["permission denied"]}"#;
        assert!(matches!(refusal(&answer(403, denied)), ErrorKind::Denied { .. }));
        assert!(matches!(refusal(&answer(400, denied)), ErrorKind::Refused { .. }));
        for body in
            ["<html>Forbidden</html>", "", "null", "{}", "[]", r#"{"errors":"x"}"#, r#"{"errors":[1]}"#]
        {
            for status in [400, 403, 404] {
                assert!(
                    matches!(refusal(&answer(status, body)), ErrorKind::NotVault { .. }),
                    "{status} {body}"
                );
            }
        }
    }

    /// What is made of these words with this status, in answer to this call.
    fn meaning(call: Call, status: u16, words: &str) -> ErrorKind {
        let body = serde_json::json!({ "errors": [words] }).to_string();
        super::refusal(call, &answer(status, &body), &Secrets::default())
    }

    #[test]
    fn words_decide_what_an_answer_is_about() {
        for words in ["permission denied", "permission denied, invalid token", "bad token"] {
            assert!(matches!(meaning(Call::LookupSelf, 403, words), ErrorKind::Denied { .. }), "{words}");
        }
        // What a policy is called is none of the server's words.
        let forbidden = r#"egp standard policy "root/read-only-at-night" evaluation resulted in denial."#;
        assert!(matches!(meaning(Call::Create, 403, forbidden), ErrorKind::Denied { .. }));
        for (call, words) in [
            (Call::RenewSelf, "lease is not renewable"),
            (Call::Create, "root or sudo privileges required to create orphan token"),
            (Call::Create, "cannot assign policy \"response-wrapping\""),
            (Call::RevokeAccessor, "invalid accessor"),
        ] {
            assert!(matches!(meaning(call, 400, words), ErrorKind::Refused { .. }), "{call:?} {words}");
        }
        for (call, status, words) in [
            // Something in front of the server, in words like the server's.
            (Call::Create, 403, "permission denied: upstream draining, try later"),
            (Call::LookupSelf, 403, "bad token bucket: rate limit exceeded at edge"),
            (Call::RenewSelf, 400, "cannot renew: the gateway is being renewed"),
            (Call::RenewSelf, 400, "WAF: parse json: body blocked"),
            // Words about another call.
            (Call::RenewSelf, 400, "child policies must be subset of parent"),
            (Call::RevokeAccessor, 400, "lease is not renewable"),
            (Call::RevokeAccessor, 400, "failed to parse JSON input: blocked"),
            (Call::RevokeAccessor, 404, "no such route"),
            (Call::LookupAccessor, 404, "no such route"),
        ] {
            let meant = meaning(call, status, words);
            assert!(matches!(meant, ErrorKind::Unclear { .. }), "{call:?} {status} {words}: {meant:?}");
        }
        assert!(matches!(meaning(Call::RevokeAccessor, 404, "invalid accessor"), ErrorKind::NotFound { .. }));
    }

    #[test]
    fn only_what_was_certainly_not_executed_may_be_sent_again() {
        for (status, words) in [
            (429, "x"),
            (503, "Vault is sealed"),
            (503, "error performing token check: Vault is sealed"),
            (500, "local node not active but active cluster node not found"),
            (400, "path disabled in replication DR secondary mode"),
            (404, "no handler for route \"auth/token/create\""),
            (403, "permission denied"),
        ] {
            assert!(meaning(Call::Create, status, words).has_done_nothing(), "{status} {words}");
        }
        for (status, words) in [
            (500, "rpc error: code = Unavailable desc = the server is shutting down"),
            (500, "replication: WAL flush timed out after commit"),
            (500, "read-only transaction"),
            (503, "connection to the unsealed backend was lost while reading its response"),
            (500, "internal error"),
            (404, "x"),
            (400, "x"),
            (201, "x"),
            (203, "x"),
            (405, "x"),
            (409, "x"),
        ] {
            assert!(meaning(Call::Create, status, words).may_have_acted(), "{status} {words}");
        }
        let followed_by_a_look = ErrorKind::Redirect { status: 303, reason: RedirectRefusal::NoTarget };
        assert!(followed_by_a_look.may_have_acted());
        let sent_on = ErrorKind::Redirect { status: 307, reason: RedirectRefusal::Disabled };
        assert!(sent_on.has_done_nothing());
    }

    #[test]
    fn an_outage_is_temporary_and_a_denial_is_not() {
        for status in [412, 429, 500, 502, 503, 504] {
            for body in [r#"{"errors":["x"]}"#, "<html>", ""] {
                assert!(refusal(&answer(status, body)).is_temporary(), "{status} {body}");
            }
        }
        assert!(matches!(refusal(&answer(503, r#"{"errors":["Vault is sealed"]}"#)), ErrorKind::Sealed));
        for status in [201, 400, 403, 404, 405, 413, 501] {
            assert!(!refusal(&answer(status, r#"{"errors":["x"]}"#)).is_temporary(), "{status}");
        }
    }

    #[test]
    fn json_that_could_hold_a_token_is_not_quoted() {
        let sent = sent();
        let oddity = not_json(&answer(200, r#"{"auth":{"client_token":"s.another-secret"}"#), &sent);
        assert!(!format!("{oddity:?}").contains("secret"));
        let oddity = not_json(&answer(502, "<html>Bad Gateway: s.secret-0123456</html>"), &sent);
        assert!(format!("{oddity:?}").contains("Bad Gateway: (token)"));
        for front in ["\u{feff}", ")]}',\n", "\0", "x\u{fffd}"] {
            let body = format!("{front}{{\"auth\":{{\"client_token\":\"s.another-secret\"}}}}");
            assert!(!format!("{:?}", not_json(&answer(200, &body), &sent)).contains("secret"), "{front:?}");
        }
    }

    proptest! {
        #[test]
        fn any_body_is_an_answer_or_an_error(status in 100u16..600, html: bool, body in crate::hostile::bytes(&[
            r#"{"data":{"id":"s.x","accessor":"a","display_name":"token-x","policies":["p"],"ttl":60,"period":60,
                "explicit_max_ttl":0,"creation_time":1,"renewable":true,"orphan":true,"type":"service",
                "path":"auth/token/create","meta":{"host":"h"},"num_uses":0}}"#,
            r#"{"auth":{"client_token":"s.x","accessor":"a","lease_duration":60,"renewable":true},"warnings":["w"]}"#,
            r#"{"data":{"keys":["a","b"]},"warnings":null}"#,
            r#"{"data":{"auth/token/create":["update","sudo"]}}"#,
            r#"{"errors":["1 error occurred:\n\t* permission denied\n\n"]}"#,
            "<html><body>Bad Gateway</body></html>",
        ])) {
            let content_type = if html { "text/html" } else { "application/json" }.to_owned();
            let path = String::new();
            let answer =
                Answer { path, status, content_type, retry_after: None, is_cached: false, body: body.into() };
            let _ = refusal(&answer);
            let _ = not_json(&answer, &sent());
            if let Ok(Envelope { data: Some(data), .. }) =
                serde_json::from_slice::<Envelope<LookupData, IgnoredAny>>(&answer.body)
            {
                let _ = TokenInfo::from(data);
            }
            let _ = serde_json::from_slice::<Envelope<IgnoredAny, MintAuth>>(&answer.body);
            let _ = serde_json::from_slice::<Envelope<IgnoredAny, RenewAuth>>(&answer.body);
            let _ = serde_json::from_slice::<Envelope<Keys, IgnoredAny>>(&answer.body);
            let _ = serde_json::from_slice::<Envelope<BTreeMap<String, Vec<String>>, IgnoredAny>>(&answer.body);
        }
    }
}
