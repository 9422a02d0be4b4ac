//! What a test starts must not outlive it, also where nothing is dropped any more, because the test process is killed
//! from outside. One guard for each test process reads from a pipe which processes are to go with it. When the pipe
//! ends, because nobody is left who could write to it, the guard ends them.

use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};

/// The guard. A user manager stops its services when it is told to end; what does not listen is killed.
const GUARD: &str = r#"
pids=
while read -r word pid; do
	others=
	for other in $pids; do
		[ "$other" = "$pid" ] || others="$others $other"
	done
	pids=$others
	[ "$word" = untie ] || pids="$pids $pid"
done
[ -n "$pids" ] || exit 0
kill -TERM $pids
sleep 0.5
kill -KILL $pids
"#;

/// A child that goes with this process. Untied when dropped: then somebody else has seen to its end.
#[derive(Debug)]
pub struct Tie(u32);

impl Tie {
    /// Ties it.
    pub fn to(child: &Child) -> Self {
        let this = Self(child.id());
        this.tell_guard("tie");
        this
    }

    fn tell_guard(&self, word: &str) {
        // Nobody ever closes it but the end of this process. What it starts does not inherit it.
        static THE_GUARD: OnceLock<Mutex<Child>> = OnceLock::new();
        let guard = THE_GUARD.get_or_init(|| {
            let mut command = Command::new("sh");
            command.args(["-c", GUARD]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
            // What ends the whole group of the test process, such as Ctrl-C, does not end the guard before its work.
            Mutex::new(command.process_group(0).spawn().expect("sh, which guards the children of a test"))
        });
        let mut guard = guard.lock().unwrap_or_else(PoisonError::into_inner);
        let input = guard.stdin.as_mut().expect("its input");
        input.write_all(format!("{word} {}\n", self.0).as_bytes()).expect("the guard reads");
    }
}

impl Drop for Tie {
    fn drop(&mut self) {
        self.tell_guard("untie");
    }
}
