//! The words of the verb `watch`: what it says beyond the lines of its runs.

use std::io;
use std::path::Path;

use serde::Serialize;

use super::escape::Shown;
use super::json::one_line;
use super::metrics::{self, Labels};
use super::names::Names;
use super::times::{local_text, span_text, utc_text};
use crate::clock::Clock;
use crate::facts::outcome::{Level, Outcome};
use crate::facts::sequel::{Prospect, Sequel};
use crate::io_text::io_text;
use crate::local::history::History;

/// By what Prometheus knows that it can read an answer; version 3 refuses one that does not say so.
pub(crate) const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What stays, for which file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Staying<'a> {
    /// `watch` or `follow`.
    pub(crate) verb: &'static str,
    /// The file that it keeps.
    pub(crate) file: &'a Path,
}

/// Something that happens to the process and to no run of it.
#[derive(Debug)]
pub(crate) enum Stage<'a> {
    /// It has begun, and listens there.
    Begun(Option<&'a str>),
    /// It ends, because of this signal.
    Stopped(Option<&'static str>),
    /// Another process, of this number, stays with the token file.
    Occupied(u32),
    /// It cannot listen where it should.
    CannotListen {
        /// That place.
        place: &'a str,
        /// Why.
        error: &'a io::Error,
    },
    /// Its worker has broken down.
    Broken,
    /// It cannot wait for what may happen.
    CannotStay(&'a io::Error),
}

impl Stage<'_> {
    pub(super) fn level(&self) -> Level {
        match self {
            Self::Begun(_) | Self::Stopped(_) => Level::Info,
            Self::Occupied(_) | Self::CannotListen { .. } | Self::Broken | Self::CannotStay(_) => {
                Level::Error
            }
        }
    }
}

/// What is to be told of it, on a line of its own.
pub(super) fn stage_text(staying: Staying<'_>, stage: &Stage<'_>, names: &Names<'_>) -> String {
    let Staying { verb, file } = staying;
    let file = names.path(file);
    match stage {
        Stage::Begun(None) => format!("{verb}: started for {file}"),
        Stage::Begun(Some(place)) => format!("{verb}: started for {file}, listening on {}", Shown(place)),
        Stage::Stopped(signal) => format!("{verb}: stopped by {}", signal.unwrap_or("a signal")),
        Stage::Occupied(pid) => {
            format!("FAIL: {verb}: another {verb} (process {pid}) already keeps {file}")
        }
        Stage::CannotListen { place, error } => {
            format!("FAIL: {verb}: cannot listen on {}: {}", Shown(place), Shown(&io_text(error)))
        }
        Stage::Broken => {
            format!("FAIL: {verb}: the thread that does the work has ended; this is a fault of the program")
        }
        Stage::CannotStay(error) => format!("FAIL: {verb}: cannot wait: {}", io_text(error)),
    }
}

/// What comes after a run that did not end well, to be said in its line. People search for these words.
pub(super) fn sequel_text(outcome: &Outcome, sequel: Sequel) -> Option<String> {
    let length = span_text(sequel.length().as_secs());
    let parked = match sequel {
        Sequel::Over => "watch ends, as exit_on_failure asks for".to_owned(),
        Sequel::Again(_) | Sequel::Parked(_) => {
            format!("nothing more is tried until the token file changes, or for {length}")
        }
    };
    match Prospect::of(outcome) {
        Prospect::Granted if matches!(outcome, Outcome::Renewed { .. } | Outcome::Healed { .. }) => None,
        Prospect::Failed => Some(format!(
            "; vault token renewal failed, trying again in {length}; if it keeps failing, rotate the token before TTL \
             expires"
        )),
        Prospect::Ebbing | Prospect::Granted => {
            Some(format!("; rotate the token before its TTL expires; renewing it again in {length}"))
        }
        Prospect::Hopeless if matches!(outcome, Outcome::Failed(_)) => {
            Some(format!("; rotate the token before its TTL expires; {parked}"))
        }
        Prospect::Hopeless | Prospect::Gone => Some(format!("; {parked}")),
    }
}

/// How it stands, in one line for whoever asks the service manager. No word in it is a server's.
pub(crate) fn standing_text(outcome: &Outcome, next_run: u64, clock: Clock) -> String {
    let stands = match outcome {
        Outcome::Renewed { .. } => "ours, renewed",
        Outcome::Healed { .. } => "ours, healed",
        Outcome::Drift { .. } => "foreign, and too weak to mint ours",
        Outcome::Swept(_) => "swept",
        Outcome::Failed(failure) => {
            return format!("failed ({}), next at {}", failure.id(), local_text(clock, next_run));
        }
    };
    format!("{stands}, next at {}", local_text(clock, next_run))
}

/// What a run came to, by stable names.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Verdict {
    /// How it ended.
    pub(crate) outcome: &'static str,
    /// Why it did not end well.
    pub(crate) reason: Option<&'static str>,
}

/// What there is to know at the moment it is asked for. Times are seconds since 1970, this machine's clock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Standing<'a> {
    /// Seconds that a token of ours has left of what it was granted; none if it was granted none.
    pub(crate) left: Option<u64>,
    /// What the last run came to; none before the first has ended.
    pub(crate) verdict: Option<Verdict>,
    /// How the runs went.
    pub(crate) history: &'a History,
    /// When the next run comes, or should have, if the one before is still at work.
    pub(crate) next_run: u64,
}

/// What `/health` answers.
#[derive(Debug, Serialize)]
struct Health {
    status: &'static str,
    outcome: Option<&'static str>,
    reason: Option<&'static str>,
    ttl: u64,
    last_success_at: Option<String>,
    next_run_at: String,
}

/// Whether a token of ours has time left, and the answer of `/health`.
pub(crate) fn health_page(standing: Standing<'_>) -> (bool, String) {
    let left = standing.left.unwrap_or(0);
    let is_well = standing.verdict.is_some() && left > 0;
    let health = Health {
        status: match standing.verdict {
            None => "starting",
            Some(_) if is_well => "healthy",
            Some(_) => "failing",
        },
        outcome: standing.verdict.map(|verdict| verdict.outcome),
        reason: standing.verdict.and_then(|verdict| verdict.reason),
        ttl: left,
        last_success_at: standing.history.last_success.map(utc_text),
        next_run_at: utc_text(standing.next_run),
    };
    (is_well, one_line(&health) + "\n")
}

/// What `/metrics` answers at `now`: what the metrics file would hold, and when the next run comes.
pub(crate) fn metrics_page(standing: Standing<'_>, labels: Labels<'_>, now: u64) -> String {
    metrics::text(standing.history, labels, now) + &metrics::next_run_text(labels, standing.next_run)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};
    use time::{OffsetDateTime, UtcOffset};

    use super::*;
    use crate::facts::failure::Failure;
    use crate::identity::Dying;
    use crate::local::token_file::ReadError;

    /// Hostile names are in all of these.
    fn outcomes() -> [Outcome; 6] {
        let display_name = || "x\nREADY=1\nSTATUS=all is well".to_owned();
        let dying = |dying| {
            Outcome::Failed(Failure::Dying {
                display_name: display_name(),
                dying,
                seconds_left: 5,
                refusal: None,
            })
        };
        [
            Outcome::Renewed { display_name: display_name(), ttl: 5, resumed: None },
            Outcome::Drift { display_name: display_name(), refusal: None },
            Outcome::Failed(Failure::LockBusy),
            dying(Dying::NotRenewable),
            dying(Dying::ExplicitMaximum),
            Outcome::Failed(Failure::TokenFile(ReadError::Missing)),
        ]
    }

    #[test]
    fn what_comes_next_is_said_in_the_words_that_people_search_for() {
        let sequels = outcomes()
            .map(|outcome| sequel_text(&outcome, Sequel::Again(Duration::from_secs(5))).unwrap_or_default());
        let parked = "nothing more is tried until the token file changes, or for 5 s";
        let rotate = "; rotate the token before its TTL expires; ";
        assert_eq!(
            sequels,
            [
                String::new(),
                format!("; {parked}"),
                "; vault token renewal failed, trying again in 5 s; if it keeps failing, rotate the token \
                 before TTL expires"
                    .to_owned(),
                format!("{rotate}{parked}"),
                format!("{rotate}renewing it again in 5 s"),
                format!("; {parked}"),
            ]
        );
        let over = outcomes().map(|outcome| sequel_text(&outcome, Sequel::Over).unwrap_or_default());
        assert_eq!(over[5], "; watch ends, as exit_on_failure asks for");
    }

    #[test]
    fn how_it_stands_is_one_line_without_a_word_of_the_server() {
        let clock = Clock::set_to(|| OffsetDateTime::UNIX_EPOCH, |_| UtcOffset::UTC);
        let texts = outcomes().map(|outcome| standing_text(&outcome, 1_795_309_391, clock));
        let next = "next at 2026-11-22T01:03:11+00:00";
        assert_eq!(
            texts,
            [
                format!("ours, renewed, {next}"),
                format!("foreign, and too weak to mint ours, {next}"),
                format!("failed (lock_busy), {next}"),
                format!("failed (not_renewable), {next}"),
                format!("failed (not_renewable), {next}"),
                format!("failed (token_file_missing), {next}"),
            ]
        );
    }

    #[test]
    fn health_is_good_only_after_a_verdict_and_while_something_is_left() {
        let history = History { last_success: Some(1_795_309_391), ..History::default() };
        let verdict = Some(Verdict { outcome: "failed", reason: Some("sealed") });
        for (verdict, left, is_well, status) in [
            (None, None, false, "starting"),
            (None, Some(5), false, "starting"),
            (verdict, None, false, "failing"),
            (verdict, Some(0), false, "failing"),
            (verdict, Some(1), true, "healthy"),
        ] {
            let (well, body) = health_page(Standing { left, verdict, history: &history, next_run: 60 });
            let object: Value = serde_json::from_str(&body).unwrap();
            assert_eq!((well, &object["status"]), (is_well, &json!(status)), "{body}");
            assert_eq!(object["reason"], json!(verdict.and_then(|verdict| verdict.reason)));
            assert_eq!(
                (&object["next_run_at"], &object["ttl"]),
                (&json!("1970-01-01T00:01:00Z"), &json!(left.unwrap_or(0)))
            );
            assert!(body.ends_with("}\n") && body.lines().count() == 1, "{body:?}");
        }
    }
}
