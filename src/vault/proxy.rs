//! Which proxy a request takes, by Go's rules, since the official command line is written in Go.
//!
//! Source: Go's `golang.org/x/net/http/httpproxy`. The proxy is chosen by the scheme of the target,
//! loopback targets never take one, and `NO_PROXY` knows `*`, addresses, CIDR blocks, domains with their
//! subdomains, and ports. `VAULT_PROXY_ADDR` overrules all of that for every request.

use std::fmt;
use std::net::IpAddr;

use anyhow::{Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ureq::http::Uri;

use super::address::{Address, ip, is_loopback, port};

/// The proxies in force.
#[derive(Debug, Default)]
pub(crate) struct ProxyRules {
    /// For every request, exceptions or not (`VAULT_PROXY_ADDR`, `VAULT_HTTP_PROXY`).
    pub(crate) always: Option<Proxy>,
    /// For `http://` targets.
    pub(crate) http: Option<Candidate>,
    /// For `https://` targets.
    pub(crate) https: Option<Candidate>,
    /// The targets that take none of the latter two.
    pub(crate) exceptions: NoProxy,
    /// The variables that name these three, in this order.
    pub(crate) names: [Option<String>; 3],
}

/// A proxy that the environment names, or why that cannot be used: most targets never take it.
pub(crate) type Candidate = Result<Proxy, String>;

/// A route a request can take. There is one pool of connections for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Route {
    /// Straight to the target.
    Direct,
    /// Through [`ProxyRules::always`].
    Always,
    /// Through [`ProxyRules::http`].
    Http,
    /// Through [`ProxyRules::https`].
    Https,
}

impl ProxyRules {
    /// The route to `target`.
    pub(super) fn route(&self, target: &Uri) -> Route {
        if self.always.is_some() {
            return Route::Always;
        }
        let host = target.host().unwrap_or_default();
        if is_loopback(host) || self.exceptions.covers(host, port(target)) {
            return Route::Direct;
        }
        match target.scheme_str() {
            Some("https") if self.https.is_some() => Route::Https,
            Some("http") if self.http.is_some() => Route::Http,
            _ => Route::Direct,
        }
    }

    /// The proxy of a route.
    pub(super) fn proxy(&self, route: Route) -> Result<Option<&Proxy>, &str> {
        let candidate = match route {
            Route::Direct => return Ok(None),
            Route::Always => return Ok(self.always.as_ref()),
            Route::Http => &self.http,
            Route::Https => &self.https,
        };
        match candidate {
            None => Ok(None),
            Some(Ok(proxy)) => Ok(Some(proxy)),
            Some(Err(reason)) => Err(reason),
        }
    }

    /// Whether a proxy on this route passes on what it is asked, instead of only making the connection.
    pub(super) fn passes_on(&self, route: Route, target: &Uri) -> bool {
        let is_passing =
            |proxy: &Proxy| proxy.kind != ProxyKind::Socks && target.scheme_str() == Some("http");
        self.proxy(route).ok().flatten().is_some_and(is_passing)
    }

    /// The variable that names the proxy of a route.
    pub(super) fn name(&self, route: Route) -> Option<&str> {
        let [always, http, https] = &self.names;
        match route {
            Route::Direct => None,
            Route::Always => always.as_deref(),
            Route::Http => http.as_deref(),
            Route::Https => https.as_deref(),
        }
    }

    /// Why there is no way to `address`: the proxy that the rules choose for it cannot be used.
    pub(crate) fn obstacle(&self, address: &Address) -> Option<&str> {
        self.proxy(self.route(&address.join("").parse().ok()?)).err()
    }
}

/// A proxy.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Proxy {
    /// How it is spoken to.
    pub(super) kind: ProxyKind,
    /// Where it is; without brackets.
    pub(super) host: String,
    /// Where it listens.
    pub(super) port: u16,
    /// User name and password.
    pub(super) credentials: Option<(String, String)>,
}

/// How a proxy is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ProxyKind {
    /// HTTP.
    Http,
    /// HTTP inside of TLS.
    Https,
    /// SOCKS, version 5. The proxy resolves the names, whether it is called `socks5` or `socks5h`, as in Go.
    Socks,
}

impl Proxy {
    /// Reads the address of a proxy. The error never repeats it, since it may hold a password.
    ///
    /// Source: `parseProxy` and `url.Parse`, and `connectMethod.addr` for the usual ports.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let (scheme, rest) = text.trim().split_once("://").unwrap_or(("http", text.trim()));
        let (kind, usual_port) = match scheme.to_ascii_lowercase().as_str() {
            "http" => (ProxyKind::Http, 80),
            "https" => (ProxyKind::Https, 443),
            "socks5" | "socks5h" => (ProxyKind::Socks, 1080),
            _ => bail!("only http://, https:// and socks5:// proxies are supported"),
        };
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let (user, place) = match authority.rsplit_once('@') {
            Some((user, place)) => (Some(user), place),
            None => (None, authority),
        };
        let parsed = (|| {
            let (host, port) = host_and_port(place)?;
            let credentials = match user {
                None => None,
                Some(user) => {
                    let (name, password) = user.split_once(':').unwrap_or((user, ""));
                    Some((decoded(name)?, decoded(password)?))
                }
            };
            Some(Self { kind, host, port: port.unwrap_or(usual_port), credentials })
        })();
        let Some(proxy) = parsed else { bail!("not the address of a proxy") };
        Ok(proxy)
    }

    /// What `Proxy-Authorization` says.
    pub(super) fn authorization(&self) -> Option<String> {
        let (user, password) = self.credentials.as_ref()?;
        Some(format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))))
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, host, port, .. } = self;
        write!(f, "Proxy {{ {kind:?} {host} {port} }}")
    }
}

/// A host without brackets, and the port if there is one.
fn host_and_port(place: &str) -> Option<(String, Option<u16>)> {
    let (host, port) = match place.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']')?;
            ip(host)?;
            (host, if rest.is_empty() { None } else { Some(rest.strip_prefix(':')?) })
        }
        None => match place.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (place, None),
        },
    };
    let is_fine = |c: char| c.is_ascii_alphanumeric() || "-._~:".contains(c);
    if host.is_empty() || !host.chars().all(is_fine) {
        return None;
    }
    let port = match port {
        None | Some("") => None,
        Some(port) => Some(port.parse().ok()?),
    };
    Some((host.to_owned(), port))
}

/// What stands for a text in an address, where `%41` is a letter.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut parts = text.split('%');
    bytes.extend(parts.next()?.bytes());
    for part in parts {
        let (digits, rest) = part.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        bytes.extend(rest.bytes());
    }
    String::from_utf8(bytes).ok()
}

/// The targets named by `NO_PROXY`.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct NoProxy(Vec<Exception>);

/// One entry of `NO_PROXY`.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Exception {
    /// `*`: every target.
    All,
    /// An address or a block of addresses: how many leading bits count. A single one may have a port.
    Block { base: IpAddr, bits: u8, port: Option<u16> },
    /// A domain. With a leading dot it means the subdomains only.
    Domain { name: String, subdomains_only: bool, port: Option<u16> },
}

impl NoProxy {
    /// Reads a list as it stands in `NO_PROXY`. Entries that mean nothing are passed over, as Go does.
    pub(crate) fn parse(list: &str) -> Self {
        Self(list.split(',').filter_map(|entry| Exception::parse(entry.trim())).collect())
    }

    fn covers(&self, host: &str, port: u16) -> bool {
        self.0.iter().any(|exception| exception.covers(host, port))
    }
}

impl Exception {
    fn parse(entry: &str) -> Option<Self> {
        if entry == "*" {
            return Some(Self::All);
        }
        if let Some((base, bits)) = entry.split_once('/')
            && let Some(base) = ip(base)
        {
            return Some(Self::Block { base, bits: bits.parse().ok()?, port: None });
        }
        let (name, port) = match entry.rsplit_once(':') {
            // The colons of an address are not that of a port.
            _ if ip(entry).is_some() => (entry, None),
            Some((name, port)) => (name, Some(port.parse().ok()?)),
            None => (entry, None),
        };
        if let Some(base) = ip(name) {
            return Some(Self::Block { base, bits: if base.is_ipv4() { 32 } else { 128 }, port });
        }
        let subdomains_only = name.starts_with('.') || name.starts_with("*.");
        let name = name.trim_start_matches('*').trim_start_matches('.').to_ascii_lowercase();
        (!name.is_empty()).then_some(Self::Domain { name, subdomains_only, port })
    }

    fn covers(&self, host: &str, port: u16) -> bool {
        let is_port = |wanted: &Option<u16>| wanted.is_none_or(|wanted| wanted == port);
        match self {
            Self::All => true,
            Self::Block { base, bits, port } => {
                is_port(port) && ip(host).is_some_and(|host| same_block(host, *base, *bits))
            }
            Self::Domain { name, subdomains_only, port } => {
                let host = host.to_ascii_lowercase();
                let subdomain = host.strip_suffix(name).is_some_and(|front| front.ends_with('.'));
                is_port(port) && (subdomain || (host == *name && !subdomains_only))
            }
        }
    }
}

/// Whether the first `bits` of two addresses of the same family agree.
fn same_block(one: IpAddr, other: IpAddr, bits: u8) -> bool {
    let (one, other, width) = match (one.to_canonical(), other.to_canonical()) {
        (IpAddr::V4(one), IpAddr::V4(other)) => (u128::from(one.to_bits()), u128::from(other.to_bits()), 32),
        (IpAddr::V6(one), IpAddr::V6(other)) => (one.to_bits(), other.to_bits(), 128),
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return false,
    };
    let ignored = u32::from(width - bits.min(width));
    one.checked_shr(ignored).unwrap_or(0) == other.checked_shr(ignored).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rules() -> ProxyRules {
        ProxyRules {
            http: Some(Ok(Proxy::parse("http://proxy:3128").unwrap())),
            https: Some(Ok(Proxy::parse("proxy:3129").unwrap())),
            exceptions: NoProxy::parse(
                "foo.com, .bar.org, 10.0.0.0/8, 192.168.1.7, baz.net:8200, fd00::/8, 172.16.0.1:8200, [fd99::1]:1, /8",
            ),
            ..ProxyRules::default()
        }
    }

    #[test]
    fn the_route_follows_the_scheme_and_the_exceptions() {
        for (target, route) in [
            ("https://vault.example.org", Route::Https),
            ("http://vault.example.org", Route::Http),
            ("HTTP://VAULT.EXAMPLE.ORG", Route::Http),
            ("https://127.0.0.1:8200", Route::Direct),
            ("https://localhost:8200", Route::Direct),
            ("https://[::1]:8200", Route::Direct),
            ("https://foo.com", Route::Direct),
            ("https://FOO.com", Route::Direct),
            ("https://a.foo.com:8200", Route::Direct),
            ("https://notfoo.com", Route::Https),
            ("https://a.bar.org", Route::Direct),
            ("https://bar.org", Route::Https),
            ("https://10.1.2.3:8200", Route::Direct),
            ("https://[::ffff:10.1.2.3]:8200", Route::Direct),
            ("https://11.1.2.3:8200", Route::Https),
            ("https://192.168.1.7", Route::Direct),
            ("https://192.168.1.8", Route::Https),
            ("https://baz.net:8200", Route::Direct),
            ("https://baz.net", Route::Https),
            ("https://172.16.0.1:8200", Route::Direct),
            ("https://172.16.0.1", Route::Https),
            ("https://[fd12::1]:8200", Route::Direct),
            ("https://[fe80::1]:8200", Route::Https),
        ] {
            assert_eq!(rules().route(&target.parse().unwrap()), route, "{target}");
        }
    }

    #[test]
    fn the_proxy_of_the_vault_variables_takes_everything() {
        let always = Proxy::parse("http://proxy:3128").ok();
        let rules = ProxyRules { always, exceptions: NoProxy::parse("*"), ..ProxyRules::default() };
        assert_eq!(rules.route(&"http://127.0.0.1:8200".parse().unwrap()), Route::Always);
    }

    #[test]
    fn a_star_exempts_everything() {
        let rules = ProxyRules { exceptions: NoProxy::parse("*"), ..rules() };
        assert_eq!(rules.route(&"https://vault.example.org".parse().unwrap()), Route::Direct);
    }

    #[test]
    fn a_proxy_that_cannot_be_used_is_in_the_way_of_its_own_targets_only() {
        let rules = ProxyRules { https: Some(Err("no".to_owned())), ..rules() };
        for (address, obstacle) in [
            ("https://vault.example.org", Some("no")),
            ("http://vault.example.org", None),
            ("https://127.0.0.1:8200", None),
            ("https://a.foo.com", None),
        ] {
            let address = Address::parse(address).unwrap();
            assert_eq!(rules.obstacle(&address), obstacle, "{address}");
        }
    }

    #[test]
    fn addresses_of_proxies_are_read_as_go_reads_them() {
        for (text, kind, host, port, credentials) in [
            ("proxy", ProxyKind::Http, "proxy", 80, None),
            ("proxy:3128", ProxyKind::Http, "proxy", 3128, None),
            ("HTTP://proxy:3128/path?q#f", ProxyKind::Http, "proxy", 3128, None),
            ("https://proxy", ProxyKind::Https, "proxy", 443, None),
            ("https://proxy:", ProxyKind::Https, "proxy", 443, None),
            ("socks5://proxy", ProxyKind::Socks, "proxy", 1080, None),
            ("socks5h://[::1]:9050", ProxyKind::Socks, "::1", 9050, None),
            ("me:pass%40word@proxy", ProxyKind::Http, "proxy", 80, Some(("me", "pass@word"))),
            ("http://me:p@ss@proxy:1", ProxyKind::Http, "proxy", 1, Some(("me", "p@ss"))),
            ("http://me@proxy", ProxyKind::Http, "proxy", 80, Some(("me", ""))),
        ] {
            let proxy = Proxy::parse(text).unwrap();
            let credentials =
                credentials.map(|(user, password): (&str, &str)| (user.to_owned(), password.to_owned()));
            assert_eq!(proxy, Proxy { kind, host: host.to_owned(), port, credentials }, "{text}");
        }
        let proxy = Proxy::parse("me:hunter2@proxy").unwrap();
        assert_eq!(proxy.authorization().as_deref(), Some("Basic bWU6aHVudGVyMg=="));
        assert!(!format!("{proxy:?}").contains("hunter2"));
    }

    #[test]
    fn a_proxy_that_cannot_be_used_is_refused_without_being_repeated() {
        for text in [
            "socks4://me:hunter2@h:1080",
            "http://me:hunter2@",
            "ftp://hunter2",
            "http://me:hunter2@h:port",
            "http://me:hunter2%@h",
            "http://hun ter2",
            "http://[hunter2",
        ] {
            let error = Proxy::parse(text).unwrap_err().to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn any_list_and_any_host_are_judged(
            list in crate::hostile::text(&["foo.com, .bar.org,10.0.0.0/8", "*,[fd00::]/8,baz.net:8200"]),
            host in crate::hostile::text(&["a.foo.com", "10.1.2.3", "[fd12::1]"]),
        ) {
            let _ = NoProxy::parse(&list).covers(&host, 8200);
        }

        #[test]
        fn any_text_is_a_proxy_or_a_refusal(text in crate::hostile::text(&[
            "http://me:hunter2@proxy:3128", "proxy:3128", "https://[::1]:3128/", "socks5h://a%20b@proxy",
        ])) {
            let _ = Proxy::parse(&text);
        }
    }
}
