//! When the next run is due: what the user manager of systemd knows of our timer.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use time::Date;

use super::child;

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
    /// What starts the same after a login.
    pub(crate) path: String,
    /// The process that stays instead; there is none for an instance.
    pub(crate) watch: Option<String>,
}

impl Units {
    /// Those of the default configuration file, or of the template's `instance`.
    pub(crate) fn of(instance: Option<&str>) -> Self {
        let at = instance.map(|instance| format!("@{instance}")).unwrap_or_default();
        let unit = |kind: &str| format!("{UNIT}{at}.{kind}");
        let watch = instance.is_none().then(|| format!("{UNIT}-watch.service"));
        Self { timer: unit("timer"), service: unit("service"), path: unit("path"), watch }
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
    /// How many seconds lie between two runs, at the most, if that can be told.
    pub(crate) interval: Option<u64>,
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

/// Asks the user manager about `unit`. `runtime` is where that listens; `now` is in seconds since 1970.
pub(crate) fn timer(unit: &str, runtime: &Path, now: u64) -> Timer {
    let Some(said) = show(unit, SCHEDULE, runtime) else { return Timer::default() };
    let timer = understand(&said);
    if timer.state != TimerState::On {
        return timer;
    }
    let next = upcoming(&said, now).map(|left| now.saturating_add(left));
    Timer { next, interval: interval(&said), ..timer }
}

/// Whether `unit` has failed, as far as the user manager tells.
pub(crate) fn has_failed(unit: &str, runtime: &Path) -> bool {
    is_in_state(unit, "failed", runtime)
}

/// Whether `unit` runs, as far as the user manager tells.
pub(crate) fn is_active(unit: &str, runtime: &Path) -> bool {
    is_in_state(unit, "active", runtime)
}

fn is_in_state(unit: &str, state: &str, runtime: &Path) -> bool {
    let said = show(unit, "LoadState,ActiveState", runtime).unwrap_or_default();
    property(&said, "LoadState") == Some("loaded") && property(&said, "ActiveState") == Some(state)
}

/// How the user manager starts a service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Launch {
    /// The command, without the program.
    pub(crate) arguments: Vec<String>,
    /// The variables that the manager hands to every service.
    pub(crate) manager: Vec<(String, String)>,
    /// Those that unit and drop-ins set.
    pub(crate) unit: Vec<(String, String)>,
    /// Files with more of them, which count last.
    pub(crate) files: Vec<PathBuf>,
    /// Whether it cannot see which files are root's, by `PrivateUsers=yes`.
    pub(crate) hides_root: bool,
}

/// How the service `unit` is started; none where there is no user manager, or no such unit.
pub(crate) fn launch(unit: &str, runtime: &Path) -> Option<Launch> {
    if !runtime.join(MANAGER_SOCKET).exists() {
        return None;
    }
    let said = show(unit, "LoadState,ExecStart,Environment,EnvironmentFiles,PrivateUsers", runtime)?;
    let mut command = systemctl(runtime);
    let manager =
        child::output(command.arg("show-environment"), PATIENCE, LONGEST_ANSWER).unwrap_or_default();
    understand_launch(&said, &manager)
}

/// What `systemctl show` and `systemctl show-environment` say of it.
///
/// Source: systemd, `bus-print-properties.c`: strings are quoted as for a shell, the words of a command are not.
fn understand_launch(said: &str, manager: &str) -> Option<Launch> {
    if property(said, "LoadState") != Some("loaded") {
        return None;
    }
    let (_, command) = property(said, "ExecStart")?.split_once("argv[]=")?;
    let (command, _) = command.split_once(" ; ")?;
    let assignments = |words: Vec<String>| -> Vec<(String, String)> {
        let split =
            |word: String| word.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
        words.into_iter().filter_map(split).collect()
    };
    let files = said.lines().filter_map(|line| line.strip_prefix("EnvironmentFiles="));
    let files = files.map(|file| file.rsplit_once(" (ignore_errors=").map_or(file, |(path, _)| path));
    Some(Launch {
        arguments: command.split_whitespace().skip(1).map(str::to_owned).collect(),
        manager: assignments(manager.lines().flat_map(words).collect()),
        unit: assignments(words(property(said, "Environment").unwrap_or_default())),
        files: files.filter(|file| !file.is_empty()).map(PathBuf::from).collect(),
        hides_root: property(said, "PrivateUsers") == Some("yes"),
    })
}

/// The words of a line that was quoted for a shell: whole or in part in `"…"` or `$'…'`, with backslashes.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut characters = line.chars().peekable();
    while let Some(character) = characters.next() {
        match (character, quote) {
            ('\\', _) => word.get_or_insert_default().extend(characters.next()),
            ('$', None) if characters.peek() == Some(&'\'') => {}
            ('"' | '\'', None) => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            (_, Some(end)) if character == end => quote = None,
            (' ' | '\t', None) => words.extend(word.take()),
            _ => word.get_or_insert_default().push(character),
        }
    }
    words.extend(word);
    words
}

/// In how many seconds from `now` (seconds since 1970) the timer `unit` starts the next run, at the latest; none where
/// there is no user manager, the timer is not on, or nobody can tell.
///
/// While the service runs that it started, a timer does not know when it fires next: then that is worked out from what
/// it was told.
pub(crate) fn next_run(unit: &str, runtime: &Path, now: u64) -> Option<u64> {
    if !runtime.join(MANAGER_SOCKET).exists() {
        return None;
    }
    let said = show(unit, SCHEDULE, runtime)?;
    if understand(&said).state == TimerState::On { upcoming(&said, now) } else { None }
}

/// In how many seconds from `now` a timer that is on fires, at the latest.
fn upcoming(said: &str, now: u64) -> Option<u64> {
    let monotonic = u64::try_from(clock_gettime(ClockId::Monotonic).tv_sec).ok()?;
    until_next(said, now, monotonic).or_else(|| {
        let firsts = calendars(said).filter_map(|calendar| elapses(&calendar).first().copied());
        let first = firsts.map(|at| at.saturating_sub(now)).chain(intervals(said)).min()?;
        Some(first.saturating_add(delay(said)))
    })
}

/// How many seconds lie between two runs, at the most: by the expression or the interval that comes again soonest. None
/// where nobody can tell.
fn interval(said: &str) -> Option<u64> {
    let apart = |calendar: String| match elapses(&calendar)[..] {
        [first, second, ..] => Some(second.saturating_sub(first)),
        [_] | [] => None,
    };
    let length = calendars(said).filter_map(apart).chain(intervals(said)).min()?;
    Some(length.saturating_add(delay(said)))
}

/// By how many seconds a run may be put off by chance.
fn delay(said: &str) -> u64 {
    property(said, "RandomizedDelayUSec").and_then(span).unwrap_or(0)
}

/// The file on which a user manager listens, below its runtime directory.
const MANAGER_SOCKET: &str = "systemd/private";

/// What has to be known of a timer to tell when it fires next.
const SCHEDULE: &str = "LoadState,ActiveState,NextElapseUSecRealtime,NextElapseUSecMonotonic,LastTriggerUSec,\
    TimersCalendar,TimersMonotonic,RandomizedDelayUSec";

/// More than any answer of these programs has.
const LONGEST_ANSWER: usize = 64 * 1024;

/// What the user manager says of these properties of `unit`.
fn show(unit: &str, properties: &str, runtime: &Path) -> Option<String> {
    let mut command = systemctl(runtime);
    command.arg("show").arg(format!("--property={properties}")).args(["--", unit]);
    child::output(&mut command, PATIENCE, LONGEST_ANSWER)
}

fn systemctl(runtime: &Path) -> Command {
    let mut command = Command::new("systemctl");
    command
        .arg("--user")
        .env("XDG_RUNTIME_DIR", runtime)
        // systemd 252 prints times in words, whatever --timestamp= asks for.
        .env("TZ", "UTC")
        .env("LC_ALL", "C");
    command
}

/// Asks systemd when an expression like `*-*-* 00:00:00` is true the next two times: seconds since 1970.
fn elapses(calendar: &str) -> Vec<u64> {
    let mut command = Command::new("systemd-analyze");
    command.args(["calendar", "--iterations=2", "--", calendar]).env("LC_ALL", "C");
    let said = child::output(&mut command, PATIENCE, LONGEST_ANSWER).unwrap_or_default();
    // In local time, and where that is another one, in UTC on a line below.
    said.lines().filter_map(|line| instant(line.split_once(": ")?.1.trim())).collect()
}

fn property<'a>(said: &'a str, name: &str) -> Option<&'a str> {
    said.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
}

/// Seconds until the timer fires, if it knows: by the wall clock, or by the one that begins with the boot.
fn until_next(said: &str, now: u64, monotonic: u64) -> Option<u64> {
    let by_calendar = property(said, "NextElapseUSecRealtime").and_then(instant).filter(|&at| at > now);
    let since_boot = property(said, "NextElapseUSecMonotonic").and_then(span).filter(|&at| at > monotonic);
    by_calendar.map(|at| at - now).into_iter().chain(since_boot.map(|at| at - monotonic)).min()
}

/// The expressions in lines like `TimersCalendar={ OnCalendar=*-*-* 00:00:00 ; next_elapse=… }`.
fn calendars(said: &str) -> impl Iterator<Item = String> {
    let timers = said.lines().filter_map(|line| line.strip_prefix("TimersCalendar={ OnCalendar="));
    timers.filter_map(|timer| Some(timer.split_once(" ; ")?.0.to_owned()))
}

/// The intervals, in seconds, in lines like `TimersMonotonic={ OnUnitActiveUSec=1d ; next_elapse=0 }`: those that come
/// again after the service ran.
fn intervals(said: &str) -> impl Iterator<Item = u64> {
    let timers = said.lines().filter_map(|line| line.strip_prefix("TimersMonotonic={ "));
    timers.filter_map(|timer| {
        let (base, rest) = timer.split_once('=')?;
        let repeats = matches!(base, "OnUnitActiveUSec" | "OnUnitInactiveUSec");
        span(rest.split_once(" ; ")?.0).filter(|_| repeats)
    })
}

/// A length of time as systemd prints it, `1d 2h 30min 5.5s`, in whole seconds; none for `infinity` and what is none.
fn span(text: &str) -> Option<u64> {
    let mut total: u64 = 0;
    for part in text.split(' ') {
        let end = part.find(|c: char| c.is_ascii_alphabetic())?;
        let (number, unit) = part.split_at(end);
        let whole: u64 = number.split('.').next()?.parse().ok()?;
        let unit = match unit {
            "us" | "ms" => 0,
            "s" => 1,
            "min" => 60,
            "h" => 3_600,
            "d" => 86_400,
            "w" => 7 * 86_400,
            "month" => 2_629_800,
            "y" => 31_557_600,
            _ => return None,
        };
        total = total.checked_add(whole.checked_mul(unit)?)?;
    }
    Some(total)
}

/// What `systemctl show` says.
fn understand(said: &str) -> Timer {
    let time = |name| instant(property(said, name)?);
    let state = match (property(said, "LoadState"), property(said, "ActiveState")) {
        (Some("not-found"), _) => TimerState::Absent,
        (Some("masked"), _) => TimerState::Masked,
        (Some("bad-setting" | "error"), _) => TimerState::Broken,
        (Some(_), Some("active")) => TimerState::On,
        (Some(_), Some(_)) => TimerState::Off,
        (None, _) | (_, None) => TimerState::Unknown,
    };
    let (next, last) = (time("NextElapseUSecRealtime"), time("LastTriggerUSec"));
    Timer { state, next, last, interval: None }
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
    use proptest::prelude::*;

    #[test]
    fn what_the_manager_says_is_understood() {
        let said = "NextElapseUSecRealtime=Mon 2026-11-23 00:56:04 UTC\nLastTriggerUSec=Sun 2026-11-22 01:07:33 UTC\n\
            LoadState=loaded\nActiveState=active\n";
        let on = Timer {
            state: TimerState::On,
            next: Some(1_795_395_364),
            last: Some(1_795_309_653),
            interval: None,
        };
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
    fn the_next_run_is_known_while_the_timer_waits_and_worked_out_while_it_runs() {
        let waiting =
            "NextElapseUSecRealtime=Mon 2026-11-23 00:56:04 UTC\nNextElapseUSecMonotonic=infinity\n";
        assert_eq!(until_next(waiting, 1_795_395_300, 5), Some(64));
        assert_eq!(until_next(waiting, 1_795_395_364, 5), None, "what lies behind is not next");
        let since_boot = "NextElapseUSecRealtime=\nNextElapseUSecMonotonic=1d 2h 30.5s\n";
        assert_eq!(until_next(since_boot, 7, 93_600), Some(30));
        let running = "NextElapseUSecRealtime=\nNextElapseUSecMonotonic=infinity\n\
            TimersCalendar={ OnCalendar=*-*-* 00:00:00 ; next_elapse=Mon 2026-11-23 00:00:00 UTC }\n\
            TimersCalendar={ OnCalendar=Mon *-*-* 12:00:00 ; next_elapse=n/a }\n\
            TimersMonotonic={ OnUnitActiveUSec=1w ; next_elapse=0 }\n\
            TimersMonotonic={ OnBootUSec=5min ; next_elapse=5min }\nRandomizedDelayUSec=1h\n";
        assert_eq!(until_next(running, 7, 7), None);
        assert_eq!(calendars(running).collect::<Vec<_>>(), ["*-*-* 00:00:00", "Mon *-*-* 12:00:00"]);
        assert_eq!(intervals(running).collect::<Vec<_>>(), [604_800]);
        for (text, seconds) in [
            ("1h", Some(3_600)),
            ("0", None),
            ("infinity", None),
            ("", None),
            ("1h 5x", None),
            ("250ms", Some(0)),
        ] {
            assert_eq!(span(text), seconds, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_answer_of_the_manager_is_understood_or_says_nothing(said in crate::hostile::text(&[
            "LoadState=loaded\nActiveState=active\nNextElapseUSecRealtime=Mon 2026-11-23 00:56:04 UTC\n",
            "NextElapseUSecMonotonic=1y 2month 3w 4d 5h 6min 7.5s 8ms 9us\nLastTriggerUSec=n/a\n",
            "TimersCalendar={ OnCalendar=*-*-* 00:00:00 ; next_elapse=n/a }\n\
             TimersMonotonic={ OnUnitActiveUSec=1w ; next_elapse=0 }\nRandomizedDelayUSec=infinity\n",
        ]), now in 0u64..4_000_000_000) {
            understand(&said);
            if let Some(left) = until_next(&said, now, now) {
                prop_assert!(left > 0, "what is due now is not next: {said:?}");
            }
            calendars(&said).for_each(drop);
            intervals(&said).for_each(drop);
        }
    }

    #[test]
    fn how_a_service_is_started_is_understood() {
        let said = "LoadState=loaded\nEnvironmentFiles=/home/w/.config/v/env (ignore_errors=yes)\n\
            EnvironmentFiles=/etc/more (ignore_errors=no)\nEnvironment=VTR_RETRY_FOR=5m \"A=b c\\\"d\"\n\
            ExecStart={ path=/home/w/v ; argv[]=/home/w/v --config /home/w/x.toml ; ignore_errors=no ; pid=0 }\n\
            PrivateUsers=yes\n";
        let manager = "HOME=/home/w\nLANG=$'de DE'\n";
        let set = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let expected = Launch {
            arguments: vec!["--config".to_owned(), "/home/w/x.toml".to_owned()],
            manager: vec![set("HOME", "/home/w"), set("LANG", "de DE")],
            unit: vec![set("VTR_RETRY_FOR", "5m"), set("A", "b c\"d")],
            files: vec!["/home/w/.config/v/env".into(), "/etc/more".into()],
            hides_root: true,
        };
        assert_eq!(understand_launch(said, manager), Some(expected));
        for nothing in ["", "LoadState=not-found\n", "LoadState=loaded\nExecStart=\n"] {
            assert_eq!(understand_launch(nothing, manager), None, "{nothing:?}");
        }
    }

    proptest! {
        #[test]
        fn any_line_is_split_into_words(line in crate::hostile::text(&["A=b \"C=d e\"", "A=$'b\\'c'", "\\"])) {
            let _ = words(&line);
        }
    }

    #[test]
    fn the_units_of_a_second_token_are_instances() {
        assert_eq!(Units::of(None).timer, "vault-token-renew.timer");
        assert_eq!(Units::of(Some("work")).service, "vault-token-renew@work.service");
    }
}
