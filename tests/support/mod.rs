//! What several test binaries share.
#![allow(
    dead_code,
    unused_imports,
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
use std::thread;
use std::time::{Duration, Instant, UNIX_EPOCH};

pub use cast::*;

pub mod between;
pub mod campaign;
mod cast;
pub mod certificates;
pub mod hang;
pub mod kv;
pub mod openbao;
pub mod prometheus;
pub mod random;
pub mod sandbox;
pub mod scene;
pub mod scripted;
pub mod stay;
pub mod strace;
pub mod tie;
pub mod user_manager;
pub mod vault_mock;

/// Tells a figure to whoever runs the tests, past the harness, which keeps quiet about what passes.
pub fn count(text: &str) {
    let _ = std::io::stderr().write_all(format!("\ncounted: {text}\n").as_bytes());
}

/// What a panic said.
pub fn what_was_said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without words").to_owned()
}

/// Whether the tests were asked for as much as they can do.
pub fn is_thorough() -> bool {
    std::env::var_os("VTR_TEST_THOROUGH").is_some_and(|value| value == "1")
}

/// Nothing a test waits for takes longer, unless something hangs.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Waits for something that another process or thread does.
#[track_caller]
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} in vain until {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// The seconds since 1970.
pub fn now() -> u64 {
    UNIX_EPOCH.elapsed().expect("a clock").as_secs()
}
