//! Settings, then the verb; nothing runs here.

use std::sync::Arc;

use anyhow::{Context as _, Result, bail};

use crate::cli::{CommandLine, StatusFlags, Verb};
use crate::clock::Clock;
use crate::config::follow::FollowSettings;
use crate::config::{self, Environment, FollowFlags, Settings, SweepMode, WatchFlags};
use crate::pass::Work;
use crate::report::streams::{OfProcess, Unhurried};
use crate::report::{self, Format, Paint, Volume};
use crate::verbs::follow::{self, follow, follow_once};
use crate::verbs::once::{Manner, once};
use crate::verbs::overview::overview;
use crate::verbs::status::{Wishes, status};
use crate::verbs::surroundings::{Process, Surroundings, minter};
use crate::verbs::viewpoint::{Viewpoint, viewpoint};
use crate::verbs::watch::{Household, watch};

/// The exit status of a usage or settings error.
const USAGE: u8 = 2;

/// Runs what the command line asks for and returns the exit status.
pub(crate) fn run(command: &CommandLine, environment: &Environment, clock: Clock, host: &str) -> u8 {
    // A value that is not UTF-8 cannot be the device and inode it would have to be.
    let journal = environment.get("JOURNAL_STREAM").ok().flatten().map(|variable| variable.value);
    let streams = OfProcess { journal, is_dumb: environment.is_dumb() };
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
    let manner = manner(command);
    let process = Process { environment, streams, clock, host };
    let around = |run: &dyn Fn(&Surroundings<'_>) -> Result<u8>| {
        let flags = WatchFlags::default();
        let (settings, connection) = Settings::resolve(&command.settings, &flags, environment, host)?;
        process.within(&settings, &connection, run)
    };
    match &command.verb {
        None => around(&|around| Ok(once(around, Work::Pass, manner))),
        Some(Verb::Sweep) => around(&|around| {
            if around.settings.sweep == SweepMode::Off {
                bail!("the sweep is switched off in the settings; to sweep all the same: --sweep walk")
            }
            Ok(once(around, Work::Sweep, manner))
        }),
        Some(Verb::Status(flags)) if flags.all => {
            if command.settings.config.is_some() || command.settings.are_explicit() {
                bail!("status --all looks at each configuration as it is; name none, and no settings")
            }
            Ok(overview(&command.settings, &wishes(flags, environment)?, manner, process))
        }
        Some(Verb::Status(flags)) => {
            let wishes = wishes(flags, environment)?;
            let Viewpoint { settings, connection, differences } =
                viewpoint(&command.settings, environment, host)?;
            Ok(process.within(&settings, &connection, |around| status(around, differences, &wishes, manner)))
        }
        Some(Verb::Watch(flags)) => watching(command, flags, environment, streams, clock, host),
        Some(Verb::Follow(flags)) => following(command, flags, environment, streams, clock),
    }
}

fn watching(
    command: &CommandLine,
    flags: &WatchFlags,
    environment: &Environment,
    streams: &OfProcess,
    clock: Clock,
    host: &str,
) -> Result<u8> {
    let manner = manner(command);
    if manner.dry_run {
        bail!("watch has no dry run; to see what its runs would do: vault-token-renew --dry-run")
    }
    let (settings, connection) = Settings::resolve(&command.settings, flags, environment, host)?;
    let (minter, runtime) = (minter(&settings, host), environment.user_runtime_directory());
    let (asked, flags, host) = (command.settings.clone(), flags.clone(), host.to_owned());
    let environment = environment.clone();
    let resolve = move || Settings::resolve(&asked, &flags, &environment, &host);
    let (settings, streams) = (Arc::new(settings), unhurried(streams)?);
    Ok(watch(Household { resolve, settings, connection, minter, streams, clock, runtime, manner }))
}

/// The verb that needs no identity.
fn following(
    command: &CommandLine,
    flags: &FollowFlags,
    environment: &Environment,
    streams: &OfProcess,
    clock: Clock,
) -> Result<u8> {
    let manner = manner(command);
    if manner.dry_run {
        bail!("follow has no dry run");
    }
    if command.settings.metrics_file.is_some() {
        bail!("follow writes no metrics file; --listen answers with them at /metrics");
    }
    if manner.format == Format::Json {
        bail!("follow prints no JSON; --listen answers with it at /health");
    }
    if let Some(flag) = command.settings.not_of_follow() {
        bail!("--{flag} is no flag of follow, which mints, renews and sweeps nothing");
    }
    let (settings, connection) = FollowSettings::resolve(&command.settings, flags, environment)?;
    if flags.once {
        return Ok(follow_once(&settings, &connection, streams, clock, manner));
    }
    let (asked, flags, environment) = (command.settings.clone(), flags.clone(), environment.clone());
    let resolve = move || FollowSettings::resolve(&asked, &flags, &environment);
    let streams = unhurried(streams)?;
    let settings = Arc::new(settings);
    Ok(follow(follow::Household { resolve, settings, connection, streams, clock, manner }))
}

fn unhurried(streams: &OfProcess) -> Result<Arc<Unhurried>> {
    let streams = OfProcess { journal: streams.journal.clone(), is_dumb: streams.is_dumb };
    Ok(Arc::new(Unhurried::start(streams).context("cannot start a thread")?))
}

fn manner(command: &CommandLine) -> Manner {
    let mode = command.mode;
    let format = if mode.json { Format::Json } else { Format::Lines };
    let volume = match (mode.quiet, mode.verbose) {
        (true, _) => Volume::Failures,
        (false, true) => Volume::EachRequest,
        (false, false) => Volume::Usual,
    };
    Manner { dry_run: mode.dry_run, format, detailed_exitcode: mode.detailed_exitcode, volume }
}

fn wishes(flags: &StatusFlags, environment: &Environment) -> Result<Wishes> {
    let unwanted = environment.is_set("NO_COLOR") || environment.is_dumb();
    Ok(Wishes {
        offline: flags.offline,
        min_ttl: flags.min_ttl.as_deref().map(config::min_ttl).transpose()?,
        paint: Paint::of_stdout(unwanted),
        ignore: flags.ignore.clone(),
    })
}
