//! Another program, started and waited for, but not for ever.

use std::io::{self, Read as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{OFlags, fcntl_setfl};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use signal_hook::consts::signal::SIGCHLD;

/// How often a child is looked at. There is no timed wait without unsafe code.
const POLL: Duration = Duration::from_millis(5);

/// Variables that are no business of any child: those that hold a token, which are the shell's and not the file's; and
/// those by which systemd speaks with this very process.
const WITHHELD: [&str; 9] = [
    "VAULT_TOKEN",
    "BAO_TOKEN",
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_PIDFDID",
    "LISTEN_FDNAMES",
];

/// How another program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// By itself.
    ByItself(ExitStatus),
    /// It was killed with its process group, because its time was up.
    TimedOut,
    /// It was killed with its process group, because we were told to stop.
    Stopped,
}

/// Starts `command` in a process group of its own, says that it has `begun`, and waits for its end: at most `limit`,
/// and while `stopped` does not say that it is enough. Then the whole group is killed.
pub(super) fn run(
    command: &mut Command,
    limit: Duration,
    begun: impl FnOnce(),
    stopped: impl Fn() -> bool,
) -> io::Result<(Child, Ended)> {
    claim_children()?;
    for variable in WITHHELD {
        command.env_remove(variable);
    }
    let start = Instant::now();
    let mut child = command.process_group(0).spawn()?;
    begun();
    loop {
        // Looked at, and not yet reaped: until it is, its number can belong to no other process group.
        let ended = match id(&child) {
            Some(id) => waitid(
                WaitId::Pid(id),
                WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT,
            )?,
            None => None,
        };
        if ended.is_some() {
            let status = child.wait()?;
            return Ok((child, Ended::ByItself(status)));
        }
        let end = if start.elapsed() >= limit {
            Ended::TimedOut
        } else if stopped() {
            Ended::Stopped
        } else {
            thread::sleep(POLL);
            continue;
        };
        // The child itself may have left its group, and the group may be empty since.
        let _ = id(&child).map(|id| kill_process_group(id, Signal::KILL));
        child.kill()?;
        child.wait()?;
        return Ok((child, end));
    }
}

/// What a program said on standard output, if it ended well and in time. No more than `most` bytes of it are read, and
/// not what a process says that it left behind: that may keep the pipe for ever.
pub(super) fn output(command: &mut Command, limit: Duration, most: usize) -> Option<String> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let (child, ended) = run(command, limit, || (), || false).ok()?;
    if !matches!(ended, Ended::ByItself(status) if status.success()) {
        return None;
    }
    let mut stdout = child.stdout?;
    fcntl_setfl(&stdout, OFlags::NONBLOCK).ok()?;
    let mut said = Vec::new();
    let mut part = [0; 4096];
    while said.len() < most {
        match stdout.read(&mut part) {
            Ok(0) => break,
            Ok(length) => said.extend(part.iter().take(length)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(_) => return None,
        }
    }
    said.truncate(most);
    String::from_utf8(said).ok()
}

/// Whoever started this program may have left children to nobody, and then none can be waited for. Once for the
/// whole process: handlers add up.
fn claim_children() -> io::Result<()> {
    static CLAIMED: Mutex<bool> = Mutex::new(false);
    let mut claimed = CLAIMED.lock().unwrap_or_else(PoisonError::into_inner);
    if !*claimed {
        signal_hook::flag::register(SIGCHLD, Arc::default())?;
        *claimed = true;
    }
    Ok(())
}

fn id(child: &Child) -> Option<Pid> {
    i32::try_from(child.id()).ok().and_then(Pid::from_raw)
}
