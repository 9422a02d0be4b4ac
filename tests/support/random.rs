//! Histories of random events: how many, by which seed, side by side, and how a failure can be had again.

use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use super::what_was_said;

/// So many are tried at the same time, each in a world of its own.
const WORKERS: u64 = 4;

/// What was asked for by `VTR_TEST_HISTORIES`, if anything.
pub fn histories_asked_for() -> Option<u64> {
    number("VTR_TEST_HISTORIES")
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text}: not a number")))
}

/// Lives so many histories, each by a seed of its own, in worlds that serve one after the other. `live` notes what
/// happens, for whoever has to tell of a failure. The seed of the first.
///
/// # Panics
/// With all failures, and how to have each again.
#[track_caller]
pub fn live_histories<World, Event: Debug>(
    histories: u64,
    new_world: impl Fn() -> World + Sync,
    live: impl Fn(&mut World, u64, &mut Vec<Event>) + Sync,
) -> u64 {
    assert!(histories > 0, "no histories are no test");
    let seed = number("VTR_TEST_SEED").unwrap_or_else(|| fastrand::u64(..1_000_000_000_000));
    let (next, failures) = (AtomicU64::new(0), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..WORKERS.min(histories) {
            scope.spawn(|| {
                let mut world = new_world();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= histories {
                        return;
                    }
                    let own_seed = seed.wrapping_add(number);
                    let mut past = Vec::new();
                    let lived = catch_unwind(AssertUnwindSafe(|| live(&mut world, own_seed, &mut past)));
                    if let Err(panic) = lived {
                        let message = format!(
                            "history {number} of seed {seed} (alone: VTR_TEST_SEED={own_seed} \
                             VTR_TEST_HISTORIES=1)\nevents: {past:#?}\n{}",
                            what_was_said(&*panic)
                        );
                        failures.lock().unwrap_or_else(PoisonError::into_inner).push(message);
                        // The others stop after the history they are in.
                        next.store(histories, Ordering::Relaxed);
                        return;
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap_or_else(PoisonError::into_inner);
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
    seed
}
