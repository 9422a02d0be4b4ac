//! The secret and what is known about it.
//!
//! A [`Token`] cannot be printed. It leaves this type at two places only: the request header
//! (`vault/http.rs`) and the write of the token file (`local/token_file.rs`). Both call
//! [`Token::expose`], so that a search for that word finds every use.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Deserializer, Serialize};
use zeroize::Zeroizing;

/// A Vault token: opaque, printable ASCII without blanks. Its copies are wiped when dropped.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Token(Zeroizing<String>);

/// A shorter token is an everyday word, such as a development server's `root`; blanking that out would spoil
/// names and messages, and hide nothing.
const SHORTEST_SECRET: usize = 12;

/// Why some text is no token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotAToken {
    /// Nothing but white space.
    Empty,
    /// A blank, a control character or a byte outside ASCII. Such a value can neither be sent in a
    /// header nor have come from Vault.
    Unprintable,
}

impl Token {
    /// Takes the token out of `text`, trimming white space around it as the official command line does.
    pub(crate) fn parse(text: &[u8]) -> Result<Self, NotAToken> {
        let trimmed = text.trim_ascii();
        if trimmed.is_empty() {
            return Err(NotAToken::Empty);
        }
        if !trimmed.iter().all(u8::is_ascii_graphic) {
            return Err(NotAToken::Unprintable);
        }
        let text = str::from_utf8(trimmed).map_err(|_| NotAToken::Unprintable)?;
        Ok(Self(Zeroizing::new(text.to_owned())))
    }

    /// Whether `text` is this token.
    pub(crate) fn is(&self, text: &str) -> bool {
        self.0.as_str() == text
    }

    /// The secret itself.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(redacted)")
    }
}

impl<'de> Deserialize<'de> for Token {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Zeroizing::new(String::deserialize(deserializer)?);
        // The reason is given without the value: an error message is no place for a secret.
        Self::parse(text.as_bytes()).map_err(|_| serde::de::Error::custom("not a token"))
    }
}

/// The tokens of one run: whoever is in between may repeat any of them, and not only the one that was sent last.
#[derive(Debug, Default)]
pub(crate) struct Secrets(Mutex<Vec<Token>>);

impl Secrets {
    /// Takes one in.
    pub(crate) fn add(&self, token: &Token) {
        let mut tokens = self.tokens();
        if !tokens.contains(token) && token.0.len() >= SHORTEST_SECRET {
            tokens.push(token.clone());
        }
    }

    /// `text` with the secrets blanked out, should somebody have put one there: a proxy's error page that
    /// repeats the request, for instance.
    pub(crate) fn redact(&self, text: &str) -> String {
        let blank = |text: String, token: &Token| text.replace(token.0.as_str(), "(token)");
        self.tokens().iter().fold(text.to_owned(), blank)
    }

    /// Whether somebody has put one of them into `text`.
    pub(crate) fn are_in(&self, text: &str) -> bool {
        self.tokens().iter().any(|token| text.contains(token.0.as_str()))
    }

    fn tokens(&self) -> MutexGuard<'_, Vec<Token>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

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
    /// none by its length.
    pub(crate) fn new(text: String) -> Option<Self> {
        Some(Self(text)).filter(Self::is_plausible)
    }

    /// Whether it can be one at all. A listing is not looked through for it on the way in.
    pub(crate) fn is_plausible(&self) -> bool {
        (1..=LONGEST_ACCESSOR).contains(&self.0.len())
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
    /// The host its `meta` names.
    pub(crate) meta_host: Option<String>,
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
            meta_host: self.meta_host.map(text),
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

    /// Whether it ends at all unless it is renewed; a root token need not, and its lookup says 0.
    pub(crate) fn ends(&self) -> bool {
        self.ttl > 0
    }

    /// Whether it was minted by a token role, which may make it periodic without a word of that in a lookup.
    pub(crate) fn is_by_role(&self) -> bool {
        self.path.as_ref().is_some_and(|path| path.starts_with("auth/token/create/"))
    }

    /// Token and identity policies together: what the token may do is the union of both.
    pub(crate) fn all_policies(&self) -> impl Iterator<Item = &str> {
        self.policies.iter().chain(&self.identity_policies).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn secrets(tokens: &[&str]) -> Secrets {
        let secrets = Secrets::default();
        for token in tokens {
            secrets.add(&Token::parse(token.as_bytes()).unwrap());
        }
        secrets
    }

    #[test]
    fn white_space_around_a_token_is_trimmed() {
        assert_eq!(Token::parse(b"  s.abc\r\n").unwrap().expose(), "s.abc");
    }

    #[test]
    fn what_no_server_could_have_issued_is_no_token() {
        assert_eq!(Token::parse(b" \n\t").unwrap_err(), NotAToken::Empty);
        for bytes in [&b"s.a b"[..], b"s.a\nb", b"s.\x07", "s.ä".as_bytes(), b"\xff\xfe", b"a\0b"] {
            assert_eq!(Token::parse(bytes).unwrap_err(), NotAToken::Unprintable, "{bytes:?}");
        }
    }

    #[test]
    fn debug_output_never_holds_the_secret() {
        let token = Token::parse(b"s.very-secret").unwrap();
        assert_eq!(format!("{token:?} {:?}", Some(&token)), "Token(redacted) Some(Token(redacted))");
    }

    #[test]
    fn the_secret_is_blanked_out_of_what_others_say() {
        let secrets = secrets(&["s.very-secret", "hvs.another-one", "root"]);
        assert_eq!(secrets.redact("bad token s.very-secret!"), "bad token (token)!");
        assert_eq!(secrets.redact("hvs.another-one for s.very-secret"), "(token) for (token)");
        assert_eq!(secrets.redact("root or sudo"), "root or sudo");
        assert!(secrets.are_in("xhvs.another-onex") && !secrets.are_in("root"));
    }

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
            meta_host: Some(text()),
            namespace: Some(text()),
            ttl: 5,
            ..TokenInfo::default()
        };
        let info = info.without(&secrets(&["s.very-secret"]));
        assert!(!format!("{info:?}").contains("very-secret"), "{info:?}");
        assert_eq!((info.accessor, info.ttl, info.display_name.as_str()), (None, 5, "a (token) b"));
    }

    #[test]
    fn a_deserialisation_error_never_holds_the_secret() {
        let error = serde_json::from_str::<Token>("\"s.secret with blank\"").unwrap_err();
        assert!(!error.to_string().contains("secret"), "{error}");
    }

    #[test]
    fn accessors_are_shortened_for_people() {
        let accessor = Accessor::new("Fg08GkI6o1AyUJjoVLGBhFQd".to_owned()).unwrap();
        assert_eq!(accessor.short(), "Fg08GkI6…");
        assert_eq!(Accessor::new("short".to_owned()).unwrap().short(), "short");
        assert_eq!(Accessor::new(String::new()), None);
        assert_eq!(Accessor::new("a".repeat(LONGEST_ACCESSOR + 1)), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_token_or_a_refusal(bytes in crate::hostile::bytes(&[" hvs.CAE-01_abc\n", "s.short"])) {
            if let Ok(token) = Token::parse(&bytes) {
                prop_assert!(token.expose().bytes().all(|b| b.is_ascii_graphic()));
            }
        }
    }
}
