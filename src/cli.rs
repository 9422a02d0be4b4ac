//! The command line, and nothing else. Values are text here; `config` reads and checks them together with
//! the other sources, so that every source has the same rules and the same errors.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Keep the Vault or OpenBao token in ~/.vault-token alive
///
/// Looks at the token in the token file. A token of yours is renewed. A foreign one, left there by a login,
/// is turned back into yours with its own authority: a periodic token is minted, checked, put into the file
/// atomically, and the stale ones are revoked. If the foreign token is too weak for that, the run fails.
#[derive(Debug, Parser)]
#[command(name = "vault-token-renew", version, max_term_width = 100, disable_help_subcommand = true, after_help = AFTER_HELP)]
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

/// What a person asks for besides the pass itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Subcommand)]
pub(crate) enum Verb {
    /// Revoke stale tokens of your name now, keep the one in the token file
    #[command(after_help = SWEEP_AFTER_HELP)]
    Sweep,
}

/// Flags that change how a verb works.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct ModeFlags {
    /// Ask the server, change nothing anywhere, say what would happen
    #[arg(long, global = true)]
    pub(crate) dry_run: bool,

    /// Tell outcomes apart by the exit status
    #[arg(long, global = true)]
    pub(crate) detailed_exitcode: bool,
}

/// Flags that beat environment, configuration file and defaults.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Settings")]
pub(crate) struct SettingsFlags {
    /// Configuration file [default: ~/.config/vault-token-renew/config.toml]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// Server [env: BAO_ADDR, VAULT_ADDR] [default: https://127.0.0.1:8200]
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) address: Option<String>,

    /// Namespace [env: BAO_NAMESPACE, VAULT_NAMESPACE]
    #[arg(long, global = true, value_name = "PATH")]
    pub(crate) namespace: Option<String>,

    /// Token file [env: BAO_TOKEN_PATH, VAULT_TOKEN_PATH] [default: ~/.vault-token]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) token_file: Option<String>,

    /// Name of your token, without the `token-` Vault adds [env: VTR_DISPLAY_NAME]
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) display_name: Option<String>,

    /// Policy of your token; repeat for more [env: VTR_POLICIES, with commas]
    #[arg(long = "policy", global = true, value_name = "NAME")]
    pub(crate) policies: Vec<String>,

    /// Policy a token must have to be yours [env: VTR_REQUIRED_POLICY] [default: the first]
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) required_policy: Option<String>,

    /// Period of your token [env: VTR_PERIOD] [default: 768h]
    #[arg(long, global = true, value_name = "DURATION")]
    pub(crate) period: Option<String>,

    /// Log file [env: VTR_LOG_FILE] [default: ~/.local/state/vault-token-renew.log]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) log_file: Option<String>,

    /// How long to ride out an outage [env: VTR_RETRY_FOR] [default: 30s]
    #[arg(long, global = true, value_name = "DURATION")]
    pub(crate) retry_for: Option<String>,

    /// Stale tokens to look for: walk, remembered, off [env: VTR_SWEEP] [default: walk]
    #[arg(long, global = true, value_name = "MODE")]
    pub(crate) sweep: Option<String>,

    /// Lookups side by side in a sweep [env: VTR_SWEEP_CONCURRENCY] [default: 16]
    #[arg(long, global = true, value_name = "NUMBER")]
    pub(crate) sweep_concurrency: Option<String>,
}

const AFTER_HELP: &str = "\
Exit status:
  0  renewed or healed
  1  DRIFT (the token is foreign and too weak to mint yours) or FAIL
  2  usage or settings
  With --detailed-exitcode: 0 nothing to do, 10 renewed, 11 healed, 3 drift,
  4 token dead or missing, 5 not renewable, 75 temporary (unreachable, sealed,
  lock busy), 1 anything else.

VAULT_TOKEN and BAO_TOKEN are ignored: the token file is the subject.

Example:
  vault login -method=oidc && vault-token-renew";

const SWEEP_AFTER_HELP: &str = "\
The token in the token file must be yours; it is the one that is kept.

Example:
  vault-token-renew sweep --dry-run";
