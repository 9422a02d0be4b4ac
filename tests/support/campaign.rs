//! A campaign: many cases of one question, each tried on its own, some of them side by side.
//!
//! `VTR_TEST_ONLY=KEY` tries one case alone. Whatever fails prints the whole command, so nobody has to know the key.

use std::collections::BTreeSet;
use std::env::{self, VarError};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use super::{count, what_was_said};

/// Names the one case that is to be tried.
const ONLY: &str = "VTR_TEST_ONLY";

/// How many keys are shown where a key names no case.
const EXAMPLES: usize = 8;

/// One thing to try.
pub trait Case: Sync {
    /// Its name, by which it is found again in a later run: unique in its campaign, one line, nothing random.
    fn key(&self) -> String;

    /// What else helps whoever reads that it failed.
    fn detail(&self) -> String {
        String::new()
    }
}

/// What became of a case that did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempt {
    /// It was tried.
    Made,
    /// The program never came to the point at which it was to be disturbed.
    NotReached,
}

/// All the cases, and where they are tried.
pub struct Campaign<Place, C> {
    /// What is counted: `kill points of a heal`.
    pub what: String,
    /// How many cases are tried side by side, each worker in a place of its own.
    pub workers: usize,
    /// Makes such a place.
    pub place: fn() -> Place,
    /// What is tried.
    pub cases: Vec<C>,
}

impl<Place, C: Case> Campaign<Place, C> {
    /// Tries every case, or the one that was asked for, and fails with all that was wrong. The first worker has its
    /// place already, because somebody had to find out what the cases are. Returns the cases that were not reached.
    ///
    /// # Panics
    /// If a case panics; if no case has the key that was asked for, or that one was not reached.
    pub fn run(self, first: &Place, attempt: impl Fn(&Place, &C) -> Attempt + Sync) -> Vec<C> {
        let Self { what, workers, place, cases } = self;
        let (test, only) = (test(), only());
        let mut keys = BTreeSet::new();
        for key in cases.iter().map(Case::key) {
            assert!(keys.insert(key.clone()), "two cases are called {key:?}");
        }
        let cases = match &only {
            Some(only) => cases.into_iter().filter(|case| case.key() == *only).collect(),
            None => cases,
        };
        assert!(!cases.is_empty(), "{}", no_such_case(&test, &what, only.as_deref(), &keys));

        let start = Instant::now();
        let next = AtomicUsize::new(0);
        let (wrong, not_reached) = (Mutex::new(Vec::new()), Mutex::new(BTreeSet::new()));
        let work_off = |place: &Place| {
            while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                match catch_unwind(AssertUnwindSafe(|| attempt(place, case))) {
                    Ok(Attempt::Made) => {}
                    Ok(Attempt::NotReached) => {
                        not_reached.lock().unwrap().insert(case.key());
                    }
                    Err(panic) => wrong.lock().unwrap().push(told(&test, case, &what_was_said(&*panic))),
                }
            }
        };
        thread::scope(|scope| {
            for _ in 1..workers.min(cases.len()) {
                scope.spawn(|| work_off(&place()));
            }
            work_off(first);
        });
        let (wrong, not_reached) = (wrong.into_inner().unwrap(), not_reached.into_inner().unwrap());

        let seconds = start.elapsed().as_secs_f32();
        let short = if not_reached.is_empty() {
            String::new()
        } else {
            format!(", {} not reached", not_reached.len())
        };
        let of_all = if only.is_some() { format!(" of the {}", keys.len()) } else { String::new() };
        count(&format!("{}{of_all} {what}{short}, {seconds:.1} s", cases.len()));
        assert!(wrong.is_empty(), "{} of {} {what}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
        assert!(
            only.is_none() || not_reached.is_empty(),
            "not reached, so nothing was tried: {not_reached:?}"
        );
        cases.into_iter().filter(|case| not_reached.contains(&case.key())).collect()
    }
}

/// Whether one case is to be tried alone. It may then be one that a whole campaign passes over to save time.
pub fn is_for_one() -> bool {
    only().is_some()
}

fn only() -> Option<String> {
    match env::var(ONLY) {
        Ok(key) => Some(key),
        Err(VarError::NotPresent) => None,
        Err(VarError::NotUnicode(key)) => panic!("{ONLY}={} is no key", key.display()),
    }
}

/// The name of the test that is running: its thread bears it.
fn test() -> String {
    let name = thread::current().name().map(str::to_owned);
    name.filter(|name| name != "main").expect("a campaign is run by the thread of its test")
}

/// What was wrong with a case, and how to try it again.
fn told(test: &str, case: &impl Case, wrong: &str) -> String {
    let (key, detail) = (case.key(), case.detail());
    let detail = if detail.is_empty() { detail } else { format!(" ({detail})") };
    format!("{key}{detail}: {wrong}\n  alone: {}\n", command(test, &key))
}

/// The command that tries one case alone.
fn command(test: &str, key: &str) -> String {
    let quoted = key.replace('\'', r"'\''");
    let program = env!("CARGO_CRATE_NAME");
    format!("{ONLY}='{quoted}' cargo test --locked --test {program} {test} -- --exact")
}

fn no_such_case(test: &str, what: &str, only: Option<&str>, keys: &BTreeSet<String>) -> String {
    let Some(only) = only else { return format!("{test}: there are no {what}") };
    let examples = keys.iter().step_by(keys.len().div_ceil(EXAMPLES).max(1));
    let examples: Vec<String> = examples.map(|key| command(test, key)).collect();
    format!(
        "{ONLY}={only:?} is none of the {} {what}, which are run alone like this:\n  {}",
        keys.len(),
        examples.join("\n  ")
    )
}
