//! The same facts for a program: one JSON object on standard output.
//!
//! The names are a contract, numbered by [`SCHEMA`]: names may be added under the same number, but none changes
//! its meaning or goes. Lengths of time are seconds, points in time are RFC 3339 in UTC. Accessors are whole
//! here, since a program can do nothing with a shortened one. There is no token in it.

use std::path::Path;

use super::escape::harmless_json;
use super::sweeps::sweep_end_text;
use super::times::utc_text;
use crate::config::Settings;
use crate::facts::forecast::Forecast;
use crate::facts::outcome::Outcome;
use crate::facts::swept::Swept;
use crate::identity::Identity;
use crate::local::history::HeldToken;
use crate::token::Accessor;
use serde::Serialize;

/// The version of all objects here.
pub(super) const SCHEMA: u32 = 1;

/// One object, on one line.
pub(super) fn one_line(object: &impl Serialize) -> String {
    // Nothing in these objects can fail to be written: no map, no key but a name.
    harmless_json(&serde_json::to_string(object).unwrap_or_default())
}

/// A run that is over, or was only thought through.
#[derive(Debug, Serialize)]
pub(super) struct RunObject<'a> {
    schema: u32,
    verb: &'static str,
    dry_run: bool,
    outcome: &'static str,
    reason: Option<&'static str>,
    exit_status: u8,
    message: String,
    hint: Option<String>,
    identity: IdentityObject<'a>,
    token_file: String,
    token: Option<TokenObject>,
    sweep: Option<SweepObject<'a>>,
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

impl<'a> Subject<'a> {
    /// A run of `verb` with these settings, at `now` (seconds since 1970).
    pub(crate) fn new(verb: &'static str, settings: &'a Settings, now: u64) -> Self {
        Self { verb, identity: &settings.identity, token_file: settings.token_file.path(), now }
    }
}

/// What makes a token ours, and how it is minted.
#[derive(Debug, Serialize)]
pub(super) struct IdentityObject<'a> {
    display_name: &'a str,
    required_policy: &'a str,
    policies: &'a [String],
    period: u64,
}

impl<'a> From<&'a Identity> for IdentityObject<'a> {
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
struct TokenObject {
    display_name: String,
    ours: bool,
    ttl: Option<u64>,
    expires_at: Option<String>,
}

impl TokenObject {
    fn new(held: &HeldToken, now: u64) -> Self {
        Self {
            display_name: held.display_name.clone(),
            ours: held.ours,
            ttl: held.ends_at.map(|end| end.saturating_sub(now)),
            expires_at: held.ends_at.map(utc_text),
        }
    }
}

#[derive(Debug, Serialize)]
struct SweepObject<'a> {
    end: &'static str,
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revoked: Option<&'a [Accessor]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    would_revoke: Option<&'a [Accessor]>,
    may_not_be_revoked: &'a [Accessor],
    could_not_be_looked_at: &'a [Accessor],
}

impl<'a> SweepObject<'a> {
    fn new(swept: &'a Swept, dry_run: bool) -> Self {
        let (revoked, would_revoke) =
            if dry_run { (None, Some(&*swept.stale)) } else { (Some(&*swept.stale), None) };
        Self {
            end: swept.end.id(),
            reason: Some(sweep_end_text(&swept.end)).filter(|reason| !reason.is_empty()),
            revoked,
            would_revoke,
            may_not_be_revoked: &swept.irrevocable,
            could_not_be_looked_at: &swept.indigestible,
        }
    }
}

impl<'a> RunObject<'a> {
    /// A run that ended. `held` is what is in the token file now, as far as it is known.
    pub(super) fn over(
        subject: Subject<'a>,
        outcome: &'a Outcome,
        (message, hint): (String, Option<String>),
        (held, exit_status): (Option<&HeldToken>, u8),
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
            token: held.map(|held| TokenObject::new(held, now)),
            sweep: outcome.sweep().map(|swept| SweepObject::new(swept, false)),
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
            token: forecast.held(now).map(|held| TokenObject::new(&held, now)),
            sweep: forecast.sweep().map(|swept| SweepObject::new(swept, true)),
            warnings,
        }
    }
}

/// A run that never began, because the settings are wrong.
#[derive(Debug, Serialize)]
pub(super) struct UsageObject<'a> {
    schema: u32,
    outcome: &'static str,
    exit_status: u8,
    message: &'a str,
}

impl<'a> UsageObject<'a> {
    pub(super) fn new(message: &'a str, exit_status: u8) -> Self {
        Self { schema: SCHEMA, outcome: "usage", exit_status, message }
    }
}
