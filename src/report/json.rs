//! The same facts for a program: one JSON object on standard output.
//!
//! The names are a contract, numbered by [`SCHEMA`]: names may be added under the same number, but none changes
//! its meaning or goes. Lengths of time are seconds, points in time are RFC 3339 in UTC. Accessors are whole
//! here, since a program can do nothing with a shortened one. There is no token in it.

use std::path::Path;

use super::lines::sweep_end_text;
use super::times::instant;
use crate::facts::forecast::Forecast;
use crate::facts::outcome::Outcome;
use crate::facts::swept::SweepReport;
use crate::identity::Identity;
use crate::local::history::Seen;
use crate::token::Accessor;
use serde::Serialize;

/// The version of all objects here.
pub(super) const SCHEMA: u32 = 1;

/// A run that is over, or was only thought through.
#[derive(Debug, Serialize)]
pub(super) struct Document<'a> {
    schema: u32,
    verb: &'static str,
    dry_run: bool,
    outcome: &'static str,
    reason: Option<&'static str>,
    exit_status: u8,
    message: String,
    hint: Option<String>,
    identity: Whose<'a>,
    token_file: String,
    token: Option<Token>,
    sweep: Option<Sweep<'a>>,
    warnings: Vec<String>,
}

/// What a run is about, whatever becomes of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Subject<'a> {
    /// `pass` or `sweep`; `status` after a fault of the program.
    pub(crate) verb: &'static str,
    /// Whose tokens.
    pub(crate) identity: &'a Identity,
    /// Kept where.
    pub(crate) token_file: &'a Path,
    /// Now, in seconds since 1970.
    pub(crate) now: u64,
}

/// What makes a token ours, and how it is minted.
#[derive(Debug, Serialize)]
pub(super) struct Whose<'a> {
    display_name: &'a str,
    required_policy: &'a str,
    policies: &'a [String],
    period: u64,
}

impl<'a> From<&'a Identity> for Whose<'a> {
    fn from(identity: &'a Identity) -> Self {
        Self {
            display_name: &identity.display_name,
            required_policy: &identity.required_policy,
            policies: &identity.policies,
            period: identity.period,
        }
    }
}

/// The token in the token file when the run was over; what never ends has neither `ttl` nor `expires_at`.
#[derive(Debug, Serialize)]
struct Token {
    display_name: String,
    ours: bool,
    ttl: Option<u64>,
    expires_at: Option<String>,
}

impl Token {
    fn new(seen: &Seen, now: u64) -> Self {
        Self {
            display_name: seen.display_name.clone(),
            ours: seen.ours,
            ttl: seen.ends_at.map(|end| end.saturating_sub(now)),
            expires_at: seen.ends_at.map(instant),
        }
    }
}

#[derive(Debug, Serialize)]
struct Sweep<'a> {
    end: &'static str,
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revoked: Option<&'a [Accessor]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    would_revoke: Option<&'a [Accessor]>,
    may_not_be_revoked: &'a [Accessor],
    could_not_be_looked_at: &'a [Accessor],
}

impl<'a> Sweep<'a> {
    fn new(report: &'a SweepReport, dry_run: bool) -> Self {
        let (revoked, would_revoke) =
            if dry_run { (None, Some(&*report.stale)) } else { (Some(&*report.stale), None) };
        Self {
            end: report.end.id(),
            reason: Some(sweep_end_text(&report.end)).filter(|reason| !reason.is_empty()),
            revoked,
            would_revoke,
            may_not_be_revoked: &report.kept,
            could_not_be_looked_at: &report.indigestible,
        }
    }
}

impl<'a> Document<'a> {
    /// A run that ended. `seen` is what is in the token file now, as far as it is known.
    pub(super) fn over(
        subject: Subject<'a>,
        outcome: &'a Outcome,
        (message, hint): (String, Option<String>),
        (seen, exit_status): (Option<&Seen>, u8),
        warnings: Vec<String>,
    ) -> Self {
        let Subject { verb, identity, token_file, now } = subject;
        Self {
            schema: SCHEMA,
            verb,
            dry_run: false,
            outcome: outcome.id(),
            reason: outcome.reason(),
            exit_status,
            message,
            hint,
            identity: identity.into(),
            token_file: token_file.to_string_lossy().into_owned(),
            token: seen.map(|seen| Token::new(seen, now)),
            sweep: outcome.sweep().map(|report| Sweep::new(report, false)),
            warnings,
        }
    }

    /// A run that was only thought through.
    pub(super) fn foreseen(
        subject: Subject<'a>,
        forecast: &'a Forecast,
        (message, hint): (String, Option<String>),
        exit_status: u8,
        warnings: Vec<String>,
    ) -> Self {
        let Subject { verb, identity, token_file, now } = subject;
        Self {
            schema: SCHEMA,
            verb,
            dry_run: true,
            outcome: forecast.id(),
            reason: forecast.reason(),
            exit_status,
            message,
            hint,
            identity: identity.into(),
            token_file: token_file.to_string_lossy().into_owned(),
            token: forecast.seen(now).map(|seen| Token::new(&seen, now)),
            sweep: forecast.sweep().map(|report| Sweep::new(report, true)),
            warnings,
        }
    }
}

/// A run that never began, because the settings are wrong.
#[derive(Debug, Serialize)]
pub(super) struct Usage<'a> {
    schema: u32,
    outcome: &'static str,
    exit_status: u8,
    message: &'a str,
}

impl<'a> Usage<'a> {
    pub(super) fn new(message: &'a str, exit_status: u8) -> Self {
        Self { schema: SCHEMA, outcome: "usage", exit_status, message }
    }
}
