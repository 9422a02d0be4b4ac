//! Lengths of time as Go and Vault write them.

use std::time::Duration;

use anyhow::{Result, anyhow, bail};

/// Units and their length in nanoseconds. Go's, and `d`, which Vault adds.
const UNITS: [(&str, u64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
    ("d", 86_400_000_000_000),
];

/// Reads `768h`, `768h0m0s`, `32d`, `1.5h`, `2764800` (seconds) or `2764800s`.
///
/// Negative lengths, other units and anything too long to count in nanoseconds (584 years) are errors.
pub(crate) fn parse(text: &str) -> Result<Duration> {
    let text = text.trim();
    if text.is_empty() {
        bail!("an empty duration");
    }
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(Duration::from_nanos(nanoseconds(text, "s").ok_or_else(|| invalid(text))?));
    }
    let mut total: u64 = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let number_end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, after) = rest.split_at(number_end);
        let unit_end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_end);
        let part = nanoseconds(number, unit).ok_or_else(|| invalid(text))?;
        total = total.checked_add(part).ok_or_else(|| invalid(text))?;
        rest = after;
    }
    Ok(Duration::from_nanos(total))
}

fn invalid(text: &str) -> anyhow::Error {
    anyhow!("{text:?} is not a duration; write for instance 768h, 32d, 30s or a number of seconds")
}

fn nanoseconds(number: &str, unit: &str) -> Option<u64> {
    let (_, length) = UNITS.iter().find(|(name, _)| *name == unit)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let whole = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let mut total = length.checked_mul(whole)?;
    let mut digit_length = *length;
    for digit in fraction.chars() {
        digit_length /= 10;
        total = total.checked_add(digit_length.checked_mul(u64::from(digit.to_digit(10)?))?)?;
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_ways_vault_and_go_write_a_duration_are_understood() {
        for (text, seconds) in [
            ("768h", 2_764_800.0),
            ("768h0m0s", 2_764_800.0),
            ("32d", 2_764_800.0),
            ("2764800", 2_764_800.0),
            ("2764800s", 2_764_800.0),
            (" 30s\n", 30.0),
            ("1.5h", 5_400.0),
            (".5m", 30.0),
            ("1h2m3.5s", 3_723.5),
            ("250ms", 0.25),
            ("7us", 0.000_007),
            ("0", 0.0),
            ("0s", 0.0),
            ("1d12h", 129_600.0),
        ] {
            let duration = parse(text).unwrap();
            assert!((duration.as_secs_f64() - seconds).abs() < 1e-9, "{text:?}: {duration:?}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            " ",
            "h",
            "x",
            "-1h",
            "+1h",
            "1 h",
            "1w",
            "1.h.",
            "1..5h",
            "1h30",
            "1e3s",
            "０s",
            "1H",
            "99999999999999999999",
            "999999999d",
            "1h-",
            ".",
            ".s",
        ] {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_duration_or_a_refusal(text in crate::hostile::text(&[
            "768h0m0s", "32d", "1.5h", "300ms", "2764800",
        ])) {
            let _ = parse(&text);
        }

        #[test]
        fn whole_seconds_are_read_exactly(seconds in 0u64..10_000_000_000) {
            prop_assert_eq!(parse(&seconds.to_string()).unwrap().as_secs(), seconds);
            prop_assert_eq!(parse(&format!("{seconds}s")).unwrap().as_secs(), seconds);
        }
    }
}
