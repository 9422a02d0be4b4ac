//! This machine: the token file, the state file, the run lock, and other programs.

mod child;
pub(crate) mod hook;
pub(crate) mod staged;
pub(crate) mod state;
pub(crate) mod timer;
pub(crate) mod token_file;
