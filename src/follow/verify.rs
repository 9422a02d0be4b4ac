//! Whether a signature is good. Pure: keys, what was signed and the time in, a judgement out.
//!
//! `X-Agent-Signature` is the HMAC-SHA256 of the raw body, keyed by the value; in base64 it has 44 characters, in
//! hexadecimal 64. 64 hexadecimal digits are base64, too, so the length decides. `X-Timestamp` is in seconds since
//! 1970.
//! Whoever asks learns whether it is good, and no more: all work is done whatever is wrong, and comparing takes the
//!same time wherever the first difference is.

use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::secret::Followed;

/// The length of the signature itself, in bytes.
const LENGTH: usize = 32;

/// What was signed, as it came.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Signed<'a> {
    /// The raw body.
    pub(crate) body: &'a [u8],
    /// `X-Timestamp`.
    pub(crate) timestamp: Option<&'a [u8]>,
    /// `X-Agent-Signature`.
    pub(crate) signature: Option<&'a [u8]>,
}

/// What is to be said of it. Only the first is told to whoever asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Judgement {
    /// It is good.
    Ok,
    /// It was made with another key, or for another body.
    Bad,
    /// It is good, and too old, or of the future.
    Skew,
    /// It is no signature, or there is no time.
    Malformed,
}

impl Judgement {
    /// All of them.
    pub(crate) const ALL: [Self; 4] = [Self::Ok, Self::Bad, Self::Skew, Self::Malformed];

    /// Its stable name.
    pub(crate) fn id(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Bad => "bad",
            Self::Skew => "skew",
            Self::Malformed => "malformed",
        }
    }
}

/// Judges a signature at `now` (seconds since 1970) by the values that are good: all of them are tried, whichever fits.
pub(crate) fn judge<'a>(
    signed: Signed<'_>,
    values: impl Iterator<Item = &'a Followed>,
    now: u64,
    max_skew: Duration,
) -> Judgement {
    let signature = signed.signature.and_then(decoded);
    let time = signed.timestamp.and_then(|time| str::from_utf8(time).ok()?.trim().parse::<u64>().ok());
    let is_well_formed = signature.is_some() && time.is_some();
    let signature = signature.unwrap_or([0; LENGTH]);
    let mut is_good = false;
    for value in values {
        // The only place where the value is a key.
        let key = hmac::Key::new(hmac::HMAC_SHA256, value.expose());
        is_good |= hmac::verify(&key, signed.body, &signature).is_ok();
    }
    let is_timely = time.is_some_and(|time| time.abs_diff(now) <= max_skew.as_secs());
    match (is_well_formed, is_good, is_timely) {
        (false, _, _) => Judgement::Malformed,
        (true, false, _) => Judgement::Bad,
        (true, true, false) => Judgement::Skew,
        (true, true, true) => Judgement::Ok,
    }
}

fn decoded(text: &[u8]) -> Option<[u8; LENGTH]> {
    let bytes = match text.len() {
        44 => STANDARD.decode(text).ok()?,
        64 => {
            let digits: Option<Vec<u8>> = text.iter().map(|digit| digit_of(*digit)).collect();
            digits?.chunks(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit)).collect()
        }
        _ => return None,
    };
    bytes.try_into().ok()
}

fn digit_of(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BODY: &[u8] = b"{\"command\":\"restart\"}";

    fn signature(key: &[u8], body: &[u8]) -> [u8; LENGTH] {
        hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), body).as_ref().try_into().unwrap()
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat()
    }

    fn judged(timestamp: Option<&str>, signature: Option<&str>) -> Judgement {
        let signed = Signed {
            body: BODY,
            timestamp: timestamp.map(str::as_bytes),
            signature: signature.map(str::as_bytes),
        };
        let (current, before) = (Followed::new(b"current"), Followed::new(b"before"));
        judge(signed, [&current, &before].into_iter(), 1_000, Duration::from_secs(120))
    }

    #[test]
    fn a_known_answer_is_met() {
        // RFC 4231, test case 2.
        let expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        let body = b"what do ya want for nothing?";
        let signed = Signed { body, timestamp: Some(b"5"), signature: Some(expected.as_bytes()) };
        let key = Followed::new(b"Jefe");
        assert_eq!(judge(signed, [&key].into_iter(), 5, Duration::ZERO), Judgement::Ok);
    }

    #[test]
    fn both_ways_to_write_a_signature_and_both_values_are_good() {
        for key in [&b"current"[..], b"before"] {
            let bytes = signature(key, BODY);
            for text in [STANDARD.encode(bytes), hex(&bytes), hex(&bytes).to_uppercase()] {
                assert_eq!(judged(Some("1000"), Some(&text)), Judgement::Ok, "{text}");
            }
        }
    }

    #[test]
    fn what_is_wrong_with_a_signature_is_known_here_and_told_to_nobody() {
        let good = hex(&signature(b"current", BODY));
        let of_none = hex(&signature(b"", BODY));
        for (timestamp, signature, expected) in [
            (Some("880"), Some(good.as_str()), Judgement::Ok),
            (Some("1120"), Some(good.as_str()), Judgement::Ok),
            (Some("879"), Some(good.as_str()), Judgement::Skew),
            (Some("1121"), Some(good.as_str()), Judgement::Skew),
            (Some("1000"), Some(of_none.as_str()), Judgement::Bad),
            (Some("1000"), Some(&"0".repeat(64)), Judgement::Bad),
            (Some("1000"), Some(&"x".repeat(64)), Judgement::Malformed),
            (Some("1000"), Some("short"), Judgement::Malformed),
            (Some("1000"), None, Judgement::Malformed),
            (Some("x"), Some(good.as_str()), Judgement::Malformed),
            (Some("-5"), Some(good.as_str()), Judgement::Malformed),
            (None, Some(good.as_str()), Judgement::Malformed),
        ] {
            assert_eq!(judged(timestamp, signature), expected, "{timestamp:?} {signature:?}");
        }
        let signed = Signed { body: BODY, timestamp: Some(b"1000"), signature: Some(of_none.as_bytes()) };
        assert_eq!(
            judge(signed, [].into_iter(), 1_000, Duration::ZERO),
            Judgement::Bad,
            "no value is no key"
        );
    }

    proptest! {
        #[test]
        fn any_signature_is_judged(bytes in crate::hostile::bytes(&["5bdcc146bf60754e6a042426089575c75a003f089d27"])) {
            let signed = Signed { body: BODY, timestamp: Some(&bytes), signature: Some(&bytes) };
            prop_assert_ne!(judge(signed, [].into_iter(), 1, Duration::ZERO), Judgement::Ok);
        }
    }
}
