//! The deploy hook of a run of `watch`, which runs beside the runs after it.

use std::sync::Arc;

use crate::clock::Clock;
use crate::config::Settings;
use crate::local::history::HeldToken;
use crate::report::names::Names;
use crate::report::streams::Unhurried;
use crate::report::{Log, Repeats, Report};
use crate::stop::Stop;
use crate::verbs::once::{Manner, deploy};

/// A hook that is due, and what it runs in.
#[derive(Debug)]
pub(super) struct DueHook {
    /// The settings of the run that made it due.
    pub(super) settings: Arc<Settings>,
    /// The token in the token file.
    pub(super) held: HeldToken,
    /// Where lines go.
    pub(super) streams: Arc<Unhurried>,
    /// What was said before.
    pub(super) repeats: Arc<Repeats>,
    /// This machine's clock.
    pub(super) clock: Clock,
    /// How it is told.
    pub(super) manner: Manner,
    /// Whether somebody wants the process to end, and the hook with it.
    pub(super) stop: Stop,
}

impl DueHook {
    /// Runs it.
    pub(super) fn run(&self) {
        let settings = &self.settings;
        let log = Log::File(settings.log_file.clone());
        let report = Report::new(Names::of(settings), self.clock, log, &*self.streams, self.manner.format)
            .in_mind_of(Some(&self.repeats))
            .at(self.manner.volume);
        let warn = |warning| report.warn(&warning);
        deploy(settings, &self.held, self.clock, self.manner.format, &self.stop, &warn);
    }
}
