//! Every word that leaves the program: where it goes, and in what form.
//!
//! One line per run and the warnings before it go to the log file with a time stamp; the same text goes to
//! standard output or standard error. Where a stream is the journal, its lines bear a priority instead of a
//! time stamp. A closed stream and an unwritable log file are survived.

mod errors;
mod escape;
mod failures;
pub(crate) mod follow;
mod forecast;
pub(crate) mod json;
mod lines;
mod meanwhile;
pub(crate) mod metrics;
pub(crate) mod names;
pub(crate) mod overview;
mod paint;
pub(crate) mod problem;
mod remedies;
mod repeats;
pub(crate) mod status;
pub(crate) mod streams;
mod sweeps;
mod times;
mod warnings;
pub(crate) mod watch;

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;

use crate::clock::Clock;
use crate::config::SweepMode;
use crate::facts::forecast::Forecast;
use crate::facts::outcome::{Level, Outcome};
use crate::facts::sequel::Sequel;
use crate::facts::warning::Warning;
use crate::identity::Identity;
use crate::io_text::io_text;
use crate::local::history::{HeldToken, History};
use crate::local::log_file;
use crate::local::staged::{self, Readers, Staged};
use crate::secret::without_tokens;
use crate::vault::{Call, Error, Exchange, Observer};
use escape::Shown;
use forecast::forecast_lines;
use json::{Subject, one_line};
use meanwhile::Meanwhile;
use metrics::Labels;
use names::Names;
pub(crate) use paint::Paint;
pub(crate) use repeats::Repeats;
use repeats::Verdict;
use status::Status;
use streams::{Stream, Streams};

/// Whether the log file is written to.
#[derive(Debug)]
pub(crate) enum Log {
    /// Every line is appended to this file.
    File(PathBuf),
    /// A dry run leaves no trace, and its words are for whoever asked, now: they bear no time stamp.
    None,
}

/// What standard output is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// Lines, for people.
    Lines,
    /// One JSON object, for programs. People find the lines in the log, and what went wrong on standard error.
    Json,
}

/// How much is told to whoever reads along. The log has all of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Volume {
    /// Failures only.
    Failures,
    /// What a run came to, and its warnings.
    #[default]
    Usual,
    /// Each request besides.
    EachRequest,
}

/// The place where all lines go through.
#[derive(Debug)]
pub(crate) struct Report<'a> {
    names: Names<'a>,
    clock: Clock,
    log: Log,
    log_failed: AtomicBool,
    streams: &'a dyn Streams,
    format: Format,
    volume: Volume,
    /// All warnings so far, for the JSON object.
    warnings: Mutex<Vec<String>>,
    /// Whether somebody asked for an answer on standard output and did not get it.
    unanswered: AtomicBool,
    /// Whether it was told that no address is configured.
    has_no_address: AtomicBool,
    /// What the process said in earlier runs, if it stays.
    repeats: Option<&'a Repeats>,
    /// Who waits at a terminal.
    meanwhile: Option<Meanwhile>,
}

impl<'a> Report<'a> {
    /// A report of one run.
    pub(crate) fn new(
        names: Names<'a>,
        clock: Clock,
        log: Log,
        streams: &'a dyn Streams,
        format: Format,
    ) -> Self {
        Self {
            names,
            clock,
            log,
            log_failed: AtomicBool::new(false),
            streams,
            format,
            volume: Volume::Usual,
            warnings: Mutex::default(),
            unanswered: AtomicBool::new(false),
            has_no_address: AtomicBool::new(false),
            repeats: None,
            meanwhile: None,
        }
    }

    /// The same for somebody who wants to be told so much, and at a terminal what the run waits for, too.
    pub(crate) fn at(self, volume: Volume) -> Self {
        let meanwhile = match volume {
            Volume::Failures => None,
            Volume::Usual | Volume::EachRequest => {
                self.streams.terminal().and_then(|terminal| Meanwhile::start(terminal.draws))
            }
        };
        Self { volume, meanwhile, ..self }
    }

    /// The same in a process that stays, where the same trouble is not told again with every run.
    pub(crate) fn in_mind_of(self, repeats: Option<&'a Repeats>) -> Self {
        Self { repeats, ..self }
    }

    /// The same where what there is to warn of is among the problems that are told.
    pub(crate) fn of_problems(self) -> Self {
        Self { has_no_address: AtomicBool::new(true), ..self }
    }

    /// The exit status of a run that would have had `status`: not 0 if the answer that was asked for could not be
    /// written, on a full disk for instance.
    pub(crate) fn answered(&self, status: u8) -> u8 {
        if self.unanswered.load(Ordering::Relaxed) { status.max(1) } else { status }
    }

    /// A line of the answer that was asked for, which is the purpose of the run. Whoever closed the stream has read
    /// enough.
    fn answer(&self, line: &str) {
        match self.streams.write(Stream::Out, &without_tokens(line)) {
            Err(error)
                if error.kind() != io::ErrorKind::BrokenPipe
                    && !self.unanswered.swap(true, Ordering::Relaxed) =>
            {
                let text = format!("vault-token-renew: error: standard output: {}", io_text(&error));
                let _ = self.streams.write(Stream::Err, &text);
            }
            Ok(()) | Err(_) => {}
        }
    }

    /// The answer for a program.
    fn answer_json(&self, object: &impl Serialize) {
        self.answer(&one_line(object));
    }

    /// A warning, as it arises.
    pub(crate) fn warn(&self, warning: &Warning) {
        let text = warnings::warning_text(warning, &self.names);
        let is_told = self.event(Level::Warning, &format!("WARN: {text}"), "");
        if let Some(remedy) = remedies::warning_remedy(warning, &self.names).filter(|_| is_told) {
            self.hint(&remedy);
        }
        self.warnings.lock().unwrap_or_else(PoisonError::into_inner).push(text);
    }

    /// A fault of the program in a process that goes on.
    pub(crate) fn fault(&self, outcome: &Outcome) {
        self.event(outcome.level(), &lines::outcome_text(outcome, &self.names), "");
    }

    /// Something that happens to a process that stays.
    pub(crate) fn stage(&self, staying: watch::Staying<'_>, stage: &watch::Stage<'_>) {
        self.event(stage.level(), &watch::stage_text(staying, stage, &self.names), "");
    }

    /// The line of a run, without its time stamp, as it stands in the log.
    pub(crate) fn line(&self, outcome: &Outcome) -> String {
        self.marked(&lines::outcome_text(outcome, &self.names))
    }

    /// The end of a run. `held` is what is in the token file now, as far as it is known; `sequel` what comes next,
    /// where that is known.
    pub(crate) fn outcome(
        &self,
        subject: Subject<'_>,
        outcome: &Outcome,
        held: Option<&HeldToken>,
        sequel: Option<Sequel>,
        exit_status: u8,
    ) {
        let line = lines::outcome_text(outcome, &self.names);
        let sequel = sequel.and_then(|sequel| watch::sequel_text(outcome, sequel));
        let sequel = sequel.unwrap_or_default();
        let remedy = remedies::outcome_remedy(outcome, &self.names, self.repeats.is_some());
        let is_told = self.event(outcome.level(), &line, &sequel);
        if let Some(remedy) = remedy.as_ref().filter(|_| is_told) {
            self.hint(remedy);
        }
        if self.format == Format::Json {
            let warnings = self.take_warnings();
            self.answer_json(&json::RunObject::over(
                subject,
                outcome,
                (line + &sequel, remedy),
                (held, exit_status),
                warnings,
            ));
        }
    }

    /// The end of a dry run. `has_hook` is whether the real run might run one.
    pub(crate) fn forecast(
        &self,
        subject: Subject<'_>,
        forecast: &Forecast,
        mode: SweepMode,
        has_hook: bool,
        exit_status: u8,
    ) {
        let lines = forecast_lines(forecast, &self.names, subject.identity, mode, has_hook);
        let stream = if forecast.is_good() { Stream::Out } else { Stream::Err };
        for line in lines.iter().filter(|_| !forecast.is_good() || self.volume != Volume::Failures) {
            self.print(stream, line);
        }
        let remedy = remedies::forecast_remedy(forecast, &self.names);
        if let Some(remedy) = &remedy {
            self.hint(remedy);
        }
        if self.format == Format::Json {
            let (message, warnings) = (lines.join("\n"), self.take_warnings());
            self.answer_json(&json::RunObject::foreseen(
                subject,
                forecast,
                (message, remedy),
                exit_status,
                warnings,
            ));
        }
    }

    /// What `status` found out: on standard output, healthy or not.
    pub(crate) fn status(&self, status: &Status, identity: &Identity, exit_status: u8, paint: Paint) {
        match self.format {
            Format::Json => {
                self.answer_json(&status.document(&self.names, identity, exit_status, self.clock));
            }
            Format::Lines => {
                let lines = match self.volume {
                    Volume::Failures => status.wrongs(&self.names, self.clock, paint),
                    Volume::Usual | Volume::EachRequest => {
                        status.lines(&self.names, identity, self.clock, paint)
                    }
                };
                for line in lines {
                    self.answer(&line);
                }
            }
        }
    }

    /// Writes the metrics file. Only under the run lock, since what a killed run left beside it is removed too.
    pub(crate) fn metrics(&self, path: &Path, labels: Labels<'_>, history: &History) {
        let text = metrics::text(history, labels, self.clock.seconds());
        // A rename replaces anything, be it a device or somebody's link.
        let replaceable = match path.symlink_metadata() {
            Ok(data) if data.is_file() => Ok(()),
            Ok(_) => Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        };
        let written = replaceable
            .and_then(|()| staged::remove_leftovers(path, rustix::process::geteuid().as_raw()))
            .and_then(|()| Staged::write(path, text.as_bytes(), Readers::Everybody)?.replace());
        // Figures that a power cut takes away are back after the next pass.
        if let Err(error) = written {
            self.warn(&Warning::MetricsUnwritable { path: path.to_owned(), error });
        }
    }

    /// What to do. For whoever reads a terminal: in the log and in the journal one event is one line.
    fn hint(&self, text: &str) {
        if !self.streams.is_journal(Stream::Err) {
            let _ = self.streams.write(Stream::Err, &without_tokens(&format!("hint: {text}")));
        }
    }

    /// Tells it, and what comes next, and whether it was told: to a process that stays it may be an old story. What
    /// comes next may differ each time, and is no news.
    fn event(&self, level: Level, text: &str, sequel: &str) -> bool {
        let Some(again) = self.unless_known(level, text) else { return false };
        self.tell(level, &format!("{text}{sequel}{again}"));
        true
    }

    /// Tells it, whatever was told before.
    fn tell(&self, level: Level, text: &str) {
        let text = &self.marked(text);
        let stamp = times::stamp_text(self.clock);
        self.append_to_log(&stamp, text);
        let stream = match level {
            Level::Info => Stream::Out,
            Level::Warning | Level::Error => Stream::Err,
        };
        if self.volume == Volume::Failures && level != Level::Error {
            return;
        }
        match self.log {
            _ if self.streams.is_journal(stream) => {
                self.print(stream, &format!("<{}>{text}", priority(level)));
            }
            Log::File(_) => self.print(stream, &format!("{stamp} {text}")),
            Log::None => self.print(stream, text),
        }
    }

    /// The text as it leaves the program.
    fn marked(&self, text: &str) -> String {
        without_tokens(&format!("{}{text}", self.names.mark()))
    }

    /// What is to be added to the text: how often it was kept back in between; none if it was told a short while ago.
    fn unless_known(&self, level: Level, text: &str) -> Option<String> {
        let Some(repeats) = self.repeats else { return Some(String::new()) };
        let is_failure = match level {
            Level::Info => {
                repeats.forget_failures();
                return Some(String::new());
            }
            Level::Warning => false,
            Level::Error => true,
        };
        match repeats.judge(text, is_failure, self.clock.seconds()) {
            Verdict::Tell => Some(String::new()),
            Verdict::TellAgain(count) => Some(format!(" (the same {count} more time(s) in between)")),
            Verdict::KeepBack => None,
        }
    }

    fn take_warnings(&self) -> Vec<String> {
        std::mem::take(&mut *self.warnings.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A line for people. Where standard output is for a program, it is not for them.
    fn print(&self, stream: Stream, line: &str) {
        if let Some(meanwhile) = &self.meanwhile {
            meanwhile.make_room();
        }
        match (stream, self.format) {
            (Stream::Out, Format::Json) => {}
            (Stream::Out, Format::Lines) if matches!(self.log, Log::None) => self.answer(line),
            // The log has it, too; and the end of a stream is nobody's error.
            (Stream::Out, Format::Lines) | (Stream::Err, _) => {
                let _ = self.streams.write(stream, &without_tokens(line));
            }
        }
    }

    fn append_to_log(&self, stamp: &str, text: &str) {
        let Log::File(path) = &self.log else { return };
        if self.log_failed.load(Ordering::Relaxed) {
            return;
        }
        if let Err(error) = log_file::append(path, &format!("{stamp} {text}\n")) {
            self.log_failed.store(true, Ordering::Relaxed);
            self.warn(&Warning::LogUnwritable { path: path.clone(), error });
        }
    }
}

impl Observer for Report<'_> {
    fn asks(&self, call: Call, server: &str) {
        if let Some(meanwhile) = self.meanwhile.as_ref().filter(|_| !call.is_of_walk()) {
            meanwhile.waits(format!("waiting for {}: no answer yet", Shown(server)));
        }
    }

    fn exchanged(&self, exchange: &Exchange<'_>) {
        if self.volume != Volume::EachRequest {
            return;
        }
        let text = errors::exchange_text(exchange);
        let prefix = if self.streams.is_journal(Stream::Err) { "<7>" } else { "" };
        self.print(Stream::Err, &format!("{prefix}request: {text}"));
    }

    fn tries_again(&self, error: &Error, left: Duration) {
        if let Some(meanwhile) = &self.meanwhile {
            let until = times::local_text(self.clock, self.clock.seconds().saturating_add(left.as_secs()));
            let text = without_tokens(&errors::error_text(error));
            meanwhile.waits_on(format!("{text}; trying again until {until}"));
        }
    }

    fn has_no_address(&self, address: &str) {
        if !self.has_no_address.swap(true, Ordering::Relaxed) {
            self.warn(&Warning::Unaddressed { address: address.to_owned() });
        }
    }

    fn has_asked(&self, _: Call) {
        if let Some(meanwhile) = &self.meanwhile {
            meanwhile.waits_no_more();
        }
    }
}

impl Report<'_> {
    /// How far a walk over the accessors is.
    pub(crate) fn has_examined(&self, examined: usize, total: usize) {
        if let Some(meanwhile) = &self.meanwhile {
            meanwhile.has_examined(examined, total);
        }
    }
}

/// A settings error as it stands in a line.
pub(crate) fn settings_error_text(error: &anyhow::Error) -> String {
    without_tokens(&errors::chain_text(error))
}

/// A usage or settings error, before there is a report.
pub(crate) fn usage_error(error: &anyhow::Error, exit_status: u8, streams: &dyn Streams, format: Format) {
    let text = without_tokens(&errors::chain_text(error));
    let prefix = if streams.is_journal(Stream::Err) { "<3>" } else { "" };
    let _ = streams.write(Stream::Err, &format!("{prefix}vault-token-renew: error: {text}"));
    if format == Format::Json {
        let _ = streams.write(Stream::Out, &one_line(&json::UsageObject::new(&text, exit_status)));
    }
}

/// A command line that could not be understood: whoever asked for JSON gets an object all the same.
pub(crate) fn misuse(
    answer: &str,
    exit_status: u8,
    streams: &dyn Streams,
    mut arguments: impl Iterator<Item = OsString>,
) {
    if arguments.any(|argument| argument == "--json") {
        let first = answer.lines().next().unwrap_or_default();
        let first = without_tokens(first);
        let usage = json::UsageObject::new(first.trim_start_matches("error: "), exit_status);
        let _ = streams.write(Stream::Out, &one_line(&usage));
    }
}

/// The priorities of the journal: information, warning, error.
fn priority(level: Level) -> u8 {
    match level {
        Level::Info => 6,
        Level::Warning => 4,
        Level::Error => 3,
    }
}

#[cfg(test)]
mod tests;
