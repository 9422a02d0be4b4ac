//! What a run works with and did not make itself.

use crate::clock::Clock;
use crate::config::Settings;
use crate::local::stop::Stop;
use crate::report::streams::Streams;
use crate::vault::ConnectionSettings;

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
    /// The name of this machine.
    pub(crate) host: &'a str,
    /// Whether somebody wants it to end.
    pub(crate) stop: &'a Stop,
}
