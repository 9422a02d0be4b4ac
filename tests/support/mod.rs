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

use std::any::Any;
use std::io::Write as _;

use serde_json::{Value, json};

pub mod certificates;
pub mod openbao;
pub mod prometheus;
pub mod sandbox;
pub mod scripted;
pub mod strace;
pub mod user_manager;

/// Tells a figure to whoever runs the tests, past the harness, which keeps quiet about what passes.
pub fn count(text: &str) {
    let _ = std::io::stderr().write_all(format!("\ncounted: {text}\n").as_bytes());
}

/// What a panic said.
pub fn what_was_said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without words").to_owned()
}

/// The order of a token as the default identity mints it.
pub fn ours() -> Value {
    json!({
        "display_name": "devvm-wizard", "policies": ["vault-admin", "sops-admin"], "period": "768h", "no_parent": true,
    })
}

/// The name the server gives to what the default identity mints.
pub const OUR_NAME: &str = "token-devvm-wizard";
