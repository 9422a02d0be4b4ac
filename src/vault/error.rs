//! What can go wrong between us and the server, in the words decisions are made of.
//!
//! Nothing here is a verdict on a token. [`ErrorKind::Denied`] and [`ErrorKind::Refused`] are the only two
//! that say the *server* answered no; all the others say that there was no believable answer.

use super::call::Call;
use super::words;
use crate::secret::Secrets;

/// A call that did not succeed.
#[derive(Debug, Clone)]
pub(crate) struct Error {
    /// What was asked.
    pub(crate) call: Call,
    /// Where it was asked, whole and without any secret: after a redirect, where that led.
    pub(crate) url: String,
    /// The address of the server that redirected us there, if one did.
    pub(crate) redirected_by: Option<Box<str>>,
    /// What happened.
    pub(crate) kind: ErrorKind,
    /// What the settings say already, lest anybody be told to say it.
    pub(crate) named: Box<Named>,
}

/// Who says what a setting is, for whoever has to correct it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SaidBy {
    /// This flag or variable.
    Name(String),
    /// Its key in the configuration file.
    File,
}

/// The variables that are set, by their names, where an error may be about what they hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Named {
    /// Where the server is. If nobody says so, the default counts.
    pub(crate) address: Option<SaidBy>,
    /// The namespace.
    pub(crate) namespace: Option<SaidBy>,
    /// Who is trusted.
    pub(crate) authorities: Option<String>,
    /// The client certificate.
    pub(crate) client_certificate: Option<String>,
    /// The name of the server.
    pub(crate) server_name: Option<String>,
    /// The time a request may take.
    pub(crate) timeout: Option<String>,
    /// The proxy on the way to the server.
    pub(crate) proxy: Option<String>,
}

/// What happened to a call.
#[derive(Debug, Clone)]
pub(crate) enum ErrorKind {
    /// No connection came about, so the request cannot have reached the server.
    Unreachable(Unreachable),
    /// The connection broke or fell silent; the server may or may not have acted.
    Interrupted(Interrupted),
    /// 403 from Vault, in its words for that.
    Denied {
        /// Vault's own words.
        message: String,
        /// Whether the token is known and a policy forbids it; else the token itself is not known.
        by_policy: bool,
    },
    /// 400 from Vault, in words about the token or the request.
    Refused {
        /// Vault's own words.
        message: String,
    },
    /// 404 from Vault: no such mount, path or namespace.
    NotFound {
        /// Vault's own words.
        message: String,
    },
    /// 400, 403 or another of the 4xx from Vault or somebody who talks like it, in words that nobody knows: neither a
    /// refusal nor an outage.
    Unclear {
        /// The status.
        status: u16,
        /// The words.
        message: String,
    },
    /// An answer of a node that cannot serve now (a standby without a leader, a secondary, a quota, a locked
    /// namespace), whatever its status. Nothing was executed.
    Unserving {
        /// The status.
        status: u16,
        /// Its words.
        message: String,
    },
    /// The token or accessor lives in another namespace than the request.
    Elsewhere {
        /// Vault's own words.
        message: String,
    },
    /// 200, and instead of what was asked for a promise: a control group has to approve first.
    AwaitsApproval,
    /// Not the server answered, but a cache in between, with what it remembers of an earlier request.
    Cached,
    /// 503 from Vault: sealed or not yet initialised.
    Sealed,
    /// 429: a rate limit.
    Throttled {
        /// What came with it.
        said: Said,
    },
    /// 412 or 5xx, from Vault or from something in front of it.
    Server {
        /// The status.
        status: u16,
        /// What came with it.
        said: Said,
    },
    /// Any other status that means no.
    Unexpected {
        /// The status.
        status: u16,
        /// What came with it.
        said: Said,
    },
    /// An answer that Vault would not give: a login page, half a body, the wrong shape.
    NotVault {
        /// The status.
        status: u16,
        /// What was wrong with it.
        oddity: Oddity,
    },
    /// A redirect that must not be, or could not be, followed.
    Redirect {
        /// The status.
        status: u16,
        /// Why not.
        reason: RedirectRefusal,
    },
    /// The answer speaks of another token than the one that was sent, as an agent's does that substitutes
    /// its own.
    AnotherToken,
}

/// Why no connection came about.
#[derive(Debug, Clone)]
pub(crate) enum Unreachable {
    /// The name could not be resolved.
    Name(String),
    /// Nobody listens there.
    Refused,
    /// Nobody answered in time.
    TimedOut,
    /// The proxy could not be reached, or did not let us through.
    Proxy(Box<Unreachable>),
    /// The proxy wants other credentials, or some at all (407). Trying again could lock an account.
    ProxyCredentials {
        /// Whether it speaks SOCKS.
        socks: bool,
    },
    /// A proxy that the settings name and that cannot be used.
    Settings(String),
    /// No TLS connection could be agreed upon; more attempts will not help.
    Tls(TlsTrouble),
    /// Any other reason of the operating system.
    Other(String),
}

/// Why TLS failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TlsTrouble {
    /// Signed by nobody we trust.
    UnknownIssuer,
    /// A self-signed certificate that claims to be an authority, used as the server's own.
    AuthorityAsServer,
    /// The certificate is for other names, or for none.
    WrongName,
    /// Expired, or not valid yet.
    Expired,
    /// The other side does not speak TLS.
    PlainServer,
    /// The certificate is for other purposes than that of a server.
    NotForServers,
    /// It is signed in a way, or with a key, that is not supported.
    Signature,
    /// It is none that can be read, or of version 1.
    Unreadable,
    /// No version or cipher suite that both sides know.
    NothingInCommon,
    /// The server does not take the client certificate, or wants one.
    ClientCertificate,
    /// Anything else, in words.
    Other(String),
}

/// How a call broke off.
#[derive(Debug, Clone)]
pub(crate) enum Interrupted {
    /// The time-out of the request ended.
    TimedOut,
    /// The other side closed or reset the connection.
    Closed,
    /// Its headers were larger than any server's; in bytes, as far as they were read.
    Headers(usize),
    /// TLS ended, and with it the connection.
    Tls(TlsTrouble),
    /// Any other reason.
    Other(String),
}

/// What a status came with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Said {
    /// Vault's `errors`, joined.
    Errors(String),
    /// Something that is not Vault's.
    Foreign(Oddity),
}

/// How an answer differs from Vault's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Oddity {
    /// Not JSON.
    NotJson {
        /// The content type it claimed, if any.
        content_type: String,
        /// How it begins.
        start: String,
    },
    /// JSON without the fields it must have.
    Shape(String),
    /// No body at all.
    Empty,
    /// Longer than any answer to this call.
    TooLong,
}

/// Why a redirect was not followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RedirectRefusal {
    /// The environment forbids it.
    Disabled,
    /// It is the second one.
    Twice,
    /// No usable target, or one of a kind that never is.
    NoTarget,
    /// From https to http.
    Downgrade(String),
    /// To another host without encryption.
    PlainHost(String),
}

impl RedirectRefusal {
    /// The same without `secrets`, should the server have put one there.
    pub(super) fn without(self, secrets: &Secrets) -> Self {
        match self {
            Self::Downgrade(host) => Self::Downgrade(secrets.redact(&host)),
            Self::PlainHost(host) => Self::PlainHost(secrets.redact(&host)),
            other @ (Self::Disabled | Self::Twice | Self::NoTarget) => other,
        }
    }
}

/// How Vault itself said no.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum No {
    /// 403: the token may not, or is none.
    Denied,
    /// 400: not like this.
    Refused,
    /// 404: no such thing.
    NotFound,
}

impl ErrorKind {
    /// Vault's own no, with its words. `None` means that there was no believable answer, which must never
    /// be taken for one.
    pub(crate) fn no(&self) -> Option<(No, &str)> {
        match self {
            Self::Denied { message, .. } => Some((No::Denied, message)),
            Self::Refused { message } => Some((No::Refused, message)),
            Self::NotFound { message } => Some((No::NotFound, message)),
            Self::Unreachable(_)
            | Self::Interrupted(_)
            | Self::Unclear { .. }
            | Self::Unserving { .. }
            | Self::Elsewhere { .. }
            | Self::AwaitsApproval
            | Self::Cached
            | Self::Sealed
            | Self::Throttled { .. }
            | Self::Server { .. }
            | Self::Unexpected { .. }
            | Self::NotVault { .. }
            | Self::Redirect { .. }
            | Self::AnotherToken => None,
        }
    }

    /// Whether nothing was executed for certain, so that even a mint may be repeated.
    pub(crate) fn has_done_nothing(&self) -> bool {
        self.traits().0 == Effect::Nothing
    }

    /// Whether the server may have done what it was asked, although no believable answer says so.
    pub(crate) fn may_have_acted(&self) -> bool {
        self.traits().0 == Effect::Unknown
    }

    /// Whether it may pass by itself, so that trying again makes sense.
    pub(crate) fn is_temporary(&self) -> bool {
        self.traits().1 == Outlook::Passing
    }

    /// All of that, a row for each kind.
    fn traits(&self) -> (Effect, Outlook) {
        use Effect::{Nothing, Unknown};
        use Outlook::{Lasting, Passing};
        match self {
            Self::Unreachable(
                Unreachable::Name(_) | Unreachable::Refused | Unreachable::TimedOut | Unreachable::Other(_),
            )
            | Self::Sealed
            | Self::Throttled { .. }
            | Self::Unserving { .. } => (Nothing, Passing),
            Self::Unreachable(Unreachable::Proxy(reason)) => match **reason {
                Unreachable::Tls(_) => (Nothing, Lasting),
                Unreachable::Name(_)
                | Unreachable::Refused
                | Unreachable::TimedOut
                | Unreachable::Proxy(_)
                | Unreachable::ProxyCredentials { .. }
                | Unreachable::Settings(_)
                | Unreachable::Other(_) => (Nothing, Passing),
            },
            Self::Unreachable(
                Unreachable::Tls(_) | Unreachable::ProxyCredentials { .. } | Unreachable::Settings(_),
            )
            | Self::Elsewhere { .. }
            | Self::Denied { .. }
            | Self::Refused { .. }
            | Self::AnotherToken => (Nothing, Lasting),
            // See Other is what a server says that has done what it was asked.
            Self::Redirect { status, .. } if *status != 303 => (Nothing, Lasting),
            Self::NotFound { message } if words::is_unrouted(message) => (Nothing, Lasting),
            Self::Interrupted(Interrupted::Tls(trouble)) if *trouble != TlsTrouble::ClientCertificate => {
                (Unknown, Passing)
            }
            Self::Interrupted(Interrupted::TimedOut | Interrupted::Closed | Interrupted::Other(_))
            | Self::Server { .. } => (Unknown, Passing),
            Self::Interrupted(Interrupted::Headers(_) | Interrupted::Tls(_))
            | Self::NotVault { .. }
            | Self::NotFound { .. }
            | Self::Redirect { .. }
            | Self::Unexpected { .. }
            | Self::Unclear { .. }
            | Self::AwaitsApproval
            | Self::Cached => (Unknown, Lasting),
        }
    }
}

/// What a request that did not succeed may have done at the server.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Effect {
    /// Nothing: it never got there, or was not executed.
    Nothing,
    /// Nobody knows.
    Unknown,
}

/// How long it is going to be so.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Outlook {
    /// It may be over soon.
    Passing,
    /// Asking again will not help.
    Lasting,
}
