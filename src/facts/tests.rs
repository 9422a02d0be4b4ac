use super::failure::{Done, During, Failure, Refusal, RefusedMint};
use super::outcome::{HealedFrom, Outcome};
use super::swept::{CutCause, SweepEnd, Swept};
use crate::identity::Dying;
use crate::local::state::Due;
use crate::local::token_file::ReadError;
use crate::token::Accessor;
use crate::vault::{Call, Error, ErrorKind, Interrupted, Oddity, Said, Unreachable};

fn accessor(text: &str) -> Accessor {
    Accessor::new(text.to_owned()).unwrap()
}

fn swept(count: usize) -> Swept {
    let stale = (0..count).map(|number| accessor(&format!("accessor-{number}"))).collect();
    Swept { stale, ..Swept::default() }
}

fn ended(end: SweepEnd) -> Swept {
    Swept { end, ..Swept::default() }
}

fn failed(kind: ErrorKind) -> Error {
    let url = "https://vault.example.org/v1/auth/token/lookup-self".to_owned();
    Error { call: Call::LookupSelf, url, redirected_by: None, kind, named: Box::default() }
}

fn denied() -> RefusedMint {
    RefusedMint { status: 403, message: "permission denied".to_owned() }
}

fn healed(from: HealedFrom, name: &str, swept: Swept) -> Outcome {
    Outcome::Healed { from, display_name: name.to_owned(), lives_on: None, swept }
}

fn too_short(done: Done) -> Outcome {
    Outcome::Failed(Failure::EndsBeforeNextRun { done, left: 1, next_run: 2 })
}

fn stopped(during: During) -> Outcome {
    Outcome::Failed(Failure::Stopped { signal: Some("SIGTERM"), during })
}

fn drift(name: &str) -> Outcome {
    let refusal = Refusal { create: denied(), create_orphan: denied() };
    Outcome::Drift { display_name: name.to_owned(), refusal: Some(refusal) }
}

#[test]
fn the_exit_status_says_as_much_as_was_asked_for() {
    let temporary = || failed(ErrorKind::Unreachable(Unreachable::Refused));
    let strange = || failed(ErrorKind::NotVault { status: 200, oddity: Oddity::Empty });
    let table = [
        (Outcome::Renewed { display_name: String::new(), ttl: 1, resumed: None }, 0, 10),
        (healed(HealedFrom::Foreign, "x", ended(SweepEnd::ListDenied)), 0, 11),
        (Outcome::Swept(swept(1)), 0, 0),
        (Outcome::Swept(ended(SweepEnd::ListDenied)), 1, 1),
        (
            Outcome::Swept(ended(SweepEnd::CutShort {
                examined: 0,
                total: 0,
                cause: CutCause::Error(Box::new(temporary())),
            })),
            1,
            75,
        ),
        (drift("x"), 1, 3),
        (Outcome::Failed(Failure::Dead { url: String::new(), message: String::new() }), 1, 4),
        (Outcome::Failed(Failure::Spent), 1, 4),
        (Outcome::Failed(Failure::TokenFile(ReadError::Missing)), 1, 4),
        (Outcome::Failed(Failure::TokenFile(ReadError::Empty)), 1, 4),
        (Outcome::Failed(Failure::TokenFile(ReadError::Unprintable)), 1, 1),
        (
            Outcome::Failed(Failure::Dying {
                display_name: String::new(),
                dying: Dying::NoPeriod,
                seconds_left: 0,
                refusal: Some(Refusal { create: denied(), create_orphan: denied() }),
            }),
            1,
            5,
        ),
        (Outcome::Failed(Failure::Vault(temporary())), 1, 75),
        (Outcome::Failed(Failure::Unchecked(temporary())), 1, 75),
        (Outcome::Failed(Failure::LockBusy), 1, 75),
        (Outcome::Failed(Failure::Vault(strange())), 1, 1),
        (Outcome::Failed(Failure::NotOurs { display_name: String::new() }), 1, 3),
        (Outcome::Failed(Failure::FileKeepsChanging), 1, 1),
        (too_short(Done::Renewed { resumed: None }), 1, 5),
        (stopped(During::Sweep(Box::new(swept(1)))), 1, 1),
        (stopped(During::Wait), 1, 1),
    ];
    for (outcome, plain, detailed) in table {
        assert_eq!(outcome.exit_status(), plain, "{outcome:?}");
        assert_eq!(outcome.detailed_exit_status(), detailed, "{outcome:?}");
    }
}

#[test]
fn only_what_is_known_to_be_gone_is_forgotten() {
    let (stale, gone, kept, other) = (accessor("s"), accessor("g"), accessor("k"), accessor("o"));
    let ended = |end| Swept {
        stale: vec![stale.clone()],
        gone: ["g".to_owned()].into(),
        irrevocable: vec![kept.clone()],
        end,
        ..Swept::default()
    };
    let complete = Swept { indigestible: vec![accessor("i")], ..ended(SweepEnd::Complete) };
    assert_eq!([&stale, &gone, &kept, &other].map(|one| complete.is_gone(one)), [true, true, false, true]);
    assert!(!complete.is_gone(&accessor("i")), "whose it is nobody knows");
    let doubtful = Swept { doubtful: vec![stale.clone()], ..ended(SweepEnd::Complete) };
    assert_eq!([&stale, &gone, &other].map(|one| doubtful.is_gone(one)), [false, true, true]);
    for end in [
        SweepEnd::Off,
        SweepEnd::ListDenied,
        SweepEnd::LookupDenied,
        SweepEnd::MostlyDenied,
        SweepEnd::NothingToKeep,
        SweepEnd::CutShort { examined: 1, total: 2, cause: CutCause::TimeIsUp },
    ] {
        let swept = ended(end);
        assert_eq!([&stale, &gone, &kept, &other].map(|one| swept.is_gone(one)), [true, true, false, false]);
    }
}

#[test]
fn a_sweep_without_an_end_of_its_own_is_taken_up_again() {
    let leaves = |end| ended(end).leaves();
    let cut_short = SweepEnd::CutShort { examined: 1, total: 2, cause: CutCause::TimeIsUp };
    assert_eq!([leaves(cut_short), leaves(SweepEnd::NothingToKeep)], [Due::Sweep; 2]);
    // What is denied today may be granted tomorrow.
    assert_eq!([leaves(SweepEnd::ListDenied), leaves(SweepEnd::LookupDenied)], [Due::Denied; 2]);
    // A server that lists a lot of what is gone must not be walked over every night.
    for end in [SweepEnd::Complete, SweepEnd::Off, SweepEnd::MostlyDenied] {
        assert_eq!(leaves(end), Due::Nothing);
    }
}

#[test]
fn doubtful_accessors_are_kept_only_if_something_came_between() {
    let cut = |cause| ended(SweepEnd::CutShort { examined: 0, total: 1, cause }).is_worth_repeating();
    let error = |kind| CutCause::Error(Box::new(failed(kind)));
    assert!(cut(CutCause::TimeIsUp));
    assert!(cut(error(ErrorKind::Interrupted(Interrupted::Closed))));
    let said = Said::Errors("internal error".to_owned());
    assert!(!cut(error(ErrorKind::Server { status: 500, said })));
    assert!(!ended(SweepEnd::Complete).is_worth_repeating());
}

#[test]
fn what_a_sweep_revoked_counts_however_the_run_ended() {
    let boxed = || Box::new(swept(2));
    for outcome in [
        Outcome::Swept(swept(2)),
        healed(HealedFrom::Foreign, "x", swept(2)),
        too_short(Done::Healed { lives_on: None, swept: boxed() }),
        too_short(Done::Renewed { resumed: Some(boxed()) }),
        stopped(During::Sweep(boxed())),
    ] {
        assert_eq!(outcome.swept(), 2, "{outcome:?}");
    }
    for outcome in [drift("x"), stopped(During::Wait), too_short(Done::Renewed { resumed: None })] {
        assert_eq!(outcome.swept(), 0, "{outcome:?}");
    }
}
