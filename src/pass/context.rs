//! What a pass works with.

use std::io;

use crate::clock::Clock;
use crate::config::Settings;
use crate::facts::warning::Warning;
use crate::local::history::History;
use crate::local::stop::Stop;
use crate::vault::Client;

/// What a pass works with. Everything that could differ in a test is handed in.
pub(crate) struct Context<'a> {
    /// What was asked for.
    pub(crate) settings: &'a Settings,
    /// The server.
    pub(crate) client: &'a Client<'a>,
    /// The name of this machine.
    pub(crate) host: &'a str,
    /// This machine's clock.
    pub(crate) clock: Clock,
    /// Where warnings go, as they arise.
    pub(crate) warn: &'a dyn Fn(Warning),
    /// Where the figures go when a run is over, while it still has its lock.
    pub(crate) publish: &'a dyn Fn(&History),
    /// Whether somebody wants the run to end.
    pub(crate) stop: &'a Stop,
}

/// What a run is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Work {
    /// A pass: renew our token, or heal.
    Pass,
    /// The verb `sweep`: revoke the stale tokens of our name now.
    Sweep,
}

/// A state that cannot be saved is worth a warning, and nothing more.
pub(super) fn warn_unsaved(context: &Context<'_>, saved: io::Result<()>) {
    if let Err(error) = saved {
        let path = context.settings.state_directory.clone();
        (context.warn)(Warning::StateUnsaved { path, error });
    }
}
