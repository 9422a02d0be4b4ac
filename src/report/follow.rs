//! The words of the verb `follow`: its lines, its audit, and what it answers over HTTP. The value is in none of them.

use std::path::Path;

use serde::Serialize;

use super::errors::error_text;
use super::escape::{Quoted, Shown};
use super::failures::read_error_text;
use super::json::one_line;
use super::metrics::{Kind, Labels, family};
use super::names::Names;
use super::times::{local_text, utc_text};
use super::{Level, Report};
use crate::clock::Clock;
use crate::facts::followed::{FileStands, Holding, Kept, Refresh, Round};
use crate::io_text::io_text;
use crate::local::followed::{Replacement, Why};
use crate::vault::kv::FieldTrouble;
use crate::version::Version;

/// What is followed, and where to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Following<'a> {
    /// Mount and path of the secret.
    pub(crate) secret: &'a str,
    /// The field.
    pub(crate) field: &'a str,
    /// The file.
    pub(crate) out: &'a Path,
    /// Which deployment it is for, if somebody said so.
    pub(crate) deployment_hash: Option<&'a str>,
}

impl Report<'_> {
    /// The end of a round, but for what it replaced. One that found nothing to do is told if `always`.
    pub(crate) fn round(&self, following: Following<'_>, round: &Round, always: bool) {
        let out = self.names.path(following.out);
        let stands = stands_text(&round.file, &out);
        let Some(kept) = &round.kept else {
            match &round.file {
                FileStands::Unwritten(error, _) | FileStands::Unread(error) => {
                    let text = format!("FAIL: {out} cannot be written: {}; {stands}", io_text(error));
                    self.event(Level::Error, &text, "");
                }
                FileStands::Held if always => {
                    let secret = Shown(following.secret);
                    self.event(Level::Info, &format!("OK unchanged: {out} holds what {secret} holds"), "");
                }
                FileStands::Held | FileStands::Replaced(_) | FileStands::Empty => {}
            }
            return;
        };
        let stands = match &round.file {
            FileStands::Unwritten(error, _) => format!("{stands}, and cannot be written: {}", io_text(error)),
            FileStands::Held | FileStands::Replaced(_) | FileStands::Empty | FileStands::Unread(_) => stands,
        };
        let why = kept_text(following, kept, self.clock, &self.names);
        let text = match kept {
            Kept::Stopped(signal) => {
                format!("FAIL: stopped by {} while it fetched; {stands}", signal.unwrap_or("a signal"))
            }
            Kept::NoToken(_)
            | Kept::Vault(_)
            | Kept::Absent
            | Kept::NoStore
            | Kept::Deleted { .. }
            | Kept::Field(_)
            | Kept::Stale { .. } => format!("FAIL: Failed to fetch token from Vault: {why}; {stands}"),
        };
        if self.event(Level::Error, &text, "")
            && let Kept::Vault(error) = kept
            && let Some(remedy) = super::remedies::error_remedy(error, &self.names)
        {
            self.hint(&remedy);
        }
    }

    /// That the file was replaced. Each time is an event of its own, however alike they look.
    pub(crate) fn replacement(&self, following: Following<'_>, replacement: &Replacement) {
        let out = self.names.path(following.out);
        let (level, text) = replacement_text(following, replacement, &out);
        if let Some(repeats) = self.repeats {
            repeats.forget_failures();
        }
        self.tell(level, &text);
    }

    /// That a signature was refused, and nothing of it.
    pub(crate) fn refused_signature(&self, why: &'static str) {
        self.event(Level::Warning, &format!("WARN: a signature was refused ({why})"), "");
    }
}

/// What the file holds at the end of a round, to be said after what went wrong.
fn stands_text(file: &FileStands, out: &str) -> String {
    match file {
        FileStands::Held | FileStands::Unwritten(_, Holding::Former) => format!("{out} keeps what it holds"),
        FileStands::Replaced(_) => format!("{out} holds what it did before"),
        FileStands::Unwritten(_, Holding::Nothing) | FileStands::Empty => format!("{out} holds nothing yet"),
        FileStands::Unwritten(_, Holding::SomethingElse) => format!("{out} holds something else"),
        FileStands::Unread(error) => format!("{out} cannot be read: {}", io_text(error)),
    }
}

fn replacement_text(following: Following<'_>, replacement: &Replacement, out: &str) -> (Level, String) {
    let Replacement { mount, path, .. } = replacement;
    let secret = [mount.as_str(), path].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>();
    let secret = Shown(&secret.join("/")).to_string();
    let what = replacement.new.map_or(secret.clone(), |new| format!("version {} of {secret}", new.number));
    match replacement.why {
        Why::First => (Level::Info, format!("Token fetched: {out} holds {what} now; it held nothing")),
        Why::Unread => {
            (Level::Info, format!("Token fetched: {out} holds {what} now; what it held could not be read"))
        }
        Why::Trimmed => {
            (Level::Info, format!("Token fetched: {out} holds {what} now; white space around it has changed"))
        }
        Why::PutBack => (Level::Warning, format!("WARN: somebody had changed {out}; it holds {what} again")),
        Why::Rotated => {
            let audit = rotation_text(following, replacement);
            (Level::Info, format!("Token rotated: {out} holds {what} now; {audit}"))
        }
        Why::Restored => {
            let audit = rotation_text(following, replacement);
            let text = format!(
                "WARN: Token rotated: {out} holds {what} now, which is older than what it held, and the server has \
                 said so three times; was it restored from a backup? {audit}"
            );
            (Level::Warning, text)
        }
    }
}

/// A rotation in the words of the audit. No value is in it, and nothing that was derived from one.
fn rotation_text(following: Following<'_>, replacement: &Replacement) -> String {
    let number =
        |version: Option<Version>| version.map_or("-".to_owned(), |version| version.number.to_string());
    let hash = following.deployment_hash.map(|hash| format!(" deployment_hash={}", Quoted(hash)));
    format!(
        "event=token_rotated mount={} path={}{} old_version={} new_version={} age_seconds={}",
        Quoted(&replacement.mount),
        Quoted(&replacement.path),
        hash.unwrap_or_default(),
        number(replacement.old),
        number(replacement.new),
        replacement.age.map_or("-".to_owned(), |age| age.to_string())
    )
}

/// A line of the audit log.
pub(crate) fn audit_line(following: Following<'_>, replacement: &Replacement) -> String {
    format!("time={} {}\n", utc_text(replacement.at), rotation_text(following, replacement))
}

fn kept_text(following: Following<'_>, kept: &Kept, clock: Clock, names: &Names<'_>) -> String {
    let (secret, field) = (Shown(following.secret), Quoted(following.field));
    match kept {
        Kept::NoToken(error) => {
            format!("no token to ask with: {}: {}", names.token_file(), read_error_text(error))
        }
        Kept::Vault(error) => error_text(error),
        Kept::Absent => format!("there is no secret {secret}"),
        Kept::NoStore => format!("no KV store is mounted where {secret} should be"),
        Kept::Deleted { destroyed: false } => format!("the last version of {secret} was deleted"),
        Kept::Deleted { destroyed: true } => format!("the last version of {secret} was destroyed"),
        Kept::Field(FieldTrouble::Missing) => format!("{secret} has no field {field}"),
        Kept::Field(FieldTrouble::Empty) => format!("the field {field} of {secret} is empty"),
        Kept::Field(FieldTrouble::NoString) => format!("the field {field} of {secret} is not a string"),
        Kept::Stale { held, seen } => format!(
            "an answer that is out of date: version {} of {secret}, of {}, and version {} of {} is held",
            seen.number,
            local_text(clock, seen.created_at()),
            held.number,
            local_text(clock, held.created_at())
        ),
        Kept::Stopped(_) => String::new(),
    }
}

/// What there is to know at the moment it is asked for. Times are seconds since 1970, this machine's clock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Held<'a> {
    /// Whether a value is held.
    pub(crate) is_there: bool,
    /// Which version it is, if there are versions and it is known.
    pub(crate) version: Option<Version>,
    /// Since when it is the current one.
    pub(crate) since: Option<u64>,
    /// Whether the last fetch ended well; none before the first.
    pub(crate) last_ok: Option<bool>,
    /// When a fetch last ended well.
    pub(crate) refreshed: Option<u64>,
    /// Whether that is long ago.
    pub(crate) is_stale: bool,
    /// What was counted.
    pub(crate) counts: &'a Counts,
}

/// What was counted since the process began.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Rotations.
    pub(crate) rotations: u64,
    /// Fetches, in the order of [`Refresh::ALL`].
    pub(crate) refreshes: [u64; Refresh::ALL.len()],
    /// Signatures, by the names of their judgements.
    pub(crate) signatures: [(&'static str, u64); 4],
}

#[derive(Debug, Serialize)]
struct Health {
    status: &'static str,
    token_age_seconds: Option<u64>,
    last_refresh_ok: Option<bool>,
    last_refresh_age_seconds: Option<u64>,
    version: Option<u64>,
}

/// Whether it is well at `now`, and what `/health` answers.
pub(crate) fn health_page(held: Held<'_>, now: u64) -> (bool, String) {
    let is_well = held.is_there && !held.is_stale;
    let health = Health {
        status: match (is_well, held.last_ok) {
            (false, _) => "failed",
            (true, Some(true)) => "ok",
            (true, Some(false) | None) => "degraded",
        },
        token_age_seconds: held.since.map(|since| now.saturating_sub(since)),
        last_refresh_ok: held.last_ok,
        last_refresh_age_seconds: held.refreshed.map(|at| now.saturating_sub(at)),
        version: held.version.map(|version| version.number),
    };
    (is_well, one_line(&health) + "\n")
}

/// What `/metrics` answers at `now`.
pub(crate) fn metrics_page(held: Held<'_>, labels: Labels<'_>, now: u64) -> String {
    let mut text = String::new();
    let counts = held.counts;
    family(
        &mut text,
        ("vault_token_rotations_total", Kind::Counter, "Values that took the place of another one."),
        labels,
        &[(None, counts.rotations.to_string())],
    );
    let refreshes = Refresh::ALL.iter().zip(&counts.refreshes);
    let refreshes: Vec<_> = refreshes.map(|(how, count)| (Some(how.id()), count.to_string())).collect();
    let about = "Fetches of the secret, by result.";
    family(&mut text, ("vault_token_refresh_total", Kind::Counter, about), labels, &refreshes);
    let signatures: Vec<_> =
        counts.signatures.iter().map(|(how, count)| (Some(*how), count.to_string())).collect();
    let about = "Signatures that were checked, by result.";
    family(&mut text, ("vault_token_signatures_total", Kind::Counter, about), labels, &signatures);
    let age =
        |at: Option<u64>, none: &str| at.map_or(none.to_owned(), |at| now.saturating_sub(at).to_string());
    for (name, help, value) in [
        (
            "vault_token_age_seconds",
            "How long ago the value that is held was written; NaN if none is.",
            age(held.since, "NaN"),
        ),
        (
            "vault_token_last_refresh_age_seconds",
            "How long ago a fetch last ended well; +Inf if none ever did.",
            // Whoever waits for a first fetch in vain has to be told by the same alert.
            age(held.refreshed, "+Inf"),
        ),
        (
            "vault_token_last_refresh_timestamp_seconds",
            "When a fetch last ended well; 0 if none ever did.",
            held.refreshed.unwrap_or(0).to_string(),
        ),
    ] {
        family(&mut text, (name, Kind::Gauge, help), labels, &[(None, value)]);
    }
    text
}

/// How it stands, in one line for whoever asks the service manager. No word in it is a server's.
pub(crate) fn standing_text(round: &Round, version: Option<Version>, next: u64, clock: Clock) -> String {
    let holds = match version {
        Some(version) if round.holds() => format!("version {} held, ", version.number),
        Some(_) => "the file does not hold what it should, ".to_owned(),
        None => String::new(),
    };
    let went = match round.refresh() {
        Some(Refresh::Ok) | None => "fetched".to_owned(),
        Some(other) => format!("not fetched ({})", other.id()),
    };
    format!("{holds}{went}, next at {}", local_text(clock, next))
}
