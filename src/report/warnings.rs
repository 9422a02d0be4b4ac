//! The words of a warning, without time stamp and level.

use super::escape::{Quoted, Shown};
use super::names::Names;
use super::times::span_text;
use super::{errors, failures};
use crate::config::SettingsWarning;
use crate::facts::warning::Warning;
use crate::io_text::io_text;
use crate::local::token_file::LooseMode;

/// What is said, without time stamp and level.
pub(super) fn warning_text(warning: &Warning, names: &Names<'_>) -> String {
    match warning {
        Warning::Settings(SettingsWarning::TokenVariableIgnored(name)) => {
            format!(
                "{name} is set and ignored here; the vault command line uses it instead of the token file"
            )
        }
        Warning::Settings(SettingsWarning::TokenVariableOfAgent(name)) => format!(
            "{name} is set and ignored: follow asks with the token in {}; to put this one there: (umask 077; printf %s \
             \"${name}\" > {})",
            names.token_file(),
            names.token_file()
        ),
        Warning::Settings(SettingsWarning::VerificationOff { switch, .. }) => {
            format!("{switch} is set: the server's certificate is not verified")
        }
        Warning::Settings(SettingsWarning::TokenHelper(file)) => format!(
            "{} sets a token_helper, so a login does not write to {}",
            names.path(file),
            names.token_file()
        ),
        Warning::Settings(SettingsWarning::ListenOverridden(key)) => format!(
            "{key} is not used, because ExecStart= in the unit says --listen; to listen elsewhere, change that with \
             `systemctl --user edit`"
        ),
        Warning::SettingsKept(error) => {
            format!("the settings cannot be read, keeping the last good ones: {}", errors::chain_text(error))
        }
        Warning::TokenFileMoved { to } => format!(
            "the settings name another token file ({}) or state directory; keeping the ones before until watch is \
             restarted",
            names.path(to)
        ),
        Warning::BriefLease { lease } => format!(
            "the token is renewed for {lease}s at a time: too short to survive a failed run; give it a longer period"
        ),
        Warning::Unaddressed { address } => format!(
            "no address is configured, so {address} is tried; set `address` in {}, or VAULT_ADDR",
            names.config()
        ),
        Warning::WaitingForLock => "another run is in progress; waiting for it to end".to_owned(),
        Warning::PlaceBusy => {
            format!("the directory of {} stays locked by another program; continuing", names.token_file())
        }
        Warning::NoState { path, error } => {
            format!("{}: {}; continuing without lock and state", names.path(path), io_text(error))
        }
        Warning::NoSeat { file, error } => format!(
            "cannot lock a file beside {}: {}; other runs will not know that this process is running",
            names.path(file),
            io_text(error)
        ),
        Warning::StateSpoilt { path, error } => {
            format!(
                "{}: the state file cannot be read, starting anew: {}",
                names.path(path),
                Shown(&io_text(error))
            )
        }
        Warning::StateUnsaved { path, error } => {
            format!("{}: the state cannot be saved: {}", names.path(path), io_text(error))
        }
        Warning::LeftoversRemain { file, error } => {
            format!(
                "what a killed run may have left beside {} cannot be removed: {}",
                names.path(file),
                io_text(error)
            )
        }
        Warning::LogUnwritable { path, error } => {
            format!("the log file {} cannot be written: {}", names.path(path), io_text(error))
        }
        Warning::MetricsUnwritable { path, error } => {
            format!("the metrics file {} cannot be written: {}", names.path(path), io_text(error))
        }
        Warning::Hook(failure) => format!("the deploy hook {}", failures::hook_text(failure)),
        Warning::HookGivenUp(count) => {
            format!(
                "the deploy hook was cut off {count} times, and is not run again; does it end this process?"
            )
        }
        Warning::LooseMode(LooseMode { mode, tightened }) => format!(
            "{} had mode {mode:04o}, so other users could read the token; {}",
            names.token_file(),
            if *tightened { "it is 0600 now" } else { "it should be 0600" }
        ),
        Warning::Unconfirmed => {
            "the server's answer does not name the token; is there an agent in between?".to_owned()
        }
        Warning::OtherNamespace { token, settings } => {
            format!("{}; see --namespace", failures::other_namespace_text(token, settings))
        }
        Warning::PoliciesMissing(names) => {
            format!("our token lacks policies of the settings: {}", Shown(&names.join(", ")))
        }
        Warning::NoSuchPolicy(name) => format!("the server has no policy {}", Quoted(name)),
        Warning::EndsWithParent => {
            "our token expires with the token that minted it, and may not mint an orphan to replace itself"
                .to_owned()
        }
        Warning::ShortLease { left } => {
            format!("the token expires in {}; will the next run come in time?", span_text(*left))
        }
        Warning::ShorterThanReplaced { left, replaced } => {
            let replaced =
                replaced.map_or_else(|| "had no end".to_owned(), |left| format!("had {}", span_text(left)));
            format!("each renewal gives the new token {}; the one it replaces {replaced}", span_text(*left))
        }
        Warning::Server(text) => format!("the server warns: {}", Quoted(text)),
        Warning::Dying { display_name, dying, seconds_left } => format!(
            "our token dn={} is dying: {} ({seconds_left}s left); minting its successor",
            Quoted(display_name),
            failures::dying_text(*dying)
        ),
        Warning::DirectoryUnsynced { file, error } => {
            format!(
                "{} is replaced, but its directory cannot be synced: {}",
                names.path(file),
                io_text(error)
            )
        }
        Warning::OwnerLost { file } => format!(
            "{} belonged to another user or group, and belongs to this one now; can whoever reads it still do so?",
            names.path(file)
        ),
        Warning::Stranded { accessor, error } => format!(
            "the minted token{} could not be revoked ({}); a sweep that walks will find it",
            accessor.as_ref().map(|accessor| format!(" {}", Shown(&accessor.short()))).unwrap_or_default(),
            errors::error_text(error)
        ),
    }
}
