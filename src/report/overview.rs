//! `status --all`: all tokens of a user in one table.

use std::path::PathBuf;

use serde::Serialize;

use super::escape::Shown;
use super::json::{SCHEMA, one_line};
use super::names::Names;
use super::paint::Paint;
use super::problem::Severity;
use super::status::{Status, StatusObject};
use super::streams::{Stream, Streams};
use super::{Format, Volume, io_text};
use crate::clock::Clock;
use crate::config::Settings;
use crate::identity::Verdict;

/// A configuration file, and what came of a look at its token.
#[derive(Debug)]
pub(crate) struct Entry {
    /// The short name of the file.
    pub(crate) profile: String,
    /// The file.
    pub(crate) config: PathBuf,
    /// What was found out; or why nothing was, in words.
    pub(crate) found: Result<Box<(Settings, Status)>, String>,
}

impl Entry {
    /// Whether all is well with it.
    pub(crate) fn is_healthy(&self) -> bool {
        self.found.as_ref().is_ok_and(|found| found.1.is_healthy())
    }

    /// Its exit status with `--detailed-exitcode`.
    pub(crate) fn detailed_exit_status(&self) -> u8 {
        self.found.as_ref().map_or(2, |found| found.1.detailed_exit_status())
    }

    /// Its row: name, token, time left, last run, next run, and what is wrong.
    fn row(&self, clock: Clock) -> [String; 6] {
        let profile = Shown(&self.profile).to_string();
        let (settings, status) = match &self.found {
            Ok(found) => (&found.0, &found.1),
            Err(error) => {
                let unknown = String::new;
                return [
                    profile,
                    unknown(),
                    unknown(),
                    unknown(),
                    unknown(),
                    format!("settings: {}", Shown(error)),
                ];
            }
        };
        let token = match (&status.view, status.history.contents.held()) {
            (Some(view), _) if view.verdict == Verdict::Ours => "yours".to_owned(),
            (Some(view), _) => format!("foreign, {}", Shown(&view.info.display_name)),
            (None, Some(held)) if held.ours => "yours (last run)".to_owned(),
            (None, Some(held)) => format!("foreign, {} (last run)", Shown(&held.display_name)),
            (None, None) => "unknown".to_owned(),
        };
        let wrong = status.problems.iter().filter(|problem| problem.severity() == Severity::Wrong);
        let wrong: Vec<&str> = wrong.map(super::problem::Problem::id).collect();
        let verdict = if wrong.is_empty() {
            "healthy".to_owned()
        } else {
            format!("{}: {}", wrong.join(", "), Names::of(settings).command(" status"))
        };
        [profile, token, status.brief_life(), status.brief_last_run(), status.brief_next_run(clock), verdict]
    }
}

/// The object for a program.
#[derive(Debug, Serialize)]
struct OverviewObject<'a> {
    schema: u32,
    verb: &'static str,
    healthy: bool,
    exit_status: u8,
    configurations: Vec<EntryObject<'a>>,
}

#[derive(Debug, Serialize)]
struct EntryObject<'a> {
    profile: &'a str,
    config: String,
    healthy: bool,
    error: Option<&'a str>,
    status: Option<StatusObject<'a>>,
}

/// Tells how all of them are, and returns the exit status, which is another one if nobody could be told.
pub(crate) fn overview(
    entries: &[Entry],
    clock: Clock,
    streams: &dyn Streams,
    (format, volume): (Format, Volume),
    paint: Paint,
    exit_status: u8,
) -> u8 {
    let lines = match format {
        Format::Json => vec![one_line(&object(entries, clock, exit_status))],
        Format::Lines => table(entries, clock, volume, paint),
    };
    for line in lines {
        if let Err(error) = streams.write(Stream::Out, &line)
            && error.kind() != std::io::ErrorKind::BrokenPipe
        {
            let text = format!("vault-token-renew: error: standard output: {}", io_text(&error));
            let _ = streams.write(Stream::Err, &text);
            return exit_status.max(1);
        }
    }
    exit_status
}

fn object(entries: &[Entry], clock: Clock, exit_status: u8) -> OverviewObject<'_> {
    OverviewObject {
        schema: SCHEMA,
        verb: "status",
        healthy: entries.iter().all(Entry::is_healthy),
        exit_status,
        configurations: entries.iter().map(|entry| entry_object(entry, clock)).collect(),
    }
}

fn entry_object(entry: &Entry, clock: Clock) -> EntryObject<'_> {
    let found = entry.found.as_ref();
    EntryObject {
        profile: &entry.profile,
        config: entry.config.display().to_string(),
        healthy: entry.is_healthy(),
        error: found.err().map(String::as_str),
        status: found.ok().map(|found| {
            let (settings, status) = &**found;
            status.document(&Names::of(settings), &settings.identity, status.exit_status(), clock)
        }),
    }
}

/// The lines of the table; where only failures are wanted, those of what is not well.
fn table(entries: &[Entry], clock: Clock, volume: Volume, paint: Paint) -> Vec<String> {
    let head = ["profile", "token", "time left", "last run", "next run", "verdict"].map(str::to_owned);
    let wanted = entries.iter().filter(|entry| volume != Volume::Failures || !entry.is_healthy());
    let rows: Vec<_> = wanted.map(|entry| (entry.is_healthy(), entry.row(clock))).collect();
    if rows.is_empty() {
        return Vec::new();
    }
    let mut widths = head.clone().map(|cell| cell.chars().count());
    for (width, column) in widths.iter_mut().zip(0..) {
        let cells = rows.iter().filter_map(|(_, row)| row.get::<usize>(column));
        *width = cells.map(|cell| cell.chars().count()).fold(*width, usize::max);
    }
    let line = |row: &[String; 6], paint_verdict: &dyn Fn(&str) -> String| {
        let (verdict, cells) = row.split_last().map_or(("", &[][..]), |(last, cells)| (last.as_str(), cells));
        let cells = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}  "));
        format!("{}{}", cells.collect::<String>(), paint_verdict(verdict))
    };
    let plain = |text: &str| text.to_owned();
    let body = rows.iter().map(|(is_healthy, row)| {
        line(row, &|text| if *is_healthy { paint.green(text) } else { paint.red(text) })
    });
    [paint.dim(&line(&head, &plain))].into_iter().chain(body).collect()
}
