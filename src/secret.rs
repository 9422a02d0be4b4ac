//! The secret, which cannot be printed.
//!
//! A [`Token`] leaves this type at two places only: the request header (`vault/http.rs`) and the write of the
//! token file (`local/token_file.rs`). Both call [`Token::expose`], so that a search for that word finds every
//! use.

use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use serde::{Deserialize, Deserializer};
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

    /// By what it is recognised when it is seen again.
    pub(crate) fn fingerprint(&self) -> Fingerprint {
        static KEY: OnceLock<RandomState> = OnceLock::new();
        Fingerprint(KEY.get_or_init(RandomState::new).hash_one(self.0.as_bytes()))
    }

    /// The secret itself.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

/// The value that `follow` keeps a file equal to: any bytes. Its copies are wiped when dropped.
///
/// It leaves this type at two places only: the write of its file and the key of a signature check, both in `follow/`.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Followed(Zeroizing<Vec<u8>>);

impl Followed {
    /// Takes a copy.
    pub(crate) fn new(value: &[u8]) -> Self {
        Self(Zeroizing::new(value.to_owned()))
    }

    /// Whether it is these bytes.
    pub(crate) fn is(&self, bytes: &[u8]) -> bool {
        self.0.as_slice() == bytes
    }

    /// Whether it is the same as the other but for white space around either.
    pub(crate) fn is_trimmed(&self, other: &Self) -> bool {
        self.0.trim_ascii() == other.0.trim_ascii()
    }

    /// The secret itself.
    pub(crate) fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Followed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Followed(redacted)")
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

/// Tells a token from another without keeping either: a hash whose key is drawn anew by each process, so that it is
/// worth nothing anywhere else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fingerprint(u64);

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

/// What the tokens of Vault and OpenBao begin with: those of Vault since 1.10, which nothing else has, and the others,
/// with which the name of a host may go on.
const PREFIXES: [(&str, bool); 6] =
    [("hvs.", true), ("hvb.", true), ("hvr.", true), ("s.", false), ("b.", false), ("r.", false)];

/// A token has at least this many characters after its prefix.
const SHORTEST_TOKEN: usize = 20;

/// Text in which nothing is left that looks like a token, wherever somebody put one by mistake: as an address, a path,
/// a period, a verb. The last door of every line.
pub(crate) fn without_tokens(text: &str) -> String {
    let in_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let mut safe = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(in_word) {
        let (before, after) = rest.split_at(start);
        let end = after.find(|c| !in_word(c)).unwrap_or(after.len());
        let (word, after) = after.split_at(end);
        safe.push_str(before);
        // What is escaped ends in a letter or digits, which belong to no word: `\n`, `\x1b`, `\u001b`.
        let escapes: &[usize] = if before.ends_with('\\') { &[0, 1, 3, 5] } else { &[0] };
        let has_token = escapes.iter().any(|&length| word.get(length..).is_some_and(looks_like_a_token));
        safe.push_str(if has_token { "(token)" } else { word });
        rest = after;
    }
    safe.push_str(rest);
    safe
}

fn looks_like_a_token(word: &str) -> bool {
    let random = |rest: &str| {
        let length = rest.find('.').unwrap_or(rest.len());
        let part = rest.get(..length).unwrap_or_default();
        length >= SHORTEST_TOKEN
            && part.bytes().any(|byte| byte.is_ascii_digit() || byte.is_ascii_uppercase())
    };
    // Something may stand before it, as in `VAULT_TOKEN-hvs.…`; a name of a host has no such part in it.
    PREFIXES.iter().any(|(prefix, is_unmistakable)| {
        word.match_indices(prefix).any(|(at, _)| {
            let begins = at == 0 || !word.as_bytes().get(at - 1).is_some_and(u8::is_ascii_alphanumeric);
            (begins || *is_unmistakable) && word.get(at + prefix.len()..).is_some_and(random)
        })
    })
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
    fn what_looks_like_a_token_is_not_repeated() {
        // As long as real ones, and put together here: what looks like a credential in a source has to be looked into.
        let random = "Aa0".repeat(8);
        for token in [
            format!("hvs.{random}{random}"),
            format!("s.{random}"),
            format!("s.{random}.Aa0Aa0"),
            format!("hvb.{random}"),
            "s.in-the-file-0123456789".to_owned(),
        ] {
            for (front, back) in [
                ("", ""),
                ("https://", ":8200/v1"),
                ("\"", "\""),
                ("VAULT_TOKEN=", "\n"),
                ("a-", ""),
                ("\\n", ""),
                ("\\x1b", ""),
                ("x \\u001b", " y"),
            ] {
                let text = format!("{front}{token}{back}");
                let safe = without_tokens(&text);
                assert!(!safe.contains(&token) && safe.contains("(token)"), "{text} -> {safe}");
            }
        }
        for text in [
            "OK renewed (dn=token-devvm-wizard ttl=2764800s)",
            "https://vault.example.org:8200/v1/auth/token/lookup-self",
            "https://s.example-of-a-long-name.org",
            "vault-token-renew.service",
            "~/.config/systemd/user/vault-token-renew.timer",
            "Fg08GkI6o1AyUJjoVLGBhFQd",
            "",
        ] {
            assert_eq!(without_tokens(text), text);
        }
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
    fn a_deserialisation_error_never_holds_the_secret() {
        let error = serde_json::from_str::<Token>("\"s.secret with blank\"").unwrap_err();
        assert!(!error.to_string().contains("secret"), "{error}");
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
