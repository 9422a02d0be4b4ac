//! What a run works with and did not make itself.

use std::path::Path;

use crate::clock::Clock;
use crate::config::Settings;
use crate::identity::Minter;
use crate::report::streams::Streams;
use crate::stop::Stop;
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
    /// Where and for whom tokens are minted.
    pub(crate) minter: &'a Minter,
    /// Where the user manager listens.
    pub(crate) runtime: &'a Path,
    /// Whether somebody wants it to end.
    pub(crate) stop: &'a Stop,
}
