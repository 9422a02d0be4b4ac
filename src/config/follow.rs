//! The settings of the verb `follow`: its flags, before the table `[follow]` of the configuration file, before what the
//! environment of an agent holds that did this work until now.
//!
//! Whose the token is that asks does not matter here, so no identity is needed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};

use super::file::{DurationText, FollowTable};
use super::flags::{FollowFlags, SettingsFlags};
use super::watch::{is_overridden, place, socket_of};
use super::{
    ACCOUNTS, Environment, Given, Grounds, Login, MOST_ACCOUNTS, SettingsWarning, absolute, check_files,
    connection, duration, hook, login_command, path, profile, text, user, wait,
};
use crate::bounded;
use crate::local::hook::Hook;
use crate::local::token_file::TokenFile;
use crate::local::watching::{self, Kind};
use crate::service::listener::Place;
use crate::vault::{ConnectionSettings, SaidBy};

/// No table at all.
const NOTHING: FollowTable = FollowTable {
    mount: None,
    path: None,
    field: None,
    out: None,
    mode: None,
    interval: None,
    jitter: None,
    listen: None,
    listen_unprotected: None,
    audit_log: None,
    verify: None,
    max_skew: None,
    grace: None,
};

/// The address, as an agent's deployment has it.
const AGENTS_ADDRESS: &str = "VAULT_ADDRESS";
/// Where an agent's deployment has its secrets: a mount, a mount and a path, or a mount and `data`.
const AGENTS_PREFIX: &str = "VAULT_AGENT_PATH_PREFIX";
/// Which of them is this agent's.
const AGENTS_HASH: &str = "DEPLOYMENT_HASH";
/// What an agent takes for that where it is not set.
const DEFAULT_HASH: &str = "default";
/// How old a signature may be for an agent, in seconds.
const AGENTS_SKEW: &str = "SIGNATURE_MAX_SKEW_SECS";

const DEFAULT_FIELD: &str = "token";
const DEFAULT_MODE: u32 = 0o600;
const DEFAULT_INTERVAL: &str = "60s";
const DEFAULT_JITTER: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(10));
const DEFAULT_MAX_SKEW: &str = "120s";
const DEFAULT_GRACE: &str = "120s";

/// More often nobody needs it, and no server wants it.
const SHORTEST_INTERVAL: Duration = Duration::from_secs(1);

/// Which field of which secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asked {
    /// Mount and path, without slashes around them.
    pub(crate) path: String,
    /// Whether the word `data` may stand between them, as in the paths of the API.
    pub(crate) may_hold_data: bool,
    /// The field.
    pub(crate) field: String,
}

/// How signatures are checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Verification {
    /// How far its time stamp may be from now, in either direction.
    pub(crate) max_skew: Duration,
    /// How long the value before the current one stays good.
    pub(crate) grace: Duration,
}

/// Everything a `follow` needs to know, checked.
#[derive(Debug)]
pub(crate) struct FollowSettings {
    /// With which token it asks.
    pub(crate) token_file: TokenFile,
    /// Who says so, if it is not the default.
    pub(crate) token_file_said_by: Option<SaidBy>,
    /// For what.
    pub(crate) asked: Asked,
    /// Which deployment it works for, if somebody said so; for the audit.
    pub(crate) deployment_hash: Option<String>,
    /// The file that is to hold the field.
    pub(crate) out: PathBuf,
    /// Its mode.
    pub(crate) mode: u32,
    /// Between the beginnings of two fetches.
    pub(crate) interval: Duration,
    /// What chance adds to it, at least and at most.
    pub(crate) jitter: (Duration, Duration),
    /// Where it answers who asks how it stands, if anywhere.
    pub(crate) listen: Option<Place>,
    /// Where rotations are written down, if anywhere.
    pub(crate) audit_log: Option<PathBuf>,
    /// Whether and how it answers whether a signature is good.
    pub(crate) verification: Option<Verification>,
    /// What runs after a rotation, if anything.
    pub(crate) hook: Option<Hook>,
    /// Where lines are appended to.
    pub(crate) log_file: PathBuf,
    /// Where it keeps what it remembers.
    pub(crate) state_directory: PathBuf,
    /// The short name of the configuration file.
    pub(crate) profile: String,
    /// The configuration file, whether it is there or not.
    pub(crate) config_file: PathBuf,
    /// The configuration file, if it is not the default one.
    pub(crate) named_config: Option<PathBuf>,
    /// The token file, if the command line named it.
    pub(crate) named_token_file: Option<PathBuf>,
    /// How a person logs in again.
    pub(crate) login: Login,
    /// The home directory, to shorten paths for people.
    pub(crate) home: PathBuf,
    /// The user's name.
    pub(crate) user: String,
    /// What to warn of.
    pub(crate) warnings: Vec<SettingsWarning>,
}

impl FollowSettings {
    /// Brings flags, table, environment and defaults together.
    pub(crate) fn resolve(
        flags: &SettingsFlags,
        follow: &FollowFlags,
        environment: &Environment,
    ) -> Result<(Self, ConnectionSettings)> {
        let shell = Some(environment).filter(|environment| !environment.is_of_service());
        let grounds = Grounds::lay(flags, environment)?;
        let mut warnings: Vec<_> = grounds
            .token_variables()
            .map(|name| SettingsWarning::TokenVariableOfAgent(name.to_owned()))
            .collect();
        let (token_file, token_file_said_by) = grounds.token_file(flags)?;
        let log_file = grounds.log_file(flags)?;
        let state_directory = grounds.state_directory();
        let Grounds { home, named_config, sources, .. } = grounds;
        let connection = connection(flags, &sources, Some(AGENTS_ADDRESS), &mut warnings)?;

        let table = sources.file.follow.as_ref().unwrap_or(&NOTHING);
        let given = |key: &str, flag: Option<&String>, in_file: Option<&String>| {
            let source = |source| (source, format!("{}: follow.{key}", sources.file_path.display()));
            let flag = flag.map(|value| Given {
                value: value.clone(),
                source: format!("--{}", key.replace('_', "-")),
                in_file: false,
            });
            let in_file = in_file.map(source).map(|(value, source)| Given {
                value: value.clone(),
                source,
                in_file: true,
            });
            flag.or(in_file)
        };
        let asked = asked(
            given("mount", follow.mount.as_ref(), table.mount.as_ref()),
            given("path", follow.path.as_ref(), table.path.as_ref()),
            given("field", follow.field.as_ref(), table.field.as_ref()),
            environment,
        )?;
        let out = path(given("out", follow.out.as_ref(), table.out.as_ref()), &home)?
            .ok_or_else(|| anyhow!("--out is missing: which file is to hold the field?"))?;
        let audit_log = path(given("audit_log", follow.audit_log.as_ref(), table.audit_log.as_ref()), &home)?;
        for (name, file) in [("out", Some(&out)), ("audit_log", audit_log.as_ref())] {
            if let Some(file) = file.filter(|file| file.is_dir()) {
                bail!("{name}: {} is a directory", file.display());
            }
        }
        if shell.is_none() && is_overridden(follow.listen.as_ref(), table.listen.as_ref()) {
            let key = format!("{}: follow.listen", sources.file_path.display());
            warnings.push(SettingsWarning::ListenOverridden(key));
        }
        let unprotected = follow.listen_unprotected || table.listen_unprotected.unwrap_or(false);
        let listen = given("listen", follow.listen.as_ref(), table.listen.as_ref())
            .map(|given| given.check(|text| place(text, unprotected, &home)))
            .transpose()?;
        let length = |key: &str, flag: Option<&String>, in_file: Option<&DurationText>, default: &str| {
            given(key, flag, text(in_file)).map_or_else(|| wait(default), |given| given.check(wait))
        };
        let verification = Verification {
            max_skew: match agents_skew(environment)? {
                Some(skew) if follow.max_skew.is_none() && table.max_skew.is_none() => skew,
                _ => length("max_skew", follow.max_skew.as_ref(), table.max_skew.as_ref(), DEFAULT_MAX_SKEW)?,
            },
            grace: length("grace", follow.grace.as_ref(), table.grace.as_ref(), DEFAULT_GRACE)?,
        };
        let verifies = follow.verify || table.verify.unwrap_or(false);
        if verifies {
            check_oracle(listen.as_ref())?;
        }
        let seat = watching::beside(&TokenFile::new(out.clone()).real(), Kind::Follow);
        let others = [
            ("out", Some(&out)),
            ("audit_log", audit_log.as_ref()),
            ("listen", socket_of(listen.as_ref())),
            ("lock file of follow", Some(&seat)),
        ];
        check_files(&sources.file_path, &token_file, &log_file, &others, &state_directory)?;
        let interval = given("interval", follow.interval.as_ref(), text(table.interval.as_ref()));
        let settings = Self {
            asked,
            deployment_hash: environment.get(AGENTS_HASH)?.map(|hash| hash.value),
            mode: given("mode", follow.mode.as_ref(), table.mode.as_ref())
                .map_or(Ok(DEFAULT_MODE), |given| given.check(mode))?,
            interval: match interval {
                Some(given) => given.check(self::interval)?,
                None => self::interval(DEFAULT_INTERVAL)?,
            },
            jitter: given("jitter", follow.jitter.as_ref(), table.jitter.as_ref())
                .map_or(Ok(DEFAULT_JITTER), |given| given.check(jitter))?,
            verification: verifies.then_some(verification),
            hook: hook(flags, &sources)?,
            profile: profile(named_config.as_deref()),
            named_token_file: flags.token_file.as_ref().map(|_| token_file.clone()),
            login: Login::resolve(login_command(flags, &sources)?, environment, shell, &connection),
            user: user(
                environment,
                &bounded::read_text(Path::new(ACCOUNTS), MOST_ACCOUNTS).unwrap_or_default(),
            )?,
            token_file: TokenFile::new(token_file),
            token_file_said_by,
            config_file: absolute(&sources.file_path),
            named_config,
            out,
            listen,
            audit_log,
            log_file,
            state_directory,
            home,
            warnings,
        };
        Ok((settings, connection))
    }
}

/// Which field of which secret, from what was given and from what an agent's environment says.
fn asked(
    mount: Option<Given>,
    below: Option<Given>,
    field: Option<Given>,
    environment: &Environment,
) -> Result<Asked> {
    let prefix = environment.get(AGENTS_PREFIX)?;
    let hash = environment.get(AGENTS_HASH)?;
    let (mount, may_hold_data) = match (mount, &prefix) {
        (Some(mount), _) => (mount.check(part_of_path)?, false),
        (None, Some(prefix)) => (part_of_path(&prefix.value).with_context(|| prefix.name.clone())?, true),
        (None, None) => bail!("--mount is missing: in which KV store is the secret? (for instance secret)"),
    };
    let below = match below {
        Some(below) => below.check(part_of_path)?,
        None if prefix.is_some() || hash.is_some() => {
            let hash = hash.map_or_else(|| DEFAULT_HASH.to_owned(), |hash| hash.value);
            part_of_path(&format!("{hash}/{DEFAULT_FIELD}")).context(AGENTS_HASH)?
        }
        None => bail!("--path is missing: which secret below {mount}?"),
    };
    let field = match field {
        Some(field) => field.check(|name| {
            if name.is_empty() || name.contains(char::is_control) {
                bail!("{name:?} is not the name of a field");
            }
            Ok(name.to_owned())
        })?,
        None => DEFAULT_FIELD.to_owned(),
    };
    Ok(Asked { path: format!("{mount}/{below}"), may_hold_data, field })
}

/// A mount or a path, without slashes around it.
fn part_of_path(text: &str) -> Result<String> {
    let part = text.trim().trim_matches('/');
    let is_bad = |part: &str| matches!(part, "" | "." | "..");
    if part.contains(char::is_control) || part.split('/').any(is_bad) {
        bail!("{text:?} is not a path of a secret");
    }
    Ok(part.to_owned())
}

/// An agent's limit is a number of seconds.
fn agents_skew(environment: &Environment) -> Result<Option<Duration>> {
    let Some(variable) = environment.get(AGENTS_SKEW)? else { return Ok(None) };
    let seconds = variable.value.trim().parse().ok().map(Duration::from_secs);
    let skew = seconds.filter(|skew| *skew <= super::LONGEST_WAIT);
    skew.map(Some).ok_or_else(|| {
        anyhow!("{}: {:?} is not a number of seconds, a day at most", variable.name, variable.value)
    })
}

/// Whoever may ask whether a signature is good learns something of the key with each answer: nobody but this machine
/// may.
fn check_oracle(listen: Option<&Place>) -> Result<()> {
    match listen {
        None => bail!("verify needs a place to be asked at: --listen"),
        Some(Place::Tcp(address)) if !address.ip().is_loopback() => {
            bail!("verify is for this machine only: --listen has to be a loopback address or unix:PATH")
        }
        Some(Place::Tcp(_) | Place::Unix(_)) => Ok(()),
    }
}

fn interval(text: &str) -> Result<Duration> {
    let length = wait(text)?;
    if length < SHORTEST_INTERVAL {
        bail!("{text:?}: fetches come no sooner than {} s after one another", SHORTEST_INTERVAL.as_secs());
    }
    Ok(length)
}

/// `5s..10s`, or a single length for nothing up to that.
fn jitter(text: &str) -> Result<(Duration, Duration)> {
    let (least, most) = text.split_once("..").unwrap_or(("0", text));
    let (least, most) = (duration::parse(least.trim())?, wait(most.trim())?);
    if least > most {
        bail!("{text:?}: the first length is the lesser one");
    }
    Ok((least, most))
}

/// The mode of a file, in octal, as chmod has it.
fn mode(text: &str) -> Result<u32> {
    let mode = u32::from_str_radix(text.trim().trim_start_matches("0o"), 8).ok();
    let mode = mode.filter(|mode| *mode <= 0o777);
    let Some(mode) = mode else { bail!("{text:?} is not the mode of a file, such as 0600") };
    if mode & 0o400 == 0 {
        bail!("{text:?}: the owner has to be able to read the file");
    }
    if mode & 0o022 != 0 {
        bail!("{text:?}: others could write the file, and so choose what is in it");
    }
    Ok(mode)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(variables: &[(&str, &str)], flags: &FollowFlags) -> Result<FollowSettings> {
        let variables = [&[("HOME", "/home/wizard"), ("USER", "wizard")], variables].concat();
        let environment = Environment::from(&variables[..]);
        FollowSettings::resolve(&SettingsFlags::default(), flags, &environment).map(|(settings, _)| settings)
    }

    fn flags() -> FollowFlags {
        let given = |text: &str| Some(text.to_owned());
        FollowFlags {
            mount: given("secret"),
            path: given("agent/token"),
            out: given("/run/agent/token"),
            ..FollowFlags::default()
        }
    }

    fn refusal(variables: &[(&str, &str)], flags: &FollowFlags) -> String {
        format!("{:#}", resolved(variables, flags).unwrap_err())
    }

    #[test]
    fn what_was_not_said_has_a_default() {
        let settings = resolved(&[], &flags()).unwrap();
        let asked =
            Asked { path: "secret/agent/token".to_owned(), may_hold_data: false, field: "token".to_owned() };
        assert_eq!(settings.asked, asked);
        assert_eq!((settings.mode, settings.interval), (0o600, Duration::from_secs(60)));
        assert_eq!(settings.jitter, (Duration::from_secs(5), Duration::from_secs(10)));
        assert_eq!((settings.verification, settings.deployment_hash), (None, None));
    }

    #[test]
    fn the_environment_of_an_agent_is_understood() {
        let out = FollowFlags { out: Some("/run/agent/token".to_owned()), ..FollowFlags::default() };
        let at =
            |variables: &[(&str, &str)], flags: &FollowFlags| resolved(variables, flags).unwrap().asked.path;
        let prefix = ("VAULT_AGENT_PATH_PREFIX", "/agent/data/");
        assert_eq!(at(&[prefix], &out), "agent/data/default/token");
        assert_eq!(at(&[prefix, ("DEPLOYMENT_HASH", "a1")], &out), "agent/data/a1/token");
        let newer = FollowFlags { path: Some("a1/status_panel_token".to_owned()), ..out.clone() };
        assert_eq!(at(&[prefix], &newer), "agent/data/a1/status_panel_token");
        assert_eq!(at(&[prefix], &flags()), "secret/agent/token", "a flag comes first");
        let settings = resolved(&[prefix, ("VAULT_TOKEN", "x")], &out).unwrap();
        assert!(settings.asked.may_hold_data);
        assert_eq!(settings.warnings, [SettingsWarning::TokenVariableOfAgent("VAULT_TOKEN".to_owned())]);
        let verifying = FollowFlags { verify: true, listen: Some("127.0.0.1:0".to_owned()), ..flags() };
        let skew = |variables: &[(&str, &str)], flags: &FollowFlags| {
            resolved(variables, flags).unwrap().verification.unwrap().max_skew.as_secs()
        };
        assert_eq!(skew(&[], &verifying), 120);
        assert_eq!(skew(&[("SIGNATURE_MAX_SKEW_SECS", "300")], &verifying), 300);
        let flagged = FollowFlags { max_skew: Some("30s".to_owned()), ..verifying.clone() };
        assert_eq!(skew(&[("SIGNATURE_MAX_SKEW_SECS", "300")], &flagged), 30);
    }

    #[test]
    fn nonsense_is_refused_with_its_source() {
        let with = |change: fn(&mut FollowFlags)| {
            let mut flags = flags();
            change(&mut flags);
            flags
        };
        let text = |text: &str| Some(text.to_owned());
        for (flags, words) in [
            (with(|flags| flags.mount = None), "--mount is missing"),
            (with(|flags| flags.path = None), "--path is missing"),
            (with(|flags| flags.out = None), "--out is missing"),
            (with(|flags| flags.out = Some("/tmp".to_owned())), "is a directory"),
            (
                with(|flags| flags.out = Some("~/.vault-token".to_owned())),
                "out and token_file are the same file",
            ),
            (with(|flags| flags.audit_log = flags.out.clone()), "audit_log and out are the same file"),
            (with(|flags| flags.path = Some("a/../b".to_owned())), "--path: \"a/../b\" is not a path"),
            (with(|flags| flags.field = Some(String::new())), "--field: "),
            (with(|flags| flags.mode = Some("0666".to_owned())), "others could write"),
            (with(|flags| flags.mode = Some("0200".to_owned())), "the owner has to be able to read"),
            (with(|flags| flags.mode = Some("rw".to_owned())), "--mode: \"rw\" is not the mode"),
            (with(|flags| flags.interval = Some("0s".to_owned())), "--interval: "),
            (with(|flags| flags.jitter = Some("10s..5s".to_owned())), "--jitter: "),
            (with(|flags| flags.verify = true), "verify needs a place"),
        ] {
            let refusal = refusal(&[], &flags);
            assert!(refusal.contains(words), "{words}: {refusal}");
        }
        let open =
            FollowFlags { verify: true, listen: text("0.0.0.0:0"), listen_unprotected: true, ..flags() };
        assert!(refusal(&[], &open).contains("verify is for this machine only"));
        assert!(
            refusal(&[("SIGNATURE_MAX_SKEW_SECS", "x")], &flags()).starts_with("SIGNATURE_MAX_SKEW_SECS: ")
        );
        let pem = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";
        let said = refusal(&[("VAULT_CLIENT_CERT", pem)], &flags());
        assert_eq!(
            said,
            "VAULT_CLIENT_CERT holds PEM; write that to a file, and set VAULT_CLIENT_CERT to its path"
        );
    }
}
