//! What an error of the client library means: can the request have reached the server?

use std::io;

use ureq::Timeout;

use super::error::{ErrorKind, Interrupted, TlsTrouble, Unreachable};
use super::proxy::Route;
use crate::io_text::io_text;

/// Turns an error of ureq into one of ours, by whether the request can have reached the server.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "ureq may add errors at any time; they all mean that there was no answer"
)]
pub(super) fn classify(error: ureq::Error) -> ErrorKind {
    match error {
        ureq::Error::Timeout(Timeout::Resolve | Timeout::Connect) => {
            ErrorKind::Unreachable(Unreachable::TimedOut)
        }
        ureq::Error::Timeout(_) => ErrorKind::Interrupted(Interrupted::TimedOut),
        ureq::Error::HostNotFound => {
            ErrorKind::Unreachable(Unreachable::Name("no address for this name".to_owned()))
        }
        ureq::Error::ConnectionFailed => {
            ErrorKind::Unreachable(Unreachable::Other("connection failed".to_owned()))
        }
        ureq::Error::ConnectProxyFailed(reason) if reason.contains("407") => {
            ErrorKind::Unreachable(Unreachable::ProxyCredentials)
        }
        ureq::Error::ConnectProxyFailed(reason) => ErrorKind::Unreachable(Unreachable::Other(reason)),
        ureq::Error::LargeResponseHeader(size, _) => ErrorKind::Interrupted(Interrupted::Headers(Some(size))),
        // The parser's errors have no kind that could be asked for.
        ureq::Error::Protocol(error) if error.to_string().contains("too many headers") => {
            ErrorKind::Interrupted(Interrupted::Headers(None))
        }
        ureq::Error::Rustls(error) => ErrorKind::Unreachable(Unreachable::Tls(tls_trouble(&error))),
        ureq::Error::Tls(reason) => {
            ErrorKind::Unreachable(Unreachable::Tls(TlsTrouble::Other(reason.to_owned())))
        }
        ureq::Error::Io(error) => classify_io(&error),
        ureq::Error::Protocol(_) => {
            ErrorKind::Interrupted(Interrupted::Other("the answer is not HTTP".to_owned()))
        }
        other => ErrorKind::Interrupted(Interrupted::Other(other.to_string())),
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "std may add kinds at any time; they all mean that there was no answer"
)]
fn classify_io(error: &io::Error) -> ErrorKind {
    if let Some(inner) = error.get_ref()
        && let Some(tls) = inner.downcast_ref::<rustls::Error>()
    {
        return ErrorKind::Unreachable(Unreachable::Tls(tls_trouble(tls)));
    }
    match error.kind() {
        io::ErrorKind::ConnectionRefused => ErrorKind::Unreachable(Unreachable::Refused),
        io::ErrorKind::HostUnreachable
        | io::ErrorKind::NetworkUnreachable
        | io::ErrorKind::NetworkDown
        | io::ErrorKind::AddrNotAvailable => ErrorKind::Unreachable(Unreachable::Other(io_text(error))),
        io::ErrorKind::UnexpectedEof
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe => ErrorKind::Interrupted(Interrupted::Closed),
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => ErrorKind::Interrupted(Interrupted::TimedOut),
        // A name that does not resolve comes as an error without a kind and without a number.
        _ if error.raw_os_error().is_none() && error.to_string().contains("lookup address") => {
            let text = error.to_string();
            let reason = text.rsplit(": ").next().unwrap_or_default();
            ErrorKind::Unreachable(Unreachable::Name(reason.to_owned()))
        }
        _ => ErrorKind::Interrupted(Interrupted::Other(io_text(error))),
    }
}

/// Where a proxy is in between, it is the proxy that could not be reached, or would not connect us. TLS is
/// spoken through it with the server.
pub(super) fn by_route(kind: ErrorKind, route: Route) -> ErrorKind {
    if let ErrorKind::Unreachable(reason) = kind {
        let is_plain =
            route == Route::Direct || matches!(reason, Unreachable::Tls(_) | Unreachable::ProxyCredentials);
        ErrorKind::Unreachable(if is_plain { reason } else { Unreachable::Proxy(Box::new(reason)) })
    } else {
        kind
    }
}

/// While no request has begun to leave, the time of the request that ended was that of a connection.
pub(super) fn before_sending(kind: ErrorKind) -> ErrorKind {
    if let ErrorKind::Interrupted(Interrupted::TimedOut) = kind {
        ErrorKind::Unreachable(Unreachable::TimedOut)
    } else {
        kind
    }
}

/// Once the request has begun to leave, whatever breaks may have broken after it arrived: the error keeps its words
/// and loses its promise.
pub(super) fn after_sending(kind: ErrorKind) -> ErrorKind {
    let ErrorKind::Unreachable(reason) = kind else { return kind };
    ErrorKind::Interrupted(match reason {
        Unreachable::TimedOut => Interrupted::TimedOut,
        Unreachable::Refused => Interrupted::Other("connection refused".to_owned()),
        Unreachable::Tls(TlsTrouble::Other(reason)) => Interrupted::Other(format!("TLS: {reason}")),
        Unreachable::Tls(TlsTrouble::PlainServer) => {
            Interrupted::Other("TLS: what came back is not TLS".to_owned())
        }
        Unreachable::Tls(_) => Interrupted::Other("TLS broke off".to_owned()),
        Unreachable::Other(reason) | Unreachable::Name(reason) => Interrupted::Other(reason),
        Unreachable::Proxy(_) | Unreachable::ProxyCredentials => Interrupted::Closed,
    })
}

#[expect(clippy::wildcard_enum_match_arm, reason = "rustls may add errors at any time; it words them itself")]
fn tls_trouble(error: &rustls::Error) -> TlsTrouble {
    use rustls::CertificateError as Bad;
    match error {
        rustls::Error::InvalidCertificate(bad) => match bad {
            // An authority that was made anew under its old name signs what its old certificate cannot check.
            Bad::UnknownIssuer | Bad::BadSignature => TlsTrouble::UnknownIssuer,
            Bad::NotValidForName | Bad::NotValidForNameContext { .. } => TlsTrouble::WrongName,
            Bad::Expired | Bad::ExpiredContext { .. } | Bad::NotValidYet | Bad::NotValidYetContext { .. } => {
                TlsTrouble::Expired
            }
            other if format!("{other:?}").contains("CaUsedAsEndEntity") => TlsTrouble::AuthorityAsServer,
            other => TlsTrouble::Other(other.to_string()),
        },
        rustls::Error::InvalidMessage(_) => TlsTrouble::PlainServer,
        other => TlsTrouble::Other(other.to_string()),
    }
}
