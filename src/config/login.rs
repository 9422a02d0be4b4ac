//! What a person types to log in again: which command, and what the shell has to be told first.
//!
//! A printed command is typed as it stands, by somebody who is tired. So it names the server where the shell would take
//! another one, and it calls a program that is there.

use std::path::Path;

use anyhow::{Result, bail};

use super::environment::{Environment, Variable};
use crate::secret::without_tokens;
use crate::vault::{Address, ConnectionSettings, DEFAULT_ADDRESS};

/// What follows the name of the official command line where the settings say nothing else.
const DEFAULT_LOGIN: &str = "login -method=oidc";

/// Variables of the official command lines, without prefix, that a login needs as much as a run does, and that a shell
/// may lack or know otherwise; and the flags of the same meaning. None of them holds a secret; those of proxies may.
///
/// Source: Vault, `command/base.go`; OpenBao's are the same.
const CARRIED: [(&str, &str); 6] = [
    ("CACERT", "-ca-cert"),
    ("CAPATH", "-ca-path"),
    ("CLIENT_CERT", "-client-cert"),
    ("CLIENT_KEY", "-client-key"),
    ("TLS_SERVER_NAME", "-tls-server-name"),
    ("SKIP_VERIFY", "-tls-skip-verify"),
];

/// Variables that say whose token it is and where it lies, which a service may have and no shell has.
const OF_A_SERVICE: [&str; 6] = [
    "VTR_DISPLAY_NAME",
    "VTR_POLICIES",
    "VTR_REQUIRED_POLICY",
    "VTR_PERIOD",
    "BAO_TOKEN_PATH",
    "VAULT_TOKEN_PATH",
];

/// Words of a login that stand before a secret.
const SECRET_WORDS: [&str; 5] = ["password", "passcode", "token", "secret_id", "jwt"];

/// How a person logs in again, so that the next run finds a token it can work with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Login {
    /// The command, as a shell takes it.
    pub(crate) command: String,
    /// Whether it is one of the official command lines, whose flags it takes.
    pub(crate) is_official: bool,
    /// What it needs to know, and the shell lacks or would tell it otherwise.
    pub(crate) hints: Vec<Hint>,
    /// Variables that this program needs in that shell: name and value.
    pub(crate) own_variables: Vec<(String, String)>,
}

/// Something a login has to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hint {
    /// By this flag, if it is one of the official command lines,
    pub(crate) flag: &'static str,
    /// or else by this variable.
    pub(crate) variable: String,
    /// What it is told.
    pub(crate) value: String,
}

/// One of the official command lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Official {
    Vault,
    Bao,
}

impl Official {
    fn name(self) -> &'static str {
        match self {
            Self::Vault => "vault",
            Self::Bao => "bao",
        }
    }

    fn prefix(self) -> &'static str {
        match self {
            Self::Vault => "VAULT",
            Self::Bao => "BAO",
        }
    }

    /// What it reads in this environment for a variable without its prefix. Only OpenBao's reads both.
    fn reads(self, environment: &Environment, name: &str) -> Option<String> {
        let variable = match self {
            Self::Vault => environment.get(&format!("VAULT_{name}")),
            Self::Bao => environment.official(name),
        };
        variable.ok().flatten().map(|variable| variable.value)
    }
}

impl Login {
    /// The login for a run with these settings, of which `command` is one, typed into a `shell`; that of a service's
    /// reader is not known.
    pub(super) fn resolve(
        command: Option<String>,
        environment: &Environment,
        shell: Option<&Environment>,
        connection: &ConnectionSettings,
    ) -> Self {
        let program =
            command.as_deref().map_or_else(|| Some(program_there(shell.unwrap_or(environment))), program_of);
        let command = command.unwrap_or_else(|| format!("{} {DEFAULT_LOGIN}", reader_of(program).name()));
        let reader = reader_of(program);
        let known = |name: &str| shell.and_then(|shell| reader.reads(shell, name));

        let mut hints = Vec::new();
        let mut tell = |name: &str, flag, value: String| {
            hints.push(Hint { flag, variable: format!("{}_{name}", reader.prefix()), value });
        };
        let agent = known("AGENT_ADDR");
        let address = agent.clone().or(known("ADDR"));
        let knows_address = match address.as_deref().map(Address::parse) {
            Some(Ok(address)) => address == connection.address,
            Some(Err(_)) => false,
            // The official command lines have the same default. What a service was not told nobody can tell its reader.
            None if shell.is_none() => connection.is_unaddressed(),
            None => connection.address.to_string() == DEFAULT_ADDRESS,
        };
        if !knows_address {
            // An agent's address beats the server's.
            let (name, flag) =
                if agent.is_some() { ("AGENT_ADDR", "-agent-address") } else { ("ADDR", "-address") };
            tell(name, flag, connection.address.to_string());
        }
        let namespace = connection.namespace.clone().unwrap_or_default();
        let known_namespace = known("NAMESPACE").unwrap_or_default();
        if known_namespace.trim().trim_matches('/') != namespace {
            tell("NAMESPACE", "-namespace", namespace);
        }
        for (name, flag) in CARRIED {
            if let Ok(Some(variable)) = environment.official(name)
                && known(name).as_ref() != Some(&variable.value)
            {
                tell(name, flag, variable.value);
            }
        }
        Self {
            command,
            is_official: program.is_some(),
            hints,
            own_variables: own_variables(environment, shell),
        }
    }
}

/// Whose variables count. A script of the site's own most likely calls the older of the two.
fn reader_of(program: Option<Official>) -> Official {
    program.unwrap_or(Official::Vault)
}

/// What this program was told by its environment, and would not be told in that shell.
fn own_variables(environment: &Environment, shell: Option<&Environment>) -> Vec<(String, String)> {
    let official = CARRIED.iter().filter_map(|(name, _)| environment.official(name).ok().flatten());
    let others = OF_A_SERVICE.iter().filter_map(|name| environment.get(name).ok().flatten());
    let is_known = |variable: &Variable| {
        let known = shell.and_then(|shell| shell.get(&variable.name).ok().flatten());
        known.as_ref() == Some(variable)
    };
    let unknown = official.chain(others).filter(|variable| !is_known(variable));
    unknown.map(|variable| (variable.name, variable.value)).collect()
}

/// A command that can stand in a line, in the log and in the journal.
pub(super) fn login_command(text: &str) -> Result<String> {
    let text = text.trim();
    if text.is_empty() {
        bail!("an empty command");
    }
    if text.contains(char::is_control) {
        bail!("a command on one line, please");
    }
    let holds_secret = |word: &str| {
        word.split_once('=').is_some_and(|(name, value)| {
            let is_secret = SECRET_WORDS.contains(&name.trim_start_matches('-'));
            // `-` asks for it, `@` names a file, `$` a variable.
            is_secret && !value.trim_matches(['"', '\'']).starts_with(['-', '@', '$']) && !value.is_empty()
        })
    };
    if without_tokens(text) != text || text.split_whitespace().any(holds_secret) {
        bail!("it holds a secret, and it is printed in lines and in the log; leave the secret out");
    }
    Ok(text.to_owned())
}

/// Which of the official command lines a command calls, if it calls one.
fn program_of(command: &str) -> Option<Official> {
    let first = command.split_whitespace().find(|word| !word.contains('='))?;
    match Path::new(first).file_name()?.to_str()? {
        "vault" => Some(Official::Vault),
        "bao" => Some(Official::Bao),
        _ => None,
    }
}

/// Which of the official command lines is there: `bao` only where there is no `vault`.
fn program_there(environment: &Environment) -> Official {
    if !environment.finds_program("vault") && environment.finds_program("bao") {
        Official::Bao
    } else {
        Official::Vault
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_holds_a_secret_is_refused_and_not_repeated() {
        for command in [
            "vault login -method=userpass username=emo password=hunter2",
            "vault login -method=userpass username=emo password='hunter2'",
            "corp-login --secret_id=hunter2",
            &format!("vault login hvs.{}", "hunter2".repeat(5)),
            "vault login\n-method=oidc",
            "",
        ] {
            let refusal = format!("{:#}", login_command(command).unwrap_err());
            assert!(!refusal.contains("hunter2"), "{refusal}");
        }
        for command in [
            "vault login -method=userpass username=emo",
            "vault login -method=jwt jwt=@/run/jwt role=admin",
            "vault login -method=userpass username=emo password=-",
            "corp-login password=$CORP_PASSWORD",
        ] {
            assert_eq!(login_command(&format!("  {command} ")).unwrap(), command);
        }
    }

    #[test]
    fn the_program_is_the_first_word_that_is_no_assignment() {
        for (command, program) in [
            ("vault login", Some(Official::Vault)),
            ("/opt/bao/bin/bao login -method=ldap", Some(Official::Bao)),
            ("BROWSER=none vault login", Some(Official::Vault)),
            ("corp-vault login", None),
            ("sudo vault login", None),
        ] {
            assert_eq!(program_of(command), program, "{command}");
        }
    }
}
