//! This machine: the token file, the state, the run lock, the log, and other programs.

mod child;
pub(crate) mod followed;
pub(crate) mod glance;
pub(crate) mod history;
pub(crate) mod hook;
pub(crate) mod lock;
pub(crate) mod log_file;
pub(crate) mod machine;
pub(crate) mod staged;
pub(crate) mod state;
mod state_dir;
pub(crate) mod timer;
pub(crate) mod token_file;
pub(crate) mod watching;
