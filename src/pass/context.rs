//! What a pass works with.

use std::cell::RefCell;

use crate::clock::Clock;
use crate::config::Settings;
use crate::facts::warning::Warning;
use crate::io_text::io_text;
use crate::local::history::{HeldToken, History};
use crate::vault::Client;

/// What a pass works with. Everything that could differ in a test is handed in.
pub(crate) struct Context<'a> {
    /// What was asked for.
    pub(crate) settings: &'a Settings,
    /// The server.
    pub(crate) client: &'a Client,
    /// The name of this machine.
    pub(crate) host: &'a str,
    /// This machine's clock.
    pub(crate) clock: Clock,
    /// Where warnings go, as they arise.
    pub(crate) warn: &'a dyn Fn(Warning),
    /// Where the figures go when a run is over, while it still has its lock.
    pub(crate) publish: &'a dyn Fn(&History),
    /// Where it leaves word for when its locks are given back.
    pub(crate) aftermath: &'a RefCell<Aftermath>,
}

/// What is known, and has to be done, once a run is over and its locks are given back.
#[derive(Debug, Default)]
pub(crate) struct Aftermath {
    /// The living token in the token file, if this run saw it.
    pub(crate) held: Option<HeldToken>,
    /// Whether the deploy hook has to run now.
    pub(crate) hook_due: bool,
}

/// A state that cannot be saved is worth a warning, and nothing more.
pub(super) fn warn_unsaved(context: &Context<'_>, saved: std::io::Result<()>) {
    if let Err(error) = saved {
        let path = context.settings.state_directory.clone();
        (context.warn)(Warning::StateUnsaved { path, reason: io_text(&error) });
    }
}
