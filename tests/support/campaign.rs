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

/// What became of all the cases.
pub struct Tried<C> {
    /// What was wrong with each that failed, and how to try it alone.
    pub wrong: Vec<String>,
    /// Those that were not reached.
    pub not_reached: Vec<C>,
}

impl<Place, C: Case> Campaign<Place, C> {
    /// Tries every case, or the one that was asked for, and fails with all that was wrong. The first worker has its
    /// place already, because somebody had to find out what the cases are. Returns the cases that were not reached.
    ///
    /// # Panics
    /// If a case panics; if no case has the key that was asked for, or that one was not reached.
    pub fn run(self, first: &Place, attempt: impl Fn(&Place, &C) -> Attempt + Sync) -> Vec<C> {
        let (test, only, all) = (test(), only(), self.cases.len());
        let chosen = self.choose(&test, only.as_deref());
        let (what, number, start) = (chosen.what.clone(), chosen.cases.len(), Instant::now());
        let Tried { wrong, not_reached } = chosen.try_each(&test, first, attempt);

        let of_all = if only.is_some() { format!(" of the {all}") } else { String::new() };
        let missed = not_reached.len();
        let short = if missed == 0 { String::new() } else { format!(", {missed} not reached") };
        count(&format!("{number}{of_all} {what}{short}, {:.1} s", start.elapsed().as_secs_f32()));
        assert!(wrong.is_empty(), "{} of {number} {what}:\n{}", wrong.len(), wrong.join("\n"));
        assert!(only.is_none() || missed == 0, "{only:?} was not reached, so nothing was tried");
        not_reached
    }

    /// The same campaign with one of its cases, if one is asked for.
    ///
    /// # Panics
    /// If no case has this key. A check that tries nothing would look as if all were well.
    pub fn choose(mut self, test: &str, only: Option<&str>) -> Self {
        let mut keys = BTreeSet::new();
        for key in self.cases.iter().map(Case::key) {
            assert!(keys.insert(key.clone()), "two cases are called {key:?}");
        }
        assert!(!keys.is_empty(), "there are no {}", self.what);
        if let Some(only) = only {
            self.cases.retain(|case| case.key() == only);
            assert!(!self.cases.is_empty(), "{}", no_such_case(test, &self.what, only, &keys));
        }
        self
    }

    /// Tries every case there is.
    pub fn try_each(
        self,
        test: &str,
        first: &Place,
        attempt: impl Fn(&Place, &C) -> Attempt + Sync,
    ) -> Tried<C> {
        let Self { workers, place, cases, .. } = self;
        let next = AtomicUsize::new(0);
        let (wrong, not_reached) = (Mutex::new(Vec::new()), Mutex::new(BTreeSet::new()));
        let work_off = |place: &Place| {
            while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                match catch_unwind(AssertUnwindSafe(|| attempt(place, case))) {
                    Ok(Attempt::Made) => {}
                    Ok(Attempt::NotReached) => {
                        not_reached.lock().unwrap().insert(case.key());
                    }
                    Err(panic) => wrong.lock().unwrap().push(told(test, case, &what_was_said(&*panic))),
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
        let not_reached = cases.into_iter().filter(|case| not_reached.contains(&case.key())).collect();
        Tried { wrong, not_reached }
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

fn no_such_case(test: &str, what: &str, only: &str, keys: &BTreeSet<String>) -> String {
    let examples = keys.iter().step_by(keys.len().div_ceil(EXAMPLES));
    let examples: Vec<String> = examples.map(|key| command(test, key)).collect();
    format!(
        "{ONLY}={only:?} is none of the {} {what}, which are run alone like this:\n  {}",
        keys.len(),
        examples.join("\n  ")
    )
}
