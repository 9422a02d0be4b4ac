//! What an error of the client library means: can the request have reached the server?

use std::fmt;
use std::io;

use rustls::AlertDescription;
use ureq::Timeout;

use super::connect::ProxyRefusal;
use super::conversation::TooLarge;
use super::error::{ErrorKind, Interrupted, TlsTrouble, Unreachable};
use super::proxy::Route;
use super::tls::is_authority_as_server;
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
        ureq::Error::LargeResponseHeader(size, _) => ErrorKind::Interrupted(Interrupted::Headers(size)),
        ureq::Error::Io(error) => classify_io(error),
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
fn classify_io(error: io::Error) -> ErrorKind {
    if let Some(inner) = error.get_ref()
        && let Some(tls) = inner.downcast_ref::<rustls::Error>()
    {
        return ErrorKind::Unreachable(Unreachable::Tls(tls_trouble(tls)));
    }
    if let Some(refusal) = error.get_ref().and_then(|inner| inner.downcast_ref::<ProxyRefusal>()) {
        return ErrorKind::Unreachable(match refusal {
            ProxyRefusal::Credentials { socks } => Unreachable::ProxyCredentials { socks: *socks },
            ProxyRefusal::Tls(tls) => Unreachable::Proxy(Box::new(Unreachable::Tls(tls_trouble(tls)))),
            ProxyRefusal::Other(reason) => Unreachable::Other(reason.clone()),
        });
    }
    if let Some(TooLarge(size)) = error.get_ref().and_then(|inner| inner.downcast_ref()) {
        return ErrorKind::Interrupted(Interrupted::Headers(*size));
    }
    // An error of ureq that has passed through a reader of std.
    let error = match error.downcast::<ureq::Error>() {
        Ok(inner) => return classify(inner),
        Err(error) => error,
    };
    match error.kind() {
        io::ErrorKind::ConnectionRefused => ErrorKind::Unreachable(Unreachable::Refused),
        io::ErrorKind::HostUnreachable
        | io::ErrorKind::NetworkUnreachable
        | io::ErrorKind::NetworkDown
        | io::ErrorKind::AddrNotAvailable => ErrorKind::Unreachable(Unreachable::Other(io_text(&error))),
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
        _ => ErrorKind::Interrupted(Interrupted::Other(io_text(&error))),
    }
}

/// Where a proxy is in between, it is the proxy that could not be reached, or would not connect us. TLS is
/// spoken through it with the server.
pub(super) fn by_route(kind: ErrorKind, route: Route) -> ErrorKind {
    if let ErrorKind::Unreachable(reason) = kind {
        let is_plain = route == Route::Direct
            || matches!(
                reason,
                Unreachable::Tls(_)
                    | Unreachable::Proxy(_)
                    | Unreachable::ProxyCredentials { .. }
                    | Unreachable::Settings(_)
            );
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
        Unreachable::Tls(trouble) => Interrupted::Tls(trouble),
        Unreachable::Other(reason) | Unreachable::Name(reason) | Unreachable::Settings(reason) => {
            Interrupted::Other(reason)
        }
        Unreachable::Proxy(_) | Unreachable::ProxyCredentials { .. } => Interrupted::Closed,
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
            Bad::InvalidPurpose | Bad::InvalidPurposeContext { .. } => TlsTrouble::NotForServers,
            Bad::UnsupportedSignatureAlgorithmContext { .. }
            | Bad::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => TlsTrouble::Signature,
            Bad::BadEncoding => TlsTrouble::Unreadable,
            Bad::Other(_) if is_authority_as_server(error) => TlsTrouble::AuthorityAsServer,
            Bad::Other(reason) if plain(reason).contains("unsupported cert version") => {
                TlsTrouble::Unreadable
            }
            Bad::Other(reason) => TlsTrouble::Other(format!("the certificate: {}", plain(reason))),
            other => TlsTrouble::Other(format!("the certificate: {}", plain(other))),
        },
        rustls::Error::InvalidMessage(_) => TlsTrouble::PlainServer,
        rustls::Error::AlertReceived(alert) => match alert {
            AlertDescription::CertificateRequired
            | AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied => TlsTrouble::ClientCertificate,
            AlertDescription::HandshakeFailure
            | AlertDescription::ProtocolVersion
            | AlertDescription::InsufficientSecurity => TlsTrouble::NothingInCommon,
            other => TlsTrouble::Other(format!("the server broke off: {}", plain(other))),
        },
        rustls::Error::PeerIncompatible(why) => match plain(why) {
            why if why.contains("in common") || why.contains("requires") || why.contains("version") => {
                TlsTrouble::NothingInCommon
            }
            why => TlsTrouble::Other(format!("the server asks for what is not supported: {why}")),
        },
        rustls::Error::PeerMisbehaved(why) => {
            TlsTrouble::Other(format!("the server breaks the rules: {}", plain(why)))
        }
        rustls::Error::General(reason) => TlsTrouble::Other(reason.clone()),
        other => TlsTrouble::Other(plain(other)),
    }
}

/// The name of a value in words: `NoCipherSuitesInCommon { .. }` is "no cipher suites in common". The values in it, if
/// there are any, are for programmers.
fn plain(value: &impl fmt::Debug) -> String {
    let name = format!("{value:?}");
    // `Other(OtherError(UnsupportedCertVersion))`: the last name says most.
    let name = name.split(['{', ' ']).next().unwrap_or_default().trim_end_matches(')');
    let name = name.rsplit('(').next().unwrap_or_default();
    let mut words = String::new();
    for (at, c) in name.char_indices() {
        if c.is_ascii_uppercase() && at > 0 {
            words.push(' ');
        }
        words.push(c.to_ascii_lowercase());
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_error_of_the_tls_library_is_shown_as_a_programmer_sees_it() {
        use rustls::{CertificateError, Error, PeerIncompatible, PeerMisbehaved};
        let signature = CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext {
            signature_algorithm_id: vec![1],
            public_key_algorithm_id: vec![2],
        };
        for (error, words) in [
            (Error::InvalidCertificate(signature), TlsTrouble::Signature),
            (Error::InvalidCertificate(CertificateError::InvalidPurpose), TlsTrouble::NotForServers),
            (
                Error::InvalidCertificate(CertificateError::UnhandledCriticalExtension),
                TlsTrouble::Other("the certificate: unhandled critical extension".to_owned()),
            ),
            (Error::PeerIncompatible(PeerIncompatible::NoCipherSuitesInCommon), TlsTrouble::NothingInCommon),
            (Error::AlertReceived(AlertDescription::UnknownCA), TlsTrouble::ClientCertificate),
            (
                Error::AlertReceived(AlertDescription::InternalError),
                TlsTrouble::Other("the server broke off: internal error".to_owned()),
            ),
            (
                Error::PeerMisbehaved(PeerMisbehaved::InvalidKeyShare),
                TlsTrouble::Other("the server breaks the rules: invalid key share".to_owned()),
            ),
            (Error::DecryptError, TlsTrouble::Other("decrypt error".to_owned())),
        ] {
            assert_eq!(tls_trouble(&error), words);
        }
    }
}
