//! This machine: the token file, the state file, the run lock, and other programs.

mod child;
pub(crate) mod hook;
pub(crate) mod staged;
pub(crate) mod state;
pub(crate) mod timer;
pub(crate) mod token_file;

use std::io;

/// An I/O error without the number the operating system gives it, in lower case.
pub(crate) fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_lowercase()
}
