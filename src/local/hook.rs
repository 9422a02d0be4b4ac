//! The deploy hook: the user's own command, run after the token file was replaced. When, and why not again:
//! docs/design.md, "The hook".

use std::io;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use super::child::{self, Ended};
use crate::stop::Stop;

/// A command, and how long it may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hook {
    /// What `sh -c` is given.
    pub(crate) command: String,
    /// After this it is killed, with all it has started.
    pub(crate) timeout: Duration,
    /// Whether a hook started this run. It then runs none, or one could go on for ever in the next: it is left to
    /// the next run that no hook started.
    pub(crate) is_nested: bool,
    /// The setting `VTR_DISPLAY_NAME`, if the environment has it: what a hook is told goes by the same name.
    pub(crate) name_setting: Option<String>,
}

/// Keeps the setting `VTR_DISPLAY_NAME` for this program, should a hook run it.
pub(crate) const NAME_SETTING: &str = "VTR_OUTER_DISPLAY_NAME";

/// What a hook is told, in variables. The secret itself it has to read from the file, if it needs it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Event<'a> {
    /// `VTR_EVENT=healed`
    Healed {
        /// `VTR_TOKEN_FILE`: the file that holds our token now.
        token_file: &'a Path,
        /// `VTR_DISPLAY_NAME`: its name, as Vault stores it.
        display_name: &'a str,
        /// `VTR_TTL`: how many seconds it has.
        ttl: u64,
    },
    /// `VTR_EVENT=rotated`
    Rotated {
        /// `VTR_FILE`: the file that holds the value now.
        file: &'a Path,
        /// `VTR_VERSION`: which version of the secret that is; empty where there are none.
        version: Option<u64>,
    },
}

impl Event<'_> {
    fn tell(&self, command: &mut Command) {
        match self {
            Self::Healed { token_file, display_name, ttl } => command
                .env("VTR_EVENT", "healed")
                .env("VTR_TOKEN_FILE", token_file)
                .env("VTR_DISPLAY_NAME", display_name)
                .env("VTR_TTL", ttl.to_string()),
            Self::Rotated { file, version } => command
                .env("VTR_EVENT", "rotated")
                .env("VTR_FILE", file)
                .env("VTR_VERSION", version.map(|version| version.to_string()).unwrap_or_default()),
        };
    }
}

/// Where a hook's standard output goes. Its standard error is always ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HookOutput {
    /// Where ours goes.
    Out,
    /// To standard error, because ours has to hold one JSON object and nothing else.
    Err,
}

/// Why a hook did not do its work.
#[derive(Debug)]
pub(crate) enum HookFailure {
    /// It could not be started or waited for.
    Io(io::Error),
    /// It ended with another status than 0, or by a signal.
    Status(ExitStatus),
    /// It took longer than this, and was killed.
    TimedOut(Duration),
    /// It was killed because this program was told to stop.
    Stopped,
    /// It was not begun, because this program had been told to stop. The next good run owes it.
    PutOff,
}

impl Hook {
    /// Runs it, says that it has `begun`, and waits for it. Whoever stops this program meanwhile stops the hook, and
    /// the report still comes.
    pub(crate) fn run(
        &self,
        event: &Event<'_>,
        output: HookOutput,
        stop: &Stop,
        begun: impl FnOnce(),
    ) -> Result<(), HookFailure> {
        if stop.is_raised() {
            return Err(HookFailure::PutOff);
        }
        let mut command = Command::new("/bin/sh");
        command.args(["-c", &self.command]).env_remove(NAME_SETTING).stdin(Stdio::null());
        event.tell(&mut command);
        if let Some(name) = &self.name_setting {
            command.env(NAME_SETTING, name);
        }
        if output == HookOutput::Err {
            let stderr = io::stderr().as_fd().try_clone_to_owned().map_err(HookFailure::Io)?;
            command.stdout(stderr);
        }
        let ended = child::run(&mut command, self.timeout, begun, || stop.is_raised());
        match ended.map_err(HookFailure::Io)?.1 {
            Ended::ByItself(status) if status.success() => Ok(()),
            Ended::ByItself(status) => Err(HookFailure::Status(status)),
            Ended::TimedOut => Err(HookFailure::TimedOut(self.timeout)),
            Ended::Stopped => Err(HookFailure::Stopped),
        }
    }
}
