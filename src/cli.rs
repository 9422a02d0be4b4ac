//! The command line, and nothing else. Values are text here; `config` reads and checks them together with
//! the other sources, so that every source has the same rules and the same errors.
//!
//! Each flag is one line of help at 80 columns. What there is to say beyond that is in the man page, which is
//! generated from this, see `cli/documents.rs`.

#[cfg(test)]
mod documents;

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueHint};

use crate::config::{
    FollowFlags, MAY_BE_ON_PURPOSE, NOT_OF_FOLLOW, NOT_OF_WATCH, SETTINGS_HEADING, SettingsFlags, WatchFlags,
};

/// The whole command line.
#[derive(Debug, Parser)]
#[command(
    name = "vault-token-renew",
    version,
    about = ABOUT,
    long_about = None,
    after_help = AFTER_HELP,
    max_term_width = 80
)]
pub(crate) struct CommandLine {
    /// What to do; without it, one run: renew, or heal
    #[command(subcommand)]
    pub(crate) verb: Option<Verb>,

    /// How to do it.
    #[command(flatten)]
    pub(crate) mode: ModeFlags,

    /// Which token, on which server.
    #[command(flatten)]
    pub(crate) settings: SettingsFlags,
}

impl CommandLine {
    /// The command line of this process; else what to print, and the exit status.
    pub(crate) fn of_process() -> Result<Self, clap::Error> {
        let arguments: Vec<OsString> = std::env::args_os().collect();
        let wants_little = arguments.iter().any(|argument| argument == "-h");
        let command = if wants_little { in_short(Self::offered()) } else { Self::offered() };
        let matches = command.try_get_matches_from(arguments);
        let parsed = matches.and_then(|matches| Self::from_arg_matches(&matches));
        parsed.map_err(|error| misplaced(&error).unwrap_or(error))
    }
}

impl CommandLine {
    /// The command line as help and completions show it: global flags stand below each verb, but for those that say
    /// nothing to it. They are still understood there, so that they are refused with a reason.
    fn offered() -> clap::Command {
        let mut command = Self::command();
        command.build();
        let without = |verb: clap::Command, flags: &[&str]| {
            verb.mut_args(|flag| {
                let is_foreign = flag.get_long().is_some_and(|name| flags.contains(&name));
                if is_foreign { flag.hide(true) } else { flag }
            })
        };
        command
            .mut_subcommand("watch", |verb| without(verb, &NOT_OF_WATCH))
            .mut_subcommand("follow", |verb| without(verb, &NOT_OF_FOLLOW))
    }
}

/// The same command line with a help that says what is needed every day. clap's own distinction between `-h` and
/// `--help` would give each flag of the latter two lines and an empty one.
fn in_short(command: clap::Command) -> clap::Command {
    let is_rare = |flag: &clap::Arg| {
        flag.get_help_heading() == Some(SETTINGS_HEADING) && flag.get_long() != Some("config")
    };
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    command
        .about(about.lines().next().unwrap_or_default().to_owned())
        .after_help(MORE)
        .mut_args(|flag| if is_rare(&flag) { flag.hide(true) } else { flag })
        .mut_subcommands(in_short)
}

/// A flag that belongs to a verb which was not asked for is not misspelt: the most similar one is none to suggest.
fn misplaced(error: &clap::Error) -> Option<clap::Error> {
    let Some(ContextValue::String(flag)) = error.get(ContextKind::InvalidArg) else { return None };
    let name = flag.strip_prefix("--").filter(|_| error.kind() == ErrorKind::UnknownArgument)?;
    let mut command = CommandLine::offered();
    let knows = |verb: &&clap::Command| verb.get_arguments().any(|known| known.get_long() == Some(name));
    let verb = command.get_subcommands().find(knows)?.get_name().to_owned();
    let message = format!("{flag} is a flag of `{verb}`: vault-token-renew {verb} {flag}");
    Some(command.error(ErrorKind::UnknownArgument, message))
}

/// What a person asks for besides a run.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Verb {
    /// Show whose token it is, how long it lives and what is wrong
    #[command(after_help = STATUS_AFTER_HELP)]
    Status(StatusFlags),

    /// Revoke stale tokens of your name now; keep the one in the token file
    #[command(after_help = SWEEP_AFTER_HELP)]
    Sweep,

    /// Stay: renew at half the TTL, notice a login within seconds
    #[command(after_help = WATCH_AFTER_HELP)]
    Watch(WatchFlags),

    /// Stay: keep a file equal to a field of a KV secret
    #[command(after_help = FOLLOW_AFTER_HELP)]
    Follow(Box<FollowFlags>),
}

/// Flags of `status` alone.
#[derive(Debug, Clone, Args)]
pub(crate) struct StatusFlags {
    /// Fail if the token has less left than this
    #[arg(long, value_name = "TIME", value_hint = ValueHint::Other)]
    pub(crate) min_ttl: Option<String>,

    /// Make no requests; report what the last run recorded
    #[arg(long)]
    pub(crate) offline: bool,

    /// One table of all configurations
    #[arg(long)]
    pub(crate) all: bool,

    /// Leave out what is so on purpose: timer_off, …
    #[arg(long, value_name = "NAME", value_parser = MAY_BE_ON_PURPOSE, hide_possible_values = true)]
    pub(crate) ignore: Vec<String>,
}

/// Flags that change how a verb works.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct ModeFlags {
    /// Change nothing; show what would happen
    #[arg(long, global = true)]
    pub(crate) dry_run: bool,

    /// Print one JSON object instead of lines
    #[arg(long, global = true)]
    pub(crate) json: bool,

    /// Print failures only
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,

    /// Print a line for each request, too
    #[arg(short, long, global = true)]
    pub(crate) verbose: bool,

    /// Report the outcome in the exit status
    #[arg(long, global = true)]
    pub(crate) detailed_exitcode: bool,
}

const ABOUT: &str = "\
Keep the Vault or OpenBao token in ~/.vault-token alive

Your token is renewed. If a login has replaced it, the login's own authority is
used to mint a new token of yours, which is checked and put into the file
atomically; your stale tokens are revoked. If the login may not mint, the run
fails, because somebody should look at it.";

const MORE: &str = "All options, settings and exit statuses: --help";

const AFTER_HELP: &str = "\
Settings also come from the environment (VTR_PERIOD for --period, VAULT_ADDR for
--address) and from the configuration file; see vault-token-renew(1).
VAULT_TOKEN and BAO_TOKEN are ignored; only the token file counts.

Exit status:
  0  renewed or healed
  1  DRIFT (a login has replaced your token and may not mint it again) or FAIL
  2  wrong arguments or settings
  With --detailed-exitcode: 0 nothing to do, 10 renewed, 11 healed, 3 drift,
  4 token dead or missing, 5 not renewable, 75 temporary (unreachable, sealed,
  lock busy), 1 anything else.

Example:
  vault login -method=oidc && vault-token-renew";

const STATUS_AFTER_HELP: &str = "\
It changes nothing. For each thing that is wrong it prints what to do.

Exit status:
  0  healthy
  1  not healthy
  2  wrong arguments or settings
  With --detailed-exitcode: 3 foreign, 4 dead or missing, 5 not renewable,
  75 the server is unavailable, 1 anything else that is wrong.

Example:
  vault-token-renew status --min-ttl 7d";

const SWEEP_AFTER_HELP: &str = "\
The token in the token file must be yours. It is kept.

Example:
  vault-token-renew sweep --dry-run";

const FOLLOW_AFTER_HELP: &str = "\
It uses the token in the token file, which the timer or watch keeps alive. The
file is replaced atomically, and only if the value has changed. If the secret
cannot be fetched, the file stays as it is. See docs/follow.md.

Exit status:
  0  stopped by SIGTERM or SIGINT; with --once, fetched
  1  another follow keeps this file, or its address is in use; with --once, not
     fetched
  2  wrong arguments or settings
  With --detailed-exitcode: 75 instead of 1 if trying again may help; and with
  --once 10 if the file was replaced, 0 if not.

Example:
  vault-token-renew follow --mount secret --path agent/token --out ~/agent-token
";

const WATCH_AFTER_HELP: &str = "\
It makes the same run as the timer: at the start, after half of the TTL, within
5 s after the token file has changed, and on SIGHUP. If you have systemd --user,
the timer is the simpler choice; see docs/watch.md.

Exit status:
  0  stopped by SIGTERM or SIGINT
  1  another watch keeps this token file, or its address is in use
  2  wrong arguments or settings
  With --exit-on-failure: 3 drift, 4 token dead or missing, 5 not renewable, 1
  the file holds something that is not a token.
  With --detailed-exitcode: 75 if another watch keeps this token file.
It has no dry run; use vault-token-renew --dry-run.

Example:
  vault-token-renew watch --listen 127.0.0.1:9105
";
