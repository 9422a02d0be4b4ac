//! Settings, then the verb; nothing runs here.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};

use crate::cli::{CommandLine, StatusFlags, Verb};
use crate::clock::Clock;
use crate::config::{self, Environment, Settings, SweepMode};
use crate::identity::Minter;
use crate::local::machine::{MACHINE_ID, machine};
use crate::pass::Work;
use crate::report::streams::{OfProcess, Unhurried};
use crate::report::{self, Format, Paint};
use crate::stop::Stop;
use crate::verbs::once::{Manner, once};
use crate::verbs::status::{Wishes, status};
use crate::verbs::surroundings::{Pace, Surroundings};
use crate::verbs::watch::{Household, watch};

/// The exit status of a usage or settings error.
const USAGE: u8 = 2;

/// Runs what the command line asks for and returns the exit status.
pub(crate) fn run(command: &CommandLine, environment: &Environment, clock: Clock, host: &str) -> u8 {
    // A value that is not UTF-8 cannot be the device and inode it would have to be.
    let journal = environment.get("JOURNAL_STREAM").ok().flatten().map(|variable| variable.value);
    let streams = OfProcess { journal };
    match act(command, environment, &streams, clock, host) {
        Ok(status) => status,
        Err(error) => {
            report::usage_error(&error, USAGE, &streams, manner(command).format);
            USAGE
        }
    }
}

fn act(
    command: &CommandLine,
    environment: &Environment,
    streams: &OfProcess,
    clock: Clock,
    host: &str,
) -> Result<u8> {
    let flags = command.watch_flags();
    let (settings, connection) = Settings::resolve(&command.settings, &flags, environment, host)?;
    let minter = Minter {
        machine: machine(Path::new(MACHINE_ID)),
        host: host.to_owned(),
        user: settings.user.clone(),
    };
    let runtime = environment.user_runtime_directory();
    let manner = manner(command);
    let stop = &Stop::default();
    let pace = Pace::of_one_run(&settings, &connection);
    let around = Surroundings {
        settings: &settings,
        connection: &connection,
        streams,
        clock,
        minter: &minter,
        runtime: &runtime,
        stop,
        pace,
        repeats: None,
        earlier: None,
    };
    Ok(match &command.verb {
        None => once(&around, Work::Pass, manner),
        Some(Verb::Sweep) if settings.sweep == SweepMode::Off => {
            bail!("the sweep is switched off in the settings; to sweep all the same: --sweep walk")
        }
        Some(Verb::Sweep) => once(&around, Work::Sweep, manner),
        Some(Verb::Status(flags)) => status(&around, &wishes(flags, environment)?, manner),
        Some(Verb::Watch(_)) if manner.dry_run => {
            bail!("watch has no dry run; to see what its runs would do: vault-token-renew --dry-run")
        }
        Some(Verb::Watch(_)) => {
            let (asked, environment, host) = (command.settings.clone(), environment.clone(), host.to_owned());
            let resolve = move || Settings::resolve(&asked, &flags, &environment, &host);
            let settings = Arc::new(settings);
            let streams = OfProcess { journal: streams.journal.clone() };
            let streams = Unhurried::start(streams).context("cannot start a thread")?;
            let streams = Arc::new(streams);
            watch(Household { resolve, settings, connection, minter, streams, clock, runtime, manner })
        }
    })
}

fn manner(command: &CommandLine) -> Manner {
    let mode = command.mode;
    let format = if mode.json { Format::Json } else { Format::Lines };
    Manner { dry_run: mode.dry_run, format, detailed_exitcode: mode.detailed_exitcode }
}

fn wishes(flags: &StatusFlags, environment: &Environment) -> Result<Wishes> {
    let unwanted = environment.is_set("NO_COLOR") || environment.is_dumb();
    Ok(Wishes {
        offline: flags.offline,
        min_ttl: flags.min_ttl.as_deref().map(config::min_ttl).transpose()?,
        paint: Paint::of_stdout(unwanted),
    })
}
