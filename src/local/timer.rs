//! When the next run is due: what the user manager of systemd knows of our timer.

use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use time::Date;

use super::child::{self, Ended};

/// A user manager answers in milliseconds; one that does not is no reason to keep a person waiting.
const PATIENCE: Duration = Duration::from_secs(5);

/// The beginning of the names of our units.
const UNIT: &str = "vault-token-renew";

/// Where logind notes whose user manager runs without a login, a file for each.
///
/// Source: systemd, `src/login/logind-user.c`, `user_check_linger_file`.
const LINGER: &str = "/var/lib/systemd/linger";

/// The units of one configuration file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Units {
    /// The timer.
    pub(crate) timer: String,
    /// What it starts.
    pub(crate) service: String,
}

impl Units {
    /// Those of the default configuration file, or of the template's `instance`.
    pub(crate) fn of(instance: Option<&str>) -> Self {
        let at = instance.map(|instance| format!("@{instance}")).unwrap_or_default();
        Self { timer: format!("{UNIT}{at}.timer"), service: format!("{UNIT}{at}.service") }
    }
}

/// What there is to know about a timer. Times are seconds since 1970, this machine's clock.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Timer {
    /// Whether it runs.
    pub(crate) state: TimerState,
    /// When it fires next, if it does.
    pub(crate) next: Option<u64>,
    /// When it fired last, if it did since it was made.
    pub(crate) last: Option<u64>,
}

/// Whether a timer runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum TimerState {
    /// Nobody can be asked: no user manager, no systemd.
    #[default]
    Unknown,
    /// There is no such unit.
    Absent,
    /// It is there, and not started.
    Off,
    /// It may not be started.
    Masked,
    /// Its file cannot be understood.
    Broken,
    /// It is started.
    On,
}

/// Asks the user manager about `unit`. `runtime` is where that listens.
pub(crate) fn timer(unit: &str, runtime: &Path) -> Timer {
    let mut command = Command::new("systemctl");
    command
        .args(["--user", "show"])
        .arg("--property=LoadState,ActiveState,NextElapseUSecRealtime,LastTriggerUSec")
        .args(["--", unit])
        .env("XDG_RUNTIME_DIR", runtime)
        // systemd 252 prints these times in words, whatever --timestamp= asks for.
        .env("TZ", "UTC")
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut said = String::new();
    match child::run(&mut command, PATIENCE, || false) {
        Ok((child, Ended::ByItself(status))) if status.success() => {
            // Four short lines, which the pipe holds.
            let read = child.stdout.map(|mut stdout| stdout.read_to_string(&mut said));
            if matches!(read, Some(Ok(_))) { understand(&said) } else { Timer::default() }
        }
        Ok((_, Ended::ByItself(_) | Ended::TimedOut | Ended::Stopped)) | Err(_) => Timer::default(),
    }
}

/// What `systemctl show` says.
fn understand(said: &str) -> Timer {
    let property = |name: &str| said.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    let time = |name| instant(property(name)?);
    let state = match (property("LoadState"), property("ActiveState")) {
        (Some("not-found"), _) => TimerState::Absent,
        (Some("masked"), _) => TimerState::Masked,
        (Some("bad-setting" | "error"), _) => TimerState::Broken,
        (Some(_), Some("active")) => TimerState::On,
        (Some(_), Some(_)) => TimerState::Off,
        (None, _) | (_, None) => TimerState::Unknown,
    };
    Timer { state, next: time("NextElapseUSecRealtime"), last: time("LastTriggerUSec") }
}

/// A time as systemd prints it, `Mon 2026-11-23 00:56:04 UTC`, in seconds since 1970; none where there is none.
fn instant(text: &str) -> Option<u64> {
    let [_, date, clock, "UTC"] = text.split(' ').collect::<Vec<_>>()[..] else { return None };
    let number = |text: &str| text.parse::<u8>().ok();
    let (year, day_of_year) = date.split_once('-')?;
    let (month, day) = day_of_year.split_once('-')?;
    let (hour, within) = clock.split_once(':')?;
    let (minute, second) = within.split_once(':')?;
    let date =
        Date::from_calendar_date(year.parse().ok()?, number(month)?.try_into().ok()?, number(day)?).ok()?;
    let time = date.with_hms(number(hour)?, number(minute)?, number(second)?).ok()?;
    u64::try_from(time.assume_utc().unix_timestamp()).ok()
}

/// Whether the user manager of `user` runs without a login.
pub(crate) fn lingers(user: &str) -> bool {
    !user.contains('/') && Path::new(LINGER).join(user).exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_manager_says_is_understood() {
        let said = "NextElapseUSecRealtime=Mon 2026-11-23 00:56:04 UTC\nLastTriggerUSec=Sun 2026-11-22 01:07:33 UTC\n\
            LoadState=loaded\nActiveState=active\n";
        let on = Timer { state: TimerState::On, next: Some(1_795_395_364), last: Some(1_795_309_653) };
        assert_eq!(understand(said), on);
        let said = "NextElapseUSecRealtime=\nLastTriggerUSec=\nLoadState=loaded\nActiveState=inactive\n";
        assert_eq!(understand(said), Timer { state: TimerState::Off, ..Timer::default() });
        let said =
            "NextElapseUSecRealtime=\nLastTriggerUSec=n/a\nLoadState=not-found\nActiveState=inactive\n";
        assert_eq!(understand(said), Timer { state: TimerState::Absent, ..Timer::default() });
        let said = "NextElapseUSecRealtime=\nLastTriggerUSec=\nLoadState=masked\nActiveState=inactive\n";
        assert_eq!(understand(said), Timer { state: TimerState::Masked, ..Timer::default() });
        let said = "NextElapseUSecRealtime=\nLastTriggerUSec=\nLoadState=bad-setting\nActiveState=inactive\n";
        assert_eq!(understand(said), Timer { state: TimerState::Broken, ..Timer::default() });
        for odd in
            ["", "n/a", "Mon 2026-13-23 00:56:04 UTC", "Mon 2026-11-23 00:56:04 CET", "Mon 2026-11-23 UTC"]
        {
            assert_eq!(instant(odd), None, "{odd:?}");
        }
        for nothing in ["", "nonsense", "LoadState=loaded\n"] {
            assert_eq!(understand(nothing), Timer::default(), "{nothing:?}");
        }
    }

    #[test]
    fn the_units_of_a_second_token_are_instances() {
        assert_eq!(Units::of(None).timer, "vault-token-renew.timer");
        assert_eq!(Units::of(Some("work")).service, "vault-token-renew@work.service");
    }
}
