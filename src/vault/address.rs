//! The address of a server.

use std::fmt;
use std::net::IpAddr;

use anyhow::{Result, anyhow, bail};
use ureq::http::Uri;

/// The server that the official command lines talk to when nothing is set.
pub(crate) const DEFAULT_ADDRESS: &str = "https://127.0.0.1:8200";

/// Where the server is: scheme, host, port and an optional path prefix, without a trailing slash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    /// As it was given.
    text: String,
    /// The same without the zone of an IPv6 address, which is for this machine only and is not sent.
    url: String,
    /// That zone: the name or number of a network interface.
    zone: Option<String>,
}

impl Address {
    /// Reads an address as the official command line does, and refuses what that would misread: no scheme,
    /// another scheme than http and https, credentials, a query.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let text = text.trim();
        if text.starts_with("unix:") {
            bail!("unix sockets are not supported; give an http:// or https:// address");
        }
        if !text.contains("://") {
            if text.contains('@') {
                bail!("it has no scheme, and must not hold a user name or password");
            }
            bail!("it has no scheme; did you mean https://{text}?");
        }
        let (url, zone) = without_zone(text);
        let uri: Uri = url.parse().map_err(|error| anyhow!("not an address: {error}"))?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) {
            bail!("only http:// and https:// are supported");
        }
        let authority = uri.authority().ok_or_else(|| anyhow!("it names no host"))?;
        if authority.as_str().contains('@') {
            bail!("it must not hold a user name or password");
        }
        if authority.host().is_empty() {
            bail!("it names no host");
        }
        if authority.as_str().contains('%') {
            bail!("not an address: a zone is written like [fe80::1%25eth0]");
        }
        if authority.as_str().rsplit(']').next().is_some_and(|rest| rest.contains(':'))
            && authority.port_u16().is_none()
        {
            bail!("its port is not a number between 0 and 65535");
        }
        if uri.query().is_some() || text.contains('#') {
            bail!("it must not hold a query or fragment");
        }
        if zone.is_some() && !uri.host().and_then(ip).is_some_and(|ip| ip.is_ipv6()) {
            bail!("it has a zone, and only an IPv6 address has one");
        }
        let trimmed = |text: &str| text.trim_end_matches('/').to_owned();
        Ok(Self { text: trimmed(text), url: trimmed(&url), zone })
    }

    /// The host and the zone it is in, if it is in one.
    pub(super) fn zone(&self) -> Option<Zone> {
        let uri: Uri = self.url.parse().ok()?;
        Some(Zone { ip: uri.host().and_then(ip)?, interface: self.zone.clone()? })
    }

    /// The full address of a path below `/v1/`.
    pub(super) fn join(&self, path: &str) -> String {
        format!("{}/v1/{path}", self.url)
    }
}

/// An IPv6 address that is behind a certain network interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Zone {
    /// The address.
    pub(super) ip: IpAddr,
    /// The name or number of the interface.
    pub(super) interface: String,
}

/// An address without the zone in it, and the zone: `[fe80::1%25eth0]` is `[fe80::1]` in `eth0`.
///
/// Source: RFC 6874.
fn without_zone(text: &str) -> (String, Option<String>) {
    if let Some((front, rest)) = text.split_once("%25")
        && let Some((zone, back)) = rest.split_once(']')
        && front.contains("://[")
        && !zone.is_empty()
        && zone.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
    {
        return (format!("{front}]{back}"), Some(zone.to_owned()));
    }
    (text.to_owned(), None)
}

/// The port of a target, which may be the usual one of its scheme.
pub(super) fn port(target: &Uri) -> u16 {
    target.port_u16().unwrap_or(if target.scheme_str() == Some("https") { 443 } else { 80 })
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Whether a host, as it stands in an address, is this machine.
pub(super) fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || ip(host).is_some_and(|ip| ip.is_loopback())
}

/// The host as an IP address, if it is one; brackets around IPv6 are taken off.
pub(super) fn ip(host: &str) -> Option<IpAddr> {
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn slashes_at_the_end_do_no_harm_and_prefixes_are_kept() {
        let url = |text: &str| Address::parse(text).unwrap().join("auth/token/create");
        assert_eq!(url("http://h:8200/"), "http://h:8200/v1/auth/token/create");
        assert_eq!(url("https://h/prefix//"), "https://h/prefix/v1/auth/token/create");
        assert_eq!(url("http://[fe80::1%25eth0]:8200/"), "http://[fe80::1]:8200/v1/auth/token/create");
        assert_eq!(url(" https://[::1]:8200\n"), "https://[::1]:8200/v1/auth/token/create");
    }

    #[test]
    fn a_zone_is_kept_beside_the_address_and_shown_with_it() {
        let address = Address::parse("http://[fe80::1%25eth0]:8200").unwrap();
        assert_eq!(address.to_string(), "http://[fe80::1%25eth0]:8200");
        let zone = Zone { ip: "fe80::1".parse().unwrap(), interface: "eth0".to_owned() };
        assert_eq!(address.zone(), Some(zone));
        assert_eq!(Address::parse("http://[fe80::1]:8200").unwrap().zone(), None);
        for text in
            ["http://[fe80::1%25]:1", "http://[fe80::1%eth0]:1", "http://h%25eth0:1", "http://[::1%25a b]:1"]
        {
            assert!(Address::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn addresses_that_would_be_misread_are_refused() {
        for (text, part) in [
            ("127.0.0.1:8200", "did you mean https://127.0.0.1:8200?"),
            ("", "no scheme"),
            ("me:secret@h:8200", "user name or password"),
            ("ftp://h", "only http"),
            ("unix:///run/vault.sock", "unix sockets are not supported"),
            ("https://me:secret@h", "user name or password"),
            ("https://h?x=1", "query"),
            ("https://h/#x", "query or fragment"),
            ("https://", "not an address"),
            ("https://h:99999", "port"),
            ("https://h h", "not an address"),
        ] {
            let error = Address::parse(text).unwrap_err().to_string();
            assert!(error.contains(part), "{text:?}: {error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn loopback_is_recognised_by_name_and_number() {
        for host in ["localhost", "LOCALHOST", "127.0.0.1", "127.9.9.9", "[::1]", "::1"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["localhost.example.org", "10.0.0.1", "127.0.0.1.example.org", ""] {
            assert!(!is_loopback(host), "{host}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_an_address_or_a_refusal(text in crate::hostile::text(&[
            "https://vault.example.org:8200/prefix", "http://[::1]:8200", "http://127.0.0.1",
        ])) {
            if let Ok(address) = Address::parse(&text) {
                prop_assert!(address.join("auth/token/create").parse::<Uri>().is_ok(), "{address}");
            }
        }
    }
}
