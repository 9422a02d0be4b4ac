//! The settings of the verb `watch`: its flags before the table `[watch]` of the configuration file.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};

use super::duration;
use super::file::{DurationText, WatchTable};
use super::flags::WatchFlags;
use super::paths::check_path;
use crate::service::{FLOOR, listener::Place};

/// A token of a month would otherwise be looked at every two weeks.
const DEFAULT_MAX_INTERVAL: &str = "24h";

/// No table at all.
const NOTHING: WatchTable =
    WatchTable { max_interval: None, listen: None, listen_unprotected: None, exit_on_failure: None };

/// The scheme that names a socket in the file system.
const SOCKET: &str = "unix:";

/// How `watch` stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WatchSettings {
    /// The longest it waits between two runs.
    pub(crate) max_interval: Duration,
    /// Where it answers who asks how it stands, if anywhere.
    pub(crate) listen: Option<Place>,
    /// Whether it ends where no run of its own can help any more, instead of waiting for another token.
    pub(crate) exit_on_failure: bool,
}

impl WatchSettings {
    /// Brings flags, table and defaults together. Paths in the table and in the flags may begin with `~/`.
    pub(super) fn resolve(
        flags: &WatchFlags,
        table: Option<&WatchTable>,
        file: &Path,
        home: &Path,
    ) -> Result<Self> {
        let table = table.unwrap_or(&NOTHING);
        let in_file = |key: &str| format!("{}: watch.{key}", file.display());
        let (max_interval, source) = match (&flags.max_interval, &table.max_interval) {
            (Some(text), _) => (text.as_str(), "--max-interval".to_owned()),
            (None, Some(DurationText(text))) => (text.as_str(), in_file("max_interval")),
            (None, None) => (DEFAULT_MAX_INTERVAL, String::new()),
        };
        let max_interval = interval(max_interval).context(source)?;
        let unprotected = flags.listen_unprotected || table.listen_unprotected.unwrap_or(false);
        let listen = match (&flags.listen, &table.listen) {
            (Some(text), _) => Some((text, "--listen".to_owned())),
            (None, Some(text)) => Some((text, in_file("listen"))),
            (None, None) => None,
        };
        let listen =
            listen.map(|(text, source)| place(text, unprotected, home).context(source)).transpose()?;
        let exit_on_failure = flags.exit_on_failure || table.exit_on_failure.unwrap_or(false);
        Ok(Self { max_interval, listen, exit_on_failure })
    }
}

impl WatchSettings {
    /// The socket in the file system, if that is where it listens.
    pub(super) fn socket(&self) -> Option<&PathBuf> {
        socket_of(self.listen.as_ref())
    }
}

/// Whether the configuration file says where to listen, and counts for nothing. Whoever types a flag means that; a unit
/// has one whatever its owner has written.
pub(super) fn is_overridden(flag: Option<&String>, in_file: Option<&String>) -> bool {
    flag.zip(in_file).is_some_and(|(flag, in_file)| flag.trim() != in_file.trim())
}

/// The socket in the file system, if that is the place.
pub(super) fn socket_of(place: Option<&Place>) -> Option<&PathBuf> {
    match place {
        Some(Place::Unix(path)) => Some(path),
        Some(Place::Tcp(_)) | None => None,
    }
}

fn interval(text: &str) -> Result<Duration> {
    let length = duration::parse(text)?;
    if length < FLOOR {
        bail!("{text:?}: runs come no sooner than {} s after one another", FLOOR.as_secs());
    }
    Ok(length)
}

/// Where to listen. Whoever gets there sees no secret, and still more than is everybody's business.
pub(super) fn place(text: &str, unprotected: bool, home: &Path) -> Result<Place> {
    if let Some(path) = text.strip_prefix(SOCKET) {
        let path = match path.strip_prefix("~/") {
            Some(rest) => home.join(rest),
            None => PathBuf::from(path),
        };
        check_path(SOCKET, &path)?;
        if !path.is_absolute() {
            bail!("{text:?}: the path of a socket has to be absolute");
        }
        return Ok(Place::Unix(path));
    }
    let address: SocketAddr = text
        .parse()
        .map_err(|_| anyhow!("{text:?} is neither ADDRESS:PORT, such as 127.0.0.1:9105, nor unix:PATH"))?;
    let is_loopback = match address.ip() {
        IpAddr::V4(ip) => ip.is_loopback(),
        IpAddr::V6(ip) => ip.is_loopback(),
    };
    if !is_loopback && !unprotected {
        bail!(
            "{text:?}: others than this machine can get there, and there is neither encryption nor a password; if \
             that is meant: --listen-unprotected"
        );
    }
    Ok(Place::Tcp(address))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(flags: &WatchFlags, table: &WatchTable) -> Result<WatchSettings> {
        WatchSettings::resolve(flags, Some(table), Path::new("/c.toml"), Path::new("/home/wizard"))
    }

    fn listening(listen: &str, listen_unprotected: bool) -> Result<Option<Place>> {
        let flags =
            WatchFlags { listen: Some(listen.to_owned()), listen_unprotected, ..WatchFlags::default() };
        resolved(&flags, &WatchTable::default()).map(|settings| settings.listen)
    }

    #[test]
    fn flags_come_before_the_table_and_the_table_before_the_defaults() {
        let nothing = resolved(&WatchFlags::default(), &WatchTable::default()).unwrap();
        let day = Duration::from_secs(24 * 3600);
        let default = WatchSettings { max_interval: day, listen: None, exit_on_failure: false };
        assert_eq!(nothing, default);
        let table = WatchTable {
            max_interval: Some(DurationText("10m".to_owned())),
            listen: Some("unix:~/watch.sock".to_owned()),
            listen_unprotected: None,
            exit_on_failure: Some(true),
        };
        let by_table = resolved(&WatchFlags::default(), &table).unwrap();
        assert_eq!(by_table.max_interval, Duration::from_secs(600));
        assert_eq!(by_table.listen, Some(Place::Unix("/home/wizard/watch.sock".into())));
        assert!(by_table.exit_on_failure);
        let flags = WatchFlags { max_interval: Some("1h".to_owned()), ..WatchFlags::default() };
        assert_eq!(resolved(&flags, &table).unwrap().max_interval, Duration::from_secs(3600));
    }

    #[test]
    fn a_listener_is_for_this_machine_unless_somebody_says_so() {
        for loopback in ["127.0.0.1:9105", "[::1]:9105", "127.9.9.9:0", "unix:/run/x.sock"] {
            assert!(listening(loopback, false).unwrap().is_some(), "{loopback}");
        }
        for open in ["0.0.0.0:9105", "[::]:9105", "192.0.2.1:9105"] {
            let refusal = format!("{:#}", listening(open, false).unwrap_err());
            assert!(
                refusal.starts_with("--listen: ") && refusal.contains("--listen-unprotected"),
                "{refusal}"
            );
            assert!(listening(open, true).unwrap().is_some(), "{open}");
        }
        for nonsense in ["9105", "localhost:9105", "unix:relative", "unix:", "http://127.0.0.1:1", ""] {
            assert!(listening(nonsense, true).is_err(), "{nonsense:?}");
        }
    }

    #[test]
    fn an_interval_below_the_floor_is_refused() {
        for (text, refused) in [("4s", true), ("0", true), ("x", true), ("5s", false), ("768h", false)] {
            let flags = WatchFlags { max_interval: Some(text.to_owned()), ..WatchFlags::default() };
            assert_eq!(resolved(&flags, &WatchTable::default()).is_err(), refused, "{text}");
        }
        let table = WatchTable { max_interval: Some(DurationText("1s".to_owned())), ..WatchTable::default() };
        let refusal = format!("{:#}", resolved(&WatchFlags::default(), &table).unwrap_err());
        assert!(refusal.starts_with("/c.toml: watch.max_interval: "), "{refusal}");
    }
}
