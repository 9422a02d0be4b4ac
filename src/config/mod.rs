//! Settings, in two stages: raw text from flag, environment, configuration file and default (in this order
//! of precedence), then one validated [`Settings`] in which nonsense cannot be represented.
//!
//! Every error here is a usage error: it comes before anything is read from the token file or sent.

mod duration;
mod environment;
mod file;
mod flags;
pub(crate) mod follow;
mod login;
mod paths;
mod service;
mod watch;

use std::fmt;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};

use crate::bounded;
use crate::identity::{DEFAULT_POLICY, Identity, ROOT_POLICY, stored_name};
use crate::local::hook::{Hook, NAME_SETTING};
use crate::local::timer::Units;
use crate::local::token_file::TokenFile;
use crate::local::watching::{self, Kind};
use crate::vault::{
    Address, Candidate, ConnectionSettings, DEFAULT_ADDRESS, Named, NoProxy, Proxy, ProxyRules, Roots,
    SaidBy, TlsSettings, client_certificate, roots_from_directory, roots_from_file, roots_from_pem,
};
pub(crate) use environment::Environment;
use file::{DurationText, FileSettings};
pub(crate) use flags::{
    FollowFlags, MAY_BE_ON_PURPOSE, NOT_OF_FOLLOW, NOT_OF_WATCH, SETTINGS_HEADING, SettingsFlags, WatchFlags,
};
pub(crate) use login::{Hint, Login};
use paths::check_path;
pub(crate) use watch::WatchSettings;

/// Where every login writes, in the home directory.
pub(crate) const DEFAULT_TOKEN_FILE: &str = ".vault-token";
/// The user and the host this tool was made for, the only ones who need not say who they are.
const FIRST_USER: (&str, &str) = ("wizard", "devvm");
/// What the token of that user is called.
const FIRST_DISPLAY_NAME: &str = "devvm-wizard";
/// What it may do.
const FIRST_POLICIES: [&str; 2] = ["vault-admin", "sops-admin"];
/// 32 days, Vault's default maximum.
const DEFAULT_PERIOD: &str = "768h";
/// Long enough for a restart of the server, short enough for a person who waits.
const DEFAULT_RETRY_FOR: &str = "30s";
/// The time-out of the official command line.
const DEFAULT_CLIENT_TIMEOUT: Duration = Duration::from_secs(60);
/// Lookups side by side: enough to fill a line with long round trips, few enough for any server.
const DEFAULT_CONCURRENCY: u32 = 16;
/// Long enough to restart a service, short enough for the service of systemd this runs in.
const DEFAULT_HOOK_TIMEOUT: &str = "30s";
/// What the metrics call the profile of the default configuration file.
const DEFAULT_PROFILE: &str = "default";
/// Only a deploy hook is told of an event.
const EVENT_VARIABLE: &str = "VTR_EVENT";
/// Where the users of a machine are listed: name, password, number, and more.
const ACCOUNTS: &str = "/etc/passwd";
/// The configuration of an official command line has a line or two.
const LARGEST_CLI_CONFIG: usize = 64 * 1024;
/// Larger than that of any machine.
const MOST_ACCOUNTS: usize = 16 * 1024 * 1024;
/// More would only make the server's queue longer.
const MOST_CONCURRENCY: u32 = 256;
/// Waiting longer than a day makes no sense in a nightly run.
const LONGEST_WAIT: Duration = Duration::from_secs(24 * 60 * 60);

/// Variables of the official command lines that would change what this program does, and that it does not
/// know how to obey. Ignoring them in silence would be worse than refusing to run.
const UNSUPPORTED: [&str; 7] =
    ["HEADERS", "MFA", "WRAP_TTL", "RATE_LIMIT", "MAX_RETRIES", "CLIENT_CERT_BYTES", "CLIENT_KEY_BYTES"];

/// What Vault puts in front of the display name of every token that is minted.
const VAULTS_PREFIX: &str = "token-";

/// How stale tokens are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SweepMode {
    /// Look at every token on the server.
    Walk,
    /// Look only at what this machine remembers having minted.
    Remembered,
    /// Not at all.
    Off,
}

/// Something about the settings that a person should know and that stops nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SettingsWarning {
    /// This variable is set, and ignored: docs/design.md, "No `VAULT_TOKEN`".
    TokenVariableIgnored(String),
    /// The same where somebody else's agent has its token there: it has to go into a file.
    TokenVariableOfAgent(String),
    /// The check of the server's certificate is switched off.
    VerificationOff {
        /// By this variable.
        switch: String,
        /// Although this one names authorities to check it with.
        authorities: Option<String>,
    },
    /// This file makes the official command line keep its token elsewhere.
    TokenHelper(PathBuf),
    /// The unit says where to listen, and this key of a configuration file says something else.
    ListenOverridden(String),
}

/// Everything a run needs to know, checked.
#[derive(Debug)]
pub(crate) struct Settings {
    /// Whose token, and how it is minted.
    pub(crate) identity: Identity,
    /// Where it is kept.
    pub(crate) token_file: TokenFile,
    /// Who says so, if it is not the default.
    pub(crate) token_file_said_by: Option<SaidBy>,
    /// Where lines are appended to.
    pub(crate) log_file: PathBuf,
    /// Where lock and state are kept.
    pub(crate) state_directory: PathBuf,
    /// The budget for trying again.
    pub(crate) retry_for: Duration,
    /// The flags of the command line that say where the server is and whose the token; commands to be copied have to
    /// repeat them.
    pub(crate) named_flags: Vec<(&'static str, String)>,
    /// How stale tokens are found.
    pub(crate) sweep: SweepMode,
    /// Where the metrics go, if anywhere.
    pub(crate) metrics_file: Option<PathBuf>,
    /// What runs after the token file was replaced, if anything.
    pub(crate) hook: Option<Hook>,
    /// Whether it is taken only by a process that sees whose file it stands in.
    pub(crate) hook_is_roots: bool,
    /// The short name of the configuration file, by which a second token of the same user is told apart.
    pub(crate) profile: String,
    /// The configuration file, whether it is there or not.
    pub(crate) config_file: PathBuf,
    /// The configuration file, if it is not the default one; recovery commands have to name it.
    pub(crate) named_config: Option<PathBuf>,
    /// The token file, if the command line named it; recovery commands have to name it too.
    pub(crate) named_token_file: Option<PathBuf>,
    /// How a person logs in again.
    pub(crate) login: Login,
    /// Where the user manager listens, if the shell does not say so, as that of `su` does not.
    pub(crate) named_runtime: Option<PathBuf>,
    /// The units that run this configuration file, if it lies where those look for it.
    pub(crate) units: Option<Units>,
    /// The home directory, to shorten paths for people.
    pub(crate) home: PathBuf,
    /// The user's name, for the notes on a minted token.
    pub(crate) user: String,
    /// How the verb `watch` stays.
    pub(crate) watch: WatchSettings,
    /// What to warn of.
    pub(crate) warnings: Vec<SettingsWarning>,
}

/// A value as text, with the place it comes from for errors.
struct Given {
    value: String,
    source: String,
    /// Whether that place is the configuration file.
    in_file: bool,
}

impl Given {
    /// Who says so.
    fn said_by(&self) -> SaidBy {
        if self.in_file { SaidBy::File } else { SaidBy::Name(self.source.clone()) }
    }

    /// Adds the source to an error about the value.
    fn check<T>(&self, parse: impl FnOnce(&str) -> Result<T>) -> Result<T> {
        parse(&self.value).with_context(|| self.source.clone())
    }
}

/// The sources of settings, in which a value is looked for by precedence.
struct Sources<'a> {
    environment: &'a Environment,
    file: FileSettings,
    file_path: PathBuf,
}

impl Sources<'_> {
    /// The value that counts: of the flag, else of the variable, else of the file.
    fn given(
        &self,
        key: &str,
        flag: Option<&String>,
        variable: Option<environment::Variable>,
        in_file: Option<&String>,
    ) -> Option<Given> {
        let flag = flag.map(|value| Given {
            value: value.clone(),
            source: format!("--{}", key.replace('_', "-")),
            in_file: false,
        });
        let variable =
            variable.map(|variable| Given { value: variable.value, source: variable.name, in_file: false });
        let in_file = in_file.map(|value| Given {
            value: value.clone(),
            source: format!("{}: {key}", self.file_path.display()),
            in_file: true,
        });
        flag.or(variable).or(in_file)
    }

    /// The same for a setting whose variable is `VTR_` and the key in capitals.
    fn vtr_setting(
        &self,
        key: &str,
        flag: Option<&String>,
        in_file: Option<&String>,
    ) -> Result<Option<Given>> {
        let variable = self.environment.get(&format!("VTR_{}", key.to_ascii_uppercase()))?;
        Ok(self.given(key, flag, variable, in_file))
    }
}

/// What has to be known before anything else, whatever the verb.
struct Grounds<'a> {
    home: PathBuf,
    default_config: PathBuf,
    /// The configuration file, if it is not the default one.
    named_config: Option<PathBuf>,
    sources: Sources<'a>,
    state_home: PathBuf,
}

impl<'a> Grounds<'a> {
    fn lay(flags: &SettingsFlags, environment: &'a Environment) -> Result<Self> {
        environment.check_own_names()?;
        let home = environment
            .get("HOME")?
            .map(|home| PathBuf::from(home.value))
            .filter(|home| home.is_absolute())
            .ok_or_else(|| anyhow!("HOME is not set to an absolute path; set it to your home directory"))?;
        check_path("HOME", &home)?;
        let default_config = default_config(environment, &home);
        check_path("XDG_CONFIG_HOME", &default_config)?;
        let named_config = named_config(flags, &default_config);
        if let Some(path) = &named_config {
            check_path("--config", path)?;
        }
        let (file_path, file) = match &flags.config {
            Some(path) => (path.clone(), FileSettings::read(path)?),
            None => (default_config.clone(), FileSettings::read_if_there(&default_config)?),
        };
        let sources = Sources { environment, file, file_path };
        let state_home =
            environment.absolute_directory("XDG_STATE_HOME").unwrap_or_else(|| home.join(".local/state"));

        check_path("XDG_STATE_HOME", &state_home)?;
        Ok(Self { home, default_config, named_config, sources, state_home })
    }

    /// The token file, and who names it.
    fn token_file(&self, flags: &SettingsFlags) -> Result<(PathBuf, Option<SaidBy>)> {
        let given = self.sources.given(
            "token_file",
            flags.token_file.as_ref(),
            self.sources.environment.official("TOKEN_PATH")?,
            self.sources.file.token_file.as_ref(),
        );
        let said_by = given.as_ref().map(Given::said_by);
        let path = path(given, &self.home)?.unwrap_or_else(|| self.home.join(DEFAULT_TOKEN_FILE));
        Ok((path, said_by))
    }

    /// The log file.
    fn log_file(&self, flags: &SettingsFlags) -> Result<PathBuf> {
        let in_file = self.sources.file.log_file.as_ref();
        let given = self.sources.vtr_setting("log_file", flags.log_file.as_ref(), in_file)?;
        Ok(path(given, &self.home)?.unwrap_or_else(|| self.state_home.join("vault-token-renew.log")))
    }

    /// Where lock and state are kept.
    fn state_directory(&self) -> PathBuf {
        self.state_home.join("vault-token-renew")
    }

    /// The variables of the official command lines that hold a token, as far as they are set.
    fn token_variables(&self) -> impl Iterator<Item = &'static str> {
        ["VAULT_TOKEN", "BAO_TOKEN"].into_iter().filter(|name| self.sources.environment.is_set(name))
    }
}

impl Settings {
    /// Brings flags, environment, configuration file and defaults together, for a run on `host`.
    pub(crate) fn resolve(
        flags: &SettingsFlags,
        watch_flags: &WatchFlags,
        environment: &Environment,
        host: &str,
    ) -> Result<(Self, ConnectionSettings)> {
        // Nobody knows in which shell what a service prints will be typed.
        let shell = Some(environment).filter(|environment| !environment.is_of_service());
        Self::resolve_for(flags, watch_flags, environment, shell, host)
    }

    /// The same for somebody who types what is printed into a `shell` with another environment, if it is known.
    pub(crate) fn resolve_for(
        flags: &SettingsFlags,
        watch_flags: &WatchFlags,
        environment: &Environment,
        shell: Option<&Environment>,
        host: &str,
    ) -> Result<(Self, ConnectionSettings)> {
        let grounds = Grounds::lay(flags, environment)?;
        let mut warnings: Vec<_> = grounds
            .token_variables()
            .map(|name| SettingsWarning::TokenVariableIgnored(name.to_owned()))
            .collect();
        let (token_file, token_file_said_by) = grounds.token_file(flags)?;
        let log_file = grounds.log_file(flags)?;
        let state_directory = grounds.state_directory();
        let Grounds { home, default_config, named_config, sources, .. } = grounds;
        warnings.extend(token_helper(environment, &home)?.map(SettingsWarning::TokenHelper));
        let connection = connection(flags, &sources, None, &mut warnings)?;

        let retry_for = sources.vtr_setting(
            "retry_for",
            flags.retry_for.as_ref(),
            text(sources.file.retry_for.as_ref()),
        )?;
        let sweep = sources.vtr_setting("sweep", flags.sweep.as_ref(), sources.file.sweep.as_ref())?;
        let metrics_file = sources.vtr_setting(
            "metrics_file",
            flags.metrics_file.as_ref(),
            sources.file.metrics_file.as_ref(),
        )?;
        let metrics_file = path(metrics_file, &home)?;
        let watch =
            WatchSettings::resolve(watch_flags, sources.file.watch.as_ref(), &sources.file_path, &home)?;
        let in_file = sources.file.watch.as_ref().and_then(|table| table.listen.as_ref());
        if shell.is_none() && watch::is_overridden(watch_flags.listen.as_ref(), in_file) {
            let key = format!("{}: watch.listen", sources.file_path.display());
            warnings.push(SettingsWarning::ListenOverridden(key));
        }
        let others = [("metrics_file", metrics_file.as_ref()), ("watch.listen", watch.socket())];
        check_files(&sources.file_path, &token_file, &log_file, &others, &state_directory)?;
        // Who is in no such file, but in a directory of the network, has a name in the environment.
        let user =
            user(environment, &bounded::read_text(Path::new(ACCOUNTS), MOST_ACCOUNTS).unwrap_or_default())?;
        let settings = Self {
            identity: identity(flags, &sources, &user, host)?,
            named_token_file: flags.token_file.as_ref().map(|_| token_file.clone()),
            named_flags: named_flags(flags, &sources, shell, &connection),
            named_runtime: shell
                .filter(|shell| shell.absolute_directory("XDG_RUNTIME_DIR").is_none())
                .map(Environment::user_runtime_directory),
            login: Login::resolve(login_command(flags, &sources)?, environment, shell, &connection),
            token_file: TokenFile::new(token_file),
            token_file_said_by,
            log_file,
            state_directory,
            retry_for: match retry_for {
                Some(given) => given.check(wait)?,
                None => duration::parse(DEFAULT_RETRY_FOR)?,
            },
            sweep: sweep.map_or(Ok(SweepMode::Walk), |given| given.check(sweep_mode))?,
            metrics_file,
            hook: hook(flags, &sources)?,
            hook_is_roots: hook_command_given(flags, &sources)?.is_some_and(|given| given.in_file)
                && file::has_to_be_seen_as_roots(&sources.file_path),
            profile: profile(named_config.as_deref()),
            units: units(named_config.as_deref(), &default_config),
            config_file: absolute(&sources.file_path),
            named_config,
            user,
            watch,
            home,
            warnings,
        };
        Ok((settings, connection))
    }
}

/// Nothing may overwrite, or be appended to, what is something else.
fn check_files(
    config: &PathBuf,
    token_file: &PathBuf,
    log_file: &PathBuf,
    others: &[(&'static str, Option<&PathBuf>)],
    state_directory: &Path,
) -> Result<()> {
    let mut files = Vec::new();
    // Nothing is lost in /dev/null, which is a way to have no configuration and no log.
    if config.metadata().map_or(true, |data| data.is_file()) {
        files.push(("configuration file", config));
    }
    let seat = watching::beside(&TokenFile::new(token_file.clone()).real(), Kind::Watch);
    files.extend([("token_file", token_file), ("log_file", log_file), ("lock file of watch", &seat)]);
    let others = others.iter().filter_map(|(name, file)| Some((*name, (*file)?)));
    files.extend(others.clone());
    for (place, (one, path)) in files.iter().enumerate() {
        if let Some((other, _)) = files.iter().skip(place + 1).find(|(_, other)| same_file(path, other)) {
            bail!("{other} and {one} are the same file: {}", path.display());
        }
    }
    let is_among_states =
        |file: &PathBuf| file.parent().is_some_and(|folder| same_file(folder, state_directory));
    match others.clone().find(|(_, file)| is_among_states(file)) {
        Some((name, _)) => bail!("{name} lies among the state files: {}", state_directory.display()),
        None => Ok(()),
    }
}

/// The configuration of an official command line that names a `token_helper`: then a login never reaches the token
/// file.
///
/// Source: Vault, `command/config/config.go`, and OpenBao, which has a file of its own; both HCL.
fn token_helper(environment: &Environment, home: &Path) -> Result<Option<PathBuf>> {
    let named = |variable: &str| Ok(environment.get(variable)?.map(|variable| PathBuf::from(variable.value)));
    let vault: Result<Option<PathBuf>> = named("VAULT_CONFIG_PATH");
    let bao: Result<Option<PathBuf>> = named("BAO_CONFIG_PATH");
    let files = [vault?.unwrap_or_else(|| home.join(".vault")), bao?.unwrap_or_else(|| home.join(".bao"))];
    Ok(files.into_iter().find(|file| {
        // What is no file, or not readable, is no configuration; the command line will say so itself.
        let text = bounded::read_text(file, LARGEST_CLI_CONFIG).unwrap_or_default();
        text.lines().any(|line| {
            let value = line.trim().trim_matches('"').strip_prefix("token_helper");
            let value = value.map(|rest| rest.trim_start_matches(['"', ' ', '\t', '=', ':']).trim());
            value.is_some_and(|value| value.len() > 2)
        })
    }))
}

/// The flags that were given to say where the server is and whose the token. Without them a copied command would mean
/// another one; and so it would without server and namespace where the shell's variables, or the lack of them, lead it
/// elsewhere.
fn named_flags(
    flags: &SettingsFlags,
    sources: &Sources<'_>,
    shell: Option<&Environment>,
    connection: &ConnectionSettings,
) -> Vec<(&'static str, String)> {
    let given = |flag, value: Option<&String>| value.map(|value| (flag, value.trim().to_owned()));
    let policies = flags.policies.iter().map(|policy| ("--policy", policy.trim().to_owned()));
    // What the command finds in that shell. The configuration file is the same.
    let found = |variable: Result<Option<environment::Variable>>, in_file: Option<&String>| {
        variable.map(|variable| variable.map(|variable| variable.value).or_else(|| in_file.cloned()))
    };
    let finds_address = shell.is_some_and(|shell| {
        found(server_variable(shell), sources.file.address.as_ref())
            .and_then(|address| Address::parse(address.as_deref().unwrap_or(DEFAULT_ADDRESS)))
            .is_ok_and(|address| address == connection.address)
    });
    let finds_namespace = shell.is_some_and(|shell| {
        found(shell.official("NAMESPACE"), sources.file.namespace.as_ref())
            .and_then(|namespace| canonical_namespace(&namespace.unwrap_or_default()))
            .is_ok_and(|namespace| namespace == connection.namespace)
    });
    let address = (!finds_address && !connection.is_unaddressed()).then(|| connection.address.to_string());
    // An empty one keeps a shell's out. In a shell that nobody knows there most likely is none.
    let namespace = connection.namespace.clone().or_else(|| shell.map(|_| String::new()));
    let namespace = namespace.filter(|_| !finds_namespace);
    given("--address", flags.address.as_ref().or(address.as_ref()))
        .into_iter()
        .chain(given("--namespace", flags.namespace.as_ref().or(namespace.as_ref())))
        .chain(given("--display-name", flags.display_name.as_ref()))
        .chain(policies)
        .chain(given("--required-policy", flags.required_policy.as_ref()))
        .chain(given("--period", flags.period.as_ref()))
        .collect()
}

/// How a person logs in, where some source says so.
fn login_command(flags: &SettingsFlags, sources: &Sources<'_>) -> Result<Option<String>> {
    let in_file = sources.file.login_command.as_ref();
    let given = sources.vtr_setting("login_command", flags.login_command.as_ref(), in_file)?;
    given.map(|given| given.check(login::login_command)).transpose()
}

fn hook_command_given(flags: &SettingsFlags, sources: &Sources<'_>) -> Result<Option<Given>> {
    sources.vtr_setting("deploy_hook", flags.deploy_hook.as_ref(), sources.file.deploy_hook.as_ref())
}

/// What to run after the token file was replaced.
fn hook(flags: &SettingsFlags, sources: &Sources<'_>) -> Result<Option<Hook>> {
    let command = hook_command_given(flags, sources)?;
    let timeout = sources.vtr_setting(
        "hook_timeout",
        flags.hook_timeout.as_ref(),
        text(sources.file.hook_timeout.as_ref()),
    )?;
    let timeout = match timeout {
        Some(given) => given.check(hook_timeout)?,
        None => duration::parse(DEFAULT_HOOK_TIMEOUT)?,
    };
    // Whoever can write the file could run what they like as this user.
    if let Some(given) = command.as_ref().filter(|given| given.in_file) {
        file::check_writers(&sources.file_path).with_context(|| given.source.clone())?;
    }
    let command = command.map(|given| given.check(hook_command)).transpose()?;
    let name_setting = name_variable(sources.environment)?.map(|variable| variable.value);
    let is_nested = sources.environment.is_set(EVENT_VARIABLE);
    Ok(command.map(|command| Hook { command, timeout, is_nested, name_setting }))
}

/// The display name, as the environment sets it. In a hook that variable holds what the hook is told.
fn name_variable(environment: &Environment) -> Result<Option<environment::Variable>> {
    environment.get(if environment.is_set(EVENT_VARIABLE) { NAME_SETTING } else { "VTR_DISPLAY_NAME" })
}

fn hook_command(text: &str) -> Result<String> {
    if text.trim().is_empty() {
        bail!("an empty command");
    }
    if text.contains('\0') {
        bail!("{text:?} is no command of a shell");
    }
    Ok(text.to_owned())
}

fn hook_timeout(text: &str) -> Result<Duration> {
    let timeout = wait(text)?;
    if timeout.is_zero() {
        bail!("{text:?}: a hook needs some time");
    }
    Ok(timeout)
}

/// The name of the configuration file without its folder and ending, as the template unit has it.
fn profile(named_config: Option<&Path>) -> String {
    let stem = named_config.and_then(Path::file_stem).map(|stem| stem.to_string_lossy().into_owned());
    match stem {
        // Its name has to differ from that of the default one.
        Some(stem) if stem == DEFAULT_PROFILE => format!("{stem}.toml"),
        Some(stem) => stem,
        None => DEFAULT_PROFILE.to_owned(),
    }
}

/// The units that run a configuration file: the template's, if it lies beside the default one.
fn units(named_config: Option<&Path>, default_config: &Path) -> Option<Units> {
    let Some(path) = named_config else { return Some(Units::of(None)) };
    let beside = path.parent() == default_config.parent() && path.extension() == Some("toml".as_ref());
    path.file_stem().and_then(|stem| stem.to_str()).filter(|_| beside).map(|stem| Units::of(Some(stem)))
}

/// The units that run the configuration file which these flags name, or the default one. Nothing in it is read.
pub(crate) fn units_of(flags: &SettingsFlags, environment: &Environment) -> Option<Units> {
    let home = environment.absolute_directory("HOME")?;
    let default_config = default_config(environment, &home);
    units(named_config(flags, &default_config).as_deref(), &default_config)
}

/// The short name of the configuration file which these flags name.
pub(crate) fn profile_of(flags: &SettingsFlags, environment: &Environment) -> String {
    let home = environment.absolute_directory("HOME").unwrap_or_default();
    profile(named_config(flags, &default_config(environment, &home)).as_deref())
}

/// All configuration files of the user, the default one first. A file that only says what `follow` keeps where is none:
/// it has no token of its own.
pub(crate) fn all_configs(environment: &Environment) -> Vec<PathBuf> {
    let Some(home) = environment.absolute_directory("HOME") else { return Vec::new() };
    let default_config = default_config(environment, &home);
    let beside = default_config.parent().and_then(|folder| folder.read_dir().ok()).into_iter().flatten();
    let beside = beside.filter_map(|entry| Some(entry.ok()?.path()));
    let is_further = |path: &PathBuf| {
        path.extension().is_some_and(|ending| ending == "toml")
            && *path != default_config
            && !is_of_follow(path)
    };
    let mut configs: Vec<PathBuf> = beside.filter(is_further).collect();
    configs.sort();
    if default_config.exists() || configs.is_empty() {
        configs.insert(0, default_config);
    }
    configs
}

/// Whether a configuration file is for `follow` alone.
fn is_of_follow(path: &Path) -> bool {
    FileSettings::read(path).is_ok_and(|file| file.follow.is_some() && file.display_name.is_none())
}

/// The configuration file that is read where no flag names one.
fn default_config(environment: &Environment, home: &Path) -> PathBuf {
    let config_home =
        environment.absolute_directory("XDG_CONFIG_HOME").unwrap_or_else(|| home.join(".config"));
    config_home.join("vault-token-renew/config.toml")
}

/// A path that means the same in another working directory.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// The configuration file that a flag names, if it is not the default one.
fn named_config(flags: &SettingsFlags, default_config: &Path) -> Option<PathBuf> {
    flags.config.as_deref().map(absolute).filter(|path| !same_file(path, default_config))
}

/// That nobody has said whose token it is. Nobody becomes somebody else: a name and policies that are only a default
/// would mint another user's token, and revoke that user's.
#[derive(Debug)]
pub(crate) struct NoIdentity {
    /// Where to say it.
    file: PathBuf,
    /// A name that fits: that of the host and the user.
    display_name: String,
}

impl NoIdentity {
    /// The lines to write. The names of the policies only the user knows.
    pub(crate) fn lines(&self) -> [String; 2] {
        [format!("display_name = {:?}", self.display_name), format!("policies = [{PLACEHOLDER:?}]")]
    }
}

impl fmt::Display for NoIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [name, policies] = self.lines();
        write!(
            f,
            "whose token is it? neither display_name nor policies are set; write both to {}: {name} and {policies}, \
             with the names of the policies that your token needs",
            self.file.display()
        )
    }
}

impl std::error::Error for NoIdentity {}

/// Stands for the name of a policy in an example. Typed as it stands it is refused.
const PLACEHOLDER: &str = "<policy>";

/// Whose token it is and how it is minted.
fn identity(flags: &SettingsFlags, sources: &Sources<'_>, user: &str, host: &str) -> Result<Identity> {
    let (flag, in_file) = (flags.display_name.as_ref(), sources.file.display_name.as_ref());
    let display_name = sources.given("display_name", flag, name_variable(sources.environment)?, in_file);
    let policies = policies(flags, sources)?;
    // Half an identity is the worst mistake there is: somebody's policies under another name, or another
    // user's tokens swept.
    let (display_name, (policies, policies_source)) = match (display_name, policies) {
        (Some(name), Some(policies)) => (name.check(requested_name)?, policies),
        (None, None) if (user, host) == FIRST_USER => {
            let policies = FIRST_POLICIES.map(str::to_owned).to_vec();
            (FIRST_DISPLAY_NAME.to_owned(), (policies, "default".to_owned()))
        }
        (None, None) => {
            let plain = |name: &str| -> String {
                name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect()
            };
            let display_name = format!("{}-{}", plain(host), plain(user));
            return Err(NoIdentity { file: sources.file_path.clone(), display_name }.into());
        }
        (Some(name), None) => bail!(
            "{}: display_name is set but policies are not; set both (--policy, VTR_POLICIES or the key \
             `policies`)",
            name.source
        ),
        (None, Some((_, source))) => bail!(
            "{source}: policies are set but display_name is not; set both (--display-name, \
             VTR_DISPLAY_NAME or the key `display_name`)"
        ),
    };
    let Some(first) = policies.first() else { bail!("{policies_source}: at least one policy is needed") };
    let required = sources.vtr_setting(
        "required_policy",
        flags.required_policy.as_ref(),
        sources.file.required_policy.as_ref(),
    )?;
    let required_policy = match required {
        Some(given) => given.check(policy)?,
        None => first.clone(),
    };
    if required_policy == DEFAULT_POLICY {
        bail!("required_policy must not be \"default\": every token has that policy");
    }
    if !policies.contains(&required_policy) {
        bail!(
            "required_policy {required_policy:?} is not among the policies ({}): a token minted with those \
             would not be yours",
            policies.join(", ")
        );
    }
    let period = sources.vtr_setting("period", flags.period.as_ref(), text(sources.file.period.as_ref()))?;
    let period = match period {
        Some(given) => given.check(whole_seconds)?,
        None => whole_seconds(DEFAULT_PERIOD)?,
    };
    Ok(Identity {
        display_name: stored_name(&display_name),
        requested_name: display_name,
        required_policy,
        policies,
        period,
    })
}

/// The policies, if any source names some, with their source.
fn policies(flags: &SettingsFlags, sources: &Sources<'_>) -> Result<Option<(Vec<String>, String)>> {
    let (list, source) = if !flags.policies.is_empty() {
        (flags.policies.clone(), "--policy".to_owned())
    } else if let Some(variable) = sources.environment.get("VTR_POLICIES")? {
        (variable.value.split(',').map(str::to_owned).collect(), variable.name)
    } else if let Some(list) = &sources.file.policies {
        (list.clone(), format!("{}: policies", sources.file_path.display()))
    } else {
        return Ok(None);
    };
    let mut policies: Vec<String> = Vec::new();
    for name in &list {
        let name = policy(name).with_context(|| source.clone())?;
        if !policies.contains(&name) {
            policies.push(name);
        }
    }
    if policies.is_empty() {
        bail!("{source}: at least one policy is needed");
    }
    Ok(Some((policies, source)))
}

/// A policy's name as Vault keeps it: trimmed and in lower case.
fn policy(name: &str) -> Result<String> {
    let name = name.trim().to_lowercase();
    if name.is_empty() {
        bail!("a policy without a name");
    }
    if name == ROOT_POLICY {
        bail!("the policy \"root\" is never minted; name the policies your token needs");
    }
    if name.starts_with('<') && name.ends_with('>') {
        bail!(
            "{name:?} stands for the name of a policy; write the names of the policies that your token needs"
        );
    }
    if name.contains(|c: char| c.is_control() || c == ',') {
        bail!("{name:?} is not the name of a policy");
    }
    Ok(name)
}

fn requested_name(name: &str) -> Result<String> {
    let name = name.trim();
    if name.is_empty() {
        bail!("an empty display name");
    }
    if name.contains(char::is_control) {
        bail!("{name:?} holds control characters");
    }
    if !name.contains(|c: char| c.is_ascii_alphanumeric()) {
        bail!("{name:?}: Vault would store no letter of this name");
    }
    // Whatever is no letter, digit or hyphen is stored as a hyphen.
    let after_word = name.strip_prefix(VAULTS_PREFIX.trim_end_matches('-'));
    let meant = after_word.and_then(|rest| rest.strip_prefix(|c: char| !c.is_ascii_alphanumeric()));
    if let Some(meant) = meant {
        bail!("{name:?} begins with what Vault puts in front of every name; write {meant:?}");
    }
    Ok(name.to_owned())
}

fn whole_seconds(text: &str) -> Result<u64> {
    let duration = duration::parse(text)?;
    if duration.subsec_nanos() != 0 || duration.is_zero() {
        bail!("{text:?}: a period is one or more whole seconds");
    }
    Ok(duration.as_secs())
}

fn wait(text: &str) -> Result<Duration> {
    let duration = duration::parse(text)?;
    if duration > LONGEST_WAIT {
        bail!("{text:?} is more than a day");
    }
    Ok(duration)
}

fn sweep_mode(text: &str) -> Result<SweepMode> {
    match text {
        "walk" => Ok(SweepMode::Walk),
        "remembered" => Ok(SweepMode::Remembered),
        "off" => Ok(SweepMode::Off),
        other => bail!("{other:?} is not a way to sweep; choose walk, remembered or off"),
    }
}

fn concurrency(text: &str) -> Result<u32> {
    let number = text.trim().parse().ok().filter(|number| (1..=MOST_CONCURRENCY).contains(number));
    number.ok_or_else(|| anyhow!("{text:?} is not a number from 1 to {MOST_CONCURRENCY}"))
}

/// How much life a token must have left at least, in whole seconds.
pub(crate) fn min_ttl(text: &str) -> Result<u64> {
    let least = duration::parse(text).context("--min-ttl")?;
    Ok(least.as_secs() + u64::from(least.subsec_nanos() > 0))
}

/// A path; `~/` is the home, since neither TOML nor systemd replaces it as a shell would.
fn path(given: Option<Given>, home: &Path) -> Result<Option<PathBuf>> {
    let Some(given) = given else { return Ok(None) };
    let read = |value: &str| {
        // Not to be repeated: it may be a key.
        if value.contains("-----BEGIN") {
            bail!("it holds PEM, and names no file");
        }
        let path = match value.strip_prefix("~/") {
            Some(rest) => home.join(rest),
            None => PathBuf::from(value),
        };
        if matches!(value, "" | "~") || value.ends_with('/') || path.file_name().is_none() {
            bail!("{value:?} does not name a file");
        }
        if given.in_file && path.is_relative() {
            bail!("{value:?} is relative, and to what? begin it with / or ~/");
        }
        let path =
            std::path::absolute(&path).with_context(|| format!("{value:?} cannot be made absolute"))?;
        check_path("it", &path)?;
        Ok(path)
    };
    given.check(read).map(Some)
}

/// Whether two names lead to the same file, whether it is there or not, by links of either kind.
fn same_file(one: &Path, other: &Path) -> bool {
    let real = |path: &Path| TokenFile::new(path.to_owned()).resolved();
    let inode = |path: &Path| path.metadata().map(|data| (data.dev(), data.ino()));
    one == other
        || matches!((real(one), real(other)), (Ok(one), Ok(other)) if one == other)
        || matches!((inode(one), inode(other)), (Ok(one), Ok(other)) if one == other)
}

fn text(duration: Option<&DurationText>) -> Option<&String> {
    duration.map(|text| &text.0)
}

/// The name of the user, else the number. A name that is somebody else's, left over from another login, is not
/// believed.
fn user(environment: &Environment, accounts: &str) -> Result<String> {
    let uid = rustix::process::geteuid().as_raw().to_string();
    let accounts = accounts.lines().filter_map(|line| {
        let mut fields = line.split(':');
        Some((fields.next()?, fields.nth(1)?))
    });
    let believed = |name: &String| {
        !name.contains(char::is_control)
            && accounts.clone().find(|(account, _)| account == name).is_none_or(|(_, number)| number == uid)
    };
    let named = environment.first(&["USER", "LOGNAME"])?.map(|user| user.value).filter(believed);
    let account =
        || accounts.clone().find(|(_, number)| *number == uid).map(|(account, _)| account.to_owned());
    Ok(named.or_else(account).unwrap_or(uid))
}

/// Everything about the way to the server: the part of the settings that is shared with the official
/// command lines, by their variables and their rules.
///
/// `another_name` is one more variable for the address, after those of the official command lines.
fn connection(
    flags: &SettingsFlags,
    sources: &Sources<'_>,
    another_name: Option<&str>,
    warnings: &mut Vec<SettingsWarning>,
) -> Result<ConnectionSettings> {
    let environment = sources.environment;
    for name in UNSUPPORTED {
        if let Some(variable) = environment.official(name)? {
            bail!("{} is not supported; unset it for this program", variable.name);
        }
    }
    if let Some(variable) = switched_on(environment, "SRV_LOOKUP")? {
        bail!("{variable} is not supported; give the address of a server");
    }

    let another = another_name.map(|name| environment.get(name)).transpose()?.flatten();
    let in_environment = server_variable(environment)?.or(another);
    let address =
        sources.given("address", flags.address.as_ref(), in_environment, sources.file.address.as_ref());
    let in_environment = environment.official("NAMESPACE")?;
    let namespace =
        sources.given("namespace", flags.namespace.as_ref(), in_environment, sources.file.namespace.as_ref());
    let timeout = environment.official("CLIENT_TIMEOUT")?;
    let timeout = timeout.map(|variable| wait(&variable.value).context(variable.name)).transpose()?;
    let in_file = sources.file.sweep_concurrency.map(|number| number.to_string());
    let concurrent =
        sources.vtr_setting("sweep_concurrency", flags.sweep_concurrency.as_ref(), in_file.as_ref())?;
    let concurrent = concurrent.map_or(Ok(DEFAULT_CONCURRENCY), |given| given.check(concurrency))?;

    let said_by = |given: &Option<Given>| given.as_ref().map(Given::said_by);
    let (address_said_by, namespace_said_by) = (said_by(&address), said_by(&namespace));
    let address = match address {
        Some(given) => given.check(Address::parse)?,
        None => Address::parse(DEFAULT_ADDRESS)?,
    };
    let name = |name: &str| name_of(environment, name);
    let named = Named {
        address: address_said_by,
        namespace: namespace_said_by,
        authorities: authorities_variable(environment)?,
        client_certificate: name("CLIENT_CERT")?,
        server_name: name("TLS_SERVER_NAME")?,
        timeout: name("CLIENT_TIMEOUT")?,
        proxy: None,
    };
    Ok(ConnectionSettings {
        proxies: proxies(environment, &address)?,
        address,
        named,
        namespace: namespace.map(|given| given.check(canonical_namespace)).transpose()?.flatten(),
        timeout: timeout.filter(|timeout| !timeout.is_zero()).unwrap_or(DEFAULT_CLIENT_TIMEOUT),
        disable_redirects: switched_on(environment, "DISABLE_REDIRECTS")?.is_some(),
        concurrency: usize::try_from(concurrent)?,
        tls: tls(environment, warnings)?,
    })
}

/// The variable that says where the server is. An agent's address beats the server's, as in the official command lines.
fn server_variable(environment: &Environment) -> Result<Option<environment::Variable>> {
    Ok(environment.official("AGENT_ADDR")?.or(environment.official("ADDR")?))
}

/// A namespace without slashes around it; nothing left means none.
fn canonical_namespace(text: &str) -> Result<Option<String>> {
    let namespace = text.trim().trim_matches('/');
    if !namespace.bytes().all(|byte| byte.is_ascii_graphic()) {
        bail!("{text:?} is not a namespace");
    }
    Ok((!namespace.is_empty()).then(|| namespace.to_owned()))
}

/// The name of a variable of the official command lines, if it is set.
fn name_of(environment: &Environment, name: &str) -> Result<Option<String>> {
    Ok(environment.official(name)?.map(|variable| variable.name))
}

/// The name of the variable that says whom to trust.
fn authorities_variable(environment: &Environment) -> Result<Option<String>> {
    let name = |name: &str| name_of(environment, name);
    Ok(name("CACERT")?.or(name("CACERT_BYTES")?).or(name("CAPATH")?))
}

fn tls(environment: &Environment, warnings: &mut Vec<SettingsWarning>) -> Result<TlsSettings> {
    let paths = ["CACERT", "CAPATH", "CLIENT_CERT", "CLIENT_KEY"].map(|name| environment.official(name));
    for variable in
        paths.into_iter().chain(["SSL_CERT_FILE", "SSL_CERT_DIR"].map(|name| environment.get(name)))
    {
        // Not to be repeated: one of them is a secret.
        if let Some(variable) = variable?.filter(|variable| variable.value.contains("-----BEGIN")) {
            bail!("{} holds PEM; write that to a file, and set {0} to its path", variable.name);
        }
    }
    // The order of precedence is Vault's.
    let roots = if let Some(variable) = environment.official("CACERT")? {
        Roots::Given(roots_from_file(Path::new(&variable.value)).context(variable.name)?)
    } else if let Some(variable) = environment.official("CACERT_BYTES")? {
        Roots::Given(roots_from_pem(variable.value.as_bytes()).context(variable.name)?)
    } else if let Some(variable) = environment.official("CAPATH")? {
        Roots::Given(roots_from_directory(Path::new(&variable.value)).context(variable.name)?)
    } else {
        Roots::System {
            file: environment.get("SSL_CERT_FILE")?.map(|variable| variable.value.into()),
            folders: environment
                .get("SSL_CERT_DIR")?
                .map(|variable| variable.value.split(':').map(PathBuf::from).collect()),
        }
    };
    let pair = (environment.official("CLIENT_CERT")?, environment.official("CLIENT_KEY")?);
    let client = match pair {
        (Some(certificate), Some(key)) => {
            let names = format!("{}, {}", certificate.name, key.name);
            Some(client_certificate(Path::new(&certificate.value), Path::new(&key.value)).context(names)?)
        }
        (Some(one), None) | (None, Some(one)) => {
            bail!("{} is set alone; certificate and key are both needed", one.name)
        }
        (None, None) => None,
    };
    let skip_verify = switched_on(environment, "SKIP_VERIFY")?;
    if let Some(switch) = &skip_verify {
        let authorities = authorities_variable(environment)?;
        warnings.push(SettingsWarning::VerificationOff { switch: switch.clone(), authorities });
    }
    let server_name = environment.official("TLS_SERVER_NAME")?;
    if let Some(variable) = &server_name {
        Address::parse(&format!("https://{}", variable.value)).with_context(|| variable.name.clone())?;
    }
    Ok(TlsSettings {
        roots,
        client,
        server_name: server_name.map(|variable| variable.value),
        skip_verify: skip_verify.is_some(),
    })
}

fn proxies(environment: &Environment, address: &Address) -> Result<ProxyRules> {
    if let Some(variable) = environment.official("PROXY_ADDR")?.or(environment.official("HTTP_PROXY")?) {
        let always = Some(Proxy::parse(&variable.value).with_context(|| variable.name.clone())?);
        return Ok(ProxyRules { always, names: [Some(variable.name), None, None], ..ProxyRules::default() });
    }
    let candidate = |variable: &environment::Variable| -> Candidate {
        Proxy::parse(&variable.value).map_err(|reason| format!("{}: {reason}", variable.name))
    };
    let http = environment.first(&["HTTP_PROXY", "http_proxy"])?;
    let https = environment.first(&["HTTPS_PROXY", "https_proxy"])?;
    let name = |variable: &Option<environment::Variable>| variable.as_ref().map(|found| found.name.clone());
    let names = [None, name(&http), name(&https)];
    let http = match http.as_ref().map(candidate) {
        // A web server gives its CGI programs whatever header "Proxy" the caller sent under the name HTTP_PROXY.
        Some(_) if environment.is_set("REQUEST_METHOD") => Some(Err(
            "HTTP_PROXY is not used where REQUEST_METHOD is set: a caller may have set it".to_owned(),
        )),
        http => http,
    };
    let exceptions = environment.first(&["NO_PROXY", "no_proxy"])?;
    let rules = ProxyRules {
        always: None,
        http,
        https: https.as_ref().map(candidate),
        exceptions: exceptions.map(|list| NoProxy::parse(&list.value)).unwrap_or_default(),
        names,
    };
    match rules.obstacle(address) {
        Some(reason) => bail!("{reason}"),
        None => Ok(rules),
    }
}

/// The name of a switch of the official command lines, if it is on. Its values are those of Go's
/// `strconv.ParseBool`; anything else is an error there too.
fn switched_on(environment: &Environment, name: &str) -> Result<Option<String>> {
    let Some(variable) = environment.official(name)? else { return Ok(None) };
    match variable.value.as_str() {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(Some(variable.name)),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(None),
        other => bail!("{}: {other:?} is neither true nor false", variable.name),
    }
}

#[cfg(test)]
mod tests;
