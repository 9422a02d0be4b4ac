//! The disk: full, read-only, broken, limited. Each call that could fail is made to fail, once and from then on;
//! and where a real obstacle can be had, the program meets a real one.

#![cfg(test)]
#![expect(clippy::disallowed_methods, reason = "tests write and move files as they like")]

mod support;

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use support::campaign::{Attempt, Campaign, Case};
use support::sandbox::{PROGRAM, Run, Sandbox, file_in};
use support::scene::{Fault, Place, Scene, Stop, Work};
use support::scripted::{Reply, Scripted};
use support::strace::{Call, Strace, Trace};
use support::{OUR_NAME, RENEWED, count};

/// How many faults are tried side by side, each worker with a server of its own.
const WORKERS: usize = 2;

/// How many tokens a heal has to revoke.
const STALE: usize = 1;

/// The part of a path by which the new token is known before it is in place.
const STAGED: &str = "/..vault-token.renew-";

/// What can go wrong with which call, in strace's words.
const ERRORS: &[(&str, &[&str])] = &[
    ("write", &["ENOSPC", "EIO", "EDQUOT"]),
    ("fsync", &["EIO", "ENOSPC"]),
    ("renameat", &["EIO", "ENOSPC", "EROFS"]),
    ("openat", &["ENOSPC", "EIO", "EROFS", "EMFILE"]),
    ("mkdir", &["ENOSPC", "EROFS"]),
    ("flock", &["ENOLCK", "EIO"]),
    ("getdents64", &["EIO"]),
    ("read", &["EIO"]),
    ("readlink", &["EIO"]),
];

/// Words that speak of the server or of the token, and so have no place where a disk is to blame.
const OF_THE_SERVER: &[&str] =
    &["denied", "DRIFT", "403", "400", "503", "sealed", "refused", "unreachable", "dead", "http"];

/// Work in whose way the disk is.
struct Broken {
    work: Work,
    faults: Vec<Fault>,
    /// What the first call that fails has to do with.
    file: String,
}

impl Case for Broken {
    fn key(&self) -> String {
        let faults: Vec<String> = self.faults.iter().map(ToString::to_string).collect();
        format!("{}: {}", self.work, faults.join(", "))
    }

    fn detail(&self) -> String {
        self.file.clone()
    }
}

impl Broken {
    fn new(work: Work, normal: &Trace, faults: Vec<Fault>) -> Self {
        let hit = normal.calls.iter().find(|call| faults[0].hits(call)).expect("a call that is made");
        let file = if hit.file.is_empty() { &hit.text } else { &hit.file };
        Self { work, file: file.clone(), faults }
    }
}

/// What people read of an error.
fn words_of(error: &str) -> &'static str {
    match error {
        "ENOSPC" => "no space left on device",
        "EIO" => "input/output error",
        "EDQUOT" => "disk quota exceeded",
        "EROFS" => "read-only file system",
        "EMFILE" => "too many open files",
        "ENOLCK" => "no locks available",
        other => panic!("{other} has no words here"),
    }
}

fn place() -> Place {
    Place::new(STALE)
}

/// What a run promises with its exit status, whatever was in its way. `after` is the home it left.
#[track_caller]
fn check_kept(place: &Place, work: Work, scene: &Scene, after: &Sandbox, run: &Run) {
    let held = after.token();
    assert_eq!(after.mode(".vault-token"), 0o600);
    place.check_login();
    match run.status {
        0 => {
            // The server was in nobody's way, so the sweep has been done too; if it was known to be due, and as long as
            // it was known that what is revoked is not what the file holds.
            let unread = run.all().contains("the token file cannot be read");
            let unknown = matches!(work, Work::Resume { .. })
                && ["continuing without lock and state", "the state file cannot be read"]
                    .iter()
                    .any(|words| run.stderr.contains(words));
            let recognised = if unknown || unread {
                place.server.recognise(&held)
            } else {
                place.server.recognise_alone(&held)
            };
            recognised.unwrap_or_else(|wrong| panic!("the token in the file: {wrong}; {run:?}"));
            assert!(work.heals() || held == scene.old, "a needless heal");
        }
        1 => {
            assert!(held == scene.old, "a failure that changed the token file");
            assert_eq!(place.server.named(OUR_NAME), scene.ours, "what was minted in vain is revoked");
        }
        other => panic!("exit status {other}"),
    }
}

/// One run after the obstacle is gone puts everything right.
#[track_caller]
fn check_mended(place: &Place, after: &Sandbox) {
    after.run(&place.server, &[]).expect(0).quiet();
    place.server.check_ours(after);
    check_tidy(after);
    place.check_login();
}

/// No temporary file in the home, whether beside the token or among the state.
#[track_caller]
fn check_tidy(home: &Sandbox) {
    for (name, (mode, ..)) in home.snapshot() {
        assert!(!name.contains(".renew-"), "{name} is left behind");
        assert_eq!(mode & 0o077, 0, "{name} has mode {mode:o}");
    }
}

/// All calls of an undisturbed run.
fn undisturbed(place: &Place, work: Work) -> Trace {
    let (scene, run, trace) = place.undisturbed(work);
    check_kept(place, work, &scene, &scene.home, &run);
    let forbids = |call: &Call| call.text.contains("PR_SET_DUMPABLE, SUID_DUMP_DISABLE");
    assert!(trace.calls.iter().any(forbids), "others may look into its memory");
    if work.heals() {
        check_synced(&trace);
    }
    trace
}

/// A new token is on the disk before it is in place, and its place is before anybody is told.
#[track_caller]
fn check_synced(trace: &Trace) {
    let at = |name: &str, is_it: &dyn Fn(&Call) -> bool| {
        trace
            .calls
            .iter()
            .position(|call| call.name == name && is_it(call))
            .unwrap_or_else(|| panic!("no {name}"))
    };
    let written = at("fsync", &|call| call.touches(STAGED));
    let renamed = at("renameat", &|call| call.touches(STAGED));
    let home = trace.calls[renamed].text.split('"').nth(1).and_then(|path| path.rsplit_once('/'));
    let home = home.expect("the path of the new token").0.to_owned();
    let is_of_the_directory = |call: &Call| call.name == "fsync" && call.file == home;
    let placed =
        trace.calls.iter().skip(renamed).position(is_of_the_directory).expect("its directory is synced");
    let swept = at("sendto", &|call| call.touches("auth/token/accessors"));
    assert!(written < renamed && renamed + placed < swept);
}

/// Every fault there can be: each call that `main` makes, each error, once and lasting.
fn faults(trace: &Trace) -> Vec<Fault> {
    let main = trace.calls.iter().position(|call| call.text.contains("PR_SET_DUMPABLE")).expect("main");
    let mut faults = Vec::new();
    for call in &trace.calls[main..] {
        let Some((name, errors)) = ERRORS.iter().find(|(name, _)| *name == call.name) else { continue };
        for error in *errors {
            for lasting in [false, true] {
                faults.push(Fault { call: name, error, nth: call.nth, lasting });
            }
        }
    }
    faults
}

/// What no run can do without: the token has to be read, and the new one has to be written beside it, wherever
/// that is by then.
fn is_essential(call: &Call, normal: &Trace) -> bool {
    let reads = call.file.ends_with("/.vault-token") || call.text.contains("/.vault-token\"");
    match call.name.as_str() {
        // A sweep that does not know what the file holds revokes nothing; the token is there by then.
        "openat" | "read" if reads => {
            let is_listing = |call: &&Call| call.name == "sendto" && call.touches("auth/token/accessors");
            let before_the_sweep = normal.calls.iter().take_while(|call| !is_listing(call));
            call.nth <= before_the_sweep.filter(|before| before.name == call.name).count()
        }
        "readlink" => {
            let before_the_lock = normal.calls.iter().take_while(|call| call.name != "flock");
            call.nth > before_the_lock.filter(|call| call.name == "readlink").count()
        }
        _ => call.touches(STAGED),
    }
}

/// What has to be said about a call that failed and was not essential.
fn complaint_about(call: &Call) -> Option<&'static str> {
    if call.name == "readlink" {
        // Only for the name of the file, and the one that was given will do.
        None
    } else if call.touches("vault-token-renew.log") && call.text.contains("O_RDONLY") {
        // Only for the end of the last line, and a line is written all the same.
        None
    } else if call.touches("vault-token-renew.log") {
        Some("cannot be written")
    } else if call.touches(".json.renew-") {
        Some("the state cannot be saved")
    } else if call.touches(".lock") {
        Some("continuing without lock and state")
    } else if call.touches(".json") {
        Some("the state file cannot be read")
    } else {
        None
    }
}

/// One fault, and the run after it.
fn survive(place: &Place, normal: &Trace, broken: &Broken) {
    let (work, fault) = (broken.work, &broken.faults[0]);
    let scene = place.set(work);
    let (run, trace) = place.faulty(&scene.home, &broken.faults);
    let hit: Vec<&Call> = normal.calls.iter().filter(|call| fault.hits(call)).collect();
    let expected = i32::from(hit.iter().any(|call| is_essential(call, normal)));
    assert_eq!(run.status, expected, "{run:?}");
    check_kept(place, work, &scene, &scene.home, &run);
    check_tidy(&scene.home);

    // What can be read must be true, and something must be readable unless nothing at all can be written.
    let text = format!("{}{}{}", run.stdout, run.stderr, scene.home.log());
    let mute = fault.call == "write" && fault.lasting;
    let is_deaf =
        |stream: &str| trace.calls.iter().any(|call| call.is_injected() && call.text.starts_with(stream));
    if run.status == 0 {
        let outcome = if work == Work::Heal { " HEALED: " } else { " OK renewed " };
        assert!(run.stdout.contains(outcome) || is_deaf("write(1,"), "{run:?}");
        assert!(mute || text.contains(outcome), "{run:?}");
        assert!(!text.contains("FAIL"), "{run:?}");
    } else if !mute {
        assert!(text.contains("FAIL: token file: ~/.vault-token: "), "{run:?}");
        assert!(text.contains(words_of(fault.error)), "{run:?}");
    }
    // Where it is not known what the file holds, nothing is revoked.
    let unread = trace
        .calls
        .iter()
        .skip_while(|call| !(call.name == "sendto" && call.touches("auth/token/accessors")))
        .any(|call| {
            call.is_injected()
                && (call.file.ends_with("/.vault-token") || call.text.contains("/.vault-token\""))
        });
    assert_eq!(unread, text.contains("the token file cannot be read"), "{run:?}");
    if unread {
        assert!(
            text.contains(&format!("accessors: the token file cannot be read: {}", words_of(fault.error)))
        );
    }
    for word in OF_THE_SERVER {
        assert!(!text.contains(word), "{word:?} said of a disk: {run:?}");
    }
    if let (Some(complaint), [call]) = (complaint_about(hit[0]), hit.as_slice()) {
        assert!(text.contains(complaint) && text.contains(words_of(fault.error)), "{:?}: {run:?}", call.name);
    }
    check_mended(place, &scene.home);
}

/// Tries all these.
fn try_each(first: &Place, what: &str, cases: Vec<Broken>, survive: impl Fn(&Place, &Broken) + Sync) {
    let campaign = Campaign { what: format!("injected faults of {what}"), workers: WORKERS, place, cases };
    campaign.run(first, |place, broken| {
        survive(place, broken);
        Attempt::Made
    });
}

/// Tries every fault.
fn survive_each_fault(first: &Place, work: Work) {
    let normal = undisturbed(first, work);
    let faults = faults(&normal);
    for name in ["write", "openat", "mkdir", "flock", "read"] {
        assert!(faults.iter().any(|fault| fault.call == name), "no {name} among the faults");
    }
    for name in ["write", "fsync", "renameat", "openat"] {
        let staged = |call: &Call| call.name == name && call.touches(STAGED);
        assert_eq!(normal.calls.iter().any(staged), work == Work::Heal, "{name} of the new token");
    }
    let cases = faults.into_iter().map(|fault| Broken::new(work, &normal, vec![fault])).collect();
    try_each(first, &format!("a {work}"), cases, |place, broken| survive(place, &normal, broken));
}

#[test]
fn a_heal_survives_each_call_that_fails() {
    survive_each_fault(&place(), Work::Heal);
}

#[test]
fn a_renewal_survives_each_call_that_fails() {
    survive_each_fault(&place(), Work::Renew);
}

#[test]
fn a_sweep_that_is_due_survives_each_call_that_fails() {
    let place = place();
    let stopped_at = place.where_the_sweep_begins();
    survive_each_fault(&place, Work::Resume { stopped_at, by: Stop::Loss });
}

/// The one fault of this call among the normal ones.
fn fault(normal: &Trace, call: &'static str, error: &'static str, is_it: impl Fn(&Call) -> bool) -> Fault {
    Fault { call, error, nth: normal.find(call, is_it).nth, lasting: false }
}

fn lasting(call: &'static str, error: &'static str, nth: usize) -> Fault {
    Fault { call, error, nth, lasting: true }
}

#[test]
fn a_staged_token_that_cannot_be_removed_is_worthless_and_goes_with_the_next_run() {
    let place = place();
    let normal = undisturbed(&place, Work::Heal);
    let cases = [("write", "ENOSPC"), ("fsync", "EIO"), ("renameat", "EIO")].map(|(call, error)| {
        let staged = fault(&normal, call, error, |call| call.touches(STAGED));
        Broken::new(Work::Heal, &normal, vec![staged, lasting("unlink", "EIO", 1)])
    });
    try_each(&place, "a removal", cases.into(), |place, broken| {
        let scene = place.set(broken.work);
        let run = place.faulty(&scene.home, &broken.faults).0.expect(1);
        check_kept(place, broken.work, &scene, &scene.home, &run);
        assert!(run.stderr.contains(words_of(broken.faults[0].error)), "{run:?}");
        let names = scene.home.names();
        assert_eq!(names.len(), 3, "{names:?}");
        assert_eq!(scene.home.mode(&names[0]), 0o600);
        let left = fs::read_to_string(scene.home.path().join(&names[0])).unwrap();
        assert_eq!(left.is_empty(), broken.faults[0].call == "write");
        assert!(left.is_empty() || place.server.lookup(&left).is_none(), "a living token lies about");
        check_mended(place, &scene.home);
    });
}

/// Some network file systems report a failure of a rename that has happened.
#[test]
fn a_rename_that_failed_and_happened_is_a_heal() {
    let place = place();
    let normal = undisturbed(&place, Work::Heal);
    let nth = fault(&normal, "renameat", "EIO", |call| call.touches(STAGED)).nth;
    let scene = place.set(Work::Heal);
    let (home, over) = (scene.home.path().to_owned(), AtomicBool::new(false));
    let run = thread::scope(|scope| {
        // strace holds the call for a while and lets it fail; meanwhile somebody else does what it was to do.
        scope.spawn(|| {
            while !over.load(Ordering::SeqCst) {
                let files = fs::read_dir(&home).unwrap().flatten().map(|entry| entry.path());
                let staged = files.filter(|path| path.to_string_lossy().contains(STAGED));
                for path in staged.filter(|path| fs::read(path).is_ok_and(|bytes| bytes.len() > 20)) {
                    thread::sleep(Duration::from_millis(300));
                    let _ = fs::rename(path, home.join(".vault-token"));
                }
                thread::sleep(Duration::from_millis(5));
            }
        });
        let strace = Strace::new();
        let injection = format!("renameat:error=EIO:delay_enter=2s:when={nth}");
        let mut command = strace.command(&scene.home, place.server.address(), &[injection]);
        let run = scene.home.finish(command.args(["--sweep-concurrency", "1"]));
        over.store(true, Ordering::SeqCst);
        run
    });
    assert!(run.expect(0).stdout.contains(" HEALED: "));
    place.server.check_ours(&scene.home);
    check_mended(&place, &scene.home);
}

#[test]
fn where_nobody_knows_which_token_the_file_holds_both_live() {
    let place = place();
    let normal = undisturbed(&place, Work::Heal);
    let rename =
        normal.calls.iter().position(|call| call.name == "renameat" && call.touches(STAGED)).unwrap();
    let next = normal.calls[rename..].iter().find(|call| call.name == "openat").unwrap().nth;
    let cases = [false, true].map(|lasting| {
        let replacing = fault(&normal, "renameat", "EIO", |call| call.touches(STAGED));
        let reading = Fault { call: "openat", nth: next, error: "EIO", lasting };
        Broken::new(Work::Heal, &normal, vec![replacing, reading])
    });
    try_each(&place, "a rename and the reading after it", cases.into(), |place, broken| {
        let scene = place.set(broken.work);
        let (run, trace) = place.faulty(&scene.home, &broken.faults);
        assert_eq!(
            run.expect(1).complaints().last(),
            Some(
                &"FAIL: token file: ~/.vault-token: replacing it failed, and reading it too: input/output error; \
                  it holds the old token or the new one, and both live"
            )
        );
        assert_eq!(scene.home.token(), scene.old);
        let alive = trace.tokens().into_iter().filter(|token| place.server.lookup(token).is_some());
        assert_eq!(alive.count(), 2);
        check_tidy(&scene.home);
        check_mended(place, &scene.home);
    });
}

#[test]
fn what_cannot_be_tidied_or_tightened_does_not_stop_a_renewal() {
    let place = place();
    let scene = place.set(Work::Renew);
    scene.home.chmod(0o640);
    for error in ["EPERM", "EROFS"] {
        let run = place.faulty(&scene.home, &[lasting("fchmod", error, 1)]).0.expect(0);
        assert_eq!(run.said(), RENEWED);
        let complaint =
            "WARN: ~/.vault-token had mode 0640, so other users could read the token; it should be 0600";
        assert_eq!(run.complaint(), complaint);
    }
    scene.home.chmod(0o600);
    let leftover = scene.home.path().join("..vault-token.renew-AbCdEf012345");
    fs::write(&leftover, "").unwrap();
    fs::set_permissions(&leftover, fs::Permissions::from_mode(0o600)).unwrap();
    let run = place.faulty(&scene.home, &[lasting("unlink", "EIO", 1)]).0.expect(0);
    assert_eq!(run.said(), RENEWED);
    assert!(run.complaint().starts_with("WARN: "), "{run:?}");
    assert!(
        run.complaint().ends_with(" beside ~/.vault-token cannot be removed: input/output error"),
        "{run:?}"
    );
    check_mended(&place, &scene.home);
    count("3 injected faults of tightening and tidying");
}

#[test]
fn a_directory_that_cannot_be_listed_is_not_called_a_file_that_cannot_be_removed() {
    let place = place();
    let normal = undisturbed(&place, Work::Renew);
    let scene = place.set(Work::Renew);
    let is_home = |call: &Call| !call.touches(".local");
    let (run, _) = place.faulty(&scene.home, &[fault(&normal, "getdents64", "EIO", is_home)]);
    let run = run.expect(0);
    assert_eq!(run.said(), RENEWED);
    assert!(run.complaint().contains("input/output error"), "{run:?}");
    // There is no such file, and a person would look for it in vain.
    assert!(!run.stderr.contains("a temporary file beside ~/.vault-token cannot be removed"), "{run:?}");
}

/// A script's beginning and end: a home of its own, in memory, which is copied out when all is done. Anything
/// else than the program's own exit status is 99.
const MOUNT: &str = r#"
    must() { "$@" || exit 99; }
    old=$1 after=$2 options=$3 program=$4 argument=${5-}
    must mount -t tmpfs -o "mode=0700,$options" tmpfs "$HOME"
    must cp -p "$old/.vault-token" "$HOME"
"#;
const RUN: &str = r#"
    "$program" ${argument:+"$argument"}
    status=$?
    must cp -a "$HOME/." "$after"
    exit "$status"
"#;

/// The program in a home with a real obstacle, which a script prepares in a name space of its own. What is left
/// of the home comes back beside what was said.
#[track_caller]
fn obstructed(
    place: &Place,
    home: &Sandbox,
    options: &str,
    obstacle: &str,
    argument: &str,
) -> (Run, Sandbox) {
    let (room, after) = (tempfile::tempdir().unwrap(), Sandbox::new());
    let mut command = home.command_unshared(place.server.address());
    command.args(["--mount", "/bin/sh", "-c", &format!("{MOUNT}{obstacle}{RUN}"), "sh"]);
    command.args([home.path(), after.path()]).args([options, PROGRAM, argument]);
    command.env("HOME", room.path()).env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin");
    let run = home.finish(&mut command);
    assert_ne!(run.status, 99, "mounting failed; are user name spaces allowed? {run:?}");
    after.guard(&home.token());
    (run, after)
}

const NO_BLOCKS: (&str, &str) = ("size=64k", "dd if=/dev/zero of=\"$HOME/filler\" bs=4k 2>/dev/null\n");
/// One for the directory, one for the token file.
const NO_INODES: (&str, &str) = ("nr_inodes=2", "");
const READ_ONLY: (&str, &str) = ("size=64k", "must mount -o remount,ro tmpfs \"$HOME\"\n");
const MOUNT_POINT: (&str, &str) =
    ("size=64k", "must mount --bind \"$old/.vault-token\" \"$HOME/.vault-token\"\n");

#[test]
fn a_heal_before_a_real_obstacle_leaves_the_old_token_and_no_stray() {
    let place = place();
    for ((options, obstacle), words, foreseen) in [
        (NO_BLOCKS, "cannot write beside it: no space left on device", false),
        (NO_INODES, "cannot write beside it: no space left on device", false),
        (READ_ONLY, "cannot write beside it: read-only file system", true),
        (MOUNT_POINT, "cannot replace it: device or resource busy", true),
    ] {
        let scene = place.set(Work::Heal);
        let (run, after) = obstructed(&place, &scene.home, options, obstacle, "");
        let run = run.expect(1);
        let line = format!("FAIL: token file: ~/.vault-token: {words}; it is as it was");
        assert_eq!(run.complaints().last(), Some(&line.as_str()), "{run:?}");
        assert_eq!(run.stdout, "");
        for word in OF_THE_SERVER {
            assert!(!run.stderr.contains(word), "{word:?} said of a disk: {run:?}");
        }
        check_kept(&place, Work::Heal, &scene, &after, &run);
        assert_eq!(scene.home.token(), scene.old);
        check_tidy_but_for_the_filler(&after);
        let (dry, _) = obstructed(&place, &scene.home, options, obstacle, "--dry-run");
        assert_eq!(dry.status, i32::from(foreseen), "{dry:?}");
        check_mended(&place, &after);
    }
    count("4 real obstacles to a heal");
}

#[test]
fn a_renewal_succeeds_before_every_real_obstacle() {
    let place = place();
    for ((options, obstacle), words) in [
        (NO_BLOCKS, "no space left on device"),
        (NO_INODES, "no space left on device"),
        (READ_ONLY, "read-only file system"),
        (MOUNT_POINT, ""),
    ] {
        let scene = place.set(Work::Renew);
        let (run, after) = obstructed(&place, &scene.home, options, obstacle, "");
        let run = run.expect(0);
        assert_eq!(run.said(), RENEWED);
        assert!(run.complaints().iter().all(|line| line.starts_with("WARN: ") && line.contains(words)));
        assert_eq!(run.stderr.is_empty(), words.is_empty(), "{run:?}");
        check_kept(&place, Work::Renew, &scene, &after, &run);
        check_tidy_but_for_the_filler(&after);
        check_mended(&place, &after);
    }
    count("4 real obstacles to a renewal");
}

fn check_tidy_but_for_the_filler(home: &Sandbox) {
    let filler = home.path().join("filler");
    if filler.exists() {
        fs::remove_file(filler).unwrap();
    }
    check_tidy(home);
}

#[test]
fn a_loose_mode_on_a_read_only_disk_is_told_and_the_token_renewed() {
    let place = place();
    let scene = place.set(Work::Renew);
    let obstacle = format!("must chmod 0644 \"$HOME/.vault-token\"\n{}", READ_ONLY.1);
    let (run, _) = obstructed(&place, &scene.home, READ_ONLY.0, &obstacle, "");
    let run = run.expect(0);
    assert_eq!(run.said(), RENEWED);
    let complaint =
        "WARN: ~/.vault-token had mode 0644, so other users could read the token; it should be 0600";
    assert!(run.complaints().contains(&complaint), "{run:?}");
}

#[test]
fn a_disk_that_is_full_beside_the_token_only_leaves_a_state_with_nothing_to_do() {
    let place = place();
    let scene = place.set(Work::Heal);
    let obstacle = format!("export XDG_STATE_HOME=\"$after/elsewhere\"\n{}", NO_BLOCKS.1);
    let (run, after) = obstructed(&place, &scene.home, NO_BLOCKS.0, &obstacle, "");
    let run = run.expect(1);
    assert_eq!(run.complaints().len(), 1, "{run:?}");
    check_kept(&place, Work::Heal, &scene, &after, &run);
    let file = file_in(&after.path().join("elsewhere/vault-token-renew"), "json").expect("a state file");
    let state: Value = serde_json::from_slice(&fs::read(file).unwrap()).expect("a whole state file");
    assert_eq!((&state["sweep_due"], &state["minted"]), (&json!(false), &json!([])));
}

#[test]
fn a_line_that_a_full_disk_cut_short_does_not_spoil_the_next_one() {
    let place = place();
    let scene = place.set(Work::Renew);
    // Six bytes are left of the last page that the log has.
    let obstacle = format!(
        "umask 077
         must mkdir -p \"$HOME/.local/state\"
         must sh -c 'printf \"%04089d\\n\" 0 > \"$0\"' \"$HOME/.local/state/vault-token-renew.log\"
         {}",
        NO_BLOCKS.1
    );
    let (run, after) = obstructed(&place, &scene.home, NO_BLOCKS.0, &obstacle, "");
    assert_eq!(run.expect(0).said(), RENEWED);
    let cut = after.log();
    assert!((4090..=4096).contains(&cut.len()), "{} bytes", cut.len());
    check_tidy_but_for_the_filler(&after);
    let run = after.run(&place.server, &[]).expect(0);
    // One event is one line.
    assert!(
        after.log().lines().any(|line| line == run.stdout.trim_end()),
        "{:?}",
        after.log().lines().last()
    );
}

/// The program where no file may grow, not even to one byte, and nobody told the kernel to be kind about it.
fn without_room_to_grow(place: &Place, scene: &Scene) -> std::process::Output {
    let mut command = scene.home.command_of("/bin/sh", place.server.address());
    command.args(["-c", r#"ulimit -f 0; exec "$0""#, PROGRAM]);
    command.output().expect("a shell")
}

#[test]
fn a_limit_on_the_size_of_files_does_not_stop_a_renewal() {
    let place = place();
    let scene = place.set(Work::Renew);
    let output = without_room_to_grow(&place, &scene);
    assert_eq!(output.status.code(), Some(0), "{}", output.status);
    let [said, complaints] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    assert!(said.contains(RENEWED), "{said}");
    assert!(
        complaints.contains("WARN: the log file ") && complaints.contains("file too large"),
        "{complaints}"
    );
    check_mended(&place, &scene.home);
}

#[test]
fn a_limit_on_the_size_of_files_leaves_the_old_token_and_no_stray() {
    let place = place();
    let scene = place.set(Work::Heal);
    let output = without_room_to_grow(&place, &scene);
    assert_eq!(output.status.code(), Some(1), "{}", output.status);
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(complaints.contains("FAIL: token file: ~/.vault-token: cannot write beside it: file too large"));
    assert_eq!(scene.home.token(), scene.old);
    assert_eq!(place.server.named(OUR_NAME), scene.ours);
    check_tidy(&scene.home);
    check_mended(&place, &scene.home);
}

#[test]
fn a_healed_file_is_0600_whatever_mode_it_had() {
    let place = place();
    for mode in [0o640, 0o604, 0o660, 0o606, 0o666, 0o644, 0o777, 0o700, 0o400] {
        let scene = place.set(Work::Heal);
        scene.home.chmod(mode);
        let run = scene.home.run(&place.server, &[]).expect(0);
        assert!(run.said().starts_with("HEALED"), "{run:?}");
        let loose = mode & 0o077 != 0;
        assert_eq!(run.stderr.contains(&format!("had mode {mode:04o}")), loose, "{run:?}");
        assert_eq!(run.stderr.is_empty(), !loose, "{run:?}");
        check_kept(&place, Work::Heal, &scene, &scene.home, &run);
    }
}

#[test]
fn a_renewal_takes_from_the_mode_what_lets_others_in_and_nothing_else() {
    let place = place();
    let scene = place.set(Work::Renew);
    for (mode, expected) in
        [(0o640, 0o600), (0o660, 0o600), (0o666, 0o600), (0o602, 0o600), (0o700, 0o700), (0o400, 0o400)]
    {
        scene.home.chmod(mode);
        scene.home.run(&place.server, &[]).expect(0);
        assert_eq!(scene.home.mode(".vault-token"), expected, "from {mode:o}");
        assert_eq!(scene.home.token(), scene.old);
    }
}

#[test]
fn white_space_around_a_token_stays_at_a_renewal_and_goes_at_a_heal() {
    let place = place();
    for (before, behind) in [("", "\n"), ("", "\r\n"), ("\n  ", " \t\n\n")] {
        for work in [Work::Renew, Work::Heal] {
            let scene = place.set(work);
            let contents = format!("{before}{}{behind}", scene.old);
            scene.home.put(&contents);
            scene.home.run(&place.server, &[]).expect(0).quiet();
            let held = scene.home.token();
            if work == Work::Renew {
                assert_eq!(held, contents, "a renewal does not touch the file");
            } else {
                place.server.recognise(&held).expect("the raw token and nothing else");
            }
        }
    }
}

#[test]
fn what_is_no_file_or_holds_no_token_is_named_and_left_as_it_is() {
    let server = Scripted::start(|_, _| Reply::Json(500, "{}".to_owned()));
    let home = Sandbox::new();
    let at = |name: &str| home.path().join(name);
    fs::create_dir(at("a-directory")).unwrap();
    symlink("nowhere/at-all", at("dangling")).unwrap();
    symlink("to", at("fro")).unwrap();
    symlink("fro", at("to")).unwrap();
    symlink("a-directory", at("to-a-directory")).unwrap();
    symlink("/dev/null", at("to-a-device")).unwrap();
    let made = std::process::Command::new("mkfifo").arg(at("pipe")).stdin(Stdio::null()).status();
    assert!(made.expect("mkfifo; apt-get install coreutils").success());
    assert!(fs::metadata(at("pipe")).unwrap().file_type().is_fifo());
    symlink("pipe", at("to-a-pipe")).unwrap();
    let _socket = UnixListener::bind(at("socket")).unwrap();
    let contents: [(&str, &[u8], &str); 7] = [
        ("megabyte", &vec![b'x'; 1 << 20], "larger than 64 KiB, so not a token"),
        ("nul", b"s.0123456789\0abcdef", "not a token: it holds blanks or unprintable bytes"),
        ("nuls", &[0; 64], "not a token: it holds blanks or unprintable bytes"),
        ("two-lines", b"s.0123456789\ns.abcdef", "not a token: it holds blanks or unprintable bytes"),
        ("byte-order-mark", b"\xef\xbb\xbfs.0123456789", "not a token: it holds blanks or unprintable bytes"),
        ("nothing", b"", "empty"),
        ("line-ends", b"\n\r\n\n", "empty"),
    ];
    for (name, bytes, _) in &contents {
        fs::write(at(name), bytes).unwrap();
        fs::set_permissions(at(name), fs::Permissions::from_mode(0o644)).unwrap();
    }
    let cases = [
        ("dangling", "no such file"),
        ("to", "too many levels of symbolic links"),
        ("a-directory", "not a regular file"),
        ("to-a-directory", "not a regular file"),
        ("to-a-pipe", "not a regular file"),
        ("nothing/token", "not a directory"),
    ];
    let cases: Vec<_> =
        cases.into_iter().chain(contents.iter().map(|(name, _, words)| (*name, *words))).collect();
    let files_before = home.snapshot();
    for (name, words) in cases.iter().copied().chain([("to-a-device", ""), ("socket", "")]) {
        let run = home.run(&server, &["--token-file", at(name).to_str().unwrap()]).expect(1);
        let start = format!("FAIL: token file: ~/{name}: {words}");
        assert!(run.complaints().last().unwrap().starts_with(&start), "{run:?}");
        assert_eq!(run.stdout, "");
    }
    let mut files_after = home.snapshot();
    files_after.retain(|name, _| !name.starts_with(".local"));
    assert!(files_after == files_before, "something was changed");
    assert_eq!(server.requests().len(), 0);
}
