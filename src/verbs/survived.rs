//! A panic is a failure like any other.

use std::panic::{self, AssertUnwindSafe};
use std::sync::{Mutex, PoisonError};

use crate::facts::failure::Failure;

/// Makes a panic a failure: one line in the log, and no word of what a panic's own message might hold. Locks are
/// given back and staged files removed on the way here.
///
/// The work must not call this itself, since there is one hook for panics in a process. The place it names is that of
/// the first panic of this very work, in whichever thread: the panics that one
/// causes in others say less.
pub(super) fn survived<T>(work: impl FnOnce() -> T) -> Result<T, Failure> {
    /// There is one panic hook in a process, so one work at a time has it.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    static PLACE: Mutex<String> = Mutex::new(String::new());
    let place = || PLACE.lock().unwrap_or_else(PoisonError::into_inner);

    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    place().clear();
    let usual = panic::take_hook();
    panic::set_hook(Box::new(|panic| {
        if let (Some(place), Ok(mut first)) = (panic.location(), PLACE.lock())
            && first.is_empty()
        {
            *first = place.to_string();
        }
    }));
    let done = panic::catch_unwind(AssertUnwindSafe(work));
    panic::set_hook(usual);
    done.map_err(|_| Failure::Internal { place: place().clone() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_a_failure_without_its_message() {
        let fault = survived(|| -> () { panic!("with a secret in it") });
        let Err(Failure::Internal { place }) = fault else { panic!("{fault:?}") };
        assert!(place.starts_with("src/verbs/survived.rs:"), "{place}");
        assert!(!place.contains("secret"), "{place}");
    }

    #[test]
    fn each_panic_is_told_by_its_own_place() {
        let line = |fault: Result<(), Failure>| match fault {
            Err(Failure::Internal { place }) => place,
            other => panic!("{other:?}"),
        };
        let first = line(survived(|| panic!("one")));
        assert!(survived(|| 5).is_ok());
        let second = line(survived(|| panic!("two")));
        assert_ne!(first, second);
        let in_a_thread = survived(|| {
            let thread = std::thread::spawn(|| panic!("three"));
            thread.join().map_err(panic::resume_unwind).unwrap();
        });
        assert_ne!(line(in_a_thread), second);
    }
}
