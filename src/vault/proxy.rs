//! Which proxy a request takes, by Go's rules, since the official command line is written in Go.
//!
//! Source: Go's `golang.org/x/net/http/httpproxy`. The proxy is chosen by the scheme of the target,
//! loopback targets never take one, and `NO_PROXY` knows `*`, addresses, CIDR blocks, domains with their
//! subdomains, and ports. `VAULT_PROXY_ADDR` overrules all of that for every request.

use std::net::IpAddr;

use anyhow::{Result, bail};
use ureq::Proxy;
use ureq::http::Uri;

use super::address::{ip, is_loopback};

/// The proxies in force.
#[derive(Debug, Default)]
pub(crate) struct ProxyRules {
    /// For every request, exceptions or not (`VAULT_PROXY_ADDR`, `VAULT_HTTP_PROXY`).
    pub(crate) always: Option<Proxy>,
    /// For `http://` targets.
    pub(crate) http: Option<Proxy>,
    /// For `https://` targets.
    pub(crate) https: Option<Proxy>,
    /// The targets that take none of the latter two.
    pub(crate) exceptions: NoProxy,
}

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
    /// Reads the address of a proxy. The error never repeats it, since it may hold a password.
    pub(crate) fn parse(text: &str) -> Result<Proxy> {
        let with_scheme = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        if !(with_scheme.starts_with("http://") || with_scheme.starts_with("https://")) {
            bail!("only http:// and https:// proxies are supported");
        }
        Proxy::new(&with_scheme).or_else(|_| bail!("not the address of a proxy"))
    }

    /// The route to `target`.
    pub(super) fn route(&self, target: &Uri) -> Route {
        if self.always.is_some() {
            return Route::Always;
        }
        let host = target.host().unwrap_or_default();
        if is_loopback(host) || self.exceptions.covers(host, target.port_u16(), target.scheme_str()) {
            return Route::Direct;
        }
        match target.scheme_str() {
            Some("https") if self.https.is_some() => Route::Https,
            Some("http") if self.http.is_some() => Route::Http,
            _ => Route::Direct,
        }
    }

    /// The proxy of a route.
    pub(super) fn proxy(&self, route: Route) -> Option<Proxy> {
        match route {
            Route::Direct => None,
            Route::Always => self.always.clone(),
            Route::Http => self.http.clone(),
            Route::Https => self.https.clone(),
        }
    }
}

/// The targets named by `NO_PROXY`.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct NoProxy(Vec<Exception>);

/// One entry of `NO_PROXY`.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Exception {
    /// `*`: every target.
    All,
    /// An address or a block of addresses: how many leading bits count.
    Block { base: IpAddr, bits: u8 },
    /// A domain. With a leading dot it means the subdomains only.
    Domain { name: String, subdomains_only: bool, port: Option<u16> },
}

impl NoProxy {
    /// Reads a list as it stands in `NO_PROXY`. Entries that mean nothing are passed over, as Go does.
    pub(crate) fn parse(list: &str) -> Self {
        Self(list.split(',').filter_map(|entry| Exception::parse(entry.trim())).collect())
    }

    fn covers(&self, host: &str, port: Option<u16>, scheme: Option<&str>) -> bool {
        let port = port.unwrap_or(if scheme == Some("https") { 443 } else { 80 });
        self.0.iter().any(|exception| exception.covers(host, port))
    }
}

impl Exception {
    fn parse(entry: &str) -> Option<Self> {
        if entry == "*" {
            return Some(Self::All);
        }
        if let Some((base, bits)) = entry.split_once('/') {
            return Some(Self::Block { base: ip(base)?, bits: bits.parse().ok()? });
        }
        if let Some(base) = ip(entry) {
            return Some(Self::Block { base, bits: if base.is_ipv4() { 32 } else { 128 } });
        }
        let (name, port) = match entry.rsplit_once(':') {
            Some((name, port)) => (name, Some(port.parse().ok()?)),
            None => (entry, None),
        };
        let subdomains_only = name.starts_with('.') || name.starts_with("*.");
        let name = name.trim_start_matches('*').trim_start_matches('.').to_ascii_lowercase();
        (!name.is_empty()).then_some(Self::Domain { name, subdomains_only, port })
    }

    fn covers(&self, host: &str, port: u16) -> bool {
        match self {
            Self::All => true,
            Self::Block { base, bits } => ip(host).is_some_and(|host| same_block(host, *base, *bits)),
            Self::Domain { name, subdomains_only, port: wanted } => {
                let host = host.to_ascii_lowercase();
                let subdomain = host.strip_suffix(name).is_some_and(|front| front.ends_with('.'));
                wanted.is_none_or(|wanted| wanted == port)
                    && (subdomain || (host == *name && !subdomains_only))
            }
        }
    }
}

/// Whether the first `bits` of two addresses of the same family agree.
fn same_block(one: IpAddr, other: IpAddr, bits: u8) -> bool {
    let (one, other, width) = match (one, other) {
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
            http: Some(ProxyRules::parse("http://proxy:3128").unwrap()),
            https: Some(ProxyRules::parse("proxy:3129").unwrap()),
            exceptions: NoProxy::parse("foo.com, .bar.org, 10.0.0.0/8, 192.168.1.7, baz.net:8200, fd00::/8"),
            ..ProxyRules::default()
        }
    }

    #[test]
    fn the_route_follows_the_scheme_and_the_exceptions() {
        for (target, route) in [
            ("https://vault.example.org", Route::Https),
            ("http://vault.example.org", Route::Http),
            ("https://127.0.0.1:8200", Route::Direct),
            ("https://localhost:8200", Route::Direct),
            ("https://[::1]:8200", Route::Direct),
            ("https://foo.com", Route::Direct),
            ("https://a.foo.com:8200", Route::Direct),
            ("https://notfoo.com", Route::Https),
            ("https://a.bar.org", Route::Direct),
            ("https://bar.org", Route::Https),
            ("https://10.1.2.3:8200", Route::Direct),
            ("https://11.1.2.3:8200", Route::Https),
            ("https://192.168.1.7", Route::Direct),
            ("https://192.168.1.8", Route::Https),
            ("https://baz.net:8200", Route::Direct),
            ("https://baz.net", Route::Https),
            ("https://[fd12::1]:8200", Route::Direct),
            ("https://[fe80::1]:8200", Route::Https),
        ] {
            assert_eq!(rules().route(&target.parse().unwrap()), route, "{target}");
        }
    }

    #[test]
    fn the_proxy_of_the_vault_variables_takes_everything() {
        let rules =
            ProxyRules { always: rules().http, exceptions: NoProxy::parse("*"), ..ProxyRules::default() };
        assert_eq!(rules.route(&"http://127.0.0.1:8200".parse().unwrap()), Route::Always);
    }

    #[test]
    fn a_star_exempts_everything() {
        let rules = ProxyRules { exceptions: NoProxy::parse("*"), ..rules() };
        assert_eq!(rules.route(&"https://vault.example.org".parse().unwrap()), Route::Direct);
    }

    #[test]
    fn a_proxy_that_cannot_be_used_is_refused_without_being_repeated() {
        for text in ["socks5://me:hunter2@h:1080", "http://me:hunter2@", "ftp://hunter2"] {
            let error = ProxyRules::parse(text).unwrap_err().to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn any_list_and_any_host_are_judged(
            list in crate::hostile::text(&["foo.com, .bar.org,10.0.0.0/8", "*,[fd00::]/8,baz.net:8200"]),
            host in crate::hostile::text(&["a.foo.com", "10.1.2.3", "[fd12::1]"]),
        ) {
            let _ = NoProxy::parse(&list).covers(&host, Some(8200), Some("https"));
        }

        #[test]
        fn any_text_is_a_proxy_or_a_refusal(text in crate::hostile::text(&[
            "http://me:hunter2@proxy:3128", "proxy:3128", "https://[::1]:3128/",
        ])) {
            let _ = ProxyRules::parse(&text);
        }
    }
}
