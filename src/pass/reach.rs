//! Whether a token reaches the next run, which is what a renewal or a heal is for.

use super::context::Context;

/// Where nobody knows when the next run comes, a token with less left than this is worth a warning: a nightly run, its
/// delay, and half a day to make good for one that failed.
const A_NIGHT_AND_MORE: u64 = 36 * 60 * 60;

/// Whether it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// As far as anybody can tell.
    Yes,
    /// It has little left, and nobody knows when the next run comes.
    Unknown,
    /// The next run comes too late.
    No {
        /// In how many seconds it comes.
        next_run: u64,
    },
}

/// Whether a token with `left` seconds reaches the next run.
pub(super) fn reaches_next_run(context: &Context<'_>, left: u64) -> Reach {
    match (context.next_run)() {
        Some(next_run) if left <= next_run => Reach::No { next_run },
        None if left < A_NIGHT_AND_MORE => Reach::Unknown,
        Some(_) | None => Reach::Yes,
    }
}
