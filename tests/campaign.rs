//! That a campaign tells how to run one of its cases alone, and cannot run nothing unnoticed.

#![cfg(test)]

mod support;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;

use support::campaign::{Attempt, Campaign, Case, Tried};
use support::what_was_said;

const TEST: &str = "the_name_of_a_test";

impl Case for &'static str {
    fn key(&self) -> String {
        (*self).to_owned()
    }
}

fn fruits(cases: &[&'static str]) -> Campaign<(), &'static str> {
    Campaign { what: "fruits".to_owned(), workers: 2, place: || (), cases: cases.to_vec() }
}

/// What is said against this choice.
#[track_caller]
fn objection(cases: &[&'static str], only: Option<&str>) -> String {
    let chosen = catch_unwind(AssertUnwindSafe(|| fruits(cases).choose(TEST, only)));
    what_was_said(&*chosen.err().expect("a panic"))
}

#[test]
fn a_key_chooses_its_case_and_no_other() {
    let tried = Mutex::new(Vec::new());
    let chosen = fruits(&["apple", "apple pie", "pear"]).choose(TEST, Some("apple"));
    chosen.try_each(TEST, &(), |(), fruit| {
        tried.lock().unwrap().push(*fruit);
        Attempt::Made
    });
    assert_eq!(*tried.lock().unwrap(), ["apple"]);
}

#[test]
fn without_a_key_every_case_is_tried_once() {
    let tried = Mutex::new(Vec::new());
    fruits(&["apple", "pear", "plum"]).choose(TEST, None).try_each(TEST, &(), |(), fruit| {
        tried.lock().unwrap().push(*fruit);
        Attempt::Made
    });
    let mut tried = tried.into_inner().unwrap();
    tried.sort_unstable();
    assert_eq!(tried, ["apple", "pear", "plum"]);
}

#[test]
fn a_key_that_names_no_case_fails_and_shows_commands_that_would_do() {
    for only in ["", "apples", "Apple", "apple "] {
        let objection = objection(&["apple", "pear"], Some(only));
        let lines: Vec<&str> = objection.lines().collect();
        assert_eq!(
            lines[0],
            format!("VTR_TEST_ONLY={only:?} is none of the 2 fruits, which are run alone like this:")
        );
        let command =
            "  VTR_TEST_ONLY='apple' cargo test --locked --test campaign the_name_of_a_test -- --exact";
        assert_eq!((lines[1], lines.len()), (command, 3));
    }
}

#[test]
fn a_campaign_without_cases_or_with_two_of_one_name_fails() {
    assert_eq!(objection(&[], None), "there are no fruits");
    assert_eq!(objection(&["apple", "apple"], None), "two cases are called \"apple\"");
}

#[test]
fn a_case_that_fails_is_told_with_the_command_and_the_others_go_on() {
    let Tried { wrong, not_reached } =
        fruits(&["pear", "adam's apple", "plum"]).try_each(TEST, &(), |(), fruit| match *fruit {
            "plum" => Attempt::NotReached,
            fruit => {
                assert!(fruit != "adam's apple", "a worm");
                Attempt::Made
            }
        });
    let command =
        r"VTR_TEST_ONLY='adam'\''s apple' cargo test --locked --test campaign the_name_of_a_test -- --exact";
    assert_eq!(wrong, [format!("adam's apple: a worm\n  alone: {command}\n")]);
    assert_eq!(not_reached, ["plum"]);
}
