//! What the passes came to, for Prometheus: the text that the textfile collector of node_exporter reads.
//!
//! The names are a contract: people have alerts on them. Every series is always there, so that an alert never
//! falls silent because nothing has happened yet. No label holds what a server or a login chose.
//! The format: <https://prometheus.io/docs/instrumenting/exposition_formats/>

use std::fmt::Write as _;

use crate::local::history::{Contents, HeldToken, History};

/// Whose figures these are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Labels<'a> {
    /// The short name of the configuration file.
    pub(crate) profile: &'a str,
    /// The user: two users of one machine may have profiles of the same name, and the collector refuses everything
    /// if two files hold the same series. See docs/design.md, "The user among the labels".
    pub(crate) user: &'a str,
}

/// The kind of a metric.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    /// It only rises.
    Counter,
    /// It rises and falls.
    Gauge,
}

/// All series, given what is remembered at `now` (seconds since 1970).
pub(super) fn text(history: &History, labels: Labels<'_>, now: u64) -> String {
    let mut text = String::new();
    let counters = &history.counters;
    family(
        &mut text,
        ("vault_token_renewals_total", Kind::Counter, "Runs that had to renew our token, by result."),
        labels,
        &[
            (Some("success"), counters.renewed.to_string()),
            (Some("failure"), counters.not_renewed.to_string()),
            (Some("not_renewable"), counters.not_renewable.to_string()),
        ],
    );
    family(
        &mut text,
        ("vault_token_heals_total", Kind::Counter, "Runs that had to mint our token anew, by result."),
        labels,
        &[
            (Some("healed"), counters.healed.to_string()),
            (Some("denied"), counters.heal_denied.to_string()),
            (Some("failed"), counters.heal_failed.to_string()),
        ],
    );
    family(
        &mut text,
        ("vault_token_swept_total", Kind::Counter, "Stale tokens of our name that were revoked."),
        labels,
        &[(None, counters.swept.to_string())],
    );
    let both = |value: &str| (value.to_owned(), value.to_owned());
    let (expiry, ttl) = match &history.contents {
        Contents::Unknown => both("NaN"),
        Contents::NoToken => both("0"),
        Contents::Held(HeldToken { ends_at: None, .. }) => both("+Inf"),
        Contents::Held(HeldToken { ends_at: Some(end), .. }) => {
            (end.to_string(), end.saturating_sub(now).to_string())
        }
    };
    let foreign = history.contents.held().is_some_and(|held| !held.ours);
    let last_run = history.last_run.map_or(0, |run| run.at);
    for (name, help, value) in [
        (
            "vault_token_expiry_timestamp_seconds",
            "When the token in the token file ends; +Inf if never, 0 if no living one is there, NaN if no \
             run could tell yet.",
            expiry,
        ),
        (
            "vault_token_ttl_seconds",
            "How long the token had at the last run; +Inf if for ever, 0 if no living one is there, NaN \
             if no run could tell yet.",
            ttl,
        ),
        (
            "vault_token_foreign",
            "1 if the last run left a foreign token in the token file.",
            u8::from(foreign).to_string(),
        ),
        (
            "vault_token_ends_before_next_run",
            "1 if the last run left a token of ours that ends before the next run comes.",
            u8::from(history.ends_before_next_run).to_string(),
        ),
        ("vault_token_last_run_timestamp_seconds", "When the last run ended.", last_run.to_string()),
        (
            "vault_token_last_success_timestamp_seconds",
            "When a run last renewed or healed; 0 if none ever did.",
            history.last_success.unwrap_or(0).to_string(),
        ),
    ] {
        family(&mut text, (name, Kind::Gauge, help), labels, &[(None, value)]);
    }
    text
}

/// The series that only a process has which plans its runs itself.
pub(super) fn next_run_text(labels: Labels<'_>, at: u64) -> String {
    let mut text = String::new();
    let name = "vault_token_next_run_timestamp_seconds";
    family(&mut text, (name, Kind::Gauge, "When the next run begins."), labels, &[(None, at.to_string())]);
    text
}

/// The series of one name: its help, its type, and a line for each result (or the only one).
pub(super) fn family(
    text: &mut String,
    (name, kind, help): (&str, Kind, &str),
    Labels { profile, user }: Labels<'_>,
    series: &[(Option<&str>, String)],
) {
    let kind = match kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
    };
    let (profile, user) = (escaped(profile), escaped(user));
    // Writing to a string does not fail.
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    for (result, value) in series {
        let result = result.map(|result| format!(",result=\"{result}\"")).unwrap_or_default();
        let _ = writeln!(text, "{name}{{profile=\"{profile}\",user=\"{user}\"{result}}} {value}");
    }
}

/// The value of a label, in which three characters have to be escaped.
fn escaped(value: &str) -> String {
    value.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local::history::{Counters, Ending, LastRun};

    const LABELS: Labels<'static> = Labels { profile: "default", user: "wizard" };

    fn holding(ours: bool, ends_at: Option<u64>) -> History {
        let held =
            HeldToken { display_name: "oidc-somebody".to_owned(), ours, ends_at, lease: None, dying: None };
        History { contents: Contents::Held(held), ..History::default() }
    }

    /// The value of a series, by its name and result.
    fn value(text: &str, name: &str, result: Option<&str>) -> String {
        let result = result.map(|result| format!(",result=\"{result}\"")).unwrap_or_default();
        let series = format!("{name}{{profile=\"default\",user=\"wizard\"{result}}} ");
        let mut values = text.lines().filter_map(|line| line.strip_prefix(&series));
        let value = values.next().unwrap_or_else(|| panic!("no {series}in {text}"));
        assert_eq!(values.next(), None, "{series} is there twice");
        value.to_owned()
    }

    #[test]
    fn each_fact_is_in_its_series() {
        let counters = Counters {
            renewed: 1,
            not_renewed: 2,
            not_renewable: 3,
            healed: 4,
            heal_denied: 5,
            heal_failed: 6,
            swept: 7,
        };
        let last_run = Some(LastRun { at: 900, ending: Ending::Drift });
        let history = History {
            counters,
            last_run,
            last_success: Some(800),
            ends_before_next_run: true,
            ..holding(false, Some(1_500))
        };
        let text = text(&history, LABELS, 1_000);
        for (name, result, expected) in [
            ("vault_token_renewals_total", Some("success"), "1"),
            ("vault_token_renewals_total", Some("failure"), "2"),
            ("vault_token_renewals_total", Some("not_renewable"), "3"),
            ("vault_token_heals_total", Some("healed"), "4"),
            ("vault_token_heals_total", Some("denied"), "5"),
            ("vault_token_heals_total", Some("failed"), "6"),
            ("vault_token_swept_total", None, "7"),
            ("vault_token_expiry_timestamp_seconds", None, "1500"),
            ("vault_token_ttl_seconds", None, "500"),
            ("vault_token_foreign", None, "1"),
            ("vault_token_ends_before_next_run", None, "1"),
            ("vault_token_last_run_timestamp_seconds", None, "900"),
            ("vault_token_last_success_timestamp_seconds", None, "800"),
        ] {
            assert_eq!(value(&text, name, result), expected, "{name} {result:?}");
        }
        assert!(!text.contains("oidc-somebody"), "a foreign name in {text}");
    }

    #[test]
    fn the_words_of_a_metric_stay_the_same_from_release_to_release() {
        // The collector drops a series whose help differs from that of another file: two users of one machine may
        // have different versions.
        let text = text(&History::default(), LABELS, 1_000);
        let help: Vec<&str> =
            text.lines().filter_map(|line| line.strip_prefix("# HELP vault_token_")).collect();
        assert_eq!(
            help,
            [
                "renewals_total Runs that had to renew our token, by result.",
                "heals_total Runs that had to mint our token anew, by result.",
                "swept_total Stale tokens of our name that were revoked.",
                "expiry_timestamp_seconds When the token in the token file ends; +Inf if never, 0 if no \
                 living one is there, NaN if no run could tell yet.",
                "ttl_seconds How long the token had at the last run; +Inf if for ever, 0 if no living one \
                 is there, NaN if no run could tell yet.",
                "foreign 1 if the last run left a foreign token in the token file.",
                "ends_before_next_run 1 if the last run left a token of ours that ends before the next run comes.",
                "last_run_timestamp_seconds When the last run ended.",
                "last_success_timestamp_seconds When a run last renewed or healed; 0 if none ever did.",
            ]
        );
    }

    #[test]
    fn every_series_is_there_before_anything_has_happened() {
        let empty = text(&History::default(), LABELS, 1_000);
        let full = text(&holding(true, Some(2_000)), LABELS, 1_000);
        let names = |text: &str| -> Vec<String> {
            text.lines().map(|line| line.rsplit_once(' ').unwrap().0.to_owned()).collect()
        };
        assert_eq!(names(&empty).len(), 13 + 2 * 9);
        let series = |text: &str| -> Vec<String> {
            names(text).into_iter().filter(|name| !name.starts_with('#')).collect()
        };
        assert_eq!(series(&empty), series(&full));
        // An alert on a token that is gone, which asks for 0, has to wait until somebody could look.
        assert_eq!(value(&empty, "vault_token_expiry_timestamp_seconds", None), "NaN");
        let none = text(&History { contents: Contents::NoToken, ..History::default() }, LABELS, 1_000);
        assert_eq!(value(&none, "vault_token_expiry_timestamp_seconds", None), "0");
    }

    #[test]
    fn a_token_without_end_never_expires() {
        let text = text(&holding(false, None), LABELS, 1_000);
        assert_eq!(value(&text, "vault_token_expiry_timestamp_seconds", None), "+Inf");
        assert_eq!(value(&text, "vault_token_ttl_seconds", None), "+Inf");
    }

    #[test]
    fn a_strange_profile_stays_inside_its_label() {
        let labels = Labels { profile: "a\"b\\c\nd", user: "w" };
        let text = text(&History::default(), labels, 0);
        assert!(text.contains(r#"{profile="a\"b\\c\nd",user="w"} 0"#), "{text}");
        assert_eq!(text.lines().count(), 13 + 2 * 9);
    }
}
