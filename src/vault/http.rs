//! The only place that sends: connections, time-outs, the one redirect hop.
//!
//! ureq would send `X-Vault-Token` along on any redirect it follows, to any host. So it follows none
//! (`max_redirects(0)`), and [`Http::attempt`] makes the single hop by hand, by the rules of the official
//! client, tightened where a token could travel unencrypted. Why: docs/design.md, "Redirects".

use std::io::{self, Read as _};
use std::net::{IpAddr, SocketAddr, SocketAddrV6, ToSocketAddrs as _};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use flate2::read::MultiGzDecoder;
use rustix::net::{AddressFamily, SocketFlags, SocketType, netdevice, socket_with};
use ureq::http::header::{CONTENT_ENCODING, CONTENT_TYPE, LOCATION, RETRY_AFTER};
use ureq::http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri};
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;
use ureq::{Agent, AsSendBody, SendBody, config::Config};
use zeroize::Zeroizing;

use super::address::{Address, Zone, ip, is_loopback, port};
use super::classify::{after_sending, before_sending, by_route, classify};
use super::connect::Road;
use super::conversation::{INPUT_BUFFER, begin, has_left};
use super::error::{ErrorKind, Named, Oddity, RedirectRefusal, Unreachable};
use super::observer::{Exchange, Observer};
use super::proxy::{ProxyRules, Route};
use super::tls::{Tls, TlsSettings};
use crate::secret::Token;
use crate::stop::{POLL, Stop};

/// How we call ourselves.
const USER_AGENT: &str = concat!("vault-token-renew/", env!("CARGO_PKG_VERSION"));

/// How long a connection may take to come about. Shorter than a request's time-out, so that a host behind
/// a silent firewall is tried more than once within the retry budget.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// More addresses of one name are not tried; the client library has no room for more.
const MOST_ADDRESSES: usize = 16;

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
    /// What is named, whatever the way to the server.
    pub(crate) named: Named,
}

impl ConnectionSettings {
    /// Whether nobody said where the server is, so that the default counts.
    pub(crate) fn is_unaddressed(&self) -> bool {
        self.named.address.is_none()
    }

    /// What is named on the way to this place.
    pub(super) fn named(&self, url: &str) -> Named {
        let route = url.parse().map_or(Route::Direct, |uri| self.proxies.route(&uri));
        Named { proxy: self.proxies.name(route).map(str::to_owned), ..self.named.clone() }
    }
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
    /// When nobody waits for the answer any more, if that is before the time-out.
    pub(super) until: Option<Instant>,
}

/// What came back.
pub(super) struct Answer {
    /// What was asked for, below `/v1/`.
    pub(super) path: String,
    /// The status; never a redirect.
    pub(super) status: u16,
    /// The content type, if it named one.
    pub(super) content_type: String,
    /// How long the server asks us to wait.
    pub(super) retry_after: Option<Duration>,
    /// Whether it came out of a cache in between, as an agent or proxy with `cache {}` has one.
    pub(super) is_cached: bool,
    /// The body; it may hold a token.
    pub(super) body: Zeroizing<Vec<u8>>,
}

/// The connections to one server.
pub(super) struct Http<'a> {
    settings: &'a ConnectionSettings,
    /// The time a single request may take.
    timeout: Duration,
    stop: &'a Stop,
    observer: Arc<dyn Observer + 'a>,
    tls: Arc<Tls>,
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
    pub(super) fn new(
        settings: &'a ConnectionSettings,
        patience: Duration,
        stop: &'a Stop,
        observer: Arc<dyn Observer + 'a>,
    ) -> Self {
        Self {
            settings,
            timeout: settings.timeout.min(patience),
            stop,
            observer,
            tls: Arc::new(Tls::new(&settings.tls)),
            agents: Agents::default(),
        }
    }

    /// Who hears of it.
    pub(super) fn observer(&self) -> &dyn Observer {
        &*self.observer
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
        let started = Instant::now();
        let answer = match &question.body {
            Some(body) => self.send(question, uri, body.as_slice()),
            None => self.send(question, uri, SendBody::none()),
        };
        // Where a redirect leads is the server's word, which may repeat what it was sent.
        let url = uri.to_string().replace(question.token.expose(), "…");
        self.observer.exchanged(&Exchange {
            method: &question.method,
            url: &url,
            outcome: answer.as_ref().map(|(answer, _)| answer.status),
            took: started.elapsed(),
        });
        answer
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
            .header("X-Vault-Request", "true")
            // The cache of an agent or proxy answers a request it has seen before, and asks nobody. One header that
            // is never the same twice makes every request a new one; it heeds no `Cache-Control`. Measured.
            .header("X-Request-Id", unique());
        if let Some(namespace) = &self.settings.namespace {
            request = request.header("X-Vault-Namespace", namespace.as_str());
        }
        if question.body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let request = request.body(body).map_err(unsendable)?;
        let route = self.settings.proxies.route(uri);
        if let Err(reason) = self.settings.proxies.proxy(route) {
            return Err(ErrorKind::Unreachable(Unreachable::Settings(reason.to_owned())));
        }
        let of_its_own = question.fresh.then(|| self.new_agent(route));
        let agent = of_its_own.as_ref().unwrap_or_else(|| self.agent(route));
        let request = match question.until.map(|until| until.saturating_duration_since(Instant::now())) {
            None => request,
            Some(Duration::ZERO) => return Err(ErrorKind::Unreachable(Unreachable::TimedOut)),
            Some(left) => {
                agent.configure_request(request).timeout_global(Some(left.min(self.timeout))).build()
            }
        };
        begin();
        let response = agent.run(request).map_err(|error| {
            let kind = classify(error);
            if has_left() { after_sending(kind) } else { by_route(before_sending(kind), route) }
        })?;
        let (parts, mut body) = response.into_parts();
        // Where nothing is encrypted, it is the proxy that says so, and not the server.
        if parts.status == StatusCode::PROXY_AUTHENTICATION_REQUIRED
            && self.settings.proxies.passes_on(route, uri)
        {
            return Err(ErrorKind::Unreachable(Unreachable::ProxyCredentials { socks: false }));
        }
        let bytes = match body.with_config().limit(question.limit).read_to_vec() {
            Ok(bytes) => Zeroizing::new(bytes),
            Err(ureq::Error::BodyExceedsLimit(_)) => {
                return Err(ErrorKind::NotVault { status: parts.status.as_u16(), oddity: Oddity::TooLong });
            }
            Err(error) => return Err(after_sending(classify(error))),
        };
        let is_compressed = text_header(&parts.headers, CONTENT_ENCODING.as_str())
            .is_some_and(|encoding| encoding.trim().eq_ignore_ascii_case("gzip"));
        let bytes = if is_compressed { decompressed(bytes, question.limit) } else { Ok(bytes) };
        let bytes = bytes.map_err(|oddity| ErrorKind::NotVault { status: parts.status.as_u16(), oddity })?;
        let answer = Answer {
            path: question.path.to_owned(),
            status: parts.status.as_u16(),
            content_type: text_header(&parts.headers, CONTENT_TYPE.as_str()).unwrap_or_default(),
            retry_after: text_header(&parts.headers, RETRY_AFTER.as_str())
                .and_then(|seconds| seconds.trim().parse().ok())
                .map(Duration::from_secs),
            is_cached: is_cached(&parts.headers),
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
        let proxy = settings.proxies.proxy(route).ok().flatten().cloned();
        let config = Config::builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None)
            .timeout_global(Some(self.timeout))
            .timeout_resolve(Some(CONNECT_TIMEOUT.min(self.timeout)))
            .timeout_connect(Some(CONNECT_TIMEOUT.min(self.timeout)))
            .user_agent(USER_AGENT)
            .max_response_header_size(INPUT_BUFFER)
            .max_idle_connections(settings.concurrency)
            .max_idle_connections_per_host(settings.concurrency)
            .max_idle_age(IDLE_AGE)
            .build();
        let names = Names {
            stop: self.stop.clone(),
            proxy: proxy.as_ref().map(|proxy| (proxy.host.clone(), proxy.port)),
            zone: settings.address.zone(),
        };
        let (stop, tls) = (self.stop.clone(), Arc::clone(&self.tls));
        Agent::with_parts(config, Road { stop, tls, proxy, user_agent: USER_AGENT }, names)
    }
}

/// What a compressed body says. Nobody asked for compression, but where Go's client gets it, it understands it, too. A
/// body that is not compressed after all is left as it is, for others to wonder at.
fn decompressed(body: Zeroizing<Vec<u8>>, limit: u64) -> Result<Zeroizing<Vec<u8>>, Oddity> {
    let mut whole = Zeroizing::new(Vec::new());
    // One byte more than allowed tells that there is more.
    match MultiGzDecoder::new(body.as_slice()).take(limit.saturating_add(1)).read_to_end(&mut whole) {
        Ok(length) if u64::try_from(length).is_ok_and(|length| length <= limit) => Ok(whole),
        Ok(_) => Err(Oddity::TooLong),
        Err(_) => Ok(body),
    }
}

/// A value that no request had before.
fn unique() -> String {
    format!("{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..))
}

/// Whether an answer came out of a cache: that of OpenBao's and Vault's agents and proxies says `X-Cache: HIT`, and
/// any cache says how old its answer is.
fn is_cached(headers: &HeaderMap) -> bool {
    headers.iter().any(|(name, value)| {
        let value = String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase();
        let said = |word: &str| value.split(|c: char| !c.is_ascii_alphanumeric()).any(|part| part == word);
        match name.as_str() {
            "age" => value.split(',').any(|age| age.trim().parse::<f64>().is_ok_and(|age| age > 0.0)),
            // X-Cache, Cache-Status, and what others call it.
            name => name.contains("cache") && name != "cache-control" && said("hit"),
        }
    })
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

/// Resolves names: addresses that are numbers already without a thread, others in one, because a resolver can be waited
/// for in no other way with a limit.
#[derive(Debug)]
struct Names {
    stop: Stop,
    /// Who is dialled in the target's place.
    proxy: Option<(String, u16)>,
    /// The interface behind which an address is.
    zone: Option<Zone>,
}

impl Resolver for Names {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let (host, port) = match &self.proxy {
            Some((host, port)) => (host.as_str(), *port),
            None => (uri.host().unwrap_or_default(), port(uri)),
        };
        let mut addresses = self.empty();
        if let Some(ip) = ip(host) {
            addresses.push(self.in_its_zone(ip, port)?);
        } else {
            let found = self.look_up(host.to_owned(), port, timeout)?;
            for address in config.ip_family().keep_wanted(found.into_iter()).take(MOST_ADDRESSES) {
                addresses.push(address);
            }
        }
        if addresses.is_empty() { Err(ureq::Error::HostNotFound) } else { Ok(addresses) }
    }
}

impl Names {
    /// The address of a socket, behind the interface that it is said to be behind.
    fn in_its_zone(&self, ip: IpAddr, port: u16) -> io::Result<SocketAddr> {
        match (&self.zone, ip) {
            (Some(zone), IpAddr::V6(address)) if zone.ip == ip && self.proxy.is_none() => {
                let number = match zone.interface.parse() {
                    Ok(number) => number,
                    Err(_) => index(&zone.interface)?,
                };
                Ok(SocketAddrV6::new(address, port, 0, number).into())
            }
            _ => Ok((ip, port).into()),
        }
    }

    fn look_up(&self, host: String, port: u16, timeout: NextTimeout) -> Result<Vec<SocketAddr>, ureq::Error> {
        let (tell, told) = mpsc::sync_channel(1);
        let resolve = move || {
            let found = (host.as_str(), port).to_socket_addrs().map(Iterator::collect);
            // Whoever asked may be gone.
            let _ = tell.send(found);
        };
        thread::Builder::new().spawn(resolve)?;
        let (start, limit) = (Instant::now(), timeout.not_zero());
        loop {
            match told.recv_timeout(POLL) {
                Ok(found) => return Ok(found?),
                Err(_) if self.stop.is_raised() => return Err(io::Error::other("told to stop").into()),
                Err(RecvTimeoutError::Disconnected) => return Err(ureq::Error::HostNotFound),
                Err(RecvTimeoutError::Timeout) if limit.is_some_and(|limit| start.elapsed() >= *limit) => {
                    return Err(ureq::Error::Timeout(timeout.reason));
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }
}

/// The number of a network interface.
fn index(interface: &str) -> io::Result<u32> {
    let any = socket_with(AddressFamily::INET6, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    netdevice::name_to_index(any, interface).map_err(|_| {
        // It may come: interfaces do, while a machine starts.
        io::Error::new(io::ErrorKind::AddrNotAvailable, format!("there is no network interface {interface}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write as _;

    #[test]
    fn a_compressed_body_is_read_within_the_limit_and_another_is_left_alone() {
        let compressed = |body: &[u8]| {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
            encoder.write_all(body).unwrap();
            Zeroizing::new(encoder.finish().unwrap())
        };
        assert_eq!(**decompressed(compressed(b"{}"), 2).as_ref().unwrap(), b"{}"[..]);
        assert_eq!(decompressed(compressed(&vec![b' '; 9_999_999]), 9_999_998).unwrap_err(), Oddity::TooLong);
        assert_eq!(**decompressed(Zeroizing::new(b"{}".to_vec()), 9).as_ref().unwrap(), b"{}"[..]);
        let half = Zeroizing::new(compressed(b"{}")[..12].to_vec());
        assert_eq!(decompressed(half.clone(), 9).unwrap(), half);
    }

    fn target(status: u16, from: &str, location: &str) -> Result<String, RedirectRefusal> {
        let mut headers = HeaderMap::new();
        headers.insert(LOCATION, HeaderValue::from_str(location).unwrap());
        redirect_target(status, &headers, &from.parse().unwrap()).map(|uri| uri.to_string())
    }

    #[test]
    fn an_answer_out_of_a_cache_is_recognised_whoever_marks_it() {
        let cached = |marks: &[(&'static str, &'static str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in marks {
                headers.append(*name, HeaderValue::from_static(value));
            }
            is_cached(&headers)
        };
        for marks in [
            &[("x-cache", "HIT")][..],
            &[("x-cache", "MISS from edge"), ("x-cache", "Hit from agent")],
            &[("x-cache-status", "HIT")],
            &[("cf-cache-status", "HIT")],
            &[("cache-status", "agent; hit")],
            &[("age", "7")],
            &[("age", "0"), ("age", "86400")],
            &[("age", "0, 12")],
            &[("age", "5.5")],
            &[("age", "99999999999999999999999")],
        ] {
            assert!(cached(marks), "{marks:?}");
        }
        for marks in [
            &[][..],
            &[("age", "0")],
            &[("age", "never")],
            &[("x-cache", "MISS")],
            &[("x-cache", "white")],
            &[("cache-control", "no-store, hit")],
            &[("etag", "hit")],
        ] {
            assert!(!cached(marks), "{marks:?}");
        }
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
