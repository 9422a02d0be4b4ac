//! The head of a request: what is asked for, and whether it is for us. Pure: bytes in, a request or a refusal out.

use std::net::IpAddr;

use httparse::{EMPTY_HEADER, Header, Status};

/// More headers than any monitor sends.
const MOST_HEADERS: usize = 64;

/// The longest body that is read, in bytes.
const LONGEST_BODY: usize = 1024 * 1024;

/// What somebody asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Request<'a> {
    /// How it is asked.
    pub(crate) method: Method,
    /// Without a query.
    pub(crate) path: &'a str,
    /// What comes after the head, of a `POST` alone.
    pub(crate) body: &'a [u8],
    headers: Vec<(&'a str, &'a [u8])>,
}

/// How something is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    /// To look.
    Get,
    /// To look at the head of the answer only.
    Head,
    /// To have something looked at.
    Post,
}

/// What may be done at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Allowed {
    /// To look.
    Looking,
    /// To have something looked at.
    Posting,
}

impl Allowed {
    /// The value of the header that says so.
    pub(super) fn methods(self) -> &'static str {
        match self {
            Self::Looking => "GET, HEAD",
            Self::Posting => "POST",
        }
    }
}

/// Whom a request may be meant for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whom {
    /// This machine by one of its own names: a page that a browser here has loaded from elsewhere, under a name that
    /// was made to lead here, is none of ours (DNS rebinding). Its own names are the usual ones and this address.
    ThisMachine(IpAddr),
    /// Whatever it is called.
    Anybody,
}

/// Why a request is not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It is no request that could be understood.
    Malformed,
    /// It is longer than any request has to be.
    TooLong,
    /// It speaks a version of HTTP that is not spoken here.
    Version,
    /// There is nothing at its path.
    Nowhere,
    /// It wants something else than what may be done there.
    Method(Allowed),
    /// It does not say how long its body is.
    Length,
    /// Its body is longer than any that is looked at.
    BodyTooLong,
    /// It is meant for somebody else.
    Host,
    /// It comes from a page in a browser.
    Origin,
}

impl Refusal {
    /// Its HTTP status.
    pub(super) fn status(self) -> u16 {
        match self {
            Self::Malformed => 400,
            Self::TooLong => 431,
            Self::Version => 505,
            Self::Nowhere => 404,
            Self::Method(_) => 405,
            Self::Length => 411,
            Self::BodyTooLong => 413,
            Self::Host | Self::Origin => 403,
        }
    }

    /// What its sender is told. Nothing that was sent is repeated.
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Malformed => "this is not an HTTP request",
            Self::TooLong => "the head of the request is too long",
            Self::Version => "HTTP/1.0 and HTTP/1.1 only",
            Self::Nowhere => "not found",
            Self::Method(Allowed::Looking) => "GET and HEAD only",
            Self::Method(Allowed::Posting) => "POST only",
            Self::Length => "a body needs a Content-Length",
            Self::BodyTooLong => "the body of the request is too long",
            Self::Host => "the Host header has to be 127.0.0.1, [::1], localhost or the address itself",
            Self::Origin => "not for browsers",
        }
    }
}

impl<'a> Request<'a> {
    /// Reads the head of a request. `allowed` says what may be done at a path; nothing where there is none.
    pub(super) fn parse(
        head: &'a [u8],
        whom: Whom,
        allowed: &dyn Fn(&str) -> Option<Allowed>,
    ) -> Result<Self, Refusal> {
        let mut headers = [EMPTY_HEADER; MOST_HEADERS];
        let mut parsed = httparse::Request::new(&mut headers);
        match parsed.parse(head) {
            Ok(Status::Complete(_)) => {}
            Err(httparse::Error::TooManyHeaders) => return Err(Refusal::TooLong),
            Err(httparse::Error::Version) => return Err(Refusal::Version),
            Ok(Status::Partial) | Err(_) => return Err(Refusal::Malformed),
        }
        let (Some(method), Some(target), Some(version)) = (parsed.method, parsed.path, parsed.version) else {
            return Err(Refusal::Malformed);
        };
        let (authority, path) = split(target).ok_or(Refusal::Malformed)?;
        let mut hosts = named(parsed.headers, "host");
        let host = hosts.next();
        if hosts.next().is_some() || (version == 1 && host.is_none()) {
            return Err(Refusal::Malformed);
        }
        let mut meant = host.into_iter().chain(authority.map(str::as_bytes));
        if let Whom::ThisMachine(address) = whom
            && !meant.all(|host| is_this_machine(host, address))
        {
            return Err(Refusal::Host);
        }
        if named(parsed.headers, "origin").next().is_some() {
            return Err(Refusal::Origin);
        }
        let method = match (allowed(path).ok_or(Refusal::Nowhere)?, method) {
            (Allowed::Looking, "GET") => Method::Get,
            (Allowed::Looking, "HEAD") => Method::Head,
            (Allowed::Posting, "POST") => Method::Post,
            (allowed, _) => return Err(Refusal::Method(allowed)),
        };
        let headers = parsed.headers.iter().map(|header| (header.name, header.value)).collect();
        Ok(Self { method, path, body: &[], headers })
    }

    /// The same with what came after its head.
    pub(super) fn with_body(self, body: &'a [u8]) -> Self {
        Self { body, ..self }
    }

    /// The value of a header; none if there are several of that name.
    pub(crate) fn header(&self, name: &str) -> Option<&'a [u8]> {
        let mut values = self.headers.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
        values.next().map(|(_, value)| *value).filter(|_| values.next().is_none())
    }

    /// How long its body is, in bytes.
    pub(super) fn body_length(&self) -> Result<usize, Refusal> {
        if self.method != Method::Post {
            return Ok(0);
        }
        let text = self.header("content-length").and_then(|value| str::from_utf8(value).ok());
        let is_number = |text: &&str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let text = text.map(str::trim).filter(is_number).ok_or(Refusal::Length)?;
        // Two ways to say where it ends are a way to be misunderstood.
        if self.header("transfer-encoding").is_some() {
            return Err(Refusal::Length);
        }
        text.parse().ok().filter(|length| *length <= LONGEST_BODY).ok_or(Refusal::BodyTooLong)
    }

    /// Whether its sender waits to be told that the body is wanted (RFC 9110, section 10.1.1).
    pub(super) fn waits(&self) -> bool {
        self.header("expect").is_some_and(|value| value.eq_ignore_ascii_case(b"100-continue"))
    }
}

fn named<'h>(headers: &'h [Header<'_>], name: &'static str) -> impl Iterator<Item = &'h [u8]> {
    headers.iter().filter(move |header| header.name.eq_ignore_ascii_case(name)).map(|header| header.value)
}

/// The authority of a target, if it has one, and its path. A target without a path is no page of ours.
fn split(target: &str) -> Option<(Option<&str>, &str)> {
    let (authority, path) = match target.split_once("://") {
        Some((scheme, rest)) if !target.starts_with('/') => {
            if !scheme.eq_ignore_ascii_case("http") {
                return None;
            }
            let end = rest.find(['/', '?']).unwrap_or(rest.len());
            let (authority, path) = rest.split_at_checked(end)?;
            (Some(authority), path)
        }
        _ => (None, target),
    };
    let path = path.split(['?', '#']).next().unwrap_or_default();
    Some((authority, path))
}

/// Whether a request with this host is meant for this machine, at which it came in by this `address`. To the letter:
/// whoever compares beginnings only takes `127.0.0.1.example.org` for it, too.
fn is_this_machine(host: &[u8], address: IpAddr) -> bool {
    let Ok(host) = str::from_utf8(host) else { return false };
    let end_of_name = if host.starts_with('[') { host.find(']').map(|end| end + 1) } else { host.find(':') };
    let (name, port) = host.split_at_checked(end_of_name.unwrap_or(host.len())).unwrap_or((host, ""));
    let is_port =
        |port: &str| (1..=5).contains(&port.len()) && port.bytes().all(|byte| byte.is_ascii_digit());
    let is_address = match address {
        IpAddr::V4(address) => name == address.to_string(),
        IpAddr::V6(address) => name == format!("[{address}]"),
    };
    let is_name =
        is_address || name == "127.0.0.1" || name == "[::1]" || name.eq_ignore_ascii_case("localhost");
    is_name && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HERE: Whom = Whom::ThisMachine(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST));

    fn parsed(head: &str) -> Result<Request<'_>, Refusal> {
        Request::parse(head.as_bytes(), HERE, &|path| match path {
            "/verify" => Some(Allowed::Posting),
            "/nowhere" => None,
            _ => Some(Allowed::Looking),
        })
    }

    fn with_host(host: &str) -> Result<(), Refusal> {
        parsed(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).map(|_| ())
    }

    #[test]
    fn what_is_asked_for() {
        let head = |line: &str| format!("{line} HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n");
        for (line, is_head, path) in [
            ("GET /health", false, "/health"),
            ("HEAD /health?verbose=1", true, "/health"),
            ("GET http://localhost:80/metrics?x", false, "/metrics"),
            ("GET HTTP://127.0.0.1", false, ""),
            ("GET *", false, "*"),
            ("GET /a://b", false, "/a://b"),
        ] {
            let head = head(line);
            let found = parsed(&head).map(|request| (request.method == Method::Head, request.path));
            assert_eq!(found, Ok((is_head, path)), "{line}");
        }
        assert!(parsed("GET / HTTP/1.0\r\n\r\n").is_ok(), "there was no Host yet");
        assert!(parsed("GET / HTTP/1.1\nHost: localhost\n\n").is_ok());
        for (line, refusal) in [
            ("PUT /health", Refusal::Method(Allowed::Looking)),
            ("GET /verify", Refusal::Method(Allowed::Posting)),
            ("HEAD /verify", Refusal::Method(Allowed::Posting)),
            ("GET /nowhere", Refusal::Nowhere),
            ("POST /nowhere", Refusal::Nowhere),
            ("OPTIONS *", Refusal::Method(Allowed::Looking)),
            ("CONNECT localhost:80", Refusal::Method(Allowed::Looking)),
            ("GET ftp://localhost/", Refusal::Malformed),
            ("GET http://evil.example.org/health", Refusal::Host),
            ("GET http://localhost@evil.example.org/", Refusal::Host),
            ("GET", Refusal::Malformed),
            ("GET /a b", Refusal::Version),
        ] {
            assert_eq!(parsed(&head(line)), Err(refusal), "{line}");
        }
        assert_eq!(parsed(&head("POST /health")), Err(Refusal::Method(Allowed::Looking)));
        for (headers, length) in [
            ("Content-Length: 5", Ok(5)),
            ("Content-Length: 0", Ok(0)),
            ("Content-Length: 1048576", Ok(LONGEST_BODY)),
            ("Content-Length: 1048577", Err(Refusal::BodyTooLong)),
            ("Content-Length: 99999999999999999999999", Err(Refusal::BodyTooLong)),
            ("X: y", Err(Refusal::Length)),
            ("Content-Length: -1", Err(Refusal::Length)),
            ("Content-Length: 5\r\nContent-Length: 6", Err(Refusal::Length)),
            ("Content-Length: 5\r\nTransfer-Encoding: chunked", Err(Refusal::Length)),
        ] {
            let head = format!("POST /verify HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n\r\n");
            assert_eq!(parsed(&head).and_then(|request| request.body_length()), length, "{headers}");
        }
        for (head, refusal) in [
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Refusal::Version),
            ("\u{16}\u{3}\u{1}", Refusal::Malformed),
            ("GET / HTTP/1.1\r\n\r\n", Refusal::Malformed),
            ("GET / HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n", Refusal::Malformed),
            ("GET / HTTP/1.1\r\nHost: localhost\r\nOrigin: null\r\n\r\n", Refusal::Origin),
            ("GET / HTTP/1.1\r\nHost: localhost\r\n broken\r\n\r\n", Refusal::Malformed),
        ] {
            assert_eq!(parsed(head), Err(refusal), "{head:?}");
        }
        let many = format!("GET / HTTP/1.1\r\nHost: localhost\r\n{}\r\n", "X: y\r\n".repeat(MOST_HEADERS));
        assert_eq!(parsed(&many), Err(Refusal::TooLong));
    }

    #[test]
    fn a_host_is_this_machine_to_the_letter() {
        for host in ["127.0.0.1", "127.0.0.1:9105", "[::1]", "[::1]:1", "localhost", "LocalHost:65535"] {
            assert_eq!(with_host(host), Ok(()), "{host}");
        }
        for host in [
            "127.0.0.1.evil.example.org",
            "localhost.evil.example.org",
            "127.0.0.1:80x",
            "127.0.0.1:",
            "evil",
            "127.0.0.1:80:80",
            "localhost:123456",
            "[::1",
            "[::1]x",
            "[::1]evil:80",
            "::1",
            "",
            "127.0.0.2",
            "127.0.0.1 evil",
            "evil@localhost",
            "localhost, evil",
        ] {
            assert_eq!(with_host(host), Err(Refusal::Host), "{host}");
        }
        let at = |address: &str, host: &str| is_this_machine(host.as_bytes(), address.parse().unwrap());
        assert!(at("127.0.0.2", "127.0.0.2:9105") && at("127.0.0.2", "localhost") && at("::1", "[::1]"));
        assert!(!at("127.0.0.2", "127.0.0.3:9105") && !at("127.0.0.2", "127.0.0.2.evil.example.org"));
        let elsewhere = b"GET / HTTP/1.1\r\nHost: devvm.example.org\r\n\r\n";
        let looking = |_: &str| Some(Allowed::Looking);
        assert!(Request::parse(elsewhere, Whom::Anybody, &looking).is_ok());
        let from_a_page = b"GET / HTTP/1.1\r\nHost: devvm\r\nOrigin: https://evil.example.org\r\n\r\n";
        assert_eq!(Request::parse(from_a_page, Whom::Anybody, &looking), Err(Refusal::Origin));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_request_or_a_refusal(head in crate::hostile::bytes(&[
            "GET /health HTTP/1.1\r\nHost: 127.0.0.1:9105\r\nAccept: */*\r\n\r\n",
            "HEAD http://[::1]:80/metrics?x=y HTTP/1.0\r\nHost: [::1]\r\nOrigin: null\r\n\r\n",
        ])) {
            if let Ok(request) = Request::parse(&head, HERE, &|_| Some(Allowed::Posting)) {
                prop_assert!(!request.path.contains(['?', '#', ' ', '\r', '\n']));
            }
        }
    }
}
