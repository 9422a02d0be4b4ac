//! The words for what went wrong, and for what to do about it.

use std::fmt::{self, Write as _};
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};

use super::outcome::{Failure, Refusal};
use crate::config::DEFAULT_TOKEN_FILE;
use crate::identity::{Contradiction, Dying};
use crate::io_text::io_text;
use crate::local::hook::HookFailure;
use crate::local::token_file::{ReadError, ReplaceStep};
use crate::token::Accessor;
use crate::vault::{
    Call, Error, ErrorKind, Interrupted, Oddity, RedirectRefusal, Said, TlsTrouble, Unreachable,
};

/// More characters of a foreign text than this are cut off: a line has to stay readable.
const LONGEST_FOREIGN_TEXT: usize = 256;

/// Text from the server or a file, escaped so that one event stays one line and no terminal obeys it.
pub(super) struct Shown<'a>(pub(super) &'a str);

/// The same, in quotation marks.
pub(super) struct Quoted<'a>(pub(super) &'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        escape(f, self.0, false)
    }
}

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        escape(f, self.0, true)?;
        f.write_char('"')
    }
}

/// Text whose words are our own: quotation marks and backslashes stay; what a terminal obeys or turns the direction
/// of writing does not.
pub(super) fn harmless(text: &str) -> String {
    let plain = |c: char| matches!(c, '"' | '\'' | '\\') || c.escape_debug().len() == 1;
    text.chars().map(|c| if plain(c) { c.to_string() } else { c.escape_debug().to_string() }).collect()
}

fn escape(f: &mut fmt::Formatter<'_>, text: &str, quotes: bool) -> fmt::Result {
    let mut characters = text.chars();
    for character in characters.by_ref().take(LONGEST_FOREIGN_TEXT) {
        match character {
            '"' | '\'' if !quotes => f.write_char(character)?,
            '\'' => f.write_char(character)?,
            // Rust's own escapes also cover what turns the direction of writing around.
            other => write!(f, "{}", other.escape_debug())?,
        }
    }
    if characters.next().is_some() { f.write_char('…') } else { Ok(()) }
}

/// The names of things on this machine, as people write them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Names<'a> {
    /// The home directory, written `~`.
    pub(crate) home: &'a Path,
    /// The token file.
    pub(crate) token_file: &'a Path,
    /// The configuration file that has to be named in commands, if it is not the default one.
    pub(crate) named_config: Option<&'a Path>,
    /// The token file, if it has to be named in commands.
    pub(crate) named_token_file: Option<&'a Path>,
    /// The flags that said where the server is and whose the token, which commands have to repeat.
    pub(crate) named_flags: &'a [(&'static str, String)],
}

impl Names<'_> {
    /// A path with the home directory shortened.
    pub(super) fn path(&self, path: &Path) -> String {
        let shown: PathBuf = match path.strip_prefix(self.home) {
            Ok(rest) if rest.as_os_str().is_empty() => PathBuf::from("~"),
            Ok(rest) => Path::new("~").join(rest),
            Err(_) => path.to_owned(),
        };
        Shown(&shown.to_string_lossy()).to_string()
    }

    pub(super) fn token_file(&self) -> String {
        self.path(self.token_file)
    }

    /// How a person mends the token file. Not `vault token create … > ~/.vault-token`: the shell would
    /// empty the file before the command reads it.
    pub(super) fn recovery(&self) -> String {
        format!("Manual re-mint: {}", self.recovery_command())
    }

    /// This program as a person would call it for this token: `verb` begins with a blank, unless it is empty.
    pub(super) fn command(&self, verb: &str) -> String {
        let config = self.named_config.map(|path| format!(" --config {}", for_shell(path)));
        let token_file = self.named_token_file.map(|path| format!(" --token-file {}", for_shell(path)));
        let mut command = format!(
            "vault-token-renew{verb}{}{}",
            config.unwrap_or_default(),
            token_file.unwrap_or_default()
        );
        for (flag, value) in self.named_flags {
            // Writing to a string does not fail.
            let _ = write!(command, " {flag} {}", word_for_shell(value));
        }
        command
    }

    pub(super) fn recovery_command(&self) -> String {
        let login = if self.token_file == self.home.join(DEFAULT_TOKEN_FILE) {
            "vault login -method=oidc".to_owned()
        } else {
            // A login writes to the default file. The shell must not empty the other one before there is
            // something to put into it.
            let file = for_shell(self.token_file);
            format!("(umask 077; t=$(vault login -method=oidc -token-only) && printf %s \"$t\" > {file})")
        };
        format!("{login} && {}", self.command(""))
    }
}

/// A path as a shell takes it literally.
pub(super) fn for_shell(path: &Path) -> String {
    word_for_shell(&path.to_string_lossy())
}

/// A word as a shell takes it literally.
pub(super) fn word_for_shell(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@%:".contains(c);
    if word.chars().all(plain) { word.to_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

/// The namespace of the token, and that of the settings, which differ.
pub(super) fn other_namespace(token: &str, settings: &str) -> String {
    format!("the token lives in the namespace {}, the settings name {}", Quoted(token), Quoted(settings))
}

/// `: Fg08GkI6…, i8LfJ…`, or nothing.
pub(super) fn accessors(list: &[Accessor]) -> String {
    if list.is_empty() {
        return String::new();
    }
    let list: Vec<String> = list.iter().map(|accessor| Shown(&accessor.short()).to_string()).collect();
    format!(": {}", list.join(", "))
}

/// Both refusals of a mint; one if they are the same.
pub(super) fn refusal(refusal: &Refusal) -> String {
    let create = format!("{}: {}", refusal.create.status, reason(&refusal.create.message));
    if refusal.create == refusal.create_orphan {
        return create;
    }
    let other = &refusal.create_orphan;
    format!("{create}; on create-orphan {}: {}", other.status, reason(&other.message))
}

/// What a token needs to be renewed.
pub(super) const MAY_RENEW: &str =
    "the token's policies must allow update on auth/token/renew-self, as `default` does";

/// Why one of these may not even be tried.
pub(super) const NEVER_MINTS: &str = "tokens with a limited number of uses cannot mint";

/// Why a token of ours will end.
pub(super) fn dying(dying: Dying) -> &'static str {
    match dying {
        Dying::NotRenewable => "it is not renewable",
        Dying::NotRenewed => "the server renews nothing and does not say why",
        Dying::ExplicitMaximum => "its explicit maximum comes near",
        Dying::NoPeriod => "it has no period",
        Dying::UseLimited => "it may be used so many times only",
    }
}

/// What a run was doing when it failed, and what went wrong.
pub(super) fn failure(failure: &Failure, names: &Names<'_>) -> String {
    let file = names.token_file();
    match failure {
        Failure::TokenFile(error) => format!("token file: {file}: {}", read_error(error)),
        Failure::LockBusy => "lock: another run has been at work for too long".to_owned(),
        Failure::Dead { url, message } => format!(
            "token lookup: {url}: the token in {file} is dead or blocked (403: {}); log in again: {}",
            reason(message),
            names.recovery_command()
        ),
        Failure::Spent => format!(
            "token lookup: the token in {file} is dead: it could be used so many times only, and this was the last; log in again: {}",
            names.recovery_command()
        ),
        Failure::Vault(error) if failure.lost_mint() => format!(
            "{}; the server may hold a token of ours that nobody knows, for a sweep that walks to find",
            self::error(error)
        ),
        Failure::Vault(error) => self::error(error),
        Failure::Dying { display_name, dying: why, seconds_left, refusal: why_not } => format!(
            "renewal: our token dn={} is dying ({}) and may not mint its successor ({}); {seconds_left}s left, rotate it before they end: {}",
            Quoted(display_name),
            dying(*why),
            why_not.as_ref().map_or_else(|| NEVER_MINTS.to_owned(), refusal),
            names.recovery_command()
        ),
        Failure::Unchecked(error) => format!("check of the minted token: {}", self::error(error)),
        Failure::Contradiction(contradiction) => {
            format!(
                "check of the minted token: {}; it was not put into {file}",
                self::contradiction(contradiction)
            )
        }
        Failure::Replace(error) => {
            let step = match error.step {
                ReplaceStep::Resolve => "cannot find the file behind the name",
                ReplaceStep::Stage => "cannot write beside it",
                ReplaceStep::Rename => "cannot replace it",
            };
            format!("token file: {file}: {step}: {}; it is as it was", io_text(&error.error))
        }
        Failure::Unsettled(error) => format!(
            "token file: {file}: replacing it failed, and reading it too: {}; it holds the old token or the new one, and both live",
            io_text(&error.error)
        ),
        Failure::Internal { place } => {
            format!("internal error at {}; the token file is whole", Shown(place))
        }
        Failure::FileKeepsChanging => {
            format!("token file: {file}: it keeps changing; something else writes it")
        }
        Failure::NotOurs { display_name } => format!(
            "sweep: {file} is dn={}, not our token; without ours to keep nothing is revoked",
            Quoted(display_name)
        ),
    }
}

/// What became of a hook that did not do its work.
pub(super) fn hook(failure: &HookFailure) -> String {
    match failure {
        HookFailure::Io(error) => format!("could not be run: {}", io_text(error)),
        HookFailure::Status(status) => match (status.code(), status.signal()) {
            (Some(code), _) => format!("ended with exit status {code}"),
            (None, Some(signal)) => format!("was killed by signal {signal}"),
            (None, None) => "ended in an unknown way".to_owned(),
        },
        HookFailure::TimedOut(limit) => {
            format!("was killed, because it took longer than {}s (see --hook-timeout)", limit.as_secs_f64())
        }
        HookFailure::Stopped => "was killed, because this run was told to stop".to_owned(),
    }
}

fn read_error(error: &ReadError) -> String {
    match error {
        ReadError::Missing => "no such file".to_owned(),
        ReadError::Empty => "empty".to_owned(),
        ReadError::NotAFile => "not a regular file".to_owned(),
        ReadError::TooLarge => "larger than 64 KiB, so not a token".to_owned(),
        ReadError::Unprintable => "not a token: it holds blanks or unprintable bytes".to_owned(),
        ReadError::Owner(uid) => format!("it belongs to another user (uid {uid})"),
        ReadError::Io(error) => io_text(error),
    }
}

fn contradiction(contradiction: &Contradiction) -> String {
    match contradiction {
        Contradiction::Name(name) => format!("its display name is {}", Quoted(name)),
        Contradiction::Policy => "it lacks the required policy".to_owned(),
        Contradiction::NotOrphan => "it is not an orphan".to_owned(),
        Contradiction::Period(seconds) => format!("its period is {seconds}s"),
        Contradiction::Type(kind) => format!("its type is {}", Quoted(kind)),
        Contradiction::NoAccessor => "it has no accessor".to_owned(),
        Contradiction::Accessor => "the server speaks of another token".to_owned(),
    }
}

/// What was asked of the server.
fn call(call: Call) -> &'static str {
    match call {
        Call::LookupSelf => "token lookup",
        Call::RenewSelf => "renewal",
        Call::Create | Call::CreateOrphan => "mint",
        Call::Accessors => "accessor list",
        Call::LookupAccessor => "accessor lookup",
        Call::RevokeAccessor | Call::RevokeSelf => "revocation",
        Call::Capabilities => "capabilities",
        Call::Policy => "policy",
    }
}

/// What was asked, of whom, and what went wrong.
pub(super) fn error(error: &Error) -> String {
    // Where no answer came, the path is not to blame.
    let server = error.url.split("/v1/").next().unwrap_or(&error.url);
    let place = match &error.kind {
        ErrorKind::Unreachable(_) | ErrorKind::Interrupted(_) | ErrorKind::Sealed => server,
        ErrorKind::Denied { .. }
        | ErrorKind::Refused { .. }
        | ErrorKind::NotFound { .. }
        | ErrorKind::Throttled { .. }
        | ErrorKind::Server { .. }
        | ErrorKind::Unexpected { .. }
        | ErrorKind::NotVault { .. }
        | ErrorKind::Redirect { .. }
        | ErrorKind::AnotherToken => &error.url,
    };
    let redirected = match &error.redirected_by {
        Some(server) => format!(" (where {} redirected us)", Shown(server)),
        None => String::new(),
    };
    format!("{}: {}{redirected}: {}", call(error.call), Shown(place), kind(&error.kind))
}

fn kind(kind: &ErrorKind) -> String {
    match kind {
        ErrorKind::Unreachable(reason) => unreachable(reason),
        ErrorKind::Interrupted(reason) => interrupted(reason),
        ErrorKind::Denied { message } => format!("403: {}", reason(message)),
        ErrorKind::Refused { message } => format!("400: {}", reason(message)),
        ErrorKind::NotFound { message } => format!("404: {}", reason(message)),
        ErrorKind::Sealed => "503: Vault is sealed".to_owned(),
        ErrorKind::Throttled { said } => format!("429: {}", self::said(said)),
        ErrorKind::Server { status, said } | ErrorKind::Unexpected { status, said } => {
            format!("{status}: {}", self::said(said))
        }
        ErrorKind::NotVault { status, oddity } => format!("{status}: {}", self::oddity(oddity)),
        ErrorKind::Redirect { status, reason } => format!("{status}: {}", redirect(reason)),
        ErrorKind::AnotherToken => "the answer speaks of another token than the one in the file".to_owned(),
    }
}

/// Vault's words, which may be none.
fn reason(message: &str) -> String {
    if message.is_empty() { "no reason given".to_owned() } else { Shown(message).to_string() }
}

fn said(said: &Said) -> String {
    match said {
        Said::Errors(message) => reason(message),
        Said::Foreign(oddity) => self::oddity(oddity),
    }
}

fn unreachable(reason: &Unreachable) -> String {
    match reason {
        Unreachable::Name(reason) => format!("the name does not resolve ({})", Shown(reason)),
        Unreachable::Refused => "connection refused".to_owned(),
        Unreachable::TimedOut => "connection timed out".to_owned(),
        Unreachable::Proxy(reason) => format!("proxy: {}", unreachable(reason)),
        Unreachable::Tls(trouble) => match trouble {
            TlsTrouble::UnknownIssuer => "TLS: the certificate is signed by an unknown authority".to_owned(),
            TlsTrouble::AuthorityAsServer => {
                "TLS: the certificate is an authority's (CA:TRUE), and no server's".to_owned()
            }
            TlsTrouble::WrongName => "TLS: the certificate is not for this name".to_owned(),
            TlsTrouble::Expired => "TLS: the certificate is expired, or not valid yet".to_owned(),
            TlsTrouble::PlainServer => "TLS: the server does not speak TLS".to_owned(),
            TlsTrouble::Other(reason) => format!("TLS: {}", Shown(reason)),
        },
        Unreachable::Other(reason) => Shown(reason).to_string(),
    }
}

fn interrupted(reason: &Interrupted) -> String {
    match reason {
        Interrupted::TimedOut => "no answer in time".to_owned(),
        Interrupted::Closed => "the connection was closed before the answer was complete".to_owned(),
        Interrupted::Other(reason) => Shown(reason).to_string(),
    }
}

fn oddity(oddity: &Oddity) -> String {
    match oddity {
        Oddity::NotJson { content_type, start } => {
            let kind = if content_type.is_empty() { "no content type" } else { content_type };
            let start = if start.is_empty() { String::new() } else { format!(", {}", Quoted(start)) };
            format!("not an answer of Vault ({}{start})", Shown(kind))
        }
        Oddity::Shape(what) => format!("not an answer of Vault ({})", Shown(what)),
        Oddity::Empty => "not an answer of Vault (empty body)".to_owned(),
        Oddity::TooLong => "not an answer of Vault (far too long)".to_owned(),
    }
}

fn redirect(reason: &RedirectRefusal) -> String {
    match reason {
        RedirectRefusal::Disabled => "a redirect, and redirects are disabled".to_owned(),
        RedirectRefusal::Twice => "a redirect after a redirect".to_owned(),
        RedirectRefusal::NoTarget => "a redirect to nowhere".to_owned(),
        RedirectRefusal::Downgrade(host) => {
            format!("a redirect from https to http ({}) is not followed", Shown(host))
        }
        RedirectRefusal::PlainHost(host) => {
            format!("a redirect to another host without encryption ({}) is not followed", Shown(host))
        }
    }
}

/// What to do about a failure, where its own line does not say.
pub(super) fn remedy(failure: &Failure, names: &Names<'_>) -> Option<String> {
    match failure {
        Failure::TokenFile(ReadError::Missing | ReadError::Empty) => {
            Some(format!("log in: {}", names.recovery_command()))
        }
        Failure::TokenFile(ReadError::Unprintable | ReadError::TooLarge) => {
            Some(format!("see what wrote it, then: {}", names.recovery_command()))
        }
        Failure::TokenFile(ReadError::Io(error)) if error.kind() == io::ErrorKind::PermissionDenied => {
            Some("see with `ls -l` whose file it is; it has to be yours".to_owned())
        }
        Failure::TokenFile(ReadError::NotAFile | ReadError::Owner(_) | ReadError::Io(_)) => {
            Some("name the right file with --token-file, VAULT_TOKEN_PATH or the key token_file".to_owned())
        }
        Failure::LockBusy => Some("look for a vault-token-renew process that hangs".to_owned()),
        Failure::Vault(error) | Failure::Unchecked(error) => error_remedy(error),
        Failure::Contradiction(_) => {
            Some("compare display_name, policies and period with what the server makes of them".to_owned())
        }
        Failure::Replace(error) => Some(match error.step {
            ReplaceStep::Resolve => {
                "mend the symbolic link, or name another file with --token-file".to_owned()
            }
            ReplaceStep::Stage => "the directory of the token file must be writable and have room".to_owned(),
            ReplaceStep::Rename => {
                "a file that is itself a mount point cannot be replaced; mount its directory instead"
                    .to_owned()
            }
        }),
        Failure::NotOurs { .. } => Some("vault-token-renew without `sweep` heals the file first".to_owned()),
        Failure::Unsettled(_) => Some("see to the file system, then run it again".to_owned()),
        Failure::Internal { .. } => Some("please report it, with the version".to_owned()),
        Failure::FileKeepsChanging => Some("find what writes the token file again and again".to_owned()),
        Failure::Dead { .. } | Failure::Spent | Failure::Dying { .. } => None,
    }
}

fn error_remedy(error: &Error) -> Option<String> {
    if error.redirected_by.is_some() && error.kind.is_temporary() {
        return Some(
            "the server names an address that cannot be reached from here: see its api_addr".to_owned(),
        );
    }
    let text = match &error.kind {
        ErrorKind::Unreachable(
            Unreachable::Refused | Unreachable::TimedOut | Unreachable::Name(_) | Unreachable::Other(_),
        ) => "is the server up and the address right? set --address, VAULT_ADDR or the key address",
        ErrorKind::Unreachable(Unreachable::Proxy(_)) => {
            "see HTTPS_PROXY, HTTP_PROXY, NO_PROXY and VAULT_PROXY_ADDR"
        }
        ErrorKind::Unreachable(Unreachable::Tls(trouble)) => match trouble {
            TlsTrouble::UnknownIssuer => "name the authority's certificate in VAULT_CACERT",
            TlsTrouble::AuthorityAsServer => {
                "give the server a certificate of its own (CA:FALSE), signed by that authority"
            }
            TlsTrouble::WrongName => {
                "use a name the certificate has, or set VAULT_TLS_SERVER_NAME; names count only as subjectAltName"
            }
            TlsTrouble::Expired => "renew the server's certificate, and check both clocks",
            TlsTrouble::PlainServer => "if the server has no TLS, its address begins with http://",
            TlsTrouble::Other(_) => "see VAULT_CACERT, VAULT_CLIENT_CERT and VAULT_CLIENT_KEY",
        },
        ErrorKind::Interrupted(Interrupted::TimedOut) => {
            "the server is slow or hangs; VAULT_CLIENT_TIMEOUT sets how long to wait"
        }
        ErrorKind::Interrupted(_) => {
            "is this the port of a Vault server? one with TLS has an address that begins with https://"
        }
        ErrorKind::Sealed => "unseal the server; the token file is as it was",
        // Go servers answer plain http on a TLS port with a sentence that says so.
        ErrorKind::NotVault { oddity: Oddity::NotJson { start, .. }, .. }
            if start.contains("HTTPS server") =>
        {
            "this port speaks TLS; its address begins with https://"
        }
        ErrorKind::NotVault { .. } | ErrorKind::Redirect { .. } | ErrorKind::Unexpected { .. } => {
            "is this the address of a Vault server, without /v1 and without a login page in front?"
        }
        ErrorKind::NotFound { .. } => {
            "check the address (without /v1) and the namespace (--namespace, VAULT_NAMESPACE)"
        }
        ErrorKind::AnotherToken => {
            "an agent substitutes its own token; use the address of the server (--address, VAULT_ADDR)"
        }
        ErrorKind::Denied { .. } => match error.call {
            Call::RenewSelf => MAY_RENEW,
            Call::LookupSelf
            | Call::Create
            | Call::CreateOrphan
            | Call::Accessors
            | Call::LookupAccessor
            | Call::RevokeAccessor
            | Call::RevokeSelf
            | Call::Capabilities
            | Call::Policy => return None,
        },
        ErrorKind::Refused { .. } => "see what the server objects to",
        ErrorKind::Throttled { .. } => "try again later; --retry-for sets how long to wait for the server",
        ErrorKind::Server { .. } => "see the log of the server, or try again later",
    };
    Some(text.to_owned())
}

/// A chain of causes on one line, joined by colons, without the numbers of the operating system.
pub(super) fn chain(error: &anyhow::Error) -> String {
    let causes = error.chain().map(|cause| {
        let text = cause.to_string();
        text.split(" (os error").next().unwrap_or(&text).to_owned()
    });
    harmless(&causes.collect::<Vec<_>>().join(": "))
}
