//! What to do about it, where a line does not say.

use std::io;

use super::failures::MAY_RENEW;
use super::names::{Names, for_shell};
use crate::facts::failure::Failure;
use crate::facts::forecast::Forecast;
use crate::facts::outcome::Outcome;
use crate::facts::warning::Warning;
use crate::identity::Contradiction;
use crate::local::token_file::{ReadError, ReplaceStep};
use crate::vault::{Call, Error, ErrorKind, Interrupted, Named, Oddity, TlsTrouble, Unreachable};

/// What to do about a token that ends before the next run.
pub(super) const REACH_NEXT_RUN: &str =
    "raise max_lease_ttl on the server (sys/auth/token/tune), or run more often (OnCalendar= of the timer)";

/// What to do about a failure, where its own line does not say.
pub(super) fn failure_remedy(failure: &Failure, names: &Names<'_>) -> Option<String> {
    match failure {
        Failure::TokenFile(ReadError::Missing | ReadError::Empty) => {
            Some(format!("log in: {}", names.recovery_command()))
        }
        Failure::TokenFile(ReadError::Unprintable | ReadError::NotAToken(_) | ReadError::TooLarge) => {
            Some(format!("find out what wrote it, then: {}", names.recovery_command()))
        }
        Failure::TokenFile(ReadError::Io(error)) if error.kind() == io::ErrorKind::PermissionDenied => {
            let look = || format!("make it readable for you: ls -ld {}", for_shell(names.token_file));
            Some(names.take_back(names.token_file).unwrap_or_else(look))
        }
        Failure::TokenFile(ReadError::Owner(_)) if names.take_back(names.token_file).is_some() => {
            names.take_back(names.token_file)
        }
        Failure::TokenFile(ReadError::NotAFile | ReadError::Owner(_) | ReadError::Io(_)) => {
            Some(match names.token_file_said_by {
                Some(said_by) => format!("name the right file: {}", names.place("token_file", said_by)),
                None => {
                    "name the right file with --token-file, VAULT_TOKEN_PATH or the key token_file".to_owned()
                }
            })
        }
        Failure::LockBusy => Some("look for one that hangs: pgrep -af vault-token-renew".to_owned()),
        Failure::Vault(error) | Failure::Unchecked(error) => error_remedy(error, names),
        Failure::Contradiction(Contradiction::NoSuchPolicy(_)) => Some(
            "correct `policies` and `required_policy` in the settings, or have the policy \
                  written"
                .to_owned(),
        ),
        Failure::Contradiction(Contradiction::ShortLife { .. }) => Some(
            "raise max_lease_ttl on the server (sys/auth/token/tune), or `period` in the \
                  settings"
                .to_owned(),
        ),
        Failure::Contradiction(_) => {
            Some("compare display_name, policies and period with what the server makes of them".to_owned())
        }
        Failure::Replace(error) => Some(match error.step {
            ReplaceStep::Resolve => {
                "repair the symbolic link, or name another file with --token-file".to_owned()
            }
            ReplaceStep::Stage => {
                "make the directory of the token file writable, or free some space on it".to_owned()
            }
            ReplaceStep::Rename => {
                "a file that is itself a mount point cannot be replaced; mount its directory instead"
                    .to_owned()
            }
        }),
        Failure::NotOurs { .. } => Some(format!("heal the file first: {}", names.command(""))),
        Failure::Unsettled(_) => Some("repair the file system, then run it again".to_owned()),
        Failure::Internal { .. } => {
            Some("report it, with the output of vault-token-renew --version".to_owned())
        }
        Failure::FileKeepsChanging => Some("find what writes the token file again and again".to_owned()),
        Failure::MayNotLookUp { .. } => Some(
            "the token's policies must allow read on auth/token/lookup-self, as `default` \
                  does"
                .to_owned(),
        ),
        Failure::Wrapping => Some(format!(
            "have its content wrapped again, for `vault unwrap`; then: {}",
            names.recovery_command()
        )),
        Failure::EndsBeforeNextRun { .. } => Some(REACH_NEXT_RUN.to_owned()),
        Failure::Stopped { .. }
        | Failure::Dead { .. }
        | Failure::Ended
        | Failure::Spent
        | Failure::Dying { .. } => None,
    }
}

/// What to do where nobody has said where the server is.
pub(super) fn say_where(names: &Names<'_>) -> String {
    format!("write the address of the server to {}: address = \"https://…\"", names.config())
}

/// What to do about a call that did not succeed. What is set already is to be corrected where it is set.
pub(super) fn error_remedy(error: &Error, names: &Names<'_>) -> Option<String> {
    if error.redirected_by.is_some() && error.kind.is_temporary() {
        return Some(
            "check the server's api_addr: it names an address that cannot be reached from here".to_owned(),
        );
    }
    let address = error.named.address.as_ref().map(|said_by| names.place("address", said_by));
    let namespace = error.named.namespace.as_ref().map(|said_by| names.place("namespace", said_by));
    let about_address =
        |advice: &dyn Fn(&str) -> String| Some(address.as_deref().map_or_else(|| say_where(names), advice));
    let text = match &error.kind {
        ErrorKind::Unreachable(
            Unreachable::Refused | Unreachable::TimedOut | Unreachable::Name(_) | Unreachable::Other(_),
        ) => {
            return about_address(&|place| format!("check that the server is up and that {place} is right"));
        }
        ErrorKind::Unreachable(Unreachable::ProxyCredentials { .. }) => {
            return Some(match &error.named.proxy {
                Some(name) => format!("put the right user name and password into {name}"),
                None => "put user name and password into the address of the proxy".to_owned(),
            });
        }
        ErrorKind::Unreachable(Unreachable::Proxy(_) | Unreachable::Settings(_)) => {
            return Some(match error.named.proxy.as_deref() {
                Some(name)
                    if name.ends_with("_ADDR") || name.contains("T_HTTP") || name.contains("O_HTTP") =>
                {
                    format!("check the proxy that {name} names")
                }
                Some(name) => {
                    format!("check the proxy that {name} names, or except the server from it in NO_PROXY")
                }
                None => "check the proxy".to_owned(),
            });
        }
        ErrorKind::Unreachable(Unreachable::Tls(trouble))
        | ErrorKind::Interrupted(Interrupted::Tls(trouble)) => {
            return Some(tls_remedy(trouble, &error.named));
        }
        ErrorKind::Interrupted(Interrupted::TimedOut) => {
            return Some(match &error.named.timeout {
                Some(name) => format!("raise {name} to wait longer: the server is slow or hangs"),
                None => "set VAULT_CLIENT_TIMEOUT to wait longer: the server is slow or hangs".to_owned(),
            });
        }
        ErrorKind::Interrupted(Interrupted::Headers(_)) => {
            "find out what adds headers to the server's answers: a gateway, a balancer, a login page"
        }
        ErrorKind::Interrupted(_) => {
            "check that this is the port of a Vault server; if it uses TLS, write https://"
        }
        ErrorKind::Unclear { .. } => "find out what answers there: the server, or something in front of it",
        ErrorKind::Unserving { .. } => "use the address of a node that serves, or try again later",
        ErrorKind::Elsewhere { .. } => {
            return Some(match namespace {
                Some(place) => format!("check {place}: it is not the namespace of the token"),
                None => "name the namespace of the token (--namespace, VAULT_NAMESPACE)".to_owned(),
            });
        }
        ErrorKind::AwaitsApproval => {
            "have the request approved, or use a token that needs no approval for it"
        }
        ErrorKind::Cached => {
            return about_address(&|place| {
                format!("set {place} to the server itself, or switch off `cache` in the agent or proxy")
            });
        }
        ErrorKind::Sealed => "unseal the server; the token file is as it was",
        // Go servers answer plain http on a TLS port with a sentence that says so.
        ErrorKind::NotVault { oddity: Oddity::NotJson { start, .. }, .. }
            if start.contains("HTTPS server") =>
        {
            "this port speaks TLS; its address begins with https://"
        }
        ErrorKind::NotVault { .. } | ErrorKind::Redirect { .. } | ErrorKind::Unexpected { .. } => {
            return about_address(&|place| {
                format!(
                    "check that {place} names a Vault server, without /v1 and without a login page in front"
                )
            });
        }
        ErrorKind::NotFound { .. } => {
            let namespace = namespace.as_deref().unwrap_or("whether it needs a namespace (--namespace)");
            return about_address(&|place| format!("check {place} (without /v1), and {namespace}"));
        }
        ErrorKind::AnotherToken => {
            return about_address(&|place| {
                format!("an agent substitutes its own token; set {place} to the server itself")
            });
        }
        ErrorKind::Denied { .. } => match error.call {
            Call::RenewSelf => MAY_RENEW,
            Call::LookupSelf
            | Call::Create
            | Call::CreateOrphan
            | Call::Accessors
            | Call::LookupAccessor
            | Call::RevokeAccessor
            | Call::RevokeSelf
            | Call::Capabilities
            | Call::Policy => return None,
            Call::Mount | Call::Secret => {
                "the token needs a policy that lets it read the secret; docs/follow.md shows one"
            }
        },
        ErrorKind::Refused { .. } => return None,
        ErrorKind::Throttled { .. } => "try again later; --retry-for sets how long to wait for the server",
        ErrorKind::Server { .. } => "check the server's log, or try again later",
    };
    Some(text.to_owned())
}

/// What to do about TLS, where some variables are set already.
fn tls_remedy(trouble: &TlsTrouble, named: &Named) -> String {
    let text = match (trouble, named) {
        (TlsTrouble::UnknownIssuer, Named { authorities: Some(name), .. }) => {
            return format!("put the certificate of the authority that signed it into what {name} names");
        }
        (TlsTrouble::UnknownIssuer, _) => "name the authority's certificate in VAULT_CACERT",
        (TlsTrouble::AuthorityAsServer, _) => {
            "give the server a certificate of its own (CA:FALSE), signed by that authority"
        }
        (TlsTrouble::WrongName, Named { server_name: Some(name), .. }) => {
            return format!("set {name} to a name the certificate has; names count only as subjectAltName");
        }
        (TlsTrouble::WrongName, _) => {
            "use a name the certificate has, or set VAULT_TLS_SERVER_NAME; names count only as subjectAltName"
        }
        (TlsTrouble::Expired, _) => "renew the server's certificate, and check both clocks",
        (TlsTrouble::PlainServer, _) => "if the server has no TLS, its address begins with http://",
        (TlsTrouble::NotForServers | TlsTrouble::Signature | TlsTrouble::Unreadable, _) => {
            "give the server another certificate; docs/configuration.md says which connect"
        }
        (TlsTrouble::NothingInCommon, Named { client_certificate: None, .. }) => {
            "set VAULT_CLIENT_CERT and VAULT_CLIENT_KEY if the server wants them; else let it speak TLS 1.2 or \
             1.3 with AES-GCM or ChaCha20"
        }
        (TlsTrouble::NothingInCommon, _) => "let the server speak TLS 1.2 or 1.3 with AES-GCM or ChaCha20",
        (TlsTrouble::ClientCertificate, Named { client_certificate: Some(name), .. }) => {
            return format!("check that the server knows the authority of the certificate in {name}");
        }
        (TlsTrouble::ClientCertificate, _) => "set VAULT_CLIENT_CERT and VAULT_CLIENT_KEY",
        (TlsTrouble::Other(_), _) => "check the TLS settings of the server; its log may say more",
    };
    text.to_owned()
}

/// What to do about a warning, where it does not say: somebody else owns what this program has to write.
pub(super) fn warning_remedy(warning: &Warning, names: &Names<'_>) -> Option<String> {
    if let Warning::NoState { path, .. }
    | Warning::StateSpoilt { path, .. }
    | Warning::StateUnsaved { path, .. }
    | Warning::LogUnwritable { path, .. }
    | Warning::MetricsUnwritable { path, .. } = warning
    {
        return names.take_back(path);
    }
    None
}

/// What to do about it, where the line does not say.
pub(super) fn outcome_remedy(outcome: &Outcome, names: &Names<'_>, stays: bool) -> Option<String> {
    match outcome {
        // A process that stays comes as often as it may.
        Outcome::Failed(Failure::EndsBeforeNextRun { .. }) if stays => {
            Some("raise max_lease_ttl on the server (sys/auth/token/tune), or the period".to_owned())
        }
        Outcome::Failed(failure) => failure_remedy(failure, names),
        Outcome::Renewed { .. } | Outcome::Healed { .. } | Outcome::Swept(_) | Outcome::Drift { .. } => None,
    }
}

/// What to do about it, where the lines do not say.
pub(super) fn forecast_remedy(forecast: &Forecast, names: &Names<'_>) -> Option<String> {
    match forecast {
        Forecast::Failed(failure) => failure_remedy(failure, names),
        Forecast::NotRenewed { .. } => Some(MAY_RENEW.to_owned()),
        Forecast::Renew { shortfall: Some(_), .. } | Forecast::Heal { shortfall: Some(_), .. } => {
            Some(REACH_NEXT_RUN.to_owned())
        }
        Forecast::Renew { shortfall: None, .. }
        | Forecast::Heal { shortfall: None, .. }
        | Forecast::Worthless { .. }
        | Forecast::Denied { .. }
        | Forecast::Try { .. }
        | Forecast::Sweep { .. } => None,
    }
}
