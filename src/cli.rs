//! The command line, and nothing else. Values are text here; `config` reads and checks them together with
//! the other sources, so that every source has the same rules and the same errors.
//!
//! Each flag is one line of help at 80 columns. What there is to say beyond that is in the man page, which is
//! generated from this, see `cli/documents.rs`.

#[cfg(test)]
mod documents;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueHint};

use crate::config::{FollowFlags, SettingsFlags, WatchFlags};

/// The whole command line.
#[derive(Debug, Parser)]
#[command(
    name = "vault-token-renew",
    version,
    about = ABOUT,
    long_about = None,
    after_help = AFTER_HELP,
    max_term_width = 80,
    disable_help_subcommand = true
)]
pub(crate) struct CommandLine {
    /// What to do; without it, one pass: renew, or heal
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
        Self::try_parse().map_err(|error| misplaced(&error).unwrap_or(error))
    }
}

/// A flag that belongs to a verb which was not asked for is not misspelt: the most similar one is none to suggest.
fn misplaced(error: &clap::Error) -> Option<clap::Error> {
    let Some(ContextValue::String(flag)) = error.get(ContextKind::InvalidArg) else { return None };
    let name = flag.strip_prefix("--").filter(|_| error.kind() == ErrorKind::UnknownArgument)?;
    let mut command = CommandLine::command();
    let knows = |verb: &&clap::Command| verb.get_arguments().any(|known| known.get_long() == Some(name));
    let verb = command.get_subcommands().find(knows)?.get_name().to_owned();
    let message = format!("{flag} is a flag of `{verb}`: vault-token-renew {verb} {flag}");
    Some(command.error(ErrorKind::UnknownArgument, message))
}

/// What a person asks for besides the pass itself.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Verb {
    /// Look, do not touch: whose token, how long, what is wrong
    #[command(after_help = STATUS_AFTER_HELP)]
    Status(StatusFlags),

    /// Revoke stale tokens of your name now, keep the one in the token file
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

    /// Send nothing: tell what the last pass left behind
    #[arg(long)]
    pub(crate) offline: bool,
}

/// Flags that change how a verb works.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct ModeFlags {
    /// Change nothing anywhere, say what would happen
    #[arg(long, global = true)]
    pub(crate) dry_run: bool,

    /// Print one JSON object instead of lines
    #[arg(long, global = true)]
    pub(crate) json: bool,

    /// Tell outcomes apart by the exit status
    #[arg(long, global = true)]
    pub(crate) detailed_exitcode: bool,
}

const ABOUT: &str = "\
Keep the Vault or OpenBao token in ~/.vault-token alive

A token of yours is renewed. A foreign one, left there by a login, is turned
back into yours with its own authority: a periodic token is minted, checked,
put into the file atomically, and the stale ones are revoked. If the foreign
token is too weak for that, the run fails.";

const AFTER_HELP: &str = "\
Settings also come from the environment (VTR_PERIOD for --period, VAULT_ADDR for
--address) and from the configuration file; see vault-token-renew(1).
VAULT_TOKEN and BAO_TOKEN are ignored: the token file is the subject.

Exit status:
  0  renewed or healed
  1  DRIFT (the token is foreign and too weak to mint yours) or FAIL
  2  usage or settings
  With --detailed-exitcode: 0 nothing to do, 10 renewed, 11 healed, 3 drift,
  4 token dead or missing, 5 not renewable, 75 temporary (unreachable, sealed,
  lock busy), 1 anything else.

Example:
  vault login -method=oidc && vault-token-renew";

const STATUS_AFTER_HELP: &str = "\
Nothing is changed anywhere. What is wrong comes with its remedy.

Exit status:
  0  healthy
  1  not
  2  usage or settings
  With --detailed-exitcode: 3 foreign, 4 dead or missing, 5 not renewable,
  75 the server cannot be asked now, 1 anything else that is wrong.

Example:
  vault-token-renew status --min-ttl 7d";

const SWEEP_AFTER_HELP: &str = "\
The token in the token file must be yours; it is the one that is kept.

Example:
  vault-token-renew sweep --dry-run";

const FOLLOW_AFTER_HELP: &str = "\
It asks with the token in the token file, which the rest of this program keeps
alive. The file is replaced at once and whole, and only with another value; what
cannot be fetched leaves it as it is. See docs/follow.md.

Exit status:
  0  stopped by SIGTERM or SIGINT; with --once, fetched
  1  another follow keeps this file, or its address is taken; with --once, not
     fetched
  2  usage or settings
  With --detailed-exitcode: 75 for 1 if it may be over the next time; with --once
  10 if the file was replaced, 0 if not.

Example:
  vault-token-renew follow --mount secret --path agent/token --out ~/agent-token
";

const WATCH_AFTER_HELP: &str = "\
Each run is the one that the timer makes: at once, when half of the TTL is over,
within 5 s after the token file holds another token, and on SIGHUP. With a
systemd --user, the timer is the simpler choice; see docs/watch.md.

Exit status:
  0  stopped by SIGTERM or SIGINT
  1  another watch keeps this token file, or its address is taken
  2  usage or settings
  With --exit-on-failure: 3 drift, 4 token dead or missing, 5 not renewable, 1 no
  token in the file but something else.
  With --detailed-exitcode: 75 for 1 if another watch keeps this token file.
There is no dry run of it: see vault-token-renew --dry-run.

Example:
  vault-token-renew watch --listen 127.0.0.1:9105
";
