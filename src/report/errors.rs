//! The words for what went wrong between us and the server, and for wrong settings.

use super::escape::{Quoted, Shown, harmless_text};
use crate::vault::{
    Call, Error, ErrorKind, Exchange, Interrupted, Oddity, RedirectRefusal, Said, TlsTrouble, Unreachable,
};

/// What was asked of the server.
fn call_text(call: Call) -> &'static str {
    match call {
        Call::LookupSelf => "token lookup",
        Call::RenewSelf => "renewal",
        Call::Create | Call::CreateOrphan => "mint",
        Call::Accessors => "accessor list",
        Call::LookupAccessor => "accessor lookup",
        Call::RevokeAccessor | Call::RevokeSelf => "revocation",
        Call::Capabilities => "capabilities",
        Call::Policy => "policy",
        Call::Mount => "mount of the secret",
        Call::Secret => "secret",
    }
}

/// What was asked, of whom, and what went wrong.
pub(super) fn error_text(error: &Error) -> String {
    // Where no answer came, the path is not to blame.
    let server = error.url.split("/v1/").next().unwrap_or(&error.url);
    let place = match &error.kind {
        ErrorKind::Unreachable(_) | ErrorKind::Interrupted(_) | ErrorKind::Sealed => server,
        ErrorKind::Denied { .. }
        | ErrorKind::Refused { .. }
        | ErrorKind::NotFound { .. }
        | ErrorKind::Unclear { .. }
        | ErrorKind::Unserving { .. }
        | ErrorKind::Elsewhere { .. }
        | ErrorKind::AwaitsApproval
        | ErrorKind::Cached
        | ErrorKind::Throttled { .. }
        | ErrorKind::Server { .. }
        | ErrorKind::Unexpected { .. }
        | ErrorKind::NotVault { .. }
        | ErrorKind::Redirect { .. }
        | ErrorKind::AnotherToken => &error.url,
    };
    let redirected = match &error.redirected_by {
        Some(server) => format!(" (where {} redirected us)", Shown(server)),
        None => String::new(),
    };
    format!("{}: {}{redirected}: {}", call_text(error.call), Shown(place), kind_text(&error.kind))
}

/// A request and what came of it.
pub(super) fn exchange_text(exchange: &Exchange<'_>) -> String {
    let outcome = match exchange.outcome {
        Ok(status) => status.to_string(),
        Err(kind) => kind_text(kind),
    };
    let (url, took) = (Shown(exchange.url), exchange.took.as_millis());
    format!("{} {url}: {outcome}, {took} ms", exchange.method)
}

fn kind_text(kind: &ErrorKind) -> String {
    match kind {
        ErrorKind::Unreachable(reason) => unreachable_text(reason),
        ErrorKind::Interrupted(reason) => interrupted_text(reason),
        ErrorKind::Denied { message, .. } => format!("403: {}", reason_text(message)),
        ErrorKind::Refused { message } => format!("400: {}", reason_text(message)),
        ErrorKind::NotFound { message } => format!("404: {}", reason_text(message)),
        ErrorKind::Unclear { status, message } => {
            format!("{status}: {} (not a known refusal or outage)", reason_text(message))
        }
        ErrorKind::Unserving { status, message } => {
            format!("{status}: this node cannot serve requests: {}", reason_text(message))
        }
        ErrorKind::Elsewhere { message } => format!("500: {}", reason_text(message)),
        ErrorKind::AwaitsApproval => "200: the request waits for the approval of a control group".to_owned(),
        ErrorKind::Cached => {
            "the answer came from a cache (an agent or proxy), not from the server".to_owned()
        }
        ErrorKind::Sealed => "503: Vault is sealed".to_owned(),
        ErrorKind::Throttled { said } => format!("429: {}", said_text(said)),
        ErrorKind::Server { status, said } | ErrorKind::Unexpected { status, said } => {
            format!("{status}: {}", said_text(said))
        }
        ErrorKind::NotVault { status, oddity } => format!("{status}: {}", oddity_text(oddity)),
        ErrorKind::Redirect { status, reason } => format!("{status}: {}", redirect_text(reason)),
        ErrorKind::AnotherToken => "the answer is about a different token".to_owned(),
    }
}

/// Vault's words, which may be none. They stand bare only if they can say nothing but words: not what looks like the
/// end of our sentence, or like one of our own.
pub(super) fn reason_text(message: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || " .,:/_-".contains(c);
    if message.is_empty() {
        "no reason given".to_owned()
    } else if message.chars().all(plain) {
        Shown(message).to_string()
    } else {
        Quoted(message).to_string()
    }
}

fn said_text(said: &Said) -> String {
    match said {
        Said::Errors(message) => reason_text(message),
        Said::Foreign(oddity) => oddity_text(oddity),
    }
}

fn unreachable_text(reason: &Unreachable) -> String {
    match reason {
        Unreachable::Name(reason) => format!("the name does not resolve ({})", Shown(reason)),
        Unreachable::Refused => "connection refused".to_owned(),
        Unreachable::TimedOut => "connection timed out".to_owned(),
        Unreachable::ProxyCredentials { socks: false } => {
            "proxy: 407: wrong or missing credentials".to_owned()
        }
        Unreachable::ProxyCredentials { socks: true } => "proxy: wrong or missing credentials".to_owned(),
        Unreachable::Proxy(reason) => format!("proxy: {}", unreachable_text(reason)),
        Unreachable::Tls(trouble) => tls_text(trouble),
        Unreachable::Other(reason) | Unreachable::Settings(reason) => Shown(reason).to_string(),
    }
}

fn tls_text(trouble: &TlsTrouble) -> String {
    let text = match trouble {
        TlsTrouble::UnknownIssuer => "the certificate is signed by an unknown authority",
        TlsTrouble::AuthorityAsServer => "the certificate is an authority's (CA:TRUE), and no server's",
        TlsTrouble::WrongName => "the certificate is not for this name",
        TlsTrouble::Expired => "the certificate is expired, or not valid yet",
        TlsTrouble::PlainServer => "the server does not speak TLS",
        TlsTrouble::NotForServers => "the certificate is not for servers (no serverAuth in extendedKeyUsage)",
        TlsTrouble::Signature => {
            "the key or the signature of the certificate is not supported (SHA-1, RSA below 2048 bits)"
        }
        TlsTrouble::Unreadable => "the certificate cannot be read, or is of version 1",
        TlsTrouble::NothingInCommon => {
            "nothing in common with the server (TLS version, cipher suite, curve), or it wants a client certificate"
        }
        TlsTrouble::ClientCertificate => "the server wants a client certificate, or another one",
        TlsTrouble::Other(reason) => return format!("TLS: {}", Shown(reason)),
    };
    format!("TLS: {text}")
}

fn interrupted_text(reason: &Interrupted) -> String {
    match reason {
        Interrupted::TimedOut => "no answer in time".to_owned(),
        Interrupted::Headers(size) => {
            format!("the headers of the answer are larger than can be read ({size} bytes and more)")
        }
        Interrupted::Tls(trouble) => tls_text(trouble),
        Interrupted::Closed => "the connection was closed before the answer was complete".to_owned(),
        Interrupted::Other(reason) => Shown(reason).to_string(),
    }
}

fn oddity_text(oddity: &Oddity) -> String {
    match oddity {
        Oddity::NotJson { content_type, start } => {
            let kind = if content_type.is_empty() { "no content type" } else { content_type };
            let start = if start.is_empty() { String::new() } else { format!(", {}", Quoted(start)) };
            format!("not an answer of Vault ({}{start})", Shown(kind))
        }
        Oddity::Shape(what) => format!("not an answer of Vault ({})", Shown(what)),
        Oddity::Empty => "not an answer of Vault (empty body)".to_owned(),
        Oddity::TooLong => "not an answer of Vault (far too long)".to_owned(),
    }
}

fn redirect_text(reason: &RedirectRefusal) -> String {
    match reason {
        RedirectRefusal::Disabled => "a redirect, and redirects are disabled".to_owned(),
        RedirectRefusal::Twice => "a redirect after a redirect".to_owned(),
        RedirectRefusal::NoTarget => "a redirect to nowhere".to_owned(),
        RedirectRefusal::Downgrade(host) => {
            format!("a redirect from https to http ({}) is not followed", Shown(host))
        }
        RedirectRefusal::PlainHost(host) => {
            format!("a redirect to another host without encryption ({}) is not followed", Shown(host))
        }
    }
}

/// A chain of causes on one line, joined by colons, without the numbers of the operating system.
pub(super) fn chain_text(error: &anyhow::Error) -> String {
    let causes = error.chain().map(|cause| {
        let text = cause.to_string();
        text.split(" (os error").next().unwrap_or(&text).to_owned()
    });
    harmless_text(&causes.collect::<Vec<_>>().join(": "))
}
