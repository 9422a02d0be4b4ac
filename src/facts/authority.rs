//! Whether a token may mint ours.

/// Whether a token may mint ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Authority {
    /// It may, on this path.
    On(&'static str),
    /// It may not.
    Lacking(NoAuthority),
    /// It may not even ask what it may.
    Untold,
}

/// Why a token may not mint ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NoAuthority {
    /// Batch tokens never mint.
    Batch,
    /// Tokens with a limited number of uses never mint.
    UseLimited,
    /// It lacks `update` and `sudo` on both paths; these it has.
    Capabilities([(&'static str, Vec<String>); 2]),
}
