//! What a dry run found out, in plain words.

use super::escape::{Quoted, Shown};
use super::failures;
use super::names::Names;
use super::sweeps;
use super::times::span_text;
use crate::config::SweepMode;
use crate::facts::authority::NoAuthority;
use crate::facts::forecast::{Forecast, Shortfall};
use crate::facts::swept::{SweepEnd, Swept};
use crate::identity::{Dying, Identity};
use crate::vault::{RENEW_SELF_PATH, REVOKE_ACCESSOR_PATH};

/// The lines of a dry run. `has_hook` is whether this run may run one.
pub(super) fn forecast_lines(
    forecast: &Forecast,
    names: &Names<'_>,
    identity: &Identity,
    mode: SweepMode,
    has_hook: bool,
) -> Vec<String> {
    let file = names.token_file();
    match forecast {
        Forecast::Renew { display_name, ttl, sweep, owes_hook, shortfall } => {
            let mut lines = vec![
                holds_ours(&file, display_name, *ttl),
                "would renew it; would leave the file as it is".to_owned(),
            ];
            if let Some(swept) = sweep {
                lines.push("would resume the sweep that an earlier run could not finish".to_owned());
                lines.extend(sweep_lines(swept, mode));
            }
            if *owes_hook && has_hook {
                lines.push("would run the deploy hook, which an earlier run owes".to_owned());
            }
            lines.extend(shortfall.map(shortfall_text));
            lines
        }
        Forecast::Heal { display_name, ttl, dying, path, leftover, sweep, shortfall } => {
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
            lines.extend(shortfall.map(shortfall_text));
            lines
        }
        Forecast::Denied { display_name, ttl, dying, reason } => {
            let why = match reason {
                NoAuthority::Batch => "batch tokens cannot mint".to_owned(),
                NoAuthority::UseLimited => failures::NEVER_MINTS.to_owned(),
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
        Forecast::Try { display_name, ttl, dying } => vec![
            in_the_file(&file, display_name, *ttl, *dying),
            format!("would try to mint {}; Vault does not tell whether the token may", identity.display_name),
        ],
        Forecast::Worthless { display_name, ttl, dying, policy } => vec![
            in_the_file(&file, display_name, *ttl, *dying),
            format!(
                "would fail: the server has no policy {}, which the settings require; a token minted with \
                 it could do nothing",
                Quoted(policy)
            ),
        ],
        Forecast::NotRenewed { display_name, ttl } => vec![
            holds_ours(&file, display_name, *ttl),
            format!("would fail: the token may not renew itself ({RENEW_SELF_PATH} takes update)"),
        ],
        Forecast::Sweep { sweep, .. } => sweep_lines(sweep, mode),
        Forecast::Failed(failure) => vec![format!("FAIL: {}", failures::failure_text(failure, names))],
    }
}

fn shortfall_text(Shortfall { left, next_run }: Shortfall) -> String {
    let (left, next_run) = (span_text(left), span_text(next_run));
    format!("would still fail: the token would expire in {left}, and the next run comes in {next_run}")
}

fn in_the_file(file: &str, display_name: &str, ttl: u64, dying: Option<Dying>) -> String {
    match dying {
        Some(dying) => format!(
            "{file} holds our token (dn={} {}), which is dying: {}",
            Quoted(display_name),
            life(ttl),
            failures::dying_text(dying)
        ),
        None => format!("{file} holds a foreign token (dn={} {})", Quoted(display_name), life(ttl)),
    }
}

fn holds_ours(file: &str, display_name: &str, ttl: u64) -> String {
    format!("{file} holds our token (dn={} {})", Shown(display_name), life(ttl))
}

/// How long a token has; a root token has no end, and its lookup says 0.
fn life(ttl: u64) -> String {
    if ttl == 0 { "never expires".to_owned() } else { format!("ttl={ttl}s") }
}

fn sweep_lines(swept: &Swept, mode: SweepMode) -> Vec<String> {
    if matches!(swept.end, SweepEnd::Off) {
        return vec!["would not sweep: it is switched off".to_owned()];
    }
    let mut lines = Vec::new();
    lines.push(format!(
        "would revoke {} stale periodic token(s){}",
        swept.stale.len(),
        sweeps::accessors_text(&swept.stale)
    ));
    if !swept.irrevocable.is_empty() {
        lines.push(format!(
            "may not revoke {} more ({REVOKE_ACCESSOR_PATH} takes update){}",
            swept.irrevocable.len(),
            sweeps::accessors_text(&swept.irrevocable)
        ));
    }
    match mode {
        SweepMode::Remembered => {
            lines.push("would look only at what this machine remembers minting".to_owned());
        }
        SweepMode::Walk | SweepMode::Off => {}
    }
    if swept.lookup_denied > 0 {
        lines.push(format!("cannot look at {} remembered token(s) with this token", swept.lookup_denied));
    }
    let reason = sweeps::sweep_end_text(&swept.end);
    if !reason.is_empty() {
        lines.push(format!("cannot see all tokens with this token ({reason})"));
    }
    lines
}
