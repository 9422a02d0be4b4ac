//! The configuration file: TOML, with errors that name file, line and the nearest known key.

use std::fmt;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use anyhow::{Context as _, Result, anyhow, bail};
use serde::de::{self, Deserialize, Deserializer, Visitor};

use crate::bounded;

/// The keys of the file, as they stand in it. Nothing is checked yet but the types.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FileSettings {
    pub(crate) address: Option<String>,
    pub(crate) namespace: Option<String>,
    pub(crate) token_file: Option<String>,
    pub(crate) display_name: Option<String>,
    pub(crate) policies: Option<Vec<String>>,
    pub(crate) required_policy: Option<String>,
    pub(crate) period: Option<DurationText>,
    pub(crate) log_file: Option<String>,
    pub(crate) retry_for: Option<DurationText>,
    pub(crate) sweep: Option<String>,
    pub(crate) sweep_concurrency: Option<u32>,
    pub(crate) metrics_file: Option<String>,
    pub(crate) deploy_hook: Option<String>,
    pub(crate) hook_timeout: Option<DurationText>,
    pub(crate) login_command: Option<String>,
    pub(crate) watch: Option<WatchTable>,
    pub(crate) follow: Option<FollowTable>,
}

/// The table `[watch]`.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WatchTable {
    pub(crate) max_interval: Option<DurationText>,
    pub(crate) listen: Option<String>,
    pub(crate) listen_unprotected: Option<bool>,
    pub(crate) exit_on_failure: Option<bool>,
}

/// The table `[follow]`.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FollowTable {
    pub(crate) mount: Option<String>,
    pub(crate) path: Option<String>,
    pub(crate) field: Option<String>,
    pub(crate) out: Option<String>,
    pub(crate) mode: Option<String>,
    pub(crate) interval: Option<DurationText>,
    pub(crate) jitter: Option<String>,
    pub(crate) listen: Option<String>,
    pub(crate) listen_unprotected: Option<bool>,
    pub(crate) audit_log: Option<String>,
    pub(crate) verify: Option<bool>,
    pub(crate) max_skew: Option<DurationText>,
    pub(crate) grace: Option<DurationText>,
}

/// A larger file is no configuration.
const LARGEST: usize = 1024 * 1024;

/// Keys less alike than this are not suggested.
const ALIKE: f64 = 0.75;

/// A duration, written as a string or as a bare number of seconds.
#[derive(Debug)]
pub(crate) struct DurationText(pub(crate) String);

impl<'de> Deserialize<'de> for DurationText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl Visitor<'_> for Text {
            type Value = DurationText;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration such as \"768h\", or a number of seconds")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<DurationText, E> {
                Ok(DurationText(text.to_owned()))
            }

            fn visit_i64<E: de::Error>(self, seconds: i64) -> Result<DurationText, E> {
                Ok(DurationText(seconds.to_string()))
            }
        }

        deserializer.deserialize_any(Text)
    }
}

impl FileSettings {
    /// Reads the file at `path`.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text =
            bounded::read_text(path, LARGEST).with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(&text).map_err(|error| anyhow!("{}:{error}", path.display()))
    }

    /// Reads the file at `path`, unless there is none. A link that leads nowhere or a directory that may not
    /// be entered is not the same as no file: going on without it would use somebody else's identity.
    pub(crate) fn read_if_there(path: &Path) -> Result<Self> {
        let absent = path.metadata().is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound);
        let dangling = |path: &Path| path.is_symlink() && path.metadata().is_err();
        if absent && !path.ancestors().any(dangling) { Ok(Self::default()) } else { Self::read(path) }
    }

    /// Reads the text of a file. The error begins with line and column.
    fn parse(text: &str) -> Result<Self> {
        toml::from_str(text).map_err(|error: toml::de::Error| {
            let start = error.span().map_or(0, |span| span.start);
            let before = text.get(..start).unwrap_or(text);
            let line = before.matches('\n').count() + 1;
            let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
            let message = error.message();
            let message = unknown_key(message).unwrap_or_else(|| without_value(message).replace('\n', ", "));
            let message = message
                .replace("expected a sequence", "expected a list, such as [\"reader\", \"writer\"]")
                .replace("expected u32", "expected a whole number");
            anyhow!("{line}:{column}: {message}")
        })
    }
}

/// Whether nobody but the user and root can write the file at `path`.
pub(super) fn check_writers(path: &Path) -> Result<()> {
    let data = path.metadata().with_context(|| format!("cannot look at {}", path.display()))?;
    check_access(path, data.uid(), data.mode() & 0o7777)
}

/// The same, given its owner and mode.
pub(super) fn check_access(path: &Path, owner: u32, mode: u32) -> Result<()> {
    if owner != 0 && owner != rustix::process::geteuid().as_raw() && !is_roots_unseen(path, owner) {
        bail!("a command is not taken from a file of another user (uid {owner})");
    }
    if mode & 0o022 != 0 {
        bail!(
            "a command is not taken from a file that others can write (mode {mode:04o}); chmod go-w {}",
            path.display()
        );
    }
    Ok(())
}

/// Whether a file is root's although it does not look so: in a user namespace without root, as `PrivateUsers=yes` makes
/// one, everybody who is not in it has one and the same number. Only root can put a file below `/etc`.
fn is_roots_unseen(path: &Path, owner: u32) -> bool {
    let number = |file: &str| -> Option<u32> {
        bounded::read_text(Path::new(file), LARGEST).ok()?.trim().parse().ok()
    };
    let map = bounded::read_text(Path::new("/proc/self/uid_map"), LARGEST).unwrap_or_default();
    is_below_etc(path) && number("/proc/sys/kernel/overflowuid") == Some(owner) && !has_root(&map)
}

fn is_below_etc(path: &Path) -> bool {
    path.canonicalize().is_ok_and(|path| path.starts_with("/etc"))
}

/// Whether a command is taken from the file at `path` only by those who see that it is root's.
pub(super) fn has_to_be_seen_as_roots(path: &Path) -> bool {
    let is_roots = path.metadata().is_ok_and(|data| data.uid() == 0);
    is_roots && !rustix::process::geteuid().is_root() && !is_below_etc(path)
}

/// Whether a map of users, as in `/proc/self/uid_map`, has one for root.
///
/// Source: user_namespaces(7): the first number inside, the first outside, how many.
fn has_root(map: &str) -> bool {
    map.lines().any(|line| {
        let mut fields = line.split_whitespace().map(str::parse::<u64>);
        let first = fields.next().and_then(Result::ok);
        let count = fields.nth(1).and_then(Result::ok);
        first == Some(0) && count.is_some_and(|count| count > 0)
    })
}

/// A message about a wrong type or value without the text that was found, which may be a secret at the wrong place.
///
/// Source: serde, `de::Unexpected`: `invalid type: string "…", expected …`.
fn without_value(message: &str) -> String {
    match (message.split_once(": string \""), message.rsplit_once(", expected ")) {
        (Some((what, _)), Some((_, expected))) => format!("{what}: string, expected {expected}"),
        (Some(_) | None, _) => message.to_owned(),
    }
}

/// A better message where the key is unknown: serde's lists all keys, and does not say which was meant.
///
/// Source: serde, `de::Error::unknown_field`: each key between backticks, the unknown one first.
fn unknown_key(message: &str) -> Option<String> {
    let mut keys = message.strip_prefix("unknown field ")?.split('`').skip(1).step_by(2);
    let (key, known) = (keys.next()?, keys.collect::<Vec<_>>());
    let (likeness, nearest) = known
        .iter()
        .map(|known| (strsim::jaro_winkler(key, known), known))
        .max_by(|one, other| one.0.total_cmp(&other.0))?;
    Some(if likeness >= ALIKE {
        format!("unknown key {key:?}; did you mean {nearest:?}?")
    } else {
        format!("unknown key {key:?}; known are {}", known.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write as _;

    fn refusal(text: &str) -> String {
        FileSettings::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn root_is_seen_in_a_map_of_users() {
        assert!(has_root("         0          0 4294967295\n"));
        assert!(has_root("1000 1000 1\n0 0 1\n"));
        for map in ["      1000       1000          1\n", "", "0 0 0\n", "garbage\n"] {
            assert!(!has_root(map), "{map:?}");
        }
    }

    #[test]
    fn every_key_is_understood() {
        let text = r#"
            address = "https://vault.example.org"
            namespace = "team1"
            token_file = "~/.vault-token-work"
            display_name = "laptop-emo"
            policies = ["reader", "writer"]
            required_policy = "writer"
            period = "768h"
            log_file = "/var/log/x.log"
            retry_for = 30
            sweep = "remembered"
            sweep_concurrency = 4
            metrics_file = "/var/lib/prometheus/node-exporter/emo.prom"
            deploy_hook = "systemctl --user restart sops-agent"
            hook_timeout = "1m"
            login_command = "vault login -method=ldap username=emo"

            [watch]
            max_interval = "1h"
            listen = "127.0.0.1:9105"
            listen_unprotected = false
            exit_on_failure = true

            [follow]
            mount = "secret"
            path = "agent/token"
            field = "token"
            out = "/run/agent/token"
            mode = "0640"
            interval = "60s"
            jitter = "5s..10s"
            listen = "127.0.0.1:9106"
            listen_unprotected = false
            audit_log = "/var/log/agent-audit.log"
            verify = true
            max_skew = 300
            grace = "2m"
        "#;
        let settings = FileSettings::parse(text).unwrap();
        assert_eq!(settings.period.unwrap().0, "768h");
        assert_eq!(settings.retry_for.unwrap().0, "30");
        assert_eq!(settings.sweep_concurrency, Some(4));
        assert_eq!(settings.watch.unwrap().exit_on_failure, Some(true));
        // Whoever adds a key sees it missing here.
        assert_eq!(settings.follow.unwrap().verify, Some(true));
        for (table, keys) in [("xyzzy = 1", 17), ("[watch]\nxyzzy = 1", 4), ("[follow]\nxyzzy = 1", 13)] {
            let known = refusal(table);
            let known: Vec<_> = known.split_once("; known are ").unwrap().1.split(", ").collect();
            assert_eq!(known.len(), keys);
            for key in known.iter().filter(|key| !["watch", "follow"].contains(key)) {
                assert!(text.contains(&format!("{key} = ")), "{key}");
            }
        }
    }

    #[test]
    fn an_unknown_key_is_an_error_with_its_place_and_the_nearest_known() {
        assert_eq!(refusal("\n\naddres = \"x\"\n"), "3:1: unknown key \"addres\"; did you mean \"address\"?");
        assert_eq!(refusal("policy = []"), "1:1: unknown key \"policy\"; did you mean \"policies\"?");
        assert_eq!(
            refusal("period = 1\n  tokenfile = 1"),
            "2:3: unknown key \"tokenfile\"; did you mean \"token_file\"?"
        );
        let error = refusal("xyzzy = 1");
        assert!(error.starts_with("1:1: unknown key \"xyzzy\"; known are address, namespace"), "{error}");
        assert!(refusal("[vault]\naddress = \"x\"").contains("unknown key \"vault\""));
        let nested = refusal("[watch]\nmax_intervall = 5");
        assert_eq!(nested, "2:1: unknown key \"max_intervall\"; did you mean \"max_interval\"?");
    }

    #[test]
    fn a_wrong_type_is_an_error_with_its_place() {
        for (text, place) in [
            ("address = 5", "1:11: invalid type: integer `5`, expected a string"),
            (
                "\npolicies = \"a,b\"",
                "2:12: invalid type: string, expected a list, such as [\"reader\", \"writer\"]",
            ),
            ("period = true", "1:10: invalid type: boolean `true`, expected a duration"),
            ("sweep_concurrency = -1", "1:21: invalid value: integer `-1`, expected a whole number"),
            ("address = ", "1:11: "),
            ("address = \"a\"\naddress = \"b\"", "2:1: duplicate key"),
        ] {
            let error = refusal(text);
            assert!(error.starts_with(place), "{text:?}: {error}");
            assert!(!error.contains('\n'), "{error:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_configuration_or_a_refusal(bytes in crate::hostile::bytes(&[
            "address = \"https://vault.example.org\"\nperiod = \"768h\" # a month\n",
            "display_name = 'devvm-emo'\npolicies = [\"a\", \"b\"]\nsweep_concurrency = 4\nretry_for = 30\n",
        ])) {
            let file = tempfile::NamedTempFile::new().unwrap();
            file.as_file().write_all(&bytes).unwrap();
            if let Err(error) = FileSettings::read(file.path()) {
                prop_assert!(error.to_string().contains(file.path().to_str().unwrap()), "{error}");
            }
        }
    }
}
