//! What a dry run found out, in plain words.

use super::outcome::{Failure, SweepEnd, SweepReport};
use super::words::{self, Names, Quoted, Shown};
use crate::config::SweepMode;
use crate::identity::{Dying, Identity};
use crate::local::history::Seen;
use crate::vault::{RENEW_SELF_PATH, REVOKE_ACCESSOR_PATH};

/// What a run would do.
#[derive(Debug)]
#[must_use]
pub(crate) enum Forecast {
    /// Renew our token.
    Renew {
        /// Its name.
        display_name: String,
        /// Seconds it has left.
        ttl: u64,
        /// The sweep an earlier run could not finish, if one is due.
        sweep: Option<SweepReport>,
        /// Whether an earlier run did not get to run the deploy hook.
        owes_hook: bool,
    },
    /// Mint ours.
    Heal {
        /// The name of the token in the file.
        display_name: String,
        /// Seconds it has left.
        ttl: u64,
        /// Why it will end, if it is ours.
        dying: Option<Dying>,
        /// The path on which it may mint.
        path: &'static str,
        /// Whether it bears our name, so that the sweep will revoke it.
        leftover: bool,
        /// What the sweep would find.
        sweep: SweepReport,
    },
    /// Fail for want of authority.
    Denied {
        /// The name of the token in the file.
        display_name: String,
        /// Seconds it has left.
        ttl: u64,
        /// Why it will end, if it is ours.
        dying: Option<Dying>,
        /// What it lacks.
        reason: NoAuthority,
    },
    /// Try to mint ours: Vault does not tell whether the token may.
    Try {
        /// The name of the token in the file.
        display_name: String,
        /// Seconds it has left.
        ttl: u64,
        /// Why it will end, if it is ours.
        dying: Option<Dying>,
    },
    /// Fail to renew our token, because it may not renew itself.
    NotRenewed {
        /// Its name.
        display_name: String,
        /// Seconds it has left.
        ttl: u64,
    },
    /// Sweep, as the verb does.
    Sweep {
        /// The name of the token in the file.
        display_name: String,
        /// Seconds it has left.
        ttl: u64,
        /// What it would find.
        sweep: SweepReport,
    },
    /// Fail for another reason.
    Failed(Failure),
}

/// Whether a token may mint ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Authority {
    /// It may, on this path.
    On(&'static str),
    /// It may not.
    Lacking(NoAuthority),
    /// It may not even ask what it may.
    Untold,
}

/// Why a token may not mint ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NoAuthority {
    /// Batch tokens never mint.
    Batch,
    /// Tokens with a limited number of uses never mint.
    UseLimited,
    /// It lacks `update` and `sudo` on both paths; these it has.
    Capabilities([(&'static str, Vec<String>); 2]),
}

impl Forecast {
    /// The lines of a dry run. `has_hook` is whether this run may run one.
    pub(crate) fn lines(
        &self,
        names: &Names<'_>,
        identity: &Identity,
        mode: SweepMode,
        has_hook: bool,
    ) -> Vec<String> {
        let file = names.token_file();
        match self {
            Self::Renew { display_name, ttl, sweep, owes_hook } => {
                let mut lines = vec![
                    holds_ours(&file, display_name, *ttl),
                    "would renew it; would leave the file as it is".to_owned(),
                ];
                if let Some(report) = sweep {
                    lines.push("would resume the sweep that an earlier run could not finish".to_owned());
                    lines.extend(sweep_lines(report, mode));
                }
                if *owes_hook && has_hook {
                    lines.push("would run the deploy hook, which an earlier run owes".to_owned());
                }
                lines
            }
            Self::Heal { display_name, ttl, dying, path, leftover, sweep } => {
                let mut lines = vec![in_the_file(&file, display_name, *ttl, *dying)];
                lines.push(format!(
                    "would mint {} (policies {}; period {}s; orphan): the token may, on {path}",
                    identity.display_name,
                    Shown(&identity.policies.join(", ")),
                    identity.period,
                ));
                lines.push(match dying {
                    None if !leftover => format!("would replace {file}, and leave the foreign token alive"),
                    Some(_) | None => format!("would replace {file}"),
                });
                lines.extend(sweep_lines(sweep, mode));
                lines.extend(has_hook.then(|| "would run the deploy hook".to_owned()));
                lines
            }
            Self::Denied { display_name, ttl, dying, reason } => {
                let why = match reason {
                    NoAuthority::Batch => "batch tokens cannot mint".to_owned(),
                    NoAuthority::UseLimited => words::NEVER_MINTS.to_owned(),
                    NoAuthority::Capabilities(found) => {
                        let found = found.iter().map(|(path, list)| format!("{path}: {}", list.join(", ")));
                        Shown(&found.collect::<Vec<_>>().join("; ")).to_string()
                    }
                };
                let kind = if dying.is_some() { "token" } else { "foreign token" };
                vec![
                    in_the_file(&file, display_name, *ttl, *dying),
                    format!("would fail: heal denied, {kind} lacks create authority ({why})"),
                    names.recovery(),
                ]
            }
            Self::Try { display_name, ttl, dying } => vec![
                in_the_file(&file, display_name, *ttl, *dying),
                format!(
                    "would try to mint {}; Vault does not tell whether the token may",
                    identity.display_name
                ),
            ],
            Self::NotRenewed { display_name, ttl } => vec![
                holds_ours(&file, display_name, *ttl),
                format!("would fail: the token may not renew itself ({RENEW_SELF_PATH} takes update)"),
            ],
            Self::Sweep { sweep, .. } => sweep_lines(sweep, mode),
            Self::Failed(failure) => vec![format!("FAIL: {}", words::failure(failure, names))],
        }
    }

    /// What to do about it, where the lines do not say.
    pub(crate) fn remedy(&self, names: &Names<'_>) -> Option<String> {
        match self {
            Self::Failed(failure) => words::remedy(failure, names),
            Self::NotRenewed { .. } => Some(words::MAY_RENEW.to_owned()),
            Self::Renew { .. }
            | Self::Heal { .. }
            | Self::Denied { .. }
            | Self::Try { .. }
            | Self::Sweep { .. } => None,
        }
    }

    /// The stable name of what would happen.
    pub(super) fn id(&self) -> &'static str {
        match self {
            Self::Renew { .. } => "would_renew",
            Self::Heal { .. } => "would_heal",
            Self::Denied { dying: None, .. } => "would_drift",
            Self::Try { .. } => "would_try",
            Self::Sweep { sweep, .. } if sweep.is_full() => "would_sweep",
            Self::Denied { dying: Some(_), .. }
            | Self::NotRenewed { .. }
            | Self::Sweep { .. }
            | Self::Failed(_) => "would_fail",
        }
    }

    /// The stable name of why it would not end well.
    pub(super) fn reason(&self) -> Option<&'static str> {
        match self {
            Self::Renew { .. } | Self::Heal { .. } => None,
            Self::Denied { dying: None, .. } | Self::NotRenewed { .. } => Some("denied"),
            Self::Try { .. } => Some("not_told"),
            Self::Denied { dying: Some(_), .. } => Some("not_renewable"),
            Self::Sweep { sweep, .. } => (!sweep.is_full()).then_some("sweep_incomplete"),
            Self::Failed(failure) => Some(failure.id()),
        }
    }

    /// The token that is in the token file at `now` (seconds since 1970), as far as it is known.
    pub(super) fn seen(&self, now: u64) -> Option<Seen> {
        let (display_name, ttl, ours) = match self {
            Self::Renew { display_name, ttl, .. }
            | Self::NotRenewed { display_name, ttl }
            | Self::Sweep { display_name, ttl, .. } => (display_name, *ttl, true),
            Self::Heal { display_name, ttl, dying, .. }
            | Self::Denied { display_name, ttl, dying, .. }
            | Self::Try { display_name, ttl, dying } => (display_name, *ttl, dying.is_some()),
            Self::Failed(_) => return None,
        };
        let ends_at = (ttl > 0).then(|| now.saturating_add(ttl));
        Some(Seen { display_name: display_name.clone(), ours, ends_at, lease: None, dying: None })
    }

    /// What a sweep would do, if there would be one.
    pub(super) fn sweep(&self) -> Option<&SweepReport> {
        match self {
            Self::Renew { sweep, .. } => sweep.as_ref(),
            Self::Heal { sweep, .. } | Self::Sweep { sweep, .. } => Some(sweep),
            Self::Denied { .. } | Self::Try { .. } | Self::NotRenewed { .. } | Self::Failed(_) => None,
        }
    }

    /// Whether the real run would end well.
    pub(crate) fn is_good(&self) -> bool {
        match self {
            Self::Renew { .. } | Self::Heal { .. } => true,
            Self::Sweep { sweep, .. } => sweep.is_full(),
            // Nobody can promise that a try ends well.
            Self::Denied { .. } | Self::Try { .. } | Self::NotRenewed { .. } | Self::Failed(_) => false,
        }
    }

    /// The exit status the real run would have, as far as Vault tells.
    pub(crate) fn exit_status(&self) -> u8 {
        u8::from(!self.is_good())
    }

    /// The exit status the real run would have with `--detailed-exitcode`.
    pub(crate) fn detailed_exit_status(&self) -> u8 {
        match self {
            Self::Renew { .. } => 10,
            Self::Heal { .. } => 11,
            Self::Denied { dying: None, .. } => 3,
            Self::Denied { dying: Some(_), .. } => 5,
            Self::Try { .. } | Self::NotRenewed { .. } => 1,
            Self::Sweep { sweep, .. } => sweep.detailed_exit_status(),
            Self::Failed(failure) => failure.detailed_exit_status(),
        }
    }
}

fn in_the_file(file: &str, display_name: &str, ttl: u64, dying: Option<Dying>) -> String {
    match dying {
        Some(dying) => format!(
            "{file} holds our token (dn={} {}), which is dying: {}",
            Quoted(display_name),
            life(ttl),
            words::dying(dying)
        ),
        None => format!("{file} holds a foreign token (dn={} {})", Quoted(display_name), life(ttl)),
    }
}

fn holds_ours(file: &str, display_name: &str, ttl: u64) -> String {
    format!("{file} holds our token (dn={} {})", Shown(display_name), life(ttl))
}

/// How long a token has; a root token has no end, and its lookup says 0.
fn life(ttl: u64) -> String {
    if ttl == 0 { "without end".to_owned() } else { format!("ttl={ttl}s") }
}

fn sweep_lines(report: &SweepReport, mode: SweepMode) -> Vec<String> {
    if matches!(report.end, SweepEnd::Off) {
        return vec!["would not sweep: it is switched off".to_owned()];
    }
    let mut lines = Vec::new();
    lines.push(format!(
        "would revoke {} stale periodic token(s){}",
        report.stale.len(),
        words::accessors(&report.stale)
    ));
    if !report.kept.is_empty() {
        lines.push(format!(
            "may not revoke {} more ({REVOKE_ACCESSOR_PATH} takes update){}",
            report.kept.len(),
            words::accessors(&report.kept)
        ));
    }
    match mode {
        SweepMode::Remembered => {
            lines.push("would look only at what this machine remembers minting".to_owned());
        }
        SweepMode::Walk | SweepMode::Off => {}
    }
    if report.unseen > 0 {
        lines.push(format!("cannot look at {} remembered token(s) with this token", report.unseen));
    }
    let reason = report.end.reason();
    if !reason.is_empty() {
        lines.push(format!("cannot see all tokens with this token ({reason})"));
    }
    lines
}
