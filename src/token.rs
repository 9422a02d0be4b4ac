//! What is known about a token: its accessor, and what a lookup says of it.

use serde::{Deserialize, Serialize};

use crate::secret::{Secrets, without_tokens};

/// The handle by which a token can be looked up and revoked without knowing it. Not secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Accessor(String);

/// Longer ones than any server's, which have some 30 characters. They are remembered, so they have to be bounded.
const LONGEST_ACCESSOR: usize = 256;

/// How much of an accessor is shown to people: enough to find it again, short enough to read.
const SHORT_ACCESSOR: usize = 8;

impl Accessor {
    /// An accessor as the server spells it; `None` for the empty one that batch tokens have, and for what is
    /// none by its length, or looks like a token.
    pub(crate) fn new(text: String) -> Option<Self> {
        Some(Self(text)).filter(Self::is_plausible)
    }

    /// Whether it can be one at all. A listing is not looked through for it on the way in.
    pub(crate) fn is_plausible(&self) -> bool {
        (1..=LONGEST_ACCESSOR).contains(&self.0.len()) && without_tokens(&self.0) == self.0
    }

    /// The whole accessor, for the server.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// The first characters, for lines meant for people.
    pub(crate) fn short(&self) -> String {
        if self.0.chars().count() <= SHORT_ACCESSOR {
            return self.0.clone();
        }
        self.0.chars().take(SHORT_ACCESSOR).chain(['…']).collect()
    }
}

/// What a lookup says about a token. Times are whole seconds, lengths and not points in time.
///
/// Every field but the first four may be left out by some server or agent; `None` then means "not said",
/// which contradicts nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct TokenInfo {
    /// Absent for batch tokens.
    pub(crate) accessor: Option<Accessor>,
    /// What the login method or the mint called it; `token-NAME` for a minted one.
    pub(crate) display_name: String,
    /// Policies of the token itself.
    pub(crate) policies: Vec<String>,
    /// Seconds left; 0 for a root token that never ends.
    pub(crate) ttl: u64,
    /// Policies that come from the entity behind a login.
    pub(crate) identity_policies: Vec<String>,
    /// Seconds; 0 when the token is not periodic.
    pub(crate) period: Option<u64>,
    /// Seconds; 0 when there is no hard end.
    pub(crate) explicit_max_ttl: u64,
    /// Seconds since 1970, the server's clock.
    pub(crate) creation_time: Option<u64>,
    /// Seconds it had when it was made.
    pub(crate) creation_ttl: Option<u64>,
    /// Whether Vault would renew it.
    pub(crate) renewable: Option<bool>,
    /// Whether it outlives the token that minted it.
    pub(crate) orphan: Option<bool>,
    /// `service` or `batch`.
    pub(crate) kind: Option<String>,
    /// Where it was made, for instance `auth/token/create` or `auth/oidc/oidc/callback`.
    pub(crate) path: Option<String>,
    /// The machine that its `meta` names, by an id.
    pub(crate) meta_machine: Option<String>,
    /// The host its `meta` names.
    pub(crate) meta_host: Option<String>,
    /// The user its `meta` names.
    pub(crate) meta_user: Option<String>,
    /// The token role that minted it.
    pub(crate) role: Option<String>,
    /// Whether the lookup names a time at which it ends.
    pub(crate) has_expiry: bool,
    /// The namespace it lives in, without slashes around it; absent for the root namespace.
    pub(crate) namespace: Option<String>,
    /// Uses left; 0 for a token without that limit, below 0 once the last is spent.
    ///
    /// Source: OpenBao and Vault, `token_store.go`, `UseToken` and `tokenRevocationPending`.
    pub(crate) num_uses: i64,
}

impl TokenInfo {
    /// The same without `secrets`, should the server repeat one somewhere. An accessor that holds one is none.
    pub(crate) fn without(self, secrets: &Secrets) -> Self {
        let text = |text: String| secrets.redact(&text);
        let list = |list: Vec<String>| list.into_iter().map(text).collect();
        Self {
            accessor: self.accessor.filter(|accessor| !secrets.are_in(accessor.as_str())),
            display_name: text(self.display_name),
            policies: list(self.policies),
            identity_policies: list(self.identity_policies),
            kind: self.kind.map(text),
            path: self.path.map(text),
            meta_machine: self.meta_machine.map(text),
            meta_host: self.meta_host.map(text),
            meta_user: self.meta_user.map(text),
            role: self.role.map(text),
            has_expiry: self.has_expiry,
            namespace: self.namespace.map(text),
            ttl: self.ttl,
            period: self.period,
            explicit_max_ttl: self.explicit_max_ttl,
            creation_time: self.creation_time,
            creation_ttl: self.creation_ttl,
            renewable: self.renewable,
            orphan: self.orphan,
            num_uses: self.num_uses,
        }
    }

    /// Whether it ends at all unless it is renewed. A root token need not, and its lookup says 0; so does that of a
    /// token in the last half second of its life, which was given one when it was made.
    pub(crate) fn ends(&self) -> bool {
        self.ttl > 0 || self.has_expiry || self.creation_ttl.is_some_and(|ttl| ttl > 0)
    }

    /// Whether its time is up, although the server still knows it.
    pub(crate) fn has_ended(&self) -> bool {
        self.ends() && self.ttl == 0
    }

    /// Whether it was minted by a token role, which may make it periodic without a word of that in a lookup.
    pub(crate) fn is_by_role(&self) -> bool {
        self.role.as_ref().is_some_and(|role| !role.is_empty())
            || self.path.as_ref().is_some_and(|path| path.starts_with("auth/token/create/"))
    }

    /// Token and identity policies together: what the token may do is the union of both.
    pub(crate) fn all_policies(&self) -> impl Iterator<Item = &str> {
        self.policies.iter().chain(&self.identity_policies).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Token;

    #[test]
    fn a_lookup_that_repeats_the_secret_loses_it() {
        let text = || "a s.very-secret b".to_owned();
        let info = TokenInfo {
            accessor: Accessor::new(text()),
            display_name: text(),
            policies: vec![text()],
            identity_policies: vec![text()],
            kind: Some(text()),
            path: Some(text()),
            meta_machine: Some(text()),
            meta_host: Some(text()),
            meta_user: Some(text()),
            role: Some(text()),
            namespace: Some(text()),
            ttl: 5,
            ..TokenInfo::default()
        };
        let secrets = Secrets::default();
        secrets.add(&Token::parse(b"s.very-secret").unwrap());
        let info = info.without(&secrets);
        assert!(!format!("{info:?}").contains("very-secret"), "{info:?}");
        assert_eq!((info.accessor, info.ttl, info.display_name.as_str()), (None, 5, "a (token) b"));
    }

    #[test]
    fn accessors_are_shortened_for_people() {
        let accessor = Accessor::new("Fg08GkI6o1AyUJjoVLGBhFQd".to_owned()).unwrap();
        assert_eq!(accessor.short(), "Fg08GkI6…");
        assert_eq!(Accessor::new("short".to_owned()).unwrap().short(), "short");
        assert_eq!(Accessor::new(String::new()), None);
        assert_eq!(Accessor::new("a".repeat(LONGEST_ACCESSOR + 1)), None);
    }
}
