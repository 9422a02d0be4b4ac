//! What several test binaries share.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::allow_attributes,
    reason = "each test binary uses its own part, so what is unused or unreachable in one is not in another"
)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::missing_panics_doc,
    reason = "a test fails by panicking, and may write files as it likes"
)]

use std::io::Write as _;

pub mod certificates;
pub mod openbao;
pub mod sandbox;
pub mod scripted;
pub mod strace;
pub mod user_manager;

/// Tells a figure to whoever runs the tests, past the harness, which keeps quiet about what passes.
pub fn count(text: &str) {
    let _ = std::io::stderr().write_all(format!("\ncounted: {text}\n").as_bytes());
}

/// The name the server gives to what the default identity mints.
pub const OUR_NAME: &str = "token-devvm-wizard";
