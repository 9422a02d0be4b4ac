//! A version of a secret in a KV store.

/// A version of a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Version {
    /// Its number. It begins at 1 again when all that is known of the secret was deleted.
    pub(crate) number: u64,
    /// When it was written, by the clock of the server: nanoseconds since 1970.
    pub(crate) created: i128,
}

impl Version {
    /// When it was written, in seconds since 1970.
    pub(crate) fn created_at(self) -> u64 {
        u64::try_from(self.created / 1_000_000_000).unwrap_or(0)
    }
}
