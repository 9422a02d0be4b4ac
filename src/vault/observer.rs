//! What a client tells while it works, to whoever wants to hear of it.

use std::time::Duration;

use ureq::http::Method;

use super::call::Call;
use super::error::{Error, ErrorKind};

/// A request that was sent, and what came of it. Neither headers nor bodies are in it.
#[derive(Debug)]
pub(crate) struct Exchange<'a> {
    /// GET or POST.
    pub(crate) method: &'a Method,
    /// Where it was sent.
    pub(crate) url: &'a str,
    /// The status of the answer, or why there was none.
    pub(crate) outcome: Result<u16, &'a ErrorKind>,
    /// From its beginning to the last byte of the answer.
    pub(crate) took: Duration,
}

/// Somebody who wants to hear. Requests run side by side, so several threads may tell at once.
pub(crate) trait Observer: Send + Sync {
    /// Something is asked of this server.
    fn asks(&self, _call: Call, _server: &str) {}

    /// One request is over.
    fn exchanged(&self, _exchange: &Exchange<'_>) {}

    /// It failed, and is sent again for so long at the most.
    fn tries_again(&self, _error: &Error, _left: Duration) {}

    /// The server cannot be reached, and its address is only a default.
    fn has_no_address(&self, _address: &str) {}

    /// What was asked is answered, or given up.
    fn has_asked(&self, _call: Call) {}
}

/// Nobody.
#[cfg(test)]
pub(super) struct Nobody;

#[cfg(test)]
impl Observer for Nobody {}
