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

pub mod certificates;
pub mod openbao;
pub mod sandbox;
pub mod scripted;
pub mod user_manager;

/// The name the server gives to what the default identity mints.
pub const OUR_NAME: &str = "token-devvm-wizard";
