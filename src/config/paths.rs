//! What a path may not be, wherever it was given.

use std::path::Path;

use anyhow::{Result, bail};

use crate::secret::without_tokens;

/// Paths stand in lines and in commands to be copied, whole and absolute; one event has to stay one line there.
pub(super) fn check_path(name: &str, path: &Path) -> Result<()> {
    let shown = path.to_string_lossy();
    if shown.contains(char::is_control) {
        bail!("{name} holds control characters: {shown:?}");
    }
    if without_tokens(&shown) != shown {
        bail!("{name} looks like a token, and names no file");
    }
    Ok(())
}
