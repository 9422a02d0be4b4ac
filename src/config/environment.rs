//! The environment: the only place that reads it.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow, bail};

/// Every variable of this program's own: the settings, and what a deploy hook is told.
const OWN: [&str; 18] = [
    "VTR_DISPLAY_NAME",
    "VTR_POLICIES",
    "VTR_REQUIRED_POLICY",
    "VTR_PERIOD",
    "VTR_LOG_FILE",
    "VTR_RETRY_FOR",
    "VTR_SWEEP",
    "VTR_SWEEP_CONCURRENCY",
    "VTR_METRICS_FILE",
    "VTR_DEPLOY_HOOK",
    "VTR_HOOK_TIMEOUT",
    "VTR_LOGIN_COMMAND",
    "VTR_EVENT",
    "VTR_TOKEN_FILE",
    "VTR_TTL",
    "VTR_FILE",
    "VTR_VERSION",
    "VTR_OUTER_DISPLAY_NAME",
];

/// The variables of the process, or those a test hands in.
#[derive(Debug, Clone, Default)]
pub(crate) struct Environment(BTreeMap<OsString, OsString>);

/// A value with the name of the variable it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Variable {
    /// The variable.
    pub(crate) name: String,
    /// Its value; never empty.
    pub(crate) value: String,
}

impl Environment {
    /// The environment of this process.
    #[expect(clippy::disallowed_methods, reason = "this is the place that reads the environment")]
    pub(crate) fn of_process() -> Self {
        Self(std::env::vars_os().collect())
    }

    /// A variable; set but empty is the same as not set.
    pub(crate) fn get(&self, name: &str) -> Result<Option<Variable>> {
        let Some(value) = self.0.get(OsStr::new(name)).filter(|value| !value.is_empty()) else {
            return Ok(None);
        };
        let value = value.to_str().ok_or_else(|| anyhow!("{name}: not UTF-8"))?;
        Ok(Some(Variable { name: name.to_owned(), value: value.to_owned() }))
    }

    /// An error if a variable looks like one of this program's own and is none: a setting that is misspelt would be
    /// ignored in silence.
    pub(crate) fn check_own_names(&self) -> Result<()> {
        for name in self.0.keys().filter_map(|name| name.to_str()).filter(|name| name.starts_with("VTR_")) {
            if OWN.contains(&name) {
                continue;
            }
            let nearest = OWN.iter().max_by(|one, other| {
                strsim::jaro_winkler(name, one).total_cmp(&strsim::jaro_winkler(name, other))
            });
            bail!("{name} is no variable of this program; did you mean {}?", nearest.unwrap_or(&"another"));
        }
        Ok(())
    }

    /// Whether a variable is set to anything, be it unreadable.
    pub(crate) fn is_set(&self, name: &str) -> bool {
        self.0.get(OsStr::new(name)).is_some_and(|value| !value.is_empty())
    }

    /// A variable of the official command lines, without its prefix: `BAO_X` before `VAULT_X`. A `BAO_X`
    /// that is set but empty hides `VAULT_X`, as it does in OpenBao.
    pub(crate) fn official(&self, name: &str) -> Result<Option<Variable>> {
        let bao = format!("BAO_{name}");
        if self.0.contains_key(OsStr::new(&bao)) {
            return self.get(&bao);
        }
        self.get(&format!("VAULT_{name}"))
    }

    /// The first of several variables that is set.
    pub(crate) fn first(&self, names: &[&str]) -> Result<Option<Variable>> {
        names.iter().find_map(|name| self.get(name).transpose()).transpose()
    }

    /// Whether the service manager itself started this process, and so nobody typed its command in a shell.
    ///
    /// Source: systemd.exec(5), `$SYSTEMD_EXEC_PID`, from version 248 on: children of a service inherit it, too, but it
    /// is not their number.
    pub(crate) fn is_of_service(&self) -> bool {
        self.get("SYSTEMD_EXEC_PID")
            .ok()
            .flatten()
            .is_some_and(|pid| pid.value == std::process::id().to_string())
    }

    /// Whether a shell would find a program of this name. A service does not look below the home; its reader does.
    pub(crate) fn finds_program(&self, name: &str) -> bool {
        let is_program = |path: &Path| {
            path.metadata().is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
        };
        let path = self.0.get(OsStr::new("PATH")).map(OsString::as_os_str).unwrap_or_default();
        let homes = self.absolute_directory("HOME").map(|home| home.join(".local/bin"));
        std::env::split_paths(path).chain(homes).any(|directory| is_program(&directory.join(name)))
    }

    /// Where a user's services listen; where logind leaves it if no variable says so, as in a shell of `su`.
    pub(crate) fn user_runtime_directory(&self) -> PathBuf {
        let usual = || PathBuf::from(format!("/run/user/{}", rustix::process::geteuid().as_raw()));
        self.absolute_directory("XDG_RUNTIME_DIR").unwrap_or_else(usual)
    }

    /// Whether the terminal has no colours, or may have none.
    pub(crate) fn is_dumb(&self) -> bool {
        self.0.get(OsStr::new("TERM")).is_none_or(|term| term.is_empty() || term == "dumb")
    }

    /// A directory that must be absolute to count, as the XDG base directory specification has it.
    pub(crate) fn absolute_directory(&self, name: &str) -> Option<PathBuf> {
        self.0.get(OsStr::new(name)).map(PathBuf::from).filter(|path| path.is_absolute())
    }
}

impl FromIterator<(String, String)> for Environment {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(variables: I) -> Self {
        let mut environment = Self::default();
        environment.extend(variables);
        environment
    }
}

impl Extend<(String, String)> for Environment {
    fn extend<I: IntoIterator<Item = (String, String)>>(&mut self, variables: I) {
        self.0.extend(variables.into_iter().map(|(name, value)| (name.into(), value.into())));
    }
}

#[cfg(test)]
impl From<&[(&str, &str)]> for Environment {
    fn from(variables: &[(&str, &str)]) -> Self {
        Self(variables.iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(environment: &Environment, name: &str) -> Option<String> {
        environment.official(name).unwrap().map(|variable| variable.value)
    }

    #[test]
    fn bao_comes_before_vault_even_when_empty() {
        let vault = Environment::from(&[("VAULT_ADDR", "v")][..]);
        assert_eq!(value(&vault, "ADDR").as_deref(), Some("v"));
        let both = Environment::from(&[("VAULT_ADDR", "v"), ("BAO_ADDR", "b")][..]);
        assert_eq!(value(&both, "ADDR").as_deref(), Some("b"));
        let hidden = Environment::from(&[("VAULT_ADDR", "v"), ("BAO_ADDR", "")][..]);
        assert_eq!(value(&hidden, "ADDR"), None);
        let empty = Environment::from(&[("VAULT_ADDR", "")][..]);
        assert_eq!(value(&empty, "ADDR"), None);
    }

    #[test]
    fn relative_xdg_directories_are_ignored() {
        let environment = Environment::from(&[("A", "relative"), ("B", "/absolute"), ("C", "")][..]);
        assert_eq!(environment.absolute_directory("A"), None);
        assert_eq!(environment.absolute_directory("B"), Some(PathBuf::from("/absolute")));
        assert_eq!(environment.absolute_directory("C"), None);
        assert_eq!(environment.absolute_directory("D"), None);
    }
}
