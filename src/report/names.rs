//! Paths and commands as people write them.

use std::fmt::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::escape::{Shown, harmless_text};
use crate::config::{DEFAULT_TOKEN_FILE, Hint, Login, Settings, SettingsWarning};
use crate::vault::SaidBy;

/// The names of things on this machine, as people write them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Names<'a> {
    /// The home directory, written `~`.
    pub(crate) home: &'a Path,
    /// The token file.
    pub(crate) token_file: &'a Path,
    /// Who says so, if it is not the default.
    pub(crate) token_file_said_by: Option<&'a SaidBy>,
    /// The configuration file that has to be named in commands, if it is not the default one.
    pub(crate) named_config: Option<&'a Path>,
    /// The configuration file, whether it is there or not.
    pub(crate) config_file: &'a Path,
    /// The token file, if it has to be named in commands.
    pub(crate) named_token_file: Option<&'a Path>,
    /// The flags that said where the server is and whose the token, which commands have to repeat.
    pub(crate) named_flags: &'a [(&'static str, String)],
    /// How a person logs in again.
    pub(crate) login: &'a Login,
    /// Whether the official command line keeps what a login brings elsewhere than in its token file.
    pub(crate) has_token_helper: bool,
    /// Where the user manager listens, if the shell does not say so to `systemctl`.
    pub(crate) named_runtime: Option<&'a Path>,
    /// The short name of the configuration file, if it is not the default one; lines begin with it.
    pub(crate) profile: Option<&'a str>,
}

impl<'a> Names<'a> {
    /// Those of a run with these settings.
    pub(crate) fn of(settings: &'a Settings) -> Self {
        Self {
            home: &settings.home,
            token_file: settings.token_file.path(),
            token_file_said_by: settings.token_file_said_by.as_ref(),
            named_config: settings.named_config.as_deref(),
            config_file: &settings.config_file,
            named_token_file: settings.named_token_file.as_deref(),
            named_flags: &settings.named_flags,
            login: &settings.login,
            has_token_helper: settings
                .warnings
                .iter()
                .any(|warning| matches!(warning, SettingsWarning::TokenHelper(_))),
            named_runtime: settings.named_runtime.as_deref(),
            profile: settings.named_config.as_ref().map(|_| settings.profile.as_str()),
        }
    }
}

impl Names<'_> {
    /// The configuration file.
    pub(super) fn config(&self) -> String {
        self.path(self.config_file)
    }

    /// Where a setting is to be corrected.
    pub(super) fn place(&self, key: &str, said_by: &SaidBy) -> String {
        match said_by {
            SaidBy::Name(name) => name.clone(),
            SaidBy::File => format!("`{key}` in {}", self.config()),
        }
    }

    /// What a line begins with, so that nobody takes it for another token's. Nothing for the default configuration
    /// file.
    pub(crate) fn mark(&self) -> String {
        self.profile.map(|profile| format!("[{}] ", Shown(profile))).unwrap_or_default()
    }

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

    /// How a person has the user manager do something: `verb` with what it is about.
    pub(super) fn systemctl(&self, verb: &str, unit: &str) -> String {
        let runtime = self.named_runtime.map(|runtime| format!("XDG_RUNTIME_DIR={} ", for_shell(runtime)));
        format!("{}systemctl --user {verb} {}", runtime.unwrap_or_default(), word_for_shell(unit))
    }

    /// How a person mends the token file. Not `vault token create … > ~/.vault-token`: the shell would
    /// empty the file before the command reads it.
    pub(super) fn recovery(&self) -> String {
        format!("Manual re-mint: {}", self.recovery_command())
    }

    /// How a person takes back what another user owns of `path` below the home: root, most likely, who ran this with
    /// that home. It names the topmost of it, or nobody gets at the rest. None if all of it is this user's.
    pub(super) fn take_back(&self, path: &Path) -> Option<String> {
        let own = rustix::process::geteuid().as_raw();
        if self.home.metadata().is_ok_and(|data| data.uid() != own) {
            // Typed by root, the command would take it away from the user whose home this is.
            return Some(format!("run it as the user whose home is {}, without sudo", for_shell(self.home)));
        }
        let is_taken = |path: &&Path| path.symlink_metadata().is_ok_and(|data| data.uid() != own);
        let below = path.ancestors().take_while(|path| path.starts_with(self.home) && *path != self.home);
        let holds_taken = |path: &Path| {
            let entries = path.read_dir().into_iter().flatten().flatten();
            entries.map(|entry| entry.path()).any(|path| is_taken(&path.as_path()))
        };
        let taken = below.filter(is_taken).last().or(Some(path).filter(|path| holds_taken(path)))?;
        Some(format!("sudo chown -R \"$(id -un):\" {}", for_shell(taken)))
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
        with_variables(&self.login.own_variables, &command)
    }

    pub(super) fn recovery_command(&self) -> String {
        let Login { command, is_official, hints, .. } = self.login;
        let login = if *is_official {
            let flag = |Hint { flag, value, .. }: &Hint| format!("{flag}={}", word_for_shell(value));
            let flags: Vec<String> = hints.iter().map(flag).collect();
            if self.token_file == self.home.join(DEFAULT_TOKEN_FILE) && !self.has_token_helper {
                with_flags(command, &flags)
            } else {
                // A login writes to the default file, or not even there. The shell must not empty the other one
                // before there is something to put into it.
                let login = with_flags(command, &[flags, vec!["-token-only".to_owned()]].concat());
                let file = for_shell(self.token_file);
                format!("(umask 077; t=$({login}) && printf %s \"$t\" > {file})")
            }
        } else {
            // One of the site's own has to know itself where the token belongs.
            let variables = hints.iter().map(|hint| (hint.variable.clone(), hint.value.clone()));
            with_variables(&variables.collect::<Vec<_>>(), command)
        };
        format!("{login} && {}", self.command(""))
    }
}

/// One of the official command lines with more flags, which it wants in front of what is none, as in `username=emo`.
fn with_flags(command: &str, flags: &[String]) -> String {
    let is_argument = |word: &&str| !word.starts_with('-') && word.contains('=');
    let words: Vec<&str> = command.split(' ').collect();
    // In front of the program, `NAME=value` is a variable.
    let program = words.iter().position(|word| !word.contains('=')).unwrap_or(0);
    let place = words.iter().skip(program).position(is_argument).map_or(words.len(), |place| program + place);
    let (front, back) = words.split_at(place);
    let words = front.iter().copied().chain(flags.iter().map(String::as_str)).chain(back.iter().copied());
    words.collect::<Vec<_>>().join(" ")
}

/// A command with variables that are set for it alone.
fn with_variables(variables: &[(String, String)], command: &str) -> String {
    let set: Vec<String> =
        variables.iter().map(|(name, value)| format!("{name}={}", word_for_shell(value))).collect();
    let is_simple = !command.contains(|c: char| ";|&<>(){}`\n".contains(c));
    match (set.is_empty(), is_simple) {
        (true, true) => command.to_owned(),
        // The next command belongs to all of it.
        (true, false) => format!("({command})"),
        (false, true) => format!("{} {command}", set.join(" ")),
        (false, false) => format!("(export {}; {command})", set.join(" ")),
    }
}

/// A path as a shell takes it literally.
pub(super) fn for_shell(path: &Path) -> String {
    word_for_shell(&path.to_string_lossy())
}

/// A word as a shell takes it literally.
pub(super) fn word_for_shell(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@%:".contains(c);
    // A name that a server chose may hold what a terminal obeys.
    let word = &harmless_text(word);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}
