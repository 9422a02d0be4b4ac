//! The flags that are settings, as text: like the variables and the keys of the file, they are checked in one
//! place, whatever they come from. Why not by clap's own support for variables: docs/design.md, "The settings".

use std::path::PathBuf;

use clap::{Args, ValueHint};

/// What stands above them in the help.
pub(crate) const SETTINGS_HEADING: &str = "Settings";

/// Flags that beat environment, configuration file and defaults.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = SETTINGS_HEADING)]
pub(crate) struct SettingsFlags {
    /// Configuration file
    #[arg(long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) config: Option<PathBuf>,

    /// Server [default: https://127.0.0.1:8200]
    #[arg(long, global = true, value_name = "URL", value_hint = ValueHint::Url)]
    pub(crate) address: Option<String>,

    /// Namespace [default: none]
    #[arg(long, global = true, value_name = "PATH", value_hint = ValueHint::Other)]
    pub(crate) namespace: Option<String>,

    /// Token file [default: ~/.vault-token]
    #[arg(long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) token_file: Option<String>,

    /// Name of your token, without Vault's `token-`
    #[arg(long, global = true, value_name = "NAME", value_hint = ValueHint::Other)]
    pub(crate) display_name: Option<String>,

    /// Policy of your token; repeat for more
    #[arg(long = "policy", global = true, value_name = "NAME", value_hint = ValueHint::Other)]
    pub(crate) policies: Vec<String>,

    /// Policy that marks yours [default: first policy]
    #[arg(long, global = true, value_name = "NAME", value_hint = ValueHint::Other)]
    pub(crate) required_policy: Option<String>,

    /// Period of your token [default: 768h]
    #[arg(long, global = true, value_name = "TIME", value_hint = ValueHint::Other)]
    pub(crate) period: Option<String>,

    /// Log file
    #[arg(long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) log_file: Option<String>,

    /// How long to retry requests [default: 30s]
    #[arg(long, global = true, value_name = "TIME", value_hint = ValueHint::Other)]
    pub(crate) retry_for: Option<String>,

    /// walk, remembered or off [default: walk]
    #[arg(long, global = true, value_name = "MODE", value_parser = SWEEP_MODES, hide_possible_values = true)]
    pub(crate) sweep: Option<String>,

    /// Parallel lookups, at most [default: 16]
    #[arg(long, global = true, value_name = "N", value_hint = ValueHint::Other)]
    pub(crate) sweep_concurrency: Option<String>,

    /// Write metrics for Prometheus to this file
    #[arg(long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) metrics_file: Option<String>,

    /// Command to run after the file was replaced
    #[arg(long, global = true, value_name = "CMD", value_hint = ValueHint::CommandString)]
    pub(crate) deploy_hook: Option<String>,

    /// Time limit of the hook [default: 30s]
    #[arg(long, global = true, value_name = "TIME", value_hint = ValueHint::Other)]
    pub(crate) hook_timeout: Option<String>,

    /// How you log in, for the commands it prints
    #[arg(long, global = true, value_name = "CMD", value_hint = ValueHint::CommandString)]
    pub(crate) login_command: Option<String>,
}

impl SettingsFlags {
    /// Whether somebody said on the command line which token is meant, on which server.
    pub(crate) fn are_explicit(&self) -> bool {
        let said =
            [&self.address, &self.namespace, &self.token_file, &self.display_name, &self.required_policy];
        said.into_iter().any(Option::is_some) || !self.policies.is_empty()
    }
}

/// Flags that are global and say nothing to `follow`, which asks for a secret and mints, renews and sweeps nothing.
pub(crate) const NOT_OF_FOLLOW: [&str; 10] = [
    "dry-run",
    "json",
    "display-name",
    "policy",
    "required-policy",
    "period",
    "retry-for",
    "sweep",
    "sweep-concurrency",
    "metrics-file",
];

/// The same for `watch`.
pub(crate) const NOT_OF_WATCH: [&str; 1] = ["dry-run"];

impl SettingsFlags {
    /// One of the flags that say nothing to `follow`, if it was given all the same.
    pub(crate) fn not_of_follow(&self) -> Option<&'static str> {
        let given = [
            ("display-name", self.display_name.is_some()),
            ("policy", !self.policies.is_empty()),
            ("required-policy", self.required_policy.is_some()),
            ("period", self.period.is_some()),
            ("retry-for", self.retry_for.is_some()),
            ("sweep", self.sweep.is_some()),
            ("sweep-concurrency", self.sweep_concurrency.is_some()),
        ];
        given.into_iter().find(|(_, is_given)| *is_given).map(|(name, _)| name)
    }
}

/// Flags of the verb `watch`, which are settings, too.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct WatchFlags {
    /// Longest wait between two runs [default: 24h]
    #[arg(long, value_name = "TIME", value_hint = ValueHint::Other)]
    pub(crate) max_interval: Option<String>,

    /// Serve /health and /metrics there (or unix:PATH)
    #[arg(long, value_name = "ADDR:PORT", value_hint = ValueHint::Other)]
    pub(crate) listen: Option<String>,

    /// Allow --listen on an address that others can reach
    #[arg(long)]
    pub(crate) listen_unprotected: bool,

    /// Exit if only a new token would help
    #[arg(long)]
    pub(crate) exit_on_failure: bool,
}

/// Flags of the verb `follow`, which are settings, too.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct FollowFlags {
    /// Mount of the KV store, such as secret
    #[arg(long, value_name = "MOUNT", value_hint = ValueHint::Other)]
    pub(crate) mount: Option<String>,

    /// Path of the secret below the mount
    #[arg(long, value_name = "PATH", value_hint = ValueHint::Other)]
    pub(crate) path: Option<String>,

    /// Field of the secret [default: token]
    #[arg(long, value_name = "NAME", value_hint = ValueHint::Other)]
    pub(crate) field: Option<String>,

    /// File to keep equal to the field
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) out: Option<String>,

    /// Mode of that file [default: 0600]
    #[arg(long, value_name = "MODE", value_hint = ValueHint::Other)]
    pub(crate) mode: Option<String>,

    /// Time between two fetches [default: 60s]
    #[arg(long, value_name = "TIME", value_hint = ValueHint::Other)]
    pub(crate) interval: Option<String>,

    /// Random time added to it [default: 5s..10s]
    #[arg(long, value_name = "TIME..TIME", value_hint = ValueHint::Other)]
    pub(crate) jitter: Option<String>,

    /// Fetch once and exit, for a timer
    #[arg(long)]
    pub(crate) once: bool,

    /// Serve /health and /metrics there (or unix:PATH)
    #[arg(long, value_name = "ADDR:PORT", value_hint = ValueHint::Other)]
    pub(crate) listen: Option<String>,

    /// Allow --listen on an address that others can reach
    #[arg(long)]
    pub(crate) listen_unprotected: bool,

    /// Append a line to this file at each rotation
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) audit_log: Option<String>,

    /// Check signatures: POST /verify
    #[arg(long)]
    pub(crate) verify: bool,

    /// How old a signature may be [default: 120s]
    #[arg(long, value_name = "TIME", value_hint = ValueHint::Other)]
    pub(crate) max_skew: Option<String>,

    /// How long the last value stays valid [default: 120s]
    #[arg(long, value_name = "TIME", value_hint = ValueHint::Other)]
    pub(crate) grace: Option<String>,
}

/// Known here for the sake of the completions, and of whoever misspells one.
const SWEEP_MODES: [&str; 3] = ["walk", "remembered", "off"];

/// What `status` calls wrong and may be so on purpose, by its stable names. That the token is dead, foreign or about to
/// expire is not among them: nobody means that, and nobody must be told that all is well.
pub(crate) const MAY_BE_ON_PURPOSE: [&str; 28] = [
    "last_pass_failed",
    "linger_off",
    "never_run",
    "no_timer",
    "not_orphan",
    "other_namespace",
    "other_period",
    "path_unit_failed",
    "period_capped",
    "policies_lacking",
    "policy_missing",
    "policy_unreadable",
    "role_period",
    "service_differs",
    "service_settings",
    "shadowed",
    "shell_settings",
    "stale_tokens",
    "state_unreadable",
    "success_too_old",
    "sweep_denied",
    "sweep_off",
    "sweep_unfinished",
    "timer_masked",
    "timer_off",
    "token_helper",
    "unconfirmed",
    "verification_off",
];
