//! Colours for a terminal.

use std::io::{self, IsTerminal as _};

/// Colours, where they are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Paint {
    /// None: a file, a pipe, a terminal that has none, or whoever reads it does not want any.
    Plain,
    /// The basic ones of any terminal.
    Colour,
}

impl Paint {
    /// Colours for standard output, if it is a terminal, and they are not `unwanted`.
    pub(crate) fn of_stdout(unwanted: bool) -> Self {
        if !unwanted && io::stdout().is_terminal() { Self::Colour } else { Self::Plain }
    }

    pub(super) fn red(self, text: &str) -> String {
        self.sgr("1;31", text)
    }

    pub(super) fn yellow(self, text: &str) -> String {
        self.sgr("33", text)
    }

    pub(super) fn green(self, text: &str) -> String {
        self.sgr("32", text)
    }

    pub(super) fn dim(self, text: &str) -> String {
        self.sgr("2", text)
    }

    /// Select Graphic Rendition of ECMA-48, and back.
    fn sgr(self, code: &str, text: &str) -> String {
        match self {
            Self::Plain => text.to_owned(),
            Self::Colour => format!("\x1b[{code}m{text}\x1b[0m"),
        }
    }
}
