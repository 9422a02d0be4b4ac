//! The only place that sends: connections, time-outs, the one redirect hop.
//!
//! ureq would send `X-Vault-Token` along on any redirect it follows, to any host. So it follows none
//! (`max_redirects(0)`), and [`Http::attempt`] makes the single hop by hand, by the rules of the official
//! client, tightened where a token could travel unencrypted. Why: docs/design.md, "Redirects".

use std::sync::OnceLock;
use std::time::Duration;

use ureq::http::header::{CONTENT_TYPE, LOCATION, RETRY_AFTER};
use ureq::http::uri::Authority;
use ureq::http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri};
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    ConnectProxyConnector, ConnectionDetails, Connector, NextTimeout, RustlsConnector, TcpConnector,
    Transport,
};
use ureq::{Agent, AsSendBody, SendBody, config::Config};
use zeroize::Zeroizing;

use super::address::{Address, ip, is_loopback};
use super::classify::{after_sending, by_route, classify};
use super::error::{ErrorKind, Oddity, RedirectRefusal, Unreachable};
use super::proxy::{ProxyRules, Route};
use super::tls::TlsSettings;
use crate::secret::Token;

/// How long a connection may take to come about. Shorter than a request's time-out, so that a host behind
/// a silent firewall is tried more than once within the retry budget.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes of an answer kept in memory per connection. ureq's own 128 KiB would cost a sweep over 16
/// connections 2 MiB.
const INPUT_BUFFER: usize = 16 * 1024;

/// Bytes of a request's headers: the longest token a token file may hold, and some more.
const OUTPUT_BUFFER: usize = 72 * 1024;

/// A pooled connection is not used again after this long: servers and balancers close idle ones, and a
/// mint must not be written into a connection that is being closed.
const IDLE_AGE: Duration = Duration::from_secs(10);

/// Everything the connections need to know.
#[derive(Debug)]
pub(crate) struct ConnectionSettings {
    /// The server.
    pub(crate) address: Address,
    /// The namespace to work in, without slashes around it.
    pub(crate) namespace: Option<String>,
    /// The time a single request may take, its body included.
    pub(crate) timeout: Duration,
    /// Whether the one redirect hop is forbidden.
    pub(crate) disable_redirects: bool,
    /// How many requests run side by side at most.
    pub(crate) concurrency: usize,
    /// Certificates.
    pub(crate) tls: TlsSettings,
    /// Proxies.
    pub(crate) proxies: ProxyRules,
}

/// What is sent.
pub(super) struct Question<'a> {
    /// GET or POST.
    pub(super) method: Method,
    /// Below `/v1/`, query included.
    pub(super) path: &'a str,
    /// Who asks.
    pub(super) token: &'a Token,
    /// JSON, or nothing.
    pub(super) body: Option<Vec<u8>>,
    /// The longest body of an answer that is read, in bytes.
    pub(super) limit: u64,
    /// Whether it needs a connection of its own. A kept one may be closed by the other side at the moment it
    /// is written to, and then nobody knows whether the request arrived.
    pub(super) fresh: bool,
}

/// What came back.
pub(super) struct Answer {
    /// The status; never a redirect.
    pub(super) status: u16,
    /// The content type, if it named one.
    pub(super) content_type: String,
    /// How long the server asks us to wait.
    pub(super) retry_after: Option<Duration>,
    /// The body; it may hold a token.
    pub(super) body: Zeroizing<Vec<u8>>,
}

/// The connections to one server.
pub(super) struct Http<'a> {
    settings: &'a ConnectionSettings,
    /// The time a single request may take.
    timeout: Duration,
    agents: Agents,
}

/// A pool of connections for each route, made when first needed.
#[derive(Default)]
struct Agents {
    direct: OnceLock<Agent>,
    always: OnceLock<Agent>,
    http: OnceLock<Agent>,
    https: OnceLock<Agent>,
}

impl<'a> Http<'a> {
    /// Prepares connections; none is opened yet. No request takes longer than `patience`.
    pub(super) fn new(settings: &'a ConnectionSettings, patience: Duration) -> Self {
        Self { settings, timeout: settings.timeout.min(patience), agents: Agents::default() }
    }

    /// What it was made of.
    pub(super) fn settings(&self) -> &ConnectionSettings {
        self.settings
    }

    /// One attempt: a request, and one more where the answer is a redirect that may be followed. With an
    /// error comes the place the redirect led to, if it was followed.
    pub(super) fn attempt(&self, question: &Question<'_>) -> Result<Answer, (ErrorKind, Option<String>)> {
        let here = |kind| (kind, None);
        let first: Uri = self
            .settings
            .address
            .join(question.path)
            .parse()
            .map_err(|_| here(ErrorKind::Unreachable(Unreachable::Other("not an address".to_owned()))))?;
        let (answer, headers) = self.exchange(question, &first).map_err(here)?;
        if !is_redirect(answer.status) {
            return Ok(answer);
        }
        let status = answer.status;
        let refuse = |reason| here(ErrorKind::Redirect { status, reason });
        if self.settings.disable_redirects {
            return Err(refuse(RedirectRefusal::Disabled));
        }
        let second = redirect_target(status, &headers, &first).map_err(refuse)?;
        let there = |kind| (kind, Some(second.to_string()));
        let (answer, _) = self.exchange(question, &second).map_err(there)?;
        if is_redirect(answer.status) {
            let reason = RedirectRefusal::Twice;
            return Err(there(ErrorKind::Redirect { status: answer.status, reason }));
        }
        Ok(answer)
    }

    fn exchange(&self, question: &Question<'_>, uri: &Uri) -> Result<(Answer, HeaderMap), ErrorKind> {
        match &question.body {
            Some(body) => self.send(question, uri, body.as_slice()),
            None => self.send(question, uri, SendBody::none()),
        }
    }

    fn send(
        &self,
        question: &Question<'_>,
        uri: &Uri,
        body: impl AsSendBody,
    ) -> Result<(Answer, HeaderMap), ErrorKind> {
        let unsendable = |_| ErrorKind::Unreachable(Unreachable::Other("not a valid request".to_owned()));
        // The only place where the secret enters a request.
        let mut token = HeaderValue::from_str(question.token.expose())
            .map_err(|_| ErrorKind::Unreachable(Unreachable::Other("not a valid token".to_owned())))?;
        token.set_sensitive(true);
        let mut request = Request::builder()
            .method(&question.method)
            .uri(uri)
            .header("X-Vault-Token", token)
            .header("X-Vault-Request", "true");
        if let Some(namespace) = &self.settings.namespace {
            request = request.header("X-Vault-Namespace", namespace.as_str());
        }
        if question.body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let request = request.body(body).map_err(unsendable)?;
        let route = self.settings.proxies.route(uri);
        let of_its_own = question.fresh.then(|| self.new_agent(route));
        let agent = of_its_own.as_ref().unwrap_or_else(|| self.agent(route));
        let response = agent.run(request).map_err(|error| by_route(classify(error), route))?;
        let (parts, mut body) = response.into_parts();
        let bytes = match body.with_config().limit(question.limit).read_to_vec() {
            Ok(bytes) => Zeroizing::new(bytes),
            Err(ureq::Error::BodyExceedsLimit(_)) => {
                return Err(ErrorKind::NotVault { status: parts.status.as_u16(), oddity: Oddity::TooLong });
            }
            Err(error) => return Err(after_sending(classify(error))),
        };
        let answer = Answer {
            status: parts.status.as_u16(),
            content_type: text_header(&parts.headers, CONTENT_TYPE.as_str()).unwrap_or_default(),
            retry_after: text_header(&parts.headers, RETRY_AFTER.as_str())
                .and_then(|seconds| seconds.trim().parse().ok())
                .map(Duration::from_secs),
            body: bytes,
        };
        Ok((answer, parts.headers))
    }

    fn agent(&self, route: Route) -> &Agent {
        let agent = match route {
            Route::Direct => &self.agents.direct,
            Route::Always => &self.agents.always,
            Route::Http => &self.agents.http,
            Route::Https => &self.agents.https,
        };
        agent.get_or_init(|| self.new_agent(route))
    }

    fn new_agent(&self, route: Route) -> Agent {
        let settings = self.settings;
        let proxy = settings.proxies.proxy(route);
        let proxy_authority = proxy.as_ref().and_then(|proxy| proxy.uri().authority().cloned());
        let config = Config::builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(proxy)
            .tls_config(settings.tls.to_ureq())
            .timeout_global(Some(self.timeout))
            .timeout_resolve(Some(CONNECT_TIMEOUT.min(self.timeout)))
            .timeout_connect(Some(CONNECT_TIMEOUT.min(self.timeout)))
            .user_agent(concat!("vault-token-renew/", env!("CARGO_PKG_VERSION")))
            .input_buffer_size(INPUT_BUFFER)
            .output_buffer_size(OUTPUT_BUFFER)
            .max_idle_connections(settings.concurrency)
            .max_idle_connections_per_host(settings.concurrency)
            .max_idle_age(IDLE_AGE)
            .build();
        let tls = NamedTls {
            inner: RustlsConnector::default(),
            server_name: settings
                .tls
                .server_name
                .as_deref()
                .and_then(|name| format!("https://{name}").parse().ok()),
            proxy_authority,
        };
        let connector = ().chain(ConnectProxyConnector::default()).chain(TcpConnector::default()).chain(tls);
        Agent::with_parts(config, connector, LiteralResolver(DefaultResolver::default()))
    }
}

fn text_header(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
}

fn is_redirect(status: u16) -> bool {
    (300..400).contains(&status)
}

/// Where a redirect leads, if it may be followed: 301, 302, 307 and 308 only, never from https to http,
/// and never to another host over plain http unless that host is this machine.
fn redirect_target(status: u16, headers: &HeaderMap, from: &Uri) -> Result<Uri, RedirectRefusal> {
    const FOLLOWED: [StatusCode; 4] = [
        StatusCode::MOVED_PERMANENTLY,
        StatusCode::FOUND,
        StatusCode::TEMPORARY_REDIRECT,
        StatusCode::PERMANENT_REDIRECT,
    ];
    if !FOLLOWED.iter().any(|followed| *followed == status) {
        return Err(RedirectRefusal::NoTarget);
    }
    let location = text_header(headers, LOCATION.as_str()).ok_or(RedirectRefusal::NoTarget)?;
    let (Some(scheme), Some(authority)) = (from.scheme_str(), from.authority()) else {
        return Err(RedirectRefusal::NoTarget);
    };
    let absolute = if location.starts_with("//") {
        format!("{scheme}:{location}")
    } else if location.starts_with('/') {
        format!("{scheme}://{authority}{location}")
    } else {
        location
    };
    let target: Uri = absolute.parse().map_err(|_| RedirectRefusal::NoTarget)?;
    let (Some(host), Some(place)) = (target.host(), target.authority()) else {
        return Err(RedirectRefusal::NoTarget);
    };
    if place.as_str().contains('@') {
        return Err(RedirectRefusal::NoTarget);
    }
    match target.scheme_str() {
        Some("https") => Ok(target),
        Some("http") if scheme == "https" => Err(RedirectRefusal::Downgrade(place.to_string())),
        Some("http") if from.host() == Some(host) || is_loopback(host) => Ok(target),
        Some("http") => Err(RedirectRefusal::PlainHost(place.to_string())),
        _ => Err(RedirectRefusal::NoTarget),
    }
}

/// The TLS step, with the server's name exchanged for the one in `VAULT_TLS_SERVER_NAME`. ureq has no
/// setting for that and takes the name from the address.
#[derive(Debug)]
struct NamedTls {
    inner: RustlsConnector,
    server_name: Option<Uri>,
    /// A proxy that speaks TLS is reached through this same step, and keeps its own name.
    proxy_authority: Option<Authority>,
}

impl<In: Transport> Connector<In> for NamedTls {
    type Out = <RustlsConnector as Connector<In>>::Out;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, ureq::Error> {
        let to_proxy =
            self.proxy_authority.is_some() && details.uri.authority() == self.proxy_authority.as_ref();
        match &self.server_name {
            Some(server_name) if details.needs_tls() && !to_proxy => {
                let named = ConnectionDetails {
                    uri: server_name,
                    addrs: details.addrs.clone(),
                    config: details.config,
                    request_level: details.request_level,
                    resolver: details.resolver,
                    now: details.now,
                    timeout: details.timeout,
                    current_time: details.current_time.clone(),
                    run_connector: details.run_connector.clone(),
                    register_shutdown: details.register_shutdown.clone(),
                };
                self.inner.connect(&named, chained)
            }
            _ => self.inner.connect(details, chained),
        }
    }
}

/// Resolves addresses that are numbers already without the thread that ureq starts for every name.
#[derive(Debug)]
struct LiteralResolver(DefaultResolver);

impl Resolver for LiteralResolver {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let default_port = if uri.scheme_str() == Some("https") { 443 } else { 80 };
        match uri.host().and_then(ip) {
            Some(ip) => {
                let mut addresses = self.empty();
                addresses.push((ip, uri.port_u16().unwrap_or(default_port)).into());
                Ok(addresses)
            }
            None => self.0.resolve(uri, config, timeout),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn target(status: u16, from: &str, location: &str) -> Result<String, RedirectRefusal> {
        let mut headers = HeaderMap::new();
        headers.insert(LOCATION, HeaderValue::from_str(location).unwrap());
        redirect_target(status, &headers, &from.parse().unwrap()).map(|uri| uri.to_string())
    }

    #[test]
    fn redirects_of_a_cluster_are_followed() {
        let from = "https://standby:8200/v1/auth/token/lookup-self";
        for status in [301, 302, 307, 308] {
            assert_eq!(target(status, from, "https://active:8200/v1/x").unwrap(), "https://active:8200/v1/x");
            assert_eq!(target(status, from, "/v1/x").unwrap(), "https://standby:8200/v1/x");
            assert_eq!(target(status, from, "//active/v1/x").unwrap(), "https://active/v1/x");
        }
        assert_eq!(
            target(307, "http://127.0.0.1:1/v1/x", "http://localhost:2/v1/x").unwrap(),
            "http://localhost:2/v1/x"
        );
        assert_eq!(target(307, "http://a:1/v1/x", "http://a:2/v1/x").unwrap(), "http://a:2/v1/x");
        assert_eq!(target(307, "http://a/v1/x", "https://b/v1/x").unwrap(), "https://b/v1/x");
    }

    #[test]
    fn redirects_that_could_leak_the_token_are_refused() {
        let https = "https://vault/v1/x";
        assert_eq!(
            target(307, https, "http://vault/v1/x"),
            Err(RedirectRefusal::Downgrade("vault".to_owned()))
        );
        assert_eq!(
            target(307, https, "http://127.0.0.1/v1/x"),
            Err(RedirectRefusal::Downgrade("127.0.0.1".to_owned()))
        );
        assert_eq!(
            target(307, "http://vault/v1/x", "http://elsewhere/v1/x"),
            Err(RedirectRefusal::PlainHost("elsewhere".to_owned()))
        );
        for location in ["https://me@vault/v1/x", "ftp://vault/v1/x", "nonsense", "", "https://"] {
            assert_eq!(target(307, https, location), Err(RedirectRefusal::NoTarget), "{location:?}");
        }
        for status in [300, 303, 304, 305] {
            assert_eq!(target(status, https, "https://vault/v1/x"), Err(RedirectRefusal::NoTarget));
        }
    }

    proptest! {
        #[test]
        fn no_redirect_leads_from_https_to_http(location in crate::hostile::bytes(&[
            "https://active:8200/v1/x", "//active/v1/x", "/v1/x", "http://vault/v1/x", "http://127.0.0.1/",
        ])) {
            let mut headers = HeaderMap::new();
            if let Ok(location) = HeaderValue::from_bytes(&location) {
                headers.insert(LOCATION, location);
            }
            if let Ok(target) = redirect_target(307, &headers, &"https://vault/v1/x".parse().unwrap()) {
                prop_assert_eq!(target.scheme_str(), Some("https"));
            }
        }
    }
}
