//! What a run works with and did not make itself.

use std::path::Path;
use std::time::Duration;

use crate::clock::Clock;
use crate::config::{Environment, Settings};
use crate::identity::Minter;
use crate::local::history::History;
use crate::local::lock::LONGEST_WAIT;
use crate::local::machine::{MACHINE_ID, machine};
use crate::pass::LONGEST_WALK;
use crate::report::Repeats;
use crate::report::streams::{OfProcess, Streams};
use crate::stop::Stop;
use crate::vault::{ConnectionSettings, Patience};

/// All of it. Whoever runs again may hand in the same.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Surroundings<'a> {
    /// What was asked for.
    pub(crate) settings: &'a Settings,
    /// The way to the server.
    pub(crate) connection: &'a ConnectionSettings,
    /// Where lines go.
    pub(crate) streams: &'a dyn Streams,
    /// This machine's clock.
    pub(crate) clock: Clock,
    /// Where and for whom tokens are minted.
    pub(crate) minter: &'a Minter,
    /// Where the user manager listens.
    pub(crate) runtime: &'a Path,
    /// Whether somebody wants it to end.
    pub(crate) stop: &'a Stop,
    /// How long it may take.
    pub(crate) pace: Pace,
    /// What this process said in earlier runs, if it stays.
    pub(crate) repeats: Option<&'a Repeats>,
    /// How those runs went.
    pub(crate) earlier: Option<&'a History>,
}

/// What bounds a run in time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// For its requests.
    pub(crate) patience: Patience,
    /// For one walk over the accessors.
    pub(crate) walk: Duration,
    /// For other runs to end.
    pub(crate) wait: Duration,
    /// The shortest in which this very process makes the next run, if it stays.
    pub(crate) comes_again: Option<Duration>,
}

impl Pace {
    /// That of a run after which the process ends.
    pub(crate) fn of_one_run(settings: &Settings, connection: &ConnectionSettings) -> Self {
        let patience = Patience { request: connection.timeout, retry_for: settings.retry_for, in_all: None };
        Self { patience, walk: LONGEST_WALK, wait: LONGEST_WAIT, comes_again: None }
    }
}

/// What this process has, whatever it was asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Process<'a> {
    /// Its variables.
    pub(crate) environment: &'a Environment,
    /// Where its lines go.
    pub(crate) streams: &'a OfProcess,
    /// This machine's clock.
    pub(crate) clock: Clock,
    /// This machine's name.
    pub(crate) host: &'a str,
}

impl Process<'_> {
    /// Does something with these settings, once.
    pub(crate) fn within<T>(
        self,
        settings: &Settings,
        connection: &ConnectionSettings,
        work: impl FnOnce(&Surroundings<'_>) -> T,
    ) -> T {
        work(&Surroundings {
            settings,
            connection,
            streams: self.streams,
            clock: self.clock,
            minter: &minter(settings, self.host),
            runtime: &self.environment.user_runtime_directory(),
            stop: &Stop::default(),
            pace: Pace::of_one_run(settings, connection),
            repeats: None,
            earlier: None,
        })
    }
}

/// Where and for whom tokens are minted.
pub(crate) fn minter(settings: &Settings, host: &str) -> Minter {
    Minter { machine: machine(Path::new(MACHINE_ID)), host: host.to_owned(), user: settings.user.clone() }
}
