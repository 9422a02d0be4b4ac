//! What the operating system says went wrong, as people read it.

use std::io;

/// An I/O error without the number the operating system gives it, in lower case.
pub(crate) fn io_text(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_lowercase()
}
