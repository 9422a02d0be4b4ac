//! The words by which Vault and OpenBao say no, and those by which a node says that it cannot serve.
//!
//! A status alone is no verdict: a gateway, a quota or a secondary uses the same numbers. Only words that are about
//! the token or the request are believed; words that nobody here knows decide nothing.
//!
//! Sources: OpenBao and Vault, `token_store.go`, `expiration.go`, `request_handling.go`, `acl.go`, `http/handler.go`,
//! `consts/error.go`; and answers measured.

use super::call::Call;

/// Of a node that cannot serve now, or may not, in an answer that blames the request (4xx): nothing was executed.
const UNSERVING: [&str; 16] = [
    "replication",
    "dr secondary",
    "secondary cluster",
    "standby",
    "not active",
    "not the active",
    "no active",
    "active cluster node not found",
    "no leader",
    "read-only",
    "readonly",
    "quota exceeded",
    "too many requests",
    "has been locked",
    "recovery mode",
    "shutting down",
];

/// Of a node that has no leader to pass a request on to, in an answer that blames the server (5xx). Other words there
/// may speak of what happened to a request that was executed.
const LEADERLESS: [&str; 2] = ["node not active", "active cluster node not found"];

/// Of something in front of the server. It may have passed the request on.
const IN_BETWEEN: [&str; 7] =
    ["upstream", "draining", "rate limit", "gateway", "firewall", "try later", "try again later"];

/// Of a token that may not, or is not known. The last is what the question for the mount of a secret is answered, also
/// where there is no such mount.
const DENIAL: [&str; 4] =
    ["permission denied", "invalid token", "bad token", "preflight capability check returned 403"];

/// Of a policy that is a program, and forbids something.
const FORBIDDEN: &str = "resulted in denial";

/// Of a token that will not be renewed.
const UNRENEWABLE: [&str; 12] = [
    "not renewable",
    "non-renewable",
    "cannot be renewed",
    "cannot renew",
    "failed to renew",
    "not renewing",
    "invalid lease",
    "lease not found",
    "lease expired",
    "lease is expired",
    "unknown role",
    "role not found",
];

/// Of a token that may not mint what was ordered.
const UNMINTABLE: [&str; 19] = [
    "no parent found",
    "parent token",
    "batch token",
    "restricted use token",
    "root or sudo privileges required",
    "root tokens may not",
    "root token",
    "must be subset of",
    "at least one policy",
    "cannot assign policy",
    "unknown role",
    "role not found",
    "not allowed by role",
    "token_type",
    "token type",
    "entity_alias",
    "entity alias",
    "explicit_max_ttl",
    "explicit max ttl",
];

/// Of an accessor or a token that is not there.
const ABSENT: [&str; 4] = ["accessor", "token not found", "invalid token", "bad token"];

/// Of a path to which nobody listens: nothing was executed.
const UNROUTED: [&str; 4] =
    ["no handler for route", "unsupported path", "route entry not found", "namespace not found"];

/// Whether a node says that it cannot serve now. What a policy forbids is not said by one, whatever it is called.
pub(super) fn is_unserving(status: u16, message: &str) -> bool {
    let words: &[&str] = if status < 500 { &UNSERVING } else { &LEADERLESS };
    says_one_of(&unquoted(message), words) && !says_one_of(message, &[FORBIDDEN])
}

/// Whether a node says that it is sealed.
pub(super) fn is_sealed(message: &str) -> bool {
    message.to_lowercase().split([',', ';', ':']).any(|part| part.trim().ends_with(" is sealed"))
}

/// Whether a 403 is about the token.
pub(super) fn is_denial(message: &str) -> bool {
    says_one_of(message, &[FORBIDDEN]) || (says_one_of(message, &DENIAL) && !is_in_between(message))
}

/// Whether something in front of the server speaks, which is no word about the token.
fn is_in_between(message: &str) -> bool {
    says_one_of(&unquoted(message), &IN_BETWEEN)
}

/// Whether a 400 is about the token, or what was asked of it by this call.
pub(super) fn is_refusal(call: Call, message: &str) -> bool {
    let words: &[&str] = match call {
        Call::RenewSelf => &UNRENEWABLE,
        Call::Create | Call::CreateOrphan => &UNMINTABLE,
        Call::LookupAccessor | Call::RevokeAccessor => &ABSENT,
        Call::LookupSelf
        | Call::Accessors
        | Call::RevokeSelf
        | Call::Capabilities
        | Call::Policy
        | Call::Mount
        | Call::Secret => &[],
    };
    is_denial(message) || (says_one_of(message, words) && !is_in_between(message))
}

/// Whether a 404 without a word, or in these, is about the accessor that was asked for.
pub(super) fn is_absent(message: &str) -> bool {
    message.is_empty() || says_one_of(message, &ABSENT)
}

/// Whether a 404 says that nobody was there to execute anything.
pub(super) fn is_unrouted(message: &str) -> bool {
    says_one_of(message, &UNROUTED)
}

fn says_one_of(message: &str, words: &[&str]) -> bool {
    let message = message.to_lowercase();
    words.iter().any(|words| message.contains(words))
}

/// What is said without what is quoted, which may be any name.
fn unquoted(message: &str) -> String {
    message.split('"').step_by(2).collect::<Vec<_>>().join(" ")
}
