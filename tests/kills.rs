//! Killed anywhere: the program is killed at every system call it makes, one run for each, and each time the
//! token file has to be whole and the next run has to put everything right.

#![cfg(test)]

mod support;

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use support::OUR_NAME;
use support::campaign::{self, Attempt, Campaign, Case};
use support::scene::{Kill, Place, Scene, Stop, Work};
use support::strace::{Call, Trace};

/// How many kills go on side by side, each worker with a server of its own. The harness runs as many tests at
/// a time as there are processors.
const WORKERS: usize = 2;

/// How many tokens a heal has to revoke: it can be killed between two revocations.
const STALE: usize = 2;

/// How long a mint whose sender is dead may take until it is seen on the server.
const LATE_MINT: Duration = Duration::from_secs(2);

/// The calls that leave a trace outside the program's own memory, or wait for one.
const TELLING: &[&str] = &[
    "openat", "read", "write", "close", "fsync", "renameat", "unlink", "mkdir", "flock", "connect", "sendto",
    "recvfrom",
];

/// The calls of memory management. Where the heap lies, and so how often it grows, is different in every run.
const MEMORY: &[&str] = &["brk", "mmap", "munmap", "mremap", "mprotect", "madvise"];

/// The calls by which an answer is waited for. How often a socket is asked before it comes is different, too.
const WAITING: &[&str] = &["poll", "ppoll", "recvfrom"];

/// Work that is killed.
struct Point {
    work: Work,
    kill: Kill,
    /// What the call would have to do with.
    file: String,
}

impl Case for Point {
    fn key(&self) -> String {
        format!("{}: {}", self.work, self.kill)
    }

    fn detail(&self) -> String {
        self.file.clone()
    }
}

fn place() -> Place {
    Place::new(STALE)
}

/// What has to be true at any time, whatever became of the program.
fn check_whole(place: &Place, work: Work, scene: &Scene) {
    let Scene { home, old, .. } = scene;
    let held = home.token();
    assert!(
        held == *old || place.server.recognise(&held).is_ok(),
        "the token file holds neither the old token nor ours"
    );
    assert!(place.server.lookup(&held).is_some(), "the token in the file is dead");
    place.check_login();
    assert_eq!(home.token_file().is_symlink(), work == Work::HealLink);
    for (name, (mode, ..)) in home.snapshot() {
        let is_file = mode & 0o170_000 == 0o100_000;
        assert!(!is_file || mode & 0o7777 == 0o600, "{name} has mode {mode:o}");
    }
    home.check_state_for_secrets();
}

/// What has to be true after the run that follows, beside that.
fn check_mended(place: &Place, work: Work, scene: &Scene) {
    let Scene { home, old, .. } = scene;
    place.server.check_ours(home);
    assert!(work.heals() || home.token() == *old, "a needless heal");
    // Nothing is left of any temporary file: neither beside the token nor among the state.
    let mut expected = BTreeSet::from([".local".to_owned(), ".vault-token".to_owned()]);
    for directory in [".local", ".local/state", ".local/state/vault-token-renew"] {
        expected.insert(directory.to_owned());
    }
    expected.insert(".local/state/vault-token-renew.log".to_owned());
    if work == Work::HealLink {
        expected.extend(["real".to_owned(), "real/token".to_owned()]);
    }
    let files = home.snapshot();
    let (state, others): (Vec<_>, Vec<_>) =
        files.keys().cloned().partition(|name| name.starts_with(".local/state/vault-token-renew/"));
    assert!(others.iter().all(|name| expected.contains(name)), "left behind: {others:?}");
    let state: Vec<_> = state.iter().filter_map(|name| name.rsplit_once('.')).collect();
    let (stems, endings): (BTreeSet<_>, Vec<_>) = state.into_iter().unzip();
    assert_eq!(stems.len(), 1, "state of one token file: {stems:?}");
    assert!(endings == ["json", "lock"] || endings == ["lock"], "left behind: {endings:?}");
    // What was due is done.
    if endings.contains(&"json") {
        let state = home.state();
        assert_eq!(state["sweep_due"], false, "{state}");
    }
}

/// One kill and the run after it.
fn survive(place: &Place, point: &Point) -> Attempt {
    let scene = place.set(point.work);
    let Some(trace) = place.killed(&scene.home, &point.kill) else { return Attempt::NotReached };
    if is_mint_under_way(&trace, &scene) {
        // The dead do not wait for an answer, but the server may still be at it; or it has noticed that
        // nobody is there any more, and lets it be.
        let start = Instant::now();
        while place.server.named(OUR_NAME).len() == scene.ours.len() && start.elapsed() < LATE_MINT {
            thread::sleep(Duration::from_millis(20));
        }
    }
    check_whole(place, point.work, &scene);
    let run = scene.home.run(&place.server, &[]).expect(0);
    assert!(run.stdout.contains(" OK renewed ") || run.stdout.contains(" HEALED: "), "{run:?}");
    assert!(run.complaints().iter().all(|line| line.contains("is dying")), "{run:?}");
    check_whole(place, point.work, &scene);
    check_mended(place, point.work, &scene);
    Attempt::Made
}

/// Whether the order of a mint was sent and its answer not read.
fn is_mint_under_way(trace: &Trace, scene: &Scene) -> bool {
    let sent = |call: &Call| call.name == "sendto" && call.is_complete() && call.text.contains("no_parent");
    trace.calls.iter().any(sent) && trace.tokens() == BTreeSet::from([scene.old.clone()])
}

/// Checks that the trace shows what this test means to interrupt.
fn check_trace(trace: &Trace, work: Work) {
    let mut expected = vec!["openat", "read", "write", "close", "flock", "connect", "sendto", "recvfrom"];
    if work.heals() {
        expected.extend(["fsync", "renameat"]);
    }
    for name in expected {
        assert!(trace.count(name) > 0, "no {name} among the calls");
    }
    if work.heals() {
        trace.find("renameat", |call| call.touches("token.renew-"));
        trace.find("fsync", |call| call.touches("token.renew-"));
    }
    if work != Work::Renew {
        let revocations = |call: &&Call| call.name == "sendto" && call.touches("auth/token/revoke-accessor");
        assert_eq!(trace.calls.iter().filter(revocations).count(), STALE, "stale tokens revoked");
    }
}

/// Which calls are killed at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    EachCall,
    /// The telling ones, unless the environment asks for more, which takes longer.
    EachTellingCall,
}

impl At {
    fn includes(self, call: &Call) -> bool {
        let thorough = support::is_thorough();
        self == Self::EachCall || thorough || campaign::is_for_one() || TELLING.contains(&call.name.as_str())
    }
}

/// Kills the work again and again.
fn kill(first: &Place, work: Work, at: At) {
    let (scene, _, trace) = first.undisturbed(work);
    check_whole(first, work, &scene);
    check_mended(first, work, &scene);
    check_trace(&trace, work);
    // The program is not there before that one.
    let calls = trace.calls.into_iter().filter(|call| call.name != "execve" && at.includes(call));
    let points: Vec<Point> = calls
        .map(|call| Point { work, kill: Kill { call: call.name, nth: call.nth }, file: call.file })
        .collect();
    let waits = points.iter().filter(|point| WAITING.contains(&point.kill.call.as_str())).count();
    let campaign =
        Campaign { what: format!("kill points of a {work}"), workers: WORKERS, place, cases: points };
    let missed = campaign.run(first, survive);
    // A heap that lies better than the one of the first run grows less often, and a server that is faster is asked
    // less often. All else is always the same.
    let among =
        |calls: &[&str]| missed.iter().filter(|point| calls.contains(&point.kill.call.as_str())).count();
    let odd = missed.iter().filter(|point| !MEMORY.contains(&point.kill.call.as_str()));
    let odd = odd.filter(|point| !WAITING.contains(&point.kill.call.as_str()));
    let odd: Vec<String> = odd.map(Case::key).collect();
    assert!(odd.is_empty(), "not reached: {odd:?}");
    assert!(among(MEMORY) <= 4, "{} points of the memory were not reached", among(MEMORY));
    assert!(among(WAITING) * 2 <= waits, "{} of {waits} waits were not reached", among(WAITING));
}

#[test]
fn a_heal_can_be_killed_anywhere() {
    kill(&place(), Work::Heal, At::EachCall);
}

#[test]
fn a_renewal_can_be_killed_anywhere() {
    kill(&place(), Work::Renew, At::EachCall);
}

#[test]
fn a_heal_through_a_symbolic_link_can_be_killed_anywhere() {
    kill(&place(), Work::HealLink, At::EachTellingCall);
}

#[test]
fn a_heal_of_a_dying_token_can_be_killed_anywhere() {
    kill(&place(), Work::HealDying, At::EachTellingCall);
}

#[test]
fn a_sweep_that_was_killed_can_be_killed_again_anywhere() {
    let place = place();
    let stopped_at = place.where_the_sweep_begins();
    kill(&place, Work::Resume { stopped_at, by: Stop::Kill }, At::EachTellingCall);
}
